"""The sending end of a lane. `cluster.lanes` says what lanes are."""

import asyncio
import contextlib
import enum
import os
import time
from collections.abc import Callable, Iterable
from typing import Self

from cluster.frames import (
    Frame,
    FrameKind,
    LaneConnected,
    LaneDisconnected,
    LaneEvent,
    LaneFull,
    LanePosition,
    Outbox,
    RemoteProtocolError,
    encode_frame,
)
from cluster.handshake import Hello, Welcome, new_nonce, open_hello, seal_welcome
from cluster.link import LaneCounters, Link, bind_unix, check_token, ignore_event, parse_endpoint

RECEIVERS_MAX = 64
WINDOW_RELIABLE = 1024
WINDOW_CONFLATED = 64


class LaneKind(enum.StrEnum):
    """What a lane does when a receiver is slow: `cluster.lanes` has the whole of it."""

    RELIABLE = "reliable"
    CONFLATED = "conflated"


class LaneServer:
    """The sending end of a lane.

    endpoint: `unix:///path` (created with mode 0600; a stale socket file is replaced) or `tcp://host:port`, port 0 for
        a free one.
    token: shared secret, required for TCP.
    epoch: which life of the sender this is; must grow with every restart. None: wall clock [ns].
    receivers: names whose messages are kept from the start, before they first connect. Empty: messages wait for the
        first receiver that comes. A name that comes later still is told how many messages it missed.
    capacity: RELIABLE: unacknowledged messages; CONFLATED: distinct keys waiting.
    window: messages on the way to one receiver at once. retain: acknowledged messages kept for replay.
    on_event: told when a receiver (named in `lane` as "lane>receiver") comes or goes.
    """

    def __init__(
        self,
        lane: str,
        kind: LaneKind,
        endpoint: str,
        *,
        token: bytes = b"",
        epoch: int | None = None,
        receivers: Iterable[str] = (),
        capacity: int = 4096,
        window: int | None = None,
        retain: int = 1024,
        on_event: Callable[[LaneEvent], None] = ignore_event,
    ) -> None:
        if window is None:
            window = WINDOW_RELIABLE if kind is LaneKind.RELIABLE else WINDOW_CONFLATED
        for what, number in (("capacity", capacity), ("window", window)):
            if number < 1:
                raise ValueError(f"lane {lane!r}: {what} is {number}, must be at least 1")
        scheme, _, _ = parse_endpoint(endpoint)
        check_token(scheme, token)
        self.lane = lane
        self.kind = kind
        self.endpoint = endpoint  # after start(): with the real port
        self.epoch = time.time_ns() if epoch is None else epoch
        self.messages_total = 0
        self._token = token
        self._capacity, self._window, self._retain = capacity, window, retain
        self._on_event = on_event
        self._outboxes = {name: self._new_outbox() for name in receivers}
        self._unclaimed = None if self._outboxes else self._new_outbox()  # the first receiver's, whoever that is
        self._latest: dict[bytes, bytes] = {}  # conflated: what a latecomer gets first
        self._links: dict[str, _ServerLink] = {}
        self._incarnations: dict[str, int] = {}
        self._accepted: set[_ServerLink] = set()
        self._connections_total = 0
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_flush_due = False
        self._room = asyncio.Event()
        self._send_lock = asyncio.Lock()

    def _new_outbox(self, missed: int = 0) -> Outbox:
        return Outbox(
            is_conflated=self.kind is LaneKind.CONFLATED,
            capacity=self._capacity,
            window=self._window,
            retain=self._retain,
            missed=missed,
        )

    async def start(self) -> Self:
        """Listen. Raises OSError when the path or port cannot be had."""
        assert self._server is None
        self._loop = asyncio.get_running_loop()
        scheme, host, port = parse_endpoint(self.endpoint)
        if scheme == "unix":
            self._server = await self._loop.create_unix_server(lambda: _ServerLink(self), sock=bind_unix(host))
        else:
            self._server = await self._loop.create_server(lambda: _ServerLink(self), host, port)
            self.endpoint = f"tcp://{host}:{self._server.sockets[0].getsockname()[1]}"
        return self

    def send_nowait(self, payload: bytes, key: bytes = b"") -> None:
        """Queue one message for every receiver. Raises LaneFull, and then queues it for none, when one has no room."""
        if not self._has_room(key):
            raise LaneFull(f"lane {self.lane!r} is full: {self._describe_full(key)}")
        for outbox in self._outboxes.values():
            outbox.offer(payload, key)
        if self._unclaimed is not None:
            self._unclaimed.offer(payload, key)
        if self.kind is LaneKind.CONFLATED:
            self._latest[key] = payload
        self.messages_total += 1
        if self._links and not self._is_flush_due and self._loop is not None:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    async def send(self, payload: bytes, key: bytes = b"") -> None:
        """Queue one message, waiting for room as long as it takes. Concurrent callers are served in turn."""
        async with self._send_lock:
            while not self._has_room(key):
                self._room.clear()
                await self._room.wait()
            self.send_nowait(payload, key)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until every receiver has acknowledged everything; False if that takes longer than `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.counters().waiting:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            return False
        return True

    def forget(self, name: str) -> int:
        """Drop a receiver that will not come back and blocks the lane; return how much it had not acknowledged."""
        outbox = self._outboxes.pop(name, None)
        if (link := self._links.pop(name, None)) is not None:
            link.refuse("receiver was forgotten")
        self._room.set()
        return 0 if outbox is None else len(outbox)

    async def close(self) -> None:
        """Stop listening and cut every connection. Waits for nobody: call `drain` before."""
        if self._server is None:
            return
        self._server.close()
        for link in list(self._accepted):
            link.abort("sender closed")
        await self._server.wait_closed()
        scheme, path, _ = parse_endpoint(self.endpoint)
        if scheme == "unix":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._server = None

    def counters(self) -> LaneCounters:
        boxes = list(self._outboxes.values()) + ([] if self._unclaimed is None else [self._unclaimed])
        return LaneCounters(
            messages=self.messages_total,
            waiting=sum(len(box) for box in boxes),
            conflated=sum(box.conflated_total for box in boxes),
            replayed=sum(box.replayed_total for box in boxes),
            duplicates=0,
            gaps=0,
            lost=sum(box.lost_total for box in boxes),
            connections=self._connections_total,
        )

    @property
    def receivers_connected(self) -> tuple[str, ...]:
        return tuple(self._links)

    def _has_room(self, key: bytes) -> bool:
        if self._unclaimed is not None and not self._unclaimed.has_room(key):
            return False
        return all(outbox.has_room(key) for outbox in self._outboxes.values())

    def _describe_full(self, key: bytes) -> str:
        full = [name for name, outbox in self._outboxes.items() if not outbox.has_room(key)]
        return f"{self._capacity} waiting for {', '.join(full) or 'the first receiver'}"

    def _flush(self) -> None:
        self._is_flush_due = False
        for link in self._links.values():
            link.flush()

    def _join(self, link: "_ServerLink", hello: Hello) -> Outbox:
        """Bind a proven receiver to its outbox. Raises RemoteProtocolError when it must stay away."""
        if hello.lane != self.lane:
            raise RemoteProtocolError(f"this is lane {self.lane!r}, not {hello.lane!r}")
        if hello.incarnation < self._incarnations.get(hello.name, 0):
            raise RemoteProtocolError(f"receiver {hello.name!r} has been replaced by a newer one")
        outbox = self._outboxes.get(hello.name)
        if outbox is None:
            if len(self._outboxes) >= RECEIVERS_MAX:
                raise RemoteProtocolError(f"lane {self.lane!r} has {RECEIVERS_MAX} receivers already")
            outbox = self._outboxes[hello.name] = self._unclaimed or self._latecomers_outbox()
            self._unclaimed = None
        if (before := self._links.pop(hello.name, None)) is not None:
            before.refuse(f"receiver {hello.name!r} has been replaced by a newer one")
        self._incarnations[hello.name] = hello.incarnation
        self._links[hello.name] = link
        self._connections_total += 1
        return outbox

    def _latecomers_outbox(self) -> Outbox:
        if self.kind is LaneKind.RELIABLE:
            return self._new_outbox(missed=self.messages_total)
        outbox = self._new_outbox()
        for key, payload in self._latest.items():
            outbox.offer(payload, key)
        return outbox

    def _leave(self, link: "_ServerLink") -> None:
        self._accepted.discard(link)
        if self._links.get(link.name) is link:
            del self._links[link.name]


class _ServerLink(Link):
    def __init__(self, server: LaneServer) -> None:
        super().__init__()
        self.server = server
        self.name = ""
        self._nonce = new_nonce()
        self._outbox: Outbox | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.server._accepted.add(self)
        self.write(encode_frame(FrameKind.CHALLENGE, 0, self._nonce))

    def on_frames(self, frames: list[Frame]) -> None:
        for frame in frames:
            if self._outbox is None:
                self._greet(frame)
            elif frame.kind == FrameKind.ACK:
                self._outbox.apply_ack(frame.sequence)
                self.server._room.set()
            elif frame.kind == FrameKind.RESYNC:
                if (lost := self._outbox.apply_resync(frame.sequence)) is not None:
                    self.write(lost)
            elif frame.kind == FrameKind.REFUSED:
                self.abort(frame.payload.decode(errors="replace"))
                return
            else:
                raise RemoteProtocolError(f"a receiver does not say {FrameKind(frame.kind).name} here")
        self.flush()

    def _greet(self, frame: Frame) -> None:
        if frame.kind != FrameKind.HELLO:
            raise RemoteProtocolError(f"expected HELLO, got {FrameKind(frame.kind).name}")
        server = self.server
        hello = open_hello(frame.payload, server._token, self._nonce)
        outbox = server._join(self, hello)
        self.name, self._outbox = hello.name, outbox
        base = 0  # a receiver of an earlier epoch has nothing of this one
        if hello.epoch is None:
            base = outbox.sequence_acked
        elif hello.epoch == server.epoch:
            base = hello.sequence
        lost = outbox.resume(base)
        welcome = Welcome(lane=server.lane, epoch=server.epoch, sequence=base, window=outbox.window)
        self.write(encode_frame(FrameKind.WELCOME, 0, seal_welcome(welcome, server._token, hello.nonce)))
        if lost is not None:
            self.write(lost)
        self.opened()
        server._on_event(LaneConnected(f"{server.lane}>{self.name}", LanePosition(server.epoch, base)))

    def flush(self) -> None:
        if self.is_open and self.is_writable and self._outbox is not None and (frames := self._outbox.take()):
            self.write(b"".join(frames))
            self.server._room.set()

    def on_beat(self) -> None:
        if self._outbox is not None:
            self.write(encode_frame(FrameKind.HEARTBEAT, self._outbox.sequence_sent))

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.server._leave(self)
        if self.name:
            self.server._on_event(LaneDisconnected(f"{self.server.lane}>{self.name}", self.reason))
