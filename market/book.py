"""A local level-2 order book: synchronised from a snapshot and diffs, gaps and crossings detected. Sans-IO.

The owner feeds it diffs as they come and snapshots as it fetches them; `status` says whether the book may be used.
Rules (Binance manuals, "How to manage a local order book correctly", USD-M futures and spot):
- futures: drop diffs with last_id < snapshot id; the first applied spans it (first_id <= id <= last_id, or its
  previous_id is it); then each diff's previous_id is the last_id before it. Ids are global to the engine, so
  first_id says nothing about continuity.
- spot: drop diffs with last_id <= snapshot id; the first applied spans id + 1; then first_id is the last_id + 1.
Does not know: levels beyond the snapshot's depth until a diff touches them.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

BUFFER_MAX = 10_000  # diffs kept while waiting for a snapshot: hours at 100 ms; the oldest go first

Levels = tuple[tuple[float, float], ...]  # (px, qty_base); qty 0: the level is gone


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """The whole book (to some depth) as of update id `last_id`."""

    last_id: int
    bids: Levels
    asks: Levels
    ts_recv_ns: int = 0


@dataclass(frozen=True, slots=True)
class BookDiff:
    """Absolute quantities of the levels that updates `first_id` to `last_id` changed; `previous_id` -1: not said."""

    first_id: int
    last_id: int
    previous_id: int
    bids: Levels
    asks: Levels
    ts_event_ns: int = 0
    ts_recv_ns: int = 0


class Continuity(StrEnum):
    """Which venue's rule joins one diff to the next."""

    FUTURES = "futures"
    SPOT = "spot"


class BookStatus(StrEnum):
    """Whether the book may be used; only SYNCED may."""

    NEEDS_SNAPSHOT = "needs_snapshot"  # none yet, or updates were lost: fetch one
    NEEDS_DIFF = "needs_diff"  # snapshot taken, the diff that spans it has not come yet
    SYNCED = "synced"
    CROSSED = "crossed"  # best bid >= best ask: something is wrong, here or at the venue


class _Side:
    # One side of the book: prices sorted ascending of `sign * px`, so that index 0 is the best.
    __slots__ = ("keys", "qty_base", "sign")

    def __init__(self, sign: float) -> None:
        self.sign = sign
        self.keys: list[float] = []
        self.qty_base: dict[float, float] = {}

    def reset(self, levels: Levels) -> None:
        self.qty_base = {self.sign * px: qty for px, qty in levels if qty > 0.0}
        self.keys = sorted(self.qty_base)

    def apply(self, levels: Levels) -> None:
        for px, qty in levels:
            key = self.sign * px
            if key in self.qty_base:
                if qty > 0.0:
                    self.qty_base[key] = qty
                else:
                    del self.qty_base[key]
                    del self.keys[bisect_left(self.keys, key)]
            elif qty > 0.0:
                self.qty_base[key] = qty
                self.keys.insert(bisect_left(self.keys, key), key)

    def best(self, count: int) -> Levels:
        return tuple((self.sign * key, self.qty_base[key]) for key in self.keys[:count])


