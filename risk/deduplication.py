"""Deduplication: one venue order per intent, ever.

Source rule: "ignore an identical order within a few seconds"; 63 duplicates in one second passed it. Loose twice: a
window forgets (the duplicate after it passes), and "identical" lets a copy with one changed field pass. Sound here:
an intent is (slot, decision time), and a slot answers only decisions newer than every one it has seen, approved or
denied. One integer a slot is the whole memory, it never expires, and it lies in the journal, so it survives a restart:
at-most-once by a monotone high-water mark. Reference: Lamport, "Time, clocks, and the ordering of events in a
distributed system", CACM 21(7), 1978; Helland, "Idempotence is not a medical condition", ACM Queue 10(4), 2012.
"""

from typing import NamedTuple

from numba import njit

from market.reasons import Reason
from risk.state import SlotRisk


class DeduplicationParams(NamedTuple):
    """Nothing to tune: at most once has no threshold."""

    enabled: bool


DEDUPLICATION_DEFAULT = DeduplicationParams(True)
DEDUPLICATION_RANGES: dict[str, tuple[float, float]] = {}


@njit(cache=True)
def decide_deduplication(params: DeduplicationParams, slot: SlotRisk, ts_decision_ns: int) -> int:
    """Return DUPLICATE_INTENT for a decision at or before the newest one this slot has seen."""
    if params.enabled and ts_decision_ns <= slot.ts_decided_ns:
        return Reason.DUPLICATE_INTENT.value
    return Reason.OK.value


@njit(cache=True)
def apply_decided(slot: SlotRisk, ts_decision_ns: int) -> SlotRisk:
    """Return the slot that remembers a decision; time never goes back."""
    return SlotRisk(max(slot.ts_decided_ns, ts_decision_ns), slot.ts_cooldown_until_ns, slot.ts_bucket_ns)
