"""Sequences and timestamp nonces, against the chain's rules and against a plain model of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.dydx.chain_errors import TxRefusal
from venues.dydx.sequences import (
    NONCE_WINDOW_MS,
    AccountLedger,
    ChainAccount,
    NonceSource,
    TimestampNonces,
    apply_sequence,
    is_timestamp_nonce,
)

NOW = 1_767_225_540_000
ACCOUNT = ChainAccount("dydx1x", 7, 42)


def test_sequences_must_match_exactly() -> None:
    """The text is the one clients parse for the expected number."""
    after = apply_sequence(ACCOUNT, 42, NOW)
    assert isinstance(after, ChainAccount)
    assert after.sequence == 43
    for wrong in (41, 43, 0):
        refusal = apply_sequence(ACCOUNT, wrong, NOW)
        assert refusal == TxRefusal(
            "sdk", 32, f"account sequence mismatch, expected 42, got {wrong}: incorrect account sequence"
        )


@pytest.mark.parametrize(
    ("offset", "is_good"), [(-30_001, False), (-30_000, True), (0, True), (30_000, True), (30_001, False)]
)
def test_nonces_lie_within_30_s(offset: int, is_good: bool) -> None:
    """And leave the sequence where it was."""
    after = apply_sequence(ACCOUNT, NOW + offset, NOW)
    if is_good:
        assert isinstance(after, ChainAccount)
        assert after.sequence == 42
        assert apply_sequence(after, NOW + offset, NOW) == TxRefusal(
            "sdk", 32, f"timestamp nonce {NOW + offset} rejected: incorrect account sequence"
        )
    else:
        text = f"timestamp nonce {NOW + offset} not within valid time window: incorrect account sequence"
        assert after == TxRefusal("sdk", 32, text)


def test_the_cutoff() -> None:
    """2^40 is a time, one less is a number."""
    assert is_timestamp_nonce(2**40)
    assert not is_timestamp_nonce(2**40 - 1)


def test_twenty_are_kept_and_the_smallest_goes() -> None:
    """The 21st pushes the smallest out; nothing at or below what was pushed out comes back."""
    nonces = TimestampNonces()
    for offset in range(20):
        after = nonces.accept(NOW + offset, NOW)
        assert after is not None
        nonces = after
    assert nonces.accept(NOW - 1, NOW) is None  # smaller than all twenty
    after = nonces.accept(NOW + 100, NOW)
    assert after is not None
    assert after.max_ejected == NOW
    assert len(after.nonces) == 20
    assert after.accept(NOW, NOW) is None


@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 2_000)), max_size=60))
def test_nonces_are_never_taken_twice(steps: list[tuple[int, int]]) -> None:
    """Over any history with a clock that does not go back."""
    account, now, taken = ACCOUNT, NOW, []
    for offset, forward in steps:
        now += forward
        after = apply_sequence(account, now - 20_000 + offset, now)
        if isinstance(after, ChainAccount):
            taken.append(now - 20_000 + offset)
            account = after
            assert account.nonces is not None
            assert len(account.nonces.nonces) <= 20
            assert account.nonces.max_ejected < min(account.nonces.nonces)
    assert len(taken) == len(set(taken))


def test_our_nonces_rise_and_are_taken_by_the_chain() -> None:
    """A burst in one ms, a clock that steps back: every nonce is new and accepted."""
    source = NonceSource()
    drawn = [source.draw(NOW) for _ in range(15)] + [source.draw(NOW - 500)]
    assert drawn == sorted(set(drawn))
    account = ACCOUNT
    for nonce in drawn:
        after = apply_sequence(account, nonce, NOW)
        assert isinstance(after, ChainAccount)
        account = after
    with pytest.raises(ValueError, match="30 s ahead"):
        NonceSource(NOW + NONCE_WINDOW_MS).draw(NOW)


def test_the_checked_state_runs_ahead_of_the_committed() -> None:
    """Two in one block if numbered consecutively; a dropped first one leaves the second unusable."""
    ledger = AccountLedger()
    account = ledger.fund("a")
    assert (account.account_number, ledger.fund("b").account_number, ledger.fund("a").account_number) == (0, 1, 0)
    for sequence in (0, 1):
        checked = ledger.find_checked("a")
        assert checked is not None
        after = apply_sequence(checked, sequence, NOW)
        assert isinstance(after, ChainAccount)
        ledger.store_checked(after)
    committed = ledger.find_committed("a")
    assert committed is not None
    assert committed.sequence == 0
    refusal = ledger.deliver("a", 1, b"k", NOW)  # the first was dropped
    assert refusal is not None
    assert refusal.code == 32
    assert ledger.deliver("a", 0, b"k", NOW) is None
    assert ledger.deliver("a", 1, b"", NOW) is None
    ledger.reset_checked()
    checked = ledger.find_checked("a")
    assert checked is not None
    assert (checked.sequence, checked.public_key) == (2, b"k")
    assert ledger.find_committed("nobody") is None


def test_a_known_key_is_there_from_the_beginning() -> None:
    ledger = AccountLedger()
    assert ledger.fund("a", b"key").public_key == b"key"
    assert ledger.fund("a").public_key == b"key"
    assert ledger.fund("b").public_key == b""
