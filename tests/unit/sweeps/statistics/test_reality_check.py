"""Against the tests of the package arch, given the same bootstraps."""

import math

import numpy as np
import pytest
from arch.bootstrap import SPA, StationaryBootstrap

from sweeps.statistics import blocks
from sweeps.statistics.reality_check import NOT_REJECTED, compute_reality_check, draw_weights

DAYS, BOOTSTRAPS, BLOCK_DAYS = 250, 300, 10


def make_returns(seed: int, edge: float = 0.0) -> np.ndarray:
    """Return 30 correlated configurations of unequal risk, clear losers among them; the first has an edge."""
    rng = np.random.default_rng(seed)
    returns = 0.5 * rng.standard_normal(DAYS) + rng.standard_normal((30, DAYS))
    returns[0] += edge
    returns[20:] -= 0.4
    return (returns * rng.uniform(0.001, 0.03, (30, 1))).astype(np.float32)


@pytest.mark.parametrize(("seed", "edge"), [(0, 0.0), (1, 0.0), (2, 0.1), (3, 0.2), (4, 0.3)])
def test_p_values_are_arch_s(seed: int, edge: float) -> None:
    returns = make_returns(seed, edge)
    bootstrap = StationaryBootstrap(BLOCK_DAYS, np.arange(DAYS), seed=seed)
    weights = np.array([np.bincount(drawn[0][0], minlength=DAYS) for drawn in bootstrap.bootstrap(BOOTSTRAPS)])
    found = compute_reality_check(returns, weights.astype(np.float64))

    def ask_arch(losses: np.ndarray) -> list[float]:
        test = SPA(np.zeros(DAYS), losses, BLOCK_DAYS, BOOTSTRAPS, "stationary", nested=True, seed=seed)
        test.compute()
        return [(1.0 + BOOTSTRAPS * p) / (1.0 + BOOTSTRAPS) for p in test.pvalues]  # arch counts without the + 1

    exact = returns.T.astype(np.float64)
    assert found.reality_check_p == pytest.approx(ask_arch(-exact)[2])  # not studentised: White's
    assert found[1:] == pytest.approx(ask_arch(-exact / exact.std(axis=0)))


def test_weights_are_those_of_the_stationary_bootstrap() -> None:
    # The variance of a bootstrapped mean, in closed form (Politis and Romano, 1994, lemma 1), and arch's own.
    series = np.convolve(np.random.default_rng(7).standard_normal(DAYS + 4), np.ones(5), "valid")
    distances, share, lags = series - series.mean(), 1.0 - 1.0 / BLOCK_DAYS, np.arange(1, DAYS)
    kernel = (1.0 - lags / DAYS) * share**lags + lags / DAYS * share ** (DAYS - lags)
    covariances = [distances[: DAYS - lag] @ distances[lag:] / DAYS for lag in lags]
    variance = (distances @ distances / DAYS + 2.0 * kernel @ covariances) / DAYS
    weights = draw_weights(DAYS, 4000, BLOCK_DAYS, 0)
    assert (weights.sum(axis=1) == DAYS).all()
    assert np.var(weights @ series / DAYS) == pytest.approx(variance, rel=0.1)
    drawn = StationaryBootstrap(BLOCK_DAYS, series, seed=0).apply(lambda x: np.array([x.mean()]), 4000)
    assert np.var(weights @ series / DAYS) == pytest.approx(np.var(drawn), rel=0.1)


def test_the_seed_alone_decides() -> None:
    assert np.array_equal(draw_weights(50, 20, 5.0, 9), draw_weights(50, 20, 5.0, 9))
    assert not np.array_equal(draw_weights(50, 20, 5.0, 9), draw_weights(50, 20, 5.0, 10))
    ordinary = draw_weights(400, 500, 1.0, 0)  # blocks of a day: the ordinary bootstrap, each weight nearly Poisson
    assert ordinary.var() == pytest.approx(1.0, abs=0.03)


def test_neither_order_nor_blocks_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    returns, weights = make_returns(5, 0.1), draw_weights(DAYS, BOOTSTRAPS, 10.0, 1)
    whole = compute_reality_check(returns, weights)
    for rows in (1, 7):
        monkeypatch.setattr(blocks, "BLOCK_VALUES", rows * BOOTSTRAPS)
        assert compute_reality_check(returns[::-1].copy(), weights) == whole


def test_idle_configurations_change_nothing_and_do_not_win() -> None:
    returns, weights = make_returns(6, 0.3), draw_weights(DAYS, BOOTSTRAPS, 10.0, 1)
    idle = np.zeros((5, DAYS), np.float32)
    assert (
        compute_reality_check(np.concatenate([returns, idle]), weights)[1:]
        == compute_reality_check(returns, weights)[1:]
    )
    assert compute_reality_check(idle, weights) == NOT_REJECTED
    assert compute_reality_check(idle + np.float32(0.1), weights) == NOT_REJECTED  # equal every day: no record
    assert compute_reality_check(-np.abs(returns), weights).spa_p == 1.0


def test_what_cannot_be_tested_is_not_rejected() -> None:
    returns = make_returns(8, 1.0)
    assert compute_reality_check(returns[:, :2], draw_weights(2, 10, 10.0, 0)) == NOT_REJECTED
    assert compute_reality_check(returns, draw_weights(DAYS, 10, 10.0, 0)).spa_p < 0.1
    returns[4, 9] = math.nan
    assert compute_reality_check(returns, draw_weights(DAYS, 10, 10.0, 0)) == NOT_REJECTED
