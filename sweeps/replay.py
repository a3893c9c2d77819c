"""The compiled replay: one configuration over bars, through the decision kernels that trade live.

Per bar, in this order: the venue fills what was approved at the previous close and tests what rests; the desk is
marked; each slot's strategy observes, trails its stop and decides; the desk approves or denies. `actors/` takes the
same steps with the same kernels, one message at a time; `tests/parity` holds both to the same bits.

The "fills when" and "does not model" of a replay are those of `market.fills`. Besides: an account trades one strategy
over one or more instruments (slots), all bars of one interval are known at once, and a slot with a leg on its way
decides nothing new. A bar that is missing in the source fills nothing and triggers nothing.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit

from market.arrays import read_row, write_record, write_row
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
from market.records import NS_PER_DAY, Action, Intent, Quality, make_dtype
from risk.desk import (
    CASH,
    FEES,
    FUNDING,
    Desk,
    apply_fill_to_desk,
    apply_funding_to_desk,
    apply_stop_move,
    compute_equity_quote,
    compute_maintenance_quote,
    decide_slot,
    make_desk,
    make_slot_specs,
    mark_desk,
    reset_desk,
)
from risk.exit_tracking import decide_forced_exit
from risk.holding import HOLDING_FLAT, Holding, get_position
from risk.limits import Limits
from risk.stops import StopState, apply_trailing
from strategies.catalog import decide, observe_all
from sweeps.metrics import (
    TRADE_SUMS_NEW,
    Metrics,
    TradeSums,
    apply_day_end,
    apply_equity,
    apply_trade,
    check_equity_bar,
    start_daily,
    start_drawdown,
    summarize,
)
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
    """Return a blank tape for so many slots and bars; without arguments one that keeps nothing but sums."""
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
def _blank(tape: Tape) -> None:
    # A tape may be used again and again.
    tape.counts[0] = tape.counts[1] = 0
    tape.counts[2] = -1
    write_row(tape.sums[0], TRADE_SUMS_NEW)
    for slot in range(len(tape.best_px)):
        tape.best_px[slot] = 0.0


@njit(cache=True, _nrt=False)
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


@njit(cache=True, _nrt=False)
def _record_trade(
    tape: Tape, clock: Clock, slot: int, lot_base: float, tally: Holding, ts_exit_ns: int, reason: int
) -> None:
    row = tape.counts[0]
    tape.counts[0] += 1
    sums = read_row(tape.sums[0], TRADE_SUMS_NEW)
    write_row(tape.sums[0], apply_trade(sums, tally.pnl_quote))
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


@njit(cache=True, _nrt=False)
def _fill(
    desk: Desk,
    tape: Tape,
    clock: Clock,
    slot: int,
    qty_lots: int,
    fill_px: float,
    fee_bps: float,
    kind: int,
    ts_now_ns: int,
) -> None:
    lot_base = desk.slots[slot].spec.lot_base
    fee_quote = compute_fee_quote(qty_lots, lot_base, fill_px, fee_bps)
    _trace(tape, TRACE_FILL, ts_now_ns, slot, kind, 0, qty_lots, 0, fill_px, fee_quote)
    is_closed, reason, tally = apply_fill_to_desk(desk, slot, qty_lots, fill_px, fee_quote, kind, ts_now_ns)
    if is_closed:
        _record_trade(tape, clock, slot, lot_base, tally, ts_now_ns, reason)


@njit(cache=True, _nrt=False)
def _settle_funding(desk: Desk, tape: Tape, slot: int, px: float, funding_rate: float, ts_now_ns: int) -> None:
    row = desk.slots[slot]
    qty_lots = row.holding.qty_lots
    if funding_rate != 0.0 and qty_lots != 0:
        amount_quote = compute_funding_quote(qty_lots, row.spec.lot_base, px, funding_rate)
        _trace(tape, TRACE_FUNDING, ts_now_ns, slot, 0, 0, qty_lots, 0, px, amount_quote)
        apply_funding_to_desk(desk, slot, amount_quote)


@njit(cache=True, _nrt=False)
def is_eventful(bar: Any, qty_lots: int, stop_px: float, take_profit_px: float) -> bool:
    """Return whether a bar does more to a position without orders on their way than mark it."""
    if bar.funding_open_rate != 0.0 or bar.funding_inside_rate != 0.0:
        return True
    return compute_hit(qty_lots, stop_px, take_profit_px, bar.open_px, bar.high_px, bar.low_px)[0] != Hit.NONE.value


@njit(cache=True, _nrt=False)
def _step_venue(desk: Desk, costs: Costs, tape: Tape, clock: Clock, best_px: Array, slot: int, bar: Any) -> None:
    # The venue's side of one bar for one slot, in the order that market.fills states.
    ts_now_ns = bar.ts_open_ns
    _settle_funding(desk, tape, slot, bar.open_px, bar.funding_open_rate, ts_now_ns)
    is_missing = (bar.quality & Quality.MISSING.value) != 0
    holding, orders = desk.slots[slot].holding, desk.slots[slot].orders
    if not is_missing:
        for qty_lots in (orders.reduce_lots, orders.entry_lots):
            if qty_lots != 0:
                fill_px = compute_taker_px(bar.open_px, 1 if qty_lots > 0 else -1, costs.slippage_bps)
                _fill(desk, tape, clock, slot, qty_lots, fill_px, costs.fee_taker_bps, FILL_ORDER, ts_now_ns)
            if holding.qty_lots == qty_lots:
                best_px[slot] = holding.avg_px
    _settle_funding(desk, tape, slot, bar.open_px, bar.funding_inside_rate, ts_now_ns)
    qty_lots = holding.qty_lots
    if is_missing or qty_lots == 0:
        return
    hit, px = compute_hit(qty_lots, orders.stop_px, orders.take_profit_px, bar.open_px, bar.high_px, bar.low_px)
    if hit == Hit.STOP.value:
        fill_px = compute_taker_px(px, -1 if qty_lots > 0 else 1, costs.slippage_bps)
        _fill(desk, tape, clock, slot, -qty_lots, fill_px, costs.fee_taker_bps, FILL_STOP, ts_now_ns)
    elif hit == Hit.TAKE_PROFIT.value:
        _fill(desk, tape, clock, slot, -qty_lots, px, costs.fee_maker_bps, FILL_TAKE_PROFIT, ts_now_ns)


@njit(cache=True, _nrt=False)
def _liquidate(desk: Desk, costs: Costs, tape: Tape, clock: Clock, ts_now_ns: int) -> float:
    # The account is below its maintenance margin at the close: the venue closes every position there.
    for slot in range(len(desk.slots)):
        row = desk.slots[slot]
        qty_lots = row.holding.qty_lots
        if qty_lots != 0:
            fill_px = compute_taker_px(row.mark_px, -1 if qty_lots > 0 else 1, costs.slippage_bps)
            _fill(desk, tape, clock, slot, -qty_lots, fill_px, costs.fee_taker_bps, FILL_LIQUIDATION, ts_now_ns)
    return compute_equity_quote(desk)


@njit(cache=True, _nrt=False)
def _move_stop(desk: Desk, tape: Tape, slot: int, stop_px: float, ts_now_ns: int) -> None:
    if apply_stop_move(desk, slot, stop_px) == Reason.OK.value:
        _trace(tape, TRACE_STOP_MOVE, ts_now_ns, slot, 0, 0, 0, 0, stop_px, 0.0)


@njit(cache=True, _nrt=False)
def _decide(desk: Desk, tape: Tape, slot: int, intent: Intent, bar: Any, ts_now_ns: int) -> None:
    desk.slots[slot].mark_px = bar.close_px
    decision = decide_slot(desk, slot, intent, bar.quality, ts_now_ns)
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


@njit(cache=True, _nrt=False, nogil=True)
def run_replay(
    bars: Array, features: Array, params: Any, costs: Costs, desk: Desk, tape: Tape, clock: Clock
) -> Metrics:
    """Run one configuration over BAR_DTYPE[N, T] and its features[N, T]; desk and tape are filled in place.

    The metrics are those that `compute_metrics` finds in a tape that kept everything, to the bit.
    """
    slots, account, limits, best_px = desk.slots, desk.account[0], desk.limits[0], tape.best_px
    _blank(tape)
    is_equity_kept, is_full = len(tape.equity_quote) > 0, tape.position_lots.shape[1] > 0
    equity_start_quote = equity_quote = desk.money_quote[CASH]
    daily, drawdown = start_daily(equity_quote), start_drawdown(equity_quote)
    ts_day_next_ns = 0
    ts_day_end_ns = (clock.ts_first_ns // NS_PER_DAY + 1) * NS_PER_DAY
    ts_now_ns = clock.ts_first_ns
    for i in range(bars.shape[1]):
        ts_now_ns += clock.interval_ns
        is_active = False
        for slot in range(len(slots)):
            row = slots[slot]
            is_in_flight = row.orders.reduce_lots != 0 or row.orders.entry_lots != 0
            if row.holding.qty_lots != 0 or is_in_flight:
                is_active = True
                bar = bars[slot, i]
                row.mark_px = bar.close_px
                if is_in_flight or is_eventful(
                    bar, row.holding.qty_lots, row.orders.stop_px, row.orders.take_profit_px
                ):
                    _step_venue(desk, costs, tape, clock, best_px, slot, bar)
        if is_active:
            equity_quote = compute_equity_quote(desk)
            if equity_quote < compute_maintenance_quote(desk):
                equity_quote = _liquidate(desk, costs, tape, clock, ts_now_ns)
            drawdown = apply_equity(drawdown, equity_quote)
            if not math.isfinite(equity_quote) and tape.counts[2] < 0:
                tape.counts[2] = i
        if is_active or ts_now_ns >= ts_day_next_ns:
            mark_desk(desk, equity_quote, ts_now_ns)
            ts_day_next_ns = (ts_now_ns // NS_PER_DAY + 1) * NS_PER_DAY
        if ts_now_ns >= ts_day_end_ns or i + 1 == bars.shape[1]:
            daily = apply_day_end(daily, equity_quote)
            ts_day_end_ns = (ts_now_ns // NS_PER_DAY + 1) * NS_PER_DAY
        if is_equity_kept:
            tape.equity_quote[i] = equity_quote
        for slot in range(len(slots)):
            row = slots[slot]
            position = get_position(row.holding)
            if is_full:
                tape.position_lots[slot, i] = position.qty_lots
                tape.stops_px[slot, i] = row.orders.stop_px
            is_forced = False
            if limits.enabled and position.qty_lots != 0:
                stop = StopState(row.orders.stop_px, best_px[slot])
                bar = bars[slot, i]
                side = 1 if position.qty_lots > 0 else -1
                trailed = apply_trailing(stop, limits.trailing, side, position.avg_px, bar.high_px, bar.low_px)
                best_px[slot] = trailed.best_px
                if trailed.stop_px != stop.stop_px:
                    _move_stop(desk, tape, slot, trailed.stop_px, ts_now_ns)
                is_forced = decide_forced_exit(account, limits, position, ts_now_ns) != Reason.OK.value
            intent = decide(features[slot, i], params, position, ts_now_ns)
            if intent.action == Action.TARGET.value or is_forced:
                _decide(desk, tape, slot, intent, bars[slot, i], ts_now_ns)
    _close_books(desk, tape, clock, bars)
    return summarize(
        daily,
        drawdown,
        read_row(tape.sums[0], TRADE_SUMS_NEW),
        equity_start_quote,
        equity_quote,
        desk.money_quote[FEES],
        desk.money_quote[FUNDING],
    )


@njit(cache=True, _nrt=False)
def _close_books(desk: Desk, tape: Tape, clock: Clock, bars: Array) -> None:
    # A position still open at the end is listed as a trade valued at the last close; nothing is filled.
    for slot in range(len(desk.slots)):
        tally = read_row(desk.slots[slot].holding, HOLDING_FLAT)
        if tally.qty_lots == 0:
            continue
        bar = bars[slot, bars.shape[1] - 1]
        lots = abs(tally.qty_lots)
        lot_base = desk.slots[slot].spec.lot_base
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


def lock(array: Array) -> Array:
    """Return a read-only view, contiguous: what kernels are compiled for, and what lies in shared memory."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def replay(
    market: "MarketData",
    params: tuple[Any, ...],
    limits: Limits,
    costs: Costs,
    equity_start_quote: float,
    trace_rows_max: int = 0,
) -> tuple[ReplayResult, Array]:
    """Replay one configuration of one strategy over a market and keep everything; return (result, trace).

    The trace is empty unless `trace_rows_max` > 0. Sweeps use `MetricsReplay`.
    """
    slots, length = market.bars.shape
    bars = lock(market.bars)
    features = lock(np.stack([observe_all(params, bars[slot]) for slot in range(slots)]))
    clock = Clock(int(bars[0, 0]["ts_open_ns"]), market.interval_ns)
    desk = make_desk(make_slot_specs(market.instruments, costs, strategies=1), 1, equity_start_quote, limits)
    trades_max = 4096
    while True:
        tape = make_tape(slots, length, trades_max, trace_rows_max)
        run_replay(bars, features, params, costs, desk, tape, clock)
        if tape.counts[0] <= trades_max:
            break
        trades_max = int(tape.counts[0])
        reset_desk(desk, equity_start_quote)
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


