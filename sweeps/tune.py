"""A sweep on Ray Tune: a trial is a chunk of configurations, evaluated where a node wears the role `fast_compute`.

The market and the features of each distinct `slow_key` lie in Ray's object store, once per node, and are read without a
copy. A trial's actor is reused for the next chunk. Every chunk writes its rows to `chunks/<number>.parquet`, beside and
then renamed, so a chunk is there whole or not at all; only counts travel back.

The one module outside `cluster/` that knows Ray. Kernels are imported inside functions: a worker finds out where they
are cached on disk before numba is imported.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from ray import tune
from ray.tune.experiment import Trial

from cluster.session import LABEL_WORN
from cluster.spawn import check_role
from market.kernel_cache import set_kernel_cache

if TYPE_CHECKING:
    from market.catalog import MarketData
    from market.fills import Costs
    from risk.limits import Limits
    from sweeps.chunks import SweepSpec, Work
    from sweeps.records import RecordArray

ROLE = "fast_compute"
FEATURES_SHARED_BYTES_MAX = 64_000_000  # of the object store; chunks observe the rest themselves
WARM_UP_BARS = 512
RAY_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no files per trial
    "TUNE_GLOBAL_CHECKPOINT_S": "120",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # an interrupt is the caller's
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is."""

    configs_done: int
    configs: int
    passed: int
    seconds: float

    @property
    def configs_per_s(self) -> float:
        """Configurations per second since the first chunk was given out."""
        return self.configs_done / self.seconds if self.seconds > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class SweepResult:
    """Every configuration tried, in order, and what became of the constraints."""

    table: pa.Table  # config, parameters, metrics, is_passed
    passed: int
    failures: dict[str, int]  # constraint -> configurations that fail it; one may fail several
    best: dict[str, Any] | None  # the row of greatest Sharpe that passes, the first of equals; None: nothing passes
    seconds: float
    out_dir: Path

    @property
    def configs(self) -> int:
        """Configurations tried."""
        return int(self.table.num_rows)

    @property
    def pass_rate_frac(self) -> float:
        """Share of the configurations that pass [0..1]."""
        return self.passed / self.configs


def run_sweep(
    spec: "SweepSpec",
    market: "MarketData",
    limits: "Limits",
    costs: "Costs",
    equity_start_quote: float,
    out_dir: Path,
    on_progress: Callable[[Progress], None],
) -> SweepResult:
    """Evaluate every configuration of the space on the Ray session that this process is connected to.

    out_dir: gets `chunks/` (the rows) and `tune/` (Ray Tune's own record); must hold no chunks yet.
    on_progress: called here, once before the first chunk and after each.

    Raises ValueError for bad input and where no node wears the role fast_compute; when a chunk fails, ValueError (its
    data are bad) or RuntimeError (its worker died) naming it: chunks finished by then stay on disk.
    """
    from sweeps.chunks import choose_chunk_configs, list_chunks, make_work

    work = make_work(spec, market, limits, costs, equity_start_quote)
    chunks_dir = _make_chunks_dir(out_dir)
    check_role(ROLE)
    seconds_per_config = _measure(work)
    configs, workers = len(spec.space), _count_workers()
    chunk_configs = spec.chunk_configs or choose_chunk_configs(configs, seconds_per_config, workers)
    chunks = list_chunks(configs, chunk_configs)
    shared = ray.put(_Shared(work, chunk_configs, str(chunks_dir), _share_features(work)))
    started_s = time.monotonic()
    watch = _Watch(on_progress, configs, started_s)
    on_progress(Progress(0, configs, 0, 0.0))
    with _environment(RAY_SETTINGS), _silenced("ray.tune"):
        tuner = tune.Tuner(
            tune.with_parameters(ChunkTrial, shared=[shared]),
            param_space={"chunk": tune.grid_search(list(range(len(chunks))))},
            tune_config=tune.TuneConfig(
                reuse_actors=True, trial_name_creator=_name_trial, trial_dirname_creator=_name_trial
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(out_dir.resolve()),
                verbose=0,
                callbacks=[watch],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(fail_fast=True),
            ),
        )
        tuner.fit()
    if watch.failed:
        _raise_failure(watch.failed[0], chunks)
    return _gather(spec, chunks_dir, chunks, time.monotonic() - started_s, out_dir)


@dataclass(frozen=True, slots=True)
class _Shared:
    # What every trial reads from the object store.
    work: "Work"
    chunk_configs: int
    chunks_dir: str
    features: dict[tuple[Any, ...], Any]  # slow_key -> reference


