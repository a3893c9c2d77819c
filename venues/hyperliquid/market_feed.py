"""What market data of this venue are worth: books that may be used, trades told once, bars in order. Sans-IO.

Books come whole, five levels every half second; `bbo` comes with every block that changes it. A book is refused when
its own `time` is old, when it is crossed, and when it is frozen: the best prices of `bbo` have been others for
`FROZEN_MS` and the book has not changed. Times of the venue are milliseconds of its clock; `venue_now_ms` is ours moved
by the measured offset.
"""

import math
from collections import deque
from collections.abc import Iterable

from market.records import NS_PER_MS, Bar, Quality
from venues.book_feed import BookView, LostReason
from venues.hyperliquid import frames, info_replies
from venues.hyperliquid.info_replies import Candle, L2Book
from venues.port import BarSeen, TradePrinted

FROZEN_MS = 2_500  # some five fast books
_TRADES_KEPT = 10_000


class BookWatch:
    """The newest book of one coin and whether it may be used."""

    def __init__(self, stale_ms: int) -> None:
        self._stale_ms = stale_ms
        self._book: L2Book | None = None
        self._ts_recv_ns = 0
        self._best: tuple[float, float] | None = None  # of bbo
        self._differs_from_ms: int | None = None  # since when the book's best prices are not bbo's
        self._count = 0

    def restart(self) -> None:
        """Forget what a lost connection said."""
        self._book = self._best = self._differs_from_ms = None
        self._count = 0

    def hear_book(self, book: L2Book, ts_recv_ns: int, venue_now_ms: int) -> None:
        """Take a book."""
        if self._book is not None and book.time < self._book.time:
            return  # overtaken
        if self._book is None or book.levels != self._book.levels:
            self._differs_from_ms = None
        self._book, self._ts_recv_ns = book, ts_recv_ns
        self._count += 1
        self._compare(venue_now_ms)

    def hear_bbo(self, bbo: frames.Bbo, venue_now_ms: int) -> None:
        """Take the best prices of a block."""
        bid, ask = bbo.bbo
        self._best = None if bid is None or ask is None else (float(bid.px), float(ask.px))
        self._compare(venue_now_ms)

    def _compare(self, venue_now_ms: int) -> None:
        if self._book is None or self._best is None or not all(self._book.levels):
            return
        bids, asks = self._book.levels
        if (float(bids[0].px), float(asks[0].px)) == self._best:
            self._differs_from_ms = None
        elif self._differs_from_ms is None:
            self._differs_from_ms = venue_now_ms

    def find_loss(self, venue_now_ms: int) -> LostReason | None:
        """Return why the book may not be used now."""
        book = self._book
        if book is None:
            return LostReason.DISCONNECTED
        bids, asks = book.levels
        if bids and asks and bids[0].px >= asks[0].px:
            return LostReason.CROSSED
        if venue_now_ms - book.time > self._stale_ms:
            return LostReason.STALE
        since_ms = self._differs_from_ms
        return LostReason.FROZEN if since_ms is not None and venue_now_ms - since_ms > FROZEN_MS else None

    def take(self, venue_now_ms: int) -> BookView | LostReason:
        """Return the book, or why not."""
        loss = self.find_loss(venue_now_ms)
        if loss is not None:
            return loss
        book = self._book
        assert book is not None, "a book that may be used is there"
        bids, asks = (tuple((float(level.px), float(level.sz)) for level in side) for side in book.levels)
        count, self._count = max(0, self._count - 1), 0
        return BookView(book.time, bids, asks, book.time * NS_PER_MS, self._ts_recv_ns, count)


class TradeTeller:
    """Trades of one coin, each once; a connection begins with recent ones: those from before the start are left out."""

    def __init__(self, instrument_id: str, from_ms: int) -> None:
        self._instrument_id, self._from_ms = instrument_id, from_ms
        self._told: set[int] = set()
        self._order: deque[int] = deque()

    def hear(self, rows: Iterable[info_replies.Trade]) -> list[TradePrinted]:
        """Return what is new, oldest first."""
        found = []
        for row in sorted(rows, key=lambda row: row.time):
            side, tid = info_replies.read_side(row.side), row.tid
            if not isinstance(tid, int) or side is None or row.time < self._from_ms or tid in self._told:
                continue
            self._told.add(tid)
            self._order.append(tid)
            if len(self._order) > _TRADES_KEPT:
                self._told.discard(self._order.popleft())
            found.append(
                TradePrinted(
                    self._instrument_id, str(tid), side.value, float(row.px), float(row.sz), row.time * NS_PER_MS
                )
            )
        return found


class BarTeller:
    """Closed bars of one instrument, in order and without holes; `ts_due_ms`: when the next one has closed."""

    def __init__(self, instrument_id: str, interval_ns: int, venue_now_ms: int) -> None:
        self._instrument_id, self._interval_ns = instrument_id, interval_ns
        self._interval_ms = interval_ns // NS_PER_MS
        self._open_ms = venue_now_ms // self._interval_ms * self._interval_ms  # of the next bar to tell
        self._close_px = math.nan

    @property
    def open_ms(self) -> int:
        """When the next bar to tell opened: from where on to ask."""
        return self._open_ms

    @property
    def ts_due_ms(self) -> int:
        """When the next bar to tell has closed."""
        return self._open_ms + self._interval_ms

    def hear(self, candles: Iterable[Candle], venue_now_ms: int) -> list[BarSeen]:
        """Return the bars that have closed, oldest first. A hole between two is a bar without trades, marked missing.

        What is not told here yet, at the end, may only not be there yet: ask again.
        """
        found: list[BarSeen] = []
        for candle in sorted(candles, key=lambda candle: candle.t):
            if candle.t < self._open_ms or not is_closed(candle, venue_now_ms):
                continue
            while self._open_ms < candle.t and self._close_px == self._close_px:
                found.append(self._tell(make_flat_bar(self._open_ms, self._close_px)))
            self._open_ms = candle.t
            found.append(self._tell(make_bar(candle)))
        return found

    def _tell(self, bar: Bar) -> BarSeen:
        self._open_ms += self._interval_ms
        self._close_px = bar.close_px
        return BarSeen(self._instrument_id, self._interval_ns, bar)


def is_closed(candle: Candle, venue_now_ms: int) -> bool:
    """Return whether nothing can be added to a candle."""
    return venue_now_ms > candle.T


def make_bar(candle: Candle) -> Bar:
    """Return a candle as a bar; what candles do not say is NaN."""
    open_px, high_px, low_px, close_px, volume_base = map(float, (candle.o, candle.h, candle.l, candle.c, candle.v))
    return _make_bar(candle.t, open_px, high_px, low_px, close_px, volume_base, Quality.GOOD)


def make_flat_bar(open_ms: int, px: float) -> Bar:
    """Return the bar of an interval the venue lists no candle of."""
    return _make_bar(open_ms, px, px, px, px, 0.0, Quality.MISSING)


def _make_bar(
    open_ms: int, open_px: float, high_px: float, low_px: float, close_px: float, volume_base: float, quality: Quality
) -> Bar:
    return Bar(
        ts_open_ns=open_ms * NS_PER_MS,
        open_px=open_px,
        high_px=high_px,
        low_px=low_px,
        close_px=close_px,
        volume_base=volume_base,
        funding_rate=math.nan,
        open_interest_base=math.nan,
        funding_open_rate=0.0,
        funding_inside_rate=0.0,
        signal=math.nan,
        quality=quality.value,
    )
