"""Keep one instrument's book equal to the venue's, or say that it is not: Binance's synchronisation, as a machine.

Sans-IO: `handle(event, ts_now_ns)` returns what to do; outcomes come back as events. The levels, and the rule that
joins one diff to the next (futures: pu == last u; spot: U == last u + 1), are `market.book.LocalBook`'s; this machine
decides what follows from them. The book may be used only between `BookReady` and the next `BookLost`: outside, `bids`
and `asks` are empty.
- A snapshot is asked for when the first diff is buffered, never before: it cannot then be older than the stream.
- A snapshot older than the first buffered diff, a failed or overdue request: asked again with growing waits. A stream
  that begins after every snapshot so far is the venue's affair: the waits grow to a bound and nothing loops.
- When ready, the only diff accepted is the next one. Anything else (lost, reordered, repeated) ends the book; what
  came after a hole stays in the buffer (`market.book.BUFFER_MAX` diffs, the oldest go first) and a snapshot is asked
  for. `repeats_max` allows for two sockets overlapping at a planned reconnect: that many updates in a row that were
  applied already are dropped.
- The best prices of `bookTicker` carry book update ids: where both streams speak of one update they must agree, and
  where the ticker is ahead for longer than `frozen_ns` the depth stream is dead though connected.
Does not know: levels beyond a snapshot's depth until touched; whether the venue's own book is right.
"""

from collections import deque
from dataclasses import dataclass

from market.book import BookDiff, BookSnapshot, BookStatus, Continuity, Levels, LocalBook
from market.records import NS_PER_S
from venues.book_feed import Backoff, BookView, DataAge, LostReason

TICKERS_MAX = 4096  # best prices kept until the book catches up with them; the oldest go first


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How patient the machine is [ns]. `stagger_ns`: this instrument's place in the queue when many books resync."""

    stagger_ns: int = 0
    backoff_base_ns: int = NS_PER_S
    backoff_max_ns: int = 30 * NS_PER_S
    settle_ns: int = 30 * NS_PER_S  # ready this long: the waits begin again from the shortest
    request_timeout_ns: int = 10 * NS_PER_S
    first_message_ns: int = 10 * NS_PER_S  # acknowledged, then silent: the wrong path
    stale_ns: int = 5 * NS_PER_S
    frozen_ns: int = 3 * NS_PER_S
    resubscribes_max: int = 2  # without a message in between; then the whole connection is given up
    repeats_max: int = 0


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The subscription was acknowledged, on a new connection or the old one."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone."""


@dataclass(frozen=True, slots=True)
class DiffReceived:
    """A depth push."""

    diff: BookDiff


@dataclass(frozen=True, slots=True)
class SnapshotReceived:
    """The answer to `FetchSnapshot` of that id."""

    request_id: int
    snapshot: BookSnapshot


@dataclass(frozen=True, slots=True)
class SnapshotFailed:
    """No answer, or a refusal; `retry_after_ns` is what the venue's Retry-After said, 0 if nothing."""

    request_id: int
    retry_after_ns: int = 0


@dataclass(frozen=True, slots=True)
class TickerReceived:
    """The best prices as of a book update, quantities in the diffs' unit."""

    update_id: int
    bid: tuple[float, float]
    ask: tuple[float, float]
    ts_event_ns: int = 0


@dataclass(frozen=True, slots=True)
class ClockMeasured:
    """Local clock minus venue clock, from /time."""

    offset_ns: int


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing but time."""


SyncEvent = (
    StreamOpened | Disconnected | DiffReceived | SnapshotReceived | SnapshotFailed | TickerReceived | ClockMeasured
    | TimePassed
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FetchSnapshot:
    """Ask REST for the book, `after_ns` from now."""

    request_id: int
    after_ns: int


@dataclass(frozen=True, slots=True)
class Resubscribe:
    """Unsubscribe the depth stream and subscribe again, then report `StreamOpened`."""

    detail: str


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Subscribing again did not help: give the connection up, open another (check the path)."""

    detail: str


@dataclass(frozen=True, slots=True)
class BookReady:
    """The book is the venue's as of `last_id`."""

    last_id: int


@dataclass(frozen=True, slots=True)
class BookLost:
    """The book may not be used until the next `BookReady`."""

    reason: LostReason
    detail: str


SyncInstruction = FetchSnapshot | Resubscribe | Reconnect | BookReady | BookLost


