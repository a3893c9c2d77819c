"""The feed's integrity: bars leave in order, once, checked; what is wrong with them travels as quality flags."""

import math
from collections import deque

from actors.messages import AccountUpdate, Alert, Approvals, Instruction, Message, Record, Send, Severity
from market.events import BarsClosed
from market.records import Bar, Quality


def compute_quality(bar: Bar) -> int:
    """Return the bar's quality flags together with what its own numbers show.

    A price that is not finite, a range that cannot be, a volume below zero: risk denies what is built on them.
    """
    quality = bar.quality
    prices = (bar.open_px, bar.high_px, bar.low_px, bar.close_px)
    if not all(math.isfinite(px) for px in prices):
        return quality | Quality.NOT_FINITE.value
    is_range_possible = bar.low_px <= min(bar.open_px, bar.close_px) <= max(bar.open_px, bar.close_px) <= bar.high_px
    if bar.low_px <= 0.0 or not is_range_possible or not bar.volume_base >= 0.0:
        quality |= Quality.IMPOSSIBLE.value
    return quality


class MarketFeedMachine:
    """Publishes closed bars of one group; at most `window` closes are ahead of the governor's last approval.

    Invariants: published closes strictly increase; a gap in time is flagged, never filled in silence.
    """

    def __init__(self, interval_ns: int, subscribers: tuple[str, ...], window: int = 64) -> None:
        assert interval_ns > 0
        assert window > 0
        self._interval_ns = interval_ns
        self._subscribers = subscribers
        self._window = window
        self._ts_published_ns = 0
        self._ts_confirmed_ns = 0
        self._unconfirmed: deque[int] = deque()
        self._is_live = False  # whether a close has been published that could be decided on

    @property
    def ts_published_ns(self) -> int:
        """The last close that was published; 0: none yet."""
        return self._ts_published_ns

    @property
    def is_open(self) -> bool:
        """Whether the source may hand over another interval."""
        return len(self._unconfirmed) < self._window

    def handle(self, event: Message, ts_now_ns: int) -> list[Instruction]:
        """Check and publish bars of the source; note how far the governor has come."""
        match event:
            case BarsClosed():
                return self._publish(event, ts_now_ns)
            case Approvals():
                self._ts_confirmed_ns = max(self._ts_confirmed_ns, event.ts_close_ns)
                while self._unconfirmed and self._unconfirmed[0] <= event.ts_close_ns:
                    self._unconfirmed.popleft()
                return []
            case AccountUpdate():
                return []
            case _:
                raise TypeError(f"no handler for {type(event).__name__}")

    def _publish(self, event: BarsClosed, ts_now_ns: int) -> list[Instruction]:
        if event.ts_close_ns <= self._ts_published_ns:
            text = f"bars of {event.ts_close_ns} came after those of {self._ts_published_ns} and were dropped"
            alert = Alert(Severity.WARNING, "feed.disorder", text, ts_now_ns)
            return [Record(alert), Send(("herald",), alert)]
        instructions: list[Instruction] = []
        flag = 0
        if self._ts_published_ns and event.ts_close_ns != self._ts_published_ns + self._interval_ns:
            flag = Quality.AFTER_GAP.value
            if not event.is_history:  # there, nothing was missed by anybody
                text = f"gap in bars between {self._ts_published_ns} and {event.ts_close_ns}"
                alert = Alert(Severity.WARNING, "feed.gap", text, ts_now_ns)
                instructions += [Record(alert), Send(("herald",), alert)]
        if event.is_history and self._is_live:
            text = f"bars of {event.ts_close_ns} came too late: they are observed, nothing is decided on them"
            alert = Alert(Severity.WARNING, "feed.late", text, ts_now_ns)
            instructions += [Record(alert), Send(("herald",), alert)]
        self._is_live = self._is_live or not event.is_history
        self._ts_published_ns = event.ts_close_ns
        if event.ts_close_ns > self._ts_confirmed_ns:  # else it is published again after a restart: nobody will answer
            self._unconfirmed.append(event.ts_close_ns)
        bars = tuple(bar._replace(quality=compute_quality(bar) | flag) for bar in event.bars)
        closed = BarsClosed(event.ts_close_ns, bars, is_history=event.is_history)
        instructions.append(Send(self._subscribers, closed))
        return instructions
