"""The governor: one close at a time, whatever the order of arrival; what a second strategy may and may not."""

import itertools
from typing import Any

import pytest

from actors.governor.machine import GovernorMachine, make_digest
from actors.messages import (
    Alert,
    Approvals,
    EquityMarked,
    OrderPart,
    Protection,
    Record,
    Send,
    Severity,
    SlotDecided,
    StopMoved,
    StopWish,
    Tick,
)
from actors.plan import Plan
from market.events import OrderCanceled, OrderRejected
from market.reasons import Reason
from market.records import Quality
from risk.limits import switch
from tests.unit.actors.accounts import (
    EPOCH,
    IDS,
    OPEN,
    book,
    close_ns,
    make_bar,
    make_closed,
    make_decisions,
    make_fill,
    make_plan,
    make_update,
    wish,
)


class Office:
    """A governor that is told whole closes."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan or make_plan()
        self.machine = GovernorMachine(self.plan, EPOCH)
        self.number = 0
        self.stops_px: dict[int, float] = {}  # what rests at the venue: it takes whatever is approved

    def close(self, *intents: Any, booked: tuple[Any, ...] = (), bars: tuple[Any, ...] = (), **more: Any) -> list[Any]:
        """Govern the next close; intents go to the strategist of their slot."""
        self.number += 1
        strategies = len(self.plan.strategies)
        instructions = self.machine.handle(
            make_closed(self.number, *bars, instruments=len(self.plan.instruments)), close_ns(self.number)
        )
        protections = more.get("protections", tuple(Protection(slot, px, 0.0) for slot, px in self.stops_px.items()))
        update = make_update(self.number, *booked, protections=protections)
        instructions += self.machine.handle(update, close_ns(self.number))
        for strategy in range(strategies):
            mine = [intent for intent in intents if intent.slot % strategies == strategy]
            stop_wishes = more.get("stop_wishes", ()) if strategy == 0 else ()
            decisions = make_decisions(self.number, *mine, strategy=strategy, stop_wishes=stop_wishes)
            instructions += self.machine.handle(decisions, close_ns(self.number))
        for approvals in find(instructions, Approvals):
            entries = {order.slot: order.stop_px for order in approvals.orders if order.leg == 1}
            self.stops_px |= entries | {move.slot: move.stop_px for move in approvals.stop_moves}
        return instructions

    def want(self, slot: int, target_frac: float, stop_distance_px: float = 5.0) -> Any:
        return wish(slot, target_frac, self.number + 1, stop_distance_px)

    def enter(self, slot: int, target_frac: float, instrument: int, stop_distance_px: float = 5.0) -> int:
        """Let a slot's entry be approved and filled at its price; return the lots."""
        [order] = approved(self.close(self.want(slot, target_frac, stop_distance_px)))
        lots = order.side * order.qty_lots
        fill = make_fill(IDS[instrument], lots, trade_id=f"{slot}-{self.number}", ts_event_ns=close_ns(self.number))
        self.close(booked=(book(slot, fill),))
        return int(lots)


def find(instructions: list[Any], kind: type) -> list[Any]:
    return [m.message for m in instructions if isinstance(m, Record | Send) and isinstance(m.message, kind)]


def approved(instructions: list[Any]) -> list[Any]:
    [approvals] = find(instructions, Approvals)
    return list(approvals.orders)


def denials(instructions: list[Any]) -> list[Reason]:
    return [Reason(decided.denial) for decided in find(instructions, SlotDecided)]


MESSAGES = (
    make_closed(1),
    make_update(1),
    make_decisions(1, wish(0, 0.5, 1)),
    make_closed(2),
    make_update(2),
    make_decisions(2),
)


def is_in_lane_order(order: tuple[int, ...]) -> bool:
    return all(order.index(kind) < order.index(kind + 3) for kind in range(3))


