"""Junk over real sockets: HTTP bodies and targets, frames, gRPC bytes, and well-signed nonsense.

Whatever comes, the simulator answers as the venue refuses, no handler raises, and a good request is served afterwards.
Seeds are fixed. Random bytes for the codecs alone are in tests/unit/venues.
"""

import contextlib
import json
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import pytest
from eth_account import Account as Wallet
from hyperliquid.utils.signing import sign_l1_action
from v4_proto.cosmos.tx.v1beta1 import service_pb2
from v4_proto.cosmos.tx.v1beta1.service_pb2_grpc import ServiceStub
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from tests.venues.others.damage import mutate, mutate_target, put_strange
from tests.venues.others.serving import SECRETS, Served, make_binance, make_dydx, make_hyperliquid, serve, wait_for
from venues.dydx import order_terms as terms
from venues.dydx.signing import SigningKey
from venues.dydx.transactions import LOCALNET, Account, sign_tx

pytestmark = pytest.mark.timeout(240)

CALL_S = 30.0


@pytest.fixture(autouse=True)
def _no_handler_raises(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No request may end in an exception of the server or of its loop."""
    yield
    failures = [
        record
        for record in caplog.get_records("call")
        if record.levelno >= logging.ERROR and not record.name.startswith("websockets.client")
    ]
    assert not failures, [(record.name, record.getMessage(), record.exc_text) for record in failures]


def send_frames(uri: str, frames: list[bytes], draws: random.Random) -> None:
    """Send frames as text or binary, over a new connection whenever the server closes; read what it says."""
    left = [*frames]
    while left:
        with contextlib.suppress(ConnectionClosed, OSError, EOFError), connect(uri, open_timeout=CALL_S) as socket:
            while left:
                frame = left.pop()
                is_text = draws.random() < 0.8
                socket.send(frame.decode("utf-8", "replace") if is_text else frame)
                with contextlib.suppress(TimeoutError):
                    socket.recv(timeout=0.0)


def ask_frame(uri: str, frame: object, is_answer: Callable[[Any], bool]) -> None:
    """Send a good frame over a new connection and wait for its answer."""
    with connect(uri, open_timeout=CALL_S, close_timeout=5.0) as socket:
        socket.send(json.dumps(frame))
        for _ in range(200):
            if is_answer(json.loads(socket.recv(timeout=CALL_S))):
                return
    raise AssertionError(f"no answer to {frame}")


@pytest.fixture(scope="module")
def hyperliquid() -> Iterator[Served]:
    with serve(make_hyperliquid()) as running:
        yield running


@pytest.fixture(scope="module")
def dydx() -> Iterator[Served]:
    with serve(make_dydx()) as running:
        yield running


@pytest.fixture(scope="module")
def binance() -> Iterator[Served]:
    with serve(make_binance()) as running:
        yield running


# Hyperliquid.

ORDER = {"a": 0, "b": True, "p": "50000", "s": "0.01", "r": False, "t": {"limit": {"tif": "Gtc"}}, "c": "0x" + "1" * 32}
STOP = {**ORDER, "b": False, "r": True, "t": {"trigger": {"isMarket": True, "triggerPx": "55000", "tpsl": "sl"}}}
BUILDER = {"b": "0x" + "2" * 40, "f": 1}
ACTIONS: tuple[dict[str, Any], ...] = (
    {"type": "order", "orders": [ORDER], "grouping": "na"},
    {"type": "order", "orders": [ORDER, STOP], "grouping": "normalTpsl"},
    {"type": "order", "orders": [{**STOP, "s": "0"}], "grouping": "positionTpsl", "builder": BUILDER},
    {"type": "cancel", "cancels": [{"a": 0, "o": 77000000001}]},
    {"type": "cancelByCloid", "cancels": [{"asset": 0, "cloid": "0x" + "1" * 32}]},
    {"type": "batchModify", "modifies": [{"oid": 77000000001, "order": ORDER}]},
    {"type": "updateLeverage", "asset": 0, "isCross": True, "leverage": 5},
    {"type": "scheduleCancel", "time": 1_900_000_000_000},
    {"type": "noop"},
)  # fmt: skip
SUBSCRIPTIONS: tuple[dict[str, Any], ...] = (
    {"type": "l2Book", "coin": "BTC", "nSigFigs": 5},
    {"type": "trades", "coin": "ETH"},
    {"type": "candle", "coin": "BTC", "interval": "1m"},
    {"type": "userFills", "user": "0x" + "a" * 40},
    {"type": "allMids"},
)
POSTS: tuple[dict[str, Any], ...] = (
    {"type": "info", "payload": {"type": "l2Book", "coin": "BTC"}},
    {"type": "action", "payload": {"action": ACTIONS[0], "nonce": 1}},
)
FRAMES = [{"method": how, "subscription": one} for how in ("subscribe", "unsubscribe") for one in SUBSCRIPTIONS]
FRAMES += [{"method": "post", "id": 1, "request": request} for request in POSTS]


def sign_plain(action: Any, nonce: int) -> dict[str, Any]:
    """Sign any plain action as the SDK does."""
    signature = sign_l1_action(Wallet.from_key("0x" + SECRETS[0]), action, None, nonce, None, False)
    return {"action": action, "nonce": nonce, "signature": signature, "vaultAddress": None, "expiresAfter": None}


def test_hyperliquid_refuses_signed_nonsense_and_goes_on(hyperliquid: Served) -> None:
    draws, url = random.Random(1), hyperliquid.addresses["http"] + "/exchange"
    nonce = hyperliquid.simulator.world.now_ns() // 10**6
    answers = 0
    with httpx.Client(timeout=CALL_S) as client:
        for _ in range(250):
            action = put_strange(draws.choice(ACTIONS), draws)
            nonce += 1
            try:
                body = sign_plain(action, nonce)
            except (TypeError, ValueError, OverflowError, KeyError):
                continue  # what msgpack cannot write, nobody can sign
            reply = client.post(url, json=body)
            assert reply.status_code in (200, 422), (action, reply.status_code)
            answers += 1
            if reply.status_code == 200:
                assert reply.json()["status"] in ("ok", "err"), action
        assert answers > 150
        good = client.post(url, json=sign_plain({**ACTIONS[0], "orders": [{**ORDER, "c": "0x" + "e" * 32}]}, nonce + 1))
        assert "resting" in good.json()["response"]["data"]["statuses"][0], good.text
    hyperliquid.call(hyperliquid.market.exchange.check_invariants)


def test_hyperliquid_outlives_junk_bodies_and_frames(hyperliquid: Served) -> None:
    draws, base = random.Random(2), hyperliquid.addresses["http"]
    seeds = [json.dumps(sign_plain(action, 1)).encode() for action in ACTIONS[:3]]
    seeds += [
        b'{"type":"l2Book","coin":"BTC"}',
        b'{"type":"candleSnapshot","req":{"coin":"BTC","interval":"1m","startTime":0}}',
    ]
    with httpx.Client(timeout=CALL_S) as client:
        for _ in range(150):
            body = draws.randbytes(draws.randrange(80)) if draws.random() < 0.2 else mutate(draws.choice(seeds), draws)
            kind = draws.choice(("application/json", "application/json; charset=utf-8", "text/plain", ""))
            reply = client.post(
                base + draws.choice(("/info", "/exchange")), content=body, headers={"Content-Type": kind}
            )
            assert reply.status_code in (200, 400, 415, 422), (body, reply.status_code)
        for path in ("/", "/ws", "/info", "/exchange", "/%00", "/info/../x"):
            assert client.get(base + path).status_code in (400, 404, 405), path
        frames = [mutate(json.dumps(draws.choice(FRAMES)).encode(), draws) for _ in range(150)]
        frames += [json.dumps(put_strange(draws.choice(FRAMES), draws)).encode() for _ in range(150)]
        frames += [draws.randbytes(40) for _ in range(30)]
        send_frames(hyperliquid.addresses["ws"], frames, draws)
        ask_frame(hyperliquid.addresses["ws"], {"method": "ping"}, lambda told: told["channel"] == "pong")
        book = client.post(base + "/info", json={"type": "l2Book", "coin": "BTC"}).json()
        assert len(book["levels"][0]) == 20
    hyperliquid.call(hyperliquid.market.exchange.check_invariants)


# dYdX.

BOUNDS = (0, 1, 2, 3, 9, 31, 32, 64, 128, 255, 2**31 - 1, 2**32 - 1)


def draw_order(draws: random.Random, address: str, height: int, time_s: int) -> terms.Order:
    """Return an order any field of which may be nonsense."""

    def draw(good: int, largest: int = 2**32 - 1) -> int:
        return good if draws.random() < 0.95 else min(largest, draws.choice((*BOUNDS, 2**63, 2**64 - 1)))

    flags = draw(draws.choice((0, 32, 64)))
    is_conditional = flags == 32
    has_block = (flags == 0) == (draws.random() < 0.95)
    good_til = {"good_til_block": draw(height + 10)} if has_block else {"good_til_block_time_s": draw(time_s + 60)}
    owner = draws.choice((*[address] * 12, "", "dydx1x"))
    return terms.Order(
        terms.OrderId(terms.SubaccountId(owner, draw(0)), draw(draws.randrange(100)), flags, draw(0)),
        draw(draws.choice((1, 2)), 2**31 - 1),
        draw(10_000_000, 2**64 - 1),
        draw(5_000_000_000, 2**64 - 1),
        time_in_force=draw(1 if is_conditional else draws.choice((0, 2)), 2**31 - 1),
        is_reduce_only=draws.random() < 0.1,
        client_metadata=draw(0),
        condition_type=draw(1 if is_conditional else 0, 2**31 - 1),
        trigger_subticks=draw(5_500_000_000 if is_conditional else 0, 2**64 - 1),
        **good_til,
    )


def test_dydx_refuses_signed_nonsense_and_goes_on(dydx: Served) -> None:
    draws, key = random.Random(3), SigningKey.from_hex(SECRETS[0])
    chain, nonce = dydx.simulator.chain, dydx.simulator.world.now_ns() // 10**6
    number = dydx.call(chain.find_account, key.address).account_number
    codes: set[int] = set()
    with grpc.insecure_channel(dydx.addresses["grpc"]) as channel:
        broadcast = ServiceStub(channel).BroadcastTx
        for count in range(250):
            order = draw_order(draws, key.address, chain.height, nonce // 1000)
            account = Account(LOCALNET, number, nonce + count)
            tx = sign_tx(terms.PlaceOrder(order), key, account)
            if draws.random() < 0.3:
                tx = mutate(tx, draws)
            told = broadcast(
                service_pb2.BroadcastTxRequest(tx_bytes=tx, mode=draws.choice((0, 1, 2, 3))), timeout=CALL_S
            )
            codes.add(told.tx_response.code)
        assert 0 in codes
        assert len(codes) > 8, codes
        counts = iter(range(1_000, 2_000))

        def is_taken() -> bool:
            order_id = terms.OrderId(terms.SubaccountId(key.address), 999)
            order = terms.Order(order_id, 1, 10_000_000, 5_000_000_000, good_til_block=chain.height + 18)
            tx = sign_tx(terms.PlaceOrder(order), key, Account(LOCALNET, number, nonce + next(counts)))
            request = service_pb2.BroadcastTxRequest(tx_bytes=tx, mode=2)
            return bool(broadcast(request, timeout=CALL_S).tx_response.code == 0)

        wait_for(is_taken, "a good order taken")
    dydx.call(dydx.market.exchange.check_invariants)


def test_dydx_outlives_junk_targets_and_frames(dydx: Served) -> None:
    draws, base = random.Random(4), dydx.addresses["http"]
    address = SigningKey.from_hex(SECRETS[0]).address
    targets = [
        f"/v4/orders?address={address}&subaccountNumber=0&limit=5", f"/v4/addresses/{address}/subaccountNumber/0",
        "/v4/candles/perpetualMarkets/BTC-USD?resolution=1MIN&fromISO=2026-01-01T00:00:00.000Z", "/v4/perpetualMarkets",
        f"/v4/fills/parentSubaccount?address={address}&parentSubaccountNumber=0", "/v4/sparklines?timePeriod=ONE_DAY",
        "/v4/historicalFunding/BTC-USD?effectiveBeforeOrAt=2026-01-01", "/broadcast_tx_sync?tx=0x0a0b", "/abci_info",
        f"/cosmos/auth/v1beta1/account_info/{address}", "/v4/orderbooks/perpetualMarket/BTC-USD", "/v4/time",
    ]  # fmt: skip
    with httpx.Client(timeout=CALL_S) as client:
        for _ in range(250):
            target = mutate_target(draws.choice(targets), draws)
            with contextlib.suppress(httpx.InvalidURL):
                reply = client.get(base + target)
                allowed = (200, 400, 404, 405) + ((500,) if target.startswith("/broadcast_tx") else ())
                allowed += (501,) if target.startswith(("/cosmos", "/dydxprotocol")) else ()
                assert reply.status_code in allowed, (target, reply.status_code, reply.text)
        seeds = [
            json.dumps({"type": kind, "channel": channel, "id": name, "batched": True}).encode()
            for kind in ("subscribe", "unsubscribe")
            for channel, name in (
                ("v4_orderbook", "BTC-USD"), ("v4_subaccounts", f"{address}/0"), ("v4_candles", "BTC-USD/1MIN"),
            )
        ]  # fmt: skip
        frames = [mutate(draws.choice(seeds), draws) for _ in range(150)] + [draws.randbytes(40) for _ in range(30)]
        send_frames(dydx.addresses["ws"], frames, draws)
        subscribe = {"type": "subscribe", "channel": "v4_orderbook", "id": "BTC-USD"}
        ask_frame(dydx.addresses["ws"], subscribe, lambda told: told["type"] == "subscribed")
        assert "BTC-USD" in client.get(base + "/v4/perpetualMarkets").json()["markets"]
    dydx.call(dydx.market.exchange.check_invariants)


# Binance.


def test_binance_outlives_junk_targets_and_frames(binance: Served) -> None:
    draws, base, ws = random.Random(5), binance.addresses["http"], binance.addresses["ws"]
    targets = [
        "/fapi/v1/depth?symbol=BTCUSDT&limit=1000", "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=0&limit=5",
        "/fapi/v1/aggTrades?symbol=BTCUSDT&fromId=1", "/fapi/v1/premiumIndex", "/fapi/v1/fundingRate?symbol=BTCUSDT",
        "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m&limit=30", "/fapi/v1/exchangeInfo", "/fapi/v1/time",
        "/api/v3/depth?symbol=BTCUSDT", "/api/v3/klines?symbol=BTCUSDT&interval=15m",
        "/fapi/v1/openInterest?symbol=BTCUSDT",
    ]  # fmt: skip

    with httpx.Client(timeout=CALL_S) as client:
        for _ in range(250):
            target = mutate_target(draws.choice(targets), draws)
            with contextlib.suppress(httpx.InvalidURL):
                reply = client.request(draws.choice(("GET", "GET", "GET", "POST", "DELETE")), base + target)
                assert reply.status_code in (200, 400, 404, 405), (target, reply.status_code, reply.text)
        seeds = [
            json.dumps({"method": method, "params": ["btcusdt@depth@100ms", "ethusdt@aggTrade"], "id": 7}).encode()
            for method in ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
        ]
        frames = [mutate(draws.choice(seeds), draws) for _ in range(120)] + [draws.randbytes(40) for _ in range(30)]
        for path in ("/public/ws", "/market/stream", "/ws/btcusdt@trade"):
            send_frames(ws + path, frames[:50], draws)
            frames = frames[50:]
        for path in ("/public/stream?streams=\u00fc", "/nowhere", "/public/ws/" + "x" * 300, "/market/stream?streams="):
            with (
                contextlib.suppress(InvalidHandshake, ConnectionClosed),
                connect(ws + quote(path, safe="/?=")) as socket,
            ):
                socket.send("{}")
        subscribe = {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 1}
        ask_frame(ws + "/public/ws", subscribe, lambda told: told.get("e") == "depthUpdate")
        wait_for(lambda: client.get(base + "/fapi/v1/depth?symbol=BTCUSDT").status_code == 200, "a book over REST")
