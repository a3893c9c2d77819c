"""All that is followed of one instrument: its machines, what they ask of REST and sockets, what is told of it.

A shell around `BookSyncMachine`, `TradeFeed`, `KlineFeed`, `Settlements` and `BarJoiner`: it hands events in and
performs what comes out. Every REST question runs as a task of the client, one at a time per machine.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from market.book import Continuity
from market.instruments import Instrument
from market.joins import AGE_NS_MAX
from market.records import NS_PER_MS, NS_PER_S, Bar
from venues.binance.bar_joins import BarJoiner, Settlements
from venues.binance.book_sync import (
    BookLost,
    BookReady,
    BookSyncMachine,
    ClockMeasured,
    DiffReceived,
    Disconnected,
    FetchSnapshot,
    Reconnect,
    Resubscribe,
    SnapshotFailed,
    SnapshotReceived,
    StreamOpened,
    SyncEvent,
    SyncSettings,
    TickerReceived,
    TimePassed,
)
from venues.binance.history import History
from venues.binance.kline_feed import INTERVAL_WORDS, FetchKlines, KlineFeed, KlineSettings, read_bar
from venues.binance.messages import AggTrade, BookTicker, Data, DepthUpdate, Kline, MarkPrice
from venues.binance.numbers import parse_px, parse_qty
from venues.binance.rest_client import RestClient, RestUnavailableError
from venues.binance.streams import Channel
from venues.binance.trade_feed import FetchTrades, TapeSettings, TapeTrade, TradeFeed, read_trade
from venues.book_feed import BookView, DataAge, LostReason
from venues.port import BarSeen, MarkSeen, OnMarket, Subscription, TradePrinted

DEPTH_ROWS = 1000
KLINE_ROWS = 99  # the most that weigh one
REORDER_MS = 5000  # marks so much older than the newest are late; older still: the venue's clock was set
GIVE_UP_NS = 120 * NS_PER_S  # a settlement that REST does not show by then is expected no longer


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """How patient the machines of an instrument are."""

    book: SyncSettings
    tape: TapeSettings
    kline: KlineSettings
    stale_ns: int
    funding_patience_ns: int = 15 * NS_PER_S


@dataclass(frozen=True, slots=True)
class FeedTools:
    """What an instrument's feed acts through."""

    rest: RestClient
    history: History
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    resubscribe: Callable[[str], None]
    reconnect: Callable[[str, str], None]  # stream, reason
    ts_alive_ns: Callable[[str], int]  # of the connection that carries a stream
    tell: OnMarket
    clock_ns: Callable[[], int]


