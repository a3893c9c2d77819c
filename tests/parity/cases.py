"""Random accounts for the parity proof: a market with everything that goes wrong, a strategy, limits, costs.

`make_case(seed)` is one function of its seed: a failing seed is the whole repro.
"""

from typing import Any

import numpy as np

from market.catalog import MarketData, make_market
from market.fills import Costs
from market.generator import generate_market
from market.records import Quality
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE, Limits, check_limits, switch
from strategies.catalog import STRATEGIES, check_params
from tests.parity.trace import Case

Array = np.ndarray[Any, Any]

INSTRUMENT_IDS = ("BTC-PERP.BINANCE", "SOL-PERP.HYPERLIQUID", "ETH-PERP.DYDX")
SWITCHABLE = (  # "stops" stays: without it a position has no stop, and the executor flattens what has none
    "cooldown",
    "rate_limit",
    "reward_to_risk",
    "breaker",
    "kelly",
    "hard_stop",
    "exposure",
    "correlation",
    "trailing",
    "daily_loss",
)
WINDOW_BARS_MAX = 60  # so that a few hundred bars are enough to trade


def make_case(seed: int, strategy: str | None = None, bars: int | None = None) -> Case:
    """Return a random account; `strategy` and `bars` fix what they name."""
    random = np.random.default_rng(seed)
    name = str(random.choice(list(STRATEGIES))) if strategy is None else strategy
    instruments = int(random.integers(1, 4))
    length = int(random.integers(200, 600)) if bars is None else bars
    # A bold account is liquidated by a jump; the others are never so short of margin that a venue refuses an entry.
    is_bold = instruments == 1 and random.random() < 0.4
    jump_frac = 0.15 if is_bold else float(random.choice([0.0, 0.02, 0.15]))
    return Case(
        market=make_rough_market(random, instruments, length, jump_frac),
        params=make_params(random, name, float(random.uniform(5.0, 10.0) if is_bold else random.uniform(0.1, 1.2))),
        limits=LIMITS_NONE if is_bold else make_limits(random),
        costs=Costs(*(float(cost) for cost in random.uniform([0.0, -1.0, 0.0], [8.0, 4.0, 6.0]))),
        equity_start_quote=float(10.0 ** random.uniform(2.0, 6.0)),
    )


def make_params(random: np.random.Generator, name: str, size_frac: float) -> tuple[Any, ...]:
    """Return random parameters of a strategy within what its catalog allows, windows short."""
    idea = STRATEGIES[name]
    values: dict[str, float] = {}
    for key, allowed in idea.ranges.items():
        if key == "size_frac":
            values[key] = size_frac
        elif key.endswith("_bars") and allowed.is_int:
            values[key] = int(random.integers(max(2, int(allowed.least)), WINDOW_BARS_MAX))
        elif key == "take_profit_atr":
            values[key] = float(random.choice([0.0, 0.5, 2.0, 6.0]))
        else:
            value = random.uniform(allowed.low, allowed.high)
            values[key] = int(value) if allowed.is_int else float(value)
    for key, allowed in idea.ranges.items():
        if allowed.below:
            values[key] = min(values[key], values[allowed.below])
    params = idea.params(**values)
    check_params(params)
    return params


def make_limits(random: np.random.Generator) -> Limits:
    """Return no limits, the defaults, or limits with rules tightened, widened and switched off."""
    kind = random.integers(0, 4)
    if kind == 0:
        return LIMITS_NONE
    if kind == 1:
        return LIMITS_DEFAULT
    off = [rule for rule in SWITCHABLE if random.random() < 0.5]
    limits = switch(LIMITS_DEFAULT, False, *off) if off else LIMITS_DEFAULT
    if kind == 3:
        limits = limits._replace(
            daily_loss=limits.daily_loss._replace(loss_frac_max=float(random.uniform(0.002, 0.05))),
            exit_tracking=limits.exit_tracking._replace(holding_s_max=float(random.uniform(3600.0, 200_000.0))),
            cooldown=limits.cooldown._replace(cooldown_s=float(random.uniform(0.0, 50_000.0))),
            positions=limits.positions._replace(positions_max=int(random.integers(1, 4))),
            trailing=limits.trailing._replace(
                armed_frac=float(random.uniform(0.0, 0.01)), distance_frac=float(random.uniform(0.001, 0.03))
            ),
            prior=limits.prior._replace(weight_trades=float(random.uniform(0.0, 200.0)), win_rate_frac=0.6),
            leverage=limits.leverage._replace(leverage_max=float(random.uniform(0.5, 10.0))),
            rate_limit=limits.rate_limit._replace(instrument_burst=1, instrument_per_h=float(random.uniform(0.1, 4.0))),
        )
    check_limits(limits)
    return limits


def make_rough_market(random: np.random.Generator, instruments: int, length: int, jump_frac: float) -> MarketData:
    """Return a generated market with missing bars, gaps of price, funding at odd times, and a signal series."""
    market = generate_market(int(random.integers(0, 1 << 31)), INSTRUMENT_IDS[:instruments], length)
    bars = market.bars.copy()
    missing_prob = float(random.choice([0.0, 0.02, 0.2]))
    for row in range(instruments):
        _stretch(random, bars[row])
        _jump(random, bars[row], jump_frac)
        is_paid = random.random(length) < 0.05
        bars["funding_inside_rate"][row] = np.where(is_paid, random.normal(1e-4, 1e-3, length), 0.0)
        bars["signal"][row] = make_signal(random, length)
        _lose_bars(random, bars[row], missing_prob)
    return make_market(market.instruments, bars, market.interval_ns)


def _stretch(random: np.random.Generator, bars: Array) -> None:
    # Long wicks: a trailing stop follows them to beyond the close.
    is_long = random.random(len(bars)) < 0.05
    wick = np.where(is_long, np.abs(random.normal(0.0, 0.02, (2, len(bars)))), 0.0)
    bars["high_px"] *= 1.0 + wick[0]
    bars["low_px"] *= np.exp(-wick[1])


def _jump(random: np.random.Generator, bars: Array, jump_frac: float) -> None:
    # Between a close and the next open the price moves by a few times `jump_frac`, now and then.
    steps = np.where(random.random(len(bars)) < 0.03, random.normal(0.0, jump_frac, len(bars)), 0.0)
    factor = np.exp(np.cumsum(steps))
    for name in ("open_px", "high_px", "low_px", "close_px"):
        bars[name] *= factor


def _lose_bars(random: np.random.Generator, bars: Array, missing_prob: float) -> None:
    # As the catalog fills what its source lacks: the last close, no volume, flagged; the bar after it is flagged too.
    is_missing = random.random(len(bars)) < missing_prob
    is_missing[0] = False
    for index in np.flatnonzero(is_missing):
        for name in ("open_px", "high_px", "low_px", "close_px"):
            bars[name][index] = bars["close_px"][index - 1]
        bars["volume_base"][index] = 0.0
        bars["quality"][index] = Quality.MISSING.value
        if index + 1 < len(bars) and not is_missing[index + 1]:
            bars["quality"][index + 1] |= Quality.AFTER_GAP.value


def make_signal(random: np.random.Generator, length: int) -> Array:
    """Return a target per bar in -1..1: held for some bars, then another; NaN where nothing is said."""
    signal = np.full(length, np.nan)
    bar = int(random.integers(1, 20))
    while bar < length:
        signal[bar] = random.choice([1.0, -1.0, 0.5, -0.3, 0.0, random.uniform(-1.0, 1.0)])
        bar += 1 + int(random.geometric(1 / 8))
    return signal
