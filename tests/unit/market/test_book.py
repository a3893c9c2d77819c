"""The local book: synchronised by each venue's rule, losses and crossings seen, equal to the venue's own best."""

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.book import BookDiff, BookSnapshot, BookStatus, Continuity, LocalBook
from market.captures import parse_captured, parse_depth, read_capture
from tests.shared_data import SHARED, needs_shared

SNAPSHOT = BookSnapshot(100, ((10.0, 1.0), (9.0, 2.0)), ((11.0, 1.5), (12.0, 4.0)))
NEEDS_SNAPSHOT, NEEDS_DIFF, SYNCED, CROSSED = BookStatus


def diff(first: int, last: int, previous: int = -1, bids: tuple = (), asks: tuple = ()) -> BookDiff:
    return BookDiff(first, last, previous, bids, asks)


@pytest.mark.parametrize(
    ("continuity", "first_diff", "status"),
    [
        (Continuity.FUTURES, diff(90, 99, 85), NEEDS_DIFF),  # before the snapshot: dropped
        (Continuity.FUTURES, diff(95, 105, 92), SYNCED),
        (Continuity.FUTURES, diff(104, 105, 100), SYNCED),
        (Continuity.FUTURES, diff(90, 100, 85), SYNCED),
        (Continuity.FUTURES, diff(104, 105, 103), NEEDS_SNAPSHOT),
        (Continuity.SPOT, diff(90, 100), NEEDS_DIFF),
        (Continuity.SPOT, diff(95, 101), SYNCED),
        (Continuity.SPOT, diff(101, 103), SYNCED),
        (Continuity.SPOT, diff(102, 103), NEEDS_SNAPSHOT),
    ],
)
def test_the_first_diff_must_span_the_snapshot(
    continuity: Continuity, first_diff: BookDiff, status: BookStatus
) -> None:
    book = LocalBook(continuity)
    book.apply_snapshot(SNAPSHOT)
    assert book.apply_diff(first_diff) is status
    assert book.gaps == 0
    early = LocalBook(continuity)  # the same diff, come before the snapshot
    assert early.apply_diff(first_diff) is NEEDS_SNAPSHOT
    assert early.apply_snapshot(SNAPSHOT) is status


@pytest.mark.parametrize(
    ("continuity", "good", "lost"),
    [
        (Continuity.FUTURES, diff(200, 210, 101), diff(211, 220, 209)),
        (Continuity.SPOT, diff(102, 110), diff(112, 120)),
    ],
)
def test_a_lost_update_ends_the_book_until_a_new_snapshot(
    continuity: Continuity, good: BookDiff, lost: BookDiff
) -> None:
    book = LocalBook(continuity)
    book.apply_snapshot(SNAPSHOT)
    book.apply_diff(diff(99, 101, 98))
    assert book.apply_diff(good) is SYNCED
    assert book.apply_diff(good) is SYNCED  # a duplicate changes nothing
    assert book.apply_diff(lost) is NEEDS_SNAPSHOT
    assert (book.gaps, book.bids(), book.asks()) == (1, (), ())
    assert math.isnan(book.compute_taker_px(1, 1.0))
    assert book.apply_snapshot(BookSnapshot(105, (), ())) is NEEDS_SNAPSHOT  # too old for what is buffered
    assert book.apply_snapshot(BookSnapshot(lost.last_id, SNAPSHOT.bids, SNAPSHOT.asks)) in (SYNCED, NEEDS_DIFF)


def test_an_older_snapshot_does_not_undo_a_book_in_use() -> None:
    book = LocalBook(Continuity.SPOT)
    book.apply_snapshot(SNAPSHOT)
    book.apply_diff(diff(101, 105, bids=((10.5, 1.0),)))
    assert book.apply_snapshot(SNAPSHOT) is SYNCED
    assert book.bids() == ((10.5, 1.0),)
    book.mark_lost()
    assert book.status is NEEDS_SNAPSHOT


def test_a_crossed_book_says_so() -> None:
    book = LocalBook(Continuity.SPOT)
    book.apply_snapshot(SNAPSHOT)
    assert book.apply_diff(diff(101, 101, bids=((11.0, 1.0),))) is CROSSED
    assert book.apply_diff(diff(102, 102, bids=((11.0, 0.0),))) is SYNCED


