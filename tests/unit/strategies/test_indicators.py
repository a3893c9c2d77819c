"""Indicators against printed examples, and against other ways to compute them."""

import doctest
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.reasons import Reason
from market.records import Bar, Quality
from strategies import indicators
from strategies.indicators import (
    ATR_NEW,
    EMA_NEW,
    SAR_NEW,
    apply_atr,
    apply_ema,
    apply_rolling,
    apply_rolling_max,
    apply_sar,
    compute_atr_px,
    compute_bar_fault,
    compute_known_px,
    compute_z,
    make_rolling,
    make_rolling_max,
)
from tests.unit.strategies.generated_bars import make_bars

# The example of Wilder's book (1978), as TA-Lib's regression suite prints it, and the SARs it must give.
WILDER_HIGH_PX = [
    *(
        51.12,
        52.35,
        52.1,
        51.8,
        52.1,
        52.5,
        52.8,
        52.5,
        53.5,
        53.5,
        53.8,
        54.2,
        53.4,
        53.5,
        54.4,
        55.2,
        55.7,
        57.0,
        57.5,
    ),
    *(58.0, 57.7, 58.0, 57.5, 57.0, 56.7, 57.5, 56.7, 56.0, 56.2, 54.8, 55.5, 54.7, 54.0, 52.5, 51.0, 51.5, 51.7, 53.0),
]
WILDER_LOW_PX = [
    *(
        50.0,
        51.5,
        51.0,
        50.5,
        51.25,
        51.7,
        51.85,
        51.5,
        52.3,
        52.5,
        53.0,
        53.5,
        52.5,
        52.1,
        53.0,
        54.0,
        55.0,
        56.0,
        56.5,
    ),
    *(57.0, 56.5, 57.3, 56.7, 56.3, 56.2, 56.0, 55.5, 55.0, 54.9, 54.0, 54.5, 53.8, 53.0, 51.5, 50.0, 50.5, 50.2, 51.5),
]
WILDER_SAR_PX = {1: 50.00, 2: 50.047, 5: 50.182, 36: 52.93, 37: 50.00}

# Average true range over 5 bars, from the test file of Tulip Indicators.
TULIP_HIGH_PX = (
    82.15,
    81.89,
    83.03,
    83.30,
    83.85,
    83.90,
    83.33,
    84.30,
    84.84,
    85.00,
    85.90,
    86.58,
    86.98,
    88.00,
    87.87,
)
TULIP_LOW_PX = (81.29, 80.64, 81.31, 82.65, 83.07, 83.11, 82.49, 82.30, 84.15, 84.11, 84.03, 85.39, 85.76, 87.17, 87.01)
TULIP_CLOSE_PX = (
    81.59,
    81.06,
    82.87,
    83.0,
    83.61,
    83.15,
    82.84,
    83.99,
    84.55,
    84.36,
    85.53,
    86.54,
    86.89,
    87.77,
    87.29,
)
TULIP_ATR_PX = (1.116, 1.051, 1.009, 1.207, 1.136, 1.086, 1.243, 1.233, 1.230, 1.206, 1.137)

# Multiples of 1/16 up to 2**16: sums of them are exact, so that Fractions can be compared with.
values = st.integers(-(2**20), 2**20).map(lambda number: number / 16.0)


def test_doctests() -> None:
    result = doctest.testmod(indicators, extraglobs=vars(indicators))
    assert result.attempted > 0
    assert result.failed == 0


def test_sar_of_wilders_book() -> None:
    state = SAR_NEW
    shown = []
    for high_px, low_px in zip(WILDER_HIGH_PX, WILDER_LOW_PX, strict=True):
        state = apply_sar(state, 0.02, 0.20, high_px, low_px)
        shown.append(state.sar_px)
    assert {index: shown[index] for index in WILDER_SAR_PX} == pytest.approx(WILDER_SAR_PX, abs=5e-3)
    assert shown[2] == pytest.approx(50.047, abs=1e-9)


