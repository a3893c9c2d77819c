"""A chunk of a sweep: some configurations over one market, evaluated one after another in this process.

Pure: the same work and the same configurations give the same rows to the bit, wherever and in whatever order chunks
run. Arrays are handed to the kernels read-only, as they come out of Ray's object store, so that one compiled replay
serves both.

A configuration is replayed over the whole sample. If it meets every constraint, its walk-forward follows: a fresh
account on the test of each fold. The Sharpe ratios over the folds' trains are cut from the first replay.
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
from strategies.catalog import Params, compute_bars_to_ready, get_idea, observe_all
from sweeps.folds import Fold, compute_returns, compute_sharpes, cut, find_days
from sweeps.metrics import METRICS_DTYPE, Metrics
from sweeps.records import FloatArray, IntArray, RecordArray
from sweeps.replay import MetricsReplay, lock
from sweeps.score import compute_score
from sweeps.search.space import SearchSpace
from sweeps.spec import Constraints, WalkForward

BoolArray = npt.NDArray[np.bool_]
GetFeatures = Callable[[Params], RecordArray]

CHUNK_S = 0.5  # of work: Tune spends about 0.04 s on a trial
CHUNKS_PER_WORKER_MIN = 4  # so that no worker waits long for the last one
CHUNKS_MAX = 2_000  # of a round: Tune keeps a record of each
WALK_FORWARD = "walk_forward"  # the constraint's name


@dataclass(frozen=True, slots=True)
class Work:
    """All that the rows of a sweep depend on, but for the configurations."""

    market: MarketData  # in sample, in one read-only block
    folds: tuple[Fold, ...]
    limits: Limits
    costs: Costs
    equity_start_quote: float
    constraints: Constraints
    walk_forward: WalkForward


def make_work(
    market: MarketData,
    folds: tuple[Fold, ...],
    limits: Limits,
    costs: Costs,
    equity_start_quote: float,
    constraints: Constraints,
    walk_forward: WalkForward,
) -> Work:
    """Return the work with its bars in one read-only block. Raises ValueError where the equity is not above zero."""
    if not (math.isfinite(equity_start_quote) and equity_start_quote > 0.0):
        raise ValueError(f"equity_start_quote is {equity_start_quote}, must be finite and > 0")
    locked = dataclasses.replace(market, bars=lock(market.bars))
    return Work(locked, folds, limits, costs, equity_start_quote, constraints, walk_forward)


def check_windows(space: SearchSpace, market: MarketData) -> None:
    """Raise ValueError if the sample is shorter than the longest window of the space.

    Only the greatest value of each axis is tried: every strategy's need grows with its windows.
    """
    longest = space.make_params(np.array([axis.values[-1] if axis.values else axis.high for axis in space.axes]))
    bars_min, length = compute_bars_to_ready(longest), market.bars.shape[1]
    if bars_min > length:
        shown = ", ".join(f"{key} {getattr(longest, key):g}" for key in get_idea(longest).slow)
        raise ValueError(
            f"{space.strategy} with {shown} needs {bars_min:,} bars, the sample has {length:,} of "
            f"{format_interval(market.interval_ns)}: widen the period or sweep shorter windows"
        )


def shorten(work: Work, bars_max: int) -> Work:
    """Return the work over its first `bars_max` bars, without folds."""
    market = dataclasses.replace(work.market, bars=lock(work.market.bars[:, :bars_max]))
    return dataclasses.replace(work, market=market, folds=())


def observe_market(market: MarketData, params: Params) -> RecordArray:
    """Return what a configuration's strategy sees, features_dtype[N, T], read-only; it depends on `slow_key` only."""
    return lock(np.stack([observe_all(params, bars) for bars in market.bars]))


def evaluate_chunk(
    work: Work, space: SearchSpace, configs: IntArray, values: FloatArray, get_features: GetFeatures | None = None
) -> tuple[pa.Table, npt.NDArray[np.float32]]:
    """Return one row per configuration, and the daily returns of each, float32[n, days].

    Parameters
    ----------
    configs, values : int64[n] and float64[n, axes], n >= 1
        Numbers and values of the configurations, all allowed by the space.
    get_features : (params) -> features[N, T], where they are shared
        None: observed here, once for all configurations that see the same.

    Raises ValueError naming the configuration that cannot be measured.
    """
    days = find_days(work.market, range(work.market.bars.shape[1]))
    metrics = np.zeros(len(configs), METRICS_DTYPE)
    equity_daily_quote = np.zeros((len(configs), days.stop))
    walked = np.full((len(configs), 2), np.nan)
    replay = MetricsReplay(work.market, work.limits, work.costs, work.equity_start_quote)
    tests: list[MetricsReplay] = []
    tried = [space.make_params(row) for row in values]
    for group in _group_by_features(space, values):
        features = (get_features or _observer(work.market))(tried[group[0]])
        for row in group:
            try:
                metrics[row] = found = replay.run(tried[row], features)
                equity_daily_quote[row] = replay.equity_daily_quote
                if work.folds and is_met(found, work.constraints):
                    tests = tests or [
                        MetricsReplay(cut(work.market, fold.test), *_account(work)) for fold in work.folds
                    ]
                    walked[row] = _walk_forward(work, tests, tried[row], features)
            except ValueError as error:
                raise ValueError(f"configuration {configs[row]} ({tried[row]}): {error}") from None
    returns_frac = compute_returns(equity_daily_quote, work.equity_start_quote)
    columns = _list_params(space, configs, values)
    columns |= {name: np.ascontiguousarray(metrics[name]) for name in Metrics._fields}
    for number, fold in enumerate(work.folds):
        columns[f"train_sharpe_{number}"] = compute_sharpes(returns_frac[:, find_days(work.market, fold.train)])
    columns["walk_forward_sharpe"], columns["walk_forward_positive_frac"] = np.ascontiguousarray(walked.T)
    columns["score"] = compute_score(columns, work.constraints)
    failures = find_failures(columns, work.constraints, work.walk_forward)
    columns["is_passed"] = ~np.logical_or.reduce(list(failures.values()))
    return pa.table(columns), returns_frac.astype(np.float32)


