"""How many independent trials a sweep amounts to: neighbours in a grid trade alike, and count as few."""

from typing import NamedTuple

import numpy as np

from sweeps.records import FloatArray
from sweeps.statistics.blocks import BoolArray, ReturnsArray, read_blocks

SAMPLE_CONFIGS = 2048  # configurations, evenly picked, whose spectrum stands for all
NOISE_MARGIN = 1.25  # one draw of the signs must not make the few wildest days, of which noise is full, look common


class TrialCount(NamedTuple):
    """Trials after their correlation is taken into account."""

    effective: float  # 1..trials
    correlation_avg: float | None  # between different configurations; None: fewer than two that ever change


def count_trials(returns: ReturnsArray, trials: int, seed: int) -> TrialCount:
    """Return the effective number of `trials`, of which float32[configs, days] are the returns of all or of a part.

    The effective number is (sum_k sqrt(share_k))^2 over the shares of variance of the correlation's principal
    components: n for n independent trials, k for k groups of equal trials, 1 for copies of one (Galwey, "A new measure
    of the effective number of tests", Genetic Epidemiology 33(7), 2009). With one correlation rho between all it is
    close to rho + (1 - rho) n, the estimate in the appendix of Bailey and Lopez de Prado, "The deflated Sharpe
    ratio", J. of Portfolio Management 40(5), 2014; unlike that, it sees groups.

    A record of T days shows at most T components, however many there are. So only those count as common that are
    clearly greater than any left when every return has its sign drawn anew, which keeps the size of each day's move
    but no correlation (Hong, Sheng and Dobriban, "Selecting the number of components in PCA via random signflips",
    arXiv:2012.02985, 2020; Horn, Psychometrika 30(2), 1965); the variance that remains is spread evenly over all
    other trials, as if independent: the number errs upward. Configurations without any change add to `trials` only.
    NaN among the returns: all trials count.
    """
    total, active = np.zeros(returns.shape[1]), 0
    step = -(-returns.shape[0] // SAMPLE_CONFIGS)
    sample, first = [], 0
    for block in read_blocks(returns):
        is_active: BoolArray = np.any(block, axis=1)
        block -= block.mean(axis=1, keepdims=True)
        block[is_active] /= np.linalg.norm(block[is_active], axis=1, keepdims=True)
        total += block.sum(axis=0)
        active += int(is_active.sum())
        picked = np.arange(-first % step, len(block), step)
        sample.append(block[picked[is_active[picked]]])
        first += len(block)
    if active < 2 or not np.isfinite(total).all():
        return TrialCount(float(trials), None)
    # The sum of all correlations is the squared length of the sum of the standardised returns.
    correlation_avg = float((total @ total - active) / (active * (active - 1.0)))
    return TrialCount(_measure_effective(np.concatenate(sample), trials, seed), correlation_avg)


def _measure_effective(standard: FloatArray, trials: int, seed: int) -> float:
    # standard: float64[sample, days], each row with mean 0 and length 1, so that the components' variances sum to 1.
    if len(standard) < 2:
        return float(trials)
    signs = np.random.default_rng((seed, 1)).integers(0, 2, standard.shape, np.int8) * 2 - 1
    noise_max = _list_shares(standard * signs)[-1]
    shares = _list_shares(standard)
    common = shares[shares > NOISE_MARGIN * noise_max]
    rest = max(0.0, 1.0 - float(common.sum()))
    effective = (np.sqrt(common).sum() + np.sqrt((trials - len(common)) * rest)) ** 2
    return float(np.clip(effective, 1.0, trials))


def _list_shares(standard: FloatArray) -> FloatArray:
    # Shares of variance of the principal components, increasing; from the smaller of the two Gram matrices.
    gram = standard @ standard.T if standard.shape[0] <= standard.shape[1] else standard.T @ standard
    return np.asarray(np.linalg.eigvalsh(gram)) / len(standard)
