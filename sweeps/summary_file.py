"""`summary.json`: what a finished sweep came to, written whole or not at all, and read strictly."""

import json
import math
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from sweeps.store import write_atomically
from sweeps.summary import SweepSummary

NAME = "summary.json"
MANIFEST_NAME = "sweep.json"  # there from the first moment of a sweep on; `summary.json` from its end on


class DataFacts(TypedDict):
    """What `SweepSummary.data` holds. Times are UTC ms."""

    instrument_ids: list[str]
    interval_ms: int
    bars: int
    bars_holdout: int
    from_ms: int
    to_ms: int
    holdout_from_ms: int | None
    sha256: str


class AccountFacts(TypedDict):
    """What `SweepSummary.account` holds."""

    equity_start_quote: float
    costs: dict[str, float]
    limits: dict[str, Any]


class Facts(TypedDict):
    """The parts of a summary whose types are said here, beside those that `SweepSummary` says."""

    data: DataFacts
    account: AccountFacts


def write_summary(directory: Path, summary: SweepSummary) -> None:
    """Write `summary.json`: a reader, or a crash, sees the old file or the new one, whole.

    The same summary gives the same bytes. Raises ValueError naming a number that is not finite.
    """
    values = msgspec.to_builtins(summary)
    if place := _find_not_finite(values, "$"):
        raise ValueError(f"summary: {place} is not finite: write None for what has no value")
    write_atomically(directory / NAME, json.dumps(values, indent=1, allow_nan=False).encode() + b"\n")


def read_summary(directory: Path) -> SweepSummary:
    """Return the summary of the finished sweep in `directory`.

    Raises ValueError in one line where there is no sweep, where it is not finished, and where the file is not to the
    letter what `write_summary` writes: no key missing, none unknown, every value of its type.
    """
    path = directory / NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(_explain_missing(directory)) from None
    except OSError as error:
        raise ValueError(f"{path}: not readable ({error.strerror}): mend that, then ask again") from None
    try:
        values = msgspec.json.decode(content)
        summary = msgspec.convert(values, SweepSummary)
        msgspec.convert(values, Facts)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(_explain_damage(path, str(error))) from None
    # The conversion skips unknown keys and fills in defaults; a summary is signed and traded on: nothing is assumed.
    if place := _find_difference(values, msgspec.to_builtins(summary), "$"):
        raise ValueError(_explain_damage(path, f"{place} is an unknown or a missing key"))
    return summary


def _explain_missing(directory: Path) -> str:
    if not directory.exists():
        return f"{directory}: no such directory: give the --out directory of a sweep"
    if not directory.is_dir():
        return f"{directory}: not a directory: give the --out directory of a sweep"
    if (directory / MANIFEST_NAME).exists():
        return f"{directory}: this sweep is not finished: go on with `trireme sweep --resume {directory}`"
    return f"{directory}: holds no sweep (no {MANIFEST_NAME}, no {NAME}): give the --out directory of one"


def _explain_damage(path: Path, fault: str) -> str:
    mend = f"restore it, or remove it and run `trireme sweep --resume {path.parent}`"
    return f"{path}: damaged, or of another version ({fault}): {mend}"


def _find_not_finite(value: Any, place: str) -> str:
    # The place of the first float that JSON cannot hold, "" if there is none.
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{place} = {value!r}"
    if isinstance(value, dict):
        parts = ((item, f"{place}.{key}") for key, item in value.items())
    elif isinstance(value, list | tuple):
        parts = ((item, f"{place}[{index}]") for index, item in enumerate(value))
    else:
        return ""
    return next((found for item, where in parts if (found := _find_not_finite(item, where))), "")


def _find_difference(one: Any, other: Any, place: str) -> str:
    # The first key that only one of the two has, "" if there is none.
    if isinstance(one, dict) and isinstance(other, dict):
        if alone := one.keys() ^ other.keys():
            return f"{place}.{min(alone)}"
        parts = ((one[key], other[key], f"{place}.{key}") for key in one)
    elif isinstance(one, list) and isinstance(other, list):
        parts = ((left, right, f"{place}[{index}]") for index, (left, right) in enumerate(zip(one, other, strict=True)))
    else:
        return ""
    return next((found for left, right, where in parts if (found := _find_difference(left, right, where))), "")
