"""The chain's integers and ours: quantums and subticks, sizes, prices, lots. Exact; what does not fit is refused.

A quantum is 10^atomic_resolution base units; a subtick is such a price that quantums x subticks x
10^quantum_conversion_exponent are quote quantums (1e-6 USDC). The SDK floors floats (0.0029 BTC becomes 28,000,000)
and lifts dust to one step; here 0.0029 BTC is 29,000,000 and dust is a ValueError.
"""

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from fractions import Fraction

from market.instruments import LISTED, Instrument
from venues.dydx.indexer_records import PerpetualMarket

QUOTE_ATOMIC_RESOLUTION = -6
UINT64_MAX = 2**64 - 1
ACTIVE = "ACTIVE"

_EXACT = Context(prec=80)
_EXPONENT_MAX = 40  # beyond this a number is no size or price, and would fill the memory when written out


@dataclass(frozen=True, slots=True)
class ClobUnits:
    """What one order book's integers mean. Source: `/v4/perpetualMarkets`, or the chain's ClobPair and Perpetual."""

    ticker: str
    clob_pair_id: int
    atomic_resolution: int
    quantum_conversion_exponent: int
    step_base_quantums: int
    subticks_per_tick: int
    status: str = ACTIVE

    @property
    def subtick_exponent(self) -> int:
        """Subticks are price x 10^this."""
        return self.atomic_resolution - self.quantum_conversion_exponent - QUOTE_ATOMIC_RESOLUTION

    @property
    def step_size(self) -> Decimal:
        """The smallest size and size step [base]."""
        return scale(Decimal(self.step_base_quantums), self.atomic_resolution)

    @property
    def tick_px(self) -> Decimal:
        """The price step [quote]."""
        return scale(Decimal(self.subticks_per_tick), -self.subtick_exponent)


def scale(value: Decimal, exponent: int) -> Decimal:
    """Return value x 10^exponent, exact, without trailing zeros and without an exponent.

    >>> scale(Decimal(29_000_000), -10)
    Decimal('0.0029')
    """
    scaled = _EXACT.scaleb(value, exponent).normalize(_EXACT)
    return scaled.quantize(Decimal(1), context=_EXACT) if scaled.as_tuple().exponent > 0 else scaled  # type: ignore[operator]


def to_decimal(value: Decimal | float | str, name: str) -> Decimal:
    """Return the decimal a number is written as (0.1 is a tenth), exact.

    Raises: ValueError naming `name` if it is no finite number of a sane magnitude.
    """
    try:
        number = value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}, must be a decimal number") from None
    if (
        not number.is_finite()
        or abs(number.adjusted()) > _EXPONENT_MAX
        or len(number.as_tuple().digits) > _EXPONENT_MAX
    ):
        raise ValueError(f"{name} is {value!r}, must be a finite number of at most {_EXPONENT_MAX} digits")
    return number


def _to_multiple(number: Decimal, exponent: int, step: int, name: str, unit: str) -> int:
    # The integer number x 10^exponent, which must be a positive multiple of step and fit a uint64.
    scaled = _EXACT.scaleb(number, exponent)
    if scaled <= 0 or scaled > UINT64_MAX:
        raise ValueError(f"{name} is {number}, must be above 0 and at most {UINT64_MAX} {unit}")
    whole = int(scaled)
    if whole != scaled or whole % step:
        smallest = scale(Decimal(step), -exponent)
        raise ValueError(f"{name} is {number}, must be a multiple of {smallest}: round it first")
    return whole


def size_to_quantums(units: ClobUnits, size: Decimal | float | str) -> int:
    """Return the quantums of a size [base].

    Raises: ValueError if it is not a positive multiple of the step or does not fit a uint64.

    >>> size_to_quantums(LISTED_UNITS["BTC-PERP.DYDX"], "0.0029")
    29000000
    """
    name = f"size of {units.ticker}"
    number = to_decimal(size, name)
    return _to_multiple(number, -units.atomic_resolution, units.step_base_quantums, name, "quantums")


def quantums_to_size(units: ClobUnits, quantums: int) -> Decimal:
    """Return the size [base] of signed quantums, exact."""
    return scale(Decimal(quantums), units.atomic_resolution)


def px_to_subticks(units: ClobUnits, px: Decimal | float | str) -> int:
    """Return the subticks of a price [quote].

    Raises: ValueError if it is not a positive multiple of the tick or does not fit a uint64: `round_px` first.

    >>> px_to_subticks(LISTED_UNITS["BTC-PERP.DYDX"], 100000.0)
    10000000000
    """
    name = f"price of {units.ticker}"
    number = to_decimal(px, name)
    return _to_multiple(number, units.subtick_exponent, units.subticks_per_tick, name, "subticks")


def subticks_to_px(units: ClobUnits, subticks: int) -> Decimal:
    """Return the price [quote] of subticks, exact."""
    return scale(Decimal(subticks), -units.subtick_exponent)


