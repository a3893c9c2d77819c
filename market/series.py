"""Series: columns of market history of one kind, and where each row came from."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.records import NS_PER_S

NS_PER_MINUTE = 60 * NS_PER_S
_UNITS_NS = {"s": NS_PER_S, "m": NS_PER_MINUTE, "h": 3600 * NS_PER_S, "d": 86_400 * NS_PER_S, "w": 604_800 * NS_PER_S}

Columns = dict[str, NDArray[Any]]


class Kind(StrEnum):
    """What a series holds."""

    BARS = "bars"
    MARK = "mark"  # bars of the mark price, without volume
    TRADES = "trades"
    FUNDING = "funding"
    OPEN_INTEREST = "open-interest"
    BOOK = "book"  # raw messages as captured from a venue's socket


_BAR_COLUMNS = ("ts_ns", "open_px", "high_px", "low_px", "close_px")
COLUMNS: dict[Kind, tuple[str, ...]] = {
    Kind.BARS: (*_BAR_COLUMNS, "volume_base"),  # ts_ns: bar open
    Kind.MARK: _BAR_COLUMNS,
    Kind.TRADES: ("ts_ns", "px", "qty_base", "is_buyer_maker", "trade_id"),  # trade_id -1: the source has none
    Kind.FUNDING: ("ts_ns", "funding_rate"),  # ts_ns: settlement, floored to the minute (venues jitter by ms)
    Kind.OPEN_INTEREST: ("ts_ns", "open_interest_base"),
    Kind.BOOK: ("ts_ns", "message"),  # ts_ns: received
}
DTYPES: dict[str, type] = {"ts_ns": np.int64, "trade_id": np.int64, "is_buyer_maker": np.bool_, "message": np.object_}


@dataclass(frozen=True, slots=True)
class Series:
    """Rows of one kind, oldest first once checked.

    `columns` are those of COLUMNS[kind], of equal length: ts_ns int64 UTC, prices and quantities float64.
    `interval_ns` is the spacing of bars (0 for other kinds). `source` and `row_first` say where row 0 was read.
    """

    kind: Kind
    columns: Columns = field(repr=False)
    interval_ns: int = 0
    source: str = ""
    row_first: int = 1
    row_word: str = "row"

    @property
    def ts_ns(self) -> NDArray[np.int64]:
        """Time of each row, UTC ns."""
        return self.columns["ts_ns"]

    def __len__(self) -> int:
        return len(self.columns["ts_ns"])

    def describe_row(self, index: int) -> str:
        """Return "FILE line N (TIME)" for the row at `index`."""
        place = f"{self.source} {self.row_word} {self.row_first + index}".strip()
        return f"{place} ({format_ts(int(self.ts_ns[index]))})"

    def take(self, selection: Any) -> "Series":
        """Return the selected rows (a slice, a mask or indices)."""
        columns = {name: values[selection] for name, values in self.columns.items()}
        return Series(self.kind, columns, self.interval_ns, self.source, self.row_first, self.row_word)


def format_ts(ts_ns: int) -> str:
    """Return a UTC time as short as it can be exact.

    >>> format_ts(1634774400000000000), format_ts(1634774400001000000)
    ('2021-10-21T00:00Z', '2021-10-21T00:00:00.001Z')
    """
    try:
        moment = datetime.fromtimestamp(ts_ns // NS_PER_S, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{ts_ns} ns"
    if ts_ns % NS_PER_S:
        fraction = f"{ts_ns % NS_PER_S:09d}".rstrip("0")
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}Z"
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if ts_ns % NS_PER_MINUTE else f"{moment:%Y-%m-%dT%H:%MZ}"


def format_interval(interval_ns: int) -> str:
    """Return "15m", "1h", "1d", in the largest unit that divides.

    >>> format_interval(900_000_000_000), format_interval(86_400_000_000_000)
    ('15m', '1d')
    """
    for unit in ("w", "d", "h", "m", "s"):
        if interval_ns % _UNITS_NS[unit] == 0:
            return f"{interval_ns // _UNITS_NS[unit]}{unit}"
    return f"{interval_ns}ns"


def parse_interval(text: str) -> int:
    """Return "15m", "1h", "30s", "1d" or "1w" in ns.

    Raises: ValueError if it is none of these.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})([smhdw])", text)
    if not match:
        raise ValueError(f"interval {text!r} is not a number and a unit of s, m, h, d, w, such as 15m")
    return int(match[1]) * _UNITS_NS[match[2]]


