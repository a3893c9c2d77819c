"""An ordinary entry, approved by the default limits, for tests to spoil one field at a time."""

from typing import Any

from risk.account import apply_mark
from risk.gate import decide_entry
from risk.limits import LIMITS_DEFAULT, Limits
from risk.state import (
    ACCOUNT_RISK_NEW,
    SLOT_RISK_NEW,
    STRATEGY_RISK_NEW,
    AccountRisk,
    Approval,
    EntryRequest,
    SlotRisk,
    StrategyRisk,
)

TS_NS = 1_700_000_000_000_000_000  # 2023-11-14 22:13:20 UTC
S_NS = 1_000_000_000
EQUITY_QUOTE = 10_000.0

REQUEST = EntryRequest(
    ts_decision_ns=TS_NS,
    side=1,
    target_frac=1.0,
    decision_px=100.0,
    stop_distance_px=2.0,
    take_profit_distance_px=0.0,
    qty_lots_now=0,
    lot_base=0.01,
    qty_lots_min=1,
    notional_min_quote=10.0,
    leverage_max=20.0,
    cost_round_trip_frac=0.001,
    quality=0,
    is_owned_by_other=0,
    notional_instrument_quote=0.0,
    notional_venue_quote=0.0,
    notional_account_quote=0.0,
    notional_net_quote=0.0,
    notional_correlated_quote=0.0,
    positions_open=0,
)


def make_request(**changes: Any) -> EntryRequest:
    """Return the ordinary entry with some fields changed."""
    return REQUEST._replace(**changes)


def make_account(equity_quote: float = EQUITY_QUOTE) -> AccountRisk:
    """Return an account marked once."""
    account: AccountRisk = apply_mark(ACCOUNT_RISK_NEW, LIMITS_DEFAULT, equity_quote, TS_NS - 60 * S_NS)
    return account


def make_strategy(wins: int, losses: int, win_r: float = 1.0, loss_r: float = 1.0) -> StrategyRisk:
    """Return a strategy with fresh evidence of so many trades of these sizes."""
    return STRATEGY_RISK_NEW._replace(
        wins_weight=float(wins),
        losses_weight=float(losses),
        win_r_sum=wins * win_r,
        loss_r_sum=losses * loss_r,
        ts_evidence_ns=TS_NS,
    )


def ask(
    limits: Limits = LIMITS_DEFAULT,
    account: AccountRisk | None = None,
    strategy: StrategyRisk = STRATEGY_RISK_NEW,
    slot: SlotRisk = SLOT_RISK_NEW,
    **changes: Any,
) -> Approval:
    """Return the gate's answer to the ordinary entry with some fields changed."""
    approval: Approval = decide_entry(
        account or make_account(), strategy, slot, limits, make_request(**changes), TS_NS
    )[3]
    return approval
