"""The Indexer's WebSocket, message by message, both ways: what a client sends, what the server answers and streams.

Bytes <-> records only; `indexer_session` has the rules of a connection. Versions: `CHANNEL_VERSIONS`. A message of a
type, channel or shape nobody knew comes out as `UnknownMessage`, so that a feed can log it and live on.
Source: PROTOCOLS.md 2.7; v4-chain indexer socks helpers/message.ts, types.ts.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from venues.dydx.chain_errors import MalformedMessageError
from venues.dydx.indexer import CandlesReply, HeightReply, MarketsReply, TradesReply, decode_json, encode_json
from venues.dydx.indexer_records import (
    AssetPositionRow,
    BookSnapshot,
    BookUpdate,
    CandleRow,
    FillRow,
    MarketUpdate,
    OraclePrice,
    OrderRow,
    ParentSubaccountRow,
    PositionRow,
    Row,
    SubaccountRow,
    TransferRow,
)

ORDERBOOK = "v4_orderbook"
TRADES = "v4_trades"
MARKETS = "v4_markets"
CANDLES = "v4_candles"
SUBACCOUNTS = "v4_subaccounts"
PARENT_SUBACCOUNTS = "v4_parent_subaccounts"
BLOCK_HEIGHT = "v4_block_height"

CHANNEL_VERSIONS = {
    ORDERBOOK: "1.0.0",
    TRADES: "2.1.0",
    MARKETS: "1.0.0",
    CANDLES: "1.0.0",
    SUBACCOUNTS: "3.0.0",
    PARENT_SUBACCOUNTS: "3.0.0",
    BLOCK_HEIGHT: "1.0.0",
}


class MarketsUpdate(Row, frozen=True):
    """`v4_markets`: what changed of markets, or oracle prices."""

    trading: dict[str, MarketUpdate] | UnsetType = UNSET
    oracle_prices: dict[str, OraclePrice] | UnsetType = UNSET


class SubaccountSnapshot(Row, frozen=True):
    """`v4_subaccounts`, first message. All UNSET: nobody ever funded it."""

    subaccount: SubaccountRow | UnsetType = UNSET
    orders: tuple[OrderRow, ...] = ()
    block_height: str | UnsetType = UNSET


class ParentSubaccountSnapshot(Row, frozen=True):
    """`v4_parent_subaccounts`, first message."""

    subaccount: ParentSubaccountRow | UnsetType = UNSET
    orders: tuple[OrderRow, ...] = ()
    block_height: str | UnsetType = UNSET


class SubaccountUpdate(Row, frozen=True):
    """What changed of a subaccount: whatever is there. `transfers` is one transfer, as the Indexer has it."""

    perpetual_positions: tuple[PositionRow, ...] | UnsetType = UNSET
    asset_positions: tuple[AssetPositionRow, ...] | UnsetType = UNSET
    orders: tuple[OrderRow, ...] | UnsetType = UNSET
    fills: tuple[FillRow, ...] | UnsetType = UNSET
    transfers: TransferRow | UnsetType | None = UNSET
    trading_reward: dict[str, Any] | UnsetType | None = UNSET
    block_height: str | UnsetType = UNSET


class BlockHeightUpdate(Row, frozen=True):
    """A block was indexed."""

    block_height: str
    time: str


# Channel -> (type of the first contents, type of an update's contents).
CONTENTS: dict[str, tuple[Any, Any]] = {
    ORDERBOOK: (BookSnapshot, BookUpdate),
    TRADES: (TradesReply, TradesReply),
    MARKETS: (MarketsReply, MarketsUpdate),
    CANDLES: (CandlesReply, CandleRow),
    SUBACCOUNTS: (SubaccountSnapshot, SubaccountUpdate),
    PARENT_SUBACCOUNTS: (ParentSubaccountSnapshot, SubaccountUpdate),
    BLOCK_HEIGHT: (HeightReply, BlockHeightUpdate),
}


@dataclass(frozen=True, slots=True)
class Connected:
    """The first message of a connection; its message id is 0."""

    connection_id: str
    message_id: int


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription begins; `contents` is of the first type in `CONTENTS`."""

    connection_id: str
    message_id: int
    channel: str
    id: str
    contents: Any


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """A subscription ended."""

    connection_id: str
    message_id: int
    channel: str
    id: str


@dataclass(frozen=True, slots=True)
class ChannelData:
    """One update, or a batch of them in order; each of `updates` is of the second type in `CONTENTS`."""

    connection_id: str
    message_id: int
    channel: str
    id: str
    version: str
    updates: tuple[Any, ...]
    is_batch: bool = False
    subaccount_number: int | None = None  # parent channel only: which child


