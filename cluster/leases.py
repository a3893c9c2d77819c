"""A lease: the right to take new risk, for a while, in one life. Sans-IO; callers bring the time.

Ray gives no fencing: behind a network partition an actor lived on for two minutes beside its replacement. So an
order-path actor takes new risk only while it holds a lease, and each grant raises the epoch: whoever guards the way out
refuses older epochs.

Safe without agreeing clocks: the holder counts from when it ASKED, on its own clock, the grantor from when it ANSWERED,
on its own; the holder's lease therefore ends first, by the way of the answer and `margin_ns`. Use monotonic clocks on
both ends, each its own. Only their rates must agree, to within margin / duration.

    grantor                              holder
    Leases.grant(name, now) -> Grant --> HeldLease.apply_grant(grant, ts_asked_ns)
    Leases.renew(name, epoch, now)  -->  ...
                                         HeldLease.may_take_new_risk(now)
    guard: Fence.admit(epoch)
"""

from typing import NamedTuple


class Grant(NamedTuple):
    """What the grantor answers: the right to take new risk for `duration_ns`."""

    name: str
    epoch: int  # which holder this is; grows with every grant under the name
    duration_ns: int


class _Lease(NamedTuple):
    epoch: int
    ts_expires_ns: int


class Leases:
    """The grantor's side: at most one living lease per name.

    epoch_first: above every epoch of the grantor's former lives; take it from the journal, or the wall clock [ns].
    """

    def __init__(self, duration_ns: int, margin_ns: int, epoch_first: int = 1) -> None:
        if not 0 < margin_ns < duration_ns:
            raise ValueError(f"lease margin_ns is {margin_ns}, must be above 0 and below duration_ns, {duration_ns}")
        self.duration_ns = duration_ns
        self.margin_ns = margin_ns
        self._epoch_next = epoch_first
        self._leases: dict[str, _Lease] = {}

    def grant(self, name: str, ts_now_ns: int) -> Grant | None:
        """Return a grant under a new epoch, or None while another holder's lease runs."""
        lease = self._leases.get(name)
        if lease is not None and ts_now_ns < lease.ts_expires_ns:
            return None
        epoch = self._epoch_next
        self._epoch_next += 1
        self._leases[name] = _Lease(epoch, ts_now_ns + self.duration_ns)
        return Grant(name, epoch, self.duration_ns - self.margin_ns)

    def renew(self, name: str, epoch: int, ts_now_ns: int) -> Grant | None:
        """Return the same epoch for longer, or None: expired, released, or another's. The holder must then ask anew."""
        lease = self._leases.get(name)
        if lease is None or lease.epoch != epoch or ts_now_ns >= lease.ts_expires_ns:
            return None
        self._leases[name] = _Lease(epoch, ts_now_ns + self.duration_ns)
        return Grant(name, epoch, self.duration_ns - self.margin_ns)

    def release(self, name: str, epoch: int) -> bool:
        """The holder gives the lease back before its end; True if it was the holder."""
        lease = self._leases.get(name)
        if lease is None or lease.epoch != epoch:
            return False
        del self._leases[name]
        return True

    def epoch_of(self, name: str, ts_now_ns: int) -> int | None:
        """Return the epoch of the living lease, or None."""
        lease = self._leases.get(name)
        return lease.epoch if lease is not None and ts_now_ns < lease.ts_expires_ns else None


class HeldLease:
    """The holder's side. No lease, an ended one, or a clock that went back: no new risk. Reducing needs no lease."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch: int | None = None
        self._ts_asked_ns = 0
        self._ts_ends_ns = 0

    def apply_grant(self, grant: Grant, ts_asked_ns: int) -> None:
        """Take a grant whose request left at `ts_asked_ns`. One that is older than what we hold changes nothing."""
        if grant.name != self.name:
            raise ValueError(f"grant is for {grant.name!r}, this is {self.name!r}")
        if self.epoch is not None and grant.epoch < self.epoch:
            return
        ts_ends_ns = ts_asked_ns + grant.duration_ns
        if grant.epoch == self.epoch and ts_ends_ns < self._ts_ends_ns:
            return
        self.epoch, self._ts_asked_ns, self._ts_ends_ns = grant.epoch, ts_asked_ns, ts_ends_ns

    def drop(self) -> None:
        """Stop at once: a renewal was refused, or we are shutting down."""
        self.epoch = None

    def may_take_new_risk(self, ts_now_ns: int) -> bool:
        return self.epoch is not None and self._ts_asked_ns <= ts_now_ns < self._ts_ends_ns

    def should_renew(self, ts_now_ns: int) -> bool:
        """True once a third of the lease has run, so that two renewals may fail before it ends."""
        return self.epoch is None or ts_now_ns - self._ts_asked_ns >= (self._ts_ends_ns - self._ts_asked_ns) // 3


class Fence:
    """The guard's side: lets an epoch pass, and from then on nothing older."""

    def __init__(self, epoch_seen: int = 0) -> None:
        self.epoch_seen = epoch_seen

    def admit(self, epoch: int) -> bool:
        if epoch < self.epoch_seen:
            return False
        self.epoch_seen = epoch
        return True
