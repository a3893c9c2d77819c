"""What the trading client does about each switch that spoils requests and replies. One test names one switch."""

from typing import Any

import pytest

from market.events import Fill, OrderCanceled, OrderModified
from tests.venues.hyperliquid.conftest import Venue, wait_for
from tests.venues.hyperliquid.trading import CALM, ID, Trader, limit, make_client, market, running_loop, stop, trading
from venues.hyperliquid.client_orders import NEVER_PLACED
from venues.orders import Message
from venues.port import VenueUnavailableError


def check_unknown_then_accepted(trader: Trader, request: Any) -> None:
    """The outcome is unknown, not refused; asked, the venue has it; told once; never sent twice."""
    answer = trader.submit(request)
    assert answer.unknown_ids in ((), (request.client_order_id,))  # (): the socket told of it meanwhile
    assert "OrderRejected" not in trader.kinds(request.client_order_id)
    wait_for(lambda: trader.resolve(request.client_order_id).unknown_ids == (), "the order to be found")
    assert trader.kinds(request.client_order_id) == ["OrderAccepted"]
    assert len(trader.open_at_venue()) == 1


def check_unknown_then_never_placed(trader: Trader, request: Any) -> None:
    """The outcome is unknown until it can no longer arrive; only then it was never placed."""
    with trader.hurried():
        answer = trader.submit(request)
    assert answer.unknown_ids == (request.client_order_id,)
    wait_for(lambda: trader.resolve(request.client_order_id).unknown_ids == (), "the expiry")
    told: Any = trader.told(request.client_order_id)
    assert [event.message for event in told] == [NEVER_PLACED]
    assert trader.open_at_venue() == []
    trader.venue.clear_faults()
    trader.submit(limit(1, 1000, 50_000.0))
    assert len(trader.open_at_venue()) == 1


