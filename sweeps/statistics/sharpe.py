"""How far a Sharpe ratio can be trusted: its error, the record it needs, and the luck of having tried many.

Sharpe ratios here are per day, not annualised; kurtosis is that of the whole (a normal's is 3). Returns are taken as
independent from day to day, as the papers do: dependence is what the bootstrap of `reality_check.py` allows for.

Sources
- Lo, "The statistics of Sharpe ratios", Financial Analysts Journal 58(4), 2002.
- Bailey and Lopez de Prado, "The Sharpe ratio efficient frontier", Journal of Risk 15(2), 2012.
- Bailey and Lopez de Prado, "The deflated Sharpe ratio: correcting for selection bias, backtest overfitting and
  non-normality", Journal of Portfolio Management 40(5), 2014.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from sweeps.metrics import DAYS_PER_YEAR
from sweeps.records import FloatArray

EULER_MASCHERONI = 0.5772156649015329


class SharpeSample(NamedTuple):
    """What an estimate of a Sharpe ratio rests on; NaN where undefined."""

    days: int
    sharpe: float  # per day, sample deviation
    skew: float
    kurtosis: float


def measure_sharpe(returns_frac: FloatArray) -> SharpeSample:
    """Return Sharpe, skew and kurtosis of float64[days]; NaN for fewer than two days, no deviation, or NaN returns.

    >>> [round(value, 6) for value in measure_sharpe(np.array([0.0, 0.0, 0.03]))]
    [3, 0.57735, 0.707107, 1.5]
    """
    days = len(returns_frac)
    if days < 2 or returns_frac.max() == returns_frac.min() or not np.isfinite(returns_frac).all():
        return SharpeSample(days, math.nan, math.nan, math.nan)
    distances = returns_frac - returns_frac.mean()
    distances_squared = distances * distances
    variance = float(distances_squared.mean())
    return SharpeSample(
        days,
        float(returns_frac.mean()) / math.sqrt(variance * days / (days - 1)),
        float((distances_squared * distances).mean()) / variance**1.5,
        float((distances_squared * distances_squared).mean()) / variance**2,
    )


def _compute_error_squared(sample: SharpeSample) -> float:
    # Variance of the estimate times (days - 1). With skew 0 and kurtosis 3 it is Lo's 1 + sharpe^2 / 2.
    return 1.0 - sample.skew * sample.sharpe + (sample.kurtosis - 1.0) / 4.0 * sample.sharpe**2


def compute_probabilistic_sharpe_prob(sample: SharpeSample, sharpe_benchmark: float) -> float:
    """Return the probability [0..1] that the true Sharpe ratio is above a benchmark; 0.0 where it is undefined.

    Source: Bailey and Lopez de Prado, 2012, equation 11.

    >>> round(compute_probabilistic_sharpe_prob(SharpeSample(24, 0.458, -2.448, 10.164), 0.0), 3)
    0.913
    """
    error_squared = _compute_error_squared(sample)
    if sample.days < 2 or not error_squared > 0.0 or not math.isfinite(sharpe_benchmark):
        return 0.0
    return float(ndtr((sample.sharpe - sharpe_benchmark) * math.sqrt((sample.days - 1) / error_squared)))


def compute_track_record_days_min(sample: SharpeSample, sharpe_benchmark: float, alpha: float) -> float | None:
    """Return how many days tell this Sharpe ratio from a benchmark with confidence 1 - alpha; None: no length does.

    Source: Bailey and Lopez de Prado, 2012, equation 13.
    """
    if not sample.sharpe > sharpe_benchmark:
        return None
    z = float(ndtri(1.0 - alpha))
    return 1.0 + _compute_error_squared(sample) * (z / (sample.sharpe - sharpe_benchmark)) ** 2


def compute_sharpe_expected_max(sharpe_variance: float, trials: float) -> float:
    """Return the expected greatest Sharpe ratio of `trials` independent ones without an edge; 0.0 for a single one.

    sharpe_variance: between the trials, in the unit (per day or per year) of the result's square.
    Source: Bailey and Lopez de Prado, 2014, equation 1. It is made for many trials: below two it turns negative, which
    no maximum is expected to be.

    >>> round(compute_sharpe_expected_max(0.5 / 250, 100), 4)
    0.1132
    """
    deviations = 0.0
    if trials > 1.0:
        quantile, quantile_next = ndtri(1.0 - 1.0 / trials), ndtri(1.0 - 1.0 / (trials * math.e))
        deviations = float((1.0 - EULER_MASCHERONI) * quantile + EULER_MASCHERONI * quantile_next)
    return math.sqrt(sharpe_variance) * max(0.0, deviations)


def compute_sharpe_variance(sharpes: FloatArray) -> float:
    """Return the variance between the Sharpe ratios of trials; NaN if one is not finite.

    A Sharpe ratio of exactly 0.0 stands for "undefined", as of a configuration that never traded: such ones do not
    narrow the spread that luck has among the others. 0.0 if fewer than two are defined.
    """
    if not np.isfinite(sharpes).all():
        return math.nan
    defined = sharpes[sharpes != 0.0]
    return float(np.var(defined, ddof=1)) if len(defined) > 1 else 0.0


def share_to_sharpe(share: FloatArray, days: int | FloatArray) -> FloatArray:
    """Return annualised Sharpe ratios from sign(sum) * sum^2 / (days * sum of squares) of daily returns; days >= 2.

    The share, in -1..1, orders as the Sharpe ratio does. Close to zero, where Sharpe ratios per day lie, nothing
    cancels on the way. At 1, all returns being equal but for rounding, the ratio is undefined: 0.0.
    """
    size = np.abs(share)
    size = np.where(size < 1.0 - 1e-9, size, 0.0)
    return np.asarray(np.sign(share) * np.sqrt(size / (1.0 - size) * ((days - 1) / days * DAYS_PER_YEAR)))
