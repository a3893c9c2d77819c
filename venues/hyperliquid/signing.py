"""Signatures of both sides: who signed an action, and signing one. The hashing is the official SDK's own.

There is no "bad signature" at this venue: whatever is altered on the way, another address is recovered, and the venue
says that this address does not exist. What is hashed is the action as parsed, key order kept, so decode the body once
and hand `SignedAction.plain` on untouched. `read_as_venue` shows what the venue hashes: numbers of orders without
trailing zeros; a client that signed "100.0" is therefore told of an address it never had.

L1 actions are hashed here without going through EIP-712's generic encoder (the tests hold it equal to the SDK's): that
is most of what an order costs a simulator. Importing this module imports the SDK; nothing else of the package does.

Does not cover: multi-signature.
Source: PROTOCOLS.md 1.7; hyperliquid.utils.signing of hyperliquid-python-sdk 0.24.0.
"""

from typing import Any, Literal

import msgspec
from coincurve import PublicKey
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hyperliquid.utils import signing as sdk

from venues.hyperliquid import wire
from venues.hyperliquid.exchange_actions import Action, Signature, SignedAction, UserSigned

Network = Literal["mainnet", "testnet"]
NETWORKS: tuple[Network, Network] = ("mainnet", "testnet")
SIGNATURE_CHAIN_ID = "0x66eee"  # the SDK's; any chain may sign

_CHAINS: dict[str, Network] = {"Mainnet": "mainnet", "Testnet": "testnet"}
_CHAIN_FIELD = {"name": "hyperliquidChain", "type": "string"}
_PREFIX = "HyperliquidTransaction:"

# type -> (primary type, fields). The two that the SDK keeps inside its functions are written out.
USER_SIGNED: dict[str, tuple[str, list[dict[str, str]]]] = {
    "approveAgent": (
        _PREFIX + "ApproveAgent",
        [
            _CHAIN_FIELD,
            {"name": "agentAddress", "type": "address"},
            {"name": "agentName", "type": "string"},
            {"name": "nonce", "type": "uint64"},
        ],
    ),
    "approveBuilderFee": (
        _PREFIX + "ApproveBuilderFee",
        [
            _CHAIN_FIELD,
            {"name": "maxFeeRate", "type": "string"},
            {"name": "builder", "type": "address"},
            {"name": "nonce", "type": "uint64"},
        ],
    ),
    "usdSend": (_PREFIX + "UsdSend", sdk.USD_SEND_SIGN_TYPES),
    "spotSend": (_PREFIX + "SpotSend", sdk.SPOT_TRANSFER_SIGN_TYPES),
    "withdraw3": (_PREFIX + "Withdraw", sdk.WITHDRAW_SIGN_TYPES),
    "usdClassTransfer": (_PREFIX + "UsdClassTransfer", sdk.USD_CLASS_TRANSFER_SIGN_TYPES),
    "sendAsset": (_PREFIX + "SendAsset", sdk.SEND_ASSET_SIGN_TYPES),
    "userSetAbstraction": (_PREFIX + "UserSetAbstraction", sdk.USER_SET_ABSTRACTION_SIGN_TYPES),
    "userDexAbstraction": (_PREFIX + "UserDexAbstraction", sdk.USER_DEX_ABSTRACTION_SIGN_TYPES),
    "tokenDelegate": (_PREFIX + "TokenDelegate", sdk.TOKEN_DELEGATE_TYPES),
}

_DOMAIN_HASH = keccak(
    keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    + keccak(b"Exchange")
    + keccak(b"1")
    + (1337).to_bytes(32, "big")
    + bytes(32)
)
_AGENT_TYPE_HASH = keccak(b"Agent(string source,bytes32 connectionId)")
_SOURCE_HASHES = {"mainnet": keccak(b"a"), "testnet": keccak(b"b")}


class Signer(msgspec.Struct, frozen=True):
    """Who signed: the address in lower case, and the network the signature is good for."""

    address: str
    network: Network


def find_network(base_url: str) -> Network:
    """Return the network the official SDK signs for at a URL: the testnet everywhere but at the mainnet's own.

    >>> find_network("http://127.0.0.1:3001"), find_network(wire.MAINNET_URL)
    ('testnet', 'mainnet')
    """
    return "mainnet" if base_url == wire.MAINNET_URL else "testnet"


def pad_signature(signature: Signature) -> Signature:
    """Return the signature with `r` and `s` of 64 nibbles.

    >>> pad_signature(Signature("0x1", "0x2", 27)).r[-3:], len(pad_signature(Signature("0x1", "0x2", 27)).s)
    ('001', 66)
    """
    r, s = (f"0x{int(part, 16):064x}" for part in (signature.r, signature.s))
    return Signature(r, s, signature.v)


