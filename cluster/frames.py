"""The wire of a lane, without I/O: frames, the sender's outbox, the receiver's inbox.

A frame is `length: u32 | kind: u8 | sequence: u64 | payload`, big-endian; length counts everything after itself. Each
receiver of a lane has its own outbox and so its own sequence, 1, 2, 3, ... within one epoch (one life of the sender).
Recovery is go-back-N: the receiver names the last sequence it has (when it connects, or when it sees a gap) and the
sender goes on from there, out of its retained frames; what it no longer holds it declares lost, by number.

    sender                                   receiver
    CHALLENGE(nonce)                  -->
                                      <--    HELLO(name, position, mac)
    WELCOME(epoch, position, mac)     -->
    [LOST(sequence of the next)]      -->
    MESSAGE(1) MESSAGE(2) ...         -->
                                      <--    ACK(2)
    HEARTBEAT(last sequence sent)     -->
                                      <--    RESYNC(last sequence received), after a gap
    REFUSED(why)                      -->
"""

import enum
import struct
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import NamedTuple

_HEADER = struct.Struct(">IBQ")
_LENGTH_AFTER_ITSELF = _HEADER.size - 4
PAYLOAD_MAX_BYTES = 16 * 1024 * 1024
HANDSHAKE_MAX_BYTES = 4096


class FrameKind(enum.IntEnum):
    """What a frame is."""

    CHALLENGE = 1
    HELLO = 2
    WELCOME = 3
    REFUSED = 4
    MESSAGE = 5
    ACK = 6
    RESYNC = 7
    LOST = 8
    HEARTBEAT = 9


_KINDS = frozenset(int(kind) for kind in FrameKind)
_MESSAGE = int(FrameKind.MESSAGE)
_LOST = int(FrameKind.LOST)
_HEARTBEAT = int(FrameKind.HEARTBEAT)


class Frame(NamedTuple):
    """One frame, decoded."""

    kind: int
    sequence: int
    payload: bytes


class LanePosition(NamedTuple):
    """The last message a receiver has: `epoch` names the life of the sender, `sequence` counts within it."""

    epoch: int
    sequence: int


class RemoteProtocolError(Exception):
    """The other end broke the protocol of the lane: the connection is closed."""


class LaneFull(Exception):  # noqa: N818 - a condition the caller handles, named like queue.Full
    """A reliable lane holds `capacity` unacknowledged messages: wait, or refuse what caused the message."""


@dataclass(frozen=True, slots=True)
class LaneConnected:
    """The handshake is done; messages follow from `position` on."""

    lane: str
    position: LanePosition


@dataclass(frozen=True, slots=True)
class LaneDisconnected:
    """The connection is gone; a receiver tries again by itself."""

    lane: str
    reason: str


@dataclass(frozen=True, slots=True)
class LaneGap:
    """A sequence was skipped on the wire. A resync has been asked for; nothing is lost unless a LaneLost follows."""

    lane: str
    sequence_expected: int
    sequence_received: int


@dataclass(frozen=True, slots=True)
class LaneLost:
    """The sender no longer holds `count` messages: reconcile by another way."""

    lane: str
    count: int


@dataclass(frozen=True, slots=True)
class LaneEpochChanged:
    """The sender was restarted: its sequence began anew; what its old life had not delivered is its journal's."""

    lane: str
    epoch_before: int
    epoch: int


@dataclass(frozen=True, slots=True)
class LaneFailed:
    """The lane has stopped for good: `on_message` raised, or the sender refused this receiver."""

    lane: str
    reason: str


LaneEvent = LaneConnected | LaneDisconnected | LaneGap | LaneLost | LaneEpochChanged | LaneFailed


def encode_frame(kind: int, sequence: int = 0, payload: bytes = b"") -> bytes:
    """Return one frame as bytes.

    >>> encode_frame(FrameKind.ACK, 7).hex(" ")
    '00 00 00 09 06 00 00 00 00 00 00 00 07'
    """
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise ValueError(f"payload is {len(payload)} bytes, limit is {PAYLOAD_MAX_BYTES}")
    return _HEADER.pack(_LENGTH_AFTER_ITSELF + len(payload), kind, sequence) + payload


