"""What /info is asked: one record per request type, to bytes and from bytes.

`decode_info_request` is the simulator's side: a typed request, or the exact HTTP refusal of the venue as a value
(PROTOCOLS.md 1.6, measured on 2026-09-24). `encode_info_request` writes the bodies that the official SDK sends.
Defaults are what the SDK sends; UNSET fields are left out.

Does not cover: answers of requests in `UNMODELLED` (decoded, but their replies have no records here).
"""

from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from venues.hyperliquid import wire
from venues.hyperliquid.wire import Address, Cloid, HttpReply, Record, Unsigned

WRONG_FIELDS = HttpReply(422, "text/plain", b"Failed to deserialize the JSON body into the target type")
NOT_JSON = HttpReply(400, "text/plain", b"Failed to parse the request body as JSON")
WRONG_CONTENT_TYPE = HttpReply(415, "text/plain", b"Expected request with `Content-Type: application/json`")
WRONG_METHOD = HttpReply(405, "", b"")
UNKNOWN_NAME = HttpReply(500, wire.JSON_TYPE, wire.NULL_BODY)
NULL_REPLY = HttpReply(200, wire.JSON_TYPE, wire.NULL_BODY)
RATE_LIMITED = HttpReply(429, wire.JSON_TYPE, wire.NULL_BODY)


class InfoRequest(Record, frozen=True, tag_field="type"):
    """Base of all requests. `weight` is what one costs of the 1200 per minute, `rows_per_weight` what each row adds."""

    weight: ClassVar[int] = 20
    rows_per_weight: ClassVar[int] = 0


class GetMeta(InfoRequest, frozen=True, tag="meta"):
    """The perpetuals there are."""

    dex: str | None = ""


class GetMetaAndAssetCtxs(InfoRequest, frozen=True, tag="metaAndAssetCtxs"):
    """The perpetuals and their marks, funding and open interest."""

    dex: str | UnsetType | None = UNSET


class GetAllPerpMetas(InfoRequest, frozen=True, tag="allPerpMetas"):
    """The metas of every dex."""


class GetSpotMeta(InfoRequest, frozen=True, tag="spotMeta"):
    """The spot tokens and pairs."""


class GetSpotMetaAndAssetCtxs(InfoRequest, frozen=True, tag="spotMetaAndAssetCtxs"):
    """The spot pairs and their prices."""


class GetPerpDexs(InfoRequest, frozen=True, tag="perpDexs"):
    """The builder-deployed dexes."""


class GetAllMids(InfoRequest, frozen=True, tag="allMids"):
    """The mid px of every coin."""

    weight: ClassVar[int] = 2
    dex: str | None = ""


class GetL2Book(InfoRequest, frozen=True, tag="l2Book"):
    """A book of at most 20 levels a side."""

    weight: ClassVar[int] = 2
    coin: str
    n_sig_figs: int | UnsetType | None = UNSET
    mantissa: int | UnsetType | None = UNSET


class CandleRange(Record, frozen=True):
    """Which candles."""

    coin: str
    interval: str
    start_time: Unsigned
    end_time: Unsigned | UnsetType | None = UNSET


class GetCandles(InfoRequest, frozen=True, tag="candleSnapshot"):
    """The candles of a range, at most 5000."""

    rows_per_weight: ClassVar[int] = 60
    req: CandleRange


class GetRecentTrades(InfoRequest, frozen=True, tag="recentTrades"):
    """The last trades of a coin."""

    rows_per_weight: ClassVar[int] = 20
    coin: str


class GetFundingHistory(InfoRequest, frozen=True, tag="fundingHistory"):
    """The funding rates of a coin, at most 500."""

    rows_per_weight: ClassVar[int] = 20
    coin: str
    start_time: Unsigned
    end_time: Unsigned | UnsetType | None = UNSET


class GetPredictedFundings(InfoRequest, frozen=True, tag="predictedFundings"):
    """The funding that would be paid next."""


class GetExchangeStatus(InfoRequest, frozen=True, tag="exchangeStatus"):
    """The venue's clock and special states."""

    weight: ClassVar[int] = 2


class GetPerpsAtOpenInterestCap(InfoRequest, frozen=True, tag="perpsAtOpenInterestCap"):
    """The coins whose open interest is capped."""

    dex: str | UnsetType | None = UNSET


class UserRequest(InfoRequest, frozen=True):
    """Base of the requests about one account; an agent's address gets empty shapes."""

    user: Address


class GetClearinghouseState(UserRequest, frozen=True, tag="clearinghouseState"):
    """Positions and margin of a user."""

    weight: ClassVar[int] = 2
    dex: str | None = ""


class GetSpotClearinghouseState(UserRequest, frozen=True, tag="spotClearinghouseState"):
    """Spot balances of a user."""

    weight: ClassVar[int] = 2


