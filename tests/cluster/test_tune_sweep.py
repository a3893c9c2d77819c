"""A sweep on real Ray Tune: the bytes of one process, whatever is killed on the way; what failures say."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray._private.state import actors

from cluster.processes import list_descendants
from cluster.session import Session
from risk.limits import LIMITS_NONE
from sweeps.case import Case, describe_identity
from sweeps.chunks import observe_market
from sweeps.conclusion import conclude
from sweeps.rounds import Progress
from sweeps.search.space import Axis
from sweeps.spec import RoundSpec
from sweeps.store import SweepStore
from sweeps.summary_file import write_summary
from sweeps.tune import run_rounds
from tests.unit.sweeps.small_sweep import (
    make_small_case,
    make_small_market,
    make_space,
    make_spec,
    read_files,
    run_in_process,
    spoil,
)

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

ADAPTIVE = make_spec(
    space=make_space(
        Axis("trend_bars", True, True, values=(48.0, 96.0)),
        Axis("stop_atr", False, True, low=2.0, high=4.0),
        Axis("trend_atr_min", False, False, low=0.0, high=1.5),
    ),
    rounds=(RoundSpec("pareto", "nsga2", configs=400, objectives=("sharpe", "drawdown_frac_max")),),
)


def sweep(case: Case, directory: Path) -> list[Progress]:
    store, seen = SweepStore(directory), []
    if directory.exists():
        store.resume(describe_identity(case))
    else:
        store.begin(describe_identity(case), "spec: of a test\n")
    summary, _ = conclude(case, store, run_rounds(case.spec, case.work, store, seen.append))
    write_summary(directory, summary)
    return seen


@pytest.mark.parametrize("spec", [make_spec(chunk_configs=5), ADAPTIVE], ids=["grid", "nsga2"])
def test_the_bytes_are_those_of_one_process(spec, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    case = make_small_case(spec)
    seen = sweep(case, tmp_path / "tune")
    assert capfd.readouterr() == ("", "")  # data belong on stdout, progress to the caller
    run_in_process(case, tmp_path / "alone")
    assert read_files(tmp_path / "tune") == read_files(tmp_path / "alone")

    for number, part in enumerate(spec.rounds, 1):
        of_round = [progress for progress in seen if progress.round_number == number]
        done = [progress.configs_done for progress in of_round]
        assert (of_round[0].round_name, done[0], done[-1]) == (part.name, 0, of_round[-1].configs)
        assert done == sorted(done)


def test_killed_workers_cost_their_chunk_only(tmp_path: Path) -> None:
    space = make_space(Axis("stop_atr", False, True, low=2.0, high=4.0, points=200))
    case = make_small_case(make_spec(space=space, rounds=(RoundSpec("only"),), chunk_configs=4))
    store, killed = SweepStore(tmp_path / "sweep"), []
    store.begin(describe_identity(case), "")

    def kill_a_worker(progress: Progress) -> None:
        if progress.configs_done >= 20 and not killed:
            trials = [actor for actor in actors().values() if actor["ActorClassName"] != "Clerk"]
            killed.extend(actor["Pid"] for actor in trials if actor["State"] == "ALIVE")
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    (summary,) = run_rounds(case.spec, case.work, store, kill_a_worker)
    assert killed
    assert summary.configs == 200


def test_a_failing_chunk_ends_the_sweep_and_keeps_what_is_finished(tmp_path: Path) -> None:
    space = make_space(Axis("size_frac", False, False, values=(0.0, 1.0)))
    case = make_small_case(
        make_spec(space=space, rounds=(RoundSpec("only"),), chunk_configs=1), spoil(make_small_market()), LIMITS_NONE
    )
    with pytest.raises(ValueError, match=r"^round 1, chunk 1 failed: configuration 1 .*not finite") as error:
        sweep(case, tmp_path / "sweep")
    assert "\n" not in str(error.value)
    chunks = tmp_path / "sweep" / "rounds" / "1-only" / "chunks"
    assert [path.name for path in chunks.glob("*.parquet")] == ["0000000.parquet"]


def test_a_full_disk_is_told_and_mended_by_a_resume(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(full)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        space = make_space(Axis("stop_atr", False, True, low=2.0, high=4.0, points=300))
        case = make_small_case(make_spec(space=space, rounds=(RoundSpec("only"),), chunk_configs=20))
        with pytest.raises(OSError, match="No space left on device"):
            sweep(case, full / "sweep")
        finished = list((full / "sweep" / "rounds" / "1-only" / "chunks").glob("*.parquet"))
        assert finished
        subprocess.run(["mount", "-o", "remount,size=30m", str(full)], check=True)
        seen = sweep(case, full / "sweep")
        assert seen[0].configs_done == 20 * len(finished)
        run_in_process(case, tmp_path / "alone")
        assert read_files(full / "sweep") == read_files(tmp_path / "alone")
    finally:
        subprocess.run(["umount", "-l", str(full)], check=True)


def test_market_and_features_are_read_in_place() -> None:
    case = make_small_case()
    features = observe_market(case.work.market, case.spec.space.base)
    for reference, get_array in (
        (ray.put(case.work), lambda got: got.market.bars),
        (ray.put(features), lambda got: got),
    ):
        first, second = get_array(ray.get(reference)), get_array(ray.get(reference))
        assert np.shares_memory(first, second)
        assert not first.flags.writeable


SPEC = """
name: killed
strategy: momentum_sar
data: {instruments: [BTC-PERP.BINANCE], generated: {seed: 3, bars: 20000}}
space:
  trend_bars: [48, 96]
  stop_atr: {from: 2.0, to: 5.0, points: 30}
  trend_atr_min: {from: 0.0, to: 2.0, points: 20}
