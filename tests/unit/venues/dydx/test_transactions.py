"""Transactions: the official signer's bytes decode, verify and are made again; altered ones fail."""

import random

import bech32
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shared_data import needs_shared
from tests.unit.venues.dydx.dydx_samples import ACCOUNT, KEY, OTHER_KEY, load_vectors, make_order, make_stop
from venues.dydx.chain_errors import MalformedMessageError
from venues.dydx.order_terms import (
    BatchCancel,
    CancelBatch,
    CancelOrder,
    OrderId,
    PlaceOrder,
    SubaccountId,
    UnsupportedMessage,
)
from venues.dydx.signing import CURVE_ORDER, SigningKey, explain_bad_address, verify_signature
from venues.dydx.transactions import LOCALNET, Account, decode_tx, is_signed_by_owner, sign_tx, verify_tx

# sign_tx(PlaceOrder(make_order()), ...) as the SDK 1.1.5 makes it, so that this file tests without ../shared too.
MESSAGES = [
    PlaceOrder(make_order()),
    PlaceOrder(make_order(2, has_builder_code=True, builder_address=KEY.address, builder_fee_ppm=5)),
    PlaceOrder(make_order(3, 64, time_in_force=2)),
    PlaceOrder(make_stop()),
    CancelOrder(OrderId(SubaccountId(KEY.address, 3), 1), good_til_block=1012),
    CancelOrder(OrderId(SubaccountId(KEY.address), 3, 64), good_til_block_time_s=1_767_225_660),
    BatchCancel(SubaccountId(KEY.address), (CancelBatch(0, (1, 2)), CancelBatch(1, (2**32 - 1,))), 1012),
    UnsupportedMessage("/dydxprotocol.sending.MsgCreateTransfer", b"\x0a\x00"),
]


@needs_shared
def test_vectors_decode_and_verify_and_are_made_again() -> None:
    """Bit for bit: our signer and the SDK's make the same bytes."""
    vectors = load_vectors()
    assert len(vectors["cases"]) == 9
    for case in vectors["cases"]:
        tx_bytes = bytes.fromhex(case["tx_bytes_hex"])
        tx = decode_tx(tx_bytes)
        (message,) = tx.messages
        assert type(message).__name__ == case["msg_type"].rpartition(".Msg")[2]
        assert tx.signers[0].sequence == case["sequence"]
        assert verify_tx(tx, vectors["chain_id"], vectors["account_number"])
        assert is_signed_by_owner(tx)
        key = SigningKey.from_hex(vectors["private_key_hex"])
        assert key.address == vectors["address"]
        assert key.public_key.hex() == vectors["pubkey_hex"]
        authenticators = () if "timestamp" in case["name"] else None
        account = Account(vectors["chain_id"], vectors["account_number"], case["sequence"], authenticators)
        assert sign_tx(message, key, account) == tx_bytes


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_signing_and_decoding(message: PlaceOrder) -> None:
    """What was signed is what is read, and the signature holds for this chain and account only."""
    tx = decode_tx(sign_tx(message, KEY, ACCOUNT, memo="m", timeout_height=5, fee=(("1", "adydx"),)))
    assert tx.messages == (message,)
    assert (tx.memo, tx.timeout_height, tx.fee, tx.gas_limit) == ("m", 5, (("1", "adydx"),), 1_000_000)
    assert tx.signers[0].sequence == 42
    assert verify_tx(tx, LOCALNET, 7)
    assert verify_tx(tx, LOCALNET, 7, KEY.public_key)
    assert not verify_tx(tx, LOCALNET, 8)
    assert not verify_tx(tx, "dydx-mainnet-1", 7)
    assert not verify_tx(tx, LOCALNET, 7, OTHER_KEY.public_key)


def test_the_signature_says_nothing_of_the_owner() -> None:
    """Another's order signed by us verifies, and is told apart by the owner."""
    order = make_order()
    tx = decode_tx(sign_tx(PlaceOrder(order), OTHER_KEY, ACCOUNT))
    assert verify_tx(tx, LOCALNET, 7)
    assert not is_signed_by_owner(tx)


