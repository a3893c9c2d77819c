"""What one slot holds, and what its open trade has made so far: the same tally in the governor and in the replay.

A trade runs from flat to flat. A fill through zero is never one fill here: a reversal is a reducing leg and an entry.
"""

from typing import NamedTuple

from numba import njit

from market.fills import apply_fill
from market.records import Position


class Holding(NamedTuple):
    """The position of one slot (strategy x instrument) and the tally of the trade that it belongs to.

    `entry_px_lots` and `exit_px_lots` are sums of px x lots, so that the averages need one division at the end.
    """

    qty_lots: int
    avg_px: float
    ts_entry_ns: int
    side: int  # of the trade: 1, -1; 0 when flat
    qty_lots_max: int
    entry_lots: int
    entry_px_lots: float
    exit_lots: int
    exit_px_lots: float
    pnl_quote: float  # net of fees and funding
    fee_quote: float
    funding_quote: float
    risk_quote: float  # what the approved entries put at risk


HOLDING_FLAT = Holding(0, 0.0, 0, 0, 0, 0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)


@njit(cache=True)
def get_position(holding: Holding) -> Position:
    """Return the position part of a holding."""
    return Position(holding.qty_lots, holding.avg_px, holding.ts_entry_ns)


@njit(cache=True)
def apply_fill_to_holding(
    holding: Holding,
    qty_lots: int,
    fill_px: float,
    fee_quote: float,
    risk_quote: float,
    lot_base: float,
    ts_now_ns: int,
) -> tuple[Holding, float]:
    """Return the holding after a signed fill and the profit realized [quote], before fees.

    `qty_lots_max` > 0 and `qty_lots` == 0 in the result mean that the trade has just closed: read its tally, then
    replace it by HOLDING_FLAT. `risk_quote` is what an entry puts at risk, 0.0 for a reducing fill.
    """
    position, pnl_quote = apply_fill(get_position(holding), qty_lots, fill_px, lot_base, ts_now_ns)
    is_entry = abs(position.qty_lots) > abs(holding.qty_lots)
    lots = abs(qty_lots)
    px_lots = fill_px * lots
    return (
        Holding(
            position.qty_lots,
            position.avg_px,
            position.ts_entry_ns if position.qty_lots != 0 else holding.ts_entry_ns,
            holding.side if holding.side != 0 else (1 if qty_lots > 0 else -1),
            max(holding.qty_lots_max, abs(position.qty_lots)),
            holding.entry_lots + (lots if is_entry else 0),
            holding.entry_px_lots + (px_lots if is_entry else 0.0),
            holding.exit_lots + (0 if is_entry else lots),
            holding.exit_px_lots + (0.0 if is_entry else px_lots),
            (holding.pnl_quote + pnl_quote) - fee_quote,
            holding.fee_quote + fee_quote,
            holding.funding_quote,
            holding.risk_quote + risk_quote,
        ),
        pnl_quote,
    )


@njit(cache=True)
def apply_funding_to_holding(holding: Holding, amount_quote: float) -> Holding:
    """Return the holding after funding was received (> 0) or paid (< 0)."""
    return Holding(
        holding.qty_lots,
        holding.avg_px,
        holding.ts_entry_ns,
        holding.side,
        holding.qty_lots_max,
        holding.entry_lots,
        holding.entry_px_lots,
        holding.exit_lots,
        holding.exit_px_lots,
        holding.pnl_quote + amount_quote,
        holding.fee_quote,
        holding.funding_quote + amount_quote,
        holding.risk_quote,
    )
