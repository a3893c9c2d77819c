"""The limits: the params of every rule in one record, their defaults, and the checks at the edge.

Compiled kernels trust what they are given, so everything from a file passes `parse_limits` first.
"""

import difflib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from risk.breaker import BREAKER_DEFAULT, BREAKER_RANGES, BreakerParams
from risk.cooldown import COOLDOWN_DEFAULT, COOLDOWN_RANGES, CooldownParams
from risk.correlation import CORRELATION_DEFAULT, CORRELATION_RANGES, CorrelationParams
from risk.daily_loss import DAILY_LOSS_DEFAULT, DAILY_LOSS_RANGES, DailyLossParams
from risk.data_quality import DATA_QUALITY_DEFAULT, DATA_QUALITY_RANGES, DataQualityParams
from risk.deduplication import DEDUPLICATION_DEFAULT, DEDUPLICATION_RANGES, DeduplicationParams
from risk.estimate import ESTIMATE_DEFAULT, ESTIMATE_RANGES, PRIOR_NONE, PRIOR_RANGES, EstimateParams, Prior
from risk.exit_tracking import EXIT_TRACKING_DEFAULT, EXIT_TRACKING_RANGES, ExitTrackingParams
from risk.exposure import EXPOSURE_DEFAULT, EXPOSURE_RANGES, ExposureParams
from risk.hard_stop import HARD_STOP_DEFAULT, HARD_STOP_RANGES, HardStopParams
from risk.kelly import KELLY_DEFAULT, KELLY_RANGES, KellyParams
from risk.leverage import LEVERAGE_DEFAULT, LEVERAGE_RANGES, LeverageParams
from risk.ownership import OWNERSHIP_DEFAULT, OWNERSHIP_RANGES, OwnershipParams
from risk.positions import POSITIONS_DEFAULT, POSITIONS_RANGES, PositionsParams
from risk.rate_limit import RATE_LIMIT_DEFAULT, RATE_LIMIT_RANGES, RateLimitParams
from risk.reward_to_risk import REWARD_TO_RISK_DEFAULT, REWARD_TO_RISK_RANGES, RewardToRiskParams
from risk.stops import (
    STOPS_DEFAULT,
    STOPS_RANGES,
    TRAILING_DEFAULT,
    TRAILING_RANGES,
    StopsParams,
    TrailingParams,
)


class Limits(NamedTuple):
    """All rules. `enabled` False: no rule at all, for backtests that ask for it by name."""

    enabled: bool
    data_quality: DataQualityParams
    deduplication: DeduplicationParams
    daily_loss: DailyLossParams
    breaker: BreakerParams
    ownership: OwnershipParams
    positions: PositionsParams
    cooldown: CooldownParams
    rate_limit: RateLimitParams
    stops: StopsParams
    trailing: TrailingParams
    estimate: EstimateParams
    prior: Prior
    reward_to_risk: RewardToRiskParams
    kelly: KellyParams
    hard_stop: HardStopParams
    leverage: LeverageParams
    exposure: ExposureParams
    correlation: CorrelationParams
    exit_tracking: ExitTrackingParams


LIMITS_DEFAULT = Limits(
    enabled=True,
    data_quality=DATA_QUALITY_DEFAULT,
    deduplication=DEDUPLICATION_DEFAULT,
    daily_loss=DAILY_LOSS_DEFAULT,
    breaker=BREAKER_DEFAULT,
    ownership=OWNERSHIP_DEFAULT,
    positions=POSITIONS_DEFAULT,
    cooldown=COOLDOWN_DEFAULT,
    rate_limit=RATE_LIMIT_DEFAULT,
    stops=STOPS_DEFAULT,
    trailing=TRAILING_DEFAULT,
    estimate=ESTIMATE_DEFAULT,
    prior=PRIOR_NONE,
    reward_to_risk=REWARD_TO_RISK_DEFAULT,
    kelly=KELLY_DEFAULT,
    hard_stop=HARD_STOP_DEFAULT,
    leverage=LEVERAGE_DEFAULT,
    exposure=EXPOSURE_DEFAULT,
    correlation=CORRELATION_DEFAULT,
    exit_tracking=EXIT_TRACKING_DEFAULT,
)