class LocalBook:
    """One instrument's book. `gaps` counts how often updates were lost."""

    def __init__(self, continuity: Continuity) -> None:
        self._continuity = continuity
        self._bids = _Side(-1.0)
        self._asks = _Side(1.0)
        self._buffer: deque[BookDiff] = deque(maxlen=BUFFER_MAX)
        self._status = BookStatus.NEEDS_SNAPSHOT
        self.last_id = -1
        self.ts_event_ns = 0
        self.gaps = 0

    @property
    def status(self) -> BookStatus:
        """Whether the book may be used now."""
        if self._status is BookStatus.SYNCED and self._is_crossed():
            return BookStatus.CROSSED
        return self._status

    def apply_snapshot(self, snapshot: BookSnapshot) -> BookStatus:
        """Begin again from a snapshot and whatever buffered diffs follow it.

        A snapshot older than the buffered diffs leaves the status at NEEDS_SNAPSHOT: fetch a later one. One that is
        older than a book in use is ignored.
        """
        if self._status is BookStatus.SYNCED and snapshot.last_id < self.last_id:
            return self.status
        self._bids.reset(snapshot.bids)
        self._asks.reset(snapshot.asks)
        self.last_id = snapshot.last_id
        self._status = BookStatus.NEEDS_DIFF
        buffered, self._buffer = self._buffer, deque(maxlen=BUFFER_MAX)
        while buffered:
            self.apply_diff(buffered.popleft())
            if self._status is BookStatus.NEEDS_SNAPSHOT:
                self._buffer.extend(buffered)
                break
        return self.status

    def apply_diff(self, diff: BookDiff) -> BookStatus:
        """Apply the next diff, or keep it until a snapshot comes; a lost update ends in NEEDS_SNAPSHOT."""
        if self._status is BookStatus.NEEDS_SNAPSHOT:
            self._buffer.append(diff)
            return self._status
        if self._status is BookStatus.NEEDS_DIFF:
            if self._is_before_snapshot(diff):
                return self._status
            is_next = self._spans_snapshot(diff)
        elif diff.last_id <= self.last_id:
            return self.status  # a duplicate
        else:
            is_next = self._follows(diff)
        if not is_next:
            self.gaps += self._status is BookStatus.SYNCED
            self._status = BookStatus.NEEDS_SNAPSHOT
            self._buffer.clear()
            self._buffer.append(diff)
            return self._status
        self._bids.apply(diff.bids)
        self._asks.apply(diff.asks)
        self.last_id, self.ts_event_ns = diff.last_id, diff.ts_event_ns
        self._status = BookStatus.SYNCED
        return self.status

    def mark_lost(self) -> None:
        """Forget the book: the connection was cut, so updates may be missing."""
        self._status = BookStatus.NEEDS_SNAPSHOT
        self._buffer.clear()

    def bids(self, count: int = 1) -> Levels:
        """Return up to `count` (px, qty_base), best first; empty when not in use."""
        return self._bids.best(count) if self._is_usable() else ()

    def asks(self, count: int = 1) -> Levels:
        """Return up to `count` (px, qty_base), best first; empty when not in use."""
        return self._asks.best(count) if self._is_usable() else ()

    def compute_taker_px(self, side: int, qty_base: float) -> float:
        """Return the average px at which `qty_base` > 0 could be taken now; NaN if the known book is too thin."""
        levels = self.asks(len(self._asks.keys)) if side > 0 else self.bids(len(self._bids.keys))
        left_base, paid_quote = qty_base, 0.0
        for px, level_base in levels:
            taken_base = min(left_base, level_base)
            paid_quote += taken_base * px
            left_base -= taken_base
            if left_base <= 0.0:
                return paid_quote / qty_base
        return float("nan")

    def compute_depth_base(self, side: int, px_limit: float) -> float:
        """Return the quantity [base] a taker of `side` finds at `px_limit` or better."""
        levels = self.asks(len(self._asks.keys)) if side > 0 else self.bids(len(self._bids.keys))
        return sum(qty for px, qty in levels if side * px <= side * px_limit)

    def _is_usable(self) -> bool:
        return self._status is BookStatus.SYNCED

    def _is_crossed(self) -> bool:
        return bool(self._bids.keys and self._asks.keys) and -self._bids.keys[0] >= self._asks.keys[0]

    def _is_before_snapshot(self, diff: BookDiff) -> bool:
        if self._continuity is Continuity.FUTURES:
            return diff.last_id < self.last_id
        return diff.last_id <= self.last_id

    def _spans_snapshot(self, diff: BookDiff) -> bool:
        if self._continuity is Continuity.FUTURES:
            return diff.first_id <= self.last_id or diff.previous_id == self.last_id
        return diff.first_id <= self.last_id + 1

    def _follows(self, diff: BookDiff) -> bool:
        if self._continuity is Continuity.FUTURES:
            return diff.previous_id == self.last_id
        return diff.first_id == self.last_id + 1
