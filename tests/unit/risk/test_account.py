"""The account's marks, days and latches; what each of them closes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.reasons import Reason
from market.records import NS_PER_DAY, POSITION_FLAT, Position
from risk.account import apply_cash_flow, apply_halt, apply_mark, decide_account, release_latch
from risk.exit_tracking import decide_forced_exit
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE
from risk.state import ACCOUNT_RISK_NEW, AccountRisk

DAY_NS = 19_000 * NS_PER_DAY
HOUR_NS = NS_PER_DAY // 24
NAN = math.nan


def mark(*marks: tuple[int, float], account: AccountRisk = ACCOUNT_RISK_NEW) -> AccountRisk:
    """Return the account after marks (hours after the start of a day, equity)."""
    for hours, equity_quote in marks:
        account = apply_mark(account, LIMITS_DEFAULT, equity_quote, DAY_NS + hours * HOUR_NS)
    return account


@pytest.mark.parametrize(
    ("marks", "latch"),
    [
        ([(1, 100.0), (2, 95.1)], Reason.OK),
        ([(1, 100.0), (2, 95.0)], Reason.DAILY_LOSS),
        ([(1, 100.0), (2, 110.0), (3, 95.1)], Reason.OK),  # against the day's start, not its peak
        ([(1, 100.0), (24, 96.0), (25, 92.0)], Reason.OK),  # 4 % each on two days
        ([(1, 100.0), (24, 95.0)], Reason.DAILY_LOSS),  # the mark at midnight still belongs to the old day
        ([(1, 100.0), (2, 94.0), (3, 120.0)], Reason.DAILY_LOSS),  # latched
        ([(1, 100.0), (2, 94.0), (30, 94.0)], Reason.DAILY_LOSS),  # the latch survives the day
        ([(1, 100.0), (2, NAN), (3, 100.0)], Reason.EQUITY_UNKNOWN),
        ([(1, 100.0), (2, NAN), (3, 94.0)], Reason.DAILY_LOSS),  # a NaN does not switch the loss limit off
        ([(1, 100.0), (2, NAN), (25, 94.0)], Reason.DAILY_LOSS),
        ([(1, 100.0), (2, math.inf)], Reason.EQUITY_UNKNOWN),
        ([(1, 100.0), (2, 0.0)], Reason.DAILY_LOSS),
        ([(1, 100.0), (2, -50.0)], Reason.DAILY_LOSS),
        ([(1, NAN)], Reason.EQUITY_UNKNOWN),
        ([(1, 0.0)], Reason.EQUITY_UNKNOWN),
    ],
)
def test_latches(marks: list[tuple[int, float]], latch: Reason) -> None:
    account = mark(*marks)
    assert Reason(account.latch_reason) is latch
    assert decide_account(account) == latch


def test_an_account_never_marked_is_worth_nothing_known() -> None:
    assert decide_account(ACCOUNT_RISK_NEW) == Reason.EQUITY_UNKNOWN


def test_a_latch_keeps_its_time_and_its_first_cause() -> None:
    account = mark((1, 100.0), (2, NAN), (3, NAN))
    assert account.ts_latched_ns == DAY_NS + 2 * HOUR_NS
    assert apply_halt(account, DAY_NS + 5 * HOUR_NS).latch_reason == Reason.EQUITY_UNKNOWN
    account = mark((4, 90.0), (5, 80.0), account=account)
    assert (account.latch_reason, account.ts_latched_ns) == (Reason.DAILY_LOSS, DAY_NS + 4 * HOUR_NS)


def test_release_starts_the_allowance_anew() -> None:
    account = release_latch(mark((1, 100.0), (2, 94.0)))
    assert decide_account(account) == Reason.OK
    assert decide_account(mark((3, 90.0), account=account)) == Reason.OK
    assert decide_account(mark((3, 89.0), account=account)) == Reason.DAILY_LOSS
    unknown = release_latch(mark((1, 100.0), (2, NAN)))
    assert decide_account(unknown) == Reason.EQUITY_UNKNOWN
    assert decide_account(mark((3, 96.0), account=unknown)) == Reason.OK
    assert decide_account(mark((3, 95.0), account=unknown)) == Reason.DAILY_LOSS


def test_a_withdrawal_is_no_loss_and_a_deposit_hides_none() -> None:
    withdrawn = apply_cash_flow(mark((1, 100.0)), -50.0)
    assert decide_account(mark((2, 50.0), account=withdrawn)) == Reason.OK
    deposited = apply_cash_flow(mark((1, 100.0)), 100.0)
    assert decide_account(mark((2, 190.0), account=deposited)) == Reason.DAILY_LOSS


def test_without_limits_nothing_latches() -> None:
    account = apply_mark(ACCOUNT_RISK_NEW, LIMITS_NONE, 100.0, DAY_NS)
    for equity_quote in (1.0, NAN, -5.0):
        assert apply_mark(account, LIMITS_NONE, equity_quote, DAY_NS).latch_reason == Reason.OK


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(allow_nan=True) | st.floats(50.0, 150.0)), max_size=12))
def test_latched_means_latched_until_released(marks: list[tuple[int, float]]) -> None:
    account, was_latched = ACCOUNT_RISK_NEW, False
    for hours, equity_quote in sorted(marks, key=lambda pair: pair[0]):
        account = mark((hours, equity_quote), account=account)
        is_latched = account.latch_reason != Reason.OK
        assert is_latched or not was_latched
        if not math.isfinite(equity_quote) or equity_quote <= 0.0:
            assert is_latched
        was_latched = is_latched


@pytest.mark.parametrize(
    ("position", "latch", "age_days", "expected"),
    [
        (Position(5, 100.0, DAY_NS), Reason.OK, 13.9, Reason.OK),
        (Position(5, 100.0, DAY_NS), Reason.OK, 14.0, Reason.HOLDING_TOO_LONG),
        (Position(-5, 100.0, DAY_NS), Reason.OK, 15.0, Reason.HOLDING_TOO_LONG),
        (Position(-5, 100.0, DAY_NS), Reason.DAILY_LOSS, 0.0, Reason.GLOBAL_STOP),
        (Position(5, 100.0, DAY_NS), Reason.LATCHED, 0.0, Reason.OK),
        (Position(5, 100.0, DAY_NS), Reason.EQUITY_UNKNOWN, 0.0, Reason.OK),
        (POSITION_FLAT, Reason.DAILY_LOSS, 15.0, Reason.OK),
    ],
)
def test_forced_exit(position: Position, latch: Reason, age_days: float, expected: Reason) -> None:
    account = ACCOUNT_RISK_NEW._replace(latch_reason=latch.value)
    ts_now_ns = DAY_NS + int(age_days * NS_PER_DAY)
    assert decide_forced_exit(account, LIMITS_DEFAULT, position, ts_now_ns) == expected
    assert decide_forced_exit(account, LIMITS_NONE, position, ts_now_ns) == Reason.OK
