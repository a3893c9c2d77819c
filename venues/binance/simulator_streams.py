"""Which stream says what, when: the simulator's market streams as a machine. Blocks and times in, pushes out.

A stream lives while somebody is subscribed to it; the diff cursors of books live on, so that `pu` never jumps for one
who subscribes again. Pushes carry the venue's (perhaps skewed) clock, their cadence is the true time's.
Silent though the venue has them: forceOrder (no account trades here), contractInfo, composite and asset indices,
continuous candles of what is no perpetual. They are acknowledged like the wrong path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from market.records import NS_PER_MS
from venues.binance.book_publisher import DiffCursor
from venues.binance.intervals import INTERVALS_NS, MINUTE_NS, find_next_open_ns, find_open_ns
from venues.binance.messages import BookTicker, Data, DepthUpdate, MarkPrices
from venues.binance.simulator_symbol import SymbolFeed
from venues.binance.simulator_tickers import make_ticker_message
from venues.binance.streams import DEFAULT_SPEED_MS, Channel, Market, StreamName, parse_stream
from venues.binance.ticker_messages import DayTickers, MiniTickers, WindowTickers
from venues.simulator.driven_market import Block

_BOOK_CHANNELS = (Channel.DEPTH, Channel.PARTIAL_DEPTH, Channel.BOOK_TICKER)
_KLINE_CHANNELS = (Channel.KLINE, Channel.CONTINUOUS_KLINE)
_TICKER_CHANNELS = (Channel.TICKER, Channel.MINI_TICKER, Channel.AVERAGE_PX)
_SAID = (
    *_BOOK_CHANNELS, *_KLINE_CHANNELS, *_TICKER_CHANNELS, Channel.AGG_TRADE, Channel.TRADE, Channel.MARK_PRICE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Push:
    """One message of one stream."""

    stream: str
    channel: Channel
    data: Data


@dataclass(slots=True)
class _Stream:
    name: StreamName
    feeds: tuple[SymbolFeed, ...]  # one, or all
    every_ms: int  # 0: with every block
    cursor: DiffCursor | None = None
    listeners: int = 0
    tick: int = -1
    seen: int = 0  # trade or update id
    ts_open_ns: int = 0  # of the candle said last
    said: dict[str, Any] = field(default_factory=dict)  # by symbol, to say nothing twice


class StreamHub:
    """The streams of one of the venue's markets."""

    def __init__(self, kind: Market, feeds: Sequence[SymbolFeed]) -> None:
        self.kind = kind
        self.feeds: Mapping[str, SymbolFeed] = {feed.symbol: feed for feed in feeds}
        self._streams: dict[str, _Stream] = {}

    def open(self, text: str) -> None:
        """Count one more listener of a stream; one that brings nothing is ignored."""
        stream = self._streams.get(text)
        if stream is None:
            stream = self._make(text)
            if stream is None:
                return
            self._streams[text] = stream
        stream.listeners += 1
        if stream.listeners == 1:
            self._begin(stream)

    def close(self, text: str) -> None:
        """Count one listener less."""
        stream = self._streams.get(text)
        if stream is not None:
            stream.listeners -= 1
            if not stream.listeners and stream.cursor is None:
                del self._streams[text]

    def on_block(self, block: Block, ts_event_ms: int, book_every_ms: int = 0) -> list[Push]:
        """Take in a block; return what is said at once. `book_every_ms`: books no more often (a fault)."""
        for feed in self.feeds.values():
            feed.on_block(block)
        pushes: list[Push] = []
        for stream in self._streams.values():
            is_throttled = book_every_ms > 0 and stream.name.channel in _BOOK_CHANNELS
            if not stream.every_ms and not is_throttled:
                self._say(stream, block.ts_event_ns, ts_event_ms, pushes)
        return pushes

    def on_time(self, ts_now_ns: int, ts_event_ms: int, book_every_ms: int = 0) -> list[Push]:
        """Return what is due by now."""
        pushes: list[Push] = []
        for stream in self._streams.values():
            is_book = stream.name.channel in _BOOK_CHANNELS
            every_ms = max(stream.every_ms, book_every_ms if is_book else 0)
            if every_ms:
                tick = ts_now_ns // NS_PER_MS // every_ms
                if tick != stream.tick:
                    stream.tick = tick
                    self._say(stream, ts_now_ns, ts_event_ms, pushes)
        return pushes

    def cross(self, data: Data) -> Data:
        """Return a book message made impossible: a bid at the best ask (a fault)."""
        if isinstance(data, BookTicker):
            return msgspec.structs.replace(data, bid_px=data.ask_px, ask_px=data.bid_px)
        if isinstance(data, DepthUpdate):
            ticker = self.feeds[data.symbol].publisher.make_ticker(data.ts_event_ms)
            if ticker is not None:
                return msgspec.structs.replace(data, bids=(*data.bids, (ticker.ask_px, ticker.ask_qty)))
        return data

    def _make(self, text: str) -> _Stream | None:
        name = parse_stream(self.kind, text)
        if name is None or name.channel not in _SAID:
            return None
        feed = self.feeds.get(name.symbol.upper())
        feeds = (feed,) if feed is not None else tuple(self.feeds.values()) if not name.symbol else ()
        if not feeds or (name.channel in _KLINE_CHANNELS and name.interval not in INTERVALS_NS):
            return None
        if name.channel is Channel.CONTINUOUS_KLINE and name.kind != "PERPETUAL":
            return None
        every_ms = name.speed_ms if name.speed_ms >= 0 else DEFAULT_SPEED_MS.get((self.kind, name.channel), 0)
        cursor = feeds[0].publisher.open_cursor() if name.channel is Channel.DEPTH else None
        return _Stream(name, feeds, every_ms, cursor)

    def _begin(self, stream: _Stream) -> None:
        feed = stream.feeds[0]
        stream.said.clear()
        if stream.name.channel is Channel.TRADE:
            stream.seen = feed.last_trade_id
        elif stream.name.channel is Channel.AGG_TRADE:
            stream.seen = feed.last_agg_id
        elif stream.name.channel in _KLINE_CHANNELS:
            stream.ts_open_ns = find_open_ns(stream.name.interval, feed.market.ts_now_ns)

    def _say(self, stream: _Stream, ts_now_ns: int, ts_event_ms: int, pushes: list[Push]) -> None:
        for data in self._compose(stream, ts_now_ns, ts_event_ms):
            pushes.append(Push(stream.name.text, stream.name.channel, data))

    def _compose(self, stream: _Stream, ts_now_ns: int, ts_event_ms: int) -> Sequence[Data]:
        feed = stream.feeds[0]
        if stream.cursor is not None:
            update = stream.cursor.take(ts_event_ms)
            return [update] if update is not None and stream.listeners else []
        match stream.name.channel:
            case Channel.AGG_TRADE:
                seen, stream.seen = stream.seen, feed.last_agg_id
                return feed.list_agg_trades_after(seen, ts_event_ms) if seen < stream.seen else []
            case Channel.TRADE:
                seen, stream.seen = stream.seen, feed.last_trade_id
                return feed.list_trades_after(seen, ts_event_ms) if seen < stream.seen else []
            case Channel.PARTIAL_DEPTH:
                return self._compose_partial(stream, feed, ts_event_ms)
            case Channel.BOOK_TICKER:
                return self._compose_tickers(stream, ts_event_ms)
            case Channel.MARK_PRICE:
                marks = tuple(feed.make_mark_price(ts_event_ms) for feed in stream.feeds)
                return [MarkPrices(marks)] if stream.name.is_array else marks
            case Channel.TICKER | Channel.MINI_TICKER | Channel.AVERAGE_PX:
                return self._compose_day_tickers(stream, ts_now_ns, ts_event_ms)
            case _:
                return self._compose_klines(stream, feed, ts_now_ns, ts_event_ms)

    def _compose_partial(self, stream: _Stream, feed: SymbolFeed, ts_event_ms: int) -> Sequence[Data]:
        last_id, before_id = feed.publisher.last_id, stream.seen
        if last_id == before_id:
            return []
        stream.seen = last_id
        book = feed.publisher.make_snapshot(stream.name.levels, ts_event_ms)
        if not feed.is_futures:
            return [book]
        previous_id = before_id or last_id
        update = DepthUpdate(
            ts_event_ms, feed.symbol, last_id, last_id, book.bids, book.asks, ts_event_ms, previous_id, feed.symbol, 1
        )
        return [update]

    def _compose_tickers(self, stream: _Stream, ts_event_ms: int) -> Sequence[Data]:
        tickers: list[Data] = []
        for feed in stream.feeds:
            book_key = feed.symbol + " book"
            if stream.said.get(book_key) == feed.publisher.last_id:
                continue
            stream.said[book_key] = feed.publisher.last_id
            ticker = feed.publisher.make_ticker(ts_event_ms)
            if ticker is None:
                continue
            best = (ticker.bid_px, ticker.bid_qty, ticker.ask_px, ticker.ask_qty)
            if stream.said.get(feed.symbol) != best:
                stream.said[feed.symbol] = best
                tickers.append(ticker)
        return tickers

    def _compose_klines(self, stream: _Stream, feed: SymbolFeed, ts_now_ns: int, ts_event_ms: int) -> Sequence[Data]:
        interval = stream.name.interval
        ts_open_ns = find_open_ns(interval, ts_now_ns)
        said: list[Data] = []
        while stream.ts_open_ns < ts_open_ns:
            said += self._make_kline(stream, feed, stream.ts_open_ns, True, ts_event_ms)
            stream.ts_open_ns = find_next_open_ns(interval, stream.ts_open_ns)
        key = (ts_open_ns, feed.last_trade_id)
        if stream.said.get(feed.symbol) == key:
            return said
        stream.said[feed.symbol] = key
        return [*said, *self._make_kline(stream, feed, ts_open_ns, False, ts_event_ms)]

    def _make_kline(
        self, stream: _Stream, feed: SymbolFeed, ts_open_ns: int, is_closed: bool, ts_event_ms: int
    ) -> Sequence[Data]:
        kline = feed.make_kline(stream.name.interval, ts_open_ns, is_closed, ts_event_ms)
        if kline is None:
            return []
        is_continuous = stream.name.channel is Channel.CONTINUOUS_KLINE
        return [feed.make_continuous(stream.name.kind, kline) if is_continuous else kline]

    def _compose_day_tickers(self, stream: _Stream, ts_now_ns: int, ts_event_ms: int) -> Sequence[Data]:
        # Those in which something changed: a trade came, or a minute went out of the window.
        kind, tickers = stream.name.kind, []
        for feed in stream.feeds:
            key = (feed.last_trade_id, ts_now_ns // MINUTE_NS)
            if stream.said.get(feed.symbol) != key:
                stream.said[feed.symbol] = key
                tickers.append(make_ticker_message(feed, kind, ts_event_ms))
        if not stream.name.is_array or not tickers:
            return tickers
        batch = MiniTickers if kind == "miniTicker" else DayTickers if kind == "ticker" else WindowTickers
        return [batch(tuple(tickers))]  # type: ignore[arg-type]
