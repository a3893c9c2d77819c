"""What holds whatever orders, marks, bars and funding come: money, lots, priority, reduce-only, life cycles, replay."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from market.events import BarsClosed, Fill, FundingPaid, OrderRequest, OrderType, TimeInForce
from market.fills import Costs
from tests.unit.venues.order_requests import BTC, BUY, ETH, SELL, limit, make_bar, make_order, market, trigger
from venues.bar_exchange import BarExchange
from venues.book_exchange import BookExchange
from venues.exchange import Events, Exchange
from venues.lifecycle import DUPLICATE, OrderStatus, apply_step, get_step
from venues.orders import STOP_TYPES, TOUCH_TYPES, Message

COSTS = Costs(5.0, 2.0, 10.0)
ACCOUNTS = ("a", "b", "c")
SIDES = st.sampled_from([BUY, SELL])
LOTS = st.integers(3, 20)  # from 3 on above the minimum notional
PXS = st.integers(98, 102).map(float)  # few, so that orders meet
AGES = st.integers(1, 12)  # which earlier order a cancel or modify means: that of so many calls ago

# Priority, against a book so simple that it cannot be wrong.


@dataclass
class _Resting:
    account_id: str
    client_order_id: str
    side: int
    px: float
    lots: int


class NaiveBook:
    """A flat list in order of arrival; the best is found by looking at all."""

    def __init__(self) -> None:
        self.resting: list[_Resting] = []
        self.trades: list[tuple[str, str, int, float]] = []  # taker, maker, lots, px

    def submit(self, account_id: str, request: OrderRequest) -> None:
        left = request.qty_lots
        while left:
            others = [order for order in self.resting if order.side == -request.side]
            if request.order_type is OrderType.LIMIT:
                others = [order for order in others if request.side * (request.limit_px - order.px) >= 0.0]
            if not others:
                break
            best = min(others, key=lambda order: request.side * order.px)  # min takes the first of equals
            if best.account_id == account_id:
                self.resting.remove(best)
                continue
            lots = min(left, best.lots)
            self.trades.append((request.client_order_id, best.client_order_id, lots, best.px))
            left, best.lots = left - lots, best.lots - lots
            if best.lots == 0:
                self.resting.remove(best)
        if left and request.order_type is OrderType.LIMIT and request.time_in_force is TimeInForce.GTC:
            own = _Resting(account_id, request.client_order_id, request.side, request.limit_px, left)
            self.resting.append(own)

    def cancel(self, account_id: str, client_order_id: str) -> None:
        self.resting = [o for o in self.resting if (o.account_id, o.client_order_id) != (account_id, client_order_id)]


PLAIN_ORDERS = st.one_of(
    st.builds(lambda side, lots: ("market", side, lots, 0.0, TimeInForce.GTC), SIDES, LOTS),
    st.builds(
        lambda side, lots, px, tif: ("limit", side, lots, px, tif),
        SIDES,
        LOTS,
        PXS,
        st.sampled_from([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC]),
    ),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(ACCOUNTS), st.one_of(PLAIN_ORDERS, PLAIN_ORDERS, AGES)), min_size=20, max_size=60
    )
)
def test_trades_are_those_of_a_naive_price_time_book(flow: list[tuple[str, Any]]) -> None:
    exchange, naive = BookExchange([BTC], COSTS), NaiveBook()
    for account_id in ACCOUNTS:
        exchange.add_account(account_id, 0.0, is_house=True)
    trades: dict[str, list[Fill]] = {}
    for count, (account_id, action) in enumerate(flow):
        if isinstance(action, int):
            events = exchange.cancel(account_id, str(count - action), count)
            naive.cancel(account_id, str(count - action))
        else:
            kind, side, lots, px, time_in_force = action
            request = make_order(OrderType(kind), str(count), side, lots, limit_px=px, time_in_force=time_in_force)
            events = exchange.submit(account_id, [request], count)
            naive.submit(account_id, request)
        for _, event in events:
            if isinstance(event, Fill):
                trades.setdefault(event.trade_id, []).append(event)
    exchange.check_invariants()
    told = [
        (taker.client_order_id, maker.client_order_id, taker.fill_qty_lots, maker.fill_px)
        for taker, maker in trades.values()
    ]
    assert told == naive.trades
    for side in (BUY, SELL):
        expected: dict[float, int] = {}
        for order in sorted((o for o in naive.resting if o.side == side), key=lambda o: -side * o.px):
            expected[order.px] = expected.get(order.px, 0) + order.lots
        assert exchange.list_levels(BTC.instrument_id, side, 99) == [*expected.items()]


# Everything at once.


class Observer:
    """Believes only events: folds them through the lifecycle table, and compares with what the exchange says."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.status: dict[tuple[str, str], OrderStatus] = {}
        self.filled: dict[tuple[str, str], int] = {}
        self.held: dict[tuple[str, str], int] = {}
        self.requests: dict[tuple[str, str], OrderRequest] = {}
        self.trade_ids: set[tuple[str, str]] = set()

    def note(self, account_id: str, requests: list[OrderRequest]) -> None:
        for request in requests:
            self.requests.setdefault((account_id, request.client_order_id), request)

    def take(self, events: Events) -> None:
        for account_id, event in events:
            if isinstance(event, FundingPaid):
                continue
            key = (account_id, event.client_order_id)
            if isinstance(event, Fill):
                self._take_fill(account_id, event)
            if not event.client_order_id or getattr(event, "message", "") in (DUPLICATE, Message.NOT_OPEN):
                continue
            report = self.exchange.order_status(*key)
            assert report is not None
            left = report.qty_lots - self.filled.get(key, 0)
            step = get_step(event, left)
            assert step is not None
            self.status[key] = apply_step(self.status.get(key, OrderStatus.SENT), step)
        for key, status in self.status.items():
            report = self.exchange.order_status(*key)
            assert report is not None
            assert report.status is status, (key, report, status)
            assert report.qty_filled_lots == self.filled.get(key, 0)
        self._check_protection()
        self.exchange.check_invariants()

    def _take_fill(self, account_id: str, fill: Fill) -> None:
        assert (account_id, fill.trade_id) not in self.trade_ids
        self.trade_ids.add((account_id, fill.trade_id))
        held = self.held.get((account_id, fill.instrument_id), 0)
        after = held + fill.side * fill.fill_qty_lots
        self.held[account_id, fill.instrument_id] = after
        request = self.requests.get((account_id, fill.client_order_id))
        if request is None or request.is_reduce_only:  # None: a liquidation
            assert held * fill.side < 0, "a reduce-only order added to a position"
            assert held * after >= 0, "a reduce-only order flipped a position"
        key = (account_id, fill.client_order_id)
        self.filled[key] = self.filled.get(key, 0) + fill.fill_qty_lots

    def _check_protection(self) -> None:
        # What rests to reduce can reduce: no armed reduce-only order without a position of the other side.
        for account_id, instrument_id in {(key[0], self.requests[key].instrument_id) for key in self.requests}:
            held = self.held.get((account_id, instrument_id), 0)
            assert held == self.exchange.position(account_id, instrument_id).qty_lots
            for report in self.exchange.open_orders(account_id, instrument_id):
                if report.is_reduce_only and report.is_armed:
                    assert held * report.side < 0, report


