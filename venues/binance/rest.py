"""Binance's REST market data, both directions: requests, their checks and refusals, replies.

A client builds a `RestRequest`, sends `target`, and reads status and body with `decode_reply`. A simulator reads a
target with `parse_request`, gets the checked parameters or the venue's refusal in its words, and answers with
`encode_reply`. Refusals are values. What there is: `endpoints`; weights and limits: `rate_limits`.
Checked with evidence: -1121, -1120, -1102, -1100 (spot), -1104 (spot: a parameter it does not know; futures ignore it),
-2014 and -2015 (401), -4021 (futures depth takes an enumeration, live wording), -5000, -1003. The codes of other bad
futures parameters (-1130, -1102, -1023, -1127, -1128, -4104, -4144) follow the error list of the manual; which of them
a given endpoint chooses is not confirmed. Spot clamps a limit that is too large.
Does not cover: signed endpoints, beyond refusing whoever has no key.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from venues.binance.endpoints import (
    BY_PATH,
    CONTRACT_TYPES,
    ENDPOINTS,
    KEYED,
    OPEN_INTEREST_PERIODS,
    Endpoint,
    Kind,
    Parameter,
    Pool,
)
from venues.binance.numbers import MalformedMessageError
from venues.binance.rest_replies import Reply
from venues.binance.streams import INTERVALS, SPOT_INTERVALS, Market
from venues.binance.ticker_replies import TickerReply

USDM_REST_URL = "https://fapi.binance.com"
SPOT_REST_URL = "https://api.binance.com"
SPOT_DATA_REST_URL = "https://data-api.binance.vision"

FUTURES_DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
OPEN_INTEREST_DAYS_MAX = 30


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


_DECODERS = {key: msgspec.json.Decoder(endpoint.reply_type) for key, endpoint in ENDPOINTS.items()}
_ERROR = msgspec.json.Decoder(dict[str, Any])
_SYMBOL_RANGE, _NUMBER_RANGE = r"^[A-Z0-9-_.]{1,20}$", r"^[0-9]{1,20}$"
_SYMBOLS_RANGE = r"""^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\]$"""
_API_KEY = re.compile("[A-Za-z0-9]{64}")

INVALID_SYMBOL = RestRefusal(400, -1121, "Invalid symbol.")
INVALID_PAIR = RestRefusal(400, -4144, "Invalid pair.")
INVALID_CONTRACT_TYPE = RestRefusal(400, -4104, "Invalid contract type.")
INVALID_INTERVAL = RestRefusal(400, -1120, "Invalid interval.")
NO_API_KEY = RestRefusal(401, -2014, "API-key format invalid.")
UNKNOWN_API_KEY = RestRefusal(401, -2015, "Invalid API-key, IP, or permissions for action.")
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
    checked = parse_request(market, "GET", request.target, api_key="x" * 64)
    if isinstance(checked, RestRefusal):
        raise ValueError(f"{request.target} would be refused: {checked.code} {checked.msg}")
    return request


def parse_request(
    market: Market,
    method: str,
    target: str,
    symbols: Collection[str] | None = None,
    ts_now_ms: int | None = None,
    api_key: str = "",
) -> RestRequest | RestRefusal:
    """Return the request in a target, checked, defaults filled in; or the venue's refusal of it.

    `symbols`: those that exist (None: any). `ts_now_ms`: for limits that move with time (None: not checked).
    `api_key`: of the header X-MBX-APIKEY. Where market data want one, any of the right form will do; whatever wants a
    signature as well is refused, as nobody has an account here.
    """
    try:
        parts = urlsplit(target)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return RestRefusal(400, -1100, "Illegal characters found in a parameter.")
    endpoint = BY_PATH.get((market, parts.path))
    has_key = bool(_API_KEY.fullmatch(api_key))
    if endpoint is None and method.upper() in KEYED.get(parts.path, ()):
        return UNKNOWN_API_KEY if has_key else NO_API_KEY
    if endpoint is None or method.upper() != "GET":
        return _refuse_path(market, method, parts.path)
    if endpoint.needs_key and not has_key:
        return NO_API_KEY
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
    unread = _refuse_unread(endpoint, sent)
    return unread or _find_conflict(endpoint, values, ts_now_ms) or RestRequest(endpoint, values)


def encode_reply(reply: Reply | TickerReply) -> bytes:
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


def _refuse_unread(endpoint: Endpoint, sent: dict[str, str]) -> RestRefusal | None:
    # Spot counts what it has read; futures ignore what they do not know.
    unread = sent.keys() - {parameter.name for parameter in endpoint.parameters}
    if endpoint.market is Market.USDM or not unread:
        return None
    if not endpoint.parameters:
        return RestRefusal(400, -1101, f"Too many parameters; expected '0' and received '{len(sent)}'.")
    read = len(sent) - len(unread)
    msg = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(sent)}'."
    return RestRefusal(400, -1104, msg)


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
        case Kind.SYMBOLS:
            return _check_symbols(parameter.name, text, symbols)
        case Kind.PAIR:
            return INVALID_PAIR if symbols is not None and text not in symbols else text
        case Kind.CONTRACT:
            return text if text in CONTRACT_TYPES else INVALID_CONTRACT_TYPE
        case Kind.INTERVAL:
            return text if text in (SPOT_INTERVALS if is_spot else INTERVALS) else INVALID_INTERVAL
        case Kind.PERIOD:
            return text if text in OPEN_INTEREST_PERIODS else _refuse_value(endpoint, parameter.name)
        case Kind.CHOICE:
            return text if text in parameter.choices else _refuse_value(endpoint, parameter.name)
        case Kind.TEXT:
            return text
    if not re.fullmatch(_NUMBER_RANGE[1:-1], text):
        return _refuse_chars(parameter.name, _NUMBER_RANGE) if is_spot else _refuse_empty(parameter.name)
    return _check_limit(endpoint, parameter, int(text)) if parameter.kind is Kind.LIMIT else int(text)


def _check_symbols(name: str, text: str, symbols: Collection[str] | None) -> str | RestRefusal:
    if not re.fullmatch(_SYMBOLS_RANGE[1:-1], text):
        return _refuse_chars(name, _SYMBOLS_RANGE)
    wanted = json.loads(text)
    if not wanted:
        return _refuse_empty(name)
    return text if symbols is None or all(symbol in symbols for symbol in wanted) else INVALID_SYMBOL


def _check_limit(endpoint: Endpoint, parameter: Parameter, limit: int) -> int | RestRefusal:
    if endpoint.market is Market.SPOT:
        return min(limit, parameter.largest) if limit else _refuse_value(endpoint, parameter.name)
    if endpoint.name == "rpiDepth":
        return limit if limit == parameter.largest else RestRefusal(400, -4021, f"{limit} is not valid depth limit")
    if endpoint.name == "depth":
        if limit not in FUTURES_DEPTH_LIMITS:
            return RestRefusal(400, -4021, f"{limit} is not valid depth limit")
        return limit
    return limit if 1 <= limit <= parameter.largest else _refuse_value(endpoint, parameter.name)


def _find_conflict(endpoint: Endpoint, values: dict[str, str | int], ts_now_ms: int | None) -> RestRefusal | None:
    if endpoint.market is Market.SPOT:
        if "symbol" in values and "symbols" in values:
            return BAD_COMBINATION
        is_lone = endpoint.name in ("ticker", "tickerTradingDay") and not values.keys() & {"symbol", "symbols"}
        return BAD_COMBINATION if is_lone else None
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
