"""Candidates by number: order, pieces, exact counts, spread, and every refusal."""

import itertools
import math
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from sweeps.search.candidates import CONFIGS_MAX, make_candidates
from sweeps.search.space import SearchSpace
from tests.unit.sweeps.search.spaces import MIXED, make_list, make_range, make_space

ROOT = Path(__file__).resolve().parents[4]
SAMPLERS = ("grid", "random", "sobol")
KEYS = ("sar_max", "stop_atr", "take_profit_atr", "trend_atr_min", "size_frac", "sar_step")


def test_a_grid_turns_its_last_axis_fastest() -> None:
    space = make_space(make_list("stop_atr", 2, 3), make_range("take_profit_atr", 1, 3, 3))
    grid = make_candidates(space, "grid", 0, 0)
    assert grid.draw(0, len(grid)).tolist() == [[2, 1], [2, 2], [2, 3], [3, 1], [3, 2], [3, 3]]
    assert make_candidates(space, "grid", 0, 5).draw(1, 3).tolist() == [[2, 2], [2, 3]]


@given(st.lists(st.sets(st.integers(1, 20), min_size=1, max_size=5), min_size=1, max_size=3), st.integers(2, 30))
@settings(deadline=None)
def test_a_grid_has_each_allowed_combination_once(listed: list[set[int]], most: int) -> None:
    keys = KEYS[1 : len(listed) + 1]
    axes = [make_list(key, *sorted(values)) for key, values in zip(keys, listed, strict=True)]
    space = make_space(*axes, relations=(f"{' + '.join(keys)} <= {most}",))
    expected = [combination for combination in itertools.product(*map(sorted, listed)) if sum(combination) <= most]
    if not expected:
        with pytest.raises(ValueError, match="relations of momentum_sar exclude all"):
            make_candidates(space, "grid", 0, 0)
        return
    grid = make_candidates(space, "grid", 0, 0)
    numbers, values = grid.draw_allowed(0, len(grid))
    assert list(map(tuple, values.tolist())) == expected
    assert (len(grid), grid.configs) == (math.prod(map(len, listed)), len(expected))
    assert np.array_equal(grid.draw(0, len(grid))[numbers], values)


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_piece_is_a_piece_of_the_whole(sampler: str, data: st.DataObject) -> None:
    candidates = make_candidates(MIXED, sampler, 2_500, data.draw(st.integers(0, 3)))
    start = data.draw(st.integers(0, len(candidates)))
    stop = data.draw(st.integers(start, len(candidates)))
    assert np.array_equal(candidates.draw(start, stop), candidates.draw(0, len(candidates))[start:stop])
    numbers, values = candidates.draw_allowed(start, stop)
    assert MIXED.find_allowed(values).all()
    assert np.array_equal(numbers, start + np.flatnonzero(MIXED.find_allowed(candidates.draw(start, stop))))


@pytest.mark.parametrize("sampler", ["random", "sobol"])
@pytest.mark.parametrize("configs", [1, 2, 1_000, 3_333])
def test_exactly_as_many_as_asked_are_allowed(sampler: str, configs: int) -> None:
    candidates = make_candidates(MIXED, sampler, configs, 11)
    allowed = MIXED.find_allowed(candidates.draw(0, len(candidates)))
    assert allowed.sum() == candidates.configs == configs
    assert allowed[-1]  # none is drawn in vain


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_candidates_travel_and_come_out_the_same_elsewhere(sampler: str) -> None:
    candidates = make_candidates(MIXED, sampler, 700, 2**40 + 5)
    assert len(pickle.dumps(candidates)) < 2_000
    here = candidates.draw(0, len(candidates))
    assert np.array_equal(pickle.loads(pickle.dumps(candidates)).draw(0, len(candidates)), here)
    code = (
        "import hashlib, sys; from sweeps.search.candidates import make_candidates\n"
        "from tests.unit.sweeps.search.spaces import MIXED\n"
        f"candidates = make_candidates(MIXED, {sampler!r}, 700, 2**40 + 5)\n"
        "sys.stdout.buffer.write(candidates.draw(0, len(candidates)).tobytes())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True).stdout
    assert elsewhere == here.tobytes()


def test_seeds_differ() -> None:
    for sampler in ("random", "sobol"):
        one, other = (make_candidates(MIXED, sampler, 100, seed).draw(0, 100) for seed in (1, 2))
        assert not np.array_equal(one, other)


def test_the_bits_of_a_seed_stay_as_they_are() -> None:
    space = make_space(make_range("stop_atr", 1, 2), make_range("take_profit_atr", 1, 2))
    candidates = make_candidates(space, "random", 2_000, 7)
    assert candidates.draw(1_500, 1_501).tolist() == [[1.21545984229, 1.04497364668]]


def test_sobol_spreads_more_evenly_than_chance() -> None:
    space = make_space(*(make_range(key, 0.0, 1.0) for key in KEYS[1:5]))
    discrepancy = {
        sampler: qmc.discrepancy(make_candidates(space, sampler, 512, 3).draw(0, 512)) for sampler in SAMPLERS[1:]
    }
    assert discrepancy["sobol"] < discrepancy["random"] / 5


def test_a_grid_nobody_can_finish_is_refused_without_listing_it() -> None:
    space = make_space(make_range("stop_atr", 1, 9, 10**6), make_range("take_profit_atr", 1, 9, 10**6))
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"has 1,000,000,000,000 configurations, at most {CONFIGS_MAX:,}"):
        make_candidates(space, "grid", 0, 0)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_counting_a_large_grid_needs_no_more_memory_than_a_small_one() -> None:
    peaks = []
    for points in (60, 130):  # 216,000 and 2,197,000
        space = make_space(*(make_range(key, 1.0, 9.0, points) for key in KEYS[1:4]), relations=("stop_atr < 5",))
        tracemalloc.start()
        assert make_candidates(space, "grid", 0, 0).configs == points**3 // 2
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize(
    ("space", "sampler", "configs", "message"),
    [
        (make_space(), "grid", 0, "search space of momentum_sar is empty"),
        (make_space(), "random", 10, "search space of momentum_sar is empty"),
        (make_space(make_range("stop_atr", 1, 2)), "grid", 0, r"momentum_sar\.stop_atr is a range without points"),
        (MIXED, "random", 0, r"configs is 0, must be in 1\.\.10,000,000 for the sampler random"),
        (MIXED, "sobol", CONFIGS_MAX + 1, r"configs is 10,000,001, must be in 1\.\.10,000,000"),
        (
            make_space(make_list("stop_atr", 2, 3), relations=("stop_atr > 4",)),
            "grid",
            0,
            "relations of momentum_sar exclude all 2 combinations of the grid",
        ),
        (
            make_space(make_range("stop_atr", 1, 2), relations=("stop_atr > 1.9999",)),
            "sobol",
            10_000,
            "relations of momentum_sar leave almost nothing: [0-9]+ of [0-9,]+ candidates are allowed",
        ),
        (
            make_space(make_range("stop_atr", 1, 2), relations=("stop_atr > 4",)),
            "random",
            1,
            "relations of momentum_sar leave almost nothing: 0 of",
        ),
    ],
)
def test_refusals_say_how_to_mend(space: SearchSpace, sampler: str, configs: int, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make_candidates(space, sampler, configs, 0)
    assert "\n" not in str(caught.value)
