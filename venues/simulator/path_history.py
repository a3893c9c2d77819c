"""What happened before a driven market started: candles and funding settlements out of its path's earlier bars."""

from functools import lru_cache

import numpy as np

from venues.simulator.candles import BASE_NS, Candle, merge_candles
from venues.simulator.funding import FundingSettled
from venues.simulator.price_path import PricePath, round_to_tick


class PathHistory:
    """The past of one instrument."""

    def __init__(self, path: PricePath, ts_start_ns: int, block_ns: int, base_ns: int = BASE_NS) -> None:
        self._base_ns = base_ns
        self._path, self._ts_start_ns, self._block_ns = path, ts_start_ns, block_ns
        self._walk = lru_cache(maxsize=128)(self._walk_bar)

    def list_candles(self, ts_from_ns: int, ts_to_ns: int, interval_ns: int) -> list[Candle]:
        """Return the candles between two times, oldest first, none at or after the market's start.

        Bars that fit into the interval are taken as they are, each split evenly between buyers and sellers; longer ones
        are walked, and their trades counted at the path's px, and so is the one in which the market started.
        """
        path = self._path
        first = max(0, (ts_from_ns - path.ts_first_ns) // path.interval_ns)
        last = -(-(min(ts_to_ns, self._ts_start_ns) - path.ts_first_ns) // path.interval_ns)
        is_whole = interval_ns % path.interval_ns == 0
        candles: list[Candle] = []
        for bar_index in range(first, min(last, len(path.bars))):
            is_past = path.ts_first_ns + (bar_index + 1) * path.interval_ns <= self._ts_start_ns
            candles += [self._take_bar(bar_index)] if is_whole and is_past else self._walk(bar_index)
        return merge_candles((c for c in candles if ts_from_ns <= c.ts_open_ns < ts_to_ns), interval_ns)

    def list_fundings(self) -> list[FundingSettled]:
        """Return the settlements at the opens of the path's bars, at their open px; premiums are not known to them.

        Those inside a bar (bars longer than the funding interval) are known as sums only and left out.
        """
        settled: list[FundingSettled] = []
        bars, instrument_id = self._path.bars, self._path.instrument.instrument_id
        for bar in bars[(bars["funding_open_rate"] != 0.0) & (bars["ts_open_ns"] < self._ts_start_ns)]:
            rate, ts_ns = float(bar["funding_open_rate"]), int(bar["ts_open_ns"])
            settled.append(FundingSettled(instrument_id, ts_ns, rate, 0.0, float(bar["open_px"])))
        return settled

    def _take_bar(self, bar_index: int) -> Candle:
        bar, path = self._path.bars[bar_index], self._path
        lots = round(float(np.nan_to_num(bar["volume_base"])) / path.instrument.lot_base)
        open_px, high_px, low_px, close_px = (float(bar[name]) for name in ("open_px", "high_px", "low_px", "close_px"))
        turnover = lots * (open_px + high_px + low_px + close_px) / 4.0
        count = max(1, int(0.3 * path.interval_ns / self._block_ns)) if lots else 0
        half = 0.5 * turnover
        pxs = (open_px, high_px, low_px, close_px)
        return _make_candle(int(bar["ts_open_ns"]), path.interval_ns, pxs, lots, turnover, count, lots // 2, half)

    def _walk_bar(self, bar_index: int) -> list[Candle]:
        stretch = self._path.make_stretch(bar_index)
        ts_ns = self._ts_start_ns + (stretch.step_first + np.arange(len(stretch.pxs))) * self._block_ns
        lots, pxs = np.array(stretch.taker_lots), round_to_tick(np.array(stretch.pxs), self._path.instrument.tick_px)
        traded = np.flatnonzero((lots != 0) & (ts_ns < self._ts_start_ns))
        opens_ns = ts_ns[traded] // self._base_ns * self._base_ns
        cuts = np.flatnonzero(np.diff(opens_ns)) + 1
        candles: list[Candle] = []
        for rows in np.split(traded, cuts) if len(traded) else []:
            row_pxs, row_lots = pxs[rows], np.abs(lots[rows])
            bought = np.where(lots[rows] > 0, row_lots, 0)
            pxs_ohlc = (float(row_pxs[0]), float(row_pxs.max()), float(row_pxs.min()), float(row_pxs[-1]))
            candles.append(
                _make_candle(
                    int(ts_ns[rows[0]]) // self._base_ns * self._base_ns,
                    self._base_ns,
                    pxs_ohlc,
                    int(row_lots.sum()),
                    float(row_lots @ row_pxs),
                    len(rows),
                    int(bought.sum()),
                    float(bought @ row_pxs),
                )
            )
        return candles


def _make_candle(
    ts_open_ns: int,
    interval_ns: int,
    pxs: tuple[float, float, float, float],
    lots: int,
    turnover: float,
    count: int,
    taker_buy_lots: int,
    taker_buy: float,
) -> Candle:
    open_px, high_px, low_px, close_px = pxs
    return Candle(
        ts_open_ns,
        interval_ns,
        open_px,
        high_px,
        low_px,
        close_px,
        lots,
        turnover,
        count,
        taker_buy_lots,
        taker_buy,
        0,
        0,
    )
