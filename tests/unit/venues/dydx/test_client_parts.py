"""The sans-IO parts of the dYdX client: what rows, fills, blocks and refusals make of our orders and groups."""

from decimal import Decimal

from msgspec import UNSET

from market.events import Fill, OrderAccepted, OrderCanceled, OrderModified, OrderRejected, OrderRequest, OrderType
from market.instruments import LISTED
from market.records import NS_PER_S
from venues.book_feed import BookView, LostReason
from venues.dydx.client_groups import Groups
from venues.dydx.client_health import ChainHealth
from venues.dydx.client_legs import AskOrder, CancelLeg, Contract, OurOrder, PlaceLeg
from venues.dydx.client_orders import NEVER_PLACED, OrderDesk
from venues.dydx.client_stream import StreamSession
from venues.dydx.indexer_records import BookLevel, BookSnapshot, BookUpdate, CandleRow, FillRow, OrderRow
from venues.dydx.indexer_session import IndexerConnection
from venues.dydx.indexer_stream import BLOCK_HEIGHT, Subscribe
from venues.dydx.market_books import IndexerBook
from venues.dydx.market_candles import ClosedCandles
from venues.dydx.order_requests import Lifetime
from venues.dydx.order_terms import SubaccountId
from venues.dydx.units import LISTED_UNITS
from venues.port import ClientSettings

BTC = LISTED["BTC-PERP.DYDX"]
ID = BTC.instrument_id
NOW_NS = 1_000 * NS_PER_S


