"""One instrument's tape and the bars made of it: each aggregate trade once, in order, none lost. Sans-IO.

Binance numbers a symbol's aggregate trades without holes, so a lost one is known by its number: what lies behind a hole
waits while REST is asked for the missing trades (`FetchTrades`), at most `patience_ns`; then the hole is given up and
the bars say so. After every (re)subscription REST is asked for what came since the last trade. Repeats are dropped.
Bars (intervals the venue has no candles of) are closed only up to the time to which the tape is known to be whole: the
connection has brought something since, `lateness_ns` have gone by in which trades on their way came, and nothing is
awaited from REST. A trade lost without a sign until its bar was told is late: the next bar is AFTER_GAP.
The trades' clock: local time minus the quickest way a trade has come; until one has come, whichever of the local and
the venue's clock is behind.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from market.records import NS_PER_MS, NS_PER_S, Bar
from venues.bar_building import BarBuilder
from venues.binance.messages import AggTrade
from venues.binance.numbers import parse_px, parse_qty
from venues.binance.rest_replies import AggTradeRow
from venues.book_feed import Backoff

ROWS_MAX = 1000  # of one reply
WAITING_MAX = 50_000  # trades behind a hole; then the hole is given up
TICKS_MIN = 5  # calls of `on_time` before what was seen counts: a process that stood still has not waited
CLOCK_STEP_NS = NS_PER_S  # a clock that moved by more has been set


class TapeTrade(NamedTuple):
    """An aggregate trade in numbers; `side` is the aggressor's."""

    trade_id: int
    ts_ns: int
    px: float
    qty_base: float
    side: int


def read_trade(row: AggTrade | AggTradeRow) -> TapeTrade:
    """Return a trade's numbers. Raises MalformedMessageError for what is none."""
    side = -1 if row.is_buyer_maker else 1
    return TapeTrade(row.trade_id, row.ts_trade_ms * NS_PER_MS, parse_px(row.px), parse_qty(row.qty), side)


@dataclass(frozen=True, slots=True)
class FetchTrades:
    """Ask REST for trades from an id on (-1: the last ones), `after_ns` from now; the answer names `request_id`."""

    request_id: int
    from_id: int
    after_ns: int


@dataclass(frozen=True, slots=True)
class TapeSettings:
    """How patient the tape is [ns]."""

    lateness_ns: int = 500 * NS_PER_MS
    patience_ns: int = 10 * NS_PER_S
    request_timeout_ns: int = 12 * NS_PER_S


TapeOutput = TapeTrade | Bar | FetchTrades


