"""The Indexer's JSON: shapes of the fact sheet, round trips, exact numbers, tolerance, junk."""

import json
import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.venues.dydx.dydx_samples import BTC
from venues.dydx import indexer
from venues.dydx.chain_errors import MalformedMessageError
from venues.dydx.indexer import decode_json, encode_json
from venues.dydx.indexer_records import BookSnapshot, BookUpdate, FillRow, OrderRow, merge_order
from venues.dydx.indexer_stream import CONTENTS, ORDERBOOK, ChannelData, Subscribed, decode_server, encode_server
from venues.dydx.units import size_to_quantums

MARKET = {
    "clobPairId": "0", "ticker": "BTC-USD", "status": "ACTIVE", "oraclePrice": "100000.12", "priceChange24H": "-12.5",
    "volume24H": "1234567.89", "trades24H": 1234, "nextFundingRate": "0.00000000125", "initialMarginFraction": "0.02",
    "maintenanceMarginFraction": "0.012", "openInterest": "123.4567", "atomicResolution": -10,
    "quantumConversionExponent": -9, "tickSize": "1", "stepSize": "0.0001", "stepBaseQuantums": 1000000,
    "subticksPerTick": 100000, "marketType": "CROSS", "openInterestLowerCap": "0", "openInterestUpperCap": "0",
    "baseOpenInterest": "120.1", "defaultFundingRate1H": "0",
}  # fmt: skip
POSITION = {
    "market": "BTC-USD", "status": "OPEN", "side": "SHORT", "size": "-0.0029", "maxSize": "-0.01",
    "entryPrice": "99000", "exitPrice": None, "realizedPnl": "1.5", "unrealizedPnl": "-2.25", "netFunding": "0.01",
    "sumOpen": "0.01", "sumClose": "0.0071", "createdAt": "2026-01-01T00:00:00.000Z", "createdAtHeight": "5",
    "closedAt": None, "subaccountNumber": 0,
}  # fmt: skip
USDC = {"symbol": "USDC", "side": "LONG", "size": "1000.000001", "assetId": "0", "subaccountNumber": 0}
SUBACCOUNT = {
    "address": "dydx1x", "subaccountNumber": 0, "equity": "1000.5", "freeCollateral": "900",
    "openPerpetualPositions": {"BTC-USD": POSITION}, "assetPositions": {"USDC": USDC}, "marginEnabled": True,
    "updatedAtHeight": "9", "latestProcessedBlockHeight": "10",
}  # fmt: skip
ORDER = {
    "id": "fceca467-ce22-5b23-bb56-d4265a82a48b", "subaccountId": "s", "clientId": "123", "clobPairId": "0",
    "side": "BUY", "size": "0.0029", "totalFilled": "0", "price": "100000", "type": "LIMIT", "status": "OPEN",
    "timeInForce": "GTT", "postOnly": False, "reduceOnly": False, "orderFlags": "64", "goodTilBlockTime":
    "2026-01-01T00:00:00.000Z", "createdAtHeight": "7", "clientMetadata": "0", "updatedAt":
    "2026-01-01T00:00:00.000Z", "updatedAtHeight": "7", "ticker": "BTC-USD", "subaccountNumber": 0,
}  # fmt: skip
FILL = {
    "id": "f", "side": "BUY", "liquidity": "TAKER", "type": "LIMIT", "price": "100000", "size": "0.001",
    "createdAt": "2026-01-01T00:00:00.000Z", "createdAtHeight": "7", "fee": "0.05", "market": "BTC-USD",
    "marketType": "PERPETUAL", "orderId": "o", "clientMetadata": "0", "subaccountNumber": 0,
}  # fmt: skip
WS_FILL = {
    "id": "f", "side": "BUY", "liquidity": "MAKER", "type": "LIMIT", "price": "100000", "size": "0.001",
    "createdAt": "2026-01-01T00:00:00.000Z", "createdAtHeight": "7", "subaccountId": "s", "clobPairId": "0",
    "orderId": "o", "ticker": "BTC-USD", "quoteAmount": "100", "eventId": "0a", "transactionHash": "AB",
}  # fmt: skip
TRADE = {"id": "t", "side": "SELL", "size": "0.5", "price": "3", "createdAt": "2026", "type": "LIMIT"}
CANDLE = {
    "startedAt": "2026-01-01T00:00:00.000Z", "ticker": "BTC-USD", "resolution": "15MINS", "low": "1", "high": "2",
    "open": "1", "close": "2", "baseTokenVolume": "10", "usdVolume": "15", "trades": 3, "startingOpenInterest": "5",
    "orderbookMidPriceOpen": None, "orderbookMidPriceClose": "1.5",
}  # fmt: skip
HEIGHT = {"height": "123", "time": "2026-01-01T00:00:00.000Z"}
TRANSFER = {
    "sender": {"address": "dydx1x"}, "recipient": {"address": "dydx1x", "subaccountNumber": 0}, "size": "5",
    "symbol": "USDC", "type": "DEPOSIT", "transactionHash": "AB",
}  # fmt: skip

