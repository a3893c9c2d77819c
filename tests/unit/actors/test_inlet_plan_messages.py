"""What the machines stand on: inlets, ids, bytes."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.in_process import EXECUTOR, FEED, GOVERNOR, InProcessHouse
from actors.inlet import Inlet
from actors.messages import (
    Alert,
    EquityMarked,
    Message,
    OrderPart,
    Protection,
    Severity,
    SlotDecided,
    StopMoveApproved,
    StopMoved,
    StopWish,
    Tick,
    VenueHealth,
    VenueReported,
    decode,
    encode,
    get_ts_known_ns,
)
from actors.plan import make_client_order_id, make_intent_id
from market.events import (
    CancelRejected,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderRequest,
    OrderTriggered,
    OrderType,
)
from tests.unit.actors.accounts import (
    IDS,
    book,
    close_ns,
    make_approvals,
    make_approved,
    make_bar,
    make_closed,
    make_decisions,
    make_fill,
    make_plan,
    make_update,
    wish,
)


@given(st.lists(st.integers(1, 8), max_size=30))
def test_an_inlet_hands_out_each_close_once_and_in_order(numbers: list[int]) -> None:
    inlet: Inlet[object] = Inlet()
    for number in numbers:
        inlet.offer(make_update(number))
    taken = []
    while inlet:
        oldest_ns = inlet.ts_oldest_ns
        taken.append(inlet.take().ts_close_ns)  # type: ignore[attr-defined]
        assert taken[-1] == oldest_ns
    assert taken == [close_ns(n) for n in sorted({n for i, n in enumerate(numbers) if n > max([0, *numbers[:i]])})]
    for number in numbers:
        inlet.offer(make_update(number))
    assert not inlet


def test_slots_are_ordered_by_instrument_then_strategy() -> None:
    plan = make_plan(instruments=3, strategies=2)
    pairs = [(instrument, strategy) for instrument in range(3) for strategy in range(2)]
    assert [plan.find_slot(strategy, instrument) for instrument, strategy in pairs] == [*range(6)]
    assert [plan.get_instrument(slot).instrument_id for slot in range(6)] == [IDS[i] for i, _ in pairs]
    assert [(spec.instrument, spec.strategy) for spec in plan.make_specs()] == pairs


def test_ids_are_a_function_of_the_decision_and_never_shared() -> None:
    names, parts = ("signals", "scalper"), ("reduce", "entry", "stop", "take_profit")
    intents = [make_intent_id(*key) for key in itertools.product(names, IDS, (close_ns(1), close_ns(2)))]
    assert intents == [make_intent_id(*key) for key in itertools.product(names, IDS, (close_ns(1), close_ns(2)))]
    ids = [make_client_order_id(intent, part) for intent in intents for part in parts]
    assert len({*intents, *ids}) == len(intents) * 5
    assert all(len(intent) == 32 for intent in intents)
    assert all(order_id.startswith("0x") and int(order_id, 16) < 1 << 128 for order_id in ids)


EVENTS = (
    OrderAccepted("0x1", "1", 1),
    OrderRejected("0x1", "no", 1, "cause"),
    OrderCanceled("0x1", "1", "requested", 1),
    OrderTriggered("0x1", "1", 1),
    OrderModified("0x1", "1", 5, 0.1, 0.2, 1),
    CancelRejected("0x1", "filled", 1),
    make_fill(IDS[0], -3),
    FundingPaid(IDS[0], 3, 1e-4, 100.0, -0.1, 1),
)
MESSAGES: tuple[Message, ...] = (
    *EVENTS,
    make_closed(1),
    make_update(1, *(book(0, event, part) for event, part in zip(EVENTS, [*OrderPart, *OrderPart], strict=False))),
    make_update(2, protections=(Protection(0, 95.0, 0.1 + 0.2),)),
    make_decisions(1, wish(0, 0.5, 1), stop_wishes=(StopWish(0, 97.0),)),
    make_approvals(1, make_approved(1), make_approved(1, -4, leg=0), stop_moves=(StopMoveApproved(0, 97.0, 1),)),
    VenueReported(EVENTS, close_ns(1), ((IDS[0], -3),)),
    VenueReported((), unknown_ids=("0x1",), ts_heard_ns=7),
    VenueHealth(("silent",), 7),
    Tick(),
    SlotDecided(close_ns(1), 0, "i", 2, 0, 5, 0, 0, 95.0, 0.0, "i"),
    StopMoved(close_ns(1), 0, 97.0),
    EquityMarked(close_ns(1), 100_000.0, 99_999.9, 0, 3),
    Alert(Severity.CRITICAL, "key", "text", 1),
    OrderRequest("0x1", IDS[0], 1, 5, OrderType.STOP_MARKET, trigger_px=95.0, is_reduce_only=True),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_the_same_after_the_wire(message: Message) -> None:
    assert repr(decode(encode(message))) == repr(message)
    assert encode(decode(encode(message))) == encode(message)


def test_floats_keep_their_bits_on_the_wire() -> None:
    for px in (0.1 + 0.2, math.nan, math.inf, -0.0, 5e-324):
        sent = decode(encode(make_closed(1, make_bar(1, px))))
        assert sent.bars[0].open_px.hex() == px.hex()  # type: ignore[union-attr]


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x81\xa4type\xa4Nope", encode(Tick())[:-1]])
def test_what_is_no_message_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not a message of this system"):
        decode(payload)


def test_bars_do_not_move_the_accounts_clock() -> None:
    assert get_ts_known_ns(make_closed(9)) == 0
    assert get_ts_known_ns(Tick()) == 0
    assert get_ts_known_ns(make_update(3)) == get_ts_known_ns(make_approvals(3)) == close_ns(3)
    assert get_ts_known_ns(VenueReported((), close_ns(3))) == close_ns(3)


def test_a_house_in_process_hands_everybody_what_is_theirs() -> None:
    house = InProcessHouse(make_plan(instruments=2, strategies=2))
    bars = [make_closed(n, make_bar(n, signal=0.5 if n == 4 else math.nan), make_bar(n)) for n in range(1, 8)]
    house.run(bars)
    assert set(house.machines) == {FEED, EXECUTOR, GOVERNOR, "strategist.0-signals", "strategist.1-signals1"}
    marked = [record for record in house.records if isinstance(record, EquityMarked)]
    assert [mark.ts_close_ns for mark in marked] == [close_ns(n) for n in range(1, 8)]
    assert house.machines[EXECUTOR].list_positions()[0][0] == IDS[0]
    assert house.alerts == []
    house.run([make_closed(7, instruments=2)])  # too late
    assert [alert.key for alert in house.alerts if isinstance(alert, Alert)] == ["feed.disorder"]


def test_a_house_whose_bars_come_all_at_once_comes_to_the_same() -> None:
    bars = [make_closed(n, make_bar(n, 100.0 + n % 3, signal=(-1.0) ** n)) for n in range(1, 40)]
    one_by_one, at_once = InProcessHouse(make_plan()), InProcessHouse(make_plan())
    one_by_one.run(bars)
    for closed in bars:
        at_once.tell(FEED, closed)
    at_once.settle()
    assert [r for r in at_once.records if isinstance(r, EquityMarked)] == [
        r for r in one_by_one.records if isinstance(r, EquityMarked)
    ]
    assert sum(isinstance(record, OrderRequest) for record in at_once.records) > 10
