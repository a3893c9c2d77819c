"""What all shells of the order path have in common: lanes in and out, the journal, the machine in the middle.

A shell decides nothing. It journals each message with its place on its lane, asks the machine, performs the
instructions, and feeds each outcome back as an event. After a restart it replays its journal with the instructions
dropped, finishes what the journal shows it to have begun, sends again what it said last on each lane (a repeat changes
nothing at the other end), and its lanes go on exactly where the journal ends.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.journal import JournalRecord, JournalWriter, Machine, Role
from actors.messages import Alert, Message, Record, Send, decode, encode, get_ts_known_ns
from cluster.handles import acall
from cluster.lanes import (
    LaneEvent,
    LaneFailed,
    LaneFull,
    LaneKind,
    LaneLost,
    LanePosition,
    LaneReceiver,
    LaneServer,
)
from cluster.spawn import get_actor

LANE_CAPACITY = 8192
LANE_RETAIN = 2048  # acknowledged messages kept for a receiver whose journal is behind: more than UNSENT_MAX
UNSENT_MAX = 512  # records that may wait for the ledger before the actor waits for it
ALERTS_WAITING_MAX = 256  # of different keys, while the herald is away
LEDGER, HERALD = "ledger", "herald"


@dataclass(frozen=True, slots=True)
class ShellSettings:
    """Who an actor is and whom it talks to. A lane from a to b is named "a>b"."""

    name: str
    directory: str  # of the lanes' Unix sockets
    run: int  # of the ledger: the journal of this session begins after this place
    sends_to: tuple[str, ...]
    hears_from: tuple[str, ...]

    def make_endpoint(self, receiver: str) -> str:
        """Return where this actor's lane to `receiver` listens; the same after a restart."""
        return f"unix://{self.directory}/{self.name}-{receiver}.sock"


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """What the journal keeps of an inbound message: the message and its place on its lane ("": not from a lane)."""

    lane: str
    lane_epoch: int
    lane_sequence: int
    message: Message


_HEARD_ENCODER = msgspec.msgpack.Encoder()
_HEARD_DECODER: msgspec.msgpack.Decoder[Heard] = msgspec.msgpack.Decoder(Heard)
_BATCH_ENCODER = msgspec.msgpack.Encoder()
_ACK_DECODER: msgspec.msgpack.Decoder[tuple[int, int]] = msgspec.msgpack.Decoder(tuple[int, int])
_FROM_THE_START = LanePosition(0, 0)  # of no epoch: all that the sender still holds, acknowledged or not
_CALL_S = 30.0


