"""The tear sheet of one replay: an HTML page from one Jinja2 template, the same bytes for the same result."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import market.fills
from market.reasons import Reason
from market.records import NS_PER_S
from sweeps.charts import (
    TRADES_DRAWN_MAX,
    compute_exposures_frac,
    draw_denials,
    draw_distribution,
    draw_equity,
    draw_exposure,
    draw_price,
    format_dates,
)
from sweeps.metrics import Metrics
from sweeps.page import TEMPLATES, Tile, as_markup, embed, get_tone, write_page
from sweeps.records import RecordArray, ReplayResult

PRICES_DRAWN_MAX = 4  # slots whose price is drawn: those with the most trades
ROWS_MAX = 8  # of the best and of the worst trades


@dataclass(frozen=True, slots=True)
class Year:
    """One row of the table of monthly returns; None where the period has no bar."""

    year: int
    months_frac: tuple[float | None, ...]  # 12
    return_frac: float


def write_report(
    path: Path,
    result: ReplayResult,
    metrics: Metrics,
    title: str,
    details: Mapping[str, Mapping[str, object]],
    inline: bool = True,
    has_fill_rules: bool = True,
) -> None:
    """Write the tear sheet to `path`; `inline`: as in `write_page`; `has_fill_rules`: it filled as `market.fills` says.

    Parameters
    ----------
    details : section -> label -> value, shown in this order
        What was run: "Strategy" with its parameters, "Data" with period and hash, "Costs", "Risk", ...
    """
    write_page(path, lambda script: render_report(result, metrics, title, details, script, has_fill_rules), inline)


def render_report(
    result: ReplayResult,
    metrics: Metrics,
    title: str,
    details: Mapping[str, Mapping[str, object]],
    script: str,
    has_fill_rules: bool = True,
) -> str:
    """Return the page as text; `script` is plotly's, "" to load plotly.min.js from the page's folder."""
    trades = result.trades
    counts = np.bincount(trades["slot"], minlength=len(result.bars))
    drawn = [int(slot) for slot in np.argsort(-counts, kind="stable")[:PRICES_DRAWN_MAX]]
    return TEMPLATES.get_template("tear_sheet.html.j2").render(
        title=title,
        subtitle=compute_subtitle(result),
        tiles=compute_tiles(result, metrics),
        details=details,
        fill_assumptions=parse_fill_assumptions(market.fills.__doc__ or "") if has_fill_rules else [],
        script=as_markup(script),
        equity=embed(draw_equity(result), "equity"),
        prices=[(result.instrument_ids[slot], embed(draw_price(result, slot), f"price-{slot}")) for slot in drawn],
        prices_left_out=len(result.bars) - len(drawn),
        is_thinned=bool(counts.max() > TRADES_DRAWN_MAX),
        trades_drawn_max=TRADES_DRAWN_MAX,
        years=compute_years(result),
        distribution=embed(draw_distribution(trades), "distribution") if len(trades) else "",
        exposure=embed(draw_exposure(result), "exposure"),
        denials=embed(draw_denials(result.denials), "denials") if result.denials.any() else "",
        exits=compute_exits(trades),
        trade_tables=compute_trade_tables(result),
    )


def compute_subtitle(result: ReplayResult) -> str:
    """Return instruments, period and interval in one line."""
    ts_open_ns = result.bars[0]["ts_open_ns"]
    names = ", ".join(dict.fromkeys(result.instrument_ids))
    seconds = result.interval_ns / NS_PER_S
    interval = f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
    first, last = _date(ts_open_ns[0]), _date(ts_open_ns[-1] + result.interval_ns)
    return f"{names} · {first} to {last} UTC · {len(ts_open_ns):,} bars of {interval}"


def compute_tiles(result: ReplayResult, metrics: Metrics) -> list[Tile]:
    """Return the headline: every metric of `--json`, and the time spent in the market."""
    _, gross = compute_exposures_frac(result)
    has_factor = math.isfinite(metrics.profit_factor)
    return [
        Tile("return", f"{metrics.return_frac:+.2%}", get_tone(metrics.return_frac)),
        Tile("Sharpe (daily, 365)", f"{metrics.sharpe:.2f}"),
        Tile("max drawdown", f"{metrics.drawdown_frac_max:.2%}"),
        Tile("trades", f"{metrics.trades:,}"),
        Tile("win rate", f"{metrics.win_rate_frac:.1%}" if metrics.trades else "n/a"),
        Tile("profit factor", f"{metrics.profit_factor:.2f}" if has_factor else "n/a"),
        Tile("time in market", f"{np.mean(gross > 0):.1%}"),
        Tile("fees paid", f"{metrics.fees_quote:,.2f}"),
        Tile("funding received", f"{metrics.funding_quote:+,.2f}"),
        Tile("equity at the end", f"{metrics.equity_last_quote:,.2f}"),
    ]


def compute_years(result: ReplayResult) -> list[Year]:
    """Return compounded returns per UTC month and year, newest last; a month belongs to the bars it opens."""
    months = result.bars[0]["ts_open_ns"].astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    lasts = np.flatnonzero(np.append(months[1:] != months[:-1], True))
    equity_before = np.append(result.equity_start_quote, result.equity_quote[lasts[:-1]])
    rows: dict[int, list[float | None]] = {}
    for month, after, before in zip(months[lasts], result.equity_quote[lasts], equity_before, strict=True):
        row = rows.setdefault(1970 + int(month) // 12, [None] * 12)
        row[int(month) % 12] = float(after / before - 1.0) if before > 0.0 else 0.0
    return [
        Year(year, tuple(row), math.prod(1.0 + value for value in row if value is not None) - 1.0)
        for year, row in rows.items()
    ]


def compute_exits(trades: RecordArray) -> list[tuple[str, int, str, str]]:
    """Return (reason, trades, share of wins, net profit) per exit reason, most frequent first."""
    reasons, counts = np.unique(trades["exit_reason"], return_counts=True)
    rows = []
    for index in np.argsort(-counts, kind="stable"):
        pnl_quote = trades["pnl_quote"][trades["exit_reason"] == reasons[index]]
        words = Reason(int(reasons[index])).name.replace("_", " ").lower()
        rows.append((words, int(counts[index]), f"{np.mean(pnl_quote > 0):.0%}", f"{pnl_quote.sum():+,.2f}"))
    return rows


def compute_trade_tables(result: ReplayResult) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the best and the worst trades, or all of them in one table if they are few."""
    trades = result.trades
    if len(trades) <= 2 * ROWS_MAX:
        return [("All trades", [_trade_row(result, trade) for trade in trades])] if len(trades) else []
    order = np.argsort(trades["pnl_quote"], kind="stable")
    return [
        (f"Best {ROWS_MAX} trades", [_trade_row(result, trades[row]) for row in order[::-1][:ROWS_MAX]]),
        (f"Worst {ROWS_MAX} trades", [_trade_row(result, trades[row]) for row in order[:ROWS_MAX]]),
    ]


