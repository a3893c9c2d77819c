"""The figures of a sweep's report. Names from outside are escaped: plotly reads its texts as markup."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sweeps.charts import ACCENT, ACCENT_PALE, INK, LOSS, MUTED, format_dates, style_figure
from sweeps.landscape import Bins, Cells
from sweeps.metrics import compute_drawdowns_frac
from sweeps.summary import FoldSummary, Number, RoundSummary

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NS_PER_MS = 1_000_000
PALE, FAILED, PLUM = "#9db4ca", "#c3c9d0", "#8a5a83"
SCORES = ["#f4f6f8", "#d5e0ea", "#a3bdd5", "#6591b9", "#2b5c8a", "#17395a"]  # low to high
LOGIT_BINS = 40  # even: zero is an edge, no bar mixes the halves


@dataclass(frozen=True, slots=True)
class Curve:
    """Daily equity of one finalist; the holdout begins again with the account's start equity."""

    role: str  # "best" or "median"
    ts_in_sample_ms: IntArray  # [n]
    equity_in_sample: FloatArray  # [n]
    ts_holdout_ms: IntArray  # [m], m = 0: no holdout
    equity_holdout: FloatArray  # [m]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a heatmap marks: a configuration, and the region that the next round searches."""

    params: Mapping[str, Number]
    region: Mapping[str, Sequence[Number]]  # {}: there is no next round
    name: str


def draw_pass_rates(rounds: Sequence[RoundSummary]) -> go.Figure:
    """Share of configurations that passed, round by round."""
    rates_frac = [part.passed / max(1, part.configs) for part in rounds]
    figure = go.Figure(
        go.Bar(
            x=_name_rounds(rounds),
            y=rates_frac,
            width=min(0.5, 0.16 * len(rounds)),
            marker={"color": ACCENT},
            text=[f"{rate:.1%}" for rate in rates_frac],
            textposition="outside",
            cliponaxis=False,
            customdata=[[f"{part.passed:,}", f"{part.configs:,}"] for part in rounds],
            hovertemplate="%{customdata[0]} of %{customdata[1]} passed<extra></extra>",
        )
    )
    figure.update_yaxes(title_text="passed", tickformat=".0%", range=[0.0, max(0.05, min(1.1, 1.2 * max(rates_frac)))])
    return style_figure(figure, height=300)


def draw_sharpes(rounds: Sequence[RoundSummary], sharpe_min: Number) -> go.Figure:
    """Distribution of the Sharpe ratio in each round: box 25 to 75 %, whiskers 5 to 95 %, dots the extremes."""
    figure = go.Figure()
    for part, name in zip(rounds, _name_rounds(rounds), strict=True):
        low, p5, p25, p50, p75, p95, high = part.quantiles["sharpe"]
        spread = {"lowerfence": [p5], "q1": [p25], "median": [p50], "q3": [p75], "upperfence": [p95]}
        figure.add_box(
            x=[name],
            **spread,
            width=min(0.36, 0.16 * len(rounds)),
            line={"color": ACCENT, "width": 1.4},
            fillcolor=ACCENT_PALE,
            showlegend=False,
            hoverinfo="y",
        )
        figure.add_scatter(
            x=[name, name],
            y=[low, high],
            mode="markers",
            marker={"color": MUTED, "size": 5},
            showlegend=False,
            hovertemplate="extreme %{y:.2f}<extra></extra>",
        )
    if sharpe_min is not None:
        _add_limit(figure, sharpe_min, f"must have {sharpe_min:g}")
    figure.update_yaxes(title_text="Sharpe in sample")
    return style_figure(figure, height=300)


