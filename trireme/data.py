"""`trireme data`: import, fetch and check market data."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trireme.main import EXIT_FAILED, EXIT_PARTLY

if TYPE_CHECKING:
    from market.importing import DatasetReport

GAPS_SHOWN_MAX = 20
KINDS = ("bars", "mark", "trades", "funding", "open-interest", "book")


@click.group()
def data() -> None:
    """Import, fetch and check market data. Reports go to stdout, progress to stderr."""


@data.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--catalog", "catalog_dir", required=True, type=click.Path(path_type=Path), help="Where to store it.")
@click.option("--instrument", "instrument_id", required=True, help="Such as BTC-PERP.BINANCE.")
@click.option("--kind", type=click.Choice(KINDS), help="Default: recognised from the columns.")
@click.option("--interval", help="Of bars, such as 15m. Default: recognised from the times.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def import_command(
    paths: tuple[Path, ...],
    catalog_dir: Path,
    instrument_id: str,
    kind: str | None,
    interval: str | None,
    as_json: bool,
) -> None:
    """Import archive files (zip or CSV), Parquet or raw captures, or directories of them.

    Bars, trades, funding, open interest and raw book captures are told apart by their columns. Duplicates, disorder,
    impossible and non-finite rows are refused, naming file and row, with nothing written; gaps are reported and stay
    marked in every run. Importing again extends what is there; a new row replaces the old one of its time.
    """
    from market.importing import import_files
    from market.series import Kind, parse_interval

    def on_file(path: Path, rows: int) -> None:
        click.echo(f"read {path}: {rows:,} rows", err=True)

    interval_ns = parse_interval(interval) if interval else 0
    reports = import_files(paths, catalog_dir, instrument_id, Kind(kind) if kind else None, interval_ns, on_file)
    if as_json:
        click.echo(json.dumps({"catalog": str(catalog_dir), "datasets": [report.to_dict() for report in reports]}))
    else:
        for report in reports:
            _print_report(report)
            click.echo(f"  {report.rows_added:,} rows added, {report.rows_replaced:,} replaced")


@data.command("check")
@click.option("--catalog", "catalog_dir", required=True, type=click.Path(path_type=Path), help="The catalog to check.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_command(catalog_dir: Path, as_json: bool) -> int:
    """Say what a catalog holds, from when to when, with which holes; re-hash and re-check every row.

    Exit code 1 if stored rows are damaged; gaps are reported and are no failure.
    """
    from market.importing import check_catalog

    reports = check_catalog(catalog_dir)
    is_sound = not any(report.problem for report in reports)
    if as_json:
        datasets = [report.to_dict() for report in reports]
        click.echo(json.dumps({"catalog": str(catalog_dir), "ok": is_sound, "datasets": datasets}))
    else:
        for report in reports:
            _print_report(report)
    return 0 if is_sound else EXIT_FAILED


def _print_report(report: "DatasetReport") -> None:
    from market.importing import describe_report

    click.echo(describe_report(report))
    for gap in report.gaps[:GAPS_SHOWN_MAX]:
        click.echo(f"  gap: {gap.text}")
    if len(report.gaps) > GAPS_SHOWN_MAX:
        click.echo(f"  and {len(report.gaps) - GAPS_SHOWN_MAX} more gaps; --json lists them all")
    if report.problem:
        click.echo(f"  DAMAGED: {report.problem}")


@data.command("fetch")
@click.option("--url", help="Address of the archive. Default: $TRIREME_ARCHIVE_URL.")
@click.option("--symbol", required=True, help="As the venue writes it: BTCUSDT.")
@click.option("--type", "data_type", required=True, help="klines, aggTrades, trades, fundingRate, metrics, ...")
@click.option("--interval", default="15m", show_default=True, help="Of klines.")
@click.option("--market", default="um", show_default=True, help="um, cm or spot.")
@click.option("--from", "first", required=True, help="First month (2024-01) or day (2024-01-05).")
@click.option("--to", "last", help="Last month or day, included. Default: the first.")
@click.option("--out", "out_dir", required=True, type=click.Path(path_type=Path), help="Where files are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def fetch_command(
    url: str | None,
    symbol: str,
    data_type: str,
    interval: str,
    market: str,
    first: str,
    last: str | None,
    out_dir: Path,
    as_json: bool,
) -> int:
    """Download archive files, verify their checksums, resume broken downloads. Import them afterwards.

    Exit code 4 if only some files came, 1 if none did. Run it again to go on.
    """
    from market.archive import Fetched, fetch_file, plan_files

    base_url = url or os.environ.get("TRIREME_ARCHIVE_URL", "")
    if not base_url:
        raise ValueError("no archive address; pass --url or set TRIREME_ARCHIVE_URL")
    reports = []
    for name in plan_files(market, data_type, symbol, interval, first, last or first):
        report = fetch_file(base_url, name, out_dir)
        click.echo(f"{report.outcome} {name} {report.text}".rstrip(), err=True)
        reports.append(report)
    done = [report for report in reports if report.outcome in (Fetched.DONE, Fetched.PRESENT)]
    if as_json:
        files: list[dict[str, Any]] = [
            {"name": report.name, "outcome": str(report.outcome), "bytes": report.size_bytes, "text": report.text}
            for report in reports
        ]
        click.echo(json.dumps({"out": str(out_dir), "files": files}))
    else:
        click.echo(f"{len(done)} of {len(reports)} files in {out_dir}, checksums verified")
    if len(done) == len(reports):
        return 0
    return EXIT_PARTLY if done else EXIT_FAILED
