"""The rules of one WebSocket connection, text for text; and the client's check of message ids."""

import doctest
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import venues.dydx.indexer_session
from venues.dydx.indexer_records import BookSnapshot, BookUpdate
from venues.dydx.indexer_session import (
    Close,
    FetchInitial,
    IndexerConnection,
    MessageIdCheck,
    SendPing,
    SendText,
    StreamLimits,
)
from venues.dydx.indexer_stream import (
    MarketsUpdate,
    Ping,
    SubaccountUpdate,
    Subscribe,
    Unsubscribe,
    decode_client,
    encode_client,
)

UPDATE = BookUpdate(bids=((Decimal(1), Decimal(2)),))


def start(**limits: Any) -> IndexerConnection:
    connection = IndexerConnection("c", lambda ticker: ticker.endswith("-USD"), StreamLimits(**limits))
    (hello,) = connection.open(0)
    assert read(hello) == {"type": "connected", "connection_id": "c", "message_id": 0}
    return connection


def read(instruction: Any) -> dict[str, Any]:
    assert isinstance(instruction, SendText)
    fields: dict[str, Any] = json.loads(instruction.text)
    return fields


def ask(
    connection: IndexerConnection, channel: str, channel_id: str | None, now_ms: int = 0, batched: bool = False
) -> Any:
    (answer, *rest) = connection.receive(encode_client(Subscribe(channel, channel_id, batched)), now_ms)
    return [answer, *rest] if rest else answer


def join(connection: IndexerConnection, channel: str, channel_id: str | None, batched: bool = False) -> dict[str, Any]:
    fetch = ask(connection, channel, channel_id, batched=batched)
    assert isinstance(fetch, FetchInitial)
    return read(connection.subscribed(fetch, BookSnapshot())[0])


def test_doctest() -> None:
    """The example of the message id check holds."""
    assert doctest.testmod(venues.dydx.indexer_session).failed == 0


def test_a_subscription_streams() -> None:
    """Subscribed, then updates at once; ids count on; unsubscribed ends it."""
    connection = start()
    assert join(connection, "v4_orderbook", "BTC-USD") == {
        "type": "subscribed",
        "connection_id": "c",
        "message_id": 1,
        "channel": "v4_orderbook",
        "id": "BTC-USD",
        "contents": {"bids": [], "asks": []},
    }
    (data,) = connection.publish("v4_orderbook", "BTC-USD", UPDATE)
    assert read(data) == {
        "type": "channel_data",
        "connection_id": "c",
        "message_id": 2,
        "id": "BTC-USD",
        "channel": "v4_orderbook",
        "version": "1.0.0",
        "contents": {"bids": [["1", "2"]]},
    }
    assert connection.publish("v4_orderbook", "ETH-USD", UPDATE) == []
    (bye,) = connection.receive(encode_client(Unsubscribe("v4_orderbook", "BTC-USD")), 5)
    assert read(bye)["message_id"] == 3
    assert connection.publish("v4_orderbook", "BTC-USD", UPDATE) == []


def test_markets_have_no_id() -> None:
    """Neither in the answer nor in the data."""
    connection = start()
    assert "id" not in join(connection, "v4_markets", None)
    (data,) = connection.publish("v4_markets", "v4_markets", MarketsUpdate(trading={}))
    assert "id" not in read(data)


def test_batches_flow_every_250_ms_and_by_subaccount() -> None:
    """One message per subaccount number, in order."""
    connection = start()
    join(connection, "v4_parent_subaccounts", "dydx1x/0", batched=True)
    for number in (0, 128, 0):
        assert connection.publish("v4_parent_subaccounts", "dydx1x/0", SubaccountUpdate(block_height="1"), number) == []
    assert connection.advance(249) == []
    first, second = (read(one) for one in connection.advance(250))
    assert (first["type"], len(first["contents"]), first["subaccountNumber"]) == ("channel_batch_data", 2, 0)
    assert (second["subaccountNumber"], second["message_id"]) == (128, first["message_id"] + 1)
    assert connection.advance(500) == []


