"""The life of an order: what each event makes of each status. One table, no roles.

The exchange machine and the executor obey the same rows. The venue sees only the rows that begin with its own
acknowledgement; a client sees more, because messages are lost, late and repeated: an acknowledgement after a fill
changes nothing, a fill reported after the cancel still counts, and an answer that never came is a status of its own.
A pair that is not in the table cannot happen between honest parties: `apply_step` raises.
"""

from enum import StrEnum

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

DUPLICATE = "duplicate client order id"


class OrderStatus(StrEnum):
    """Where an order is in its life."""

    SENT = "sent"  # on its way, nothing heard
    UNKNOWN = "unknown"  # the answer is overdue: ask by client order id, never send again
    ACCEPTED = "accepted"  # resting, queued for a match, or waiting for its parent or trigger
    TRIGGERED = "triggered"  # the trigger was touched, its market order is at work
    PARTLY_FILLED = "partly_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"

    @property
    def is_open(self) -> bool:
        """Whether the order may still fill."""
        return self not in _ENDED


class OrderStep(StrEnum):
    """What can happen to an order."""

    ACCEPT = "accept"
    REJECT = "reject"
    REFUSE_DUPLICATE = "refuse_duplicate"  # a second order under this id was refused; says nothing of the first
    TRIGGER = "trigger"
    MODIFY = "modify"
    FILL_PART = "fill_part"  # filled, and something is left
    FILL_REST = "fill_rest"  # filled, and nothing is left
    CANCEL = "cancel"
    REFUSE_CANCEL = "refuse_cancel"  # of a cancel or modify
    TIME_OUT = "time_out"  # no answer within the deadline
    NOT_FOUND = "not_found"  # the venue, asked, has never heard of it


_ENDED = frozenset({OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED})

_S, _T = OrderStatus, OrderStep
_UNHEARD = {
    _T.ACCEPT: _S.ACCEPTED,
    _T.REJECT: _S.REJECTED,
    _T.REFUSE_DUPLICATE: _S.UNKNOWN,  # it was sent before, by a life that is forgotten
    _T.TRIGGER: _S.TRIGGERED,
    _T.MODIFY: _S.ACCEPTED,
    _T.FILL_PART: _S.PARTLY_FILLED,
    _T.FILL_REST: _S.FILLED,
    _T.CANCEL: _S.CANCELED,
    _T.TIME_OUT: _S.UNKNOWN,
}

TRANSITIONS: dict[OrderStatus, dict[OrderStep, OrderStatus]] = {
    _S.SENT: _UNHEARD | {_T.REFUSE_CANCEL: _S.SENT},
    _S.UNKNOWN: _UNHEARD | {_T.REFUSE_CANCEL: _S.UNKNOWN, _T.NOT_FOUND: _S.REJECTED},
    _S.ACCEPTED: {
        _T.ACCEPT: _S.ACCEPTED,
        _T.REJECT: _S.REJECTED,  # refused when it came to be matched: margin
        _T.REFUSE_DUPLICATE: _S.ACCEPTED,
        _T.TRIGGER: _S.TRIGGERED,
        _T.MODIFY: _S.ACCEPTED,
        _T.FILL_PART: _S.PARTLY_FILLED,
        _T.FILL_REST: _S.FILLED,
        _T.CANCEL: _S.CANCELED,
        _T.REFUSE_CANCEL: _S.ACCEPTED,
        _T.TIME_OUT: _S.ACCEPTED,
    },
    _S.TRIGGERED: {
        _T.ACCEPT: _S.TRIGGERED,
        _T.REFUSE_DUPLICATE: _S.TRIGGERED,
        _T.TRIGGER: _S.TRIGGERED,
        _T.MODIFY: _S.TRIGGERED,
        _T.FILL_PART: _S.PARTLY_FILLED,
        _T.FILL_REST: _S.FILLED,
        _T.CANCEL: _S.CANCELED,
        _T.REFUSE_CANCEL: _S.TRIGGERED,
        _T.TIME_OUT: _S.TRIGGERED,
    },
    _S.PARTLY_FILLED: {
        _T.ACCEPT: _S.PARTLY_FILLED,
        _T.REFUSE_DUPLICATE: _S.PARTLY_FILLED,
        _T.TRIGGER: _S.PARTLY_FILLED,
        _T.MODIFY: _S.PARTLY_FILLED,
        _T.FILL_PART: _S.PARTLY_FILLED,
        _T.FILL_REST: _S.FILLED,
        _T.CANCEL: _S.CANCELED,
        _T.REFUSE_CANCEL: _S.PARTLY_FILLED,
        _T.TIME_OUT: _S.PARTLY_FILLED,
    },
    _S.FILLED: {
        _T.ACCEPT: _S.FILLED,
        _T.REFUSE_DUPLICATE: _S.FILLED,
        _T.TRIGGER: _S.FILLED,
        _T.MODIFY: _S.FILLED,
        _T.REFUSE_CANCEL: _S.FILLED,
        _T.TIME_OUT: _S.FILLED,
    },
    _S.CANCELED: {
        _T.ACCEPT: _S.CANCELED,
        _T.REFUSE_DUPLICATE: _S.CANCELED,
        _T.TRIGGER: _S.CANCELED,
        _T.MODIFY: _S.CANCELED,
        _T.FILL_PART: _S.CANCELED,  # happened before the cancel, reported after it
        _T.FILL_REST: _S.FILLED,
        _T.CANCEL: _S.CANCELED,
        _T.REFUSE_CANCEL: _S.CANCELED,
        _T.TIME_OUT: _S.CANCELED,
    },
    _S.REJECTED: {
        _T.REJECT: _S.REJECTED,
        _T.REFUSE_DUPLICATE: _S.REJECTED,
        _T.REFUSE_CANCEL: _S.REJECTED,
        _T.TIME_OUT: _S.REJECTED,
        _T.NOT_FOUND: _S.REJECTED,
    },
}


class ProtocolError(ValueError):
    """An event that cannot follow: a bug of ours if we made it, a reason to distrust the venue if it did."""


def apply_step(status: OrderStatus, step: OrderStep) -> OrderStatus:
    """Return the status after a step.

    Raises ProtocolError naming both when the table has no such row.

    >>> str(apply_step(OrderStatus.ACCEPTED, OrderStep.FILL_REST))
    'filled'
    """
    after = TRANSITIONS[status].get(step)
    if after is None:
        raise ProtocolError(f"an order that is {status} cannot {step}: no such row in venues.lifecycle")
    return after


def get_step(event: VenueEvent, qty_leaves_lots: int) -> OrderStep | None:
    """Return which step an event is, given what is left of the order after it; None: not about an order.

    `qty_leaves_lots` is looked at for fills only.
    """
    match event:
        case OrderAccepted():
            return OrderStep.ACCEPT
        case OrderRejected():
            return OrderStep.REFUSE_DUPLICATE if event.message == DUPLICATE else OrderStep.REJECT
        case OrderCanceled():
            return OrderStep.CANCEL
        case OrderTriggered():
            return OrderStep.TRIGGER
        case OrderModified():
            return OrderStep.MODIFY
        case CancelRejected():
            return OrderStep.REFUSE_CANCEL
        case Fill():
            return OrderStep.FILL_PART if qty_leaves_lots > 0 else OrderStep.FILL_REST
        case FundingPaid():
            return None