class FrameDecoder:
    """Bytes in, in any pieces; whole frames out, in order.

    A frame over the limit is judged only when all before it have been taken: one of them may end the handshake, and
    with it the small limit. `is_held` says that it waits: feed b"" then.

    Raises RemoteProtocolError on a length beyond `payload_max_bytes` or an unknown kind: the stream cannot be trusted
    after.
    """

    def __init__(self, payload_max_bytes: int = HANDSHAKE_MAX_BYTES) -> None:
        self.payload_max_bytes = payload_max_bytes  # small until the other end has proved who it is
        self.is_held = False
        self._buffer = b""

    def feed(self, data: bytes) -> list[Frame]:
        buffer = self._buffer + data if self._buffer else data
        frames: list[Frame] = []
        start, size = 0, len(buffer)
        self.is_held = False
        while size - start >= _HEADER.size:
            length, kind, sequence = _HEADER.unpack_from(buffer, start)
            payload_bytes = length - _LENGTH_AFTER_ITSELF
            if payload_bytes > self.payload_max_bytes and frames:
                self.is_held = True
                break
            if payload_bytes < 0 or payload_bytes > self.payload_max_bytes or kind not in _KINDS:
                raise RemoteProtocolError(f"not a lane frame: kind {kind}, length {length}")
            end = start + _HEADER.size + payload_bytes
            if end > size:
                break
            frames.append(Frame(kind, sequence, buffer[start + _HEADER.size : end]))
            start = end
        self._buffer = buffer[start:]
        return frames


class Outbox:
    """What one receiver has yet to get, and what it may still ask for again.

    Invariants: sequence_acked <= sequence_sent <= sequence_last; `_sent` holds consecutive sequences ending at
        sequence_last;
    at most `window` sequences lie between sequence_acked and sequence_sent. A message gets its sequence when it leaves
    `_pending` for the wire, so conflation, which happens in `_pending`, leaves no gap.

    capacity: reliable: messages not yet acknowledged; conflated: distinct keys waiting.
    window: messages on the way at once; a slow receiver sees at most this many stale ones before the newest.
    retain: acknowledged messages kept for a receiver that comes back with less than it once acknowledged.
    missed: messages sent before this receiver was known; it is told that they are lost.
    """

    def __init__(self, *, is_conflated: bool, capacity: int, window: int, retain: int, missed: int = 0) -> None:
        self.is_conflated = is_conflated
        self.capacity = capacity
        self.window = window
        self.retain = retain
        self.conflated_total = 0
        self.replayed_total = 0
        self.lost_total = 0
        self.sequence_last = missed  # last assigned
        self.sequence_sent = missed  # last put on the wire (goes back on a resync)
        self.sequence_acked = 0  # until resume() declares the missed ones lost
        self._sequence_highest = self.sequence_last  # highest ever put on the wire
        self._pending: OrderedDict[bytes | int, bytes] = OrderedDict()
        self._pending_id = 0
        self._sent: deque[tuple[int, bytes]] = deque()

    def __len__(self) -> int:
        """Messages the receiver has not acknowledged."""
        return self.sequence_last - self.sequence_acked + len(self._pending)

    def has_room(self, key: bytes) -> bool:
        if self.is_conflated:
            return key in self._pending or len(self._pending) < self.capacity
        return len(self) < self.capacity

    def offer(self, payload: bytes, key: bytes = b"") -> None:
        """Queue one message; on a conflated lane it takes the place, and the turn, of an older one with the same key.

        Raises LaneFull when there is no room.
        """
        if not self.has_room(key):
            raise LaneFull(f"{self.capacity} {'keys' if self.is_conflated else 'unacknowledged messages'} waiting")
        if not self.is_conflated:
            self._pending[self._pending_id] = payload
            self._pending_id += 1
            return
        if key in self._pending:
            self.conflated_total += 1
        self._pending[key] = payload

    def take(self) -> list[bytes]:
        """Return the frames that may go on the wire now: replays first, then new messages, within the window."""
        frames: list[bytes] = []
        room = self.window - (self.sequence_sent - self.sequence_acked)
        if room > 0 and self.sequence_sent < self.sequence_last:
            start = self.sequence_sent + 1 - self._sequence_retained
            for index in range(start, min(start + room, len(self._sent))):
                sequence, payload = self._sent[index]
                frames.append(encode_frame(_MESSAGE, sequence, payload))
            self.sequence_sent += len(frames)
            self.replayed_total += len(frames)
            room -= len(frames)
        while room > 0 and self._pending:
            _, payload = self._pending.popitem(last=False)
            self.sequence_last += 1
            self._sent.append((self.sequence_last, payload))
            frames.append(encode_frame(_MESSAGE, self.sequence_last, payload))
            self.sequence_sent = self.sequence_last
            room -= 1
        self._sequence_highest = max(self._sequence_highest, self.sequence_sent)
        return frames

    def apply_ack(self, sequence: int) -> None:
        """The receiver has handled everything up to `sequence`. Raises RemoteProtocolError if that was never sent."""
        if sequence > self._sequence_highest:
            raise RemoteProtocolError(f"acknowledged {sequence}, last sent is {self._sequence_highest}")
        if sequence <= self.sequence_acked:
            return
        self.sequence_acked = sequence
        self.sequence_sent = max(self.sequence_sent, sequence)
        while self._sent and self._sent[0][0] <= sequence - self.retain:
            self._sent.popleft()

    def resume(self, sequence: int) -> bytes | None:
        """Go on after `sequence`, the last message the receiver has.

        Returns the LOST frame to send first when retained messages no longer reach back that far, else None.
        Raises RemoteProtocolError when the receiver claims a message that was never sent.
        """
        if sequence > self._sequence_highest:
            raise RemoteProtocolError(f"receiver has {sequence}, last sent is {self._sequence_highest}")
        sequence_from = max(sequence, self._sequence_retained - 1)
        self.sequence_sent = self.sequence_acked = sequence_from
        if sequence_from == sequence:
            return None
        self.lost_total += sequence_from - sequence
        return encode_frame(_LOST, sequence_from + 1)

    def apply_resync(self, sequence: int) -> bytes | None:
        """Replay after `sequence` within a connection; return the LOST frame to send first, if any.

        A receiver that lacks an acknowledged message has missed the LOST frame (or the request is an old one: it
        ignores the answer).
        """
        if sequence >= self.sequence_acked:
            return self.resume(sequence)
        self.sequence_sent = self.sequence_acked
        return encode_frame(_LOST, self.sequence_acked + 1)

    @property
    def _sequence_retained(self) -> int:
        return self._sent[0][0] if self._sent else self.sequence_last + 1


