"""The estimate: how good a strategy's trades are, at a pessimistic bound, in multiples of the risk taken (R).

Every closed trade counts as won or lost and by its R = net pnl / risk at entry, so that trades of any size, instrument
and year speak the same language. Three things make it robust:
- R is clipped (wins at `win_r_max`, losses at `loss_r_max`): one lottery ticket is no edge, one bad tick no verdict.
- The win rate enters at the lower end of Wilson's score interval; the averages are shrunk by one imaginary trade each,
  a win worth nothing and a loss of a full R, and toward the promoted backtest where there is one.
- Trades lose weight with time (half after `half_life_days`), toward the prior or, without one, toward no evidence.
  A denied strategy, which makes no trades, is therefore neither forgotten at once nor condemned for ever: its evidence
  thins until it is below `trades_min` again and it may prove itself at the floor size, on average with
  `trades_min` x ln 2 / `half_life_days` trades a day: by default 42 a year, a probation. Weights <= 1 make their sum a
  cautious count: Kish's effective sample size is never below it.
Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927; Brown, Cai and
DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16, 2001; Kish, "Survey sampling", 1965.
"""

import math
from typing import NamedTuple

from numba import njit

from market.records import NS_PER_DAY
from risk.state import StrategyRisk, TradeOutcome


class EstimateParams(NamedTuple):
    """Default bound: one-sided 80 %. It is met again at every decision, so it bends sizes; the breaker judges."""

    half_life_days: float
    trades_min: float  # before so many (decayed) trades without a prior there is no verdict
    bound_z: float  # standard normal quantile of the lower bound
    win_r_max: float
    loss_r_max: float


class Prior(NamedTuple):
    """The promoted backtest, out of sample, as so many imaginary trades. Weight 0: none was promoted."""

    weight_trades: float
    win_rate_frac: float
    win_r_avg: float
    loss_r_avg: float  # positive


class Estimate(NamedTuple):
    """What is believed of the next trade, pessimistically."""

    is_ready: bool  # False: too little evidence for a verdict
    win_rate_low_frac: float
    win_r_avg: float
    loss_r_avg: float  # positive


PRIOR_NONE = Prior(0.0, 0.5, 1.0, 1.0)
PRIOR_RANGES = {
    "weight_trades": (0.0, 1000.0),
    "win_rate_frac": (0.01, 0.99),
    "win_r_avg": (0.001, 100.0),
    "loss_r_avg": (0.001, 100.0),
}
ESTIMATE_DEFAULT = EstimateParams(180.0, 30.0, 0.8416, 5.0, 10.0)
ESTIMATE_RANGES = {
    "half_life_days": (1.0, 3650.0),
    "trades_min": (5.0, 1000.0),
    "bound_z": (0.0, 4.0),
    "win_r_max": (1.0, 100.0),
    "loss_r_max": (1.0, 100.0),
}


@njit(cache=True, forceinline=True)
def compute_win_rate_low_frac(wins: float, trades: float, bound_z: float) -> float:
    """Return the lower end of Wilson's score interval for `wins` of `trades`; both may be fractional, trades > 0.

    >>> round(compute_win_rate_low_frac(15.0, 30.0, 1.96), 4)
    0.3315
    """
    rate = wins / trades
    z2 = bound_z * bound_z
    spread = bound_z * math.sqrt(max(0.0, rate * (1.0 - rate) / trades + z2 / (4.0 * trades * trades)))
    return max(0.0, (rate + z2 / (2.0 * trades) - spread) / (1.0 + z2 / trades))


@njit(cache=True, forceinline=True)
def compute_decay(params: EstimateParams, ts_from_ns: int, ts_now_ns: int) -> float:
    """Return the weight left of evidence dated `ts_from_ns` [0..1]; 1.0 if time stepped back."""
    age_days = max(0, ts_now_ns - ts_from_ns) / NS_PER_DAY
    return math.exp(-math.log(2.0) * age_days / params.half_life_days)


@njit(cache=True, forceinline=True)
def compute_estimate(params: EstimateParams, prior: Prior, strategy: StrategyRisk, ts_now_ns: int) -> Estimate:
    """Return the pessimistic estimate of a strategy's next trade from its decayed evidence and its prior."""
    decay = compute_decay(params, strategy.ts_evidence_ns, ts_now_ns)
    prior_wins = prior.weight_trades * prior.win_rate_frac
    prior_losses = prior.weight_trades - prior_wins
    wins = strategy.wins_weight * decay + prior_wins
    losses = strategy.losses_weight * decay + prior_losses
    trades = wins + losses
    # Half a trade of slack: thirty trades within some days are thirty, though each has begun to decay.
    if not trades > 0.0 or (prior.weight_trades <= 0.0 and trades + 0.5 < params.trades_min):
        return Estimate(False, 0.0, 0.0, 1.0)
    win_r_avg = (strategy.win_r_sum * decay + prior_wins * prior.win_r_avg) / (wins + 1.0)
    loss_r_avg = (strategy.loss_r_sum * decay + prior_losses * prior.loss_r_avg + 1.0) / (losses + 1.0)
    return Estimate(True, compute_win_rate_low_frac(wins, trades, params.bound_z), win_r_avg, loss_r_avg)


@njit(cache=True)
def compute_outcome_r(params: EstimateParams, outcome: TradeOutcome) -> tuple[bool, float]:
    """Return (is_win, |R| clipped). What cannot be evaluated is a loss of one R; a win of unknown risk is worth 0 R."""
    if not math.isfinite(outcome.pnl_quote):
        return False, 1.0
    is_win = outcome.pnl_quote > 0.0
    if not (math.isfinite(outcome.risk_quote) and outcome.risk_quote > 0.0):
        return is_win, 0.0 if is_win else 1.0
    size_r = abs(outcome.pnl_quote) / outcome.risk_quote
    return is_win, min(size_r, params.win_r_max if is_win else params.loss_r_max)
