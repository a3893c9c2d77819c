"""The paper venue: a test for each sentence of "fills when" in market.fills and venues.bar_exchange."""

import math
from typing import Any

import pytest

from market.events import (
    BarsClosed,
    CancelRejected,
    Fill,
    FillKind,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderRequest,
)
from market.fills import Costs
from market.instruments import Instrument
from market.records import Bar, Quality
from tests.unit.venues.order_requests import BTC, BUY, ETH, SELL, limit, make_bar, market, stop, take_profit
from venues.bar_exchange import BarExchange
from venues.exchange import Events
from venues.lifecycle import OrderStatus
from venues.orders import Message

COSTS = Costs(5.0, 2.0, 10.0)
MINUTE_NS = 60_000_000_000
ME = "me"
CALM = make_bar(100.0, 100.0, 100.0, 100.0)
MISSING = make_bar(100.0, 100.0, 100.0, 100.0, quality=Quality.MISSING.value)


class Desk:
    """An exchange with one account, and bars that follow each other by the minute; checked in full after each call."""

    def __init__(self, *instruments: Instrument, cash_quote: float = 10_000.0) -> None:
        self.exchange = BarExchange(instruments or (BTC,), COSTS)
        self.exchange.add_account(ME, cash_quote)
        self.ts_ns = 0

    def step(self, *bars: Bar) -> list[Any]:
        closed = tuple(bar._replace(ts_open_ns=self.ts_ns) for bar in bars)
        self.ts_ns += MINUTE_NS
        return self.take(self.exchange.apply_bars(BarsClosed(self.ts_ns, closed), self.ts_ns))

    def submit(self, *requests: OrderRequest) -> list[Any]:
        return self.take(self.exchange.submit(ME, requests, self.ts_ns, group=len(requests) > 1))

    def modify(self, client_order_id: str, **terms: Any) -> list[Any]:
        return self.take(self.exchange.modify(ME, client_order_id, self.ts_ns, **terms))

    def cancel(self, client_order_id: str) -> list[Any]:
        return self.take(self.exchange.cancel(ME, client_order_id, self.ts_ns))

    def take(self, events: Events) -> list[Any]:
        assert {account_id for account_id, _ in events} <= {ME}
        self.exchange.check_invariants()
        return [event for _, event in events]

    def enter(self, side: int = BUY, stop_px: float = 95.0, target_px: float = 110.0) -> None:
        children = stop("stop", -side, 10, stop_px), take_profit("target", -side, 10, target_px)
        self.submit(market("entry", side, 10), *children)
        self.step(CALM)

    def held_lots(self, instrument: Instrument = BTC) -> int:
        return self.exchange.position(ME, instrument.instrument_id).qty_lots

    def status(self, client_order_id: str) -> OrderStatus:
        report = self.exchange.order_status(ME, client_order_id)
        assert report is not None
        return report.status

    @property
    def cash_quote(self) -> float:
        return self.exchange.account_state(ME).cash_quote


def tell(events: list[Any]) -> list[str]:
    """Events in a word each: what happened to which order."""
    return [f"{type(event).__name__} {getattr(event, 'client_order_id', '')}".strip() for event in events]


def test_a_market_order_fills_whole_at_the_next_open_with_slippage_and_taker_fee() -> None:
    desk = Desk()
    desk.step(CALM)
    (accepted,) = desk.submit(market("a", BUY, 10))
    assert accepted == OrderAccepted("a", "1", MINUTE_NS)
    (fill,) = desk.step(make_bar(101.0, 103.0, 100.0, 102.0))
    fill_px = 101.0 * (1.0 + 1 * 10.0 * 1e-4)
    fee_quote = 10 * 0.01 * fill_px * 5.0 * 1e-4
    assert fill == Fill("a", "1", "1", BTC.instrument_id, BUY, fill_px, 10, fee_quote, False, 0, MINUTE_NS)
    state = desk.exchange.account_state(ME)
    assert state.cash_quote == 10_000.0 + 0.0 - fee_quote
    assert state.equity_quote == state.cash_quote + 10 * 0.01 * (102.0 - fill_px)
    assert state.margin_initial_quote == pytest.approx(10 * 0.01 * 102.0 / 20.0)
    assert state.margin_maintenance_quote == 10 * 0.01 * 102.0 * 0.025


