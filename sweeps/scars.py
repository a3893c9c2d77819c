"""The scars: seven ways money was lost, each replayed through the real risk kernels without and with its guard.

A scar is a fixed stream of what the market did and what a strategy asked for. It runs three times: with every rule
switched off, with its guard alone switched on, and with the default limits. All answers come from `risk.gate`,
`risk.evidence`, `risk.stops`, `risk.account` and `risk.exit_tracking`; nothing here decides in their place. Amounts are
calibrated so that the unguarded run loses what was lost then, where that is known (41.27 over 613 trades; 94 % wins of
0.013 against losses of 0.371). Fills are at the stream's px, costs are charged when a trade closes.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from market.fills import compute_hit
from market.reasons import Reason
from market.records import NS_PER_DAY, NS_PER_S, POSITION_FLAT, Position
from risk.account import apply_mark
from risk.evidence import apply_trade_closed
from risk.exit_tracking import decide_forced_exit
from risk.gate import decide_entry
from risk.limits import LIMITS_DEFAULT, Limits, switch
from risk.state import (
    ACCOUNT_RISK_NEW,
    SLOT_RISK_NEW,
    STRATEGY_RISK_NEW,
    AccountRisk,
    Approval,
    EntryRequest,
    SlotRisk,
    StrategyRisk,
    TradeOutcome,
)
from risk.stops import STOP_NONE, StopState, apply_trailing

EQUITY_QUOTE = 1000.0
ENTRY_PX = 100.0
TS_NS = 19_700 * NS_PER_DAY
LOT_BASE = 1e-6
LIMITS_BARE = switch(LIMITS_DEFAULT, False)


@dataclass
class _Book:
    # One strategy over some instruments of one account: what it holds, and the risk state beside it.
    limits: Limits
    count: int = 1
    cost_frac: float = 0.0  # of notional, round trip
    cash_quote: float = EQUITY_QUOTE
    account: AccountRisk = ACCOUNT_RISK_NEW
    strategy: StrategyRisk = STRATEGY_RISK_NEW
    slots: list[SlotRisk] = field(init=False)
    positions: list[Position] = field(init=False)
    stops: list[StopState] = field(init=False)
    risk_quote: list[float] = field(init=False)
    marks_px: list[float] = field(init=False)
    trades: int = 0
    trades_until_held: int = 0  # trades made when a rule first stepped in
    denials: Counter[Reason] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.slots = [SLOT_RISK_NEW] * self.count
        self.positions = [POSITION_FLAT] * self.count
        self.stops = [STOP_NONE] * self.count
        self.risk_quote = [0.0] * self.count
        self.marks_px = [ENTRY_PX] * self.count

    @property
    def equity_quote(self) -> float:
        return self.cash_quote + sum(
            position.qty_lots * LOT_BASE * (px - position.avg_px)
            for position, px in zip(self.positions, self.marks_px, strict=True)
        )

    @property
    def loss_quote(self) -> float:
        return EQUITY_QUOTE - self.equity_quote

    def held_at(self, reason: Reason | None = None) -> None:
        """Note that a rule stepped in, and by which denial."""
        if self.trades_until_held == 0:
            self.trades_until_held = self.trades
        if reason is not None:
            self.denials[reason] += 1

    def mark(self, ts_now_ns: int) -> None:
        self.account = apply_mark(self.account, self.limits, self.equity_quote, ts_now_ns)

    def enter(
        self,
        ts_now_ns: int,
        notional_quote: float,
        stop_frac: float,
        slot: int = 0,
        ts_decision_ns: int | None = None,
        take_profit_frac: float = 0.0,
    ) -> Approval:
        """Ask the gate for a long at the slot's mark; fill what it approves, on top of what is held.

        The strategy believes itself flat, as it does while a fill's report is on its way.
        """
        self.mark(ts_now_ns)
        px, held = self.marks_px[slot], self.positions[slot]
        notionals = [
            position.qty_lots * LOT_BASE * mark_px
            for position, mark_px in zip(self.positions, self.marks_px, strict=True)
        ]
        request = EntryRequest(
            ts_decision_ns=ts_now_ns if ts_decision_ns is None else ts_decision_ns,
            side=1,
            target_frac=notional_quote / self.account.equity_quote,
            decision_px=px,
            stop_distance_px=stop_frac * px,
            take_profit_distance_px=take_profit_frac * px,
            qty_lots_now=0,
            lot_base=LOT_BASE,
            qty_lots_min=1,
            notional_min_quote=1.0,
            leverage_max=20.0,
            cost_round_trip_frac=self.cost_frac,
            quality=0,
            is_owned_by_other=0,
            notional_instrument_quote=notionals[slot],
            notional_venue_quote=sum(notionals),
            notional_account_quote=sum(notionals),
            notional_net_quote=sum(notionals),
            notional_correlated_quote=sum(notionals),
            positions_open=sum(lots != 0.0 for lots in notionals),
        )
        approval: Approval
        self.account, self.strategy, self.slots[slot], approval = decide_entry(
            self.account, self.strategy, self.slots[slot], self.limits, request, ts_now_ns
        )
        if approval.qty_lots == 0:
            self.held_at(Reason(approval.reason))
            return approval
        self.trades += 1
        lots = held.qty_lots + approval.qty_lots
        avg_px = (held.qty_lots * held.avg_px + approval.qty_lots * px) / lots
        self.positions[slot] = Position(lots, avg_px, ts_now_ns)
        self.stops[slot] = StopState(approval.stop_px, 0.0)
        self.risk_quote[slot] += approval.risk_quote
        return approval

    def close(self, ts_now_ns: int, exit_px: float, was_stop: bool, slot: int = 0) -> float:
        """Close a slot's position at `exit_px` and return the net profit; flat: nothing."""
        position = self.positions[slot]
        if position.qty_lots == 0:
            return 0.0
        notional_quote = position.qty_lots * LOT_BASE * position.avg_px
        pnl_quote = position.qty_lots * LOT_BASE * (exit_px - position.avg_px) - notional_quote * self.cost_frac
        self.cash_quote += pnl_quote
        self.strategy, self.slots[slot] = apply_trade_closed(
            self.strategy,
            self.slots[slot],
            self.limits,
            TradeOutcome(pnl_quote, self.risk_quote[slot], was_stop),
            ts_now_ns,
        )
        self.positions[slot], self.stops[slot], self.risk_quote[slot] = POSITION_FLAT, STOP_NONE, 0.0
        return pnl_quote


