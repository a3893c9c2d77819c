"""The wire of a lane under faults: whatever is dropped, repeated, reordered or cut, delivery is exact."""

import doctest
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cluster.frames
from cluster.frames import (
    Frame,
    FrameDecoder,
    FrameKind,
    Inbox,
    LaneEpochChanged,
    LaneFull,
    LaneGap,
    LaneLost,
    LanePosition,
    Outbox,
    RemoteProtocolError,
    encode_frame,
)


def make_outbox(*, is_conflated: bool = False, capacity: int = 1000, window: int = 4, retain: int = 2) -> Outbox:
    return Outbox(is_conflated=is_conflated, capacity=capacity, window=window, retain=retain)


def decode(frames: list[bytes]) -> list[Frame]:
    return FrameDecoder(1000).feed(b"".join(frames))


def test_docstrings_hold() -> None:
    assert doctest.testmod(cluster.frames).failed == 0


@given(
    st.lists(st.tuples(st.sampled_from(FrameKind), st.integers(0, 2**64 - 1), st.binary(max_size=40)), max_size=8),
    st.data(),
)
def test_frames_survive_any_cutting(frames: list[tuple[FrameKind, int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(*frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    decoder, decoded = FrameDecoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoded += decoder.feed(stream[start:end])
    assert decoded == [Frame(*frame) for frame in frames]


@given(st.binary(max_size=64))
def test_garbage_is_refused_or_waited_for(garbage: bytes) -> None:
    try:
        frames = FrameDecoder().feed(garbage)
    except RemoteProtocolError:
        return
    assert b"".join(encode_frame(*frame) for frame in frames) == garbage[: sum(13 + len(f.payload) for f in frames)]


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"\xff\xff\xff\xff\x05" + bytes(8), id="length beyond the limit"),
        pytest.param(b"\x00\x00\x00\x01\x05" + bytes(8), id="length below the header"),
        pytest.param(b"\x00\x00\x00\x09\x63" + bytes(8), id="unknown kind"),
    ],
)
def test_untrusted_streams_end(stream: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not a lane frame"):
        FrameDecoder().feed(stream)


class FaultyWire:
    """Both directions between an Outbox and an Inbox, with every fault the wire can have, chosen by hypothesis."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox, self.inbox = outbox, Inbox("lane")
        self.delivered: list[bytes] = []
        self.downstream: deque[Frame] = deque()
        self.upstream: deque[Frame] = deque()
        self.connect()

    def connect(self) -> None:
        self.downstream.clear()
        self.upstream.clear()
        position = self.inbox.position
        base = self.outbox.sequence_acked if position is None else position.sequence
        lost = self.outbox.resume(base)
        self.inbox.welcome(LanePosition(7, base))
        if lost is not None:
            self.downstream.extend(decode([lost]))
        self.send()

    def send(self) -> None:
        self.downstream.extend(decode(self.outbox.take()))

    def step(self, fault: str) -> None:
        if fault == "cut":
            self.connect()
        elif fault == "heartbeat":
            self.downstream.append(Frame(FrameKind.HEARTBEAT, self.outbox.sequence_sent, b""))
            self.upstream.append(Frame(FrameKind.ACK, self._sequence(), b""))
        elif fault == "repeat" and self.downstream:
            self.downstream.append(self.downstream[0])
        elif fault == "swap" and len(self.downstream) > 1:
            self.downstream[0], self.downstream[1] = self.downstream[1], self.downstream[0]
        elif fault == "drop":
            self._pop(self.downstream)
        elif fault == "drop_up":
            self._pop(self.upstream)
        elif fault == "down":
            self._down()
        elif fault == "up":
            self._up()

    def settle(self) -> None:
        for _ in range(200):
            self.step("heartbeat")
            while self.downstream or self.upstream:
                self._down()
                self._up()

    def _sequence(self) -> int:
        assert self.inbox.position is not None
        return self.inbox.position.sequence

    def _pop(self, queue: deque[Frame]) -> Frame | None:
        return queue.popleft() if queue else None

    def _down(self) -> None:
        if (frame := self._pop(self.downstream)) is not None:
            payload = self.inbox.handle(frame)
            if payload is not None:
                self.delivered.append(payload)
                self.upstream.append(Frame(FrameKind.ACK, self._sequence(), b""))
            self.upstream.extend(decode(self.inbox.outgoing))
            self.inbox.outgoing.clear()

    def _up(self) -> None:
        if (frame := self._pop(self.upstream)) is not None:
            if frame.kind == FrameKind.ACK:
                self.outbox.apply_ack(frame.sequence)
            elif (lost := self.outbox.apply_resync(frame.sequence)) is not None:
                self.downstream.extend(decode([lost]))
            self.send()


FAULTS = st.lists(
    st.sampled_from(["cut", "heartbeat", "repeat", "swap", "drop", "drop_up", "offer", "down", "up", "down", "up"]),
    max_size=120,
)


@settings(max_examples=150)
@given(FAULTS, st.integers(1, 5))
def test_reliable_delivers_everything_once_and_in_order(faults: list[str], window: int) -> None:
    wire, offered = FaultyWire(make_outbox(window=window)), []
    for fault in faults:
        if fault == "offer":
            offered.append(b"%d" % len(offered))
            wire.outbox.offer(offered[-1])
            wire.send()
        wire.step(fault)
        assert wire.outbox.sequence_acked <= wire.outbox.sequence_sent <= wire.outbox.sequence_last
        assert wire.outbox.sequence_sent - wire.outbox.sequence_acked <= window
    wire.settle()
    assert wire.delivered == offered
    assert wire.inbox.lost_total == wire.outbox.lost_total == 0
    assert len(wire.outbox) == 0


@settings(max_examples=150)
@given(FAULTS, st.integers(1, 3), st.data())
def test_conflated_ends_with_the_latest_of_each_key_in_order(faults: list[str], keys: int, data: st.DataObject) -> None:
    wire = FaultyWire(make_outbox(is_conflated=True, window=2))
    offered: dict[int, list[int]] = {}
    count = 0
    for fault in faults:
        if fault == "offer":
            key = data.draw(st.integers(0, keys - 1))
            offered.setdefault(key, []).append(count)
            wire.outbox.offer(b"%d %d" % (key, count), b"%d" % key)
            count += 1
            wire.send()
        wire.step(fault)
    wire.settle()
    delivered: dict[int, list[int]] = {}
    for payload in wire.delivered:
        key, number = map(int, payload.split())
        delivered.setdefault(key, []).append(number)
    assert delivered.keys() == offered.keys()
    for key, numbers in delivered.items():
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == offered[key][-1]
    assert len(wire.delivered) + wire.outbox.conflated_total == count


def test_the_frame_that_ends_the_handshake_may_bring_a_large_one_along() -> None:
    decoder = FrameDecoder()
    small, large = encode_frame(FrameKind.WELCOME), encode_frame(FrameKind.MESSAGE, 1, bytes(10_000))
    assert [frame.kind for frame in decoder.feed(small + large + large[:7])] == [FrameKind.WELCOME]
    assert decoder.is_held
    with pytest.raises(RemoteProtocolError, match="length 10009"):
        decoder.feed(b"")
    decoder.payload_max_bytes = 20_000
    assert [frame.sequence for frame in decoder.feed(b"")] == [1]
    assert not decoder.is_held
    assert [frame.sequence for frame in decoder.feed(large[7:])] == [1]


def test_conflation_keeps_the_turn_so_that_no_key_starves() -> None:
    outbox = make_outbox(is_conflated=True, window=1)
    outbox.offer(b"in flight", b"x")
    outbox.take()
    for number in range(100):
        outbox.offer(b"hot %d" % number, b"hot")
        outbox.offer(b"cold %d" % number, b"cold %d" % (number % 3))
    outbox.apply_ack(1)
    assert decode(outbox.take())[0].payload == b"hot 99"
    assert outbox.conflated_total == 99 + 97


def test_a_full_lane_refuses_and_an_acknowledgement_makes_room() -> None:
    outbox = make_outbox(capacity=2)
    outbox.offer(b"1")
    outbox.offer(b"2")
    with pytest.raises(LaneFull, match="2 unacknowledged"):
        outbox.offer(b"3")
    outbox.take()
    assert not outbox.has_room(b"")
    outbox.apply_ack(1)
    outbox.offer(b"3")
    assert [frame.payload for frame in decode(outbox.take())] == [b"3"]


def test_what_is_no_longer_retained_is_declared_lost_by_number() -> None:
    outbox, inbox = make_outbox(retain=2, window=10), Inbox("lane", LanePosition(7, 3))
    for number in range(1, 11):
        outbox.offer(b"%d" % number)
    outbox.take()
    outbox.apply_ack(10)  # retains 9 and 10
    lost = outbox.resume(3)
    assert lost is not None
    inbox.welcome(LanePosition(7, 3))
    payloads = [inbox.handle(frame) for frame in decode([lost, *outbox.take()])]
    assert payloads == [None, b"9", b"10"]
    assert inbox.events[-1] == LaneLost("lane", 5)
    assert outbox.lost_total == inbox.lost_total == 5


def test_a_gap_is_reported_once_and_asked_for_again_at_each_heartbeat() -> None:
    inbox = Inbox("lane")
    inbox.welcome(LanePosition(7, 0))
    for sequence in (1, 3, 4):
        inbox.handle(Frame(FrameKind.MESSAGE, sequence, b""))
    inbox.handle(Frame(FrameKind.HEARTBEAT, 4, b""))
    assert inbox.events[1:] == [LaneGap("lane", 2, 3)]
    assert [frame.sequence for frame in decode(inbox.outgoing)] == [1, 1]


def test_a_new_epoch_is_signalled_and_an_old_one_refused() -> None:
    inbox = Inbox("lane", LanePosition(7, 30))
    inbox.welcome(LanePosition(8, 0))
    assert inbox.events[0] == LaneEpochChanged("lane", 7, 8)
    assert inbox.handle(Frame(FrameKind.MESSAGE, 1, b"new life")) == b"new life"
    with pytest.raises(RemoteProtocolError, match="it was replaced"):
        inbox.welcome(LanePosition(7, 31))


@pytest.mark.parametrize("claim", ["ack", "resume", "resync"])
def test_a_receiver_cannot_have_what_was_never_sent(claim: str) -> None:
    outbox = make_outbox()
    outbox.offer(b"1")
    outbox.take()
    method = {"ack": outbox.apply_ack, "resume": outbox.resume, "resync": outbox.apply_resync}[claim]
    with pytest.raises(RemoteProtocolError, match="last sent is 1"):
        method(2)


def test_a_sender_may_not_talk_like_a_receiver() -> None:
    inbox = Inbox("lane")
    inbox.welcome(LanePosition(7, 0))
    with pytest.raises(RemoteProtocolError, match="ACK"):
        inbox.handle(Frame(FrameKind.ACK, 1, b""))
