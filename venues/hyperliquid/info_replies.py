"""What /info answers: one record per shape, to bytes and from bytes.

A client decodes with `decode_info_reply(request, body)`; a simulator builds records and calls `encode_info_reply`.
Decoding is tolerant: unknown fields are ignored, sides, directions and statuses are open sets of strings (read them
with `read_side` and `venues.hyperliquid.lifecycle.parse_status`), a field that old captures lack may be UNSET.

Does not cover: replies of the requests in `info_requests.UNMODELLED` (plain JSON in, plain JSON out), spot contexts.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from market.records import Side
from venues.hyperliquid import info_requests as ask
from venues.hyperliquid import wire
from venues.hyperliquid.wire import Record

MaybeNumber = Decimal | None
MaybeText = str | UnsetType | None
ZERO_HASH = "0x" + "0" * 64  # of what no transaction of ours caused


class PerpInfo(Record, frozen=True):
    """One perpetual; its place in the universe is its asset id."""

    name: str
    sz_decimals: int
    max_leverage: int
    margin_table_id: int | UnsetType = UNSET
    only_isolated: bool | UnsetType = UNSET
    is_delisted: bool | UnsetType = UNSET
    margin_mode: str | UnsetType = UNSET


class MarginTier(Record, frozen=True):
    """From which notional on which leverage."""

    lower_bound: Decimal
    max_leverage: int


class MarginTable(Record, frozen=True):
    """The tiers of some perpetuals."""

    description: str
    margin_tiers: tuple[MarginTier, ...]


class Meta(Record, frozen=True):
    """The perpetuals there are, in the order of their asset ids."""

    universe: tuple[PerpInfo, ...]
    margin_tables: tuple[tuple[int, MarginTable], ...] | UnsetType = UNSET
    collateral_token: int | UnsetType = UNSET


class AssetCtx(Record, frozen=True):
    """What one perpetual is worth now; no mid, premium and impact px without a book."""

    funding: Decimal
    open_interest: Decimal
    prev_day_px: Decimal
    day_ntl_vlm: Decimal
    premium: MaybeNumber
    oracle_px: Decimal
    mark_px: Decimal
    mid_px: MaybeNumber | UnsetType = UNSET
    impact_pxs: tuple[Decimal, ...] | UnsetType | None = UNSET
    day_base_vlm: Decimal | UnsetType = UNSET


class SpotToken(Record, frozen=True):
    """One token."""

    name: str
    sz_decimals: int
    wei_decimals: int
    index: int
    token_id: str
    is_canonical: bool
    evm_contract: Any = None
    full_name: str | None = None


class SpotPair(Record, frozen=True):
    """One spot market; its asset id is 10000 + index."""

    tokens: tuple[int, ...]
    name: str
    index: int
    is_canonical: bool


class SpotMeta(Record, frozen=True):
    """The spot markets there are; the SDK will not start without them."""

    tokens: tuple[SpotToken, ...]
    universe: tuple[SpotPair, ...]


class Level(Record, frozen=True):
    """One px of a book: how much in how many orders."""

    px: Decimal
    sz: Decimal
    n: int


class L2Book(Record, frozen=True):
    """A whole book, bids falling and asks rising, at most 20 levels each; never a change to one before."""

    coin: str
    time: int
    levels: tuple[tuple[Level, ...], tuple[Level, ...]]


class Candle(Record, frozen=True):
    """One candle; `T` is the last millisecond of it."""

    t: int
    T: int
    s: str
    i: str
    o: Decimal
    c: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - the wire's name
    v: Decimal
    n: int


class Trade(Record, frozen=True):
    """One trade of the public tape; `users` are buyer and seller."""

    coin: str
    side: str
    px: Decimal
    sz: Decimal
    time: int
    hash: str
    tid: int | UnsetType = UNSET
    users: tuple[str, ...] | UnsetType = UNSET


class FundingRate(Record, frozen=True):
    """What was paid in one hour."""

    coin: str
    funding_rate: Decimal
    premium: Decimal
    time: int


class FundingDelta(Record, frozen=True):
    """Funding of one position; `usdc` > 0 was received."""

    coin: str
    funding_rate: Decimal
    szi: Decimal
    usdc: Decimal
    type: str = "funding"
    n_samples: int | UnsetType | None = UNSET


class UserFunding(Record, frozen=True):
    """One row of a user's funding."""

    time: int
    hash: str
    delta: FundingDelta


class LedgerUpdate(Record, frozen=True):
    """A deposit, withdrawal or transfer; what `delta` holds depends on its type, an open set."""

    time: int
    hash: str
    delta: dict[str, Any]


class LiquidationOfFill(Record, frozen=True):
    """Whose liquidation a fill was."""

    liquidated_user: str | UnsetType = UNSET
    mark_px: Decimal | UnsetType = UNSET
    method: str | UnsetType = UNSET


