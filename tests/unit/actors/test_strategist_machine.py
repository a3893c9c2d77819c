"""The strategist: decides each close once, trails its stops, sees a stop that should have fired and did not."""

from typing import Any

import pytest

from actors.messages import Decisions, Protection, Send, StopWish, Tick
from actors.strategist.machine import StrategistMachine
from market.reasons import Reason
from market.records import Action, Quality
from risk.limits import LIMITS_NONE
from tests.unit.actors.accounts import (
    IDS,
    OPEN,
    book,
    close_ns,
    make_bar,
    make_closed,
    make_fill,
    make_plan,
    make_update,
)

TRAILING = OPEN._replace(trailing=OPEN.trailing._replace(armed_frac=0.015, distance_frac=0.02))


def decide(machine: StrategistMachine, number: int, *bars: Any, booked: tuple[Any, ...] = (), **more: Any) -> Decisions:
    """Let one close come about and return what is decided."""
    machine.handle(make_closed(number, *bars), close_ns(number))
    protections = more.get("protections", ())
    [send] = machine.handle(make_update(number, *booked, protections=protections), close_ns(number))
    assert isinstance(send, Send)
    assert send.to == ("governor",)
    assert isinstance(send.message, Decisions)
    return send.message


def test_bars_and_the_account_of_the_same_close_are_waited_for() -> None:
    machine = StrategistMachine(make_plan(), 0)
    assert machine.handle(make_closed(1), 0) == []
    assert machine.handle(make_closed(2), 0) == []
    [first] = machine.handle(make_update(1), 0)
    assert first.message.ts_close_ns == close_ns(1)
    [second] = machine.handle(make_update(2), 0)
    assert second.message.ts_close_ns == close_ns(2)


def test_an_account_ahead_of_its_bars_waits_too() -> None:
    machine = StrategistMachine(make_plan(), 0)
    assert machine.handle(make_update(1), 0) == []
    [send] = machine.handle(make_closed(1), 0)
    assert send.message == Decisions(0, close_ns(1), (), ())


def test_repeats_change_nothing() -> None:
    machine = StrategistMachine(make_plan(), 0)
    decide(machine, 1)
    decide(machine, 2)
    for message in (make_closed(1), make_update(1), make_closed(2), make_update(2)):
        assert machine.handle(message, 0) == []


def test_a_wish_has_the_same_id_in_every_life() -> None:
    lives = []
    for _ in range(2):
        machine = StrategistMachine(make_plan(), 0)
        for number in (1, 2):
            decide(machine, number)
        lives.append(decide(machine, 3, make_bar(3, signal=0.5)))
    assert lives[0] == lives[1]
    [intent] = lives[0].intents
    assert intent.intent.action == Action.TARGET
    assert intent.intent.target_frac == 0.5
    assert intent.intent.stop_distance_px == pytest.approx(6.0)  # three times a range of two


def test_each_strategy_has_its_own_slots_and_ids() -> None:
    plan = make_plan(instruments=2, strategies=2)
    bars = (make_bar(1, signal=0.5), make_bar(1, signal=-0.5))
    decisions = [decide(StrategistMachine(plan, strategy), 1, *bars) for strategy in (0, 1)]
    assert [[intent.slot for intent in decided.intents] for decided in decisions] == [[0, 2], [1, 3]]
    assert len({intent.intent_id for decided in decisions for intent in decided.intents}) == 4


def hold(machine: StrategistMachine, lots: int, stop_px: float) -> tuple[Protection, ...]:
    """Let a position of `lots` at 100 come about at the first close."""
    protections = (Protection(0, stop_px, 0.0),)
    decide(machine, 1, booked=(book(0, make_fill(IDS[0], lots)),), protections=protections)
    return protections


def test_a_position_is_what_the_fills_of_its_own_slots_make() -> None:
    machine = StrategistMachine(make_plan(instruments=2, strategies=2), 0)
    mine, others = book(2, make_fill(IDS[1], 5, px=101.0)), book(1, make_fill(IDS[0], 7))
    decide(machine, 1, make_bar(1), make_bar(1), booked=(mine, others), protections=(Protection(2, 96.0, 0.0),))
    first, second = machine.describe_slots()
    assert (first["qty_lots"], first["stop_px"]) == (0, 0.0)
    assert (second["qty_lots"], second["avg_px"], second["stop_px"]) == (5, 101.0, 96.0)
    decide(machine, 2, make_bar(2), make_bar(2), booked=(book(2, make_fill(IDS[1], -5, trade_id="2")),))
    assert machine.describe_slots()[1]["qty_lots"] == 0


