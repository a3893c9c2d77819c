"""The gate as a whole: noise does not pass, an edge does, and both are told in words."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import stats

from sweeps.spec import Significance
from sweeps.statistics import blocks
from sweeps.statistics.overfitting import compute_overfitting, explain, judge
from sweeps.summary import Overfitting

QUICK = Significance(cscv_blocks=8, bootstraps=199)
DAYS, MATRICES = 250, 150


def measure(returns: np.ndarray, significance: Significance = QUICK, seed: int = 0) -> Overfitting:
    """Return the statistics of a sweep whose best has the greatest Sharpe ratio."""
    returns = np.ascontiguousarray(returns, np.float32)
    exact = returns.astype(np.float64)
    deviation = exact.std(axis=1, ddof=1)
    sharpes = (
        np.where(deviation > 0.0, exact.mean(axis=1) / np.where(deviation > 0.0, deviation, 1.0), 0.0) * 365.0**0.5
    )
    return compute_overfitting(returns, exact[sharpes.argmax()], sharpes, significance, seed)


def draw_noise(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return returns without an edge, float64[configs, DAYS]."""
    match kind:
        case "independent":
            return rng.standard_normal((40, DAYS))
        case "heavy tails, wild days":
            return rng.standard_t(4, (40, DAYS)) * np.exp(0.5 * rng.standard_normal(DAYS))
        case "near copies":
            return np.repeat(rng.standard_normal((3, DAYS)), 20, axis=0) + 0.1 * rng.standard_normal((60, DAYS))
        case "one idea":
            return rng.standard_normal(DAYS) + 0.3 * rng.standard_normal((40, DAYS))
        case _:
            return rng.standard_normal((1, DAYS))


@pytest.mark.parametrize("kind", ["independent", "heavy tails, wild days", "near copies", "one idea", "single"])
def test_noise_is_promoted_at_most_as_often_as_stated(kind: str) -> None:
    measured = [
        measure(0.01 * draw_noise(kind, np.random.default_rng((seed, len(kind)))), seed=seed)
        for seed in range(MATRICES)
    ]
    # More would be less likely than 1 in 1,000 if the true rate were alpha.
    most = int(stats.binom.ppf(0.999, MATRICES, QUICK.alpha))
    assert sum(not judge(one, QUICK) for one in measured) <= most
    # Hansen's test alone: about alpha, for the bootstrap of 250 days is a little too narrow.
    rejected = sum(one.spa_p is not None and one.spa_p <= QUICK.alpha for one in measured)
    assert (
        stats.binom.ppf(0.001, MATRICES, 0.6 * QUICK.alpha)
        <= rejected
        <= stats.binom.ppf(0.999, MATRICES, 1.3 * QUICK.alpha)
    )


def plant(edge: float) -> np.ndarray:
    """Return 300 configurations in groups of ten that trade alike; one group has an edge, of `edge` a year."""
    rng = np.random.default_rng(11)
    groups = rng.standard_normal((30, 1000))
    groups[7] += edge / 365.0**0.5
    return 0.01 * (np.repeat(groups, 10, axis=0) + 0.2 * rng.standard_normal((300, 1000)))


def test_an_edge_is_recognised_and_told() -> None:
    found = measure(plant(4.0), Significance(bootstraps=300))
    assert judge(found, Significance()) == []
    assert found.trials_effective is not None
    assert 30 < found.trials_effective < 100  # 30 groups, and what sets their members apart
    assert found.pbo_frac is not None
    assert found.pbo_frac < 0.05
    assert len(found.pbo_logits) == 1000
    assert found.kfold_test_sharpe is not None
    assert found.kfold_test_sharpe > 2.0
    rows = explain(found, Significance())
    assert all(statistic and value and sentence.endswith(".") for statistic, value, sentence in rows)
    assert rows[0][:2] == ("Trials", "300")
    assert "12,870 splits" in {row[0]: row[2] for row in rows}["Probability of backtest overfitting"]