def test_market_orders_fill_in_order_of_submission_and_a_reversal_is_two_legs() -> None:
    desk = Desk()
    desk.enter()
    desk.submit(market("leg0", SELL, 10, is_reduce_only=True))
    desk.submit(market("leg1", SELL, 4), stop("stop1", BUY, 4, 105.0))
    events = desk.step(CALM)
    assert tell(events) == [
        "Fill leg0",
        "OrderCanceled stop",
        "OrderCanceled target",
        "Fill leg1",
    ]
    assert desk.held_lots() == -4
    assert [order.client_order_id for order in desk.exchange.open_orders(ME)] == ["stop1"]


# side, stop, target, bar (open, high, low, close) -> order that fills, px before slippage
RESTING = {
    "long stop touched": (BUY, 95.0, 110.0, (100.0, 101.0, 94.0, 96.0), "stop", 95.0),
    "long stop touched exactly": (BUY, 95.0, 110.0, (100.0, 101.0, 95.0, 96.0), "stop", 95.0),
    "long stop gapped through": (BUY, 95.0, 110.0, (90.0, 92.0, 89.0, 91.0), "stop", 90.0),
    "long target touched": (BUY, 95.0, 110.0, (100.0, 111.0, 99.0, 108.0), "target", 110.0),
    "long target gapped through": (BUY, 95.0, 110.0, (112.0, 113.0, 111.0, 112.0), "target", 112.0),
    "long both: the stop": (BUY, 95.0, 110.0, (100.0, 111.0, 94.0, 100.0), "stop", 95.0),
    "short stop touched": (SELL, 105.0, 90.0, (100.0, 106.0, 99.0, 104.0), "stop", 105.0),
    "short stop gapped through": (SELL, 105.0, 90.0, (108.0, 109.0, 107.0, 108.0), "stop", 108.0),
    "short target touched": (SELL, 105.0, 90.0, (100.0, 101.0, 89.0, 95.0), "target", 90.0),
    "short target gapped through": (SELL, 105.0, 90.0, (88.0, 89.0, 87.0, 88.0), "target", 88.0),
    "short both: the stop": (SELL, 105.0, 90.0, (100.0, 106.0, 89.0, 100.0), "stop", 105.0),
    "neither": (BUY, 95.0, 110.0, (100.0, 109.9, 95.1, 100.0), None, 0.0),
}


@pytest.mark.parametrize("name", RESTING)
def test_resting_orders_against_a_bar(name: str) -> None:
    side, stop_px, target_px, (open_px, high_px, low_px, close_px), filled, raw_px = RESTING[name]
    desk = Desk()
    desk.enter(side, stop_px, target_px)
    events = desk.step(make_bar(open_px, high_px, low_px, close_px))
    if filled is None:
        assert events == []
        assert desk.held_lots() == 10 * side
        return
    other = "target" if filled == "stop" else "stop"
    triggered = ["OrderTriggered stop"] if filled == "stop" else []
    assert tell(events) == [*triggered, f"Fill {filled}", f"OrderCanceled {other}"]
    fill, canceled = events[-2:]
    assert fill.fill_px == (raw_px * (1.0 - side * 10.0 * 1e-4) if filled == "stop" else raw_px)
    assert fill.is_maker == (filled == "target")
    assert fill.fee_quote == 10 * 0.01 * fill.fill_px * (5.0 if filled == "stop" else 2.0) * 1e-4
    assert fill.kind == (FillKind.STOP if filled == "stop" else FillKind.TAKE_PROFIT)
    assert fill.ts_event_ns == MINUTE_NS
    assert canceled.message == Message.SIBLING_FILLED
    assert desk.held_lots() == 0


def test_children_are_tested_from_the_bar_of_the_entry_fill_on_and_never_before() -> None:
    desk = Desk()
    desk.submit(market("entry", BUY, 10), stop("stop", SELL, 10, 95.0))
    assert desk.step(MISSING) == []
    events = desk.step(make_bar(100.0, 100.0, 94.0, 94.0))
    assert tell(events) == ["Fill entry", "OrderTriggered stop", "Fill stop"]


def test_of_several_stops_the_nearest_to_the_market_comes_first() -> None:
    desk = Desk()
    desk.enter(stop_px=90.0)
    desk.submit(stop("near", SELL, 4, 97.0))
    events = desk.step(make_bar(100.0, 100.0, 89.0, 90.0))
    assert tell(events)[:4] == ["OrderTriggered near", "Fill near", "OrderModified stop", "OrderModified target"]
    assert desk.held_lots() == 0
    assert desk.exchange.open_orders(ME) == []


