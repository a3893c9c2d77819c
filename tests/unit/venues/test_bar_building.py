"""Bars from trades: equal to the archives' kernel, nothing lost or doubled over any cut, gaps named."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.aggregation import build_bars
from market.records import Bar, Quality
from venues.bar_building import BarBuilder, TradeFate

STEP = 10
STALE, MISSING, AFTER_GAP = Quality.STALE.value, Quality.MISSING.value, Quality.AFTER_GAP.value
Trades = list[tuple[int, float, float]]
TRADES = st.lists(
    st.tuples(st.integers(0, 12), st.floats(1.0, 100.0), st.floats(0.0, 10.0)), min_size=1, max_size=60
).map(
    lambda rows: [
        (100 + sum(gap for gap, _, _ in rows[: index + 1]), px, qty) for index, (_, px, qty) in enumerate(rows)
    ]
)


def compute_at_once(trades: Trades) -> list[tuple[float, ...]]:
    columns = [np.array(column) for column in zip(*trades, strict=True)]
    opens, values = build_bars(columns[0].astype(np.int64), columns[1], columns[2], STEP)
    return [(int(open_ns), *row) for open_ns, row in zip(opens.tolist(), values.tolist(), strict=True)]


def read_values(bars: list[Bar]) -> list[tuple[float, ...]]:
    return [tuple(bar[:6]) for bar in bars]


@given(TRADES, st.integers(0, 25))
@settings(max_examples=60, deadline=None)
def test_bars_are_those_of_the_same_trades_at_once(trades: Trades, lateness_ns: int) -> None:
    builder = BarBuilder(STEP, lateness_ns)
    bars: list[Bar] = []
    for number, (ts_ns, px, qty) in enumerate(trades):
        bars += builder.close_until(ts_ns)
        assert builder.add_trade(number, ts_ns, px, qty) is TradeFate.ADDED
    bars += builder.close_until(trades[-1][0] + STEP + lateness_ns)
    assert read_values(bars) == compute_at_once(trades)
    assert all(after.ts_open_ns - bar.ts_open_ns == STEP for bar, after in pairwise(bars))
    assert all(math.isnan(bar.funding_rate) and math.isnan(bar.open_interest_base) for bar in bars)
    for bar, after in pairwise(bars):
        assert bool(after.quality & STALE) == (after.volume_base == 0.0 and not any(
            after.ts_open_ns <= ts_ns < after.ts_open_ns + STEP for ts_ns, _, _ in trades
        )), bar  # fmt: skip


@given(TRADES, st.data())
@settings(max_examples=60, deadline=None)
def test_overlapping_pieces_in_any_order_within_the_allowance_lose_and_double_nothing(
    trades: Trades, data: st.DataObject
) -> None:
    # Each trade may come again, and out of order by less than the allowance; trades of one instant keep theirs.
    instants = {ts_ns: index for index, (ts_ns, _, _) in enumerate(trades)}
    trades = [trades[index] for index in sorted(instants.values())]
    delays = data.draw(st.lists(st.integers(0, 19), min_size=len(trades), max_size=len(trades)))
    arrivals = [
        (ts_ns + delay, number) for number, ((ts_ns, _, _), delay) in enumerate(zip(trades, delays, strict=True))
    ]
    arrivals += [(ts_ns + 3, number) for ts_ns, number in data.draw(st.lists(st.sampled_from(arrivals), max_size=20))]
    builder = BarBuilder(STEP, 22)
    builder.start(trades[0][0])
    bars: list[Bar] = []
    for ts_arrival_ns, number in sorted(arrivals):
        bars += builder.close_until(ts_arrival_ns)
        builder.add_trade(number, *trades[number])
    bars += builder.close_until(trades[-1][0] + STEP + 22)
    assert read_values(bars) == [(row[0], *row[1:5], pytest.approx(row[5])) for row in compute_at_once(trades)]
    assert builder.counts[TradeFate.ADDED] == len(trades)
    assert builder.counts[TradeFate.LATE] == 0


def test_a_bar_closes_by_event_time_and_the_allowance() -> None:
    builder = BarBuilder(STEP, 5)
    assert (builder.ts_open_ns, builder.next_due_ns()) == (-1, -1)
    builder.start(103, 7.0)
    builder.add_trade(1, 104, 8.0, 1.0)
    builder.add_trade(2, 112, 9.0, 1.0)  # of the next bar: closes nothing
    assert builder.close_until(114) == []
    builder.add_trade(3, 109, 6.0, 2.0)  # late, within the allowance
    assert builder.next_due_ns() == 115
    [bar] = builder.close_until(115)
    assert bar[:6] == (100, 8.0, 8.0, 6.0, 6.0, 3.0)
    assert bar.quality == 0


def test_quiet_intervals_are_flat_and_stale_and_lost_ones_missing_with_a_mark_after() -> None:
    builder = BarBuilder(STEP)
    builder.start(100, 7.0)
    builder.add_trade(1, 123, 8.0, 1.0)
    builder.mark_lost(131, 142)
    builder.mark_lost(140, 145)  # the same gap, told in two pieces
    builder.add_trade(2, 155, 9.0, 1.0)
    builder.add_trade(3, 161, 9.0, 1.0)
    bars = builder.close_until(170)
    assert [(bar.ts_open_ns, bar.close_px, bar.quality) for bar in bars] == [
        (100, 7.0, STALE), (110, 7.0, STALE), (120, 8.0, 0), (130, 8.0, MISSING), (140, 8.0, MISSING),
        (150, 9.0, AFTER_GAP), (160, 9.0, 0),
    ]  # fmt: skip
    builder.mark_lost(171, 172)
    builder.add_trade(4, 175, 9.5, 1.0)
    assert [(bar.close_px, bar.quality) for bar in builder.close_until(190)] == [(9.5, AFTER_GAP), (9.5, STALE)]


def test_a_quiet_bar_after_a_missing_one_says_both() -> None:
    builder = BarBuilder(STEP)
    builder.start(100, 7.0)
    builder.mark_lost(100, 105)
    assert [bar.quality for bar in builder.close_until(120)] == [MISSING, STALE | AFTER_GAP]


def test_late_trades_mark_the_next_bar_and_repeats_mark_nothing() -> None:
    builder = BarBuilder(STEP)
    builder.start(100, 7.0)
    assert builder.add_trade("a", 101, 8.0, 1.0) is TradeFate.ADDED
    assert builder.add_trade("a", 101, 8.0, 1.0) is TradeFate.REPEATED
    assert [bar.volume_base for bar in builder.close_until(110)] == [1.0]
    assert builder.add_trade("a", 101, 8.0, 1.0) is TradeFate.REPEATED
    assert [bar.quality for bar in builder.close_until(120)] == [STALE]
    assert builder.add_trade("b", 102, 8.0, 1.0) is TradeFate.LATE
    assert [bar.quality for bar in builder.close_until(130)] == [STALE | AFTER_GAP]


def test_impossible_trades_are_refused_and_nothing_begins_without_a_price() -> None:
    builder = BarBuilder(STEP)
    for px, qty in ((math.nan, 1.0), (1.0, math.inf), (0.0, 1.0), (1.0, -1.0)):
        assert builder.add_trade(1, 100, px, qty) is TradeFate.REFUSED
    assert builder.close_until(10_000) == []
    builder.start(100)
    assert builder.close_until(150) == []
    builder.add_trade(1, 151, 5.0, 1.0)
    assert [bar.ts_open_ns for bar in builder.close_until(160)] == [150]
    unstarted = BarBuilder(STEP)
    unstarted.add_trade(1, 105, 5.0, 1.0)
    assert [bar.quality for bar in unstarted.close_until(110)] == [AFTER_GAP]  # it may be partial
    for interval_ns, lateness_ns in ((0, 0), (5, -1)):
        with pytest.raises(ValueError, match="interval is"):
            BarBuilder(interval_ns, lateness_ns)