class GetOpenOrders(UserRequest, frozen=True, tag="openOrders"):
    """Open orders of a user, without their triggers."""

    dex: str | None = ""


class GetFrontendOpenOrders(UserRequest, frozen=True, tag="frontendOpenOrders"):
    """Open orders of a user, with their triggers."""

    dex: str | None = ""


class GetUserFills(UserRequest, frozen=True, tag="userFills"):
    """The latest fills of a user, at most 2000."""

    rows_per_weight: ClassVar[int] = 20
    aggregate_by_time: bool | UnsetType | None = UNSET


class GetUserFillsByTime(UserRequest, frozen=True, tag="userFillsByTime"):
    """The fills of a user in a range, at most 2000."""

    rows_per_weight: ClassVar[int] = 20
    start_time: Unsigned
    end_time: Unsigned | None = None
    aggregate_by_time: bool | None = False
    reversed: bool | UnsetType | None = UNSET


class GetOrderStatus(UserRequest, frozen=True, tag="orderStatus"):
    """One order by the venue's id or by the client's."""

    weight: ClassVar[int] = 2
    oid: Unsigned | Cloid


class GetUserFunding(UserRequest, frozen=True, tag="userFunding"):
    """Funding a user paid or received, at most 500."""

    rows_per_weight: ClassVar[int] = 20
    start_time: Unsigned | UnsetType | None = UNSET
    end_time: Unsigned | UnsetType | None = UNSET


class GetLedgerUpdates(UserRequest, frozen=True, tag="userNonFundingLedgerUpdates"):
    """Deposits, withdrawals and transfers of a user."""

    rows_per_weight: ClassVar[int] = 20
    start_time: Unsigned | UnsetType | None = UNSET
    end_time: Unsigned | None = None


class GetHistoricalOrders(UserRequest, frozen=True, tag="historicalOrders"):
    """The latest orders of a user, at most 2000; one id may appear twice."""

    rows_per_weight: ClassVar[int] = 20


class GetUserRateLimit(UserRequest, frozen=True, tag="userRateLimit"):
    """What a user has left of the address limit."""


class GetUserRole(UserRequest, frozen=True, tag="userRole"):
    """Whether an address is a user, an agent, a vault, a sub-account or nothing."""

    weight: ClassVar[int] = 60


class GetUserFees(UserRequest, frozen=True, tag="userFees"):
    """Fee rates and volumes of a user."""


class GetPortfolio(UserRequest, frozen=True, tag="portfolio"):
    """Account value over time."""


class GetExtraAgents(UserRequest, frozen=True, tag="extraAgents"):
    """The named agents of a user."""


class GetSubAccounts(UserRequest, frozen=True, tag="subAccounts"):
    """The sub-accounts of a user; null if there are none."""


class GetUserAbstraction(UserRequest, frozen=True, tag="userAbstraction"):
    """How a user's balances are joined."""


class GetUserDexAbstraction(UserRequest, frozen=True, tag="userDexAbstraction"):
    """Whether a user's balances are joined over dexes."""


class GetActiveAssetData(UserRequest, frozen=True, tag="activeAssetData"):
    """Leverage and what may be traded of one coin."""

    weight: ClassVar[int] = 2
    coin: str


class GetMaxBuilderFee(UserRequest, frozen=True, tag="maxBuilderFee"):
    """The fee a user allows a builder, tenths of a basis point."""

    builder: Address


class GetUserVaultEquities(UserRequest, frozen=True, tag="userVaultEquities"):
    """What a user holds in vaults."""


class GetUserTwapSliceFills(UserRequest, frozen=True, tag="userTwapSliceFills"):
    """The fills of a user's TWAP orders."""

    rows_per_weight: ClassVar[int] = 20


class GetReferral(UserRequest, frozen=True, tag="referral"):
    """A user's referral state."""


class GetDelegations(UserRequest, frozen=True, tag="delegations"):
    """A user's stakes."""


class GetDelegatorSummary(UserRequest, frozen=True, tag="delegatorSummary"):
    """A user's stakes in sum."""


class GetDelegatorRewards(UserRequest, frozen=True, tag="delegatorRewards"):
    """A user's staking rewards."""


class GetDelegatorHistory(UserRequest, frozen=True, tag="delegatorHistory"):
    """What a user staked and unstaked."""


class GetMultiSigSigners(UserRequest, frozen=True, tag="userToMultiSigSigners"):
    """The signers of a multi-signature user; null if it is none."""


class GetSpotDeployState(UserRequest, frozen=True, tag="spotDeployState"):
    """A user's spot deployments."""


class GetPerpDeployAuctionStatus(InfoRequest, frozen=True, tag="perpDeployAuctionStatus"):
    """The auction for deploying a perpetual."""


