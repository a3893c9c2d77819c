"""What a replay leaves behind: closed trades as records, and the whole result for metrics and reports."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from market.fills import compute_unrealized_quote
from market.reasons import Reason
from market.records import make_dtype
from risk.holding import Holding

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
RecordArray = np.ndarray[Any, Any]

REASON_COUNT = max(Reason) + 1  # length of an array of counts indexed by Reason


class Trade(NamedTuple):
    """One position of one slot from flat to flat. Times are UTC ns, prices and money in quote currency."""

    slot: int  # index into the result's first axis
    side: int  # Side: +1 long, -1 short
    i_entry: int  # bar of the first fill
    i_exit: int  # bar of the last fill
    ts_entry_ns: int
    ts_exit_ns: int
    qty_lots: int  # largest held, > 0
    qty_base: float  # the same in base currency, > 0
    entry_px: float  # average of the fills that opened
    exit_px: float  # average of the fills that closed
    pnl_quote: float  # net of fees and funding
    fee_quote: float  # both sides; > 0 we paid
    funding_quote: float  # > 0 we received
    exit_reason: int  # Reason


TRADE_DTYPE = make_dtype(Trade)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """One replayed configuration: N slots, T bars on one grid of `interval_ns`, oldest first, no gap."""

    instrument_ids: tuple[str, ...]  # per slot
    interval_ns: int
    bars: RecordArray  # BAR_DTYPE[N, T]
    equity_start_quote: float
    equity_quote: FloatArray  # float64[T], marked at each bar's close
    position_lots: IntArray  # int64[N, T], signed, at each bar's close
    stops_px: FloatArray | None  # float64[N, T], resting stop at the close, 0.0 none; None: not kept
    trades: RecordArray  # TRADE_DTYPE[trades], in order of exit
    denials: IntArray  # int64[REASON_COUNT], counts indexed by Reason
    fees_quote: float  # > 0 we paid
    funding_quote: float  # > 0 we received


@njit(cache=True, _nrt=False)
def make_trade(
    slot: int, lot_base: float, tally: Holding, ts_exit_ns: int, reason: int, ts_first_ns: int, interval_ns: int
) -> Trade:
    """Return the trade of a closed holding; `ts_first_ns` and `interval_ns` are the grid of the bars."""
    return Trade(
        slot,
        tally.side,
        (tally.ts_entry_ns - ts_first_ns) // interval_ns,
        (ts_exit_ns - ts_first_ns) // interval_ns,
        tally.ts_entry_ns,
        ts_exit_ns,
        tally.qty_lots_max,
        tally.qty_lots_max * lot_base,
        tally.entry_px_lots / tally.entry_lots,
        tally.exit_px_lots / tally.exit_lots,
        tally.pnl_quote,
        tally.fee_quote,
        tally.funding_quote,
        reason,
    )


@njit(cache=True, _nrt=False)
def value_open_holding(tally: Holding, px: float, lot_base: float) -> Holding:
    """Return the holding as if it were closed at `px` without a fee: how a position open at the end is listed."""
    lots = abs(tally.qty_lots)
    return Holding(
        0,
        tally.avg_px,
        tally.ts_entry_ns,
        tally.side,
        tally.qty_lots_max,
        tally.entry_lots,
        tally.entry_px_lots,
        tally.exit_lots + lots,
        tally.exit_px_lots + px * lots,
        tally.pnl_quote + compute_unrealized_quote(tally.qty_lots, tally.avg_px, lot_base, px),
        tally.fee_quote,
        tally.funding_quote,
        tally.risk_quote,
    )
