"""The account-wide state of risk in arrays, and the steps that change it: one desk in the governor, one in each replay.

The governor machine and `sweeps.replay` call these same kernels, so that what is approved live is what was tested. A
slot is one (strategy, instrument) pair of the account; slots are ordered by instrument.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from market.arrays import read_row, write_record, write_row
from market.events import FillKind
from market.fills import Costs, compute_unrealized_quote
from market.instruments import Instrument
from market.reasons import Reason
from market.records import Action, Intent, make_dtype
from risk.account import apply_mark
from risk.deduplication import apply_decided
from risk.estimate import Prior
from risk.evidence import apply_trade_closed
from risk.exit_tracking import decide_forced_exit
from risk.gate import decide_entry_lots, is_decision_remembered, make_approval, spend_tokens
from risk.holding import (
    HOLDING_FLAT,
    Holding,
    apply_fill_to_holding,
    apply_funding_to_holding,
    get_position,
)
from risk.limits import Limits
from risk.state import (
    ACCOUNT_RISK_NEW,
    SLOT_RISK_NEW,
    STRATEGY_RISK_NEW,
    AccountRisk,
    EntryRequest,
    SlotRisk,
    StrategyRisk,
    TradeOutcome,
)
from risk.stops import decide_stop_move
from risk.verdict import VERDICT_NONE, Verdict, find_verdict, is_unworthy

Array = np.ndarray[Any, Any]

CASH, FEES, FUNDING = 0, 1, 2  # indices into Desk.money_quote


class SlotSpec(NamedTuple):
    """What never changes about a slot."""

    lot_base: float
    qty_lots_min: int
    notional_min_quote: float
    leverage_max: float
    maintenance_margin_frac: float
    cost_round_trip_frac: float  # fees and slippage of entry and stopped exit, of notional
    strategy: int  # index
    instrument: int  # index
    venue: int  # index
    correlation_group: int


class SlotOrders(NamedTuple):
    """What is approved for a slot: legs on their way (0 lots: none), and what rests to protect its position."""

    reduce_lots: int  # signed
    reduce_reason: int
    entry_lots: int  # signed
    entry_risk_quote: float
    entry_stop_px: float
    entry_take_profit_px: float
    stop_px: float  # in force; 0.0: none
    take_profit_px: float  # in force; 0.0: none


SLOT_ORDERS_NONE = SlotOrders(0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)


class StrategyRow(NamedTuple):
    """One strategy: its risk, and how long its estimate is known to deny."""

    risk: StrategyRisk
    verdict: Verdict


class SlotRow(NamedTuple):
    """One slot: what it holds, what is ordered for it, and its own risk."""

    holding: Holding
    orders: SlotOrders
    mark_px: float  # last close of the slot's instrument
    risk: SlotRisk
    spec: SlotSpec


class Desk(NamedTuple):
    """All state of one account: structured arrays, mutated in place by the functions below.

    The limits lie here too: handing over six arrays costs a call from Python 1.3 us, unpacking a hundred numbers 50 us.
    """

    account: Array  # AccountRisk[1]
    strategies: Array  # StrategyRow[strategies]
    slots: Array  # SlotRow[N]
    limits: Array  # Limits[strategies]: the account's, each row with the prior of its strategy
    money_quote: Array  # float64[3]: cash, fees paid, funding received
    denials: Array  # int64[reasons], counts


class SlotDecision(NamedTuple):
    """What the governor made of one slot's intent at one close."""

    reduce_lots: int
    reduce_reason: int
    entry_lots: int
    stop_px: float
    take_profit_px: float
    risk_quote: float
    denial: int  # Reason of the entry's denial, OK if none


_NO_ORDERS = SlotDecision(0, 0, 0, 0.0, 0.0, 0.0, 0)


def make_slot_specs(instruments: Sequence[Instrument], costs: Costs, strategies: int) -> list[SlotSpec]:
    """Return the slots of `strategies` strategies over all `instruments`, ordered by instrument, then strategy.

    All crypto perpetuals are one correlation group until measured otherwise: they fell together whenever it mattered.
    """
    venues = sorted({instrument.venue_id for instrument in instruments})
    return [
        SlotSpec(
            lot_base=instrument.lot_base,
            qty_lots_min=instrument.qty_lots_min,
            notional_min_quote=instrument.notional_min_quote,
            leverage_max=instrument.leverage_max,
            maintenance_margin_frac=instrument.maintenance_margin_frac,
            cost_round_trip_frac=2.0 * (costs.fee_taker_bps + costs.slippage_bps) * 1e-4,
            strategy=strategy,
            instrument=index,
            venue=venues.index(instrument.venue_id),
            correlation_group=0,
        )
        for index, instrument in enumerate(instruments)
        for strategy in range(strategies)
    ]


