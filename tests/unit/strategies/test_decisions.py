"""What each strategy wishes, case by case, and its features against other ways to compute them."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.reasons import Reason
from market.records import BAR_DTYPE, POSITION_FLAT, Action, Intent, Position, Quality
from strategies.catalog import STRATEGIES, decide, observe_all, parse_params
from strategies.kernels.mean_reversion_funding import MeanReversionFundingFeatures
from strategies.kernels.momentum_sar import MomentumSarFeatures
from strategies.kernels.scalper import ScalperFeatures
from strategies.kernels.signals import SignalsFeatures
from strategies.kernels.whale_mirror import WhaleMirrorFeatures
from tests.shared_data import SHARED, needs_shared
from tests.unit.strategies.generated_bars import make_bars, spoil

HOUR_NS = 3600 * 10**9
NOW_NS = 1_000 * HOUR_NS
LONG, SHORT = Position(3, 100.0, NOW_NS - 5 * HOUR_NS), Position(-3, 100.0, NOW_NS - 5 * HOUR_NS)
OK = Reason.OK.value


def hold(reason: Reason = Reason.NO_SIGNAL) -> Intent:
    return Intent(Action.HOLD.value, 0.0, 0.0, 0.0, reason.value)


def leave(reason: Reason = Reason.EXIT_SIGNAL) -> Intent:
    return Intent(Action.TARGET.value, 0.0, 0.0, 0.0, reason.value)


def enter(target_frac: float, stop_px: float, take_profit_px: float = 0.0) -> Intent:
    return Intent(Action.TARGET.value, target_frac, stop_px, take_profit_px, Reason.ENTRY_SIGNAL.value)


REVERSION = parse_params(
    "mean_reversion_funding",
    {"entry_z": 2, "funding_z_min": 0.5, "exit_z": 0.25, "hold_h_max": 6, "stop_atr": 3, "take_profit_atr": 2},
)
EARLIER = Position(3, 100.0, NOW_NS - 6 * HOUR_NS)


@pytest.mark.parametrize(
    ("price_z", "agreement_z", "position", "expected"),
    [
        (2.0, 0.5, POSITION_FLAT, enter(-1.0, 6.0, 4.0)),
        (-2.0, 0.5, POSITION_FLAT, enter(1.0, 6.0, 4.0)),
        (1.99, 0.5, POSITION_FLAT, hold()),
        (2.0, 0.49, POSITION_FLAT, hold()),
        (-5.0, -math.inf, POSITION_FLAT, hold()),
        (-0.26, 1.0, LONG, hold()),
        (-0.25, -math.inf, LONG, leave()),
        (3.0, 3.0, LONG, leave()),
        (0.26, 1.0, SHORT, hold()),
        (0.25, 1.0, SHORT, leave()),
        (-3.0, 3.0, SHORT, leave()),
        (-2.0, 1.0, EARLIER, leave(Reason.EXIT_TIME)),
        (0.0, 1.0, EARLIER, leave(Reason.EXIT_SIGNAL)),
    ],
)
def test_mean_reversion_funding(price_z: float, agreement_z: float, position: Position, expected: Intent) -> None:
    features = MeanReversionFundingFeatures(100.0, 2.0, price_z, agreement_z, OK)
    assert decide(features, REVERSION, position, NOW_NS) == expected


MOMENTUM = parse_params(
    "momentum_sar", {"trend_atr_min": 1, "entry_bars_max": 4, "stop_atr": 3, "take_profit_atr": 0, "size_frac": 0.5}
)


@pytest.mark.parametrize(
    ("trend_atr", "sar_side", "bars_since_flip", "position", "expected"),
    [
        (1.0, 1, 4, POSITION_FLAT, enter(0.5, 6.0)),
        (-1.0, -1, 0, POSITION_FLAT, enter(-0.5, 6.0)),
        (1.0, 1, 5, POSITION_FLAT, hold()),
        (0.99, 1, 0, POSITION_FLAT, hold()),
        (-2.0, 1, 0, POSITION_FLAT, hold()),
        (5.0, 1, 0, LONG, hold()),
        (-5.0, 1, 99, LONG, hold()),
        (-1.0, -1, 0, LONG, enter(-0.5, 6.0)),  # the flip is one intent of the opposite sign
        (0.0, -1, 0, LONG, leave()),
        (-1.0, -1, 5, LONG, leave()),
        (1.0, 1, 0, SHORT, enter(0.5, 6.0)),
        (0.0, 1, 0, SHORT, leave()),
    ],
)
def test_momentum_sar(
    trend_atr: float, sar_side: int, bars_since_flip: int, position: Position, expected: Intent
) -> None:
    features = MomentumSarFeatures(100.0, 2.0, trend_atr, sar_side, bars_since_flip, OK)
    assert decide(features, MOMENTUM, position, NOW_NS) == expected


WHALE = parse_params("whale_mirror", {"lag_bars_max": 2, "stop_atr": 4, "take_profit_atr": 1, "size_frac": 0.5})


@pytest.mark.parametrize(
    ("target_frac", "lag_bars", "position", "expected"),
    [
        (0.8, 0, POSITION_FLAT, enter(0.4, 8.0, 2.0)),
        (-0.8, 2, POSITION_FLAT, enter(-0.4, 8.0, 2.0)),
        (0.8, 3, POSITION_FLAT, hold()),
        (0.0, 0, POSITION_FLAT, hold()),
        (0.8, 0, LONG, enter(0.4, 8.0, 2.0)),  # resized on the bar of the move
        (0.8, 1, LONG, hold()),
        (0.0, 9, LONG, leave()),
        (0.8, 2, SHORT, enter(0.4, 8.0, 2.0)),
        (0.8, 3, SHORT, leave()),  # too late to follow, not too late to leave
        (-0.8, 99, SHORT, hold()),
    ],
)
def test_whale_mirror(target_frac: float, lag_bars: int, position: Position, expected: Intent) -> None:
    features = WhaleMirrorFeatures(100.0, 2.0, target_frac, lag_bars, OK)
    assert decide(features, WHALE, position, NOW_NS) == expected


SCALPER = parse_params("scalper", {"pullback_atr_min": 1, "hold_h_max": 6, "stop_atr": 4, "take_profit_atr": 0.5})


@pytest.mark.parametrize(
    ("side", "pullback_atr", "position", "expected"),
    [
        (1.0, 1.0, POSITION_FLAT, enter(1.0, 8.0, 1.0)),
        (-1.0, 1.5, POSITION_FLAT, enter(-1.0, 8.0, 1.0)),
        (1.0, 0.99, POSITION_FLAT, hold()),
        (1.0, -3.0, POSITION_FLAT, hold()),
        (1.0, 5.0, LONG, hold()),
        (1.0, 5.0, SHORT, hold()),
        (1.0, 5.0, EARLIER, leave(Reason.EXIT_TIME)),
    ],
)
def test_scalper(side: float, pullback_atr: float, position: Position, expected: Intent) -> None:
    features = ScalperFeatures(100.0, 2.0, side, pullback_atr, OK)
    assert decide(features, SCALPER, position, NOW_NS) == expected


SIGNALS = parse_params("signals", {"stop_atr": 3, "size_frac": 0.5})


@pytest.mark.parametrize(
    ("target_frac", "is_new", "expected"),
    [(0.5, 1, enter(0.25, 6.0)), (-1.0, 1, enter(-0.5, 6.0)), (0.0, 1, leave()), (0.5, 0, hold()), (0.0, 0, hold())],
)
@pytest.mark.parametrize("position", [POSITION_FLAT, LONG, SHORT])
def test_signals(target_frac: float, is_new: int, position: Position, expected: Intent) -> None:
    assert decide(SignalsFeatures(100.0, 2.0, target_frac, is_new), SIGNALS, position, NOW_NS) == expected


@pytest.mark.parametrize("reason", [Reason.FEATURES_NOT_READY, Reason.INPUT_NOT_FINITE])
@pytest.mark.parametrize("position", [POSITION_FLAT, LONG, SHORT])
@pytest.mark.parametrize(
    ("features", "params"),
    [
        (MeanReversionFundingFeatures(100.0, math.nan, 9.0, 9.0, 0), REVERSION),
        (MomentumSarFeatures(100.0, math.nan, 9.0, 1, 0, 0), MOMENTUM),
        (WhaleMirrorFeatures(100.0, math.nan, 1.0, 0, 0), WHALE),
        (ScalperFeatures(100.0, math.nan, 1.0, 9.0, 0), SCALPER),
    ],
)
def test_unready_features_decide_nothing(features: Any, params: Any, position: Position, reason: Reason) -> None:
    assert decide(features._replace(reason=reason.value), params, position, NOW_NS) == hold(reason)


def test_signals_follow_from_the_first_bar_without_a_stop() -> None:
    bars = make_bars(4, 1)
    bars["signal"] = [1.0, math.nan, 1.0, -1.0]
    rows = observe_all(SIGNALS, bars)
    intents = [decide(row, SIGNALS, POSITION_FLAT, NOW_NS) for row in rows]
    assert [(intent.action, intent.target_frac) for intent in intents] == [(1, 0.5), (0, 0.0), (0, 0.0), (1, -0.5)]
    assert math.isnan(intents[0].stop_distance_px)  # the gate denies that under risk: NO_STOP


@given(st.lists(st.sampled_from([math.nan, 0.0, 0.5, 1.0, -1.0, 1.01, -math.inf]), max_size=40))
def test_signals_emit_changes_only(series: list[float]) -> None:
    bars = make_bars(len(series), 2)
    bars["signal"] = series
    targets = pd.Series([value if abs(value) <= 1.0 else math.nan for value in series], dtype=float).ffill().fillna(0.0)
    rows = observe_all(SIGNALS, bars)
    assert rows["target_frac"].tolist() == targets.tolist()
    assert rows["is_new"].tolist() == [int(change) for change in targets.ne(targets.shift(fill_value=0.0))]


@pytest.mark.parametrize(
    ("flaw", "shown_at"),
    [(Quality.GOOD, 2), (Quality.MISSING, 2), (Quality.AFTER_GAP, 2), (Quality.NOT_FINITE, 3), (Quality.IMPOSSIBLE, 3)],
)
def test_a_signal_on_a_bad_bar_is_not_lost(flaw: Quality, shown_at: int) -> None:
    bars = make_bars(6, 3)
    bars["signal"] = [0.5, math.nan, 0.0, math.nan, math.nan, math.nan]
    spoil(bars, 2, flaw)
    assert np.flatnonzero(observe_all(SIGNALS, bars)["is_new"]).tolist() == [0, shown_at]


def _watch(signal: list[float], **settings: float) -> list[tuple[float, int]]:
    bars = make_bars(len(signal), 4)
    bars["signal"] = signal
    params = parse_params("whale_mirror", {"scale_bars": 3, "atr_bars": 1, **settings})
    return [(round(float(row["target_frac"]), 12), int(row["lag_bars"])) for row in observe_all(params, bars)][2:]


def test_whale_is_scaled_by_its_largest_position_lately() -> None:
    # Scale 3 bars: 40 is the largest until it leaves the window, then 10 is.
    watched = _watch([40.0, 40.0, 40.0, 10.0, 10.0, 10.0, -10.0], dead_band_frac=0.1)
    assert watched == [(1.0, 2), (0.25, 0), (0.25, 1), (1.0, 0), (-1.0, 0)]


def test_whale_dead_band_follows_no_small_change_but_every_exit_and_turn() -> None:
    watched = _watch([100.0, 100.0, 100.0, 85.0, 79.0, 95.0, -1.0, 0.0], dead_band_frac=0.2)
    assert watched == [(1.0, 2), (1.0, 3), (0.79, 0), (1.0, 0), (round(-1.0 / 95.0, 12), 0), (0.0, 0)]


def test_whale_unseen_too_long_counts_as_flat() -> None:
    unknown = [math.nan] * 4
    watched = _watch([5.0, 5.0, 5.0, *unknown, 5.0], watch_bars_max=2)
    assert watched == [(1.0, 2), (1.0, 3), (1.0, 4), (0.0, 0), (0.0, 1), (1.0, 0)]


def test_mean_reversion_features_equal_pandas() -> None:
    bars = make_bars(200, 6)
    params = parse_params("mean_reversion_funding", {"price_bars": 20, "funding_bars": 64, "atr_bars": 10})
    rows = observe_all(params, bars)[64:]
    close, rate = pd.Series(bars["close_px"]), pd.Series(bars["funding_rate"])
    price_z = ((close - close.rolling(20).mean()) / close.rolling(20).std(ddof=0))[64:]
    funding_z = ((rate - rate.rolling(64).mean()) / rate.rolling(64).std(ddof=0))[64:]
    np.testing.assert_allclose(rows["price_z"], price_z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rows["agreement_z"], funding_z * np.sign(price_z), rtol=1e-9, atol=1e-9)


@needs_shared
@pytest.mark.parametrize("name", ["mean_reversion_funding", "momentum_sar", "scalper"])
def test_every_idea_finds_both_sides_in_a_real_year(name: str) -> None:
    assert SHARED is not None
    frame = pd.read_parquet(SHARED / "data/bars/binance_um_BTCUSDT_15m.parquet").iloc[-35_040:]
    funding = pd.read_parquet(SHARED / "data/funding/binance_um_BTCUSDT.parquet")
    settled = pd.Series(funding.funding_rate.to_numpy(), pd.Index(funding.ts)).sort_index()
    bars = np.zeros(len(frame), BAR_DTYPE)
    for column in ("open", "high", "low", "close"):
        bars[f"{column}_px"] = frame[column]
    bars["funding_rate"] = settled.reindex(frame.ts, method="ffill").to_numpy()
    idea = STRATEGIES[name]
    rows = observe_all(idea.defaults, bars)
    assert (rows["reason"] == OK).sum() == len(bars) - idea.compute_bars_to_ready(idea.defaults) + 1
    wishes = [decide(row, idea.defaults, POSITION_FLAT, NOW_NS) for row in rows[::16]]
    sides = [math.copysign(1.0, wish.target_frac) for wish in wishes if wish.action == Action.TARGET]
    assert sides.count(1.0) > 10
    assert sides.count(-1.0) > 10
    assert len(sides) < len(wishes) / 2
