"""Trend following on Wilder's parabolic stop-and-reverse, taken only where price is clear of its average.

What it believes, when it is wrong: docs/strategies/momentum_sar.md.
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from market.records import POSITION_FLAT, Action, Bar, Intent, Position
from strategies.indicators import (
    ATR_NEW,
    EMA_NEW,
    SAR_NEW,
    AtrState,
    EmaState,
    SarState,
    apply_atr,
    apply_ema,
    apply_sar,
    compute_atr_px,
    compute_bar_fault,
    compute_known_px,
)

SLOW = ("sar_step", "sar_max", "trend_bars", "atr_bars")


class MomentumSarParams(NamedTuple):
    """Slow: `sar_step`, `sar_max`, `trend_bars`, `atr_bars`; the rest are thresholds."""

    sar_step: float  # acceleration step
    sar_max: float  # acceleration cap, >= sar_step
    trend_bars: int  # window of the average that filters
    atr_bars: int
    trend_atr_min: float  # how far beyond the average, on the side of the trade, the close must be [ATRs]
    entry_bars_max: int  # how late after a reversal an entry still makes sense [bars]
    stop_atr: float
    take_profit_atr: float  # 0.0: none
    size_frac: float


MOMENTUM_SAR_DEFAULT = MomentumSarParams(0.01, 0.1, 96, 56, 1.0, 16, 3.0, 0.0, 1.0)


class MomentumSarFeatures(NamedTuple):
    """What is known at a close. `reason` is OK when the rest is finite."""

    close_px: float
    atr_px: float
    trend_atr: float  # distance of the close from its average [ATRs], > 0 above
    sar_side: int
    bars_since_flip: int
    reason: int


class MomentumSarState(NamedTuple):
    """Indicators, and the features last shown."""

    sar: SarState
    trend: EmaState
    atr: AtrState
    features: MomentumSarFeatures


@njit(cache=True)
def make_momentum_sar(params: MomentumSarParams) -> MomentumSarState:
    """Return the state before the first bar."""
    features = MomentumSarFeatures(math.nan, math.nan, 0.0, 0, 0, Reason.FEATURES_NOT_READY.value)
    return MomentumSarState(SAR_NEW, EMA_NEW, ATR_NEW, features)


@njit(cache=True)
def observe_momentum_sar(
    state: MomentumSarState, params: MomentumSarParams, bar: Bar
) -> tuple[MomentumSarState, MomentumSarFeatures]:
    """Return the next state and the features at this bar's close.

    A bar that is missing, not finite or impossible moves nothing: the last features are shown again, with
    INPUT_NOT_FINITE if the bar is broken.
    """
    past = state.features
    fault = compute_bar_fault(bar)
    if fault != Reason.OK.value:
        reason = past.reason if fault == Reason.FEATURES_NOT_READY.value else fault
        close_px = compute_known_px(bar.close_px, past.close_px)
        return state, MomentumSarFeatures(
            close_px, past.atr_px, past.trend_atr, past.sar_side, past.bars_since_flip, reason
        )
    sar = apply_sar(state.sar, params.sar_step, params.sar_max, bar.high_px, bar.low_px)
    trend = apply_ema(state.trend, params.trend_bars, bar.close_px)
    atr = apply_atr(state.atr, params.atr_bars, bar.high_px, bar.low_px, bar.close_px)
    is_ready = trend.seen >= params.trend_bars and atr.seen >= params.atr_bars and sar.side != 0
    features = MomentumSarFeatures(
        close_px=bar.close_px,
        atr_px=compute_atr_px(atr, params.atr_bars),
        trend_atr=(bar.close_px - trend.value) / atr.atr_px if is_ready and atr.atr_px > 0.0 else 0.0,
        sar_side=sar.side,
        bars_since_flip=sar.bars_since_flip,
        reason=Reason.OK.value if is_ready else Reason.FEATURES_NOT_READY.value,
    )
    return MomentumSarState(sar, trend, atr, features), features


@njit(cache=True)
def decide_momentum_sar(
    features: MomentumSarFeatures, params: MomentumSarParams, position: Position, ts_now_ns: int
) -> Intent:
    """Return the wish at this close: with the SAR where the filter agrees, out when the SAR turns against it.

    A reversal that passes the filter is one intent of the opposite sign.
    """
    if features.reason != Reason.OK.value:
        return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, features.reason)
    side = features.sar_side
    if position.qty_lots * side > 0:
        return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, Reason.NO_SIGNAL.value)
    if features.bars_since_flip <= params.entry_bars_max and side * features.trend_atr >= params.trend_atr_min:
        return Intent(
            Action.TARGET.value,
            side * params.size_frac,
            params.stop_atr * features.atr_px,
            params.take_profit_atr * features.atr_px,
            Reason.ENTRY_SIGNAL.value,
        )
    if position.qty_lots != 0:
        return Intent(Action.TARGET.value, 0.0, 0.0, 0.0, Reason.EXIT_SIGNAL.value)
    return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, Reason.NO_SIGNAL.value)


def compute_bars_to_ready(params: MomentumSarParams) -> int:
    """Return how many usable bars it takes until the features are ready."""
    return max(2, params.trend_bars, params.atr_bars)


def warm_up() -> None:
    """Compile the kernels, or load them from disk."""
    bar = Bar(0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, math.nan, 0)
    _, features = observe_momentum_sar(make_momentum_sar(MOMENTUM_SAR_DEFAULT), MOMENTUM_SAR_DEFAULT, bar)
    decide_momentum_sar(features, MOMENTUM_SAR_DEFAULT, POSITION_FLAT, 0)
