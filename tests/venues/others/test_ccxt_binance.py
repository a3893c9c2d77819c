"""ccxt reads the Binance simulator's USD-M market, and what it shows is what the market did."""

from collections.abc import Iterator

import pytest

from tests.venues.others.other_client import Ccxt, needs_others
from tests.venues.others.serving import Served, make_binance, serve, wait_for

pytestmark = [needs_others, pytest.mark.timeout(240)]

BTC_ID, BTC = "BTC-PERP.BINANCE", "BTC/USDT:USDT"
LOT = 0.001


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(make_binance()) as running:
        yield running


@pytest.fixture(scope="module")
def ccxt(served: Served) -> Iterator[Ccxt]:
    http, ws = served.addresses["http"], served.addresses["ws"]
    api = {f"fapiPublic{version}": f"{http}/fapi/v{version[1:] or 1}" for version in ("", "V2", "V3")}
    api |= {"fapiPrivate": http + "/fapi/v1", "fapiData": http + "/futures/data", "public": http + "/api/v3"}
    urls = {**api, "ws": {"linear": ws + "/ws", "future": ws + "/ws"}}
    with Ccxt("binanceusdm", {"options": {"fetchCurrencies": False}, "urls": {"api": urls}}) as one:
        yield one


def test_it_keeps_the_book(served: Served, ccxt: Ccxt) -> None:
    markets = ccxt.call("load_markets")
    assert set(markets) == {BTC, "ETH/USDT:USDT"}
    assert (markets[BTC]["precision"]["amount"], markets[BTC]["precision"]["price"]) == (0.001, 0.1)
    ccxt.call("watch_order_book", BTC)
    seen: set[int] = set()

    def is_followed() -> bool:
        book = ccxt.call("kept_book", BTC)
        assert served.has_had_book(BTC_ID, book), book
        seen.add(book["nonce"])
        return len(seen) >= 6

    wait_for(is_followed, "six books")
    best = ccxt.call("watch_bids_asks", [BTC])[BTC]
    assert best["bid"] < best["ask"]


def test_it_hears_every_trade_once_and_the_candles_agree(served: Served, ccxt: Ccxt) -> None:
    ccxt.call("follow", "watch_trades", BTC)
    ccxt.call("follow", "watch_ohlcv", BTC, "1m")
    wait_for(lambda: len({row["id"] for row in ccxt.call("followed", "watch_trades")}) >= 8, "trades")
    heard = {row["id"]: (row["price"], round(row["amount"] / LOT), row["side"]) for row in ccxt.call(
        "followed", "watch_trades"
    )}  # fmt: skip
    made = served.call(served.market.list_trades, BTC_ID, 1000)
    known = [(one.px, one.qty_lots, "buy" if one.taker_side > 0 else "sell") for one in made]
    numbers = sorted(int(name) for name in heard)
    assert numbers == [*range(numbers[0], numbers[-1] + 1)]
    told = [heard[str(number)] for number in numbers]
    assert any(known[start : start + len(told)] == told for start in range(len(known))), "not the market's own tape"
    wait_for(lambda: ccxt.call("followed", "watch_ohlcv"), "candles")
    candles = ccxt.call("fetch_ohlcv", BTC, "1m")
    own = {
        one.ts_open_ns // 10**6: [one.open_px, one.high_px, one.low_px, one.close_px]
        for one in served.call(served.market.list_candles, BTC_ID, 60 * 10**9, 0, 2**62)
    }
    closed = candles[:-1]
    assert closed
    assert [candle[1:5] for candle in closed] == [own[candle[0]] for candle in closed]


def test_it_reads_mark_funding_and_open_interest(served: Served, ccxt: Ccxt) -> None:
    mark = ccxt.call("watch_mark_price", BTC)
    assert mark["markPrice"] == pytest.approx(60_000.0, rel=0.01)
    funding = ccxt.call("fetch_funding_rate", BTC)
    assert (funding["symbol"], abs(funding["fundingRate"]) < 0.01) == (BTC, True)
    assert ccxt.call("fetch_open_interest", BTC)["openInterestAmount"] >= 0.0
    assert ccxt.call("fetch_time") == pytest.approx(served.simulator.world.now_ns() / 10**6, abs=60_000)
    assert ccxt.call("fetch_order_book", BTC, 5)["asks"]
