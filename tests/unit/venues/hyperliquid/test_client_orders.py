"""What replies, updates and fills of one order add up to, whatever order they come in."""

from decimal import Decimal
from typing import Any

import pytest

from market.events import OrderRequest, OrderType, TimeInForce
from market.instruments import LISTED
from venues.hyperliquid import exchange_replies as replies
from venues.hyperliquid import frames, info_replies, rules
from venues.hyperliquid.client_orders import NEVER_PLACED, OwnOrders
from venues.hyperliquid.client_rows import Terms
from venues.orders import Message

BTC = LISTED["BTC-PERP.HYPERLIQUID"]
ID = BTC.instrument_id
ASSETS = rules.AssetTable([rules.Asset(0, "BTC", 5, False, BTC)])
A, B, C = ("0x" + digit * 32 for digit in "abc")
EXPIRES_MS = 20_000


def size(lots: int) -> Decimal:
    return Decimal(lots).scaleb(-5)


def make_own(*requests: OrderRequest, group: bool = False) -> OwnOrders:
    own = OwnOrders(ASSETS, "0x" + "1" * 40)
    own.begin({}, ())
    terms = [Terms(r.qty_lots, r.limit_px, r.trigger_px) for r in requests]
    own.add(requests, terms, EXPIRES_MS, group=group)
    return own


def limit(name: str = A, lots: int = 100, **fields: Any) -> OrderRequest:
    return OrderRequest(name, ID, 1, lots, OrderType.LIMIT, 50_000.0, **fields)


def stop(name: str = B, lots: int = 100) -> OrderRequest:
    return OrderRequest(name, ID, -1, lots, OrderType.STOP_MARKET, 0.0, 45_000.0, is_reduce_only=True)


def update(name: str | None, oid: int, status: str, lots: int = 100, left: int = 100) -> frames.OrderUpdate:
    cloid: Any = name
    row = info_replies.OpenOrder("BTC", "B", Decimal("50000.0"), size(left), oid, 1, size(lots), cloid)
    return frames.OrderUpdate(row, status, oid)


def row(
    name: str, oid: int, status: str, lots: int = 100, left: int = 100, trigger: str = "0.0"
) -> info_replies.OrderRow:
    order = info_replies.FrontendOrder(
        "BTC", "A", Decimal("40500.0"), size(left), oid, 1, "N/A", trigger != "0.0", Decimal(trigger), False, True,
        "Stop Market", size(lots), None, (), name,
    )  # fmt: skip
    return info_replies.OrderRow(order, status, oid)


def fill(tid: int, oid: int, lots: int, name: str | None = None, **fields: Any) -> info_replies.Fill:
    values: dict[str, Any] = {
        "coin": "BTC", "px": Decimal("50000.0"), "sz": size(lots), "side": "B", "time": 100 + tid,
        "start_position": Decimal(0), "dir": "Open Long", "closed_pnl": Decimal(0), "hash": "0x0", "oid": oid,
        "crossed": True, "fee": Decimal("0.5"), "tid": tid, "cloid": name,
    }  # fmt: skip
    return info_replies.Fill(**(values | fields))


def told(own: OwnOrders) -> list[str]:
    return [type(event).__name__ for event in own.take_events()]


def test_a_fill_before_the_reply_tells_the_acceptance_and_nothing_twice() -> None:
    own = make_own(limit())
    own.hear_fill(fill(1, 7, 40, A))
    assert told(own) == ["OrderAccepted", "Fill"]
    own.hear_placed(A, replies.Resting(7), 5)
    own.hear_update(update(A, 7, "open", 100, 60))
    own.hear_fill(fill(1, 7, 40, A))
    assert told(own) == []
    assert own.positions == {ID: 40}


def test_a_fill_of_an_unknown_oid_waits_for_the_reply() -> None:
    own = make_own(limit())
    own.hear_fill(fill(1, 7, 40))
    assert told(own) == []
    own.hear_placed(A, replies.Resting(7), 5)
    assert told(own) == ["OrderAccepted", "Fill"]
    own.hear_fill(fill(2, 99, 10))  # nobody's
    (foreign,) = own.take_events()
    assert foreign.client_order_id == ""  # type: ignore[union-attr]


