"""Is the best of many better than luck, all of them looked at together: reality check and SPA test by bootstrap.

The benchmark is to hold cash: a return of 0 every day. Null hypothesis: no configuration has a mean daily return above
it. Days are drawn in blocks, the same for all configurations, so both what configurations have in common and what
neighbouring days have in common stay as they are.

Sources
- White, "A reality check for data snooping", Econometrica 68(5), 2000.
- Hansen, "A test for superior predictive ability", Journal of Business and Economic Statistics 23(4), 2005.
- Politis and Romano, "The stationary bootstrap", Journal of the American Statistical Association 89(428), 1994.
"""

import math
from typing import NamedTuple

import numpy as np

from sweeps.records import FloatArray
from sweeps.statistics.blocks import ReturnsArray, read_blocks


class RealityCheck(NamedTuple):
    """P-values: how often luck alone gives a best at least as good; in 1 / (bootstraps + 1)..1."""

    reality_check_p: float  # White: greatest mean return
    spa_lower_p: float  # Hansen: greatest mean return per its own error; only winners count in the null,
    spa_p: float  # consistent: all but the clear losers,
    spa_upper_p: float  # all


NOT_REJECTED = RealityCheck(1.0, 1.0, 1.0, 1.0)  # where nothing can be said


def draw_weights(days: int, bootstraps: int, block_days: float, seed: int) -> FloatArray:
    """Return how often each bootstrap draws each day, float64[bootstraps, days], by the stationary bootstrap.

    Every draw is followed by the next day's (the first follows the last) except, with probability 1 / block_days >= 0,
    by any day's.
    """
    rng, steps = np.random.default_rng((seed, 2)), np.arange(days)
    weights = np.empty((bootstraps, days))
    for row in weights:
        is_start = rng.random(days) * block_days < 1.0
        is_start[0] = True
        shift = rng.integers(0, days, days) - steps
        row[:] = np.bincount((steps + shift[np.maximum.accumulate(is_start * steps)]) % days, minlength=days)
    return weights


def compute_reality_check(returns: ReturnsArray, weights: FloatArray, block_days: float) -> RealityCheck:
    """Return the p-values of the best of float32[configs, days] against cash.

    weights: float64[bootstraps, days] of `draw_weights`, or of any other bootstrap with the same block_days.
    A p-value is (1 + bootstraps at least as good) / (1 + bootstraps), never 0 (Davison and Hinkley, "Bootstrap methods
    and their application", 1997, section 4.2.3). The order of configurations and the size of the blocks they are read
    in move what is compared by rounding in float64 only. NaN among the returns, or fewer than three days: 1.0.
    """
    days = returns.shape[1]
    if days < 3:
        return NOT_REJECTED
    error_weights = _weigh_frequencies(days, block_days)
    threshold = math.sqrt(2.0 * math.log(math.log(days)))
    best = np.full(2, -np.inf)  # of White's and of Hansen's statistic
    best[1] = 0.0
    drawn = np.zeros((4, len(weights)))  # the same in each bootstrap: White, lower, consistent, upper
    drawn[0] = -np.inf
    for block in read_blocks(returns, len(weights)):
        mean = block.mean(axis=1)
        t_unit = _invert_errors(block, mean, error_weights)  # 1 / standard error of the mean
        t = mean * t_unit
        means = weights @ block.T
        means /= days
        means -= mean
        best = np.maximum(best, [mean.max(), t.max()])
        drawn[0] = np.maximum(drawn[0], means.max(axis=1))
        means *= t_unit
        drawn[3] = np.maximum(drawn[3], means.max(axis=1))
        drawn[2] = np.maximum(drawn[2], (means + np.where(t < -threshold, t, 0.0)).max(axis=1))
        drawn[1] = np.maximum(drawn[1], (means + np.minimum(t, 0.0)).max(axis=1))
    # Negated, so that NaN counts as at least as good.
    as_good = np.count_nonzero(~(drawn < best[[0, 1, 1, 1], np.newaxis]), axis=1)
    return RealityCheck(*((1.0 + as_good) / (1.0 + len(weights))).tolist())


def _weigh_frequencies(days: int, block_days: float) -> FloatArray:
    # Weights of a periodogram that sum to the stationary bootstrap's variance of the mean (Hansen's kernel, his
    # equation before theorem 1: it is symmetric in the lag and so acts on circular autocovariances).
    share, lags = 1.0 - 1.0 / block_days, np.arange(days)
    kernel = (1.0 - lags / days) * share**lags + lags / days * share ** (days - lags)
    spectrum = np.fft.rfft(kernel).real
    spectrum[1 : (days + 1) // 2] *= 2.0  # and their mirror images
    return np.maximum(spectrum, 0.0) / days**3


def _invert_errors(block: FloatArray, mean: FloatArray, error_weights: FloatArray) -> FloatArray:
    # One over the standard error of each row's mean; 0.0 for cash.
    frequencies = np.fft.rfft(block - mean[:, np.newaxis])
    error = np.sqrt((frequencies.real**2 + frequencies.imag**2) @ error_weights)
    return np.divide(1.0, error, out=np.zeros_like(error), where=error != 0.0)
