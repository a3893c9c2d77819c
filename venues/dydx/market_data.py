"""Market data of dYdX v4 behind the venue port: books, trades, oracle prices as marks, closed candles. No key.

One supervised connection (`client_stream`); after a hole in it everything is subscribed again. The venue's clock is
read at opening, so that candles close by its time. Marks carry the oracle price twice: the chain knows no other.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from market.instruments import Instrument
from market.records import NS_PER_MS, NS_PER_S, Bar
from venues.book_feed import BookView, LostReason
from venues.dydx.client_rest import IndexerRest, NotFoundError
from venues.dydx.client_stream import IndexerStream, end_tasks
from venues.dydx.indexer import CandlesReply, MarketsReply, TradesReply, read_time, show_time
from venues.dydx.indexer_records import BookSnapshot, BookUpdate, CandleRow, TradeRow
from venues.dydx.indexer_stream import (
    BLOCK_HEIGHT,
    CANDLES,
    MARKETS,
    ORDERBOOK,
    TRADES,
    ChannelData,
    MarketsUpdate,
    ServerMessage,
    Subscribe,
    Subscribed,
)
from venues.dydx.market_books import IndexerBook
from venues.dydx.market_candles import ClosedCandles, find_resolution, read_bar
from venues.port import (
    BarSeen,
    ClientSettings,
    Endpoints,
    MarkSeen,
    OnMarket,
    Subscription,
    TradePrinted,
    VenueUnavailableError,
)

CANDLE_GRACE_NS = 2 * NS_PER_S  # after a candle's end, without a newer one
TRADES_KEPT = 5000


@dataclass(slots=True)
class _Feed:
    instrument: Instrument
    subscription: Subscription
    book: IndexerBook = field(default_factory=IndexerBook)
    told_trades: dict[str, None] = field(default_factory=dict)
    has_trades_begun: bool = False
    mark_px: float = math.nan
    funding_rate: float = math.nan
    candles: ClosedCandles | None = None
    is_candle_due: bool = False


class DydxMarketData:
    """One connection's worth of markets. See `venues.port.MarketDataClient`."""

    venue_id = "DYDX"

    def __init__(
        self,
        endpoints: Endpoints,
        instruments: Sequence[Instrument],
        *,
        settings: ClientSettings = ClientSettings(),  # noqa: B008 - frozen
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Prepare; nothing is sent."""
        self._endpoints, self._settings, self._clock_ns = endpoints, settings, clock_ns
        self._instruments = {instrument.instrument_id: instrument for instrument in instruments}
        self._rest = IndexerRest(endpoints.http, settings.call_s)
        self._feeds: dict[str, _Feed] = {}  # by ticker
        self._stream: IndexerStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._on_market: OnMarket = lambda event: None
        self._skew_ns = 0  # the venue's clock minus ours
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        """Show where it reads."""
        return f"DydxMarketData({self._endpoints.http})"

    async def open(self, subscriptions: Sequence[Subscription], on_market: OnMarket) -> None:
        """Subscribe; return once everything asked for is in force."""
        if self._stream is not None:
            raise ValueError(f"{self!r} is open already: close it first")
        self._on_market = on_market
        self._rest = IndexerRest(self._endpoints.http, self._settings.call_s)
        try:
            sent_ns = self._clock_ns()
            venue_ns = await self._rest.fetch_time_ms() * NS_PER_MS
            self._skew_ns = venue_ns - (sent_ns + self._clock_ns()) // 2
            markets = await self._rest.fetch_markets()
            wanted = self._list_wanted(subscriptions, markets)
            stream = IndexerStream(
                self._endpoints.ws, wanted, self._hear, self._settings, self._clock_ns, self._lose_books
            )
            self._stream = stream
            await stream.open()
        except BaseException:
            await self.close()
            raise
        self._task = asyncio.create_task(self._run_candles())

    def _list_wanted(self, subscriptions: Sequence[Subscription], markets: MarketsReply) -> list[Subscribe]:
        wanted = [Subscribe(BLOCK_HEIGHT)]
        self._feeds = {}
        for one in subscriptions:
            instrument = self._instruments.get(one.instrument_id)
            ticker = f"{instrument.base}-USD" if instrument else ""
            if instrument is None or ticker not in markets.markets:
                raise ValueError(f"dydx: {one.instrument_id} is not listed here: subscribe what the venue lists")
            feed = self._feeds[ticker] = _Feed(instrument, one)
            if one.has_book:
                wanted.append(Subscribe(ORDERBOOK, ticker))
            if one.has_trades:
                wanted.append(Subscribe(TRADES, ticker))
            if one.bar_interval_ns:
                wanted.append(Subscribe(CANDLES, f"{ticker}/{find_resolution(one.bar_interval_ns)}"))
                feed.candles = ClosedCandles(one.bar_interval_ns, self._venue_now_ns())
        if any(one.has_marks for one in subscriptions):
            wanted.append(Subscribe(MARKETS))
        return wanted

    async def close(self) -> None:
        """Let go of everything."""
        task, self._task = self._task, None
        if task is not None:
            await end_tasks([task])
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
        await self._rest.close()

    def _venue_now_ns(self) -> int:
        return self._clock_ns() + self._skew_ns

    # What is heard.

    def _lose_books(self) -> None:
        for feed in self._feeds.values():
            feed.book.lose(LostReason.DISCONNECTED)
            feed.is_candle_due = True
        self._wake.set()

    def _hear(self, message: ServerMessage, ts_now_ns: int) -> None:
        match message:
            case Subscribed(contents=contents):
                self._take(message, contents, ts_now_ns)
            case ChannelData(updates=updates):
                for update in updates:
                    self._take(message, update, ts_now_ns)
        session = self._stream.session if self._stream else None
        if session is None:
            return
        for feed in self._feeds.values():
            if feed.book.lost is LostReason.CROSSED:
                session.doubt(ts_now_ns)

    def _take(self, message: Subscribed | ChannelData, contents: object, ts_now_ns: int) -> None:
        feed = self._feeds.get(message.id.partition("/")[0])
        match contents:
            case BookSnapshot() if feed:
                feed.book.begin(contents, message.message_id, ts_now_ns)
            case BookUpdate() if feed:
                feed.book.apply(contents, message.message_id, ts_now_ns)
            case TradesReply() if feed:
                is_list = isinstance(message, Subscribed)
                self._take_trades(feed, contents.trades[::-1] if is_list else contents.trades)
            case CandlesReply() | CandleRow() if feed:
                self._take_candle(feed, contents)
            case MarketsReply():
                for ticker, market in contents.markets.items():
                    px = math.nan if market.oracle_price is None else float(market.oracle_price)
                    self._tell_mark(ticker, px, float(market.next_funding_rate), self._venue_now_ns())
            case MarketsUpdate():
                self._take_markets(contents)

    def _take_trades(self, feed: _Feed, rows: tuple[TradeRow, ...]) -> None:
        # Oldest first. The first list is history; later ones, after a reconnect, hold what was missed.
        for row in [row for row in rows if row.id not in feed.told_trades]:
            feed.told_trades[row.id] = None
            if feed.has_trades_begun and row.side in ("BUY", "SELL"):
                side = 1 if row.side == "BUY" else -1
                ts_event_ns = read_time(row.created_at)
                instrument_id = feed.instrument.instrument_id
                self._on_market(
                    TradePrinted(instrument_id, row.id, side, float(row.price), float(row.size), ts_event_ns)
                )
        feed.has_trades_begun = True
        while len(feed.told_trades) > TRADES_KEPT:
            feed.told_trades.pop(next(iter(feed.told_trades)))

    def _take_candle(self, feed: _Feed, contents: CandlesReply | CandleRow) -> None:
        rows = contents.candles if isinstance(contents, CandlesReply) else (contents,)
        if feed.candles is not None and any(
            read_time(row.started_at) > feed.candles.ts_next_open_ns for row in rows if row.started_at
        ):
            feed.is_candle_due = True
            self._wake.set()

    def _take_markets(self, update: MarketsUpdate) -> None:
        for ticker, part in (update.trading or {}).items():
            feed = self._feeds.get(ticker)
            if feed is not None and part.next_funding_rate:
                feed.funding_rate = float(part.next_funding_rate)
        for ticker, price in (update.oracle_prices or {}).items():
            rate = self._feeds[ticker].funding_rate if ticker in self._feeds else math.nan
            self._tell_mark(ticker, float(price.oracle_price), rate, read_time(price.effective_at))

    def _tell_mark(self, ticker: str, px: float, funding_rate: float, ts_event_ns: int) -> None:
        feed = self._feeds.get(ticker)
        if feed is None:
            return
        feed.mark_px, feed.funding_rate = px, funding_rate
        if feed.subscription.has_marks:
            self._on_market(MarkSeen(feed.instrument.instrument_id, px, px, funding_rate, ts_event_ns))

    # Candles.

    async def _run_candles(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await self._wake.wait()
            self._wake.clear()
            for feed in self._feeds.values():
                candles = feed.candles
                if candles is None:
                    continue
                if feed.is_candle_due or candles.is_due(self._venue_now_ns() - CANDLE_GRACE_NS):
                    feed.is_candle_due = False
                    try:
                        await self._tell_candles(feed, candles)
                    except VenueUnavailableError:
                        feed.is_candle_due = True

    async def _tell_candles(self, feed: _Feed, candles: ClosedCandles) -> None:
        rows = await self._fetch_rows(feed.instrument, candles.interval_ns, candles.ts_next_open_ns, 1000)
        for bar in candles.take(rows, self._venue_now_ns()):
            self._on_market(BarSeen(feed.instrument.instrument_id, candles.interval_ns, bar))

    async def _fetch_rows(
        self, instrument: Instrument, interval_ns: int, ts_from_ns: int, limit: int
    ) -> tuple[CandleRow, ...]:
        parameters = {"resolution": find_resolution(interval_ns), "limit": str(limit)}
        if ts_from_ns:
            parameters["fromISO"] = show_time(ts_from_ns)
        try:
            path = f"/v4/candles/perpetualMarkets/{instrument.base}-USD"
            return (await self._rest.get(CandlesReply, path, parameters)).candles
        except NotFoundError as error:
            raise ValueError(str(error)) from None

    # Questions.

    def take_book(self, instrument_id: str, ts_now_ns: int) -> BookView | LostReason:
        """Return the newest book, or why there is none to trust."""
        instrument = self._instruments.get(instrument_id)
        feed = self._feeds.get(f"{instrument.base}-USD") if instrument else None
        if feed is None or not feed.subscription.has_book:
            raise ValueError(f"{self!r}: the book of {instrument_id} is not subscribed")
        if self._stream is None or self._stream.session is None:
            return LostReason.DISCONNECTED
        if not self._stream.is_live:
            return feed.book.lost or LostReason.GAP
        return feed.book.take(ts_now_ns, int(self._settings.stale_s * NS_PER_S))

    async def fetch_bars(self, instrument_id: str, interval_ns: int, count: int) -> tuple[Bar, ...]:
        """Return the last closed bars."""
        instrument = self._instruments.get(instrument_id)
        if instrument is None:
            raise ValueError(f"{self!r} does not know {instrument_id}")
        rows = await self._fetch_rows(instrument, interval_ns, 0, min(1000, count + 1))
        bars = sorted((read_bar(row) for row in rows), key=lambda bar: bar.ts_open_ns)
        venue_now_ns = self._venue_now_ns()
        closed = [bar for bar in bars if bar.ts_open_ns + interval_ns <= venue_now_ns]
        return tuple(closed[-count:]) if count > 0 else ()

    def check_health(self, ts_now_ns: int) -> tuple[str, ...]:
        """Return what is wrong with the data."""
        if self._stream is None:
            return (f"{self!r} is not open",)
        found = []
        if not self._stream.is_live:
            found.append(f"the indexer's socket is down: {self._stream.why_lost}")
        for ticker, feed in self._feeds.items():
            if feed.subscription.has_book:
                if feed.book.lost is not None:
                    found.append(f"the book of {ticker} is lost: {feed.book.lost}")
                elif ts_now_ns - feed.book.ts_changed_ns > int(self._settings.stale_s * NS_PER_S):
                    found.append(f"the book of {ticker} has not changed for {self._settings.stale_s:g} s")
        return tuple(found)
