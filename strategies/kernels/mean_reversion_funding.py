"""Fades a price stretched from its mean when funding says that the crowd which stretched it pays to stay.

What it believes, when it is wrong: docs/strategies/mean_reversion_funding.md.
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from market.records import NS_PER_S, POSITION_FLAT, Action, Bar, Intent, Position
from strategies.indicators import (
    ATR_NEW,
    AtrState,
    RollingState,
    apply_atr,
    apply_rolling,
    compute_atr_px,
    compute_bar_fault,
    compute_known_px,
    compute_z,
    make_rolling,
)

SLOW = ("price_bars", "funding_bars", "atr_bars")

_NS_PER_H = 3600.0 * NS_PER_S


class MeanReversionFundingParams(NamedTuple):
    """Slow: `price_bars`, `funding_bars`, `atr_bars`; the rest are thresholds."""

    price_bars: int  # window of the price's mean and deviation
    funding_bars: int  # the same of the funding rate; 32 bars of 15 minutes are one 8 h interval
    atr_bars: int
    entry_z: float  # |price z| to enter at, > exit_z
    funding_z_min: float  # funding z on the side of the stretch to enter at
    exit_z: float  # out when the price z is back within this of the mean; < 0: beyond it
    hold_h_max: float  # out after this time, reverted or not
    stop_atr: float
    take_profit_atr: float  # 0.0: none
    size_frac: float


MEAN_REVERSION_FUNDING_DEFAULT = MeanReversionFundingParams(192, 672, 56, 2.0, 0.5, 0.25, 48.0, 4.0, 0.0, 1.0)


class MeanReversionFundingFeatures(NamedTuple):
    """What is known at a close. `reason` is OK when the rest is valid."""

    close_px: float
    atr_px: float
    price_z: float
    agreement_z: float  # funding z times the sign of the price z; -inf where this bar's funding is unknown
    reason: int


class MeanReversionFundingState(NamedTuple):
    """Indicators, and the features last shown."""

    price: RollingState
    funding: RollingState
    atr: AtrState
    features: MeanReversionFundingFeatures


@njit(cache=True)
def make_mean_reversion_funding(params: MeanReversionFundingParams) -> MeanReversionFundingState:
    """Return the state before the first bar."""
    features = MeanReversionFundingFeatures(math.nan, math.nan, 0.0, -math.inf, Reason.FEATURES_NOT_READY.value)
    return MeanReversionFundingState(
        make_rolling(params.price_bars), make_rolling(params.funding_bars), ATR_NEW, features
    )


@njit(cache=True)
def observe_mean_reversion_funding(
    state: MeanReversionFundingState, params: MeanReversionFundingParams, bar: Bar
) -> tuple[MeanReversionFundingState, MeanReversionFundingFeatures]:
    """Return the next state and the features at this bar's close.

    A bar that is missing, not finite or impossible moves nothing: the last features are shown again, with
    INPUT_NOT_FINITE if the bar is broken. An unknown funding rate does not enter the funding window, and nothing
    agrees with it: positions can still be left.
    """
    past = state.features
    fault = compute_bar_fault(bar)
    if fault != Reason.OK.value:
        reason = past.reason if fault == Reason.FEATURES_NOT_READY.value else fault
        close_px = compute_known_px(bar.close_px, past.close_px)
        return state, MeanReversionFundingFeatures(close_px, past.atr_px, past.price_z, past.agreement_z, reason)
    price = apply_rolling(state.price, bar.close_px)
    atr = apply_atr(state.atr, params.atr_bars, bar.high_px, bar.low_px, bar.close_px)
    price_z = compute_z(bar.close_px, price.mean, price.m2, min(price.seen, params.price_bars))
    funding = state.funding
    agreement_z = -math.inf
    if math.isfinite(bar.funding_rate):
        funding = apply_rolling(funding, bar.funding_rate)
        funding_z = compute_z(bar.funding_rate, funding.mean, funding.m2, min(funding.seen, params.funding_bars))
        agreement_z = funding_z if price_z >= 0.0 else -funding_z
    is_ready = price.seen >= params.price_bars and funding.seen >= params.funding_bars and atr.seen >= params.atr_bars
    features = MeanReversionFundingFeatures(
        close_px=bar.close_px,
        atr_px=compute_atr_px(atr, params.atr_bars),
        price_z=price_z,
        agreement_z=agreement_z,
        reason=Reason.OK.value if is_ready else Reason.FEATURES_NOT_READY.value,
    )
    return MeanReversionFundingState(price, funding, atr, features), features


@njit(cache=True)
def decide_mean_reversion_funding(
    features: MeanReversionFundingFeatures,
    params: MeanReversionFundingParams,
    position: Position,
    ts_now_ns: int,
) -> Intent:
    """Return the wish at this close: against a stretch that funding agrees with, out on reversion or time."""
    if features.reason != Reason.OK.value:
        return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, features.reason)
    price_z = features.price_z
    if position.qty_lots != 0:
        if (price_z if position.qty_lots > 0 else -price_z) >= -params.exit_z:
            return Intent(Action.TARGET.value, 0.0, 0.0, 0.0, Reason.EXIT_SIGNAL.value)
        if ts_now_ns - position.ts_entry_ns >= params.hold_h_max * _NS_PER_H:
            return Intent(Action.TARGET.value, 0.0, 0.0, 0.0, Reason.EXIT_TIME.value)
        return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, Reason.NO_SIGNAL.value)
    if abs(price_z) < params.entry_z or features.agreement_z < params.funding_z_min:
        return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, Reason.NO_SIGNAL.value)
    return Intent(
        Action.TARGET.value,
        -params.size_frac if price_z > 0.0 else params.size_frac,
        params.stop_atr * features.atr_px,
        params.take_profit_atr * features.atr_px,
        Reason.ENTRY_SIGNAL.value,
    )


def compute_bars_to_ready(params: MeanReversionFundingParams) -> int:
    """Return how many usable bars, all with a known funding rate, it takes until the features are ready."""
    return max(params.price_bars, params.funding_bars, params.atr_bars)


def warm_up() -> None:
    """Compile the kernels, or load them from disk."""
    params = MEAN_REVERSION_FUNDING_DEFAULT
    bar = Bar(0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, math.nan, 0)
    _, features = observe_mean_reversion_funding(make_mean_reversion_funding(params), params, bar)
    decide_mean_reversion_funding(features, params, POSITION_FLAT, 0)
