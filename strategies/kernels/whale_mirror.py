"""Holds what a watched address holds, scaled by the largest position it has held lately.

What it believes, when it is wrong: docs/strategies/whale_mirror.md.
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from market.records import POSITION_FLAT, Action, Bar, Intent, Position
from strategies.indicators import (
    ATR_NEW,
    AtrState,
    RollingMaxState,
    apply_atr,
    apply_rolling_max,
    compute_atr_px,
    compute_bar_fault,
    compute_known_px,
    make_rolling_max,
)

SLOW = ("scale_bars", "watch_bars_max", "dead_band_frac", "atr_bars")


class WhaleMirrorParams(NamedTuple):
    """Slow: `scale_bars`, `watch_bars_max`, `dead_band_frac`, `atr_bars`; the rest are thresholds."""

    scale_bars: int  # window of the largest position, which is 1.0
    watch_bars_max: int  # bars without news after which the watched position counts as unknown: flat
    dead_band_frac: float  # changes smaller than this of the scale are not followed
    atr_bars: int
    lag_bars_max: int  # bars after the watched address has moved in which we may still enter
    stop_atr: float
    take_profit_atr: float  # 0.0: none
    size_frac: float


WHALE_MIRROR_DEFAULT = WhaleMirrorParams(2880, 96, 0.2, 56, 4, 4.0, 0.0, 1.0)


class WhaleMirrorFeatures(NamedTuple):
    """What is known at a close. `reason` is OK when the rest is finite."""

    close_px: float
    atr_px: float
    target_frac: float  # the watched position in -1..1 of its scale, moved only beyond the dead band
    lag_bars: int  # bars since the target moved
    reason: int


class WhaleMirrorState(NamedTuple):
    """Indicators, the watched position, and the target it stands for."""

    scale: RollingMaxState
    atr: AtrState
    close_px: float
    watched: float  # last known signed size, in the series' own unit
    watched_bars: int  # bars since it was known; the size is unknown until the first
    target_frac: float
    lag_bars: int


_NEVER = 1 << 40  # bars: longer ago than any limit


@njit(cache=True)
def make_whale_mirror(params: WhaleMirrorParams) -> WhaleMirrorState:
    """Return the state before the first bar: the watched position is unknown."""
    return WhaleMirrorState(make_rolling_max(params.scale_bars), ATR_NEW, math.nan, 0.0, _NEVER, 0.0, _NEVER)


@njit(cache=True)
def observe_whale_mirror(
    state: WhaleMirrorState, params: WhaleMirrorParams, bar: Bar
) -> tuple[WhaleMirrorState, WhaleMirrorFeatures]:
    """Return the next state and the features at this bar's close.

    Prices of a bar that is missing, not finite or impossible move nothing. The watched series is not made of prices:
    it is read on every bar, and time passes for it on every bar. A NaN is no news. The target is kept while the scale
    is still short of `scale_bars` too, so that a position taken long before we are ready is not mistaken for a move.
    """
    fault = compute_bar_fault(bar)
    atr = state.atr
    if fault == Reason.OK.value:
        atr = apply_atr(atr, params.atr_bars, bar.high_px, bar.low_px, bar.close_px)
    has_news = math.isfinite(bar.signal)
    watched = bar.signal if has_news else state.watched
    watched_bars = 0 if has_news else min(state.watched_bars + 1, _NEVER)
    scale = apply_rolling_max(state.scale, abs(watched)) if watched_bars < _NEVER else state.scale
    wanted_frac = 0.0
    if scale.maximum > 0.0 and watched_bars <= params.watch_bars_max:
        wanted_frac = watched / scale.maximum
    # To get out, or to the other side, is followed however small the change.
    is_turn = wanted_frac * state.target_frac < 0.0 or wanted_frac == 0.0
    is_moved = wanted_frac != state.target_frac and (
        is_turn or abs(wanted_frac - state.target_frac) >= params.dead_band_frac
    )
    target_frac = wanted_frac if is_moved else state.target_frac
    lag_bars = 0 if is_moved else min(state.lag_bars + 1, _NEVER)
    close_px = compute_known_px(bar.close_px, state.close_px)
    is_ready = atr.seen >= params.atr_bars and scale.seen >= params.scale_bars
    reason = Reason.OK.value if is_ready else Reason.FEATURES_NOT_READY.value
    if fault == Reason.INPUT_NOT_FINITE.value:
        reason = fault
    features = WhaleMirrorFeatures(close_px, compute_atr_px(atr, params.atr_bars), target_frac, lag_bars, reason)
    return WhaleMirrorState(scale, atr, close_px, watched, watched_bars, target_frac, lag_bars), features


@njit(cache=True)
def decide_whale_mirror(
    features: WhaleMirrorFeatures, params: WhaleMirrorParams, position: Position, ts_now_ns: int
) -> Intent:
    """Return the wish at this close: the side that is watched while its move is fresh, flat where it is not held.

    A position on the right side is resized on the bar of a move only. One on the wrong side is left even when it is
    too late to follow.
    """
    if features.reason != Reason.OK.value:
        return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, features.reason)
    target_frac = features.target_frac
    lag_bars_max = 0 if position.qty_lots * target_frac > 0.0 else params.lag_bars_max
    if target_frac != 0.0 and features.lag_bars <= lag_bars_max:
        return Intent(
            Action.TARGET.value,
            target_frac * params.size_frac,
            params.stop_atr * features.atr_px,
            params.take_profit_atr * features.atr_px,
            Reason.ENTRY_SIGNAL.value,
        )
    if position.qty_lots != 0 and position.qty_lots * target_frac <= 0.0:
        return Intent(Action.TARGET.value, 0.0, 0.0, 0.0, Reason.EXIT_SIGNAL.value)
    return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, Reason.NO_SIGNAL.value)


def compute_bars_to_ready(params: WhaleMirrorParams) -> int:
    """Return how many usable bars from the first news on it takes until the features are ready."""
    return max(params.scale_bars, params.atr_bars)


def warm_up() -> None:
    """Compile the kernels, or load them from disk."""
    bar = Bar(0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, math.nan, 0)
    _, features = observe_whale_mirror(make_whale_mirror(WHALE_MIRROR_DEFAULT), WHALE_MIRROR_DEFAULT, bar)
    decide_whale_mirror(features, WHALE_MIRROR_DEFAULT, POSITION_FLAT, 0)
