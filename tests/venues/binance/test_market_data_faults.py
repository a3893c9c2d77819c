"""Every fault switch that reaches Binance: what the client did about it. One test each, named after its switch.

Here those of the book; of trades and marks in `test_market_data_faults_tape`, of whole connections and the clock in
`test_market_data_faults_links`, of requests in `test_market_data_faults_rest`.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.venues.binance.conftest import Venue, wait_until
from tests.venues.binance.market_client import (
    BOOK,
    PATIENT,
    PATIENT_TUNING,
    Play,
    lose_book,
    read,
    share_venue,
)
from venues.binance.streams import Route
from venues.book_feed import BookView, LostReason

SHORT = replace(PATIENT, call_s=2.0)


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    yield from share_venue()


def test_message_drop_of_depth_is_a_gap_that_a_snapshot_mends(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK) as reading:
            await reading.ready()
            reading.fault("message_drop", "depth", next_n=1)
            await lose_book(reading, LostReason.GAP)

    play(work)


def test_message_drop_of_the_acknowledgement_is_got_over(play: Play) -> None:
    async def work(venue: Venue) -> None:
        venue.board.apply({"on": {"fault": "message_drop", "on": "control", "next_n": 1}}, venue.clock())
        async with read(venue, BOOK, replace(PATIENT, call_s=3.0)) as reading:
            await wait_until(lambda: reading.compare_book(), "the book is right")
            assert reading.client.sockets[Route.PUBLIC].counts["unanswered"] == 1

    play(work)


def test_message_delay_of_depth_makes_the_book_stale_until_it_is_young_again(play: Play) -> None:
    async def work(venue: Venue) -> None:
        tuning = replace(PATIENT_TUNING, frozen_s=600.0)
        async with read(venue, BOOK, replace(PATIENT, stale_s=2.0), tuning) as reading:
            await reading.ready()
            reading.fault("message_delay", "depth", delay_ms=4000)
            await wait_until(lambda: LostReason.STALE in reading.feed.lost_reasons, "late data are not trusted")
            assert reading.says("book", "stale") or isinstance(reading.take(), BookView)

    play(work)


def test_book_stale_is_distrusted(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK) as reading:
            await reading.ready()
            reading.fault("book_stale", "depth", next_n=1)
            await lose_book(reading, LostReason.REPEATED)

    play(work)


def test_book_stale_snapshots_are_asked_for_again_with_growing_waits(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK) as reading:
            await reading.ready()
            reading.fault("book_stale", "snapshot", next_n=2)
            reading.fault("message_drop", "depth", next_n=1)
            assert reading.feed.book is not None
            await wait_until(lambda: reading.feed.book.snapshots_old >= 1, "an old snapshot is refused")
            await lose_book(reading, LostReason.GAP)

    play(work)


def test_book_crossed_is_distrusted(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK) as reading:
            await reading.ready()
            reading.fault("book_crossed", "depth", next_n=1)
            await lose_book(reading, LostReason.CROSSED)

    play(work)


def test_book_throttle_shows_as_an_old_book(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK, replace(PATIENT, stale_s=1.0)) as reading:
            await reading.ready()
            reading.fault("book_throttle", every_ms=4000)
            await wait_until(lambda: LostReason.STALE in reading.feed.lost_reasons, "an old book is not trusted")
            reading.mend()
            await reading.more_books()

    play(work)


def test_price_gap_is_shown_as_it_is(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK) as reading:
            await reading.ready()

            def spread_frac() -> float:
                view = reading.take()
                return view.asks[0][0] / view.bids[0][0] - 1.0 if isinstance(view, BookView) else 0.0

            reading.fault("price_gap", gap_bps=300)
            await wait_until(lambda: spread_frac() > 0.02, "the book is empty near the middle")
            await reading.more_books()
            assert reading.feed.lost_reasons == []
            reading.mend()
            await wait_until(lambda: 0.0 < spread_frac() < 0.01, "the book is full again")

    play(work)
