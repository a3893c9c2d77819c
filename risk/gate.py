"""The gate: every entry passes every rule, in this order, or is denied with the first Reason.

| step | rule | Reason | needs |
|---|---|---|---|
| 1 | data_quality | DATA_QUALITY | the request: nothing later computes with what is not finite |
| 2 | deduplication | DUPLICATE_INTENT | one integer; from here on the decision is remembered, approved or not |
| 3 | account, daily_loss | LATCHED, DAILY_LOSS, EQUITY_UNKNOWN | the account's latch and value |
| 4 | breaker | BREAKER_WIN_RATE, BREAKER_LOSS_RUN | the strategy's latch |
| 5 | ownership | INSTRUMENT_OWNED | a flag |
| 6 | positions | POSITIONS_TOO_MANY | a count |
| 7 | cooldown | COOLDOWN | a time |
| 8 | rate_limit | RATE_LIMIT_* | three times; tokens are spent only by an approval |
| 9 | stops | NO_STOP | the stop distance |
| 10 | leverage, exposure, correlation | LEVERAGE_INSTRUMENT, EXPOSURE_*, CORRELATION | notionals |
| 11 | hard_stop | HARD_STOP | the loss at the stop |
| 12 | reward_to_risk, kelly | REWARD_TO_RISK, KELLY_TOO_LOW | the estimate: the dearest, so last |
| 13 | sizing | BELOW_MINIMUM_SIZE | all caps |

Cheap checks and facts come before estimates, so that the Reason names the plainest cause. Rules from 10 on bound
the size as well; each denies only if even the venue's smallest order does not fit. What reduces a position needs no
approval.
"""

import math

from numba import njit

from market.reasons import Reason
from risk.account import decide_account
from risk.cooldown import decide_cooldown
from risk.correlation import decide_correlation
from risk.data_quality import decide_data_quality
from risk.deduplication import apply_decided, decide_deduplication
from risk.estimate import compute_estimate
from risk.exposure import decide_exposure
from risk.hard_stop import compute_lot_risk_quote, decide_hard_stop
from risk.kelly import decide_kelly
from risk.leverage import decide_leverage
from risk.limits import Limits
from risk.ownership import decide_ownership
from risk.positions import decide_positions
from risk.rate_limit import decide_rate_limit, spend_token
from risk.reward_to_risk import decide_reward_to_risk, decide_worth
from risk.sizing import compute_order_lots_min, compute_target_lots, decide_size
from risk.state import AccountRisk, Approval, EntryRequest, SlotRisk, StrategyRisk
from risk.stops import compute_exit_px, decide_stop

_OK = Reason.OK.value


@njit(cache=True, forceinline=True)
def _decide_permission(
    account: AccountRisk,
    strategy: StrategyRisk,
    slot: SlotRisk,
    limits: Limits,
    request: EntryRequest,
    ts_now_ns: int,
) -> int:
    # Steps 3 to 9: may there be an entry at all?
    reason: int = decide_account(account)
    if reason == _OK:
        reason = strategy.latch_reason
    if reason == _OK:
        reason = decide_ownership(limits.ownership, request.is_owned_by_other)
    if reason == _OK:
        reason = decide_positions(limits.positions, request.positions_open, request.qty_lots_now)
    if reason == _OK:
        reason = decide_cooldown(limits.cooldown, slot, ts_now_ns)
    if reason == _OK:
        reason = decide_rate_limit(
            limits.rate_limit, slot.ts_bucket_ns, strategy.ts_bucket_ns, account.ts_bucket_ns, ts_now_ns
        )
    if reason == _OK:
        reason = decide_stop(limits.stops, request)
    return reason


@njit(cache=True, forceinline=True)
def _decide_room(
    limits: Limits, request: EntryRequest, equity_quote: float, order_min_quote: float
) -> tuple[float, int]:
    # Step 10: how much notional may be added?
    room_quote, reason = decide_leverage(limits.leverage, request, equity_quote, order_min_quote)
    if reason == _OK:
        exposure_quote, reason = decide_exposure(limits.exposure, request, equity_quote, order_min_quote)
        room_quote = min(room_quote, exposure_quote)
    if reason == _OK:
        correlated_quote, reason = decide_correlation(limits.correlation, request, equity_quote, order_min_quote)
        room_quote = min(room_quote, correlated_quote)
    return room_quote, reason


@njit(cache=True, forceinline=True)
def _decide_lots(
    strategy: StrategyRisk,
    limits: Limits,
    request: EntryRequest,
    equity_quote: float,
    is_unworthy: bool,
    ts_now_ns: int,
) -> tuple[int, int]:
    # Steps 10 to 13: how large may it be?
    order_lots_min = compute_order_lots_min(request)
    order_min_quote = order_lots_min * request.lot_base * request.decision_px
    lot_risk_quote = compute_lot_risk_quote(request)
    room_quote, reason = _decide_room(limits, request, equity_quote, order_min_quote)
    if reason != _OK:
        return 0, reason
    hard_lots, reason = decide_hard_stop(limits.hard_stop, equity_quote, lot_risk_quote, order_lots_min)
    if reason != _OK:
        return 0, reason
    reason = decide_worth(is_unworthy)
    if reason != _OK:
        return 0, reason
    estimate = compute_estimate(limits.estimate, limits.prior, strategy, ts_now_ns)
    reason = decide_reward_to_risk(limits.reward_to_risk, estimate, request, lot_risk_quote)
    if reason != _OK:
        return 0, reason
    kelly_frac, reason = decide_kelly(limits.kelly, estimate)
    if reason != _OK:
        return 0, reason
    kelly_lots = kelly_frac * equity_quote / lot_risk_quote
    position_lots_max = min(compute_target_lots(request, equity_quote), min(hard_lots, kelly_lots))
    size: tuple[int, int] = decide_size(request, position_lots_max, room_quote, order_lots_min)
    return size


