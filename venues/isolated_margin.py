"""Isolated margin: money of an account set aside for one position, which alone answers for it.

Knows amounts, nothing of prices beyond a fill's: `venues.book_exchange` asks it. The money stays part of the account's
cash; cross margin is what is left. What a fill adds to a position sets its notional over the leverage aside; what it
takes off frees its share; funding is paid from here; profit and fees are the account's.
"""

Key = tuple[str, str]  # account id, instrument id


class IsolatedMargin:
    """Which positions are isolated, and what is set aside for each [quote]."""

    def __init__(self) -> None:
        self._set_aside: dict[Key, float] = {}

    def __bool__(self) -> bool:
        """Whether anybody's margin is isolated anywhere."""
        return bool(self._set_aside)

    def __contains__(self, key: Key) -> bool:
        """Whether the margin of an account in an instrument is isolated."""
        return key in self._set_aside

    def get(self, account_id: str, instrument_id: str) -> float:
        """Return what is set aside, 0.0 for a cross position."""
        return self._set_aside.get((account_id, instrument_id), 0.0)

    def list_of(self, account_id: str) -> dict[str, float]:
        """Return what an account has set aside, by instrument."""
        return {
            instrument_id: money
            for (owner_id, instrument_id), money in self._set_aside.items()
            if owner_id == account_id
        }

    def set_mode(self, key: Key, is_isolated: bool) -> None:
        """Isolate, or not; the caller sees to it that there is no position."""
        if is_isolated:
            self._set_aside.setdefault(key, 0.0)
        else:
            self._set_aside.pop(key, None)

    def add(self, key: Key, amount_quote: float) -> None:
        """Set aside more, or less; nothing happens to a cross position."""
        if key in self._set_aside:
            self._set_aside[key] += amount_quote

    def follow_fill(self, key: Key, before_lots: int, after_lots: int, lot_quote: float) -> None:
        """Take in what a fill made of a position; `lot_quote`: the margin of one lot at the fill's px [quote]."""
        if key not in self._set_aside:
            return
        kept_lots = min(abs(before_lots), abs(after_lots)) if before_lots * after_lots > 0 else 0
        share = kept_lots / abs(before_lots) if kept_lots else 0.0
        self._set_aside[key] = self._set_aside[key] * share + (abs(after_lots) - kept_lots) * lot_quote
