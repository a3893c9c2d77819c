"""Small market files that tests write: bars without a fault, ready to be spoilt."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TS_MS = 1_704_067_200_000  # 2024-01-01T00:00Z
QUARTER_MS = 900_000
QUARTER_NS = QUARTER_MS * 1_000_000


def make_bars(length: int, ts_first_ms: int = TS_MS, seed: int = 1) -> dict[str, Any]:
    """Return sound 15-minute bars as columns of a plain file."""
    draw = np.random.default_rng(seed)
    close = np.round(100.0 + np.cumsum(draw.normal(0.0, 0.2, length)), 2)
    open_px = np.concatenate([[100.0], close[:-1]])
    high = np.round(np.maximum(open_px, close) + draw.random(length), 2)
    low = np.round(np.minimum(open_px, close) - draw.random(length), 2)
    ts = ts_first_ms + QUARTER_MS * np.arange(length)
    volume = np.round(1.0 + draw.random(length), 3)
    return {"ts": ts, "open": open_px, "high": high, "low": low, "close": close, "volume": volume}


def write_parquet(path: Path, columns: dict[str, Any]) -> Path:
    """Write columns as a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def to_klines_csv(columns: dict[str, Any], header: bool, per_ms: int = 1) -> str:
    """Return bars as the archive's klines text; `per_ms` 1000: microseconds."""
    lines = []
    if header:
        lines.append(
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
            "taker_buy_quote_volume,ignore"
        )
    for ts, *px, volume in zip(*columns.values(), strict=True):
        cells = [ts * per_ms, *px, volume, (ts + QUARTER_MS) * per_ms - 1, 1.0, 3, 0.5, 0.5, 0]
        lines.append(",".join(str(cell) for cell in cells))
    return "\n".join(lines) + "\n"


def write_zip(path: Path, text: str) -> Path:
    """Write one CSV in a zip of the same stem, as the archive does."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}.csv", text)
    return path
