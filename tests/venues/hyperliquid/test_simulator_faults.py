"""Every switch of the simulator does to the official SDK what the venue's bad days do."""

import contextlib
import json
import random
import time
from typing import Any

import pytest
import requests
from hyperliquid.utils.error import ServerError
from hyperliquid.utils.types import Cloid
from websocket import WebSocket, WebSocketConnectionClosedException, WebSocketTimeoutException, create_connection

from tests.venues.hyperliquid.conftest import Venue, wait_for
from tests.venues.hyperliquid.test_simulator import ALO, GTC, IOC, entry_with_stop, statuses

CLOSED = (WebSocketConnectionClosedException, ConnectionError)
CLOID = Cloid.from_str("0x" + "c" * 32)
BTC_BOOK = {"type": "l2Book", "coin": "BTC"}


def subscribe(socket: WebSocket, subscription: dict[str, Any]) -> None:
    socket.send(json.dumps({"method": "subscribe", "subscription": subscription}))


def receive(socket: WebSocket, channel: str) -> Any:
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        message = json.loads(socket.recv())
        if message["channel"] == channel:
            return message.get("data")
    raise AssertionError(f"no {channel} came")


def test_an_order_whose_reply_is_lost_or_failed_rests_all_the_same(venue: Venue) -> None:
    exchange, info = venue.exchange(), venue.info()
    venue.fault("reply_lost", on="order", next_n=1)
    with pytest.raises(requests.exceptions.ConnectionError):
        exchange.order("BTC", True, 0.01, 50_000.0, GTC, cloid=CLOID)
    assert info.query_order_by_cloid(exchange.wallet.address, CLOID)["order"]["status"] == "open"
    venue.fault("http_status_after", on="order", next_n=1)
    with pytest.raises(ServerError):
        exchange.order("BTC", True, 0.01, 50_001.0, GTC)
    assert len(info.open_orders(exchange.wallet.address)) == 2
    venue.fault("http_status_before", on="order", next_n=1)
    with pytest.raises(ServerError):
        exchange.order("BTC", True, 0.01, 50_002.0, GTC)
    assert len(info.open_orders(exchange.wallet.address)) == 2


def test_a_request_that_hangs_or_comes_late_meets_the_callers_deadline(venue: Venue) -> None:
    exchange, info = venue.exchange(), venue.info()
    exchange.timeout = 0.3
    for count, settings in enumerate(({"name": "request_blackhole"}, {"name": "reply_delay", "delay_ms": 60_000})):
        venue.fault(on="order", next_n=1, **settings)  # type: ignore[arg-type]
        with pytest.raises(requests.exceptions.Timeout):
            exchange.order("BTC", True, 0.01, 50_000.0, GTC)
        wait_for(lambda count=count: len(info.open_orders(exchange.wallet.address)) == count, "the order")


def test_nonce_upgrade_cap_and_short_replies(venue: Venue) -> None:
    exchange = venue.exchange()
    venue.fault("nonce_refused", next_n=1)
    assert "duplicate nonce" in exchange.order("BTC", True, 0.01, 50_000.0, GTC)["response"]
    venue.fault("upgrade_mode", next_n=None)
    assert "Only post-only" in exchange.order("BTC", True, 0.01, 50_000.0, GTC)["response"]
    assert "resting" in statuses(exchange.order("BTC", True, 0.01, 50_000.0, ALO))[0]
    venue.clear_faults()
    venue.fault("reply_short", on="order", next_n=1)
    orders = entry_with_stop(0.01, 61_000.0, 58_000.0, "d")
    assert len(statuses(exchange.bulk_orders(orders, grouping="normalTpsl"))) == 1
    venue.fault("request_cap", requests=1)
    reply = exchange.order("BTC", True, 0.01, 50_000.0, GTC)
    assert reply["response"].startswith("Too many cumulative requests sent")


def test_a_stop_refused_alone_a_part_filled_entry_and_a_hidden_stop(venue: Venue) -> None:
    exchange, info = venue.exchange(), venue.info()
    address = exchange.wallet.address
    venue.fault("child_rejected", on="order", next_n=1)
    found = statuses(exchange.bulk_orders(entry_with_stop(0.01, 61_000.0, 58_000.0, "e"), grouping="normalTpsl"))
    assert "filled" in found[0]
    assert found[1] == {"error": "Invalid TP/SL price. asset=0"}
    venue.fault("fill_capped", on="order", next_n=1, lots=400)
    found = statuses(exchange.bulk_orders(entry_with_stop(0.01, 61_000.0, 58_000.0, "f"), grouping="normalTpsl"))
    assert found[0]["filled"]["totalSz"] == "0.004"
    assert info.frontend_open_orders(address) == []  # the entry ended in part: its child went, the part is naked
    wait_for(lambda: _count_asks(info) > 0.05, "the book to fill up again")
    venue.fault("stop_hidden", hidden_ms=60_000)
    exchange.bulk_orders(entry_with_stop(0.01, 61_000.0, 58_000.0, "1"), grouping="normalTpsl")
    assert info.frontend_open_orders(address) == []
    venue.clear_faults()
    assert len(info.frontend_open_orders(address)) == 1


