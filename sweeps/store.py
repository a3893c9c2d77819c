"""A sweep's directory: what was asked, the chunks that are finished, the results of each round.

    sweep.json               what the sweep is: spec, data, code, account; a resume must find the same
    spec.yaml                the specification as it was given
    rounds/1-coarse/         round.json (what is tried, in chunks of how many), then chunks/0000000.parquet and .npy;
                             at its end results.parquet, returns.npy and summary.json, and the chunks go
    summary.json, report.html, ledger/

Every file is written beside its place, flushed and renamed. A chunk is there when its .parquet is.
"""

import contextlib
import errno
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from market.storage import replacing

ROW_GROUP = 65_536
CATALOG = "catalog"  # the key of sweep.json that may change: the same data may lie elsewhere
SHOWN_MAX = 100  # characters of a value that differs
RETURNS_BYTES_MAX = 256_000_000  # of a round; of more configurations an even sample is kept

Returns = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ChunkRows:
    """What a worker hands over: rows as Parquet bytes, and the daily returns that are kept as npy bytes."""

    rows: bytes
    returns_frac: bytes


class SweepStore:
    """The files of one sweep below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()

    @property
    def spec_path(self) -> Path:
        """The specification as it was given."""
        return self.directory / "spec.yaml"

    @property
    def is_begun(self) -> bool:
        """Whether a sweep lies here, finished or not."""
        return self._identity_path.exists()

    @property
    def returns_path(self) -> Path:
        """The daily returns of all rounds, float32[configs kept, days]."""
        return self.directory / "returns.npy"

    def begin(self, identity: dict[str, Any], spec_text: str, catalog: Path | None = None) -> None:
        """Claim a new or empty directory; `catalog`: where the data are. ValueError where something else lies there."""
        if self.directory.exists() and (not self.directory.is_dir() or any(self.directory.iterdir())):
            raise ValueError(f"{self.directory} is not an empty directory: choose another")
        self.directory.mkdir(parents=True, exist_ok=True)
        write_atomically(self.spec_path, spec_text.encode())
        where = {CATALOG: None if catalog is None else str(catalog.resolve())}
        write_atomically(self._identity_path, _dump(identity | where))

    def resume(self, identity: dict[str, Any]) -> None:
        """Check that the directory holds this very sweep. Raises ValueError naming what differs."""
        before = self.read_identity()
        if difference := find_difference(before, json.loads(_dump(identity))):
            key, there, here = difference
            raise ValueError(
                f"{self.directory} holds a sweep with another {key}: {there} there, {here} here; "
                "resume it as it was, or start a new one with --out"
            )

    def read_identity(self) -> dict[str, Any]:
        """Return what the directory's sweep is. Raises ValueError where there is none."""
        if not self.is_begun:
            raise ValueError(f"{self.directory} holds no sweep: there is no {self._identity_path.name} in it")
        identity: dict[str, Any] = _load(self._identity_path)
        identity.pop(CATALOG, None)
        return identity

    def read_catalog(self) -> Path | None:
        """Return where the sweep found its data; None: it made them up. Raises ValueError as `read_identity` does."""
        self.read_identity()
        catalog = _load(self._identity_path).get(CATALOG)
        return None if catalog is None else Path(catalog)

    @property
    def _identity_path(self) -> Path:
        return self.directory / "sweep.json"

    def get_round(self, number: int, name: str) -> "RoundStore":
        """Return the files of a round, counted from 1."""
        return RoundStore(self.directory / "rounds" / f"{number}-{name}")

    def join_returns(self, rounds: list["RoundStore"]) -> Returns:
        """Return the daily returns of all rounds, one round after another, mapped from `returns_path`."""
        parts = [part.read_returns() for part in rounds]
        shape = (sum(len(part) for part in parts), parts[0].shape[1])
        with replacing(self.returns_path) as beside:
            joined = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float32, shape=shape)
            row = 0
            for part in parts:
                for start in range(0, len(part), ROW_GROUP):
                    piece = part[start : start + ROW_GROUP]
                    joined[row : row + len(piece)] = piece
                    row += len(piece)
            joined.flush()
        mapped: Returns = np.load(self.returns_path, mmap_mode="r")
        return mapped


