"""Directories of finished sweeps, as `trireme sweep` leaves them: made-up numbers, the real files."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.summary import Finalist, FoldSummary, Number, Overfitting, RoundSummary, SweepSummary
from sweeps.summary_file import write_summary

DAY_MS = 86_400_000
FROM_MS, TO_MS = 1_704_067_200_000, 1_735_603_200_000  # 2024, 365 days of 15 minutes
HOLDOUT_FROM_MS = FROM_MS + 292 * DAY_MS
ROUNDS = {"coarse": (1_680, 993), "refined": (20_736, 14_868), "neighbourhood": (3_750, 3_026)}
AXES: dict[str, list[Number]] = {
    "trend_bars": [48, 96, 192],
    "trend_atr_min": [0.25, 1.5],
    "stop_atr": [1.5, 4.0],
    "sar_step": [0.01, 0.04],
}
PARAMS: dict[str, Number] = {"trend_bars": 96, "trend_atr_min": 0.75, "stop_atr": 2.5, "sar_step": 0.02}


def make_metrics(trades: int = 184, sharpe: float = 2.31, return_frac: float = 0.4127) -> dict[str, Number]:
    """Return the metrics of one configuration."""
    return {
        "trades": trades,
        "win_rate_frac": 0.4674,
        "sharpe": sharpe,
        "return_frac": return_frac,
        "drawdown_frac_max": 0.1182,
        "profit_factor": None,
        "fees_quote": 412.55,
        "funding_quote": -31.2,
        "equity_last_quote": 10_000.0 * (1.0 + return_frac),
    }


def make_finalist(role: str = "best", **changes: Any) -> Finalist:
    """Return one finalist with a walk-forward of two folds."""
    fold = FoldSummary(FROM_MS, HOLDOUT_FROM_MS - 90 * DAY_MS, HOLDOUT_FROM_MS - 88 * DAY_MS, HOLDOUT_FROM_MS,
                       dict(PARAMS), 2.1, make_metrics(41, 1.4, 0.06))  # fmt: skip
    finalist = Finalist(
        role=role,
        round_name="neighbourhood",
        config=1_288 if role == "best" else 96,
        params=dict(PARAMS) if role == "best" else PARAMS | {"stop_atr": 3.25},
        is_passed=True,
        failed=[],
        score=0.7712,
        score_stable=0.7345,
        neighbours_passed_frac=0.9231,
        metrics=make_metrics(),
        metrics_out_of_sample=make_metrics(47, 1.64, 0.0713),
        by_instrument={},
        evidence={"trades": 88, "win_rate_frac": 0.45, "win_r_avg": 1.6, "loss_r_avg": -0.9},
        folds=[fold, fold],
    )
    return dataclasses.replace(finalist, **changes)


def make_overfitting(**changes: Number) -> Overfitting:
    """Return statistics of a result that chance hardly explains."""
    return dataclasses.replace(
        Overfitting(
            trials=26_166,
            trials_effective=118.4,
            trials_correlation_avg=0.71,
            configs_tested=3_026,
            days=292,
            sharpe=2.31,
            sharpe_expected_max=1.12,
            sharpe_probabilistic_prob=0.9941,
            deflated_sharpe_prob=0.9632,
            track_record_days_min=171.0,
            pbo_frac=0.0823,
            pbo_degradation_slope=0.41,
            pbo_loss_prob=0.035,
            pbo_logits=[-1.2, 0.4, 2.2],
            reality_check_p=0.021,
            spa_p=0.018,
            kfold_train_sharpe=2.44,
            kfold_test_sharpe=1.71,
        ),
        **changes,
    )


def make_summary(**changes: Any) -> SweepSummary:
    """Return the summary of a sweep of three rounds that found something."""
    rounds = [
        RoundSummary(
            name=name,
            sampler="grid",
            configs=configs,
            passed=passed,
            failures={
                "trades_min": configs // 20,
                "drawdown_frac_max": configs // 9,
                "sharpe_min": (configs - passed) * 3 // 4,
                "win_rate_frac_min": configs // 12,
                "walk_forward": (configs - passed) // 5,
            },
            walk_forward_tested=passed + (configs - passed) // 5,
            axes=AXES,
            region=None if name == "neighbourhood" else {key: [low[0], low[-1]] for key, low in AXES.items()},
            quantiles={"sharpe": [-1.1, 0.2, 1.3, 1.8, 2.0, 2.4, 3.1], "profit_factor": [None] * 7},
            best_params=dict(PARAMS),
        )
        for name, (configs, passed) in ROUNDS.items()
    ]
    summary = SweepSummary(
        name="momentum three rounds",
        strategy="momentum_sar",
        spec={
            "name": "momentum three rounds",
            "space": {"trend_bars": [48, 96, 192], "stop_atr": {"low": 1.5, "high": 4.0, "points": 6}},
            "constraints": {"trades_min": 20, "sharpe_min": 1.5},
            "rounds": [{"name": name, "sampler": "grid"} for name in ROUNDS],
            "seed": 0,
        },
        data={
            "instrument_ids": ["BTC-PERP.BINANCE", "ETH-PERP.BINANCE"],
            "interval_ms": 900_000,
            "bars": 35_040,
            "bars_holdout": 7_008,
            "from_ms": FROM_MS,
            "to_ms": TO_MS,
            "holdout_from_ms": HOLDOUT_FROM_MS,
            "sha256": "3f1c" * 16,
        },
        code_version="0.3.0+93a0e6d",
        account={
            "equity_start_quote": 10_000.0,
            "costs": {"fee_taker_bps": 4.5, "fee_maker_bps": 1.5, "slippage_bps": 1.0},
            "limits": {"daily_loss_frac_max": 0.05},
        },
        rounds=rounds,
        best=make_finalist(),
        median=make_finalist("median"),
        selection=[],
        overfitting=make_overfitting(),
        faults=[],
    )
    return dataclasses.replace(summary, **changes)


def make_results(configs: int) -> pa.Table:
    """Return results of a round in candidate order; the greatest stable score is in the middle, one is NaN."""
    numbers = np.arange(configs)
    stable = 1.0 - np.abs(numbers - configs // 2) / configs
    stable[0] = np.nan
    count = configs
    columns: dict[str, Any] = {
        "config": numbers + 100,
        "trend_bars": np.full(count, 96),
        "trend_atr_min": np.full(count, 0.75),
        "stop_atr": 1.5 + numbers / 1000.0,
        "sar_step": np.full(count, 0.02),
        "cooldown_bars": np.full(count, 4),  # a parameter that is not swept
        "trades": np.full(count, 120),
        "win_rate_frac": np.full(count, 0.41),
        "sharpe": np.full(count, 1.9),
        "return_frac": np.full(count, 0.3),
        "drawdown_frac_max": np.full(count, 0.12),
        "walk_forward_sharpe": np.where(numbers % 2 == 0, 1.1, np.nan),
        "score": stable * 0.9,
        "is_passed": numbers % 2 == 0,
        "score_stable": stable,
        "neighbours_passed_frac": np.full(count, 0.8),
    }
    return pa.table(columns)


def make_sweep_directory(directory: Path, summary: SweepSummary | None = None, configs: int = 3_750) -> Path:
    """Write a finished sweep: manifest, summary, and the results of its last round."""
    summary = summary or make_summary()
    round_dir = directory / "rounds" / f"{len(summary.rounds)}-{summary.rounds[-1].name}"
    round_dir.mkdir(parents=True)
    (directory / "sweep.json").write_text(json.dumps({"name": summary.name}))
    (directory / "report.html").write_text("<html></html>")
    pq.write_table(make_results(configs), round_dir / "results.parquet", row_group_size=1_000)
    write_summary(directory, summary)
    return directory
