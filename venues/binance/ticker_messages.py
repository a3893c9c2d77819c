"""WebSocket messages of Binance that sum up trades: day tickers, mini tickers, windows, averages, continuous candles.

Spot's and futures' forms; fields of one market only are UNSET where absent. Numbers stay the venue's text.
"""

import msgspec
from msgspec import UNSET, UnsetType

from venues.binance.numbers import DecimalText


class DayTickerMessage(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="24hrTicker", rename={
    "ts_event_ms": "E", "symbol": "s", "change_px": "p", "change_percent": "P", "average_px": "w",
    "previous_close_px": "x", "last_px": "c", "last_qty": "Q", "bid_px": "b", "bid_qty": "B", "ask_px": "a",
    "ask_qty": "A", "open_px": "o", "high_px": "h", "low_px": "l", "volume_base": "v", "volume_quote": "q",
    "ts_open_ms": "O", "ts_close_ms": "C", "first_id": "F", "last_id": "L", "trades": "n", "family": "st", "pair": "ps",
}):  # fmt: skip
    """The last 24 hours of a symbol. The book and the close before are spot's."""

    ts_event_ms: int
    symbol: str
    change_px: DecimalText
    change_percent: DecimalText
    average_px: DecimalText
    last_px: DecimalText
    last_qty: DecimalText
    open_px: DecimalText
    high_px: DecimalText
    low_px: DecimalText
    volume_base: DecimalText
    volume_quote: DecimalText
    ts_open_ms: int
    ts_close_ms: int
    first_id: int
    last_id: int
    trades: int
    previous_close_px: DecimalText | UnsetType = UNSET
    bid_px: DecimalText | UnsetType = UNSET
    bid_qty: DecimalText | UnsetType = UNSET
    ask_px: DecimalText | UnsetType = UNSET
    ask_qty: DecimalText | UnsetType = UNSET
    family: int | UnsetType = UNSET
    pair: str | UnsetType = UNSET


class WindowTickerMessage(msgspec.Struct, frozen=True, gc=False, rename={
    "event": "e", "ts_event_ms": "E", "symbol": "s", "change_px": "p", "change_percent": "P", "open_px": "o",
    "high_px": "h", "low_px": "l", "last_px": "c", "average_px": "w", "volume_base": "v", "volume_quote": "q",
    "ts_open_ms": "O", "ts_close_ms": "C", "first_id": "F", "last_id": "L", "trades": "n",
}):  # fmt: skip
    """Spot: the last hour, four hours or day; `event` is 1hTicker, 4hTicker or 1dTicker."""

    event: str
    ts_event_ms: int
    symbol: str
    change_px: DecimalText
    change_percent: DecimalText
    open_px: DecimalText
    high_px: DecimalText
    low_px: DecimalText
    last_px: DecimalText
    average_px: DecimalText
    volume_base: DecimalText
    volume_quote: DecimalText
    ts_open_ms: int
    ts_close_ms: int
    first_id: int
    last_id: int
    trades: int


class MiniTicker(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="24hrMiniTicker", rename={
    "ts_event_ms": "E", "symbol": "s", "last_px": "c", "open_px": "o", "high_px": "h", "low_px": "l",
    "volume_base": "v", "volume_quote": "q", "family": "st", "pair": "ps",
}):  # fmt: skip
    """The last 24 hours of a symbol, in short."""

    ts_event_ms: int
    symbol: str
    last_px: DecimalText
    open_px: DecimalText
    high_px: DecimalText
    low_px: DecimalText
    volume_base: DecimalText
    volume_quote: DecimalText
    family: int | UnsetType = UNSET
    pair: str | UnsetType = UNSET


class AveragePxMessage(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="avgPrice", rename={
    "ts_event_ms": "E", "symbol": "s", "interval": "i", "average_px": "w", "ts_trade_ms": "T",
}):  # fmt: skip
    """Spot: the average px of the last minutes."""

    ts_event_ms: int
    symbol: str
    interval: str
    average_px: DecimalText
    ts_trade_ms: int


class ContinuousBar(msgspec.Struct, frozen=True, gc=False, rename={
    "ts_open_ms": "t", "ts_close_ms": "T", "interval": "i", "first_id": "f", "last_id": "L", "open_px": "o",
    "close_px": "c", "high_px": "h", "low_px": "l", "volume_base": "v", "trades": "n", "is_closed": "x",
    "volume_quote": "q", "taker_buy_base": "V", "taker_buy_quote": "Q", "ignored": "B",
}):  # fmt: skip
    """A bar without a symbol; its ids are those of updates on the venue, of trades here."""

    ts_open_ms: int
    ts_close_ms: int
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


class ContinuousKline(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="continuous_kline", rename={
    "ts_event_ms": "E", "pair": "ps", "contract_type": "ct", "bar": "k", "family": "st",
}):  # fmt: skip
    """A push of a `<pair>_<contract type>@continuousKline_<interval>` stream."""

    ts_event_ms: int
    pair: str
    contract_type: str
    bar: ContinuousBar
    family: int | UnsetType = UNSET


class DayTickers(msgspec.Struct, frozen=True):
    """The batch of `!ticker@arr`: whatever changed."""

    items: tuple[DayTickerMessage, ...]


class WindowTickers(msgspec.Struct, frozen=True):
    """The batch of `!ticker_1h@arr` and its like."""

    items: tuple[WindowTickerMessage, ...]


class MiniTickers(msgspec.Struct, frozen=True):
    """The batch of `!miniTicker@arr`."""

    items: tuple[MiniTicker, ...]
