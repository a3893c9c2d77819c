"""What the simulator's REST answers to a request that `rest.parse_request` found good. Sans-IO.

Settlements, candles and open interest go back as far as the market's path: open interest since the start is as
remembered every five minutes, before it the path's. A symbol's listing is the first candle's open, its delivery the
manual's 4133404800000.
Does not model: jitter of funding times beyond the block's, spot's permission and zone parameters (read, without
effect), `fundingInfo` caps by symbol, ratios of accounts (empty lists).
"""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any

from market.records import NS_PER_DAY, NS_PER_MS, NS_PER_S
from venues.binance.endpoints import list_symbols
from venues.binance.index_candles import Series
from venues.binance.intervals import INTERVALS_NS, MINUTE_NS, find_open_ns, list_opens_ns
from venues.binance.rate_limits import WEIGHT_MAX
from venues.binance.rest import RestRefusal, RestRequest
from venues.binance.rest_replies import (
    Empty,
    ExchangeInfo,
    FundingInfoRow,
    FundingRateRow,
    OpenInterest,
    OpenInterestRow,
    PremiumIndex,
    RateLimit,
    Reply,
    ServerTime,
    SymbolFilter,
    SymbolInfo,
)
from venues.binance.simulator_symbol import SymbolFeed
from venues.binance.simulator_tickers import (
    make_average,
    make_book_row,
    make_day_row,
    make_px_row,
    parse_window_ns,
)
from venues.binance.streams import Market
from venues.binance.ticker_replies import BasisRow, Constituents, SystemStatus, TakerRatioRow, TickerReply

OPEN_INTEREST_EVERY_NS = 300 * NS_PER_S
STATISTICS_DAYS_MAX = 30
_SAMPLES_MAX = STATISTICS_DAYS_MAX * 288
_EMPTY = (  # what this market cannot know, or does not have
    "topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio", "delivery-price",
    "indexInfo", "assetIndex",
)  # fmt: skip
_FUTURES_ORDERS = (
    "LIMIT",
    "MARKET",
    "STOP",
    "STOP_MARKET",
    "TAKE_PROFIT",
    "TAKE_PROFIT_MARKET",
    "TRAILING_STOP_MARKET",
)
_SPOT_ORDERS = ("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")


Answer = Reply | TickerReply | RestRefusal


