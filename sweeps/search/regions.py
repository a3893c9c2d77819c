"""Where the next round searches: the box of parameters in which the configurations of the last one did best on average.

The box is found by PRIM (Friedman and Fisher, "Bump hunting in high-dimensional data", Statistics and Computing 9,
1999): little by little the worst faces of the whole space are peeled off, then the box grows again as long as that does
no harm. What counts are means over regions that hold a share of all configurations, and no merit counts for more than
the fifth best: a lucky point among poor ones moves nothing, while a broad plateau is found.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from market.instruments import suggest
from sweeps.search.space import Axis, BoolArray, FloatArray, SearchSpace, round_digits

PEEL_FRAC = 0.05  # of the box, the patience of the paper; at least one value of an axis
BEST_COUNTED = 5  # greater merits count as the fifth best; of under 500, as that of the best hundredth
BINS_MAX = 256  # an axis with more values than this is cut into so many bins of equal count

CodeArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Region:
    """A box, both ends included, in parameter values and the order of `SearchSpace.axes`."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    support_frac: float  # of all configurations, that lie in it
    merit_mean: float  # of those


@dataclass(frozen=True, slots=True)
class _Bins:
    # The distinct values of one axis, or runs of them: bin b holds first[b]..last[b].
    first: FloatArray
    last: FloatArray


@dataclass(frozen=True, slots=True)
class _Box:
    # Bins low..high of each axis, both included, and what the configurations inside come to.
    low: tuple[int, ...]
    high: tuple[int, ...]
    rows: int
    total: float

    @property
    def mean(self) -> float:
        return self.total / self.rows


def find_region(space: SearchSpace, values: FloatArray, merit: FloatArray, support_frac: float) -> Region:
    """Return the box with the highest mean merit that holds at least `support_frac` of the configurations.

    Parameters
    ----------
    values : float64[n, axes], n >= 1
        The configurations of a round.
    merit : float64[n]
        The more the better; one that is not finite counts as the worst of the others.
    support_frac : float, 0..1

    An edge lies half-way to the next excluded value (on the axis's own scale), or at the end of the axis. The face to
    peel is the one that raises the mean the most per configuration given up: the paper's criterion where faces differ
    in size, since an axis of two values would otherwise cost half of the box for any small gain. Of boxes as good as
    each other it takes the largest; ties go to the smaller face, the first axis, its low end. 1,000,000 configurations
    of 6 axes take 2 seconds and 60 MB.
    Raises ValueError for a support that is no share.
    """
    if not 0.0 < support_frac <= 1.0:
        raise ValueError(f"support_frac is {support_frac}, must be above 0 and at most 1")
    is_finite = np.isfinite(merit)
    merit = np.where(is_finite, merit, np.min(merit, where=is_finite, initial=math.inf) if is_finite.any() else 0.0)
    at = len(merit) - min(BEST_COUNTED, math.ceil(len(merit) / 100))
    counted = np.minimum(merit, np.partition(merit, at)[at])
    codes = np.empty(values.shape[::-1], np.uint8)
    bins = [_cut(values[:, column], codes[column]) for column in range(len(space.axes))]
    span = float(np.ptp(counted)) or 1.0
    boxes = _peel(codes, counted, bins, math.ceil(support_frac * len(merit) - 1e-9), span)
    box = _paste(codes, counted, bins, max(boxes, key=lambda box: _grade(box.mean, span)), span)
    is_inside = ~_find_outside(codes, box).any(axis=0)
    edges = [_find_edges(*part) for part in zip(space.axes, bins, box.low, box.high, strict=True)]
    low, high = zip(*edges, strict=True)
    return Region(low, high, box.rows / len(merit), float(merit[is_inside].mean()))


def _grade(gain: float, span: float) -> float:
    # Sums of the same merits in another order differ in their last digits: that is no better and no worse.
    return round(gain / span, 9)


