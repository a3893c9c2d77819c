"""Two venue accounts under one governor, and what a venue in real time asks of the machines."""

from dataclasses import replace
from typing import Any

import pytest

from actors.connections import VenueConnection, make_market_data_client, make_trading_client
from actors.executor.machine import AdvanceVenue, ExecutorMachine, ModifyStop, QueryOrder, SubmitOrders
from actors.governor.machine import GovernorMachine
from actors.market_feed.machine import MarketFeedMachine
from actors.market_feed.venue_source import CloseJoiner, VenueSource
from actors.messages import (
    AccountUpdate,
    Alert,
    Approvals,
    Decisions,
    EquityMarked,
    Message,
    Protection,
    Record,
    Send,
    StopMoveApproved,
    Tick,
    VenueHealth,
    VenueReported,
)
from actors.plan import Plan, VenueAccount, make_client_order_id
from actors.strategist.machine import StrategistMachine
from market.events import BarsClosed, FundingPaid, OrderAccepted, OrderCanceled, OrderModified
from market.reasons import Reason
from market.records import NS_PER_S, Quality
from tests.unit.actors.accounts import (
    EPOCH,
    IDS,
    INTERVAL_NS,
    book,
    close_ns,
    make_approvals,
    make_approved,
    make_bar,
    make_closed,
    make_decisions,
    make_fill,
    make_plan,
)
from venues.port import Endpoints


def make_two() -> Plan:
    accounts = (VenueAccount("hyperliquid", (0,)), VenueAccount("dydx", (1,)))
    return replace(make_plan(2), accounts=accounts)


def list_sent(instructions: list[Any], kind: type) -> list[Any]:
    return [i.message for i in instructions if isinstance(i, Send) and isinstance(i.message, kind)]


def only(instructions: list[Any], kind: type) -> list[Any]:
    return [instruction for instruction in instructions if isinstance(instruction, kind)]


def start(machine: ExecutorMachine, number: int = 1, positions: tuple[tuple[str, int], ...] = ()) -> list[Any]:
    """Let one close happen at the venue."""
    done = machine.handle(make_closed(number, instruments=2), close_ns(number))
    assert len(only(done, AdvanceVenue)) == 1
    return machine.handle(VenueReported((), close_ns(number), positions), close_ns(number))


def test_each_account_has_an_executor_of_its_own_name() -> None:
    assert make_plan(2).executors == ("executor",)
    plan = make_two()
    assert plan.executors == ("executor.hyperliquid", "executor.dydx")
    assert (plan.list_instruments(1), make_plan(2).list_instruments(0)) == ((1,), (0, 1))


def test_an_executor_takes_its_own_orders_only_and_says_whose_word_it_is() -> None:
    plan = make_two()
    machine = ExecutorMachine(plan, EPOCH, account=1)
    [update] = list_sent(start(machine), AccountUpdate)
    assert update.account == 1
    theirs, ours = make_approved(1, slot=0, instrument=0), make_approved(1, slot=1, instrument=1, intent_id="ours")
    done = machine.handle(make_approvals(1, theirs, ours), close_ns(1))
    [submitted] = only(done, SubmitOrders)
    assert {request.instrument_id for request in submitted.requests} == {IDS[1]}
    assert [request.client_order_id for request in machine.list_open_requests()] == [
        request.client_order_id for request in submitted.requests
    ]
    assert only(machine.handle(Approvals(close_ns(2), (), (StopMoveApproved(0, 96.0, EPOCH),)), 0), ModifyStop) == []


def test_a_close_is_governed_and_decided_when_every_account_has_spoken() -> None:
    plan = make_two()
    governor, strategist = GovernorMachine(plan, EPOCH), StrategistMachine(plan, 0)
    fill = make_fill(IDS[1], 10, order_id=make_client_order_id("x", "entry"))
    first = AccountUpdate(close_ns(1), (), (), account=0)
    funding = FundingPaid(IDS[1], 10, 1e-4, 100.0, -3.0, close_ns(1))
    for machine in (governor, strategist):
        assert machine.handle(make_closed(1, instruments=2), close_ns(1)) == []
    governor.handle(make_decisions(1), close_ns(1))
    assert governor.handle(AccountUpdate(close_ns(1), (book(1, funding),), (), account=1), close_ns(1)) == []
    bought = AccountUpdate(close_ns(1), (book(1, fill),), (Protection(1, 95.0, 0.0),), account=1)
    assert strategist.handle(bought, close_ns(1)) == []
    assert list_sent(governor.handle(first, close_ns(1)), Approvals)
    assert list_sent(strategist.handle(first, close_ns(1)), Decisions)
    assert governor.describe_account()["funding_quote"] == -3.0
    assert [slot["qty_lots"] for slot in strategist.describe_slots()] == [0, 10]


