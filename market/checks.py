"""Data checks: every gap, duplicate, disorder, impossible or non-finite row of a series, each named by row and time."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.book import BookDiff
from market.captures import parse_captured
from market.records import NS_PER_S
from market.series import COLUMNS, Kind, Series, format_interval, format_ts

FUNDING_INTERVAL_NS_MAX = 8 * 3600 * NS_PER_S  # the longest any venue uses
FUNDING_RATE_MAX = 0.5  # per interval; venues cap at 0.04
_TS_FIRST_NS, _TS_LAST_NS = 1_230_768_000 * NS_PER_S, 4_102_444_800 * NS_PER_S


class Fault(StrEnum):
    """What can be wrong with a row. Only gaps are imported (and marked); everything else is refused."""

    GAP = "gap"
    DUPLICATE = "duplicate"
    DISORDER = "disorder"
    OFF_GRID = "off_grid"  # a bar that does not open on its interval
    IMPOSSIBLE = "impossible"
    NOT_FINITE = "not_finite"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. `ts_from_ns` to `ts_to_ns` is half open: the missing stretch of a gap, else the row's time twice."""

    fault: Fault
    row: int  # index in the series; of a gap the row after it
    ts_from_ns: int
    ts_to_ns: int
    rows_missing: int  # of a gap, 0 where the number is not known
    text: str


def find_faults(series: Series) -> list[Finding]:
    """Return every fault of a series in row order; empty if it is sound and whole."""
    findings = [*_find_bad_values(series), *_find_bad_times(series)]
    if not findings:
        findings = list(find_gaps(series))
    return sorted(findings, key=lambda finding: finding.row)


def check_series(series: Series) -> list[Finding]:
    """Return the gaps of a series whose rows are sound.

    Raises: ValueError naming file, row, fault and mend of the first row that is not sound, and how many more there are.
    """
    findings = find_faults(series)
    bad = [finding for finding in findings if finding.fault is not Fault.GAP]
    if bad:
        more = f" ({len(bad) - 1} more such rows)" if len(bad) > 1 else ""
        raise ValueError(f"{series.describe_row(bad[0].row)}: {bad[0].text}{more}")
    return findings


def find_gaps(series: Series) -> Iterator[Finding]:
    """Yield the stretches where rows are missing from a series in order.

    Bars, mark bars and open interest: more than one spacing between rows. Funding: an interval longer than 8 h, or
    longer than both its neighbours (venues do change the interval, so no fixed one can be assumed). Trades: holes in
    the ids. Book: updates lost between diffs.
    """
    if len(series) < 2:
        return
    ts_ns, steps_ns = series.ts_ns, np.diff(series.ts_ns)
    if series.kind is Kind.BOOK:
        yield from _find_lost_updates(series)
    elif series.kind is Kind.TRADES:
        ids = series.columns["trade_id"]
        for row in (np.flatnonzero(np.diff(ids) > 1) + 1).tolist():
            missing = int(ids[row] - ids[row - 1]) - 1
            yield _make_gap(series, row, int(ts_ns[row - 1]), missing, f"{missing} trades missing")
    elif series.kind is Kind.FUNDING:
        before = np.concatenate([steps_ns[:1], steps_ns[:-1]])
        after = np.concatenate([steps_ns[1:], steps_ns[-1:]])
        is_longer = (steps_ns > 1.5 * before) & (steps_ns > 1.5 * after)
        for row in (np.flatnonzero(is_longer | (steps_ns > FUNDING_INTERVAL_NS_MAX)) + 1).tolist():
            step_ns = int(min(before[row - 1], after[row - 1], FUNDING_INTERVAL_NS_MAX))
            missing = max(1, round(int(steps_ns[row - 1]) / step_ns) - 1)
            yield _make_gap(series, row, int(ts_ns[row - 1]) + step_ns, missing, f"{missing} settlements missing")
    else:
        interval_ns = series.interval_ns or int(np.median(steps_ns))
        for row in (np.flatnonzero(steps_ns > 1.5 * interval_ns) + 1).tolist():
            missing = round(int(steps_ns[row - 1]) / interval_ns) - 1
            yield _make_gap(series, row, int(ts_ns[row - 1]) + interval_ns, missing, f"{missing} rows missing")


def _make_gap(series: Series, row: int, ts_from_ns: int, missing: int, what: str) -> Finding:
    ts_to_ns = int(series.ts_ns[row])
    text = f"{what} from {format_ts(ts_from_ns)} to {format_ts(ts_to_ns)}"
    return Finding(Fault.GAP, row, ts_from_ns, ts_to_ns, missing, text)


