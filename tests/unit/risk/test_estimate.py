"""The pessimistic estimate and what Kelly and reward-to-risk make of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.reasons import Reason
from market.records import NS_PER_DAY
from risk.estimate import (
    ESTIMATE_DEFAULT,
    PRIOR_NONE,
    Estimate,
    Prior,
    compute_decay,
    compute_estimate,
    compute_outcome_r,
    compute_win_rate_low_frac,
)
from risk.evidence import apply_trade_closed
from risk.kelly import KELLY_DEFAULT, compute_kelly_frac, decide_kelly
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE
from risk.reward_to_risk import REWARD_TO_RISK_DEFAULT, decide_reward_to_risk
from risk.state import SLOT_RISK_NEW, STRATEGY_RISK_NEW, StrategyRisk, TradeOutcome
from tests.unit.risk.entries import TS_NS, make_request, make_strategy

PROMOTED = Prior(100.0, 0.55, 1.5, 1.0)


def estimate(strategy: StrategyRisk, prior: Prior = PRIOR_NONE, days: float = 0.0) -> Estimate:
    """Return the estimate some days after the last trade."""
    result: Estimate = compute_estimate(ESTIMATE_DEFAULT, prior, strategy, TS_NS + int(days * NS_PER_DAY))
    return result


@pytest.mark.parametrize(
    ("wins", "trades", "z", "expected"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17, 1998.
        (81.0, 263.0, 1.959964, 0.2553),
        (15.0, 148.0, 1.959964, 0.0624),
        (0.0, 20.0, 1.959964, 0.0),
        (1.0, 29.0, 1.959964, 0.0061),
    ],
)
def test_wilson_lower_bound_agrees_with_the_published_table(
    wins: float, trades: float, z: float, expected: float
) -> None:
    assert compute_win_rate_low_frac(wins, trades, z) == pytest.approx(expected, abs=5e-5)


@given(st.floats(0.0, 1.0), st.floats(0.5, 1e5), st.floats(0.0, 4.0))
def test_the_bound_lies_between_zero_and_the_rate(rate: float, trades: float, z: float) -> None:
    low = compute_win_rate_low_frac(rate * trades, trades, z)
    assert 0.0 <= low <= rate + 1e-9


@given(st.floats(0.05, 0.95), st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_kelly_is_where_growth_is_largest(p: float, win_r: float, loss_r: float) -> None:
    best = compute_kelly_frac(p, win_r, loss_r)

    def growth(frac: float) -> float:
        return p * math.log1p(frac * win_r) + (1 - p) * math.log1p(-frac * loss_r)

    if best <= 0.0:
        assert p * win_r - (1 - p) * loss_r <= 1e-9
        return
    assert best < 1.0 / loss_r
    assert growth(best) >= max(growth(0.98 * best), growth(0.5 * best), growth(0.0)) - 1e-12


@given(st.floats(allow_nan=True), st.floats(allow_nan=True), st.floats(allow_nan=True))
def test_kelly_risks_the_floor_to_the_cap_or_nothing(p: float, win_r: float, loss_r: float) -> None:
    frac, reason = decide_kelly(KELLY_DEFAULT, Estimate(True, p, win_r, loss_r))
    if reason == Reason.OK:
        assert KELLY_DEFAULT.risk_frac_min <= frac <= KELLY_DEFAULT.risk_frac_max
    else:
        assert (frac, reason) == (0.0, Reason.KELLY_TOO_LOW)


def test_no_history_is_the_floor_size_and_a_promoted_backtest_is_believed_at_its_bound() -> None:
    assert decide_kelly(KELLY_DEFAULT, estimate(STRATEGY_RISK_NEW)) == (0.01, Reason.OK)
    assert decide_kelly(KELLY_DEFAULT, estimate(make_strategy(20, 9))) == (0.01, Reason.OK)
    promoted = estimate(STRATEGY_RISK_NEW, PROMOTED)
    assert promoted.is_ready
    assert promoted.win_rate_low_frac == pytest.approx(compute_win_rate_low_frac(55.0, 100.0, 0.8416))
    assert promoted.win_r_avg == pytest.approx(55 * 1.5 / 56)
    assert decide_kelly(KELLY_DEFAULT, promoted)[0] == KELLY_DEFAULT.risk_frac_max
    hopeless = PROMOTED._replace(win_rate_frac=0.30)
    assert decide_kelly(KELLY_DEFAULT, estimate(STRATEGY_RISK_NEW, hopeless))[1] == Reason.KELLY_TOO_LOW


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.05, 5.0), st.floats(0.05, 5.0))
def test_one_more_win_never_hurts_and_one_more_loss_never_helps(
    wins: int, losses: int, win_r: float, loss_r: float
) -> None:
    def believed(win_count: int, loss_count: int) -> float:
        strategy = make_strategy(win_count, loss_count, win_r, loss_r)
        now = estimate(strategy, Prior(1.0, 0.5, win_r, loss_r))
        return float(compute_kelly_frac(now.win_rate_low_frac, now.win_r_avg, now.loss_r_avg))

    assert believed(wins + 1, losses) >= believed(wins, losses) - 1e-9
    # A loss can only raise the estimate by lowering the average loss; of one R or more it never does.
    if loss_r >= 1.0:
        assert believed(wins, losses + 1) <= believed(wins, losses) + 1e-9


@given(st.integers(0, 100), st.integers(0, 100), st.floats(0.0, 2000.0), st.floats(0.0, 2000.0))
def test_evidence_fades_toward_the_prior(wins: int, losses: int, sooner: float, later: float) -> None:
    strategy = make_strategy(wins, losses, 2.0, 1.2)
    sooner, later = min(sooner, later), max(sooner, later)
    prior_rate = estimate(STRATEGY_RISK_NEW, PROMOTED).win_rate_low_frac
    now = [abs(estimate(strategy, PROMOTED, days).win_rate_low_frac - prior_rate) for days in (sooner, later)]
    # More evidence narrows the bound, so distance may shrink past and back a little; far out it is gone.
    assert abs(estimate(strategy, PROMOTED, 20_000.0).win_rate_low_frac - prior_rate) < 1e-9
    assert now[1] <= now[0] + 0.05


def test_a_condemned_strategy_may_prove_itself_again_after_a_while() -> None:
    condemned = make_strategy(10, 50)
    assert decide_kelly(KELLY_DEFAULT, estimate(condemned))[1] == Reason.KELLY_TOO_LOW
    assert decide_kelly(KELLY_DEFAULT, estimate(condemned, days=170.0))[1] == Reason.KELLY_TOO_LOW
    assert decide_kelly(KELLY_DEFAULT, estimate(condemned, days=190.0)) == (0.01, Reason.OK)


@pytest.mark.parametrize(
    ("days", "weight"), [(0.0, 1.0), (180.0, 0.5), (360.0, 0.25), (-10.0, 1.0)], ids=["now", "half", "quarter", "back"]
)
def test_decay(days: float, weight: float) -> None:
    assert compute_decay(ESTIMATE_DEFAULT, TS_NS, TS_NS + int(days * NS_PER_DAY)) == pytest.approx(weight)


@pytest.mark.parametrize(
    ("pnl_quote", "risk_quote", "expected"),
    [
        (20.0, 10.0, (True, 2.0)),
        (900.0, 10.0, (True, 5.0)),
        (-12.0, 10.0, (False, 1.2)),
        (-900.0, 10.0, (False, 10.0)),
        (0.0, 10.0, (False, 0.0)),
        (math.nan, 10.0, (False, 1.0)),
        (math.inf, 10.0, (False, 1.0)),
        (5.0, math.nan, (True, 0.0)),
        (-5.0, 0.0, (False, 1.0)),
    ],
)
def test_outcomes_in_r(pnl_quote: float, risk_quote: float, expected: tuple[bool, float]) -> None:
    assert compute_outcome_r(ESTIMATE_DEFAULT, TradeOutcome(pnl_quote, risk_quote, False)) == expected


def test_a_win_streak_on_a_long_record_hardly_moves_the_size() -> None:
    record = make_strategy(110, 90, 1.0, 1.0)
    streak = record._replace(wins_weight=116.0, win_r_sum=116.0)
    before = decide_kelly(KELLY_DEFAULT._replace(risk_frac_min=0.0001), estimate(record))[0]
    after = decide_kelly(KELLY_DEFAULT._replace(risk_frac_min=0.0001), estimate(streak))[0]
    assert before < after < before + 0.015


@pytest.mark.parametrize(
    ("strategy", "changes", "expected"),
    [
        (STRATEGY_RISK_NEW, {}, Reason.OK),
        (STRATEGY_RISK_NEW, {"take_profit_distance_px": 0.1}, Reason.REWARD_TO_RISK),  # pays its costs, nothing more
        (STRATEGY_RISK_NEW, {"take_profit_distance_px": 0.11}, Reason.OK),
        (make_strategy(94, 6, 0.013 / 0.371, 1.0), {}, Reason.REWARD_TO_RISK),
        (make_strategy(60, 40), {}, Reason.OK),
        (make_strategy(60, 40), {"take_profit_distance_px": 1.0}, Reason.REWARD_TO_RISK),  # this one wins less
        (make_strategy(40, 60), {}, Reason.REWARD_TO_RISK),
    ],
)
def test_reward_to_risk(strategy: StrategyRisk, changes: dict[str, float], expected: Reason) -> None:
    reason = decide_reward_to_risk(REWARD_TO_RISK_DEFAULT, estimate(strategy), make_request(**changes), 0.021)
    assert reason == expected


def test_without_limits_trades_leave_no_trace() -> None:
    outcome = TradeOutcome(-5.0, 10.0, True)
    states = (STRATEGY_RISK_NEW, SLOT_RISK_NEW)
    assert apply_trade_closed(*states, LIMITS_NONE, outcome, TS_NS) == states
    assert apply_trade_closed(*states, LIMITS_DEFAULT, outcome, TS_NS)[0].loss_r_sum == 0.5
