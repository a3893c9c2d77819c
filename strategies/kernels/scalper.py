"""Buys the dip of a rising market, sells the spike of a falling one, takes a small profit at once or waits behind a
wide stop: many small wins, few large losses. The shape that the reward-to-risk rule exists for.

What it believes, when it is wrong: docs/strategies/scalper.md.
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from market.records import NS_PER_S, POSITION_FLAT, Action, Bar, Intent, Position
from strategies.indicators import (
    ATR_NEW,
    EMA_NEW,
    AtrState,
    EmaState,
    apply_atr,
    apply_ema,
    compute_atr_px,
    compute_bar_fault,
    compute_known_px,
)

SLOW = ("fast_bars", "trend_bars", "atr_bars")

_NS_PER_H = 3600.0 * NS_PER_S


class ScalperParams(NamedTuple):
    """Slow: `fast_bars`, `trend_bars`, `atr_bars`; the rest are thresholds."""

    fast_bars: int  # window of the average that price is stretched from, <= trend_bars
    trend_bars: int  # window of the average that tells the trend
    atr_bars: int
    pullback_atr_min: float  # how far against the trend the close must be from the fast average [ATRs]
    hold_h_max: float  # out after this time, won or lost
    stop_atr: float
    take_profit_atr: float  # 0.0: none
    size_frac: float


SCALPER_DEFAULT = ScalperParams(8, 192, 28, 1.0, 12.0, 4.0, 0.6, 1.0)


class ScalperFeatures(NamedTuple):
    """What is known at a close. `reason` is OK when the rest is finite."""

    close_px: float
    atr_px: float
    side: float  # of the trend: 1.0 or -1.0
    pullback_atr: float  # distance of the close from the fast average, > 0 against the trend [ATRs]
    reason: int


class ScalperState(NamedTuple):
    """Indicators, and the features last shown."""

    fast: EmaState
    trend: EmaState
    atr: AtrState
    features: ScalperFeatures


@njit(cache=True)
def make_scalper(params: ScalperParams) -> ScalperState:
    """Return the state before the first bar."""
    features = ScalperFeatures(math.nan, math.nan, 1.0, 0.0, Reason.FEATURES_NOT_READY.value)
    return ScalperState(EMA_NEW, EMA_NEW, ATR_NEW, features)


@njit(cache=True)
def observe_scalper(state: ScalperState, params: ScalperParams, bar: Bar) -> tuple[ScalperState, ScalperFeatures]:
    """Return the next state and the features at this bar's close.

    A bar that is missing, not finite or impossible moves nothing: the last features are shown again, with
    INPUT_NOT_FINITE if the bar is broken.
    """
    past = state.features
    fault = compute_bar_fault(bar)
    if fault != Reason.OK.value:
        reason = past.reason if fault == Reason.FEATURES_NOT_READY.value else fault
        close_px = compute_known_px(bar.close_px, past.close_px)
        return state, ScalperFeatures(close_px, past.atr_px, past.side, past.pullback_atr, reason)
    fast = apply_ema(state.fast, params.fast_bars, bar.close_px)
    trend = apply_ema(state.trend, params.trend_bars, bar.close_px)
    atr = apply_atr(state.atr, params.atr_bars, bar.high_px, bar.low_px, bar.close_px)
    is_ready = fast.seen >= params.fast_bars and trend.seen >= params.trend_bars and atr.seen >= params.atr_bars
    side = 1.0 if fast.value >= trend.value else -1.0
    features = ScalperFeatures(
        close_px=bar.close_px,
        atr_px=compute_atr_px(atr, params.atr_bars),
        side=side,
        pullback_atr=side * (fast.value - bar.close_px) / atr.atr_px if is_ready and atr.atr_px > 0.0 else 0.0,
        reason=Reason.OK.value if is_ready else Reason.FEATURES_NOT_READY.value,
    )
    return ScalperState(fast, trend, atr, features), features


@njit(cache=True)
def decide_scalper(features: ScalperFeatures, params: ScalperParams, position: Position, ts_now_ns: int) -> Intent:
    """Return the wish at this close: in on a pullback, out by the take-profit, the stop, or time."""
    if features.reason != Reason.OK.value:
        return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, features.reason)
    if position.qty_lots != 0:
        if ts_now_ns - position.ts_entry_ns >= params.hold_h_max * _NS_PER_H:
            return Intent(Action.TARGET.value, 0.0, 0.0, 0.0, Reason.EXIT_TIME.value)
        return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, Reason.NO_SIGNAL.value)
    if features.pullback_atr < params.pullback_atr_min:
        return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, Reason.NO_SIGNAL.value)
    return Intent(
        Action.TARGET.value,
        features.side * params.size_frac,
        params.stop_atr * features.atr_px,
        params.take_profit_atr * features.atr_px,
        Reason.ENTRY_SIGNAL.value,
    )


def compute_bars_to_ready(params: ScalperParams) -> int:
    """Return how many usable bars it takes until the features are ready."""
    return max(params.fast_bars, params.trend_bars, params.atr_bars)


def warm_up() -> None:
    """Compile the kernels, or load them from disk."""
    bar = Bar(0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, math.nan, 0)
    _, features = observe_scalper(make_scalper(SCALPER_DEFAULT), SCALPER_DEFAULT, bar)
    decide_scalper(features, SCALPER_DEFAULT, POSITION_FLAT, 0)
