"""The report of a sweep: an HTML page from one Jinja2 template, the same bytes for the same results.

It is to be believed with money: what speaks against the best stands first, and every number is that of the summary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import markupsafe
import numpy as np
import plotly.graph_objects as go
import yaml

import market.fills
from sweeps.landscape import Cells, cut_axis, pick_rows, sum_cells
from sweeps.page import TEMPLATES, as_markup, embed, write_page
from sweeps.report import parse_fill_assumptions
from sweeps.score import SCORE_TERMS
from sweeps.summary import FoldSummary, RoundSummary, SweepSummary
from sweeps.sweep_charts import (
    SCORES,
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
    Table,
    compute_constraint_labels,
    compute_details,
    compute_instruments,
    compute_origin,
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
SPAN_MIN = 0.2  # of score, from the lightest to the darkest colour
AXES_MAX = 8  # parameters drawn side by side: more are not legible


@dataclass(frozen=True, slots=True)
class FoldGroup:
    """One walk-forward."""

    title: str
    note: str
    table: Table
    figure: markupsafe.Markup


@dataclass(frozen=True, slots=True)
class Landscape:
    """One round's heatmaps."""

    name: str
    low: str  # the mean scores of the lightest and of the darkest colour
    high: str
    is_paired: bool  # False: there is one parameter only
    figures: list[tuple[str, str, markupsafe.Markup]]  # (title, note, figure)


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
        origin=compute_origin(summary),
        spec=yaml.safe_dump(summary.spec, sort_keys=False, allow_unicode=True),
        limits=yaml.safe_dump(summary.account.get("limits", {}), sort_keys=False, allow_unicode=True),
        fill_assumptions=parse_fill_assumptions(market.fills.__doc__ or ""),
        scores=SCORES,
        score_terms=SCORE_TERMS,
        rounds=list_rounds(summary),
        pass_rates=_embed(draw_pass_rates(summary.rounds), "pass-rates"),
        sharpes=_embed(draw_sharpes(summary.rounds, sharpe_min), "sharpes") if has_quantiles(summary) else "",
        spans=compute_spans(summary),
        failures=list_failures(summary, constraints),
        failures_chart=_embed(draw_failures(summary.rounds, constraints), "failures"),
        landscapes=make_landscapes(summary, rounds),
        parallel=make_parallel(summary, rounds),
        curves=embed(draw_curves(curves, summary.account["equity_start_quote"]), "curves") if curves else "",
        fold_groups=make_folds(summary),
        explained=explained,
        steps=make_sharpe_steps(summary),
        logits=make_logits(summary),
        instruments=compute_instruments(summary),
        finalist_metrics=list_finalist_metrics(summary),
        finalist_params=list_finalist_params(summary, constraints),
    )


def has_quantiles(summary: SweepSummary) -> bool:
    """Return whether every round knows how its Sharpe ratios are distributed."""
    return all(None not in part.quantiles.get("sharpe", [None]) for part in summary.rounds)


def find_swept(part: RoundSummary) -> list[str]:
    """Return the parameters that took more than one value in a round, in their order."""
    return [key for key, values in part.axes.items() if len(set(values)) > 1]


def make_landscapes(summary: SweepSummary, rounds: Sequence[Path]) -> list[Landscape]:
    """Return the most telling pairs of each drawn round; [] where no parameter varies."""
    numbers = list(range(len(rounds)))
    drawn = numbers[:1] + numbers[1:][1 - ROUNDS_DRAWN_MAX :]
    found = (make_landscape(summary, number, rounds[number]) for number in drawn)
    return [landscape for landscape in found if landscape is not None]


def make_landscape(summary: SweepSummary, number: int, path: Path) -> Landscape | None:
    """Return the most telling pairs of one round on one colour scale; None where no parameter varies."""
    part = summary.rounds[number]
    several = _find_cells(part, path)
    scores = np.concatenate([cells.score_avg[np.isfinite(cells.score_avg)] for cells in several] or [np.zeros(0)])
    if not len(scores):
        return None
    # A scale no finer than SPAN_MIN: where all scores are alike, all colours are.
    low, high = float(scores.min()), float(scores.max())
    low = max(0.0, min(low, (low + high - SPAN_MIN) / 2.0))
    span = (low, max(high, low + SPAN_MIN))
    mark = _make_mark(summary, part)
    figures = []
    for place, cells in enumerate(several):
        name = f"landscape-{number + 1}-{place + 1}"
        if cells.y_key:
            figure, title = draw_heatmap(cells, mark, span), f"{cells.x_key} and {cells.y_key}"
            note = f"{cells.told_frac:.0%} of the variance"
        else:
            figure, title, note = draw_effect(cells, mark), cells.x_key, ""
        figures.append((title, note, _embed(figure, name)))
    return Landscape(part.name, f"{span[0]:.2f}", f"{span[1]:.2f}", bool(several[0].y_key), figures)