@pytest.mark.parametrize("order", [o for o in itertools.permutations(range(6)) if is_in_lane_order(o)][::7])
def test_closes_are_governed_in_order_whatever_comes_first(order: tuple[int, ...]) -> None:
    expected = Office()
    in_turn = [m for message in MESSAGES for m in expected.machine.handle(message, close_ns(2))]
    machine = GovernorMachine(make_plan(), EPOCH)
    got = [m for index in order for m in machine.handle(MESSAGES[index], close_ns(2))]
    assert got == in_turn
    assert [mark.ts_close_ns for mark in find(got, EquityMarked)] == [close_ns(1), close_ns(2)]


def test_repeats_change_nothing() -> None:
    machine = GovernorMachine(make_plan(), EPOCH)
    first = [m for message in MESSAGES for m in machine.handle(message, close_ns(2))]
    assert first
    assert [m for message in MESSAGES for m in machine.handle(message, close_ns(2))] == []


@pytest.mark.parametrize("missing", range(3))
def test_nothing_is_approved_while_a_message_is_missing(missing: int) -> None:
    machine = GovernorMachine(make_plan(), EPOCH)
    for index in range(3):
        if index != missing:
            assert machine.handle(MESSAGES[index], close_ns(1)) == []


def test_all_strategists_are_waited_for() -> None:
    machine = GovernorMachine(make_plan(strategies=2), EPOCH)
    for message in (make_closed(1), make_update(1), make_decisions(1, strategy=1)):
        assert machine.handle(message, close_ns(1)) == []
    assert machine.handle(make_decisions(1, strategy=0), close_ns(1)) != []


def test_an_approval_is_sealed_and_bound_to_epoch_and_time() -> None:
    office = Office()
    instructions = office.close(office.want(0, 0.5))
    [order] = approved(instructions)
    assert (order.epoch, order.ts_expiry_ns) == (EPOCH, close_ns(2))
    assert (order.slot, order.side, order.leg, order.stop_px) == (0, 1, 1, 95.0)
    fields = ("intent_id", "leg", "instrument_id", "side", "qty_lots", "stop_px", "take_profit_px", "epoch")
    values = [getattr(order, name) for name in fields]
    assert order.digest == make_digest(*values, order.ts_expiry_ns)
    for index, value in enumerate(values):
        changed = [*values]
        changed[index] = f"{value}x" if isinstance(value, str) else value + 1
        assert make_digest(*changed, order.ts_expiry_ns) != order.digest
    assert Send(("executor", "market_feed"), find(instructions, Approvals)[0]) in instructions
    [decided] = find(instructions, SlotDecided)
    assert (decided.entry_lots, decided.cause_id) == (order.qty_lots, order.intent_id)


def test_nothing_wished_is_said_too() -> None:
    assert approved(Office().close()) == []


def test_an_order_on_its_way_denies_the_next_until_the_venue_refuses_it() -> None:
    for ending in (OrderRejected("0x1", "insufficient margin", 0), OrderCanceled("0x1", "1", "liquidated", 0)):
        office = Office()
        assert approved(office.close(office.want(0, 0.5)))
        assert denials(office.close(office.want(0, 0.5))) == [Reason.ORDER_IN_FLIGHT]
        assert office.machine.describe_account()["slots"][0]["is_order_in_flight"]
        assert approved(office.close(office.want(0, 0.5), booked=(book(0, ending),)))


def test_a_refused_reduction_may_be_wished_again() -> None:
    office = Office()
    office.enter(0, 0.5, instrument=0)
    [order] = approved(office.close(office.want(0, 0.0)))
    assert order.leg == 0
    assert denials(office.close(office.want(0, 0.0))) == [Reason.ORDER_IN_FLIGHT]
    refused = book(0, OrderRejected("0x1", "rejected", 0), OrderPart.REDUCE)
    [again] = approved(office.close(office.want(0, 0.0), booked=(refused,)))
    assert again.qty_lots == order.qty_lots


