"""PRIM: plateaus, not spikes; edges; ties; and the space inside."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.search.candidates import make_candidates
from sweeps.search.regions import Region, find_region, narrow
from sweeps.search.space import FloatArray, SearchSpace
from tests.unit.sweeps.search.spaces import MIXED, make_list, make_range, make_space

GRID = make_space(*(make_range(key, 0.0, 9.0, 10) for key in ("stop_atr", "take_profit_atr", "trend_atr_min")))
RANDOM = make_space(*(make_range(key, 0.0, 1.0) for key in ("stop_atr", "take_profit_atr", "trend_atr_min")))


def draw(space: SearchSpace, sampler: str = "grid", configs: int = 0) -> FloatArray:
    candidates = make_candidates(space, sampler, configs, 1)
    return candidates.draw_allowed(0, len(candidates))[1]


def lies_in(values: FloatArray, region: Region) -> np.ndarray:
    return np.all((values >= region.low) & (values <= region.high), axis=1)


def test_a_plateau_is_found_to_the_edge() -> None:
    values = draw(GRID)
    plateau = np.all((values >= [2, 0, 4]) & (values <= [5, 3, 9]), axis=1)
    region = find_region(GRID, values, plateau.astype(float), 0.05)
    assert (region.low, region.high) == ((1.5, 0.0, 3.5), (5.5, 3.5, 9.0))
    assert (region.support_frac, region.merit_mean) == (plateau.mean(), 1.0)  # all of it, though 5 % would do


def test_a_lone_spike_in_noise_does_not_draw_the_box_away_from_a_plateau() -> None:
    for space, values in ((GRID, draw(GRID)), (RANDOM, draw(RANDOM, "random", 3_000))):
        unit = np.column_stack([axis.to_unit(column) for axis, column in zip(space.axes, values.T, strict=True)])
        merit = np.random.default_rng(0).normal(0.0, 0.1, len(values))
        merit[np.all((unit > 0.5) & (unit < 0.95), axis=1)] += 0.3
        spike = np.argmin(np.abs(unit - 0.12).sum(axis=1))
        merit[spike] = 10.0
        region = find_region(space, values, merit, 0.05)
        assert not lies_in(values[[spike]], region)[0]
        assert lies_in(np.array([[axis.from_unit(0.75) for axis in space.axes]]), region)[0]


def test_the_few_that_pass_among_thousands_are_found() -> None:
    space = make_space(*(make_range(key, 0.0, 19.0, 20) for key in ("stop_atr", "take_profit_atr", "trend_atr_min")))
    values = draw(space)
    merit = np.all((values >= [3, 8, 12]) & (values <= [4, 9, 13]), axis=1).astype(float)
    assert merit.sum() == 8  # of 8,000
    region = find_region(space, values, merit, 0.01)
    assert lies_in(values, region)[merit > 0].all()
    assert region.support_frac < 0.02


def test_of_two_bumps_the_better_is_found_though_peeling_first_makes_things_worse() -> None:
    space = make_space(make_range("stop_atr", 1, 20, 20))
    values = draw(space)
    merit = np.where(values[:, 0] <= 4, 0.8, np.where(values[:, 0] >= 17, 1.0, 0.0))
    region = find_region(space, values, merit, 0.2)
    assert (region.low, region.high, region.merit_mean) == ((16.5,), (20.0,), 1.0)


def test_where_nothing_differs_the_whole_space_stays() -> None:
    values = draw(GRID)
    for merit in (np.zeros(len(values)), np.full(len(values), 0.3), np.full(len(values), np.nan)):
        region = find_region(GRID, values, merit, 0.1)
        assert (region.low, region.high, region.support_frac) == ((0.0,) * 3, (9.0,) * 3, 1.0)


def test_what_failed_counts_as_the_worst() -> None:
    values = draw(GRID)
    merit = np.where(values[:, 0] < 5, np.nan, 0.5)
    merit[values[:, 1] < 3] = 0.2
    assert find_region(GRID, values, merit, 0.1).low == (4.5, 2.5, 0.0)


def test_an_axis_of_two_values_is_not_halved_for_a_small_gain() -> None:
    space = make_space(make_list("atr_bars", 14, 28, is_int=True), make_range("stop_atr", 1, 10, 10))
    values = draw(space)
    merit = 0.02 * (values[:, 0] == 28) + 0.1 * (values[:, 1] <= 5)
    region = find_region(space, values, merit, 0.5)
    assert (region.low, region.high) == ((14.0, 1.0), (28.0, 5.5))


@given(st.integers(0, 2**32), st.sampled_from([0.02, 0.1, 0.3, 1.0]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_region_is_what_it_says(seed: int, support_frac: float, is_grid: bool) -> None:
    values = draw(MIXED) if is_grid else draw(MIXED, "random", 400)
    merit = np.random.default_rng(seed).normal(size=len(values)) + values[:, 2]
    region = find_region(MIXED, values, merit, support_frac)
    inside = lies_in(values, region)
    assert inside.sum() >= math.ceil(support_frac * len(values))
    assert region.support_frac == inside.mean()
    assert region.merit_mean == pytest.approx(merit[inside].mean())
    best = np.sort(merit)[-min(5, math.ceil(len(merit) / 100))]
    assert np.minimum(merit, best)[inside].mean() >= np.minimum(merit, best).mean() - 1e-9
    for axis, low, high in zip(MIXED.axes, region.low, region.high, strict=True):
        ends = axis.values or (axis.low, axis.high)
        assert ends[0] <= low <= high <= ends[-1]
        assert not axis.is_int or (low.is_integer() and high.is_integer())
    again = find_region(MIXED, values, merit, support_frac)
    assert again == region
    inner = narrow(MIXED, region, {})
    assert inner.relations == MIXED.relations
    assert lies_in(draw(inner, "random", 50), region).all()


def test_edges_of_a_log_axis_lie_half_way_on_its_scale() -> None:
    space = make_space(
        make_range("stop_atr", 1, 16, 5, is_log=True), make_range("trend_bars", 8, 128, 5, is_int=True, is_log=True)
    )
    values = draw(space)
    region = find_region(space, values, ((values[:, 0] == 4) & (values[:, 1] == 32)).astype(float), 0.01)
    assert region.low == (round(math.sqrt(8), 11), 23.0)  # whole numbers inside sqrt(16 * 32)..sqrt(32 * 64)
    assert region.high == (round(math.sqrt(32), 11), 45.0)


def test_a_narrowed_space_takes_the_points_given() -> None:
    space = make_space(
        make_range("trend_bars", 24, 672, 4, is_int=True, is_log=True),
        make_list("atr_bars", 14, 28, 56, is_int=True),
        make_list("stop_atr", 2, 3, 4),
        make_range("entry_bars_max", 0, 96, 3, is_int=True),
    )
    region = Region((48.0, 21.0, 2.5, 48.0), (96.0, 42.0, 4.0, 48.0), 0.1, 1.0)
    inner = narrow(space, region, {"trend_bars": 2, "stop_atr": 4})
    assert [axis.list_values() for axis in inner.axes] == [(48, 96), (28,), (2.5, 3, 3.5, 4), (48,)]
    assert [(axis.is_int, axis.is_log) for axis in inner.axes[:1]] == [(True, True)]
    assert narrow(space, region, {}).axes[0].points == 4
    few = narrow(space, Region((24.0, 14, 2, 3.0), (672.0, 56, 4, 5.0), 0.1, 1.0), {"entry_bars_max": 9})
    assert few.axes[3].list_values() == (3, 4, 5)


def test_refusals() -> None:
    values = draw(GRID)
    region = find_region(GRID, values, values[:, 0], 0.5)
    with pytest.raises(ValueError, match="points of 'stop_art': no such axis in the space of momentum_sar; did you"):
        narrow(GRID, region, {"stop_art": 3})
    with pytest.raises(ValueError, match="points of 'stop_atr' is 0, must be at least 1"):
        narrow(GRID, region, {"stop_atr": 0})
    for share in (0.0, 1.1, math.nan):
        with pytest.raises(ValueError, match="support_frac is"):
            find_region(GRID, values, values[:, 0], share)