def make_parallel(summary: SweepSummary, rounds: Sequence[Path]) -> str:
    """Return the parallel coordinates of all rounds; "" where no parameter varies."""
    keys = list(dict.fromkeys(key for part in summary.rounds for key in find_swept(part)))[:AXES_MAX]
    if not keys:
        return ""
    shown = [*keys, "sharpe", "drawdown_frac_max", "trades", "score", "is_passed", "config"]
    best, median = summary.best, summary.median
    parts, numbers, is_best = [], [], []
    for number, (path, part) in enumerate(zip(rounds, summary.rounds, strict=True)):
        wanted = [one.config for one in (best, median) if one is not None and one.round_name == part.name]
        rows = pick_rows(path, shown, LINES_MAX // len(rounds), part.passed, wanted)
        parts.append(rows[:, :-1])
        numbers.append(np.full(len(rows), float(number)))
        is_best.append((rows[:, -1] == best.config) & (part.name == best.round_name))
    columns = {"round": np.concatenate(numbers)} if len(parts) > 1 else {}
    columns |= dict(zip(shown, np.concatenate(parts).T, strict=False))
    figure = draw_parallel(columns, np.concatenate(is_best), [part.name for part in summary.rounds])
    return _embed(figure, "parallel")


def make_folds(summary: SweepSummary) -> list[FoldGroup]:
    """Return the best's own walk-forward and that of the choosing, those that have folds."""
    sharpe_min = summary.spec.get("walk_forward", {}).get("sharpe_min")
    groups = (
        ("best", "The best", "one configuration in every fold", summary.best.folds, sharpe_min),
        (
            "selection",
            "The choosing itself",
            "what is best on each train is traded on its test",
            summary.selection,
            None,
        ),
    )
    return [
        FoldGroup(title, note, list_folds(folds), _embed(draw_folds(folds, limit), f"folds-{name}"))
        for name, title, note, folds, limit in groups
        if folds
    ]


def make_sharpe_steps(summary: SweepSummary) -> str:
    """Return the chart of Sharpe ratios from the most to the least flattered one; "" where none is known."""
    found, holdout = summary.overfitting, summary.best.metrics_out_of_sample or {}
    steps = (
        ("best, in sample", False, found.sharpe),
        ("k-fold, train", False, found.kfold_train_sharpe),
        ("k-fold, test", True, found.kfold_test_sharpe),
        ("choosing, mean of tests", True, _average(summary.selection)),
        ("best, holdout", True, holdout.get("sharpe")),
    )
    if all(value is None for _, _, value in steps):
        return ""
    return _embed(draw_sharpe_steps(steps, found.sharpe_expected_max), "sharpe-steps")


def make_logits(summary: SweepSummary) -> str:
    """Return the histogram of the PBO logits; "" where there are none."""
    logits = np.array([value for value in summary.overfitting.pbo_logits if value is not None], np.float64)
    return _embed(draw_logits(logits), "logits") if len(logits) else ""


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
        rows = pick_rows(path, [*keys, "config", "score", "is_passed"], ROWS_BINNED, part.passed)
        bins = {key: cut_axis(rows[:, number]) for number, key in enumerate(keys)}
    return sum_cells(path, bins)[:PAIRS_DRAWN]


def _make_mark(summary: SweepSummary, part: RoundSummary) -> Mark:
    if part.name == summary.best.round_name:
        return Mark(summary.best.params, part.region or {}, "the best of the sweep")
    return Mark(part.best_params, part.region or {}, "the best of this round")


def _embed(figure: go.Figure, name: str) -> markupsafe.Markup:
    return embed(figure, name, has_buttons=False)
