"""The keys of a sweep's file: what each may hold, and how one mapping is read by them, every fault noted.

`examples/README.md` describes each key in words.
"""

import math
import re
import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from cluster.config import Section
from market.instruments import suggest
from market.series import parse_interval
from sweeps.search.candidates import CONFIGS_MAX
from sweeps.spec import SAMPLERS


@dataclass(frozen=True, slots=True)
class Key:
    """What one key holds: its kind, the range of a number (ends included), the choices of a text."""

    kind: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()


NUMBER, WHOLE, TEXT, TIME, SWITCH = "a number", "a whole number", "text", "a time", "true or false"
INTERVAL, LIST, SECTION, ANYTHING = "an interval such as 15m", "a list", "'key: value' lines", "anything"
TS_MS_MIN = 10_000_000_000  # of a time given as a number: 20240131 is a date that lost its dashes

_SEED = Key(WHOLE, 0, 2**31)

KEYS: dict[str, dict[str, Key]] = {  # section -> key -> what it holds; "": the file itself
    "": {
        "name": Key(TEXT),
        "strategy": Key(TEXT),
        "data": Key(SECTION),
        "equity_start_quote": Key(NUMBER, 1.0, 1e12),
        "costs": Key(SECTION),
        "seed": _SEED,
        "holdout_frac": Key(NUMBER, 0.0, 0.9),
        "space": Key(SECTION),
        "relations": Key(LIST),
        "constraints": Key(SECTION),
        "walk_forward": Key(SECTION),
        "significance": Key(SECTION),
        "rounds": Key(LIST),
        "chunk_configs": Key(WHOLE, 0, 100_000),
    },
    "data": {
        "instruments": Key(LIST),
        "catalog": Key(TEXT),
        "generated": Key(SECTION),
        "from": Key(TIME),
        "to": Key(TIME),
        "interval": Key(INTERVAL),
    },
    "data.generated": {"seed": _SEED, "bars": Key(WHOLE, 10, 10_000_000)},
    "costs": {
        "fee_taker_bps": Key(NUMBER, -10.0, 100.0),
        "fee_maker_bps": Key(NUMBER, -10.0, 100.0),
        "slippage_bps": Key(NUMBER, 0.0, 500.0),
    },
    "space.PARAMETER": {
        "from": Key(NUMBER),
        "to": Key(NUMBER),
        "points": Key(WHOLE, 1, 1e15),
        "log": Key(SWITCH),
    },
    "constraints": {
        "trades_min": Key(WHOLE, 0, 1e9),
        "drawdown_frac_max": Key(NUMBER, 0.001, 1.0),
        "sharpe_min": Key(NUMBER, -100.0, 100.0),
        "win_rate_frac_min": Key(NUMBER, 0.0, 1.0),
    },
    "walk_forward": {
        "scheme": Key(TEXT, choices=("anchored", "rolling")),
        "folds": Key(WHOLE, 0, 100),
        "test_frac": Key(NUMBER, 0.05, 0.95),
        "purge_bars": Key(WHOLE, 0, 10_000_000),
        "embargo_bars": Key(WHOLE, 0, 10_000_000),
        "sharpe_min": Key(NUMBER, -100.0, 100.0),
        "folds_positive_frac_min": Key(NUMBER, 0.0, 1.0),
    },
    "significance": {
        "alpha": Key(NUMBER, 0.001, 0.5),
        "pbo_frac_max": Key(NUMBER, 0.0, 1.0),
        "bootstraps": Key(WHOLE, 100, 100_000),
        "block_days": Key(NUMBER, 1.0, 365.0),
        "cscv_blocks": Key(WHOLE, 4, 20),
    },
    "rounds[]": {
        "name": Key(TEXT),
        "sampler": Key(TEXT, choices=SAMPLERS),
        "configs": Key(WHOLE, 1, CONFIGS_MAX),
        "points": Key(SECTION),
        "support_frac": Key(NUMBER, 0.001, 1.0),
        "objectives": Key(LIST),
    },
}