class Fill(Record, frozen=True):
    """One execution of a user's; `crossed`: it took. `tid` is the key of deduplication (old captures lack it)."""

    coin: str
    px: Decimal
    sz: Decimal
    side: str
    time: int
    start_position: Decimal
    dir: str
    closed_pnl: Decimal
    hash: str
    oid: int
    crossed: bool
    fee: Decimal
    tid: int | UnsetType = UNSET
    fee_token: str | UnsetType = UNSET
    twap_id: int | UnsetType | None = UNSET
    cloid: MaybeText = UNSET
    builder_fee: Decimal | UnsetType = UNSET
    liquidation: LiquidationOfFill | UnsetType = UNSET


class Leverage(Record, frozen=True):
    """Of one position: "cross", or "isolated" with the money set aside."""

    type: str
    value: int
    raw_usd: Decimal | UnsetType = UNSET


class FundingSums(Record, frozen=True):
    """Funding of one position; > 0 was paid."""

    all_time: Decimal
    since_open: Decimal
    since_change: Decimal


class Position(Record, frozen=True):
    """One position; `szi` is signed."""

    coin: str
    szi: Decimal
    leverage: Leverage
    entry_px: MaybeNumber
    position_value: Decimal
    unrealized_pnl: Decimal
    return_on_equity: Decimal
    liquidation_px: MaybeNumber
    margin_used: Decimal
    max_leverage: int | UnsetType = UNSET
    cum_funding: FundingSums | UnsetType = UNSET
    max_trade_szs: tuple[Decimal, ...] | UnsetType = UNSET


class AssetPosition(Record, frozen=True):
    """A position and its mode."""

    type: str
    position: Position


class MarginSummary(Record, frozen=True):
    """What an account is worth and uses."""

    account_value: Decimal
    total_ntl_pos: Decimal
    total_raw_usd: Decimal
    total_margin_used: Decimal


class ClearinghouseState(Record, frozen=True):
    """Positions and margin; an unknown account has empty shapes with "0.0", not an error."""

    asset_positions: tuple[AssetPosition, ...]
    margin_summary: MarginSummary
    cross_margin_summary: MarginSummary
    withdrawable: Decimal
    cross_maintenance_margin_used: Decimal | UnsetType = UNSET
    time: int | UnsetType = UNSET


class SpotBalance(Record, frozen=True):
    """What is held of one token."""

    coin: str
    token: int
    total: Decimal
    hold: Decimal
    entry_ntl: Decimal


class SpotState(Record, frozen=True):
    """Spot balances of a user."""

    balances: tuple[SpotBalance, ...]


class OpenOrder(Record, frozen=True):
    """One open order as the plain list shows it: no trigger."""

    coin: str
    side: str
    limit_px: Decimal
    sz: Decimal
    oid: int
    timestamp: int
    orig_sz: Decimal | UnsetType = UNSET
    cloid: MaybeText = UNSET
    reduce_only: bool | UnsetType = UNSET


class FrontendOrder(Record, frozen=True):
    """One order with everything there is to know about it."""

    coin: str
    side: str
    limit_px: Decimal
    sz: Decimal
    oid: int
    timestamp: int
    trigger_condition: str
    is_trigger: bool
    trigger_px: Decimal
    is_position_tpsl: bool
    reduce_only: bool
    order_type: str
    orig_sz: Decimal
    tif: str | None
    children: tuple["FrontendOrder", ...] = ()
    cloid: MaybeText = UNSET


class OrderRow(Record, frozen=True):
    """An order and what became of it; one id may have several rows: the latest `status_timestamp` counts."""

    order: FrontendOrder
    status: str
    status_timestamp: int


class OrderStatusReply(Record, frozen=True):
    """`status` "order" with the order, or "unknownOid" without."""

    status: str
    order: OrderRow | UnsetType = UNSET


class UserRateLimit(Record, frozen=True):
    """Requests used of the address limit."""

    cum_vlm: Decimal
    n_requests_used: int
    n_requests_cap: int
    n_requests_surplus: int | UnsetType = UNSET


class UserRole(Record, frozen=True):
    """ "user", "agent" (data.user is the master), "vault", "subAccount" (data.master), "missing"."""

    role: str
    data: dict[str, Any] | UnsetType = UNSET


class ExtraAgent(Record, frozen=True):
    """A named agent."""

    name: str
    address: str
    valid_until: int


class PortfolioPeriod(Record, frozen=True):
    """Account value and profit over one period."""

    account_value_history: tuple[tuple[int, Decimal], ...]
    pnl_history: tuple[tuple[int, Decimal], ...]
    vlm: Decimal


class VaultEquity(Record, frozen=True):
    """What a user holds in one vault."""

    vault_address: str
    equity: Decimal
    locked_until_timestamp: int | UnsetType = UNSET


class ExchangeStatus(Record, frozen=True):
    """The venue's clock."""

    special_statuses: Any
    time: int


class ActiveAssetData(Record, frozen=True):
    """Leverage and what may be traded of one coin, long and short."""

    user: str
    coin: str
    leverage: Leverage
    max_trade_szs: tuple[Decimal, ...]
    available_to_trade: tuple[Decimal, ...]
    mark_px: Decimal | UnsetType = UNSET


