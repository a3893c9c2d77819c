"""A sweep in the ledger: there once, whole, whatever crashed; and older histories become new ones."""

import asyncio
import dataclasses
import logging
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from actors.journal import JournalRecord
from actors.ledger.history import SCHEMA_VERSION
from actors.ledger.optimization import make_records, read_sweep, record_sweep
from actors.ledger.projections import NotFiniteError
from actors.ledger.shell import LedgerShell
from actors.ledger.store import JournalStore
from tests.unit.trireme.sweep_directories import change_odds, make_bare_summary, make_summary

TS_NS = 1_700_000_000_000_000_000
SPEC = "ab" * 32


def values(**changes: Any) -> dict[str, Any]:
    return dataclasses.asdict(dataclasses.replace(make_summary(), **changes))


def append_to_journal(directory: Path, records: list[JournalRecord]) -> None:
    async def run() -> None:
        (directory / "ledger").mkdir(parents=True, exist_ok=True)
        journal = await JournalStore.open(directory / "ledger" / "journal.db")
        await journal.append(records)
        await journal.close()

    asyncio.run(run())


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as database:
        return database.execute(sql).fetchall()


def test_what_is_recorded_reads_back(tmp_path: Path) -> None:
    summary = values(faults=["drawdown out of sample", 'a "quoted" \u00e9 fault'])
    record_sweep(tmp_path, summary, SPEC, TS_NS)
    row = read_sweep(tmp_path)
    assert (row["name"], row["strategy"], row["spec_sha256"], row["ts_ns"]) == (
        "three rounds",
        "momentum_sar",
        SPEC,
        TS_NS,
    )
    assert row["instrument_ids"] == ["BTC-PERP.ACME", "ETH-PERP.ACME"]
    assert (row["data_sha256"], row["code_version"]) == (summary["data"]["sha256"], summary["code_version"])
    assert (row["configs"], row["passed"]) == (make_summary().configs, make_summary().passed)
    assert row["best_params"] == summary["best"]["params"]
    assert row["best_metrics"] == summary["best"]["metrics"]
    assert row["best_metrics_out_of_sample"] == summary["best"]["metrics_out_of_sample"]
    for key in ("deflated_sharpe_prob", "pbo_frac", "spa_p"):
        assert row[key] == summary["overfitting"][key] is not None
    assert row["faults"] == summary["faults"]
    assert [part["round"] for part in row["rounds"]] == [1, 2, 3]
    for part, given in zip(row["rounds"], summary["rounds"], strict=True):
        for key in ("name", "sampler", "configs", "passed"):
            assert part[key] == given[key]
        assert (part["failures"], part["region"], part["distributions"]) == (
            given["failures"],
            given["region"],
            given["quantiles"],
        )


def test_what_has_no_value_is_null(tmp_path: Path) -> None:
    record_sweep(tmp_path, dataclasses.asdict(make_bare_summary()), SPEC, TS_NS)
    row = read_sweep(tmp_path)
    assert [row[key] for key in ("deflated_sharpe_prob", "pbo_frac", "spa_p", "best_metrics_out_of_sample")] == [
        None
    ] * 4
    assert row["rounds"][-1]["region"] is None


def test_the_same_sweep_is_recorded_once(tmp_path: Path) -> None:
    record_sweep(tmp_path, values(), SPEC, TS_NS)
    first = read_sweep(tmp_path)
    record_sweep(tmp_path, values(), SPEC, TS_NS + 1)
    assert read_sweep(tmp_path) == first
    ledger = tmp_path / "ledger"
    assert query(ledger / "journal.db", "SELECT count(*) FROM journal") == [(4,)]
    assert query(ledger / "history.db", "SELECT count(*) FROM faults") == [(0,)]


def test_another_result_in_the_same_ledger_is_another_sweep(tmp_path: Path) -> None:
    record_sweep(tmp_path, values(), SPEC, TS_NS)
    record_sweep(tmp_path, values(faults=["new"]), SPEC, TS_NS + 1)
    assert read_sweep(tmp_path)["faults"] == ["new"]
    assert len(read_sweep(tmp_path)["rounds"]) == 3
    assert query(tmp_path / "ledger" / "history.db", "SELECT count(*) FROM optimizations") == [(2,)]


def test_a_crash_between_journal_and_history_is_mended_by_the_next_call(tmp_path: Path) -> None:
    append_to_journal(tmp_path, make_records(values(), SPEC, TS_NS))
    with pytest.raises(ValueError, match=r"history\.db: not there: `trireme sweep --resume") as caught:
        read_sweep(tmp_path)
    assert "\n" not in str(caught.value)
    record_sweep(tmp_path, values(), SPEC, TS_NS + 7)
    assert read_sweep(tmp_path)["ts_ns"] == TS_NS
    assert query(tmp_path / "ledger" / "journal.db", "SELECT count(*) FROM journal") == [(4,)]


def test_a_removed_history_comes_back_the_same(tmp_path: Path) -> None:
    record_sweep(tmp_path, values(), SPEC, TS_NS)
    first = read_sweep(tmp_path)
    for path in (tmp_path / "ledger").glob("history.db*"):
        path.unlink()
    record_sweep(tmp_path, values(), SPEC, TS_NS)
    assert read_sweep(tmp_path) == first


def test_the_story_of_a_sweep_is_its_rounds_and_its_end(tmp_path: Path) -> None:
    record_sweep(tmp_path, values(), SPEC, TS_NS)

    async def tell() -> str:
        ledger = LedgerShell(str(tmp_path / "ledger"))
        await ledger.start()
        try:
            return await ledger.story(read_sweep(tmp_path)["sweep_id"])
        finally:
            await ledger.stop()

    assert [line.split()[2] for line in asyncio.run(tell()).splitlines()] == ["SweepRoundFinished"] * 3 + [
        "SweepFinished"
    ]


def test_a_number_that_is_not_finite_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError):
        record_sweep(tmp_path, dataclasses.asdict(change_odds(make_summary(), spa_p=math.inf)), SPEC, TS_NS)
    assert not list(tmp_path.iterdir())


def test_a_ledger_of_version_1_is_built_again_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record_sweep(tmp_path, values(), SPEC, TS_NS)
    first, path = read_sweep(tmp_path), tmp_path / "ledger" / "history.db"
    with sqlite3.connect(path) as database:
        database.executescript("DROP TABLE optimizations; DROP TABLE optimization_rounds; PRAGMA user_version = 1")
    with pytest.raises(ValueError, match="not a history of this version"):
        read_sweep(tmp_path)
    with caplog.at_level(logging.WARNING):
        record_sweep(tmp_path, values(), SPEC, TS_NS)
    assert read_sweep(tmp_path) == first
    assert caplog.messages == [f"{path}: schema version is 1, now {SCHEMA_VERSION}: building it again from the journal"]


@pytest.mark.parametrize("kind", ["newer", "other database", "text"])
def test_a_history_that_is_not_older_is_left_alone(tmp_path: Path, kind: str) -> None:
    record_sweep(tmp_path, values(), SPEC, TS_NS)
    path = tmp_path / "ledger" / "history.db"
    if kind == "text":
        path.write_text("not a database, only a file with some words in it\n" * 100)
    else:
        with sqlite3.connect(path) as database:
            pragma = "user_version = 99" if kind == "newer" else "application_id = 7"
            database.execute(f"PRAGMA {pragma}")
    before = path.read_bytes()
    for attempt in (lambda: record_sweep(tmp_path, values(), SPEC, TS_NS), lambda: read_sweep(tmp_path)):
        with pytest.raises(ValueError, match=r"history\.db: ") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
