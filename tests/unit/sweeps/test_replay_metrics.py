"""What a sweep keeps of a replay is what the whole replay says, to the bit."""

from typing import Any

import numpy as np
import pytest

from market.catalog import MarketData, make_market
from market.fills import Costs
from market.generator import generate_market
from market.reasons import Reason
from market.records import NS_PER_DAY, NS_PER_S
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE, Limits, switch
from strategies.catalog import observe_all
from strategies.kernels.momentum_sar import MOMENTUM_SAR_DEFAULT
from strategies.kernels.signals import SIGNALS_DEFAULT
from sweeps.metrics import compute_metrics
from sweeps.records import TRADE_DTYPE, ReplayResult
from sweeps.replay import MetricsReplay, replay
from sweeps.tape import make_tape

COSTS = Costs(4.5, 1.5, 1.0)
CASH_QUOTE = 50_000.0
NO_EDGE_NEEDED = switch(LIMITS_DEFAULT, False, "reward_to_risk", "kelly", "breaker")
FAST = MOMENTUM_SAR_DEFAULT._replace(trend_bars=20, atr_bars=10, trend_atr_min=0.2)


def make_data(instruments: int, interval_ns: int = 900 * NS_PER_S, offset: int = 0, bars: int = 3000) -> MarketData:
    """A generated market that starts some bars into a day, with a signal that changes now and then."""
    ids = ("BTC-PERP.BINANCE", "SOL-PERP.HYPERLIQUID")[:instruments]
    market = generate_market(5, ids, bars)
    rows = market.bars.copy()
    rows["ts_open_ns"] = rows["ts_open_ns"][0, 0] + (offset + np.arange(bars)) * interval_ns
    random = np.random.default_rng(1)
    rows["signal"] = np.repeat(random.choice([-1.0, 0.0, 0.5, 1.0], (instruments, bars // 20 + 1)), 20, axis=1)[
        :, :bars
    ]
    return make_market(market.instruments, rows, interval_ns)


@pytest.mark.parametrize("limits", [LIMITS_DEFAULT, LIMITS_NONE, NO_EDGE_NEEDED], ids=["default", "none", "no edge"])
@pytest.mark.parametrize("params", [FAST, SIGNALS_DEFAULT], ids=["momentum_sar", "signals"])
@pytest.mark.parametrize("instruments", [1, 2])
def test_metrics_alone_are_those_of_the_whole(instruments: int, params: Any, limits: Limits) -> None:
    check_same(make_data(instruments), params, limits)


@pytest.mark.parametrize(
    ("interval_ns", "offset"),
    [(900 * NS_PER_S, 1), (900 * NS_PER_S, 95), (7 * 3600 * NS_PER_S, 2), (NS_PER_DAY, 0), (700 * NS_PER_S, 3)],
)
def test_days_may_begin_anywhere(interval_ns: int, offset: int) -> None:
    check_same(make_data(1, interval_ns, offset, bars=400), SIGNALS_DEFAULT, LIMITS_DEFAULT)
    check_same(make_data(1, interval_ns, offset, bars=1), SIGNALS_DEFAULT, LIMITS_DEFAULT)


def check_same(market: MarketData, params: Any, limits: Limits) -> None:
    """One run, and a second on the same arrays after another configuration, against the whole replay."""
    whole, _ = replay(market, params, limits, COSTS, CASH_QUOTE)
    features = np.stack([observe_all(params, bars) for bars in market.bars])
    kept = MetricsReplay(market, limits, COSTS, CASH_QUOTE)
    expected = np.array(compute_metrics(whole)).tobytes()
    assert np.array(kept.run(params, features)).tobytes() == expected
    kept.run(params._replace(stop_atr=1.0), features)
    assert np.array(kept.run(params, features)).tobytes() == expected
    assert kept.equity_daily_quote.tobytes() == _find_day_ends(whole).tobytes()


def test_more_trades_than_room_are_replayed_again_with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    market = make_data(1)
    whole, _ = replay(market, SIGNALS_DEFAULT, LIMITS_NONE, COSTS, CASH_QUOTE)
    monkeypatch.setattr("sweeps.replay.TRADES_MAX", 3)
    again, _ = replay(market, SIGNALS_DEFAULT, LIMITS_NONE, COSTS, CASH_QUOTE)
    assert len(again.trades) > 3
    assert again.trades.tobytes() == whole.trades.tobytes()
    assert again.equity_quote.tobytes() == whole.equity_quote.tobytes()
    assert again.denials.tolist() == whole.denials.tolist()


def test_equity_that_is_no_number_is_refused_with_its_bar() -> None:
    market = make_data(1, bars=500)
    kept = MetricsReplay(market, LIMITS_NONE, COSTS, CASH_QUOTE)
    features = observe_all(SIGNALS_DEFAULT, market.bars[0])[np.newaxis]
    features["is_new"][0, 0] = 1
    features["target_frac"][0, 0] = 1.0
    kept.run(SIGNALS_DEFAULT, features)
    market.bars["close_px"][0, 400] = np.nan
    with pytest.raises(ValueError, match="equity is not finite from bar 400 on"):
        kept.run(SIGNALS_DEFAULT, features)


def test_a_tape_for_sums_holds_no_rows() -> None:
    tape = make_tape(2)
    assert [len(array) for array in (tape.trades, tape.trace, tape.equity_quote)] == [0, 0, 0]
    assert tape.position_lots.shape == tape.stops_px.shape == (2, 0)
    assert tape.trades.dtype == TRADE_DTYPE


def _find_day_ends(whole: ReplayResult) -> np.ndarray[Any, Any]:
    days = whole.bars[0]["ts_open_ns"] // NS_PER_DAY
    return whole.equity_quote[np.flatnonzero(np.append(days[1:] != days[:-1], True))]


def test_a_strategy_without_an_edge_and_a_latched_account_are_passed_over_without_a_difference() -> None:
    market = generate_market(2, ["BTC-PERP.BINANCE", "ETH-PERP.BINANCE"], 35_040)
    daily_loss = LIMITS_DEFAULT._replace(daily_loss=LIMITS_DEFAULT.daily_loss._replace(loss_frac_max=0.01))
    for limits, reason in ((LIMITS_DEFAULT, Reason.REWARD_TO_RISK), (daily_loss, Reason.DAILY_LOSS)):
        whole, _ = replay(market, FAST, limits, COSTS, CASH_QUOTE)
        assert whole.denials[reason] > 1000
        check_same(market, FAST, limits)
