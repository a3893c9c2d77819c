"""Reading daily returns of many configurations piece by piece: memory stays flat however many there are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sweeps.records import FloatArray

ReturnsArray = np.ndarray[Any, np.dtype[np.float32]]  # [configs, days], C order; a memory map is read once per pass
BoolArray = npt.NDArray[np.bool_]

BLOCK_VALUES = 2**20  # float64 in a block: 8 MB


def read_blocks(returns: ReturnsArray, width: int = 0) -> Iterator[FloatArray]:
    """Yield copies float64[some configs, days], in order; `width`: values per configuration that the caller makes.

    A configuration whose returns are all equal has no Sharpe ratio, and rounding must not lend it an infinite one: it
    is read as cash, all zeros.
    """
    rows = max(1, BLOCK_VALUES // max(1, width, returns.shape[1]))
    for start in range(0, returns.shape[0], rows):
        block = returns[start : start + rows].astype(np.float64)
        block[block.max(axis=1) == block.min(axis=1)] = 0.0
        yield block


def keep_best(best_in: FloatArray, best_out: FloatArray, values_in: FloatArray, values_out: FloatArray) -> None:
    """Update per row, in place, the greatest of values_in[rows, configs] so far, and what it is in values_out.

    Of several greatest ones the one that is least in values_out counts. NaN stays in best_in. Start with -inf, inf.

    >>> best_in, best_out = np.array([2.0]), np.array([9.0])
    >>> keep_best(best_in, best_out, np.array([[3.0, 1.0, 3.0]]), np.array([[5.0, 0.0, 4.0]]))
    >>> best_in.tolist(), best_out.tolist()
    ([3.0], [4.0])
    """
    best = values_in.max(axis=1)
    rows = np.flatnonzero(best >= best_in)
    out = np.where(values_in[rows] == best[rows, np.newaxis], values_out[rows], np.inf).min(axis=1)
    best_out[rows] = np.where(best[rows] > best_in[rows], out, np.minimum(out, best_out[rows]))
    np.maximum(best, best_in, out=best_in)
