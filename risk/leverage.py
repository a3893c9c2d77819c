"""Leverage: notional in one instrument, whoever holds it, against equity.

Source rule: the leverage set at the venue. Loose, because the venue's leverage is a margin setting, not a limit on how
much is held. Sound here: all notional in the instrument after this entry stays within the smaller of ours and the
venue's cap, times equity at the last mark. Growth falls beyond the growth-optimal leverage and is negative beyond twice
it. Reference: Thorp, "The Kelly criterion in blackjack, sports betting and the stock market", 2006, section 7.
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from risk.state import EntryRequest


class LeverageParams(NamedTuple):
    """Default: three times equity in one instrument."""

    enabled: bool
    leverage_max: float


LEVERAGE_DEFAULT = LeverageParams(True, 3.0)
LEVERAGE_RANGES = {"leverage_max": (0.01, 125.0)}


@njit(cache=True)
def decide_leverage(
    params: LeverageParams, request: EntryRequest, equity_quote: float, order_min_quote: float
) -> tuple[float, int]:
    """Return (notional that may be added [quote], reason): LEVERAGE_INSTRUMENT if the smallest order does not fit."""
    if not params.enabled:
        return math.inf, Reason.OK.value
    # Not min(): min(3.0, nan) is 3.0; here NaN is taken, and denies below.
    leverage_max = params.leverage_max if params.leverage_max <= request.leverage_max else request.leverage_max
    room_quote = leverage_max * equity_quote - request.notional_instrument_quote
    if not (room_quote >= order_min_quote * (1.0 - 1e-12) and request.notional_instrument_quote >= 0.0):
        return 0.0, Reason.LEVERAGE_INSTRUMENT.value
    return room_quote, Reason.OK.value
