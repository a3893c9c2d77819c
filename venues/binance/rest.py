"""Binance's REST market data, both directions: requests, their checks and refusals, replies.

A client builds a `RestRequest`, sends `target`, and reads status and body with `decode_reply`. A simulator reads a
target with `parse_request`, gets the checked parameters or the venue's refusal in its words, and answers with
`encode_reply`. Refusals are values. Weights and limits: `rate_limits`.
Checked with evidence: -1121, -1120, -1102, -1100 (spot), -4021 (futures depth takes an enumeration, live wording),
-5000, -1003. The codes of other bad futures parameters (-1130, -1102, -1023, -1127, -1128) follow the error list of
the manual; which of them a given endpoint chooses is not confirmed. Spot clamps a limit that is too large.
Does not cover: signed endpoints, historicalTrades, continuous, index and mark klines, tickers, averages.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from venues.binance.messages import BookSnapshotText
from venues.binance.numbers import MalformedMessageError
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
    Reply,
    ServerTime,
    TradeRow,
)
from venues.binance.streams import INTERVALS, SPOT_INTERVALS, Market

USDM_REST_URL = "https://fapi.binance.com"
SPOT_REST_URL = "https://api.binance.com"
SPOT_DATA_REST_URL = "https://data-api.binance.vision"

FUTURES_DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
OPEN_INTEREST_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
OPEN_INTEREST_DAYS_MAX = 30


class Pool(StrEnum):
    """Which limit a request counts against."""

    WEIGHT = "weight"  # the minute's request weight
    FUNDING = "funding"  # 500 requests in 5 minutes, shared by fundingRate and fundingInfo
    STATISTICS = "statistics"  # /futures/data: 1000 requests in 5 minutes


class Kind(StrEnum):
    """How a parameter is checked."""

    SYMBOL = "symbol"
    INTERVAL = "interval"
    PERIOD = "period"
    LIMIT = "limit"
    NUMBER = "number"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an endpoint. `default` and `largest` of a limit."""

    name: str
    kind: Kind
    is_mandatory: bool = False
    default: int = 0
    largest: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One thing that can be asked."""

    market: Market
    name: str
    path: str
    reply_type: Any
    weigh: Callable[[dict[str, str | int]], int]
    parameters: tuple[Parameter, ...] = ()
    pool: Pool = Pool.WEIGHT


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A checked request: every parameter known, limits and numbers as int, defaults filled in by the venue's side."""

    endpoint: Endpoint
    values: dict[str, str | int] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """Path and query, as a client sends them."""
        return self.endpoint.path + (f"?{urlencode(self.values)}" if self.values else "")

    @property
    def weight(self) -> int:
        """What it costs of its endpoint's pool."""
        return self.endpoint.weigh(self.values)


@dataclass(frozen=True, slots=True)
class RestRefusal:
    """The venue's refusal, in its words. `retry_after_s` from the Retry-After header, 0 if there was none."""

    status: int
    code: int
    msg: str
    retry_after_s: int = 0

    @property
    def is_rate_limit(self) -> bool:
        """429: back off now. 418: banned, every further request prolongs it."""
        return self.status in (429, 418) or self.code == -1003

    @property
    def is_outcome_unknown(self) -> bool:
        """The request may have been carried out (matters for orders only; market data may be asked for again)."""
        return self.code in (-1006, -1007) or self.status >= 500

    @property
    def body(self) -> bytes:
        """The reply's body."""
        return msgspec.json.encode({"code": self.code, "msg": self.msg})


def _weigh(weight: int) -> Callable[[dict[str, str | int]], int]:
    return lambda values: weight


def _weigh_by_limit(default: int, *steps: tuple[int, int]) -> Callable[[dict[str, str | int]], int]:
    def weigh(values: dict[str, str | int]) -> int:
        limit = int(values.get("limit", default))
        return next((weight for largest, weight in steps if limit <= largest), steps[-1][1])

    return weigh


def _weigh_symbol(one: int, every: int) -> Callable[[dict[str, str | int]], int]:
    return lambda values: one if "symbol" in values else every


