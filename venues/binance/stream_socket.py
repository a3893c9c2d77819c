"""One path's sockets, kept alive: connect, subscribe in batches, reconnect with growing waits, replace within a day.

A shell: `StreamWatch` says what is silent, `ClientSession` how fast frames may go and when the connection is due for
replacement, `PendingRequests` which frames stayed unanswered. A replacement overlaps its predecessor until it has
brought the live streams; `OverlapFilter` drops what both bring. Pings are answered by `websockets`, also while a
message is being handled; its own keepalive is off, because the age of data says more.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from market.records import NS_PER_S
from venues.binance.control import Method, PendingRequests, encode_request
from venues.binance.messages import ControlReply, Data, ServerShutdown, UnknownMessage, decode_message
from venues.binance.numbers import MalformedMessageError
from venues.binance.session import RECONNECT_AFTER_NS, ClientSession
from venues.binance.stream_watch import AskAgain, GiveUp, OverlapFilter, StreamWatch, WatchSettings
from venues.binance.streams import Channel, Market, Route, make_target
from venues.book_feed import Backoff
from venues.port import ClientSettings

BATCH = 50  # names of one SUBSCRIBE frame
MESSAGE_BYTES_MAX = 8 << 20
LIVE = frozenset({Channel.DEPTH, Channel.MARK_PRICE})  # come within seconds whatever the market does
_FAILURES = (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed)


@dataclass(frozen=True, slots=True)
class SocketSettings:
    """How long a connection lives, and how patient its watch is."""

    replace_ns: int = RECONNECT_AFTER_NS
    overlap_ns: int = 30 * NS_PER_S  # the longest that two connections are kept
    settle_ns: int = 30 * NS_PER_S
    watch: WatchSettings = WatchSettings()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class SocketEvents:
    """Whom a socket tells. `on_subscribed`: a stream was acknowledged on a connection without a predecessor, or asked
    for again; `on_replaced`: the streams go on, from another connection."""

    on_data: Callable[[str, Data], None]
    on_subscribed: Callable[[str], None]
    on_replaced: Callable[[], None]
    on_lost: Callable[[str], None]


class _Link:
    """One connection."""

    def __init__(
        self, number: int, wire: ClientConnection, watch: StreamWatch, session: ClientSession, reply_ns: int,
        ts_open_ns: int,
    ) -> None:  # fmt: skip
        self.number, self.wire, self.watch, self.session = number, wire, watch, session
        self.ts_open_ns = ts_open_ns
        self.pending = PendingRequests(reply_ns)
        self.frames: list[tuple[Method, tuple[str, ...]]] = []  # to be sent
        self.ts_replacing_ns = -1
        self.reader: asyncio.Task[None] | None = None
        self.ended = ""  # why it is over


class StreamSocket:
    """The sockets of one path. `counts` says what happened; `reconnects` holds why, the last ones."""

    def __init__(
        self,
        address: str,
        route: Route,
        streams: Mapping[str, Channel],
        events: SocketEvents,
        settings: ClientSettings,
        socket_settings: SocketSettings | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.route, self._streams, self._events = route, dict(streams), events
        self._settings, self._sockets, self._clock_ns = settings, socket_settings or SocketSettings(), clock_ns
        self._url = address.rstrip("/") + make_target(route)
        self._backoff = Backoff(
            int(settings.backoff_s * NS_PER_S), int(settings.backoff_s_max * NS_PER_S), self._sockets.settle_ns
        )
        self._overlap = OverlapFilter()
        self._current: _Link | None = None
        self._successor: _Link | None = None
        self._number = 0
        self._ts_connect_ns = 0  # not before
        self._restart_reason = ""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.opened = asyncio.Event()  # every stream was acknowledged once
        self.failure = "not connected yet"
        self.repeats_dropped = 0
        self.counts: dict[str, int] = {}
        self.reasons: list[str] = []

    # For whoever owns it.

    def start(self) -> asyncio.Task[None]:
        """Begin; the task ends only by `close`, or by a fault of ours."""
        self._task = asyncio.create_task(self._run(), name=f"binance {self.route.value}")
        return self._task

    async def close(self) -> None:
        """Let go of everything."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for link in (self._current, self._successor):
            await self._end(link)
        self._current = self._successor = None

    @property
    def ts_alive_ns(self) -> int:
        """When the connection last brought data; 0: there is none, or it has brought nothing."""
        return self._current.watch.ts_alive_ns if self._current is not None else 0

    @property
    def connection(self) -> int:
        """The number of the connection in use; 0: none."""
        return self._current.number if self._current is not None else 0

    def resubscribe(self, stream: str) -> None:
        """Ask for a stream again."""
        if self._current is not None:
            self._count("resubscribed")
            self._current.frames += [(Method.UNSUBSCRIBE, (stream,)), (Method.SUBSCRIBE, (stream,))]
            self._wake.set()

    def restart(self, reason: str) -> None:
        """Give the connection up, open another."""
        self._restart_reason = reason
        self._wake.set()

    def list_faults(self, ts_now_ns: int) -> list[str]:
        """Return what is wrong with the socket and its streams, one line each."""
        if self._current is None:
            return [f"/{self.route.value}: {self.failure}"]
        return self._current.watch.list_silent(ts_now_ns)

    # The work.

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._wake.wait()

    async def _look(self) -> None:
        ts_now_ns = self._clock_ns()
        current = self._current
        if current is not None and self._restart_reason:
            current.ended = self._restart_reason
        self._restart_reason = ""
        if current is not None and current.ended:
            await self._drop(current)
        if self._successor is not None and self._successor.ended:
            await self._end(self._successor)
            self._successor = None
            self._delay(ts_now_ns)
        current = self._current
        if current is None:
            if ts_now_ns >= self._ts_connect_ns:
                self._current = await self._open(ts_now_ns)
        elif current.session.is_replacement_due(ts_now_ns):
            await self._replace(current, ts_now_ns)
        for link in (self._current, self._successor):
            if link is not None:
                await self._tend(link, self._clock_ns())

    async def _replace(self, current: _Link, ts_now_ns: int) -> None:
        if self._successor is None:
            if ts_now_ns >= self._ts_connect_ns:
                self._successor = await self._open(ts_now_ns)
                current.ts_replacing_ns = ts_now_ns
            return
        is_overlong = ts_now_ns - current.ts_replacing_ns >= self._sockets.overlap_ns
        if self._successor.watch.has_heard(LIVE) and (self._successor.watch.is_acknowledged or is_overlong):
            await self._promote(current)

    async def _promote(self, old: _Link) -> None:
        self._current, self._successor = self._successor, None
        self._count("replaced")
        await self._end(old)
        self.repeats_dropped += self._overlap.dropped
        self._overlap = OverlapFilter()
        self._events.on_replaced()

    async def _drop(self, link: _Link) -> None:
        # The connection is over: its successor takes its place, or the streams are lost.
        self.reasons = [*self.reasons[-99:], link.ended]
        successor = self._successor
        if successor is not None and not successor.ended and successor.watch.has_heard(LIVE):
            await self._promote(link)
            return
        self._current = None
        self.failure = f"reconnecting: {link.ended}"
        self._count("lost")
        await self._end(link)
        if successor is not None:
            self._successor = None
            await self._end(successor)
        self._backoff.settle(self._clock_ns() - link.ts_open_ns)
        self._delay(self._clock_ns())
        self._overlap = OverlapFilter()
        self._events.on_lost(link.ended)

    def _delay(self, ts_now_ns: int) -> None:
        self._ts_connect_ns = ts_now_ns + self._backoff.next_ns()

    async def _open(self, ts_now_ns: int) -> _Link | None:
        self._count("connects")
        try:
            wire = await connect(
                self._url, open_timeout=self._settings.connect_s, close_timeout=0.5, ping_interval=None,
                compression=None, max_size=MESSAGE_BYTES_MAX, proxy=None, user_agent_header=None,
            )  # fmt: skip
        except _FAILURES as error:
            why = f"{type(error).__name__} {error}"
            self.failure = f"cannot connect to {self._url}: {why}: check venues.binance.ws and the network"
            self._delay(self._clock_ns())
            return None
        self._number += 1
        watch = StreamWatch(self._streams, self._sockets.watch)
        session = ClientSession(Market.USDM, ts_now_ns, self._sockets.replace_ns)
        link = _Link(self._number, wire, watch, session, self._sockets.watch.reply_ns, self._clock_ns())
        names = tuple(self._streams)
        link.frames = [(Method.SUBSCRIBE, names[at : at + BATCH]) for at in range(0, len(names), BATCH)]
        link.reader = asyncio.create_task(self._read(link), name=f"binance {self.route.value} {link.number}")
        return link

    async def _tend(self, link: _Link, ts_now_ns: int) -> None:
        if link.reader is not None and link.reader.done():
            link.reader.result()  # a fault of ours ends everything, and is told
        while link.frames and not link.ended and not link.session.reserve_frame_ns(ts_now_ns):
            method, names = link.frames.pop(0)
            request = link.pending.make(method, names, ts_now_ns)
            try:
                async with asyncio.timeout(self._settings.connect_s):
                    await link.wire.send(encode_request(request).decode())
            except (ConnectionClosed, TimeoutError) as error:
                link.ended = link.ended or f"{type(error).__name__} {error}".strip()
                return
            if method is Method.SUBSCRIBE:
                for name in names:
                    link.watch.on_asked(name, ts_now_ns)
        for request in link.pending.take_overdue(ts_now_ns):
            self._count("unanswered")
            if request.method is Method.SUBSCRIBE and link.watch.is_acknowledged:
                self._tell_subscribed(link, request.params, ts_now_ns)  # all of them speak: the answer was lost
            elif request.method is Method.SUBSCRIBE:
                link.ended = link.ended or f"no answer to {request.method.value} of {len(request.params)} streams"
        for step in link.watch.on_time(ts_now_ns):
            match step:
                case GiveUp(detail):
                    link.ended = link.ended or detail
                case AskAgain(stream):
                    self._count("resubscribed")
                    link.frames += [(Method.UNSUBSCRIBE, (stream,)), (Method.SUBSCRIBE, (stream,))]
        if link.ended:
            self._wake.set()

    async def _read(self, link: _Link) -> None:
        try:
            async for content in link.wire:
                self._take(link, content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
            link.ended = link.ended or _describe_close(link.wire)
        except ConnectionClosed:
            link.ended = link.ended or _describe_close(link.wire)
        finally:
            self._wake.set()

    def _take(self, link: _Link, content: bytes) -> None:
        ts_now_ns = self._clock_ns()
        try:
            message = decode_message(content)
        except MalformedMessageError:
            self._count("malformed")
            return
        data = message.data
        if isinstance(data, ControlReply):
            self._settle(link, data, ts_now_ns)
            return
        is_ours = link is self._current or link is self._successor
        link.watch.on_message(message.stream, ts_now_ns)
        if isinstance(data, UnknownMessage):
            self._count("unknown")
        elif isinstance(data, ServerShutdown):
            link.session.note_shutdown(ts_now_ns)
        elif is_ours and not link.ended and self._overlap.accept(link.number, message.stream, data):
            try:
                self._events.on_data(message.stream, data)
            except MalformedMessageError:
                self._count("malformed")

    def _settle(self, link: _Link, reply: ControlReply, ts_now_ns: int) -> None:
        request = link.pending.settle(reply)
        if request is None or request.method is not Method.SUBSCRIBE:
            return
        if reply.error is not None:
            link.ended = f"binance refuses a subscription: {reply.error.code} {reply.error.msg}"
            self._wake.set()
            return
        self._tell_subscribed(link, request.params, ts_now_ns)

    def _tell_subscribed(self, link: _Link, names: Sequence[str], ts_now_ns: int) -> None:
        for name in names:
            link.watch.on_acknowledged(name, ts_now_ns)
            if link is self._current or self._current is None:
                self._events.on_subscribed(name)
        if link.watch.is_acknowledged:
            self.opened.set()

    async def _end(self, link: _Link | None) -> None:
        if link is None:
            return
        link.ended = link.ended or "closed"
        if link.reader is not None:
            link.reader.cancel()
            outcome = (await asyncio.gather(link.reader, return_exceptions=True))[0]
            if isinstance(outcome, Exception):
                raise outcome
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(0.5):
                await link.wire.close()
        link.wire.transport.abort()

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def _describe_close(wire: ClientConnection) -> str:
    return f"closed by the venue: {wire.close_code} {wire.close_reason or ''}".strip()
