"""The grid: order, numbers, and every fault named by its key."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.catalog import parse_params, slow_key
from sweeps.space import CONFIGS_MAX, make_grid


def test_slow_axes_turn_slowest_and_the_order_given_is_kept() -> None:
    swept = {"stop_atr": [3, 2], "trend_bars": [96, 48], "take_profit_atr": [0.5]}
    grid = make_grid("scalper", swept, {"fast_bars": 12})
    listed = [grid.get_params(index) for index in range(len(grid))]
    assert [axis.key for axis in grid.axes] == ["trend_bars", "stop_atr", "take_profit_atr"]
    assert [(params.trend_bars, params.stop_atr) for params in listed] == [(96, 3.0), (96, 2.0), (48, 3.0), (48, 2.0)]
    assert {params.fast_bars for params in listed} == {12}
    assert listed[0] == parse_params(
        "scalper", {"stop_atr": 3, "trend_bars": 96, "take_profit_atr": 0.5, "fast_bars": 12}
    )


def test_values_have_the_types_of_the_record() -> None:
    params = make_grid("momentum_sar", {"stop_atr": [2], "trend_bars": [48.0]}).get_params(0)
    assert (type(params.stop_atr), type(params.trend_bars)) == (float, int)


@given(
    st.dictionaries(
        st.sampled_from(["sar_step", "trend_bars", "atr_bars", "stop_atr", "trend_atr_min"]),
        st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True),
        min_size=1,
    )
)
def test_a_number_stands_for_each_combination_once(values: dict[str, list[int]]) -> None:
    scaled = {
        key: [value / 1000 for value in listed] if key == "sar_step" else listed for key, listed in values.items()
    }
    grid = make_grid("momentum_sar", scaled)
    listed = [grid.get_params(index) for index in range(len(grid))]
    tried = [tuple(getattr(params, key) for key in scaled) for params in listed]
    assert len(tried) == len(grid)
    assert set(tried) == set(itertools.product(*scaled.values()))
    keys = [slow_key(params) for params in listed]
    runs = [key for key, _ in itertools.groupby(keys)]
    assert len(runs) == len(set(keys))  # neighbours share their features
    assert [slow_key(params) for params in grid.list_slow()] == runs


@pytest.mark.parametrize("index", [-1, 4])
def test_a_number_outside_the_grid_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match=f"configuration {index} of 4"):
        make_grid("momentum_sar", {"stop_atr": [2, 3, 4, 5]}).get_params(index)


@pytest.mark.parametrize(
    ("strategy", "values", "fixed", "message"),
    [
        ("momentum", {"stop_atr": [2]}, {}, "unknown strategy 'momentum'; did you mean 'momentum_sar'"),
        ("momentum_sar", {}, {}, "search space of momentum_sar is empty"),
        ("momentum_sar", {"stop_atr": []}, {}, r"momentum_sar\.stop_atr has no values"),
        ("momentum_sar", {"stop_atr": 2}, {}, r"momentum_sar\.stop_atr is '2', must be a list of numbers"),
        ("momentum_sar", {"stop_atr": "23"}, {}, r"momentum_sar\.stop_atr is '23', must be a list of numbers"),
        ("momentum_sar", {"stop_atr": [2, "x"]}, {}, r"momentum_sar\.stop_atr lists 'x', must be a number"),
        ("momentum_sar", {"stop_atr": [2, True]}, {}, r"momentum_sar\.stop_atr lists 'True', must be a number"),
        ("momentum_sar", {"stop_atr": [2, float("nan")]}, {}, r"momentum_sar\.stop_atr lists 'nan', must be a number"),
        ("momentum_sar", {"stop_atr": [2, 3, 2.0]}, {}, r"momentum_sar\.stop_atr lists 2 twice"),
        ("momentum_sar", {"stop_atr": [2, 2000]}, {}, r"momentum_sar\.stop_atr is 2000, must be a number in 0\.01"),
        ("momentum_sar", {"trend_bars": [48.5]}, {}, r"momentum_sar\.trend_bars is 48\.5, must be a whole number"),
        ("momentum_sar", {"stop_art": [2]}, {}, "no parameter 'stop_art'; did you mean 'stop_atr'"),
        ("momentum_sar", {"stop_atr": [2]}, {"trend": 3}, "no parameter 'trend'; did you mean 'trend_bars'"),
        ("momentum_sar", {"stop_atr": [2]}, {"stop_atr": 3}, r"momentum_sar\.stop_atr is both fixed and swept"),
        (
            "scalper",
            {"fast_bars": [8, 48], "trend_bars": [24, 96]},
            {},
            r"scalper\.fast_bars is 48, must not exceed trend_bars",
        ),
        (
            "scalper",
            {"fast_bars": [8, 48]},
            {"trend_bars": 24},
            r"scalper\.fast_bars is 48, must not exceed trend_bars",
        ),
    ],
)
def test_faults_are_named(strategy: str, values: dict[str, list[float]], fixed: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_grid(strategy, values, fixed)


def test_a_grid_that_nobody_can_finish_is_refused() -> None:
    many = [1.0 + value / 100 for value in range(1_000)]
    values = {key: many for key in ("stop_atr", "take_profit_atr", "trend_atr_min", "size_frac")}
    with pytest.raises(ValueError, match=f"1,000,000,000,000 configurations, at most {CONFIGS_MAX:,}"):
        make_grid("momentum_sar", {**values, "size_frac": [value / 10 for value in many]})
