"""Fault switches that reach requests: what the client did about it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from market.records import NS_PER_S
from tests.venues.binance.conftest import BTC_ID, Venue, wait_until
from tests.venues.binance.market_client import (
    ALL,
    BOOK,
    PATIENT,
    PATIENT_TUNING,
    Play,
    lose_book,
    read,
    share_venue,
)
from venues.binance.rest_client import RestClient, RestUnavailableError
from venues.binance.streams import Market
from venues.book_feed import LostReason
from venues.port import VenueUnavailableError

SLOW_BARS = replace(PATIENT_TUNING, trade_lateness_s=3.0)  # a lost trade shows by the next, which may take a while
SHORT = replace(PATIENT, call_s=2.0)


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    yield from share_venue()


@pytest.mark.parametrize("status", [429, 418, 502])
def test_http_status_before_an_answer_is_obeyed_without_a_storm(play: Play, status: int) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK, replace(PATIENT, call_s=10.0, reconcile_s=600.0)) as reading:
            await reading.ready()
            before = reading.client.rest.counts["sent"]
            reading.fault("http_status_before", "klines", next_n=2, status=status)
            if status == 418:  # banned for two minutes: fails at once, and nothing else is sent
                with pytest.raises(RestUnavailableError) as failure:
                    await reading.client.fetch_bars(BTC_ID, 60 * NS_PER_S, 3)
                assert failure.value.retry_after_ns > 60 * NS_PER_S
                with pytest.raises(VenueUnavailableError, match="request limit"):
                    await reading.client.fetch_bars(BTC_ID, 60 * NS_PER_S, 3)
                assert reading.client.rest.counts["sent"] - before <= 2
                assert reading.says("rest:", "request limit")
            else:
                ts_ns = venue.clock()
                assert len(await reading.client.fetch_bars(BTC_ID, 60 * NS_PER_S, 3)) == 3
                assert reading.client.rest.counts[str(status)] == 2
                assert status != 429 or venue.clock() - ts_ns >= 2 * NS_PER_S  # Retry-After, twice
            await reading.more_books(1)  # the streams go on

    play(work)


def test_http_status_after_an_answer_is_asked_again(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK) as reading:
            await reading.ready()
            reading.fault("http_status_after", "depth", next_n=2, status=503)
            reading.fault("message_drop", "depth", next_n=1)
            await lose_book(reading, LostReason.GAP)

    play(work)


def test_reply_lost_is_asked_again(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK) as reading:
            await reading.ready()
            reading.fault("reply_lost", "klines", next_n=2)
            assert len(await reading.client.fetch_bars(BTC_ID, 60 * NS_PER_S, 3)) == 3
            assert reading.client.rest.counts["0"] >= 1  # aiohttp asks once more by itself

    play(work)


def test_reply_delay_past_the_deadline_is_no_answer_and_not_waited_for(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK, SHORT) as reading:
            await reading.ready()
            reading.fault("reply_delay", "klines", delay_ms=600_000, next_n=1)
            with pytest.raises(VenueUnavailableError, match=r"not within|no answer"):
                await reading.client.fetch_bars(BTC_ID, 60 * NS_PER_S, 3)
            await reading.more_books(1)

    play(work)


def test_request_blackhole_ends_by_the_deadline_and_the_book_is_tried_again(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK, SHORT) as reading:
            await reading.ready()
            reading.fault("request_blackhole", "depth")
            reading.fault("message_drop", "depth", next_n=1)
            await wait_until(lambda: reading.says("rest:", "depth", "no answer"), "it is reported")
            assert reading.take() is LostReason.GAP
            reading.mend()
            await reading.more_books()
            await wait_until(lambda: not reading.says("rest:", "depth"), "and forgotten")

    play(work)


def test_request_cap_is_refused_and_waited_out(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, BOOK, replace(PATIENT, call_s=10.0, reconcile_s=600.0)) as reading:
            await reading.ready()
            reading.fault("request_cap", requests=1)
            with pytest.raises(RestUnavailableError):
                await reading.client.fetch_bars(BTC_ID, 60 * NS_PER_S, 300)
            sent = reading.client.rest.counts["sent"]
            with pytest.raises(RestUnavailableError, match="request limit"):
                await reading.client.fetch_bars(BTC_ID, 60 * NS_PER_S, 3)
            assert reading.client.rest.counts["sent"] == sent  # nothing is sent before Retry-After has passed
            await reading.more_books(1)

    play(work)


def test_upgrade_mode_leaves_the_streams_and_is_reported(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, ALL, replace(PATIENT, reconcile_s=0.1, call_s=10.0)) as reading:
            await reading.ready()
            reading.fault("upgrade_mode")
            await wait_until(lambda: reading.says("rest:", "503"), "it is reported")
            await reading.more_books(1)
            with pytest.raises(VenueUnavailableError):
                await reading.client.fetch_bars(BTC_ID, 60 * NS_PER_S, 3)
            reading.mend()
            await wait_until(lambda: not reading.says("rest:", "/time"), "all is well again")

    play(work)


def test_unknown_value_is_counted_and_what_it_hid_is_fetched(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with read(venue, ALL, tuning=SLOW_BARS) as reading:
            await reading.ready()
            for channel in ("aggTrade", "depth", "markPrice"):
                reading.fault("unknown_value", channel, next_n=1)
            await wait_until(
                lambda: sum(socket.counts.get("unknown", 0) for socket in reading.client.sockets.values()) >= 3, "seen"
            )
            await lose_book(reading, LostReason.GAP)
            await reading.more_bars(2)
            reading.check_tape()
            reading.check_bars()
            assert all(socket.counts["connects"] == 1 for socket in reading.client.sockets.values())

    play(work)


@pytest.mark.parametrize(
    ("fault", "settings", "words"),
    [
        ("http_status_before", {"status": 502}, r"answers 502.* to /fapi/v1/time .*: the venue is in trouble"),
        ("http_status_before", {"status": 403}, r"answers 403 to /fapi/v1/time .*: this address is not let in"),
        ("http_status_after", {"status": 503}, r"answers 503.* to /fapi/v1/time .*: the venue is in trouble"),
        ("reply_lost", {}, r"cuts /fapi/v1/time off .*: check venues.binance.http"),
        ("request_blackhole", {}, r"gives no answer to /fapi/v1/time in 2 s: check venues.binance.http"),
    ],
)
def test_what_failed_is_said_in_one_line(play: Play, fault: str, settings: dict[str, int], words: str) -> None:
    async def work(venue: Venue) -> None:
        patience = SHORT if fault == "request_blackhole" else PATIENT
        client = RestClient(Market.USDM, venue.addresses["http"], patience, venue.clock)
        venue.board.apply({"on": {"fault": fault, "on": "time", **settings}}, venue.clock())
        try:
            with pytest.raises(RestUnavailableError, match=words) as caught:
                await client.ask("time")
            assert str(caught.value).startswith(f"binance: {venue.addresses['http']} ")
            assert "\n" not in str(caught.value)
        finally:
            venue.board.apply({"off": "all"}, venue.clock())
            await client.close()

    play(work)
