"""The socket codec: real captures whole, every kind by example, and bytes that no venue sends."""

import contextlib
import json
import random
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.book import BookDiff
from market.captures import parse_depth
from market.records import Side
from tests.shared_data import needs_shared
from tests.unit.venues.binance.captured import BTC, ETH, LONG, SPOT, read_lines, read_messages
from venues.binance import numbers
from venues.binance.messages import (
    AggTrade,
    BookSnapshotText,
    BookTicker,
    ControlError,
    ControlReply,
    DepthUpdate,
    ForceOrder,
    Kline,
    MarkPrice,
    MarkPrices,
    ServerShutdown,
    StreamMessage,
    Trade,
    UnknownMessage,
    decode_message,
    encode_message,
)
from venues.binance.numbers import (
    LotScale,
    MalformedMessageError,
    UnknownValue,
    parse_decimal,
    parse_px,
    parse_qty,
)
from venues.binance.ticker_messages import (
    AveragePxMessage,
    ContinuousKline,
    DayTickerMessage,
    DayTickers,
    MiniTicker,
    MiniTickers,
    WindowTickerMessage,
)

EXAMPLES = {  # from the fact sheet and the manuals; 2026 fields included
    "agg_trade": '{"e":"aggTrade","E":1760000000123,"s":"BTCUSDT","a":26129,"p":"84143.10","q":"0.012","nq":"0.012",'
    '"f":100,"l":105,"T":1760000000120,"m":true,"st":1}',
    "agg_trade_spot": '{"e":"aggTrade","E":1,"s":"BNBBTC","a":1,"p":"0.001","q":"100","f":1,"l":5,"T":1,"m":true,'
    '"M":true}',
    "trade_spot_old": '{"e":"trade","E":1,"s":"BNBBTC","t":5,"p":"0.001","q":"100","b":88,"a":50,"T":1,"m":true,'
    '"M":true}',
    "depth": '{"e":"depthUpdate","E":2,"T":1,"s":"BTCUSDT","ps":"BTCUSDT","U":157,"u":160,"pu":149,'
    '"b":[["84143.10","10"]],"a":[["84143.20","0"]],"st":1}',
    "book_ticker": '{"e":"bookTicker","u":9,"s":"BTCUSDT","ps":"BTCUSDT","b":"1.0","B":"2","a":"1.1","A":"3","T":1,'
    '"E":2,"st":1}',
    "book_ticker_spot": '{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21","a":"25.3652","A":"40.66"}',
    "mark_px": '{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"84143.1","ap":"84143.0","i":"84140.2","P":"84100",'
    '"r":"0.00010000","T":1760000000000,"st":1}',
    "mark_px_delivery": '{"e":"markPriceUpdate","E":1,"s":"BTCUSDT_251226","p":"1","i":"1","P":"1","r":"","T":0}',
    "mark_px_array": '[{"e":"markPriceUpdate","E":1,"s":"A","p":"1","i":"1","P":"1","r":"","T":0}]',
    "kline": '{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":0,"T":899999,"s":"BTCUSDT","i":"15m","f":100,"L":200,'
    '"o":"1","c":"2","h":"3","l":"0.5","v":"10","n":100,"x":false,"q":"15","V":"5","Q":"7","B":"0"}}',
    "force_order": '{"e":"forceOrder","E":1,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.014",'
    '"p":"9910","ap":"9910","X":"FILLED","l":"0.014","z":"0.014","T":1}}',
    "partial_depth_spot": '{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[["0.0026","100"]]}',
    "shutdown": '{"e":"serverShutdown","E":1770123456789}',
    "ticker": '{"e":"24hrTicker","E":1,"s":"BTCUSDT","p":"0.0015","P":"250.00","w":"0.0018","c":"0.0025","Q":"10",'
    '"o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151}',
    "ticker_array": '[{"e":"24hrTicker","E":1,"s":"BNBBTC","p":"0.0015","P":"250.00","w":"0.0018","x":"0.0009",'
    '"c":"0.0025","Q":"10","b":"0.0024","B":"10","a":"0.0026","A":"100","o":"0.0010","h":"0.0025","l":"0.0010",'
    '"v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151}]',
    "mini_ticker": '{"e":"24hrMiniTicker","E":1,"s":"BTCUSDT","c":"0.0025","o":"0.0010","h":"0.0025","l":"0.0010",'
    '"v":"10000","q":"18","st":1,"ps":"BTCUSDT"}',
    "mini_ticker_array": '[{"e":"24hrMiniTicker","E":1,"s":"A","c":"2","o":"1","h":"2","l":"1","v":"1","q":"1"}]',
    "window_ticker": '{"e":"1hTicker","E":1,"s":"BNBBTC","p":"0.0015","P":"250.00","o":"0.0010","h":"0.0025",'
    '"l":"0.0010","c":"0.0025","w":"0.0018","v":"10000","q":"18","O":0,"C":1,"F":0,"L":18150,"n":18151}',
    "average_px": '{"e":"avgPrice","E":1693907033000,"s":"BTCUSDT","i":"5m","w":"25776.86","T":1693907032213}',
    "continuous_kline": '{"e":"continuous_kline","E":1,"ps":"BTCUSDT","ct":"PERPETUAL","k":{"t":0,"T":59999,"i":"1m",'
    '"f":100,"L":200,"o":"1","c":"2","h":"3","l":"0.5","v":"10","n":100,"x":false,"q":"15","V":"5","Q":"7","B":"0"}}',
}
KINDS = {
    "agg_trade": AggTrade,
    "agg_trade_spot": AggTrade,
    "trade_spot_old": Trade,
    "depth": DepthUpdate,
    "book_ticker": BookTicker,
    "book_ticker_spot": BookTicker,
    "mark_px": MarkPrice,
    "mark_px_delivery": MarkPrice,
    "mark_px_array": MarkPrices,
    "kline": Kline,
    "force_order": ForceOrder,
    "partial_depth_spot": BookSnapshotText,
    "shutdown": ServerShutdown,
    "ticker": DayTickerMessage,
    "ticker_array": DayTickers,
    "mini_ticker": MiniTicker,
    "mini_ticker_array": MiniTickers,
    "window_ticker": WindowTickerMessage,
    "average_px": AveragePxMessage,
    "continuous_kline": ContinuousKline,
}