def test_reply_lost_is_unknown_then_accepted(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("reply_lost", on="order", next_n=1)
        check_unknown_then_accepted(trader, limit(1, 1000, 50_000.0))


def test_http_status_after_is_unknown_then_accepted(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("http_status_after", on="order", next_n=1)
        check_unknown_then_accepted(trader, limit(1, 1000, 50_000.0))


def test_reply_delay_past_the_deadline_is_unknown_then_accepted(venue: Venue) -> None:
    with trading(venue) as trader, trader.hurried():
        venue.fault("reply_delay", on="order", next_n=1, delay_ms=600_000)
        check_unknown_then_accepted(trader, limit(1, 1000, 50_000.0))


def test_request_blackhole_is_unknown_then_never_placed(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("request_blackhole", on="order", next_n=1)
        check_unknown_then_never_placed(trader, limit(1, 1000, 50_000.0))


def test_http_status_before_is_unknown_then_never_placed(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("http_status_before", on="order", next_n=1)
        check_unknown_then_never_placed(trader, limit(1, 1000, 50_000.0))


def test_http_status_before_429_is_refused_and_questions_are_asked_again(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("http_status_before", on="order", next_n=1, status=429)
        order = limit(1, 1000, 50_000.0)
        assert trader.submit(order).unknown_ids == ()
        assert trader.kinds(order.client_order_id) == ["OrderRejected"]
        venue.fault("http_status_before", on="clearinghouseState", next_n=2, status=502)
        assert trader.run(trader.client.fetch_positions()) == {}


def test_request_blackhole_of_questions_ends_in_time(venue: Venue) -> None:
    with trading(venue) as trader, trader.hurried():
        venue.fault("request_blackhole", on="clearinghouseState")
        with pytest.raises(VenueUnavailableError, match="clearinghouseState"):
            trader.run(trader.client.fetch_account())


def test_reply_lost_of_a_cancel_and_a_modify(venue: Venue) -> None:
    with trading(venue) as trader:
        order = limit(1, 1000, 50_000.0)
        trader.submit(order)
        venue.fault("reply_lost", on="batchModify", next_n=1)
        trader.modify(order.client_order_id, limit_px=51_000.0)
        wait_for(lambda: trader.resolve(order.client_order_id).unknown_ids == (), "the modify")
        changed = trader.wait_told(order.client_order_id, "OrderModified")
        assert [event.limit_px for event in changed if isinstance(event, OrderModified)] == [51_000.0]
        assert trader.open_at_venue() == [("limit", 1000, 51_000.0)]
        venue.fault("reply_lost", on="cancelByCloid", next_n=1)
        assert trader.cancel(order.client_order_id).unknown_ids == (order.client_order_id,)
        trader.resolve(order.client_order_id)
        trader.wait_told(order.client_order_id, "OrderCanceled")
        assert trader.kinds(order.client_order_id).count("OrderCanceled") == 1


def test_fill_before_reply_is_told_once_with_its_acceptance(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("fill_before_reply", on="order", next_n=1, delay_ms=600_000)
        order = market(1, 1000)
        with trader.hurried():
            trader.submit(order)
        trader.wait_told(order.client_order_id, "Fill")
        trader.resolve(order.client_order_id)
        assert trader.kinds(order.client_order_id)[:2] == ["OrderAccepted", "Fill"]
        assert trader.kinds(order.client_order_id).count("OrderAccepted") == 1
        told = sum(e.fill_qty_lots for e in trader.told(order.client_order_id) if isinstance(e, Fill))
        assert told == trader.lots_held() == 1000


def test_fill_capped_leaves_a_stop_for_the_part(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("fill_capped", on="order", next_n=1, lots=400)
        entry, guard = market(1, 1000), stop(-1, 1000, 55_000.0)
        trader.submit(entry, guard)
        ended = trader.wait_told(entry.client_order_id, "OrderCanceled")[0]
        assert isinstance(ended, OrderCanceled)
        assert ended.message == Message.IOC
        changed = trader.wait_told(guard.client_order_id, "OrderModified")[0]
        assert isinstance(changed, OrderModified)
        assert changed.qty_lots == trader.lots_held()
        assert trader.open_at_venue() == [("stop_market", trader.lots_held(), 55_000.0)]
        assert trader.kinds(guard.client_order_id) == ["OrderAccepted", "OrderModified"], trader.heard


def test_fill_during_cancel_is_a_fill_and_a_refused_cancel(venue: Venue) -> None:
    with trading(venue) as trader:
        order, other = limit(1, 1000, 50_000.0), limit(1, 1000, 50_001.0)
        trader.submit(order)
        venue.fault("fill_during_cancel", on="cancelByCloid", next_n=1)
        answer = trader.cancel(order.client_order_id)
        assert [type(event).__name__ for event in answer.events if not isinstance(event, Fill)] == ["CancelRejected"]
        trader.wait_told(order.client_order_id, "Fill")
        assert "OrderCanceled" not in trader.kinds(order.client_order_id)
        trader.submit(other)
        venue.fault("fill_during_cancel", on="batchModify", next_n=1)
        answer = trader.modify(other.client_order_id, limit_px=51_000.0)
        assert "CancelRejected" in trader.kinds(other.client_order_id)
        trader.wait_told(other.client_order_id, "Fill")
        assert trader.lots_held() == 2000
        trader.wait_health("")


def test_child_rejected_is_told_and_the_entry_lives(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("child_rejected", on="order", next_n=1)
        entry, guard = market(1, 1000), stop(-1, 1000, 55_000.0)
        answer = trader.submit(entry, guard)
        assert answer.unknown_ids == ()
        assert trader.kinds(guard.client_order_id) == ["OrderRejected"]
        trader.wait_told(entry.client_order_id, "Fill")
        assert trader.open_at_venue() == []
        again = stop(-1, 1000, 55_000.0)  # what the executor does about it
        trader.submit(again)
        assert trader.open_at_venue() == [("stop_market", 1000, 55_000.0)]


def test_reply_short_leaves_the_rest_unknown_then_accepted(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("reply_short", on="order", next_n=1)
        entry, guard = market(1, 1000), stop(-1, 1000, 55_000.0)
        trader.submit(entry, guard)
        wait_for(lambda: trader.resolve(guard.client_order_id).unknown_ids == (), "the stop")
        assert trader.kinds(guard.client_order_id) == ["OrderAccepted"]
        assert trader.open_at_venue() == [("stop_market", 1000, 55_000.0)]


def test_nonce_refused_is_asked_about_then_refused(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("nonce_refused", on="order", next_n=1)
        order = limit(1, 1000, 50_000.0)
        assert trader.submit(order).unknown_ids == ()
        told: Any = trader.told(order.client_order_id)
        assert [type(event).__name__ for event in told] == ["OrderRejected"]
        assert "duplicate nonce" in told[0].message
        trader.submit(limit(1, 1000, 50_000.0))
        assert len(trader.open_at_venue()) == 1


def test_upgrade_mode_is_refused_and_unhealthy(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("upgrade_mode")
        order, passive = market(1, 1000), limit(1, 1000, 50_000.0, time_in_force="post_only")
        trader.submit(order)
        assert trader.kinds(order.client_order_id) == ["OrderRejected"]
        assert any("post-only" in line for line in trader.health())
        trader.submit(passive)
        assert trader.kinds(passive.client_order_id) == ["OrderAccepted"]


def test_request_cap_is_refused_and_unhealthy_but_cancels_go(venue: Venue) -> None:
    with trading(venue) as trader:
        order, late = limit(1, 1000, 50_000.0), limit(1, 1000, 50_001.0)
        trader.submit(order)
        venue.fault("request_cap", requests=1)
        trader.wait_health("requests are used")
        trader.submit(late)
        assert trader.kinds(late.client_order_id) == ["OrderRejected"]
        assert any("spent its requests" in line for line in trader.health())
        venue.clear_faults()
        venue.fault("request_cap", requests=3)
        trader.cancel(order.client_order_id)
        trader.wait_told(order.client_order_id, "OrderCanceled")


def test_order_cap_refuses_one_more_order(venue: Venue) -> None:
    with trading(venue) as trader:
        trader.submit(limit(1, 1000, 50_000.0))
        venue.fault("order_cap", orders=1)
        late = limit(1, 1000, 50_001.0)
        trader.submit(late)
        told: Any = trader.told(late.client_order_id)
        assert [type(event).__name__ for event in told] == ["OrderRejected"]
        assert "Too many open orders" in told[0].message


def test_clock_skew_stops_the_start_and_makes_unhealthy(venue: Venue) -> None:
    with trading(venue) as trader:
        trader.wait_health("")
        venue.fault("clock_skew", skew_ms=3_600_000)
        trader.wait_health("clock is +3")
        order = limit(1, 1000, 50_000.0)  # its expiry goes by the venue's clock: it is taken all the same
        trader.submit(order)
        assert trader.kinds(order.client_order_id) == ["OrderAccepted"]
    with running_loop() as loop:
        late = Trader(venue, make_client(venue), loop)
        with pytest.raises(ValueError, match="NTP"):
            late.run(late.client.open(late.heard.extend))
    assert CALM.skew_s_max < 3_600.0


def test_price_gap_bounds_what_a_market_order_pays(venue: Venue) -> None:
    with trading(venue) as trader:
        venue.fault("price_gap", gap_bps=900)

        def best_px() -> float:
            return float(trader.exchange(lambda exchange: exchange.get_best_px(ID, -1)))

        wait_for(lambda: not best_px() < 64_000.0, "the gap")
        order = market(1, 1000)
        trader.submit(order)
        told: Any = trader.wait_told(order.client_order_id, "OrderRejected")
        assert told[0].message in (Message.IOC, Message.NO_LIQUIDITY)
        assert trader.lots_held() == 0