class TradeFeed:
    """The tape of one instrument; `interval_ns` 0: no bars. `holes` were given up, `repeats` dropped."""

    def __init__(self, interval_ns: int, settings: TapeSettings | None = None) -> None:
        self._settings = settings or TapeSettings()
        self._builder = BarBuilder(interval_ns) if interval_ns else None
        self._next_id = -1
        self._last_ts_ns = 0  # of the last trade told
        self._waiting: dict[int, TapeTrade] = {}
        self._backoff = Backoff(250 * NS_PER_MS, 8 * NS_PER_S, 0)
        self._request_id = 0
        self._ts_request_due_ns = -1
        self._is_beginning = False  # the trades before the first are asked for
        self._is_verifying = False  # REST has not yet said what came since the last trade
        self._is_connected = False
        self._ts_begin_ns = 0
        self._ts_whole_ns = 0  # local: up to here the tape is known to be whole
        self._seen: deque[tuple[int, int, int]] = deque()  # when, at which tick, alive until
        self._ticks = 0
        self._ts_stuck_ns = -1  # since when something is awaited
        self._quickest_ns: int | None = None
        self._clock_offset_ns = 0
        self.holes = self.repeats = 0

    @property
    def builder(self) -> BarBuilder | None:
        """What the bars are made in."""
        return self._builder

    @property
    def is_stuck(self) -> bool:
        """Whether trades are lacking that REST has not yet told."""
        return self._ts_stuck_ns >= 0

    def on_subscribed(self, ts_now_ns: int) -> list[TapeOutput]:
        """The stream was acknowledged, on a connection of whatever age: ask for what it may have missed."""
        self._is_connected = True
        self._ts_whole_ns = self._ts_whole_ns or ts_now_ns
        if self._next_id < 0 and self._builder is None:
            return []
        if self._next_id < 0:
            self._is_beginning, self._ts_begin_ns = True, self._ts_begin_ns or self.to_trade_ns(ts_now_ns)
        self._is_verifying = True
        self._ts_stuck_ns = ts_now_ns if self._ts_stuck_ns < 0 else self._ts_stuck_ns
        self._ts_request_due_ns = -1
        return [self._ask(ts_now_ns)]

    def on_lost(self) -> None:
        """The connection is gone."""
        self._is_connected = False

    def on_clock(self, offset_ns: int) -> None:
        """Take in local clock minus venue clock."""
        if abs(offset_ns - self._clock_offset_ns) > CLOCK_STEP_NS:
            self._quickest_ns = None
        self._clock_offset_ns = offset_ns

    def on_trade(self, trade: TapeTrade, ts_now_ns: int) -> list[TapeOutput]:
        """Take in a trade of the stream."""
        way_ns = ts_now_ns - trade.ts_ns
        self._quickest_ns = way_ns if self._quickest_ns is None else min(self._quickest_ns, way_ns)
        if self._next_id < 0 and not self._is_beginning:
            self._next_id = trade.trade_id
        self._wait(trade)
        return self._drain(ts_now_ns)

    def on_rows(self, request_id: int, rows: Sequence[TapeTrade], ts_now_ns: int) -> list[TapeOutput]:
        """Take in REST's answer, oldest first."""
        if request_id != self._request_id or self._ts_request_due_ns < 0:
            return []
        self._ts_request_due_ns = -1
        if self._is_beginning:
            self._backoff.attempts = 0
            self._begin(rows)
            return self._drain(ts_now_ns)
        for row in rows:
            self._wait(row)
        was_next_id = self._next_id
        if len(rows) < ROWS_MAX:
            self._is_verifying = False
        told = self._drain(ts_now_ns, is_asking=False)
        if self._waiting and rows and rows[-1].trade_id > self._next_id:
            self._skip()  # REST has later ones, not these
            told += self._drain(ts_now_ns, is_asking=False)
        if self._next_id != was_next_id:
            self._backoff.attempts = 0
        if self._waiting or self._is_verifying:
            told.append(self._ask(ts_now_ns))
        return told

    def on_failed(self, request_id: int, retry_after_ns: int, ts_now_ns: int) -> list[TapeOutput]:
        """REST did not answer, or refused."""
        if request_id != self._request_id or self._ts_request_due_ns < 0:
            return []
        return [self._ask(ts_now_ns, retry_after_ns)]

    def on_time(self, ts_alive_ns: int, ts_now_ns: int) -> list[TapeOutput]:
        """Return what is due. `ts_alive_ns`: when the connection last brought anything."""
        told: list[TapeOutput] = []
        if 0 <= self._ts_request_due_ns <= ts_now_ns:
            told.append(self._ask(ts_now_ns))
        if self._ts_stuck_ns >= 0 and ts_now_ns - self._ts_stuck_ns >= self._settings.patience_ns:
            told += self._give_up(ts_now_ns)
        self._note_alive(ts_alive_ns, ts_now_ns)
        builder = self._builder
        if builder is None or builder.ts_open_ns < 0:
            return told
        if ts_now_ns - self._ts_whole_ns >= self._settings.patience_ns:
            builder.mark_lost(self.to_trade_ns(self._ts_whole_ns), self.to_trade_ns(ts_now_ns))
            return told + builder.close_until(self.to_trade_ns(ts_now_ns))
        return told + builder.close_until(self.to_trade_ns(min(ts_now_ns, self._ts_whole_ns)))

    def _note_alive(self, ts_alive_ns: int, ts_now_ns: int) -> None:
        # What the connection brings says that all before has come, once what is on its way had time to come too.
        self._ticks += 1
        if not self._is_connected or self._ts_stuck_ns >= 0:
            self._seen.clear()
            return
        self._seen.append((ts_now_ns, self._ticks, ts_alive_ns))
        while self._seen:
            ts_ns, tick, ts_until_ns = self._seen[0]
            if ts_now_ns - ts_ns < self._settings.lateness_ns or self._ticks - tick < TICKS_MIN:
                break
            self._ts_whole_ns = max(self._ts_whole_ns, ts_until_ns)
            self._seen.popleft()

    def to_trade_ns(self, ts_ns: int) -> int:
        """Return what the trades' clock shows at a local time, or a little less."""
        if self._quickest_ns is not None:
            return ts_ns - self._quickest_ns
        return ts_ns - max(0, self._clock_offset_ns)

    def _wait(self, trade: TapeTrade) -> None:
        if trade.trade_id < self._next_id or trade.trade_id in self._waiting:
            self.repeats += 1
        else:
            self._waiting[trade.trade_id] = trade

    def _drain(self, ts_now_ns: int, is_asking: bool = True) -> list[TapeOutput]:
        # Tell what follows on what was told; ask for what lacks.
        told: list[TapeOutput] = []
        if self._is_beginning:
            return told
        while (trade := self._waiting.pop(self._next_id, None)) is not None:
            told.append(self._tell(trade))
        if not (self._waiting or self._is_verifying):
            self._ts_stuck_ns = -1
            return told
        if self._ts_stuck_ns < 0:
            self._ts_stuck_ns = ts_now_ns
        if len(self._waiting) > WAITING_MAX:
            self._skip()
            return told + self._drain(ts_now_ns, is_asking)
        if is_asking and self._ts_request_due_ns < 0:
            told.append(self._ask(ts_now_ns))
        return told

    def _tell(self, trade: TapeTrade) -> TapeTrade:
        self._next_id = trade.trade_id + 1
        self._last_ts_ns = max(self._last_ts_ns, trade.ts_ns)
        if self._builder is not None:
            self._builder.add_trade(trade.trade_id, trade.ts_ns, trade.px, trade.qty_base)
        return trade

    def _begin(self, rows: Sequence[TapeTrade]) -> None:
        # The bar that was forming when we came: its trades before the first of the stream enter it, untold.
        assert self._builder is not None
        self._is_beginning = self._is_verifying = False
        first_id = min(self._waiting, default=rows[-1].trade_id + 1 if rows else -1)
        before = [row for row in rows if row.trade_id < first_id]
        self._start_builder(before)
        for row in before:
            if row.ts_ns >= self._builder.ts_open_ns:
                self._builder.add_trade(row.trade_id, row.ts_ns, row.px, row.qty_base)
        self._next_id = before[-1].trade_id + 1 if before else first_id
        for row in rows:
            if row.trade_id >= self._next_id:
                self._waiting.setdefault(row.trade_id, row)

    def _start_builder(self, before: Sequence[TapeTrade]) -> None:
        assert self._builder is not None
        if self._builder.ts_open_ns >= 0:
            return
        open_ns = self._ts_begin_ns
        past = [row for row in before if row.ts_ns < self._bar_open_ns(open_ns)]
        self._builder.start(open_ns, past[-1].px if past else math.nan)
        if not past:
            self._builder.mark_lost(self._builder.ts_open_ns, open_ns)

    def _bar_open_ns(self, ts_ns: int) -> int:
        assert self._builder is not None
        return ts_ns - ts_ns % (self._builder.interval_ns)

    def _give_up(self, ts_now_ns: int) -> list[TapeOutput]:
        if self._is_beginning:
            self._is_beginning = False
            self._start_builder(())
            self._next_id = min(self._waiting, default=-1)
        self._is_verifying = False
        self._ts_request_due_ns = -1
        if self._waiting and min(self._waiting) > self._next_id:
            self._skip()
        elif self._builder is not None and self._last_ts_ns:
            self._builder.mark_lost(self._last_ts_ns, self.to_trade_ns(ts_now_ns))
        self._ts_whole_ns = ts_now_ns  # what may be lacking until here is marked
        return self._drain(ts_now_ns)

    def _skip(self) -> None:
        # The hole before what waits is given up.
        first = self._waiting[min(self._waiting)]
        self.holes += 1
        if self._builder is not None:
            self._builder.mark_lost(self._last_ts_ns or first.ts_ns, first.ts_ns)
        self._next_id = first.trade_id

    def _ask(self, ts_now_ns: int, at_least_ns: int = 0) -> FetchTrades:
        self._request_id += 1
        after_ns = max(self._backoff.next_ns(), at_least_ns)
        self._ts_request_due_ns = ts_now_ns + after_ns + self._settings.request_timeout_ns
        return FetchTrades(self._request_id, -1 if self._is_beginning else self._next_id, after_ns)
