"""The compiled replay: one configuration over bars, through the decision kernels that trade live.

Per bar, in this order: the venue fills what was approved at the previous close and tests what rests; the desk is
marked; each slot's strategy observes, trails its stop and decides; the desk approves or denies. `actors/` takes the
same steps with the same kernels, one message at a time; `tests/parity` holds both to the same bits.

The "fills when" and "does not model" of a replay are those of `market.fills`. Besides: an account trades one strategy
over one or more instruments (slots), all bars of one interval are known at once, and a slot with a leg on its way
decides nothing new. A bar that is missing in the source fills nothing and triggers nothing.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from market.arrays import read_row
from market.events import FillKind
from market.fills import (
    Costs,
    Hit,
    compute_fee_quote,
    compute_funding_quote,
    compute_hit,
    compute_taker_px,
)
from market.reasons import Reason
from market.records import NS_PER_DAY, POSITION_FLAT, Action, Intent, Quality
from risk.desk import (
    CASH,
    FEES,
    FUNDING,
    Desk,
    apply_fill_to_desk,
    apply_funding_to_desk,
    apply_stop_move,
    clear_entry,
    clear_reduce,
    compute_equity_quote,
    compute_maintenance_quote,
    decide_slot,
    make_desk,
    make_slot_specs,
    mark_desk,
    reset_desk,
)
from risk.exit_tracking import decide_forced_exit
from risk.holding import HOLDING_FLAT, get_position
from risk.limits import Limits
from risk.stops import StopState, apply_trailing
from risk.verdict import is_unworthy
from strategies.catalog import decide, observe_all
from sweeps.metrics import (
    TRADE_SUMS_NEW,
    Metrics,
    apply_day_end,
    apply_equity,
    check_equity_bar,
    start_daily,
    start_drawdown,
    summarize,
)
from sweeps.records import ReplayResult, value_open_holding
from sweeps.tape import (
    OUTCOMES_NONE,
    TRACE_DECISION,
    TRACE_FILL,
    TRACE_FUNDING,
    TRACE_STOP_MOVE,
    Clock,
    Outcomes,
    Tape,
    blank_tape,
    count_days,
    make_tape,
    record_day,
    record_outcome,
    record_trade,
    trace,
)

if TYPE_CHECKING:  # reading data needs pandas, replaying does not
    from market.catalog import MarketData

Array = np.ndarray[Any, Any]


FILL_ORDER = FillKind.ORDER.value
FILL_STOP = FillKind.STOP.value
FILL_TAKE_PROFIT = FillKind.TAKE_PROFIT.value
FILL_LIQUIDATION = FillKind.LIQUIDATION.value
TRADES_MAX = 4096  # room at first; a replay with more is run again


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
    trace(tape, TRACE_FILL, ts_now_ns, slot, kind, 0, qty_lots, 0, fill_px, fee_quote)
    is_closed, reason, tally = apply_fill_to_desk(desk, slot, qty_lots, fill_px, fee_quote, kind, ts_now_ns)
    if is_closed:
        record_trade(tape, clock, slot, lot_base, tally, ts_now_ns, reason)
        record_outcome(tape, desk.limits[0].estimate, tally)


@njit(cache=True, _nrt=False)
def _settle_funding(desk: Desk, tape: Tape, slot: int, px: float, funding_rate: float, ts_now_ns: int) -> None:
    row = desk.slots[slot]
    qty_lots = row.holding.qty_lots
    if funding_rate != 0.0 and qty_lots != 0:
        amount_quote = compute_funding_quote(qty_lots, row.spec.lot_base, px, funding_rate)
        trace(tape, TRACE_FUNDING, ts_now_ns, slot, 0, 0, qty_lots, 0, px, amount_quote)
        apply_funding_to_desk(desk, slot, amount_quote)


@njit(cache=True, _nrt=False)
def is_eventful(bar: Any, qty_lots: int, stop_px: float, take_profit_px: float) -> bool:
    """Return whether a bar does more to a position without orders on their way than mark it."""
    if bar.funding_open_rate != 0.0 or bar.funding_inside_rate != 0.0:
        return True
    return compute_hit(qty_lots, stop_px, take_profit_px, bar.open_px, bar.high_px, bar.low_px)[0] != Hit.NONE.value


@njit(cache=True, _nrt=False)
def _step_venue(desk: Desk, costs: Costs, tape: Tape, clock: Clock, slot: int, bar: Any) -> None:
    # The venue's side of one bar for one slot, in the order that market.fills states: reducing leg, entry leg, exit.
    ts_now_ns = bar.ts_open_ns
    is_missing = (bar.quality & Quality.MISSING.value) != 0
    holding, orders = desk.slots[slot].holding, desk.slots[slot].orders
    _settle_funding(desk, tape, slot, bar.open_px, bar.funding_open_rate, ts_now_ns)
    for leg in range(3):
        kind, px, lots, fee_bps = FILL_ORDER, bar.open_px, 0, costs.fee_taker_bps
        if leg == 2:
            _settle_funding(desk, tape, slot, bar.open_px, bar.funding_inside_rate, ts_now_ns + 1)
            hit, px = compute_hit(
                holding.qty_lots, orders.stop_px, orders.take_profit_px, bar.open_px, bar.high_px, bar.low_px
            )
            if hit != Hit.NONE.value:
                lots = -holding.qty_lots
                kind = FILL_STOP if hit == Hit.STOP.value else FILL_TAKE_PROFIT
        else:
            lots = orders.reduce_lots if leg == 0 else orders.entry_lots
        if is_missing or lots == 0:
            continue
        if kind == FILL_TAKE_PROFIT:
            fee_bps = costs.fee_maker_bps
        else:
            px = compute_taker_px(px, 1 if lots > 0 else -1, costs.slippage_bps)
        _fill(desk, tape, clock, slot, lots, px, fee_bps, kind, ts_now_ns)
        if holding.qty_lots == lots:
            tape.best_px[slot] = holding.avg_px


@njit(cache=True, _nrt=False)
def _liquidate(desk: Desk, costs: Costs, tape: Tape, clock: Clock, ts_now_ns: int) -> float:
    # The account is below its maintenance margin at the close: the venue cancels every order and closes every position.
    for slot in range(len(desk.slots)):
        clear_entry(desk, slot)
        clear_reduce(desk, slot)
    for slot in range(len(desk.slots)):
        row = desk.slots[slot]
        qty_lots = row.holding.qty_lots
        if qty_lots != 0:
            fill_px = compute_taker_px(row.mark_px, -1 if qty_lots > 0 else 1, costs.slippage_bps)
            _fill(desk, tape, clock, slot, -qty_lots, fill_px, costs.fee_taker_bps, FILL_LIQUIDATION, ts_now_ns)
    return compute_equity_quote(desk)


@njit(cache=True, _nrt=False, forceinline=True)
def _decide(desk: Desk, tape: Tape, slot: int, intent: Intent, bar: Any, ts_now_ns: int) -> None:
    desk.slots[slot].mark_px = bar.close_px
    decision = decide_slot(desk, slot, intent, bar.quality, ts_now_ns)
    if intent.action == Action.TARGET.value or decision.reduce_lots != 0:
        trace(
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


@njit(cache=True, _nrt=False, forceinline=True)
def _is_active(slots: Array) -> bool:
    # Whether anything is held or ordered: otherwise a bar changes nothing.
    for slot in range(len(slots)):
        row = slots[slot]
        if row.holding.qty_lots != 0 or row.orders.reduce_lots != 0 or row.orders.entry_lots != 0:
            return True
    return False


@njit(cache=True, _nrt=False)
def _find_wish(features: Array, params: Any, clock: Clock, i: int, i_end: int) -> int:
    # The first bar from i on at which a strategy without a position wishes for one, else i_end.
    while i < i_end:
        ts_now_ns = clock.ts_first_ns + (i + 1) * clock.interval_ns
        for slot in range(features.shape[0]):
            if decide(features[slot, i], params, POSITION_FLAT, ts_now_ns).action == Action.TARGET.value:
                return i
        i += 1
    return i_end


@njit(cache=True, _nrt=False)
def _skip_denied(desk: Desk, clock: Clock, i: int, i_end: int) -> int:
    # The first bar from i on, at most i_end, at whose close an entry is not known beforehand to be denied: by a latch,
    # which only a person releases, or by a verdict. Without a position a denial changes nothing but its count.
    if not desk.limits[0].enabled:
        return i
    if desk.account[0].latch_reason != Reason.OK.value:
        return i_end
    ts_now_ns, ts_until_ns = clock.ts_first_ns + (i + 1) * clock.interval_ns, np.iinfo(np.int64).max
    for slot in range(len(desk.slots)):
        strategy = desk.strategies[desk.slots[slot].spec.strategy]
        if strategy.risk.latch_reason == Reason.OK.value:
            if not is_unworthy(strategy.verdict, ts_now_ns):
                return i
            ts_until_ns = min(ts_until_ns, strategy.verdict.ts_until_ns)
    return max(i, min(i_end, (ts_until_ns - clock.ts_first_ns - 1) // clock.interval_ns))


@njit(cache=True, _nrt=False)
def _run_idle(
    bars: Array, features: Array, params: Any, desk: Desk, tape: Tape, clock: Clock, i: int, i_end: int
) -> int:
    # Bars from i on, before i_end, of an account that holds and orders nothing: wishes are all that can happen. Returns
    # the bar after the one that ended this, or i_end.
    while True:
        i = _find_wish(features, params, clock, _skip_denied(desk, clock, i, i_end), i_end)
        if i >= i_end:
            return i_end
        ts_now_ns = clock.ts_first_ns + (i + 1) * clock.interval_ns
        for slot in range(features.shape[0]):
            intent = decide(features[slot, i], params, POSITION_FLAT, ts_now_ns)
            if intent.action == Action.TARGET.value:
                _decide(desk, tape, slot, intent, bars[slot, i], ts_now_ns)
        i += 1
        if _is_active(desk.slots):
            return i


@njit(cache=True, _nrt=False, forceinline=True)
def _trail(desk: Desk, tape: Tape, slot: int, bar: Any, ts_now_ns: int) -> bool:
    # Move the stop of an open position after its bar, and return whether risk closes the position itself.
    row, limits, best_px = desk.slots[slot], desk.limits[0], tape.best_px
    position = get_position(row.holding)
    stop = StopState(row.orders.stop_px, best_px[slot])
    side = 1 if position.qty_lots > 0 else -1
    trailed = apply_trailing(stop, limits.trailing, side, position.avg_px, bar.high_px, bar.low_px)
    best_px[slot] = trailed.best_px
    if trailed.stop_px != stop.stop_px and apply_stop_move(desk, slot, trailed.stop_px) == Reason.OK.value:
        trace(tape, TRACE_STOP_MOVE, ts_now_ns, slot, 0, 0, 0, 0, trailed.stop_px, 0.0)
    return decide_forced_exit(desk.account[0], limits, position, ts_now_ns) != Reason.OK.value


@njit(cache=True, _nrt=False, forceinline=True)
def _step_slots(bars: Array, i: int, costs: Costs, desk: Desk, tape: Tape, clock: Clock) -> None:
    # The venue's bar i; most bars only mark what is held.
    for slot in range(len(desk.slots)):
        row = desk.slots[slot]
        orders = row.orders
        is_in_flight = orders.reduce_lots != 0 or orders.entry_lots != 0
        if row.holding.qty_lots != 0 or is_in_flight:
            bar = bars[slot, i]
            row.mark_px = bar.close_px
            if is_in_flight or is_eventful(bar, row.holding.qty_lots, orders.stop_px, orders.take_profit_px):
                _step_venue(desk, costs, tape, clock, slot, bar)


@njit(cache=True, _nrt=False, nogil=True)
def run_replay(
    bars: Array, features: Array, params: Any, costs: Costs, desk: Desk, tape: Tape, clock: Clock
) -> Metrics:
    """Run one configuration over BAR_DTYPE[N, T] and its features[N, T]; desk and tape are filled in place.

    The metrics are those that `compute_metrics` finds in a tape that kept everything, to the bit.
    """
    slots, limits, length = desk.slots, desk.limits[0], bars.shape[1]
    blank_tape(tape)
    is_kept, is_full = len(tape.equity_quote) > 0, tape.position_lots.shape[1] > 0
    equity_start_quote = equity_quote = desk.money_quote[CASH]
    daily, drawdown = start_daily(equity_quote), start_drawdown(equity_quote)
    i, i_day_end, is_marked = 0, -1, False
    while i < length:
        if i > i_day_end:
            # The last bar of the UTC day in which bar i opens.
            ts_open_ns = clock.ts_first_ns + i * clock.interval_ns
            to_midnight_ns = NS_PER_DAY - ts_open_ns % NS_PER_DAY
            i_day_end = min(i + (to_midnight_ns - 1) // clock.interval_ns, length - 1)
        is_active = _is_active(slots)
        if not is_active and is_marked and not is_kept and i < i_day_end:
            i = _run_idle(bars, features, params, desk, tape, clock, i, i_day_end)
            continue
        ts_now_ns = clock.ts_first_ns + (i + 1) * clock.interval_ns
        if is_active:
            _step_slots(bars, i, costs, desk, tape, clock)
            equity_quote = compute_equity_quote(desk)
            if equity_quote < compute_maintenance_quote(desk):
                equity_quote = _liquidate(desk, costs, tape, clock, ts_now_ns)
            drawdown = apply_equity(drawdown, equity_quote)
            if not math.isfinite(equity_quote) and tape.counts[2] < 0:
                tape.counts[2] = i
        if is_active or i == i_day_end or not is_marked:
            mark_desk(desk, equity_quote, ts_now_ns)
            is_marked = True
        if i == i_day_end:
            daily = apply_day_end(daily, equity_quote)
            record_day(tape, equity_quote)
        if is_kept:
            tape.equity_quote[i] = equity_quote
        for slot in range(len(slots)):
            row = slots[slot]
            if is_full:
                tape.position_lots[slot, i] = row.holding.qty_lots
                tape.stops_px[slot, i] = row.orders.stop_px
            is_forced = False
            if limits.enabled and row.holding.qty_lots != 0:
                is_forced = _trail(desk, tape, slot, bars[slot, i], ts_now_ns)
            intent = decide(features[slot, i], params, get_position(row.holding), ts_now_ns)
            if intent.action == Action.TARGET.value or is_forced:
                _decide(desk, tape, slot, intent, bars[slot, i], ts_now_ns)
        i += 1
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
        lot_base = desk.slots[slot].spec.lot_base
        valued = value_open_holding(tally, bar.close_px, lot_base)
        record_trade(tape, clock, slot, lot_base, valued, bar.ts_open_ns, Reason.END_OF_DATA.value)


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
    trades_max = TRADES_MAX
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
    """Replays one configuration after another over one market and keeps metrics, daily equity and outcomes only.

    Nothing is allocated per run, and the interpreter lock is free during it. Bars in which nothing can happen are
    skipped, their denials with them: `replay` counts those.
    """

    def __init__(self, market: "MarketData", limits: Limits, costs: Costs, equity_start_quote: float) -> None:
        self._bars = lock(market.bars)
        self._costs = costs
        self._equity_start_quote = equity_start_quote
        self._clock = Clock(int(market.bars[0, 0]["ts_open_ns"]), market.interval_ns)
        self._desk = make_desk(make_slot_specs(market.instruments, costs, strategies=1), 1, equity_start_quote, limits)
        self.days = count_days(self._clock, market.bars.shape[1])
        self._tape = make_tape(market.bars.shape[0], days=self.days)

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
    def equity_daily_quote(self) -> Array:
        """float64[days] of the last run, at the end of each UTC day; written over by the next."""
        return self._tape.equity_daily_quote

    @property
    def outcomes(self) -> Outcomes:
        """The closed trades of the last run in multiples of their risk."""
        row = self._tape.outcomes[0]
        return Outcomes(*(row[name].item() for name in OUTCOMES_NONE._fields))
