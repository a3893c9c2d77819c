"""A node's answers about transactions, accounts and blocks: gRPC messages, and the JSON of its LCD and RPC ports.

The gRPC ones are what the SDK reads (PROTOCOLS.md 2.2), the JSON what ccxt reads (5.1). Does not cover: the query
services of other modules (subaccounts, prices, fee tiers, bank, staking), whose messages v4_proto has ready.
"""

import base64
import re
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from v4_proto.cosmos.auth.v1beta1 import auth_pb2
from v4_proto.cosmos.auth.v1beta1 import query_pb2 as auth_query
from v4_proto.cosmos.base.abci.v1beta1 import abci_pb2
from v4_proto.cosmos.base.tendermint.v1beta1 import query_pb2 as block_query
from v4_proto.cosmos.crypto.secp256k1 import keys_pb2
from v4_proto.cosmos.tx.v1beta1 import service_pb2
from v4_proto.dydxprotocol.clob import clob_pair_pb2

from venues.dydx.chain_errors import MalformedMessageError, TxRefusal
from venues.dydx.sequences import ChainAccount
from venues.dydx.transactions import PUBLIC_KEY_URL, TESTNET
from venues.dydx.units import ClobUnits

_HEX = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})+)")


def make_broadcast_response(tx_hash: str, refusal: TxRefusal | None) -> Any:
    """Return `BroadcastTxResponse`: code 0 when nothing refused it."""
    response = abci_pb2.TxResponse(txhash=tx_hash)
    if refusal is not None:
        response.codespace, response.code, response.raw_log = refusal.codespace, refusal.code, refusal.raw_log
    return service_pb2.BroadcastTxResponse(tx_response=response)


def read_broadcast_response(response: Any) -> tuple[str, TxRefusal | None]:
    """Return the transaction hash and the refusal in a `BroadcastTxResponse`; None: code 0."""
    reply = response.tx_response
    return reply.txhash, TxRefusal(reply.codespace, reply.code, reply.raw_log) if reply.code else None


def make_account_response(account: ChainAccount) -> Any:
    """Return `QueryAccountResponse`: a packed BaseAccount, with its key once it is known."""
    base = auth_pb2.BaseAccount(
        address=account.address, account_number=account.account_number, sequence=account.sequence
    )
    if account.public_key:
        base.pub_key.Pack(keys_pb2.PubKey(key=account.public_key), type_url_prefix="/")
    response = auth_query.QueryAccountResponse()
    response.account.Pack(base, type_url_prefix="/")
    return response


def read_account_response(response: Any) -> ChainAccount:
    """Return the account in a `QueryAccountResponse`.

    Raises: MalformedMessageError if it is not a BaseAccount.
    """
    try:
        base = auth_pb2.BaseAccount.FromString(response.account.value)
        key: bytes = keys_pb2.PubKey.FromString(base.pub_key.value).key if base.pub_key.value else b""
    except DecodeError as error:
        raise MalformedMessageError(f"account does not parse: {error}") from None
    return ChainAccount(base.address, base.account_number, base.sequence, key)


def make_latest_block(height: int, block_time_ms: int, chain_id: str = TESTNET) -> Any:
    """Return `GetLatestBlockResponse`, with the header in both of its places."""
    response = block_query.GetLatestBlockResponse()
    for header in (response.block.header, response.sdk_block.header):
        header.chain_id, header.height = chain_id, height
        header.time.FromMilliseconds(block_time_ms)
    return response


def make_clob_pair(units: ClobUnits) -> Any:
    """Return the chain's ClobPair of a book; perpetual id and clob pair id are the same, as on the venue."""
    status = f"STATUS_{units.status}"
    known = dict(clob_pair_pb2.ClobPair.Status.items())
    return clob_pair_pb2.ClobPair(
        id=units.clob_pair_id,
        perpetual_clob_metadata=clob_pair_pb2.PerpetualClobMetadata(perpetual_id=units.clob_pair_id),
        step_base_quantums=units.step_base_quantums,
        subticks_per_tick=units.subticks_per_tick,
        quantum_conversion_exponent=units.quantum_conversion_exponent,
        status=known.get(status, 0),
    )


def show_account_info(account: ChainAccount) -> dict[str, Any]:
    """Return the body of LCD `/cosmos/auth/v1beta1/account_info/{address}`."""
    key = {"@type": PUBLIC_KEY_URL, "key": base64.b64encode(account.public_key).decode()}
    return {
        "info": {
            "address": account.address,
            "pub_key": key if account.public_key else None,
            "account_number": str(account.account_number),
            "sequence": str(account.sequence),
        }
    }


def explain_no_account(address: str) -> dict[str, Any]:
    """Return the body of the LCD's 404 for an account that was never funded."""
    return {"code": 5, "message": f"account {address} not found", "details": []}


def _show_result(result: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": -1, "result": result}


def show_abci_info(height: int) -> dict[str, Any]:
    """Return the body of RPC `/abci_info`."""
    return _show_result({"response": {"data": "dydxprotocol", "version": "", "last_block_height": str(height)}})


def show_broadcast(tx_hash: str, refusal: TxRefusal | None) -> dict[str, Any]:
    """Return the body of RPC `/broadcast_tx_sync`."""
    return _show_result(
        {
            "code": refusal.code if refusal else 0,
            "data": "",
            "log": refusal.raw_log if refusal else "[]",
            "codespace": refusal.codespace if refusal else "",
            "hash": tx_hash,
        }
    )


def show_rpc_error(detail: str, code: int = -32602, message: str = "Invalid params") -> dict[str, Any]:
    """Return the body of an RPC error."""
    return {"jsonrpc": "2.0", "id": -1, "error": {"code": code, "message": message, "data": detail}}


def read_rpc_tx(text: str) -> bytes:
    """Return the transaction bytes of RPC's `tx` parameter: hex with 0x, perhaps quoted.

    Raises: MalformedMessageError if it is no hex.
    """
    match = _HEX.fullmatch(text.strip().strip('"'))
    if match is None:
        raise MalformedMessageError(
            "error converting http params to arguments: tx is not hexadecimal: give 0x and pairs"
        )
    return bytes.fromhex(match[1])


def show_clob_pairs(books: Iterable[ClobUnits]) -> list[Any]:
    """Return the ClobPairs of all books, by id: the rows of `ClobPairAll`."""
    return [make_clob_pair(units) for units in sorted(books, key=lambda units: units.clob_pair_id)]
