"""The live table of a session: positions with stops, orders, equity, denials, feed age."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trireme.house import Status
from trireme.periods import format_ts_ms

LINE_EVERY_S = 5.0


class View(Protocol):
    """Something that is shown a status now and then."""

    def update(self, status: Status) -> None:
        """Show it."""


class _Lines:
    """Without a terminal: one line on stderr every few seconds."""

    def __init__(self) -> None:
        self._shown_s = float("-inf")

    def update(self, status: Status) -> None:
        """Print the headline, if it is time."""
        if time.monotonic() - self._shown_s >= LINE_EVERY_S or status.is_done:
            self._shown_s = time.monotonic()
            lines = [make_headline(status), *make_health_lines(status), *make_alert_lines(status)]
            print("\n".join(lines), file=sys.stderr, flush=True)


class _Screen:
    def __init__(self, live: Live) -> None:
        self._live = live

    def update(self, status: Status) -> None:
        """Redraw the table."""
        self._live.update(render(status))


@contextmanager
def show_live() -> Iterator[View]:
    """Give a view: a table that redraws itself on a terminal, lines on stderr elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield _Screen(live)


def make_headline(status: Status) -> str:
    """Return the session in one line."""
    governor, feed = status.governor, status.feed
    span_ns = feed["ts_last_ns"] - feed["ts_first_ns"]
    done_frac = max(0.0, (feed["ts_confirmed_ns"] - feed["ts_first_ns"]) / span_ns) if span_ns > 0 else 0.0
    done = f", {done_frac:.0%} done" if feed["ts_last_ns"] else ""  # else it ends when somebody ends it
    open_positions = sum(1 for slot in governor["slots"] if slot["qty_base"])
    latch = "" if governor["latch"] == "OK" else f", LATCHED by {governor['latch']}"
    away = f", away: {', '.join(status.away)}" if status.away else ""
    if not feed["ts_confirmed_ns"]:
        return f"starting{away}"
    moment, equity_quote = format_ts_ms(feed["ts_confirmed_ns"] // 1_000_000), governor["equity_quote"]
    return (
        f"{moment} UTC{done}, equity {equity_quote:,.2f}, {open_positions} open, "
        f"{sum(governor['denials'].values())} denied{latch}{away}"
    )


def make_alert_lines(status: Status) -> list[str]:
    """Return "alerts: ..." with the newest matters that nobody has acknowledged, newest first; nothing without any."""
    shown, total = status.herald["alerts"], status.herald["alerts_total"]
    if not total:
        return []
    more = [f"{total - len(shown):,} more"] if total > len(shown) else []
    texts = [
        f"{alert['severity'].upper()} {alert['text']}" + (f" ({alert['count']:,} times)" if alert["count"] > 1 else "")
        for alert in shown
    ]
    return [f"alerts: {'; '.join([*texts, *more])}"]


def make_health_lines(status: Status) -> list[str]:
    """Return a line for each venue that is unwell: nothing new is opened there, or on its data."""
    parts = [part for part in (status.feed, *status.executors) if part.get("health")]
    return [f"{part['name']} unwell: {'; '.join(part['health'])}" for part in parts]


def render(status: Status) -> Group:
    """Return the whole table."""
    positions = Table(title="positions", title_justify="left", expand=False)
    for name in ("strategy", "instrument", "quantity", "entry", "mark", "stop", "take-profit", "open profit"):
        positions.add_column(name, justify="left" if name in ("strategy", "instrument") else "right")
    for slot in status.governor["slots"]:
        if not slot["qty_base"] and not slot["is_order_in_flight"]:
            continue
        pnl_quote = slot["pnl_unrealized_quote"]
        positions.add_row(
            slot["strategy"],
            slot["instrument_id"],
            f"{slot['qty_base']:+,.5g}",
            *(_px(slot[key]) for key in ("avg_px", "mark_px", "stop_px", "take_profit_px")),
            Text(f"{pnl_quote:+,.2f}", style="green" if pnl_quote >= 0.0 else "red"),
        )
    orders = Table(title="orders", title_justify="left")
    for name in ("order", "part", "lots left", "price", "state"):
        orders.add_column(name)
    open_orders = [order for executor in status.executors for order in executor["orders"]]
    for order in open_orders[:12]:
        state = "unknown" if order["is_unknown"] else "open"
        orders.add_row(
            order["client_order_id"][:12], order["part"], f"{order['qty_leaves_lots']:,}", _px(order["px"]), state
        )
    denied = ", ".join(f"{reason} {count:,}" for reason, count in status.governor["denials"].items()) or "none"
    lag_s = (status.feed["ts_published_ns"] - status.feed["ts_confirmed_ns"]) / 1e9
    return Group(
        Text(make_headline(status), style="bold"),
        positions,
        orders,
        Text(f"denied: {denied}"),
        *(Text(line, style="bold red") for line in (*make_health_lines(status), *make_alert_lines(status))),
        Text(f"feed ahead of the governor by {lag_s:,.0f} s of market time", style="dim"),
    )


def _px(px: float) -> str:
    return f"{px:,.6g}" if px else "-"
