"""Records lie in structured arrays, nested ones too, the same from Python and from kernels."""

from typing import NamedTuple

import numpy as np
from numba import njit

from market.arrays import read_record, read_row, write_record, write_row
from market.records import make_dtype


class Inner(NamedTuple):
    """A record in a record."""

    is_on: bool
    count: int


class Outer(NamedTuple):
    """A record that holds another."""

    px: float
    inner: Inner
    lots: int


FIRST, SECOND = Outer(1.5, Inner(True, -3), 7), Outer(-2.25, Inner(False, 9), 8)


@njit
def swap_rows(array: np.ndarray) -> tuple[Outer, Inner]:  # type: ignore[type-arg]
    """Swap two rows through records; return the first as it is then, and what was nested in it before."""
    inner = read_row(array[0].inner, SECOND.inner)
    first = read_record(array, 0, SECOND)
    write_record(array, 0, read_row(array[1], SECOND))
    write_row(array[1], first)
    return read_record(array, 0, FIRST), inner


def test_python_and_kernels_read_and_write_the_same() -> None:
    array = np.zeros(2, make_dtype(Outer))
    write_record(array, 0, FIRST)
    write_row(array[1], SECOND)
    assert (read_record(array, 0, SECOND), read_row(array[1], FIRST)) == (FIRST, SECOND)
    assert read_row(array[0]["inner"], SECOND.inner) == FIRST.inner
    assert swap_rows(array) == (SECOND, FIRST.inner)
    assert (read_record(array, 0, FIRST), read_record(array, 1, FIRST)) == (SECOND, FIRST)
    write_row(array[0]["inner"], FIRST.inner)
    assert read_record(array, 0, FIRST) == SECOND._replace(inner=FIRST.inner)


def test_a_record_has_one_dtype() -> None:
    assert make_dtype(Outer) is make_dtype(Outer)
    assert make_dtype(Outer)["inner"] == make_dtype(Inner)
