"""What Binance's REST says of prices at a glance: tickers, best prices, averages, and ratios of the past.

Numbers stay the venue's text. Fields of one market only are UNSET where absent.
"""

import msgspec
from msgspec import UNSET, UnsetType

from venues.binance.numbers import DecimalText


class DayTicker(msgspec.Struct, frozen=True, rename={
    "change_px": "priceChange", "change_percent": "priceChangePercent", "average_px": "weightedAvgPrice",
    "previous_close_px": "prevClosePrice", "last_px": "lastPrice", "last_qty": "lastQty", "bid_px": "bidPrice",
    "bid_qty": "bidQty", "ask_px": "askPrice", "ask_qty": "askQty", "open_px": "openPrice", "high_px": "highPrice",
    "low_px": "lowPrice", "volume_base": "volume", "volume_quote": "quoteVolume", "ts_open_ms": "openTime",
    "ts_close_ms": "closeTime", "first_id": "firstId", "last_id": "lastId", "trades": "count",
}):  # fmt: skip
    """A window of trades, 24 hours long unless asked otherwise. MINI leaves out changes, averages and the book."""

    symbol: str
    last_px: DecimalText
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
    change_px: DecimalText | UnsetType = UNSET
    change_percent: DecimalText | UnsetType = UNSET
    average_px: DecimalText | UnsetType = UNSET
    last_qty: DecimalText | UnsetType = UNSET
    previous_close_px: DecimalText | UnsetType = UNSET  # spot's 24 hours only, and so is the book
    bid_px: DecimalText | UnsetType = UNSET
    bid_qty: DecimalText | UnsetType = UNSET
    ask_px: DecimalText | UnsetType = UNSET
    ask_qty: DecimalText | UnsetType = UNSET


class PxTicker(msgspec.Struct, frozen=True, rename={"px": "price", "ts_trade_ms": "time"}):
    """The last px; spot does not say of when."""

    symbol: str
    px: DecimalText
    ts_trade_ms: int | UnsetType = UNSET


class BookTickerRow(msgspec.Struct, frozen=True, rename={
    "bid_px": "bidPrice", "bid_qty": "bidQty", "ask_px": "askPrice", "ask_qty": "askQty", "ts_event_ms": "time",
    "last_id": "lastUpdateId",
}):  # fmt: skip
    """The best bid and ask; spot says neither time nor id."""

    symbol: str
    bid_px: DecimalText
    bid_qty: DecimalText
    ask_px: DecimalText
    ask_qty: DecimalText
    ts_event_ms: int | UnsetType = UNSET
    last_id: int | UnsetType = UNSET


class AveragePx(msgspec.Struct, frozen=True, rename={"minutes": "mins", "px": "price", "ts_trade_ms": "closeTime"}):
    """Spot's average px of the last minutes, and when the last trade was."""

    minutes: int
    px: DecimalText
    ts_trade_ms: int


class Constituents(msgspec.Struct, frozen=True, rename={"ts_event_ms": "time"}):
    """Whose prices an index is made of: exchange, symbol, price, weight."""

    symbol: str
    ts_event_ms: int
    constituents: tuple[dict[str, str], ...]


class TakerRatioRow(msgspec.Struct, frozen=True, rename={
    "ratio": "buySellRatio", "bought_base": "buyVol", "sold_base": "sellVol", "ts_event_ms": "timestamp",
}):  # fmt: skip
    """What takers bought and sold in one period."""

    ratio: DecimalText
    bought_base: DecimalText
    sold_base: DecimalText
    ts_event_ms: int


class BasisRow(msgspec.Struct, frozen=True, rename={
    "index_px": "indexPrice", "contract_type": "contractType", "basis_frac": "basisRate", "px": "futuresPrice",
    "annual_frac": "annualizedBasisRate", "basis_px": "basis", "ts_event_ms": "timestamp",
}):  # fmt: skip
    """How far a contract was from its index; a perpetual has no annual rate: ""."""

    index_px: DecimalText
    contract_type: str
    basis_frac: DecimalText
    px: DecimalText
    annual_frac: DecimalText
    basis_px: DecimalText
    pair: str
    ts_event_ms: int


class SystemStatus(msgspec.Struct, frozen=True):
    """Whether the venue works: 0 normal, 1 maintenance."""

    status: int
    msg: str


TickerReply = (
    DayTicker | tuple[DayTicker, ...] | PxTicker | tuple[PxTicker, ...] | BookTickerRow | tuple[BookTickerRow, ...]
    | AveragePx | Constituents | SystemStatus | tuple[TakerRatioRow, ...] | tuple[BasisRow, ...]
)  # fmt: skip
