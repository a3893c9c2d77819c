"""Search spaces of momentum_sar that the tests of this folder share."""

from strategies.catalog import parse_params
from sweeps.search.relations import parse_relation
from sweeps.search.space import Axis, SearchSpace

BASE = parse_params("momentum_sar", {})


def make_space(*axes: Axis, relations: tuple[str, ...] = ()) -> SearchSpace:
    return SearchSpace(BASE, axes, tuple(parse_relation(text, BASE._fields) for text in relations))


def make_list(key: str, *values: float, is_int: bool = False) -> Axis:
    return Axis(key, is_int, False, tuple(map(float, values)))


def make_range(
    key: str, low: float, high: float, points: int = 0, *, is_int: bool = False, is_log: bool = False
) -> Axis:
    return Axis(key, is_int, is_log, low=low, high=high, points=points)


MIXED = make_space(
    make_range("trend_bars", 24, 672, 6, is_int=True, is_log=True),
    make_list("atr_bars", 14, 28, 56, is_int=True),
    make_range("stop_atr", 1.5, 8.0, 5, is_log=True),
    make_range("take_profit_atr", 0.0, 12.0, 7),
    relations=("stop_atr < take_profit_atr", "atr_bars * 2 <= trend_bars"),
)
