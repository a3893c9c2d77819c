"""What every market data client promises, on every venue, over real sockets: what it tells is what the exchange has."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from market.records import NS_PER_S
from tests.venues.contract.stage import Stage, run_stage, until
from tests.venues.contract.trader import CALM
from tests.venues.contract.venues_under_test import DATA, DataVenue, count_lots
from venues.book_feed import BookView, LostReason
from venues.port import BarSeen, ClientSettings, MarketEvent, MarkSeen, Subscription, TradePrinted
from venues.simulator.driven_market import Block

MINUTE_NS = 60 * NS_PER_S
BEFORE_NS = 2 * NS_PER_S  # so long before a bar closes the clock is put, and then let go
Levels = tuple[tuple[float, int], ...]
_VIEWS = 5  # books to compare, each another


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with run_stage(tuple(venue.name for venue in DATA), accounts=1) as running:
        yield running


@pytest.fixture(params=DATA, ids=str)
def venue(request: pytest.FixtureRequest) -> DataVenue:
    return request.param


class Record:
    """Every book the exchange had after a block, and every mark it published: kept where the exchange lives."""

    def __init__(self, stage: Stage, venue: DataVenue) -> None:
        self._stage, self._instrument_id = stage, venue.btc.instrument_id
        self._market = stage.simulator(venue.name).world.market
        self._books: list[tuple[Levels, Levels]] = []
        self._marks: set[tuple[float, float]] = set()
        self._show_mark = venue.show_mark
        self._is_on = True
        stage.call(self._begin, stage.simulator(venue.name).world)

    def _begin(self, world: Any) -> None:
        world.listen(self._hear)
        self._marks.add(self._show_mark(self._market.get_mark(self._instrument_id)))
        self._keep_book()

    def _hear(self, block: Block) -> None:
        if not self._is_on:
            return
        self._marks |= {self._show_mark(mark) for mark in block.marks if mark.instrument_id == self._instrument_id}
        if any(change.instrument_id == self._instrument_id for change in block.books):
            self._keep_book()

    def _keep_book(self) -> None:
        book = self._market.get_book(self._instrument_id)
        sides = [tuple((one.px, one.qty_lots) for one in side) for side in (book.bids, book.asks)]
        self._books.append((sides[0], sides[1]))

    def has_book(self, bids: Levels, asks: Levels) -> bool:
        """Whether the exchange ever had this book, level by level as deep as the venue shows it."""
        deep = len(bids), len(asks)
        return bool(
            self._stage.call(
                lambda: any(book[0][: deep[0]] == bids and book[1][: deep[1]] == asks for book in self._books)
            )
        )

    def list_marks(self) -> set[tuple[float, float]]:
        """Return every (mark, index) px published."""
        return set(self._stage.call(lambda: set(self._marks)))

    def stop(self) -> None:
        """Keep nothing more."""
        self._is_on = False
        self._stage.call(self._books.clear)


class Reader:
    """A client and all that it told of one instrument."""

    def __init__(self, stage: Stage, venue: DataVenue, subscription: Subscription, settings: ClientSettings) -> None:
        self.stage, self.venue, self.subscription = stage, venue, subscription
        self.instrument_id = venue.btc.instrument_id
        self.client = venue.make_client(stage, settings)
        self.told: list[MarketEvent] = []

    @property
    def trades(self) -> list[TradePrinted]:
        return [event for event in self.told if isinstance(event, TradePrinted)]

    @property
    def marks(self) -> list[MarkSeen]:
        return [event for event in self.told if isinstance(event, MarkSeen)]

    @property
    def bars(self) -> list[BarSeen]:
        return [event for event in self.told if isinstance(event, BarSeen)]

    def take(self, later_s: float = 0.0) -> BookView | LostReason:
        return self.client.take_book(self.instrument_id, self.stage.clock() + int(later_s * NS_PER_S))

    def read_levels(self, view: BookView) -> tuple[Levels, Levels]:
        bids, asks = (
            tuple((px, count_lots(self.venue.btc, qty)) for px, qty in side) for side in (view.bids, view.asks)
        )
        return bids, asks

    def health(self) -> tuple[str, ...]:
        return self.client.check_health(self.stage.clock())

    async def skip_to_bar_end(self) -> None:
        """Put the clock shortly before the end of a bar."""
        now_ns = self.stage.clock()
        await self.stage.skip_to((now_ns // MINUTE_NS + 1) * MINUTE_NS - BEFORE_NS)

    async def more_bars(self, count: int) -> None:
        """Let bars close, and wait until they are told."""
        for _ in range(count):
            before = len(self.bars)
            await self.skip_to_bar_end()
            await until(lambda before=before: len(self.bars) > before, "a bar closes")  # type: ignore[misc]

    def list_candles(self) -> dict[int, tuple[float, ...]]:
        """Return the exchange's own candles of the last hour, by opening time."""
        market = self.stage.simulator(self.venue.name).world.market
        now_ns = self.stage.clock()
        rows = self.stage.call(market.list_candles, self.instrument_id, MINUTE_NS, now_ns - 60 * MINUTE_NS, now_ns)
        return {one.ts_open_ns: (one.open_px, one.high_px, one.low_px, one.close_px, one.volume_lots) for one in rows}

    def check_bars(self) -> None:
        """Each close once, in order, none left out, each the exchange's."""
        opens = [event.bar.ts_open_ns for event in self.bars]
        assert opens == [opens[0] + index * MINUTE_NS for index in range(len(opens))]
        candles = self.list_candles()
        for event in self.bars:
            bar = event.bar
            assert (event.instrument_id, event.interval_ns) == (self.instrument_id, MINUTE_NS)
            lots = count_lots(self.venue.btc, bar.volume_base)
            assert (bar.open_px, bar.high_px, bar.low_px, bar.close_px, lots) == candles[bar.ts_open_ns]

    def check_tape(self) -> None:
        """Every trade of the tape between the first and the last told, once, and as the tape has it."""
        simulator = self.stage.simulator(self.venue.name)
        rows = self.stage.call(self.venue.list_tape, simulator, self.venue.btc)
        found = {row.trade_id: row for row in rows}
        ids = [trade.trade_id for trade in self.trades]
        assert len(set(ids)) == len(ids), "a trade was told twice"
        order = [row.trade_id for row in rows]
        first, last = order.index(ids[0]), order.index(ids[-1])
        assert ids == order[first : last + 1]
        for trade in self.trades:
            row = found[trade.trade_id]
            lots = count_lots(self.venue.btc, trade.qty_base)
            ts_ms = trade.ts_event_ns // 1_000_000
            assert (trade.side, trade.px, lots, ts_ms) == (row.side, row.px, row.qty_lots, row.ts_ms)


