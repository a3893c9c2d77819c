"""Markets whose truth is known: some without any edge, some in which a strategy's belief holds.

All of them move between closes as a Brownian motion does: highs and lows follow the exact law of the extremes of a
bridge. Prices without an edge are martingales, whatever their volatility does, so that nothing but luck earns.
"""

import numpy as np
import numpy.typing as npt

from market.catalog import MarketData, make_market
from market.instruments import make_instrument
from market.records import BAR_DTYPE, NS_PER_MS, NS_PER_S

FloatArray = npt.NDArray[np.float64]

INSTRUMENT_ID = "BTC-PERP.BINANCE"
INTERVAL_NS = 3600 * NS_PER_S
TS_START_MS = 1_704_067_200_000  # 2024-01-01
VOLATILITY = 0.006  # of an hour: about 56 % a year
BURN_IN_BARS = 500


def make_even_noise(seed: int, bars: int) -> MarketData:
    """Return independent Gaussian returns of one volatility."""
    rng = np.random.default_rng((seed, 1))
    return _make_bars(rng, np.full(bars, VOLATILITY), np.zeros(bars))


def make_wild_noise(seed: int, bars: int) -> MarketData:
    """Return GARCH(1,1) returns with Student-t shocks of four degrees of freedom: heavy tails in clusters."""
    rng = np.random.default_rng((seed, 2))
    length = BURN_IN_BARS + bars
    # A t shock is a Gaussian one whose variance is drawn; within its bar the price still moves as a Brownian motion.
    widths = np.sqrt(2.0 / rng.chisquare(4.0, length))
    shocks = rng.standard_normal(length)
    variances, variance = [], VOLATILITY**2
    for moved_squared in ((widths * shocks) ** 2).clip(max=25.0).tolist():  # one wild bar does not end the market
        variances.append(variance)
        variance = 0.05 * VOLATILITY**2 + 0.10 * moved_squared * variance + 0.85 * variance
    volatility = widths * np.sqrt(variances)
    return _make_bars(rng, volatility[BURN_IN_BARS:], np.zeros(bars), shocks[BURN_IN_BARS:])


def make_trends(seed: int, bars: int, drift: float, length_bars: int) -> MarketData:
    """Return a market that drifts up or down, by so many deviations an hour, and turns at random after so many hours.

    drift 0.0: none, the same as even noise.
    """
    rng = np.random.default_rng((seed, 3))
    turns = rng.random(bars) < 1.0 / length_bars
    sides = rng.choice([-1.0, 1.0]) * np.where(np.cumsum(turns) % 2, -1.0, 1.0)
    return _make_bars(rng, np.full(bars, VOLATILITY), drift * VOLATILITY * sides)


def make_reversion(seed: int, bars: int, half_life_bars: float) -> MarketData:
    """Return a market that comes back to its mean, its funding rate high where the price is stretched upward."""
    rng = np.random.default_rng((seed, 4))
    keep = 0.5 ** (1.0 / half_life_bars)
    shocks = rng.standard_normal(bars)
    places, place = [], 0.0
    for shock in shocks.tolist():
        places.append(place)
        place = keep * place + VOLATILITY * shock
    market = _make_bars(rng, np.full(bars, VOLATILITY), (keep - 1.0) * np.array(places), shocks)
    rows = market.bars.copy()
    stretch = np.log(rows["close_px"][0] / rows["open_px"][0, 0])
    rows["funding_rate"] = 1e-6 * stretch / VOLATILITY  # known, and so small that paying it changes nothing
    return make_market(market.instruments, rows, INTERVAL_NS)


def _make_bars(
    rng: np.random.Generator, volatility: FloatArray, drift: FloatArray, shocks: FloatArray | None = None
) -> MarketData:
    # Bars of returns exp(drift + volatility * shock - volatility^2 / 2), whose mean is exp(drift).
    bars = len(volatility)
    moves = drift + volatility * (rng.standard_normal(bars) if shocks is None else shocks) - 0.5 * volatility**2
    log_px = np.log(60_000.0) + np.concatenate([[0.0], np.cumsum(moves)])
    opened, closed = log_px[:-1], log_px[1:]
    # The extremes of a Brownian bridge from 0 to `move`: (move +- sqrt(move^2 - 2 volatility^2 ln U)) / 2.
    reach = [0.5 * np.sqrt(moves**2 - 2.0 * volatility**2 * np.log(1.0 - rng.random(bars))) for _ in range(2)]
    rows = np.zeros((1, bars), BAR_DTYPE)
    rows["ts_open_ns"] = TS_START_MS * NS_PER_MS + np.arange(bars) * INTERVAL_NS
    rows["open_px"], rows["close_px"] = np.exp(opened), np.exp(closed)
    rows["high_px"] = np.maximum(np.exp(0.5 * (opened + closed) + reach[0]), np.exp(np.maximum(opened, closed)))
    rows["low_px"] = np.minimum(np.exp(0.5 * (opened + closed) - reach[1]), np.exp(np.minimum(opened, closed)))
    rows["volume_base"] = 1000.0
    rows["funding_rate"] = rows["open_interest_base"] = rows["signal"] = np.nan
    return make_market([make_instrument(INSTRUMENT_ID)], rows, INTERVAL_NS)
