"""Storage: one instrument's series on disk as Parquet, hashed by their values, written beside and then renamed.

CATALOG/BTC-PERP.BINANCE/instrument.json
CATALOG/BTC-PERP.BINANCE/bars-15m.parquet            also mark-1h, funding, open-interest
CATALOG/BTC-PERP.BINANCE/trades/2024-10-18.parquet   one file a UTC day; also book
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from market.instruments import INSTRUMENT_ID, Instrument, instrument_from_dict, instrument_to_dict
from market.records import NS_PER_DAY, NS_PER_MS
from market.series import COLUMNS, DTYPES, Kind, Series, compute_sha256, format_interval, replace_rows

_DAILY = (Kind.TRADES, Kind.BOOK)
_META = b"trireme"


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file of a dataset and what its footer says of it."""

    path: Path
    kind: Kind
    interval_ns: int
    rows: int
    ts_first_ms: int
    ts_last_ms: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """All stored rows of one kind (of bars: and interval) of one instrument."""

    instrument_id: str
    kind: Kind
    interval_ns: int  # 0: not bars
    parts: tuple[Part, ...]  # oldest first, at least one

    @property
    def name(self) -> str:
        """Kind and interval as in the file name: "bars-15m"."""
        return _name_dataset(self.kind, self.interval_ns)

    @property
    def rows(self) -> int:
        """Rows stored."""
        return sum(part.rows for part in self.parts)

    @property
    def sha256(self) -> str:
        """Hash of the values."""
        if len(self.parts) == 1:
            return self.parts[0].sha256
        return hashlib.sha256("".join(part.sha256 for part in self.parts).encode()).hexdigest()


def list_instruments(catalog_dir: Path) -> list[str]:
    """Return the ids of the instruments a catalog holds, sorted; empty if there is no catalog."""
    if not catalog_dir.is_dir():
        return []
    return sorted(path.parent.name for path in catalog_dir.glob("*/instrument.json") if _is_id(path.parent.name))


def _is_id(name: str) -> bool:
    return INSTRUMENT_ID.fullmatch(name) is not None


def read_instrument(catalog_dir: Path, instrument_id: str) -> Instrument:
    """Return the stored instrument. Raises ValueError naming the file if it is missing or damaged."""
    path = catalog_dir / instrument_id / "instrument.json"
    try:
        return instrument_from_dict(json.loads(path.read_text()), str(path))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not readable ({error}); remove it and import again") from error


def write_instrument(catalog_dir: Path, instrument: Instrument) -> None:
    """Store the instrument's rules beside its data."""
    with replacing(catalog_dir / instrument.instrument_id / "instrument.json") as temporary:
        temporary.write_text(json.dumps(instrument_to_dict(instrument), indent=2) + "\n")


def list_datasets(catalog_dir: Path, instrument_id: str) -> list[Dataset]:
    """Return what is stored of an instrument, from the files' footers alone. Raises ValueError for a damaged file."""
    home = catalog_dir / instrument_id
    grouped: dict[tuple[Kind, int], list[Part]] = {}
    for path in sorted([*home.glob("*.parquet"), *home.glob("*/*.parquet")]):
        part = _read_part(path)
        grouped.setdefault((part.kind, part.interval_ns), []).append(part)
    return [
        Dataset(instrument_id, kind, interval_ns, tuple(sorted(parts, key=lambda part: part.ts_first_ms)))
        for (kind, interval_ns), parts in sorted(grouped.items())
    ]


def _read_part(path: Path) -> Part:
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            meta = json.loads(file.schema_arrow.metadata[_META])
        return Part(
            path,
            Kind(meta["kind"]),
            int(meta["interval_ns"]),
            int(meta["rows"]),
            int(meta["ts_first_ms"]),
            int(meta["ts_last_ms"]),
            str(meta["sha256"]),
        )
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: not a file of a catalog ({type(error).__name__}); remove it and import again"
        ) from error


def read_dataset(dataset: Dataset) -> Series:
    """Return the rows of a dataset, oldest first, memory-mapped where the encoding allows.

    Raises: ValueError naming the file if its values are not those that were written.
    """
    chunks = [_read_rows(part) for part in dataset.parts]
    columns = {name: np.concatenate([chunk.columns[name] for chunk in chunks]) for name in COLUMNS[dataset.kind]}
    return Series(dataset.kind, columns, dataset.interval_ns, f"{dataset.instrument_id} {dataset.name}")


def _read_rows(part: Part) -> Series:
    try:
        with pq.ParquetFile(part.path, memory_map=True) as file:
            table = file.read()
        columns: dict[str, Any] = {
            name: table.column(name).to_numpy().astype(DTYPES.get(name, np.float64), copy=False)
            for name in COLUMNS[part.kind]
        }
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise ValueError(f"{part.path}: damaged ({type(error).__name__}); remove it and import again") from error
    if compute_sha256(part.kind, part.interval_ns, columns) != part.sha256:
        raise ValueError(f"{part.path}: values are not those written (sha256 differs); remove it and import again")
    return Series(part.kind, columns, part.interval_ns, str(part.path))


def write_series(catalog_dir: Path, instrument_id: str, series: Series) -> tuple[int, int]:
    """Store checked rows, extending what is there; a new row replaces the one of its time.

    Returns (rows added, rows replaced with other values).
    """
    home = catalog_dir / instrument_id
    name = _name_dataset(series.kind, series.interval_ns)
    if series.kind not in _DAILY:
        return _write_part(home / f"{name}.parquet", series)
    days = series.ts_ns // NS_PER_DAY
    added = replaced = 0
    for day in np.unique(days):
        path = home / name / f"{np.datetime64(int(day), 'D')}.parquet"
        counts = _write_part(path, series.take(days == day))
        added, replaced = added + counts[0], replaced + counts[1]
    return added, replaced


def _name_dataset(kind: Kind, interval_ns: int) -> str:
    return f"{kind}-{format_interval(interval_ns)}" if interval_ns else str(kind)


def _write_part(path: Path, series: Series) -> tuple[int, int]:
    rows_before = replaced = 0
    if path.exists():
        old = _read_rows(_read_part(path))
        rows_before = len(old)
        series, replaced = replace_rows(old, series)
    meta = {
        "kind": str(series.kind),
        "interval_ns": series.interval_ns,
        "rows": len(series),
        "ts_first_ms": int(series.ts_ns[0]) // NS_PER_MS,
        "ts_last_ms": int(series.ts_ns[-1]) // NS_PER_MS,
        "sha256": compute_sha256(series.kind, series.interval_ns, series.columns),
    }
    arrays = {name: pa.array(series.columns[name]) for name in COLUMNS[series.kind]}
    table = pa.table(arrays).replace_schema_metadata({_META: json.dumps(meta)})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=False)
    return len(series) - rows_before, replaced


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, then flush and rename: a reader sees the old file or the new one, whole.

    What is written is dropped where the block raises. The folder is made if there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
