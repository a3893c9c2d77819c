"""The streams of Binance beside trades, marks and the full book: tickers, partial books, candles; and their control."""

import asyncio
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.venues.binance.conftest import DEADLINE_S, Venue
from tests.venues.binance.market_client import Play, share_venue
from venues.binance.messages import BookSnapshotText, BookTicker, DepthUpdate, Kline, MarkPrices, decode_message
from venues.binance.ticker_messages import (
    AveragePxMessage,
    ContinuousKline,
    DayTickerMessage,
    DayTickers,
    MiniTicker,
    MiniTickers,
    WindowTickerMessage,
    WindowTickers,
)

VARIANTS = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
PUBLIC = {
    **dict.fromkeys(
        ("depth", "depth@100ms", "depth@250ms", "depth@500ms", "rpiDepth@500ms", "depth5", "depth10@100ms",
         "depth20@500ms"), DepthUpdate,
    ),
    "bookTicker": BookTicker,
}  # fmt: skip
MARKET = {
    "btcusdt@ticker": DayTickerMessage, "btcusdt@miniTicker": MiniTicker, "!ticker@arr": DayTickers,
    "!miniTicker@arr": MiniTickers, "!markPrice@arr": MarkPrices, "!markPrice@arr@1s": MarkPrices,
    "btcusdt_perpetual@continuousKline_1m": ContinuousKline,
    **{f"btcusdt@kline_{interval}": Kline for interval in (
        "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
    )},
}  # fmt: skip
SPOT = {
    "btcusdt@ticker": DayTickerMessage, "btcusdt@ticker_1h": WindowTickerMessage, "btcusdt@miniTicker": MiniTicker,
    "!miniTicker@arr": MiniTickers, "!ticker_4h@arr": WindowTickers, "btcusdt@avgPrice": AveragePxMessage,
    "btcusdt@depth10": BookSnapshotText, "btcusdt@depth20@100ms": BookSnapshotText, "btcusdt@kline_1M": Kline,
    "btcusdt@kline_1s": Kline,
}  # fmt: skip


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    yield from share_venue(speed=5.0)


async def receive(wire: Any) -> Any:
    return await asyncio.wait_for(wire.receive(), DEADLINE_S)


async def ask(wire: Any, method: str, params: list[Any] | None = None, identifier: int = 1) -> Any:
    """Send a control frame and return the answer, data in between left out."""
    await wire.send_json({"method": method, **({} if params is None else {"params": params}), "id": identifier})
    while True:
        answer = json.loads((await receive(wire)).data)
        if isinstance(answer, dict) and "id" in answer and "e" not in answer:
            return answer


async def hear_each(venue: Venue, path: str, address: str, wanted: dict[str, type]) -> dict[str, Any]:
    """Return the first message of every stream."""
    heard: dict[str, Any] = {}
    async with venue.connect(f"{path}?streams={'/'.join(wanted)}", address) as wire:
        while heard.keys() != wanted.keys():
            message = decode_message((await receive(wire)).data.encode())
            heard.setdefault(message.stream, message.data)
    for name, kind in wanted.items():
        assert type(heard[name]) is kind, name
    return heard


def test_each_book_stream_speaks_on_the_public_path(play: Play) -> None:
    async def work(venue: Venue) -> None:
        wanted = {f"btcusdt@{name}": kind for name, kind in PUBLIC.items()}
        heard = await hear_each(venue, "/public/stream", "ws", wanted)
        for levels in (5, 10, 20):
            [book] = [data for name, data in heard.items() if f"depth{levels}" in name]
            assert (len(book.bids), len(book.asks)) == (levels, levels)
            assert [float(px) for px, _ in book.bids] == sorted((float(px) for px, _ in book.bids), reverse=True)

    play(work)


@pytest.mark.parametrize(("name", "every_ms"), [("depth", 250), ("depth@500ms", 500), ("depth@100ms", 100)])
def test_diffs_of_each_speed_follow_one_another(play: Play, name: str, every_ms: int) -> None:
    async def work(venue: Venue) -> None:
        updates: list[DepthUpdate] = []
        async with venue.connect(f"/public/ws/btcusdt@{name}") as wire:
            while len(updates) < 6:
                data = decode_message((await receive(wire)).data.encode()).data
                assert isinstance(data, DepthUpdate)
                updates.append(data)
        for before, update in pairwise(updates):
            assert update.previous_id == before.last_id
            assert update.ts_event_ms // every_ms > before.ts_event_ms // every_ms  # at most one in each period

    play(work)


