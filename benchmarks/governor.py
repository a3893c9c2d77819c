"""How many decisions a second the governor makes: the whole machine, one kernel call from Python, and compiled.

The machine takes its messages (bars, account update, the strategists' decisions) as recorded from an account run in
process: two strategies over two instruments, every rule on. A decision is one slot governed at one close: booking its
fills, moving its stop, deciding its wish, sealing its approval. Floor: an empty kernel called from Python.

Run: python -m benchmarks.governor [--bars 4000]. One core; compile time not counted.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from market.kernel_cache import set_kernel_cache

set_kernel_cache()  # numba reads it when it is imported

from numba import njit  # noqa: E402

from actors.governor.machine import GovernorMachine  # noqa: E402
from actors.in_process import GOVERNOR, InProcessHouse  # noqa: E402
from actors.market_feed.source import iterate_closes  # noqa: E402
from actors.messages import Message, SlotDecided  # noqa: E402
from actors.plan import Plan, StrategyPlan  # noqa: E402
from market.fills import Costs  # noqa: E402
from market.generator import generate_market  # noqa: E402
from market.reasons import Reason  # noqa: E402
from market.records import NS_PER_S, Action, Intent  # noqa: E402
from risk.desk import Desk, compute_equity_quote, decide_slot, make_desk, mark_desk  # noqa: E402
from risk.limits import LIMITS_DEFAULT  # noqa: E402
from strategies.catalog import STRATEGIES  # noqa: E402

INSTRUMENTS = ("BTC-PERP.BINANCE", "ETH-PERP.BINANCE")
NAMES = ("momentum_sar", "scalper")
REPEATS = 5
TS_NS = 1_700_000_000 * NS_PER_S
REWARD_TO_RISK = Reason.REWARD_TO_RISK.value
INTENT = Intent(Action.TARGET.value, 0.5, 200.0, 0.0, Reason.ENTRY_SIGNAL.value)


@njit
def _answer(desk: Desk, slot: int, intent: Intent, quality: int, ts_now_ns: int) -> Intent:
    # What a call with these arguments and a record for an answer costs when nothing is decided.
    return intent


@njit
def _loop(desk: Desk, intent: Intent, count: int, ts_now_ns: int) -> int:
    # The denials of a strategy that wishes at each close, as in a replay; closes are a second apart.
    denied = 0
    for close in range(count):
        denied += decide_slot(desk, 0, intent, 0, ts_now_ns + close * NS_PER_S).denial == REWARD_TO_RISK
    assert denied == count
    return denied


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, default=4000)
    bars = parser.parse_args().bars
    plan, inbox, orders = record_inbox(bars)
    slots = len(plan.make_specs())
    print(f"{slots} slots, {bars:,} closes of 15 min, {orders:,} legs approved; one core\n")
    print(f"{'':52}{'decisions/s':>14}{'us each':>10}")
    seconds = time_best(lambda: govern(plan, inbox))
    print_row(f"governor machine ({seconds / bars * 1e6:.0f} us a close)", seconds / (bars * slots))
    print_row("one decision from Python, a denial", time_call(decide_slot, make_denying_desk(plan)))
    print_row("  an empty kernel with the same arguments", time_call(_answer, make_denying_desk(plan)))
    count = 200_000
    starts = iter(range(1, 10**9, count))
    desk = make_denying_desk(plan)
    _loop(desk, INTENT, 1, TS_NS)
    seconds = time_best(lambda: _loop(desk, INTENT, count, TS_NS + next(starts) * NS_PER_S))
    print_row("the same in a compiled loop", seconds / count)


def record_inbox(bars: int) -> tuple[Plan, list[Message], int]:
    """Run the account once and return its plan, the governor's messages in order, and how many legs it approved."""
    market = generate_market(1, INSTRUMENTS, bars)
    plan = Plan(
        instruments=market.instruments,
        strategies=tuple(StrategyPlan(name, STRATEGIES[name].defaults) for name in NAMES),
        limits=LIMITS_DEFAULT,
        costs=Costs(4.5, 1.5, 1.0),
        equity_start_quote=100_000.0,
        interval_ns=market.interval_ns,
    )
    house, inbox = InProcessHouse(plan), list[Message]()
    take = house.governor.handle

    def note(event: Message, ts_now_ns: int) -> Any:
        inbox.append(event)
        return take(event, ts_now_ns)

    house.machines[GOVERNOR].handle = note
    house.run(iterate_closes(market))
    decided = [record for record in house.records if isinstance(record, SlotDecided)]
    legs = sum((record.entry_lots != 0) + (record.reduce_lots != 0) for record in decided)
    return plan, inbox, legs


def govern(plan: Plan, inbox: list[Message]) -> None:
    """Give a new governor every message."""
    machine = GovernorMachine(plan, 1)
    for event in inbox:
        machine.handle(event, 0)


def make_denying_desk(plan: Plan) -> Desk:
    """Return a desk whose first strategy has lost too often."""
    desk = make_desk(plan.make_specs(), len(plan.strategies), plan.equity_start_quote, plan.limits)
    desk.slots["mark_px"] = 50_000.0
    mark_desk(desk, compute_equity_quote(desk), TS_NS)
    desk.strategies["risk"]["losses_weight"] = desk.strategies["risk"]["loss_r_sum"] = 1e6
    desk.strategies["risk"]["ts_evidence_ns"] = TS_NS
    return desk


def time_call(kernel: Callable[..., object], desk: Desk) -> float:
    """Return the seconds of one call from Python."""
    count = 20_000

    def call_all() -> None:
        for close in range(count):
            kernel(desk, 0, INTENT, 0, TS_NS + close * 900 * NS_PER_S)

    kernel(desk, 0, INTENT, 0, TS_NS)
    return time_best(call_all) / count


def time_best(call: Callable[[], object]) -> float:
    """Return the seconds of the fastest of some calls."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.min(seconds))


def print_row(label: str, seconds: float) -> None:
    """Print one row of the table."""
    print(f"{label:52}{1.0 / seconds:14,.0f}{seconds * 1e6:10.2f}")


if __name__ == "__main__":
    main()
