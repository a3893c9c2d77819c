"""The promotion record: what was tested, on what, at which costs, how well; signed, and read only as it was signed.

The file is exactly what `write_promotion` writes: sorted keys, one form for each number. A record of which any byte
was changed is refused, also where the change would mean nothing.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from risk.estimate import Prior
from sweeps.promotion.keys import TrustedKeys, get_public_key
from sweeps.store import write_atomically
from sweeps.summary import FoldSummary, Number, Overfitting
from sweeps.summary_file import AccountFacts, DataFacts

VERSION = 1
_NOT_CONTENT = ("id", "ts_promoted_ms", "public_key", "signature")  # who promoted it, and when


class PromotionRefusedError(Exception):
    """A configuration may not be promoted, or may not run: each reason is one line."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class PriorFacts(TypedDict):
    """`risk.estimate.Prior` by name."""

    weight_trades: float
    win_rate_frac: float
    win_r_avg: float
    loss_r_avg: float


@dataclass(frozen=True, slots=True)
class Promotion:
    """One configuration and all that speaks for it. Parts that a sweep's summary has are as they are there."""

    strategy: str
    params: dict[str, Number]  # the whole record of the strategy
    data: DataFacts
    account: AccountFacts  # costs and limits under which it was tested
    code_version: str
    sweep: str  # its name
    spec_sha256: str
    trials: int  # configurations tried in all rounds
    metrics: dict[str, Number]  # in sample
    metrics_out_of_sample: dict[str, Number]
    evidence: dict[str, Number]
    folds: list[FoldSummary]
    overfitting: Overfitting
    prior: PriorFacts
    version: int = VERSION
    id: str = ""  # 16 hex digits, a hash of all above
    ts_promoted_ms: int = 0
    public_key: str = ""
    signature: str = ""  # Ed25519, over all above

    def make_prior(self) -> Prior:
        """Return what Kelly is given to begin with."""
        return Prior(**self.prior)


def hash_plain(value: Any) -> str:
    """Return the SHA-256 of plain values, 64 hex digits; the order of keys does not matter.

    >>> hash_plain({"a": 1, "b": [0.1]}) == hash_plain({"b": [0.1], "a": 1})
    True
    """
    return hashlib.sha256(_canonical(value)).hexdigest()


def sign_promotion(promotion: Promotion, key: Ed25519PrivateKey, ts_promoted_ms: int) -> Promotion:
    """Return the record with its id, the time, the signer's public key and the signature."""
    promotion = msgspec.convert(msgspec.to_builtins(promotion), Promotion)  # 5 becomes 5.0, as it will be read
    values = msgspec.to_builtins(promotion)
    content = {name: value for name, value in values.items() if name not in _NOT_CONTENT}
    promotion = dataclasses.replace(
        promotion,
        id=hash_plain(content)[:16],
        ts_promoted_ms=ts_promoted_ms,
        public_key=get_public_key(key),
    )
    return dataclasses.replace(promotion, signature=key.sign(_signed_bytes(promotion)).hex())


def write_promotion(path: Path, promotion: Promotion) -> None:
    """Write the record beside and rename it: it is there whole or not at all."""
    write_atomically(path, _render(promotion))


def read_promotion(path: Path, trusted: TrustedKeys) -> Promotion:
    """Return the record in `path`, unaltered and signed by a trusted key. Raises PromotionRefusedError otherwise.

    Whether it fits what is to be run, `sweeps.promotion.fit` says.
    """
    content = path.read_bytes()
    try:
        promotion = msgspec.json.decode(content, type=Promotion)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PromotionRefusedError(f"{path}: not a promotion record, or a damaged one ({error})") from None
    if promotion.version != VERSION:
        raise PromotionRefusedError(f"{path}: a record of version {promotion.version}, this code reads {VERSION}")
    if _render(promotion) != content or not _is_signed(promotion):
        raise PromotionRefusedError(f"{path}: altered after it was signed, or damaged: restore it, or promote again")
    if promotion.public_key not in trusted.public_keys:
        raise PromotionRefusedError(
            f"{path}: signed by key {promotion.public_key}, which is not in {trusted.path}: add it there as a line "
            "if you trust its holder"
        )
    return promotion


def _is_signed(promotion: Promotion) -> bool:
    try:
        signature = bytes.fromhex(promotion.signature)
        public_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(promotion.public_key))
        public_key.verify(signature, _signed_bytes(promotion))
    except (ValueError, InvalidSignature):
        return False
    return signature.hex() == promotion.signature  # fromhex takes capitals and spaces too


def _signed_bytes(promotion: Promotion) -> bytes:
    values = msgspec.to_builtins(promotion)
    del values["signature"]
    return _canonical(values)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()


def _render(promotion: Promotion) -> bytes:
    return json.dumps(msgspec.to_builtins(promotion), sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"
