"""Orders a second through each simulator: the machine alone, and over real sockets with the official SDKs.

An order rests far from the market and is canceled again; place and cancel each count as one. Alone, bytes go in (signed
before the clock runs) and a reply comes out, signatures verified. Over sockets, one SDK client in this process waits
for each reply, signing included; the simulator has a process of its own.
"""

import asyncio
import itertools
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from tests.venues.others import serving

COUNT = 600  # pairs
Pair = tuple[Callable[[], object], Callable[[], object]]


class OrderRow(NamedTuple):
    """One line of the table."""

    label: str
    orders_s: float
    median_ms: float


def measure_orders() -> list[OrderRow]:
    """Return the rows of the venues that trade."""
    return [
        _measure_engine(),
        _measure_hyperliquid_desk(),
        _measure_dydx_chain(),
        _measure_hyperliquid_sdk(),
        _measure_dydx_sdk(),
    ]


def _time(label: str, pairs: Iterable[Pair]) -> OrderRow:
    waits_s = []
    for call in itertools.chain.from_iterable(pairs):
        begin_s = time.perf_counter()
        call()
        waits_s.append(time.perf_counter() - begin_s)
    return OrderRow(label, len(waits_s) / sum(waits_s), sorted(waits_s)[len(waits_s) // 2] * 1e3)


def _measure_engine() -> OrderRow:
    from market.events import OrderRequest, OrderType, TimeInForce
    from market.records import Side

    market = serving.make_market("HYPERLIQUID")
    market.open_account("a", 100_000.0)
    market.advance(time.time_ns(), is_watched=False)
    ts_ns = market.ts_now_ns

    def pair(name: str) -> Pair:
        request = OrderRequest(
            client_order_id=name,
            instrument_id="BTC-PERP.HYPERLIQUID",
            side=Side.BUY.value,
            order_type=OrderType.LIMIT,
            qty_lots=100,
            limit_px=50_000.0,
            time_in_force=TimeInForce.GTC,
        )
        return lambda: market.submit("a", [request], ts_ns), lambda: market.cancel("a", name, ts_ns)

    return _time("exchange machine (both venues'), no codec, no signature", [pair(str(one)) for one in range(COUNT)])


def _measure_hyperliquid_desk() -> OrderRow:
    from venues.hyperliquid import exchange_actions as act
    from venues.hyperliquid.exchange_replies import encode_exchange_reply
    from venues.hyperliquid.signing import load_wallet, sign_action

    simulator = serving.make_hyperliquid()
    simulator.world.advance()
    wallet = load_wallet("0x" + serving.SECRETS[0])
    nonces = itertools.count(time.time_ns() // 10**6)

    def prepare(action: act.Action) -> Callable[[], object]:
        body = act.encode_exchange_request(sign_action(wallet, action, next(nonces), "testnet"))

        def call() -> object:
            signed = act.decode_exchange_request(body)
            assert isinstance(signed, act.SignedAction)
            return encode_exchange_reply(simulator.desk.handle(signed))

        return call

    pairs = []
    for one in range(COUNT):
        cloid = f"0x{one:032x}"
        order = act.limit_order(0, True, "50000", "0.001", "Gtc", cloid=cloid)
        cancel = act.CancelByCloid((act.CloidCancel(0, cloid),))
        pairs.append((prepare(act.PlaceOrders((order,))), prepare(cancel)))
    return _time("hyperliquid machine: bytes, EIP-712 verified, reply bytes", pairs)


def _measure_dydx_chain() -> OrderRow:
    from venues.dydx import order_terms as terms
    from venues.dydx.signing import SigningKey
    from venues.dydx.transactions import LOCALNET, Account, sign_tx

    simulator = serving.make_dydx()
    simulator.chain.start()
    simulator.settle()
    key = SigningKey.from_hex(serving.SECRETS[0])
    nonces = itertools.count(time.time_ns() // 10**6)
    good_til = simulator.chain.height + 20

    def prepare(message: terms.ChainMessage) -> Callable[[], object]:
        tx_bytes = sign_tx(message, key, Account(LOCALNET, 0, next(nonces)))

        def call() -> object:
            admission = simulator.chain.broadcast(tx_bytes)
            assert admission.refusal is None, admission.refusal
            return admission

        return call

    pairs = []
    for one in range(COUNT):
        order_id = terms.OrderId(terms.SubaccountId(key.address), one)
        order = terms.Order(order_id, 1, 10_000_000, 5_000_000_000, good_til_block=good_til)
        pairs.append((prepare(terms.PlaceOrder(order)), prepare(terms.CancelOrder(order_id, good_til))))
    return _time("dydx machine: TxRaw bytes, secp256k1 verified, short-term", pairs)


# Over sockets.


def _serve(make_name: str, pipe: Any) -> None:
    with serving.serve(getattr(serving, make_name)()) as served:
        pipe.send(served.addresses)
        pipe.recv()


@contextmanager
def _serve_apart(make_name: str) -> Iterator[dict[str, str]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(make_name, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        process.join(60.0)


def _measure_hyperliquid_sdk() -> OrderRow:
    from eth_account import Account
    from hyperliquid.exchange import Exchange
    from hyperliquid.utils.types import Cloid

    with _serve_apart("make_hyperliquid") as addresses:
        exchange = Exchange(Account.from_key("0x" + serving.SECRETS[0]), addresses["http"], timeout=30)
        gtc: Any = {"limit": {"tif": "Gtc"}}

        def pair(one: int) -> Pair:
            cloid = Cloid.from_int(one + 1)
            return (
                lambda: exchange.order("BTC", True, 0.001, 50_000.0, gtc, cloid=cloid),
                lambda: exchange.cancel_by_cloid("BTC", cloid),
            )

        return _time("hyperliquid over HTTP, hyperliquid-python-sdk signing", [pair(one) for one in range(COUNT // 2)])


def _measure_dydx_sdk() -> OrderRow:
    logging.getLogger("dydx_v4_client").setLevel(logging.ERROR)  # it warns of an address without a scheme
    from dydx_v4_client.key_pair import KeyPair
    from dydx_v4_client.network import local_node, make_insecure
    from dydx_v4_client.node.builder import TxOptions
    from dydx_v4_client.node.client import NodeClient
    from dydx_v4_client.wallet import Wallet
    from v4_proto.dydxprotocol.clob.order_pb2 import Order, OrderId
    from v4_proto.dydxprotocol.subaccounts.subaccount_pb2 import SubaccountId

    from venues.dydx.signing import SigningKey

    nonces = itertools.count(time.time_ns() // 10**6)
    address = SigningKey.from_hex(serving.SECRETS[0]).address
    with _serve_apart("make_dydx") as addresses, asyncio.Runner() as runner:
        network = make_insecure(
            local_node,
            rest_indexer=addresses["http"],
            websocket_indexer=addresses["ws"],
            node_url=addresses["grpc"],
        )
        node = runner.run(NodeClient.connect(network.node))
        wallet = Wallet(KeyPair.from_hex(serving.SECRETS[0]), 0, 0)

        def options() -> TxOptions:
            return TxOptions(authenticators=[], sequence=next(nonces), account_number=0)

        def place(order_id: Any, good_til: int) -> None:
            order = Order(
                order_id=order_id, side=1, quantums=10_000_000, subticks=5_000_000_000, good_til_block=good_til
            )  # fmt: skip
            _check(runner.run(node.place_order(wallet, order, tx_options=options())))

        def cancel(order_id: Any, good_til: int) -> None:
            _check(runner.run(node.cancel_order(wallet, order_id, good_til_block=good_til, tx_options=options())))

        def make_pairs() -> Iterator[Pair]:
            for one in range(COUNT // 2):
                if one % 50 == 0:  # between the calls that count
                    good_til = int(runner.run(node.latest_block_height())) + 15
                order_id = OrderId(subaccount_id=SubaccountId(owner=address, number=0), client_id=one)
                yield partial(place, order_id, good_til), partial(cancel, order_id, good_til + 1)

        row = _time("dydx over gRPC, dydx-v4-client signing", make_pairs())
        network.node.channel.close()
        return row


def _check(response: Any) -> None:
    assert response.tx_response.code == 0, response.tx_response.raw_log
