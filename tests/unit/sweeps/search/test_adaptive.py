"""Optuna's samplers behind ask and tell: better than chance, only what is allowed, the same for the same calls."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from sweeps.search import adaptive
from sweeps.search.adaptive import AdaptiveSearch
from sweeps.search.candidates import make_candidates
from sweeps.search.space import FloatArray, SearchSpace
from tests.unit.sweeps.search.spaces import MIXED, make_list, make_range, make_space

ROOT = Path(__file__).resolve().parents[4]
SPACE = make_space(
    make_range("trend_bars", 24, 672, is_int=True, is_log=True),
    make_range("stop_atr", 1.5, 8.0, is_log=True),
    make_range("take_profit_atr", 0.0, 12.0),
    make_range("trend_atr_min", -1.0, 4.0),
    relations=("stop_atr < take_profit_atr",),
)


def score(values: FloatArray) -> FloatArray:
    """Best, 0, at (100, 3, 7, 1)."""
    return -(np.log(values[:, 0] / 100) ** 2 + np.sum((values[:, 1:] - [3.0, 7.0, 1.0]) ** 2, axis=1))


def run(
    space: SearchSpace, sampler: Literal["tpe", "nsga2"], seed: int, batches: int, count: int = 32
) -> tuple[FloatArray, FloatArray]:
    """All that was asked, and its scores; what has trend_bars above 200 misses a constraint."""
    search = AdaptiveSearch(space, sampler, seed, ("maximize",))
    asked = []
    for _ in range(batches):
        values = search.ask(count)
        search.tell(score(values)[:, np.newaxis], values[:, 0] - 200.0)
        asked.append(values)
    values = np.concatenate(asked)
    return values, score(values)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_looking_back_beats_chance(sampler: Literal["tpe", "nsga2"]) -> None:
    values, scores = run(SPACE, sampler, 1, 12)
    assert SPACE.find_allowed(values).all()
    chance = make_candidates(SPACE, "random", len(values), 1)
    best_by_chance = np.sort(score(chance.draw_allowed(0, len(chance))[1]))[-20:]
    assert np.sort(scores)[-20:].mean() > 0.4 * best_by_chance.mean()  # both below 0
    assert np.mean(values[-96:, 0] <= 200.0) > 0.8  # it learns to meet the constraint; by chance 64 % do


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_the_same_calls_give_the_same_configurations_in_a_fresh_process(sampler: Literal["tpe", "nsga2"]) -> None:
    here = run(SPACE, sampler, 5, 4)[0]
    assert not np.array_equal(run(SPACE, sampler, 6, 4)[0], here)
    code = (
        "import sys; from tests.unit.sweeps.search.test_adaptive import SPACE, run\n"
        f"sys.stdout.buffer.write(run(SPACE, {sampler!r}, 5, 4)[0].tobytes())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    assert elsewhere.stdout == here.tobytes()
    assert elsewhere.stderr == b""  # Optuna is silent


def test_nsga2_finds_a_front_between_two_objectives() -> None:
    search = AdaptiveSearch(SPACE, "nsga2", 3, ("maximize", "minimize"))
    for _ in range(15):
        values = search.ask(32)
        search.tell(np.column_stack([values[:, 2], values[:, 2] + (values[:, 3] - 1.0) ** 2]), np.zeros(32))
    assert np.abs(values[:, 3] - 1.0).mean() < 0.5  # what both agree on
    assert np.ptp(values[:, 2]) > 5.0  # what they differ over


def test_told_late_and_in_pieces_is_told_in_the_order_asked() -> None:
    whole, pieces = (AdaptiveSearch(SPACE, "tpe", 2, ("maximize",)) for _ in range(2))
    asked = whole.ask(64)
    assert np.array_equal(np.concatenate([pieces.ask(40), pieces.ask(24)]), asked)
    scores, met = score(asked)[:, np.newaxis], np.zeros(64)
    whole.tell(scores, met)
    for start, stop in ((0, 10), (10, 64)):
        pieces.tell(scores[start:stop], met[start:stop])
    assert np.array_equal(pieces.ask(16), whole.ask(16))


def test_a_bounded_history_goes_on_learning_with_trials_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, bound in (("HISTORY_MAX", 120), ("HISTORY_BEST", 20), ("HISTORY_RECENT", 60)):
        monkeypatch.setattr(adaptive, name, bound)
    search = AdaptiveSearch(SPACE, "tpe", 4, ("maximize",))
    under_way = search.ask(16)
    for _ in range(20):
        asked = search.ask(16)
        search.tell(score(under_way)[:, np.newaxis], np.zeros(16))
        under_way = asked
    assert search._renewals >= 2
    assert score(asked).mean() > -1.0


def test_failed_and_infinite_results_are_digested() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for sampler, directions in (("tpe", ("maximize",)), ("nsga2", ("maximize", "minimize"))):
            search: Any = AdaptiveSearch(SPACE, sampler, 0, directions)
            for odd in (np.nan, np.inf, -np.inf, np.nan):
                values = search.ask(48)
                objectives = np.repeat(score(values)[:, np.newaxis], len(directions), axis=1)
                objectives[::5, 0] = odd
                search.tell(objectives, np.where(np.arange(48) % 7 == 0, odd, -1.0))
            assert SPACE.find_allowed(search.ask(8)).all()


def test_axes_of_one_value_and_lists_are_kept() -> None:
    space = make_space(make_list("stop_atr", 2), make_list("atr_bars", 14, 28, is_int=True))
    values = AdaptiveSearch(space, "tpe", 0, ("maximize",)).ask(20)
    assert np.unique(values, axis=0).tolist() == [[2, 14], [2, 28]]


def test_a_narrow_space_is_still_searched() -> None:
    space = make_space(*SPACE.axes, relations=("take_profit_atr * 0.8 <= stop_atr <= take_profit_atr",))
    for sampler in ("tpe", "nsga2"):
        values, _ = run(space, sampler, 1, 3, 24)  # type: ignore[arg-type]
        assert space.find_allowed(values).all()


@pytest.mark.parametrize(
    ("space", "sampler", "directions", "message"),
    [
        (make_space(), "tpe", ("maximize",), "search space of momentum_sar is empty"),
        (MIXED, "tpe", ("maximize", "minimize"), "sampler tpe takes one objective, not 2: nsga2 takes several"),
        (MIXED, "nsga2", (), "sampler nsga2 takes one objective or more, not 0"),
    ],
)
def test_refusals(space: SearchSpace, sampler: Any, directions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveSearch(space, sampler, 0, directions)


def test_relations_that_exclude_everything_end_the_search() -> None:
    space = make_space(make_range("stop_atr", 1, 2), relations=("stop_atr > 4",))
    with pytest.raises(ValueError, match="excluded 1,000 candidates of nsga2 in a row: loosen them"):
        AdaptiveSearch(space, "nsga2", 0, ("maximize",)).ask(1)
