"""Purged k-fold cross-validation of the choosing itself: the best on train, measured on the fold left out.

Source: Lopez de Prado, "Advances in financial machine learning", Wiley, 2018, chapter 7.
"""

import itertools

import numpy as np

from sweeps.records import FloatArray
from sweeps.statistics.blocks import BoolArray, ReturnsArray, keep_best, read_blocks
from sweeps.statistics.sharpe import share_to_sharpe

Fold = tuple[BoolArray, slice]  # train, bool[days]; test


def make_purged_folds(days: int, folds: int, purge_days: int, embargo_days: int) -> list[Fold]:
    """Return the folds: consecutive tests, equal to a day, that cover all days, each with its train around it.

    Train keeps away `purge_days` from either side of its test, the longest that a position taken in one can last into
    the other, and `embargo_days` more after it, where what happened in the test may still be felt.
    Raises ValueError if a count is negative, or folds are fewer than two or more than the days.

    >>> [(train.astype(int).tolist(), test.start, test.stop) for train, test in make_purged_folds(6, 2, 1, 1)]
    [([0, 0, 0, 0, 0, 1], 0, 3), ([1, 1, 0, 0, 0, 0], 3, 6)]
    """
    if not 2 <= folds <= days:
        raise ValueError(f"folds is {folds}, must be 2..{days}, the number of days")
    if purge_days < 0 or embargo_days < 0:
        raise ValueError(f"purge_days is {purge_days}, embargo_days is {embargo_days}: neither may be negative")
    edges = [days * fold // folds for fold in range(folds + 1)]
    numbers, made = np.arange(days), []
    for start, stop in itertools.pairwise(edges):
        train = (numbers < start - purge_days) | (numbers >= stop + purge_days + embargo_days)
        made.append((train, slice(start, stop)))
    return made


def compute_kfold_selection(returns: ReturnsArray, folds: list[Fold]) -> tuple[float | None, float | None]:
    """Return the mean annualised Sharpe ratio, over the folds, of the best on train, and of the same on the test.

    Of several best on train the worst on the test is taken. (None, None) if a train or test has fewer than two days,
    or a return is NaN.
    """
    parts = np.zeros((2, len(folds), returns.shape[1]))  # 1.0 for the days of train, of test
    for fold, (train, test) in enumerate(folds):
        parts[0, fold, train] = parts[1, fold, test] = 1.0
    if parts.sum(axis=2).min() < 2:
        return None, None
    best_train, best_test = np.full(len(folds), -np.inf), np.full(len(folds), np.inf)
    for block in read_blocks(returns):
        keep_best(best_train, best_test, *(_measure_sharpes(block, days) for days in parts))
    if not np.isfinite(best_train).all():
        return None, None
    return float(best_train.mean()), float(best_test.mean())


def _measure_sharpes(block: FloatArray, parts: FloatArray) -> FloatArray:
    # Sharpe ratios of each configuration over each part, float64[parts, configs]; 0.0 where undefined.
    sums, squares, days = parts @ block.T, parts @ (block * block).T, parts.sum(axis=1, keepdims=True)
    shares = np.divide(np.abs(sums) * sums, squares * days, out=np.zeros_like(sums), where=squares != 0.0)
    return share_to_sharpe(shares, days)
