"""What the dYdX client does when the socket goes wrong. One test per switch."""

from dataclasses import replace

import pytest
from msgspec import UNSET

from market.events import Fill, OrderAccepted
from tests.venues.dydx.running_venue import Venue
from tests.venues.dydx.trading import PATIENT, Trader, check_once, market, run, see_all_well, stop, until
from venues.dydx.indexer_stream import ChannelData, ServerMessage

ACCOUNT = "v4_subaccounts"
WATCHFUL = replace(PATIENT, silence_s=3.0)


def test_message_drop_is_a_hole_that_is_subscribed_over_and_backfilled(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        stream = trader.client._stream
        assert stream is not None
        venue.switch(fault="message_drop", on=ACCOUNT, next_n=2)
        await trader.submit(market("a", 1))
        await until(lambda: trader.of("a", Fill))
        await until(lambda: stream.session is not None and stream.session.holes and stream.is_live)
        assert stream.connects == 1
        check_once(trader, "a")
        await trader.check_same()

    run(venue, work)


def test_message_delay_is_overtaken_by_asking_and_told_once(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        stream = trader.client._stream
        assert stream is not None
        late: set[str] = set()
        hear = stream._on_message

        def note(message: ServerMessage, ts_now_ns: int) -> None:
            hear(message, ts_now_ns)
            if isinstance(message, ChannelData) and message.channel == ACCOUNT:
                late.update(fill.id for update in message.updates for fill in getattr(update, "fills", UNSET) or ())

        stream._on_message = note
        venue.switch(fault="message_delay", on=ACCOUNT, delay_ms=4000)
        await trader.submit(market("a", 1))
        await until(lambda: trader.of("a", Fill))
        await trader.submit(market("b", -1))
        await until(lambda: trader.of("b", Fill))
        await until(lambda: len(late) == len(trader.own_fills()))  # what comes late must change nothing
        check_once(trader, "a")
        check_once(trader, "b")
        await trader.check_same()

    run(venue, work)


@pytest.mark.parametrize(
    "row", [{"fault": "message_duplicate", "copies": 3}, {"fault": "message_reorder", "behind": 2}]
)
def test_message_duplicate_and_message_reorder_tell_each_event_once(venue: Venue, row: dict[str, object]) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(on=ACCOUNT, **row)
        for name, side in (("a", 1), ("b", -1), ("c", 1)):
            await trader.submit(market(name, side))
            await until(lambda name=name: sum(one.fill_qty_lots for one in trader.of(name, Fill)) == 100)
            check_once(trader, name)
        await trader.check_same()
        assert trader.client._desk.protocol_errors == 0

    run(venue, work)


def test_half_open_socket_is_noticed_and_replaced(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        stream = trader.client._stream
        assert stream is not None
        venue.switch(fault="half_open", next_n=1)
        await trader.submit(market("a", 1))
        await until(lambda: stream.connects >= 2 and stream.is_live)
        assert "silent" in stream.why_lost
        await until(lambda: trader.of("a", Fill))
        check_once(trader, "a")
        await see_all_well(trader)

    run(venue, work, settings=WATCHFUL)


def test_connection_close_is_reconnected_and_backfilled(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        stream = trader.client._stream
        assert stream is not None
        venue.switch(fault="connection_close", on=ACCOUNT, code=1012, next_n=1)
        await trader.submit(market("a", 1), stop("stop", -1, 50_000.0))
        await until(lambda: stream.connects >= 2 and stream.is_live)
        await until(lambda: trader.of("a", Fill) and trader.of("stop", OrderAccepted))
        check_once(trader, "a")
        await trader.check_same()
        await see_all_well(trader)

    run(venue, work)


def test_unknown_value_is_counted_and_the_order_asked_for(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="unknown_value", on=ACCOUNT)
        assert (await trader.submit(market("a", 1), stop("stop", -1, 50_000.0))).unknown_ids == ()
        assert trader.client._desk.unknown_values > 0
        assert trader.client._stream is not None
        assert trader.client._stream.connects == 1
        await trader.check_same()

    run(venue, work)


def test_snapshot_overlap_tells_nothing_twice(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        stream = trader.client._stream
        assert stream is not None
        await trader.submit(market("a", 1))
        await until(lambda: trader.of("a", Fill))
        venue.switch(fault="snapshot_overlap", rows=50)
        venue.switch(fault="connection_close", on="v4_block_height", code=1006, next_n=1)
        await until(lambda: stream.connects >= 2 and stream.is_live)
        await trader.submit(market("b", -1))
        await until(lambda: trader.of("b", Fill))
        check_once(trader, "a")
        await trader.check_same()

    run(venue, work)


def test_history_duplicate_counts_once(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="history_duplicate")
        await trader.submit(market("a", 1), stop("stop", -1, 50_000.0))
        await until(lambda: trader.of("a", Fill))
        assert [one.client_order_id for one in await trader.client.fetch_open_orders()] == ["stop"]
        await trader.check_same()

    run(venue, work)
