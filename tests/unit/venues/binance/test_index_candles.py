"""Candles of marks and indices, months by the calendar, and what a path tells of before its market's start."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.fills import Costs
from market.instruments import LISTED
from market.records import NS_PER_DAY, NS_PER_MS, NS_PER_S
from venues.binance.index_candles import IndexCandles, Series
from venues.binance.intervals import INTERVALS_NS, MINUTE_NS, find_next_open_ns, find_open_ns, list_opens_ns
from venues.simulator.driven_market import DrivenMarket, Mark, MarketSettings
from venues.simulator.price_path import make_bars

BTC_ID = "BTC-PERP.BINANCE"
HOUR_NS = 3600 * NS_PER_S
START_NS = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp()) * NS_PER_S


def make_market(interval_ns: int, bars_before: int, funding_rate: float = np.nan) -> DrivenMarket:
    """Return a market that begins at a March's midnight, with so many bars of a past."""
    pxs = [100.0 + index % 7 for index in range(bars_before + 50)]
    bars = make_bars(pxs, START_NS - bars_before * interval_ns, interval_ns, 10.0)
    bars["funding_rate"], bars["open_interest_base"] = funding_rate, np.arange(len(bars)) + 1.0
    settings = MarketSettings(ts_start_ns=START_NS, block_ns=500 * NS_PER_MS)
    return DrivenMarket([LISTED[BTC_ID]], Costs(5.0, 2.0, 0.0), {BTC_ID: bars}, settings)


@given(st.integers(0, 4_000_000_000), st.sampled_from(sorted(INTERVALS_NS)))
def test_each_time_lies_in_one_candle(ts_s: int, interval: str) -> None:
    ts_ns = ts_s * NS_PER_S
    open_ns = find_open_ns(interval, ts_ns)
    next_ns = find_next_open_ns(interval, open_ns)
    assert open_ns <= ts_ns < next_ns
    assert find_open_ns(interval, open_ns) == open_ns
    assert find_open_ns(interval, next_ns - 1) == open_ns
    assert list_opens_ns(interval, open_ns, next_ns + 1) == [open_ns, next_ns]


def test_months_are_the_calendars() -> None:
    opens = list_opens_ns("1M", START_NS - 40 * NS_PER_DAY, START_NS + 40 * NS_PER_DAY)
    assert [datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).month for ts_ns in opens] == [2, 3, 4]
    assert opens[1] - opens[0] == 29 * NS_PER_DAY  # 2024


def test_recorded_minutes_count_and_earlier_ones_are_derived() -> None:
    market = make_market(5 * MINUTE_NS, 100, funding_rate=0.002)
    candles = IndexCandles(market, BTC_ID)
    market.advance(START_NS + 3 * MINUTE_NS)
    for second, px in ((60, 101.0), (61, 105.0), (62, 99.0), (130, 103.0)):
        candles.add_mark(Mark(BTC_ID, START_NS + second * NS_PER_S, px / 1.001, px))
    minutes = dict(candles.list_shapes(Series.MARK, "1m", START_NS, START_NS + HOUR_NS))
    assert minutes[START_NS + MINUTE_NS] == (101.0, 105.0, 99.0, 99.0)
    assert minutes[START_NS + 2 * MINUTE_NS] == (103.0,) * 4
    whole = dict(candles.list_shapes(Series.MARK, "5m", START_NS - HOUR_NS, START_NS + HOUR_NS))
    first = whole[START_NS]
    traded = market.list_candles(BTC_ID, 5 * MINUTE_NS, START_NS, START_NS + 1)[0]
    assert (first[0], first[1], first[3]) == (traded.open_px, max(105.0, traded.high_px), 103.0)
    assert len(whole) == 13
    indices = dict(candles.list_shapes(Series.INDEX, "5m", START_NS - HOUR_NS, START_NS))
    for open_ns, shape in indices.items():
        assert shape[2] <= min(shape[0], shape[3])
        assert max(shape[0], shape[3]) <= shape[1]
        assert shape[0] == pytest.approx(whole[open_ns][0] / (1.0 + 0.0025))  # a rate of 0.2 % wants that premium
    premiums = candles.list_shapes(Series.PREMIUM, "1h", START_NS - 3 * HOUR_NS, START_NS)
    assert [shape[0] for _, shape in premiums] == pytest.approx([0.0025] * 3)
    assert candles.list_shapes(Series.MARK, "1m", 0, START_NS - 200 * HOUR_NS) == []


@pytest.mark.parametrize(("interval_ns", "bars_before"), [(15 * MINUTE_NS, 200), (HOUR_NS, 50), (NS_PER_DAY, 3)])
def test_a_past_without_rates_has_settled_what_interest_gives(interval_ns: int, bars_before: int) -> None:
    market = make_market(interval_ns, bars_before)
    settled = market.list_fundings(BTC_ID)
    every_ns = 8 * HOUR_NS
    begin_ns = START_NS - bars_before * interval_ns
    assert [row.ts_event_ns for row in settled] == [*range(-(-begin_ns // every_ns) * every_ns, START_NS, every_ns)]
    assert {row.funding_rate for row in settled} == {1e-4}
    assert all(100.0 <= row.index_px <= 106.0 for row in settled)


def test_rates_settled_inside_long_bars_are_shared_out() -> None:
    market = make_market(NS_PER_DAY, 3, funding_rate=0.0003)
    path = next(iter(market._worlds.values())).path
    path.bars["funding_open_rate"], path.bars["funding_inside_rate"] = 0.0003, 0.0004
    settled = next(iter(market._worlds.values())).history.list_fundings()
    assert [round(row.funding_rate, 10) for row in settled] == [0.0003, 0.0002, 0.0002] * 3


def test_open_interest_of_the_past_is_the_paths() -> None:
    market = make_market(15 * MINUTE_NS, 20)
    lots = [market.get_open_interest_lots(BTC_ID, START_NS - back * 15 * MINUTE_NS) for back in (20, 10, 1)]
    assert lots == [1000, 11_000, 20_000]