def test_high_s_is_refused() -> None:
    """The other root of the same signature is one the chain refuses."""
    signature = KEY.sign(b"x")
    assert verify_signature(KEY.public_key, b"x", signature)
    high = CURVE_ORDER - int.from_bytes(signature[32:], "big")
    assert not verify_signature(KEY.public_key, b"x", signature[:32] + high.to_bytes(32, "big"))
    for wrong in (b"", signature[:63], bytes(64), b"\xff" * 64):
        assert not verify_signature(KEY.public_key, b"x", wrong)
    assert not verify_signature(b"\x05" * 33, b"x", signature)


def test_authenticators_travel() -> None:
    """Permissioned keys select authenticators; the SDK's empty list selects none."""
    for selected in ((), (3, 4)):
        tx = decode_tx(sign_tx(MESSAGES[0], KEY, Account(LOCALNET, 7, 2**41, selected)))
        assert tx.authenticators == selected


def test_keys_do_not_print() -> None:
    """A key's repr is its address; wrong keys are refused without repeating them."""
    assert repr(KEY) == f"SigningKey({KEY.address})"
    with pytest.raises(ValueError, match="hexadecimal"):
        SigningKey.from_hex("zz" * 32)
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(bytes(32))
    with pytest.raises(ValueError, match="mnemonic"):
        SigningKey.from_mnemonic("not words at all")


def test_addresses_are_explained() -> None:
    """A good one has no problem; others say theirs."""
    assert explain_bad_address(KEY.address) == ""
    assert "empty" in explain_bad_address("")
    assert "bech32" in explain_bad_address(KEY.address[:-1] + "q")
    assert "expected dydx, got cosmos" in explain_bad_address(bech32.bech32_encode("cosmos", [0] * 32))
    assert "20 or 32" in explain_bad_address(bech32.bech32_encode("dydx", [0] * 8))


def test_fields_nobody_knows_are_named() -> None:
    """The order router's address (ccxt sends it) is unknown to v4-proto: its number comes out, the signature holds."""
    tx_bytes = sign_tx(PlaceOrder(make_order()), KEY, ACCOUNT)
    tx = decode_tx(tx_bytes)
    assert isinstance(tx.messages[0], PlaceOrder)
    from v4_proto.cosmos.tx.v1beta1 import tx_pb2
    from v4_proto.dydxprotocol.clob import tx_pb2 as clob_pb2

    raw = tx_pb2.TxRaw.FromString(tx_bytes)
    body = tx_pb2.TxBody.FromString(raw.body_bytes)
    order_bytes = clob_pb2.MsgPlaceOrder.FromString(body.messages[0].value).order.SerializeToString()
    router = b"\x6a\x03abc"  # field 13, three bytes
    order_bytes += router
    body.messages[0].value = b"\x0a" + bytes([len(order_bytes)]) + order_bytes
    raw.body_bytes = body.SerializeToString()
    (message,) = decode_tx(raw.SerializeToString()).messages
    assert isinstance(message, PlaceOrder)
    assert message.order.extra_fields == (13,)
    raw.body_bytes = body.SerializeToString() + b"\x78\x01"  # field 15 of TxBody: unknown and critical
    with pytest.raises(MalformedMessageError, match="TagNum: 15"):
        decode_tx(raw.SerializeToString())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_junk_is_malformed_or_a_transaction(junk: bytes) -> None:
    """Nothing but MalformedMessageError comes out of the decoder."""
    try:
        tx = decode_tx(junk)
    except MalformedMessageError:
        return
    verify_tx(tx, LOCALNET, 0)
    is_signed_by_owner(tx)


def test_mutated_transactions_never_verify_as_another_message() -> None:
    """Flip, cut, double bytes of signed ones: it is malformed, fails to verify, or reads as it was signed."""
    chance = random.Random(4)
    for message in MESSAGES:
        tx_bytes = sign_tx(message, KEY, ACCOUNT)
        original = decode_tx(tx_bytes)
        for _ in range(150):
            mutated = bytearray(tx_bytes)
            place = chance.randrange(len(mutated))
            match chance.randrange(3):
                case 0:
                    mutated[place] ^= 1 << chance.randrange(8)
                case 1:
                    del mutated[place : place + chance.randrange(1, 9)]
                case _:
                    mutated[place:place] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 5)))
            try:
                tx = decode_tx(bytes(mutated))
            except MalformedMessageError:
                continue
            if verify_tx(tx, LOCALNET, 7, KEY.public_key):
                assert tx.body_bytes == original.body_bytes
                assert tx.messages == original.messages
