"""A sweep on real Ray Tune: the rows of one process, to the bit; what a failing chunk and a crowded directory say."""

import os
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray._private.state import actors

from market.catalog import MarketData
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE, Limits
from sweeps.chunks import SweepSpec, evaluate_chunk, find_failures, observe_market
from sweeps.tune import Progress, SweepResult, run_sweep
from tests.unit.sweeps.small_sweep import (
    COSTS,
    EQUITY_START_QUOTE,
    make_small_market,
    make_small_work,
    make_spec,
    spoil,
)

pytestmark = pytest.mark.ray


def sweep(
    spec: SweepSpec, market: MarketData, out_dir: Path, limits: Limits = LIMITS_DEFAULT
) -> tuple[SweepResult, list[Progress]]:
    seen: list[Progress] = []
    result = run_sweep(spec, market, limits, COSTS, EQUITY_START_QUOTE, out_dir, seen.append)
    return result, seen


@pytest.mark.usefixtures("ray_session")
def test_the_rows_are_those_of_one_process_to_the_bit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec, market = make_spec(chunk_configs=5, sharpe_min=1.0), make_small_market()
    result, seen = sweep(spec, market, tmp_path / "sweep")
    assert capfd.readouterr() == ("", "")  # data belong on stdout, progress to the caller

    expected = evaluate_chunk(make_small_work(spec, market), range(24))
    assert result.table.equals(expected)
    assert [path.name for path in sorted((tmp_path / "sweep" / "chunks").iterdir())] == [
        f"000000{chunk}.parquet" for chunk in range(5)
    ]
    assert pq.read_table(tmp_path / "sweep" / "chunks" / "0000004.parquet").equals(expected.slice(20))

    rows = expected.to_pandas()
    passing = rows[rows["is_passed"]]
    assert 0 < len(passing) < 24
    assert result.passed == len(passing)
    assert result.pass_rate_frac == len(passing) / 24
    failures = find_failures({name: rows[name].to_numpy() for name in rows}, spec.constraints)
    assert result.failures == {name: int(failed.sum()) for name, failed in failures.items()}
    assert result.best is not None
    assert result.best["config"] == passing["sharpe"].idxmax()

    assert [progress.configs_done for progress in seen] == sorted(progress.configs_done for progress in seen)
    assert (seen[0].configs_done, seen[-1].configs_done, seen[-1].passed) == (0, 24, len(passing))
    assert len(seen) == 1 + 5


@pytest.mark.usefixtures("ray_session")
def test_a_failing_chunk_ends_the_sweep_and_keeps_what_is_finished(tmp_path: Path) -> None:
    spec = make_spec({"size_frac": [0.0, 1.0], "trend_bars": [48]}, chunk_configs=1)
    with pytest.raises(ValueError, match=r"^chunk 1 \(.*\) failed: configuration 1 .*not finite") as error:
        sweep(spec, spoil(make_small_market()), tmp_path, LIMITS_NONE)
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "chunks").iterdir()] == ["0000000.parquet"]


@pytest.mark.usefixtures("ray_session")
def test_a_killed_worker_ends_the_sweep_in_one_line(tmp_path: Path) -> None:
    def kill_workers(progress: Progress) -> None:
        for actor in actors().values():
            if progress.configs_done and actor["State"] == "ALIVE":
                os.kill(actor["Pid"], signal.SIGKILL)

    spec = make_spec({"trend_bars": [48], "stop_atr": [2 + number / 100 for number in range(200)]}, chunk_configs=1)
    with pytest.raises(RuntimeError, match=r"^chunk \d+ \(configurations .*\) failed: .*died") as error:
        run_sweep(spec, make_small_market(), LIMITS_DEFAULT, COSTS, EQUITY_START_QUOTE, tmp_path, kill_workers)
    assert "\n" not in str(error.value)
    assert any((tmp_path / "chunks").glob("*.parquet"))


@pytest.mark.usefixtures("ray_session")
def test_nothing_passing_is_no_best_and_rows_of_another_sweep_are_kept(tmp_path: Path) -> None:
    spec, market = make_spec({"trend_bars": [48]}, sharpe_min=1e9), make_small_market()
    result, _ = sweep(spec, market, tmp_path)
    assert (result.configs, result.passed, result.best, result.failures["sharpe_min"]) == (1, 0, None, 1)
    with pytest.raises(ValueError, match="holds the rows of another sweep: choose another directory"):
        sweep(spec, market, tmp_path)


@pytest.mark.usefixtures("ray_session")
def test_market_and_features_are_read_in_place() -> None:
    work = make_small_work(make_spec(), make_small_market())
    features = observe_market(work.market, work.spec.space.get_params(0))
    for reference, get_array in ((ray.put(work), lambda got: got.market.bars), (ray.put(features), lambda got: got)):
        first, second = get_array(ray.get(reference)), get_array(ray.get(reference))
        assert np.shares_memory(first, second)
        assert not first.flags.writeable