def make_desk(
    specs: Sequence[SlotSpec], strategies: int, cash_quote: float, limits: Limits, priors: Sequence[Prior] = ()
) -> Desk:
    """Return the desk of a new account with `cash_quote` [quote] and no history, governed by `limits`.

    priors: one for each strategy, in place of `limits.prior`; (): that one for all.
    """
    desk = Desk(
        account=np.zeros(1, make_dtype(AccountRisk)),
        strategies=np.zeros(strategies, make_dtype(StrategyRow)),
        slots=np.zeros(len(specs), make_dtype(SlotRow)),
        limits=np.zeros(strategies, make_dtype(Limits)),
        money_quote=np.array([cash_quote, 0.0, 0.0]),
        denials=np.zeros(max(Reason) + 1, np.int64),
    )
    write_record(desk.account, 0, ACCOUNT_RISK_NEW)
    for strategy, prior in zip(range(strategies), priors or [limits.prior] * strategies, strict=True):
        write_record(desk.limits, strategy, limits._replace(prior=prior))
        write_record(desk.strategies, strategy, StrategyRow(STRATEGY_RISK_NEW, VERDICT_NONE))
    for slot, spec in enumerate(specs):
        write_record(desk.slots, slot, SlotRow(HOLDING_FLAT, SLOT_ORDERS_NONE, 0.0, SLOT_RISK_NEW, spec))
    return desk


@njit(cache=True, _nrt=False)
def reset_desk(desk: Desk, cash_quote: float) -> None:
    """Make the desk that of a new account with `cash_quote` [quote]; specs and limits stay."""
    write_row(desk.account[0], ACCOUNT_RISK_NEW)
    desk.money_quote[CASH] = cash_quote
    desk.money_quote[FEES] = 0.0
    desk.money_quote[FUNDING] = 0.0
    for strategy in range(len(desk.strategies)):
        write_row(desk.strategies[strategy], StrategyRow(STRATEGY_RISK_NEW, VERDICT_NONE))
    for slot in range(len(desk.slots)):
        row = desk.slots[slot]
        write_row(row.holding, HOLDING_FLAT)
        write_row(row.orders, SLOT_ORDERS_NONE)
        write_row(row.risk, SLOT_RISK_NEW)
        row.mark_px = 0.0
    for reason in range(len(desk.denials)):
        desk.denials[reason] = 0


@njit(cache=True, _nrt=False)
def apply_funding_to_desk(desk: Desk, slot: int, amount_quote: float) -> None:
    """Book funding received (> 0) or paid (< 0) by a slot's position."""
    row = desk.slots[slot]
    desk.money_quote[CASH] = desk.money_quote[CASH] + amount_quote
    desk.money_quote[FUNDING] = desk.money_quote[FUNDING] + amount_quote
    write_row(row.holding, apply_funding_to_holding(row.holding, amount_quote))


