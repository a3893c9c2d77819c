"""What a sweep is asked to do: its data, its space, what passes, round after round. Read by `spec_file.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from market.fills import Costs
from sweeps.search.space import SearchSpace

SAMPLERS = ("grid", "random", "sobol", "tpe", "nsga2")
ADAPTIVE = ("tpe", "nsga2")  # what they try next depends on what they have seen
OBJECTIVES: dict[str, Literal["maximize", "minimize"]] = {
    "score": "maximize",
    "sharpe": "maximize",
    "return_frac": "maximize",
    "win_rate_frac": "maximize",
    "trades": "maximize",
    "drawdown_frac_max": "minimize",
    "fees_quote": "minimize",
}


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a configuration must meet, all at once, before its walk-forward is looked at; a metric that is NaN fails."""

    trades_min: int = 20
    drawdown_frac_max: float = 0.20
    sharpe_min: float = 1.5
    win_rate_frac_min: float = 0.30


@dataclass(frozen=True, slots=True)
class WalkForward:
    """Tests on unseen folds: the last `test_frac` of the in-sample bars in `folds` parts, each after its own train.

    A fold's train ends `purge_bars` + `embargo_bars` before its test begins: positions taken in the purged bars would
    end in the test, and what the embargoed bars say, the first bars of the test still know. Anchored: every train
    begins with the first bar; rolling: it is as long as that of the first fold. A configuration passes if the daily
    returns of all its tests, each on a fresh account, have at least `sharpe_min` and at least `folds_positive_frac_min`
    of its folds gained.
    """

    scheme: str = "anchored"  # or "rolling"
    folds: int = 4  # 0: no walk-forward
    test_frac: float = 0.6
    purge_bars: int = 96
    embargo_bars: int = 96
    sharpe_min: float = 0.75
    folds_positive_frac_min: float = 0.5


@dataclass(frozen=True, slots=True)
class Significance:
    """What chance must not explain away before a configuration may be promoted."""

    alpha: float = 0.05  # p-value of the reality check, and 1 - deflated Sharpe probability, at most
    pbo_frac_max: float = 0.2
    bootstraps: int = 1000
    block_days: float = 10.0  # mean block of the stationary bootstrap
    cscv_blocks: int = 16


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where the bars come from: a catalog, or a generated market."""

    instrument_ids: tuple[str, ...]
    catalog: Path | None = None
    ts_from_ms: int | None = None
    ts_to_ms: int | None = None
    interval_ns: int = 0  # 0: the stored one
    seed: int = 0  # of a generated market
    bars: int = 0  # of a generated market


@dataclass(frozen=True, slots=True)
class RoundSpec:
    """One round. The first searches `SweepSpec.space`, a later one the region where the round before did best."""

    name: str
    sampler: str = "grid"
    configs: int = 0  # how many a sampler other than the grid tries
    points: Mapping[str, int] = field(default_factory=dict)  # grid: values that an axis takes in this round
    support_frac: float = 0.1  # the region holds at least this share of the configurations of the round before
    objectives: tuple[str, ...] = ("score",)  # of nsga2: two or more of score and the metrics


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A whole sweep. The last `holdout_frac` of the bars is seen by no round and no constraint, only by finalists."""

    space: SearchSpace
    source: DataSource
    rounds: tuple[RoundSpec, ...]
    name: str = "sweep"
    costs: Costs | None = None  # None: the settings'
    equity_start_quote: float | None = None  # None: the settings'
    constraints: Constraints = Constraints()
    walk_forward: WalkForward = WalkForward()
    significance: Significance = Significance()
    holdout_frac: float = 0.2
    seed: int = 0
    chunk_configs: int = 0  # configurations in a trial; 0: from their cost
