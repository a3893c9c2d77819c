"""Control frames of Binance's market sockets: the requests a client sends and the answers a venue gives.

A frame is text JSON. The venue parses it with Rust's serde, and its refusals quote serde; their line and column are
imitated for one-line frames and may differ by a character where serde counts otherwise.
Futures wrap a refusal as {"error": {...}, "id"}, spot sends {"code", "msg", "id"?} bare.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from venues.binance.messages import ControlError, ControlReply
from venues.binance.numbers import MalformedMessageError
from venues.binance.streams import STREAMS_MAX, Delivery, Market, Target, find_delivery

ID_CHARS_MAX = 36


class Method(StrEnum):
    """What a client may ask of a socket."""

    SUBSCRIBE = "SUBSCRIBE"
    UNSUBSCRIBE = "UNSUBSCRIBE"
    LIST_SUBSCRIPTIONS = "LIST_SUBSCRIPTIONS"
    SET_PROPERTY = "SET_PROPERTY"
    GET_PROPERTY = "GET_PROPERTY"


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """One control frame. `params`: stream names, or the property and its value."""

    method: Method
    params: tuple[Any, ...] = ()
    id: int | str | None = None


UNKNOWN_PROPERTY = ControlError(0, "Unknown property")
NOT_BOOLEAN = ControlError(1, "Invalid value type: expected Boolean")
NAME_NOT_STRING = ControlError(2, "Invalid request: property name must be a string")
BAD_ID = ControlError(2, "Invalid request: request ID must be an unsigned integer")
TOO_MANY_PARAMETERS = ControlError(2, "Invalid request: too many parameters")
TOO_MANY_STREAMS = ControlError(2, f"Invalid request: too many streams, at most {STREAMS_MAX}")  # wording: a guess
_VARIANTS = ", ".join(f"`{method.value}`" for method in Method)


def encode_request(request: ControlRequest) -> bytes:
    """Return the frame a client sends.

    >>> encode_request(ControlRequest(Method.SUBSCRIBE, ("btcusdt@aggTrade",), 1))
    b'{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":1}'
    """
    frame: dict[str, Any] = {"method": request.method.value}
    if request.params:
        frame["params"] = request.params
    return msgspec.json.encode(frame | {"id": request.id})


def encode_reply(market: Market, reply: ControlReply) -> bytes:
    """Return the frame a venue answers with, in its market's form."""
    if reply.error is None:
        return msgspec.json.encode({"result": reply.result, "id": reply.id})
    if market is Market.USDM:
        wrapped: dict[str, Any] = {"error": reply.error}
        return msgspec.json.encode(wrapped | ({} if reply.id is None else {"id": reply.id}))
    bare: dict[str, Any] = {"code": reply.error.code, "msg": reply.error.msg}
    return msgspec.json.encode(bare | ({} if reply.id is None else {"id": reply.id}))


def decode_request(market: Market, content: bytes) -> ControlRequest | ControlReply:
    """Return the request in a frame, or the venue's refusal of it. Any bytes: nothing is raised."""
    try:
        text = content.decode()
        frame = json.loads(text)
        json.dumps(frame, ensure_ascii=False).encode()  # half a surrogate pair cannot be answered
    except (UnicodeError, RecursionError):
        return _refuse(3, "Invalid JSON: expected value at line 1 column 1")
    except ValueError as error:
        line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
        return _refuse(3, f"Invalid JSON: expected value at line {line} column {column}")
    if not isinstance(frame, dict):
        kind = "sequence" if isinstance(frame, list) else "value"
        return _refuse(2, f"Invalid request: invalid type: {kind}, expected struct Request at line 1 column 0")
    identifier, is_id = _read_id(market, frame)
    if "method" not in frame:
        return _refuse(2, f"Invalid request: missing field `method` at line 1 column {len(text)}", identifier)
    word = frame["method"]
    if not isinstance(word, str) or word not in Method.__members__:
        shown = word if isinstance(word, str) else json.dumps(word)
        column = text.find(json.dumps(shown)) + len(shown) + 2
        detail = f"unknown variant `{shown}`, expected one of {_VARIANTS} at line 1 column {column}"
        return _refuse(2, f"Invalid request: {detail}", identifier)
    if not is_id:
        return ControlReply(None, None, BAD_ID)
    params = frame.get("params", [])
    if not isinstance(params, list):
        return _refuse(2, "Invalid request: invalid type: expected a sequence at line 1 column 0", identifier)
    method = Method(word)
    fault = _find_fault(method, params)
    if fault is not None:
        return ControlReply(identifier, None, fault)
    return ControlRequest(method, tuple(params), identifier)


def _refuse(code: int, msg: str, identifier: int | str | None = None) -> ControlReply:
    return ControlReply(identifier, None, ControlError(code, msg))


