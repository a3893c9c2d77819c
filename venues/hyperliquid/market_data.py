"""Market data of Hyperliquid: the port's `MarketDataClient` on a socket of our own, without a key.

Subscribes, per instrument: fast books and `bbo` (a book is checked against both its clock and `bbo`), trades, contexts
(marks), candles. A closed bar is taken from `candleSnapshot` once its time has passed, so that it is whole, also after
a reconnect. Only names of the live metadata are subscribed: an unknown one would cost the whole socket.
`MarkSeen.ts_event_ns` is when it came: this venue does not say when it was.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from market.instruments import Instrument
from market.records import NS_PER_MS, NS_PER_S, Bar
from venues.book_feed import BookView, LostReason
from venues.hyperliquid import client_preflight, client_wire, frames, info_replies, rules, wire
from venues.hyperliquid import info_requests as ask
from venues.hyperliquid import subscriptions as subs
from venues.hyperliquid.client_calls import Questions
from venues.hyperliquid.client_socket import Feed
from venues.hyperliquid.market_feed import BarTeller, BookWatch, TradeTeller, is_closed, make_bar
from venues.port import (
    ClientSettings,
    Endpoints,
    MarkSeen,
    OnMarket,
    PreflightError,
    Subscription,
    VenueUnavailableError,
)

_LOG = logging.getLogger(__name__)
_MINUTE_NS = 60 * NS_PER_S
_INTERVALS = {
    minutes * _MINUTE_NS: name
    for name, minutes in (
        ("1m", 1), ("3m", 3), ("5m", 5), ("15m", 15), ("30m", 30), ("1h", 60), ("2h", 120), ("4h", 240), ("8h", 480),
        ("12h", 720), ("1d", 1440),
    )
}  # fmt: skip
_BARS_MAX = 5_000
_GRACE_MS = 200  # after a bar's end, before it is asked for
_ASK_EVERY_S = 2.0  # for one coin's bars
_CLOCK_EVERY_S = 60.0
_DEFAULTS = ClientSettings()


class HyperliquidMarketData:
    """Market data of Hyperliquid."""

    venue_id = wire.VENUE_ID

    def __init__(
        self,
        endpoints: Endpoints,
        instruments: Sequence[Instrument],
        *,
        settings: ClientSettings = _DEFAULTS,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._endpoints, self._settings, self._clock_ns = endpoints, settings, clock_ns
        self._instruments = {instrument.instrument_id: instrument for instrument in instruments}
        self._assets = rules.AssetTable(())
        self._questions: Questions | None = None
        self._feed: Feed | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = client_preflight.ClockReading(0, 0)
        self._on_market: OnMarket = lambda event: None
        self._books: dict[str, BookWatch] = {}  # by coin, as the others
        self._trades: dict[str, TradeTeller] = {}
        self._bars: dict[str, BarTeller] = {}
        self._intervals: dict[str, str] = {}
        self._marks_ns: dict[str, int] = {}  # when last heard
        self._asked_s: dict[str, float] = {}  # monotonic time bars were asked for
        self._woken = asyncio.Event()
        self.unreadable = 0  # frames and values we could not read

    async def open(self, subscriptions: Sequence[Subscription], on_market: OnMarket) -> None:
        """Connect and begin to tell. Raises ValueError for what the venue does not list, VenueUnavailableError."""
        for wanted in subscriptions:
            if wanted.instrument_id not in self._instruments:
                raise ValueError(f"{wanted.instrument_id} is not among this client's instruments: name it there")
            if wanted.bar_interval_ns and wanted.bar_interval_ns not in _INTERVALS:
                raise ValueError(
                    f"{wanted.instrument_id}: bars of {wanted.bar_interval_ns / NS_PER_S:g} s are not made at this "
                    f"venue, only of {', '.join(_INTERVALS.values())}"
                )
        try:
            await self._open(subscriptions, on_market)
        except BaseException:
            await self.close()
            raise

    async def _open(self, subscriptions: Sequence[Subscription], on_market: OnMarket) -> None:
        self._on_market = on_market
        questions = self._questions = Questions(self._endpoints.http, self._settings.call_s)
        await self._read_assets(questions)
        self._clock = await client_preflight.read_clock(questions, self._clock_ns)
        topics = [topic for wanted in subscriptions for topic in self._begin(wanted)]
        if topics:
            self._feed = Feed(self._endpoints.ws, topics, self._settings, self._on_frame, self._on_change)
            self._feed.start()
            if not await self._feed.wait_ready(self._settings.connect_s + self._settings.call_s):
                raise VenueUnavailableError(f"hyperliquid: no subscription came into force at {self._endpoints.ws}")
        self._tasks = [asyncio.create_task(self._run_bars()), asyncio.create_task(self._run_clock())]

    async def _read_assets(self, questions: Questions) -> None:
        meta: info_replies.Meta = await questions.ask(ask.GetMeta())
        try:
            self._assets = client_wire.find_assets(self._instruments.values(), meta)
        except PreflightError as error:
            raise ValueError(str(error)) from error

    def _begin(self, wanted: Subscription) -> list[subs.Subscription]:
        coin, now_ms = self._assets.get(wanted.instrument_id).coin, self._venue_now_ms()
        topics: list[subs.Subscription] = []
        if wanted.has_book:
            self._books[coin] = BookWatch(int(self._settings.stale_s * 1000))
            topics += [subs.SubL2Book(coin, fast=True), subs.SubBbo(coin)]
        if wanted.has_trades:
            self._trades[coin] = TradeTeller(wanted.instrument_id, now_ms)
            topics.append(subs.SubTrades(coin))
        if wanted.has_marks:
            self._marks_ns[coin] = self._clock_ns()
            topics.append(subs.SubActiveAssetCtx(coin))
        if wanted.bar_interval_ns:
            self._bars[coin] = BarTeller(wanted.instrument_id, wanted.bar_interval_ns, now_ms)
            self._intervals[coin] = _INTERVALS[wanted.bar_interval_ns]
            topics.append(subs.SubCandle(coin, self._intervals[coin]))
        return topics

    async def close(self) -> None:
        """Let go of everything. Safe to repeat."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        feed, self._feed = self._feed, None
        questions, self._questions = self._questions, None
        if feed is not None:
            await feed.stop()
        if questions is not None:
            await questions.close()

    def take_book(self, instrument_id: str, ts_now_ns: int) -> BookView | LostReason:
        """Return the newest book, or why there is none to trust."""
        watch = self._books.get(self._assets.get(instrument_id).coin)
        if watch is None:
            raise ValueError(f"book of {instrument_id} was not subscribed")
        if self._feed is None or not self._feed.is_ready:
            return LostReason.DISCONNECTED
        return watch.take(ts_now_ns // NS_PER_MS + self._clock.offset_ms)

    async def fetch_bars(self, instrument_id: str, interval_ns: int, count: int) -> tuple[Bar, ...]:
        """Return the last closed bars, oldest first, at most `count` (and the venue's 5000)."""
        if interval_ns not in _INTERVALS:
            raise ValueError(f"bars of {interval_ns} ns are not made at this venue")
        if instrument_id not in self._instruments:
            raise ValueError(f"{instrument_id} is not among this client's instruments: name it there")
        count, now_ms, interval_ms = min(count, _BARS_MAX), self._venue_now_ms(), interval_ns // NS_PER_MS
        from_ms = max(0, (now_ms // interval_ms - count) * interval_ms)
        rows = await self._fetch_candles(self._instruments[instrument_id].base, _INTERVALS[interval_ns], from_ms)
        closed = sorted((row for row in rows if is_closed(row, now_ms)), key=lambda row: row.t)
        return tuple(make_bar(row) for row in closed[-count:]) if count > 0 else ()

    async def _fetch_candles(self, coin: str, interval: str, from_ms: int) -> Sequence[info_replies.Candle]:
        if self._questions is None:
            raise VenueUnavailableError("hyperliquid: the market data are not open: await open() first")
        wanted = ask.CandleRange(coin, interval, from_ms, self._venue_now_ms())
        rows: Sequence[info_replies.Candle] | None = await self._questions.ask(ask.GetCandles(wanted))
        return rows or ()

    def check_health(self, ts_now_ns: int) -> tuple[str, ...]:
        """Return what is wrong with the data now, one line each."""
        if self._questions is None:
            return ("hyperliquid: the market data are not open",)
        lines = []
        if self._feed is not None and not self._feed.is_ready:
            lines.append("hyperliquid: the socket is not connected")
        else:
            now_ms = ts_now_ns // NS_PER_MS + self._clock.offset_ms
            losses = {coin: watch.find_loss(now_ms) for coin, watch in self._books.items()}
            lines += [f"hyperliquid: book of {coin} is {loss}" for coin, loss in losses.items() if loss is not None]
        for coin, heard_ns in self._marks_ns.items():
            age_s = (ts_now_ns - heard_ns) / NS_PER_S
            if age_s > self._settings.stale_s:
                lines.append(f"hyperliquid: mark of {coin} is {age_s:.1f} s old")
        if self._clock.skew_s > self._settings.skew_s_max:
            lines.append(f"hyperliquid: the venue's clock is {self._clock.offset_ms / 1000.0:+.1f} s from ours")
        late = [coin for coin, bars in self._bars.items() if self._count_late_s(bars, ts_now_ns) > 0.0]
        lines += [f"hyperliquid: a bar of {coin} is overdue" for coin in late]
        lines += ["hyperliquid: a task has ended: open a new client" for task in self._tasks if task.done()]
        return tuple(lines)

    def _count_late_s(self, bars: BarTeller, ts_now_ns: int) -> float:
        due_ms = bars.ts_due_ms + int((self._settings.call_s + self._settings.stale_s) * 1000)
        return (ts_now_ns // NS_PER_MS + self._clock.offset_ms - due_ms) / 1000.0

    # What comes by itself.

    def _venue_now_ms(self) -> int:
        return self._clock_ns() // NS_PER_MS + self._clock.offset_ms

    def _on_change(self, is_up: bool) -> None:
        if not is_up:
            for watch in self._books.values():
                watch.restart()
        self._woken.set()

    def _on_frame(self, frame: frames.Frame | frames.UnknownFrame) -> None:
        ts_now_ns = self._clock_ns()
        match frame:
            case frames.L2BookFrame(book) if book.coin in self._books:
                self._books[book.coin].hear_book(book, ts_now_ns, self._venue_now_ms())
            case frames.BboFrame(bbo) if bbo.coin in self._books:
                self._books[bbo.coin].hear_bbo(bbo, self._venue_now_ms())
            case frames.TradesFrame(rows) if rows and rows[0].coin in self._trades:
                for event in self._trades[rows[0].coin].hear(rows):
                    self._on_market(event)
            case frames.ActiveAssetCtxFrame(data) if data.coin in self._marks_ns:
                self._marks_ns[data.coin] = ts_now_ns
                asset, ctx = self._assets.by_coin[data.coin], data.ctx
                marks = float(ctx.mark_px), float(ctx.oracle_px), float(ctx.funding)
                self._on_market(MarkSeen(asset.instrument.instrument_id, *marks, ts_now_ns))
            case frames.CandleFrame(candle) if candle.s in self._bars and candle.t > self._bars[candle.s].open_ms:
                self._woken.set()  # the next one has begun
            case frames.UnknownFrame():
                self.unreadable += 1

    async def _run_bars(self) -> None:
        while True:
            due_ms = min((bars.ts_due_ms for bars in self._bars.values()), default=self._venue_now_ms() + 60_000)
            wait_s = max(0.5, (due_ms + _GRACE_MS - self._venue_now_ms()) / 1000.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            self._woken.clear()
            for coin, bars in self._bars.items():
                is_due = self._venue_now_ms() >= bars.ts_due_ms + _GRACE_MS
                if is_due and time.monotonic() >= self._asked_s.get(coin, 0.0) + _ASK_EVERY_S:
                    self._asked_s[coin] = time.monotonic()
                    await self._tell_bars(coin, bars)

    async def _tell_bars(self, coin: str, bars: BarTeller) -> None:
        try:
            rows = await self._fetch_candles(coin, self._intervals[coin], bars.open_ms)
        except VenueUnavailableError as error:
            _LOG.warning("hyperliquid bars: %s", error)
            return
        for event in bars.hear(rows, self._venue_now_ms()):
            self._on_market(event)

    async def _run_clock(self) -> None:
        while self._questions is not None:
            await asyncio.sleep(_CLOCK_EVERY_S)
            with contextlib.suppress(VenueUnavailableError):
                self._clock = await client_preflight.read_clock(self._questions, self._clock_ns)
