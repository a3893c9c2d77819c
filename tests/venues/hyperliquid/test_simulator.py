"""The official SDK, unmodified, trades on the simulator; what it sees is the exchange machine's own state."""

from decimal import Decimal
from typing import Any

import requests
from hyperliquid.utils.signing import get_timestamp_ms
from hyperliquid.utils.types import Cloid

from tests.venues.hyperliquid.conftest import STRANGER, Venue, wait_for
from venues.lifecycle import OrderStatus

ID = "BTC-PERP.HYPERLIQUID"
GTC: Any = {"limit": {"tif": "Gtc"}}
IOC: Any = {"limit": {"tif": "Ioc"}}
ALO: Any = {"limit": {"tif": "Alo"}}


def stop(px: float) -> Any:
    return {"trigger": {"isMarket": True, "triggerPx": px, "tpsl": "sl"}}


def entry_with_stop(size: float, px: float, stop_px: float, name: str) -> list[Any]:
    return [
        {
            "coin": "BTC", "is_buy": True, "sz": size, "limit_px": px, "order_type": IOC, "reduce_only": False,
            "cloid": Cloid.from_str("0x" + name * 32),
        },
        {
            "coin": "BTC", "is_buy": False, "sz": size, "limit_px": stop_px * 0.9, "order_type": stop(stop_px),
            "reduce_only": True, "cloid": Cloid.from_str("0x" + name * 31 + "0"),
        },
    ]  # fmt: skip


def statuses(reply: Any) -> Any:
    assert reply["status"] == "ok", reply
    return reply["response"]["data"]["statuses"]


def test_sdk_sees_the_book_and_trades_with_a_protective_stop(venue: Venue) -> None:
    info, exchange = venue.info(), venue.exchange()
    address = exchange.wallet.address
    heard: dict[str, list[Any]] = {"l2Book": [], "orderUpdates": [], "userFills": [], "trades": [], "bbo": []}
    for kind in heard:
        subscription: Any = {"type": kind, "coin": "BTC"} if "user" not in kind and "order" not in kind else {
            "type": kind, "user": address,
        }  # fmt: skip
        info.subscribe(subscription, heard[kind].append)
    for kind in heard:
        venue.wait_subscribed(kind)
    book = wait_for(lambda: heard["l2Book"], "a book")[0]["data"]
    assert len(book["levels"][0]) == 20
    assert float(book["levels"][0][0]["px"]) < float(book["levels"][1][0]["px"])

    found = statuses(exchange.bulk_orders(entry_with_stop(0.1, 61_000.0, 58_000.0, "a"), grouping="normalTpsl"))
    assert found[0]["filled"]["totalSz"] == "0.1"
    assert found[1] == "waitingForTrigger"
    fills = wait_for(lambda: [f for m in heard["userFills"] for f in m["data"]["fills"]], "fills")
    assert {fill["dir"] for fill in fills} == {"Open Long"}

    world = venue.simulator.world
    state = info.user_state(address)
    position = state["assetPositions"][0]["position"]
    held = venue.call(lambda: world.market.exchange.position(address.lower(), ID))
    assert Decimal(position["szi"]) == Decimal(held.qty_lots).scaleb(-5)
    assert float(position["entryPx"]) == round(held.avg_px, 8)
    orders = info.frontend_open_orders(address)
    assert [(order["orderType"], order["triggerPx"], order["sz"]) for order in orders] == [
        ("Stop Market", "58000.0", "0.1")
    ]
    told = info.user_fills(address)
    account_fills = venue.call(lambda: world.market.exchange.fills_since(address.lower(), 0))
    assert sorted(fill["tid"] for fill in told) == sorted(int(fill.trade_id) for fill in account_fills)

    cloid = Cloid.from_str("0x" + "a" * 31 + "0")
    assert statuses(exchange.cancel_by_cloid("BTC", cloid)) == ["success"]
    assert info.frontend_open_orders(address) == []
    assert info.query_order_by_cloid(address, cloid)["order"]["status"] == "canceled"
    report = venue.call(lambda: world.market.exchange.open_orders(address.lower()))
    assert report == []
    wait_for(lambda: [u for m in heard["orderUpdates"] for u in m["data"] if u["status"] == "canceled"], "the cancel")
    wait_for(lambda: heard["trades"] and heard["bbo"], "trades and bbo")
    assert exchange.market_close("BTC")["status"] == "ok"
    assert info.user_state(address)["assetPositions"] == []
    venue.call(lambda: world.market.exchange.check_invariants())


def test_bad_signature_and_duplicate_nonce_are_answered_as_the_venue_does(venue: Venue) -> None:
    exchange = venue.exchange()
    url = venue.addresses["http"] + "/exchange"
    sent: list[Any] = []
    real = exchange.post
    exchange.post = lambda path, payload=None: (sent.append(payload), real(path, payload))[1]  # type: ignore[method-assign]
    exchange.order("BTC", True, 0.01, 50_000.0, GTC)
    again = requests.post(url, json=sent[0], timeout=30).json()
    assert again == {"status": "err", "response": f"Invalid nonce: duplicate nonce {sent[0]['nonce']}"}
    altered = {**sent[0], "nonce": sent[0]["nonce"] + 1}
    reply = requests.post(url, json=altered, timeout=30).json()
    assert reply["status"] == "err"
    assert reply["response"].startswith("User or API Wallet 0x")
    assert reply["response"].endswith(" does not exist.")
    exchange.set_expires_after(get_timestamp_ms() - 1000)
    assert exchange.order("BTC", True, 0.01, 50_000.0, GTC)["status"] == "err"


