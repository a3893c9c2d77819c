"""WebSocket frames of both sides: real captures, the SDK's own socket manager, one socket at the venue's end."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hyperliquid.websocket_manager import WebsocketManager

from tests.shared_data import needs_shared
from tests.unit.venues.hyperliquid.captures import read_capture, read_live
from venues.hyperliquid import frames, session, wire
from venues.hyperliquid import subscriptions as subs
from venues.hyperliquid.info_replies import ActiveAssetData, AssetCtx, Candle, Fill, L2Book, Level, Leverage, Trade
from venues.hyperliquid.info_replies import OpenOrder as Open
from venues.hyperliquid.wire import MalformedMessageError

USER = "0x" + "ab" * 20
HASH = "0x" + "0" * 64
D = Decimal
BOOK = L2Book("BTC", 5, ((Level(D("1.0"), D("2.0"), 1),), (Level(D("1.1"), D("2.5"), 3),)))
FILL = Fill("BTC", D("1.0"), D("2.0"), "B", 5, D("0.0"), "Open Long", D("0.0"), HASH, 7, True, D("0.01"), 9, "USDC")
CTX = AssetCtx(*(D("1.0"),) * 8, impact_pxs=(D("1.0"), D("1.1")))
LEVERAGE = Leverage("cross", 20)
OPEN = Open("BTC", "B", D("1.0"), D("2.0"), 7, 5, D("2.0"))
FUNDING = frames.FundingRow(5, "BTC", D("-0.1"), D("2.0"), D("0.0000125"))
FRAMES: list[tuple[subs.Subscription, frames.Frame]] = [
    (subs.SubAllMids(), frames.AllMidsFrame(frames.Mids({"BTC": D("1.05")}))),
    (subs.SubL2Book("BTC"), frames.L2BookFrame(BOOK)),
    (subs.SubTrades("BTC"), frames.TradesFrame((Trade("BTC", "A", D("1.0"), D("2.0"), 5, HASH, 9, (USER, USER)),))),
    (subs.SubBbo("BTC"), frames.BboFrame(frames.Bbo("BTC", 5, (None, Level(D("1.1"), D("2.5"), 3))))),
    (subs.SubCandle("BTC", "1m"), frames.CandleFrame(Candle(0, 59_999, "BTC", "1m", *(D("1.0"),) * 5, 3))),
    (subs.SubActiveAssetCtx("BTC"), frames.ActiveAssetCtxFrame(frames.CoinCtx("BTC", CTX))),
    (
        subs.SubActiveAssetData(USER, "BTC"),
        frames.ActiveAssetDataFrame(ActiveAssetData(USER, "BTC", LEVERAGE, (D("1.0"),) * 2, (D("1.0"),) * 2, D("1.0"))),
    ),
    (subs.SubUserEvents(USER), frames.UserEventsFrame(frames.UserEvents(fills=(FILL,)))),
    (subs.SubUserFills(USER), frames.UserFillsFrame(frames.UserFills(USER, (FILL,), True))),
    (
        subs.SubOrderUpdates(USER),
        frames.OrderUpdatesFrame(
            (frames.OrderUpdate(Open("BTC", "B", D("1.0"), D("2.0"), 7, 5, D("2.0")), "open", 5),)
        ),
    ),
    (subs.SubUserFundings(USER), frames.UserFundingsFrame(frames.UserFundings(USER, (FUNDING,), True))),
    (subs.SubLedgerUpdates(USER), frames.LedgerUpdatesFrame(frames.LedgerUpdates(USER, (), True))),
    (subs.SubWebData2(USER), frames.WebData2Frame({"user": USER})),
]


@needs_shared
def test_live_frames_and_the_capture_go_there_and_back() -> None:
    live = [frame for frame in read_live().values() if isinstance(frame, dict) and "channel" in frame]
    assert len(live) == 10
    captured = read_capture()
    assert len(captured) == 55
    for data in [*(json.dumps(frame).encode() for frame in live), *captured]:
        frame = frames.decode_frame(data)
        assert isinstance(frame, frames.Frame)
        assert json.loads(frames.encode_frame(frame)) == json.loads(data)


@needs_shared
def test_live_answers_of_the_socket_to_the_word() -> None:
    live = read_live()
    sock = session.Session(frozenset({"BTC", "SOL"}), 0)

    def answer(request: dict[str, Any]) -> Any:
        step = sock.receive(json.dumps(request))[0]
        assert isinstance(step, session.Send)
        return json.loads(frames.encode_frame(step.frame))

    fast = {"method": "subscribe", "subscription": {"type": "l2Book", "coin": "BTC", "fast": True}}
    assert answer(fast) == live["subscribe_ack"]
    sol = {"method": "subscribe", "subscription": {"type": "l2Book", "coin": "SOL"}}
    answer(sol)
    assert answer(sol) == live["error_already_subscribed"]
    step = sock.receive(live["error_parse"]["data"].partition(": ")[2])[0]
    assert isinstance(step, session.Send)
    assert json.loads(frames.encode_frame(step.frame)) == live["error_parse"]
    post = frames.decode_client_frame(
        frames.encode_post(frames.Post(7, "info", {"type": "l2Book", "coin": "NOPE"})).decode()
    )
    assert isinstance(post, frames.Post)
    assert json.loads(frames.encode_frame(frames.answer_info_post(post, None))) == live["post_unknown_coin"]


@pytest.mark.parametrize(("subscription", "frame"), FRAMES, ids=lambda value: type(value).__name__)
def test_the_sdks_socket_manager_understands_us_and_we_it(
    subscription: subs.Subscription, frame: frames.Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = WebsocketManager("http://localhost:1")  # not started: no socket
    sent: list[str] = []
    monkeypatch.setattr(manager.ws, "send", sent.append)
    manager.on_open(None)
    heard: list[Any] = []
    asked = wire.to_plain(subscription)
    manager.subscribe({key: value for key, value in asked.items() if value is not None}, heard.append)
    sock = session.Session(frozenset({"BTC"}), 0)
    steps = sock.receive(sent[0])
    assert steps == [session.Send(frames.acknowledge("subscribe", subscription)), session.Subscribed(subscription)]
    manager.on_message(None, frames.GREETING)
    manager.on_message(None, frames.encode_frame(frame).decode())
    assert heard == [json.loads(frames.encode_frame(frame))]
    assert frames.decode_frame(frames.encode_frame(frame)) == frame
    manager.unsubscribe({key: value for key, value in asked.items() if value is not None}, 1)
    assert sock.receive(sent[1])[1:] == [session.Unsubscribed(subscription)]
    assert frames.decode_client_frame(frames.encode_subscribe(subscription)) == frames.Subscribe(subscription)
    assert frames.decode_client_frame(frames.encode_unsubscribe(subscription)) == frames.Unsubscribe(subscription)


def test_other_frames_go_there_and_back() -> None:
    for frame in (
        frames.Pong(),
        frames.ErrorFrame("x"),
        frames.refuse_post(frames.Post(3, "action", {}), "no"),
        frames.answer_action_post(frames.Post(3, "action", {}), {"status": "err", "response": "x"}),
        frames.UserEventsFrame(frames.UserEvents(funding=FUNDING)),
        frames.UserEventsFrame(frames.UserEvents(non_user_cancel=(frames.CanceledByVenue("BTC", 3),))),
        frames.UserEventsFrame(frames.UserEvents(liquidation=frames.Liquidation(1, USER, USER, D("1.0"), D("2.0")))),
        frames.ActiveSpotAssetCtxFrame({"coin": "@107", "ctx": {}}),
        frames.NotificationFrame({"notification": "hello"}),
    ):
        assert frames.decode_frame(frames.encode_frame(frame)) == frame
    assert b'"liquidated_ntl_pos"' in frames.encode_frame(
        frames.UserEventsFrame(frames.UserEvents(liquidation=frames.Liquidation(1, USER, USER, D("1.0"), D("2.0"))))
    )


def test_what_is_new_is_unknown_and_what_is_broken_is_malformed() -> None:
    assert frames.decode_frame(frames.GREETING) == frames.Greeting()
    assert frames.decode_frame(b'{"channel":"webData3","data":1}') == frames.UnknownFrame(
        "webData3", {"channel": "webData3", "data": 1}
    )
    strange = frames.decode_frame(b'{"channel":"user","data":{"sunburn":1}}')
    assert isinstance(strange, frames.UnknownFrame)
    for data in (b"", b"[]", b"1", b'{"channel":1}', b'{"channel":"trades","data":{}}', b"\xff", b"[" * 99_999):
        with pytest.raises(MalformedMessageError):
            frames.decode_frame(data)


@pytest.mark.parametrize(
    "subscription",
    [
        {"type": "l2Book", "coin": "btc"},
        {"type": "trades", "coin": "xyz:BTC"},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 6},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 0},
        {"type": "l2Book", "coin": "BTC", "mantissa": 5},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 4, "mantissa": 2},
    ],
)
def test_what_costs_the_whole_socket(subscription: dict[str, Any]) -> None:
    sock = session.Session(frozenset({"BTC"}), 0)
    steps = sock.receive(json.dumps({"method": "subscribe", "subscription": subscription}))
    assert [(type(step), getattr(step, "code", None)) for step in steps] == [(session.Drop, 1006)]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"method":"dance"}',
        '{"method":"subscribe"}',
        '{"method":"subscribe","subscription":{"type":"nope"}}',
        '{"method":"subscribe","subscription":{"type":"userFills","user":"me"}}',
        '{"method":"post","request":{"type":"info","payload":{}}}',
        '{"method":"post","id":1,"request":{"type":"gossip","payload":{}}}',
    ],
)
def test_what_the_socket_cannot_read_it_says_back(text: str) -> None:
    sock = session.Session(frozenset({"BTC"}), 0)
    said = f"Error parsing JSON into valid websocket request: {text}"
    assert sock.receive(text) == [session.Send(frames.ErrorFrame(said))]


def test_ping_unsubscribe_users_and_idleness() -> None:
    sock = session.Session(frozenset({"BTC"}), 1000)
    assert sock.receive(frames.PING) == [session.Send(frames.Pong())]
    unknown = sock.receive(frames.encode_unsubscribe(subs.SubTrades("BTC")))
    assert unknown == [session.Send(frames.ErrorFrame('Already unsubscribed: {"type":"trades","coin":"BTC"}'))]
    for number in range(session.USERS_MAX):
        user = f"0x{number:040x}"
        assert len(sock.receive(frames.encode_subscribe(subs.SubUserFills(user)))) == 2
        assert len(sock.receive(frames.encode_subscribe(subs.SubOrderUpdates(user)))) == 2
    refused = sock.receive(frames.encode_subscribe(subs.SubUserFills(USER)))
    assert refused == [session.Send(frames.ErrorFrame("Cannot track more than 10 total users."))]
    assert sock.find_idle_drop(60_999) is None
    assert isinstance(sock.find_idle_drop(61_000), session.Drop)
    sock.note_sent(61_000)
    assert sock.find_idle_drop(61_001) is None
    post = sock.receive(frames.encode_post(frames.Post(1, "info", {"type": "meta"})))
    assert post == [session.Posted(frames.Post(1, "info", {"type": "meta"}))]
