"""One order as the client holds it, and the venue's rows about orders read into the client's own records. Sans-IO."""

from dataclasses import dataclass, field
from typing import NamedTuple

from market.events import Fill, FillKind, OrderRequest, OrderType
from market.records import NS_PER_MS
from venues.hyperliquid import info_replies, rules
from venues.hyperliquid.lifecycle import VenueStatus, parse_status
from venues.lifecycle import OrderStatus
from venues.orders import OrderReport


class Terms(NamedTuple):
    """What an order is to become; `qty_lots` is the whole, what is filled included."""

    qty_lots: int
    limit_px: float
    trigger_px: float


class Row(NamedTuple):
    """What the venue says of one oid."""

    oid: int
    lots: int  # of this oid
    left_lots: int
    limit_px: float
    trigger_px: float | None  # None: not said
    status: VenueStatus
    ts_ms: int


@dataclass(slots=True, eq=False)
class OwnOrder:
    """One order of ours; changed by `OwnOrders` only."""

    request: OrderRequest
    asset: rules.Asset
    terms: Terms
    expires_ms: int  # venue time after which it can no longer arrive
    parent: "OwnOrder | None" = None
    children: list["OwnOrder"] = field(default_factory=list)
    status: OrderStatus = OrderStatus.SENT
    oid: int = 0  # 0: not heard yet
    old_oids: set[int] = field(default_factory=set)
    fills_lots: dict[int, int] = field(default_factory=dict)  # by oid
    venue_lots: int = 0  # size of the present oid
    expected_lots: int = 0  # filled, as the venue counts
    is_counted: bool = False  # the venue has said how much has filled in the end
    is_accepted_told: bool = False
    is_triggered_told: bool = False
    is_cancel_sent: bool = False
    end: tuple[OrderStatus, str, int] | None = None  # status, message, time [ms]
    is_end_told: bool = False
    wanted: Terms | None = None  # a modify is on its way
    held: Row | None = None  # the end of the oid that a modify on its way may have replaced
    is_lost: bool = False  # went with its parent, not yet placed again
    is_protect_due: bool = False
    is_alone: bool = False  # placed again: the venue does not know its siblings
    protects: int = 0
    is_placing: bool = False  # again, just now

    @property
    def order_id(self) -> str:
        """The client order id, which is the cloid."""
        return self.request.client_order_id

    @property
    def filled_lots(self) -> int:
        """What has filled, as told."""
        return sum(self.fills_lots.values())

    @property
    def base_lots(self) -> int:
        """What has filled under oids before the present one."""
        return sum(lots for oid, lots in self.fills_lots.items() if oid in self.old_oids)

    @property
    def is_unheard(self) -> bool:
        """Whether nobody knows if the venue has it."""
        return self.status in (OrderStatus.SENT, OrderStatus.UNKNOWN)

    @property
    def is_open(self) -> bool:
        """Whether it may rest at the venue."""
        return self.end is None and self.status.is_open

    @property
    def is_armed(self) -> bool:
        """Whether it waits for no parent."""
        return self.parent is None or self.parent.filled_lots >= self.parent.terms.qty_lots or self.is_alone


def read_row(asset: rules.Asset, found: info_replies.OrderRow) -> Row:
    """Return what an order's whole row says."""
    order = found.order
    lots, left_lots = rules.read_lots(asset, order.orig_sz), rules.read_lots(asset, order.sz)
    status = parse_status(found.status, is_partly_filled=left_lots < lots)
    trigger_px = float(order.trigger_px) if order.is_trigger else 0.0
    return Row(order.oid, lots, left_lots, float(order.limit_px), trigger_px, status, found.status_timestamp)


def write_fill(asset: rules.Asset, row: info_replies.Fill, kind: FillKind, cause_id: str = "") -> Fill:
    """Return a fill of the wire as an event; the id of an order that has none is ""."""
    return Fill(
        row.cloid.lower() if isinstance(row.cloid, str) else "",
        str(row.oid),
        find_trade_id(row),
        asset.instrument.instrument_id,
        1 if row.side == "B" else -1,
        float(row.px),
        rules.read_lots(asset, row.sz),
        float(row.fee),
        not row.crossed,
        kind.value,
        row.time * NS_PER_MS,
        cause_id,
    )


def find_trade_id(row: info_replies.Fill) -> str:
    """Return what tells a fill from others."""
    # Rows of 2023 have no tid: their place in the position's history stands for it.
    return str(row.tid) if isinstance(row.tid, int) else f"{row.hash}:{row.oid}:{row.start_position}:{row.sz}"


def write_report(
    asset: rules.Asset, found: info_replies.OrderRow, request: OrderRequest | None, base_lots: int, *, is_armed: bool
) -> OrderReport:
    """Return an order as the port reports it; `request` is ours if we know it, `base_lots` filled under older oids."""
    order, row = found.order, read_row(asset, found)
    kind = request.order_type if request is not None else _read_type(order.order_type)
    has_limit = kind in (OrderType.LIMIT, OrderType.TAKE_PROFIT_LIMIT)
    return OrderReport(
        client_order_id=order.cloid.lower() if isinstance(order.cloid, str) else "",
        venue_order_id=str(order.oid),
        instrument_id=asset.instrument.instrument_id,
        side=1 if order.side == "B" else -1,
        order_type=kind,
        status=row.status.status,
        qty_lots=base_lots + row.lots,
        qty_filled_lots=base_lots + row.lots - row.left_lots,
        limit_px=row.limit_px if has_limit else 0.0,
        trigger_px=(row.trigger_px or 0.0) if kind is OrderType.STOP_MARKET else 0.0,
        is_reduce_only=order.reduce_only,
        is_armed=is_armed,
        ts_accepted_ns=order.timestamp * NS_PER_MS,
        cause_id="" if request is None else request.cause_id,
    )


def _read_type(text: str) -> OrderType:
    if text.startswith("Stop"):
        return OrderType.STOP_MARKET
    return OrderType.TAKE_PROFIT_LIMIT if text.startswith("Take Profit") else OrderType.LIMIT
