"""Nonces of both sides: the venue's set per signer, and the one owner that hands them out for a key.

Source: PROTOCOLS.md 1.8 (the venue's manual, "Nonces and API wallets"); texts as reported by several public clients.
Does not model: pruned agents, whose set is forgotten: a simulator drops the agent's `NonceSet` with the agent.
"""

from bisect import insort

STORED_MAX = 100
WINDOW_BEFORE_MS = 2 * 86_400_000
WINDOW_AFTER_MS = 86_400_000


class NonceSet:
    """What the venue remembers of one signer: the highest 100 nonces it used.

    A nonce is good if it lies inside (now - 2 d, now + 1 d), was not used, and, once 100 are stored, is above the
    smallest of them. The set of a new signer is not full: then any unused nonce of the window is good.
    """

    def __init__(self) -> None:
        self._stored: list[int] = []  # ascending

    def use(self, nonce: int, ts_now_ms: int) -> str | None:
        """Burn a nonce and return None, or return the venue's words; call it once per signed action.

        A nonce is burned even if the action inside is refused afterwards.

        >>> nonces = NonceSet()
        >>> nonces.use(1_700_000_000_000, 1_700_000_000_500), nonces.use(1_700_000_000_000, 1_700_000_000_600)
        (None, 'Invalid nonce: duplicate nonce 1700000000000')
        """
        oldest, newest = ts_now_ms - WINDOW_BEFORE_MS, ts_now_ms + WINDOW_AFTER_MS
        if nonce <= oldest:
            return f"Invalid nonce: nonce too low {nonce} < {oldest}"
        if nonce >= newest:
            return f"Invalid nonce: nonce too high {nonce} > {newest}"
        if nonce in self._stored:
            return f"Invalid nonce: duplicate nonce {nonce}"
        if len(self._stored) == STORED_MAX:
            if nonce < self._stored[0]:
                return f"Invalid nonce: nonce too low {nonce} < {self._stored[0]}"
            self._stored.pop(0)
        insort(self._stored, nonce)
        return None


class NonceOwner:
    """The client's only source of nonces for one key: a clock that never repeats and never steps back.

    The caller signs and sends in the order in which it took them; `last` is kept across a restart by taking the clock.
    """

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def next(self, ts_now_ms: int) -> int:
        """Return the next nonce: the time, or one more than the last.

        >>> owner = NonceOwner()
        >>> owner.next(1000), owner.next(1000), owner.next(990)
        (1000, 1001, 1002)
        """
        self.last = max(ts_now_ms, self.last + 1)
        return self.last
