"""What the dYdX client does when the socket or the venue's state goes wrong. One test per switch."""

import asyncio
import time
from dataclasses import replace

import pytest

from market.events import Fill, OrderAccepted, OrderCanceled, OrderModified, OrderTriggered
from tests.venues.dydx.running_venue import Venue
from tests.venues.dydx.trading import PATIENT, Trader, limit, market, run, stop, until
from venues.port import PreflightError

ACCOUNT = "v4_subaccounts"
WATCHFUL = replace(PATIENT, call_s=3.0, silence_s=3.0)


async def see_health(trader: Trader, text: str) -> None:
    """Wait until the client says that something is wrong."""
    await until(lambda: any(text in line for line in trader.client.check_health(time.time_ns())))


async def see_all_well(trader: Trader) -> None:
    """Turn every fault off, and wait until the client is content."""
    trader.venue.call(trader.venue.board.apply, {"off": "all"}, 0)
    await until(lambda: not trader.client.check_health(time.time_ns()))


def check_once(trader: Trader, client_order_id: str) -> None:
    """Check that an order's acceptance and fills were told once."""
    assert len(trader.of(client_order_id, OrderAccepted)) == 1
    fills = trader.of(client_order_id, Fill)
    assert sum(fill.fill_qty_lots for fill in fills) == 100


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
        venue.switch(fault="message_delay", on=ACCOUNT, delay_ms=4000)
        await trader.submit(market("a", 1))
        await until(lambda: trader.of("a", Fill))
        await trader.submit(market("b", -1))
        await until(lambda: trader.of("b", Fill))
        await asyncio.sleep(5.0)  # what comes late must change nothing
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


def test_expiry_hidden_is_known_by_the_height(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="expiry_hidden", on="expiry")
        await trader.submit(limit("a", 1, 55_000.0))
        (event,) = await until(lambda: trader.of("a", OrderCanceled))
        assert event.message == "expired"

    run(venue, work, has_short_resting=True)


def test_stop_hidden_is_unknown_until_it_is_seen_waiting(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="stop_hidden", hidden_ms=3_600_000)
        answer = await trader.submit(market("a", 1), stop("stop", -1, 50_000.0))
        assert "stop" in answer.unknown_ids
        venue.call(venue.board.apply, {"off": "all"}, 0)
        await until(lambda: trader.of("stop", OrderAccepted))
        assert trader.own_statuses().count("UNTRIGGERED") == 1

    run(venue, work, settings=WATCHFUL)


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


def test_clock_skew_is_refused_at_first_and_unhealthy_later(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="clock_skew", skew_ms=600_000)
        await see_health(trader, "the venue's clock is +6")
        await see_all_well(trader)

    run(venue, work)
    venue.switch(fault="clock_skew", skew_ms=-600_000)
    with pytest.raises(PreflightError, match="set the clock"):
        run(venue, work)


def test_height_frozen_is_unhealthy_and_orders_stay_unknown(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="height_frozen")
        await see_health(trader, "height stands at")
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        assert (await trader.client.resolve("a")).unknown_ids == ("a",)
        await see_all_well(trader)
        await until(lambda: trader.of("a", Fill))
        await trader.check_same()

    run(venue, work, settings=WATCHFUL)


def test_oracle_frozen_is_unhealthy_though_blocks_move(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="oracle_frozen")
        await see_health(trader, "the oracle price of BTC-USD has not moved")
        await see_all_well(trader)

    run(venue, work, settings=WATCHFUL)


def test_indexer_lag_is_measured_against_the_node(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="indexer_lag", blocks=100)
        await see_health(trader, "the indexer lags")
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        assert trader.own_lots() == 100  # it is there, only not told
        await see_all_well(trader)
        await until(lambda: trader.of("a", Fill))
        check_once(trader, "a")

    run(venue, work, settings=replace(WATCHFUL, silence_s=30.0, stale_s=3.0))


def test_price_gap_beyond_the_stop_is_armed_again_until_it_fills(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        await trader.submit(market("a", 1), stop("stop", -1, 50_000.0))
        venue.switch(fault="price_gap", gap_bps=3000)
        await asyncio.sleep(0.2)  # the house moves away with its next block
        await trader.act(trader.client.modify("stop", trigger_px=65_000.0))
        order = trader.client._desk.orders["stop"]
        await until(lambda: order.rearmed >= 2)
        assert trader.of("stop", OrderTriggered)
        assert len(trader.of("stop", OrderModified)) >= 2
        assert not trader.of("stop", OrderCanceled)
        assert trader.own_lots() == 100
        venue.call(venue.board.apply, {"off": "all"}, 0)
        await until(lambda: sum(fill.fill_qty_lots for fill in trader.of("stop", Fill)) == 100)
        assert trader.own_lots() == 0
        await trader.check_same()

    run(venue, work)
