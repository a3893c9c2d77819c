"""What one can subscribe to on the WebSocket: a record per kind, hashable, its defaults filled in.

The venue says a subscription back with its defaults. Those of l2Book are measured; `dex` "" and the flags that are
false are as other clients report them (nktkas/hyperliquid); the dex of allMids is said back as null.

Does not cover: the explorer's streams, outcome markets.
Source: PROTOCOLS.md 1.11.
"""

from venues.hyperliquid.wire import Address, Record


class Subscription(Record, frozen=True, tag_field="type"):
    """Base of all subscriptions."""


class CoinSubscription(Subscription, frozen=True):
    """Base of those of one coin. A coin the venue does not know, spelled exactly, costs the whole socket."""

    coin: str


class UserSubscription(Subscription, frozen=True):
    """Base of those of one user."""

    user: Address


class SubAllMids(Subscription, frozen=True, tag="allMids"):
    """Every mid px, about every 5 s."""

    dex: str | None = None


class SubL2Book(CoinSubscription, frozen=True, tag="l2Book"):
    """Whole books: 20 levels every 5 s, or 5 levels every 0.5 s if `fast`. One of both per socket: same channel."""

    n_sig_figs: int | None = None
    mantissa: int | None = None
    fast: bool = False


class SubTrades(CoinSubscription, frozen=True, tag="trades"):
    """The public tape, recent trades first."""


class SubBbo(CoinSubscription, frozen=True, tag="bbo"):
    """Best bid and ask, per block, when they change."""


class SubCandle(CoinSubscription, frozen=True, tag="candle"):
    """The candle of the moment."""

    interval: str


class SubActiveAssetCtx(CoinSubscription, frozen=True, tag="activeAssetCtx"):
    """Marks, funding and open interest, about once a second."""


class SubActiveAssetData(UserSubscription, frozen=True, tag="activeAssetData"):
    """Leverage and what may be traded."""

    coin: str


class SubUserEvents(UserSubscription, frozen=True, tag="userEvents"):
    """Fills, funding, liquidations, cancels by the venue; their channel is "user" and names no user."""


class SubUserFills(UserSubscription, frozen=True, tag="userFills"):
    """Fills, a snapshot first."""

    aggregate_by_time: bool | None = None


class SubOrderUpdates(UserSubscription, frozen=True, tag="orderUpdates"):
    """What becomes of orders; names no user."""


class SubUserFundings(UserSubscription, frozen=True, tag="userFundings"):
    """Funding, a snapshot first."""


class SubLedgerUpdates(UserSubscription, frozen=True, tag="userNonFundingLedgerUpdates"):
    """Deposits, withdrawals, transfers, a snapshot first."""


class SubNotification(UserSubscription, frozen=True, tag="notification"):
    """Texts for the user."""


class SubWebData2(UserSubscription, frozen=True, tag="webData2"):
    """What the web site shows; its data stays plain JSON here."""


class SubClearinghouseState(UserSubscription, frozen=True, tag="clearinghouseState"):
    """Positions and margin, about once a second."""

    dex: str = ""


class SubOpenOrders(UserSubscription, frozen=True, tag="openOrders"):
    """Open orders with their triggers."""

    dex: str = ""


class SubSpotState(UserSubscription, frozen=True, tag="spotState"):
    """Spot balances."""

    ignore_portfolio_margin: bool = False


class SubTwapStates(UserSubscription, frozen=True, tag="twapStates"):
    """TWAP orders at work."""

    dex: str = ""


class SubAllDexsClearinghouseState(UserSubscription, frozen=True, tag="allDexsClearinghouseState"):
    """Positions and margin of every dex."""


class SubWebData3(UserSubscription, frozen=True, tag="webData3"):
    """What the newer web site shows."""


class SubUserHistoricalOrders(UserSubscription, frozen=True, tag="userHistoricalOrders"):
    """Orders and what became of them, a snapshot first."""


class SubUserTwapHistory(UserSubscription, frozen=True, tag="userTwapHistory"):
    """TWAP orders, a snapshot first."""


class SubUserTwapSliceFills(UserSubscription, frozen=True, tag="userTwapSliceFills"):
    """Fills of TWAP orders, a snapshot first."""


class SubAllDexsAssetCtxs(Subscription, frozen=True, tag="allDexsAssetCtxs"):
    """The contexts of every perpetual of every dex."""


class SubAssetCtxs(Subscription, frozen=True, tag="assetCtxs"):
    """The contexts of every perpetual of one dex."""

    dex: str = ""


class SubSpotAssetCtxs(Subscription, frozen=True, tag="spotAssetCtxs"):
    """The contexts of every spot pair."""


def _list_subscriptions() -> tuple[type[Subscription], ...]:
    bases = (CoinSubscription, UserSubscription)
    direct = [kind for kind in Subscription.__subclasses__() if kind not in bases]
    return (*direct, *(kind for base in bases for kind in base.__subclasses__()))


SUBSCRIPTIONS: dict[str, type[Subscription]] = {str(kind.__struct_config__.tag): kind for kind in _list_subscriptions()}
