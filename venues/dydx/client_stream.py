"""Our side of the Indexer's WebSocket: what is subscribed, what was lost, when to connect anew. And its supervision.

`StreamSession` decides, one per connection: text in, messages and texts to send out. A hole in the message ids means
loss on this connection: every channel is subscribed again, which brings a fresh snapshot. A subscription that is not
answered, or a live channel that falls silent, ends the connection. `IndexerStream` performs: it connects, waits longer
after each failure, and begins again until it is closed.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from market.records import NS_PER_S
from venues.book_feed import Backoff
from venues.dydx.chain_errors import MalformedMessageError
from venues.dydx.indexer_session import MessageIdCheck
from venues.dydx.indexer_stream import (
    BLOCK_HEIGHT,
    ChannelData,
    ServerMessage,
    StreamError,
    Subscribe,
    Subscribed,
    UnknownMessage,
    Unsubscribe,
    Unsubscribed,
    decode_server,
    encode_client,
)
from venues.port import ClientSettings, VenueUnavailableError

RESUBSCRIBE_NS = 1_200_000_000  # the server takes two subscribes per second and channel
SETTLE_NS = 30 * NS_PER_S

Key = tuple[str, str]
OnMessage = Callable[[ServerMessage, int], None]


def name_key(channel: str, channel_id: str | None) -> Key:
    """Return the key of a subscription; a channel without ids is its own id."""
    return channel, channel_id or channel


async def end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended."""
    left = {task for task in tasks if task is not asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)


class StreamSession:
    """One connection as we see it."""

    def __init__(self, wanted: Sequence[Subscribe], silence_ns: int, answer_ns: int, ts_now_ns: int) -> None:
        """Begin at the moment of connecting; a live channel is silent after `silence_ns`."""
        self._wanted = {name_key(one.channel, one.id): one for one in wanted}
        self._silence_ns, self._answer_ns = silence_ns, answer_ns
        self._pending: dict[Key, int] = {}
        self._heard_ns: dict[Key, int] = {}
        self._ids = MessageIdCheck()
        self._ts_again_ns: int | None = None
        self._ts_subscribed_ns = 0
        self._ts_opened_ns = ts_now_ns
        self.unknown = 0
        self.doubts = 0  # how often everything had to be subscribed again

    @property
    def is_live(self) -> bool:
        """Whether every subscription is in force and nothing is known to be missing."""
        return not self._pending and len(self._heard_ns) == len(self._wanted) and self._ts_again_ns is None

    @property
    def holes(self) -> int:
        """How often messages were missing."""
        return self._ids.holes

    def open(self, ts_now_ns: int) -> list[bytes]:
        """Return the first subscribes."""
        self._ts_subscribed_ns = ts_now_ns
        self._pending = dict.fromkeys(self._wanted, ts_now_ns)
        return [encode_client(one) for one in self._wanted.values()]

    def receive(self, text: bytes | str, ts_now_ns: int) -> ServerMessage | None:
        """Return the message, None if it cannot be read or is of no channel we asked for."""
        try:
            message = decode_server(text)
        except MalformedMessageError:
            self.unknown += 1
            return None
        if message.message_id >= 0 and self._ids.note(message.message_id):
            self.doubt(ts_now_ns)
        match message:
            case Subscribed():
                key = name_key(message.channel, message.id)
                self._pending.pop(key, None)
                self._heard_ns[key] = ts_now_ns
            case ChannelData():
                self._heard_ns[name_key(message.channel, message.id)] = ts_now_ns
            case UnknownMessage():
                self.unknown += 1
            case StreamError() | Unsubscribed():
                pass
        return message

    def doubt(self, ts_now_ns: int) -> None:
        """Have every channel subscribed again, as after a hole."""
        if self._ts_again_ns is None:
            self.doubts += 1
            self._ts_again_ns = max(ts_now_ns, self._ts_subscribed_ns + RESUBSCRIBE_NS)

    def advance(self, ts_now_ns: int) -> list[bytes]:
        """Return what is due to be sent: every channel anew after a hole."""
        if self._ts_again_ns is None or ts_now_ns < self._ts_again_ns:
            return []
        self._ts_again_ns = None
        self._ts_subscribed_ns = ts_now_ns
        self._pending = dict.fromkeys(self._wanted, ts_now_ns)
        texts = []
        for one in self._wanted.values():
            texts += [encode_client(Unsubscribe(one.channel, one.id)), encode_client(one)]
        return texts

    def find_fault(self, ts_now_ns: int) -> str:
        """Return why this connection should be given up, "" if it is fine."""
        for (channel, _), since_ns in self._pending.items():
            if ts_now_ns - since_ns > self._answer_ns:
                return f"{channel} is not answered"
        beat_ns = self._heard_ns.get((BLOCK_HEIGHT, BLOCK_HEIGHT)) if BLOCK_HEIGHT in self._channels() else None
        heard_ns = beat_ns if beat_ns is not None else max(self._heard_ns.values(), default=self._ts_opened_ns)
        if ts_now_ns - heard_ns > self._silence_ns:
            return f"silent for {(ts_now_ns - heard_ns) / NS_PER_S:.1f} s"
        return ""

    def _channels(self) -> set[str]:
        return {channel for channel, _ in self._wanted}