class MetricsReplay:
    """Replays one configuration after another over one market and keeps their metrics only.

    Nothing is allocated per run, and the interpreter lock is free during it.
    """

    def __init__(self, market: "MarketData", limits: Limits, costs: Costs, equity_start_quote: float) -> None:
        self._bars = lock(market.bars)
        self._costs = costs
        self._equity_start_quote = equity_start_quote
        self._clock = Clock(int(market.bars[0, 0]["ts_open_ns"]), market.interval_ns)
        self._desk = make_desk(make_slot_specs(market.instruments, costs, strategies=1), 1, equity_start_quote, limits)
        self._tape = make_tape(market.bars.shape[0])

    def run(self, params: tuple[Any, ...], features: Array) -> Metrics:
        """Return the metrics of one configuration: those of `replay` and `compute_metrics`, to the bit.

        features: features_dtype[N, T], `observe_all` of every instrument's bars; configurations with the same
        `slow_key` share them.
        Raises ValueError if equity stops being a number.
        """
        tape = self._tape
        reset_desk(self._desk, self._equity_start_quote)
        metrics: Metrics = run_replay(self._bars, lock(features), params, self._costs, self._desk, tape, self._clock)
        check_equity_bar(int(tape.counts[2]))
        return metrics

    @property
    def denials(self) -> Array:
        """int64[reasons], counts of the last run."""
        return self._desk.denials