def read_as_venue(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the action as the venue writes it back before hashing: order numbers without trailing zeros."""
    match plain:
        case {"type": "order", "orders": list(orders)}:
            return {**plain, "orders": [_read_order(order) for order in orders]}
        case {"type": "batchModify", "modifies": list(modifies)}:
            return {**plain, "modifies": [_read_modify(modify) for modify in modifies]}
        case {"type": "modify"}:
            return _read_modify(plain)
        case _:
            return plain


def _read_modify(modify: Any) -> Any:
    if not isinstance(modify, dict) or "order" not in modify:
        return modify
    return {**modify, "order": _read_order(modify["order"])}


def _read_order(order: Any) -> Any:
    if not isinstance(order, dict):
        return order
    changed = {key: _strip(value) if key in ("p", "s") else value for key, value in order.items()}
    match changed.get("t"):
        case {"trigger": {"triggerPx": str(px), **_rest} as trigger}:
            changed["t"] = {"trigger": {**trigger, "triggerPx": _strip(px)}}
    return changed


def _strip(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return wire.format_action(wire.parse_number(text, "number"))
    except wire.MalformedMessageError:
        return text


def hash_l1_action(plain: dict[str, Any], vault_address: str | None, nonce: int, expires_after: int | None) -> bytes:
    """Return the connection id: keccak of the packed action, nonce, vault and expiry. ValueError if it has none."""
    try:
        return bytes(sdk.action_hash(plain, vault_address, nonce, expires_after))
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise ValueError(f"action cannot be hashed: {error}; pass JSON values, 64-bit nonce, hex vault") from error


def hash_agent(connection_id: bytes, network: Network) -> bytes:
    """Return the EIP-712 digest that is signed for an L1 action."""
    struct_hash = keccak(_AGENT_TYPE_HASH + _SOURCE_HASHES[network] + connection_id)
    return bytes(keccak(b"\x19\x01" + _DOMAIN_HASH + struct_hash))


def _recover(digest: bytes, signature: Signature) -> str | None:
    # v may be 0, 1 (some wallets), 27, 28.
    recovery = signature.v - 27 if signature.v >= 27 else signature.v
    if recovery not in (0, 1):
        return None
    padded = pad_signature(signature)
    compact = bytes.fromhex(padded.r[2:] + padded.s[2:]) + bytes([recovery])
    try:
        key = PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except Exception:  # noqa: BLE001 - coincurve raises bare Exception for r, s off the curve
        return None
    return "0x" + bytes(keccak(key.format(compressed=False)[1:]))[-20:].hex()


def recover_l1_signer(signed: SignedAction, network: Network) -> str | None:
    """Return the lower-case address that signed an L1 action if it meant `network`, None if there is none.

    Any signature recovers to some address: the caller looks whether it knows it, and says UNKNOWN_SIGNER of it else.
    """
    plain = read_as_venue(signed.plain)
    try:
        connection_id = hash_l1_action(plain, signed.vault_address, signed.nonce, signed.expires_after)
    except ValueError:
        return None
    return _recover(hash_agent(connection_id, network), signed.signature)


def recover_user_signer(signed: SignedAction) -> Signer | None:
    """Return who signed a user-signed action and for which chain it says it is; None if nobody can have.

    A missing agent name was signed as "": the SDK drops it after signing.
    """
    plain = {**signed.plain}
    if plain.get("type") == "approveAgent" and plain.get("agentName") is None:
        plain["agentName"] = ""
    network, known = _CHAINS.get(str(plain.get("hyperliquidChain"))), USER_SIGNED.get(str(plain.get("type")))
    if network is None or known is None:
        return None
    try:
        message = encode_typed_data(full_message=sdk.user_signed_payload(*known, plain))
    except Exception:  # noqa: BLE001 - eth_account raises a dozen kinds for fields that do not fit their types
        return None
    digest = keccak(b"\x19" + message.version + message.header + message.body)
    address = _recover(bytes(digest), signed.signature)
    return None if address is None else Signer(address, network)


def recover_signer(signed: SignedAction, network: Network) -> Signer | None:
    """Return who signed any action covered here. An L1 action is read as meant for `network`, the simulator's own.

    A user-signed action names its network itself: compare. To accept both networks (the SDK signs for testnet unless
    its URL is the mainnet's, ccxt for mainnet), recover for each and see which address you know.
    """
    if isinstance(signed.action, UserSigned):
        return recover_user_signer(signed)
    address = recover_l1_signer(signed, network)
    return None if address is None else Signer(address, network)


def load_wallet(private_key: str) -> LocalAccount:
    """Return the SDK's wallet for a key. Its repr shows no key; keep it in one place."""
    try:
        return Account.from_key(private_key)
    except Exception:  # noqa: BLE001 - of many kinds, and what they say may hold the key
        raise ValueError("private key is not 32 bytes of hex: check the keys file") from None


def sign_action(
    wallet: LocalAccount,
    action: Action,
    nonce: int,
    network: Network,
    *,
    vault_address: str | None = None,
    expires_after: int | None = None,
) -> SignedAction:
    """Return the signed envelope, ready to encode. User-signed actions carry their own nonce or time: pass the same.

    Raises ValueError if a user-signed action is given a vault's name or an expiry: the venue has none for them.
    """
    plain = wire.to_plain(action)
    is_mainnet = network == "mainnet"
    if isinstance(action, UserSigned):
        if expires_after is not None or vault_address is not None:
            raise ValueError(f"{plain['type']} is signed by the user: leave vault_address and expires_after out")
        if plain.get("nonce", plain.get("time")) != nonce:
            raise ValueError(f"{plain['type']} says nonce {plain.get('nonce', plain.get('time'))}, not {nonce}")
        full = {**plain, "agentName": plain.get("agentName") or ""} if plain["type"] == "approveAgent" else {**plain}
        primary_type, fields = USER_SIGNED[plain["type"]]
        parts = sdk.sign_user_signed_action(wallet, full, fields, primary_type, is_mainnet)
        plain |= {key: full[key] for key in ("signatureChainId", "hyperliquidChain")}
    else:
        vault_address = None if vault_address is None else vault_address.lower()
        parts = sdk.sign_l1_action(wallet, plain, vault_address, nonce, expires_after, is_mainnet)
    signature = pad_signature(Signature(parts["r"], parts["s"], parts["v"]))
    return SignedAction(action, plain, nonce, signature, vault_address, expires_after)


def checksum(address: str) -> str:
    """Return an address as the SDK prints it."""
    return str(to_checksum_address(address))
