"""What Binance's REST market-data endpoints answer: frozen records, decoded and encoded by msgspec.

Numbers stay the venue's text. Unknown fields are skipped, unknown words kept. Order of rows: oldest first.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from venues.binance.messages import BookSnapshotText
from venues.binance.numbers import DecimalText


class Empty(msgspec.Struct, frozen=True):
    """The reply of /ping."""


class ServerTime(msgspec.Struct, frozen=True, rename={"ts_server_ms": "serverTime"}):
    """The venue's clock."""

    ts_server_ms: int


class KlineRow(msgspec.Struct, frozen=True, array_like=True):
    """One bar: a row of twelve. The last row of a reply may still be forming (`ts_close_ms` in the future)."""

    ts_open_ms: int
    open_px: DecimalText
    high_px: DecimalText
    low_px: DecimalText
    close_px: DecimalText
    volume_base: DecimalText
    ts_close_ms: int
    volume_quote: DecimalText
    trades: int
    taker_buy_base: DecimalText
    taker_buy_quote: DecimalText
    ignored: DecimalText = "0"


class AggTradeRow(msgspec.Struct, frozen=True, rename={
    "trade_id": "a", "px": "p", "qty": "q", "qty_normal": "nq", "first_id": "f", "last_id": "l", "ts_trade_ms": "T",
    "is_buyer_maker": "m", "is_best_match": "M",
}):  # fmt: skip
    """Trades of one taker order at one px."""

    trade_id: int
    px: DecimalText
    qty: DecimalText
    first_id: int
    last_id: int
    ts_trade_ms: int
    is_buyer_maker: bool
    is_best_match: bool | UnsetType = UNSET
    qty_normal: DecimalText | UnsetType = UNSET


class TradeRow(msgspec.Struct, frozen=True, rename={
    "trade_id": "id", "px": "price", "notional_quote": "quoteQty", "ts_trade_ms": "time",
    "is_buyer_maker": "isBuyerMaker", "is_best_match": "isBestMatch",
}):  # fmt: skip
    """One match."""

    trade_id: int
    px: DecimalText
    qty: DecimalText
    notional_quote: DecimalText
    ts_trade_ms: int
    is_buyer_maker: bool
    is_best_match: bool | UnsetType = UNSET


class PremiumIndex(msgspec.Struct, frozen=True, rename={
    "mark_px": "markPrice", "index_px": "indexPrice", "settle_px": "estimatedSettlePrice",
    "funding_rate": "lastFundingRate", "interest_rate": "interestRate", "ts_funding_next_ms": "nextFundingTime",
    "ts_event_ms": "time",
}):  # fmt: skip
    """Mark, index and funding of one symbol; a delivery contract's rates are ""."""

    symbol: str
    mark_px: DecimalText
    index_px: DecimalText
    settle_px: DecimalText
    funding_rate: DecimalText
    interest_rate: DecimalText
    ts_funding_next_ms: int
    ts_event_ms: int


class FundingRateRow(msgspec.Struct, frozen=True, rename={
    "ts_funding_ms": "fundingTime", "funding_rate": "fundingRate", "mark_px": "markPrice", "rate_type": "rateType",
}):  # fmt: skip
    """One settled rate; `ts_funding_ms` jitters by milliseconds, `mark_px` is "" in old rows."""

    symbol: str
    ts_funding_ms: int
    funding_rate: DecimalText
    mark_px: DecimalText | UnsetType = UNSET
    rate_type: str | UnsetType = UNSET


class FundingInfoRow(msgspec.Struct, frozen=True, rename={
    "rate_cap": "adjustedFundingRateCap", "rate_floor": "adjustedFundingRateFloor",
    "funding_interval_h": "fundingIntervalHours",
}):  # fmt: skip
    """The interval of a symbol whose funding was adjusted; a symbol not listed has 8 hours."""

    symbol: str
    rate_cap: DecimalText
    rate_floor: DecimalText
    funding_interval_h: int
    disclaimer: bool = False


class OpenInterest(msgspec.Struct, frozen=True, rename={
    "open_interest": "openInterest", "ts_event_ms": "time",
}):  # fmt: skip
    """Contracts outstanding now [base]."""

    open_interest: DecimalText
    symbol: str
    ts_event_ms: int


