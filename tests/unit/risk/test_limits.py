"""Limits from yaml: every number has a range, every fault is named with its mend."""

from typing import Any

import pytest

from risk.limits import (
    LIMITS_DEFAULT,
    LIMITS_NONE,
    RANGES,
    check_limits,
    check_limits_for_orders,
    parse_limits,
    switch,
)


def test_every_field_of_every_rule_has_a_range() -> None:
    assert set(RANGES) == set(LIMITS_DEFAULT._fields) - {"enabled"}
    for rule, ranges in RANGES.items():
        fields = set(getattr(LIMITS_DEFAULT, rule)._fields) - {"enabled"}
        assert set(ranges) == fields, rule
    check_limits(LIMITS_DEFAULT)


def test_parsing_keeps_the_type_of_each_field() -> None:
    limits = parse_limits({"exposure": {"net_max": 1}, "positions": {"positions_max": 3.0}, "enabled": True})
    assert repr(limits.exposure.net_max) == "1.0"
    assert repr(limits.positions.positions_max) == "3"
    assert limits.kelly == LIMITS_DEFAULT.kelly
    assert parse_limits({}) == LIMITS_DEFAULT
    assert parse_limits({"cooldown": {"enabled": False}}) == switch(LIMITS_DEFAULT, False, "cooldown")
    nested = {
        rule: dict(getattr(LIMITS_NONE, rule)._asdict()) if rule != "enabled" else False for rule in LIMITS_NONE._fields
    }
    assert parse_limits(nested) == LIMITS_NONE


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"kely": {}}, "limits: unknown key 'kely', did you mean 'kelly'?"),
        ({"kelly": {"fractoin": 1}}, "limits.kelly: unknown key 'fractoin', did you mean 'fraction'?"),
        ({"deduplication": {"zzz": 1}}, "limits.deduplication: unknown key 'zzz', known are enabled"),
        ({"kelly": 3}, "limits.kelly is 3, expected keys and values like {fraction: 0.01}"),
        ({"kelly": {"fraction": "half"}}, "limits.kelly.fraction is 'half', expected a finite number"),
        ({"kelly": {"fraction": True}}, "limits.kelly.fraction is True, expected a finite number"),
        ({"kelly": {"fraction": 2.0}}, "limits.kelly.fraction is 2.0, allowed is 0.01 to 1"),
        ({"kelly": {"fraction": float("nan")}}, "limits.kelly.fraction is nan, expected a finite number"),
        ({"kelly": {"enabled": 1}}, "limits.kelly.enabled is 1, expected true or false"),
        ({"positions": {"positions_max": 2.5}}, "limits.positions.positions_max is 2.5, expected a whole number"),
        ({"positions": {"positions_max": float("inf")}}, "limits.positions.positions_max is inf, expected a finite"),
        ({"kelly": {"risk_frac_min": 0.06}}, "limits.kelly.risk_frac_min is 0.06, above risk_frac_max 0.05"),
        ({3: {}}, "limits: unknown key 3, known are"),
        ([], "limits is [], expected rules"),
    ],
)
def test_faults_are_named(mapping: Any, message: str) -> None:
    with pytest.raises(ValueError, match="limits") as error:
        parse_limits(mapping)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_no_rule_may_be_off_where_orders_are_sent() -> None:
    check_limits_for_orders(LIMITS_DEFAULT)
    with pytest.raises(ValueError, match=r"limits\.enabled is false"):
        check_limits_for_orders(LIMITS_NONE)
    for rule in RANGES:
        if rule not in ("estimate", "prior"):
            with pytest.raises(ValueError, match=rf"limits\.{rule}\.enabled is false"):
                check_limits_for_orders(switch(LIMITS_DEFAULT, False, rule))


def test_no_prior_by_hand_where_orders_are_sent() -> None:
    limits = parse_limits({"prior": {"weight_trades": 50, "win_rate_frac": 0.9}})
    with pytest.raises(ValueError, match=r"limits\.prior\.weight_trades is 50, allowed in backtests only") as error:
        check_limits_for_orders(limits)
    assert "\n" not in str(error.value)