class RestDesk:
    """The answers of one of the venue's markets."""

    def __init__(self, kind: Market, feeds: Mapping[str, SymbolFeed]) -> None:
        self.kind, self._feeds = kind, feeds
        self._interest: dict[str, deque[tuple[int, int, float]]] = {
            symbol: deque(maxlen=_SAMPLES_MAX) for symbol in feeds
        }
        self._ts_interest_ns = 0
        self._answers: dict[str, Callable[[RestRequest, int], Answer]] = {
            "ping": lambda request, ts_now_ms: Empty(),
            "time": lambda request, ts_now_ms: ServerTime(ts_now_ms),
            "exchangeInfo": self._exchange_info,
            "depth": lambda request, ts_now_ms: self._feed(request).publisher.make_snapshot(
                _number(request, "limit"), ts_now_ms
            ),
            "trades": self._trades,
            "historicalTrades": self._trades,
            "aggTrades": self._agg_trades,
            **dict.fromkeys(("klines", "uiKlines", "continuousKlines"), self._klines),
            "markPriceKlines": partial(self._index_klines, Series.MARK),
            "indexPriceKlines": partial(self._index_klines, Series.INDEX),
            "premiumIndexKlines": partial(self._index_klines, Series.PREMIUM),
            "premiumIndex": self._premium_index,
            "fundingRate": self._funding_rate,
            "fundingInfo": self._funding_info,
            "openInterest": self._open_interest,
            "openInterestHist": self._open_interest_hist,
            "takerlongshortRatio": self._taker_ratio,
            "basis": self._basis,
            "constituents": self._constituents,
            **dict.fromkeys(("ticker24hr", "ticker", "tickerTradingDay"), self._day_ticker),
            **dict.fromkeys(("tickerPrice", "tickerPriceV2"), partial(self._tickers, make_px_row)),
            "bookTicker": partial(self._tickers, make_book_row),
            "avgPrice": lambda request, ts_now_ms: make_average(self._feed(request)),
            "systemStatus": lambda request, ts_now_ms: SystemStatus(0, "normal"),
            **dict.fromkeys(_EMPTY, lambda request, ts_now_ms: ()),
        }
        self._answers["rpiDepth"] = self._answers["depth"]

    def on_time(self, ts_now_ns: int) -> None:
        """Remember open interest when it is time."""
        ts_sample_ns = ts_now_ns // OPEN_INTEREST_EVERY_NS * OPEN_INTEREST_EVERY_NS
        if ts_sample_ns == self._ts_interest_ns:
            return
        self._ts_interest_ns = ts_sample_ns
        for symbol, feed in self._feeds.items():
            lots = feed.market.get_open_interest_lots(feed.instrument_id)
            self._interest[symbol].append((ts_sample_ns, lots, feed.market.get_mark(feed.instrument_id).mark_px))

    def answer(self, request: RestRequest, ts_now_ms: int) -> Answer:
        """Return the reply to a checked request; `ts_now_ms` on the venue's clock."""
        return self._answers[request.endpoint.name](request, ts_now_ms)

    def _feed(self, request: RestRequest) -> SymbolFeed:
        return self._feeds[str(request.values.get("symbol") or request.values["pair"])]

    def _asked(self, request: RestRequest) -> list[SymbolFeed]:
        if "symbols" in request.values:
            return [self._feeds[symbol] for symbol in list_symbols(str(request.values["symbols"]))]
        return [self._feed(request)] if "symbol" in request.values else [*self._feeds.values()]

    def _tickers(self, make: Callable[[SymbolFeed, int], Any], request: RestRequest, ts_now_ms: int) -> Answer:
        rows = tuple(make(feed, ts_now_ms) for feed in self._asked(request))
        answer: Answer = rows[0] if "symbol" in request.values else rows
        return answer

    def _day_ticker(self, request: RestRequest, ts_now_ms: int) -> Answer:
        is_mini, now_ns = request.values.get("type") == "MINI", self._now_ns
        ts_from_ns = None
        if request.endpoint.name == "ticker":
            length_ns = parse_window_ns(str(request.values.get("windowSize", "1d")))
            ts_from_ns = (now_ns - length_ns) // MINUTE_NS * MINUTE_NS
        elif request.endpoint.name == "tickerTradingDay":
            ts_from_ns = find_open_ns("1d", now_ns)

        def make(feed: SymbolFeed, ts_now_ms: int) -> Any:
            return make_day_row(feed, ts_now_ms, ts_from_ns, is_mini=is_mini)

        return self._tickers(make, request, ts_now_ms)

    @property
    def _now_ns(self) -> int:
        return next(iter(self._feeds.values())).market.ts_now_ns

    def _trades(self, request: RestRequest, ts_now_ms: int) -> Reply:
        feed, limit = self._feed(request), _number(request, "limit")
        if "fromId" not in request.values:
            return feed.list_trades()[-limit:] if len(feed.trades) < limit else tuple(feed.trades)[-limit:]
        first_id = _number(request, "fromId")
        return tuple(row for row in feed.list_trades() if row.trade_id >= first_id)[:limit]

    def _agg_trades(self, request: RestRequest, ts_now_ms: int) -> Reply:
        feed, limit = self._feed(request), _number(request, "limit")
        start_ms, end_ms = _times(request)
        if "fromId" in request.values:
            first_id = _number(request, "fromId")
            known = feed.agg_trades
            is_known = bool(known) and first_id >= known[0].trade_id
            if is_known:  # numbered without a hole: no need to look at those before
                return tuple(islice(known, first_id - known[0].trade_id, first_id - known[0].trade_id + limit))
            return tuple(row for row in feed.list_agg_trades() if row.trade_id >= first_id)[:limit]
        if start_ms is None and end_ms is None and len(feed.agg_trades) >= limit:
            return tuple(islice(feed.agg_trades, len(feed.agg_trades) - limit, None))
        ts_to_ms = ts_now_ms + 10**12 if end_ms is None else end_ms
        kept = tuple(row for row in feed.list_agg_trades() if (start_ms or 0) <= row.ts_trade_ms <= ts_to_ms)
        return kept[-limit:] if start_ms is None else kept[:limit]

    def _klines(self, request: RestRequest, ts_now_ms: int) -> Reply | RestRefusal:
        interval = str(request.values["interval"])
        if request.values.get("contractType", "PERPETUAL") != "PERPETUAL":
            return ()
        return self._feed(request).list_klines(interval, *_times_ns(request), _number(request, "limit"))

    def _index_klines(self, series: Series, request: RestRequest, ts_now_ms: int) -> Reply | RestRefusal:
        interval, limit = str(request.values["interval"]), _number(request, "limit")
        return self._feed(request).list_index_klines(series, interval, *_times_ns(request), limit)

    def _premium_index(self, request: RestRequest, ts_now_ms: int) -> Reply:
        marks = [feed.make_mark_price(ts_now_ms) for feed in self._asked(request)]
        rows = tuple(
            PremiumIndex(mark.symbol, mark.mark_px, mark.index_px, mark.settle_px, mark.funding_rate, "0.00010000",
                         mark.ts_funding_next_ms, ts_now_ms)
            for mark in marks
        )  # fmt: skip
        return rows[0] if "symbol" in request.values else rows

    def _funding_rate(self, request: RestRequest, ts_now_ms: int) -> Reply:
        start_ms, end_ms = _times(request)
        rows = sorted(
            (
                FundingRateRow(feed.symbol, settled.ts_event_ns // NS_PER_MS, f"{settled.funding_rate:.8f}",
                               f"{settled.index_px:.8f}")
                for feed in self._asked(request)
                for settled in feed.market.list_fundings(feed.instrument_id, (start_ms or 0) * NS_PER_MS)
            ),
            key=lambda row: row.ts_funding_ms,
        )  # fmt: skip
        kept = tuple(row for row in rows if end_ms is None or row.ts_funding_ms <= end_ms)
        limit = _number(request, "limit")
        return kept[-limit:] if start_ms is None else kept[:limit]

    def _funding_info(self, request: RestRequest, ts_now_ms: int) -> Reply:
        return tuple(
            FundingInfoRow(feed.symbol, "0.02000000", "-0.02000000", feed.instrument.funding_interval_h)
            for feed in self._feeds.values()
            if feed.instrument.funding_interval_h != 8
        )

    def _open_interest(self, request: RestRequest, ts_now_ms: int) -> Reply:
        feed = self._feed(request)
        lots = feed.market.get_open_interest_lots(feed.instrument_id)
        return OpenInterest(feed.write_qty(lots), feed.symbol, ts_now_ms)

    def _open_interest_hist(self, request: RestRequest, ts_now_ms: int) -> Reply:
        feed = self._feed(request)
        remembered = {ts_ns: (lots, mark_px) for ts_ns, lots, mark_px in self._interest[feed.symbol]}
        rows: list[OpenInterestRow] = []
        for ts_ns in self._list_periods(request):
            lots, mark_px = remembered.get(ts_ns) or self._find_past_interest(feed, ts_ns)
            value = f"{lots * feed.instrument.lot_base * mark_px:.8f}"
            rows.append(OpenInterestRow(feed.symbol, feed.write_qty(lots), value, ts_ns // NS_PER_MS))
        return tuple(rows)

    def _find_past_interest(self, feed: SymbolFeed, ts_ns: int) -> tuple[int, float]:
        shapes = feed.index_candles.list_shapes(Series.MARK, "5m", ts_ns, ts_ns + 1)
        px = shapes[0][1][0] if shapes else feed.market.get_mark(feed.instrument_id).mark_px
        return feed.market.get_open_interest_lots(feed.instrument_id, ts_ns), px

    def _list_periods(self, request: RestRequest) -> list[int]:
        # The ends of periods that are asked for: the first of them from a start on, else the last.
        feed, limit, period = self._feed(request), _number(request, "limit"), str(request.values["period"])
        start_ns, end_ns = _times_ns(request)
        oldest_ns = max(feed.find_first_open_ns(), self._now_ns - STATISTICS_DAYS_MAX * NS_PER_DAY)
        to_ns = min(self._now_ns, self._now_ns if end_ns is None else end_ns) + 1
        if start_ns is not None:
            from_ns = max(oldest_ns, start_ns)
            return list_opens_ns(period, from_ns, min(to_ns, from_ns + (limit + 1) * INTERVALS_NS[period]))[:limit]
        return list_opens_ns(period, max(oldest_ns, to_ns - (limit + 1) * INTERVALS_NS[period]), to_ns)[-limit:]

    def _taker_ratio(self, request: RestRequest, ts_now_ms: int) -> TickerReply:
        feed, period = self._feed(request), str(request.values["period"])
        ends = self._list_periods(request)
        candles = feed.list_candles(period, ends[0], ends[-1] + 1) if ends else []
        rows: list[TakerRatioRow] = []
        for candle in candles:
            bought, sold = candle.taker_buy_lots, candle.volume_lots - candle.taker_buy_lots
            ratio = f"{bought / sold:.4f}" if sold else "0.0000"
            rows.append(
                TakerRatioRow(ratio, feed.write_qty(bought), feed.write_qty(sold), candle.ts_open_ns // NS_PER_MS)
            )
        return tuple(rows)

    def _basis(self, request: RestRequest, ts_now_ms: int) -> TickerReply:
        feed, period = self._feed(request), str(request.values["period"])
        ends = self._list_periods(request)
        if not ends or request.values["contractType"] != "PERPETUAL":
            return ()
        marks, indices = (
            dict(feed.index_candles.list_shapes(series, period, ends[0], ends[-1] + 1))
            for series in (Series.MARK, Series.INDEX)
        )
        rows: list[BasisRow] = []
        for ts_ns in marks.keys() & indices.keys():
            px, index_px = marks[ts_ns][0], indices[ts_ns][0]
            rows.append(
                BasisRow(f"{index_px:.8f}", "PERPETUAL", f"{px / index_px - 1.0:.4f}", feed.write_px(px), "",
                         f"{px - index_px:.8f}", feed.symbol, ts_ns // NS_PER_MS)
            )  # fmt: skip
        return tuple(sorted(rows, key=lambda row: row.ts_event_ms))

    def _constituents(self, request: RestRequest, ts_now_ms: int) -> TickerReply:
        feed = self._feed(request)
        px = f"{feed.market.get_mark(feed.instrument_id).oracle_px:.8f}"
        return Constituents(
            feed.symbol, ts_now_ms, ({"exchange": "binance", "symbol": feed.symbol, "price": px, "weight": "1"},)
        )

    def _exchange_info(self, request: RestRequest, ts_now_ms: int) -> Reply:
        weight = RateLimit("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_MAX[self.kind])
        if self.kind is Market.SPOT:
            spot_limits = (weight, RateLimit("RAW_REQUESTS", "MINUTE", 5, 61000))
            symbols = tuple(_describe_spot(feed) for feed in self._asked(request))
            return ExchangeInfo("UTC", ts_now_ms, spot_limits, symbols)
        limits = (weight, RateLimit("ORDERS", "MINUTE", 1, 1200), RateLimit("ORDERS", "SECOND", 10, 300))
        symbols = tuple(_describe_futures(feed) for feed in self._feeds.values())
        quotes = dict.fromkeys(feed.instrument.quote for feed in self._feeds.values())
        assets = tuple({"asset": quote, "marginAvailable": True, "autoAssetExchange": "-10000"} for quote in quotes)
        return ExchangeInfo("UTC", ts_now_ms, limits, symbols, (), assets, "U_MARGINED")


def _number(request: RestRequest, name: str) -> int:
    return int(request.values[name])


def _times(request: RestRequest) -> tuple[int | None, int | None]:
    start, end = (request.values.get(name) for name in ("startTime", "endTime"))
    return (None if start is None else int(start)), (None if end is None else int(end))


def _times_ns(request: RestRequest) -> tuple[int | None, int | None]:
    start_ms, end_ms = _times(request)
    return (None if start_ms is None else start_ms * NS_PER_MS), (
        None if end_ms is None else (end_ms + 1) * NS_PER_MS - 1
    )


def _list_filters(feed: SymbolFeed) -> tuple[SymbolFilter, ...]:
    qty_min, qty_max = feed.write_qty(feed.instrument.qty_lots_min), feed.write_qty(10_000_000)
    return (
        SymbolFilter("PRICE_FILTER", tick=feed.tick_text, px_min=feed.tick_text, px_max=feed.write_px(10_000_000.0)),
        SymbolFilter("LOT_SIZE", step=feed.lot_text, qty_min=qty_min, qty_max=qty_max),
        SymbolFilter("MARKET_LOT_SIZE", step=feed.lot_text, qty_min=qty_min, qty_max=qty_max),
    )


def _describe_futures(feed: SymbolFeed) -> SymbolInfo:
    instrument = feed.instrument
    return SymbolInfo(
        symbol=feed.symbol,
        status="TRADING",
        base=instrument.base,
        quote=instrument.quote,
        filters=(
            *_list_filters(feed),
            SymbolFilter("MAX_NUM_ORDERS", limit=200),
            SymbolFilter("MIN_NOTIONAL", notional=f"{instrument.notional_min_quote:g}"),
            SymbolFilter("PERCENT_PRICE", multiplier_up="1.0500", multiplier_down="0.9500", multiplier_decimal="4"),
        ),
        pair=feed.symbol,
        contract_type="PERPETUAL",
        ts_delivery_ms=4133404800000,
        ts_onboard_ms=feed.find_first_open_ns() // NS_PER_MS,
        margin=instrument.quote,
        px_decimals=feed.px_decimals,
        qty_decimals=feed.qty_decimals,
        base_decimals=8,
        quote_decimals=8,
        underlying_type="COIN",
        underlying_sub_types=("PoW",) if instrument.base == "BTC" else ("Layer-1",),
        settle_plan=0,
        move_orders_max=10_000,
        order_types=_FUTURES_ORDERS,
        time_in_force=("GTC", "IOC", "FOK", "GTX", "GTD"),
        liquidation_fee="0.012500",
        market_take_bound="0.05",
        trigger_protect="0.0500",
        maintenance_margin_percent="2.5000",
        required_margin_percent="5.0000",
    )


def _describe_spot(feed: SymbolFeed) -> SymbolInfo:
    instrument = feed.instrument
    notional = f"{instrument.notional_min_quote:.8f}"
    return SymbolInfo(
        symbol=feed.symbol,
        status="TRADING",
        base=instrument.base,
        quote=instrument.quote,
        filters=(
            *_list_filters(feed),
            SymbolFilter(
                "NOTIONAL", notional_min=notional, notional_max="9000000.00000000", applies_min_to_market=True,
                applies_max_to_market=False, average_minutes=5,
            ),
        ),
        base_decimals=8,
        quote_decimals=8,
        quote_asset_decimals=8,
        order_types=_SPOT_ORDERS,
        is_spot_trading=True,
        is_margin_trading=False,
        permissions=(),  # as the venue has it since there are sets of them
        permission_sets=(("SPOT",),),
        base_fee_decimals=8,
        quote_fee_decimals=8,
        has_iceberg=True,
        has_oco=True,
        has_oto=True,
        has_quote_qty=True,
        has_trailing_stop=True,
        has_cancel_replace=True,
        has_amend=True,
        self_trade_default="EXPIRE_MAKER",
        self_trade_modes=("EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"),
    )  # fmt: skip