REPLIES: list[tuple[str, Any]] = [
    ("/v4/perpetualMarkets", {"markets": {"BTC-USD": MARKET}}),
    ("/v4/orderbooks/perpetualMarket/BTC-USD", {"bids": [{"price": "1", "size": "2"}], "asks": []}),
    ("/v4/trades/perpetualMarket/BTC-USD", {"trades": [TRADE | {"createdAtHeight": "7"}]}),
    ("/v4/candles/perpetualMarkets/BTC-USD", {"candles": [CANDLE]}),
    (
        "/v4/historicalFunding/BTC-USD",
        {
            "historicalFunding": [
                {"ticker": "BTC-USD", "rate": "0.0000125", "price": "1", "effectiveAt": "x", "effectiveAtHeight": "1"}
            ]
        },
    ),
    ("/v4/sparklines", {"BTC-USD": ["1", "2.5"]}),
    ("/v4/time", {"iso": "2026-01-01T00:00:00.000Z", "epoch": 1767225600.5}),
    ("/v4/height", HEIGHT),
    ("/v4/addresses/dydx1x", {"subaccounts": [SUBACCOUNT], "totalTradingRewards": "0"}),
    ("/v4/addresses/dydx1x/subaccountNumber/0", {"subaccount": SUBACCOUNT}),
    (
        "/v4/addresses/dydx1x/parentSubaccountNumber/0",
        {
            "subaccount": {
                "address": "dydx1x",
                "parentSubaccountNumber": 0,
                "equity": "1",
                "freeCollateral": "1",
                "childSubaccounts": [SUBACCOUNT],
            }
        },
    ),
    ("/v4/perpetualPositions", {"positions": [POSITION]}),
    ("/v4/assetPositions", {"positions": [USDC]}),
    ("/v4/orders", [ORDER]),
    (f"/v4/orders/{ORDER['id']}", ORDER),
    ("/v4/fills", {"fills": [FILL], "pageSize": 100, "totalResults": 1, "offset": 0}),
    ("/v4/transfers", {"transfers": [TRANSFER]}),
    (
        "/v4/fundingPayments",
        {
            "fundingPayments": [
                {
                    "createdAt": "x", "createdAtHeight": "1", "perpetualId": "0", "ticker": "BTC-USD",
                    "oraclePrice": "1", "size": "-2", "side": "SHORT", "rate": "0.00001", "payment": "0.5",
                    "subaccountNumber": "0", "fundingIndex": "1",
                }
            ]
        },
    ),
    (
        "/v4/historical-pnl",
        {
            "historicalPnl": [
                {
                    "equity": "1", "totalPnl": "0", "netTransfers": "1", "createdAt": "x", "blockHeight": "1",
                    "blockTime": "x",
                }
            ]
        },
    ),
    ("/v4/compliance/screen/dydx1x", {"status": "COMPLIANT", "reason": None, "updatedAt": None}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "reply"), REPLIES, ids=[path for path, _ in REPLIES])
def test_replies_are_read_and_written_unchanged(path: str, reply: Any) -> None:
    """Every documented field comes back as it was: the same JSON, to the digit."""
    found = indexer.match_path(path)
    assert found is not None
    record = decode_json(indexer.REST_REPLIES[found[0]], json.dumps(reply))
    assert json.loads(encode_json(record)) == reply


@pytest.mark.parametrize(("path", "reply"), REPLIES, ids=[path for path, _ in REPLIES])
def test_damaged_replies_never_crash(path: str, reply: Any) -> None:
    """Random damage: read, or MalformedMessageError."""
    chance, text = random.Random(path), json.dumps(reply).encode()
    found = indexer.match_path(path)
    assert found is not None
    for _ in range(60):
        damaged = bytearray(text)
        place = chance.randrange(len(damaged))
        damaged[place : place + chance.randrange(4)] = bytes(chance.randrange(256) for _ in range(chance.randrange(3)))
        try:
            encode_json(decode_json(indexer.REST_REPLIES[found[0]], bytes(damaged)))
        except MalformedMessageError:
            continue


