"""Past bars by REST, for a strategy's warm-up: candles or bars of trades, funding and open interest joined.

Candles come whole. Bars of an interval without candles are made of aggregate trades, paged backwards by id until there
are enough, the venue has no more, or the call's time is nearly over: what was reached is returned. Open interest goes
back thirty days at most; before that, and where the venue has none, it is NaN.
"""

import asyncio
import math
from collections.abc import Callable, Sequence

from market.joins import AGE_NS_MAX
from market.records import NS_PER_DAY, NS_PER_MS, NS_PER_S, Bar
from venues.bar_building import BarBuilder
from venues.binance.bar_joins import floor_minute, join_bars
from venues.binance.endpoints import OPEN_INTEREST_PERIODS
from venues.binance.kline_feed import INTERVAL_WORDS, check_interval, fill_holes, keep_closed, read_bar
from venues.binance.rest import OPEN_INTEREST_DAYS_MAX
from venues.binance.rest_client import RestClient, RestUnavailableError
from venues.binance.trade_feed import ROWS_MAX, TapeTrade, read_trade

KLINES_MAX = 1500  # rows of one reply
FUNDINGS_MAX = 1000
INTERESTS_MAX = 500
PAGES_MAX = 40  # of trades: 800 of the minute's weight of 2400


class History:
    """The past of one market's symbols."""

    def __init__(self, rest: RestClient, call_s: float, lateness_ns: int) -> None:
        self._rest, self._call_s, self._lateness_ns = rest, call_s, lateness_ns

    async def fetch_bars(
        self, symbol: str, interval_ns: int, count: int, behind_ns: Callable[[], int]
    ) -> tuple[Bar, ...]:
        """Return the last closed bars, oldest first, at most `count`; `behind_ns`: the clock that is behind.

        Raises VenueUnavailableError; ValueError for an interval or symbol that the venue refuses.
        """
        check_interval(interval_ns)
        if count < 1:
            return ()
        try:
            async with asyncio.timeout(self._call_s):
                bars = await self._fetch(symbol, interval_ns, count, behind_ns)
                if not bars:
                    return ()
                ts_from_ns, ts_to_ns = bars[0].ts_open_ns, bars[-1].ts_open_ns + interval_ns
                fundings, interests = await asyncio.gather(
                    self.fetch_fundings(symbol, ts_from_ns - AGE_NS_MAX),
                    self._fetch_interests(symbol, interval_ns, ts_from_ns, ts_to_ns),
                )
        except TimeoutError:
            raise RestUnavailableError(f"bars of {symbol}: not within {self._call_s:g} s") from None
        return tuple(join_bars(bars, interval_ns, fundings, interests, AGE_NS_MAX))

    async def fetch_fundings(self, symbol: str, ts_from_ns: int) -> list[tuple[int, float]]:
        """Return settlements (ts_ns, rate) at or after a time, oldest first."""
        found: dict[int, float] = {}
        start_ms = max(0, ts_from_ns // NS_PER_MS)
        while True:
            rows = await self._rest.ask("fundingRate", symbol=symbol, startTime=start_ms, limit=FUNDINGS_MAX)
            for row in rows:
                found[floor_minute(row.ts_funding_ms * NS_PER_MS)] = float(row.funding_rate)
            if len(rows) < FUNDINGS_MAX or rows[-1].ts_funding_ms < start_ms:
                return sorted(found.items())
            start_ms = rows[-1].ts_funding_ms + 1

    async def fetch_klines(self, symbol: str, interval_ns: int, ts_open_ns: int, limit: int) -> list[Bar]:
        """Return candles that open at or after a time, oldest first; the last may still be forming."""
        rows = await self._rest.ask(
            "klines", symbol=symbol, interval=INTERVAL_WORDS[interval_ns], startTime=ts_open_ns // NS_PER_MS,
            limit=limit,
        )  # fmt: skip
        return [read_bar(row) for row in rows]

    async def fetch_trades(self, symbol: str, from_id: int) -> list[TapeTrade]:
        """Return trades from an id on (-1: the last ones), oldest first, at most `ROWS_MAX`."""
        start = {"fromId": from_id} if from_id >= 0 else {}
        rows = await self._rest.ask("aggTrades", symbol=symbol, limit=ROWS_MAX, **start)
        return [read_trade(row) for row in rows]

    async def _fetch(self, symbol: str, interval_ns: int, count: int, behind_ns: Callable[[], int]) -> list[Bar]:
        if interval_ns not in INTERVAL_WORDS:
            return await self._fetch_from_trades(symbol, interval_ns, count, behind_ns)
        ts_open_ns = behind_ns() // interval_ns * interval_ns - count * interval_ns
        bars: list[Bar] = []
        while True:
            limit = min(KLINES_MAX, max(2, count + 2 - len(bars)))
            rows = await self.fetch_klines(symbol, interval_ns, ts_open_ns, limit)
            bars += rows
            if len(rows) < limit or len(bars) >= count + 2:
                break
            ts_open_ns = rows[-1].ts_open_ns + interval_ns
        return fill_holes(keep_closed(bars, interval_ns, behind_ns()), interval_ns)[-count:]

    async def _fetch_from_trades(
        self, symbol: str, interval_ns: int, count: int, behind_ns: Callable[[], int]
    ) -> list[Bar]:
        loop = asyncio.get_running_loop()
        ts_stop_s = loop.time() + 0.6 * self._call_s
        trades = {row.trade_id: row for row in await self.fetch_trades(symbol, -1)}
        ts_now_ns = behind_ns()
        ts_enough_ns = (ts_now_ns // interval_ns - count - 1) * interval_ns
        for _ in range(PAGES_MAX):
            if not trades:
                return []
            first_id = min(trades)
            if trades[first_id].ts_ns < ts_enough_ns or first_id == 0 or loop.time() >= ts_stop_s:
                break
            try:
                rows = await self.fetch_trades(symbol, max(0, first_id - ROWS_MAX))
            except RestUnavailableError:
                break  # what was reached is worth more than nothing
            trades |= {row.trade_id: row for row in rows}
            if min(trades) == first_id:
                break
        rows = [trades[trade_id] for trade_id in sorted(trades)]
        return build_bars(rows, interval_ns, ts_now_ns - self._lateness_ns)[-count:]

    async def _fetch_interests(
        self, symbol: str, interval_ns: int, ts_from_ns: int, ts_to_ns: int
    ) -> list[tuple[int, float]]:
        period_ns = choose_period_ns(interval_ns)
        ts_oldest_ns = ts_to_ns - (OPEN_INTEREST_DAYS_MAX - 1) * NS_PER_DAY
        ts_begin_ns = max(ts_oldest_ns, ts_from_ns - period_ns)
        end_ms = ts_to_ns // NS_PER_MS
        found: dict[int, float] = {}
        while True:
            rows = await self._rest.ask(
                "openInterestHist", symbol=symbol, period=INTERVAL_WORDS[period_ns], limit=INTERESTS_MAX,
                startTime=max(ts_begin_ns // NS_PER_MS, end_ms - (INTERESTS_MAX - 1) * period_ns // NS_PER_MS),
                endTime=end_ms,
            )  # fmt: skip
            found |= {row.ts_event_ms * NS_PER_MS: float(row.open_interest) for row in rows}
            if not rows or rows[0].ts_event_ms * NS_PER_MS <= ts_begin_ns + period_ns:
                return [(ts_ns, value) for ts_ns, value in sorted(found.items()) if math.isfinite(value)]
            if rows[0].ts_event_ms > end_ms:
                return sorted(found.items())
            end_ms = rows[0].ts_event_ms - 1


def choose_period_ns(interval_ns: int) -> int:
    """Return the longest period of open interest history that says the same at every close of the interval."""
    periods_ns = [period_ns for period_ns, word in INTERVAL_WORDS.items() if word in OPEN_INTEREST_PERIODS]
    return max((period_ns for period_ns in periods_ns if interval_ns % period_ns == 0), default=300 * NS_PER_S)


def build_bars(trades: Sequence[TapeTrade], interval_ns: int, ts_now_ns: int) -> list[Bar]:
    """Return the whole bars that trades, in order of their ids, fill and that are over by now.

    Trades that the ids say are lacking mark the bars they belong to.
    """
    if not trades:
        return []
    builder = BarBuilder(interval_ns)
    first_ns = trades[0].ts_ns
    builder.start(first_ns)
    builder.mark_lost(builder.ts_open_ns, builder.ts_open_ns)  # the first one is cut off, and left out below
    before = trades[0]
    for trade in trades:
        if trade.trade_id > before.trade_id + 1:
            builder.mark_lost(before.ts_ns, trade.ts_ns)
        builder.add_trade(trade.trade_id, trade.ts_ns, trade.px, trade.qty_base)
        before = trade
    return builder.close_until(ts_now_ns)[1:]
