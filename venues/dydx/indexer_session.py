"""One WebSocket connection to the Indexer: the server's rules as a machine, and the client's check of message ids.

Text in, instructions out; times are inputs. The server of the next session performs `SendText`, `Ping`, `Close` and
`FetchInitial` (whose result comes back through `subscribed` or `failed`).
Message ids count messages that answer a subscribe or unsubscribe or carry data; an error about a request that was not
understood repeats the last id, as in the venue's source. So a repeat is normal and a hole is loss.
Source: PROTOCOLS.md 2.7; v4-chain indexer socks websocket/index.ts, lib/subscription.ts, lib/invalid-message.ts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from venues.dydx.indexer import CANDLE_RESOLUTIONS_S
from venues.dydx.indexer_stream import (
    BLOCK_HEIGHT,
    CANDLES,
    CHANNEL_VERSIONS,
    MARKETS,
    ORDERBOOK,
    PARENT_SUBACCOUNTS,
    SUBACCOUNTS,
    TRADES,
    ChannelData,
    Connected,
    InvalidRequest,
    ServerMessage,
    StreamError,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    decode_client,
    encode_server,
)

CLOSE_POLICY = 1008
CLOSE_HEARTBEAT = 1011
CLOSE_RESTART = 1012
RATE_LIMITED = '{"message":"Rate limited"}'
RESTARTING = '{"message":"Service restarting"}'
HEARTBEAT_TIMEOUT = "Heartbeat timeout"

PARENTS_MAX = 128
CHILDREN_MAX = 128_000


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """The server's settings."""

    per_channel: tuple[tuple[str, int], ...] = (
        (ORDERBOOK, 32),
        (TRADES, 32),
        (MARKETS, 32),
        (CANDLES, 32),
        (SUBACCOUNTS, 256),
        (PARENT_SUBACCOUNTS, 256),
        (BLOCK_HEIGHT, 1),
    )
    subscribes_max: int = 2  # per channel and id within window_ms
    invalid_max: int = 2  # within window_ms
    window_ms: int = 1000
    batch_ms: int = 250
    ping_ms: int = 30_000
    pong_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class SendText:
    """Send a text frame."""

    text: bytes


