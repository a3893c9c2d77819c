"""Every kind of trigger order on the wire: what is answered, listed and told, alone and in groups."""

from collections.abc import Iterator
from typing import Any

import pytest
from hyperliquid.info import Info

from tests.venues.hyperliquid.conftest import Venue, run_venue, wait_for
from tests.venues.hyperliquid.test_simulator import GTC, IOC, statuses

ID = "BTC-PERP.HYPERLIQUID"


@pytest.fixture(scope="module")
def shared() -> Iterator[Venue]:
    """One venue; each test uses an account of its own, and leaves no order behind."""
    with run_venue() as running:
        yield running


def trigger(px: float, tpsl: str, *, is_market: bool) -> Any:
    return {"trigger": {"isMarket": is_market, "triggerPx": px, "tpsl": tpsl}}


def order(is_buy: bool, size: float, px: float, kind: Any, *, reduce_only: bool = True) -> Any:
    fields = {"coin": "BTC", "is_buy": is_buy, "sz": size, "limit_px": px, "order_type": kind}
    return {**fields, "reduce_only": reduce_only}


def rows(info: Info, address: str) -> dict[str, Any]:
    return {row["orderType"]: row for row in info.frontend_open_orders(address)}


def test_each_kind_is_answered_with_its_id_and_listed_by_its_name(shared: Venue) -> None:
    info, exchange = shared.info(), shared.exchange(0)
    address = exchange.wallet.address
    exchange.order("BTC", True, 0.01, 61_000.0, IOC)
    asked = {
        "Stop Market": order(False, 0.01, 52_000.0, trigger(58_000.0, "sl", is_market=True)),
        "Stop Limit": order(False, 0.01, 57_500.0, trigger(58_000.0, "sl", is_market=False)),
        "Take Profit Market": order(False, 0.01, 60_000.0, trigger(66_000.0, "tp", is_market=True)),
        "Take Profit Limit": order(False, 0.01, 66_500.0, trigger(66_000.0, "tp", is_market=False)),
    }
    for name, one in asked.items():
        oid = statuses(exchange.bulk_orders([one]))[0]["resting"]["oid"]
        found = info.query_order_by_oid(address, oid)["order"]
        assert (found["status"], found["order"]["orderType"]) == ("open", name)
    listed = rows(info, address)
    assert listed.keys() == asked.keys()
    for name, row in listed.items():
        assert row["isTrigger"] is True
        assert float(row["limitPx"]) == asked[name]["limit_px"]
        is_stop = name.startswith("Stop")
        assert row["triggerPx"] == ("58000.0" if is_stop else "66000.0")
        assert row["triggerCondition"] == ("Price below 58000" if is_stop else "Price above 66000")
    exchange.market_close("BTC")
    wait_for(lambda: info.frontend_open_orders(address) == [], "the orders to go with the position")


def test_a_stop_limit_triggers_rests_at_its_limit_and_is_told(shared: Venue) -> None:
    info, exchange = shared.info(), shared.exchange(1)
    address = exchange.wallet.address
    heard: list[Any] = []
    info.subscribe({"type": "orderUpdates", "user": address}, heard.append)
    shared.wait_subscribed("orderUpdates")
    exchange.order("BTC", True, 0.01, 61_000.0, IOC)
    kind = trigger(55_000.0, "sl", is_market=False)
    oid = statuses(exchange.bulk_orders([order(False, 0.01, 64_000.0, kind)]))[0]["resting"]["oid"]
    # A modify may put the trigger where the mark is already; its limit is far above the market.
    moved = trigger(61_000.0, "sl", is_market=False)
    oid = statuses(exchange.modify_order(oid, "BTC", False, 0.01, 64_000.0, moved, reduce_only=True))[0]["resting"][
        "oid"
    ]
    assert info.query_order_by_oid(address, oid)["order"]["status"] == "triggered"
    wait_for(lambda: "triggered" in {u["status"] for m in heard for u in m["data"]}, "the trigger")
    levels = shared.call(lambda: shared.simulator.world.market.get_book(ID, 10**6).asks)
    assert 1000 in [level.qty_lots for level in levels if level.px == 64_000.0]
    # It is a limit order now: moved into the market it fills.
    statuses(exchange.modify_order(oid, "BTC", False, 0.01, 59_000.0, moved, reduce_only=True))
    wait_for(lambda: info.user_state(address)["assetPositions"] == [], "the fill")
    wait_for(lambda: "filled" in {u["status"] for m in heard for u in m["data"] if u["order"]["oid"] > oid}, "told")
    assert info.user_fills(address)[0]["dir"] == "Close Long"


