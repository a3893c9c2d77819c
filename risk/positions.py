"""Positions: at most so many open at once in the account, whoever opened them.

Source rule: a cap per strategy, so that six strategies held six times the cap. Sound here: the account's positions are
counted after this decision's reduce leg; adding to a position that is already open takes no new place. Diversification
has a limit: beyond some ten names of one asset class the shared risk dominates. Reference: Evans and Archer,
"Diversification and the reduction of dispersion", Journal of Finance 23(5), 1968.
"""

from typing import NamedTuple

from numba import njit

from market.reasons import Reason


class PositionsParams(NamedTuple):
    """Default: ten positions."""

    enabled: bool
    positions_max: int


POSITIONS_DEFAULT = PositionsParams(True, 10)
POSITIONS_RANGES = {"positions_max": (1, 1000)}


@njit(cache=True)
def decide_positions(params: PositionsParams, positions_open: int, qty_lots_now: int) -> int:
    """Return POSITIONS_TOO_MANY if a new position would be one too many, or the count is impossible."""
    if not params.enabled:
        return Reason.OK.value
    if positions_open < 0 or (qty_lots_now == 0 and positions_open >= params.positions_max):
        return Reason.POSITIONS_TOO_MANY.value
    return Reason.OK.value