def _make_group(
    client_order_id: str,
    side: int,
    lots: int,
    px: float,
    is_market: bool,
    kinds: tuple[OrderType, OrderType] = (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_LIMIT),
) -> list[OrderRequest]:
    entry = market(client_order_id, side, lots) if is_market else limit(client_order_id, side, lots, px)
    return [
        entry,
        trigger(kinds[0], f"{client_order_id}s", -side, lots, px - side, px),  # its limit rests on this side of it
        trigger(kinds[1], f"{client_order_id}t", -side, lots, px + side, px + side),
    ]


def _make_single(
    client_order_id: str, kind: OrderType, side: int, lots: int, px: float, tif: TimeInForce, is_reduce_only: bool
) -> list[OrderRequest]:
    fields = {"limit_px": px, "trigger_px": px, "time_in_force": tif, "is_reduce_only": is_reduce_only}
    return [make_order(kind, client_order_id, side, lots, **fields)]


WHO = st.sampled_from(ACCOUNTS)
TIFS = st.sampled_from([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.POST_ONLY])
SINGLES = st.tuples(
    st.just("submit"),
    WHO,
    st.tuples(st.sampled_from(OrderType), SIDES, LOTS, PXS, TIFS, st.sampled_from([False, False, True])),
)
KINDS = st.tuples(
    st.sampled_from(STOP_TYPES),
    st.sampled_from([OrderType.TAKE_PROFIT_LIMIT, OrderType.TAKE_PROFIT_LIMIT, *TOUCH_TYPES]),
)
GROUPS = st.tuples(st.just("group"), WHO, st.tuples(SIDES, LOTS, PXS, st.booleans(), KINDS))
CALLS = st.one_of(
    SINGLES,
    SINGLES,
    GROUPS,
    GROUPS,
    st.tuples(st.just("cancel"), WHO, st.tuples(AGES, st.sampled_from(["", "s", "t"]))),
    st.tuples(
        st.just("modify"), WHO, st.tuples(AGES, st.sampled_from(["", "s", "t"]), st.none() | LOTS, st.none() | PXS)
    ),
    st.tuples(st.just("mark"), st.just(""), st.integers(94, 106).map(float)),
    st.tuples(st.just("funding"), st.just(""), st.sampled_from([-0.01, 0.0, 0.01])),
    st.tuples(st.just("isolate"), WHO, st.booleans()),
    st.tuples(st.just("move"), WHO, st.sampled_from([-1.0, 0.5, 5.0])),
)


def _name(count: int, lots: int) -> str:
    # One in a while an id comes again.
    return str(count - 3 if lots == 13 else count)


