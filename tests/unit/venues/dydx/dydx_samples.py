"""Keys, orders and transactions that the tests of venues.dydx share. The key is the SDK's public test key."""

import json
from typing import Any

from tests.shared_data import SHARED
from venues.dydx.order_terms import Order, OrderId, Side, SubaccountId, TimeInForce
from venues.dydx.signing import SigningKey
from venues.dydx.transactions import LOCALNET, Account
from venues.dydx.units import LISTED_UNITS

KEY = SigningKey.from_hex("0a7ff605269ed00853a425beda719da038a11792f6dddf31c087b2988b4dc8fe")
OTHER_KEY = SigningKey.from_hex("01" * 32)
ACCOUNT = Account(LOCALNET, 7, 42)
SUBACCOUNT = SubaccountId(KEY.address, 0)
BTC = LISTED_UNITS["BTC-PERP.DYDX"]
BOOKS = {units.clob_pair_id: units for units in LISTED_UNITS.values()}
HEIGHT = 1000
TIME_S = 1_767_225_540
TIME_MS = TIME_S * 1000


def make_order(client_id: int = 1, flags: int = 0, **terms: Any) -> Order:
    """Return a valid buy of 0.001 BTC at 100,000 with some terms changed."""
    good_til = {"good_til_block": HEIGHT + 10} if flags == 0 else {"good_til_block_time_s": TIME_S + 60}
    base: dict[str, Any] = {"side": Side.BUY, "quantums": 10_000_000, "subticks": 10_000_000_000} | good_til
    return Order(OrderId(SUBACCOUNT, client_id, flags), **(base | terms))


def make_stop(client_id: int = 5, **terms: Any) -> Order:
    """Return a valid stop-loss: conditional, IOC, reduce-only."""
    base: dict[str, Any] = {
        "side": Side.SELL,
        "subticks": 9_000_000_000,
        "time_in_force": TimeInForce.IOC,
        "is_reduce_only": True,
        "condition_type": 1,
        "trigger_subticks": 9_500_000_000,
    }
    return make_order(client_id, 32, **(base | terms))


def load_vectors() -> dict[str, Any]:
    """Return the signed transactions of ../shared."""
    assert SHARED is not None
    vectors: dict[str, Any] = json.loads((SHARED / "fixtures/dydx/tx_vectors.json").read_text())
    return vectors
