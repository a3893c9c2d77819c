"""A seeded generator of plausible perpetual markets: the offline default, and test data without end.

What it models, per bar, for several instruments driven by one common factor:
- volatility clustering: GARCH(1,1) (Bollerslev 1986) times a slow regime (log-volatility, half-life three weeks);
- jumps, shared and own, rare and several bars' volatility wide;
- a premium of the perpetual over its index that reverts within hours around a mood that lasts days;
- funding from the average premium of the interval, F = P + clamp(0.01 % - P, -0.05 %, 0.05 %) per 8 h (Binance
  manual, "Introduction to Funding Rates"), scaled to the instrument's interval;
- highs and lows by the exact law of a Brownian bridge's extremes; volume that grows with the range; open interest
  that drifts and is cut by large moves.
Does not model: an order book, gaps in the data, seasons of the day, exchange outages, trends that last.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from market.catalog import INTERVAL_NS_DEFAULT, MarketData, make_market
from market.instruments import Instrument, make_instrument
from market.joins import join_funding
from market.records import BAR_DTYPE, NS_PER_DAY, NS_PER_MS, NS_PER_S

FloatArray = NDArray[np.float64]

TS_START_MS_DEFAULT = 1_704_067_200_000  # 2024-01-01
_BURN_IN_NS = 4 * NS_PER_DAY  # simulated and dropped, so that funding is known and states have settled
_NS_PER_YEAR = 365 * NS_PER_DAY


@dataclass(frozen=True, slots=True)
class Profile:
    """What kind of market a contract is."""

    px: float
    volatility_annual_frac: float
    volume_day_base: float
    open_interest_base: float
    correlation: float  # with the common factor


PROFILES = {
    "BTC": Profile(60_000.0, 0.50, 200_000.0, 80_000.0, 0.92),
    "ETH": Profile(3_000.0, 0.65, 3_000_000.0, 1_500_000.0, 0.88),
    "SOL": Profile(150.0, 0.90, 20_000_000.0, 8_000_000.0, 0.80),
}
PROFILE_OTHER = Profile(100.0, 0.80, 1_000_000.0, 500_000.0, 0.75)


class WalkParams(NamedTuple):
    """Everything constant of one instrument's walk, per bar of the chosen interval."""

    px: float
    volatility_bar_frac: float
    correlation: float
    garch_alpha: float
    garch_beta: float
    regime_keep: float  # share of the log-volatility regime left after a bar
    regime_step: float
    premium_keep: float
    premium_step: float
    mood_keep: float
    mood_step: float
    jump_prob: float
    jump_volatilities: float  # width of a jump in bars' volatility
    volume_bar_base: float
    open_interest_base: float
    open_interest_keep: float
    tick_px: float


