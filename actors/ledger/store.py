"""The journal file: append-only, durable before it is acknowledged, one writer connection, fenced by epoch.

SQLite before 3.51.3 can corrupt a WAL database when two connections write or checkpoint at once. So: one read-write
connection per file, held under an exclusive file lock for the life of the store, which alone checkpoints
(wal_autocheckpoint=0); everyone else opens read-only. WAL with synchronous=FULL: a commit is on the disk when it
returns. Producers share commits: whatever waits while one commit runs goes into the next.
"""

import asyncio
import contextlib
import fcntl
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import aiosqlite

from actors.journal import (
    ConflictError,
    FencedError,
    JournalError,
    JournalRecord,
    OverloadedError,
    SequenceGapError,
)

SCHEMA_VERSION = 1
APPLICATION_ID = 0x5452494A  # "TRIJ"
ROWS_PER_GROUP_MAX = 4096  # bounds the latency of one commit
ROWS_PER_STATEMENT_MAX = 64
ROWS_WAITING_MAX = 65_536
CHECKPOINT_BYTES_IDLE = 4 << 20  # of payload since the last checkpoint: when nobody waits
CHECKPOINT_BYTES_BUSY = 64 << 20  # even when somebody waits: bounds the WAL file

_SCHEMA = """
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    writer TEXT NOT NULL CHECK (writer != ''),
    writer_seq INTEGER NOT NULL CHECK (writer_seq >= 1),
    ts_ns INTEGER NOT NULL,
    role INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind != ''),
    cause_id TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX journal_writer ON journal (writer, epoch, writer_seq);
CREATE INDEX journal_cause ON journal (cause_id) WHERE cause_id != '';
CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TABLE identity (id TEXT NOT NULL) STRICT;
INSERT INTO identity VALUES (lower(hex(randomblob(16))));
CREATE TABLE fences (writer TEXT PRIMARY KEY, epoch INTEGER NOT NULL) STRICT;
"""
_INSERT = "INSERT INTO journal (epoch, writer, writer_seq, ts_ns, role, kind, cause_id, payload) VALUES "
_MARKS = "(?,?,?,?,?,?,?,?)"
_HEADS = """
SELECT writer, max(epoch), 0 FROM fences GROUP BY writer UNION ALL
SELECT writer, epoch, max(writer_seq) FROM journal GROUP BY writer, epoch
ORDER BY 2, 3
"""  # ascending: the last one of a writer is where it stands
_SELECT = "SELECT writer, epoch, writer_seq, ts_ns, role, kind, cause_id, payload, seq FROM journal"

Head = tuple[int, int]  # epoch, last writer_seq
Batch = tuple[tuple[JournalRecord, ...], "asyncio.Future[None]"]
Key = tuple[str, int, int]