class GetLeadingVaults(UserRequest, frozen=True, tag="leadingVaults"):
    """The vaults a user leads."""


class GetIsVip(UserRequest, frozen=True, tag="isVip"):
    """Whether a user is one of the venue's chosen."""


class GetLegalCheck(UserRequest, frozen=True, tag="legalCheck"):
    """Whether a user may trade from here."""


class GetApprovedBuilders(UserRequest, frozen=True, tag="approvedBuilders"):
    """The builders whose fees a user allows."""


class GetSubAccounts2(UserRequest, frozen=True, tag="subAccounts2"):
    """The sub-accounts of a user with the state of every dex; null if there are none."""


class GetTwapHistory(UserRequest, frozen=True, tag="twapHistory"):
    """The TWAP orders of a user."""


class GetUserTwapSliceFillsByTime(UserRequest, frozen=True, tag="userTwapSliceFillsByTime"):
    """The fills of a user's TWAP orders in a range."""

    start_time: Unsigned
    end_time: Unsigned | UnsetType | None = UNSET


class GetWebData2(UserRequest, frozen=True, tag="webData2"):
    """What the web site shows of a user."""


class GetPreTransferCheck(UserRequest, frozen=True, tag="preTransferCheck"):
    """What a transfer to a user would cost."""

    source: Address


class GetBorrowLendUserState(UserRequest, frozen=True, tag="borrowLendUserState"):
    """What a user lends and owes."""


class GetUserBorrowLendInterest(UserRequest, frozen=True, tag="userBorrowLendInterest"):
    """Interest of a user."""

    start_time: Unsigned
    end_time: Unsigned | UnsetType | None = UNSET


class GetValidatorSummaries(InfoRequest, frozen=True, tag="validatorSummaries"):
    """The validators."""


class GetValidatorVotes(InfoRequest, frozen=True, tag="validatorL1Votes"):
    """What validators vote on."""


class GetVaultSummaries(InfoRequest, frozen=True, tag="vaultSummaries"):
    """The young vaults."""


class GetVaultDetails(InfoRequest, frozen=True, tag="vaultDetails"):
    """One vault; null if there is none."""

    vault_address: Address
    user: Address | UnsetType | None = UNSET


class GetMarginTable(InfoRequest, frozen=True, tag="marginTable"):
    """The margin tiers of one table."""

    id: Unsigned


class GetTokenDetails(InfoRequest, frozen=True, tag="tokenDetails"):
    """One spot token."""

    token_id: str


class GetLiquidatable(InfoRequest, frozen=True, tag="liquidatable"):
    """The positions about to be liquidated."""


class GetMaxMarketOrders(InfoRequest, frozen=True, tag="maxMarketOrderNtls"):
    """The largest market order by leverage."""


class GetGossipRootIps(InfoRequest, frozen=True, tag="gossipRootIps"):
    """The peers of the network."""


class GetPerpDexStatus(InfoRequest, frozen=True, tag="perpDexStatus"):
    """The deposits of one dex."""

    dex: str | None = ""


class GetPerpDexLimits(InfoRequest, frozen=True, tag="perpDexLimits"):
    """The limits of one builder dex; null of the first."""

    dex: str | None = ""


class GetPerpCategories(InfoRequest, frozen=True, tag="perpCategories"):
    """The categories of builder-deployed perpetuals."""


class GetPerpAnnotation(InfoRequest, frozen=True, tag="perpAnnotation"):
    """The note to one perpetual; null if there is none."""

    coin: str


class GetPerpAnnotations(InfoRequest, frozen=True, tag="perpConciseAnnotations"):
    """The notes to perpetuals."""


class GetOutcomeMeta(InfoRequest, frozen=True, tag="outcomeMeta"):
    """The outcome markets."""


class GetSpotPairDeployAuctionStatus(InfoRequest, frozen=True, tag="spotPairDeployAuctionStatus"):
    """The auction for deploying a spot pair."""


class GetAlignedQuoteTokenInfo(InfoRequest, frozen=True, tag="alignedQuoteTokenInfo"):
    """The rates of an aligned quote token; null if it is none."""

    token: Unsigned


class GetBorrowLendReserves(InfoRequest, frozen=True, tag="allBorrowLendReserveStates"):
    """The reserves that are lent."""


def _list_requests() -> tuple[type[InfoRequest], ...]:
    found: list[type[InfoRequest]] = []
    for kind in InfoRequest.__subclasses__():
        found += kind.__subclasses__() if kind is UserRequest else [kind]
    return tuple(found)


