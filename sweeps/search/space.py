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
        return tuple(
            np.unique(self.from_unit(np.linspace(0.0, 1.0, self.points) if self.points > 1 else [0.5])).tolist()
        )

    def from_unit(self, unit: Any) -> FloatArray:
        """Return the values at places 0..1 of the axis: of a list each value has an equal share, 1.0 is its last."""
        unit = np.asarray(unit, np.float64)
        if self.values:
            places = np.minimum((unit * len(self.values)).astype(np.int64), len(self.values) - 1)
            return np.asarray(self.values, np.float64)[places]
        if self.is_log:
            values = np.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low)))
        else:
            values = self.low + unit * (self.high - self.low)
        values = np.clip(values, self.low, self.high)
        return np.rint(values) if self.is_int else _round(values)

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


def _round(values: FloatArray) -> FloatArray:
    # Twelve digits: what is printed reads back as the same configuration.
    return np.array([float(f"{value:.12g}") for value in values.ravel()]).reshape(values.shape)


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
