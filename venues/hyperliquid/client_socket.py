"""One WebSocket to the venue that is kept alive: connects, subscribes, pings, notices silence, begins anew.

The venue never pings; it answers a JSON ping, and drops a socket on which it sent nothing for a minute. So the data's
age tells whether a socket lives: `silence_s` without a frame, pongs included, and it is made anew. `Backoff` spaces the
attempts. `is_ready`: the venue has acknowledged every subscription of this connection.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from market.records import NS_PER_S
from venues.book_feed import Backoff
from venues.hyperliquid import frames
from venues.hyperliquid import subscriptions as subs
from venues.hyperliquid.wire import MalformedMessageError
from venues.port import ClientSettings

_LOG = logging.getLogger(__name__)
_FRAME_BYTES_MAX = 1 << 24
_PINGS_PER_SILENCE = 3.0

OnFrame = Callable[[frames.Frame | frames.UnknownFrame], None]


class Feed:
    """Subscriptions that outlive their sockets. `on_change(True)` once in force, `on_change(False)` when lost."""

    def __init__(
        self,
        url: str,
        subscriptions: Sequence[subs.Subscription],
        settings: ClientSettings,
        on_frame: OnFrame,
        on_change: Callable[[bool], None],
    ) -> None:
        self._url, self._settings = url, settings
        self._subscriptions = tuple(dict.fromkeys(subscriptions))
        self._on_frame, self._on_change = on_frame, on_change
        base_ns, max_ns = int(settings.backoff_s * NS_PER_S), int(settings.backoff_s_max * NS_PER_S)
        self._backoff = Backoff(base_ns, max_ns, int(settings.silence_s * NS_PER_S))
        self._acks = 0
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.connections = 0  # made so far
        self.unreadable = 0  # frames we could not read
        self.heard_s = 0.0  # monotonic time of the last frame

    @property
    def is_ready(self) -> bool:
        """Whether every subscription is in force."""
        return self._ready.is_set()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def wait_ready(self, seconds: float) -> bool:
        """Return whether every subscription came into force in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        return self.is_ready

    async def stop(self) -> None:
        """End; safe to repeat."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._backoff.next_ns() / NS_PER_S)
            began_s = time.monotonic()
            reason = "closed by the venue"
            try:
                async with connect(
                    self._url,
                    open_timeout=self._settings.connect_s,
                    close_timeout=1.0,
                    ping_interval=None,
                    compression=None,
                    max_size=_FRAME_BYTES_MAX,
                ) as socket:
                    self._acks, self.heard_s = 0, time.monotonic()
                    self.connections += 1
                    for subscription in self._subscriptions:
                        await socket.send(frames.encode_subscribe(subscription).decode())
                    reason = await self._listen(socket)
            except (OSError, TimeoutError, WebSocketException) as error:
                reason = type(error).__name__
            finally:
                if self._ready.is_set():
                    self._ready.clear()
                    self._on_change(False)
            self._backoff.settle(int((time.monotonic() - began_s) * NS_PER_S))
            _LOG.warning("hyperliquid socket lost: %s; connecting again", reason)

    async def _listen(self, socket: ClientConnection) -> str:
        every_s = self._settings.silence_s / _PINGS_PER_SILENCE
        while True:
            try:
                async with asyncio.timeout(every_s):
                    data = await socket.recv()
            except TimeoutError:
                if time.monotonic() - self.heard_s >= self._settings.silence_s:
                    return f"silent for {self._settings.silence_s:g} s"
                await socket.send(frames.PING.decode())
                continue
            self.heard_s = time.monotonic()
            self._take(data)

    def _take(self, data: str | bytes) -> None:
        try:
            frame = frames.decode_frame(data)
        except MalformedMessageError:
            self.unreadable += 1
            self._on_frame(frames.UnknownFrame("", {}))
            return
        if isinstance(frame, frames.SubscriptionResponse):
            self._acks += 1
            if self._acks == len(self._subscriptions):
                self._ready.set()
                self._on_change(True)
        elif isinstance(frame, frames.ErrorFrame):
            _LOG.warning("hyperliquid socket: the venue refused a frame: %s", frame.data[:120])
        elif not isinstance(frame, frames.Pong | frames.Greeting):
            self._on_frame(frame)
