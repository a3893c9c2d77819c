"""All statistics of a sweep together: measured, judged, and told in words.

The tests look at the same returns from different sides, and each can refuse: the deflated Sharpe ratio asks of the best
whether luck among so many explains it; Hansen's test asks the same of the whole sweep without assuming independent
days; PBO asks whether choosing works at all. Promotion needs all of them, so it errs at most as often as the strictest.
"""

import math

import numpy as np

from sweeps.metrics import DAYS_PER_YEAR
from sweeps.records import FloatArray
from sweeps.spec import Significance
from sweeps.statistics.blocks import ReturnsArray
from sweeps.statistics.pbo import compute_pbo, count_splits
from sweeps.statistics.purged import compute_kfold_selection, make_purged_folds
from sweeps.statistics.reality_check import compute_reality_check, draw_weights
from sweeps.statistics.sharpe import (
    compute_probabilistic_sharpe_prob,
    compute_sharpe_expected_max,
    compute_sharpe_variance,
    compute_track_record_days_min,
    measure_sharpe,
)
from sweeps.statistics.trials import count_trials
from sweeps.summary import Number, Overfitting

KFOLDS = 5
EMBARGO_FRAC = 0.01  # of the days (Lopez de Prado, 2018, section 7.4.2)
LOGITS_MAX = 1000  # kept for the histogram


def compute_overfitting(
    returns: ReturnsArray, best_returns: FloatArray, sharpes_all: FloatArray, significance: Significance, seed: int
) -> Overfitting:
    """Return how much of the best result chance explains; every value is finite or None.

    Parameters
    ----------
    returns : float32[configs, days], C order
        Daily returns in sample; may be a memory map, is read in blocks. They should be those of all trials, bad ones
        too: the tests cannot allow for the luck of configurations that they do not see.
    best_returns : float64[days]
        Those of the configuration that may be promoted.
    sharpes_all : float64[trials], trials >= configs
        Annualised Sharpe ratios of all configurations tried, in all rounds.
    significance : Significance
        `block_days` is also what the purged k-fold keeps between train and test.
    seed : int, >= 0
        Of the bootstrap and the signs of `trials.count_trials`.

    What cannot be measured fails closed: probabilities 0.0, p-values and pbo_frac 1.0, None for the rest. Values keep
    nine digits: what lies behind depends on the order in which a machine adds.
    Raises ValueError where the shapes do not fit each other.
    """
    if returns.ndim != 2 or not len(returns) or best_returns.shape != returns.shape[1:]:
        raise ValueError(
            f"returns are {returns.shape}, best_returns {best_returns.shape}: need [configs, days], [days]"
        )
    (configs, days), trials = returns.shape, len(sharpes_all)
    if trials < configs:
        raise ValueError(f"sharpes_all holds {trials:,} trials, returns {configs:,}: pass the Sharpe of every trial")
    sample = measure_sharpe(best_returns)
    count = count_trials(returns, trials, seed)
    # Among trials without an edge Sharpe ratios differ by sampling alone, per day by about 1 / (days - 1). What they
    # differ by beyond that is skill, or the fees that ruin the busy ones: it does not make luck any greater.
    variance = min(compute_sharpe_variance(sharpes_all), DAYS_PER_YEAR / max(1, days - 1))
    expected_max = compute_sharpe_expected_max(variance, count.effective)
    pbo = compute_pbo(returns, significance.cscv_blocks)
    weights = draw_weights(days, significance.bootstraps, significance.block_days, seed)
    check = compute_reality_check(returns, weights)
    kfold_train_sharpe, kfold_test_sharpe = _measure_kfold(returns, significance)
    return Overfitting(
        trials=trials,
        trials_effective=_to_plain(count.effective),
        trials_correlation_avg=_to_plain(count.correlation_avg),
        configs_tested=configs,
        days=days,
        sharpe=_to_plain(sample.sharpe * math.sqrt(DAYS_PER_YEAR)),
        sharpe_expected_max=_to_plain(expected_max),
        sharpe_probabilistic_prob=_to_plain(compute_probabilistic_sharpe_prob(sample, 0.0)),
        deflated_sharpe_prob=_to_plain(
            compute_probabilistic_sharpe_prob(sample, expected_max / math.sqrt(DAYS_PER_YEAR))
        ),
        track_record_days_min=_to_plain(compute_track_record_days_min(sample, 0.0, significance.alpha)),
        pbo_frac=pbo and pbo.pbo_frac,
        pbo_degradation_slope=_to_plain(pbo and pbo.degradation_slope),
        pbo_loss_prob=pbo and pbo.loss_prob,
        pbo_logits=_thin_out(pbo.logits) if pbo else [],
        reality_check_p=check.reality_check_p,
        spa_p=check.spa_p,
        kfold_train_sharpe=_to_plain(kfold_train_sharpe),
        kfold_test_sharpe=_to_plain(kfold_test_sharpe),
    )


