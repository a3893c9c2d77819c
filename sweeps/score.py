"""The score: one number in [0..1] that says how good a configuration is beyond passing, and how far from it if not.

A weighted geometric mean of terms in [0..1]: a term that is zero makes the whole zero, so that no strength pays for a
missing one, and every term is full from some point on, so that no strength grows without end.

| term | weight | zero | full | reason |
|---|---|---|---|---|
| Sharpe ratio | 3 | 0 | 3 | Reward for risk is what is sought; what a backtest shows beyond 3 is luck. |
| drawdown headroom | 2 | twice the limit | no drawdown | The worst is yet to come: half marks at the limit. |
| evidence | 1 | no trade | ten times the fewest trades | Certainty grows with the root of trades; more is churn. |
| profit factor | 1 | 1 | 2 | At 1 wins only pay for losses, at 2 they pay twice; where nothing was lost it is full. |
| cost headroom | 1 | no profit | profit = fees | Costs are guesses: the profit should survive fees twice as high. |

Not scored: the win rate (94 % of wins can lose money), and the return (sizing decides it; the Sharpe ratio and the
drawdown weigh it). A NaN in anything that is read scores 0.0, but for the profit factor, which is NaN where nothing was
lost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeps.records import FloatArray
from sweeps.spec import Constraints

SHARPE_FULL = 3.0
DRAWDOWN_ZERO_LIMITS = 2.0  # times the limit
TRADES_FULL_LIMITS = 10.0  # times the fewest trades
PROFIT_FACTOR_FULL = 2.0

_READ = ("trades", "sharpe", "return_frac", "drawdown_frac_max", "profit_factor", "fees_quote", "equity_last_quote")


@dataclass(frozen=True, slots=True)
class ScoreTerm:
    """One term; `compute` returns float64[n], clipped to [0..1] by the caller, NaN where it cannot be known."""

    label: str
    weight: float
    zero: str  # where it is 0, in words
    full: str  # from where on it is 1, in words
    reason: str
    compute: Callable[[Mapping[str, FloatArray], Constraints], FloatArray]


def _compute_sharpe(metrics: Mapping[str, FloatArray], constraints: Constraints) -> FloatArray:
    return metrics["sharpe"] / SHARPE_FULL


def _compute_drawdown(metrics: Mapping[str, FloatArray], constraints: Constraints) -> FloatArray:
    # A fall of 100 % is ruin under any limit.
    return 1.0 - metrics["drawdown_frac_max"] / min(1.0, DRAWDOWN_ZERO_LIMITS * constraints.drawdown_frac_max)


def _compute_evidence(metrics: Mapping[str, FloatArray], constraints: Constraints) -> FloatArray:
    return np.sqrt(metrics["trades"] / (TRADES_FULL_LIMITS * max(1, constraints.trades_min)))


def _compute_profit_factor(metrics: Mapping[str, FloatArray], constraints: Constraints) -> FloatArray:
    profit_factor = metrics["profit_factor"]
    term = (profit_factor - 1.0) / (PROFIT_FACTOR_FULL - 1.0)
    return np.where(np.isnan(profit_factor), 1.0, term)  # nothing was lost; without a trade the evidence is zero


def _compute_cost_headroom(metrics: Mapping[str, FloatArray], constraints: Constraints) -> FloatArray:
    # Rebates may be taken away as fees may double: the size of the sum counts, not its sign.
    return_frac, fees_quote = metrics["return_frac"], np.abs(metrics["fees_quote"])
    pnl_quote = metrics["equity_last_quote"] * (return_frac / (1.0 + return_frac))
    free = np.where(pnl_quote > 0.0, 1.0, np.where(np.isnan(pnl_quote), np.nan, 0.0))
    return np.where(fees_quote == 0.0, free, pnl_quote / fees_quote)


SCORE_TERMS = (
    ScoreTerm(
        "Sharpe ratio",
        3.0,
        "0",
        "3",
        "Reward for risk is what is sought; what a backtest shows beyond 3 is luck.",
        _compute_sharpe,
    ),
    ScoreTerm(
        "drawdown headroom",
        2.0,
        "twice the limit",
        "no drawdown",
        "The worst is yet to come: half marks at the limit.",
        _compute_drawdown,
    ),
    ScoreTerm(
        "evidence",
        1.0,
        "no trade",
        "ten times the fewest trades",
        "Certainty grows with the root of trades; more is churn.",
        _compute_evidence,
    ),
    ScoreTerm(
        "profit factor",
        1.0,
        "1",
        "2",
        "At 1 wins only pay for losses, at 2 they pay twice; where nothing was lost it is full.",
        _compute_profit_factor,
    ),
    ScoreTerm(
        "cost headroom",
        1.0,
        "no profit",
        "profit = fees",
        "Costs are guesses: the profit should survive fees twice as high.",
        _compute_cost_headroom,
    ),
)


def compute_score(metrics: Any, constraints: Constraints) -> FloatArray:
    """Return the score of each configuration.

    Parameters
    ----------
    metrics : METRICS_DTYPE[n], or arrays of n by the same names
        `win_rate_frac` and `funding_quote` are not read.
    constraints : Constraints
        Its drawdown limit, > 0, and fewest trades scale two terms.

    Returns
    -------
    score : float64[n] in [0..1]; 0.0 for what did not trade, lost money, or has a NaN.

    Raises: ValueError where the drawdown limit is not above zero.

    >>> good = {"trades": 50, "sharpe": 1.5, "return_frac": 0.3, "drawdown_frac_max": 0.2, "profit_factor": 1.5}
    >>> good |= {"fees_quote": 6_000.0, "equity_last_quote": 130_000.0}
    >>> compute_score({key: np.array([value]) for key, value in good.items()}, Constraints()).round(3).tolist()
    [0.545]
    """
    if not constraints.drawdown_frac_max > 0.0:
        raise ValueError(f"drawdown_frac_max is {constraints.drawdown_frac_max}, must be > 0: no score without a limit")
    columns = {key: np.asarray(metrics[key], np.float64) for key in _READ}
    weight_total = sum(term.weight for term in SCORE_TERMS)
    score = np.ones(len(columns["trades"]))
    with np.errstate(all="ignore"):
        for term in SCORE_TERMS:
            score *= np.clip(term.compute(columns, constraints), 0.0, 1.0) ** (term.weight / weight_total)
    return np.nan_to_num(score, nan=0.0)
