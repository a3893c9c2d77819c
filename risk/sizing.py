"""Sizing: the largest position that every rule allows, in whole lots, or none.

The wish (`target_frac` of equity) is the upper bound. Kelly and the hard stop bound the whole position by its loss at
the stop, costs included; leverage, exposure and correlation bound what may be added. The smallest of them is
rounded down to lots: rounding never takes more risk than was allowed. Less than the venue's smallest order is no trade.
"""

import math

from numba import njit

from market.reasons import Reason
from risk.state import EntryRequest

LOTS_MAX = 9e15  # whole numbers below this are exact in float64


@njit(cache=True)
def compute_order_lots_min(request: EntryRequest) -> float:
    """Return the smallest order the venue takes, by lots and by notional [lots]."""
    by_notional = math.ceil(request.notional_min_quote / (request.decision_px * request.lot_base) - 1e-9)
    return max(float(request.qty_lots_min), float(by_notional))


@njit(cache=True)
def compute_target_lots(request: EntryRequest, equity_quote: float) -> float:
    """Return the wished position, unsigned and not rounded [lots]."""
    return abs(request.target_frac) * equity_quote / request.decision_px / request.lot_base


@njit(cache=True)
def decide_size(
    request: EntryRequest, position_lots_max: float, room_quote: float, order_lots_min: float
) -> tuple[int, int]:
    """Return (unsigned lots to add, reason); BELOW_MINIMUM_SIZE if the venue would not take them.

    `position_lots_max` bounds the position after the entry [lots], `room_quote` the entry itself [quote].
    """
    position_lots = math.floor(min(position_lots_max, LOTS_MAX) + 1e-9) - abs(request.qty_lots_now)
    room_lots = math.floor(min(room_quote / request.decision_px / request.lot_base, LOTS_MAX) + 1e-9)
    lots = min(position_lots, room_lots)
    if not lots >= order_lots_min:
        return 0, Reason.BELOW_MINIMUM_SIZE.value
    return int(lots), Reason.OK.value
