"""The landscape of a round: what its charts need of millions of results, read batch by batch.

Two passes over the columns that are drawn: one keeps a few thousand rows, one sums the score over the cells of every
pair of parameters. Memory does not grow with the number of configurations.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BATCH_ROWS = 65_536
VALUES_MAX = 16  # an axis with at most so many values shows each of them, any other is binned
BINS = 8


@dataclass(frozen=True, slots=True)
class Bins:
    """An axis cut into k parts: value x belongs to part searchsorted(edges, x, "right")."""

    edges: FloatArray  # k - 1, increasing
    centres: FloatArray  # k: the value itself, or the median of the part
    is_exact: bool  # every part is one value


@dataclass(frozen=True, slots=True)
class Cells:
    """One pair of parameters; each cell is over all values of all other parameters. NaN: no configuration."""

    x_key: str
    y_key: str  # "": the only parameter
    x_bins: Bins
    y_bins: Bins
    configs: IntArray  # [y, x]
    score_avg: FloatArray
    passed_frac: FloatArray
    told_frac: float  # share of the score's variance that lies between cells, cells counted as parameters (adjusted R2)


def read_batches(path: Path, keys: Sequence[str]) -> Iterator[FloatArray]:
    """Yield the columns `keys` of a results file, float64[rows, keys], in order."""
    # Without pre_buffer, which would keep every column it has read until the end of the file.
    for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(BATCH_ROWS, columns=list(keys)):
        columns = [batch.column(key).to_numpy(zero_copy_only=False) for key in keys]
        yield np.column_stack(columns).astype(np.float64, copy=False)


def pick_rows(path: Path, keys: Sequence[str], rows_max: int, passed: int, wanted: Sequence[int] = ()) -> FloatArray:
    """Return some rows of a round in their order, float64[n, keys], always the same ones.

    About half are evenly spread over all configurations, a quarter over the `passed` ones, a quarter have the greatest
    score; the configurations `wanted` are always among them. `keys` must hold "config", "score" and "is_passed".
    """
    config, score, is_passed = (keys.index(key) for key in ("config", "score", "is_passed"))
    step = max(1, -(-2 * pq.ParquetFile(path).metadata.num_rows // rows_max))
    step_passed = max(1, -(-4 * passed // rows_max))
    spread: list[FloatArray] = []
    top = np.zeros((0, len(keys) + 1))
    seen, seen_passed = 0, 0
    for values in read_batches(path, keys):
        numbers = seen + np.arange(len(values))
        rows = np.column_stack([numbers, values])
        ranks = seen_passed + np.cumsum(values[:, is_passed]) - 1
        is_kept = (numbers % step == 0) | ((values[:, is_passed] > 0) & (ranks % step_passed == 0))
        is_kept |= np.isin(values[:, config], wanted)
        spread.append(rows[is_kept])
        top = np.concatenate([top, rows])
        top = top[np.argsort(-top[:, 1 + score], kind="stable")[: rows_max // 4]]  # NaN last
        seen, seen_passed = seen + len(values), seen_passed + int(values[:, is_passed].sum())
    rows = np.concatenate([*spread, top])
    return rows[np.unique(rows[:, 0], return_index=True)[1], 1:]


def cut_axis(values: FloatArray) -> Bins:
    """Return the bins of an axis from values that occur on it: each value, or parts that hold about as many.

    >>> cut_axis(np.array([4.0, 1.0, 2.0, 1.0])).edges.tolist()
    [1.5, 3.0]
    """
    distinct = np.unique(values)
    if len(distinct) <= VALUES_MAX:
        return Bins((distinct[1:] + distinct[:-1]) / 2.0, distinct, True)
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
    part = np.searchsorted(edges, values, "right")
    occupied = np.unique(part)
    centres = np.array([np.median(values[part == number]) for number in occupied])
    return Bins(edges[occupied[1:] - 1], centres, False)


def sum_cells(path: Path, bins: Mapping[str, Bins]) -> list[Cells]:
    """Return the cells of every pair of parameters, the most telling pair first; of one parameter alone if only one."""
    keys = list(bins)
    pairs = list(itertools.combinations(keys, 2)) or [(key, "") for key in keys]
    whole = Bins(np.zeros(0), np.zeros(1), True)
    axes = dict(bins) | {"": whole}
    sums = [np.zeros((3, len(axes[y].centres) * len(axes[x].centres))) for x, y in pairs]
    squares = 0.0
    for values in read_batches(path, [*keys, "score", "is_passed"]):
        values = values[np.isfinite(values[:, -2])]
        score, is_passed = values[:, -2], values[:, -1]
        parts = {key: np.searchsorted(bins[key].edges, values[:, i], "right") for i, key in enumerate(keys)}
        parts[""] = np.zeros(len(values), np.int64)
        squares += float(score @ score)
        for (x, y), total in zip(pairs, sums, strict=True):
            cell = parts[y] * len(axes[x].centres) + parts[x]
            for row, weights in enumerate((None, score, is_passed)):
                total[row] += np.bincount(cell, weights, minlength=total.shape[1])
    found = [_make_cells(x, y, axes, total, squares) for (x, y), total in zip(pairs, sums, strict=True)]
    return sorted(found, key=lambda cells: -cells.told_frac)


def _make_cells(x_key: str, y_key: str, axes: Mapping[str, Bins], total: FloatArray, squares: float) -> Cells:
    configs, scores, passed = total.reshape(3, len(axes[y_key].centres), len(axes[x_key].centres))
    with np.errstate(invalid="ignore"):
        score_avg, passed_frac = scores / configs, passed / configs
    count, used = configs.sum(), int((configs > 0).sum())
    mean_square = scores.sum() ** 2 / max(count, 1.0)
    around, inside = squares - mean_square, squares - float(np.nansum(scores * score_avg))
    told_frac = 0.0
    if count > used and around > 1e-12 * squares:
        told_frac = max(0.0, 1.0 - (inside / (count - used)) / (around / (count - 1)))
    return Cells(x_key, y_key, axes[x_key], axes[y_key], configs.astype(np.int64), score_avg, passed_frac, told_frac)
