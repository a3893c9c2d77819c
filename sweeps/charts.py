"""The figures of a tear sheet: plotly figures from a replay result, thinned so that four years draw at once.

Thinning keeps what the eye looks for: every bucket of bars keeps its lowest low and highest high, or its least and
greatest value in the order they came. A result of up to `BUCKETS_MAX` bars is drawn whole.
"""

from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from market.reasons import Reason
from market.records import NS_PER_S
from sweeps.export import denials_json
from sweeps.metrics import compute_drawdowns_frac
from sweeps.records import FloatArray, IntArray, RecordArray, ReplayResult

BUCKETS_MAX = 6000
TRADES_DRAWN_MAX = 1500
BINS_MAX = 40

INK, MUTED, GRID, ACCENT = "#1f2933", "#7b8794", "#e9ecf0", "#2b5c8a"
ACCENT_PALE, GAIN, LOSS, STOP = "rgba(43,92,138,0.16)", "#2f7d5b", "#b4453c", "#c08a2e"
LOSS_PALE = "rgba(180,69,60,0.20)"
FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, sans-serif"


def compute_extremes(values: FloatArray, points_max: int) -> IntArray:
    """Return increasing indices into `values` (finite, T >= 1), at most `points_max` + 2 of them.

    Each bucket keeps its least and greatest value; first and last are kept; short input is kept whole.
    """
    length = len(values)
    if length <= points_max:
        return np.arange(length)
    size = -(-length // (points_max // 2))
    padded = np.pad(values, (0, -length % size), mode="edge").reshape(-1, size)
    starts = size * np.arange(len(padded))
    picked = np.concatenate([starts + padded.argmin(axis=1), starts + padded.argmax(axis=1), [0, length - 1]])
    return np.unique(np.minimum(picked, length - 1))


def compute_buckets(length: int, buckets_max: int) -> IntArray:
    """Return the first index of each bucket of equal size, increasing from 0."""
    return np.arange(0, length, max(1, -(-length // buckets_max)))


def compute_stop_line(ts_ns: IntArray, stops_px: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the corners (times, px) of a stop's path as steps; NaN px where no stop rests (0.0 in the input)."""
    before_px = np.append(0.0, stops_px[:-1])
    changes = np.flatnonzero(stops_px != before_px)
    times = np.repeat(ts_ns[changes], 2)
    px = np.column_stack([before_px[changes], stops_px[changes]]).ravel()
    if stops_px[-1] > 0.0:
        times, px = np.append(times, ts_ns[-1]), np.append(px, stops_px[-1])
    return times, np.where(px > 0.0, px, np.nan)


def draw_equity(result: ReplayResult) -> go.Figure:
    """Equity above, drawdown below, on one time axis."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.04)
    ts_close_ns = result.bars[0]["ts_open_ns"] + result.interval_ns
    kept = compute_extremes(result.equity_quote, BUCKETS_MAX)
    figure.add_scatter(
        x=format_dates(ts_close_ns[kept]),
        y=result.equity_quote[kept],
        name="equity",
        mode="lines",
        line={"color": ACCENT, "width": 1.4},
        hovertemplate="%{y:,.2f}",
        row=1,
        col=1,
    )
    figure.add_hline(y=result.equity_start_quote, line={"color": MUTED, "width": 1, "dash": "dot"}, row=1, col=1)
    drawdowns_frac = -compute_drawdowns_frac(result.equity_quote, result.equity_start_quote)
    kept = compute_extremes(drawdowns_frac, BUCKETS_MAX)
    figure.add_scatter(
        x=format_dates(ts_close_ns[kept]),
        y=drawdowns_frac[kept],
        name="drawdown",
        mode="lines",
        fill="tozeroy",
        fillcolor=LOSS_PALE,
        line={"color": LOSS, "width": 1},
        hovertemplate="%{y:.2%}",
        row=2,
        col=1,
    )
    figure.update_yaxes(title_text="equity [quote]", tickformat=",.6~g", row=1, col=1)
    depth_frac = min(1.08 * float(drawdowns_frac.min()), -0.01)
    figure.update_yaxes(title_text="drawdown", tickformat=".1~%", range=[depth_frac, 0.0], row=2, col=1)
    figure.update_xaxes(range=_period(result))
    return style_figure(figure, height=430, hovermode="x unified")


def draw_price(result: ReplayResult, slot: int) -> go.Figure:
    """Price with its range, entries, exits and resting stops of one slot."""
    figure = go.Figure()
    bars = result.bars[slot]
    starts = compute_buckets(len(bars), BUCKETS_MAX)
    lasts = np.append(starts[1:], len(bars)) - 1
    ts_close_ns = bars["ts_open_ns"][lasts] + result.interval_ns
    dates, close_px = format_dates(ts_close_ns), bars["close_px"][lasts]
    range_line: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    figure.add_scatter(x=dates, y=np.maximum.reduceat(bars["high_px"], starts), **range_line)
    low_px = np.minimum.reduceat(bars["low_px"], starts)
    figure.add_scatter(x=dates, y=low_px, fill="tonexty", fillcolor="rgba(123,135,148,0.22)", **range_line)
    figure.add_scatter(
        x=dates,
        y=close_px,
        name="close, low to high",
        mode="lines",
        line={"color": MUTED, "width": 1},
        hovertemplate="%{y:,.8~g}<br>%{x}<extra></extra>",
    )
    if result.stops_px is not None and np.any(result.stops_px[slot]):
        times_ns, stops_px = compute_stop_line(ts_close_ns, result.stops_px[slot][lasts])
        line = {"color": STOP, "width": 1.2}
        figure.add_scatter(x=format_dates(times_ns), y=stops_px, name="stop", mode="lines", line=line, hoverinfo="skip")
    _add_trades(figure, pick_trades(result.trades, slot))
    figure.update_yaxes(title_text="px [quote]", tickformat=",.6~g")
    figure.update_xaxes(range=_period(result))
    return style_figure(figure, height=430, hovermode="closest")


def pick_trades(trades: RecordArray, slot: int) -> RecordArray:
    """Return the trades of a slot that are drawn: all, or those with the largest profit or loss."""
    own: RecordArray = trades[trades["slot"] == slot]
    if len(own) > TRADES_DRAWN_MAX:
        own = own[np.sort(np.argsort(-np.abs(own["pnl_quote"]), kind="stable")[:TRADES_DRAWN_MAX])]
    return own


def draw_distribution(trades: RecordArray) -> go.Figure:
    """Histogram of the trades' net profit; zero is a bin's edge, so that no bar mixes wins and losses."""
    pnl_quote = trades["pnl_quote"]
    width = max(np.ptp(pnl_quote) / BINS_MAX, np.max(np.abs(pnl_quote)) / BINS_MAX, 1e-9)
    edges = width * np.arange(np.floor(pnl_quote.min() / width), np.floor(pnl_quote.max() / width) + 2)
    counts = np.bincount(np.searchsorted(edges, pnl_quote, side="right") - 1, minlength=len(edges) - 1)
    middles = edges[:-1] + width / 2
    figure = go.Figure(
        go.Bar(
            x=middles,
            y=counts,
            width=width,
            marker={"color": np.where(middles > 0, GAIN, LOSS).tolist(), "line": {"width": 0.5, "color": "white"}},
            hovertemplate="around %{x:,.4~g}: %{y} trades<extra></extra>",
        )
    )
    figure.add_vline(x=float(pnl_quote.mean()), line={"color": INK, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="net profit of a trade [quote]; dotted: mean")
    figure.update_yaxes(title_text="trades", dtick=1 if counts.max() <= 5 else None)
    return style_figure(figure, height=300)


def draw_exposure(result: ReplayResult) -> go.Figure:
    """Notional as a multiple of equity at each close, net; gross as well where slots can offset each other."""
    net, gross = compute_exposures_frac(result)
    ts_close_ns = result.bars[0]["ts_open_ns"] + result.interval_ns
    figure = go.Figure()
    for name, values, color in (("net", net, ACCENT), ("gross", gross, MUTED))[: 1 + (len(result.bars) > 1)]:
        kept = compute_extremes(values, BUCKETS_MAX)
        figure.add_scatter(
            x=format_dates(ts_close_ns[kept]),
            y=values[kept],
            name=name,
            mode="lines",
            fill="tozeroy" if name == "net" else None,
            fillcolor=ACCENT_PALE,
            line={"color": color, "width": 0.8, "shape": "hv"},
            hovertemplate="%{y:.3f} x equity",
        )
    figure.update_yaxes(title_text="notional / equity")
    figure.update_xaxes(range=_period(result))
    figure.update_layout(showlegend=len(result.bars) > 1)
    return style_figure(figure, height=300, hovermode="x unified")


def compute_exposures_frac(result: ReplayResult) -> tuple[FloatArray, FloatArray]:
    """Return (net, gross) notional / equity at each close; 0.0 where equity is gone."""
    net, gross = np.zeros(len(result.equity_quote)), np.zeros(len(result.equity_quote))
    for slot in range(len(result.bars)):
        own = result.trades[result.trades["slot"] == slot]
        if len(own):  # every position ends in a trade: without trades there was none
            lot_base = own["qty_base"][0] / own["qty_lots"][0]
            notional_quote = result.position_lots[slot] * lot_base * result.bars[slot]["close_px"]
            net, gross = net + notional_quote, gross + np.abs(notional_quote)
    has_equity = result.equity_quote > 0.0
    equity_quote = np.where(has_equity, result.equity_quote, 1.0)
    return np.where(has_equity, net / equity_quote, 0.0), np.where(has_equity, gross / equity_quote, 0.0)


def draw_denials(denials: IntArray) -> go.Figure:
    """Denials by reason, most frequent on top."""
    counts = denials_json(denials)
    names = list(counts)[::-1]
    figure = go.Figure(
        go.Bar(
            x=[counts[name] for name in names],
            y=[_words(name) for name in names],
            orientation="h",
            marker={"color": ACCENT},
            width=0.62,
            text=[f"{counts[name]:,}" for name in names],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(title_text="denied entries", rangemode="tozero")
    figure.update_yaxes(showgrid=False, automargin=True)
    return style_figure(figure, height=300)


def _add_trades(figure: go.Figure, trades: RecordArray) -> None:
    if not len(trades):
        return
    size = 9 if len(trades) <= 100 else 6
    # Entry to exit as one line per outcome: a gap (None) after each pair.
    for is_win, color, name in ((True, GAIN, "held at a profit"), (False, LOSS, "held at a loss")):
        own = trades[(trades["pnl_quote"] > 0) == is_win]
        ends = zip(format_dates(own["ts_entry_ns"]), format_dates(own["ts_exit_ns"]), strict=True)
        dates = [date for entry, leave in ends for date in (entry, leave, None)]
        px = np.column_stack([own["entry_px"], own["exit_px"], np.full(len(own), np.nan)]).ravel()
        line = {"color": color, "width": 1, "dash": "dot"}
        figure.add_scatter(x=dates, y=px, name=name, mode="lines", line=line, showlegend=False, hoverinfo="skip")
    for side, symbol, name in ((1, "triangle-up", "long entry"), (-1, "triangle-down", "short entry")):
        own = trades[trades["side"] == side]
        if len(own):
            marker = {"symbol": symbol, "size": size, "color": ACCENT, "line": {"width": 0.5, "color": "white"}}
            figure.add_scatter(
                x=format_dates(own["ts_entry_ns"]),
                y=own["entry_px"],
                name=name,
                mode="markers",
                marker=marker,
                hovertemplate=f"{name} at %{{y:,.8~g}}<br>%{{x}}<extra></extra>",
            )
    colors = np.where(trades["pnl_quote"] > 0, GAIN, LOSS)
    figure.add_scatter(
        x=format_dates(trades["ts_exit_ns"]),
        y=trades["exit_px"],
        name="exit",
        mode="markers",
        marker={
            "symbol": "circle",
            "size": 0.7 * size,
            "color": colors.tolist(),
            "line": {"width": 0.5, "color": "white"},
        },
        customdata=[
            [_words(Reason(reason).name), f"{pnl:+,.2f}"]
            for reason, pnl in zip(trades["exit_reason"], trades["pnl_quote"], strict=True)
        ],
        hovertemplate="exit at %{y:,.8~g}: %{customdata[0]}, %{customdata[1]}<br>%{x}<extra></extra>",
    )


def _period(result: ReplayResult) -> list[str]:
    ts_open_ns = result.bars[0]["ts_open_ns"]
    return format_dates(np.array([ts_open_ns[0], ts_open_ns[-1] + result.interval_ns]))


def format_dates(ts_ns: IntArray) -> list[str]:
    """Return times as text, because plotly.js takes bare numbers for the reader's local time.

    To the minute, or to the second where they are not whole minutes.
    """
    unit: Literal["m", "s"] = "s" if np.any(ts_ns % (60 * NS_PER_S)) else "m"
    dates: list[str] = np.datetime_as_string(ts_ns.astype("datetime64[ns]"), unit=unit).tolist()
    return dates


def _words(name: str) -> str:
    return name.replace("_", " ").lower()


def style_figure(figure: go.Figure, **layout: Any) -> go.Figure:
    """Return the figure in the look of all pages."""
    figure.update_layout(
        template="none",
        font={"family": FONT, "size": 12, "color": INK},
        margin={"l": 76, "r": 16, "t": 28, "b": 36},
        paper_bgcolor="white",
        plot_bgcolor="white",
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "traceorder": "normal",
            "font": {"color": MUTED},
        },
        hoverlabel={"font": {"family": FONT, "size": 12}},
        bargap=0,
        **layout,
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor=GRID, title_font={"color": MUTED, "size": 12})
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, title_font={"color": MUTED, "size": 12})
    return figure
