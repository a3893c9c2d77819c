"""The receiving end of a lane. `cluster.lanes` says what lanes are."""

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self, cast

from cluster.frames import (
    Frame,
    FrameKind,
    Inbox,
    LaneDisconnected,
    LaneEvent,
    LaneFailed,
    LanePosition,
    RemoteProtocolError,
    encode_frame,
)
from cluster.handshake import Hello, new_nonce, open_welcome, seal_hello
from cluster.link import HANDSHAKE_S, LaneCounters, Link, check_token, ignore_event, parse_endpoint

_log = logging.getLogger(__name__)

ACK_DELAY_S = 0.005
ACK_EVERY_MAX = 64  # messages, or a quarter of the sender's window, so that it never waits for the delay
BACKOFF_S_MIN = 0.02
BACKOFF_S_MAX = 1.0

Endpoint = str | Callable[[], str | Awaitable[str]]
OnMessage = Callable[[bytes], None] | Callable[[bytes], Awaitable[None]]


class LaneReceiver:
    """The receiving end of a lane: connects, reconnects for ever, delivers in order.

    endpoint: the server's, or a function (plain or async) asked before every connect: a restarted sender may listen
        elsewhere.
    on_message: called with each payload; plain function (fastest) or coroutine function (one at a time, in order). The
        message is acknowledged when it returns. If it raises, the lane stops for good: it is our bug, and skipping
        would be loss.
    lane: must be the server's. name: this receiver, the same after a restart.
    position: the last message the previous life is known to have handled, from its journal; None: whatever was
        unacknowledged.
    incarnation: grows with every life of this receiver. None: wall clock [ns].
    on_event: told of gaps, losses, new epochs, connects, disconnects and failure (LaneEvent).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        on_message: OnMessage,
        *,
        lane: str,
        name: str,
        token: bytes = b"",
        position: LanePosition | None = None,
        incarnation: int | None = None,
        on_event: Callable[[LaneEvent], None] = ignore_event,
    ) -> None:
        if isinstance(endpoint, str):
            check_token(parse_endpoint(endpoint)[0], token)
        if not name:
            raise ValueError(f"receiver of lane {lane!r} needs a name")
        self.lane = lane
        self.name = name
        self.position = position  # of the message being handled, or handled last: journal it with what you did
        self.messages_total = 0
        self.connections_total = 0
        self._endpoint = endpoint
        self._on_message = on_message
        self._is_async = inspect.iscoroutinefunction(on_message)
        self._on_event = on_event
        self._token = token
        self._incarnation = time.time_ns() if incarnation is None else incarnation
        self._inbox = Inbox(lane, position)
        self._link: _ReceiverLink | None = None
        self._run_task: asyncio.Task[None] | None = None
        self._handle_task: asyncio.Task[None] | None = None
        self._backlog: deque[tuple[LanePosition, bytes]] = deque()  # bounded by the sender's window
        self._backlog_ready = asyncio.Event()
        self._connected = asyncio.Event()
        self._stopped = asyncio.Event()
        self._handling = asyncio.Lock()
        self._trouble = ""  # why the last attempt to connect came to nothing
        self.failure: str | None = None

    async def start(self) -> Self:
        """Begin connecting, in the background; returns at once."""
        assert self._run_task is None
        self._run_task = asyncio.create_task(self._run(), name=f"lane {self.lane} to {self.name}")
        if self._is_async:
            self._handle_task = asyncio.create_task(self._handle_backlog(), name=f"lane {self.lane} handler")
        return self

    async def wait_connected(self, timeout_s: float) -> None:
        """Raises TimeoutError, naming the lane, when there is no connection in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError:
            why = self.failure or self._trouble or "still trying"
            raise TimeoutError(f"lane {self.lane!r} has no sender after {timeout_s} s: {why}") from None

    async def wait_stopped(self) -> str | None:
        """Wait until the lane has stopped for good; return why, or None after close()."""
        await self._stopped.wait()
        return self.failure

    async def close(self) -> None:
        """Disconnect and stay so. What `on_message` has not returned from is not acknowledged."""
        for task in (self._run_task, self._handle_task):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._run_task = self._handle_task = None
        if self._link is not None:
            self._link.acknowledge()
            self._link.close("receiver closed")
        self._stopped.set()

    def counters(self) -> LaneCounters:
        return LaneCounters(
            messages=self.messages_total,
            waiting=len(self._backlog),
            conflated=0,
            replayed=0,
            duplicates=self._inbox.duplicates_total,
            gaps=self._inbox.gaps_total,
            lost=self._inbox.lost_total,
            connections=self.connections_total,
        )

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    async def _run(self) -> None:
        backoff_s = BACKOFF_S_MIN
        loop = asyncio.get_running_loop()
        while self.failure is None:
            if self._is_async:
                await self._drop_backlog()
            try:
                async with asyncio.timeout(HANDSHAKE_S):
                    link = await self._connect(loop)
            except (OSError, TimeoutError) as error:
                self._note_trouble(f"cannot connect: {error}")
            else:
                await link.ended.wait()
                if link.was_welcomed:
                    backoff_s = BACKOFF_S_MIN
                else:
                    self._note_trouble(link.reason)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_S_MAX)

    async def _drop_backlog(self) -> None:
        """The sender will send again what has not been handled: a message is acknowledged only by being handled."""
        async with self._handling:
            self._backlog.clear()
            self._inbox.rewind(self.position)

    def _note_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("lane %s to %s: %s", self.lane, self.name, trouble)
        self._trouble = trouble

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> "_ReceiverLink":
        endpoint = self._endpoint
        if not isinstance(endpoint, str):
            answer = endpoint()
            endpoint = answer if isinstance(answer, str) else await answer
        scheme, host, port = parse_endpoint(endpoint)
        check_token(scheme, self._token)
        if scheme == "unix":
            _, link = await loop.create_unix_connection(lambda: _ReceiverLink(self), host)
        else:
            _, link = await loop.create_connection(lambda: _ReceiverLink(self), host, port)
        return link

    def _fail(self, reason: str) -> None:
        if self.failure is None:
            self.failure = reason
            _log.error("lane %s to %s stops: %s", self.lane, self.name, reason)
            self._on_event(LaneFailed(self.lane, reason))
            self._stopped.set()
        if self._link is not None:
            self._link.close(reason)

    def _deliver(self, payload: bytes) -> bool:
        """Hand over one message; False if the lane has failed."""
        position = cast(LanePosition, self._inbox.position)
        if self._is_async:
            self._backlog.append((position, payload))
            self._backlog_ready.set()
            return True
        self.position = position
        try:
            cast(Callable[[bytes], None], self._on_message)(payload)
        except Exception as error:  # noqa: BLE001 - any: the lane must stop without acknowledging, whatever it was
            _log.exception("lane %s: on_message raised", self.lane)
            self._fail(f"on_message raised {error!r} at {position}")
            return False
        self.messages_total += 1
        return True

    async def _handle_backlog(self) -> None:
        on_message = cast(Callable[[bytes], Awaitable[None]], self._on_message)
        while self.failure is None:
            while self._backlog:
                async with self._handling:
                    if not self._backlog:
                        break
                    self.position, payload = self._backlog.popleft()
                    try:
                        await on_message(payload)
                    except Exception as error:  # noqa: BLE001 - see _deliver
                        _log.exception("lane %s: on_message raised", self.lane)
                        self._fail(f"on_message raised {error!r} at {self.position}")
                        return
                self.messages_total += 1
                if self._link is not None:
                    self._link.handled(self.position)
            self._backlog_ready.clear()
            await self._backlog_ready.wait()

    def _report(self) -> None:
        events, self._inbox.events = self._inbox.events, []
        for event in events:
            self._on_event(event)