_SYMBOL = Parameter("symbol", Kind.SYMBOL, is_mandatory=True)
_ANY_SYMBOL = Parameter("symbol", Kind.SYMBOL)
_INTERVAL = Parameter("interval", Kind.INTERVAL, is_mandatory=True)
_TIMES = (Parameter("startTime", Kind.NUMBER), Parameter("endTime", Kind.NUMBER))
_FROM_ID = Parameter("fromId", Kind.NUMBER)


def _limit(default: int, largest: int) -> Parameter:
    return Parameter("limit", Kind.LIMIT, default=default, largest=largest)


def _list_endpoints() -> tuple[Endpoint, ...]:
    usdm, spot = Market.USDM, Market.SPOT
    klines = _weigh_by_limit(500, (99, 1), (499, 2), (1000, 5), (1500, 10))
    futures_depth = _weigh_by_limit(500, (50, 2), (100, 5), (500, 10), (1000, 20))
    spot_depth = _weigh_by_limit(100, (100, 5), (500, 25), (1000, 50), (5000, 250))
    rows = tuple
    v1, v3, data = "/fapi/v1/", "/api/v3/", "/futures/data/"
    return (
        Endpoint(usdm, "ping", v1 + "ping", Empty, _weigh(1)),
        Endpoint(usdm, "time", v1 + "time", ServerTime, _weigh(1)),
        Endpoint(usdm, "exchangeInfo", v1 + "exchangeInfo", ExchangeInfo, _weigh(1)),
        Endpoint(usdm, "depth", v1 + "depth", BookSnapshotText, futures_depth, (_SYMBOL, _limit(500, 1000))),
        Endpoint(usdm, "trades", v1 + "trades", rows[TradeRow, ...], _weigh(5), (_SYMBOL, _limit(500, 1000))),
        Endpoint(
            usdm, "aggTrades", v1 + "aggTrades", rows[AggTradeRow, ...], _weigh(20),
            (_SYMBOL, _FROM_ID, *_TIMES, _limit(500, 1000)),
        ),
        Endpoint(
            usdm, "klines", v1 + "klines", rows[KlineRow, ...], klines,
            (_SYMBOL, _INTERVAL, *_TIMES, _limit(500, 1500)),
        ),
        Endpoint(
            usdm, "premiumIndex", v1 + "premiumIndex", PremiumIndex | rows[PremiumIndex, ...], _weigh_symbol(1, 10),
            (_ANY_SYMBOL,),
        ),
        Endpoint(
            usdm, "fundingRate", v1 + "fundingRate", rows[FundingRateRow, ...], _weigh(1),
            (_ANY_SYMBOL, *_TIMES, _limit(100, 1000)), Pool.FUNDING,
        ),
        Endpoint(usdm, "fundingInfo", v1 + "fundingInfo", rows[FundingInfoRow, ...], _weigh(1), (), Pool.FUNDING),
        Endpoint(usdm, "openInterest", v1 + "openInterest", OpenInterest, _weigh(1), (_SYMBOL,)),
        Endpoint(
            usdm, "openInterestHist", data + "openInterestHist", rows[OpenInterestRow, ...], _weigh(1),
            (_SYMBOL, Parameter("period", Kind.PERIOD, is_mandatory=True), _limit(30, 500), *_TIMES), Pool.STATISTICS,
        ),
        Endpoint(spot, "ping", v3 + "ping", Empty, _weigh(1)),
        Endpoint(spot, "time", v3 + "time", ServerTime, _weigh(1)),
        Endpoint(
            spot, "exchangeInfo", v3 + "exchangeInfo", ExchangeInfo, _weigh(20),
            (_ANY_SYMBOL, Parameter("symbols", Kind.TEXT), Parameter("permissions", Kind.TEXT),
             Parameter("showPermissionSets", Kind.TEXT), Parameter("symbolStatus", Kind.TEXT)),
        ),
        Endpoint(spot, "depth", v3 + "depth", BookSnapshotText, spot_depth, (_SYMBOL, _limit(100, 5000))),
        Endpoint(spot, "trades", v3 + "trades", rows[TradeRow, ...], _weigh(25), (_SYMBOL, _limit(500, 1000))),
        Endpoint(
            spot, "aggTrades", v3 + "aggTrades", rows[AggTradeRow, ...], _weigh(4),
            (_SYMBOL, _FROM_ID, *_TIMES, _limit(500, 1000)),
        ),
        Endpoint(
            spot, "klines", v3 + "klines", rows[KlineRow, ...], _weigh(2),
            (_SYMBOL, _INTERVAL, *_TIMES, Parameter("timeZone", Kind.TEXT), _limit(500, 1000)),
        ),
    )  # fmt: skip


