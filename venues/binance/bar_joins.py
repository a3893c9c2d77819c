"""Funding and open interest beside live bars, as `market.joins` puts them beside archived ones. Sans-IO.

A bar that ends when funding settles is told with that rate: it waits until REST has the settlement, at most
`patience_ns` (then the last known rate stands, and `unsettled` counts it). When settlements are due is what the mark
price stream says. Settlement times are floored to the minute, as in the archives: the venue's jitter by milliseconds.
Open interest is the last value polled at or before the close, NaN when older than `interest_age_ns`.
"""

import math
from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from market.joins import join_funding, join_last_known
from market.records import NS_PER_S, Bar

MINUTE_NS = 60 * NS_PER_S
FUNDINGS_KEPT = 4000
INTERESTS_KEPT = 4000
INTEREST_AGE_NS = 15 * MINUTE_NS


def floor_minute(ts_ns: int) -> int:
    """Return the settlement's time as the archives have it."""
    return ts_ns - ts_ns % MINUTE_NS


def join_bars(
    bars: Iterable[Bar],
    interval_ns: int,
    fundings: Iterable[tuple[int, float]],
    interests: Iterable[tuple[int, float]],
    interest_age_ns: int,
) -> list[Bar]:
    """Return bars, oldest first and without holes, with (ts_ns, value) rows of both kinds joined."""
    rows = [*bars]
    ts_open_ns = np.array([bar.ts_open_ns for bar in rows], np.int64)
    past_fundings, past_interests = _split(fundings), _split(interests)
    rate, at_open, inside = join_funding(ts_open_ns, interval_ns, *past_fundings)
    interest = join_last_known(ts_open_ns + interval_ns, *past_interests, interest_age_ns)
    return [
        bar._replace(
            funding_rate=float(rate[row]),
            funding_open_rate=float(at_open[row]),
            funding_inside_rate=float(inside[row]),
            open_interest_base=float(interest[row]),
        )
        for row, bar in enumerate(rows)
    ]


def _split(rows: Iterable[tuple[int, float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    pairs = [*rows]
    return np.array([ts_ns for ts_ns, _ in pairs], np.int64), np.array([value for _, value in pairs], np.float64)


class Settlements:
    """The settled funding of one instrument, and which settlements REST has not told yet."""

    def __init__(self) -> None:
        self._rates: dict[int, float] = {}
        self._expected_ns: deque[int] = deque(maxlen=64)
        self.is_known = False  # REST has answered once

    @property
    def rows(self) -> list[tuple[int, float]]:
        """Settlements (ts_ns, rate), oldest first."""
        return sorted(self._rates.items())

    def add(self, rows: Iterable[tuple[int, float]]) -> None:
        """Take in settlements (ts_ns, rate) of REST."""
        self.is_known = True
        for ts_ns, rate in rows:
            self._rates[floor_minute(ts_ns)] = rate
        for ts_ns in sorted(self._rates)[:-FUNDINGS_KEPT]:
            del self._rates[ts_ns]

    def expect(self, ts_next_ns: int) -> None:
        """Take in when the next settlement is due; 0: never."""
        ts_ns = floor_minute(ts_next_ns)
        if ts_ns > 0 and ts_ns not in self._expected_ns:
            self._expected_ns.append(ts_ns)

    def find_lacking(self, ts_now_ns: int) -> int:
        """Return when the oldest settlement was due that is not known; -1: all are."""
        return min(
            (ts_ns for ts_ns in self._expected_ns if ts_ns <= ts_now_ns and ts_ns not in self._rates), default=-1
        )

    def give_up(self, ts_due_ns: int) -> None:
        """Expect a settlement no longer: the venue moved it."""
        if ts_due_ns in self._expected_ns:
            self._expected_ns.remove(ts_due_ns)

    def is_lacking(self, ts_from_ns: int, ts_to_ns: int) -> bool:
        """Whether a settlement that is due from one time to another (included) is not known."""
        return not self.is_known or any(
            ts_from_ns <= ts_ns <= ts_to_ns and ts_ns not in self._rates for ts_ns in self._expected_ns
        )


class BarJoiner:
    """Closed bars of one instrument in; the same out, in order, once what was known at their close has been told."""

    def __init__(self, interval_ns: int, settlements: Settlements, patience_ns: int = 15 * NS_PER_S) -> None:
        self._interval_ns, self._settlements, self._patience_ns = interval_ns, settlements, patience_ns
        self._interests: deque[tuple[int, float]] = deque(maxlen=INTERESTS_KEPT)
        self._queue: deque[tuple[Bar, int]] = deque()
        self.unsettled = 0

    def add_interest(self, ts_ns: int, open_interest_base: float) -> None:
        """Take in open interest as polled."""
        if math.isfinite(open_interest_base) and (not self._interests or self._interests[-1][0] < ts_ns):
            self._interests.append((ts_ns, open_interest_base))

    def push(self, bar: Bar, ts_now_ns: int) -> None:
        """Take in the next closed bar."""
        self._queue.append((bar, ts_now_ns))

    def take(self, ts_now_ns: int) -> list[Bar]:
        """Return the bars that are complete, oldest first."""
        ready: list[Bar] = []
        while self._queue:
            bar, ts_pushed_ns = self._queue[0]
            if self._settlements.is_lacking(bar.ts_open_ns, bar.ts_open_ns + self._interval_ns):
                if ts_now_ns - ts_pushed_ns < self._patience_ns:
                    break
                self.unsettled += 1
            self._queue.popleft()
            ready += join_bars([bar], self._interval_ns, self._settlements.rows, self._interests, INTEREST_AGE_NS)
        return ready
