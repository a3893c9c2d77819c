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
PALE, PLUM, ORANGE = "#9db4ca", "#8a5a83", "#ff7a45"
SCORES = ("#f4f6f8", "#d8e3ed", "#aac4da", "#729bc0", "#3f73a3", "#1d4a76")  # low to high
# of the parallel coordinates: failing, passing, the best
LINES = (
    (0.0, "#f0f1f3"),
    (0.9999, "#bcc3cb"),
    (1.0, "#cfe0ef"),
    (1.6, "#5f94c2"),
    (2.0, "#123f6b"),
    (2.01, LOSS),
    (3.0, LOSS),
)
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
            text=[format_rate(rate) for rate in rates_frac],
            textposition="outside",
            cliponaxis=False,
            customdata=[[f"{part.passed:,}", f"{part.configs:,}"] for part in rounds],
            hovertemplate="%{customdata[0]} of %{customdata[1]} passed<extra></extra>",
        )
    )
    figure.update_xaxes(showgrid=False, range=[-0.5, len(rounds) - 0.5])
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
    figure.update_xaxes(showgrid=False, range=[-0.5, len(rounds) - 0.5])
    figure.update_yaxes(title_text="Sharpe in sample")
    return _add_limit(style_figure(figure, height=300), sharpe_min)


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
            text=["" if share is None else format_rate(share) for share in shares_frac],
            textposition="outside",
            cliponaxis=False,
            textfont={"size": 11, "color": MUTED},
            hovertemplate="%{x:.2%} fail %{y}<extra>" + html.escape(part.name) + "</extra>",
        )
    greatest = max((compute_failed_frac(part, key) or 0.0 for part in rounds for key in labels), default=0.0)
    figure.update_xaxes(tickformat=".0%", title_text="share that fails", range=[0.0, 1.15 * max(greatest, 0.01)])
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    figure.update_layout(showlegend=len(rounds) > 1)
    return style_figure(figure, height=90 + len(names) * (22 + 14 * len(rounds)), bargroupgap=0.1).update_layout(
        bargap=0.3, margin={"b": 44}
    )


def format_rate(frac: Number) -> str:
    """Return a share as text; only none is 0.0%, only all is 100.0%.

    >>> format_rate(0.591), format_rate(1 / 7560), format_rate(0.99999), format_rate(1.0)
    ('59.1%', '<0.1%', '>99.9%', '100.0%')
    """
    if frac is None or np.isnan(frac):
        return "n/a"
    if 0.0 < frac < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < frac < 1.0 else f"{frac:.1%}"


def compute_failed_frac(part: RoundSummary, constraint: str) -> float | None:
    """Return the share of a round that fails a constraint; walk_forward: of those tested, None if none was."""
    tested = part.walk_forward_tested if constraint == "walk_forward" else part.configs
    return part.failures.get(constraint, 0) / tested if tested else None


