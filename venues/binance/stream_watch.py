"""What a feed makes of the streams of one socket: which were acknowledged, which are silent, which came twice. Sans-IO.

`StreamWatch`: a stream that was acknowledged and brings nothing is on the wrong path or dead: it is asked for again,
with growing patience; a live channel (the mark price comes every second) or a whole connection that falls silent ends
the connection.
`OverlapFilter`: while an old and a new connection overlap, each update is passed on from whichever is first.
"""

from dataclasses import dataclass

from market.records import NS_PER_S
from venues.binance.messages import AggTrade, BookTicker, Data, DepthUpdate, Kline, MarkPrice
from venues.binance.streams import Channel

WRONG_PATH = "acknowledged, then silent: is the stream on the right path?"


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How patient the watch is [ns]."""

    first_message_ns: int = 10 * NS_PER_S
    silence_ns: int = 15 * NS_PER_S
    reply_ns: int = 5 * NS_PER_S
    patience_max_ns: int = 300 * NS_PER_S
    resubscribes_max: int = 2


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Unsubscribe and subscribe this stream."""

    stream: str
    detail: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the connection, open another."""

    detail: str


@dataclass(slots=True)
class _Watched:
    channel: Channel
    ts_asked_ns: int = -1  # subscribed then, or asked for again
    ts_acknowledged_ns: int = -1
    ts_heard_ns: int = -1
    knocks: int = 0


class StreamWatch:
    """The streams of one connection. Books are watched by `BookSyncMachine`; here only their first message."""

    def __init__(self, streams: dict[str, Channel], settings: WatchSettings) -> None:
        self._settings = settings
        self._streams = {name: _Watched(channel) for name, channel in streams.items()}
        self.ts_alive_ns = 0  # when anything came last

    def on_asked(self, stream: str, ts_now_ns: int) -> None:
        """A SUBSCRIBE frame for it was sent."""
        self._streams[stream].ts_asked_ns = ts_now_ns

    def on_acknowledged(self, stream: str, ts_now_ns: int) -> None:
        """The venue acknowledged it."""
        self._streams[stream].ts_acknowledged_ns = ts_now_ns

    def on_message(self, stream: str, ts_now_ns: int) -> bool:
        """Take in that a stream brought something; False for one that is not watched."""
        self.ts_alive_ns = max(self.ts_alive_ns, ts_now_ns)
        watched = self._streams.get(stream)
        if watched is not None:
            watched.ts_heard_ns, watched.knocks = ts_now_ns, 0
        return watched is not None

    @property
    def is_acknowledged(self) -> bool:
        """Whether every stream was acknowledged, or speaks, which says as much."""
        return all(watched.ts_acknowledged_ns >= 0 or watched.ts_heard_ns >= 0 for watched in self._streams.values())

    def has_heard(self, channels: frozenset[Channel]) -> bool:
        """Whether every stream of these channels has brought something."""
        return all(watched.ts_heard_ns >= 0 for watched in self._streams.values() if watched.channel in channels)

    def list_silent(self, ts_now_ns: int) -> list[str]:
        """Return what is silent longer than it should be, one line each."""
        lines: list[str] = []
        for name, watched in self._streams.items():
            if watched.ts_asked_ns < 0:
                continue
            if watched.ts_heard_ns < 0 and (watched.knocks or self._is_overdue(watched, ts_now_ns)):
                is_late = watched.ts_acknowledged_ns < 0
                lines.append(f"{name}: " + ("not acknowledged" if is_late else WRONG_PATH))
            elif watched.channel is Channel.MARK_PRICE and watched.ts_heard_ns >= 0:
                silent_ns = ts_now_ns - watched.ts_heard_ns
                if silent_ns >= self._settings.silence_ns:
                    lines.append(f"{name}: silent for {silent_ns / NS_PER_S:.1f} s")
        return lines

    def on_time(self, ts_now_ns: int) -> list[AskAgain | GiveUp]:
        """Return what is due by now."""
        todo: list[AskAgain | GiveUp] = []
        silent_ns = ts_now_ns - self.ts_alive_ns
        if self.ts_alive_ns and silent_ns >= self._settings.silence_ns:
            return [GiveUp(f"the whole connection is silent for {silent_ns / NS_PER_S:.1f} s")]
        for name, watched in self._streams.items():
            if watched.ts_asked_ns < 0:
                continue
            is_live = watched.channel is Channel.MARK_PRICE and watched.ts_heard_ns >= 0
            if is_live and ts_now_ns - watched.ts_heard_ns >= self._settings.silence_ns:
                return [GiveUp(f"{name}: silent for {(ts_now_ns - watched.ts_heard_ns) / NS_PER_S:.1f} s")]
            if watched.ts_heard_ns >= 0 or not self._is_overdue(watched, ts_now_ns):
                continue
            watched.knocks += 1
            watched.ts_asked_ns = ts_now_ns
            if watched.channel is Channel.MARK_PRICE and watched.knocks > self._settings.resubscribes_max:
                return [GiveUp(f"{name}: {WRONG_PATH}")]
            todo.append(AskAgain(name, WRONG_PATH))
        return todo

    def _is_overdue(self, watched: _Watched, ts_now_ns: int) -> bool:
        # A quiet instrument has no trades for minutes: whoever may be quiet is asked for ever more rarely.
        patience_ns = self._settings.first_message_ns
        if watched.channel is not Channel.MARK_PRICE:
            patience_ns = min(patience_ns << min(watched.knocks, 16), self._settings.patience_max_ns)
        return ts_now_ns - watched.ts_asked_ns >= patience_ns


class OverlapFilter:
    """Tells updates that the other connection brought already; those of one connection all pass."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, int]] = {}  # stream -> newest number, connection
        self.dropped = 0

    def accept(self, connection: int, stream: str, data: Data) -> bool:
        """Return whether to pass a message on."""
        number = find_number(data)
        if number < 0:
            return True
        newest, owner = self._newest.get(stream, (-1, connection))
        if number <= newest and owner != connection:
            self.dropped += 1
            return False
        if number >= newest or owner == connection:
            self._newest[stream] = max(number, newest), connection
        return True


def find_number(data: Data) -> int:
    """Return what grows from message to message of a stream; -1 if nothing does."""
    match data:
        case DepthUpdate():
            return data.last_id
        case BookTicker():
            return data.update_id
        case AggTrade():
            return data.trade_id
        case MarkPrice():
            return data.ts_event_ms
        case Kline():
            return 2 * data.bar.ts_open_ms + data.bar.is_closed
    return -1