@pytest.mark.parametrize(
    ("lots", "stop_px", "bar", "expected"),
    [
        (5, 95.0, make_bar(2, 104.0), 105.0 * 0.98),  # armed by the high
        (5, 95.0, make_bar(2, 99.5), None),  # not far enough past the entry
        (5, 103.5, make_bar(2, 104.0), None),  # tighter already
        (-5, 105.0, make_bar(2, 96.0), 95.0 * 1.02),
        (-5, 105.0, make_bar(2, 100.5), None),
    ],
)
def test_a_stop_trails_and_only_ever_tightens(lots: int, stop_px: float, bar: Any, expected: float | None) -> None:
    machine = StrategistMachine(make_plan(limits=TRAILING), 0)
    protections = hold(machine, lots, stop_px)
    wishes = decide(machine, 2, bar, protections=protections).stop_wishes
    assert wishes == (() if expected is None else (StopWish(0, pytest.approx(expected)),))


def test_the_best_price_is_remembered_from_the_entry_on() -> None:
    machine = StrategistMachine(make_plan(limits=TRAILING), 0)
    protections = hold(machine, 5, 95.0)
    assert decide(machine, 2, make_bar(2, 106.0), protections=protections).stop_wishes
    refused = decide(machine, 3, make_bar(3, 106.0, high_px=106.0), protections=protections)  # it was not moved
    assert refused.stop_wishes == (StopWish(0, pytest.approx(107.0 * 0.98)),)


def test_without_limits_or_without_a_stop_nothing_trails() -> None:
    for limits, stop_px in ((LIMITS_NONE, 95.0), (TRAILING, 0.0)):
        machine = StrategistMachine(make_plan(limits=limits), 0)
        protections = hold(machine, 5, stop_px)
        assert decide(machine, 2, make_bar(2, 110.0), protections=protections).stop_wishes == ()


@pytest.mark.parametrize(
    ("lots", "stop_px", "bar", "is_exit"),
    [
        (5, 95.0, make_bar(2, 94.0), True),
        (5, 95.0, make_bar(2, 95.0), False),
        (5, 95.0, make_bar(2, 96.0), False),
        (-5, 105.0, make_bar(2, 106.0), True),
        (-5, 105.0, make_bar(2, 104.0), False),
        (5, 0.0, make_bar(2, 94.0), False),
        (5, 95.0, make_bar(2, 94.0, quality=Quality.AFTER_GAP.value), True),
        (5, 95.0, make_bar(2, 94.0, quality=Quality.MISSING.value), False),
        (5, 95.0, make_bar(2, 94.0, quality=Quality.IMPOSSIBLE.value), False),
        (5, 95.0, make_bar(2, 94.0, quality=Quality.NOT_FINITE.value | Quality.AFTER_GAP.value), False),
    ],
)
def test_a_stop_that_should_have_fired_is_an_exit(lots: int, stop_px: float, bar: Any, is_exit: bool) -> None:
    machine = StrategistMachine(make_plan(), 0)
    protections = hold(machine, lots, stop_px)
    intents = decide(machine, 2, bar, protections=protections).intents
    assert [(intent.intent.target_frac, Reason(intent.intent.reason)) for intent in intents] == (
        [(0.0, Reason.STOP)] if is_exit else []
    )


def test_a_strategys_own_wish_goes_before_the_breach() -> None:
    machine = StrategistMachine(make_plan(), 0)
    protections = hold(machine, 5, 95.0)
    [intent] = decide(machine, 2, make_bar(2, 94.0, signal=-1.0), protections=protections).intents
    assert intent.intent.target_frac == -1.0


def test_a_message_of_somebody_else_is_our_bug() -> None:
    with pytest.raises(TypeError, match="no handler for Tick"):
        StrategistMachine(make_plan(), 0).handle(Tick(), 0)
