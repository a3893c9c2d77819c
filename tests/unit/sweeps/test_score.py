"""The score: bounded, monotone in what it rewards, zero where anything it needs is missing."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweeps.score
from sweeps.metrics import METRICS_DTYPE
from sweeps.score import SCORE_TERMS, compute_score
from sweeps.spec import Constraints

GOOD: dict[str, float] = {
    "trades": 60,
    "win_rate_frac": 0.4,
    "sharpe": 1.6,
    "return_frac": 0.3,
    "drawdown_frac_max": 0.15,
    "profit_factor": 1.4,
    "fees_quote": 20_000.0,
    "funding_quote": -100.0,
    "equity_last_quote": 130_000.0,
}
READ = [key for key in GOOD if key not in ("win_rate_frac", "funding_quote")]


def score(constraints: Constraints | None = None, **changes: float) -> float:
    columns = {key: np.array([value], np.float64) for key, value in (GOOD | changes).items()}
    return float(compute_score(columns, constraints or Constraints())[0])


def gain(pnl_quote: float) -> dict[str, float]:
    return {"return_frac": pnl_quote / 100_000.0, "equity_last_quote": 100_000.0 + pnl_quote}


metrics_of_any_run = st.fixed_dictionaries(
    {
        "trades": st.integers(0, 100_000),
        "win_rate_frac": st.floats(0.0, 1.0),
        "sharpe": st.floats(),
        "return_frac": st.floats(),
        "drawdown_frac_max": st.floats(0.0, 5.0) | st.just(math.nan),
        "profit_factor": st.floats(),
        "fees_quote": st.floats(),
        "funding_quote": st.floats(),
        "equity_last_quote": st.floats(),
    }
)


@given(st.lists(metrics_of_any_run, max_size=20))
def test_any_run_has_a_score_from_0_to_1_and_its_neighbours_do_not_change_it(runs: list[dict[str, Any]]) -> None:
    table = np.zeros(len(runs), METRICS_DTYPE)
    for row, run in enumerate(runs):
        table[row] = tuple(run[name] for name in METRICS_DTYPE.names or ())
    scores = compute_score(table, Constraints())
    assert scores.shape == (len(runs),)
    assert ((scores >= 0.0) & (scores <= 1.0)).all()
    assert [score(**run) for run in runs] == scores.tolist()


@given(st.floats(-10.0, 10.0), st.floats(-10.0, 10.0))
def test_a_greater_sharpe_never_scores_less(a: float, b: float) -> None:
    assert score(sharpe=min(a, b)) <= score(sharpe=max(a, b)) + 1e-12


@given(st.floats(0.0, 2.0), st.floats(0.0, 2.0))
def test_a_deeper_drawdown_never_scores_more(a: float, b: float) -> None:
    assert score(drawdown_frac_max=max(a, b)) <= score(drawdown_frac_max=min(a, b)) + 1e-12


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_trades_never_score_less(a: int, b: int) -> None:
    assert score(trades=min(a, b)) <= score(trades=max(a, b)) + 1e-12


@given(st.floats(0.0, 20.0), st.floats(0.0, 20.0))
def test_a_greater_profit_factor_never_scores_less(a: float, b: float) -> None:
    assert score(profit_factor=min(a, b)) <= score(profit_factor=max(a, b)) + 1e-12


@given(st.floats(-200_000.0, 1e6), st.floats(-200_000.0, 1e6))
def test_more_profit_on_the_same_fees_never_scores_less(a: float, b: float) -> None:
    assert score(**gain(min(a, b))) <= score(**gain(max(a, b))) + 1e-9


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_greater_fees_never_score_more(a: float, b: float) -> None:
    assert score(fees_quote=max(a, b)) <= score(fees_quote=min(a, b)) + 1e-12


@pytest.mark.parametrize("key", READ)
def test_a_nan_scores_nothing_but_where_nothing_was_lost(key: str) -> None:
    if key == "profit_factor":
        assert score(profit_factor=math.nan) == score(profit_factor=2.0) == score(profit_factor=math.inf)
    else:
        assert score(**{key: math.nan}) == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"trades": 0},
        {"trades": 0, "profit_factor": math.nan, "fees_quote": 0.0, **gain(0.0), "sharpe": 0.0},  # stood aside
        {"sharpe": 0.0},
        {"sharpe": -2.0},
        {"drawdown_frac_max": 0.4},  # twice the limit
        {"drawdown_frac_max": 1.0},
        {"profit_factor": 1.0},
        gain(-10.0),
        gain(-100_000.0),  # nothing left
        gain(-150_000.0),  # more than everything lost
        {**gain(0.0), "fees_quote": 0.0},
    ],
)
def test_one_term_of_zero_makes_the_whole_zero(changes: dict[str, float]) -> None:
    assert score() > 0.0
    assert score(**changes) == 0.0


def test_the_score_is_full_where_every_term_is() -> None:
    full = {"trades": 200, "sharpe": 3.0, "drawdown_frac_max": 0.0, "profit_factor": 2.0, **gain(20_000.0)}
    assert score(**full) == 1.0
    assert score(**full | {"sharpe": 30.0, "trades": 9_000, "profit_factor": 99.0}) == 1.0


def test_each_term_is_worth_what_its_weight_says() -> None:
    full = {"trades": 200, "sharpe": 3.0, "drawdown_frac_max": 0.0, "profit_factor": 2.0, **gain(20_000.0)}
    assert score(**full | {"sharpe": 1.5}) == pytest.approx(0.5 ** (3 / 8))
    assert score(**full | {"drawdown_frac_max": 0.2}) == pytest.approx(0.5 ** (2 / 8))
    assert score(**full | {"trades": 50}) == pytest.approx(0.5 ** (1 / 8))
    assert score(**full | {"profit_factor": 1.5}) == pytest.approx(0.5 ** (1 / 8))
    assert score(**full | {"fees_quote": 40_000.0}) == pytest.approx(0.5 ** (1 / 8))


def test_rebates_count_like_fees_because_they_can_be_taken_away() -> None:
    assert score(fees_quote=-60_000.0) == score(fees_quote=60_000.0) < score(fees_quote=0.0)


def test_the_constraints_scale_drawdown_and_evidence() -> None:
    assert score(Constraints(drawdown_frac_max=0.1)) < score() < score(Constraints(drawdown_frac_max=0.4))
    assert score(Constraints(trades_min=50)) < score() < score(Constraints(trades_min=0))
    # A limit above one half: ruin is still the end.
    assert score(Constraints(drawdown_frac_max=0.9), drawdown_frac_max=1.0) == 0.0
    with pytest.raises(ValueError, match=r"drawdown_frac_max is 0\.0, must be > 0"):
        score(Constraints(drawdown_frac_max=0.0))


def test_the_table_in_the_docstring_is_that_of_the_terms() -> None:
    for term in SCORE_TERMS:
        row = f"| {term.label} | {term.weight:g} | {term.zero} | {term.full} | {term.reason} |"
        assert row in (sweeps.score.__doc__ or "")
    assert (sweeps.score.__doc__ or "").count("\n| ") == len(SCORE_TERMS) + 1  # and the head
