"""The exchange machine with a house in it: liquidity that costs nothing to keep, a tape of trades, and books that tell.

`HouseExchange` is `BookExchange` with
- two house accounts whose orders rest in the same books as everybody's, in the same queues;
- `prints`: every trade of any two accounts, with its id, the taker's side and both accounts;
- `take_book_change`: the levels that changed since it was last asked, under strictly increasing update ids.
A house taker that meets a house maker only prints: it would be booked on both sides of one owner, and cancel out. One
that meets an account's order is booked as any trade is.

`Ladder` is the house maker of one instrument: price levels on a grid around a px, moved by as few orders as the px asks
for; eaten levels come back a part each step. It never quotes through what rests (the house takes that first).

Does not model: house makers that lose money, pull in panic or skew by inventory; more than a handful of house orders a
level.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from market.events import FillKind, OrderRequest, OrderType, VenueEvent
from market.fills import Costs
from market.instruments import Instrument, compute_px_step
from market.records import Side
from venues.book_exchange import BookExchange
from venues.exchange import Events
from venues.lifecycle import OrderStatus
from venues.matching import Book
from venues.orders import Message, Order

HOUSE_MAKER_ID = "house-maker"
HOUSE_TAKER_ID = "house-taker"
HOUSE_IDS = (HOUSE_MAKER_ID, HOUSE_TAKER_ID)

_ORDERS_PER_LEVEL_MAX = 5
_SIZES = 1024
_REFILLS_PER_STEP = 3
_BUY, _SELL = Side.BUY.value, Side.SELL.value


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """One trade on the tape. `taker_side` 1: a buyer took."""

    trade_id: int
    instrument_id: str
    ts_event_ns: int
    px: float
    qty_lots: int
    taker_side: int
    taker_id: str  # account ids
    maker_id: str
    taker_order_id: str  # venue order ids, "0": the house's own print
    maker_order_id: str

    @property
    def buyer_id(self) -> str:
        """The account that bought."""
        return self.taker_id if self.taker_side > 0 else self.maker_id

    @property
    def seller_id(self) -> str:
        """The account that sold."""
        return self.maker_id if self.taker_side > 0 else self.taker_id


@dataclass(frozen=True, slots=True)
class BookChange:
    """Absolute lots of the levels that changed, 0: gone. One id a level: `last_id - first_id + 1` levels.

    `previous_id` is the last id of this instrument's change before: Binance's pu; several in a row merge into one event
    with U of the first, u of the last and pu of the first.
    """

    instrument_id: str
    ts_event_ns: int
    first_id: int
    last_id: int
    previous_id: int
    bids: tuple[tuple[float, int], ...]  # best first
    asks: tuple[tuple[float, int], ...]


class TellingBook(Book):
    """A book that remembers which levels were touched and what was last told of them."""

    def __init__(self) -> None:
        super().__init__()
        self.touched: dict[tuple[int, float], None] = {}
        self.told: dict[tuple[int, float], int] = {}
        self.last_id = 0

    def add(self, order: Order) -> None:
        """Let an order rest, and remember its level."""
        super().add(order)
        self.touched[order.request.side, order.limit_px] = None

    def remove(self, order: Order) -> None:
        """Take an order out, and remember its level."""
        super().remove(order)
        self.touched[order.request.side, order.limit_px] = None

    def count_level(self, side: int, px: float) -> tuple[int, int]:
        """Return (lots, orders) resting at a px."""
        level = self._levels[side].get(px)
        if not level:
            return 0, 0
        return sum(order.qty_lots - order.qty_filled_lots for order in level.values()), len(level)

    def list_pxs(self, side: int, levels_max: int) -> list[float]:
        """Return the prices of a side, best first."""
        return [side * key for key in reversed(self._keys[side][-levels_max:])] if levels_max > 0 else []

    def take_changes(self) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
        """Return the levels (px, lots) of bids and asks that differ from what was told, and count them as told."""
        bids: list[tuple[float, int]] = []
        asks: list[tuple[float, int]] = []
        for key in self.touched:
            side, px = key
            level = self._levels[side].get(px)
            lots = sum([order.qty_lots - order.qty_filled_lots for order in level.values()]) if level else 0
            if self.told.get(key, 0) == lots:
                continue
            if lots:
                self.told[key] = lots
            else:
                del self.told[key]
            (bids if side > 0 else asks).append((px, lots))
        self.touched.clear()
        bids.sort(reverse=True)
        asks.sort()
        return bids, asks


class HouseExchange(BookExchange):
    """The exchange machine whose books the house feeds."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        costs: Costs,
        *,
        is_child_armed_by_part: bool = True,
        history_max: int | None = None,
    ) -> None:
        super().__init__(instruments, costs, is_child_armed_by_part=is_child_armed_by_part, history_max=history_max)
        self.telling = {instrument.instrument_id: TellingBook() for instrument in instruments}
        self._books = {**self.telling}
        self.prints: list[PublicTrade] = []
        self.eaten: dict[str, dict[tuple[int, float], None]] = {i.instrument_id: {} for i in instruments}
        self._taker: Order | None = None
        self._requests = {
            (instrument.instrument_id, side): OrderRequest("", instrument.instrument_id, side, 1, OrderType.LIMIT)
            for instrument in instruments
            for side in (_BUY, _SELL)
        }
        for house_id in HOUSE_IDS:
            self.add_account(house_id, 0.0, Costs(0.0, 0.0, 0.0), is_house=True)
        self._maker_orders = self._accounts[HOUSE_MAKER_ID].open_orders

    # The house. None of these is called by anybody but the driven market.

    def add_house(self, instrument_id: str, side: int, px: float, lots: int) -> Order:
        """Let house liquidity rest; the caller sees to it that it does not cross."""
        self._sequence += 1
        order = Order(
            HOUSE_MAKER_ID, self._requests[instrument_id, side], self._sequence, 0, lots, px, 0.0, OrderStatus.ACCEPTED
        )
        self._maker_orders[order.sequence] = order
        self.telling[instrument_id].add(order)
        return order

    def pull_house(self, order: Order) -> None:
        """Take house liquidity away."""
        order.status = OrderStatus.CANCELED
        self._maker_orders.pop(order.sequence, None)
        self.telling[order.request.instrument_id].remove(order)

    def shrink_house(self, order: Order, lots: int) -> None:
        """Take `lots` off a house order, fewer than it has left."""
        assert 0 < lots < order.qty_leaves_lots, f"cannot take {lots} lots off {order}"
        order.qty_lots -= lots
        self.telling[order.request.instrument_id].touched[order.request.side, order.limit_px] = None

    def take_house(
        self, instrument_id: str, side: int, lots: int, limit_px: float, ts_now_ns: int
    ) -> tuple[int, Events]:
        """Let a house taker trade up to `lots` at `limit_px` or better; return the lots taken and what it caused."""
        book, left_lots, is_real = self.telling[instrument_id], lots, False
        while left_lots > 0 and book.can_match(side, limit_px):
            maker = book.get_best(-side)
            assert maker is not None, "a book that can match has a best order"
            qty_lots = min(left_lots, self._compute_fillable_lots(maker))
            left_lots -= qty_lots
            if maker.account_id == HOUSE_MAKER_ID:
                self._print_house(maker, side, qty_lots, ts_now_ns)
            else:
                is_real = True
                taker = self._make_order(HOUSE_TAKER_ID, self._requests[instrument_id, side], ts_now_ns)
                taker.qty_lots, taker.status = qty_lots, OrderStatus.ACCEPTED
                self._match(taker, limit_px, FillKind.ORDER, ts_now_ns)
                self._drain(ts_now_ns)
        return lots - left_lots, self._finish() if is_real else []

    def fill_house(self, account_id: str, client_order_id: str, lots: int, ts_now_ns: int) -> Events:
        """Let a house taker trade with one resting order at its px, whoever rests before it; no such order: nothing."""
        order = self._account(account_id).orders.get(client_order_id)
        if order is None or not order.status.is_open or not order.is_armed or order.is_stop or lots <= 0:
            return []
        qty_lots = min(lots, self._compute_fillable_lots(order))
        if qty_lots > 0:
            instrument_id = order.request.instrument_id
            taker = self._make_order(HOUSE_TAKER_ID, self._requests[instrument_id, -order.request.side], ts_now_ns)
            taker.qty_lots, taker.status = qty_lots, OrderStatus.ACCEPTED
            self._trades += 1
            trade_id, px = str(self._trades), order.limit_px
            self._book_fill(taker, qty_lots, px, False, FillKind.ORDER, trade_id, ts_now_ns)
            is_take_profit = order.request.order_type is OrderType.TAKE_PROFIT_LIMIT
            kind = FillKind.TAKE_PROFIT if is_take_profit else FillKind.ORDER
            self._book_fill(order, qty_lots, px, True, kind, trade_id, ts_now_ns)
            self._follow_fill(order, ts_now_ns)
            self._drain(ts_now_ns)
        return self._finish()

    def _print_house(self, maker: Order, side: int, qty_lots: int, ts_now_ns: int) -> None:
        instrument_id, px = maker.request.instrument_id, maker.limit_px
        self._marks_px.setdefault(instrument_id, px)
        self._trades += 1
        maker.qty_filled_lots += qty_lots
        if maker.qty_filled_lots == maker.qty_lots:
            maker.status = OrderStatus.FILLED
            self._maker_orders.pop(maker.sequence, None)
            self.telling[instrument_id].remove(maker)
        else:
            maker.status = OrderStatus.PARTLY_FILLED
            self.telling[instrument_id].touched[-side, px] = None
        self.eaten[instrument_id][-side, px] = None
        self.prints.append(
            PublicTrade(
                self._trades, instrument_id, ts_now_ns, px, qty_lots, side, HOUSE_TAKER_ID, HOUSE_MAKER_ID, "0", "0"
            )
        )

    # What everybody's orders leave behind.

    def take_book_change(self, instrument_id: str, ts_now_ns: int) -> BookChange | None:
        """Return what changed in a book since the last call, None if nothing did."""
        book = self.telling[instrument_id]
        if not book.touched:
            return None
        bids, asks = book.take_changes()
        if not bids and not asks:
            return None
        previous_id = book.last_id
        book.last_id = previous_id + len(bids) + len(asks)
        return BookChange(
            instrument_id, ts_now_ns, previous_id + 1, book.last_id, previous_id, tuple(bids), tuple(asks)
        )

    def get_best_px(self, instrument_id: str, side: int) -> float:
        """Return the best px of a side, NaN if it is empty."""
        self._instrument(instrument_id)
        return self.telling[instrument_id].get_best_px(side)

    def compute_long_lots(self, instrument_id: str) -> int:
        """Return the open interest of accounts: the larger of their longs and shorts, as the house holds the rest."""
        held = [account.position(instrument_id).qty_lots for account in self._accounts.values() if not account.is_house]
        return max(sum(lots for lots in held if lots > 0), -sum(lots for lots in held if lots < 0))

    def _book_fill(
        self, order: Order, qty_lots: int, fill_px: float, is_maker: bool, kind: FillKind, trade_id: str, ts_ns: int
    ) -> None:
        super()._book_fill(order, qty_lots, fill_px, is_maker, kind, trade_id, ts_ns)
        account_id, request = order.account_id, order.request
        if account_id in HOUSE_IDS:
            self._accounts[account_id].fills.clear()
        if not is_maker:
            self._taker = order
            return
        taker = self._taker
        assert taker is not None, "the taker's side is booked first"
        self.telling[request.instrument_id].touched[request.side, order.limit_px] = None
        if account_id == HOUSE_MAKER_ID:
            self.eaten[request.instrument_id][request.side, order.limit_px] = None
        self.prints.append(
            PublicTrade(
                int(trade_id),
                request.instrument_id,
                ts_ns,
                fill_px,
                qty_lots,
                taker.request.side,
                taker.account_id,
                account_id,
                taker.venue_order_id,
                order.venue_order_id,
            )
        )

    def _emit(self, account_id: str, event: VenueEvent) -> None:
        if account_id not in HOUSE_IDS:
            super()._emit(account_id, event)

    def _emit_modified(self, order: Order, ts_ns: int) -> None:
        self.telling[order.request.instrument_id].touched[order.request.side, order.limit_px] = None
        super()._emit_modified(order, ts_ns)

    def _cancel(self, order: Order, message: str, ts_ns: int) -> None:
        assert order.account_id != HOUSE_MAKER_ID or message != Message.SELF_TRADE, "the house met itself"
        super()._cancel(order, message, ts_ns)


