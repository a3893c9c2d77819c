"""REST: requests and refusals as tables, replies by example, limits from both sides."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.records import NS_PER_S
from tests.shared_data import needs_shared
from tests.unit.venues.binance.captured import BTC, SPOT, SlowBook, read_lines
from venues.binance.endpoints import ENDPOINTS
from venues.binance.messages import BookSnapshotText
from venues.binance.numbers import MalformedMessageError
from venues.binance.rate_limits import (
    BAN_FIRST_NS,
    MINUTE_NS,
    USED_WEIGHT_HEADER,
    WEIGHT_MAX,
    ClientBudget,
    VenueLimiter,
)
from venues.binance.rest import (
    DAY_MS,
    TIMED_OUT,
    UNKNOWN_ERROR,
    RestRefusal,
    RestRequest,
    decode_reply,
    encode_reply,
    make_request,
    parse_request,
)
from venues.binance.rest_replies import ExchangeInfo, FundingRateRow, KlineRow
from venues.binance.streams import Market

USDM, SPOT_MARKET = Market.USDM, Market.SPOT
SYMBOLS = {"BTCUSDT", "ETHUSDT"}
KLINE = [0, "1.0", "2.0", "0.5", "1.5", "10", 899999, "15", 100, "5", "7", "0"]
FUTURES_SYMBOL = {
    "symbol": "BTCUSDT", "pair": "BTCUSDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
    "onboardDate": 1569398400000, "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
    "marginAsset": "USDT", "pricePrecision": 2, "quantityPrecision": 3, "underlyingType": "COIN",
    "filters": [
        {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "556.80", "maxPrice": "4529764"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
        {"filterType": "POSITION_RISK_CONTROL"},
    ],
    "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
}  # fmt: skip
DAY = {
    "symbol": "BTCUSDT", "priceChange": "-94.99", "priceChangePercent": "-95.960", "weightedAvgPrice": "0.29",
    "lastPrice": "4.00", "lastQty": "200.0", "openPrice": "99.0", "highPrice": "100.0", "lowPrice": "0.1",
    "volume": "8913.3", "quoteVolume": "15.3", "openTime": 1499783499040, "closeTime": 1499869899040,
    "firstId": 28385, "lastId": 28460, "count": 76,
}  # fmt: skip
REPLIES: list[tuple[Market, str, Any]] = [
    (USDM, "ping", {}),
    (USDM, "time", {"serverTime": 1760000000000}),
    (USDM, "depth", {"lastUpdateId": 1, "E": 2, "T": 3, "bids": [["1", "2"]], "asks": [["3", "4"]]}),
    (SPOT_MARKET, "depth", {"lastUpdateId": 1, "bids": [["1", "2"]], "asks": []}),
    (USDM, "klines", [KLINE, KLINE]),
    (SPOT_MARKET, "klines", [KLINE]),
    (USDM, "aggTrades", [{"a": 1, "p": "1", "q": "2", "nq": "2", "f": 1, "l": 1, "T": 5, "m": True}]),
    (SPOT_MARKET, "aggTrades", [{"a": 1, "p": "1", "q": "2", "f": 1, "l": 1, "T": 5, "m": True, "M": True}]),
    (USDM, "trades", [{"id": 1, "price": "1", "qty": "2", "quoteQty": "2", "time": 5, "isBuyerMaker": True}]),
    (USDM, "premiumIndex", {"symbol": "BTCUSDT", "markPrice": "1", "indexPrice": "1", "estimatedSettlePrice": "1",
                            "lastFundingRate": "0.0001", "interestRate": "0.0001", "nextFundingTime": 8, "time": 1}),
    (USDM, "premiumIndex", []),
    (USDM, "fundingRate", [{"symbol": "BTCUSDT", "fundingTime": 1, "fundingRate": "0.0001", "markPrice": "",
                            "rateType": "x"}]),
    (USDM, "fundingInfo", [{"symbol": "A", "adjustedFundingRateCap": "0.02", "adjustedFundingRateFloor": "-0.02",
                            "fundingIntervalHours": 4, "disclaimer": False}]),
    (USDM, "openInterest", {"openInterest": "10659.509", "symbol": "BTCUSDT", "time": 1}),
    (USDM, "openInterestHist", [{"symbol": "BTCUSDT", "sumOpenInterest": "20403.6", "sumOpenInterestValue": "1.5",
                                 "timestamp": 1}]),
    (USDM, "ticker24hr", [DAY]),
    (SPOT_MARKET, "ticker24hr", DAY | {"prevClosePrice": "1", "bidPrice": "1", "bidQty": "2", "askPrice": "3",
                                       "askQty": "4"}),
    (USDM, "tickerPriceV2", {"symbol": "BTCUSDT", "price": "6000.01", "time": 1589437530011}),
    (SPOT_MARKET, "tickerPrice", [{"symbol": "BTCUSDT", "price": "6000.01"}]),
    (USDM, "bookTicker", {"symbol": "BTCUSDT", "bidPrice": "4.0", "bidQty": "431", "askPrice": "4.2", "askQty": "9",
                          "time": 1589437530011, "lastUpdateId": 7}),
    (SPOT_MARKET, "avgPrice", {"mins": 5, "price": "9.35751834", "closeTime": 1694061154503}),
    (USDM, "takerlongshortRatio", [{"buySellRatio": "1.5586", "buyVol": "387.3300", "sellVol": "248.5030",
                                    "timestamp": 1585614900000}]),
    (USDM, "basis", [{"indexPrice": "34400.15", "contractType": "PERPETUAL", "basisRate": "0.0004",
                      "futuresPrice": "34414.10", "annualizedBasisRate": "", "basis": "13.94", "pair": "BTCUSDT",
                      "timestamp": 1698742800000}]),
    (USDM, "exchangeInfo", {"timezone": "UTC", "serverTime": 1, "futuresType": "U_MARGINED",
                            "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
                                            "limit": 2400}],
                            "exchangeFilters": [], "symbols": [FUTURES_SYMBOL]}),
]  # fmt: skip


@pytest.mark.parametrize(("market", "name", "reply"), REPLIES)
def test_replies_round_trip(market: Market, name: str, reply: Any) -> None:
    endpoint = ENDPOINTS[market, name]
    decoded = decode_reply(endpoint, 200, json.dumps(reply).encode())
    assert json.loads(encode_reply(decoded)) == reply


def test_replies_say_what_they_mean() -> None:
    info = decode_reply(ENDPOINTS[USDM, "exchangeInfo"], 200, json.dumps(REPLIES[-1][2]).encode())
    assert isinstance(info, ExchangeInfo)
    lot = info.symbols[0].find_filter("LOT_SIZE")
    assert lot is not None
    assert (lot.step, info.symbols[0].find_filter("NONE")) == ("0.001", None)
    [bar] = decode_reply(ENDPOINTS[USDM, "klines"], 200, json.dumps([KLINE]).encode())
    assert isinstance(bar, KlineRow)
    assert (bar.close_px, bar.ts_close_ms, bar.trades) == ("1.5", 899999, 100)
    [old] = decode_reply(
        ENDPOINTS[USDM, "fundingRate"], 200, b'[{"symbol":"A","fundingTime":1,"fundingRate":"0.1","new":[]}]'
    )
    assert isinstance(old, FundingRateRow)


@needs_shared
@pytest.mark.parametrize(("name", "market", "count"), [(BTC, USDM, 1000), (SPOT, SPOT_MARKET, 1000)])
def test_captured_snapshots_are_depth_replies(name: str, market: Market, count: int) -> None:
    [line] = [line for _, line in read_lines(name) if line.startswith(b'{"lastUpdateId"')]
    snapshot = decode_reply(ENDPOINTS[market, "depth"], 200, line)
    assert isinstance(snapshot, BookSnapshotText)
    assert json.loads(encode_reply(snapshot)) == json.loads(line)
    assert len(snapshot.bids) >= count
    assert snapshot.to_snapshot().bids == SlowBook(snapshot).levels()[0]


NOT_SENT = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."
REFUSALS = [
    (USDM, "/fapi/v1/depth", 400, -1102, NOT_SENT.format("symbol")),
    (USDM, "/fapi/v1/depth?symbol=", 400, -1102, NOT_SENT.format("symbol")),
    (USDM, "/fapi/v1/depth?symbol=NONE", 400, -1121, "Invalid symbol."),
    (USDM, "/fapi/v1/depth?symbol=btcusdt", 400, -1121, "Invalid symbol."),
    (USDM, "/fapi/v1/depth?symbol=BTCUSDT&limit=400", 400, -4021, "400 is not valid depth limit"),
    (USDM, "/fapi/v1/depth?symbol=BTCUSDT&limit=5000", 400, -4021, "5000 is not valid depth limit"),
    (USDM, "/fapi/v1/klines?symbol=BTCUSDT", 400, -1102, NOT_SENT.format("interval")),
    (USDM, "/fapi/v1/klines?symbol=BTCUSDT&interval=7m", 400, -1120, "Invalid interval."),
    (USDM, "/fapi/v1/klines?symbol=BTCUSDT&interval=15m&limit=1501", 400, -1130,
     "Data sent for parameter 'limit' is not valid."),
    (USDM, "/fapi/v1/klines?symbol=BTCUSDT&interval=15m&startTime=x", 400, -1102, NOT_SENT.format("startTime")),
    (USDM, "/fapi/v1/klines?symbol=BTCUSDT&interval=15m&startTime=2&endTime=1", 400, -1023,
     "Start time is greater than end time."),
    (USDM, "/fapi/v1/aggTrades?symbol=BTCUSDT&startTime=0&endTime=3600001", 400, -1127,
     "More than 1 hours between startTime and endTime."),
    (USDM, "/fapi/v1/aggTrades?symbol=BTCUSDT&fromId=1&startTime=0", 400, -1128,
     "Combination of optional parameters invalid."),
    (USDM, "/fapi/v1/fundingRate?limit=1001", 400, -1130, "Data sent for parameter 'limit' is not valid."),
    (USDM, "/futures/data/openInterestHist?symbol=BTCUSDT&period=7m", 400, -1130, "parameter 'period' is invalid."),
    (USDM, "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m&startTime=1", 400, -1130,
     "parameter 'startTime' is invalid."),
    (USDM, "/fapi/v1/rpiDepth?symbol=BTCUSDT&limit=5", 400, -4021, "5 is not valid depth limit"),
    (USDM, "/fapi/v1/historicalTrades?symbol=BTCUSDT", 401, -2014, "API-key format invalid."),
    (SPOT_MARKET, "/api/v3/ticker", 400, -1128, "Combination of optional parameters invalid."),
    (SPOT_MARKET, "/api/v3/depth?symbol=BTCUSDT&depth=5", 400, -1104,
     "Not all sent parameters were read; read '1' parameter(s) but was sent '2'."),
    (SPOT_MARKET, "/api/v3/ticker?symbol=BTCUSDT&windowSize=90m", 400, -1130,
     "Data sent for parameter 'windowSize' is not valid."),
    (USDM, "/fapi/v1/nothing", 404, -5000, "Path /fapi/v1/nothing, Method GET is invalid"),
    (USDM, "/fapi/v1/depth?symbol=BTCUSDT&symbol=ETHUSDT", 400, -1101, "Duplicate values for a parameter detected."),
    (SPOT_MARKET, "/api/v3/depth?symbol=btcusdt", 400, -1100,
     "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'."),
    (SPOT_MARKET, "/api/v3/depth?symbol=NONE", 400, -1121, "Invalid symbol."),
    (SPOT_MARKET, "/api/v3/klines?symbol=BTCUSDT&interval=1m&endTime=None", 400, -1100,
     "Illegal characters found in parameter 'endTime'; legal range is '^[0-9]{1,20}$'."),
    (SPOT_MARKET, "/fapi/v1/depth?symbol=BTCUSDT", 404, 0, "<html><body><h2>404 Not found</h2></body></html>"),
]  # fmt: skip


@pytest.mark.parametrize(("market", "target", "status", "code", "msg"), REFUSALS)
def test_refusals_in_the_venues_words(market: Market, target: str, status: int, code: int, msg: str) -> None:
    refusal = parse_request(market, "GET", target, SYMBOLS, 31 * DAY_MS)
    assert refusal == RestRefusal(status, code, msg)
    assert isinstance(refusal, RestRefusal)
    assert decode_reply(ENDPOINTS[market, "depth"], status, refusal.body) == refusal


@pytest.mark.parametrize(
    ("market", "name", "values", "weight"),
    [
        (USDM, "depth", {"limit": 5}, 2), (USDM, "depth", {"limit": 50}, 2), (USDM, "depth", {"limit": 100}, 5),
        (USDM, "depth", {"limit": 500}, 10), (USDM, "depth", {}, 10), (USDM, "depth", {"limit": 1000}, 20),
        (USDM, "klines", {"interval": "15m", "limit": 99}, 1), (USDM, "klines", {"interval": "15m", "limit": 100}, 2),
        (USDM, "klines", {"interval": "15m"}, 5), (USDM, "klines", {"interval": "1h", "limit": 1500}, 10),
        (USDM, "aggTrades", {}, 20), (USDM, "trades", {}, 5), (USDM, "premiumIndex", {}, 1),
        (USDM, "openInterest", {}, 1), (SPOT_MARKET, "depth", {}, 5), (SPOT_MARKET, "depth", {"limit": 5000}, 250),
        (USDM, "ticker24hr", {}, 1), (USDM, "markPriceKlines", {"interval": "1h", "limit": 1500}, 10),
        (SPOT_MARKET, "klines", {"interval": "1s"}, 2), (SPOT_MARKET, "aggTrades", {}, 4),
    ],
)  # fmt: skip
def test_requests_are_read_back_and_weighed(
    market: Market, name: str, values: dict[str, str | int], weight: int
) -> None:
    request = make_request(market, name, symbol="BTCUSDT", **values)
    parsed = parse_request(market, "GET", request.target, SYMBOLS)
    assert isinstance(parsed, RestRequest)
    assert request.values.items() <= parsed.values.items()
    assert (request.weight, parsed.weight) == (weight, weight)


def test_limits_have_defaults_and_spot_clamps() -> None:
    parsed = parse_request(SPOT_MARKET, "GET", "/api/v3/depth?symbol=BTCUSDT&limit=9999")
    assert isinstance(parsed, RestRequest)
    assert parsed.values["limit"] == 5000
    every = parse_request(USDM, "GET", "/fapi/v1/premiumIndex")
    assert isinstance(every, RestRequest)
    assert (every.values, every.weight) == ({}, 10)
    assert parse_request(USDM, "POST", "/fapi/v1/time") == RestRefusal(
        404, -5000, "Path /fapi/v1/time, Method POST is invalid"
    )


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [("nothing", {}, "has no endpoint"), ("depth", {"levels": 5}, "takes no 'levels'"),
     ("depth", {"symbol": "BTCUSDT", "limit": 7}, "would be refused: -4021"), ("ping", {"x": 1}, "takes nothing")],
)  # fmt: skip
def test_clients_do_not_send_what_would_be_refused(name: str, values: dict[str, str | int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_request(USDM, name, **values)


def test_refusals_are_told_apart() -> None:
    depth = ENDPOINTS[USDM, "depth"]
    limited = decode_reply(depth, 429, b'{"code":-1003,"msg":"Too many requests"}', "17")
    assert (limited.is_rate_limit, limited.retry_after_s, limited.is_outcome_unknown) == (True, 17, False)
    assert decode_reply(depth, 418, b"", "x" * 99).is_rate_limit
    assert decode_reply(depth, 403, b"<html>WAF \xff</html>").msg.startswith("<html>WAF")
    assert TIMED_OUT.is_outcome_unknown
    assert decode_reply(depth, 503, UNKNOWN_ERROR.body).is_outcome_unknown


@given(st.binary(max_size=120), st.sampled_from(sorted(ENDPOINTS)), st.sampled_from([200, 400, 429, 503]))
def test_random_replies_never_crash(body: bytes, key: tuple[Market, str], status: int) -> None:
    for content in (body, b"[" + body + b"]", b'{"code":' + body + b',"msg":""}'):
        try:
            decode_reply(ENDPOINTS[key], status, content, body.decode("latin-1"))
        except MalformedMessageError:
            assert status == 200


@given(st.text(max_size=60), st.sampled_from(sorted(ENDPOINTS)))
def test_random_targets_never_crash(text: str, key: tuple[Market, str]) -> None:
    endpoint = ENDPOINTS[key]
    targets = [text, endpoint.path + "?" + text]
    targets += [f"{endpoint.path}?symbol=BTCUSDT&{parameter.name}={text}" for parameter in endpoint.parameters]
    for target in targets:
        answer = parse_request(key[0], "GET", target, SYMBOLS, 0)
        assert isinstance(answer, RestRequest | RestRefusal)


@pytest.mark.parametrize("market", list(Market))
def test_the_venue_counts_refuses_and_bans(market: Market) -> None:
    limiter = VenueLimiter(market, strikes_max=2)
    request = make_request(market, "depth", symbol="BTCUSDT", limit=1000)
    start_ns = 100 * MINUTE_NS + 15 * NS_PER_S
    allowed = WEIGHT_MAX[market] // request.weight
    for count in range(allowed):
        admission = limiter.admit("a", request, start_ns)
        assert admission.refusal is None
        assert admission.headers[USED_WEIGHT_HEADER] == str((count + 1) * request.weight)
    for _ in range(2):
        admission = limiter.admit("a", request, start_ns)
        assert admission.refusal is not None
        assert (admission.refusal.status, admission.refusal.code, admission.headers["Retry-After"]) == (
            429,
            -1003,
            "45",
        )
    for _ in range(3):
        admission = limiter.admit("a", request, start_ns)
        assert admission.refusal is not None
        assert (admission.refusal.status, admission.refusal.retry_after_s) == (418, 120)
    assert f"IP banned until {(start_ns + BAN_FIRST_NS) // 1_000_000}." in admission.refusal.msg
    assert limiter.admit("b", request, start_ns).refusal is None
    assert limiter.admit("a", None, start_ns + BAN_FIRST_NS).headers[USED_WEIGHT_HEADER] == "1"


def test_funding_and_statistics_have_pools_of_their_own() -> None:
    limiter, budget = VenueLimiter(USDM), ClientBudget(USDM)
    request = make_request(USDM, "fundingRate", symbol="BTCUSDT")
    refused = [limiter.admit("a", request, 7).refusal is not None for _ in range(501)]
    assert (refused.count(True), refused[-1]) == (1, True)
    waits_ns = [budget.reserve_ns(request, 7) for _ in range(251)]
    assert (max(waits_ns[:-1]), waits_ns[-1]) == (0, 5 * MINUTE_NS - 7)
    assert limiter.admit("a", request, 5 * MINUTE_NS).refusal is None


@given(st.lists(st.integers(0, 3 * NS_PER_S), min_size=150, max_size=300))
def test_a_client_with_a_budget_is_never_refused(gaps_ns: list[int]) -> None:
    limiter, budget, now_ns = VenueLimiter(USDM), ClientBudget(USDM, 0.9), 0
    request = make_request(USDM, "depth", symbol="BTCUSDT", limit=1000)
    for gap_ns in gaps_ns:
        now_ns += gap_ns // 40
        wait_ns = budget.reserve_ns(request, now_ns)
        if wait_ns:
            now_ns += wait_ns
            assert budget.reserve_ns(request, now_ns) == 0
        admission = limiter.admit("a", request, now_ns)
        assert admission.refusal is None
        budget.note_headers(admission.headers, now_ns)


def test_a_client_believes_the_venue() -> None:
    budget = ClientBudget(USDM)
    request = make_request(USDM, "depth", symbol="BTCUSDT", limit=1000)
    budget.note_headers({"x-mbx-used-weight-1m": "1190", "Other": "x"}, 0)  # someone else on this address
    assert budget.reserve_ns(request, 0) == MINUTE_NS
    assert budget.reserve_ns(request, MINUTE_NS) == 0
    budget.note_refusal(RestRefusal(429, -1003, "", 30), MINUTE_NS)
    assert budget.reserve_ns(request, MINUTE_NS) == 30 * NS_PER_S
    budget.note_refusal(RestRefusal(418, 0, ""), MINUTE_NS)
    assert budget.reserve_ns(request, MINUTE_NS) == MINUTE_NS
    budget.note_refusal(RestRefusal(400, -1121, "Invalid symbol."), MINUTE_NS)
    assert budget.reserve_ns(request, 2 * MINUTE_NS) == 0
