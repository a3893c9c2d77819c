"""Our orders and their legs as records, and the Indexer's rows of them read into our vocabulary. Pure."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

import msgspec

from market.events import Fill, FillKind, OrderRequest, OrderType, VenueEvent
from market.instruments import Instrument
from venues.dydx.indexer import read_time
from venues.dydx.indexer_records import FillRow, OrderRow
from venues.dydx.lifecycle import UnknownStatus, read_status
from venues.dydx.order_terms import Order
from venues.dydx.units import ClobUnits, size_to_lots, subticks_to_float_px
from venues.lifecycle import OrderStatus
from venues.orders import PROTECTIVE_TYPES, OrderReport

_TYPES = {
    "STOP_LIMIT": OrderType.STOP_MARKET,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT": OrderType.TAKE_PROFIT_LIMIT,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_LIMIT,
}
PRICED_TYPES = (OrderType.LIMIT, OrderType.TAKE_PROFIT_LIMIT)  # whose limit is ours, not a worst price


class LegState(StrEnum):
    """Where one order of the chain is."""

    SENT = "sent"  # nothing was seen of it
    LIVE = "live"
    ENDING = "ending"  # a node said it is gone; it may fill until its good-til-block
    ENDED = "ended"
    REFUSED = "refused"  # never was there


@dataclass(slots=True, eq=False)
class Leg:
    """One order of the chain that carries out one of ours."""

    chain: Order
    uuid: str
    qty_lots: int
    limit_px: float
    trigger_px: float
    generation: int = 0  # 0: the order as it was sent first
    state: LegState = LegState.SENT
    is_sending: bool = True  # not sent yet, or not for the last time: nothing is too late for it
    nonce_ms: int = 0  # of its transaction, 0: not sent yet
    row: OrderRow | None = None
    filled_lots: int = 0  # by fills heard
    reason: str = ""
    is_triggered: bool = False
    ts_cancel_ns: int = 0  # when its cancel was last sent
    ts_ask_ns: int = 0
    replaced: Order | None = None  # a short-term order's terms before the replacement under way
    replaced_lots: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing can come of it any more."""
        return self.state in (LegState.ENDED, LegState.REFUSED)

    @property
    def row_filled_lots(self) -> Decimal:
        """What its row says was filled [base]."""
        filled = self.row.total_filled if self.row is not None else None
        return filled if isinstance(filled, Decimal) else Decimal(0)


@dataclass(slots=True, eq=False)
class OurOrder:
    """One order of ours and its legs, the newest last."""

    request: OrderRequest
    legs: list[Leg]
    qty_lots: int
    limit_px: float
    trigger_px: float
    status: OrderStatus = OrderStatus.SENT
    ts_accepted_ns: int = 0
    end_message: str = ""  # why we ended it, "" where we did not
    is_cancel_wanted: bool = False
    is_ready_to_end: bool = False  # all legs are over; told by the plan unless a new leg is armed
    is_replacing: bool = False  # canceled to be placed anew: its end is not told
    is_modifying: bool = False  # somebody waits for the answer to a modify
    is_terms_due: bool = False  # the newest leg's terms will be told once it is seen
    rearmed: int = 0
    ts_rearm_ns: int = 0
    untold: list[VenueEvent] = field(default_factory=list)  # of before this life, until it is resolved
    generation: int = 0

    @property
    def client_order_id(self) -> str:
        """Our id."""
        return self.request.client_order_id

    @property
    def leg(self) -> Leg:
        """The newest leg."""
        return self.legs[-1]

    @property
    def qty_filled_lots(self) -> int:
        """What was filled, over all legs."""
        return sum(leg.filled_lots for leg in self.legs)

    @property
    def qty_leaves_lots(self) -> int:
        """What may still fill."""
        return max(0, self.qty_lots - self.qty_filled_lots)

    @property
    def is_protective(self) -> bool:
        """Whether it is a conditional order that closes a position."""
        return self.request.order_type in PROTECTIVE_TYPES and self.request.is_reduce_only

    @property
    def is_fleeting(self) -> bool:
        """Whether it never rests, so that there is nothing to change."""
        return self.leg.chain.is_immediate and not self.is_protective

    @property
    def is_heard(self) -> bool:
        """Whether its outcome is known: accepted, refused or ended."""
        return self.status not in (OrderStatus.SENT, OrderStatus.UNKNOWN)

    @property
    def venue_order_id(self) -> str:
        """The Indexer's id of what carries it out now."""
        return self.leg.uuid


@dataclass(frozen=True, slots=True)
class Contract:
    """One market: our instrument and the chain's units of it."""

    instrument: Instrument
    units: ClobUnits


@dataclass(frozen=True, slots=True)
class PlaceLeg:
    """Send a leg."""

    order: OurOrder
    leg: Leg


@dataclass(frozen=True, slots=True)
class CancelLeg:
    """Send the cancel of a leg."""

    order: OurOrder
    leg: Leg


@dataclass(frozen=True, slots=True)
class AskOrder:
    """Ask the Indexer for an order by its uuid, and for the newest fills."""

    uuid: str


