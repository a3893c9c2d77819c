"""The words and numbers of a sweep's report: tiles, tables and what was run, formatted and nothing computed anew."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeps.page import Tile, get_tone
from sweeps.summary import Finalist, FoldSummary, Number, RoundSummary, SweepSummary
from sweeps.sweep_charts import compute_failed_frac, format_rate

NOT_KNOWN = "n/a"

# metric -> (label, format); the order of the tables
METRICS = {
    "sharpe": ("Sharpe (daily, 365)", ".2f"),
    "return_frac": ("return", "+.2%"),
    "drawdown_frac_max": ("max drawdown", ".2%"),
    "trades": ("trades", ",d"),
    "win_rate_frac": ("win rate", ".1%"),
    "profit_factor": ("profit factor", ".2f"),
    "fees_quote": ("fees paid", ",.2f"),
    "funding_quote": ("funding received", "+,.2f"),
    "equity_last_quote": ("equity at the end", ",.2f"),
}
# constraint -> (metric, which side, in percent)
_DEMANDS = {
    "trades_min": ("trades", "at least", False),
    "drawdown_frac_max": ("drawdown", "at most", True),
    "sharpe_min": ("Sharpe", "at least", False),
    "win_rate_frac_min": ("win rate", "at least", True),
}
_SHOWN = ("sharpe", "return_frac", "drawdown_frac_max", "trades", "win_rate_frac")
_SIGNED = ("sharpe", "return_frac")  # below zero is a loss


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    tone: str = ""  # "gain", "loss", "quiet" or none


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows; the first `left` columns are words."""

    headings: tuple[str, ...]
    rows: list[list[Cell]]
    left: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """The headline."""

    tone: str  # "gain" or "loss"
    sentence: str
    reasons: list[str]  # [] where the sentence says it all


@dataclass(frozen=True, slots=True)
class Span:
    """What one round tried of one parameter, and what it kept, as text and as percent of the widest range."""

    text: str
    tried: tuple[float, float] | None = None  # (left, width) [%]; None: not swept
    kept: tuple[float, float] | None = None
    kept_text: str = ""


def format_metric(key: str, value: Number) -> str:
    """Return a metric as every table shows it.

    >>> format_metric("return_frac", 0.1234), format_metric("trades", 1234), format_metric("sharpe", None)
    ('+12.34%', '1,234', 'n/a')
    """
    if value is None:
        return NOT_KNOWN
    form = METRICS[key][1]
    return format(round(value) if form == ",d" else value, form)


def format_param(value: Any) -> str:
    """Return a parameter's value, six digits at most.

    >>> format_param(1680), format_param(0.0123456789), format_param(None)
    ('1,680', '0.0123457', 'n/a')
    """
    if value is None:
        return NOT_KNOWN
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.6g}"
    return f"{value:,.0f}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def format_date(ts_ms: int | None) -> str:
    """Return a UTC time as a date, with its minute if it is not midnight.

    >>> format_date(1_700_006_400_000), format_date(1_700_000_000_000)
    ('2023-11-15', '2023-11-14 22:13')
    """
    if ts_ms is None:
        return NOT_KNOWN
    time = str(np.datetime_as_string(np.datetime64(int(ts_ms), "ms"), unit="m"))
    return time.removesuffix("T00:00").replace("T", " ")


def compute_verdict(summary: SweepSummary) -> Verdict:
    """Return in plain words whether the best may be promoted, and why not."""
    best, faults = summary.best, summary.faults
    name = f"configuration {best.config:,} of round {best.round_name}"
    if not faults:
        sentence = (
            f"May be promoted: {name} meets every constraint, also on data that it was not chosen on, and luck alone "
            "does not explain its result."
        )
        return Verdict("gain", sentence, [])
    if len(faults) == 1:
        return Verdict("loss", f"May not be promoted: {faults[0]}.", [])
    return Verdict("loss", f"May not be promoted, for {len(faults)} reasons:", list(faults))


