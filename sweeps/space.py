"""The search space: which configurations of one strategy a sweep tries, by number.

A grid is never listed: configuration `index` is worked out from the number. The axes that change what is observed
(`Idea.slow`) turn slowest, so that neighbours share their features, and the last axis turns fastest.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strategies.catalog import Params, get_idea, parse_params

CONFIGS_MAX = 10_000_000


@dataclass(frozen=True, slots=True)
class Axis:
    """The values that one parameter takes, in the order given."""

    key: str
    values: tuple[int | float, ...]


@dataclass(frozen=True, slots=True)
class GridSpace:
    """Every combination of the axes' values; all other parameters are those of `base`."""

    base: Params
    axes: tuple[Axis, ...]  # slow ones first

    def __len__(self) -> int:
        return math.prod(len(axis.values) for axis in self.axes)

    def get_params(self, index: int) -> Params:
        """Return configuration `index`. Raises IndexError outside 0..len - 1."""
        if not 0 <= index < len(self):
            raise IndexError(f"configuration {index} of {len(self)}")
        chosen = {}
        for axis in reversed(self.axes):
            index, at = divmod(index, len(axis.values))
            chosen[axis.key] = axis.values[at]
        return self.base._replace(**chosen)

    def list_slow(self) -> Iterator[Params]:
        """Yield one configuration for each distinct set of features, in order."""
        slow = get_idea(self.base).slow
        step = math.prod(len(axis.values) for axis in self.axes if axis.key not in slow)
        return (self.get_params(index) for index in range(0, len(self), step))


def make_grid(
    strategy: str,
    values: Mapping[str, Sequence[int | float]],
    fixed: Mapping[str, str | int | float] | None = None,
) -> GridSpace:
    """Return the grid over `values` (parameter -> the values to try) of a strategy of the catalog.

    fixed: parameters that are neither swept nor at their default.
    Raises ValueError naming the key: unknown, no values, one value twice, out of the allowed range, contradicting
    another parameter in some combination; and for a grid of more than `CONFIGS_MAX` configurations.

    >>> grid = make_grid("momentum_sar", {"stop_atr": [2, 3], "trend_bars": [48, 96]})
    >>> [(params.trend_bars, params.stop_atr) for params in map(grid.get_params, range(len(grid)))]
    [(48, 2.0), (48, 3.0), (96, 2.0), (96, 3.0)]
    """
    fixed = dict(fixed or {})
    base = parse_params(strategy, fixed)
    if not values:
        raise ValueError(f"search space of {strategy} is empty: give at least one parameter a list of values")
    for key, listed in values.items():
        _check_listed(f"{strategy}.{key}", listed)
        if key in fixed:
            raise ValueError(f"{strategy}.{key} is both fixed and swept: keep one")
    # Each value beside the greatest of every other axis: a parameter that must not exceed another meets its least.
    greatest = {key: max(listed) for key, listed in values.items()}
    parsed = {
        key: tuple(getattr(parse_params(strategy, {**fixed, **greatest, key: value}), key) for value in listed)
        for key, listed in values.items()
    }
    for key, listed in parsed.items():
        if len(set(listed)) < len(listed):
            twice = next(value for value in listed if listed.count(value) > 1)
            raise ValueError(f"{strategy}.{key} lists {twice:g} twice: keep one")
    slow = get_idea(base).slow
    axes = sorted((Axis(key, listed) for key, listed in parsed.items()), key=lambda axis: axis.key not in slow)
    space = GridSpace(base, tuple(axes))
    count = math.prod(len(axis.values) for axis in axes)
    if count > CONFIGS_MAX:
        raise ValueError(f"grid of {strategy} has {count:,} configurations, at most {CONFIGS_MAX:,}: list fewer values")
    return space


def _check_listed(where: str, listed: Any) -> None:
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        raise ValueError(f"{where} is '{listed}', must be a list of numbers")
    if not listed:
        raise ValueError(f"{where} has no values: list at least one, or leave the parameter out")
    for value in listed:
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise ValueError(f"{where} lists '{value}', must be a number")
