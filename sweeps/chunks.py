"""A chunk of a sweep: a run of configurations over one market, evaluated one after another in this process.

Pure: the same work and the same range give the same table to the bit, wherever and in whatever order chunks run. Arrays
are handed to the kernels read-only, as they come out of Ray's object store, so that one compiled replay serves both.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market.catalog import MarketData
from market.fills import Costs
from market.series import format_interval
from risk.limits import Limits
from strategies.catalog import Params, compute_bars_to_ready, get_idea, observe_all, slow_key
from sweeps.metrics import METRICS_DTYPE, Metrics
from sweeps.records import RecordArray
from sweeps.replay import MetricsReplay, lock
from sweeps.space import GridSpace

BoolArray = npt.NDArray[np.bool_]
GetFeatures = Callable[[Params], RecordArray]

CHUNK_S = 0.5  # of work: Tune spends about 0.04 s on a trial
CHUNK_CONFIGS_MAX = 1024
CHUNKS_PER_WORKER_MIN = 4  # so that no worker waits long for the last one


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a configuration must meet, all at once, to pass (DESIGN.md section 7); a metric that is NaN fails."""

    trades_min: int = 20
    drawdown_frac_max: float = 0.20
    sharpe_min: float = 1.5
    win_rate_frac_min: float = 0.30


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """What to try and what counts as passing. `chunk_configs`: configurations in a trial, 0: from their cost."""

    space: GridSpace
    constraints: Constraints = Constraints()
    chunk_configs: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """All that the metrics of a configuration depend on."""

    spec: SweepSpec
    market: MarketData
    limits: Limits
    costs: Costs
    equity_start_quote: float


def make_work(spec: SweepSpec, market: MarketData, limits: Limits, costs: Costs, equity_start_quote: float) -> Work:
    """Return the work with its bars in one read-only block.

    Raises ValueError where the equity is not above zero, a chunk size is negative, or the period is shorter than the
    longest window of the space.
    """
    if not (math.isfinite(equity_start_quote) and equity_start_quote > 0.0):
        raise ValueError(f"equity_start_quote is {equity_start_quote}, must be finite and > 0")
    if spec.chunk_configs < 0:
        raise ValueError(f"chunk_configs is {spec.chunk_configs}, must be >= 0")
    length = market.bars.shape[1]
    for params in spec.space.list_slow():
        bars_min = compute_bars_to_ready(params)
        if bars_min > length:
            name, *windows = slow_key(params)
            shown = ", ".join(f"{key} {value:g}" for key, value in zip(get_idea(params).slow, windows, strict=True))
            raise ValueError(
                f"{name} with {shown} needs {bars_min:,} bars, the period has {length:,} of "
                f"{format_interval(market.interval_ns)}: widen the period or sweep shorter windows"
            )
    return Work(spec, dataclasses.replace(market, bars=lock(market.bars)), limits, costs, equity_start_quote)


def shorten(work: Work, bars_max: int) -> Work:
    """Return the work over its first `bars_max` bars."""
    bars = lock(work.market.bars[:, :bars_max])
    return dataclasses.replace(work, market=dataclasses.replace(work.market, bars=bars))


def observe_market(market: MarketData, params: Params) -> RecordArray:
    """Return what a configuration's strategy sees, features_dtype[N, T], read-only; it depends on `slow_key` only."""
    return lock(np.stack([observe_all(params, bars) for bars in market.bars]))


def evaluate_chunk(work: Work, configs: range, get_features: GetFeatures | None = None) -> pa.Table:
    """Return one row per configuration: `config` (its number), its parameters, its metrics, `is_passed`.

    get_features: (params) -> features[N, T], where they are shared; None: observed here, once per `slow_key` in a row.
    Raises ValueError naming the configuration that cannot be measured.
    """
    space, metrics = work.spec.space, np.zeros(len(configs), METRICS_DTYPE)
    replay = MetricsReplay(work.market, work.limits, work.costs, work.equity_start_quote)
    tried = [space.get_params(index) for index in configs]
    key_now: tuple[Any, ...] | None = None
    for row, params in enumerate(tried):
        if (key := slow_key(params)) != key_now:
            features = get_features(params) if get_features else observe_market(work.market, params)
            key_now = key
        try:
            metrics[row] = replay.run(params, features)
        except ValueError as error:
            raise ValueError(f"configuration {configs[row]} ({params}): {error}") from None
    columns: dict[str, Any] = {"config": np.asarray(configs, np.int64)}
    for key, value in space.base._asdict().items():
        columns[key] = np.array([getattr(params, key) for params in tried], type(value))
    columns |= {name: np.ascontiguousarray(metrics[name]) for name in Metrics._fields}
    failures = find_failures(metrics, work.spec.constraints)
    columns["is_passed"] = ~np.logical_or.reduce(list(failures.values()))
    return pa.table(columns)


def find_failures(metrics: Any, constraints: Constraints) -> dict[str, BoolArray]:
    """Return constraint -> which rows fail it. `metrics`: METRICS_DTYPE[n], or arrays by the same names."""
    met = {
        "trades_min": metrics["trades"] >= constraints.trades_min,
        "drawdown_frac_max": metrics["drawdown_frac_max"] <= constraints.drawdown_frac_max,
        "sharpe_min": metrics["sharpe"] >= constraints.sharpe_min,
        "win_rate_frac_min": metrics["win_rate_frac"] >= constraints.win_rate_frac_min,
    }
    return {name: ~rows for name, rows in met.items()}


def choose_chunk_configs(configs: int, seconds_per_config: float, workers: int) -> int:
    """Return how many configurations make a chunk: half a second of work, but every worker gets several chunks.

    >>> choose_chunk_configs(20_736, 0.001, 2), choose_chunk_configs(24, 0.001, 2)
    (500, 3)
    """
    enough = math.ceil(CHUNK_S / seconds_per_config)
    shared = math.ceil(configs / (workers * CHUNKS_PER_WORKER_MIN))
    return max(1, min(enough, shared, CHUNK_CONFIGS_MAX))


def list_chunks(configs: int, chunk_configs: int) -> list[range]:
    """Return the chunks of a sweep, in order; the last may be shorter.

    >>> list_chunks(5, 2)
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [range(start, min(start + chunk_configs, configs)) for start in range(0, configs, chunk_configs)]