def compute_tiles(summary: SweepSummary) -> list[Tile]:
    """Return the headline figures: how much was tried, what passed, what chance explains, what the best earned."""
    found, best = summary.overfitting, summary.best
    holdout = best.metrics_out_of_sample or {}
    return [
        Tile("configurations tried", f"{summary.configs:,}"),
        Tile("passed every constraint", f"{summary.passed:,}"),
        Tile("pass rate", format_rate(summary.passed / max(1, summary.configs))),
        Tile("deflated Sharpe probability", _format(found.deflated_sharpe_prob, ".3f")),
        Tile("backtest overfitting (PBO)", format_rate(found.pbo_frac)),
        Tile("best: Sharpe in sample", format_metric("sharpe", best.metrics.get("sharpe"))),
        Tile("Sharpe that luck alone reaches", _format(found.sharpe_expected_max, ".2f")),
        _metric_tile("best: Sharpe on the holdout", "sharpe", holdout),
        _metric_tile("best: return on the holdout", "return_frac", holdout),
        Tile("best: drawdown on the holdout", format_metric("drawdown_frac_max", holdout.get("drawdown_frac_max"))),
    ]


def compute_details(summary: SweepSummary) -> dict[str, dict[str, str]]:
    """Return what was run: section -> label -> value."""
    data, account = summary.data, summary.account
    swept = {key for part in summary.rounds for key in part.axes}
    bars, held = data["bars"], data["bars_holdout"]
    return {
        "Strategy": {
            "name": summary.strategy,
            **{key: format_param(value) for key, value in summary.best.params.items() if key not in swept},
            "swept": ", ".join(key for key in summary.best.params if key in swept),
        },
        "Data": {
            "instruments": ", ".join(data["instrument_ids"]),
            "from": f"{format_date(data['from_ms'])} UTC",
            "to": f"{format_date(data['to_ms'])} UTC",
            "bars": f"{bars:,} of {data['interval_ms'] / 60_000:g} min",
            "holdout": f"{held:,} bars ({held / bars:.1%})" if held else "none",
            **({"holdout from": f"{format_date(data['holdout_from_ms'])} UTC"} if held else {}),
        },
        "Account and costs": {
            "equity at the start": f"{account['equity_start_quote']:,.2f}",
            **{_words(key): format_param(value) for key, value in account["costs"].items()},
        },
        "To pass": _list_demands(summary.spec),
    }


def compute_origin(summary: SweepSummary) -> dict[str, str]:
    """Return what another run needs to give the same bytes."""
    return {
        "seed": format_param(summary.spec.get("seed")),
        "code": summary.code_version,
        "data sha256": summary.data["sha256"],
    }


def compute_constraint_labels(summary: SweepSummary) -> dict[str, str]:
    """Return constraint -> what it asks, in the order of the first round that counted them."""
    limits = summary.spec.get("constraints", {})
    labels = {}
    for key in dict.fromkeys(key for part in summary.rounds for key in part.failures):
        if key in _DEMANDS and key in limits:
            labels[key] = f"{_DEMANDS[key][0]} {_format_demand(key, limits[key])}"
        else:
            labels[key] = "walk-forward, of those tested" if key == "walk_forward" else _words(key)
    return labels


def list_rounds(summary: SweepSummary) -> Table:
    """Return one row per round."""
    headings = (
        "round",
        "sampler",
        "configurations",
        "passed",
        "pass rate",
        "Sharpe 5%",
        "median",
        "95%",
        "highest",
        "score of the best",
    )
    rows = []
    for number, part in enumerate(summary.rounds):
        sharpes = part.quantiles.get("sharpe", [None] * 7)
        scores = part.quantiles.get("score", [None] * 7)
        rows.append(
            [
                Cell(f"{number + 1} {part.name}"),
                Cell(part.sampler),
                Cell(f"{part.configs:,}"),
                Cell(f"{part.passed:,}"),
                Cell(format_rate(part.passed / max(1, part.configs))),
                *[_metric_cell("sharpe", sharpes[place]) for place in (1, 3, 5, 6)],
                Cell(_format(scores[6], ".3f")),
            ]
        )
    return Table(headings, rows, 2)


