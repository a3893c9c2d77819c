"""How the bars of a sweep are split: holdout, and walk-forward folds of train and test, cut at midnight UTC."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from market.catalog import MarketData
from market.records import NS_PER_DAY
from market.series import format_interval
from sweeps.metrics import DAYS_PER_YEAR
from sweeps.records import FloatArray
from sweeps.spec import WalkForward

DAYS_MIN = 2  # of a test or of a holdout: less has no Sharpe ratio


@dataclass(frozen=True, slots=True)
class Fold:
    """One split of the in-sample bars; every end is exclusive. Between train and test lie the bars left out."""

    train: range
    test: range


@dataclass(frozen=True, slots=True)
class Split:
    """What is in sample, what is held out (an empty range: nothing), and the folds within the sample."""

    in_sample: range
    holdout: range
    folds: tuple[Fold, ...]


def make_split(market: MarketData, holdout_frac: float, walk_forward: WalkForward) -> Split:
    """Return the split of a market's bars. The holdout begins `embargo_bars` after the sample.

    Raises ValueError where a train, a test or the holdout would be shorter than two days.
    """
    length = market.bars.shape[1]
    end = length
    holdout = range(length, length)
    if holdout_frac > 0.0:
        end = _floor_to_midnight(market, length - round(length * holdout_frac))
        holdout = range(min(length, end + walk_forward.embargo_bars), length)
        _check_days(market, holdout, f"the holdout (holdout_frac {holdout_frac:g})")
    _check_days(market, range(end), "the sample")
    return Split(range(end), holdout, tuple(_make_folds(market, end, walk_forward)))


def _make_folds(market: MarketData, end: int, settings: WalkForward) -> list[Fold]:
    if not settings.folds:
        return []
    first = end - round(end * settings.test_frac)
    bars = (round(first + (end - first) * number / settings.folds) for number in range(settings.folds))
    edges = [_floor_to_midnight(market, bar) for bar in bars]
    left_out = settings.purge_bars + settings.embargo_bars
    train_bars = edges[0] - left_out
    folds = []
    for number, (start, stop) in enumerate(zip(edges, [*edges[1:], end], strict=True)):
        train_stop = start - left_out
        train = range(0 if settings.scheme == "anchored" else max(0, train_stop - train_bars), max(0, train_stop))
        _check_days(market, train, f"the train of walk-forward fold {number + 1}")
        _check_days(market, range(start, stop), f"the test of walk-forward fold {number + 1}")
        folds.append(Fold(train, range(start, stop)))
    return folds


def _floor_to_midnight(market: MarketData, bar: int) -> int:
    # The last bar up to `bar` that opens a UTC day; `bar` itself where bars do not open at midnight.
    ts_ns = int(market.bars["ts_open_ns"][0, 0]) + bar * market.interval_ns
    back, rest = divmod(ts_ns % NS_PER_DAY, market.interval_ns)
    return max(0, bar - back) if rest == 0 else bar


def _check_days(market: MarketData, bars: range, what: str) -> None:
    if len(bars) * market.interval_ns < DAYS_MIN * NS_PER_DAY:
        raise ValueError(
            f"{what} has {len(bars)} bars of {format_interval(market.interval_ns)}, needs {DAYS_MIN} days: "
            "widen the period, or use fewer folds and smaller fractions"
        )


def find_days(market: MarketData, bars: range) -> slice:
    """Return which of a market's UTC days lie within a range of its bars, first and last bar included."""
    ts_first_ns = int(market.bars["ts_open_ns"][0, 0])
    day_first = ts_first_ns // NS_PER_DAY
    start_ns, stop_ns = (ts_first_ns + bar * market.interval_ns for bar in (bars.start, bars.stop))
    first = -(-start_ns // NS_PER_DAY) if bars.start > 0 else day_first
    is_end = bars.stop == market.bars.shape[1]
    last = (-(-stop_ns // NS_PER_DAY)) if is_end else stop_ns // NS_PER_DAY
    return slice(first - day_first, max(first, last) - day_first)


def compute_returns(equity_daily_quote: FloatArray, equity_start_quote: float) -> FloatArray:
    """Return float64[..., days], the fraction that each day gained; 0.0 after a day that ended without equity."""
    before = np.empty_like(equity_daily_quote)
    before[..., 0] = equity_start_quote
    before[..., 1:] = equity_daily_quote[..., :-1]
    has_equity = before > 0.0
    gained = np.divide(equity_daily_quote, before, out=np.ones_like(before), where=has_equity)
    return np.asarray(gained - 1.0)


def compute_sharpes(returns_frac: FloatArray) -> FloatArray:
    """Return the annualised Sharpe ratios of float[..., days]; 0.0 where they are undefined, as in `metrics`."""
    days = returns_frac.shape[-1]
    if days < DAYS_MIN:
        return np.zeros(returns_frac.shape[:-1])
    returns_frac = returns_frac.astype(np.float64)
    deviation = returns_frac.std(axis=-1, ddof=1)
    # Returns that are all equal leave rounding noise as their deviation.
    is_flat = (returns_frac == returns_frac[..., :1]).all(axis=-1) | ~(deviation > 0.0)
    sharpes = np.divide(returns_frac.mean(axis=-1), deviation, out=np.zeros(returns_frac.shape[:-1]), where=~is_flat)
    return np.where(np.isfinite(sharpes), sharpes * math.sqrt(DAYS_PER_YEAR), 0.0)


def cut(market: MarketData, bars: range) -> MarketData:
    """Return a part of a market; its hash stays that of the whole."""
    return dataclasses.replace(market, bars=market.bars[:, bars.start : bars.stop])
