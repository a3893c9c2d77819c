"""A session as its ledger tells it, in the shape of a replay: the same metrics and the same tear sheet serve both."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from actors.plan import Plan
from market.catalog import MarketData
from market.events import FillKind
from market.reasons import Reason
from risk.holding import HOLDING_FLAT, Holding, apply_fill_to_holding, apply_funding_to_holding
from sweeps.records import REASON_COUNT, TRADE_DTYPE, FloatArray, IntArray, ReplayResult, make_trade, value_open_holding

Row = dict[str, Any]
_EXIT_REASONS = {
    FillKind.STOP: Reason.STOP,
    FillKind.TAKE_PROFIT: Reason.TAKE_PROFIT,
    FillKind.LIQUIDATION: Reason.LIQUIDATION,
}


class _Books:
    """Holdings per slot, rebuilt from fills and funding in the order of the journal."""

    def __init__(self, plan: Plan, market: MarketData) -> None:
        self.plan, self.market = plan, market
        self.specs = plan.make_specs()
        self.holdings: list[Holding] = [HOLDING_FLAT] * len(self.specs)
        self.trades: list[tuple[Any, ...]] = []
        self.position_lots = np.zeros((len(self.specs), market.bars.shape[1]), np.int64)
        self._ts_first_ns = int(market.bars["ts_open_ns"][0, 0])

    def find_slot(self, instrument_id: str, intent: Row | None) -> int:
        """Return the slot of an event: that of its intent, else the one that holds the instrument."""
        if intent is not None:
            return int(intent["slot"])
        row = self.market.instrument_ids.index(instrument_id)
        slots = [slot for slot, spec in enumerate(self.specs) if spec.instrument == row]
        return next((slot for slot in slots if self.holdings[slot].qty_lots != 0), slots[0])

    def book_fill(self, fill: Row, intent: Row | None) -> None:
        """Book one fill; keep the trade that it closes."""
        slot = self.find_slot(fill["instrument_id"], intent)
        qty_lots, ts_ns = fill["side"] * fill["fill_qty_lots"], fill["ts_event_ns"]
        lot_base = self.specs[slot].lot_base
        tally, _ = apply_fill_to_holding(
            self.holdings[slot], qty_lots, float(fill["fill_px"]), float(fill["fee_quote"]), 0.0, lot_base, ts_ns
        )
        self.holdings[slot] = tally
        self.position_lots[slot, max(0, (ts_ns - self._ts_first_ns) // self.market.interval_ns) :] = tally.qty_lots
        if tally.qty_lots == 0:
            reason = _EXIT_REASONS.get(FillKind(fill["kind"]))
            if reason is None:
                reason = Reason(intent["reduce_reason"]) if intent is not None else Reason.UNMANAGED_POSITION
            self._keep_trade(slot, tally, ts_ns, reason)
            self.holdings[slot] = HOLDING_FLAT

    def book_funding(self, funding: Row) -> None:
        """Book one funding settlement."""
        slot = self.find_slot(funding["instrument_id"], None)
        self.holdings[slot] = apply_funding_to_holding(self.holdings[slot], float(funding["amount_quote"]))

    def close(self, length: int) -> None:
        """List what is still open after `length` bars, valued at the last close."""
        for slot, tally in enumerate(self.holdings):
            if tally.qty_lots != 0:
                bar = self.market.bars[self.specs[slot].instrument, length - 1]
                valued = value_open_holding(tally, float(bar["close_px"]), self.specs[slot].lot_base)
                self._keep_trade(slot, valued, int(bar["ts_open_ns"]), Reason.END_OF_DATA)

    def _keep_trade(self, slot: int, tally: Holding, ts_ns: int, reason: Reason) -> None:
        trade = make_trade(
            slot, self.specs[slot].lot_base, tally, ts_ns, reason.value, self._ts_first_ns, self.market.interval_ns
        )
        self.trades.append(tuple(trade))


def read_session(query: Callable[..., Sequence[Row]], run: int, plan: Plan, market: MarketData) -> ReplayResult:
    """Return what a run's ledger says happened, over the bars that it governed.

    `query(sql, parameters)` asks the ledger's history. Raises ValueError when the run governed no bar.
    """
    marks = query("SELECT equity_quote FROM equity WHERE run = ? ORDER BY ts_close_ns", (run,))
    if not marks:
        raise ValueError(f"run {run} governed no bar: there is nothing to report")
    intents = {row["intent_id"]: row for row in query("SELECT * FROM intents WHERE run = ?", (run,))}
    fills = query("SELECT * FROM fills WHERE run = ? ORDER BY seq", (run,))
    funding = query("SELECT * FROM funding WHERE run = ? ORDER BY seq", (run,))
    books = _Books(plan, market)
    for row in sorted([*fills, *funding], key=lambda row: int(row["seq"])):
        if "fill_px" in row:
            books.book_fill(row, intents.get(row["cause_id"]))
        else:
            books.book_funding(row)
    length = len(marks)
    books.close(length)
    denials = np.zeros(REASON_COUNT, np.int64)
    for intent in intents.values():
        if intent["denial"]:
            denials[intent["denial"]] += 1
    rows = [spec.instrument for spec in books.specs]
    return ReplayResult(
        instrument_ids=tuple(market.instrument_ids[row] for row in rows),
        interval_ns=market.interval_ns,
        bars=market.bars[rows, :length],
        equity_start_quote=plan.equity_start_quote,
        equity_quote=np.array([float(mark["equity_quote"]) for mark in marks]),
        position_lots=books.position_lots[:, :length],
        stops_px=_read_stops(query, run, market, books.position_lots)[:, :length],
        trades=np.array(books.trades, TRADE_DTYPE),
        denials=denials,
        fees_quote=sum(float(row["fee_quote"]) for row in fills),
        funding_quote=sum(float(row["amount_quote"]) for row in funding),
    )


def _read_stops(
    query: Callable[..., Sequence[Row]], run: int, market: MarketData, position_lots: IntArray
) -> FloatArray:
    # A stop approved or moved at a close is in force from the next bar on, as long as there is a position.
    stops_px = np.zeros(position_lots.shape)
    ts_first_ns = int(market.bars["ts_open_ns"][0, 0])
    entries = "SELECT seq, ts_close_ns, slot, stop_px FROM intents WHERE run = ? AND entry_lots != 0"
    moves = "SELECT seq, ts_close_ns, slot, stop_px FROM stop_moves WHERE run = ?"
    for row in query(f"{entries} UNION ALL {moves} ORDER BY seq", (run, run)):
        stops_px[row["slot"], (row["ts_close_ns"] - ts_first_ns) // market.interval_ns :] = float(row["stop_px"])
    stops_px[position_lots == 0] = 0.0
    return stops_px
