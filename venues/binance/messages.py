"""WebSocket messages of Binance market streams: bytes to frozen messages and back, bare or in the combined wrapper.

Covers: aggTrade, trade, depthUpdate (diff and futures partial depth), partial depth (spot), bookTicker,
markPriceUpdate (one symbol or the `!markPrice@arr` batch), kline, forceOrder, serverShutdown, tickers, averages and
continuous candles (`ticker_messages`), and the replies to control frames. Fields of one market only, and those new in
2026 (st, ps, nq, ap), are UNSET where absent.
Does not cover: compositeIndex, contractInfo, assetIndex, tradingSession, rpiDepth's own meaning (it decodes as a
depthUpdate) and user data: they come out as `UnknownMessage`, bytes kept. Unknown fields of a known message are
skipped. Numbers stay the venue's text (see `numbers`).
"""

import math
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from market.book import BookDiff, BookSnapshot, Levels
from market.records import NS_PER_MS, Side
from venues.binance.numbers import DecimalText, LotScale, MalformedMessageError, UnknownValue, parse_px, parse_qty
from venues.binance.ticker_messages import (
    AveragePxMessage,
    ContinuousKline,
    DayTickerMessage,
    DayTickers,
    MiniTicker,
    MiniTickers,
    WindowTickerMessage,
    WindowTickers,
)

LevelTexts = tuple[tuple[DecimalText, DecimalText], ...]  # (px, qty); qty of zero: the level is gone


class AggTrade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="aggTrade", rename={
    "ts_event_ms": "E", "symbol": "s", "trade_id": "a", "px": "p", "qty": "q", "qty_normal": "nq", "first_id": "f",
    "last_id": "l", "ts_trade_ms": "T", "is_buyer_maker": "m", "is_best_match": "M", "family": "st",
}):  # fmt: skip
    """Trades of one taker order at one px. `qty_normal` excludes RPI orders; `family` 1 is USD-M, 2 COIN-M."""

    ts_event_ms: int
    symbol: str
    trade_id: int
    px: DecimalText
    qty: DecimalText
    first_id: int
    last_id: int
    ts_trade_ms: int
    is_buyer_maker: bool
    qty_normal: DecimalText | UnsetType = UNSET
    is_best_match: bool | UnsetType = UNSET
    family: int | UnsetType = UNSET


class Trade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="trade", rename={
    "ts_event_ms": "E", "ts_trade_ms": "T", "symbol": "s", "trade_id": "t", "px": "p", "qty": "q", "origin": "X",
    "is_buyer_maker": "m", "is_best_match": "M", "family": "st", "buyer_order_id": "b", "seller_order_id": "a",
}):  # fmt: skip
    """One match. `origin` (futures): MARKET, INSURANCE_FUND, NA, ..."""

    ts_event_ms: int
    ts_trade_ms: int
    symbol: str
    trade_id: int
    px: DecimalText
    qty: DecimalText
    is_buyer_maker: bool
    origin: str | UnsetType = UNSET
    is_best_match: bool | UnsetType = UNSET
    family: int | UnsetType = UNSET
    buyer_order_id: int | UnsetType = UNSET
    seller_order_id: int | UnsetType = UNSET


class DepthUpdate(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="depthUpdate", rename={
    "ts_event_ms": "E", "ts_trade_ms": "T", "symbol": "s", "pair": "ps", "first_id": "U", "last_id": "u",
    "previous_id": "pu", "bids": "b", "asks": "a", "family": "st",
}):  # fmt: skip
    """Absolute quantities of changed levels; on a futures `depth<N>` stream the top N levels themselves."""

    ts_event_ms: int
    symbol: str
    first_id: int
    last_id: int
    bids: LevelTexts
    asks: LevelTexts
    ts_trade_ms: int | UnsetType = UNSET
    previous_id: int | UnsetType = UNSET
    pair: str | UnsetType = UNSET
    family: int | UnsetType = UNSET

    def to_diff(self, ts_recv_ns: int = 0, scale: LotScale | None = None) -> BookDiff:
        """Return the book's diff: float64 px, and qty in base (float64) or, given the step's scale, whole lots."""
        return BookDiff(
            self.first_id,
            self.last_id,
            -1 if self.previous_id is UNSET else self.previous_id,
            parse_levels(self.bids, scale),
            parse_levels(self.asks, scale),
            self.ts_event_ms * NS_PER_MS,
            ts_recv_ns,
        )