def _count_asks(info: Any) -> float:
    return sum(float(level["sz"]) for level in info.l2_snapshot("BTC")["levels"][1] if float(level["px"]) < 61_000.0)


def test_an_order_fills_before_its_cancel(venue: Venue) -> None:
    exchange, info = venue.exchange(), venue.info()
    exchange.order("BTC", True, 0.01, 50_000.0, GTC, cloid=CLOID)
    venue.fault("fill_during_cancel", on="cancelByCloid", next_n=1)
    assert "error" in statuses(exchange.cancel_by_cloid("BTC", CLOID))[0]
    assert info.query_order_by_cloid(exchange.wallet.address, CLOID)["order"]["status"] == "filled"


def test_venue_clock_skew_refuses_nonces(venue: Venue) -> None:
    venue.fault("clock_skew", skew_ms=3 * 86_400_000)
    assert "nonce too low" in venue.exchange().order("BTC", True, 0.01, 50_000.0, GTC)["response"]


def test_socket_answers_refuses_and_drops_as_the_venue(venue: Venue) -> None:
    with contextlib.closing(create_connection(venue.addresses["ws"], timeout=30)) as socket:
        socket.send('{"method":"ping"}')
        receive(socket, "pong")
        subscribe(socket, BTC_BOOK)
        assert receive(socket, "subscriptionResponse")["subscription"]["fast"] is False
        subscribe(socket, BTC_BOOK)
        assert receive(socket, "error").startswith("Already subscribed: ")
        socket.send('{"method":"nope"}')
        assert receive(socket, "error").startswith("Error parsing JSON into valid websocket request")
        post = {"method": "post", "id": 7, "request": {"type": "info", "payload": BTC_BOOK}}
        socket.send(json.dumps(post))
        answer = receive(socket, "post")
        assert answer["id"] == 7
        assert len(answer["response"]["payload"]["data"]["levels"][0]) == 20
        subscribe(socket, {"type": "l2Book", "coin": "btc"})
        with pytest.raises(CLOSED):
            receive(socket, "nothing")


def test_other_streams_speak(venue: Venue) -> None:
    user = venue.wallets[0].address
    with contextlib.closing(create_connection(venue.addresses["ws"], timeout=30)) as socket:
        for kind in ("allMids", "activeAssetCtx", "candle", "activeAssetData", "userEvents", "userFundings"):
            subscribe(socket, {"type": kind, "coin": "BTC", "interval": "1m", "user": user})
            if kind == "userFundings":
                assert receive(socket, kind)["isSnapshot"] is True
            elif kind != "userEvents":
                assert receive(socket, kind)
        venue.exchange().order("BTC", True, 0.01, 61_000.0, IOC)
        assert receive(socket, "user")["fills"][0]["coin"] == "BTC"
    with contextlib.closing(create_connection(venue.addresses["ws"], timeout=30)) as socket:
        subscribe(socket, {**BTC_BOOK, "fast": True})
        assert len(receive(socket, "l2Book")["levels"][0]) == 5


def test_books_crossed_stale_and_throttled(venue: Venue) -> None:
    with contextlib.closing(create_connection(venue.addresses["ws"], timeout=30)) as socket:
        subscribe(socket, BTC_BOOK)
        receive(socket, "l2Book")
        venue.fault("book_crossed", on="l2Book")
        wait_for(lambda: _is_crossed(receive(socket, "l2Book")), "a crossed book")
        venue.clear_faults()
        wait_for(lambda: not _is_crossed(receive(socket, "l2Book")), "a sound book")
        venue.fault("book_stale", on="l2Book")
        before = receive(socket, "l2Book")
        before = receive(socket, "l2Book")
        assert receive(socket, "l2Book") == before


def _is_crossed(book: Any) -> bool:
    return float(book["levels"][0][0]["px"]) >= float(book["levels"][1][0]["px"])


