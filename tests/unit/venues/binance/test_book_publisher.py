"""What the venue's side publishes, the client's side synchronises on: the same book, level by level."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.book import Continuity
from market.records import NS_PER_MS, Side
from venues.binance.book_publisher import BookPublisher
from venues.binance.book_sync import (
    BookLost,
    BookSyncMachine,
    DiffReceived,
    FetchSnapshot,
    SnapshotReceived,
    StreamOpened,
    TickerReceived,
)
from venues.binance.messages import BookTicker, DepthUpdate, StreamMessage, decode_message, encode_message
from venues.binance.rest import ENDPOINTS, decode_reply, encode_reply
from venues.binance.streams import Market

CHANGES = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(1, 9), st.integers(0, 3), st.integers(0, 2)), min_size=5, max_size=80
)


@given(changes=CHANGES, market=st.sampled_from(Market), id_step=st.integers(1, 5), limit=st.sampled_from([5, 1000]))
def test_a_client_follows_the_venue(
    changes: list[tuple[Side, int, int, int]], market: Market, id_step: int, limit: int
) -> None:
    venue = BookPublisher(market, "BTCUSDT", 1000, id_step)
    venue.set_level(Side.BUY, "9.5", "1.000")
    venue.set_level(Side.SELL, "10.5", "1.000")
    cursor, slow_cursor = venue.open_cursor(), venue.open_cursor()
    machine = BookSyncMachine(Continuity.SPOT if market is Market.SPOT else Continuity.FUTURES)
    machine.handle(StreamOpened(), 1)
    for step, (side, offset, qty, wait) in enumerate(changes):
        px = 10 - offset if side is Side.BUY else 10 + offset
        venue.set_level(side, f"{px}.0", f"{qty}.000")
        if wait:
            continue  # several changes become one push
        now_ms = 1_700_000_000_000 + step
        update = cursor.take(now_ms)
        if update is None:
            continue
        message = decode_message(encode_message(StreamMessage("btcusdt@depth@100ms", update)))
        assert isinstance(message.data, DepthUpdate)
        done = machine.handle(DiffReceived(message.data.to_diff()), now_ms * NS_PER_MS)
        for instruction in list(done):
            assert not isinstance(instruction, BookLost)
            if isinstance(instruction, FetchSnapshot):
                body = encode_reply(venue.make_snapshot(1000, now_ms))
                snapshot = decode_reply(ENDPOINTS[market, "depth"], 200, body).to_snapshot()
                done += machine.handle(SnapshotReceived(instruction.request_id, snapshot), now_ms * NS_PER_MS)
        ticker = venue.make_ticker(now_ms)
        if ticker is not None:
            ticker_read = decode_message(encode_message(StreamMessage("", ticker))).data
            assert isinstance(ticker_read, BookTicker)
            best = [float(text) for text in (ticker.bid_px, ticker.bid_qty, ticker.ask_px, ticker.ask_qty)]
            event = TickerReceived(ticker_read.update_id, (best[0], best[1]), (best[2], best[3]))
            assert machine.handle(event, now_ms * NS_PER_MS) == []
        if machine.is_ready:
            whole = venue.make_snapshot(limit, now_ms).to_snapshot()
            assert (machine.bids(limit), machine.asks(limit), machine.last_id) == (
                whole.bids,
                whole.asks,
                venue.last_id,
            )
    slow = slow_cursor.take(0)
    assert slow is None or slow.last_id == venue.last_id
    assert slow_cursor.take(0) is None


@pytest.mark.parametrize(("market", "step"), [(Market.USDM, 7), (Market.SPOT, 1)])
def test_ids_join_as_the_market_joins_them(market: Market, step: int) -> None:
    venue = BookPublisher(market, "BTCUSDT", 100, 7)
    cursor = venue.open_cursor()
    venue.set_level(Side.BUY, "1.0", "2")
    first = cursor.take(5)
    venue.set_level(Side.BUY, "1.00", "3")
    venue.set_level(Side.BUY, "1.0", "0")
    venue.set_level(Side.BUY, "1.0", "0")  # nothing there: no update
    second = cursor.take(6)
    assert first is not None
    assert second is not None
    assert (first.first_id, first.last_id) == (100 + step, 100 + step)
    assert (second.first_id, second.last_id) == (100 + 2 * step, 100 + 3 * step)
    assert second.bids == (("1.0", "0"),)
    if market is Market.USDM:
        assert second.previous_id == first.last_id
    assert venue.make_ticker(0) is None
