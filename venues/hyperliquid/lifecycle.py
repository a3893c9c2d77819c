"""Hyperliquid's order status strings and `venues.lifecycle`: one table, read in both directions.

Source: PROTOCOLS.md 1.4 (the venue's manual, "Order status" of the info endpoint). A string that is not in the table
is read by its ending, as the venue builds its names; what has no known ending is UNKNOWN: ask again, do not guess.
"""

from typing import NamedTuple

from venues.lifecycle import OrderStatus
from venues.orders import Message

_OPEN = {"open": OrderStatus.ACCEPTED, "filled": OrderStatus.FILLED, "triggered": OrderStatus.TRIGGERED}
_CANCELED = {
    "canceled": Message.REQUESTED,
    "marginCanceled": Message.INSUFFICIENT_MARGIN,
    "vaultWithdrawalCanceled": None,
    "openInterestCapCanceled": None,
    "selfTradeCanceled": Message.SELF_TRADE,
    "reduceOnlyCanceled": Message.POSITION_CLOSED,
    "siblingFilledCanceled": Message.SIBLING_FILLED,
    "delistedCanceled": None,
    "liquidatedCanceled": Message.LIQUIDATED,
    "scheduledCancel": Message.SCHEDULED,
}
_REJECTED = {
    "rejected": Message.INVALID,
    "tickRejected": Message.INVALID,
    "minTradeNtlRejected": Message.BELOW_MINIMUM,
    "perpMarginRejected": Message.INSUFFICIENT_MARGIN,
    "reduceOnlyRejected": Message.REDUCE_ONLY,
    "badAloPxRejected": Message.POST_ONLY,
    "iocCancelRejected": Message.IOC,
    "badTriggerPxRejected": Message.INVALID,
    "marketOrderNoLiquidityRejected": Message.NO_LIQUIDITY,
    "positionIncreaseAtOpenInterestCapRejected": None,
    "positionFlipAtOpenInterestCapRejected": None,
    "tooAggressiveAtOpenInterestCapRejected": None,
    "openInterestIncreaseRejected": None,
    "insufficientSpotBalanceRejected": Message.INSUFFICIENT_MARGIN,
    "oracleRejected": None,
    "perpMaxPositionRejected": None,
}


class VenueStatus(NamedTuple):
    """What a status string says. `message` is None where `venues.orders.Message` has no word for the reason."""

    status: OrderStatus
    message: Message | None
    is_known: bool


STATUSES: dict[str, VenueStatus] = {
    **{text: VenueStatus(status, None, True) for text, status in _OPEN.items()},
    **{text: VenueStatus(OrderStatus.CANCELED, message, True) for text, message in _CANCELED.items()},
    **{text: VenueStatus(OrderStatus.REJECTED, message, True) for text, message in _REJECTED.items()},
}

_WRITTEN = {
    OrderStatus.SENT: "open",
    OrderStatus.ACCEPTED: "open",
    OrderStatus.PARTLY_FILLED: "open",
    OrderStatus.TRIGGERED: "triggered",
    OrderStatus.FILLED: "filled",
}
_CANCELED_WORDS = {
    Message.SELF_TRADE: "selfTradeCanceled",
    Message.SIBLING_FILLED: "siblingFilledCanceled",
    Message.POSITION_CLOSED: "reduceOnlyCanceled",
    Message.LIQUIDATED: "liquidatedCanceled",
    Message.SCHEDULED: "scheduledCancel",
    Message.INSUFFICIENT_MARGIN: "marginCanceled",
}
_REJECTED_WORDS = {
    Message.BELOW_MINIMUM: "minTradeNtlRejected",
    Message.INSUFFICIENT_MARGIN: "perpMarginRejected",
    Message.REDUCE_ONLY: "reduceOnlyRejected",
    Message.POST_ONLY: "badAloPxRejected",
    Message.IOC: "iocCancelRejected",
    Message.NO_LIQUIDITY: "marketOrderNoLiquidityRejected",
}


def parse_status(text: str, *, is_partly_filled: bool = False) -> VenueStatus:
    """Return what a status string says; `is_partly_filled`: the order's `sz` is below its `origSz`.

    >>> parse_status("badAloPxRejected").message, parse_status("solarFlareCanceled")
    (<Message.POST_ONLY: 'post only order would match'>, VenueStatus(status=<OrderStatus.CANCELED: 'canceled'>, \
message=None, is_known=False))
    """
    found = STATUSES.get(text)
    if found is None:
        if text.endswith("Rejected"):
            return VenueStatus(OrderStatus.REJECTED, None, False)
        if text.endswith(("Canceled", "Cancel")):
            return VenueStatus(OrderStatus.CANCELED, None, False)
        return VenueStatus(OrderStatus.UNKNOWN, None, False)
    if found.status is OrderStatus.ACCEPTED and is_partly_filled:
        return found._replace(status=OrderStatus.PARTLY_FILLED)
    return found


def format_status(status: OrderStatus, message: str = "", *, is_filled_in_part: bool = False) -> str:
    """Return the string the venue writes for an order of ours.

    `message` is why it ended (`venues.orders.Message`). An immediate order that found nothing is a rejection here
    ("iocCancelRejected"); one that filled in part and lost its rest is "canceled".

    >>> format_status(OrderStatus.CANCELED, Message.SIBLING_FILLED), format_status(OrderStatus.PARTLY_FILLED)
    ('siblingFilledCanceled', 'open')
    """
    if status is OrderStatus.CANCELED:
        if message in (Message.IOC, Message.NO_LIQUIDITY) and not is_filled_in_part:
            return _REJECTED_WORDS[Message(message)]
        return next((word for key, word in _CANCELED_WORDS.items() if key == message), "canceled")
    if status is OrderStatus.REJECTED:
        return next((word for key, word in _REJECTED_WORDS.items() if key == message), "rejected")
    written = _WRITTEN.get(status)
    if written is None:
        raise ValueError(f"status {status} is the client's own: a venue does not write it")
    return written
