"""Cooldown: after a stop, the slot stays out for a while.

Source rule: "wait after a stop", kept in the strategy's memory: 1,679 re-entries came within a minute of a stop, each
paying fees to be stopped again in the same move. Sound here: the time until which the slot is closed is risk state,
written when the stopped trade is booked, outside the strategy's reach, and journaled. Losses cluster because
volatility does, so the minutes after a stop are the worst to estimate an edge from. Reference: Mandelbrot, "The
variation of certain speculative prices", Journal of Business 36(4), 1963 (large changes follow large changes).
"""

from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from risk.state import SlotRisk


class CooldownParams(NamedTuple):
    """Default: one hour, four 15-minute bars."""

    enabled: bool
    cooldown_s: float


COOLDOWN_DEFAULT = CooldownParams(True, 3600.0)
COOLDOWN_RANGES = {"cooldown_s": (0.0, 30 * 86_400.0)}


@njit(cache=True)
def decide_cooldown(params: CooldownParams, slot: SlotRisk, ts_now_ns: int) -> int:
    """Return COOLDOWN until the slot's cooldown has passed."""
    if params.enabled and ts_now_ns < slot.ts_cooldown_until_ns:
        return Reason.COOLDOWN.value
    return Reason.OK.value


@njit(cache=True)
def apply_stopped(params: CooldownParams, slot: SlotRisk, ts_now_ns: int) -> SlotRisk:
    """Return the slot closed from now for the cooldown; a running cooldown is never shortened."""
    until_ns = max(slot.ts_cooldown_until_ns, ts_now_ns + int(params.cooldown_s * 1e9))
    return SlotRisk(slot.ts_decided_ns, until_ns, slot.ts_bucket_ns)
