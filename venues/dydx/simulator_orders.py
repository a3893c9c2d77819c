"""The simulated chain's orders and the Indexer's rows of them: what an order is doing here, as REST and socket show it.

Pure: records and functions of records. `simulator_chain` moves them, `simulator_indexer` shows them.
Does not cover: optimistic fills apart from committed ones (a fill counts in `totalFilled` at once), TWAP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from msgspec import UNSET

from market.events import Fill, FillKind, FundingPaid, OrderRequest, OrderType
from market.events import TimeInForce as RequestTimeInForce
from market.instruments import Instrument
from venues.dydx.indexer import show_time
from venues.dydx.indexer_records import (
    AssetPositionRow,
    FillRow,
    FundingPaymentRow,
    OrderRow,
    PositionRow,
    SubaccountRow,
)
from venues.dydx.order_terms import (
    CONDITIONAL,
    ConditionType,
    Order,
    Side,
    SubaccountId,
    TimeInForce,
    order_uuid,
    subaccount_uuid,
)
from venues.dydx.units import (
    LISTED_UNITS,
    ClobUnits,
    make_units,
    quantums_to_lots,
    quantums_to_size,
    subticks_to_float_px,
    subticks_to_px,
)
from venues.exchange import Exchange

SIDES = {1: "BUY", -1: "SELL", Side.BUY: "BUY", Side.SELL: "SELL"}
_TYPES = {ConditionType.STOP_LOSS: "STOP_LIMIT", ConditionType.TAKE_PROFIT: "TAKE_PROFIT"}
_UNLISTED_CLOB_PAIR = 1000  # the first id given to instruments that the venue does not list


@dataclass(frozen=True, slots=True)
class Contract:
    """One market: the exchange's instrument and the chain's units of it."""

    instrument: Instrument
    units: ClobUnits

    @property
    def lot(self) -> Decimal:
        """The size of a lot [base]."""
        return Decimal(repr(self.instrument.lot_base))

    def to_size(self, qty_lots: int) -> Decimal:
        """Return the size [base] of lots, with no zeros at its end."""
        return (qty_lots * self.lot).normalize()


def to_px(px: float) -> Decimal:
    """Return a price with no zeros at its end: the digits that name the float."""
    return Decimal(repr(float(px)).removesuffix(".0"))


def make_contracts(instruments: Sequence[Instrument]) -> list[Contract]:
    """Return the markets of instruments; those the venue lists get the venue's ids."""
    contracts = []
    for index, instrument in enumerate(instruments):
        units = LISTED_UNITS.get(instrument.instrument_id)
        contracts.append(Contract(instrument, units or make_units(instrument, _UNLISTED_CLOB_PAIR + index, -10)))
    return contracts


@dataclass(slots=True, eq=False)
class LiveOrder:
    """An order the chain took, in whatever state; `market_id` is its id at the exchange, "" while it is not there."""

    order: Order
    contract: Contract
    account_id: str
    status: str
    ts_updated_ns: int
    height_updated: int
    height_created: int
    ts_created_ns: int
    market_id: str = ""
    filled_quantums: int = 0
    removal_reason: str = ""
    tx_hash: str = ""
    base_quantums: int = 0  # filled before it came to the exchange
    end_quantums: int | None = None  # filled so far it is whole: a reduce-only order that shrank with its position

    @property
    def uuid(self) -> str:
        """The Indexer's id."""
        return order_uuid(self.order.order_id)

    @property
    def remaining_quantums(self) -> int:
        """What may still fill."""
        return self.order.quantums - self.filled_quantums


def account_id_of(subaccount: SubaccountId) -> str:
    """Return the exchange's account id of a subaccount."""
    return f"{subaccount.owner}/{subaccount.number}"