class _ReceiverLink(Link):
    def __init__(self, receiver: LaneReceiver) -> None:
        super().__init__()
        self.receiver = receiver
        self.ended = asyncio.Event()
        self.was_welcomed = False
        self._nonce = new_nonce()
        self._acked = 0
        self._handled = 0
        self._ack_every = 1
        self._ack_timer: asyncio.TimerHandle | None = None

    def on_frames(self, frames: list[Frame]) -> None:
        receiver, inbox = self.receiver, self.receiver._inbox
        for frame in frames:
            if frame.kind == FrameKind.REFUSED:
                self._on_refused(frame.payload.decode(errors="replace"))
                return
            if not self.is_open:
                self._greet(frame)
                continue
            payload = inbox.handle(frame)
            if payload is not None:
                if not receiver._deliver(payload):
                    return
                if not receiver._is_async:
                    self.handled(cast(LanePosition, inbox.position))
            if inbox.outgoing:
                self.write(b"".join(inbox.outgoing))
                inbox.outgoing.clear()
            if inbox.events:
                receiver._report()

    def _greet(self, frame: Frame) -> None:
        receiver = self.receiver
        position = receiver._inbox.position
        if frame.kind == FrameKind.CHALLENGE:
            hello = Hello(
                lane=receiver.lane,
                name=receiver.name,
                incarnation=receiver._incarnation,
                epoch=None if position is None else position.epoch,
                sequence=0 if position is None else position.sequence,
                nonce=self._nonce,
            )
            self.write(encode_frame(FrameKind.HELLO, 0, seal_hello(hello, receiver._token, frame.payload)))
            return
        if frame.kind != FrameKind.WELCOME:
            raise RemoteProtocolError(f"expected WELCOME, got {FrameKind(frame.kind).name}")
        welcome = open_welcome(frame.payload, receiver._token, self._nonce)
        receiver._inbox.welcome(LanePosition(welcome.epoch, welcome.sequence))
        self._acked = self._handled = welcome.sequence
        self._ack_every = max(1, min(ACK_EVERY_MAX, welcome.window // 4))
        self.was_welcomed = True
        receiver._link = self
        receiver.connections_total += 1
        receiver._connected.set()
        self.opened()
        receiver._report()

    def _on_refused(self, reason: str) -> None:
        """A sender that refuses has decided: asking again would change nothing."""
        self.abort(reason)
        self.receiver._fail(f"refused by the sender: {reason}")

    def handled(self, position: LanePosition) -> None:
        """Acknowledge soon, or now when much is due."""
        inbox_position = self.receiver._inbox.position
        if not self.is_open or inbox_position is None or position.epoch != inbox_position.epoch:
            return
        self._handled = position.sequence
        if self._handled - self._acked >= self._ack_every:
            self.acknowledge()
        elif self._ack_timer is None:
            self._ack_timer = self.loop.call_later(ACK_DELAY_S, self.acknowledge)

    def acknowledge(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self.is_open and self._handled > self._acked:
            self._acked = self._handled
            self.write(encode_frame(FrameKind.ACK, self._handled))

    def on_beat(self) -> None:
        self._acked = self._handled
        self.write(encode_frame(FrameKind.ACK, self._handled))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        self.ended.set()
        receiver = self.receiver
        if receiver._link is self:
            receiver._link = None
            receiver._connected.clear()
            receiver._on_event(LaneDisconnected(receiver.lane, self.reason))
