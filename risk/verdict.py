"""How long a strategy's estimate denies whatever is asked: an answer computed once instead of at every close.

A strategy without an edge goes on wishing, at most closes of a year, and the answer is always REWARD_TO_RISK. Between
two trades only time changes its estimate, slowly, and never in its favour or against it by a jump. So after a denial
the desk looks ahead: over a span of time it bounds each part of the expectancy from above. Where even that bound
denies, every request in the span is denied, to the bit as if each had been computed.

Bounds over a span, decay d falling from d1 to d0: wins w(d) and losses l(d) are linear in d, so they lie between their
ends. The averages of wins and losses are ratios of linear functions of d, monotone, so their extremes lie at the ends
too. Wilson's lower bound rises with wins and falls with losses, so it is at most that of the most wins and the fewest
losses. A take-profit only lowers what a trade can win. Rounding, of some 1e-15, is covered by a margin of 1e-9.
"""

from typing import TYPE_CHECKING, NamedTuple

from numba import njit

from market.records import NS_PER_DAY
from risk.estimate import compute_decay, compute_win_rate_low_frac
from risk.state import StrategyRisk

if TYPE_CHECKING:  # limits.py gathers the params of all rules
    from risk.limits import Limits


class Verdict(NamedTuple):
    """From `ts_from_ns` to before `ts_until_ns` reward_to_risk denies every request. The next trade voids it."""

    ts_from_ns: int
    ts_until_ns: int


VERDICT_NONE = Verdict(0, 0)
SPANS_DAYS = (16, 4, 1)  # looked ahead, longest first
_MARGIN = 1e-9


@njit(cache=True)
def is_unworthy(verdict: Verdict, ts_now_ns: int) -> bool:
    """Return whether the verdict says that reward_to_risk denies now."""
    return verdict.ts_from_ns <= ts_now_ns < verdict.ts_until_ns


@njit(cache=True)
def is_unworthy_through(limits: "Limits", strategy: StrategyRisk, ts_from_ns: int, ts_until_ns: int) -> bool:
    """Return True if reward_to_risk surely denies every request from `ts_from_ns` to `ts_until_ns`; False: not sure."""
    prior = limits.prior
    weights_min = min(strategy.wins_weight, strategy.losses_weight, strategy.win_r_sum, strategy.loss_r_sum)
    if not (limits.reward_to_risk.enabled and weights_min >= 0.0):
        return False
    most = compute_decay(limits.estimate, strategy.ts_evidence_ns, ts_from_ns) * (1.0 + _MARGIN)
    least = compute_decay(limits.estimate, strategy.ts_evidence_ns, ts_until_ns) * (1.0 - _MARGIN)
    prior_wins = prior.weight_trades * prior.win_rate_frac
    prior_losses = prior.weight_trades - prior_wins
    wins_most, wins_least = strategy.wins_weight * most + prior_wins, strategy.wins_weight * least + prior_wins
    losses_most, losses_least = (
        strategy.losses_weight * most + prior_losses,
        strategy.losses_weight * least + prior_losses,
    )
    trades_least = wins_least + losses_least
    is_ready = prior.weight_trades > 0.0 or trades_least + 0.5 >= limits.estimate.trades_min + _MARGIN
    if not (trades_least > _MARGIN and is_ready):
        return False
    prior_win_r, prior_loss_r = prior_wins * prior.win_r_avg, prior_losses * prior.loss_r_avg + 1.0
    win_r_most = max(
        (strategy.win_r_sum * most + prior_win_r) / (wins_most + 1.0),
        (strategy.win_r_sum * least + prior_win_r) / (wins_least + 1.0),
    )
    loss_r_least = min(
        (strategy.loss_r_sum * most + prior_loss_r) / (losses_most + 1.0),
        (strategy.loss_r_sum * least + prior_loss_r) / (losses_least + 1.0),
    )
    rate = compute_win_rate_low_frac(wins_most, wins_most + losses_least, limits.estimate.bound_z)
    expectancy_r_most = rate * win_r_most - (1.0 - rate) * loss_r_least
    margin_r = _MARGIN * (1.0 + win_r_most + loss_r_least)
    return expectancy_r_most + margin_r <= limits.reward_to_risk.expectancy_r_min


@njit(cache=True)
def find_verdict(limits: "Limits", strategy: StrategyRisk, ts_now_ns: int) -> Verdict:
    """Return the longest of some spans from now on in which reward_to_risk surely denies; VERDICT_NONE: not one."""
    for days in SPANS_DAYS:
        if is_unworthy_through(limits, strategy, ts_now_ns, ts_now_ns + days * NS_PER_DAY):
            return Verdict(ts_now_ns, ts_now_ns + days * NS_PER_DAY)
    return VERDICT_NONE
