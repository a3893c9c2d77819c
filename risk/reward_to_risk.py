"""Reward to risk: expectancy after costs must be positive at the lower bound of the win rate.

Source rule: "reward to risk above 1.5, or a high win rate". Loose: neither says anything alone. 94 % of trades won
0.013 on average, the others lost 0.371: expectancy -0.010 a trade; it took a win rate of 96.6 %. Sound here: with win
rate p at its lower confidence bound, the average win W and loss L in R, net of all costs, demand p W - (1 - p) L > 0. A
take-profit bounds what this trade can win, whatever past ones won: W is the smaller of the two. And before any evidence
a plan whose take-profit does not even pay its round-trip costs is denied: no win rate makes it good.
Source: Wilson 1927 for the bound (`estimate.py`); Van Tharp, "Trade your way to financial freedom", 1998, chapter 7
(expectancy in R); the blindness of win rates: Taleb, "Fooled by randomness", 2001, chapter 6 (frequency against
magnitude).
"""

from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from risk.estimate import Estimate
from risk.state import EntryRequest


class RewardToRiskParams(NamedTuple):
    """Default: anything above zero, in R a trade."""

    enabled: bool
    expectancy_r_min: float


REWARD_TO_RISK_DEFAULT = RewardToRiskParams(True, 0.0)
REWARD_TO_RISK_RANGES = {"expectancy_r_min": (0.0, 5.0)}


@njit(cache=True)
def decide_worth(is_unworthy: bool) -> int:
    """Return REWARD_TO_RISK where it is known beforehand that the estimate denies (`verdict.py`)."""
    return Reason.REWARD_TO_RISK.value if is_unworthy else Reason.OK.value


@njit(cache=True)
def decide_reward_to_risk(
    params: RewardToRiskParams, estimate: Estimate, request: EntryRequest, lot_risk_quote: float
) -> int:
    """Return REWARD_TO_RISK unless the trade is worth making at the pessimistic win rate; no evidence passes."""
    if not params.enabled:
        return Reason.OK.value
    win_r = estimate.win_r_avg
    if request.take_profit_distance_px > 0.0:
        cost_px = request.cost_round_trip_frac * request.decision_px
        planned_r = request.lot_base * (request.take_profit_distance_px - cost_px) / lot_risk_quote
        if not planned_r > 0.0:
            return Reason.REWARD_TO_RISK.value
        win_r = min(win_r, planned_r)
    if not estimate.is_ready:
        return Reason.OK.value
    expectancy_r = estimate.win_rate_low_frac * win_r - (1.0 - estimate.win_rate_low_frac) * estimate.loss_r_avg
    if not expectancy_r > params.expectancy_r_min:
        return Reason.REWARD_TO_RISK.value
    return Reason.OK.value