class BookSnapshotText(msgspec.Struct, frozen=True, gc=False, rename={
    "last_id": "lastUpdateId", "ts_event_ms": "E", "ts_trade_ms": "T",
}):  # fmt: skip
    """The whole book to some depth: spot's partial depth stream, and the REST depth reply of both markets."""

    last_id: int
    bids: LevelTexts
    asks: LevelTexts
    ts_event_ms: int | UnsetType = UNSET
    ts_trade_ms: int | UnsetType = UNSET

    def to_snapshot(self, ts_recv_ns: int = 0, scale: LotScale | None = None) -> BookSnapshot:
        """Return the book's snapshot, quantities as `DepthUpdate.to_diff` gives them."""
        return BookSnapshot(self.last_id, parse_levels(self.bids, scale), parse_levels(self.asks, scale), ts_recv_ns)


class BookTicker(msgspec.Struct, frozen=True, gc=False, rename={
    "event": "e", "update_id": "u", "symbol": "s", "pair": "ps", "bid_px": "b", "bid_qty": "B", "ask_px": "a",
    "ask_qty": "A", "ts_trade_ms": "T", "ts_event_ms": "E", "family": "st",
}):  # fmt: skip
    """The best bid and ask as of book update `update_id`. Spot says neither event nor time."""

    update_id: int
    symbol: str
    bid_px: DecimalText
    bid_qty: DecimalText
    ask_px: DecimalText
    ask_qty: DecimalText
    ts_trade_ms: int | UnsetType = UNSET
    ts_event_ms: int | UnsetType = UNSET
    event: str | UnsetType = UNSET
    pair: str | UnsetType = UNSET
    family: int | UnsetType = UNSET


class MarkPrice(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="markPriceUpdate", rename={
    "ts_event_ms": "E", "symbol": "s", "mark_px": "p", "mark_px_average": "ap", "index_px": "i", "settle_px": "P",
    "funding_rate": "r", "ts_funding_next_ms": "T", "family": "st",
}):  # fmt: skip
    """Mark, index and predicted funding. Delivery contracts have no funding: rate "" and time 0."""

    ts_event_ms: int
    symbol: str
    mark_px: DecimalText
    index_px: DecimalText
    settle_px: DecimalText
    funding_rate: DecimalText
    ts_funding_next_ms: int
    mark_px_average: DecimalText | UnsetType = UNSET
    family: int | UnsetType = UNSET

    @property
    def has_funding(self) -> bool:
        """Whether a funding rate is predicted at all; never read "" as zero."""
        return self.funding_rate != ""


class KlineBar(msgspec.Struct, frozen=True, gc=False, rename={
    "ts_open_ms": "t", "ts_close_ms": "T", "symbol": "s", "interval": "i", "first_id": "f", "last_id": "L",
    "open_px": "o", "close_px": "c", "high_px": "h", "low_px": "l", "volume_base": "v", "trades": "n",
    "is_closed": "x", "volume_quote": "q", "taker_buy_base": "V", "taker_buy_quote": "Q", "ignored": "B",
}):  # fmt: skip
    """One bar as it forms; `is_closed` once, at its end, perhaps late, perhaps lost with a connection."""

    ts_open_ms: int
    ts_close_ms: int
    symbol: str
    interval: str
    first_id: int
    last_id: int
    open_px: DecimalText
    close_px: DecimalText
    high_px: DecimalText
    low_px: DecimalText
    volume_base: DecimalText
    trades: int
    is_closed: bool
    volume_quote: DecimalText
    taker_buy_base: DecimalText
    taker_buy_quote: DecimalText
    ignored: str = "0"


