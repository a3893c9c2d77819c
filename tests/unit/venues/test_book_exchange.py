"""The exchange with a book: a test for each sentence of its "fills when"."""

import math
from typing import Any

import pytest

from market.events import CancelRejected, FillKind, FundingPaid, OrderModified, OrderRequest, TimeInForce
from market.fills import Costs
from tests.unit.venues.order_requests import BTC, BUY, SELL, limit, market, stop, take_profit
from venues.book_exchange import BookExchange
from venues.exchange import Events
from venues.lifecycle import OrderStatus
from venues.orders import Message

IOC, POST_ONLY = TimeInForce.IOC, TimeInForce.POST_ONLY
MAKER, ME = "maker", "me"


class Floor:
    """An exchange with a house that quotes and one account; time passes by one with each call."""

    def __init__(self, cash_quote: float = 10_000.0, *, is_child_armed_by_part: bool = True) -> None:
        self.exchange = BookExchange([BTC], Costs(5.0, 2.0, 10.0), is_child_armed_by_part=is_child_armed_by_part)
        self.exchange.add_account(MAKER, 0.0, is_house=True)
        self.exchange.add_account(ME, cash_quote)
        self.ts_ns = 0
        self.mark(100.0)

    def take(self, events: Events) -> list[str]:
        """Check everything, and tell what happened to whose order in a word each."""
        self.exchange.check_invariants()
        self.events = events
        return [_tell(account_id, event) for account_id, event in events]

    def now(self) -> int:
        self.ts_ns += 1
        return self.ts_ns

    def quote(self, *requests: OrderRequest) -> list[str]:
        return self.take(self.exchange.submit(MAKER, requests, self.now()))

    def submit(self, *requests: OrderRequest) -> list[str]:
        return self.take(self.exchange.submit(ME, requests, self.now()))

    def submit_group(self, *requests: OrderRequest) -> list[str]:
        return self.take(self.exchange.submit(ME, requests, self.now(), group=True))

    def modify(self, client_order_id: str, **terms: Any) -> list[str]:
        return self.take(self.exchange.modify(ME, client_order_id, self.now(), **terms))

    def cancel(self, client_order_id: str) -> list[str]:
        return self.take(self.exchange.cancel(ME, client_order_id, self.now()))

    def mark(self, mark_px: float) -> list[str]:
        return self.take(self.exchange.apply_marks({BTC.instrument_id: mark_px}, self.now()))

    def held_lots(self, account_id: str = ME) -> int:
        return self.exchange.position(account_id, BTC.instrument_id).qty_lots

    def levels(self, side: int) -> list[tuple[float, int]]:
        return self.exchange.list_levels(BTC.instrument_id, side, 10)

    def status(self, client_order_id: str, account_id: str = ME) -> OrderStatus:
        report = self.exchange.order_status(account_id, client_order_id)
        assert report is not None
        return report.status


def _tell(account_id: str, event: Any) -> str:
    words = [type(event).__name__.removeprefix("Order").lower(), getattr(event, "client_order_id", "")]
    words += [f"{event.fill_qty_lots}@{event.fill_px:g}"] if words[0] == "fill" else []
    words += [getattr(event, "message", "")]
    return (f"{account_id}: " if account_id != ME else "") + " ".join(word for word in words if word)


def test_an_order_meets_the_best_price_first_then_first_come_at_the_resting_px() -> None:
    floor = Floor()
    floor.quote(limit("b", SELL, 5, 101.0), limit("a", SELL, 5, 100.0), limit("c", SELL, 5, 100.0))
    assert floor.submit(limit("x", BUY, 12, 101.0)) == [
        "accepted x",
        "fill x 5@100",
        "maker: fill a 5@100",
        "fill x 5@100",
        "maker: fill c 5@100",
        "fill x 2@101",
        "maker: fill b 2@101",
    ]
    taker_fill, maker_fill = floor.events[1][1], floor.events[2][1]
    assert taker_fill.trade_id == maker_fill.trade_id == "1"
    assert (taker_fill.is_maker, maker_fill.is_maker) == (False, True)
    assert taker_fill.fee_quote == pytest.approx(5 * 0.01 * 100.0 * 5e-4)
    assert maker_fill.fee_quote == pytest.approx(5 * 0.01 * 100.0 * 2e-4)
    assert floor.levels(SELL) == [(101.0, 3)]
    assert (floor.held_lots(), floor.held_lots(MAKER)) == (12, -12)


