"""The journal file: durable, fenced, idempotent, all or nothing, and whole after a kill."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.journal import ConflictError, FencedError, JournalError, JournalRecord, OverloadedError, SequenceGapError
from actors.ledger import store as store_module
from actors.ledger.store import JournalStore


def make_record(
    writer: str, writer_seq: int, epoch: int = 1, cause_id: str = "c", payload: bytes = b"p"
) -> JournalRecord:
    return JournalRecord(writer, epoch, writer_seq, 1_700_000_000 * 10**9 + writer_seq, 1, "Tick", cause_id, payload)


def with_store(path: Path, use: Callable[[JournalStore], Awaitable[None]]) -> None:
    async def run() -> None:
        store = await JournalStore.open(path)
        try:
            await use(store)
        finally:
            await store.close()

    asyncio.run(run())


def read_all(path: Path) -> list[tuple[str, int, int]]:
    with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as database:
        return database.execute("SELECT writer, epoch, writer_seq FROM journal ORDER BY seq").fetchall()


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    records = [make_record("a", 1), make_record("a", 2), make_record("b", 1, epoch=3)]

    async def write(store: JournalStore) -> None:
        await store.append(records[:2])
        await store.append(records[2:])

    async def check(store: JournalStore) -> None:
        stored = await store.read()
        assert [replace(record, seq=0) for record in stored] == records
        assert [record.seq for record in stored] == [1, 2, 3]
        assert store.get_heads() == {"a": (1, 2), "b": (3, 1)}
        assert await store.read(writer="b") == stored[2:]
        assert await store.read(seq_after=1, rows_max=1) == stored[1:2]
        assert await store.read_cause("c") == stored
        await store.append([make_record("a", 3)])

    with_store(path, write)
    with_store(path, check)
    assert read_all(path)[-1] == ("a", 1, 3)


def test_durability_settings_are_the_ones_that_were_decided(tmp_path: Path) -> None:
    async def check(store: JournalStore) -> None:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("wal_autocheckpoint", 0)):
            [(found,)] = await store._database.execute_fetchall(f"PRAGMA {pragma}")
            assert found == value, pragma

    with_store(tmp_path / "journal.db", check)


REFUSALS = [
    ([make_record("a", 4, epoch=5)], SequenceGapError, "writer_seq is 4, expected 3"),
    ([make_record("a", 3, epoch=5), make_record("a", 5, epoch=5)], SequenceGapError, "writer_seq is 5, expected 4"),
    ([make_record("a", 3, epoch=4)], FencedError, "epoch is 4, the journal is at 5"),
    ([make_record("a", 2, epoch=5, payload=b"other")], ConflictError, "came twice, not the same"),
    ([make_record("a", 2, epoch=6)], SequenceGapError, "expected 1"),
    ([make_record("", 1)], ValueError, "name both"),
    ([make_record("a", 0)], ValueError, ">= 1"),
    ([make_record("a", 3, epoch=5, cause_id="\ud800")], JournalError, "nothing written"),
    ([replace(make_record("a", 3, epoch=5), ts_ns=2**63)], JournalError, "nothing written"),
]


@pytest.mark.parametrize(("batch", "error", "match"), REFUSALS)
def test_a_refused_batch_writes_nothing_and_the_store_goes_on(
    tmp_path: Path, batch: list[JournalRecord], error: type[Exception], match: str
) -> None:
    path = tmp_path / "journal.db"

    async def use(store: JournalStore) -> None:
        await store.append([make_record("a", 1, epoch=5), make_record("a", 2, epoch=5)])
        with pytest.raises(error, match=match):
            await store.append(batch)
        await store.append([make_record("a", 3, epoch=5)])

    with_store(path, use)
    assert read_all(path) == [("a", 5, 1), ("a", 5, 2), ("a", 5, 3)]


def test_the_same_record_twice_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def use(store: JournalStore) -> None:
        batch = [make_record("a", 1), make_record("a", 2)]
        await store.append(batch)
        await store.append(batch)
        await asyncio.gather(store.append([*batch, make_record("a", 3)]), store.append([make_record("a", 3)]))

    with_store(path, use)
    assert read_all(path) == [("a", 1, 1), ("a", 1, 2), ("a", 1, 3)]


def test_a_claim_fences_the_old_epoch_and_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def first(store: JournalStore) -> None:
        assert await store.claim("executor") == 1
        await store.append([make_record("executor", 1)])
        assert await store.claim("executor") == 2
        await store.fence("executor", 1)
        await store.fence("governor", 7)

    async def second(store: JournalStore) -> None:
        with pytest.raises(FencedError):
            await store.append([make_record("executor", 2)])
        with pytest.raises(FencedError):
            await store.append([make_record("governor", 1, epoch=6)])
        await store.append([make_record("executor", 1, epoch=2)])

    with_store(path, first)
    with_store(path, second)
    assert read_all(path) == [("executor", 1, 1), ("executor", 2, 1)]


def test_producers_share_commits_and_one_bad_batch_harms_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def use(store: JournalStore) -> None:
        writers = [f"w{i}" for i in range(40)]
        bad = store.append([make_record("bad", 2)])
        results = await asyncio.gather(
            bad, *(store.append([make_record(writer, 1)]) for writer in writers), return_exceptions=True
        )
        assert isinstance(results[0], SequenceGapError)
        assert results[1:] == [None] * 40
        assert store.commits < 10

    with_store(path, use)
    assert len(read_all(path)) == 40


def test_a_group_larger_than_one_statement_is_one_commit(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def use(store: JournalStore) -> None:
        await store.append([make_record("a", n) for n in range(1, 201)])
        assert store.commits == 1
        with pytest.raises(JournalError, match="nothing written"):
            await store.append([make_record("a", n, cause_id="\ud800" if n == 300 else "") for n in range(201, 401)])
        await store.append([make_record("a", 201)])

    with_store(path, use)
    assert read_all(path) == [("a", 1, n) for n in range(1, 202)]


def test_a_canceled_producer_does_not_stop_the_others(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def use(store: JournalStore) -> None:
        task = asyncio.create_task(store.append([make_record("a", 1)]))
        await asyncio.sleep(0)
        task.cancel()
        await store.append([make_record("b", 1)])
        await store.flush()

    with_store(path, use)
    assert ("b", 1, 1) in read_all(path)


def test_rows_cannot_be_changed_or_removed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def use(store: JournalStore) -> None:
        await store.append([make_record("a", 1)])

    with_store(path, use)
    with sqlite3.connect(path) as database:
        for sql in ("UPDATE journal SET kind = 'x'", "DELETE FROM journal"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(sql)


def test_one_file_has_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def use(store: JournalStore) -> None:
        with pytest.raises(ValueError, match="another ledger has this file open"):
            await JournalStore.open(path)

    with_store(path, use)


@pytest.mark.parametrize("kind", ["text", "other database", "newer", "no folder"])
def test_a_file_that_is_no_journal_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "journal.db"
    if kind == "text":
        path.write_text("not a database, only a file with some words in it\n" * 100)
    elif kind == "no folder":
        path = tmp_path / "none" / "journal.db"
    else:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE t (x)")
            if kind == "newer":
                database.execute(f"PRAGMA application_id={store_module.APPLICATION_ID}")
                database.execute("PRAGMA user_version=99")
    with pytest.raises(ValueError, match=r"journal\.db: ") as caught:
        asyncio.run(JournalStore.open(path))
    assert "\n" not in str(caught.value)


def test_a_full_disk_refuses_the_batch_and_takes_it_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def use(store: JournalStore) -> None:
        [(pages,)] = await store._database.execute_fetchall("PRAGMA page_count")
        await store._database.execute_fetchall(f"PRAGMA max_page_count={pages + 1}")
        batch = [make_record("a", 1, payload=b"x" * 100_000)]
        with pytest.raises(JournalError, match="nothing written"):
            await store.append(batch)
        await store._database.execute_fetchall("PRAGMA max_page_count=1000000")
        await store.append(batch)

    with_store(path, use)
    assert read_all(path) == [("a", 1, 1)]


def test_after_a_failure_of_unknown_extent_nothing_more_is_taken(tmp_path: Path) -> None:
    async def use(store: JournalStore) -> None:
        await store._database.execute("DROP TABLE journal")
        with pytest.raises(JournalError, match="restart the ledger"):
            await store.append([make_record("a", 1)])
        with pytest.raises(JournalError, match="restart the ledger"):
            await store.append([make_record("a", 1)])

    with_store(tmp_path / "journal.db", use)


def test_too_many_waiting_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ROWS_WAITING_MAX", 2)

    async def use(store: JournalStore) -> None:
        waiting = asyncio.create_task(store.append([make_record("a", 1), make_record("a", 2)]))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await store.append([make_record("b", 1)])
        await waiting
        await store.append([make_record("b", 1)])

    with_store(tmp_path / "journal.db", use)


def test_a_closed_store_refuses(tmp_path: Path) -> None:
    async def run() -> None:
        store = await JournalStore.open(tmp_path / "journal.db")
        waiting = asyncio.create_task(store.append([make_record("a", 1)]))
        await asyncio.sleep(0)
        await store.close()
        await waiting  # what waited was written
        with pytest.raises(JournalError, match="closed"):
            await store.append([make_record("a", 2)])

    asyncio.run(run())
    assert read_all(tmp_path / "journal.db") == [("a", 1, 1)]


BATCHES = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.lists(st.integers(1, 5), min_size=1, max_size=3)),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES)
def test_any_order_of_batches_leaves_each_epoch_contiguous_and_epochs_rising(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[str, int, list[int]]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    acknowledged: list[tuple[str, int, int]] = []

    async def use(store: JournalStore) -> None:
        for writer, epoch, numbers in batches:
            try:
                await store.append([make_record(writer, number, epoch) for number in numbers])
                acknowledged.extend((writer, epoch, number) for number in numbers)
            except JournalError:
                continue

    with_store(path, use)
    rows = read_all(path)
    assert set(rows) == set(acknowledged)
    assert len(rows) == len(set(rows))
    for writer in "ab":
        own = [row[1:] for row in rows if row[0] == writer]
        assert own == sorted(own)
        for epoch in {epoch for epoch, _ in own}:
            numbers = [number for e, number in own if e == epoch]
            assert numbers == list(range(1, len(numbers) + 1))


CHILD = """
import asyncio, sys
from pathlib import Path
from actors.journal import JournalRecord
from actors.ledger.store import JournalStore