class Kline(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="kline", rename={
    "ts_event_ms": "E", "symbol": "s", "bar": "k", "family": "st",
}):  # fmt: skip
    """A push of a `kline_<interval>` stream."""

    ts_event_ms: int
    symbol: str
    bar: KlineBar
    family: int | UnsetType = UNSET


class LiquidationOrder(msgspec.Struct, frozen=True, gc=False, rename={
    "symbol": "s", "side_word": "S", "order_type": "o", "time_in_force": "f", "qty": "q", "px": "p",
    "average_px": "ap", "status": "X", "last_filled_qty": "l", "filled_qty": "z", "ts_trade_ms": "T",
}):  # fmt: skip
    """The liquidation order inside a forceOrder push."""

    symbol: str
    side_word: str
    order_type: str
    time_in_force: str
    qty: DecimalText
    px: DecimalText
    average_px: DecimalText
    status: str
    last_filled_qty: DecimalText
    filled_qty: DecimalText
    ts_trade_ms: int

    @property
    def side(self) -> Side | UnknownValue:
        """The liquidation's own side: SELL closes a long."""
        return Side[self.side_word] if self.side_word in Side.__members__ else UnknownValue(self.side_word)


class ForceOrder(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="forceOrder", rename={
    "ts_event_ms": "E", "order": "o", "family": "st", "pair": "ps",
}):  # fmt: skip
    """The largest liquidation of a symbol in the last second (not every one)."""

    ts_event_ms: int
    order: LiquidationOrder
    family: int | UnsetType = UNSET
    pair: str | UnsetType = UNSET


class ServerShutdown(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="serverShutdown", rename={
    "ts_event_ms": "E",
}):  # fmt: skip
    """Spot: this connection will be closed within minutes; open another."""

    ts_event_ms: int


class MarkPrices(msgspec.Struct, frozen=True):
    """The batch of `!markPrice@arr`: every symbol (both families since 2026-06-30)."""

    items: tuple[MarkPrice, ...]


class ControlError(msgspec.Struct, frozen=True):
    """The venue's own refusal of a control frame, in its words."""

    code: int
    msg: str


class ControlReply(msgspec.Struct, frozen=True):
    """The answer to a control frame: `result` null (done), a list of streams or a property; or an error."""

    id: int | str | None
    result: Any = None
    error: ControlError | None = None


class UnknownMessage(msgspec.Struct, frozen=True):
    """Well-formed JSON that this codec does not know: kept whole, acted on by nobody."""

    event: UnknownValue
    content: bytes


Data = (
    AggTrade | Trade | DepthUpdate | BookSnapshotText | BookTicker | MarkPrice | MarkPrices | Kline | ForceOrder
    | ServerShutdown | DayTickerMessage | DayTickers | MiniTicker | MiniTickers | WindowTickerMessage | WindowTickers
    | AveragePxMessage | ContinuousKline | UnknownMessage
)  # fmt: skip


class StreamMessage(msgspec.Struct, frozen=True):
    """One frame from a market socket. `stream` is "" on raw sockets, where data come without the wrapper."""

    stream: str
    data: Data | ControlReply


_T = TypeVar("_T")


class _Combined(msgspec.Struct, Generic[_T], frozen=True, gc=False):
    stream: str
    data: _T


class _Head(msgspec.Struct, frozen=True, gc=False):
    # Enough of any frame to know what it is; keys in any order.
    e: str | UnsetType = UNSET
    stream: str | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    lastUpdateId: int | UnsetType = UNSET  # noqa: N815 - the wire's name
    u: int | UnsetType = UNSET
    A: Raw | UnsetType = UNSET
    id: int | str | UnsetType | None = UNSET
    result: Any | UnsetType = UNSET
    error: ControlError | UnsetType = UNSET
    code: int | UnsetType = UNSET
    msg: str | UnsetType = UNSET


