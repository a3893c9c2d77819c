"""A node's answers about transactions, accounts and blocks: gRPC messages, and the JSON of its LCD and RPC ports.

The gRPC ones are what the SDK reads (PROTOCOLS.md 2.2), the JSON what ccxt reads (5.1). Does not cover: the query
services of other modules (subaccounts, prices, fee tiers, bank, staking), whose messages v4_proto has ready.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
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


def show_rpc_result(result: dict[str, Any], identity: Any = -1) -> dict[str, Any]:
    """Return the body of an RPC answer."""
    return {"jsonrpc": "2.0", "id": identity, "result": result}


def show_rpc_error(
    detail: str, code: int = -32602, message: str = "Invalid params", identity: Any = -1
) -> dict[str, Any]:
    """Return the body of an RPC error."""
    return {"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": message, "data": detail}}


def show_abci_info(height: int) -> dict[str, Any]:
    """Return the result of RPC `abci_info`."""
    return {"response": {"data": "dydxprotocol", "version": "", "last_block_height": str(height)}}


def show_broadcast(tx_hash: str, refusal: TxRefusal | None) -> dict[str, Any]:
    """Return the result of RPC `broadcast_tx_sync`."""
    return {
        "code": refusal.code if refusal else 0,
        "data": "",
        "log": refusal.raw_log if refusal else "[]",
        "codespace": refusal.codespace if refusal else "",
        "hash": tx_hash,
    }


def show_tx(tx_hash: str, height: int, refusal: TxRefusal | None, tx_bytes: bytes) -> dict[str, Any]:
    """Return the result of RPC `tx`."""
    result: dict[str, Any] = {
        "code": refusal.code if refusal else 0,
        "data": None,
        "log": refusal.raw_log if refusal else "",
        "info": "",
        "gas_wanted": "0",
        "gas_used": "0",
        "events": [],
        "codespace": refusal.codespace if refusal else "",
    }
    encoded = base64.b64encode(tx_bytes).decode()
    return {"hash": tx_hash, "height": str(height), "index": 0, "tx_result": result, "tx": encoded}


def _make_hash(*parts: object) -> str:
    # Stands for what a block's contents would hash to.
    return hashlib.sha256(" ".join(str(part) for part in parts).encode()).hexdigest().upper()


def show_block_time(ts_ns: int) -> str:
    """Return the time of a block as its header has it.

    >>> show_block_time(1_767_225_600_123_456_789)
    '2026-01-01T00:00:00.123456789Z'
    """
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _show_block_id(chain_id: str, height: int) -> dict[str, Any]:
    return {"hash": _make_hash(chain_id, height), "parts": {"total": 1, "hash": _make_hash(chain_id, height, "parts")}}


def show_block(chain_id: str, height: int, ts_ns: int, txs: Iterable[bytes]) -> dict[str, Any]:
    """Return the result of RPC `block`; its hashes are functions of chain and height."""
    names = ("last_commit", "data", "validators", "next_validators", "consensus", "app", "last_results", "evidence")
    header = {
        "version": {"block": "11", "app": "0"},
        "chain_id": chain_id,
        "height": str(height),
        "time": show_block_time(ts_ns),
        "last_block_id": _show_block_id(chain_id, height - 1),
        **{f"{name}_hash": _make_hash(chain_id, height, name) for name in names},
        "proposer_address": _make_hash(chain_id)[:40],
    }
    last_block_id = _show_block_id(chain_id, height - 1)
    commit = {"height": str(height - 1), "round": 0, "block_id": last_block_id, "signatures": []}
    data = {"txs": [base64.b64encode(tx).decode() for tx in txs]}
    block = {"header": header, "data": data, "evidence": {"evidence": []}, "last_commit": commit}
    return {"block_id": _show_block_id(chain_id, height), "block": block}


def show_status(chain_id: str, version: str, height: int, ts_ns: int) -> dict[str, Any]:
    """Return the result of RPC `status`."""
    node_info = {
        "protocol_version": {"p2p": "8", "block": "11", "app": "0"},
        "id": _make_hash(chain_id, "node")[:40].lower(),
        "listen_addr": "tcp://127.0.0.1:26656",
        "network": chain_id,
        "version": version,
        "channels": "40202122233038606100",
        "moniker": "simulator",
        "other": {"tx_index": "on", "rpc_address": "tcp://127.0.0.1:26657"},
    }
    block_hash, app_hash, time = (
        _make_hash(chain_id, height),
        _make_hash(chain_id, height, "app"),
        show_block_time(ts_ns),
    )
    sync_info = {
        "latest_block_hash": block_hash,
        "latest_app_hash": app_hash,
        "latest_block_height": str(height),
        "latest_block_time": time,
        "earliest_block_hash": block_hash,
        "earliest_app_hash": app_hash,
        "earliest_block_height": "1",
        "earliest_block_time": time,
        "catching_up": False,
    }
    key = {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(bytes(32)).decode()}
    validator = {"address": _make_hash(chain_id)[:40], "pub_key": key, "voting_power": "0"}
    return {"node_info": node_info, "sync_info": sync_info, "validator_info": validator}


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