@needs_shared
@pytest.mark.parametrize(
    ("name", "lines", "depths", "tickers", "trades"),
    [
        (BTC, 30_000, 2381, 23_053, 4565),
        (ETH, 15_000, 1251, 11_419, 2329),
        (SPOT, 15_000, 1349, 10_906, 2744),
        (LONG, 71_984, 9022, 52_260, 10_701),
    ],
)
def test_captures_decode_whole_and_round_trip(name: str, lines: int, depths: int, tickers: int, trades: int) -> None:
    counts = {kind: 0 for kind in (DepthUpdate, BookTicker, Trade, BookSnapshotText)}
    decode = msgspec.json.decode
    for (_, line), (_, message) in zip(read_lines(name), read_messages(name), strict=True):
        counts[type(message.data)] += 1  # type: ignore[index]
        assert decode(encode_message(message)) == decode(line)
        assert decode_message(encode_message(message)) == message
    assert list(counts.values()) == [depths, tickers, trades, 1]
    assert sum(counts.values()) == lines


@needs_shared
@pytest.mark.parametrize("name", [BTC, ETH, SPOT])
def test_diffs_of_captures_equal_those_of_the_archive_reader(name: str) -> None:
    scale = LotScale("0.00000001" if name == SPOT else "0.001")  # spot's book holds orders older than its step
    for (ts_ns, line), (_, message) in zip(read_lines(name), read_messages(name), strict=True):
        if isinstance(message.data, DepthUpdate):
            diff = message.data.to_diff(ts_ns)
            assert diff == parse_depth(line, ts_ns)
            in_lots = message.data.to_diff(ts_ns, scale)
            for (_, qty), (_, lots) in zip(diff.bids + diff.asks, in_lots.bids + in_lots.asks, strict=True):
                assert isinstance(lots, int)
                assert lots == round(Decimal(str(qty)) / scale.step)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("form", ["bare", "combined", "spaced", "data_first"])