class OpenInterestRow(msgspec.Struct, frozen=True, rename={
    "open_interest": "sumOpenInterest", "open_interest_quote": "sumOpenInterestValue", "ts_event_ms": "timestamp",
    "supply": "CMCCirculatingSupply",
}):  # fmt: skip
    """Contracts outstanding at one time of the past 30 days [base, quote]."""

    symbol: str
    open_interest: DecimalText
    open_interest_quote: DecimalText
    ts_event_ms: int
    supply: DecimalText | UnsetType = UNSET


class RateLimit(msgspec.Struct, frozen=True, rename={
    "kind": "rateLimitType", "interval_count": "intervalNum",
}):  # fmt: skip
    """One limit of exchangeInfo: kind REQUEST_WEIGHT, ORDERS or RAW_REQUESTS."""

    kind: str
    interval: str
    interval_count: int
    limit: int


class SymbolFilter(msgspec.Struct, frozen=True, omit_defaults=True, rename={
    "kind": "filterType", "tick": "tickSize", "px_min": "minPrice", "px_max": "maxPrice", "step": "stepSize",
    "qty_min": "minQty", "qty_max": "maxQty", "notional": "notional", "notional_min": "minNotional",
    "notional_max": "maxNotional", "applies_min_to_market": "applyMinToMarket",
    "applies_max_to_market": "applyMaxToMarket", "average_minutes": "avgPriceMins",
    "multiplier_up": "multiplierUp", "multiplier_down": "multiplierDown", "multiplier_decimal": "multiplierDecimal",
}):  # fmt: skip
    """One rule of a symbol. Filters this code does not know keep their `kind` and the fields that are named here."""

    kind: str
    tick: DecimalText | UnsetType = UNSET
    px_min: DecimalText | UnsetType = UNSET
    px_max: DecimalText | UnsetType = UNSET
    step: DecimalText | UnsetType = UNSET
    qty_min: DecimalText | UnsetType = UNSET
    qty_max: DecimalText | UnsetType = UNSET
    notional: DecimalText | UnsetType = UNSET  # futures MIN_NOTIONAL
    notional_min: DecimalText | UnsetType = UNSET  # spot NOTIONAL
    notional_max: DecimalText | UnsetType = UNSET
    applies_min_to_market: bool | UnsetType = UNSET
    applies_max_to_market: bool | UnsetType = UNSET
    average_minutes: int | UnsetType = UNSET
    multiplier_up: DecimalText | UnsetType = UNSET
    multiplier_down: DecimalText | UnsetType = UNSET
    multiplier_decimal: DecimalText | int | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class SymbolInfo(msgspec.Struct, frozen=True, rename={
    "contract_type": "contractType", "ts_delivery_ms": "deliveryDate", "ts_onboard_ms": "onboardDate",
    "base": "baseAsset", "quote": "quoteAsset", "margin": "marginAsset", "px_decimals": "pricePrecision",
    "qty_decimals": "quantityPrecision", "base_decimals": "baseAssetPrecision", "quote_decimals": "quotePrecision",
    "quote_asset_decimals": "quoteAssetPrecision", "underlying_type": "underlyingType",
    "order_types": "orderTypes", "time_in_force": "timeInForce", "liquidation_fee": "liquidationFee",
    "market_take_bound": "marketTakeBound", "trigger_protect": "triggerProtect",
    "maintenance_margin_percent": "maintMarginPercent", "required_margin_percent": "requiredMarginPercent",
    "is_spot_trading": "isSpotTradingAllowed", "is_margin_trading": "isMarginTradingAllowed",
    "underlying_sub_types": "underlyingSubType", "settle_plan": "settlePlan", "move_orders_max": "maxMoveOrderLimit",
    "base_fee_decimals": "baseCommissionPrecision", "quote_fee_decimals": "quoteCommissionPrecision",
    "has_iceberg": "icebergAllowed", "has_oco": "ocoAllowed", "has_oto": "otoAllowed",
    "has_quote_qty": "quoteOrderQtyMarketAllowed", "has_trailing_stop": "allowTrailingStop",
    "has_cancel_replace": "cancelReplaceAllowed", "has_amend": "amendAllowed", "permission_sets": "permissionSets",
    "self_trade_default": "defaultSelfTradePreventionMode", "self_trade_modes": "allowedSelfTradePreventionModes",
}):  # fmt: skip
    """One symbol of exchangeInfo. Tick and lot are in the filters; `px_decimals` is not the tick."""

    symbol: str
    status: str  # TRADING, PENDING_TRADING, SETTLING, BREAK, ...
    base: str
    quote: str
    filters: tuple[SymbolFilter, ...]
    pair: str | UnsetType = UNSET
    contract_type: str | UnsetType = UNSET  # PERPETUAL, CURRENT_QUARTER, TRADIFI_PERPETUAL, ...
    ts_delivery_ms: int | UnsetType = UNSET
    ts_onboard_ms: int | UnsetType = UNSET
    margin: str | UnsetType = UNSET
    px_decimals: int | UnsetType = UNSET
    qty_decimals: int | UnsetType = UNSET
    base_decimals: int | UnsetType = UNSET
    quote_decimals: int | UnsetType = UNSET
    quote_asset_decimals: int | UnsetType = UNSET
    underlying_type: str | UnsetType = UNSET
    order_types: tuple[str, ...] | UnsetType = UNSET
    time_in_force: tuple[str, ...] | UnsetType = UNSET
    liquidation_fee: DecimalText | UnsetType = UNSET
    market_take_bound: DecimalText | UnsetType = UNSET
    trigger_protect: DecimalText | UnsetType = UNSET
    maintenance_margin_percent: DecimalText | UnsetType = UNSET
    required_margin_percent: DecimalText | UnsetType = UNSET
    is_spot_trading: bool | UnsetType = UNSET
    is_margin_trading: bool | UnsetType = UNSET
    permissions: tuple[str, ...] | UnsetType = UNSET
    underlying_sub_types: tuple[str, ...] | UnsetType = UNSET
    settle_plan: int | UnsetType = UNSET
    move_orders_max: int | UnsetType = UNSET
    base_fee_decimals: int | UnsetType = UNSET
    quote_fee_decimals: int | UnsetType = UNSET
    has_iceberg: bool | UnsetType = UNSET
    has_oco: bool | UnsetType = UNSET
    has_oto: bool | UnsetType = UNSET
    has_quote_qty: bool | UnsetType = UNSET
    has_trailing_stop: bool | UnsetType = UNSET
    has_cancel_replace: bool | UnsetType = UNSET
    has_amend: bool | UnsetType = UNSET
    permission_sets: tuple[tuple[str, ...], ...] | UnsetType = UNSET
    self_trade_default: str | UnsetType = UNSET
    self_trade_modes: tuple[str, ...] | UnsetType = UNSET

    def find_filter(self, kind: str) -> SymbolFilter | None:
        """Return the filter of that kind, such as "LOT_SIZE"; None if the symbol has none."""
        return next((rule for rule in self.filters if rule.kind == kind), None)


class ExchangeInfo(msgspec.Struct, frozen=True, rename={
    "ts_server_ms": "serverTime", "rate_limits": "rateLimits", "exchange_filters": "exchangeFilters",
    "futures_type": "futuresType",
}):  # fmt: skip
    """Every symbol and limit of a market."""

    timezone: str
    ts_server_ms: int
    rate_limits: tuple[RateLimit, ...]
    symbols: tuple[SymbolInfo, ...]
    exchange_filters: tuple[Any, ...] = ()
    assets: tuple[Any, ...] | UnsetType = UNSET
    futures_type: str | UnsetType = UNSET


Reply = (
    Empty | ServerTime | BookSnapshotText | tuple[KlineRow, ...] | tuple[AggTradeRow, ...] | tuple[TradeRow, ...]
    | PremiumIndex | tuple[PremiumIndex, ...] | tuple[FundingRateRow, ...] | tuple[FundingInfoRow, ...] | OpenInterest
    | tuple[OpenInterestRow, ...] | ExchangeInfo
)  # fmt: skip
