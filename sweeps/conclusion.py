"""What a finished sweep came to: the finalists looked at whole, the choosing walked forward, what chance explains.

The best is the passing configuration whose neighbourhood scores best (`search.stability`), or where nothing passes the
one that would be it. It alone, and the median of those that pass, meet the holdout, once, on a fresh account.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from market.catalog import MarketData
from market.kernel_cache import hash_kernel_sources
from strategies.catalog import Params
from sweeps.case import Case, describe_account, describe_data, get_ts_ms
from sweeps.chunks import find_failures, observe_market
from sweeps.folds import Fold, compute_returns, cut
from sweeps.metrics import Metrics
from sweeps.records import FloatArray, RecordArray
from sweeps.replay import MetricsReplay
from sweeps.spec_file import spec_json
from sweeps.statistics.overfitting import compute_overfitting, judge
from sweeps.store import RoundStore, SweepStore
from sweeps.summary import Finalist, FoldSummary, Number, RoundSummary, SweepSummary
from sweeps.sweep_charts import Curve
from sweeps.tape import Outcomes

RANKED = ("config", "score", "score_stable", "neighbours_passed_frac", "is_passed", "sharpe")


@dataclass(frozen=True, slots=True)
class _Place:
    # Where a configuration stands.
    round_index: int
    row: int


def conclude(case: Case, store: SweepStore, rounds: list[RoundSummary]) -> tuple[SweepSummary, list[Curve]]:
    """Return the summary of a sweep whose rounds are finished, and the daily equity of its finalists."""
    stores = [store.get_round(number, part.name) for number, part in enumerate(rounds, 1)]
    tables = [part.read_results(list(RANKED)) for part in stores]
    ranked = [{name: table[name].to_numpy() for name in RANKED} for table in tables]
    best_at, median_at = _find_best(ranked), _find_median(ranked)
    examined = []
    for role, place in (("best", best_at), ("median", median_at)):
        if place is not None:
            row = _read_row(stores[place.round_index].results_path, place.row)
            examined.append(_examine(case, role, rounds[place.round_index].name, row))
    finalists = [finalist for finalist, _, _ in examined]
    best, best_returns_frac = finalists[0], examined[0][2]
    overfitting = compute_overfitting(
        store.join_returns(stores),
        best_returns_frac,
        np.concatenate([columns["sharpe"] for columns in ranked]),
        case.spec.significance,
        case.spec.seed,
    )
    summary = SweepSummary(
        name=case.spec.name,
        strategy=case.spec.space.strategy,
        spec=spec_json(case.spec),
        data=describe_data(case),
        code_version=hash_kernel_sources(),
        account=describe_account(case.work),
        rounds=rounds,
        best=best,
        median=finalists[1] if len(finalists) > 1 else None,
        selection=_walk_selection(case, stores[0]),
        overfitting=overfitting,
        faults=[*_find_faults(best), *judge(overfitting, case.spec.significance)],
    )
    return summary, [curve for _, curve, _ in examined]


def _find_best(ranked: list[dict[str, npt.NDArray[Any]]]) -> _Place:
    # Passing ones first, then the stable score, then the score; of equals the first.
    firsts: list[tuple[tuple[float, ...], _Place]] = []
    for index, columns in enumerate(ranked):
        row = int(np.lexsort((-columns["score"], -columns["score_stable"], ~columns["is_passed"]))[0])
        worth = tuple(float(columns[name][row]) for name in ("is_passed", "score_stable", "score"))
        firsts.append((worth, _Place(index, row)))
    return max(firsts, key=lambda first: first[0])[1]


def _find_median(ranked: list[dict[str, npt.NDArray[Any]]]) -> _Place | None:
    passing = [
        (float(columns["score_stable"][row]), index, int(row))
        for index, columns in enumerate(ranked)
        for row in np.flatnonzero(columns["is_passed"])
    ]
    if not passing:
        return None
    _, index, row = sorted(passing)[(len(passing) - 1) // 2]
    return _Place(index, row)


def _read_row(path: Any, row: int) -> dict[str, Any]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row < rows:
                found: dict[str, Any] = file.read_row_group(group).slice(row, 1).to_pylist()[0]
                return found
            row -= rows
    raise IndexError(f"{path} has no row {row}")


def _make_params(case: Case, row: dict[str, Any]) -> Params:
    base = case.spec.space.base
    return type(base)(**{key: type(value)(row[key]) for key, value in base._asdict().items()})


def _examine(case: Case, role: str, round_name: str, row: dict[str, Any]) -> tuple[Finalist, Curve, FloatArray]:
    # (the finalist, its daily equity, its daily returns in sample)
    work, split = case.work, case.split
    params = _make_params(case, row)
    features = observe_market(case.market, params)
    replay = MetricsReplay(work.market, work.limits, work.costs, work.equity_start_quote)
    metrics = replay.run(params, features[:, : len(split.in_sample)])
    equity_quote = replay.equity_daily_quote.copy()
    unseen, metrics_unseen = None, None
    outcomes = []
    if split.holdout:
        unseen = MetricsReplay(cut(case.market, split.holdout), work.limits, work.costs, work.equity_start_quote)
        metrics_unseen = unseen.run(params, features[:, split.holdout.start :])
        outcomes.append(unseen.outcomes)
    folds = []
    for number, fold in enumerate(work.folds):
        summary, made = _walk(case, fold, params, features, row[f"train_sharpe_{number}"])
        folds.append(summary)
        outcomes.append(made)
    columns = {key: np.array([np.nan if value is None else value]) for key, value in row.items()}
    failures = find_failures(columns, work.constraints, work.walk_forward)
    finalist = Finalist(
        role=role,
        round_name=round_name,
        config=int(row["config"]),
        params=dict(params._asdict()),
        is_passed=bool(row["is_passed"]),
        failed=[name for name, failed in failures.items() if failed[0]],
        score=_number(row["score"]),
        score_stable=_number(row["score_stable"]),
        neighbours_passed_frac=_number(row["neighbours_passed_frac"]),
        metrics=to_numbers(metrics),
        metrics_out_of_sample=None if metrics_unseen is None else to_numbers(metrics_unseen),
        by_instrument=_examine_instruments(case, params, features),
        evidence=_sum_outcomes(outcomes),
        folds=folds,
    )
    curve = Curve(
        role=role,
        ts_in_sample_ms=_get_days_ms(case.market, split.in_sample, len(equity_quote)),
        equity_in_sample=equity_quote,
        ts_holdout_ms=_get_days_ms(case.market, split.holdout, unseen.days if unseen else 0),
        equity_holdout=unseen.equity_daily_quote.copy() if unseen else np.zeros(0),
    )
    return finalist, curve, compute_returns(equity_quote, work.equity_start_quote)


def _examine_instruments(case: Case, params: Params, features: RecordArray) -> dict[str, dict[str, Any]]:
    # Each instrument alone, on an account of its own; nothing to tell where there is only one.
    market, work, split = case.market, case.work, case.split
    if len(market.instruments) < 2:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for slot, instrument in enumerate(market.instruments):
        alone = dataclasses.replace(market, instruments=(instrument,), bars=market.bars[slot : slot + 1])
        told: dict[str, Any] = {"metrics": None, "metrics_out_of_sample": None}
        for name, bars in (("metrics", split.in_sample), ("metrics_out_of_sample", split.holdout)):
            if bars:
                replay = MetricsReplay(cut(alone, bars), work.limits, work.costs, work.equity_start_quote)
                told[name] = to_numbers(replay.run(params, features[slot : slot + 1, bars.start : bars.stop]))
        found[instrument.instrument_id] = told
    return found


def _walk(
    case: Case, fold: Fold, params: Params, features: RecordArray, train_sharpe: Any
) -> tuple[FoldSummary, Outcomes]:
    work, market = case.work, case.market
    replay = MetricsReplay(cut(market, fold.test), work.limits, work.costs, work.equity_start_quote)
    metrics = replay.run(params, features[:, fold.test.start : fold.test.stop])
    summary = FoldSummary(
        train_from_ms=get_ts_ms(market, fold.train.start),
        train_to_ms=get_ts_ms(market, fold.train.stop),
        test_from_ms=get_ts_ms(market, fold.test.start),
        test_to_ms=get_ts_ms(market, fold.test.stop),
        params=dict(params._asdict()),
        train_sharpe=_number(train_sharpe),
        test_metrics=to_numbers(metrics),
    )
    return summary, replay.outcomes


def _walk_selection(case: Case, store: RoundStore) -> list[FoldSummary]:
    # Only the first round: where later ones look was chosen on all of the sample.
    selection = []
    for number, fold in enumerate(case.work.folds):
        name = f"train_sharpe_{number}"
        sharpes = store.read_results([name])[name].to_numpy()
        row = _read_row(store.results_path, int(np.argmax(sharpes)))
        params = _make_params(case, row)
        features = observe_market(cut(case.market, range(fold.test.stop)), params)
        selection.append(_walk(case, fold, params, features, row[name])[0])
    return selection


def _find_faults(best: Finalist) -> list[str]:
    faults = []
    if not best.is_passed:
        faults.append(f"no configuration meets every constraint; the best one fails {', '.join(best.failed)}")
    unseen = best.metrics_out_of_sample
    if unseen is None:
        faults.append("there is no holdout: nothing says how it does on bars that no round has seen")
    elif not (unseen["return_frac"] or 0.0) > 0.0:
        gained = 100.0 * (unseen["return_frac"] or 0.0)
        faults.append(f"on the holdout, which no round has seen, it made {gained:+.1f} %")
    return faults


def _sum_outcomes(outcomes: Sequence[Outcomes]) -> dict[str, Number]:
    wins, losses = sum(part.wins for part in outcomes), sum(part.losses for part in outcomes)
    win_r, loss_r = sum(part.win_r_sum for part in outcomes), sum(part.loss_r_sum for part in outcomes)
    return {
        "trades": wins + losses,
        "win_rate_frac": wins / (wins + losses) if wins + losses else None,
        "win_r_avg": win_r / wins if wins else None,
        "loss_r_avg": loss_r / losses if losses else None,
    }


def to_numbers(metrics: Metrics) -> dict[str, Number]:
    """Return metrics by name; None where a value is not finite."""
    return {name: _number(value) for name, value in metrics._asdict().items()}


def _number(value: Any) -> Number:
    if value is None or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, int | np.integer) else float(value)


def _get_days_ms(market: MarketData, bars: range, days: int) -> npt.NDArray[np.int64]:
    # The end of each UTC day.
    day_ms = 86_400_000
    first = get_ts_ms(market, bars.start) // day_ms
    return (first + 1 + np.arange(days)) * day_ms
