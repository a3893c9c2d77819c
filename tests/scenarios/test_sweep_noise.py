"""The whole of a sweep against the truth: markets without an edge promote nothing, a planted edge is promoted.

Costs are zero on noise: with fees luck loses anyway, and nothing would be tested. The rules of risk that stop a
strategy without an edge are off for the same reason, and the constraints are such as luck meets half of the time: what
stops noise here are the statistics.
"""

import dataclasses
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from market.catalog import MarketData
from market.fills import Costs
from market.kernel_cache import hash_kernel_sources
from risk.limits import LIMITS_DEFAULT, Limits, switch
from strategies.catalog import parse_params
from sweeps.case import make_case
from sweeps.promotion.keys import TRUSTED_NAME, read_trusted_keys
from sweeps.promotion.making import make_promotion
from sweeps.promotion.record import PromotionRefusedError, read_promotion
from sweeps.search.space import Axis, SearchSpace
from sweeps.spec import Constraints, DataSource, RoundSpec, Significance, SweepSpec, WalkForward
from sweeps.summary import SweepSummary
from tests.scenarios.noise_markets import (
    INSTRUMENT_ID,
    make_even_noise,
    make_reversion,
    make_trends,
    make_wild_noise,
)
from tests.unit.sweeps.small_sweep import run_in_process
from trireme import main

BARS = 9_600  # 400 days, 320 of them in sample
MARKETS, PLANTED = 80, 10
COSTS_NONE, COSTS = Costs(0.0, 0.0, 0.0), Costs(4.5, 1.5, 1.0)
LIMITS_FREE = switch(LIMITS_DEFAULT, False, "reward_to_risk", "kelly", "breaker", "daily_loss")
NOISE = {"even": make_even_noise, "wild": make_wild_noise}

TREND_SPACE = SearchSpace(
    parse_params("momentum_sar", {"take_profit_atr": 0.0}),
    (
        Axis("sar_step", False, True, values=(0.005, 0.02)),
        Axis("trend_bars", True, True, values=(24.0, 72.0, 168.0)),
        Axis("trend_atr_min", False, False, values=(-1.0, 0.0, 1.0)),
        Axis("stop_atr", False, True, values=(2.0, 3.5, 6.0)),
    ),
)
REVERSION_SPACE = SearchSpace(
    parse_params("mean_reversion_funding", {"funding_bars": 96, "funding_z_min": -1.0, "hold_h_max": 96.0}),
    (
        Axis("price_bars", True, True, values=(48.0, 96.0, 192.0)),
        Axis("entry_z", False, False, values=(1.0, 1.5, 2.0)),
        Axis("exit_z", False, False, values=(0.0, 0.5, 1.0)),
        Axis("stop_atr", False, True, values=(3.0, 6.0)),
    ),
)
SPEC = SweepSpec(
    TREND_SPACE,
    DataSource((INSTRUMENT_ID,), bars=BARS),
    (RoundSpec("coarse"), RoundSpec("refined", "random", configs=60, support_frac=0.3)),
    name="noise",
    constraints=Constraints(trades_min=5, drawdown_frac_max=1.0, sharpe_min=0.5, win_rate_frac_min=0.0),
    walk_forward=WalkForward(folds=2, purge_bars=24, embargo_bars=24, sharpe_min=0.0, folds_positive_frac_min=0.5),
    significance=Significance(bootstraps=399, cscv_blocks=8),
    chunk_configs=60,
)
ALPHA = SPEC.significance.alpha


def sweep(
    directory: Path, market: MarketData, space: SearchSpace, seed: int, limits: Limits, costs: Costs
) -> SweepSummary:
    """Run a whole sweep: rounds, walk-forward, holdout, statistics, faults; its files stay in `directory`."""
    spec = dataclasses.replace(SPEC, space=space, seed=seed)
    summary = run_in_process(make_case(spec, market, limits, costs, 10_000.0), directory)
    assert summary is not None
    return summary


@functools.cache
def sweep_noise(kind: str) -> list[SweepSummary]:
    """Return what sweeps over many markets without an edge came to."""
    summaries = []
    for seed in range(MARKETS):
        with tempfile.TemporaryDirectory() as directory:
            market = NOISE[kind](seed, BARS)
            summaries.append(sweep(Path(directory) / "s", market, TREND_SPACE, seed, LIMITS_FREE, COSTS_NONE))
    return summaries


def has_earned(summary: SweepSummary) -> bool:
    """Return whether the best passes all that is not a statistic: constraints, walk-forward, and the holdout."""
    unseen = summary.best.metrics_out_of_sample
    assert unseen is not None
    return summary.best.is_passed and (unseen["return_frac"] or 0.0) > 0.0


def count_rejections(values: list[float | None], at_most: float) -> int:
    """Return how many p-values are at most so large; None rejects nothing."""
    return sum(value is not None and value <= at_most for value in values)


@pytest.mark.parametrize("kind", NOISE)
def test_noise_is_promoted_at_most_as_often_as_stated(kind: str) -> None:
    promoted = sum(not summary.faults for summary in sweep_noise(kind))
    # More would be less likely than 1 in 1,000 if the true rate were alpha. Seen: none of them.
    assert promoted <= stats.binom.ppf(0.999, MARKETS, ALPHA)