def test_queries() -> None:
    book = LocalBook(Continuity.SPOT)
    book.apply_snapshot(SNAPSHOT)
    book.apply_diff(diff(101, 101))
    assert book.bids(5) == SNAPSHOT.bids
    assert book.compute_taker_px(1, 2.0) == (11.0 * 1.5 + 12.0 * 0.5) / 2.0
    assert book.compute_taker_px(-1, 1.0) == 10.0
    assert math.isnan(book.compute_taker_px(-1, 3.5))
    assert (book.compute_depth_base(1, 11.5), book.compute_depth_base(-1, 9.0)) == (1.5, 3.0)


@given(seed=st.integers(0, 10_000))
def test_book_equals_a_plain_dictionary(seed: int) -> None:
    draw = random.Random(seed)
    book, plain = LocalBook(Continuity.SPOT), {True: {}, False: {}}
    book.apply_snapshot(BookSnapshot(0, (), ()))
    for update in range(1, 60):
        changes: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for is_bid in (True, False):
            for _ in range(draw.randint(0, 3)):
                px = float(draw.randint(1, 9) if is_bid else draw.randint(10, 19))
                qty = float(draw.randint(0, 2))
                changes[is_bid].append((px, qty))
                plain[is_bid][px] = qty
        book.apply_diff(diff(update, update, bids=tuple(changes[True]), asks=tuple(changes[False])))
        for is_bid in (True, False):
            expected = sorted(((px, qty) for px, qty in plain[is_bid].items() if qty > 0.0), reverse=is_bid)
            assert (book.bids(99) if is_bid else book.asks(99)) == tuple(expected)


@pytest.mark.parametrize(
    "message", [b'{"e":"depthUpdate","U":1}', b"[]", b"{", b'{"lastUpdateId":1,"bids":[["x","1"]]}']
)
def test_malformed_depth_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="not a depth message"):
        parse_depth(message, 0)


CAPTURES = [
    ("fixtures/binance/hftbacktest/usdm_btcusdt_20240808_first30000.gz", Continuity.FUTURES, 2381, 200),
    ("fixtures/binance/hftbacktest/usdm_ethusdt_20240808_first15000.gz", Continuity.FUTURES, 1251, 100),
    ("fixtures/binance/hftbacktest/spot_btcusdt_20240808_first15000.gz", Continuity.SPOT, 1349, 200),
    ("data/orderbook/binance_um_BTCUSDT_20240718-19.jsonl.zst", Continuity.FUTURES, 9022, 600),
]


@needs_shared
@pytest.mark.parametrize(("name", "continuity", "diffs", "agreed_min"), CAPTURES)
def test_real_captures_agree_with_the_venues_best(
    name: str, continuity: Continuity, diffs: int, agreed_min: int
) -> None:
    assert SHARED is not None
    series = read_capture(SHARED / name)
    tickers = {}
    for message in series.columns["message"]:
        if b"bookTicker" in message:
            data = json.loads(message)["data"]
            tickers[data["u"]] = tuple(float(data[key]) for key in "bBaA")
    book, count, agreed = LocalBook(continuity), 0, 0
    for event in parse_captured(series):
        if isinstance(event, BookSnapshot):
            assert book.apply_snapshot(event) is SYNCED  # the diff that spans it came before it
            continue
        status = book.apply_diff(event)
        count += 1
        if status is SYNCED and event.last_id in tickers:
            assert (*book.bids()[0], *book.asks()[0]) == tickers[event.last_id]
            agreed += 1
    assert (book.status, book.gaps, count) == (SYNCED, 0, diffs)
    assert agreed >= agreed_min


@needs_shared
def test_a_hole_in_a_real_capture_is_found() -> None:
    assert SHARED is not None
    events = list(parse_captured(read_capture(SHARED / CAPTURES[0][0])))
    del events[500]
    book = LocalBook(Continuity.FUTURES)
    for event in events:
        book.apply_snapshot(event) if isinstance(event, BookSnapshot) else book.apply_diff(event)
    assert (book.gaps, book.status) == (1, NEEDS_SNAPSHOT)
