"""The breaker by simulation: its false-alarm rate under continuous looking, and how soon it sees a dead strategy."""

import numpy as np
import pytest
from numba import njit

from market.reasons import Reason
from risk.breaker import (
    BREAKER_DEFAULT,
    BreakerParams,
    compute_loss_run_max,
    decide_breaker,
    release_breaker,
)
from risk.estimate import PRIOR_NONE, Prior
from risk.evidence import apply_trade_closed
from risk.limits import LIMITS_DEFAULT
from risk.state import SLOT_RISK_NEW, STRATEGY_RISK_NEW, TradeOutcome
from tests.unit.risk.entries import TS_NS

SEED = 20_240_613


@njit
def count_trades_until(params: BreakerParams, prior: Prior, is_win: np.ndarray, trades: np.ndarray) -> None:
    """Fill `trades` with the number of trades after which each row trips the breaker; 0: it never does."""
    for row in range(is_win.shape[0]):
        wins, losses, loss_run = 0, 0, 0
        for trade in range(is_win.shape[1]):
            if is_win[row, trade]:
                wins, loss_run = wins + 1, 0
            else:
                losses, loss_run = losses + 1, loss_run + 1
            if decide_breaker(params, prior, wins, losses, loss_run) != 0:
                trades[row] = trade + 1
                break


def simulate(params: BreakerParams, prior: Prior, win_rate_frac: float, strategies: int, horizon: int) -> np.ndarray:
    """Return for each simulated strategy the trades until it was stopped, 0 where it never was."""
    is_win = np.random.default_rng(SEED).random((strategies, horizon)) < win_rate_frac
    trades = np.zeros(strategies, np.int64)
    count_trades_until(params, prior, is_win, trades)
    return trades


@pytest.mark.parametrize("false_alarm_frac", [0.02, 0.2])
@pytest.mark.parametrize("prior", [PRIOR_NONE, Prior(100.0, 0.55, 1.5, 1.0)], ids=["no prior", "promoted"])
def test_false_alarms_stay_below_the_stated_rate_though_looked_at_after_every_trade(
    prior: Prior, false_alarm_frac: float
) -> None:
    null_frac = 0.30 if prior is PRIOR_NONE else 0.8 * 0.55
    strategies = 5000
    params = BREAKER_DEFAULT._replace(false_alarm_frac=false_alarm_frac)
    stopped = simulate(params, prior, null_frac, strategies, 1000) > 0
    sampling_error = np.sqrt(false_alarm_frac * (1 - false_alarm_frac) / strategies)
    assert stopped.mean() <= false_alarm_frac + 2 * sampling_error
    # A strategy that is truly better is stopped far more seldom.
    assert (simulate(params, prior, null_frac + 0.1, 1000, 1000) > 0).mean() <= false_alarm_frac / 2


def test_the_win_rate_test_alone_holds_its_half_over_ten_thousand_trades() -> None:
    # No loss run to speak of: a horizon so long that its bound is out of reach.
    params = BREAKER_DEFAULT._replace(false_alarm_frac=0.2, horizon_trades=10**15)
    stopped = simulate(params, PRIOR_NONE, 0.30, 2000, 10_000) > 0
    assert 0.0 < stopped.mean() <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 2000)


def test_at_a_win_rate_of_2_4_percent_it_needs_about_twenty_trades() -> None:
    trades = simulate(BREAKER_DEFAULT, PRIOR_NONE, 0.024, 4000, 613)
    assert trades.min() > 0  # every one was stopped
    assert np.median(trades) == 18.0
    assert np.quantile(trades, 0.99) < 60.0


def test_a_strategy_that_dies_after_good_years_is_stopped_by_its_run_of_losses() -> None:
    run_max = compute_loss_run_max(0.30, 0.01, 1000)
    assert run_max == 29
    good = (400, 400)
    assert decide_breaker(BREAKER_DEFAULT, PRIOR_NONE, *good, 0) == Reason.OK
    assert decide_breaker(BREAKER_DEFAULT, PRIOR_NONE, good[0], good[1] + run_max, run_max - 1) == Reason.OK
    assert decide_breaker(BREAKER_DEFAULT, PRIOR_NONE, good[0], good[1] + run_max, run_max) == Reason.BREAKER_LOSS_RUN


def test_a_promise_that_is_broken_trips_sooner_than_the_general_minimum() -> None:
    promised = Prior(100.0, 0.70, 1.0, 1.0)
    assert decide_breaker(BREAKER_DEFAULT, promised, 20, 60, 1) == Reason.BREAKER_WIN_RATE
    assert decide_breaker(BREAKER_DEFAULT, PRIOR_NONE, 20, 60, 1) == Reason.OK


def test_it_latches_until_released() -> None:
    strategy, slot = STRATEGY_RISK_NEW, SLOT_RISK_NEW
    for trade in range(40):
        strategy, slot = apply_trade_closed(
            strategy, slot, LIMITS_DEFAULT, TradeOutcome(-10.0, 10.0, False), TS_NS + trade
        )
    assert strategy.latch_reason == Reason.BREAKER_WIN_RATE
    assert strategy.ts_latched_ns - TS_NS == 17  # the eighteenth loss
    for trade in range(100):
        strategy, slot = apply_trade_closed(
            strategy, slot, LIMITS_DEFAULT, TradeOutcome(10.0, 10.0, False), TS_NS + 100 + trade
        )
    assert strategy.latch_reason == Reason.BREAKER_WIN_RATE
    released = release_breaker(strategy)
    assert (released.latch_reason, released.breaker_wins, released.breaker_losses, released.loss_run) == (0, 0, 0, 0)
    assert released.wins_weight == strategy.wins_weight


def test_evidence_stays_a_number_after_a_million_trades() -> None:
    for wins, losses in ((1_000_000, 0), (0, 1_000_000), (500_000, 500_000)):
        reason = decide_breaker(BREAKER_DEFAULT, PRIOR_NONE, wins, losses, 0)
        assert reason == (Reason.BREAKER_WIN_RATE if wins == 0 else Reason.OK)
