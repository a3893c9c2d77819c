"""Kelly: how much of equity one trade may risk, from a pessimistic estimate of the edge.

Source rule: full Kelly on the last trades' win rate and averages; after a win streak it sized up 3x and gave back a
month in two trades. Loose thrice: a streak is not an edge, full Kelly assumes the edge is known, and with no history it
was undefined. Sound here:
- For a bet that wins W R with probability p and else loses L R, growth is largest at risking f* = p / L - (1 - p) / W
  of equity per R; p, W and L are pessimistic (`estimate.py`), so a short streak moves them little.
- Only `fraction` of f* is risked: half of Kelly keeps three quarters of the growth at half the volatility, and errors
  of the estimate cost far more above f* than below.
- f* <= 0, or a size below `risk_frac_min`, is no trade at all: costs and noise would eat so small an edge. Above,
  `risk_frac_max` caps it, whatever the estimate says.
- No history: the promoted backtest is the prior; without one, the floor size, until there is evidence for a verdict.
Source: Kelly, "A new interpretation of information rate", Bell System Technical Journal 35(4), 1956; MacLean, Thorp and
Ziemba, "Long-term capital growth: the good and bad properties of the Kelly criteria", Quantitative Finance 10(7), 2010;
Baker and McHale, "Optimal betting under parameter uncertainty", Decision Analysis 10(3), 2013 (shrink f* when p is
estimated).
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from risk.estimate import Estimate


class KellyParams(NamedTuple):
    """Default: half Kelly, 1-5 % of equity at risk."""

    enabled: bool
    fraction: float
    risk_frac_min: float
    risk_frac_max: float


KELLY_DEFAULT = KellyParams(True, 0.5, 0.01, 0.05)
KELLY_RANGES = {"fraction": (0.01, 1.0), "risk_frac_min": (1e-4, 0.2), "risk_frac_max": (1e-4, 0.2)}


@njit(cache=True)
def compute_kelly_frac(win_rate_frac: float, win_r: float, loss_r: float) -> float:
    """Return the growth-optimal fraction of equity per R; <= 0: no edge. -inf for wins or losses of no size.

    >>> round(compute_kelly_frac(0.6, 1.0, 1.0), 3), compute_kelly_frac(0.9, 0.0, 1.0)
    (0.2, -inf)
    """
    if not (win_r > 0.0 and loss_r > 0.0):
        return -math.inf
    return win_rate_frac / loss_r - (1.0 - win_rate_frac) / win_r


@njit(cache=True)
def decide_kelly(params: KellyParams, estimate: Estimate) -> tuple[float, int]:
    """Return (fraction of equity to risk, reason); KELLY_TOO_LOW where the edge does not pay for the floor size."""
    if not params.enabled:
        return math.inf, Reason.OK.value
    if not estimate.is_ready:
        return params.risk_frac_min, Reason.OK.value
    risk_frac = params.fraction * compute_kelly_frac(
        estimate.win_rate_low_frac, estimate.win_r_avg, estimate.loss_r_avg
    )
    if not risk_frac >= params.risk_frac_min:
        return 0.0, Reason.KELLY_TOO_LOW.value
    return min(risk_frac, params.risk_frac_max), Reason.OK.value
