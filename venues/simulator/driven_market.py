"""One exchange, three voices: a market with prices, tape, marks and funding of its own, in which accounts trade.

`DrivenMarket(instruments, costs, path, settings, seed)` moves `HouseExchange` along a price path per instrument, in
steps of `settings.block_ns`. Sans-IO: `advance(ts_now_ns)` makes every block due and returns what each changed.
Commands (`submit`, `cancel`, ...) act between blocks at their own time and return the same kind of record. Same seed,
same calls, same records, in any process; one long `advance` or many short ones are the same unless accounts act.

A block, per instrument in order: the house moves its ladder to the path's px and takes what rests in the way
(`venues.simulator.house`); a house taker prints the bar's volume of this step, against whoever rests first. Then, each
on its own clock: oracle and mark px are published, and stops and liquidations follow; the premium is sampled; funding
settles at the first block at or after its whole hour, at the oracle px. Oracle px = path px / (1 + premium), the
premium being what would give the bar's own funding rate, plus a small wave.

Fills when: as `venues.book_exchange` says, the house among the others. An order the path goes through fills whole; one
at the touch fills when house takers reach it in the queue.
Does not model: what `venues.exchange` and `venues.simulator.house` name; a path that accounts push: they eat the
ladder, which comes back over some steps around the same px.
"""

import math
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from market.events import OrderRequest
from market.fills import Costs
from market.instruments import Instrument
from market.records import NS_PER_DAY, NS_PER_MS, NS_PER_S, Side
from venues.exchange import Events
from venues.orders import Message
from venues.simulator.candles import BASE_NS, Candle, CandleBook, merge_candles
from venues.simulator.funding import (
    FundingMeter,
    FundingRule,
    FundingSettled,
    MarkRule,
    compute_impact_px,
    compute_mark_px,
    compute_premium_frac,
)
from venues.simulator.house import HOUSE_IDS, BookChange, HouseExchange, Ladder, LadderSettings, PublicTrade
from venues.simulator.path_history import PathHistory
from venues.simulator.price_path import PathEnd, PricePath, Stretch, check_path_bars

NOT_MODELLED = (
    "a price that accounts push: they eat the book, which comes back around the same px",
    "house makers that lose money, pull in panic or skew; gaps and clusters of volatility inside a bar",
    "margin tiers, partial liquidation, insurance fund, auto-deleveraging, price bands",
)
_BUY, _SELL = Side.BUY.value, Side.SELL.value
Extend = Callable[[int], NDArray[Any]]  # so many bars of a path, or more


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """How a driven market behaves; the defaults are Hyperliquid's."""

    block_ns: int = 70 * NS_PER_MS
    ts_start_ns: int | None = None  # None: the first bar's open; bars before it are history
    path_end: PathEnd = PathEnd.LOOP
    is_walk_by_base: bool = False  # the walk inside a bar is that of every market of this base, seed and block_ns
    trade_prob: float = 0.3  # that a house taker trades in a block
    level_trades: float = 4.0  # a level's size, in mean trades
    ladder: LadderSettings = field(default_factory=LadderSettings)
    mark_rule: MarkRule = MarkRule.MEDIAN
    mark_every_ns: int = 3 * NS_PER_S
    basis_ema_ns: int = 150 * NS_PER_S
    funding_rule: FundingRule = FundingRule.HYPERLIQUID
    premium_every_ns: int = 5 * NS_PER_S
    impact_notional_quote: float = 6_000.0
    impact_notional_large_quote: float = 20_000.0  # BTC and ETH
    is_child_armed_by_part: bool = True  # False on Hyperliquid
    trades_kept: int = 1000  # public trades remembered per instrument
    history_max: int | None = 20_000  # ended orders, and fills, remembered of each account
    candle_base_ns: int = BASE_NS  # the shortest candle


@dataclass(frozen=True, slots=True)
class Mark:
    """Oracle and mark px as published."""

    instrument_id: str
    ts_event_ns: int
    oracle_px: float
    mark_px: float