REST = {
    "gtc rests": (limit("x", BUY, 8, 100.0), ["accepted x", "fill x 5@100", "maker: fill a 5@100"], [(100.0, 3)]),
    "ioc goes": (
        limit("x", BUY, 8, 100.0, time_in_force=IOC),
        ["accepted x", "fill x 5@100", "maker: fill a 5@100", "canceled x ioc"],
        [],
    ),
    "ioc that meets none": (limit("x", BUY, 8, 99.0, time_in_force=IOC), ["accepted x", "canceled x ioc"], []),
    "market goes": (
        market("x", BUY, 8),
        ["accepted x", "fill x 5@100", "maker: fill a 5@100", "canceled x no liquidity"],
        [],
    ),
    "post-only rests": (limit("x", BUY, 8, 99.0, time_in_force=POST_ONLY), ["accepted x"], [(99.0, 8)]),
    "post-only refused": (
        limit("x", BUY, 8, 100.0, time_in_force=POST_ONLY),
        ["rejected x post only order would match"],
        [],
    ),
}


@pytest.mark.parametrize("name", REST)
def test_what_becomes_of_the_rest(name: str) -> None:
    request, told, bids = REST[name]
    floor = Floor()
    floor.quote(limit("a", SELL, 5, 100.0))
    assert floor.submit(request) == told
    assert floor.levels(BUY) == bids


def test_an_order_never_meets_one_of_its_own_account() -> None:
    floor = Floor()
    floor.submit(limit("own", SELL, 5, 100.0))
    floor.quote(limit("a", SELL, 5, 100.0))
    assert floor.submit(market("x", BUY, 5)) == [
        "accepted x",
        "canceled own self trade",
        "fill x 5@100",
        "maker: fill a 5@100",
    ]


def test_modify_keeps_the_place_if_only_the_size_shrinks() -> None:
    floor = Floor()
    for client_order_id in ("first", "second"):
        floor.submit(limit(client_order_id, BUY, 5, 99.0))
    assert floor.modify("first", qty_lots=4) == ["modified first"]
    floor.quote(market("hit", SELL, 2))
    assert floor.status("first") is OrderStatus.PARTLY_FILLED
    assert floor.modify("first", qty_lots=6) == ["modified first"]
    floor.quote(market("hit2", SELL, 5))
    assert floor.status("second") is OrderStatus.FILLED
    assert floor.modify("first", qty_lots=1) == ["cancelrejected first invalid order"]
    assert floor.modify("second", qty_lots=9) == ["cancelrejected second never placed, already canceled, or filled"]


def test_modify_to_a_px_that_matches_matches_unless_post_only() -> None:
    floor = Floor()
    floor.quote(limit("a", SELL, 5, 101.0))
    floor.submit(limit("x", BUY, 5, 99.0), limit("p", BUY, 5, 99.0, time_in_force=POST_ONLY))
    assert floor.modify("p", limit_px=101.0) == ["cancelrejected p post only order would match"]
    assert floor.modify("x", limit_px=101.0) == ["modified x", "fill x 5@101", "maker: fill a 5@101"]
    assert floor.modify("p", limit_px=98.0) == ["modified p"]
    assert floor.levels(BUY) == [(98.0, 5)]


