"""Fault switches that reach trades, marks and bars of trades: what the client did about it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.venues.binance.conftest import Venue, wait_until
from tests.venues.binance.market_client import (
    ALL,
    PATIENT_TUNING,
    TAPE,
    Play,
    lose_book,
    read,
    share_venue,
)
from venues.book_feed import LostReason

SLOW_BARS = replace(PATIENT_TUNING, trade_lateness_s=3.0)  # a lost trade shows by the next one, which may take a while


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    yield from share_venue()


def test_message_drop_of_trades_is_backfilled_in_order(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, TAPE, tuning=SLOW_BARS) as reading:
            await reading.ready()
            count = reading.client.rest.counts["sent"]
            reading.fault("message_drop", "aggTrade", next_n=2)
            await wait_until(lambda: reading.client.rest.counts["sent"] > count, "REST is asked")
            await reading.more_bars(2)
            reading.check_tape()
            reading.check_bars()
            assert reading.feed.tape is not None
            assert reading.feed.tape.holes == 0

    play(work)


def test_message_duplicate_of_trades_and_marks_is_told_once_and_of_depth_distrusted(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue) as reading:
            await reading.ready()
            assert reading.feed.tape is not None
            for channel in ("aggTrade", "markPrice"):
                reading.fault("message_duplicate", channel, copies=3)
            await wait_until(lambda: reading.feed.tape.repeats >= 4, "repeats came")
            count = len(reading.marks)
            await wait_until(lambda: len(reading.marks) >= count + 2, "marks came")
            reading.mend()
            reading.check_tape()
            times = [mark.ts_event_ns for mark in reading.marks]
            assert times == sorted(set(times))
            await reading.more_bars(1)
            reading.check_bars()
            reading.fault("message_duplicate", "depth", next_n=1)
            await lose_book(reading, LostReason.REPEATED)

    play(work)


def test_message_reorder_of_trades_is_put_in_order_and_of_depth_is_a_gap(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, ALL, tuning=SLOW_BARS) as reading:
            await reading.ready()
            reading.fault("message_reorder", "aggTrade", next_n=3, behind=2)
            reading.fault("message_reorder", "depth", next_n=1, behind=1000)
            await lose_book(reading, LostReason.GAP)
            await reading.more_bars(2)
            reading.check_tape()
            reading.check_bars()

    play(work)


def test_oracle_frozen_is_told_as_it_is(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, TAPE) as reading:
            await reading.ready()
            reading.fault("oracle_frozen")
            count = len(reading.marks)
            await wait_until(lambda: len(reading.marks) >= count + 4, "marks go on")
            assert len({mark.index_px for mark in reading.marks[count + 2 :]}) == 1

    play(work)
