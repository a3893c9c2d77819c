"""Circuit breaker: stops a strategy whose trades cannot plausibly come from the win rate it was promised.

Source rule: "stop if the win rate of the last n trades is below x": 613 trades at 2.4 % passed, -41.27, before anyone
looked. Loose twice: a fixed n waits, and a test repeated after every trade at level alpha is wrong far more often than
alpha. Sound here, two tests that share a stated `false_alarm_frac` in halves, valid under continuous looking:

1. BREAKER_WIN_RATE. Null: each trade wins with probability >= p0. For any p1 < p0 the likelihood ratio of p1 against p0
   is a nonnegative supermartingale under the null, and so is the mean over a fixed set of p1. By Ville's inequality it
   ever reaches 1/alpha with probability <= alpha: over an infinite horizon, at every stopping time.
2. BREAKER_LOSS_RUN. The mean above remembers good years, so a strategy that suddenly dies would be seen late. A run of
   losses is not: its bound r is the smallest for which (1 + n p0) (1 - p0)^r <= alpha over a horizon of n trades (a run
   starts at the first trade or after a win; union bound). A larger win rate only makes runs rarer.

p0 is the promoted backtest's win rate less a tolerance, else `win_rate_min_frac`. Either test latches the strategy
until a person releases it (`release_breaker`), which also starts both tests anew. Trades that
overlap in time lose together: then the stated rate is void and the breaker fires too early, on the safe side.
Source: Ville, "Etude critique de la notion de collectif", 1939; Wald, "Sequential analysis", 1947; Robbins,
"Statistical methods related to the law of the iterated logarithm", Annals of Mathematical Statistics 41(5), 1970
(mixtures); Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38, 2023.
"""

import math
from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from risk.estimate import Prior
from risk.state import StrategyRisk


class BreakerParams(NamedTuple):
    """Default: one strategy in fifty that is as good as p0, or better by nothing, is stopped wrongly in its life."""

    enabled: bool
    false_alarm_frac: float
    win_rate_min_frac: float  # p0 without a promoted backtest
    prior_tolerance_frac: float  # with one: p0 = its win rate x (1 - tolerance)
    horizon_trades: int  # over which the loss run's half of the rate holds


BREAKER_DEFAULT = BreakerParams(True, 0.02, 0.30, 0.2, 1000)
BREAKER_RANGES = {
    "false_alarm_frac": (1e-6, 0.5),
    "win_rate_min_frac": (0.01, 0.95),
    "prior_tolerance_frac": (0.0, 0.9),
    "horizon_trades": (1, 1_000_000),
}


@njit(cache=True)
def compute_evidence_against(wins: int, losses: int, win_rate_null_frac: float) -> float:
    """Return the mean likelihood ratio of win rates 0.1, 0.3, 0.5 and 0.7 times the null's against the null's.

    Under the null it ever reaches x with probability <= 1/x.

    >>> compute_evidence_against(0, 0, 0.3), compute_evidence_against(0, 20, 0.3) > 100.0
    (1.0, True)
    """
    mean = 0.0
    for ratio in (0.1, 0.3, 0.5, 0.7):
        loss_ratio = (1.0 - ratio * win_rate_null_frac) / (1.0 - win_rate_null_frac)
        mean += 0.25 * math.exp(min(700.0, wins * math.log(ratio) + losses * math.log(loss_ratio)))
    return mean


@njit(cache=True)
def compute_loss_run_max(win_rate_null_frac: float, false_alarm_frac: float, horizon_trades: int) -> int:
    """Return the shortest run of losses that `horizon_trades` show with probability <= `false_alarm_frac`.

    >>> compute_loss_run_max(0.3, 0.01, 1000), compute_loss_run_max(0.5, 0.01, 1000)
    (29, 16)
    """
    starts = 1.0 + horizon_trades * win_rate_null_frac
    return max(1, math.ceil(math.log(starts / false_alarm_frac) / -math.log(1.0 - win_rate_null_frac)))


@njit(cache=True)
def compute_win_rate_null_frac(params: BreakerParams, prior: Prior) -> float:
    """Return p0: what the strategy promised, less the tolerance, or the least any strategy must win."""
    if prior.weight_trades > 0.0:
        return prior.win_rate_frac * (1.0 - params.prior_tolerance_frac)
    return params.win_rate_min_frac


@njit(cache=True)
def decide_breaker(params: BreakerParams, prior: Prior, wins: int, losses: int, loss_run: int) -> int:
    """Return BREAKER_WIN_RATE or BREAKER_LOSS_RUN if these counts trip the breaker, else OK."""
    if not params.enabled:
        return Reason.OK.value
    null_frac = compute_win_rate_null_frac(params, prior)
    half_frac = 0.5 * params.false_alarm_frac
    if compute_evidence_against(wins, losses, null_frac) * half_frac >= 1.0:
        return Reason.BREAKER_WIN_RATE.value
    if loss_run >= compute_loss_run_max(null_frac, half_frac, params.horizon_trades):
        return Reason.BREAKER_LOSS_RUN.value
    return Reason.OK.value


@njit(cache=True)
def release_breaker(strategy: StrategyRisk) -> StrategyRisk:
    """Return the strategy open again, both tests starting anew; the evidence that sizes it stays."""
    return StrategyRisk(
        strategy.wins_weight,
        strategy.losses_weight,
        strategy.win_r_sum,
        strategy.loss_r_sum,
        strategy.ts_evidence_ns,
        0,
        0,
        0,
        Reason.OK.value,
        0,
        strategy.ts_bucket_ns,
    )