@dataclass(frozen=True, slots=True)
class Block:
    """What one block, or one command between two blocks, changed. Trades and events in the order they happened."""

    number: int  # the height; a command carries that of the block before it
    ts_event_ns: int
    books: tuple[BookChange, ...]
    trades: tuple[PublicTrade, ...]
    events: tuple[tuple[str, Any], ...]  # (account_id, VenueEvent), the house left out
    marks: tuple[Mark, ...] = ()
    fundings: tuple[FundingSettled, ...] = ()

    def events_of(self, account_id: str) -> list[Any]:
        """Return the events of one account."""
        return [event for owner_id, event in self.events if owner_id == account_id]


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a book snapshot."""

    px: float
    qty_lots: int
    orders: int


@dataclass(frozen=True, slots=True)
class BookView:
    """A book as of update id `last_id`: every change with a larger id comes after it."""

    instrument_id: str
    ts_event_ns: int
    last_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class DayStats:
    """The last 24 hours, to the minute."""

    open_px: float  # 24 h ago
    high_px: float
    low_px: float
    last_px: float
    volume_lots: int
    turnover_quote: float
    trades: int


class _World:
    """One instrument's part of the market; DrivenMarket's own."""

    def __init__(
        self, market: "DrivenMarket", instrument: Instrument, bars: NDArray[Any], seed: int, extend: Extend | None
    ) -> None:
        settings = market.settings
        self.instrument = instrument
        self.path = PricePath(
            instrument,
            bars,
            market.ts_start_ns,
            settings.block_ns,
            seed,
            end=settings.path_end,
            trade_prob=settings.trade_prob,
            level_trades=settings.level_trades,
            funding_rule=settings.funding_rule,
            walk_key=instrument.base if settings.is_walk_by_base else "",
            extend=extend,
        )
        self.history = history = PathHistory(
            self.path, market.ts_start_ns, settings.block_ns, settings.candle_base_ns, settings.funding_rule
        )
        self.candles = CandleBook(market.ts_start_ns, history.list_candles, settings.candle_base_ns)
        self.ladder = Ladder(market.exchange, instrument, settings.ladder, seed)
        self.meter = FundingMeter(
            instrument.funding_interval_h, settings.funding_rule, market.ts_start_ns - 1, settings.basis_ema_ns
        )
        self.fundings: list[FundingSettled] = history.list_fundings()
        self.trades: deque[PublicTrade] = deque(maxlen=settings.trades_kept)
        self.stretch: Stretch = self.path.stretch_at(0)
        self.step_end = 0  # of the stretch; 0: fetch one
        self.px = self.stretch.pxs[-self.stretch.step_first]
        self.last_px = math.nan
        self.oracle_px = self.mark_px = math.nan
        self.day: tuple[int, list[Candle]] = (-1, [])  # the minute it is good for, the day before it by UTC day
        self.carry_lots = 0  # taker volume the book could not take, signed
        self.is_oracle_frozen = False
        is_large = instrument.base in ("BTC", "ETH")
        self.impact_quote = settings.impact_notional_large_quote if is_large else settings.impact_notional_quote
        self.phase = zlib.crc32(f"{seed}:{instrument.instrument_id}".encode()) / 2**32 * math.tau

    def compute_oracle_px(self, step: int, ts_now_ns: int) -> float:
        """Return the px of the index, which the perpetual leads by the premium."""
        stretch = self.stretch
        part = (step - stretch.step_first) / len(stretch.pxs)
        premium = stretch.premium_from_frac + part * (stretch.premium_to_frac - stretch.premium_from_frac)
        hours = (ts_now_ns - self.path.ts_first_ns) / (3600.0 * NS_PER_S)
        premium += 4e-5 * math.sin(10.2 * hours + self.phase) + 2e-5 * math.sin(34.3 * hours + 2.0 * self.phase)
        return self.round_to_tick(self.px / (1.0 + premium))

    def round_to_tick(self, px: float) -> float:
        """Return a px on the instrument's finest grid."""
        tick_px = self.instrument.tick_px
        return max(1, round(px / tick_px)) / round(1.0 / tick_px) if tick_px < 1.0 else round(px / tick_px) * tick_px