@pytest.mark.parametrize("kind", NOISE)
def test_luck_meets_everything_but_the_statistics(kind: str) -> None:
    summaries = sweep_noise(kind)
    assert all(summary.best.metrics["trades"] >= 50 for summary in summaries)
    assert sum(summary.passed > 0 for summary in summaries) >= 0.5 * MARKETS
    assert sum(map(has_earned, summaries)) >= 0.25 * MARKETS
    # Were the best the only trial, a test at alpha would promote far more than alpha: it must know of the others.
    naive = [1.0 - (summary.overfitting.sharpe_probabilistic_prob or 0.0) for summary in summaries]
    assert count_rejections(naive, ALPHA) > stats.binom.ppf(0.999, MARKETS, ALPHA)


def test_each_gate_alone_holds_its_level() -> None:
    measured = [summary.overfitting for kind in NOISE for summary in sweep_noise(kind)]
    deflated = count_rejections([1.0 - (one.deflated_sharpe_prob or 0.0) for one in measured], ALPHA)
    assert deflated <= stats.binom.ppf(0.999, len(measured), ALPHA)
    # Hansen's: about alpha. A bootstrap of one year is a little narrow, and the refined round looks where the coarse
    # one was lucky, of which the test knows nothing.
    spa = count_rejections([one.spa_p for one in measured], ALPHA)
    low, high = stats.binom.ppf(0.001, len(measured), 0.6 * ALPHA), stats.binom.ppf(0.999, len(measured), 1.3 * ALPHA)
    assert low <= spa <= high


@pytest.mark.parametrize("belief", ["trends", "reversion"])
def test_a_planted_edge_is_promoted_with_all_rules_and_costs(belief: str, tmp_path: Path) -> None:
    promoted = 0
    for seed in range(PLANTED):
        if belief == "trends":
            market, space = make_trends(seed, BARS, drift=0.3, length_bars=48), TREND_SPACE
        else:
            market, space = make_reversion(seed, BARS, half_life_bars=12.0), REVERSION_SPACE
        summary = sweep(tmp_path / str(seed), market, space, seed, LIMITS_DEFAULT, COSTS)
        shutil.rmtree(tmp_path / str(seed))
        assert has_earned(summary)
        if not summary.faults:
            promoted += 1
            assert make_promotion(summary, hash_kernel_sources()).trials == summary.configs
    assert promoted >= 0.8 * PLANTED


def test_without_its_edge_the_same_market_promotes_nothing(tmp_path: Path) -> None:
    summary = sweep(
        tmp_path / "s", make_trends(0, BARS, drift=0.0, length_bars=48), TREND_SPACE, 0, LIMITS_DEFAULT, COSTS
    )
    assert summary.faults
    with pytest.raises(PromotionRefusedError):
        make_promotion(summary, hash_kernel_sources())


def promote(monkeypatch: pytest.MonkeyPatch, directory: Path) -> object:
    """Run `trireme sweep promote` and return its exit code."""
    key = directory.parent / "keys" / "promotion.key"
    monkeypatch.setattr("sys.argv", ["trireme", "sweep", "promote", str(directory), "--key", str(key)])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    return stopped.value.code


def test_the_command_promotes_the_edge_and_refuses_luck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edge, luck = tmp_path / "edge", tmp_path / "luck"
    reversion = make_reversion(0, BARS, half_life_bars=12.0)
    summary = sweep(edge, reversion, REVERSION_SPACE, 0, LIMITS_DEFAULT, COSTS)
    assert promote(monkeypatch, edge) == 0
    assert capsys.readouterr().err == ""
    (record,) = edge.glob("promotion-*.json")
    promotion = read_promotion(record, read_trusted_keys(tmp_path / "keys" / TRUSTED_NAME))
    assert promotion.params == summary.best.params
    assert promotion.data["sha256"] == reversion.sha256
    # Unseen trades that won, many of them: Kelly may believe them.
    assert promotion.prior["weight_trades"] > 0.0

    lucky = next(seed for seed, one in enumerate(sweep_noise("even")) if has_earned(one))
    refused = sweep(luck, make_even_noise(lucky, BARS), TREND_SPACE, lucky, LIMITS_FREE, COSTS_NONE)
    assert promote(monkeypatch, luck) == main.EXIT_REFUSED
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) >= len(refused.faults) >= 1
    assert all(line.startswith("refused: ") for line in lines)
    assert "luck explains" in printed.err
    assert list(luck.glob("promotion-*.json")) == []


@pytest.mark.parametrize("kind", NOISE)
def test_noise_is_a_martingale_and_its_bars_are_possible(kind: str) -> None:
    moves, tails = [], []
    for seed in range(20):
        bars = NOISE[kind](seed, BARS).bars[0]
        assert (bars["low_px"] <= np.minimum(bars["open_px"], bars["close_px"])).all()
        assert (bars["high_px"] >= np.maximum(bars["open_px"], bars["close_px"])).all()
        assert (bars["open_px"][1:] == bars["close_px"][:-1]).all()
        moved = bars["close_px"] / bars["open_px"] - 1.0
        moves.append(moved)
        tails.append(stats.kurtosis(np.log1p(moved)))
    pooled = np.concatenate(moves)
    assert abs(pooled.mean()) < 4.0 * pooled.std() / len(pooled) ** 0.5
    assert np.median(tails) > 3.0 if kind == "wild" else abs(np.median(tails)) < 0.2