def test_every_kind_in_every_form(name: str, form: str) -> None:
    text = EXAMPLES[name]
    frame = {
        "bare": text,
        "combined": f'{{"stream":"x@y","data":{text}}}',
        "spaced": json.dumps(json.loads(text), indent=1),
        "data_first": f'{{"data":{text},"stream":"x@y"}}',
    }[form]
    message = decode_message(frame.encode())
    assert type(message.data) is KINDS[name]
    assert message.stream == ("x@y" if form in ("combined", "data_first") else "")
    assert json.loads(encode_message(message)) == json.loads(frame)


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        ("btcusdt@depth@100ms", "depth"),
        ("btcusdt@aggTrade", "agg_trade"),
        ("btcusdt@markPrice@1s", "mark_px"),
        ("btcusdt@kline_15m", "kline"),
        ("btcusdt@bookTicker", "book_ticker_spot"),
        ("btcusdt@depth5@100ms", "partial_depth_spot"),
        ("btcusdt@depth20@500ms", "depth"),
        ("!markPrice@arr@1s", "mark_px_array"),
        ("!forceOrder@arr", "force_order"),
    ],
)
def test_the_name_of_a_stream_finds_the_decoder(stream: str, name: str) -> None:
    message = decode_message(f'{{"stream":"{stream}","data":{EXAMPLES[name]}}}'.encode())
    assert (message.stream, type(message.data)) == (stream, KINDS[name])


def test_empty_funding_is_not_zero() -> None:
    delivery, perpetual = (decode_message(EXAMPLES[key].encode()).data for key in ("mark_px_delivery", "mark_px"))
    assert isinstance(delivery, MarkPrice)
    assert isinstance(perpetual, MarkPrice)
    assert (delivery.has_funding, perpetual.has_funding) == (False, True)


def test_unknown_words_and_fields_are_kept_or_skipped() -> None:
    order = decode_message(EXAMPLES["force_order"].encode()).data
    strange = decode_message(EXAMPLES["force_order"].replace("SELL", "SHORT").encode()).data
    assert isinstance(order, ForceOrder)
    assert isinstance(strange, ForceOrder)
    assert order.order.side is Side.SELL
    assert (strange.order.side, type(strange.order.side)) == ("SHORT", UnknownValue)
    new_field = decode_message(EXAMPLES["book_ticker"].replace('"st":1', '"st":1,"zz":[{}]').encode())
    assert new_field == decode_message(EXAMPLES["book_ticker"].encode())
    for frame in (b'{"e":"assetIndexUpdate","E":1}', b'[{"e":"assetIndexUpdate"}]', b'{"x":1}', b"[]", b'{"id":1}'):
        message = decode_message(frame)
        assert isinstance(message.data, UnknownMessage) or frame == b"[]"
        assert encode_message(message) == frame
    assert decode_message(b'{"e":"contractInfo"}').data == UnknownMessage(
        UnknownValue("contractInfo"), b'{"e":"contractInfo"}'
    )


@pytest.mark.parametrize(
    ("frame", "reply"),
    [
        (b'{"result":null,"id":1}', ControlReply(1)),
        (b'{"result":["btcusdt@aggTrade"],"id":3}', ControlReply(3, ["btcusdt@aggTrade"])),
        (b'{"error":{"code":2,"msg":"x"},"id":1}', ControlReply(1, None, ControlError(2, "x"))),
        (b'{"code":3,"msg":"y"}', ControlReply(None, None, ControlError(3, "y"))),
        (b'{"code":0,"msg":"Unknown property","id":"a"}', ControlReply("a", None, ControlError(0, "Unknown property"))),
    ],
)
def test_replies_to_control_frames(frame: bytes, reply: ControlReply) -> None:
    assert decode_message(frame) == StreamMessage("", reply)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"e":"aggTrade"}',
        b'{"e":"depthUpdate","E":1,"s":"A","U":1,"u":2,"b":[["1"]],"a":[]}',
        b'{"e":"depthUpdate","E":"1","s":"A","U":1,"u":2,"b":[],"a":[]}',
        b'{"stream":"btcusdt@depth","data":{"e":"trade"}}',
        b'{"stream":"a","data":{"stream":"b","data":{}}}',
        b'{"e":"tra\xff"}',
        b'{"lastUpdateId":1}',
        b"[" * 100_000,
        b'{"e":' * 50_000,
    ],
)
def test_malformed_frames_are_refused(frame: bytes) -> None:
    with pytest.raises(MalformedMessageError, match="not a Binance message"):
        decode_message(frame)


