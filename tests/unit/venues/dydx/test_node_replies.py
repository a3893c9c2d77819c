"""The node's answers: what the SDK unpacks, what ccxt reads."""

import base64

import pytest
from v4_proto.cosmos.auth.v1beta1.auth_pb2 import BaseAccount

from tests.unit.venues.dydx.dydx_samples import BOOKS, BTC, KEY, TIME_MS
from venues.dydx import node_replies
from venues.dydx.chain_errors import ChainError, MalformedMessageError
from venues.dydx.sequences import ChainAccount

ACCOUNT = ChainAccount(KEY.address, 7, 42, KEY.public_key)


@pytest.mark.parametrize("refusal", [None, ChainError.STATEFUL_UNKNOWN.refuse("x")])
def test_broadcasts(refusal: object) -> None:
    """There and back, and as RPC's JSON."""
    response = node_replies.make_broadcast_response("AB", refusal)  # type: ignore[arg-type]
    assert node_replies.read_broadcast_response(response) == ("AB", refusal)
    result = node_replies.show_broadcast("AB", refusal)  # type: ignore[arg-type]
    assert (result["hash"], result["code"]) == ("AB", 3006 if refusal else 0)


@pytest.mark.parametrize("account", [ACCOUNT, ChainAccount(KEY.address, 0)])
def test_accounts(account: ChainAccount) -> None:
    """As the SDK unpacks it: Any into BaseAccount."""
    response = node_replies.make_account_response(account)
    base = BaseAccount()
    assert response.account.Unpack(base)
    assert (base.address, base.account_number, base.sequence) == (
        account.address,
        account.account_number,
        account.sequence,
    )
    assert node_replies.read_account_response(response) == account
    info = node_replies.show_account_info(account)["info"]
    assert info["sequence"] == str(account.sequence)
    assert (info["pub_key"] is None) == (not account.public_key)
    if account.public_key:
        assert base64.b64decode(info["pub_key"]["key"]) == KEY.public_key
    response.account.value = b"\xff"
    with pytest.raises(MalformedMessageError):
        node_replies.read_account_response(response)


def test_blocks_and_books() -> None:
    """Height and time; the book's terms and status."""
    block = node_replies.make_latest_block(5, TIME_MS)
    assert block.block.header.height == block.sdk_block.header.height == 5
    assert block.block.header.time.ToMilliseconds() == TIME_MS
    pair = node_replies.make_clob_pair(BTC)
    assert (pair.step_base_quantums, pair.subticks_per_tick, pair.status) == (1_000_000, 100_000, 1)
    assert [one.id for one in node_replies.show_clob_pairs(BOOKS.values())] == [0, 1, 5]
    assert node_replies.show_abci_info(5)["response"]["last_block_height"] == "5"


def test_rpc_parameters() -> None:
    """0x hex, perhaps quoted; nothing else."""
    assert node_replies.read_rpc_tx("0x0aFF") == node_replies.read_rpc_tx('"0x0aff"') == b"\x0a\xff"
    for wrong in ("", "0x", "0x1", "zz", "0x0g"):
        with pytest.raises(MalformedMessageError):
            node_replies.read_rpc_tx(wrong)
    assert node_replies.show_rpc_error("d")["error"]["data"] == "d"
    assert "not found" in node_replies.explain_no_account("a")["message"]
