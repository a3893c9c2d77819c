"""The memory of short-term orders: placing, replacing, canceling, filling, expiring."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.venues.dydx.dydx_samples import BOOKS, HEIGHT, SUBACCOUNT, make_order
from venues.dydx.chain_errors import TxRefusal
from venues.dydx.order_terms import BatchCancel, CancelBatch, OrderId, hash_order
from venues.dydx.short_term import BatchCancellation, Cancellation, Placement, ShortTermMemory

STEP = 1_000_000


def code_of(outcome: Any) -> int | None:
    return outcome.code if isinstance(outcome, TxRefusal) else None


def start(*orders: Any) -> ShortTermMemory:
    memory = ShortTermMemory(BOOKS)
    for order in orders:
        assert isinstance(memory.place(order, HEIGHT), Placement)
    return memory


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"good_til_block": HEIGHT + 11}, None),
        ({"good_til_block": HEIGHT + 11, "quantums": 5_000_000, "subticks": 10**9}, None),
        ({"good_til_block": HEIGHT + 9}, 20),
        ({}, 20),
        ({"good_til_block": HEIGHT + 11, "side": 2}, 20),
        ({"good_til_block": HEIGHT + 11, "time_in_force": 2}, 20),
        ({"good_til_block": HEIGHT + 11, "time_in_force": 1, "is_reduce_only": True}, 20),
    ],
)
def test_replacement(terms: dict[str, Any], code: int | None) -> None:
    """A later good-til and the same side, time in force and reduce-only; size and price may differ."""
    memory = start(make_order())
    outcome = memory.place(make_order(**terms), HEIGHT, -1)
    assert code_of(outcome) == code
    if isinstance(outcome, Placement):
        assert outcome.replaced == make_order()
        assert memory.list_orders() == [make_order(**terms)]


def test_at_the_same_good_til_the_larger_hash_wins() -> None:
    """The chain's lottery."""
    pair = sorted((make_order(), make_order(subticks=9_999_900_000)), key=hash_order)
    assert code_of(start(pair[0]).place(pair[1], HEIGHT)) is None
    assert code_of(start(pair[1]).place(pair[0], HEIGHT)) == 20


def test_a_replacement_keeps_the_fills() -> None:
    """Remaining is new size less filled; filled up is 24; IOC over a partly filled one is 20."""
    memory = start(make_order())
    assert memory.note_fill(make_order().order_id, 4 * STEP) == 6 * STEP
    outcome = memory.place(make_order(good_til_block=HEIGHT + 11, quantums=7 * STEP), HEIGHT)
    assert isinstance(outcome, Placement)
    assert outcome.remaining_quantums == 3 * STEP
    assert code_of(memory.place(make_order(good_til_block=HEIGHT + 12, quantums=4 * STEP), HEIGHT)) == 24
    memory.remove(make_order().order_id)
    ioc = make_order(good_til_block=HEIGHT + 13, time_in_force=1)
    assert code_of(memory.place(ioc, HEIGHT)) == 2004
    partly = start(make_order(time_in_force=1))
    partly.note_fill(make_order().order_id, STEP)
    assert code_of(partly.place(ioc, HEIGHT)) == 20


def test_filled_orders_are_gone_and_remembered_a_window_longer() -> None:
    """Placing again is 24 until the fill is forgotten."""
    memory = start(make_order())
    assert memory.note_fill(make_order().order_id, 10 * STEP) == 0
    assert memory.find_order(make_order().order_id) is None
    with pytest.raises(ValueError, match="does not fit"):
        memory.note_fill(make_order().order_id, STEP)
    assert code_of(memory.place(make_order(good_til_block=HEIGHT + 20), HEIGHT)) == 24
    memory.end_block(HEIGHT + 49)
    assert code_of(memory.place(make_order(good_til_block=HEIGHT + 60), HEIGHT + 49)) == 24
    memory.end_block(HEIGHT + 50)
    assert code_of(memory.place(make_order(good_til_block=HEIGHT + 60), HEIGHT + 50)) is None


