"""A record allows the run it was tested for, and says why it does not allow another, with both values."""

import dataclasses
from typing import Any

import pytest

from market.fills import Costs
from market.kernel_cache import hash_kernel_sources
from market.records import NS_PER_S
from risk.limits import LIMITS_DEFAULT
from sweeps.promotion.fit import find_misfits
from sweeps.promotion.record import Promotion
from tests.unit.sweeps.promotion.promotable import COSTS, PARAMS, make_account, make_signed

BTC, ETH = "BTC-PERP.HYPERLIQUID", "ETH-PERP.HYPERLIQUID"


def ask(promotion: Promotion, **changes: Any) -> list[str]:
    run: dict[str, Any] = {
        "code_version": hash_kernel_sources(),
        "costs": Costs(**COSTS),
        "limits": LIMITS_DEFAULT,
        "interval_ns": 900 * NS_PER_S,
        "instrument_ids": (BTC, ETH),
    }
    return find_misfits(promotion, **(run | changes))


def test_the_run_that_was_tested_is_allowed() -> None:
    assert ask(make_signed()) == []
    assert ask(make_signed(), instrument_ids=(ETH,)) == []
    assert ask(make_signed(account=make_account(fee_taker_bps=9.0)), costs=Costs(4.5, 1.5, 1.0)) == []
    assert ask(make_signed(), costs=Costs(4.5, -1.0, 0.0)) == []


def test_the_record_brings_its_own_prior() -> None:
    given = LIMITS_DEFAULT.prior._replace(weight_trades=3.0)
    assert ask(make_signed(), limits=LIMITS_DEFAULT._replace(prior=given)) == []


@pytest.mark.parametrize("name", COSTS)
def test_costs_that_were_cheaper_are_refused(name: str) -> None:
    promotion = make_signed(account=make_account(**{name: 0.5}))
    [misfit] = ask(promotion)
    assert misfit == (
        f"promotion {promotion.id} of momentum_sar: tested with {name} 0.5, cheaper than the settings' {COSTS[name]}"
    )


@pytest.mark.parametrize(
    ("changes", "misfit"),
    [
        ({"code_version": "0123"}, f"tested with code {hash_kernel_sources()}, running is 0123: sweep again"),
        ({"interval_ns": 3600 * NS_PER_S}, "tested on bars of 900000 ms, these are of 3600000 ms"),
        ({"instrument_ids": (BTC, "SOL-PERP.DYDX")}, f"SOL-PERP.DYDX is to be traded, tested were {BTC}, {ETH}"),
        (
            {"limits": LIMITS_DEFAULT._replace(kelly=LIMITS_DEFAULT.kelly._replace(fraction=0.25))},
            "tested with limits.kelly.fraction 0.5, the settings say 0.25",
        ),
        (
            {"limits": LIMITS_DEFAULT._replace(daily_loss=LIMITS_DEFAULT.daily_loss._replace(enabled=False))},
            "tested with limits.daily_loss.enabled True, the settings say False",
        ),
        ({"limits": LIMITS_DEFAULT._replace(enabled=False)}, "tested with limits.enabled True, the settings say False"),
    ],
)
def test_another_run_is_refused_with_both_values(changes: dict[str, Any], misfit: str) -> None:
    promotion = make_signed()
    assert ask(promotion, **changes) == [f"promotion {promotion.id} of momentum_sar: {misfit}"]


def test_every_reason_is_told_at_once() -> None:
    assert len(ask(make_signed(), code_version="0", interval_ns=1, instrument_ids=("A", "B"))) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"params": {**PARAMS, "trend_bars": 0}}, "momentum_sar.trend_bars is 0, must be"),
        ({"params": {"trend_bars": 48}}, "strategy momentum_sar lacks the parameter"),
        ({"params": {**PARAMS, "luck": 1}}, "has no parameter 'luck'"),
        (
            {"prior": {**make_signed().prior, "weight_trades": 1e9}},
            "limits.prior.weight_trades is 1000000000.0, allowed",
        ),
        ({"account": make_account() | {"limits": {}}}, "tested with limits.enabled None, the settings say True"),
        ({"account": make_account() | {"costs": {}}}, "tested with fee_taker_bps None, cheaper than the settings' 4.5"),
    ],
)
def test_a_record_that_says_nonsense_is_refused_whoever_signed_it(changes: dict[str, Any], said: str) -> None:
    assert said in ask(dataclasses.replace(make_signed(), **changes))[0]
