"""A small sweep for tests: 24 configurations over a month of generated bars."""

import dataclasses
from typing import Any

import numpy as np

from market.catalog import MarketData
from market.fills import Costs
from market.generator import generate_market
from risk.limits import LIMITS_DEFAULT, Limits
from sweeps.chunks import Constraints, SweepSpec, Work, make_work
from sweeps.space import make_grid

BARS = 3_000
EQUITY_START_QUOTE = 10_000.0
COSTS = Costs(4.5, 1.5, 1.0)
VALUES = {"stop_atr": [2, 3, 4], "trend_bars": [48, 96], "trend_atr_min": [0.0, 0.5, 1.0, 1.5]}


def make_small_market(n_bars: int = BARS) -> MarketData:
    """Return bars of one instrument."""
    return generate_market(1, ["BTC-PERP.BINANCE"], n_bars)


def make_spec(values: dict[str, list[float]] | None = None, chunk_configs: int = 0, **constraints: Any) -> SweepSpec:
    """Return a sweep of `momentum_sar`."""
    return SweepSpec(make_grid("momentum_sar", values or VALUES), Constraints(**constraints), chunk_configs)


def make_small_work(spec: SweepSpec, market: MarketData, limits: Limits = LIMITS_DEFAULT) -> Work:
    """Return the work with the costs and the equity of these tests."""
    return make_work(spec, market, limits, COSTS, EQUITY_START_QUOTE)


def spoil(market: MarketData) -> MarketData:
    """Return the market with closes that are no number, as no reader would let them pass."""
    bars = market.bars.copy()
    bars["close_px"][0, 800::7] = np.nan
    return dataclasses.replace(market, bars=bars)
