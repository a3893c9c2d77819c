"""Every rule with its code and text, and the tables of limits."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.venues.dydx.dydx_samples import BOOKS, BTC, HEIGHT, KEY, SUBACCOUNT, TIME_S, make_order, make_stop
from venues.dydx.chain_errors import ChainError, TxRefusal, find_error
from venues.dydx.order_terms import (
    BatchCancel,
    CancelBatch,
    CancelOrder,
    OrderId,
    PlaceOrder,
    SubaccountId,
    UnsupportedMessage,
)
from venues.dydx.rules import (
    BlockRateLimiter,
    ChainRules,
    check_book_terms,
    check_equity_tier,
    check_good_til_block,
    check_good_til_block_time,
    check_message,
    check_order,
    check_trigger_terms,
)


def with_owner(owner: str, number: int = 0) -> OrderId:
    return OrderId(SubaccountId(owner, number), 1)


BAD_ORDERS = [
    (make_order(time_in_force=3), "clob", 48, "Fill-or-kill has been deprecated: This field has been deprecated"),
    (
        msgspec.structs.replace(make_order(), order_id=with_owner("x")),
        "subaccounts",
        201,
        "invalid SubaccountId Owner address (x)",
    ),
    (
        msgspec.structs.replace(make_order(), order_id=with_owner(KEY.address, 128_001)),
        "subaccounts",
        200,
        "subaccount id number cannot exceed 128000",
    ),
    (make_order(side=7), "clob", 3, "invalid order side (7): Invalid order side"),
    (make_order(time_in_force=9), "clob", 44, "invalid time in force (9): invalid time in force"),
    (make_order(condition_type=9), "clob", 6000, "invalid condition type (9): Conditional type is invalid"),
    (make_order(side=0), "clob", 3, "UNSPECIFIED is not a valid order side: Invalid order side"),
    (make_order(quantums=0), "clob", 4, "order size quantums cannot be 0: Invalid order quantums"),
    (make_order(good_til_block=0), "clob", 5, "order goodTilBlock cannot be 0: Invalid order goodTilBlock"),
    (
        make_order(flags=64, good_til_block_time_s=0),
        "clob",
        3001,
        "stateful order goodTilBlockTime cannot be 0: Invalid order goodTilBlockTime",
    ),
    (make_order(flags=7), "clob", 3000, "invalid order flag 7: Invalid order flags"),
    (make_order(flags=64, time_in_force=1), "clob", 3002, "Stateful orders cannot require immediate execution"),
    (
        make_order(is_reduce_only=True),
        "clob",
        9003,
        "reduce only orders must be short term IOC orders: Reduce-only is currently disabled for non-IOC orders",
    ),
    (make_order(subticks=0), "clob", 6, "order subticks cannot be 0 for this order type: Invalid order subticks"),
    (make_stop(condition_type=0), "clob", 6000, "condition type cannot be unspecified: Conditional type is invalid"),
    (
        make_stop(trigger_subticks=0),
        "clob",
        6001,
        "conditional order trigger subticks cannot be 0: Conditional order trigger subticks is invalid",
    ),
    (make_order(flags=128), "clob", 12, "TWAP order must have a TWAP config: MsgPlaceOrder is invalid"),
    (make_order(condition_type=1), "clob", 6000, "condition type specified for non-conditional order"),
    (make_order(trigger_subticks=1), "clob", 6001, "conditional order trigger subticks greater than 0"),
    (make_order(has_builder_code=True, builder_address="x", builder_fee_ppm=1), "clob", 50, "builder code address 'x'"),
    (
        make_order(has_builder_code=True, builder_address=KEY.address, builder_fee_ppm=10_001),
        "clob",
        50,
        "builder code fee ppm '10001' must be in the range (0, 10000]: Invalid builder code",
    ),
]


@pytest.mark.parametrize(("order", "codespace", "code", "text"), BAD_ORDERS)
def test_an_order_by_itself(order: Any, codespace: str, code: int, text: str) -> None:
    """ValidateBasic of MsgPlaceOrder."""
    refusal = check_message(PlaceOrder(order))
    assert refusal is not None
    assert (refusal.codespace, refusal.code) == (codespace, code)
    assert refusal.raw_log.startswith(text)


@pytest.mark.parametrize(
    "order",
    [
        make_order(),
        make_order(time_in_force=1, is_reduce_only=True),
        make_order(time_in_force=2),
        make_order(flags=64),
        make_order(flags=64, time_in_force=2),
        make_order(flags=128, subticks=0, extra_fields=(14,)),
        make_stop(),
        make_stop(condition_type=2, time_in_force=0, is_reduce_only=False),
        make_order(has_builder_code=True, builder_address=KEY.address, builder_fee_ppm=10_000),
    ],
)
def test_good_orders_pass(order: Any) -> None:
    """No rule is stricter than the chain's."""
    assert check_order(order) is None


