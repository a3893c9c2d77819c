"""Messages a second decoded: real captures where they are, else what our simulators say; beside what peers do."""

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from v4_proto.cosmos.tx.v1beta1 import tx_pb2

from tests.venues.others import frames, serving
from venues.binance import messages as binance
from venues.dydx import indexer_stream
from venues.dydx.order_terms import Order, OrderId, PlaceOrder, Side, SubaccountId
from venues.dydx.signing import SigningKey
from venues.dydx.transactions import LOCALNET, Account, decode_tx, sign_tx
from venues.hyperliquid import frames as hyperliquid
from venues.hyperliquid.signing import load_wallet

FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "fixtures"
CAPTURES = {
    "binance": FIXTURES / "binance" / "hftbacktest" / "usdm_btcusdt_20240808_first30000.gz",
    "hyperliquid": FIXTURES / "hyperliquid" / "hftbacktest" / "btcusd_20250126.gz",
}
CAPTURED_MAX = 20_000
GENERATED = 400
SECONDS = 1.0


class DecodeRow(NamedTuple):
    """One line of the table."""

    label: str
    messages_s: float
    ratio: float  # to the first line of its group; 0.0: it is the first


def measure_decoding() -> list[DecodeRow]:
    """Return the rows of all venues; the first of each is ours."""
    address = load_wallet("0x" + serving.SECRETS[0]).address
    dydx_address = SigningKey.from_hex(serving.SECRETS[0]).address
    messages, source = _read("binance", serving.make_binance, lambda served: frames.record_binance(served, GENERATED))
    rows = _compare("binance, texts of levels kept", messages, source, binance.decode_message)
    rows.insert(1, DecodeRow("  and books' changes in floats", *_relate(_decode_to_floats, messages, rows[0])))
    messages, source = _read(
        "hyperliquid", serving.make_hyperliquid, lambda served: frames.record_hyperliquid(served, address, GENERATED)
    )
    rows += _compare("hyperliquid", messages, source, hyperliquid.decode_frame)
    messages, source = _read(
        "dydx", serving.make_dydx, lambda served: frames.record_dydx(served, dydx_address, GENERATED)
    )
    rows += _compare("dydx", messages, source, indexer_stream.decode_server)
    return rows + _compare_transactions()


def _read(
    venue: str, make: Callable[[], Any], record: Callable[[serving.Served], list[bytes]]
) -> tuple[list[bytes], str]:
    path = CAPTURES.get(venue)
    if path is not None and path.is_file():
        with gzip.open(path, "rb") as lines:
            return [line.split(b" ", 1)[1].strip() for line in lines if line.strip()][:CAPTURED_MAX], "captured"
    with serving.serve(make()) as served:
        return record(served), "generated"


def _decode_to_floats(message: bytes) -> object:
    data = binance.decode_message(message).data
    return data.to_diff(0) if isinstance(data, binance.DepthUpdate) else data


def _relate(decode: Callable[[bytes], object], messages: list[bytes], first: DecodeRow) -> tuple[float, float]:
    messages_s = _rate(decode, messages)
    return messages_s, messages_s / first.messages_s


def _compare(venue: str, messages: list[bytes], source: str, decode: Callable[[bytes], object]) -> list[DecodeRow]:
    size = sum(map(len, messages)) // len(messages)
    first = DecodeRow(f"{venue} ({len(messages):,} {source}, mean {size} B)", _rate(decode, messages), 0.0)
    plain, floats = _relate(json.loads, messages, first), _relate(_read_as_sdks_do, messages, first)
    return [
        first,
        DecodeRow("  json.loads: dicts of text, what SDKs hand out", *plain),
        DecodeRow("  json.loads, then float() of every number in text", *floats),
    ]


def _read_as_sdks_do(message: bytes) -> Any:
    return _to_floats(json.loads(message))


def _to_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_floats(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_to_floats(one) for one in value]
    if isinstance(value, str) and value[:1].isdigit():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _compare_transactions() -> list[DecodeRow]:
    key = SigningKey.from_hex(serving.SECRETS[0])
    messages = [
        sign_tx(
            PlaceOrder(
                Order(OrderId(SubaccountId(key.address), one), Side.BUY, 10_000_000, 5_000_000_000, good_til_block=20)
            ),
            key,
            Account(LOCALNET, 0, one),
        )
        for one in range(200)
    ]
    ours, peer = _rate(decode_tx, messages), _rate(_parse_with_protobuf, messages)
    return [
        DecodeRow("dydx: signed transactions, checked records", ours, 0.0),
        DecodeRow("  v4_proto alone: TxRaw, TxBody, AuthInfo", peer, peer / ours),
    ]


def _parse_with_protobuf(tx_bytes: bytes) -> object:
    raw = tx_pb2.TxRaw.FromString(tx_bytes)
    return tx_pb2.TxBody.FromString(raw.body_bytes), tx_pb2.AuthInfo.FromString(raw.auth_info_bytes)


def _rate(decode: Callable[[bytes], object], messages: list[bytes]) -> float:
    best_s, until_s = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until_s:
        begin_s = time.perf_counter()
        for message in messages:
            decode(message)
        best_s = min(best_s, time.perf_counter() - begin_s)
    return len(messages) / best_s