def test_funding_at_the_open_is_paid_on_what_was_held_before_and_inside_on_what_is_held_after() -> None:
    desk = Desk()
    desk.submit(market("a", BUY, 10))
    (fill, paid) = desk.step(make_bar(100.0, 100.0, 100.0, 100.0, funding_open_rate=0.01, funding_inside_rate=0.002))
    assert isinstance(fill, Fill)
    assert paid == FundingPaid(BTC.instrument_id, 10, 0.002, 100.0, -(10 * 0.01 * 100.0 * 0.002), 1)
    cash_quote = desk.cash_quote
    desk.submit(market("b", SELL, 10, is_reduce_only=True))
    (paid, fill) = desk.step(make_bar(90.0, 100.0, 90.0, 100.0, funding_open_rate=0.01, funding_inside_rate=0.002))
    assert paid == FundingPaid(BTC.instrument_id, 10, 0.01, 90.0, -(10 * 0.01 * 90.0 * 0.01), MINUTE_NS)
    assert desk.cash_quote == pytest.approx(
        cash_quote + paid.amount_quote + 0.1 * (fill.fill_px - 100.1) - fill.fee_quote
    )
    assert desk.exchange.account_state(ME).funding_quote == -0.02 + paid.amount_quote


@pytest.mark.parametrize(
    ("side", "rate", "sign"), [(BUY, 0.01, -1), (SELL, 0.01, 1), (BUY, -0.01, 1), (SELL, -0.01, -1)]
)
def test_longs_pay_positive_funding_and_shorts_receive_it(side: int, rate: float, sign: int) -> None:
    desk = Desk()
    desk.submit(market("a", side, 10))
    desk.step(CALM)
    (paid,) = desk.step(make_bar(100.0, 100.0, 100.0, 100.0, funding_open_rate=rate))
    assert paid.amount_quote == pytest.approx(sign * 10 * 0.01 * 100.0 * 0.01)


def test_a_missing_bar_fills_nothing_and_triggers_nothing_but_funding_is_paid() -> None:
    desk = Desk()
    desk.enter()
    desk.submit(market("b", SELL, 10, is_reduce_only=True))
    missing = make_bar(94.0, 111.0, 94.0, 94.0, quality=Quality.MISSING.value, funding_open_rate=0.01)
    assert tell(desk.step(missing)) == ["FundingPaid"]
    assert tell(desk.step(CALM)) == ["Fill b", "OrderCanceled stop", "OrderCanceled target"]


def test_liquidation_at_the_close_in_instrument_order_cancels_everything() -> None:
    desk = Desk(BTC, ETH, cash_quote=60.0)
    desk.submit(market("btc", BUY, 1000), stop("btc-stop", SELL, 1000, 50.0))
    desk.submit(market("eth", SELL, 1, instrument_id=ETH.instrument_id))
    desk.step(CALM, CALM)
    assert desk.held_lots(BTC) == 1000
    fall = make_bar(100.0, 100.0, 96.0, 96.0)
    events = desk.step(fall, CALM)
    assert tell(events) == ["OrderCanceled btc-stop", "Fill", "Fill"]
    canceled, first, second = events
    assert canceled.message == Message.LIQUIDATED
    assert (first.instrument_id, second.instrument_id) == (BTC.instrument_id, ETH.instrument_id)
    assert first.fill_px == 96.0 * (1.0 - 10.0 * 1e-4)
    assert second.fill_px == 100.0 * (1.0 + 10.0 * 1e-4)
    assert {fill.kind for fill in (first, second)} == {FillKind.LIQUIDATION}
    assert {fill.ts_event_ns for fill in (first, second)} == {2 * MINUTE_NS}
    assert first.client_order_id == ""
    assert (desk.held_lots(BTC), desk.held_lots(ETH)) == (0, 0)


def test_liquidation_begins_just_below_maintenance() -> None:
    # 100 lots = 1 BTC bought at 100.1: equity = 10 - fee + close - 100.1, maintenance 2.5 % of the close.
    for close_px, held_lots in ((92.47, 100), (92.46, 0)):
        desk = Desk(cash_quote=10.0)
        desk.submit(market("a", BUY, 100))
        desk.step(CALM)
        desk.step(make_bar(100.0, 100.0, close_px, close_px))
        state = desk.exchange.account_state(ME)
        assert desk.held_lots() == held_lots
        assert (state.equity_quote >= state.margin_maintenance_quote) or held_lots == 0