@dataclass(frozen=True, slots=True)
class SendPing:
    """Send a ping frame."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class FetchInitial:
    """Get the first contents of a channel, then call `subscribed` (or `failed`) with this."""

    channel: str
    id: str
    is_batched: bool
    message_id: int


Instruction = SendText | SendPing | Close | FetchInitial


@dataclass(slots=True)
class _Subscription:
    is_batched: bool
    is_pending: bool = True
    waiting: list[tuple[Any, int | None]] = field(default_factory=list)  # (contents, subaccount number)


@dataclass(slots=True)
class IndexerConnection:
    """The server's side of one connection."""

    connection_id: str
    is_ticker: Callable[[str], bool]
    limits: StreamLimits = field(default_factory=StreamLimits)
    message_id: int = 0
    is_closed: bool = False
    _subscriptions: dict[tuple[str, str], _Subscription] = field(default_factory=dict)
    _attempts: dict[str, list[int]] = field(default_factory=dict)
    _flush_at_ms: int = 0
    _ping_at_ms: int = 0
    _pong_until_ms: int | None = None

    def open(self, now_ms: int) -> list[Instruction]:
        """Greet."""
        self._ping_at_ms = now_ms + self.limits.ping_ms
        self._flush_at_ms = now_ms + self.limits.batch_ms
        return [self._say(Connected(self.connection_id, 0))]

    def receive(self, text: bytes | str, now_ms: int) -> list[Instruction]:
        """Handle a text frame of the client."""
        if self.is_closed:
            return []
        match decode_client(text):
            case InvalidRequest(text=answer, is_counted=is_counted):
                if is_counted and self._is_too_often("invalid", self.limits.invalid_max, now_ms):
                    error = self._error("Too many invalid messages. Please reconnect and try again.", self.message_id)
                    return [error, self._close(CLOSE_POLICY, RATE_LIMITED)]
                return [self._error(answer, self.message_id)]
            case Subscribe() as request:
                self.message_id += 1
                return self._subscribe(request, self.message_id, now_ms)
            case Unsubscribe(channel=channel, id=channel_id):
                known_id = channel_id or channel
                self._subscriptions.pop((channel, known_id), None)
                self.message_id += 1
                return [self._say(Unsubscribed(self.connection_id, self.message_id, channel, known_id))]
        return []

    def _subscribe(self, request: Subscribe, message_id: int, now_ms: int) -> list[Instruction]:
        channel = request.channel
        if not self._is_valid_id(channel, request.id):
            return [self._error(f"Invalid subscription id for channel: ({channel}-{request.id})", message_id)]
        limit = dict(self.limits.per_channel)[channel]
        if sum(known == channel for known, _ in self._subscriptions) >= limit:
            return [
                self._error(f"Per-connection subscription limit reached for {channel} (limit={limit}).", message_id)
            ]
        channel_id = request.id or channel  # a channel without ids is its own id
        if self._is_too_often(channel + channel_id, self.limits.subscribes_max, now_ms):
            text = f"Too many subscribe attempts for channel {channel}-{channel_id}. Please  reconnect and try again."
            return [self._error(text, message_id), self._close(CLOSE_POLICY, RATE_LIMITED)]
        if (channel, channel_id) in self._subscriptions:
            text = f"Invalid subscribe message: already subscribed ({channel}-{channel_id})"
            return [self._error(text, message_id, channel, request.id or "")]
        self._subscriptions[(channel, channel_id)] = _Subscription(request.is_batched)
        return [FetchInitial(channel, channel_id, request.is_batched, message_id)]

    def subscribed(self, fetch: FetchInitial, contents: Any) -> list[Instruction]:
        """Answer a subscribe with its first contents, then with what was published meanwhile."""
        subscription = self._find(fetch.channel, fetch.id)
        if subscription is None or self.is_closed:
            return []
        subscription.is_pending = False
        said: list[Instruction] = [
            self._say(Subscribed(self.connection_id, fetch.message_id, fetch.channel, fetch.id, contents))
        ]
        if not subscription.is_batched:
            for update, number in subscription.waiting:
                said.append(self._send_data(fetch.channel, fetch.id, (update,), number, is_batch=False))
            subscription.waiting.clear()
        return said

    def failed(self, fetch: FetchInitial) -> list[Instruction]:
        """Answer a subscribe whose first contents could not be had."""
        self._subscriptions.pop((fetch.channel, fetch.id), None)
        text = f"Internal error, could not fetch data for subscription: {fetch.channel}."
        return [self._error(text, fetch.message_id, fetch.channel, fetch.id)]

    def publish(
        self, channel: str, channel_id: str, contents: Any, subaccount_number: int | None = None
    ) -> list[Instruction]:
        """Send an update if this connection wants it: at once, or with the next batch."""
        subscription = self._find(channel, channel_id)
        if subscription is None or self.is_closed:
            return []
        if subscription.is_pending or subscription.is_batched:
            subscription.waiting.append((contents, subaccount_number))
            return []
        return [self._send_data(channel, channel_id, (contents,), subaccount_number, is_batch=False)]

    def advance(self, now_ms: int) -> list[Instruction]:
        """Do what is due: batches every 250 ms, a ping every 30 s, a close if no pong came within 10 s."""
        if self.is_closed:
            return []
        if self._pong_until_ms is not None and now_ms >= self._pong_until_ms:
            return [self._close(CLOSE_HEARTBEAT, HEARTBEAT_TIMEOUT)]
        done: list[Instruction] = []
        if now_ms >= self._flush_at_ms:
            self._flush_at_ms = now_ms + self.limits.batch_ms
            done += self._flush()
        if now_ms >= self._ping_at_ms:
            self._ping_at_ms = now_ms + self.limits.ping_ms
            if self._pong_until_ms is None:
                self._pong_until_ms = now_ms + self.limits.pong_ms
                done.append(SendPing())
        return done

    def note_pong(self) -> None:
        """A pong frame came."""
        self._pong_until_ms = None

    def restart(self) -> list[Instruction]:
        """Close as a deployment does."""
        return [self._close(CLOSE_RESTART, RESTARTING)]

    def list_subscriptions(self) -> list[tuple[str, str]]:
        """Return (channel, id) of every subscription; a channel without ids is its own id."""
        return list(self._subscriptions)

    def _flush(self) -> list[Instruction]:
        said: list[Instruction] = []
        for channel, channel_id in self.list_subscriptions():
            subscription = self._find(channel, channel_id)
            if subscription is None or subscription.is_pending or not subscription.waiting:
                continue
            by_number: dict[int | None, list[Any]] = {}
            for contents, number in subscription.waiting:
                by_number.setdefault(number, []).append(contents)
            subscription.waiting.clear()
            for number, updates in by_number.items():
                said.append(self._send_data(channel, channel_id, tuple(updates), number, is_batch=True))
        return said

    def _send_data(
        self, channel: str, channel_id: str, updates: tuple[Any, ...], number: int | None, *, is_batch: bool
    ) -> SendText:
        self.message_id += 1
        version = CHANNEL_VERSIONS[channel]
        return self._say(
            ChannelData(self.connection_id, self.message_id, channel, channel_id, version, updates, is_batch, number)
        )

    def _find(self, channel: str, channel_id: str) -> _Subscription | None:
        return self._subscriptions.get((channel, channel_id))

    def _say(self, message: ServerMessage) -> SendText:
        return SendText(encode_server(message))

    def _error(self, text: str, message_id: int, channel: str = "", channel_id: str = "") -> SendText:
        return self._say(StreamError(self.connection_id, message_id, text, channel, channel_id))

    def _close(self, code: int, reason: str) -> Close:
        self.is_closed = True
        self._subscriptions.clear()
        return Close(code, reason)

    def _is_too_often(self, key: str, allowed: int, now_ms: int) -> bool:
        recent = [at_ms for at_ms in self._attempts.get(key, []) if at_ms > now_ms - self.limits.window_ms]
        self._attempts[key] = [*recent, now_ms]
        return len(recent) >= allowed

    def _is_valid_id(self, channel: str, channel_id: str | None) -> bool:
        if channel in (MARKETS, BLOCK_HEIGHT):
            return True
        if channel_id is None:
            return False
        name, slash, rest = channel_id.partition("/")
        match channel:
            case "v4_orderbook" | "v4_trades":
                return self.is_ticker(channel_id)
            case "v4_candles":
                return self.is_ticker(name) and rest in CANDLE_RESOLUTIONS_S
            case _:
                numbers_max = CHILDREN_MAX if channel == SUBACCOUNTS else PARENTS_MAX
                is_number = rest.isascii() and rest.isdecimal() and len(rest) <= 9
                return bool(slash) and is_number and int(rest) < numbers_max


@dataclass(slots=True)
class MessageIdCheck:
    """The client's check that no message was lost on one connection."""

    last_id: int = -1
    holes: int = 0

    def note(self, message_id: int) -> bool:
        """Return whether messages are missing before this one: the books of this connection are then stale.

        >>> check = MessageIdCheck()
        >>> [check.note(message_id) for message_id in (0, 1, 1, 2, 4, 5)]
        [False, False, False, False, True, False]
        """
        is_hole = message_id > self.last_id + 1
        self.holes += is_hole
        self.last_id = max(self.last_id, message_id)
        return is_hole