def _find_bad_values(series: Series) -> Iterator[Finding]:
    columns = series.columns
    is_bad = np.zeros(len(series), np.bool_)
    for name in COLUMNS[series.kind]:
        if columns[name].dtype == np.float64:
            is_wrong = ~np.isfinite(columns[name])
            yield from _each(
                series, is_wrong, Fault.NOT_FINITE, lambda row, name=name: f"{name} is {columns[name][row]}"
            )
            is_bad |= is_wrong
    for is_wrong, describe in _list_impossible(series):
        yield from _each(series, is_wrong & ~is_bad, Fault.IMPOSSIBLE, describe)
        is_bad |= is_wrong
    ts_ns = series.ts_ns
    is_wrong = (ts_ns < _TS_FIRST_NS) | (ts_ns >= _TS_LAST_NS)
    yield from _each(series, is_wrong, Fault.IMPOSSIBLE, lambda row: "the time is outside 2009 to 2100")


def _list_impossible(series: Series) -> Iterator[tuple[NDArray[np.bool_], Any]]:
    columns = series.columns
    with np.errstate(invalid="ignore"):
        if series.kind in (Kind.BARS, Kind.MARK):
            open_px, high_px, low_px, close_px = (columns[name] for name in COLUMNS[Kind.MARK][1:])
            yield low_px <= 0.0, lambda row: f"low {low_px[row]} is not above 0"
            yield high_px < low_px, lambda row: f"high {high_px[row]} is below low {low_px[row]}"
            for name, px in (("open", open_px), ("close", close_px)):
                yield (
                    (px > high_px) | (px < low_px),
                    lambda row, name=name, px=px: f"{name} {px[row]} is outside {low_px[row]} to {high_px[row]}",
                )
        if series.kind is Kind.BARS:
            volume_base = columns["volume_base"]
            yield volume_base < 0.0, lambda row: f"volume {volume_base[row]} is below 0"
        if series.kind is Kind.TRADES:
            px, qty_base = columns["px"], columns["qty_base"]
            yield px <= 0.0, lambda row: f"price {px[row]} is not above 0"
            yield qty_base < 0.0, lambda row: f"quantity {qty_base[row]} is below 0"
        if series.kind is Kind.FUNDING:
            rate = columns["funding_rate"]
            yield np.abs(rate) > FUNDING_RATE_MAX, lambda row: f"funding rate {rate[row]} is a fraction beyond +-0.5"
        if series.kind is Kind.OPEN_INTEREST:
            interest = columns["open_interest_base"]
            yield interest < 0.0, lambda row: f"open interest {interest[row]} is below 0"


def _find_bad_times(series: Series) -> Iterator[Finding]:
    ts_ns = series.ts_ns
    step_ns = np.diff(ts_ns, prepend=ts_ns[:1] - 1)
    yield from _each(
        series, step_ns < 0, Fault.DISORDER, lambda row: f"comes after {format_ts(int(ts_ns[row - 1]))}; sort the rows"
    )
    if series.kind is Kind.TRADES:
        ids = series.columns["trade_id"]
        id_step = np.diff(ids, prepend=ids[:1] - 1)
        has_ids = ids >= 0
        repeated = has_ids & (id_step == 0)
        yield from _each(series, repeated, Fault.DUPLICATE, lambda row: f"trade {ids[row]} twice; remove one")
        backwards = has_ids & (id_step < 0) & (step_ns >= 0)
        yield from _each(series, backwards, Fault.DISORDER, lambda row: f"trade {ids[row]} after {ids[row - 1]}; sort")
    elif series.kind is not Kind.BOOK:
        yield from _each(series, step_ns == 0, Fault.DUPLICATE, lambda row: "the row before has this time; remove one")
    if series.interval_ns:
        is_off = (ts_ns - ts_ns[0]) % series.interval_ns != 0
        # Bars of whole days and less count from midnight, so a first row off the grid must not define it.
        if 86_400 * NS_PER_S % series.interval_ns == 0:
            is_off = ts_ns % series.interval_ns != 0
        word = format_interval(series.interval_ns)
        yield from _each(
            series, is_off & (step_ns > 0), Fault.OFF_GRID, lambda row: f"not the open of a {word} bar; see --interval"
        )


def _find_lost_updates(series: Series) -> Iterator[Finding]:
    last: BookDiff | None = None
    for event in parse_captured(series):
        if not isinstance(event, BookDiff):
            continue
        if last is not None:
            is_futures = event.previous_id >= 0
            if event.previous_id != last.last_id if is_futures else event.first_id != last.last_id + 1:
                row = int(np.searchsorted(series.ts_ns, event.ts_recv_ns))
                yield _make_gap(series, row, last.ts_recv_ns, 0, "book updates lost")
        last = event


def _each(series: Series, is_wrong: NDArray[np.bool_], fault: Fault, describe: Any) -> Iterator[Finding]:
    for row in np.flatnonzero(is_wrong).tolist():
        text = describe(row)
        if ";" not in text:
            text += "; mend or remove the row"
        ts_ns = int(series.ts_ns[row])
        yield Finding(fault, row, ts_ns, ts_ns, 0, text)