def test_a_trigger_may_open_a_position(shared: Venue) -> None:
    info, exchange = shared.info(), shared.exchange(2)
    address = exchange.wallet.address
    asked = [
        order(True, 0.01, 62_000.0, trigger(63_000.0, "sl", is_market=False), reduce_only=False),
        order(True, 0.01, 60_000.0, trigger(55_000.0, "tp", is_market=True), reduce_only=False),
    ]
    first, second = (found["resting"]["oid"] for found in statuses(exchange.bulk_orders(asked)))
    touched = trigger(65_000.0, "tp", is_market=True)
    exchange.modify_order(second, "BTC", True, 0.01, 60_000.0, touched)
    wait_for(lambda: [row["dir"] for row in info.user_fills(address)][:1] == ["Open Long"], "the entry")
    assert statuses(exchange.cancel("BTC", first)) == ["success"]
    wrong = order(True, 0.01, 62_000.0, trigger(55_000.0, "sl", is_market=False), reduce_only=False)
    assert statuses(exchange.bulk_orders([wrong]))[0]["error"] == "Invalid TP/SL price. asset=0"  # the mark is past it
    exchange.market_close("BTC")


def test_children_of_every_kind_follow_their_group(shared: Venue) -> None:
    info, exchange = shared.info(), shared.exchange(0)
    address = exchange.wallet.address
    group = [
        order(True, 0.01, 61_000.0, IOC, reduce_only=False),
        order(False, 0.01, 57_000.0, trigger(57_000.0, "sl", is_market=False)),
        order(False, 0.01, 60_000.0, trigger(66_000.0, "tp", is_market=True)),
    ]
    assert statuses(exchange.bulk_orders(group, grouping="normalTpsl"))[1:] == ["waitingForTrigger"] * 2
    goal = rows(info, address)["Take Profit Market"]["oid"]
    exchange.modify_order(goal, "BTC", False, 0.01, 55_000.0, trigger(55_000.0, "tp", is_market=True), reduce_only=True)
    wait_for(lambda: info.user_state(address)["assetPositions"] == [], "the take-profit")
    assert info.frontend_open_orders(address) == []
    history = info.historical_orders(address)
    assert history[0]["order"]["orderType"] == "Take Profit Market"
    assert history[0]["status"] == "filled"
    guard = next(row for row in history if row["order"]["orderType"] == "Stop Limit")
    assert guard["status"] in ("siblingFilledCanceled", "reduceOnlyCanceled")


def test_a_take_profit_limit_of_a_position_follows_its_size(shared: Venue) -> None:
    info, exchange = shared.info(), shared.exchange(1)
    address = exchange.wallet.address
    exchange.order("BTC", True, 0.01, 61_000.0, IOC)
    asked = [order(False, 0.01, 66_500.0, trigger(66_000.0, "tp", is_market=False))]
    assert statuses(exchange.bulk_orders(asked, grouping="positionTpsl")) == ["waitingForTrigger"]
    exchange.order("BTC", True, 0.02, 61_000.0, IOC)
    held = info.user_state(address)["assetPositions"][0]["position"]["szi"]
    wait_for(lambda: rows(info, address)["Take Profit Limit"]["sz"] == held, "it to grow")
    exchange.market_close("BTC")
    wait_for(lambda: info.frontend_open_orders(address) == [], "it to go with the position")


def test_children_of_a_part_filled_parent_go_and_are_not_called_invalid(shared: Venue) -> None:
    info, exchange = shared.info(), shared.exchange(2)
    address = exchange.wallet.address
    shared.fault("fill_capped", on="order", next_n=1, lots=300)
    group = [
        order(True, 0.01, 61_000.0, IOC, reduce_only=False),
        order(False, 0.01, 52_000.0, trigger(57_000.0, "sl", is_market=True)),
    ]
    found = statuses(exchange.bulk_orders(group, grouping="normalTpsl"))
    shared.clear_faults()
    assert found[0]["filled"]["totalSz"] == "0.003"
    assert found[1] == "waitingForFill"
    assert info.frontend_open_orders(address) == []
    assert info.user_state(address)["assetPositions"][0]["position"]["szi"] == "0.003"  # naked
    assert info.historical_orders(address)[0]["status"] == "canceled"
    wait_for(lambda: "BTC" in info.all_mids(), "the house to quote again")
    exchange.market_close("BTC")
    # A parent that finds nothing, or is refused, lends its words to its children.
    nothing = [order(True, 0.01, 50_000.0, IOC, reduce_only=False), group[1]]
    said = statuses(exchange.bulk_orders(nothing, grouping="normalTpsl"))
    assert {row["error"].split(".")[0] for row in said} == {
        "Order could not immediately match against any resting orders"
    }
    poor = [order(True, 100.0, 59_000.0, GTC, reduce_only=False), group[1]]
    said = statuses(exchange.bulk_orders(poor, grouping="normalTpsl"))
    assert {row["error"] for row in said} == {"Insufficient margin to place order. asset=0"}
