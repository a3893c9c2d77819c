"""What a sweep came to, as plain values: what `summary.json` holds, the report shows and a promotion signs.

Every number is finite or None, so that the JSON is strict. Nothing here depends on the clock or on chunk sizes: the
same spec, data and code give the same bytes, whatever was killed on the way.
"""

from dataclasses import dataclass, field
from typing import Any

Number = int | float | None


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """One round. Constraint names: those of `Constraints`, and `walk_forward`."""

    name: str
    sampler: str
    configs: int
    passed: int
    failures: dict[str, int]  # constraint -> configurations that fail it; walk_forward: of those tested
    walk_forward_tested: int  # configurations that met every other constraint
    axes: dict[str, list[Number]]  # parameter -> the values tried (grid), or [lowest, highest]
    region: (
        dict[str, list[Number]] | None
    )  # parameter -> [lowest, highest] that the next round searches; None: the last
    quantiles: dict[str, list[Number]]  # metric -> its 0, 5, 25, 50, 75, 95, 100 % quantiles over the round
    best_params: dict[str, Number]  # greatest stable score of the round


@dataclass(frozen=True, slots=True)
class FoldSummary:
    """One walk-forward fold. Times are UTC ms, ends exclusive."""

    train_from_ms: int
    train_to_ms: int
    test_from_ms: int
    test_to_ms: int
    params: dict[str, Number]
    train_sharpe: Number
    test_metrics: dict[str, Number]  # a fresh account over the test


@dataclass(frozen=True, slots=True)
class Finalist:
    """One configuration looked at whole: the best, or the median of those that pass."""

    role: str  # "best" or "median"
    round_name: str
    config: int
    params: dict[str, Number]
    is_passed: bool
    failed: list[str]  # constraints that it fails
    score: Number
    score_stable: Number  # of its neighbourhood
    neighbours_passed_frac: Number
    metrics: dict[str, Number]  # in sample
    metrics_out_of_sample: dict[str, Number] | None  # a fresh account over the holdout; None: there is no holdout
    by_instrument: dict[str, dict[str, Any]]  # instrument alone: {"metrics", "metrics_out_of_sample"}; {} if only one
    evidence: dict[
        str, Number
    ]  # trades of walk-forward tests and holdout: trades, win_rate_frac, win_r_avg, loss_r_avg
    folds: list[FoldSummary]  # its own walk-forward


@dataclass(frozen=True, slots=True)
class Overfitting:
    """How much of the best result chance explains. Sharpe ratios here are annualised with 365 days."""

    trials: int  # configurations tried in all rounds
    trials_effective: Number  # independent ones, by their correlation
    trials_correlation_avg: Number
    configs_tested: int  # whose daily returns the tests below saw
    days: int
    sharpe: Number  # of the best, in sample
    sharpe_expected_max: Number  # of the best of so many trials without any edge
    sharpe_probabilistic_prob: Number  # true Sharpe > 0, if this were the only trial
    deflated_sharpe_prob: Number
    track_record_days_min: Number  # for sharpe > 0, were it the only trial; None: no length suffices
    pbo_frac: Number  # None: not to be tested, as where only one was tried
    pbo_degradation_slope: Number  # out-of-sample on in-sample Sharpe of the chosen
    pbo_loss_prob: Number  # the chosen loses out of sample
    pbo_logits: list[Number]  # histogram input: at most 1,000 logits, evenly picked from the sorted ones
    reality_check_p: Number  # White
    spa_p: Number  # Hansen, consistent, on Sharpe ratios
    kfold_train_sharpe: Number  # purged k-fold: mean Sharpe of the one chosen on train ...
    kfold_test_sharpe: Number  # ... and of the same on the fold left out


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """The whole."""

    name: str
    strategy: str
    spec: dict[str, Any]  # as plain values
    data: dict[str, Any]  # instrument_ids, interval_ms, bars, bars_holdout, from_ms, to_ms, holdout_from_ms, sha256
    code_version: str
    account: dict[str, Any]  # equity_start_quote, costs, limits as nested plain values
    rounds: list[RoundSummary]
    best: Finalist
    median: Finalist | None  # None: nothing passes
    selection: list[FoldSummary]  # walk-forward of the choosing itself: the best on each train, traded on its test
    overfitting: Overfitting
    faults: list[str] = field(default_factory=list)  # why the best may not be promoted, in words; []: it may

    @property
    def configs(self) -> int:
        """Configurations tried in all rounds."""
        return sum(part.configs for part in self.rounds)

    @property
    def passed(self) -> int:
        """Configurations that met every constraint, in all rounds."""
        return sum(part.passed for part in self.rounds)
