"""Round after round of a sweep: which chunks are left, what a finished round came to, where the next one searches.

Sans-IO but for the sweep's own files: whoever runs it (`tune.py`, a test) asks for pieces, evaluates them anywhere and
in any order, and says when their rows are written. Nothing that is decided here depends on that order, on how many
worked, or on whether the process was killed and begun again: an adaptive round asks its sampler for one generation
after another, each told the results of all but the generation just before it, so that workers have something to do
while the last chunks of a generation are still under way.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from sweeps.chunks import (
    WALK_FORWARD,
    Work,
    check_windows,
    choose_chunk_configs,
    compute_shortfalls,
    find_failures,
)
from sweeps.pieces import Piece, RoundWork, list_slow_rows
from sweeps.search.adaptive import AdaptiveSearch
from sweeps.search.candidates import Candidates, make_candidates
from sweeps.search.regions import Region, find_region, narrow
from sweeps.search.space import SearchSpace
from sweeps.search.stability import compute_neighbourhood
from sweeps.spec import ADAPTIVE, OBJECTIVES, RoundSpec, SweepSpec
from sweeps.store import RoundStore, SweepStore
from sweeps.summary import Number, RoundSummary

GENERATION_CONFIGS = 64  # of an adaptive round; the same on any machine, so that results are
GENERATION_CHUNKS = 4
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SHOWN = ("score", "sharpe", "return_frac", "drawdown_frac_max", "trades", "win_rate_frac", "profit_factor")
JUDGED = (*SHOWN, "fees_quote", "walk_forward_sharpe", "walk_forward_positive_frac", "is_passed")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a round is."""

    round_name: str
    round_number: int  # from 1
    rounds: int
    configs_done: int
    configs: int
    passed: int
    seconds: float  # in which `configs_fresh` of them were evaluated; the others were there before a resume
    configs_fresh: int

    @property
    def configs_per_s(self) -> float:
        """Configurations per second since the round began or was resumed."""
        return self.configs_fresh / self.seconds if self.seconds > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a configuration takes, in seconds."""

    more_s: float  # one that sees the same as the one before
    new_s: float  # one for which everything is observed anew


class _Chunks:
    """The chunks of a round whose candidates are known beforehand."""

    def __init__(self, number: int, candidates: Candidates, store: RoundStore, chunk_configs: int) -> None:
        self.chunks = math.ceil(len(candidates) / chunk_configs)
        self.finished = store.list_chunks()
        self._pieces = self._list_pieces(number, len(candidates), chunk_configs)

    def _list_pieces(self, number: int, count: int, chunk_configs: int) -> Iterator[Piece]:
        finished_before = frozenset(self.finished)
        for chunk in range(self.chunks):
            if chunk not in finished_before:
                yield Piece(number, chunk, chunk * chunk_configs, min(count, (chunk + 1) * chunk_configs))

    def next_piece(self) -> Piece | None:
        return next(self._pieces, None)

    def finish(self, chunk: int) -> None:
        self.finished.add(chunk)


class _Generations:
    """The chunks of an adaptive round: what is asked next depends on the rows of the generations before."""

    def __init__(
        self, number: int, part: RoundSpec, space: SearchSpace, seed: int, store: RoundStore, work: Work
    ) -> None:
        self._number, self._objectives, self._store, self._work = number, part.objectives, store, work
        directions = tuple(OBJECTIVES[name] for name in part.objectives)
        self._search = AdaptiveSearch(space, cast(Any, part.sampler), seed, directions)
        self.configs = part.configs
        self.chunks = sum(len(self._cut(start)) for start in range(0, part.configs, GENERATION_CONFIGS))
        self.finished = store.list_chunks()
        self._asked = 0  # configurations
        self._generations: list[list[Piece]] = []
        self._told = 0  # generations
        self._waiting: list[Piece] = []

    def _cut(self, start: int) -> list[tuple[int, int]]:
        # (start, stop) of each chunk of the generation that begins with configuration `start`
        stop = min(self.configs, start + GENERATION_CONFIGS)
        size = GENERATION_CONFIGS // GENERATION_CHUNKS
        return [(first, min(stop, first + size)) for first in range(start, stop, size)]

    def next_piece(self) -> Piece | None:
        while not self._waiting and self._asked < self.configs:
            if len(self._generations) >= 2 and not self._tell(len(self._generations) - 2):
                return None
            self._ask()
        return self._waiting.pop(0) if self._waiting else None

    def finish(self, chunk: int) -> None:
        self.finished.add(chunk)

    def _ask(self) -> None:
        cuts = self._cut(self._asked)
        values = self._search.ask(cuts[-1][1] - self._asked)
        first_chunk = sum(len(generation) for generation in self._generations)
        pieces = [
            Piece(self._number, first_chunk + i, start, stop, values[start - self._asked : stop - self._asked].tolist())
            for i, (start, stop) in enumerate(cuts)
        ]
        self._generations.append(pieces)
        self._waiting = [piece for piece in pieces if piece.chunk not in self.finished]
        self._asked = cuts[-1][1]

    def _tell(self, generation: int) -> bool:
        # Whether all generations up to this one are finished; the sampler has then heard of them, in order.
        while self._told <= generation:
            pieces = self._generations[self._told]
            if not all(piece.chunk in self.finished for piece in pieces):
                return False
            for piece in pieces:
                columns = read_columns(self._store, [piece.chunk], list(JUDGED))
                objectives = np.column_stack([columns[name] for name in self._objectives])
                self._search.tell(objectives.astype(np.float64), compute_shortfalls(columns, self._work.constraints))
            self._told += 1
        return True


class Schedule:
    """All rounds of a sweep, one after another."""

    def __init__(self, spec: SweepSpec, work: Work, store: SweepStore, workers: int, cost: Cost) -> None:
        self._spec, self._work, self._store = spec, work, store
        self._workers, self._cost = workers, cost
        self.summaries: list[RoundSummary] = []
        self._space = _take_points(spec.space, spec.rounds[0].points)
        self._current: _Round | None = None
        self._open_next()

    @property
    def current(self) -> "_Round | None":
        """The round under way; None: all are finished."""
        return self._current

    def next_piece(self) -> Piece | None:
        """Return a chunk to evaluate; None: not now, or never again if no round is under way."""
        return self._current.chunks.next_piece() if self._current else None

    def finish_piece(self, piece: Piece) -> bool:
        """Note that a piece's rows are written; return whether that ended its round."""
        assert self._current is not None
        assert self._current.number == piece.round_number
        chunks = self._current.chunks
        chunks.finish(piece.chunk)
        if len(chunks.finished) < chunks.chunks:
            return False
        self._close_round(self._current)
        return True

    def _close_round(self, current: "_Round") -> None:
        is_last = current.number == len(self._spec.rounds)
        following = None if is_last else self._spec.rounds[current.number]
        summary = finish_round(current, self._work, following)
        self._advance(summary)
        self._open_next()

    def _advance(self, summary: RoundSummary) -> None:
        self.summaries.append(summary)
        if summary.region is not None:
            region = _read_region(summary.region, self._space)
            self._space = narrow(self._space, region, self._spec.rounds[len(self.summaries)].points)

    def _open_next(self) -> None:
        # Rounds that an earlier process finished are passed over; one whose chunks are all there is closed at once.
        self._current = None
        while self._current is None and len(self.summaries) < len(self._spec.rounds):
            number = len(self.summaries) + 1
            part = self._spec.rounds[number - 1]
            store = self._store.get_round(number, part.name)
            if (finished := store.read_summary()) is not None:
                store.discard_chunks()
                self._advance(_read_summary(finished, store))
                continue
            opened = self._open(number, part, store)
            if len(opened.chunks.finished) == opened.chunks.chunks:
                self._close_round(opened)
                return
            self._current = opened

    def _open(self, number: int, part: RoundSpec, store: RoundStore) -> "_Round":
        space, seed, rounds = self._space, self._spec.seed + number, len(self._spec.rounds)
        check_windows(space, self._work.market)
        if part.sampler in ADAPTIVE:
            store.begin({"chunk_configs": GENERATION_CONFIGS // GENERATION_CHUNKS})
            chunks: _Chunks | _Generations = _Generations(number, part, space, seed, store, self._work)
            return _Round(number, part, space, RoundWork(space, None, part.configs), store, chunks, rounds)
        candidates = make_candidates(space, part.sampler, part.configs, seed)
        wanted = self._spec.chunk_configs or choose_chunk_configs(
            len(candidates), self._compute_seconds(candidates), self._workers
        )
        begun = store.begin({"chunk_configs": wanted})
        chunks = _Chunks(number, candidates, store, begun["chunk_configs"])
        work = RoundWork(space, candidates, candidates.configs)
        return _Round(number, part, space, work, store, chunks, rounds)

    def _compute_seconds(self, candidates: Candidates) -> float:
        # That a candidate takes, on average.
        work = RoundWork(candidates.space, candidates, candidates.configs)
        new = sum(1 for _ in list_slow_rows(work)) or candidates.configs
        seconds = candidates.configs * self._cost.more_s + min(new, candidates.configs) * self._cost.new_s
        return seconds / len(candidates)


@dataclass(frozen=True, slots=True)
class _Round:
    # A round under way.
    number: int
    part: RoundSpec
    space: SearchSpace
    work: RoundWork
    store: RoundStore
    chunks: _Chunks | _Generations
    rounds: int


def count_finished(current: _Round) -> tuple[int, int]:
    """Return how many configurations of a round were finished by an earlier process, and how many of them pass."""
    done = passed = 0
    for chunk in current.chunks.finished:
        is_passed = current.store.read_chunk(chunk, ["is_passed"])["is_passed"].to_numpy()
        done, passed = done + len(is_passed), passed + int(np.count_nonzero(is_passed))
    return done, passed


def finish_round(current: _Round, work: Work, following: RoundSpec | None) -> RoundSummary:
    """Gather a round's chunks into its results, and return what it came to and where the next one searches."""
    # In two readings: the parameters of a million configurations are let go before the metrics are looked at.
    chunks = range(current.chunks.chunks)
    tried = read_columns(current.store, chunks, [*current.space.keys, "score", "is_passed"])
    score, is_passed = tried.pop("score"), tried.pop("is_passed")
    values = np.empty((len(score), len(tried)))
    for column, key in enumerate(current.space.keys):
        values[:, column] = tried.pop(key)
    stable, neighbours = compute_neighbourhood(current.space, values, score, is_passed)
    region: dict[str, list[Number]] | None = None
    if following is not None:
        # A region of passing configurations first; among regions alike in that, or without any, the better score.
        found = find_region(current.space, values, is_passed + score, following.support_frac)
        ends = zip(current.space.keys, found.low, found.high, strict=True)
        region = {key: [float(low), float(high)] for key, low, high in ends}
    best_values = values[np.lexsort((-score, -stable, ~is_passed))[0]].tolist()
    del values
    columns = read_columns(current.store, chunks, list(JUDGED))
    failures = find_failures(columns, work.constraints, work.walk_forward)
    summary = RoundSummary(
        name=current.part.name,
        sampler=current.part.sampler,
        configs=len(score),
        passed=int(np.count_nonzero(is_passed)),
        failures={name: int(np.count_nonzero(failed)) for name, failed in failures.items()},
        walk_forward_tested=_count_tested(failures),
        axes=_describe_axes(current),
        region=region,
        quantiles={name: _compute_quantiles(columns[name]) for name in SHOWN},
        best_params=dict(zip(current.space.keys, best_values, strict=True)),
    )
    del columns, failures
    added = {"score_stable": stable, "neighbours_passed_frac": neighbours}
    current.store.finish(current.chunks.chunks, added, asdict(summary))
    return summary


def read_columns(store: RoundStore, chunks: Iterable[int], names: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Return columns of some chunks as arrays, rows in the order of the chunks."""
    sizes = {chunk: store.count_rows(chunk) for chunk in chunks}
    rows, row = sum(sizes.values()), 0
    columns: dict[str, npt.NDArray[Any]] = {}
    for chunk, size in sizes.items():
        table = store.read_chunk(chunk, names)
        for name in names:
            part = table[name].to_numpy()
            if name not in columns:
                columns[name] = np.empty(rows, part.dtype)
            columns[name][row : row + size] = part
        row += size
    return columns


def _count_tested(failures: dict[str, npt.NDArray[np.bool_]]) -> int:
    if WALK_FORWARD not in failures:
        return 0
    others = [failed for name, failed in failures.items() if name != WALK_FORWARD]
    return int(np.count_nonzero(~np.logical_or.reduce(others)))


def _describe_axes(current: _Round) -> dict[str, list[Number]]:
    if current.part.sampler == "grid":
        return {axis.key: list(axis.list_values()) for axis in current.space.axes}
    return {axis.key: list(_get_ends(axis)) for axis in current.space.axes}


def _get_ends(axis: Any) -> tuple[float, float]:
    return (axis.values[0], axis.values[-1]) if axis.values else (axis.low, axis.high)


def _compute_quantiles(values: npt.NDArray[Any]) -> list[Number]:
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return np.quantile(known, QUANTILES).tolist() if len(known) else [None] * len(QUANTILES)


def _take_points(space: SearchSpace, points: Mapping[str, int]) -> SearchSpace:
    low, high = zip(*map(_get_ends, space.axes), strict=True)
    return narrow(space, Region(low, high, 1.0, 0.0), points) if points else space


def _read_summary(values: dict[str, Any], store: RoundStore) -> RoundSummary:
    try:
        return msgspec.convert(values, RoundSummary)
    except msgspec.ValidationError as error:
        mend = f"remove {store.directory}, and a resume runs this round anew"
        raise ValueError(f"{store.summary_path} is damaged ({error}): {mend}") from None


def _read_region(region: dict[str, list[Number]], space: SearchSpace) -> Region:
    low, high = zip(*((float(region[key][0] or 0.0), float(region[key][1] or 0.0)) for key in space.keys), strict=True)
    return Region(low, high, 0.0, 0.0)
