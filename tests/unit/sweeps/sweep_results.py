"""Made-up sweeps for the tests of what shows and compares them: seeded numbers that hang together, no replay."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.score import compute_score
from sweeps.spec import Constraints, Significance
from sweeps.statistics.overfitting import explain
from sweeps.summary import Finalist, FoldSummary, Number, Overfitting, RoundSummary, SweepSummary
from sweeps.sweep_charts import Curve

DAY_MS = 86_400_000
FROM_MS = 19_000 * DAY_MS
DAYS, DAYS_HOLDOUT = 730, 146
EQUITY_START_QUOTE = 10_000.0
BASE = {
    "sar_step": 0.02,
    "sar_max": 0.1,
    "trend_bars": 192,
    "atr_bars": 56,
    "trend_atr_min": 1.0,
    "entry_bars_max": 16,
    "stop_atr": 3.0,
    "take_profit_atr": 0.0,
    "size_frac": 1.0,
}
PEAK = {"sar_step": 0.021, "sar_max": 0.11, "trend_bars": 230.0, "trend_atr_min": 1.1, "stop_atr": 3.4}
WIDTH = {"sar_step": 0.9, "sar_max": 1.6, "trend_bars": 0.8, "trend_atr_min": 1.2, "stop_atr": 0.6}  # in logarithms
CONSTRAINTS = {"trades_min": 20, "drawdown_frac_max": 0.2, "sharpe_min": 1.5, "win_rate_frac_min": 0.3}
METRICS = ("trades", "win_rate_frac", "sharpe", "return_frac", "drawdown_frac_max", "profit_factor")
Columns = dict[str, Any]


@dataclass(frozen=True)
class MadeSweep:
    """All that `write_sweep_report` is given."""

    summary: SweepSummary
    rounds: list[Path]
    curves: list[Curve]
    explained: list[tuple[str, str, str]]


def make_sweep(directory: Path, seed: int = 1, edge: float = 1.0) -> MadeSweep:
    """Write three rounds below `directory` and return their sweep; `edge` 0.0: nothing passes."""
    random = np.random.default_rng(seed)
    coarse = {
        "sar_step": [0.005, 0.01, 0.02, 0.03, 0.04],
        "sar_max": [0.05, 0.1, 0.15, 0.2],
        "trend_bars": [48, 96, 192, 384, 768],
        "trend_atr_min": [0.25, 0.5, 1.0, 2.0],
        "stop_atr": [1.5, 2.0, 3.0, 4.0, 6.0],
    }
    fine = {
        "sar_step": np.linspace(0.01, 0.03, 6).tolist(),
        "sar_max": [0.08, 0.1, 0.12, 0.14],
        "trend_bars": [128, 160, 192, 224, 256, 320, 384],
        "trend_atr_min": [0.75, 1.0, 1.25, 1.5, 1.75],
        "stop_atr": np.linspace(2.5, 4.5, 9).tolist(),
    }
    near = {
        "sar_step": [0.014, 0.026],
        "sar_max": [0.09, 0.13],
        "trend_bars": [176, 304],
        "trend_atr_min": [0.8, 1.5],
        "stop_atr": [2.8, 4.1],
    }
    spans = [{key: [min(values), max(values)] for key, values in axes.items()} for axes in (fine, near)]
    tables = [
        _make_rows(_cross(coarse), random, edge),
        _make_rows(_cross(fine), random, edge),
        _make_rows({key: random.uniform(low, high, 3750) for key, (low, high) in near.items()}, random, edge),
    ]
    rounds, paths = [], []
    parts = zip(
        ("coarse", "fine", "near"), ("grid", "grid", "sobol"), (coarse, fine, near), (*spans, None), strict=True
    )
    for number, (name, sampler, axes, region) in enumerate(parts):
        paths.append(write_rows(directory / "rounds" / f"{number + 1}-{name}" / "results.parquet", tables[number]))
        rounds.append(_summarize(name, sampler, axes, region, tables[number]))
    best = int(np.argmax(tables[2]["score"] - (~tables[2]["is_passed"])))
    passed = np.flatnonzero(tables[2]["is_passed"])
    median = int(passed[np.argsort(tables[2]["score"][passed])[len(passed) // 2]]) if len(passed) else None
    finalists = [_finish("best", tables[2], best, random)]
    if median is not None:
        finalists.append(_finish("median", tables[2], median, random))
    summary = SweepSummary(
        name="three rounds",
        strategy="momentum_sar",
        spec=_spec(rounds),
        data=_data(),
        code_version="0.3.0+g1f2e3d4",
        account=_account(),
        rounds=rounds,
        best=finalists[0],
        median=finalists[1] if len(passed) else None,
        selection=_make_folds(random, finalists[0].params, 1.9, 1.1, True),
        overfitting=_overfit(finalists[0], sum(part.configs for part in rounds), random, edge),
        faults=[] if len(passed) else ["it fails sharpe_min", "the deflated Sharpe probability is 0.11, at least 0.95"],
    )
    return MadeSweep(
        summary,
        paths,
        [make_curve(part.role, random, edge) for part in finalists],
        explain(summary.overfitting, Significance()),
    )


def make_bare_sweep(directory: Path) -> MadeSweep:
    """Return the least a sweep can be: one round, parameter and instrument; no holdout, no folds, no statistics."""
    random = np.random.default_rng(2)
    values: Columns = {"stop_atr": np.array([1.5, 2.0, 3.0, 4.0, 6.0])}
    table = _make_rows(values, random, 1.0)
    table["is_passed"][:] = False
    part = _summarize("only", "grid", {"stop_atr": values["stop_atr"].tolist()}, None, table)
    best = replace(
        _finish("best", table, int(np.argmax(table["score"])), random),
        round_name="only",
        is_passed=False,
        failed=["trades_min"],
        score_stable=None,
        neighbours_passed_frac=None,
        metrics_out_of_sample=None,
        by_instrument={},
        evidence={},
        folds=[],
    )
    best.metrics["profit_factor"] = None
    nothing: dict[str, Any] = dict.fromkeys(Overfitting.__dataclass_fields__)
    overfitting = Overfitting(**(nothing | {"trials": 5, "configs_tested": 5, "days": DAYS, "pbo_logits": []}))
    summary = SweepSummary(
        name="bare",
        strategy="momentum_sar",
        spec={"seed": 0},
        data=_data() | {"instrument_ids": ["BTC-PERP.ACME"], "bars_holdout": 0, "holdout_from_ms": None},
        code_version="0.3.0",
        account=_account(),
        rounds=[part],
        best=best,
        median=None,
        selection=[],
        overfitting=overfitting,
        faults=["it fails trades_min"],
    )
    curve = make_curve("best", random, 1.0)
    empty = np.zeros(0)
    curve = replace(curve, ts_holdout_ms=empty.astype(np.int64), equity_holdout=empty)
    path = write_rows(directory / "rounds" / "1-only" / "results.parquet", table)
    return MadeSweep(summary, [path], [curve], [])


def make_curve(role: str, random: np.random.Generator, edge: float) -> Curve:
    """Return daily equity with an edge that fades out of sample."""
    inside = DAYS - DAYS_HOLDOUT
    returns_frac = random.normal(0.0016 * edge * (1.0 if role == "best" else 0.5), 0.014, DAYS)
    returns_frac[inside:] -= 0.0006 * edge
    ts_ms = FROM_MS + DAY_MS * np.arange(1, DAYS + 1)
    equity, holdout = (EQUITY_START_QUOTE * np.cumprod(1.0 + part) for part in np.split(returns_frac, [inside]))
    return Curve(role, ts_ms[:inside], equity, ts_ms[inside:], holdout)


def write_rows(path: Path, rows: Columns) -> Path:
    """Write one round's results and return their path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows), path, row_group_size=65_536)
    return path