def _call(exchange: BookExchange, call: tuple[str, str, Any], count: int, observer: Observer | None) -> Events:
    name, account_id, argument = call
    match name:
        case "submit" | "group":
            make, lots = (_make_single, argument[2]) if name == "submit" else (_make_group, argument[1])
            requests = make(_name(count, lots), *argument)
            if observer is not None:
                observer.note(account_id, requests)
            return exchange.submit(account_id, requests, count, group=name == "group")
        case "cancel":
            age, letter = argument
            return exchange.cancel(account_id, f"{count - age}{letter}", count)
        case "modify":
            age, letter, qty_lots, px = argument
            return exchange.modify(account_id, f"{count - age}{letter}", count, qty_lots, px, px)
        case "mark":
            return exchange.apply_marks({BTC.instrument_id: argument}, count)
        case "isolate" | "move":
            change = exchange.set_isolated if name == "isolate" else exchange.move_isolated_margin
            try:
                return change(account_id, BTC.instrument_id, argument, count)
            except ValueError:
                return []  # a position is open, or there is none
        case _:
            return exchange.settle_funding(BTC.instrument_id, argument, 100.0, count)


def _make_book_exchange(is_child_armed_by_part: bool) -> BookExchange:
    exchange = BookExchange([BTC], COSTS, is_child_armed_by_part=is_child_armed_by_part)
    for account_id, cash_quote in zip(ACCOUNTS, (1_000.0, 100.0, 1.5), strict=True):  # the last is soon liquidated
        exchange.add_account(account_id, cash_quote)
    exchange.apply_marks({BTC.instrument_id: 100.0}, 0)
    return exchange


@settings(max_examples=100, deadline=None)
@given(st.lists(CALLS, min_size=30, max_size=80), st.booleans())
def test_any_order_flow_balances_and_the_same_calls_give_the_same_events(calls: list[Any], by_part: bool) -> None:
    exchange, twin = _make_book_exchange(by_part), _make_book_exchange(by_part)
    observer = Observer(exchange)
    for count, call in enumerate(calls, 1):
        events = _call(exchange, call, count, observer)
        assert events == _call(twin, call, count, None)
        observer.take(events)
    for account_id in ACCOUNTS:
        for count in range(1, len(calls) + 1):
            _check_siblings(exchange, account_id, str(count))


def _check_siblings(exchange: Exchange, account_id: str, number: str) -> None:
    children = [exchange.order_status(account_id, f"{number}{letter}") for letter in "st"]
    ended = [child.status for child in children if child is not None]
    if OrderStatus.FILLED in ended:
        assert not any(status.is_open for status in ended), "one of two siblings filled, the other lives"


# Bars.

BAR_PXS = st.tuples(*[st.integers(90, 110).map(float)] * 4)
BARS = st.builds(
    lambda pxs, rate_open, rate_inside, is_missing: make_bar(
        pxs[0],
        max(pxs),
        min(pxs),
        pxs[1],
        funding_open_rate=rate_open,
        funding_inside_rate=rate_inside,
        quality=int(is_missing),
    ),
    BAR_PXS,
    st.sampled_from([0.0, 0.0, 0.001, -0.002]),
    st.sampled_from([0.0, 0.0, 0.001]),
    st.sampled_from([False, False, False, True]),
)
BAR_CALLS = st.one_of(
    st.tuples(st.just("group"), st.tuples(SIDES, LOTS, PXS, st.just(True))),
    st.tuples(
        st.just("submit"),
        st.tuples(SIDES, LOTS, st.booleans(), st.sampled_from([OrderType.MARKET] * 3 + [*OrderType])),
    ),
    st.tuples(st.just("bars"), st.tuples(BARS, BARS)),
    st.tuples(st.just("bars"), st.tuples(BARS, BARS)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(BAR_CALLS, min_size=15, max_size=50), st.sampled_from([2.0, 1_000.0]))
def test_any_bars_balance_and_the_same_calls_give_the_same_events(calls: list[Any], cash_quote: float) -> None:
    exchange, twin = BarExchange([BTC, ETH], COSTS), BarExchange([BTC, ETH], COSTS)
    for one in (exchange, twin):
        one.add_account("a", cash_quote)
    observer = Observer(exchange)
    ts_ns = 0
    for count, (name, argument) in enumerate(calls):
        if name == "bars":
            bars = BarsClosed(ts_ns + 60, tuple(bar._replace(ts_open_ns=ts_ns) for bar in argument))
            ts_ns += 60
            events = exchange.apply_bars(bars, ts_ns)
            assert events == twin.apply_bars(bars, ts_ns)
        else:
            side, lots, *rest = argument
            if name == "group":
                requests = _make_group(_name(count, lots), side, lots, *rest)
            else:
                kind = rest[1]  # what these do not fill they refuse
                fields = {"limit_px": 100.0, "trigger_px": 100.0, "is_reduce_only": rest[0]}
                requests = [make_order(kind, _name(count, lots), side, lots, **fields)]
            observer.note("a", requests)
            events = exchange.submit("a", requests, ts_ns, group=name == "group")
            assert events == twin.submit("a", requests, ts_ns, group=name == "group")
        observer.take(events)
    state = exchange.account_state("a")
    held = any(exchange.position("a", one.instrument_id).qty_lots for one in (BTC, ETH))
    if calls and calls[-1][0] == "bars" and held:
        assert state.equity_quote >= state.margin_maintenance_quote, "below maintenance and not liquidated"
