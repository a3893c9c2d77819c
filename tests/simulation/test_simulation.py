"""Whatever the interleaving and whoever dies, the account comes to the same bits.

A failing seed is its own repro: `pytest "tests/simulation/test_simulation.py::test_...[<seed>]"`.
"""

import functools
from typing import Any

import numpy as np
import pytest

from actors.executor.machine import ExecutorMachine, SubmitOrders
from actors.in_process import InProcessHouse
from actors.inlet import Inlet
from actors.market_feed.source import iterate_closes
from actors.messages import EquityMarked, Message, VenueReported
from actors.plan import Plan, StrategyPlan
from market.events import OrderRequest
from risk.limits import LIMITS_DEFAULT, switch
from tests.parity.cases import make_case, make_params
from tests.parity.trace import Case, Outcome, find_difference, make_trace, run_replay_side
from tests.simulation.world import Chances, World

BARS = 120
ROUGH = Chances(death=0.008, lost_answer=0.2)
OPEN = switch(LIMITS_DEFAULT, False, "reward_to_risk", "breaker", "kelly", "cooldown", "daily_loss")


@functools.cache
def make_small_case(seed: int) -> Case:
    """Return one of a few cases that trade; schedules are many, accounts few."""
    case = make_case(seed, ("signals", "momentum_sar", "scalper")[seed % 3], BARS)
    return Case(case.market, case.params, OPEN if seed % 2 else case.limits, case.costs, 100_000.0)


def read_world(world: World) -> Outcome:
    """Return what a world came to."""
    records = world.list_records()
    desk = world.nodes["governor"].machine.desk
    equity_quote = np.array([record.equity_quote for record in records if isinstance(record, EquityMarked)])
    return Outcome(
        make_trace(records, world.plan),
        equity_quote,
        desk.denials,
        float(desk.money_quote[1]),
        float(desk.money_quote[2]),
    )


def run_world(case: Case, seed: int, chances: Chances) -> World:
    world = World(case.make_plan(), case.market, seed, chances)
    world.run()
    assert world.checks > 5 * BARS
    ids = [request.client_order_id for request in world.list_requests()]
    assert len(ids) == len(set(ids))
    return world


@pytest.mark.parametrize("seed", range(30))
def test_any_interleaving_comes_to_the_replay(seed: int) -> None:
    case = make_small_case(seed % 6)
    world = run_world(case, seed, Chances())
    difference = find_difference(read_world(world), run_replay_side(case))
    assert not difference, difference


@pytest.mark.parametrize("seed", range(60))
def test_deaths_and_lost_answers_change_nothing(seed: int) -> None:
    case = make_small_case(seed % 6)
    world = run_world(case, seed, ROUGH)
    difference = find_difference(read_world(world), run_replay_side(case))
    assert not difference, difference


@pytest.mark.parametrize("seed", range(24))
def test_orders_that_never_arrived_are_never_sent_again(seed: int) -> None:
    world = run_world(
        make_small_case(1 + 2 * (seed % 3)), seed, Chances(death=0.004, lost_answer=0.1, lost_request=0.3)
    )
    records = world.list_records()
    equity_quote = [record.equity_quote for record in records if isinstance(record, EquityMarked)]
    assert len(equity_quote) == BARS
    assert np.isfinite(equity_quote).all()


@pytest.mark.parametrize("seed", range(10))
def test_two_strategies_come_to_the_same_whatever_the_interleaving(seed: int) -> None:
    case = make_small_case(1)
    random = np.random.default_rng(7)
    plan = Plan(
        instruments=case.market.instruments,
        strategies=tuple(StrategyPlan(name, make_params(random, name, 1.0)) for name in ("signals", "momentum_sar")),
        limits=OPEN,
        costs=case.costs,
        equity_start_quote=100_000.0,
        interval_ns=case.market.interval_ns,
    )
    house = InProcessHouse(plan)
    house.run(iterate_closes(case.market))
    expected = [(r.ts_close_ns, r.equity_quote, r.cash_quote, r.latch, r.denials_total) for r in marks(house.records)]
    world = World(plan, case.market, seed, Chances(death=0.004, lost_answer=0.1))
    world.run()
    got = [(r.ts_close_ns, r.equity_quote, r.cash_quote, r.latch, r.denials_total) for r in marks(world.list_records())]
    assert got == expected
    assert len({request.cause_id for request in world.list_requests()}) > 3


def marks(records: list[Message]) -> list[EquityMarked]:
    return [record for record in records if isinstance(record, EquityMarked)]


def test_the_schedules_are_as_rough_as_they_claim() -> None:
    worlds = [run_world(make_small_case(seed % 6), seed, ROUGH) for seed in range(6)]
    assert sum(world.deaths for world in worlds) > 10
    assert sum(world.unknowns for world in worlds) > 10
    assert sum(len(world.list_requests()) for world in worlds) > 100


class KeepEverything(Inlet[Any]):
    """Takes a repeat for news."""

    def offer(self, message: Any) -> None:
        self._messages.append(message)


class Resender(ExecutorMachine):
    """Sends again what was not answered."""

    requests: tuple[OrderRequest, ...] = ()

    def handle(self, event: Message, ts_now_ns: int) -> list[Any]:
        instructions = super().handle(event, ts_now_ns)
        if isinstance(event, VenueReported) and event.unknown_ids:
            return [SubmitOrders(self.requests)]
        for instruction in instructions:
            if isinstance(instruction, SubmitOrders):
                self.requests = instruction.requests
        return instructions


class Impatient(ExecutorMachine):
    """Leaves a position naked: its stops never reach the venue."""

    def handle(self, event: Message, ts_now_ns: int) -> list[Any]:
        return [
            SubmitOrders(instruction.requests[:1]) if isinstance(instruction, SubmitOrders) else instruction
            for instruction in super().handle(event, ts_now_ns)
        ]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("actors.governor.machine.Inlet", KeepEverything), ("actors.strategist.machine.Inlet", KeepEverything)],
)
def test_a_machine_that_takes_repeats_for_news_is_caught(
    name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name, wrong)
    assert count_failures(6)


@pytest.mark.parametrize("wrong", [Resender, Impatient])
def test_an_executor_that_sends_twice_or_not_at_all_is_caught(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simulation.world.ExecutorMachine", wrong)
    assert count_failures(6)


def count_failures(seeds: int) -> int:
    failures = 0
    for seed in range(seeds):
        case = make_small_case(seed % 6)
        try:
            world = run_world(case, seed, ROUGH)
            failures += bool(find_difference(read_world(world), run_replay_side(case)))
        except AssertionError:
            failures += 1
    return failures
