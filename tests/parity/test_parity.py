"""What trades is what was tested: the live machines and the compiled replay agree on every step, to the bit."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.in_process import InProcessHouse
from market.events import FillKind
from market.reasons import Reason
from market.records import NS_PER_DAY
from risk.estimate import Prior
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE
from strategies.catalog import STRATEGIES
from sweeps.tape import TRACE_DECISION, TRACE_FILL, TRACE_FUNDING, TRACE_STOP_MOVE
from tests.parity.cases import make_case
from tests.parity.trace import Case, Outcome, find_difference, run_live_side, run_replay_side

SEEDS_FIXED = range(60)  # what these cases reach together is counted in test_the_fixed_cases_reach


def check_parity(case: Case) -> Outcome:
    """Fail unless both sides agree; return what they agree on."""
    replayed = run_replay_side(case)
    difference = find_difference(run_live_side(case), replayed)
    assert not difference, difference
    return replayed


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32 - 1))
@example(seed=101)  # a missing bar lies beyond a stop that was moved at the close before it
@example(seed=163)
def test_random_accounts_agree(seed: int) -> None:
    check_parity(make_case(seed))


def test_the_fixed_cases_reach_every_kind_of_step() -> None:
    kinds: Counter[tuple[int, int]] = Counter()
    denials = np.zeros(max(Reason) + 1, np.int64)
    for seed in SEEDS_FIXED:
        outcome = check_parity(make_case(seed))
        denials += outcome.denials
        for kind, reason in outcome.trace[["kind", "reason"]].tolist():
            kinds[kind, reason if kind == TRACE_FILL else 0] += 1
    assert set(kinds) == {
        (TRACE_FUNDING, 0),
        (TRACE_DECISION, 0),
        (TRACE_STOP_MOVE, 0),
        *((TRACE_FILL, kind.value) for kind in FillKind),
    }
    assert {Reason(reason) for reason in np.flatnonzero(denials)} >= {
        Reason.DATA_QUALITY,
        Reason.DAILY_LOSS,
        Reason.COOLDOWN,
        Reason.NO_STOP,
        Reason.POSITIONS_TOO_MANY,
        Reason.POSITION_OPEN,
        Reason.ORDER_IN_FLIGHT,
        Reason.BELOW_MINIMUM_SIZE,
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("limits", [LIMITS_DEFAULT, LIMITS_NONE], ids=["guarded", "unguarded"])
def test_every_strategy_trades_and_agrees(strategy: str, limits: object) -> None:
    fills = 0
    for seed in range(3):
        case = make_case(1000 + seed, strategy, bars=400)
        outcome = check_parity(Case(case.market, case.params, limits, case.costs, 50_000.0))  # type: ignore[arg-type]
        fills += int((outcome.trace["kind"] == TRACE_FILL).sum())
    assert fills > 0


@pytest.mark.parametrize("seed", [1000, 1001])
def test_a_promoted_prior_is_the_one_that_is_replayed(seed: int) -> None:
    prior = Prior(100.0, 0.6, 1.5, 1.0)
    case = make_case(seed, "momentum_sar", bars=400)
    promoted = replace(case, limits=LIMITS_DEFAULT._replace(prior=prior))
    plan = replace(case, limits=LIMITS_DEFAULT).make_plan()
    plan = replace(plan, strategies=(replace(plan.strategies[0], prior=prior),))
    replayed = run_replay_side(promoted)
    difference = find_difference(run_live_side(promoted, InProcessHouse(plan)), replayed)
    assert not difference, difference
    unpromoted = run_replay_side(replace(case, limits=LIMITS_DEFAULT))
    assert find_difference(unpromoted, replayed)


def find_case(is_wanted: Callable[[Case, Outcome], bool]) -> Outcome:
    for seed in range(400):
        case = make_case(seed)
        outcome = run_replay_side(case)
        if is_wanted(case, outcome):
            assert not find_difference(run_live_side(case), outcome)
            return outcome
    raise AssertionError("no such case among 400")


def test_a_daily_loss_closes_everything_and_stays_latched_over_the_day() -> None:
    outcome = find_case(
        lambda case, outcome: (
            outcome.denials[Reason.DAILY_LOSS] > 20
            and case.market.bars.shape[0] > 1
            and bool((outcome.trace["kind"] == TRACE_FILL).sum() > 10)
        )
    )
    denied = outcome.trace[outcome.trace["denial"] == Reason.DAILY_LOSS]
    assert denied["ts_ns"][-1] // NS_PER_DAY > denied["ts_ns"][0] // NS_PER_DAY
    entered = outcome.trace[(outcome.trace["kind"] == TRACE_DECISION) & (outcome.trace["qty_lots"] != 0)]
    assert entered["ts_ns"].max() < denied["ts_ns"][0]


def test_a_liquidated_account_agrees_to_its_end() -> None:
    def is_liquidated(case: Case, outcome: Outcome) -> bool:
        fills = outcome.trace[outcome.trace["kind"] == TRACE_FILL]
        return FillKind.LIQUIDATION.value in fills["reason"]

    assert find_case(is_liquidated).equity_quote[-1] < 10.0**6


@pytest.mark.parametrize("seed", [0, 4, 7, 9])
def test_a_trace_changes_nothing(seed: int) -> None:
    case = make_case(seed)
    traced, untraced = run_replay_side(case), run_replay_side(case, trace_rows_max=0)
    assert len(untraced.trace) == 0
    assert len(traced.trace) > 0
    without_trace = Outcome(
        untraced.trace, traced.equity_quote, traced.denials, traced.fees_quote, traced.funding_quote
    )
    assert not find_difference(without_trace, untraced)


def compute_digest(seeds: range) -> str:
    """Return a hash of both sides' bytes."""
    digest = hashlib.sha256()
    for seed in seeds:
        case = make_case(seed, bars=200)
        for outcome in (run_replay_side(case), run_live_side(case)):
            money = np.array([outcome.fees_quote, outcome.funding_quote])
            for array in (outcome.trace, outcome.equity_quote, outcome.denials, money):
                digest.update(array.tobytes())
    return digest.hexdigest()


def test_a_fresh_process_gives_the_same_bytes() -> None:
    program = (
        "from market.kernel_cache import set_kernel_cache; set_kernel_cache();"
        "from tests.parity.test_parity import compute_digest; print(compute_digest(range(4)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "17"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == compute_digest(range(4))