def _account(work: Work) -> tuple[Limits, Costs, float]:
    return work.limits, work.costs, work.equity_start_quote


def _observer(market: MarketData) -> GetFeatures:
    return lambda params: observe_market(market, params)


def _group_by_features(space: SearchSpace, values: FloatArray) -> list[list[int]]:
    # Rows that see the same, in the order of their first row.
    slow = get_idea(space.base).slow
    columns = [column for column, key in enumerate(space.keys) if key in slow]
    groups: dict[bytes, list[int]] = {}
    for row, key in enumerate(np.ascontiguousarray(values[:, columns])):
        groups.setdefault(key.tobytes(), []).append(row)
    return list(groups.values())


def _walk_forward(work: Work, tests: list[MetricsReplay], params: Params, features: RecordArray) -> tuple[float, float]:
    # (Sharpe of the tests' days one after another, share of folds that gained)
    returns_frac, gained = [], 0
    for fold, replay in zip(work.folds, tests, strict=True):
        metrics = replay.run(params, features[:, fold.test.start : fold.test.stop])
        returns_frac.append(compute_returns(replay.equity_daily_quote, work.equity_start_quote))
        gained += metrics.return_frac > 0.0
    return float(compute_sharpes(np.concatenate(returns_frac))), gained / len(tests)


def _list_params(space: SearchSpace, configs: IntArray, values: FloatArray) -> dict[str, Any]:
    columns: dict[str, Any] = {"config": np.asarray(configs, np.int64)}
    keys = space.keys
    for key, default in space.base._asdict().items():
        column = values[:, keys.index(key)] if key in keys else np.full(len(configs), default)
        columns[key] = column.astype(type(default))
    return columns


def is_met(metrics: Metrics, constraints: Constraints) -> bool:
    """Return whether a configuration meets every constraint but the walk-forward."""
    return (
        metrics.trades >= constraints.trades_min
        and metrics.drawdown_frac_max <= constraints.drawdown_frac_max
        and metrics.sharpe >= constraints.sharpe_min
        and metrics.win_rate_frac >= constraints.win_rate_frac_min
    )


def find_failures(columns: Any, constraints: Constraints, walk_forward: WalkForward) -> dict[str, BoolArray]:
    """Return constraint -> which rows fail it; `columns` are those of `evaluate_chunk`, as arrays by name.

    The walk-forward fails only where it was tested: the other rows fail something else.
    """
    met = {
        "trades_min": columns["trades"] >= constraints.trades_min,
        "drawdown_frac_max": columns["drawdown_frac_max"] <= constraints.drawdown_frac_max,
        "sharpe_min": columns["sharpe"] >= constraints.sharpe_min,
        "win_rate_frac_min": columns["win_rate_frac"] >= constraints.win_rate_frac_min,
    }
    failures: dict[str, BoolArray] = {name: ~rows for name, rows in met.items()}
    if walk_forward.folds:
        is_tested = np.logical_and.reduce(list(met.values()))
        walked = (columns["walk_forward_sharpe"] >= walk_forward.sharpe_min) & (
            columns["walk_forward_positive_frac"] >= walk_forward.folds_positive_frac_min
        )
        failures[WALK_FORWARD] = is_tested & ~walked
    return failures


def compute_shortfalls(columns: Any, constraints: Constraints) -> FloatArray:
    """Return by how much each row misses the constraints before walk-forward, relative to them, summed; 0.0: meets all.

    What is not a number misses by 1.0 for each constraint.
    """
    missing = np.zeros(len(columns["trades"]))
    for name, limit, sign in (
        ("trades", constraints.trades_min, 1.0),
        ("drawdown_frac_max", constraints.drawdown_frac_max, -1.0),
        ("sharpe", constraints.sharpe_min, 1.0),
        ("win_rate_frac", constraints.win_rate_frac_min, 1.0),
    ):
        gap = sign * (limit - np.asarray(columns[name], np.float64)) / max(abs(limit), 1e-9)
        missing += np.where(np.isfinite(gap), np.maximum(gap, 0.0), 1.0)
    return missing


def choose_chunk_configs(configs: int, seconds_per_config: float, workers: int) -> int:
    """Return how many configurations make a chunk: half a second of work, but every worker gets several chunks.

    A round of very many configurations has longer chunks, so that there are at most `CHUNKS_MAX`.

    >>> choose_chunk_configs(20_736, 0.001, 2), choose_chunk_configs(24, 0.001, 2), choose_chunk_configs(10**7, 0.1, 2)
    (500, 3, 5000)
    """
    enough = math.ceil(CHUNK_S / seconds_per_config)
    shared = math.ceil(configs / (workers * CHUNKS_PER_WORKER_MIN))
    return max(1, min(enough, shared), math.ceil(configs / CHUNKS_MAX))
