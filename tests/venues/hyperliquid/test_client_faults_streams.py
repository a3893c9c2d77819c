"""What the trading client does about each switch that spoils its streams, or what the venue shows of an account."""

from dataclasses import replace
from typing import Any

import pytest

from market.events import Fill
from tests.venues.hyperliquid.conftest import Venue, wait_for
from tests.venues.hyperliquid.test_client import compare_with_exchange
from tests.venues.hyperliquid.trading import CALM, Trader, limit, market, stop, trading

RETICENT = replace(CALM, reconcile_s=3_600.0)  # nothing is compared: what is told came by itself


def check_filled_once(trader: Trader, lots: int = 1000) -> None:
    """A market order's fills are all told, each once."""
    order = market(1, lots)
    trader.submit(order)

    def told_lots() -> int:
        return sum(e.fill_qty_lots for e in trader.told(order.client_order_id) if isinstance(e, Fill))

    wait_for(lambda: told_lots() == lots, "the fills")
    compare_with_exchange(trader)


@pytest.mark.parametrize("channel", ["userFills", "orderUpdates"])
def test_message_drop_is_made_good_by_asking(venue: Venue, channel: str) -> None:
    with trading(venue) as trader:
        venue.fault("message_drop", on=channel)  # this channel is silent for good, the others speak
        check_filled_once(trader)
        order = limit(1, 1000, 50_000.0)
        trader.submit(order)
        key = venue.call(lambda: venue.simulator.ledger.books[trader.address].by_cloid[order.client_order_id].key)
        world = venue.simulator.world
        venue.call(lambda: world.act(lambda ts_ns: world.market.fill_resting(trader.address, key, 1000, ts_ns)))
        trader.wait_told(order.client_order_id, "Fill")
        compare_with_exchange(trader)


def test_message_delay_of_updates_changes_nothing(venue: Venue) -> None:
    with trading(venue, RETICENT) as trader:
        venue.fault("message_delay", on="orderUpdates", delay_ms=700)
        order = limit(1, 1000, 50_000.0)
        trader.submit(order)
        trader.modify(order.client_order_id, limit_px=51_000.0)
        trader.modify(order.client_order_id, limit_px=52_000.0)
        assert trader.open_at_venue() == [("limit", 1000, 52_000.0)]
        # The late "canceled" of the two oids that were replaced come behind: the order lives on.
        trader.cancel(order.client_order_id)
        trader.wait_told(order.client_order_id, "OrderCanceled")
        check_filled_once(trader)
        assert trader.kinds(order.client_order_id) == ["OrderAccepted", *["OrderModified"] * 2, "OrderCanceled"]


def test_message_duplicate_is_told_once(venue: Venue) -> None:
    with trading(venue, RETICENT) as trader:
        for channel in ("userFills", "orderUpdates"):
            venue.fault("message_duplicate", on=channel, copies=3)
        check_filled_once(trader)


def test_message_reorder_is_told_once_and_whole(venue: Venue) -> None:
    with trading(venue) as trader:
        for channel in ("userFills", "orderUpdates"):
            venue.fault("message_reorder", on=channel, behind=3)
        check_filled_once(trader)
        order = limit(1, 1000, 50_000.0)
        trader.submit(order)
        trader.modify(order.client_order_id, limit_px=51_000.0)
        trader.cancel(order.client_order_id)
        trader.wait_told(order.client_order_id, "OrderCanceled")
        compare_with_exchange(trader)
        assert trader.kinds(order.client_order_id).count("OrderCanceled") == 1


def test_half_open_is_noticed_and_what_was_missed_is_told(venue: Venue) -> None:
    with trading(venue, replace(RETICENT, silence_s=2.0)) as trader:
        client: Any = trader.client
        venue.fault("half_open", next_n=1)
        wait_for(lambda: venue.simulator.world.board.counts().get("half_open"), "the switch")
        order = market(1, 1000)  # nothing of it comes over the dead socket
        trader.submit(order)
        trader.wait_told(order.client_order_id, "Fill")
        assert client._feed.connections >= 2
        compare_with_exchange(trader)


@pytest.mark.parametrize("code", [1006, 1000])
def test_connection_close_is_followed_by_a_backfill(venue: Venue, code: int) -> None:
    with trading(venue, RETICENT) as trader:
        client: Any = trader.client
        venue.fault("message_drop", on="userFills", next_n=1)  # the one before the end
        venue.fault("connection_close", on="orderUpdates", next_n=1, code=code)
        check_filled_once(trader)
        wait_for(lambda: client._feed.connections >= 2, "another connection")
        trader.wait_health("")
        check_filled_once(trader)


def test_unknown_value_never_ends_a_stream(venue: Venue) -> None:
    with trading(venue) as trader:
        for channel in ("userFills", "orderUpdates"):
            venue.fault("unknown_value", on=channel)
        check_filled_once(trader)
        order = limit(1, 1000, 50_000.0)
        trader.submit(order)
        venue.fault("reply_lost", on="cancelByCloid", next_n=1)
        trader.cancel(order.client_order_id)  # only a word of tomorrow tells of it: the order is asked for
        trader.wait_told(order.client_order_id, "OrderCanceled")


def test_snapshot_overlap_counts_no_fill_twice(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("snapshot_overlap", rows=50)
        for _ in range(3):
            check_filled_once(trader)


def test_stop_hidden_is_told_missing(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("stop_hidden", hidden_ms=3_600_000)
        entry, guard = market(1, 1000), stop(-1, 1000, 55_000.0)
        trader.submit(entry, guard)
        assert trader.kinds(guard.client_order_id) == ["OrderAccepted"]
        trader.wait_health(f"{guard.client_order_id} is not among the venue's open orders")
        venue.clear_faults()
        trader.wait_health("")


def test_history_duplicate_brings_no_order_back(venue: Venue) -> None:
    with trading(venue) as trader:
        order = limit(1, 1000, 50_000.0)
        trader.submit(order)
        trader.cancel(order.client_order_id)
        venue.fault("history_duplicate")
        rows = venue.info().historical_orders(trader.address)
        assert {row["status"] for row in rows} == {"open", "canceled"}  # of one oid
        trader.resolve(order.client_order_id)
        trader.wait_told(order.client_order_id, "OrderCanceled")
        assert trader.run(trader.client.fetch_order(order.client_order_id)).status == "canceled"
        assert trader.kinds(order.client_order_id) == ["OrderAccepted", "OrderCanceled"]


def test_oracle_frozen_keeps_orders_going(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("oracle_frozen")
        check_filled_once(trader)
