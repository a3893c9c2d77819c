"""The scars: each loss shows with its guard off and is held with it on, through the real kernels."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

import sweeps.scars
from risk.limits import LIMITS_DEFAULT, switch
from sweeps.scars import LIMITS_BARE, SCARS, Scar, ScarResult, run_scars
from trireme.scars import scars

RESULTS = {result.scar.guard: result for result in run_scars()}


@pytest.mark.parametrize("scar", SCARS, ids=lambda scar: scar.guard)
def test_the_loss_shows_without_the_guard_and_is_held_by_it(scar: Scar) -> None:
    result = RESULTS[scar.guard]
    assert not result.unguarded.is_held
    assert result.unguarded.trades_until_held == 0
    assert "nothing denied" in result.unguarded.what or scar.guard in ("stops", "kelly")
    assert result.guarded.is_held
    assert result.default.is_held
    assert result.guarded.trades_until_held > 0
    assert result.guarded.loss_quote < 0.3 * result.unguarded.loss_quote
    assert result.default.loss_quote < 0.3 * result.unguarded.loss_quote


@pytest.mark.parametrize(
    ("guard", "trades", "loss_unguarded_quote", "trades_until_held", "loss_guarded_quote_max"),
    [
        ("breaker", 613, 41.27, 18, 1.5),  # the source's numbers
        ("reward_to_risk", 500, 5.02, 30, 1.5),  # 470 x 0.013 - 30 x 0.371
        ("cooldown", 1680, 252.0, 1, 21 * 0.15 + 0.01),  # one an hour
        ("deduplication", 63, 126.0, 1, 2.0),
        ("stops", 1, 50.0, 1, 3.01),
        ("exit_tracking", 100, 212.76, 14, 50.0),
        ("kelly", 32, 128.21, 31, 25.0),
    ],
)
def test_amounts(
    guard: str, trades: int, loss_unguarded_quote: float, trades_until_held: int, loss_guarded_quote_max: float
) -> None:
    result = RESULTS[guard]
    assert result.unguarded.trades == trades
    assert result.unguarded.loss_quote == pytest.approx(loss_unguarded_quote, abs=0.005)
    assert result.guarded.trades_until_held == trades_until_held
    assert result.guarded.loss_quote <= loss_guarded_quote_max


def test_each_guarded_run_switches_on_one_rule_only() -> None:
    for scar in SCARS:
        limits = switch(LIMITS_BARE, True, scar.guard)
        on = [
            rule
            for rule in limits._fields
            if getattr(getattr(limits, rule), "enabled", False) and getattr(limits, rule) != getattr(LIMITS_BARE, rule)
        ]
        assert on == [scar.guard]
        assert getattr(limits, scar.guard) == getattr(LIMITS_DEFAULT, scar.guard)


def test_a_scar_runs_the_same_every_time() -> None:
    for scar in SCARS:
        assert scar.run(LIMITS_DEFAULT) == RESULTS[scar.guard].default


def test_the_command_prints_the_list_and_the_table() -> None:
    result = CliRunner().invoke(scars, ["--json"])
    rows = json.loads(result.stdout)
    assert [row["guard"] for row in rows] == [scar.guard for scar in SCARS]
    assert all(
        list(row) == ["scar", "guard", "held", "trades_until_held", "loss_unguarded_quote", "loss_guarded_quote"]
        for row in rows
    )
    assert all(row["held"] is True for row in rows)
    table = CliRunner().invoke(scars, []).stdout
    assert "7 of 7 held" in table
    assert "41.27" in table
    assert table.count("yes") == 7


def test_the_command_fails_if_a_scar_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    first = RESULTS["breaker"]
    broken: list[ScarResult] = [replace(first, guarded=first.unguarded)]
    monkeypatch.setattr(sweeps.scars, "run_scars", lambda: broken)
    assert scars.main(["--json"], standalone_mode=False) == 1
    monkeypatch.setattr(sweeps.scars, "run_scars", lambda: [first])
    assert scars.main(["--json"], standalone_mode=False) == 0
