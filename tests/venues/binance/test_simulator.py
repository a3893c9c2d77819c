"""The Binance simulator over real sockets: books, candles, paths, limits, faults, the life of a connection."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from msgspec import UNSET

from market.records import NS_PER_S
from tests.venues.binance.conftest import BTC_ID, DEADLINE_S, BookFollower, run_venue, wait_until
from venues.binance.book_sync import Resubscribe, SyncSettings
from venues.binance.messages import (
    AggTrade,
    BookSnapshotText,
    BookTicker,
    DepthUpdate,
    Kline,
    MarkPrice,
    Trade,
    UnknownMessage,
    decode_message,
)
from venues.binance.rest import RestRefusal
from venues.binance.streams import Market
from venues.book_feed import LostReason

HOUR_NS = 3600 * NS_PER_S


async def receive(wire: Any) -> Any:
    return await asyncio.wait_for(wire.receive(), DEADLINE_S)


async def collect(wire: Any, kind: type, count: int) -> list[Any]:
    """Return the next `count` messages of a kind."""
    found: list[Any] = []
    while len(found) < count:
        frame = await receive(wire)
        assert frame.type is aiohttp.WSMsgType.TEXT, frame
        data = decode_message(frame.data.encode()).data
        found += [data] if isinstance(data, kind) else []
    return found


@pytest.mark.parametrize("kind", [Market.USDM, Market.SPOT])
def test_a_synchronised_book_is_the_markets_own(kind: Market) -> None:
    async def play() -> None:
        async with run_venue(speed=3.0) as venue, BookFollower(venue, kind) as follower:
            await wait_until(lambda: follower.compared >= 10, "ten books compared")
            assert not follower.lost
            assert follower.machine.is_ready

    asyncio.run(play())


def test_futures_ids_jump_so_that_the_spot_rule_fails() -> None:
    async def play() -> None:
        async with run_venue(speed=3.0) as venue, venue.connect("/public/ws/btcusdt@depth@100ms") as wire:
            updates = await collect(wire, DepthUpdate, 10)
            for before, update in pairwise(updates):
                assert update.previous_id == before.last_id
                assert update.first_id != before.last_id + 1

    asyncio.run(play())


def test_a_dropped_depth_message_leads_to_a_resync_and_the_same_book() -> None:
    async def play() -> None:
        async with run_venue(speed=3.0) as venue, BookFollower(venue) as follower:
            await wait_until(lambda: follower.compared >= 2, "ready")
            async with venue.http.post(
                venue.addresses["control"], json={"on": {"fault": "message_drop", "on": "depth", "next_n": 1}}
            ) as reply:
                assert reply.status == 200
            await wait_until(lambda: bool(follower.lost), "the gap is noticed")
            assert [lost.reason for lost in follower.lost] == [LostReason.GAP]
            compared = follower.compared
            await wait_until(lambda: follower.compared >= compared + 5, "the book is right again")
            assert len(follower.lost) == 1

    asyncio.run(play())


@pytest.mark.parametrize(
    ("fault", "settings", "reason"),
    [
        ("book_crossed", {}, LostReason.CROSSED),
        ("book_stale", {}, LostReason.REPEATED),
        ("message_duplicate", {}, LostReason.REPEATED),
        ("message_reorder", {"behind": 1000}, LostReason.GAP),  # held for a second
    ],
)
def test_a_spoilt_book_message_is_noticed(fault: str, settings: dict[str, int], reason: LostReason) -> None:
    async def play() -> None:
        async with run_venue(speed=3.0) as venue, BookFollower(venue) as follower:
            await wait_until(lambda: follower.compared >= 2, "ready")
            venue.board.apply({"on": {"fault": fault, "on": "depth", "next_n": 1, **settings}}, venue.clock())
            await wait_until(lambda: bool(follower.lost), "it is noticed")
            assert follower.lost[0].reason is reason
            compared = follower.compared
            await wait_until(lambda: follower.compared >= compared + 3, "the book is right again")

    asyncio.run(play())


def test_a_frozen_but_connected_socket_is_noticed_by_the_age_of_its_data() -> None:
    async def play() -> None:
        settings = SyncSettings(stale_ns=2 * NS_PER_S, frozen_ns=60 * NS_PER_S)
        async with run_venue(speed=3.0) as venue, BookFollower(venue, settings=settings) as follower:
            await wait_until(lambda: follower.compared >= 2, "ready")
            venue.board.apply({"on": {"fault": "half_open"}}, venue.clock())
            await wait_until(lambda: bool(follower.lost), "the silence is noticed")
            assert follower.lost[0].reason is LostReason.STALE
            await wait_until(lambda: any(isinstance(done, Resubscribe) for done in follower.done), "it knocks")
            await wait_until(lambda: follower.age.compute_ns(venue.clock()) >= settings.stale_ns, "the age shows it")
            assert not follower._wire.closed

    asyncio.run(play())


def test_candles_by_rest_are_those_of_the_trades_seen() -> None:
    async def play() -> None:
        async with run_venue(speed=40.0) as venue:
            path = "/market/stream?streams=btcusdt@aggTrade/btcusdt@kline_1m"
            async with venue.connect(path) as wire, venue.connect("/public/ws/btcusdt@trade") as tape:
                trades: list[AggTrade] = []
                finals: list[Kline] = []
                while len(finals) < 3 or trades[-1].ts_trade_ms <= finals[2].bar.ts_close_ms:
                    data = decode_message((await receive(wire)).data.encode()).data
                    if isinstance(data, AggTrade):
                        trades.append(data)
                    elif isinstance(data, Kline) and data.bar.is_closed:
                        finals.append(data)
                assert (await collect(tape, Trade, 1))[0].symbol == "BTCUSDT"
            start_ms = finals[1].bar.ts_open_ms
            rows = await venue.ask(Market.USDM, "klines", symbol="BTCUSDT", interval="1m", startTime=start_ms, limit=2)
            assert [row.ts_open_ms for row in rows] == [final.bar.ts_open_ms for final in finals[1:3]]
            for row, final in zip(rows, finals[1:3], strict=True):
                seen = [trade for trade in trades if row.ts_open_ms <= trade.ts_trade_ms <= row.ts_close_ms]
                pxs = [float(trade.px) for trade in seen]
                assert (float(row.open_px), float(row.high_px)) == (pxs[0], max(pxs))
                assert (float(row.low_px), float(row.close_px)) == (min(pxs), pxs[-1])
                lots = sum(round(float(trade.qty) * 1000) for trade in seen)
                bought = sum(round(float(trade.qty) * 1000) for trade in seen if not trade.is_buyer_maker)
                assert (row.volume_base, row.taker_buy_base) == (f"{lots / 1000:.3f}", f"{bought / 1000:.3f}")
                assert row.trades == sum(trade.last_id - trade.first_id + 1 for trade in seen)
                assert row.trades == final.bar.last_id - final.bar.first_id + 1
                assert (final.bar.first_id, final.bar.last_id) == (seen[0].first_id, seen[-1].last_id)
                assert (final.bar.close_px, final.bar.volume_quote) == (row.close_px, row.volume_quote)
            by_rest = await venue.ask(Market.USDM, "aggTrades", symbol="BTCUSDT", fromId=trades[0].trade_id, limit=50)
            assert [(row.trade_id, row.px, row.qty) for row in by_rest] == [
                (trade.trade_id, trade.px, trade.qty) for trade in trades[:50]
            ]

    asyncio.run(play())


@pytest.mark.parametrize("path", ["/public/ws", "/ws", "/private/ws?listenKey=x"])
def test_a_wrong_path_is_acknowledged_then_silent(path: str) -> None:
    async def play() -> None:
        async with run_venue(speed=3.0) as venue, venue.connect(path) as wire, venue.connect("/market/ws/1") as right:
            for socket in (wire, right):
                await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@markPrice@1s"], "id": 1})
                assert json.loads((await receive(socket)).data) == {"result": None, "id": 1}
            marks = await collect(right, MarkPrice, 5)
            assert [mark.ts_event_ms // 1000 for mark in marks] == [marks[0].ts_event_ms // 1000 + n for n in range(5)]
            await wire.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
            frame = json.loads((await receive(wire)).data)  # the very next frame: nothing came in between
            assert frame == {"result": ["btcusdt@markPrice@1s"], "id": 2}

    asyncio.run(play())


def test_a_legacy_socket_brings_books_and_partial_books() -> None:
    async def play() -> None:
        async with run_venue(speed=3.0) as venue:
            async with venue.connect("/ws/btcusdt@depth5@100ms") as wire:
                update = (await collect(wire, DepthUpdate, 1))[0]
                assert (len(update.bids), len(update.asks)) == (5, 5)
            async with venue.connect("/ws/btcusdt@depth5@100ms", "spot_ws") as wire:
                assert len((await collect(wire, BookSnapshotText, 1))[0].bids) == 5
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await venue.connect("/nowhere")

    asyncio.run(play())


def test_limits_count_refuse_and_ban() -> None:
    async def play() -> None:
        async with run_venue(strikes_max=2) as venue:
            url = venue.addresses["http"] + "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
            async with venue.http.get(url) as reply:
                assert (reply.status, reply.headers["X-MBX-USED-WEIGHT-1M"]) == (200, "20")
            venue.board.apply({"on": {"fault": "request_cap", "requests": 40}}, venue.clock())
            statuses = []
            for _ in range(6):
                async with venue.http.get(url) as reply:
                    statuses.append(reply.status)
                    refused = await reply.json()
            assert statuses == [200, 200, 429, 429, 418, 418]
            assert refused["code"] == -1003
            assert int(reply.headers["Retry-After"]) > 100
            venue.clock.skip(130 * NS_PER_S)
            venue.board.apply({"off": "all", "on": {"fault": "http_status_before", "on": "depth", "status": 429}}, 0)
            refusal = await venue.ask(Market.USDM, "depth", symbol="BTCUSDT", limit=5)
            assert (refusal.status, refusal.retry_after_s) == (429, 1)

    asyncio.run(play())


def test_rest_answers_every_endpoint_with_plausible_records() -> None:
    async def play() -> None:
        async with run_venue(speed=20.0) as venue:
            await wait_until(lambda: len(venue.market.list_trades(BTC_ID)) > 10, "trades")
            info = await venue.ask(Market.USDM, "exchangeInfo")
            btc = info.symbols[0]
            assert (btc.symbol, btc.contract_type, btc.find_filter("PRICE_FILTER").tick) == (
                "BTCUSDT", "PERPETUAL", "0.10",
            )  # fmt: skip
            assert (await venue.ask(Market.SPOT, "exchangeInfo", symbol="BTCUSDT")).symbols[0].is_spot_trading
            for kind in Market:
                assert abs((await venue.ask(kind, "time")).ts_server_ms - venue.clock() // 10**6) < 1_200_000
                assert await venue.ask(kind, "ping") is not None
                assert len(await venue.ask(kind, "trades", symbol="BTCUSDT", limit=5)) == 5
                rows = await venue.ask(kind, "klines", symbol="BTCUSDT", interval="15m", startTime=0, limit=3)
                assert rows[1].ts_open_ms - rows[0].ts_open_ms == 900_000
                assert len(await venue.ask(kind, "klines", symbol="BTCUSDT", interval="1m", limit=20)) == 20
            premium = await venue.ask(Market.USDM, "premiumIndex", symbol="BTCUSDT")
            assert float(premium.mark_px) == pytest.approx(float(premium.index_px), rel=0.01)
            assert isinstance(await venue.ask(Market.USDM, "premiumIndex"), tuple)
            assert isinstance(await venue.ask(Market.USDM, "fundingRate", symbol="BTCUSDT"), tuple)
            assert await venue.ask(Market.USDM, "fundingInfo") == ()
            assert float((await venue.ask(Market.USDM, "openInterest", symbol="BTCUSDT")).open_interest) >= 0
            past = await venue.ask(Market.USDM, "openInterestHist", symbol="BTCUSDT", period="5m")
            assert past[0].ts_event_ms % 300_000 == 0
            async with venue.http.get(venue.addresses["http"] + "/fapi/v1/klines?symbol=XXX&interval=1m") as reply:
                assert (reply.status, await reply.json()) == (400, {"code": -1121, "msg": "Invalid symbol."})
            async with venue.http.get(venue.addresses["http"] + "/fapi/v1/nothing") as reply:
                assert (reply.status, (await reply.json())["code"]) == (404, -5000)

    asyncio.run(play())


def test_replies_are_lost_delayed_and_swallowed() -> None:
    async def play() -> None:
        async with run_venue() as venue:
            for fault in ("reply_lost", "request_blackhole"):
                venue.board.apply({"on": {"fault": fault, "on": "time"}, "off": "all"}, venue.clock())
                with pytest.raises((aiohttp.ClientError, TimeoutError)):
                    await asyncio.wait_for(venue.ask(Market.USDM, "time"), 0.3)
            venue.board.apply(
                {"on": {"fault": "http_status_after", "on": "time", "next_n": 1}, "off": "all"}, venue.clock()
            )
            refusal = await venue.ask(Market.USDM, "time")
            assert isinstance(refusal, RestRefusal)
            assert refusal.is_outcome_unknown
            before_ms = (await venue.ask(Market.USDM, "time")).ts_server_ms
            venue.board.apply({"on": {"fault": "clock_skew", "skew_ms": 3_600_000}}, venue.clock())
            assert (await venue.ask(Market.USDM, "time")).ts_server_ms - before_ms >= 3_600_000

    asyncio.run(play())


def test_pings_come_and_a_day_ends_the_connection() -> None:
    async def play() -> None:
        async with run_venue(block_ms=10_000, bar_s=3600) as venue:
            url = venue.addresses["ws"] + "/public/ws/btcusdt@bookTicker"
            async with venue.http.ws_connect(url, autoping=False) as wire:
                venue.clock.skip(181 * NS_PER_S)
                while (frame := await receive(wire)).type is not aiohttp.WSMsgType.PING:
                    assert frame.type is aiohttp.WSMsgType.TEXT
                await wire.pong(frame.data)
                venue.clock.skip(24 * HOUR_NS)
                while (frame := await receive(wire)).type is aiohttp.WSMsgType.TEXT:
                    pass
                assert (frame.type, frame.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            async with venue.http.ws_connect(url, autoping=False) as wire:
                venue.clock.skip(181 * NS_PER_S)
                while (await receive(wire)).type is not aiohttp.WSMsgType.PING:
                    pass
                venue.clock.skip(601 * NS_PER_S)  # its pong is overdue
                while (frame := await receive(wire)).type is not aiohttp.WSMsgType.CLOSE:
                    pass
                assert (frame.data, frame.extra) == (1008, "Pong timeout")

    asyncio.run(play())


def test_too_many_frames_and_asked_for_closes_end_the_connection() -> None:
    async def play() -> None:
        async with run_venue() as venue:
            async with venue.connect("/public/ws") as wire:
                for number in range(20):
                    await wire.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
                while (frame := await receive(wire)).type is aiohttp.WSMsgType.TEXT:
                    pass
                assert (frame.type, frame.data, wire.close_code) == (aiohttp.WSMsgType.CLOSE, 1008, 1008)
            async with venue.connect("/public/ws/btcusdt@bookTicker") as wire:
                venue.board.apply({"on": {"fault": "connection_close", "on": "bookTicker", "next_n": 1}}, venue.clock())
                while (frame := await receive(wire)).type is aiohttp.WSMsgType.TEXT:
                    pass
                assert wire.close_code == 1006
            await wait_until(lambda: not venue.simulator._sockets, "the venue forgot them")

    asyncio.run(play())


def test_noise_ends_nothing() -> None:
    async def play() -> None:
        async with run_venue(speed=3.0) as venue, venue.connect("/market/ws") as wire:
            for noise in (b"\xff\x00", b'{"method":[]}', b"[" * 2000):
                await wire.send_bytes(noise)
                assert "error" in json.loads((await receive(wire)).data)
            for target in ("/fapi/v1/depth?symbol=%00", "/fapi/v1/klines?limit=-1", "/%ff/x", "/fapi/v1/depth?symbol"):
                async with venue.http.get(venue.addresses["http"] + target) as reply:
                    assert 400 <= reply.status < 500
            await wire.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 9})
            assert len(await collect(wire, AggTrade, 2)) == 2

    asyncio.run(play())


def test_other_streams_speak_and_unknown_events_are_unknown() -> None:
    async def play() -> None:
        async with run_venue(speed=5.0) as venue:
            names = ["btcusdt@kline_15m", "!markPrice@arr@1s", "!contractInfo", "xyzusdt@aggTrade", "BTCUSDT@aggTrade"]
            async with venue.connect("/market/stream?streams=" + "/".join(names)) as wire:
                seen: dict[str, Any] = {}
                while len(seen) < 2:
                    message = decode_message((await receive(wire)).data.encode())
                    seen[message.stream] = message.data
                assert seen.keys() == {"btcusdt@kline_15m", "!markPrice@arr@1s"}
                bar, marks = seen["btcusdt@kline_15m"].bar, seen["!markPrice@arr@1s"].items
                assert (bar.ts_close_ms - bar.ts_open_ms, bar.is_closed) == (899_999, False)
                assert [mark.symbol for mark in marks] == ["BTCUSDT"]
            async with venue.connect("/public/ws/!bookTicker") as wire:
                ticker = (await collect(wire, BookTicker, 1))[0]
                assert (ticker.event, ticker.pair) == ("bookTicker", "BTCUSDT")
                assert float(ticker.bid_px) < float(ticker.ask_px)
            async with venue.connect("/ws/btcusdt@bookTicker", "spot_ws") as wire:
                assert (await collect(wire, BookTicker, 1))[0].event is UNSET
                venue.board.apply({"on": {"fault": "unknown_value", "on": "depth"}}, venue.clock())
            async with venue.connect("/public/ws/btcusdt@depth@100ms") as wire:
                assert (await collect(wire, UnknownMessage, 1))[0].event == "newInTheFuture"

    asyncio.run(play())
