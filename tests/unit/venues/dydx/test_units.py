"""Units: exact both ways, on and off the grid."""

import doctest
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import venues.dydx.chain_errors
import venues.dydx.indexer
import venues.dydx.lifecycle
import venues.dydx.order_terms
import venues.dydx.units
from market.instruments import LISTED
from tests.unit.venues.dydx.dydx_samples import BTC
from venues.dydx import units
from venues.dydx.indexer_records import PerpetualMarket
from venues.dydx.units import LISTED_UNITS

SOL = LISTED_UNITS["SOL-PERP.DYDX"]
any_units = st.sampled_from(list(LISTED_UNITS.items()))


@pytest.mark.parametrize(
    "module",
    [venues.dydx.chain_errors, venues.dydx.indexer, venues.dydx.lifecycle, venues.dydx.order_terms, venues.dydx.units],
)
def test_doctests(module: object) -> None:
    """The examples in the docstrings hold."""
    outcome = doctest.testmod(module)  # type: ignore[arg-type]
    assert outcome.attempted > 0
    assert outcome.failed == 0


@given(any_units, st.integers(1, 10**9))
def test_lots_and_quantums_are_one_to_one(book: tuple[str, units.ClobUnits], lots: int) -> None:
    """Lots -> quantums -> lots, and through the written size."""
    instrument_id, book_units = book
    instrument = LISTED[instrument_id]
    quantums = units.lots_to_quantums(book_units, instrument, lots)
    assert units.quantums_to_lots(book_units, instrument, quantums) == lots
    assert units.quantums_to_lots(book_units, instrument, -quantums) == -lots
    size = units.quantums_to_size(book_units, quantums)
    assert units.size_to_lots(instrument, size) == lots
    assert units.size_to_quantums(book_units, format(size, "f")) == quantums


@given(any_units, st.integers(1, 10**9))
def test_prices_and_subticks_are_one_to_one(book: tuple[str, units.ClobUnits], ticks: int) -> None:
    """Subticks -> Decimal -> subticks, and through float64."""
    book_units = book[1]
    subticks = ticks * book_units.subticks_per_tick
    assert units.px_to_subticks(book_units, units.subticks_to_px(book_units, subticks)) == subticks
    assert units.px_to_subticks(book_units, units.subticks_to_float_px(book_units, subticks)) == subticks


@given(any_units, st.floats(1.5, 1e7), st.sampled_from([-1, 0, 1]))
def test_rounding_lands_on_the_grid_within_a_tick(book: tuple[str, units.ClobUnits], px: float, side: int) -> None:
    """Below, above or nearest, and passive is not aggressive."""
    book_units = book[1]
    rounded = units.round_px(book_units, px, side)
    units.px_to_subticks(book_units, rounded)
    error = rounded - Decimal(repr(px))
    assert abs(error) < book_units.tick_px
    assert error * side >= 0
    if side:
        passive = units.round_limit_px(book_units, px, side, is_passive=True)
        aggressive = units.round_limit_px(book_units, px, side, is_passive=False)
        assert (aggressive - passive) * side >= 0


@pytest.mark.parametrize("size", ["0", "-0.0001", "0.00005", "0.00015", "nan", "inf", "x", "1e999999", "1e30", ""])
def test_sizes_that_do_not_fit_are_refused(size: str) -> None:
    """Nothing, dust, off the step, no number, too large: all ValueErrors that name the market."""
    with pytest.raises(ValueError, match="size of BTC-USD"):
        units.size_to_quantums(BTC, size)


@pytest.mark.parametrize("px", [0.0, -1.0, 100_000.5, float("nan"), float("inf"), 1e300, "1e40"])
def test_prices_that_do_not_fit_are_refused(px: float | str) -> None:
    """The same for prices."""
    with pytest.raises(ValueError, match="price of BTC-USD"):
        units.px_to_subticks(BTC, px)


def test_values_of_the_fact_sheet() -> None:
    """PROTOCOLS.md 2.4, and SOL's book."""
    assert units.size_to_quantums(BTC, "0.001") == 10_000_000
    assert units.px_to_subticks(BTC, 100_000) == 10_000_000_000
    assert (BTC.step_size, BTC.tick_px) == (Decimal("0.0001"), Decimal(1))
    assert (SOL.step_size, SOL.tick_px) == (Decimal("0.1"), Decimal("0.01"))
    assert units.compute_quote_quantums(BTC, 10_000_000, 10_000_000_000) == 100_000_000  # 100 USDC
    with pytest.raises(ValueError, match="whole lots"):
        units.quantums_to_lots(BTC, LISTED["BTC-PERP.DYDX"], 1)
    with pytest.raises(ValueError, match="at least one tick"):
        units.round_px(BTC, 0.4)


def test_units_come_from_the_indexers_market() -> None:
    """And a market that cannot be is refused."""
    market = PerpetualMarket("0", "BTC-USD", -10, -9, Decimal(1), Decimal("0.0001"), 1_000_000, 100_000)
    assert units.units_from_market(market) == BTC
    with pytest.raises(ValueError, match="BTC-USD"):
        units.units_from_market(PerpetualMarket("x", "BTC-USD", -10, -9, Decimal(1), Decimal(1), 1, 1))
