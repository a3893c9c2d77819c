"""An order as the exchange machine holds it, and the closed set of what the exchange says about orders."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from market.events import OrderRequest, OrderType
from venues.lifecycle import DUPLICATE, OrderStatus

STOP_TYPES = (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
TOUCH_TYPES = (OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED)
TRIGGER_TYPES = STOP_TYPES + TOUCH_TYPES
LIMIT_TYPES = (OrderType.LIMIT, OrderType.TAKE_PROFIT_LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED)
PROTECTIVE_TYPES = (*TRIGGER_TYPES, OrderType.TAKE_PROFIT_LIMIT)


class Message(StrEnum):
    """Why an order was refused or ended. Simulators translate these into their venue's words."""

    # Refusals.
    DUPLICATE = DUPLICATE
    UNKNOWN_INSTRUMENT = "unknown instrument"
    INVALID = "invalid order"
    UNSUPPORTED = "order type not supported here"
    BELOW_MINIMUM = "below minimum size"
    INSUFFICIENT_MARGIN = "insufficient margin"
    REDUCE_ONLY = "reduce only order would increase position"
    POST_ONLY = "post only order would match"
    GROUP_INVALID = "invalid order group"
    NO_MARK = "no price known yet"
    NOT_OPEN = "never placed, already canceled, or filled"
    # Ends.
    REQUESTED = "requested"
    IOC = "ioc"
    NO_LIQUIDITY = "no liquidity"
    SELF_TRADE = "self trade"
    PARENT_CANCELED = "parent canceled"
    SIBLING_FILLED = "sibling filled"
    POSITION_CLOSED = "position closed"
    LIQUIDATED = "liquidated"
    SCHEDULED = "scheduled"


@dataclass(slots=True, eq=False)
class Order:
    """One order; mutated by the exchange only. `sequence` is its place in the order of arrival."""

    account_id: str
    request: OrderRequest  # as it came; what was modified since lies in the fields below
    sequence: int
    ts_accepted_ns: int
    qty_lots: int
    limit_px: float
    trigger_px: float
    status: OrderStatus = OrderStatus.SENT
    qty_filled_lots: int = 0
    is_armed: bool = True  # False: a child that waits for its parent's fill
    is_triggered: bool = False  # its trigger was touched: a limit order then goes on as one
    parent: "Order | None" = None
    children: list["Order"] = field(default_factory=list)

    @property
    def venue_order_id(self) -> str:
        """The exchange's id of this order."""
        return str(self.sequence)

    @property
    def qty_leaves_lots(self) -> int:
        """What may still fill; filled + leaves = ordered."""
        return self.qty_lots - self.qty_filled_lots

    @property
    def is_stop(self) -> bool:
        """Whether it waits for a trigger on the mark px."""
        return not self.is_triggered and self.request.order_type in TRIGGER_TYPES

    @property
    def is_limit(self) -> bool:
        """Whether it rests, or will rest once triggered, at its limit px."""
        return self.request.order_type in LIMIT_TYPES

    def is_touched(self, mark_px: float) -> bool:
        """Return whether a mark px triggers it: a stop that buys from above, one to take profit from below."""
        side = self.request.side if self.request.order_type in STOP_TYPES else -self.request.side
        return side * (mark_px - self.trigger_px) >= 0.0

    def report(self) -> "OrderReport":
        """Return what the venue says when asked about this order."""
        request = self.request
        return OrderReport(
            client_order_id=request.client_order_id,
            venue_order_id=self.venue_order_id,
            instrument_id=request.instrument_id,
            side=request.side,
            order_type=request.order_type,
            status=self.status,
            qty_lots=self.qty_lots,
            qty_filled_lots=self.qty_filled_lots,
            limit_px=self.limit_px,
            trigger_px=self.trigger_px,
            is_reduce_only=request.is_reduce_only,
            is_armed=self.is_armed,
            ts_accepted_ns=self.ts_accepted_ns,
            cause_id=request.cause_id,
        )


@dataclass(frozen=True, slots=True)
class OrderReport:
    """An order as the venue reports it when asked. Quantities in lots, prices quote, times UTC ns."""

    client_order_id: str
    venue_order_id: str
    instrument_id: str
    side: int
    order_type: OrderType
    status: OrderStatus
    qty_lots: int
    qty_filled_lots: int
    limit_px: float
    trigger_px: float
    is_reduce_only: bool
    is_armed: bool
    ts_accepted_ns: int
    cause_id: str

    @property
    def qty_leaves_lots(self) -> int:
        """What may still fill, 0 once the order has ended."""
        return self.qty_lots - self.qty_filled_lots if self.status.is_open else 0


def is_px(px: float) -> bool:
    """Return whether a number can be a price."""
    return math.isfinite(px) and px > 0.0


def is_well_formed(request: OrderRequest) -> bool:
    """Return whether a request's fields make sense by themselves, whatever the account holds."""
    if request.side not in (1, -1) or request.qty_lots <= 0 or not request.client_order_id:
        return False
    if request.order_type in LIMIT_TYPES and not is_px(request.limit_px):
        return False
    if request.order_type in TRIGGER_TYPES and not is_px(request.trigger_px):
        return False
    return request.order_type is not OrderType.TAKE_PROFIT_LIMIT or request.is_reduce_only


def is_group(entry: OrderRequest, children: Sequence[OrderRequest]) -> bool:
    """Return whether requests make an entry and what protects it: reduce-only children of the other side."""
    ids = {entry.client_order_id, *(child.client_order_id for child in children)}
    return (
        len(ids) == 1 + len(children)
        and not entry.is_reduce_only
        and entry.order_type not in PROTECTIVE_TYPES
        and all(
            child.order_type in PROTECTIVE_TYPES
            and child.is_reduce_only
            and child.side == -entry.side
            and child.instrument_id == entry.instrument_id
            for child in children
        )
    )
