"""`trireme paper`: the live actors without money, on the embedded venue over bars or at venues in real time."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from actors.connections import TRADING_VENUES
from actors.market_feed.source import MarketSource
from actors.plan import Plan, StrategyPlan
from cluster.session import Session, start_local
from market.catalog import MarketData
from market.instruments import Instrument
from market.storage import list_instruments
from risk.limits import check_limits_for_orders
from strategies.catalog import parse_params
from sweeps.export import metrics_json
from sweeps.metrics import Metrics, compute_metrics
from sweeps.promotion.record import Promotion, PromotionRefusedError
from sweeps.records import ReplayResult
from sweeps.report import write_report
from trireme.house import PaperHouse, Status
from trireme.interrupts import interruptible
from trireme.live_view import show_live
from trireme.paper_venues import (
    HISTORY_BARS,
    INTERVAL_DEFAULT,
    choose_session,
    make_venue_source,
    reach_venues,
    read_bars,
)
from trireme.periods import format_ts_ms, parse_ts_ms
from trireme.promoted import check_fit, check_promoted, choose_strategies, make_promoted_plan
from trireme.reporting import make_details
from trireme.session_result import read_session
from trireme.settings import Settings, StrategySettings, read_settings


@dataclass(frozen=True)
class PaperOutcome:
    """What a session came to. `is_complete` False: it was stopped before its last bar."""

    result: ReplayResult
    metrics: Metrics
    status: Status
    summary: dict[str, Any]
    report: Path
    ledger: Path
    seconds: float
    is_complete: bool


def make_plan(
    settings: Settings,
    strategies: tuple[StrategySettings, ...],
    instruments: tuple[Instrument, ...],
    interval_ns: int,
    promotions: Mapping[str, Promotion] | None = None,
    data_ids: tuple[str, ...] = (),
) -> Plan:
    """Return the plan of an account; a strategy that `promotions` has by name runs as its record says.

    `data_ids`: the instruments whose bars decide, which a record must be of; none: those that are traded.

    Raises ValueError on unknown parameters, or limits unfit for sending orders; PromotionRefusedError where a record
    does not fit.
    """
    check_limits_for_orders(settings.limits)
    promotions = promotions or {}
    names = data_ids or tuple(instrument.instrument_id for instrument in instruments)
    check_fit(promotions.values(), settings, names, interval_ns)
    plans = tuple(
        make_promoted_plan(promotions[part.name])
        if part.name in promotions
        else StrategyPlan(part.name, parse_params(part.name, {key: str(value) for key, value in part.params.items()}))
        for part in strategies
    )
    return Plan(instruments, plans, settings.limits, settings.costs, settings.equity_start_quote, interval_ns)


def start_session(settings: Settings, include_dashboard: bool) -> Session:
    """Start the embedded Ray as the settings say."""
    ray = settings.cluster.ray
    return start_local(
        namespace=ray.namespace,
        roles=ray.roles,
        num_cpus=ray.num_cpus,
        object_store_mb=ray.object_store_mb,
        temp_dir=ray.temp_dir,
        include_dashboard=include_dashboard or ray.include_dashboard,
        dashboard_port=ray.dashboard_port,
    )


def run_paper(
    house: PaperHouse,
    directory: Path,
    data: str,
    get_market: Callable[[], MarketData],
    on_status: Callable[[Status], None],
) -> PaperOutcome:
    """Run one session to its end or until interrupted, then report it from its ledger.

    Everything lands in `directory`: `ledger/` with journal and history, `tear_sheet.html`. `data` says in a word what
    it runs on; `get_market` returns its bars once it is over.
    """
    started_s = time.monotonic()
    plan = house.plan
    is_complete = False
    try:
        house.start(directory.name, "; ".join((f"data {data}", *describe_promotions(plan))))
        try:
            with interruptible():
                house.wait_done(on_status=on_status)
                is_complete = True
        except KeyboardInterrupt:
            pass
        status = house.get_status()
        house.settle()
        market = get_market()
        result = read_session(lambda sql, args: house.ask_ledger("query", sql, args), house.run, plan, market)
        summary = house.ask_ledger("summarize")
    finally:
        house.stop("done" if is_complete else "interrupted")
    metrics = compute_metrics(result)
    report = directory / "tear_sheet.html"
    first = plan.strategies[0]
    details = make_details(first.name, first.params, market, plan.costs, "all", plan.equity_start_quote)
    names = ", ".join(part.name for part in plan.strategies)
    write_report(
        report, result, metrics, f"Paper session: {names}", details, inline=False, has_fill_rules=not plan.accounts
    )
    seconds = time.monotonic() - started_s
    return PaperOutcome(result, metrics, status, summary, report, directory / "ledger", seconds, is_complete)


def describe_promotions(plan: Plan) -> list[str]:
    """Return a line for each strategy: by which record it runs, and what that makes Kelly believe."""
    lines = []
    for part, prior in zip(plan.strategies, plan.list_priors(), strict=True):
        record = f"promoted by {part.promotion_id}" if part.promotion_id else "not promoted"
        believed = f"prior of {prior.weight_trades:.1f} trades" if prior.weight_trades > 0.0 else "no prior"
        lines.append(f"{part.name} {record}, {believed}")
    return lines


def make_run_directory(out: Path | None, kind: str) -> Path:
    """Return a new, empty directory: `out`, or the next free runs/<kind>-NNNN. Raises ValueError if `out` is in use."""
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"--out {out} exists and is not an empty directory: choose another")
        out.mkdir(parents=True, exist_ok=True)
        return out
    number = 1
    while (directory := Path("runs") / f"{kind}-{number:04d}").exists():
        number += 1
    directory.mkdir(parents=True)
    return directory


def make_source(
    settings: Settings,
    catalog: Path | None,
    instruments: tuple[str, ...],
    bars: int | None,
    seed: int | None,
    ts_from: str | None = None,
    ts_to: str | None = None,
) -> MarketSource:
    """Return where the bars come from; the settings say what the command line does not."""
    if catalog is None:
        ids = instruments or settings.instruments
        return MarketSource(ids, seed=settings.market.seed if seed is None else seed, bars=bars or settings.market.bars)
    return MarketSource(
        instruments or _choose_instruments(settings, catalog),
        str(catalog),
        None if ts_from is None else parse_ts_ms(ts_from, "--from"),
        None if ts_to is None else parse_ts_ms(ts_to, "--to"),
        bars=bars or 0,
    )


def _choose_instruments(settings: Settings, catalog: Path) -> tuple[str, ...]:
    # Those of the settings if the catalog has them all, else whatever it has.
    stored = tuple(list_instruments(catalog))
    return settings.instruments if set(settings.instruments) <= set(stored) else stored or settings.instruments


@click.command()
@click.option("--strategy", "names", multiple=True, help="A strategy; repeatable. Default: those of the settings.")
@click.option(
    "--promotion", "records", multiple=True, type=click.Path(path_type=Path), help="A promotion record; repeatable."
)
@click.option("--unpromoted", is_flag=True, help="Run strategies without a record too: no prior, sized at the floor.")
@click.option("--instrument", "instruments", multiple=True, help="An instrument; repeatable. Default: the settings'.")
@click.option("--catalog", type=click.Path(path_type=Path), help="Real bars from there instead of a generated market.")
@click.option("--from", "ts_from", help="With --catalog: first bar's opening, UTC.")
@click.option("--to", "ts_to", help="With --catalog: end, exclusive.")
@click.option(
    "--bars",
    type=click.IntRange(1),
    help="How many bars to generate, or the last so many of the catalog; with --venue: how many to trade.",
)
@click.option("--seed", type=click.IntRange(0), help="Of the generated market.")
@click.option(
    "--speed", type=click.FloatRange(0.0), default=0.0, help="Market seconds per second; 0: as fast as can be."
)
@click.option(
    "--venue", "venues", multiple=True, type=click.Choice(TRADING_VENUES), help="Trade there, in real time; repeatable."
)
@click.option("--interval", help=f"With --venue: of the bars that are decided on; default {INTERVAL_DEFAULT}.")
@click.option("--history", type=click.IntRange(0), help=f"With --venue: bars observed first; default {HISTORY_BARS}.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory of the run; default runs/paper-NNNN.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; default ./trireme.yaml if there.")
@click.option("--dashboard", is_flag=True, help="Start the Ray dashboard and print its address.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def paper(
    names: tuple[str, ...],
    records: tuple[Path, ...],
    unpromoted: bool,
    instruments: tuple[str, ...],
    catalog: Path | None,
    ts_from: str | None,
    ts_to: str | None,
    bars: int | None,
    seed: int | None,
    speed: float,
    venues: tuple[str, ...],
    interval: str | None,
    history: int | None,
    out: Path | None,
    config: Path | None,
    dashboard: bool,
    as_json: bool,
) -> int:
    """Trade without money, with the live actors: the same machines, journal and risk as with it.

    Without --venue: on the embedded venue over bars, as fast as can be. With it: in real time, on Binance's data, at
    the venues' simulators (started for the session), or where `venues` in the settings says; --bars ends it, or Ctrl-C.

    A strategy runs by a promotion record (`trireme sweep promote`), given here or in the settings: with the parameters
    that were tested, under the limits and on the instruments they were tested with. Exit code 3 where there is none, or
    one that does not fit.

    Ctrl-C ends the session in order, with its summary. Exit code 4 if it ended before its last bar.
    """
    from trireme.main import EXIT_PARTLY, EXIT_REFUSED

    settings = read_settings(config)
    if venues:
        _refuse_options("with --venue", catalog=catalog, ts_from=ts_from, ts_to=ts_to, speed=speed)
        traded = choose_session(settings, venues, instruments, interval or INTERVAL_DEFAULT)
    else:
        _refuse_options("without --venue", interval=interval, history=history)
        source = make_source(settings, catalog, instruments, bars, seed, ts_from, ts_to)
    try:
        strategies, promotions = choose_strategies(settings, names, records)
        if not unpromoted:
            check_promoted(strategies, promotions)
        if venues:
            parts = (traded.instruments, traded.interval_ns, promotions, traded.data_ids)
            plan = traded.place(make_plan(settings, strategies, *parts))
        else:
            market = source.load()
            plan = make_plan(settings, strategies, market.instruments, market.interval_ns, promotions)
    except PromotionRefusedError as error:
        for reason in error.reasons:
            click.echo(f"refused: {reason}", err=True)
        return EXIT_REFUSED
    directory = make_run_directory(out, "paper")
    for line in (*describe_promotions(plan), "starting Ray"):
        click.echo(line, err=True)
    with ExitStack() as stack:
        if venues:
            seed = settings.market.seed if seed is None else seed
            links = stack.enter_context(reach_venues(traded, settings, directory, seed))
        session = stack.enter_context(start_session(settings, dashboard))
        view = stack.enter_context(show_live())
        if session.dashboard_url:
            click.echo(f"dashboard: {session.dashboard_url}  token: {session.auth_token}", err=True)
        watchers = (settings.herald, settings.supervisor)
        if venues:
            live = make_venue_source(traded, links, bars, history)
            house = PaperHouse(session, plan, live, directory, 0.0, *watchers, links.accounts)
            about = f"of {links.data.venue}, live, {interval or INTERVAL_DEFAULT}"
            outcome = run_paper(house, directory, about, lambda: read_bars(house), view.update)
        else:
            house = PaperHouse(session, plan, source, directory, speed, *watchers)
            outcome = run_paper(house, directory, market.sha256, lambda: market, view.update)
    if as_json:
        click.echo(json.dumps(describe_outcome(outcome), allow_nan=False))
    else:
        show_outcome(outcome)
    return 0 if outcome.is_complete else EXIT_PARTLY


def _refuse_options(when: str, **options: Any) -> None:
    given = [f"--{name.removeprefix('ts_')}" for name, value in options.items() if value]
    if given:
        raise ValueError(f"{', '.join(given)} {when} has no meaning: drop it")


def describe_outcome(outcome: PaperOutcome) -> dict[str, Any]:
    """Return the session as plain JSON types."""
    return {
        "metrics": metrics_json(outcome.metrics),
        "bars": len(outcome.result.equity_quote),
        "denials": outcome.summary["denials"],
        "orders": outcome.summary["orders"],
        "fills": outcome.summary["fills"],
        "positions_open": sum(1 for slot in outcome.status.governor["slots"] if slot["qty_base"]),
        "latch": outcome.status.governor["latch"],
        "alerts": outcome.summary["alerts"],
        "is_complete": outcome.is_complete,
        "seconds": round(outcome.seconds, 1),
        "report": str(outcome.report),
        "ledger": str(outcome.ledger),
    }


def show_outcome(outcome: PaperOutcome) -> None:
    """Print the session's summary."""
    from rich.console import Console
    from rich.table import Table

    result, metrics = outcome.result, outcome.metrics
    first_ms, last_ms = (int(result.bars["ts_open_ns"][0, index]) // 1_000_000 for index in (0, -1))
    table = Table(title="Paper session", title_justify="left", show_header=False)
    table.add_row("period", f"{format_ts_ms(first_ms)} to {format_ts_ms(last_ms)} UTC, {result.bars.shape[1]:,} bars")
    table.add_row("equity", f"{result.equity_start_quote:,.2f} -> {metrics.equity_last_quote:,.2f}")
    table.add_row("trades", f"{metrics.trades:,}, {metrics.win_rate_frac:.1%} won")
    table.add_row("Sharpe, largest drawdown", f"{metrics.sharpe:.2f}, {metrics.drawdown_frac_max:.2%}")
    table.add_row("fees, funding received", f"{metrics.fees_quote:,.2f}, {metrics.funding_quote:,.2f}")
    orders = ", ".join(f"{count:,} {status}" for status, count in outcome.summary["orders"].items())
    table.add_row("orders", orders or "none")
    denied = ", ".join(f"{count:,} {reason}" for reason, count in outcome.summary["denials"].items())
    table.add_row("denied", denied or "none")
    table.add_row("latch", outcome.status.governor["latch"])
    alerts = ", ".join(f"{count:,} {severity}" for severity, count in outcome.summary["alerts"].items())
    table.add_row("alerts", alerts or "none")
    table.add_row("took", f"{outcome.seconds:.1f} s")
    console = Console()
    console.print(table)
    console.print(f"tear sheet: {outcome.report}", soft_wrap=True)
    console.print(f"ledger: {outcome.ledger}", soft_wrap=True)
