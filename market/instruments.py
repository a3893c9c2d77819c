"""Instruments: what one contract at one venue is, and the venue's rules for its prices and sizes."""

import re
from dataclasses import dataclass
from typing import NamedTuple

INSTRUMENT_ID = re.compile(r"[A-Z0-9][A-Z0-9_-]*\.[A-Z][A-Z0-9_]*")


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