def test_the_end_is_told_after_the_fills_the_venue_counts() -> None:
    own = make_own(limit(time_in_force=TimeInForce.IOC))
    own.hear_placed(A, replies.Filled(size(40), Decimal(50_000), 7), 5)
    assert told(own) == ["OrderAccepted"]
    assert own.is_short
    own.hear_fill(fill(1, 7, 40, A))
    events = own.take_events()
    assert [type(event).__name__ for event in events] == ["Fill", "OrderCanceled"]
    assert events[1].message == Message.IOC  # type: ignore[union-attr]
    assert not own.is_short


@pytest.mark.parametrize("is_reply_first", [True, False])
def test_a_modify_keeps_the_order_over_its_old_oids_late_cancel(is_reply_first: bool) -> None:
    own = make_own(limit())
    own.hear_placed(A, replies.Resting(7), 5)
    order = own.get(A)
    assert order is not None
    order.wanted = Terms(200, 51_000.0, 0.0)
    steps = [
        lambda: own.hear_modified(A, replies.Resting(8), 6),
        lambda: (own.hear_update(update(A, 7, "canceled")), own.hear_update(update(A, 8, "open", 200, 200))),
    ]
    for step in steps if is_reply_first else steps[::-1]:
        step()
    assert told(own) == ["OrderAccepted", "OrderModified"]
    own.hear_update(update(A, 7, "canceled"))
    assert told(own) == []
    assert order.is_open
    assert (order.oid, order.terms) == (8, Terms(200, 51_000.0, 0.0))


def test_a_refused_modify_lets_a_held_cancel_count() -> None:
    own = make_own(limit())
    own.hear_placed(A, replies.Resting(7), 5)
    own.get(A).wanted = Terms(200, 51_000.0, 0.0)  # type: ignore[union-attr]
    own.hear_update(update(A, 7, "canceled"))
    assert told(own) == ["OrderAccepted"]
    own.hear_modified(A, replies.Refused(replies.NOT_MODIFIABLE), 6)
    assert told(own) == ["OrderCanceled"]


def test_a_fill_that_raced_a_modify_asks_to_shrink() -> None:
    own = make_own(limit())
    own.hear_placed(A, replies.Resting(7), 5)
    own.get(A).wanted = Terms(100, 51_000.0, 0.0)  # type: ignore[union-attr]
    own.hear_modified(A, replies.Resting(8), 6)
    own.hear_fill(fill(1, 7, 30, A))  # under the old oid: the new one still has all 100
    assert own.take_shrinks() == [A]


def test_the_venue_shrinks_a_reduce_only_order() -> None:
    own = make_own(limit())
    own.hear_placed(A, replies.Resting(7), 5)
    own.hear_update(update(A, 7, "open", 60, 60))
    _, changed = own.take_events()
    assert changed.qty_lots == 60  # type: ignore[union-attr]


@pytest.mark.parametrize("is_child_heard", [True, False])
def test_children_of_an_entry_that_ended_in_part_are_placed_again(is_child_heard: bool) -> None:
    own = make_own(limit(time_in_force=TimeInForce.IOC), stop(), group=True)
    if is_child_heard:
        for one in (update(A, 7, "open"), update(B, 8, "open"), update(A, 7, "canceled", 100, 60)):
            own.hear_update(one)
        own.hear_update(update(B, 8, "canceled"))
    own.hear_placed(A, replies.Filled(size(40), Decimal(50_000), 7), 5)
    own.hear_placed(B, replies.Refused("Order has invalid size. asset=0"), 5)
    if not is_child_heard:
        own.note_lost_oid(B, 8)
        for one in (update(A, 7, "open"), update(B, 8, "open"), update(A, 7, "canceled", 100, 60)):
            own.hear_update(one)  # late
    (child,) = own.take_protects()
    child.wanted = child.terms._replace(qty_lots=40)
    own.hear_protected(B, replies.WAITING_FOR_TRIGGER, 6)
    assert B in own.take_asks()
    own.hear_row(row(B, 9, "open", 40, 40, "45000.0"))
    events = [event for event in own.take_events() if event.client_order_id == B]  # type: ignore[union-attr]
    assert [type(event).__name__ for event in events] == ["OrderAccepted", "OrderModified"]
    assert (events[1].qty_lots, events[1].trigger_px) == (40, 45_000.0)  # type: ignore[union-attr]
    assert own.take_protects() == []