def test_an_entry_beyond_the_leverage_is_refused_at_its_fill_and_so_are_its_children() -> None:
    desk = Desk(cash_quote=100.0)
    desk.exchange.set_leverage(ME, BTC.instrument_id, 2.0, 0)
    desk.submit(market("entry", BUY, 201), stop("stop", SELL, 201, 95.0))
    rejected, canceled = desk.step(CALM)
    assert rejected == OrderRejected("entry", "insufficient margin", 0)
    assert isinstance(canceled, OrderCanceled)
    assert canceled.message == Message.PARENT_CANCELED
    desk.submit(market("smaller", BUY, 199))
    assert tell(desk.step(CALM)) == ["Fill smaller"]
    # What reduces is never refused, whatever the equity.
    desk.exchange.set_leverage(ME, BTC.instrument_id, 1.0, 0)
    desk.submit(market("out", SELL, 100))
    assert tell(desk.step(CALM)) == ["Fill out"]


def test_margin_counts_all_instruments() -> None:
    desk = Desk(BTC, ETH, cash_quote=100.0)
    for instrument in (BTC, ETH):
        desk.exchange.set_leverage(ME, instrument.instrument_id, 1.0, 0)
    desk.submit(market("btc", BUY, 60))
    desk.submit(market("eth", BUY, 6, instrument_id=ETH.instrument_id))
    assert tell(desk.step(CALM, CALM)) == ["Fill btc", "OrderRejected eth"]


