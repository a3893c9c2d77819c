"""Funding and mark px as the venues compute them: pure rules, and a meter that samples the premium of one instrument.

Hyperliquid (PROTOCOLS 1.9b): each 5 s a sample P = (max(impact bid - oracle, 0) - max(oracle - impact ask, 0)) /
oracle, averaged over the interval; F8 = P + clamp(0.0001 - P, +-0.0005) per 8 h; hourly rate = clamp(F8 / 8, +-0.04);
payment = position x oracle px x rate, longs pay when positive. dYdX (2.4): the average premium over 8, no interest; its
600 % cap is not modelled. An interval of h hours gets h eighths of F8, clamped at +-0.04 h.

Does not model: interest that varies by market, the caps by leverage bracket of Binance, jitter of settlement times
(a settlement happens at the first block at or after the hour, as on Hyperliquid).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from market.records import NS_PER_S

NS_PER_HOUR = 3600 * NS_PER_S
INTEREST_8H_FRAC = 1e-4
CLAMP_8H_FRAC = 5e-4
RATE_HOUR_FRAC_MAX = 0.04


class FundingRule(StrEnum):
    """Which venue's formula makes a rate of an average premium."""

    HYPERLIQUID = "hyperliquid"  # also Binance's, with its interval
    DYDX = "dydx"


class MarkRule(StrEnum):
    """Which venue's formula makes the mark px."""

    MEDIAN = "median"  # Hyperliquid: oracle + EMA of the basis, book, outside perps
    ORACLE = "oracle"  # dYdX: margin and triggers go by the oracle
    MID = "mid"  # the book's middle, the oracle while a side is empty


@dataclass(frozen=True, slots=True)
class FundingSettled:
    """One settlement of one instrument: what fundingHistory and its like report."""

    instrument_id: str
    ts_event_ns: int
    funding_rate: float  # per interval; > 0: longs pay
    premium_frac: float
    index_px: float


def clamp(value: float, limit: float) -> float:
    """Return `value` within [-limit, limit]."""
    return max(-limit, min(limit, value))


def compute_premium_frac(impact_bid_px: float, impact_ask_px: float, oracle_px: float) -> float:
    """Return one sample of the premium; a side that is NaN (book too thin) counts as no premium.

    >>> compute_premium_frac(101.0, 102.0, 100.0), compute_premium_frac(98.0, 99.0, 100.0)
    (0.01, -0.01)
    """
    above = 0.0 if math.isnan(impact_bid_px) else max(impact_bid_px - oracle_px, 0.0)
    below = 0.0 if math.isnan(impact_ask_px) else max(oracle_px - impact_ask_px, 0.0)
    return (above - below) / oracle_px


def compute_funding_rate(premium_frac: float, interval_h: int, rule: FundingRule = FundingRule.HYPERLIQUID) -> float:
    """Return the rate per interval that an average premium gives.

    >>> compute_funding_rate(0.0, 1), round(compute_funding_rate(0.001, 8), 10)
    (1.25e-05, 0.0005)
    >>> compute_funding_rate(0.0008, 1, FundingRule.DYDX)
    0.0001
    """
    if rule is FundingRule.DYDX:
        return premium_frac / 8.0 * interval_h
    rate_8h = premium_frac + clamp(INTEREST_8H_FRAC - premium_frac, CLAMP_8H_FRAC)
    return clamp(rate_8h / 8.0 * interval_h, RATE_HOUR_FRAC_MAX * interval_h)


def invert_funding_rate(funding_rate: float, interval_h: int, rule: FundingRule = FundingRule.HYPERLIQUID) -> float:
    """Return a premium that gives this rate: what a path whose bars carry rates drives the oracle with.

    >>> invert_funding_rate(1.25e-05, 1), round(compute_funding_rate(invert_funding_rate(-3e-5, 1), 1), 12)
    (0.0001, -3e-05)
    """
    rate_8h = funding_rate * 8.0 / interval_h
    if rule is FundingRule.DYDX:
        return rate_8h
    if abs(rate_8h - INTEREST_8H_FRAC) < 1e-9:
        return INTEREST_8H_FRAC
    return rate_8h + math.copysign(CLAMP_8H_FRAC, rate_8h - INTEREST_8H_FRAC)