@njit(cache=True, _nrt=False)
def apply_fill_to_desk(
    desk: Desk, slot: int, qty_lots: int, fill_px: float, fee_quote: float, kind: int, ts_now_ns: int
) -> tuple[bool, int, Holding]:
    """Book one signed fill of a slot; feed the risk evidence when it closes the trade.

    Returns (is_closed, exit Reason, tally): the tally is that of the closed trade, or of the one still open.
    """
    row = desk.slots[slot]
    orders = row.orders
    holding = read_row(row.holding, HOLDING_FLAT)
    is_entry = kind == FillKind.ORDER.value and holding.qty_lots * qty_lots >= 0
    risk_quote = 0.0
    reason = orders.reduce_reason
    if is_entry:
        risk_quote = orders.entry_risk_quote * (qty_lots / orders.entry_lots)
        orders.entry_risk_quote = orders.entry_risk_quote - risk_quote
        orders.entry_lots -= qty_lots
        orders.stop_px = orders.entry_stop_px
        orders.take_profit_px = orders.entry_take_profit_px
    elif kind == FillKind.ORDER.value:
        orders.reduce_lots -= qty_lots
    elif kind == FillKind.STOP.value:
        reason = Reason.STOP.value
    elif kind == FillKind.TAKE_PROFIT.value:
        reason = Reason.TAKE_PROFIT.value
    else:
        reason = Reason.LIQUIDATION.value
    tally, pnl_quote = apply_fill_to_holding(
        holding, qty_lots, fill_px, fee_quote, risk_quote, row.spec.lot_base, ts_now_ns
    )
    desk.money_quote[CASH] = desk.money_quote[CASH] + pnl_quote
    desk.money_quote[CASH] = desk.money_quote[CASH] - fee_quote
    desk.money_quote[FEES] = desk.money_quote[FEES] + fee_quote
    if tally.qty_lots != 0:
        write_row(row.holding, tally)
        return False, reason, tally
    write_row(row.holding, HOLDING_FLAT)
    orders.stop_px = 0.0
    orders.take_profit_px = 0.0
    orders.reduce_lots = 0
    if desk.limits[0].enabled:
        _learn_from_trade(desk, slot, tally, reason, ts_now_ns)
    return True, reason, tally


@njit(cache=True, _nrt=False)
def _learn_from_trade(desk: Desk, slot: int, tally: Holding, reason: int, ts_now_ns: int) -> None:
    # A liquidation is the worst of stops, so that it cools down the slot as a stop does.
    was_stop = reason == Reason.STOP.value or reason == Reason.LIQUIDATION.value
    outcome = TradeOutcome(tally.pnl_quote, tally.risk_quote, was_stop)
    row = desk.slots[slot]
    strategy = desk.strategies[row.spec.strategy]
    learned, slot_risk = apply_trade_closed(
        read_row(strategy.risk, STRATEGY_RISK_NEW),
        read_row(row.risk, SLOT_RISK_NEW),
        desk.limits[row.spec.strategy],
        outcome,
        ts_now_ns,
    )
    write_row(strategy, StrategyRow(learned, VERDICT_NONE))
    write_row(row.risk, slot_risk)


@njit(cache=True, _nrt=False)
def clear_entry(desk: Desk, slot: int) -> None:
    """Forget an approved entry that the venue refused or canceled."""
    orders = desk.slots[slot].orders
    orders.entry_lots = 0
    orders.entry_risk_quote = 0.0


@njit(cache=True, _nrt=False)
def clear_reduce(desk: Desk, slot: int) -> None:
    """Forget an approved reducing leg that the venue refused or canceled: the slot may decide again."""
    desk.slots[slot].orders.reduce_lots = 0


@njit(cache=True, _nrt=False)
def compute_equity_quote(desk: Desk) -> float:
    """Return cash plus the open profit of all slots at their marks [quote], summed in slot order."""
    equity_quote = desk.money_quote[CASH]
    for slot in range(len(desk.slots)):
        row = desk.slots[slot]
        if row.holding.qty_lots != 0:
            equity_quote += compute_unrealized_quote(
                row.holding.qty_lots, row.holding.avg_px, row.spec.lot_base, row.mark_px
            )
    return equity_quote


@njit(cache=True, _nrt=False)
def compute_maintenance_quote(desk: Desk) -> float:
    """Return the maintenance margin of all slots at their marks [quote]: below it the venue liquidates."""
    margin_quote = 0.0
    for slot in range(len(desk.slots)):
        row = desk.slots[slot]
        lots = abs(row.holding.qty_lots)
        if lots != 0:
            margin_quote += lots * row.spec.lot_base * row.mark_px * row.spec.maintenance_margin_frac
    return margin_quote


@njit(cache=True, _nrt=False)
def mark_desk(desk: Desk, equity_quote: float, ts_now_ns: int) -> None:
    """Note the account's equity [quote] at a close: roll the day, look at the daily loss."""
    account = desk.account[0]
    write_row(account, apply_mark(account, desk.limits[0], equity_quote, ts_now_ns))


