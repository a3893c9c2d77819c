"""Readers: Binance archive files (zip or CSV), plain CSV and Parquet, each into one Series.

The kind is recognised from column names; without a header, from the number and type of the columns; the paths of the
archive decide where columns cannot (mark price klines). Times may be ms, us or ns since 1970, or ISO text.
A file with a `.CHECKSUM` beside it (sha256sum format) must match it.
"""

import csv
import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from market.captures import read_capture
from market.series import COLUMNS, DTYPES, NS_PER_MINUTE, Kind, Series, parse_interval

# What each column is called: in the archive, in its REST twins, in plain files.
_NAMES = {
    "ts_ns": ("ts", "open_time", "calc_time", "create_time", "transact_time", "time", "timestamp", "fundingtime"),
    "open_px": ("open",),
    "high_px": ("high",),
    "low_px": ("low",),
    "close_px": ("close",),
    "volume_base": ("volume",),
    "px": ("price", "px"),
    "qty_base": ("quantity", "qty"),
    "is_buyer_maker": ("is_buyer_maker", "buyer_maker"),
    "trade_id": ("agg_trade_id", "agg_id", "trade_id", "id"),
    "funding_rate": ("last_funding_rate", "funding_rate", "fundingrate"),
    "open_interest_base": ("sum_open_interest", "open_interest"),
}
_OPTIONAL = ("trade_id", "is_buyer_maker")
_KLINES = "open_time open high low close volume close_time quote_volume count taker_buy taker_buy_quote ignore"
_AGG_TRADES = "agg_trade_id price quantity first_trade_id last_trade_id transact_time is_buyer_maker"
_TRADES = "id price qty quote_qty time is_buyer_maker"
_METRICS = "create_time symbol sum_open_interest sum_open_interest_value ratio_1 ratio_2 ratio_3 ratio_4"
_FUNDING = "calc_time funding_interval_hours last_funding_rate"
_UNSUPPORTED = ("indexPriceKlines", "premiumIndexKlines", "bookTicker", "bookDepth", "liquidationSnapshot")
_TRUE = ("true", "false")
# Plausible times, 2009 to 2100, in each unit: the ranges do not overlap.
_SECONDS_FIRST, _SECONDS_LAST = 1_230_768_000, 4_102_444_800
_TS_UNITS_NS = {1_000_000: "ms", 1_000: "us", 1: "ns"}


