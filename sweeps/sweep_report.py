"""The report of a sweep: an HTML page from one Jinja2 template, the same bytes for the same results.

It is to be believed with money: what speaks against the best stands first, and every number is that of the summary.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import market.fills
from sweeps.landscape import Cells, cut_axis, pick_rows, sum_cells
from sweeps.page import TEMPLATES, as_markup, embed, write_page
from sweeps.report import parse_fill_assumptions
from sweeps.score import SCORE_TERMS
from sweeps.summary import FoldSummary, RoundSummary, SweepSummary
from sweeps.sweep_charts import (
    Curve,
    Mark,
    draw_curves,
    draw_effect,
    draw_failures,
    draw_folds,
    draw_heatmap,
    draw_logits,
    draw_parallel,
    draw_pass_rates,
    draw_sharpe_steps,
    draw_sharpes,
)
from sweeps.sweep_tables import (
    compute_constraint_labels,
    compute_details,
    compute_instruments,
    compute_spans,
    compute_tiles,
    compute_verdict,
    list_failures,
    list_finalist_metrics,
    list_finalist_params,
    list_folds,
    list_rounds,
)

PAIRS_DRAWN = 3  # heatmaps of a round
ROUNDS_DRAWN_MAX = 4  # rounds with heatmaps: the first and the last ones
LINES_MAX = 2_000  # of the parallel coordinates, all rounds together
ROWS_BINNED = 20_000  # from which a sampled axis is cut into bins
AXES_MAX = 8  # parameters drawn side by side: more are not legible


def write_sweep_report(
    path: Path,
    summary: SweepSummary,
    rounds: Sequence[Path],
    curves: Sequence[Curve],
    explained: Sequence[tuple[str, str, str]],
    inline: bool = False,
) -> None:
    """Write the report to `path`; `inline`: as in `write_page`.

    Parameters
    ----------
    rounds : the results of each round (Parquet), as many as `summary.rounds`
    curves : of the best, then of the median passing configuration if there is one
    explained : (statistic, value, what it says in a sentence)
    """
    write_page(path, lambda script: render_sweep_report(summary, rounds, curves, explained, script), inline)


def render_sweep_report(
    summary: SweepSummary,
    rounds: Sequence[Path],
    curves: Sequence[Curve],
    explained: Sequence[tuple[str, str, str]],
    script: str,
) -> str:
    """Return the page as text; `script` is plotly's, "" to load plotly.min.js from the page's folder."""
    constraints = compute_constraint_labels(summary)
    sharpe_min = summary.spec.get("constraints", {}).get("sharpe_min")
    return TEMPLATES.get_template("sweep.html.j2").render(
        script=as_markup(script),
        summary=summary,
        verdict=compute_verdict(summary),
        tiles=compute_tiles(summary),
        details=compute_details(summary),
        spec=yaml.safe_dump(summary.spec, sort_keys=False, allow_unicode=True),
        limits=yaml.safe_dump(summary.account.get("limits", {}), sort_keys=False, allow_unicode=True),
        fill_assumptions=parse_fill_assumptions(market.fills.__doc__ or ""),
        score_terms=SCORE_TERMS,
        rounds=list_rounds(summary),
        pass_rates=embed(draw_pass_rates(summary.rounds), "pass-rates"),
        sharpes=embed(draw_sharpes(summary.rounds, sharpe_min), "sharpes") if has_quantiles(summary) else "",
        spans=compute_spans(summary),
        failures=list_failures(summary, constraints),
        failures_chart=embed(draw_failures(summary.rounds, constraints), "failures"),
        landscapes=make_landscapes(summary, rounds),
        parallel=make_parallel(summary, rounds),
        curves=embed(draw_curves(curves, summary.account["equity_start_quote"]), "curves") if curves else "",
        fold_groups=make_folds(summary),
        explained=explained,
        steps=make_sharpe_steps(summary),
        logits=make_logits(summary),
        instruments=compute_instruments(summary),
        finalist_metrics=list_finalist_metrics(summary),
        finalist_params=list_finalist_params(summary),
    )


def has_quantiles(summary: SweepSummary) -> bool:
    """Return whether every round knows how its Sharpe ratios are distributed."""
    return all(None not in part.quantiles.get("sharpe", [None]) for part in summary.rounds)


def find_swept(part: RoundSummary) -> list[str]:
    """Return the parameters that took more than one value in a round, in their order."""
    return [key for key, values in part.axes.items() if len(set(values)) > 1]


def make_landscapes(summary: SweepSummary, rounds: Sequence[Path]) -> list[tuple[str, list[tuple[str, str, Any]]]]:
    """Return (round, [(title, note, figure)]) with the most telling pairs of each drawn round; [] where none varies."""
    numbers = list(range(len(rounds)))
    numbers = numbers[:1] + numbers[1:][1 - ROUNDS_DRAWN_MAX :]
    found = {number: _find_cells(summary.rounds[number], rounds[number]) for number in numbers}
    scores = [cells.score_avg[np.isfinite(cells.score_avg)] for part in found.values() for cells in part]
    if not any(map(len, scores)):
        return []
    low, high = min(part.min() for part in scores if len(part)), max(part.max() for part in scores if len(part))
    span = (float(low), float(max(high, low + 1e-9)))
    landscapes = []
    for number, several in found.items():
        part = summary.rounds[number]
        mark = _make_mark(summary, part)
        figures = []
        for place, cells in enumerate(several):
            name = f"landscape-{number + 1}-{place + 1}"
            if cells.y_key:
                title = f"{cells.x_key} and {cells.y_key}"
                figures.append((title, f"explain {cells.told_frac:.0%}", embed(draw_heatmap(cells, mark, span), name)))
            else:
                note = f"explains {cells.told_frac:.0%}"
                figures.append((cells.x_key, note, embed(draw_effect(cells, mark), name)))
        if figures:
            landscapes.append((part.name, figures))
    return landscapes


def make_parallel(summary: SweepSummary, rounds: Sequence[Path]) -> Any:
    """Return the parallel coordinates of all rounds; "" where no parameter varies."""
    keys = list(dict.fromkeys(key for part in summary.rounds for key in find_swept(part)))[:AXES_MAX]
    if not keys:
        return ""
    results = ["sharpe", "drawdown_frac_max", "trades", "score", "is_passed"]
    each = LINES_MAX // len(rounds)
    parts = [
        pick_rows(path, [*keys, *results], each, part.passed) for path, part in zip(rounds, summary.rounds, strict=True)
    ]
    rows = np.concatenate(parts)
    columns = {"round": np.repeat(np.arange(len(parts), dtype=np.float64), [len(part) for part in parts])}
    if len(parts) == 1:
        columns = {}
    columns |= {key: rows[:, number] for number, key in enumerate([*keys, *results])}
    if not np.isfinite(columns["score"]).any():
        return ""
    return embed(draw_parallel(columns, [part.name for part in summary.rounds]), "parallel")


def make_folds(summary: SweepSummary) -> list[tuple[str, str, Any, Any]]:
    """Return (title, note, table, figure) of the best's own walk-forward and of that of the choosing."""
    sharpe_min = summary.spec.get("walk_forward", {}).get("sharpe_min")
    groups = []
    for name, title, note, folds in (
        (
            "best",
            "Walk-forward of the best",
            "The same configuration in every fold, each test on a fresh account.",
            summary.best.folds,
        ),
        (
            "selection",
            "Walk-forward of the choosing itself",
            "In every fold the configuration that is best on its train is traded on its test: what the search is worth.",
            summary.selection,
        ),
    ):
        if folds:
            limit = sharpe_min if name == "best" else None
            groups.append((title, note, list_folds(folds, summary), embed(draw_folds(folds, limit), f"folds-{name}")))
    return groups


