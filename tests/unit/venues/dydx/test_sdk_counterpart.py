"""The installed SDK, without a network, as the other side: it builds and signs, we decode, verify and rebuild."""

import asyncio
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from dydx_v4_client.indexer.rest.constants import OrderExecution, OrderType
from dydx_v4_client.key_pair import KeyPair
from dydx_v4_client.node import message as sdk_message
from dydx_v4_client.node.builder import Builder, TxOptions
from dydx_v4_client.node.market import Market
from dydx_v4_client.wallet import Wallet
from v4_proto.dydxprotocol.clob.order_pb2 import Order as ProtoOrder
from v4_proto.dydxprotocol.clob.tx_pb2 import OrderBatch
from v4_proto.dydxprotocol.subaccounts.subaccount_pb2 import SubaccountId as ProtoSubaccountId

from tests.unit.venues.dydx.dydx_samples import ACCOUNT, BTC, KEY
from venues.dydx.order_terms import BatchCancel, CancelOrder, PlaceOrder
from venues.dydx.rules import check_message
from venues.dydx.signing import SigningKey
from venues.dydx.transactions import LOCALNET, Account, Tx, decode_tx, is_signed_by_owner, sign_tx, verify_tx
from venues.dydx.units import px_to_subticks, size_to_quantums

SECRET = "0a7ff605269ed00853a425beda719da038a11792f6dddf31c087b2988b4dc8fe"
WALLET = Wallet(KeyPair.from_hex(SECRET), 7, 42)
BUILDER = Builder(LOCALNET, "adv4tnt")
MARKET = Market(
    {
        "clobPairId": "0",
        "atomicResolution": -10,
        "quantumConversionExponent": -9,
        "stepBaseQuantums": 1_000_000,
        "subticksPerTick": 100_000,
    }
)


def build(proto: Any, options: TxOptions | None = None) -> tuple[Tx, bytes]:
    tx_bytes: bytes = BUILDER.build(WALLET, proto, tx_options=options).SerializeToString()
    return decode_tx(tx_bytes), tx_bytes


def place(flags: int, kind: Any, **terms: Any) -> Any:
    order_id = MARKET.order_id(WALLET.address, 0, 123, flags)
    base: dict[str, Any] = {
        "side": ProtoOrder.Side.SIDE_BUY,
        "size": 0.001,
        "price": 100_000,
        "time_in_force": ProtoOrder.TimeInForce.TIME_IN_FORCE_UNSPECIFIED,
        "reduce_only": False,
    }
    return sdk_message.place_order(MARKET.order(order_id, kind, **(base | terms)))


STOP: dict[str, Any] = {
    "good_til_block_time": 1_767_225_600,
    "execution": OrderExecution.IOC,
    "reduce_only": True,
    "conditional_order_trigger_subticks": 9_500_000_000,
}


@pytest.mark.parametrize(
    ("proto", "kind", "code"),
    [
        (place(0, OrderType.LIMIT, good_til_block=1010), PlaceOrder, None),
        (place(0, OrderType.LIMIT, good_til_block=1010, post_only=True), PlaceOrder, None),
        (place(0, OrderType.MARKET, good_til_block=1010, reduce_only=True), PlaceOrder, None),
        (place(64, OrderType.LIMIT, good_til_block_time=1_767_225_600), PlaceOrder, None),
        (
            place(32, OrderType.STOP_MARKET, condition_type=ProtoOrder.CONDITION_TYPE_STOP_LOSS, **STOP),
            PlaceOrder,
            None,
        ),
        (place(32, OrderType.STOP_MARKET, **STOP), PlaceOrder, 6000),
        (place(32, OrderType.TAKE_PROFIT_MARKET, **STOP), PlaceOrder, None),
        (
            sdk_message.cancel_order(MARKET.order_id(WALLET.address, 0, 123, 0), good_til_block=1012),
            CancelOrder,
            None,
        ),
        (
            sdk_message.cancel_order(MARKET.order_id(WALLET.address, 0, 123, 64), good_til_block_time=1_767_225_660),
            CancelOrder,
            None,
        ),
        (
            sdk_message.batch_cancel(
                ProtoSubaccountId(owner=WALLET.address, number=0),
                [OrderBatch(clob_pair_id=0, client_ids=[1, 2, 3])],
                1012,
            ),
            BatchCancel,
            None,
        ),
    ],
)
def test_the_sdk_speaks_and_we_understand(proto: Any, kind: type, code: int | None) -> None:
    """Decoded, verified, judged; and our own signer makes the same bytes of it."""
    tx, tx_bytes = build(proto)
    (message,) = tx.messages
    assert type(message) is kind
    assert verify_tx(tx, LOCALNET, 7)
    assert is_signed_by_owner(tx)
    refusal = check_message(message)
    assert (refusal.code if refusal else None) == code
    assert sign_tx(message, KEY, ACCOUNT) == tx_bytes


def test_tx_options_carry_a_timestamp_nonce() -> None:
    """With TxOptions the SDK asks for no account: the nonce goes in as is."""
    options = TxOptions(authenticators=[], sequence=1_767_225_540_000, account_number=9)
    tx, tx_bytes = build(place(0, OrderType.LIMIT, good_til_block=1010), options)
    assert tx.signers[0].sequence == 1_767_225_540_000
    assert tx.authenticators == ()
    assert verify_tx(tx, LOCALNET, 9)
    assert sign_tx(tx.messages[0], KEY, Account(LOCALNET, 9, 1_767_225_540_000, ())) == tx_bytes


def test_the_sdk_floors_floats_and_we_do_not() -> None:
    """0.0029 BTC: the SDK loses a step."""
    assert MARKET.calculate_quantums(0.0029) == 28_000_000
    assert size_to_quantums(BTC, 0.0029) == size_to_quantums(BTC, Decimal("0.0029")) == 29_000_000
    assert MARKET.calculate_subticks(100_000) == px_to_subticks(BTC, 100_000.0)


def test_the_sdk_derives_the_same_key_from_a_mnemonic() -> None:
    """Same words, same address (the SDK's wallet asks the node for nothing but numbers)."""

    class Node:
        async def get_account(self, address: str) -> Any:
            return type("Account", (), {"account_number": 1, "sequence": 2})

    words = "abandon " * 11 + "about"
    wallet = asyncio.run(Wallet.from_mnemonic(Node(), words, ""))
    assert SigningKey.from_mnemonic(words).address == wallet.address


def test_importing_our_client_says_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import venues.dydx.client, venues.dydx.simulator, venues.dydx.simulator_wallets"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
