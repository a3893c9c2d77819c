"""Our requests as the chain's orders: every one passes the chain's own rules, or is refused before it is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.events import OrderRequest, OrderType, TimeInForce
from market.instruments import LISTED
from tests.unit.venues.dydx.dydx_samples import ACCOUNT, BOOKS, BTC, HEIGHT, KEY, SUBACCOUNT, TIME_S
from venues.dydx.order_requests import Lifetime, make_order
from venues.dydx.order_terms import PlaceOrder, derive_client_id
from venues.dydx.rules import check_book_terms, check_order, check_trigger_terms
from venues.dydx.transactions import decode_tx, sign_tx

LIFETIME = Lifetime(HEIGHT + 10, TIME_S + 600)
INSTRUMENT = LISTED["BTC-PERP.DYDX"]


def ask(order_type: OrderType, **terms: object) -> OrderRequest:
    base: dict[str, object] = {"side": -1, "qty_lots": 29, "limit_px": 100_000.4, "trigger_px": 95_000.2}
    return OrderRequest("intent-1", "BTC-PERP.DYDX", order_type=order_type, **(base | terms))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "lifetime", "expected"),
    [
        (ask(OrderType.LIMIT), LIFETIME, (0, 0, 100_001, 0, 0, HEIGHT + 10, 0)),
        (ask(OrderType.LIMIT, side=1), LIFETIME, (0, 0, 100_000, 0, 0, HEIGHT + 10, 0)),
        (
            ask(OrderType.LIMIT, time_in_force=TimeInForce.POST_ONLY),
            Lifetime(1, TIME_S + 600, is_resting_stateful=True),
            (64, 2, 100_001, 0, 0, 0, TIME_S + 600),
        ),
        (
            ask(OrderType.LIMIT, time_in_force=TimeInForce.IOC, is_reduce_only=True),
            Lifetime(HEIGHT + 10, 1, is_resting_stateful=True),
            (0, 1, 100_001, 0, 0, HEIGHT + 10, 0),
        ),
        (ask(OrderType.MARKET), LIFETIME, (0, 1, 90_000, 0, 0, HEIGHT + 10, 0)),
        (ask(OrderType.STOP_MARKET, is_reduce_only=True), LIFETIME, (32, 1, 90_000, 1, 95_000, 0, TIME_S + 600)),
        (
            ask(OrderType.TAKE_PROFIT_LIMIT, is_reduce_only=True),
            LIFETIME,
            (32, 1, 100_001, 2, 100_000, 0, TIME_S + 600),
        ),
    ],
)
def test_each_type(request_: OrderRequest, lifetime: Lifetime, expected: tuple[int, ...]) -> None:
    """Flags, time in force, prices on the grid, condition, good-til."""
    order = make_order(request_, BTC, INSTRUMENT, SUBACCOUNT, lifetime, worst_px=90_000.7)
    assert (
        order.order_id.order_flags,
        order.time_in_force,
        order.subticks // BTC.subticks_per_tick,
        order.condition_type,
        order.trigger_subticks // BTC.subticks_per_tick,
        order.good_til_block,
        order.good_til_block_time_s,
    ) == expected
    assert order.quantums == 29_000_000
    assert order.order_id.client_id == derive_client_id("intent-1")
    assert check_order(order) is None
    assert check_book_terms(order, BOOKS) is None
    assert check_trigger_terms(order, BTC) is None
    assert decode_tx(sign_tx(PlaceOrder(order), KEY, ACCOUNT)).messages == (PlaceOrder(order),)


def test_what_dydx_has_not_is_refused_here() -> None:
    """A resting reduce-only order, market orders without a worst price, and types that it does not send."""
    with pytest.raises(ValueError, match="would rest"):
        make_order(ask(OrderType.LIMIT, is_reduce_only=True), BTC, INSTRUMENT, SUBACCOUNT, LIFETIME)
    for order_type in (OrderType.MARKET, OrderType.STOP_MARKET):
        with pytest.raises(ValueError, match="worst_px"):
            make_order(ask(order_type), BTC, INSTRUMENT, SUBACCOUNT, LIFETIME)
    for order_type in (OrderType.STOP_LIMIT, OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED):
        with pytest.raises(ValueError, match="not sent to dYdX"):
            make_order(ask(order_type), BTC, INSTRUMENT, SUBACCOUNT, LIFETIME)


@given(st.text(min_size=1, max_size=40))
def test_client_ids_are_uint32_and_the_same_always(client_order_id: str) -> None:
    """A restart finds its orders again."""
    client_id = derive_client_id(client_order_id)
    assert 0 <= client_id < 2**32
    assert client_id == derive_client_id(client_order_id)
