"""Exit tracking: every position has a plan to close, and a time by which it is closed.

Source rule: strategies closed their own positions; 78 % of trades were never closed and nobody noticed, because each
restart forgot what it held. Sound here: a position outside its strategy's reach still ends: at its stop (`stops.py`),
at `holding_s_max` whatever the strategy thinks, or at once when the daily loss latched the account. This kernel is
asked for every open position at every bar; an orphan is adopted with the time of its adoption as entry. Time is one of
three barriers, so no trade's outcome is left open. Reference: Lopez de Prado, "Advances in financial machine
learning", 2018, section 3.4 (triple barrier).
"""

from typing import TYPE_CHECKING, NamedTuple

from numba import njit

from market.reasons import Reason
from market.records import Position
from risk.state import AccountRisk

if TYPE_CHECKING:  # limits.py gathers the params of all rules, this one's too
    from risk.limits import Limits


class ExitTrackingParams(NamedTuple):
    """Default: fourteen days."""

    enabled: bool
    holding_s_max: float


EXIT_TRACKING_DEFAULT = ExitTrackingParams(True, 14 * 86_400.0)
EXIT_TRACKING_RANGES = {"holding_s_max": (60.0, 3650 * 86_400.0)}


@njit(cache=True)
def decide_forced_exit(account: AccountRisk, limits: "Limits", position: Position, ts_now_ns: int) -> int:
    """Return why an open position is closed now (GLOBAL_STOP, HOLDING_TOO_LONG), or OK to keep it."""
    if position.qty_lots == 0 or not limits.enabled:
        return Reason.OK.value
    if account.latch_reason == Reason.DAILY_LOSS.value:
        return Reason.GLOBAL_STOP.value
    params = limits.exit_tracking
    if params.enabled and ts_now_ns - position.ts_entry_ns >= params.holding_s_max * 1e9:
        return Reason.HOLDING_TOO_LONG.value
    return Reason.OK.value
