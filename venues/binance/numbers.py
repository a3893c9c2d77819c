"""Binance's numbers: decimal strings on the wire, exact here as text, Decimal or integer lots, float64 for kernels.

A message keeps the venue's own text, so what is encoded again is what came. Three ways out, all strict:
`parse_decimal` (exact), `LotScale` (exact integers of a step) and `parse_px` / `parse_qty` (the nearest float64).
"""

import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

DecimalText = str  # "84143.10": a number as the venue wrote it, trailing zeros kept

TEXT_CHARS_MAX = 64
CACHED_MAX = 65_536  # texts whose lots one scale remembers


class MalformedMessageError(ValueError):
    """Bytes or numbers that no Binance endpoint sends; what every decoder of this package raises, and nothing else."""


class UnknownValue(str):
    """A word where the venue's manual lists others: newer than this code. Never acted on, always shown."""

    __slots__ = ()


def parse_decimal(text: DecimalText) -> Decimal:
    """Return the exact number.

    Raises: MalformedMessageError if `text` is not a plain finite decimal.

    >>> parse_decimal("84143.10")
    Decimal('84143.10')
    """
    if len(text) <= TEXT_CHARS_MAX and text.isascii() and "_" not in text:
        try:
            number = Decimal(text)
        except InvalidOperation:
            pass
        else:
            if number.is_finite():
                return number
    raise MalformedMessageError(f"not a decimal number: {text[:TEXT_CHARS_MAX]!r}; the venue sends plain digits")


def parse_px(text: DecimalText) -> float:
    """Return the float64 nearest to a px.

    Raises: MalformedMessageError unless it is finite and > 0.

    >>> parse_px("84143.10")
    84143.1
    """
    try:
        px = float(text)
    except ValueError:
        px = math.nan
    if 0.0 < px < math.inf:
        return px
    raise MalformedMessageError(f"not a px: {text[:TEXT_CHARS_MAX]!r}; a finite number > 0 is expected")


def parse_qty(text: DecimalText) -> float:
    """Return the float64 nearest to a quantity of base currency; 0.0 deletes a level.

    Raises: MalformedMessageError unless it is finite and >= 0.
    """
    try:
        qty_base = float(text)
    except ValueError:
        qty_base = math.nan
    if 0.0 <= qty_base < math.inf:
        return qty_base
    raise MalformedMessageError(f"not a quantity: {text[:TEXT_CHARS_MAX]!r}; a finite number >= 0 is expected")


class _LotsByText(dict[str, int]):
    # Book quantities repeat ("0.000", "0.002", ...): a text met before costs one look-up instead of a conversion.
    __slots__ = ("_convert",)

    def __init__(self, convert: Callable[[DecimalText], int]) -> None:
        super().__init__()
        self._convert = convert

    def __missing__(self, text: DecimalText) -> int:
        lots = self._convert(text)
        if len(self) >= CACHED_MAX:
            self.clear()
        self[text] = lots
        return lots


class LotScale:
    """Exact conversion between a venue's decimal text and whole steps (LOT_SIZE.stepSize, PRICE_FILTER.tickSize).

    Spot books hold levels finer than today's stepSize (25.426189 BTC where the step is 0.00001: orders from before it
    grew): count spot's levels in steps of the asset's precision, "0.00000001".

    >>> LotScale("0.001").to_lots("2.507"), LotScale("0.00001000").to_lots("1.54698000"), LotScale("0.001").to_text(-40)
    (2507, 154698, '-0.040')
    """

    __slots__ = ("_cut", "_is_power", "lots_by_text", "step")

    def __init__(self, step: DecimalText) -> None:
        self.step = parse_decimal(step).normalize()
        if self.step <= 0:
            raise MalformedMessageError(f"a step is {step!r}; a number > 0 is expected")
        exponent = self.step.as_tuple().exponent
        assert isinstance(exponent, int)  # finite: checked above
        self._cut = max(0, -exponent)
        self.lots_by_text = _LotsByText(self.to_lots)  # `to_lots`, remembered: for whoever converts many
        self._is_power = self.step.as_tuple().digits == (1,) and exponent <= 0

    def to_lots(self, text: DecimalText) -> int:
        """Return how many whole steps a quantity is; MalformedMessageError if it is not a whole number of them."""
        cut = self._cut
        if self._is_power and text[-cut - 1 : -cut] == "." and len(text) <= TEXT_CHARS_MAX:
            digits = text[: -cut - 1] + text[-cut:]  # the usual case: as many decimals as the step
            if digits.isdigit() and digits.isascii():
                return int(digits)
        elif self._is_power and len(text) <= TEXT_CHARS_MAX:
            whole, _, fraction = text.partition(".")
            digits = whole + fraction
            if digits.isdigit() and digits.isascii() and whole:
                shift = len(fraction) - cut
                if shift == 0:
                    return int(digits)
                if shift < 0:
                    return int(digits) * 10**-shift
                if not digits[-shift:].strip("0"):
                    return int(digits[:-shift])
        lots = parse_decimal(text) / self.step
        if (
            lots.is_finite()
            and lots == lots.to_integral_value()
            and abs(lots) < 2**63
            and lots * self.step == Decimal(text)
        ):
            return int(lots)
        raise MalformedMessageError(f"{text[:TEXT_CHARS_MAX]!r} is not a whole number of steps of {self.step}")

    def to_text(self, lots: int) -> DecimalText:
        """Return the venue's text of that many steps, with as many decimals as the step has."""
        return f"{lots * self.step:.{self._cut}f}"
