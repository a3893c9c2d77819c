"""Transactions of the chain: TxRaw bytes to messages and back, what is signed, and who signed it.

Decoding keeps the raw body and auth-info bytes: the signature is over those, never over a re-encoding. A field the
chain does not know in TxRaw or AuthInfo, or a critical one (number below 1024) in TxBody, is malformed, as there.
Does not cover: more than one signer, multisig keys, SIGN_MODE_LEGACY_AMINO and TEXTUAL (named in `SignerInfo.mode`).
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from v4_proto.cosmos.base.v1beta1 import coin_pb2
from v4_proto.cosmos.crypto.secp256k1 import keys_pb2
from v4_proto.cosmos.tx.v1beta1 import tx_pb2
from v4_proto.dydxprotocol.accountplus import tx_pb2 as accountplus_pb2

from venues.dydx.chain_errors import MalformedMessageError
from venues.dydx.order_terms import ChainMessage, read_message, write_message
from venues.dydx.signing import SigningKey, derive_address, verify_signature

PUBLIC_KEY_URL = "/cosmos.crypto.secp256k1.PubKey"
TX_EXTENSION_URL = "/dydxprotocol.accountplus.TxExtension"
SIGN_MODE_DIRECT = 1
GAS_LIMIT = 1_000_000
SDK_MEMO = "Client Example"

MAINNET = "dydx-mainnet-1"
TESTNET = "dydx-testnet-4"
LOCALNET = "localdydxprotocol"

_NON_CRITICAL_BIT = 1024
_TX_BYTES_MAX = 1_048_576  # CometBFT's max_tx_bytes


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """Who says they signed. `public_key` is empty when left out (the account's stored key counts), mode 1 is direct."""

    public_key: bytes
    public_key_url: str
    sequence: int
    mode: int


@dataclass(frozen=True, slots=True)
class Tx:
    """A decoded transaction. `tx_hash` is upper-case hex, as every reply shows it."""

    messages: tuple[ChainMessage, ...]
    memo: str
    timeout_height: int
    extension_urls: tuple[str, ...]  # critical ones: the chain knows none
    authenticators: tuple[int, ...]  # of the TxExtension; empty: the classic signature path
    signers: tuple[SignerInfo, ...]
    gas_limit: int
    fee: tuple[tuple[str, str], ...]  # (amount, denom)
    signatures: tuple[bytes, ...]
    body_bytes: bytes
    auth_info_bytes: bytes
    tx_hash: str


def hash_tx(tx_bytes: bytes) -> str:
    """Return the transaction hash, upper-case hex of sha256."""
    return hashlib.sha256(tx_bytes).hexdigest().upper()


def _refuse_unknown_fields(proto: Any, name: str, *, is_lenient: bool = False) -> None:
    for field in UnknownFieldSet(proto):
        if not (is_lenient and field.field_number & _NON_CRITICAL_BIT):
            raise MalformedMessageError(
                f'errUnknownField "/cosmos.tx.v1beta1.{name}": {{TagNum: {field.field_number}}}'
            )


def _read_signer(proto: Any) -> SignerInfo:
    url = proto.public_key.type_url
    public_key: bytes = keys_pb2.PubKey.FromString(proto.public_key.value).key if url == PUBLIC_KEY_URL else b""
    return SignerInfo(public_key, url, proto.sequence, proto.mode_info.single.mode)


def _read_authenticators(body: Any) -> tuple[int, ...]:
    for extension in body.non_critical_extension_options:
        if extension.type_url == TX_EXTENSION_URL:
            return tuple(accountplus_pb2.TxExtension.FromString(extension.value).selected_authenticators)
    return ()


def decode_tx(tx_bytes: bytes) -> Tx:
    """Return the transaction in TxRaw bytes; messages that are not covered come out as `UnsupportedMessage`.

    Raises: MalformedMessageError if they are not a transaction the chain could parse.
    """
    if len(tx_bytes) > _TX_BYTES_MAX:
        raise MalformedMessageError(f"tx is {len(tx_bytes)} bytes long, at most {_TX_BYTES_MAX} are allowed")
    try:
        raw = tx_pb2.TxRaw.FromString(tx_bytes)
        _refuse_unknown_fields(raw, "TxRaw")
        body = tx_pb2.TxBody.FromString(raw.body_bytes)
        _refuse_unknown_fields(body, "TxBody", is_lenient=True)
        auth_info = tx_pb2.AuthInfo.FromString(raw.auth_info_bytes)
        _refuse_unknown_fields(auth_info, "AuthInfo")
        return Tx(
            messages=tuple(read_message(packed.type_url, packed.value) for packed in body.messages),
            memo=body.memo,
            timeout_height=body.timeout_height,
            extension_urls=tuple(packed.type_url for packed in body.extension_options),
            authenticators=_read_authenticators(body),
            signers=tuple(_read_signer(signer) for signer in auth_info.signer_infos),
            gas_limit=auth_info.fee.gas_limit,
            fee=tuple((coin.amount, coin.denom) for coin in auth_info.fee.amount),
            signatures=tuple(raw.signatures),
            body_bytes=raw.body_bytes,
            auth_info_bytes=raw.auth_info_bytes,
            tx_hash=hash_tx(tx_bytes),
        )
    except DecodeError as error:
        raise MalformedMessageError(f"tx does not parse: {error}") from None


def encode_tx(tx: Tx) -> bytes:
    """Return the TxRaw bytes of a decoded transaction."""
    raw = tx_pb2.TxRaw(body_bytes=tx.body_bytes, auth_info_bytes=tx.auth_info_bytes, signatures=tx.signatures)
    tx_bytes: bytes = raw.SerializeToString()
    return tx_bytes


def make_sign_bytes(body_bytes: bytes, auth_info_bytes: bytes, chain_id: str, account_number: int) -> bytes:
    """Return the SignDoc bytes: what is signed."""
    document = tx_pb2.SignDoc(
        body_bytes=body_bytes, auth_info_bytes=auth_info_bytes, chain_id=chain_id, account_number=account_number
    )
    signed: bytes = document.SerializeToString()
    return signed


def verify_tx(tx: Tx, chain_id: str, account_number: int, public_key: bytes = b"") -> bool:
    """Return whether the first signature is `public_key`'s (by default the one the transaction shows) over this chain
    and account."""
    if len(tx.signatures) != 1 or len(tx.signers) != 1 or tx.signers[0].mode != SIGN_MODE_DIRECT:
        return False
    sign_bytes = make_sign_bytes(tx.body_bytes, tx.auth_info_bytes, chain_id, account_number)
    return verify_signature(public_key or tx.signers[0].public_key, sign_bytes, tx.signatures[0])


def is_signed_by_owner(tx: Tx) -> bool:
    """Return whether the key shown is the key of every message's owner; unsupported messages are skipped."""
    owners = {message.owner for message in tx.messages if hasattr(message, "owner")}
    return len(tx.signers) == 1 and owners <= {derive_address(tx.signers[0].public_key)}


@dataclass(frozen=True, slots=True)
class Account:
    """What signing needs of the sender: chain, account number, and this transaction's sequence or timestamp nonce."""

    chain_id: str
    account_number: int
    sequence: int
    authenticators: tuple[int, ...] | None = None  # None: no extension; (): the SDK's TxOptions without a permission


def _pack(type_url: str, value: bytes) -> Any:
    return AnyMessage(type_url=type_url, value=value)


def sign_tx(
    message: ChainMessage,
    key: SigningKey,
    account: Account,
    *,
    memo: str = SDK_MEMO,
    gas_limit: int = GAS_LIMIT,
    fee: tuple[tuple[str, str], ...] = (),
    timeout_height: int = 0,
) -> bytes:
    """Return the TxRaw bytes of one message, byte for byte what the SDK's Builder makes of the same.

    Raises: ValueError if a number does not fit its protobuf field.

    With `account.sequence` a `sequences.NonceSource` nonce no account query is needed before each order.
    """
    body = tx_pb2.TxBody(messages=[_pack(*write_message(message))], memo=memo, timeout_height=timeout_height)
    if account.authenticators is not None:
        extension = accountplus_pb2.TxExtension(selected_authenticators=account.authenticators)
        body.non_critical_extension_options.append(_pack(TX_EXTENSION_URL, extension.SerializeToString()))
    mode = tx_pb2.ModeInfo(single=tx_pb2.ModeInfo.Single(mode=SIGN_MODE_DIRECT))
    signer = tx_pb2.SignerInfo(
        public_key=_pack(PUBLIC_KEY_URL, keys_pb2.PubKey(key=key.public_key).SerializeToString()),
        mode_info=mode,
        sequence=account.sequence,
    )
    coins = [coin_pb2.Coin(amount=amount, denom=denom) for amount, denom in fee]
    auth_info = tx_pb2.AuthInfo(signer_infos=[signer], fee=tx_pb2.Fee(amount=coins, gas_limit=gas_limit))
    body_bytes, auth_info_bytes = body.SerializeToString(), auth_info.SerializeToString()
    signature = key.sign(make_sign_bytes(body_bytes, auth_info_bytes, account.chain_id, account.account_number))
    raw = tx_pb2.TxRaw(body_bytes=body_bytes, auth_info_bytes=auth_info_bytes, signatures=[signature])
    tx_bytes: bytes = raw.SerializeToString()
    return tx_bytes