def test_cancels_are_remembered() -> None:
    """Unknown is fine; 7 up to its good-til; 9 when not longer than the last; forgotten at its good-til."""
    memory = ShortTermMemory(BOOKS)
    order_id = make_order().order_id
    assert memory.cancel(order_id, HEIGHT + 10, HEIGHT) == Cancellation(order_id, None)
    assert code_of(memory.place(make_order(), HEIGHT)) == 7
    assert code_of(memory.place(make_order(good_til_block=HEIGHT + 11), HEIGHT)) is None
    assert code_of(memory.cancel(order_id, HEIGHT + 10, HEIGHT)) == 9
    assert code_of(memory.cancel(order_id, HEIGHT + 9, HEIGHT)) == 9
    outcome = memory.cancel(order_id, HEIGHT + 11, HEIGHT)
    assert isinstance(outcome, Cancellation)
    assert outcome.removed is not None
    assert memory.get_cancel(order_id) == HEIGHT + 11
    memory.end_block(HEIGHT + 11)
    assert memory.get_cancel(order_id) == 0
    assert code_of(memory.cancel(order_id, HEIGHT, HEIGHT)) == 10
    assert code_of(memory.cancel(order_id, HEIGHT + 42, HEIGHT)) == 11
    assert code_of(memory.cancel(OrderId(SUBACCOUNT, 1, 0, 99), HEIGHT + 2, HEIGHT)) == 8


def test_a_cancel_shorter_than_the_order_does_not_remove_it() -> None:
    """The order outlives the cancel, so it stays open: the trap of canceling with too small a good-til-block."""
    memory = start(make_order())
    outcome = memory.cancel(make_order().order_id, HEIGHT + 9, HEIGHT)
    assert outcome == Cancellation(make_order().order_id, None)
    assert memory.find_order(make_order().order_id) is not None


def test_batch_cancel() -> None:
    """Each by itself; all failed is 46; an unknown book is 27; the batch's own good-til is checked first."""
    memory = start(make_order(1), make_order(2))
    batch = BatchCancel(SUBACCOUNT, (CancelBatch(0, (1, 3)), CancelBatch(1, (1,))), HEIGHT + 10)
    outcome = memory.cancel_batch(batch, HEIGHT)
    assert isinstance(outcome, BatchCancellation)
    assert [one.removed is not None for one in outcome.done] == [True, False, False]
    refusal = memory.cancel_batch(batch, HEIGHT)
    assert isinstance(refusal, TxRefusal)
    assert refusal.raw_log == "No successful cancellations. Failures: [1 3 1]: Batch cancel has failed"
    outcome = memory.cancel_batch(BatchCancel(SUBACCOUNT, (CancelBatch(0, (1, 2)),), HEIGHT + 10), HEIGHT)
    assert isinstance(outcome, BatchCancellation)
    assert outcome.failed_client_ids == (1,)
    assert code_of(memory.cancel_batch(BatchCancel(SUBACCOUNT, (CancelBatch(9, (1,)),), HEIGHT + 1), HEIGHT)) == 27
    assert code_of(memory.cancel_batch(BatchCancel(SUBACCOUNT, (), HEIGHT), HEIGHT)) == 10


@pytest.mark.parametrize(
    ("side", "position", "code"), [(1, -5, None), (1, 0, 2001), (1, 5, 2001), (2, 5, None), (2, -5, 2001)]
)
def test_reduce_only_needs_a_position_to_reduce(side: int, position: int, code: int | None) -> None:
    """2001 when there is none on the other side."""
    order = make_order(side=side, time_in_force=1, is_reduce_only=True)
    assert code_of(ShortTermMemory(BOOKS).place(order, HEIGHT, position)) == code


def test_orders_expire_when_their_good_til_block_is_committed() -> None:
    """Not a block earlier."""
    memory = start(make_order(1), make_order(2, good_til_block=HEIGHT + 11))
    assert memory.end_block(HEIGHT + 9) == []
    assert [order.order_id.client_id for order in memory.end_block(HEIGHT + 10)] == [1]
    assert len(memory.list_orders()) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(0, 45), st.integers(1, 12)), max_size=40))
def test_no_order_is_open_that_should_not_be(steps: list[tuple[int, int, int, int]]) -> None:
    """Over any history: open orders are unexpired, not canceled for their life, and not filled up."""
    memory, height = ShortTermMemory(BOOKS), HEIGHT
    for kind, client_id, ahead, steps_size in steps:
        order = make_order(client_id, good_til_block=height + ahead, quantums=steps_size * STEP)
        match kind:
            case 0:
                memory.place(order, height)
            case 1:
                memory.cancel(order.order_id, height + ahead, height)
            case 2:
                known = memory.find_order(order.order_id)
                if known and memory.get_filled_quantums(order.order_id) + STEP <= known.quantums:
                    memory.note_fill(order.order_id, STEP)
            case _:
                height += ahead % 4
                memory.end_block(height)
        for known in memory.list_orders():
            assert known.good_til_block > height
            assert known.good_til_block > memory.get_cancel(known.order_id)
            assert memory.get_filled_quantums(known.order_id) < known.quantums
