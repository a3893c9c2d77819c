"""`trireme sweep`: thousands of configurations on Ray Tune, round after round, with honest statistics."""

import dataclasses
import json
import time
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trireme.interrupts import interruptible
from trireme.paper import make_run_directory, start_session
from trireme.settings import Settings, read_settings
from trireme.sweep_job import submit_sweep
from trireme.sweep_promote import promote
from trireme.sweep_show import compare, describe, show
from trireme.sweep_view import OnProgress, show_progress

if TYPE_CHECKING:
    from sweeps.case import Case
    from sweeps.spec import Significance
    from sweeps.store import SweepStore
    from sweeps.summary import SweepSummary

REPORT_NAME = "report.html"


@dataclasses.dataclass(frozen=True, slots=True)
class SweepOutcome:
    """A finished sweep."""

    summary: "SweepSummary"
    directory: Path
    seconds: float
    configs_fresh: int  # evaluated by this process; the others were there before a resume
    significance: "Significance"

    @property
    def configs_per_s(self) -> float:
        """Configurations evaluated per second, everything from the first worker's start to the report counted."""
        return self.configs_fresh / self.seconds if self.seconds > 0.0 else 0.0


@click.group(invoke_without_command=True)
@click.option("--spec", "spec_path", type=click.Path(path_type=Path), help="What to try: see examples/README.md.")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with the unfinished sweep in this directory.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory of the sweep; default runs/sweep-NNNN.")
@click.option("--catalog", type=click.Path(path_type=Path), help="Directory of imported data, instead of the spec's.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; default ./trireme.yaml if there.")
@click.option("--address", help="Submit to the Ray cluster whose job server is there (host:8265), and follow.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@click.pass_context
def sweep(
    ctx: click.Context,
    spec_path: Path | None,
    resume: Path | None,
    out: Path | None,
    catalog: Path | None,
    config: Path | None,
    address: str | None,
    as_json: bool,
) -> int | None:
    """Try thousands of configurations of a strategy on the decision code that trades live.

    Rounds of Ray Tune trials narrow the space to the region that passes; the best is judged on bars that no round has
    seen, and by what so many trials find without any edge. Everything lands in one directory: results as Parquet,
    summary.json, report.html, ledger/. Killed half-way, --resume goes on and ends with the same bytes.

    With --address the sweep runs as a job of that cluster: specification and settings travel with it; --out, --resume
    and --catalog are absolute paths on its fast_compute node. Ctrl-C then stops following, not the sweep.

    Exit code 4 if the sweep was interrupted, or ended without a configuration that meets every constraint.
    """
    if ctx.invoked_subcommand is not None:
        return None
    from actors.journal import JournalError
    from sweeps.store import explain_write_error
    from trireme.main import EXIT_FAILED, EXIT_PARTLY

    if address is not None:
        return submit_sweep(address, spec_path, resume, out, catalog, config, as_json)
    settings = read_settings(config)
    case, store = open_sweep(settings, spec_path, resume, out, catalog)
    try:
        with interruptible():
            outcome = run_here(settings, case, store)
    except KeyboardInterrupt:
        return _stop("interrupted: finished chunks are kept", store, EXIT_PARTLY)
    except (OSError, JournalError) as error:
        return _stop(f"error: {explain_write_error(error, store.directory)}", store, EXIT_FAILED)
    except RuntimeError as error:
        return _stop(f"error: {error}; finished chunks are kept", store, EXIT_FAILED)
    if as_json:
        click.echo(json.dumps(describe_sweep(outcome), allow_nan=False))
    else:
        show_sweep(outcome)
    return _judge(outcome)


sweep.add_command(show)
sweep.add_command(compare)
sweep.add_command(promote)


def _stop(line: str, store: "SweepStore", code: int) -> int:
    click.echo(f"{line}; go on with `trireme sweep --resume {store.directory}`", err=True)
    return code


def _judge(outcome: SweepOutcome) -> int:
    from trireme.main import EXIT_PARTLY

    if outcome.summary.passed:
        return 0
    last = outcome.summary.rounds[-1]
    worst = max(last.failures, key=lambda name: last.failures[name])
    click.echo(
        f"no configuration meets every constraint: {last.failures[worst]:,} of {last.configs:,} in the last round fail "
        f"{worst}; nothing can be promoted, results and report are kept in {outcome.directory}",
        err=True,
    )
    return EXIT_PARTLY


def open_sweep(
    settings: Settings, spec_path: Path | None, resume: Path | None, out: Path | None, catalog: Path | None
) -> "tuple[Case, SweepStore]":
    """Return what to do and where. Raises ValueError for options, a specification or a directory that do not fit."""
    from sweeps.case import describe_identity, load_source, make_case
    from sweeps.spec_file import read_spec
    from sweeps.store import SweepStore

    if resume is not None and out is not None:
        raise ValueError("--resume and --out exclude each other: a resumed sweep goes on in its own directory")
    if out is not None and SweepStore(out).is_begun:
        raise ValueError(f"--out {out} holds a sweep: go on with --resume {out}, or choose another directory")
    if spec_path is None and resume is None:
        raise ValueError("--spec FILE says what to try, --resume DIR goes on with a sweep: give one")
    store = SweepStore(resume) if resume is not None else None
    if store is not None:
        catalog = catalog or store.read_catalog()
        spec_path = spec_path or store.spec_path
    assert spec_path is not None
    spec = read_spec(spec_path)
    if catalog is not None:
        spec = dataclasses.replace(spec, source=dataclasses.replace(spec.source, catalog=catalog))
    case = make_case(spec, load_source(spec.source), settings.limits, settings.costs, settings.equity_start_quote)
    if store is not None:
        store.resume(describe_identity(case))
    else:
        store = SweepStore(make_run_directory(out, "sweep"))
        store.begin(describe_identity(case), spec_path.read_text(encoding="utf-8"), spec.source.catalog)
    return case, store


def run_here(settings: Settings, case: "Case", store: "SweepStore") -> SweepOutcome:
    """Run what is left of a sweep on a Ray of our own, or inside a job on the cluster's, and draw the conclusion."""
    from cluster.session import is_inside_job, join

    if is_inside_job():
        namespace, worker_setup = settings.cluster.ray.namespace, "market.kernel_cache.set_kernel_cache"
        # Ray may remove a job's own directory, where what was uploaded lies, while the job runs.
        with chdir(store.directory), join(namespace, worker_setup=worker_setup):
            return _run_interruptible(case, store)
    click.echo("starting Ray", err=True)
    with start_session(settings, include_dashboard=False):
        return _run_interruptible(case, store)


def _run_interruptible(case: "Case", store: "SweepStore") -> SweepOutcome:
    # Ray, once connected, ends the process at a SIGTERM without a word.
    with interruptible(), show_progress() as on_progress:
        return run_sweep(case, store, on_progress)


def run_sweep(case: "Case", store: "SweepStore", on_progress: OnProgress) -> SweepOutcome:
    """Run what is left of a sweep on the Ray session that this process is connected to, and draw the conclusion.

    Raises as `sweeps.tune.run_rounds` does.
    """
    from actors.ledger.optimization import record_sweep
    from sweeps.conclusion import conclude
    from sweeps.statistics.overfitting import explain
    from sweeps.summary_file import write_summary
    from sweeps.sweep_report import write_sweep_report
    from sweeps.tune import run_rounds

    started_s = time.monotonic()
    fresh: dict[int, int] = {}

    def watch(progress: Any) -> None:
        fresh[progress.round_number] = progress.configs_fresh
        on_progress(progress)

    rounds = run_rounds(case.spec, case.work, store, watch)
    summary, curves = conclude(case, store, rounds)
    results = [store.get_round(number, part.name).results_path for number, part in enumerate(rounds, 1)]
    explained = explain(summary.overfitting, case.spec.significance)
    write_sweep_report(store.directory / REPORT_NAME, summary, results, curves, explained)
    identity = store.read_identity()
    record_sweep(store.directory, dataclasses.asdict(summary), identity["spec_sha256"], time.time_ns())
    write_summary(store.directory, summary)
    seconds = time.monotonic() - started_s
    return SweepOutcome(summary, store.directory, seconds, sum(fresh.values()), case.spec.significance)


def describe_sweep(outcome: SweepOutcome) -> dict[str, Any]:
    """Return the sweep as the object that `--json` prints."""
    timed = {"seconds": round(outcome.seconds, 3), "configs_per_s": round(outcome.configs_per_s, 1)}
    return describe(outcome.directory, outcome.summary) | timed


def show_sweep(outcome: SweepOutcome) -> None:
    """Print what a sweep came to."""
    from trireme.sweep_console import make_console, print_sweep, print_verdict

    console, directory = make_console(), outcome.directory
    print_sweep(console, outcome.summary, outcome.significance)
    print_verdict(console, directory, outcome.summary.faults)
    rate = f"{outcome.configs_per_s:,.0f} configurations/s"
    console.print(f"{outcome.configs_fresh:,} configurations evaluated in {outcome.seconds:.1f} s, {rate}")
    console.print(f"report: {directory / REPORT_NAME}", soft_wrap=True)
