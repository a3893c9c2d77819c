"""A chunk's rows are those of single replays; what passes; how a round is cut."""

import dataclasses
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.generator import generate_market
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE
from strategies.catalog import slow_key
from sweeps.chunks import (
    CHUNKS_MAX,
    check_windows,
    choose_chunk_configs,
    compute_shortfalls,
    evaluate_chunk,
    find_failures,
    make_work,
    observe_market,
)
from sweeps.folds import compute_returns, compute_sharpes, find_days
from sweeps.metrics import Metrics, compute_metrics
from sweeps.replay import replay
from sweeps.search.space import Axis
from sweeps.spec import Constraints, WalkForward
from tests.unit.sweeps.small_sweep import (
    COSTS,
    EQUITY_START_QUOTE,
    make_small_case,
    make_small_market,
    make_space,
    make_spec,
    spoil,
)

JUST_MET: dict[str, Any] = {
    "trades": 20,
    "drawdown_frac_max": 0.2,
    "sharpe": 1.5,
    "win_rate_frac": 0.3,
    "walk_forward_sharpe": 0.75,
    "walk_forward_positive_frac": 0.5,
}
VALUES = np.array([[trend, stop, atr] for trend in (48, 96) for stop in (2, 3, 4) for atr in (0.0, 0.5, 1.0, 1.5)])


def evaluate(case: Any, rows: Any = slice(None), **options: Any) -> tuple[pa.Table, Any]:
    configs = np.arange(len(VALUES))[rows]
    return evaluate_chunk(case.work, case.spec.space, configs, VALUES[rows], **options)


def test_rows_are_those_of_the_replay_to_the_bit() -> None:
    case = make_small_case()
    table, returns_frac = evaluate(case)
    assert table["config"].to_pylist() == list(range(24))
    for index in (0, 7, 23):
        params = case.spec.space.make_params(VALUES[index])
        row = table.slice(index, 1).to_pylist()[0]
        result, _ = replay(case.work.market, params, LIMITS_DEFAULT, COSTS, EQUITY_START_QUOTE)
        metrics = compute_metrics(result)
        assert metrics.trades > 0
        assert tuple(row[name] for name in Metrics._fields) == tuple(metrics)
        assert tuple(row[name] for name in params._fields) == tuple(params)
        daily = compute_returns(result.equity_quote[95::96], EQUITY_START_QUOTE)
        assert np.array_equal(returns_frac[index, : len(daily)], daily.astype(np.float32))
        for number, fold in enumerate(case.work.folds):
            train = daily[find_days(case.work.market, fold.train)]
            assert row[f"train_sharpe_{number}"] == compute_sharpes(train)


def test_a_walk_forward_is_a_fresh_account_on_each_test() -> None:
    case = make_small_case()
    row = evaluate(case)[0].slice(7, 1).to_pylist()[0]
    params = case.spec.space.make_params(VALUES[7])
    features = observe_market(case.work.market, params)
    daily, gained = [], 0
    for fold in case.work.folds:
        bars = case.work.market.bars[:, fold.test.start : fold.test.stop]
        market = dataclasses.replace(case.work.market, bars=bars)
        from sweeps.replay import MetricsReplay

        alone = MetricsReplay(market, LIMITS_DEFAULT, COSTS, EQUITY_START_QUOTE)
        gained += alone.run(params, features[:, fold.test.start : fold.test.stop]).return_frac > 0
        daily.append(compute_returns(alone.equity_daily_quote, EQUITY_START_QUOTE))
    assert row["walk_forward_sharpe"] == compute_sharpes(np.concatenate(daily))
    assert row["walk_forward_positive_frac"] == gained / 2


def test_only_what_meets_the_other_constraints_is_walked_forward() -> None:
    table, _ = evaluate(make_small_case(make_spec(constraints=Constraints(1, 0.9, 0.5, 0.0))))
    sharpe, walked = table["sharpe"].to_numpy(), table["walk_forward_sharpe"].to_numpy()
    assert 0 < np.count_nonzero(sharpe >= 0.5) < 24
    assert np.array_equal(np.isfinite(walked), sharpe >= 0.5)


def test_chunks_of_any_size_and_shared_features_give_the_same_rows() -> None:
    case = make_small_case()
    whole, returns_frac = evaluate(case)
    shared = {
        slow_key(params): observe_market(case.work.market, params)
        for params in map(case.spec.space.make_params, VALUES)
    }
    assert len(shared) == 2
    for size in (1, 5, 24):
        parts = [
            evaluate(case, slice(start, start + size), get_features=lambda params: shared[slow_key(params)])
            for start in range(0, 24, size)
        ]
        assert pa.concat_tables([table for table, _ in parts]).equals(whole)
        assert np.array_equal(np.concatenate([returns for _, returns in parts]), returns_frac)