def make_request(live: LiveOrder, market_id: str) -> OrderRequest:
    """Return what is left of an order as the exchange takes it. Every order of the chain has a limit.

    Raises: ValueError if its price has more digits than a float64 holds.
    """
    order, contract = live.order, live.contract
    times = {
        TimeInForce.IOC: RequestTimeInForce.IOC,
        TimeInForce.POST_ONLY: RequestTimeInForce.POST_ONLY,
    }
    return OrderRequest(
        market_id,
        contract.instrument.instrument_id,
        1 if order.side == Side.BUY else -1,
        quantums_to_lots(contract.units, contract.instrument, live.remaining_quantums),
        OrderType.LIMIT,
        limit_px=subticks_to_float_px(contract.units, order.subticks),
        time_in_force=times.get(TimeInForce(order.time_in_force), RequestTimeInForce.GTC),
        is_reduce_only=order.is_reduce_only,
    )


def is_triggered_by(order: Order, contract: Contract, oracle_px: float) -> bool:
    """Return whether the oracle price sets a conditional order off: a sell stop and a buy profit from above."""
    trigger = float(subticks_to_px(contract.units, order.trigger_subticks))
    is_from_above = (order.condition_type == ConditionType.STOP_LOSS) == (order.side == Side.SELL)
    return oracle_px <= trigger if is_from_above else oracle_px >= trigger


def show_order(live: LiveOrder) -> OrderRow:
    """Return the whole row of an order."""
    order, units = live.order, live.contract.units
    order_id = order.order_id
    is_conditional = order_id.order_flags == CONDITIONAL
    filled = quantums_to_size(units, live.filled_quantums)
    return OrderRow(
        id=live.uuid,
        subaccount_id=subaccount_uuid(order_id.subaccount),
        client_id=str(order_id.client_id),
        clob_pair_id=str(units.clob_pair_id),
        side=SIDES[order.side],
        size=quantums_to_size(units, order.quantums),
        total_filled=filled,
        total_optimistic_filled=filled,
        price=subticks_to_px(units, order.subticks),
        type=_TYPES.get(ConditionType(order.condition_type), "LIMIT"),
        status=live.status,
        time_in_force="IOC" if order.is_immediate else "GTT",
        post_only=order.time_in_force == TimeInForce.POST_ONLY,
        reduce_only=order.is_reduce_only,
        order_flags=str(order_id.order_flags),
        good_til_block=str(order.good_til_block) if order_id.is_short_term else UNSET,
        good_til_block_time=UNSET if order_id.is_short_term else show_time(order.good_til_block_time_s * 10**9),
        created_at_height=UNSET if order_id.is_short_term else str(live.height_created),
        client_metadata=str(order.client_metadata),
        trigger_price=subticks_to_px(units, order.trigger_subticks) if is_conditional else UNSET,
        removal_reason=live.removal_reason or UNSET,
        updated_at=show_time(live.ts_updated_ns),
        updated_at_height=str(live.height_updated),
        ticker=units.ticker,
        subaccount_number=order_id.subaccount.number,
    )


def show_fill(fill: Fill, live: LiveOrder | None, contract: Contract, account_id: str, height: int) -> FillRow:
    """Return the row of a fill; no order: the chain liquidated."""
    address, _, number = account_id.partition("/")
    size = fill.fill_qty_lots * contract.lot
    px = Decimal(repr(fill.fill_px))
    subaccount_id = subaccount_uuid(SubaccountId(address, int(number)))
    row_id = f"{subaccount_id[:8]}-0000-5000-8000-{int(fill.trade_id):012x}"
    return FillRow(
        id=row_id,
        side=SIDES[fill.side],
        liquidity="MAKER" if fill.is_maker else "TAKER",
        type="LIQUIDATED" if fill.kind == FillKind.LIQUIDATION else "LIMIT",
        price=px,
        size=size,
        created_at=show_time(fill.ts_event_ns),
        created_at_height=str(height),
        fee=Decimal(repr(fill.fee_quote)),
        affiliate_rev_share=Decimal(0),
        subaccount_id=subaccount_id,
        clob_pair_id=str(contract.units.clob_pair_id),
        order_id=live.uuid if live else UNSET,
        market=contract.units.ticker,
        market_type="PERPETUAL",
        ticker=contract.units.ticker,
        quote_amount=size * px,
        event_id=f"{int(fill.trade_id):024x}",
        transaction_hash=(live.tx_hash if live else "") or f"{int(fill.trade_id):064X}",
        client_metadata=str(live.order.client_metadata) if live else UNSET,
        subaccount_number=int(number),
    )


