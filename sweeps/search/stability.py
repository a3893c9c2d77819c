"""How a configuration's neighbours do: what only works at one exact setting is luck, or will not last."""

import math

import numpy as np
import numpy.typing as npt

from sweeps.search.space import BoolArray, FloatArray, SearchSpace

SPREAD_WEIGHT = 0.5  # standard deviations among neighbours that are taken off their mean

_LATTICE_CELLS_MAX = 8  # times as many cells as configurations: a lattice with more holes has too few neighbours
_QUERIED = 65_536  # configurations whose nearest are looked up together


def compute_neighbourhood(
    space: SearchSpace, values: FloatArray, score: FloatArray, is_passed: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Return the stable score of each configuration and the share of its neighbourhood that passes.

    The neighbourhood is the configuration and its neighbours: where the configurations make a lattice, holes allowed,
    those one step away along one axis; else the 2 x axes nearest ones, by distance between places on the axes
    (`Axis.to_unit`). The stable score is the mean score of the neighbourhood less half a standard deviation: the
    mean of a lone spike is that of its poor neighbours and its spread is wide, a plateau's is its own height, so what
    stands on a plateau wins. Half: a whole one would also punish every slope towards a broad optimum.

    Parameters
    ----------
    values : float64[n, axes], n >= 1
    score : float64[n]
        0..1; NaN counts as 0.
    is_passed : bool[n]

    Returns
    -------
    score_stable, passed_frac : float64[n], 0..1

    1,000,000 configurations of 6 axes take 1 second on a lattice and 35 off it, and 150 MB.
    """
    score = np.nan_to_num(score, nan=0.0)
    cells = [np.unique(column, return_inverse=True)[1] for column in values.T]
    shape = tuple(int(cell.max()) + 1 for cell in cells)
    # Sums over neighbours of their score's difference to the configuration's own: nothing cancels on a plateau.
    sums = (
        _sum_on_lattice(np.ravel_multi_index(cells, shape), shape, score, is_passed)
        if math.prod(shape) <= _LATTICE_CELLS_MAX * len(values)
        else _sum_nearest(space, values, score, is_passed)
    )
    count, passed, above, above_squared = sums
    mean_above = above / count
    spread = np.sqrt(np.maximum(above_squared / count - mean_above**2, 0.0))
    return np.maximum(score + mean_above - SPREAD_WEIGHT * spread, 0.0), passed / count


def _sum_on_lattice(
    cell: npt.NDArray[np.int64], shape: tuple[int, ...], score: FloatArray, is_passed: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    # Neighbourhood sums: members, those that pass, score above the own, its square.
    row_of_cell = np.full(math.prod(shape), -1, np.int32)
    row_of_cell[cell] = np.arange(len(cell), dtype=np.int32)
    count, passed = np.ones(len(cell)), is_passed.astype(np.float64)
    above, above_squared = np.zeros(len(cell)), np.zeros(len(cell))
    stride = 1
    for length in reversed(shape):
        place = cell // stride % length
        for step, is_inside in ((-stride, place > 0), (stride, place < length - 1)):
            rows = np.flatnonzero(is_inside)
            others = row_of_cell[cell[rows] + step]
            rows, others = rows[others >= 0], others[others >= 0]
            difference = score[others] - score[rows]
            count[rows] += 1.0
            passed[rows] += is_passed[others]
            above[rows] += difference
            above_squared[rows] += difference**2
        stride *= length
    return count, passed, above, above_squared


def _sum_nearest(
    space: SearchSpace, values: FloatArray, score: FloatArray, is_passed: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    # The same sums. A configuration is its own nearest; where it comes up more often, the others have its score.
    from scipy.spatial import cKDTree  # a lattice does without

    places = np.column_stack([axis.to_unit(column) for axis, column in zip(space.axes, values.T, strict=True)])
    tree = cKDTree(places)
    members = min(2 * len(space.axes) + 1, len(values))
    passed, above, above_squared = np.empty((3, len(values)))
    for start in range(0, len(values), _QUERIED):
        part = tree.indices[start : start + _QUERIED]  # near to each other: six times as fast as in the order of rows
        nearest = tree.query(places[part], members)[1].reshape(-1, members)
        difference = score[nearest] - score[part, np.newaxis]
        passed[part] = is_passed[nearest].sum(axis=1)
        above[part], above_squared[part] = difference.sum(axis=1), (difference**2).sum(axis=1)
    return np.full(len(values), float(members)), passed, above, above_squared