def test_each_stream_of_the_market_path_speaks(play: Play) -> None:
    async def work(venue: Venue) -> None:
        heard = await hear_each(venue, "/market/stream", "ws", MARKET)
        for name in (name for name in MARKET if "kline_" in name):
            bar = heard[name].bar
            assert bar.interval == name.rpartition("_")[2]
            assert bar.ts_open_ms <= heard[name].ts_event_ms
            assert float(bar.low_px) <= float(bar.close_px) <= float(bar.high_px)
        ticker, [same] = heard["btcusdt@ticker"], heard["!ticker@arr"].items
        assert (ticker.symbol, same.symbol) == ("BTCUSDT", "BTCUSDT")
        assert ticker.trades == ticker.last_id - ticker.first_id + 1
        change = float(ticker.last_px) - float(ticker.open_px)
        assert float(ticker.change_px) == pytest.approx(change)
        continuous = heard["btcusdt_perpetual@continuousKline_1m"]
        assert (continuous.pair, continuous.contract_type) == ("BTCUSDT", "PERPETUAL")

    play(work)


def test_each_stream_of_spot_speaks(play: Play) -> None:
    async def work(venue: Venue) -> None:
        heard = await hear_each(venue, "/stream", "spot_ws", SPOT)
        ticker, hour = heard["btcusdt@ticker"], heard["btcusdt@ticker_1h"]
        assert float(ticker.bid_px) < float(ticker.ask_px)
        assert float(hour.volume_base) <= float(ticker.volume_base)
        assert hour.event == "1hTicker"
        assert [item.event for item in heard["!ticker_4h@arr"].items] == ["4hTicker"]

    play(work)


def test_a_ticker_agrees_with_rest(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with venue.connect("/market/ws/btcusdt@ticker") as wire:
            ticker = decode_message((await receive(wire)).data.encode()).data
        assert isinstance(ticker, DayTickerMessage)
        url = venue.addresses["http"] + "/fapi/v1/trades?symbol=BTCUSDT&limit=1000"
        async with venue.http.get(url) as reply:
            [last] = [row for row in await reply.json() if row["id"] == ticker.last_id]
        assert (last["price"], last["qty"]) == (ticker.last_px, ticker.last_qty)

    play(work)


def test_subscriptions_are_listed_undone_and_wrapped_at_will(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with venue.connect("/market/ws") as wire:
            names = ["btcusdt@miniTicker", "btcusdt@markPrice@1s"]
            assert await ask(wire, "SUBSCRIBE", names) == {"result": None, "id": 1}
            assert await ask(wire, "LIST_SUBSCRIPTIONS", identifier=2) == {"result": names, "id": 2}
            assert await ask(wire, "GET_PROPERTY", ["combined"], 3) == {"result": False, "id": 3}
            assert await ask(wire, "SET_PROPERTY", ["combined", True], 4) == {"result": None, "id": 4}
            assert json.loads((await receive(wire)).data).keys() == {"stream", "data"}
            assert await ask(wire, "UNSUBSCRIBE", names, 5) == {"result": None, "id": 5}
            answer = await ask(wire, "LIST_SUBSCRIPTIONS", identifier=6)
            assert answer == {"result": [], "id": 6}

    play(work)


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ('{"method":"SUBSCRIB","params":["a"],"id":1}', 2, f"unknown variant `SUBSCRIB`, expected one of {VARIANTS}"),
        ('{"method":"SUBSCRIBE","params":["a"]}', 2, "request ID must be an unsigned integer"),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1, "expected Boolean"),
        ('{"method":"GET_PROPERTY","params":["speed"],"id":1}', 0, "Unknown property"),
        ("hello", 3, "Invalid JSON"),
    ],
)
@pytest.mark.parametrize(("path", "address"), [("/market/ws", "ws"), ("/ws", "spot_ws")])
def test_malformed_requests_are_refused(play: Play, path: str, address: str, frame: str, code: int, words: str) -> None:
    if address == "spot_ws" and 'SUBSCRIBE","params":["a"]}' in frame:
        return  # spot takes a frame without an id

    async def work(venue: Venue) -> None:
        async with venue.connect(path, address) as wire:
            await wire.send_str(frame)
            answer = json.loads((await receive(wire)).data)
            error = answer["error"] if address == "ws" else answer
            assert (error["code"], words in error["msg"]) == (code, True), answer

    play(work)


def test_more_streams_than_a_connection_may_have_are_refused(play: Play) -> None:
    async def work(venue: Venue) -> None:
        async with venue.connect("/market/ws") as wire:
            answer = await ask(wire, "SUBSCRIBE", [f"a{number}@aggTrade" for number in range(1025)])
            assert answer["error"]["code"] == 2
            assert (await ask(wire, "LIST_SUBSCRIPTIONS", identifier=2))["result"] == []

    play(work)
