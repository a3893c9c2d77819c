"""The Binance client beside the simulator it reads: what it told, held against what the exchange has."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import numpy as np

from market.aggregation import build_bars
from market.instruments import find_instrument
from market.records import NS_PER_MS, NS_PER_S, Bar, Quality
from tests.venues.binance.conftest import BTC_ID, Venue, run_venue, wait_until
from venues.binance.instrument_feed import InstrumentFeed
from venues.binance.market_data import BinanceMarketData, FeedTuning
from venues.binance.streams import Market
from venues.book_feed import BookView, LostReason
from venues.port import BarSeen, ClientSettings, Endpoints, MarketEvent, MarkSeen, Subscription, TradePrinted

LOT = 1000.0  # BTC's lots in one
PATIENT = ClientSettings(call_s=60.0, connect_s=60.0, silence_s=600.0, stale_s=600.0, backoff_s=0.05, backoff_s_max=1.0)
PATIENT_TUNING = FeedTuning(first_message_s=600.0, frozen_s=600.0, bar_patience_s=600.0, funding_patience_s=600.0)
ALL = Subscription(BTC_ID, has_book=True, has_trades=True, has_marks=True, bar_interval_ns=NS_PER_S)
TAPE = Subscription(BTC_ID, has_book=False, has_trades=True, has_marks=True, bar_interval_ns=NS_PER_S)
BOOK = Subscription(BTC_ID)


class Reading:
    """An open client and all that it told."""

    def __init__(self, venue: Venue, client: BinanceMarketData) -> None:
        self.venue, self.client = venue, client
        self.told: list[MarketEvent] = []
        self.compared = 0

    @property
    def feed(self) -> InstrumentFeed:
        return self.client.feeds[BTC_ID]

    @property
    def trades(self) -> list[TradePrinted]:
        return [event for event in self.told if isinstance(event, TradePrinted)]

    @property
    def marks(self) -> list[MarkSeen]:
        return [event for event in self.told if isinstance(event, MarkSeen)]

    @property
    def bars(self) -> list[Bar]:
        return [event.bar for event in self.told if isinstance(event, BarSeen)]

    def health(self) -> tuple[str, ...]:
        return self.client.check_health(self.venue.clock())

    def says(self, *words: str) -> bool:
        """Whether one line of health has all these words."""
        return any(all(word in line for word in words) for line in self.health())

    def take(self) -> BookView | LostReason:
        return self.client.take_book(BTC_ID, self.venue.clock())

    def compare_book(self) -> bool:
        """Whether the book could be compared: then it is the exchange's, level by level."""
        view = self.take()
        book = self.venue.books[Market.USDM].get(view.last_id) if isinstance(view, BookView) else None
        if book is None or not isinstance(view, BookView):
            return False
        assert view.bids == tuple((level.px, level.qty_lots / LOT) for level in book.bids)
        assert view.asks == tuple((level.px, level.qty_lots / LOT) for level in book.asks)
        self.compared += 1
        return True

    def fault(self, name: str, on: str = "*", **settings: Any) -> None:
        self.venue.board.apply({"on": {"fault": name, "on": on, **settings}}, self.venue.clock())

    def mend(self) -> None:
        self.venue.board.apply({"off": "all"}, self.venue.clock())

    async def ready(self) -> None:
        """Wait until every stream speaks, the book is the exchange's, and bars come where they were asked for."""
        wanted = self.feed.subscription
        await wait_until(lambda: not wanted.has_book or self.compare_book(), "the book is right")
        await wait_until(lambda: not wanted.has_trades or len(self.trades) > 1, "trades come")
        await wait_until(lambda: not wanted.has_marks or len(self.marks) > 0, "marks come")

    async def more_books(self, count: int = 3) -> None:
        before, last = self.compared, self.compared + count
        assert before < last
        await wait_until(lambda: self.compare_book() and self.compared >= last, "the book is right again")

    async def more_bars(self, count: int) -> None:
        target = len(self.bars) + count
        await wait_until(lambda: len(self.bars) >= target, f"{count} more bars")

    def check_tape(self) -> None:
        """Every trade once, in order, without a hole, and as the exchange has it."""
        trades = self.trades
        rows = {row.trade_id: row for row in self.venue.simulator.hubs[Market.USDM].feeds["BTCUSDT"].agg_trades}
        ids = [int(trade.trade_id) for trade in trades]
        assert ids == [*range(ids[0], ids[0] + len(ids))]
        for trade in trades:
            row = rows[int(trade.trade_id)]
            assert (trade.px, trade.qty_base, trade.ts_event_ns) == (
                float(row.px), float(row.qty), row.ts_trade_ms * NS_PER_MS,
            )  # fmt: skip
            assert trade.side == (-1 if row.is_buyer_maker else 1)

    def check_bars(self, is_whole: bool = True) -> None:
        """Each close once, in order, none left out; where nothing was lost, the bars of all the exchange's trades."""
        bars = self.bars
        opens = [bar.ts_open_ns for bar in bars]
        assert opens == [opens[0] + index * NS_PER_S for index in range(len(opens))]
        if not is_whole:
            return
        rows = self.venue.simulator.hubs[Market.USDM].feeds["BTCUSDT"].list_agg_trades()
        expected = compute_bars([row for row in rows if row.ts_trade_ms * NS_PER_MS < opens[-1] + NS_PER_S])
        for bar in bars:
            values = expected.get(bar.ts_open_ns, (bar.close_px,) * 4 + (0.0,))  # after the last trade: flat
            assert bar[1:6] == values, (bar, values)
            assert bar.quality == (0 if bar.volume_base else Quality.STALE.value)


