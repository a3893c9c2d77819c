"""The venue's side of a book's streams: level changes in; diffs, snapshots, partial books and best prices out.

Futures ids are global to the engine: `id_step` lets them jump, and only `pu` joins two diffs. Spot's ids are contiguous
per symbol. One instance is one book; one `DiffCursor` is one speed (100 ms, 500 ms) of its diff stream.
Does not do: timing (the owner calls at each tick), RPI orders, levels of other sources.
"""

from decimal import Decimal

from msgspec import UNSET

from market.records import Side
from venues.binance.messages import BookSnapshotText, BookTicker, DepthUpdate, LevelTexts
from venues.binance.numbers import DecimalText, parse_decimal
from venues.binance.streams import Market


class BookPublisher:
    """One symbol's book as the venue shows it. `last_id` is the newest update."""

    def __init__(self, market: Market, symbol: str, last_id: int = 0, id_step: int = 1) -> None:
        self.market = market
        self.symbol = symbol
        self.last_id = last_id
        self._id_step = id_step if market is Market.USDM else 1
        self._levels: dict[Side, dict[Decimal, tuple[DecimalText, DecimalText]]] = {Side.BUY: {}, Side.SELL: {}}
        self._cursors: list[DiffCursor] = []

    def set_level(self, side: Side, px: DecimalText, qty: DecimalText) -> None:
        """Make the quantity at a px what it is now; zero deletes. Prices are equal by value, shown as last written."""
        key, amount = parse_decimal(px), parse_decimal(qty)
        levels = self._levels[side]
        if amount:
            levels[key] = px, qty
        elif levels.pop(key, None) is None:
            return
        self.last_id += self._id_step
        for cursor in self._cursors:
            cursor.note(side, key, (px, qty))

    def open_cursor(self) -> "DiffCursor":
        """Return a diff stream that begins with the next change."""
        cursor = DiffCursor(self)
        self._cursors.append(cursor)
        return cursor

    def make_snapshot(self, limit: int, ts_now_ms: int) -> BookSnapshotText:
        """Return the reply of /depth, or on spot the push of a partial-depth stream."""
        bids, asks = self._top(Side.BUY, limit), self._top(Side.SELL, limit)
        if self.market is Market.SPOT:
            return BookSnapshotText(self.last_id, bids, asks)
        return BookSnapshotText(self.last_id, bids, asks, ts_now_ms, ts_now_ms)

    def get_best(self) -> tuple[tuple[DecimalText, DecimalText] | None, tuple[DecimalText, DecimalText] | None]:
        """Return px and qty of the best bid and of the best ask, None where there is none."""
        bids, asks = self._levels[Side.BUY], self._levels[Side.SELL]
        return (bids[max(bids)] if bids else None), (asks[min(asks)] if asks else None)

    def make_ticker(self, ts_now_ms: int) -> BookTicker | None:
        """Return the best prices; None while a side is empty."""
        bid, ask = self.get_best()
        if bid is None or ask is None:
            return None
        if self.market is Market.SPOT:
            return BookTicker(self.last_id, self.symbol, *bid, *ask)
        return BookTicker(self.last_id, self.symbol, *bid, *ask, ts_now_ms, ts_now_ms, "bookTicker", self.symbol, 1)

    def _top(self, side: Side, limit: int) -> LevelTexts:
        levels = self._levels[side]
        return tuple(levels[key] for key in sorted(levels, reverse=side is Side.BUY)[:limit])


class DiffCursor:
    """One diff stream of a book: what changed since the last push."""

    def __init__(self, book: BookPublisher) -> None:
        self._book = book
        self._previous_id = book.last_id
        self._first_id = -1
        self._changed: dict[Side, dict[Decimal, tuple[DecimalText, DecimalText]]] = {Side.BUY: {}, Side.SELL: {}}

    def note(self, side: Side, key: Decimal, level: tuple[DecimalText, DecimalText]) -> None:
        """Take in a change; of several at one px only the last is pushed."""
        if self._first_id < 0:
            self._first_id = self._book.last_id
        self._changed[side][key] = level

    def take(self, ts_now_ms: int) -> DepthUpdate | None:
        """Return the push that is due, once; None if nothing changed."""
        if self._first_id < 0:
            return None
        book = self._book
        bids, asks = (
            tuple(self._changed[side][key] for key in sorted(self._changed[side])) for side in (Side.BUY, Side.SELL)
        )
        is_futures = book.market is Market.USDM
        update = DepthUpdate(
            ts_now_ms,
            book.symbol,
            self._first_id,
            book.last_id,
            bids,
            asks,
            ts_now_ms if is_futures else UNSET,
            self._previous_id if is_futures else UNSET,
            book.symbol if is_futures else UNSET,
            1 if is_futures else UNSET,
        )
        self._previous_id, self._first_id = book.last_id, -1
        self._changed = {Side.BUY: {}, Side.SELL: {}}
        return update
