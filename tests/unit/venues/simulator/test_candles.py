"""Candles equal an independent aggregation of the trades; the past comes from the path's bars."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.fills import Costs
from market.generator import generate_market
from market.records import NS_PER_DAY, NS_PER_S
from venues.simulator.candles import CandleBook, align_open_ns
from venues.simulator.driven_market import DrivenMarket, MarketSettings

MINUTE_NS = 60 * NS_PER_S
TRADES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(90, 110), st.integers(1, 9), st.sampled_from([1, -1])), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(TRADES, st.sampled_from([1, 3, 5, 15, 60]))
def test_candles_are_an_aggregation_of_the_trades(trades: list[tuple[int, int, int, int]], minutes: int) -> None:
    book, ts_s, rows = CandleBook(0), 0, {}
    interval_ns = minutes * MINUTE_NS
    for trade_id, (wait_s, px, lots, side) in enumerate(trades, 1):
        ts_s += wait_s
        book.add_trade(trade_id, float(px), lots, side, ts_s * NS_PER_S)
        rows.setdefault(ts_s * NS_PER_S // interval_ns * interval_ns, []).append((trade_id, px, lots, side))
    candles = book.list_candles(interval_ns, 0, 10**18, is_filled=False)
    assert [candle.ts_open_ns for candle in candles] == [*rows]
    for candle, group in zip(candles, rows.values(), strict=True):
        pxs = [px for _, px, _, _ in group]
        assert (candle.open_px, candle.high_px, candle.low_px, candle.close_px) == (
            pxs[0],
            max(pxs),
            min(pxs),
            pxs[-1],
        )
        assert candle.volume_lots == sum(lots for _, _, lots, _ in group)
        assert candle.count == len(group)
        assert candle.turnover_lots_px == sum(lots * px for _, px, lots, _ in group)
        assert candle.taker_buy_lots == sum(lots for _, _, lots, side in group if side > 0)
        assert candle.taker_buy_lots_px == sum(lots * px for _, px, lots, side in group if side > 0)
        assert (candle.first_trade_id, candle.last_trade_id) == (group[0][0], group[-1][0])
    filled = book.list_candles(interval_ns, 0, 10**18)
    assert all(a.ts_close_ns == b.ts_open_ns for a, b in itertools.pairwise(filled))
    assert [candle for candle in filled if candle.count] == candles


def test_a_quiet_minute_is_flat_or_left_out() -> None:
    book = CandleBook(0)
    book.add_trade(1, 100.0, 2, 1, 5 * NS_PER_S)
    book.add_trade(2, 101.0, 2, 1, 185 * NS_PER_S)
    assert [candle.count for candle in book.list_candles(MINUTE_NS, 0, 10**12, is_filled=False)] == [1, 1]
    flat = book.list_candles(MINUTE_NS, 0, 10**12)[1]
    assert (flat.open_px, flat.close_px, flat.volume_lots, flat.ts_open_ns) == (100.0, 100.0, 0, MINUTE_NS)
    with pytest.raises(ValueError, match="multiple of"):
        book.list_candles(MINUTE_NS + 1, 0, 10**12)


def test_weeks_begin_on_monday() -> None:
    monday_ns = 1_704_067_200 * NS_PER_S
    assert align_open_ns(monday_ns + 3 * NS_PER_DAY, 7 * NS_PER_DAY) == monday_ns
    assert align_open_ns(monday_ns + 5, NS_PER_DAY) == monday_ns


def test_the_past_is_the_paths_bars_and_joins_the_present() -> None:
    made = generate_market(4, ["BTC-PERP.HYPERLIQUID"], 40)
    bars, instrument_id = made.bars[0], made.instrument_ids[0]
    start_ns = int(bars["ts_open_ns"][30])
    driven = DrivenMarket(
        made.instruments, Costs(5.0, 2.0, 0.0), {instrument_id: bars}, MarketSettings(ts_start_ns=start_ns), 1
    )
    driven.advance(start_ns + 200 * NS_PER_S)
    quarters = driven.list_candles(instrument_id, 900 * NS_PER_S, int(bars["ts_open_ns"][0]), driven.ts_now_ns)
    assert [candle.ts_open_ns for candle in quarters] == bars["ts_open_ns"][:31].tolist()
    for candle, bar in zip(quarters[:30], bars[:30], strict=True):
        assert (candle.open_px, candle.high_px, candle.low_px, candle.close_px) == (
            bar["open_px"],
            bar["high_px"],
            bar["low_px"],
            bar["close_px"],
        )
    minutes = driven.list_candles(instrument_id, MINUTE_NS, start_ns - 900 * NS_PER_S, driven.ts_now_ns)
    assert len(minutes) == 15 + 4
    past = minutes[:15]
    assert (max(c.high_px for c in past), min(c.low_px for c in past)) == (bars["high_px"][29], bars["low_px"][29])
    assert sum(c.volume_lots for c in past) == round(bars["volume_base"][29] / made.instruments[0].lot_base)
    day = driven.get_day_stats(instrument_id)
    driven.advance(driven.ts_now_ns + 5 * NS_PER_S)
    day_after = driven.get_day_stats(instrument_id)
    day_candles = driven.list_candles(instrument_id, MINUTE_NS, 0, driven.ts_now_ns)
    assert day_after.volume_lots == sum(candle.volume_lots for candle in day_candles) > day.volume_lots
    assert day_after.trades == sum(candle.count for candle in day_candles)
    assert day.high_px >= bars["high_px"][:30].max()
    assert day_after.last_px == driven.get_last_px(instrument_id)
    assert driven.list_fundings(instrument_id)[0].ts_event_ns >= int(bars["ts_open_ns"][0])