def test_the_end_of_a_protecting_order_frees_nothing() -> None:
    office = Office()
    office.close(office.want(0, 0.5))
    ended = book(0, OrderCanceled("0x1", "1", "requested", 0), OrderPart.STOP)
    nobodys = book(-1, make_fill(IDS[0], 5), OrderPart.NONE)
    assert denials(office.close(office.want(0, 0.5), booked=(ended, nobodys))) == [Reason.ORDER_IN_FLIGHT]


def test_an_instrument_has_one_owner() -> None:
    office = Office(make_plan(instruments=2, strategies=2))
    office.enter(0, 0.3, instrument=0)
    instructions = office.close(office.want(1, 0.3), office.want(3, 0.3))
    assert denials(instructions) == [Reason.INSTRUMENT_OWNED, Reason.OK]
    assert [order.slot for order in approved(instructions)] == [3]


def test_of_two_wishes_at_one_close_the_first_slot_owns_the_instrument() -> None:
    office = Office(make_plan(strategies=2))
    assert denials(office.close(office.want(0, 0.3), office.want(1, -0.3))) == [Reason.OK, Reason.INSTRUMENT_OWNED]


def test_an_owner_that_went_flat_leaves_the_instrument_to_others() -> None:
    limits = switch(OPEN, False, "cooldown")
    office = Office(make_plan(strategies=2, limits=limits))
    lots = office.enter(0, 0.3, instrument=0)
    [order] = approved(office.close(office.want(0, 0.0)))
    assert order.side * order.qty_lots == -lots
    out = book(0, make_fill(IDS[0], -lots, trade_id="out"), OrderPart.REDUCE)
    assert denials(office.close(office.want(1, -0.3), booked=(out,))) == [Reason.OK]


def test_positions_are_counted_over_all_strategies() -> None:
    limits = OPEN._replace(positions=OPEN.positions._replace(positions_max=2))
    office = Office(make_plan(instruments=3, strategies=2, limits=limits))
    wishes = [office.want(slot, 0.1) for slot in (0, 3, 4)]  # three instruments, two strategies
    assert denials(office.close(*wishes)) == [Reason.OK, Reason.OK, Reason.POSITIONS_TOO_MANY]


def test_net_exposure_is_capped_across_strategies_and_a_hedge_is_not() -> None:
    limits = switch(OPEN, False, "hard_stop", "correlation")
    limits = limits._replace(exposure=limits.exposure._replace(net_max=0.5))
    office = Office(make_plan(instruments=3, strategies=2, limits=limits))
    office.enter(0, 0.5, instrument=0)
    assert denials(office.close(office.want(3, 0.4), office.want(4, -0.4))) == [Reason.EXPOSURE_NET, Reason.OK]


def test_what_moves_together_is_capped_on_one_side() -> None:
    limits = switch(OPEN, False, "hard_stop", "exposure")
    limits = limits._replace(correlation=limits.correlation._replace(same_side_max=0.5))
    office = Office(make_plan(instruments=3, strategies=2, limits=limits))
    office.enter(0, 0.5, instrument=0)
    assert denials(office.close(office.want(3, 0.4), office.want(4, -0.4))) == [Reason.CORRELATION, Reason.OK]


def test_a_reversal_reduces_first_and_a_denied_entry_still_lets_it() -> None:
    office = Office(make_plan(limits=switch(OPEN, False, "cooldown")))
    lots = office.enter(0, 0.3, instrument=0)
    both = approved(office.close(office.want(0, -0.3)))
    assert [(order.leg, order.side) for order in both] == [(0, -1), (1, -1)]
    assert both[0].qty_lots == lots
    other = Office()
    lots = other.enter(0, 0.3, instrument=0)
    instructions = other.close(other.want(0, -0.3, stop_distance_px=0.0))
    assert denials(instructions) == [Reason.NO_STOP]
    assert [(order.leg, order.side * order.qty_lots) for order in approved(instructions)] == [(0, -lots)]


