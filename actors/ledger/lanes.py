"""The ledger as the order path reaches it: records come in over lanes, and lanes say back how far they are durable."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from actors.journal import FencedError, JournalRecord
from actors.ledger.shell import LedgerShell
from cluster.lanes import LaneKind, LaneReceiver, LaneServer

NAME = "ledger"
_log = logging.getLogger(__name__)
_BATCH: msgspec.msgpack.Decoder[list[JournalRecord]] = msgspec.msgpack.Decoder(list[JournalRecord])


class LedgerLaneShell(LedgerShell):
    """A ledger with one lane from and one lane to each writer.

    It survives its own death: what it acknowledged is on the disk, what it did not the writers' lanes send again under
    the same numbers, and each number is taken once.
    """

    def __init__(self, directory: str, sockets: str, writers: tuple[str, ...]) -> None:
        super().__init__(directory)
        self._sockets = Path(sockets)
        self._writers = writers
        self._endpoints: dict[str, str] = {}
        self._acks: dict[str, LaneServer] = {}
        self._inlets: dict[str, LaneReceiver] = {}
        self._opening = asyncio.Lock()
        self._is_connected = False

    async def open(self) -> dict[str, str]:
        """Open the files and the lanes that say what is durable; return lane -> endpoint. Safe to repeat."""
        async with self._opening:
            if self._journal is None:
                await self.start()
            for writer in self._writers:
                if writer not in self._acks:
                    self._acks[writer] = await self._serve(writer)
        return self._list_endpoints()

    async def _serve(self, writer: str) -> LaneServer:
        endpoint = f"unix://{self._sockets}/{NAME}-{writer}.sock"
        server = LaneServer(f"{NAME}>{writer}", LaneKind.CONFLATED, endpoint, receivers=(writer,))
        epoch, writer_seq = self._open_journal.get_heads().get(writer, (0, 0))
        self._say_durable(await server.start(), epoch, writer_seq)  # an earlier life may not have lived to say it
        return server

    async def connect(self, endpoints: dict[str, str]) -> None:
        """Listen to the writers. A batch is acknowledged on its lane once it is durable, not before.

        Called again when an endpoint has moved.
        """
        self._endpoints.update(endpoints)
        for writer in self._writers:
            lane = f"{writer}>{NAME}"
            if lane in self._endpoints and writer not in self._inlets:
                receiver = LaneReceiver(self._make_finder(lane), self._make_listener(writer), lane=lane, name=NAME)
                self._inlets[writer] = await receiver.start()
        self._is_connected = True

    def get_status(self) -> dict[str, Any]:
        """Return whether it is open, and what has failed."""
        failures = [f"{inlet.lane}: {inlet.failure}" for inlet in self._inlets.values() if inlet.failure]
        return {
            "name": NAME,
            "failure": "; ".join(failures) or None,
            "is_open": self._is_connected,
            "endpoints": self._list_endpoints(),
        }

    async def stop(self) -> None:
        """Take the lanes down, then the ledger."""
        await asyncio.gather(*(inlet.close() for inlet in self._inlets.values()))
        await asyncio.gather(*(server.close() for server in self._acks.values()))
        self._inlets, self._acks = {}, {}
        await super().stop()

    def _list_endpoints(self) -> dict[str, str]:
        return {server.lane: server.endpoint for server in self._acks.values()}

    def _make_finder(self, lane: str) -> Callable[[], str]:
        return lambda: self._endpoints[lane]

    def _make_listener(self, writer: str) -> Callable[[bytes], Awaitable[None]]:
        async def on_batch(payload: bytes) -> None:
            records = _BATCH.decode(payload)
            try:
                await self.append(records)
            except FencedError as error:  # of a life that has been replaced: it never hears that this is durable
                _log.warning("%s", error)
                return
            self._say_durable(self._acks[writer], records[-1].epoch, records[-1].writer_seq)

        return on_batch

    @staticmethod
    def _say_durable(server: LaneServer, epoch: int, writer_seq: int) -> None:
        server.send_nowait(msgspec.msgpack.encode((epoch, writer_seq)))
