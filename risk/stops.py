"""Stops: no position without one; ATR stops at entry, a trailing stop once in profit, never loosened.

Source rule: "use a stop", as an option of each strategy: positions drifted from -3 % to -50 % with none at all. And
"trail by 2 % after +0.5 %", moved by code that could also widen it. Sound here: the gate approves no entry whose
protective stop is not a finite distance inside (0, `distance_frac_max`] of the price (a stop too far to be hit is
none), the distance is fixed at the decision, and every later move goes through kernels that only tighten. A stop is
sized by volatility (ATR) rather than by a fixed percentage, so that noise alone does not hit it.
Reference: Kaminski and Lo, "When do stop-loss rules stop losses?", Journal of Financial Markets 18, 2014 (a stop pays
under momentum, costs under mean reversion: it is here as a bound on loss, not as a source of profit); Wilder, "New
concepts in technical trading systems", 1978 (ATR).
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from risk.state import EntryRequest


class StopsParams(NamedTuple):
    """Default: a stop farther than a quarter of the decision px is no stop."""

    enabled: bool
    distance_frac_max: float


class TrailingParams(NamedTuple):
    """Fractions of the entry px (arming) and of the best px since entry (distance). Default: +0.5 %, 2 %."""

    enabled: bool
    armed_frac: float
    distance_frac: float


class StopState(NamedTuple):
    """A position's protective stop and the best px seen since entry; 0.0: none, none yet."""

    stop_px: float
    best_px: float


STOPS_DEFAULT = StopsParams(True, 0.25)
STOPS_RANGES = {"distance_frac_max": (1e-4, 0.9)}
TRAILING_DEFAULT = TrailingParams(True, 0.005, 0.02)
TRAILING_RANGES = {"armed_frac": (0.0, 1.0), "distance_frac": (1e-4, 0.9)}
STOP_NONE = StopState(0.0, 0.0)


@njit(cache=True)
def decide_stop(params: StopsParams, request: EntryRequest) -> int:
    """Return NO_STOP unless the entry brings a finite stop distance that can be hit."""
    if not params.enabled:
        return Reason.OK.value
    if not (math.isfinite(request.stop_distance_px) and request.stop_distance_px > 0.0):
        return Reason.NO_STOP.value
    if request.stop_distance_px > params.distance_frac_max * request.decision_px:
        return Reason.NO_STOP.value
    return Reason.OK.value


@njit(cache=True)
def compute_exit_px(request: EntryRequest, is_stop_placed: bool) -> tuple[float, float]:
    """Return (stop_px, take_profit_px) of an approved entry; 0.0 where none rests."""
    stop_px = request.decision_px - request.side * request.stop_distance_px if is_stop_placed else 0.0
    take_profit_px = 0.0
    if request.take_profit_distance_px > 0.0:
        take_profit_px = max(0.0, request.decision_px + request.side * request.take_profit_distance_px)
    return stop_px, take_profit_px


@njit(cache=True)
def decide_stop_move(stop_px: float, new_stop_px: float, side: int) -> int:
    """Return OK if a position on `side` may move its stop so, else STOP_NOT_TIGHTER. 0.0: no stop rests yet."""
    if not (math.isfinite(new_stop_px) and new_stop_px > 0.0):
        return Reason.STOP_NOT_TIGHTER.value
    if stop_px == 0.0 or (new_stop_px - stop_px) * side > 0.0:
        return Reason.OK.value
    return Reason.STOP_NOT_TIGHTER.value


@njit(cache=True)
def apply_trailing(
    stop: StopState, params: TrailingParams, side: int, entry_px: float, high_px: float, low_px: float
) -> StopState:
    """Return the stop after one bar: armed once the best px is far enough past entry, it follows at a distance.

    `stop.best_px` 0.0 starts at the entry px. `side` is the position's. The result is never looser than `stop`;
    a bar or entry px that is not finite and > 0 changes nothing.
    """
    extreme_px = high_px if side > 0 else low_px
    if not params.enabled:
        return stop
    if not (math.isfinite(extreme_px) and extreme_px > 0.0 and math.isfinite(entry_px) and entry_px > 0.0):
        return stop
    best_px = stop.best_px if stop.best_px > 0.0 else entry_px
    if (extreme_px - best_px) * side > 0.0:
        best_px = extreme_px
    if (best_px - entry_px) * side < params.armed_frac * entry_px:
        return StopState(stop.stop_px, best_px)
    trailing_px = best_px * (1.0 - side * params.distance_frac)
    if decide_stop_move(stop.stop_px, trailing_px, side) == Reason.OK.value:
        return StopState(trailing_px, best_px)
    return StopState(stop.stop_px, best_px)