def draw_failures(rounds: Sequence[RoundSummary], labels: Mapping[str, str]) -> go.Figure:
    """Share of configurations that fail each constraint, one bar per round; `labels`: constraint -> words."""
    figure = go.Figure()
    names = [html.escape(label) for label in labels.values()]
    for number, part in enumerate(rounds):
        shares_frac = [compute_failed_frac(part, key) for key in labels]
        figure.add_bar(
            y=names,
            x=shares_frac,
            orientation="h",
            name=html.escape(part.name),
            marker={"color": _shade(number, len(rounds))},
            text=["" if share is None else f"{share:.1%}" for share in shares_frac],
            textposition="outside",
            cliponaxis=False,
            textfont={"size": 11, "color": MUTED},
            hovertemplate="%{x:.2%} fail %{y}<extra>" + html.escape(part.name) + "</extra>",
        )
    figure.update_xaxes(tickformat=".0%", title_text="share that fails", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    figure.update_layout(showlegend=len(rounds) > 1)
    return style_figure(figure, height=90 + len(names) * (26 + 15 * len(rounds)), bargroupgap=0.1).update_layout(
        bargap=0.3
    )


def compute_failed_frac(part: RoundSummary, constraint: str) -> float | None:
    """Return the share of a round that fails a constraint; walk_forward: of those tested, None if none was."""
    tested = part.walk_forward_tested if constraint == "walk_forward" else part.configs
    return part.failures.get(constraint, 0) / tested if tested else None


def draw_heatmap(cells: Cells, mark: Mark, span: tuple[float, float]) -> go.Figure:
    """Mean score over two parameters, darker is better; `span`: scores of the lightest and of the darkest colour."""
    x_names, y_names = _name_parts(cells.x_bins), _name_parts(cells.y_bins)
    rows = [
        [f"{configs:,} configurations, {_percent(passed)} passed" for configs, passed in zip(*line, strict=True)]
        for line in zip(cells.configs, cells.passed_frac, strict=True)
    ]
    x_key, y_key = html.escape(cells.x_key), html.escape(cells.y_key)
    figure = go.Figure(
        go.Heatmap(
            z=_drop_nan(cells.score_avg),
            zmin=span[0],
            zmax=span[1],
            colorscale=[[place, color] for place, color in zip(np.linspace(0, 1, len(SCORES)), SCORES, strict=True)],
            xgap=1,
            ygap=1,
            showscale=False,
            text=rows,
            customdata=[[f"{x_key} {x}, {y_key} {y}" for x in x_names] for y in y_names],
            hovertemplate="%{customdata}<br>mean score %{z:.3f}<br>%{text}<extra></extra>",
        )
    )
    _mark_region(figure, cells, mark)
    if {cells.x_key, cells.y_key} <= mark.params.keys():
        figure.add_scatter(
            x=[_place(cells.x_bins, mark.params[cells.x_key])],
            y=[_place(cells.y_bins, mark.params[cells.y_key])],
            mode="markers",
            marker={"symbol": "circle", "size": 11, "color": "white", "line": {"width": 2.5, "color": LOSS}},
            hovertemplate=html.escape(mark.name) + "<extra></extra>",
            showlegend=False,
        )
    figure.update_xaxes(tickvals=_pick_ticks(x_names), ticktext=x_names[:: _tick_step(x_names)], showgrid=False)
    figure.update_yaxes(tickvals=list(range(len(y_names))), ticktext=y_names, showgrid=False, automargin=True)
    figure.update_xaxes(title_text=x_key, title_standoff=6)
    figure.update_yaxes(title_text=y_key, title_standoff=6)
    style_figure(figure, height=320)
    return figure.update_layout(margin={"l": 56, "r": 6, "t": 8, "b": 52})


def draw_effect(cells: Cells, mark: Mark) -> go.Figure:
    """Mean score over the values of the only parameter."""
    names = _name_parts(cells.x_bins)
    best = _place(cells.x_bins, mark.params[cells.x_key]) if cells.x_key in mark.params else -1
    scores = cells.score_avg[0]
    figure = go.Figure(
        go.Bar(
            x=list(range(len(names))),
            y=_drop_nan(scores),
            width=min(0.6, 0.12 * len(names)),
            marker={"color": [ACCENT if place == best else PALE for place in range(len(names))]},
            text=[
                f"{count:,} configurations, {_percent(passed)} passed"
                for count, passed in zip(cells.configs[0], cells.passed_frac[0], strict=True)
            ],
            textposition="none",
            hovertemplate="mean score %{y:.3f}<br>%{text}<extra></extra>",
        )
    )
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names, title_text=html.escape(cells.x_key))
    figure.update_yaxes(title_text="mean score", rangemode="tozero")
    return style_figure(figure, height=300)


def draw_parallel(columns: Mapping[str, FloatArray], round_names: Sequence[str]) -> go.Figure:
    """Each line a configuration: `columns` are round (a number), parameters, metrics, then score and is_passed."""
    score, is_passed = columns["score"], columns["is_passed"] > 0
    low, high = float(np.nanmin(score)), float(np.nanmax(score))
    place = np.clip((np.nan_to_num(score, nan=low) - low) / max(high - low, 1e-12), 0.0, 1.0)
    # One scale for two families: failing ones 0..1 in greys, passing ones 1..2 in blues.
    scale = [[0.0, "#eceff2"], [0.4999, "#b4bcc6"], [0.5, "#a9c6e0"], [0.75, "#4f83b3"], [1.0, "#0f3a63"]]
    order = np.lexsort([place, is_passed])
    dimensions = []
    for key, values in columns.items():
        dimension: dict[str, Any] = {"label": html.escape(key.replace("_", " ")), "values": values[order].tolist()}
        if key == "round":
            dimension |= {"tickvals": list(range(len(round_names))), "ticktext": [html.escape(n) for n in round_names]}
        elif key == "is_passed":
            dimension |= {"label": "passed", "tickvals": [0, 1], "ticktext": ["no", "yes"], "range": [0, 1]}
        dimensions.append(dimension)
    line = {"color": (place + is_passed)[order].tolist(), "colorscale": scale, "cmin": 0.0, "cmax": 2.0}
    figure = go.Figure(
        go.Parcoords(dimensions=dimensions, line=line, labelfont={"color": MUTED, "size": 12}, tickfont={"size": 11})
    )
    style_figure(figure, height=460)
    return figure.update_layout(margin={"l": 60, "r": 44, "t": 52, "b": 22})


