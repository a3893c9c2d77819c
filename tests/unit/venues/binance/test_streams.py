"""Paths, stream names, control frames and the life of a socket, as tables."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.records import NS_PER_S
from venues.binance.control import (
    ControlRequest,
    Method,
    PendingRequests,
    SocketSubscriptions,
    check_stream_names,
    decode_request,
    encode_request,
)
from venues.binance.messages import ControlReply, decode_message
from venues.binance.numbers import MalformedMessageError
from venues.binance.session import (
    HOUR_NS,
    LIFETIME_NS,
    MINUTE_NS,
    RECONNECT_AFTER_NS,
    SHUTDOWN_NOTICE_NS,
    ClientSession,
    CloseSocket,
    RateWindow,
    SendPing,
    SendShutdown,
    ServerSession,
)
from venues.binance.streams import (
    STREAMS_MAX,
    Channel,
    Delivery,
    Market,
    Route,
    Target,
    TargetRefusal,
    find_delivery,
    find_route,
    group_by_route,
    make_target,
    parse_stream,
    parse_target,
)

USDM, SPOT = Market.USDM, Market.SPOT

STREAMS = [  # name, channel, the path that serves it
    ("btcusdt@depth", Channel.DEPTH, Route.PUBLIC),
    ("btcusdt@depth@0ms", Channel.DEPTH, Route.PUBLIC),
    ("btcusdt@depth@100ms", Channel.DEPTH, Route.PUBLIC),
    ("btcusdt@depth@500ms", Channel.DEPTH, Route.PUBLIC),
    ("btcusdt@depth5", Channel.PARTIAL_DEPTH, Route.PUBLIC),
    ("btcusdt@depth20@100ms", Channel.PARTIAL_DEPTH, Route.PUBLIC),
    ("btcusdt@rpiDepth@500ms", Channel.DEPTH, Route.PUBLIC),
    ("btcusdt@bookTicker", Channel.BOOK_TICKER, Route.PUBLIC),
    ("!bookTicker", Channel.BOOK_TICKER, Route.PUBLIC),
    ("btcusdt@trade", Channel.TRADE, Route.PUBLIC),
    ("btcusdt@aggTrade", Channel.AGG_TRADE, Route.MARKET),
    ("btcusdt@markPrice", Channel.MARK_PRICE, Route.MARKET),
    ("btcusdt@markPrice@1s", Channel.MARK_PRICE, Route.MARKET),
    ("!markPrice@arr@1s", Channel.MARK_PRICE, Route.MARKET),
    ("btcusdt@kline_15m", Channel.KLINE, Route.MARKET),
    ("btcusdt@kline_1M", Channel.KLINE, Route.MARKET),
    ("btcusdt_perpetual@continuousKline_1m", Channel.CONTINUOUS_KLINE, Route.MARKET),
    ("btcusdt@forceOrder", Channel.FORCE_ORDER, Route.MARKET),
    ("!forceOrder@arr", Channel.FORCE_ORDER, Route.MARKET),
    ("btcusdt@ticker", Channel.TICKER, Route.MARKET),
    ("btcusdt@miniTicker", Channel.MINI_TICKER, Route.MARKET),
    ("!miniTicker@arr", Channel.MINI_TICKER, Route.MARKET),
    ("!ticker@arr", Channel.TICKER, Route.MARKET),
    ("!contractInfo", Channel.OTHER, Route.MARKET),
    ("!assetIndex@arr", Channel.OTHER, Route.MARKET),
    ("defiusdt@compositeIndex", Channel.OTHER, Route.MARKET),
    ("tradingSession", Channel.OTHER, Route.MARKET),
]


@pytest.mark.parametrize(("name", "channel", "home"), STREAMS)
@pytest.mark.parametrize("route", list(Route))
def test_each_stream_flows_on_its_path_only(name: str, channel: Channel, home: Route, route: Route) -> None:
    parsed = parse_stream(USDM, name)
    assert parsed is not None
    assert (parsed.channel, find_route(USDM, name)) == (channel, home)
    flows = route is home or (home is Route.PUBLIC and route is Route.UNROUTED)
    assert find_delivery(USDM, route, name) is (Delivery.FLOWS if flows else Delivery.WRONG_PATH)


@pytest.mark.parametrize(
    "name",
    ["", "@", "btcusdt", "BTCUSDT@aggTrade", "btcusdt@depth@42ms", "btcusdt@depth7", "btcusdt@kline_7m", "x@y@z",
     "btcusdt@markPrice@2s", "btcusdt@aggTrade@1s", "!nothing", "!", "btcusdt@kline_15m@x", "btcusdt@", "a b@trade",
     "btcusdt@ticker@1s", "btcusdt@continuousKline_1m", "btcusdt_perpetual@continuousKline_7m", "!avgPrice@arr"],
)  # fmt: skip
@pytest.mark.parametrize("market", list(Market))
def test_names_that_the_venue_does_not_have(market: Market, name: str) -> None:
    assert parse_stream(market, name) is None
    assert find_delivery(market, Route.UNROUTED, name) is Delivery.UNKNOWN_NAME
    with pytest.raises(ValueError, match="is unknown to binance"):
        group_by_route(market, [name])


@pytest.mark.parametrize(
    ("name", "is_there"),
    [("btcusdt@depth@100ms", True), ("btcusdt@depth@1000ms", True), ("btcusdt@depth@0ms", False),
     ("btcusdt@kline_1s", True), ("btcusdt@markPrice", False), ("btcusdt@forceOrder", False),
     ("!serverShutdown", True), ("btcusdt@avgPrice", True), ("!ticker_1h@arr", True), ("btcusdt@ticker_4h", True),
     ("!bookTicker", False), ("btcusdt_perpetual@continuousKline_1m", False), ("btcusdt@rpiDepth", False),
     ("btcusdt@kline_1h@+08:00", True)],
)  # fmt: skip
def test_spot_has_streams_of_its_own(name: str, is_there: bool) -> None:
    assert (parse_stream(SPOT, name) is not None) is is_there


PATHS = [
    ("/public/ws", Target(Route.PUBLIC, False)),
    ("/public/ws/", Target(Route.PUBLIC, False)),
    ("/public/ws/btcusdt@depth", Target(Route.PUBLIC, False, ("btcusdt@depth",))),
    ("/public/ws/btcusdt@depth/ethusdt@depth", Target(Route.PUBLIC, False, ("btcusdt@depth", "ethusdt@depth"))),
    ("/public/ws/0", Target(Route.PUBLIC, False, connection="0")),
    ("/market/ws/17", Target(Route.MARKET, False, connection="17")),
    ("/market/stream?streams=a@b/c@d", Target(Route.MARKET, True, ("a@b", "c@d"))),
    ("/market/stream?streams=%21markPrice%40arr", Target(Route.MARKET, True, ("!markPrice@arr",))),
    ("/market/stream", Target(Route.MARKET, True)),
    ("/private/ws?listenKey=k&events=ORDER_TRADE_UPDATE/ACCOUNT_UPDATE", Target(Route.PRIVATE, False, listen_key="k")),
    ("/private/ws/k", Target(Route.PRIVATE, False, listen_key="k")),
    ("/ws", Target(Route.UNROUTED, False)),
    ("/ws/btcusdt@aggTrade", Target(Route.UNROUTED, False, ("btcusdt@aggTrade",))),
    ("/stream?streams=btcusdt@trade", Target(Route.UNROUTED, True, ("btcusdt@trade",))),
    ("/stream", Target(Route.UNROUTED, True)),
    ("/", TargetRefusal(404, "Not Found")),
    ("/public", TargetRefusal(404, "Not Found")),
    ("/nothing/ws", TargetRefusal(404, "Not Found")),
    ("/stream/btcusdt@trade", TargetRefusal(404, "Not Found")),
    ("//[", TargetRefusal(400, "Bad Request")),
    ("/ws/" + "/".join(f"a{n}@trade" for n in range(STREAMS_MAX + 1)), TargetRefusal(400, "Bad Request")),
]


@pytest.mark.parametrize(("target", "parsed"), PATHS, ids=[path[:40] for path, _ in PATHS])
def test_paths(target: str, parsed: Target | TargetRefusal) -> None:
    assert parse_target(USDM, target) == parsed


def test_spot_has_no_routes() -> None:
    assert parse_target(SPOT, "/public/ws") == TargetRefusal(404, "Not Found")
    assert parse_target(SPOT, "/ws/btcusdt@aggTrade") == Target(Route.UNROUTED, False, ("btcusdt@aggTrade",))


@pytest.mark.parametrize("is_combined", [True, False])
def test_targets_that_clients_make_are_read_back(is_combined: bool) -> None:
    groups = group_by_route(USDM, [name for name, _, _ in STREAMS])
    assert set(groups) == {Route.PUBLIC, Route.MARKET}
    for route, names in groups.items():
        assert parse_target(USDM, make_target(route, names, is_combined)) == Target(route, is_combined, names)
    assert parse_target(USDM, make_target(Route.PRIVATE, listen_key="k")) == Target(
        Route.PRIVATE, False, listen_key="k"
    )


def ask(socket: SocketSubscriptions, method: Method, *params: object, identifier: int = 1) -> ControlReply:
    reply = decode_message(socket.handle(encode_request(ControlRequest(method, params, identifier)))).data
    assert isinstance(reply, ControlReply)
    return reply


def test_a_wrong_path_acknowledges_and_is_silent() -> None:
    for route in (Route.PUBLIC, Route.UNROUTED):
        socket = SocketSubscriptions(USDM, Target(route, False))
        frame = b'{"method":"SUBSCRIBE","params":["btcusdt@aggTrade","btcusdt@depth@100ms"],"id":1}'
        assert socket.handle(frame) == b'{"result":null,"id":1}'
        assert socket.asked == ("btcusdt@aggTrade", "btcusdt@depth@100ms")
        assert socket.flowing == ("btcusdt@depth@100ms",)
        assert socket.find_delivery("btcusdt@aggTrade") is Delivery.WRONG_PATH
        assert socket.find_delivery("btcusdt@trade") is None


def test_subscriptions_are_listed_and_undone() -> None:
    socket = SocketSubscriptions(USDM, Target(Route.MARKET, True, ("btcusdt@kline_15m",)))
    assert ask(socket, Method.SUBSCRIBE, "btcusdt@aggTrade", "btcusdt@aggTrade") == ControlReply(1)
    assert ask(socket, Method.LIST_SUBSCRIPTIONS, identifier=3) == ControlReply(
        3, ["btcusdt@kline_15m", "btcusdt@aggTrade"]
    )
    assert ask(socket, Method.UNSUBSCRIBE, "btcusdt@kline_15m", "never@asked") == ControlReply(1)
    assert socket.flowing == ("btcusdt@aggTrade",)
    assert ask(socket, Method.GET_PROPERTY, "combined").result is True
    assert ask(socket, Method.SET_PROPERTY, "combined", False) == ControlReply(1)
    assert not socket.is_combined
    reply = ask(socket, Method.SUBSCRIBE, *[f"a{n}@trade" for n in range(STREAMS_MAX)])
    assert reply.error is not None
    assert socket.asked == ("btcusdt@aggTrade",)


VARIANTS = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
REFUSALS = [
    ('{"method":"SUBSCRIB","params":["a"],"id":1}', 2,
     f"Invalid request: unknown variant `SUBSCRIB`, expected one of {VARIANTS} at line 1 column 20"),
    ('{"params":["a"],"id":1}', 2, "Invalid request: missing field `method` at line 1 column 23"),
    ('{"method":"SUBSCRIBE","params":["a"],"id":-1}', 2,
     "Invalid request: request ID must be an unsigned integer"),
    ('{"method":"SET_PROPERTY","params":["speed",1],"id":1}', 0, "Unknown property"),
    ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1, "Invalid value type: expected Boolean"),
    ('{"method":"SET_PROPERTY","params":[1],"id":1}', 2, "Invalid request: property name must be a string"),
    ('{"method":"GET_PROPERTY","id":1}', 2, "Invalid request: property name must be a string"),
    ('{"method":"GET_PROPERTY","params":["combined",true],"id":1}', 2, "Invalid request: too many parameters"),
    ('{"method":"LIST_SUBSCRIPTIONS","params":["a"],"id":1}', 2, "Invalid request: too many parameters"),
    ("{nonsense", 3, "Invalid JSON: expected value at line 1 column 2"),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "code", "msg"), REFUSALS)
def test_refusals_in_the_venues_words(frame: str, code: int, msg: str) -> None:
    futures = json.loads(SocketSubscriptions(USDM, Target(Route.PUBLIC, False)).handle(frame.encode()))
    assert futures["error"] == {"code": code, "msg": msg}
    assert futures.get("id", 1) == 1
    if '"id":-1' in frame:
        return  # spot takes any 64-bit integer
    spot = json.loads(SocketSubscriptions(SPOT, Target(Route.UNROUTED, False)).handle(frame.encode()))
    assert (spot["code"], spot["msg"], "error" in spot) == (code, msg, False)


@pytest.mark.parametrize(("identifier", "usdm", "spot"), [
    ("1", True, True), ("-5", False, True), ('"abc"', False, True), (f'"{"a" * 37}"', False, False),
    ("null", False, True), ("1.5", False, False), ("true", False, False), ("18446744073709551615", True, True),
])  # fmt: skip
def test_request_ids(identifier: str, usdm: bool, spot: bool) -> None:
    frame = f'{{"method":"LIST_SUBSCRIPTIONS","id":{identifier}}}'.encode()
    assert isinstance(decode_request(USDM, frame), ControlRequest) is usdm
    assert isinstance(decode_request(SPOT, frame), ControlRequest) is spot


@given(st.one_of(st.binary(max_size=80), st.text(max_size=60).map(str.encode)))
def test_any_frame_is_answered(content: bytes) -> None:
    for market in Market:
        socket = SocketSubscriptions(market, Target(Route.UNROUTED, False))
        for frame in (content, b'{"method":"SUBSCRIBE","params":["' + content + b'"],"id":1}', b'{"method":' + content):
            assert isinstance(decode_message(socket.handle(frame)).data, ControlReply)


def test_half_a_surrogate_pair_is_no_json() -> None:
    socket = SocketSubscriptions(USDM, Target(Route.PUBLIC, False))
    assert b"Invalid JSON" in socket.handle(b'{"method":"SUBSCRIBE","params":["\\ud800"],"id":1}')
    assert b"Invalid JSON" in socket.handle(b"[" * 100_000)


def test_clients_number_and_time_their_requests() -> None:
    pending = PendingRequests(timeout_ns=5)
    first, second = (pending.make(Method.SUBSCRIBE, (name,), 0) for name in ("a@trade", "b@trade"))
    assert (first.id, second.id) == (1, 2)
    assert pending.settle(ControlReply(2)) == second
    assert pending.settle(ControlReply(2)) is None
    assert pending.settle(ControlReply(None)) is None
    assert pending.take_overdue(4) == []
    assert pending.take_overdue(5) == [first]
    assert pending.take_overdue(6) == []
    check_stream_names(("btcusdt@aggTrade",))
    with pytest.raises(MalformedMessageError, match="is no stream name"):
        check_stream_names(("a/b",))


@pytest.mark.parametrize(
    ("market", "every_ns", "within_ns"), [(USDM, 3 * MINUTE_NS, 10 * MINUTE_NS), (SPOT, 20 * NS_PER_S, MINUTE_NS)]
)
def test_pings_and_the_pong_that_does_not_come(market: Market, every_ns: int, within_ns: int) -> None:
    session = ServerSession(market, 0)
    assert session.next_due_ns() == every_ns
    assert session.on_time(every_ns - 1) == []
    [ping] = session.on_time(every_ns)
    assert isinstance(ping, SendPing)
    assert session.on_pong(b"unsolicited", every_ns + 1) == []
    now_ns = every_ns
    while session.next_due_ns() < every_ns + within_ns:
        now_ns = session.next_due_ns()
        session.on_time(now_ns)
    assert session.on_time(every_ns + within_ns) == [CloseSocket(1008, "Pong timeout")]
    assert (session.on_time(LIFETIME_NS), session.on_frame(LIFETIME_NS), session.next_due_ns()) == ([], [], -1)


@pytest.mark.parametrize("market", list(Market))
def test_a_day_of_a_socket(market: Market) -> None:
    session, client = ServerSession(market, 0), ClientSession(market, 0)
    seen: list[object] = []
    while (now_ns := session.next_due_ns()) >= 0:
        for instruction in session.on_time(now_ns):
            if isinstance(instruction, SendPing):
                assert session.on_pong(instruction.payload, now_ns) == []
            else:
                seen.append(instruction)
                assert client.is_replacement_due(now_ns)
    notice = [SendShutdown((LIFETIME_NS - SHUTDOWN_NOTICE_NS) // 1_000_000)] if market is SPOT else []
    assert seen == [*notice, CloseSocket(1001, "")]
    assert not client.is_replacement_due(RECONNECT_AFTER_NS - 1)
    client.note_shutdown(HOUR_NS)
    assert client.is_replacement_due(HOUR_NS)


@pytest.mark.parametrize(("market", "limit"), [(USDM, 10), (SPOT, 5)])
def test_too_many_control_frames_end_the_socket_and_a_client_stays_below(market: Market, limit: int) -> None:
    session = ServerSession(market, 0)
    for _ in range(limit):
        assert session.on_frame(5) == []
    assert session.on_frame(6) == [CloseSocket(1008, "Too many requests")]
    session, client, now_ns = ServerSession(market, 0), ClientSession(market, 0), 0
    for _ in range(50):
        wait_ns = client.reserve_frame_ns(now_ns)
        if wait_ns:
            now_ns += wait_ns
            assert client.reserve_frame_ns(now_ns) == 0
        assert session.on_frame(now_ns) == []


def test_a_window_lets_through_what_it_says() -> None:
    window = RateWindow(2, 10)
    assert [window.note(ts_ns) for ts_ns in (0, 1, 9, 20, 20)] == [True, True, False, True, True]