def test_history_is_observed_and_neither_decided_on_nor_asked_for() -> None:
    plan = make_plan()
    executor, governor, strategist = ExecutorMachine(plan, EPOCH), GovernorMachine(plan, EPOCH), None
    past = replace_history(make_closed(1))
    done = executor.handle(past, 0)
    assert only(done, AdvanceVenue) == []
    [update] = list_sent(done, AccountUpdate)
    assert (update.ts_close_ns, update.booked) == (close_ns(1), ())
    strategist = StrategistMachine(make_plan(), 0)
    signalled = replace_history(make_closed(1, make_bar(1, signal=1.0)))
    strategist.handle(signalled, 0)
    [decisions] = list_sent(strategist.handle(update, 0), Decisions)
    assert decisions.intents == ()
    governor.handle(past, 0)
    governor.handle(update, 0)
    done = governor.handle(decisions, 0)
    [approvals] = list_sent(done, Approvals)
    assert not [m for m in done if isinstance(m, Record) and isinstance(m.message, EquityMarked)]
    assert len(list_sent(executor.handle(approvals, 0), AccountUpdate)) == 0
    assert len(only(executor.handle(make_closed(2), 0), AdvanceVenue)) == 1  # the first that is not


def replace_history(closed: BarsClosed) -> BarsClosed:
    return BarsClosed(closed.ts_close_ns, closed.bars, is_history=True)


def test_while_a_venue_is_unwell_nothing_is_opened_and_what_is_open_may_be_closed() -> None:
    machine = ExecutorMachine(make_plan(), EPOCH)
    machine.handle(make_closed(1), 0)
    machine.handle(VenueReported((), close_ns(1)), close_ns(1))
    done = machine.handle(VenueHealth(("silent for 20 s",), close_ns(1)), close_ns(1))
    [alert] = list_sent(done, Alert)
    assert (alert.key, "silent for 20 s" in alert.text) == ("executor.health", True)
    assert machine.handle(VenueHealth(("silent for 20 s",), close_ns(1)), close_ns(1)) == []
    done = machine.handle(make_approvals(1, make_approved(1)), close_ns(1))
    assert only(done, SubmitOrders) == []
    assert [alert.key for alert in list_sent(done, Alert)] == [f"executor.refused.{Reason.VENUE_UNHEALTHY.name}"]
    machine.handle(make_closed(2), 0)
    machine.handle(VenueReported((), close_ns(2)), close_ns(2))
    done = machine.handle(make_approvals(2, make_approved(2, leg=0, stop_px=0.0)), close_ns(2))
    assert len(only(done, SubmitOrders)) == 1
    [alert] = list_sent(machine.handle(VenueHealth((), close_ns(2)), close_ns(2)), Alert)
    assert alert.key == "executor.health.restored"


def test_while_positions_differ_nothing_is_opened_there() -> None:
    machine = ExecutorMachine(make_plan(), EPOCH)
    machine.handle(make_closed(1), 0)
    machine.handle(VenueReported((), close_ns(1), ((IDS[0], 5),)), close_ns(1))
    done = machine.handle(make_approvals(1, make_approved(1)), close_ns(1))
    assert only(done, SubmitOrders) == []
    assert [alert.key for alert in list_sent(done, Alert)] == [f"executor.refused.{Reason.UNMANAGED_POSITION.name}"]
    machine.handle(make_closed(2), 0)
    machine.handle(VenueReported((), close_ns(2)), close_ns(2))
    assert len(only(machine.handle(make_approvals(2, make_approved(2)), close_ns(2)), SubmitOrders)) == 1


