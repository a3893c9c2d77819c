"""What the Indexer tells, row by row, for REST and WebSocket alike. Names are theirs in snake case, numbers Decimal.

Enum fields (status, side, type, ...) stay strings: a value nobody knew yet is kept, never a crash (`lifecycle` reads
the ones we know). Fields nobody knew are skipped. A field that only some replies carry is UNSET there and left out when
written. Source: PROTOCOLS.md 2.7-2.8; v4-chain indexer comlink types.ts, postgres websocket-message-types.ts.
"""

from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType

MaybeDecimal = Decimal | UnsetType | None
MaybeText = str | UnsetType | None
MaybeInt = int | UnsetType | None
MaybeBool = bool | UnsetType | None


class Row(msgspec.Struct, frozen=True, rename="camel"):
    """Base of every object of the Indexer."""


class PerpetualMarket(Row, frozen=True):
    """One market of `/v4/perpetualMarkets`. `next_funding_rate` is a 1-hour rate."""

    clob_pair_id: str
    ticker: str
    atomic_resolution: int
    quantum_conversion_exponent: int
    tick_size: Decimal
    step_size: Decimal
    step_base_quantums: int
    subticks_per_tick: int
    status: str = "ACTIVE"
    oracle_price: Decimal | None = None
    price_change_24h: Decimal | None = msgspec.field(default=None, name="priceChange24H")
    volume_24h: Decimal = msgspec.field(default=Decimal(0), name="volume24H")
    trades_24h: int = msgspec.field(default=0, name="trades24H")
    next_funding_rate: Decimal = Decimal(0)
    initial_margin_fraction: Decimal = Decimal(0)
    maintenance_margin_fraction: Decimal = Decimal(0)
    open_interest: Decimal = Decimal(0)
    market_type: str = "CROSS"
    open_interest_lower_cap: MaybeDecimal = UNSET
    open_interest_upper_cap: MaybeDecimal = UNSET
    base_open_interest: MaybeDecimal = UNSET
    default_funding_rate_1h: MaybeDecimal = msgspec.field(default=UNSET, name="defaultFundingRate1H")


class MarketUpdate(Row, frozen=True):
    """The part of a market that changed (`trading` of v4_markets)."""

    id: MaybeText = UNSET
    clob_pair_id: MaybeText = UNSET
    ticker: MaybeText = UNSET
    market_id: MaybeInt = UNSET
    status: MaybeText = UNSET
    initial_margin_fraction: MaybeDecimal = UNSET
    maintenance_margin_fraction: MaybeDecimal = UNSET
    open_interest: MaybeDecimal = UNSET
    base_open_interest: MaybeDecimal = UNSET
    quantum_conversion_exponent: MaybeInt = UNSET
    atomic_resolution: MaybeInt = UNSET
    subticks_per_tick: MaybeInt = UNSET
    step_base_quantums: MaybeInt = UNSET
    price_change_24h: MaybeDecimal = msgspec.field(default=UNSET, name="priceChange24H")
    volume_24h: MaybeDecimal = msgspec.field(default=UNSET, name="volume24H")
    trades_24h: MaybeInt = msgspec.field(default=UNSET, name="trades24H")
    next_funding_rate: MaybeDecimal = UNSET


class OraclePrice(Row, frozen=True):
    """One market's oracle price (`oraclePrices` of v4_markets)."""

    oracle_price: Decimal
    effective_at: str
    effective_at_height: str
    market_id: int


class BookLevel(Row, frozen=True):
    """One level of a book snapshot."""

    price: Decimal
    size: Decimal


class BookSnapshot(Row, frozen=True):
    """A whole book; best first. It may be crossed: the Indexer knows one node's opinion."""

    bids: tuple[BookLevel, ...] = ()
    asks: tuple[BookLevel, ...] = ()


class BookUpdate(Row, frozen=True, omit_defaults=True):
    """Levels that changed: (price, absolute size), size 0 deletes."""

    bids: tuple[tuple[Decimal, Decimal], ...] = ()
    asks: tuple[tuple[Decimal, Decimal], ...] = ()


class TradeRow(Row, frozen=True):
    """A trade of the tape. Updates carry no height."""

    id: str
    side: str
    size: Decimal
    price: Decimal
    created_at: str
    type: str = "LIMIT"
    created_at_height: MaybeText = UNSET


class CandleRow(Row, frozen=True):
    """A candle; `started_at` is ISO time."""

    started_at: str
    ticker: str
    resolution: str
    low: Decimal
    high: Decimal
    open: Decimal
    close: Decimal
    base_token_volume: Decimal
    usd_volume: Decimal
    trades: int
    starting_open_interest: Decimal = Decimal(0)
    orderbook_mid_price_open: MaybeDecimal = UNSET
    orderbook_mid_price_close: MaybeDecimal = UNSET


class FundingRow(Row, frozen=True):
    """A past funding: a 1-hour rate and the oracle price it was paid at."""

    ticker: str
    rate: Decimal
    price: Decimal
    effective_at: str
    effective_at_height: str


