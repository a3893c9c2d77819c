"""The WebSocket, frame by frame: what a client sends and what the venue sends.

Client to venue: `encode_subscribe`, `encode_unsubscribe`, `encode_post`, `PING`; the venue reads them with
`decode_client_frame` (what they lead to on one socket is `venues.hyperliquid.session`). Venue to client: `encode_frame`
and `decode_frame`; an unknown channel is an `UnknownFrame`, not an error.
What one can subscribe to is in `venues.hyperliquid.subscriptions`. A `StateFrame` is how the venue sends the channels
that have no record here (clearinghouseState, openOrders, webData3, ...): a client gets those as `UnknownFrame`.

Source: PROTOCOLS.md 1.11.
"""

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from venues.hyperliquid import wire
from venues.hyperliquid.info_replies import (
    ActiveAssetData,
    AssetCtx,
    Candle,
    Fill,
    L2Book,
    LedgerUpdate,
    Level,
    OpenOrder,
    Trade,
)
from venues.hyperliquid.subscriptions import SUBSCRIPTIONS, Subscription
from venues.hyperliquid.wire import MalformedMessageError, Record, Unsigned

GREETING = "Websocket connection established."  # text, not JSON; the venue may send it first
PING = b'{"method":"ping"}'
IDLE_CLOSE_MS = 60_000  # the venue closes a socket on which it has sent nothing for so long: ping before


class Subscribe(msgspec.Struct, frozen=True):
    """A client wants a subscription."""

    subscription: Subscription


class Unsubscribe(msgspec.Struct, frozen=True):
    """A client wants it no more."""

    subscription: Subscription


class Ping(msgspec.Struct, frozen=True):
    """A client keeps the socket open."""


class Post(msgspec.Struct, frozen=True):
    """A request over the socket: `kind` "info" or "action", `payload` what would be POSTed."""

    id: int
    kind: str
    payload: Any


class BadRequest(msgspec.Struct, frozen=True):
    """A frame the venue cannot read; `text` is the frame."""

    text: str


ClientFrame = Subscribe | Unsubscribe | Ping | Post | BadRequest


def encode_subscribe(subscription: Subscription) -> bytes:
    """Return the frame that subscribes.

    >>> from venues.hyperliquid.subscriptions import SubTrades
    >>> encode_subscribe(SubTrades("BTC"))
    b'{"method":"subscribe","subscription":{"type":"trades","coin":"BTC"}}'
    """
    return wire.encode({"method": "subscribe", "subscription": subscription})


def encode_unsubscribe(subscription: Subscription) -> bytes:
    """Return the frame that unsubscribes."""
    return wire.encode({"method": "unsubscribe", "subscription": subscription})


def encode_post(post: Post) -> bytes:
    """Return the frame that posts a request."""
    return wire.encode({"method": "post", "id": post.id, "request": {"type": post.kind, "payload": post.payload}})


class _PostRequest(msgspec.Struct, frozen=True):
    type: str
    payload: dict[str, Any]


class _ClientShape(msgspec.Struct, frozen=True):
    method: str
    subscription: dict[str, Any] | UnsetType = UNSET
    id: Unsigned | UnsetType = UNSET
    request: _PostRequest | UnsetType = UNSET


_CLIENT = msgspec.json.Decoder(_ClientShape)


def decode_client_frame(data: bytes | str) -> ClientFrame:
    """Return what a client's frame asks; BadRequest for what cannot be read. Raises nothing."""
    text = data if isinstance(data, str) else data.decode(errors="replace")
    try:
        shape = _CLIENT.decode(data)
        if shape.method == "ping":
            return Ping()
        if shape.method in ("subscribe", "unsubscribe") and not isinstance(shape.subscription, UnsetType):
            kind = SUBSCRIPTIONS.get(str(shape.subscription.get("type")))
            if kind is not None:
                subscription = msgspec.convert(shape.subscription, kind)
                return Subscribe(subscription) if shape.method == "subscribe" else Unsubscribe(subscription)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return BadRequest(text)
    request = shape.request
    if shape.method != "post" or isinstance(shape.id, UnsetType) or isinstance(request, UnsetType):
        return BadRequest(text)
    if request.type in ("info", "action"):
        return Post(shape.id, request.type, request.payload)
    return BadRequest(text)


# From the venue.


class Frame(Record, frozen=True, tag_field="channel"):
    """Base of what the venue sends."""