class Desk:
    """A desk with its groups, driven by hand."""

    def __init__(self) -> None:
        self.desk = OrderDesk({ID: Contract(BTC, LISTED_UNITS[ID])}, SubaccountId("dydx1a"), 0.1)
        self.desk.begin()
        self.desk.note_height(100, NOW_NS // 10**6)
        self.groups = Groups(self.desk)
        self.fills = 0

    def add(self, name: str, kind: OrderType, side: int, lots: int = 100, **terms: object) -> OurOrder:
        """Add an order and say it was sent."""
        request = OrderRequest(name, ID, side, lots, kind, **terms)  # type: ignore[arg-type]
        order = self.desk.add(request, Lifetime(110, 2_000, True), 60_000.0)
        order.leg.is_sending, order.leg.nonce_ms = False, NOW_NS // 10**6
        return order

    def row(self, order: OurOrder, status: str, reason: str = "", filled: int = 0, leg: int = -1) -> None:
        """Tell a row of an order's leg."""
        one = order.legs[leg]
        row = OrderRow(
            one.uuid,
            status=status,
            ticker="BTC-USD",
            size=Decimal(one.qty_lots) / 10_000,
            total_filled=Decimal(filled) / 10_000,
            removal_reason=f"ORDER_REMOVAL_REASON_{reason}" if reason else UNSET,
        )
        self.desk.note_row(row, NOW_NS)

    def fill(self, order: OurOrder, lots: int) -> FillRow:
        """Tell a fill of an order's newest leg."""
        self.fills += 1
        side = "BUY" if order.request.side > 0 else "SELL"
        size = Decimal(lots) / 10_000
        at = "2026-01-01T00:00:00.000Z"
        row = FillRow(
            f"fill-{self.fills:03d}", side, "TAKER", "LIMIT", Decimal(60_000), size, at, "100",
            fee=Decimal("0.3"), order_id=order.leg.uuid, ticker="BTC-USD",
        )  # fmt: skip
        self.desk.note_fills([row, row])
        return row

    def plan(self, after_s: float = 0.0) -> list[object]:
        """Return what to do after some time."""
        now_ns = NOW_NS + int(after_s * NS_PER_S)
        return [*self.groups.plan(now_ns), *self.groups.plan(now_ns), *self.desk.plan(now_ns)]

    def said(self) -> list[object]:
        """Return what was told since the last time."""
        return [event for _, event in self.desk.take_said()]

    def group(self) -> tuple[OurOrder, OurOrder, OurOrder]:
        """Add an entry, its stop and its target, all accepted but the entry."""
        entry = self.add("entry", OrderType.MARKET, 1)
        stop = self.add("stop", OrderType.STOP_MARKET, -1, trigger_px=50_000.0, is_reduce_only=True)
        target = self.add("target", OrderType.TAKE_PROFIT_LIMIT, -1, limit_px=70_000.0, is_reduce_only=True)
        self.groups.add(entry, [stop, target])
        self.row(stop, "UNTRIGGERED")
        self.row(target, "UNTRIGGERED")
        self.said()
        return entry, stop, target


def test_an_order_is_told_once_whatever_comes_twice() -> None:
    desk = Desk()
    order = desk.add("a", OrderType.MARKET, 1)
    desk.fill(order, 60)
    desk.row(order, "BEST_EFFORT_OPENED")
    row = desk.fill(order, 40)
    desk.row(order, "FILLED", filled=100)
    desk.desk.note_fills([row])
    assert [type(event) for event in desk.said()] == [OrderAccepted, Fill, Fill]
    assert (order.status, desk.desk.positions_lots) == ("filled", {ID: 100})
    assert desk.plan() == []


def test_prices_are_told_as_rounded_and_sent() -> None:
    desk = Desk()
    stop = desk.add("stop", OrderType.STOP_MARKET, -1, trigger_px=50_000.4, is_reduce_only=True)
    quote = desk.add("quote", OrderType.LIMIT, -1, limit_px=60_000.4)
    assert (stop.trigger_px, stop.limit_px, quote.limit_px, quote.trigger_px) == (50_000.0, 0.0, 60_001.0, 0.0)
    for order, pxs in ((stop, (0.0, 51_000.612)), (quote, (59_999.612, 0.0))):
        desk.row(order, "UNTRIGGERED" if order is stop else "OPEN")
        desk.desk.add_leg(order, 100, *pxs, 2_000)
        desk.row(order, "UNTRIGGERED" if order is stop else "OPEN")
    told = [event for event in desk.said() if isinstance(event, OrderModified)]
    assert [(event.limit_px, event.trigger_px) for event in told] == [(0.0, 51_001.0), (60_000.0, 0.0)]


def test_a_short_term_order_is_dead_only_after_its_good_til_block() -> None:
    desk = Desk()
    order = desk.add("a", OrderType.MARKET, 1)
    desk.row(order, "BEST_EFFORT_CANCELED", "IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK")
    assert [type(event) for event in desk.said()] == [OrderAccepted]
    desk.desk.note_height(110, 0)
    assert desk.plan() == []
    desk.desk.note_height(111, 0)
    assert desk.plan() == [AskOrder(order.leg.uuid)]
    desk.desk.note_answer(order.leg.uuid, order.leg.row, 111, 0, NOW_NS)
    desk.plan()
    (event,) = desk.said()
    assert isinstance(event, OrderCanceled)
    assert event.message == "no liquidity"


def test_what_was_never_seen_is_never_placed_only_once_it_cannot_arrive() -> None:
    desk = Desk()
    short = desk.add("a", OrderType.MARKET, 1)
    stop = desk.add("b", OrderType.STOP_MARKET, -1, trigger_px=50_000.0, is_reduce_only=True)
    sent_ms = NOW_NS // 10**6
    for order, height, time_ms, is_dead in (
        (short, 110, sent_ms + 99_000, False),
        (short, 111, sent_ms, True),
        (stop, 999, sent_ms + 30_000, False),
        (stop, 999, sent_ms + 33_000, True),
    ):
        desk.desk.note_answer(order.leg.uuid, None, height, time_ms, NOW_NS)
        assert [event.message for event in desk.said()] == ([NEVER_PLACED] if is_dead else [])  # type: ignore[attr-defined]
    late = desk.add("c", OrderType.MARKET, 1)
    late.leg.is_sending = True
    desk.desk.note_answer(late.leg.uuid, None, 999, sent_ms + 99_000, NOW_NS)
    assert desk.said() == []


def test_an_end_waits_for_the_fills_its_row_speaks_of() -> None:
    desk = Desk()
    order = desk.add("a", OrderType.LIMIT, 1, limit_px=60_000.0)
    desk.row(order, "CANCELED", "USER_CANCELED", filled=40)
    assert desk.plan() == [AskOrder(order.leg.uuid)]
    assert [type(event) for event in desk.said()] == [OrderAccepted]
    desk.fill(order, 40)
    desk.plan()
    assert [type(event) for event in desk.said()] == [Fill, OrderCanceled]


def test_old_news_and_unknown_values_change_nothing_but_are_asked_for() -> None:
    desk = Desk()
    order = desk.add("a", OrderType.LIMIT, 1, limit_px=60_000.0)
    desk.row(order, "SOMETHING_NEW")
    assert desk.plan() == [AskOrder(order.leg.uuid)]
    desk.row(order, "CANCELED", "USER_CANCELED")
    desk.row(order, "OPEN")
    desk.plan()
    assert [type(event) for event in desk.said()] == [OrderAccepted, OrderCanceled]


def test_children_go_with_an_entry_that_ended_unfilled() -> None:
    desk = Desk()
    entry, stop, target = desk.group()
    desk.desk.note_refused(entry, entry.leg, "no", NOW_NS)
    assert {effect.order for effect in desk.plan() if isinstance(effect, CancelLeg)} == {stop, target}
    assert [type(event) for event in desk.said()] == [OrderRejected]
    desk.row(stop, "CANCELED", "USER_CANCELED")
    desk.plan()
    assert [event.message for event in desk.said()] == ["parent canceled"]  # type: ignore[attr-defined]


def test_children_follow_a_part_and_the_sibling_of_a_filled_one_goes() -> None:
    desk = Desk()
    entry, stop, target = desk.group()
    desk.fill(entry, 30)
    desk.row(entry, "CANCELED", "IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK", filled=30)
    placed = [effect for effect in desk.plan() if isinstance(effect, PlaceLeg)]
    assert [(effect.order, effect.leg.qty_lots) for effect in placed] == [(stop, 30), (target, 30)]
    assert desk.plan() == []
    desk.said()
    for order in (stop, target):
        order.leg.is_sending = False
        desk.row(order, "UNTRIGGERED")
    assert [event.qty_lots for event in desk.said() if isinstance(event, OrderModified)] == [30, 30]
    assert [effect.leg for effect in desk.plan() if isinstance(effect, CancelLeg)] == [stop.legs[0], target.legs[0]]
    desk.row(stop, "OPEN")
    desk.fill(stop, 30)
    canceled = [effect.leg for effect in desk.plan(9.0) if isinstance(effect, CancelLeg)]
    assert target.leg in canceled
    assert target.end_message == "sibling filled"


def test_a_triggered_stop_that_did_not_fill_is_armed_again_while_there_is_position() -> None:
    desk = Desk()
    entry, stop, _ = desk.group()
    desk.fill(entry, 100)
    desk.row(stop, "OPEN")
    desk.row(stop, "CANCELED", "IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK")
    (effect,) = [effect for effect in desk.plan() if isinstance(effect, PlaceLeg)]
    assert (effect.order, effect.leg.qty_lots, stop.legs[0].uuid != effect.leg.uuid) == (stop, 100, True)
    desk.desk.note_refused(stop, stop.leg, "clob 5001", NOW_NS)
    assert not [one for one in desk.plan(0.1) if isinstance(one, PlaceLeg)]
    (again,) = [one for one in desk.plan(0.6) if isinstance(one, PlaceLeg)]
    assert again.leg is stop.leg
    assert not [event for event in desk.said() if isinstance(event, OrderCanceled)]


def test_health_names_what_is_wrong() -> None:
    health = ChainHealth(ClientSettings(), is_socket_live=True)
    health.note_node(10, 1_000_000, NOW_NS)
    health.note_indexer(10, 1_000_000)
    health.note_oracle("BTC-USD", 60_000.0, NOW_NS)
    health.ts_account_ns = NOW_NS
    assert health.check(NOW_NS) == ()
    health.note_clock(NOW_NS / 1e6 + 3_000, NOW_NS - NS_PER_S, NOW_NS + NS_PER_S)
    health.note_node(30, 1_020_000, NOW_NS)
    text = " ".join(health.check(NOW_NS + 5 * NS_PER_S))
    assert "clock is +3.0 s" in text
    assert "lags 20 blocks" in text
    health.note_node(30, 1_020_000, NOW_NS + 20 * NS_PER_S)
    health.is_socket_live = False
    text = " ".join(health.check(NOW_NS + 20 * NS_PER_S))
    for words in ("socket is down", "height stands at 30", "view is 20.0 s old", "oracle price of BTC-USD"):
        assert words in text


def test_a_session_subscribes_again_after_a_hole_and_gives_up_on_silence() -> None:
    server = IndexerConnection("c", lambda ticker: True)
    session = StreamSession([Subscribe(BLOCK_HEIGHT)], 5 * NS_PER_S, 5 * NS_PER_S, NOW_NS)
    assert len(session.open(NOW_NS)) == 1
    assert session.find_fault(NOW_NS + 6 * NS_PER_S) == "v4_block_height is not answered"
    session.receive(b'{"type":"connected","connection_id":"c","message_id":0}', NOW_NS)
    said = b'{"type":"subscribed","channel":"v4_block_height","message_id":%d,"contents":{"height":"1","time":"x"}}'
    session.receive(said % 1, NOW_NS)
    assert session.is_live
    session.receive(said % 3, NOW_NS)
    assert (session.is_live, session.holes) == (False, 1)
    assert session.advance(NOW_NS) == []
    assert len(session.advance(NOW_NS + 2 * NS_PER_S)) == 2
    session.receive(said % 5, NOW_NS + 2 * NS_PER_S)
    assert session.receive(b"nonsense", NOW_NS) is None
    assert "silent" in session.find_fault(NOW_NS + 9 * NS_PER_S)
    assert server.connection_id == "c"


def test_a_book_is_uncrossed_by_age_and_doubted_when_a_side_goes() -> None:
    def level(px: int) -> BookLevel:
        return BookLevel(Decimal(px), Decimal(1))

    book = IndexerBook()
    assert book.take(0, 10) is LostReason.DISCONNECTED
    book.begin(BookSnapshot((level(99), level(98)), (level(100), level(101))), 1, 100)
    book.apply(BookUpdate(bids=((Decimal(100), Decimal(2)),)), 2, 110)
    view = book.take(110, 50)
    assert isinstance(view, BookView)
    assert (view.bids[0], view.asks[0], view.conflated) == ((100.0, 2.0), (101.0, 1.0), 2)
    assert book.take(200, 50) is LostReason.STALE
    book.apply(BookUpdate(bids=((Decimal(100), Decimal(2)),)), 3, 200)
    assert book.take(200, 50) is LostReason.FROZEN
    book.apply(BookUpdate(bids=((Decimal(999), Decimal(1)),)), 4, 201)
    assert book.take(201, 500) is LostReason.CROSSED


def test_candles_are_told_once_in_order_when_closed() -> None:
    def row(minute: int) -> CandleRow:
        one = Decimal(1)
        return CandleRow(f"1970-01-01T00:{minute:02d}:00.000Z", "BTC-USD", "1MIN", one, one, one, one, one, one, 1)

    minute_ns = 60 * NS_PER_S
    candles = ClosedCandles(minute_ns, 5 * minute_ns)
    assert not candles.is_due(6 * minute_ns - 1)
    rows = [row(7), row(6), row(5), row(4)]
    assert [bar.ts_open_ns // minute_ns for bar in candles.take(rows, 7 * minute_ns + 1)] == [5, 6]
    assert candles.take(rows, 7 * minute_ns + 2) == []