class UserFees(Record, frozen=True):
    """Fee fractions of a user: taker ("cross") and maker ("add"); rows of the schedule stay plain."""

    user_cross_rate: Decimal
    user_add_rate: Decimal
    daily_user_vlm: tuple[Any, ...] | UnsetType = UNSET
    fee_schedule: dict[str, Any] | UnsetType = UNSET
    user_spot_cross_rate: Decimal | UnsetType = UNSET
    user_spot_add_rate: Decimal | UnsetType = UNSET
    active_referral_discount: Decimal | UnsetType = UNSET


REPLIES: dict[type[ask.InfoRequest], Any] = {
    ask.GetMeta: Meta,
    ask.GetMetaAndAssetCtxs: tuple[Meta, tuple[AssetCtx, ...]],
    ask.GetSpotMeta: SpotMeta,
    ask.GetSpotMetaAndAssetCtxs: tuple[SpotMeta, tuple[Any, ...]],
    ask.GetAllMids: dict[str, Decimal],
    ask.GetL2Book: L2Book | None,
    ask.GetCandles: tuple[Candle, ...] | None,
    ask.GetRecentTrades: tuple[Trade, ...] | None,
    ask.GetFundingHistory: tuple[FundingRate, ...],
    ask.GetPredictedFundings: tuple[Any, ...],
    ask.GetExchangeStatus: ExchangeStatus,
    ask.GetClearinghouseState: ClearinghouseState,
    ask.GetSpotClearinghouseState: SpotState,
    ask.GetOpenOrders: tuple[OpenOrder, ...],
    ask.GetFrontendOpenOrders: tuple[FrontendOrder, ...],
    ask.GetUserFills: tuple[Fill, ...],
    ask.GetUserFillsByTime: tuple[Fill, ...],
    ask.GetOrderStatus: OrderStatusReply,
    ask.GetUserFunding: tuple[UserFunding, ...],
    ask.GetLedgerUpdates: tuple[LedgerUpdate, ...],
    ask.GetHistoricalOrders: tuple[OrderRow, ...],
    ask.GetUserRateLimit: UserRateLimit,
    ask.GetUserRole: UserRole,
    ask.GetUserFees: UserFees,
    ask.GetPortfolio: tuple[tuple[str, PortfolioPeriod], ...],
    ask.GetExtraAgents: tuple[ExtraAgent, ...],
    ask.GetSubAccounts: tuple[Any, ...] | None,
    ask.GetActiveAssetData: ActiveAssetData,
    ask.GetMaxBuilderFee: int,
    ask.GetUserVaultEquities: tuple[VaultEquity, ...],
}
_DECODERS = {kind: msgspec.json.Decoder(shape) for kind, shape in REPLIES.items()}
_PLAIN = msgspec.json.Decoder(Any)

UNKNOWN_OID = OrderStatusReply("unknownOid")


def encode_info_reply(reply: Any) -> bytes:
    """Return the body of a 200 reply."""
    return wire.encode(reply)


def decode_info_reply(request: ask.InfoRequest, body: bytes) -> Any:
    """Return the reply to `request` as `REPLIES` says, plain JSON for one in `UNMODELLED`.

    Raises MalformedMessageError if it is neither; the caller has looked at the HTTP status before.
    """
    kind = type(request)
    decoder: Any = _DECODERS.get(kind, _PLAIN)
    return wire.decode(decoder, body, f"reply to {kind.__struct_config__.tag}")


def join_fills(fills: Sequence[Fill]) -> list[Fill]:
    """Return fills, oldest first, those that one crossing order made at one time joined into one at their average px.

    The joined one has the first's trade id and start position, the sums of size, fee and profit.
    """
    joined: dict[tuple[object, ...], list[Fill]] = {}
    for index, fill in enumerate(fills):
        key = (fill.oid, fill.time, fill.side, fill.dir) if fill.crossed else (index,)
        joined.setdefault(key, []).append(fill)
    return [_join(group) if len(group) > 1 else group[0] for group in joined.values()]


def _join(group: Sequence[Fill]) -> Fill:
    size = sum((fill.sz for fill in group), Decimal(0))
    px = sum((fill.px * fill.sz for fill in group), Decimal(0)) / size
    return msgspec.structs.replace(
        group[0],
        px=wire.reply_number(px.quantize(Decimal("1e-8"))),
        sz=wire.reply_number(size),
        fee=wire.reply_number(sum((fill.fee for fill in group), Decimal(0))),
        closed_pnl=wire.reply_number(sum((fill.closed_pnl for fill in group), Decimal(0))),
    )


def read_side(side: str) -> Side | None:
    """Return the side a wire letter says, None for one we do not know.

    >>> read_side("B"), read_side("?")
    (<Side.BUY: 1>, None)
    """
    return {"B": Side.BUY, "A": Side.SELL}.get(side)


def write_side(side: int) -> str:
    """Return the wire letter of a side: bid or ask."""
    return "B" if side > 0 else "A"


def write_trigger_condition(px: Decimal, *, is_above: bool) -> str:
    """Return what a trigger order waits for, in the venue's words.

    >>> write_trigger_condition(Decimal("10.004"), is_above=True)
    'Price above 10.004'
    """
    return f"Price {'above' if is_above else 'below'} {wire.format_action(px)}"