def compute_impact_px(levels: Sequence[tuple[float, int]], lot_base: float, notional_quote: float) -> float:
    """Return the average px of taking `notional_quote` from levels (px, lots), best first; NaN if they are too thin.

    >>> compute_impact_px([(100.0, 5), (110.0, 10)], 1.0, 720.0)
    102.85714285714286
    """
    left_quote, qty_base = notional_quote, 0.0
    for px, lots in levels:
        level_quote = px * lots * lot_base
        if level_quote >= left_quote:
            return notional_quote / (qty_base + left_quote / px)
        left_quote -= level_quote
        qty_base += lots * lot_base
    return math.nan


def compute_mark_px(
    rule: MarkRule, oracle_px: float, basis_px: float, bid_px: float, ask_px: float, last_px: float, outside_px: float
) -> float:
    """Return the mark px of the moment; NaN where a side of the book or a last trade is missing.

    Parameters
    ----------
    basis_px : float
        The 150 s EMA of mid - oracle.
    outside_px : float
        The perpetual elsewhere: the path itself.

    >>> compute_mark_px(MarkRule.MEDIAN, 100.0, 0.5, 100.0, 101.0, 100.8, 100.6)
    100.6
    """
    has_book = bid_px > 0.0 and ask_px > 0.0
    if rule is MarkRule.ORACLE or (rule is MarkRule.MID and not has_book):
        return oracle_px
    if rule is MarkRule.MID:
        return 0.5 * (bid_px + ask_px)
    own_px = [px for px in (bid_px, ask_px, last_px) if not math.isnan(px)]
    return median([oracle_px + basis_px, median(own_px) if own_px else outside_px, outside_px])


class FundingMeter:
    """The premium samples of one instrument since its last settlement, and the EMA of its basis."""

    def __init__(self, interval_h: int, rule: FundingRule, ts_start_ns: int, basis_ema_ns: int) -> None:
        self._interval_h, self._rule, self._basis_ema_ns = interval_h, rule, basis_ema_ns
        self._every_ns = interval_h * NS_PER_HOUR
        self._sum_frac, self._samples = 0.0, 0
        self._ts_basis_ns = -1
        self.last_premium_frac = 0.0
        self.basis_px = 0.0
        self.ts_next_ns = (ts_start_ns // self._every_ns + 1) * self._every_ns

    def add_sample(self, premium_frac: float) -> None:
        """Take one premium sample."""
        self._sum_frac += premium_frac
        self._samples += 1
        self.last_premium_frac = premium_frac

    def add_basis(self, basis_px: float, ts_now_ns: int) -> None:
        """Take mid - oracle [quote] into the EMA; the first is taken whole."""
        if self._ts_basis_ns < 0:
            self.basis_px = basis_px
        else:
            keep = math.exp(-(ts_now_ns - self._ts_basis_ns) / self._basis_ema_ns)
            self.basis_px = keep * self.basis_px + (1.0 - keep) * basis_px
        self._ts_basis_ns = ts_now_ns

    @property
    def premium_frac(self) -> float:
        """The average premium so far in this interval, the last sample before the first of it."""
        return self._sum_frac / self._samples if self._samples else self.last_premium_frac

    @property
    def predicted_rate(self) -> float:
        """The rate that would settle now."""
        return compute_funding_rate(self.premium_frac, self._interval_h, self._rule)

    def settle(self, ts_now_ns: int) -> tuple[float, float]:
        """Return (rate, average premium) of the interval that ended at or before now, and begin the next."""
        settled = self.predicted_rate, self.premium_frac
        self._sum_frac, self._samples = 0.0, 0
        self.ts_next_ns = (ts_now_ns // self._every_ns + 1) * self._every_ns
        return settled
