"""A chunk's rows are those of single replays; what passes; how a sweep is cut."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.limits import LIMITS_DEFAULT, LIMITS_NONE
from strategies.catalog import slow_key
from sweeps.chunks import (
    CHUNK_CONFIGS_MAX,
    Constraints,
    choose_chunk_configs,
    evaluate_chunk,
    find_failures,
    list_chunks,
    make_work,
    observe_market,
)
from sweeps.metrics import METRICS_DTYPE, Metrics, compute_metrics
from sweeps.replay import replay
from tests.unit.sweeps.small_sweep import (
    COSTS,
    EQUITY_START_QUOTE,
    make_small_market,
    make_small_work,
    make_spec,
    spoil,
)

JUST_MET = {"trades": 20, "drawdown_frac_max": 0.2, "sharpe": 1.5, "win_rate_frac": 0.3}


def test_rows_are_those_of_the_replay_to_the_bit() -> None:
    market = make_small_market()
    work = make_small_work(make_spec(), market)
    table = evaluate_chunk(work, range(24))
    assert table["config"].to_pylist() == list(range(24))
    for index in (0, 7, 23):
        params = work.spec.space.get_params(index)
        row = table.slice(index, 1).to_pylist()[0]
        result, _ = replay(market, params, LIMITS_DEFAULT, COSTS, EQUITY_START_QUOTE)
        metrics = compute_metrics(result)
        assert metrics.trades > 0
        assert tuple(row[name] for name in Metrics._fields) == tuple(metrics)
        assert tuple(row[name] for name in params._fields) == tuple(params)


def test_chunks_of_any_size_and_shared_features_give_the_same_rows() -> None:
    work = make_small_work(make_spec(), make_small_market())
    whole = evaluate_chunk(work, range(24))
    shared = {slow_key(params): observe_market(work.market, params) for params in work.spec.space.list_slow()}
    assert len(shared) == 2
    for chunk_configs in (1, 5, 24):
        parts = [
            evaluate_chunk(work, chunk, lambda params: shared[slow_key(params)])
            for chunk in reversed(list_chunks(24, chunk_configs))
        ]
        assert pa.concat_tables(reversed(parts)).equals(whole)


def test_a_row_passes_when_it_meets_every_constraint() -> None:
    lenient = make_spec(trades_min=1, drawdown_frac_max=0.06, sharpe_min=0.0, win_rate_frac_min=0.30)
    table = evaluate_chunk(make_small_work(lenient, make_small_market()), range(24)).to_pandas()
    is_met = (table["drawdown_frac_max"] <= 0.06) & (table["sharpe"] >= 0.0) & (table["win_rate_frac"] >= 0.30)
    assert table["is_passed"].tolist() == (is_met & (table["trades"] >= 1)).tolist()
    assert 0 < table["is_passed"].sum() < 24


@pytest.mark.parametrize(
    ("metrics", "failed"),
    [
        ({}, []),
        ({"trades": 19}, ["trades_min"]),
        ({"drawdown_frac_max": 0.2000001}, ["drawdown_frac_max"]),
        ({"sharpe": 1.4999}, ["sharpe_min"]),
        ({"win_rate_frac": 0.2999}, ["win_rate_frac_min"]),
        ({"sharpe": math.nan}, ["sharpe_min"]),
        ({"drawdown_frac_max": math.nan, "trades": 0}, ["trades_min", "drawdown_frac_max"]),
    ],
)
def test_limits_of_the_constraints(metrics: dict[str, float], failed: list[str]) -> None:
    rows = np.zeros(1, METRICS_DTYPE)
    for name, value in (JUST_MET | metrics).items():
        rows[name] = value
    failures = find_failures(rows, Constraints())
    assert [name for name, is_failed in failures.items() if is_failed[0]] == failed


def test_a_configuration_that_cannot_be_measured_is_named() -> None:
    spec = make_spec({"size_frac": [0.0, 1.0], "trend_bars": [48]})
    work = make_small_work(spec, spoil(make_small_market()), LIMITS_NONE)
    assert evaluate_chunk(work, range(1))["trades"].to_pylist() == [0]
    with pytest.raises(ValueError, match=r"configuration 1 \(.*size_frac=1.0\)\): equity is not finite"):
        evaluate_chunk(work, range(2))


def test_work_that_cannot_be_done_is_refused() -> None:
    market = make_small_market(200)
    with pytest.raises(ValueError, match=r"momentum_sar with .*trend_bars 300.* needs .* the period has 200 of 15m"):
        make_small_work(make_spec({"trend_bars": [24, 300]}), market)
    with pytest.raises(ValueError, match="chunk_configs is -1"):
        make_small_work(make_spec({"trend_bars": [24]}, chunk_configs=-1), market)
    for equity in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="equity_start_quote is"):
            make_work(make_spec({"trend_bars": [24]}), market, LIMITS_DEFAULT, COSTS, equity)


def test_work_does_not_let_its_bars_be_written() -> None:
    market = make_small_market(200)
    bars = make_small_work(make_spec({"trend_bars": [24]}), market).market.bars
    with pytest.raises(ValueError, match="read-only"):
        bars["close_px"] = 1.0
    market.bars["close_px"] = 1.0  # its owner still may


@given(st.integers(1, 100_000), st.floats(1e-6, 10.0), st.integers(1, 64))
def test_chunks_cover_a_sweep_once(configs: int, seconds_per_config: float, workers: int) -> None:
    chunk_configs = choose_chunk_configs(configs, seconds_per_config, workers)
    assert 1 <= chunk_configs <= CHUNK_CONFIGS_MAX
    assert chunk_configs == 1 or (chunk_configs - 1) * seconds_per_config < 0.5
    chunks = list_chunks(configs, chunk_configs)
    assert [chunk.start for chunk in chunks] == [0, *(chunk.stop for chunk in chunks[:-1])]
    assert chunks[-1].stop == configs
    assert {len(chunk) for chunk in chunks[:-1]} <= {chunk_configs}
