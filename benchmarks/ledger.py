"""Durable rows a second of the journal: eight producers sharing commits, beside one commit per row.

Run: python -m benchmarks.ledger
"""

import asyncio
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from actors.journal import JournalRecord
from actors.ledger.store import JournalStore

PRODUCERS = 8
ROWS_PER_APPEND = 4  # an executor's "about to send": parent, stop, take-profit, and the event behind them
SECONDS = 3.0
PAYLOAD = b"x" * 200


def make_record(writer: str, writer_seq: int) -> JournalRecord:
    """Return a record of the size of an order."""
    return JournalRecord(writer, 1, writer_seq, writer_seq, 1, "OrderRequest", "0" * 32, PAYLOAD)


async def measure_journal(path: Path, producers: int, rows_per_append: int) -> tuple[float, float, float]:
    """Return durable rows/s, commits/s, and the median wait of one append [ms]."""
    store = await JournalStore.open(path)
    waits_s: list[float] = []
    stop_s = time.perf_counter() + SECONDS

    async def produce(writer: str) -> None:
        writer_seq = 0
        while time.perf_counter() < stop_s:
            batch = [make_record(writer, writer_seq + 1 + i) for i in range(rows_per_append)]
            writer_seq += rows_per_append
            begin_s = time.perf_counter()
            await store.append(batch)
            waits_s.append(time.perf_counter() - begin_s)

    begin_s = time.perf_counter()
    await asyncio.gather(*(produce(f"actor{i}") for i in range(producers)))
    seconds = time.perf_counter() - begin_s
    rows, commits = store.seq_last, store.commits
    await store.close()
    return rows / seconds, commits / seconds, sorted(waits_s)[len(waits_s) // 2] * 1e3


def measure_plain(path: Path) -> float:
    """Return rows/s of the standard library's sqlite3: WAL, synchronous=FULL, one commit per row, the same columns."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE journal (seq INTEGER PRIMARY KEY, a INT, b TEXT, c INT, d INT, e INT, f, g, h BLOB)")
    rows, begin_s = 0, time.perf_counter()
    while time.perf_counter() - begin_s < SECONDS:
        r = make_record("actor0", rows + 1)
        row = (r.epoch, r.writer, r.writer_seq, r.ts_ns, r.role, r.kind, r.cause_id, r.payload)
        database.execute("INSERT INTO journal (a, b, c, d, e, f, g, h) VALUES (?,?,?,?,?,?,?,?)", row)
        rows += 1
    seconds = time.perf_counter() - begin_s
    database.close()
    return rows / seconds


def main() -> None:
    """Measure and print a line each."""
    with tempfile.TemporaryDirectory() as folder:
        plain_rows_s = measure_plain(Path(folder) / "plain.db")
        results = [("sqlite3, a commit per row, no index", plain_rows_s, plain_rows_s, 1e3 / plain_rows_s)]
        for name, producers, rows in (
            ("journal, 1 producer, 1 row an append", 1, 1),
            (f"journal, {PRODUCERS} producers, 1 row an append", PRODUCERS, 1),
            (f"journal, {PRODUCERS} producers, {ROWS_PER_APPEND} rows an append", PRODUCERS, ROWS_PER_APPEND),
        ):
            measured = asyncio.run(measure_journal(Path(folder) / f"{producers}-{rows}.db", producers, rows))
            results.append((name, *measured))
    sys.stdout.write(f"{'durable writes':<44} {'rows/s':>8} {'commits/s':>10} {'p50 ms':>7} {'ratio':>6}\n")
    for name, rows_s, commits_s, wait_ms in results:
        ratio = rows_s / plain_rows_s
        sys.stdout.write(f"{name:<44} {rows_s:>8.0f} {commits_s:>10.0f} {wait_ms:>7.2f} {ratio:>6.2f}\n")


if __name__ == "__main__":
    main()
