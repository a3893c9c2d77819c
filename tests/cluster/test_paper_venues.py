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
    with HostedVenues(bar_interval=INTERVAL, accounts=2) as venues:
        yield venues


class Stage:
    """A house on one account of each venue, and those accounts as the venues themselves tell of them."""

    def __init__(self, session: Session, hosted: HostedVenues, directory: Path, index: int) -> None:
        self.hosted = hosted
        self.accounts = {name: hosted[name].accounts[index] for name in ("hyperliquid", "dydx")}
        keys = directory / "keys.yaml"
        with replacing(keys) as path:
            path.touch(mode=0o600)
            path.write_text("".join(f'{name}: "{one.private_key}"\n' for name, one in self.accounts.items()))
        connections = tuple(
            VenueConnection(name, hosted[name].endpoints, key=f"file:{keys}#{name}", address=one.address)
            for name, one in self.accounts.items()
        )
        plan = Plan(
            tuple(LISTED[name] for name in TRADED),
            (StrategyPlan("momentum_sar", PARAMS),),
            LIMITS,
            Costs(5.0, 2.0, 1.0),
            200_000.0,
            5 * NS_PER_S,
            accounts=(VenueAccount("hyperliquid", (0, 1)), VenueAccount("dydx", (2, 3))),
        )
        source = VenueSource(VenueConnection("binance", hosted["binance"].endpoints), DATA, 5 * NS_PER_S, 100, BARS)
        self.house = PaperHouse(session, plan, source, directory, supervisor=PATIENT, connections=connections)

    def ask_hyperliquid(self, kind: str) -> Any:
        """Ask about the account at Hyperliquid."""
        question = {"type": kind, "user": self.accounts["hyperliquid"].address}
        return post(f"{self.hosted['hyperliquid'].endpoints.http}/info", question)

    def ask_dydx(self, path: str) -> Any:
        """Ask about the account at dYdX."""
        where = f"address={self.accounts['dydx'].address}&subaccountNumber=0"
        with urllib.request.urlopen(f"{self.hosted['dydx'].endpoints.http}/v4/{path}?{where}", timeout=30) as answer:
            return json.load(answer)

    def switch(self, venue: str, **fault: Any) -> None:
        """Turn a fault on."""
        post(self.hosted[venue].control, {"on": [{"venue": venue, **fault}]})

    def count_live(self) -> int:
        """Return how many bars have been governed."""
        status = self.house.get_status()
        assert not status.failures
        done_ns = status.feed["ts_confirmed_ns"] - status.feed["ts_first_ns"]
        return int(done_ns // self.house.plan.interval_ns) if status.feed["ts_first_ns"] else 0

    def list_positions(self) -> dict[str, Decimal]:
        """Return the signed size of every open position, as the venues say it."""
        sizes = {}
        for row in self.ask_hyperliquid("clearinghouseState")["assetPositions"]:
            sizes[f"{row['position']['coin']}-PERP.HYPERLIQUID"] = Decimal(row["position"]["szi"])
        for row in self.ask_dydx("perpetualPositions")["positions"]:
            if row["status"] == "OPEN":
                sizes[f"{row['market'].partition('-')[0]}-PERP.DYDX"] = Decimal(row["size"])
        return sizes

    def list_stops(self) -> set[str]:
        """Return the instruments that have a stop resting at their venue."""
        stops = {
            f"{row['coin']}-PERP.HYPERLIQUID"
            for row in self.ask_hyperliquid("frontendOpenOrders")
            if row["isTrigger"] and row["reduceOnly"] and "Stop" in row["orderType"]
        }
        return stops | {
            f"{row['ticker'].partition('-')[0]}-PERP.DYDX"
            for row in self.ask_dydx("orders")
            if row["type"].startswith("STOP") and row["status"] == "UNTRIGGERED"
        }

    def read_notes(self, name: str) -> list[Message]:
        """Return what an actor noted in the ledger."""
        records = self.house.ask_ledger("read_replay", name, self.house.run)
        return [decode(open_envelope(record.payload)) for record in records if record.role == Role.NOTE]

    def list_fills(self) -> list[dict[str, Any]]:
        """Return the fills of the ledger."""
        rows: list[dict[str, Any]] = self.house.ask_ledger(
            "query", "SELECT * FROM fills WHERE run = ?", (self.house.run,)
        )
        return rows

    def sum_fills(self) -> dict[str, Decimal]:
        """Return the positions that the ledger's fills make."""
        sums: Counter[str] = Counter()
        for row in self.list_fills():
            sums[row["instrument_id"]] += row["side"] * row["fill_qty_lots"]
        return {name: lots_to_qty(LISTED[name], lots) for name, lots in sums.items() if lots}

    def check(self) -> None:
        """The ledger and the venues tell the same story, and every position has its stop."""
        self.house.settle()
        # No order was sent twice: each id was noted once, and the venue saw each at most once.
        notes = [note for name in (HYPERLIQUID, DYDX) for note in self.read_notes(name)]
        ids = [note.client_order_id for note in notes if isinstance(note, OrderRequest)]
        assert len(ids) == len(set(ids)) >= 4
        opened = [row for row in self.ask_hyperliquid("historicalOrders") if row["status"] == "open"]
        seen = Counter(row["order"]["cloid"] for row in opened)
        assert all(count == 1 for count in seen.values()), seen
        # What the fills of the ledger make is what the venues hold; a stop rests under each position.
        wait_until(lambda: self.sum_fills() == self.list_positions(), "the ledger to agree with the venues")
        wait_until(lambda: set(self.list_positions()) <= self.list_stops(), "a stop under every position")
        fills = self.list_fills()
        assert {row["instrument_id"].rpartition(".")[2] for row in fills} == {"HYPERLIQUID", "DYDX"}
        ours = [Decimal(row["fee_quote"]) for row in fills if row["instrument_id"].endswith("HYPERLIQUID")]
        theirs = [Decimal(row["fee"]) for row in self.ask_hyperliquid("userFills")]
        assert len(ours) == len(theirs)
        assert abs(sum(ours) - sum(theirs)) <= Decimal("0.000001") * len(fills)
        assert len(self.house.list_bars()) >= BARS


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, ray_session: Session, hosted: HostedVenues, tmp_path: Path
) -> Iterator[Stage]:
    stage = Stage(ray_session, hosted, tmp_path, request.param)
    try:
        stage.house.start("venues", "test")
        yield stage
    finally:
        stage.house.stop("done")


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.1)


