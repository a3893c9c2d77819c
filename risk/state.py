"""What risk remembers, what it is asked and what it answers: flat records, fit for structured arrays.

Times are UTC ns >= 0, money is quote currency. Each state has one owner (the governor live, the replay loop in a
sweep) and starts as its `*_NEW` constant, which does not depend on the limits.
"""

from typing import NamedTuple


class AccountRisk(NamedTuple):
    """One per account."""

    equity_quote: float  # at the last mark; NaN: unknown
    equity_day_start_quote: float  # at the first mark of the UTC day, or where an operator released a latch
    day: int  # UTC days since 1970 of the last mark; -1: never marked
    latch_reason: int  # Reason that latched the account; 0: open
    ts_latched_ns: int
    ts_bucket_ns: int  # rate limit: when the bucket will be full again


class StrategyRisk(NamedTuple):
    """One per strategy: what its closed trades say about it. Weights are trades decayed to `ts_evidence_ns`."""

    wins_weight: float
    losses_weight: float
    win_r_sum: float  # sum of the wins in R, each R = pnl / risk at entry
    loss_r_sum: float  # sum of the losses in R, positive
    ts_evidence_ns: int
    breaker_wins: int  # not decayed: since the breaker was last released
    breaker_losses: int
    loss_run: int  # losses in a row up to now
    latch_reason: int  # Reason of the breaker that latched the strategy; 0: open
    ts_latched_ns: int
    ts_bucket_ns: int


class SlotRisk(NamedTuple):
    """One per (strategy, instrument)."""

    ts_decided_ns: int  # time of the newest decision seen; -1: none
    ts_cooldown_until_ns: int
    ts_bucket_ns: int


ACCOUNT_RISK_NEW = AccountRisk(float("nan"), float("nan"), -1, 0, 0, 0)
STRATEGY_RISK_NEW = StrategyRisk(0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0, 0, 0)
SLOT_RISK_NEW = SlotRisk(-1, 0, 0)


class EntryRequest(NamedTuple):
    """An entry leg as the gate sees it. Notionals are now, at mark, after this decision's reduce leg, unsigned but net.

    `qty_lots_now` is this slot's signed position after the reduce leg: 0 or on `side`.
    """

    ts_decision_ns: int  # close of the bar that was decided on; with the slot it identifies the intent
    side: int  # Side value
    target_frac: float  # wished signed notional / equity, on `side`
    decision_px: float
    stop_distance_px: float
    take_profit_distance_px: float  # 0.0: none
    qty_lots_now: int
    lot_base: float
    qty_lots_min: int
    notional_min_quote: float
    leverage_max: float  # the venue's cap on this instrument
    cost_round_trip_frac: float  # fees and slippage of entry and exit / notional
    quality: int  # Quality flags of the deciding bar
    is_owned_by_other: int  # 1: another strategy holds this instrument at this venue
    notional_instrument_quote: float
    notional_venue_quote: float
    notional_account_quote: float
    notional_net_quote: float  # signed, the whole account
    notional_correlated_quote: float  # on `side`, in the instrument's correlation group
    positions_open: int  # whole account


class Approval(NamedTuple):
    """The gate's answer: an entry delta with its exits, or 0 lots and the Reason."""

    qty_lots: int  # signed; 0: denied
    stop_px: float  # 0.0: none
    take_profit_px: float  # 0.0: none
    risk_quote: float  # what `qty_lots` lose at the stop, round-trip costs included
    reason: int


class TradeOutcome(NamedTuple):
    """A closed trade: `pnl_quote` net of fees and funding, `risk_quote` as approved at entry."""

    pnl_quote: float
    risk_quote: float
    was_stop: bool