def compute_sha256(kind: Kind, interval_ns: int, columns: Columns) -> str:
    """Return the hash of the values: the same rows give the same hash in whatever file they lie."""
    digest = hashlib.sha256(f"{kind} {interval_ns} {len(columns['ts_ns'])}".encode())
    for name in COLUMNS[kind]:
        values = columns[name]
        if values.dtype == np.object_:
            for message in values:
                digest.update(len(message).to_bytes(8, "little") + message)
        else:
            digest.update(name.encode() + np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def merge_series(parts: Sequence[Series]) -> Series:
    """Return the rows of several checked series of one kind in order, identical overlaps once.

    Raises: ValueError naming both places if two rows claim one time (of trades: one id) with different values.
    """
    if len(parts) == 1:
        return parts[0]
    kind = parts[0].kind
    if kind is Kind.TRADES and any(part.columns["trade_id"][0] < 0 for part in parts):
        return _chain(parts)
    if kind is Kind.BOOK:
        return _chain(parts)
    key_name = "trade_id" if kind is Kind.TRADES else "ts_ns"
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in COLUMNS[kind]}
    key = columns[key_name]
    order = np.argsort(key, kind="stable")
    is_repeat = np.zeros(len(order), np.bool_)
    is_repeat[1:] = key[order][1:] == key[order][:-1]
    repeats = np.flatnonzero(is_repeat)
    if repeats.size:
        is_other = np.zeros(repeats.size, np.bool_)
        for values in columns.values():
            is_other |= values[order[repeats]] != values[order[repeats - 1]]
        if is_other.any():
            at = repeats[np.argmax(is_other)]
            places = " and ".join(_describe_merged(parts, int(order[index])) for index in (at - 1, at))
            raise ValueError(f"{places} disagree on one {'trade' if kind is Kind.TRADES else 'time'}; keep one of them")
    chosen = order[~is_repeat]
    return Series(kind, {name: values[chosen] for name, values in columns.items()}, parts[0].interval_ns)


def _describe_merged(parts: Sequence[Series], index: int) -> str:
    for part in parts:
        if index < len(part):
            return part.describe_row(index)
        index -= len(part)
    raise AssertionError("index outside the parts")


def _chain(parts: Sequence[Series]) -> Series:
    # Rows without a key of their own: only whole files that repeat another, or follow it in time, can be told apart.
    chosen: list[Series] = []
    for part in sorted(parts, key=lambda part: (int(part.ts_ns[0]), int(part.ts_ns[-1]))):
        if chosen and part.ts_ns[0] <= chosen[-1].ts_ns[-1]:
            last = chosen[-1]
            if len(part) == len(last) and all(
                np.array_equal(part.columns[name], last.columns[name]) for name in part.columns
            ):
                continue
            if part.ts_ns[0] < last.ts_ns[-1]:
                raise ValueError(
                    f"{part.describe_row(0)} begins before {last.describe_row(len(last) - 1)} ends, and {part.kind} "
                    "rows without ids cannot be told apart; import files that do not overlap"
                )
        chosen.append(part)
    columns = {name: np.concatenate([part.columns[name] for part in chosen]) for name in COLUMNS[parts[0].kind]}
    return Series(parts[0].kind, columns)


def replace_rows(old: Series, new: Series) -> tuple[Series, int]:
    """Return `old` extended by `new`, and how many rows of `old` gave way to other values.

    A new row wins over an old one of its time (of trades: its id). Rows without such a key (book messages, trades
    without ids) win over everything in the stretch of time they cover.
    """
    kind = new.kind
    has_ids = kind is Kind.TRADES and old.columns["trade_id"][0] >= 0 and new.columns["trade_id"][0] >= 0
    key_name = "trade_id" if has_ids else "ts_ns"
    if kind in (Kind.TRADES, Kind.BOOK) and not has_ids:
        kept = old.take((old.ts_ns < new.ts_ns[0]) | (old.ts_ns > new.ts_ns[-1]))
        replaced = 0
    else:
        _, in_old, in_new = np.intersect1d(old.columns[key_name], new.columns[key_name], return_indices=True)
        is_other = np.zeros(len(in_old), np.bool_)
        for name, values in old.columns.items():
            is_other |= values[in_old] != new.columns[name][in_new]
        kept, replaced = old.take(np.delete(np.arange(len(old)), in_old)), int(is_other.sum())
    columns = {name: np.concatenate([kept.columns[name], new.columns[name]]) for name in COLUMNS[kind]}
    order = np.argsort(columns[key_name], kind="stable")
    return Series(kind, {name: values[order] for name, values in columns.items()}, new.interval_ns), replaced
