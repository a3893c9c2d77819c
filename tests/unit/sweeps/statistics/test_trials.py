"""Effective trials where the true number is known, and the average correlation against numpy's."""

import numpy as np
import pytest

from sweeps.statistics import blocks
from sweeps.statistics.trials import count_trials

RNG = np.random.default_rng(2)


def test_average_correlation_is_that_of_the_whole_matrix() -> None:
    returns = (RNG.standard_normal((60, 1)) * RNG.standard_normal(200) + RNG.standard_normal((60, 200))).astype("f4")
    returns[7] = 0.0
    whole = np.corrcoef(np.delete(returns, 7, axis=0).astype(np.float64))
    expected = whole[~np.eye(59, dtype=bool)].mean()
    assert count_trials(returns, 60, 0).correlation_avg == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("configs", "days"), [(20, 500), (300, 300), (3000, 200)])
def test_independent_trials_count_in_full_even_if_they_outnumber_the_days(configs: int, days: int) -> None:
    volatility = np.exp(RNG.standard_normal(days))  # wild days are wild for all: that is no correlation
    returns = (RNG.standard_normal((configs, days)) * volatility).astype("f4")
    assert count_trials(returns, configs, 0).effective == pytest.approx(configs, rel=0.1)


def test_copies_count_once_and_groups_by_their_number() -> None:
    one = RNG.standard_normal(300)
    assert count_trials((np.ones((50, 1)) * one).astype("f4"), 50, 0).effective == pytest.approx(1.0, abs=0.01)
    groups = np.repeat(RNG.standard_normal((8, 300)), 40, axis=0).astype("f4")
    assert count_trials(groups, 320, 0).effective == pytest.approx(8.0, rel=0.05)


def test_one_correlation_between_all_gives_the_paper_s_number() -> None:
    returns = RNG.standard_normal(400) + RNG.standard_normal((500, 400))  # correlation 1/2
    count = count_trials(returns.astype("f4"), 500, 0)
    assert count.correlation_avg == pytest.approx(0.5, abs=0.05)
    rho = count.correlation_avg
    assert rho is not None
    assert count.effective == pytest.approx(rho + (1.0 - rho) * 500, rel=0.15)


def test_a_part_of_the_trials_stands_for_all() -> None:
    groups = np.repeat(RNG.standard_normal((8, 300)), 40, axis=0).astype("f4")
    assert count_trials(groups, 5000, 0).effective == pytest.approx(8.0, rel=0.1)
    independent = RNG.standard_normal((100, 300)).astype("f4")
    assert count_trials(independent, 5000, 0).effective == pytest.approx(5000, rel=0.1)


def test_what_cannot_be_measured_counts_in_full() -> None:
    assert count_trials(np.zeros((5, 100), "f4"), 9, 0) == (9.0, None)
    returns = RNG.standard_normal((5, 100)).astype("f4")
    returns[2, 3] = np.nan
    assert count_trials(returns, 9, 0) == (9.0, None)
    assert count_trials(returns[:1], 1, 0) == (1.0, None)


def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = np.repeat(RNG.standard_normal((2100, 30)), 2, axis=0).astype("f4")
    whole = count_trials(returns, 4200, 3)
    for rows in (1, 7, 4096):
        monkeypatch.setattr(blocks, "BLOCK_VALUES", rows * 30)
        assert count_trials(returns, 4200, 3) == pytest.approx(whole, rel=1e-9)
