"""What a sampler that does not look back tries, by number: a pure function of space and seed, drawn piece by piece.

Candidates are numbered from 0; those that the space does not allow are no configurations and are skipped wherever they
are drawn. So no list of configurations exists anywhere, and a grid of a million needs no more memory than one of ten.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sweeps.search.space import Axis, FloatArray, SearchSpace

CONFIGS_MAX = 10_000_000
ALLOWED_FRAC_MIN = 0.001  # fewer allowed candidates than this: a random draw is no way through the space

_BLOCK = 1024  # random candidates that share a counter
_COUNTED = 131_072  # candidates looked at together where the allowed ones are counted
_DRAWN_MIN = 100_000  # candidates before too few allowed ones are called too few
_DRAWN_MAX = 2**30  # candidates in scipy's Sobol sequence
_LISTED_MAX = 100_000  # values of one axis that are listed to learn how many of them differ


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of one round."""

    space: SearchSpace
    sampler: str  # "grid", "random" or "sobol"
    seed: int
    count: int  # candidates, those included that are not allowed
    configs: int  # allowed ones among them, >= 1

    def __len__(self) -> int:
        return self.count

    def draw(self, start: int, stop: int) -> FloatArray:
        """Return the candidates start..stop - 1, float64[stop - start, axes]; the same whatever was drawn before."""
        assert 0 <= start <= stop <= self.count, f"candidates {start}..{stop} of {self.count}"
        return _draw(self.space, self.sampler, self.seed, start, stop)

    def draw_allowed(self, start: int, stop: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Return the numbers int64[m] and values float64[m, axes] of the configurations among start..stop - 1."""
        values = self.draw(start, stop)
        allowed = self.space.find_allowed(values)
        return start + np.flatnonzero(allowed), values[allowed]


def make_candidates(space: SearchSpace, sampler: str, configs: int, seed: int) -> Candidates:
    """Return the candidates of a sampler: the whole grid, or as many random or Sobol ones as hold `configs` allowed.

    Parameters
    ----------
    sampler : "grid", "random" or "sobol"
        A grid takes every combination of `Axis.list_values`, the last axis fastest. Random candidates are independent:
        in a small space of lists some combinations come up twice and others never. Sobol's are evenly spread (Owen's
        scrambling by the seed; Joe and Kuo, SIAM J. Sci. Comput. 30, 2008).
    configs : int
        Allowed configurations wanted, 1..CONFIGS_MAX; a grid has as many as it has.
    seed : int, 0..2**64 - 1
        A grid does not depend on it.

    Raises ValueError for an empty space, a range without points or too many combinations in a grid, a number of
    configurations out of bounds, relations that exclude all or nearly all. Memory does not grow with `configs`.
    """
    check_axes(space)
    if sampler == "grid":
        count = _count_grid(space)
        allowed = sum(
            int(np.count_nonzero(_find_allowed(space, sampler, seed, start, min(start + _COUNTED, count))))
            for start in range(0, count, _COUNTED)
        )
        if not allowed:
            raise ValueError(
                f"relations of {space.strategy} exclude all {count:,} combinations of the grid: loosen them or give "
                "other values"
            )
        return Candidates(space, sampler, seed, count, allowed)
    assert sampler in ("random", "sobol"), sampler
    if not 1 <= configs <= CONFIGS_MAX:
        raise ValueError(f"configs is {configs:,}, must be in 1..{CONFIGS_MAX:,} for the sampler {sampler}")
    return Candidates(space, sampler, seed, _count_until(space, sampler, seed, configs), configs)


def check_axes(space: SearchSpace) -> None:
    """Raise ValueError for a space in which nothing varies."""
    if not space.axes:
        raise ValueError(f"search space of {space.strategy} is empty: give at least one parameter values or a range")


def _count_grid(space: SearchSpace) -> int:
    for axis in space.axes:
        if not axis.values and axis.points < 1:
            raise ValueError(
                f"{space.strategy}.{axis.key} is a range without points, which a grid cannot try: give its points or "
                "list its values"
            )
    # An axis of more points than anyone would list is not listed: the refusal takes no time and no memory.
    count = math.prod(
        len(axis.values) or (len(_list_values(axis)) if axis.points <= _LISTED_MAX else axis.points)
        for axis in space.axes
    )
    if count > CONFIGS_MAX:
        raise ValueError(
            f"grid of {space.strategy} has {count:,} configurations, at most {CONFIGS_MAX:,}: give fewer values, or "
            "draw a part of them with the sampler random or sobol"
        )
    return math.prod(len(_list_values(axis)) for axis in space.axes)


def _count_until(space: SearchSpace, sampler: str, seed: int, configs: int) -> int:
    # The number of the last candidate that is needed, plus one.
    start, found, step = 0, 0, min(max(1024, 2 * configs), _COUNTED)
    while True:
        allowed = np.flatnonzero(_find_allowed(space, sampler, seed, start, start + step))
        if found + len(allowed) >= configs:
            return start + int(allowed[configs - found - 1]) + 1
        start, found = start + step, found + len(allowed)
        if (start >= _DRAWN_MIN and found < ALLOWED_FRAC_MIN * start) or start + step > _DRAWN_MAX:
            raise ValueError(
                f"relations of {space.strategy} leave almost nothing: {found:,} of {start:,} candidates are allowed; "
                "loosen them or narrow the ranges to where they hold"
            )


def _find_allowed(space: SearchSpace, sampler: str, seed: int, start: int, stop: int) -> npt.NDArray[np.bool_]:
    return space.find_allowed(_draw(space, sampler, seed, start, stop))


def _draw(space: SearchSpace, sampler: str, seed: int, start: int, stop: int) -> FloatArray:
    values = np.empty((stop - start, len(space.axes)))
    if sampler == "grid":
        numbers = np.arange(start, stop)
        for column, axis in reversed(list(enumerate(space.axes))):
            listed = _list_values(axis)
            numbers, places = np.divmod(numbers, len(listed))
            values[:, column] = listed[places]
        return values
    unit = (_draw_random if sampler == "random" else _draw_sobol)(len(space.axes), seed, start, stop)
    for column, axis in enumerate(space.axes):
        values[:, column] = axis.from_unit(unit[:, column])
    return values


@lru_cache(maxsize=64)
def _list_values(axis: Axis) -> FloatArray:
    return np.array(axis.list_values())


def _draw_random(axes: int, seed: int, start: int, stop: int) -> FloatArray:
    # The bits of Philox are fixed for good by its paper (Salmon et al., SC11), numpy's distributions are not.
    first, last = start // _BLOCK, -(-stop // _BLOCK)  # blocks, the last one excluded
    bits = np.empty(((last - first) * _BLOCK, axes), np.uint64)
    for block in range(first, last):
        stream = np.random.Philox(key=np.array([seed, block], np.uint64))
        at = (block - first) * _BLOCK
        bits[at : at + _BLOCK] = stream.random_raw(_BLOCK * axes).reshape(_BLOCK, axes)
    kept = bits[start - first * _BLOCK : stop - first * _BLOCK]
    return (kept >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _draw_sobol(axes: int, seed: int, start: int, stop: int) -> FloatArray:
    from scipy.stats import qmc  # most of a second, which only Sobol is worth

    engine = qmc.Sobol(axes, rng=np.random.default_rng(seed))
    if start:
        engine.fast_forward(start)
        return engine.random(stop - start)
    # scipy warns if its first draw is no power of two; a draw of a piece of the sequence is none.
    first = engine.random(1)
    return np.concatenate([first, engine.random(stop - 1)]) if stop else first[:0]
