"""Candles of any interval from public trades, and back-filled from the path for times before the market started.

Trades are kept as base candles (one minute by default); an interval that is a multiple of it is added up when asked. A
past candle comes from the path's bars: bars no longer than the interval are added up, others walked first.

Opens lie on UTC: multiples of the interval since 1970; weeks begin on a Monday, as on the venues. A stretch without a
trade is a flat candle at the last close with volume 0 where `is_filled` (Binance), left out where not (dYdX).
Does not model: months by the calendar (ask for days), candles of anything but trades.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from market.records import NS_PER_DAY, NS_PER_S

BASE_NS = 60 * NS_PER_S
_WEEK_NS = 7 * NS_PER_DAY
_MONDAY_NS = 4 * NS_PER_DAY  # 1970-01-05


@dataclass(frozen=True, slots=True)
class Candle:
    """One candle. It closes at `ts_open_ns + interval_ns`; whether it has is for the asker's clock to say."""

    ts_open_ns: int
    interval_ns: int
    open_px: float
    high_px: float
    low_px: float
    close_px: float
    volume_lots: int
    turnover_lots_px: float  # sum of lots x px: times lot_base it is quote currency
    count: int  # trades
    taker_buy_lots: int
    taker_buy_lots_px: float
    first_trade_id: int  # 0: none, or before the market started
    last_trade_id: int

    @property
    def ts_close_ns(self) -> int:
        """The first instant after it."""
        return self.ts_open_ns + self.interval_ns


def align_open_ns(ts_ns: int, interval_ns: int) -> int:
    """Return when the candle that holds `ts_ns` opened.

    >>> align_open_ns(1_704_067_200_000_000_000, 7 * 86_400_000_000_000) == 1_704_067_200_000_000_000  # a Monday
    True
    """
    offset_ns = _MONDAY_NS if interval_ns % _WEEK_NS == 0 else 0
    return (ts_ns - offset_ns) // interval_ns * interval_ns + offset_ns


def merge_candles(candles: Iterable[Candle], interval_ns: int) -> list[Candle]:
    """Add up candles, oldest first and each inside one interval, into longer ones."""
    merged: list[Candle] = []
    for candle in candles:
        open_ns = align_open_ns(candle.ts_open_ns, interval_ns)
        if not merged or merged[-1].ts_open_ns != open_ns:
            merged.append(replace(candle, ts_open_ns=open_ns, interval_ns=interval_ns))
            continue
        whole = merged[-1]
        merged[-1] = Candle(
            open_ns,
            interval_ns,
            whole.open_px,
            max(whole.high_px, candle.high_px),
            min(whole.low_px, candle.low_px),
            candle.close_px,
            whole.volume_lots + candle.volume_lots,
            whole.turnover_lots_px + candle.turnover_lots_px,
            whole.count + candle.count,
            whole.taker_buy_lots + candle.taker_buy_lots,
            whole.taker_buy_lots_px + candle.taker_buy_lots_px,
            whole.first_trade_id or candle.first_trade_id,
            candle.last_trade_id or whole.last_trade_id,
        )
    return merged


def fill_candles(candles: Sequence[Candle], ts_to_ns: int) -> list[Candle]:
    """Put a flat candle of no volume wherever one is missing between the first and `ts_to_ns`."""
    filled: list[Candle] = []
    for candle in candles:
        while filled and filled[-1].ts_close_ns < candle.ts_open_ns:
            filled.append(_make_flat(filled[-1]))
        filled.append(candle)
    while filled and filled[-1].ts_close_ns < ts_to_ns:
        filled.append(_make_flat(filled[-1]))
    return filled


def _make_flat(before: Candle) -> Candle:
    px = before.close_px
    return Candle(before.ts_close_ns, before.interval_ns, px, px, px, px, 0, 0.0, 0, 0, 0.0, 0, 0)


class CandleBook:
    """The candles of one instrument. `past(ts_from_ns, ts_to_ns, interval_ns)` gives those before its start."""

    def __init__(
        self,
        ts_start_ns: int,
        past: Callable[[int, int, int], list[Candle]] | None = None,
        base_ns: int = BASE_NS,
    ) -> None:
        self._ts_start_ns, self._past, self._base_ns = ts_start_ns, past, base_ns
        self._opens_ns: list[int] = []
        self._rows: list[list[float]] = []  # open, high, low, close, turnover, taker buy turnover
        self._counts: list[list[int]] = []  # lots, trades, taker buy lots, first id, last id

    def add_trade(self, trade_id: int, px: float, qty_lots: int, taker_side: int, ts_event_ns: int) -> None:
        """Take one trade, not older than the one before."""
        open_ns = ts_event_ns // self._base_ns * self._base_ns
        if not self._opens_ns or self._opens_ns[-1] != open_ns:
            assert not self._opens_ns or self._opens_ns[-1] < open_ns, "trades come oldest first"
            self._opens_ns.append(open_ns)
            self._rows.append([px, px, px, px, 0.0, 0.0])
            self._counts.append([0, 0, 0, trade_id, trade_id])
        row, counts = self._rows[-1], self._counts[-1]
        if px > row[1]:
            row[1] = px
        elif px < row[2]:
            row[2] = px
        row[3] = px
        row[4] += px * qty_lots
        counts[0] += qty_lots
        counts[1] += 1
        counts[4] = trade_id
        if taker_side > 0:
            row[5] += px * qty_lots
            counts[2] += qty_lots

    def list_candles(self, interval_ns: int, ts_from_ns: int, ts_to_ns: int, *, is_filled: bool = True) -> list[Candle]:
        """Return the candles that open in [ts_from_ns, ts_to_ns), oldest first, the one still open included.

        Raises ValueError for an interval that is not a multiple of the base.
        """
        if interval_ns <= 0 or interval_ns % self._base_ns:
            raise ValueError(f"candle interval is {interval_ns} ns: must be a multiple of {self._base_ns} ns")
        first_ns = align_open_ns(ts_from_ns - 1, interval_ns) + interval_ns  # the first open not before
        past: list[Candle] = []
        if self._past is not None and first_ns < self._ts_start_ns:
            past = self._past(first_ns, min(ts_to_ns + interval_ns, self._ts_start_ns), interval_ns)
        index = bisect_left(self._opens_ns, first_ns)
        live = (self._make(row) for row in range(index, len(self._opens_ns)))
        candles = [c for c in merge_candles([*past, *live], interval_ns) if first_ns <= c.ts_open_ns < ts_to_ns]
        if not is_filled:
            return candles
        ts_known_ns = self._opens_ns[-1] + self._base_ns if self._opens_ns else self._ts_start_ns
        return fill_candles(candles, min(ts_to_ns, ts_known_ns))

    def _make(self, index: int) -> Candle:
        row, counts = self._rows[index], self._counts[index]
        return Candle(
            self._opens_ns[index],
            self._base_ns,
            row[0],
            row[1],
            row[2],
            row[3],
            counts[0],
            row[4],
            counts[1],
            counts[2],
            row[5],
            counts[3],
            counts[4],
        )
