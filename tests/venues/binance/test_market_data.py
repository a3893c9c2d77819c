"""The Binance client on the real simulator: what it tells is what the exchange has."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from market.instruments import find_instrument
from market.records import NS_PER_S
from tests.venues.binance.conftest import BTC_ID, Venue, wait_until
from tests.venues.binance.market_client import ALL, BOOK, PATIENT, PATIENT_TUNING, Play, read, share_venue
from venues.binance import market_data
from venues.binance.market_data import BinanceMarketData
from venues.binance.streams import Market, Route, group_by_route
from venues.book_feed import BookView
from venues.port import Endpoints, Subscription, VenueUnavailableError

MINUTE_NS = 60 * NS_PER_S


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    yield from share_venue()


def test_books_trades_marks_and_bars_are_the_exchanges_own(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue) as reading:
            await reading.ready()
            await wait_until(lambda: len(reading.bars) >= 4, "bars")
            await reading.more_books(5)
            reading.check_tape()
            reading.check_bars()
            assert len(reading.marks) >= 2
            assert {(mark.mark_px, mark.index_px) for mark in reading.marks} <= venue.marks
            assert not any(bar.open_interest_base <= 0.0 for bar in reading.bars)
            assert reading.health() == ()

    play(work)


def test_a_book_taken_twice_is_conflated_and_kept(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK) as reading:
            await reading.ready()
            first = reading.take()
            assert isinstance(first, BookView)
            await wait_until(lambda: reading.feed.book.last_id >= first.last_id + 60, "updates go by")
            second = reading.take()
            assert isinstance(second, BookView)
            assert second.conflated > 1
            assert second.last_id > first.last_id
            with pytest.raises(ValueError, match="not subscribed"):
                reading.client.take_book("ETH-PERP.BINANCE", venue.clock())

    play(work)


def test_past_bars_of_trades_and_of_candles_agree(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK) as reading:
            fine = await reading.client.fetch_bars(BTC_ID, 5 * NS_PER_S, 400)
            coarse = await reading.client.fetch_bars(BTC_ID, MINUTE_NS, 20)
            assert (len(fine), len(coarse)) == (400, 20)
            for bars, interval_ns in ((fine, 5 * NS_PER_S), (coarse, MINUTE_NS)):
                assert {after.ts_open_ns - bar.ts_open_ns for bar, after in pairwise(bars)} == {interval_ns}
                assert {bar.quality for bar in bars} == {0}
                assert {bar.funding_rate for bar in bars} == {bars[0].funding_rate}
            for bar in coarse:
                parts = [part for part in fine if bar.ts_open_ns <= part.ts_open_ns < bar.ts_open_ns + MINUTE_NS]
                if len(parts) == 12:
                    assert parts[0].open_px == bar.open_px
                    assert parts[-1].close_px == bar.close_px
                    assert max(part.high_px for part in parts) == bar.high_px
                    assert min(part.low_px for part in parts) == bar.low_px
                    assert sum(part.volume_base for part in parts) == pytest.approx(bar.volume_base)
            assert await reading.client.fetch_bars(BTC_ID, MINUTE_NS, 0) == ()

    play(work)


def test_what_is_not_listed_is_refused_and_an_absent_venue_is_unavailable(play: Play) -> None:
    async def work(venue: Venue) -> None:
        bitcoin = find_instrument(BTC_ID)
        strange = replace(bitcoin, instrument_id="XYZ-PERP.BINANCE", base="XYZ")
        endpoints = Endpoints(venue.addresses["http"], venue.addresses["ws"])
        client = BinanceMarketData(endpoints, [bitcoin, strange], settings=PATIENT, clock_ns=venue.clock)
        for subscription, words in (
            (Subscription("ETH-PERP.BINANCE"), "no instrument"),
            (Subscription(strange.instrument_id), "XYZUSDT is not listed"),
            (Subscription(BTC_ID, bar_interval_ns=7), "bars of 7 ns"),
        ):
            with pytest.raises(ValueError, match=words):
                await client.open([subscription], print)
            await client.close()
        nowhere = Endpoints("http://127.0.0.1:9", "ws://127.0.0.1:9")
        refused = r"^binance: http://127.0.0.1:9 does not answer \(connection refused\): check venues.binance.http"
        with pytest.raises(VenueUnavailableError, match=refused):
            await BinanceMarketData(nowhere, [bitcoin], settings=PATIENT).open([BOOK], print)
        half = Endpoints(venue.addresses["http"], "ws://127.0.0.1:9")
        hasty = replace(PATIENT, connect_s=0.5, call_s=5.0)
        with pytest.raises(VenueUnavailableError, match="cannot connect"):
            await BinanceMarketData(half, [bitcoin], settings=hasty, clock_ns=venue.clock).open([BOOK], print)

    play(work)


def test_a_stream_on_the_wrong_path_is_reported_silent(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(venue: Venue) -> None:
        def misroute(market: Market, streams: object) -> dict[Route, tuple[str, ...]]:
            groups = group_by_route(market, streams)  # type: ignore[arg-type]
            return {Route.UNROUTED: tuple(name for names in groups.values() for name in names)}

        monkeypatch.setattr(market_data, "group_by_route", misroute)
        tuning = replace(PATIENT_TUNING, first_message_s=1.0)
        async with read(venue, ALL, tuning=tuning) as reading:
            await wait_until(lambda: reading.says("btcusdt@aggTrade", "right path"), "the silence is reported")
            await wait_until(lambda: reading.says("btcusdt@markPrice@1s", "right path"), "that of marks too")
            socket = reading.client.sockets[Route.UNROUTED]
            await wait_until(lambda: socket.counts.get("resubscribed", 0) >= 2, "it is asked for again")
            await wait_until(lambda: any("right path" in reason for reason in socket.reasons), "then reconnected")
            assert not reading.marks  # trades come all the same: by REST, whenever the stream is asked for again

    play(work)
