"""Binance USD-M futures behind the venue port: books, trades, marks and bars, no key, no orders.

`BinanceMarketData(endpoints, instruments)`: one socket for the books (/public), one for the rest (/market), REST for
snapshots, backfills, funding, open interest and the venue's clock. What updates mean is decided in the machines of this
package (`book_sync`, `trade_feed`, `kline_feed`, `bar_joins`, `stream_watch`); this shell gives them time and wires.
Bars of intervals that the venue has candles of are those candles; others are made of aggregate trades.

Does not do: spot (the addresses in `Endpoints.extra` are kept for it), months, weeks and three days as intervals,
delivery contracts. The symbol of an instrument is its base and quote: BTC-PERP.BINANCE is BTCUSDT.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from market.instruments import Instrument, suggest
from market.records import NS_PER_MS, NS_PER_S, Bar
from venues.binance.book_sync import SyncSettings
from venues.binance.history import History
from venues.binance.instrument_feed import FeedSettings, FeedTools, InstrumentFeed
from venues.binance.kline_feed import KlineSettings, check_interval
from venues.binance.messages import Data
from venues.binance.rest_client import RestClient, RestUnavailableError
from venues.binance.session import RECONNECT_AFTER_NS
from venues.binance.stream_socket import SocketEvents, SocketSettings, StreamSocket
from venues.binance.stream_watch import WatchSettings
from venues.binance.streams import Channel, Market, Route, group_by_route
from venues.binance.trade_feed import TapeSettings
from venues.book_feed import BookView, LostReason
from venues.port import ClientSettings, Endpoints, MarketEvent, OnMarket, Subscription, VenueUnavailableError

TICK_S = 0.05
STAGGER_NS = 100 * NS_PER_MS  # between the snapshots of books that are lost together
CLOCK_ROUND_TRIP_NS_MAX = NS_PER_S  # an answer that took longer says too little about the clock


@dataclass(frozen=True, slots=True)
class FeedTuning:
    """What only Binance's feed has; seconds."""

    first_message_s: float = 10.0  # acknowledged, then silent for so long: the wrong path
    frozen_s: float = 3.0  # best prices ahead of the book for so long: the depth stream is dead
    kline_lateness_s: float = 2.0  # a final candle so late is asked of REST
    trade_lateness_s: float = 0.5  # a bar of trades is closed so long after its end
    bar_patience_s: float = 10.0  # a bar of trades waits so long for trades that are lacking
    funding_patience_s: float = 15.0
    interest_every_s: float = 60.0
    replace_s: float = RECONNECT_AFTER_NS / NS_PER_S  # a connection is replaced at this age
    settle_s: float = 30.0  # well for so long: waits begin again from the shortest


