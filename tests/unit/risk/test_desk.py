"""The desk: fills and funding booked, legs approved, stops moved, and what counts for whom."""

from typing import Any

import numpy as np
import pytest

from market.events import FillKind
from market.fills import Costs
from market.instruments import find_instrument
from market.reasons import Reason
from market.records import NS_PER_DAY, NS_PER_S, Action, Intent
from risk.desk import (
    CASH,
    FEES,
    FUNDING,
    Desk,
    SlotDecision,
    apply_fill_to_desk,
    apply_funding_to_desk,
    apply_stop_move,
    clear_entry,
    clear_reduce,
    compute_equity_quote,
    compute_maintenance_quote,
    decide_slot,
    has_order_in_flight,
    make_desk,
    make_slot_specs,
    mark_desk,
    reset_desk,
)
from risk.estimate import PRIOR_NONE, Prior
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE, Limits, switch
from risk.verdict import VERDICT_NONE, Verdict
from tests.unit.risk.entries import TS_NS

IDS = ("BTC-PERP.BINANCE", "ETH-PERP.BINANCE")
BAR_NS = 900 * NS_PER_S
CASH_QUOTE = 100_000.0
HOLD = Intent(Action.HOLD.value, 0.0, 0.0, 0.0, Reason.NO_SIGNAL.value)
FLAT = Intent(Action.TARGET.value, 0.0, 0.0, 0.0, Reason.EXIT_SIGNAL.value)
ORDER, STOP, TAKE_PROFIT = FillKind.ORDER.value, FillKind.STOP.value, FillKind.TAKE_PROFIT.value


def target(frac: float, stop_px: float = 2.0) -> Intent:
    return Intent(Action.TARGET.value, frac, stop_px, 0.0, Reason.ENTRY_SIGNAL.value)


def open_desk(
    limits: Limits = LIMITS_DEFAULT, instruments: int = 1, strategies: int = 1, priors: tuple[Prior, ...] = ()
) -> Desk:
    """A desk of slots priced 100, marked once."""
    listed = [find_instrument(instrument_id) for instrument_id in IDS[:instruments]]
    specs = make_slot_specs(listed, Costs(5.0, 2.0, 1.0), strategies)
    desk = make_desk(specs, strategies, CASH_QUOTE, limits, priors)
    desk.slots["mark_px"] = 100.0
    mark_desk(desk, CASH_QUOTE, TS_NS)
    return desk


def decide(desk: Desk, intent: Intent, slot: int = 0, bars: int = 0, quality: int = 0) -> SlotDecision:
    decision: SlotDecision = decide_slot(desk, slot, intent, quality, TS_NS + bars * BAR_NS)
    return decision


def fill(
    desk: Desk, qty_lots: int, px: float, kind: int = ORDER, fee: float = 0.0, slot: int = 0, bars: int = 1
) -> Any:
    return apply_fill_to_desk(desk, slot, qty_lots, px, fee, kind, TS_NS + bars * BAR_NS)


def enter(desk: Desk, frac: float = 0.5, slot: int = 0) -> int:
    """Approve and fill an entry at 100; its lots."""
    lots = decide(desk, target(frac), slot).entry_lots
    fill(desk, lots, 100.0, slot=slot)
    assert desk.slots[slot]["holding"]["qty_lots"] == lots != 0
    return lots


def test_a_new_desk_is_worth_its_cash_and_a_reset_one_is_new() -> None:
    desk = open_desk(instruments=2, strategies=2)
    new = make_desk(
        make_slot_specs([find_instrument(name) for name in IDS], Costs(5.0, 2.0, 1.0), 2), 2, CASH_QUOTE, LIMITS_DEFAULT
    )
    assert compute_equity_quote(desk) == CASH_QUOTE
    assert [(int(row["spec"]["instrument"]), int(row["spec"]["strategy"])) for row in desk.slots] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    enter(desk)
    apply_funding_to_desk(desk, 0, 3.0)
    decide(desk, target(0.5), slot=1, quality=4)
    desk.strategies[0]["verdict"]["ts_until_ns"] = 7
    reset_desk(desk, CASH_QUOTE)
    assert [array.tobytes() for array in desk] == [array.tobytes() for array in new]


