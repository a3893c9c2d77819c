"""The account: what it is worth, its day, and its latch.

A latch keeps the first cause until a person releases it, with one exception: a daily loss replaces any other cause,
because it alone also closes positions (`exit_tracking.py`). Causes: DAILY_LOSS, EQUITY_UNKNOWN (a mark that is NaN,
infinite or <= 0), LATCHED (a person said halt). While latched every entry is denied by the cause.
"""

import math
from typing import TYPE_CHECKING

from numba import njit

from market.reasons import Reason
from market.records import NS_PER_DAY
from risk.daily_loss import decide_daily_loss
from risk.state import AccountRisk

if TYPE_CHECKING:  # limits.py gathers the params of all rules
    from risk.limits import Limits


@njit(cache=True)
def apply_mark(account: AccountRisk, limits: "Limits", equity_quote: float, ts_now_ns: int) -> AccountRisk:
    """Return the account after equity was marked: realised and unrealised, all positions at their marks.

    The mark that opens a UTC day is held against the day before it, then starts the new one. The first mark ever
    starts its day. A mark that is NaN, infinite or <= 0 starts none.
    """
    is_known = math.isfinite(equity_quote) and equity_quote > 0.0
    latch_reason, ts_latched_ns = account.latch_reason, account.ts_latched_ns
    if limits.enabled:
        reason = decide_daily_loss(limits.daily_loss, account.equity_day_start_quote, equity_quote)
        if reason == Reason.OK.value and not is_known:
            reason = Reason.EQUITY_UNKNOWN.value
        is_worse = latch_reason == Reason.OK.value or reason == Reason.DAILY_LOSS.value
        if reason != Reason.OK.value and reason != latch_reason and is_worse:
            latch_reason, ts_latched_ns = reason, ts_now_ns
    day, start_quote = account.day, account.equity_day_start_quote
    if is_known and ts_now_ns >= (day + 1) * NS_PER_DAY:
        day, start_quote = ts_now_ns // NS_PER_DAY, equity_quote
    return AccountRisk(equity_quote, start_quote, day, latch_reason, ts_latched_ns, account.ts_bucket_ns)


@njit(cache=True)
def decide_account(account: AccountRisk) -> int:
    """Return OK, the cause of the latch, or EQUITY_UNKNOWN before the first mark and after one without a value."""
    if account.latch_reason != Reason.OK.value:
        return account.latch_reason
    if not (math.isfinite(account.equity_quote) and account.equity_quote > 0.0):
        return Reason.EQUITY_UNKNOWN.value
    return Reason.OK.value


@njit(cache=True)
def apply_halt(account: AccountRisk, ts_now_ns: int) -> AccountRisk:
    """Return the account latched by a person; a latch already set keeps its cause."""
    if account.latch_reason != Reason.OK.value:
        return account
    return AccountRisk(
        account.equity_quote,
        account.equity_day_start_quote,
        account.day,
        Reason.LATCHED.value,
        ts_now_ns,
        account.ts_bucket_ns,
    )


@njit(cache=True)
def apply_cash_flow(account: AccountRisk, amount_quote: float) -> AccountRisk:
    """Return the account after a deposit (> 0) or withdrawal: neither is a gain or a loss of the day."""
    return AccountRisk(
        account.equity_quote + amount_quote,
        account.equity_day_start_quote + amount_quote,
        account.day,
        account.latch_reason,
        account.ts_latched_ns,
        account.ts_bucket_ns,
    )


@njit(cache=True)
def release_latch(account: AccountRisk) -> AccountRisk:
    """Return the account open again; the day's allowance starts anew from its last known equity."""
    is_known = math.isfinite(account.equity_quote) and account.equity_quote > 0.0
    start_quote = account.equity_quote if is_known else account.equity_day_start_quote
    return AccountRisk(account.equity_quote, start_quote, account.day, Reason.OK.value, 0, account.ts_bucket_ns)