def draw_curves(curves: Sequence[Curve], equity_start_quote: float) -> go.Figure:
    """Return since the start above, drawdown below; the holdout is shaded and starts again from zero."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.04)
    colors = {"best": ACCENT, "median": PLUM}
    for curve in curves:
        parts = ((curve.ts_in_sample_ms, curve.equity_in_sample), (curve.ts_holdout_ms, curve.equity_holdout))
        for number, (ts_ms, equity_quote) in enumerate(parts):
            if not len(ts_ms):
                continue
            style = {
                "x": format_dates(ts_ms * NS_PER_MS),
                "mode": "lines",
                "name": f"{curve.role} passing" if curve.role == "median" else curve.role,
                "legendgroup": curve.role,
            }
            line = {"color": colors.get(curve.role, MUTED), "width": 1.6}
            figure.add_scatter(
                **style,
                y=equity_quote / equity_start_quote - 1.0,
                line=line,
                showlegend=number == 0,
                hovertemplate="%{y:+.1%}",
                row=1,
                col=1,
            )
            figure.add_scatter(
                **style,
                y=-compute_drawdowns_frac(equity_quote, equity_start_quote),
                line=line | {"width": 1.0},
                showlegend=False,
                hovertemplate="%{y:.1%}",
                row=2,
                col=1,
            )
    _shade_holdout(figure, curves)
    figure.add_hline(y=0.0, line={"color": MUTED, "width": 1, "dash": "dot"}, row=1, col=1)
    figure.update_yaxes(title_text="return", tickformat="+.0%", row=1, col=1)
    figure.update_yaxes(title_text="drawdown", tickformat=".0%", rangemode="tozero", row=2, col=1)
    return style_figure(figure, height=440, hovermode="x unified")


def draw_folds(folds: Sequence[FoldSummary], sharpe_min: Number) -> go.Figure:
    """Sharpe on the train and on the test of each fold."""
    names = [f"fold {number + 1}" for number in range(len(folds))]
    figure = go.Figure()
    sharpes = (
        ("train", PALE, [fold.train_sharpe for fold in folds]),
        ("test, unseen", ACCENT, [fold.test_metrics.get("sharpe") for fold in folds]),
    )
    for name, color, values in sharpes:
        figure.add_bar(
            x=names,
            y=values,
            name=name,
            marker={"color": color},
            text=["n/a" if value is None else f"{value:.2f}" for value in values],
            textposition="outside",
            cliponaxis=False,
            textfont={"size": 11},
            hoverinfo="skip",
        )
    if sharpe_min is not None:
        _add_limit(figure, sharpe_min, f"all tests together must have {sharpe_min:g}")
    figure.update_yaxes(title_text="Sharpe")
    return style_figure(figure, height=280, bargroupgap=0.06).update_layout(bargap=0.45)


def draw_logits(logits: FloatArray) -> go.Figure:
    """Histogram of the CSCV logits: below zero the one chosen in sample was in the worse half out of sample."""
    reach = max(float(np.abs(logits).max()), 0.1)
    edges = np.linspace(-reach, reach, LOGIT_BINS + 1)
    counts, _ = np.histogram(logits, edges)
    middles = (edges[1:] + edges[:-1]) / 2.0
    figure = go.Figure(
        go.Bar(
            x=middles,
            y=counts / len(logits),
            width=edges[1] - edges[0],
            marker={"color": np.where(middles > 0, PALE, LOSS).tolist(), "line": {"width": 0.5, "color": "white"}},
            hovertemplate="logit around %{x:.2f}: %{y:.1%} of splits<extra></extra>",
        )
    )
    figure.add_vline(x=0.0, line={"color": INK, "width": 1})
    for x, anchor, text in ((0.0, "left", "chosen is in the worse half"), (1.0, "right", "in the better half")):
        font = {"color": MUTED, "size": 11}
        figure.add_annotation(
            x=x,
            y=1.0,
            xref="paper",
            yref="paper",
            xanchor=anchor,
            yanchor="bottom",
            text=text,
            showarrow=False,
            font=font,
        )
    figure.update_xaxes(title_text="logit of the rank out of sample of the one chosen in sample")
    figure.update_yaxes(title_text="splits", tickformat=".0%")
    return style_figure(figure, height=300)


def draw_sharpe_steps(steps: Mapping[str, Number], expected_max: Number) -> go.Figure:
    """Sharpe ratios from the most to the least flattered one, against what luck alone reaches."""
    shown = {name: value for name, value in steps.items() if value is not None}
    figure = go.Figure(
        go.Bar(
            y=list(shown),
            x=list(shown.values()),
            orientation="h",
            width=0.62,
            marker={"color": [PALE if "sample" in name or "train" in name else ACCENT for name in shown]},
            text=[f"{value:.2f}" for value in shown.values()],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    if expected_max is not None:
        figure.add_vline(x=expected_max, line={"color": LOSS, "width": 1.2, "dash": "dash"})
        figure.add_annotation(
            x=expected_max,
            y=1.0,
            yref="paper",
            yanchor="bottom",
            text=f"best by luck alone: {expected_max:.2f}",
            showarrow=False,
            font={"color": LOSS, "size": 11},
        )
    figure.update_xaxes(title_text="Sharpe", zeroline=True, zerolinecolor=MUTED)
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    return style_figure(figure, height=300)


def _add_limit(figure: go.Figure, value: float, text: str) -> None:
    figure.add_hline(
        y=value,
        line={"color": LOSS, "width": 1, "dash": "dash"},
        annotation={"text": text, "font": {"color": LOSS, "size": 11}, "xanchor": "right"},
        annotation_position="top right",
    )


def _shade_holdout(figure: go.Figure, curves: Sequence[Curve]) -> None:
    ends = [(curve.ts_in_sample_ms[-1], curve.ts_holdout_ms[-1]) for curve in curves if len(curve.ts_holdout_ms)]
    if not ends:
        return
    start, end = format_dates(np.array(ends[0]) * NS_PER_MS)
    figure.add_vrect(x0=start, x1=end, fillcolor="rgba(192,138,46,0.09)", line_width=0, layer="below")
    figure.add_vline(x=start, line={"color": "#c08a2e", "width": 1.2})
    figure.add_annotation(
        x=start,
        y=1.0,
        yref="paper",
        xanchor="left",
        yanchor="top",
        xshift=5,
        text="holdout: fresh account, unseen by the search",
        showarrow=False,
        font={"color": "#8a6420", "size": 11},
    )


def _mark_region(figure: go.Figure, cells: Cells, mark: Mark) -> None:
    if not {cells.x_key, cells.y_key} <= mark.region.keys():
        return
    ends = []
    for key, bins in ((cells.x_key, cells.x_bins), (cells.y_key, cells.y_bins)):
        low, high = (_place(bins, value) for value in mark.region[key])
        ends.append((low - 0.5, high + 0.5))
    (x0, x1), (y0, y1) = ends
    figure.add_shape(type="rect", x0=x0, x1=x1, y0=y0, y1=y1, line={"color": INK, "width": 1.5, "dash": "dot"})


def _place(bins: Bins, value: Any) -> int:
    return int(np.searchsorted(bins.edges, value, "right"))


def _name_parts(bins: Bins) -> list[str]:
    return [f"{value:.6g}" if bins.is_exact else f"{value:.3g}" for value in bins.centres]


def _tick_step(names: Sequence[str]) -> int:
    return 1 + sum(len(name) + 2 for name in names) // 46


def _pick_ticks(names: Sequence[str]) -> list[int]:
    return list(range(0, len(names), _tick_step(names)))


def _name_rounds(rounds: Sequence[RoundSummary]) -> list[str]:
    return [f"{number + 1} {html.escape(part.name)}" for number, part in enumerate(rounds)]


def _shade(number: int, count: int) -> str:
    # From pale to full: the last round is the one that counts.
    pale, full = np.array([157, 180, 202]), np.array([43, 92, 138])
    color = pale + (full - pale) * (number / max(1, count - 1) if count > 1 else 1.0)
    return f"rgb({','.join(str(round(part)) for part in color)})"


def _percent(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.1%}"


def _drop_nan(values: FloatArray) -> list[Any]:
    whole: list[Any] = np.where(np.isnan(values), None, values.astype(object)).tolist()
    return whole
