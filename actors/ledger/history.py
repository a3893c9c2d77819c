"""The history file: the journal folded into rows that reports read. Derived: delete it and it is built again.

It is a file of its own, so that a long report cannot block an order. How far the fold has come is written in the same
transaction as the rows, so each journal record counts exactly once whatever crashes.
"""

import asyncio
import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import IO

import aiosqlite

from actors.ledger.projections import SCHEMA, add_decimals, project
from actors.ledger.store import JournalStore, fetch_int, lock_file, open_database, open_read_only
from market.reasons import Reason

SCHEMA_VERSION = 2
APPLICATION_ID = 0x54524948  # "TRIH"
ROWS_PER_STEP = 500  # folded in one transaction; between two, other tasks run

Row = dict[str, int | str | None]
_log = logging.getLogger(__name__)


class HistoryStore:
    """The derived tables. `await HistoryStore.open(path, journal)`; every query first catches up with the journal."""

    def __init__(
        self,
        path: Path,
        journal: JournalStore,
        lock: IO[bytes],
        database: aiosqlite.Connection,
        reader: aiosqlite.Connection,
    ) -> None:
        self.path = path
        self._journal = journal
        self._lock_file = lock
        self._database = database
        self._reader = reader
        self._seq = 0  # the last journal record that is folded in
        self._run = 0  # seq of the RunStarted it belongs to; 0: before any
        self._fold = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path, journal: JournalStore) -> "HistoryStore":
        """Open or create the history of a journal; one that an older program wrote is built again.

        Raises: ValueError when the file is in use, not a history, of a newer version, or of another journal.
        """
        lock = lock_file(path)
        database: aiosqlite.Connection | None = None
        reader: aiosqlite.Connection | None = None
        try:
            _remove_older(path)
            database = await open_database(path, APPLICATION_ID, SCHEMA_VERSION, SCHEMA)
            reader = await open_read_only(path)
            history = cls(path, journal, lock, database, reader)
            await history._load_progress()
        except BaseException:
            for connection in (reader, database):
                if connection is not None:
                    await connection.close()
            lock.close()
            raise
        return history

    async def _load_progress(self) -> None:
        [(identity, self._seq, self._run)] = await self._database.execute_fetchall("SELECT * FROM progress")
        if identity not in ("", self._journal.identity) or self._seq > self._journal.seq_last:
            raise ValueError(f"{self.path}: belongs to another journal: remove it and it is built again")
        await self._database.execute("UPDATE progress SET journal = ?", (self._journal.identity,))

    async def catch_up(self) -> None:
        """Fold in every journal record that was durable when this was called."""
        async with self._fold:
            seq_last = self._journal.seq_last
            while self._seq < seq_last:
                await self._step()

    async def _step(self) -> None:
        records = await self._journal.read(self._seq, ROWS_PER_STEP)
        run, seq = self._run, self._seq
        await self._database.execute("BEGIN IMMEDIATE")
        try:
            for record in records:
                seq = record.seq
                try:
                    for sql, parameters in project(record, run):
                        await self._database.execute(sql, parameters)
                except (ValueError, OverflowError, sqlite3.IntegrityError) as error:
                    fault = (seq, run, record.kind, str(error))
                    await self._database.execute("INSERT INTO faults VALUES (?,?,?,?)", fault)
                if record.kind == "RunStarted":
                    run = await fetch_int(self._database, "SELECT run FROM progress")
            await self._database.execute("UPDATE progress SET seq = ?", (seq,))
            await self._database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                await self._database.execute("ROLLBACK")
            raise
        self._seq, self._run = seq, run

    async def close(self) -> None:
        """Checkpoint and close; what is not folded in yet is folded in after the next open."""
        async with self._fold:
            await self._reader.close()
            with contextlib.suppress(sqlite3.OperationalError):  # a report still reads: the next open does it
                await self._database.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            await self._database.close()
        self._lock_file.close()

    async def checkpoint(self) -> None:
        """Move the WAL into the database file."""
        async with self._fold:
            await self._database.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")

    # ---- queries, all on the read-only connection

    async def query(self, sql: str, *parameters: object) -> list[Row]:
        """Return the rows of a SELECT over the history as dicts, up to date with the journal."""
        await self.catch_up()
        async with self._reader.execute(sql, parameters) as cursor:
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]

    async def fills_since(self, seq: int = 0) -> list[Row]:
        """Return the fills recorded after journal place `seq`, oldest first; each row carries its own `seq`."""
        return await self.query("SELECT * FROM fills WHERE seq > ? ORDER BY seq", seq)

    async def runs(self) -> list[Row]:
        """Return every run, oldest first."""
        return await self.query("SELECT * FROM runs ORDER BY run")

    async def summarize(self, run: int = -1) -> dict[str, object]:
        """Return counts and exact sums of a run (-1: the last), money as decimal text.

        `net_lots` is the sum of signed fills per instrument; with the fees, fills and funding it adds up exactly.
        """
        if run < 0:
            await self.catch_up()
            run = self._run
        one = await self.query("SELECT * FROM runs WHERE run = ?", run)
        fills = await self.query("SELECT instrument_id, side, fill_qty_lots, fee_quote FROM fills WHERE run = ?", run)
        funding = await self.query("SELECT amount_quote FROM funding WHERE run = ?", run)
        marks = await self.query(
            "SELECT ts_close_ns, equity_quote, cash_quote, latch FROM equity WHERE run = ? ORDER BY ts_close_ns", run
        )
        denials = await self.query("SELECT denial, count(*) AS n FROM denials WHERE run = ? GROUP BY denial", run)
        orders = await self.query("SELECT status, count(*) AS n FROM orders WHERE run = ? GROUP BY status", run)
        alerts = await self.query("SELECT severity, count(*) AS n FROM alerts WHERE run = ? GROUP BY severity", run)
        intents = await self.query("SELECT count(*) AS n FROM intents WHERE run = ?", run)
        faults = await self.query("SELECT count(*) AS n FROM faults WHERE run = ?", run)
        net_lots: dict[str, int] = {}
        for fill in fills:
            instrument_id, signed = str(fill["instrument_id"]), int(fill["side"] or 0) * int(fill["fill_qty_lots"] or 0)
            net_lots[instrument_id] = net_lots.get(instrument_id, 0) + signed
        return {
            "run": one[0] if one else {"run": run},
            "intents": intents[0]["n"],
            "denials": {Reason(int(row["denial"] or 0)).name: row["n"] for row in denials},
            "orders": {str(row["status"]): row["n"] for row in orders},
            "alerts": {str(row["severity"]): row["n"] for row in alerts},
            "fills": len(fills),
            "net_lots": net_lots,
            "fees_quote": add_decimals([str(row["fee_quote"]) for row in fills]),
            "funding_quote": add_decimals([str(row["amount_quote"]) for row in funding]),
            "marks": len(marks),
            "equity_first_quote": marks[0]["equity_quote"] if marks else None,
            "equity_last_quote": marks[-1]["equity_quote"] if marks else None,
            "cash_last_quote": marks[-1]["cash_quote"] if marks else None,
            "latch_last": Reason(int(marks[-1]["latch"] or 0)).name if marks else None,
            "faults": faults[0]["n"],
        }


def _remove_older(path: Path) -> None:
    # Under the file's lock. What is damaged, or no history, stays where it is: opening it says so.
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            [(found_id,)] = database.execute("PRAGMA application_id")
            [(version,)] = database.execute("PRAGMA user_version")
    except sqlite3.Error:
        return
    if found_id != APPLICATION_ID or version >= SCHEMA_VERSION:
        return
    _log.warning("%s: schema version is %d, now %d: building it again from the journal", path, version, SCHEMA_VERSION)
    for name in (f"{path.name}-wal", f"{path.name}-shm", path.name):  # the file last: a crash between leaves it older
        path.with_name(name).unlink(missing_ok=True)
