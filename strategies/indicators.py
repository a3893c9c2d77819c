"""Indicators as step kernels: state and one more value in, next state out.

Records are plain numbers, or numbers and small float64 arrays where a window must be kept. A state with arrays has
one owner: a step writes into its arrays and returns the record that goes with them; the record before it is void.
Everything a step needs is in its state, so that a state restored from a checkpoint goes on with the same bits.

The two steps over windows are inlined where they are called: that spares the reference counts of their arrays, and
half of the time of a compiled loop over bars (benchmarks/strategies_decide.py).

No step checks for NaN: `compute_bar_fault` refuses bad bars before any step is taken.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from market.reasons import Reason
from market.records import Bar, Quality

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

_MISSING = Quality.MISSING.value
_UNUSABLE = Quality.NOT_FINITE.value | Quality.IMPOSSIBLE.value


@njit(cache=True)
def compute_bar_fault(bar: Bar) -> int:
    """Return why a bar must not move indicators: OK, FEATURES_NOT_READY (missing bar) or INPUT_NOT_FINITE.

    Bars after a gap, stale or crossed ones are finite and real: they move indicators, and the gate, which sees the
    flags itself, opens nothing on them. The prices are looked at besides the flags: a NaN is refused unflagged too.
    """
    if bar.quality & _MISSING:
        return Reason.FEATURES_NOT_READY.value
    is_finite = math.isfinite(bar.high_px) and math.isfinite(bar.low_px) and math.isfinite(bar.close_px)
    if bar.quality & _UNUSABLE or not is_finite or not 0.0 < bar.low_px <= bar.high_px:
        return Reason.INPUT_NOT_FINITE.value
    return Reason.OK.value


@njit(cache=True)
def compute_known_px(close_px: float, past_close_px: float) -> float:
    """Return the close if it is a price, else the one before it (NaN if there is none)."""
    return close_px if math.isfinite(close_px) else past_close_px


class EmaState(NamedTuple):
    """Exponential moving average; `value` is the mean of all values until `seen` reaches the window."""

    seen: int
    value: float


EMA_NEW = EmaState(0, 0.0)


@njit(cache=True)
def apply_ema(state: EmaState, window: int, value: float) -> EmaState:
    """Return the average after one more value; it means something from `seen` >= `window` (>= 1) on.

    Seeded with the mean of the first `window` values, then weight 2 / (window + 1) for each new one.
    Source: Appel, "Technical Analysis: Power Tools for Active Investors" (2005); the seed is that of TA-Lib.

    >>> state = apply_ema(apply_ema(EMA_NEW, 2, 1.0), 2, 3.0)
    >>> state.value, apply_ema(state, 2, 5.0).value
    (2.0, 4.0)
    """
    seen = state.seen + 1
    weight = 1.0 / seen if seen <= window else 2.0 / (window + 1)
    return EmaState(seen, state.value + (value - state.value) * weight)


class AtrState(NamedTuple):
    """Average true range; `atr_px` is the mean of all true ranges until `seen` reaches the window."""

    seen: int
    atr_px: float
    close_px: float  # of the bar before


ATR_NEW = AtrState(0, 0.0, 0.0)


@njit(cache=True)
def apply_atr(state: AtrState, window: int, high_px: float, low_px: float, close_px: float) -> AtrState:
    """Return Wilder's average true range after one more bar; ready from `seen` >= `window` (>= 1) on.

    The true range of the first bar is its range. The mean of the first `window` true ranges is the seed; from then on
    atr = (atr * (window - 1) + true range) / window, here in the form atr + (true range - atr) / window.
    Source: Wilder, "New Concepts in Technical Trading Systems" (1978), section III (volatility).

    >>> state = apply_atr(apply_atr(ATR_NEW, 2, 12.0, 10.0, 11.0), 2, 14.0, 12.0, 13.0)
    >>> state.atr_px, apply_atr(state, 2, 13.5, 13.0, 13.0).atr_px
    (2.5, 1.5)
    """
    seen = state.seen + 1
    range_px = high_px - low_px
    if state.seen > 0:
        range_px = max(range_px, abs(high_px - state.close_px), abs(low_px - state.close_px))
    weight = 1.0 / seen if seen <= window else 1.0 / window
    return AtrState(seen, state.atr_px + (range_px - state.atr_px) * weight, close_px)


@njit(cache=True)
def compute_atr_px(state: AtrState, window: int) -> float:
    """Return the average true range [quote], NaN until it is ready."""
    return state.atr_px if state.seen >= window else math.nan


class SarState(NamedTuple):
    """Parabolic stop-and-reverse. `side` is 0 until two bars are known."""

    side: int  # 1 long, -1 short, after this bar
    sar_px: float  # in force on this bar; on a reversal, the new side's first
    sar_next_px: float  # in force on the next bar
    extreme_px: float  # highest high while long, lowest low while short
    acceleration: float
    high_px: float  # of this bar
    low_px: float
    bars_since_flip: int  # 0 on the bar of a reversal


SAR_NEW = SarState(0, math.nan, math.nan, math.nan, 0.0, math.nan, math.nan, 0)


@njit(cache=True)
def apply_sar(
    state: SarState, acceleration_step: float, acceleration_max: float, high_px: float, low_px: float
) -> SarState:
    """Return Wilder's parabolic SAR after one more bar.

    A bar that touches the stop reverses: the new stop is the extreme of the trade that ended, and the acceleration
    starts again at `acceleration_step` (Wilder: 0.02), grows by it at each new extreme up to `acceleration_max`
    (0.20). The stop for the next bar never lies inside the ranges of this bar and the one before it.
    The first side, which Wilder leaves to the chart reader, is that of the larger directional movement of the first
    two bars, long when in doubt, and the first stop is the first bar's other end (as TA-Lib does).
    Source: Wilder, "New Concepts in Technical Trading Systems" (1978), section II (parabolic time/price).
    """
    if math.isnan(state.high_px):
        return SarState(0, math.nan, math.nan, math.nan, 0.0, high_px, low_px, 0)
    past_high_px, past_low_px = state.high_px, state.low_px
    side, sar_px, extreme_px = state.side, state.sar_next_px, state.extreme_px
    acceleration, bars_since_flip = state.acceleration, state.bars_since_flip + 1
    if side == 0:
        rise_px, fall_px = high_px - past_high_px, past_low_px - low_px
        side = -1 if fall_px > 0.0 and fall_px > rise_px else 1
        sar_px = past_low_px if side > 0 else past_high_px
        extreme_px = high_px if side > 0 else low_px
        acceleration, bars_since_flip = acceleration_step, 0
        past_high_px, past_low_px = high_px, low_px  # the first bar made the first stop and does not hold it back
    if side * ((low_px if side > 0 else high_px) - sar_px) <= 0.0:
        side = -side
        sar_px = max(extreme_px, past_high_px, high_px) if side < 0 else min(extreme_px, past_low_px, low_px)
        extreme_px = low_px if side < 0 else high_px
        acceleration, bars_since_flip = acceleration_step, 0
    else:
        reach_px = high_px if side > 0 else low_px
        if side * (reach_px - extreme_px) > 0.0:
            extreme_px = reach_px
            acceleration = min(acceleration + acceleration_step, acceleration_max)
    sar_next_px = sar_px + acceleration * (extreme_px - sar_px)
    sar_next_px = min(sar_next_px, past_low_px, low_px) if side > 0 else max(sar_next_px, past_high_px, high_px)
    return SarState(side, sar_px, sar_next_px, extreme_px, acceleration, high_px, low_px, bars_since_flip)


class RollingState(NamedTuple):
    """Mean and squared deviations of the last `window` values, as blocks: see `apply_rolling`."""

    blocks: (
        FloatArray  # float64[3, window]: the block being filled; means and m2 from here to the end of the one before
    )
    seen: int  # values
    mean: float  # of the last min(seen, window) values
    m2: float  # sum of their squared deviations from the mean
    block_mean: float  # of the block being filled
    block_m2: float


@njit(cache=True)
def make_rolling(window: int) -> RollingState:
    """Return the state before any value; `window` >= 1."""
    return RollingState(np.zeros((3, window)), 0, 0.0, 0.0, 0.0, 0.0)


@njit(cache=True, inline="always")
def apply_rolling(state: RollingState, value: float) -> RollingState:
    """Return mean and squared deviations of the window that ends with `value`; a full one from `seen` >= window on.

    Nothing is ever subtracted: values go into blocks of `window`; the window is the end of the block before (its
    suffix sums are made once, when it fills) and the begin of this one, merged. So a value that has left the window
    leaves no trace, whatever its size, errors do not add up, and a step costs O(1) on average.
    Source: within a block Welford, Technometrics 4(3), 1962; the merge is Chan, Golub and LeVeque, "Updating formulae
    and a pairwise algorithm for computing sample variances" (1979); blocks as in van Herk's running maximum
    (Pattern Recognition Letters 13, 1992).

    >>> state = make_rolling(2)
    >>> for value in (1e16, 1.0, 3.0):
    ...     state = apply_rolling(state, value)
    >>> state.mean, state.m2
    (2.0, 2.0)
    """
    # One array, and numbers for all else: each array in a record costs its reference counts at every step.
    blocks = state.blocks
    window = blocks.shape[1]
    position = state.seen % window
    blocks[0, position] = value
    filled = position + 1
    past_mean = state.block_mean if position > 0 else 0.0
    past_m2 = state.block_m2 if position > 0 else 0.0
    delta = value - past_mean
    block_mean = past_mean + delta / filled
    block_m2 = past_m2 + delta * (value - block_mean)
    mean, m2 = block_mean, block_m2
    if filled == window:
        _sum_suffixes(blocks)
    elif state.seen >= window:
        gap = block_mean - blocks[1, filled]
        mean = blocks[1, filled] + gap * (filled / window)
        m2 = blocks[2, filled] + block_m2 + gap * gap * ((window - filled) * filled / window)
    return RollingState(blocks, state.seen + 1, mean, m2, block_mean, block_m2)


@njit(cache=True)
def _sum_suffixes(blocks: FloatArray) -> None:
    # Welford from the end of the block to its begin.
    window = blocks.shape[1]
    mean, m2 = 0.0, 0.0
    for index in range(window - 1, -1, -1):
        delta = blocks[0, index] - mean
        mean += delta / (window - index)
        m2 += delta * (blocks[0, index] - mean)
        blocks[1, index] = mean
        blocks[2, index] = m2


@njit(cache=True)
def compute_z(value: float, mean: float, m2: float, count: int) -> float:
    """Return how many standard deviations (of the population: divisor n) `value` lies from the mean of `count` values.

    0.0 where all values are equal: a deviation below 1e-12 of the mean is rounding, not spread. `count` >= 1.

    >>> compute_z(4.0, 2.0, 4.0, 4)
    2.0
    """
    std = math.sqrt(m2 / count)
    if std <= 1e-12 * abs(mean):
        return 0.0
    return (value - mean) / std


class RollingMaxState(NamedTuple):
    """Largest of the last `window` values, in blocks as in `RollingState`."""

    blocks: FloatArray  # float64[2, window]: the block being filled; maxima from here to the end of the one before
    seen: int  # values
    maximum: float  # of the last min(seen, window) values
    block_max: float


@njit(cache=True)
def make_rolling_max(window: int) -> RollingMaxState:
    """Return the state before any value; `window` >= 1."""
    return RollingMaxState(np.zeros((2, window)), 0, 0.0, 0.0)


@njit(cache=True, inline="always")
def apply_rolling_max(state: RollingMaxState, value: float) -> RollingMaxState:
    """Return the largest of the window that ends with `value`, exactly; O(1) on average.

    Source: van Herk, "A fast algorithm for local minimum and maximum filters", Pattern Recognition Letters 13, 1992.

    >>> state = make_rolling_max(2)
    >>> for value in (9.0, 1.0, 3.0):
    ...     state = apply_rolling_max(state, value)
    >>> state.maximum
    3.0
    """
    blocks = state.blocks
    window = blocks.shape[1]
    position = state.seen % window
    blocks[0, position] = value
    block_max = max(state.block_max, value) if position > 0 else value
    maximum = block_max
    if position + 1 == window:
        largest = value
        for index in range(window - 1, -1, -1):
            largest = max(largest, blocks[0, index])
            blocks[1, index] = largest
    elif state.seen >= window:
        maximum = max(blocks[1, position + 1], block_max)
    return RollingMaxState(blocks, state.seen + 1, maximum, block_max)
