"""Joins: put funding, open interest and a signal beside the bars in which they were known."""

import numpy as np
from numpy.typing import NDArray

from market.records import NS_PER_DAY

AGE_NS_MAX = 2 * NS_PER_DAY  # a "last known" value older than this is unknown: its source has ended

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def join_last_known(now_ts_ns: IntArray, past_ts_ns: IntArray, past_values: FloatArray, age_ns_max: int) -> FloatArray:
    """Return for each time the last value at or before it; NaN where there is none or it is too old.

    >>> join_last_known(np.array([5, 10, 30]), np.array([10, 12]), np.array([1.0, 2.0]), 9).tolist()
    [nan, 1.0, nan]
    """
    index = np.searchsorted(past_ts_ns, now_ts_ns, side="right") - 1
    joined = np.full(len(now_ts_ns), np.nan)
    found = index >= 0
    found[found] = now_ts_ns[found] - past_ts_ns[index[found]] <= age_ns_max
    joined[found] = past_values[index[found]]
    return joined


def join_funding(
    ts_open_ns: IntArray, interval_ns: int, past_ts_ns: IntArray, past_rates: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (funding_rate, funding_open_rate, funding_inside_rate) of bars, as market/records.py defines them.

    A settlement at a bar's close belongs to the next bar's open for payment, and is known at the close.
    """
    ts_close_ns = ts_open_ns + interval_ns
    funding_rate = join_last_known(ts_close_ns, past_ts_ns, past_rates, AGE_NS_MAX)
    open_rate, inside_rate = np.zeros(len(ts_open_ns)), np.zeros(len(ts_open_ns))
    if len(ts_open_ns):
        bar = (past_ts_ns - ts_open_ns[0]) // interval_ns
        inside = (bar >= 0) & (bar < len(ts_open_ns))
        at_open = inside & ((past_ts_ns - ts_open_ns[0]) % interval_ns == 0)
        np.add.at(open_rate, bar[at_open], past_rates[at_open])
        np.add.at(inside_rate, bar[inside & ~at_open], past_rates[inside & ~at_open])
    return funding_rate, open_rate, inside_rate


def join_signal(ts_open_ns: IntArray, interval_ns: int, ts_ns: IntArray, target: FloatArray) -> FloatArray:
    """Return the signal in force at each bar's close: that of the bar containing its time, until the next row.

    A row at a bar's close instant belongs to the bar that opens then. NaN before the first row.
    """
    index = np.searchsorted(ts_ns, ts_open_ns + interval_ns, side="left") - 1
    joined = np.full(len(ts_open_ns), np.nan)
    joined[index >= 0] = target[index[index >= 0]]
    return joined
