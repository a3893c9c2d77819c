"""The Indexer's order statuses against `venues.lifecycle`, why orders end, and what a broadcast's code means.

BEST_EFFORT_* is one node's opinion: an order that is BEST_EFFORT_CANCELED may fill until its good-til-block is
committed, so it counts as open until then. Code 0 of a broadcast is an acknowledgement of CheckTx, no more.
"""

from decimal import Decimal
from enum import StrEnum

from msgspec import UNSET

from venues.dydx.chain_errors import SDK, ChainError, find_error
from venues.dydx.indexer_records import OrderRow
from venues.lifecycle import OrderStatus
from venues.orders import Message

UNTRIGGERED = "UNTRIGGERED"
BEST_EFFORT_OPENED = "BEST_EFFORT_OPENED"
OPEN = "OPEN"
FILLED = "FILLED"
BEST_EFFORT_CANCELED = "BEST_EFFORT_CANCELED"
CANCELED = "CANCELED"
PENDING = "PENDING"

STATUS_TABLE: dict[str, OrderStatus] = {
    PENDING: OrderStatus.ACCEPTED,
    UNTRIGGERED: OrderStatus.ACCEPTED,
    BEST_EFFORT_OPENED: OrderStatus.ACCEPTED,
    OPEN: OrderStatus.ACCEPTED,
    FILLED: OrderStatus.FILLED,
    BEST_EFFORT_CANCELED: OrderStatus.ACCEPTED,  # until its good-til-block has passed
    CANCELED: OrderStatus.CANCELED,
}

REMOVAL_PREFIX = "ORDER_REMOVAL_REASON_"

# Why the exchange machine ended an order -> the venue's word.
REMOVAL_REASONS: dict[str, str] = {
    Message.REQUESTED: "USER_CANCELED",
    Message.SCHEDULED: "EXPIRED",
    Message.INSUFFICIENT_MARGIN: "UNDERCOLLATERALIZED",
    Message.SELF_TRADE: "SELF_TRADE_ERROR",
    Message.POST_ONLY: "POST_ONLY_WOULD_CROSS_MAKER_ORDER",
    Message.IOC: "IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK",
    Message.NO_LIQUIDITY: "IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK",
    Message.REDUCE_ONLY: "REDUCE_ONLY_RESIZE",
    Message.POSITION_CLOSED: "REDUCE_ONLY_RESIZE",
    Message.LIQUIDATED: "UNDERCOLLATERALIZED",
}

KNOWN_REMOVALS = frozenset(
    {
        *REMOVAL_REASONS.values(),
        "INTERNAL_ERROR",
        "FOK_ORDER_COULD_NOT_BE_FULLY_FULLED",
        "INDEXER_EXPIRED",
        "REPLACED",
        "FULLY_FILLED",
        "EQUITY_TIER",
        "FINAL_SETTLEMENT",
        "VIOLATES_ISOLATED_SUBACCOUNT_CONSTRAINTS",
    }
)


class UnknownStatus(str):
    """A status string this code has never seen: treat the order as open and ask again."""

    __slots__ = ()


def read_status(row: OrderRow, height: int = 0) -> OrderStatus | UnknownStatus:
    """Return an order's status, given the chain's height (0: not known, so nothing has expired).

    Partly filled and open is PARTLY_FILLED; BEST_EFFORT_CANCELED is CANCELED once height exceeds the good-til-block.

    >>> str(read_status(OrderRow("x", status="BEST_EFFORT_CANCELED", good_til_block="20"), 21))
    'canceled'
    """
    status = row.status or ""
    known = STATUS_TABLE.get(status)
    if known is None:
        return UnknownStatus(status)
    good_til = row.good_til_block
    if status == BEST_EFFORT_CANCELED and good_til and good_til.isdecimal() and height > int(good_til):
        return OrderStatus.CANCELED
    filled = max(_number(row.total_filled), _number(row.total_optimistic_filled))
    if known is OrderStatus.ACCEPTED and filled > 0:
        return OrderStatus.PARTLY_FILLED
    return known