def show_funding_payment(paid: FundingPaid, contract: Contract, account_id: str, height: int) -> FundingPaymentRow:
    """Return the row of funding settled on a position."""
    return FundingPaymentRow(
        created_at=show_time(paid.ts_event_ns),
        created_at_height=str(height),
        perpetual_id=str(contract.units.clob_pair_id),
        ticker=contract.units.ticker,
        oracle_price=Decimal(repr(paid.index_px)),
        size=paid.qty_lots * contract.lot,
        side="LONG" if paid.qty_lots > 0 else "SHORT",
        rate=Decimal(repr(paid.funding_rate)),
        payment=Decimal(repr(paid.amount_quote)),
        subaccount_number=account_id.partition("/")[2],
    )


@dataclass(frozen=True, slots=True)
class Holding:
    """What a subaccount holds: USDC, and its open positions by ticker (signed size, entry price, when)."""

    usdc: Decimal
    positions: tuple[tuple[Contract, Decimal, Decimal, int], ...]


def compute_holding(exchange: Exchange, account_id: str, contracts: list[Contract]) -> Holding:
    """Return what an account holds, the venue's way: USDC is what is left after paying for the positions."""
    usdc = Decimal(repr(exchange.account_state(account_id).cash_quote))
    positions = []
    for contract in contracts:
        held = exchange.position(account_id, contract.instrument.instrument_id)
        if held.qty_lots:
            size, entry_px = held.qty_lots * contract.lot, Decimal(repr(held.avg_px))
            usdc -= size * entry_px
            positions.append((contract, size, entry_px, held.ts_entry_ns))
    return Holding(usdc, tuple(positions))


def show_position(
    contract: Contract, size: Decimal, entry_px: Decimal, ts_ns: int, oracle_px: Decimal, number: int
) -> PositionRow:
    """Return the row of an open position."""
    return PositionRow(
        market=contract.units.ticker,
        status="OPEN",
        side="LONG" if size > 0 else "SHORT",
        size=size,
        max_size=size,
        entry_price=entry_px,
        exit_price=None,
        realized_pnl=Decimal(0),
        unrealized_pnl=size * (oracle_px - entry_px),
        net_funding=Decimal(0),
        sum_open=abs(size),
        sum_close=Decimal(0),
        created_at=show_time(ts_ns),
        created_at_height="0",
        closed_at=None,
        subaccount_number=number,
    )


def show_subaccount(
    address: str, number: int, holding: Holding, oracle_pxs: dict[str, float], height: int
) -> SubaccountRow:
    """Return the row of a subaccount at the oracle prices of the moment."""
    equity = holding.usdc
    margin = Decimal(0)
    positions: dict[str, PositionRow] = {}
    for contract, size, entry_px, ts_ns in holding.positions:
        oracle_px = Decimal(repr(oracle_pxs[contract.instrument.instrument_id]))
        equity += size * oracle_px
        margin += abs(size) * oracle_px / Decimal(repr(contract.instrument.leverage_max))
        positions[contract.units.ticker] = show_position(contract, size, entry_px, ts_ns, oracle_px, number)
    return SubaccountRow(
        address=address,
        subaccount_number=number,
        equity=equity,
        free_collateral=equity - margin,
        open_perpetual_positions=positions,
        asset_positions={"USDC": show_usdc(holding, number)},
        margin_enabled=True,
        updated_at_height=str(height),
        latest_processed_block_height=str(height),
    )


def show_usdc(holding: Holding, number: int) -> AssetPositionRow:
    """Return the row of a subaccount's USDC."""
    side = "LONG" if holding.usdc >= 0 else "SHORT"
    return AssetPositionRow("USDC", side, abs(holding.usdc), "0", subaccount_number=number)
