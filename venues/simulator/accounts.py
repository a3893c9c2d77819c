"""A funded account of a simulator, whatever its venue."""

from dataclasses import dataclass, field

from market.fills import Costs


@dataclass(frozen=True, slots=True)
class SimulatedAccount:
    """One funded account; on dYdX subaccount 0 of its address. The secrets are for whoever trades with it; of them a
    simulator takes the public key."""

    address: str
    deposit_quote: float = 100_000.0
    private_key: str = field(default="", repr=False)
    mnemonic: str = field(default="", repr=False)
    master: str = ""  # the account it is a sub-account of
    costs: Costs | None = None  # None: what the venue takes of everybody
