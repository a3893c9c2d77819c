"""The exchange with a book: what waits for a trigger and is a limit then, or waits for a px in its favour."""

import pytest

from market.events import Fill, FillKind, OrderType, TimeInForce
from tests.unit.venues.order_requests import BTC, BUY, ETH, SELL, limit, make_order, market, trigger
from tests.unit.venues.test_book_exchange import ME, Floor
from venues.bar_exchange import BarExchange
from venues.lifecycle import OrderStatus
from venues.orders import STOP_TYPES, TRIGGER_TYPES, Message

STOP_LIMIT, MARKET_IF, LIMIT_IF = OrderType.STOP_LIMIT, OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED


@pytest.fixture
def floor() -> Floor:
    floor = Floor()
    floor.quote(limit("bid", BUY, 50, 99.0), limit("ask", SELL, 50, 101.0))
    return floor


def status(floor: Floor, client_order_id: str) -> OrderStatus:
    report = floor.exchange.order_status(ME, client_order_id)
    assert report is not None
    return report.status


def kinds(floor: Floor) -> list[int]:
    return [event.kind for account_id, event in floor.events if isinstance(event, Fill) and account_id == ME]


@pytest.mark.parametrize(
    ("kind", "side", "mark_px"),
    [
        (STOP_LIMIT, SELL, 97.0),
        (STOP_LIMIT, BUY, 103.0),
        (MARKET_IF, SELL, 103.0),
        (MARKET_IF, BUY, 97.0),
        (LIMIT_IF, SELL, 103.0),
        (LIMIT_IF, BUY, 97.0),
    ],
)
def test_each_waits_for_its_side_of_the_mark(floor: Floor, kind: OrderType, side: int, mark_px: float) -> None:
    floor.submit(market("x", -side, 5), trigger(kind, "t", side, 5, mark_px, 99.0 if side == SELL else 101.0))
    assert floor.mark(200.0 - mark_px) == []  # as far on the other side
    assert floor.mark(mark_px)[:2] == ["triggered t", "fill t 5@99" if side == SELL else "fill t 5@101"]
    expected = FillKind.STOP if kind is STOP_LIMIT else FillKind.TAKE_PROFIT
    assert kinds(floor) == [expected.value]
    assert floor.held_lots() == 0


def test_a_gap_past_the_limit_leaves_it_resting_to_be_met_or_modified(floor: Floor) -> None:
    floor.submit(market("x", BUY, 5), trigger(STOP_LIMIT, "t", SELL, 5, 98.0, 100.0))
    assert floor.mark(97.0) == ["triggered t"]
    assert floor.exchange.list_levels(BTC.instrument_id, SELL, 2) == [(100.0, 5), (101.0, 45)]
    assert status(floor, "t") is OrderStatus.TRIGGERED
    assert floor.mark(110.0) == []  # it does not trigger twice, nor go back
    assert "fill t 2@100" in floor.quote(market("y", BUY, 2))
    assert status(floor, "t") is OrderStatus.PARTLY_FILLED
    assert floor.modify("t", limit_px=99.5)[0].startswith("modified t")
    assert floor.exchange.list_levels(BTC.instrument_id, SELL, 1) == [(99.5, 3)]
    assert "fill t 3@99" in floor.modify("t", limit_px=99.0)
    assert status(floor, "t") is OrderStatus.FILLED


def test_its_time_in_force_counts_from_the_trigger(floor: Floor) -> None:
    floor.submit(market("x", BUY, 9))
    fields = {"time_in_force": TimeInForce.IOC}
    floor.submit(trigger(STOP_LIMIT, "ioc", SELL, 3, 98.0, 100.0, **fields))
    assert floor.mark(97.0) == ["triggered ioc", f"canceled ioc {Message.IOC}"]
    floor.mark(100.0)
    fields = {"time_in_force": TimeInForce.POST_ONLY}
    assert floor.submit(trigger(STOP_LIMIT, "post", SELL, 3, 98.0, 99.0, **fields)) == ["accepted post"]
    assert floor.mark(97.0) == ["triggered post", f"canceled post {Message.POST_ONLY}"]


def test_one_that_opens_needs_margin_from_its_placing_on(floor: Floor) -> None:
    assert floor.submit(trigger(STOP_LIMIT, "in", BUY, 5, 102.0, 101.0, is_reduce_only=False)) == ["accepted in"]
    floor.mark(102.0)
    assert floor.held_lots() == 5
    too_much = trigger(MARKET_IF, "big", BUY, 10**7, 90.0, 0.0, is_reduce_only=False)
    assert floor.submit(too_much) == [f"rejected big {Message.INSUFFICIENT_MARGIN}"]


def test_children_follow_their_group(floor: Floor) -> None:
    group = (
        market("in", BUY, 5),
        trigger(STOP_LIMIT, "s", SELL, 5, 98.0, 100.0),
        trigger(MARKET_IF, "t", SELL, 5, 103.0, 0.0),
    )
    floor.submit_group(*group)
    assert floor.mark(97.5) == ["triggered s"]
    told = floor.mark(103.0)
    assert told[0] == "triggered t"
    assert f"canceled s {Message.SIBLING_FILLED}" in told or f"canceled s {Message.SELF_TRADE}" in told
    assert floor.held_lots() == 0
    assert floor.exchange.open_orders(ME) == []


def test_a_resting_one_shrinks_and_goes_with_its_position(floor: Floor) -> None:
    floor.submit(market("x", BUY, 5), trigger(STOP_LIMIT, "t", SELL, 5, 98.0, 100.0))
    floor.mark(97.0)
    assert floor.submit(market("out", SELL, 2, is_reduce_only=True))[-1] == "modified t"
    report = floor.exchange.order_status(ME, "t")
    assert report is not None
    assert report.qty_lots == 3
    assert floor.submit(market("rest", SELL, 3))[-1] == f"canceled t {Message.POSITION_CLOSED}"
    assert status(floor, "t") is OrderStatus.CANCELED


@pytest.mark.parametrize("kind", TRIGGER_TYPES)
def test_without_its_prices_it_is_invalid(floor: Floor, kind: OrderType) -> None:
    floor.submit(market("x", BUY, 5))
    assert floor.submit(make_order(kind, "a", SELL, 5, limit_px=90.0, is_reduce_only=True)) == [
        f"rejected a {Message.INVALID}"
    ]
    told = floor.submit(
        make_order(kind, "b", SELL, 5, trigger_px=98.0 if kind in STOP_TYPES else 102.0, is_reduce_only=True)
    )
    assert told == ([f"rejected b {Message.INVALID}"] if kind in (STOP_LIMIT, LIMIT_IF) else ["accepted b"])


@pytest.mark.parametrize("kind", [STOP_LIMIT, MARKET_IF, LIMIT_IF])
def test_bars_refuse_what_they_do_not_fill(kind: OrderType) -> None:
    exchange = BarExchange([BTC, ETH], Floor().exchange.costs)
    exchange.add_account(ME, 1000.0)
    request = trigger(kind, "t", SELL, 5, 90.0, 90.0, is_reduce_only=False)
    ((_, event),) = exchange.submit(ME, [request], 0)
    assert getattr(event, "message", "") == Message.UNSUPPORTED
    group = exchange.submit(ME, [market("in", BUY, 5), trigger(kind, "c", SELL, 5, 90.0, 90.0)], 1, group=True)
    assert [getattr(event, "message", "") for _, event in group] == [Message.GROUP_INVALID, Message.UNSUPPORTED]
