"""What venues are asked and what they answer, in one vocabulary for every venue and for the exchange machine.

All are frozen structs that carry their type's name, so that a codec can tell them apart and refuses wrong fields.
`cause_id` is the id of the intent that began the story ("" where nobody's intent did), so that one order's whole life
can be told from the journal. Times are UTC ns, prices quote currency per base, quantities lots.
"""

from enum import IntEnum, StrEnum

import msgspec

from market.records import Bar


class Event(msgspec.Struct, frozen=True, tag=True):
    """Base of everything that is sent between machines or written to the journal."""


class OrderType(StrEnum):
    """How an order finds its price."""

    MARKET = "market"
    LIMIT = "limit"
    STOP_MARKET = "stop_market"  # trigger on mark px against the position, then market
    STOP_LIMIT = "stop_limit"  # the same trigger, then a limit order at `limit_px`
    MARKET_IF_TOUCHED = "market_if_touched"  # trigger on mark px in favour of the position, then market
    LIMIT_IF_TOUCHED = "limit_if_touched"  # the same trigger, then a limit order at `limit_px`
    TAKE_PROFIT_LIMIT = "take_profit_limit"  # a reduce-only limit resting at its price


class TimeInForce(StrEnum):
    """How long an order lives."""

    GTC = "gtc"
    IOC = "ioc"
    POST_ONLY = "post_only"


class OrderRequest(Event, frozen=True):
    """One order as sent to a venue. `trigger_px` for what waits for one, `limit_px` for limits; 0.0 where not used."""

    client_order_id: str
    instrument_id: str
    side: int
    qty_lots: int  # > 0
    order_type: OrderType
    limit_px: float = 0.0
    trigger_px: float = 0.0
    time_in_force: TimeInForce = TimeInForce.GTC
    is_reduce_only: bool = False
    cause_id: str = ""


class OrderAccepted(Event, frozen=True):
    """The venue holds the order (resting, waiting for its trigger, or about to fill)."""

    client_order_id: str
    venue_order_id: str
    ts_event_ns: int
    cause_id: str = ""


class OrderRejected(Event, frozen=True):
    """The venue refused the order; it never rested."""

    client_order_id: str
    message: str
    ts_event_ns: int
    cause_id: str = ""


class OrderCanceled(Event, frozen=True):
    """What was left of the order is gone."""

    client_order_id: str
    venue_order_id: str
    message: str  # "requested", "parent canceled", "sibling filled", "position closed", "ioc", ...
    ts_event_ns: int
    cause_id: str = ""


class OrderTriggered(Event, frozen=True):
    """An order's trigger was touched; from here on it is a market or limit order."""

    client_order_id: str
    venue_order_id: str
    ts_event_ns: int
    cause_id: str = ""


class CancelRejected(Event, frozen=True):
    """The venue refused to cancel or modify (unknown, already filled or canceled)."""

    client_order_id: str
    message: str
    ts_event_ns: int
    cause_id: str = ""


class OrderModified(Event, frozen=True):
    """A resting order has new terms."""

    client_order_id: str
    venue_order_id: str
    qty_lots: int
    limit_px: float
    trigger_px: float
    ts_event_ns: int
    cause_id: str = ""


class FillKind(IntEnum):
    """What filled: needed to say why a trade ended."""

    ORDER = 0
    STOP = 1
    TAKE_PROFIT = 2
    LIQUIDATION = 3


class Fill(Event, frozen=True):
    """One execution of ours. `trade_id` is the venue's, unique per account: the key of deduplication."""

    client_order_id: str
    venue_order_id: str
    trade_id: str
    instrument_id: str
    side: int
    fill_px: float
    fill_qty_lots: int  # > 0
    fee_quote: float  # > 0 we pay
    is_maker: bool
    kind: int  # FillKind
    ts_event_ns: int
    cause_id: str = ""


class FundingPaid(Event, frozen=True):
    """Funding settled on a position; `amount_quote` > 0 we received."""

    instrument_id: str
    qty_lots: int
    funding_rate: float
    index_px: float
    amount_quote: float
    ts_event_ns: int
    cause_id: str = ""


VenueEvent = (
    OrderAccepted | OrderRejected | OrderCanceled | OrderTriggered | OrderModified | CancelRejected | Fill | FundingPaid
)


class BarsClosed(Event, frozen=True):
    """The bars of a group of instruments for one interval, in the group's order; published at their close.

    `is_history`: they closed before anyone could act on them. They are observed, nothing is decided on them.
    """

    ts_close_ns: int
    bars: tuple[Bar, ...]
    cause_id: str = ""
    is_history: bool = False
