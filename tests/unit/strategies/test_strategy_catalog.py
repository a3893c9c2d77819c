"""The catalog: one dispatch for Python and compiled callers, parameters, checkpoints, sharing, the cache on disk."""

import doctest
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from market.arrays import read_record
from market.reasons import Reason
from market.records import POSITION_FLAT, Action, Intent, Position, Quality
from strategies import catalog
from strategies.catalog import STRATEGIES, decide, new_state, observe, observe_all, parse_params
from tests.unit.strategies.generated_bars import bar_arrays, get_bar, make_bars, spoil

ROOT = Path(__file__).resolve().parents[3]

# Windows short enough that 120 bars leave the warm-up behind.
SMALL: dict[str, Any] = {
    "mean_reversion_funding": parse_params(
        "mean_reversion_funding", {"price_bars": 12, "funding_bars": 40, "atr_bars": 5, "entry_z": 1.0, "exit_z": 0.0}
    ),
    "momentum_sar": parse_params(
        "momentum_sar", {"trend_bars": 10, "atr_bars": 6, "sar_step": 0.05, "trend_atr_min": 0}
    ),
    "whale_mirror": parse_params("whale_mirror", {"scale_bars": 16, "watch_bars_max": 6, "atr_bars": 7}),
    "scalper": parse_params("scalper", {"fast_bars": 3, "trend_bars": 20, "atr_bars": 4, "pullback_atr_min": 0.3}),
    "signals": parse_params("signals", {"atr_bars": 9}),
}
each_strategy = pytest.mark.parametrize("name", list(STRATEGIES))


