"""Books that may be used, trades told once, bars in order."""

from decimal import Decimal
from typing import Any

from venues.book_feed import BookView, LostReason
from venues.hyperliquid import frames
from venues.hyperliquid.info_replies import Candle, L2Book, Level, Trade
from venues.hyperliquid.market_feed import FROZEN_MS, BarTeller, BookWatch, TradeTeller

MINUTE_MS = 60_000


def level(px: float) -> Level:
    return Level(Decimal(str(px)), Decimal(1), 1)


def book(time_ms: int, bid: float = 99.0, ask: float = 101.0) -> L2Book:
    return L2Book("BTC", time_ms, ((level(bid),), (level(ask),)))


def bbo(time_ms: int, bid: float, ask: float) -> frames.Bbo:
    return frames.Bbo("BTC", time_ms, (level(bid), level(ask)))


def candle(open_ms: int, px: float = 100.0) -> Candle:
    number = Decimal(str(px))
    return Candle(open_ms, open_ms + MINUTE_MS - 1, "BTC", "1m", number, number, number, number, Decimal(2), 3)


def test_a_book_is_used_until_it_is_old() -> None:
    watch = BookWatch(5_000)
    assert watch.take(0) is LostReason.DISCONNECTED
    watch.hear_book(book(1_000), 7, 1_000)
    watch.hear_book(book(1_500), 8, 1_500)
    view = watch.take(1_600)
    assert isinstance(view, BookView)
    assert (view.last_id, view.bids, view.conflated, view.ts_recv_ns) == (1_500, ((99.0, 1.0),), 1, 8)
    watch.hear_book(book(1_400, 90.0), 9, 1_700)  # overtaken
    assert watch.take(1_700) == BookView(1_500, view.bids, view.asks, 1_500_000_000, 8, 0)
    watch.hear_book(book(1_500), 10, 6_501)  # sent again, no younger
    assert watch.take(6_501) is LostReason.STALE
    watch.restart()
    assert watch.take(6_501) is LostReason.DISCONNECTED


def test_a_crossed_or_frozen_book_is_refused() -> None:
    watch = BookWatch(60_000)
    watch.hear_book(book(1_000, 102.0), 1, 1_000)
    assert watch.take(1_000) is LostReason.CROSSED
    watch.hear_book(book(1_100), 1, 1_100)
    watch.hear_bbo(bbo(1_200, 99.5, 101.0), 1_200)
    assert isinstance(watch.take(1_200 + FROZEN_MS), BookView)
    watch.hear_book(book(1_300), 1, 1_300)  # the same levels under another time are no news
    assert watch.take(1_201 + FROZEN_MS) is LostReason.FROZEN
    watch.hear_book(book(4_000, 99.5), 1, 4_000)
    assert isinstance(watch.take(4_000 + 2 * FROZEN_MS), BookView)


def test_trades_are_told_once_and_only_those_since_the_start() -> None:
    teller = TradeTeller("BTC-PERP.HYPERLIQUID", 1_000)

    def trade(tid: Any, time_ms: int, side: str = "B") -> Trade:
        return Trade("BTC", side, Decimal(100), Decimal("0.5"), time_ms, "0x0", tid)

    first = teller.hear([trade(2, 1_200), trade(1, 1_100), trade(0, 900)])
    assert [(event.trade_id, event.side, event.qty_base) for event in first] == [("1", 1, 0.5), ("2", 1, 0.5)]
    again = teller.hear([trade(2, 1_200), trade(3, 1_300, "A"), trade(4, 1_400, "?")])
    assert [(event.trade_id, event.side) for event in again] == [("3", -1)]


def test_bars_close_once_in_order_and_holes_are_marked() -> None:
    teller = BarTeller("BTC-PERP.HYPERLIQUID", MINUTE_MS * 1_000_000, 10 * MINUTE_MS + 5)
    assert teller.ts_due_ms == 11 * MINUTE_MS
    found = teller.hear([candle(9 * MINUTE_MS), candle(10 * MINUTE_MS)], 11 * MINUTE_MS - 1)
    assert found == []  # one is old, the other still open
    rows = [candle(13 * MINUTE_MS, 103.0), candle(10 * MINUTE_MS, 101.0), candle(14 * MINUTE_MS)]
    bars = [event.bar for event in teller.hear(rows, 14 * MINUTE_MS)]
    assert [bar.ts_open_ns // 60_000_000_000 for bar in bars] == [10, 11, 12, 13]
    assert [(bar.close_px, bar.volume_base, bar.quality) for bar in bars] == [
        (101.0, 2.0, 0), (101.0, 0.0, 1), (101.0, 0.0, 1), (103.0, 2.0, 0),
    ]  # fmt: skip
    assert teller.hear(rows, 14 * MINUTE_MS) == []
