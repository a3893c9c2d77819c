"""The catalog: market data on disk, and what of it a run reads as aligned bars."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.instruments import Instrument, check_instrument_id, instrument_to_dict, suggest
from market.joins import AGE_NS_MAX, join_funding, join_last_known, join_signal
from market.records import BAR_DTYPE, NS_PER_MS, NS_PER_S, Quality
from market.series import Kind, Series, format_interval, format_ts
from market.signals import read_signals_csv as read_signals_csv
from market.storage import Dataset, list_datasets, list_instruments, read_dataset, read_instrument

INTERVAL_NS_DEFAULT = 900 * NS_PER_S

BarArray = NDArray[Any]  # of BAR_DTYPE
SignalArray = NDArray[Any]  # of SIGNAL_DTYPE


@dataclass(frozen=True, slots=True)
class MarketData:
    """Aligned bars of N instruments over T intervals: row t of every instrument opens at the same time."""

    instruments: tuple[Instrument, ...]
    bars: BarArray = field(repr=False)  # BAR_DTYPE[N, T], T >= 1
    interval_ns: int
    sha256: str  # of the instruments' rules, the interval and the bars

    @property
    def instrument_ids(self) -> tuple[str, ...]:
        """The ids, in the order of `bars`."""
        return tuple(instrument.instrument_id for instrument in self.instruments)

    @property
    def ts_first_ms(self) -> int:
        """Open of the first bar, UTC ms."""
        return int(self.bars["ts_open_ns"][0, 0]) // NS_PER_MS

    @property
    def ts_last_ms(self) -> int:
        """Open of the last bar, UTC ms."""
        return int(self.bars["ts_open_ns"][0, -1]) // NS_PER_MS


def make_market(instruments: Sequence[Instrument], bars: BarArray, interval_ns: int) -> MarketData:
    """Return the market with its hash. Raises ValueError naming instrument and time of a bar without finite prices."""
    for row, instrument in enumerate(instruments):
        for name in ("open_px", "high_px", "low_px", "close_px"):
            is_bad = ~(np.isfinite(bars[name][row]) & (bars[name][row] > 0.0))
            if is_bad.any():
                at = int(np.argmax(is_bad))
                raise ValueError(
                    f"{instrument.instrument_id} bar {format_ts(int(bars['ts_open_ns'][row, at]))}: {name} is "
                    f"{bars[name][row, at]}; import sound data for that time"
                )
    digest = hashlib.sha256(json.dumps([instrument_to_dict(instrument) for instrument in instruments]).encode())
    digest.update(str(interval_ns).encode() + np.ascontiguousarray(bars).tobytes())
    return MarketData(tuple(instruments), bars, interval_ns, digest.hexdigest())


def load_market(
    catalog_dir: Path | str,
    instrument_ids: Sequence[str],
    ts_from_ms: int | None = None,
    ts_to_ms: int | None = None,
    signals: SignalArray | Mapping[str, SignalArray] | None = None,
    interval_ns: int = 0,
) -> MarketData:
    """Return aligned bars with funding, open interest and a signal joined, over the time all instruments share.

    Parameters
    ----------
    catalog_dir : Path or str
        Where `trireme data import` put the data.
    instrument_ids : sequence of str
        At least one, none twice; the order of the result.
    ts_from_ms, ts_to_ms : int or None
        Bars that open in [from, to), UTC ms; None: no limit.
    signals : SIGNAL_DTYPE[n], a mapping of them by instrument id, or None
        Joined as joins.join_signal says.
    interval_ns : int
        0: the one interval in which bars of all instruments are stored, else 15 minutes. Bars of an interval that is
        not stored are built from the coarsest stored bars that divide it, else from trades.

    A time without a bar in the source is filled with the last close and marked Quality.MISSING, the bar after it
    AFTER_GAP; a bar of one price and no volume, in a source that has volume, is STALE.

    Raises: ValueError for an unknown instrument (naming those there are), an empty period, damaged files.
    """
    catalog = Path(catalog_dir)
    if not instrument_ids or len(set(instrument_ids)) != len(instrument_ids):
        raise ValueError(f"instruments are {list(instrument_ids)}: name at least one, none twice")
    stored = {instrument_id: _find_datasets(catalog, instrument_id) for instrument_id in instrument_ids}
    interval_ns = interval_ns or _choose_interval(stored)
    grids = {
        instrument_id: _load_grid(datasets, instrument_id, interval_ns) for instrument_id, datasets in stored.items()
    }
    start_ns, length = _find_span(grids, interval_ns, ts_from_ms, ts_to_ms)
    bars = np.zeros((len(instrument_ids), length), BAR_DTYPE)
    for row, instrument_id in enumerate(instrument_ids):
        signal = signals.get(instrument_id) if isinstance(signals, Mapping) else signals
        _fill_bars(bars[row], grids[instrument_id], stored[instrument_id], start_ns, interval_ns, signal)
    if signals is not None and np.isnan(bars["signal"]).all():
        raise ValueError(f"no signal is in force by {format_ts(start_ns + length * interval_ns)}, the end of the bars")
    instruments = [read_instrument(catalog, instrument_id) for instrument_id in instrument_ids]
    return make_market(instruments, bars, interval_ns)


@dataclass(frozen=True, slots=True)
class _Grid:
    # Gapless bars of one instrument: times by `interval_ns`, open, high, low, close, volume in [T, 5].
    ts_open_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    quality: NDArray[np.int64]


def _find_datasets(catalog: Path, instrument_id: str) -> list[Dataset]:
    check_instrument_id(instrument_id)
    known = list_instruments(catalog)
    if instrument_id not in known:
        there = ", ".join(known) if known else "nothing; fill it with `trireme data import`"
        raise ValueError(
            f"unknown instrument {instrument_id}{suggest(instrument_id, known)}: catalog {catalog} has {there}"
        )
    return list_datasets(catalog, instrument_id)


def _choose_interval(stored: Mapping[str, list[Dataset]]) -> int:
    intervals = [
        {dataset.interval_ns for dataset in datasets if dataset.kind is Kind.BARS} for datasets in stored.values()
    ]
    shared = set.intersection(*intervals)
    if len(shared) == 1:
        return shared.pop()
    return INTERVAL_NS_DEFAULT


def _load_grid(datasets: list[Dataset], instrument_id: str, interval_ns: int) -> _Grid:
    stored = {dataset.interval_ns: dataset for dataset in datasets if dataset.kind is Kind.BARS}
    dividing = [stored_ns for stored_ns in stored if interval_ns % stored_ns == 0]
    if dividing:
        fine_ns = max(dividing)
        grid = _make_grid(read_dataset(stored[fine_ns]))
        if fine_ns == interval_ns:
            return grid
        from market.aggregation import coarsen_bars  # the compiler is not needed where bars are stored ready

        return _Grid(*coarsen_bars(grid.ts_open_ns, grid.values, grid.quality, fine_ns, interval_ns))
    trades = [dataset for dataset in datasets if dataset.kind is Kind.TRADES]
    if not trades:
        there = ", ".join(dataset.name for dataset in datasets) or "nothing"
        word = format_interval(interval_ns)
        raise ValueError(f"{instrument_id}: no bars of {word} nor any to build them from; the catalog has {there}")
    from market.aggregation import build_bars

    series = read_dataset(trades[0])
    ts_open_ns, values = build_bars(series.ts_ns, series.columns["px"], series.columns["qty_base"], interval_ns)
    quality = np.where(values[:, 4] == 0.0, Quality.STALE.value, 0)
    return _Grid(ts_open_ns, values, quality)


def _make_grid(series: Series) -> _Grid:
    ts_ns, interval_ns = series.ts_ns, series.interval_ns
    columns = series.columns
    length = int((ts_ns[-1] - ts_ns[0]) // interval_ns) + 1
    position = (ts_ns - ts_ns[0]) // interval_ns
    values = np.stack([columns[name] for name in ("open_px", "high_px", "low_px", "close_px", "volume_base")], axis=1)
    is_flat = (values[:, 4] == 0.0) & (values[:, 1] == values[:, 2]) & (values[:, 4].max() > 0.0)
    row = np.full(length, -1)
    row[position] = np.arange(len(ts_ns))
    is_missing = row < 0
    row = np.maximum.accumulate(row)
    filled = values[row]
    filled[is_missing, :4] = values[row[is_missing], 3:4]
    filled[is_missing, 4] = 0.0
    quality = np.where(is_flat[row] & ~is_missing, Quality.STALE.value, 0)
    quality[is_missing] = Quality.MISSING.value
    quality[1:] |= np.where(is_missing[:-1] & ~is_missing[1:], Quality.AFTER_GAP.value, 0)
    return _Grid(ts_ns[0] + np.arange(length) * interval_ns, filled, quality)


def _find_span(
    grids: Mapping[str, _Grid], interval_ns: int, ts_from_ms: int | None, ts_to_ms: int | None
) -> tuple[int, int]:
    # The first open and the number of bars that all instruments share within the period.
    offsets = {int(grid.ts_open_ns[0]) % interval_ns for grid in grids.values() if len(grid.ts_open_ns)}
    if len(offsets) > 1:
        raise ValueError(f"bars of {', '.join(grids)} do not open at the same times; import them on one grid")
    spans = {
        name: (int(grid.ts_open_ns[0]), int(grid.ts_open_ns[-1]) + interval_ns)
        for name, grid in grids.items()
        if len(grid.ts_open_ns)
    }
    start_ns, end_ns = max(span[0] for span in spans.values()), min(span[1] for span in spans.values())
    first_ns = start_ns if ts_from_ms is None else max(start_ns, ts_from_ms * NS_PER_MS)
    last_ns = end_ns if ts_to_ms is None else min(end_ns, ts_to_ms * NS_PER_MS)
    first_ns += (start_ns - first_ns) % interval_ns
    length = -(-(last_ns - first_ns) // interval_ns)
    if length < 1 or len(spans) < len(grids):
        there = "; ".join(f"{name} {format_ts(span[0])} to {format_ts(span[1])}" for name, span in spans.items())
        wanted = " to ".join(
            "..." if ts_ms is None else format_ts(ts_ms * NS_PER_MS) for ts_ms in (ts_from_ms, ts_to_ms)
        )
        raise ValueError(f"no bars in the period {wanted}; the catalog has {there}")
    return first_ns, length


def _fill_bars(
    bars: BarArray, grid: _Grid, datasets: list[Dataset], start_ns: int, interval_ns: int, signal: SignalArray | None
) -> None:
    first = int(start_ns - grid.ts_open_ns[0]) // interval_ns
    chosen = slice(first, first + len(bars))
    ts_open_ns = grid.ts_open_ns[chosen]
    bars["ts_open_ns"], bars["quality"] = ts_open_ns, grid.quality[chosen]
    for column, name in enumerate(("open_px", "high_px", "low_px", "close_px", "volume_base")):
        bars[name] = grid.values[chosen, column]
    bars["funding_rate"] = bars["open_interest_base"] = bars["signal"] = np.nan
    for dataset in datasets:
        if dataset.kind is Kind.FUNDING:
            series = read_dataset(dataset)
            joined = join_funding(ts_open_ns, interval_ns, series.ts_ns, series.columns["funding_rate"])
            bars["funding_rate"], bars["funding_open_rate"], bars["funding_inside_rate"] = joined
        elif dataset.kind is Kind.OPEN_INTEREST:
            series = read_dataset(dataset)
            bars["open_interest_base"] = join_last_known(
                ts_open_ns + interval_ns, series.ts_ns, series.columns["open_interest_base"], AGE_NS_MAX
            )
    if signal is not None:
        bars["signal"] = join_signal(ts_open_ns, interval_ns, signal["ts_ms"] * NS_PER_MS, signal["target"])
