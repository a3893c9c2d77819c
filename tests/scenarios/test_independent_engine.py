"""A `signals` replay without risk rules agrees with independent engines on real data, to rounding.

Rounding: prices, times, sides and sizes must be equal to 1e-9 of themselves; money adds up thousands of terms in
another order, so equity and profits to 1e-9 of the account.
"""

import functools

import numpy as np
import pandas as pd
import pytest

from market.catalog import MarketData, make_market
from market.fills import Costs
from market.instruments import find_instrument
from market.reasons import Reason
from market.records import BAR_DTYPE, NS_PER_MS, NS_PER_S
from risk.limits import LIMITS_NONE
from strategies.kernels.signals import SIGNALS_DEFAULT
from sweeps.records import FloatArray, ReplayResult
from sweeps.replay import replay
from tests.scenarios.independent_engines import Followed, Rules, follow_in_backtesting_py, follow_in_pandas
from tests.shared_data import SHARED, needs_shared

CASH_QUOTE = 1_000_000.0
SYMBOLS = {"BTC-PERP.BINANCE": "BTCUSDT", "ETH-PERP.BINANCE": "ETHUSDT"}

pytestmark = needs_shared


@functools.cache
def read_bars(instrument_id: str) -> tuple[pd.DataFrame, FloatArray]:
    """Return all 15-minute bars, and the funding rate settled at each bar's open (0.0: none)."""
    assert SHARED is not None
    symbol = SYMBOLS[instrument_id]
    bars = pd.read_parquet(SHARED / "data" / "bars" / f"binance_um_{symbol}_15m.parquet")
    funding = pd.read_parquet(SHARED / "data" / "funding" / f"binance_um_{symbol}.parquet")
    rates = funding.set_index("ts")["funding_rate"].reindex(bars["ts"]).fillna(0.0)
    return bars, rates.to_numpy()


def make_targets(length: int, sizes: list[float], seed: int) -> FloatArray:
    """Return a target per bar: held for some bars, then another; said once, repeated, or (gaps) not said: NaN."""
    random = np.random.default_rng(seed)
    targets = np.full(length, np.nan)
    bar = 2
    while bar < length - 1:
        target, until = random.choice(sizes), bar + random.geometric(1 / 40)
        targets[bar] = target
        repeats = slice(bar, min(bar + random.integers(1, 9), until, length))
        targets[repeats] = target
        bar = until
    return targets


def make_data(
    instrument_id: str, bars: pd.DataFrame, targets: FloatArray, funding: FloatArray | None = None
) -> MarketData:
    """Return our view of the same bars."""
    rows = np.zeros((1, len(bars)), BAR_DTYPE)
    rows["ts_open_ns"] = bars["ts"].to_numpy() * NS_PER_MS
    for name in ("open", "high", "low", "close"):
        rows[f"{name}_px"] = bars[name].to_numpy()
    rows["volume_base"] = bars["volume"].to_numpy()
    rows["funding_rate"] = rows["open_interest_base"] = np.nan
    rows["funding_open_rate"] = 0.0 if funding is None else funding
    rows["signal"] = targets
    return make_market([find_instrument(instrument_id)], rows, 900 * NS_PER_S)


def check_same(result: ReplayResult, followed: Followed, names: list[str]) -> None:
    """Every trade and every close of both engines are the same."""
    np.testing.assert_array_equal(result.position_lots[0], followed.position_lots)
    np.testing.assert_allclose(result.equity_quote, followed.equity_quote, rtol=1e-9)
    assert len(result.trades) == len(followed.trades)
    for name in names:
        theirs = [trade[name] for trade in followed.trades]
        tolerance = CASH_QUOTE * 1e-9 if name.endswith("_quote") else 0.0
        np.testing.assert_allclose(result.trades[name], theirs, rtol=1e-9, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("instrument_id", SYMBOLS)
@pytest.mark.parametrize("costs", [Costs(4.5, 1.5, 0.0), Costs(0.0, 0.0, 3.0)])
def test_agrees_with_backtesting_py(instrument_id: str, costs: Costs) -> None:
    bars = read_bars(instrument_id)[0][60_000:95_040].reset_index(drop=True)
    targets = make_targets(len(bars), [-0.9, 0.0, 0.9], seed=1)
    targets[-200:] = 0.0  # flat at the end: what an engine does with an open position there is its own affair
    rules = Rules(
        find_instrument(instrument_id).lot_base, CASH_QUOTE, costs.fee_taker_bps * 1e-4, costs.slippage_bps * 1e-4
    )
    result, _ = replay(make_data(instrument_id, bars, targets), SIGNALS_DEFAULT, LIMITS_NONE, costs, CASH_QUOTE)
    assert len(result.trades) > 100
    names = ["i_entry", "i_exit", "side", "qty_base", "entry_px", "exit_px", "pnl_quote"]
    check_same(result, follow_in_backtesting_py(bars, targets, rules), names)


@pytest.mark.parametrize("instrument_id", SYMBOLS)
def test_agrees_with_pandas_on_the_whole_history(instrument_id: str) -> None:
    bars, funding = read_bars(instrument_id)
    targets = make_targets(len(bars), [-1.0, -0.5, 0.0, 0.3, 0.6, 1.0], seed=2)
    targets[-500:-3] = 0.5  # still held when the data ends
    costs = Costs(4.5, 1.5, 2.0)
    rules = Rules(find_instrument(instrument_id).lot_base, CASH_QUOTE, 4.5e-4, 2e-4)
    data = make_data(instrument_id, bars, targets, funding)
    result, _ = replay(data, SIGNALS_DEFAULT, LIMITS_NONE, costs, CASH_QUOTE)
    followed = follow_in_pandas(bars, targets, funding, rules)
    names = ["i_entry", "i_exit", "side", "qty_base", "entry_px", "exit_px", "pnl_quote", "fee_quote", "funding_quote"]
    check_same(result, followed, names)
    assert len(result.trades) > 500
    assert not result.denials.any()
    assert result.fees_quote == pytest.approx(sum(trade["fee_quote"] for trade in followed.trades))
    assert result.funding_quote == pytest.approx(sum(trade["funding_quote"] for trade in followed.trades))
    assert result.trades["exit_reason"][-1] == Reason.END_OF_DATA
