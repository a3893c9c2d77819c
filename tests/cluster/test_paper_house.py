"""A paper account on real Ray comes to the bits of the compiled replay, whoever is killed on the way."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from actors.in_process import InProcessHouse
from actors.journal import Role
from actors.ledger.projections import open_envelope
from actors.market_feed.source import MarketSource, iterate_closes
from actors.messages import EquityMarked, Message, decode
from actors.plan import Plan, StrategyPlan
from cluster.handles import call
from cluster.health import sample
from cluster.session import Session
from cluster.spawn import get_actor
from market.catalog import MarketData
from market.events import OrderRequest
from market.fills import Costs
from market.reasons import Reason
from risk.limits import LIMITS_DEFAULT, switch
from strategies.catalog import parse_params
from tests.parity.trace import Case, Outcome, find_difference, make_trace, merge_records, run_replay_side
from trireme.house import FEED, GOVERNOR, LEDGER, PaperHouse
from trireme.settings import SupervisorSettings

pytestmark = pytest.mark.ray

SOURCE = MarketSource(("BTC-PERP.BINANCE", "ETH-PERP.BINANCE"), seed=5, bars=900)
COSTS = Costs(5.0, 2.0, 1.0)
LIMITS = switch(LIMITS_DEFAULT, False, "reward_to_risk", "breaker", "kelly", "cooldown", "rate_limit")
FAST_SUPERVISOR = SupervisorSettings(period_s=0.1, backoff_s=0.1)
PARAMS = parse_params("momentum_sar", {"trend_bars": 12, "atr_bars": 7, "entry_bars_max": 96, "trend_atr_min": -1.0})
OTHER_PARAMS = parse_params("scalper", {"fast_bars": 4, "trend_bars": 12, "atr_bars": 7, "pullback_atr_min": 0.3})


@pytest.fixture(scope="module")
def market() -> MarketData:
    return SOURCE.load()


def make_plan(market: MarketData, *strategies: StrategyPlan) -> Plan:
    return Plan(market.instruments, strategies, LIMITS, COSTS, 100_000.0, market.interval_ns)


@pytest.fixture
def plan(market: MarketData) -> Plan:
    return make_plan(market, StrategyPlan("momentum_sar", PARAMS))


@pytest.fixture
def house(ray_session: Session, plan: Plan, tmp_path: Path) -> Iterator[PaperHouse]:
    house = PaperHouse(ray_session, plan, SOURCE, tmp_path, speed=0.0, supervisor=FAST_SUPERVISOR)
    try:
        house.start("bits", "test")
        yield house
    finally:
        house.stop("done")


def make_case(plan: Plan) -> Case:
    return Case(SOURCE.load(), plan.strategies[0].params, plan.limits, plan.costs, plan.equity_start_quote)


def read_notes(house: PaperHouse, name: str) -> list[Message]:
    records = house.ask_ledger("read_replay", name, house.run)
    return [decode(open_envelope(record.payload)) for record in records if record.role == Role.NOTE]


def read_outcome(house: PaperHouse) -> Outcome:
    """Return what the ledger tells of the account, and what money the governor counts."""
    house.settle()
    records = merge_records(read_notes(house, "executor"), read_notes(house, GOVERNOR), house.plan.interval_ns)
    governor = house.get_status().governor
    denials = np.zeros(max(Reason) + 1, np.int64)
    for name, count in governor["denials"].items():
        denials[Reason[name]] = count
    equity_quote = np.array([record.equity_quote for record in records if isinstance(record, EquityMarked)])
    trace = make_trace(records, house.plan)
    return Outcome(trace, equity_quote, denials, governor["fees_quote"], governor["funding_quote"])


def check_orders(house: PaperHouse) -> None:
    """No order was sent twice: each id was noted once, and every fill belongs to one."""
    ids = [note.client_order_id for note in read_notes(house, "executor") if isinstance(note, OrderRequest)]
    assert len(ids) == len(set(ids)) > 10
    fills = house.ask_ledger("query", "SELECT trade_id, client_order_id FROM fills WHERE run = ?", (house.run,))
    assert len(fills) > 10
    assert {row["client_order_id"] for row in fills} <= set(ids)


def kill_process(name: str) -> None:
    pid = sample([name])[name].pid
    assert pid > 0
    os.kill(pid, signal.SIGKILL)


def wait_bars(house: PaperHouse, bars: int) -> None:
    deadline_s = time.monotonic() + 180.0
    while time.monotonic() < deadline_s:
        feed = house.get_status().feed
        if (feed["ts_confirmed_ns"] - feed["ts_first_ns"]) // house.plan.interval_ns >= bars:
            return
        time.sleep(0.01)
    raise AssertionError(f"not {bars} bars after 180 s: {house.get_status()}")


def wait_back(name: str) -> None:
    """Wait until an actor that was killed is at work again."""
    deadline_s = time.monotonic() + 180.0
    while time.monotonic() < deadline_s:
        with contextlib.suppress(ConnectionError, TimeoutError):
            if sample([name])[name].restarts and call(get_actor(name), "get_status", timeout_s=10.0)["is_open"]:
                return
        time.sleep(0.05)
    raise AssertionError(f"{name} is not back after 180 s")


def test_an_unpaced_session_comes_to_the_bits_of_the_replay(house: PaperHouse, plan: Plan) -> None:
    house.wait_done(180.0)
    difference = find_difference(read_outcome(house), run_replay_side(make_case(plan)))
    assert not difference, difference
    check_orders(house)
    status = house.get_status()
    assert status.executors[0]["venue_equity_quote"] == status.governor["equity_quote"]
    for name in (*house.names, LEDGER):
        handle = get_actor(name)
        assert handle._ray_max_task_retries == 0  # a retry of Ray must never send an order twice
        assert {*handle._ray_method_max_task_retries.values()} <= {None, 0}
        shell = handle._ray_actor_creation_function_descriptor.class_name
        assert shell.endswith("Shell")


def test_order_path_actors_are_killed_again_and_again_at_full_speed(house: PaperHouse, plan: Plan) -> None:
    [strategist] = house.strategists
    wait_bars(house, 20)
    for name in (strategist, "executor", GOVERNOR, FEED):  # one after another: two at once may leave the house waiting
        kill_process(name)
        wait_back(name)
    house.wait_done(180.0)
    difference = find_difference(read_outcome(house), run_replay_side(make_case(plan)))
    assert not difference, difference
    check_orders(house)
    restarted = {name: sample([name])[name].restarts for name in house.names}
    assert restarted == dict.fromkeys(house.names, 1)


def test_two_strategies_agree_with_the_house_in_process(
    ray_session: Session, market: MarketData, tmp_path: Path
) -> None:
    strategies = (StrategyPlan("momentum_sar", PARAMS), StrategyPlan("scalper", OTHER_PARAMS))
    plan = make_plan(market, *strategies)
    in_process = InProcessHouse(plan)
    in_process.run(iterate_closes(market))
    expected = [record for record in in_process.records if isinstance(record, EquityMarked)]
    house = PaperHouse(ray_session, plan, SOURCE, tmp_path, speed=0.0, supervisor=FAST_SUPERVISOR)
    try:
        house.start("two", "test")
        house.wait_done(180.0)
        house.settle()
        assert [note for note in read_notes(house, GOVERNOR) if isinstance(note, EquityMarked)] == expected
        check_orders(house)
    finally:
        house.stop("done")
