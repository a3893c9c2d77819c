"""One configuration over a year of 15-minute bars (35,040): our replay beside vectorbt and NautilusTrader.

Ours: `momentum_sar` with every risk rule, stops, fees, slippage, funding, and all metrics of `backtest --json`; also
the same wishes as a given series without risk, which is the work the peers do. The peers get those wishes ready made
(see benchmarks/peers/ for what each does and does not do). Each peer lives in an environment of its own, made on the
first run with pip; without one its row says why it is missing.

Run: python -m benchmarks.backtest_peers [--catalog DIR --instrument ID] [--skip-peers]
Data: that catalog, else the real bars beside the checkout, else generated ones. One core; compile time not counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from market.kernel_cache import set_kernel_cache

set_kernel_cache()  # numba reads it when it is imported

from market.catalog import MarketData, load_market, make_market  # noqa: E402
from market.fills import Costs  # noqa: E402
from market.generator import generate_market  # noqa: E402
from market.instruments import find_instrument  # noqa: E402
from market.records import BAR_DTYPE, NS_PER_MS, NS_PER_S, Action, Position  # noqa: E402
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE, Limits  # noqa: E402
from strategies.catalog import decide, observe_all  # noqa: E402
from strategies.kernels.momentum_sar import MOMENTUM_SAR_DEFAULT  # noqa: E402
from strategies.kernels.signals import SIGNALS_DEFAULT  # noqa: E402
from sweeps.replay import MetricsReplay  # noqa: E402

BARS = 35_040
CASH_QUOTE = 100_000.0
COSTS = Costs(4.5, 1.5, 1.0)
ROOT = Path(__file__).resolve().parents[1]
PEERS = {
    "vectorbt": (["vectorbt==1.2.0"], 30),
    "nautilus": (["nautilus_trader==1.221.0"], 3),
}
REPEATS = 200


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalog", type=Path)
    parser.add_argument("--instrument", default="BTC-PERP.BINANCE")
    parser.add_argument("--skip-peers", action="store_true")
    arguments = parser.parse_args()
    market, source = read_market(arguments.catalog, arguments.instrument)
    targets = compute_targets(market)
    told = with_signal(market, targets)
    print(f"{market.instrument_ids[0]}, {market.bars.shape[1]:,} bars of 15 min, {source}; one core\n")
    print(f"{'':52}{'min ms':>10}{'median ms':>11}{'ns/bar':>9}{'trades':>8}{'return':>9}")
    ours = print_ours("trireme: all risk rules, funding, stops, metrics", market, MOMENTUM_SAR_DEFAULT, LIMITS_DEFAULT)
    print_ours("trireme: same wishes given, no risk rules", told, SIGNALS_DEFAULT, LIMITS_NONE)
    print_row("  indicators of one configuration (shared in sweeps)", time_observe(market), market.bars.shape[1])
    if arguments.skip_peers:
        return
    for name, (_, repeats) in PEERS.items():
        if (result := run_peer(name, f"{name}_peer", market, targets, repeats)) is not None:
            label = f"{name} {result['version']}: same wishes given, no risk rules"
            ratio = min(result["seconds"]) / ours
            print_row(label, result["seconds"], BARS, result["trades"], result["return_frac"], ratio)


def read_market(catalog: Path | None, instrument_id: str) -> tuple[MarketData, str]:
    """Return the last year of the best data there is, and what it is."""
    shared = ROOT.parent / "shared" / "data"
    if catalog is not None:
        market = load_market(catalog, [instrument_id])
        return make_market(market.instruments, market.bars[:, -BARS:], market.interval_ns), f"catalog {catalog.name}"
    if not shared.is_dir():
        return generate_market(1, [instrument_id], BARS), "generated"
    import pandas as pd

    frame = pd.read_parquet(shared / "bars" / "binance_um_BTCUSDT_15m.parquet")[-BARS:]
    funding = pd.read_parquet(shared / "funding" / "binance_um_BTCUSDT.parquet").set_index("ts")["funding_rate"]
    bars = np.zeros((1, BARS), BAR_DTYPE)
    bars["ts_open_ns"] = frame["ts"].to_numpy() * NS_PER_MS
    for name in ("open", "high", "low", "close"):
        bars[f"{name}_px"] = frame[name].to_numpy()
    bars["volume_base"] = frame["volume"].to_numpy()
    bars["funding_open_rate"] = funding.reindex(frame["ts"]).fillna(0.0).to_numpy()
    bars["funding_rate"] = bars["open_interest_base"] = bars["signal"] = np.nan
    return make_market([find_instrument("BTC-PERP.BINANCE")], bars, 900 * NS_PER_S), "real data"


def compute_targets(market: MarketData, params: Any = MOMENTUM_SAR_DEFAULT) -> np.ndarray[Any, Any]:
    """Return the strategy's wished position at each close (-1, 0, 1), as if every wish were granted at once."""
    features = observe_all(params, market.bars[0])
    targets, held = np.zeros(len(features)), 0
    for row in range(len(features)):
        intent = decide(features[row], params, Position(held, 1.0, 0), 0)
        if intent.action == Action.TARGET:
            held = int(np.sign(intent.target_frac))
        targets[row] = held
    return targets


