"""A sweep on Ray Tune: a trial is a chunk of configurations, evaluated where a node wears the role `fast_compute`.

One Tune run carries all rounds, so that workers start once; a searcher of ours hands Tune the next chunk whenever it
asks for a trial (`rounds.Schedule` says which), and the actor of a trial is reused for the next. The market, and the
features of each distinct `slow_key` of a grid, lie in Ray's object store, once per node, and are read without a copy.
A worker hands its rows to the clerk, an actor on the node of the driver, which writes them: nodes share no disk. Only
counts travel through Tune. A chunk whose worker dies is given out again.

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
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.session import LABEL_WORN
from cluster.spawn import check_role
from market.kernel_cache import set_kernel_cache

if TYPE_CHECKING:
    from sweeps.chunks import Work
    from sweeps.pieces import Piece, RoundWork
    from sweeps.records import RecordArray
    from sweeps.rounds import Cost, Progress, Schedule
    from sweeps.search.space import SearchSpace
    from sweeps.spec import SweepSpec
    from sweeps.store import ChunkRows, SweepStore
    from sweeps.summary import RoundSummary

ROLE = "fast_compute"
FEATURES_SHARED_FRAC_MAX = 0.4  # of the object store; chunks observe the rest themselves
WARM_UP_BARS = 512
TIMED_CONFIGS, TIMED_TRIES = 8, 3
SECONDS_UNKNOWN = 0.001  # that a configuration takes
DEATHS_MAX = 3  # of the workers that tried one chunk
RAY_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no files per trial
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",  # a resume reads the chunks, not Tune's record
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # an interrupt is the caller's
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def run_rounds(
    spec: "SweepSpec", work: "Work", store: "SweepStore", on_progress: Callable[["Progress"], None]
) -> "list[RoundSummary]":
    """Evaluate what is left of every round on the Ray session that this process is connected to.

    on_progress: called here, when a round begins and after each chunk.

    Raises ValueError for bad input and where no node wears the role fast_compute; OSError where rows cannot be written,
    RuntimeError where workers keep dying. Finished chunks stay on disk, and a later call goes on from there.
    """
    from sweeps.rounds import Schedule

    check_role(ROLE)
    home = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    clerk = ray.remote(Clerk).options(num_cpus=0, scheduling_strategy=home).remote(str(store.directory))
    try:
        workers = _count_workers()
        schedule = Schedule(spec, work, store, workers, _measure(work, spec.space))
        if schedule.current is None:
            return schedule.summaries
        searcher = ChunkSearcher(schedule, work, clerk, on_progress)
        _fit(searcher, ray.put(work), clerk, store.directory, workers)
    finally:
        ray.kill(clerk)
    if searcher.failure is not None:
        raise searcher.failure
    return schedule.summaries


def _fit(searcher: "ChunkSearcher", work: Any, clerk: Any, directory: Path, workers: int) -> None:
    # By itself Tune keeps a single trial of a searcher waiting: all workers but one would be idle.
    settings = RAY_SETTINGS | {"TUNE_MAX_PENDING_TRIALS_PG": str(workers)}
    with _environment(settings), _silenced("ray.tune"):
        tuner = tune.Tuner(
            tune.with_parameters(ChunkTrial, shared=[work, clerk]),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_name_trial,
                trial_dirname_creator=_name_trial,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(directory),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()


class ChunkSearcher(Searcher):  # type: ignore[misc]
    """What Tune tries next: the schedule's next chunk. A failure ends the search; chunks under way are waited for."""

    def __init__(
        self, schedule: "Schedule", work: "Work", clerk: Any, on_progress: Callable[["Progress"], None]
    ) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self._schedule, self._work, self._clerk, self._on_progress = schedule, work, clerk, on_progress
        self._under_way: dict[str, Piece] = {}
        self._deaths: dict[tuple[int, int], int] = {}
        self._again: list[Piece] = []
        self._open_round()

    def _open_round(self) -> None:
        current = self._schedule.current
        if current is None:
            return
        reference = ray.put(_SharedRound(current.work, _share_features(self._work, current.work)))
        ray.get(self._clerk.open_round.remote(current.number, current.part.name, [reference]))
        self._tally = _Tally(current)
        self._on_progress(self._tally.progress)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next chunk; None: not now."""
        if self.failure is not None or self._schedule.current is None:
            return str(Searcher.FINISHED)
        piece = self._again.pop() if self._again else self._schedule.next_piece()
        if piece is None:
            return None if self._under_way else str(Searcher.FINISHED)
        self._under_way[trial_id] = piece
        return {"piece": piece}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note that a chunk is finished, or why it is not."""
        piece = self._under_way.pop(trial_id, None)
        if piece is None:
            return
        if error or result is None:
            self._try_again(piece)
            return
        if result["failure"] is not None:
            self.failure = self.failure or _explain(piece, result["failure"])
            return
        self._tally.add(result["configs"], result["passed"])
        self._on_progress(self._tally.progress)
        try:
            if self._schedule.finish_piece(piece) and self.failure is None:
                self._open_round()
        except (OSError, ValueError) as error_after:
            self.failure = error_after

    def _try_again(self, piece: "Piece") -> None:
        # Tune itself tries only those again that were running: not a chunk whose reused worker was dead already.
        self._deaths[piece.key] = self._deaths.get(piece.key, 0) + 1
        if self._deaths[piece.key] < DEATHS_MAX:
            self._again.append(piece)
        else:
            died = RuntimeError(f"{DEATHS_MAX} workers that tried it died")
            self.failure = self.failure or _explain(piece, died)

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune keeps a copy of its settings for a restore of its own: it needs none of ours.
        return Searcher, ()

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is finished lies on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: what is finished lies on disk."""


def _explain(piece: "Piece", failure: Exception) -> Exception:
    if isinstance(failure, OSError):
        return failure
    kind = ValueError if isinstance(failure, ValueError) else RuntimeError
    line = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
    return kind(f"round {piece.round_number}, chunk {piece.chunk} failed: {line}")


class _Tally:
    # Counts of the round under way.
    def __init__(self, current: Any) -> None:
        from sweeps.rounds import count_finished

        self._current = current
        self._started_s = time.monotonic()
        self._before, self._passed = count_finished(current)
        self._done = self._before

    def add(self, configs: int, passed: int) -> None:
        self._done += configs
        self._passed += passed

    @property
    def progress(self) -> "Progress":
        from sweeps.rounds import Progress

        current, seconds = self._current, time.monotonic() - self._started_s
        return Progress(
            current.part.name,
            current.number,
            current.rounds,
            self._done,
            current.work.configs,
            self._passed,
            seconds,
            self._done - self._before,
        )


@dataclass(frozen=True, slots=True)
class _SharedRound:
    # What every trial of a round reads from the object store.
    work: "RoundWork"
    features: dict[tuple[Any, ...], Any]  # slow_key -> reference


class Clerk:
    """Knows the rounds and writes the chunks, where the sweep's directory is."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._rounds: dict[int, tuple[str, list[Any]]] = {}

    def open_round(self, number: int, name: str, shared: list[Any]) -> None:
        """Take note of a round."""
        self._rounds = {number: (name, shared)}

    def get_round(self, number: int) -> list[Any]:
        """Return the reference of a round's `_SharedRound`, in a list."""
        return self._rounds[number][1]

    def write_chunk(self, number: int, chunk: int, rows: "ChunkRows") -> OSError | None:
        """Write the rows of a chunk, or return why not."""
        from sweeps.store import SweepStore

        try:
            SweepStore(self._directory).get_round(number, self._rounds[number][0]).write_chunk(chunk, rows)
        except OSError as error:
            return error
        return None


