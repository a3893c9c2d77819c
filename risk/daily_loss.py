"""Daily loss: 5 % of the day's opening equity, realised and unrealised, stops everything until a person releases it.

Source rule: "stop after -5 % today", summed over closed trades in memory: open losses did not count, a restart forgot
the day, and one NaN made the sum, and so the limit, vanish. Sound here: it compares marked equity (fees, funding and
open positions inside) with equity at the start of the UTC day; the latch is state that is journaled, outlives the day
and a restart; equity that is unknown is latched on its own (`account.py`) and cannot hide a loss found later. The mark
that opens a day is first held against the day before, so that a loss around midnight is not split in two.
Reference: Grossman and Zhou, "Optimal investment strategies for controlling drawdowns", Mathematical Finance 3, 1993.
"""

from typing import NamedTuple

from numba import njit

from market.reasons import Reason


class DailyLossParams(NamedTuple):
    """Default: 5 % of equity at the start of the UTC day."""

    enabled: bool
    loss_frac_max: float


DAILY_LOSS_DEFAULT = DailyLossParams(True, 0.05)
DAILY_LOSS_RANGES = {"loss_frac_max": (1e-3, 0.9)}


@njit(cache=True)
def decide_daily_loss(params: DailyLossParams, equity_day_start_quote: float, equity_quote: float) -> int:
    """Return DAILY_LOSS if equity, finite, has lost the day's allowance; OK before the first mark (NaN start)."""
    if params.enabled and equity_quote <= equity_day_start_quote * (1.0 - params.loss_frac_max):
        return Reason.DAILY_LOSS.value
    return Reason.OK.value