BAD_CANCELS = [
    (CancelOrder(with_owner("x"), 5), 201),
    (CancelOrder(OrderId(SUBACCOUNT, 1, 7), 5), 3000),
    (CancelOrder(OrderId(SUBACCOUNT, 1, 64), 5), 3001),
    (CancelOrder(OrderId(SUBACCOUNT, 1), 0, 5), 5),
    (BatchCancel(SubaccountId("x"), (), 5), 201),
    (BatchCancel(SUBACCOUNT, (CancelBatch(0, (1, 1)),), 5), 45),
    (BatchCancel(SUBACCOUNT, (CancelBatch(0, tuple(range(60))), CancelBatch(1, tuple(range(41)))), 5), 45),
]


@pytest.mark.parametrize(("message", "code"), BAD_CANCELS)
def test_a_cancel_by_itself(message: Any, code: int) -> None:
    """ValidateBasic of the two cancels."""
    refusal = check_message(message)
    assert refusal is not None
    assert refusal.code == code


def test_good_cancels_and_other_messages_pass() -> None:
    """The same client id on two books is no duplicate; 100 ids are allowed."""
    assert check_message(BatchCancel(SUBACCOUNT, (CancelBatch(0, (1,)), CancelBatch(1, (1,))), 5)) is None
    assert check_message(BatchCancel(SUBACCOUNT, (CancelBatch(0, tuple(range(100))),), 5)) is None
    assert check_message(UnsupportedMessage("/x", b"")) is None


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (make_order(), None),
        (msgspec.structs.replace(make_order(), order_id=OrderId(SUBACCOUNT, 1, 0, 99)), 8),
        (make_order(subticks=10_000_000_001), 12),
        (make_order(quantums=10_000_001), 12),
    ],
)
def test_book_terms(order: Any, code: int | None) -> None:
    """The book exists, ticks and steps divide."""
    refusal = check_book_terms(order, BOOKS)
    assert (refusal.code if refusal else None) == code


def test_a_book_that_is_closed_and_a_trigger_off_the_tick() -> None:
    """34 and 12."""
    refusal = check_book_terms(make_order(), {0: replace(BTC, status="FINAL_SETTLEMENT")})
    assert refusal is not None
    assert refusal.code == 34
    refusal = check_trigger_terms(make_stop(trigger_subticks=9_500_000_001), BTC)
    assert refusal is not None
    assert refusal.code == 12
    assert check_trigger_terms(make_stop(), BTC) is None


@pytest.mark.parametrize(
    ("ahead", "window", "code"),
    [(0, 40, 10), (1, 40, None), (41, 40, None), (42, 40, 11), (21, 20, None), (22, 20, 11)],
)
def test_good_til_block(ahead: int, window: int, code: int | None) -> None:
    """From the next block to a window after it."""
    refusal = check_good_til_block(HEIGHT + ahead, HEIGHT, window)
    assert (refusal.code if refusal else None) == code
    if code == 10:
        assert refusal == ChainError.HEIGHT_EXCEEDS_GOOD_TIL_BLOCK.refuse(
            f"GoodTilBlock {HEIGHT} is less than the current blockHeight {HEIGHT + 1}"
        )


@pytest.mark.parametrize(("ahead", "code"), [(0, 3003), (1, None), (95 * 86400, None), (95 * 86400 + 1, 3004)])
def test_good_til_block_time(ahead: int, code: int | None) -> None:
    """After the block's time, within 95 days."""
    refusal = check_good_til_block_time(TIME_S + ahead, TIME_S)
    assert (refusal.code if refusal else None) == code


@pytest.mark.parametrize(
    ("collateral", "open_orders", "is_refused"),
    [("19", 0, True), ("20", 9, False), ("20", 10, True), ("1000", 39, False), ("1000", 40, True), ("1e9", 199, False)],
)
def test_equity_tiers(collateral: str, open_orders: int, is_refused: bool) -> None:
    """More collateral, more stateful orders."""
    tiers = ChainRules().equity_tiers
    refusal = check_equity_tier(make_order(flags=64), open_orders, Decimal(collateral), tiers)
    assert (refusal is not None) == is_refused
    if refusal:
        assert refusal.code == 10001
    assert check_equity_tier(make_order(flags=64), 10**6, Decimal(0), ()) is None


def test_rate_limits_count_attempts_over_blocks() -> None:
    """Two per block, three per two blocks; failed attempts count; other owners do not."""
    limiter = BlockRateLimiter("MaxStatefulOrdersPerNBlocks", ((1, 2), (2, 3)))
    assert limiter.count("a", 10) is None
    assert limiter.count("a", 10) is None
    refusal = limiter.count("a", 10)
    assert isinstance(refusal, TxRefusal)
    assert refusal.raw_log == (
        "Rate of 3 exceeds configured block rate limit of {NumBlocks:1 Limit:2} for MaxStatefulOrdersPerNBlocks"
        " and a: Block rate limit exceeded"
    )
    assert limiter.count("b", 10) is None
    assert limiter.count("a", 11) is not None  # four in two blocks
    assert limiter.count("a", 13) is None
    assert BlockRateLimiter("x", ()).count("a", 1, 10**9) is None


def test_errors_are_found_by_code_and_are_unique() -> None:
    """No two errors share a codespace and code."""
    for error in ChainError:
        assert find_error(error.codespace, error.code) is error
    assert find_error("clob", 424242) is None