class InstrumentFeed:
    """One instrument."""

    def __init__(
        self, instrument: Instrument, subscription: Subscription, settings: FeedSettings, tools: FeedTools
    ) -> None:
        self.instrument, self.subscription, self._tools, self._settings = instrument, subscription, tools, settings
        self.instrument_id = instrument.instrument_id
        self.symbol = instrument.base + instrument.quote
        name, interval_ns = self.symbol.lower(), subscription.bar_interval_ns
        word = INTERVAL_WORDS.get(interval_ns, "")
        self._depth, self._ticker = f"{name}@depth@100ms", f"{name}@bookTicker"
        self._agg_trade, self._mark, self._kline = f"{name}@aggTrade", f"{name}@markPrice@1s", f"{name}@kline_{word}"
        self.book = BookSyncMachine(Continuity.FUTURES, settings.book) if subscription.has_book else None
        has_tape = subscription.has_trades or (interval_ns > 0 and not word)
        self.tape = TradeFeed(0 if word else interval_ns, settings.tape) if has_tape else None
        self.klines = KlineFeed(interval_ns, settings.kline) if word else None
        self.settlements = Settlements()
        self.joiner = BarJoiner(interval_ns, self.settlements, settings.funding_patience_ns) if interval_ns else None
        self._has_market = has_tape or subscription.has_marks or interval_ns > 0
        self._view: BookView | None = None
        self._lost: BookLost = BookLost(LostReason.DISCONNECTED, "not synchronised yet")
        self._age = DataAge()
        self._mark_ms = 0
        self._offset_ns = 0
        self.lost_reasons: list[LostReason] = []

    def list_streams(self) -> dict[str, Channel]:
        """Return the streams to subscribe to. The mark price is the heartbeat of its connection."""
        streams: dict[str, Channel] = {}
        if self.book is not None:
            streams |= {self._depth: Channel.DEPTH, self._ticker: Channel.BOOK_TICKER}
        if self._has_market:
            streams[self._mark] = Channel.MARK_PRICE
        if self.tape is not None:
            streams[self._agg_trade] = Channel.AGG_TRADE
        if self.klines is not None:
            streams[self._kline] = Channel.KLINE
        return streams

    # What comes in.

    def on_data(self, stream: str, data: Data) -> None:
        """Take in one message. Raises MalformedMessageError for numbers that are none."""
        ts_now_ns = self._tools.clock_ns()
        match data:
            case DepthUpdate():
                self._on_book(DiffReceived(data.to_diff(ts_now_ns)), ts_now_ns)
            case BookTicker():
                bid, ask = (
                    (parse_px(data.bid_px), parse_qty(data.bid_qty)),
                    (
                        parse_px(data.ask_px),
                        parse_qty(data.ask_qty),
                    ),
                )
                self._on_book(TickerReceived(data.update_id, bid, ask), ts_now_ns)
            case AggTrade() if self.tape is not None:
                self._perform(self.tape.on_trade(read_trade(data), ts_now_ns), ts_now_ns)
            case MarkPrice():
                self._on_mark(data, ts_now_ns)
            case Kline() if self.klines is not None and data.bar.is_closed:
                self._perform(self.klines.on_final(read_bar(data.bar), self.behind_ns(ts_now_ns)), ts_now_ns)

    def on_subscribed(self, stream: str) -> None:
        """A stream was acknowledged."""
        ts_now_ns = self._tools.clock_ns()
        if stream == self._depth:
            self._on_book(StreamOpened(), ts_now_ns)
        elif stream == self._agg_trade and self.tape is not None:
            self._perform(self.tape.on_subscribed(ts_now_ns), ts_now_ns)
        elif stream == self._kline and self.klines is not None:
            self.klines.begin(self.behind_ns(ts_now_ns))

    def on_replaced(self) -> None:
        """The streams go on, from another connection: what fell between is asked for."""
        ts_now_ns = self._tools.clock_ns()
        if self.tape is not None:
            self._perform(self.tape.on_subscribed(ts_now_ns), ts_now_ns)

    def on_lost(self, is_book: bool) -> None:
        """The connection that carries the book, or the other one, is gone."""
        if is_book:
            self._on_book(Disconnected(), self._tools.clock_ns())
            return
        self._age.restart()
        if self.tape is not None:
            self.tape.on_lost()

    def on_clock(self, offset_ns: int) -> None:
        """Take in local clock minus venue clock."""
        self._offset_ns = offset_ns
        self._age.set_clock_offset(offset_ns)
        self._on_book(ClockMeasured(offset_ns), self._tools.clock_ns())
        if self.tape is not None:
            self.tape.on_clock(offset_ns)

    def on_time(self) -> None:
        """Do what is due."""
        ts_now_ns = self._tools.clock_ns()
        self._on_book(TimePassed(), ts_now_ns)
        if self.tape is not None:
            self._perform(self.tape.on_time(self._tools.ts_alive_ns(self._agg_trade), ts_now_ns), ts_now_ns)
        if self.klines is not None:
            self._perform(self.klines.on_time(self.behind_ns(ts_now_ns)), ts_now_ns)
        self._tell_bars(ts_now_ns)

    def behind_ns(self, ts_now_ns: int) -> int:
        """Return what the clock that is behind shows, ours or the venue's: what is over there is over."""
        return ts_now_ns - max(0, self._offset_ns)

    # What is asked of it.

    def take_book(self, ts_now_ns: int) -> BookView | LostReason:
        """Return the newest book, or why there is none."""
        if self.book is None:
            raise ValueError(f"{self.instrument_id}: its book was not subscribed to (Subscription.has_book)")
        self._on_book(TimePassed(), ts_now_ns)
        if not self.book.is_ready:
            self._view = None
            return self._lost.reason
        self._view = self.book.take_view(DEPTH_ROWS) or self._view
        assert self._view is not None, "a ready book has a first view"
        return self._view

    def list_faults(self, ts_now_ns: int) -> list[str]:
        """Return what is wrong, one line each."""
        lines: list[str] = []
        if self.book is not None and not self.book.is_ready:
            lines.append(f"{self.instrument_id} book: {self._lost.reason.value}: {self._lost.detail}")
        age_ns = self._age.compute_ns(ts_now_ns)
        if self._has_market and age_ns >= self._settings.stale_ns:
            lines.append(f"{self.instrument_id} mark price: {age_ns / NS_PER_S:.1f} s old")
        if self.tape is not None and self.tape.is_stuck:
            lines.append(f"{self.instrument_id} trades: some are lacking, asking for them")
        if self.klines is not None and self.klines.is_overdue(self.behind_ns(ts_now_ns)):
            lines.append(f"{self.instrument_id} bars: the one that closed last has not come")
        if self.joiner is not None and not self.settlements.is_known:
            lines.append(f"{self.instrument_id} funding: not known yet")
        return lines

    # Questions that the client asks on its own clock.

    async def poll_interest(self) -> None:
        """Ask for open interest. Raises RestUnavailableError."""
        if self.joiner is not None:
            reply = await self._tools.rest.ask("openInterest", symbol=self.symbol)
            self.joiner.add_interest(self.behind_ns(self._tools.clock_ns()), parse_qty(reply.open_interest))

    async def poll_funding(self) -> None:
        """Ask for settlements, if any is lacking. Raises RestUnavailableError."""
        ts_now_ns = self._tools.clock_ns()
        ts_due_ns = self.settlements.find_lacking(ts_now_ns)
        if self.joiner is None or (self.settlements.is_known and ts_due_ns < 0):
            return
        if 0 <= ts_due_ns < ts_now_ns - GIVE_UP_NS:
            self.settlements.give_up(ts_due_ns)
            return
        self.settlements.add(await self._tools.history.fetch_fundings(self.symbol, ts_now_ns - AGE_NS_MAX))

    # The work.

    def _on_book(self, event: SyncEvent, ts_now_ns: int) -> None:
        if self.book is None:
            return
        for step in self.book.handle(event, ts_now_ns):
            match step:
                case FetchSnapshot():
                    self._tools.spawn(self._fetch_snapshot(step))
                case Resubscribe(detail):
                    self._lost = BookLost(self._lost.reason, detail)
                    self._tools.resubscribe(self._depth)
                case Reconnect(detail):
                    self._lost = BookLost(self._lost.reason, detail)
                    self._tools.reconnect(self._depth, detail)
                case BookLost():
                    self._lost = step
                    self.lost_reasons = [*self.lost_reasons[-99:], step.reason]
                case BookReady():
                    self._view = None

    async def _fetch_snapshot(self, request: FetchSnapshot) -> None:
        await asyncio.sleep(request.after_ns / NS_PER_S)
        event: SyncEvent
        try:
            reply = await self._tools.rest.ask("depth", symbol=self.symbol, limit=DEPTH_ROWS)
            event = SnapshotReceived(request.request_id, reply.to_snapshot(self._tools.clock_ns()))
        except RestUnavailableError as error:
            self._lost = BookLost(self._lost.reason, f"{self._lost.detail}; {error}"[:300])
            event = SnapshotFailed(request.request_id, error.retry_after_ns)
        except ValueError:
            event = SnapshotFailed(request.request_id)
        self._on_book(event, self._tools.clock_ns())

    def _on_mark(self, mark: MarkPrice, ts_now_ns: int) -> None:
        self._age.note(mark.ts_event_ms * NS_PER_MS, ts_now_ns)
        self.settlements.expect(mark.ts_funding_next_ms * NS_PER_MS)
        if 0 <= self._mark_ms - mark.ts_event_ms < REORDER_MS:
            return  # repeated, or overtaken
        self._mark_ms = mark.ts_event_ms
        if self.subscription.has_marks:
            index_px = parse_px(mark.index_px) if mark.index_px else math.nan
            rate = float(mark.funding_rate) if mark.has_funding else math.nan
            ts_event_ns = mark.ts_event_ms * NS_PER_MS
            self._tools.tell(MarkSeen(self.instrument_id, parse_px(mark.mark_px), index_px, rate, ts_event_ns))

    def _perform(self, steps: list[Any], ts_now_ns: int) -> None:
        for step in steps:
            match step:
                case TapeTrade(trade_id, ts_ns, px, qty_base, side):
                    if self.subscription.has_trades:
                        self._tools.tell(TradePrinted(self.instrument_id, str(trade_id), side, px, qty_base, ts_ns))
                case Bar():
                    assert self.joiner is not None
                    self.joiner.push(step, ts_now_ns)
                case FetchTrades():
                    self._tools.spawn(self._fetch_trades(step))
                case FetchKlines():
                    self._tools.spawn(self._fetch_klines(step))
        self._tell_bars(ts_now_ns)

    def _tell_bars(self, ts_now_ns: int) -> None:
        if self.joiner is not None:
            for bar in self.joiner.take(ts_now_ns):
                self._tools.tell(BarSeen(self.instrument_id, self.subscription.bar_interval_ns, bar))

    async def _fetch_trades(self, request: FetchTrades) -> None:
        assert self.tape is not None
        await asyncio.sleep(request.after_ns / NS_PER_S)
        try:
            rows = await self._tools.history.fetch_trades(self.symbol, request.from_id)
        except (RestUnavailableError, ValueError) as error:
            ts_now_ns = self._tools.clock_ns()
            steps = self.tape.on_failed(request.request_id, getattr(error, "retry_after_ns", 0), ts_now_ns)
        else:
            ts_now_ns = self._tools.clock_ns()
            steps = self.tape.on_rows(request.request_id, rows, ts_now_ns)
        self._perform(steps, ts_now_ns)

    async def _fetch_klines(self, request: FetchKlines) -> None:
        assert self.klines is not None
        await asyncio.sleep(request.after_ns / NS_PER_S)
        interval_ns = self.subscription.bar_interval_ns
        try:
            rows = await self._tools.history.fetch_klines(self.symbol, interval_ns, request.ts_open_ns, KLINE_ROWS)
        except (RestUnavailableError, ValueError) as error:
            behind_ns = self.behind_ns(self._tools.clock_ns())
            steps = self.klines.on_failed(request.request_id, getattr(error, "retry_after_ns", 0), behind_ns)
        else:
            behind_ns = self.behind_ns(self._tools.clock_ns())
            steps = self.klines.on_rows(request.request_id, rows, behind_ns)
        self._perform(steps, self._tools.clock_ns())