def _read_id(market: Market, frame: dict[str, Any]) -> tuple[int | str | None, bool]:
    # USD-M: an unsigned integer, which must be there. Spot: also a string of at most 36, or null, or nothing.
    value = frame.get("id")
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64:
        return value, value >= 0 or market is Market.SPOT
    if isinstance(value, str) and len(value) <= ID_CHARS_MAX:
        return value, market is Market.SPOT
    return None, value is None and market is Market.SPOT


def _find_fault(method: Method, params: list[Any]) -> ControlError | None:
    if method is Method.LIST_SUBSCRIPTIONS:
        return TOO_MANY_PARAMETERS if params else None
    if method in (Method.SUBSCRIBE, Method.UNSUBSCRIBE):
        if all(isinstance(name, str) for name in params):
            return None
        return ControlError(2, "Invalid request: invalid type: expected a string at line 1 column 0")
    if not params or not isinstance(params[0], str):
        return NAME_NOT_STRING
    if len(params) > (2 if method is Method.SET_PROPERTY else 1):
        return TOO_MANY_PARAMETERS
    if params[0] != "combined":
        return UNKNOWN_PROPERTY
    if method is Method.SET_PROPERTY and not (len(params) == 2 and isinstance(params[1], bool)):
        return NOT_BOOLEAN
    return None


class SocketSubscriptions:
    """The venue's side of one socket: which streams were asked for, and which of them bring anything."""

    def __init__(self, market: Market, target: Target) -> None:
        self.market = market
        self.route = target.route
        self.is_combined = target.is_combined
        self._asked: dict[str, Delivery] = {}  # in the order asked
        for stream in target.streams:
            self._asked[stream] = find_delivery(market, target.route, stream)

    @property
    def asked(self) -> tuple[str, ...]:
        """Every stream acknowledged, silent ones too: what LIST_SUBSCRIPTIONS shows."""
        return tuple(self._asked)

    @property
    def flowing(self) -> tuple[str, ...]:
        """The streams that bring data."""
        return tuple(stream for stream, delivery in self._asked.items() if delivery is Delivery.FLOWS)

    def find_delivery(self, stream: str) -> Delivery | None:
        """Return what becomes of a stream here; None: not asked for."""
        return self._asked.get(stream)

    def handle(self, content: bytes) -> bytes:
        """Take in one frame of the client; return the venue's answer to it."""
        request = decode_request(self.market, content)
        if isinstance(request, ControlReply):
            return encode_reply(self.market, request)
        return encode_reply(self.market, self._perform(request))

    def _perform(self, request: ControlRequest) -> ControlReply:
        match request.method:
            case Method.LIST_SUBSCRIPTIONS:
                return ControlReply(request.id, list(self._asked))
            case Method.GET_PROPERTY:
                return ControlReply(request.id, self.is_combined)
            case Method.SET_PROPERTY:
                self.is_combined = request.params[1]
            case Method.UNSUBSCRIBE:
                for stream in request.params:
                    self._asked.pop(stream, None)
            case Method.SUBSCRIBE:
                if len(self._asked.keys() | set(request.params)) > STREAMS_MAX:
                    return ControlReply(request.id, None, TOO_MANY_STREAMS)
                for stream in request.params:
                    self._asked[stream] = find_delivery(self.market, self.route, stream)
        return ControlReply(request.id)


class PendingRequests:
    """The client's side: numbers requests, and says what each answer answered or that none came in time."""

    def __init__(self, timeout_ns: int) -> None:
        self._timeout_ns = timeout_ns
        self._last_id = 0
        self._waiting: dict[int, tuple[ControlRequest, int]] = {}

    def make(self, method: Method, params: tuple[Any, ...], ts_now_ns: int) -> ControlRequest:
        """Return the next request to send."""
        self._last_id += 1
        request = ControlRequest(method, params, self._last_id)
        self._waiting[self._last_id] = request, ts_now_ns + self._timeout_ns
        return request

    def settle(self, reply: ControlReply) -> ControlRequest | None:
        """Return the request a reply answers; None if nobody waits for it."""
        found = self._waiting.pop(reply.id, None) if isinstance(reply.id, int) else None
        return found[0] if found else None

    def take_overdue(self, ts_now_ns: int) -> list[ControlRequest]:
        """Return, once, the requests whose answer is overdue."""
        overdue = [key for key, (_, due_ns) in self._waiting.items() if due_ns <= ts_now_ns]
        return [self._waiting.pop(key)[0] for key in overdue]


def check_stream_names(names: tuple[str, ...]) -> None:
    """Raise MalformedMessageError if a name could not stand in a path or frame."""
    for name in names:
        if not name or any(character in name for character in '/?#" \n'):
            raise MalformedMessageError(f"{name!r} is no stream name; write like 'btcusdt@aggTrade'")