ENDPOINTS = {(endpoint.market, endpoint.name): endpoint for endpoint in _list_endpoints()}
_BY_PATH = {(endpoint.market, endpoint.path): endpoint for endpoint in ENDPOINTS.values()}
_DECODERS = {key: msgspec.json.Decoder(endpoint.reply_type) for key, endpoint in ENDPOINTS.items()}
_ERROR = msgspec.json.Decoder(dict[str, Any])
_SYMBOL_RANGE, _NUMBER_RANGE = r"^[A-Z0-9-_.]{1,20}$", r"^[0-9]{1,20}$"

INVALID_SYMBOL = RestRefusal(400, -1121, "Invalid symbol.")
INVALID_INTERVAL = RestRefusal(400, -1120, "Invalid interval.")
START_AFTER_END = RestRefusal(400, -1023, "Start time is greater than end time.")
LOOKUP_TOO_LONG = RestRefusal(400, -1127, "More than 1 hours between startTime and endTime.")
BAD_COMBINATION = RestRefusal(400, -1128, "Combination of optional parameters invalid.")
TIMED_OUT = RestRefusal(
    408, -1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
)
UNKNOWN_ERROR = RestRefusal(503, -1000, "Unknown error, please check your request or try again later.")


def make_request(market: Market, name: str, **values: str | int) -> RestRequest:
    """Return a request as a client sends it.

    Raises: ValueError for a name or parameter that the venue does not have, a limit or an interval it would refuse.

    >>> make_request(Market.USDM, "depth", symbol="BTCUSDT", limit=1000).target
    '/fapi/v1/depth?symbol=BTCUSDT&limit=1000'
    """
    endpoint = ENDPOINTS.get((market, name))
    if endpoint is None:
        known = ", ".join(known for of_market, known in ENDPOINTS if of_market is market)
        raise ValueError(f"binance {market.value} has no endpoint {name!r} here; one of {known}")
    names = {parameter.name for parameter in endpoint.parameters}
    unknown = sorted(values.keys() - names)
    if unknown:
        raise ValueError(f"{endpoint.path} takes no {unknown[0]!r}; it takes {', '.join(sorted(names)) or 'nothing'}")
    request = RestRequest(endpoint, values)
    checked = parse_request(market, "GET", request.target)
    if isinstance(checked, RestRefusal):
        raise ValueError(f"{request.target} would be refused: {checked.code} {checked.msg}")
    return request


def parse_request(
    market: Market, method: str, target: str, symbols: Collection[str] | None = None, ts_now_ms: int | None = None
) -> RestRequest | RestRefusal:
    """Return the request in a target, checked, defaults filled in; or the venue's refusal of it.

    `symbols`: those that exist (None: any). `ts_now_ms`: for limits that move with time (None: not checked).
    """
    try:
        parts = urlsplit(target)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return RestRefusal(400, -1100, "Illegal characters found in a parameter.")
    endpoint = _BY_PATH.get((market, parts.path))
    if endpoint is None or method.upper() != "GET":
        return _refuse_path(market, method, parts.path)
    sent = dict(pairs)
    if len(sent) != len(pairs):
        return RestRefusal(400, -1101, "Duplicate values for a parameter detected.")
    values: dict[str, str | int] = {}
    for parameter in endpoint.parameters:
        checked = _check(endpoint, parameter, sent.get(parameter.name, ""), symbols)
        if isinstance(checked, RestRefusal):
            return checked
        if checked is not None:
            values[parameter.name] = checked
    return _find_conflict(endpoint, values, ts_now_ms) or RestRequest(endpoint, values)


def encode_reply(reply: Reply) -> bytes:
    """Return the body of a reply."""
    return msgspec.json.encode(reply)


