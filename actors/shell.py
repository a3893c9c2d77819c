"""What all shells of the order path have in common: lanes in and out, the journal, the machine in the middle.

A shell decides nothing. It journals each message with its place on its lane, asks the machine, performs the
instructions, and feeds each outcome back as an event. After a restart it replays its journal with the instructions
dropped, sends again what it said last on each lane (a repeat changes nothing at the other end), and its lanes go on
exactly where the journal ends.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.journal import JournalRecord, JournalWriter, Machine, Role
from actors.messages import Message, Record, Send, decode, encode
from cluster.handles import acall
from cluster.lanes import LaneEvent, LaneFailed, LaneKind, LaneLost, LanePosition, LaneReceiver, LaneServer
from cluster.spawn import get_actor

LANE_CAPACITY = 8192
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
_CALL_S = 30.0


class Shell:
    """Base of the order-path shells.

    Invariant: one message at a time; the next is taken when all instructions of the last are performed.
    """

    def __init__(self, settings: ShellSettings, machine: Machine) -> None:
        self.settings = settings
        self.machine = machine
        self.ts_now_ns = 0  # time of the account: that of the newest message; the machine's only clock
        self._endpoints: dict[str, str] = {}
        self._servers: dict[str, LaneServer] = {}
        self._receivers: dict[str, LaneReceiver] = {}
        self._positions: dict[str, LanePosition] = {}  # per inbound lane, what the journal ends with
        self._last_said: dict[str, Message] = {}
        self._journal: JournalWriter | None = None  # from open() on, when the ledger has given an epoch
        self._place = ("", 0, 0)  # of the message being journaled
        self._unsent: list[JournalRecord] = []
        self._durable_seq = 0
        self._durable = asyncio.Condition()
        self._turn = asyncio.Lock()
        self._failure: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.name})"

    async def open(self) -> dict[str, str]:
        """Replay this actor's journal, if it has one, and open its lanes; return lane -> endpoint."""
        ledger = get_actor(LEDGER)
        name = self.settings.name
        epoch = await acall(ledger, "claim", name, timeout_s=_CALL_S)
        self._journal = JournalWriter(name, epoch, self._encode_heard)
        for record in await acall(ledger, "read_replay", name, self.settings.run, timeout_s=_CALL_S):
            if record.role == Role.EVENT:
                self._recall(_HEARD_DECODER.decode(record.payload))
        for receiver in self.settings.sends_to:
            lane = f"{name}>{receiver}"
            endpoint = self.settings.make_endpoint(receiver)
            server = LaneServer(lane, LaneKind.RELIABLE, endpoint, receivers=(receiver,), capacity=LANE_CAPACITY)
            self._servers[receiver] = await server.start()
        return {server.lane: server.endpoint for server in self._servers.values()}

    async def connect(self, endpoints: dict[str, str]) -> None:
        """Learn where the lanes are and listen to those that lead here. Called again when an endpoint has moved."""
        self._endpoints.update(endpoints)
        for sender in self.settings.hears_from:
            lane = f"{sender}>{self.settings.name}"
            if lane in self._receivers or lane not in self._endpoints:
                continue
            receiver = LaneReceiver(
                lambda lane=lane: self._endpoints[lane],  # type: ignore[misc]
                self._make_listener(lane),
                lane=lane,
                name=self.settings.name,
                position=self._positions.get(lane),
                on_event=self._on_lane_event,
            )
            self._receivers[lane] = await receiver.start()
        for receiver_name, message in self._last_said.items():
            await self._servers[receiver_name].send(encode(message))
        self._last_said = {}

    async def close(self) -> None:
        """Deliver what is on its way, then take the lanes down."""
        for receiver in self._receivers.values():
            await receiver.close()
        await asyncio.gather(*(server.drain(2.0) for server in self._servers.values()))
        for server in self._servers.values():
            await server.close()

    def get_status(self) -> dict[str, Any]:
        """Return what the live table shows of this actor."""
        return {"name": self.settings.name, "ts_now_ns": self.ts_now_ns, "failure": self._failure}

    def _make_listener(self, lane: str) -> Any:
        is_ack = lane.startswith(f"{LEDGER}>")

        async def on_message(payload: bytes) -> None:
            if is_ack:
                async with self._durable:
                    self._durable_seq = max(self._durable_seq, msgspec.msgpack.decode(payload, type=int))
                    self._durable.notify_all()
                return
            position = self._receivers[lane].position
            assert position is not None
            await self.hear(Heard(lane, position.epoch, position.sequence, decode(payload)))

        return on_message

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

    def _take(self, heard: Heard) -> None:
        self._advance_clock(heard.message)
        self._place = (heard.lane, heard.lane_epoch, heard.lane_sequence)
        assert self._journal is not None
        self._unsent.append(self._journal.event(heard.message, self.ts_now_ns))

    async def _perform_all(self, instructions: Iterable[Any]) -> None:
        for instruction in instructions:
            outcome = await self._perform(instruction)
            if outcome is not None:
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
        payload = encode(instruction.message)
        for name, server in self._servers.items():
            if any(name == to or name.startswith(f"{to}.") for to in instruction.to):
                await server.send(payload)

    def _advance_clock(self, message: Message) -> None:
        ts_ns = getattr(message, "ts_close_ns", 0)
        self.ts_now_ns = max(self.ts_now_ns, ts_ns)

    def _encode_heard(self, message: Message) -> bytes:
        return _HEARD_ENCODER.encode(Heard(*self._place, message))

    async def _flush_journal(self) -> None:
        if self._unsent:
            batch, self._unsent = self._unsent, []
            await self._servers[LEDGER].send(_BATCH_ENCODER.encode(batch))

    async def _wait_durable(self, writer_seq: int) -> None:
        async with self._durable:
            await self._durable.wait_for(lambda: self._durable_seq >= writer_seq)

    def _recall(self, heard: Heard) -> None:
        # One event of an earlier life: what the machine asks for was done then.
        if heard.lane:
            self._positions[heard.lane] = LanePosition(heard.lane_epoch, heard.lane_sequence)
        self._advance_clock(heard.message)
        for instruction in self.machine.handle(heard.message, self.ts_now_ns):
            self._recall_instruction(instruction)

    def _recall_instruction(self, instruction: Any) -> None:
        # Of what was said, only the last on each lane may not have arrived: everything after it waits for the answer.
        if isinstance(instruction, Send):
            for name in self.settings.sends_to:
                if any(name == to or name.startswith(f"{to}.") for to in instruction.to):
                    self._last_said[name] = instruction.message
