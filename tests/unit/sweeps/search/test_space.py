"""Axes: values at places, places of values, and what twelve digits keep."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweeps.search.space import Axis, round_digits
from tests.unit.sweeps.search.spaces import BASE, make_list, make_range, make_space

RANGES = st.builds(
    lambda low, width, is_int, is_log: Axis("stop_atr", is_int, is_log, low=low, high=low + width),
    st.integers(1, 1_000),
    st.integers(0, 1_000),
    st.booleans(),
    st.booleans(),
)


@given(RANGES, st.lists(st.floats(0.0, 1.0), min_size=1))
def test_values_lie_on_the_axis_and_read_back_from_what_is_printed(axis: Axis, unit: list[float]) -> None:
    values = axis.from_unit(unit)
    assert np.all((axis.low <= values) & (values <= axis.high))
    assert [float(f"{value:.12g}") for value in values] == values.tolist()
    assert axis.from_unit([0.0, 1.0]).tolist() == [axis.low, axis.high]
    if axis.is_int:
        assert np.array_equal(values, np.rint(values))
    elif axis.high > axis.low:
        assert np.allclose(axis.to_unit(values), unit, atol=1e-6)


@given(st.lists(st.floats(1e-10, 1e12) | st.floats(-1e12, -1e-10), min_size=1))
def test_rounding_is_that_of_the_decimal(numbers: list[float]) -> None:
    rounded = round_digits(np.array(numbers)).tolist()
    assert [float(f"{value:.12g}") for value in rounded] == rounded
    assert np.allclose(rounded, [float(f"{value:.12g}") for value in numbers], rtol=2e-11, atol=0.0)


def test_rounding_leaves_what_has_no_digits() -> None:
    odd = np.array([0.0, np.inf, -np.inf, np.nan, 1e-300, 1e300])
    assert np.array_equal(round_digits(odd), odd, equal_nan=True)


def test_every_value_of_a_list_and_every_whole_number_has_an_equal_share() -> None:
    unit = (np.arange(9_000) + 0.5) / 9_000
    for axis in (make_list("stop_atr", 1, 2, 5), make_range("entry_bars_max", 4, 6, is_int=True)):
        assert np.unique(axis.from_unit(unit), return_counts=True)[1].tolist() == [3_000] * 3


def test_a_grid_takes_the_points_of_a_range_from_end_to_end() -> None:
    assert make_range("stop_atr", 1, 8, 4, is_log=True).list_values() == (1.0, 2.0, 4.0, 8.0)
    assert make_range("trend_bars", 8, 128, 5, is_int=True, is_log=True).list_values() == (8, 16, 32, 64, 128)
    assert make_range("entry_bars_max", 1, 3, 50, is_int=True).list_values() == (1.0, 2.0, 3.0)
    assert make_range("stop_atr", 1, 3, 1).list_values() == (2.0,)


def test_a_row_becomes_a_record_with_the_types_of_the_strategy() -> None:
    space = make_space(make_range("trend_bars", 24, 96, is_int=True), make_list("stop_atr", 2, 3))
    params = space.make_params(np.array([48.0, 3.0]))
    assert params == BASE._replace(trend_bars=48, stop_atr=3.0)
    assert type(params.trend_bars) is int


def test_the_catalogs_own_relations_hold() -> None:
    space = make_space(make_list("sar_step", 0.01, 0.05), make_list("sar_max", 0.02, 0.1))
    rows = np.array([[0.01, 0.02], [0.05, 0.02], [0.05, 0.1]])
    assert space.find_allowed(rows).tolist() == [True, False, True]
