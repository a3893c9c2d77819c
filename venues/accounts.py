"""One account at the exchange: cash, positions, leverage, its orders and fills, and what its margin comes to.

Cross margin in one quote currency. Sums run over instruments in the exchange's order, from cash on, exactly as the
replay adds them.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from market.events import Fill
from market.fills import Costs, apply_fill, compute_fee_quote, compute_unrealized_quote
from market.instruments import Instrument
from market.records import POSITION_FLAT, Position
from venues.orders import Order


@dataclass(frozen=True, slots=True)
class AccountState:
    """What an account is worth, at the marks of the moment [quote]."""

    cash_quote: float
    equity_quote: float  # cash plus open profit
    margin_initial_quote: float  # of positions, at the account's leverage
    margin_maintenance_quote: float  # below this equity the account is liquidated
    fees_quote: float  # > 0 paid, since it was opened
    funding_quote: float  # > 0 received, since it was opened


@dataclass(slots=True, eq=False)
class Account:
    """The exchange's books of one account; mutated by the exchange only."""

    account_id: str
    costs: Costs
    deposits_quote: float
    instruments: Mapping[str, Instrument]
    is_house: bool = False  # takes the other side; knows no margin
    history_max: int | None = None  # ended orders, and fills, to remember; None: all
    cash_quote: float = field(init=False)
    fees_quote: float = 0.0
    funding_quote: float = 0.0
    positions: dict[str, Position] = field(default_factory=dict)
    leverages: dict[str, float] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)  # every order remembered, by client order id, oldest first
    open_orders: dict[int, Order] = field(default_factory=dict)  # by sequence, in order of arrival
    reduce_only_orders: dict[int, Order] = field(default_factory=dict)  # those of the open ones
    fills: list[Fill] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cash_quote = self.deposits_quote

    def position(self, instrument_id: str) -> Position:
        """Return the position in an instrument, flat if it never had one."""
        return self.positions.get(instrument_id, POSITION_FLAT)

    def leverage(self, instrument: Instrument) -> float:
        """Return the leverage in force: as set, else the instrument's cap."""
        return self.leverages.get(instrument.instrument_id, instrument.leverage_max)

    def book_fill(
        self, instrument: Instrument, qty_lots: int, fill_px: float, is_maker: bool, ts_event_ns: int
    ) -> float:
        """Book one signed execution and return its fee [quote]. Profit first, then the fee, as the replay does."""
        instrument_id, lot_base = instrument.instrument_id, instrument.lot_base
        fee_bps = self.costs.fee_maker_bps if is_maker else self.costs.fee_taker_bps
        fee_quote: float = compute_fee_quote(qty_lots, lot_base, fill_px, fee_bps)
        position, pnl_quote = apply_fill(self.position(instrument_id), qty_lots, fill_px, lot_base, ts_event_ns)
        self.positions[instrument_id] = position
        self.cash_quote = self.cash_quote + pnl_quote
        self.cash_quote = self.cash_quote - fee_quote
        self.fees_quote += fee_quote
        return fee_quote

    def book_funding(self, amount_quote: float) -> None:
        """Book funding received (> 0) or paid (< 0)."""
        self.cash_quote = self.cash_quote + amount_quote
        self.funding_quote += amount_quote

    def forget_old(self) -> None:
        """Drop the oldest ended orders and fills beyond `history_max`, in lots: seldom, and many at a time."""
        if self.history_max is None:
            return
        surplus = len(self.orders) - len(self.open_orders) - self.history_max
        if surplus > self.history_max // 4:
            ended = (order_id for order_id, order in self.orders.items() if not order.status.is_open)
            for order_id in [*islice(ended, surplus)]:
                del self.orders[order_id]
        surplus = len(self.fills) - self.history_max
        if surplus > self.history_max // 4:
            del self.fills[:surplus]

    def fills_since(self, ts_ns: int) -> list[Fill]:
        """Return the fills at or after `ts_ns`, oldest first."""
        return self.fills[bisect_left(self.fills, ts_ns, key=lambda fill: fill.ts_event_ns) :]

    def compute_equity_quote(self, marks_px: Mapping[str, float]) -> float:
        """Return cash plus the open profit at `marks_px`, added in instrument order."""
        equity_quote = self.cash_quote
        for instrument_id, instrument in self.instruments.items():
            position = self.position(instrument_id)
            if position.qty_lots != 0:
                equity_quote += compute_unrealized_quote(
                    position.qty_lots, position.avg_px, instrument.lot_base, marks_px[instrument_id]
                )
        return equity_quote

    def compute_maintenance_quote(self, marks_px: Mapping[str, float]) -> float:
        """Return the equity below which the account is liquidated."""
        maintenance_quote = 0.0
        for instrument_id, instrument in self.instruments.items():
            qty_lots = self.position(instrument_id).qty_lots
            if qty_lots != 0:
                notional_quote = abs(qty_lots) * instrument.lot_base * marks_px[instrument_id]
                maintenance_quote += notional_quote * instrument.maintenance_margin_frac
        return maintenance_quote

    def compute_initial_quote(self, marks_px: Mapping[str, float], exposures_lots: Mapping[str, int]) -> float:
        """Return the initial margin of exposures (lots, unsigned, by instrument) at the account's leverage."""
        initial_quote = 0.0
        for instrument_id, instrument in self.instruments.items():
            exposure_lots = exposures_lots.get(instrument_id, 0)
            if exposure_lots != 0:
                notional_quote = exposure_lots * instrument.lot_base * marks_px[instrument_id]
                initial_quote += notional_quote / self.leverage(instrument)
        return initial_quote

    def state(self, marks_px: Mapping[str, float]) -> AccountState:
        """Return what the account is worth at `marks_px`."""
        held = {instrument_id: abs(position.qty_lots) for instrument_id, position in self.positions.items()}
        return AccountState(
            cash_quote=self.cash_quote,
            equity_quote=self.compute_equity_quote(marks_px),
            margin_initial_quote=self.compute_initial_quote(marks_px, held),
            margin_maintenance_quote=self.compute_maintenance_quote(marks_px),
            fees_quote=self.fees_quote,
            funding_quote=self.funding_quote,
        )
