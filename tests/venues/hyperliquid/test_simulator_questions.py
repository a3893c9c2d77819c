"""What clients written by others ask, by POST and by subscription: everything is answered, in the venue's shapes."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests as http
from websocket import WebSocket, create_connection

from tests.venues.hyperliquid.conftest import Venue, run_venue, wait_for
from tests.venues.hyperliquid.test_simulator import GTC, IOC, statuses
from venues.hyperliquid.info_requests import REQUESTS
from venues.hyperliquid.subscriptions import SUBSCRIPTIONS

WAIT_S = 30


@pytest.fixture(scope="module")
def shared() -> Iterator[Venue]:
    with run_venue() as running:
        yield running


def ask(venue: Venue, kind: str, **fields: Any) -> Any:
    reply = http.post(venue.addresses["http"] + "/info", json={"type": kind, **fields}, timeout=WAIT_S)
    assert reply.status_code == 200, (kind, reply.status_code, reply.text)
    return reply.json()


@contextlib.contextmanager
def listening(venue: Venue, *wanted: dict[str, Any]) -> Iterator[WebSocket]:
    with contextlib.closing(create_connection(venue.addresses["ws"], timeout=WAIT_S)) as socket:
        for one in wanted:
            socket.send(json.dumps({"method": "subscribe", "subscription": one}))
        yield socket


def hear(socket: WebSocket, channel: str) -> Any:
    """Return the data of the next frame of a channel."""
    for _ in range(10_000):
        frame = json.loads(socket.recv())
        if frame["channel"] == channel:
            return frame["data"]
        assert frame["channel"] != "error", frame
    raise AssertionError(f"nothing on {channel}")


def test_every_kind_of_question_is_answered(shared: Venue) -> None:
    user = shared.wallets[0].address
    now_ms = ask(shared, "exchangeStatus")["time"]
    fields = {
        "coin": "BTC", "user": user, "startTime": now_ms - 7_200_000, "oid": 7, "builder": user, "source": user,
        "vaultAddress": user, "id": 40, "tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054", "token": 0,
        "req": {"coin": "BTC", "interval": "1m", "startTime": now_ms - 600_000, "endTime": now_ms},
    }  # fmt: skip
    answers = {kind: ask(shared, kind, **fields) for kind in REQUESTS}
    assert {kind for kind, answer in answers.items() if answer is None} == {
        "vaultDetails", "userToMultiSigSigners", "perpDexLimits", "perpAnnotation", "alignedQuoteTokenInfo",
        "subAccounts", "subAccounts2",
    }  # fmt: skip
    meta = answers["meta"]
    assert meta["collateralToken"] == 0
    assert {info["marginTableId"] for info in meta["universe"]} == {table_id for table_id, _ in meta["marginTables"]}
    assert answers["marginTable"] == dict(map(tuple, meta["marginTables"]))[40]
    assert answers["allPerpMetas"] == [meta]
    assert answers["perpDexs"] == [None]
    assert answers["orderStatus"] == {"status": "unknownOid"}
    assert answers["referral"]["referrerState"]["stage"] == "needToTrade"
    assert answers["delegatorSummary"]["nPendingWithdrawals"] == 0
    assert answers["tokenDetails"]["name"] == "USDC"
    assert answers["spotDeployState"]["gasAuction"] == answers["perpDeployAuctionStatus"]
    assert answers["preTransferCheck"]["userExists"] is True
    assert float(answers["userFees"]["feeSchedule"]["cross"]) == float(answers["userFees"]["userCrossRate"])
    assert [len(part) for part in answers["predictedFundings"]] == [2, 2]
    assert answers["candleSnapshot"][0]["s"] == "BTC"
    site = answers["webData2"]
    assert site["user"] == user.lower()
    assert site["meta"] == meta
    assert len(site["assetCtxs"]) == 2


def test_who_is_not_known_gets_empty_shapes(shared: Venue) -> None:
    nobody = "0x" + "9" * 40
    state = ask(shared, "clearinghouseState", user=nobody)
    assert state["assetPositions"] == []
    assert state["marginSummary"]["accountValue"] == "0.0"
    assert ask(shared, "userFills", user=nobody) == ask(shared, "openOrders", user=nobody) == []
    assert ask(shared, "userRole", user=nobody) == {"role": "missing"}
    assert ask(shared, "preTransferCheck", user=nobody, source=nobody)["userExists"] is False
    assert ask(shared, "webData2", user=nobody)["cumLedger"] == "0.0"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"type": "solarFlares"}, 422),
        ({"type": "vaultDetails"}, 422),
        ({"type": "metaAndAssetCtxs", "dex": "nope"}, 500),
        ({"type": "marginTable", "id": 999}, 500),
        ({"type": "tokenDetails", "tokenId": "0x12"}, 500),
        ({"type": "candleSnapshot", "req": {"coin": "BTC", "interval": "7m", "startTime": 0}}, 422),
    ],
)
def test_what_is_not_known_is_refused_as_by_the_venue(shared: Venue, body: dict[str, Any], status: int) -> None:
    assert http.post(shared.addresses["http"] + "/info", json=body, timeout=WAIT_S).status_code == status


def test_long_candles_are_merged_from_short_ones(shared: Venue) -> None:
    now_ms = ask(shared, "exchangeStatus")["time"]
    for interval, span_ms in (("3d", 3 * 86_400_000), ("1w", 7 * 86_400_000)):
        req = {"coin": "BTC", "interval": interval, "startTime": now_ms - span_ms, "endTime": now_ms}
        (candle,) = ask(shared, "candleSnapshot", req=req)
        assert candle["T"] - candle["t"] == span_ms - 1
        assert candle["t"] <= now_ms <= candle["T"]


def test_fills_of_one_crossing_order_are_joined_where_asked(shared: Venue) -> None:
    exchange = shared.exchange(0)
    user = exchange.wallet.address
    best = shared.call(lambda: shared.simulator.world.market.get_book("BTC-PERP.HYPERLIQUID", 6).asks)
    size = sum(level.qty_lots for level in best) + 1  # the book moves on, yet no level holds so much
    statuses(exchange.order("BTC", True, round(size * 1e-5, 5), 65_000.0, IOC))
    apart = wait_for(lambda: ask(shared, "userFills", user=user), "fills")
    (joined,) = ask(shared, "userFills", user=user, aggregateByTime=True)
    assert len(apart) > 1
    assert float(joined["sz"]) == pytest.approx(sum(float(fill["sz"]) for fill in apart), abs=1e-9)
    notional = sum(float(fill["sz"]) * float(fill["px"]) for fill in apart)
    assert float(joined["sz"]) * float(joined["px"]) == pytest.approx(notional, rel=1e-9)
    assert float(joined["fee"]) == pytest.approx(sum(float(fill["fee"]) for fill in apart), abs=1e-9)
    fields = {"user": user, "startTime": joined["time"]}
    assert ask(shared, "userFillsByTime", **fields, aggregateByTime=True) == [joined]
    assert ask(shared, "userFillsByTime", **fields, reversed=True) == apart
    exchange.market_close("BTC")


def test_every_state_is_told_and_follows_the_account(shared: Venue) -> None:
    exchange = shared.exchange(1)
    user = exchange.wallet.address.lower()
    states = ("clearinghouseState", "openOrders", "webData2", "allDexsClearinghouseState", "userHistoricalOrders")
    with listening(shared, *({"type": kind, "user": user} for kind in states)) as socket:
        first = hear(socket, "clearinghouseState")
        assert (first["dex"], first["user"], first["clearinghouseState"]["assetPositions"]) == ("", user, [])
        assert hear(socket, "userHistoricalOrders") == {"isSnapshot": True, "user": user, "orderHistory": []}
        oid = statuses(exchange.order("BTC", True, 0.01, 50_000.0, GTC))[0]["resting"]["oid"]
        statuses(exchange.order("BTC", True, 0.01, 65_000.0, IOC))
        seen: dict[str, Any] = {}

        def is_told() -> bool:
            frame = json.loads(socket.recv())
            seen[frame["channel"]] = frame["data"]
            assert frame["channel"] != "error", frame
            return (
                seen["clearinghouseState"]["clearinghouseState"]["assetPositions"]
                and [row["oid"] for row in seen["openOrders"]["orders"]] == [oid]
                and [row["oid"] for row in seen["webData2"]["openOrders"]] == [oid]
                and seen["allDexsClearinghouseState"]["clearinghouseStates"][0][1]["assetPositions"]
            )

        seen = {"clearinghouseState": first, "openOrders": {"orders": []}, "webData2": {"openOrders": []}}
        seen["allDexsClearinghouseState"] = {"clearinghouseStates": [["", {"assetPositions": []}]]}
        wait_for(is_told, "the states")
    with listening(shared, {"type": "userHistoricalOrders", "user": user}) as socket:
        history = hear(socket, "userHistoricalOrders")["orderHistory"]
        assert {row["status"] for row in history} == {"open", "filled"}
        exchange.cancel("BTC", oid)
        (row,) = hear(socket, "userHistoricalOrders")["orderHistory"]
        assert (row["order"]["oid"], row["status"]) == (oid, "canceled")
    exchange.market_close("BTC")


def test_every_kind_of_subscription_is_taken_and_told(shared: Venue) -> None:
    user = shared.wallets[2].address.lower()
    silent = {"notification", "userEvents", "orderUpdates"}  # nothing happens
    told = {"userTwapHistory": "history", "userTwapSliceFills": "twapSliceFills", "twapStates": "states"}
    fields = {"coin": "BTC", "user": user, "interval": "1m"}
    for kind in SUBSCRIPTIONS:
        with listening(shared, {"type": kind, **fields}) as socket:
            acknowledged = hear(socket, "subscriptionResponse")["subscription"]
            assert acknowledged["type"] == kind
            if kind in silent:
                continue
            data = hear(socket, kind)
            if kind in told:
                assert (data["user"], data[told[kind]]) == (user, [])
            if kind == "webData3":
                assert data["userState"]["user"] == user
            if kind in ("assetCtxs", "allDexsAssetCtxs"):
                ctxs = data["ctxs"] if kind == "assetCtxs" else data["ctxs"][0][1]
                assert [set(ctx) >= {"markPx", "oraclePx", "funding"} for ctx in ctxs] == [True, True]


def test_defaults_are_said_back(shared: Venue) -> None:
    user = shared.wallets[2].address.lower()
    expected = {
        "clearinghouseState": {"dex": ""}, "openOrders": {"dex": ""}, "spotState": {"ignorePortfolioMargin": False},
        "twapStates": {"dex": ""}, "webData3": {},
    }  # fmt: skip
    for kind, defaults in expected.items():
        with listening(shared, {"type": kind, "user": user}) as socket:
            assert hear(socket, "subscriptionResponse")["subscription"] == {"type": kind, "user": user, **defaults}
