"""Parity on recorded Binance bars with their real funding and open interest."""

import numpy as np
import pandas as pd
import pytest

from market.catalog import MarketData, make_market
from market.fills import Costs
from market.instruments import find_instrument
from market.joins import AGE_NS_MAX, join_funding, join_last_known
from market.records import BAR_DTYPE, NS_PER_MS, NS_PER_S
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE, Limits, switch
from strategies.catalog import STRATEGIES
from sweeps.tape import TRACE_FILL
from tests.parity.cases import make_params, make_signal
from tests.parity.trace import Case, find_difference, run_live_side, run_replay_side
from tests.shared_data import SHARED, needs_shared

pytestmark = needs_shared

INTERVAL_NS = 900 * NS_PER_S
SYMBOLS = {"BTC-PERP.BINANCE": "BTCUSDT", "ETH-PERP.BINANCE": "ETHUSDT"}
PERIODS = {"crash of June 2022": (22_400, 1200), "calm of August 2023": (63_000, 1200)}
OPEN = switch(LIMITS_DEFAULT, False, "reward_to_risk", "breaker")  # trades a lot, guarded by all the rest


def load(symbol: str, first: int, length: int, seed: int) -> np.ndarray:
    """Return BAR_DTYPE[length] from row `first` on."""
    assert SHARED is not None
    data = SHARED / "data"
    frame = pd.read_parquet(data / "bars" / f"binance_um_{symbol}_15m.parquet").iloc[first : first + length]
    funding = pd.read_parquet(data / "funding" / f"binance_um_{symbol}.parquet")
    interest = pd.read_parquet(data / "open_interest" / f"binance_um_{symbol}_1h.parquet")
    bars = np.zeros(length, BAR_DTYPE)
    ts_open_ns = frame["ts"].to_numpy() * NS_PER_MS
    bars["ts_open_ns"] = ts_open_ns
    for ours, theirs in (("open_px", "open"), ("high_px", "high"), ("low_px", "low"), ("close_px", "close")):
        bars[ours] = frame[theirs].to_numpy()
    bars["volume_base"] = frame["volume"].to_numpy()
    joined = join_funding(
        ts_open_ns, INTERVAL_NS, funding["ts"].to_numpy() * NS_PER_MS, funding["funding_rate"].to_numpy()
    )
    bars["funding_rate"], bars["funding_open_rate"], bars["funding_inside_rate"] = joined
    bars["open_interest_base"] = join_last_known(
        ts_open_ns + INTERVAL_NS,
        interest["ts"].to_numpy() * NS_PER_MS,
        interest["open_interest"].to_numpy(),
        AGE_NS_MAX,
    )
    bars["signal"] = make_signal(np.random.default_rng(seed), length)
    return bars


@pytest.fixture(scope="module", params=PERIODS)
def market(request: pytest.FixtureRequest) -> MarketData:
    first, length = PERIODS[request.param]
    rows = [load(symbol, first, length, seed) for seed, symbol in enumerate(SYMBOLS.values())]
    return make_market([find_instrument(name) for name in SYMBOLS], np.stack(rows), INTERVAL_NS)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("limits", [OPEN, LIMITS_NONE], ids=["guarded", "unguarded"])
def test_real_bars_agree(market: MarketData, strategy: str, limits: Limits) -> None:
    params = make_params(np.random.default_rng(5), strategy, size_frac=1.0)
    case = Case(market, params, limits, Costs(5.0, 2.0, 1.0), 100_000.0)
    replayed = run_replay_side(case)
    difference = find_difference(run_live_side(case), replayed)
    assert not difference, difference
    assert (replayed.trace["kind"] == TRACE_FILL).sum() > 10
