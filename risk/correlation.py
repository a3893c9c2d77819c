"""Correlation: notional on one side of instruments that move together counts as one position.

Source rule: "avoid correlated trades", judged by a correlation over the last days, which is low until the day it
matters. Sound here: membership of a group is configuration, not an estimate (all crypto majors fall together), and
inside a group correlation is taken as 1: same-side notional adds up and stays within a multiple of equity. Opposite
sides do not offset: a spread can break. Reference: Longin and Solnik, "Extreme correlation of international equity
markets", Journal of Finance 56(2), 2001 (correlation rises in falls).
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from risk.state import EntryRequest


class CorrelationParams(NamedTuple):
    """Multiple of equity on one side of one group."""

    enabled: bool
    same_side_max: float


CORRELATION_DEFAULT = CorrelationParams(True, 2.0)
CORRELATION_RANGES = {"same_side_max": (0.01, 125.0)}


@njit(cache=True)
def decide_correlation(
    params: CorrelationParams, request: EntryRequest, equity_quote: float, order_min_quote: float
) -> tuple[float, int]:
    """Return (notional that may be added [quote], reason): CORRELATION if the smallest order does not fit."""
    if not params.enabled:
        return math.inf, Reason.OK.value
    room_quote = params.same_side_max * equity_quote - request.notional_correlated_quote
    if not (room_quote >= order_min_quote * (1.0 - 1e-12) and request.notional_correlated_quote >= 0.0):
        return 0.0, Reason.CORRELATION.value
    return room_quote, Reason.OK.value