def test_unknown_fields_and_values_are_no_trouble() -> None:
    """New fields are skipped, new enum values kept."""
    row = decode_json(FillRow, json.dumps(FILL | {"type": "BRAND_NEW", "zzz": [1, {"y": 2}]}))
    assert row.type == "BRAND_NEW"
    assert row.instrument_ticker == "BTC-USD"
    assert decode_json(FillRow, json.dumps(WS_FILL)).instrument_ticker == "BTC-USD"


@pytest.mark.parametrize("text", ['"NaN"', '"sNaN"', '"-Infinity"', '" inf "', '"x"', '""', "[]", "tru"])
def test_numbers_that_are_none_are_malformed(text: str) -> None:
    """Nothing that is not a finite decimal comes in."""
    with pytest.raises(MalformedMessageError):
        decode_json(BookSnapshot, f'{{"bids":[{{"price":{text},"size":"1"}}],"asks":[]}}')


@settings(max_examples=200, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=None, min_value=-(10**20), max_value=10**20))
def test_numbers_are_exact_and_plain(number: Decimal) -> None:
    """Any Decimal goes out without an exponent and comes back equal."""
    if abs(number.adjusted()) > 60:
        return
    text = encode_json(BookUpdate(bids=((number, Decimal(0)),)))
    assert b"e" not in text.replace(b"bids", b"").lower()
    assert decode_json(BookUpdate, text).bids[0][0] == number


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_junk_is_malformed(junk: bytes | str) -> None:
    """Nothing else is raised."""
    for kind in (indexer.MarketsReply, indexer.OrdersReply, indexer.ErrorReply):
        try:
            decode_json(kind, junk)
        except MalformedMessageError:
            continue


def test_hex_is_not_taken_for_numbers() -> None:
    """Event ids and hashes may look like 5e123: they pass as they are; a size like that is refused by the units."""
    row = WS_FILL | {"eventId": "0000000005e1234000000002", "transactionHash": "1E55", "id": "1e-999"}
    assert json.loads(encode_json(decode_json(FillRow, json.dumps(row)))) == row
    huge = decode_json(FillRow, json.dumps(WS_FILL | {"size": "1e999999"})).size
    with pytest.raises(ValueError, match="at most 40 digits"):
        size_to_quantums(BTC, huge)
    assert len(encode_json(BookUpdate(bids=((huge, huge),)))) < 100


def test_orders_are_merged_by_id() -> None:
    """A removal says status and reason only; the rest stays."""
    order = decode_json(OrderRow, json.dumps(ORDER))
    removal = decode_json(
        OrderRow, json.dumps({"id": ORDER["id"], "status": "CANCELED", "removalReason": "ORDER_REMOVAL_REASON_EXPIRED"})
    )
    merged = merge_order(order, removal)
    assert (merged.status, merged.size, merged.removal_reason) == (
        "CANCELED",
        Decimal("0.0029"),
        "ORDER_REMOVAL_REASON_EXPIRED",
    )
    assert merge_order(None, removal) is removal
    with pytest.raises(ValueError, match="must be for"):
        merge_order(order, OrderRow("other"))


def test_errors_paths_flags_and_times() -> None:
    """The small parts."""
    error = indexer.make_error(indexer.explain_no_subaccount("dydx1x", 0))
    text = encode_json(error)
    assert text == b'{"errors":[{"msg":"No subaccount found with address dydx1x and subaccountNumber 0"}]}'
    assert indexer.read_error(text) == error.errors[0].msg
    assert indexer.read_error(b"<html>502") == "<html>502"
    assert indexer.match_path("/v4/unknown") is None
    assert indexer.match_path("/v4/addresses//subaccountNumber/0") is None
    assert indexer.read_flag({}, "x") is None
    assert indexer.read_flag({"x": "true"}, "x") is True
    with pytest.raises(ValueError, match="boolean"):
        indexer.read_flag({"x": "True"}, "x")  # what the SDK sends
    for ts_ns in (0, 1_767_225_600_123_000_000):
        assert indexer.read_time(indexer.show_time(ts_ns)) == ts_ns
    with pytest.raises(MalformedMessageError):
        indexer.read_time("yesterday")


