"""A sweep whose best may be promoted, and its signed record; each test spoils one thing."""

import dataclasses
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from market.kernel_cache import hash_kernel_sources
from risk.limits import LIMITS_DEFAULT, Limits
from strategies.catalog import parse_params
from sweeps.promotion.making import make_promotion
from sweeps.promotion.record import Promotion, sign_promotion
from sweeps.summary import Finalist, FoldSummary, Number, Overfitting, RoundSummary, SweepSummary

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DAY_MS = 86_400_000
COSTS = {"fee_taker_bps": 4.5, "fee_maker_bps": 1.5, "slippage_bps": 1.0}
EVIDENCE = {"trades": 88, "win_rate_frac": 0.5, "win_r_avg": 1.6, "loss_r_avg": 0.9}
PARAMS = parse_params("momentum_sar", {"trend_bars": 48, "size_frac": 3.0})._asdict()


def nest_limits(limits: Limits) -> dict[str, Any]:
    """Return limits as a sweep's summary has them."""
    return {
        key: dict(value._asdict()) if isinstance(value, tuple) else value for key, value in limits._asdict().items()
    }


def make_account(limits: Limits = LIMITS_DEFAULT, **costs: float) -> dict[str, Any]:
    """Return the account of a sweep."""
    return {"equity_start_quote": 100_000.0, "costs": COSTS | costs, "limits": nest_limits(limits)}


def make_overfitting(**changes: Any) -> Overfitting:
    """Return statistics of a result that chance hardly explains."""
    values = {field.name: 1.5 for field in dataclasses.fields(Overfitting)}
    counts = {"trials": 24, "configs_tested": 20, "days": 292, "pbo_logits": [-1.0, 0.5]}
    return Overfitting(**(values | counts | {"deflated_sharpe_prob": 0.9632} | changes))  # type: ignore[arg-type]


def make_promotable(best: dict[str, Any] | None = None, **changes: Any) -> SweepSummary:
    """Return the summary of a sweep without a fault; `best` changes its finalist."""
    params: dict[str, Number] = dict(PARAMS)
    metrics: dict[str, Number] = {"trades": 184, "sharpe": 2.31, "profit_factor": None}
    axes: dict[str, list[Number]] = {"trend_bars": [48, 96]}
    unseen: dict[str, Number] = {"trades": 47, "sharpe": 1.64, "profit_factor": 1.2}
    finalist = Finalist(
        "best", "coarse", 1, params, True, [], 0.77, 0.73, 0.9, metrics, unseen, {}, dict(EVIDENCE),
        [FoldSummary(0, DAY_MS, 2 * DAY_MS, 3 * DAY_MS, params, 2.1, metrics)],
    )  # fmt: skip
    data = {
        "instrument_ids": ["BTC-PERP.HYPERLIQUID", "ETH-PERP.HYPERLIQUID"],
        "interval_ms": 900_000,
        "bars": 28_032,
        "bars_holdout": 7_008,
        "from_ms": 0,
        "to_ms": 365 * DAY_MS,
        "holdout_from_ms": 292 * DAY_MS,
        "sha256": "3f1c" * 16,
    }
    values = {
        "name": "three-rounds",
        "strategy": "momentum_sar",
        "spec": {"space": {"trend_bars": [48, 96]}, "seed": 0},
        "data": data,
        "code_version": hash_kernel_sources(),
        "account": make_account(),
        "rounds": [RoundSummary("coarse", "grid", 24, 9, {"sharpe_min": 15}, 12, axes, None, {}, params)],
        "best": dataclasses.replace(finalist, **(best or {})),
        "median": None,
        "selection": [],
        "overfitting": make_overfitting(),
    }
    return SweepSummary(**(values | changes))


def make_signed(key: Ed25519PrivateKey = KEY, best: dict[str, Any] | None = None, **changes: Any) -> Promotion:
    """Return a record, signed."""
    promotion = make_promotion(make_promotable(best, **changes), hash_kernel_sources())
    return sign_promotion(promotion, key, 1_735_700_000_000)
