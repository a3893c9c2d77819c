"""A paper account at two simulated venues at once, through the official SDKs, on a third one's data; actors are killed.

What the ledger says is compared with what the venues say when they are asked directly.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.connections import VenueConnection
from actors.journal import Role
from actors.ledger.projections import open_envelope
from actors.market_feed.venue_source import VenueSource
from actors.messages import Message, decode
from actors.plan import Plan, StrategyPlan, VenueAccount
from cluster.health import sample
from cluster.processes import is_alive, list_descendants
from cluster.session import Session
from market.events import OrderRequest
from market.fills import Costs
from market.instruments import LISTED, lots_to_qty
from market.records import NS_PER_S
from market.storage import replacing
from risk.limits import LIMITS_DEFAULT, switch
from strategies.catalog import parse_params
from trireme.house import FEED, PaperHouse
from trireme.settings import SupervisorSettings
from trireme.venue_host import HostedVenues

pytestmark = pytest.mark.ray

HYPERLIQUID, DYDX = "executor.hyperliquid", "executor.dydx"
INTERVAL = "5s"
BARS = 10
PARAMS = parse_params("momentum_sar", {"trend_bars": 12, "atr_bars": 7, "entry_bars_max": 96, "trend_atr_min": -1.0})
LIMITS = switch(LIMITS_DEFAULT, False, "reward_to_risk", "breaker", "kelly", "cooldown", "rate_limit")
PATIENT = SupervisorSettings(period_s=0.2, silence_s=30.0, suspect_s=120.0, backoff_s=0.1)
TRADED = ("BTC-PERP.HYPERLIQUID", "ETH-PERP.HYPERLIQUID", "BTC-PERP.DYDX", "ETH-PERP.DYDX")
DATA = ("BTC-PERP.BINANCE", "ETH-PERP.BINANCE") * 2
DEADLINE_S = 180.0


@pytest.fixture(scope="module")
def hosted() -> Iterator[HostedVenues]:
    with HostedVenues(bar_interval=INTERVAL, accounts=1) as venues:
        yield venues


@pytest.fixture
def house(ray_session: Session, hosted: HostedVenues, tmp_path: Path) -> Iterator[PaperHouse]:
    keys = tmp_path / "keys.yaml"
    with replacing(keys) as path:
        path.touch(mode=0o600)
        path.write_text(
            "".join(f'{name}: "{hosted[name].accounts[0].private_key}"\n' for name in ("hyperliquid", "dydx"))
        )
    connections = tuple(
        VenueConnection(
            name, hosted[name].endpoints, key=f"file:{keys}#{name}", address=hosted[name].accounts[0].address
        )
        for name in ("hyperliquid", "dydx")
    )
    accounts = (VenueAccount("hyperliquid", (0, 1)), VenueAccount("dydx", (2, 3)))
    plan = Plan(
        tuple(LISTED[name] for name in TRADED),
        (StrategyPlan("momentum_sar", PARAMS),),
        LIMITS,
        Costs(5.0, 2.0, 1.0),
        200_000.0,
        5 * NS_PER_S,
        accounts=accounts,
    )
    data = VenueConnection("binance", hosted["binance"].endpoints)
    source = VenueSource(data, DATA, 5 * NS_PER_S, 100, BARS)
    house = PaperHouse(ray_session, plan, source, tmp_path, supervisor=PATIENT, connections=connections)
    try:
        house.start("venues", "test")
        yield house
    finally:
        house.stop("done")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.1)


def kill_process(name: str) -> None:
    pid = sample([name])[name].pid
    assert pid > 0
    os.kill(pid, signal.SIGKILL)


def read_notes(house: PaperHouse, name: str) -> list[Message]:
    records = house.ask_ledger("read_replay", name, house.run)
    return [decode(open_envelope(record.payload)) for record in records if record.role == Role.NOTE]


def count_live(house: PaperHouse) -> int:
    status = house.get_status()
    assert not status.failures
    return int((status.feed["ts_confirmed_ns"] - status.feed["ts_first_ns"]) // house.plan.interval_ns)


def ask_hyperliquid(hosted: HostedVenues, kind: str) -> Any:
    question = {"type": kind, "user": hosted["hyperliquid"].accounts[0].address}
    request = urllib.request.Request(
        f"{hosted['hyperliquid'].endpoints.http}/info",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def ask_dydx(hosted: HostedVenues, path: str) -> Any:
    where = f"address={hosted['dydx'].accounts[0].address}&subaccountNumber=0"
    with urllib.request.urlopen(f"{hosted['dydx'].endpoints.http}/v4/{path}?{where}", timeout=30) as answer:
        return json.load(answer)


def list_venue_positions(hosted: HostedVenues) -> dict[str, Decimal]:
    """Return the signed size of every open position, as the venues say it."""
    sizes = {}
    for row in ask_hyperliquid(hosted, "clearinghouseState")["assetPositions"]:
        sizes[f"{row['position']['coin']}-PERP.HYPERLIQUID"] = Decimal(row["position"]["szi"])
    for row in ask_dydx(hosted, "perpetualPositions")["positions"]:
        if row["status"] == "OPEN":
            sizes[f"{row['market'].partition('-')[0]}-PERP.DYDX"] = Decimal(row["size"])
    return sizes


def list_venue_stops(hosted: HostedVenues) -> set[str]:
    """Return the instruments that have a stop resting at their venue."""
    stops = {
        f"{row['coin']}-PERP.HYPERLIQUID"
        for row in ask_hyperliquid(hosted, "frontendOpenOrders")
        if row["isTrigger"] and row["reduceOnly"] and "Stop" in row["orderType"]
    }
    orders = ask_dydx(hosted, "orders")
    stops |= {
        f"{row['ticker'].partition('-')[0]}-PERP.DYDX"
        for row in orders
        if row["type"].startswith("STOP") and row["status"] == "UNTRIGGERED"
    }
    return stops


def sum_ledger_fills(house: PaperHouse) -> dict[str, Decimal]:
    sql = "SELECT instrument_id, side, fill_qty_lots FROM fills WHERE run = ?"
    sums: Counter[str] = Counter()
    for row in house.ask_ledger("query", sql, (house.run,)):
        sums[row["instrument_id"]] += row["side"] * row["fill_qty_lots"]
    return {name: lots_to_qty(LISTED[name], lots) for name, lots in sums.items() if lots}


def test_strategies_trade_at_two_venues_and_survive_the_death_of_who_trades(
    house: PaperHouse, hosted: HostedVenues
) -> None:
    wait_until(lambda: any(slot["qty_base"] for slot in house.get_status().governor["slots"]), "a position")
    kill_process(HYPERLIQUID)
    wait_until(lambda: count_live(house) >= 4, "four bars")
    kill_process(DYDX)
    wait_until(lambda: count_live(house) >= 7, "seven bars")
    kill_process(FEED)
    status = house.wait_done(DEADLINE_S)
    house.settle()

    # No order was sent twice: each id was noted once, and the venue saw each at most once.
    ids = [
        note.client_order_id for name in (HYPERLIQUID, DYDX) for note in read_notes(house, name)
        if isinstance(note, OrderRequest)
    ]  # fmt: skip
    assert len(ids) == len(set(ids)) > 4
    seen = Counter(
        row["order"]["cloid"] for row in ask_hyperliquid(hosted, "historicalOrders") if row["status"] == "open"
    )
    assert all(count == 1 for count in seen.values())

    # What the fills of the ledger make is what the venues hold; every position has its stop there, at both venues.
    wait_until(lambda: sum_ledger_fills(house) == list_venue_positions(hosted), "the ledger to agree with the venues")
    fills = house.ask_ledger("query", "SELECT instrument_id, fee_quote FROM fills WHERE run = ?", (house.run,))
    assert {row["instrument_id"].rpartition(".")[2] for row in fills} == {"HYPERLIQUID", "DYDX"}
    wait_until(lambda: set(list_venue_positions(hosted)) <= list_venue_stops(hosted), "a stop under every position")
    fees = sum(Decimal(row["fee"]) for row in ask_hyperliquid(hosted, "userFills"))
    ours = sum(Decimal(row["fee_quote"]) for row in fills if row["instrument_id"].endswith("HYPERLIQUID"))
    assert abs(fees - ours) <= Decimal("0.000001") * len(fills)
    assert {executor["name"] for executor in status.executors} == {HYPERLIQUID, DYDX}
    assert {name: sample([name])[name].restarts for name in (HYPERLIQUID, DYDX, FEED)} == {
        HYPERLIQUID: 1, DYDX: 1, FEED: 1,
    }  # fmt: skip
    assert len(house.list_bars()) >= BARS
    wrong = "SELECT text FROM alerts WHERE run = ? AND (key LIKE 'executor.position%' OR key LIKE 'executor.naked%')"
    assert house.ask_ledger("query", wrong, (house.run,)) == []


def test_the_command_starts_its_own_venues_and_ends_them(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        "strategies:\n- name: momentum_sar\n"
        "  params: {trend_bars: 12, atr_bars: 7, entry_bars_max: 96, trend_atr_min: -1}\n"
        "limits: {cooldown: {cooldown_s: 1.0}}\n"
    )
    out = tmp_path / "run"
    options = [
        "--venue",
        "hyperliquid",
        "--venue",
        "dydx",
        "--interval",
        INTERVAL,
        "--bars",
        "3",
        "--unpromoted",
        "--json",
    ]
    command = [sys.executable, "-m", "trireme", "paper", *options, "--config", str(settings), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    children: set[Any] = set()
    while process.poll() is None:
        children |= set(list_descendants(process.pid))
        time.sleep(0.2)
    printed, complaints = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, complaints
    told = json.loads(printed)
    assert (told["bars"], told["is_complete"]) == (3, True)
    assert Path(told["report"]).stat().st_size > 10_000
    keys = out / "keys.yaml"
    assert keys.stat().st_mode & 0o777 == 0o600
    for line in keys.read_text().splitlines():
        secret = line.partition(":")[2].strip().strip("'")
        assert len(secret) >= 64
        everything = [
            printed,
            complaints,
            *(path.read_text(errors="replace") for path in out.rglob("*") if path != keys and path.is_file()),
        ]
        assert not any(secret in text for text in everything), "a key has leaked"
    assert children
    assert not [child for child in children if is_alive(child)]