class DrivenMarket:
    """The market. `exchange` answers every query about accounts; only this class may change it."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        costs: Costs,
        path: Mapping[str, NDArray[Any]],
        settings: MarketSettings | None = None,
        seed: int = 0,
        extend: Mapping[str, Extend] | None = None,
    ) -> None:
        """Open over `path`: bars (BAR_DTYPE) by instrument id; `price_path.make_bars` makes them of raw prices.

        `extend`, by instrument id: what makes more bars when the path ends (see `PricePath`).
        Raises ValueError if an instrument has no usable bars, or the start lies outside the bars of one.
        """
        self.settings = settings or MarketSettings()
        if self.settings.block_ns <= 0 or seed < 0:
            raise ValueError(f"block_ns is {self.settings.block_ns} and seed {seed}: must be > 0 and >= 0")
        self.exchange = HouseExchange(
            instruments,
            costs,
            is_child_armed_by_part=self.settings.is_child_armed_by_part,
            history_max=self.settings.history_max,
        )
        for instrument in instruments:
            if instrument.instrument_id not in path:
                raise ValueError(f"path has no bars of {instrument.instrument_id}, only of {[*path]}")
        first_ns = int(path[instruments[0].instrument_id]["ts_open_ns"][0])
        self.ts_start_ns = first_ns if self.settings.ts_start_ns is None else self.settings.ts_start_ns
        self._worlds: dict[str, _World] = {}
        for instrument in instruments:
            instrument_id, bars = instrument.instrument_id, path[instrument.instrument_id]
            length_ns = len(bars) * check_path_bars(bars, instrument_id)
            if not 0 <= self.ts_start_ns - int(bars["ts_open_ns"][0]) < length_ns:
                raise ValueError(f"start {self.ts_start_ns} ns lies outside the bars of {instrument_id}")
            self._worlds[instrument_id] = _World(self, instrument, bars, seed, (extend or {}).get(instrument_id))
        self._next_step = 0
        self._ts_now_ns = self.ts_start_ns
        self._ts_mark_ns = self._ts_premium_ns = self.ts_start_ns  # when next

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What is traded here, in the order given."""
        return self.exchange.instruments

    # Time.

    @property
    def height(self) -> int:
        """The number of the last block made; 0 before the first."""
        return self._next_step

    @property
    def ts_now_ns(self) -> int:
        """The time of the last block or command."""
        return self._ts_now_ns

    @property
    def ts_next_block_ns(self) -> int:
        """When the next block is due: what a server waits for."""
        return self.ts_start_ns + self._next_step * self.settings.block_ns

    def advance(self, ts_now_ns: int, *, is_watched: bool = True) -> list[Block]:
        """Make every block due at or before `ts_now_ns`; return those in which something changed, oldest first.

        Not watched, only blocks with events of accounts or settlements come back, without their books and trades, and a
        last one tells in one change each what became of the books. The world is the same; the update ids are fewer.
        """
        blocks = [*self.make_due(ts_now_ns, is_watched=is_watched)]
        if not is_watched:
            rest = self._collect([], self._ts_now_ns)
            if rest.books:
                blocks.append(rest)
        return blocks

    def make_due(self, ts_now_ns: int, *, is_watched: bool = True) -> Iterator[Block]:
        """Do as `advance` does, block by block: whoever hears of one finds the market as of that one."""
        while (ts_block_ns := self.ts_next_block_ns) <= ts_now_ns:
            block = self._make_block(self._next_step, ts_block_ns, is_watched)
            if block is not None:
                yield block
        self._ts_now_ns = max(self._ts_now_ns, ts_now_ns)

    def _make_block(self, step: int, ts_now_ns: int, is_watched: bool) -> Block | None:
        exchange, events = self.exchange, []
        self._ts_now_ns = ts_now_ns
        for instrument_id, world in self._worlds.items():
            if step >= world.step_end:
                world.stretch = world.path.stretch_at(step)
                world.step_end = world.stretch.step_first + len(world.stretch.pxs)
            stretch = world.stretch
            if stretch.is_over:
                continue
            index = step - stretch.step_first
            world.px = stretch.pxs[index]
            events += world.ladder.quote(world.px, step, stretch.draws[index], stretch.level_lots, ts_now_ns)
            lots = stretch.taker_lots[index] + world.carry_lots
            if lots and not world.ladder.gap_bps:
                side = _BUY if lots > 0 else _SELL
                taken_lots, caused = exchange.take_house(instrument_id, side, abs(lots), side * math.inf, ts_now_ns)
                world.carry_lots = lots - side * taken_lots
                events += caused
        self._next_step = step + 1
        marks: list[Mark] = []
        fundings: list[FundingSettled] = []
        if ts_now_ns >= self._ts_mark_ns:
            marks = self._publish_marks(step, ts_now_ns, events)
        if ts_now_ns >= self._ts_premium_ns:
            self._sample_premiums(ts_now_ns)
        for world in self._worlds.values():
            if ts_now_ns >= world.meter.ts_next_ns:
                fundings.append(self._settle_funding(world, ts_now_ns, events))
        if is_watched:
            block = self._collect(events, ts_now_ns, marks, fundings)
            is_empty = not (block.books or block.trades or block.events or marks or fundings)
            return None if is_empty else block
        self._note_trades()
        if events or fundings:
            return Block(self._next_step, ts_now_ns, (), (), tuple(events), tuple(marks), tuple(fundings))
        return None

    # Accounts and their orders, between blocks.

    def open_account(self, account_id: str, deposit_quote: float, costs: Costs | None = None) -> None:
        """Open an account with a deposit."""
        self.exchange.add_account(account_id, deposit_quote, costs)

    def submit(
        self,
        account_id: str,
        requests: Sequence[OrderRequest],
        ts_now_ns: int,
        group: bool = False,
        fill_cap_lots: int | None = None,
    ) -> Block:
        """Take or refuse orders. `fill_cap_lots`: the house keeps only so much in their way, so that they fill in part.

        Raises ValueError as `Exchange.submit` does, for the house's accounts, and for a time before now or after the
        next block is due (advance first).
        """
        self._check_command(account_id, ts_now_ns)
        if fill_cap_lots is not None:
            for request in requests:
                world = self._worlds.get(request.instrument_id)
                if world is not None and request.side in (_BUY, _SELL):
                    limit_px = request.limit_px if request.limit_px > 0.0 else request.side * math.inf
                    world.ladder.thin_out(-request.side, limit_px, fill_cap_lots)
        return self._collect(self.exchange.submit(account_id, requests, ts_now_ns, group), ts_now_ns)

    def cancel(self, account_id: str, client_order_id: str, ts_now_ns: int, message: str = Message.REQUESTED) -> Block:
        """Cancel an order."""
        self._check_command(account_id, ts_now_ns)
        return self._collect(self.exchange.cancel(account_id, client_order_id, ts_now_ns, message), ts_now_ns)

    def cancel_all(
        self, account_id: str, ts_now_ns: int, instrument_id: str | None = None, message: str = Message.REQUESTED
    ) -> Block:
        """Cancel every open order of an account."""
        self._check_command(account_id, ts_now_ns)
        return self._collect(self.exchange.cancel_all(account_id, ts_now_ns, instrument_id, message), ts_now_ns)

    def modify(
        self,
        account_id: str,
        client_order_id: str,
        ts_now_ns: int,
        qty_lots: int | None = None,
        limit_px: float | None = None,
        trigger_px: float | None = None,
    ) -> Block:
        """Change the terms of an open order."""
        self._check_command(account_id, ts_now_ns)
        events = self.exchange.modify(account_id, client_order_id, ts_now_ns, qty_lots, limit_px, trigger_px)
        return self._collect(events, ts_now_ns)

    def set_leverage(self, account_id: str, instrument_id: str, leverage: float, ts_now_ns: int) -> Block:
        """Set an account's leverage."""
        self._check_command(account_id, ts_now_ns)
        return self._collect(self.exchange.set_leverage(account_id, instrument_id, leverage, ts_now_ns), ts_now_ns)

    def freeze_oracle(self, instrument_id: str, is_frozen: bool) -> None:
        """Stop or resume the oracle px of an instrument (a fault: chain halt, oracle lag). Marks follow from it."""
        self._world(instrument_id).is_oracle_frozen = is_frozen

    def gap_book(self, instrument_id: str, gap_bps: float) -> None:
        """Keep the house so far from the path from the next block on, and its takers still (a fault); 0.0: resume."""
        if not 0.0 <= gap_bps < 10_000.0:
            raise ValueError(f"gap of {instrument_id} is {gap_bps} bps: must be in [0, 10000)")
        self._world(instrument_id).ladder.gap_bps = gap_bps

    def fill_resting(self, account_id: str, client_order_id: str, lots: int, ts_now_ns: int) -> Block:
        """Let the house trade with one resting order (a fault: a fill just before its cancel or modify)."""
        self._check_command(account_id, ts_now_ns)
        return self._collect(self.exchange.fill_house(account_id, client_order_id, lots, ts_now_ns), ts_now_ns)

    # Queries; those about accounts are `exchange`'s.

    def get_book(self, instrument_id: str, levels_max: int = 1000) -> BookView:
        """Return a snapshot of a book, all accounts and the house together."""
        self._world(instrument_id)
        book = self.exchange.telling[instrument_id]
        sides = [
            tuple(Level(px, *book.count_level(side, px)) for px in book.list_pxs(side, levels_max))
            for side in (_BUY, _SELL)
        ]
        return BookView(instrument_id, self._ts_now_ns, book.last_id, sides[0], sides[1])

    def get_mark(self, instrument_id: str) -> Mark:
        """Return oracle and mark px as last published; NaN before the first block."""
        world = self._world(instrument_id)
        return Mark(instrument_id, self._ts_now_ns, world.oracle_px, world.mark_px)

    def get_mid_px(self, instrument_id: str) -> float:
        """Return the middle of the book, NaN if a side is empty."""
        bid_px = self.exchange.get_best_px(instrument_id, _BUY)
        return 0.5 * (bid_px + self.exchange.get_best_px(instrument_id, _SELL))

    def get_last_px(self, instrument_id: str) -> float:
        """Return the px of the last trade, NaN before the first."""
        return self._world(instrument_id).last_px

    def get_funding(self, instrument_id: str) -> tuple[float, float, int]:
        """Return the predicted rate, the average premium so far, and when it will settle [ns]."""
        meter = self._world(instrument_id).meter
        return meter.predicted_rate, meter.premium_frac, meter.ts_next_ns

    def get_impact_pxs(self, instrument_id: str) -> tuple[float, float]:
        """Return the average px of selling and of buying the impact notional; NaN if the book is too thin."""
        world = self._world(instrument_id)
        lot_base = world.instrument.lot_base
        bid_px, ask_px = (
            compute_impact_px(self.exchange.list_levels(instrument_id, side, 100), lot_base, world.impact_quote)
            for side in (_BUY, _SELL)
        )
        return bid_px, ask_px

    def list_fundings(self, instrument_id: str, ts_from_ns: int = 0) -> list[FundingSettled]:
        """Return the settlements at or after a time, oldest first, those of the path before the start included."""
        return [settled for settled in self._world(instrument_id).fundings if settled.ts_event_ns >= ts_from_ns]

    def get_premium_frac(self, instrument_id: str, ts_ns: int) -> float:
        """Return how far the path leads its index at a time, that of before the start included."""
        return self._world(instrument_id).history.get_premium_frac(ts_ns)

    def list_trades(self, instrument_id: str, count: int = 100) -> list[PublicTrade]:
        """Return the last public trades, oldest first."""
        return [*self._world(instrument_id).trades][-count:] if count > 0 else []

    def list_candles(
        self, instrument_id: str, interval_ns: int, ts_from_ns: int, ts_to_ns: int, *, is_filled: bool = True
    ) -> list[Candle]:
        """Return candles that open in [from, to), oldest first, the one still open included."""
        candles = self._world(instrument_id).candles
        return candles.list_candles(interval_ns, ts_from_ns, min(ts_to_ns, self._ts_now_ns + 1), is_filled=is_filled)

    def get_open_interest_lots(self, instrument_id: str, ts_ns: int | None = None) -> int:
        """Return the path's open interest (of a world we do not see) plus that of the accounts.

        At a past time: the path's alone, as nobody remembers what the accounts held.
        """
        world = self._world(instrument_id)
        if ts_ns is not None and ts_ns < self._ts_now_ns:
            return world.path.get_open_interest_lots(ts_ns)
        return world.stretch.open_interest_lots + self.exchange.compute_long_lots(instrument_id)

    def get_day_stats(self, instrument_id: str) -> DayStats:
        """Return the last 24 hours."""
        world = self._world(instrument_id)
        minute_ns = self._ts_now_ns // BASE_NS * BASE_NS
        if world.day[0] != minute_ns:  # the closed minutes, added up once a minute
            closed = self.list_candles(instrument_id, BASE_NS, minute_ns - NS_PER_DAY, minute_ns, is_filled=False)
            world.day = minute_ns, merge_candles(closed, NS_PER_DAY)
        live = self.list_candles(instrument_id, BASE_NS, minute_ns, self._ts_now_ns + 1, is_filled=False)
        candles = [*world.day[1], *live]
        if not candles:
            px = world.px if math.isnan(world.last_px) else world.last_px
            return DayStats(px, px, px, px, 0, 0.0, 0)
        return DayStats(
            open_px=candles[0].open_px,
            high_px=max(candle.high_px for candle in candles),
            low_px=min(candle.low_px for candle in candles),
            last_px=candles[-1].close_px,
            volume_lots=sum(candle.volume_lots for candle in candles),
            turnover_quote=sum(candle.turnover_lots_px for candle in candles) * world.instrument.lot_base,
            trades=sum(candle.count for candle in candles),
        )

    def get_path_px(self, instrument_id: str) -> float:
        """Return the px the path is at."""
        return self._world(instrument_id).px

    # What a block does on its own clocks.

    def _publish_marks(self, step: int, ts_now_ns: int, events: Events) -> list[Mark]:
        exchange, marks = self.exchange, []
        every_ns = self.settings.mark_every_ns
        self._ts_mark_ns = (ts_now_ns // every_ns + 1) * every_ns
        for instrument_id, world in self._worlds.items():
            if not world.is_oracle_frozen or math.isnan(world.oracle_px):
                world.oracle_px = world.compute_oracle_px(step, ts_now_ns)
            bid_px, ask_px = (exchange.get_best_px(instrument_id, side) for side in (_BUY, _SELL))
            if not math.isnan(bid_px + ask_px):
                world.meter.add_basis(0.5 * (bid_px + ask_px) - world.oracle_px, ts_now_ns)
            world.mark_px = world.round_to_tick(
                compute_mark_px(
                    self.settings.mark_rule,
                    world.oracle_px,
                    world.meter.basis_px,
                    bid_px,
                    ask_px,
                    world.last_px,
                    world.px,
                )
            )
            marks.append(Mark(instrument_id, ts_now_ns, world.oracle_px, world.mark_px))
        events += exchange.apply_marks({mark.instrument_id: mark.mark_px for mark in marks}, ts_now_ns)
        return marks

    def _sample_premiums(self, ts_now_ns: int) -> None:
        every_ns = self.settings.premium_every_ns
        self._ts_premium_ns = (ts_now_ns // every_ns + 1) * every_ns
        for instrument_id, world in self._worlds.items():
            world.meter.add_sample(compute_premium_frac(*self.get_impact_pxs(instrument_id), world.oracle_px))

    def _settle_funding(self, world: _World, ts_now_ns: int, events: Events) -> FundingSettled:
        instrument_id = world.instrument.instrument_id
        rate, premium_frac = world.meter.settle(ts_now_ns)
        settled = FundingSettled(instrument_id, ts_now_ns, round(rate, 10), round(premium_frac, 10), world.oracle_px)
        world.fundings.append(settled)
        events += self.exchange.settle_funding(instrument_id, settled.funding_rate, world.oracle_px, ts_now_ns)
        return settled

    def _note_trades(self) -> tuple[PublicTrade, ...]:
        prints = self.exchange.prints
        if not prints:
            return ()
        trades = tuple(prints)
        prints.clear()
        for trade in trades:
            world = self._worlds[trade.instrument_id]
            world.last_px = trade.px
            world.trades.append(trade)
            world.candles.add_trade(trade.trade_id, trade.px, trade.qty_lots, trade.taker_side, trade.ts_event_ns)
        return trades

    def _collect(
        self, events: Events, ts_now_ns: int, marks: Sequence[Mark] = (), fundings: Sequence[FundingSettled] = ()
    ) -> Block:
        self._ts_now_ns = ts_now_ns
        changes = [self.exchange.take_book_change(instrument_id, ts_now_ns) for instrument_id in self._worlds]
        books = tuple(change for change in changes if change is not None)
        return Block(
            self._next_step, ts_now_ns, books, self._note_trades(), tuple(events), tuple(marks), tuple(fundings)
        )

    def _check_command(self, account_id: str, ts_now_ns: int) -> None:
        if account_id in HOUSE_IDS:
            raise ValueError(f"account {account_id!r} is the house's: open one of your own with open_account")
        if self._next_step == 0 or not self._ts_now_ns <= ts_now_ns < self.ts_next_block_ns:
            raise ValueError(
                f"a command at {ts_now_ns} ns: the market is at {self._ts_now_ns} ns and its next block is due at"
                f" {self.ts_next_block_ns} ns; advance to the command's time first"
            )

    def _world(self, instrument_id: str) -> _World:
        world = self._worlds.get(instrument_id)
        if world is None:
            raise ValueError(f"no instrument {instrument_id!r} in this market, it has {[*self._worlds]}")
        return world
