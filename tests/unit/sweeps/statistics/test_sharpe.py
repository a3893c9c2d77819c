"""Against the numbers printed in the papers."""

import math

import numpy as np
import pytest
from scipy import stats

from sweeps.metrics import apply_day_end, compute_sharpe, start_daily
from sweeps.statistics.sharpe import (
    SharpeSample,
    compute_probabilistic_sharpe_prob,
    compute_sharpe_expected_max,
    compute_sharpe_variance,
    compute_track_record_days_min,
    measure_sharpe,
    share_to_sharpe,
)

RNG = np.random.default_rng(1)
RETURNS = RNG.standard_t(4, 300) * 0.01 + 0.001


@pytest.mark.parametrize(
    ("sharpe", "observations", "error"), [(0.5, 12, 0.306), (1.0, 12, 0.354), (3.0, 12, 0.677), (0.5, 60, 0.137)]
)
def test_the_error_of_normal_returns_is_that_of_lo_2002_table_1(sharpe: float, observations: int, error: float) -> None:
    sample = SharpeSample(observations + 1, sharpe, 0.0, 3.0)  # Lo divides by T, Bailey and Lopez de Prado by T - 1
    prob = compute_probabilistic_sharpe_prob(sample, sharpe - error)
    assert prob == pytest.approx(stats.norm.cdf(1.0), abs=1e-3)


def test_probabilistic_sharpe_of_the_hedge_fund_in_bailey_and_lopez_de_prado_2012() -> None:
    fund = SharpeSample(24, 0.458, -2.448, 10.164)
    normal = fund._replace(skew=0.0, kurtosis=3.0)
    assert compute_probabilistic_sharpe_prob(normal, 0.0) == pytest.approx(0.982, abs=5e-4)
    assert compute_probabilistic_sharpe_prob(fund, 0.0) == pytest.approx(0.913, abs=5e-4)


@pytest.mark.parametrize(
    ("periods", "skew", "kurtosis", "years"),
    [(252, 0.0, 3.0, 2.73), (52, 0.0, 3.0, 2.83), (12, 0.0, 3.0, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_track_record_of_bailey_and_lopez_de_prado_2012(
    periods: int, skew: float, kurtosis: float, years: float
) -> None:
    # A Sharpe ratio of 2 a year against 1 a year, at 95 %.
    sample = SharpeSample(1000, 2.0 / math.sqrt(periods), skew, kurtosis)
    needed = compute_track_record_days_min(sample, 1.0 / math.sqrt(periods), 0.05)
    assert needed is not None
    assert needed / periods == pytest.approx(years, abs=5e-3)


def test_a_record_of_the_minimum_length_is_just_significant() -> None:
    sample = measure_sharpe(RETURNS)
    needed = compute_track_record_days_min(sample, 0.0, 0.05)
    assert needed is not None
    error_squared = 1.0 - sample.skew * sample.sharpe + (sample.kurtosis - 1.0) / 4.0 * sample.sharpe**2
    assert stats.norm.cdf(sample.sharpe * math.sqrt((needed - 1.0) / error_squared)) == pytest.approx(0.95)
    assert compute_track_record_days_min(sample, sample.sharpe, 0.05) is None


def test_deflated_sharpe_of_the_example_in_bailey_and_lopez_de_prado_2014() -> None:
    # 2.5 a year of 250 days, five years, skew -3, kurtosis 10; variance between trials 1/2 a year.
    sample = SharpeSample(1250, 2.5 / math.sqrt(250), -3.0, 10.0)
    expected_max = compute_sharpe_expected_max(0.5 / 250, 100)
    assert expected_max == pytest.approx(0.1132, abs=5e-5)
    assert compute_probabilistic_sharpe_prob(sample, expected_max) == pytest.approx(0.9004, abs=5e-5)
    fewer = compute_sharpe_expected_max(0.5 / 250, 46)
    assert compute_probabilistic_sharpe_prob(sample, fewer) == pytest.approx(0.9505, abs=5e-5)
    normal = sample._replace(skew=0.0, kurtosis=3.0)
    more = compute_sharpe_expected_max(0.5 / 250, 88)
    assert compute_probabilistic_sharpe_prob(normal, more) == pytest.approx(0.9505, abs=5e-5)


@pytest.mark.parametrize("trials", [10, 100, 1000])
def test_the_expected_maximum_is_that_of_normal_draws(trials: int) -> None:
    drawn = np.random.default_rng(trials).standard_normal((4000, trials)).max(axis=1)
    assert compute_sharpe_expected_max(1.0, trials) == pytest.approx(drawn.mean(), abs=0.04)


def test_one_trial_is_not_deflated() -> None:
    assert compute_sharpe_expected_max(4.0, 1.0) == 0.0
    assert compute_sharpe_expected_max(4.0, 1.01) == 0.0


def test_moments_are_scipy_s_and_the_sharpe_ratio_is_the_metric() -> None:
    sample = measure_sharpe(RETURNS)
    assert sample.skew == pytest.approx(stats.skew(RETURNS))
    assert sample.kurtosis == pytest.approx(stats.kurtosis(RETURNS, fisher=False))
    daily, equity_quote = start_daily(1000.0), 1000.0
    for return_frac in RETURNS:
        equity_quote *= 1.0 + return_frac
        daily = apply_day_end(daily, equity_quote)
    assert sample.sharpe * math.sqrt(365.0) == pytest.approx(compute_sharpe(daily))
    share = np.sign(RETURNS.sum()) * RETURNS.sum() ** 2 / (len(RETURNS) * (RETURNS @ RETURNS))
    assert share_to_sharpe(np.array([share]), len(RETURNS))[0] == pytest.approx(compute_sharpe(daily))


@pytest.mark.parametrize(
    "returns", [[], [0.01], [0.0] * 50, [0.1] * 50, [0.01, math.nan, 0.02], [0.01, math.inf, 0.02]]
)
def test_what_has_no_sharpe_ratio_has_no_probability(returns: list[float]) -> None:
    sample = measure_sharpe(np.array(returns))
    assert math.isnan(sample.sharpe)
    assert compute_probabilistic_sharpe_prob(sample, -10.0) == 0.0
    assert compute_track_record_days_min(sample, 0.0, 0.05) is None


def test_a_trial_that_is_not_finite_leaves_no_probability() -> None:
    variance = compute_sharpe_variance(np.array([1.0, math.nan, 2.0]))
    expected_max = compute_sharpe_expected_max(variance, 3)
    assert math.isnan(expected_max)
    assert compute_probabilistic_sharpe_prob(measure_sharpe(RETURNS), expected_max) == 0.0


def test_trials_that_never_traded_do_not_narrow_the_spread() -> None:
    sharpes = RNG.standard_normal(50)
    assert compute_sharpe_variance(np.append(sharpes, np.zeros(500))) == pytest.approx(np.var(sharpes, ddof=1))
    assert compute_sharpe_variance(np.array([0.0, 1.5])) == 0.0
