"""Data quality: input that is stale, gapped, crossed, impossible or not finite denies new risk.

Source rule: "check the data". Loose, because a check that is itself computed with NaN passes: `nan > limit` is False
and `max(1.0, nan)` is 1.0, the scar "a NaN that switches a loss limit off". Sound here: every comparison is written
so that NaN fails it, this rule runs first, and its finiteness half cannot be switched off, so that no later rule ever
computes with what it cannot evaluate. Rules on numbers not looked at here (stop distance, notionals) deny by their
own Reason. Reference: IEEE 754-2019, section 5.11 (NaN compares unordered with everything).
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from market.records import Side
from risk.state import EntryRequest


class DataQualityParams(NamedTuple):
    """Default: a decision older than half a minute is not acted on."""

    enabled: bool
    age_s_max: float  # from the decision to now


DATA_QUALITY_DEFAULT = DataQualityParams(True, 30.0)
DATA_QUALITY_RANGES = {"age_s_max": (0.0, 86_400.0)}


@njit(cache=True)
def is_computable(request: EntryRequest) -> bool:
    """Return whether the numbers every later rule relies on are finite, in range and consistent with each other."""
    if request.side != Side.BUY.value and request.side != Side.SELL.value:
        return False
    if not (math.isfinite(request.decision_px) and request.decision_px > 0.0):
        return False
    if not (math.isfinite(request.target_frac) and request.target_frac * request.side > 0.0):
        return False
    if not (math.isfinite(request.lot_base) and request.lot_base > 0.0 and request.qty_lots_min >= 1):
        return False
    if not (math.isfinite(request.notional_min_quote) and request.notional_min_quote >= 0.0):
        return False
    if not (math.isfinite(request.cost_round_trip_frac) and request.cost_round_trip_frac >= 0.0):
        return False
    if not (math.isfinite(request.take_profit_distance_px) and request.take_profit_distance_px >= 0.0):
        return False
    return request.qty_lots_now * request.side >= 0


@njit(cache=True)
def decide_data_quality(params: DataQualityParams, request: EntryRequest, ts_now_ns: int) -> int:
    """Return OK or DATA_QUALITY. A decision from the future (clock skew) denies as one too old does."""
    if not is_computable(request):
        return Reason.DATA_QUALITY.value
    if not params.enabled:
        return Reason.OK.value
    if request.quality != 0 or request.ts_decision_ns < 0:
        return Reason.DATA_QUALITY.value
    age_ns = ts_now_ns - request.ts_decision_ns
    if age_ns < 0 or age_ns > params.age_s_max * 1e9:
        return Reason.DATA_QUALITY.value
    return Reason.OK.value