def read_series(path: Path | str, kind: Kind | None = None, interval_ns: int = 0) -> Series:
    """Return one file as a series, times in UTC ns, rows as they stand in the file (checks.py judges them).

    Parameters
    ----------
    path : Path or str
        `.zip`, `.csv`, `.parquet`, or a raw capture `.jsonl[.gz|.zst]`.
    kind : Kind or None
        None: recognise it.
    interval_ns : int
        Spacing of bars; 0: the commonest spacing of the rows, or what the file name says if there is one row only.

    Raises: ValueError naming the file (and line) if it is missing, damaged, empty, or not what it should be.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    _check_checksum(path)
    for name in _UNSUPPORTED:
        if name in path.parts or f"-{name}-" in path.name:
            raise ValueError(f"{path}: {name} files are not imported; see --kind for what is")
    if kind is Kind.BOOK or ".jsonl" in path.name or path.suffix in (".gz", ".zst"):
        if kind not in (None, Kind.BOOK):
            raise ValueError(f"{path}: a raw capture holds kind book, not {kind}")
        series = read_capture(path)
    elif path.suffix == ".parquet":
        series = _read_parquet(path, kind)
    elif path.suffix in (".zip", ".csv"):
        series = _read_csv(path, kind)
    else:
        raise ValueError(f"{path}: not a .zip, .csv, .parquet or .jsonl[.gz|.zst] file")
    if not len(series):
        raise ValueError(f"{path}: no rows; remove the file or import it again")
    if series.kind in (Kind.BARS, Kind.MARK):
        found_ns = interval_ns or _find_interval(series, path)
        return Series(series.kind, series.columns, found_ns, series.source, series.row_first, series.row_word)
    return series


def _check_checksum(path: Path) -> None:
    beside = path.with_name(path.name + ".CHECKSUM")
    if not beside.is_file():
        return
    words = beside.read_text(errors="replace").split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise ValueError(f"{beside}: not a sha256sum line; fetch it again")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != words[0].lower():
        raise ValueError(f"{path}: sha256 is {found[:12]}..., {beside.name} says {words[0][:12]}...; fetch it again")


def _find_interval(series: Series, path: Path) -> int:
    steps, counts = np.unique(np.diff(series.ts_ns), return_counts=True)
    steps, counts = steps[steps > 0], counts[steps > 0]
    if steps.size:
        return int(steps[np.argmax(counts)])
    match = re.search(r"[-_](\d+[smhdw])[-_.]", path.name)
    if match:
        return parse_interval(match[1])
    raise ValueError(f"{path}: one bar does not tell its interval; pass --interval, such as 15m")


# --- Parquet ---------------------------------------------------------------------------------------------------------


def _read_parquet(path: Path, kind: Kind | None) -> Series:
    try:
        table = pq.ParquetFile(path, memory_map=True).read()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a readable Parquet file ({_first_line(error)}); fetch it again") from error
    return _make_series(table, list(table.column_names), kind, path, str(path), 1, "row")


# --- CSV -------------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, kind: Kind | None) -> Series:
    source, content = _read_content(path)
    head = content[:65_536].decode("utf-8", "replace").splitlines()
    if not head or not head[0].strip():
        raise ValueError(f"{source}: empty; remove the file or fetch it again")
    first = _split(head[0].removeprefix("\ufeff"))
    has_header = not any(_is_value(cell) for cell in first)
    sample = _split(head[1]) if has_header and len(head) > 1 else first
    if has_header and len(head) < 2:
        raise ValueError(f"{source}: a header and no rows; remove the file or fetch it again")
    names = first if has_header else _guess_names(first, source)
    fields = {name: column for column, name in _match_columns(names).items()}
    types = {
        name: _choose_type(fields[name], sample[names.index(name)])
        for name in fields
        if names.index(name) < len(sample)
    }
    try:
        table = pa_csv.read_csv(
            io.BytesIO(content),
            read_options=pa_csv.ReadOptions(column_names=names, skip_rows=int(has_header), use_threads=True),
            convert_options=pa_csv.ConvertOptions(column_types=types, include_columns=list(fields)),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(_explain(error, content, names, types, has_header, source)) from error
    return _make_series(table, list(table.column_names), kind, path, source, 1 + has_header, "line")


def _read_content(path: Path) -> tuple[str, bytes]:
    if path.suffix != ".zip":
        return str(path), path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
            if len(members) != 1:
                raise ValueError(f"{path}: holds {len(members)} files, one CSV expected; unpack it and import each")
            return f"{path}/{members[0]}", archive.read(members[0])
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{path}: not a readable zip file ({_first_line(error)}); fetch it again") from error


def _split(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line]), [])]


def _is_value(cell: str) -> bool:
    return bool(re.match(r"[-+.]?\d", cell)) or cell.lower() in _TRUE


def _guess_names(first: list[str], source: str) -> list[str]:
    # Headerless archive files differ in the number of columns and in which are booleans.
    is_flag = [cell.lower() in _TRUE for cell in first]
    count = len(first)
    if count == 12:
        return _KLINES.split()
    if count == 3:
        return _FUNDING.split()
    if count == 8 and not _is_value(first[1]):
        return _METRICS.split()
    if count in (7, 8) and is_flag[6] and not is_flag[5]:
        return _AGG_TRADES.split() + ["is_best_match"] * (count == 8)
    if count in (6, 7) and is_flag[5]:
        return _TRADES.split() + ["is_best_match"] * (count == 7)
    raise ValueError(f"{source} line 1: {count} columns without a header are not known; put column names on line 1")


def _choose_type(field: str, sample: str) -> Any:
    if field == "is_buyer_maker":
        return pa.bool_()
    if field == "ts_ns" and not re.fullmatch(r"-?\d+", sample):
        if re.fullmatch(r"[-+.\deE]+", sample) and "-" not in sample[1:]:
            return pa.float64()
        return pa.timestamp("ns", "UTC") if re.search(r"(Z|[+-]\d\d:?\d\d)$", sample) else pa.timestamp("ns")
    return pa.int64() if field in ("ts_ns", "trade_id") else pa.float64()


def _explain(
    error: Exception, content: bytes, names: list[str], types: dict[str, Any], has_header: bool, source: str
) -> str:
    # The parser does not always say which line; look for it at leisure.
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or (has_header and number == 1):
            continue
        cells = _split(line)
        if len(cells) != len(names):
            return f"{source} line {number}: {len(cells)} columns, {len(names)} expected; mend or remove the line"
        for name, kind in types.items():
            cell = cells[names.index(name)]
            try:
                if cell:
                    pa_csv.read_csv(
                        io.BytesIO(cell.encode()),
                        read_options=pa_csv.ReadOptions(column_names=["cell"]),
                        convert_options=pa_csv.ConvertOptions(column_types={"cell": kind}),
                    )
            except pa.ArrowInvalid:
                return (
                    f"{source} line {number}: {name} is {cell!r}, not {_describe_type(kind)}; mend or remove the line"
                )
    return f"{source}: {_first_line(error)}"


def _describe_type(kind: Any) -> str:
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_integer(kind):
        return "a whole number"
    return "a number" if pa.types.is_floating(kind) else "a time"


# --- columns to series -----------------------------------------------------------------------------------------------


def _match_columns(names: list[str]) -> dict[str, str]:
    # Our field -> the file's column, for every column we know.
    by_lower = {name.strip().lower(): name for name in reversed(names)}
    found = {}
    for field, aliases in _NAMES.items():
        for alias in aliases:
            if alias in by_lower:
                found[field] = by_lower[alias]
                break
    return found


def _find_kind(fields: dict[str, str], path: Path, source: str) -> Kind:
    if "markPriceKlines" in path.parts or "markPriceKlines" in path.name:
        return Kind.MARK
    for kind in (Kind.BARS, Kind.MARK, Kind.TRADES, Kind.FUNDING, Kind.OPEN_INTEREST):
        if all(name in fields or name in _OPTIONAL for name in COLUMNS[kind]):
            return kind
    raise ValueError(f"{source}: columns are not those of any kind; see --kind, and name them as the archive does")


def _make_series(
    table: pa.Table, names: list[str], kind: Kind | None, path: Path, source: str, row_first: int, row_word: str
) -> Series:
    fields = _match_columns(names)
    kind = kind or _find_kind(fields, path, source)
    columns = {}
    for name in COLUMNS[kind]:
        if name in fields:
            column = table.column(fields[name])
            columns[name] = (
                _to_ns(column, source, row_first, row_word) if name == "ts_ns" else _to_array(name, column, source)
            )
        elif name in _OPTIONAL:
            columns[name] = np.full(len(table), -1 if name == "trade_id" else False, DTYPES[name])
        else:
            raise ValueError(f"{source}: no column {_NAMES[name][0]!r}, needed for {kind}; it has {', '.join(names)}")
    if kind is Kind.FUNDING:
        columns["ts_ns"] = columns["ts_ns"] // NS_PER_MINUTE * NS_PER_MINUTE
    return Series(kind, columns, 0, source, row_first, row_word)


def _to_array(name: str, column: pa.ChunkedArray, source: str) -> NDArray[Any]:
    dtype = DTYPES.get(name, np.float64)
    try:
        if dtype is np.float64:
            values: NDArray[Any] = column.cast(pa.float64()).to_numpy()
            return values
        if column.null_count:
            raise ValueError(f"{source}: column {name} has empty cells; fill them or remove the rows")
        return column.cast(pa.from_numpy_dtype(dtype)).to_numpy()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{source}: column {name}: {_first_line(error)}") from error


def _to_ns(column: pa.ChunkedArray, source: str, row_first: int, row_word: str) -> NDArray[np.int64]:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise ValueError(f"{source} {row_word} {row_first + row}: no time; fill it or remove the row")
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64()).to_numpy()
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ValueError(f"{source}: times are {column.type}, must be whole ms, us or ns since 1970")
    values = column.to_numpy()
    if not len(values):
        return np.empty(0, np.int64)
    for unit_ns in _TS_UNITS_NS:
        per_second = 1_000_000_000 // unit_ns
        first, last = _SECONDS_FIRST * per_second, _SECONDS_LAST * per_second
        if first <= values[0] < last:
            is_bad = ~((values >= first) & (values < last)) | (values != np.floor(values))
            if not is_bad.any():
                return values.astype(np.int64) * unit_ns
            row = int(np.argmax(is_bad))
            unit = _TS_UNITS_NS[unit_ns]
            raise ValueError(
                f"{source} {row_word} {row_first + row}: time {values[row]} is not whole {unit} since 1970 as in the "
                f"first row; mend or remove the row"
            )
    raise ValueError(
        f"{source} {row_word} {row_first}: time {values[0]} is not ms, us or ns since 1970; mend the times"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
