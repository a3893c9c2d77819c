"""Aggregation: bars from trades, one at a time or whole arrays at once with the same kernel, and bars to coarser bars.

An interval without trades gives a quiet bar: all prices are the last close, volume 0. The first bar begins with the
first trade seen, so it may be partial; the owner knows whether the source was whole before it.
"""

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from market.records import Quality

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class BarState(NamedTuple):
    """The bar being built. `trades` 0: quiet so far, its prices are the last close."""

    ts_open_ns: int
    open_px: float
    high_px: float
    low_px: float
    close_px: float
    volume_base: float
    trades: int


BAR_NONE = BarState(-1, 0.0, 0.0, 0.0, 0.0, 0.0, 0)  # before the first trade


class Taken(IntEnum):
    """What became of a trade."""

    ADDED = 0
    LATE = 1  # before the bar being built: that bar is closed and was published
    REFUSED = 2  # px or quantity not finite, px <= 0, quantity < 0


@njit(cache=True)
def start_next(state: BarState, interval_ns: int) -> BarState:
    """Return the bar after `state`, quiet at its close."""
    px = state.close_px
    return BarState(state.ts_open_ns + interval_ns, px, px, px, px, 0.0, 0)


@njit(cache=True)
def is_trade_sound(px: float, qty_base: float) -> bool:
    """Return whether a trade may enter a bar; one that may not does not close one either."""
    return math.isfinite(px) and math.isfinite(qty_base) and px > 0.0 and qty_base >= 0.0


@njit(cache=True)
def apply_trade(state: BarState, interval_ns: int, ts_ns: int, px: float, qty_base: float) -> tuple[BarState, int]:
    """Return the bar with one trade added, and Taken. The trade must not lie beyond the bar: close it first."""
    if not is_trade_sound(px, qty_base):
        return state, Taken.REFUSED.value
    if state.ts_open_ns < 0:
        return BarState(ts_ns - ts_ns % interval_ns, px, px, px, px, qty_base, 1), Taken.ADDED.value
    if ts_ns < state.ts_open_ns:
        return state, Taken.LATE.value
    volume_base = state.volume_base + qty_base
    if state.trades == 0:
        return BarState(state.ts_open_ns, px, px, px, px, volume_base, 1), Taken.ADDED.value
    high_px, low_px = max(state.high_px, px), min(state.low_px, px)
    return (
        BarState(state.ts_open_ns, state.open_px, high_px, low_px, px, volume_base, state.trades + 1),
        Taken.ADDED.value,
    )


@njit(cache=True)
def build_bars(ts_ns: IntArray, px: FloatArray, qty_base: FloatArray, interval_ns: int) -> tuple[IntArray, FloatArray]:
    """Return (ts_open_ns[T], prices and volume[T, 5]: open, high, low, close, volume) of trades in order.

    Late and refused trades are left out, as the live builder leaves them out.
    """
    length = (ts_ns[-1] // interval_ns - ts_ns[0] // interval_ns + 1) if len(ts_ns) else 0
    ts_open_ns, values = np.empty(length, np.int64), np.empty((length, 5))
    state, count = BarState(-1, 0.0, 0.0, 0.0, 0.0, 0.0, 0), 0
    for index in range(len(ts_ns)):
        if not is_trade_sound(px[index], qty_base[index]):
            continue
        while state.ts_open_ns >= 0 and ts_ns[index] >= state.ts_open_ns + interval_ns:
            ts_open_ns[count] = state.ts_open_ns
            values[count] = (state.open_px, state.high_px, state.low_px, state.close_px, state.volume_base)
            count += 1
            state = start_next(state, interval_ns)
        state, _ = apply_trade(state, interval_ns, ts_ns[index], px[index], qty_base[index])
    if state.ts_open_ns >= 0:
        ts_open_ns[count] = state.ts_open_ns
        values[count] = (state.open_px, state.high_px, state.low_px, state.close_px, state.volume_base)
        count += 1
    return ts_open_ns[:count], values[:count]


class BarBuilder:
    """Builds bars from trades as they come. `late` and `refused` count the trades left out."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._state = BAR_NONE
        self.late = 0
        self.refused = 0

    @property
    def current(self) -> BarState:
        """The bar being built (BAR_NONE before the first trade)."""
        return self._state

    def add_trade(self, ts_ns: int, px: float, qty_base: float) -> list[BarState]:
        """Add one trade; return the bars its time closed, oldest first."""
        if not is_trade_sound(px, qty_base):
            self.refused += 1
            return []
        closed = self.close_until(ts_ns)
        self._state, taken = apply_trade(self._state, self._interval_ns, ts_ns, px, qty_base)
        self.late += taken == Taken.LATE
        return closed

    def close_until(self, ts_now_ns: int) -> list[BarState]:
        """Return the bars that end at or before `ts_now_ns`, oldest first, quiet ones included."""
        closed = []
        while self._state.ts_open_ns >= 0 and ts_now_ns >= self._state.ts_open_ns + self._interval_ns:
            closed.append(self._state)
            self._state = start_next(self._state, self._interval_ns)
        return closed


def coarsen_bars(
    ts_open_ns: IntArray, values: FloatArray, quality: IntArray, interval_ns: int, coarse_ns: int
) -> tuple[IntArray, FloatArray, IntArray]:
    """Return bars of `coarse_ns` from gapless bars of `interval_ns`; bars cut off at either end are dropped.

    Parameters
    ----------
    ts_open_ns : int64[T]
        Spaced by `interval_ns`, which divides `coarse_ns`.
    values : float64[T, 5]
        Open, high, low, close, volume.
    quality : int64[T]
        A coarse bar is MISSING if all its parts are, AFTER_GAP if some are, STALE if none traded.
    """
    count = coarse_ns // interval_ns
    first = int(-ts_open_ns[0] % coarse_ns) // interval_ns if len(ts_open_ns) else 0
    length = max(0, len(ts_open_ns) - first) // count
    chosen = slice(first, first + length * count)
    parts = values[chosen].reshape(length, count, 5)
    flags = quality[chosen].reshape(length, count)
    coarse = np.empty((length, 5))
    coarse[:, 0], coarse[:, 3] = parts[:, 0, 0], parts[:, -1, 3]
    coarse[:, 1], coarse[:, 2] = parts[:, :, 1].max(axis=1), parts[:, :, 2].min(axis=1)
    coarse[:, 4] = parts[:, :, 4].sum(axis=1)
    is_missing = (flags & Quality.MISSING.value) != 0
    is_idle = is_missing | ((flags & Quality.STALE.value) != 0)
    some = int(Quality.MISSING | Quality.STALE)
    joined = np.bitwise_or.reduce(flags & ~some, axis=1)
    joined |= np.where(is_missing.any(axis=1) & ~is_missing.all(axis=1), Quality.AFTER_GAP.value, 0)
    joined |= np.where(is_missing.all(axis=1), Quality.MISSING.value, 0)
    joined |= np.where(is_idle.all(axis=1) & ~is_missing.all(axis=1), Quality.STALE.value, 0)
    return ts_open_ns[chosen][::count].copy(), coarse, joined
