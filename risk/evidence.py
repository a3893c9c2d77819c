"""A closed trade becomes evidence: the estimate learns, the breaker looks, a stop starts the slot's cooldown."""

from numba import njit

from market.reasons import Reason
from risk.breaker import decide_breaker
from risk.cooldown import apply_stopped
from risk.estimate import compute_decay, compute_outcome_r
from risk.limits import Limits
from risk.state import SlotRisk, StrategyRisk, TradeOutcome


@njit(cache=True)
def apply_trade_closed(
    strategy: StrategyRisk, slot: SlotRisk, limits: Limits, outcome: TradeOutcome, ts_now_ns: int
) -> tuple[StrategyRisk, SlotRisk]:
    """Return strategy and slot after one of the slot's trades closed. A trade that made nothing counts as lost.

    An outcome that cannot be evaluated (NaN) counts as a loss of one R. With `limits.enabled` False nothing changes.
    """
    if not limits.enabled:
        return strategy, slot
    is_win, size_r = compute_outcome_r(limits.estimate, outcome)
    decay = compute_decay(limits.estimate, strategy.ts_evidence_ns, ts_now_ns)
    wins, losses, loss_run = strategy.breaker_wins + 1, strategy.breaker_losses, 0
    win, loss, win_r, loss_r = 1.0, 0.0, size_r, 0.0
    if not is_win:
        wins, losses, loss_run = strategy.breaker_wins, strategy.breaker_losses + 1, strategy.loss_run + 1
        win, loss, win_r, loss_r = 0.0, 1.0, 0.0, size_r
    latch_reason, ts_latched_ns = strategy.latch_reason, strategy.ts_latched_ns
    if latch_reason == Reason.OK.value:
        latch_reason = decide_breaker(limits.breaker, limits.prior, wins, losses, loss_run)
        ts_latched_ns = ts_now_ns if latch_reason != Reason.OK.value else 0
    strategy = StrategyRisk(
        strategy.wins_weight * decay + win,
        strategy.losses_weight * decay + loss,
        strategy.win_r_sum * decay + win_r,
        strategy.loss_r_sum * decay + loss_r,
        max(strategy.ts_evidence_ns, ts_now_ns),
        wins,
        losses,
        loss_run,
        latch_reason,
        ts_latched_ns,
        strategy.ts_bucket_ns,
    )
    if outcome.was_stop:
        slot = apply_stopped(limits.cooldown, slot, ts_now_ns)
    return strategy, slot