def read(
    stage: Stage,
    venue: DataVenue,
    work: Callable[[Reader], Coroutine[Any, Any, None]],
    *,
    settings: ClientSettings = CALM,
    **wanted: Any,
) -> None:
    """Open a client, do some work with it, close it, and leave no fault on."""

    async def main() -> None:
        subscription = Subscription(venue.btc.instrument_id, **wanted)
        reader = Reader(stage, venue, subscription, settings)
        try:
            await reader.client.open([subscription], reader.told.append)
            await work(reader)
        finally:
            stage.clear(venue.name)
            await reader.client.close()
            await reader.client.close()

    asyncio.run(main())


def test_books_are_the_exchanges_level_by_level(stage: Stage, venue: DataVenue) -> None:
    record = Record(stage, venue)

    async def work(reader: Reader) -> None:
        await until(lambda: isinstance(reader.take(), BookView), "a book")
        seen: set[tuple[Levels, Levels]] = set()
        while len(seen) < _VIEWS:
            view = await until(lambda: one if isinstance(one := reader.take(), BookView) else None, "a book")
            bids, asks = reader.read_levels(view)
            assert len(bids) >= 5
            assert len(asks) >= 5
            assert bids[0][0] < asks[0][0]
            assert record.has_book(bids, asks), f"the exchange never had {view}"
            if (bids, asks) not in seen:
                seen.add((bids, asks))
            await asyncio.sleep(0.05)

    try:
        read(stage, venue, work)
    finally:
        record.stop()


