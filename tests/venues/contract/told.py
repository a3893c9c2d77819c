"""What a client told, run through the lifecycle's table: each thing once, in an order that can happen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from market.events import (
    CancelRejected,
    Fill,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderRequest,
    OrderTriggered,
    VenueEvent,
)
from venues.lifecycle import OrderStatus, apply_step, get_step

_ONCE = (OrderAccepted, OrderRejected, OrderCanceled)


@dataclass
class ToldOrder:
    """One order as the events make it out to be."""

    request: OrderRequest
    qty_lots: int
    limit_px: float
    trigger_px: float
    filled_lots: int = 0
    status: OrderStatus = OrderStatus.SENT
    events: list[VenueEvent] = field(default_factory=list)

    def hear(self, event: Any) -> None:
        """Take one event. Raises ProtocolError for one that cannot follow."""
        if isinstance(event, _ONCE):
            again = [one for one in self.events if type(one) is type(event)]
            is_other = isinstance(event, OrderRejected) and event.message == "duplicate client order id"
            assert not again or is_other, f"told twice: {event}, after {self.events}"
        if isinstance(event, OrderTriggered):
            assert event not in self.events, f"told twice: {event}"
        if isinstance(event, Fill):
            self.filled_lots += event.fill_qty_lots
        if isinstance(event, OrderModified):
            self.qty_lots, self.limit_px, self.trigger_px = event.qty_lots, event.limit_px, event.trigger_px
        leaves_lots = self.qty_lots - self.filled_lots
        assert leaves_lots >= 0, f"{event} fills more than was ordered: {self.events}"
        step = get_step(event, leaves_lots)
        assert step is not None
        self.status = apply_step(self.status, step)
        self.events.append(event)


class Told:
    """Everything one client told, in the order it told it."""

    def __init__(self) -> None:
        self.events: list[VenueEvent] = []
        self.requests: dict[str, OrderRequest] = {}

    def expect(self, requests: Iterable[OrderRequest]) -> None:
        """Say what was sent."""
        for request in requests:
            self.requests.setdefault(request.client_order_id, request)

    @property
    def fills(self) -> list[Fill]:
        """The fills told."""
        return [event for event in self.events if isinstance(event, Fill)]

    @property
    def fundings(self) -> list[FundingPaid]:
        """The funding told."""
        return [event for event in self.events if isinstance(event, FundingPaid)]

    def of(self, request: OrderRequest, kind: type | None = None) -> list[Any]:
        """Return what was told of an order, of one kind if said."""
        return [
            event
            for event in self.events
            if getattr(event, "client_order_id", None) == request.client_order_id
            and (kind is None or isinstance(event, kind))
        ]

    def run(self) -> dict[str, ToldOrder]:
        """Run all events through the table and return what they make of the orders."""
        orders = {
            name: ToldOrder(one, one.qty_lots, one.limit_px, one.trigger_px) for name, one in self.requests.items()
        }
        trade_ids = [fill.trade_id for fill in self.fills]
        assert len(set(trade_ids)) == len(trade_ids), f"a fill was told twice: {trade_ids}"
        for event in self.events:
            if isinstance(event, FundingPaid):
                continue
            if isinstance(event, CancelRejected) and event.client_order_id not in orders:
                continue  # of an order that never was
            assert event.client_order_id in orders, f"{event} is of an order that was never sent"
            orders[event.client_order_id].hear(event)
        return orders

    def statuses(self, requests: Sequence[OrderRequest]) -> list[OrderStatus]:
        """Return what became of some orders."""
        orders = self.run()
        return [orders[request.client_order_id].status for request in requests]
