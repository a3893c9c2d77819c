"""What a replay writes while it runs: sums of its trades, and as much of the rest as there is room for."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from market.arrays import read_row, write_record, write_row
from market.records import make_dtype
from risk.holding import Holding
from sweeps.metrics import TRADE_SUMS_NEW, TradeSums, apply_trade
from sweeps.records import TRADE_DTYPE, make_trade

Array = np.ndarray[Any, Any]

TRACE_FILL, TRACE_FUNDING, TRACE_DECISION, TRACE_STOP_MOVE = 1, 2, 3, 4  # kinds of trace rows


class Clock(NamedTuple):
    """The grid of the bars."""

    ts_first_ns: int
    interval_ns: int


class TraceRow(NamedTuple):
    """One step of a replay, for parity tests; live machines write the same rows."""

    kind: int
    ts_ns: int
    slot: int
    reason: int  # fill: FillKind; decision: intent's reason
    denial: int
    qty_lots: int  # fill: signed; decision: entry leg
    reduce_lots: int
    px: float  # fill px; decision and move: stop px
    amount: float  # fill: fee; funding: amount; decision: take-profit px


TRACE_DTYPE = make_dtype(TraceRow)


class Tape(NamedTuple):
    """What a replay writes: sums of its trades always, the rest where the arrays have room (length 0: not kept)."""

    counts: Array  # int64[3]: trades, trace rows, first bar whose equity is not finite (-1: none)
    sums: Array  # TradeSums[1]
    best_px: Array  # float64[N], best px since each slot's entry
    trades: Array  # TRADE_DTYPE
    trace: Array  # TraceRow
    equity_quote: Array  # float64[T] or [0]
    position_lots: Array  # int64[N, T] or [N, 0]
    stops_px: Array  # float64[N, T] or [N, 0]


def make_tape(slots: int, length: int = 0, trades_max: int = 0, trace_rows_max: int = 0) -> Tape:
    """Return a blank tape for so many slots and bars; with slots alone it keeps nothing but sums."""
    return Tape(
        np.zeros(3, np.int64),
        np.zeros(1, make_dtype(TradeSums)),
        np.zeros(slots),
        np.zeros(trades_max, TRADE_DTYPE),
        np.zeros(trace_rows_max, TRACE_DTYPE),
        np.zeros(length),
        np.zeros((slots, length), np.int64),
        np.zeros((slots, length)),
    )


@njit(cache=True, _nrt=False)
def blank_tape(tape: Tape) -> None:
    """Make a tape ready for a run: it may be used again and again."""
    tape.counts[0] = tape.counts[1] = 0
    tape.counts[2] = -1
    write_row(tape.sums[0], TRADE_SUMS_NEW)
    for slot in range(len(tape.best_px)):
        tape.best_px[slot] = 0.0


@njit(cache=True, _nrt=False)
def trace(
    tape: Tape,
    kind: int,
    ts_ns: int,
    slot: int,
    reason: int,
    denial: int,
    qty_lots: int,
    reduce_lots: int,
    px: float,
    amount: float,
) -> None:
    """Write one row where there is room; the fields are those of TraceRow."""
    row = tape.counts[1]
    if row < len(tape.trace):
        write_record(tape.trace, row, TraceRow(kind, ts_ns, slot, reason, denial, qty_lots, reduce_lots, px, amount))
    if len(tape.trace) > 0:
        tape.counts[1] += 1


@njit(cache=True, _nrt=False)
def record_trade(
    tape: Tape, clock: Clock, slot: int, lot_base: float, tally: Holding, ts_exit_ns: int, reason: int
) -> None:
    """Add a closed trade to the sums, and write it where there is room."""
    row = tape.counts[0]
    tape.counts[0] += 1
    sums = read_row(tape.sums[0], TRADE_SUMS_NEW)
    write_row(tape.sums[0], apply_trade(sums, tally.pnl_quote))
    if row < len(tape.trades):
        trade = make_trade(slot, lot_base, tally, ts_exit_ns, reason, clock.ts_first_ns, clock.interval_ns)
        write_record(tape.trades, row, trade)
