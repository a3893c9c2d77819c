"""What must be true before a client trades: the key may act for the account, clocks agree, instruments are the venue's.

Each check raises PreflightError with one line that says what to mend; VenueUnavailableError where nobody answered.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from market.instruments import Instrument
from market.records import NS_PER_MS
from venues.hyperliquid import info_replies, rules
from venues.hyperliquid import info_requests as ask
from venues.hyperliquid.client_calls import Questions
from venues.hyperliquid.client_wire import find_assets
from venues.port import PreflightError


class ClockReading(NamedTuple):
    """The venue's clock minus ours [ms], and how wrong that may be."""

    offset_ms: int
    error_ms: int

    @property
    def skew_s(self) -> float:
        """Return how far the clocks are apart at least [s]."""
        return max(0, abs(self.offset_ms) - self.error_ms) / 1000.0


class Checked(NamedTuple):
    """What the checks found out."""

    meta: info_replies.Meta
    assets: rules.AssetTable
    clock: ClockReading


async def read_clock(questions: Questions, clock_ns: Callable[[], int]) -> ClockReading:
    """Return the venue's clock against ours; half the question's way is uncertain."""
    began_s, before_ns = time.monotonic(), clock_ns()
    status: info_replies.ExchangeStatus = await questions.ask(ask.GetExchangeStatus())
    half_ms = int(500.0 * (time.monotonic() - began_s)) + 1
    return ClockReading(status.time - (before_ns // NS_PER_MS + half_ms), half_ms)


async def check_all(
    questions: Questions,
    listed: Sequence[Instrument],
    key_address: str,
    account_address: str,
    skew_s_max: float,
    clock_ns: Callable[[], int],
) -> Checked:
    """Check clock, instruments, account and key, in this order."""
    clock = await read_clock(questions, clock_ns)
    check_clock(clock, skew_s_max)
    meta: info_replies.Meta = await questions.ask(ask.GetMeta())
    assets = find_assets(listed, meta)
    await _check_key(questions, key_address.lower(), account_address.lower())
    return Checked(meta, assets, clock)


def check_clock(clock: ClockReading, skew_s_max: float) -> None:
    """Raise PreflightError if the clocks are too far apart."""
    if clock.skew_s > skew_s_max:
        raise PreflightError(
            f"clock of the venue is {clock.offset_ms / 1000.0:+.1f} s from ours, at most {skew_s_max:g} s is allowed: "
            "synchronise this machine's clock (NTP)"
        )


async def _check_key(questions: Questions, key: str, account: str) -> None:
    role: info_replies.UserRole = await questions.ask(ask.GetUserRole(account))
    if role.role == "agent":
        master = role.data.get("user", "?") if isinstance(role.data, dict) else "?"
        raise PreflightError(f"account {account} is an agent, which holds nothing: trade for its master {master}")
    if role.role != "user":
        raise PreflightError(f"account {account} is {role.role!r} at the venue: fund it, or name the trading account")
    if key == account:
        return
    owner: info_replies.UserRole = await questions.ask(ask.GetUserRole(key))
    if owner.role == "agent" and isinstance(owner.data, dict) and str(owner.data.get("user", "")).lower() == account:
        return
    named: tuple[info_replies.ExtraAgent, ...] = await questions.ask(ask.GetExtraAgents(account))
    if any(agent.address.lower() == key for agent in named):
        return
    raise PreflightError(f"key of {key} is neither account {account}'s own nor its agent's: approve the agent there")
