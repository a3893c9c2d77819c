"""Leases: at no moment may two holders take new risk, whatever is delayed or lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.leases import Fence, Grant, HeldLease, Leases

SECOND = 1_000_000_000


def make_leases() -> Leases:
    return Leases(duration_ns=3 * SECOND, margin_ns=SECOND, epoch_first=5)


def test_one_holder_at_a_time_and_each_grant_a_new_epoch() -> None:
    leases = make_leases()
    assert leases.grant("executor", 0) == Grant("executor", 5, 2 * SECOND)
    assert leases.grant("executor", 3 * SECOND - 1) is None
    assert leases.epoch_of("executor", 3 * SECOND - 1) == 5
    assert leases.epoch_of("executor", 3 * SECOND) is None
    assert leases.renew("executor", 5, 3 * SECOND) is None
    assert leases.grant("executor", 3 * SECOND) == Grant("executor", 6, 2 * SECOND)
    assert leases.renew("executor", 5, 4 * SECOND) is None
    assert leases.renew("executor", 6, 4 * SECOND) == Grant("executor", 6, 2 * SECOND)
    assert not leases.release("executor", 5)
    assert leases.release("executor", 6)
    assert leases.grant("executor", 4 * SECOND) == Grant("executor", 7, 2 * SECOND)


def test_the_holder_counts_from_when_it_asked() -> None:
    held = HeldLease("executor")
    assert not held.may_take_new_risk(0)
    assert held.should_renew(0)
    held.apply_grant(Grant("executor", 5, 2 * SECOND), ts_asked_ns=10 * SECOND)
    assert [held.may_take_new_risk(ts * SECOND) for ts in (9, 10, 11, 12)] == [False, True, True, False]
    assert [held.should_renew(10 * SECOND + ts) for ts in (0, SECOND)] == [False, True]
    held.apply_grant(Grant("executor", 5, 2 * SECOND), ts_asked_ns=9 * SECOND)  # an old answer, late
    held.apply_grant(Grant("executor", 4, 9 * SECOND), ts_asked_ns=11 * SECOND)  # a former life's
    assert held.may_take_new_risk(12 * SECOND - 1)
    held.drop()
    assert not held.may_take_new_risk(11 * SECOND)
    with pytest.raises(ValueError, match="grant is for 'governor', this is 'executor'"):
        held.apply_grant(Grant("governor", 5, SECOND), 0)


def test_the_guard_lets_no_older_epoch_pass() -> None:
    fence = Fence(epoch_seen=3)
    assert [fence.admit(epoch) for epoch in (2, 3, 5, 4, 5)] == [False, True, True, False, True]


def test_a_margin_must_leave_something() -> None:
    with pytest.raises(ValueError, match="lease margin_ns is 5, must be above 0 and below duration_ns, 5"):
        Leases(duration_ns=5, margin_ns=5)


ACTIONS = st.tuples(
    st.integers(0, 1),  # which of two rivals acts
    st.integers(0, SECOND),  # time until then
    st.integers(0, SECOND),  # way of the request
    st.integers(0, 2 * SECOND),  # way of the answer
    st.booleans(),  # whether the answer is lost
)


@given(st.lists(ACTIONS, max_size=40))
def test_two_rivals_never_hold_at_once(actions: list[tuple[int, int, int, int, bool]]) -> None:
    leases, rivals = make_leases(), [HeldLease("executor"), HeldLease("executor")]
    ts_ns = 0
    for who, wait_ns, request_ns, answer_ns, is_lost in actions:
        ts_ns += wait_ns
        ts_asked_ns = ts_ns
        ts_ns += request_ns
        epoch = rivals[who].epoch
        grant = leases.renew("executor", epoch, ts_ns) if epoch is not None else None
        grant = grant or leases.grant("executor", ts_ns)
        if grant is None or is_lost:
            continue
        ts_ns += answer_ns
        rivals[who].apply_grant(grant, ts_asked_ns)
        assert sum(rival.may_take_new_risk(ts_ns) for rival in rivals) <= 1
