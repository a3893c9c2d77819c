"""The simulated Indexer's WebSocket: connections as `IndexerConnection`s, fed by the store and by the market's blocks.

Every message goes through the `Outbox`, where the board strikes by channel; crossed books and unknown enum values are
made here. Does not model: several Indexer nodes, `tradingReward` and transfers.
"""

import asyncio
import contextlib
import re
import uuid
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web
from msgspec import UNSET

from market.records import NS_PER_S
from venues.dydx.indexer import CandlesReply, HeightReply, MarketsReply, TradesReply, show_time
from venues.dydx.indexer_records import BookUpdate, MarketUpdate, OraclePrice, ParentSubaccountRow
from venues.dydx.indexer_session import Close, FetchInitial, IndexerConnection, Instruction, SendPing, SendText
from venues.dydx.indexer_stream import (
    BLOCK_HEIGHT,
    CANDLES,
    MARKETS,
    ORDERBOOK,
    PARENT_SUBACCOUNTS,
    SUBACCOUNTS,
    TRADES,
    BlockHeightUpdate,
    MarketsUpdate,
    ParentSubaccountSnapshot,
    SubaccountSnapshot,
    SubaccountUpdate,
)
from venues.dydx.simulator_chain import AccountUpdate
from venues.dydx.simulator_orders import to_px
from venues.dydx.simulator_store import SNAPSHOT_STATUSES, Store, show_trade
from venues.simulator.driven_market import Block
from venues.simulator.shell import Outbox

_CHANNEL = re.compile(rb'"channel":"(v4_\w+)"')
_STATUS = re.compile(rb'"(status)":"[A-Z_]+"')
_BIDS = re.compile(rb'"bids":\[')
_BOOK_CONTENTS = re.compile(rb'"id":"([^"]+)".*?"contents":(.*)\}$', re.DOTALL)
_FUNDING_EVERY_NS = 10 * NS_PER_S


def _as_text(socket: web.WebSocketResponse) -> Callable[[bytes], Awaitable[None]]:
    async def send(payload: bytes) -> None:
        await socket.send_str(payload.decode())

    return send


