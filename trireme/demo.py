"""`trireme demo`: the main job, bounded and offline."""

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from actors.market_feed.source import MarketSource
from actors.plan import Plan
from market.catalog import MarketData
from strategies.catalog import get_idea, parse_params
from sweeps.case import describe_identity, make_case
from sweeps.replay import replay
from sweeps.search.space import Axis, SearchSpace
from sweeps.spec import DataSource, RoundSpec, SweepSpec
from sweeps.store import SweepStore
from trireme.house import PaperHouse
from trireme.live_view import show_live
from trireme.paper import (
    PaperOutcome,
    describe_outcome,
    make_plan,
    make_run_directory,
    make_source,
    run_paper,
    show_outcome,
    start_session,
)
from trireme.settings import StrategySettings, read_settings
from trireme.sweep import SweepOutcome, describe_sweep, run_sweep, show_sweep
from trireme.sweep_view import show_progress

PAPER_BARS = 1_500
SWEEP_BARS = 35_040  # a year of 15-minute bars

# Small grids around the defaults; a real sweep has a specification file of its own.
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "momentum_sar": {
        "trend_bars": (48, 96, 192),
        "entry_bars_max": (4, 16),
        "trend_atr_min": (0.5, 1.0, 2.0),
        "stop_atr": (2.0, 3.0, 4.5),
        "take_profit_atr": (0.0, 4.0),
    },
    "mean_reversion_funding": {
        "price_bars": (96, 192, 384),
        "entry_z": (1.5, 2.0, 2.5, 3.0),
        "funding_z_min": (0.0, 0.5, 1.0),
        "stop_atr": (3.0, 4.0, 6.0),
    },
    "scalper": {
        "trend_bars": (96, 192, 384),
        "pullback_atr_min": (0.5, 1.0, 1.5),
        "stop_atr": (3.0, 4.0, 6.0),
        "take_profit_atr": (0.4, 0.6, 0.9, 1.4),
    },
}
ROUNDS = (RoundSpec("coarse"), RoundSpec("refined", "sobol", configs=64, support_frac=0.2))


def is_session_tested(outcome: PaperOutcome, plan: Plan, market: MarketData) -> bool:
    """Return whether the session's equity and trades are those of the compiled replay, to the bit."""
    result, _ = replay(market, plan.strategies[0].params, plan.limits, plan.costs, plan.equity_start_quote)
    length = len(outcome.result.equity_quote)
    return bool(
        np.array_equal(result.equity_quote[:length], outcome.result.equity_quote)
        and (not outcome.is_complete or np.array_equal(result.trades, outcome.result.trades))
    )


def sweep_strategy(plan: Plan, source: MarketSource, out: Path) -> SweepOutcome:
    """Sweep the strategy around its defaults over a year of the same market, on the session that is up."""
    market = MarketSource(
        source.instrument_ids, source.catalog, source.ts_from_ms, source.ts_to_ms, source.seed, SWEEP_BARS
    ).load()
    strategy = plan.strategies[0].name
    ranges = get_idea(plan.strategies[0].params).ranges
    axes = (Axis(key, ranges[key].is_int, ranges[key].is_log, values) for key, values in GRIDS[strategy].items())
    space = SearchSpace(parse_params(strategy, {}), tuple(axes))
    spec = SweepSpec(space, DataSource(market.instrument_ids), ROUNDS, name=f"demo of {strategy}")
    case = make_case(spec, market, plan.limits, plan.costs, plan.equity_start_quote)
    store = SweepStore(out)
    store.begin(describe_identity(case), f"# the sweep of `trireme demo`, strategy {strategy}\n")
    with show_progress() as on_progress:
        return run_sweep(case, store, on_progress)


@click.command()
@click.option("--strategy", type=click.Choice(list(GRIDS)), default="momentum_sar", show_default=True)
@click.option("--catalog", type=click.Path(path_type=Path), help="Real bars from there instead of a generated market.")
@click.option("--instrument", "instruments", multiple=True, help="An instrument; repeatable. Default: what there is.")
@click.option("--bars", type=click.IntRange(10), default=PAPER_BARS, show_default=True, help="Of the paper session.")
@click.option("--seed", type=click.IntRange(0), help="Of the generated market.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory of the run; default runs/demo-NNNN.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; default ./trireme.yaml if there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def demo(
    strategy: str,
    catalog: Path | None,
    instruments: tuple[str, ...],
    bars: int,
    seed: int | None,
    out: Path | None,
    config: Path | None,
    as_json: bool,
) -> int:
    """Run the whole system once, offline: a paper session on Ray, a sweep of the same strategy, a tear sheet.

    The session trades on the embedded venue with the live actors; then the same bars go through the compiled replay,
    and both must agree to the bit. Exit code 1 if they do not, 4 if the session was interrupted.
    """
    from trireme.main import EXIT_FAILED, EXIT_PARTLY

    started_s = time.monotonic()
    settings = read_settings(config)
    source = make_source(settings, catalog, instruments, bars, seed)
    market = source.load()
    plan = make_plan(settings, (StrategySettings(strategy),), market.instruments, market.interval_ns)
    directory = make_run_directory(out, "demo")
    click.echo(f"1/3 starting Ray, then a paper session: {strategy} on {', '.join(market.instrument_ids)}", err=True)
    with start_session(settings, include_dashboard=False) as session:
        with show_live() as view:
            house = PaperHouse(session, plan, source, directory, 0.0, settings.herald, settings.supervisor)
            outcome = run_paper(house, directory, market.sha256, lambda: market, view.update)
        if not outcome.is_complete:
            show_outcome(outcome)
            return EXIT_PARTLY
        click.echo("2/3 sweeping the same strategy over a year of the same market", err=True)
        swept = sweep_strategy(plan, source, directory / "sweep")
    click.echo("3/3 replaying the session's bars", err=True)
    is_tested = is_session_tested(outcome, plan, market)
    seconds = time.monotonic() - started_s
    if as_json:
        click.echo(json.dumps(_describe(outcome, swept, is_tested, seconds), allow_nan=False))
    else:
        _show(outcome, swept, is_tested, seconds)
    return 0 if is_tested else EXIT_FAILED


def _describe(outcome: PaperOutcome, swept: SweepOutcome, is_tested: bool, seconds: float) -> dict[str, Any]:
    return {
        "paper": describe_outcome(outcome),
        "is_session_equal_to_replay": is_tested,
        "sweep": describe_sweep(swept),
        "seconds": round(seconds, 1),
    }


def _show(outcome: PaperOutcome, swept: SweepOutcome, is_tested: bool, seconds: float) -> None:
    from rich.console import Console

    show_outcome(outcome)
    console = Console()
    verdict = "yes" if is_tested else "NO: what traded is not what was tested"
    console.print(f"session equals the compiled replay, to the bit: {verdict}")
    show_sweep(swept)
    console.print(f"all in {seconds:.0f} s")
