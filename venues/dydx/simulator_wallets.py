"""Funded test accounts of a simulated dYdX: words anyone can make anew from the seed, so never fund them."""

import hashlib

from venues.dydx.signing import SigningKey
from venues.simulator.accounts import SimulatedAccount


def make_accounts(seed: int, count: int, deposit_quote: float) -> tuple[SimulatedAccount, ...]:
    """Return `count` accounts of 24 BIP-39 words each; the same seed gives the same ones, and more begin with fewer."""
    return tuple(_make_account(seed, index, deposit_quote) for index in range(count))


def _make_account(seed: int, index: int, deposit_quote: float) -> SimulatedAccount:
    from bip_utils import Bip39MnemonicGenerator  # type: ignore[import-untyped]  # slow to import
    from dydx_v4_client.key_pair import bytes_from_mnemonic

    entropy = hashlib.sha256(f"trireme dydx {seed} {index}".encode()).digest()
    mnemonic = Bip39MnemonicGenerator().FromEntropy(entropy).ToStr()
    secret = bytes(bytes_from_mnemonic(mnemonic))
    return SimulatedAccount(SigningKey(secret).address, deposit_quote, secret.hex(), mnemonic)