class Stream:
    """Every WebSocket connection of one Indexer."""

    def __init__(self, store: Store, outbox: Outbox, settle: Callable[[], None]) -> None:
        """Stream what the caller publishes; `settle` brings the store to the present."""
        self.store, self.chain, self._outbox, self._settle = store, store.chain, outbox, settle
        self._connections: dict[str, tuple[IndexerConnection, web.WebSocketResponse]] = {}
        self._height = store.height
        self._last_books: dict[tuple[str, bytes], bytes] = {}  # connection, ticker -> the last contents
        self._held_books: dict[str, tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]] = {}
        self._ts_books_ns = self._ts_funding_ns = 0

    def now_ms(self) -> int:
        """Return the time of the rules."""
        return self.chain.world.now_ns() // 10**6

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection until it ends."""
        socket = web.WebSocketResponse(autoping=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        connection = IndexerConnection(str(uuid.uuid4()), lambda ticker: ticker in self.store.by_ticker)
        name = connection.connection_id

        async def close(code: int) -> None:
            if code == WSCloseCode.ABNORMAL_CLOSURE and request.transport is not None:
                request.transport.abort()
            else:
                await socket.close(code=code)

        self._outbox.open(name, _as_text(socket), close)
        self._connections[name] = (connection, socket)
        try:
            await self._perform(name, connection.open(self.now_ms()))
            async for message in socket:
                if message.type is WSMsgType.PING:
                    await socket.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    connection.note_pong()
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._settle()
                    await self._perform(name, connection.receive(message.data, self.now_ms()))
        finally:
            self._connections.pop(name, None)
            self._outbox.forget(name)
            self._last_books = {key: text for key, text in self._last_books.items() if key[0] != name}
        return socket

    async def run(self) -> None:
        """Flush batches and ping, until cancelled."""
        while True:
            for name, (connection, _) in [*self._connections.items()]:
                await self._perform(name, connection.advance(self.now_ms()))
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Close every connection as a deployment does."""
        for connection, socket in [*self._connections.values()]:
            for instruction in connection.restart():
                assert isinstance(instruction, Close), "a restart only closes"
                with contextlib.suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(1.0):
                        await socket.close(code=instruction.code, message=instruction.reason.encode())

    async def _perform(self, name: str, instructions: list[Instruction]) -> None:
        connection, socket = self._connections[name]
        for instruction in instructions:
            match instruction:
                case FetchInitial():
                    said = connection.subscribed(instruction, self._fetch(instruction))
                    for one in [*said, *self._overlap(connection, instruction)]:
                        assert isinstance(one, SendText), "an answer to a subscribe is text"
                        self._send(name, one.text)
                case SendPing():
                    await socket.ping()
                case SendText():
                    self._send(name, instruction.text)
                case Close():
                    self._outbox.close(name, instruction.code)

    def _send(self, name: str, text: bytes) -> None:
        found = _CHANNEL.search(text)
        channel = found[1].decode() if found else "control"
        fate = self.chain.board.decide_message("dydx", channel, self.chain.world.now_ns())
        if fate.is_value_unknown:
            text = _STATUS.sub(rb'"\1":"SOMETHING_NEW"', text)
        if fate.is_book_crossed and channel == ORDERBOOK and b'"subscribed"' not in text:
            text = _BIDS.sub(rb'"bids":[["999999999","1"],', text, count=1)
        if channel == ORDERBOOK and (book := _BOOK_CONTENTS.search(text)):
            key = (name, book[1])
            if fate.is_book_stale and key in self._last_books:
                text = text[: book.start(2)] + self._last_books[key] + b"}"
            elif b'"subscribed"' not in text:
                self._last_books[key] = book[2]
        self._outbox.push(name, channel, text, fate)

    def _overlap(self, connection: IndexerConnection, fetch: FetchInitial) -> list[Instruction]:
        # A switch sends what a snapshot has told once more, as if it were news.
        rows = self.chain.view().snapshot_overlap_rows
        if rows and fetch.channel == TRADES:
            trades = self.store.list_trades(self.store.by_ticker[fetch.id], rows)
            return connection.publish(TRADES, fetch.id, TradesReply(trades))
        if rows and fetch.channel == SUBACCOUNTS:
            fills = tuple(self.store.list_fills([fetch.id])[:rows])
            orders = tuple(self.store.list_orders([fetch.id])[:rows])
            return connection.publish(SUBACCOUNTS, fetch.id, SubaccountUpdate(orders=orders, fills=fills))
        return []

    # What there is to tell.

    def publish(self, channel: str, channel_id: str, contents: Any, number: int | None = None) -> None:
        """Tell every connection that wants it."""
        for name, (connection, _) in [*self._connections.items()]:
            for instruction in connection.publish(channel, channel_id, contents, number):
                assert isinstance(instruction, SendText), "an update is text"
                self._send(name, instruction.text)

    def on_block(self, block: Block) -> None:
        """Tell what a block of the market changed of books, tape, candles and oracle prices."""
        if not self._connections:
            self._held_books.clear()
            return
        by_instrument = self.chain.by_instrument
        for change in block.books:
            contract = by_instrument[change.instrument_id]
            held = self._held_books.setdefault(contract.units.ticker, ({}, {}))
            for side, levels in zip(held, (change.bids, change.asks), strict=True):
                side.update({to_px(px): contract.to_size(lots) for px, lots in levels})
        self._publish_books()
        for instrument_id in dict.fromkeys(trade.instrument_id for trade in block.trades):
            contract = by_instrument[instrument_id]
            rows = tuple(show_trade(one, contract) for one in block.trades if one.instrument_id == instrument_id)
            self.publish(TRADES, contract.units.ticker, TradesReply(rows))
            self._publish_candles(contract.units.ticker)
        if block.marks:
            oracle = {
                by_instrument[mark.instrument_id].units.ticker: OraclePrice(
                    to_px(mark.oracle_px),
                    show_time(mark.ts_event_ns),
                    str(self.store.height),
                    by_instrument[mark.instrument_id].units.clob_pair_id,
                )
                for mark in block.marks
            }
            self.publish(MARKETS, MARKETS, MarketsUpdate(oracle_prices=oracle))
            self._publish_funding()

    def _publish_books(self) -> None:
        # At once, or, with a switch, the changes of some time together.
        now_ns = self.chain.world.now_ns()
        if now_ns < self._ts_books_ns + self.chain.view().book_every_ns:
            return
        self._ts_books_ns = now_ns
        for ticker, (bids, asks) in self._held_books.items():
            self.publish(ORDERBOOK, ticker, BookUpdate(tuple(bids.items()), tuple(asks.items())))
        self._held_books.clear()

    def _publish_funding(self) -> None:
        now_ns = self.chain.world.now_ns()
        if now_ns < self._ts_funding_ns + _FUNDING_EVERY_NS:
            return
        self._ts_funding_ns = now_ns
        rates = {ticker: row.next_funding_rate for ticker, row in self.store.show_markets().items()}
        trading = {ticker: MarketUpdate(next_funding_rate=rate) for ticker, rate in rates.items()}
        self.publish(MARKETS, MARKETS, MarketsUpdate(trading=trading))

    def _publish_candles(self, ticker: str) -> None:
        wanted = {
            channel_id
            for connection, _ in self._connections.values()
            for channel, channel_id in connection.list_subscriptions()
            if channel == CANDLES and channel_id.startswith(f"{ticker}/")
        }
        for channel_id in sorted(wanted):
            rows = self.store.list_candles(self.store.by_ticker[ticker], channel_id.partition("/")[2], 1)
            for row in rows:
                self.publish(CANDLES, channel_id, row)

    def on_settled(self, updates: list[AccountUpdate]) -> None:
        """Tell what the store has let in: accounts, then the height."""
        for update in updates:
            if update.is_told:
                self._publish_account(update)
        for height, ts_ns in self.chain.block_times:
            if self._height < height <= self.store.height:
                self._height = height
                self.publish(BLOCK_HEIGHT, BLOCK_HEIGHT, BlockHeightUpdate(str(height), show_time(ts_ns)))

    def _publish_account(self, update: AccountUpdate) -> None:
        account_id = update.account_id
        address, _, number = account_id.partition("/")
        row = self.store.show_subaccount(account_id) if update.holding is not None else None
        orders = tuple(order for order in update.orders if not self.store.is_hidden(order))
        if not (orders or update.fills or row):
            return
        contents = SubaccountUpdate(
            perpetual_positions=tuple(row.open_perpetual_positions.values()) if row else UNSET,
            asset_positions=tuple(row.asset_positions.values()) if row else UNSET,
            orders=orders or UNSET,
            fills=update.fills or UNSET,
            block_height=str(update.height),
        )
        self.publish(SUBACCOUNTS, account_id, contents)
        self.publish(PARENT_SUBACCOUNTS, f"{address}/{int(number) % 128}", contents, int(number))

    def _fetch(self, fetch: FetchInitial) -> Any:
        store = self.store
        name, _, rest = fetch.id.partition("/")
        match fetch.channel:
            case "v4_orderbook":
                return store.show_book(store.by_ticker[fetch.id])
            case "v4_trades":
                return TradesReply(store.list_trades(store.by_ticker[fetch.id]))
            case "v4_markets":
                return MarketsReply(store.show_markets())
            case "v4_candles":
                return CandlesReply(store.list_candles(store.by_ticker[name], rest))
            case "v4_block_height":
                return HeightReply(str(store.height), show_time(store.time_ns))
            case "v4_subaccounts":
                row = store.show_subaccount(fetch.id)
                if row is None:
                    return {}
                return SubaccountSnapshot(row, self._list_open([fetch.id]), str(store.height))
        children_ids = store.list_children(name, int(rest))
        children = tuple(row for one in children_ids if (row := store.show_subaccount(one)) is not None)
        if not children:
            return {}
        equity = sum((row.equity for row in children), Decimal(0))
        free = sum((row.free_collateral for row in children), Decimal(0))
        parent = ParentSubaccountRow(name, int(rest), equity, free, children)
        return ParentSubaccountSnapshot(parent, self._list_open(children_ids), str(store.height))

    def _list_open(self, account_ids: list[str]) -> tuple[Any, ...]:
        return tuple(row for row in self.store.list_orders(account_ids) if row.status in SNAPSHOT_STATUSES)
