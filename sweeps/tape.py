"""What a replay writes while it runs: sums of its trades, and as much of the rest as there is room for."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from market.arrays import read_row, write_record, write_row
from market.records import NS_PER_DAY, make_dtype
from risk.estimate import EstimateParams, compute_outcome_r
from risk.holding import Holding
from risk.state import TradeOutcome
from sweeps.metrics import TRADE_SUMS_NEW, TradeSums, apply_trade
from sweeps.records import TRADE_DTYPE, make_trade

Array = np.ndarray[Any, Any]

TRACE_FILL, TRACE_FUNDING, TRACE_DECISION, TRACE_STOP_MOVE = 1, 2, 3, 4  # kinds of trace rows


class Clock(NamedTuple):
    """The grid of the bars."""

    ts_first_ns: int
    interval_ns: int


class Outcomes(NamedTuple):
    """Running sums over closed trades in multiples of the risk taken, clipped as the risk rules clip them."""

    wins: int
    losses: int
    win_r_sum: float
    loss_r_sum: float  # >= 0


OUTCOMES_NONE = Outcomes(0, 0, 0.0, 0.0)


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

    counts: Array  # int64[4]: trades, trace rows, first bar whose equity is not finite (-1: none), days
    sums: Array  # TradeSums[1]
    outcomes: Array  # Outcomes[1]
    best_px: Array  # float64[N], best px since each slot's entry
    trades: Array  # TRADE_DTYPE
    trace: Array  # TraceRow
    equity_quote: Array  # float64[T] or [0]
    position_lots: Array  # int64[N, T] or [N, 0]
    stops_px: Array  # float64[N, T] or [N, 0]
    equity_daily_quote: Array  # float64[D] or [0], at the close of each UTC day's last bar


def count_days(clock: Clock, length: int) -> int:
    """Return in how many UTC days `length` >= 1 bars open.

    >>> count_days(Clock(0, 900 * 10**9), 96), count_days(Clock(0, 900 * 10**9), 97)
    (1, 2)
    """
    return (clock.ts_first_ns + (length - 1) * clock.interval_ns) // NS_PER_DAY - clock.ts_first_ns // NS_PER_DAY + 1


def make_tape(slots: int, length: int = 0, trades_max: int = 0, trace_rows_max: int = 0, days: int = 0) -> Tape:
    """Return a blank tape for so many slots, bars and days; with slots alone it keeps nothing but sums."""
    return Tape(
        np.zeros(4, np.int64),
        np.zeros(1, make_dtype(TradeSums)),
        np.zeros(1, make_dtype(Outcomes)),
        np.zeros(slots),
        np.zeros(trades_max, TRADE_DTYPE),
        np.zeros(trace_rows_max, TRACE_DTYPE),
        np.zeros(length),
        np.zeros((slots, length), np.int64),
        np.zeros((slots, length)),
        np.zeros(days),
    )


@njit(cache=True, _nrt=False)
def blank_tape(tape: Tape) -> None:
    """Make a tape ready for a run: it may be used again and again."""
    tape.counts[0] = tape.counts[1] = tape.counts[3] = 0
    tape.counts[2] = -1
    write_row(tape.sums[0], TRADE_SUMS_NEW)
    write_row(tape.outcomes[0], OUTCOMES_NONE)
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


@njit(cache=True, _nrt=False)
def record_outcome(tape: Tape, params: EstimateParams, tally: Holding) -> None:
    """Add a closed trade to the outcomes in R."""
    is_win, size_r = compute_outcome_r(params, TradeOutcome(tally.pnl_quote, tally.risk_quote, False))
    row = tape.outcomes[0]
    if is_win:
        row.wins += 1
        row.win_r_sum += size_r
    else:
        row.losses += 1
        row.loss_r_sum += size_r


@njit(cache=True, _nrt=False)
def record_day(tape: Tape, equity_quote: float) -> None:
    """Write the equity of a finished day where there is room."""
    day = tape.counts[3]
    tape.counts[3] += 1
    if day < len(tape.equity_daily_quote):
        tape.equity_daily_quote[day] = equity_quote