def test_fills_lost_doubled_unknown_and_the_socket_dropped(venue: Venue) -> None:
    exchange = venue.exchange()
    with contextlib.closing(create_connection(venue.addresses["ws"], timeout=30)) as socket:
        subscribe(socket, {"type": "userFills", "user": exchange.wallet.address})
        assert receive(socket, "userFills")["isSnapshot"] is True
        venue.fault("message_drop", on="userFills", next_n=1)
        exchange.order("BTC", True, 0.01, 61_000.0, IOC)
        venue.fault("unknown_value", on="userFills", next_n=1)
        venue.fault("message_duplicate", on="userFills", next_n=1)
        exchange.order("BTC", True, 0.02, 61_000.0, IOC)
        first, second = receive(socket, "userFills"), receive(socket, "userFills")
        assert first == second
        assert first["fills"][0]["dir"] == "Some New Word"
        venue.fault("snapshot_overlap", rows=5)
        exchange.order("BTC", True, 0.01, 61_000.0, IOC)
        assert "isSnapshot" not in receive(socket, "userFills")
        assert receive(socket, "userFills")["isSnapshot"] is True
        venue.fault("connection_close", on="userFills", next_n=1)
        exchange.order("BTC", True, 0.01, 61_000.0, IOC)
        with pytest.raises(CLOSED):
            receive(socket, "nothing")


def test_control_endpoint_and_duplicated_history(venue: Venue) -> None:
    exchange, info = venue.exchange(), venue.info()
    exchange.order("BTC", True, 0.01, 61_000.0, IOC)
    switch = {"on": [{"fault": "history_duplicate"}]}
    assert requests.post(venue.addresses["control"], json=switch, timeout=30).json() == {"ids": [1]}
    rows = info.historical_orders(exchange.wallet.address)
    assert len(rows) == 2
    assert rows[0]["order"]["oid"] == rows[1]["order"]["oid"]
    assert {row["status"] for row in rows} == {"filled", "open"}


def test_pushes_before_the_reply_and_a_half_open_socket(venue: Venue) -> None:
    exchange = venue.exchange()
    with contextlib.closing(create_connection(venue.addresses["ws"], timeout=30)) as socket:
        subscribe(socket, {"type": "userFills", "user": exchange.wallet.address})
        receive(socket, "userFills")
        venue.fault("fill_before_reply", on="order", next_n=1, delay_ms=60_000)
        exchange.timeout = 1.0
        with pytest.raises(requests.exceptions.Timeout):
            exchange.order("BTC", True, 0.01, 61_000.0, IOC)
        assert receive(socket, "userFills")["fills"]
        venue.fault("half_open", on="pong", next_n=1)
        socket.send('{"method":"ping"}')
        socket.send('{"method":"ping"}')
        socket.settimeout(0.3)
        with pytest.raises(WebSocketTimeoutException):
            receive(socket, "pong")


def test_a_gap_in_the_book_and_a_frozen_oracle(venue: Venue) -> None:
    info = venue.info()
    venue.fault("oracle_frozen")
    venue.fault("price_gap", gap_bps=500)
    wait_for(lambda: float(info.l2_snapshot("BTC")["levels"][1][0]["px"]) > 62_000.0, "the gap")
    venue.clear_faults()
    wait_for(lambda: float(info.l2_snapshot("BTC")["levels"][1][0]["px"]) < 61_000.0, "the book back")


def test_garbage_never_ends_the_simulator(venue: Venue) -> None:
    draws = random.Random(5)
    order = {"a": 0, "b": True, "p": "50000", "s": "0.01", "r": False, "t": {"limit": {"tif": "Gtc"}}}
    sound = json.dumps({
        "action": {"type": "order", "orders": [order], "grouping": "na"}, "nonce": 1_700_000_000_000,
        "signature": {"r": "0x1", "s": "0x2", "v": 27}, "vaultAddress": None, "expiresAfter": None,
    }).encode()  # fmt: skip
    headers = {"Content-Type": "application/json"}
    with requests.Session() as session:
        for _ in range(150):
            body = bytearray(sound)
            for _ in range(draws.randrange(1, 6)):
                body[draws.randrange(len(body))] = draws.randrange(256)
            for path in ("/exchange", "/info"):
                reply = session.post(venue.addresses["http"] + path, data=bytes(body), headers=headers, timeout=30)
                assert reply.status_code in (200, 400, 422), bytes(body)
    with contextlib.closing(create_connection(venue.addresses["ws"], timeout=30)) as socket:
        frames = ['{"method":"post","id":1,"request":{"type":"action","payload":{"action":[1]}}}', "\u0000", "[]", "{}"]
        for frame in frames:
            socket.send(frame)
        socket.send('{"method":"ping"}')
        receive(socket, "pong")