constraints: {trades_min: 1, drawdown_frac_max: 0.9, sharpe_min: -9.0, win_rate_frac_min: 0.0}
walk_forward: {folds: 2, sharpe_min: -9.0, folds_positive_frac_min: 0.0}
significance: {bootstraps: 100, cscv_blocks: 6}
chunk_configs: 12
rounds:
  - {name: coarse, sampler: grid}
  - {name: refined, sampler: sobol, configs: 200}
"""


def run_command(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [Path(sys.executable).with_name("trireme"), "sweep", *arguments, "--json"]
    return subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_kill_9_of_the_whole_command_and_resume_give_the_same_files(tmp_path: Path, ray_session: Session) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    whole = run_command(tmp_path, "--spec", "spec.yaml", "--out", "whole")
    out, err = whole.communicate(timeout=200)
    assert whole.returncode == 0, err
    document = json.loads(out)
    assert document["configs"] == 1400

    killed = run_command(tmp_path, "--spec", "spec.yaml", "--out", "killed")
    chunks = tmp_path / "killed" / "rounds" / "1-coarse" / "chunks"
    while killed.poll() is None and len(list(chunks.glob("*.parquet"))) < 15:
        time.sleep(0.05)
    descendants = list_descendants(killed.pid)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert 15 <= len(list(chunks.glob("*.parquet"))) < 100
    assert descendants

    resumed = run_command(tmp_path, "--resume", "killed")
    out, err = resumed.communicate(timeout=200)
    assert resumed.returncode == 0, err
    again = json.loads(out)
    for timed in ("seconds", "configs_per_s", "out_dir"):
        del again[timed], document[timed]
    assert again == document
    files = [
        {name: data for name, data in read_files(tmp_path / name_of).items() if not name.startswith("ledger/")}
        for name_of in ("whole", "killed")
    ]
    assert files[0].keys() == files[1].keys()
    assert [name for name in files[0] if files[0][name] != files[1][name]] == []
    assert pq.read_metadata(tmp_path / "killed" / "rounds" / "1-coarse" / "results.parquet").num_rows == 1200