REQUESTS: dict[str, type[InfoRequest]] = {str(kind.__struct_config__.tag): kind for kind in _list_requests()}
UNMODELLED: frozenset[type[InfoRequest]] = frozenset(
    {
        GetAllPerpMetas,
        GetPerpsAtOpenInterestCap,
        GetReferral,
        GetDelegations,
        GetDelegatorSummary,
        GetDelegatorRewards,
        GetDelegatorHistory,
        GetMultiSigSigners,
        GetSpotDeployState,
        GetPerpDeployAuctionStatus,
        GetUserTwapSliceFills,
        GetPerpDexs,
        GetUserAbstraction,
        GetUserDexAbstraction,
        GetLeadingVaults,
        GetIsVip,
        GetLegalCheck,
        GetApprovedBuilders,
        GetSubAccounts2,
        GetTwapHistory,
        GetUserTwapSliceFillsByTime,
        GetWebData2,
        GetPreTransferCheck,
        GetBorrowLendUserState,
        GetUserBorrowLendInterest,
        GetValidatorSummaries,
        GetValidatorVotes,
        GetVaultSummaries,
        GetVaultDetails,
        GetMarginTable,
        GetTokenDetails,
        GetLiquidatable,
        GetMaxMarketOrders,
        GetGossipRootIps,
        GetPerpDexStatus,
        GetPerpDexLimits,
        GetPerpCategories,
        GetPerpAnnotation,
        GetPerpAnnotations,
        GetOutcomeMeta,
        GetSpotPairDeployAuctionStatus,
        GetAlignedQuoteTokenInfo,
        GetBorrowLendReserves,
    }
)


def encode_info_request(request: InfoRequest) -> bytes:
    """Return the body to POST to /info.

    >>> encode_info_request(GetAllMids())
    b'{"type":"allMids","dex":""}'
    """
    return wire.encode(request)


def decode_info_request(body: bytes, content_type: str = wire.JSON_TYPE) -> InfoRequest | HttpReply:
    """Return the request in a POST body, or the refusal the venue answers with. Raises nothing.

    >>> decode_info_request(b'{"type":"nope"}').status, decode_info_request(b'{"type":').status
    (422, 400)
    """
    if content_type.partition(";")[0].strip().lower() != wire.JSON_TYPE:
        return WRONG_CONTENT_TYPE
    try:
        plain = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return NOT_JSON
    return read_info_request(plain) or WRONG_FIELDS


def read_info_request(plain: object) -> InfoRequest | None:
    """Return the request in parsed JSON (a WebSocket post carries one), None if it is not one."""
    tag = plain.get("type") if isinstance(plain, dict) else None
    kind = REQUESTS.get(tag) if isinstance(tag, str) else None
    if kind is None:
        return None
    try:
        request = msgspec.convert(plain, kind)
    except (msgspec.ValidationError, UnicodeError, RecursionError):
        return None
    return None if isinstance(request, GetL2Book) and not _is_aggregation(request) else request


def _is_aggregation(request: GetL2Book) -> bool:
    return is_aggregation(request.n_sig_figs, request.mantissa)


def is_aggregation(n_sig_figs: int | UnsetType | None, mantissa: int | UnsetType | None) -> bool:
    """Return whether a book may be asked for at these figures: 2 to 5, a mantissa of 1, 2 or 5 with 5 only."""
    has_figures, has_mantissa = n_sig_figs not in (None, UNSET), mantissa not in (None, UNSET)
    if has_mantissa and not (n_sig_figs == 5 and mantissa in (1, 2, 5)):
        return False
    return not has_figures or n_sig_figs in (2, 3, 4, 5)


def find_name_refusal(request: InfoRequest, coins: frozenset[str], dexs: frozenset[str]) -> HttpReply | None:
    """Return the venue's answer to a name it does not know, None if it knows them all.

    `coins` and `dexs` are the names there are; "" is the first dex. Unknown dex, or the funding history of an unknown
    coin: 500 null. The book, the candles or the trades of an unknown coin: 200 null for the book [measured]; the other
    two are answered alike here, which nobody has measured.
    """
    dex = getattr(request, "dex", "")
    if dex not in (UNSET, None, "") and dex not in dexs:
        return UNKNOWN_NAME
    if isinstance(request, GetFundingHistory) and request.coin not in coins:
        return UNKNOWN_NAME
    coin = request.req.coin if isinstance(request, GetCandles) else getattr(request, "coin", None)
    return NULL_REPLY if isinstance(coin, str) and coin not in coins else None


def compute_weight(request: InfoRequest, rows: int) -> int:
    """Return what a request costs of the address's 1200 weight per minute, `rows` being in its reply.

    >>> compute_weight(GetUserFills("0x" + "0" * 40), 200), compute_weight(GetAllMids(), 300)
    (30, 2)
    """
    return request.weight + (rows // request.rows_per_weight if request.rows_per_weight else 0)
