"""What may be promoted, what is said against it, and how little Kelly is told to believe."""

from typing import Any

import pytest

from market.kernel_cache import hash_kernel_sources
from risk.estimate import PRIOR_RANGES, compute_estimate
from risk.kelly import decide_kelly
from risk.limits import LIMITS_DEFAULT, Limits, switch
from risk.state import STRATEGY_RISK_NEW
from sweeps.promotion.making import WEIGHT_TRADES_MAX, make_prior, make_promotion
from sweeps.promotion.record import PromotionRefusedError
from tests.unit.sweeps.promotion.promotable import EVIDENCE, PARAMS, make_account, make_overfitting, make_promotable


def refuse(best: dict[str, Any] | None = None, **changes: Any) -> tuple[str, ...]:
    with pytest.raises(PromotionRefusedError) as error:
        make_promotion(make_promotable(best, **changes), hash_kernel_sources())
    return error.value.reasons


def test_each_fault_of_the_sweep_is_a_reason() -> None:
    assert refuse(faults=["chance explains it", "it lost on the holdout"]) == (
        "chance explains it",
        "it lost on the holdout",
    )


def test_another_code_version_is_a_reason() -> None:
    version = hash_kernel_sources()
    assert refuse(code_version="0123") == (f"computed with code 0123, running is {version}: sweep again",)
    assert len(refuse(code_version="0123", faults=["chance explains it"])) == 2


@pytest.mark.parametrize(
    ("best", "changes", "reason"),
    [
        ({"is_passed": False, "failed": ["sharpe_min", "trades_min"]}, {}, "the best configuration fails sharpe_min, "),
        ({"metrics_out_of_sample": None}, {}, "there is no holdout"),
        ({}, {"overfitting": make_overfitting(deflated_sharpe_prob=None)}, "the deflated Sharpe probability is not"),
        (
            {"evidence": {"trades": 0, "win_rate_frac": None, "win_r_avg": None, "loss_r_avg": None}},
            {},
            "not one trade",
        ),
        ({"evidence": {}}, {}, "not one trade was closed on unseen bars"),
        ({"evidence": EVIDENCE | {"loss_r_avg": -0.9}}, {}, "the evidence of unseen bars makes no sense"),
        ({"evidence": EVIDENCE | {"loss_r_avg": None}}, {}, "the evidence of unseen bars makes no sense"),
        ({"evidence": EVIDENCE | {"win_rate_frac": 1.2}}, {}, "the evidence of unseen bars makes no sense"),
        ({"evidence": EVIDENCE | {"win_r_avg": 0.9}}, {}, "its 88 trades on unseen bars made +0.000 R each on average"),
        ({"evidence": EVIDENCE | {"win_r_avg": None}}, {}, "its 88 trades on unseen bars made -0.450 R each"),
        ({"params": {"trend_bars": 48}}, {}, "the sweep's account or parameters: strategy momentum_sar lacks the"),
        ({"params": PARAMS | {"trend_bars": 0}}, {}, "the sweep's account or parameters: momentum_sar.trend_bars is 0"),
        ({"params": PARAMS | {"stop_atr": None}}, {}, "the sweep's account or parameters: momentum_sar.stop_atr is ''"),
        ({}, {"strategy": "martingale"}, "the sweep's account or parameters: unknown strategy 'martingale'"),
        (
            {},
            {"account": make_account(switch(LIMITS_DEFAULT, False, "daily_loss"))},
            "the sweep's account or parameters: limits.daily_loss.enabled is false, allowed in backtests only",
        ),
        (
            {},
            {"account": make_account(LIMITS_DEFAULT._replace(prior=LIMITS_DEFAULT.prior._replace(weight_trades=9.0)))},
            "the sweep's account or parameters: limits.prior.weight_trades is 9, allowed in backtests only",
        ),
    ],
)
def test_what_is_bad_or_not_known_is_a_reason(best: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    [said] = refuse(best, **changes)
    assert said.startswith(reason)
    assert "\n" not in said


def size(limits: Limits = LIMITS_DEFAULT, probability: float = 0.96, **evidence: Any) -> tuple[float, float]:
    """Return (weight of the prior, fraction of equity that Kelly risks on the first trade)."""
    prior = make_prior(EVIDENCE | evidence, probability, limits)
    for name, (low, high) in PRIOR_RANGES.items():
        assert low <= getattr(prior, name) <= high
    estimate = compute_estimate(limits.estimate, prior, STRATEGY_RISK_NEW, 0)
    return prior.weight_trades, decide_kelly(limits.kelly, estimate)[0]


def test_the_weight_is_capped_and_counts_as_far_as_chance_does_not_explain() -> None:
    assert size()[0] == 88 * 0.96
    assert size(trades=5_000)[0] == WEIGHT_TRADES_MAX * 0.96
    assert size(trades=5_000, probability=0.5)[0] == WEIGHT_TRADES_MAX * 0.5
    assert size(probability=0.0)[0] == 0.0


@pytest.mark.parametrize("trades", [1, 29])
def test_too_few_trades_make_no_prior_and_the_floor_size(trades: int) -> None:
    assert size(trades=trades, win_rate_frac=0.9) == (0.0, LIMITS_DEFAULT.kelly.risk_frac_min)
    assert size(trades=30, win_rate_frac=0.9)[0] > 0.0


@pytest.mark.parametrize("trades", range(30, 200, 10))
def test_a_prior_never_sizes_below_the_floor_of_a_strategy_without_one(trades: int) -> None:
    weight, risk_frac = size(trades=trades, win_rate_frac=0.4, win_r_avg=2.0, loss_r_avg=1.0)
    assert risk_frac >= LIMITS_DEFAULT.kelly.risk_frac_min
    assert (weight > 0.0) == (trades >= 80)


def test_wins_alone_do_not_make_losses_unthinkable() -> None:
    prior = make_prior(EVIDENCE | {"win_rate_frac": 1.0, "loss_r_avg": None}, 0.96, LIMITS_DEFAULT)
    assert (prior.win_rate_frac, prior.loss_r_avg) == (0.99, LIMITS_DEFAULT.estimate.loss_r_max)