@njit(cache=True)
def _decide_unguarded(account: AccountRisk, limits: Limits, request: EntryRequest, ts_now_ns: int) -> tuple[int, int]:
    # No rule, but no nonsense either: what cannot be computed is not traded.
    reason = decide_data_quality(limits.data_quality, request, ts_now_ns)
    if reason == _OK:
        reason = decide_account(account)
    if reason != _OK:
        return 0, reason
    lots_max = compute_target_lots(request, account.equity_quote)
    size: tuple[int, int] = decide_size(request, lots_max, math.inf, compute_order_lots_min(request))
    return size


@njit(cache=True, forceinline=True)
def decide_entry_lots(
    account: AccountRisk,
    strategy: StrategyRisk,
    slot: SlotRisk,
    limits: Limits,
    request: EntryRequest,
    is_unworthy: bool,
    ts_now_ns: int,
) -> tuple[int, int]:
    """Return (unsigned lots to add, reason) of an entry: the whole chain, no state changed. 0 lots: denied.

    `is_unworthy`: it is known that reward_to_risk denies now (`verdict.py`), which spares the estimate.
    States and limits may be records or rows of structured arrays; so may they be in every rule.
    """
    if not limits.enabled:
        lots, reason = _decide_unguarded(account, limits, request, ts_now_ns)
        return lots, reason
    reason = decide_data_quality(limits.data_quality, request, ts_now_ns)
    if reason == _OK:
        reason = decide_deduplication(limits.deduplication, slot, request.ts_decision_ns)
    if reason == _OK:
        reason = _decide_permission(account, strategy, slot, limits, request, ts_now_ns)
    lots = 0
    if reason == _OK:
        lots, reason = _decide_lots(strategy, limits, request, account.equity_quote, is_unworthy, ts_now_ns)
    return lots, reason


@njit(cache=True)
def is_decision_remembered(limits: Limits, reason: int) -> bool:
    """Return whether deduplication remembers a decision that ended with `reason`: all that passed step 1."""
    return limits.enabled and reason != Reason.DATA_QUALITY.value


@njit(cache=True)
def make_approval(limits: Limits, request: EntryRequest, lots: int) -> Approval:
    """Return the approval of so many unsigned lots with the exits that the request brings."""
    if not limits.enabled:
        return Approval(request.side * lots, 0.0, 0.0, 0.0, _OK)
    stop_px, take_profit_px = compute_exit_px(request, limits.stops.enabled)
    risk_quote = lots * compute_lot_risk_quote(request)
    return Approval(request.side * lots, stop_px, take_profit_px, risk_quote, _OK)


@njit(cache=True)
def decide_entry(
    account: AccountRisk,
    strategy: StrategyRisk,
    slot: SlotRisk,
    limits: Limits,
    request: EntryRequest,
    ts_now_ns: int,
) -> tuple[AccountRisk, StrategyRisk, SlotRisk, Approval]:
    """Return the states after one entry was asked for, and the answer: an approved delta with its exits, or a Reason.

    A denial changes nothing but the memory of the decision (deduplication). With `limits.enabled` False only input
    that cannot be computed, an unknown equity and the venue's smallest order deny, and no exit is placed.
    """
    lots, reason = decide_entry_lots(account, strategy, slot, limits, request, False, ts_now_ns)
    if is_decision_remembered(limits, reason):
        slot = apply_decided(slot, request.ts_decision_ns)
    if reason != _OK:
        return account, strategy, slot, Approval(0, 0.0, 0.0, 0.0, reason)
    account, strategy, slot = spend_tokens(account, strategy, slot, limits, ts_now_ns)
    return account, strategy, slot, make_approval(limits, request, lots)


@njit(cache=True)
def spend_tokens(
    account: AccountRisk, strategy: StrategyRisk, slot: SlotRisk, limits: Limits, ts_now_ns: int
) -> tuple[AccountRisk, StrategyRisk, SlotRisk]:
    """Return the states after an approval took one token from each of the three buckets."""
    params = limits.rate_limit
    if not (limits.enabled and params.enabled):
        return account, strategy, slot
    return (
        AccountRisk(
            account.equity_quote,
            account.equity_day_start_quote,
            account.day,
            account.latch_reason,
            account.ts_latched_ns,
            spend_token(account.ts_bucket_ns, params.account_per_h, ts_now_ns),
        ),
        StrategyRisk(
            strategy.wins_weight,
            strategy.losses_weight,
            strategy.win_r_sum,
            strategy.loss_r_sum,
            strategy.ts_evidence_ns,
            strategy.breaker_wins,
            strategy.breaker_losses,
            strategy.loss_run,
            strategy.latch_reason,
            strategy.ts_latched_ns,
            spend_token(strategy.ts_bucket_ns, params.strategy_per_h, ts_now_ns),
        ),
        SlotRisk(
            slot.ts_decided_ns,
            slot.ts_cooldown_until_ns,
            spend_token(slot.ts_bucket_ns, params.instrument_per_h, ts_now_ns),
        ),
    )
