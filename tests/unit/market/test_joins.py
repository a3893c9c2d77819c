"""Joins: what is known at a bar's close is there, and nothing later."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.joins import AGE_NS_MAX, join_funding, join_last_known, join_signal
from market.records import NS_PER_DAY
from market.signals import read_signals_csv

OPENS = np.arange(0, 100, 10, dtype=np.int64)


def test_funding_goes_to_the_bar_it_settles_in() -> None:
    ts_ns = np.array([-5, 20, 34, 36, 50, 100], np.int64)
    rates = np.array([0.1, 0.2, 0.3, 0.4, -0.5, 9.0])
    known, at_open, inside = join_funding(OPENS, 10, ts_ns, rates)
    assert at_open.tolist() == [0, 0, 0.2, 0, 0, -0.5, 0, 0, 0, 0]
    assert inside.tolist() == [0, 0, 0, 0.3 + 0.4, 0, 0, 0, 0, 0, 0]
    assert known.tolist() == [0.1, 0.2, 0.2, 0.4, -0.5, -0.5, -0.5, -0.5, -0.5, 9.0]


@given(
    ts=st.lists(st.integers(-30, 120), max_size=30, unique=True).map(sorted),
    cut=st.integers(1, 10),
)
def test_every_settlement_is_paid_once_and_the_future_changes_nothing(ts: list[int], cut: int) -> None:
    ts_ns, rates = np.array(ts, np.int64), np.arange(1.0, len(ts) + 1)
    known, at_open, inside = join_funding(OPENS, 10, ts_ns, rates)
    paid = rates[(ts_ns >= 0) & (ts_ns < 100)].sum()
    assert at_open.sum() + inside.sum() == paid
    past = ts_ns <= cut * 10
    known_then, _, _ = join_funding(OPENS[:cut], 10, ts_ns[past], rates[past])
    np.testing.assert_array_equal(known_then, known[:cut])


def test_last_known_expires() -> None:
    ts_ns = np.array([0], np.int64)
    at = np.array([0, AGE_NS_MAX, AGE_NS_MAX + 1, -1])
    joined = join_last_known(at, ts_ns, np.array([7.0]), AGE_NS_MAX)
    assert joined.tolist()[:2] == [7.0, 7.0]
    assert np.isnan(joined[2:]).all()
    assert AGE_NS_MAX > NS_PER_DAY


def test_a_signal_holds_from_its_bar_until_the_next_row() -> None:
    joined = join_signal(OPENS[:5], 10, np.array([10, 19, 30], np.int64), np.array([0.5, -1.0, 0.0]))
    assert np.isnan(joined[0])
    assert joined[1:].tolist() == [-1.0, -1.0, 0.0, 0.0]


def test_signals_csv(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("ts,target\n1704067200000,0.5\n1704068100000,-1\n\n")
    rows = read_signals_csv(path)
    assert rows.tolist() == [(1704067200000, 0.5), (1704068100000, -1.0)]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "line 1: columns are '', must be 'ts,target'"),
        ("ts,target\n", "no rows"),
        ("time,target\n1,2\n", "line 1: columns are 'time,target'"),
        ("ts,target\n1704067200000,1.5\n", r"line 2: target 1\.5 is not a fraction"),
        ("ts,target\n1704067200000,nan\n", "line 2: target nan is not a fraction"),
        ("ts,target\n1704067200,0\n", "line 2: ts 1704067200 is not whole UTC milliseconds"),
        ("ts,target\n1704067200000.5,0\n", "line 2: ts .* is not whole"),
        ("ts,target\nnan,0\n", "line 2: ts nan is not whole"),
        ("ts,target\n1704067200000,0\n1704067200000,1\n", "line 3: ts 1704067200000 does not come after"),
        ("ts,target\n1704067200000,zero\n", "line 2: .* are not two numbers"),
        ("ts,target\n1704067200000,0,0\n", "line 2: 3 columns"),
    ],
)
def test_bad_signals_are_named(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=text) as caught:
        read_signals_csv(path)
    assert str(path) in str(caught.value)


def test_a_missing_signals_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.csv: no such file"):
        read_signals_csv(tmp_path / "none.csv")
