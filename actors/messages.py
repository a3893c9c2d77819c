"""What the actors say to each other, what machines ask their shells to do, and the bytes of both.

Every message is a frozen struct tagged with its type's name. Within one interval the actors speak in this order:
`BarsClosed` (feed) -> `AccountUpdate` (executor) -> `Decisions` (strategists) -> `Approvals` (governor). Each of the
four carries the close it belongs to, which is its watermark: no machine takes a step for a close before it holds
every message of that close that the step depends on. An unknown position is never traded on.
"""

from enum import StrEnum
from typing import Union

import msgspec

from market.events import (
    BarsClosed,
    CancelRejected,
    Event,
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
from market.records import Intent


class Severity(StrEnum):
    """How loud an alert is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class OrderPart(StrEnum):
    """Which part of an intent an order is."""

    REDUCE = "reduce"
    ENTRY = "entry"
    STOP = "stop"
    TAKE_PROFIT = "take_profit"
    NONE = "none"  # funding, liquidation, orders of nobody


class Booked(Event, frozen=True):
    """A venue event, the slot and the part of the intent it belongs to; slot -1: nobody's."""

    slot: int
    part: OrderPart
    event: VenueEvent


class Protection(Event, frozen=True):
    """What rests at the venue to protect a slot's position; 0.0: nothing."""

    slot: int
    stop_px: float
    take_profit_px: float


class AccountUpdate(Event, frozen=True):
    """Everything one venue did up to a close; its account is known up to there. `account`: its place in the plan."""

    ts_close_ns: int
    booked: tuple[Booked, ...]
    protections: tuple[Protection, ...]  # of every slot with a position
    cause_id: str = ""
    account: int = 0


class SlotIntent(Event, frozen=True):
    """One slot's wish at one close. Leg ids derive from `intent_id`."""

    slot: int
    intent_id: str
    intent: Intent


class StopWish(Event, frozen=True):
    """A tighter stop for an open position."""

    slot: int
    stop_px: float


class Decisions(Event, frozen=True):
    """All that one strategist wants at one close; empty when it wants nothing."""

    strategy: int
    ts_close_ns: int
    intents: tuple[SlotIntent, ...]
    stop_wishes: tuple[StopWish, ...]
    cause_id: str = ""


class OrderApproved(Event, frozen=True):
    """One leg that risk allows, bound to exactly these fields by `digest`."""

    intent_id: str
    leg: int  # 0 reduces, 1 enters
    slot: int
    instrument_id: str
    side: int
    qty_lots: int
    stop_px: float  # 0.0: none
    take_profit_px: float  # 0.0: none
    reason: int
    epoch: int
    ts_expiry_ns: int
    digest: str
    cause_id: str


class StopMoveApproved(Event, frozen=True):
    """A tighter stop that risk allows."""

    slot: int
    stop_px: float
    epoch: int


class Approvals(Event, frozen=True):
    """All that the governor allows at one close; empty when nothing. The venue may go on after it."""

    ts_close_ns: int
    orders: tuple[OrderApproved, ...]
    stop_moves: tuple[StopMoveApproved, ...]
    cause_id: str = ""


class VenueReported(Event, frozen=True):
    """What the venue told, asked or not; `ts_close_ns` > 0: it is done with the bars of that close.

    `positions` are the venue's own (instrument_id, qty_lots) after the bars, for reconciliation. Of the orders in
    `unknown_ids` nobody knows what became (time-out, 5xx, cut connection). `ts_heard_ns`: when, at a venue in real
    time; 0: the venue's time is that of the bars.
    """

    events: tuple[VenueEvent, ...]
    ts_close_ns: int = 0
    positions: tuple[tuple[str, int], ...] = ()
    unknown_ids: tuple[str, ...] = ()
    ts_heard_ns: int = 0
    cause_id: str = ""


class VenueHealth(Event, frozen=True):
    """Why nothing new may be opened at a venue now, one line each; empty: all is well again."""

    reasons: tuple[str, ...]
    ts_heard_ns: int
    cause_id: str = ""


class Tick(Event, frozen=True):
    """Time has passed; `ts_heard_ns` says to when, where time is real."""

    cause_id: str = ""
    ts_heard_ns: int = 0


class SlotDecided(Event, frozen=True):
    """For the ledger: an intent and what the governor made of it. `denial` and `reason` are Reason values."""

    ts_close_ns: int
    slot: int
    intent_id: str
    reason: int
    denial: int
    entry_lots: int
    reduce_lots: int
    reduce_reason: int
    stop_px: float
    take_profit_px: float
    cause_id: str


class StopMoved(Event, frozen=True):
    """For the ledger: a stop was tightened."""

    ts_close_ns: int
    slot: int
    stop_px: float
    cause_id: str = ""


class EquityMarked(Event, frozen=True):
    """For the ledger and the live table: the account at one close [quote]."""

    ts_close_ns: int
    equity_quote: float
    cash_quote: float
    latch: int
    denials_total: int
    cause_id: str = ""


class Alert(Event, frozen=True):
    """Something a person should know. Alerts with one `key` are one matter."""

    severity: Severity
    key: str
    text: str
    ts_event_ns: int
    cause_id: str = ""


class Send(Event, frozen=True):
    """Instruction: put `message` on the lanes to the named actors."""

    to: tuple[str, ...]
    message: "Message"


class Record(Event, frozen=True):
    """Instruction: have the ledger write `message`; `is_awaited`: durably, before the next instruction."""

    message: "Message"
    is_awaited: bool = False


Message = Union[  # noqa: UP007 - a quoted forward reference needs the name at run time
    BarsClosed,
    AccountUpdate,
    Decisions,
    Approvals,
    VenueReported,
    VenueHealth,
    Tick,
    SlotDecided,
    StopMoved,
    EquityMarked,
    Alert,
    OrderRequest,
    OrderAccepted,
    OrderRejected,
    OrderCanceled,
    OrderTriggered,
    OrderModified,
    CancelRejected,
    Fill,
    FundingPaid,
]
Instruction = Send | Record


def get_ts_known_ns(message: Message) -> int:
    """Return the time up to which a message shows the account to be known; 0 if it shows nothing of it.

    It is the clock of the machines: the close that a message belongs to, or when it was heard from a venue in real
    time. Bars do not move it: they may be far ahead of the account, and an approval must not expire because the feed
    is fast.
    """
    if isinstance(message, BarsClosed):
        return 0
    return max(getattr(message, "ts_close_ns", 0), getattr(message, "ts_heard_ns", 0))


_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    return _ENCODER.encode(message)


def decode(payload: bytes) -> Message:
    """Return the message of `payload`; raises ValueError when it is none of ours."""
    try:
        return _DECODER.decode(payload)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a message of this system: {error}") from error
