"""One instrument's candles as bars: each close once, in order, none left out, whatever the stream forgets. Sans-IO.

The stream's final push (x: true) is told at once if it is the next; one that is late, lost with a connection or behind
a hole is asked of REST (`FetchKlines`), and what came meanwhile waits for it. A row of REST counts as closed when
another follows it, or when both clocks are past its end. A close that REST does not have either is a flat bar,
Quality.MISSING; the bar after it is AFTER_GAP. A bar without trades is STALE.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from market.records import NS_PER_DAY, NS_PER_MS, NS_PER_S, Bar, Quality
from venues.bar_building import make_bar, make_flat_bar
from venues.binance.messages import KlineBar
from venues.binance.numbers import parse_px, parse_qty
from venues.binance.rest_replies import KlineRow
from venues.book_feed import Backoff

_MINUTE_NS = 60 * NS_PER_S
INTERVAL_WORDS = {
    minutes * _MINUTE_NS: word
    for minutes, word in (
        (1, "1m"), (3, "3m"), (5, "5m"), (15, "15m"), (30, "30m"), (60, "1h"), (120, "2h"), (240, "4h"), (360, "6h"),
        (480, "8h"), (720, "12h"), (1440, "1d"),
    )
}  # fmt: skip
WAITING_MAX = 1000


def check_interval(interval_ns: int) -> int:
    """Return the interval if bars of it can be had. Raises ValueError for one below a second or above a day."""
    if not NS_PER_S <= interval_ns <= NS_PER_DAY or interval_ns % NS_PER_MS:
        raise ValueError(f"bars of {interval_ns} ns: binance bars are of whole ms, a second at least, a day at most")
    return interval_ns


def read_bar(row: KlineBar | KlineRow) -> Bar:
    """Return a candle's numbers. Raises MalformedMessageError for what are none."""
    pxs = (parse_px(row.open_px), parse_px(row.high_px), parse_px(row.low_px), parse_px(row.close_px))
    volume_base = parse_qty(row.volume_base)
    quality = Quality.STALE.value if volume_base == 0.0 and pxs[1] == pxs[2] else 0
    return make_bar(row.ts_open_ms * NS_PER_MS, pxs, volume_base, quality)


def keep_closed(rows: Sequence[Bar], interval_ns: int, ts_now_ns: int) -> list[Bar]:
    """Return the rows, oldest first, that will not change: followed by another, or over by `ts_now_ns`."""
    return [*rows[:-1]] + [row for row in rows[-1:] if row.ts_open_ns + interval_ns <= ts_now_ns]


def fill_holes(rows: Sequence[Bar], interval_ns: int) -> list[Bar]:
    """Return the bars without a hole: what lacks is flat and MISSING, the bar after it AFTER_GAP."""
    filled: list[Bar] = []
    for row in rows:
        if filled and row.ts_open_ns <= filled[-1].ts_open_ns:
            continue
        bar = row
        if filled and row.ts_open_ns > filled[-1].ts_open_ns + interval_ns:
            bar = row._replace(quality=row.quality | Quality.AFTER_GAP.value)
        while filled and filled[-1].ts_open_ns + interval_ns < row.ts_open_ns:
            filled.append(
                make_flat_bar(filled[-1].ts_open_ns + interval_ns, filled[-1].close_px, Quality.MISSING.value)
            )
        filled.append(bar)
    return filled


@dataclass(frozen=True, slots=True)
class FetchKlines:
    """Ask REST for candles from an open on, `after_ns` from now; the answer names `request_id`."""

    request_id: int
    ts_open_ns: int
    after_ns: int


@dataclass(frozen=True, slots=True)
class KlineSettings:
    """How patient the machine is [ns]: a final push may be so late before REST is asked."""

    lateness_ns: int = 2 * NS_PER_S
    request_timeout_ns: int = 12 * NS_PER_S


