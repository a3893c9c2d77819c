"""A dYdX account as whoever trades has it: with a public key on the chain, which its first transaction brings there."""

import time

import httpx

from tests.venues.others.serving import Served, wait_for
from venues.dydx.order_terms import LONG_TERM, Order, OrderId, PlaceOrder, Side, SubaccountId
from venues.dydx.signing import SigningKey
from venues.dydx.transactions import LOCALNET, Account, sign_tx

FIRST_CLIENT_ID = 77


def publish_key(served: Served, secret: str) -> None:
    """Rest a first long-term order, named FIRST_CLIENT_ID: ccxt cannot read the account of a key that never signed."""
    key, base = SigningKey.from_hex(secret), served.addresses["http"]
    info = httpx.get(f"{base}/cosmos/auth/v1beta1/account_info/{key.address}", timeout=30.0).json()["info"]
    order_id = OrderId(SubaccountId(key.address), FIRST_CLIENT_ID, LONG_TERM)
    order = Order(order_id, Side.BUY, 10_000_000, 3_000_000_000, good_til_block_time_s=int(time.time()) + 3600)
    tx = sign_tx(PlaceOrder(order), key, Account(LOCALNET, int(info["account_number"]), int(info["sequence"])))
    reply = httpx.get(f"{base}/broadcast_tx_sync", params={"tx": "0x" + tx.hex()}, timeout=30.0).json()
    assert reply["result"]["code"] == 0, reply
    account_id = f"{key.address}/0"
    wait_for(lambda: served.call(served.simulator.chain.find_account, key.address).public_key, "the public key")
    wait_for(lambda: served.call(served.market.exchange.open_orders, account_id), "the first order")
