"""Rate limits: token buckets per instrument slot, strategy and account.

Source rule: "at most n orders a minute", counted in fixed windows: 2n pass around a window's edge, and the counter is
lost on restart. Sound here: a token bucket, written as the generic cell rate algorithm: its whole state is one integer,
the time at which the bucket will be full again. In any interval of length t at most `burst + t * rate` entries pass,
whatever the phase; integer time does not drift; a clock that steps back denies rather than refills. Only entries are
limited: what reduces risk is never held back. Reference: ITU-T Recommendation I.371 (2004), annex A.
"""

from typing import NamedTuple

from numba import njit

from market.reasons import Reason


class RateLimitParams(NamedTuple):
    """Bursts and refills [entries]. A 15-minute strategy makes at most 4 decisions an hour and slot."""

    enabled: bool
    instrument_burst: int
    instrument_per_h: float
    strategy_burst: int
    strategy_per_h: float
    account_burst: int
    account_per_h: float


RATE_LIMIT_DEFAULT = RateLimitParams(True, 4, 12.0, 30, 240.0, 60, 3600.0)
RATE_LIMIT_RANGES = {
    "instrument_burst": (1, 10_000),
    "instrument_per_h": (0.01, 1e6),
    "strategy_burst": (1, 10_000),
    "strategy_per_h": (0.01, 1e6),
    "account_burst": (1, 10_000),
    "account_per_h": (0.01, 1e6),
}


@njit(cache=True)
def is_token_left(ts_bucket_ns: int, burst: int, per_h: float, ts_now_ns: int) -> bool:
    """Return whether the bucket, full again at `ts_bucket_ns`, holds a token now."""
    if ts_bucket_ns <= ts_now_ns:  # full, by far the most often: no division
        return burst >= 1
    interval_ns = int(3.6e12 / per_h)
    return ts_bucket_ns - ts_now_ns <= (burst - 1) * interval_ns


@njit(cache=True)
def spend_token(ts_bucket_ns: int, per_h: float, ts_now_ns: int) -> int:
    """Return when the bucket will be full again after one more token is taken."""
    return max(ts_bucket_ns, ts_now_ns) + int(3.6e12 / per_h)


@njit(cache=True, forceinline=True)
def decide_rate_limit(
    params: RateLimitParams, ts_slot_ns: int, ts_strategy_ns: int, ts_account_ns: int, ts_now_ns: int
) -> int:
    """Return OK, or the Reason of the first empty bucket: instrument slot, strategy, account."""
    if not params.enabled:
        return Reason.OK.value
    if not is_token_left(ts_slot_ns, params.instrument_burst, params.instrument_per_h, ts_now_ns):
        return Reason.RATE_LIMIT_INSTRUMENT.value
    if not is_token_left(ts_strategy_ns, params.strategy_burst, params.strategy_per_h, ts_now_ns):
        return Reason.RATE_LIMIT_STRATEGY.value
    if not is_token_left(ts_account_ns, params.account_burst, params.account_per_h, ts_now_ns):
        return Reason.RATE_LIMIT_ACCOUNT.value
    return Reason.OK.value