def generate_market(
    seed: int,
    instrument_ids: Sequence[str],
    n_bars: int,
    interval_ns: int = INTERVAL_NS_DEFAULT,
    ts_start_ms: int = TS_START_MS_DEFAULT,
) -> MarketData:
    """Return `n_bars` bars of each instrument, correlated; the same arguments give the same bytes everywhere.

    An instrument's path depends on the seed and its own id only, and a longer run begins with the shorter one.

    Parameters
    ----------
    seed : int, >= 0
    instrument_ids : sequence of str
        At least one, none twice; unlisted ones get the rules of instruments.make_instrument.
    n_bars : int, >= 1
    interval_ns : int
        Spacing of bars, at most one day.
    ts_start_ms : int
        Open of the first bar, UTC ms, a multiple of the interval.

    Raises: ValueError if an argument is outside these.
    """
    if seed < 0 or n_bars < 1:
        raise ValueError(f"seed is {seed} and n_bars {n_bars}: they must be at least 0 and 1")
    if not instrument_ids or len(set(instrument_ids)) != len(instrument_ids):
        raise ValueError(f"instruments are {list(instrument_ids)}: name at least one, none twice")
    if not 0 < interval_ns <= NS_PER_DAY or ts_start_ms * NS_PER_MS % interval_ns:
        raise ValueError(
            f"interval_ns is {interval_ns}: it must be at most a day and divide the start {ts_start_ms} ms"
        )
    burn_in = -(-_BURN_IN_NS // interval_ns)
    common = _draw(seed, "", burn_in + n_bars)
    instruments = [make_instrument(instrument_id) for instrument_id in instrument_ids]
    bars = np.zeros((len(instruments), n_bars), BAR_DTYPE)
    for row, instrument in enumerate(instruments):
        own = _draw(seed, instrument.instrument_id, burn_in + n_bars)
        values = walk(make_walk_params(instrument, interval_ns), *common, *own)
        ts_first_ns = ts_start_ms * NS_PER_MS - burn_in * interval_ns
        _fill_bars(bars[row], values, instrument, ts_first_ns, interval_ns, burn_in)
    return make_market(instruments, bars, interval_ns)


def make_walk_params(instrument: Instrument, interval_ns: int) -> WalkParams:
    """Return the constants of an instrument's walk; half-lives are in time, so any interval gives one market."""
    profile = PROFILES.get(instrument.base, PROFILE_OTHER)
    persistence = _keep(0.4 * NS_PER_DAY, interval_ns)
    garch_alpha = min(0.12, 0.5 * persistence)
    regime_keep = _keep(21 * NS_PER_DAY, interval_ns)
    premium_keep = _keep(NS_PER_DAY / 8, interval_ns)
    mood_keep = _keep(4 * NS_PER_DAY, interval_ns)
    return WalkParams(
        px=profile.px,
        volatility_bar_frac=0.93 * profile.volatility_annual_frac * math.sqrt(interval_ns / _NS_PER_YEAR),
        correlation=profile.correlation,
        garch_alpha=garch_alpha,
        garch_beta=persistence - garch_alpha,
        regime_keep=regime_keep,
        regime_step=0.3 * math.sqrt(1.0 - regime_keep**2),
        premium_keep=premium_keep,
        premium_step=3e-4 * math.sqrt(1.0 - premium_keep**2),
        mood_keep=mood_keep,
        mood_step=3e-4 * math.sqrt(1.0 - mood_keep**2),
        jump_prob=1.5 * interval_ns / NS_PER_DAY / 7.0,
        jump_volatilities=4.0,
        volume_bar_base=profile.volume_day_base * interval_ns / NS_PER_DAY,
        open_interest_base=profile.open_interest_base,
        open_interest_keep=_keep(10 * NS_PER_DAY, interval_ns),
        tick_px=instrument.tick_px,
    )


def _keep(half_life_ns: float, interval_ns: int) -> float:
    return float(0.5 ** (interval_ns / half_life_ns))


def _draw(seed: int, name: str, length: int) -> tuple[FloatArray, FloatArray]:
    # Rows are bars, so a longer run draws the same first rows.
    entropy = [seed, zlib.crc32(name.encode())]
    normal, uniform = (
        np.random.Generator(np.random.PCG64(child)) for child in np.random.SeedSequence(entropy).spawn(2)
    )
    return normal.standard_normal((length, 7)), uniform.random((length, 3))


@njit(cache=True)
def walk(
    params: WalkParams,
    common_normal: FloatArray,
    common_uniform: FloatArray,
    own_normal: FloatArray,
    own_uniform: FloatArray,
) -> FloatArray:
    """Return float64[T, 7]: open, high, low, close, volume, open interest and premium of each bar.

    The draws are inputs: standard normals [T, 7] and uniforms in [0, 1) [T, 3], common to all instruments and own.
    """
    length = len(own_normal)
    values = np.empty((length, 7))
    variance_mean = params.volatility_bar_frac**2
    variance, regime, premium, mood, crowd = variance_mean, 0.0, 0.0, 1e-4, 0.0
    own_weight = math.sqrt(1.0 - params.correlation**2)
    log_index = math.log(params.px)
    log_px = log_index
    for row in range(length):
        regime = params.regime_keep * regime + params.regime_step * common_normal[row, 1]
        scale = math.exp(regime - 0.09)
        shock = params.correlation * common_normal[row, 0] + own_weight * own_normal[row, 0]
        step = math.sqrt(variance) * shock
        jump = 0.0
        if common_uniform[row, 0] < 0.6 * params.jump_prob:
            jump += params.correlation * params.jump_volatilities * common_normal[row, 2]
        if own_uniform[row, 0] < 0.4 * params.jump_prob:
            jump += params.jump_volatilities * own_normal[row, 2]
        move = scale * (step + jump * params.volatility_bar_frac)
        log_index += move - 0.5 * scale**2 * variance
        mood = params.mood_keep * (mood - 1e-4) + 1e-4 + params.mood_step * own_normal[row, 3]
        premium = mood + params.premium_keep * (premium - mood) + params.premium_step * own_normal[row, 4] + 0.03 * move
        log_open, log_px = log_px, log_index + premium
        spread = 2.0 * scale**2 * variance
        change_squared = (log_px - log_open) ** 2
        middle = 0.5 * (log_open + log_px)
        log_high = middle + 0.5 * math.sqrt(change_squared - spread * math.log(1.0 - own_uniform[row, 1]))
        log_low = middle - 0.5 * math.sqrt(change_squared - spread * math.log(1.0 - own_uniform[row, 2]))
        wide = (log_high - log_low) / params.volatility_bar_frac
        crowd = params.open_interest_keep * crowd + 0.004 * own_normal[row, 5] - 0.004 * max(0.0, wide - 4.0)
        values[row, 0] = _round_to_tick(math.exp(log_open), params.tick_px)
        values[row, 1] = _round_to_tick(math.exp(log_high), params.tick_px)
        values[row, 2] = _round_to_tick(math.exp(log_low), params.tick_px)
        values[row, 3] = _round_to_tick(math.exp(log_px), params.tick_px)
        values[row, 4] = params.volume_bar_base * (0.3 + 0.5 * wide) * math.exp(0.3 * own_normal[row, 6])
        values[row, 5] = params.open_interest_base * math.exp(crowd)
        values[row, 6] = premium
        variance = (
            variance_mean * (1.0 - params.garch_alpha - params.garch_beta)
            + params.garch_alpha * step**2
            + params.garch_beta * variance
        )
    return values


@njit(cache=True)
def _round_to_tick(px: float, tick_px: float) -> float:
    # Dividing by whole ticks a unit gives the decimal's own float; a price never rounds to nothing.
    if tick_px < 1.0:
        per_unit = np.rint(1.0 / tick_px)
        return float(max(1.0, np.rint(px * per_unit)) / per_unit)
    return float(max(1.0, np.rint(px / tick_px)) * tick_px)


def compute_funding_rate(premium_frac: FloatArray, interval_h: int) -> FloatArray:
    """Return the funding rate per interval that average premiums give (Binance's formula), within +-2 %.

    >>> compute_funding_rate(np.array([0.0, 0.001, -0.001]), 8).round(6).tolist()
    [0.0001, 0.0005, -0.0005]
    """
    rate = premium_frac + np.clip(1e-4 - premium_frac, -5e-4, 5e-4)
    return np.clip(rate, -0.02, 0.02) * (interval_h / 8.0)


def settle_funding(
    premium_frac: FloatArray, ts_first_ns: int, interval_ns: int, interval_h: int
) -> tuple[NDArray[np.int64], FloatArray]:
    """Return the settlement times and rates of a run of bars, from the average premium of the interval before each."""
    every_ns = interval_h * 3600 * NS_PER_S
    end_ns = ts_first_ns + len(premium_frac) * interval_ns
    ts_ns = np.arange(ts_first_ns // every_ns + 1, end_ns // every_ns + 1, dtype=np.int64) * every_ns
    closed = (ts_ns - ts_first_ns) // interval_ns  # bars closed by then
    first = np.maximum((ts_ns - every_ns - ts_first_ns) // interval_ns, 0)
    first = np.maximum(np.minimum(first, closed - 1), 0)  # a bar longer than the interval: the last one closed
    total = np.concatenate([[0.0], np.cumsum(premium_frac)])
    closed = np.maximum(closed, 1)
    average = (total[closed] - total[first]) / (closed - first)
    return ts_ns, np.round(compute_funding_rate(average, interval_h), 8)


def _fill_bars(
    bars: NDArray[Any], values: FloatArray, instrument: Instrument, ts_first_ns: int, interval_ns: int, burn_in: int
) -> None:
    ts_open_ns = ts_first_ns + np.arange(burn_in, len(values), dtype=np.int64) * interval_ns
    funding = settle_funding(values[:, 6], ts_first_ns, interval_ns, instrument.funding_interval_h)
    kept = values[burn_in:]
    bars["ts_open_ns"] = ts_open_ns
    for column, name in enumerate(("open_px", "high_px", "low_px", "close_px")):
        bars[name] = kept[:, column]
    bars["volume_base"], bars["open_interest_base"] = np.round(kept[:, 4], 3), np.round(kept[:, 5], 3)
    joined = join_funding(ts_open_ns, interval_ns, *funding)
    bars["funding_rate"], bars["funding_open_rate"], bars["funding_inside_rate"] = joined
    bars["signal"] = np.nan
