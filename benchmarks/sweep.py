"""A sweep of 20,736 configurations over a year of 15-minute bars (35,040) through Ray Tune, Ray already up.

Ours: `momentum_sar` with every risk rule, stops, fees, slippage, funding, all metrics, daily returns and scores, rows
written to Parquet, walk-forward where the other constraints are met; with one worker and with two. Beside it in the
same run: the same configurations one after another in this process (what Tune and Ray add is the difference), and
vectorbt on a sample of them, scaled up: given ready-made signals, no stops, no risk rules, five metrics.

Memory is what processes own privately (without the shared object store), the most seen at any time; a grid of 20,736
and one of 1,000,000 (`--million`, over 2,000 bars) are measured each in a process of its own.

Run: python -m benchmarks.sweep [--catalog DIR --instrument ID] [--skip-peers] [--million]
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from market.kernel_cache import set_kernel_cache

set_kernel_cache()  # numba reads it when it is imported

from benchmarks.backtest_peers import CASH_QUOTE, COSTS, ROOT, compute_targets, read_market, run_peer  # noqa: E402
from cluster.processes import list_descendants  # noqa: E402
from cluster.session import start_local  # noqa: E402
from market.catalog import MarketData, make_market  # noqa: E402
from risk.limits import LIMITS_DEFAULT  # noqa: E402
from strategies.catalog import parse_params  # noqa: E402
from sweeps.case import Case, describe_identity, make_case  # noqa: E402
from sweeps.chunks import evaluate_chunk  # noqa: E402
from sweeps.rounds import Progress  # noqa: E402
from sweeps.search.candidates import make_candidates  # noqa: E402
from sweeps.search.space import Axis, SearchSpace  # noqa: E402
from sweeps.spec import DataSource, RoundSpec, SweepSpec, WalkForward  # noqa: E402
from sweeps.store import SweepStore  # noqa: E402
from sweeps.tune import run_rounds  # noqa: E402

SERIAL_CONFIGS = 2_048
PEER_CONFIGS = 48
SHORT_BARS = 2_000
SAMPLED_S = 0.1


def make_space(stops: int, take_profits: int) -> SearchSpace:
    """Return 3 x 4 x 3 slow combinations by 4 x 4 x `stops` x `take_profits` fast ones."""
    axes = (
        Axis("sar_step", False, True, values=(0.005, 0.01, 0.02)),
        Axis("trend_bars", True, True, values=(48.0, 96.0, 192.0, 384.0)),
        Axis("atr_bars", True, True, values=(28.0, 56.0, 112.0)),
        Axis("trend_atr_min", False, False, values=(0.0, 0.5, 1.0, 2.0)),
        Axis("entry_bars_max", True, False, values=(2.0, 8.0, 16.0, 48.0)),
        Axis("stop_atr", False, True, low=1.5, high=8.0, points=stops),
        Axis("take_profit_atr", False, False, low=0.0, high=12.0, points=take_profits),
    )
    return SearchSpace(parse_params("momentum_sar", {}), axes)


def make_benchmark_case(market: MarketData, space: SearchSpace, folds: int = 4) -> Case:
    """Return a sweep of one grid round without a holdout: every bar counts."""
    spec = SweepSpec(
        space,
        DataSource(market.instrument_ids),
        (RoundSpec("grid"),),
        holdout_frac=0.0,
        walk_forward=WalkForward(folds=folds),
    )
    return make_case(spec, market, LIMITS_DEFAULT, COSTS, CASH_QUOTE)


@dataclasses.dataclass
class Watched:
    """The most private memory seen, of the driver and of the largest worker [MB]."""

    driver_mb: float = 0.0
    worker_mb: float = 0.0


@contextmanager
def watch_memory() -> Iterator[Watched]:
    """Sample the private memory of this process and its descendants until the end."""
    watched, is_over = Watched(), threading.Event()

    def sample() -> None:
        import os

        while not is_over.wait(SAMPLED_S):
            watched.driver_mb = max(watched.driver_mb, read_private_mb(os.getpid()))
            for process in list_descendants(os.getpid()):
                if "ChunkTrial" in read_command(process.pid) or "Inner" in read_command(process.pid):
                    watched.worker_mb = max(watched.worker_mb, read_private_mb(process.pid))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        is_over.set()
        thread.join()


def read_private_mb(pid: int) -> float:
    """Return what a process owns alone [MB]; 0.0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def read_command(pid: int) -> str:
    """Return a process's command line; "" once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def run_on_tune(case: Case, workers: int) -> tuple[float, float, Watched, int]:
    """Return (seconds, seconds until the first chunk, memory, configurations) with Ray already up."""
    seen: list[tuple[float, Progress]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        start_local(num_cpus=workers, object_store_mb=300),
        watch_memory() as watched,
    ):
        store = SweepStore(Path(folder) / "sweep")
        store.begin(describe_identity(case), "")
        started_s = time.perf_counter()
        (summary,) = run_rounds(
            case.spec, case.work, store, lambda progress: seen.append((time.perf_counter(), progress))
        )
        seconds = time.perf_counter() - started_s
    first_s = next(moment for moment, progress in seen if progress.configs_done) - started_s
    return seconds, first_s, watched, summary.configs


def time_serial(case: Case) -> float:
    """Return the seconds of one configuration, evaluated one after another in this process."""
    candidates = make_candidates(case.spec.space, "grid", 0, 0)
    middle = len(candidates) // 2
    configs, values = candidates.draw_allowed(middle, middle + SERIAL_CONFIGS)
    evaluate_chunk(case.work, case.spec.space, configs[:8], values[:8])
    started_s = time.perf_counter()
    evaluate_chunk(case.work, case.spec.space, configs, values)
    return (time.perf_counter() - started_s) / len(configs)


def time_vectorbt(case: Case) -> float | None:
    """Return the seconds of one configuration in vectorbt, given the wishes of a sample; None: not measured."""
    candidates = make_candidates(case.spec.space, "grid", 0, 0)
    numbers = np.linspace(0, len(candidates) - 1, PEER_CONFIGS).astype(int)
    market = case.work.market
    targets = np.stack(
        [compute_targets(market, case.spec.space.make_params(candidates.draw(n, n + 1)[0])) for n in numbers], axis=1
    )
    result = run_peer("vectorbt", "vectorbt_grid_peer", market, targets, repeats=3)
    return None if result is None else min(result["seconds"]) / PEER_CONFIGS


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalog", type=Path)
    parser.add_argument("--instrument", default="BTC-PERP.BINANCE")
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--million", action="store_true", help="also the memory of a grid of 1,000,000")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    market, source = read_market(arguments.catalog, arguments.instrument)
    if arguments.memory_of:
        print(json.dumps(measure_memory(market, arguments.memory_of)))
        return
    case = make_benchmark_case(market, make_space(6, 6))
    configs = len(make_candidates(case.spec.space, "grid", 0, 0))
    print(f"{configs:,} configurations x {market.bars.shape[1]:,} bars of {market.instrument_ids[0]}, {source}\n")
    serial_s = time_serial(case)
    print(f"{'one after another, no Ray':44}{serial_s * configs:8.1f} s (scaled){1 / serial_s:10,.0f} configurations/s")
    rates = []
    for workers in (1, 2):
        seconds, first_s, watched, _ = run_on_tune(case, workers)
        rates.append(configs / (seconds - first_s))
        overhead_ms = (seconds * workers / configs - serial_s) * 1e3
        rate = f"{seconds:8.1f} s{configs / seconds:19,.0f} configurations/s"
        print(f"{f'Ray Tune, {workers} worker(s)':44}{rate}; first chunk after {first_s:.1f} s")
        print(f"{'  added by Tune and Ray':44}{overhead_ms:8.3f} ms of a core per configuration, the start included")
        print(f"{'  private memory':44}driver {watched.driver_mb:.0f} MB, largest worker {watched.worker_mb:.0f} MB")
    print(f"{'scaling from 1 to 2 workers, once started':44}{rates[1] / rates[0]:8.2f} x")
    if not arguments.skip_peers and (peer_s := time_vectorbt(case)) is not None:
        print(
            f"{f'vectorbt, {PEER_CONFIGS} of them, scaled':44}{peer_s * configs:8.1f} s         {1 / peer_s:10,.0f} "
            f"configurations/s on one core: {peer_s / serial_s:,.0f} x ours"
        )
    if arguments.million:
        print_memory(arguments)


def measure_memory(market: MarketData, configs: int) -> dict[str, float]:
    """Return the most private memory of a sweep of about so many configurations over few bars."""
    short = make_market(market.instruments, market.bars[:, -SHORT_BARS:], market.interval_ns)
    side = round((configs / 576) ** 0.5)
    seconds, _, watched, found = run_on_tune(make_benchmark_case(short, make_space(side, side), folds=0), 2)
    return {"configs": found, "seconds": seconds} | dataclasses.asdict(watched)


def print_memory(arguments: argparse.Namespace) -> None:
    """Measure a small and a large grid, each in a fresh process."""
    print()
    for configs in (20_736, 1_000_000):
        command = [sys.executable, "-m", "benchmarks.sweep", "--memory-of", str(configs)]
        if arguments.catalog:
            command += ["--catalog", str(arguments.catalog), "--instrument", arguments.instrument]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=1200)
        result = json.loads(done.stdout.strip().splitlines()[-1])
        print(
            f"memory of {result['configs']:,} configurations x {SHORT_BARS:,} bars ({result['seconds']:.0f} s): "
            f"driver {result['driver_mb']:.0f} MB, largest worker {result['worker_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