def test_a_close_that_the_venue_did_not_answer_is_asked_for_again() -> None:
    machine = ExecutorMachine(make_plan(), EPOCH)
    [advance] = only(machine.handle(make_closed(1), 0), AdvanceVenue)
    assert machine.handle(VenueReported((), ts_heard_ns=close_ns(1)), close_ns(1)) == []
    assert machine.is_waiting
    assert machine.handle(Tick(ts_heard_ns=close_ns(1)), close_ns(1)) == [advance]
    assert len(list_sent(machine.handle(VenueReported((), close_ns(1)), close_ns(1)), AccountUpdate)) == 1
    assert not machine.is_waiting
    assert machine.handle(VenueReported((), close_ns(1)), close_ns(1)) == []  # the answer to the first question


def enter(machine: ExecutorMachine) -> tuple[str, str]:
    """Open ten lots under a resting stop; return the ids of entry and stop."""
    machine.handle(make_closed(1), 0)
    machine.handle(VenueReported((), close_ns(1)), close_ns(1))
    machine.handle(make_approvals(1, make_approved(1)), close_ns(1))
    entry, stop = (make_client_order_id("intent-0-1", part) for part in ("entry", "stop"))
    events = (OrderAccepted(stop, "2", close_ns(1)), make_fill(IDS[0], 10, order_id=entry))
    machine.handle(VenueReported(events), close_ns(1))
    return entry, stop


def test_between_closes_a_position_that_loses_its_stop_is_flattened_in_time() -> None:
    machine = ExecutorMachine(make_plan(), EPOCH)
    _, stop = enter(machine)
    assert not machine.is_waiting
    ts_ns = close_ns(1) + 7 * NS_PER_S
    machine.handle(VenueReported((OrderCanceled(stop, "2", "by the venue", ts_ns),), ts_heard_ns=ts_ns), ts_ns)
    assert machine.is_waiting
    assert machine.handle(Tick(ts_heard_ns=ts_ns), ts_ns) == []
    [flatten] = only(machine.handle(Tick(ts_heard_ns=ts_ns + 2 * NS_PER_S), ts_ns + 2 * NS_PER_S), SubmitOrders)
    [request] = flatten.requests
    assert (request.side, request.qty_lots, request.is_reduce_only) == (-1, 10, True)
    # Lost as well: it is asked for, and two seconds later another one is sent.
    lost = VenueReported((), unknown_ids=(request.client_order_id,))
    assert machine.handle(lost, ts_ns + 2 * NS_PER_S) == [QueryOrder(request.client_order_id)]
    again = machine.handle(Tick(), ts_ns + 3 * NS_PER_S)
    assert again == [QueryOrder(request.client_order_id)]
    [second] = only(machine.handle(Tick(), ts_ns + 5 * NS_PER_S), SubmitOrders)
    assert second.requests[0].client_order_id != request.client_order_id


def test_an_order_that_is_shrunk_to_what_it_has_filled_has_ended() -> None:
    machine = ExecutorMachine(make_plan(), EPOCH)
    _, stop = enter(machine)
    ts_ns = close_ns(1)
    machine.handle(VenueReported((make_fill(IDS[0], -4, trade_id="2", order_id=stop),)), ts_ns)
    assert [order["client_order_id"] for order in machine.describe_orders()] == [stop]
    machine.handle(VenueReported((OrderModified(stop, "2", 4, 0.0, 95.0, ts_ns),)), ts_ns)
    assert machine.describe_orders() == []
    assert machine.is_waiting  # what is left of the position is naked


def test_funding_is_booked_once() -> None:
    machine = ExecutorMachine(make_plan(), EPOCH)
    enter(machine)
    paid = FundingPaid(IDS[0], 10, 1e-4, 100.0, -0.01, close_ns(1))
    assert machine.handle(VenueReported((paid,)), close_ns(1)) == [Record(paid)]
    assert machine.handle(VenueReported((paid,)), close_ns(1)) == []


def make_source(*data_ids: str, interval_ns: int = INTERVAL_NS) -> VenueSource:
    return VenueSource(VenueConnection("binance", Endpoints("", "")), data_ids, interval_ns)


