"""Whether a promotion record fits what is to be run: same code, limits and bars, no cheaper costs, nothing untested."""

from collections.abc import Iterable, Mapping
from typing import Any

from market.fills import Costs
from market.records import NS_PER_MS
from risk.limits import Limits, check_limits
from sweeps.promotion.making import make_whole_params
from sweeps.promotion.record import Promotion


def find_misfits(
    promotion: Promotion,
    *,
    code_version: str,
    costs: Costs,
    limits: Limits,
    interval_ns: int,
    instrument_ids: Iterable[str],
) -> list[str]:
    """Return why the record does not allow this run, a line for each reason with both values; []: it allows it.

    costs, limits: the settings'. What was tested may have cost more, and must have obeyed the same limits; a prior in
    them is not compared: the record brings its own.
    """
    misfits = []
    if promotion.code_version != code_version:
        misfits.append(f"tested with code {promotion.code_version}, running is {code_version}: sweep again")
    tested_costs = promotion.account["costs"]
    for name, cost in costs._asdict().items():
        if not tested_costs.get(name, float("-inf")) >= cost:
            misfits.append(f"tested with {name} {tested_costs.get(name)}, cheaper than the settings' {cost}")
    tested_limits = _flatten(promotion.account["limits"])
    for name, value in _flatten(limits._asdict()).items():
        if not name.startswith("prior.") and tested_limits.get(name) != value:
            misfits.append(f"tested with limits.{name} {tested_limits.get(name)}, the settings say {value}")
    interval_ms = interval_ns // NS_PER_MS
    if promotion.data["interval_ms"] != interval_ms:
        misfits.append(f"tested on bars of {promotion.data['interval_ms']} ms, these are of {interval_ms} ms")
    tested_ids = promotion.data["instrument_ids"]
    for instrument_id in instrument_ids:
        if instrument_id not in tested_ids:
            misfits.append(f"{instrument_id} is to be traded, tested were {', '.join(tested_ids)}")
    try:
        make_whole_params(promotion.strategy, promotion.params)
        check_limits(limits._replace(prior=promotion.make_prior()))
    except ValueError as error:
        misfits.append(str(error))
    return [f"promotion {promotion.id} of {promotion.strategy}: {misfit}" for misfit in misfits]


def _flatten(limits: Mapping[str, Any]) -> dict[str, Any]:
    # "rule.key" -> value; of nested dicts as of nested records.
    flat: dict[str, Any] = {}
    for rule, params in limits.items():
        values = params._asdict() if hasattr(params, "_asdict") else params
        flat |= (
            {f"{rule}.{key}": value for key, value in values.items()} if isinstance(values, dict) else {rule: values}
        )
    return flat