@given(st.binary(max_size=200))
def test_random_bytes_never_crash(content: bytes) -> None:
    for prefix in (b"", b'{"stream":"a@depth","data":', b'{"e":"trade",'):
        with contextlib.suppress(MalformedMessageError):
            decode_message(prefix + content)


def mutate(line: bytes, draw: random.Random) -> bytes:
    content = bytearray(line)
    for _ in range(draw.randint(1, 4)):
        at, kind = draw.randrange(len(content)), draw.randrange(4)
        if kind == 0:
            content[at] = draw.randrange(256)
        elif kind == 1:
            del content[at : at + draw.randint(1, 20)]
        elif kind == 2:
            content[at:at] = draw.choice(
                [b'"', b"}", b"[", b"null", b"1e999", b"-", b"\\ud800", b"99999999999999999999"]
            )
        else:
            content[at:at] = content[at : at + 30]
        content = content or bytearray(b" ")
    return bytes(content)


@needs_shared
@pytest.mark.parametrize("name", [BTC, SPOT])
def test_mutated_captures_never_crash(name: str) -> None:
    draw = random.Random(name)
    refused = 0
    for _, line in read_lines(name)[:6000]:
        try:
            data = decode_message(mutate(line, draw)).data
            if isinstance(data, DepthUpdate):
                assert isinstance(data.to_diff(), BookDiff)
                data.to_diff(0, LotScale("0.001"))
            elif isinstance(data, BookSnapshotText):
                data.to_snapshot()
        except MalformedMessageError:
            refused += 1
    assert refused > 1000


@given(lots=st.integers(0, 10**15), step=st.sampled_from(["0.001", "0.00001000", "1", "0.1", "10", "0.5", "0.00025"]))
def test_lots_are_exact_both_ways(lots: int, step: str) -> None:
    scale = LotScale(step)
    assert scale.to_lots(scale.to_text(lots)) == lots
    assert Decimal(scale.to_text(lots)) == lots * Decimal(step)
    assert scale.to_lots(f"{lots * Decimal(step):.10f}") == lots


@pytest.mark.parametrize(
    ("step", "text", "lots"),
    [("0.001", "2.507", 2507), ("0.001", "2", 2000), ("0.001", "2.5", 2500), ("0.001", "2.5070", 2507), ("1", "7", 7),
     ("1", "7.0", 7), ("0.001", "0", 0), ("0.001", "0.000", 0), ("0.5", "1.5", 3), ("10", "30", 3)],
)  # fmt: skip
def test_lots_of_the_texts_that_venues_send(step: str, text: str, lots: int) -> None:
    assert LotScale(step).to_lots(text) == lots


@pytest.mark.parametrize(
    "text", ["", "x", "1_0.000", "nan", "inf", "0.0015", "1e-9", "٣.000", "1..0", "1" * 90, ".", "-"]
)
def test_what_is_not_a_whole_number_of_lots_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessageError):
        LotScale("0.001").to_lots(text)


@pytest.mark.parametrize("text", ["", "x", "nan", "-inf", "inf", "1" * 99, "1_0"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessageError):
        parse_decimal(text)
    if text not in ("1" * 99, "1_0"):  # float64 can hold the first and reads the second
        with pytest.raises(MalformedMessageError):
            parse_px(text)
        with pytest.raises(MalformedMessageError):
            parse_qty(text)


@pytest.mark.parametrize("level", [["0", "1"], ["-1", "1"], ["1", "-1"], ["nan", "1"], ["1", "inf"], ["x", "1"]])
def test_impossible_levels_are_refused(level: list[str]) -> None:
    text = EXAMPLES["depth"].replace('["84143.10","10"]', json.dumps(level))
    update = decode_message(text.encode()).data
    assert isinstance(update, DepthUpdate)
    for scale in (None, LotScale("1")):
        with pytest.raises(MalformedMessageError):
            update.to_diff(0, scale)


def test_remembered_lots_are_bounded_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "CACHED_MAX", 10)
    scale = LotScale("0.001")
    for lots in [*range(40), *range(40)]:
        assert scale.lots_by_text[f"0.{lots:03d}"] == lots
        assert len(scale.lots_by_text) <= 10