def test_a_daily_loss_latches_tells_once_and_closes_what_nobody_wished_to_close() -> None:
    office = Office(make_plan(limits=switch(OPEN, False, "hard_stop")))
    lots = office.enter(0, 1.0, instrument=0, stop_distance_px=20.0)
    crash = (make_bar(3, 90.0),)
    instructions = office.close(bars=crash)
    [alert] = find([m for m in instructions if isinstance(m, Record)], Alert)
    assert (alert.severity, alert.key) == (Severity.CRITICAL, "governor.latch.DAILY_LOSS")
    assert Send(("herald",), alert) in instructions
    [order] = approved(instructions)
    assert (order.leg, order.side * order.qty_lots) == (0, -lots)
    assert Reason(order.reason) is Reason.GLOBAL_STOP
    assert [mark.latch for mark in find(instructions, EquityMarked)] == [Reason.DAILY_LOSS]
    out = book(0, make_fill(IDS[0], -lots, px=90.0, trade_id="out"), OrderPart.REDUCE)
    after = office.close(office.want(0, 0.5), booked=(out,))
    assert denials(after) == [Reason.DAILY_LOSS]
    assert find(after, Alert) == []


def test_a_stop_moves_only_to_protect_more() -> None:
    office = Office()
    office.enter(0, 0.3, instrument=0)
    moved = office.close(stop_wishes=(StopWish(0, 97.0),))
    [approvals] = find(moved, Approvals)
    assert [(move.slot, move.stop_px, move.epoch) for move in approvals.stop_moves] == [(0, 97.0, EPOCH)]
    assert [(m.slot, m.stop_px, m.ts_close_ns) for m in find(moved, StopMoved)] == [(0, 97.0, close_ns(3))]
    for looser in (96.0, 97.0, float("nan"), -1.0):
        refused = office.close(stop_wishes=(StopWish(0, looser),))
        assert find(refused, StopMoved) == []
        assert find(refused, Approvals)[0].stop_moves == ()
    assert office.machine.describe_account()["denials"] == {"STOP_NOT_TIGHTER": 4}


def test_a_stop_move_that_the_venue_refused_has_not_happened() -> None:
    office = Office()
    office.enter(0, 0.3, instrument=0)
    office.close(stop_wishes=(StopWish(0, 97.0),))
    still = office.close(protections=(Protection(0, 95.0, 0.0),), stop_wishes=(StopWish(0, 96.0),))
    assert [move.stop_px for move in find(still, Approvals)[0].stop_moves] == [96.0]


def test_a_bad_bar_denies_new_risk_and_lets_go_of_old() -> None:
    office = Office()
    lots = office.enter(0, 0.3, instrument=0)
    bad = (make_bar(3, quality=Quality.STALE.value),)
    assert [order.side * order.qty_lots for order in approved(office.close(office.want(0, 0.0), bars=bad))] == [-lots]
    fresh = Office()
    bad = (make_bar(1, quality=Quality.AFTER_GAP.value),)
    assert denials(fresh.close(fresh.want(0, 0.3), bars=bad)) == [Reason.DATA_QUALITY]


def test_the_account_is_described_as_it_is() -> None:
    office = Office(make_plan(instruments=2))
    lots = office.enter(1, 0.3, instrument=1)
    described = office.machine.describe_account()
    assert described["equity_quote"] == described["cash_quote"] == 100_000.0
    assert described["latch"] == "OK"
    flat, held = described["slots"]
    assert flat["qty_base"] == 0.0
    assert (held["instrument_id"], held["strategy"]) == (IDS[1], "signals")
    assert held["qty_base"] == pytest.approx(lots * 0.1)
    assert (held["avg_px"], held["stop_px"]) == (100.0, 95.0)


def test_a_message_of_somebody_else_is_our_bug() -> None:
    with pytest.raises(TypeError, match="no handler for Tick"):
        GovernorMachine(make_plan(), EPOCH).handle(Tick(), 0)