class ChunkTrial(tune.Trainable):  # type: ignore[misc]
    """One chunk after another."""

    _piece: "Piece | None" = None

    def __repr__(self) -> str:
        return f"ChunkTrial({self._piece})"

    def setup(self, config: dict[str, Any], shared: list[Any]) -> None:
        """Read what is shared, in place."""
        set_kernel_cache()  # before unpickling imports the first kernel
        work, self._clerk = shared
        self._work: Work = ray.get(work)
        self._piece = config["piece"]
        self._round: tuple[int, _SharedRound | None] = (0, None)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next chunk."""
        self._piece = new_config["piece"]
        return True

    def step(self) -> dict[str, Any]:
        """Evaluate the chunk, hand in its rows, return the counts, or the failure that another try would meet again."""
        piece = self._piece
        assert piece is not None
        if self._round[0] != piece.round_number:
            (reference,) = ray.get(self._clerk.get_round.remote(piece.round_number))
            self._round = piece.round_number, ray.get(reference)
        shared = self._round[1]
        assert shared is not None
        try:
            rows, configs, passed = shared.work.evaluate(self._work, piece, self._get_features)
        except ValueError as error:
            return {"done": True, "configs": 0, "passed": 0, "failure": error}
        failure = ray.get(self._clerk.write_chunk.remote(piece.round_number, piece.chunk, rows))
        return {"done": True, "configs": configs, "passed": passed, "failure": failure}

    def _get_features(self, params: Any) -> "RecordArray":
        from strategies.catalog import slow_key
        from sweeps.chunks import observe_market

        shared = self._round[1]
        assert shared is not None
        reference = shared.features.get(slow_key(params))
        if reference is None:
            return observe_market(self._work.market, params)
        features: RecordArray = ray.get(reference)
        return features

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """One CPU of a node that wears the role: never one that only trades."""
        return tune.PlacementGroupFactory([{"CPU": 1}], bundle_label_selector=[{ROLE: LABEL_WORN}])


def _name_trial(trial: Trial) -> str:
    piece = trial.config["piece"]
    return f"round-{piece.round_number}-chunk-{piece.chunk:07d}"


def _count_workers() -> int:
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Labels"].get(ROLE) == LABEL_WORN]
    return max(1, math.floor(sum(node["Resources"].get("CPU", 0.0) for node in nodes)))


def _measure(work: "Work", space: "SearchSpace") -> "Cost":
    # Compiles the replay here, once, before workers ask the disk cache for it; then times it: the least time on the
    # processor, whatever else runs on this machine.
    import numpy as np

    from sweeps.chunks import evaluate_chunk, shorten
    from sweeps.rounds import Cost

    row = np.array([axis.from_unit(0.5).item() for axis in space.axes])
    seconds = []
    with contextlib.suppress(ValueError):  # a chunk will meet it again, and say which configuration it is
        evaluate_chunk(shorten(work, WARM_UP_BARS), space, np.zeros(1, np.int64), row[np.newaxis])
        for configs in (1, 1 + TIMED_CONFIGS):
            tries = []
            for _ in range(TIMED_TRIES):
                started_s = time.thread_time()
                evaluate_chunk(work, space, np.zeros(configs, np.int64), np.tile(row, (configs, 1)))
                tries.append(time.thread_time() - started_s)
            seconds.append(min(tries))
    if len(seconds) < 2:
        return Cost(SECONDS_UNKNOWN, SECONDS_UNKNOWN)
    more_s = max(seconds[1] - seconds[0], 1e-6) / TIMED_CONFIGS
    return Cost(more_s, max(seconds[0], more_s))


def _share_features(work: "Work", round_work: "RoundWork") -> dict[tuple[Any, ...], Any]:
    from strategies.catalog import slow_key
    from sweeps.chunks import observe_market
    from sweeps.pieces import list_slow_rows

    room_bytes = FEATURES_SHARED_FRAC_MAX * ray.cluster_resources().get("object_store_memory", 0.0)
    shared: dict[tuple[Any, ...], Any] = {}
    for row in list_slow_rows(round_work):
        params = round_work.space.make_params(row)
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
