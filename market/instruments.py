"""Instruments: what one contract at one venue is, and the venue's rules for its prices and sizes."""

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

INSTRUMENT_ID = re.compile(r"[A-Z0-9][A-Z0-9_-]*\.[A-Z][A-Z0-9_]*")

PX_DECIMALS_MAX = 12
LOT_QUOTE_UNLISTED = 1e-3  # an unlisted contract's lot is worth about this: sizes are then as good as continuous


class ContractSpec(NamedTuple):
    """The numbers of an instrument that kernels need."""

    lot_base: float  # size of one lot [base currency], > 0
    qty_lots_min: int  # smallest order [lots], >= 1
    notional_min_quote: float  # smallest order [quote], >= 0
    leverage_max: float  # venue's cap, >= 1
    maintenance_margin_frac: float  # of notional, in (0, 1)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One contract at one venue. Source of the listed values: the venues' public metadata."""

    instrument_id: str  # "BTC-PERP.HYPERLIQUID"
    base: str
    quote: str
    lot_base: float
    tick_px: float  # smallest price step [quote]
    significant_figures_max: int  # 0: no such rule (Hyperliquid: 5)
    qty_lots_min: int
    notional_min_quote: float
    leverage_max: float
    maintenance_margin_frac: float
    funding_interval_h: int

    @property
    def venue_id(self) -> str:
        """The venue, the part after the last dot."""
        return self.instrument_id.rpartition(".")[2]

    @property
    def spec(self) -> ContractSpec:
        """The kernel record."""
        return ContractSpec(
            self.lot_base, self.qty_lots_min, self.notional_min_quote, self.leverage_max, self.maintenance_margin_frac
        )


def _list_venue(venue_id: str, quote: str, funding_interval_h: int, significant_figures_max: int, rows: str) -> Any:
    # One row: base, lot, tick, notional_min, leverage_max, maintenance margin. The smallest order is one lot.
    for row in rows.strip().splitlines():
        base, lot, tick, notional_min, leverage_max, margin = row.split()
        yield Instrument(
            instrument_id=f"{base}-PERP.{venue_id}",
            base=base,
            quote=quote,
            lot_base=float(lot),
            tick_px=float(tick),
            significant_figures_max=significant_figures_max,
            qty_lots_min=1,
            notional_min_quote=float(notional_min),
            leverage_max=float(leverage_max),
            maintenance_margin_frac=float(margin),
            funding_interval_h=funding_interval_h,
        )


# Binance: exchangeInfo filters, first leverage bracket. Hyperliquid: lot 10^-szDecimals, tick 10^-(6-szDecimals),
# maintenance half of the initial margin at the highest leverage. dYdX: stepSize, tickSize, liquidity tier's margins.
LISTED: dict[str, Instrument] = {
    instrument.instrument_id: instrument
    for venue in (
        _list_venue(
            "BINANCE",
            "USDT",
            8,
            0,
            """
            BTC 0.001 0.1  100 125 0.004
            ETH 0.001 0.01  20 100 0.005
            SOL 0.01  0.01   5  75 0.005
            """,
        ),
        _list_venue(
            "HYPERLIQUID",
            "USDC",
            1,
            5,
            """
            BTC 0.00001 0.1    10 40 0.0125
            ETH 0.0001  0.01   10 25 0.02
            SOL 0.01    0.0001 10 20 0.025
            """,
        ),
        _list_venue(
            "DYDX",
            "USDC",
            1,
            0,
            """
            BTC 0.0001 1    0 50 0.012
            ETH 0.001  0.1  0 50 0.012
            SOL 0.1    0.01 0 20 0.03
            """,
        ),
    )
    for instrument in venue
}


def check_instrument_id(instrument_id: str) -> str:
    """Return the id if it is well formed, else raise ValueError saying what one looks like.

    >>> check_instrument_id("BTC-PERP.BINANCE")
    'BTC-PERP.BINANCE'
    """
    if not INSTRUMENT_ID.fullmatch(instrument_id):
        raise ValueError(
            f"instrument id {instrument_id!r} is not of the form CONTRACT.VENUE in capitals, such as BTC-PERP.BINANCE"
        )
    return instrument_id


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" if one of `known` is close to `name`, else ""."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def find_instrument(instrument_id: str, known: Iterable[Instrument] = ()) -> Instrument:
    """Return the instrument of that id among `known`, then among the listed ones.

    Raises: ValueError naming the ids there are, if it is not one of them.
    """
    check_instrument_id(instrument_id)
    table = LISTED | {instrument.instrument_id: instrument for instrument in known}
    if instrument_id not in table:
        names = ", ".join(sorted(table))
        raise ValueError(f"unknown instrument {instrument_id}{suggest(instrument_id, table)} (known: {names})")
    return table[instrument_id]