def _observe_stepwise(params: Any, bars: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    state = new_state(params)
    features = np.empty(len(bars), catalog.get_idea(params).features_dtype)
    for index in range(len(bars)):
        state, row = observe(state, params, get_bar(bars, index))
        features[index] = tuple(row)
    return features


@njit
def _decide_all(features: Any, params: Any, positions: Any, position: Any, ts_now_ns: Any, intents: Any) -> None:
    # A compiled caller as the replay is one: rows in, the overload picks the kernel.
    for index in range(len(features)):
        intent = decide(features[index], params, read_record(positions, index, position), ts_now_ns)
        intents[index, 0] = intent.action
        intents[index, 1] = intent.target_frac
        intents[index, 2] = intent.stop_distance_px
        intents[index, 3] = intent.take_profit_distance_px
        intents[index, 4] = intent.reason


def test_every_idea_has_small_params_here() -> None:
    assert list(SMALL) == list(STRATEGIES)


def test_doctests() -> None:
    result = doctest.testmod(catalog)
    assert result.attempted > 0
    assert result.failed == 0


@each_strategy
@settings(max_examples=40)
@given(bars=bar_arrays())
def test_compiled_loop_has_the_bits_of_the_steps(name: str, bars: np.ndarray[Any, Any]) -> None:
    assert observe_all(SMALL[name], bars).tobytes() == _observe_stepwise(SMALL[name], bars).tobytes()


@each_strategy
@settings(max_examples=25)
@given(bars=bar_arrays(), cut=st.floats(0.0, 1.0))
def test_a_restored_checkpoint_goes_on_with_the_same_bits(name: str, bars: np.ndarray[Any, Any], cut: float) -> None:
    params, at = SMALL[name], int(cut * len(bars))
    state = new_state(params)
    for index in range(at):
        state, _ = observe(state, params, get_bar(bars, index))
    written = json.dumps(catalog.state_to_dict(state), allow_nan=False)
    state = catalog.state_from_dict(params, json.loads(written))
    assert json.dumps(catalog.state_to_dict(state)) == written
    rest = np.empty(len(bars) - at, STRATEGIES[name].features_dtype)
    catalog.observe_into(state, params, bars[at:], rest)
    assert rest.tobytes() == observe_all(params, bars)[at:].tobytes()


@each_strategy
@settings(max_examples=25)
@given(bars=bar_arrays(), lots=st.integers(-3, 3), held_h=st.floats(0.0, 100.0))
def test_decide_takes_rows_and_records_alike(name: str, bars: np.ndarray[Any, Any], lots: int, held_h: float) -> None:
    params, features = SMALL[name], observe_all(SMALL[name], bars)
    ts_now_ns = 10**18
    position = Position(lots, 100.0, ts_now_ns - int(held_h * 3.6e12)) if lots else POSITION_FLAT
    positions = np.array([tuple(position)] * len(bars), [("qty_lots", "i8"), ("avg_px", "f8"), ("ts_entry_ns", "i8")])
    intents = np.zeros((len(bars), 5))
    _decide_all(features, params, positions, position, ts_now_ns, intents)
    record = STRATEGIES[name].features
    for index, row in enumerate(features):
        intent = decide(record(*row.item()), params, position, ts_now_ns)
        assert np.array(intent, np.float64).tobytes() == intents[index].tobytes()
        assert np.array(decide(row, params, position, ts_now_ns), np.float64).tobytes() == intents[index].tobytes()
        _check_intent(intent, params, position)


def _check_intent(intent: Intent, params: Any, position: Position) -> None:
    assert abs(intent.target_frac) <= params.size_frac
    if intent.action == Action.HOLD:
        assert intent[1:4] == (0.0, 0.0, 0.0)
        assert intent.reason in (Reason.NO_SIGNAL, Reason.FEATURES_NOT_READY, Reason.INPUT_NOT_FINITE)
    elif intent.target_frac == 0.0:
        assert intent[2:4] == (0.0, 0.0)
        assert intent.reason in (Reason.EXIT_SIGNAL, Reason.EXIT_TIME)
    else:
        assert intent.reason == Reason.ENTRY_SIGNAL
        if not isinstance(params, STRATEGIES["signals"].params):
            assert intent.stop_distance_px >= 0.0
            assert math.isfinite(intent.take_profit_distance_px)


@each_strategy
@settings(max_examples=25)
@given(bars=bar_arrays())
def test_close_is_known_from_the_first_price_on(name: str, bars: np.ndarray[Any, Any]) -> None:
    features = observe_all(SMALL[name], bars)
    has_price = np.maximum.accumulate(np.isfinite(bars["close_px"])) if len(bars) else np.zeros(0, bool)
    assert (np.isfinite(features["close_px"]) == has_price).all()
    assert not np.isinf(features["atr_px"]).any()


@each_strategy
@pytest.mark.parametrize("flaw", [Quality.MISSING, Quality.NOT_FINITE, Quality.IMPOSSIBLE])
def test_unusable_bars_move_no_indicator(name: str, flaw: Quality) -> None:
    # The same market with and without flawed bars between: the good bars show the same features.
    params, bars = SMALL[name], make_bars(100, 5)
    bars["signal"] = 0.5
    flawed_at = [0, 30, 31, 32, 77]
    holed = np.insert(bars, [at - i for i, at in enumerate(flawed_at)], bars[0])
    for at in flawed_at:
        holed[at]["signal"] = math.nan
        spoil(holed, at, flaw)
    features = observe_all(params, holed)
    good = np.delete(features, flawed_at)
    expected = observe_all(params, bars)
    for field in set(expected.dtype.names or ()) - {"lag_bars"}:  # lag is time, and time passes
        np.testing.assert_array_equal(good[field], expected[field])
    shown = features[flawed_at[1:]]
    if "reason" in (features.dtype.names or ()):
        wanted = Reason.OK if flaw is Quality.MISSING else Reason.INPUT_NOT_FINITE
        assert shown["reason"][-1] == wanted
    if flaw is Quality.MISSING:
        np.testing.assert_array_equal(shown["close_px"], holed[np.array(flawed_at[1:]) - 1]["close_px"])
        np.testing.assert_array_equal(shown["atr_px"], features[np.array(flawed_at[1:]) - 1]["atr_px"])


@each_strategy
def test_features_are_ready_when_promised(name: str) -> None:
    params, bars = SMALL[name], make_bars(100, 8)
    bars["signal"] = 0.5
    features = observe_all(params, bars)
    if "reason" in (features.dtype.names or ()):
        is_ready = features["reason"] == Reason.OK
    else:
        is_ready = np.isfinite(features["atr_px"])
    assert int(np.argmax(is_ready)) == catalog.compute_bars_to_ready(params) - 1
    assert is_ready[catalog.compute_bars_to_ready(params) - 1 :].all()


@each_strategy
def test_only_slow_parameters_change_features(name: str) -> None:
    bars, idea, params = make_bars(110, 13), STRATEGIES[name], SMALL[name]
    for key, allowed in idea.ranges.items():
        value = getattr(params, key)
        changed = params._replace(**{key: value + 1 if allowed.is_int else value * 0.5 + 0.01})
        is_same_key = catalog.slow_key(changed) == catalog.slow_key(params)
        assert is_same_key == (key not in idea.slow), key
        is_same = observe_all(changed, bars).tobytes() == observe_all(params, bars).tobytes()
        assert is_same or not is_same_key, key


@each_strategy
def test_defaults_and_ranges_agree(name: str) -> None:
    idea = STRATEGIES[name]
    assert tuple(idea.ranges) == idea.params._fields  # type: ignore[attr-defined]
    assert set(idea.slow) < set(idea.ranges)
    assert {"close_px", "atr_px"} <= set(idea.features_dtype.names or ())
    catalog.check_params(idea.defaults)
    for key, allowed in idea.ranges.items():
        assert allowed.least <= allowed.low <= allowed.high <= allowed.most, key
        assert allowed.low <= getattr(idea.defaults, key) <= allowed.high, key
        assert not allowed.is_log or allowed.low > 0.0, key
        assert type(getattr(idea.defaults, key)) is (int if allowed.is_int else float), key


@each_strategy
def test_the_page_states_the_defaults_and_ranges(name: str) -> None:
    idea = STRATEGIES[name]
    rows = [line.split("|")[1:5] for line in (ROOT / idea.doc_page).read_text().splitlines() if line.startswith("| `")]
    stated = {
        key.strip(" `"): (default.strip(), search.strip(), range_.strip()) for key, default, search, range_ in rows
    }
    assert stated == {
        key: (
            f"{getattr(idea.defaults, key):g}",
            f"{allowed.low:g}..{allowed.high:g}{' log' if allowed.is_log else ''}",
            f"{allowed.least:.7g}..{allowed.most:.7g}",
        )
        for key, allowed in idea.ranges.items()
    }


@pytest.mark.parametrize("text", [str, lambda value: value])
@each_strategy
def test_parse_params_round_trips(name: str, text: Any) -> None:
    params = SMALL[name]
    parsed = parse_params(name, {key: text(value) for key, value in params._asdict().items()})
    assert parsed == params
    assert [type(value) for value in parsed] == [type(value) for value in STRATEGIES[name].defaults]


@pytest.mark.parametrize(
    ("name", "given_values", "message"),
    [
        ("momentum_sra", {}, "unknown strategy 'momentum_sra'; did you mean 'momentum_sar'?"),
        (
            "xyz",
            {},
            "unknown strategy 'xyz'; known: mean_reversion_funding, momentum_sar, whale_mirror, scalper, signals",
        ),
        ("momentum_sar", {"sar_stp": 1}, "strategy momentum_sar has no parameter 'sar_stp'; did you mean 'sar_step'?"),
        ("signals", {"atr_bars": "many"}, "signals.atr_bars is 'many', must be a whole number in 1..10000"),
        ("signals", {"atr_bars": 2.5}, "signals.atr_bars is 2.5, must be a whole number in 1..10000"),
        ("signals", {"atr_bars": 0}, "signals.atr_bars is 0, must be a whole number in 1..10000"),
        ("signals", {"stop_atr": "nan"}, "signals.stop_atr is nan, must be a number in 0.01..1000"),
        ("signals", {"stop_atr": math.inf}, "signals.stop_atr is inf, must be a number in 0.01..1000"),
        ("signals", {"stop_atr": None}, "signals.stop_atr is 'None', must be a number in 0.01..1000"),
        ("scalper", {"fast_bars": 300}, "scalper.fast_bars is 300, must not exceed trend_bars (192)"),
        ("momentum_sar", {"sar_max": 0.001}, "momentum_sar.sar_step is 0.01, must not exceed sar_max (0.001)"),
    ],
)
def test_bad_parameters_are_named(name: str, given_values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        parse_params(name, given_values)
    assert str(caught.value) == message


def test_other_objects_are_no_params() -> None:
    with pytest.raises(ValueError, match="tuple is no strategy's parameters"):
        new_state((1, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price": None}, "checkpoint of mean_reversion_funding.price must have the fields blocks, seen, "),
        ({"price": "gone"}, "checkpoint of mean_reversion_funding.price must have the fields blocks, seen, "),
        ({"extra": 1}, "checkpoint of mean_reversion_funding must have the fields price, funding, atr, features"),
        ({"atr": {"seen": 1.5, "atr_px": "0x1p+0", "close_px": "0x1p+0"}}, r"atr\.seen: '1\.5' is no whole number"),
        ({"atr": {"seen": 1, "atr_px": "one", "close_px": "0x1p+0"}}, r"atr\.atr_px: invalid hexadecimal"),
        ({"atr": {"seen": 1, "atr_px": 1.0, "close_px": "0x1p+0"}}, r"atr\.atr_px: "),
    ],
)
def test_bad_checkpoints_are_named(change: dict[str, Any], message: str) -> None:
    params = SMALL["mean_reversion_funding"]
    fields = catalog.state_to_dict(new_state(params)) | change
    with pytest.raises(ValueError, match=message):
        catalog.state_from_dict(params, fields)


def test_checkpoint_of_another_window_is_refused() -> None:
    params = SMALL["mean_reversion_funding"]
    fields = catalog.state_to_dict(new_state(params))
    with pytest.raises(ValueError, match=r"price\.blocks: 36 values, these parameters need 39"):
        catalog.state_from_dict(params._replace(price_bars=13), fields)


def test_describe_is_plain_and_complete() -> None:
    described = json.loads(json.dumps(catalog.describe(), allow_nan=False))
    assert [idea["name"] for idea in described] == list(STRATEGIES)
    for idea in described:
        assert [row["name"] for row in idea["parameters"]] == list(STRATEGIES[idea["name"]].ranges)
        assert {row["name"] for row in idea["parameters"] if row["is_slow"]} == set(STRATEGIES[idea["name"]].slow)
        assert {row["kind"] for row in idea["parameters"]} <= {"int", "float"}


_SECOND_PROCESS = """
import numpy as np
from market.records import BAR_DTYPE
from strategies import catalog
for idea in catalog.STRATEGIES.values():
    idea.warm_up()
    catalog.observe_all(idea.defaults, np.zeros(3, BAR_DTYPE))
kernels = [catalog.observe_into]
for idea in catalog.STRATEGIES.values():
    kernels += [idea.make, idea.observe, idea.decide]
print(sum(sum(kernel.stats.cache_hits.values()) for kernel in kernels),
      sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels))
"""


def test_a_second_process_loads_every_kernel_from_disk(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    counts = []
    for _ in range(2):
        finished = subprocess.run(
            [sys.executable, "-c", _SECOND_PROCESS], env=environment, capture_output=True, text=True, check=True
        )
        counts.append([int(count) for count in finished.stdout.split()])
    (_, compiled), (loaded, missed) = counts
    assert compiled >= 4 * len(STRATEGIES)  # observe_into, make, observe and decide of each
    assert missed == 0
    assert loaded >= 4 * len(STRATEGIES)
