"""Isolated margin: what is set aside, what it answers for, and that the rest is not touched."""

import pytest

from market.events import Fill, FillKind, OrderRejected
from market.fills import Costs
from tests.unit.venues.order_requests import BTC, BUY, ETH, SELL, limit, market
from venues.book_exchange import BookExchange
from venues.orders import Message

ID, OTHER = BTC.instrument_id, ETH.instrument_id
MAKER, ME = "maker", "me"


@pytest.fixture
def exchange() -> BookExchange:
    """Return an exchange without fees where I have 1000 and my margin in BTC is isolated at leverage 10."""
    one = BookExchange([BTC, ETH], Costs(0.0, 0.0, 0.0))
    one.add_account(MAKER, 0.0, is_house=True)
    one.add_account(ME, 1_000.0)
    one.apply_marks({ID: 100.0, OTHER: 10.0}, 0)
    quotes = [limit(f"{px}", side, 10_000, px) for side, px in ((BUY, 100.0), (SELL, 100.1))]
    quotes += [limit(f"e{side}", side, 10_000, px, instrument_id=OTHER) for side, px in ((BUY, 10.0), (SELL, 10.01))]
    one.submit(MAKER, quotes, 1)
    one.set_leverage(ME, ID, 10.0, 2)
    one.set_isolated(ME, ID, True, 2)
    return one


def enter(exchange: BookExchange, lots: int = 100) -> None:
    exchange.submit(ME, [market(f"in{lots}", BUY if lots > 0 else SELL, abs(lots))], 3)
    exchange.check_invariants()


def test_fills_set_aside_and_free_their_share(exchange: BookExchange) -> None:
    enter(exchange)
    assert exchange.get_isolated_margin_quote(ME, ID) == pytest.approx(10.01)  # 100 lots of 0.01 at 100.1 over 10
    enter(exchange, 50)
    assert exchange.get_isolated_margin_quote(ME, ID) == pytest.approx(15.015)
    exchange.submit(ME, [market("out", SELL, 50, is_reduce_only=True)], 4)
    assert exchange.get_isolated_margin_quote(ME, ID) == pytest.approx(10.01)
    exchange.submit(ME, [market("flip", SELL, 300)], 5)
    assert exchange.get_isolated_margin_quote(ME, ID) == pytest.approx(20.0)  # 200 lots short, at 100
    exchange.submit(ME, [market("flat", BUY, 200, is_reduce_only=True)], 6)
    assert exchange.get_isolated_margin_quote(ME, ID) == 0.0
    exchange.check_invariants()


def test_cross_is_what_is_left(exchange: BookExchange) -> None:
    enter(exchange)
    exchange.apply_marks({ID: 110.0}, 4)
    cross, whole = exchange.cross_state(ME), exchange.account_state(ME)
    assert cross.equity_quote == pytest.approx(1_000.0 - 10.01)  # the profit is the position's
    assert cross.margin_initial_quote == cross.margin_maintenance_quote == pytest.approx(0.0)
    assert exchange.compute_isolated_equity_quote(ME, ID) == pytest.approx(10.01 + 9.9)
    assert whole.equity_quote == pytest.approx(cross.equity_quote + exchange.compute_isolated_equity_quote(ME, ID))


def test_an_order_takes_its_margin_from_what_is_free(exchange: BookExchange) -> None:
    enter(exchange, 9_000)  # 900.9 set aside
    ((_, refused),) = exchange.submit(ME, [market("more", BUY, 2_000)], 4)
    assert isinstance(refused, OrderRejected)
    assert refused.message == Message.INSUFFICIENT_MARGIN
    ((_, refused),) = exchange.submit(ME, [limit("eth", BUY, 2_000, 10.0, instrument_id=OTHER)], 5)
    assert isinstance(refused, OrderRejected)
    exchange.submit(ME, [market("fits", BUY, 900)], 6)
    assert exchange.position(ME, ID).qty_lots == 9_900


def test_it_is_liquidated_alone(exchange: BookExchange) -> None:
    enter(exchange)
    exchange.submit(ME, [market("eth", BUY, 100, instrument_id=OTHER), limit("rest", BUY, 10, 50.0)], 4)
    exchange.submit(ME, [limit("eth-rest", BUY, 10, 5.0, instrument_id=OTHER)], 5)
    assert not [event for _, event in exchange.apply_marks({ID: 93.0}, 6) if isinstance(event, Fill)]
    events = exchange.apply_marks({ID: 92.0}, 7)
    fills = [event for account_id, event in events if isinstance(event, Fill) and account_id == ME]
    assert {fill.kind for fill in fills} == {FillKind.LIQUIDATION.value}
    assert exchange.position(ME, ID).qty_lots == 0
    assert exchange.position(ME, OTHER).qty_lots == 100
    assert [report.client_order_id for report in exchange.open_orders(ME)] == ["eth-rest"]
    exchange.check_invariants()


def test_a_sunk_account_keeps_what_is_isolated(exchange: BookExchange) -> None:
    enter(exchange, 9_000)
    exchange.submit(ME, [market("eth", BUY, 1_500, instrument_id=OTHER)], 4)  # 1500 of notional on 99 of cross equity
    exchange.apply_marks({OTHER: 9.3}, 5)
    assert exchange.position(ME, OTHER).qty_lots == 0
    assert exchange.position(ME, ID).qty_lots == 9_000
    exchange.check_invariants()


def test_margin_moves_within_what_is_free_and_what_is_needed(exchange: BookExchange) -> None:
    enter(exchange)
    exchange.move_isolated_margin(ME, ID, 90.0, 4)
    exchange.apply_marks({ID: 50.0}, 5)
    assert exchange.position(ME, ID).qty_lots == 100  # it answers for itself with more
    with pytest.raises(ValueError, match="cannot take"):
        exchange.move_isolated_margin(ME, ID, -60.0, 6)
    exchange.move_isolated_margin(ME, ID, -40.0, 7)
    with pytest.raises(ValueError, match="not free"):
        exchange.move_isolated_margin(ME, ID, 1_000.0, 8)
    with pytest.raises(ValueError, match="no isolated position"):
        exchange.move_isolated_margin(ME, OTHER, 1.0, 9)
    with pytest.raises(ValueError, match="close it first"):
        exchange.set_isolated(ME, ID, False, 10)
    exchange.submit(ME, [market("out", SELL, 100)], 11)
    exchange.set_isolated(ME, ID, False, 12)
    assert not exchange.is_isolated(ME, ID)


def test_funding_is_paid_from_what_is_set_aside(exchange: BookExchange) -> None:
    enter(exchange)
    before = exchange.cross_state(ME).equity_quote
    exchange.settle_funding(ID, 0.01, 100.0, 4)
    assert exchange.get_isolated_margin_quote(ME, ID) == pytest.approx(10.01 - 1.0)
    assert exchange.cross_state(ME).equity_quote == pytest.approx(before)
