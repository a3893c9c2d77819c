"""Funded test accounts of a simulated Hyperliquid: keys anyone can make anew from the seed, so never fund them."""

import hashlib

from venues.hyperliquid.signing import load_wallet
from venues.simulator.accounts import SimulatedAccount


def make_accounts(seed: int, count: int, deposit_quote: float) -> tuple[SimulatedAccount, ...]:
    """Return `count` accounts; the same seed gives the same ones, and more begin with fewer."""
    keys = ["0x" + hashlib.sha256(f"trireme hyperliquid {seed} {index}".encode()).hexdigest() for index in range(count)]
    return tuple(SimulatedAccount(load_wallet(key).address, deposit_quote, key) for key in keys)