def test_a_close_waits_for_the_bar_of_every_instrument_and_keeps_the_plans_order() -> None:
    joiner = CloseJoiner(make_source(IDS[1], IDS[0], IDS[1]))
    joiner.offer(IDS[0], make_bar(1, 100.0))
    assert list(joiner.take(close_ns(1), False)) == []
    joiner.offer(IDS[1], make_bar(1, 50.0))
    joiner.offer("SOL-PERP.BINANCE", make_bar(1, 7.0))
    [closed] = joiner.take(close_ns(1) + NS_PER_S, False)
    assert (closed.ts_close_ns, closed.is_history) == (close_ns(1), False)
    assert [bar.close_px for bar in closed.bars] == [50.0, 100.0, 50.0]
    joiner.offer(IDS[0], make_bar(1))
    joiner.offer(IDS[1], make_bar(1))
    assert list(joiner.take(close_ns(1), False)) == []  # again: dropped


def test_what_is_complete_too_late_is_history_and_what_is_unwell_is_stale() -> None:
    joiner = CloseJoiner(make_source(IDS[0]))
    for number in (1, 2, 3):
        joiner.offer(IDS[0], make_bar(number))
    closes = list(joiner.take(close_ns(3) + 60 * NS_PER_S, True))
    assert [closed.is_history for closed in closes] == [True, True, False]
    assert {closed.bars[0].quality for closed in closes} == {Quality.STALE.value}
    assert joiner.count_missing(close_ns(5)) == 2
    joiner.skip_to(close_ns(6))
    joiner.offer(IDS[0], make_bar(6))
    assert list(joiner.take(close_ns(6), False)) == []


def test_a_close_that_never_becomes_complete_does_not_stop_the_next() -> None:
    joiner = CloseJoiner(make_source(IDS[0], IDS[1]))
    joiner.offer(IDS[0], make_bar(1))
    for name in IDS[:2]:
        joiner.offer(name, make_bar(2))
    [closed] = joiner.take(close_ns(2), False)
    assert closed.ts_close_ns == close_ns(2)
    feed = MarketFeedMachine(INTERVAL_NS, ("executor",))
    feed.handle(make_closed(0, instruments=2), 0)
    alerts = [m.message.key for m in feed.handle(closed, 0) if isinstance(m, Record) and isinstance(m.message, Alert)]
    assert alerts == ["feed.gap"]


def test_the_feed_keeps_history_marked() -> None:
    feed = MarketFeedMachine(INTERVAL_NS, ("executor",))
    [sent] = list_sent(feed.handle(replace_history(make_closed(1)), 0), BarsClosed)
    assert sent.is_history
    assert list_sent(feed.handle(make_closed(2), 0), Alert) == []
    [alert] = list_sent(feed.handle(replace_history(make_closed(3)), 0), Alert)
    assert alert.key == "feed.late"


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        (VenueConnection("binance", Endpoints("", "")), "takes no orders here"),
        (VenueConnection("hyperliquid", Endpoints("", ""), key="0x" + "1" * 64), "not the secret itself"),
        (VenueConnection("dydx", Endpoints("", ""), key="env:TRIREME_NO_SUCH_KEY"), "is not set"),
    ],
)
def test_a_connection_that_cannot_trade_says_why_and_never_shows_a_key(connection: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        make_trading_client(connection, ())
    assert "1" * 64 not in str(refused.value)


def test_what_a_reference_points_to_must_be_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIREME_TEST_KEY", "hunter2")
    for venue in ("hyperliquid", "dydx"):
        with pytest.raises(ValueError, match="not a private key of 64 hex digits") as refused:
            make_trading_client(VenueConnection(venue, Endpoints("", ""), key="env:TRIREME_TEST_KEY"), ())
        assert "hunter2" not in str(refused.value)
    with pytest.raises(ValueError, match="has no market data here"):
        make_market_data_client(VenueConnection("mtgox", Endpoints("", "")), ())


def test_messages_of_real_time_move_the_clock() -> None:
    from actors.messages import get_ts_known_ns

    said: list[Message] = [VenueHealth((), 5), Tick(ts_heard_ns=5), VenueReported((), ts_heard_ns=5)]
    assert [get_ts_known_ns(message) for message in said] == [5, 5, 5]
    assert get_ts_known_ns(VenueReported((), 7, ts_heard_ns=5)) == 7