@dataclass(frozen=True)
class Run:
    """How one run of a scar ended. `trades_until_held`: trades made when a rule first stepped in; 0: none did."""

    is_held: bool
    trades: int
    trades_until_held: int
    loss_quote: float
    what: str


def _end(book: _Book, is_held: bool, what: str) -> Run:
    trades_until_held = book.trades_until_held if is_held else 0
    return Run(is_held, book.trades, trades_until_held, round(book.loss_quote, 6), what)


def _name(denials: Counter[Reason]) -> str:
    return ", ".join(f"{reason.name} x{count:,}" for reason, count in denials.most_common(2)) or "nothing denied"


def run_dead_strategy(limits: Limits) -> Run:
    """613 trades of 100 at a 2.4 % win rate: 15 wins of 0.159, 598 losses of 0.073, one every two hours."""
    loss_frac = 0.000_73
    win_frac = (598 * loss_frac - 0.4127) / 15
    is_win = np.random.default_rng(613).permutation(613) < 15
    book = _Book(limits)
    for trade, won in enumerate(is_win):
        ts_now_ns = TS_NS + trade * 7200 * NS_PER_S
        if book.enter(ts_now_ns, 100.0, loss_frac).qty_lots != 0:
            exit_px = ENTRY_PX * (1.0 + (win_frac if won else -loss_frac))
            book.close(ts_now_ns + 60 * NS_PER_S, exit_px, was_stop=not won)
    is_held = book.strategy.latch_reason != Reason.OK.value
    return _end(book, is_held, f"stopped after {book.trades} trades: {_name(book.denials)}")


def run_small_wins(limits: Limits) -> Run:
    """500 trades, 94 % of them win 0.013, the others lose 0.371: expectancy -0.010."""
    is_win = np.random.default_rng(94).permutation(500) < 470
    book = _Book(limits)
    for trade, won in enumerate(is_win):
        ts_now_ns = TS_NS + trade * 7200 * NS_PER_S
        if book.enter(ts_now_ns, 100.0, 0.003_71, take_profit_frac=0.000_13).qty_lots != 0:
            exit_px = ENTRY_PX * (1.000_13 if won else 0.996_29)
            book.close(ts_now_ns + 60 * NS_PER_S, exit_px, was_stop=not won)
    is_held = book.trades < 100
    return _end(book, is_held, f"{book.trades} of 500 trades made: {_name(book.denials)}")


