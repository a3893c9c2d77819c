"""Instruments: the listed ones, ids, price grids and lots."""

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.instruments import (
    LISTED,
    check_instrument_id,
    compute_px_step,
    find_instrument,
    instrument_from_dict,
    instrument_to_dict,
    lots_to_qty,
    make_instrument,
    qty_to_lots,
    round_px,
)


@pytest.mark.parametrize(
    ("instrument_id", "lot_base", "tick_px", "funding_interval_h"),
    [
        ("BTC-PERP.BINANCE", 0.001, 0.1, 8),
        ("ETH-PERP.BINANCE", 0.001, 0.01, 8),
        ("BTC-PERP.HYPERLIQUID", 1e-5, 0.1, 1),
        ("SOL-PERP.HYPERLIQUID", 0.01, 1e-4, 1),
        ("BTC-PERP.DYDX", 1e-4, 1.0, 1),
    ],
)
def test_listed(instrument_id: str, lot_base: float, tick_px: float, funding_interval_h: int) -> None:
    instrument = find_instrument(instrument_id)
    assert (instrument.lot_base, instrument.tick_px, instrument.funding_interval_h) == (
        lot_base,
        tick_px,
        funding_interval_h,
    )
    assert instrument.venue_id == instrument_id.split(".")[1]
    assert instrument.spec.lot_base == lot_base


@pytest.mark.parametrize(
    "bad", ["BTC", "btc-perp.binance", "BTC-PERP.", ".BINANCE", "BTC PERP.X", "A/B.X", "../X.Y", ""]
)
def test_malformed_ids_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"not of the form CONTRACT\.VENUE"):
        check_instrument_id(bad)


def test_unknown_instrument_names_the_known_and_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"did you mean BTC-PERP\.BINANCE\?.*ETH-PERP\.DYDX"):
        find_instrument("BTC-PERP.BINANC")


@pytest.mark.parametrize(
    ("past_px", "tick_px", "lot_base"),
    [
        ([0.7097, 0.71, 0.7083], 0.0001, 1e-3),
        ([61800.1, 61800.25], 0.01, 1e-8),
        ([2e-5, 2.1e-5], 1e-6, 1.0),
        ([120.0, 121.0], 1.0, 1e-6),
        ([1 / 3, 2 / 3], 1e-9, 1e-3),
    ],
)
def test_unlisted_rules_come_from_prices_seen(past_px: list[float], tick_px: float, lot_base: float) -> None:
    instrument = make_instrument("XYZ-PERP.NOWHERE", np.array(past_px))
    assert (instrument.tick_px, instrument.lot_base, instrument.base) == (tick_px, lot_base, "XYZ")


@pytest.mark.parametrize(
    ("instrument_id", "px", "direction", "expected"),
    [
        ("BTC-PERP.HYPERLIQUID", 61800.4, 0, 61800.0),
        ("BTC-PERP.HYPERLIQUID", 123456.7, 1, 123457.0),
        ("BTC-PERP.HYPERLIQUID", 9999.96, 1, 10000.0),
        ("SOL-PERP.HYPERLIQUID", 176.847, -1, 176.84),
        ("SOL-PERP.HYPERLIQUID", 9.87654, -1, 9.8765),
        ("BTC-PERP.DYDX", 61800.9, -1, 61800.0),
        ("ETH-PERP.BINANCE", 2681.885, 0, 2681.88),
    ],
)
def test_price_grid(instrument_id: str, px: float, direction: int, expected: float) -> None:
    assert round_px(LISTED[instrument_id], px, direction) == expected


@given(
    instrument_id=st.sampled_from(sorted(LISTED)),
    px=st.floats(1.0, 1e6, allow_nan=False),
    direction=st.sampled_from([-1, 0, 1]),
)
def test_rounding_stays_within_a_step_and_keeps(instrument_id: str, px: float, direction: int) -> None:
    instrument = LISTED[instrument_id]
    rounded = round_px(instrument, px, direction)
    step = float(compute_px_step(instrument, px))
    assert abs(rounded - px) <= step
    assert direction == 0 or (rounded - px) * direction >= 0.0
    assert round_px(instrument, rounded, direction) == rounded


@given(instrument_id=st.sampled_from(sorted(LISTED)), qty_lots=st.integers(-(10**9), 10**9))
def test_lots_survive_the_way_through_a_float(instrument_id: str, qty_lots: int) -> None:
    instrument = LISTED[instrument_id]
    assert qty_to_lots(instrument, float(lots_to_qty(instrument, qty_lots))) == qty_lots
    assert lots_to_qty(instrument, qty_lots) == qty_lots * Decimal(repr(instrument.lot_base))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_no_price_from_nonsense(bad: float) -> None:
    with pytest.raises(ValueError, match="must be finite and above 0"):
        round_px(LISTED["BTC-PERP.BINANCE"], bad)


def test_dict_round_trip_and_its_refusals() -> None:
    instrument = LISTED["BTC-PERP.BINANCE"]
    values = instrument_to_dict(instrument)
    assert instrument_from_dict(values, "here") == instrument
    for spoilt, text in [
        ({**values, "lot_base": 0.0}, "must be above 0"),
        ({**values, "lot_base": "0.1"}, "lot_base is '0.1', must be float"),
        ({**values, "tick_px": -1.0}, "must not be below 0"),
        ({key: values[key] for key in values if key != "quote"}, "exactly the keys"),
        ([], "exactly the keys"),
    ]:
        with pytest.raises(ValueError, match=text):
            instrument_from_dict(spoilt, "here")
