"""/info of both sides: real cassettes, the venue's refusals, round trips."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tests.shared_data import needs_shared
from tests.unit.venues.hyperliquid.captures import CASSETTES, read_cassette, read_live
from venues.hyperliquid import info_replies as replies
from venues.hyperliquid import info_requests as requests
from venues.hyperliquid.wire import HttpReply, MalformedMessageError

USER = "0x" + "aB" * 20
UNMODELLED_IN_CASSETTES = {"delegatorHistory", "userTwapSliceFills"}  # decoded as plain JSON


@needs_shared
@pytest.mark.parametrize("path", CASSETTES, ids=lambda path: path.stem)
def test_cassette_decodes_and_encodes_to_the_same_values(path: Path) -> None:
    for asked, answered in read_cassette(path):
        request = requests.decode_info_request(asked)
        assert not isinstance(request, HttpReply), asked
        reply = replies.decode_info_reply(request, answered)
        assert json.loads(replies.encode_info_reply(reply)) == json.loads(answered)
        is_plain = type(request) in requests.UNMODELLED
        assert is_plain == (json.loads(asked)["type"] in UNMODELLED_IN_CASSETTES)
        again = requests.decode_info_request(requests.encode_info_request(request))
        assert again == request


@needs_shared
def test_live_http_errors_are_answered_to_the_word() -> None:
    coins, dexs = frozenset({"BTC"}), frozenset({""})
    bodies = {
        "fundingHistory without startTime": b'{"type":"fundingHistory","coin":"BTC"}',
        "metaAndAssetCtxs dex=nope": b'{"type":"metaAndAssetCtxs","dex":"nope"}',
        "fundingHistory coin=NOPE": b'{"type":"fundingHistory","coin":"NOPE","startTime":1}',
        "l2Book coin=NOPE": b'{"type":"l2Book","coin":"NOPE"}',
        'body {"type":': b'{"type":',
    }
    seen = 0
    for case in read_live()["http_errors"]:
        asked = case["request"]
        body = json.dumps(asked).encode() if isinstance(asked, dict) else bodies.get(asked, b"{}")
        if isinstance(asked, str) and asked.startswith("GET"):
            answer: object = requests.WRONG_METHOD
        else:
            content_type = "text/plain" if case["status"] == 415 else "application/json; charset=utf-8"
            answer = requests.decode_info_request(body, content_type)
            if isinstance(answer, requests.InfoRequest):
                answer = requests.find_name_refusal(answer, coins, dexs)
        assert isinstance(answer, HttpReply), case
        assert (answer.status, answer.body.decode()) == (case["status"], case["body"]), case
        if case.get("content_type"):
            assert answer.content_type == case["content_type"]
        seen += 1
    assert seen == 8


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b"null", 422),
        (b'{"type":7}', 422),
        (b'{"type":"meta","dex":7}', 422),
        (b'{"type":"openOrders","user":"0x12"}', 422),
        (b'{"type":"l2Book","coin":"BTC","nSigFigs":6}', 422),
        (b'{"type":"l2Book","coin":"BTC","mantissa":5}', 422),
        (b'{"type":"orderStatus","user":"0x' + b"a" * 40 + b'","oid":"0x12"}', 422),
        (b'{"type":"userFillsByTime","user":"0x' + b"a" * 40 + b'","startTime":-1}', 422),
    ],
)
def test_what_the_venue_cannot_read_is_refused(body: bytes, status: int) -> None:
    answer = requests.decode_info_request(body)
    assert isinstance(answer, HttpReply)
    assert answer.status == status


def test_known_names_pass_and_weights_add_up() -> None:
    coins, dexs = frozenset({"BTC"}), frozenset({"", "xyz"})
    for request in (requests.GetMeta(), requests.GetMeta("xyz"), requests.GetL2Book("BTC"), requests.GetUserRole(USER)):
        assert requests.find_name_refusal(request, coins, dexs) is None
    assert requests.compute_weight(requests.GetUserRole(USER), 0) == 60
    candles = requests.GetCandles(requests.CandleRange("BTC", "15m", 0, 1))
    assert requests.compute_weight(candles, 120) == 22
    assert requests.find_name_refusal(candles, frozenset(), dexs) == requests.NULL_REPLY


def test_every_request_goes_there_and_back() -> None:
    fields = {"coin": "BTC", "user": USER, "startTime": 1, "oid": 7, "builder": USER}
    fields |= {"source": USER, "vaultAddress": USER, "id": 40, "tokenId": "0x6d", "token": 0}
    fields["req"] = {"coin": "BTC", "interval": "1m", "startTime": 1, "endTime": 2}  # type: ignore[assignment]
    for tag in requests.REQUESTS:
        request = requests.decode_info_request(json.dumps({"type": tag, "unknown": [1], **fields}).encode())
        assert isinstance(request, requests.InfoRequest), tag
        assert requests.decode_info_request(requests.encode_info_request(request)) == request
    assert set(requests.REQUESTS.values()) == set(replies.REPLIES) | requests.UNMODELLED


def test_replies_tolerate_what_is_new_and_refuse_what_is_not_a_reply() -> None:
    book = replies.decode_info_reply(
        requests.GetL2Book("BTC"),
        b'{"levels":[[{"px":"1.50","sz":"2","n":1,"a":0}],[]],"coin":"BTC","time":3}',
    )
    assert book == replies.L2Book("BTC", 3, ((replies.Level(Decimal("1.50"), Decimal(2), 1),), ()))
    assert replies.decode_info_reply(requests.GetL2Book("NOPE"), b"null") is None
    for body in (b"null", b"{}", b'{"cumVlm":"NaN","nRequestsUsed":1,"nRequestsCap":2}', b"\xff", b'"', b"[" * 99_999):
        with pytest.raises(MalformedMessageError):
            replies.decode_info_reply(requests.GetUserRateLimit(USER), body)


def test_small_numbers_are_written_without_an_exponent() -> None:
    rate = replies.FundingRate("BTC", Decimal("0.0000000125"), Decimal("0E-10"), 1)
    encoded = replies.encode_info_reply([rate])
    assert json.loads(encoded)[0]["fundingRate"] == "0.0000000125"
    assert json.loads(encoded)[0]["premium"] == "0.0000000000"
    with pytest.raises(MalformedMessageError, match="cannot be written"):
        replies.encode_info_reply({"BTC": Decimal("1E+999999")})


@needs_shared
def test_the_live_clock_goes_there_and_back() -> None:
    live = read_live()["exchangeStatus"]
    reply = replies.decode_info_reply(requests.GetExchangeStatus(), json.dumps(live).encode())
    assert reply.time == live["time"]
    assert json.loads(replies.encode_info_reply(reply)) == live


def test_trigger_words_and_sides() -> None:
    assert replies.write_trigger_condition(Decimal("95000.0"), is_above=False) == "Price below 95000"
    assert [replies.write_side(side) for side in (1, -1)] == ["B", "A"]
    assert replies.read_side("A") == -1


def test_fills_of_one_crossing_order_at_one_time_are_joined() -> None:
    def fill(oid: int, time: int, px: str, *, crossed: bool = True) -> replies.Fill:
        money = Decimal("0.5")
        return replies.Fill(
            "BTC", Decimal(px), Decimal("1.0"), "B", time, Decimal("0.0"), "Open Long", money, "0x", oid, crossed, money
        )

    apart = [fill(1, 5, "10.0"), fill(1, 5, "11.0"), fill(1, 6, "12.0"), fill(2, 6, "9.0", crossed=False)]
    joined = replies.join_fills([*apart, fill(2, 6, "9.0", crossed=False)])
    assert [(one.oid, one.px, one.sz) for one in joined] == [
        (1, Decimal("10.5"), Decimal("2.0")), (1, Decimal("12.0"), Decimal("1.0")),
        (2, Decimal("9.0"), Decimal("1.0")), (2, Decimal("9.0"), Decimal("1.0")),
    ]  # fmt: skip
    assert (joined[0].fee, joined[0].closed_pnl) == (Decimal("1.0"), Decimal("1.0"))
