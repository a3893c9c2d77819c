"""What trades, where, under which limits: the part of the settings that every actor of one account shares."""

import hashlib
from dataclasses import dataclass
from typing import Any

from market.fills import Costs
from market.instruments import Instrument
from risk.desk import SlotSpec, make_slot_specs
from risk.estimate import Prior
from risk.limits import Limits


@dataclass(frozen=True, slots=True)
class StrategyPlan:
    """One strategy and its parameters; `params` is the kernels' record."""

    name: str
    params: tuple[Any, ...]
    prior: Prior | None = None  # that of its promotion; None: not promoted, the limits' holds
    promotion_id: str = ""


@dataclass(frozen=True, slots=True)
class VenueAccount:
    """One account at one venue, with an executor of its own; `instruments` are indices of the plan's."""

    name: str  # of the venue, in small letters
    instruments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one governor rules: every strategy trades every instrument. Slots are ordered by instrument, then strategy.

    `accounts`: which venue account trades what; empty: one, the embedded venue over bars, trades all.
    """

    instruments: tuple[Instrument, ...]
    strategies: tuple[StrategyPlan, ...]
    limits: Limits
    costs: Costs
    equity_start_quote: float
    interval_ns: int
    approval_valid_intervals: int = 1
    accounts: tuple[VenueAccount, ...] = ()

    @property
    def executors(self) -> tuple[str, ...]:
        """The names of the executors, in the order of the accounts."""
        return tuple(f"executor.{account.name}" for account in self.accounts) or ("executor",)

    def list_instruments(self, account: int) -> tuple[int, ...]:
        """Return the indices of the instruments that an account trades."""
        return self.accounts[account].instruments if self.accounts else tuple(range(len(self.instruments)))

    def make_specs(self) -> list[SlotSpec]:
        """Return the specs of all slots, in slot order."""
        return make_slot_specs(self.instruments, self.costs, len(self.strategies))

    def list_priors(self) -> list[Prior]:
        """Return the prior of each strategy."""
        return [self.limits.prior if part.prior is None else part.prior for part in self.strategies]

    def find_slot(self, strategy: int, instrument: int) -> int:
        """Return the slot of a strategy's index and an instrument's index."""
        return instrument * len(self.strategies) + strategy

    def get_instrument(self, slot: int) -> Instrument:
        """Return the instrument of a slot."""
        return self.instruments[slot // len(self.strategies)]


def make_intent_id(strategy_name: str, instrument_id: str, ts_close_ns: int) -> str:
    """Return the id of a decision, 32 hex digits: the same decision gives the same id, always.

    >>> make_intent_id("momentum_sar", "BTC-PERP.BINANCE", 900)
    'a04a993c55fd5c2e815b793b044f3021'
    """
    return _hash(f"{strategy_name}|{instrument_id}|{ts_close_ns}")


def make_client_order_id(intent_id: str, part: str) -> str:
    """Return the client order id of one part ("reduce", "entry", "stop", "take_profit") of an intent: 0x + 32 hex."""
    return "0x" + _hash(f"{intent_id}|{part}")


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
