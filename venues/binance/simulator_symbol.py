"""One symbol of the simulator: a driven market's instrument in Binance's words, numbers and ids. Sans-IO.

Trades are numbered per symbol without holes (the market's ids are one sequence for all), so that a candle's L - f + 1
is its n. A futures price has at least two decimals, a mark eight, everything on spot eight.
Aggregate trades that the market does not remember are made up for the last `PAST_MINUTES` before those it does, out of
the candles (`past_trades`), when first asked for.
Does not model: RPI orders (`nq` equals `q`), estimated settlement (the index stands for it), single trades beyond those
the market still remembers, averages over time (`ap` is the mark px itself).
"""

from array import array
from bisect import bisect_left
from collections import deque
from decimal import Decimal
from itertools import islice

from msgspec import UNSET

from market.instruments import Instrument
from market.records import NS_PER_MS, NS_PER_S, Side
from venues.binance.book_publisher import BookPublisher
from venues.binance.index_candles import IndexCandles, Series
from venues.binance.intervals import (
    INTERVALS_NS,
    MINUTE_NS,
    SECOND,
    find_next_open_ns,
    find_open_ns,
    list_candles,
)
from venues.binance.messages import AggTrade, Kline, KlineBar, MarkPrice, Trade
from venues.binance.past_trades import make_past_trades
from venues.binance.rest_replies import AggTradeRow, KlineRow, TradeRow
from venues.binance.second_candles import make_second_candles
from venues.binance.streams import Market
from venues.binance.ticker_messages import ContinuousBar, ContinuousKline
from venues.simulator.candles import Candle
from venues.simulator.driven_market import Block, DrivenMarket
from venues.simulator.house import PublicTrade

BOOK_FIRST_ID = 7_000_000_000
TRADE_FIRST_ID = 5_000_000_000
AGG_TRADE_FIRST_ID = 2_000_000_000
TRADES_KEPT = 20_000  # rows of REST, each kind
PAST_MINUTES = 45


