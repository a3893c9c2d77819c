"""Statuses, removal reasons and broadcast codes against the tables."""

from decimal import Decimal

import pytest

from venues.dydx.indexer_records import OrderRow
from venues.dydx.lifecycle import (
    KNOWN_REMOVALS,
    REMOVAL_PREFIX,
    STATUS_TABLE,
    BroadcastOutcome,
    UnknownStatus,
    read_broadcast,
    read_removal,
    read_status,
    write_removal,
    write_status,
)
from venues.lifecycle import OrderStatus
from venues.orders import Message


@pytest.mark.parametrize(
    ("status", "filled", "height", "expected"),
    [
        ("BEST_EFFORT_OPENED", "0", 0, OrderStatus.ACCEPTED),
        ("OPEN", "0", 0, OrderStatus.ACCEPTED),
        ("OPEN", "1", 0, OrderStatus.PARTLY_FILLED),
        ("UNTRIGGERED", "0", 0, OrderStatus.ACCEPTED),
        ("FILLED", "2", 0, OrderStatus.FILLED),
        ("CANCELED", "1", 0, OrderStatus.CANCELED),
        ("BEST_EFFORT_CANCELED", "0", 20, OrderStatus.ACCEPTED),  # it may still fill in block 20
        ("BEST_EFFORT_CANCELED", "1", 20, OrderStatus.PARTLY_FILLED),
        ("BEST_EFFORT_CANCELED", "0", 21, OrderStatus.CANCELED),
    ],
)
def test_statuses_are_read(status: str, filled: str, height: int, expected: OrderStatus) -> None:
    """With what was filled and how high the chain is."""
    row = OrderRow("o", status=status, total_filled=Decimal(filled), good_til_block="20")
    assert read_status(row, height) is expected


def test_optimistic_fills_count_and_new_words_are_kept() -> None:
    """A fill one node saw; a status nobody ever saw; none at all."""
    row = OrderRow("o", status="OPEN", total_optimistic_filled=Decimal(1))
    assert read_status(row) is OrderStatus.PARTLY_FILLED
    unknown = read_status(OrderRow("o", status="MELTED"))
    assert isinstance(unknown, UnknownStatus)
    assert unknown == "MELTED"
    assert isinstance(read_status(OrderRow("o")), UnknownStatus)


@pytest.mark.parametrize(
    "status", [status for status in OrderStatus if status.is_open or status.value in ("filled", "canceled")]
)
def test_statuses_are_written_and_read_back(status: OrderStatus) -> None:
    """Open stays open, ended stays ended; orders nobody accepted have no word."""
    if status in (OrderStatus.SENT, OrderStatus.UNKNOWN):
        with pytest.raises(ValueError, match="404"):
            write_status(status)
        return
    for is_committed in (True, False):
        text = write_status(status, is_committed=is_committed)
        assert text in STATUS_TABLE
        if is_committed:
            assert STATUS_TABLE[text].is_open == status.is_open
    assert write_status(OrderStatus.ACCEPTED, is_waiting_for_trigger=True) == "UNTRIGGERED"


def test_removals() -> None:
    """Every end of the exchange machine has the venue's word."""
    for message in Message:
        assert write_removal(message).removeprefix(REMOVAL_PREFIX) in KNOWN_REMOVALS
    row = OrderRow("o", removal_reason=write_removal(Message.SELF_TRADE))
    assert read_removal(row) == "SELF_TRADE_ERROR"
    assert read_removal(OrderRow("o", removal_reason="ORDER_REMOVAL_REASON_NEW")) == "NEW"
    assert read_removal(OrderRow("o")) is None


@pytest.mark.parametrize(
    ("codespace", "code", "outcome"),
    [
        ("", 0, BroadcastOutcome.ACKNOWLEDGED),
        ("sdk", 32, BroadcastOutcome.RESYNC),
        ("accountplus", 104, BroadcastOutcome.RESYNC),
        ("sdk", 19, BroadcastOutcome.ALREADY_DONE),
        ("clob", 9, BroadcastOutcome.ALREADY_DONE),
        ("clob", 3006, BroadcastOutcome.ALREADY_DONE),
        ("clob", 5001, BroadcastOutcome.BACK_OFF),
        ("clob", 3007, BroadcastOutcome.REFUSED),
        ("clob", 77_777, BroadcastOutcome.UNKNOWN),
    ],
)
def test_broadcast_codes(codespace: str, code: int, outcome: BroadcastOutcome) -> None:
    """What a client does next."""
    assert read_broadcast(codespace, code) is outcome
