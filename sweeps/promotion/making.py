"""From a finished sweep to a promotion record, or to the reasons why there is none; and what Kelly may believe of it.

The prior. The evidence is the best's closed trades on bars that its parameters were not fitted to: those of the
walk-forward tests and of the holdout, in multiples of the risk taken (R). It becomes so many imaginary trades of
`risk.estimate`, pessimistically:
- Their weight is min(trades, 100) x the deflated Sharpe probability: the walk-forward tests had a say in the choosing,
  so the evidence counts as far as chance does not explain the choice. The cap, because a prior never fades as live
  trades do: with the default half-life a strategy of 140 trades a year outweighs 100, and at the default bound 100
  trades place a win rate 4 percentage points below what was seen; fewer tell no realistic edge from none.
- Values are clipped to `PRIOR_RANGES`; where no trade was lost, the next loss is thought to be the largest that counts.
- The weight is 0, and live trading begins at Kelly's floor as without a backtest, where there are too few trades for
  a verdict (`estimate.trades_min`), or too few to pay for the floor size at the pessimistic bound: at so few the bound
  speaks of their number, not of the edge. Unseen trades that lose on average are another matter: no promotion.
"""

import msgspec

from market.fills import Costs
from risk.estimate import PRIOR_RANGES, Prior, compute_estimate
from risk.kelly import decide_kelly
from risk.limits import Limits, check_limits_for_orders, parse_limits
from risk.state import STRATEGY_RISK_NEW
from strategies.catalog import Params, parse_params
from sweeps.promotion.record import PriorFacts, Promotion, PromotionRefusedError, hash_plain
from sweeps.summary import Number, SweepSummary
from sweeps.summary_file import AccountFacts, DataFacts

WEIGHT_TRADES_MAX = 100.0
EVIDENCE = ("trades", "win_rate_frac", "win_r_avg", "loss_r_avg")


def make_promotion(summary: SweepSummary, code_version: str) -> Promotion:
    """Return the record of the sweep's best configuration, not signed yet.

    Raises PromotionRefusedError with every reason against it: the sweep's own faults, another code version, limits
    under which no orders may be sent, and whatever is not known.
    """
    best = summary.best
    data, account = msgspec.convert(summary.data, DataFacts), msgspec.convert(summary.account, AccountFacts)
    reasons = list(summary.faults) or _find_gaps(summary)
    if summary.code_version != code_version:
        reasons.append(f"computed with code {summary.code_version}, running is {code_version}: sweep again")
    try:
        make_whole_params(summary.strategy, best.params)
        Costs(**account["costs"])
        limits = parse_limits(account["limits"])
        check_limits_for_orders(limits)
    except (ValueError, TypeError) as error:
        reasons.append(f"the sweep's account or parameters: {error}")
    if reasons:
        raise PromotionRefusedError(*reasons)
    assert best.metrics_out_of_sample is not None
    prior = make_prior(best.evidence, float(summary.overfitting.deflated_sharpe_prob or 0.0), limits)
    return Promotion(
        strategy=summary.strategy,
        params=best.params,
        data=data,
        account=account,
        code_version=summary.code_version,
        sweep=summary.name,
        spec_sha256=hash_plain(summary.spec),
        trials=summary.configs,
        metrics=best.metrics,
        metrics_out_of_sample=best.metrics_out_of_sample,
        evidence=best.evidence,
        folds=best.folds,
        overfitting=summary.overfitting,
        prior=msgspec.convert(prior._asdict(), PriorFacts),
    )


def _find_gaps(summary: SweepSummary) -> list[str]:
    # A sweep names its faults itself; here, whatever must be known and good before money hangs on it.
    best, evidence = summary.best, summary.best.evidence
    gaps = []
    if not best.is_passed:
        gaps.append(f"the best configuration fails {', '.join(best.failed)}")
    if best.metrics_out_of_sample is None:
        gaps.append("there is no holdout: the best was never traded on unseen bars")
    if summary.overfitting.deflated_sharpe_prob is None:
        gaps.append("the deflated Sharpe probability is not known")
    trades, rate, win_r, loss_r = (evidence.get(name) or 0 for name in EVIDENCE)
    expectancy_r = rate * win_r - (1.0 - rate) * loss_r
    if not trades:
        gaps.append("not one trade was closed on unseen bars")
    elif not (0.0 <= rate <= 1.0 and win_r >= 0.0 and (loss_r > 0.0 or rate == 1.0)):
        gaps.append(f"the evidence of unseen bars makes no sense: {evidence}")
    elif not expectancy_r > 0.0:
        gaps.append(f"its {trades} trades on unseen bars made {expectancy_r:+.3f} R each on average")
    return gaps


def make_whole_params(strategy: str, params: dict[str, Number]) -> Params:
    """Return the strategy's parameters; raises ValueError on one missing, unknown or out of its range: no defaults."""
    made = parse_params(strategy, {key: "" if value is None else value for key, value in params.items()})
    if missing := set(made._fields) - set(params):
        raise ValueError(f"strategy {strategy} lacks the parameter {', '.join(sorted(missing))}")
    return made


def make_prior(evidence: dict[str, Number], deflated_sharpe_prob: float, limits: Limits) -> Prior:
    """Return what Kelly may believe of trades on unseen bars: see the top of this file.

    evidence: that of a `Finalist`.

    >>> from risk.limits import LIMITS_DEFAULT
    >>> evidence = {"trades": 160, "win_rate_frac": 0.4, "win_r_avg": 2.0, "loss_r_avg": 1.0}
    >>> make_prior(evidence, 0.96, LIMITS_DEFAULT)
    Prior(weight_trades=96.0, win_rate_frac=0.4, win_r_avg=2.0, loss_r_avg=1.0)
    >>> make_prior(evidence | {"trades": 40}, 0.96, LIMITS_DEFAULT).weight_trades
    0.0
    """
    trades, rate, win_r, loss_r = (evidence[name] for name in EVIDENCE)
    prior = Prior(
        weight_trades=min(trades or 0.0, WEIGHT_TRADES_MAX) * deflated_sharpe_prob,
        win_rate_frac=_clip("win_rate_frac", rate or 0.0),
        win_r_avg=_clip("win_r_avg", win_r or 0.0),
        loss_r_avg=_clip("loss_r_avg", limits.estimate.loss_r_max if loss_r is None else loss_r),
    )
    is_enough = (trades or 0) >= limits.estimate.trades_min
    if is_enough and prior.weight_trades > 0.0:
        estimate = compute_estimate(limits.estimate, prior, STRATEGY_RISK_NEW, 0)
        is_enough = decide_kelly(limits.kelly, estimate)[0] > 0.0
    return prior if is_enough else prior._replace(weight_trades=0.0)


def _clip(name: str, value: float) -> float:
    low, high = PRIOR_RANGES[name]
    return min(max(float(value), low), high)
