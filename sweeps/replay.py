"""The compiled replay: one configuration over bars, through the decision kernels that trade live.

Per bar, in this order: the venue fills what was approved at the previous close and tests what rests; the desk is
marked; each slot's strategy observes, trails its stop and decides; the desk approves or denies. `actors/` takes the
same steps with the same kernels, one message at a time; `tests/parity` holds both to the same bits.

The "fills when" and "does not model" of a replay are those of `market.fills`. Besides: an account trades one strategy
over one or more instruments (slots), all bars of one interval are known at once, and a slot with a leg on its way
decides nothing new. A bar that is missing in the source fills nothing and triggers nothing.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit

from market.arrays import read_record, write_record
from market.events import FillKind
from market.fills import (
    Costs,
    Hit,
    compute_fee_quote,
    compute_funding_quote,
    compute_hit,
    compute_taker_px,
    compute_unrealized_quote,
)
from market.reasons import Reason
from market.records import NS_PER_DAY, Action, Intent, Position, Quality, make_dtype
from risk.account import apply_mark
from risk.desk import (
    CASH,
    FEES,
    FUNDING,
    Desk,
    apply_fill_to_desk,
    apply_funding_to_desk,
    apply_stop_move,
    compute_equity_quote,
    decide_slot,
    make_desk,
    make_slot_specs,
    sum_equity_quote,
    sum_maintenance_quote,
)
from risk.exit_tracking import decide_forced_exit
from risk.holding import HOLDING_FLAT, Holding
from risk.limits import Limits
from risk.state import ACCOUNT_RISK_NEW
from risk.stops import StopState, apply_trailing
from strategies.catalog import decide, observe_all
from sweeps.records import TRADE_DTYPE, ReplayResult, Trade

if TYPE_CHECKING:  # reading data needs pandas, replaying does not
    from market.catalog import MarketData

Array = np.ndarray[Any, Any]


FILL_ORDER = FillKind.ORDER.value
FILL_STOP = FillKind.STOP.value
FILL_TAKE_PROFIT = FillKind.TAKE_PROFIT.value
FILL_LIQUIDATION = FillKind.LIQUIDATION.value
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
    """What a replay writes: trades always, the rest where the arrays have room (length 0: not kept)."""

    counts: Array  # int64[2]: trades, trace rows
    trades: Array  # TRADE_DTYPE
    trace: Array  # TraceRow
    equity_quote: Array  # float64[T]
    position_lots: Array  # int64[N, T] or [N, 0]
    stops_px: Array  # float64[N, T] or [N, 0]


@njit(cache=True)
def _trace(
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
    row = tape.counts[1]
    if row < len(tape.trace):
        write_record(tape.trace, row, TraceRow(kind, ts_ns, slot, reason, denial, qty_lots, reduce_lots, px, amount))
    if len(tape.trace) > 0:
        tape.counts[1] += 1


@njit(cache=True)
def _record_trade(
    tape: Tape, clock: Clock, slot: int, lot_base: float, tally: Holding, ts_exit_ns: int, reason: int
) -> None:
    row = tape.counts[0]
    tape.counts[0] += 1
    if row < len(tape.trades):
        trade = Trade(
            slot,
            tally.side,
            (tally.ts_entry_ns - clock.ts_first_ns) // clock.interval_ns,
            (ts_exit_ns - clock.ts_first_ns) // clock.interval_ns,
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
        write_record(tape.trades, row, trade)


@njit(cache=True)
def _fill(
    desk: Desk,
    limits: Limits,
    tape: Tape,
    clock: Clock,
    slot: int,
    qty_lots: int,
    fill_px: float,
    fee_bps: float,
    kind: int,
    ts_now_ns: int,
) -> None:
    lot_base = desk.specs[slot].lot_base
    fee_quote = compute_fee_quote(qty_lots, lot_base, fill_px, fee_bps)
    _trace(tape, TRACE_FILL, ts_now_ns, slot, kind, 0, qty_lots, 0, fill_px, fee_quote)
    is_closed, reason, tally = apply_fill_to_desk(desk, limits, slot, qty_lots, fill_px, fee_quote, kind, ts_now_ns)
    if is_closed:
        _record_trade(tape, clock, slot, lot_base, tally, ts_now_ns, reason)


@njit(cache=True)
def _settle_funding(desk: Desk, tape: Tape, slot: int, px: float, funding_rate: float, ts_now_ns: int) -> None:
    qty_lots = desk.holdings[slot].qty_lots
    if funding_rate != 0.0 and qty_lots != 0:
        amount_quote = compute_funding_quote(qty_lots, desk.specs[slot].lot_base, px, funding_rate)
        _trace(tape, TRACE_FUNDING, ts_now_ns, slot, 0, 0, qty_lots, 0, px, amount_quote)
        apply_funding_to_desk(desk, slot, amount_quote)


@njit(cache=True)
def is_eventful(bar: Any, qty_lots: int, stop_px: float, take_profit_px: float) -> bool:
    """Return whether a bar does more to a position without orders on their way than mark it."""
    if bar.funding_open_rate != 0.0 or bar.funding_inside_rate != 0.0:
        return True
    return compute_hit(qty_lots, stop_px, take_profit_px, bar.open_px, bar.high_px, bar.low_px)[0] != Hit.NONE.value


@njit(cache=True)
def _step_venue(
    desk: Desk, limits: Limits, costs: Costs, tape: Tape, clock: Clock, best_px: Array, slot: int, bar: Any
) -> None:
    # The venue's side of one bar for one slot, in the order that market.fills states.
    ts_now_ns = bar.ts_open_ns
    _settle_funding(desk, tape, slot, bar.open_px, bar.funding_open_rate, ts_now_ns)
    is_missing = (bar.quality & Quality.MISSING.value) != 0
    orders = desk.orders[slot]
    if not is_missing:
        for qty_lots in (orders.reduce_lots, orders.entry_lots):
            if qty_lots != 0:
                fill_px = compute_taker_px(bar.open_px, 1 if qty_lots > 0 else -1, costs.slippage_bps)
                _fill(desk, limits, tape, clock, slot, qty_lots, fill_px, costs.fee_taker_bps, FILL_ORDER, ts_now_ns)
            if desk.holdings[slot].qty_lots == qty_lots:
                best_px[slot] = desk.holdings[slot].avg_px
    _settle_funding(desk, tape, slot, bar.open_px, bar.funding_inside_rate, ts_now_ns)
    qty_lots = desk.holdings[slot].qty_lots
    if is_missing or qty_lots == 0:
        return
    hit, px = compute_hit(qty_lots, orders.stop_px, orders.take_profit_px, bar.open_px, bar.high_px, bar.low_px)
    if hit == Hit.STOP.value:
        fill_px = compute_taker_px(px, -1 if qty_lots > 0 else 1, costs.slippage_bps)
        _fill(desk, limits, tape, clock, slot, -qty_lots, fill_px, costs.fee_taker_bps, FILL_STOP, ts_now_ns)
    elif hit == Hit.TAKE_PROFIT.value:
        _fill(desk, limits, tape, clock, slot, -qty_lots, px, costs.fee_maker_bps, FILL_TAKE_PROFIT, ts_now_ns)


@njit(cache=True)
def _liquidate(desk: Desk, limits: Limits, costs: Costs, tape: Tape, clock: Clock, ts_now_ns: int) -> float:
    # The account is below its maintenance margin at the close: the venue closes every position there.
    for slot in range(len(desk.holdings)):
        qty_lots = desk.holdings[slot].qty_lots
        if qty_lots != 0:
            fill_px = compute_taker_px(desk.marks_px[slot], -1 if qty_lots > 0 else 1, costs.slippage_bps)
            _fill(desk, limits, tape, clock, slot, -qty_lots, fill_px, costs.fee_taker_bps, FILL_LIQUIDATION, ts_now_ns)
    return compute_equity_quote(desk)


@njit(cache=True)
def _move_stop(desk: Desk, tape: Tape, slot: int, stop_px: float, ts_now_ns: int) -> None:
    if apply_stop_move(desk, slot, stop_px) == Reason.OK.value:
        _trace(tape, TRACE_STOP_MOVE, ts_now_ns, slot, 0, 0, 0, 0, stop_px, 0.0)


@njit(cache=True)
def _decide(desk: Desk, limits: Limits, tape: Tape, slot: int, intent: Intent, bar: Any, ts_now_ns: int) -> None:
    desk.marks_px[slot] = bar.close_px
    decision = decide_slot(desk, limits, slot, intent, bar.quality, ts_now_ns)
    if intent.action == Action.TARGET.value or decision.reduce_lots != 0:
        _trace(
            tape,
            TRACE_DECISION,
            ts_now_ns,
            slot,
            intent.reason,
            decision.denial,
            decision.entry_lots,
            decision.reduce_lots,
            decision.stop_px,
            decision.take_profit_px,
        )


@njit(cache=True, nogil=True)
def run_replay(
    bars: Array, features: Array, params: Any, limits: Limits, costs: Costs, desk: Desk, tape: Tape, clock: Clock
) -> None:
    """Run one configuration over BAR_DTYPE[N, T] and its features[N, T]; the desk and the tape are filled in place."""
    # The arrays are taken out of their tuples here, and the desk is handed over only where something happens: most
    # bars change nothing but a mark.
    account, holdings, orders, specs, marks_px = desk.account, desk.holdings, desk.orders, desk.specs, desk.marks_px
    money_quote, curve_quote, positions_lots, stops_px = (
        desk.money_quote,
        tape.equity_quote,
        tape.position_lots,
        tape.stops_px,
    )
    best_px = np.zeros(len(holdings))
    is_full = positions_lots.shape[1] > 0
    equity_quote = money_quote[CASH]
    ts_day_next_ns = 0
    for i in range(bars.shape[1]):
        ts_now_ns = clock.ts_first_ns + (i + 1) * clock.interval_ns
        is_active = False
        for slot in range(bars.shape[0]):
            holding, order = holdings[slot], orders[slot]
            is_in_flight = order.reduce_lots != 0 or order.entry_lots != 0
            if holding.qty_lots != 0 or is_in_flight:
                is_active = True
                bar = bars[slot, i]
                marks_px[slot] = bar.close_px
                if is_in_flight or is_eventful(bar, holding.qty_lots, order.stop_px, order.take_profit_px):
                    _step_venue(desk, limits, costs, tape, clock, best_px, slot, bar)
        if is_active:
            equity_quote = sum_equity_quote(money_quote[CASH], holdings, specs, marks_px)
            if equity_quote < sum_maintenance_quote(holdings, specs, marks_px):
                equity_quote = _liquidate(desk, limits, costs, tape, clock, ts_now_ns)
        if is_active or ts_now_ns >= ts_day_next_ns:
            marked = apply_mark(read_record(account, 0, ACCOUNT_RISK_NEW), limits, equity_quote, ts_now_ns)
            write_record(account, 0, marked)
            ts_day_next_ns = (ts_now_ns // NS_PER_DAY + 1) * NS_PER_DAY
        curve_quote[i] = equity_quote
        for slot in range(bars.shape[0]):
            holding = holdings[slot]
            position = Position(holding.qty_lots, holding.avg_px, holding.ts_entry_ns)
            if is_full:
                positions_lots[slot, i] = position.qty_lots
                stops_px[slot, i] = orders[slot].stop_px
            is_forced = False
            if limits.enabled and position.qty_lots != 0:
                stop = StopState(orders[slot].stop_px, best_px[slot])
                bar = bars[slot, i]
                side = 1 if position.qty_lots > 0 else -1
                trailed = apply_trailing(stop, limits.trailing, side, position.avg_px, bar.high_px, bar.low_px)
                best_px[slot] = trailed.best_px
                if trailed.stop_px != stop.stop_px:
                    _move_stop(desk, tape, slot, trailed.stop_px, ts_now_ns)
                forced = decide_forced_exit(read_record(account, 0, ACCOUNT_RISK_NEW), limits, position, ts_now_ns)
                is_forced = forced != Reason.OK.value
            intent = decide(features[slot, i], params, position, ts_now_ns)
            if intent.action == Action.TARGET.value or is_forced:
                _decide(desk, limits, tape, slot, intent, bars[slot, i], ts_now_ns)
    _close_books(desk, tape, clock, bars)


@njit(cache=True)
def _close_books(desk: Desk, tape: Tape, clock: Clock, bars: Array) -> None:
    # A position still open at the end is listed as a trade valued at the last close; nothing is filled.
    for slot in range(len(desk.holdings)):
        tally = read_record(desk.holdings, slot, HOLDING_FLAT)
        if tally.qty_lots == 0:
            continue
        bar = bars[slot, bars.shape[1] - 1]
        lots = abs(tally.qty_lots)
        lot_base = desk.specs[slot].lot_base
        open_quote = compute_unrealized_quote(tally.qty_lots, tally.avg_px, lot_base, bar.close_px)
        valued = Holding(
            0,
            tally.avg_px,
            tally.ts_entry_ns,
            tally.side,
            tally.qty_lots_max,
            tally.entry_lots,
            tally.entry_px_lots,
            tally.exit_lots + lots,
            tally.exit_px_lots + bar.close_px * lots,
            tally.pnl_quote + open_quote,
            tally.fee_quote,
            tally.funding_quote,
            tally.risk_quote,
        )
        _record_trade(tape, clock, slot, lot_base, valued, bar.ts_open_ns, Reason.END_OF_DATA.value)


def replay(
    market: "MarketData",
    params: tuple[Any, ...],
    limits: Limits,
    costs: Costs,
    equity_start_quote: float,
    trace_rows_max: int = 0,
) -> tuple[ReplayResult, Array]:
    """Replay one configuration of one strategy over a market and keep everything; return (result, trace).

    The trace is empty unless `trace_rows_max` > 0. Sweeps call `run_replay` itself and keep less.
    """
    slots, length = market.bars.shape
    features = np.stack([observe_all(params, market.bars[slot]) for slot in range(slots)])
    clock = Clock(int(market.bars[0, 0]["ts_open_ns"]), market.interval_ns)
    trades_max = 4096
    while True:
        desk = make_desk(make_slot_specs(market.instruments, costs, strategies=1), 1, equity_start_quote)
        tape = Tape(
            np.zeros(2, np.int64),
            np.zeros(trades_max, TRADE_DTYPE),
            np.zeros(trace_rows_max, TRACE_DTYPE),
            np.zeros(length),
            np.zeros((slots, length), np.int64),
            np.zeros((slots, length)),
        )
        run_replay(market.bars, features, params, limits, costs, desk, tape, clock)
        if tape.counts[0] <= trades_max:
            break
        trades_max = int(tape.counts[0])
    result = ReplayResult(
        instrument_ids=tuple(instrument.instrument_id for instrument in market.instruments),
        interval_ns=market.interval_ns,
        bars=market.bars,
        equity_start_quote=equity_start_quote,
        equity_quote=tape.equity_quote,
        position_lots=tape.position_lots,
        stops_px=tape.stops_px,
        trades=tape.trades[: tape.counts[0]],
        denials=desk.denials,
        fees_quote=float(desk.money_quote[FEES]),
        funding_quote=float(desk.money_quote[FUNDING]),
    )
    return result, tape.trace[: min(tape.counts[1], trace_rows_max)]