def _cut(column: FloatArray, codes: CodeArray) -> _Bins:
    # Cuts an axis into bins; `codes` becomes the bin of each row.
    ordered = np.sort(column)
    cuts = np.unique(ordered)[1:]
    if len(cuts) >= BINS_MAX:
        cuts = np.unique(ordered[np.arange(1, BINS_MAX) * len(ordered) // BINS_MAX])
        cuts = cuts[cuts > ordered[0]]
    codes[:] = np.searchsorted(cuts, column, side="right")
    last = ordered[np.searchsorted(ordered, cuts) - 1]
    return _Bins(np.append(ordered[0], cuts), np.append(last, ordered[-1]))


def _peel(codes: CodeArray, merit: FloatArray, bins: list[_Bins], rows_min: int, span: float) -> list[_Box]:
    # Every box on the way from the whole space to the smallest that holds `rows_min`, which peeling is not sure to
    # improve on: between two bumps it first makes things worse.
    box = _Box((0,) * len(bins), tuple(len(part.first) - 1 for part in bins), len(merit), float(merit.sum()))
    boxes = [box]
    while True:
        best: tuple[tuple[float, int], int, _Box] | None = None
        for axis, part in enumerate(bins):
            rows, total = _sum_bins(codes[axis], merit, len(part.first))
            for face in _list_peels(box, axis, rows, total):
                if face.rows < rows_min:
                    continue
                given_up = box.rows - face.rows
                grade = (_grade((face.mean - box.mean) * box.rows / given_up, span), -given_up)
                if best is None or grade > best[0]:
                    best = (grade, axis, face)
        if best is None:
            return boxes
        _, axis, box = best
        boxes.append(box)
        kept = (codes[axis] >= box.low[axis]) & (codes[axis] <= box.high[axis])
        codes, merit = codes[:, kept], merit[kept]


def _sum_bins(codes: CodeArray, merit: FloatArray, count: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    return np.bincount(codes, minlength=count), np.bincount(codes, merit, minlength=count)


def _list_peels(box: _Box, axis: int, rows: npt.NDArray[Any], total: npt.NDArray[Any]) -> list[_Box]:
    # What is left of the box after its low face, and after its high face, along one axis; rows, total: of each bin.
    occupied = np.flatnonzero(rows)
    if len(occupied) < 2:
        return []
    peeled = []
    for inward in (occupied, occupied[::-1]):
        sums = np.cumsum(rows[inward])
        faces = max(1, int(np.searchsorted(sums, PEEL_FRAC * box.rows, side="right")))
        left = inward[faces:]
        peeled.append(
            _Box(
                _set(box.low, axis, int(left.min())),
                _set(box.high, axis, int(left.max())),
                box.rows - int(sums[faces - 1]),
                float(total[left].sum()),
            )
        )
    return peeled


def _paste(codes: CodeArray, merit: FloatArray, bins: list[_Bins], box: _Box, span: float) -> _Box:
    while True:
        is_outside = _find_outside(codes, box)
        is_beside = np.count_nonzero(is_outside, axis=0) == 1  # outside along one axis only
        best: tuple[tuple[float, int], _Box] | None = None
        for axis, part in enumerate(bins):
            chosen = is_beside & is_outside[axis]
            rows, total = _sum_bins(codes[axis][chosen], merit[chosen], len(part.first))
            for grown in _list_pastes(box, axis, rows, total):
                grade = (_grade(grown.mean, span), grown.rows)
                if best is None or grade > best[0]:
                    best = (grade, grown)
        if best is None or best[0][0] < _grade(box.mean, span):
            return box
        box = best[1]


def _find_outside(codes: CodeArray, box: _Box) -> BoolArray:
    low, high = (np.array(bounds, np.uint8)[:, np.newaxis] for bounds in (box.low, box.high))
    return (codes < low) | (codes > high)


def _list_pastes(box: _Box, axis: int, rows: npt.NDArray[Any], total: npt.NDArray[Any]) -> list[_Box]:
    # The box with what lies below it, and with what lies above it, along one axis; rows, total: of each bin beside it.
    occupied = np.flatnonzero(rows)
    below, above = occupied[occupied < box.low[axis]][::-1], occupied[occupied > box.high[axis]]
    pasted = []
    for outward in (below, above):
        if not len(outward):
            continue
        sums = np.cumsum(rows[outward])
        faces = max(1, int(np.searchsorted(sums, PEEL_FRAC * box.rows, side="right")))
        taken = outward[:faces]
        pasted.append(
            _Box(
                _set(box.low, axis, min(box.low[axis], int(taken.min()))),
                _set(box.high, axis, max(box.high[axis], int(taken.max()))),
                box.rows + int(sums[faces - 1]),
                box.total + float(total[taken].sum()),
            )
        )
    return pasted


def _set(bounds: tuple[int, ...], axis: int, bound: int) -> tuple[int, ...]:
    return (*bounds[:axis], bound, *bounds[axis + 1 :])


def _find_edges(axis: Axis, bins: _Bins, low: int, high: int) -> tuple[float, float]:
    ends = (axis.values[0], axis.values[-1]) if axis.values else (axis.low, axis.high)
    edge_low = _find_middle(axis, bins.last[low - 1], bins.first[low]) if low > 0 else ends[0]
    edge_high = _find_middle(axis, bins.last[high], bins.first[high + 1]) if high + 1 < len(bins.first) else ends[1]
    if axis.is_int:
        edge_low, edge_high = math.ceil(edge_low), math.floor(edge_high)
    return float(np.clip(edge_low, *ends)), float(np.clip(edge_high, *ends))


def _find_middle(axis: Axis, below: Any, above: Any) -> float:
    middle = math.sqrt(below * above) if axis.is_log and below > 0.0 else (below + above) / 2.0
    return float(round_digits(np.array(middle)))


def narrow(space: SearchSpace, region: Region, points: Mapping[str, int]) -> SearchSpace:
    """Return the space inside a region of it.

    Parameters
    ----------
    points : Mapping[str, int]
        Parameter -> the points that a grid takes of its range there. Of the other parameters a list keeps those of its
        values that lie in the region, a range its number of points.

    An axis of which one value is left becomes the list of that value.
    Raises ValueError for a parameter that is no axis, and for points below 1.
    """
    for key, count in points.items():
        if key not in space.keys:
            raise ValueError(
                f"points of '{key}': no such axis in the space of {space.strategy}{suggest(key, space.keys)}"
            )
        if count < 1:
            raise ValueError(f"points of '{key}' is {count}, must be at least 1")
    axes = []
    for axis, low, high in zip(space.axes, region.low, region.high, strict=True):
        if low == high:
            axes.append(Axis(axis.key, axis.is_int, axis.is_log, (low,)))
        elif axis.values and axis.key not in points:
            axes.append(dataclasses.replace(axis, values=tuple(value for value in axis.values if low <= value <= high)))
        else:
            is_log = axis.is_log and low > 0.0  # a list may hold 0, a range on a log scale may not
            axes.append(Axis(axis.key, axis.is_int, is_log, (), low, high, points.get(axis.key, axis.points)))
    return dataclasses.replace(space, axes=tuple(axes))