def run_reentries(limits: Limits) -> Run:
    """A falling market bought 1,680 times, each time 25 s after the last stop; 0.15 lost each, fees included."""
    book = _Book(limits, cost_frac=0.001)
    ts_stopped_ns, reentries = 0, 0
    for attempt in range(1680):
        ts_now_ns = TS_NS + attempt * 45 * NS_PER_S
        if book.enter(ts_now_ns, 100.0, 0.000_5).qty_lots != 0:
            reentries += ts_now_ns - ts_stopped_ns < 60 * NS_PER_S
            ts_stopped_ns = ts_now_ns + 20 * NS_PER_S
            book.close(ts_stopped_ns, ENTRY_PX * (1.0 - 0.000_5), was_stop=True)
    return _end(book, reentries == 0, f"{reentries:,} re-entries within a minute of a stop: {_name(book.denials)}")


def run_duplicates(limits: Limits) -> Run:
    """One intent of 100 delivered 63 times within a second, before the first fill is known; then the px falls 2 %."""
    book = _Book(limits)
    for copy in range(63):
        book.enter(TS_NS + copy * 15_000_000, 100.0, 0.02, ts_decision_ns=TS_NS)
    orders = book.trades
    book.close(TS_NS + 3600 * NS_PER_S, 98.0, was_stop=True)
    return _end(book, orders == 1, f"{orders} of 63 orders sent: {_name(book.denials)}")


def run_drift(limits: Limits) -> Run:
    """A long of 100 meant to end at -3 % drifts to -50 % over 500 bars; its stop rests only if the gate demands it."""
    rng = np.random.default_rng(50)
    path = np.linspace(0.0, np.log(0.5), 501)
    noise = np.cumsum(rng.normal(0.0, 0.002, 501))
    closes_px = ENTRY_PX * np.exp(path + noise - np.linspace(0.0, noise[-1], 501))
    book = _Book(limits)
    book.enter(TS_NS, 100.0, 0.03)
    exit_px = float(closes_px[-1])
    is_held = False
    for bar in range(1, 501):
        open_px, close_px = float(closes_px[bar - 1]), float(closes_px[bar])
        high_px, low_px = max(open_px, close_px), min(open_px, close_px)
        stop = book.stops[0]
        hit, hit_px = compute_hit(book.positions[0].qty_lots, stop.stop_px, 0.0, open_px, high_px, low_px)
        if hit:
            exit_px, is_held = hit_px, True
            book.held_at()
            break
        if stop.stop_px > 0.0:
            book.stops[0] = apply_trailing(stop, limits.trailing, 1, ENTRY_PX, high_px, low_px)
    book.close(TS_NS + 500 * 900 * NS_PER_S, exit_px, was_stop=is_held)
    ending = "its stop" if is_held else "the end of the stream"
    return _end(book, is_held, f"closed by {ending} at {exit_px / ENTRY_PX - 1.0:+.1%}")


