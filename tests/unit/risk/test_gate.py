"""The gate: each rule denies by its own Reason, approvals keep every bound, denials change nothing."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.reasons import Reason
from risk.account import apply_halt, apply_mark
from risk.breaker import release_breaker
from risk.evidence import apply_trade_closed
from risk.gate import decide_entry
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE, Limits, switch
from risk.state import SLOT_RISK_NEW, STRATEGY_RISK_NEW, EntryRequest, TradeOutcome
from tests.unit.risk.entries import EQUITY_QUOTE, S_NS, TS_NS, ask, make_account, make_request, make_strategy

NAN, INF = math.nan, math.inf


def test_an_ordinary_entry_is_approved_at_the_floor_size() -> None:
    approval = ask()
    # 1 % of 10,000 at risk; a lot of 0.01 loses 0.01 x (2 + 0.1) at the stop: 100 / 0.021 = 4,761 lots.
    assert approval.qty_lots == 4761
    assert approval.stop_px == 98.0
    assert approval.take_profit_px == 0.0
    assert approval.risk_quote == pytest.approx(99.981)
    assert approval.reason == Reason.OK
    short = ask(side=-1, target_frac=-1.0, take_profit_distance_px=5.0)
    assert (short.qty_lots, short.stop_px, short.take_profit_px) == (-4761, 102.0, 95.0)


DENIALS: list[tuple[Reason, dict[str, Any]]] = [
    (Reason.DATA_QUALITY, {"quality": 1}),
    (Reason.DATA_QUALITY, {"decision_px": NAN}),
    (Reason.DATA_QUALITY, {"decision_px": INF}),
    (Reason.DATA_QUALITY, {"decision_px": 0.0}),
    (Reason.DATA_QUALITY, {"decision_px": -1.0}),
    (Reason.DATA_QUALITY, {"target_frac": NAN}),
    (Reason.DATA_QUALITY, {"target_frac": -1.0}),
    (Reason.DATA_QUALITY, {"side": 0}),
    (Reason.DATA_QUALITY, {"lot_base": 0.0}),
    (Reason.DATA_QUALITY, {"qty_lots_min": 0}),
    (Reason.DATA_QUALITY, {"qty_lots_now": -1}),
    (Reason.DATA_QUALITY, {"cost_round_trip_frac": NAN}),
    (Reason.DATA_QUALITY, {"cost_round_trip_frac": -0.1}),
    (Reason.DATA_QUALITY, {"take_profit_distance_px": NAN}),
    (Reason.DATA_QUALITY, {"notional_min_quote": NAN}),
    (Reason.DATA_QUALITY, {"ts_decision_ns": TS_NS - 31 * S_NS}),
    (Reason.DATA_QUALITY, {"ts_decision_ns": TS_NS + 1}),
    (Reason.INSTRUMENT_OWNED, {"is_owned_by_other": 1}),
    (Reason.POSITIONS_TOO_MANY, {"positions_open": 10}),
    (Reason.POSITIONS_TOO_MANY, {"positions_open": -1}),
    (Reason.NO_STOP, {"stop_distance_px": 0.0}),
    (Reason.NO_STOP, {"stop_distance_px": -1.0}),
    (Reason.NO_STOP, {"stop_distance_px": NAN}),
    (Reason.NO_STOP, {"stop_distance_px": INF}),
    (Reason.NO_STOP, {"stop_distance_px": 25.1}),
    (Reason.LEVERAGE_INSTRUMENT, {"notional_instrument_quote": 29_995.0}),
    (Reason.LEVERAGE_INSTRUMENT, {"notional_instrument_quote": NAN}),
    (Reason.LEVERAGE_INSTRUMENT, {"notional_instrument_quote": -1.0}),
    (Reason.LEVERAGE_INSTRUMENT, {"leverage_max": NAN}),
    (Reason.LEVERAGE_INSTRUMENT, {"leverage_max": 0.0}),
    (Reason.EXPOSURE_VENUE, {"notional_venue_quote": 29_995.0}),
    (Reason.EXPOSURE_VENUE, {"notional_venue_quote": NAN}),
    (Reason.EXPOSURE_ACCOUNT, {"notional_account_quote": 29_995.0}),
    (Reason.EXPOSURE_ACCOUNT, {"notional_account_quote": NAN}),
    (Reason.EXPOSURE_NET, {"notional_net_quote": 19_995.0}),
    (Reason.EXPOSURE_NET, {"notional_net_quote": NAN}),
    (Reason.EXPOSURE_NET, {"notional_net_quote": -INF}),
    (Reason.CORRELATION, {"notional_correlated_quote": 19_995.0}),
    (Reason.CORRELATION, {"notional_correlated_quote": NAN}),
    (Reason.HARD_STOP, {"lot_base": 100.0}),
    (Reason.REWARD_TO_RISK, {"take_profit_distance_px": 0.1}),
    (Reason.BELOW_MINIMUM_SIZE, {"target_frac": 0.0005}),
    (Reason.BELOW_MINIMUM_SIZE, {"qty_lots_now": 4761}),
]


@pytest.mark.parametrize(("reason", "changes"), DENIALS, ids=lambda value: str(value))
def test_one_spoiled_field_denies_by_its_own_reason(reason: Reason, changes: dict[str, Any]) -> None:
    approval = ask(**changes)
    assert Reason(approval.reason) is reason
    assert approval[:4] == (0, 0.0, 0.0, 0.0)


def test_what_the_past_says_denies() -> None:
    ok = make_account()
    latched = apply_mark(ok, LIMITS_DEFAULT, 0.95 * EQUITY_QUOTE, TS_NS)
    assert ask(account=latched).reason == Reason.DAILY_LOSS
    assert ask(account=apply_mark(ok, LIMITS_DEFAULT, NAN, TS_NS)).reason == Reason.EQUITY_UNKNOWN
    assert ask(account=apply_halt(ok, TS_NS)).reason == Reason.LATCHED
    for reason in (Reason.BREAKER_WIN_RATE, Reason.BREAKER_LOSS_RUN):
        broken = STRATEGY_RISK_NEW._replace(latch_reason=reason.value)
        assert ask(strategy=broken).reason == reason
        assert ask(strategy=release_breaker(broken)).reason == Reason.OK
    assert ask(slot=SLOT_RISK_NEW._replace(ts_decided_ns=TS_NS)).reason == Reason.DUPLICATE_INTENT
    assert ask(slot=SLOT_RISK_NEW._replace(ts_cooldown_until_ns=TS_NS + 1)).reason == Reason.COOLDOWN
    full_in_ns = TS_NS + 24 * 3600 * S_NS
    assert ask(slot=SLOT_RISK_NEW._replace(ts_bucket_ns=full_in_ns)).reason == Reason.RATE_LIMIT_INSTRUMENT
    assert ask(strategy=STRATEGY_RISK_NEW._replace(ts_bucket_ns=full_in_ns)).reason == Reason.RATE_LIMIT_STRATEGY
    assert ask(account=ok._replace(ts_bucket_ns=full_in_ns)).reason == Reason.RATE_LIMIT_ACCOUNT
    assert ask(strategy=make_strategy(40, 60)).reason == Reason.REWARD_TO_RISK
    # A thin edge: expectancy above zero at the bound, half Kelly of it below the floor.
    assert ask(strategy=make_strategy(520, 480)).reason == Reason.KELLY_TOO_LOW


def test_a_stopped_trade_closes_the_slot_for_an_hour() -> None:
    _, slot = apply_trade_closed(
        STRATEGY_RISK_NEW, SLOT_RISK_NEW, LIMITS_DEFAULT, TradeOutcome(-5.0, 10.0, True), TS_NS - 3599 * S_NS
    )
    assert ask(slot=slot).reason == Reason.COOLDOWN
    _, slot = apply_trade_closed(
        STRATEGY_RISK_NEW, SLOT_RISK_NEW, LIMITS_DEFAULT, TradeOutcome(-5.0, 10.0, True), TS_NS - 3600 * S_NS
    )
    assert ask(slot=slot).reason == Reason.OK
    _, slot = apply_trade_closed(
        STRATEGY_RISK_NEW, SLOT_RISK_NEW, LIMITS_DEFAULT, TradeOutcome(-5.0, 10.0, False), TS_NS
    )
    assert slot == SLOT_RISK_NEW


def test_an_approval_spends_a_token_of_each_bucket_and_a_denial_only_remembers() -> None:
    account, strategy, slot, approval = decide_entry(
        make_account(), STRATEGY_RISK_NEW, SLOT_RISK_NEW, LIMITS_DEFAULT, make_request(), TS_NS
    )
    assert approval.reason == Reason.OK
    assert (account.ts_bucket_ns - TS_NS) / S_NS == 1.0
    assert (strategy.ts_bucket_ns - TS_NS) / S_NS == 15.0
    assert (slot.ts_bucket_ns - TS_NS) / S_NS == 300.0
    denied = decide_entry(
        make_account(), STRATEGY_RISK_NEW, SLOT_RISK_NEW, LIMITS_DEFAULT, make_request(stop_distance_px=0.0), TS_NS
    )
    assert denied[:3] == (make_account(), STRATEGY_RISK_NEW, SLOT_RISK_NEW._replace(ts_decided_ns=TS_NS))
    # The same decision, mended, is still the same decision.
    again = decide_entry(*denied[:3], LIMITS_DEFAULT, make_request(), TS_NS + S_NS)
    assert again[3].reason == Reason.DUPLICATE_INTENT


def test_a_decision_dated_in_the_future_does_not_poison_the_memory() -> None:
    _, _, slot, _ = decide_entry(
        make_account(),
        STRATEGY_RISK_NEW,
        SLOT_RISK_NEW,
        LIMITS_DEFAULT,
        make_request(ts_decision_ns=TS_NS + 10**17),
        TS_NS,
    )
    assert slot == SLOT_RISK_NEW


def test_without_limits_only_what_cannot_be_computed_is_denied() -> None:
    approval = ask(LIMITS_NONE, stop_distance_px=NAN, quality=255, notional_account_quote=NAN, target_frac=7.0)
    assert approval == (70_000, 0.0, 0.0, 0.0, Reason.OK)
    assert ask(LIMITS_NONE, qty_lots_now=4_000).qty_lots == 6_000
    assert ask(LIMITS_NONE, qty_lots_now=10_000).reason == Reason.BELOW_MINIMUM_SIZE
    assert ask(LIMITS_NONE, decision_px=NAN).reason == Reason.DATA_QUALITY
    assert ask(LIMITS_NONE, account=make_account()._replace(equity_quote=NAN)).reason == Reason.EQUITY_UNKNOWN
    assert ask(LIMITS_NONE, account=make_account()._replace(equity_quote=-1.0)).reason == Reason.EQUITY_UNKNOWN


@pytest.mark.parametrize(("reason", "changes"), DENIALS, ids=lambda value: str(value))
def test_every_rule_can_be_switched_off_for_a_backtest(reason: Reason, changes: dict[str, Any]) -> None:
    approval = ask(switch(LIMITS_DEFAULT, False), **changes)
    # What cannot be computed, and what the venue would refuse, is denied by any limits.
    assert approval.reason in (Reason.OK, Reason.DATA_QUALITY, Reason.BELOW_MINIMUM_SIZE)
    assert approval.reason == Reason.OK or approval.reason == reason


ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
ENTRIES = st.builds(
    EntryRequest,
    ts_decision_ns=st.integers(TS_NS - 40 * S_NS, TS_NS + S_NS),
    side=st.sampled_from([1, -1, 1, -1, 0, 3]),
    target_frac=st.floats(-5, 5) | ANY_FLOAT,
    decision_px=st.floats(1e-4, 1e5) | ANY_FLOAT,
    stop_distance_px=st.floats(1e-6, 1e4) | ANY_FLOAT,
    take_profit_distance_px=st.just(0.0) | st.floats(0, 1e4) | ANY_FLOAT,
    qty_lots_now=st.just(0) | st.integers(-100, 100),
    lot_base=st.sampled_from([1e-5, 1e-3, 1.0, 10.0]) | ANY_FLOAT,
    qty_lots_min=st.integers(-1, 100),
    notional_min_quote=st.floats(0, 20) | ANY_FLOAT,
    leverage_max=st.floats(1, 50) | ANY_FLOAT,
    cost_round_trip_frac=st.floats(0, 0.01) | ANY_FLOAT,
    quality=st.sampled_from([0, 0, 0, 1, 16]),
    is_owned_by_other=st.sampled_from([0, 0, 0, 1]),
    notional_instrument_quote=st.floats(0, 3e4) | ANY_FLOAT,
    notional_venue_quote=st.floats(0, 3e4) | ANY_FLOAT,
    notional_account_quote=st.floats(0, 3e4) | ANY_FLOAT,
    notional_net_quote=st.floats(-3e4, 3e4) | ANY_FLOAT,
    notional_correlated_quote=st.floats(0, 3e4) | ANY_FLOAT,
    positions_open=st.integers(-1, 12),
)
SANE = st.builds(
    make_request,
    side=st.just(1),
    target_frac=st.floats(0.01, 5.0),
    decision_px=st.floats(0.01, 1e5),
    qty_lots_now=st.integers(0, 50),
    lot_base=st.sampled_from([1e-5, 1e-3, 0.1, 1.0]),
    stop_distance_px=st.floats(0.001, 1e4),
    take_profit_distance_px=st.just(0.0) | st.floats(0.0, 1e4),
    notional_instrument_quote=st.floats(0, 3e4),
    notional_net_quote=st.floats(-3e4, 3e4),
    notional_correlated_quote=st.floats(0, 3e4),
    cost_round_trip_frac=st.floats(0, 0.01),
).map(lambda r: r if r.side * r.target_frac > 0 else r._replace(target_frac=-r.target_frac))
EVIDENCE = st.just(STRATEGY_RISK_NEW) | st.builds(
    make_strategy, st.integers(0, 200), st.integers(0, 200), st.floats(0.01, 5), st.floats(0.01, 5)
)
LIMITS = st.sampled_from([LIMITS_DEFAULT, LIMITS_NONE, switch(LIMITS_DEFAULT, False)])


@given(ENTRIES | SANE, EVIDENCE, st.floats(1.0, 1e7) | ANY_FLOAT, LIMITS)
def test_an_answer_is_a_sound_entry_or_a_denial(
    request: EntryRequest, strategy: Any, equity_quote: float, limits: Limits
) -> None:
    account = make_account()._replace(equity_quote=equity_quote)
    *_, approval = decide_entry(account, strategy, SLOT_RISK_NEW, limits, request, TS_NS)
    if approval.reason != Reason.OK:
        assert approval.reason >= 100
        assert approval[:4] == (0, 0.0, 0.0, 0.0)
        return
    assert approval.qty_lots * request.side >= request.qty_lots_min >= 1
    assert math.isfinite(approval.stop_px)
    assert math.isfinite(approval.risk_quote)
    wished_quote = abs(request.target_frac) * equity_quote
    held_lots = abs(approval.qty_lots + request.qty_lots_now)
    notional_quote = abs(approval.qty_lots) * request.lot_base * request.decision_px
    assert held_lots * request.lot_base * request.decision_px <= wished_quote * (1 + 1e-6) + 1e-6
    if limits is not LIMITS_DEFAULT:
        return
    lot_risk = request.lot_base * (request.stop_distance_px + request.cost_round_trip_frac * request.decision_px)
    slack = 1e-6 * lot_risk
    assert held_lots * lot_risk <= 0.02 * equity_quote * (1 + 1e-9) + slack
    assert approval.risk_quote <= 0.02 * equity_quote * (1 + 1e-9) + slack
    assert (request.decision_px - approval.stop_px) * request.side > 0.0
    leverage = min(3.0, request.leverage_max)
    most = equity_quote * (1 + 1e-9)
    slack = 1e-6 * request.lot_base * request.decision_px
    assert request.notional_instrument_quote + notional_quote <= leverage * most + slack
    assert request.notional_venue_quote + notional_quote <= 3.0 * most + slack
    assert request.notional_account_quote + notional_quote <= 3.0 * most + slack
    assert request.notional_net_quote * request.side + notional_quote <= 2.0 * most + slack
    assert request.notional_correlated_quote + notional_quote <= 2.0 * most + slack


@given(SANE, EVIDENCE, st.floats(100.0, 1e6))
def test_the_two_sides_are_mirror_images(request: EntryRequest, strategy: Any, equity_quote: float) -> None:
    account = make_account(equity_quote)
    mirrored = request._replace(
        side=-request.side,
        target_frac=-request.target_frac,
        qty_lots_now=-request.qty_lots_now,
        notional_net_quote=-request.notional_net_quote,
    )
    *_, approval = decide_entry(account, strategy, SLOT_RISK_NEW, LIMITS_DEFAULT, request, TS_NS)
    *_, mirror = decide_entry(account, strategy, SLOT_RISK_NEW, LIMITS_DEFAULT, mirrored, TS_NS)
    assert (mirror.qty_lots, mirror.reason, mirror.risk_quote) == (
        -approval.qty_lots,
        approval.reason,
        approval.risk_quote,
    )


@given(SANE, EVIDENCE, st.sampled_from(["leverage", "exposure", "correlation", "hard_stop", "kelly"]))
def test_a_rule_switched_on_never_enlarges_an_entry(request: EntryRequest, strategy: Any, rule: str) -> None:
    without = switch(LIMITS_DEFAULT, False, rule)
    assert abs(ask(strategy=strategy, **request._asdict()).qty_lots) <= abs(
        ask(without, strategy=strategy, **request._asdict()).qty_lots
    )


def test_the_first_reason_in_the_documented_order_is_named() -> None:
    full_in_ns = TS_NS + 24 * 3600 * S_NS
    account = make_account()._replace(latch_reason=Reason.LATCHED.value, ts_bucket_ns=full_in_ns)
    strategy = make_strategy(1, 99)._replace(latch_reason=Reason.BREAKER_WIN_RATE.value, ts_bucket_ns=full_in_ns)
    slot = SLOT_RISK_NEW._replace(ts_decided_ns=TS_NS, ts_cooldown_until_ns=full_in_ns, ts_bucket_ns=full_in_ns)
    asked: dict[str, Any] = {
        "quality": 1,
        "is_owned_by_other": 1,
        "positions_open": 10,
        "stop_distance_px": 0.0,
        "notional_instrument_quote": 1e6,
        "notional_venue_quote": 1e6,
        "notional_account_quote": 1e6,
        "notional_net_quote": 1e6,
        "notional_correlated_quote": 1e6,
        "lot_base": 20.0,
        "target_frac": 0.0005,
    }
    mends: list[tuple[Reason, str, Any]] = [
        (Reason.DATA_QUALITY, "quality", 0),
        (Reason.DUPLICATE_INTENT, "slot", {"ts_decided_ns": -1}),
        (Reason.LATCHED, "account", {"latch_reason": 0}),
        (Reason.BREAKER_WIN_RATE, "strategy", {"latch_reason": 0}),
        (Reason.INSTRUMENT_OWNED, "is_owned_by_other", 0),
        (Reason.POSITIONS_TOO_MANY, "positions_open", 0),
        (Reason.COOLDOWN, "slot", {"ts_cooldown_until_ns": 0}),
        (Reason.RATE_LIMIT_INSTRUMENT, "slot", {"ts_bucket_ns": 0}),
        (Reason.RATE_LIMIT_STRATEGY, "strategy", {"ts_bucket_ns": 0}),
        (Reason.RATE_LIMIT_ACCOUNT, "account", {"ts_bucket_ns": 0}),
        (Reason.NO_STOP, "stop_distance_px", 20.0),
        (Reason.LEVERAGE_INSTRUMENT, "notional_instrument_quote", 0.0),
        (Reason.EXPOSURE_VENUE, "notional_venue_quote", 0.0),
        (Reason.EXPOSURE_ACCOUNT, "notional_account_quote", 0.0),
        (Reason.EXPOSURE_NET, "notional_net_quote", 0.0),
        (Reason.CORRELATION, "notional_correlated_quote", 0.0),
        (Reason.HARD_STOP, "lot_base", 0.1),
        (Reason.REWARD_TO_RISK, "strategy", make_strategy(520, 480)._asdict()),
        (Reason.KELLY_TOO_LOW, "strategy", STRATEGY_RISK_NEW._asdict()),
        (Reason.BELOW_MINIMUM_SIZE, "target_frac", 1.0),
    ]
    for reason, what, mended in mends:
        answer = ask(account=account, strategy=strategy, slot=slot, **asked)
        assert Reason(answer.reason) is reason
        if what == "account":
            account = account._replace(**mended)
        elif what == "strategy":
            strategy = strategy._replace(**mended)
        elif what == "slot":
            slot = slot._replace(**mended)
        else:
            asked[what] = mended
    assert ask(account=account, strategy=strategy, slot=slot, **asked).reason == Reason.OK


@given(
    st.lists(
        st.tuples(st.integers(0, 14), st.sampled_from([1, -1]), st.floats(0.05, 3.0), st.floats(0.0005, 0.02)),
        max_size=25,
    )
)
def test_many_markets_together_stay_within_the_caps(
    entries: list[tuple[int, int, float, float]],
) -> None:
    account, strategy = make_account(), STRATEGY_RISK_NEW
    slots = [SLOT_RISK_NEW] * 15
    held_quote = [0.0] * 15
    for step, (slot, side, target_frac, stop_frac) in enumerate(entries):
        if held_quote[slot] != 0.0:
            continue
        ts_now_ns = TS_NS + step * 900 * S_NS
        account, strategy, slots[slot], approval = decide_entry(
            account,
            strategy,
            slots[slot],
            LIMITS_DEFAULT,
            make_request(
                ts_decision_ns=ts_now_ns,
                side=side,
                target_frac=side * target_frac,
                stop_distance_px=100.0 * stop_frac,
                notional_venue_quote=sum(map(abs, held_quote)),
                notional_account_quote=sum(map(abs, held_quote)),
                notional_net_quote=sum(held_quote),
                notional_correlated_quote=sum(abs(quote) for quote in held_quote if quote * side > 0.0),
                positions_open=sum(quote != 0.0 for quote in held_quote),
            ),
            ts_now_ns,
        )
        held_quote[slot] = float(approval.qty_lots)  # a lot is worth 1.0
        most = EQUITY_QUOTE + 1e-6
        assert sum(map(abs, held_quote)) <= 3.0 * most
        assert abs(sum(held_quote)) <= 2.0 * most
        assert sum(quote for quote in held_quote if quote > 0.0) <= 2.0 * most
        assert sum(quote != 0.0 for quote in held_quote) <= 10
