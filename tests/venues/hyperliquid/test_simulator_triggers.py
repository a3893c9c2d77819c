"""Stops that trigger, follow their position, or are scheduled away; orders over the WebSocket."""

import contextlib
import json
from typing import Any

from hyperliquid.utils.signing import get_timestamp_ms, sign_l1_action
from websocket import create_connection

from tests.venues.hyperliquid.conftest import Venue, wait_for
from tests.venues.hyperliquid.test_simulator import GTC, IOC, entry_with_stop, statuses, stop

ID = "BTC-PERP.HYPERLIQUID"


def test_a_stop_triggers_on_the_mark_and_closes_the_position(venue: Venue) -> None:
    exchange, info = venue.exchange(), venue.info()
    address = exchange.wallet.address
    heard: list[Any] = []
    info.subscribe({"type": "orderUpdates", "user": address}, heard.append)
    venue.wait_subscribed("orderUpdates")
    mark_px = float(info.meta_and_asset_ctxs()[1][0]["markPx"])
    exchange.bulk_orders(entry_with_stop(0.01, 61_000.0, 58_000.0, "a"), grouping="normalTpsl")
    oid = info.frontend_open_orders(address)[0]["oid"]
    # A modify may put the trigger where the mark is already.
    exchange.modify_order(oid, "BTC", False, 0.01, 55_000.0, stop(float(int(mark_px) + 500)), reduce_only=True)
    wait_for(lambda: not info.user_state(address)["assetPositions"], "the stop")
    wait_for(lambda: {"open", "triggered", "filled"} <= {u["status"] for m in heard for u in m["data"]}, "updates")
    assert info.user_fills(address)[0]["dir"] == "Close Long"


def test_a_stop_of_a_position_follows_its_size(venue: Venue) -> None:
    exchange, info = venue.exchange(), venue.info()
    address = exchange.wallet.address
    exchange.order("BTC", True, 0.01, 61_000.0, IOC)
    order: Any = {
        "coin": "BTC", "is_buy": False, "sz": 0.01, "limit_px": 52_000.0, "order_type": stop(58_000.0),
        "reduce_only": True,
    }  # fmt: skip
    assert statuses(exchange.bulk_orders([order], grouping="positionTpsl")) == ["waitingForTrigger"]
    exchange.order("BTC", True, 0.02, 61_000.0, IOC)
    held = info.user_state(address)["assetPositions"][0]["position"]["szi"]
    wait_for(lambda: [o["sz"] for o in info.frontend_open_orders(address)] == [held], "the stop to grow")
    assert info.frontend_open_orders(address)[0]["isPositionTpsl"] is True
    exchange.market_close("BTC")
    assert info.frontend_open_orders(address) == []


def test_a_scheduled_cancel_takes_everything(venue: Venue) -> None:
    exchange, info = venue.exchange(), venue.info()
    address = exchange.wallet.address
    oid = statuses(exchange.order("BTC", True, 0.01, 50_000.0, GTC))[0]["resting"]["oid"]
    assert exchange.schedule_cancel(get_timestamp_ms() + 1_000)["status"] == "err"
    assert exchange.schedule_cancel(get_timestamp_ms() + 60_000)["status"] == "ok"
    venue.fault("clock_skew", skew_ms=120_000)  # the venue's clock decides
    wait_for(lambda: info.open_orders(address) == [], "the cancel")
    assert info.query_order_by_oid(address, oid)["order"]["status"] == "scheduledCancel"


def test_an_action_over_the_websocket_is_answered_as_over_http(venue: Venue) -> None:
    wallet, nonce = venue.wallets[0], get_timestamp_ms()
    action = {
        "type": "order",
        "orders": [{"a": 0, "b": True, "p": "50000", "s": "0.01", "r": False, "t": {"limit": {"tif": "Gtc"}}}],
        "grouping": "na",
    }
    signature = sign_l1_action(wallet, action, None, nonce, None, True)  # as ccxt does: for the mainnet
    payload = {"action": action, "nonce": nonce, "signature": signature}
    with contextlib.closing(create_connection(venue.addresses["ws"], timeout=30)) as socket:
        socket.send(json.dumps({"method": "post", "id": 1, "request": {"type": "action", "payload": payload}}))
        answer = json.loads(socket.recv())["data"]
    assert answer["response"]["type"] == "action"
    assert "resting" in statuses(answer["response"]["payload"])[0]
    assert venue.simulator.desk.networks_used[wallet.address.lower()] == "mainnet"


def test_books_on_the_wire_equal_the_markets_level_by_level(venue: Venue) -> None:
    info, world = venue.info(), venue.simulator.world

    def compare() -> bool:
        seen = info.l2_snapshot("BTC")["levels"]
        view = venue.call(lambda: world.market.get_book(ID, 20))
        own = [[(level.px, level.qty_lots, level.orders) for level in side] for side in (view.bids, view.asks)]
        wire = [[(float(r["px"]), round(float(r["sz"]) * 1e5), r["n"]) for r in side] for side in seen]
        return own == wire

    wait_for(compare, "a moment between two blocks")
