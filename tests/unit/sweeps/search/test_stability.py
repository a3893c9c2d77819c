"""Neighbourhoods: against brute force on lattices, and a plateau before a spike."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sweeps.search.candidates import make_candidates
from sweeps.search.space import BoolArray, FloatArray
from sweeps.search.stability import compute_neighbourhood
from tests.unit.sweeps.search.spaces import make_list, make_range, make_space

LATTICE = make_space(
    make_list("stop_atr", 1, 2, 4, 8), make_list("take_profit_atr", 0, 3, 9), make_list("trend_atr_min", 0, 1, 2, 3)
)
RANDOM = make_space(make_range("stop_atr", 1.0, 8.0, is_log=True), make_range("take_profit_atr", 0.0, 12.0))


def count_steps(values: FloatArray) -> FloatArray:
    """How many steps along how many axes lie between each two configurations of the lattice."""
    ranks = np.column_stack([axis.to_unit(column) for axis, column in zip(LATTICE.axes, values.T, strict=True)])
    ranks = np.rint(ranks * [len(axis.values) - 1 for axis in LATTICE.axes])
    return np.abs(ranks[:, np.newaxis] - ranks).sum(axis=2)


def summarise(members: BoolArray, score: FloatArray, is_passed: BoolArray) -> tuple[float, float]:
    return max(0.0, score[members].mean() - 0.5 * score[members].std()), is_passed[members].mean()


@given(st.integers(0, 2**32), st.floats(0.3, 1.0))
@settings(deadline=None)
def test_on_a_lattice_with_holes_it_is_what_brute_force_says(seed: int, kept_frac: float) -> None:
    random = np.random.default_rng(seed)
    values = make_candidates(LATTICE, "grid", 0, 0).draw(0, 48)
    values = values[random.permutation(48)[: int(48 * kept_frac)]]
    # A value of an axis that no configuration has is no step: the count of steps below knows only those listed.
    assume(all(len(set(column)) == len(axis.values) for axis, column in zip(LATTICE.axes, values.T, strict=True)))
    score, is_passed = random.random(len(values)), random.random(len(values)) < 0.5
    score_stable, passed_frac = compute_neighbourhood(LATTICE, values, score, is_passed)
    expected = [summarise(row <= 1, score, is_passed) for row in count_steps(values)]
    assert np.allclose(np.column_stack([score_stable, passed_frac]), expected, atol=1e-12)


def test_off_a_lattice_the_nearest_count() -> None:
    candidates = make_candidates(RANDOM, "random", 300, 2)
    values, random = candidates.draw(0, 300), np.random.default_rng(0)
    score, is_passed = random.random(300), random.random(300) < 0.5
    places = np.column_stack([axis.to_unit(column) for axis, column in zip(RANDOM.axes, values.T, strict=True)])
    order = np.argsort(np.linalg.norm(places[:, np.newaxis] - places, axis=2), axis=1)[:, :5]
    expected = [summarise(np.isin(np.arange(300), row), score, is_passed) for row in order]
    assert np.allclose(np.column_stack(compute_neighbourhood(RANDOM, values, score, is_passed)), expected, atol=1e-12)


def test_a_plateau_wins_over_a_higher_spike() -> None:
    for space, sampler, configs in ((LATTICE, "grid", 0), (RANDOM, "sobol", 256)):
        candidates = make_candidates(space, sampler, configs, 4)
        values = candidates.draw_allowed(0, len(candidates))[1]
        is_plateau = values[:, 0] > np.median(values[:, 0])
        score = np.where(is_plateau, 0.6, 0.1)
        score[np.argmin(values.sum(axis=1))] = 1.0
        score_stable, passed_frac = compute_neighbourhood(space, values, score, score > 0.5)
        assert is_plateau[np.argmax(score_stable)]
        assert score_stable.max() == 0.6
        assert passed_frac[np.argmax(score_stable)] == 1.0


def test_duplicates_failures_and_a_single_configuration() -> None:
    values = np.repeat(make_candidates(RANDOM, "random", 5, 1).draw(0, 5), 10, axis=0)
    score_stable, _ = compute_neighbourhood(
        RANDOM, values, np.repeat([0.2, 0.4, np.nan, 0.6, 0.8], 10), values[:, 0] > 0
    )
    assert np.allclose(score_stable, np.repeat([0.2, 0.4, 0.0, 0.6, 0.8], 10))  # nearest are copies of itself
    alone = compute_neighbourhood(RANDOM, values[:1], np.array([0.7]), np.array([True]))
    assert [part.tolist() for part in alone] == [[0.7], [1.0]]