@dataclass(frozen=True, slots=True)
class StreamError:
    """The server refuses something; the connection stays unless a close follows."""

    connection_id: str
    message_id: int
    message: str
    channel: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A message nobody knew: its type, channel and bytes."""

    type: str
    channel: str
    message_id: int
    text: bytes


ServerMessage = Connected | Subscribed | Unsubscribed | ChannelData | StreamError | UnknownMessage


class _Envelope(msgspec.Struct, frozen=True):
    type: str = ""
    connection_id: str = ""
    message_id: int = -1
    channel: str = ""
    id: str | None = None
    version: str = ""
    message: str = ""
    subaccount_number: int | None = msgspec.field(default=None, name="subaccountNumber")
    contents: msgspec.Raw = msgspec.Raw(b"null")


def decode_server(text: bytes | str) -> ServerMessage:
    """Return what the server says.

    Raises: MalformedMessageError if it is no JSON object of the envelope's shape, or known contents do not read.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    envelope = decode_json(_Envelope, data)
    connection_id, message_id, channel = envelope.connection_id, envelope.message_id, envelope.channel
    channel_id = envelope.id or (channel if channel == MARKETS and envelope.type != "error" else "")
    kinds = CONTENTS.get(channel)
    match envelope.type:
        case "connected":
            return Connected(connection_id, message_id)
        case "subscribed" if kinds:
            contents = decode_json(kinds[0], bytes(envelope.contents))
            return Subscribed(connection_id, message_id, channel, channel_id, contents)
        case "unsubscribed":
            return Unsubscribed(connection_id, message_id, channel, channel_id)
        case "channel_data" | "channel_batch_data" if kinds:
            is_batch = envelope.type == "channel_batch_data"
            kind = tuple[kinds[1], ...] if is_batch else kinds[1]  # type: ignore[valid-type]
            contents = decode_json(kind, bytes(envelope.contents))
            updates = contents if is_batch else (contents,)
            return ChannelData(
                connection_id,
                message_id,
                channel,
                channel_id,
                envelope.version,
                updates,
                is_batch,
                envelope.subaccount_number,
            )
        case "error":
            return StreamError(connection_id, message_id, envelope.message, channel, channel_id)
    return UnknownMessage(envelope.type, channel, message_id, data)


def encode_server(message: ServerMessage) -> bytes:
    """Return the server's JSON, fields in the server's order."""
    head: dict[str, Any]
    match message:
        case Connected():
            head = {"type": "connected"} | _ids(message)
        case Subscribed():
            head = {"type": "subscribed"} | _ids(message) | {"channel": message.channel} | _channel_id(message)
            head["contents"] = message.contents
        case Unsubscribed():
            head = {"type": "unsubscribed"} | _ids(message) | {"channel": message.channel} | _channel_id(message)
        case ChannelData():
            head = {"type": "channel_batch_data" if message.is_batch else "channel_data"} | _ids(message)
            head |= _channel_id(message) | {"channel": message.channel, "version": message.version}
            head["contents"] = message.updates if message.is_batch else message.updates[0]
            if message.subaccount_number is not None:
                head["subaccountNumber"] = message.subaccount_number
        case StreamError():
            head = {"type": "error", "message": message.message} | _ids(message)
            head |= {name: value for name, value in (("channel", message.channel), ("id", message.id)) if value}
        case UnknownMessage():
            return message.text
    return encode_json(head)


def _channel_id(message: Subscribed | Unsubscribed | ChannelData) -> dict[str, Any]:
    # v4_markets is the one channel whose messages carry no id.
    return {} if message.channel == MARKETS else {"id": message.id}


def _ids(message: Connected | Subscribed | Unsubscribed | ChannelData | StreamError) -> dict[str, Any]:
    return {"connection_id": message.connection_id, "message_id": message.message_id}


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A client wants a channel. `id` is None where the channel needs none."""

    channel: str
    id: str | None = None
    is_batched: bool = False


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """A client wants no more of a channel."""

    channel: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """`{"type":"ping"}`: the server does nothing about it."""


@dataclass(frozen=True, slots=True)
class InvalidRequest:
    """A client's message the server refuses; `text` is its answer, `is_counted` whether too many of them cost the
    connection."""

    text: str
    is_counted: bool = False


ClientMessage = Subscribe | Unsubscribe | Ping | InvalidRequest


def decode_client(text: bytes | str) -> ClientMessage:
    """Return what the client says; what the server would refuse comes out as `InvalidRequest` with its words."""
    try:
        fields = decode_json(dict[str, Any], text)
    except MalformedMessageError:
        return _judge_no_object(text)
    kind = fields.get("type")
    if not kind:
        return InvalidRequest("Invalid message: type is required", is_counted=True)
    if kind == "ping":
        return Ping()
    if kind not in ("subscribe", "unsubscribe"):
        return InvalidRequest(f"Invalid message type: {_show(kind)}", is_counted=True)
    channel = fields.get("channel")
    if not channel:
        return InvalidRequest("Invalid subscribe message: channel is required")
    if not isinstance(channel, str) or channel not in CHANNEL_VERSIONS:
        return InvalidRequest(f"Invalid channel: {_show(channel)}")
    channel_id = fields.get("id")
    if not isinstance(channel_id, str):
        if channel not in (MARKETS, BLOCK_HEIGHT):
            return InvalidRequest(f"Invalid id: {_show(fields['id']) if 'id' in fields else 'undefined'}")
        channel_id = None
    if kind == "unsubscribe":
        return Unsubscribe(channel, channel_id)
    return Subscribe(channel, channel_id, is_batched=fields.get("batched") is True)


def _judge_no_object(text: bytes | str) -> InvalidRequest:
    try:
        msgspec.json.decode(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return InvalidRequest("Invalid message: could not parse", is_counted=True)
    return InvalidRequest("Invalid message: type is required", is_counted=True)


def _show(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def encode_client(message: Subscribe | Unsubscribe | Ping) -> bytes:
    """Return the client's JSON."""
    match message:
        case Subscribe():
            fields: dict[str, Any] = {"type": "subscribe", "channel": message.channel}
        case Unsubscribe():
            fields = {"type": "unsubscribe", "channel": message.channel}
        case Ping():
            return b'{"type":"ping"}'
    if message.id is not None:
        fields["id"] = message.id
    if isinstance(message, Subscribe) and message.is_batched:
        fields["batched"] = True
    return encode_json(fields)