def list_failures(summary: SweepSummary, labels: Mapping[str, str]) -> Table:
    """Return one row per constraint: how many configurations fail it, round by round."""
    rows = []
    for key, label in labels.items():
        row = [Cell(label)]
        for part in summary.rounds:
            count = f"{part.failures.get(key, 0):,}"
            if key == "walk_forward":
                count += f" of {part.walk_forward_tested:,}"
            row.append(Cell(f"{count} ({format_rate(compute_failed_frac(part, key))})"))
        rows.append(row)
    return Table(("constraint", *[part.name for part in summary.rounds]), rows)


def compute_spans(summary: SweepSummary) -> list[tuple[str, list[Span]]]:
    """Return (parameter, what each round tried and kept of it), drawn on the range of all rounds."""
    keys = dict.fromkeys(key for part in summary.rounds for key in part.axes)
    return [(key, [_make_span(key, part, summary.rounds) for part in summary.rounds]) for key in keys]


def list_folds(folds: Sequence[FoldSummary]) -> Table:
    """Return one row per fold; parameters that differ between folds are named."""
    keys = [key for key in folds[0].params if len({fold.params.get(key) for fold in folds}) > 1]
    rows = [
        [
            Cell(f"{number + 1}"),
            Cell(f"{format_date(fold.train_from_ms)} to {format_date(fold.train_to_ms)}"),
            Cell(f"{format_date(fold.test_from_ms)} to {format_date(fold.test_to_ms)}"),
            *[Cell(format_param(fold.params.get(key)), "quiet") for key in keys],
            _metric_cell("sharpe", fold.train_sharpe),
            *[_metric_cell(key, fold.test_metrics.get(key)) for key in _SHOWN],
        ]
        for number, fold in enumerate(folds)
    ]
    tested = ("test Sharpe", "return", "drawdown", "trades", "win rate")
    return Table(("fold", "train", "test", *keys, "train Sharpe", *tested), rows, 3)


def compute_instruments(summary: SweepSummary) -> Table | None:
    """Return one row per instrument traded alone by the best, then by the median; None where there is only one."""
    rows = []
    for finalist in _list_finalists(summary):
        for instrument_id, found in finalist.by_instrument.items():
            inside, outside = found.get("metrics") or {}, found.get("metrics_out_of_sample") or {}
            cells = [_metric_cell(key, part.get(key)) for key in _SHOWN for part in (inside, outside)]
            rows.append([Cell(finalist.role), Cell(instrument_id), *cells])
    labels = [text for key in _SHOWN for text in (METRICS[key][0].partition(" (")[0], "holdout")]
    return Table(("configuration", "instrument", *labels), rows, 2) if rows else None


def list_finalist_metrics(summary: SweepSummary) -> Table:
    """Return one row per metric: best and median, in and out of sample."""
    finalists = _list_finalists(summary)
    rows = [
        [
            Cell(label),
            *[
                _metric_cell(key, metrics.get(key))
                for finalist in finalists
                for metrics in (finalist.metrics, finalist.metrics_out_of_sample or {})
            ],
        ]
        for key, (label, _) in METRICS.items()
    ]
    headings = [text for finalist in finalists for text in (f"{finalist.role}, in sample", "holdout")]
    return Table(("metric", *headings), rows)


def list_finalist_params(summary: SweepSummary, constraints: Mapping[str, str]) -> Table:
    """Return who the finalists are, then one row per swept parameter with what all rounds tried of it."""
    finalists = _list_finalists(summary)
    facts = (
        ("configuration", lambda one: f"{one.config:,} of {one.round_name}"),
        (
            "passed",
            lambda one: (
                "yes" if one.is_passed else "no: " + ", ".join(constraints.get(key, _words(key)) for key in one.failed)
            ),
        ),
        ("score", lambda one: _format(one.score, ".3f")),
        ("score of its neighbourhood", lambda one: _format(one.score_stable, ".3f")),
        ("neighbours that passed", lambda one: format_rate(one.neighbours_passed_frac)),
        ("trades on unseen data", lambda one: _format(one.evidence.get("trades"), ",g")),
        ("of them won", lambda one: _format(one.evidence.get("win_rate_frac"), ".1%")),
        ("average win, loss [risk]", _format_r),
    )
    rows = [[Cell(label), *[Cell(tell(one)) for one in finalists], Cell("")] for label, tell in facts]
    for key in dict.fromkeys(key for part in summary.rounds for key in part.axes):
        low, high = _find_reach(key, summary.rounds)
        tried = f"{format_param(low)} to {format_param(high)}"
        rows.append([Cell(key), *[Cell(format_param(one.params.get(key))) for one in finalists], Cell(tried, "quiet")])
    return Table(("", *[one.role for one in finalists], "tried"), rows)