def _number(value: object) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(0)


def write_status(status: OrderStatus, *, is_waiting_for_trigger: bool = False, is_committed: bool = True) -> str:
    """Return the Indexer's word; not committed: what one node thinks before the block.

    Raises: ValueError for a status no venue shows (sent, unknown, rejected: such orders are not there).
    """
    match status:
        case OrderStatus.ACCEPTED | OrderStatus.PARTLY_FILLED | OrderStatus.TRIGGERED:
            if is_waiting_for_trigger and status is OrderStatus.ACCEPTED:
                return UNTRIGGERED
            return OPEN if is_committed else BEST_EFFORT_OPENED
        case OrderStatus.FILLED:
            return FILLED
        case OrderStatus.CANCELED:
            return CANCELED if is_committed else BEST_EFFORT_CANCELED
        case _:
            raise ValueError(f"an order that is {status} is not known to the Indexer: answer 404")


def write_removal(message: str) -> str:
    """Return the removal reason for why the exchange ended an order; INTERNAL_ERROR for what the venue has no word for.

    >>> write_removal("self trade")
    'ORDER_REMOVAL_REASON_SELF_TRADE_ERROR'
    """
    return REMOVAL_PREFIX + REMOVAL_REASONS.get(message, "INTERNAL_ERROR")


def read_removal(row: OrderRow) -> str | None:
    """Return the removal reason without its prefix, also one never seen before; None if the order was not removed."""
    if row.removal_reason is UNSET or not row.removal_reason:
        return None
    return row.removal_reason.removeprefix(REMOVAL_PREFIX)


class BroadcastOutcome(StrEnum):
    """What a client does after a broadcast."""

    ACKNOWLEDGED = "acknowledged"  # CheckTx passed: it may rest, fill, or vanish until its good-til
    REFUSED = "refused"  # not there, never was
    ALREADY_DONE = "already_done"  # a repeat, or a cancel of what is gone: verify, do not alarm
    RESYNC = "resync"  # sequence trouble: read the account again, then once more
    BACK_OFF = "back_off"  # too many: wait for blocks to pass
    UNKNOWN = "unknown"  # a code nobody knew: ask by order id


_OUTCOMES: dict[ChainError, BroadcastOutcome] = {
    ChainError.TX_IN_MEMPOOL: BroadcastOutcome.ALREADY_DONE,
    ChainError.CANCEL_ALREADY_EXISTS: BroadcastOutcome.ALREADY_DONE,
    ChainError.STATEFUL_CANCEL_EXISTS: BroadcastOutcome.ALREADY_DONE,
    ChainError.STATEFUL_UNKNOWN: BroadcastOutcome.ALREADY_DONE,
    ChainError.STATEFUL_CANCEL_OF_REMOVED: BroadcastOutcome.ALREADY_DONE,
    ChainError.WRONG_SEQUENCE: BroadcastOutcome.RESYNC,
    ChainError.AUTHENTICATOR_ALL_OF: BroadcastOutcome.RESYNC,
    ChainError.MEMPOOL_FULL: BroadcastOutcome.BACK_OFF,
    ChainError.BLOCK_RATE_LIMIT: BroadcastOutcome.BACK_OFF,
    ChainError.CLOB_NOT_INITIALIZED: BroadcastOutcome.BACK_OFF,
}


def read_broadcast(codespace: str, code: int) -> BroadcastOutcome:
    """Return what a broadcast's code means for the client.

    >>> str(read_broadcast("clob", 3006)), str(read_broadcast("", 0))
    ('already_done', 'acknowledged')
    """
    if code == 0:
        return BroadcastOutcome.ACKNOWLEDGED
    error = find_error(codespace or SDK, code)
    if error is None:
        return BroadcastOutcome.UNKNOWN
    return _OUTCOMES.get(error, BroadcastOutcome.REFUSED)