class BinanceMarketData:
    """The client. `sockets`, `feeds` and `rest` are there for tests and for whoever shows the state."""

    venue_id = "BINANCE"

    def __init__(
        self,
        endpoints: Endpoints,
        instruments: Sequence[Instrument],
        *,
        settings: ClientSettings = ClientSettings(),  # noqa: B008 - frozen
        clock_ns: Callable[[], int] = time.time_ns,
        tuning: FeedTuning = FeedTuning(),
    ) -> None:
        self._endpoints, self._settings, self._clock_ns, self._tuning = endpoints, settings, clock_ns, tuning
        self._instruments = {instrument.instrument_id: instrument for instrument in instruments}
        self.rest = RestClient(Market.USDM, endpoints.http, settings, clock_ns)
        self.history = History(self.rest, settings.call_s, _to_ns(tuning.trade_lateness_s))
        self.feeds: dict[str, InstrumentFeed] = {}
        self.sockets: dict[Route, StreamSocket] = {}
        self.offset_ns = 0  # local clock minus the venue's
        self._skew_ns = 0  # the least that the clocks differ by
        self._by_stream: dict[str, tuple[InstrumentFeed, StreamSocket]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[str] = []  # of our own: a task that ended
        self._on_market: OnMarket = lambda event: None

    async def open(self, subscriptions: Sequence[Subscription], on_market: OnMarket) -> None:
        """Connect and begin to tell. Raises ValueError for what the venue does not list, VenueUnavailableError."""
        if self.feeds:
            raise ValueError("binance: the client is open already; close it first")
        self._on_market = on_market
        self.feeds = {one.instrument_id: self._make_feed(one, index) for index, one in enumerate(subscriptions)}
        try:
            await self._check_symbols()
            await self._measure_clock()
            self._make_sockets()
            for socket in self.sockets.values():
                self._follow(socket.start())
            for work in (self._run(), self._poll_clock(), self._poll_interest(), self._poll_funding()):
                self._spawn(work)
            async with asyncio.timeout(self._settings.connect_s + self._settings.call_s):
                await asyncio.gather(*(socket.opened.wait() for socket in self.sockets.values()))
        except TimeoutError:
            faults = [line for socket in self.sockets.values() for line in socket.list_faults(self._clock_ns())]
            await self.close()
            raise VenueUnavailableError(f"binance: {'; '.join(faults) or 'streams not acknowledged in time'}") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of everything. Safe to repeat."""
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in self.sockets.values():
            await socket.close()
        await self.rest.close()
        self.feeds, self.sockets, self._by_stream = {}, {}, {}

    def take_book(self, instrument_id: str, ts_now_ns: int) -> BookView | LostReason:
        """Return the newest book (updates since the last call are conflated), or why there is none to trust."""
        return self._feed(instrument_id).take_book(ts_now_ns)

    async def fetch_bars(self, instrument_id: str, interval_ns: int, count: int) -> tuple[Bar, ...]:
        """Return the last closed bars, oldest first, at most `count`. Raises VenueUnavailableError."""
        instrument = self._find(instrument_id)
        return await self.history.fetch_bars(
            instrument.base + instrument.quote, interval_ns, count, lambda: self._clock_ns() - max(0, self.offset_ns)
        )

    def check_health(self, ts_now_ns: int) -> tuple[str, ...]:
        """Return what is wrong with the data now, one line each; empty: all is well."""
        lines = [*self._failures]
        if not self.feeds:
            lines.append("binance: not open")
        if self._skew_ns > self._settings.skew_s_max * NS_PER_S:
            lines.append(f"clock: {self.offset_ns / NS_PER_S:+.3f} s against the venue's; set it (NTP)")
        for socket in self.sockets.values():
            lines += socket.list_faults(ts_now_ns)
        for feed in self.feeds.values():
            lines += feed.list_faults(ts_now_ns)
        return (*lines, *(f"rest: {text}" for text in self.rest.failures.values()))

    # Making.

    def _find(self, instrument_id: str) -> Instrument:
        instrument = self._instruments.get(instrument_id)
        if instrument is None:
            known = ", ".join(self._instruments)
            hint = suggest(instrument_id, self._instruments)
            raise ValueError(f"binance: no instrument {instrument_id!r} was given{hint} (known: {known})")
        return instrument

    def _feed(self, instrument_id: str) -> InstrumentFeed:
        if instrument_id not in self.feeds:
            raise ValueError(f"binance: {instrument_id!r} is not subscribed to (subscribed: {', '.join(self.feeds)})")
        return self.feeds[instrument_id]

    def _make_feed(self, subscription: Subscription, index: int) -> InstrumentFeed:
        instrument = self._find(subscription.instrument_id)
        if subscription.bar_interval_ns:
            check_interval(subscription.bar_interval_ns)
        tuning, stale_ns = self._tuning, _to_ns(self._settings.stale_s)
        request_ns = 2 * _to_ns(self._settings.call_s)
        patience_ns = _to_ns(tuning.bar_patience_s)
        settings = FeedSettings(
            book=SyncSettings(
                stagger_ns=index * STAGGER_NS, stale_ns=stale_ns, request_timeout_ns=request_ns,
                first_message_ns=_to_ns(tuning.first_message_s), frozen_ns=_to_ns(tuning.frozen_s),
                settle_ns=_to_ns(tuning.settle_s),
            ),
            tape=TapeSettings(_to_ns(tuning.trade_lateness_s), patience_ns, request_ns),
            kline=KlineSettings(_to_ns(tuning.kline_lateness_s), request_ns),
            stale_ns=stale_ns,
            funding_patience_ns=_to_ns(tuning.funding_patience_s),
        )  # fmt: skip
        tools = FeedTools(
            rest=self.rest, history=self.history, spawn=self._spawn,
            resubscribe=lambda stream: self._by_stream[stream][1].resubscribe(stream),
            reconnect=lambda stream, reason: self._by_stream[stream][1].restart(reason),
            ts_alive_ns=lambda stream: self._by_stream[stream][1].ts_alive_ns if stream in self._by_stream else 0,
            tell=self._tell, clock_ns=self._clock_ns,
        )  # fmt: skip
        return InstrumentFeed(instrument, subscription, settings, tools)

    def _make_sockets(self) -> None:
        channels: dict[str, Channel] = {}
        owners: dict[str, InstrumentFeed] = {}
        for feed in self.feeds.values():
            streams = feed.list_streams()
            channels |= streams
            owners |= dict.fromkeys(streams, feed)
        watch = WatchSettings(
            first_message_ns=_to_ns(self._tuning.first_message_s),
            silence_ns=_to_ns(self._settings.silence_s),
            reply_ns=_to_ns(self._settings.call_s),
        )
        settings = replace(
            SocketSettings(),
            replace_ns=_to_ns(self._tuning.replace_s),
            watch=watch,
            settle_ns=_to_ns(self._tuning.settle_s),
        )
        for route, names in group_by_route(Market.USDM, channels).items():
            events = SocketEvents(self._on_data, self._on_subscribed, *self._make_ends(names))
            streams = {name: channels[name] for name in names}
            socket = StreamSocket(
                self._endpoints.ws, route, streams, events, self._settings, settings, self._clock_ns
            )  # fmt: skip
            self.sockets[route] = socket
            self._by_stream |= {name: (owners[name], socket) for name in names}

    def _make_ends(self, names: Sequence[str]) -> tuple[Callable[[], None], Callable[[str], None]]:
        # What the replacement and the loss of a connection mean for the instruments whose streams it carries.
        def find() -> list[tuple[InstrumentFeed, bool]]:
            kinds = {
                (self._by_stream[name][0].instrument_id, "@depth" in name or "@bookTicker" in name) for name in names
            }
            return [(self.feeds[instrument_id], is_book) for instrument_id, is_book in sorted(kinds)]

        def on_replaced() -> None:
            for feed, is_book in find():
                if not is_book:
                    feed.on_replaced()

        def on_lost(reason: str) -> None:
            for feed, is_book in find():
                feed.on_lost(is_book)

        return on_replaced, on_lost

    # What comes in.

    def _tell(self, event: MarketEvent) -> None:
        self._on_market(event)

    def _on_data(self, stream: str, data: Data) -> None:
        found = self._by_stream.get(stream)
        if found is not None:
            found[0].on_data(stream, data)

    def _on_subscribed(self, stream: str) -> None:
        self._by_stream[stream][0].on_subscribed(stream)

    # Work of its own.

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._follow(asyncio.create_task(work))

    def _follow(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            self._failures.append(f"binance: the feed is broken, open it anew: {type(error).__name__}: {error}")

    async def _check_symbols(self) -> None:
        try:
            info = await self.rest.ask("exchangeInfo")
        except RestUnavailableError:
            raise
        except ValueError as error:
            raise VenueUnavailableError(str(error)) from None
        listed = {symbol.symbol: symbol.status for symbol in info.symbols}
        for feed in self.feeds.values():
            status = listed.get(feed.symbol, "not listed")
            if status != "TRADING":
                raise ValueError(
                    f"{feed.instrument_id}: binance's {feed.symbol} is {status}{suggest(feed.symbol, listed)}"
                )

    async def _measure_clock(self) -> None:
        ts_sent_ns = self._clock_ns()
        reply = await self.rest.ask("time")
        ts_recv_ns = self._clock_ns()
        round_trip_ns = ts_recv_ns - ts_sent_ns
        offset_ns = (ts_sent_ns + ts_recv_ns) // 2 - reply.ts_server_ms * NS_PER_MS
        self._skew_ns = max(0, abs(offset_ns) - round_trip_ns // 2)
        if round_trip_ns <= CLOCK_ROUND_TRIP_NS_MAX or self._skew_ns > CLOCK_ROUND_TRIP_NS_MAX:
            self.offset_ns = offset_ns
            for feed in self.feeds.values():
                feed.on_clock(offset_ns)

    async def _run(self) -> None:
        while True:
            for feed in self.feeds.values():
                feed.on_time()
            await asyncio.sleep(TICK_S)

    async def _poll_clock(self) -> None:
        await self._poll(lambda feed: self._measure_clock(), self._settings.reconcile_s, is_once=True)

    async def _poll_interest(self) -> None:
        shortest_ns = min((one.subscription.bar_interval_ns or 10**18 for one in self.feeds.values()), default=10**18)
        every_s = min(self._tuning.interest_every_s, max(5.0, 0.5 * shortest_ns / NS_PER_S))
        await self._poll(lambda feed: feed.poll_interest(), every_s)

    async def _poll_funding(self) -> None:
        await self._poll(lambda feed: feed.poll_funding(), 1.0)

    async def _poll(
        self, ask: Callable[[InstrumentFeed], Coroutine[Any, Any, None]], every_s: float, is_once: bool = False
    ) -> None:
        # Ask for each instrument (or once) again and again; without an answer ever more rarely.
        failures = 0
        while True:
            try:
                for feed in [*self.feeds.values()][: 1 if is_once else None]:
                    await ask(feed)
                failures = 0
            except RestUnavailableError as error:
                failures += 1
                await asyncio.sleep(max(error.retry_after_ns / NS_PER_S, self._wait_s(failures)))
            except ValueError:  # the venue refuses the question; `rest.failures` says so
                failures += 1
                await asyncio.sleep(self._wait_s(failures))
            await asyncio.sleep(every_s)

    def _wait_s(self, failures: int) -> float:
        return min(self._settings.backoff_s_max, self._settings.backoff_s * 2 ** min(failures, 16))


def _to_ns(seconds: float) -> int:
    return int(seconds * NS_PER_S)
