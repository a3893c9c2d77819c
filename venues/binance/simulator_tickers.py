"""What the simulator says of a symbol at a glance, by REST and by stream: windows of trades, averages, best prices.

A window is true to the minute: it begins with the minute in which it would begin. `first_id` is counted back from the
last trade. Sans-IO.
Does not model: trades that were busted, the calendar of spot's `timeZone` (a trading day begins at 00:00 UTC).
"""

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from msgspec import UNSET
from msgspec.structs import replace

from market.records import NS_PER_DAY, NS_PER_MS
from venues.binance.intervals import MINUTE_NS
from venues.binance.messages import Data
from venues.binance.simulator_symbol import SymbolFeed
from venues.binance.ticker_messages import AveragePxMessage, DayTickerMessage, MiniTicker, WindowTickerMessage
from venues.binance.ticker_replies import AveragePx, BookTickerRow, DayTicker, PxTicker
from venues.simulator.candles import merge_candles

AVERAGE_MINUTES = 5
_UNITS_NS = {"m": MINUTE_NS, "h": 60 * MINUTE_NS, "d": NS_PER_DAY}


def parse_window_ns(text: str) -> int:
    """Return the length of a window.

    >>> parse_window_ns("4h") == 4 * 3_600_000_000_000
    True
    """
    found = re.fullmatch("([0-9]{1,2})([mhd])", text)
    assert found is not None, f"{text!r} is no window: the endpoint checks it"
    return int(found[1]) * _UNITS_NS[found[2]]


@dataclass(frozen=True, slots=True)
class Window:
    """The trades of a while, as the venue writes them."""

    open_px: str
    high_px: str
    low_px: str
    last_px: str
    average_px: str
    change_px: str
    change_percent: str
    volume_base: str
    volume_quote: str
    first_id: int
    last_id: int
    trades: int
    ts_open_ms: int


def make_window(feed: SymbolFeed, ts_from_ns: int) -> Window:
    """Return what was traded since a time, the day's at once where it is the last 24 hours."""
    now_ns, px_decimals, lot_base = feed.market.ts_now_ns, feed.px_decimals, feed.instrument.lot_base
    if ts_from_ns == now_ns - NS_PER_DAY:
        day = feed.market.get_day_stats(feed.instrument_id)
        pxs = day.open_px, day.high_px, day.low_px, day.last_px
        lots, turnover_quote, trades = day.volume_lots, day.turnover_quote, day.trades
    else:
        minute_ns = ts_from_ns // MINUTE_NS * MINUTE_NS
        candles = feed.market.list_candles(feed.instrument_id, MINUTE_NS, minute_ns, now_ns + 1, is_filled=False)
        if candles:
            shape = merge_candles(candles, NS_PER_DAY)
            pxs = (shape[0].open_px, max(one.high_px for one in shape), min(one.low_px for one in shape),
                   shape[-1].close_px)  # fmt: skip
        else:
            pxs = (feed.market.get_day_stats(feed.instrument_id).last_px,) * 4
        lots, trades = sum(one.volume_lots for one in candles), sum(one.count for one in candles)
        turnover_quote = sum(one.turnover_lots_px for one in candles) * lot_base
    opened, high, low, last = (feed.write_px(px) for px in pxs)
    average = turnover_quote / (lots * lot_base) if lots else pxs[3]
    change = Decimal(last) - Decimal(opened)
    decimals = px_decimals + feed.qty_decimals if feed.is_futures else 8
    return Window(
        opened, high, low, last, feed.write_px(average), f"{change:.{px_decimals}f}",
        f"{100 * change / Decimal(opened):.3f}", feed.write_qty(lots), f"{turnover_quote:.{decimals}f}",
        feed.last_trade_id - trades + 1 if trades else -1, feed.last_trade_id if trades else -1, trades,
        ts_from_ns // NS_PER_MS,
    )  # fmt: skip