class ChunkTrial(tune.Trainable):  # type: ignore[misc]
    """One chunk after another: its number is all that a trial's configuration holds."""

    _chunk = -1

    def __repr__(self) -> str:
        return f"ChunkTrial(chunk {self._chunk})"

    def setup(self, config: dict[str, Any], shared: list[Any]) -> None:
        """Read what is shared, in place."""
        set_kernel_cache()  # before unpickling imports the first kernel
        self._shared: _Shared = ray.get(shared[0])
        self._chunk = int(config["chunk"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next chunk."""
        self._chunk = int(new_config["chunk"])
        return True

    def step(self) -> dict[str, Any]:
        """Evaluate the chunk, write its rows, return the counts."""
        from sweeps.chunks import evaluate_chunk, list_chunks

        shared = self._shared
        chunk = list_chunks(len(shared.work.spec.space), shared.chunk_configs)[self._chunk]
        table = evaluate_chunk(shared.work, chunk, self._get_features)
        write_chunk(get_chunk_path(Path(shared.chunks_dir), self._chunk), table)
        return {"done": True, "configs": len(chunk), "passed": pc.sum(table["is_passed"]).as_py()}

    def _get_features(self, params: Any) -> "RecordArray":
        from strategies.catalog import slow_key
        from sweeps.chunks import observe_market

        reference = self._shared.features.get(slow_key(params))
        if reference is None:
            return observe_market(self._shared.work.market, params)
        features: RecordArray = ray.get(reference)
        return features

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """One CPU of a node that wears the role: never one that only trades."""
        return tune.PlacementGroupFactory([{"CPU": 1}], bundle_label_selector=[{ROLE: LABEL_WORN}])


class _Watch(tune.Callback):  # type: ignore[misc]
    def __init__(self, on_progress: Callable[[Progress], None], configs: int, started_s: float) -> None:
        self._on_progress, self._configs, self._started_s = on_progress, configs, started_s
        self._done = self._passed = 0
        self.failed: list[Trial] = []

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._done += trial.last_result["configs"]
        self._passed += trial.last_result["passed"]
        seconds = time.monotonic() - self._started_s
        self._on_progress(Progress(self._done, self._configs, self._passed, seconds))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.failed.append(trial)


def get_chunk_path(chunks_dir: Path, chunk: int) -> Path:
    """Return where the rows of a chunk lie."""
    return chunks_dir / f"{chunk:07d}.parquet"


def write_chunk(path: Path, table: pa.Table) -> None:
    """Write the rows of a chunk beside `path`, flush, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _make_chunks_dir(out_dir: Path) -> Path:
    chunks_dir = out_dir.resolve() / "chunks"
    chunks_dir.mkdir(parents=True, exist_ok=True)
    if any(chunks_dir.iterdir()):
        raise ValueError(f"{chunks_dir} holds the rows of another sweep: choose another directory")
    return chunks_dir


def _name_trial(trial: Trial) -> str:
    return f"chunk-{trial.config['chunk']:07d}"


def _count_workers() -> int:
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Labels"].get(ROLE) == LABEL_WORN]
    return max(1, math.floor(sum(node["Resources"].get("CPU", 0.0) for node in nodes)))


def _measure(work: "Work") -> float:
    # Compiles the replay here, once, before workers ask the disk cache for it; seconds that one configuration takes.
    from sweeps.chunks import evaluate_chunk, shorten

    evaluate_chunk(shorten(work, WARM_UP_BARS), range(1))
    started_s = time.perf_counter()
    evaluate_chunk(work, range(1))
    return time.perf_counter() - started_s


def _share_features(work: "Work") -> dict[tuple[Any, ...], Any]:
    from strategies.catalog import slow_key
    from sweeps.chunks import observe_market

    shared: dict[tuple[Any, ...], Any] = {}
    room_bytes = FEATURES_SHARED_BYTES_MAX
    for params in work.spec.space.list_slow():
        features = observe_market(work.market, params)
        if (room_bytes := room_bytes - features.nbytes) < 0:
            break
        shared[slow_key(params)] = ray.put(features)
    return shared


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _silenced(logger_name: str) -> Iterator[None]:
    # Tune warns of files per trial, which we switch off, and logs the errors that we raise.
    logger = logging.getLogger(logger_name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _raise_failure(trial: Trial, chunks: list[range]) -> NoReturn:
    chunk, error = trial.config["chunk"], trial.get_pickled_error()
    # A worker that dies between two chunks leaves no error to read.
    cause = getattr(error, "cause", None) or error or RuntimeError("its worker died and left no error")
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    kind = ValueError if isinstance(cause, ValueError) else RuntimeError
    raise kind(f"chunk {chunk} (configurations {chunks[chunk][0]} to {chunks[chunk][-1]}) failed: {lines[0]}")


def _gather(spec: "SweepSpec", chunks_dir: Path, chunks: list[range], seconds: float, out_dir: Path) -> SweepResult:
    from sweeps.chunks import find_failures

    table = pa.concat_tables(pq.read_table(get_chunk_path(chunks_dir, chunk)) for chunk in range(len(chunks)))
    columns = {name: table[name].to_numpy() for name in ("trades", "drawdown_frac_max", "sharpe", "win_rate_frac")}
    failures = {name: int(rows.sum()) for name, rows in find_failures(columns, spec.constraints).items()}
    passing = table.filter(table["is_passed"])
    best = None
    if passing.num_rows:
        best = passing.slice(int(passing["sharpe"].to_numpy().argmax()), 1).to_pylist()[0]
    return SweepResult(table, passing.num_rows, failures, best, seconds, out_dir)
