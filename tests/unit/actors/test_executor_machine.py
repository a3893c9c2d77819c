"""The executor: what it sends, what it refuses, what it never does twice."""

from typing import Any

import msgspec
import pytest

from actors.executor.machine import (
    STOP_CONFIRM_MAX_NS,
    AdvanceVenue,
    ExecutorMachine,
    ModifyStop,
    QueryOrder,
    SubmitOrders,
)
from actors.executor.paper import PaperVenue
from actors.messages import (
    AccountUpdate,
    Alert,
    Message,
    OrderPart,
    Protection,
    Record,
    Send,
    Severity,
    StopMoveApproved,
    Tick,
    VenueReported,
    get_ts_known_ns,
)
from actors.plan import Plan, make_client_order_id
from market.events import (
    BarsClosed,
    Fill,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderRejected,
    OrderRequest,
    OrderType,
)
from market.reasons import Reason
from market.records import Quality
from risk.limits import LIMITS_NONE
from tests.unit.actors.accounts import (
    EPOCH,
    IDS,
    close_ns,
    make_approvals,
    make_approved,
    make_bar,
    make_closed,
    make_decisions,
    make_fill,
    make_plan,
)


class Desk:
    """An executor and its paper venue; every instruction performed is kept."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan or make_plan()
        self.machine = ExecutorMachine(self.plan, EPOCH)
        self.venue = PaperVenue(self.plan)
        self.done: list[Any] = []
        self.ts_now_ns = 0
        self.is_deaf = False  # answers to orders are lost

    def tell(self, *messages: Message) -> list[Any]:
        """Hand over messages and return all that came of them, outcomes performed."""
        start = len(self.done)
        for message in messages:
            self.ts_now_ns = max(self.ts_now_ns, get_ts_known_ns(message))
            for instruction in self.machine.handle(message, self.ts_now_ns):
                self.done.append(instruction)
                if isinstance(instruction, SubmitOrders | ModifyStop | QueryOrder | AdvanceVenue):
                    self._perform(instruction)
        return self.done[start:]

    def _perform(self, instruction: Any) -> None:
        report = self.venue.perform(instruction, self.ts_now_ns)
        if self.is_deaf and isinstance(instruction, SubmitOrders):
            self.tell(VenueReported((), unknown_ids=tuple(r.client_order_id for r in instruction.requests)))
        else:
            self.tell(report)

    def updates(self) -> list[AccountUpdate]:
        return [m.message for m in self.done if isinstance(m, Send) and isinstance(m.message, AccountUpdate)]

    def alerts(self) -> list[Alert]:
        return [m.message for m in self.done if isinstance(m, Record) and isinstance(m.message, Alert)]


def only(instructions: list[Any], kind: type) -> list[Any]:
    return [instruction for instruction in instructions if isinstance(instruction, kind)]


def test_the_first_bars_need_no_approval_and_every_later_ones_do() -> None:
    desk = Desk()
    assert len(only(desk.tell(make_closed(1), make_closed(2), make_closed(3)), AdvanceVenue)) == 1
    [advance] = only(desk.tell(make_approvals(1)), AdvanceVenue)
    assert advance.bars.ts_close_ns == close_ns(2)
    assert [update.ts_close_ns for update in desk.updates()] == [close_ns(1), close_ns(2)]


def test_an_order_is_noted_durably_and_then_sent_with_its_protection() -> None:
    desk = Desk()
    done = desk.tell(make_closed(1), make_approvals(1, make_approved(1, 10, take_profit_px=120.0)))
    [submitted] = only(done, SubmitOrders)
    notes = [m for m in done if isinstance(m, Record) and isinstance(m.message, OrderRequest)]
    assert [note.message for note in notes] == list(submitted.requests)
    assert all(note.is_awaited for note in notes)
    assert max(done.index(note) for note in notes) < done.index(submitted)
    entry, stop, take_profit = submitted.requests
    assert [r.client_order_id for r in submitted.requests] == [
        make_client_order_id("intent-0-1", part) for part in ("entry", "stop", "take_profit")
    ]
    assert (entry.order_type, entry.side, entry.is_reduce_only) == (OrderType.MARKET, 1, False)
    assert (stop.order_type, stop.side, stop.trigger_px, stop.is_reduce_only) == (OrderType.STOP_MARKET, -1, 95.0, True)
    assert (take_profit.limit_px, take_profit.side, take_profit.is_reduce_only) == (120.0, -1, True)
    desk.tell(make_closed(2))
    assert desk.updates()[-1].protections == (Protection(0, 95.0, 120.0),)


ALTERED = {
    "qty_lots": 11,
    "side": -1,
    "stop_px": 94.0,
    "take_profit_px": 130.0,
    "instrument_id": "ETH-PERP.BINANCE",
    "leg": 0,
    "intent_id": "another",
    "epoch": EPOCH + 1,
    "ts_expiry_ns": close_ns(9),
    "digest": "0" * 32,
}


@pytest.mark.parametrize("field", ALTERED)
def test_an_approval_altered_in_any_field_is_refused(field: str) -> None:
    approved = msgspec.structs.replace(make_approved(1), **{field: ALTERED[field]})
    check_refused(approved, Reason.APPROVAL_ALTERED)


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
def test_an_approval_of_another_epoch_is_refused(epoch: int) -> None:
    check_refused(make_approved(1, epoch=epoch), Reason.LEASE_EXPIRED)


def test_an_approval_that_came_too_late_is_refused() -> None:
    check_refused(make_approved(1, ts_expiry_ns=close_ns(1) - 1), Reason.APPROVAL_EXPIRED)
    desk = Desk()
    assert only(desk.tell(make_closed(1), make_approvals(1, make_approved(1, ts_expiry_ns=close_ns(1)))), SubmitOrders)


def test_bars_ahead_of_the_account_expire_nothing() -> None:
    desk = Desk()
    desk.tell(*(make_closed(number) for number in range(1, 40)))
    assert only(desk.tell(make_approvals(1, make_approved(1))), SubmitOrders)


def check_refused(approved: Any, reason: Reason) -> None:
    desk = Desk()
    done = desk.tell(make_closed(1), make_approvals(1, approved), make_closed(2))
    assert not only(done, SubmitOrders)
    [alert] = desk.alerts()
    assert alert.severity is Severity.CRITICAL
    assert alert.key == f"executor.refused.{reason.name}"
    assert Send(("herald",), alert) in done
    [booked] = desk.updates()[-1].booked
    assert isinstance(booked.event, OrderRejected)
    assert (booked.slot, booked.event.message) == (0, reason.name)
    assert booked.part is (OrderPart.REDUCE if approved.leg == 0 else OrderPart.ENTRY)


def test_one_intent_makes_one_order_ever() -> None:
    desk = Desk()
    done = desk.tell(
        make_closed(1), make_approvals(1, make_approved(1, intent_id="same"), make_approved(1, intent_id="same"))
    )
    assert len(only(done, SubmitOrders)) == 1
    assert [alert.key for alert in desk.alerts()] == ["executor.refused.DUPLICATE_INTENT"]
    desk.tell(make_closed(2))
    refused = [booked for booked in desk.updates()[-1].booked if isinstance(booked.event, OrderRejected)]
    assert [booked.part for booked in refused] == [OrderPart.NONE]  # the first order's slot stays taken
    again = desk.tell(make_approvals(2, make_approved(2, intent_id="same")))
    assert not only(again, SubmitOrders)


def test_repeats_after_somebodys_restart_change_nothing() -> None:
    desk = Desk()
    messages = [make_closed(1), make_approvals(1, make_approved(1)), make_closed(2), make_approvals(2), make_closed(3)]
    desk.tell(*messages)
    assert desk.tell(*messages) == []


def test_approvals_heard_before_their_bars_wait_for_them() -> None:
    desk = Desk()
    assert desk.tell(make_approvals(1, make_approved(1)), make_approvals(2)) == []
    done = desk.tell(make_closed(1), make_closed(2), make_closed(3))
    assert [type(m).__name__ for m in done if isinstance(m, AdvanceVenue | SubmitOrders)] == [
        "AdvanceVenue",
        "SubmitOrders",
        "AdvanceVenue",
        "AdvanceVenue",
    ]


def test_an_unknown_outcome_is_asked_for_and_never_sent_again() -> None:
    heard, deaf = Desk(), Desk()
    deaf.is_deaf = True
    for desk in (heard, deaf):
        desk.tell(make_closed(1), make_approvals(1, make_approved(1, take_profit_px=130.0)), make_closed(2))
    assert len(only(deaf.done, SubmitOrders)) == 1
    assert len(only(deaf.done, QueryOrder)) == 3
    assert deaf.updates()[-1].protections == heard.updates()[-1].protections == (Protection(0, 95.0, 130.0),)
    assert deaf.machine.list_positions() == heard.machine.list_positions() == ((IDS[0], 10),)
    assert not [order for order in deaf.machine.describe_orders() if order["is_unknown"]]


def test_an_order_that_the_venue_never_saw_ends_rejected() -> None:
    desk = Desk()
    desk.machine.handle(make_closed(1), close_ns(1))
    desk.machine.handle(VenueReported((), close_ns(1)), close_ns(1))
    sent = only(desk.machine.handle(make_approvals(1, make_approved(1)), close_ns(1)), SubmitOrders)[
        0
    ]  # lost on the way
    unknown = VenueReported((), unknown_ids=tuple(request.client_order_id for request in sent.requests))
    queries = [QueryOrder(request.client_order_id) for request in sent.requests]
    assert desk.machine.handle(unknown, close_ns(1)) == queries
    assert all(order["is_unknown"] for order in desk.machine.describe_orders())
    assert desk.machine.handle(unknown, close_ns(1)) == []  # asked already: the next tick asks again
    assert desk.machine.is_waiting
    assert desk.machine.handle(Tick(), close_ns(1)) == queries
    for query in queries:
        desk._perform(query)
    assert desk.machine.describe_orders() == []
    assert not desk.machine.is_waiting
    assert desk.machine.handle(unknown, close_ns(1)) == []


def test_a_fill_is_booked_once() -> None:
    desk = Desk()
    desk.tell(make_closed(1), make_approvals(1, make_approved(1)), make_closed(2))
    [fill] = [booked.event for booked in desk.updates()[-1].booked if isinstance(booked.event, Fill)]
    assert desk.machine.handle(VenueReported((fill,)), close_ns(2)) == []
    assert desk.machine.list_positions() == ((IDS[0], 10),)


def test_a_fill_in_parts_leaves_the_rest_open() -> None:
    machine = ExecutorMachine(make_plan(), EPOCH)
    machine.handle(make_closed(1), close_ns(1))
    machine.handle(VenueReported((), close_ns(1)), close_ns(1))
    machine.handle(make_approvals(1, make_approved(1, 10)), close_ns(1))
    entry_id = make_client_order_id("intent-0-1", "entry")
    for trade, lots in (("1", 3), ("2", 4)):
        machine.handle(VenueReported((make_fill(IDS[0], lots, trade_id=trade, order_id=entry_id),)), close_ns(1))
    assert machine.list_positions() == ((IDS[0], 7),)
    assert {o["client_order_id"]: o["qty_leaves_lots"] for o in machine.describe_orders()}[entry_id] == 3


def test_another_position_at_the_venue_is_told_at_once() -> None:
    machine = ExecutorMachine(make_plan(2), EPOCH)
    instructions = machine.handle(VenueReported((), close_ns(1), ((IDS[1], 5),)), close_ns(1))
    [alert] = [m.message for m in instructions if isinstance(m, Record)]
    assert (alert.severity, alert.key) == (Severity.CRITICAL, f"executor.position.{IDS[1]}")
    assert "our fills make 0 lots, the venue holds 5" in alert.text
    assert Send(("herald",), alert) in instructions


def make_naked(plan: Plan) -> ExecutorMachine:
    # A fill of an order without a stop, as after a venue that dropped the group's children.
    machine = ExecutorMachine(plan, EPOCH)
    machine.handle(make_closed(1), close_ns(1))
    machine.handle(VenueReported((), close_ns(1)), close_ns(1))
    machine.handle(make_approvals(1, make_approved(1)), close_ns(1))
    ids = [make_client_order_id("intent-0-1", part) for part in ("entry", "stop")]
    events = (
        OrderRejected(ids[1], "invalid order", close_ns(2)),
        make_fill(IDS[0], 10, order_id=ids[0]),
    )
    machine.handle(VenueReported(events, close_ns(2), ((IDS[0], 10),)), close_ns(2))
    return machine


def test_a_position_without_a_resting_stop_is_flattened_in_time_and_once() -> None:
    machine = make_naked(make_plan())
    assert machine.handle(Tick(), close_ns(2) + STOP_CONFIRM_MAX_NS - 1) == []
    done = machine.handle(Tick(), close_ns(2) + STOP_CONFIRM_MAX_NS)
    [submitted] = only(done, SubmitOrders)
    [request] = submitted.requests
    assert (request.side, request.qty_lots, request.is_reduce_only) == (-1, 10, True)
    assert request.order_type is OrderType.MARKET
    assert Record(request, is_awaited=True) in done
    [alert] = [m.message for m in done if isinstance(m, Record) and isinstance(m.message, Alert)]
    assert (alert.severity, alert.key) == (Severity.CRITICAL, f"executor.naked.{IDS[0]}")
    assert machine.handle(Tick(), close_ns(2) + 2 * STOP_CONFIRM_MAX_NS) == []


def test_a_stop_that_rests_in_time_saves_the_position() -> None:
    machine = make_naked(make_plan())
    machine.handle(VenueReported((make_fill(IDS[0], -10, trade_id="2", order_id="0x9"),), close_ns(3)), close_ns(2) + 1)
    assert machine.handle(Tick(), close_ns(9)) == []


def test_without_limits_nothing_is_naked() -> None:
    assert make_naked(make_plan(limits=LIMITS_NONE)).handle(Tick(), close_ns(9)) == []


def start_reversal() -> Desk:
    desk = Desk()
    desk.tell(make_closed(1), make_approvals(1, make_approved(1, 10, stop_px=95.0)), make_closed(2))
    reverse = make_approved(2, -10, leg=0, intent_id="r"), make_approved(2, -6, stop_px=106.0, intent_id="r")
    desk.tell(make_approvals(2, *reverse))
    missing = make_bar(3, high_px=100.0, low_px=100.0, quality=Quality.MISSING.value)
    desk.tell(BarsClosed(close_ns(3), (missing,)))
    return desk


def test_while_a_reversal_waits_the_position_keeps_its_own_stop() -> None:
    desk = start_reversal()
    assert desk.machine.list_positions() == ((IDS[0], 10),)
    assert desk.updates()[-1].protections == (Protection(0, 95.0, 0.0),)
    done = desk.tell(make_approvals(3, stop_moves=(StopMoveApproved(0, 97.0, EPOCH),)))
    assert only(done, ModifyStop) == [ModifyStop(make_client_order_id("intent-0-1", "stop"), 97.0)]
    desk.tell(make_closed(4))
    assert desk.machine.list_positions() == ((IDS[0], -6),)
    assert desk.updates()[-1].protections == (Protection(0, 106.0, 0.0),)


def test_a_stop_is_moved_where_one_rests_and_in_this_epoch_only() -> None:
    desk = Desk()
    move, old = StopMoveApproved(0, 97.0, EPOCH), StopMoveApproved(0, 99.0, EPOCH - 1)
    desk.tell(make_closed(1))
    assert not only(desk.tell(make_approvals(1, make_approved(1), stop_moves=(move,))), ModifyStop)
    desk.tell(make_closed(2))
    assert len(only(desk.tell(make_approvals(2, stop_moves=(move, old))), ModifyStop)) == 1
    desk.tell(make_closed(3))
    assert desk.updates()[-1].protections == (Protection(0, 97.0, 0.0),)


def test_funding_liquidation_and_strangers_find_their_owner() -> None:
    desk = Desk(make_plan(2, strategies=2))
    desk.tell(make_closed(1, instruments=2), make_approvals(1, make_approved(1, slot=3, instrument=1)))
    desk.tell(make_closed(2, instruments=2))
    funding = FundingPaid(IDS[1], 10, 1e-4, 100.0, -0.1, close_ns(2))
    liquidation = make_fill(IDS[1], -10, trade_id="99", order_id="", kind=3)
    stranger = OrderCanceled("0xnobody", "77", "requested", close_ns(2))
    nobodys = FundingPaid(IDS[0], 10, 1e-4, 100.0, -0.1, close_ns(2))
    desk.tell(VenueReported((funding, liquidation, stranger, nobodys), close_ns(3)))
    assert [(booked.slot, booked.part) for booked in desk.updates()[-1].booked] == [
        (3, OrderPart.NONE),
        (3, OrderPart.NONE),
        (-1, OrderPart.NONE),
        (-1, OrderPart.NONE),
    ]
    assert desk.machine.list_positions() == ()


def test_the_refusal_of_a_second_order_says_nothing_of_the_first() -> None:
    desk = Desk()
    desk.tell(make_closed(1), make_approvals(1, make_approved(1)))
    entry_id = make_client_order_id("intent-0-1", "entry")
    desk.tell(VenueReported((OrderRejected(entry_id, "duplicate client order id", close_ns(1)),)), make_closed(2))
    assert desk.machine.list_positions() == ((IDS[0], 10),)
    rejected = [booked for booked in desk.updates()[-1].booked if isinstance(booked.event, OrderRejected)]
    assert [booked.part for booked in rejected] == [OrderPart.NONE]


def test_what_ended_does_not_rest() -> None:
    desk = Desk()
    desk.tell(make_closed(1), make_approvals(1, make_approved(1)), make_closed(2))
    stop_id = make_client_order_id("intent-0-1", "stop")
    assert stop_id in {order["client_order_id"] for order in desk.machine.describe_orders()}
    desk.tell(VenueReported((OrderCanceled(stop_id, "2", "requested", close_ns(2)),)))
    assert desk.machine.describe_orders() == []
    late = OrderAccepted(stop_id, "2", close_ns(2))
    assert only(desk.tell(VenueReported((late,))), Record) == [Record(late)]
    assert desk.machine.describe_orders() == []


def test_a_message_of_somebody_else_is_our_bug() -> None:
    with pytest.raises(TypeError, match="no handler for Decisions"):
        ExecutorMachine(make_plan(), EPOCH).handle(make_decisions(1), 0)
