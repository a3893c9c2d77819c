"""The dYdX market data client on the simulator: books equal the exchange's, each trade and bar once, faults noticed."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from tests.venues.dydx.running_venue import Venue
from tests.venues.dydx.trading import BTC, BTC_ID, PATIENT, endpoints_of, until
from venues.book_feed import BookView, LostReason
from venues.dydx.market_data import DydxMarketData
from venues.port import BarSeen, ClientSettings, MarketEvent, MarkSeen, Subscription, TradePrinted

MINUTE_NS = 60 * 10**9
ALL = Subscription(BTC_ID, has_book=True, has_trades=True, has_marks=True, bar_interval_ns=MINUTE_NS)


class Watcher:
    """A market data client and what it told."""

    def __init__(self, venue: Venue, settings: ClientSettings) -> None:
        self.venue = venue
        self.client = DydxMarketData(endpoints_of(venue), [BTC], settings=settings)
        self.told: list[MarketEvent] = []

    def take(self) -> BookView | LostReason:
        """Take the book now."""
        return self.client.take_book(BTC_ID, time.time_ns())

    def trades(self) -> list[TradePrinted]:
        """Return the trades told."""
        return [event for event in self.told if isinstance(event, TradePrinted)]

    async def check_book(self) -> None:
        """Hold the world still and compare the book level by level."""
        self.venue.switch(fault="height_frozen")
        view = self.venue.call(self.venue.market.get_book, BTC_ID, 1000)
        lot = BTC.lot_base
        expected = [
            tuple((level.px, round(level.qty_lots * lot, 10)) for level in side) for side in (view.bids, view.asks)
        ]

        def is_same() -> bool:
            book = self.take()
            return isinstance(book, BookView) and [book.bids, book.asks] == expected

        await until(is_same)
        self.venue.call(self.venue.board.apply, {"off": "all"}, 0)


def watch(
    venue: Venue, work: Callable[[Watcher], Coroutine[Any, Any, None]], settings: ClientSettings = PATIENT
) -> None:
    """Open a client, do some work with it, close it."""

    async def main() -> None:
        watcher = Watcher(venue, settings)
        await watcher.client.open([ALL], watcher.told.append)
        try:
            await work(watcher)
        finally:
            await watcher.client.close()
            await watcher.client.close()

    asyncio.run(main())


def test_the_book_equals_the_exchanges_and_trades_and_marks_come(venue: Venue) -> None:
    async def work(watcher: Watcher) -> None:
        await until(lambda: isinstance(watcher.take(), BookView))
        await until(lambda: len(watcher.trades()) >= 3)
        await until(lambda: any(isinstance(event, MarkSeen) for event in watcher.told))
        await watcher.check_book()
        own = {f"{one.trade_id:032x}": one for one in venue.call(venue.market.list_trades, BTC_ID, 1000)}
        for trade in watcher.trades():
            theirs = own[trade.trade_id]
            assert (trade.px, trade.side) == (theirs.px, theirs.taker_side)
        marks = [event for event in watcher.told if isinstance(event, MarkSeen)]
        assert marks[-1].mark_px > 0
        assert watcher.client.check_health(time.time_ns()) == ()

    watch(venue, work)


def test_bars_are_fetched_closed_and_told_once(venue: Venue) -> None:
    async def work(watcher: Watcher) -> None:
        bars = await watcher.client.fetch_bars(BTC_ID, MINUTE_NS, 3)
        now_ns = time.time_ns()
        assert all(bar.ts_open_ns + MINUTE_NS <= now_ns for bar in bars)
        feed = watcher.client._feeds["BTC-USD"]
        assert feed.candles is not None
        begun_ns = feed.candles.ts_next_open_ns
        await until(watcher.trades)  # a candle without trades does not exist
        watcher.client._skew_ns += MINUTE_NS  # as if the venue's minute were over
        await until(lambda: any(isinstance(event, BarSeen) for event in watcher.told))
        seen = [event.bar.ts_open_ns for event in watcher.told if isinstance(event, BarSeen)]
        assert seen[0] == begun_ns
        assert len(set(seen)) == len(seen)

    watch(venue, work)


def test_book_crossed_is_not_believed_and_subscribed_again(venue: Venue) -> None:
    async def work(watcher: Watcher) -> None:
        stream = watcher.client._stream
        assert stream is not None
        venue.switch(fault="book_crossed", on="v4_orderbook")
        await until(lambda: stream.session is not None and stream.session.doubts)
        venue.call(venue.board.apply, {"off": "all"}, 0)
        assert stream.connects == 1
        await watcher.check_book()

    watch(venue, work)


def test_book_stale_is_noticed_as_frozen(venue: Venue) -> None:
    async def work(watcher: Watcher) -> None:
        await until(lambda: isinstance(watcher.take(), BookView))
        venue.switch(fault="book_stale", on="v4_orderbook")
        await until(lambda: watcher.take() in (LostReason.FROZEN, LostReason.STALE))
        assert watcher.client.check_health(time.time_ns())

    watch(venue, work, replace(PATIENT, stale_s=2.0))


def test_book_throttle_makes_the_book_stale_by_its_age(venue: Venue) -> None:
    async def work(watcher: Watcher) -> None:
        await until(lambda: isinstance(watcher.take(), BookView))
        venue.switch(fault="book_throttle", every_ms=600_000)
        await until(lambda: watcher.take() is LostReason.STALE)
        venue.call(venue.board.apply, {"off": "all"}, 0)
        await until(lambda: isinstance(watcher.take(), BookView))
        await watcher.check_book()

    watch(venue, work, replace(PATIENT, stale_s=2.0))


@pytest.mark.parametrize("fault", ["message_drop", "connection_close", "snapshot_overlap"])
def test_message_drop_connection_close_and_snapshot_overlap_lose_and_repeat_no_trade(venue: Venue, fault: str) -> None:
    async def work(watcher: Watcher) -> None:
        stream = watcher.client._stream
        assert stream is not None
        await until(watcher.trades)
        if fault == "snapshot_overlap":
            venue.switch(fault=fault, rows=100)
        row = {"fault": "message_drop", "on": "v4_trades"} if fault == "message_drop" else None
        venue.switch(next_n=1, **(row or {"fault": "connection_close", "on": "v4_trades", "code": 1011}))
        await until(lambda: stream.connects >= 2 if row is None else stream.session and stream.session.holes)
        await until(lambda: stream.is_live)
        count = len(watcher.trades())
        await until(lambda: len(watcher.trades()) >= count + 2)
        told = [trade.trade_id for trade in watcher.trades()]
        assert len(set(told)) == len(told)
        own = [f"{one.trade_id:032x}" for one in venue.call(venue.market.list_trades, BTC_ID, 1000)]
        begin, end = own.index(told[0]), own.index(told[-1])
        assert sorted(told) == sorted(own[begin : end + 1])
        venue.call(venue.board.apply, {"off": "all"}, 0)
        await watcher.check_book()

    watch(venue, work)


def test_what_is_not_listed_is_refused(venue: Venue) -> None:
    async def main() -> None:
        client = DydxMarketData(endpoints_of(venue), [BTC], settings=PATIENT)
        with pytest.raises(ValueError, match="not listed"):
            await client.open([Subscription("SOL-PERP.DYDX")], lambda event: None)
        with pytest.raises(ValueError, match="makes no bars"):
            await client.open([replace(ALL, bar_interval_ns=7)], lambda event: None)
        assert client.check_health(0)

    asyncio.run(main())