def test_every_fault_is_named() -> None:
    good = measure(plant(4.0))
    assert judge(good, QUICK) == []
    bad = dataclasses.replace(
        good,
        deflated_sharpe_prob=0.9499,
        spa_p=0.0501,
        pbo_frac=0.2001,
        pbo_loss_prob=0.0501,
        track_record_days_min=1000.1,
    )
    faults = judge(bad, QUICK)
    for fault, words in zip(
        faults, ["Sharpe ratio", "luck explains the sweep", "carry over", "too short"], strict=True
    ):
        assert words in fault


def test_choosing_blindly_among_what_earns_throughout_is_no_fault() -> None:
    common = np.random.default_rng(13).standard_normal(1000) + 4.0 / 365.0**0.5
    alike = measure(0.01 * (common + 0.05 * np.random.default_rng(14).standard_normal((200, 1000))))
    assert alike.pbo_frac is not None
    assert alike.pbo_frac > QUICK.pbo_frac_max
    assert judge(alike, QUICK) == []


def test_trials_that_lose_do_not_hide_an_edge() -> None:
    returns = plant(5.0)
    returns[150:] -= 0.005  # half of the trials pay such fees
    assert judge(measure(returns), QUICK) == []


def test_a_single_honest_trial_may_be_promoted() -> None:
    returns = 0.01 * (np.random.default_rng(12).standard_normal((1, 800)) + 0.2)
    found = measure(returns)
    assert found.pbo_frac is None
    assert found.sharpe_expected_max == 0.0
    assert found.deflated_sharpe_prob == found.sharpe_probabilistic_prob
    assert judge(found, QUICK) == []
    two = measure(np.repeat(returns[:, :15], 2, axis=0))
    assert any("could not be tested" in fault for fault in judge(two, QUICK))


@pytest.mark.parametrize("broken", ["nan", "flat", "one day", "two days", "twenty days"])
def test_what_cannot_be_measured_is_refused_and_stays_strict_json(broken: str) -> None:
    returns = plant(5.0)
    if broken == "nan":
        returns[3, 5] = math.nan
    days = {"one day": 1, "two days": 2, "twenty days": 20}.get(broken, 1000)
    returns = np.ascontiguousarray(returns[:, :days] if broken != "flat" else np.zeros((3, 100)), np.float32)
    sharpes = np.linspace(-1.0, 3.0, len(returns))
    found = compute_overfitting(returns, returns[-1].astype(np.float64), sharpes, QUICK, 0)
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert judge(found, QUICK)
    assert explain(found, QUICK)
    if broken != "nan":
        assert (found.sharpe, found.deflated_sharpe_prob) == (None, 0.0) or broken in ("two days", "twenty days")
    else:
        assert (found.spa_p, found.reality_check_p, found.pbo_frac) == (1.0, 1.0, 1.0)


def test_a_best_that_is_not_finite_is_refused() -> None:
    returns = plant(4.0).astype(np.float32)
    best = returns[75].astype(np.float64)
    best[3] = math.nan
    found = compute_overfitting(returns, best, np.linspace(-1.0, 3.0, 300), QUICK, 0)
    assert (found.sharpe, found.deflated_sharpe_prob, found.sharpe_probabilistic_prob) == (None, 0.0, 0.0)
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_blocks_and_order_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = plant(2.0)
    whole = measure(returns)
    assert measure(returns) == whole
    for rows in (13, 100):
        monkeypatch.setattr(blocks, "BLOCK_VALUES", rows * 1000)
        assert measure(returns) == whole
    turned = dataclasses.asdict(measure(returns[::-1]))
    is_sampled = "trials_effective", "sharpe_expected_max", "deflated_sharpe_prob"  # signs are drawn row by row
    assert {key: turned[key] for key in turned if key not in is_sampled} == {
        key: value for key, value in dataclasses.asdict(whole).items() if key not in is_sampled
    }
    assert turned["trials_effective"] == pytest.approx(whole.trials_effective, rel=0.02)


@pytest.mark.parametrize(("best_days", "trials", "match"), [(99, 5, "best_returns"), (100, 4, "every trial")])
def test_shapes_that_do_not_fit_are_refused(best_days: int, trials: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        compute_overfitting(np.zeros((5, 100), np.float32), np.zeros(best_days), np.zeros(trials), QUICK, 0)
