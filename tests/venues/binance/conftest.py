"""A Binance on loopback, its clock in the test's hands, and a client that follows a book as a feed would."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp

from market.book import Continuity
from market.fills import Costs
from market.generator import generate_market
from market.records import NS_PER_MS, NS_PER_S
from venues.binance.book_sync import (
    BookLost,
    BookSyncMachine,
    DiffReceived,
    FetchSnapshot,
    Resubscribe,
    SnapshotFailed,
    SnapshotReceived,
    StreamOpened,
    SyncEvent,
    SyncInstruction,
    SyncSettings,
    TickerReceived,
    TimePassed,
)
from venues.binance.messages import BookTicker, DepthUpdate, decode_message
from venues.binance.numbers import parse_px, parse_qty
from venues.binance.rest import RestRefusal, decode_reply, make_request
from venues.binance.simulator import BinanceSimulator
from venues.binance.streams import Market
from venues.book_feed import DataAge
from venues.simulator.delivery import DeliverySettings
from venues.simulator.driven_market import BookView, DrivenMarket, MarketSettings
from venues.simulator.faults import FaultBoard

BTC_ID = "BTC-PERP.BINANCE"
DEADLINE_S = 60.0
PATIENT = SyncSettings(
    request_timeout_ns=900 * NS_PER_S,
    first_message_ns=900 * NS_PER_S,
    stale_ns=900 * NS_PER_S,
    frozen_ns=900 * NS_PER_S,
)  # a machine that stalls for seconds makes nothing stale


class Clock:
    """Time since a bar's open, `speed` times as fast as the wall's, and pushed on at will."""

    def __init__(self, ts_start_ns: int, speed: float) -> None:
        self._ts_ns, self._speed, self._began_ns = ts_start_ns, speed, time.monotonic_ns()

    def __call__(self) -> int:
        return self._ts_ns + int((time.monotonic_ns() - self._began_ns) * self._speed)

    def skip(self, ns: int) -> None:
        self._ts_ns += ns

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let no time pass: what is asked for in several requests is of one moment."""
        speed, self._ts_ns = self._speed, self()
        self._speed, self._began_ns = 0.0, time.monotonic_ns()
        try:
            yield
        finally:
            self._speed, self._began_ns = speed, time.monotonic_ns()


class Venue:
    """A running simulator and what a test needs of it."""

    def __init__(self, simulator: BinanceSimulator, clock: Clock, addresses: dict[str, str]) -> None:
        self.simulator, self.clock, self.addresses = simulator, clock, addresses
        self.board, self.market = simulator.board, simulator.market
        self.http = aiohttp.ClientSession()
        self.books: dict[Market, dict[int, BookView]] = {kind: {} for kind in Market}
        self.marks: set[tuple[float, float]] = set()
        simulator.world.listen(self._keep_books)

    def _keep_books(self, block: Any) -> None:
        self.marks |= {(mark.mark_px, mark.oracle_px) for mark in block.marks}
        # Only where the market has not gone on: blocks that come late are told one after another.
        book = self.market.get_book(BTC_ID)
        if any(change.last_id == book.last_id for change in block.books):
            for kind, books in self.books.items():
                books[self.simulator.hubs[kind].feeds["BTCUSDT"].publisher.last_id] = book

    async def ask(self, kind: Market, name: str, **values: str | int) -> Any:
        request = make_request(kind, name, **values)
        async with self.http.get(self.addresses["http"] + request.target) as reply:
            return decode_reply(request.endpoint, reply.status, await reply.read(), reply.headers.get("Retry-After"))

    def connect(self, path: str, address: str = "ws") -> Any:
        return self.http.ws_connect(self.addresses[address] + path, autoping=True)


