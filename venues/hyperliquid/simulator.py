"""Hyperliquid on loopback: /info, /exchange and /ws on one port, over a driven market, for anyone's client.

    simulator = HyperliquidSimulator(market, board, accounts)
    addresses = await simulator.start()     # {"http": ..., "ws": ..., "control": ...}
    await simulator.stop()

The market must be made with `is_child_armed_by_part=False`, and its path must reach the present of `clock_ns`. Parts:
`simulator_desk` (actions), `simulator_info` (questions), `simulator_streams` (sockets), `simulator_accounts` (memory).
Faults of requests are asked for by the action's or question's type ("order", "l2Book"); on a WebSocket post only a lost
reply and a delay act.
Does not model: IP rate limits, and what the docstrings of the parts name.
Source: PROTOCOLS.md 1 and 4.1.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import WSMsgType, web

from market.instruments import Instrument, find_instrument
from market.records import NS_PER_S
from venues.hyperliquid import exchange_actions as act
from venues.hyperliquid import exchange_replies as replies
from venues.hyperliquid import frames, info_requests, rules, signing, wire
from venues.hyperliquid.session import ABNORMAL_CLOSE
from venues.hyperliquid.simulator_accounts import BASE_COSTS, Ledger, Registry
from venues.hyperliquid.simulator_desk import Desk
from venues.hyperliquid.simulator_info import InfoDesk, as_http
from venues.hyperliquid.simulator_streams import Cadence, Streams
from venues.hyperliquid.wire import HttpReply
from venues.simulator.accounts import SimulatedAccount
from venues.simulator.delivery import DeliverySettings
from venues.simulator.driven_market import Block, DrivenMarket
from venues.simulator.faults import FaultBoard, RequestFate
from venues.simulator.shell import Outbox, World, add_control

VENUE = "hyperliquid"
_TICK_S = 0.05
NOT_MODELLED = (
    "rate limits by address, the count of connections and messages a minute",
    "spot markets, builder dexes, vaults, staking, referral; transfers, deposits and withdrawals are refused",
    "an isolated position that loses more than its margin: the rest is the account's loss, no vault takes over",
    "the slippage bound of a trigger at market; margin of one that opens is set aside from its placing on",
    "pruned agents and agents' expiry",
    "notification: acknowledged, then silent; the history behind portfolio; months as candles",
)
_GATEWAY_PAGE = b"<html><head><title>502 Bad Gateway</title></head></html>"


def make_assets(listed: Sequence[Instrument]) -> rules.AssetTable:
    """Return the assets of a market's instruments, ids in their order."""
    return rules.AssetTable(
        rules.Asset(index, instrument.base, rules.count_sz_decimals(instrument), False, instrument)
        for index, instrument in enumerate(listed)
    )