def test_children_that_cannot_be_placed_again_are_told_and_named() -> None:
    own = make_own(limit(time_in_force=TimeInForce.IOC), stop(), group=True)
    own.hear_placed(A, replies.Filled(size(40), Decimal(50_000), 7), 5)
    own.hear_protected(B, replies.Refused("Order has invalid price."), 6)
    assert own.naked == {B}
    assert "OrderRejected" in told(own) or own.get(B).is_end_told  # type: ignore[union-attr]


def test_children_of_an_unfilled_entry_go_with_it() -> None:
    own = make_own(limit(), stop(), group=True)
    for one in (update(A, 7, "open"), update(B, 8, "open"), update(A, 7, "canceled"), update(B, 8, "canceled")):
        own.hear_update(one)
    events = own.take_events()
    ended = {e.client_order_id: e.message for e in events if type(e).__name__ == "OrderCanceled"}  # type: ignore[union-attr]
    assert ended == {A: Message.REQUESTED, B: Message.PARENT_CANCELED}


def test_the_sibling_of_a_child_placed_again_is_canceled_by_us() -> None:
    target = OrderRequest(C, ID, -1, 100, OrderType.TAKE_PROFIT_LIMIT, 60_000.0, is_reduce_only=True)
    own = make_own(limit(time_in_force=TimeInForce.IOC), stop(), target, group=True)
    own.hear_placed(A, replies.Filled(size(40), Decimal(50_000), 7), 5)
    for name, oid in ((B, 8), (C, 9)):
        child = own.get(name)
        assert child is not None
        child.wanted, child.is_alone = child.terms._replace(qty_lots=40), True
        own.hear_protected(name, replies.Resting(oid), 6)
    own.hear_fill(fill(5, 9, 40, C, side="A"))
    assert own.take_cancels() == [B]


def test_an_unheard_order_is_never_placed_only_after_its_expiry() -> None:
    own = make_own(limit())
    own.mark_unknown([A])
    own.hear_unheard_of(A, EXPIRES_MS)
    assert own.take_events() == ()
    own.hear_unheard_of(A, EXPIRES_MS + 1)
    (rejected,) = own.take_events()
    assert rejected.message == NEVER_PLACED  # type: ignore[union-attr]


def test_words_of_tomorrow_are_asked_about_and_fills_of_yesterday_left_out() -> None:
    own = make_own(limit())
    own.begin({ID: 5}, [fill(1, 3, 5)])
    own.hear_update(update(A, 7, "Some New Word"))
    assert own.take_asks() == [A]
    own.hear_fill(fill(1, 3, 5))
    own.hear_fill(fill(2, 7, 1, A, side="?"))
    own.hear_fill(fill(3, 7, 1, A, coin="NEW"))
    assert told(own) == []
    assert own.positions == {ID: 5}
    assert own.unreadable >= 2


def test_a_liquidation_is_told_at_once_and_funding_once() -> None:
    own = make_own(limit())
    own.hear_fill(fill(1, 55, 10, None, dir="Liquidated Cross Long", side="A"))
    funding = frames.FundingRow(9, "BTC", Decimal("-0.75"), size(100), Decimal("0.0000125"))
    own.hear_funding(funding)
    own.hear_funding(funding)
    liquidated, paid = own.take_events()
    assert (liquidated.client_order_id, liquidated.kind) == ("", 3)  # type: ignore[union-attr]
    assert (paid.amount_quote, paid.qty_lots) == (-0.75, 100)  # type: ignore[union-attr]
