"""The search space: which values the parameters of one strategy may take, and which combinations are allowed.

Configurations are rows of float64[n, axes], in the order of `SearchSpace.axes`; the axes that change what is observed
(`Idea.slow`) come first, so that a grid, whose last axis turns fastest, gives neighbours that share their features.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from strategies.catalog import Params, get_idea
from sweeps.search.relations import Relation

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_POWERS = np.array([float(f"1e{power}") for power in range(23)])


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter: exactly the `values` listed, or any value of low..high (both included)."""

    key: str
    is_int: bool
    is_log: bool  # a range is even on a log scale
    values: tuple[float, ...] = ()  # strictly increasing; (): a range
    low: float = math.nan
    high: float = math.nan
    points: int = 0  # values that a grid takes of a range; 0: it is for other samplers

    def list_values(self) -> tuple[float, ...]:
        """Return the values that a grid tries, increasing; whole ones of an `is_int` range may be fewer than `points`.

        >>> Axis("stop_atr", False, True, low=1.0, high=4.0, points=3).list_values()
        (1.0, 2.0, 4.0)
        """
        if self.values:
            return self.values
        unit = np.linspace(0.0, 1.0, self.points) if self.points > 1 else np.array([0.5])
        return tuple(np.unique(self._settle(self._spread(unit, self.low, self.high))).tolist())

    def from_unit(self, unit: Any) -> FloatArray:
        """Return the values at places 0..1 of the axis: each value of a list, each whole number has an equal share.

        0.0 is the least value, 1.0 the greatest; on a log scale shares are equal in the logarithm.
        """
        unit = np.asarray(unit, np.float64)
        if self.values:
            places = np.minimum((unit * len(self.values)).astype(np.int64), len(self.values) - 1)
            return np.asarray(self.values, np.float64)[places]
        margin = 0.5 if self.is_int else 0.0  # what rounds to the first whole number begins half below it
        return self._settle(self._spread(unit, self.low - margin, self.high + margin))

    def _spread(self, unit: FloatArray, low: float, high: float) -> FloatArray:
        if self.is_log:
            return np.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        return low + unit * (high - low)

    def _settle(self, values: FloatArray) -> FloatArray:
        return np.clip(np.rint(values) if self.is_int else round_digits(values), self.low, self.high)

    def to_unit(self, values: Any) -> FloatArray:
        """Return where values stand on the axis, 0..1 from end to end, even in its own scale (a list: by rank)."""
        values = np.asarray(values, np.float64)
        if self.values:
            return np.searchsorted(self.values, values) / max(1, len(self.values) - 1)
        if not self.high > self.low:
            return np.zeros_like(values)
        if self.is_log:
            return (np.log(values) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (values - self.low) / (self.high - self.low)


def round_digits(values: FloatArray) -> FloatArray:
    """Return values to twelve significant digits, each the float next to its decimal: `f"{value:.12g}"` reads it back.

    It also hides the last bits, in which `exp` differs between processors: one seed gives the same values on all nodes.
    Values below 1e-11 and those that are not finite stay what they are.

    >>> round_digits(np.array([0.1 + 0.2, -1234567890.123456])).tolist()
    [0.3, -1234567890.12]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        places = 11.0 - np.floor(np.log10(np.abs(values)))  # decimals that are kept
    # A whole number below 2**53 times or divided by an exact power of ten is rounded once: it is the float next to
    # the decimal. Powers beyond 10**22 are not exact: values as small or as large as that stay as they are.
    is_exact = np.abs(places) < len(_POWERS)
    places = np.where(is_exact, places, 0.0).astype(np.int64)
    scale = _POWERS[np.abs(places)]
    rounded = np.where(places < 0, np.rint(values / scale) * scale, np.rint(values * scale) / scale)
    return np.where(is_exact, rounded, values)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The axes of one strategy; all other parameters are those of `base`."""

    base: Params
    axes: tuple[Axis, ...]  # slow ones first
    relations: tuple[Relation, ...] = ()

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return get_idea(self.base).name

    @property
    def keys(self) -> tuple[str, ...]:
        """The swept parameters, in the order of a row."""
        return tuple(axis.key for axis in self.axes)

    def make_params(self, row: FloatArray) -> Params:
        """Return the configuration of one row."""
        chosen = {
            axis.key: int(value) if axis.is_int else float(value) for axis, value in zip(self.axes, row, strict=True)
        }
        return self.base._replace(**chosen)

    def find_allowed(self, values: FloatArray) -> BoolArray:
        """Return which rows are configurations: they meet every relation and the catalog's own (`Range.below`)."""
        columns: dict[str, Any] = dict(self.base._asdict())
        columns |= {key: values[:, column] for column, key in enumerate(self.keys)}
        allowed = np.ones(len(values), np.bool_)
        for key, limits in get_idea(self.base).ranges.items():
            if limits.below:
                allowed &= np.asarray(columns[key]) <= np.asarray(columns[limits.below])
        for relation in self.relations:
            allowed &= relation.find_kept(columns)
        return allowed