def with_signal(market: MarketData, targets: np.ndarray[Any, Any]) -> MarketData:
    """Return the market with the targets as its signal."""
    bars = market.bars.copy()
    bars["signal"][0] = targets
    return make_market(market.instruments, bars, market.interval_ns)


def print_ours(label: str, market: MarketData, params: tuple[Any, ...], limits: Limits) -> float:
    """Time our replay with its metrics; return the fastest run [s]."""
    length = market.bars.shape[1]
    features = observe_all(params, market.bars[0])[np.newaxis]
    replay = MetricsReplay(market, limits, COSTS, CASH_QUOTE)
    metrics = replay.run(params, features)
    seconds = time_calls(lambda: replay.run(params, features), REPEATS)
    print_row(label, seconds, length, metrics.trades, metrics.return_frac)
    return min(seconds)


def time_observe(market: MarketData) -> list[float]:
    """Time the indicators alone."""
    return time_calls(lambda: observe_all(MOMENTUM_SAR_DEFAULT, market.bars[0]), REPEATS)


def time_calls(call: Callable[[], object], repeats: int) -> list[float]:
    """Return the seconds of each call."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def write_for_peers(path: Path, market: MarketData, targets: np.ndarray[Any, Any]) -> None:
    """Write what the peers read."""
    columns = ("ts_open_ns", "open_px", "high_px", "low_px", "close_px", "volume_base")
    np.savez(
        path,
        targets=targets,
        cash_quote=CASH_QUOTE,
        fee_frac=COSTS.fee_taker_bps * 1e-4,
        slippage_frac=COSTS.slippage_bps * 1e-4,
        **{name: market.bars[name][0] for name in columns},
    )


def run_peer(
    name: str, script: str, market: MarketData, targets: np.ndarray[Any, Any], repeats: int
) -> dict[str, Any] | None:
    """Run a script of benchmarks/peers in the peer's environment, made if there is none; None: say why not."""
    python = ROOT / f".venv-bench-{name}" / "bin" / "python"
    try:
        if not python.exists():
            print(f"making {python.parents[1].name} ...", file=sys.stderr)
            requirements, _ = PEERS[name]
            subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True, timeout=120)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True, timeout=600)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "market.npz"
            write_for_peers(path, market, targets)
            command = [str(python), str(ROOT / "benchmarks" / "peers" / f"{script}.py"), str(path), str(repeats)]
            done = subprocess.run(command, check=True, timeout=180, capture_output=True, text=True)
    except (subprocess.SubprocessError, OSError) as error:
        lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        print(f"{name}: not measured ({lines[-1]})")
        return None
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def print_row(
    label: str, seconds: list[float], bars: int, trades: int = 0, return_frac: float = 0.0, ratio: float = 0.0
) -> None:
    """Print one row of the table."""
    fastest, middle = min(seconds), float(np.median(seconds))
    row = f"{label:52}{fastest * 1e3:10.3f}{middle * 1e3:11.3f}{fastest / bars * 1e9:9.1f}"
    row += f"{trades:8d}{return_frac:9.1%}" if trades else ""
    print(row + (f"   {ratio:,.0f} x ours" if ratio else ""))


if __name__ == "__main__":
    main()
