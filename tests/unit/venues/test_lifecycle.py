"""Every (status, step) pair of an order's life, legal or not."""

import pytest

from market.events import (
    CancelRejected,
    Fill,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderTriggered,
    VenueEvent,
)
from venues.lifecycle import DUPLICATE, OrderStatus, OrderStep, ProtocolError, apply_step, get_step

# One letter per status after the step; "." cannot happen. Columns in the order of OrderStep.
LETTERS = {
    "s": OrderStatus.SENT,
    "u": OrderStatus.UNKNOWN,
    "a": OrderStatus.ACCEPTED,
    "t": OrderStatus.TRIGGERED,
    "p": OrderStatus.PARTLY_FILLED,
    "f": OrderStatus.FILLED,
    "c": OrderStatus.CANCELED,
    "r": OrderStatus.REJECTED,
}
STEPS = "accept reject refuse_duplicate trigger modify fill_part fill_rest cancel refuse_cancel time_out not_found"
EXPECTED = {
    #               acc rej dup tri mod prt rst can ref out nof
    "sent":          "a   r   u   t   a   p   f   c   s   u   .",
    "unknown":       "a   r   u   t   a   p   f   c   u   u   r",
    "accepted":      "a   r   a   t   a   p   f   c   a   a   .",
    "triggered":     "t   .   t   t   t   p   f   c   t   t   .",
    "partly_filled": "p   .   p   p   p   p   f   c   p   p   .",
    "filled":        "f   .   f   f   f   .   .   .   f   f   .",
    "canceled":      "c   .   c   c   c   c   f   c   c   c   .",
    "rejected":      ".   r   r   .   .   .   .   .   r   r   r",
}  # fmt: skip


def test_the_table_names_every_status_and_step() -> None:
    assert STEPS.split() == [str(step) for step in OrderStep]
    assert list(EXPECTED) == [str(status) for status in OrderStatus]


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("step", OrderStep)
def test_every_pair(status: OrderStatus, step: OrderStep) -> None:
    letter = EXPECTED[status].split()[list(OrderStep).index(step)]
    if letter == ".":
        with pytest.raises(ProtocolError, match=f"{status} cannot {step}"):
            apply_step(status, step)
    else:
        assert apply_step(status, step) is LETTERS[letter]


def test_an_ended_order_never_opens_again() -> None:
    for status in OrderStatus:
        for step in OrderStep:
            try:
                after = apply_step(status, step)
            except ProtocolError:
                continue
            assert status.is_open or not after.is_open


FILL = Fill("a", "1", "1", "BTC-PERP.TEST", 1, 100.0, 1, 0.0, False, 0, 0)


@pytest.mark.parametrize(
    ("event", "qty_leaves_lots", "step"),
    [
        (OrderAccepted("a", "1", 0), 5, OrderStep.ACCEPT),
        (OrderRejected("a", "insufficient margin", 0), 5, OrderStep.REJECT),
        (OrderRejected("a", DUPLICATE, 0), 5, OrderStep.REFUSE_DUPLICATE),
        (OrderTriggered("a", "1", 0), 5, OrderStep.TRIGGER),
        (OrderModified("a", "1", 5, 0.0, 0.0, 0), 5, OrderStep.MODIFY),
        (OrderCanceled("a", "1", "requested", 0), 5, OrderStep.CANCEL),
        (CancelRejected("a", "not open", 0), 5, OrderStep.REFUSE_CANCEL),
        (FILL, 1, OrderStep.FILL_PART),
        (FILL, 0, OrderStep.FILL_REST),
        (FundingPaid("BTC-PERP.TEST", 1, 0.0, 1.0, 0.0, 0), 0, None),
    ],
)
def test_which_step_an_event_is(event: VenueEvent, qty_leaves_lots: int, step: OrderStep | None) -> None:
    assert get_step(event, qty_leaves_lots) is step