class Shell:
    """Base of the order-path shells.

    Invariant: one message at a time; the next is taken when all instructions of the last are performed.
    """

    def __init__(self, settings: ShellSettings, machine: Machine) -> None:
        self.settings = settings
        self.machine = machine
        self.ts_now_ns = 0  # the close up to which the account is known; the machine's only clock
        self._endpoints: dict[str, str] = {}
        self._servers: dict[str, LaneServer] = {}
        self._receivers: dict[str, LaneReceiver] = {}
        self._positions: dict[str, LanePosition] = {}  # per inbound lane, what the journal ends with
        self._last_said: dict[str, Message] = {}
        self._owed: deque[Message] = deque()  # outcomes of recalled instructions that the journal does not hold
        self._unwritten: list[Message] = []  # records that it did not live to write
        self._opening = asyncio.Lock()
        self._is_connected = False
        self._journal: JournalWriter | None = None  # from open() on, when the ledger has given an epoch
        self._place = ("", 0, 0)  # of the message being journaled
        self._unsent: list[JournalRecord] = []
        self._sent_seq = 0  # of the batch that the ledger has, or is about to have
        self._durable_seq = 0
        self._durable = asyncio.Condition()
        self._turn = asyncio.Lock()
        self._failure: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.name})"

    async def open(self) -> dict[str, str]:
        """Replay this actor's journal, if it has one, and open its lanes; return lane -> endpoint. Safe to repeat."""
        async with self._opening:
            if not self._servers:
                await self._open()
        return self._list_endpoints()

    async def _open(self) -> None:
        ledger = get_actor(LEDGER)
        name = self.settings.name
        epoch = await acall(ledger, "claim", name, timeout_s=_CALL_S)
        records = await acall(ledger, "read_replay", name, self.settings.run, timeout_s=_CALL_S)
        servers = {receiver: await self._serve(receiver) for receiver in self.settings.sends_to}
        self._journal = JournalWriter(name, epoch, self._encode_heard)
        for record in records:
            heard = _HEARD_DECODER.decode(record.payload)
            if record.role == Role.EVENT:
                self._recall(heard)
            elif heard.message in self._unwritten:
                self._unwritten.remove(heard.message)
        self._servers = servers

    async def _serve(self, receiver: str) -> LaneServer:
        lane, endpoint = f"{self.settings.name}>{receiver}", self.settings.make_endpoint(receiver)
        if receiver == HERALD:
            # Nothing waits for the herald: of what it has not taken, the newest of each matter is kept.
            kind, capacity, retain = LaneKind.CONFLATED, ALERTS_WAITING_MAX, 0
        else:
            kind, capacity, retain = LaneKind.RELIABLE, LANE_CAPACITY, LANE_RETAIN
        server = LaneServer(lane, kind, endpoint, receivers=(receiver,), capacity=capacity, retain=retain)
        return await server.start()

    async def connect(self, endpoints: dict[str, str]) -> None:
        """Learn where the lanes are, finish what an earlier life began, and listen to the lanes that lead here.

        Called again when an endpoint has moved.
        """
        async with self._opening:
            assert self._journal is not None, f"{self.settings.name} is not open"
            self._endpoints.update(endpoints)
            await self._listen((LEDGER,))
            await self._finish_earlier_life()
            await self._listen(self.settings.hears_from)
            self._is_connected = True

    async def _listen(self, senders: Iterable[str]) -> None:
        for sender in senders:
            lane = f"{sender}>{self.settings.name}"
            if lane in self._endpoints and lane not in self._receivers:
                self._receivers[lane] = await self._make_receiver(lane).start()

    def _make_receiver(self, lane: str) -> LaneReceiver:
        is_ack = lane.startswith(f"{LEDGER}>")
        return LaneReceiver(
            lambda: self._endpoints[lane],
            self._take_ack if is_ack else self._make_listener(lane),
            lane=lane,
            name=self.settings.name,
            position=None if is_ack else self._positions.get(lane, _FROM_THE_START),
            on_event=self._on_lane_event,
        )

    async def _finish_earlier_life(self) -> None:
        assert self._journal is not None
        unwritten, self._unwritten = self._unwritten, []
        self._place = ("", 0, 0)
        self._unsent += [self._journal.note(message, self.ts_now_ns) for message in unwritten]
        await self._flush_journal()
        last_said, self._last_said = self._last_said, {}
        for receiver, message in last_said.items():
            await self._put_on_lane(receiver, message)
        while self._owed:
            await self.hear(Heard("", 0, 0, self._owed.popleft()))

    def _list_endpoints(self) -> dict[str, str]:
        return {server.lane: server.endpoint for server in self._servers.values()}

    async def drain(self) -> None:
        """Return when everything that was journaled before this call is durable."""
        if self._journal is not None:
            await self._flush_journal()
            await self._wait_durable(self._journal.writer_seq)

    async def close(self) -> None:
        """Deliver what is on its way, then take the lanes down."""
        await self.drain()
        for receiver in self._receivers.values():
            await receiver.close()
        await asyncio.gather(*(server.drain(2.0) for server in self._servers.values()))
        for server in self._servers.values():
            await server.close()

    def get_status(self) -> dict[str, Any]:
        """Return what the live table shows of this actor."""
        return {
            "name": self.settings.name,
            "ts_now_ns": self.ts_now_ns,
            "failure": self._failure,
            "is_open": self._is_connected,  # False: Ray has started it and nobody has told it where it belongs
            "endpoints": self._list_endpoints(),
        }

    def _make_listener(self, lane: str) -> Any:
        async def on_message(payload: bytes) -> None:
            position = self._receivers[lane].position
            assert position is not None
            await self.hear(Heard(lane, position.epoch, position.sequence, decode(payload)))

        return on_message

    async def _take_ack(self, payload: bytes) -> None:
        epoch, writer_seq = _ACK_DECODER.decode(payload)
        if self._journal is None or epoch != self._journal.epoch:
            return  # of an earlier life
        async with self._durable:
            self._durable_seq = max(self._durable_seq, writer_seq)
            self._durable.notify_all()
        await self._flush_journal()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Work beside the lanes. If it ends by an error, that is the actor's failure: it never stops unnoticed.
        task = asyncio.create_task(work)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = f"{type(error).__name__}: {error}"

    def _on_lane_event(self, event: LaneEvent) -> None:
        # What a lane lost or refused is never passed over in silence: the live table and the supervisor see it.
        if isinstance(event, LaneLost | LaneFailed):
            self._failure = str(event)

    async def hear(self, heard: Heard) -> None:
        """Journal one event, let the machine handle it, and perform what it asks for."""
        async with self._turn:
            self._take(heard)
            await self._perform_all(self.machine.handle(heard.message, self.ts_now_ns))
            await self._flush_journal()
            if len(self._unsent) > UNSENT_MAX:
                await self._wait_durable(self._unsent[0].writer_seq)

    def _take(self, heard: Heard) -> None:
        self._advance_clock(heard.message)
        self._place = (heard.lane, heard.lane_epoch, heard.lane_sequence)
        assert self._journal is not None
        self._unsent.append(self._journal.event(heard.message, self.ts_now_ns))

    async def _perform_all(self, instructions: Iterable[Any]) -> None:
        for instruction in instructions:
            outcome = await self._perform(instruction)
            if outcome is not None:
                await self._apply_outcome(outcome)

    async def _apply_outcome(self, outcome: Message) -> None:
        self._take(Heard("", 0, 0, outcome))
        await self._perform_all(self.machine.handle(outcome, self.ts_now_ns))

    async def _perform(self, instruction: Any) -> Message | None:
        """Perform one instruction; return its outcome, or None when it has none."""
        match instruction:
            case Send():
                await self._send(instruction)
            case Record():
                assert self._journal is not None
                self._place = ("", 0, 0)
                record = self._journal.note(instruction.message, self.ts_now_ns)
                self._unsent.append(record)
                if instruction.is_awaited:
                    await self._flush_journal()
                    await self._wait_durable(record.writer_seq)
            case _:
                raise TypeError(f"{type(self).__name__} cannot perform {type(instruction).__name__}")
        return None

    async def _send(self, instruction: Send) -> None:
        for name in self._list_receivers(instruction):
            await self._put_on_lane(name, instruction.message)

    async def _put_on_lane(self, receiver: str, message: Message) -> None:
        server = self._servers[receiver]
        if isinstance(message, Alert) and server.kind is LaneKind.CONFLATED:
            with contextlib.suppress(LaneFull):  # told in the journal all the same
                server.send_nowait(encode(message), message.key.encode())
        else:
            await server.send(encode(message))

    def _list_receivers(self, instruction: Send) -> list[str]:
        names = self.settings.sends_to
        return [name for name in names if any(name == to or name.startswith(f"{to}.") for to in instruction.to)]

    def _advance_clock(self, message: Message) -> None:
        self.ts_now_ns = max(self.ts_now_ns, get_ts_known_ns(message))

    def _encode_heard(self, message: Message) -> bytes:
        return _HEARD_ENCODER.encode(Heard(*self._place, message))

    async def _flush_journal(self) -> None:
        # One batch is on its way at a time; what gathers meanwhile goes with the next: the ledger commits in groups.
        if self._unsent and self._durable_seq >= self._sent_seq:
            batch, self._unsent = self._unsent, []
            self._sent_seq = batch[-1].writer_seq
            await self._servers[LEDGER].send(_BATCH_ENCODER.encode(batch))

    async def _wait_durable(self, writer_seq: int) -> None:
        async with self._durable:
            await self._durable.wait_for(lambda: self._durable_seq >= writer_seq)

    def _recall(self, heard: Heard) -> None:
        # One event of an earlier life: what the machine asks for was done then.
        if heard.lane:
            assert not self._owed, f"{self.settings.name}: the journal goes on where an outcome is missing"
            self._unwritten.clear()
            self._positions[heard.lane] = LanePosition(heard.lane_epoch, heard.lane_sequence)
        elif self._owed:
            self._owed.popleft()
        self._advance_clock(heard.message)
        for instruction in self.machine.handle(heard.message, self.ts_now_ns):
            outcome = self._recall_instruction(instruction)
            if outcome is not None:
                self._owed.append(outcome)

    def _recall_instruction(self, instruction: Any) -> Message | None:
        match instruction:
            case Send():
                # Only the last on each lane may not have arrived: everything after it waits for the answer.
                self._last_said |= dict.fromkeys(self._list_receivers(instruction), instruction.message)
            case Record():
                self._unwritten.append(instruction.message)
            case _:
                pass
        return None