Effect = PlaceLeg | CancelLeg | AskOrder


def read_fill(row: FillRow, order: OurOrder | None, instrument: Instrument) -> Fill:
    """Return our event of a fill row; `order` None: none of ours."""
    kinds = {OrderType.STOP_MARKET: FillKind.STOP, OrderType.TAKE_PROFIT_LIMIT: FillKind.TAKE_PROFIT}
    kind = kinds.get(order.request.order_type, FillKind.ORDER) if order else FillKind.ORDER
    if order is None and row.type == "LIQUIDATED":
        kind = FillKind.LIQUIDATION
    return Fill(
        client_order_id=order.client_order_id if order else "",
        venue_order_id=row.order_id if isinstance(row.order_id, str) else "",
        trade_id=row.id,
        instrument_id=instrument.instrument_id,
        side=1 if row.side == "BUY" else -1,
        fill_px=float(row.price),
        fill_qty_lots=size_to_lots(instrument, row.size),
        fee_quote=float(row.fee) if isinstance(row.fee, Decimal) else 0.0,
        is_maker=row.liquidity == "MAKER",
        kind=kind.value,
        ts_event_ns=read_time(row.created_at),
        cause_id=order.request.cause_id if order else "",
    )


def read_report(row: OrderRow, order: OurOrder | None, instrument: Instrument, height: int) -> OrderReport | None:
    """Return the report of an order row; None: of a status not known here."""
    status = read_status(row, height)
    if isinstance(status, UnknownStatus) or not isinstance(row.size, Decimal):
        return None
    filled = row.total_filled if isinstance(row.total_filled, Decimal) else Decimal(0)
    kind = order.request.order_type if order else _TYPES.get(str(row.type), OrderType.LIMIT)
    is_priced = kind in PRICED_TYPES
    before_lots = sum(leg.filled_lots for leg in order.legs if leg.uuid != row.id) if order else 0
    return OrderReport(
        client_order_id=order.client_order_id if order else "",
        venue_order_id=row.id,
        instrument_id=instrument.instrument_id,
        side=1 if row.side == "BUY" else -1,
        order_type=kind,
        status=status,
        qty_lots=size_to_lots(instrument, row.size) + before_lots,
        qty_filled_lots=size_to_lots(instrument, filled) + before_lots,
        limit_px=float(row.price) if is_priced and isinstance(row.price, Decimal) else 0.0,
        trigger_px=float(row.trigger_price)
        if kind is OrderType.STOP_MARKET and isinstance(row.trigger_price, Decimal)
        else 0.0,
        is_reduce_only=row.reduce_only is True,
        is_armed=True,
        ts_accepted_ns=order.ts_accepted_ns if order and order.ts_accepted_ns else read_ts(row, 0),
        cause_id=order.request.cause_id if order else "",
    )


def read_pxs(chain: Order, order_type: OrderType, units: ClobUnits) -> tuple[float, float]:
    """Return limit and trigger as rounded to the venue's ticks and sent; 0.0 for what orders of this type do not have.

    Raises: ValueError if they have more digits than a float64 holds.
    """
    limit_px = subticks_to_float_px(units, chain.subticks) if order_type in PRICED_TYPES else 0.0
    is_stop = order_type is OrderType.STOP_MARKET
    return limit_px, subticks_to_float_px(units, chain.trigger_subticks) if is_stop else 0.0


def name_generation(client_order_id: str, generation: int) -> str:
    """Return the name whose hash is the client id of a generation of one order of ours."""
    return client_order_id if generation == 0 else f"{client_order_id}#{generation}"


def replace_client_id(chain: Order, client_id: int) -> Order:
    """Return the chain's order under another client id."""
    old = chain.order_id
    order_id = type(old)(old.subaccount, client_id, old.order_flags, old.clob_pair_id)
    return msgspec.structs.replace(chain, order_id=order_id)


def with_terms(order: OurOrder, qty_lots: int, limit_px: float, trigger_px: float) -> OrderRequest:
    """Return the request of an order's newest generation."""
    request = order.request
    return OrderRequest(
        name_generation(request.client_order_id, order.generation),
        request.instrument_id,
        request.side,
        qty_lots,
        request.order_type,
        limit_px,
        trigger_px,
        request.time_in_force,
        request.is_reduce_only,
        request.cause_id,
    )


def read_ts(row: OrderRow, default_ns: int) -> int:
    """Return when a row was updated, the default if it does not say."""
    return read_time(row.updated_at) if isinstance(row.updated_at, str) else default_ns


def is_older(update: OrderRow, known: OrderRow) -> bool:
    """Return whether an update is older than what is known: REST may answer with less than the socket has told."""
    new, old = update.updated_at_height, known.updated_at_height
    if isinstance(new, str) and isinstance(old, str) and new.isdecimal() and old.isdecimal():
        if int(new) != int(old):
            return int(new) < int(old)
        if isinstance(update.updated_at, str) and isinstance(known.updated_at, str):
            return update.updated_at < known.updated_at
    return False