def make_day_row(
    feed: SymbolFeed, ts_now_ms: int, ts_from_ns: int | None = None, *, is_mini: bool = False
) -> DayTicker:
    """Return a row of ticker/24hr; of spot's `ticker` and `ticker/tradingDay` if it begins at another time."""
    day_ns = feed.market.ts_now_ns - NS_PER_DAY
    window = make_window(feed, day_ns if ts_from_ns is None else ts_from_ns)
    whole = (
        feed.symbol, window.last_px, window.open_px, window.high_px, window.low_px, window.volume_base,
        window.volume_quote, window.ts_open_ms, ts_now_ms, window.first_id, window.last_id, window.trades,
    )  # fmt: skip
    if is_mini:
        return DayTicker(*whole)
    sums = (*whole, window.change_px, window.change_percent, window.average_px)
    if ts_from_ns is not None:
        return DayTicker(*sums)
    if feed.is_futures:
        return DayTicker(*sums, feed.get_last_qty())
    return DayTicker(*sums, feed.get_last_qty(), window.open_px, *_list_best(feed))


def make_px_row(feed: SymbolFeed, ts_now_ms: int) -> PxTicker:
    """Return the last px."""
    last_px = feed.market.get_last_px(feed.instrument_id)
    if math.isnan(last_px):  # no trade since the start
        last_px = feed.market.get_day_stats(feed.instrument_id).last_px
    return PxTicker(feed.symbol, feed.write_px(last_px), ts_now_ms if feed.is_futures else UNSET)


def make_book_row(feed: SymbolFeed, ts_now_ms: int) -> BookTickerRow:
    """Return the best prices, zero where there is none."""
    if feed.is_futures:
        return BookTickerRow(feed.symbol, *_list_best(feed), ts_now_ms, feed.publisher.last_id)
    return BookTickerRow(feed.symbol, *_list_best(feed))


def make_average(feed: SymbolFeed) -> AveragePx:
    """Return the average px of the last minutes."""
    window = make_window(feed, feed.market.ts_now_ns - AVERAGE_MINUTES * MINUTE_NS)
    return AveragePx(AVERAGE_MINUTES, window.average_px, feed.get_last_trade_ms())


def make_ticker_message(feed: SymbolFeed, kind: str, ts_event_ms: int) -> Data:
    """Return a push of `@ticker`, `@ticker_<window>`, `@miniTicker` or `@avgPrice`, by that word."""
    family, pair = (1, feed.symbol) if feed.is_futures else (UNSET, UNSET)
    if kind == "avgPrice":
        average = make_average(feed)
        return AveragePxMessage(
            ts_event_ms, feed.symbol, f"{average.minutes}m", average.px, average.ts_trade_ms
        )  # fmt: skip
    length_ns = parse_window_ns(kind.removeprefix("ticker_")) if kind.startswith("ticker_") else NS_PER_DAY
    window = make_window(feed, feed.market.ts_now_ns - length_ns)
    if kind == "miniTicker":
        return MiniTicker(
            ts_event_ms, feed.symbol, window.last_px, window.open_px, window.high_px, window.low_px,
            window.volume_base, window.volume_quote, family, pair,
        )  # fmt: skip
    if kind.startswith("ticker_"):
        return WindowTickerMessage(
            kind.removeprefix("ticker_") + "Ticker", ts_event_ms, feed.symbol, window.change_px, window.change_percent,
            window.open_px, window.high_px, window.low_px, window.last_px, window.average_px, window.volume_base,
            window.volume_quote, window.ts_open_ms, ts_event_ms, window.first_id, window.last_id, window.trades,
        )  # fmt: skip
    ticker = DayTickerMessage(
        ts_event_ms, feed.symbol, window.change_px, window.change_percent, window.average_px, window.last_px,
        feed.get_last_qty(), window.open_px, window.high_px, window.low_px, window.volume_base, window.volume_quote,
        window.ts_open_ms, ts_event_ms, window.first_id, window.last_id, window.trades, family=family, pair=pair,
    )  # fmt: skip
    if feed.is_futures:
        return ticker
    bid_px, bid_qty, ask_px, ask_qty = _list_best(feed)
    return replace(
        ticker, previous_close_px=window.open_px, bid_px=bid_px, bid_qty=bid_qty, ask_px=ask_px, ask_qty=ask_qty
    )


def _list_best(feed: SymbolFeed) -> tuple[str, str, str, str]:
    bid, ask = feed.publisher.get_best()
    zero = feed.write_px(0.0), feed.write_qty(0)
    return *(bid or zero), *(ask or zero)
