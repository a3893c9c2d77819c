"""What happened before a driven market started: candles, premiums and settlements out of its path's earlier bars."""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from venues.simulator.candles import BASE_NS, Candle, merge_candles
from venues.simulator.funding import (
    INTEREST_8H_FRAC,
    NS_PER_HOUR,
    FundingRule,
    FundingSettled,
    invert_funding_rate,
)
from venues.simulator.price_path import PricePath, round_to_tick

WALKS_KEPT = 1024  # bars: whoever asks for the same long past again should not have it walked again


class PathHistory:
    """The past of one instrument."""

    def __init__(
        self,
        path: PricePath,
        ts_start_ns: int,
        block_ns: int,
        base_ns: int = BASE_NS,
        rule: FundingRule = FundingRule.HYPERLIQUID,
    ) -> None:
        self._base_ns, self._rule = base_ns, rule
        self._path, self._ts_start_ns, self._block_ns = path, ts_start_ns, block_ns
        self._walk = lru_cache(maxsize=WALKS_KEPT)(self._walk_bar)

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
        """Return the settlements of the path's bars, oldest first, premiums unknown.

        One at a bar's open is at its open px. Of those inside a bar only the sum is known: each gets its even share, at
        a px between open and close. A path that knows no rates has settled what interest alone gives.
        """
        settled: list[FundingSettled] = []
        path, instrument_id = self._path, self._path.instrument.instrument_id
        every_ns = path.instrument.funding_interval_h * NS_PER_HOUR
        bars = path.bars[path.bars["ts_open_ns"] < self._ts_start_ns]
        is_due = -bars["ts_open_ns"] % every_ns < path.interval_ns  # the end of a funding interval lies in the bar
        for bar in bars[is_due | (bars["funding_open_rate"] != 0.0)]:
            open_ns = int(bar["ts_open_ns"])
            inside_ns = [*range((open_ns // every_ns + 1) * every_ns, open_ns + path.interval_ns, every_ns)]
            at_open, inside = self._split_rates(bar, open_ns % every_ns == 0, len(inside_ns))
            open_px, moved_px = float(bar["open_px"]), float(bar["close_px"] - bar["open_px"])
            if at_open:
                settled.append(FundingSettled(instrument_id, open_ns, at_open, 0.0, open_px))
            for ts_ns in inside_ns:
                px = open_px + moved_px * (ts_ns - open_ns) / path.interval_ns
                if inside and ts_ns < self._ts_start_ns:
                    settled.append(FundingSettled(instrument_id, ts_ns, inside, 0.0, px))
        return settled

    def _split_rates(self, bar: Any, is_hour: bool, inside: int) -> tuple[float, float]:
        # The rate settled at a bar's open, 0.0 for none, and each of those inside it.
        if math.isnan(float(bar["funding_rate"])) and not bar["funding_open_rate"] and not bar["funding_inside_rate"]:
            rate = self._interest_rate()
            return (rate if is_hour else 0.0), rate
        return float(bar["funding_open_rate"]), round(float(bar["funding_inside_rate"]) / max(1, inside), 10)

    def _interest_rate(self) -> float:
        hours = self._path.instrument.funding_interval_h
        return INTEREST_8H_FRAC / 8.0 * hours if self._rule is FundingRule.HYPERLIQUID else 0.0

    def get_premium_frac(self, ts_ns: int) -> float:
        """Return how far the perpetual led its index at a time: what gives the bar's rate, moving from bar to bar."""
        position = (ts_ns - self._path.ts_first_ns) / self._path.interval_ns
        bar_index = math.floor(position)
        before, after = self._premium(bar_index - 1), self._premium(bar_index)
        return before + (position - bar_index) * (after - before)

    def _premium(self, bar_index: int) -> float:
        bars, instrument = self._path.bars, self._path.instrument
        rate = float(bars["funding_rate"][min(max(bar_index, 0), len(bars) - 1)])
        rate = self._interest_rate() if math.isnan(rate) else rate
        return invert_funding_rate(rate, instrument.funding_interval_h, self._rule)

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
