"""`trireme venues`: simulated venues for anyone's client, and a look at the accounts at real ones."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from market.series import parse_interval
from trireme.main import EXIT_FAILED
from trireme.venue_check import check
from trireme.venue_host import STOP_S, VENUES, VenueHost, VenueHostSettings

_PARENT_CHECK_S = 0.25


@click.group()
def venues() -> None:
    """Simulated venues for anyone's client; whether accounts at real ones are fit for trading."""


venues.add_command(check)


@venues.command(short_help="Serve them on loopback until SIGTERM or Ctrl-C.")
@click.option("--venue", "names", multiple=True, type=click.Choice(VENUES), help="A venue; repeatable. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when all are ready, and nothing else.")
@click.option(
    "--port-base",
    type=click.IntRange(1, 65_000),
    help="First of five ports: binance, its spot market, hyperliquid, dydx, its gRPC. Default: free ones.",
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the market and the accounts.")
@click.option(
    "--bar-interval",
    default="15m",
    show_default=True,
    help="How long a bar takes that moves as 15 minutes do: 5s to 1h.",
)
@click.option("--catalog", type=click.Path(path_type=Path), help="Replay its bars, moved to now, again and again.")
@click.option("--faults", type=click.Path(path_type=Path), help="JSON or YAML of the switches to begin with.")
@click.option("--accounts", type=click.IntRange(1, 1000), default=3, show_default=True, help="Funded, on each venue.")
@click.option(
    "--deposit", type=click.FloatRange(1.0, 1e9), default=100_000.0, show_default=True, help="Of each [USDC]."
)
@click.option(
    "--parent-pid", type=click.IntRange(1), help="End when this process, which must be our parent, has ended."
)
def serve(
    names: tuple[str, ...],
    as_json: bool,
    port_base: int | None,
    seed: int,
    bar_interval: str,
    catalog: Path | None,
    faults: Path | None,
    accounts: int,
    deposit: float,
    parent_pid: int | None,
) -> int:
    """Serve simulated venues on loopback until SIGTERM or Ctrl-C: prices, books, accounts with money, faults on demand.

    All follow one generated market, which begins at the present with days of history and goes on without end. The
    unmodified SDKs of the venues connect, as does any other client; nothing leaves this machine.

    Faults are turned on and off at any time: GET and POST on the control address, or --faults to begin with.
    """
    settings = VenueHostSettings(
        tuple(dict.fromkeys(names)) or VENUES,
        seed,
        parse_interval(bar_interval),
        accounts,
        deposit,
        port_base or 0,
        catalog,
        faults,
    )
    return asyncio.run(_serve(settings, as_json, parent_pid))


async def _serve(settings: VenueHostSettings, as_json: bool, parent_pid: int | None) -> int:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else its library says of a port in use what we say
    host = VenueHost(settings)
    try:
        described = await host.start()
    except OSError as error:
        click.echo(f"error: cannot listen: {error.strerror or error}; choose another --port-base", err=True)
        return EXIT_FAILED
    try:
        click.echo(json.dumps(described) if as_json else format_venues(described))
        while not ended.is_set() and (parent_pid is None or os.getppid() == parent_pid):
            _check(host)
            try:
                await asyncio.wait_for(ended.wait(), _PARENT_CHECK_S)
            except TimeoutError:
                continue
    finally:
        with contextlib.suppress(TimeoutError):  # whoever does not let go is cut off with the process
            await asyncio.wait_for(host.stop(), STOP_S)
    return 0


def _check(host: VenueHost) -> None:
    # A simulator whose clock has died serves on, but a market that stands still.
    for venue, simulator in host.simulators.items():
        for task in simulator._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise RuntimeError(f"{venue}: its simulator ended: {task.exception()!r}") from task.exception()


def format_venues(described: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what a person wants to know of the served venues."""
    lines: list[str] = []
    for name, values in described.items():
        lines.append(name)
        rows = [(key, values[key]) for key in ("http", "ws", "grpc", "chain_id", "spot_http", "spot_ws", "control")
                if values.get(key)]  # fmt: skip
        rows.append(("lists", ", ".join(values["instruments"])))
        lines += [f"  {key:<10} {value}" for key, value in rows]
        if values["accounts"]:
            lines.append(f"  accounts   {values['deposit_quote']:,.0f} USDC each; test keys, never fund them:")
        for account in values["accounts"]:
            lines += [f"    {account['address']}", f"      private key  {account['private_key']}"]
            lines += [f"      mnemonic     {account['mnemonic']}"] if account["mnemonic"] else []
        lines += ["  not modelled", *(f"    - {gap}" for gap in values["not_modelled"]), ""]
    first = next(iter(described.values()))
    lines.append(f"seed {first['seed']}, bars of {first['bar_interval_s']:g} s; ready, Ctrl-C ends")
    return "\n".join(lines)
