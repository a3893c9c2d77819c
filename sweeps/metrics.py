"""Metrics of a replay: one set of kernels, stepped inside the replay loop or run over the arrays it leaves.

Both ways apply the same steps in the same order, so they give the same bits [test]. Definitions
- Day: the UTC day in which a bar opens; its equity is that at the close of its last bar. Days without bars are skipped.
- Sharpe: mean / sample deviation of daily returns (the first day against the start equity) * sqrt(365); 0.0 where it
  is undefined (fewer than two days, no deviation, not finite). A day that begins without equity returns 0.0.
- Drawdown: fraction of the running peak, marked at closes, the start equity being the first peak; above 1.0 only if
  equity fell below zero.
- A trade wins if its net profit (after fees and funding) is above zero. Profit factor: sum of the wins / sum of the
  losses, NaN (None in JSON) where nothing was lost.

Sums run from left to right. Mean and deviation are Welford's: returns that are all equal give a deviation of exactly
zero, where plain sums would leave rounding noise and a Sharpe of 1e8.
Source: Sharpe, "The Sharpe ratio", J. of Portfolio Management 21(1), 1994; Welford, Technometrics 4(3), 1962.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from market.records import NS_PER_DAY, make_dtype
from sweeps.records import FloatArray, ReplayResult

DAYS_PER_YEAR = 365.0  # crypto trades every day


class DailyReturns(NamedTuple):
    """Running moments of daily returns; `equity_quote` is that of the last finished day."""

    equity_quote: float
    days: int
    mean_frac: float
    m2_frac: float  # sum of squared distances from the mean


class Drawdown(NamedTuple):
    """Running peak, the trough since, and the deepest fall of the peaks before."""

    peak_quote: float
    trough_quote: float
    frac_max: float


class TradeSums(NamedTuple):
    """Running sums over closed trades."""

    trades: int
    wins: int
    gain_quote: float  # sum of profits, >= 0
    loss_quote: float  # sum of losses, >= 0


TRADE_SUMS_NEW = TradeSums(0, 0, 0.0, 0.0)


class Metrics(NamedTuple):
    """The metrics of one configuration, in the order and under the names of `trireme backtest --json`."""

    trades: int
    win_rate_frac: float  # [0..1]; 0.0 without trades
    sharpe: float
    return_frac: float
    drawdown_frac_max: float
    profit_factor: float  # NaN: nothing was lost
    fees_quote: float  # > 0 we paid
    funding_quote: float  # > 0 we received
    equity_last_quote: float


METRICS_DTYPE = make_dtype(Metrics)


@njit(cache=True)
def start_daily(equity_start_quote: float) -> DailyReturns:
    """Return the moments before the first day."""
    return DailyReturns(equity_start_quote, 0, 0.0, 0.0)


@njit(cache=True)
def apply_day_end(daily: DailyReturns, equity_quote: float) -> DailyReturns:
    """Return the moments after one more day that ended with `equity_quote`."""
    return_frac = 0.0
    if daily.equity_quote > 0.0:
        return_frac = equity_quote / daily.equity_quote - 1.0
    days = daily.days + 1
    distance_frac = return_frac - daily.mean_frac
    mean_frac = daily.mean_frac + distance_frac / days
    m2_frac = daily.m2_frac + distance_frac * (return_frac - mean_frac)
    return DailyReturns(equity_quote, days, mean_frac, m2_frac)


@njit(cache=True)
def compute_sharpe(daily: DailyReturns) -> float:
    """Return the annualised Sharpe ratio of the days so far; 0.0 where it is undefined."""
    if daily.days < 2 or not daily.m2_frac > 0.0:
        return 0.0
    sharpe = daily.mean_frac / math.sqrt(daily.m2_frac / (daily.days - 1)) * math.sqrt(DAYS_PER_YEAR)
    if not math.isfinite(sharpe):
        return 0.0
    return sharpe


@njit(cache=True)
def start_drawdown(equity_start_quote: float) -> Drawdown:
    """Return the drawdown before the first mark."""
    return Drawdown(equity_start_quote, equity_start_quote, 0.0)


@njit(cache=True)
def apply_equity(drawdown: Drawdown, equity_quote: float) -> Drawdown:
    """Return the drawdown after one mark. Divides only when a new peak ends a fall: this runs once per bar."""
    if equity_quote > drawdown.peak_quote:
        frac_max = drawdown.frac_max
        if drawdown.trough_quote < drawdown.peak_quote:
            frac_max = max(frac_max, 1.0 - drawdown.trough_quote / drawdown.peak_quote)
        return Drawdown(equity_quote, equity_quote, frac_max)
    if equity_quote < drawdown.trough_quote:
        return Drawdown(drawdown.peak_quote, equity_quote, drawdown.frac_max)
    return drawdown


@njit(cache=True)
def compute_drawdown_frac_max(drawdown: Drawdown) -> float:
    """Return the deepest fall so far as a fraction of the peak before it.

    >>> compute_drawdown_frac_max(apply_equity(apply_equity(start_drawdown(120.0), 90.0), 130.0))
    0.25
    """
    return max(drawdown.frac_max, 1.0 - drawdown.trough_quote / drawdown.peak_quote)


@njit(cache=True)
def apply_trade(sums: TradeSums, pnl_quote: float) -> TradeSums:
    """Return the sums after one more closed trade of net profit `pnl_quote`."""
    if pnl_quote > 0.0:
        return TradeSums(sums.trades + 1, sums.wins + 1, sums.gain_quote + pnl_quote, sums.loss_quote)
    return TradeSums(sums.trades + 1, sums.wins, sums.gain_quote, sums.loss_quote - pnl_quote)


@njit(cache=True)
def summarize(
    daily: DailyReturns,
    drawdown: Drawdown,
    sums: TradeSums,
    equity_start_quote: float,
    equity_last_quote: float,
    fees_quote: float,
    funding_quote: float,
) -> Metrics:
    """Return the metrics of a finished run; the last day must have been applied."""
    win_rate_frac = sums.wins / sums.trades if sums.trades > 0 else 0.0
    profit_factor = sums.gain_quote / sums.loss_quote if sums.loss_quote > 0.0 else math.nan
    return Metrics(
        sums.trades,
        win_rate_frac,
        compute_sharpe(daily),
        equity_last_quote / equity_start_quote - 1.0,
        compute_drawdown_frac_max(drawdown),
        profit_factor,
        fees_quote,
        funding_quote,
        equity_last_quote,
    )


@njit(cache=True)
def summarize_arrays(
    ts_first_ns: int,
    interval_ns: int,
    equity_quote: FloatArray,
    pnl_quote: FloatArray,
    equity_start_quote: float,
    fees_quote: float,
    funding_quote: float,
) -> Metrics:
    """Return the metrics of equity at the closes of a grid of bars and of trades: the steps of the loop, day by day."""
    daily, drawdown, sums = start_daily(equity_start_quote), start_drawdown(equity_start_quote), TRADE_SUMS_NEW
    length, bar = equity_quote.shape[0], 0
    while bar < length:
        ts_next_day_ns = ((ts_first_ns + bar * interval_ns) // NS_PER_DAY + 1) * NS_PER_DAY
        next_day_bar = min(-((ts_first_ns - ts_next_day_ns) // interval_ns), length)
        for i in range(bar, next_day_bar):
            drawdown = apply_equity(drawdown, equity_quote[i])
        daily = apply_day_end(daily, equity_quote[next_day_bar - 1])
        bar = next_day_bar
    for pnl in pnl_quote:
        sums = apply_trade(sums, pnl)
    metrics: Metrics = summarize(
        daily, drawdown, sums, equity_start_quote, equity_quote[length - 1], fees_quote, funding_quote
    )
    return metrics


def check_result(result: ReplayResult) -> None:
    """Raise ValueError if a result cannot be measured: no bars, or equity that is not a number."""
    if result.equity_quote.shape[0] == 0:
        raise ValueError("the period holds no bars: nothing to measure; widen --from and --to")
    if not (math.isfinite(result.equity_start_quote) and result.equity_start_quote > 0.0):
        raise ValueError(f"equity_start_quote is {result.equity_start_quote}, must be finite and > 0")
    is_known = np.isfinite(result.equity_quote)
    check_equity_bar(-1 if is_known.all() else int(np.argmin(is_known)))


def check_equity_bar(bar: int) -> None:
    """Raise ValueError if there is a first bar whose equity is not a number; -1: there is none."""
    if bar >= 0:
        raise ValueError(f"equity is not finite from bar {bar} on: check the prices of that bar")


def compute_metrics(result: ReplayResult) -> Metrics:
    """Return the metrics of a replay, to the bit those that its loop accumulates.

    Raises ValueError where `check_result` does.
    """
    check_result(result)
    metrics: Metrics = summarize_arrays(
        int(result.bars[0]["ts_open_ns"][0]),
        result.interval_ns,
        np.ascontiguousarray(result.equity_quote),
        np.ascontiguousarray(result.trades["pnl_quote"]),
        float(result.equity_start_quote),
        float(result.fees_quote),
        float(result.funding_quote),
    )
    return metrics


def compute_drawdowns_frac(equity_quote: FloatArray, equity_start_quote: float) -> FloatArray:
    """Return the drawdown at each bar's close [0..1]; its maximum is `drawdown_frac_max`."""
    peaks = np.maximum.accumulate(np.append(equity_start_quote, equity_quote))[1:]
    return np.asarray(1.0 - equity_quote / peaks, dtype=np.float64)
