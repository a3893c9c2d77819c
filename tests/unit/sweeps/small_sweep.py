"""A small sweep for tests: two rounds over two months of generated bars, run in this process, in any order."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np

from market.catalog import MarketData
from market.fills import Costs
from market.generator import generate_market
from risk.limits import LIMITS_DEFAULT, Limits
from strategies.catalog import parse_params
from sweeps.case import Case, describe_identity, make_case
from sweeps.conclusion import conclude
from sweeps.rounds import Cost, Schedule
from sweeps.search.space import Axis, SearchSpace
from sweeps.spec import Constraints, DataSource, RoundSpec, Significance, SweepSpec, WalkForward
from sweeps.store import SweepStore
from sweeps.summary import SweepSummary
from sweeps.summary_file import write_summary

BARS = 6_000
EQUITY_START_QUOTE = 10_000.0
COSTS = Costs(4.5, 1.5, 1.0)
AXES = (
    Axis("trend_bars", True, True, values=(48.0, 96.0)),
    Axis("stop_atr", False, True, values=(2.0, 3.0, 4.0)),
    Axis("trend_atr_min", False, False, values=(0.0, 0.5, 1.0, 1.5)),
)
ROUNDS = (RoundSpec("coarse"), RoundSpec("refined", points={"stop_atr": 4, "trend_atr_min": 3}, support_frac=0.3))
EASY = Constraints(trades_min=1, drawdown_frac_max=0.9, sharpe_min=-20.0, win_rate_frac_min=0.0)
WALK_FORWARD = WalkForward(folds=2, purge_bars=10, embargo_bars=10, sharpe_min=-50.0, folds_positive_frac_min=0.0)


def make_small_market(n_bars: int = BARS, seed: int = 1) -> MarketData:
    """Return bars of one instrument."""
    return generate_market(seed, ["BTC-PERP.BINANCE"], n_bars)


def make_space(*axes: Axis) -> SearchSpace:
    """Return a space of `momentum_sar`."""
    return SearchSpace(parse_params("momentum_sar", {}), axes or AXES)


def make_spec(**changes: Any) -> SweepSpec:
    """Return a sweep of `momentum_sar`: 24 configurations, then 2 x 4 x 3 of their best region."""
    spec = SweepSpec(
        make_space(),
        DataSource(("BTC-PERP.BINANCE",), seed=1, bars=BARS),
        ROUNDS,
        constraints=EASY,
        walk_forward=WALK_FORWARD,
        significance=Significance(bootstraps=100, cscv_blocks=8),
        seed=5,
    )
    return dataclasses.replace(spec, **changes)


def make_small_case(
    spec: SweepSpec | None = None, market: MarketData | None = None, limits: Limits = LIMITS_DEFAULT
) -> Case:
    """Return the case with the costs and the equity of these tests."""
    return make_case(spec or make_spec(), market or make_small_market(), limits, COSTS, EQUITY_START_QUOTE)


def run_in_process(case: Case, directory: Path, seed: int = 0, pieces_max: int = 10**9) -> SweepSummary | None:
    """Run a sweep, or go on with one, giving back pieces in a random order; None if stopped after `pieces_max`."""
    store = SweepStore(directory)
    if directory.exists():
        store.resume(describe_identity(case))
    else:
        store.begin(describe_identity(case), "spec: of a test\n")
    schedule, draw, under_way = Schedule(case.spec, case.work, store, 2, Cost(0.001, 0.002)), random.Random(seed), []
    while (current := schedule.current) is not None:
        while len(under_way) < 3 and (piece := schedule.next_piece()) is not None:
            under_way.append(piece)
        if pieces_max <= 0:
            return None
        piece = under_way.pop(draw.randrange(len(under_way)))
        rows, _, _ = current.work.evaluate(case.work, piece)
        current.store.write_chunk(piece.chunk, rows)
        schedule.finish_piece(piece)
        pieces_max -= 1
    summary, _ = conclude(case, store, schedule.summaries)
    write_summary(directory, summary)
    return summary


def read_files(directory: Path) -> dict[str, bytes]:
    """Return every file of a sweep by name, but for Ray Tune's own and how a round was cut."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "round.json" and "tune" not in path.relative_to(directory).parts
    }


def spoil(market: MarketData) -> MarketData:
    """Return the market with closes that are no number, as no reader would let them pass."""
    bars = market.bars.copy()
    bars["close_px"][0, 800::7] = np.nan
    return dataclasses.replace(market, bars=bars)