def _compute_sar_list(
    high_px: list[float], low_px: list[float], step: float, limit: float
) -> list[tuple[bool, float, float]]:
    # Wilder's rules read off the page, one direction at a time, over whole lists.
    rose, fell = high_px[1] - high_px[0], low_px[0] - low_px[1]
    is_long = not (fell > 0 and fell > rose)
    tomorrow = low_px[0] if is_long else high_px[0]
    extreme = high_px[1] if is_long else low_px[1]
    pace = step
    rows = []
    for day in range(1, len(high_px)):
        today, two_days = tomorrow, slice(max(1, day - 1), day + 1)
        if is_long and low_px[day] <= today:
            is_long, pace = False, step
            today = max(extreme, *high_px[two_days])
            extreme = low_px[day]
        elif not is_long and high_px[day] >= today:
            is_long, pace = True, step
            today = min(extreme, *low_px[two_days])
            extreme = high_px[day]
        elif is_long and high_px[day] > extreme:
            extreme, pace = high_px[day], min(limit, pace + step)
        elif not is_long and low_px[day] < extreme:
            extreme, pace = low_px[day], min(limit, pace + step)
        tomorrow = today + pace * (extreme - today)
        tomorrow = min(tomorrow, *low_px[two_days]) if is_long else max(tomorrow, *high_px[two_days])
        rows.append((is_long, today, tomorrow))
    return rows


@given(st.integers(0, 10**6), st.integers(2, 150), st.sampled_from([(0.02, 0.2), (0.005, 0.1), (0.1, 0.1)]))
def test_sar_equals_wilders_rules_over_whole_lists(seed: int, length: int, speed: tuple[float, float]) -> None:
    bars = make_bars(length, seed)
    high_px, low_px = bars["high_px"].tolist(), bars["low_px"].tolist()
    state = apply_sar(SAR_NEW, *speed, high_px[0], low_px[0])
    assert state.side == 0
    flipped_at = 1
    for index, (is_long, today_px, tomorrow_px) in enumerate(_compute_sar_list(high_px, low_px, *speed), start=1):
        past_side = state.side
        state = apply_sar(state, *speed, high_px[index], low_px[index])
        if past_side and past_side != state.side:
            flipped_at = index
        assert (state.side == 1, state.sar_px, state.sar_next_px) == (is_long, today_px, tomorrow_px)
        assert state.bars_since_flip == index - flipped_at
        assert 0.0 < state.acceleration <= speed[1]


def test_atr_of_tulips_test_file() -> None:
    state = ATR_NEW
    shown = []
    for high_px, low_px, close_px in zip(TULIP_HIGH_PX, TULIP_LOW_PX, TULIP_CLOSE_PX, strict=True):
        state = apply_atr(state, 5, high_px, low_px, close_px)
        shown.append(compute_atr_px(state, 5))
    assert np.isnan(shown[:4]).all()
    assert shown[4:] == pytest.approx(TULIP_ATR_PX, abs=1e-3)


def _smooth(series: "pd.Series[float]", window: int, weight: float) -> "pd.Series[float]":
    # Seeded with the mean of the first window, then the recursive average of pandas.
    seeded = series.copy()
    seeded.iloc[window - 1] = series.iloc[:window].mean()
    return seeded.iloc[window - 1 :].ewm(alpha=weight, adjust=False).mean()


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_averages_equal_pandas(seed: int, window: int) -> None:
    bars = make_bars(120, seed)
    frame = pd.DataFrame({name: bars[name] for name in ("high_px", "low_px", "close_px")})
    past_px = frame.close_px.shift()
    ranges = pd.concat(
        [frame.high_px - frame.low_px, (frame.high_px - past_px).abs(), (frame.low_px - past_px).abs()], axis=1
    ).max(axis=1)
    ema, atr = EMA_NEW, ATR_NEW
    shown: list[Any] = []
    for bar in bars:
        ema = apply_ema(ema, window, float(bar["close_px"]))
        atr = apply_atr(atr, window, float(bar["high_px"]), float(bar["low_px"]), float(bar["close_px"]))
        shown.append((ema.value, atr.atr_px))
    assert [row[0] for row in shown[window - 1 :]] == pytest.approx(
        _smooth(frame.close_px, window, 2.0 / (window + 1)).tolist(), rel=1e-9
    )
    assert [row[1] for row in shown[window - 1 :]] == pytest.approx(
        _smooth(ranges, window, 1.0 / window).tolist(), rel=1e-9
    )