# side of the position, trigger, marks that do not trigger, the mark that does
STOPS = [(BUY, 95.0, [100.0, 95.1], 95.0), (SELL, 105.0, [100.0, 104.9], 105.0), (BUY, 95.0, [96.0], 80.0)]


@pytest.mark.parametrize(("side", "trigger_px", "calm_px", "touch_px"), STOPS)
def test_a_stop_triggers_on_the_mark_and_then_is_a_market_order(
    side: int, trigger_px: float, calm_px: list[float], touch_px: float
) -> None:
    floor = Floor()
    floor.quote(limit("in", -side, 5, 100.0), limit("out", side, 9, 99.0 if side == BUY else 101.0))
    floor.submit(market("x", side, 5), stop("stop", -side, 5, trigger_px))
    for mark_px in calm_px:
        assert floor.mark(mark_px) == []
    told = floor.mark(touch_px)
    assert [word.split("@")[0] for word in told] == ["triggered stop", "fill stop 5", "maker: fill out 5"]
    assert floor.events[1][1].kind == FillKind.STOP
    assert floor.held_lots() == 0


def test_a_stop_whose_trigger_is_already_touched_triggers_at_once() -> None:
    floor = Floor()
    floor.quote(limit("in", SELL, 5, 100.0), limit("out", BUY, 9, 99.0))
    floor.submit(market("x", BUY, 3))
    assert floor.submit(stop("late", SELL, 1, 100.0))[:3] == ["accepted late", "triggered late", "fill late 1@99"]
    floor.submit(stop("moved", SELL, 1, 95.0))
    assert floor.modify("moved", trigger_px=101.0)[:3] == ["modified moved", "triggered moved", "fill moved 1@99"]


def test_a_stop_can_open_a_position() -> None:
    floor = Floor()
    floor.quote(limit("a", SELL, 5, 103.0))
    assert floor.submit(stop("breakout", BUY, 5, 102.0, is_reduce_only=False)) == ["accepted breakout"]
    assert floor.mark(102.5) == ["triggered breakout", "fill breakout 5@103", "maker: fill a 5@103"]


def test_a_triggered_stop_without_liquidity_ends() -> None:
    floor = Floor()
    floor.quote(limit("in", SELL, 5, 100.0))
    floor.submit(market("x", BUY, 5), stop("stop", SELL, 5, 95.0))
    assert floor.mark(94.0) == ["triggered stop", "canceled stop no liquidity"]
    assert floor.held_lots() == 5


def enter(floor: Floor) -> list[str]:
    """Buy 10 with a stop and a target, of which 4 fill at once and 6 rest at 100."""
    floor.quote(limit("q1", SELL, 4, 100.0), limit("bid", BUY, 50, 90.0))
    return floor.submit_group(
        limit("entry", BUY, 10, 100.0), stop("stop", SELL, 10, 95.0), take_profit("target", SELL, 10, 110.0)
    )


def test_the_first_part_of_the_entry_arms_its_children_up_to_what_is_held() -> None:
    floor = Floor()
    assert enter(floor) == [
        "accepted entry",
        "accepted stop",
        "accepted target",
        "fill entry 4@100",
        "maker: fill q1 4@100",
    ]
    assert floor.levels(SELL) == [(110.0, 10)]
    assert floor.quote(limit("lift", BUY, 10, 110.0)) == [
        "maker: accepted lift",
        "maker: fill lift 4@110",
        "fill target 4@110",
        "canceled entry position closed",
        "canceled stop position closed",
        "canceled target position closed",
    ]
    assert floor.held_lots() == 0


def test_a_stop_that_meets_the_rest_of_its_own_entry_cancels_it() -> None:
    floor = Floor()
    enter(floor)
    assert floor.mark(94.0) == [
        "triggered stop",
        "canceled entry self trade",
        "modified stop",
        "modified target",
        "fill stop 4@90",
        "maker: fill bid 4@90",
        "canceled target sibling filled",
    ]