REFUSED = {
    "limit": (limit("x", BUY, 1000, 100.0), Message.UNSUPPORTED),
    "stop that opens": (stop("x", BUY, 1000, 100.0, is_reduce_only=False), Message.UNSUPPORTED),
    "reduce-only while flat": (stop("x", SELL, 1000, 95.0), Message.REDUCE_ONLY),
    "target that is not reduce-only": (take_profit("x", SELL, 1000, 95.0, is_reduce_only=False), Message.INVALID),
    "no size": (market("x", BUY, 0), Message.INVALID),
    "no side": (market("x", 0, 1000), Message.INVALID),
    "no trigger": (stop("x", SELL, 1000, math.nan), Message.INVALID),
    "no id": (market("", BUY, 1000), Message.INVALID),
    "too small": (market("x", BUY, 1), Message.BELOW_MINIMUM),
    "elsewhere": (market("x", BUY, 1000, instrument_id="BTC-PERP.ELSEWHERE"), Message.UNKNOWN_INSTRUMENT),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_at_submission(name: str) -> None:
    request, message = REFUSED[name]
    desk = Desk()
    desk.step(CALM)
    assert desk.submit(request) == [OrderRejected(request.client_order_id, message, MINUTE_NS)]
    assert desk.status(request.client_order_id) is OrderStatus.REJECTED
    assert desk.exchange.open_orders(ME) == []


def test_an_id_is_good_for_one_order_ever() -> None:
    desk = Desk()
    desk.enter()
    for client_order_id in ("entry", "stop"):  # filled, resting
        (rejected,) = desk.submit(market(client_order_id, BUY, 10))
        assert rejected.message == Message.DUPLICATE
    assert desk.status("entry") is OrderStatus.FILLED
    assert desk.status("stop") is OrderStatus.ACCEPTED
    resent = desk.submit(market("entry", BUY, 10), stop("stop", SELL, 10, 95.0), take_profit("target", SELL, 10, 110.0))
    assert [event.message for event in resent] == [Message.DUPLICATE] * 3


def test_a_group_is_refused_whole() -> None:
    desk = Desk()
    for children in (
        (stop("stop", BUY, 10, 95.0),),
        (market("stop", SELL, 10, is_reduce_only=True),),
        (stop("stop", SELL, 10, -1.0),),
        (stop("stop", SELL, 10, 95.0, instrument_id="BTC-PERP.ELSEWHERE"),),
    ):
        desk = Desk()
        events = desk.submit(market("entry", BUY, 10), *children)
        assert tell(events) == ["OrderRejected entry", "OrderRejected stop"]
        assert desk.step(CALM) == []


def test_a_stop_is_moved_and_the_move_counts_from_the_next_bar_on() -> None:
    desk = Desk()
    desk.enter()
    (modified,) = desk.modify("stop", trigger_px=99.0)
    assert modified == OrderModified("stop", "2", 10, 0.0, 99.0, MINUTE_NS)
    events = desk.step(make_bar(100.0, 100.0, 98.0, 98.0))
    assert events[1].fill_px == 99.0 * (1.0 - 10.0 * 1e-4)
    assert desk.modify("stop", trigger_px=98.0) == [CancelRejected("stop", Message.NOT_OPEN, desk.ts_ns)]


@pytest.mark.parametrize("terms", [{"trigger_px": 0.0}, {"trigger_px": math.nan}, {"qty_lots": 0}])
def test_terms_that_make_no_sense_are_refused(terms: dict[str, Any]) -> None:
    desk = Desk()
    desk.enter()
    (refused,) = desk.modify("stop", **terms)
    assert (type(refused), refused.message) == (CancelRejected, Message.INVALID)


def test_protection_shrinks_with_the_position_and_goes_with_it() -> None:
    desk = Desk()
    desk.enter()
    desk.submit(market("part", SELL, 4, is_reduce_only=True))
    events = desk.step(CALM)
    assert tell(events) == ["Fill part", "OrderModified stop", "OrderModified target"]
    assert [event.qty_lots for event in events[1:]] == [6, 6]
    desk.submit(market("rest", SELL, 99, is_reduce_only=True))
    events = desk.step(CALM)
    assert tell(events) == ["Fill rest", "OrderCanceled stop", "OrderCanceled target"]
    assert events[0].fill_qty_lots == 6
    assert desk.held_lots() == 0


def test_canceling_an_unfilled_entry_takes_its_children_along() -> None:
    desk = Desk()
    desk.submit(market("entry", BUY, 10), stop("stop", SELL, 10, 95.0))
    requested, followed = desk.cancel("entry")
    assert (requested.message, followed.message) == (Message.REQUESTED, Message.PARENT_CANCELED)
    assert desk.step(CALM) == []
    assert desk.cancel("entry") == [CancelRejected("entry", Message.NOT_OPEN, desk.ts_ns)]
    assert desk.cancel("never") == [CancelRejected("never", Message.NOT_OPEN, desk.ts_ns)]


def test_an_entry_that_only_reduces_leaves_nothing_to_protect() -> None:
    desk = Desk()
    desk.enter(SELL, 105.0, 90.0)
    desk.submit(market("back", BUY, 4), stop("back-stop", SELL, 4, 95.0))
    events = desk.step(CALM)
    assert tell(events) == ["Fill back", "OrderCanceled back-stop", "OrderModified stop", "OrderModified target"]


def test_queries() -> None:
    desk = Desk()
    desk.enter()
    desk.step(make_bar(100.0, 100.0, 94.0, 94.0))
    assert [fill.client_order_id for fill in desk.exchange.fills_since(ME, 0)] == ["entry", "stop"]
    assert [fill.client_order_id for fill in desk.exchange.fills_since(ME, MINUTE_NS)] == ["stop"]
    assert desk.exchange.order_status(ME, "never") is None
    assert desk.exchange.get_mark_px(BTC.instrument_id) == 94.0
    assert desk.exchange.cancel_all(ME, desk.ts_ns) == []


@pytest.mark.parametrize(
    ("bars", "ts_now_ns", "message"),
    [
        ((CALM, CALM), MINUTE_NS, "2 bars for instruments"),
        ((CALM,), MINUTE_NS - 1, "after now"),
        ((CALM._replace(close_px=math.nan),), MINUTE_NS, "not usable"),
        ((CALM._replace(funding_open_rate=math.nan),), MINUTE_NS, "not usable"),
    ],
)
def test_bars_that_are_not_usable_change_nothing(bars: tuple[Bar, ...], ts_now_ns: int, message: str) -> None:
    desk = Desk()
    desk.submit(market("a", BUY, 10))
    with pytest.raises(ValueError, match=message):
        desk.exchange.apply_bars(BarsClosed(MINUTE_NS, bars), ts_now_ns)
    assert desk.status("a") is OrderStatus.ACCEPTED
    assert math.isnan(desk.exchange.get_mark_px(BTC.instrument_id))


def test_wrong_callers_are_told() -> None:
    desk = Desk()
    with pytest.raises(ValueError, match="no account 'you'"):
        desk.exchange.cancel("you", "a", 0)
    with pytest.raises(ValueError, match="no instrument"):
        desk.exchange.position(ME, "BTC-PERP.ELSEWHERE")
    with pytest.raises(ValueError, match="exists already"):
        desk.exchange.add_account(ME, 1.0)
    with pytest.raises(ValueError, match="must be in"):
        desk.exchange.set_leverage(ME, BTC.instrument_id, 21.0, 0)
    with pytest.raises(ValueError, match="at least one"):
        desk.exchange.submit(ME, [], 0)