def test_orders_modify_cancel_and_refusals(venue: Venue) -> None:
    info, exchange = venue.info(), venue.exchange()
    address = exchange.wallet.address
    cloid = Cloid.from_str("0x" + "b" * 32)
    first = statuses(exchange.order("BTC", True, 0.01, 50_000.0, GTC, cloid=cloid))[0]["resting"]
    changed = statuses(exchange.modify_order(cloid, "BTC", True, 0.02, 51_000.0, GTC, cloid=cloid))[0]["resting"]
    assert changed["oid"] != first["oid"]
    assert info.query_order_by_oid(address, first["oid"])["order"]["status"] == "canceled"
    open_orders = info.open_orders(address)
    assert [(o["oid"], o["limitPx"], o["sz"]) for o in open_orders] == [(changed["oid"], "51000.0", "0.02")]
    refused = {
        "tick": exchange.order("BTC", True, 0.01, 50_000.55, GTC),
        "minimum": exchange.order("BTC", True, 0.0001, 50_000.0, GTC),
        "post only": exchange.order("BTC", True, 0.01, 61_000.0, ALO),
        "ioc": exchange.order("BTC", True, 0.01, 50_000.0, IOC),
        "reduce only": exchange.order("BTC", True, 0.01, 50_000.0, GTC, reduce_only=True),
        "margin": exchange.order("BTC", True, 100.0, 59_000.0, GTC),
    }
    words = {name: statuses(reply)[0]["error"] for name, reply in refused.items()}
    assert words["tick"] == "Price must be divisible by tick size. asset=0"
    assert words["minimum"] == "Order must have minimum value of $10. asset=0"
    assert words["post only"].startswith("Post only order would have immediately matched, bbo was ")
    assert words["ioc"] == "Order could not immediately match against any resting orders. asset=0"
    assert words["reduce only"] == "Reduce only order would increase position. asset=0"
    assert words["margin"] == "Insufficient margin to place order. asset=0"
    assert statuses(exchange.cancel("BTC", changed["oid"])) == ["success"]
    assert statuses(exchange.cancel("BTC", changed["oid"]))[0]["error"].startswith("Order was never placed")
    rows = info.historical_orders(address)
    assert {"canceled", "iocCancelRejected", "badAloPxRejected"} <= {row["status"] for row in rows}
    assert exchange.update_leverage(5, "BTC")["status"] == "ok"
    assert exchange.update_leverage(500, "BTC")["status"] == "err"
    assert exchange.noop(get_timestamp_ms())["status"] == "ok"
    assert exchange.schedule_cancel(get_timestamp_ms() + 60_000)["status"] == "ok"


def test_an_agent_trades_for_its_master_and_shows_nothing_itself(venue: Venue) -> None:
    exchange, info = venue.exchange(), venue.info()
    reply, key = exchange.approve_agent()
    assert reply["status"] == "ok"
    from eth_account import Account

    agent = Account.from_key(key)
    venue.wallets.append(agent)
    trader = venue.exchange(3, account_address=exchange.wallet.address)
    assert "resting" in statuses(trader.order("BTC", True, 0.01, 50_000.0, GTC))[0]
    assert len(info.open_orders(exchange.wallet.address)) == 1
    assert info.open_orders(agent.address) == []
    assert info.user_role(agent.address) == {"role": "agent", "data": {"user": exchange.wallet.address.lower()}}
    assert info.user_role(STRANGER.address) == {"role": "missing"}


def test_every_question_of_the_sdk_is_answered(venue: Venue) -> None:
    info, exchange = venue.info(), venue.exchange()
    address = exchange.wallet.address
    exchange.order("BTC", True, 0.1, 61_000.0, IOC)
    now_ms = get_timestamp_ms()
    assert info.meta()["universe"][0]["name"] == "BTC"
    assert float(info.meta_and_asset_ctxs()[1][0]["markPx"]) > 0
    assert set(info.all_mids()) == {"BTC", "ETH"}
    assert info.candles_snapshot("BTC", "1m", now_ms - 600_000, now_ms)[-1]["i"] == "1m"
    assert isinstance(info.funding_history("BTC", now_ms - 86_400_000), list)
    assert info.user_funding_history(address, 0) == []
    assert info.user_fills_by_time(address, now_ms - 60_000)
    assert info.user_fees(address)["userCrossRate"] == "0.00045"
    assert info.spot_user_state(address) == {"balances": []}
    limit = info.user_rate_limit(address) if hasattr(info, "user_rate_limit") else None
    assert limit is None or limit["nRequestsUsed"] >= 1
    for kind in ("recentTrades", "exchangeStatus", "predictedFundings", "perpDexs", "portfolio", "extraAgents"):
        assert info.post("/info", {"type": kind, "coin": "BTC", "user": address}) is not None, kind
    url = venue.addresses["http"] + "/info"
    assert requests.post(url, json={"type": "nope"}, timeout=30).status_code == 422
    assert requests.get(url, timeout=30).status_code == 405
    empty = info.user_state(STRANGER.address)
    assert empty["marginSummary"]["accountValue"] == "0.0"


def test_two_accounts_trade_with_each_other(venue: Venue) -> None:
    info, maker, taker = venue.info(), venue.exchange(0), venue.exchange(1)
    bid_px = int(float(info.l2_snapshot("BTC")["levels"][0][0]["px"])) + 1
    resting = statuses(maker.order("BTC", True, 0.001, float(bid_px), ALO))[0]
    if "resting" in resting:
        taker.order("BTC", False, 0.001, float(bid_px), IOC)
    world = venue.simulator.world
    maker_id = maker.wallet.address.lower()
    status = venue.call(lambda: [o.status for o in world.market.exchange._accounts[maker_id].orders.values()])
    assert status == [OrderStatus.FILLED]
    assert info.user_fills(maker.wallet.address)[0]["crossed"] is False
