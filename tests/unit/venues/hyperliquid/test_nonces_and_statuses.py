"""The nonce set and its owner; the table of order statuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.hyperliquid import nonces
from venues.hyperliquid.lifecycle import STATUSES, format_status, parse_status
from venues.lifecycle import OrderStatus
from venues.orders import Message

NOW = 1_700_000_000_000


def test_the_window_and_its_words() -> None:
    used = nonces.NonceSet()
    low, high = NOW - nonces.WINDOW_BEFORE_MS, NOW + nonces.WINDOW_AFTER_MS
    assert used.use(low, NOW) == f"Invalid nonce: nonce too low {low} < {low}"
    assert used.use(high, NOW) == f"Invalid nonce: nonce too high {high} > {high}"
    assert used.use(low + 1, NOW) is None
    assert used.use(high - 1, NOW) is None
    assert used.use(high - 1, NOW) == f"Invalid nonce: duplicate nonce {high - 1}"


def test_only_the_hundred_highest_are_kept() -> None:
    used = nonces.NonceSet()
    for nonce in range(NOW, NOW + 200, 2):
        assert used.use(nonce, NOW) is None
    assert used.use(NOW - 1, NOW) == f"Invalid nonce: nonce too low {NOW - 1} < {NOW}"
    assert used.use(NOW + 1, NOW) is None  # late, inside the hundred: pushes NOW out
    assert used.use(NOW, NOW) == f"Invalid nonce: nonce too low {NOW} < {NOW + 1}"


@given(st.lists(st.integers(NOW - 300, NOW + 300), max_size=300))
def test_no_nonce_is_good_twice(stream: list[int]) -> None:
    used, good = nonces.NonceSet(), set()
    for nonce in stream:
        if used.use(nonce, NOW) is None:
            assert nonce not in good
            if len(good) >= nonces.STORED_MAX:
                assert nonce > sorted(good)[-nonces.STORED_MAX]
            good.add(nonce)
        else:
            assert nonce in good or nonce < sorted(good)[-nonces.STORED_MAX]


@given(st.lists(st.integers(NOW - 1000, NOW + 1000), max_size=300), st.integers(0, NOW))
def test_the_owner_never_repeats_and_the_venue_takes_all(clock: list[int], last: int) -> None:
    owner, used = nonces.NonceOwner(last), nonces.NonceSet()
    given_out = [owner.next(ts_now_ms) for ts_now_ms in clock]
    assert given_out == sorted(set(given_out))
    assert all(used.use(nonce, NOW) is None for nonce in given_out)


def test_every_status_of_the_manual_is_known() -> None:
    manual = """open filled canceled triggered rejected marginCanceled vaultWithdrawalCanceled
        openInterestCapCanceled selfTradeCanceled reduceOnlyCanceled siblingFilledCanceled delistedCanceled
        liquidatedCanceled scheduledCancel tickRejected minTradeNtlRejected perpMarginRejected reduceOnlyRejected
        badAloPxRejected iocCancelRejected badTriggerPxRejected marketOrderNoLiquidityRejected
        positionIncreaseAtOpenInterestCapRejected positionFlipAtOpenInterestCapRejected
        tooAggressiveAtOpenInterestCapRejected openInterestIncreaseRejected insufficientSpotBalanceRejected
        oracleRejected perpMaxPositionRejected"""
    assert set(STATUSES) == set(manual.split())
    assert all(parse_status(text).is_known for text in STATUSES)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("sunburntRejected", OrderStatus.REJECTED),
        ("sunburntCanceled", OrderStatus.CANCELED),
        ("sunburnt", OrderStatus.UNKNOWN),
        ("", OrderStatus.UNKNOWN),
    ],
)
def test_new_statuses_are_read_by_their_ending(text: str, status: OrderStatus) -> None:
    assert parse_status(text) == (status, None, False)


def test_partly_filled_is_open_with_less_left() -> None:
    assert parse_status("open", is_partly_filled=True).status is OrderStatus.PARTLY_FILLED
    assert parse_status("canceled", is_partly_filled=True).status is OrderStatus.CANCELED


@pytest.mark.parametrize("status", [*OrderStatus])
@pytest.mark.parametrize("message", ["", *Message])
def test_what_is_written_is_read_back(status: OrderStatus, message: str) -> None:
    if status is OrderStatus.UNKNOWN:
        with pytest.raises(ValueError, match="the client's own"):
            format_status(status, message)
        return
    text = format_status(status, message)
    read = parse_status(text)
    assert read.is_known
    if text == "iocCancelRejected" or text == "marketOrderNoLiquidityRejected":
        assert read.status is OrderStatus.REJECTED
        assert format_status(OrderStatus.CANCELED, message, is_filled_in_part=True) == "canceled"
    else:
        expected = {OrderStatus.SENT: OrderStatus.ACCEPTED, OrderStatus.PARTLY_FILLED: OrderStatus.ACCEPTED}
        assert read.status is expected.get(status, status)
