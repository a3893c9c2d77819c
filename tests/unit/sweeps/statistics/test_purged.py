"""Against purging written out from the book: day by day, position by position."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.statistics import blocks
from sweeps.statistics.purged import compute_kfold_selection, make_purged_folds


@given(st.integers(2, 60), st.integers(2, 8), st.integers(0, 9), st.integers(0, 9))
def test_train_keeps_away_from_test(days: int, folds: int, purge_days: int, embargo_days: int) -> None:
    if folds > days:
        return
    made = make_purged_folds(days, folds, purge_days, embargo_days)
    assert [day for _, test in made for day in range(days)[test]] == list(range(days))
    for train, test in made:
        tested = list(range(days)[test])
        for day in range(days):
            # A position taken on a day may last purge_days more: no day of it may lie where a test's position lies.
            is_apart_before = day + purge_days < tested[0]
            is_apart_after = day > tested[-1] + purge_days + embargo_days
            assert train[day] == (is_apart_before or is_apart_after)


@pytest.mark.parametrize(
    ("folds", "purge_days", "match"), [(1, 0, "folds is 1"), (9, 0, "folds is 9"), (2, -1, "negative")]
)
def test_impossible_folds_are_refused(folds: int, purge_days: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make_purged_folds(8, folds, purge_days, 0)


def compute_literally(returns: np.ndarray, made: list[tuple[np.ndarray, slice]]) -> tuple[float, float]:
    chosen = []
    for train, test in made:
        sharpes = [row[train].mean() / row[train].std(ddof=1) * math.sqrt(365.0) for row in returns]
        left_out = returns[int(np.argmax(sharpes)), test]
        chosen.append((max(sharpes), left_out.mean() / left_out.std(ddof=1) * math.sqrt(365.0)))
    train_mean, test_mean = np.mean(chosen, axis=0)
    return float(train_mean), float(test_mean)


def test_selection_is_that_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = np.random.default_rng(0).standard_normal((40, 203)).astype("f4")
    made = make_purged_folds(203, 5, 10, 3)
    expected = compute_literally(returns.astype(np.float64), made)
    for rows in (1, 9, 1000):
        monkeypatch.setattr(blocks, "BLOCK_VALUES", rows * 203)
        assert compute_kfold_selection(returns, made) == pytest.approx(expected)
    assert expected[0] > 1.0 > expected[1]  # choosing noise: good where it was chosen only


def test_too_short_or_not_finite_is_none() -> None:
    returns = np.ones((3, 20), "f4")
    assert compute_kfold_selection(returns, make_purged_folds(20, 2, 9, 5)) == (None, None)
    assert compute_kfold_selection(returns, make_purged_folds(20, 2, 1, 1)) == (0.0, 0.0)
    returns[1, 4] = np.nan
    assert compute_kfold_selection(returns, make_purged_folds(20, 2, 1, 1)) == (None, None)
