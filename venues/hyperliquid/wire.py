"""What every Hyperliquid message is made of: numbers as decimal strings, addresses, records, bytes in and out.

Two spellings of one number: the venue writes at least one decimal ("105055.0", `format_reply`), an action carries no
trailing zero ("105055", `format_action`) because the venue hashes what it reads. Nothing here passes through a float.
Source: PROTOCOLS.md 1.4, 1.5; the venue's manual of January 2026, "Signing", "Tick and lot size".
"""

import re
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec

MAINNET_URL = "https://api.hyperliquid.xyz"
TESTNET_URL = "https://api.hyperliquid-testnet.xyz"
VENUE_ID = "HYPERLIQUID"

DIGITS_MAX = 28  # longer numbers are nobody's price: refused before arithmetic gets slow

Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")]
Cloid = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{32}\Z")]
ActionNumber = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?\Z", max_length=DIGITS_MAX)]
Unsigned = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_Message = TypeVar("_Message")


class MalformedMessageError(ValueError):
    """Bytes that are not the message they should be; one line says which message and what is wrong."""


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """Base of everything with a JSON form: fields in the wire's order, snake case here and camel case there.

    Fields that may be absent are UNSET then, and None where the wire says null. Unknown fields are ignored.
    """


class HttpReply(msgspec.Struct, frozen=True):
    """One HTTP answer as a value: what the venue's own refusals look like, and what a simulator sends."""

    status: int
    content_type: str
    body: bytes


JSON_TYPE = "application/json"
NULL_BODY = b"null"


def parse_number(text: str, place: str) -> Decimal:
    """Return a decimal string as a Decimal, exact; `place` is named in the MalformedMessageError.

    >>> parse_number("0.00000001", "px")
    Decimal('1E-8')
    """
    if len(text) > DIGITS_MAX or not _NUMBER.fullmatch(text):
        raise MalformedMessageError(f"{place} is {text[:50]!r}: must be a plain decimal number")
    return Decimal(text)


def format_action(number: Decimal) -> str:
    """Return a number as an action carries it: no exponent, no trailing zero, no sign before zero.

    >>> format_action(Decimal("105055.0")), format_action(Decimal("1E-8")), format_action(Decimal("-0.0"))
    ('105055', '0.00000001', '0')
    """
    text = f"{_check_size(number):f}"
    if "." in text:
        text = text.rstrip("0").removesuffix(".")
    return "0" if text == "-0" else text


def format_reply(number: Decimal) -> str:
    """Return a number as the venue writes it: no exponent, at least one decimal, no trailing zero after it.

    >>> format_reply(Decimal("105055")), format_reply(Decimal("0.00036000"))
    ('105055.0', '0.00036')
    """
    text = format_action(number)
    return text if "." in text else text + ".0"


def reply_number(number: Decimal | int | str) -> Decimal:
    """Return a number for a reply record: encoded, it reads as `format_reply` writes it.

    >>> encode([reply_number(105055), reply_number("0.1000")])
    b'["105055.0","0.1"]'
    """
    return Decimal(format_reply(Decimal(number)))


def count_decimals(number: Decimal) -> int:
    """Return how many decimals a number needs, trailing zeros aside.

    >>> count_decimals(Decimal("1.500")), count_decimals(Decimal("1E+3"))
    (1, 0)
    """
    return len(format_action(number).partition(".")[2])


def _check_size(number: Decimal) -> Decimal:
    # A Decimal may have an exponent of 10^18: written out it would fill the memory.
    if not number.is_finite() or not -DIGITS_MAX <= number.adjusted() <= DIGITS_MAX:
        raise MalformedMessageError(f"number {number} cannot be written: must be finite and of sane size")
    return number


def encode(message: Any) -> bytes:
    """Return the JSON bytes of a record or of plain values; Decimals become strings without exponent."""
    data = msgspec.json.encode(message)
    if b"E-" in data or b"E+" in data or b"NaN" in data or b"Infinity" in data:
        return msgspec.json.encode(_write_numbers(msgspec.to_builtins(message, builtin_types=(Decimal,))))
    return data


def to_plain(message: Any) -> Any:
    """Return a record as dicts, lists and strings, keys in the wire's order: what is signed, or put into a frame."""
    return _write_numbers(msgspec.to_builtins(message, builtin_types=(Decimal,)))


def _write_numbers(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{_check_size(value):f}"
    if isinstance(value, dict):
        return {key: _write_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_write_numbers(item) for item in value]
    return value


def decode(decoder: msgspec.json.Decoder[_Message], data: bytes | str, place: str) -> _Message:
    """Return what a decoder makes of bytes, all its numbers finite; `place` is named in the MalformedMessageError."""
    try:
        message = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedMessageError(f"{place}: {error}") from error
    raw = data.encode(errors="replace") if isinstance(data, str) else data
    upper = raw.upper()
    if b"NAN" in upper or b"INF" in upper:
        _check_finite(message, place)
    return message


def convert(value: Any, kind: Any, place: str) -> Any:
    """Return plain values as `kind`; `place` is named in the MalformedMessageError."""
    try:
        message = msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise MalformedMessageError(f"{place}: {error}") from error
    _check_finite(message, place)
    return message


def _check_finite(value: Any, place: str) -> None:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise MalformedMessageError(f"{place}: number {value} must be finite")
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _check_finite(getattr(value, name), place)
    elif isinstance(value, dict):
        for item in value.values():
            _check_finite(item, place)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_finite(item, place)
