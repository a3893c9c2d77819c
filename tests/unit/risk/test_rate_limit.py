"""Token buckets: never more than burst + rate x time, whatever the phase; deduplication: never twice."""

from hypothesis import given
from hypothesis import strategies as st

from market.reasons import Reason
from risk.deduplication import apply_decided, decide_deduplication
from risk.limits import LIMITS_DEFAULT
from risk.rate_limit import decide_rate_limit, is_token_left, spend_token
from risk.state import SLOT_RISK_NEW
from tests.unit.risk.entries import S_NS, TS_NS

GAPS_S = st.lists(st.integers(0, 4000), min_size=1, max_size=60)


@given(GAPS_S, st.integers(1, 6), st.sampled_from([1.0, 12.0, 60.0, 3600.0]))
def test_in_any_window_at_most_burst_and_refill_pass(gaps_s: list[int], burst: int, per_h: float) -> None:
    ts_now_ns, ts_bucket_ns, passed = TS_NS, 0, []
    for gap_s in gaps_s:
        ts_now_ns += gap_s * S_NS
        if is_token_left(ts_bucket_ns, burst, per_h, ts_now_ns):
            ts_bucket_ns = spend_token(ts_bucket_ns, per_h, ts_now_ns)
            passed.append(ts_now_ns)
    assert len(passed) >= min(burst, len(gaps_s))
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            hours = (passed[last] - passed[first]) / (3600 * S_NS)
            assert last - first + 1 <= burst + hours * per_h + 1e-6


def test_a_bucket_refills_and_a_clock_that_steps_back_refills_nothing() -> None:
    ts_bucket_ns = 0
    for _ in range(4):
        assert is_token_left(ts_bucket_ns, 4, 12.0, TS_NS)
        ts_bucket_ns = spend_token(ts_bucket_ns, 12.0, TS_NS)
    assert not is_token_left(ts_bucket_ns, 4, 12.0, TS_NS)
    assert not is_token_left(ts_bucket_ns, 4, 12.0, TS_NS - 3600 * S_NS)
    assert not is_token_left(ts_bucket_ns, 4, 12.0, TS_NS + 299 * S_NS)
    assert is_token_left(ts_bucket_ns, 4, 12.0, TS_NS + 300 * S_NS)


def test_buckets_are_asked_from_the_narrowest() -> None:
    params, full_ns = LIMITS_DEFAULT.rate_limit, TS_NS + 24 * 3600 * S_NS
    assert decide_rate_limit(params, 0, 0, 0, TS_NS) == Reason.OK
    assert decide_rate_limit(params, full_ns, full_ns, full_ns, TS_NS) == Reason.RATE_LIMIT_INSTRUMENT
    assert decide_rate_limit(params, 0, full_ns, full_ns, TS_NS) == Reason.RATE_LIMIT_STRATEGY
    assert decide_rate_limit(params, 0, 0, full_ns, TS_NS) == Reason.RATE_LIMIT_ACCOUNT
    assert decide_rate_limit(params._replace(enabled=False), full_ns, full_ns, full_ns, TS_NS) == Reason.OK


def test_an_ordinary_15_minute_strategy_is_never_rate_limited() -> None:
    params, ts_bucket_ns = LIMITS_DEFAULT.rate_limit, 0
    for bar in range(96):
        ts_now_ns = TS_NS + bar * 900 * S_NS
        assert decide_rate_limit(params, ts_bucket_ns, 0, 0, ts_now_ns) == Reason.OK
        ts_bucket_ns = spend_token(ts_bucket_ns, params.instrument_per_h, ts_now_ns)


@given(st.lists(st.integers(0, 20), max_size=60))
def test_no_decision_is_answered_twice(decisions: list[int]) -> None:
    slot, answered = SLOT_RISK_NEW, []
    for ts_decision_ns in decisions:
        if decide_deduplication(LIMITS_DEFAULT.deduplication, slot, ts_decision_ns) == Reason.OK:
            answered.append(ts_decision_ns)
        slot = apply_decided(slot, ts_decision_ns)
    assert answered == sorted(set(answered))
    assert not decisions or max(decisions) in answered
