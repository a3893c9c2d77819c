"""The outgoing side of connections as a machine: messages in with their time, (when, where, bytes) out in order.

A connection is a TCP stream: without faults its messages leave in the order they were pushed, each after a seeded
latency. Faults come from a `FaultBoard`: a dropped message is not sent; a delayed one, and what follows on its channel,
comes later while other channels overtake; one that is put behind waits for later messages of the connection, or at most
`hold_ns`; a half-open connection swallows everything until it is closed; a close comes after what was due before it.
`push` returns the fate, so that the caller, who knows the protocol, alters the bytes of crossed or unknown ones before:
ask the board first and hand the fate in where that matters.

Bounded: a connection with more than `queue_max` messages waiting is closed with `overflow_code`, as venues do to slow
readers. Does not model: bandwidth, the kernel's buffers, pings (the server's own clock does those).
"""

import heapq
import math
import random
from dataclasses import dataclass, field

from market.records import NS_PER_MS, NS_PER_S
from venues.simulator.faults import FaultBoard, MessageFate


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How late messages are. Latency is log-normal around its median, and never below its floor."""

    latency_floor_ns: int = 0
    latency_median_ns: int = 2 * NS_PER_MS
    latency_sigma: float = 0.3  # of its logarithm; 0.0: always the median
    queue_max: int = 10_000
    overflow_code: int = 1008
    hold_ns: int = NS_PER_S  # the longest wait of a message put behind others


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing to do on a connection at a time: send `payload`, or close it if `close_code` is not 0."""

    ts_deliver_ns: int
    connection: str
    payload: bytes
    close_code: int = 0


@dataclass(slots=True)
class _Held:
    behind: int  # so many more messages of the connection go first
    ts_until_ns: int
    channel: str
    payload: bytes
    copies: int


@dataclass(slots=True)
class _Connection:
    draws: random.Random
    ts_last_ns: int = 0
    channels_ns: dict[str, int] = field(default_factory=dict)  # the last delivery of a delayed channel
    held: list[_Held] = field(default_factory=list)
    waiting: int = 0
    is_half_open: bool = False
    is_closing: bool = False


