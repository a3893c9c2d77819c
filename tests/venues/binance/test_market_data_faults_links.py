"""Fault switches that reach whole connections, and the venue's clock: what the client did about it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.venues.binance.conftest import Venue, wait_until
from tests.venues.binance.market_client import (
    ALL,
    PATIENT,
    PATIENT_TUNING,
    Play,
    read,
    share_venue,
)
from venues.binance.streams import Route
from venues.book_feed import LostReason

SLOW_BARS = replace(PATIENT_TUNING, trade_lateness_s=3.0)  # a lost trade shows by the next one, which may take a while


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    yield from share_venue()


def test_half_open_connections_are_noticed_by_silence_and_replaced(play: Play) -> None:
    async def work(venue: Venue) -> None:
        settings = replace(PATIENT, silence_s=3.0, stale_s=3.0, call_s=10.0)
        async with read(venue, ALL, settings) as reading:
            await reading.ready()
            sockets = reading.client.sockets
            reading.fault("half_open", "markPrice", next_n=1)
            reading.fault("half_open", "depth", next_n=1)
            await wait_until(lambda: sockets[Route.MARKET].counts.get("lost", 0) >= 1, "the rest is replaced")
            assert "silent" in sockets[Route.MARKET].reasons[0]
            await wait_until(lambda: sockets[Route.PUBLIC].counts.get("lost", 0) >= 1, "the books too")
            assert set(reading.feed.lost_reasons) & {LostReason.STALE, LostReason.FROZEN}
            reading.mend()
            await wait_until(lambda: reading.compare_book(), "the book is right again")
            count = len(reading.trades)
            await wait_until(lambda: len(reading.trades) >= count + 3, "trades go on")
            await reading.more_bars(2)
            reading.check_tape()
            reading.check_bars()

    play(work)


def test_connection_close_is_followed_by_backoff_resubscription_and_backfill(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue) as reading:
            await reading.ready()
            sockets = reading.client.sockets
            for count in (1, 2):
                for code, channel in ((1006, "aggTrade"), (1011, "depth")):
                    reading.fault("connection_close", channel, next_n=1, code=code)
                for socket in sockets.values():
                    await wait_until(lambda s=socket, n=count: s.counts.get("lost", 0) >= n, "a cut")  # type: ignore[misc]
            assert all(socket.counts["connects"] <= 4 for socket in sockets.values())
            assert LostReason.DISCONNECTED in reading.feed.lost_reasons
            await wait_until(lambda: reading.compare_book(), "the book is right again")
            await reading.more_bars(3)
            reading.check_tape()
            reading.check_bars()

    play(work)


@pytest.mark.parametrize("skew_ms", [-90_000, 90_000])
def test_clock_skew_is_measured_and_reported_and_the_data_stay_right(play: Play, skew_ms: int) -> None:
    async def work(venue: Venue) -> None:
        settings = replace(PATIENT, reconcile_s=0.2, stale_s=30.0)
        async with read(venue, ALL, settings) as reading:
            await reading.ready()
            reading.fault("clock_skew", skew_ms=skew_ms)
            await wait_until(lambda: reading.says("clock:", "against the venue's"), "the skew is reported")
            count = len(reading.marks)
            await wait_until(lambda: len(reading.marks) >= count + 1, "marks go on")
            await reading.more_books()
            await reading.more_bars(2)
            reading.check_bars()
            reading.check_tape()
            reading.mend()
            await wait_until(lambda: not reading.says("clock:"), "all is well again")
            await reading.more_books()

    play(work)