@njit(cache=True, _nrt=False, forceinline=True)
def _make_request(
    slots: Array, slot: int, intent: Intent, qty_lots_now: int, quality: int, ts_decision_ns: int
) -> EntryRequest:
    # Everything held counts, and so do entries approved but not yet filled; what only this slot's own reducing leg
    # frees is free.
    row = slots[slot]
    spec = row.spec
    notional_instrument = notional_venue = notional_account = notional_net = notional_correlated = 0.0
    positions_open = 0
    is_owned_by_other = 0
    side = 1 if intent.target_frac > 0.0 else -1
    for index in range(len(slots)):
        other = slots[index]
        lots = other.holding.qty_lots + other.orders.entry_lots
        if index == slot:
            lots = qty_lots_now
        if lots == 0:
            continue
        notional = lots * other.spec.lot_base * other.mark_px
        positions_open += 1
        notional_account += abs(notional)
        notional_net += notional
        if other.spec.instrument == spec.instrument:
            notional_instrument += abs(notional)
            if other.spec.strategy != spec.strategy:
                is_owned_by_other = 1
        if other.spec.venue == spec.venue:
            notional_venue += abs(notional)
        if other.spec.correlation_group == spec.correlation_group and notional * side > 0.0:
            notional_correlated += abs(notional)
    return EntryRequest(
        ts_decision_ns=ts_decision_ns,
        side=side,
        target_frac=intent.target_frac,
        decision_px=row.mark_px,
        stop_distance_px=intent.stop_distance_px,
        take_profit_distance_px=intent.take_profit_distance_px,
        qty_lots_now=qty_lots_now,
        lot_base=spec.lot_base,
        qty_lots_min=spec.qty_lots_min,
        notional_min_quote=spec.notional_min_quote,
        leverage_max=spec.leverage_max,
        cost_round_trip_frac=spec.cost_round_trip_frac,
        quality=quality,
        is_owned_by_other=is_owned_by_other,
        notional_instrument_quote=notional_instrument,
        notional_venue_quote=notional_venue,
        notional_account_quote=notional_account,
        notional_net_quote=notional_net,
        notional_correlated_quote=notional_correlated,
        positions_open=positions_open,
    )


@njit(cache=True, _nrt=False)
def compute_reduce_lots(target_frac: float, qty_lots: int, equity_quote: float, px: float, lot_base: float) -> int:
    """Return the signed lots that a target takes off a position: all of it when the target is flat or opposite.

    >>> compute_reduce_lots(0.5, 10, 1000.0, 100.0, 1.0), compute_reduce_lots(-1.0, 10, 1000.0, 100.0, 1.0)
    (-5, -10)
    """
    if qty_lots == 0:
        return 0
    if target_frac * qty_lots <= 0.0:
        return -qty_lots
    wanted_lots = int(abs(target_frac) * equity_quote / (px * lot_base) + 1e-9)
    if wanted_lots >= abs(qty_lots):
        return 0
    return wanted_lots - qty_lots if qty_lots > 0 else -wanted_lots - qty_lots


@njit(cache=True, _nrt=False)
def has_order_in_flight(desk: Desk, slot: int) -> bool:
    """Return whether a leg of the slot is approved and not yet filled or refused."""
    orders = desk.slots[slot].orders
    return orders.reduce_lots != 0 or orders.entry_lots != 0


