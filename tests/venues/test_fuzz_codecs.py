"""What clients read of each venue, damaged: MalformedMessageError or a message, never another exception.

The frames are those of the running simulators; real captures and random bytes go through the codecs in
tests/unit/venues, but for dYdX's signed transactions, which are mutated here.
"""

import random
from collections.abc import Callable

import pytest

from tests.shared_data import needs_shared
from tests.unit.venues.dydx.dydx_samples import load_vectors
from tests.venues.others import frames
from tests.venues.others.damage import mutate
from tests.venues.others.serving import SECRETS, make_binance, make_dydx, make_hyperliquid, serve
from venues.binance import messages as binance
from venues.dydx import chain_errors, indexer_stream, node_replies
from venues.dydx.signing import SigningKey
from venues.dydx.transactions import decode_tx, verify_tx
from venues.hyperliquid import frames as hyperliquid
from venues.hyperliquid import wire
from venues.hyperliquid.signing import load_wallet

pytestmark = pytest.mark.timeout(240)

MUTATIONS = 4_000


def feed(seeds: list[bytes], decode: Callable[[bytes], object], malformed: type[Exception], seed: int) -> None:
    """Decode every seed, then mutants of them; some must be refused, some still read."""
    assert all(decode(one) is not None for one in seeds)
    draws, refused = random.Random(seed), 0
    for _ in range(MUTATIONS):
        mutant = mutate(draws.choice(seeds), draws)
        try:
            decode(mutant)
        except malformed:
            refused += 1
    assert MUTATIONS // 10 < refused < MUTATIONS, refused


def test_hyperliquid_frames() -> None:
    with serve(make_hyperliquid()) as served:
        seeds = frames.record_hyperliquid(served, load_wallet("0x" + SECRETS[0]).address, 60)
    feed(seeds, hyperliquid.decode_frame, wire.MalformedMessageError, 1)


def test_dydx_frames() -> None:
    with serve(make_dydx()) as served:
        seeds = frames.record_dydx(served, SigningKey.from_hex(SECRETS[0]).address, 60)
    feed(seeds, indexer_stream.decode_server, chain_errors.MalformedMessageError, 2)


def test_binance_frames() -> None:
    with serve(make_binance()) as served:
        seeds = frames.record_binance(served, 60)
    feed(seeds, binance.decode_message, binance.MalformedMessageError, 3)


@needs_shared
def test_dydx_signed_transactions() -> None:
    seeds = [bytes.fromhex(case["tx_bytes_hex"]) for case in load_vectors()["cases"]]

    def read(tx_bytes: bytes) -> object:
        tx = decode_tx(tx_bytes)
        verify_tx(tx, "localdydxprotocol", 0)
        return tx

    feed(seeds, read, chain_errors.MalformedMessageError, 4)
    feed([f"0x{one.hex()}".encode() for one in seeds], lambda text: node_replies.read_rpc_tx(text.decode("latin-1")),
         chain_errors.MalformedMessageError, 5)  # fmt: skip