class SubscriptionAck(Record, frozen=True):
    """What was asked, with defaults filled in; plain, as new kinds may come."""

    method: str
    subscription: dict[str, Any]


class SubscriptionResponse(Frame, frozen=True, tag="subscriptionResponse"):
    """A subscription was taken or dropped; it comes before the first snapshot."""

    data: SubscriptionAck


class Pong(Frame, frozen=True, tag="pong"):
    """The answer to a ping."""


class ErrorFrame(Frame, frozen=True, tag="error"):
    """A frame of the client was refused; the socket stays open."""

    data: str


class PostAnswer(Record, frozen=True):
    """`type` "info", "action" or "error"; `payload` {"type", "data"}, a reply of /exchange, or a text."""

    type: str
    payload: Any


class PostData(Record, frozen=True):
    """The answer to one post."""

    id: int
    response: PostAnswer


class PostFrame(Frame, frozen=True, tag="post"):
    """The answer to one post."""

    data: PostData


class Mids(Record, frozen=True):
    """Mid px by coin."""

    mids: dict[str, Decimal]
    dex: str | UnsetType | None = UNSET


class AllMidsFrame(Frame, frozen=True, tag="allMids"):
    """Every mid px."""

    data: Mids


class L2BookFrame(Frame, frozen=True, tag="l2Book"):
    """A whole book."""

    data: L2Book


class TradesFrame(Frame, frozen=True, tag="trades"):
    """Trades; the first frame repeats recent ones."""

    data: tuple[Trade, ...]


class Bbo(Record, frozen=True):
    """Best bid and ask, None for an empty side."""

    coin: str
    time: int
    bbo: tuple[Level | None, Level | None]


class BboFrame(Frame, frozen=True, tag="bbo"):
    """Best bid and ask."""

    data: Bbo


class CandleFrame(Frame, frozen=True, tag="candle"):
    """The candle of the moment."""

    data: Candle


class CoinCtx(Record, frozen=True):
    """A coin's context."""

    coin: str
    ctx: AssetCtx


class ActiveAssetCtxFrame(Frame, frozen=True, tag="activeAssetCtx"):
    """Marks, funding and open interest of a perpetual."""

    data: CoinCtx


class ActiveSpotAssetCtxFrame(Frame, frozen=True, tag="activeSpotAssetCtx"):
    """The same of a spot market, plain."""

    data: dict[str, Any]


class ActiveAssetDataFrame(Frame, frozen=True, tag="activeAssetData"):
    """Leverage and what may be traded."""

    data: ActiveAssetData


class FundingRow(Record, frozen=True):
    """Funding of one position; `usdc` > 0 was received."""

    time: int
    coin: str
    usdc: Decimal
    szi: Decimal
    funding_rate: Decimal
    n_samples: int | UnsetType | None = UNSET


class Liquidation(Record, frozen=True, rename="lower"):
    """The user, or who the user was set against, was liquidated."""

    lid: int
    liquidator: str
    liquidated_user: str
    liquidated_ntl_pos: Decimal
    liquidated_account_value: Decimal


class CanceledByVenue(Record, frozen=True):
    """An order the venue canceled by itself."""

    coin: str
    oid: int


class UserEvents(Record, frozen=True):
    """One of its fields; none set: an event of a kind we do not know."""

    fills: tuple[Fill, ...] | UnsetType = UNSET
    funding: FundingRow | UnsetType = UNSET
    liquidation: Liquidation | UnsetType = UNSET
    non_user_cancel: tuple[CanceledByVenue, ...] | UnsetType = UNSET


class UserEventsFrame(Frame, frozen=True, tag="user"):
    """What happened to the user."""

    data: UserEvents


class UserFills(Record, frozen=True):
    """Fills; a snapshot repeats old ones: deduplicate by tid."""

    user: str
    fills: tuple[Fill, ...]
    is_snapshot: bool | UnsetType = UNSET


class UserFillsFrame(Frame, frozen=True, tag="userFills"):
    """Fills of a user."""

    data: UserFills


class OrderUpdate(Record, frozen=True):
    """What became of an order; `venues.hyperliquid.lifecycle` reads the status."""

    order: OpenOrder
    status: str
    status_timestamp: int


class OrderUpdatesFrame(Frame, frozen=True, tag="orderUpdates"):
    """What became of orders."""

    data: tuple[OrderUpdate, ...]


