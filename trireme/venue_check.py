"""`trireme venues check`: whether accounts, keys, clocks and rules are fit for trading. It asks, and sends nothing."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import click

from actors.connections import DATA_VENUES, TRADING_VENUES, make_market_data_client, make_trading_client
from market.instruments import LISTED, Instrument
from market.records import NS_PER_S
from market.series import format_ts
from trireme.settings import Settings, read_settings
from trireme.venue_settings import make_connection
from venues.port import Subscription, VenueUnavailableError

SETTLE_S = 5.0  # how long a client may take until it calls itself well
BAR_NS = 60 * NS_PER_S


@click.command(short_help="Whether accounts, keys, clocks and rules are fit for trading; sends nothing.")
@click.option("--venue", "names", multiple=True, type=click.Choice(DATA_VENUES), help="A venue; repeatable.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; default ./trireme.yaml if there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(names: tuple[str, ...], config: Path | None, as_json: bool) -> int:
    """Connect to each venue as the settings say and tell what is there: the last step before orders are sent.

    Of an account: whether the key may sign for it, how far the clocks are apart, whether the venue's contracts are as
    we know them, what it is worth and holds. Of market data: the last closed bar. Without --venue: every venue of the
    settings that runs somewhere. Exit code 1 where one is not fit, with the reason.
    """
    from trireme.main import EXIT_FAILED

    settings = read_settings(config)
    chosen = names or tuple(name for name in DATA_VENUES if not settings.venues.get(name).is_hosted)
    if not chosen:
        raise ValueError("all venues of the settings are simulators that start when needed: there is nothing to check")
    told = {name: asyncio.run(_check(name, settings)) for name in chosen}
    if as_json:
        click.echo(json.dumps(told, allow_nan=False))
    else:
        for name, facts in told.items():
            click.echo("\n".join([name, *(f"  {key:<12} {_show(value)}" for key, value in facts.items())]))
    return 0 if all(facts["is_fit"] for facts in told.values()) else EXIT_FAILED


async def _check(name: str, settings: Settings) -> dict[str, Any]:
    venue = settings.venues.get(name)
    if venue.is_hosted:
        return {"network": venue.network.value, "is_fit": False, "reason": "a simulator that is not running: give http"}
    contracts = dict.fromkeys(instrument_id.rpartition(".")[0] for instrument_id in settings.instruments)
    listed = [LISTED[key] for contract in contracts if (key := f"{contract}.{name.upper()}") in LISTED]
    facts: dict[str, Any] = {"network": venue.network.value}
    try:
        look = _look_at_account if name in TRADING_VENUES else _look_at_data
        facts |= await look(name, settings, listed)
    except (ValueError, VenueUnavailableError) as error:
        return facts | {"is_fit": False, "reason": str(error)}
    reasons = facts.pop("reasons")
    return facts | {"is_fit": not reasons, "reason": "; ".join(reasons)}


async def _look_at_account(name: str, settings: Settings, listed: list[Instrument]) -> dict[str, Any]:
    connection = make_connection(name, settings.venues.get(name), is_trading=True)
    client = make_trading_client(connection, listed)
    try:
        await client.open(lambda events: None)
        state = await client.fetch_account()
        orders = await client.fetch_open_orders()
        return {
            "address": connection.address,
            "equity_quote": state.equity_quote,
            "positions": dict(await client.fetch_positions()),
            "open_orders": [f"{order.order_type} {order.instrument_id}" for order in orders],
            "reasons": await _await_health(client),
        }
    finally:
        await client.close()


async def _look_at_data(name: str, settings: Settings, listed: list[Instrument]) -> dict[str, Any]:
    client = make_market_data_client(make_connection(name, settings.venues.get(name), is_trading=False), listed)
    try:
        await client.open([Subscription(part.instrument_id) for part in listed], lambda event: None)
        bars = {part.instrument_id: await client.fetch_bars(part.instrument_id, BAR_NS, 1) for part in listed}
        closes = {key: f"{bar[-1].close_px} at {format_ts(bar[-1].ts_open_ns)}" for key, bar in bars.items() if bar}
        return {"last_closes": closes, "reasons": await _await_health(client)}
    finally:
        await client.close()


async def _await_health(client: Any) -> tuple[str, ...]:
    until_s = time.monotonic() + SETTLE_S
    while (reasons := client.check_health(time.time_ns())) and time.monotonic() < until_s:
        await asyncio.sleep(0.1)
    return tuple(reasons)


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items()) or "none"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)