class OrderRow(Row, frozen=True):
    """An order, or what changed of it: only `id` is sure, so merge by id (`merge_order`)."""

    id: str
    subaccount_id: MaybeText = UNSET
    client_id: MaybeText = UNSET
    clob_pair_id: MaybeText = UNSET
    side: MaybeText = UNSET
    size: MaybeDecimal = UNSET
    total_filled: MaybeDecimal = UNSET
    total_optimistic_filled: MaybeDecimal = UNSET
    price: MaybeDecimal = UNSET
    type: MaybeText = UNSET
    status: MaybeText = UNSET
    time_in_force: MaybeText = UNSET
    post_only: MaybeBool = UNSET
    reduce_only: MaybeBool = UNSET
    order_flags: MaybeText = UNSET
    good_til_block: MaybeText = UNSET
    good_til_block_time: MaybeText = UNSET
    created_at_height: MaybeText = UNSET
    client_metadata: MaybeText = UNSET
    trigger_price: MaybeDecimal = UNSET
    removal_reason: MaybeText = UNSET
    updated_at: MaybeText = UNSET
    updated_at_height: MaybeText = UNSET
    ticker: MaybeText = UNSET
    subaccount_number: MaybeInt = UNSET


class FillRow(Row, frozen=True):
    """An execution. REST names the market `market`, the WebSocket `ticker`: ask `instrument_ticker`."""

    id: str
    side: str
    liquidity: str
    type: str
    price: Decimal
    size: Decimal
    created_at: str
    created_at_height: str
    fee: MaybeDecimal = UNSET
    affiliate_rev_share: MaybeDecimal = UNSET
    subaccount_id: MaybeText = UNSET
    clob_pair_id: MaybeText = UNSET
    order_id: MaybeText = UNSET
    market: MaybeText = UNSET
    market_type: MaybeText = UNSET
    ticker: MaybeText = UNSET
    quote_amount: MaybeDecimal = UNSET
    event_id: MaybeText = UNSET
    transaction_hash: MaybeText = UNSET
    client_metadata: MaybeText = UNSET
    subaccount_number: MaybeInt = UNSET

    @property
    def instrument_ticker(self) -> str:
        """The market's ticker, "" if the row has neither."""
        return self.ticker or self.market or ""


class PositionRow(Row, frozen=True):
    """A perpetual position; `size` is signed in REST rows as in updates, `side` LONG or SHORT says it again."""

    market: str
    status: str
    side: str
    size: Decimal
    max_size: MaybeDecimal = UNSET
    entry_price: MaybeDecimal = UNSET
    exit_price: MaybeDecimal = UNSET
    realized_pnl: MaybeDecimal = UNSET
    unrealized_pnl: MaybeDecimal = UNSET
    net_funding: MaybeDecimal = UNSET
    sum_open: MaybeDecimal = UNSET
    sum_close: MaybeDecimal = UNSET
    created_at: MaybeText = UNSET
    created_at_height: MaybeText = UNSET
    closed_at: MaybeText = UNSET
    address: MaybeText = UNSET
    position_id: MaybeText = UNSET
    subaccount_number: MaybeInt = UNSET


class AssetPositionRow(Row, frozen=True):
    """How much of an asset (USDC) a subaccount has; `size` without sign, `side` LONG or SHORT."""

    symbol: str
    side: str
    size: Decimal
    asset_id: str
    address: MaybeText = UNSET
    position_id: MaybeText = UNSET
    subaccount_number: MaybeInt = UNSET


class SubaccountRow(Row, frozen=True):
    """A subaccount and what it holds."""

    address: str
    subaccount_number: int
    equity: Decimal
    free_collateral: Decimal
    open_perpetual_positions: dict[str, PositionRow] = {}
    asset_positions: dict[str, AssetPositionRow] = {}
    margin_enabled: bool = True
    updated_at_height: MaybeText = UNSET
    latest_processed_block_height: MaybeText = UNSET


class ParentSubaccountRow(Row, frozen=True):
    """A parent subaccount: the sum of its children."""

    address: str
    parent_subaccount_number: int
    equity: Decimal
    free_collateral: Decimal
    child_subaccounts: tuple[SubaccountRow, ...] = ()


class TransferParty(Row, frozen=True):
    """One end of a transfer; a bare address is a wallet."""

    address: str
    subaccount_number: MaybeInt = UNSET
    parent_subaccount_number: MaybeInt = UNSET


class TransferRow(Row, frozen=True):
    """USDC moved between wallets and subaccounts."""

    sender: TransferParty
    recipient: TransferParty
    size: Decimal
    symbol: str
    type: str
    transaction_hash: str
    id: MaybeText = UNSET
    created_at: MaybeText = UNSET
    created_at_height: MaybeText = UNSET


class FundingPaymentRow(Row, frozen=True):
    """Funding a subaccount paid (< 0) or received (> 0)."""

    created_at: str
    created_at_height: str
    perpetual_id: str
    ticker: str
    oracle_price: Decimal
    size: Decimal
    side: str
    rate: Decimal
    payment: Decimal
    subaccount_number: str
    funding_index: MaybeDecimal = UNSET


class PnlRow(Row, frozen=True):
    """Equity and profit of a subaccount at one time."""

    equity: Decimal
    total_pnl: Decimal
    net_transfers: Decimal
    created_at: str
    block_height: str
    block_time: str
    id: MaybeText = UNSET
    subaccount_id: MaybeText = UNSET


class ErrorRow(Row, frozen=True):
    """One reason why a request was refused."""

    msg: str
    param: MaybeText = UNSET
    location: MaybeText = UNSET


def merge_order(known: OrderRow | None, update: OrderRow) -> OrderRow:
    """Return the order with what an update says of it; removals say little more than id, status and reason.

    Raises: ValueError if they are two orders.
    """
    if known is None:
        return update
    if known.id != update.id:
        raise ValueError(f"order update is for {update.id}, must be for {known.id}")
    changes = {name: value for name in update.__struct_fields__ if (value := getattr(update, name)) is not UNSET}
    return msgspec.structs.replace(known, **changes)