def draw_heatmap(cells: Cells, mark: Mark, span: tuple[float, float]) -> go.Figure:
    """Mean score over two parameters, darker is better; `span`: scores of the lightest and of the darkest colour."""
    x_names, y_names = _name_parts(cells.x_bins), _name_parts(cells.y_bins)
    rows = [
        [f"{configs:,} configurations, {format_rate(passed)} passed" for configs, passed in zip(*line, strict=True)]
        for line in zip(cells.configs, cells.passed_frac, strict=True)
    ]
    x_key, y_key = html.escape(cells.x_key), html.escape(cells.y_key)
    figure = go.Figure(
        go.Heatmap(
            z=np.round(cells.score_avg, 6).tolist(),
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
    figure = go.Figure(
        go.Bar(
            x=list(range(len(names))),
            y=np.round(cells.score_avg[0], 6).tolist(),
            width=min(0.6, 0.12 * len(names)),
            marker={"color": [ACCENT if place == best else PALE for place in range(len(names))]},
            text=[
                f"{count:,} configurations, {format_rate(passed)} passed"
                for count, passed in zip(cells.configs[0], cells.passed_frac[0], strict=True)
            ],
            textposition="none",
            hovertemplate="mean score %{y:.3f}<br>%{text}<extra></extra>",
        )
    )
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names, title_text=html.escape(cells.x_key))
    figure.update_yaxes(title_text="mean score", rangemode="tozero")
    return style_figure(figure, height=300)


def draw_parallel(
    columns: Mapping[str, FloatArray], is_best: npt.NDArray[np.bool_], round_names: Sequence[str]
) -> go.Figure:
    """Each line a configuration: `columns` are round (a number), parameters, metrics, then score and is_passed."""
    is_passed = columns["is_passed"] > 0
    # By rank, or all that passed would look alike; failing ones take 0..1 of the scale, passing ones 1..2, the best 3.
    _, rank = np.unique(np.nan_to_num(columns["score"], nan=-1.0), return_inverse=True)
    color = np.where(is_best, 3.0, rank / max(1, rank.max()) + is_passed)
    order = np.argsort(color, kind="stable")
    words = {"sharpe": "Sharpe", "drawdown_frac_max": "drawdown", "is_passed": "passed"}
    dimensions = []
    for key, values in columns.items():
        dimension: dict[str, Any] = {
            "label": html.escape(words.get(key, key)),
            "values": [float(f"{value:.6g}") for value in values[order]],
        }
        if key == "round":
            dimension |= {"tickvals": list(range(len(round_names))), "ticktext": [html.escape(n) for n in round_names]}
        elif key == "is_passed":
            dimension |= {"tickvals": [0, 1], "ticktext": ["no", "yes"], "range": [0, 1]}
        elif key == "drawdown_frac_max":
            dimension |= {"tickformat": ".0%"}
        dimensions.append(dimension)
    line = {
        "color": [float(f"{value:.4g}") for value in color[order]],
        "colorscale": [[place / 3.0, shade] for place, shade in LINES],
        "cmin": 0.0,
        "cmax": 3.0,
    }
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line=line,
            labelfont={"color": MUTED, "size": 12},
            tickfont={"color": INK, "size": 11},
            rangefont={"color": "rgba(0,0,0,0)", "size": 1},
        )
    )
    style_figure(figure, height=440)
    return figure.update_layout(margin={"l": 60, "r": 44, "t": 44, "b": 16})


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
                "name": "median passing" if curve.role == "median" else html.escape(curve.role),
                "legendgroup": html.escape(curve.role),
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
    figure.update_xaxes(showgrid=False)
    style_figure(figure, height=250, bargroupgap=0.06).update_layout(bargap=0.45)
    figure.update_yaxes(title_text="Sharpe", zerolinecolor=MUTED)
    return _add_limit(figure, sharpe_min)


def draw_logits(logits: FloatArray) -> go.Figure:
    """Histogram of the CSCV logits: below zero the one chosen in sample was in the worse half out of sample."""
    reach = max(float(np.abs(logits).max()), 0.1)
    edges = np.linspace(-reach, reach, LOGIT_BINS + 1)
    counts = np.histogram(-logits, edges)[0][::-1]  # zero counts as the worse half, as in the probability
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
    return style_figure(figure, height=300).update_layout(margin={"b": 48})


def draw_sharpe_steps(steps: Sequence[tuple[str, bool, Number]], expected_max: Number) -> go.Figure:
    """Sharpe ratios (name, is on data not chosen on, value), against what luck alone reaches."""
    shown = [(name, is_unseen, value) for name, is_unseen, value in steps if value is not None]
    figure = go.Figure(
        go.Bar(
            y=[f"{name}: {value:.2f}" for name, _, value in shown],
            x=[value for _, _, value in shown],
            orientation="h",
            width=0.62,
            marker={"color": [ACCENT if is_unseen else PALE for _, is_unseen, _ in shown]},
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
            text=f"luck alone: {expected_max:.2f}",
            showarrow=False,
            font={"color": LOSS, "size": 11},
        )
    figure.update_xaxes(title_text="Sharpe", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    style_figure(figure, height=300).update_xaxes(zeroline=True, zerolinecolor=MUTED)
    return figure.update_layout(margin={"b": 48})


def _add_limit(figure: go.Figure, value: Number) -> go.Figure:
    # The words stand in the margin, where no bar is.
    if value is not None:
        figure.add_hline(y=value, line={"color": LOSS, "width": 1, "dash": "dash"})
        font = {"color": LOSS, "size": 11}
        text = f"min {value:g}"
        figure.add_annotation(x=1.0, xref="paper", xanchor="left", y=value, text=text, showarrow=False, font=font)
        figure.update_layout(margin={"r": 72})
    return figure


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