def test_canceling_a_partly_filled_entry_leaves_the_part_protected() -> None:
    floor = Floor()
    enter(floor)
    assert floor.cancel("entry") == ["canceled entry requested", "modified stop", "modified target"]
    assert floor.levels(SELL) == [(110.0, 4)]


def test_children_that_wait_for_the_whole_leave_a_canceled_part_naked() -> None:
    floor = Floor(is_child_armed_by_part=False)
    enter(floor)
    assert floor.levels(SELL) == []
    assert floor.cancel("entry") == [
        "canceled entry requested",
        "canceled stop parent canceled",
        "canceled target parent canceled",
    ]
    assert floor.held_lots() == 4
    floor.quote(limit("q2", SELL, 10, 100.0))
    floor.submit_group(limit("again", BUY, 10, 100.0), take_profit("target2", SELL, 10, 110.0))
    assert floor.levels(SELL) == [(110.0, 10)]


def test_one_child_that_fills_whole_cancels_the_other() -> None:
    floor = Floor()
    enter(floor)
    floor.quote(limit("q2", SELL, 6, 100.0))
    assert floor.status("entry") is OrderStatus.FILLED
    assert floor.quote(limit("lift", BUY, 3, 110.0)) == [
        "maker: accepted lift",
        "maker: fill lift 3@110",
        "fill target 3@110",
        "modified stop",
    ]
    assert floor.events[2][1].kind == FillKind.TAKE_PROFIT
    assert floor.quote(limit("lift2", BUY, 9, 110.0))[-2:] == ["fill target 7@110", "canceled stop sibling filled"]
    assert floor.held_lots() == 0


def test_the_children_of_an_entry_that_ends_unfilled_go_with_it() -> None:
    floor = Floor()
    told = floor.submit_group(limit("entry", BUY, 10, 90.0, time_in_force=IOC), stop("stop", SELL, 10, 80.0))
    assert told == ["accepted entry", "accepted stop", "canceled entry ioc", "canceled stop parent canceled"]


def test_reduce_only_is_refused_shrunk_and_canceled() -> None:
    floor = Floor()
    floor.quote(limit("q", SELL, 5, 100.0), limit("bid", BUY, 50, 90.0))
    refused = "rejected r reduce only order would increase position"
    assert floor.submit(limit("r", SELL, 5, 120.0, is_reduce_only=True)) == [refused]
    floor.submit(market("x", BUY, 5))
    assert floor.submit(limit("r2", BUY, 5, 80.0, is_reduce_only=True)) == [refused.replace(" r ", " r2 ")]
    assert floor.submit(limit("big", SELL, 50, 120.0, is_reduce_only=True)) == ["accepted big", "modified big"]
    assert floor.levels(SELL) == [(120.0, 5)]
    assert floor.submit(market("flip", SELL, 8, is_reduce_only=True)) == [
        "accepted flip",
        "fill flip 5@90",
        "maker: fill bid 5@90",
        "canceled big position closed",
        "canceled flip position closed",
    ]
    assert floor.held_lots() == 0


def test_margin_counts_positions_and_what_rests() -> None:
    floor = Floor(cash_quote=10.0)
    floor.exchange.set_leverage(ME, BTC.instrument_id, 10.0, 0)
    assert floor.submit(limit("a", BUY, 60, 99.0)) == ["accepted a"]
    assert floor.submit(limit("b", BUY, 41, 98.0)) == ["rejected b insufficient margin"]
    assert floor.submit(limit("c", SELL, 60, 101.0)) == ["accepted c"]
    assert floor.modify("a", qty_lots=101) == ["cancelrejected a insufficient margin"]
    assert floor.modify("a", qty_lots=100) == ["modified a"]
    floor.quote(market("hit", SELL, 100))
    assert floor.held_lots() == 100
    assert floor.submit(limit("d", BUY, 10, 90.0)) == ["rejected d insufficient margin"]
    assert floor.submit(limit("out", SELL, 40, 120.0)) == ["accepted out"]