def _measure_kfold(returns: ReturnsArray, significance: Significance) -> tuple[float | None, float | None]:
    days = returns.shape[1]
    if days < KFOLDS:
        return None, None
    folds = make_purged_folds(days, KFOLDS, math.ceil(significance.block_days), math.ceil(days * EMBARGO_FRAC))
    return compute_kfold_selection(returns, folds)


def _to_plain(value: float | None) -> float | None:
    return float(f"{value:.9g}") if value is not None and math.isfinite(value) else None


def _thin_out(logits: FloatArray) -> list[Number]:
    picked = np.linspace(0, len(logits) - 1, min(len(logits), LOGITS_MAX)).round().astype(np.int64)
    return [_to_plain(logit) for logit in logits[picked].tolist()]


def judge(overfitting: Overfitting, significance: Significance) -> list[str]:
    """Return why the best may not be promoted, a sentence each; []: it may.

    It needs a deflated Sharpe probability of 1 - alpha, a p-value of Hansen's test of at most alpha, a PBO of at most
    pbo_frac_max or a chosen one that loses in at most alpha of the splits (PBO ranks: where everything earns, being
    below average is no harm), and a record as long as its own Sharpe ratio needs. What could not be measured is a
    fault, except the PBO of a single trial: where nothing was chosen, choosing cannot mislead.
    """
    faults = []
    if not _at_least(overfitting.deflated_sharpe_prob, 1.0 - significance.alpha):
        faults.append(
            f"luck explains the Sharpe ratio: the best of {_describe_trials(overfitting)} without any edge shows about "
            f"{_format(overfitting.sharpe_expected_max)}; that the {_format(overfitting.sharpe)} seen stands for more "
            f"has probability {_percent(overfitting.deflated_sharpe_prob)}, needed {_percent(1.0 - significance.alpha)}"
        )
    if not _at_most(overfitting.spa_p, significance.alpha):
        faults.append(
            f"luck explains the sweep: markets without any edge give a best as good in "
            f"{_percent(overfitting.spa_p)} of the redrawn records (White's reality check: "
            f"{_percent(overfitting.reality_check_p)}), allowed {_percent(significance.alpha)}"
        )
    is_chosen = overfitting.trials > 1
    if is_chosen and overfitting.pbo_frac is None:
        faults.append(
            f"whether choosing carries over could not be tested (PBO): the record has {overfitting.days:,} days, and "
            f"the returns of {overfitting.configs_tested:,} configurations were kept"
        )
    elif (
        is_chosen
        and not _at_most(overfitting.pbo_frac, significance.pbo_frac_max)
        and not _at_most(overfitting.pbo_loss_prob, significance.alpha)
    ):
        faults.append(
            f"choosing does not carry over: in {_percent(overfitting.pbo_frac)} of the splits the best in one half of "
            f"the record is in the worse half of all in the other, allowed {_percent(significance.pbo_frac_max)} (PBO)"
        )
    if overfitting.track_record_days_min is None:
        faults.append(f"no record is long enough: a Sharpe ratio of {_format(overfitting.sharpe)} is not above zero")
    elif overfitting.days < overfitting.track_record_days_min:
        faults.append(
            f"the record is too short: {overfitting.days:,} days; with such swings even a single trial needs "
            f"{math.ceil(overfitting.track_record_days_min):,} to tell a Sharpe ratio of {_format(overfitting.sharpe)} "
            f"from 0"
        )
    return faults