_BY_EVENT: dict[str, Any] = {
    "aggTrade": AggTrade,
    "trade": Trade,
    "depthUpdate": DepthUpdate,
    "bookTicker": BookTicker,
    "markPriceUpdate": MarkPrice,
    "kline": Kline,
    "forceOrder": ForceOrder,
    "serverShutdown": ServerShutdown,
    "24hrTicker": DayTickerMessage,
    "24hrMiniTicker": MiniTicker,
    "1hTicker": WindowTickerMessage,
    "4hTicker": WindowTickerMessage,
    "1dTicker": WindowTickerMessage,
    "avgPrice": AveragePxMessage,
    "continuous_kline": ContinuousKline,
}
_EVENT_OF_CHANNEL = {
    "markPrice": "markPriceUpdate",
    "depth": "depthUpdate",
    "ticker": "24hrTicker",
    "miniTicker": "24hrMiniTicker",
    "continuousKline": "continuous_kline",
}
_BATCHES = {  # event of the first -> the batch, and what it is a batch of
    "markPriceUpdate": (MarkPrices, MarkPrice),
    "24hrTicker": (DayTickers, DayTickerMessage),
    "24hrMiniTicker": (MiniTickers, MiniTicker),
    **dict.fromkeys(("1hTicker", "4hTicker", "1dTicker"), (WindowTickers, WindowTickerMessage)),
}
Batch = MarkPrices | DayTickers | MiniTickers | WindowTickers
_BARE = {event: msgspec.json.Decoder(kind) for event, kind in _BY_EVENT.items()}
_COMBINED = {event: msgspec.json.Decoder(_Combined[kind]) for event, kind in _BY_EVENT.items()}  # type: ignore[valid-type]
_BARE_AS_BYTES = {event.encode(): decoder for event, decoder in _BARE.items()}
_SNAPSHOT = msgspec.json.Decoder(BookSnapshotText)
_ARRAY = msgspec.json.Decoder(list[Raw])
_ARRAYS = {event: msgspec.json.Decoder(tuple[kind, ...]) for event, (_, kind) in _BATCHES.items()}  # type: ignore[valid-type]
_HEAD = msgspec.json.Decoder(_Head)
_ENCODER = msgspec.json.Encoder()
_FAULTS = (msgspec.MsgspecError, ValueError, RecursionError)


def parse_levels(levels: LevelTexts, scale: LotScale | None = None) -> Levels:
    """Return (px, qty) pairs: qty in base as float64, or in whole lots where a scale is given.

    Raises: MalformedMessageError naming the number that is none.
    """
    try:
        if scale is None:
            parsed = [(float(px), float(qty)) for px, qty in levels]
        else:
            lots_by_text = scale.lots_by_text
            parsed = [(float(px), lots_by_text[qty]) for px, qty in levels]
    except ValueError:
        parsed = [(parse_px(px), parse_qty(qty) if scale is None else scale.to_lots(qty)) for px, qty in levels]
    for level in parsed:
        if not (0.0 < level[0] < math.inf and 0.0 <= level[1] < math.inf):
            raise MalformedMessageError(f"not a level: {level}; px > 0 and qty >= 0 are expected")
    return tuple(parsed)


