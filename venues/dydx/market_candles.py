"""Closed candles, each told once and in order, out of an Indexer that repeats the current one and loses some. Sans-IO.

The socket says that a candle has begun, which closes the one before; the rows themselves come from REST, where they are
whole. A candle without trades does not exist on this venue: its bar is left out.
"""

import math
from collections.abc import Iterable

from market.records import NS_PER_S, Bar
from venues.dydx.indexer import CANDLE_RESOLUTIONS_S, read_time
from venues.dydx.indexer_records import CandleRow


def find_resolution(interval_ns: int) -> str:
    """Return the venue's name of an interval. Raises ValueError if it makes no such candles.

    >>> find_resolution(900_000_000_000)
    '15MINS'
    """
    for name, seconds in CANDLE_RESOLUTIONS_S.items():
        if seconds * NS_PER_S == interval_ns:
            return name
    allowed = ", ".join(CANDLE_RESOLUTIONS_S)
    raise ValueError(f"dYdX makes no bars of {interval_ns / NS_PER_S:g} s: one of {allowed}")


def read_bar(row: CandleRow) -> Bar:
    """Return a candle as a bar; what it does not say is NaN (open interest, rates) or 0.0 (rates settled within)."""
    prices = (float(row.open), float(row.high), float(row.low), float(row.close))
    volume = float(row.base_token_volume)
    return Bar(read_time(row.started_at), *prices, volume, math.nan, math.nan, 0.0, 0.0, math.nan, 0)


class ClosedCandles:
    """Which candles of one market were told."""

    def __init__(self, interval_ns: int, ts_now_ns: int) -> None:
        """Tell those that close from now on."""
        self.interval_ns = interval_ns
        self.ts_next_open_ns = ts_now_ns // interval_ns * interval_ns  # the first candle not told yet

    def is_due(self, ts_venue_ns: int) -> bool:
        """Return whether a candle has closed that was not told."""
        return ts_venue_ns >= self.ts_next_open_ns + self.interval_ns

    def take(self, rows: Iterable[CandleRow], ts_venue_ns: int) -> list[Bar]:
        """Return the closed ones among rows not told before, oldest first."""
        bars = sorted((read_bar(row) for row in rows), key=lambda bar: bar.ts_open_ns)
        fresh: list[Bar] = []
        for bar in bars:
            is_closed = bar.ts_open_ns + self.interval_ns <= ts_venue_ns
            if is_closed and bar.ts_open_ns >= self.ts_next_open_ns:
                self.ts_next_open_ns = bar.ts_open_ns + self.interval_ns
                fresh.append(bar)
        return fresh
