"""The parts that every order-book feed shares."""

import pytest

from venues.book_feed import Backoff, DataAge


def test_waits_double_to_a_bound_and_begin_again_after_a_good_while() -> None:
    backoff = Backoff(base_ns=10, max_ns=50, settle_ns=100)
    assert [backoff.next_ns() for _ in range(6)] == [0, 10, 20, 40, 50, 50]
    backoff.settle(99)
    assert backoff.next_ns() == 50
    backoff.settle(100)
    assert [backoff.next_ns(), backoff.next_ns()] == [0, 10]


@pytest.mark.parametrize("offset_ns", [-1_500, 0, 1_500])
def test_age_does_not_depend_on_a_constant_difference_of_clocks(offset_ns: int) -> None:
    age = DataAge()
    assert age.compute_ns(10**6) == 0
    for ts_event_ns, delay_ns in ((10_000, 30), (11_000, 20), (12_000, 25)):
        age.note(ts_event_ns, ts_event_ns + delay_ns + offset_ns)
    now_ns = 12_025 + offset_ns
    assert age.compute_ns(now_ns) == 5  # 5 later than the quickest
    assert age.compute_ns(now_ns + 100) == 105
    assert age.compute_due_ns(1_000) == now_ns + 995
    age.note(12_100, 14_000 + offset_ns)
    assert age.compute_ns(14_000 + offset_ns) == 1_880
    age.restart()
    assert age.compute_ns(10**6) == 0


def test_a_measured_clock_replaces_the_quickest_message() -> None:
    age = DataAge()
    age.set_clock_offset(-1_500)
    age.note(10_000, 9_000)
    assert age.compute_ns(9_000) == 500
    age.note(0, 9_100)  # a venue that says no time: only silence counts
    assert age.compute_ns(9_100) == 600