def test_an_entry_is_approved_filled_in_parts_and_closed() -> None:
    desk = open_desk()
    decision = decide(desk, target(0.5))
    # 1 % of equity at risk over 2.0 + round-trip costs of 0.12 a base unit; half the equity would be 500 000 lots.
    assert decision.entry_lots == int(1000.0 / (0.001 * 2.12)) == 471_698
    assert (decision.stop_px, decision.denial, decision.reduce_lots) == (98.0, Reason.OK, 0)
    assert has_order_in_flight(desk, 0)
    part, rest = 171_698, 300_000
    assert fill(desk, part, 100.0, fee=4.0)[0] is False
    assert desk.slots[0]["orders"]["entry_lots"] == rest
    assert desk.slots[0]["orders"]["stop_px"] == 98.0
    fill(desk, rest, 101.0, fee=6.0)
    holding, orders = desk.slots[0]["holding"], desk.slots[0]["orders"]
    assert not has_order_in_flight(desk, 0)
    assert orders["entry_risk_quote"] == 0.0
    assert holding["risk_quote"] == pytest.approx(decision.risk_quote, rel=1e-15)
    assert holding["avg_px"] == (part * 100.0 + rest * 101.0) / decision.entry_lots
    assert desk.money_quote[CASH] == CASH_QUOTE - 10.0
    is_closed, reason, tally = fill(desk, -decision.entry_lots, 103.0, TAKE_PROFIT, fee=5.0)
    assert (is_closed, reason) == (True, Reason.TAKE_PROFIT)
    assert tally.pnl_quote == pytest.approx(part * 0.003 + rest * 0.002 - 15.0)
    assert desk.money_quote.tolist() == [pytest.approx(CASH_QUOTE + tally.pnl_quote), 15.0, 0.0]
    assert desk.slots[0]["holding"]["qty_lots"] == desk.slots[0]["orders"]["stop_px"] == 0
    assert desk.strategies[0]["risk"]["wins_weight"] == 1.0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(STOP, Reason.STOP), (TAKE_PROFIT, Reason.TAKE_PROFIT), (FillKind.LIQUIDATION.value, Reason.LIQUIDATION)],
)
def test_an_exit_says_why_and_a_stop_or_liquidation_cools_down(kind: int, expected: Reason) -> None:
    desk = open_desk()
    lots = enter(desk)
    assert fill(desk, -lots, 99.0, kind)[1] == expected
    is_cooled = decide(desk, target(0.5), bars=2).denial == Reason.COOLDOWN
    assert is_cooled == (kind != TAKE_PROFIT)


def test_funding_is_cash_and_counts_in_the_trade() -> None:
    desk = open_desk()
    lots = enter(desk)
    apply_funding_to_desk(desk, 0, -7.0)
    apply_funding_to_desk(desk, 0, 2.0)
    assert desk.money_quote[[CASH, FEES, FUNDING]].tolist() == [CASH_QUOTE - 5.0, 0.0, -5.0]
    tally = fill(desk, -lots, 100.0, STOP)[2]
    assert (tally.pnl_quote, tally.funding_quote) == (-5.0, -5.0)


def test_a_reversal_is_a_reducing_leg_and_an_entry() -> None:
    desk = open_desk()
    lots = enter(desk)
    decision = decide(desk, target(-0.5), bars=2)
    assert decision.reduce_lots == -lots
    assert decision.reduce_reason == Reason.REVERSAL
    assert decision.entry_lots < 0
    assert decision.stop_px == 102.0
    assert fill(desk, -lots, 100.0, bars=3)[:2] == (True, Reason.REVERSAL)
    assert fill(desk, decision.entry_lots, 100.0, bars=3)[0] is False
    assert desk.slots[0]["holding"]["side"] == -1
    assert desk.slots[0]["orders"]["stop_px"] == 102.0


def test_a_reversal_whose_entry_is_denied_still_reduces() -> None:
    desk = open_desk()
    lots = enter(desk)
    decision = decide(desk, target(-0.5, stop_px=0.0), bars=2)
    assert (decision.reduce_lots, decision.entry_lots, decision.denial) == (-lots, 0, Reason.NO_STOP)
    assert desk.denials[Reason.NO_STOP] == 1


@pytest.mark.parametrize(
    ("intent", "reduce_lots", "denial"),
    [(FLAT, -400_000, Reason.OK), (HOLD, 0, Reason.OK), (target(0.1), -300_000, Reason.OK)],
    ids=["flat", "hold", "less"],
)
def test_less_needs_no_approval(intent: Intent, reduce_lots: int, denial: Reason) -> None:
    desk = open_desk(LIMITS_NONE)
    assert enter(desk, 0.4) == 400_000
    decision = decide(desk, intent, bars=2, quality=4)
    assert (decision.reduce_lots, decision.entry_lots, decision.denial) == (reduce_lots, 0, denial)