class IndexerStream:
    """A connection to the Indexer that is kept up until it is closed."""

    def __init__(
        self,
        url: str,
        wanted: Sequence[Subscribe],
        on_message: OnMessage,
        settings: ClientSettings,
        clock_ns: Callable[[], int],
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare. `on_message` hears everything readable, `on_lost` the end of each connection."""
        self._url, self._wanted, self._on_message, self._on_lost = url, wanted, on_message, on_lost
        self._settings, self._clock_ns = settings, clock_ns
        self._task: asyncio.Task[None] | None = None
        self._is_live = asyncio.Event()
        self.session: StreamSession | None = None
        self.ts_heard_ns = 0
        self.connects = self.holes = self.unknown = 0
        self.why_lost = "not connected yet"

    @property
    def is_live(self) -> bool:
        """Whether every channel is subscribed and whole now."""
        return self.session is not None and self.session.is_live

    async def open(self) -> None:
        """Connect and wait until every channel is in force. Raises VenueUnavailableError."""
        self._task = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(2.0 * self._settings.connect_s):
                await self._is_live.wait()
        except TimeoutError:
            await self.close()
            raise VenueUnavailableError(f"indexer socket {self._url}: {self.why_lost}; ask again later") from None

    async def close(self) -> None:
        """End the connection and its task. Safe to repeat."""
        task, self._task = self._task, None
        if task is not None:
            await end_tasks([task])

    async def _run(self) -> None:
        settings = self._settings
        backoff = Backoff(int(settings.backoff_s * 1e9), int(settings.backoff_s_max * 1e9), SETTLE_NS)
        while True:
            await asyncio.sleep(backoff.next_ns() / NS_PER_S)
            ts_begin_ns = self._clock_ns()
            try:
                await self._serve()
            except (OSError, TimeoutError, WebSocketException) as error:
                self.why_lost = f"{type(error).__name__}: {error}"[:200]
            finally:
                if self.session is not None:
                    self.holes += self.session.holes
                    self.unknown += self.session.unknown
                self.session = None
                self._on_lost()
            backoff.settle(self._clock_ns() - ts_begin_ns)

    async def _serve(self) -> None:
        settings = self._settings
        connection = connect(
            self._url,
            open_timeout=settings.connect_s,
            close_timeout=1.0,
            ping_interval=settings.silence_s,
            ping_timeout=settings.silence_s,
            max_size=None,
            compression=None,
        )
        async with connection as socket:
            self.connects += 1
            silence_ns, answer_ns = int(settings.silence_s * 1e9), int(settings.connect_s * 1e9)
            session = self.session = StreamSession(self._wanted, silence_ns, answer_ns, self._clock_ns())
            for text in session.open(self._clock_ns()):
                await socket.send(text.decode())
            tick_s = min(0.25, settings.silence_s / 4.0)
            while True:
                try:
                    async with asyncio.timeout(tick_s):
                        text_in = await socket.recv()
                except TimeoutError:
                    pass
                else:
                    self._hear(session, text_in)
                for text in session.advance(self._clock_ns()):
                    await socket.send(text.decode())
                if fault := session.find_fault(self._clock_ns()):
                    self.why_lost = fault
                    return

    def _hear(self, session: StreamSession, text: str | bytes) -> None:
        ts_now_ns = self.ts_heard_ns = self._clock_ns()
        message = session.receive(text, ts_now_ns)
        if message is not None:
            self._on_message(message, ts_now_ns)
        if session.is_live:
            self._is_live.set()
