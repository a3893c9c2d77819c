"""Keys, addresses and signatures of the chain: secp256k1 over sha256, 64 bytes r and s, low s only.

Source: PROTOCOLS.md 2.3; cosmos-sdk crypto/keys/secp256k1.
"""

import hashlib
from functools import lru_cache

import bech32
from coincurve import PrivateKey, PublicKey, ecdsa
from Crypto.Hash import RIPEMD160

ADDRESS_PREFIX = "dydx"
SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 33
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class SigningKey:
    """A private key. Prints as its address: a key must not end in a log."""

    __slots__ = ("_key", "address", "public_key")

    def __init__(self, secret: bytes) -> None:
        """Take the 32 secret bytes.

        Raises: ValueError if they are not a key.
        """
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < CURVE_ORDER:
            raise ValueError("private key must be 32 bytes, above 0 and below the order of secp256k1")
        self._key = PrivateKey(secret)
        self.public_key: bytes = self._key.public_key.format(compressed=True)
        self.address = derive_address(self.public_key)

    @staticmethod
    def from_hex(secret_hex: str) -> "SigningKey":
        """Take 64 hex digits, with or without 0x.

        Raises: ValueError if they are not a key; the message does not repeat them.
        """
        try:
            secret = bytes.fromhex(secret_hex.strip().removeprefix("0x"))
        except ValueError:
            raise ValueError("private key is not hexadecimal: give 64 hex digits") from None
        return SigningKey(secret)

    @staticmethod
    def from_mnemonic(mnemonic: str) -> "SigningKey":
        """Derive the key at m/44'/118'/0'/0/0, as the SDK does.

        Raises: ValueError if the words are not a valid mnemonic; the message does not repeat them.
        """
        from dydx_v4_client.key_pair import bytes_from_mnemonic  # slow to import, seldom wanted

        try:
            secret = bytes(bytes_from_mnemonic(mnemonic))
        except (ValueError, LookupError):
            raise ValueError("mnemonic is not valid: give 12 or 24 BIP-39 words") from None
        return SigningKey(secret)

    def sign(self, sign_bytes: bytes) -> bytes:
        """Return 64 bytes r and s over sha256 of `sign_bytes`, s low; the same bytes give the same signature."""
        recoverable: bytes = self._key.sign_recoverable(sign_bytes)
        s = int.from_bytes(recoverable[32:64], "big")
        low = min(s, CURVE_ORDER - s)
        return recoverable[:32] + low.to_bytes(32, "big")

    def __repr__(self) -> str:
        """Show the address only."""
        return f"SigningKey({self.address})"


@lru_cache(maxsize=4096)
def derive_address(public_key: bytes) -> str:
    """Return the bech32 address of a compressed public key: ripemd160 of sha256."""
    digest = RIPEMD160.new(hashlib.sha256(public_key).digest()).digest()
    return str(bech32.bech32_encode(ADDRESS_PREFIX, bech32.convertbits(digest, 8, 5)))


@lru_cache(maxsize=4096)
def explain_bad_address(address: str) -> str:
    """Return why the chain would not read an address, "" if it would; the reasons are worded as the Cosmos SDK's."""
    if not address.strip():
        return "empty address string is not allowed"
    prefix, words = bech32.bech32_decode(address)
    if prefix is None or words is None:
        return "decoding bech32 failed: invalid bech32 string or checksum"
    if prefix != ADDRESS_PREFIX:
        return f"invalid Bech32 prefix; expected {ADDRESS_PREFIX}, got {prefix}"
    payload = bech32.convertbits(words, 5, 8, False)
    if payload is None or len(payload) not in (20, 32):
        return "address length must be 20 or 32 bytes"
    return ""


@lru_cache(maxsize=4096)
def _load_public_key(public_key: bytes) -> PublicKey | None:
    try:
        return PublicKey(public_key)
    except ValueError:
        return None


def verify_signature(public_key: bytes, sign_bytes: bytes, signature: bytes) -> bool:
    """Return whether the signature is that key's over these bytes; False for high s, wrong lengths, no key at all."""
    if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
        return False
    if int.from_bytes(signature[32:], "big") > CURVE_ORDER // 2:
        return False
    key = _load_public_key(public_key)
    if key is None:
        return False
    try:
        der = ecdsa.cdata_to_der(ecdsa.deserialize_compact(signature))
        return bool(key.verify(der, sign_bytes))
    except ValueError:
        return False
