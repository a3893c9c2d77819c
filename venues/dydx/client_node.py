"""The node through the official SDK, from threads of our own: its calls block and know no deadline.

Every call runs on one of a few threads, each with its own event loop, over a channel that gives each RPC a deadline;
the caller's loop only awaits. Transactions carry a timestamp nonce (no account query before each order). What a failed
call means for the order is told apart here: not sent, or nobody knows.
"""

import asyncio
import collections
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import grpc

from venues.dydx.chain_errors import TxRefusal
from venues.dydx.node_replies import read_broadcast_response
from venues.dydx.order_terms import CancelOrder, Order, write_order
from venues.dydx.sdk import (
    KeyPair,
    NodeClient,
    NodeConfig,
    TxOptions,
    Wallet,
    local_node,
    mainnet_node,
    testnet_node,
)

THREADS = 6
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Trouble(StrEnum):
    """Why an RPC has no reply."""

    NOT_SENT = "not sent"  # no connection, or refused for its rate: try again
    UNKNOWN = "unknown"  # it may have arrived


class NodeError(Exception):
    """An RPC without a reply."""

    def __init__(self, trouble: Trouble, detail: str) -> None:
        super().__init__(detail)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class LatestBlock:
    """The header of the node's last block."""

    height: int
    block_time_ms: int
    chain_id: str


class _CallDetails(
    collections.namedtuple(
        "_CallDetails", ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression")
    ),
    grpc.ClientCallDetails,  # type: ignore[misc]
):
    pass


class Deadline(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Gives every RPC of a channel a deadline where its caller sets none, as the SDK does."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Pass the call on with a timeout."""
        details = client_call_details
        timeout_s = self._timeout_s if details.timeout is None else details.timeout
        timed = _CallDetails(details.method, timeout_s, details.metadata, details.credentials, None, None)
        return continuation(timed, request)


def is_loopback(address: str) -> bool:
    """Return whether a gRPC address is this machine's."""
    return address.rpartition(":")[0].rpartition("/")[2] in _LOOPBACK


def make_config(address: str, chain_id: str, timeout_s: float, *, is_secure: bool) -> NodeConfig:
    """Return the SDK's configuration of a node; TLS unless it is on this machine."""
    address = address.partition("://")[2] or address
    credentials = grpc.ssl_channel_credentials()
    plain = grpc.secure_channel(address, credentials) if is_secure else grpc.insecure_channel(address)
    channel = grpc.intercept_channel(plain, Deadline(timeout_s))
    for make_node in (mainnet_node, testnet_node, local_node):
        config: NodeConfig = make_node(channel=channel)
        if config.chain_id == chain_id:
            break
    config.chain_id, config.channel = chain_id, channel
    return config


def read_grpc_error(error: grpc.RpcError) -> NodeError:
    """Return what a gRPC error means: only a missing connection and a rate limit say that nothing was sent."""
    code, details = error.code(), str(error.details() or "")[:200]
    is_unsent = code is grpc.StatusCode.RESOURCE_EXHAUSTED or (
        code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in details.lower()
    )
    return NodeError(Trouble.NOT_SENT if is_unsent else Trouble.UNKNOWN, f"node: {code.name}: {details}")


class Node:
    """One node, and the wallet that signs for it."""

    def __init__(self, address: str, chain_id: str, key: KeyPair, timeout_s: float, *, is_secure: bool) -> None:
        """Prepare; nothing is sent."""
        self._config = make_config(address, chain_id, timeout_s, is_secure=is_secure)
        self._timeout_s = timeout_s
        self._wallet = Wallet(key, 0, 0)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dydx-node")
        self._local = threading.local()
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._client: NodeClient | None = None

    def __repr__(self) -> str:
        """Show no secrets."""
        return f"Node({self._wallet.address})"

    def _run(self, make: Callable[[NodeClient], Coroutine[Any, Any, Any]]) -> Any:
        # On a thread of the pool; its loop lives as long as it does.
        loop = getattr(self._local, "loop", None)
        if loop is None:
            loop = self._local.loop = asyncio.new_event_loop()
            self._loops.append(loop)
        if self._client is None:
            self._client = loop.run_until_complete(NodeClient.connect(self._config))
        try:
            return loop.run_until_complete(make(self._client))
        except grpc.RpcError as error:
            raise read_grpc_error(error) from None

    async def _call(self, make: Callable[[NodeClient], Coroutine[Any, Any, Any]], timeout_s: float) -> Any:
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._run, make)
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise NodeError(Trouble.UNKNOWN, f"node: no answer within {timeout_s:.1f} s") from None
        except RuntimeError as error:  # closed meanwhile
            raise NodeError(Trouble.NOT_SENT, f"node: {error}") from None

    async def fetch_account_number(self) -> int:
        """Return the number of the wallet's account, and sign with it from now on.

        Raises: NodeError; also for an account that was never funded.
        """
        account = await self._call(lambda client: client.get_account(self._wallet.address), self._timeout_s)
        self._wallet.account_number = account.account_number
        return int(account.account_number)

    async def fetch_block(self) -> LatestBlock:
        """Return the node's last block. Raises: NodeError."""
        reply = await self._call(lambda client: client.latest_block(), self._timeout_s)
        header = reply.block.header
        return LatestBlock(header.height, header.time.ToMilliseconds(), header.chain_id)

    async def fetch_clob_pairs(self) -> dict[int, Any]:
        """Return the chain's books by id. Raises: NodeError."""
        reply = await self._call(lambda client: client.get_clob_pairs(), self._timeout_s)
        return {pair.id: pair for pair in reply.clob_pair}

    async def place(self, order: Order, nonce_ms: int, timeout_s: float) -> TxRefusal | None:
        """Broadcast an order; None: CheckTx passed, which means little. Raises: NodeError."""
        options = TxOptions([], nonce_ms, self._wallet.account_number)
        proto = write_order(order)
        reply = await self._call(lambda client: client.place_order(self._wallet, proto, options), timeout_s)
        return read_broadcast_response(reply)[1]

    async def cancel(self, cancel: CancelOrder, nonce_ms: int, timeout_s: float) -> TxRefusal | None:
        """Broadcast a cancel; None: CheckTx passed. Raises: NodeError."""
        options = TxOptions([], nonce_ms, self._wallet.account_number)
        order_id = write_order(Order(cancel.order_id, 0, 0, 0)).order_id
        good_til_block, good_til_s = cancel.good_til_block or None, cancel.good_til_block_time_s or None
        reply = await self._call(
            lambda client: client.cancel_order(self._wallet, order_id, good_til_block, good_til_s, options), timeout_s
        )
        return read_broadcast_response(reply)[1]

    def close(self) -> None:
        """Close the channel, which ends calls under way, and the threads."""
        self._config.channel.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for loop in self._loops:
            loop.close()
        self._loops.clear()
