"""Exposure: notional per venue, gross in the account, and net across strategies.

Source rule: each strategy bounded itself; six of them long the same market were one large position nobody had decided.
Sound here (multi-market coordination): the account's gross notional, its notional at the venue (a venue can halt or
fail as a whole) and its signed net (what one market move costs) each stay within a multiple of equity, counted over all
strategies after this entry. An entry against the net has more room, one with it less. Reference: Jorion, "Value at
risk", 3rd edition, 2007, chapter 7 (a portfolio's risk is not the sum of what its parts were allowed).
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from risk.state import EntryRequest


class ExposureParams(NamedTuple):
    """Multiples of equity."""

    enabled: bool
    venue_max: float
    gross_max: float
    net_max: float


EXPOSURE_DEFAULT = ExposureParams(True, 3.0, 3.0, 2.0)
EXPOSURE_RANGES = {"venue_max": (0.01, 125.0), "gross_max": (0.01, 125.0), "net_max": (0.01, 125.0)}


@njit(cache=True)
def decide_exposure(
    params: ExposureParams, request: EntryRequest, equity_quote: float, order_min_quote: float
) -> tuple[float, int]:
    """Return (notional that may be added [quote], reason): the first cap the smallest order does not fit under."""
    if not params.enabled:
        return math.inf, Reason.OK.value
    least_quote = order_min_quote * (1.0 - 1e-12)
    venue_quote = params.venue_max * equity_quote - request.notional_venue_quote
    if not (venue_quote >= least_quote and request.notional_venue_quote >= 0.0):
        return 0.0, Reason.EXPOSURE_VENUE.value
    gross_quote = params.gross_max * equity_quote - request.notional_account_quote
    if not (gross_quote >= least_quote and request.notional_account_quote >= 0.0):
        return 0.0, Reason.EXPOSURE_ACCOUNT.value
    net_quote = params.net_max * equity_quote - request.side * request.notional_net_quote
    if not (net_quote >= least_quote and math.isfinite(net_quote)):
        return 0.0, Reason.EXPOSURE_NET.value
    return min(venue_quote, gross_quote, net_quote), Reason.OK.value
