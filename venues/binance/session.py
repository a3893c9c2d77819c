"""How long a Binance socket lives and what keeps it alive: pings, the 24-hour close, the limit on control frames.

Machines for both ends; times are inputs. Sources: the manuals' "WebSocket limits" pages (USD-M and spot, 2026).
Guesses: the close code of the 24-hour close (1001) and spot's notice before it (`SHUTDOWN_NOTICE_NS`).
"""

from collections import deque
from dataclasses import dataclass

from market.records import NS_PER_S
from venues.binance.streams import Market

MINUTE_NS, HOUR_NS = 60 * NS_PER_S, 3600 * NS_PER_S
LIFETIME_NS = 24 * HOUR_NS
SHUTDOWN_NOTICE_NS = 10 * MINUTE_NS
RECONNECT_AFTER_NS = 23 * HOUR_NS  # a client replaces its connection by then, the new one overlapping the old
CONNECTIONS_MAX, CONNECTIONS_WINDOW_NS = 300, 5 * MINUTE_NS  # new connections per IP
CLOSE_POLICY, CLOSE_GOING_AWAY = 1008, 1001


@dataclass(frozen=True, slots=True)
class SessionRules:
    """One market's numbers."""

    ping_every_ns: int
    pong_within_ns: int
    controls_per_s: int  # incoming pings, pongs and JSON frames


RULES = {
    Market.USDM: SessionRules(3 * MINUTE_NS, 10 * MINUTE_NS, 10),
    Market.SPOT: SessionRules(20 * NS_PER_S, MINUTE_NS, 5),
}


@dataclass(frozen=True, slots=True)
class SendPing:
    """Send a ping frame; the pong must carry the same payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class SendShutdown:
    """Send spot's `serverShutdown` event."""

    ts_event_ms: int


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close the socket with this code and reason."""

    code: int
    reason: str


SessionInstruction = SendPing | SendShutdown | CloseSocket


class RateWindow:
    """At most `limit` events in any `window_ns`, times given."""

    __slots__ = ("_limit", "_times_ns", "_window_ns")

    def __init__(self, limit: int, window_ns: int) -> None:
        self._limit = limit
        self._window_ns = window_ns
        self._times_ns: deque[int] = deque(maxlen=limit)

    def compute_wait_ns(self, ts_now_ns: int) -> int:
        """Return how long until one more event is allowed; 0: now."""
        if len(self._times_ns) < self._limit:
            return 0
        return max(0, self._times_ns[0] + self._window_ns - ts_now_ns)

    def note(self, ts_now_ns: int) -> bool:
        """Count one event; False if it breaks the limit."""
        is_allowed = self.compute_wait_ns(ts_now_ns) == 0
        self._times_ns.append(ts_now_ns)
        return is_allowed


class ServerSession:
    """The venue's side of one socket's life. Silent streams live by the same rules: pings go on."""

    def __init__(self, market: Market, ts_open_ns: int, lifetime_ns: int = LIFETIME_NS) -> None:
        self._market, self._lifetime_ns = market, lifetime_ns
        self._rules = RULES[market]
        self._controls = RateWindow(self._rules.controls_per_s, NS_PER_S)
        self._ts_open_ns = ts_open_ns
        self._ts_ping_due_ns = ts_open_ns + self._rules.ping_every_ns
        self._unanswered: deque[tuple[bytes, int]] = deque()  # payload, when its pong is overdue
        self._is_warned = market is not Market.SPOT
        self._is_closed = False

    def on_frame(self, ts_now_ns: int) -> list[SessionInstruction]:
        """Count an incoming ping, pong or JSON frame; above the limit the socket is closed."""
        if self._is_closed or self._controls.note(ts_now_ns):
            return []
        return [self._close(CLOSE_POLICY, "Too many requests")]

    def on_pong(self, payload: bytes, ts_now_ns: int) -> list[SessionInstruction]:
        """Take in a pong: only one that echoes a ping's payload keeps the socket alive, and all before it."""
        payloads = [sent for sent, _ in self._unanswered]
        if payload in payloads:
            for _ in range(payloads.index(payload) + 1):
                self._unanswered.popleft()
        return self.on_frame(ts_now_ns)

    def on_time(self, ts_now_ns: int) -> list[SessionInstruction]:
        """Return what is due by now."""
        if self._is_closed:
            return []
        if ts_now_ns >= self._ts_open_ns + self._lifetime_ns:
            return [self._close(CLOSE_GOING_AWAY, "")]
        if self._unanswered and ts_now_ns >= self._unanswered[0][1]:
            return [self._close(CLOSE_POLICY, "Pong timeout")]
        todo: list[SessionInstruction] = []
        if not self._is_warned and ts_now_ns >= self._ts_open_ns + self._lifetime_ns - SHUTDOWN_NOTICE_NS:
            self._is_warned = True
            todo.append(SendShutdown(ts_now_ns // 1_000_000))
        if ts_now_ns >= self._ts_ping_due_ns:
            payload = str(ts_now_ns // 1_000_000).encode()
            self._unanswered.append((payload, ts_now_ns + self._rules.pong_within_ns))
            self._ts_ping_due_ns = ts_now_ns + self._rules.ping_every_ns
            todo.append(SendPing(payload))
        return todo

    def next_due_ns(self) -> int:
        """Return when `on_time` has something to do; -1 once closed."""
        if self._is_closed:
            return -1
        due = [self._ts_open_ns + self._lifetime_ns, self._ts_ping_due_ns]
        if self._unanswered:
            due.append(self._unanswered[0][1])
        if not self._is_warned:
            due.append(self._ts_open_ns + self._lifetime_ns - SHUTDOWN_NOTICE_NS)
        return min(due)

    def _close(self, code: int, reason: str) -> CloseSocket:
        self._is_closed = True
        return CloseSocket(code, reason)


class ClientSession:
    """The client's side: when to replace the connection, and how fast it may send frames."""

    def __init__(self, market: Market, ts_open_ns: int, replace_after_ns: int = RECONNECT_AFTER_NS) -> None:
        self._controls = RateWindow(max(1, RULES[market].controls_per_s - 1), NS_PER_S)  # pongs count too
        self._ts_replace_ns = ts_open_ns + replace_after_ns

    def note_shutdown(self, ts_now_ns: int) -> None:
        """The venue announced the end: replace the connection now."""
        self._ts_replace_ns = min(self._ts_replace_ns, ts_now_ns)

    def is_replacement_due(self, ts_now_ns: int) -> bool:
        """Whether to open the next connection, keep both until the new one brings data, then drop this one."""
        return ts_now_ns >= self._ts_replace_ns

    def reserve_frame_ns(self, ts_now_ns: int) -> int:
        """Return 0 and count a frame if it may be sent now; otherwise how long to wait, counting nothing."""
        wait_ns = self._controls.compute_wait_ns(ts_now_ns)
        if not wait_ns:
            self._controls.note(ts_now_ns)
        return wait_ns
