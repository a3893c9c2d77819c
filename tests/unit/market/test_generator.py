"""The generator: the same seed gives the same bytes anywhere, and the markets look like markets."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from market.catalog import MarketData
from market.generator import TS_START_MS_DEFAULT, compute_funding_rate, generate_market, settle_funding
from market.records import NS_PER_S

IDS = ["BTC-PERP.BINANCE", "ETH-PERP.HYPERLIQUID", "XYZ-PERP.NOWHERE"]
YEAR_BARS = 35_040
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def year() -> MarketData:
    return generate_market(3, IDS, YEAR_BARS)


def returns(market: MarketData, row: int) -> np.ndarray:
    return np.diff(np.log(market.bars["close_px"][row]))


def test_same_seed_same_bytes_in_a_fresh_process() -> None:
    code = f"from market.generator import generate_market; print(generate_market(11, {IDS!r}, 500).sha256)"
    fresh = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == generate_market(11, IDS, 500).sha256
    assert generate_market(12, IDS, 500).sha256 != fresh.stdout.strip()


def test_a_path_depends_on_its_own_id_and_grows_at_its_end() -> None:
    alone, together = generate_market(5, IDS[:1], 300), generate_market(5, IDS, 200)
    assert alone.bars[0, :200].tobytes() == together.bars[0].tobytes()


def test_bars_are_sound_and_joined(year: MarketData) -> None:
    bars = year.bars
    assert bars.shape == (3, YEAR_BARS)
    assert year.ts_first_ms == TS_START_MS_DEFAULT
    top, bottom = np.maximum(bars["open_px"], bars["close_px"]), np.minimum(bars["open_px"], bars["close_px"])
    assert (bars["high_px"] >= top).all()
    assert (bars["low_px"] <= bottom).all()
    assert (bars["low_px"] > 0.0).all()
    assert (bars["open_px"][:, 1:] == bars["close_px"][:, :-1]).all()
    assert (bars["volume_base"] > 0.0).all()
    assert (bars["open_interest_base"] > 0.0).all()
    assert np.isfinite(bars["funding_rate"]).all()
    assert not bars["quality"].any()
    for row, hours in enumerate([8, 1, 8]):
        is_due = bars["ts_open_ns"][row] % (hours * 3600 * NS_PER_S) == 0
        assert not bars["funding_open_rate"][row][~is_due].any()
        assert np.count_nonzero(bars["funding_open_rate"][row]) >= is_due.sum() - 5  # a rate may happen to be 0
    assert not bars["funding_inside_rate"].any()
    ticks = bars["close_px"][0] / year.instruments[0].tick_px
    assert np.abs(ticks - np.rint(ticks)).max() < 1e-6


def test_volatility_is_that_of_the_market() -> None:
    seen = [returns(generate_market(seed, IDS[:1], YEAR_BARS), 0).std() * np.sqrt(YEAR_BARS) for seed in range(6)]
    assert 0.40 < np.mean(seen) < 0.60
    assert min(seen) > 0.30
    assert max(seen) < 0.80


def test_stylised_facts(year: MarketData) -> None:
    for row in range(3):
        change = returns(year, row)
        kurtosis = np.mean((change - change.mean()) ** 4) / change.var() ** 2
        assert kurtosis > 5.0  # fat tails
        size = np.abs(change)
        for lag, least in [(1, 0.15), (4, 0.10), (96, 0.02)]:  # volatility clusters for a day and longer
            assert np.corrcoef(size[lag:], size[:-lag])[0, 1] > least
        assert abs(np.corrcoef(change[1:], change[:-1])[0, 1]) < 0.05  # direction does not
    correlation = np.corrcoef([returns(year, row) for row in range(3)])
    assert correlation[np.triu_indices(3, 1)].min() > 0.4
    spread = np.log(year.bars["high_px"][0] / year.bars["low_px"][0])
    assert np.corrcoef(spread, year.bars["volume_base"][0])[0, 1] > 0.3


def test_funding_follows_the_premium() -> None:
    premium = np.linspace(-0.003, 0.003, 61)
    rate = compute_funding_rate(premium, 8)
    assert (np.diff(rate) >= -1e-18).all()
    is_large = np.abs(premium) > 5.0e-4
    assert (np.sign(rate[is_large]) == np.sign(premium[is_large])).all()
    near = np.abs(premium - 1e-4) < 4.9e-4
    assert np.ptp(rate[near]) < 1e-18
    np.testing.assert_allclose(compute_funding_rate(premium, 1) * 8, rate)


@pytest.mark.parametrize(
    ("interval_s", "expected"),
    [
        (1800, [1.5, 3.5, 5.5]),  # two bars an hour: their average
        (3600, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
        (
            7200,
            [1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0, 6.0, 7.0],
        ),  # bars longer: the last one closed
    ],
)
def test_settlements_average_the_interval_before(interval_s: int, expected: list[float]) -> None:
    premium = np.arange(1.0, 8.0) * 1e-3
    ts_ns, rates = settle_funding(premium, 0, interval_s * NS_PER_S, 1)
    np.testing.assert_allclose(rates, compute_funding_rate(np.array(expected) * 1e-3, 1), atol=1e-8)
    assert ts_ns.tolist() == [hour * 3600 * NS_PER_S for hour in range(1, len(rates) + 1)]


def test_the_market_has_funding_that_its_own_price_explains(year: MarketData) -> None:
    rates = year.bars["funding_rate"][0]
    assert 0.0 < np.median(rates) < 3e-4
    assert (rates < 0.0).mean() > 0.01
    assert rates.max() > 3e-4


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((-1, IDS, 10), "seed is -1"),
        ((1, IDS, 0), "n_bars 0"),
        ((1, [], 10), "name at least one"),
        ((1, ["BTC-PERP.BINANCE"] * 2, 10), "none twice"),
        ((1, ["btc"], 10), "not of the form"),
        ((1, IDS, 10, 0), "interval_ns is 0"),
        ((1, IDS, 10, 900 * NS_PER_S, 7), "divide the start"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        generate_market(*arguments)
