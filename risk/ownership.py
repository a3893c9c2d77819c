"""Ownership: an instrument at a venue has at most one owning strategy.

Source rule: none; strategies shared one position and undid each other's stops. Venues net all orders of an account
into one position, so two owners cannot both know what they hold, nor whose stop rests. Sound here: while one strategy
holds an instrument at a venue, another may not open there; multi-market coordination gives each its own.
"""

from typing import NamedTuple

from numba import njit

from market.reasons import Reason


class OwnershipParams(NamedTuple):
    """Nothing to tune."""

    enabled: bool


OWNERSHIP_DEFAULT = OwnershipParams(True)
OWNERSHIP_RANGES: dict[str, tuple[float, float]] = {}


@njit(cache=True)
def decide_ownership(params: OwnershipParams, is_owned_by_other: int) -> int:
    """Return INSTRUMENT_OWNED if another strategy holds this instrument at this venue (anything but 0)."""
    if params.enabled and is_owned_by_other != 0:
        return Reason.INSTRUMENT_OWNED.value
    return Reason.OK.value