def lock_file(path: Path) -> IO[bytes]:
    """Take the exclusive lock that makes this process the only read-write user of a database file.

    Raises: ValueError when another process holds it, or the folder is missing.
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder {path.parent} does not exist: create it first")
    lock = open(path.with_name(path.name + ".lock"), "ab")  # noqa: SIM115 - held for the life of the store
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ValueError(f"{path}: another ledger has this file open: stop it first") from None
    return lock


async def open_database(path: Path, application_id: int, version: int, schema: str) -> aiosqlite.Connection:
    """Open the one read-write connection of a database file; create or check its schema.

    Raises: ValueError when the file is not such a database, or of a newer version.
    """
    database = await aiosqlite.connect(path, isolation_level=None, timeout=5.0)
    try:
        await database.execute("PRAGMA journal_mode=WAL")
        await database.execute("PRAGMA synchronous=FULL")
        await database.execute("PRAGMA wal_autocheckpoint=0")
        found_id, found_version = [await fetch_int(database, f"PRAGMA {name}") for name in _PRAGMAS]
        if (
            found_id == 0
            and found_version == 0
            and await fetch_int(database, "SELECT count(*) FROM sqlite_schema") == 0
        ):
            pragmas = f"PRAGMA application_id={application_id}; PRAGMA user_version={version};"
            await database.executescript(f"BEGIN IMMEDIATE; {schema} {pragmas} COMMIT;")
        elif found_id != application_id:
            raise ValueError(f"{path}: is a database of something else: give another path")
        elif found_version != version:
            raise ValueError(
                f"{path}: schema version is {found_version}, this program reads {version}: use its version"
            )
    except sqlite3.DatabaseError as error:
        await database.close()
        raise ValueError(f"{path}: not a readable database ({error}): restore it or give another path") from None
    except BaseException:
        await database.close()
        raise
    return database


_PRAGMAS = ("application_id", "user_version")


async def open_read_only(path: Path) -> aiosqlite.Connection:
    """Open a connection that can neither write nor checkpoint."""
    return await aiosqlite.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)


async def fetch_int(database: aiosqlite.Connection, sql: str, parameters: Iterable[object] = ()) -> int:
    """Return the one integer a query gives; 0 for NULL."""
    rows = list(await database.execute_fetchall(sql, tuple(parameters)))
    return int(rows[0][0] or 0)


def check_record(record: JournalRecord) -> None:
    """Raise ValueError for a record that can be in no journal."""
    if not record.writer or not record.kind:
        raise ValueError(f"record {record.writer_seq}: writer is {record.writer!r}, kind {record.kind!r}: name both")
    if record.epoch < 1 or record.writer_seq < 1:
        raise ValueError(f"{record.writer!r}: epoch is {record.epoch}, writer_seq {record.writer_seq}: both are >= 1")


class JournalStore:
    """The journal. `await JournalStore.open(path)`, any number of concurrent `append`, then `close`."""

    def __init__(
        self, path: Path, lock: IO[bytes], database: aiosqlite.Connection, reader: aiosqlite.Connection
    ) -> None:
        self.path = path
        self.identity = ""  # drawn when the file was made: which journal a history belongs to
        self.seq_last = 0  # of the last durable record
        self.commits = 0
        self._lock_file = lock
        self._database = database
        self._reader = reader
        self._heads: dict[str, Head] = {}
        self._queue: deque[Batch] = deque()
        self._rows_waiting = 0
        self._bytes_since_checkpoint = 0
        self._failure = ""  # why nothing more can be written
        self._is_closing = False
        self._wake = asyncio.Event()
        self._write = asyncio.Lock()  # who holds it may use the read-write connection
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path) -> "JournalStore":
        """Open or create the journal; a torn tail left by a crash is dropped by SQLite itself.

        Raises: ValueError when the file is in use, not a journal, or of another version.
        """
        lock = lock_file(path)
        database: aiosqlite.Connection | None = None
        try:
            database = await open_database(path, APPLICATION_ID, SCHEMA_VERSION, _SCHEMA)
            store = cls(path, lock, database, await open_read_only(path))
            await store._load()
        except BaseException:
            if database is not None:
                await database.close()
            lock.close()
            raise
        store._task = asyncio.create_task(store._run(), name="journal-group-commit")
        return store

    async def _load(self) -> None:
        [(self.identity,)] = await self._database.execute_fetchall("SELECT id FROM identity")
        self.seq_last = await fetch_int(self._database, "SELECT max(seq) FROM journal")
        for writer, epoch, writer_seq in await self._database.execute_fetchall(_HEADS):
            self._heads[writer] = (epoch, writer_seq)

    async def append(self, records: Sequence[JournalRecord]) -> None:
        """Return when every record is durable; all of the batch is written or none.

        Records already there (same writer, epoch, writer_seq and content) are acknowledged again, not written twice.

        Raises: FencedError, SequenceGapError, ConflictError, OverloadedError, or JournalError when the disk failed;
        ValueError for a record that can be in no journal.
        """
        if not records:
            return
        for record in records:
            check_record(record)
        if self._failure or self._is_closing:
            raise JournalError(self._failure or f"{self.path}: the journal is closed")
        if self._rows_waiting + len(records) > ROWS_WAITING_MAX:
            raise OverloadedError(f"{self._rows_waiting} rows wait for the disk, limit is {ROWS_WAITING_MAX}")
        future = asyncio.get_running_loop().create_future()
        self._queue.append((tuple(records), future))
        self._rows_waiting += len(records)
        self._wake.set()
        await future

    async def flush(self) -> None:
        """Return when everything appended before this call is durable or refused."""
        pending = [future for _, future in self._queue]
        if pending:
            await asyncio.wait(pending)
        async with self._write:
            pass

    async def claim(self, writer: str) -> int:
        """Return a new epoch for a writer, durably; from now on its older epochs are refused."""
        async with self._write:
            epoch = self._heads.get(writer, (0, 0))[0] + 1
            await self._save_epoch(writer, epoch)
        return epoch

    async def fence(self, writer: str, epoch: int) -> None:
        """Refuse everything of a writer older than `epoch`, durably; no effect where that is already so."""
        async with self._write:
            if self._heads.get(writer, (0, 0))[0] < epoch:
                await self._save_epoch(writer, epoch)

    async def _save_epoch(self, writer: str, epoch: int) -> None:
        try:
            await self._database.execute("INSERT OR REPLACE INTO fences VALUES (?,?)", (writer, epoch))
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: epoch {epoch} of {writer!r} not written ({error})") from error
        self._heads[writer] = (epoch, 0)

    async def checkpoint(self) -> None:
        """Move the WAL into the database file."""
        async with self._write:
            await self._checkpoint("PASSIVE")

    async def _checkpoint(self, mode: str) -> None:
        await self._database.execute_fetchall(f"PRAGMA wal_checkpoint({mode})")
        self._bytes_since_checkpoint = 0

    async def close(self) -> None:
        """Write what waits, checkpoint, close. Appends after this are refused."""
        self._is_closing = True
        if self._task is not None:
            self._wake.set()
            await self._task
            self._task = None
        await self._reader.close()
        async with self._write:
            with contextlib.suppress(
                sqlite3.OperationalError
            ):  # a reader elsewhere holds the WAL: the next open does it
                await self._checkpoint("TRUNCATE")
            await self._database.close()
        self._lock_file.close()

    # ---- group commit

    async def _run(self) -> None:
        try:
            while not self._is_closing:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    async with self._write:
                        await self._commit_group(self._take_group())
                        await self._checkpoint_if_due()
        except BaseException as error:
            self._failure = f"{self.path}: the writer died ({error!r}): restart the ledger"
            for _, future in self._queue:
                _refuse(future, JournalError(self._failure))
            raise

    def _take_group(self) -> list[Batch]:
        group: list[Batch] = []
        rows = 0
        while self._queue and (not group or rows + len(self._queue[0][0]) <= ROWS_PER_GROUP_MAX):
            group.append(self._queue.popleft())
            rows += len(group[-1][0])
        self._rows_waiting -= rows
        return group

    async def _commit_group(self, group: list[Batch]) -> None:
        heads: dict[str, Head] = {}  # of the writers in this group, once it is durable
        accepted: list[asyncio.Future[None]] = []
        fresh: dict[Key, JournalRecord] = {}
        for records, future in group:
            try:
                if self._failure:
                    raise JournalError(self._failure)
                fresh.update(await self._check_batch(records, heads, fresh))
                accepted.append(future)
            except (JournalError, sqlite3.Error) as error:
                _refuse(future, error if isinstance(error, JournalError) else JournalError(str(error)))
        try:
            await self._write_rows(fresh.values(), heads)
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            failure = await self._roll_back(error)
            for future in accepted:
                _refuse(future, failure)
            return
        for future in accepted:
            if not future.done():
                future.set_result(None)

    async def _check_batch(
        self, records: Sequence[JournalRecord], heads: dict[str, Head], fresh: dict[Key, JournalRecord]
    ) -> dict[Key, JournalRecord]:
        # Returns the records of the batch that are new and advances `heads`, or raises and changes nothing.
        tentative: dict[str, Head] = {}
        new: dict[Key, JournalRecord] = {}
        for record in records:
            writer, epoch, writer_seq = key = (record.writer, record.epoch, record.writer_seq)
            head = tentative.get(writer) or heads.get(writer) or self._heads.get(writer, (0, 0))
            if epoch < head[0]:
                raise FencedError(f"{writer!r}: epoch is {epoch}, the journal is at {head[0]}: stop, another took over")
            last = head[1] if epoch == head[0] else 0
            if writer_seq <= last:
                there = new.get(key) or fresh.get(key) or await self._find(key)
                if there is None or _content(there) != _content(record):
                    raise ConflictError(f"{writer!r}: epoch {epoch} writer_seq {writer_seq} came twice, not the same")
                continue
            if writer_seq != last + 1:
                raise SequenceGapError(f"{writer!r}: epoch {epoch} writer_seq is {writer_seq}, expected {last + 1}")
            tentative[writer] = (epoch, writer_seq)
            new[key] = record
        heads.update(tentative)
        return new

    async def _find(self, key: Key) -> JournalRecord | None:
        where = " WHERE writer=? AND epoch=? AND writer_seq=?"
        rows = list(await self._database.execute_fetchall(_SELECT + where, key))
        return JournalRecord(*rows[0]) if rows else None

    async def _write_rows(self, records: Iterable[JournalRecord], heads: dict[str, Head]) -> None:
        rows = [(r.epoch, r.writer, r.writer_seq, r.ts_ns, r.role, r.kind, r.cause_id, r.payload) for r in records]
        if not rows:
            return
        if len(rows) <= ROWS_PER_STATEMENT_MAX:
            # One statement is one transaction: one trip to the connection's thread where three cost half a millisecond.
            sql = _INSERT + ",".join([_MARKS] * len(rows))
            await self._database.execute(sql, [value for row in rows for value in row])
        else:
            await self._database.execute("BEGIN IMMEDIATE")
            await self._database.executemany(_INSERT + _MARKS, rows)
            await self._database.execute("COMMIT")
        self._heads.update(heads)
        self.seq_last += len(rows)
        self.commits += 1
        self._bytes_since_checkpoint += sum(len(row[-1]) + 128 for row in rows)  # 128: the other columns, the indexes

    async def _roll_back(self, error: Exception) -> JournalError:
        # A full disk or a value SQLite cannot hold leaves the file as it was: the batch may come again. After any other
        # failure (a failed fsync above all) nobody knows what is on the disk: take nothing more until a restart looks.
        with contextlib.suppress(sqlite3.Error):
            await self._database.execute("ROLLBACK")
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT) and isinstance(error, sqlite3.Error):
            self._failure = f"{self.path}: writing failed ({error}): restart the ledger"
            return JournalError(self._failure)
        return JournalError(f"{self.path}: nothing written ({error})")

    async def _checkpoint_if_due(self) -> None:
        limit = CHECKPOINT_BYTES_BUSY if self._queue else CHECKPOINT_BYTES_IDLE
        if self._bytes_since_checkpoint >= limit and not self._failure:
            await self._checkpoint("PASSIVE")

    # ---- reading, all on the read-only connection

    async def read(self, seq_after: int = 0, rows_max: int = 1000, writer: str = "") -> list[JournalRecord]:
        """Return up to `rows_max` records after `seq_after`, oldest first; of one writer if given."""
        where, parameters = " WHERE seq > ?", (seq_after,) if not writer else (seq_after, writer)
        if writer:
            where += " AND writer = ?"
        rows = await self._reader.execute_fetchall(f"{_SELECT}{where} ORDER BY seq LIMIT ?", (*parameters, rows_max))
        return [JournalRecord(*row) for row in rows]

    async def read_cause(self, cause_id: str) -> list[JournalRecord]:
        """Return every record of one cause, oldest first."""
        rows = await self._reader.execute_fetchall(_SELECT + " WHERE cause_id = ? ORDER BY seq", (cause_id,))
        return [JournalRecord(*row) for row in rows]

    def get_heads(self) -> dict[str, Head]:
        """Return (epoch, last writer_seq) of each writer, as far as durable."""
        return dict(self._heads)


def _content(record: JournalRecord) -> tuple[object, ...]:
    return record.ts_ns, record.role, record.kind, record.cause_id, record.payload


def _refuse(future: "asyncio.Future[None]", error: JournalError) -> None:
    if not future.done():
        future.set_exception(error)