@njit(cache=True, _nrt=False, forceinline=True)
def decide_slot(desk: Desk, slot: int, intent: Intent, quality: int, ts_now_ns: int) -> SlotDecision:
    """Turn one slot's intent into approved legs, or into a denial; both are booked on the desk.

    Reducing is always allowed. A forced exit goes before the intent. A denied entry still lets the reducing leg of a
    reversal pass. Under risk a position is not added to: one trade, one risk.
    """
    account, row = desk.account[0], desk.slots[slot]
    limits, qty_lots = desk.limits[row.spec.strategy], row.holding.qty_lots
    if qty_lots != 0 and limits.enabled and not has_order_in_flight(desk, slot):
        forced = decide_forced_exit(account, limits, get_position(row.holding), ts_now_ns)
        if forced != Reason.OK.value:
            return _approve(desk, slot, SlotDecision(-qty_lots, forced, 0, 0.0, 0.0, 0.0, 0))
    if intent.action != Action.TARGET.value:
        return _NO_ORDERS
    if has_order_in_flight(desk, slot):
        return _deny(desk, Reason.ORDER_IN_FLIGHT.value, 0, 0)
    reduce_lots = compute_reduce_lots(
        intent.target_frac, qty_lots, account.equity_quote, row.mark_px, row.spec.lot_base
    )
    qty_lots_now = qty_lots + reduce_lots
    reduce_reason = intent.reason if intent.target_frac == 0.0 else Reason.REVERSAL.value
    if intent.target_frac == 0.0 or qty_lots_now * reduce_lots < 0:
        return _approve(desk, slot, SlotDecision(reduce_lots, reduce_reason, 0, 0.0, 0.0, 0.0, 0))
    if limits.enabled and qty_lots_now != 0:
        return _deny(desk, Reason.POSITION_OPEN.value, 0, 0)
    request = _make_request(desk.slots, slot, intent, qty_lots_now, quality, ts_now_ns)
    strategy = desk.strategies[row.spec.strategy]
    is_known = is_unworthy(strategy.verdict, ts_now_ns)
    lots, reason = decide_entry_lots(account, strategy.risk, row.risk, limits, request, is_known, ts_now_ns)
    if is_decision_remembered(limits, reason):
        write_row(row.risk, apply_decided(row.risk, ts_now_ns))
    if reason == Reason.REWARD_TO_RISK.value and not is_known:
        write_row(strategy.verdict, find_verdict(limits, strategy.risk, ts_now_ns))
    if reason != Reason.OK.value:
        return _approve(desk, slot, _deny(desk, reason, reduce_lots, reduce_reason))
    return _approve_entry(desk, slot, request, lots, reduce_lots, reduce_reason, ts_now_ns)


@njit(cache=True, _nrt=False, forceinline=True)
def _deny(desk: Desk, reason: int, reduce_lots: int, reduce_reason: int) -> SlotDecision:
    desk.denials[reason] += 1
    return SlotDecision(reduce_lots, reduce_reason, 0, 0.0, 0.0, 0.0, reason)


@njit(cache=True, _nrt=False)
def _approve_entry(
    desk: Desk, slot: int, request: EntryRequest, lots: int, reduce_lots: int, reduce_reason: int, ts_now_ns: int
) -> SlotDecision:
    account, row, limits = desk.account[0], desk.slots[slot], desk.limits[0]
    strategy = desk.strategies[row.spec.strategy]
    account_risk, strategy_risk, slot_risk = spend_tokens(
        read_row(account, ACCOUNT_RISK_NEW),
        read_row(strategy.risk, STRATEGY_RISK_NEW),
        read_row(row.risk, SLOT_RISK_NEW),
        limits,
        ts_now_ns,
    )
    write_row(account, account_risk)
    write_row(strategy.risk, strategy_risk)
    write_row(row.risk, slot_risk)
    approval = make_approval(limits, request, lots)
    decision = SlotDecision(
        reduce_lots,
        reduce_reason,
        approval.qty_lots,
        approval.stop_px,
        approval.take_profit_px,
        approval.risk_quote,
        0,
    )
    return _approve(desk, slot, decision)


@njit(cache=True, _nrt=False, forceinline=True)
def _approve(desk: Desk, slot: int, decision: SlotDecision) -> SlotDecision:
    orders = desk.slots[slot].orders
    orders.reduce_lots = decision.reduce_lots
    orders.reduce_reason = decision.reduce_reason
    orders.entry_lots = decision.entry_lots
    orders.entry_risk_quote = decision.risk_quote
    orders.entry_stop_px = decision.stop_px
    orders.entry_take_profit_px = decision.take_profit_px
    return decision


@njit(cache=True, _nrt=False)
def apply_stop_move(desk: Desk, slot: int, stop_px: float) -> int:
    """Book a tighter stop for an open position and return OK, or the Reason why it stays as it is."""
    row = desk.slots[slot]
    qty_lots = row.holding.qty_lots
    reason = Reason.STOP_NOT_TIGHTER.value
    if qty_lots != 0 and row.orders.stop_px > 0.0:
        reason = decide_stop_move(row.orders.stop_px, stop_px, 1 if qty_lots > 0 else -1)
    if reason == Reason.OK.value:
        row.orders.stop_px = stop_px
    else:
        desk.denials[reason] += 1
    return reason
