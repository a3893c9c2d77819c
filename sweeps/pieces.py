"""A piece of a round: what a worker is given, and how it turns that into rows. Imports are few: workers start often."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from strategies.catalog import get_idea
from sweeps.chunks import Work, evaluate_chunk
from sweeps.records import FloatArray
from sweeps.search.candidates import Candidates
from sweeps.search.space import SearchSpace
from sweeps.store import ChunkRows, choose_kept, dump_chunk


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk to evaluate: candidates start..stop - 1 of a round, or the configurations given."""

    round_number: int
    chunk: int
    start: int
    stop: int
    values: list[list[float]] | None = None

    @property
    def key(self) -> tuple[int, int]:
        """Round and chunk."""
        return self.round_number, self.chunk


@dataclass(frozen=True, slots=True)
class RoundWork:
    """What a worker needs of a round besides the sweep's `Work`."""

    space: SearchSpace
    candidates: Candidates | None  # None: pieces bring their values
    configs: int

    def evaluate(
        self, work: Work, piece: Piece, get_features: Callable[[Any], Any] | None = None
    ) -> tuple[ChunkRows, int, int]:
        """Return the rows of a piece, how many configurations it had, and how many of them pass."""
        if piece.values is not None:
            configs, values = np.arange(piece.start, piece.stop), np.array(piece.values)
        else:
            assert self.candidates is not None
            configs, values = self.candidates.draw_allowed(piece.start, piece.stop)
        table, returns_frac = evaluate_chunk(work, self.space, configs, values, get_features)
        kept = choose_kept(configs, self.configs, returns_frac.shape[1])
        passed = int(np.count_nonzero(table["is_passed"].to_numpy()))
        return dump_chunk(table, returns_frac[kept]), len(configs), passed


def list_slow_rows(work: RoundWork) -> Iterator[FloatArray]:
    """Yield one row for each combination of slow parameters that configurations of a round share; none: they do not."""
    space = work.space
    slow = get_idea(space.base).slow
    is_grid = work.candidates is not None and work.candidates.sampler == "grid"
    if is_grid or all(axis.values for axis in space.axes if axis.key in slow):
        choices = (axis.list_values() if axis.key in slow else (axis.from_unit(0.0).item(),) for axis in space.axes)
        yield from map(np.array, itertools.product(*choices))