def explain(overfitting: Overfitting, significance: Significance) -> list[tuple[str, str, str]]:
    """Return what was measured for the report: (statistic, its value, what it says in one plain sentence)."""
    splits = count_splits(overfitting.configs_tested, significance.cscv_blocks)
    confidence = _percent(1.0 - significance.alpha)
    return [
        (
            "Trials",
            f"{overfitting.trials:,}",
            f"Configurations tried in all rounds; trading alike (average correlation "
            f"{_format(overfitting.trials_correlation_avg)}), they count as "
            f"{_format(overfitting.trials_effective, ',.0f')} independent ones. The tests below saw the daily returns "
            f"of {overfitting.configs_tested:,} over {overfitting.days:,} days.",
        ),
        ("Sharpe ratio of the best", _format(overfitting.sharpe), "In sample, of daily returns, per year."),
        (
            "Best Sharpe ratio by luck",
            _format(overfitting.sharpe_expected_max),
            "What the best of so many trials would show on average if none had an edge.",
        ),
        (
            "Probabilistic Sharpe ratio",
            _percent(overfitting.sharpe_probabilistic_prob),
            "Probability that the true Sharpe ratio is above zero, had this been the only trial.",
        ),
        (
            "Deflated Sharpe ratio",
            _percent(overfitting.deflated_sharpe_prob),
            f"Probability that the true Sharpe ratio is above that best by luck; promotion needs {confidence}.",
        ),
        (
            "Minimum track record",
            _format(overfitting.track_record_days_min, ",.0f", "days"),
            f"How long a single trial with this Sharpe ratio and these swings must last to be {confidence} sure that "
            f"it is above zero; there are {overfitting.days:,} days.",
        ),
        (
            "Probability of backtest overfitting",
            _percent(overfitting.pbo_frac),
            f"How often the best in one half of the record is in the worse half of all in the other, over {splits:,} "
            f"splits; promotion allows {_percent(significance.pbo_frac_max)} where the chosen one may lose, choosing "
            f"blindly gives 50 %.",
        ),
        (
            "Loss after choosing",
            _percent(overfitting.pbo_loss_prob),
            f"How often the best in one half loses money in the other half; at {_percent(significance.alpha)} of the "
            f"splits or less its rank does not matter.",
        ),
        (
            "Degradation slope",
            _format(overfitting.pbo_degradation_slope),
            "Change of the Sharpe ratio in the other half per 1.00 more in the half it was chosen on; below zero, a "
            "better backtest means a worse future.",
        ),
        (
            "Purged k-fold",
            f"{_format(overfitting.kfold_train_sharpe)} -> {_format(overfitting.kfold_test_sharpe)}",
            f"Mean Sharpe ratio of the best where it was chosen -> on the part left out; over {KFOLDS} parts.",
        ),
        (
            "Hansen's SPA test",
            _percent(overfitting.spa_p),
            f"How often markets without any edge, made by redrawing blocks of days {significance.bootstraps:,} times, "
            f"give a best as good as this one, for its risk; promotion allows {_percent(significance.alpha)}.",
        ),
        (
            "White's reality check",
            _percent(overfitting.reality_check_p),
            "The same for the plain mean return; the wildest configurations decide it: it is reported, not required.",
        ),
    ]


def _at_least(value: Number, limit: float) -> bool:
    return value is not None and value >= limit


def _at_most(value: Number, limit: float) -> bool:
    return value is not None and value <= limit


def _describe_trials(overfitting: Overfitting) -> str:
    if overfitting.trials == 1:
        return "a single trial"
    return f"{overfitting.trials:,} trials ({_format(overfitting.trials_effective, ',.0f')} independent ones)"


def _format(value: Number, form: str = ".2f", unit: str = "") -> str:
    return "not defined" if value is None else f"{value:z{form}} {unit}".rstrip()


def _percent(value: Number) -> str:
    return "not defined" if value is None else f"{100.0 * value:.1f} %"
