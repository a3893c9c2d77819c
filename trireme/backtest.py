"""`trireme backtest`: one configuration over bars."""

import json
from pathlib import Path
from typing import Any

import click

from trireme.periods import format_ts_ms, parse_ts_ms


def parse_assignments(assignments: tuple[str, ...], option: str) -> dict[str, str]:
    """Return {key: value} of "key=value" texts; raises ValueError naming the text that is none."""
    parsed: dict[str, str] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise ValueError(f"{option} {text!r} is no assignment: write key=value")
        if key.strip() in parsed:
            raise ValueError(f"{option} {key.strip()!r} is given twice: keep one")
        parsed[key.strip()] = value.strip()
    return parsed


@click.command()
@click.option("--strategy", required=True, help="Name of a strategy, see `trireme strategies`.")
@click.option("--instrument", "instruments", required=True, multiple=True, help="Instrument id; repeat for several.")
@click.option("--catalog", required=True, type=click.Path(path_type=Path), help="Directory of imported data.")
@click.option("--from", "ts_from", help="First bar's opening, UTC: 2024-01-31, 2024-01-31T12:00 or ms.")
@click.option("--to", "ts_to", help="End, exclusive, written as --from.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A strategy parameter; repeatable.")
@click.option("--signals", type=click.Path(path_type=Path), help="CSV `ts,target` for --strategy signals.")
@click.option("--risk", type=click.Choice(["all", "none"]), default="all", help="none: no rule, no stop, as wished.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; default ./trireme.yaml if there.")
@click.option("--equity", type=float, help="Equity at the start [quote], instead of the settings'.")
@click.option("--fee-taker-bps", type=float, help="Taker fee, instead of the settings'.")
@click.option("--fee-maker-bps", type=float, help="Maker fee, instead of the settings'.")
@click.option("--slippage-bps", type=float, help="Slippage of market orders and stops, instead of the settings'.")
@click.option("--report", type=click.Path(path_type=Path), help="Write a tear sheet (HTML) there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def backtest(
    strategy: str,
    instruments: tuple[str, ...],
    catalog: Path,
    ts_from: str | None,
    ts_to: str | None,
    assignments: tuple[str, ...],
    signals: Path | None,
    risk: str,
    config: Path | None,
    equity: float | None,
    fee_taker_bps: float | None,
    fee_maker_bps: float | None,
    slippage_bps: float | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Replay one configuration over bars, with the decision code that trades live.

    A decision at a bar's close fills at the next bar's open plus or minus slippage; stops and take-profits rest and are
    tested against each later bar, the stop first; fees on both sides; funding on the position held at its time.
    """
    from market.catalog import load_market
    from market.signals import read_signals_csv
    from risk.limits import LIMITS_NONE
    from strategies.catalog import parse_params
    from sweeps.export import backtest_json
    from sweeps.metrics import compute_metrics
    from sweeps.replay import replay
    from sweeps.report import write_report
    from trireme.reporting import make_details
    from trireme.settings import override_costs, read_settings

    if (strategy == "signals") != (signals is not None):
        raise ValueError("--strategy signals and --signals FILE go together: give both or neither")
    if len(set(instruments)) != len(instruments):
        raise ValueError("--instrument names one instrument twice: give each once")
    settings = read_settings(config)
    costs = override_costs(settings.costs, fee_taker_bps, fee_maker_bps, slippage_bps)
    equity_start_quote = settings.equity_start_quote if equity is None else equity
    if not equity_start_quote > 0.0 or equity_start_quote == float("inf"):
        raise ValueError(f"--equity is {equity_start_quote}: must be > 0 and finite")
    params = parse_params(strategy, parse_assignments(assignments, "--set"))
    market = load_market(
        catalog,
        instruments,
        None if ts_from is None else parse_ts_ms(ts_from, "--from"),
        None if ts_to is None else parse_ts_ms(ts_to, "--to"),
        None if signals is None else read_signals_csv(signals),
    )
    limits = LIMITS_NONE if risk == "none" else settings.limits
    result, _ = replay(market, params, limits, costs, equity_start_quote)
    metrics = compute_metrics(result)
    document = backtest_json(result, metrics, market.sha256)
    if report is not None:
        details = make_details(strategy, params, market, costs, risk, equity_start_quote)
        write_report(report, result, metrics, f"{strategy} on {', '.join(instruments)}", details, inline=True)
    if as_json:
        click.echo(json.dumps(document, allow_nan=False))
        return
    _show(document, report)


def _show(document: dict[str, Any], report: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    data = document["data"]
    period = f"{format_ts_ms(data['ts_first_ms'])} to {format_ts_ms(data['ts_last_ms'])} UTC, {data['bars']:,} bars"
    table = Table(title=f"{data['instrument_id']}, {period}", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in document["metrics"].items():
        table.add_row(name, "n/a" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.4f}")
    for name, count in document["denials"].items():
        table.add_row(f"denied: {name}", f"{count:,}")
    console = Console()
    console.print(table)
    if report is not None:
        console.print(f"tear sheet: {report}", soft_wrap=True)
