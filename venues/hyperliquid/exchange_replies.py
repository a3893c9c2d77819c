"""What /exchange answers: statuses per order, or one refusal of the whole action; and the venue's words for both.

HTTP status is 200 for all of these. A client maps statuses to its requests by place with `spread_statuses`; a status
it does not know is `UnknownOutcome`: the order's state is unknown then, ask by client order id.
Source: PROTOCOLS.md 1.5, 1.6.
"""

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from venues.hyperliquid import wire
from venues.hyperliquid.wire import MalformedMessageError, Record
from venues.orders import Message

# Words about one order. The venue appends the asset: `word_with_asset`.
TICK = "Price must be divisible by tick size."
BELOW_MINIMUM = "Order must have minimum value of $10."
INSUFFICIENT_MARGIN = "Insufficient margin to place order."
REDUCE_ONLY = "Reduce only order would increase position."
POST_ONLY = "Post only order would have immediately matched, bbo was {bid}@{ask}."
IOC = "Order could not immediately match against any resting orders."
BAD_TRIGGER = "Invalid TP/SL price."
NO_LIQUIDITY = "No liquidity available for market order."
INVALID_PX = "Order has invalid price."
INVALID_SIZE = "Order has invalid size."
ZERO_SIZE = "Order has zero size."
NOT_OPEN = "Order was never placed, already canceled, or filled."
NOT_MODIFIABLE = "Cannot modify canceled or filled order"
TOO_FAR = "Order price cannot be more than 80% away from the reference price"
OPEN_INTEREST_CAP = "Order would increase open interest while open interest is capped"
ORDERS_SPENT = "Too many open orders, limit is {cap}."  # nobody has published the venue's own words
ONLY_POST_ONLY = "Only post-only orders allowed immediately after a network upgrade"

# Words about a whole action.
UNKNOWN_SIGNER = "User or API Wallet {address} does not exist."
MUST_DEPOSIT = "Must deposit before performing actions. User: {address}"
UNRECOVERABLE = "Unable to recover signer."  # as other clients report it; PROTOCOLS.md has no word
EXPIRED = "Action already expired"  # the same
LEVERAGE_TYPE = "Cannot switch leverage type with open position."  # as other clients report it
NO_ISOLATED = "No isolated position to adjust margin of."  # nobody has published the venue's own words
MARGIN_NEEDED = "Insufficient margin to perform action."  # the same
BUILDER_FEE = "Builder fee has not been approved."
REQUESTS_SPENT = (
    "Too many cumulative requests sent ({used} > {cap}) for cumulative volume traded ${volume}. "
    "Place taker orders to free up 1 request per USDC traded."
)

WORDS: dict[Message, str] = {
    Message.DUPLICATE: INVALID_SIZE,  # the venue has no word on record for a client id in use
    Message.UNKNOWN_INSTRUMENT: INVALID_SIZE,
    Message.INVALID: INVALID_SIZE,
    Message.UNSUPPORTED: BAD_TRIGGER,
    Message.BELOW_MINIMUM: BELOW_MINIMUM,
    Message.INSUFFICIENT_MARGIN: INSUFFICIENT_MARGIN,
    Message.REDUCE_ONLY: REDUCE_ONLY,
    Message.POST_ONLY: POST_ONLY,
    Message.GROUP_INVALID: BAD_TRIGGER,
    Message.NO_MARK: NO_LIQUIDITY,
    Message.NOT_OPEN: NOT_OPEN,
    Message.IOC: IOC,
    Message.NO_LIQUIDITY: NO_LIQUIDITY,
}


def word_with_asset(words: str, asset: int) -> str:
    """Return an order's refusal as the venue writes it.

    >>> word_with_asset(TICK, 3)
    'Price must be divisible by tick size. asset=3'
    """
    return f"{words} asset={asset}"


def translate_message(message: str, asset: int, bid: str = "", ask: str = "") -> str:
    """Return the venue's words for why the exchange machine refused or ended an order."""
    words = next((word for key, word in WORDS.items() if key == message), INVALID_SIZE)
    return word_with_asset(words.format(bid=bid, ask=ask) if words is POST_ONLY else words, asset)


def read_message(words: str) -> Message | None:
    """Return the reason behind an order's refusal, None if we do not know the words.

    >>> read_message("Post only order would have immediately matched, bbo was 1.0@1.1. asset=0")
    <Message.POST_ONLY: 'post only order would match'>
    """
    for start, message in _READ:
        if words.startswith(start):
            return message
    return None


_READ = (
    (TICK, Message.INVALID),
    ("Order must have minimum value of", Message.BELOW_MINIMUM),
    (INSUFFICIENT_MARGIN, Message.INSUFFICIENT_MARGIN),
    ("Insufficient spot balance", Message.INSUFFICIENT_MARGIN),
    (REDUCE_ONLY, Message.REDUCE_ONLY),
    ("Post only order would have immediately matched", Message.POST_ONLY),
    (IOC, Message.IOC),
    (BAD_TRIGGER, Message.INVALID),
    (NO_LIQUIDITY, Message.NO_LIQUIDITY),
    ("Order has ", Message.INVALID),
    (NOT_OPEN, Message.NOT_OPEN),
    (NOT_MODIFIABLE, Message.NOT_OPEN),
)