def round_px(units: ClobUnits, px: Decimal | float | str, direction: int = 0) -> Decimal:
    """Return a price on the tick grid: nearest (0), not above (< 0), not below (> 0). Exact; never below one tick.

    Raises: ValueError if `px` is not a finite number above 0, or rounds down to nothing.

    >>> round_px(LISTED_UNITS["ETH-PERP.DYDX"], 1883.47, -1), round_px(LISTED_UNITS["ETH-PERP.DYDX"], 1883.47, 1)
    (Decimal('1883.4'), Decimal('1883.5'))
    """
    name = f"price of {units.ticker}"
    number = to_decimal(px, name)
    tick = units.tick_px
    rounding = ROUND_HALF_EVEN if direction == 0 else ROUND_FLOOR if direction < 0 else ROUND_CEILING
    ticks = int(_EXACT.divide(number, tick).to_integral_value(rounding)) if number > 0 else 0
    if ticks < 1:
        raise ValueError(f"{name} is {px}, must be at least one tick, {tick}, after rounding")
    return scale(ticks * tick, 0)


def round_limit_px(units: ClobUnits, px: Decimal | float | str, side: int, *, is_passive: bool) -> Decimal:
    """Return a limit price on the grid, away from the market if passive, towards and through it if not.

    Passive: a buy down, a sell up (keeps the promise of the limit). Aggressive: a buy up, a sell down (keeps the
    promise to trade).

    >>> btc = LISTED_UNITS["BTC-PERP.DYDX"]
    >>> round_limit_px(btc, 60000.4, 1, is_passive=True), round_limit_px(btc, 60000.4, 1, is_passive=False)
    (Decimal('60000'), Decimal('60001'))
    """
    if side not in (1, -1):
        raise ValueError(f"side is {side}, must be 1 (buy) or -1 (sell)")
    return round_px(units, px, -side if is_passive else side)


def lots_to_quantums(units: ClobUnits, instrument: Instrument, qty_lots: int) -> int:
    """Return the quantums of a positive number of lots.

    Raises: ValueError if that is not a multiple of the book's step: the instrument's lot is not this book's.
    """
    size = qty_lots * Decimal(repr(instrument.lot_base))
    return size_to_quantums(units, size)


def quantums_to_lots(units: ClobUnits, instrument: Instrument, quantums: int) -> int:
    """Return the lots of signed quantums.

    Raises: ValueError if they are not whole lots.
    """
    lot = Fraction(Decimal(repr(instrument.lot_base)))
    lots = Fraction(quantums_to_size(units, quantums)) / lot
    if lots.denominator != 1:
        raise ValueError(
            f"{quantums} quantums of {units.ticker} are {float(lots)} lots of {instrument.lot_base}, must be whole lots"
        )
    return lots.numerator


def size_to_lots(instrument: Instrument, size: Decimal) -> int:
    """Return the lots of a signed size as the Indexer writes it.

    Raises: ValueError if it is not whole lots.

    >>> size_to_lots(LISTED["BTC-PERP.DYDX"], Decimal("-0.0029"))
    -29
    """
    lots = Fraction(to_decimal(size, "size")) / Fraction(Decimal(repr(instrument.lot_base)))
    if lots.denominator != 1:
        raise ValueError(f"size of {instrument.instrument_id} is {size}, must be whole lots of {instrument.lot_base}")
    return lots.numerator


def subticks_to_float_px(units: ClobUnits, subticks: int) -> float:
    """Return the float64 price nearest to subticks; `px_to_subticks` of it gives them back.

    Raises: ValueError if it would not: the price has more digits than a float64 holds.
    """
    px = float(subticks_to_px(units, subticks))
    if not math.isfinite(px) or px_to_subticks(units, px) != subticks:
        raise ValueError(f"{subticks} subticks of {units.ticker} do not fit a float64 price")
    return px


def compute_quote_quantums(units: ClobUnits, quantums: int, subticks: int) -> int:
    """Return the quote quantums [1e-6 USDC] of a fill, rounded down as the chain does."""
    product, exponent = quantums * subticks, units.quantum_conversion_exponent
    return int(product * 10**exponent) if exponent >= 0 else int(product // 10**-exponent)


def make_units(instrument: Instrument, clob_pair_id: int, atomic_resolution: int) -> ClobUnits:
    """Return the units of a book whose step is the instrument's lot and whose tick is its tick.

    The quantum conversion exponent is -9, as on all of the venue's books.

    Raises: ValueError if lot or tick are not whole in those units.
    """
    ticker = f"{instrument.base}-USD"
    draft = ClobUnits(ticker, clob_pair_id, atomic_resolution, -9, 1, 1)
    step = size_to_quantums(draft, instrument.lot_base)
    return ClobUnits(ticker, clob_pair_id, atomic_resolution, -9, step, px_to_subticks(draft, instrument.tick_px))


def units_from_market(market: PerpetualMarket) -> ClobUnits:
    """Return the units of a market as the Indexer describes it.

    Raises: ValueError if a number in it cannot be.
    """
    if not market.clob_pair_id.isdecimal() or market.step_base_quantums < 1 or market.subticks_per_tick < 1:
        raise ValueError(
            f"market {market.ticker}: clobPairId, stepBaseQuantums and subticksPerTick must be numbers above 0"
        )
    return ClobUnits(
        market.ticker,
        int(market.clob_pair_id),
        market.atomic_resolution,
        market.quantum_conversion_exponent,
        market.step_base_quantums,
        market.subticks_per_tick,
        market.status,
    )


LISTED_UNITS: dict[str, ClobUnits] = {
    f"{base}-PERP.DYDX": make_units(LISTED[f"{base}-PERP.DYDX"], clob_pair_id, atomic_resolution)
    for base, clob_pair_id, atomic_resolution in (("BTC", 0, -10), ("ETH", 1, -9), ("SOL", 5, -7))
}
