"""A paper session whose actors are killed by the operating system, or given up by Ray: it mends itself."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from actors.market_feed.source import MarketSource
from actors.plan import Plan, StrategyPlan
from cluster.handles import call
from cluster.health import Liveness, sample
from cluster.session import Session
from cluster.spawn import get_actor, kill
from market.fills import Costs
from risk.limits import LIMITS_DEFAULT
from strategies.catalog import parse_params
from sweeps.replay import replay
from trireme.house import EXECUTOR, FEED, GOVERNOR, HERALD, LEDGER, SUPERVISOR, PaperHouse, Status
from trireme.live_view import make_alert_lines
from trireme.session_result import read_session
from trireme.settings import SupervisorSettings

pytestmark = pytest.mark.ray

SOURCE = MarketSource(("BTC-PERP.HYPERLIQUID", "ETH-PERP.HYPERLIQUID"), seed=3, bars=300)
SUPERVISOR_SETTINGS = SupervisorSettings(period_s=0.1, backoff_s=0.1)
BARS_PER_S = 60


@pytest.fixture(scope="module")
def plan() -> Plan:
    market = SOURCE.load()
    strategy = StrategyPlan("scalper", parse_params("scalper", {}))
    costs = Costs(4.5, 1.5, 1.0)
    return Plan(market.instruments, (strategy,), LIMITS_DEFAULT, costs, 100_000.0, market.interval_ns)


@pytest.fixture
def house(ray_session: Session, plan: Plan, tmp_path: Path) -> Iterator[PaperHouse]:
    speed = BARS_PER_S * plan.interval_ns / 1e9
    house = PaperHouse(ray_session, plan, SOURCE, tmp_path, speed, supervisor=SUPERVISOR_SETTINGS)
    try:
        house.start("killed", "test")
        yield house
    finally:
        house.stop("done")


def wait_bars(house: PaperHouse, bars: int) -> Status:
    deadline_s = time.monotonic() + 60.0
    while time.monotonic() < deadline_s:
        status = house.get_status()
        assert not status.failures
        feed = status.feed
        if (feed["ts_confirmed_ns"] - feed["ts_first_ns"]) // house.plan.interval_ns >= bars:
            return status
        time.sleep(0.02)
    raise AssertionError(f"not {bars} bars after 60 s: {status}")


def kill_process(name: str) -> None:
    os.kill(sample([name])[name].pid, signal.SIGKILL)


def wait_running(name: str) -> None:
    deadline_s = time.monotonic() + 60.0
    while call(get_actor(SUPERVISOR), "get_status", timeout_s=30.0)["phases"][name] != "running":
        assert time.monotonic() < deadline_s, name
        time.sleep(0.05)


def test_a_session_survives_the_death_of_any_actor(house: PaperHouse, plan: Plan) -> None:
    deaths = (GOVERNOR, LEDGER, FEED, EXECUTOR)
    for bars, name in zip((30, 80, 130, 180), deaths, strict=True):
        wait_bars(house, bars)
        kill_process(name)
    house.wait_done(60.0)
    house.settle()
    market = SOURCE.load()
    session = read_session(lambda sql, args: house.ask_ledger("query", sql, args), house.run, plan, market)
    tested, _ = replay(market, plan.strategies[0].params, plan.limits, plan.costs, plan.equity_start_quote)
    assert np.array_equal(session.equity_quote, tested.equity_quote)
    assert np.array_equal(session.trades, tested.trades)
    assert len(tested.trades) > 0
    assert {sample([name])[name].restarts for name in deaths} == {1}
    rows = house.ask_ledger("query", "SELECT key, severity, text FROM alerts WHERE run = ? ORDER BY seq", (house.run,))
    for name in deaths:
        told = [(row["severity"], row["text"]) for row in rows if row["key"] == f"supervisor.{name}"]
        assert ("critical", f"{name} was restarted by Ray: failure 1 of 5") in told, rows
        assert ("info", f"{name} runs again") in told, rows
    assert house.ask_ledger("summarize")["alerts"] == {"critical": len(deaths), "info": len(deaths)}
    shown = [alert["key"] for alert in house.get_status().herald["alerts"]]
    assert shown == [f"supervisor.{name}" for name in reversed(deaths)]
    [line] = make_alert_lines(house.get_status())
    assert line.startswith(f"alerts: CRITICAL {EXECUTOR} runs again (2 times); ")
    house.acknowledge("*", "me")
    assert make_alert_lines(house.get_status()) == []

    # The session is over; the house still mends itself.
    kill_process(SUPERVISOR)
    while sample([SUPERVISOR])[SUPERVISOR].restarts != 1 or not _is_open(SUPERVISOR):
        time.sleep(0.05)
    wait_running(HERALD)
    [strategist] = house.strategists
    kill(get_actor(strategist))  # for good, as far as Ray goes
    while sample([strategist])[strategist].liveness is not Liveness.DEAD:
        time.sleep(0.01)
    while SUPERVISOR in house.get_status().away or strategist in house.get_status().away:
        time.sleep(0.05)
    wait_running(strategist)
    assert house.get_status().is_done
    assert not house.get_status().failures


def _is_open(name: str) -> bool:
    try:
        return bool(call(get_actor(name), "get_status", timeout_s=5.0)["is_open"])
    except ConnectionError:
        return False