def decode_reply(endpoint: Endpoint, status: int, body: bytes, retry_after: str | None = None) -> Any | RestRefusal:
    """Return what the venue answered: a record of `endpoint.reply_type`, or its refusal (HTML pages have code 0).

    Raises: MalformedMessageError if a reply with status 200 is not what the endpoint answers.
    """
    if status != 200:
        retry_after_s = int(retry_after) if retry_after and re.fullmatch("[0-9]{1,9}", retry_after) else 0
        try:
            error = _ERROR.decode(body)
            return RestRefusal(status, int(error["code"]), str(error["msg"]), retry_after_s)
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
            return RestRefusal(status, 0, body[:200].decode("utf-8", "replace"), retry_after_s)
    try:
        return _DECODERS[endpoint.market, endpoint.name].decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedMessageError(f"{endpoint.path} answered {body[:80]!r}: {error}") from error


def _refuse_path(market: Market, method: str, path: str) -> RestRefusal:
    if market is Market.USDM:
        return RestRefusal(404, -5000, f"Path {path}, Method {method.upper()} is invalid")
    return RestRefusal(404, 0, "<html><body><h2>404 Not found</h2></body></html>")


def _refuse_empty(name: str) -> RestRefusal:
    return RestRefusal(400, -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def _refuse_chars(name: str, legal: str) -> RestRefusal:
    return RestRefusal(400, -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def _refuse_value(endpoint: Endpoint, name: str) -> RestRefusal:
    if endpoint.pool is Pool.STATISTICS:
        return RestRefusal(400, -1130, f"parameter '{name}' is invalid.")
    return RestRefusal(400, -1130, f"Data sent for parameter '{name}' is not valid.")


def _check(
    endpoint: Endpoint, parameter: Parameter, text: str, symbols: Collection[str] | None
) -> str | int | RestRefusal | None:
    if not text:
        if parameter.is_mandatory:
            return _refuse_empty(parameter.name)
        return parameter.default if parameter.kind is Kind.LIMIT else None
    is_spot = endpoint.market is Market.SPOT
    match parameter.kind:
        case Kind.SYMBOL:
            if is_spot and not re.fullmatch(_SYMBOL_RANGE[1:-1], text):
                return _refuse_chars(parameter.name, _SYMBOL_RANGE)
            return INVALID_SYMBOL if symbols is not None and text not in symbols else text
        case Kind.INTERVAL:
            return text if text in (SPOT_INTERVALS if is_spot else INTERVALS) else INVALID_INTERVAL
        case Kind.PERIOD:
            return text if text in OPEN_INTEREST_PERIODS else _refuse_value(endpoint, parameter.name)
        case Kind.TEXT:
            return text
    if not re.fullmatch(_NUMBER_RANGE[1:-1], text):
        return _refuse_chars(parameter.name, _NUMBER_RANGE) if is_spot else _refuse_empty(parameter.name)
    return _check_limit(endpoint, parameter, int(text)) if parameter.kind is Kind.LIMIT else int(text)


def _check_limit(endpoint: Endpoint, parameter: Parameter, limit: int) -> int | RestRefusal:
    if endpoint.market is Market.SPOT:
        return min(limit, parameter.largest) if limit else _refuse_value(endpoint, parameter.name)
    if endpoint.name == "depth":
        if limit not in FUTURES_DEPTH_LIMITS:
            return RestRefusal(400, -4021, f"{limit} is not valid depth limit")
        return limit
    return limit if 1 <= limit <= parameter.largest else _refuse_value(endpoint, parameter.name)


def _find_conflict(endpoint: Endpoint, values: dict[str, str | int], ts_now_ms: int | None) -> RestRefusal | None:
    if endpoint.market is Market.SPOT:
        return None
    start_ms, end_ms = values.get("startTime"), values.get("endTime")
    if isinstance(start_ms, int) and isinstance(end_ms, int):
        if start_ms > end_ms:
            return START_AFTER_END
        if endpoint.name == "aggTrades" and "fromId" not in values and end_ms - start_ms > HOUR_MS:
            return LOOKUP_TOO_LONG
    if endpoint.name == "aggTrades" and "fromId" in values and (start_ms is not None or end_ms is not None):
        return BAD_COMBINATION
    ts_oldest_ms = 0 if ts_now_ms is None else ts_now_ms - OPEN_INTEREST_DAYS_MAX * DAY_MS
    if endpoint.pool is Pool.STATISTICS and isinstance(start_ms, int) and start_ms < ts_oldest_ms:
        return _refuse_value(endpoint, "startTime")
    return None
