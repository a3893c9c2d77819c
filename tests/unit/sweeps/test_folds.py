"""What is seen, what is held out, and that no train touches its test."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.records import BAR_DTYPE, NS_PER_DAY
from sweeps.folds import compute_returns, compute_sharpes, find_days, make_split
from sweeps.metrics import apply_day_end, compute_sharpe, start_daily
from sweeps.spec import WalkForward
from tests.unit.sweeps.small_sweep import make_small_market

INTERVAL_NS = 900 * 10**9


def make_bars(length: int, start_bar: int = 0):  # type: ignore[no-untyped-def]
    bars = np.zeros((1, length), BAR_DTYPE)
    bars["ts_open_ns"] = (start_bar + np.arange(length)) * INTERVAL_NS
    return dataclasses.replace(make_small_market(96), bars=bars, interval_ns=INTERVAL_NS)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(4_000, 40_000),
    start_bar=st.integers(0, 200),
    scheme=st.sampled_from(["anchored", "rolling"]),
    folds=st.integers(1, 5),
    gap=st.integers(0, 96),
    holdout_frac=st.sampled_from([0.0, 0.2, 0.35]),
)
def test_trains_end_before_their_tests_and_nobody_sees_the_holdout(
    length: int, start_bar: int, scheme: str, folds: int, gap: int, holdout_frac: float
) -> None:
    market = make_bars(length, start_bar)
    split = make_split(market, holdout_frac, WalkForward(scheme, folds, purge_bars=gap, embargo_bars=gap // 2))
    tests = [fold.test for fold in split.folds]
    assert [test.stop for test in tests] == [*(test.start for test in tests[1:]), split.in_sample.stop]
    for fold in split.folds:
        assert fold.train.stop + gap + gap // 2 == fold.test.start
        assert fold.test.start * INTERVAL_NS % NS_PER_DAY == -start_bar * INTERVAL_NS % NS_PER_DAY  # midnight
        assert fold.train.start == 0 if scheme == "anchored" else len(fold.train) == len(split.folds[0].train)
    if holdout_frac:
        assert split.holdout.start == split.in_sample.stop + gap // 2
        assert split.holdout.stop == length
        assert abs(len(split.in_sample) / length - (1 - holdout_frac)) < 0.05
    else:
        assert not split.holdout


def test_days_of_a_range_are_whole_days() -> None:
    market = make_bars(10 * 96, start_bar=10)  # begins at 02:30
    assert find_days(market, range(0, 10 * 96)) == slice(0, 11)
    assert find_days(market, range(0, 86)) == slice(0, 1)
    assert find_days(market, range(0, 87)) == slice(0, 1)
    assert find_days(market, range(86, 86 + 96)) == slice(1, 2)
    assert find_days(market, range(87, 86 + 96)) == slice(2, 2)


def test_too_short_a_period_says_what_is_short() -> None:
    with pytest.raises(ValueError, match=r"^the holdout \(holdout_frac 0.2\) has 0 bars of 15m, needs 2 days"):
        make_split(make_bars(480), 0.2, WalkForward(folds=0, embargo_bars=200))
    with pytest.raises(ValueError, match=r"^the train of walk-forward fold 1 has 0 bars"):
        make_split(make_bars(960), 0.0, WalkForward(purge_bars=500))
    with pytest.raises(ValueError, match=r"^the test of walk-forward fold"):
        make_split(make_bars(960), 0.0, WalkForward(folds=5, purge_bars=0, embargo_bars=0))


@given(st.lists(st.floats(1.0, 1e6), min_size=2, max_size=50))
def test_sharpe_of_daily_returns_is_that_of_the_metrics(equity: list[float]) -> None:
    daily = start_daily(100.0)
    for value in equity:
        daily = apply_day_end(daily, value)
    ours = compute_sharpes(compute_returns(np.array(equity), 100.0))
    assert ours == pytest.approx(compute_sharpe(daily), rel=1e-6, abs=1e-6)


def test_returns_without_equity_or_deviation_have_no_sharpe() -> None:
    assert compute_returns(np.array([50.0, -10.0, 20.0]), 100.0).tolist() == [-0.5, -1.2, 0.0]
    assert compute_sharpes(np.full((3, 40), 0.001)).tolist() == [0.0, 0.0, 0.0]
    assert compute_sharpes(np.zeros((2, 1))).tolist() == [0.0, 0.0]
