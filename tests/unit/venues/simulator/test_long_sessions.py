"""What hours of trading must not do: grow without end, run off the path, or stumble over a whole number."""

from typing import Any

import numpy as np
import pytest

from market.events import Fill
from market.records import NS_PER_S
from tests.unit.venues.order_requests import BTC, BUY, SELL, limit, market
from tests.unit.venues.simulator.test_driven_market import COSTS, ID, MINUTE_NS, TS_NS, make_market
from venues.exchange import Exchange
from venues.simulator.driven_market import DrivenMarket, MarketSettings
from venues.simulator.price_path import PricePath, make_bars

HOUR_NS = 60 * MINUTE_NS


def test_ended_orders_and_fills_are_forgotten_open_ones_never() -> None:
    driven = make_market(history_max=20)
    driven.advance(TS_NS)
    driven.submit("a", [limit("resting", BUY, 5, 50.0)], TS_NS)
    for number in range(200):
        driven.submit("a", [market(f"m{number}", BUY if number % 2 else SELL, 1)], TS_NS)
        driven.submit("a", [limit(f"bad{number}", BUY, 0, 10.0)], TS_NS)
    account = driven.exchange._accounts["a"]
    assert len(account.orders) <= 27
    assert len(account.fills) <= 26
    exchange = driven.exchange
    assert exchange.order_status("a", "m0") is None
    assert exchange.order_status("a", "m199") is not None
    assert [report.client_order_id for report in exchange.open_orders("a")] == ["resting"]
    assert len(exchange.fills_since("a", 0)) == len(account.fills)
    exchange.check_invariants()


def test_a_history_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="history_max is 0"):
        Exchange([BTC], COSTS, history_max=0)


def test_whole_numbers_are_prices_too() -> None:
    driven = make_market()
    driven.advance(TS_NS)
    events = driven.submit("a", [limit("1", SELL, 5, 100)], TS_NS).events_of("a")
    events += driven.submit("b", [limit("1", BUY, 5, 100)], TS_NS).events_of("b")
    fills = [event for event in events if isinstance(event, Fill)]
    assert fills
    assert all(type(fill.fill_px) is float for fill in fills)
    driven.submit("c", [limit("1", BUY, 5, 50)], TS_NS)
    driven.modify("c", "1", TS_NS, limit_px=49)
    report = driven.exchange.order_status("c", "1")
    assert report is not None
    assert type(report.limit_px) is float


def make_long_bars(count: int) -> Any:
    bars = make_bars([100.0 + 0.1 * (index % 7) for index in range(count + 1)], TS_NS, MINUTE_NS, 500.0)
    bars["open_interest_base"] = 1000.0 + np.arange(count)
    return bars


def test_a_path_that_can_be_extended_never_ends() -> None:
    asked: list[int] = []

    def extend(count: int) -> Any:
        asked.append(count)
        return make_long_bars(2 * count)

    settings = MarketSettings(block_ns=NS_PER_S)
    path = {ID: make_long_bars(3)}
    driven = DrivenMarket([BTC], COSTS, path, settings, 3, {ID: extend})
    driven.advance(TS_NS + 12 * MINUTE_NS)
    assert asked == [4, 9]
    whole = DrivenMarket([BTC], COSTS, {ID: make_long_bars(40)}, settings, 3)
    whole.advance(TS_NS + 12 * MINUTE_NS)
    assert driven.get_path_px(ID) == whole.get_path_px(ID)


def test_past_open_interest_is_the_paths() -> None:
    driven = DrivenMarket([BTC], COSTS, {ID: make_long_bars(30)}, MarketSettings(NS_PER_S, TS_NS + 10 * MINUTE_NS))
    driven.advance(TS_NS + 20 * MINUTE_NS)
    lots = [driven.get_open_interest_lots(ID, TS_NS + minute * MINUTE_NS) for minute in (0, 5, 15)]
    assert lots == [round((1000.0 + minute) / BTC.lot_base) for minute in (0, 5, 15)]


def test_a_market_may_start_inside_a_bar_and_its_candles_know_the_past() -> None:
    bars = make_bars([100.0, 101.0, 99.0, 102.0], TS_NS, HOUR_NS, 500.0)
    start_ns = TS_NS + HOUR_NS + 40 * MINUTE_NS + 20 * NS_PER_S
    driven = DrivenMarket([BTC], COSTS, {ID: bars}, MarketSettings(NS_PER_S, start_ns), 3)
    driven.advance(start_ns + 5 * MINUTE_NS)
    candles = driven.list_candles(ID, MINUTE_NS, TS_NS, TS_NS + 3 * HOUR_NS)
    assert len(candles) == 106
    live = driven.list_candles(ID, HOUR_NS, TS_NS, TS_NS + 3 * HOUR_NS)
    assert (live[0].open_px, live[0].close_px) == (100.0, 101.0)
    assert abs(live[1].open_px - 101.0) < 0.5
    assert 0 < live[1].volume_lots < 0.9 * live[0].volume_lots  # of that hour 45 minutes have passed
    assert abs(driven.get_path_px(ID) - candles[-1].close_px) < 0.5


def test_candles_as_short_as_the_bars() -> None:
    five_ns = 5 * NS_PER_S
    bars = make_bars([100.0 + 0.1 * (index % 5) for index in range(401)], TS_NS, five_ns, 10.0)
    settings = MarketSettings(NS_PER_S // 10, TS_NS + 300 * five_ns, candle_base_ns=five_ns)
    driven = DrivenMarket([BTC], COSTS, {ID: bars}, settings, 3)
    driven.advance(TS_NS + 320 * five_ns)
    candles = driven.list_candles(ID, five_ns, TS_NS, TS_NS + 320 * five_ns)
    assert len(candles) == 320
    assert [candle.close_px for candle in candles[:300]] == bars["close_px"][:300].tolist()


def test_one_walk_for_the_markets_of_one_base() -> None:
    bars = make_bars([100.0, 101.0, 99.0], TS_NS, HOUR_NS, 500.0)
    scaled = bars.copy()
    for name in ("open_px", "high_px", "low_px", "close_px"):
        scaled[name] *= 1.001
    paths = [
        PricePath(BTC, one, TS_NS, NS_PER_S, 4, walk_key=key)
        for one, key in ((bars, "BTC"), (scaled, "BTC"), (bars, "ETH"))
    ]
    first, second, other = (np.array(path.make_stretch(1).pxs) for path in paths)
    np.testing.assert_allclose(first * 1.001, second, rtol=1e-12)
    assert np.abs(other - first).max() > 0.01
