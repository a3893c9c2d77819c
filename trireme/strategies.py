"""`trireme strategies`: what there is to trade with."""

import json
from typing import Any

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def strategies(name: str | None, as_json: bool) -> None:
    """List the strategies and what each believes; with a NAME, its parameters, their defaults and ranges."""
    from strategies.catalog import describe

    described = describe()
    if name is not None:
        known = [idea["name"] for idea in described]
        if name not in known:
            raise ValueError(f"unknown strategy {name!r}: known are {', '.join(known)}")
        described = [idea for idea in described if idea["name"] == name]
    if as_json:
        click.echo(json.dumps(described))
        return
    for idea in described:
        _show(idea, is_whole=name is not None)


def _show(idea: dict[str, Any], is_whole: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{idea['name']}[/bold]  {idea['belief']}")
    if not is_whole:
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("parameter", "default", "searched", "allowed", "changes"):
        table.add_column(column)
    for parameter in idea["parameters"]:
        table.add_row(
            parameter["name"],
            f"{parameter['default']:g}",
            f"{parameter['low']:g} .. {parameter['high']:g}",
            f"{parameter['least']:g} .. {parameter['most']:g}",
            "what is observed" if parameter["is_slow"] else "what is decided",
        )
    console.print(table)
    console.print(f"more: {idea['doc_page']}")