def kill_process(name: str) -> None:
    pid = sample([name])[name].pid
    assert pid > 0
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("stage", [0], indirect=True)
def test_strategies_trade_at_two_venues_and_survive_the_death_of_who_trades(stage: Stage) -> None:
    house = stage.house
    wait_until(lambda: any(slot["qty_base"] for slot in house.get_status().governor["slots"]), "a position")
    kill_process(HYPERLIQUID)
    wait_until(lambda: stage.count_live() >= 4, "four bars")
    kill_process(DYDX)
    wait_until(lambda: stage.count_live() >= 7, "seven bars")
    kill_process(FEED)
    status = house.wait_done(DEADLINE_S)
    stage.check()
    assert {executor["name"] for executor in status.executors} == {HYPERLIQUID, DYDX}
    restarts = {name: sample([name])[name].restarts for name in (HYPERLIQUID, DYDX, FEED)}
    assert restarts == {HYPERLIQUID: 1, DYDX: 1, FEED: 1}


@pytest.mark.parametrize("stage", [1], indirect=True)
def test_a_session_goes_on_through_lost_replies_and_silent_sockets(stage: Stage) -> None:
    house = stage.house
    stage.switch("hyperliquid", fault="reply_lost", on="order", next_n=2)
    stage.switch("dydx", fault="reply_lost", next_n=1)
    wait_until(lambda: any(slot["qty_base"] for slot in house.get_status().governor["slots"]), "a position")
    stage.switch("dydx", fault="half_open", for_ms=8_000)
    stage.switch("binance", fault="connection_close", next_n=2)
    wait_until(lambda: stage.count_live() >= 5, "five bars")
    stage.switch("hyperliquid", fault="connection_close", next_n=2)
    stage.switch("hyperliquid", fault="http_status_after", on="order", next_n=1)
    house.wait_done(DEADLINE_S)
    stage.check()


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
