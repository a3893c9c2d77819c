"""Binance on loopback: market data of USD-M futures (one port) and spot (another), from a driven market.

`BinanceSimulator(market, board)`: every instrument of the market is a symbol, base and quote together (BTCUSDT). The
first port serves the futures' sockets (/public, /market, /private; legacy paths: acknowledged, book data only) and REST
of both markets; the second serves spot's sockets, for their paths are those of the futures' legacy ones. Decides
nothing: `control` answers frames, `simulator_streams` says what is due, `session` when a socket ends, `rest` and
`rate_limits` what is refused, `simulator_rest` what is answered.

Faults (PROTOCOLS 4.3). Messages, by channel (`streams.Channel`; control: answers to frames; ping): dropped, delayed,
doubled, reordered, half-open (pings too), closes; book_stale says the last message of the stream again (of channel
"snapshot": REST answers /depth as it did the last time), book_crossed puts a bid at the ask, unknown_value renames the
event. Requests, by endpoint name (depth, klines, ...): request_blackhole, http_status_before and _after (429 and 418
with Retry-After), reply_lost, reply_delay. Views: clock_skew (E, /time; trades keep their time), request_cap (weight a
minute), book_throttle, price_gap, oracle_frozen, upgrade_mode (503).

Does not model: orders, accounts and user data (a private socket connects and is silent; no listenKey), bans of sockets
for bad manners, DNS, TLS, compression, SBE, the WebSocket API; what `simulator_streams`, `simulator_rest`,
`simulator_symbol` and `streams` name. A market that is to look like Binance has `mark_every_ns` of a second.
Manuals: "WebSocket Market Streams" and "Market Data Endpoints", USD-M and spot, as PROTOCOLS.md section 3 dates them.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from aiohttp import WSMsgType, web

from market.instruments import Instrument, find_instrument
from market.records import NS_PER_MS
from venues.binance.control import SocketSubscriptions
from venues.binance.messages import ServerShutdown, encode_data
from venues.binance.rate_limits import RETRY_AFTER_HEADER, VenueLimiter
from venues.binance.rest import UNKNOWN_ERROR, RestRefusal, encode_reply, parse_request
from venues.binance.session import (
    CONNECTIONS_MAX,
    CONNECTIONS_WINDOW_NS,
    LIFETIME_NS,
    CloseSocket,
    RateWindow,
    SendPing,
    SendShutdown,
    ServerSession,
    SessionInstruction,
)
from venues.binance.simulator_rest import RestDesk
from venues.binance.simulator_streams import Push, StreamHub
from venues.binance.simulator_symbol import SymbolFeed
from venues.binance.streams import Market, Route, TargetRefusal, parse_target
from venues.simulator.delivery import DeliverySettings
from venues.simulator.driven_market import Block, DrivenMarket
from venues.simulator.faults import FaultBoard, MessageFate
from venues.simulator.shell import Outbox, World, add_control

VENUE = "binance"
ID_STEP = 3  # futures' update ids jump by it: whoever expects U == u + 1 is caught at the first message
TICK_NS = 50 * NS_PER_MS
SEND_QUEUE_MAX = 10_000
_EVENT = re.compile(rb'"e":"\w+"')
_PING, _PONG = b"\x00ping:", b"\x00pong:"  # in the outbox: control frames among the text

NOT_MODELLED = (
    "orders, accounts, user data: a private socket connects and is silent, there is no listenKey",
    "the WebSocket API, SBE, TLS, compression",
    "bans of sockets for bad manners",
    "time zones of candles; trades, and so candles of a second, of more than 45 minutes before the start",
    "RPI orders, estimated settlement prices, the funding caps by leverage bracket, delivery contracts",
    "ratios of long and short accounts: who else is in the market is not known, the lists are empty",
    "composite and asset indices, contract news, liquidations: acknowledged, silent; their lists are empty",
    "the index is no average of exchanges: its one constituent is the market's own path",
    "a skewed clock: it shifts event times and /time, not times of trades and candles",
)


class _Socket:
    """One client's connection; it alone writes to it, so that a slow reader delays nobody else."""

    def __init__(
        self,
        name: str,
        kind: Market,
        subscriptions: SocketSubscriptions,
        session: ServerSession,
        transport: asyncio.Transport | None,
    ) -> None:
        self.name, self.kind, self.subscriptions, self.session = name, kind, subscriptions, session
        self._transport = transport
        self.wire = web.WebSocketResponse(autoping=False, autoclose=True, compress=False, timeout=1.0)
        self.flowing: tuple[str, ...] = ()
        self.close_reason = b""
        self.said: dict[str, bytes] = {}  # last message of each stream, while books go stale
        self._queue: asyncio.Queue[bytes | int] = asyncio.Queue(SEND_QUEUE_MAX)

    async def send(self, payload: bytes) -> None:
        """Queue a frame."""
        if self._queue.full():
            self.abort()
        else:
            self._queue.put_nowait(payload)

    async def close(self, code: int) -> None:
        """Close after what is queued."""
        if self._queue.full():
            self.abort()
        else:
            self._queue.put_nowait(code)

    def abort(self) -> None:
        """Cut the connection without a word, which clients report as 1006."""
        if self._transport is not None:
            self._transport.abort()

    async def write(self) -> int:
        """Write what is queued; return the code to close with when its turn has come, 0 if the other side is gone."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                item = await self._queue.get()
                if isinstance(item, int):
                    return item
                if item.startswith(_PING):
                    await self.wire.ping(item.removeprefix(_PING))
                elif item.startswith(_PONG):
                    await self.wire.pong(item.removeprefix(_PONG))
                else:
                    await self.wire.send_str(item.decode())
        return 0


class BinanceSimulator:
    """The venue's side. `world`, `hubs` and `limiters` are there for tests and for whoever shows the state."""

    def __init__(
        self,
        market: DrivenMarket,
        board: FaultBoard,
        accounts: Sequence[Any] = (),
        clock_ns: Callable[[], int] = time.time_ns,
        delivery: DeliverySettings | None = None,
        strikes_max: int = 20,
        instruments: Sequence[Instrument] = (),
        lifetime_ns: int = LIFETIME_NS,
    ) -> None:
        """`accounts` are ignored: nobody trades here. `strikes_max`: requests after a 429 before the ban.

        `instruments`: those of the market that are not listed in `market.instruments`. `lifetime_ns`: of a socket.
        Raises ValueError for an instrument of the market that is neither.
        """
        self._instruments = [find_instrument(name, instruments) for name in market.exchange.telling]
        self.market, self.board = market, board
        self.world = World(market, board, VENUE, clock_ns)
        self.hubs: dict[Market, StreamHub] = {}
        self.limiters = {kind: VenueLimiter(kind, None, strikes_max) for kind in Market}
        self._caps: dict[tuple[Market, int], VenueLimiter] = {}
        self._strikes_max, self._lifetime_ns = strikes_max, lifetime_ns
        self._desks: dict[Market, RestDesk] = {}
        self._outbox = Outbox(self.world, delivery)
        self._sockets: dict[str, _Socket] = {}
        self._listeners: dict[tuple[Market, str], dict[str, _Socket]] = {}
        self._arrivals: dict[tuple[Market, str], RateWindow] = {}
        self._snapshots: dict[str, Any] = {}  # by target, as answered last
        self._count = 0
        self._skew_ns = self._book_every_ms = self._gap_bps = 0
        self._is_oracle_frozen = False
        self._is_ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._runners: list[web.AppRunner] = []

    async def start(self, host: str = "127.0.0.1", port: int = 0, spot_port: int = 0) -> dict[str, str]:
        """Bring the market to the present and serve it; return the addresses. Port 0: a free one.

        Raises ValueError if the market starts in the future.
        """
        self.market.advance(self.world.now_ns(), is_watched=False)
        if self.market.height == 0:
            raise ValueError(f"market starts at {self.market.ts_start_ns} ns, which is after now: start it earlier")
        for kind in Market:
            feeds = [SymbolFeed(kind, self.market, instrument, ID_STEP) for instrument in self._instruments]
            self.hubs[kind] = StreamHub(kind, feeds)
            self._desks[kind] = RestDesk(kind, self.hubs[kind].feeds)
        self.world.listen(self._on_block)
        http = await self._serve(Market.USDM, host, port)
        spot = await self._serve(Market.SPOT, host, spot_port)
        self._tasks = [asyncio.create_task(run()) for run in (self.world.run, self._outbox.run, self._run)]
        return {
            "http": f"http://{http}",
            "ws": f"ws://{http}",
            "spot_http": f"http://{spot}",
            "spot_ws": f"ws://{spot}",
            "control": f"http://{http}/control/faults",
        }

    async def stop(self) -> None:
        """End everything that was started. Raises what ended a task before its time."""
        self._is_ended.set()
        for socket in [*self._sockets.values()]:
            socket.abort()
        for task in self._tasks:
            task.cancel()
        for runner in self._runners:
            await runner.cleanup()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _serve(self, kind: Market, host: str, port: int) -> str:
        app = web.Application()
        add_control(app, self.board, self.world.now_ns)

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._serve_socket(kind, request)
            return await self._serve_request(request)

        app.router.add_route("*", "/{tail:.*}", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        name, number = runner.addresses[0][:2]
        return f"{name}:{number}"

    # Time and blocks.

    async def _run(self) -> None:
        while True:
            now_ns = self.world.now_ns()  # before: the market is then at least so far, also after a stall
            self.world.advance()
            self._look_at_faults(now_ns)
            event_ms = (now_ns + self._skew_ns) // NS_PER_MS
            for kind, hub in self.hubs.items():
                self._desks[kind].on_time(now_ns)
                self._say(kind, hub.on_time(now_ns, event_ms, self._book_every_ms), now_ns)
            for socket in [*self._sockets.values()]:
                self._perform(socket, socket.session.on_time(now_ns))
            due_s = (TICK_NS - now_ns % TICK_NS) / 1e9
            await asyncio.sleep(max(0.002, due_s))

    def _on_block(self, block: Block) -> None:
        event_ms = (block.ts_event_ns + self._skew_ns) // NS_PER_MS
        for kind, hub in self.hubs.items():
            self._say(kind, hub.on_block(block, event_ms, self._book_every_ms), self.world.now_ns())

    def _look_at_faults(self, now_ns: int) -> None:
        view = self.board.view(VENUE, now_ns)
        self._skew_ns, self._book_every_ms = view.clock_skew_ns, view.book_every_ns // NS_PER_MS
        for feed in self.hubs[Market.USDM].feeds.values():
            if view.price_gap_bps != self._gap_bps:
                self.market.gap_book(feed.instrument_id, float(view.price_gap_bps))
            if view.is_oracle_frozen != self._is_oracle_frozen:
                self.market.freeze_oracle(feed.instrument_id, view.is_oracle_frozen)
        self._gap_bps, self._is_oracle_frozen = view.price_gap_bps, view.is_oracle_frozen

    # Sockets.

    async def _serve_socket(self, kind: Market, request: web.Request) -> web.StreamResponse:
        address, now_ns = request.remote or "", self.world.now_ns()
        arrivals = self._arrivals.setdefault((kind, address), RateWindow(CONNECTIONS_MAX, CONNECTIONS_WINDOW_NS))
        if not arrivals.note(now_ns):
            return web.Response(status=429, text="Too many connections")
        target = parse_target(kind, unquote(request.raw_path))
        if isinstance(target, TargetRefusal):
            return web.Response(status=target.status, text=target.detail)
        self._count += 1
        subscriptions = SocketSubscriptions(kind, target)
        session = ServerSession(kind, now_ns, self._lifetime_ns)
        socket = _Socket(f"{kind.value}-{self._count}", kind, subscriptions, session, request.transport)
        await socket.wire.prepare(request)
        self._outbox.open(socket.name, socket.send, socket.close)
        self._sockets[socket.name] = socket
        self._list_anew(socket)
        reader = asyncio.create_task(self._read(socket, is_private=target.route is Route.PRIVATE))
        writer = asyncio.create_task(socket.write())
        try:
            await asyncio.wait([reader, writer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._outbox.forget(socket.name)
            self._sockets.pop(socket.name, None)
            self._list_anew(socket, is_gone=True)
            code = writer.result() if writer.done() and not writer.cancelled() else 0
            for task in (reader, writer):
                task.cancel()
            outcomes = await asyncio.gather(reader, writer, return_exceptions=True)
        if code in (1005, 1006, 1015):  # never on the wire
            socket.abort()
        elif code and not self._is_ended.is_set():  # nobody reads any more: this waits for the client's own close
            await socket.wire.close(code=code, message=socket.close_reason)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return socket.wire

    async def _read(self, socket: _Socket, is_private: bool) -> None:
        async for message in socket.wire:
            now_ns = self.world.now_ns()
            if message.type is WSMsgType.PONG:
                self._perform(socket, socket.session.on_pong(bytes(message.data), now_ns))
                continue
            self._perform(socket, socket.session.on_frame(now_ns))
            if message.type is WSMsgType.PING:
                self._outbox.push(socket.name, "ping", _PONG + bytes(message.data))
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                content = (
                    message.data.encode("utf-8", "surrogatepass") if isinstance(message.data, str) else message.data
                )
                self._outbox.push(socket.name, "control", socket.subscriptions.handle(content))
                if not is_private:
                    self._list_anew(socket)

    def _list_anew(self, socket: _Socket, is_gone: bool = False) -> None:
        # The streams that this socket gets: after each of its frames, and none when it has gone.
        before, now = socket.flowing, () if is_gone else socket.subscriptions.flowing
        hub, socket.flowing = self.hubs[socket.kind], now
        for stream in set(before) - set(now):
            hub.close(stream)
            self._listeners[socket.kind, stream].pop(socket.name, None)
            socket.said.pop(stream, None)
        for stream in set(now) - set(before):
            hub.open(stream)
            self._listeners.setdefault((socket.kind, stream), {})[socket.name] = socket

    def _perform(self, socket: _Socket, instructions: Sequence[SessionInstruction]) -> None:
        for instruction in instructions:
            match instruction:
                case SendPing(payload):
                    self._outbox.push(socket.name, "ping", _PING + payload)
                case SendShutdown(ts_event_ms):
                    self._outbox.push(socket.name, "serverShutdown", encode_data(ServerShutdown(ts_event_ms)))
                case CloseSocket(code, reason):
                    socket.close_reason = reason.encode()
                    self._outbox.close(socket.name, code)

    def _say(self, kind: Market, pushes: Sequence[Push], now_ns: int) -> None:
        for push in pushes:
            sockets = self._listeners.get((kind, push.stream))
            if not sockets:
                continue
            bare = encode_data(push.data)
            for socket in [*sockets.values()]:
                fate = self.board.decide_message(VENUE, push.channel.value, now_ns)
                content = self._spoil(kind, socket, push, bare, fate)
                if socket.subscriptions.is_combined:
                    content = b'{"stream":"' + push.stream.encode() + b'","data":' + content + b"}"
                self._outbox.push(socket.name, push.channel.value, content, fate)

    def _spoil(self, kind: Market, socket: _Socket, push: Push, bare: bytes, fate: MessageFate) -> bytes:
        if fate.is_book_stale and push.stream in socket.said:
            return socket.said[push.stream]
        socket.said[push.stream] = bare
        if fate.is_book_crossed:
            bare = encode_data(self.hubs[kind].cross(push.data))
        return _EVENT.sub(b'"e":"newInTheFuture"', bare, count=1) if fate.is_value_unknown else bare

    # Requests.

    async def _serve_request(self, request: web.Request) -> web.StreamResponse:
        now_ns = self.world.now_ns()
        self.world.advance()
        view = self.board.view(VENUE, now_ns)
        venue_ms = (now_ns + view.clock_skew_ns) // NS_PER_MS
        kind = Market.SPOT if request.path.startswith(("/api/", "/sapi/")) else Market.USDM
        desk, symbols = self._desks[kind], self.hubs[kind].feeds
        api_key = request.headers.get("X-MBX-APIKEY", "")
        parsed = parse_request(kind, request.method, request.raw_path, symbols, venue_ms, api_key)
        name = "unknown" if isinstance(parsed, RestRefusal) else parsed.endpoint.name
        fate = self.board.decide_request(VENUE, name, now_ns)
        if fate.is_blackholed:
            return await self._hang(request)
        if fate.status_before:
            return _refuse(_make_status(fate.status_before), {})
        limiter = self.limiters[kind]
        if view.requests_max is not None:
            cap = (kind, max(1, view.requests_max))
            limiter = self._caps.setdefault(cap, VenueLimiter(kind, cap[1], self._strikes_max))
        admitted = limiter.admit(
            request.remote or "", None if isinstance(parsed, RestRefusal) else parsed, self.world.now_ns()
        )
        if admitted.refusal is not None:
            return _refuse(admitted.refusal, admitted.headers)
        if view.is_upgrading:
            return _refuse(UNKNOWN_ERROR, admitted.headers)
        answer = parsed if isinstance(parsed, RestRefusal) else desk.answer(parsed, venue_ms)
        if name == "depth":
            is_stale = self.board.decide_message(VENUE, "snapshot", now_ns).is_book_stale
            answer = self._snapshots.get(request.raw_path, answer) if is_stale else answer
            self._snapshots[request.raw_path] = answer
        if fate.is_reply_lost:
            return _cut(request)
        if fate.reply_delay_ns:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_ended.wait(), fate.reply_delay_ns / 1e9)
        if fate.status_after:
            return _refuse(_make_status(fate.status_after), admitted.headers)
        if isinstance(answer, RestRefusal):
            return _refuse(answer, admitted.headers)
        return web.Response(body=encode_reply(answer), headers=admitted.headers, content_type="application/json")

    async def _hang(self, request: web.Request) -> web.StreamResponse:
        await self._is_ended.wait()
        return _cut(request)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _make_status(status: int) -> RestRefusal:
    # What the venue says with a status that a fault asked for.
    if status in (429, 418):
        msg = "Too many requests." if status == 429 else "Way too many requests; IP banned."
        return RestRefusal(status, -1003, msg, 1 if status == 429 else 120)
    if status >= 500:
        return RestRefusal(status, UNKNOWN_ERROR.code, UNKNOWN_ERROR.msg)
    return RestRefusal(status, 0, "<html><body><h2>Request blocked</h2></body></html>")


def _refuse(refusal: RestRefusal, headers: dict[str, str]) -> web.Response:
    if refusal.retry_after_s:
        headers = headers | {RETRY_AFTER_HEADER: str(refusal.retry_after_s)}
    if not refusal.code:
        return web.Response(status=refusal.status, text=refusal.msg, headers=headers, content_type="text/html")
    return web.Response(status=refusal.status, body=refusal.body, headers=headers, content_type="application/json")