class KlineFeed:
    """The bars of one instrument and interval. `backfilled` came by REST, `missing` from nowhere."""

    def __init__(self, interval_ns: int, settings: KlineSettings | None = None) -> None:
        self._interval_ns = interval_ns
        self._settings = settings or KlineSettings()
        self._ts_open_ns = -1  # of the next bar to tell
        self._last_px = math.nan
        self._is_after_gap = False
        self._waiting: dict[int, Bar] = {}
        self._backoff = Backoff(NS_PER_S, 30 * NS_PER_S, 0)
        self._request_id = 0
        self._ts_request_due_ns = -1
        self.backfilled = self.missing = self.repeats = 0

    @property
    def ts_open_ns(self) -> int:
        """When the next bar to tell opens; -1: not begun."""
        return self._ts_open_ns

    def begin(self, ts_now_ns: int) -> None:
        """Begin with the candle that is forming now."""
        if self._ts_open_ns < 0:
            self._ts_open_ns = ts_now_ns - ts_now_ns % self._interval_ns

    def is_overdue(self, ts_now_ns: int) -> bool:
        """Whether the next bar should long have come; `ts_now_ns` of the clock that is behind."""
        return 0 <= self._ts_open_ns <= ts_now_ns - self._interval_ns - 4 * self._settings.lateness_ns

    def on_final(self, bar: Bar, ts_now_ns: int) -> list[Bar | FetchKlines]:
        """Take in the final push of a candle."""
        if self._ts_open_ns < 0 or bar.ts_open_ns < self._ts_open_ns or bar.ts_open_ns in self._waiting:
            self.repeats += 1
            return []
        if len(self._waiting) < WAITING_MAX:
            self._waiting[bar.ts_open_ns] = bar
        told = self._drain()
        if self._waiting and self._ts_request_due_ns < 0:
            told.append(self._ask(ts_now_ns))
        return told

    def on_rows(self, request_id: int, rows: Sequence[Bar], ts_now_ns: int) -> list[Bar | FetchKlines]:
        """Take in REST's answer, oldest first; `ts_now_ns` of the clock that is behind."""
        if request_id != self._request_id or self._ts_request_due_ns < 0:
            return []
        self._ts_request_due_ns = -1
        closed = [bar for bar in keep_closed(rows, self._interval_ns, ts_now_ns) if bar.ts_open_ns >= self._ts_open_ns]
        for bar in closed:
            if bar.ts_open_ns not in self._waiting:
                self._waiting[bar.ts_open_ns] = bar
                self.backfilled += 1
        if closed and not math.isnan(self._last_px):
            for ts_open_ns in range(self._ts_open_ns, closed[0].ts_open_ns, self._interval_ns):
                if ts_open_ns not in self._waiting:  # REST has later ones, not this
                    self._waiting[ts_open_ns] = make_flat_bar(ts_open_ns, math.nan, Quality.MISSING.value)
        elif closed:
            self._ts_open_ns = min(self._waiting)
        told = self._drain()
        if told:
            self._backoff.attempts = 0
        if self._waiting:
            told.append(self._ask(ts_now_ns))
        return told

    def on_failed(self, request_id: int, retry_after_ns: int, ts_now_ns: int) -> list[Bar | FetchKlines]:
        """REST did not answer, or refused."""
        if request_id != self._request_id or self._ts_request_due_ns < 0:
            return []
        return [self._ask(ts_now_ns, retry_after_ns)]

    def on_time(self, ts_now_ns: int) -> list[Bar | FetchKlines]:
        """Return what is due; `ts_now_ns` of the clock that is behind."""
        if self._ts_open_ns < 0:
            return []
        if self._ts_request_due_ns >= 0:
            return [self._ask(ts_now_ns)] if self._ts_request_due_ns <= ts_now_ns else []
        is_due = self._ts_open_ns + self._interval_ns + self._settings.lateness_ns <= ts_now_ns
        return [self._ask(ts_now_ns)] if is_due else []

    def _drain(self) -> list[Bar | FetchKlines]:
        told: list[Bar | FetchKlines] = []
        while (bar := self._waiting.pop(self._ts_open_ns, None)) is not None:
            told.append(self._mark(bar))
            self._ts_open_ns += self._interval_ns
        return told

    def _mark(self, bar: Bar) -> Bar:
        if bar.quality & Quality.MISSING:
            bar = make_flat_bar(bar.ts_open_ns, self._last_px, bar.quality)
            self.missing += 1
            self._is_after_gap = True
            return bar
        was_after_gap, self._is_after_gap = self._is_after_gap, False
        self._last_px = bar.close_px
        return bar._replace(quality=bar.quality | Quality.AFTER_GAP.value) if was_after_gap else bar

    def _ask(self, ts_now_ns: int, at_least_ns: int = 0) -> FetchKlines:
        self._request_id += 1
        after_ns = max(self._backoff.next_ns(), at_least_ns)
        self._ts_request_due_ns = ts_now_ns + after_ns + self._settings.request_timeout_ns
        return FetchKlines(self._request_id, self._ts_open_ns, after_ns)
