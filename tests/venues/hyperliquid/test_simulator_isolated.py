"""Isolated margin on the wire: leverage, money moved, what is shown of it, and a liquidation that takes it alone."""

from collections.abc import Iterator
from typing import Any

import pytest
from hyperliquid.info import Info

from tests.venues.hyperliquid.conftest import Venue, run_venue, wait_for
from tests.venues.hyperliquid.test_simulator import IOC, statuses, stop

ID = "BTC-PERP.HYPERLIQUID"


@pytest.fixture(scope="module")
def shared() -> Iterator[Venue]:
    """One venue; each test uses an account of its own."""
    with run_venue() as running:
        yield running


def positions(info: Info, address: str) -> dict[str, Any]:
    return {row["position"]["coin"]: row["position"] for row in info.user_state(address)["assetPositions"]}


def mark(venue: Venue, px: float) -> None:
    """Let the exchange know a mark px of BTC between two of the market's own."""
    world = venue.simulator.world
    market = world.market

    def publish(ts_ns: int) -> Any:
        return market._collect(market.exchange.apply_marks({ID: px}, ts_ns), ts_ns)

    venue.call(lambda: world.act(publish))


def test_margin_is_set_aside_moved_and_shown(shared: Venue) -> None:
    info, exchange = shared.info(), shared.exchange(0)
    address = exchange.wallet.address
    assert exchange.update_leverage(10, "BTC", is_cross=False)["status"] == "ok"
    none = exchange.update_isolated_margin(10.0, "BTC")
    assert none["status"] == "err"  # there is no position yet
    statuses(exchange.order("BTC", True, 0.1, 61_000.0, IOC))
    statuses(exchange.order("ETH", True, 1.0, 3_100.0, IOC))
    shown = positions(info, address)
    assert shown["ETH"]["leverage"] == {"type": "cross", "value": 25}
    entry_px, used = float(shown["BTC"]["entryPx"]), float(shown["BTC"]["marginUsed"])
    assert used == pytest.approx(0.1 * entry_px / 10, rel=0.02)
    leverage = shown["BTC"]["leverage"]
    assert (leverage["type"], leverage["value"]) == ("isolated", 10)
    # rawUsd: what is set aside less what the position cost.
    assert float(leverage["rawUsd"]) == pytest.approx(0.1 * entry_px / 10 - 0.1 * entry_px, abs=0.01)
    # It has a liquidation px of its own: it sinks by its margin, less its maintenance margin of 1.25 %.
    expected_px = entry_px * (1 - 0.1) / (1 - 0.0125)
    assert float(shown["BTC"]["liquidationPx"]) == pytest.approx(expected_px, rel=1e-4)
    state = info.user_state(address)
    whole, cross = state["marginSummary"], state["crossMarginSummary"]
    value = float(whole["accountValue"]) - float(cross["accountValue"])
    assert value == pytest.approx(used, rel=0.05)
    assert float(cross["totalNtlPos"]) == pytest.approx(3_000.0, rel=0.05)
    assert float(whole["totalNtlPos"]) == pytest.approx(9_000.0, rel=0.05)
    # More money: a liquidation px further away. Less than is needed may not be left.
    assert exchange.update_isolated_margin(300.0, "BTC")["status"] == "ok"
    after = positions(info, address)["BTC"]
    assert float(after["leverage"]["rawUsd"]) == pytest.approx(float(leverage["rawUsd"]) + 300.0, abs=1e-3)
    assert float(after["liquidationPx"]) < expected_px - 2_000.0
    assert exchange.update_isolated_margin(-100.0, "BTC")["status"] == "ok"
    assert exchange.update_isolated_margin(-700.0, "BTC")["status"] == "err"
    assert exchange.update_isolated_margin(10_000_000.0, "BTC")["status"] == "err"
    # The mode cannot change now, the leverage can: a lower one takes more aside.
    refused = exchange.update_leverage(10, "BTC", is_cross=True)
    assert refused == {"status": "err", "response": "Cannot switch leverage type with open position."}
    assert exchange.update_leverage(5, "BTC", is_cross=False)["status"] == "ok"
    more = float(positions(info, address)["BTC"]["leverage"]["rawUsd"])
    assert more == pytest.approx(0.1 * entry_px / 5 - 0.1 * entry_px, abs=0.01)
    exchange.market_close("BTC")
    exchange.market_close("ETH")
    assert exchange.update_leverage(10, "BTC", is_cross=True)["status"] == "ok"
    shared.call(shared.simulator.world.market.exchange.check_invariants)


def test_it_is_liquidated_alone(shared: Venue) -> None:
    info, exchange = shared.info(), shared.exchange(1)
    address = exchange.wallet.address
    heard: list[Any] = []
    info.subscribe({"type": "userEvents", "user": address}, heard.append)
    shared.wait_subscribed("userEvents")
    exchange.update_leverage(20, "BTC", is_cross=False)
    statuses(exchange.order("BTC", True, 0.1, 61_000.0, IOC))
    statuses(exchange.order("ETH", True, 1.0, 3_100.0, IOC))
    guard = statuses(exchange.order("BTC", False, 0.1, 40_000.0, stop(45_000.0), reduce_only=True))[0]["resting"]["oid"]
    sinks_px = float(positions(info, address)["BTC"]["liquidationPx"])
    mark(shared, sinks_px * 1.001)
    assert "BTC" in positions(info, address)
    mark(shared, sinks_px * 0.999)
    wait_for(lambda: positions(info, address).keys() == {"ETH"}, "the liquidation")
    fill = info.user_fills(address)[0]
    assert fill["dir"] == "Liquidated Isolated Long"
    assert fill["liquidation"]["liquidatedUser"] == address.lower()
    assert info.query_order_by_oid(address, guard)["order"]["status"] == "liquidatedCanceled"
    told = wait_for(lambda: [m["data"]["liquidation"] for m in heard if "liquidation" in m["data"]], "the event")
    assert told[0]["liquidated_user"] == address.lower()
    assert float(told[0]["liquidated_ntl_pos"]) == pytest.approx(6_000.0, rel=0.05)
    shared.call(shared.simulator.world.market.exchange.check_invariants)
