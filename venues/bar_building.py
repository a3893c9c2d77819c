"""Bars from trades as they come, closed by the trades' own time and an allowance on the clock. Sans-IO.

`BarBuilder(interval_ns, lateness_ns)`: a bar closes once the clock is `lateness_ns` past its end; until then trades of
that bar are taken in whatever order they arrive, and a trade that came before is told by its id. Every close from the
first price on gives one bar:
- no trades, and the tape was whole: a flat bar at the last close, Quality.STALE;
- no trades, and trades may have been lost (`mark_lost`): the same bar, MISSING;
- trades, but some may be lacking, or the bar before was MISSING, or a trade came after its bar was closed: AFTER_GAP.
The owner says what the clock is (the trades' clock: the venue's) and joins funding and open interest afterwards.
Does not know: whether anything was lost; the venue's ids tell its owner, or a connection that was gone.
"""

import math
from collections import deque
from collections.abc import Hashable
from enum import Enum

from market.records import Bar, Quality

CLOSED_KEPT = 16  # bars whose trades' ids are remembered, to tell a repeated trade from a late one


class TradeFate(Enum):
    """What became of a trade."""

    ADDED = "added"
    REPEATED = "repeated"
    LATE = "late"  # its bar was told already
    REFUSED = "refused"  # px or quantity impossible


def make_bar(ts_open_ns: int, pxs: tuple[float, float, float, float], volume_base: float, quality: int = 0) -> Bar:
    """Return a bar of open, high, low, close and volume to which nothing has been joined yet."""
    nan = math.nan
    return Bar(ts_open_ns, *pxs, volume_base, nan, nan, 0.0, 0.0, nan, quality)


def make_flat_bar(ts_open_ns: int, px: float, quality: int) -> Bar:
    """Return the bar of an interval without trades."""
    return make_bar(ts_open_ns, (px, px, px, px), 0.0, quality)


class BarBuilder:
    """One instrument's bars. `counts` says what became of the trades."""

    def __init__(self, interval_ns: int, lateness_ns: int = 0) -> None:
        if interval_ns <= 0 or lateness_ns < 0:
            raise ValueError(f"interval is {interval_ns} ns, lateness {lateness_ns} ns: must be > 0 and >= 0")
        self._interval_ns, self._lateness_ns = interval_ns, lateness_ns
        self._ts_open_ns = -1  # of the next bar to close; -1: not begun
        self._last_px = math.nan
        self._open_bars: dict[int, dict[Hashable, tuple[int, int, float, float]]] = {}
        self._closed: deque[frozenset[Hashable]] = deque(maxlen=CLOSED_KEPT)
        self._lost_ns: list[tuple[int, int]] = []
        self._arrivals = 0
        self._is_after_gap = False
        self.counts = dict.fromkeys(TradeFate, 0)

    @property
    def interval_ns(self) -> int:
        """How long a bar is."""
        return self._interval_ns

    @property
    def ts_open_ns(self) -> int:
        """When the next bar to close opens; -1 before the beginning."""
        return self._ts_open_ns

    def start(self, ts_ns: int, last_px: float = math.nan) -> None:
        """Begin with the bar that holds a time; `last_px`: of the last trade before it, NaN if unknown.

        Without it the bars begin with the first trade, and the first one is marked: it may be partial.
        """
        assert self._ts_open_ns < 0, "begun already"
        self._ts_open_ns, self._last_px = ts_ns - ts_ns % self._interval_ns, last_px

    def add_trade(self, trade_id: Hashable, ts_ns: int, px: float, qty_base: float) -> TradeFate:
        """Take one trade. Trades of one instant keep the order in which they arrive."""
        fate = self._add(trade_id, ts_ns, px, qty_base)
        self.counts[fate] += 1
        return fate

    def _add(self, trade_id: Hashable, ts_ns: int, px: float, qty_base: float) -> TradeFate:
        if not (math.isfinite(px) and math.isfinite(qty_base) and px > 0.0 and qty_base >= 0.0):
            return TradeFate.REFUSED
        ts_open_ns = ts_ns - ts_ns % self._interval_ns
        if self._ts_open_ns < 0:
            self._ts_open_ns = ts_open_ns
            self.mark_lost(ts_open_ns, ts_ns)
        if ts_open_ns < self._ts_open_ns:
            if any(trade_id in ids for ids in self._closed):
                return TradeFate.REPEATED
            self._is_after_gap |= not math.isnan(self._last_px)
            return TradeFate.LATE
        trades = self._open_bars.setdefault(ts_open_ns, {})
        if trade_id in trades:
            return TradeFate.REPEATED
        self._arrivals += 1
        trades[trade_id] = (ts_ns, self._arrivals, px, qty_base)
        return TradeFate.ADDED

    def mark_lost(self, ts_from_ns: int, ts_to_ns: int) -> None:
        """Say that trades from one time to another (included) may be lacking for good."""
        if self._lost_ns and ts_from_ns <= self._lost_ns[-1][1] and ts_to_ns >= self._lost_ns[-1][0]:
            last_from_ns, last_to_ns = self._lost_ns[-1]
            self._lost_ns[-1] = min(last_from_ns, ts_from_ns), max(last_to_ns, ts_to_ns)
        else:
            self._lost_ns.append((ts_from_ns, ts_to_ns))

    def next_due_ns(self) -> int:
        """Return when the next bar may be closed; -1 before the beginning."""
        return self._ts_open_ns + self._interval_ns + self._lateness_ns if self._ts_open_ns >= 0 else -1

    def close_until(self, ts_now_ns: int) -> list[Bar]:
        """Return the bars that are due by now, oldest first: each close once, none left out."""
        closed: list[Bar] = []
        while self._ts_open_ns >= 0 and self.next_due_ns() <= ts_now_ns:
            bar = self._close()
            if bar is not None:
                closed.append(bar)
        return closed

    def _close(self) -> Bar | None:
        # The next bar; None while no price at all is known.
        ts_open_ns = self._ts_open_ns
        ts_close_ns = ts_open_ns + self._interval_ns
        trades = self._open_bars.pop(ts_open_ns, {})
        is_lossy = any(from_ns < ts_close_ns and to_ns >= ts_open_ns for from_ns, to_ns in self._lost_ns)
        self._lost_ns = [lost for lost in self._lost_ns if lost[1] >= ts_close_ns]
        self._ts_open_ns = ts_close_ns
        self._closed.append(frozenset(trades))
        if not trades and math.isnan(self._last_px):
            return None
        was_after_gap, self._is_after_gap = self._is_after_gap, is_lossy and not trades
        after_gap = Quality.AFTER_GAP.value if was_after_gap else 0
        if not trades:
            quality = Quality.MISSING.value if is_lossy else Quality.STALE.value | after_gap
            return make_flat_bar(ts_open_ns, self._last_px, quality)
        rows = sorted(trades.values())
        pxs = [px for _, _, px, _ in rows]
        volume_base = 0.0
        for _, _, _, qty_base in rows:
            volume_base += qty_base
        self._last_px = pxs[-1]
        quality = Quality.AFTER_GAP.value if is_lossy else after_gap
        return make_bar(ts_open_ns, (pxs[0], max(pxs), min(pxs), pxs[-1]), volume_base, quality)
