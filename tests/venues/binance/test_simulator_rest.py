"""What clients ask of Binance's REST beside books, trades and candles: tickers, indices, the past, and refusals."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from market.records import NS_PER_MS
from tests.venues.binance.conftest import BTC_ID, Venue, wait_until
from tests.venues.binance.market_client import Play, share_venue
from venues.binance.endpoints import ENDPOINTS
from venues.binance.rest import RestRefusal, make_request
from venues.binance.streams import Market

USDM, SPOT = Market.USDM, Market.SPOT
BTC = "BTCUSDT"
HOUR_MS = 3_600_000
KEY = "k" * 64


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    yield from share_venue(speed=5.0, bar_s=900, start_bar=200)  # fifty hours of a past


async def fetch(venue: Venue, target: str, method: str = "GET", **headers: str) -> tuple[int, Any, dict[str, str]]:
    """Return status, body and headers, the body read as JSON where it is."""
    async with venue.http.request(method, venue.addresses["http"] + target, headers=headers) as reply:
        is_json = reply.content_type == "application/json"
        return reply.status, await reply.json() if is_json else await reply.text(), dict(reply.headers)


def test_every_endpoint_answers_what_it_says(play: Play) -> None:
    values: dict[str, str] = {"symbol": BTC, "pair": BTC, "interval": "5m", "period": "5m", "contractType": "PERPETUAL"}

    async def work(venue: Venue) -> None:
        await wait_until(lambda: len(venue.market.list_trades(BTC_ID)) > 5, "trades")
        for (kind, name), endpoint in ENDPOINTS.items():
            asked = {one.name: values[one.name] for one in endpoint.parameters if one.name in values}
            request = make_request(kind, name, **asked)
            status, _, headers = await fetch(venue, request.target, **{"X-MBX-APIKEY": KEY})
            assert (status, "X-MBX-USED-WEIGHT-1M" in headers) == (200, True), name
            if name not in ("historicalTrades",) or kind is SPOT:
                assert not isinstance(await venue.ask(kind, name, **asked), RestRefusal), name  # type: ignore[arg-type]
            venue.simulator.limiters[kind]._addresses.clear()  # spot's ticker alone would use the minute up

    play(work)


def test_weights_are_counted_as_the_manual_has_them(play: Play) -> None:
    targets = {
        "/fapi/v1/ticker/24hr?symbol=BTCUSDT": 1, "/fapi/v1/ticker/24hr": 40, "/fapi/v1/ticker/bookTicker": 5,
        "/fapi/v2/ticker/price": 2, "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1000": 5,
        "/api/v3/ticker/24hr": 80, '/api/v3/ticker/24hr?symbols=["BTCUSDT"]': 2, "/api/v3/ticker/price": 4,
        "/api/v3/avgPrice?symbol=BTCUSDT": 2, '/api/v3/ticker?symbols=["BTCUSDT"]': 4,
    }  # fmt: skip

    async def work(venue: Venue) -> None:
        for target, weight in targets.items():
            for limiter in venue.simulator.limiters.values():
                limiter._addresses.clear()
            status, _, headers = await fetch(venue, target)
            assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, str(weight)), target
            assert ("X-MBX-USED-WEIGHT" in headers) is target.startswith("/api")

    play(work)


def test_tickers_are_what_the_market_did(play: Play) -> None:
    async def work(venue: Venue) -> None:
        with venue.clock.held():
            _, day, _ = await fetch(venue, "/fapi/v1/ticker/24hr?symbol=BTCUSDT")
            candles = await venue.ask(USDM, "klines", symbol=BTC, interval="1m", limit=1500)
            assert int(day["count"]) == int(day["lastId"]) - int(day["firstId"]) + 1
            pxs = [float(row.low_px) for row in candles[-1440:]], [float(row.high_px) for row in candles[-1440:]]
            assert (float(day["lowPrice"]), float(day["highPrice"])) == (min(pxs[0]), max(pxs[1]))
            change = float(day["lastPrice"]) - float(day["openPrice"])
            assert float(day["priceChange"]) == pytest.approx(change)
            assert float(day["priceChangePercent"]) == pytest.approx(100 * change / float(day["openPrice"]), abs=1e-3)
            average = float(day["quoteVolume"]) / float(day["volume"])
            assert float(day["weightedAvgPrice"]) == pytest.approx(average, abs=0.01)
            assert day["closeTime"] - day["openTime"] == pytest.approx(24 * HOUR_MS, abs=1_000_000)
            assert "bidPrice" not in day
            _, spot, _ = await fetch(venue, "/api/v3/ticker/24hr?symbol=BTCUSDT")
            assert float(spot["bidPrice"]) < float(spot["askPrice"])
            _, [mini], _ = await fetch(venue, '/api/v3/ticker?symbols=["BTCUSDT"]&windowSize=4h&type=MINI')
            assert mini.keys() == {
                "symbol", "lastPrice", "openPrice", "highPrice", "lowPrice", "volume", "quoteVolume", "openTime",
                "closeTime", "firstId", "lastId", "count",
            }  # fmt: skip
            assert 0.0 < float(mini["volume"]) < float(spot["volume"])
            _, [px], _ = await fetch(venue, "/fapi/v2/ticker/price")
            assert (px["symbol"], px.keys()) == (BTC, {"symbol", "price", "time"})
            _, [best], _ = await fetch(venue, "/fapi/v1/ticker/bookTicker")
            assert float(best["bidPrice"]) < float(best["askPrice"])
            _, average_px, _ = await fetch(venue, "/api/v3/avgPrice?symbol=BTCUSDT")
            assert float(average_px["price"]) == pytest.approx(float(px["price"]), rel=0.01)

    play(work)


def test_marks_and_indices_have_candles_of_all_the_past(play: Play) -> None:
    async def work(venue: Venue) -> None:
        seen = len(venue.marks)
        await wait_until(lambda: len(venue.marks) > seen + 5, "marks are published")
        with venue.clock.held():
            for name, asked in (("markPriceKlines", {"symbol": BTC}), ("indexPriceKlines", {"pair": BTC})):
                rows = await venue.ask(USDM, name, interval="15m", limit=1500, **asked)
                trades = await venue.ask(USDM, "klines", symbol=BTC, interval="15m", limit=1500)
                assert len(rows) >= 200
                assert [row.ts_open_ms for row in rows] == [row.ts_open_ms for row in trades]
                for row, traded in zip(rows, trades, strict=True):
                    assert float(row.close_px) == pytest.approx(float(traded.close_px), rel=0.005)
                    assert float(row.low_px) <= min(float(row.open_px), float(row.close_px))
                    assert float(row.high_px) >= max(float(row.open_px), float(row.close_px))
                [first] = await venue.ask(USDM, name, interval="15m", limit=1, startTime=0, **asked)
                assert first == rows[0]
            now_ms = venue.clock() // NS_PER_MS
            [minute] = (await venue.ask(USDM, "markPriceKlines", symbol=BTC, interval="1m", limit=3))[-1:]
            assert minute.ts_open_ms <= now_ms + 60_000
            assert float(minute.close_px) in {mark for mark, _ in venue.marks}
            premiums = await venue.ask(USDM, "premiumIndexKlines", symbol=BTC, interval="1h", limit=40)
            assert len(premiums) == 40
            assert all(abs(float(row.close_px)) < 0.01 for row in premiums)
            [month] = (await venue.ask(USDM, "klines", symbol=BTC, interval="1M"))[-1:]
            days = await venue.ask(USDM, "klines", symbol=BTC, interval="1d")
            assert month.ts_close_ms >= days[-1].ts_close_ms
            assert float(month.high_px) >= float(days[-1].high_px)
            again = await venue.ask(
                USDM, "continuousKlines", pair=BTC, contractType="PERPETUAL", interval="15m", limit=9
            )
            assert [row.ts_open_ms for row in again] == [row.ts_open_ms for row in trades[-9:]]
            assert await venue.ask(USDM, "continuousKlines", pair=BTC, contractType="NEXT_QUARTER", interval="1h") == ()

    play(work)


def test_funding_and_open_interest_go_back_as_far_as_candles(play: Play) -> None:
    async def work(venue: Venue) -> None:
        with venue.clock.held():
            oldest_ms = (await venue.ask(USDM, "klines", symbol=BTC, interval="5m", limit=1, startTime=0))[0].ts_open_ms
            rates = await venue.ask(USDM, "fundingRate", symbol=BTC)
            assert len(rates) >= 5
            assert all(row.ts_funding_ms % (8 * HOUR_MS) < 1000 for row in rates)
            assert rates[0].ts_funding_ms - oldest_ms <= 8 * HOUR_MS
            assert {later.ts_funding_ms - row.ts_funding_ms for row, later in pairwise(rates)} == {8 * HOUR_MS}
            assert await venue.ask(USDM, "fundingRate", symbol=BTC, startTime=oldest_ms, limit=1) == rates[:1]
            past = await venue.ask(USDM, "openInterestHist", symbol=BTC, period="5m", limit=500)
            assert len(past) == 500
            assert {later.ts_event_ms - row.ts_event_ms for row, later in pairwise(past)} == {300_000}
            assert all(float(row.open_interest) > 0.0 and float(row.open_interest_quote) > 0.0 for row in past)
            hours = await venue.ask(USDM, "openInterestHist", symbol=BTC, period="1h", limit=10, startTime=oldest_ms)
            assert len(hours) == 10
            assert 0 <= hours[0].ts_event_ms - oldest_ms < HOUR_MS
            now = await venue.ask(USDM, "openInterest", symbol=BTC)
            assert float(now.open_interest) == pytest.approx(float(past[-1].open_interest), rel=0.2)
            takers = await venue.ask(USDM, "takerlongshortRatio", symbol=BTC, period="15m", limit=4)
            candles = {
                row.ts_open_ms: row for row in await venue.ask(USDM, "klines", symbol=BTC, interval="15m", limit=9)
            }
            for row in takers[:-1]:  # the last is still forming
                assert row.bought_base == candles[row.ts_event_ms].taker_buy_base
            basis = await venue.ask(USDM, "basis", pair=BTC, contractType="PERPETUAL", period="1h", limit=20)
            assert len(basis) == 20
            assert all(abs(float(row.basis_frac)) < 0.01 for row in basis)
            assert await venue.ask(USDM, "topLongShortAccountRatio", symbol=BTC, period="1h") == ()

    play(work)


def test_old_trades_are_numbered_without_a_hole_and_want_a_key_on_futures(play: Play) -> None:
    target = "/fapi/v1/historicalTrades?symbol=BTCUSDT"

    async def work(venue: Venue) -> None:
        trades = await venue.ask(USDM, "trades", symbol=BTC, limit=1000)
        ids = [row.trade_id for row in trades]
        assert ids == [*range(ids[0], ids[0] + 1000)]
        assert (await fetch(venue, target))[:2] == (401, {"code": -2014, "msg": "API-key format invalid."})
        status, rows, _ = await fetch(venue, f"{target}&fromId={ids[10]}&limit=7", **{"X-MBX-APIKEY": KEY})
        assert (status, [row["id"] for row in rows]) == (200, ids[10:17])
        assert rows[0]["price"] == trades[10].px
        by_spot = await venue.ask(SPOT, "historicalTrades", symbol=BTC, fromId=ids[10], limit=7)
        assert [row.trade_id for row in by_spot] == ids[10:17]

    play(work)


def test_spot_has_candles_of_a_second(play: Play) -> None:
    async def work(venue: Venue) -> None:
        with venue.clock.held():
            minutes = await venue.ask(SPOT, "klines", symbol=BTC, interval="1m", limit=40)
            for minute in minutes[5:7]:  # of before the start, however long this takes
                seconds = await venue.ask(
                    SPOT, "klines", symbol=BTC, interval="1s", startTime=minute.ts_open_ms, endTime=minute.ts_close_ms
                )
                assert [row.ts_open_ms for row in seconds] == [*range(minute.ts_open_ms, minute.ts_close_ms, 1000)]
                assert seconds[-1].close_px == minute.close_px
                assert max(float(row.high_px) for row in seconds) == float(minute.high_px)
                assert sum(float(row.volume_base) for row in seconds) == pytest.approx(float(minute.volume_base))
            last = await venue.ask(SPOT, "klines", symbol=BTC, interval="1s", limit=1000)
            assert len(last) == 1000
            [first] = await venue.ask(SPOT, "klines", symbol=BTC, interval="1s", limit=1, startTime=0)
            assert first.ts_open_ms < last[0].ts_open_ms
            status, body, _ = await fetch(venue, "/fapi/v1/klines?symbol=BTCUSDT&interval=1s")
            assert (status, body["code"]) == (400, -1120)

    play(work)


REFUSALS = [
    ("GET", "/fapi/v1/leverageBracket", 401, -2014, "API-key format invalid."),
    ("POST", "/fapi/v1/order", 401, -2014, "API-key format invalid."),
    ("POST", "/fapi/v1/listenKey", 401, -2014, "API-key format invalid."),
    ("GET", "/api/v3/account", 401, -2014, "API-key format invalid."),
    ("GET", "/fapi/v1/listenKey", 404, -5000, "Path /fapi/v1/listenKey, Method GET is invalid"),
    ("POST", "/fapi/v1/klines", 404, -5000, "Path /fapi/v1/klines, Method POST is invalid"),
    ("GET", "/fapi/v9/ping", 404, -5000, "Path /fapi/v9/ping, Method GET is invalid"),
    ("GET", "/fapi/v1/ticker/24hr?symbol=XYZ", 400, -1121, "Invalid symbol."),
    ("GET", "/fapi/v1/indexPriceKlines?pair=XYZ&interval=1m", 400, -4144, "Invalid pair."),
    ("GET", "/fapi/v1/continuousKlines?pair=BTCUSDT&interval=1m&contractType=NONE", 400, -4104,
     "Invalid contract type."),
    ("GET", "/futures/data/basis?pair=BTCUSDT&contractType=PERPETUAL", 400, -1102,
     "Mandatory parameter 'period' was not sent, was empty/null, or malformed."),
    ("GET", "/api/v3/ticker/24hr?asset=BTC", 400, -1104,
     "Not all sent parameters were read; read '0' parameter(s) but was sent '1'."),
    ("GET", "/api/v3/time?x=1", 400, -1101, "Too many parameters; expected '0' and received '1'."),
    ("GET", '/api/v3/ticker/price?symbols=["btc"]', 400, -1100,
     "Illegal characters found in parameter 'symbols'; legal range is "
     "'^\\[(\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}){0,1}\\]$'."),
    ("GET", '/api/v3/ticker/price?symbols=["XYZ"]', 400, -1121, "Invalid symbol."),
    ("GET", '/api/v3/ticker/price?symbol=BTCUSDT&symbols=["BTCUSDT"]', 400, -1128,
     "Combination of optional parameters invalid."),
]  # fmt: skip


def test_refusals_in_the_venues_words(play: Play) -> None:
    async def work(venue: Venue) -> None:
        for method, target, status, code, msg in REFUSALS:
            assert (await fetch(venue, target, method))[:2] == (status, {"code": code, "msg": msg}), target
        status, body, _ = await fetch(venue, "/fapi/v1/leverageBracket", **{"X-MBX-APIKEY": KEY})
        assert (status, body["code"]) == (401, -2015)
        status, page, headers = await fetch(venue, "/api/v3/nothing")
        assert (status, headers["Content-Type"].split(";")[0], "404" in page) == (404, "text/html", True)

    play(work)
