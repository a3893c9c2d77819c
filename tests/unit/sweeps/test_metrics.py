"""Metrics against independent numpy and pandas formulas, and the stepped form against the array form, to the bit."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.records import NS_PER_DAY
from sweeps.metrics import (
    TRADE_SUMS_NEW,
    Metrics,
    apply_day_end,
    apply_equity,
    apply_trade,
    compute_drawdown_frac_max,
    compute_drawdowns_frac,
    compute_metrics,
    compute_sharpe,
    start_daily,
    start_drawdown,
    summarize,
)
from sweeps.records import TRADE_DTYPE, FloatArray, ReplayResult
from tests.unit.sweeps.results import EQUITY_START_QUOTE, INTERVAL_NS, TS_START_NS, make_bars, make_result, make_trades

EQUITIES = st.lists(st.floats(1.0, 1e6), min_size=1, max_size=400)


def result_of(equity_quote: list[float], ts_start_ns: int = TS_START_NS) -> ReplayResult:
    """A result without trades whose equity is given."""
    bars = make_bars(len(equity_quote), ts_start_ns=ts_start_ns)
    return make_result(bars, np.zeros(0, TRADE_DTYPE), np.array(equity_quote))


def oracle_daily_returns(result: ReplayResult) -> "pd.Series[float]":
    """Daily returns as pandas sees them."""
    index = pd.to_datetime(result.bars[0]["ts_open_ns"], utc=True)
    daily = pd.Series(result.equity_quote, index).resample("1D").last().dropna()
    before = np.append(result.equity_start_quote, daily.to_numpy()[:-1])
    return daily / before - 1.0


def step_through(result: ReplayResult) -> Metrics:
    """The metrics as a replay loop gathers them: one step per bar, one per day, one per trade."""
    start_quote = result.equity_start_quote
    daily, drawdown, sums = start_daily(start_quote), start_drawdown(start_quote), TRADE_SUMS_NEW
    day, equity_before = result.bars[0]["ts_open_ns"][0] // NS_PER_DAY, start_quote
    for ts_open_ns, equity_quote in zip(result.bars[0]["ts_open_ns"], result.equity_quote, strict=True):
        if ts_open_ns // NS_PER_DAY != day:
            daily, day = apply_day_end(daily, equity_before), ts_open_ns // NS_PER_DAY
        drawdown, equity_before = apply_equity(drawdown, equity_quote), equity_quote
    daily = apply_day_end(daily, equity_before)
    for pnl_quote in result.trades["pnl_quote"]:
        sums = apply_trade(sums, pnl_quote)
    return summarize(
        daily, drawdown, sums, start_quote, equity_before, float(result.fees_quote), float(result.funding_quote)
    )


def same_bits(a: Metrics, b: Metrics) -> bool:
    """Whether every metric is the same float, NaN being itself."""
    return np.array(a, np.float64).tobytes() == np.array(b, np.float64).tobytes()


@settings(max_examples=60, deadline=None)
@given(EQUITIES, st.integers(0, 95))
def test_metrics_agree_with_pandas_and_with_the_stepped_form(equity_quote: list[float], bars_into_day: int) -> None:
    result = result_of(equity_quote, TS_START_NS + bars_into_day * INTERVAL_NS)
    metrics = compute_metrics(result)
    assert same_bits(metrics, step_through(result))

    returns = oracle_daily_returns(result)
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    if deviation > 1e-9:
        assert metrics.sharpe == pytest.approx(returns.mean() / deviation * math.sqrt(365), rel=1e-6, abs=1e-9)
    curve = np.append(EQUITY_START_QUOTE, equity_quote)
    assert metrics.drawdown_frac_max == np.max(1.0 - curve / np.maximum.accumulate(curve))
    assert metrics.drawdown_frac_max == compute_drawdowns_frac(result.equity_quote, EQUITY_START_QUOTE).max(initial=0.0)
    assert metrics.return_frac == equity_quote[-1] / EQUITY_START_QUOTE - 1.0
    assert metrics.equity_last_quote == equity_quote[-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e5, 1e5), max_size=60))
def test_trade_metrics_agree_with_numpy(pnl_quote: list[float]) -> None:
    trades = np.zeros(len(pnl_quote), TRADE_DTYPE)
    trades["pnl_quote"] = pnl_quote
    metrics = compute_metrics(make_result(make_bars(100), trades, np.full(100, EQUITY_START_QUOTE)))
    wins, losses = trades["pnl_quote"][trades["pnl_quote"] > 0], trades["pnl_quote"][trades["pnl_quote"] < 0]
    assert metrics.trades == len(pnl_quote)
    assert metrics.win_rate_frac == (len(wins) / len(pnl_quote) if pnl_quote else 0.0)
    if len(losses):
        assert metrics.profit_factor == pytest.approx(wins.sum() / -losses.sum(), rel=1e-9)
    else:
        assert math.isnan(metrics.profit_factor)


def test_a_year_of_trades_steps_to_the_same_bits() -> None:
    bars = make_bars(35_040)
    result = make_result(bars, make_trades(bars))
    metrics = compute_metrics(result)
    assert metrics.trades == len(result.trades) == 701
    assert same_bits(metrics, step_through(result))
    assert metrics.equity_last_quote == pytest.approx(EQUITY_START_QUOTE + result.trades["pnl_quote"].sum())


@pytest.mark.parametrize(
    ("equity_quote", "sharpe"),
    [
        ([], 0.0),  # no day
        ([100.0], 0.0),  # one day has no deviation
        ([100.0, 100.0, 100.0], 0.0),  # flat
        ([101.0, 100.0], None),
        ([-5.0, -7.0], None),  # ruined: later days return 0.0
    ],
)
def test_sharpe_of_few_days(equity_quote: list[float], sharpe: float | None) -> None:
    daily = start_daily(100.0)
    for equity in equity_quote:
        daily = apply_day_end(daily, equity)
    if sharpe is None:
        before = [100.0, *equity_quote[:-1]]
        returns = [now / then - 1.0 if then > 0 else 0.0 for now, then in zip(equity_quote, before, strict=True)]
        sharpe = float(np.mean(returns) / np.std(returns, ddof=1) * math.sqrt(365))
    assert compute_sharpe(daily) == pytest.approx(sharpe)


def test_equal_returns_have_no_sharpe_rather_than_a_huge_one() -> None:
    daily = start_daily(1.0)
    for power in range(1, 50):
        daily = apply_day_end(daily, 2.0**power)
    assert daily.m2_frac == 0.0
    assert compute_sharpe(daily) == 0.0


def test_the_start_equity_is_the_first_peak() -> None:
    drawdown = start_drawdown(100.0)
    for equity in (90.0, 95.0, 120.0, 114.0):
        drawdown = apply_equity(drawdown, equity)
    assert compute_drawdown_frac_max(drawdown) == 1.0 - 90.0 / 100.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"equity_quote": np.zeros(0)}, "the period holds no bars"),
        ({"equity_start_quote": 0.0}, "equity_start_quote is 0.0"),
        ({"equity_start_quote": math.nan}, "equity_start_quote is nan"),
        ({"equity_quote": np.array([1.0, math.nan])}, "not finite from bar 1 on"),
        ({"equity_quote": np.array([math.inf, 1.0])}, "not finite from bar 0 on"),
    ],
)
def test_what_cannot_be_measured_is_refused(change: dict[str, FloatArray | float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_metrics(replace(result_of([1.0, 2.0]), **change))  # type: ignore[arg-type]
