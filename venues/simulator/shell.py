"""Real time for a simulator, shared by the protocol servers: it ticks the market, sends what is due, is told faults.

What it holds decides: `DrivenMarket` is the world, `FaultBoard` says what goes wrong, `DeliveryMachine` when a message
leaves. A protocol server asks `World` for the time, acts on the market through `World.act`, turns the blocks it hears
into its own messages, and pushes them into the `Outbox`.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from market.records import NS_PER_S
from venues.simulator.delivery import Delivery, DeliveryMachine, DeliverySettings
from venues.simulator.driven_market import Block, DrivenMarket
from venues.simulator.faults import FaultBoard, MessageFate

ABNORMAL_CLOSE = 1006  # never on the wire: the socket is cut
CUT_S = 1.0  # for a last close frame to a socket that does not read
IDLE_S = 0.25  # the longest sleep: switches that end by time are noticed by then
Send = Callable[[bytes], Awaitable[None]]
Close = Callable[[int], Awaitable[None]]


class World:
    """One venue's market in real time."""

    def __init__(
        self, market: DrivenMarket, board: FaultBoard, venue: str, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.market, self.board, self.venue = market, board, venue
        self._clock_ns = clock_ns
        self._listeners: list[Callable[[Block], None]] = []
        self._untold: deque[Block] = deque()
        self._is_telling = False

    def now_ns(self) -> int:
        """Return the true time, which the market runs on."""
        return self._clock_ns()

    def venue_now_ns(self) -> int:
        """Return what the venue's own clock shows: the true time and the skew that a switch gives it."""
        now_ns = self._clock_ns()
        return now_ns + self.board.view(self.venue, now_ns).clock_skew_ns

    def listen(self, on_block: Callable[[Block], None]) -> None:
        """Have every block handed to `on_block`, in order, those of commands included."""
        self._listeners.append(on_block)

    def advance(self) -> None:
        """Bring the market to the present."""
        for block in self.market.make_due(self.now_ns()):
            self._tell(block)

    def act(self, command: Callable[[int], Block]) -> Block:
        """Bring the market to the present, carry out a command there (it is given the time), return its block."""
        self.advance()
        block = command(self.market.ts_now_ns)
        self._tell(block)
        return block

    async def run(self) -> None:
        """Advance whenever a block is due, until cancelled."""
        while True:
            self.advance()
            due_s = (self.market.ts_next_block_ns - self.now_ns()) / NS_PER_S
            await asyncio.sleep(min(max(due_s, 0.001), IDLE_S))

    def _tell(self, block: Block) -> None:
        # What a listener causes in turn waits until everybody has heard of this one.
        self._untold.append(block)
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._untold:
                told = self._untold.popleft()
                for listener in self._listeners:
                    listener(told)
        finally:
            self._is_telling = False


class _Way:
    # What goes to one socket, at the socket's own speed.

    def __init__(self, send: Send, close: Close) -> None:
        self.close = close
        self.queue: asyncio.Queue[bytes | int] = asyncio.Queue()
        self.writer = asyncio.create_task(self._write(send))

    async def _write(self, send: Send) -> None:
        while isinstance(item := await self.queue.get(), bytes):
            with contextlib.suppress(ConnectionError, RuntimeError):  # the other side closed meanwhile
                await send(item)
        await self._close(item)

    async def cut(self, code: int) -> None:
        """Close a socket that does not take what is sent: nicely if it still can, else by force."""
        self.writer.cancel()
        for last in (code, ABNORMAL_CLOSE):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CUT_S):
                    await self._close(last)
                return

    async def _close(self, code: int) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self.close(code)


class Outbox:
    """Sends what the delivery machine says is due. Connections are named once and for all.

    Each has a queue and a writer of its own, so that a reader who is slow holds up nobody else; one with more than the
    settings' `queue_max` messages to read is closed with `overflow_code`, as venues do.
    """

    def __init__(self, world: World, settings: DeliverySettings | None = None, seed: int = 0) -> None:
        self._world, self._settings = world, settings or DeliverySettings()
        self._machine = DeliveryMachine(world.board, world.venue, self._settings, seed)
        self._ways: dict[str, _Way] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._is_pushed = asyncio.Event()

    def open(self, connection: str, send: Send, close: Close) -> None:
        """Begin a connection; `send` and `close` (with a code, 1006: by force) write to its socket."""
        self._machine.open(connection)
        self._ways[connection] = way = _Way(send, close)
        self._follow(way.writer)

    def push(self, connection: str, channel: str, payload: bytes, fate: MessageFate | None = None) -> None:
        """Queue one message of a channel; `fate`: what the board has decided of it already."""
        if connection in self._ways:
            self._machine.push(connection, channel, payload, self._world.now_ns(), fate)
            self._is_pushed.set()

    def close(self, connection: str, code: int) -> None:
        """Close a connection after what is due before."""
        if connection in self._ways:
            self._machine.close(connection, code, self._world.now_ns())
            self._is_pushed.set()

    def forget(self, connection: str) -> None:
        """The other side has gone."""
        way = self._ways.pop(connection, None)
        if way is not None:
            self._machine.forget(connection)
            way.writer.cancel()

    async def run(self) -> None:
        """Hand what is due to the writers, in order, until cancelled. Raises what ended a writer before its time."""
        try:
            while self._failure is None:
                self._is_pushed.clear()
                for delivery in self._machine.pop(self._world.now_ns()):
                    self._hand_over(delivery)
                next_ns = self._machine.ts_next_ns
                due_s = IDLE_S if next_ns is None else (next_ns - self._world.now_ns()) / NS_PER_S
                with contextlib.suppress(TimeoutError):  # not wait_for: in 3.11 it may swallow a cancel
                    async with asyncio.timeout(min(max(due_s, 0.0005), IDLE_S)):
                        await self._is_pushed.wait()
            raise self._failure
        finally:
            tasks = [*self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _hand_over(self, delivery: Delivery) -> None:
        way = self._ways.get(delivery.connection)
        if way is None:
            return
        if delivery.close_code:  # the writer closes after what it still has, whoever forgets the connection meanwhile
            del self._ways[delivery.connection]
            way.queue.put_nowait(delivery.close_code)
        elif way.queue.qsize() < self._settings.queue_max:
            way.queue.put_nowait(delivery.payload)
        else:
            del self._ways[delivery.connection]
            self._machine.forget(delivery.connection)
            self._follow(asyncio.create_task(way.cut(self._settings.overflow_code)))

    def _follow(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._is_pushed.set()


def add_control(app: web.Application, board: FaultBoard, clock_ns: Callable[[], int] = time.time_ns) -> None:
    """Add the control endpoint: GET /control/faults lists switches and counts, POST turns them on and off."""

    async def show(request: web.Request) -> web.Response:
        return web.json_response({"on": board.list_on(clock_ns()), "counts": board.counts()})

    async def change(request: web.Request) -> web.Response:
        try:
            values: Any = await request.json()
            if not isinstance(values, Mapping):
                raise ValueError("faults: the body must be a JSON object with on and off")
            return web.json_response({"ids": board.apply(values, clock_ns())})
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)

    app.router.add_get("/control/faults", show)
    app.router.add_post("/control/faults", change)
