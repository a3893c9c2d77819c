"""The ledger as the order path reaches it: records come in over lanes, and lanes say back how far they are durable."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from actors.journal import JournalRecord
from actors.ledger.shell import LedgerShell
from cluster.lanes import LaneKind, LaneReceiver, LaneServer

NAME = "ledger"
_BATCH: msgspec.msgpack.Decoder[list[JournalRecord]] = msgspec.msgpack.Decoder(list[JournalRecord])


class LedgerLaneShell(LedgerShell):
    """A ledger with one lane from and one lane to each writer."""

    def __init__(self, directory: str, sockets: str, writers: tuple[str, ...]) -> None:
        super().__init__(directory)
        self._sockets = Path(sockets)
        self._writers = writers
        self._acks: dict[str, LaneServer] = {}
        self._inlets: dict[str, LaneReceiver] = {}

    async def open(self) -> dict[str, str]:
        """Open the lanes that say what is durable; return lane -> endpoint."""
        for writer in self._writers:
            endpoint = f"unix://{self._sockets}/{NAME}-{writer}.sock"
            server = LaneServer(f"{NAME}>{writer}", LaneKind.CONFLATED, endpoint, receivers=(writer,))
            self._acks[writer] = await server.start()
        return {server.lane: server.endpoint for server in self._acks.values()}

    async def connect(self, endpoints: dict[str, str]) -> None:
        """Listen to the writers. A batch is acknowledged on its lane once it is durable, not before."""
        for writer in self._writers:
            lane = f"{writer}>{NAME}"
            if lane in endpoints and writer not in self._inlets:
                receiver = LaneReceiver(endpoints[lane], self._make_listener(writer), lane=lane, name=NAME)
                self._inlets[writer] = await receiver.start()

    async def stop(self) -> None:
        """Take the lanes down, then the ledger."""
        await asyncio.gather(*(inlet.close() for inlet in self._inlets.values()))
        await asyncio.gather(*(server.close() for server in self._acks.values()))
        self._inlets, self._acks = {}, {}
        await super().stop()

    def _make_listener(self, writer: str) -> Callable[[bytes], Awaitable[None]]:
        async def on_batch(payload: bytes) -> None:
            records = _BATCH.decode(payload)
            await self.append(records)
            self._acks[writer].send_nowait(msgspec.msgpack.encode(records[-1].writer_seq))

        return on_batch