class SymbolFeed:
    """One instrument of the market as one of the venue's two markets shows it."""

    def __init__(self, kind: Market, market: DrivenMarket, instrument: Instrument, id_step: int) -> None:
        self.kind, self.market, self.instrument = kind, market, instrument
        self.instrument_id = instrument.instrument_id
        self.symbol = instrument.base + instrument.quote
        self.is_futures = kind is Market.USDM
        self._lot, tick = Decimal(repr(instrument.lot_base)), Decimal(repr(instrument.tick_px))
        self.qty_decimals = _count_decimals(self._lot) if self.is_futures else 8
        self.px_decimals = max(2, _count_decimals(tick)) if self.is_futures else 8
        self.tick_text, self.lot_text = f"{tick:.{self.px_decimals}f}", self.write_qty(1)
        self.publisher = BookPublisher(kind, self.symbol, BOOK_FIRST_ID, id_step)
        self.trades: deque[TradeRow] = deque(maxlen=TRADES_KEPT)
        self.agg_trades: deque[AggTradeRow] = deque(maxlen=TRADES_KEPT)
        self.last_trade_id, self.last_agg_id = TRADE_FIRST_ID - 1, AGG_TRADE_FIRST_ID - 1
        self._market_ids = array("q")  # of the trades numbered, ascending
        self._taker: tuple[object, ...] = ()  # whose trade the last one was: the next may join it
        self._first_open_ns = -1
        book = market.get_book(self.instrument_id, 1_000_000)
        for side, levels in ((Side.BUY, book.bids), (Side.SELL, book.asks)):
            for level in levels:
                self.publisher.set_level(side, self.write_px(level.px), self.write_qty(level.qty_lots))
        known = market.list_trades(self.instrument_id, 1_000_000)
        self._ts_known_ns = known[0].ts_event_ns if known else market.ts_now_ns
        for trade in known:
            self._add_trade(trade)
        self._past_agg_trades: tuple[AggTradeRow, ...] | None = None
        self.index_candles = IndexCandles(market, self.instrument_id)

    def write_px(self, px: float) -> str:
        """Return a px as the venue writes it; the px is on the tick's grid, so nothing is lost."""
        return f"{px:.{self.px_decimals}f}"

    def write_qty(self, qty_lots: int) -> str:
        """Return a quantity of base as the venue writes it."""
        return f"{qty_lots * self._lot:.{self.qty_decimals}f}"

    def on_block(self, block: Block) -> None:
        """Take in what one block changed."""
        for change in block.books:
            if change.instrument_id == self.instrument_id:
                for side, levels in ((Side.BUY, change.bids), (Side.SELL, change.asks)):
                    for px, lots in levels:
                        self.publisher.set_level(side, self.write_px(px), self.write_qty(lots))
        for trade in block.trades:
            if trade.instrument_id == self.instrument_id:
                self._add_trade(trade)
        for mark in block.marks:
            if self.is_futures and mark.instrument_id == self.instrument_id:
                self.index_candles.add_mark(mark)

    def _add_trade(self, trade: PublicTrade) -> None:
        px, qty, ts_ms = self.write_px(trade.px), self.write_qty(trade.qty_lots), trade.ts_event_ns // NS_PER_MS
        is_best = UNSET if self.is_futures else True
        is_buyer_maker = trade.taker_side < 0
        self.last_trade_id += 1
        self._market_ids.append(trade.trade_id)
        notional = self._write_notional(px, qty)
        self.trades.append(TradeRow(self.last_trade_id, px, qty, notional, ts_ms, is_buyer_maker, is_best))
        taker = (trade.ts_event_ns, trade.taker_id, trade.taker_order_id, trade.taker_side, px)
        first_id, agg_id = self.last_trade_id, self.last_agg_id + 1
        if taker == self._taker:
            joined = self.agg_trades.pop()
            qty, first_id, agg_id = f"{Decimal(joined.qty) + Decimal(qty)}", joined.first_id, joined.trade_id
        self._taker, self.last_agg_id = taker, agg_id
        normal = qty if self.is_futures else UNSET
        self.agg_trades.append(
            AggTradeRow(agg_id, px, qty, first_id, self.last_trade_id, ts_ms, is_buyer_maker, is_best, normal)
        )

    def list_agg_trades(self) -> tuple[AggTradeRow, ...]:
        """Return the aggregate trades that REST has, oldest first and numbered without a hole."""
        if self.agg_trades and self.agg_trades[0].trade_id != AGG_TRADE_FIRST_ID:
            return tuple(self.agg_trades)  # so much has happened since the start that it is out of reach
        if self._past_agg_trades is None:
            self._past_agg_trades = self._make_past()
        return (*self._past_agg_trades, *self.agg_trades)

    def list_trades(self) -> tuple[TradeRow, ...]:
        """Return the single trades that REST has, oldest first and numbered without a hole."""
        if self.trades and self.trades[0].trade_id != TRADE_FIRST_ID:
            return tuple(self.trades)
        count = next((n for n, row in enumerate(self.list_agg_trades()) if row.first_id >= TRADE_FIRST_ID), None)
        past = self.list_agg_trades()[:count]
        rows = (
            TradeRow(row.first_id, row.px, row.qty, self._write_notional(row.px, row.qty), row.ts_trade_ms,
                     row.is_buyer_maker, row.is_best_match)
            for row in past
        )  # fmt: skip
        return (*rows, *self.trades)

    def get_last_qty(self) -> str:
        """Return the quantity of the last trade, zero if there was none."""
        row = self._last_trade()
        return self.write_qty(0) if row is None else row.qty

    def get_last_trade_ms(self) -> int:
        """Return when the last trade was, 0 if there was none."""
        row = self._last_trade()
        return 0 if row is None else row.ts_trade_ms

    def _last_trade(self) -> TradeRow | AggTradeRow | None:
        if self.trades:
            return self.trades[-1]
        past = self.list_agg_trades()
        return past[-1] if past else None

    def _write_notional(self, px: str, qty: str) -> str:
        decimals = self.px_decimals + self.qty_decimals if self.is_futures else 8
        return f"{Decimal(px) * Decimal(qty):.{decimals}f}"

    def _make_past(self) -> tuple[AggTradeRow, ...]:
        minute_ns = self._ts_known_ns // MINUTE_NS * MINUTE_NS
        candles = self.market.list_candles(
            self.instrument_id, MINUTE_NS, minute_ns - PAST_MINUTES * MINUTE_NS, minute_ns + 1
        )
        until_ms = (minute_ns + MINUTE_NS) // NS_PER_MS
        known = [row for row in self.trades if row.ts_trade_ms < until_ms]
        lots_known = round(sum(Decimal(row.qty) for row in known) / self._lot)
        made = make_past_trades(candles, self._ts_known_ns, lots_known, len(known), self.instrument.tick_px)
        is_best = UNSET if self.is_futures else True
        rows: list[AggTradeRow] = []
        for back, trade in zip(range(len(made), 0, -1), made, strict=True):
            px, qty, trade_id = self.write_px(trade.px), self.write_qty(trade.lots), TRADE_FIRST_ID - back
            rows.append(
                AggTradeRow(AGG_TRADE_FIRST_ID - back, px, qty, trade_id, trade_id, trade.ts_ns // NS_PER_MS,
                            trade.is_buyer_maker, is_best, qty if self.is_futures else UNSET)
            )  # fmt: skip
        return tuple(rows)

    # What the streams say.

    def list_trades_after(self, trade_id: int, ts_event_ms: int) -> list[Trade]:
        """Return the trades numbered above `trade_id`, oldest first, as messages."""
        count = min(self.last_trade_id - trade_id, len(self.trades))
        origin, family = ("MARKET", 1) if self.is_futures else (UNSET, UNSET)
        return [
            Trade(ts_event_ms, row.ts_trade_ms, self.symbol, row.trade_id, row.px, row.qty, row.is_buyer_maker, origin,
                  row.is_best_match, family)
            for row in islice(self.trades, len(self.trades) - count, None)
        ]  # fmt: skip

    def list_agg_trades_after(self, agg_id: int, ts_event_ms: int) -> list[AggTrade]:
        """Return the aggregate trades numbered above `agg_id`, oldest first, as messages."""
        count = min(self.last_agg_id - agg_id, len(self.agg_trades))
        family = 1 if self.is_futures else UNSET
        return [
            AggTrade(ts_event_ms, self.symbol, row.trade_id, row.px, row.qty, row.first_id, row.last_id,
                     row.ts_trade_ms, row.is_buyer_maker, row.qty_normal, row.is_best_match, family)
            for row in islice(self.agg_trades, len(self.agg_trades) - count, None)
        ]  # fmt: skip

    def make_mark_price(self, ts_event_ms: int) -> MarkPrice:
        """Return mark, index and predicted funding."""
        mark = self.market.get_mark(self.instrument_id)
        rate, _, ts_next_ns = self.market.get_funding(self.instrument_id)
        mark_px, index_px = f"{mark.mark_px:.8f}", f"{mark.oracle_px:.8f}"
        return MarkPrice(
            ts_event_ms, self.symbol, mark_px, index_px, index_px, f"{rate:.8f}", ts_next_ns // NS_PER_MS, mark_px, 1
        )

    def make_kline(self, interval: str, ts_open_ns: int, is_closed: bool, ts_event_ms: int) -> Kline | None:
        """Return one candle; None if it opened without a trade and is not over."""
        from_ns = ts_open_ns - 4 * INTERVALS_NS[interval]
        candles = self.list_candles(interval, from_ns, find_next_open_ns(interval, ts_open_ns))
        if not candles or candles[-1].ts_open_ns != ts_open_ns:
            return None
        row = self.write_candle(candles[-1])
        last_id = self._number(candles[-1].last_trade_id)
        bar = KlineBar(
            row.ts_open_ms, row.ts_close_ms, self.symbol, interval, last_id - row.trades + 1 if last_id >= 0 else -1,
            last_id, row.open_px, row.close_px, row.high_px, row.low_px, row.volume_base, row.trades, is_closed,
            row.volume_quote, row.taker_buy_base, row.taker_buy_quote,
        )  # fmt: skip
        return Kline(ts_event_ms, self.symbol, bar, 1 if self.is_futures else UNSET)

    def make_continuous(self, contract_type: str, kline: Kline) -> ContinuousKline:
        """Return a candle as the continuous contract's stream says it."""
        one = kline.bar
        bar = ContinuousBar(
            one.ts_open_ms, one.ts_close_ms, one.interval, one.first_id, one.last_id, one.open_px, one.close_px,
            one.high_px, one.low_px, one.volume_base, one.trades, one.is_closed, one.volume_quote, one.taker_buy_base,
            one.taker_buy_quote,
        )  # fmt: skip
        return ContinuousKline(kline.ts_event_ms, kline.symbol, contract_type, bar, kline.family)

    def _number(self, market_trade_id: int) -> int:
        # This symbol's number of a trade; -1 for none and for trades of before the start, as the venue has for none.
        index = bisect_left(self._market_ids, market_trade_id)
        is_known = index < len(self._market_ids) and self._market_ids[index] == market_trade_id
        return TRADE_FIRST_ID + index if is_known else -1

    # What REST says.

    def write_candle(self, candle: Candle) -> KlineRow:
        """Return a candle as a row."""
        lot_base = self.instrument.lot_base
        decimals = self.px_decimals + self.qty_decimals if self.is_futures else 8
        return KlineRow(
            candle.ts_open_ns // NS_PER_MS,
            self.write_px(candle.open_px),
            self.write_px(candle.high_px),
            self.write_px(candle.low_px),
            self.write_px(candle.close_px),
            self.write_qty(candle.volume_lots),
            candle.ts_close_ns // NS_PER_MS - 1,
            f"{candle.turnover_lots_px * lot_base:.{decimals}f}",
            candle.count,
            self.write_qty(candle.taker_buy_lots),
            f"{candle.taker_buy_lots_px * lot_base:.{decimals}f}",
        )

    def list_klines(
        self, interval: str, ts_start_ns: int | None, ts_end_ns: int | None, limit: int
    ) -> tuple[KlineRow, ...]:
        """Return at most `limit` candles that open in [start, end]: the first of them if a start is given."""
        from_ns, to_ns, is_from_start = self._find_window(interval, ts_start_ns, ts_end_ns, limit)
        rows = tuple(self.write_candle(candle) for candle in self.list_candles(interval, from_ns, to_ns))
        return rows[:limit] if is_from_start else rows[-limit:]

    def list_index_klines(
        self, series: Series, interval: str, ts_start_ns: int | None, ts_end_ns: int | None, limit: int
    ) -> tuple[KlineRow, ...]:
        """Return candles of mark px, index px or premium as `list_klines` does of trades; they have no volume."""
        from_ns, to_ns, is_from_start = self._find_window(interval, ts_start_ns, ts_end_ns, limit)
        seconds = INTERVALS_NS[interval] // MINUTE_NS * 60  # a mark is published every one
        rows = tuple(
            KlineRow(open_ns // NS_PER_MS, f"{opened:.8f}", f"{high:.8f}", f"{low:.8f}", f"{closed:.8f}", "0",
                     find_next_open_ns(interval, open_ns) // NS_PER_MS - 1, "0", seconds, "0", "0")
            for open_ns, (opened, high, low, closed) in self.index_candles.list_shapes(series, interval, from_ns, to_ns)
        )  # fmt: skip
        return rows[:limit] if is_from_start else rows[-limit:]

    def _find_window(
        self, interval: str, ts_start_ns: int | None, ts_end_ns: int | None, limit: int
    ) -> tuple[int, int, bool]:
        # From when to when candles are wanted, and whether the first or the last of them.
        interval_ns = INTERVALS_NS[interval]
        ts_end_ns = self.market.ts_now_ns if ts_end_ns is None else min(ts_end_ns, self.market.ts_now_ns)
        if ts_start_ns is None:
            from_ns = find_open_ns(interval, ts_end_ns) - (limit - 1) * interval_ns
            return max(0, self.find_first_open_ns(interval) - interval_ns, from_ns), ts_end_ns + 1, False
        ts_start_ns = max(ts_start_ns, self.find_first_open_ns(interval), 0)
        return ts_start_ns, min(ts_end_ns, ts_start_ns + (limit + 1) * interval_ns) + 1, True

    def list_candles(self, interval: str, from_ns: int, to_ns: int) -> list[Candle]:
        """Return the candles that open in [from, to)."""
        if interval == SECOND:
            return self._list_seconds(from_ns, to_ns)

        def fetch(interval_ns: int, from_ns: int, to_ns: int) -> list[Candle]:
            return self.market.list_candles(self.instrument_id, interval_ns, from_ns, to_ns)

        return list_candles(fetch, interval, from_ns, to_ns)

    def _list_seconds(self, from_ns: int, to_ns: int) -> list[Candle]:
        from_ms, rows = from_ns // NS_PER_MS - 60_000, []  # a while before: seconds without a trade go on from there
        known = self.agg_trades
        is_enough = bool(known) and known[0].ts_trade_ms < from_ms
        for row in reversed(known if is_enough else self.list_agg_trades()):
            if row.ts_trade_ms < from_ms:
                break
            rows.append(row)
        rows.reverse()
        now_ns = self.market.ts_now_ns
        candles = make_second_candles(rows, self._lot, self._find_market_id, min(to_ns, now_ns - now_ns % NS_PER_S))
        return [candle for candle in candles if from_ns <= candle.ts_open_ns < to_ns]

    def _find_market_id(self, trade_id: int) -> int:
        index = trade_id - TRADE_FIRST_ID
        return self._market_ids[index] if 0 <= index < len(self._market_ids) else 0

    def find_first_open_ns(self, interval: str = "1m") -> int:
        """Return when the first minute, or second, with a candle opened."""
        if interval == SECOND:
            rows = self.list_agg_trades()
            return rows[0].ts_trade_ms // 1000 * NS_PER_S if rows else self.market.ts_start_ns
        # Without any: a candle of a week less than the start, as one that holds it still opens after.
        if self._first_open_ns < 0:
            from_ns, to_ns = 0, self.market.ts_now_ns + 1
            for interval in ("1w", "1d", "1m"):
                candles = self.market.list_candles(self.instrument_id, INTERVALS_NS[interval], from_ns, to_ns)
                if not candles:
                    return self.market.ts_start_ns - INTERVALS_NS["1w"]
                from_ns, to_ns = candles[0].ts_open_ns, candles[0].ts_close_ns
            self._first_open_ns = from_ns
        return self._first_open_ns


def _count_decimals(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    assert isinstance(exponent, int), "a step is finite"
    return max(0, -exponent)
