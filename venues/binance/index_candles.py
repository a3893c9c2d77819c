"""Candles of mark px, index px and premium of one instrument: recorded while the simulator runs, else derived. Sans-IO.

Recorded: every published mark counts, by the minute. Of earlier times only trades are known: the mark then is their px,
and the index that px less the path's premium. A candle across the two is joined.
Does not model: the averages over other exchanges that the venue's index is.
"""

from bisect import bisect_left
from enum import StrEnum

from venues.binance.intervals import MINUTE_NS, find_next_open_ns, list_candles, list_opens_ns
from venues.simulator.candles import Candle
from venues.simulator.driven_market import DrivenMarket, Mark

Shape = tuple[float, float, float, float]  # open, high, low, close


class Series(StrEnum):
    """What a candle is of."""

    MARK = "mark"
    INDEX = "index"
    PREMIUM = "premium"


class IndexCandles:
    """Minutes of what was published, and candles of any interval of them and of what came before."""

    def __init__(self, market: DrivenMarket, instrument_id: str) -> None:
        self._market, self._instrument_id = market, instrument_id
        self._opens_ns: list[int] = []
        self._minutes: dict[Series, list[list[float]]] = {series: [] for series in Series}

    def add_mark(self, mark: Mark) -> None:
        """Take in what was published."""
        open_ns = mark.ts_event_ns // MINUTE_NS * MINUTE_NS
        is_new = not self._opens_ns or self._opens_ns[-1] != open_ns
        if is_new:
            self._opens_ns.append(open_ns)
        values = (mark.mark_px, mark.oracle_px, mark.mark_px / mark.oracle_px - 1.0)
        for series, value in zip(Series, values, strict=True):
            minutes = self._minutes[series]
            if is_new:
                minutes.append([value] * 4)
            else:
                row = minutes[-1]
                row[1], row[2], row[3] = max(row[1], value), min(row[2], value), value

    def list_shapes(self, series: Series, interval: str, ts_from_ns: int, ts_to_ns: int) -> list[tuple[int, Shape]]:
        """Return (open time, prices) of the candles that open in [from, to), oldest first, none left out."""

        def fetch(interval_ns: int, from_ns: int, to_ns: int) -> list[Candle]:
            return self._market.list_candles(self._instrument_id, interval_ns, from_ns, to_ns)

        traded = list_candles(fetch, interval, ts_from_ns, ts_to_ns)
        derived = {candle.ts_open_ns: self._derive(series, candle) for candle in traded}
        ts_from_ns = max(ts_from_ns, min((*derived, *self._opens_ns[:1]), default=ts_to_ns))  # nothing known before
        shapes: list[tuple[int, Shape]] = []
        for open_ns in list_opens_ns(interval, ts_from_ns, min(ts_to_ns, self._market.ts_now_ns + 1)):
            to_ns = find_next_open_ns(interval, open_ns)
            shape = self._find(series, open_ns, to_ns, derived.get(open_ns))
            if shape is not None:
                shapes.append((open_ns, shape))
        return shapes

    def _find(self, series: Series, open_ns: int, to_ns: int, derived: Shape | None) -> Shape | None:
        first, last = (bisect_left(self._opens_ns, ts_ns) for ts_ns in (open_ns, to_ns))
        rows = self._minutes[series][first:last]
        if not rows:
            return derived
        is_whole = first > 0 or self._opens_ns[0] == open_ns  # recorded from its first minute on
        shape = rows[0][0], max(row[1] for row in rows), min(row[2] for row in rows), rows[-1][3]
        if derived is None or is_whole:
            return shape
        return derived[0], max(derived[1], shape[1]), min(derived[2], shape[2]), shape[3]

    def _derive(self, series: Series, candle: Candle) -> Shape:
        premiums = [
            self._market.get_premium_frac(self._instrument_id, ts_ns)
            for ts_ns in (candle.ts_open_ns, candle.ts_close_ns)
        ]
        if series is Series.PREMIUM:
            return premiums[0], max(premiums), min(premiums), premiums[1]
        pxs = candle.open_px, candle.high_px, candle.low_px, candle.close_px
        if series is Series.MARK:
            return pxs
        opened, closed = pxs[0] / (1.0 + premiums[0]), pxs[3] / (1.0 + premiums[1])
        middle = 1.0 + 0.5 * (premiums[0] + premiums[1])
        return opened, max(opened, closed, pxs[1] / middle), min(opened, closed, pxs[2] / middle), closed
