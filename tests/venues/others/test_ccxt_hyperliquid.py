"""ccxt trades on the Hyperliquid simulator, and what it reports is what the exchange holds."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from eth_account import Account

from tests.venues.others.other_client import Ccxt, CcxtError, needs_others
from tests.venues.others.serving import SECRETS, Served, make_hyperliquid, serve, wait_for
from venues.hyperliquid.subscriptions import SubOrderUpdates

pytestmark = [needs_others, pytest.mark.timeout(240)]

BTC_ID, BTC = "BTC-PERP.HYPERLIQUID", "BTC/USDC:USDC"
ADDRESS = Account.from_key("0x" + SECRETS[0]).address
ACCOUNT_ID = ADDRESS.lower()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(make_hyperliquid()) as running:
        yield running


@pytest.fixture(scope="module")
def ccxt(served: Served) -> Iterator[Ccxt]:
    http = served.addresses["http"]
    urls = {"public": http, "private": http, "ws": {"public": served.addresses["ws"]}}
    with Ccxt("hyperliquid", {"walletAddress": ADDRESS, "privateKey": "0x" + SECRETS[0], "urls": {"api": urls}}) as one:
        yield one


def own_fills(served: Served) -> list[Any]:
    return list(served.call(served.market.exchange.fills_since, ACCOUNT_ID, 0))


def test_it_lists_the_markets_and_keeps_the_book(served: Served, ccxt: Ccxt) -> None:
    markets = ccxt.call("load_markets")
    assert {name for name, market in markets.items() if market["swap"]} == {BTC, "ETH/USDC:USDC"}
    assert markets[BTC]["precision"]["amount"] == 1e-05
    ccxt.call("watch_order_book", BTC)
    seen: set[int] = set()

    def is_followed() -> bool:
        book = ccxt.call("kept_book", BTC)
        assert served.has_had_book(BTC_ID, book, 20), book
        seen.add(book["timestamp"])
        return len(seen) >= 4

    wait_for(is_followed, "four books")
    trades = ccxt.call("watch_trades", BTC)
    known = {str(trade.trade_id) for trade in served.call(served.market.list_trades, BTC_ID, 1000)}
    assert {trade["id"] for trade in trades} <= known
    assert ccxt.call("fetch_ohlcv", BTC, "1m")[-1][4] > 0.0


def test_it_trades(served: Served, ccxt: Ccxt) -> None:
    exchange = served.market.exchange
    ccxt.call("follow", "watch_my_trades", BTC)
    filled = ccxt.call("create_order", BTC, "limit", "buy", 0.0129, 61_000, {"timeInForce": "Ioc"})
    resting = ccxt.call("create_order", BTC, "limit", "buy", 0.02, 50_000, {"clientOrderId": "0x" + "ab" * 16})
    ccxt.call("create_order", BTC, "market", "buy", 0.005, 60_000)
    stop = {"stopLossPrice": 55_000, "reduceOnly": True}
    guard = ccxt.call("create_order", BTC, "market", "sell", 0.01, 60_000, stop)
    assert guard["id"]
    assert filled["filled"] == 0.0129
    edited = ccxt.call("edit_order", resting["id"], BTC, "limit", "buy", 0.03, 50_500)

    told = ccxt.call("fetch_my_trades", BTC)
    fills = own_fills(served)
    assert [(row["id"], row["price"], Decimal(str(row["amount"]))) for row in told] == [
        (str(fill.trade_id), fill.fill_px, Decimal(fill.fill_qty_lots).scaleb(-5)) for fill in fills
    ]
    for row, fill in zip(told, fills, strict=True):
        assert row["fee"]["cost"] == pytest.approx(fill.fee_quote, abs=1e-6)
    wait_for(
        lambda: {row["id"] for row in ccxt.call("followed", "watch_my_trades")} == {r["id"] for r in told}, "fills"
    )
    (position,) = ccxt.call("fetch_positions", [BTC])
    held = served.call(exchange.position, ACCOUNT_ID, BTC_ID)
    assert Decimal(str(position["contracts"])) == Decimal(held.qty_lots).scaleb(-5) == Decimal("0.0179")
    assert position["side"] == "long"
    assert position["entryPrice"] == pytest.approx(held.avg_px, rel=1e-9)
    orders = ccxt.call("fetch_open_orders", BTC)
    own = served.call(exchange.open_orders, ACCOUNT_ID)
    assert len(orders) == len(own) == 2
    shown = {(order["side"], order["triggerPrice"] or order["price"], order["amount"]) for order in orders}
    assert shown == {("buy", 50_500.0, 0.03), ("sell", 55_000.0, 0.01)}
    assert {edited["id"], guard["id"]} == {order["id"] for order in orders}
    balance = ccxt.call("fetch_balance")
    cash = served.call(exchange.account_state, ACCOUNT_ID)
    assert balance["USDC"]["total"] == pytest.approx(cash.equity_quote, abs=5.0)  # the mark moves between the two

    for order in orders:
        ccxt.call("cancel_order", order["id"], BTC)
    assert ccxt.call("fetch_open_orders", BTC) == []
    assert served.call(exchange.open_orders, ACCOUNT_ID) == []
    assert ccxt.call("fetch_order", edited["id"], BTC)["status"] == "canceled"
    assert ccxt.call("set_leverage", 5, BTC)["status"] == "ok"
    ccxt.call("create_order", BTC, "market", "sell", 0.0179, 60_000, {"reduceOnly": True})
    assert ccxt.call("fetch_positions", [BTC]) == []
    assert served.call(exchange.position, ACCOUNT_ID, BTC_ID).qty_lots == 0
    served.call(exchange.check_invariants)


def test_a_group_protects_and_refusals_are_the_venues(served: Served, ccxt: Ccxt) -> None:
    exchange = served.market.exchange
    children = {"stopLoss": {"triggerPrice": 57_000, "type": "market"}, "takeProfit": {"triggerPrice": 66_000}}
    ccxt.call("create_order", BTC, "market", "buy", 0.01, 60_000, children)
    triggers = sorted(order["triggerPrice"] for order in ccxt.call("fetch_open_orders", BTC))
    assert triggers == [57_000.0, 66_000.0]
    assert all(report.is_reduce_only for report in served.call(exchange.open_orders, ACCOUNT_ID))
    ccxt.call("create_order", BTC, "market", "sell", 0.01, 60_000, {"reduceOnly": True})
    assert ccxt.call("fetch_open_orders", BTC) == []  # the position gone, its orders went with it
    with pytest.raises(CcxtError, match="minimum value") as refused:
        ccxt.call("create_order", BTC, "limit", "buy", 0.0001, 50_000)
    assert refused.value.kind == "InvalidOrder"
    with pytest.raises(CcxtError, match="Post only") as refused:
        ccxt.call("create_order", BTC, "limit", "buy", 0.01, 61_000, {"postOnly": True})
    with pytest.raises(CcxtError, match="never placed") as refused:
        ccxt.call("cancel_order", "123", BTC)
    assert refused.value.kind == "OrderNotFound"
    served.call(exchange.check_invariants)


def test_stop_limits_and_take_profits_of_every_kind(served: Served, ccxt: Ccxt) -> None:
    exchange = served.market.exchange
    # Without a type, ccxt's children are limit orders at their trigger.
    ccxt.call("create_order", BTC, "market", "buy", 0.01, 60_000, {"stopLoss": {"triggerPrice": 57_000}})
    (guard,) = ccxt.call("fetch_open_orders", BTC)
    assert (guard["triggerPrice"], guard["price"], guard["info"]["orderType"]) == (57_000.0, 57_000.0, "Stop Limit")
    (report,) = served.call(exchange.open_orders, ACCOUNT_ID)
    assert (report.order_type, report.trigger_px, report.limit_px) == ("stop_limit", 57_000.0, 57_000.0)
    goal = {"takeProfitPrice": 66_000, "reduceOnly": True}
    kinds = {
        ccxt.call("create_order", BTC, "market", "sell", 0.01, 60_000, goal)["id"]: "Take Profit Market",
        ccxt.call("create_order", BTC, "limit", "sell", 0.01, 66_100, goal)["id"]: "Take Profit Limit",
    }
    for order_id, kind in kinds.items():
        assert ccxt.call("fetch_order", order_id, BTC)["info"]["order"]["orderType"] == kind
        ccxt.call("cancel_order", order_id, BTC)
    ccxt.call("create_order", BTC, "market", "sell", 0.01, 60_000, {"reduceOnly": True})
    assert ccxt.call("fetch_open_orders", BTC) == []
    opening = {"stopLossPrice": 63_000}
    order = ccxt.call("create_order", BTC, "limit", "buy", 0.01, 63_100, opening)
    assert ccxt.call("cancel_order", order["id"], BTC)["status"] == "success"
    served.call(exchange.check_invariants)


def test_its_other_questions_are_answered(served: Served, ccxt: Ccxt) -> None:
    assert ccxt.call("fetch_status")["status"] == "ok"
    assert ccxt.call("fetch_time") > 1_700_000_000_000
    assert ccxt.call("fetch_trading_fee", BTC)["taker"] == 0.00045
    assert float(ccxt.call("fetch_ticker", BTC)["info"]["markPx"]) == pytest.approx(60_000.0, rel=0.02)
    assert {BTC} <= ccxt.call("fetch_funding_rates").keys()
    assert {BTC} <= ccxt.call("fetch_open_interests").keys()
    assert isinstance(ccxt.call("fetch_funding_rate_history", BTC), list)
    for name in ("fetch_funding_history", "fetch_ledger", "fetch_deposits", "fetch_withdrawals"):
        assert ccxt.call(name) == [], name
    ids = [order["id"] for order in ccxt.call("fetch_orders", BTC)]
    closed = ccxt.call("fetch_canceled_and_closed_orders", BTC)
    assert {order["id"] for order in closed} <= {*ids}
    assert ccxt.call("fetch_ohlcv", BTC, "1w")[-1][4] > 0.0
    assert len(ccxt.call("fetch_trades", BTC)) > 0


def test_it_watches_its_account(served: Served, ccxt: Ccxt) -> None:
    ccxt.call("create_order", BTC, "market", "buy", 0.01, 60_000)
    (position,) = wait_for(lambda: ccxt.call("watch_positions", [BTC]), "the position")
    assert (position["symbol"], position["side"], position["contracts"]) == (BTC, "long", 0.01)
    balance = ccxt.call("watch_balance")
    cash = served.call(served.market.exchange.account_state, ACCOUNT_ID)
    assert balance["USDC"]["total"] == pytest.approx(cash.equity_quote, rel=1e-3)
    ccxt.call("follow", "watch_orders", BTC)
    streams = served.simulator.streams
    wait_for(
        lambda: any(isinstance(one, SubOrderUpdates) for one in served.call(streams.list_subscriptions)),
        "the subscription of orders",
    )
    orders = [{"symbol": BTC, "type": "limit", "side": "buy", "amount": 0.01, "price": px} for px in (50_000, 50_100)]
    placed = {order["id"] for order in ccxt.call("create_orders", orders)}
    told = wait_for(lambda: [one for one in ccxt.call("followed", "watch_orders") if one["id"] in placed], "the orders")
    assert {one["status"] for one in told} == {"open"}
    ccxt.call("cancel_orders", [*placed], BTC)
    assert ccxt.call("fetch_open_orders", BTC) == []
    assert ccxt.call("watch_ticker", BTC)["symbol"] == BTC
    ccxt.call("create_order", BTC, "market", "sell", 0.01, 60_000, {"reduceOnly": True})


def test_isolated_margin_is_the_positions_own(served: Served, ccxt: Ccxt) -> None:
    exchange = served.market.exchange
    assert ccxt.call("set_margin_mode", "isolated", BTC, {"leverage": 5})["status"] == "ok"
    ccxt.call("create_order", BTC, "market", "buy", 0.01, 60_000)
    (before,) = ccxt.call("fetch_positions", [BTC])
    assert (before["marginMode"], before["leverage"]) == ("isolated", 5)
    set_aside = served.call(exchange.get_isolated_margin_quote, ACCOUNT_ID, BTC_ID)
    assert set_aside == pytest.approx(0.01 * before["entryPrice"] / 5, rel=1e-6)
    ccxt.call("add_margin", BTC, 50)
    assert served.call(exchange.get_isolated_margin_quote, ACCOUNT_ID, BTC_ID) == pytest.approx(set_aside + 50.0)
    (after,) = ccxt.call("fetch_positions", [BTC])
    assert after["liquidationPrice"] < before["liquidationPrice"]
    ccxt.call("reduce_margin", BTC, 20)  # not all of it: the mark may be below the entry
    ccxt.call("create_order", BTC, "market", "sell", 0.01, 60_000, {"reduceOnly": True})
    assert ccxt.call("set_margin_mode", "cross", BTC, {"leverage": 5})["status"] == "ok"
    served.call(exchange.check_invariants)