@dataclass(frozen=True, slots=True)
class LadderSettings:
    """How the house quotes."""

    levels: int = 24  # a side
    half_spread_bps: float = 0.15  # from the path's px to the best house quote, at least
    level_gap_bps: float = 0.2  # between levels, at least one price step
    refill_frac: float = 0.2  # of an eaten level, each step
    refresh_prob: float = 0.15  # that one level changes its size, each step


class Ladder:
    """The house maker of one instrument."""

    def __init__(self, exchange: HouseExchange, instrument: Instrument, settings: LadderSettings, seed: int) -> None:
        self._exchange, self._instrument, self._settings = exchange, instrument, settings
        self._instrument_id = instrument.instrument_id
        entropy = [seed, zlib.crc32(instrument.instrument_id.encode()), 1]
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
        self._sizes: list[float] = np.exp(0.5 * random.standard_normal(_SIZES) - 0.125).tolist()
        self._levels: dict[int, dict[int, list[Order]]] = {_BUY: {}, _SELL: {}}  # by side and grid index
        self._wanted: dict[int, dict[int, int]] = {_BUY: {}, _SELL: {}}
        self._thin: dict[tuple[int, int], None] = {}  # levels with less than is wanted
        self._best: dict[int, int] = {_BUY: 0, _SELL: 0}
        self._grid_px: tuple[float, float] = (0.0, 0.0)  # the range in which the grid holds
        self._unit, self._numerator, self._denominator = 1.0, 1, 1
        self.gap_bps = 0.0  # a fault: the house stays so far away from the path

    def quote(self, px: float, step: int, draw: float, level_lots: int, ts_now_ns: int) -> Events:
        """Move the ladder to a px: first take what rests in the way, then quote; return what that caused."""
        if not self._grid_px[0] <= px < self._grid_px[1]:
            self._lay_grid(px)
        half_px = px * max(self._settings.half_spread_bps, self.gap_bps) * 1e-4
        bid, ask = math.floor((px - half_px) / self._unit), math.ceil((px + half_px) / self._unit)
        bid = max(1, bid)
        ask = max(ask, bid + 1)
        events: Events = []
        if bid != self._best[_BUY] or ask != self._best[_SELL]:
            self._pull_outside(_BUY, bid)
            self._pull_outside(_SELL, ask)
            events += self._sweep(_BUY, self._px(bid), ts_now_ns)
            events += self._sweep(_SELL, self._px(ask), ts_now_ns)
            self._fill_band(_BUY, bid, step, level_lots)
            self._fill_band(_SELL, ask, step, level_lots)
        else:
            # An account may have rested in between; what crosses the house's target has been matched on arrival.
            events += self._sweep(_BUY, self._px(bid), ts_now_ns)
            events += self._sweep(_SELL, self._px(ask), ts_now_ns)
        self._refill(step)
        if draw < self._settings.refresh_prob:
            self._refresh(step, draw / self._settings.refresh_prob, level_lots)
        return events

    def thin_out(self, side: int, limit_px: float, keep_lots: int) -> None:
        """Leave only `keep_lots` of the house's liquidity of a side at `limit_px` or better; the rest comes back."""
        for key in sorted(self._levels[side], key=lambda key: -side * key):
            if side * (self._px(key) - limit_px) < 0.0:
                break
            held_lots = sum(order.qty_leaves_lots for order in self._levels[side][key])
            kept_lots = min(held_lots, keep_lots)
            keep_lots -= kept_lots
            if kept_lots < held_lots:
                self._set_lots(side, key, kept_lots)
                self._thin[side, key] = None

    def _px(self, key: int) -> float:
        return key * self._numerator / self._denominator

    def _lay_grid(self, px: float) -> None:
        # The grid is whole price steps near px; it is laid anew when the px leaves its power of ten, where significant
        # figures change the step, else when the px has doubled or halved.
        for side in (_BUY, _SELL):
            for key in [*self._levels[side]]:
                self._drop(side, key)
        step_px = compute_px_step(self._instrument, px)
        gap = max(1, round(self._settings.level_gap_bps * 1e-4 * px / float(step_px)))
        unit = Fraction(step_px) * gap
        self._unit, self._numerator, self._denominator = float(unit), unit.numerator, unit.denominator
        decade_px = 10.0 ** math.floor(math.log10(px))
        has_figures = self._instrument.significant_figures_max > 0
        self._grid_px = (decade_px, 10.0 * decade_px) if has_figures else (0.5 * px, 2.0 * px)
        self._best = {_BUY: 0, _SELL: 0}

    def _pull_outside(self, side: int, best: int) -> None:
        # Quotes better than the new best go; worse ones may lag behind for a quarter of the band.
        depth = self._settings.levels + self._settings.levels // 4
        gone = [key for key in self._levels[side] if not 0 <= side * (best - key) < depth]
        for key in gone:
            self._drop(side, key)

    def _fill_band(self, side: int, best: int, step: int, level_lots: int) -> None:
        self._best[side] = best
        levels = self._levels[side]
        for depth in range(self._settings.levels):
            key = best - side * depth
            if key in levels or key < 1:
                continue
            wanted_lots = self._draw_lots(key, step, depth, level_lots)
            self._wanted[side][key] = wanted_lots
            levels[key] = [self._exchange.add_house(self._instrument_id, side, self._px(key), wanted_lots)]

    def _draw_lots(self, key: int, step: int, depth: int, level_lots: int) -> int:
        # Deeper is larger; the draw is a function of level and step.
        size = self._sizes[(key * 7919 + step * 31) % _SIZES]
        return max(1, int(level_lots * size * (0.5 + 0.15 * depth)))

    def _drop(self, side: int, key: int) -> None:
        for order in self._levels[side].pop(key):
            if order.status.is_open:
                self._exchange.pull_house(order)
        self._wanted[side].pop(key, None)

    def _sweep(self, side: int, limit_px: float, ts_now_ns: int) -> Events:
        # What accounts offer at the house's quote or better is taken whole: the path goes through it.
        book = self._exchange.telling[self._instrument_id]
        if not book.can_match(side, limit_px):
            return []
        # The house's own quotes of the other side are beyond, so everything in the way is an account's.
        return self._exchange.take_house(self._instrument_id, side, 1 << 62, limit_px, ts_now_ns)[1]

    def _refill(self, step: int) -> None:
        eaten = self._exchange.eaten[self._instrument_id]
        if eaten:
            for side, px in eaten:
                self._thin[side, round(px / self._unit)] = None
            eaten.clear()
        if not self._thin:
            return
        for side, key in [*self._thin][:_REFILLS_PER_STEP]:
            del self._thin[side, key]
            wanted_lots = self._wanted[side].get(key)
            if wanted_lots is None:
                continue
            orders = self._levels[side][key]
            held_lots = sum(order.qty_leaves_lots for order in orders if order.status.is_open)
            more_lots = min(wanted_lots - held_lots, max(1, int(wanted_lots * self._settings.refill_frac)))
            if more_lots > 0:
                self._grow(side, key, more_lots)
            if held_lots + more_lots < wanted_lots:
                self._thin[side, key] = None  # again, after the others

    def _refresh(self, step: int, draw: float, level_lots: int) -> None:
        side = _BUY if draw < 0.5 else _SELL
        depth = int((2.0 * draw) % 1.0 * self._settings.levels)
        key = self._best[side] - side * depth
        if key not in self._wanted[side]:
            return
        self._wanted[side][key] = self._draw_lots(key, step, depth, level_lots)
        self._set_lots(side, key, self._wanted[side][key])

    def _set_lots(self, side: int, key: int, lots: int) -> None:
        # More comes behind what rests, less leaves from behind.
        orders = self._levels[side][key] = [order for order in self._levels[side][key] if order.status.is_open]
        surplus_lots = sum(order.qty_leaves_lots for order in orders) - lots
        if surplus_lots < 0:
            self._grow(side, key, -surplus_lots)
        while surplus_lots > 0:
            last = orders[-1]
            if last.qty_leaves_lots > surplus_lots:
                self._exchange.shrink_house(last, surplus_lots)
                break
            surplus_lots -= last.qty_leaves_lots
            self._exchange.pull_house(orders.pop())

    def _grow(self, side: int, key: int, lots: int) -> None:
        orders = self._levels[side][key] = [order for order in self._levels[side][key] if order.status.is_open]
        if len(orders) >= _ORDERS_PER_LEVEL_MAX:
            last = orders.pop()
            lots += last.qty_leaves_lots
            self._exchange.pull_house(last)
        orders.append(self._exchange.add_house(self._instrument_id, side, self._px(key), lots))