class RoundStore:
    """The files of one round."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.chunks_dir = directory / "chunks"
        self.results_path = directory / "results.parquet"
        self.returns_path = directory / "returns.npy"
        self.summary_path = directory / "summary.json"

    def begin(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Write the plan of a new round, or return that of a round begun before: its chunks are cut as they were."""
        path = self.directory / "round.json"
        if not path.exists():
            self.chunks_dir.mkdir(parents=True, exist_ok=True)
            write_atomically(path, _dump(plan))
        begun: dict[str, Any] = _load(path)
        if not (isinstance(begun.get("chunk_configs"), int) and begun["chunk_configs"] > 0):
            raise ValueError(
                f"{path} is damaged: chunk_configs is missing; remove {self.directory}, and a resume runs it"
            )
        return begun

    def read_summary(self) -> dict[str, Any] | None:
        """Return the summary of a finished round, None of an unfinished one."""
        if not self.summary_path.exists():
            return None
        summary: dict[str, Any] = _load(self.summary_path)
        return summary

    def get_chunk_path(self, chunk: int) -> Path:
        """Return where the rows of a chunk lie."""
        return self.chunks_dir / f"{chunk:07d}.parquet"

    def list_chunks(self) -> set[int]:
        """Return the chunks that are finished."""
        return {int(path.stem) for path in self.chunks_dir.glob("*.parquet") if path.stem.isdigit()}

    def write_chunk(self, chunk: int, rows: ChunkRows) -> None:
        """Write a chunk: its returns first, so that rows are never without them. Raises OSError on a full disk."""
        path = self.get_chunk_path(chunk)
        write_atomically(path.with_suffix(".npy"), rows.returns_frac)
        write_atomically(path, rows.rows)

    def read_chunk(self, chunk: int, columns: list[str] | None = None) -> pa.Table:
        """Return the rows of a chunk. Raises ValueError naming a file that cannot be read."""
        with self._reading_chunk(chunk, ".parquet") as path:
            return pq.read_table(path, columns=columns)

    def count_rows(self, chunk: int) -> int:
        """Return how many configurations a chunk has. Raises ValueError as `read_chunk` does."""
        with self._reading_chunk(chunk, ".parquet") as path:
            return int(pq.read_metadata(path).num_rows)

    def read_returns(self) -> Returns:
        """Return the daily returns of a finished round, mapped. Raises ValueError as `read_chunk` does."""
        with _reading(self.returns_path, f"remove {self.directory}, and a resume runs this round anew") as path:
            returns: Returns = np.load(path, mmap_mode="r")
            return returns

    def read_results(self, columns: list[str]) -> pa.Table:
        """Return columns of a finished round's results. Raises ValueError as `read_chunk` does."""
        with _reading(self.results_path, f"remove {self.directory}, and a resume runs this round anew") as path:
            return pq.read_table(path, columns=columns)

    def _reading_chunk(self, chunk: int, suffix: str) -> contextlib.AbstractContextManager[Path]:
        path = self.get_chunk_path(chunk)
        return _reading(path.with_suffix(suffix), f"remove {path}, and a resume evaluates this chunk anew")

    def finish(self, chunks: int, columns: dict[str, npt.NDArray[Any]], summary: dict[str, Any]) -> None:
        """Make one file of the chunks' rows, with further columns (arrays over all rows), one of their returns; end.

        The bytes do not depend on how the round was cut into chunks.
        """
        self._join_rows(chunks, columns)
        self._join_returns(chunks)
        write_atomically(self.summary_path, _dump(summary))
        self.discard_chunks()

    def discard_chunks(self) -> None:
        """Remove the chunks of a finished round."""
        shutil.rmtree(self.chunks_dir, ignore_errors=True)

    def _join_rows(self, chunks: int, columns: dict[str, npt.NDArray[Any]]) -> None:
        done, waiting, rows_waiting = 0, [], 0
        with replacing(self.results_path) as beside, contextlib.ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for chunk in range(chunks):
                table = self.read_chunk(chunk)
                for name, values in columns.items():
                    table = table.append_column(name, pa.array(values[done : done + table.num_rows]))
                done += table.num_rows
                waiting.append(table)
                rows_waiting += table.num_rows
                if writer is None:
                    writer = stack.enter_context(pq.ParquetWriter(beside, table.schema))
                if rows_waiting >= ROW_GROUP or chunk == chunks - 1:
                    whole = pa.concat_tables(waiting).combine_chunks()
                    kept = 0 if chunk == chunks - 1 else rows_waiting % ROW_GROUP
                    writer.write_table(whole.slice(0, rows_waiting - kept), row_group_size=ROW_GROUP)
                    waiting, rows_waiting = [whole.slice(rows_waiting - kept)], kept

    def _join_returns(self, chunks: int) -> None:
        shapes = []
        for chunk in range(chunks):
            with self._reading_chunk(chunk, ".npy") as path:
                shapes.append(np.load(path, mmap_mode="r").shape)
        with replacing(self.returns_path) as beside:
            shape = (sum(shape[0] for shape in shapes), shapes[0][1])
            joined = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float32, shape=shape)
            row = 0
            for chunk, (rows, _) in enumerate(shapes):
                joined[row : row + rows] = np.load(self.get_chunk_path(chunk).with_suffix(".npy"))
                row += rows
            joined.flush()