def test_under_risk_a_position_is_not_added_to_and_without_it_is() -> None:
    guarded, free = open_desk(), open_desk(LIMITS_NONE)
    enter(guarded, 0.1)
    enter(free, 0.1)
    assert decide(guarded, target(0.2), bars=2).denial == Reason.POSITION_OPEN
    assert decide(free, target(0.2), bars=2).entry_lots == 100_000


def test_nothing_is_decided_while_a_leg_is_on_its_way_until_it_is_cleared() -> None:
    desk = open_desk()
    decide(desk, target(0.5))
    assert decide(desk, target(-0.5), bars=1).denial == Reason.ORDER_IN_FLIGHT
    clear_entry(desk, 0)
    assert not has_order_in_flight(desk, 0)
    lots = enter(desk_after(desk, 2), 0.5)
    decide(desk, FLAT, bars=4)
    assert desk.slots[0]["orders"]["reduce_lots"] == -lots
    clear_reduce(desk, 0)
    assert not has_order_in_flight(desk, 0)


def desk_after(desk: Desk, bars: int) -> Desk:
    """The desk as if its last decision were older: deduplication looks at the time of the newest one."""
    desk.slots["risk"]["ts_decided_ns"] -= bars * BAR_NS
    return desk


def test_a_forced_exit_goes_before_the_wish() -> None:
    late, lost = open_desk(), open_desk()
    lots = enter(late), enter(lost)
    days = int(LIMITS_DEFAULT.exit_tracking.holding_s_max / 86_400)
    bars = days * NS_PER_DAY // BAR_NS + 1
    assert decide(late, HOLD, bars=bars - 1).reduce_lots == 0
    assert decide(late, target(-0.5), bars=bars)[:3] == (-lots[0], Reason.HOLDING_TOO_LONG, 0)
    mark_desk(lost, 0.94 * CASH_QUOTE, TS_NS + 2 * BAR_NS)
    assert decide(lost, HOLD, bars=2)[:3] == (-lots[1], Reason.GLOBAL_STOP, 0)
    assert decide(lost, HOLD, bars=3).reduce_lots == 0  # it is on its way


@pytest.mark.parametrize(
    ("side", "stop_px", "expected"),
    [
        (1, 98.5, Reason.OK),
        (1, 98.0, Reason.STOP_NOT_TIGHTER),
        (1, 97.0, Reason.STOP_NOT_TIGHTER),
        (1, float("nan"), Reason.STOP_NOT_TIGHTER),
        (-1, 101.5, Reason.OK),
        (-1, 103.0, Reason.STOP_NOT_TIGHTER),
    ],
)
def test_a_stop_only_tightens(side: int, stop_px: float, expected: Reason) -> None:
    desk = open_desk()
    enter(desk, 0.5 * side)
    assert apply_stop_move(desk, 0, stop_px) == expected
    assert desk.slots[0]["orders"]["stop_px"] == (stop_px if expected == Reason.OK else 100.0 - 2.0 * side)
    assert desk.denials[Reason.STOP_NOT_TIGHTER] == (expected != Reason.OK)


def test_a_flat_slot_has_no_stop_to_move() -> None:
    assert apply_stop_move(open_desk(), 0, 99.0) == Reason.STOP_NOT_TIGHTER


def test_entries_on_their_way_count_as_positions() -> None:
    limits = LIMITS_DEFAULT._replace(positions=LIMITS_DEFAULT.positions._replace(positions_max=1))
    desk = open_desk(limits, instruments=2)
    assert decide(desk, target(0.5)).entry_lots > 0
    assert decide(desk, target(0.5), slot=1).denial == Reason.POSITIONS_TOO_MANY
    clear_entry(desk, 0)
    assert decide(desk, target(0.5), slot=1, bars=1).entry_lots > 0


def test_exposure_counts_what_is_held_and_what_is_on_its_way() -> None:
    limits = LIMITS_DEFAULT._replace(exposure=LIMITS_DEFAULT.exposure._replace(gross_max=0.9))
    desk = open_desk(limits, instruments=2)
    first = decide(desk, target(0.4)).entry_lots * 0.001 * 100.0
    second = decide(desk, target(0.9), slot=1).entry_lots * 0.001 * 100.0
    assert first == pytest.approx(40_000.0)
    assert second == pytest.approx(min(47_169.8, 90_000.0 - first))
    fill(desk, 400_000, 100.0)
    clear_entry(desk, 1)
    again = decide(desk, target(0.9), slot=1, bars=1).entry_lots * 0.001 * 100.0
    assert again == pytest.approx(second)