def make_sharpe_steps(summary: SweepSummary) -> Any:
    """Return the chart of Sharpe ratios from the most to the least flattered one; "" where none is known."""
    found, holdout = summary.overfitting, summary.best.metrics_out_of_sample or {}
    steps = {
        "best, in sample": found.sharpe,
        "k-fold, train": found.kfold_train_sharpe,
        "k-fold, test": found.kfold_test_sharpe,
        "choosing, test (mean)": _average(summary.selection),
        "best, holdout": holdout.get("sharpe"),
    }
    if all(value is None for value in steps.values()):
        return ""
    return embed(draw_sharpe_steps(steps, found.sharpe_expected_max), "sharpe-steps")


def make_logits(summary: SweepSummary) -> Any:
    """Return the histogram of the PBO logits; "" where there are none."""
    logits = np.array([value for value in summary.overfitting.pbo_logits if value is not None], np.float64)
    return embed(draw_logits(logits), "logits") if len(logits) else ""


def _average(folds: Sequence[FoldSummary]) -> float | None:
    sharpes = [value for fold in folds if (value := fold.test_metrics.get("sharpe")) is not None]
    return math.fsum(sharpes) / len(sharpes) if sharpes else None


def _find_cells(part: RoundSummary, path: Path) -> list[Cells]:
    keys = find_swept(part)
    if not keys:
        return []
    if part.sampler == "grid":
        bins = {key: cut_axis(np.array(part.axes[key], np.float64)) for key in keys}
    else:
        rows = pick_rows(path, [*keys, "score", "is_passed"], ROWS_BINNED, part.passed)
        bins = {key: cut_axis(rows[:, number]) for number, key in enumerate(keys)}
    return sum_cells(path, bins)[:PAIRS_DRAWN]


def _make_mark(summary: SweepSummary, part: RoundSummary) -> Mark:
    if part.name == summary.best.round_name:
        return Mark(summary.best.params, part.region or {}, "the best of the sweep")
    return Mark(part.best_params, part.region or {}, "the best of this round")