def make_instrument(instrument_id: str, past_px: NDArray[np.float64] | None = None) -> Instrument:
    """Return the listed instrument of that id, else one derived from prices seen.

    Parameters
    ----------
    instrument_id : str
        Any well-formed id.
    past_px : float64[n] or None
        Prices seen [quote], finite and > 0: they show the tick, and the lot is the power of ten worth about 0.001
        quote. None: tick 0.01 and lot 1e-6.

    The rest of an unlisted contract is cautious: leverage 20, maintenance margin 2.5 %, funding every 8 h.
    """
    check_instrument_id(instrument_id)
    if instrument_id in LISTED:
        return LISTED[instrument_id]
    tick_px, lot_base = 0.01, 1e-6
    if past_px is not None and past_px.size:
        tick_px = _derive_tick(past_px[-10_000:])
        exponent = math.floor(math.log10(LOT_QUOTE_UNLISTED / float(np.median(past_px[-10_000:]))) + 1e-9)
        lot_base = float(Decimal(10) ** min(0, max(-PX_DECIMALS_MAX, exponent)))
    contract = instrument_id.partition(".")[0]
    return Instrument(
        instrument_id=instrument_id,
        base=contract.partition("-")[0],
        quote="USD",
        lot_base=lot_base,
        tick_px=tick_px,
        significant_figures_max=0,
        qty_lots_min=1,
        notional_min_quote=1.0,
        leverage_max=20.0,
        maintenance_margin_frac=0.025,
        funding_interval_h=8,
    )


def _derive_tick(past_px: NDArray[np.float64]) -> float:
    # The fewest decimals that write every price; at most nine significant figures, as computed prices have them all.
    decimals_max = max(0, min(PX_DECIMALS_MAX, 8 - math.floor(math.log10(float(np.max(past_px))))))
    for decimals in range(decimals_max):
        if np.all(np.abs(np.round(past_px, decimals) - past_px) <= 1e-12 * past_px):
            return float(Decimal(10) ** -decimals)
    return float(Decimal(10) ** -decimals_max)


def compute_px_step(instrument: Instrument, px: float) -> Decimal:
    """Return the price step valid near `px`: the tick, coarser where significant figures are limited.

    Whole prices are always allowed (Hyperliquid manual, "Tick and lot size").

    >>> compute_px_step(LISTED["BTC-PERP.HYPERLIQUID"], 61800.0), compute_px_step(LISTED["SOL-PERP.HYPERLIQUID"], 176.8)
    (Decimal('1'), Decimal('0.01'))
    """
    tick = Decimal(repr(instrument.tick_px))
    if not instrument.significant_figures_max:
        return tick
    figures = Decimal(10) ** (Decimal(repr(px)).adjusted() + 1 - instrument.significant_figures_max)
    return max(tick, min(figures, Decimal(1)))


def round_px(instrument: Instrument, px: float, direction: int = 0) -> float:
    """Return `px` on the venue's price grid: nearest (0), not above (< 0) or not below (> 0). Exact in decimal.

    A limit order keeps its promise with direction `-side`: a buy is rounded down, a sell up.

    Raises: ValueError if `px` is not a finite positive number.

    >>> round_px(LISTED["BTC-PERP.BINANCE"], 61800.17), round_px(LISTED["BTC-PERP.HYPERLIQUID"], 61800.5, 1)
    (61800.2, 61801.0)
    """
    if not (math.isfinite(px) and px > 0.0):
        raise ValueError(f"price of {instrument.instrument_id} is {px}, must be finite and above 0")
    step = compute_px_step(instrument, px)
    rounding = ROUND_HALF_EVEN if direction == 0 else ROUND_FLOOR if direction < 0 else ROUND_CEILING
    return float((Decimal(repr(px)) / step).to_integral_value(rounding) * step)


def qty_to_lots(instrument: Instrument, qty_base: float) -> int:
    """Return whole lots in a quantity [base], toward zero, exact in decimal (0.0029 BTC is 29 lots of 0.0001).

    Raises: ValueError if `qty_base` is not finite.

    >>> qty_to_lots(LISTED["BTC-PERP.DYDX"], 0.0029)
    29
    """
    if not math.isfinite(qty_base):
        raise ValueError(f"quantity of {instrument.instrument_id} is {qty_base}, must be finite")
    return int(Decimal(repr(float(qty_base))) / Decimal(repr(instrument.lot_base)))


def lots_to_qty(instrument: Instrument, qty_lots: int) -> Decimal:
    """Return the quantity [base] of that many lots, exact: what is written to a venue."""
    return qty_lots * Decimal(repr(instrument.lot_base))


def instrument_to_dict(instrument: Instrument) -> dict[str, Any]:
    """Return the fields, ready for JSON."""
    return asdict(instrument)


def instrument_from_dict(values: Any, place: str) -> Instrument:
    """Return the instrument a JSON object describes; `place` is named in the ValueError if it does not."""
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Instrument)}
    if not isinstance(values, dict) or set(values) != set(kinds):
        raise ValueError(f"{place}: not an instrument; it must have exactly the keys {', '.join(kinds)}")
    for name, kind in kinds.items():
        if isinstance(values[name], bool) or not isinstance(values[name], (int, float) if kind is float else kind):
            raise ValueError(f"{place}: {name} is {values[name]!r}, must be {kind.__name__}")
        if kind is not str and not values[name] >= 0:
            raise ValueError(f"{place}: {name} is {values[name]}, must not be below 0")
    checked: dict[str, Any] = {name: kind(values[name]) for name, kind in kinds.items()}
    instrument = Instrument(**checked)
    check_instrument_id(instrument.instrument_id)
    if not (instrument.lot_base > 0.0 and instrument.tick_px > 0.0 and instrument.qty_lots_min >= 1):
        raise ValueError(f"{place}: lot_base, tick_px and qty_lots_min must be above 0")
    return instrument
