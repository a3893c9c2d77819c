"""Where the driven market's prices come from: bars, each walked step by step through its open, high, low and close.

One step is one block of the market. A bar is walked from its open to one extreme, then the other, and to its
close, at seeded steps; between these it wanders and stays inside the range. Its volume is split over seeded steps, the
extremes among them. Everything about a bar is a function of (seed, instrument, bar): who asks when changes nothing.
After the last bar: more bars, where there is something that makes them; else STOP (nothing moves or trades), HOLD (last
px, mean volume) or LOOP (the bars again, scaled to go on from the last px). Paths of one `walk_key` and seed over bars
of the same shape walk alike inside each bar, whatever else is drawn for them: one market, seen at several venues.
Does not model: gaps inside a bar, volatility that clusters inside it.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.instruments import Instrument
from market.records import BAR_DTYPE
from venues.simulator.funding import FundingRule, invert_funding_rate

FloatArray = NDArray[np.float64]

STEPS_PER_BAR_MIN = 4  # open, two extremes, close


class PathEnd(StrEnum):
    """What happens after the last bar."""

    STOP = "stop"
    HOLD = "hold"
    LOOP = "loop"


@dataclass(frozen=True, slots=True)
class Stretch:
    """One bar, step by step. Lists, as the market reads one entry a step."""

    bar_index: int  # counts on past the last bar
    step_first: int
    pxs: list[float]
    taker_lots: list[int]  # signed: > 0 a taker buys, 0 no trade in this step
    draws: list[float]  # uniform, for whatever the house does in the step
    premium_from_frac: float  # at the bar's first step; it moves to the next bar's on the way
    premium_to_frac: float
    open_interest_lots: int
    level_lots: int  # a plausible size of one price level
    is_over: bool  # past a path that stops


def walk_bar(
    open_px: float, high_px: float, low_px: float, close_px: float, normals: FloatArray, uniforms: FloatArray
) -> tuple[FloatArray, int, int]:
    """Return the px of each step, and the steps of the high and of the low.

    Parameters
    ----------
    normals : float64[n], n >= 4
    uniforms : float64[3]
        Which extreme comes first, and when both come.

    A bar that rose tends to touch its low first, one that fell its high.
    """
    count = len(normals)
    first = 1 + int(uniforms[1] * (count - 2))
    second = 1 + int(uniforms[2] * (count - 3))
    second += second >= first
    first, second = min(first, second), max(first, second)
    is_low_first = uniforms[0] < (0.7 if close_px >= open_px else 0.3)
    high_step, low_step = (second, first) if is_low_first else (first, second)
    anchors = np.array([0, first, second, count - 1])
    values = np.array([open_px, low_px if is_low_first else high_px, high_px if is_low_first else low_px, close_px])
    steps = np.arange(count)
    noise = np.cumsum(normals) * (0.5 * (high_px - low_px) / np.sqrt(count))
    noise -= np.interp(steps, anchors, noise[anchors])
    pxs = np.clip(np.interp(steps, anchors, values) + noise, low_px, high_px)
    pxs[anchors] = values
    return pxs, high_step, low_step


def round_to_tick(pxs: FloatArray, tick_px: float) -> FloatArray:
    """Return prices on the finest grid, as the floats that its decimals have.

    >>> round_to_tick(np.array([100.06, 99.9]), 0.1).tolist()
    [100.1, 99.9]
    """
    return np.rint(pxs / tick_px) / round(1.0 / tick_px) if tick_px < 1.0 else np.rint(pxs / tick_px) * tick_px


def make_bars(pxs: Sequence[float], ts_start_ns: int, spacing_ns: int, volume_base: float = 0.0) -> NDArray[Any]:
    """Return bars that walk a raw path of prices: bar i goes from pxs[i] to pxs[i + 1], `volume_base` traded in each.

    Raises ValueError for fewer than two prices.
    """
    if len(pxs) < 2:
        raise ValueError(f"a path of {len(pxs)} prices does not move: give at least two")
    bars = np.zeros(len(pxs) - 1, BAR_DTYPE)
    values = np.asarray(pxs, float)
    bars["ts_open_ns"] = ts_start_ns + np.arange(len(bars), dtype=np.int64) * spacing_ns
    bars["open_px"], bars["close_px"] = values[:-1], values[1:]
    bars["high_px"] = np.maximum(values[:-1], values[1:])
    bars["low_px"] = np.minimum(values[:-1], values[1:])
    bars["volume_base"] = volume_base
    for name in ("funding_rate", "open_interest_base", "signal"):
        bars[name] = np.nan
    return bars


def check_path_bars(bars: NDArray[Any], place: str) -> int:
    """Return the bars' spacing [ns], a minute for a lone bar.

    Raises ValueError naming `place` if they are no regular, usable series.
    """
    if bars.dtype != BAR_DTYPE or bars.ndim != 1 or len(bars) < 1:
        raise ValueError(f"{place}: bars must be a one-dimensional array of BAR_DTYPE with at least one bar")
    opens = bars["ts_open_ns"]
    interval_ns = int(opens[1] - opens[0]) if len(bars) > 1 else 60_000_000_000
    if interval_ns <= 0 or not np.all(np.diff(opens) == interval_ns):
        raise ValueError(f"{place}: bars must be evenly spaced, oldest first: fill gaps as market.series does")
    pxs = np.stack([bars[name] for name in ("open_px", "high_px", "low_px", "close_px")])
    if not (np.all(np.isfinite(pxs)) and np.all(pxs > 0.0)):
        raise ValueError(f"{place}: a px is not finite or not > 0")
    if not (np.all(bars["high_px"] >= pxs.max(axis=0)) and np.all(bars["low_px"] <= pxs.min(axis=0))):
        raise ValueError(f"{place}: an open or close lies outside its bar's range")
    return interval_ns


class PricePath:
    """The path of one instrument, bar by bar; a function of its arguments, with the last bars kept for speed."""

    def __init__(
        self,
        instrument: Instrument,
        bars: NDArray[Any],
        ts_start_ns: int,
        block_ns: int,
        seed: int,
        *,
        end: PathEnd = PathEnd.LOOP,
        trade_prob: float = 0.3,
        level_trades: float = 4.0,
        funding_rule: FundingRule = FundingRule.HYPERLIQUID,
        walk_key: str = "",
        extend: Callable[[int], NDArray[Any]] | None = None,
    ) -> None:
        """`extend(count)` returns at least so many bars, of which the first are `bars`."""
        self.instrument, self.bars, self.end = instrument, bars, end
        self._extend = extend
        self.interval_ns = check_path_bars(bars, instrument.instrument_id)
        self.ts_first_ns = int(bars["ts_open_ns"][0])
        self.ts_end_ns = self.ts_first_ns + len(bars) * self.interval_ns
        self._ts_start_ns, self._block_ns = ts_start_ns, block_ns
        self._entropy = [seed, zlib.crc32(instrument.instrument_id.encode())]
        self._walk_entropy = [seed, zlib.crc32(walk_key.encode()), 1] if walk_key else []
        self._trade_prob, self._level_trades, self._rule = trade_prob, level_trades, funding_rule
        volumes = np.nan_to_num(np.asarray(bars["volume_base"], float))
        self._volume_mean_base = max(float(volumes.mean()), 0.0)
        if self.interval_ns < STEPS_PER_BAR_MIN * block_ns:
            raise ValueError(
                f"{instrument.instrument_id}: bars of {self.interval_ns} ns hold fewer than {STEPS_PER_BAR_MIN} blocks"
                f" of {block_ns} ns: shorten block_ns"
            )

    def stretch_at(self, step: int) -> Stretch:
        """Return the stretch that holds a step."""
        return self.make_stretch((self._ts_start_ns + step * self._block_ns - self.ts_first_ns) // self.interval_ns)

    def make_stretch(self, bar_index: int) -> Stretch:
        """Return a bar's walk; indices past the last bar follow the path's end."""
        if self._extend is not None and bar_index >= len(self.bars):
            self.bars = self._extend(bar_index + 1)
        open_ns = self.ts_first_ns + bar_index * self.interval_ns - self._ts_start_ns
        step_first = -(-open_ns // self._block_ns)
        count = -(-(open_ns + self.interval_ns) // self._block_ns) - step_first
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*self._entropy, bar_index])))
        normals, uniforms, thirds = random.standard_normal(count), random.random((4, count)), random.random(3)
        if self._walk_entropy:
            random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*self._walk_entropy, bar_index])))
            normals, thirds = random.standard_normal(count), random.random(3)
        pxs, volume_base, extremes = self._walk(bar_index, normals, thirds)
        lots = self._split_volume(volume_base, uniforms, extremes)
        is_buy = uniforms[2] < 0.5 + 0.25 * np.sign(np.diff(pxs, prepend=pxs[0]))
        if extremes:
            is_buy[extremes[0]], is_buy[extremes[1]] = True, False
        mean_lots = self._volume_mean_base / self.instrument.lot_base / max(1.0, count * self._trade_prob)
        premium_to = self._premium(bar_index)
        return Stretch(
            bar_index=bar_index,
            step_first=step_first,
            pxs=pxs.tolist(),
            taker_lots=np.where(is_buy, lots, -lots).tolist(),
            draws=uniforms[3].tolist(),
            premium_from_frac=self._premium(bar_index - 1),
            premium_to_frac=premium_to,
            open_interest_lots=self._open_interest_lots(bar_index),
            level_lots=max(self._level_lots_min(pxs[0]), round(mean_lots * self._level_trades)),
            is_over=bar_index >= len(self.bars) and self.end is PathEnd.STOP,
        )

    def get_open_interest_lots(self, ts_ns: int) -> int:
        """Return the open interest of the bar that holds a time, 0 where it is not known."""
        return self._open_interest_lots((ts_ns - self.ts_first_ns) // self.interval_ns)

    def _open_interest_lots(self, bar_index: int) -> int:
        open_interest_base = float(self._bar(bar_index)["open_interest_base"])
        return int(open_interest_base / self.instrument.lot_base) if np.isfinite(open_interest_base) else 0

    def _level_lots_min(self, px: float) -> int:
        # Worth at least 2,000 quote: a path without volume has a market too.
        return max(2 * self.instrument.qty_lots_min, round(2000.0 / (px * self.instrument.lot_base)))

    def _walk(self, bar_index: int, normals: FloatArray, uniforms: FloatArray) -> tuple[FloatArray, float, list[int]]:
        if bar_index >= len(self.bars) and self.end is not PathEnd.LOOP:
            pxs = np.full(len(normals), float(self.bars["close_px"][-1]))
            return pxs, self._volume_mean_base if self.end is PathEnd.HOLD else 0.0, []
        bar, scale = self._bar(bar_index), self._scale(bar_index)
        open_px, high_px, low_px, close_px = (
            float(bar[name]) * scale for name in ("open_px", "high_px", "low_px", "close_px")
        )
        pxs, high_step, low_step = walk_bar(open_px, high_px, low_px, close_px, normals, uniforms)
        return pxs, float(np.nan_to_num(bar["volume_base"])), [high_step, low_step]

    def _bar(self, bar_index: int) -> Any:
        if 0 <= bar_index < len(self.bars):
            return self.bars[bar_index]
        is_loop = bar_index >= 0 and self.end is PathEnd.LOOP
        return self.bars[bar_index % len(self.bars) if is_loop else -1 if bar_index > 0 else 0]

    def _scale(self, bar_index: int) -> float:
        loops = max(0, bar_index // len(self.bars))
        return float(self.bars["close_px"][-1] / self.bars["open_px"][0]) ** loops if loops else 1.0

    def _premium(self, bar_index: int) -> float:
        rate = float(self._bar(bar_index)["funding_rate"])
        if not np.isfinite(rate):
            rate = 0.0001 / 8.0 * self.instrument.funding_interval_h if self._rule is FundingRule.HYPERLIQUID else 0.0
        return invert_funding_rate(rate, self.instrument.funding_interval_h, self._rule)

    def _split_volume(self, volume_base: float, uniforms: FloatArray, extremes: list[int]) -> NDArray[np.int64]:
        # Whole lots that sum to the bar's volume, exponentially distributed over the steps that trade.
        total_lots = round(volume_base / self.instrument.lot_base)
        is_trade = uniforms[0] < self._trade_prob
        is_trade[[*extremes, -1]] = True
        weights = np.cumsum(-np.log(1.0 - uniforms[1]) * is_trade)
        cumulative = np.floor(total_lots * (weights / weights[-1]) + 0.5).astype(np.int64)
        return np.diff(cumulative, prepend=0)
