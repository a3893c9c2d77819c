"""Fill assumptions over bars, fees, funding and position accounting: one set of kernels for replay and paper venue.

Fills when
- A market order decided at a bar's close fills whole at the next bar's open, plus slippage against us, taker fee.
- A resting stop fills at its trigger if the bar's range touches it, at the open if the bar gaps through it; slippage
  and taker fee on top. It is tested from the bar of the entry fill on.
- A resting take-profit fills at its price, at the open if the bar gaps through it; no slippage, maker fee.
- If one bar touches both, the stop is taken.
- Funding settled at a bar's opening instant is paid on the position held before that bar's fills; funding settled
  inside the bar on the position held after them; both on the bar's open px. Positive rate: longs pay.
- At a bar's close an account whose equity is below its maintenance margin is liquidated at the close, slippage and
  taker fee on top.

Does not model: the venue's initial margin (the risk gate caps leverage below it), queue position, partial fills, market
impact beyond slippage_bps, latency inside a bar, the path of prices within a bar, borrow or withdrawal limits,
auto-deleveraging.
"""

from enum import IntEnum
from typing import NamedTuple

from numba import njit

from market.records import Position


class Costs(NamedTuple):
    """What trading costs. Fees > 0 we pay, < 0 rebate; slippage is against us, >= 0."""

    fee_taker_bps: float
    fee_maker_bps: float
    slippage_bps: float


class Hit(IntEnum):
    """Which resting order a bar touched."""

    NONE = 0
    STOP = 1
    TAKE_PROFIT = 2


@njit(cache=True)
def compute_taker_px(px: float, side: int, slippage_bps: float) -> float:
    """Return the fill px of an order that takes: worse than `px` by the slippage.

    >>> compute_taker_px(100.0, 1, 10.0), compute_taker_px(100.0, -1, 10.0)
    (100.1, 99.9)
    """
    return px * (1.0 + side * slippage_bps * 1e-4)


@njit(cache=True)
def compute_fee_quote(qty_lots: int, lot_base: float, fill_px: float, fee_bps: float) -> float:
    """Return the fee of a fill [quote]; the sign of `qty_lots` does not matter."""
    return abs(qty_lots) * lot_base * fill_px * fee_bps * 1e-4


@njit(cache=True)
def compute_funding_quote(qty_lots: int, lot_base: float, px: float, funding_rate: float) -> float:
    """Return what the position receives [quote] (< 0: pays) when `funding_rate` settles at `px`."""
    return -(qty_lots * lot_base * px * funding_rate)


@njit(cache=True)
def compute_unrealized_quote(qty_lots: int, avg_px: float, lot_base: float, px: float) -> float:
    """Return the open profit of a position valued at `px` [quote]."""
    return qty_lots * lot_base * (px - avg_px)


@njit(cache=True)
def compute_hit(
    qty_lots: int, stop_px: float, take_profit_px: float, open_px: float, high_px: float, low_px: float
) -> tuple[int, float]:
    """Return (Hit, px before slippage) of a position's resting orders against one bar.

    `stop_px` and `take_profit_px` are 0.0 where none rests. The stop is looked at first.

    >>> compute_hit(5, 95.0, 110.0, 100.0, 111.0, 94.0)
    (1, 95.0)
    >>> compute_hit(-5, 105.0, 0.0, 107.0, 108.0, 106.0)
    (1, 107.0)
    """
    if qty_lots > 0:
        if stop_px > 0.0 and low_px <= stop_px:
            return Hit.STOP.value, min(stop_px, open_px)
        if take_profit_px > 0.0 and high_px >= take_profit_px:
            return Hit.TAKE_PROFIT.value, max(take_profit_px, open_px)
    elif qty_lots < 0:
        if stop_px > 0.0 and high_px >= stop_px:
            return Hit.STOP.value, max(stop_px, open_px)
        if take_profit_px > 0.0 and low_px <= take_profit_px:
            return Hit.TAKE_PROFIT.value, min(take_profit_px, open_px)
    return Hit.NONE.value, 0.0


@njit(cache=True)
def apply_fill(
    position: Position, qty_lots: int, fill_px: float, lot_base: float, ts_now_ns: int
) -> tuple[Position, float]:
    """Return the position after a signed fill and the profit it realizes [quote], fees not included.

    A fill through zero closes the old position and opens the rest at `fill_px`.
    """
    old_lots = position.qty_lots
    new_lots = old_lots + qty_lots
    if old_lots == 0 or (old_lots > 0) == (qty_lots > 0):
        avg_px = (old_lots * position.avg_px + qty_lots * fill_px) / new_lots
        ts_entry_ns = ts_now_ns if old_lots == 0 else position.ts_entry_ns
        return Position(new_lots, avg_px, ts_entry_ns), 0.0
    closed_lots = -qty_lots if abs(qty_lots) <= abs(old_lots) else old_lots
    pnl_quote = closed_lots * lot_base * (fill_px - position.avg_px)
    if new_lots == 0:
        return Position(0, 0.0, 0), pnl_quote
    if (new_lots > 0) == (old_lots > 0):
        return Position(new_lots, position.avg_px, position.ts_entry_ns), pnl_quote
    return Position(new_lots, fill_px, ts_now_ns), pnl_quote