def _cross(axes: dict[str, list[float]]) -> Columns:
    grid = np.meshgrid(*axes.values(), indexing="ij")
    return {key: values.ravel() for key, values in zip(axes, grid, strict=True)}


def _make_rows(swept: Columns, random: np.random.Generator, edge: float) -> Columns:
    count = len(next(iter(swept.values())))
    fields = {key: np.full(count, value) for key, value in BASE.items()} | swept
    fields["trend_bars"] = np.rint(fields["trend_bars"]).astype(np.int64)
    away = sum((np.log(np.asarray(fields[key], float) / PEAK[key]) / WIDTH[key]) ** 2 for key in PEAK)
    skew = 0.5 * np.log(fields["stop_atr"] / PEAK["stop_atr"]) * np.log(fields["trend_bars"] / PEAK["trend_bars"])
    sharpe = edge * (2.4 * np.exp(-0.5 * away) + skew) + random.normal(0.0, 0.35, count)
    trades = np.rint(random.normal(160.0, 25.0, count) * (0.02 / fields["sar_step"]) ** -0.5).clip(0).astype(np.int64)
    drawdown_frac = np.clip(0.22 - 0.04 * sharpe + random.normal(0.0, 0.02, count), 0.02, 0.9)
    win_frac = np.clip(0.37 + 0.02 * sharpe + random.normal(0.0, 0.03, count), 0.0, 1.0)
    return_frac = 0.21 * sharpe + random.normal(0.0, 0.03, count)
    met = (trades >= 20) & (drawdown_frac <= 0.2) & (sharpe >= 1.5) & (win_frac >= 0.3)
    walk_forward_sharpe = np.where(met, 0.6 * sharpe + random.normal(0.0, 0.3, count), np.nan)
    rows = {"config": np.arange(count)} | fields
    rows |= {
        "trades": trades,
        "win_rate_frac": win_frac,
        "sharpe": sharpe,
        "return_frac": return_frac,
        "drawdown_frac_max": drawdown_frac,
        "profit_factor": np.where(trades > 0, 1.0 + 0.3 * sharpe, np.nan),
        "fees_quote": trades * 4.1,
        "funding_quote": -trades * 0.3,
        "equity_last_quote": EQUITY_START_QUOTE * (1.0 + return_frac),
    }
    rows |= {f"train_sharpe_{fold}": sharpe + random.normal(0.0, 0.2, count) for fold in range(4)}
    score = compute_score(rows, Constraints())
    is_passed = met & (walk_forward_sharpe >= 0.75) & (edge > 0.0)
    neighbours = np.clip(np.exp(-0.5 * away) + random.normal(0.0, 0.05, count), 0.0, 1.0)
    return rows | {
        "walk_forward_sharpe": walk_forward_sharpe,
        "walk_forward_positive_frac": np.where(met, random.integers(1, 5, count) / 4.0, np.nan),
        "score": score,
        "is_passed": is_passed,
        "score_stable": 0.8 * score + 0.1 * neighbours,
        "neighbours_passed_frac": neighbours,
    }


