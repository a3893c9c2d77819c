"""The book: price, then time."""

import math

import pytest

from market.events import OrderRequest
from tests.unit.venues.order_requests import BUY, SELL, limit
from venues.matching import Book
from venues.orders import Order


def rest(book: Book, sequence: int, request: OrderRequest) -> Order:
    order = Order("me", request, sequence, 0, request.qty_lots, request.limit_px, request.trigger_px)
    book.add(order)
    return order


def test_best_price_first_then_first_come() -> None:
    book = Book()
    for sequence, (side, px) in enumerate(
        [(BUY, 99.0), (BUY, 100.0), (BUY, 99.0), (SELL, 103.0), (SELL, 102.0), (SELL, 102.0)]
    ):
        rest(book, sequence, limit(str(sequence), side, sequence + 1, px))
    assert [order.sequence for order in book.list_orders(BUY)] == [1, 0, 2]
    assert [order.sequence for order in book.list_orders(SELL)] == [4, 5, 3]
    assert book.list_levels(BUY, 10) == [(100.0, 2), (99.0, 4)]
    assert book.list_levels(SELL, 1) == [(102.0, 11)]
    assert book.list_levels(SELL, 0) == []
    assert (book.get_best_px(BUY), book.get_best_px(SELL)) == (100.0, 102.0)
    book.check_uncrossed("book")


def test_leaving_keeps_the_place_of_the_others_and_closes_an_empty_level() -> None:
    book = Book()
    orders = [
        rest(book, sequence, limit(str(sequence), SELL, 1, px)) for sequence, px in enumerate([5.0, 5.0, 5.0, 6.0])
    ]
    book.remove(orders[1])
    book.remove(orders[1])
    assert [order.sequence for order in book.list_orders(SELL)] == [0, 2, 3]
    for order in (orders[0], orders[2]):
        book.remove(order)
    assert book.get_best(SELL) is orders[3]
    book.remove(orders[3])
    assert book.get_best(SELL) is None
    assert math.isnan(book.get_best_px(SELL))


@pytest.mark.parametrize(
    ("side", "limit_px", "can_match"),
    [
        (BUY, 101.9, False),
        (BUY, 102.0, True),
        (BUY, math.inf, True),
        (SELL, 100.1, False),
        (SELL, 100.0, True),
        (SELL, -math.inf, True),
    ],
)
def test_what_can_match(side: int, limit_px: float, can_match: bool) -> None:
    book = Book()
    assert not book.can_match(side, limit_px)
    rest(book, 1, limit("bid", BUY, 1, 100.0))
    rest(book, 2, limit("ask", SELL, 1, 102.0))
    assert book.can_match(side, limit_px) is can_match


def test_a_crossed_book_is_noticed() -> None:
    book = Book()
    rest(book, 1, limit("bid", BUY, 1, 100.0))
    rest(book, 2, limit("ask", SELL, 1, 100.0))
    with pytest.raises(AssertionError, match="crossed"):
        book.check_uncrossed("BTC")