class UserFundings(Record, frozen=True):
    """Funding rows."""

    user: str
    fundings: tuple[FundingRow, ...]
    is_snapshot: bool | UnsetType = UNSET


class UserFundingsFrame(Frame, frozen=True, tag="userFundings"):
    """Funding of a user."""

    data: UserFundings


class LedgerUpdates(Record, frozen=True):
    """Deposits, withdrawals, transfers."""

    user: str
    non_funding_ledger_updates: tuple[LedgerUpdate, ...] | UnsetType = UNSET
    is_snapshot: bool | UnsetType = UNSET


class LedgerUpdatesFrame(Frame, frozen=True, tag="userNonFundingLedgerUpdates"):
    """Ledger of a user."""

    data: LedgerUpdates


class StateFrame(msgspec.Struct, frozen=True):
    """A whole state, plain, as the venue sends it; decoded it is an `UnknownFrame`."""

    channel: str
    data: dict[str, Any]


class WebData2Frame(Frame, frozen=True, tag="webData2"):
    """What the web site shows, plain."""

    data: dict[str, Any]


class NotificationFrame(Frame, frozen=True, tag="notification"):
    """A text for the user, plain."""

    data: Any


class Greeting(msgspec.Struct, frozen=True):
    """The text some connections begin with."""


class UnknownFrame(msgspec.Struct, frozen=True):
    """A channel we do not know, or a user event of a new kind: the frame as plain JSON."""

    channel: str
    plain: dict[str, Any]


CHANNELS: dict[str, type[Frame]] = {str(kind.__struct_config__.tag): kind for kind in Frame.__subclasses__()}
_PLAIN: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Any)
_Known = (
    L2BookFrame
    | TradesFrame
    | BboFrame
    | AllMidsFrame
    | ActiveAssetCtxFrame
    | ActiveSpotAssetCtxFrame
    | ActiveAssetDataFrame
    | CandleFrame
    | UserEventsFrame
    | UserFillsFrame
    | OrderUpdatesFrame
    | UserFundingsFrame
    | LedgerUpdatesFrame
    | WebData2Frame
    | NotificationFrame
    | SubscriptionResponse
    | Pong
    | ErrorFrame
    | PostFrame
)
_FRAME: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(_Known)


def encode_frame(frame: Frame | StateFrame) -> bytes:
    """Return the bytes of a frame of the venue.

    >>> encode_frame(Pong())
    b'{"channel":"pong"}'
    """
    return wire.encode(frame)


def decode_frame(data: bytes | str) -> Frame | Greeting | UnknownFrame:
    """Return a frame of the venue; MalformedMessageError if it is not one, or a known channel's data is not its."""
    if data in (GREETING, GREETING.encode()):
        return Greeting()
    try:
        frame = wire.decode(_FRAME, data, "frame")
    except MalformedMessageError as error:
        plain: Any = wire.decode(_PLAIN, data, "frame")
        channel = plain.get("channel") if isinstance(plain, dict) else None
        if not isinstance(channel, str) or channel in CHANNELS:
            raise error
        return UnknownFrame(channel, plain)
    if isinstance(frame, UserEventsFrame) and frame.data == UserEvents():
        event: Any = wire.decode(_PLAIN, data, "frame")
        return UnknownFrame("user", event)
    return frame


def acknowledge(method: str, subscription: Subscription) -> SubscriptionResponse:
    """Return the venue's answer to a subscription taken or dropped, defaults filled in."""
    return SubscriptionResponse(SubscriptionAck(method, wire.to_plain(subscription)))


def answer_info_post(post: Post, reply: Any) -> PostFrame:
    """Return the answer to an info post: the reply wrapped twice, null included."""
    kind = post.payload.get("type") if isinstance(post.payload, dict) else None
    return PostFrame(PostData(post.id, PostAnswer("info", {"type": kind, "data": wire.to_plain(reply)})))


def answer_action_post(post: Post, reply_plain: Any) -> PostFrame:
    """Return the answer to an action post: the very reply of /exchange (`exchange_replies.reply_to_plain`)."""
    return PostFrame(PostData(post.id, PostAnswer("action", reply_plain)))


def refuse_post(post: Post, message: str) -> PostFrame:
    """Return the error answer to a post."""
    return PostFrame(PostData(post.id, PostAnswer("error", message)))
