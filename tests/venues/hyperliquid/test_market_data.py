"""Market data of the simulator through our client: books, trades, marks and bars against the market's own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.venues.hyperliquid.conftest import Venue, run_venue, wait_for
from tests.venues.hyperliquid.trading import BTC, CALM, ETH, ID, endpoints, make_client, market, running_loop, trading
from venues.book_feed import BookView, LostReason
from venues.hyperliquid.market_data import HyperliquidMarketData
from venues.port import BarSeen, ClientSettings, MarkSeen, Subscription, TradePrinted

MINUTE_NS = 60_000_000_000
BOOKS = (Subscription(ID),)


class Reader:
    """Open market data and what they told."""

    def __init__(self, client: HyperliquidMarketData, loop: Any) -> None:
        self.client, self._loop, self.heard = client, loop, list[Any]()

    def run(self, work: Any) -> Any:
        """Return what a coroutine returns."""
        import asyncio

        return asyncio.run_coroutine_threadsafe(work, self._loop).result(100)

    def take(self, instrument_id: str = ID) -> BookView | LostReason:
        """Return the book."""

        async def take() -> BookView | LostReason:
            return self.client.take_book(instrument_id, time.time_ns())

        return self.run(take())

    def health(self) -> tuple[str, ...]:
        """Return what is wrong."""

        async def ask() -> tuple[str, ...]:
            return self.client.check_health(time.time_ns())

        return self.run(ask())

    def wait_loss(self, loss: LostReason) -> None:
        """Wait until the book is refused for a reason."""
        wait_for(lambda: self.take() is loss, f"{loss}", 60.0)

    def wait_book(self) -> BookView:
        """Wait for a book to trust."""
        return wait_for(lambda: view if isinstance(view := self.take(), BookView) else None, "a book", 60.0)


@contextmanager
def reading(
    venue: Venue, wanted: tuple[Subscription, ...], settings: ClientSettings = CALM, **fields: Any
) -> Iterator[Reader]:
    """Open market data, and close them whatever happens."""
    with running_loop() as loop:
        reader = Reader(HyperliquidMarketData(endpoints(venue), [BTC, ETH], settings=settings, **fields), loop)
        try:
            reader.run(reader.client.open(wanted, reader.heard.append))
            yield reader
        finally:
            reader.run(reader.client.close())


def test_books_trades_and_marks_are_the_markets(venue: Venue) -> None:
    wanted = tuple(Subscription(i.instrument_id, has_trades=True, has_marks=True) for i in (BTC, ETH))
    world = venue.simulator.world
    with reading(venue, wanted) as reader, trading(venue) as trader:

        def is_equal() -> bool:
            seen = reader.take()
            own = venue.call(lambda: world.market.get_book(ID, 5))
            sides = [[(level.px, level.qty_lots) for level in side] for side in (own.bids, own.asks)]
            if not isinstance(seen, BookView):
                return False
            return sides == [[(px, round(qty * 1e5)) for px, qty in side] for side in (seen.bids, seen.asks)]

        wait_for(is_equal, "a moment between two blocks", 60.0)
        order = market(1, 1000)
        trader.submit(order)
        trade_ids = {fill.trade_id for fill in trader.wait_told(order.client_order_id, "Fill")}  # type: ignore[union-attr]
        wait_for(lambda: trade_ids <= {e.trade_id for e in reader.heard if isinstance(e, TradePrinted)}, "our trade")
        trades = [e for e in reader.heard if isinstance(e, TradePrinted)]
        assert len({(e.instrument_id, e.trade_id) for e in trades}) == len(trades)
        ours = next(e for e in trades if e.trade_id in trade_ids)
        assert (ours.instrument_id, ours.side) == (ID, 1)
        for instrument in (BTC, ETH):
            marks = wait_for(
                lambda name=instrument.instrument_id: [
                    e for e in [*reader.heard] if isinstance(e, MarkSeen) and e.instrument_id == name
                ],
                "marks",
            )
            own_px = venue.call(lambda name=instrument.instrument_id: world.market.get_mark(name).mark_px)
            assert marks[-1].mark_px == pytest.approx(own_px, rel=1e-3)
        wait_for(lambda: not reader.health(), "health")


def test_bars_close_once_in_order_over_a_reconnect() -> None:
    # The venue's minute ends some seconds after the start, and again a minute later if the machine is slow.
    shift_ns = 52_000_000_000 - time.time_ns() % MINUTE_NS

    def clock_ns() -> int:
        return time.time_ns() + shift_ns

    with run_venue(clock_ns) as venue:
        wanted = (Subscription(ID, has_book=False, bar_interval_ns=MINUTE_NS),)
        with reading(venue, wanted, clock_ns=clock_ns) as reader:
            client: Any = reader.client
            venue.fault("connection_close", on="candle", next_n=1)
            wait_for(lambda: client._feed.connections >= 2, "another connection")
            wait_for(lambda: [e for e in reader.heard if isinstance(e, BarSeen)], "a bar", 150.0)
            bars = [e.bar for e in reader.heard if isinstance(e, BarSeen)]
            opens = [bar.ts_open_ns for bar in bars]
            assert opens == [*range(opens[0], opens[0] + MINUTE_NS * len(opens), MINUTE_NS)]
            own = venue.call(
                lambda: venue.simulator.world.market.list_candles(ID, MINUTE_NS, opens[0], opens[0] + MINUTE_NS)
            )
            wire_px = (own[0].open_px, own[0].high_px, own[0].low_px, own[0].close_px)
            assert bars[0][1:5] == wire_px
            assert bars[0].volume_base == pytest.approx(own[0].volume_lots * 1e-5)
            fetched = reader.run(reader.client.fetch_bars(ID, MINUTE_NS, 2))
            assert len(fetched) == 2
            assert bars[-1] in fetched or fetched[-1].ts_open_ns > bars[-1].ts_open_ns


def test_what_is_not_listed_is_refused(venue: Venue) -> None:
    for wanted in (Subscription("DOGE-PERP.HYPERLIQUID"), Subscription(ID, bar_interval_ns=7)):
        with running_loop() as loop:
            reader = Reader(HyperliquidMarketData(endpoints(venue), [BTC]), loop)
            with pytest.raises(ValueError, match=wanted.instrument_id.split("-")[0]):
                reader.run(reader.client.open([wanted], reader.heard.append))
            assert reader.health() != ()
            reader.run(reader.client.close())


def test_book_stale_is_refused(venue: Venue) -> None:
    # `stale_s` is what is tested; the bbo is silenced, else the book is found frozen before.
    with reading(venue, BOOKS, replace(CALM, stale_s=3.0)) as reader:
        reader.wait_book()
        venue.fault("message_drop", on="bbo")
        venue.fault("book_stale", on="l2Book")
        reader.wait_loss(LostReason.STALE)
        assert any("stale" in line for line in reader.health())
        venue.clear_faults()
        reader.wait_book()


def test_book_stale_against_bbo_is_frozen(venue: Venue) -> None:
    with reading(venue, BOOKS) as reader:
        reader.wait_book()
        venue.fault("book_stale", on="l2Book")
        venue.fault("price_gap", gap_bps=50)  # the best prices move
        reader.wait_loss(LostReason.FROZEN)
        venue.clear_faults()
        reader.wait_book()


def test_book_crossed_is_refused(venue: Venue) -> None:
    with reading(venue, BOOKS) as reader:
        reader.wait_book()
        venue.fault("book_crossed", on="l2Book")
        reader.wait_loss(LostReason.CROSSED)
        venue.clear_faults()
        reader.wait_book()


def test_book_throttle_is_noticed(venue: Venue) -> None:
    with reading(venue, BOOKS, replace(CALM, stale_s=3.0)) as reader:
        reader.wait_book()
        venue.fault("book_throttle", every_ms=600_000)
        wait_for(lambda: reader.take() in (LostReason.STALE, LostReason.FROZEN), "an old book", 60.0)


def test_half_open_disconnects_then_comes_back(venue: Venue) -> None:
    with reading(venue, BOOKS, replace(CALM, silence_s=2.0)) as reader:
        client: Any = reader.client
        reader.wait_book()
        venue.fault("half_open", next_n=1)
        wait_for(lambda: client._feed.connections >= 2, "another connection", 60.0)
        reader.wait_book()


def test_connection_close_and_unknown_value_of_market_data(venue: Venue) -> None:
    with reading(venue, BOOKS) as reader:
        client: Any = reader.client
        venue.fault("unknown_value")
        venue.fault("connection_close", on="l2Book", next_n=1, code=1000)
        wait_for(lambda: client._feed.connections >= 2, "another connection", 60.0)
        reader.wait_book()


def test_message_duplicate_and_reorder_print_no_trade_twice(venue: Venue) -> None:
    with reading(venue, (Subscription(ID, has_trades=True),)) as reader:
        venue.fault("message_duplicate", on="trades")
        venue.fault("message_reorder", on="l2Book", behind=2)
        wait_for(lambda: sum(isinstance(e, TradePrinted) for e in reader.heard) >= 5, "trades", 60.0)
        ids = [e.trade_id for e in reader.heard if isinstance(e, TradePrinted)]
        assert len(set(ids)) == len(ids)
        reader.wait_book()


def test_oracle_frozen_shows_in_the_marks(venue: Venue) -> None:
    with reading(venue, (Subscription(ID, has_marks=True),)) as reader:
        venue.fault("oracle_frozen")
        wait_for(lambda: venue.simulator.world.board.counts().get("oracle_frozen"), "the switch")
        count = len(reader.heard)
        wait_for(lambda: len(reader.heard) >= count + 20, "marks")
        assert len({e.index_px for e in reader.heard[count + 5 :] if isinstance(e, MarkSeen)}) == 1


def test_price_gap_is_seen_in_the_book(venue: Venue) -> None:
    with reading(venue, BOOKS) as reader:
        venue.fault("price_gap", gap_bps=500)

        def is_wide() -> bool:
            view = reader.take()
            return isinstance(view, BookView) and view.asks[0][0] / view.bids[0][0] > 1.05

        wait_for(is_wide, "the gap", 60.0)
        assert make_client(venue).venue_id == reader.client.venue_id
