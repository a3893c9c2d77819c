"""`trireme sweep` on real Ray: what it prints and where, its exit codes, and what an interrupt leaves behind."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.processes import is_alive, list_descendants
from cluster.session import Session
from tests.unit.sweeps.small_sweep import read_files, run_in_process
from trireme import main
from trireme.settings import read_settings
from trireme.sweep import open_sweep

pytestmark = pytest.mark.ray

SPEC = """\
name: small
strategy: momentum_sar
data: {instruments: [BTC-PERP.BINANCE], generated: {seed: 3, bars: 6000}}
space:
  trend_bars: [48, 96]
  stop_atr: {from: 2.0, to: 5.0, points: 20}
  trend_atr_min: {from: 0.0, to: 2.0, points: 10}
constraints: {trades_min: 1, drawdown_frac_max: 0.9, sharpe_min: -9.0, win_rate_frac_min: 0.0}
walk_forward: {folds: 2, sharpe_min: -9.0, folds_positive_frac_min: 0.0}
significance: {bootstraps: 100, cscv_blocks: 6}
chunk_configs: 40
rounds:
  - {name: coarse, sampler: grid}
  - {name: refined, sampler: sobol, configs: 60}
"""
KEYS = {
    "configs", "passed", "pass_rate_frac", "rounds", "best", "pbo_frac", "deflated_sharpe_prob", "seconds",
    "configs_per_s", "out_dir",
}  # fmt: skip
PROGRESS = r"starting Ray|sweep: round \d of \d \(\w+\): .*, [\d,]+ of [\d,]+"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: object
    out: str
    told: list[str]  # lines of stderr that are not progress
    progress: list[str]


def sort_lines(err: str) -> tuple[list[str], list[str]]:
    """Return the lines of stderr: what is told, and progress."""
    lines = err.splitlines()
    assert "Traceback" not in err
    return (
        [line for line in lines if not re.fullmatch(PROGRESS, line)],
        [line for line in lines if re.fullmatch(PROGRESS, line)],
    )


@pytest.fixture
def trireme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], ray_session: Session
) -> Callable[..., Ended]:
    """Run the command line in an empty directory that holds `spec.yaml`, on the Ray session of this module."""

    @contextlib.contextmanager
    def start_nothing(*args: object, **options: object) -> Iterator[Session]:
        yield ray_session

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trireme.sweep.start_session", start_nothing)
    Path("spec.yaml").write_text(SPEC)

    def run(*words: object) -> Ended:
        monkeypatch.setattr("sys.argv", ["trireme", "sweep", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main.main()
        printed = capfd.readouterr()
        return Ended(stopped.value.code, printed.out, *sort_lines(printed.err))

    return run


def parse_one_object(out: str) -> dict[str, object]:
    """Return the one JSON object that stdout must be, on one line."""
    assert out.count("\n") == 1
    document = json.loads(out, parse_constant=pytest.fail)
    assert isinstance(document, dict)
    return document


def test_json_is_one_object_on_stdout_and_progress_is_on_stderr(trireme: Callable[..., Ended]) -> None:
    ended = trireme("--spec", "spec.yaml", "--out", "out", "--json")
    assert (ended.code, ended.told) == (0, [])
    assert len(ended.progress) >= 3
    document = parse_one_object(ended.out)
    assert set(document) >= KEYS
    assert (document["configs"], document["out_dir"]) == (460, str(Path("out").resolve()))
    rounds = document["rounds"]
    assert [(part["configs"], set(part) >= {"configs", "passed", "pass_rate_frac"}) for part in rounds] == [
        (400, True),
        (60, True),
    ]
    assert set(document["best"]) == {"params", "metrics", "metrics_out_of_sample", "is_passed"}
    assert document["seconds"] > 0.0
    assert document["configs_per_s"] > 0.0
    shown = trireme("show", "out", "--json")
    told_again = json.loads(shown.out)
    assert {key: told_again[key] for key in KEYS - {"seconds", "configs_per_s", "out_dir"}} == {
        key: document[key] for key in KEYS - {"seconds", "configs_per_s", "out_dir"}
    }

    # A finished sweep, resumed: nothing is evaluated, no byte changes, the same is told.
    before = read_files(Path("out"))
    again = trireme("--resume", "out", "--json")
    assert (again.code, again.told) == (0, [])
    repeated = parse_one_object(again.out)
    assert repeated["configs_per_s"] == 0.0
    for timed in ("seconds", "configs_per_s"):
        del document[timed], repeated[timed]
    assert repeated == document
    after = read_files(Path("out"))
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name] and not name.startswith("ledger/")] == []
    text = trireme("--resume", "out")
    assert (text.code, text.told) == (0, [])
    assert "Verdict" in text.out
    assert f"report: {Path('out').resolve()}/report.html" in text.out


def test_constraints_that_nobody_meets_are_told_and_everything_is_kept(trireme: Callable[..., Ended]) -> None:
    Path("spec.yaml").write_text(SPEC.replace("sharpe_min: -9.0, win", "sharpe_min: 90.0, win"))
    ended = trireme("--spec", "spec.yaml", "--out", "out", "--json")
    assert ended.code == main.EXIT_PARTLY
    (line,) = ended.told
    assert line.startswith("no configuration meets every constraint: 60 of 60 in the last round fail sharpe_min;")
    document = parse_one_object(ended.out)
    assert (document["passed"], document["pass_rate_frac"]) == (0, 0.0)
    assert Path("out/report.html").exists()
    refused = trireme("promote", "out", "--key", "keys/promotion.key")
    assert (refused.code, refused.out) == (main.EXIT_REFUSED, "")
    assert refused.told[0].startswith("refused: no configuration meets every constraint")
    assert not Path("keys").exists()


def test_relations_that_leave_nothing_of_a_large_space_are_told_by_the_sweep(trireme: Callable[..., Ended]) -> None:
    large = SPEC.replace("points: 20", "points: 500").replace("points: 10}", "points: 300}")
    Path("spec.yaml").write_text(large.replace("chunk_configs", "relations: [stop_atr > 6]\nchunk_configs"))
    ended = trireme("--spec", "spec.yaml", "--out", "out", "--json")
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.told
    assert re.match(r"error: relations of momentum_sar exclude all 300,000 combinations", line), line


@pytest.mark.parametrize("how", ["SIGTERM to the command", "Ctrl-C in a terminal"])
def test_an_interrupt_ends_in_order_and_a_resume_completes(
    how: str, tmp_path: Path, trireme: Callable[..., Ended]
) -> None:
    Path("spec.yaml").write_text(SPEC.replace("chunk_configs: 40", "chunk_configs: 16"))
    command = [Path(sys.executable).with_name("trireme"), "sweep", "--spec", "spec.yaml", "--out", "out", "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    chunks = Path("out/rounds/1-coarse/chunks")
    while process.poll() is None and len(list(chunks.glob("*.parquet"))) < 4:
        time.sleep(0.02)
    descendants = list_descendants(process.pid)
    if how == "SIGTERM to the command":
        os.kill(process.pid, signal.SIGTERM)
    else:
        os.killpg(process.pid, signal.SIGINT)  # a terminal signals Ray's processes, too
    out, err = process.communicate(timeout=60)
    told, _ = sort_lines(err)
    assert (process.returncode, out) == (main.EXIT_PARTLY, "")
    directory = Path("out").resolve()
    assert told == [f"interrupted: finished chunks are kept; go on with `trireme sweep --resume {directory}`"]
    assert descendants
    assert not [one for one in descendants if is_alive(one)]
    assert 4 <= len(list(chunks.glob("*.parquet"))) < 25

    resumed = trireme("--resume", "out", "--json")
    assert (resumed.code, resumed.told) == (0, [])
    assert parse_one_object(resumed.out)["configs"] == 460
    case, _ = open_sweep(read_settings(None), Path("spec.yaml"), None, Path("alone"), None)
    run_in_process(case, Path("alone"))
    whole, alone = read_files(Path("out")), read_files(Path("alone"))
    assert [name for name in alone if whole[name] != alone[name]] == []


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_a_damaged_chunk_is_named_and_without_it_a_resume_completes(suffix: str, trireme: Callable[..., Ended]) -> None:
    case, store = open_sweep(read_settings(None), Path("spec.yaml"), None, Path("out"), None)
    run_in_process(case, Path("out"), pieces_max=2)
    chunk = sorted(store.get_round(1, "coarse").chunks_dir.glob("*.parquet"))[0]
    damaged = chunk.with_suffix(suffix)
    damaged.write_bytes(damaged.read_bytes()[:150])
    ended = trireme("--resume", "out", "--json")
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.told
    assert line.startswith(f"error: {damaged} is damaged or gone (")
    assert line.endswith(f"remove {chunk}, and a resume evaluates this chunk anew")

    chunk.unlink()
    assert trireme("--resume", "out", "--json").code == 0
    case, _ = open_sweep(read_settings(None), Path("spec.yaml"), None, Path("alone"), None)
    run_in_process(case, Path("alone"))
    whole, alone = read_files(Path("out")), read_files(Path("alone"))
    assert [name for name in alone if whole[name] != alone[name]] == []