def test_an_instrument_has_one_owner() -> None:
    desk = open_desk(instruments=2, strategies=2)
    assert decide(desk, target(0.2), slot=0).entry_lots > 0
    assert decide(desk, target(0.2), slot=1).denial == Reason.INSTRUMENT_OWNED
    assert decide(desk, target(0.2), slot=3).entry_lots > 0
    clear_entry(desk, 0)
    assert decide(desk, target(0.2), slot=1, bars=1).entry_lots > 0


def test_equity_and_margin_are_those_of_the_marks() -> None:
    desk = open_desk(LIMITS_NONE, instruments=2)
    enter(desk, 0.5)
    enter(desk, -0.5, slot=1)
    desk.slots["mark_px"] = (110.0, 120.0)
    assert compute_equity_quote(desk) == pytest.approx(CASH_QUOTE + 500.0 * 10.0 - 500.0 * 20.0)
    margins = [find_instrument(name).maintenance_margin_frac for name in IDS]
    assert compute_maintenance_quote(desk) == pytest.approx(500.0 * 110.0 * margins[0] + 500.0 * 120.0 * margins[1])


def test_a_verdict_changes_no_answer_and_ends_with_the_next_trade() -> None:
    desk, plain = open_desk(instruments=2), open_desk(instruments=2)
    for each in (desk, plain):
        lots = enter(each, 0.5)
        each.strategies["risk"]["losses_weight"] = each.strategies["risk"]["loss_r_sum"] = 60.0
        each.strategies["risk"]["ts_evidence_ns"] = TS_NS
    for bars in range(2, 40):
        answers = []
        for each in (desk, plain):
            answers.append(decide(each, target(0.5, stop_px=2.0 * (bars % 3)), slot=1, bars=bars))
            plain.strategies["verdict"] = np.array(tuple(VERDICT_NONE), plain.strategies["verdict"].dtype)
        assert answers[0] == answers[1]
        assert answers[0].denial == (Reason.REWARD_TO_RISK if bars % 3 else Reason.NO_STOP)
    assert desk.denials.tolist() == plain.denials.tolist()
    ts_ns = TS_NS + 2 * BAR_NS
    assert tuple(desk.strategies[0]["verdict"]) == Verdict(ts_ns, ts_ns + 16 * NS_PER_DAY)
    fill(desk, -lots, 100.0, STOP, bars=41)
    assert tuple(desk.strategies[0]["verdict"]) == VERDICT_NONE


GOOD, BAD = Prior(200.0, 0.9, 0.5, 1.0), Prior(200.0, 0.3, 1.0, 1.0)


def test_each_strategy_is_sized_by_its_own_prior() -> None:
    desk = open_desk(switch(LIMITS_DEFAULT, False, "ownership"), strategies=3, priors=(GOOD, PRIOR_NONE, BAD))
    lots = [decide(desk, target(2.0), slot).entry_lots for slot in range(3)]
    # Loss at the stop: 2 % of equity at the hard stop's cap, 1 % at Kelly's floor.
    assert lots == [int(2000.0 / (0.001 * 2.12)), int(1000.0 / (0.001 * 2.12)), 0]
    assert desk.denials[Reason.REWARD_TO_RISK] == 1
    assert [bool(row["verdict"]["ts_until_ns"]) for row in desk.strategies] == [False, False, True]
    reset_desk(desk, CASH_QUOTE)
    assert [tuple(row["prior"]) for row in desk.limits] == [GOOD, PRIOR_NONE, BAD]


def test_each_strategy_is_judged_by_what_its_own_prior_promised() -> None:
    limits = switch(LIMITS_DEFAULT, False, "ownership", "cooldown")
    desk = open_desk(limits, strategies=2, priors=(GOOD, PRIOR_NONE))
    for trade in range(5):
        for slot in range(2):
            lots = decide(desk, target(0.1), slot, bars=2 * trade).entry_lots
            fill(desk, lots, 100.0, slot=slot, bars=2 * trade)
            fill(desk, -lots, 98.0, STOP, slot=slot, bars=2 * trade + 1)
    latches = [Reason(int(row["risk"]["latch_reason"])) for row in desk.strategies]
    assert latches == [Reason.BREAKER_WIN_RATE, Reason.OK]


def test_the_limits_prior_is_that_of_every_strategy_without_priors_of_their_own() -> None:
    desk = open_desk(LIMITS_DEFAULT._replace(prior=GOOD), strategies=2)
    assert [tuple(row["prior"]) for row in desk.limits] == [GOOD, GOOD]
    with pytest.raises(ValueError, match="zip"):
        open_desk(strategies=2, priors=(GOOD,))