def choose_kept(configs: npt.NDArray[np.int64], configs_total: int, days: int) -> npt.NDArray[np.bool_]:
    """Return whose daily returns are kept: all, or where that is too much an even sample, by a hash of their number."""
    share = min(1.0, RETURNS_BYTES_MAX / (4.0 * max(1, days) * configs_total))
    hashed = (configs.astype(np.uint64) * np.uint64(11_400_714_819_323_198_485)) >> np.uint64(32)
    return hashed < np.uint64(int(share * 2**32)) if share < 1.0 else np.ones(len(configs), np.bool_)


def dump_chunk(table: pa.Table, returns_frac: Returns) -> ChunkRows:
    """Return rows and returns as bytes."""
    rows, returns = io.BytesIO(), io.BytesIO()
    pq.write_table(table, rows)
    np.save(returns, returns_frac)
    return ChunkRows(rows.getvalue(), returns.getvalue())


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside `path`, flush, rename."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def explain_write_error(error: Exception, directory: Path) -> str:
    """Return in one line why nothing more can be written."""
    reason, place = str(error), str(directory)
    if isinstance(error, OSError):
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason, place = "the disk is full" if is_full else error.strerror or reason, error.filename or place
    return f"cannot write {place}: {reason}; finished chunks are kept: mend it"


def find_difference(there: Any, here: Any, path: str = "") -> tuple[str, str, str] | None:
    """Return (dotted key, value there, value here) of the first difference of two JSON values, None if equal.

    >>> find_difference({"a": {"b": 1}}, {"a": {"b": 2}})
    ('a.b', '1', '2')
    """
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            found = find_difference(there.get(key), here.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    return None if there == here else (path, _shorten(there), _shorten(here))


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 3]}..."


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"


def _load(path: Path) -> Any:
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; start a new sweep") from None
    return document


@contextlib.contextmanager
def _reading(path: Path, mend: str) -> Iterator[Path]:
    # Files are written whole or not at all: what cannot be read was damaged afterwards.
    try:
        yield path
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged or gone ({' '.join(str(error).split())}): {mend}") from None
