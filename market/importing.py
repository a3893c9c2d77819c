"""Importing: files into the catalog, refused whole if any row is unsound; and the check of what is there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from market.checks import Fault, Finding, check_series, find_faults
from market.instruments import check_instrument_id, make_instrument
from market.readers import read_series
from market.records import NS_PER_MS
from market.series import Kind, Series, format_interval, format_ts, merge_series
from market.storage import Dataset, list_datasets, list_instruments, read_dataset, write_instrument, write_series

_SUFFIXES = (".zip", ".csv", ".parquet", ".jsonl", ".gz", ".zst")


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What one dataset holds (or an import brought): rows, period, holes."""

    instrument_id: str
    kind: Kind
    interval_ns: int
    rows: int
    rows_added: int
    rows_replaced: int
    ts_first_ms: int
    ts_last_ms: int
    sha256: str
    gaps: tuple[Finding, ...]
    problem: str = ""  # what is wrong with the stored rows, if anything is

    def to_dict(self) -> dict[str, Any]:
        """Return the report ready for JSON."""
        return {
            "instrument_id": self.instrument_id,
            "kind": str(self.kind),
            "interval": format_interval(self.interval_ns) if self.interval_ns else None,
            "rows": self.rows,
            "rows_added": self.rows_added,
            "rows_replaced": self.rows_replaced,
            "ts_first_ms": self.ts_first_ms,
            "ts_last_ms": self.ts_last_ms,
            "sha256": self.sha256,
            "gaps": [
                {
                    "ts_from_ms": gap.ts_from_ns // NS_PER_MS,
                    "ts_to_ms": gap.ts_to_ns // NS_PER_MS,
                    "rows_missing": gap.rows_missing,
                    "text": gap.text,
                }
                for gap in self.gaps
            ],
            "problem": self.problem or None,
        }


def list_files(paths: Sequence[Path | str]) -> list[Path]:
    """Return the files named, directories replaced by the data files in them, sorted within each.

    Raises: ValueError for a path that is not there, or a directory without data files.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix in _SUFFIXES)
            if not found:
                raise ValueError(f"{path}: no data files ({', '.join(_SUFFIXES)}) in this directory")
            files.extend(found)
        elif path.is_file():
            files.append(path)
        else:
            raise ValueError(f"{path}: no such file or directory")
    if not files:
        raise ValueError("no files to import; name at least one")
    return files


def import_files(
    paths: Sequence[Path | str],
    catalog_dir: Path | str,
    instrument_id: str,
    kind: Kind | None = None,
    interval_ns: int = 0,
    on_file: Callable[[Path, int], None] = lambda path, rows: None,
) -> list[DatasetReport]:
    """Read, check, merge and store files of one instrument; return one report per dataset written.

    Overlaps that agree are merged, rows stored before give way to new ones of their time. Everything is read and
    checked before anything is written. `on_file` is told each file and its rows as it is read.

    Raises: ValueError with file, row and mend for the first unsound row; see readers, checks and merge_series.
    """
    check_instrument_id(instrument_id)
    catalog = Path(catalog_dir)
    if catalog.exists() and not catalog.is_dir():
        raise ValueError(f"catalog {catalog} is a file; name a directory")
    grouped: dict[tuple[Kind, int], list[Series]] = {}
    for path in list_files(paths):
        series = read_series(path, kind, interval_ns)
        check_series(series)
        on_file(path, len(series))
        grouped.setdefault((series.kind, series.interval_ns), []).append(series)
    merged = [merge_series(parts) for _, parts in sorted(grouped.items())]
    _store_instrument(catalog, instrument_id, merged)
    reports = []
    for series in merged:
        gaps = tuple(check_series(series))
        added, replaced = write_series(catalog, instrument_id, series)
        stored = next(
            dataset
            for dataset in list_datasets(catalog, instrument_id)
            if (dataset.kind, dataset.interval_ns) == (series.kind, series.interval_ns)
        )
        reports.append(_report(stored, gaps, added, replaced))
    return reports


def _store_instrument(catalog: Path, instrument_id: str, merged: list[Series]) -> None:
    # The rules are derived from the first prices seen and then stay: a run must not change with a later import.
    shows_px = {Kind.BARS: "close_px", Kind.TRADES: "px", Kind.MARK: "close_px"}
    past_px = next((series.columns[shows_px[series.kind]] for series in merged if series.kind in shows_px), None)
    if instrument_id in list_instruments(catalog):
        stored = list_datasets(catalog, instrument_id)
        if past_px is None or any(dataset.kind in shows_px for dataset in stored):
            return
    write_instrument(catalog, make_instrument(instrument_id, past_px))


def check_catalog(catalog_dir: Path | str) -> list[DatasetReport]:
    """Return a report on every dataset: values re-hashed, rows re-checked, holes named.

    Raises: ValueError if the catalog holds nothing.
    """
    catalog = Path(catalog_dir)
    ids = list_instruments(catalog)
    if not ids:
        raise ValueError(f"catalog {catalog} has nothing; fill it with `trireme data import`")
    return [_check_dataset(dataset) for instrument_id in ids for dataset in list_datasets(catalog, instrument_id)]


def _check_dataset(dataset: Dataset) -> DatasetReport:
    try:
        series = read_dataset(dataset)
        found = find_faults(series)
    except ValueError as error:
        return _report(dataset, (), problem=str(error))
    bad = [finding for finding in found if finding.fault is not Fault.GAP]
    problem = f"{series.describe_row(bad[0].row)}: {bad[0].text}" if bad else ""
    return _report(dataset, tuple(finding for finding in found if finding.fault is Fault.GAP), problem=problem)


def _report(
    dataset: Dataset, gaps: tuple[Finding, ...], added: int = 0, replaced: int = 0, problem: str = ""
) -> DatasetReport:
    return DatasetReport(
        dataset.instrument_id,
        dataset.kind,
        dataset.interval_ns,
        dataset.rows,
        added,
        replaced,
        dataset.parts[0].ts_first_ms,
        dataset.parts[-1].ts_last_ms,
        dataset.sha256,
        gaps,
        problem,
    )


def describe_report(report: DatasetReport) -> str:
    """Return one line for people: what, from when to when, how many holes."""
    what = f"{report.kind}-{format_interval(report.interval_ns)}" if report.interval_ns else str(report.kind)
    period = f"{format_ts(report.ts_first_ms * NS_PER_MS)} to {format_ts(report.ts_last_ms * NS_PER_MS)}"
    missing = int(np.sum([gap.rows_missing for gap in report.gaps]))
    holes = f"{len(report.gaps)} gaps, {missing} rows missing" if report.gaps else "no gaps"
    return f"{report.instrument_id} {what}: {report.rows:,} rows, {period}, {holes}"
