"""Data checks: every fault is found, named by row and time; sound data has none; gaps alone pass."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.checks import Fault, check_series, find_faults
from market.series import COLUMNS, Kind, Series
from tests.unit.market.market_files import QUARTER_NS, TS_MS, make_bars

TS_NS = TS_MS * 1_000_000
HOUR_NS = 3_600_000_000_000
SPOIL: dict[str, Any] = {
    "close_px": (np.nan, Fault.NOT_FINITE, "close_px is nan"),
    "high_px": (1.0, Fault.IMPOSSIBLE, "high 1.0 is below low"),
    "low_px": (-1.0, Fault.IMPOSSIBLE, "low -1.0 is not above 0"),
    "open_px": (500.0, Fault.IMPOSSIBLE, "open 500.0 is outside"),
    "volume_base": (-0.5, Fault.IMPOSSIBLE, "volume -0.5 is below 0"),
}


def make_series(length: int = 20) -> Series:
    bars = make_bars(length)
    columns = dict(zip(COLUMNS[Kind.BARS], bars.values(), strict=True))
    columns["ts_ns"] = columns["ts_ns"] * 1_000_000
    return Series(Kind.BARS, columns, QUARTER_NS, "bars.csv", 2, "line")


@pytest.mark.parametrize("name", SPOIL)
@pytest.mark.parametrize("row", [0, 7, 19])
def test_a_spoilt_value_is_found_and_refused(name: str, row: int) -> None:
    series = make_series()
    value, fault, text = SPOIL[name]
    series.columns[name][row] = value
    findings = find_faults(series)
    assert [(finding.fault, finding.row) for finding in findings] == [(fault, row)]
    with pytest.raises(ValueError, match=rf"bars\.csv line {row + 2} \(2024-01-01T.*{text}.*mend or remove the row$"):
        check_series(series)


@given(rows=st.sets(st.integers(1, 98), min_size=1))
def test_gaps_account_for_every_missing_row(rows: set[int]) -> None:
    kept = np.array([row for row in range(100) if row not in rows])
    series = make_series(100).take(kept)
    gaps = check_series(series)
    assert all(gap.fault is Fault.GAP for gap in gaps)
    missing = {
        (ts_ns - TS_NS) // QUARTER_NS for gap in gaps for ts_ns in range(gap.ts_from_ns, gap.ts_to_ns, QUARTER_NS)
    }
    assert missing == rows
    assert sum(gap.rows_missing for gap in gaps) == len(rows)


@pytest.mark.parametrize(
    ("change", "fault", "row", "text"),
    [
        (lambda ts: np.insert(ts, 5, ts[4])[:-1], Fault.DUPLICATE, 5, "the row before has this time; remove one"),
        (lambda ts: ts[[0, 1, 3, 2, *range(4, 20)]], Fault.DISORDER, 3, "comes after 2024-01-01T00:45Z; sort the rows"),
        (lambda ts: ts + (np.arange(20) == 6) * 60_000_000_000, Fault.OFF_GRID, 6, "not the open of a 15m bar"),
        (lambda ts: ts - (np.arange(20) == 0) * (TS_NS - 900), Fault.IMPOSSIBLE, 0, "outside 2009 to 2100"),
    ],
)
def test_bad_times_are_refused(change: Any, fault: Fault, row: int, text: str) -> None:
    series = make_series()
    series.columns["ts_ns"] = change(series.ts_ns)
    first = find_faults(series)[0]
    assert (first.fault, first.row) == (fault, row)
    with pytest.raises(ValueError, match=text):
        check_series(series)


def test_the_count_of_further_faults_is_told() -> None:
    series = make_series()
    series.columns["close_px"][[3, 8, 9]] = np.inf
    with pytest.raises(ValueError, match=r"line 5 .*close_px is inf; mend or remove the row \(2 more such rows\)"):
        check_series(series)


def funding(hours: list[int], rate: float = 0.0001) -> Series:
    ts_ns = TS_NS + np.cumsum([0, *hours]) * HOUR_NS
    return Series(Kind.FUNDING, {"ts_ns": ts_ns, "funding_rate": np.full(len(ts_ns), rate)})


@pytest.mark.parametrize(
    ("hours", "missing"),
    [
        ([8, 8, 8, 8], 0),
        ([8, 8, 4, 4, 2, 2, 4, 8], 0),  # a venue changing its interval
        ([8, 16, 8, 8], 1),
        ([1, 1, 3, 1, 1], 2),
        ([4, 4, 12, 4], 2),
        ([8, 48, 8], 5),
    ],
)
def test_funding_gaps_know_that_intervals_change(hours: list[int], missing: int) -> None:
    assert sum(gap.rows_missing for gap in check_series(funding(hours))) == missing


def test_a_funding_rate_in_percent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"funding rate 0\.75 is a fraction beyond"):
        check_series(funding([8, 8], 0.75))


def trades(ids: list[int], ts: list[int] | None = None, px: float = 100.0) -> Series:
    length = len(ids)
    return Series(
        Kind.TRADES,
        {
            "ts_ns": TS_NS + np.array(ts or range(length), np.int64) * 1_000_000,
            "px": np.full(length, px),
            "qty_base": np.ones(length),
            "is_buyer_maker": np.zeros(length, np.bool_),
            "trade_id": np.array(ids, np.int64),
        },
    )


def test_trades_are_judged_by_id_not_by_time() -> None:
    assert check_series(trades([1, 2, 3], [5, 5, 5])) == []
    assert check_series(trades([-1, -1, -1], [5, 5, 6])) == []
    assert [(gap.row, gap.rows_missing) for gap in check_series(trades([1, 2, 6, 7]))] == [(2, 3)]
    for bad, text in [
        (trades([1, 2, 2]), "trade 2 twice; remove one"),
        (trades([1, 3, 2]), "trade 2 after 3; sort"),
        (trades([1, 2, 3], [5, 4, 6]), "comes after"),
        (trades([1], px=0.0), "price 0.0 is not above 0"),
        (trades([1], px=float("nan")), "px is nan"),
    ]:
        with pytest.raises(ValueError, match=text):
            check_series(bad)


def test_book_updates_lost_are_gaps() -> None:
    def diff(first: int, last: int, previous: int) -> bytes:
        return b'{"e":"depthUpdate","E":1,"U":%d,"u":%d,"pu":%d,"b":[],"a":[]}' % (first, last, previous)

    messages = np.empty(4, np.object_)
    messages[:] = [diff(1, 5, 0), diff(9, 11, 5), b'{"e":"trade"}', diff(20, 22, 15)]
    series = Series(Kind.BOOK, {"ts_ns": TS_NS + np.arange(4), "message": messages})
    assert [(gap.row, gap.text[:17]) for gap in check_series(series)] == [(3, "book updates lost")]