def parse_fill_assumptions(text: str) -> list[tuple[str, list[str]]]:
    """Return (heading, sentences) pairs from the docstring of `market.fills`, the one place that states them."""
    sections: list[tuple[str, list[str]]] = []
    for paragraph in text.strip().split("\n\n")[1:]:
        heading, *items = " ".join(paragraph.split()).split(" - ")
        if items:
            sections.append((heading, items))
        else:
            head, _, rest = heading.partition(": ")
            sections.append((head, [rest]))
    return sections


def _trade_row(result: ReplayResult, trade: Any) -> dict[str, Any]:
    side = "long" if trade["side"] > 0 else "short"
    move_frac = trade["side"] * (trade["exit_px"] / trade["entry_px"] - 1.0)
    return {
        "instrument": result.instrument_ids[trade["slot"]],
        "side": side,
        "entry": _moment(trade["ts_entry_ns"]),
        "exit": _moment(trade["ts_exit_ns"]),
        "qty": f"{trade['qty_base']:,.6g}",
        "entry_px": f"{trade['entry_px']:,.8g}",
        "exit_px": f"{trade['exit_px']:,.8g}",
        "move": f"{move_frac:+.2%}",
        "fee": f"{trade['fee_quote']:,.2f}",
        "funding": f"{trade['funding_quote']:+,.2f}",
        "pnl": f"{trade['pnl_quote']:+,.2f}",
        "is_win": bool(trade["pnl_quote"] > 0),
        "reason": Reason(trade["exit_reason"]).name.replace("_", " ").lower(),
    }


def _date(ts_ns: int) -> str:
    return str(np.datetime_as_string(np.datetime64(int(ts_ns), "ns"), unit="D"))


def _moment(ts_ns: int) -> str:
    [text] = format_dates(np.array([ts_ns]))
    return text.replace("T", " ")
