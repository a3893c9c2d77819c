"""Signal series: a target over time given from outside, one row per change."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNAL_DTYPE = np.dtype([("ts_ms", np.int64), ("target", np.float64)])


def read_signals_csv(path: Path | str) -> NDArray[Any]:
    """Return the rows of a CSV with columns `ts,target` as SIGNAL_DTYPE[n], n >= 1.

    `ts` is UTC ms, strictly increasing; `target` the wished position as a fraction of equity, -1..1.

    Raises: ValueError naming file and line if it is not so.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    rows: list[tuple[int, float]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            if header != ["ts", "target"]:
                raise ValueError(f"{path} line 1: columns are {','.join(header)!r}, must be 'ts,target'")
            for cells in reader:
                if cells:
                    rows.append(_parse_row(cells, rows, f"{path} line {reader.line_num}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV text file ({error})") from error
    if not rows:
        raise ValueError(f"{path}: no rows; write at least one `ts,target`")
    return np.array(rows, SIGNAL_DTYPE)


def _parse_row(cells: list[str], rows: list[tuple[int, float]], place: str) -> tuple[int, float]:
    if len(cells) != 2:
        raise ValueError(f"{place}: {len(cells)} columns, must be 2: ts,target")
    try:
        ts_ms, target = float(cells[0]), float(cells[1])
    except ValueError as error:
        raise ValueError(f"{place}: {cells[0]!r}, {cells[1]!r} are not two numbers") from error
    if not (math.isfinite(ts_ms) and ts_ms == math.floor(ts_ms) and 1_230_768_000_000 <= ts_ms < 4_102_444_800_000):
        raise ValueError(f"{place}: ts {cells[0]} is not whole UTC milliseconds since 1970")
    if not -1.0 <= target <= 1.0:
        raise ValueError(f"{place}: target {cells[1]} is not a fraction of equity in -1..1")
    if rows and ts_ms <= rows[-1][0]:
        raise ValueError(f"{place}: ts {int(ts_ms)} does not come after {rows[-1][0]}; sort the rows, one per time")
    return int(ts_ms), target