def _format_demand(key: str, value: float) -> str:
    _, bound, is_percent = _DEMANDS[key]
    return f"{bound} {100 * value:g}%" if is_percent else f"{bound} {value:,g}"


def _list_demands(spec: Mapping[str, Any]) -> dict[str, str]:
    limits, walk = spec.get("constraints", {}), spec.get("walk_forward", {})
    demands = {_DEMANDS[key][0]: _format_demand(key, value) for key, value in limits.items() if key in _DEMANDS}
    if walk.get("folds"):
        demands |= {
            "walk-forward": f"{walk['folds']} folds, {walk['scheme']}",
            "their tests": f"the last {100 * walk['test_frac']:g}% in sample",
            "purged, embargoed": f"{walk['purge_bars']:,} + {walk['embargo_bars']:,} bars",
            "Sharpe of all tests": f"at least {walk['sharpe_min']:g}",
            "folds that gain": f"at least {100 * walk['folds_positive_frac_min']:g}%",
        }
    return demands or {"constraints": NOT_KNOWN}


def _format_r(finalist: Finalist) -> str:
    return " / ".join(_format(finalist.evidence.get(key), ".2f") for key in ("win_r_avg", "loss_r_avg"))


def _list_finalists(summary: SweepSummary) -> list[Finalist]:
    return [summary.best] if summary.median is None else [summary.best, summary.median]


def _metric_tile(label: str, key: str, metrics: Mapping[str, Number]) -> Tile:
    value = metrics.get(key)
    return Tile(label, format_metric(key, value), get_tone(value) if value is not None else "")


def _metric_cell(key: str, value: Number) -> Cell:
    if value is None:
        return Cell(NOT_KNOWN, "quiet")
    return Cell(format_metric(key, value), "loss" if key in _SIGNED and value < 0 else "")


def _make_span(key: str, part: RoundSummary, rounds: Sequence[RoundSummary]) -> Span:
    values = [value for value in part.axes.get(key, []) if value is not None]
    if not values:
        return Span("not swept")
    low, high = min(values), max(values)
    text = format_param(low) if low == high else f"{format_param(low)} to {format_param(high)}"
    if part.sampler == "grid" and len(values) > 1:
        text += f", {len(values)} values"
    reach = _find_reach(key, rounds)
    region = (part.region or {}).get(key)
    if region is None or None in region:
        return Span(text, _percents(low, high, reach))
    kept_text = f"{format_param(region[0])} to {format_param(region[1])}"
    return Span(text, _percents(low, high, reach), _percents(region[0], region[1], reach), kept_text)


def _find_reach(key: str, rounds: Sequence[RoundSummary]) -> tuple[float, float]:
    values = [value for part in rounds for value in part.axes.get(key, []) if value is not None]
    return (min(values), max(values)) if values else (math.nan, math.nan)


def _percents(low: Any, high: Any, reach: tuple[float, float]) -> tuple[float, float]:
    # A parameter that spans a decade is shown on a log scale, where its values are usually even.
    def place(value: float) -> float:
        if not reach[1] > reach[0]:
            return 0.0
        if reach[0] > 0 and reach[1] / reach[0] >= 8.0:
            return math.log(value / reach[0]) / math.log(reach[1] / reach[0])
        return (value - reach[0]) / (reach[1] - reach[0])

    start, end = (min(1.0, max(0.0, place(value))) for value in (low, high))
    return round(100 * start, 2), round(max(100 * (end - start), 1.5), 2)


def _format(value: Number, form: str) -> str:
    return NOT_KNOWN if value is None else format(value, form)


def _words(name: str) -> str:
    return name.replace("_", " ")
