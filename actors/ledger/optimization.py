"""What a finished sweep leaves in a ledger: the same two files, and the same rules, as what trading leaves.

All records of a sweep are one batch of the journal, so they are there together or not at all. Their writer is named
after the sweep: whoever finds it in the journal need not write again.
"""

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from actors.journal import JournalError, JournalRecord, JournalWriter
from actors.ledger.history import APPLICATION_ID, SCHEMA_VERSION
from actors.ledger.projections import SweepFinished, SweepRoundFinished, make_json_text
from actors.ledger.shell import LedgerShell

EPOCH = 1  # nobody replays a sweep's records, so nobody takes over
_JSON_COLUMNS = (
    "instrument_ids",
    "best_params",
    "best_metrics",
    "best_metrics_out_of_sample",
    "faults",
    "failures",
    "region",
    "distributions",
)


def record_sweep(directory: Path, summary: dict[str, Any], spec_sha256: str, ts_now_ns: int) -> None:
    """Record a finished sweep in `directory`/ledger, durably; a sweep that is there already stays as it is.

    Parameters
    ----------
    directory : of the sweep
    summary : `dataclasses.asdict(SweepSummary)`
    ts_now_ns : when it ended, UTC

    Runs an event loop of its own: not for coroutines. After a crash anywhere in it, call it again.
    Raises: ValueError when the ledger is in use or damaged, or a number is not finite; JournalError when the disk
    failed.
    """
    records = make_records(summary, spec_sha256, ts_now_ns)
    try:
        asyncio.run(_record(directory / "ledger", records))
    except sqlite3.Error as error:  # of the history; the journal has an error of its own
        raise JournalError(f"{directory / 'ledger'}: the sweep is not recorded ({error}): make room, resume") from error


def make_records(summary: dict[str, Any], spec_sha256: str, ts_now_ns: int) -> list[JournalRecord]:
    """Return the journal records of a finished sweep: its rounds, then the whole.

    Its id is a function of what it was and came to, so that the same sweep is recorded once.
    Raises: ValueError when a number is not finite.
    """
    content = make_json_text([spec_sha256, summary])
    sweep_id = hashlib.sha256(content.encode()).hexdigest()[:16]
    writer = JournalWriter(f"sweep-{sweep_id}", EPOCH, msgspec.msgpack.encode)
    messages = [*_list_rounds(summary, sweep_id), _make_finished(summary, spec_sha256, sweep_id)]
    return [writer.note(message, ts_now_ns) for message in messages]


async def _record(directory: Path, records: list[JournalRecord]) -> None:
    ledger = LedgerShell(str(directory))
    await ledger.start()
    try:
        if not await ledger.read(rows_max=1, writer=records[0].writer):
            await ledger.append(records)
    finally:
        await ledger.stop()  # folds the journal into the history


def _list_rounds(summary: dict[str, Any], sweep_id: str) -> list[SweepRoundFinished]:
    return [
        SweepRoundFinished(
            number,
            part["name"],
            part["sampler"],
            part["configs"],
            part["passed"],
            part["failures"],
            part["region"],
            part["quantiles"],
            sweep_id,
        )
        for number, part in enumerate(summary["rounds"], 1)
    ]


def _make_finished(summary: dict[str, Any], spec_sha256: str, sweep_id: str) -> SweepFinished:
    data, best, odds = summary["data"], summary["best"], summary["overfitting"]
    return SweepFinished(
        summary["name"],
        summary["strategy"],
        list(data["instrument_ids"]),
        data["sha256"],
        summary["code_version"],
        spec_sha256,
        sum(part["configs"] for part in summary["rounds"]),
        sum(part["passed"] for part in summary["rounds"]),
        best["params"],
        best["metrics"],
        best["metrics_out_of_sample"],
        odds["deflated_sharpe_prob"],
        odds["pbo_frac"],
        odds["spa_p"],
        list(summary["faults"]),
        sweep_id,
    )


def read_sweep(directory: Path) -> dict[str, Any]:
    """Return the row of the sweep recorded last in `directory`/ledger, its JSON parsed, its rounds under "rounds".

    Reads only. Raises ValueError when there is none, or the file cannot be read.
    """
    path = directory / "ledger" / "history.db"
    mend = f"`trireme sweep --resume {directory}` records it"
    if not path.is_file():
        raise ValueError(f"{path}: not there: {mend}")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            found = {name: database.execute(f"PRAGMA {name}").fetchone()[0] for name in _VERSION}
            if found != _VERSION:
                raise ValueError(f"{path}: not a history of this version: {mend}")
            last = database.execute("SELECT * FROM optimizations ORDER BY seq DESC LIMIT 1").fetchone()
            if last is None:
                raise ValueError(f"{path}: no sweep is recorded: {mend}")
            sql = "SELECT * FROM optimization_rounds WHERE sweep_id = ? ORDER BY round"
            rounds = database.execute(sql, (last["sweep_id"],)).fetchall()
            return _parse(last) | {"rounds": [_parse(row) for row in rounds]}
    except sqlite3.Error as error:
        raise ValueError(f"{path}: not a readable database ({error}): remove it; {mend}") from None


_VERSION = {"application_id": APPLICATION_ID, "user_version": SCHEMA_VERSION}


def _parse(row: sqlite3.Row) -> dict[str, Any]:
    return {key: json.loads(value) if key in _JSON_COLUMNS else value for key, value in dict(row).items()}