class Resting(Record, frozen=True):
    """The order rests, perhaps filled in part: that only the fills tell."""

    oid: int
    cloid: str | UnsetType | None = UNSET


class Filled(Record, frozen=True):
    """The order filled at once; `total_sz` below its size: the rest was canceled."""

    total_sz: Decimal
    avg_px: Decimal
    oid: int
    cloid: str | UnsetType | None = UNSET


class Refused(Record, frozen=True):
    """This one order or cancel was refused."""

    error: str


class Waiting(msgspec.Struct, frozen=True):
    """A child waits: "waitingForFill" of its parent, "waitingForTrigger"."""

    word: str


class Success(msgspec.Struct, frozen=True):
    """A cancel was done."""


class UnknownOutcome(msgspec.Struct, frozen=True):
    """A status that is missing or that we cannot read: nothing is known of the order."""

    plain: Any = None


Outcome = Resting | Filled | Refused | Waiting | Success | UnknownOutcome

WAITING_FOR_FILL = Waiting("waitingForFill")
WAITING_FOR_TRIGGER = Waiting("waitingForTrigger")


class StatusesReply(msgspec.Struct, frozen=True):
    """`kind` "order" (also of batchModify) or "cancel" (also by client id), one outcome per order."""

    kind: str
    statuses: tuple[Outcome, ...]


class DefaultReply(msgspec.Struct, frozen=True):
    """Done."""


class ActionRefused(msgspec.Struct, frozen=True):
    """The whole action was refused: signature, nonce, deposit, rate."""

    message: str


class UnknownReply(msgspec.Struct, frozen=True):
    """A reply of another kind, as plain JSON."""

    plain: Any


ExchangeReply = StatusesReply | DefaultReply | ActionRefused | UnknownReply

_PLAIN = msgspec.json.Decoder(Any)


def reply_to_plain(reply: ExchangeReply) -> Any:
    """Return a reply as JSON values: the body of a POST's reply, or the payload of a WebSocket post's."""
    match reply:
        case StatusesReply():
            statuses = [_outcome_to_plain(outcome) for outcome in reply.statuses]
            return {"status": "ok", "response": {"type": reply.kind, "data": {"statuses": statuses}}}
        case DefaultReply():
            return {"status": "ok", "response": {"type": "default"}}
        case ActionRefused():
            return {"status": "err", "response": reply.message}
        case UnknownReply():
            return reply.plain


def encode_exchange_reply(reply: ExchangeReply) -> bytes:
    """Return the body of the 200 reply."""
    return wire.encode(reply_to_plain(reply))


def _outcome_to_plain(outcome: Outcome) -> Any:
    match outcome:
        case Resting():
            return {"resting": wire.to_plain(outcome)}
        case Filled():
            return {"filled": wire.to_plain(outcome)}
        case Refused():
            return {"error": outcome.error}
        case Waiting():
            return outcome.word
        case Success():
            return "success"
        case UnknownOutcome():
            return outcome.plain


def decode_exchange_reply(body: bytes) -> ExchangeReply:
    """Return the reply in a body; MalformedMessageError if it is not even {"status", "response"}."""
    return read_exchange_reply(wire.decode(_PLAIN, body, "reply of /exchange"))


def read_exchange_reply(plain: Any) -> ExchangeReply:
    """Return the reply in parsed JSON (a WebSocket post's payload)."""
    if not isinstance(plain, dict) or "status" not in plain or "response" not in plain:
        raise MalformedMessageError(f"reply of /exchange is {str(plain)[:80]!r}: must have status and response")
    response = plain["response"]
    if plain["status"] == "err":
        return ActionRefused(response) if isinstance(response, str) else UnknownReply(plain)
    if plain["status"] != "ok" or not isinstance(response, dict):
        return UnknownReply(plain)
    if response.get("type") == "default":
        return DefaultReply()
    data = response.get("data")
    statuses = data.get("statuses") if isinstance(data, dict) else None
    if not isinstance(statuses, list) or not isinstance(response.get("type"), str):
        return UnknownReply(plain)
    return StatusesReply(response["type"], tuple(_read_outcome(status) for status in statuses))


def _read_outcome(plain: Any) -> Outcome:
    if plain == "success":
        return Success()
    if isinstance(plain, str) and plain.startswith("waiting"):
        return Waiting(plain)
    if not isinstance(plain, dict):
        return UnknownOutcome(plain)
    try:
        if "resting" in plain:
            return wire.convert(plain["resting"], Resting, "resting")
        if "filled" in plain:
            return wire.convert(plain["filled"], Filled, "filled")
        if "error" in plain:
            return wire.convert(plain, Refused, "error")
    except MalformedMessageError:
        pass  # explicit below: an order in an unknown state
    return UnknownOutcome(plain)


def spread_statuses(reply: StatusesReply, count: int) -> tuple[Outcome, ...]:
    """Return exactly one outcome for each of `count` orders sent.

    One refusal alone stands for the whole batch; what is missing is UnknownOutcome.

    >>> spread_statuses(StatusesReply("order", (Refused("Order has zero size."),)), 2)
    (Refused(error='Order has zero size.'), Refused(error='Order has zero size.'))
    """
    statuses = reply.statuses[:count]
    if len(reply.statuses) == 1 and isinstance(reply.statuses[0], Refused):
        return statuses * count
    return statuses + (UnknownOutcome(),) * (count - len(statuses))