@contextlib.asynccontextmanager
async def run_venue(
    speed: float = 1.0, block_ms: int = 70, bar_s: int = 60, start_bar: int = 50, **fields: Any
) -> AsyncIterator[Venue]:
    """Serve a generated market from its fiftieth bar on."""
    made = generate_market(4, [BTC_ID], start_bar + 350, interval_ns=bar_s * NS_PER_S)
    start_ns = int(made.bars[0]["ts_open_ns"][start_bar])
    settings = MarketSettings(block_ns=block_ms * NS_PER_MS, ts_start_ns=start_ns, mark_every_ns=NS_PER_S)
    market = DrivenMarket(made.instruments, Costs(5.0, 2.0, 0.0), {BTC_ID: made.bars[0]}, settings, seed=1)
    clock = Clock(start_ns + NS_PER_S, speed)
    delivery = DeliverySettings(latency_median_ns=NS_PER_MS)
    simulator = BinanceSimulator(market, FaultBoard(), (), clock, delivery, **fields)
    venue = Venue(simulator, clock, await simulator.start())
    try:
        yield venue
    finally:
        await venue.http.close()
        await simulator.stop()


async def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, not longer than the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in {DEADLINE_S} s: {what}"
        await asyncio.sleep(0.005)


class BookFollower:
    """A feed over a real socket: `BookSyncMachine` decides, this performs."""

    def __init__(self, venue: Venue, kind: Market = Market.USDM, settings: SyncSettings | None = None) -> None:
        self.venue, self.kind = venue, kind
        self.machine = BookSyncMachine(
            Continuity.FUTURES if kind is Market.USDM else Continuity.SPOT, settings or PATIENT
        )
        self.lost: list[BookLost] = []
        self.done: list[SyncInstruction] = []
        self.compared = 0
        self.age = DataAge()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "BookFollower":
        names = "btcusdt@depth@100ms/btcusdt@bookTicker"
        path, address = ("/public/stream", "ws") if self.kind is Market.USDM else ("/stream", "spot_ws")
        self._wire = await self.venue.connect(f"{path}?streams={names}", address)
        self.perform(StreamOpened())
        self._start(self._read())
        self._start(self._tick())
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._wire.close()
        for task in [*self._tasks]:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def _start(self, work: Any) -> None:
        self._tasks.add(asyncio.create_task(work))

    def perform(self, event: SyncEvent) -> None:
        for instruction in self.machine.handle(event, self.venue.clock()):
            self.done.append(instruction)
            if isinstance(instruction, FetchSnapshot):
                self._start(self._fetch(instruction))
            elif isinstance(instruction, BookLost):
                self.lost.append(instruction)
            elif isinstance(instruction, Resubscribe):
                self.perform(StreamOpened())
        self._compare()

    async def _read(self) -> None:
        async for frame in self._wire:
            data = decode_message(frame.data.encode()).data
            if isinstance(data, DepthUpdate):
                diff = data.to_diff(self.venue.clock())
                self.age.note(diff.ts_event_ns, diff.ts_recv_ns)
                self.perform(DiffReceived(diff))
            elif isinstance(data, BookTicker):
                bid = parse_px(data.bid_px), parse_qty(data.bid_qty)
                self.perform(TickerReceived(data.update_id, bid, (parse_px(data.ask_px), parse_qty(data.ask_qty))))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            self.perform(TimePassed())

    async def _fetch(self, request: FetchSnapshot) -> None:
        await asyncio.sleep(request.after_ns / NS_PER_S)
        reply = await self.venue.ask(self.kind, "depth", symbol="BTCUSDT", limit=1000)
        if isinstance(reply, RestRefusal):
            self.perform(SnapshotFailed(request.request_id, reply.retry_after_s * NS_PER_S))
        else:
            self.perform(SnapshotReceived(request.request_id, reply.to_snapshot(self.venue.clock())))

    def _compare(self) -> None:
        # The whole book against the market's own, wherever the venue's books stood at that very update.
        book = self.venue.books[self.kind].get(self.machine.last_id)
        if not self.machine.is_ready or book is None:
            return
        lot = 1000.0  # BTC's lots in one
        assert self.machine.bids(10**6) == tuple((level.px, level.qty_lots / lot) for level in book.bids)
        assert self.machine.asks(10**6) == tuple((level.px, level.qty_lots / lot) for level in book.asks)
        self.compared += 1