class DeliveryMachine:
    """The outgoing side of every connection of one venue's simulator."""

    def __init__(self, board: FaultBoard, venue: str, settings: DeliverySettings | None = None, seed: int = 0) -> None:
        self._board, self._venue, self._seed = board, venue, seed
        self._settings = settings or DeliverySettings()
        if self._settings.queue_max < 1 or self._settings.latency_floor_ns < 0 or self._settings.latency_median_ns < 0:
            raise ValueError(f"delivery: queue_max must be >= 1 and latencies >= 0, got {self._settings}")
        self._connections: dict[str, _Connection] = {}
        self._heap: list[tuple[int, int, Delivery]] = []
        self._count = 0

    def open(self, connection: str) -> None:
        """Begin a connection; its name is used once."""
        if connection in self._connections:
            raise ValueError(f"delivery: connection {connection!r} is open already")
        self._connections[connection] = _Connection(random.Random(f"{self._seed}:{connection}"))

    def forget(self, connection: str) -> None:
        """End a connection that the client closed: what waits for it is dropped."""
        self._connections.pop(connection, None)

    def push(
        self, connection: str, channel: str, payload: bytes, ts_now_ns: int, fate: MessageFate | None = None
    ) -> MessageFate:
        """Take one message of a channel and return what becomes of it; to a connection that is not open: nothing."""
        state = self._connections.get(connection)
        if state is None or state.is_closing:
            return MessageFate(is_dropped=True)
        if fate is None:
            fate = self._board.decide_message(self._venue, channel, ts_now_ns)
        state.is_half_open |= fate.is_half_open
        if not fate.is_dropped and not state.is_half_open:
            if fate.behind:
                until_ns = ts_now_ns + self._settings.hold_ns
                state.held.append(_Held(fate.behind, until_ns, channel, payload, fate.copies))
                state.waiting += fate.copies
            else:
                state.waiting += fate.copies
                ts_ns = self._send(connection, state, channel, payload, ts_now_ns, fate.copies, fate.delay_ns)
                self._release(connection, state, ts_ns)
        if fate.close_code:
            self.close(connection, fate.close_code, ts_now_ns)
        elif state.waiting > self._settings.queue_max:
            self.close(connection, self._settings.overflow_code, ts_now_ns)
        return fate

    def close(self, connection: str, close_code: int, ts_now_ns: int) -> None:
        """Close a connection after what is due before; held and later messages are lost."""
        state = self._connections.get(connection)
        if state is None or state.is_closing:
            return
        state.is_closing = True
        state.held.clear()
        self._put(max(ts_now_ns, state.ts_last_ns), Delivery(0, connection, b"", close_code))

    def pop(self, ts_now_ns: int) -> list[Delivery]:
        """Return what is due at or before now, in order of time, then of pushing."""
        for connection, state in self._connections.items():
            for held in [held for held in state.held if held.ts_until_ns <= ts_now_ns]:
                state.held.remove(held)
                self._send(connection, state, held.channel, held.payload, held.ts_until_ns, held.copies, 0, True)
        due: list[Delivery] = []
        while self._heap and self._heap[0][0] <= ts_now_ns:
            delivery = heapq.heappop(self._heap)[2]
            target = self._connections.get(delivery.connection)
            if target is None:
                continue  # forgotten, or closed before this was due
            if delivery.close_code:
                del self._connections[delivery.connection]
            else:
                target.waiting -= 1
            due.append(delivery)
        return due

    @property
    def ts_next_ns(self) -> int | None:
        """When something is due next, None if nothing waits: what a server sleeps until."""
        times = [held.ts_until_ns for state in self._connections.values() for held in state.held]
        if self._heap:
            times.append(self._heap[0][0])
        return min(times, default=None)

    def count_waiting(self, connection: str) -> int:
        """Return how many messages wait for a connection."""
        state = self._connections.get(connection)
        return 0 if state is None else state.waiting

    def _send(
        self,
        connection: str,
        state: _Connection,
        channel: str,
        payload: bytes,
        ts_now_ns: int,
        copies: int,
        delay_ns: int,
        is_due: bool = False,
    ) -> int:
        ts_ns = ts_now_ns if is_due else ts_now_ns + self._draw_latency_ns(state)
        ts_ns = max(ts_ns, state.ts_last_ns)
        state.ts_last_ns = ts_ns
        if delay_ns or channel in state.channels_ns:
            ts_ns = max(ts_ns + delay_ns, state.channels_ns.get(channel, 0))
            state.channels_ns[channel] = ts_ns
        for _ in range(copies):
            self._put(ts_ns, Delivery(0, connection, payload))
        return ts_ns

    def _release(self, connection: str, state: _Connection, ts_ns: int) -> None:
        # One message went: those held behind it come nearer, and go right after it when their turn has come.
        for held in [*state.held]:
            held.behind -= 1
            if held.behind <= 0:
                state.held.remove(held)
                self._send(connection, state, held.channel, held.payload, ts_ns, held.copies, 0, True)

    def _put(self, ts_ns: int, delivery: Delivery) -> None:
        self._count += 1
        timed = Delivery(ts_ns, delivery.connection, delivery.payload, delivery.close_code)
        heapq.heappush(self._heap, (ts_ns, self._count, timed))

    def _draw_latency_ns(self, state: _Connection) -> int:
        settings = self._settings
        median_ns, sigma = settings.latency_median_ns, settings.latency_sigma
        spread = math.exp(sigma * state.draws.gauss(0.0, 1.0)) if sigma > 0.0 else 1.0
        return max(settings.latency_floor_ns, int(median_ns * spread))