class HyperliquidSimulator:
    """The venue. `network` None: signatures of both networks are taken (`desk.networks_used` says which were).

    `instruments`: those of the market that `market.instruments` does not list.
    """

    def __init__(
        self,
        market: DrivenMarket,
        board: FaultBoard,
        accounts: Sequence[SimulatedAccount],
        clock_ns: Callable[[], int] = time.time_ns,
        *,
        instruments: Sequence[Instrument] = (),
        network: signing.Network | None = None,
        cadence: Cadence | None = None,
        delivery: DeliverySettings | None = None,
    ) -> None:
        self.world = World(market, board, VENUE, clock_ns)
        self._assets = make_assets([find_instrument(name, instruments) for name in market.exchange.telling])
        self.ledger = Ledger(accounts, self._assets)
        registry = Registry(self.ledger.books)
        for account in accounts:
            market.open_account(account.address.lower(), account.deposit_quote, account.costs or BASE_COSTS)
        self.desk = Desk(self.world, self.ledger, registry, self._assets, network)
        self.info = InfoDesk(self.world, self.ledger, registry, self._assets)
        self._outbox = Outbox(self.world, delivery)
        self.streams = Streams(self.world, self.ledger, self.info, self._outbox, cadence or Cadence())
        self.world.listen(self._on_block)
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._count = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> dict[str, str]:
        """Bring the market to the present, listen, and return the addresses."""
        for block in self.world.market.advance(self.world.now_ns(), is_watched=False):
            self.ledger.hear(block)
        app = web.Application()
        app.router.add_post("/info", self._on_info)
        app.router.add_post("/exchange", self._on_exchange)
        app.router.add_get("/ws", self._on_socket)
        add_control(app, self.world.board, self.world.now_ns)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self._tasks = [asyncio.create_task(run) for run in (self.world.run(), self._outbox.run(), self._run_clock())]
        bound = self._runner.addresses[0]
        base = f"{bound[0]}:{bound[1]}"
        return {"http": f"http://{base}", "ws": f"ws://{base}/ws", "control": f"http://{base}/control/faults"}

    async def stop(self) -> None:
        """End everything that `start` began."""
        pending = set(self._tasks)
        while pending:  # a wait that ends in the same moment swallows a cancel (asyncio.wait_for of 3.11)
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.2)
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for socket in [*self._sockets.values()]:
            with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
                await asyncio.wait_for(socket.close(), 0.5)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for result in results:
            if isinstance(result, Exception):  # a clock died: that is a bug, not an end
                raise result

    def _on_block(self, block: Block) -> None:
        self.streams.tell(block, self.ledger.hear(block))

    async def _run_clock(self) -> None:
        while True:
            view = self.world.board.view(VENUE, self.world.now_ns(), "market")
            for instrument_id in self._assets.by_instrument:
                self.world.market.freeze_oracle(instrument_id, view.is_oracle_frozen)
                self.world.market.gap_book(instrument_id, float(view.price_gap_bps))
            self.desk.tend()
            self.streams.tick()
            await asyncio.sleep(_TICK_S)

    # HTTP.

    async def _on_info(self, request: web.Request) -> web.StreamResponse:
        asked = info_requests.decode_info_request(await request.read(), request.headers.get("Content-Type", ""))
        if isinstance(asked, HttpReply):
            return _respond(asked)
        kind = str(type(asked).__struct_config__.tag)
        fate = self.world.board.decide_request(VENUE, kind, self.world.now_ns())
        refusal = await self._find_refusal(fate)
        return await self._reply(request, fate, refusal or as_http(self.info.answer(asked)), refusal is not None)

    async def _on_exchange(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        signed = act.decode_exchange_request(body, request.headers.get("Content-Type", ""))
        if isinstance(signed, HttpReply):
            return _respond(signed)
        fate = self.world.board.decide_request(VENUE, str(signed.plain.get("type")), self.world.now_ns())
        refusal = await self._find_refusal(fate)
        if refusal is not None:
            return await self._reply(request, fate, refusal, True)
        reply = self.desk.handle(signed, fate)
        return await self._reply(request, fate, HttpReply(200, wire.JSON_TYPE, replies.encode_exchange_reply(reply)))

    async def _find_refusal(self, fate: RequestFate) -> HttpReply | None:
        if fate.is_blackholed:
            await asyncio.Event().wait()  # until the client goes or the simulator stops
        return _fail(fate.status_before) if fate.status_before else None

    async def _reply(
        self, request: web.Request, fate: RequestFate, reply: HttpReply, is_refused: bool = False
    ) -> web.StreamResponse:
        if fate.reply_delay_ns:
            await asyncio.sleep(fate.reply_delay_ns / NS_PER_S)
        if fate.is_reply_lost:
            _abort(request)
        elif fate.status_after and not is_refused:
            return _respond(_fail(fate.status_after))
        return _respond(reply)

    # WebSocket.

    async def _on_socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False, autoclose=True)
        await socket.prepare(request)
        self._count += 1
        name = f"{VENUE}-{self._count}"

        async def send(payload: bytes) -> None:
            await socket.send_str(payload.decode())

        async def close(code: int) -> None:
            if code == ABNORMAL_CLOSE:
                _abort(request)
            else:
                await socket.close(code=code)

        self._sockets[name] = socket
        self.streams.open(name)
        self._outbox.open(name, send, close)
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    for step in self.streams.receive(name, message.data):
                        await self._answer(name, step.post)
        finally:
            self._sockets.pop(name, None)
            self.streams.forget(name)
            self._outbox.forget(name)
        return socket

    async def _answer(self, name: str, post: frames.Post) -> None:
        asked = post.payload if post.kind == "info" else post.payload.get("action")
        kind = str(asked.get("type")) if isinstance(asked, dict) else ""
        fate = self.world.board.decide_request(VENUE, kind, self.world.now_ns())
        if fate.is_blackholed:
            return
        frame = self._make_answer(post, fate)
        if fate.reply_delay_ns:
            await asyncio.sleep(fate.reply_delay_ns / NS_PER_S)
        if not fate.is_reply_lost:
            self.streams.push(name, frame)

    def _make_answer(self, post: frames.Post, fate: RequestFate) -> frames.PostFrame:
        if post.kind == "action":
            signed = act.read_exchange_request(post.payload)
            if signed is None:
                return frames.refuse_post(post, info_requests.WRONG_FIELDS.body.decode())
            return frames.answer_action_post(post, replies.reply_to_plain(self.desk.handle(signed, fate)))
        asked = info_requests.read_info_request(post.payload)
        answer: Any = info_requests.WRONG_FIELDS if asked is None else self.info.answer(asked)
        if not isinstance(answer, HttpReply):
            return frames.answer_info_post(post, answer)
        if answer.body == wire.NULL_BODY:
            return frames.answer_info_post(post, None)
        return frames.refuse_post(post, answer.body.decode())


def _respond(reply: HttpReply) -> web.Response:
    headers = {"Content-Type": reply.content_type} if reply.content_type else None
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def _fail(status: int) -> HttpReply:
    if status == info_requests.RATE_LIMITED.status:
        return info_requests.RATE_LIMITED
    return HttpReply(status, "text/html", _GATEWAY_PAGE)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