async def produce(store, writer):
    for n in range(1, 1_000_000, 3):
        batch = [JournalRecord(writer, 1, k, k, 1, "Tick", "c", writer.encode() * 40) for k in range(n, n + 3)]
        await store.append(batch)
        print(writer, n + 2, flush=True)

async def main():
    store = await JournalStore.open(Path(sys.argv[1]))
    await asyncio.gather(*(produce(store, w) for w in ("a", "b", "c", "d")))

asyncio.run(main())
"""


def test_kill_in_the_middle_keeps_every_acknowledged_record_and_no_half_batch(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged: dict[str, int] = {}
    for lines, line in enumerate(child.stdout):
        if lines == 400:
            os.kill(child.pid, signal.SIGKILL)
        if line.endswith("\n") and len(line.split()) == 2:
            writer, number = line.split()
            acknowledged[writer] = int(number)
    child.wait()
    assert set(acknowledged) == set("abcd")

    async def check(store: JournalStore) -> None:
        assert await store._database.execute_fetchall("PRAGMA integrity_check") == [("ok",)]
        for writer, last in acknowledged.items():
            records = await store.read(rows_max=10**6, writer=writer)
            assert [record.writer_seq for record in records] == list(range(1, len(records) + 1))
            assert len(records) >= last
            assert len(records) % 3 == 0, "half a batch"
            assert all(record.payload == writer.encode() * 40 for record in records)
            await store.append([make_record(writer, len(records) + 1)])

    with_store(path, check)
