"""What can be asked of Binance's REST market data: paths, parameters, weights, and the record each answers with.

Weights and limits as the manuals have them in 2026 (spot's rest-api.md, USD-M "Market Data Endpoints"). `KEYED` are the
paths that want a key first: here nobody has one, and they are refused as the venue refuses.
Does not cover: options, COIN-M, portfolio margin, /sapi but for its system status; what is not listed is a path that
the venue does not have.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from venues.binance.messages import BookSnapshotText
from venues.binance.rest_replies import (
    AggTradeRow,
    Empty,
    ExchangeInfo,
    FundingInfoRow,
    FundingRateRow,
    KlineRow,
    OpenInterest,
    OpenInterestRow,
    PremiumIndex,
    ServerTime,
    TradeRow,
)
from venues.binance.streams import Market
from venues.binance.ticker_replies import (
    AveragePx,
    BasisRow,
    BookTickerRow,
    Constituents,
    DayTicker,
    PxTicker,
    SystemStatus,
    TakerRatioRow,
)

OPEN_INTEREST_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
CONTRACT_TYPES = ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "TRADIFI_PERPETUAL")
WINDOWS = (*(f"{n}m" for n in range(1, 60)), *(f"{n}h" for n in range(1, 24)), *(f"{n}d" for n in range(1, 8)))
Weigh = Callable[[dict[str, str | int]], int]


class Pool(StrEnum):
    """Which limit a request counts against."""

    WEIGHT = "weight"  # the minute's request weight
    FUNDING = "funding"  # 500 requests in 5 minutes, shared by fundingRate and fundingInfo
    STATISTICS = "statistics"  # /futures/data: 1000 requests in 5 minutes


class Kind(StrEnum):
    """How a parameter is checked."""

    SYMBOL = "symbol"
    SYMBOLS = "symbols"  # a JSON list of them
    PAIR = "pair"
    CONTRACT = "contract"
    INTERVAL = "interval"
    PERIOD = "period"
    LIMIT = "limit"
    NUMBER = "number"
    CHOICE = "choice"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an endpoint. `default` and `largest` of a limit; `choices` of a choice."""

    name: str
    kind: Kind
    is_mandatory: bool = False
    default: int = 0
    largest: int = 0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One thing that can be asked. `needs_key`: with a key in the header only, though without a signature."""

    market: Market
    name: str
    path: str
    reply_type: Any
    weigh: Weigh
    parameters: tuple[Parameter, ...] = ()
    pool: Pool = Pool.WEIGHT
    needs_key: bool = False


def _weigh(weight: int) -> Weigh:
    return lambda values: weight


def _weigh_by_limit(default: int, *steps: tuple[int, int]) -> Weigh:
    def weigh(values: dict[str, str | int]) -> int:
        limit = int(values.get("limit", default))
        return next((weight for largest, weight in steps if limit <= largest), steps[-1][1])

    return weigh


def _weigh_symbol(one: int, every: int) -> Weigh:
    return lambda values: one if "symbol" in values else every


def list_symbols(text: str) -> tuple[str, ...]:
    """Return the symbols of spot's `symbols` parameter, checked before.

    >>> list_symbols('["BTCUSDT","ETHUSDT"]')
    ('BTCUSDT', 'ETHUSDT')
    """
    return tuple(json.loads(text))


def _weigh_symbols(one: int, *steps: tuple[int, int], each: int = 0) -> Weigh:
    # Spot: by how many are asked for; `each`: so much for every one, at most for fifty.
    def weigh(values: dict[str, str | int]) -> int:
        if "symbol" in values:
            return one
        if "symbols" not in values:
            return steps[-1][1]
        count = len(list_symbols(str(values["symbols"])))
        if each:
            return each * min(50, count)
        return next((weight for largest, weight in steps if count <= largest), steps[-1][1])

    return weigh


_SYMBOL = Parameter("symbol", Kind.SYMBOL, is_mandatory=True)
_ANY_SYMBOL, _SYMBOLS = Parameter("symbol", Kind.SYMBOL), Parameter("symbols", Kind.SYMBOLS)
_PAIR = Parameter("pair", Kind.PAIR, is_mandatory=True)
_CONTRACT = Parameter("contractType", Kind.CONTRACT, is_mandatory=True)
_INTERVAL = Parameter("interval", Kind.INTERVAL, is_mandatory=True)
_PERIOD = Parameter("period", Kind.PERIOD, is_mandatory=True)
_TIMES = (Parameter("startTime", Kind.NUMBER), Parameter("endTime", Kind.NUMBER))
_FROM_ID = Parameter("fromId", Kind.NUMBER)
_FULL_OR_MINI = Parameter("type", Kind.CHOICE, choices=("FULL", "MINI"))
_STATUS = Parameter("symbolStatus", Kind.TEXT)
_ZONE = Parameter("timeZone", Kind.TEXT)


def _limit(default: int, largest: int) -> Parameter:
    return Parameter("limit", Kind.LIMIT, default=default, largest=largest)


def _list_futures() -> tuple[Endpoint, ...]:
    klines = _weigh_by_limit(500, (99, 1), (499, 2), (1000, 5), (1500, 10))
    depth = _weigh_by_limit(500, (50, 2), (100, 5), (500, 10), (1000, 20))
    rows, v1, v2 = tuple, "/fapi/v1/", "/fapi/v2/"
    times_limit = (*_TIMES, _limit(500, 1500))

    def make(name: str, reply: Any, weigh: Weigh, *parameters: Parameter, path: str = "", **more: Any) -> Endpoint:
        return Endpoint(Market.USDM, name, path or v1 + name, reply, weigh, parameters, **more)

    return (
        make("ping", Empty, _weigh(1)),
        make("time", ServerTime, _weigh(1)),
        make("exchangeInfo", ExchangeInfo, _weigh(1)),
        make("depth", BookSnapshotText, depth, _SYMBOL, _limit(500, 1000)),
        make("rpiDepth", BookSnapshotText, _weigh(20), _SYMBOL, _limit(1000, 1000)),
        make("trades", rows[TradeRow, ...], _weigh(5), _SYMBOL, _limit(500, 1000)),
        make("historicalTrades", rows[TradeRow, ...], _weigh(20), _SYMBOL, _limit(100, 500), _FROM_ID, needs_key=True),
        make("aggTrades", rows[AggTradeRow, ...], _weigh(20), _SYMBOL, _FROM_ID, *_TIMES, _limit(500, 1000)),
        make("klines", rows[KlineRow, ...], klines, _SYMBOL, _INTERVAL, *times_limit),
        make("continuousKlines", rows[KlineRow, ...], klines, _PAIR, _CONTRACT, _INTERVAL, *times_limit),
        make("indexPriceKlines", rows[KlineRow, ...], klines, _PAIR, _INTERVAL, *times_limit),
        make("markPriceKlines", rows[KlineRow, ...], klines, _SYMBOL, _INTERVAL, *times_limit),
        make("premiumIndexKlines", rows[KlineRow, ...], klines, _SYMBOL, _INTERVAL, *times_limit),
        make("premiumIndex", PremiumIndex | rows[PremiumIndex, ...], _weigh_symbol(1, 10), _ANY_SYMBOL),
        make("fundingRate", rows[FundingRateRow, ...], _weigh(1), _ANY_SYMBOL, *_TIMES, _limit(100, 1000),
             pool=Pool.FUNDING),
        make("fundingInfo", rows[FundingInfoRow, ...], _weigh(1), pool=Pool.FUNDING),
        make("ticker24hr", DayTicker | rows[DayTicker, ...], _weigh_symbol(1, 40), _ANY_SYMBOL,
             path=v1 + "ticker/24hr"),
        make("tickerPrice", PxTicker | rows[PxTicker, ...], _weigh_symbol(1, 2), _ANY_SYMBOL,
             path=v1 + "ticker/price"),
        make("tickerPriceV2", PxTicker | rows[PxTicker, ...], _weigh_symbol(1, 2), _ANY_SYMBOL,
             path=v2 + "ticker/price"),
        make("bookTicker", BookTickerRow | rows[BookTickerRow, ...], _weigh_symbol(2, 5), _ANY_SYMBOL,
             path=v1 + "ticker/bookTicker"),
        make("openInterest", OpenInterest, _weigh(1), _SYMBOL),
        make("constituents", Constituents, _weigh(2), _SYMBOL),
        make("indexInfo", rows[Empty, ...], _weigh(1), _ANY_SYMBOL),
        make("assetIndex", rows[Empty, ...], _weigh_symbol(1, 10), Parameter("symbol", Kind.TEXT)),
        *_list_statistics(),
    )  # fmt: skip


def _list_statistics() -> tuple[Endpoint, ...]:
    rows, data = tuple, "/futures/data/"
    window = (_PERIOD, _limit(30, 500), *_TIMES)

    def make(name: str, reply: Any, *parameters: Parameter) -> Endpoint:
        return Endpoint(Market.USDM, name, data + name, reply, _weigh(1), parameters, Pool.STATISTICS)

    return (
        make("openInterestHist", rows[OpenInterestRow, ...], _SYMBOL, *window),
        make("topLongShortAccountRatio", rows[Empty, ...], _SYMBOL, *window),
        make("topLongShortPositionRatio", rows[Empty, ...], _SYMBOL, *window),
        make("globalLongShortAccountRatio", rows[Empty, ...], _SYMBOL, *window),
        make("takerlongshortRatio", rows[TakerRatioRow, ...], _SYMBOL, *window),
        make("basis", rows[BasisRow, ...], _PAIR, _CONTRACT, *window),
        make("delivery-price", rows[Empty, ...], _PAIR),
    )


def _list_spot() -> tuple[Endpoint, ...]:
    depth = _weigh_by_limit(100, (100, 5), (500, 25), (1000, 50), (5000, 250))
    rows, v3 = tuple, "/api/v3/"
    candles = (_SYMBOL, _INTERVAL, *_TIMES, _ZONE, _limit(500, 1000))
    some = (_ANY_SYMBOL, _SYMBOLS, _STATUS)

    def make(name: str, reply: Any, weigh: Weigh, *parameters: Parameter, path: str = "") -> Endpoint:
        return Endpoint(Market.SPOT, name, v3 + (path or name), reply, weigh, parameters)

    return (
        make("ping", Empty, _weigh(1)),
        make("time", ServerTime, _weigh(1)),
        make("exchangeInfo", ExchangeInfo, _weigh(20), *some, Parameter("permissions", Kind.TEXT),
             Parameter("showPermissionSets", Kind.CHOICE, choices=("true", "false"))),
        make("depth", BookSnapshotText, depth, _SYMBOL, _limit(100, 5000), _STATUS),
        make("trades", rows[TradeRow, ...], _weigh(25), _SYMBOL, _limit(500, 1000)),
        make("historicalTrades", rows[TradeRow, ...], _weigh(25), _SYMBOL, _limit(500, 1000), _FROM_ID),
        make("aggTrades", rows[AggTradeRow, ...], _weigh(4), _SYMBOL, _FROM_ID, *_TIMES, _limit(500, 1000)),
        make("klines", rows[KlineRow, ...], _weigh(2), *candles),
        make("uiKlines", rows[KlineRow, ...], _weigh(2), *candles),
        make("avgPrice", AveragePx, _weigh(2), _SYMBOL),
        make("ticker24hr", DayTicker | rows[DayTicker, ...], _weigh_symbols(2, (20, 2), (100, 40), (9999, 80)), *some,
             _FULL_OR_MINI, path="ticker/24hr"),
        make("tickerTradingDay", DayTicker | rows[DayTicker, ...], _weigh_symbols(4, (9999, 200), each=4), *some,
             _FULL_OR_MINI, _ZONE, path="ticker/tradingDay"),
        make("tickerPrice", PxTicker | rows[PxTicker, ...], _weigh_symbols(2, (9999, 4)), *some, path="ticker/price"),
        make("bookTicker", BookTickerRow | rows[BookTickerRow, ...], _weigh_symbols(2, (9999, 4)), *some,
             path="ticker/bookTicker"),
        make("ticker", DayTicker | rows[DayTicker, ...], _weigh_symbols(4, (9999, 200), each=4), *some,
             Parameter("windowSize", Kind.CHOICE, choices=WINDOWS), _FULL_OR_MINI),
        Endpoint(Market.SPOT, "systemStatus", "/sapi/v1/system/status", SystemStatus, _weigh(1)),
    )  # fmt: skip


ENDPOINTS = {(endpoint.market, endpoint.name): endpoint for endpoint in (*_list_futures(), *_list_spot())}
BY_PATH = {(endpoint.market, endpoint.path): endpoint for endpoint in ENDPOINTS.values()}

_GET, _POST, _ALL = ("GET",), ("POST",), ("GET", "POST", "PUT", "DELETE")
KEYED = {  # path -> the methods it has
    **dict.fromkeys(
        (f"/fapi/{path}" for path in (
            "v1/leverageBracket", "v2/account", "v3/account", "v1/account", "v2/balance", "v3/balance",
            "v2/positionRisk", "v3/positionRisk", "v1/openOrders", "v1/openOrder", "v1/allOrders", "v1/userTrades",
            "v1/income", "v1/commissionRate", "v1/adlQuantile", "v1/forceOrders", "v1/apiTradingStatus",
            "v1/accountConfig", "v1/symbolConfig", "v1/rateLimit/order", "v1/orderAmendment",
        )), _GET),
    **dict.fromkeys((f"/fapi/v1/{path}" for path in (
        "order/test", "leverage", "marginType", "positionMargin", "countdownCancelAll",
    )), _POST),
    "/fapi/v1/order": _ALL, "/fapi/v1/batchOrders": ("POST", "PUT", "DELETE"), "/fapi/v1/allOpenOrders": ("DELETE",),
    "/fapi/v1/algoOrder": ("GET", "POST", "DELETE"),
    "/fapi/v1/listenKey": ("POST", "PUT", "DELETE"), "/fapi/v1/positionSide/dual": ("GET", "POST"),
    "/fapi/v1/multiAssetsMargin": ("GET", "POST"), "/fapi/v1/feeBurn": ("GET", "POST"),
    **dict.fromkeys((f"/api/v3/{path}" for path in (
        "account", "allOrders", "myTrades", "allOrderList", "openOrderList", "rateLimit/order", "account/commission",
        "myPreventedMatches", "myAllocations",
    )), _GET),
    "/api/v3/order": ("GET", "POST", "DELETE"), "/api/v3/openOrders": ("GET", "DELETE"),
    "/api/v3/order/test": _POST, "/api/v3/orderList": ("GET", "DELETE"),
    "/api/v3/userDataStream": ("POST", "PUT", "DELETE"),
}  # fmt: skip
