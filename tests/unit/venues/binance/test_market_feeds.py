"""The machines of the market data client, case by case: tape, candles, joins, what is silent, what came twice."""

import math
import random

import pytest

from market.records import NS_PER_S, Bar, Quality
from venues.bar_building import make_bar
from venues.binance.bar_joins import BarJoiner, Settlements
from venues.binance.history import build_bars, choose_period_ns
from venues.binance.kline_feed import FetchKlines, KlineFeed, check_interval, fill_holes
from venues.binance.messages import BookTicker
from venues.binance.stream_watch import AskAgain, GiveUp, OverlapFilter, StreamWatch, WatchSettings
from venues.binance.streams import Channel
from venues.binance.trade_feed import FetchTrades, TapeSettings, TapeTrade, TradeFeed

S = NS_PER_S
MINUTE = 60 * S


def trade(number: int, ts_ns: int = 0) -> TapeTrade:
    return TapeTrade(number, ts_ns or 100 * S + number * S // 10, 10.0 + number % 7, 1.0, 1)


def told(steps: list[object]) -> list[int]:
    return [step.trade_id for step in steps if isinstance(step, TapeTrade)]


def asked(steps: list[object]) -> FetchTrades:
    [fetch] = [step for step in steps if isinstance(step, FetchTrades)]
    return fetch


def test_a_hole_in_the_tape_is_asked_for_and_what_is_behind_waits() -> None:
    feed = TradeFeed(0)
    assert feed.on_subscribed(S) == []
    assert told(feed.on_trade(trade(5), 100 * S)) == [5]
    fetch = asked(feed.on_trade(trade(8), 101 * S))
    assert (fetch.from_id, feed.is_stuck) == (6, True)
    assert told(feed.on_trade(trade(9), 101 * S)) == []
    assert told(feed.on_rows(fetch.request_id, [trade(6), trade(7), trade(8)], 102 * S)) == [6, 7, 8, 9]
    assert not feed.is_stuck
    assert feed.on_trade(trade(7), 103 * S) == []
    assert feed.repeats >= 1


def test_a_hole_that_rest_does_not_fill_is_given_up_and_the_bar_says_so() -> None:
    feed = TradeFeed(S, TapeSettings(lateness_ns=0, patience_ns=5 * S))
    begin = asked(feed.on_subscribed(100 * S))
    assert begin.from_id == -1
    feed.on_rows(begin.request_id, [trade(1, 99 * S)], 100 * S)
    feed.on_trade(trade(2, 100 * S + 1), 100 * S + 1)
    fetch = asked(feed.on_trade(trade(4, 100 * S + 3), 100 * S + 3))
    assert asked(feed.on_failed(fetch.request_id, 2 * S, 100 * S + 4)).after_ns >= 2 * S
    bars: list[object] = []
    for second in range(101, 120):
        bars += feed.on_time(second * S, second * S)
    assert 4 in told(bars)
    assert feed.holes == 1
    qualities = [step.quality for step in bars if isinstance(step, Bar)]
    assert qualities[0] == Quality.AFTER_GAP


def test_a_tape_in_any_order_and_with_repeats_is_told_once_in_order() -> None:
    draws = random.Random(7)
    feed = TradeFeed(0)
    feed.on_subscribed(S)
    heard = told(feed.on_trade(trade(0), S))
    arrivals = [*range(1, 200), *range(1, 200, 3)]
    arrivals.sort(key=lambda number: number + draws.random() * 9)
    for at, number in enumerate(arrivals):
        heard += told(feed.on_trade(trade(number), S + at))
    assert heard == [*range(200)]


def test_after_a_reconnection_bars_wait_for_what_rest_knows() -> None:
    feed = TradeFeed(S, TapeSettings(lateness_ns=0, patience_ns=60 * S))
    begin = asked(feed.on_subscribed(100 * S))
    feed.on_rows(begin.request_id, [trade(1, 99 * S)], 100 * S)
    feed.on_trade(trade(2, 100 * S), 100 * S)
    feed.on_lost()
    steps = [step for second in range(101, 110) for step in feed.on_time(0, second * S)]
    assert steps == []  # nothing is known to be whole
    fetch = asked(feed.on_subscribed(110 * S))
    assert fetch.from_id == 3
    assert told(feed.on_rows(fetch.request_id, [trade(3, 105 * S)], 110 * S)) == [3]
    bars = [step for tick in range(20) for step in feed.on_time(111 * S, 111 * S + tick) if isinstance(step, Bar)]
    assert [(bar.ts_open_ns // S, bar.volume_base) for bar in bars if bar.volume_base] == [(100, 1.0), (105, 1.0)]
    assert {bar.quality for bar in bars} == {0, Quality.STALE.value}


def candle(minute: int, volume_base: float = 1.0) -> Bar:
    return make_bar(minute * MINUTE, (1.0, 2.0, 1.0, 2.0), volume_base)


def test_finals_are_told_in_order_and_late_ones_are_asked_for() -> None:
    feed = KlineFeed(MINUTE)
    assert feed.on_final(candle(1), MINUTE) == []
    feed.begin(10 * MINUTE + 1)
    assert feed.on_final(candle(10), 11 * MINUTE) == [candle(10)]
    assert feed.on_final(candle(10), 11 * MINUTE) == []
    [fetch] = feed.on_final(candle(12), 13 * MINUTE)
    assert isinstance(fetch, FetchKlines)
    assert fetch.ts_open_ns == 11 * MINUTE
    rows = [candle(11), candle(12), candle(13)]
    assert feed.on_rows(fetch.request_id, rows, 13 * MINUTE) == [candle(11), candle(12)]  # 13 is still forming
    assert feed.on_time(14 * MINUTE) == []
    [fetch] = feed.on_time(14 * MINUTE + 3 * S)
    assert isinstance(fetch, FetchKlines)
    assert feed.on_rows(fetch.request_id, [candle(13)], 14 * MINUTE + 3 * S) == [candle(13)]
    assert (feed.backfilled, feed.repeats) == (2, 2)


def test_a_close_that_the_venue_has_not_is_missing_and_the_next_marked() -> None:
    feed = KlineFeed(MINUTE)
    feed.begin(10 * MINUTE)
    feed.on_final(candle(10), 11 * MINUTE)
    [fetch] = feed.on_time(13 * MINUTE)
    assert isinstance(fetch, FetchKlines)
    lacking, after = feed.on_rows(fetch.request_id, [candle(12)], 13 * MINUTE)
    assert isinstance(lacking, Bar)
    assert isinstance(after, Bar)
    assert (lacking.close_px, lacking.quality, after.quality) == (2.0, Quality.MISSING, Quality.AFTER_GAP)
    [retry] = feed.on_time(15 * MINUTE)
    assert isinstance(retry, FetchKlines)
    [again] = feed.on_failed(retry.request_id, 9 * S, 15 * MINUTE)
    assert isinstance(again, FetchKlines)
    assert again.after_ns >= 9 * S
    assert feed.is_overdue(15 * MINUTE)


def test_past_bars_have_no_holes() -> None:
    bars = fill_holes([candle(1), candle(1), candle(4)], MINUTE)
    assert [bar.ts_open_ns // MINUTE for bar in bars] == [1, 2, 3, 4]
    assert [bar.quality for bar in bars] == [0, Quality.MISSING, Quality.MISSING, Quality.AFTER_GAP]
    made = build_bars([trade(0), trade(11), trade(12), trade(30), trade(42)], S, 104 * S)
    assert [bar.quality for bar in made] == [Quality.AFTER_GAP, Quality.MISSING, Quality.AFTER_GAP]
    assert build_bars([], S, S) == []
    assert (choose_period_ns(5 * S), choose_period_ns(45 * MINUTE)) == (5 * MINUTE, 15 * MINUTE)
    with pytest.raises(ValueError, match="binance bars"):
        check_interval(1)


def test_a_bar_waits_for_the_settlement_at_its_close_and_no_longer_than_its_patience() -> None:
    settlements = Settlements()
    joiner = BarJoiner(MINUTE, settlements, patience_ns=10 * S)
    settlements.add([(0, 0.01)])
    settlements.expect(12 * MINUTE + 5_000_000)
    joiner.add_interest(11 * MINUTE, 7.0)
    for minute in (10, 11, 12):
        joiner.push(candle(minute), (minute + 1) * MINUTE)
    [before] = joiner.take(13 * MINUTE - 55 * S)
    assert (before.funding_rate, before.funding_open_rate, before.open_interest_base) == (0.01, 0.0, 7.0)
    assert settlements.find_lacking(12 * MINUTE) == 12 * MINUTE
    settlements.add([(12 * MINUTE + 4_000_000, 0.02)])
    at_close, at_open = joiner.take(13 * MINUTE)
    assert (at_close.funding_rate, at_close.funding_open_rate) == (0.02, 0.0)
    assert (at_open.funding_rate, at_open.funding_open_rate) == (0.02, 0.02)
    settlements.expect(14 * MINUTE)
    joiner.push(candle(13), 14 * MINUTE)
    joiner.push(candle(40), 41 * MINUTE)
    assert joiner.take(14 * MINUTE + 9 * S) == []
    late, old = joiner.take(14 * MINUTE + 10 * S)
    assert (late.funding_rate, joiner.unsettled) == (0.02, 1)
    assert math.isnan(old.open_interest_base)
    settlements.give_up(14 * MINUTE)
    assert settlements.find_lacking(15 * MINUTE) == -1


def test_silent_streams_are_asked_for_again_and_dead_connections_given_up() -> None:
    watch = StreamWatch({"t": Channel.AGG_TRADE, "m": Channel.MARK_PRICE}, WatchSettings())
    for stream in ("t", "m"):
        watch.on_asked(stream, S)
        watch.on_acknowledged(stream, S)
    assert watch.is_acknowledged
    assert watch.list_silent(5 * S) == []
    assert {step.stream for step in watch.on_time(11 * S) if isinstance(step, AskAgain)} == {"t", "m"}
    assert len(watch.list_silent(11 * S)) == 2
    assert watch.on_message("m", 12 * S)
    assert not watch.on_message("other", 12 * S)
    assert ["right path" in line for line in watch.list_silent(12 * S)] == [True]
    assert [type(step) for step in watch.on_time(27 * S)] == [GiveUp]
    wrong = StreamWatch({"m": Channel.MARK_PRICE}, WatchSettings())
    wrong.on_asked("m", S)
    steps = [step for second in range(60) for step in wrong.on_time(second * S)]
    assert [type(step) for step in steps] == [AskAgain, AskAgain, GiveUp, GiveUp, GiveUp]


def test_what_both_connections_bring_passes_once_and_repeats_of_one_all_pass() -> None:
    ways = OverlapFilter()

    def ticker(number: int) -> BookTicker:
        return BookTicker(number, "BTCUSDT", "1", "1", "2", "1")

    passed = [
        ways.accept(link, "b", ticker(number)) for link, number in ((1, 5), (2, 5), (2, 6), (1, 6), (1, 7), (1, 7))
    ]
    assert passed == [True, False, True, False, True, True]
    assert ways.dropped == 2