RANGES: dict[str, Mapping[str, tuple[float, float]]] = {
    "data_quality": DATA_QUALITY_RANGES,
    "deduplication": DEDUPLICATION_RANGES,
    "daily_loss": DAILY_LOSS_RANGES,
    "breaker": BREAKER_RANGES,
    "ownership": OWNERSHIP_RANGES,
    "positions": POSITIONS_RANGES,
    "cooldown": COOLDOWN_RANGES,
    "rate_limit": RATE_LIMIT_RANGES,
    "stops": STOPS_RANGES,
    "trailing": TRAILING_RANGES,
    "estimate": ESTIMATE_RANGES,
    "prior": PRIOR_RANGES,
    "reward_to_risk": REWARD_TO_RISK_RANGES,
    "kelly": KELLY_RANGES,
    "hard_stop": HARD_STOP_RANGES,
    "leverage": LEVERAGE_RANGES,
    "exposure": EXPOSURE_RANGES,
    "correlation": CORRELATION_RANGES,
    "exit_tracking": EXIT_TRACKING_RANGES,
}
"""Rule -> field -> (lowest, highest), both allowed. Every number of every rule has a row."""


def switch(limits: Limits, is_on: bool, *rules: str) -> Limits:
    """Return the limits with the named rules switched on or off; all that can be when none is named."""
    names = rules or tuple(name for name in RANGES if "enabled" in getattr(limits, name)._fields)
    return limits._replace(**{name: getattr(limits, name)._replace(enabled=is_on) for name in names})


LIMITS_NONE = switch(LIMITS_DEFAULT, False)._replace(enabled=False)


def parse_limits(mapping: Mapping[str, Any], base: Limits = LIMITS_DEFAULT) -> Limits:
    """Return `base` with the values of a nested mapping, as read from yaml, in place of its own.

    Raises ValueError that names the key, what is wrong with it, and the mend.

    >>> parse_limits({"hard_stop": {"risk_frac_max": 0.01}}).hard_stop
    HardStopParams(enabled=True, risk_frac_max=0.01)
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"limits is {mapping!r}, expected rules with their values")
    changed: dict[str, Any] = {}
    for rule, values in mapping.items():
        if rule == "enabled":
            changed[rule] = _parse_value("limits.enabled", values, True)
            continue
        _check_known("limits", rule, ("enabled", *RANGES))
        if not isinstance(values, Mapping):
            raise ValueError(f"limits.{rule} is {values!r}, expected keys and values like {_example(rule)}")
        params = getattr(base, rule)
        for key, value in values.items():
            _check_known(f"limits.{rule}", key, params._fields)
            params = params._replace(**{key: _parse_value(f"limits.{rule}.{key}", value, getattr(params, key))})
        changed[rule] = params
    limits = base._replace(**changed)
    check_limits(limits)
    return limits


def check_limits(limits: Limits) -> None:
    """Raise ValueError if a number is out of its range or two contradict each other."""
    for rule, ranges in RANGES.items():
        for key, (low, high) in ranges.items():
            value = getattr(getattr(limits, rule), key)
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"limits.{rule}.{key} is {value!r}, allowed is {low:g} to {high:g}")
    if limits.kelly.risk_frac_min > limits.kelly.risk_frac_max:
        raise ValueError(
            f"limits.kelly.risk_frac_min is {limits.kelly.risk_frac_min!r}, above risk_frac_max "
            f"{limits.kelly.risk_frac_max!r}: lower the first or raise the second"
        )


def check_limits_for_orders(limits: Limits) -> None:
    """Raise ValueError on what is allowed in backtests, never where orders are sent.

    That is a rule switched off, and a prior written by hand: there a strategy has one from its promotion, or none.
    """
    if not limits.enabled:
        raise ValueError("limits.enabled is false, allowed in backtests only: remove the line")
    for rule in RANGES:
        if not getattr(getattr(limits, rule), "enabled", True):
            raise ValueError(f"limits.{rule}.enabled is false, allowed in backtests only: remove the line")
    if limits.prior.weight_trades > 0.0:
        raise ValueError(
            f"limits.prior.weight_trades is {limits.prior.weight_trades:g}, allowed in backtests only: remove "
            "the line; a strategy's prior comes from its promotion record"
        )


def _example(rule: str) -> str:
    # One line a reader can copy.
    key, (low, _) = next(iter(RANGES[rule].items()), ("enabled", (1, 1)))
    return f"{{{key}: {low if key != 'enabled' else 'true'}}}"


def _check_known(where: str, key: object, known: tuple[str, ...]) -> None:
    if key in known:
        return
    close = difflib.get_close_matches(str(key), known, 1, 0.5)
    mend = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    raise ValueError(f"{where}: unknown key {key!r}, {mend}")


def _parse_value(where: str, value: object, like: bool | int | float) -> bool | int | float:
    # The type decides which kernel is compiled: an int where a float belongs would compile a second one.
    if isinstance(like, bool):
        if isinstance(value, bool):
            return value
        raise ValueError(f"{where} is {value!r}, expected true or false")
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e15 < value < 1e15:
        raise ValueError(f"{where} is {value!r}, expected a finite number")
    if isinstance(like, float):
        return float(value)
    if value != int(value):
        raise ValueError(f"{where} is {value!r}, expected a whole number")
    return int(value)
