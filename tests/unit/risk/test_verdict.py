"""A verdict never says more than the rule itself would have said, close by close."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from market.reasons import Reason
from market.records import NS_PER_DAY
from risk.estimate import PRIOR_NONE, EstimateParams, Prior, compute_estimate
from risk.hard_stop import compute_lot_risk_quote
from risk.limits import LIMITS_DEFAULT, Limits, switch
from risk.reward_to_risk import RewardToRiskParams, decide_reward_to_risk
from risk.state import STRATEGY_RISK_NEW, StrategyRisk
from risk.verdict import VERDICT_NONE, Verdict, find_verdict, is_unworthy, is_unworthy_through
from tests.unit.risk.entries import TS_NS, make_request, make_strategy

REQUESTS = tuple(make_request(take_profit_distance_px=px) for px in (0.0, 0.01, 1.0, 3.0, 1e3))


def decide(limits: Limits, strategy: StrategyRisk, ts_now_ns: int) -> set[Reason]:
    """What the rule says of requests without and with a take-profit."""
    estimate = compute_estimate(limits.estimate, limits.prior, strategy, ts_now_ns)
    return {
        Reason(decide_reward_to_risk(limits.reward_to_risk, estimate, request, compute_lot_risk_quote(request)))
        for request in REQUESTS
    }


weights = st.floats(0.0, 200.0) | st.sampled_from([0.0, 15.0, 30.0])
strategies = st.builds(
    lambda wins, losses, win_r, loss_r: STRATEGY_RISK_NEW._replace(
        wins_weight=wins,
        losses_weight=losses,
        win_r_sum=wins * win_r,
        loss_r_sum=losses * loss_r,
        ts_evidence_ns=TS_NS,
    ),
    weights,
    weights,
    st.floats(0.0, 5.0),
    st.floats(0.0, 10.0),
)
priors = st.just(PRIOR_NONE) | st.builds(
    Prior, st.floats(0.0, 300.0), st.floats(0.01, 0.99), st.floats(0.001, 5.0), st.floats(0.001, 5.0)
)
estimates = st.builds(
    EstimateParams, st.floats(1.0, 400.0), st.floats(5.0, 60.0), st.floats(0.0, 3.0), st.just(5.0), st.just(10.0)
)


@given(
    strategy=strategies,
    prior=priors,
    estimate=estimates,
    expectancy_r_min=st.floats(0.0, 0.5),
    age_days=st.floats(-1.0, 400.0),
    span_days=st.floats(0.0, 60.0),
)
@example(make_strategy(10, 30), PRIOR_NONE, LIMITS_DEFAULT.estimate, 0.0, 1.0, 16.0)
def test_denies_at_every_instant_of_its_span(
    strategy: StrategyRisk,
    prior: Prior,
    estimate: EstimateParams,
    expectancy_r_min: float,
    age_days: float,
    span_days: float,
) -> None:
    reward_to_risk = RewardToRiskParams(True, expectancy_r_min)
    limits = LIMITS_DEFAULT._replace(estimate=estimate, prior=prior, reward_to_risk=reward_to_risk)
    ts_from_ns = TS_NS + int(age_days * NS_PER_DAY)
    span_ns = int(span_days * NS_PER_DAY)
    if is_unworthy_through(limits, strategy, ts_from_ns, ts_from_ns + span_ns):
        for part in np.linspace(0.0, 1.0, 9):
            assert decide(limits, strategy, ts_from_ns + int(part * span_ns)) == {Reason.REWARD_TO_RISK}


@pytest.mark.parametrize(
    ("strategy", "limits", "days"),
    [
        (make_strategy(20, 60), LIMITS_DEFAULT, 16),
        (make_strategy(8, 23), LIMITS_DEFAULT, 4),  # after 12 days it may prove itself anew
        (make_strategy(8, 22), LIMITS_DEFAULT, 4),
        (make_strategy(8, 21), LIMITS_DEFAULT, 0),  # no verdict on 29 trades
        (make_strategy(60, 20), LIMITS_DEFAULT, 0),
        (STRATEGY_RISK_NEW, LIMITS_DEFAULT, 0),
        (make_strategy(20, 60), switch(LIMITS_DEFAULT, False, "reward_to_risk"), 0),
        (make_strategy(20, 60)._replace(loss_r_sum=float("nan")), LIMITS_DEFAULT, 0),
    ],
)
def test_looks_ahead_as_far_as_it_is_sure(strategy: StrategyRisk, limits: Limits, days: int) -> None:
    expected = Verdict(TS_NS, TS_NS + days * NS_PER_DAY) if days else VERDICT_NONE
    assert find_verdict(limits, strategy, TS_NS) == expected


def test_holds_from_its_first_instant_to_before_its_last() -> None:
    verdict = Verdict(TS_NS, TS_NS + 10)
    answers = [is_unworthy(verdict, TS_NS + offset) for offset in (-1, 0, 9, 10)]
    assert answers == [False, True, True, False]
    assert not is_unworthy(VERDICT_NONE, 0)
