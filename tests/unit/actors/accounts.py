"""Small accounts and messages for the machines' tests: flat markets whose numbers can be read."""

import math
from dataclasses import replace
from typing import Any

from actors.governor.machine import make_digest
from actors.messages import (
    AccountUpdate,
    Approvals,
    Booked,
    Decisions,
    OrderApproved,
    OrderPart,
    Protection,
    SlotIntent,
)
from actors.plan import Plan, StrategyPlan
from market.events import BarsClosed, Fill, FillKind
from market.fills import Costs
from market.instruments import find_instrument
from market.reasons import Reason
from market.records import NS_PER_S, Action, Bar, Intent
from risk.limits import LIMITS_DEFAULT, Limits, switch
from strategies.catalog import parse_params

INTERVAL_NS = 900 * NS_PER_S
INSTRUMENTS = tuple(  # one lot is one tenth of a coin, and no order is too small
    replace(find_instrument(f"{base}-PERP.BINANCE"), lot_base=0.1, notional_min_quote=0.0)
    for base in ("BTC", "ETH", "SOL")
)
IDS = tuple(instrument.instrument_id for instrument in INSTRUMENTS)
EPOCH = 7
OPEN = switch(LIMITS_DEFAULT, False, "reward_to_risk", "kelly", "breaker")


def close_ns(number: int) -> int:
    """Return the `number`-th close; the first is 1."""
    return 1_704_067_200 * NS_PER_S + number * INTERVAL_NS


def make_plan(
    instruments: int = 1,
    strategies: int = 1,
    limits: Limits = OPEN,
    equity_start_quote: float = 100_000.0,
    params: tuple[Any, ...] | None = None,
) -> Plan:
    """Return an account that trades by `signals`, under a name of its own for each strategy."""
    chosen = parse_params("signals", {"atr_bars": 2, "stop_atr": 3.0}) if params is None else params
    parts = tuple(StrategyPlan("signals" if index == 0 else f"signals{index}", chosen) for index in range(strategies))
    costs = Costs(0.0, 0.0, 0.0)
    return Plan(INSTRUMENTS[:instruments], parts, limits, costs, equity_start_quote, INTERVAL_NS)


def make_bar(number: int, px: float = 100.0, **changes: Any) -> Bar:
    """Return the bar that closes `number`-th, one quote high and low around `px`."""
    bar = Bar(
        close_ns(number) - INTERVAL_NS, px, px + 1.0, px - 1.0, px, 1.0, math.nan, math.nan, 0.0, 0.0, math.nan, 0
    )
    return bar._replace(**changes)


def make_closed(number: int, *bars: Bar, instruments: int = 1) -> BarsClosed:
    """Return one interval: the bars given, or a quiet one of every instrument."""
    return BarsClosed(close_ns(number), bars or tuple(make_bar(number) for _ in range(instruments)))


def make_fill(
    instrument_id: str, qty_lots: int, px: float = 100.0, trade_id: str = "1", order_id: str = "0x1", **changes: Any
) -> Fill:
    """Return an execution; `qty_lots` is signed."""
    values: dict[str, Any] = {
        "client_order_id": order_id,
        "venue_order_id": "1",
        "trade_id": trade_id,
        "instrument_id": instrument_id,
        "side": 1 if qty_lots > 0 else -1,
        "fill_px": px,
        "fill_qty_lots": abs(qty_lots),
        "fee_quote": 0.0,
        "is_maker": False,
        "kind": FillKind.ORDER.value,
        "ts_event_ns": close_ns(1),
    }
    return Fill(**(values | changes))


def make_update(number: int, *booked: Booked, protections: tuple[Protection, ...] = ()) -> AccountUpdate:
    """Return what the executor says at a close."""
    return AccountUpdate(close_ns(number), booked, protections)


def book(slot: int, event: Any, part: OrderPart = OrderPart.ENTRY) -> Booked:
    """Return a venue event in its slot."""
    return Booked(slot, part, event)


def wish(slot: int, target_frac: float, number: int, stop_distance_px: float = 5.0) -> SlotIntent:
    """Return a slot's wish for a target."""
    reason = Reason.ENTRY_SIGNAL.value if target_frac else Reason.EXIT_SIGNAL.value
    return SlotIntent(slot, f"{slot}-{number}", Intent(Action.TARGET.value, target_frac, stop_distance_px, 0.0, reason))


def make_decisions(
    number: int, *intents: SlotIntent, strategy: int = 0, stop_wishes: tuple[Any, ...] = ()
) -> Decisions:
    """Return what a strategist says at a close."""
    return Decisions(strategy, close_ns(number), intents, stop_wishes)


def make_approved(
    number: int,
    qty_lots: int = 10,
    leg: int = 1,
    stop_px: float = 95.0,
    take_profit_px: float = 0.0,
    slot: int = 0,
    instrument: int = 0,
    intent_id: str = "",
    epoch: int = EPOCH,
    ts_expiry_ns: int = 0,
) -> OrderApproved:
    """Return a leg that the governor approved at a close, sealed; `qty_lots` is signed."""
    side, lots = (1, qty_lots) if qty_lots > 0 else (-1, -qty_lots)
    intent_id = intent_id or f"intent-{slot}-{number}"
    if leg == 0:
        stop_px = take_profit_px = 0.0
    expiry_ns = ts_expiry_ns or close_ns(number + 1)
    instrument_id = IDS[instrument]
    digest = make_digest(intent_id, leg, instrument_id, side, lots, stop_px, take_profit_px, epoch, expiry_ns)
    reason = Reason.ENTRY_SIGNAL.value
    return OrderApproved(
        intent_id, leg, slot, instrument_id, side, lots, stop_px, take_profit_px, reason, epoch, expiry_ns, digest, "c"
    )


def make_approvals(number: int, *orders: OrderApproved, stop_moves: tuple[Any, ...] = ()) -> Approvals:
    """Return what the governor says at a close."""
    return Approvals(close_ns(number), orders, stop_moves)
