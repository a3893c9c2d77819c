"""Follows a given series: bring your own signals. The series names the target position, -1..1 of equity.

What it believes, when it is wrong: docs/strategies/signals.md.
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from market.records import POSITION_FLAT, Action, Bar, Intent, Position
from strategies.indicators import ATR_NEW, AtrState, apply_atr, compute_atr_px, compute_bar_fault, compute_known_px

SLOW = ("atr_bars",)


class SignalsParams(NamedTuple):
    """Slow: `atr_bars`; the rest are thresholds."""

    atr_bars: int
    stop_atr: float
    take_profit_atr: float  # 0.0: none
    size_frac: float  # the target is `size_frac` times the signal


SIGNALS_DEFAULT = SignalsParams(14, 3.0, 0.0, 1.0)


class SignalsFeatures(NamedTuple):
    """What is known at a close. `atr_px` is NaN until warm; the rest holds from the first bar on."""

    close_px: float
    atr_px: float
    target_frac: float  # the last known target, 0.0 before any
    is_new: int  # 1 where it differs from the target shown before


class SignalsState(NamedTuple):
    """Indicator, and what the series said."""

    atr: AtrState
    close_px: float
    target_frac: float  # last known
    shown_frac: float  # last shown as new


@njit(cache=True)
def make_signals(params: SignalsParams) -> SignalsState:
    """Return the state before the first bar: the target is flat."""
    return SignalsState(ATR_NEW, math.nan, 0.0, 0.0)


@njit(cache=True)
def observe_signals(state: SignalsState, params: SignalsParams, bar: Bar) -> tuple[SignalsState, SignalsFeatures]:
    """Return the next state and the features at this bar's close.

    A NaN signal leaves the target as it is, and so does one outside -1..1: it is no target. The series is not made of
    prices: it is read on missing and broken bars too, so that an order to get out is not lost. A target is shown as
    new once, on a bar with a price: where the bar is broken it waits for the next.
    """
    fault = compute_bar_fault(bar)
    atr = state.atr
    if fault == Reason.OK.value:
        atr = apply_atr(atr, params.atr_bars, bar.high_px, bar.low_px, bar.close_px)
    close_px = compute_known_px(bar.close_px, state.close_px)
    target_frac = bar.signal if abs(bar.signal) <= 1.0 else state.target_frac
    is_priced = fault != Reason.INPUT_NOT_FINITE.value and math.isfinite(close_px)
    is_new = 1 if is_priced and target_frac != state.shown_frac else 0
    shown_frac = target_frac if is_priced else state.shown_frac
    features = SignalsFeatures(close_px, compute_atr_px(atr, params.atr_bars), target_frac, is_new)
    return SignalsState(atr, close_px, target_frac, shown_frac), features


@njit(cache=True)
def decide_signals(features: SignalsFeatures, params: SignalsParams, position: Position, ts_now_ns: int) -> Intent:
    """Return the wish at this close: the target where it is new, nothing otherwise.

    Until the ATR is warm the stop distance is NaN: without risk that blocks nothing, under risk the gate denies the
    entry (NO_STOP).
    """
    if features.is_new == 0:
        return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, Reason.NO_SIGNAL.value)
    if features.target_frac == 0.0:
        return Intent(Action.TARGET.value, 0.0, 0.0, 0.0, Reason.EXIT_SIGNAL.value)
    # Not 0.0 * NaN: no take-profit is no distance, also before the ATR is warm.
    take_profit_distance_px = params.take_profit_atr * features.atr_px if params.take_profit_atr > 0.0 else 0.0
    return Intent(
        Action.TARGET.value,
        features.target_frac * params.size_frac,
        params.stop_atr * features.atr_px,
        take_profit_distance_px,
        Reason.ENTRY_SIGNAL.value,
    )


def compute_bars_to_ready(params: SignalsParams) -> int:
    """Return how many usable bars it takes until a stop distance is known; targets are followed from the first."""
    return params.atr_bars


def warm_up() -> None:
    """Compile the kernels, or load them from disk."""
    bar = Bar(0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, math.nan, 0)
    _, features = observe_signals(make_signals(SIGNALS_DEFAULT), SIGNALS_DEFAULT, bar)
    decide_signals(features, SIGNALS_DEFAULT, POSITION_FLAT, 0)