def run_never_closed(limits: Limits) -> Run:
    """100 longs of 10, one a day in a slowly falling market; the strategy closes 22 after a day, forgets the rest."""
    is_closed = np.random.default_rng(78).permutation(100) < 22
    book = _Book(limits, count=100)
    forced = 0
    oldest_days = 0
    for day in range(130):
        ts_now_ns = TS_NS + day * NS_PER_DAY
        book.marks_px = [px * 0.996 for px in book.marks_px]
        for slot, position in enumerate(book.positions):
            if position.qty_lots == 0:
                continue
            reason = decide_forced_exit(book.account, limits, position, ts_now_ns)
            if reason != Reason.OK.value:
                forced += 1
                book.held_at(Reason(reason))
            if reason != Reason.OK.value or is_closed[slot]:
                book.close(ts_now_ns, book.marks_px[slot], was_stop=False, slot=slot)
            else:
                oldest_days = max(oldest_days, (ts_now_ns - position.ts_entry_ns) // NS_PER_DAY)
        if day < 100:
            book.enter(ts_now_ns, 10.0, 0.2, slot=day)
    left = sum(position.qty_lots != 0 for position in book.positions)
    what = f"{left} of {book.trades} trades never closed, the oldest held {oldest_days} days: {_name(book.denials)}"
    return _end(book, left == 0 and forced > 0, what)


def run_win_streak(limits: Limits) -> Run:
    """A month of trades at 2 % of equity a stop ends in six wins; the next two are asked for at 3x, and both lose."""
    outcomes_r = [1.2, -1.0, 1.2, -1.0, -1.0, 1.2, 1.2, -1.0, 1.2, -1.0, -1.0, 1.2, -1.0, 1.2, -1.0, 1.2, -1.0, 1.2]
    outcomes_r += [-1.0, -1.0, 1.2, -1.0, -1.0, -1.0] + [1.2] * 6
    book = _Book(limits)
    for trade, outcome_r in enumerate(outcomes_r):
        ts_now_ns = TS_NS + trade * NS_PER_DAY
        if book.enter(ts_now_ns, 1.0 * book.equity_quote, 0.02).qty_lots != 0:
            book.close(ts_now_ns + 3600 * NS_PER_S, ENTRY_PX * (1.0 + 0.02 * outcome_r), was_stop=outcome_r < 0.0)
    month_quote = book.equity_quote - EQUITY_QUOTE
    book.trades_until_held = 0
    given_back_quote, size_frac = 0.0, 0.0
    for trade in range(2):
        ts_now_ns = TS_NS + (30 + trade) * NS_PER_DAY
        asked_quote = 3.0 * book.equity_quote
        approval = book.enter(ts_now_ns, asked_quote, 0.02)
        size_frac = max(size_frac, abs(approval.qty_lots) * LOT_BASE * ENTRY_PX / asked_quote)
        if size_frac < 0.99:
            book.held_at()
        given_back_quote -= book.close(ts_now_ns + 3600 * NS_PER_S, ENTRY_PX * 0.98, was_stop=True)
    is_held = given_back_quote < 0.5 * max(month_quote, 0.0)
    what = f"month {month_quote:+.2f}, given back {given_back_quote:.2f}; {size_frac:.0%} of the size asked for"
    return Run(is_held, book.trades, book.trades_until_held if is_held else 0, round(given_back_quote, 6), what)


@dataclass(frozen=True)
class Scar:
    """One scar: its name, the rule in `Limits` that guards against it, and its stream."""

    name: str
    guard: str
    run: Callable[[Limits], Run]


SCARS = (
    Scar("613 trades at a 2.4 % win rate", "breaker", run_dead_strategy),
    Scar("94 % wins of 0.013, losses of 0.371", "reward_to_risk", run_small_wins),
    Scar("1,679 re-entries within a minute of a stop", "cooldown", run_reentries),
    Scar("63 duplicate orders in one second", "deduplication", run_duplicates),
    Scar("a position drifts from -3 % to -50 %", "stops", run_drift),
    Scar("78 % of trades never closed", "exit_tracking", run_never_closed),
    Scar("3x the size after a win streak", "kelly", run_win_streak),
)


@dataclass(frozen=True)
class ScarResult:
    """A scar's three runs: no rule, its guard alone, the default limits."""

    scar: Scar
    unguarded: Run
    guarded: Run
    default: Run

    @property
    def is_held(self) -> bool:
        """The unguarded run shows the scar; its guard alone holds it, and so do the default limits."""
        is_shown = not self.unguarded.is_held and self.unguarded.loss_quote > 0.0
        is_cheaper = self.guarded.loss_quote < self.unguarded.loss_quote
        return is_shown and is_cheaper and self.guarded.is_held and self.default.is_held

    def to_json(self) -> dict[str, str | bool | int | float]:
        """Return the six fields that `trireme scars --json` prints."""
        return {
            "scar": self.scar.name,
            "guard": self.scar.guard,
            "held": self.is_held,
            "trades_until_held": self.guarded.trades_until_held,
            "loss_unguarded_quote": self.unguarded.loss_quote,
            "loss_guarded_quote": self.guarded.loss_quote,
        }


def run_scars() -> list[ScarResult]:
    """Run every scar thrice and return the results in order; the same in every run."""
    return [
        ScarResult(
            scar,
            unguarded=scar.run(LIMITS_BARE),
            guarded=scar.run(switch(LIMITS_BARE, True, scar.guard)),
            default=scar.run(LIMITS_DEFAULT),
        )
        for scar in SCARS
    ]
