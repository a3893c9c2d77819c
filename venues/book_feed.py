"""What every venue's order-book feed needs, whatever its wire says: backoff, the age of data, conflation. Sans-IO.

Times are inputs (UTC ns). Does not know how a venue joins its updates: that is `venues/<venue>/book_sync.py`.
"""

from dataclasses import dataclass
from enum import StrEnum

from market.book import Levels


class LostReason(StrEnum):
    """Why a book may not be used."""

    DISCONNECTED = "disconnected"
    GAP = "gap"  # updates were lost, or came out of order
    REPEATED = "repeated"  # an update already applied came again: the transport cannot be trusted
    CROSSED = "crossed"  # best bid >= best ask
    STALE = "stale"  # data too old by the input clock
    FROZEN = "frozen"  # the best prices move, the book does not
    DISAGREES = "disagrees"  # the best prices of another stream, at the same update, are others


@dataclass(frozen=True, slots=True)
class BookView:
    """The book at one instant, as a consumer takes it; `conflated` updates were folded into it."""

    last_id: int
    bids: Levels  # (px, qty), best first
    asks: Levels
    ts_event_ns: int
    ts_recv_ns: int
    conflated: int


class Backoff:
    """Waits that double from `base_ns` to `max_ns`, and begin again once things have gone well for `settle_ns`."""

    __slots__ = ("attempts", "base_ns", "max_ns", "settle_ns")

    def __init__(self, base_ns: int, max_ns: int, settle_ns: int) -> None:
        self.base_ns = base_ns
        self.max_ns = max_ns
        self.settle_ns = settle_ns
        self.attempts = 0

    def next_ns(self) -> int:
        """Return how long to wait before the next attempt: 0, base, 2 base, 4 base, ... at most `max_ns`."""
        wait_ns = 0 if self.attempts == 0 else min(self.max_ns, self.base_ns << min(self.attempts - 1, 62))
        self.attempts += 1
        return wait_ns

    def settle(self, good_for_ns: int) -> None:
        """Forget past attempts if all has gone well long enough."""
        if good_for_ns >= self.settle_ns:
            self.attempts = 0


class DataAge:
    """How old the newest data are, when the local clock and the venue's may differ by a constant.

    Until the offset is measured, the quickest message seen stands for it: messages that come later and later are
    noticed, a connection that was late from its first message is not (measure the offset: `set_clock_offset`).
    """

    __slots__ = ("_is_measured", "_offset_ns", "ts_event_ns", "ts_recv_ns")

    def __init__(self) -> None:
        self.ts_event_ns = 0
        self.ts_recv_ns = 0
        self._offset_ns = 0  # local clock minus venue clock, transit included unless measured
        self._is_measured = False

    def set_clock_offset(self, offset_ns: int) -> None:
        """Say what the local clock reads minus what the venue's reads, as measured."""
        self._offset_ns, self._is_measured = offset_ns, True

    def note(self, ts_event_ns: int, ts_recv_ns: int) -> None:
        """Take in one message's times; `ts_event_ns` 0: the venue did not say."""
        if ts_event_ns and not self._is_measured:
            quickest_ns = ts_recv_ns - ts_event_ns
            self._offset_ns = quickest_ns if not self.ts_event_ns else min(self._offset_ns, quickest_ns)
        self.ts_event_ns = max(self.ts_event_ns, ts_event_ns)
        self.ts_recv_ns = max(self.ts_recv_ns, ts_recv_ns)

    def restart(self) -> None:
        """Forget the past of a closed connection; a measured offset stays."""
        self.ts_event_ns = self.ts_recv_ns = 0

    def compute_ns(self, ts_now_ns: int) -> int:
        """Return the age of the newest data [ns], >= 0; 0 before the first message."""
        if not self.ts_recv_ns:
            return 0
        silent_ns = ts_now_ns - self.ts_recv_ns
        late_ns = ts_now_ns - (self.ts_event_ns + self._offset_ns) if self.ts_event_ns else 0
        return max(0, silent_ns, late_ns)

    def compute_due_ns(self, age_ns: int) -> int:
        """Return when, without another message, the newest data will be `age_ns` old."""
        due_ns = self.ts_recv_ns + age_ns
        return min(due_ns, self.ts_event_ns + self._offset_ns + age_ns) if self.ts_event_ns else due_ns