class Table:
    """One mapping of the file. A value that is missing or wrong reads as None; what is wrong is added to `faults`."""

    def __init__(
        self, section: Section, name: str, keys: Mapping[str, Key], faults: list[tuple[int, str]], noun: str = "key"
    ) -> None:
        self.section, self.name, self.keys, self.faults = section, name, keys, faults
        for key in section:
            if key not in keys:
                self.fault(key, f"unknown {noun}{suggest_known(key, keys)}")

    def __contains__(self, key: str) -> bool:
        return key in self.section

    def fault(self, key: str, text: str) -> None:
        """Note what is wrong with a key; "": with the whole mapping."""
        shown = key if re.fullmatch(r"[\w.-]*", key) else reprlib.repr(key)
        place = ".".join(part for part in (self.name, shown) if part)
        where = self.section.where_of(key)
        self.faults.append((int(where.rpartition(":")[2]), f"{where}: {place}: {text}"))

    def require(self, key: str, mend: str) -> None:
        """Note a key that is not there."""
        if key not in self.section:
            self.fault(key, f"missing: {mend}")

    def get(self, key: str) -> Any:
        """Return the value, converted to what the key holds."""
        if key not in self.section:
            return None
        try:
            return parse(self.section[key], self.keys[key])
        except ValueError as error:
            self.fault(key, str(error))
            return None

    def get_all(self) -> dict[str, Any]:
        """Return key -> value of all that is there and right."""
        return {key: value for key in self.keys if (value := self.get(key)) is not None}

    def get_list(self, key: str, check: Callable[[str], Any]) -> list[str]:
        """Return the texts of a list that are right: `check` raises ValueError for those that are not."""
        found: list[str] = []
        for item in self.get(key) or []:
            try:
                text = parse(item, Key(TEXT))
                check(text)
                if text in found:
                    raise ValueError(f"{show(item)} is listed twice, keep one")
                found.append(text)
            except ValueError as error:
                self.fault(key, str(error))
        return found

    def open(self, key: str, keys: Mapping[str, Key], noun: str = "key") -> "Table | None":
        """Return the mapping that stands under a key."""
        section = self.get(key)
        if section is None:
            return None
        return Table(section, f"{self.name}.{key}" if self.name else key, keys, self.faults, noun)


def parse(value: Any, key: Key) -> Any:
    """Return what YAML read as what a key holds: a number, text, UTC ms, ns, bool, list or Section.

    Raises ValueError saying what it must be.

    >>> parse("1e-3", Key(NUMBER, 0.0, 1.0)), parse("2024-01-31", Key(TIME)), parse("15m", Key(INTERVAL))
    (0.001, 1706659200000, 900000000000)
    """
    if key.kind in (NUMBER, WHOLE):
        return parse_number(value, key.kind == WHOLE, key.low, key.high)
    if key.kind == TIME:
        return _parse_ts_ms(value)
    if key.kind == INTERVAL and isinstance(value, str):
        return parse_interval(value)
    wanted = {TEXT: str, SWITCH: bool, LIST: list, SECTION: Section}.get(key.kind)
    if wanted is None or not isinstance(value, wanted):
        raise ValueError(f"{show(value)} must be {key.kind}")
    if key.choices and value not in key.choices:
        raise ValueError(f"{show(value)} must be one of {', '.join(key.choices)}{suggest(str(value), key.choices)}")
    return value


def parse_number(value: Any, is_whole: bool, low: float, high: float) -> int | float:
    """Return a number in low..high, an int if it `is_whole`. Raises ValueError saying what it must be.

    >>> parse_number(48.5, True, 1, 100)
    Traceback (most recent call last):
    ValueError: 48.5 must be a whole number in 1..100
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):  # YAML 1.1 reads 1e-3 as text
            raise ValueError(value)
        number = float(value)
        if not (math.isfinite(number) and low <= number <= high) or (is_whole and number != math.floor(number)):
            raise ValueError(value)
    except (ValueError, OverflowError):
        ends = f" in {low:,.12g}..{high:,.12g}" if math.isfinite(low) else ""
        raise ValueError(f"{show(value)} must be {WHOLE if is_whole else NUMBER}{ends}") from None
    return int(number) if is_whole else number + 0.0  # + 0.0: there is no -0.0


def _parse_ts_ms(value: Any) -> int:
    try:
        if isinstance(value, int) and not isinstance(value, bool) and value >= TS_MS_MIN:
            moment = datetime.fromtimestamp(value / 1000, UTC)
        elif isinstance(value, str | date):
            moment = datetime.fromisoformat(str(value))
        else:
            raise ValueError(value)
        ts_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        if ts_ms < 0:
            raise ValueError(value)
    except (ValueError, ArithmeticError, OSError):
        raise ValueError(f"{show(value)} must be a time: 2024-01-31, 2024-01-31T12:00 or UTC ms") from None
    return ts_ms


def show(value: Any) -> str:
    """Return a value as a message quotes it: on one line, and not longer than that.

    >>> show("two"), show(None), show([1, 2])
    ("'two'", 'an empty value', 'a list')
    """
    if value is None:
        return "an empty value"
    if isinstance(value, list | Mapping):
        return "a list" if isinstance(value, list) else "a mapping"
    return str(value) if isinstance(value, date) else reprlib.repr(value)


def suggest_known(wrong: str, known: Collection[str]) -> str:
    """Return "; did you mean X?", or else what is known.

    >>> suggest_known("fold", ["folds", "scheme"]), suggest_known("x", ["folds", "scheme"])
    ('; did you mean folds?', '; known are folds, scheme')
    """
    return suggest(wrong, known) or f"; known are {', '.join(known)}"
