"""Bars from trades: the live builder and the compiled loop make the same bars; coarser bars keep what they hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.aggregation import BAR_NONE, BarBuilder, BarState, build_bars, coarsen_bars
from market.records import Quality

INTERVAL_NS = 10

Trades = list[tuple[int, float, float]]

trades_strategy = st.lists(
    st.tuples(
        st.integers(0, 300),
        st.one_of(st.floats(0.5, 2.0), st.sampled_from([math.nan, 0.0, -1.0])),
        st.one_of(st.floats(0.0, 5.0), st.sampled_from([math.inf, -1.0])),
    ),
    min_size=1,
    max_size=60,
).map(sorted)


def as_arrays(trades: Trades) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ts_ns, px, qty_base = zip(*trades, strict=True)
    return np.array(ts_ns, np.int64), np.array(px, np.float64), np.array(qty_base, np.float64)


def build_live(trades: Trades) -> tuple[list[BarState], BarBuilder]:
    builder = BarBuilder(INTERVAL_NS)
    closed = [bar for trade in trades for bar in builder.add_trade(*trade)]
    return closed, builder


def is_sound(trade: tuple[int, float, float]) -> bool:
    return math.isfinite(trade[1]) and math.isfinite(trade[2]) and trade[1] > 0.0 and trade[2] >= 0.0


@given(trades=trades_strategy)
def test_live_and_compiled_bars_are_identical(trades: Trades) -> None:
    closed, builder = build_live(trades)
    expected = [*closed, *([builder.current] if builder.current != BAR_NONE else [])]
    ts_open_ns, values = build_bars(*as_arrays(trades), INTERVAL_NS)
    assert ts_open_ns.tolist() == [bar.ts_open_ns for bar in expected]
    assert values.tolist() == [list(bar[1:6]) for bar in expected]


@given(trades=trades_strategy.filter(lambda trades: any(map(is_sound, trades))))
def test_bars_hold_every_sound_trade(trades: Trades) -> None:
    sound = [trade for trade in trades if is_sound(trade)]
    ts_open_ns, values = build_bars(*as_arrays(sound), INTERVAL_NS)
    assert np.diff(ts_open_ns).tolist() == [INTERVAL_NS] * (len(ts_open_ns) - 1)
    assert math.isclose(values[:, 4].sum(), sum(trade[2] for trade in sound), abs_tol=1e-9)
    assert values[:, 1].max() == max(trade[1] for trade in sound)
    assert values[:, 2].min() == min(trade[1] for trade in sound)
    assert (values[0, 0], values[-1, 3]) == (sound[0][1], sound[-1][1])
    assert values[1:, 0].tolist() == [
        next((trade[1] for trade in sound if trade[0] // 10 * 10 == ts), values[row, 3])
        for row, ts in enumerate(ts_open_ns[1:].tolist())
    ]


def test_builder_counts_what_it_leaves_out() -> None:
    builder = BarBuilder(INTERVAL_NS)
    assert builder.add_trade(5, math.nan, 1.0) == []
    assert builder.current == BAR_NONE
    builder.add_trade(15, 1.0, 1.0)
    assert builder.close_until(19) == []
    assert builder.close_until(30) == [
        BarState(10, 1.0, 1.0, 1.0, 1.0, 1.0, 1),
        BarState(20, 1.0, 1.0, 1.0, 1.0, 0.0, 0),
    ]
    builder.add_trade(29, 2.0, 1.0)
    builder.add_trade(31, -2.0, 1.0)
    assert (builder.late, builder.refused) == (1, 2)
    assert builder.current == BarState(30, 1.0, 1.0, 1.0, 1.0, 0.0, 0)


def test_no_trades_no_bars() -> None:
    empty = np.empty(0)
    ts_open_ns, values = build_bars(empty.astype(np.int64), empty, empty, INTERVAL_NS)
    assert (len(ts_open_ns), values.shape) == (0, (0, 5))


MISSING, AFTER, STALE = Quality.MISSING.value, Quality.AFTER_GAP.value, Quality.STALE.value


@pytest.mark.parametrize(
    ("parts", "coarse"),
    [
        ([0, 0], 0),
        ([MISSING, MISSING], MISSING),
        ([0, MISSING], AFTER),
        ([MISSING, AFTER], AFTER),
        ([AFTER, 0], AFTER),
        ([STALE, 0], 0),
        ([STALE, STALE], STALE),
        ([STALE, MISSING], AFTER | STALE),
    ],
)
def test_quality_of_coarser_bars(parts: list[int], coarse: int) -> None:
    _, _, quality = coarsen_bars(np.array([0, 10]), np.ones((2, 5)), np.array(parts), 10, 20)
    assert quality.tolist() == [coarse]


def test_coarser_bars_drop_what_is_cut_off() -> None:
    ts_open_ns = np.arange(10, 90, 10)
    values = np.arange(40.0).reshape(8, 5)
    coarse_ts, coarse, _ = coarsen_bars(ts_open_ns, values, np.zeros(8, np.int64), 10, 30)
    assert coarse_ts.tolist() == [30, 60]
    assert coarse[0].tolist() == [values[2, 0], values[4, 1], values[2, 2], values[4, 3], values[2:5, 4].sum()]
    none_ts, none, _ = coarsen_bars(ts_open_ns[:2], values[:2], np.zeros(2, np.int64), 10, 30)
    assert (len(none_ts), none.shape) == (0, (0, 5))