@given(st.integers(1, 12), st.lists(values, min_size=1, max_size=60))
def test_rolling_equals_exact_fractions(window: int, series: list[float]) -> None:
    state, largest = make_rolling(window), make_rolling_max(window)
    for index, value in enumerate(series):
        state, largest = apply_rolling(state, value), apply_rolling_max(largest, value)
        seen = [Fraction(number) for number in series[max(0, index + 1 - window) : index + 1]]
        mean = sum(seen) / len(seen)
        m2 = sum((number - mean) ** 2 for number in seen)
        scale = float(max(abs(number) for number in seen))
        assert state.mean == pytest.approx(float(mean), rel=1e-13, abs=1e-14 * scale)
        assert state.m2 == pytest.approx(float(m2), rel=1e-11, abs=1e-24 * scale * scale)
        if state.m2 > 0.0:
            assert compute_z(state.mean + math.sqrt(state.m2 / len(seen)), *state[2:4], len(seen)) == pytest.approx(1.0)
        assert largest.maximum == float(max(seen))


@given(st.integers(2, 12), st.integers(0, 11), st.lists(values, min_size=24, max_size=40))
def test_a_value_that_left_the_window_leaves_no_trace(window: int, at: int, series: list[float]) -> None:
    quiet, loud = make_rolling(window), make_rolling(window)
    for index, value in enumerate(series):
        quiet = apply_rolling(quiet, value)
        loud = apply_rolling(loud, 1e300 if index == at else value)
        if index >= at + window:
            assert (loud.mean, loud.m2) == (quiet.mean, quiet.m2)


def test_rolling_holds_its_precision_far_from_zero() -> None:
    # Sums of squares lose everything here: the spread is 1e-9 of the level.
    random = np.random.default_rng(3)
    series = 1e9 + random.normal(size=5_000)
    state = make_rolling(100)
    for value in series.tolist():
        state = apply_rolling(state, value)
    tail = [Fraction(value) for value in series[-100:].tolist()]
    mean = sum(tail) / 100
    variance = float(sum((value - mean) ** 2 for value in tail) / 100)
    assert state.m2 / 100 == pytest.approx(variance, rel=1e-6)


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.1, 43_210.7])
def test_z_of_a_constant_series_is_zero(level: float) -> None:
    state = make_rolling(7)
    for _ in range(40):
        state = apply_rolling(state, level)
        assert compute_z(level, state.mean, state.m2, min(state.seen, 7)) == 0.0


GOOD = Bar(0, 10.0, 12.0, 9.0, 11.0, 1.0, 0.0, math.nan, 0.0, 0.0, math.nan, 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.OK),
        ({"quality": Quality.AFTER_GAP.value}, Reason.OK),
        ({"quality": Quality.STALE.value | Quality.CROSSED.value}, Reason.OK),
        ({"quality": Quality.MISSING.value}, Reason.FEATURES_NOT_READY),
        ({"quality": Quality.MISSING.value, "close_px": math.nan}, Reason.FEATURES_NOT_READY),
        ({"quality": Quality.NOT_FINITE.value}, Reason.INPUT_NOT_FINITE),
        ({"quality": Quality.IMPOSSIBLE.value}, Reason.INPUT_NOT_FINITE),
        ({"close_px": math.nan}, Reason.INPUT_NOT_FINITE),
        ({"high_px": math.inf}, Reason.INPUT_NOT_FINITE),
        ({"low_px": -math.inf}, Reason.INPUT_NOT_FINITE),
        ({"low_px": 0.0}, Reason.INPUT_NOT_FINITE),
        ({"low_px": 13.0}, Reason.INPUT_NOT_FINITE),
        ({"open_px": math.nan}, Reason.OK),  # no indicator reads the open
    ],
)
def test_bar_fault(changes: dict[str, Any], reason: Reason) -> None:
    assert compute_bar_fault(GOOD._replace(**changes)) == reason


def test_known_px() -> None:
    assert compute_known_px(5.0, 4.0) == 5.0
    assert compute_known_px(math.nan, 4.0) == 4.0
    assert math.isnan(compute_known_px(math.inf, math.nan))
