"""Replay protection: account sequences and timestamp nonces, on the chain's side and on ours.

A sequence of 2^40 or more is a time in ms. The chain keeps the 20 largest of an account's recent nonces, takes one that
is within 30 s of its block time, new, and above every nonce it has ever ejected; it does not move the sequence.
Source: PROTOCOLS.md 2.5; v4-chain x/accountplus/keeper/timestampnonce.go, app/ante/replay_protection.go.
"""

from dataclasses import dataclass, replace

from venues.dydx.chain_errors import ChainError, TxRefusal

NONCE_CUTOFF = 2**40
NONCE_WINDOW_MS = 30_000
NONCES_MAX = 20


def is_timestamp_nonce(sequence: int) -> bool:
    """Return whether a sequence is read as a time in ms."""
    return sequence >= NONCE_CUTOFF


@dataclass(frozen=True, slots=True)
class TimestampNonces:
    """The nonces an account used lately, in the order of their slots, and the largest that was let go."""

    nonces: tuple[int, ...] = ()
    max_ejected: int = 0

    def accept(self, nonce: int, block_time_ms: int) -> "TimestampNonces | None":
        """Return the nonces after taking one more, None if it is refused (used, or not above what was let go)."""
        oldest = block_time_ms - NONCE_WINDOW_MS
        kept = tuple(known for known in self.nonces if known >= oldest)
        ejected = max((known for known in self.nonces if known < oldest), default=0)
        max_ejected = max(self.max_ejected, ejected)
        if nonce <= max_ejected or nonce in kept:
            return None
        if len(kept) < NONCES_MAX:
            return TimestampNonces((*kept, nonce), max_ejected)
        smallest = min(kept)
        if nonce <= smallest:
            return None
        slot = kept.index(smallest)
        return TimestampNonces((*kept[:slot], nonce, *kept[slot + 1 :]), smallest)


@dataclass(frozen=True, slots=True)
class ChainAccount:
    """An account as the chain holds it. `public_key` is empty until it is known: by genesis or a first transaction."""

    address: str
    account_number: int
    sequence: int = 0
    public_key: bytes = b""
    nonces: TimestampNonces | None = None


def apply_sequence(account: ChainAccount, sequence: int, block_time_ms: int) -> ChainAccount | TxRefusal:
    """Return the account after a transaction with this sequence or timestamp nonce, or why it is refused (code 32).

    Not for short-term messages: their sequence is neither looked at nor moved.
    """
    if not is_timestamp_nonce(sequence):
        if sequence != account.sequence:
            return ChainError.WRONG_SEQUENCE.refuse(
                f"account sequence mismatch, expected {account.sequence}, got {sequence}"
            )
        return replace(account, sequence=sequence + 1)
    if abs(sequence - block_time_ms) > NONCE_WINDOW_MS:
        return ChainError.WRONG_SEQUENCE.refuse(f"timestamp nonce {sequence} not within valid time window")
    if account.nonces is None:
        return replace(account, nonces=TimestampNonces((sequence,)))
    nonces = account.nonces.accept(sequence, block_time_ms)
    if nonces is None:
        return ChainError.WRONG_SEQUENCE.refuse(f"timestamp nonce {sequence} rejected")
    return replace(account, nonces=nonces)


class AccountLedger:
    """The accounts twice: as committed, which is what `Account` queries show, and as CheckTx sees them.

    CheckTx moves the checked sequence at once, so several stateful transactions fit one block if numbered
    consecutively; a block that drops one leaves the later ones unusable, which `reset_checked` then shows.
    """

    def __init__(self) -> None:
        """Begin with no accounts."""
        self._committed: dict[str, ChainAccount] = {}
        self._checked: dict[str, ChainAccount] = {}

    def fund(self, address: str, public_key: bytes = b"") -> ChainAccount:
        """Create the account if it is not there, with the next account number, and return it as committed.

        `public_key`: as if the account had signed before, which who has deposited has.
        """
        if address not in self._committed:
            account = ChainAccount(address, len(self._committed), public_key=public_key)
            self._committed[address] = self._checked[address] = account
        return self._committed[address]

    def insert(self, account: ChainAccount) -> None:
        """Put an account in both states, replacing one of that address (tests; a sequence bumped from outside)."""
        self._committed[account.address] = self._checked[account.address] = account

    def find_committed(self, address: str) -> ChainAccount | None:
        """Return the account as of the last block, None if it was never funded (gRPC: NOT_FOUND)."""
        return self._committed.get(address)

    def find_checked(self, address: str) -> ChainAccount | None:
        """Return the account as CheckTx sees it."""
        return self._checked.get(address)

    def store_checked(self, account: ChainAccount) -> None:
        """Keep what a transaction that passed CheckTx made of its account."""
        self._checked[account.address] = account

    def deliver(self, address: str, sequence: int, public_key: bytes, block_time_ms: int) -> TxRefusal | None:
        """Apply one stateful transaction of a block to the committed state; the refusal if it fails there."""
        account = self._committed[address]
        if not account.public_key and public_key:
            account = replace(account, public_key=public_key)
        applied = apply_sequence(account, sequence, block_time_ms)
        if isinstance(applied, TxRefusal):
            return applied
        self._committed[address] = applied
        return None

    def store_public_key(self, address: str, public_key: bytes) -> None:
        """Keep the key of a committed account that had none (short-term transactions set it as well)."""
        account = self._committed[address]
        if not account.public_key:
            self._committed[address] = replace(account, public_key=public_key)

    def reset_checked(self) -> None:
        """Begin a block: CheckTx sees the committed state again; what waits in the mempool is then checked anew."""
        self._checked = dict(self._committed)


class NonceSource:
    """The one owner of a key's timestamp nonces: the time in ms, but always above the last one."""

    def __init__(self, last_nonce: int = 0) -> None:
        """Continue after the last nonce that may have been sent (0: none)."""
        self._last = last_nonce

    def draw(self, now_ms: int) -> int:
        """Return the next nonce.

        Raises: ValueError if drawn so fast that it would run ahead of the chain's window of 30 s.
        """
        nonce = max(now_ms, self._last + 1)
        if nonce - now_ms >= NONCE_WINDOW_MS:
            raise ValueError(
                f"timestamp nonce {nonce} is 30 s ahead of {now_ms} ms: set the clock, or send fewer orders"
            )
        self._last = nonce
        return nonce
