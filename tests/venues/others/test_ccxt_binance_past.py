"""ccxt reads tickers, marks, funding and open interest of a Binance with a past, USD-M and spot."""

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from market.fills import Costs
from market.instruments import LISTED
from market.records import NS_PER_S
from tests.venues.others.other_client import Ccxt, needs_others
from tests.venues.others.serving import Served, serve, wait_for
from venues.binance.simulator import BinanceSimulator
from venues.simulator.driven_market import DrivenMarket, MarketSettings
from venues.simulator.faults import FaultBoard
from venues.simulator.shared_path import SharedPath

pytestmark = [needs_others, pytest.mark.timeout(240)]

BTC_ID, BTC, ETH = "BTC-PERP.BINANCE", "BTC/USDT:USDT", "ETH/USDT:USDT"
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    instruments = [LISTED[BTC_ID], LISTED["ETH-PERP.BINANCE"]]
    path = SharedPath(7, ("BTC", "ETH"), 900 * NS_PER_S, time.time_ns())  # ten days of a past, as users get it
    bars, extend = path.view(instruments)
    settings = MarketSettings(ts_start_ns=path.ts_present_ns, is_walk_by_base=True, mark_every_ns=NS_PER_S)
    market = DrivenMarket(instruments, Costs(5.0, 2.0, 0.0), bars, settings, 7, extend)
    with serve(BinanceSimulator(market, FaultBoard())) as running:
        yield running


@pytest.fixture(scope="module")
def futures(served: Served) -> Iterator[Ccxt]:
    http, ws = served.addresses["http"], served.addresses["ws"]
    api = {f"fapiPublic{version}": f"{http}/fapi/v{version[1:] or 1}" for version in ("", "V2", "V3")}
    api |= {"fapiPrivate": http + "/fapi/v1", "fapiData": http + "/futures/data", "public": http + "/api/v3"}
    urls = {**api, "ws": {"linear": ws + "/ws", "future": ws + "/ws"}}
    with Ccxt("binanceusdm", {"options": {"fetchCurrencies": False}, "urls": {"api": urls}}) as one:
        one.call("load_markets")
        yield one


@pytest.fixture(scope="module")
def spot(served: Served) -> Iterator[Ccxt]:
    http, ws = served.addresses["spot_http"], served.addresses["spot_ws"]
    urls = {
        "public": http + "/api/v3",
        "private": http + "/api/v3",
        "sapi": http + "/sapi/v1",
        "ws": {"spot": ws + "/ws"},
    }
    options = {"fetchCurrencies": False, "fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"}
    with Ccxt("binance", {"options": options, "urls": {"api": urls}}) as one:
        one.call("load_markets")
        yield one


def test_tickers_by_rest(futures: Ccxt) -> None:
    ticker = futures.call("fetch_ticker", BTC)
    assert ticker["symbol"] == BTC
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    assert ticker["vwap"] == pytest.approx(ticker["quoteVolume"] / ticker["baseVolume"], rel=1e-3)
    assert ticker["change"] == pytest.approx(ticker["last"] - ticker["open"], abs=0.02)
    assert set(futures.call("fetch_tickers")) == {BTC, ETH}
    assert set(futures.call("fetch_tickers", [ETH])) == {ETH}
    best = futures.call("fetch_bids_asks")[BTC]
    assert best["bid"] < best["ask"]
    assert set(futures.call("fetch_last_prices")) == {BTC, ETH}
    marks = futures.call("fetch_mark_prices")
    assert marks[BTC]["markPrice"] == pytest.approx(ticker["last"], rel=0.01)


def test_tickers_by_stream(futures: Ccxt) -> None:
    ticker = futures.call("watch_ticker", BTC)
    assert (ticker["symbol"], ticker["low"] <= ticker["last"] <= ticker["high"]) == (BTC, True)
    assert BTC in futures.call("watch_tickers")
    assert futures.call("watch_tickers", [BTC])[BTC]["baseVolume"] > 0.0
    assert set(futures.call("watch_mark_prices")) >= {BTC}
    assert futures.call("watch_bids_asks", [BTC])[BTC]["bid"] > 0.0


def test_trades(served: Served, futures: Ccxt) -> None:
    wait_for(lambda: len(served.call(served.market.list_trades, BTC_ID, 1000)) > 5, "trades")
    trades = futures.call("fetch_trades", BTC, None, 500)
    numbers = [int(row["id"]) for row in trades]
    assert numbers == [*range(numbers[0], numbers[0] + 500)]
    singles = futures.call("fetch_trades", BTC, None, 200, params={"fetchTradesMethod": "fapiPublicGetTrades"})
    made = {(one.px, one.qty_lots) for one in served.call(served.market.list_trades, BTC_ID, 1000)}
    known = [(row["price"], round(row["amount"] * 1000)) for row in singles]
    assert len(known) == 200
    assert known[-1] in made


def test_candles_of_marks_indices_and_premiums(futures: Ccxt) -> None:
    traded = futures.call("fetch_ohlcv", BTC, "15m", None, 100)
    for name in ("fetch_mark_ohlcv", "fetch_index_ohlcv"):
        candles = futures.call(name, BTC, "15m", None, 100)
        assert len(candles) == 100
        closes = {row[0]: row[4] for row in traded}
        for row in candles[:-1]:
            assert row[4] == pytest.approx(closes.get(row[0], row[4]), rel=0.005)
    premiums = futures.call("fetch_premium_index_ohlcv", BTC, "1h", None, 20)
    assert (len(premiums), max(abs(row[4]) for row in premiums) < 0.01) == (20, True)


def test_funding_and_open_interest_of_the_past(futures: Ccxt) -> None:
    rates = futures.call("fetch_funding_rate_history", BTC)
    assert len(rates) >= 25
    assert all(abs(later["timestamp"] - row["timestamp"] - 8 * HOUR_MS) < 1000 for row, later in pairwise(rates))
    assert any(row["fundingRate"] for row in rates)
    since = rates[3]["timestamp"]
    assert futures.call("fetch_funding_rate_history", BTC, since, 5) == rates[3:8]
    interest = futures.call("fetch_open_interest_history", BTC, "1h", None, 200)
    assert len(interest) == 200
    assert all(row["openInterestAmount"] > 0.0 and row["openInterestValue"] > 0.0 for row in interest)
    assert futures.call("fetch_long_short_ratio_history", BTC, "1h") == []
    assert BTC in futures.call("fetch_funding_rates")
    assert futures.call("fetch_funding_intervals") == {}  # eight hours, all of them: nothing is adjusted


def test_spot(spot: Ccxt) -> None:
    symbol = "BTC/USDT"
    ticker = spot.call("fetch_ticker", symbol)
    assert ticker["bid"] < ticker["ask"]
    assert set(spot.call("fetch_tickers")) == {symbol, "ETH/USDT"}
    assert spot.call("fetch_tickers", [symbol]).keys() == {symbol}
    assert spot.call("fetch_last_prices", [symbol]).keys() == {symbol}
    assert len(spot.call("fetch_trades", symbol, None, 50)) == 50
    assert len(spot.call("fetch_ohlcv", symbol, "1h", None, 24)) == 24
    assert spot.call("fetch_order_book", symbol, 5)["asks"]
    assert spot.call("fetch_status")["status"] == "ok"
    assert spot.call("watch_ticker", symbol)["last"] > 0.0
    assert spot.call("watch_tickers", [symbol])[symbol]["baseVolume"] > 0.0
    assert spot.call("watch_order_book", symbol)["bids"]
    assert spot.call("watch_trades", symbol)
    assert spot.call("watch_ohlcv", symbol, "1m")