def test_no_configuration_is_an_empty_table_of_the_same_columns() -> None:
    case = make_small_case()
    empty, returns_frac = evaluate(case, slice(0))
    assert (empty.num_rows, len(returns_frac)) == (0, 0)
    assert empty.schema == evaluate(case, slice(1))[0].schema


@pytest.mark.parametrize(
    ("columns", "failed"),
    [
        ({}, []),
        ({"trades": 19}, ["trades_min"]),
        ({"drawdown_frac_max": 0.2000001}, ["drawdown_frac_max"]),
        ({"sharpe": 1.4999}, ["sharpe_min"]),
        ({"win_rate_frac": 0.2999}, ["win_rate_frac_min"]),
        ({"trades": 0, "sharpe": 0.0, "walk_forward_sharpe": math.nan}, ["trades_min", "sharpe_min"]),
        ({"sharpe": math.nan}, ["sharpe_min"]),
        ({"drawdown_frac_max": math.nan}, ["drawdown_frac_max"]),
        ({"walk_forward_sharpe": 0.7}, ["walk_forward"]),
        ({"walk_forward_sharpe": math.nan}, ["walk_forward"]),
        ({"walk_forward_positive_frac": 0.25}, ["walk_forward"]),
    ],
)
def test_every_constraint_counts_and_what_is_not_a_number_fails(columns: dict[str, float], failed: list[str]) -> None:
    arrays = {name: np.array([value]) for name, value in (JUST_MET | columns).items()}
    failures = find_failures(arrays, Constraints(), WalkForward())
    assert [name for name, rows in failures.items() if rows[0]] == failed
    assert (compute_shortfalls(arrays, Constraints())[0] > 0.0) == bool(set(failed) - {"walk_forward"})


def test_without_folds_there_is_no_walk_forward_to_fail() -> None:
    arrays = {name: np.array([value]) for name, value in (JUST_MET | {"walk_forward_sharpe": math.nan}).items()}
    assert "walk_forward" not in find_failures(arrays, Constraints(), WalkForward(folds=0))


def test_several_instruments_share_one_account() -> None:
    market = generate_market(3, ["BTC-PERP.BINANCE", "ETH-PERP.BINANCE"], 3_000)
    case = make_small_case(make_spec(walk_forward=WalkForward(folds=0)), market)
    row = evaluate(case, slice(5, 6))[0].to_pylist()[0]
    result, _ = replay(case.work.market, case.spec.space.make_params(VALUES[5]), LIMITS_DEFAULT, COSTS, 10_000.0)
    assert {trade["slot"] for trade in result.trades} == {0, 1}
    assert row["equity_last_quote"] == compute_metrics(result).equity_last_quote


def test_bad_input_is_named() -> None:
    case = make_small_case()
    long = make_space(
        Axis("trend_bars", True, True, values=(48.0, 9_000.0)), Axis("stop_atr", False, True, low=2.0, high=3.0)
    )
    with pytest.raises(ValueError, match=r"trend_bars 9000, atr_bars 56 needs 9,000 bars, the sample has 4,800 of 15m"):
        check_windows(long, case.work.market)
    with pytest.raises(ValueError, match="equity_start_quote is nan"):
        make_work(make_small_market(), (), LIMITS_DEFAULT, COSTS, math.nan, Constraints(), WalkForward())
    spoiled = make_small_case(market=spoil(make_small_market()), limits=LIMITS_NONE)
    with pytest.raises(ValueError, match=r"^configuration 3 \(MomentumSarParams.*: equity is not finite from bar"):
        evaluate(spoiled, slice(3, 4))


@given(st.integers(1, 10**7), st.floats(1e-5, 10.0), st.integers(1, 64))
def test_chunks_keep_every_worker_busy_and_tune_small(configs: int, seconds: float, workers: int) -> None:
    chunk_configs = choose_chunk_configs(configs, seconds, workers)
    chunks = math.ceil(configs / chunk_configs)
    assert 1 <= chunk_configs <= configs
    assert chunks <= CHUNKS_MAX
    if chunk_configs > 1 and chunks < CHUNKS_MAX // 2:
        assert chunks >= min(configs, 2 * workers)