UPDATES: dict[str, tuple[Any, Any]] = {
    "v4_orderbook": (REPLIES[1][1], {"bids": [["1", "0"]]}),
    "v4_trades": ({"trades": [TRADE | {"createdAtHeight": "7"}]}, {"trades": [TRADE]}),
    "v4_markets": (
        {"markets": {"BTC-USD": MARKET}},
        {
            "oraclePrices": {
                "BTC-USD": {"oraclePrice": "1", "effectiveAt": "x", "effectiveAtHeight": "1", "marketId": 0}
            }
        },
    ),
    "v4_candles": ({"candles": [CANDLE]}, CANDLE),
    "v4_subaccounts": (
        {"subaccount": SUBACCOUNT, "orders": [ORDER], "blockHeight": "5"},
        {"orders": [{"id": "o", "status": "BEST_EFFORT_CANCELED"}], "fills": [WS_FILL], "blockHeight": "6"},
    ),
    "v4_parent_subaccounts": (
        {"subaccount": REPLIES[10][1]["subaccount"], "orders": [], "blockHeight": "5"},
        {"perpetualPositions": [POSITION], "assetPositions": [USDC], "transfers": TRANSFER, "blockHeight": "6"},
    ),
    "v4_block_height": (HEIGHT, {"blockHeight": "124", "time": "2026-01-01T00:00:01.000Z"}),
}


@pytest.mark.parametrize("channel", list(CONTENTS))
def test_every_channel_streams_both_ways(channel: str) -> None:
    """Subscribed, single and batched updates: read and written unchanged."""
    first, update = UPDATES[channel]
    head = {"connection_id": "c", "message_id": 1, "channel": channel}
    head |= {} if channel == "v4_markets" else {"id": "BTC-USD"}
    messages = [
        {"type": "subscribed", "contents": first} | head,
        {"type": "channel_data", "version": "1.0.0", "contents": update} | head,
        {"type": "channel_batch_data", "version": "1.0.0", "contents": [update, update], "subaccountNumber": 3} | head,
        {"type": "unsubscribed"} | head,
    ]
    for message in messages:
        decoded = decode_server(json.dumps(message))
        assert json.loads(encode_server(decoded)) == message
        if isinstance(decoded, ChannelData):
            assert len(decoded.updates) == (2 if decoded.is_batch else 1)
    chance = random.Random(channel)
    for message in messages:
        text = json.dumps(message).encode()
        for _ in range(40):
            damaged = bytearray(text)
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            try:
                encode_server(decode_server(bytes(damaged)))
            except MalformedMessageError:
                continue


def test_an_empty_subaccount_and_messages_nobody_knew() -> None:
    """{} for an account nobody funded; unknown types and channels come out whole."""
    empty = decode_server(
        '{"type":"subscribed","connection_id":"c","message_id":1,"channel":"v4_subaccounts","id":"a/0","contents":{}}'
    )
    assert isinstance(empty, Subscribed)
    assert empty.contents.subaccount is msgspec.UNSET
    for text in ('{"type":"news"}', '{"type":"channel_data","channel":"v9_dreams","contents":1}', "{}"):
        assert type(decode_server(text)).__name__ == "UnknownMessage"
    assert decode_server('{"type":"error","message":"m","connection_id":"c","message_id":2}').message == "m"  # type: ignore[union-attr]
    with pytest.raises(MalformedMessageError):
        decode_server(f'{{"type":"subscribed","channel":"{ORDERBOOK}","contents":5}}')


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0.0050", "0.005"), ("59971.0", "59971"), ("0.0000", "0"), ("-0.0", "0"), ("100", "100"), ("1E+3", "1000"),
        ("-1.50", "-1.5"), ("1.50E-9", "0.0000000015"), ("0E-8", "0"), ("1000.010", "1000.01"),
    ],
)  # fmt: skip
def test_numbers_are_written_without_zeros_at_their_end(number: str, text: str) -> None:
    update = BookUpdate(bids=((Decimal(number), Decimal(number)),))
    assert json.loads(encode_json(update)) == {"bids": [[text, text]]}


def test_only_numbers_lose_zeros() -> None:
    texts = ["1.0.0", "2026-01-01T00:00:00.000Z", "a1.0", "00", "0x10", "BTC-USD/1.0 "]
    assert json.loads(encode_json(texts)) == texts