def decode_message(content: bytes) -> StreamMessage:
    """Return what one frame from a market socket says.

    Raises: MalformedMessageError if it is not JSON, or a known message lacks a field or has one of another type.
    """
    try:
        if content.startswith(b'{"stream":"'):
            decoder = _find_combined(content[11 : content.index(b'"', 11)])
            if decoder is not None:
                try:
                    combined = decoder.decode(content)
                    return StreamMessage(combined.stream, combined.data)
                except msgspec.ValidationError:
                    pass  # not what the stream's name says: perhaps an event newer than this code
        elif content.startswith(b'{"e":"'):
            decoder = _BARE_AS_BYTES.get(content[6 : content.index(b'"', 6)])
            if decoder is not None:
                return StreamMessage("", decoder.decode(content))
        return _decode_by_head(content)
    except _FAULTS as error:
        raise MalformedMessageError(f"not a Binance message ({error}): {content[:80]!r}") from error


def encode_message(message: StreamMessage) -> bytes:
    """Return the frame a venue would send: in the combined wrapper if `stream` is not ""."""
    content = encode_data(message.data)
    if message.stream:
        return b'{"stream":' + _ENCODER.encode(message.stream) + b',"data":' + content + b"}"
    return content


def encode_data(data: Data | ControlReply) -> bytes:
    """Return the bare JSON of a message or control reply (futures form of errors; `streams` has spot's)."""
    if isinstance(data, UnknownMessage):
        return data.content
    if isinstance(data, Batch):
        return _ENCODER.encode(data.items)
    if isinstance(data, ControlReply):
        if data.error is None:
            return _ENCODER.encode({"result": data.result, "id": data.id})
        return _ENCODER.encode({"error": data.error, "id": data.id})
    return _ENCODER.encode(data)


@lru_cache(maxsize=4096)
def _find_combined(name: bytes) -> Any:
    # The decoder for a stream's pushes; None where the name does not tell (spot's partial depth, arrays, unknown).
    symbol, _, channel = name.decode("ascii", "replace").partition("@")
    channel = channel.partition("@")[0].partition("_")[0]
    if symbol.startswith("!"):
        return None
    return _COMBINED.get(_EVENT_OF_CHANNEL.get(channel, channel))


def _decode_by_head(content: bytes | Raw) -> StreamMessage:
    if bytes(content[:64]).lstrip().startswith(b"["):
        return StreamMessage("", _decode_array(content))
    head = _HEAD.decode(content)
    if isinstance(head.stream, str) and isinstance(head.data, Raw):
        inner = _decode_by_head(bytes(head.data))
        if inner.stream or isinstance(inner.data, ControlReply):
            raise ValueError("a wrapper inside a wrapper")
        return StreamMessage(head.stream, inner.data)
    if isinstance(head.e, str):
        decoder = _BARE.get(head.e)
        return StreamMessage("", decoder.decode(content) if decoder else UnknownMessage(UnknownValue(head.e), content))
    if head.lastUpdateId is not UNSET:
        return StreamMessage("", _SNAPSHOT.decode(content))
    if head.u is not UNSET and head.A is not UNSET:
        return StreamMessage("", _BARE["bookTicker"].decode(content))
    reply = _read_reply(head)
    return StreamMessage("", reply or UnknownMessage(UnknownValue(""), bytes(content)))


def _decode_array(content: bytes | Raw) -> Batch | UnknownMessage:
    try:
        items = _ARRAY.decode(content)
        event = _HEAD.decode(items[0]).e if items else "markPriceUpdate"  # of nothing: that batch comes whole
        if isinstance(event, str) and event in _BATCHES:
            batch: Batch = _BATCHES[event][0](_ARRAYS[event].decode(content))
            return batch
    except msgspec.ValidationError:
        msgspec.json.decode(content)  # not JSON: raises
    return UnknownMessage(UnknownValue("[]"), bytes(content))


def _read_reply(head: _Head) -> ControlReply | None:
    identifier = None if head.id is UNSET else head.id
    if isinstance(head.error, ControlError):
        return ControlReply(identifier, None, head.error)
    if isinstance(head.code, int) and isinstance(head.msg, str):
        return ControlReply(identifier, None, ControlError(head.code, head.msg))
    if head.result is not UNSET and head.id is not UNSET:
        return ControlReply(identifier, head.result)
    return None
