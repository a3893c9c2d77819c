"""Time of one `decide` and one `observe` per bar in a compiled loop, per strategy, beside an empty loop.

Run: python -m benchmarks.strategies_decide [--bars 35040]
"""

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from market.kernel_cache import set_kernel_cache

set_kernel_cache()  # numba reads it when it is imported

from numba import njit  # noqa: E402

from market.records import BAR_DTYPE, NS_PER_S, POSITION_FLAT, Position  # noqa: E402
from strategies.catalog import STRATEGIES, decide, new_state, observe_into  # noqa: E402

BAR_NS = 900 * NS_PER_S


@njit
def _loop_empty(features: Any, position: Position) -> float:
    # Reads what every strategy reads and sums it: what a loop costs without a decision.
    total = 0.0
    for index in range(len(features)):
        total += features[index].close_px
    return total


@njit
def _loop_decide(features: Any, params: Any, position: Position) -> float:
    # Each intent opens, turns or closes the position, as the replay does, so that no branch is always the same.
    total = 0.0
    for index in range(len(features)):
        intent = decide(features[index], params, position, index * BAR_NS)
        if intent.action != 0:
            lots = 0 if intent.target_frac == 0.0 else (1 if intent.target_frac > 0.0 else -1)
            position = Position(lots, features[index].close_px, index * BAR_NS)
            total += intent.target_frac + intent.stop_distance_px
        total += features[index].close_px
    return total


def make_bars(length: int) -> np.ndarray[Any, Any]:
    """Return a seeded random walk of 15-minute bars with funding and a watched series."""
    random = np.random.default_rng(7)
    bars = np.zeros(length, BAR_DTYPE)
    close_px = 50_000.0 * np.exp(np.cumsum(random.standard_t(4, length) * 0.002))
    bars["open_px"] = bars["close_px"] = close_px
    bars["high_px"], bars["low_px"] = close_px * 1.002, close_px * 0.998
    bars["ts_open_ns"] = np.arange(length) * BAR_NS
    bars["funding_rate"] = np.repeat(random.normal(1e-4, 1e-4, length // 32 + 1), 32)[:length]
    bars["signal"] = np.where(random.random(length) < 0.02, np.round(random.uniform(-1.0, 1.0, length), 1), math.nan)
    return bars


def measure_ns(call: Callable[[], Any], items: int) -> float:
    """Return the best of 30 runs after one to compile [ns per item]."""
    call()
    best_ns = math.inf
    for _ in range(30):
        started_ns = time.perf_counter_ns()
        call()
        best_ns = min(best_ns, time.perf_counter_ns() - started_ns)
    return best_ns / items


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=35_040)
    bars = make_bars(parser.parse_args().bars)
    print(f"{'strategy':24}{'observe':>10}{'decide':>10}{'empty':>10}{'decide-empty':>14}   ns a bar, {len(bars)} bars")
    for name, idea in STRATEGIES.items():
        params = idea.defaults
        features = np.empty(len(bars), idea.features_dtype)

        def observe_bars(params: Any = params, features: Any = features) -> None:
            observe_into(new_state(params), params, bars, features)

        def decide_bars(params: Any = params, features: Any = features) -> None:
            _loop_decide(features, params, POSITION_FLAT)

        def read_bars(features: Any = features) -> None:
            _loop_empty(features, POSITION_FLAT)

        observe_ns, decide_ns, empty_ns = (
            measure_ns(call, len(bars)) for call in (observe_bars, decide_bars, read_bars)
        )
        print(f"{name:24}{observe_ns:10.2f}{decide_ns:10.2f}{empty_ns:10.2f}{decide_ns - empty_ns:14.2f}")


if __name__ == "__main__":
    main()