class Inbox:
    """What one receiver has got: order, duplicates, gaps and epochs.

    `handle` returns the payload to deliver, or None. It leaves frames for the sender in `outgoing` and what the owner
    should know in `events`; the shell empties both. Each message is delivered once per epoch and in order, whatever the
    wire drops, repeats or reorders.
    """

    def __init__(self, lane: str, position: LanePosition | None = None) -> None:
        self.lane = lane
        self.position = (
            position  # the last message received; None before the first handshake of a receiver without memory
        )
        self.duplicates_total = 0
        self.gaps_total = 0
        self.lost_total = 0
        self.outgoing: list[bytes] = []
        self.events: list[LaneEvent] = []
        self._epoch = 0
        self._sequence = 0
        self._is_resyncing = False

    def welcome(self, sender: LanePosition) -> None:
        """Begin a connection: `sender` names the sender's epoch and the sequence it believes we have.

        Raises RemoteProtocolError when the epoch is older than one already seen: a sender that has been replaced lives
        on.
        """
        before = self.position
        if before is not None and sender.epoch < before.epoch:
            raise RemoteProtocolError(f"sender has epoch {sender.epoch}, already seen {before.epoch}: it was replaced")
        if before is None:
            self._sequence = sender.sequence
        elif sender.epoch != before.epoch:
            self.events.append(LaneEpochChanged(self.lane, before.epoch, sender.epoch))
            self._sequence = 0
        else:
            self._sequence = before.sequence
        self._epoch = sender.epoch
        self._is_resyncing = False
        self.position = LanePosition(self._epoch, self._sequence)
        self.events.append(LaneConnected(self.lane, self.position))

    def handle(self, frame: Frame) -> bytes | None:
        """Take one frame of an established connection; return a payload to deliver, or None."""
        kind, sequence, payload = frame
        expected = self._sequence + 1
        if kind == _MESSAGE:
            if sequence == expected:
                self._sequence = sequence
                self._is_resyncing = False
                self.position = LanePosition(self._epoch, sequence)
                return payload
            if sequence < expected:
                self.duplicates_total += 1
            elif not self._is_resyncing:
                self._ask_resync(sequence)
        elif kind == _HEARTBEAT:
            if sequence >= expected:  # the tail was lost, or the resync itself was
                self._ask_resync(sequence)
        elif kind == _LOST:
            if sequence > expected:
                self.lost_total += sequence - expected
                self.events.append(LaneLost(self.lane, sequence - expected))
                self._sequence = sequence - 1
                self.position = LanePosition(self._epoch, self._sequence)
        else:
            raise RemoteProtocolError(f"a sender does not say {FrameKind(kind).name} here")
        return None

    def rewind(self, position: LanePosition | None) -> None:
        """Between connections: pretend to have only what has been handled, so that the rest comes again."""
        self.position = position

    def _ask_resync(self, sequence_received: int) -> None:
        if not self._is_resyncing:
            self.gaps_total += 1
            self.events.append(LaneGap(self.lane, self._sequence + 1, sequence_received))
        self._is_resyncing = True
        self.outgoing.append(encode_frame(FrameKind.RESYNC, self._sequence))
