"""`trireme scars`: what broke once, run again with its guard off and on."""

import json
from typing import TYPE_CHECKING

import click

from trireme.main import EXIT_FAILED

if TYPE_CHECKING:
    from sweeps.scars import ScarResult


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def scars(as_json: bool) -> int:
    """Replay every scar through the real risk rules: bare, with its guard alone, and with the default limits.

    Held means: the loss shows without rules, and both its guard alone and the default limits stop it. Exit code 1 if
    any scar is not held.
    """
    from sweeps.scars import run_scars

    results = run_scars()
    if as_json:
        click.echo(json.dumps([result.to_json() for result in results]))
    else:
        _print_table(results)
    return 0 if all(result.is_held for result in results) else EXIT_FAILED


def _print_table(results: "list[ScarResult]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title="Scars: accounts of 1,000, losses in quote currency",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        leading=1,
    )
    table.add_column("what happened\n[dim]guard: what it did[/dim]")
    for name in ("after\ntrades", "lost", "lost\nguarded", "saved", "all rules\non"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("held", no_wrap=True)
    for result in results:
        lost, guarded = result.unguarded.loss_quote, result.guarded.loss_quote
        table.add_row(
            f"{result.scar.name}\n[dim]{result.scar.guard}: {result.guarded.what}[/dim]",
            str(result.guarded.trades_until_held),
            f"{lost:.2f}",
            f"{guarded:.2f}",
            f"{lost - guarded:.2f}",
            f"{result.default.loss_quote:.2f}",
            "[green]yes[/green]" if result.is_held else "[red]no[/red]",
        )
    console = Console()
    console.print(table)
    held = sum(result.is_held for result in results)
    console.print(f"{held} of {len(results)} held")
