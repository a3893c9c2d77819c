"""How long the Binance client's connections live, and what it tells over hours: replacement, the day's end, funding."""

import asyncio
from dataclasses import replace

import pytest

from market.records import NS_PER_S
from tests.venues.binance.conftest import BTC_ID, run_venue, wait_until
from tests.venues.binance.market_client import LOT, PATIENT_TUNING, read
from venues.binance.streams import Route
from venues.port import Subscription

MINUTE_NS = 60 * NS_PER_S


def test_connections_are_replaced_with_an_overlap_before_their_day_ends() -> None:
    async def work() -> None:
        tuning = replace(PATIENT_TUNING, replace_s=2.0)
        async with run_venue(lifetime_ns=40 * NS_PER_S) as venue, read(venue, tuning=tuning) as reading:
            await reading.ready()
            for route in (Route.PUBLIC, Route.MARKET):
                socket = reading.client.sockets[route]
                await wait_until(lambda s=socket: s.counts.get("replaced", 0) >= 2, "replaced twice")  # type: ignore[misc]
            await reading.more_books()
            await reading.more_bars(2)
            assert all(not socket.counts.get("lost") for socket in reading.client.sockets.values())
            assert reading.feed.lost_reasons == []
            reading.check_tape()
            reading.check_bars()

    asyncio.run(work())


def test_the_days_end_of_a_connection_is_survived() -> None:
    async def work() -> None:
        async with run_venue(lifetime_ns=5 * NS_PER_S) as venue, read(venue) as reading:
            sockets = reading.client.sockets.values()
            await wait_until(lambda: all(socket.counts.get("lost", 0) >= 1 for socket in sockets), "cut")
            assert any("1001" in reason for socket in sockets for reason in socket.reasons)
            await wait_until(lambda: reading.compare_book(), "the book is right again")
            await wait_until(lambda: len(reading.bars) >= 4, "bars go on")
            reading.check_tape()
            reading.check_bars()

    asyncio.run(work())


def test_candles_are_told_once_each_and_joined_with_the_funding_that_settles_at_their_close() -> None:
    async def work() -> None:
        subscription = Subscription(BTC_ID, has_book=False, has_marks=True, bar_interval_ns=MINUTE_NS)
        tuning = replace(PATIENT_TUNING, interest_every_s=0.2)
        async with (
            run_venue(speed=30.0, block_ms=500, start_bar=478) as venue,
            read(venue, subscription, tuning=tuning) as reading,
        ):
            await wait_until(lambda: len(reading.bars) >= 4, "four bars")
            bars = reading.bars
            candles = venue.market.list_candles(BTC_ID, MINUTE_NS, bars[0].ts_open_ns, bars[-1].ts_open_ns + 1)
            for bar, candle in zip(bars, candles, strict=True):
                assert bar[:6] == (
                    candle.ts_open_ns, candle.open_px, candle.high_px, candle.low_px, candle.close_px,
                    candle.volume_lots / LOT,
                )  # fmt: skip
            settled = {row.ts_event_ns // MINUTE_NS * MINUTE_NS: row for row in venue.market.list_fundings(BTC_ID)}
            at_open = [bar for bar in bars if bar.ts_open_ns in settled]
            assert len(at_open) == 1
            rate = pytest.approx(settled[at_open[0].ts_open_ns].funding_rate, abs=1e-8)
            assert at_open[0].funding_open_rate == rate
            before = bars[bars.index(at_open[0]) - 1]
            assert before.funding_rate == rate
            assert before.funding_open_rate == 0.0
            assert {bar.funding_inside_rate for bar in bars} == {0.0}
            past = await reading.client.fetch_bars(BTC_ID, MINUTE_NS, 30)
            by_open = {bar.ts_open_ns: bar for bar in past}
            for bar in bars:
                again = by_open[bar.ts_open_ns]
                assert again[:7] == bar[:7]
                assert again.funding_open_rate == bar.funding_open_rate

    asyncio.run(work())
