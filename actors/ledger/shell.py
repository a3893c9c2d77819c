"""The ledger actor: takes records from the other actors, answers when they are durable, and answers questions.

It decides nothing, so it has no machine. It is the only writer of both of its files.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.journal import JournalError, JournalRecord, JournalWriter
from actors.ledger.history import HistoryStore, Row
from actors.ledger.projections import RunEnded, RunStarted, open_envelope
from actors.ledger.store import JournalStore

WRITER = "ledger"
FOLD_EVERY_S = 0.25  # how far the history may lag behind when nobody asks
REPLAY_PAGE_ROWS = 2000

_log = logging.getLogger(__name__)


class LedgerShell:
    """One per node that trades. `await start()`, then any number of concurrent `append`; `await stop()`."""

    def __init__(self, directory: str, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._directory = Path(directory)
        self._clock_ns = clock_ns
        self._journal: JournalStore | None = None
        self._history: HistoryStore | None = None
        self._writer: JournalWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def __repr__(self) -> str:
        return f"Ledger({self._directory})"  # the dashboard asks once, at the start: nothing that changes

    async def start(self) -> dict[str, int]:
        """Open or create `journal.db` and `history.db` in the directory; return where the journal stands.

        Raises: ValueError when a file is in use, damaged, or of another version.
        """
        assert self._journal is None, "the ledger is started already"
        self._directory.mkdir(parents=True, exist_ok=True)
        journal = await JournalStore.open(self._directory / "journal.db")
        try:
            self._history = await HistoryStore.open(self._directory / "history.db", journal)
        except BaseException:
            await journal.close()
            raise
        self._journal = journal
        epoch = await journal.claim(WRITER)
        self._writer = JournalWriter(WRITER, epoch, msgspec.msgpack.encode)
        self._stopping.clear()
        self._task = asyncio.create_task(self._keep_folding(), name="ledger-history")
        return {"seq_last": journal.seq_last, "epoch": epoch}

    async def stop(self) -> None:
        """Write what waits, fold it into the history, checkpoint both files, close. May be called twice."""
        if self._task is not None:
            self._stopping.set()  # not cancelled: that would leave a transaction open
            await self._task
            self._task = None
        journal, history = self._journal, self._history
        self._journal = self._history = None
        try:
            if journal is not None and history is not None:
                await journal.flush()
                await history.catch_up()
        finally:
            if history is not None:
                await history.close()
            if journal is not None:
                await journal.close()

    async def _keep_folding(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FOLD_EVERY_S):
                    await self._stopping.wait()
            try:
                await self._open_history.catch_up()
            except (sqlite3.Error, OSError) as error:  # orders go on; whoever asks the history gets the error itself
                _log.error("history: %s", error)

    @property
    def _open_journal(self) -> JournalStore:
        if self._journal is None:
            raise JournalError("the ledger is not started")
        return self._journal

    @property
    def _open_history(self) -> HistoryStore:
        if self._history is None:
            raise JournalError("the ledger is not started")
        return self._history

    # ---- writing

    async def append(self, records: Sequence[JournalRecord]) -> None:
        """Return when all records are durable. See `JournalStore.append` for what it refuses."""
        await self._open_journal.append(records)

    async def claim(self, writer: str) -> int:
        """Return a new epoch for a writer; its older epochs are refused from now on."""
        return await self._open_journal.claim(writer)

    async def fence(self, writer: str, epoch: int) -> None:
        """Refuse everything of a writer older than `epoch`."""
        await self._open_journal.fence(writer, epoch)

    async def start_run(self, name: str, mode: str, slots: Sequence[str], equity_start_quote: float, about: str) -> int:
        """Begin a run; return its number. Whatever is appended from now on belongs to it."""
        assert self._writer is not None, "the ledger is not started"
        started = RunStarted(name, mode, tuple(slots), equity_start_quote, about)
        await self._open_journal.append([self._writer.note(started, self._clock_ns())])
        await self._open_history.catch_up()
        return int((await self._open_history.runs())[-1]["run"] or 0)

    async def end_run(self, outcome: str) -> None:
        """End the run that is open."""
        assert self._writer is not None, "the ledger is not started"
        await self._open_journal.append([self._writer.note(RunEnded(outcome), self._clock_ns())])

    async def flush(self) -> None:
        """Return when everything appended before is durable and in the history."""
        await self._open_journal.flush()
        await self._open_history.catch_up()

    async def checkpoint(self) -> None:
        """Move both WALs into their database files."""
        await self._open_journal.checkpoint()
        await self._open_history.checkpoint()

    # ---- reading

    async def read(self, seq_after: int = 0, rows_max: int = 1000, writer: str = "") -> list[JournalRecord]:
        """Return up to `rows_max` records after `seq_after`, oldest first; of one writer if given."""
        return await self._open_journal.read(seq_after, rows_max, writer)

    async def read_replay(self, writer: str, seq_after: int = 0) -> list[JournalRecord]:
        """Return every record of a writer after `seq_after` (a run's number: those of that run and later ones)."""
        records: list[JournalRecord] = []
        while page := await self._open_journal.read(seq_after, REPLAY_PAGE_ROWS, writer):
            records += page
            seq_after = page[-1].seq
        return records

    async def story(self, cause_id: str) -> str:
        """Return the whole life of one order or intent, a line per record, oldest first; "" when nobody knows it."""
        return format_story(await self._open_journal.read_cause(cause_id))

    async def fills_since(self, seq: int = 0) -> list[Row]:
        """Return the fills recorded after journal place `seq`, oldest first."""
        return await self._open_history.fills_since(seq)

    async def query(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return the rows of a SELECT over the history; it cannot write."""
        return await self._open_history.query(sql, *parameters)

    async def summarize(self, run: int = -1) -> dict[str, object]:
        """Return counts and exact sums of a run (-1: the last)."""
        return await self._open_history.summarize(run)


def format_story(records: Sequence[JournalRecord]) -> str:
    """Return one line per record: time, writer, kind, and what the message says."""
    lines = []
    for record in records:
        seconds, ns = divmod(record.ts_ns, 1_000_000_000)
        time_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ns // 1000:06d}Z"
        lines.append(f"{time_text} {record.writer:<12} {record.kind:<16} {_describe(record.payload)}".rstrip())
    return "\n".join(lines)


def _describe(payload: bytes) -> str:
    # Any tagged message can be told, also one of a kind that this version no longer knows.
    try:
        message: Any = msgspec.msgpack.decode(open_envelope(payload))
    except (msgspec.MsgspecError, IndexError):
        return f"({len(payload)} bytes)"
    if not isinstance(message, dict):
        return str(message)
    return " ".join(f"{name}={value}" for name, value in message.items() if name not in ("type", "cause_id"))
