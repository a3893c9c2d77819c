"""dYdX v4 on loopback: an Indexer (REST and WebSocket on one port) and a node (gRPC) over one `DrivenMarket`.

The unmodified `dydx-v4-client` connects with `make_insecure` and chain id `localdydxprotocol`; transactions are truly
verified. The node's LCD and RPC paths that other clients use lie on the Indexer's port. "control" lists and turns
faults (`venues.simulator.faults`). Request kinds: order, cancel, account, block, query (node), indexer (REST); message
channels: those of the Indexer, control (greetings and errors), and expiry (what `expiry_hidden` should be set on).

Fills when: as `venues.simulator.driven_market` says; short-term orders meet the book when they are broadcast, long-term
ones in the block after the one that takes them in, conditional ones in the block after the oracle touched them.
Does not model: what its parts name (`simulator_chain`, `simulator_node`, `simulator_indexer`, `simulator_stream`,
`simulator_store`, `simulator_orders`), deposits and transfers, TLS. Source: PROTOCOLS.md 2, 4.2 of 2026-09.
"""

import asyncio
import contextlib
import errno
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import grpc
from aiohttp import web

from market.records import NS_PER_S
from venues.dydx.rules import ChainRules
from venues.dydx.signing import SigningKey
from venues.dydx.simulator_chain import Chain
from venues.dydx.simulator_http import NodeHttp
from venues.dydx.simulator_indexer import Rest
from venues.dydx.simulator_node import add_services
from venues.dydx.simulator_store import Store
from venues.dydx.simulator_stream import Stream
from venues.dydx.transactions import LOCALNET
from venues.simulator.accounts import SimulatedAccount
from venues.simulator.driven_market import DrivenMarket
from venues.simulator.faults import FaultBoard
from venues.simulator.shell import Outbox, World, add_control

STREAM_PATH = "/v4/ws"
_TICK_S = 0.02
NOT_MODELLED = (
    "several nodes or Indexers with different opinions; fills committed later than they were matched",
    "fees on gas, permissioned keys, TLS; governance, staking, bridges, affiliates, rewards, vaults answer empty",
    "deposits, withdrawals and transfers (refused: no handler for the message); transfers and profit history are empty",
    "isolated margin, the limit of 20 orders, the clamp of the oracle's move per block",
    "rate limits and compliance of the Indexer; closed positions; Simulate checks nothing",
    "of the node: streaming, RPC's websocket, broadcast_tx_commit, proofs, events, pagination, what a block hashes to",
)


def _find_public_key(account: SimulatedAccount) -> bytes:
    # Whoever has deposited has signed: clients take it for granted that the chain knows the account's key.
    if account.private_key:
        return SigningKey.from_hex(account.private_key).public_key
    if account.mnemonic:
        return SigningKey.from_mnemonic(account.mnemonic).public_key
    return b""


class DydxSimulator:
    """The servers of one simulated dYdX. Everything runs on the loop that calls `start`: the SDK's node client blocks
    its own, so it belongs on another thread."""

    def __init__(
        self,
        market: DrivenMarket,
        board: FaultBoard,
        accounts: Sequence[SimulatedAccount],
        clock_ns: Callable[[], int] = time.time_ns,
        *,
        chain_id: str = LOCALNET,
        block_ns: int = NS_PER_S,
        rules: ChainRules | None = None,
    ) -> None:
        """Prepare over a market whose path covers the present of `clock_ns`; its marks should be `MarkRule.ORACLE`."""
        self.world = World(market, board, "dydx", clock_ns)
        self.chain = Chain(self.world, chain_id, block_ns, rules)
        self.store = Store(self.chain)
        self.outbox = Outbox(self.world)
        self.stream = Stream(self.store, self.outbox, self.settle)
        self.rest = Rest(self.store, self.settle)
        self.node_http = NodeHttp(self.chain)
        self.chain.on_update.append(self.store.take)
        self.world.listen(self.stream.on_block)
        for account in accounts:
            public_key = _find_public_key(account)
            self.chain.fund(account.address, account.deposit_quote, costs=account.costs, public_key=public_key)
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self._server: Any = None

    def settle(self) -> None:
        """Bring market, chain, store and stream to the present."""
        self.chain.advance()
        self.stream.on_settled(self.store.settle())

    async def start(self, host: str = "127.0.0.1", port: int = 0, grpc_port: int = 0) -> dict[str, str]:
        """Listen on loopback and return the addresses: "http", "ws", "grpc", "control". `port` is the Indexer's.

        Raises OSError for a port in use.
        """
        if host not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError(f"host is {host!r}: a simulator listens on loopback only, use 127.0.0.1")
        self.chain.start()
        self.settle()
        app = web.Application()
        app.router.add_get(STREAM_PATH, self.stream.handle)
        self.rest.add_routes(app)
        self.node_http.add_routes(app)
        add_control(app, self.world.board, self.world.now_ns)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        shown = f"[{host}]" if ":" in host else host
        at = f"{shown}:{self._runner.addresses[0][1]}"
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))  # else a port is shared in silence
        add_services(self._server, self.chain)
        try:
            grpc_port = self._server.add_insecure_port(f"{shown}:{grpc_port}")
        except RuntimeError:
            raise OSError(errno.EADDRINUSE, f"{shown}:{grpc_port} cannot be listened at") from None
        await self._server.start()
        work: list[Coroutine[Any, Any, None]] = [self._run(), self.outbox.run(), self.stream.run()]
        self._tasks = [asyncio.create_task(one) for one in work]
        return {
            "http": f"http://{at}",
            "ws": f"ws://{at}{STREAM_PATH}",
            "grpc": f"{shown}:{grpc_port}",
            "control": f"http://{at}/control/faults",
        }

    async def stop(self) -> None:
        """End everything that `start` began."""
        self.rest.stop()
        self.node_http.stop()
        await self.stream.stop()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        if self._server is not None:
            await self._server.stop(0)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _run(self) -> None:
        while True:
            self.settle()
            await asyncio.sleep(_TICK_S)
