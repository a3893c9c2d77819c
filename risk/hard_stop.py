"""Hard stop: one trade may lose at most 2 % of equity.

Source rule: "stop out at -2 %", measured on price, after the fact and before costs: with leverage 10 that is 20 % of
equity. Sound here: it bounds the size before entry. Lots are capped so that being stopped costs at most `risk_frac_max`
of equity, round-trip fees and slippage included, counting what the slot already holds; without a stop the whole
notional counts as lost. Denies when the smallest order loses more. Not covered: a gap through the stop, which the
leverage cap bounds. Reference: Ralph Vince, "The mathematics of money management", 1992, chapter 1 (fixed fractional
risk, and ruin beyond it).
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from risk.state import EntryRequest


class HardStopParams(NamedTuple):
    """Default: 2 % of equity."""

    enabled: bool
    risk_frac_max: float


HARD_STOP_DEFAULT = HardStopParams(True, 0.02)
HARD_STOP_RANGES = {"risk_frac_max": (1e-4, 0.5)}


@njit(cache=True)
def compute_lot_risk_quote(request: EntryRequest) -> float:
    """Return what one lot loses at the stop, round-trip costs included; without a stop its whole notional."""
    distance_px = request.decision_px
    if math.isfinite(request.stop_distance_px) and request.stop_distance_px > 0.0:
        distance_px = request.stop_distance_px
    return request.lot_base * (distance_px + request.cost_round_trip_frac * request.decision_px)


@njit(cache=True)
def decide_hard_stop(
    params: HardStopParams, equity_quote: float, lot_risk_quote: float, order_lots_min: float
) -> tuple[float, int]:
    """Return (largest position in lots, reason): HARD_STOP if it is below the smallest order."""
    if not params.enabled:
        return math.inf, Reason.OK.value
    lots_max = params.risk_frac_max * equity_quote / lot_risk_quote if lot_risk_quote > 0.0 else 0.0
    if not lots_max + 1e-9 >= order_lots_min:
        return 0.0, Reason.HARD_STOP.value
    return lots_max, Reason.OK.value