def compute_bars(rows: list[Any]) -> dict[int, tuple[float, ...]]:
    """Return open -> (open, high, low, close, volume) of the exchange's trades, by the archives' kernel."""
    ts_ns = np.array([row.ts_trade_ms * NS_PER_MS for row in rows])
    px, qty = (np.array([float(getattr(row, name)) for row in rows]) for name in ("px", "qty"))
    opens, values = build_bars(ts_ns, px, qty, NS_PER_S)
    return {int(open_ns): tuple(row) for open_ns, row in zip(opens.tolist(), values.tolist(), strict=True)}


@contextlib.asynccontextmanager
async def read(
    venue: Venue,
    subscription: Subscription = ALL,
    settings: ClientSettings = PATIENT,
    tuning: FeedTuning = PATIENT_TUNING,
) -> AsyncIterator[Reading]:
    """Open a client on a running venue."""
    endpoints = Endpoints(venue.addresses["http"], venue.addresses["ws"])
    instruments = [find_instrument(BTC_ID)]
    client = BinanceMarketData(endpoints, instruments, settings=settings, clock_ns=venue.clock, tuning=tuning)
    reading = Reading(venue, client)
    await client.open([subscription], reading.told.append)
    try:
        yield reading
    finally:
        venue.board.apply({"off": "all"}, venue.clock())
        await client.close()
        assert not client._tasks


async def lose_book(reading: Reading, reason: LostReason) -> None:
    """Wait until the book was given up for a reason, and is right again."""
    await wait_until(lambda: reason in reading.feed.lost_reasons, f"the book is lost: {reason}")
    reading.mend()
    await reading.more_books()


Play = Callable[[Callable[[Venue], Coroutine[Any, Any, None]]], None]


def share_venue(**fields: Any) -> Iterator[Play]:
    """Yield what runs a coroutine with the one venue of a test module: its loop stands still between tests."""
    with asyncio.Runner() as runner:
        manager = run_venue(**fields)
        venue = runner.run(manager.__aenter__())
        try:
            yield lambda work: runner.run(_run(work, venue))  # type: ignore[arg-type]
        finally:
            runner.run(manager.__aexit__(None, None, None))


async def _run(work: Callable[[Venue], Coroutine[Any, Any, None]], venue: Venue) -> None:
    await work(venue)