def test_without_a_mark_only_the_house_may_quote() -> None:
    exchange = BookExchange([BTC], Costs(5.0, 2.0, 10.0))
    exchange.add_account(ME, 100.0)
    exchange.add_account(MAKER, 0.0, is_house=True)
    ((_, rejected),) = exchange.submit(ME, [limit("x", BUY, 5, 100.0)], 0)
    assert getattr(rejected, "message", "") == Message.NO_MARK
    ((_, accepted),) = exchange.submit(MAKER, [limit("x", BUY, 5, 100.0)], 0)
    assert type(accepted).__name__ == "OrderAccepted"
    assert exchange.account_state(MAKER).equity_quote == 0.0


def test_funding_is_paid_by_longs_to_shorts() -> None:
    floor = Floor()
    floor.quote(limit("q", SELL, 5, 100.0))
    floor.submit(market("x", BUY, 5))
    events = floor.exchange.settle_funding(BTC.instrument_id, 0.001, 102.0, floor.now())
    amount_quote = 5 * 0.01 * 102.0 * 0.001
    assert events == [
        (MAKER, FundingPaid(BTC.instrument_id, -5, 0.001, 102.0, amount_quote, floor.ts_ns)),
        (ME, FundingPaid(BTC.instrument_id, 5, 0.001, 102.0, -amount_quote, floor.ts_ns)),
    ]
    floor.exchange.check_invariants()


def test_liquidation_takes_what_the_book_gives_and_tries_again() -> None:
    floor = Floor(cash_quote=6.0)
    floor.quote(limit("q", SELL, 100, 100.0), limit("bid", BUY, 60, 95.0))
    floor.submit(market("x", BUY, 100), stop("stop", SELL, 100, 50.0))
    assert floor.mark(96.8) == []
    assert floor.mark(96.0) == ["canceled stop liquidated", "fill 60@95", "maker: fill bid 60@95"]
    assert floor.events[1][1].kind == FillKind.LIQUIDATION
    assert floor.held_lots() == 40
    floor.quote(limit("bid2", BUY, 60, 94.0))
    assert floor.mark(93.0) == ["fill 40@94", "maker: fill bid2 40@94"]
    assert floor.held_lots() == 0


def test_cancel_all_says_why() -> None:
    floor = Floor()
    floor.submit(limit("a", BUY, 5, 90.0), limit("b", BUY, 5, 91.0))
    told = floor.take(floor.exchange.cancel_all(ME, floor.now(), BTC.instrument_id, Message.SCHEDULED))
    assert told == ["canceled a scheduled", "canceled b scheduled"]


@pytest.mark.parametrize("mark_px", [0.0, -1.0, math.nan, math.inf])
def test_a_mark_that_is_none_is_refused(mark_px: float) -> None:
    floor = Floor()
    with pytest.raises(ValueError, match="must be finite"):
        floor.exchange.apply_marks({BTC.instrument_id: mark_px}, 0)
    with pytest.raises(ValueError, match="not usable"):
        floor.exchange.settle_funding(BTC.instrument_id, 0.1, mark_px, 0)
    assert floor.exchange.get_mark_px(BTC.instrument_id) == 100.0


def test_modify_reports_the_new_terms() -> None:
    floor = Floor()
    floor.submit(limit("a", BUY, 5, 90.0, cause_id="why"))
    floor.modify("a", qty_lots=7, limit_px=91.0)
    ((_, modified),) = floor.events
    assert modified == OrderModified("a", "1", 7, 91.0, 0.0, floor.ts_ns, "why")
    assert floor.cancel("a") == ["canceled a requested"]
    ((_, refused),) = floor.exchange.cancel(ME, "a", floor.ts_ns)
    assert refused == CancelRejected("a", Message.NOT_OPEN, floor.ts_ns)
