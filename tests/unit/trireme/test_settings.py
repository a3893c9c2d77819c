"""The shipped settings file is the defaults, key by key; every fault in one ends in a line that names its place."""

import dataclasses
import typing
from pathlib import Path
from typing import Any

import pytest

from actors.herald.channels import DiscordChannel, EmailChannel
from actors.herald.machine import Route
from actors.messages import Severity
from cluster.config import read_yaml
from risk.limits import LIMITS_DEFAULT
from trireme.settings import StrategySettings, _File, _HeraldKeys, read_settings

SHIPPED = Path(__file__).parents[3] / "trireme.yaml"


def list_keys(section_class: Any) -> dict[str, Any]:
    """Return the keys of a settings class, nested."""
    hints = typing.get_type_hints(section_class)
    return {
        name: list_keys(hint) if dataclasses.is_dataclass(hint) else None
        for name, hint in hints.items()
        if not name.startswith("_")
    }


def list_keys_of_mapping(mapping: Any, schema: Any) -> Any:
    """Return the keys of a mapping as deep as the schema has keys."""
    if schema is None or not isinstance(mapping, dict):
        return None
    return {key: list_keys_of_mapping(value, schema.get(key)) for key, value in mapping.items()}


def list_limit_keys(limits: Any) -> Any:
    return (
        {name: list_limit_keys(value) for name, value in limits._asdict().items()}
        if hasattr(limits, "_asdict")
        else None
    )


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    return path


def test_the_shipped_file_says_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = read_settings(SHIPPED)
    monkeypatch.chdir(tmp_path)
    assert shipped == read_settings(None)


def test_the_shipped_file_has_every_key_and_no_other() -> None:
    schema = list_keys(_File)
    schema["herald"] = list_keys(_HeraldKeys) | {"channels": None}
    schema["limits"] = list_limit_keys(LIMITS_DEFAULT)
    assert list_keys_of_mapping(read_yaml(SHIPPED), schema) == schema


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("equity_start_qote: 5.0", "t.yaml:1: unknown key 'equity_start_qote', did you mean 'equity_start_quote'?"),
        ("costs:\n  fee_taker: 1.0", "t.yaml:2: unknown key 'fee_taker', did you mean 'fee_taker_bps'?"),
        (
            "\nlimits:\n  kelly:\n    fractoin: 0.1",
            "t.yaml:4: limits.kelly: unknown key 'fractoin'",
        ),
        ("limits:\n  kely: {}", "t.yaml:2: limits: unknown key 'kely', did you mean 'kelly'?"),
        ("herald:\n  window: 5", "t.yaml:2: unknown key 'window', did you mean 'window_s'?"),
        ("supervisor:\n  failures: 5", "t.yaml:2: unknown key 'failures', did you mean 'failures_max'?"),
        ("equity_start_quote: much", "t.yaml:1: equity_start_quote is 'much', must be a number"),
        ("market: {seed: 1.5}", "t.yaml:1: market.seed is 1.5, must be a whole number"),
        ("supervisor:\n  failures_max: 2.5", "t.yaml:2: supervisor.failures_max is 2.5, must be a whole number"),
        ("herald: yes", "t.yaml:1: herald is True, must be 'key: value' lines"),
        ("herald:\n  channels: [ops]", "t.yaml:2: herald.channels must be lines of 'name: {kind: ..., ...}'"),
        ("equity_start_quote: 0", "t.yaml:1: equity_start_quote is 0.0, must be at least 1.0"),
        ("costs:\n  slippage_bps: 501", "t.yaml:2: costs.slippage_bps is 501.0, must be at most 500.0"),
        ("limits:\n  hard_stop:\n    risk_frac_max: 7", "t.yaml:3: limits.hard_stop.risk_frac_max is 7.0, allowed is"),
        ("supervisor:\n\n  period_s: 0", "t.yaml:3: supervisor.period_s is 0.0, must be at least 0.05"),
        ("herald:\n  repeat_s: .nan", "t.yaml:2: herald.repeat_s is not a number (NaN)"),
        ("herald:\n  routes: [{channels: [ops]}]", "t.yaml:2: no channel is named ops: add it to herald.channels"),
        (
            "herald:\n  routes:\n    - {channels: [], severity_min: loud}",
            "t.yaml:3: herald.routes[0].severity_min",
        ),
        ("herald:\n  channels:\n    ops: {kind: pigeon}", "t.yaml:3: channel ops, kind: 'pigeon' is none of discord"),
        (
            "strategies:\n  - {name: scalper, params: {stop_atr: 5}, promotion: a.json}",
            "t.yaml:2: strategy scalper has params and a promotion, which has its own: keep one",
        ),
        (
            "strategies:\n  - name: scalper\n  - {name: scalper}",
            "t.yaml:3: strategy scalper is listed twice: an account runs it once",
        ),
        ("costs:\n  slippage_bps: 1\n  slippage_bps: 2", "t.yaml:3: key 'slippage_bps' is given twice"),
    ],
)
def test_every_fault_names_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"t\.yaml") as raised:
        read_settings(write(tmp_path, text))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    text = "herald:\n  channels:\n    ops: {kind: discord, url: 'https://discord.example/hook/s3cret'}"
    with pytest.raises(ValueError, match=r"t\.yaml:3: channel ops, url: write") as raised:
        read_settings(write(tmp_path, text))
    assert "s3cret" not in str(raised.value)


def test_channels_and_routes_are_read(tmp_path: Path) -> None:
    text = """
herald:
  channels:
    ops: {kind: discord, url: "env:HOOK"}
    boss: {kind: email, host: mail.example.org, sender: a@b.example, recipients: [c@d.example]}
  routes:
    - {channels: [ops]}
    - {channels: [boss], severity_min: critical, key_prefix: governor.}
  escalation_channels: [boss]
  window_s: 30
"""
    herald = read_settings(write(tmp_path, text)).herald
    assert herald.channels == {
        "ops": DiscordChannel("ops", "env:HOOK"),
        "boss": EmailChannel("boss", "mail.example.org", "a@b.example", ("c@d.example",)),
    }
    assert herald.policy.routes == (
        Route(Severity.WARNING, ("ops",)),
        Route(Severity.CRITICAL, ("boss",), "governor."),
    )
    assert (herald.policy.escalation_channels, herald.policy.window_ns) == (("boss",), 30_000_000_000)


def test_channels_without_routes_hear_of_whatever_is_wrong(tmp_path: Path) -> None:
    herald = read_settings(write(tmp_path, 'herald: {channels: {ops: {kind: discord, url: "env:HOOK"}}}')).herald
    assert herald.policy.routes == (Route(Severity.WARNING, ("ops",)),)


def test_the_supervisor_speaks_seconds_in_the_file_and_nanoseconds_inside(tmp_path: Path) -> None:
    policy = read_settings(write(tmp_path, "supervisor: {suspect_s: 2.5, failures_max: 3}")).supervisor.make_policy()
    assert (policy.suspect_max_ns, policy.failures_max, policy.backoff_ns) == (2_500_000_000, 3, 1_000_000_000)


def test_a_promoted_strategy_has_no_parameters_of_its_own(tmp_path: Path) -> None:
    text = "strategies:\n  - name: scalper\n    promotion: a.json\n"
    assert read_settings(write(tmp_path, text)).strategies == (StrategySettings("scalper", {}, Path("a.json")),)
