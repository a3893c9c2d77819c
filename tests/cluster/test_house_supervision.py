"""A paper session whose actors are killed by the operating system, or given up by Ray: it mends itself."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from actors.market_feed.source import MarketSource
from actors.plan import Plan, StrategyPlan
from cluster.handles import call
from cluster.health import sample
from cluster.session import Session
from cluster.spawn import get_actor, kill
from market.fills import Costs
from risk.limits import LIMITS_DEFAULT
from strategies.catalog import parse_params
from sweeps.replay import replay
from trireme.house import FEED, GOVERNOR, HERALD, LEDGER, SUPERVISOR, PaperHouse, Status
from trireme.live_view import make_alert_lines
from trireme.session_result import read_session
from trireme.settings import SupervisorSettings

pytestmark = pytest.mark.ray

SOURCE = MarketSource(("BTC-PERP.HYPERLIQUID", "ETH-PERP.HYPERLIQUID"), seed=3, bars=300)
SUPERVISOR_SETTINGS = SupervisorSettings(period_s=0.1, backoff_s=0.1, silence_s=20.0)  # a busy machine is not silent
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
    deadline_s = time.monotonic() + 180.0
    while time.monotonic() < deadline_s:
        status = house.get_status()
        assert not status.failures
        feed = status.feed
        if (feed["ts_confirmed_ns"] - feed["ts_first_ns"]) // house.plan.interval_ns >= bars:
            return status
        time.sleep(0.02)
    raise AssertionError(f"not {bars} bars after 180 s: {status}")


def kill_process(name: str) -> None:
    pid = sample([name])[name].pid
    assert pid > 0
    os.kill(pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 180.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def is_running(name: str) -> bool:
    """Whether the supervisor is there and sees `name` at work."""
    try:
        phases = call(get_actor(SUPERVISOR), "get_status", timeout_s=30.0)["phases"]
    except ConnectionError:
        return False
    return bool(phases[name] == "running")


def check_alerts(house: PaperHouse, deaths: tuple[str, ...]) -> None:
    """Each death is told, in the ledger and on the live table, and so is each recovery, which may yet come.

    Between the two, where deaths overlap, a restart may fail for want of the ledger, and is told and tried again.
    """
    sql = "SELECT severity, text FROM alerts WHERE run = ? AND key = ? ORDER BY seq"

    def list_told(name: str) -> list[tuple[str, str]]:
        rows = house.ask_ledger("query", sql, (house.run, f"supervisor.{name}"))
        return [(row["severity"], row["text"]) for row in rows]

    recovered = {name: ("info", f"{name} runs again") for name in deaths}
    wait_until(lambda: all(list_told(name)[-1:] == [recovered[name]] for name in deaths))
    for name in deaths:
        assert list_told(name)[0] == ("critical", f"{name} was restarted by Ray: failure 1 of 5")
    assert house.ask_ledger("summarize")["alerts"]["critical"] >= len(deaths)
    shown = {alert["key"]: alert["text"] for alert in house.get_status().herald["alerts"]}
    assert shown == {f"supervisor.{name}": f"{name} runs again" for name in deaths}
    [line] = make_alert_lines(house.get_status())
    assert line.startswith("alerts: CRITICAL ")
    assert "executor runs again" in line


def test_a_session_survives_the_death_of_any_actor(house: PaperHouse, plan: Plan) -> None:
    deaths = (GOVERNOR, LEDGER, FEED, "executor")
    for bars, name in zip((30, 80, 130, 180), deaths, strict=True):
        wait_bars(house, bars)
        kill_process(name)
    house.wait_done(180.0)
    house.settle()
    market = SOURCE.load()
    session = read_session(lambda sql, args: house.ask_ledger("query", sql, args), house.run, plan, market)
    tested, _ = replay(market, plan.strategies[0].params, plan.limits, plan.costs, plan.equity_start_quote)
    assert np.array_equal(session.equity_quote, tested.equity_quote)
    assert np.array_equal(session.trades, tested.trades)
    assert len(tested.trades) > 0
    assert {sample([name])[name].restarts for name in deaths} == {1}
    check_alerts(house, deaths)
    house.acknowledge("*", "me")
    assert make_alert_lines(house.get_status()) == []

    # The session is over; the house still mends itself.
    kill_process(SUPERVISOR)
    wait_until(lambda: sample([SUPERVISOR])[SUPERVISOR].restarts == 1 and is_running(HERALD))
    [strategist] = house.strategists
    pid = sample([strategist])[strategist].pid
    kill(get_actor(strategist))  # for good, as far as Ray goes
    wait_until(lambda: sample([strategist])[strategist].pid not in (0, pid) and is_running(strategist))
    status = house.get_status()
    assert status.is_done
    assert not status.failures
    assert not status.away
