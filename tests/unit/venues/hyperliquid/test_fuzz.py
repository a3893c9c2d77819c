"""No bytes crash a codec: random ones, and real or encoded messages with bytes changed, cut and repeated."""

import contextlib
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shared_data import SHARED
from tests.unit.venues.hyperliquid.captures import BTC, CASSETTES, KEY, read_capture, read_cassette, read_live
from venues.hyperliquid import exchange_actions as actions
from venues.hyperliquid import exchange_replies, frames, info_replies, rules, session, signing, wire
from venues.hyperliquid import info_requests as requests
from venues.hyperliquid import subscriptions as subs
from venues.hyperliquid.wire import MalformedMessageError

ORDERS = actions.PlaceOrders((actions.limit_order(0, True, "60000", "0.5", "Gtc"),))
SIGNED = actions.encode_exchange_request(signing.sign_action(signing.load_wallet(KEY), ORDERS, 1, "mainnet"))
OWN: list[tuple[str, bytes]] = [
    ("exchange", SIGNED),
    ("exchange_reply", exchange_replies.encode_exchange_reply(exchange_replies.DefaultReply())),
    ("info", requests.encode_info_request(requests.GetUserFillsByTime("0x" + "a" * 40, 1))),
    ("frame", b'{"channel":"bbo","data":{"coin":"BTC","time":1,"bbo":[{"px":"1.0","sz":"2.0","n":3},null]}}'),
    ("client_frame", frames.encode_subscribe(subs.SubL2Book("BTC", 5, 2))),
    ("client_frame", frames.encode_post(frames.Post(1, "info", {"type": "meta"}))),
]


def list_seeds() -> list[tuple[str, bytes]]:
    """Return messages to mutate: our own, and real ones where they are."""
    if SHARED is None:
        return OWN
    real = [("reply", answered[:4000]) for path in CASSETTES for _, answered in read_cassette(path)]
    real += [("frame", data) for data in read_capture()[:12]]
    real += [("frame", json.dumps(frame).encode()) for frame in read_live().values()]
    return OWN + real


SEEDS = list_seeds()
REPLY_REQUESTS = [
    requests.GetMeta(),
    requests.GetUserFills("0x" + "a" * 40),
    requests.GetClearinghouseState("0x" + "a" * 40),
    requests.GetFrontendOpenOrders("0x" + "a" * 40),
    requests.GetL2Book("BTC"),
    requests.GetAllMids(),
    requests.GetPortfolio("0x" + "a" * 40),
]


def feed(data: bytes) -> None:
    """Give bytes to every decoder of both sides; what comes out must encode, and nothing else may be raised."""
    requests.decode_info_request(data)
    signed = actions.decode_exchange_request(data)
    if isinstance(signed, actions.SignedAction):
        signing.recover_signer(signed, "mainnet")
        for order in actions.list_orders(signed.action):
            rules.find_order_refusal(BTC, order)
        actions.encode_exchange_request(signed)
    for step in session.Session(frozenset({"BTC"}), 0).receive(data):
        if isinstance(step, session.Send):
            frames.encode_frame(step.frame)
    attempt(lambda: frames.encode_frame(_as_frame(frames.decode_frame(data))))
    attempt(lambda: exchange_replies.encode_exchange_reply(exchange_replies.decode_exchange_reply(data)))
    for request in REPLY_REQUESTS:
        attempt(lambda request=request: info_replies.encode_info_reply(info_replies.decode_info_reply(request, data)))


def _as_frame(frame: Any) -> frames.Frame:
    return frame if isinstance(frame, frames.Frame) else frames.Pong()


def attempt(decode: Callable[[], object]) -> None:
    """Call and let MalformedMessageError pass."""
    with contextlib.suppress(MalformedMessageError):
        decode()


@given(st.binary(max_size=200))
@settings(max_examples=150)
def test_random_bytes(data: bytes) -> None:
    feed(data)


@given(st.data())
@settings(max_examples=400)
def test_mutated_messages(data: st.DataObject) -> None:
    _, seed = data.draw(st.sampled_from(SEEDS))
    mutated = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        if not mutated:
            break
        at = data.draw(st.integers(0, len(mutated) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert", "repeat"])):
            case "change":
                mutated[at] = data.draw(st.integers(0, 255))
            case "cut":
                del mutated[at : at + data.draw(st.integers(1, 20))]
            case "insert":
                token = data.draw(st.sampled_from([b"null", b"-1", b'"NaN"', b"1e999", b"{}", b"[", b'"', b"9" * 40]))
                mutated[at:at] = token
            case _:
                mutated[at:at] = mutated[at : at + 30]
    feed(bytes(mutated))


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["NaN", "1e9"])
plains = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner))


@given(st.data(), plains)
@settings(max_examples=300)
def test_well_formed_json_with_a_value_of_another_kind(data: st.DataObject, strange: Any) -> None:
    _, seed = data.draw(st.sampled_from(OWN))
    plain = json.loads(seed)
    place = plain
    while isinstance(place, dict | list) and place:
        key = data.draw(st.sampled_from([*place] if isinstance(place, dict) else [*range(len(place))]))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = strange
            break
        place = place[key]
    feed(json.dumps(plain).encode())


numbers = st.decimals(-(10**12), 10**12, allow_nan=False, allow_infinity=False, places=8)


@given(numbers)
def test_numbers_go_there_and_back(number: Decimal) -> None:
    for text in (wire.format_action(number), wire.format_reply(number)):
        assert wire.parse_number(text, "number") == number
        assert "E" not in text
    assert json.loads(wire.encode({"px": wire.reply_number(number)}))["px"] == wire.format_reply(number)


@given(
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(1, 10**9), st.integers(1, 10**9), st.booleans()), max_size=5),
    st.sampled_from(["na", "normalTpsl", "positionTpsl"]),
)
def test_orders_go_there_and_back(rows: list[tuple[int, int, int, bool]], grouping: str) -> None:
    orders = tuple(
        actions.limit_order(asset, is_buy, str(px), rules.write_lots(BTC, lots), "Alo", cloid=f"0x{px:032x}")
        for asset, px, lots, is_buy in rows
    )
    action = actions.PlaceOrders(orders, grouping)
    assert actions.read_action(wire.to_plain(action)) == action


levels = st.lists(st.builds(info_replies.Level, numbers, numbers, st.integers(0, 99)), max_size=20).map(tuple)


@given(st.builds(info_replies.L2Book, st.text(max_size=5), st.integers(0, 2**50), st.tuples(levels, levels)))
def test_books_go_there_and_back(book: info_replies.L2Book) -> None:
    frame = frames.L2BookFrame(book)
    assert frames.decode_frame(frames.encode_frame(frame)) == frame


def test_hostile_depth_and_size() -> None:
    for data in (b"[" * 200_000, b'{"a":' * 50_000, b'{"channel":' + b"9" * 5000 + b"}", b'{"type":"\\ud800"}'):
        feed(data)
    with pytest.raises(MalformedMessageError, match="px is"):
        wire.parse_number("1" * 1_000_000, "px")