def test_trades_and_marks_are_the_exchanges(stage: Stage, venue: DataVenue) -> None:
    record = Record(stage, venue)

    async def work(reader: Reader) -> None:
        await until(lambda: len(reader.trades) >= 15 and len(reader.marks) >= 3, "trades and marks")
        reader.check_tape()
        known = record.list_marks()
        for mark in reader.marks:
            assert mark.instrument_id == reader.instrument_id
            assert (mark.mark_px, mark.index_px) in known
        assert any(mark.funding_rate == mark.funding_rate for mark in reader.marks)
        with pytest.raises(ValueError, match="book"):
            reader.take()

    try:
        read(stage, venue, work, has_book=False, has_trades=True, has_marks=True)
    finally:
        record.stop()


def test_bars_close_once_in_order_also_over_a_lost_connection(stage: Stage, venue: DataVenue) -> None:
    async def work(reader: Reader) -> None:
        await reader.more_bars(1)
        stage.switch(venue.name, "connection_close", code=1006, next_n=1)
        await until(lambda: stage.call(board.counts).get("connection_close", 0) > done, "the cut")
        await reader.more_bars(2)
        await until(lambda: not reader.health(), f"all well again: {reader.health()}")
        before = len(reader.trades)
        await until(lambda: len(reader.trades) > before + 3, "trades come again")
        reader.check_bars()
        fetched = await reader.client.fetch_bars(reader.instrument_id, MINUTE_NS, 20)
        opens = [bar.ts_open_ns for bar in fetched]
        assert opens == [opens[0] + index * MINUTE_NS for index in range(20)]
        candles = reader.list_candles()
        told = {event.bar.ts_open_ns for event in reader.bars}
        assert told <= set(opens)
        for bar in fetched:
            lots = count_lots(venue.btc, bar.volume_base)
            assert (bar.open_px, bar.high_px, bar.low_px, bar.close_px, lots) == candles[bar.ts_open_ns]

    board = stage.simulator(venue.name).world.board
    done = stage.call(board.counts).get("connection_close", 0)
    read(stage, venue, work, has_trades=True, has_marks=True, bar_interval_ns=MINUTE_NS)


def test_a_book_that_is_old_or_crossed_is_not_given_out(stage: Stage, venue: DataVenue) -> None:
    async def work(reader: Reader) -> None:
        await until(lambda: isinstance(reader.take(), BookView), "a book")
        assert not reader.health()
        assert reader.take(later_s=CALM.stale_s + 60.0) is LostReason.STALE
        await until(lambda: isinstance(reader.take(), BookView), "a book of the present")
        stage.switch(venue.name, "book_crossed")
        refused: list[LostReason] = []
        await until(lambda: note(reader, refused), "a crossed book is refused")
        assert reader.health()
        stage.clear(venue.name)
        await until(lambda: isinstance(reader.take(), BookView) and not reader.health(), "the book is well again")

    def note(reader: Reader, refused: list[LostReason]) -> bool:
        view = reader.take()
        if isinstance(view, LostReason):
            refused.append(view)
        else:
            assert view.bids[0][0] < view.asks[0][0], f"a crossed book was given out: {view}"
        return len(refused) > 0

    read(stage, venue, work)


def test_what_is_not_listed_is_refused_and_closing_twice_is_safe(stage: Stage, venue: DataVenue) -> None:
    async def main() -> None:
        client = venue.make_client(stage, CALM)
        assert client.check_health(stage.clock())
        with pytest.raises(ValueError, match="DOGE"):
            await client.open([Subscription(f"DOGE-PERP.{venue.name.upper()}")], lambda event: None)
        await client.close()
        await client.close()

    asyncio.run(main())