class BookSyncMachine:
    """One instrument's book. `counts` says how often each reason ended it; `snapshots_old` how many came too old."""

    def __init__(self, continuity: Continuity, settings: SyncSettings | None = None) -> None:
        self._settings = settings or SyncSettings()
        self._continuity = continuity
        self._book = LocalBook(continuity)
        self._backoff = Backoff(self._settings.backoff_base_ns, self._settings.backoff_max_ns, self._settings.settle_ns)
        self._age = DataAge()
        self._tickers: deque[tuple[TickerReceived, int]] = deque(maxlen=TICKERS_MAX)
        self._is_open = False
        self._is_ready = False
        self._request_id = 0
        self._ts_request_due_ns = -1  # the outstanding request is overdue then; -1: none is outstanding
        self._ts_watch_ns = 0  # since when a sign of life from the depth stream is awaited
        self._ts_ready_ns = 0
        self._resubscribes = 0
        self._repeats = 0
        self._conflated = 0
        self.counts = dict.fromkeys(LostReason, 0)
        self.snapshots_old = 0
        self.repeats_dropped = 0

    @property
    def is_ready(self) -> bool:
        """Whether the book may be used."""
        return self._is_ready

    @property
    def last_id(self) -> int:
        """The last update applied; -1 if none."""
        return self._book.last_id if self._is_ready else -1

    def bids(self, count: int = 1) -> Levels:
        """Return up to `count` (px, qty), best first; empty when the book may not be used."""
        return self._book.bids(count) if self._is_ready else ()

    def asks(self, count: int = 1) -> Levels:
        """Return up to `count` (px, qty), best first; empty when the book may not be used."""
        return self._book.asks(count) if self._is_ready else ()

    def take_view(self, count: int = 20) -> BookView | None:
        """Return the latest book if it changed since the last call; None if not, or if it may not be used."""
        if not (self._is_ready and self._conflated):
            return None
        folded, self._conflated = self._conflated, 0
        book = self._book
        return BookView(
            book.last_id, book.bids(count), book.asks(count), book.ts_event_ns, self._age.ts_recv_ns, folded
        )

    def compute_age_ns(self, ts_now_ns: int) -> int:
        """Return how old the newest depth data are."""
        return self._age.compute_ns(ts_now_ns)

    def next_due_ns(self) -> int:
        """Return when `TimePassed` may have an effect at the earliest; -1: not before another event."""
        due = [self._ts_request_due_ns] if self._ts_request_due_ns >= 0 else []
        if self._is_open:
            seen_ns = max(self._ts_watch_ns, self._age.ts_recv_ns)
            patience_ns = self._settings.stale_ns if self._age.ts_recv_ns else self._settings.first_message_ns
            due.append(seen_ns + patience_ns)
            if self._is_ready:
                due.append(self._age.compute_due_ns(self._settings.stale_ns))
            if self._tickers and self._age.ts_recv_ns:
                ts_ticker_ns = self._tickers[0][1]
                since_ns = ts_ticker_ns if self._is_ready else max(ts_ticker_ns, self._ts_watch_ns)
                due.append(since_ns + self._settings.frozen_ns)
        return min(due, default=-1)

    def handle(self, event: SyncEvent, ts_now_ns: int) -> list[SyncInstruction]:
        """Take in one event; return what to do, in order."""
        match event:
            case DiffReceived(diff):
                return self._on_diff(diff, ts_now_ns)
            case TickerReceived():
                return self._on_ticker(event, ts_now_ns)
            case SnapshotReceived(request_id, snapshot):
                return self._on_snapshot(request_id, snapshot, ts_now_ns)
            case SnapshotFailed(request_id, retry_after_ns):
                if request_id != self._request_id or self._ts_request_due_ns < 0:
                    return []
                self._ts_request_due_ns = -1
                return [self._ask(ts_now_ns, retry_after_ns)]
            case StreamOpened():
                return self._on_opened(ts_now_ns)
            case Disconnected():
                self._is_open, self._ts_request_due_ns = False, -1
                return self._lose(LostReason.DISCONNECTED, "the connection is gone")
            case ClockMeasured(offset_ns):
                self._age.set_clock_offset(offset_ns)
                return []
            case TimePassed():
                return self._on_time(ts_now_ns)
        raise TypeError(f"no handler for {type(event).__name__}")

    def _on_opened(self, ts_now_ns: int) -> list[SyncInstruction]:
        # What came before belongs to another subscription: nothing of it is built upon.
        lost = self._lose(LostReason.DISCONNECTED, "subscribed anew")
        self._is_open = True
        self._ts_watch_ns, self._ts_request_due_ns = ts_now_ns, -1
        return lost

    def _on_diff(self, diff: BookDiff, ts_now_ns: int) -> list[SyncInstruction]:
        if not self._is_open:
            return []  # a late message of a connection given up
        self._age.note(diff.ts_event_ns, ts_now_ns)
        self._ts_watch_ns = ts_now_ns
        self._resubscribes = 0
        if not self._is_ready:
            return self._build(diff, ts_now_ns)
        if diff.last_id <= self._book.last_id:
            if self._repeats < self._settings.repeats_max:
                self._repeats += 1
                self.repeats_dropped += 1
                return []
            detail = f"update {diff.last_id} came again, the book is at {self._book.last_id}"
            return self._restart(LostReason.REPEATED, detail, ts_now_ns)
        self._repeats = 0
        at_id = self._book.last_id
        status = self._book.apply_diff(diff)
        if status is BookStatus.NEEDS_SNAPSHOT:  # the book has kept this diff as the first of its buffer
            detail = f"update {at_id} is followed by {diff.first_id}..{diff.last_id} after {diff.previous_id}"
            return [*self._lose(LostReason.GAP, detail, keep_buffer=True), self._ask(ts_now_ns)]
        self._conflated += 1
        self._backoff.settle(ts_now_ns - self._ts_ready_ns)
        return self._judge(status, ts_now_ns)

    def _build(self, diff: BookDiff, ts_now_ns: int) -> list[SyncInstruction]:
        # Not ready: buffer, or apply: the first diffs after a snapshot, or diffs that come too late to be used.
        was_taken = self._book.status is BookStatus.NEEDS_DIFF
        status = self._book.apply_diff(diff)
        if status is BookStatus.NEEDS_SNAPSHOT:
            self.snapshots_old += was_taken
            return [] if self._ts_request_due_ns >= 0 else [self._ask(ts_now_ns)]
        return self._judge(status, ts_now_ns)

    def _on_snapshot(self, request_id: int, snapshot: BookSnapshot, ts_now_ns: int) -> list[SyncInstruction]:
        if request_id != self._request_id or self._ts_request_due_ns < 0:
            return []  # overtaken by a disconnection or a later request
        self._ts_request_due_ns = -1
        status = self._book.apply_snapshot(snapshot)
        if status is BookStatus.NEEDS_SNAPSHOT:
            self.snapshots_old += 1
            return [self._ask(ts_now_ns)]
        return self._judge(status, ts_now_ns)

    def _judge(self, status: BookStatus, ts_now_ns: int) -> list[SyncInstruction]:
        # After levels changed: is the book right, by everything that is known?
        if status is BookStatus.CROSSED:
            bid, ask = self._book.bids()[0][0], self._book.asks()[0][0]
            return self._restart(
                LostReason.CROSSED, f"bid {bid} >= ask {ask} at update {self._book.last_id}", ts_now_ns
            )
        if status is not BookStatus.SYNCED:
            return []
        while self._tickers and self._tickers[0][0].update_id <= self._book.last_id:
            ticker, _ = self._tickers.popleft()
            if ticker.update_id == self._book.last_id and not self._agrees(ticker):
                return self._restart(LostReason.DISAGREES, self._tell_difference(ticker), ts_now_ns)
        is_late = self._age.compute_ns(ts_now_ns) >= self._settings.stale_ns
        if self._is_ready and is_late:
            return self._mark_late(ts_now_ns)
        if self._is_ready or is_late:
            return []
        self._is_ready, self._ts_ready_ns = True, ts_now_ns
        self._conflated = max(self._conflated, 1)
        return [BookReady(self._book.last_id)]

    def _on_ticker(self, ticker: TickerReceived, ts_now_ns: int) -> list[SyncInstruction]:
        if not self._is_open:
            return []
        if self._is_ready and ticker.update_id <= self._book.last_id:
            if ticker.update_id == self._book.last_id and not self._agrees(ticker):
                return self._restart(LostReason.DISAGREES, self._tell_difference(ticker), ts_now_ns)
            return []
        if not self._tickers or self._tickers[-1][0].update_id < ticker.update_id:
            self._tickers.append((ticker, ts_now_ns))
        return self._check_frozen(ts_now_ns)

    def _on_time(self, ts_now_ns: int) -> list[SyncInstruction]:
        todo: list[SyncInstruction] = []
        if 0 <= self._ts_request_due_ns <= ts_now_ns:
            self._ts_request_due_ns = -1
            todo.append(self._ask(ts_now_ns))
        if not self._is_open:
            return todo
        if not self._age.ts_recv_ns:
            if ts_now_ns - self._ts_watch_ns >= self._settings.first_message_ns:
                todo += self._knock("acknowledged, then silent: is the stream on the right path?", ts_now_ns)
            return todo
        age_ns = self._age.compute_ns(ts_now_ns)
        if age_ns >= self._settings.stale_ns and ts_now_ns - self._ts_watch_ns >= self._settings.stale_ns:
            detail = f"depth data are {age_ns / NS_PER_S:.1f} s old"
            return todo + self._lose(LostReason.STALE, detail) + self._knock(detail, ts_now_ns)
        if age_ns >= self._settings.stale_ns and self._is_ready:
            return todo + self._mark_late(ts_now_ns)
        return todo + self._check_frozen(ts_now_ns)

    def _check_frozen(self, ts_now_ns: int) -> list[SyncInstruction]:
        if not self._tickers or not self._age.ts_recv_ns:
            return []
        ticker, ts_ticker_ns = self._tickers[0]
        since_ns = ts_ticker_ns if self._is_ready else max(ts_ticker_ns, self._ts_watch_ns)
        if ts_now_ns - since_ns < self._settings.frozen_ns:
            return []
        detail = f"best prices are at update {ticker.update_id}, the book at {self._book.last_id}"
        return self._lose(LostReason.FROZEN, detail) + self._knock(detail, ts_now_ns)

    def _knock(self, detail: str, ts_now_ns: int) -> list[SyncInstruction]:
        # Ask for the stream again; when that has not helped, for another connection.
        self._ts_watch_ns = ts_now_ns
        self._age.restart()
        self._ts_request_due_ns = -1
        self._resubscribes += 1
        if self._resubscribes > self._settings.resubscribes_max:
            self._resubscribes = 0
            return [Reconnect(detail)]
        return [Resubscribe(detail)]

    def _restart(self, reason: LostReason, detail: str, ts_now_ns: int) -> list[SyncInstruction]:
        # The stream is alive, the book is not: begin again from a snapshot.
        return [*self._lose(reason, detail), self._ask(ts_now_ns)]

    def _mark_late(self, ts_now_ns: int) -> list[SyncInstruction]:
        # Whole but late: the levels are kept up, and ready again when the data are young.
        self._is_ready = False
        self.counts[LostReason.STALE] += 1
        age_ns = self._age.compute_ns(ts_now_ns)
        return [BookLost(LostReason.STALE, f"depth data are {age_ns / NS_PER_S:.1f} s old")]

    def _lose(self, reason: LostReason, detail: str, keep_buffer: bool = False) -> list[SyncInstruction]:
        was_ready, self._is_ready = self._is_ready, False
        if not keep_buffer:
            self._book.mark_lost()
        self._tickers.clear()
        self._repeats = self._conflated = 0
        if reason is LostReason.DISCONNECTED:
            self._age.restart()
        if not was_ready and reason is LostReason.DISCONNECTED:
            return []
        self.counts[reason] += 1
        return [BookLost(reason, detail)] if was_ready else []

    def _ask(self, ts_now_ns: int, at_least_ns: int = 0) -> FetchSnapshot:
        self._request_id += 1
        after_ns = max(self._backoff.next_ns(), at_least_ns) + self._settings.stagger_ns
        self._ts_request_due_ns = ts_now_ns + after_ns + self._settings.request_timeout_ns
        return FetchSnapshot(self._request_id, after_ns)

    def _agrees(self, ticker: TickerReceived) -> bool:
        return self._book.bids() == (ticker.bid,) and self._book.asks() == (ticker.ask,)

    def _tell_difference(self, ticker: TickerReceived) -> str:
        book = (*self._book.bids(), *self._book.asks())
        return f"at update {ticker.update_id} the best prices are {(ticker.bid, ticker.ask)}, the book's {book}"