def test_what_is_published_before_the_answer_comes_after_it() -> None:
    """Nothing is lost between the request and its answer."""
    connection = start()
    fetch = ask(connection, "v4_orderbook", "BTC-USD")
    assert connection.publish("v4_orderbook", "BTC-USD", UPDATE) == []
    kinds = [read(one)["type"] for one in connection.subscribed(fetch, BookSnapshot())]
    assert kinds == ["subscribed", "channel_data"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("{", "Invalid message: could not parse"),
        ("[]", "Invalid message: type is required"),
        ("{}", "Invalid message: type is required"),
        ('{"type":"shout"}', "Invalid message type: shout"),
        ('{"type":"subscribe"}', "Invalid subscribe message: channel is required"),
        ('{"type":"subscribe","channel":"v4_dreams"}', "Invalid channel: v4_dreams"),
        ('{"type":"subscribe","channel":"v4_trades"}', "Invalid id: undefined"),
        ('{"type":"subscribe","channel":"v4_trades","id":5}', "Invalid id: 5"),
        (
            '{"type":"subscribe","channel":"v4_trades","id":"XYZ"}',
            "Invalid subscription id for channel: (v4_trades-XYZ)",
        ),
        (
            '{"type":"subscribe","channel":"v4_candles","id":"BTC-USD/2MINS"}',
            "Invalid subscription id for channel: (v4_candles-BTC-USD/2MINS)",
        ),
        (
            '{"type":"subscribe","channel":"v4_subaccounts","id":"a/128000"}',
            "Invalid subscription id for channel: (v4_subaccounts-a/128000)",
        ),
        (
            '{"type":"subscribe","channel":"v4_parent_subaccounts","id":"a/128"}',
            "Invalid subscription id for channel: (v4_parent_subaccounts-a/128)",
        ),
    ],
)
def test_error_texts(text: str, answer: str) -> None:
    """Word for word."""
    (said,) = start().receive(text, 0)
    assert read(said)["message"] == answer
    assert read(said)["type"] == "error"


def test_limits() -> None:
    """32 per channel, 1 block height, twice the same, too often, too much nonsense."""
    connection = start()
    for number in range(32):
        join(connection, "v4_trades", f"M{number}-USD")
    assert read(ask(connection, "v4_trades", "BTC-USD"))["message"] == (
        "Per-connection subscription limit reached for v4_trades (limit=32)."
    )
    join(connection, "v4_orderbook", "BTC-USD")
    assert read(ask(connection, "v4_orderbook", "BTC-USD"))["message"] == (
        "Invalid subscribe message: already subscribed (v4_orderbook-BTC-USD)"
    )
    error, close = ask(connection, "v4_orderbook", "BTC-USD", 999)
    assert read(error)["message"] == (
        "Too many subscribe attempts for channel v4_orderbook-BTC-USD. Please  reconnect and try again."
    )
    assert close == Close(1008, '{"message":"Rate limited"}')
    assert connection.receive("{}", 0) == connection.advance(10**9) == []
    connection = start()
    for _ in range(2):
        assert len(connection.receive("{", 10)) == 1
    error, close = connection.receive("{", 20)
    assert read(error)["message"] == "Too many invalid messages. Please reconnect and try again."
    assert close == Close(1008, '{"message":"Rate limited"}')


def test_heartbeats_and_ends() -> None:
    """A ping every 30 s, 1011 without a pong in 10 s, 1012 at a restart; JSON pings are ignored."""
    connection = start()
    assert connection.receive(encode_client(Ping()), 0) == []
    assert connection.advance(29_999) == []
    assert connection.advance(30_000) == [SendPing()]
    connection.note_pong()
    assert connection.advance(40_000) == []
    assert connection.advance(60_000) == [SendPing()]
    assert connection.advance(70_000) == [Close(1011, "Heartbeat timeout")]
    assert start().restart() == [Close(1012, '{"message":"Service restarting"}')]


def test_a_fetch_that_fails() -> None:
    """Says so, and the channel may be asked for again."""
    connection = start()
    fetch = ask(connection, "v4_orderbook", "BTC-USD")
    (said,) = connection.failed(fetch)
    assert read(said)["message"] == "Internal error, could not fetch data for subscription: v4_orderbook."
    assert join(connection, "v4_orderbook", "BTC-USD")["message_id"] == 2


def test_ids_show_no_hole_unless_something_is_lost() -> None:
    """Errors repeat an id, data counts on."""
    connection, check = start(), MessageIdCheck()
    said = [*connection.open(0), *connection.receive("{", 0)]
    said += connection.subscribed(ask(connection, "v4_orderbook", "BTC-USD"), BookSnapshot())
    said += connection.receive('{"type":"subscribe","channel":"x"}', 0)
    for _ in range(5):
        said += connection.publish("v4_orderbook", "BTC-USD", UPDATE)
    ids = [read(one)["message_id"] for one in said]
    assert not any(check.note(message_id) for message_id in ids)
    assert any(MessageIdCheck(ids[0]).note(message_id) for message_id in ids[3:5])


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=60)
    | st.binary(max_size=60)
    | st.fixed_dictionaries(
        {
            "type": st.sampled_from(["subscribe", "unsubscribe", "ping", 5, None, {}]),
            "channel": st.sampled_from(["v4_trades", "v4_markets", "v4_subaccounts", "x", 5, [], None]),
            "id": st.sampled_from(["BTC-USD", "a/0", "a/²", "/", 5, None, {}]),
        }
    ).map(json.dumps)
)
def test_junk_of_a_client_is_answered(text: str | bytes) -> None:
    """Whatever comes, the machine lives."""
    decode_client(text)
    start().receive(text, 0)