def _summarize(
    name: str, sampler: str, axes: dict[str, Any], region: dict[str, Any] | None, rows: Columns
) -> RoundSummary:
    met = np.isfinite(rows["walk_forward_sharpe"])
    failures = {
        "trades_min": int((rows["trades"] < 20).sum()),
        "drawdown_frac_max": int((rows["drawdown_frac_max"] > 0.2).sum()),
        "sharpe_min": int((rows["sharpe"] < 1.5).sum()),
        "win_rate_frac_min": int((rows["win_rate_frac"] < 0.3).sum()),
        "walk_forward": int((met & ~rows["is_passed"]).sum()),
    }
    quantiles = {
        key: [_number(part) for part in np.nanquantile(rows[key], (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1))]
        for key in ("score", *METRICS)
    }
    best = int(np.argmax(rows["score_stable"]))
    return RoundSummary(
        name=name,
        sampler=sampler,
        configs=len(met),
        passed=int(rows["is_passed"].sum()),
        failures=failures,
        walk_forward_tested=int(met.sum()),
        axes=axes,
        region=region,
        quantiles=quantiles,
        best_params=_params(rows, best),
    )


def _params(rows: Columns, row: int) -> dict[str, Number]:
    return {key: rows[key][row].item() for key in BASE}


def _metrics(rows: Columns, row: int) -> dict[str, Number]:
    return {key: _number(rows[key][row]) for key in (*METRICS, "fees_quote", "funding_quote", "equity_last_quote")}


def _number(value: Any) -> Number:
    item: int | float = value.item()
    return item if math.isfinite(item) else None


def _finish(role: str, rows: Columns, row: int, random: np.random.Generator) -> Finalist:
    metrics, is_passed = _metrics(rows, row), bool(rows["is_passed"][row])
    sharpe = float(rows["sharpe"][row])
    parts = {}
    for number, instrument_id in enumerate(("BTC-PERP.ACME", "ETH-PERP.ACME")):
        parts[instrument_id] = {
            "metrics": metrics | {"sharpe": sharpe * (0.9 - 0.2 * number), "trades": 80 - 9 * number},
            "metrics_out_of_sample": metrics | {"sharpe": 0.9 - 1.1 * number, "return_frac": 0.07 - 0.09 * number},
        }
    return Finalist(
        role=role,
        round_name="near",
        config=int(rows["config"][row]),
        params=_params(rows, row),
        is_passed=is_passed,
        failed=[] if is_passed else ["sharpe_min"],
        score=_number(rows["score"][row]),
        score_stable=_number(rows["score_stable"][row]),
        neighbours_passed_frac=_number(rows["neighbours_passed_frac"][row]),
        metrics=metrics,
        metrics_out_of_sample=metrics | {"sharpe": 0.52 * sharpe, "return_frac": 0.071, "trades": 41},
        by_instrument=parts,
        evidence={"trades": 128, "win_rate_frac": 0.421, "win_r_avg": 1.84, "loss_r_avg": 0.97},
        folds=_make_folds(random, _params(rows, row), sharpe, 0.6 * sharpe, False),
    )


def _make_folds(
    random: np.random.Generator, params: dict[str, Number], train_sharpe: float, test_sharpe: float, is_chosen: bool
) -> list[FoldSummary]:
    first, length = FROM_MS + 234 * DAY_MS, 87 * DAY_MS
    folds = []
    for number in range(4):
        test_from_ms = first + number * length
        sharpe = test_sharpe + float(random.normal(0.0, 0.7))
        test = {"trades": 24 + number, "win_rate_frac": 0.4, "sharpe": sharpe, "return_frac": 0.05 * sharpe}
        folds.append(
            FoldSummary(
                train_from_ms=FROM_MS,
                train_to_ms=test_from_ms - 2 * DAY_MS,
                test_from_ms=test_from_ms,
                test_to_ms=test_from_ms + length,
                params=params
                | ({"trend_bars": 192 + 16 * number, "stop_atr": 3.0 + 0.1 * number} if is_chosen else {}),
                train_sharpe=train_sharpe + float(random.normal(0.0, 0.15)),
                test_metrics=test | {"drawdown_frac_max": 0.09, "profit_factor": 1.3},
            )
        )
    return folds


def _overfit(best: Finalist, trials: int, random: np.random.Generator, edge: float) -> Overfitting:
    logits = np.sort(random.normal(1.3 * edge, 1.1, 1000))
    return Overfitting(
        trials=trials,
        trials_effective=214.0,
        trials_correlation_avg=0.61,
        configs_tested=5000,
        days=DAYS - DAYS_HOLDOUT,
        sharpe=best.metrics["sharpe"],
        sharpe_expected_max=1.74,
        sharpe_probabilistic_prob=0.997,
        deflated_sharpe_prob=0.968 if edge else 0.11,
        track_record_days_min=311.0 if edge else None,
        pbo_frac=float((logits < 0).mean()),
        pbo_degradation_slope=-0.31,
        pbo_loss_prob=0.06,
        pbo_logits=logits.tolist(),
        reality_check_p=0.021 if edge else 0.44,
        spa_p=0.018 if edge else 0.41,
        kfold_train_sharpe=2.6 if edge else 0.7,
        kfold_test_sharpe=1.7 if edge else -0.1,
    )


def _data() -> dict[str, Any]:
    return {
        "instrument_ids": ["BTC-PERP.ACME", "ETH-PERP.ACME"],
        "interval_ms": 900_000,
        "bars": DAYS * 96,
        "bars_holdout": DAYS_HOLDOUT * 96,
        "from_ms": FROM_MS,
        "to_ms": FROM_MS + DAYS * DAY_MS,
        "holdout_from_ms": FROM_MS + (DAYS - DAYS_HOLDOUT) * DAY_MS,
        "sha256": "9c1f" * 16,
    }


def _account() -> dict[str, Any]:
    return {
        "equity_start_quote": EQUITY_START_QUOTE,
        "costs": {"fee_taker_bps": 4.5, "fee_maker_bps": 1.5, "slippage_bps": 1.0},
        "limits": {
            "enabled": True,
            "daily_loss": {"loss_frac_max": 0.03},
            "leverage": {"leverage_max": 3.0},
            "kelly": {"fraction": 0.25, "trades_min": 30},
        },
    }


def _spec(rounds: list[RoundSummary]) -> dict[str, Any]:
    return {
        "name": "three rounds",
        "constraints": CONSTRAINTS,
        "walk_forward": {
            "scheme": "anchored",
            "folds": 4,
            "test_frac": 0.6,
            "purge_bars": 96,
            "embargo_bars": 96,
            "sharpe_min": 0.75,
            "folds_positive_frac_min": 0.5,
        },
        "significance": {"alpha": 0.05, "pbo_frac_max": 0.2},
        "rounds": [{"name": part.name, "sampler": part.sampler} for part in rounds],
        "holdout_frac": 0.2,
        "seed": 7,
    }
