"""A dYdX simulator on loopback in a thread of its own, and the official SDK's clients of it."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from dydx_v4_client.indexer.rest.indexer_client import IndexerClient
from dydx_v4_client.key_pair import KeyPair
from dydx_v4_client.network import local_node, make_insecure
from dydx_v4_client.node.client import NodeClient
from dydx_v4_client.wallet import Wallet

from market.fills import Costs
from market.instruments import LISTED
from market.records import NS_PER_MS, NS_PER_S
from venues.dydx.signing import SigningKey
from venues.dydx.simulator import DydxSimulator
from venues.simulator.accounts import SimulatedAccount
from venues.simulator.driven_market import DrivenMarket, MarketSettings
from venues.simulator.faults import FaultBoard
from venues.simulator.funding import FundingRule, MarkRule
from venues.simulator.price_path import make_bars

ACCOUNTS = 40  # more than any module has tests
SECRETS = tuple(f"{number:02x}" * 32 for number in range(0x40, 0x40 + ACCOUNTS))
MINUTE_NS = 60 * NS_PER_S
PATH_MINUTES = 240  # longer than any module's tests take
DEADLINE_S = 30.0


def wait_for(condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Return the first truthy result of a condition; fail when the deadline passes."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"condition {condition} did not come true within {deadline_s} s")


class Venue:
    """A running simulator and how to talk to it from the test's thread."""

    def __init__(self) -> None:
        instruments = [LISTED["BTC-PERP.DYDX"], LISTED["ETH-PERP.DYDX"]]
        start_ns = time.time_ns() // MINUTE_NS * MINUTE_NS
        waves = [1.0, 1.0005, 1.0, 0.9995] * (PATH_MINUTES // 4)
        path = {
            instrument.instrument_id: make_bars([px * wave for wave in waves], start_ns, MINUTE_NS, 50.0)
            for instrument, px in zip(instruments, (60_000.0, 3_000.0), strict=True)
        }
        settings = MarketSettings(
            block_ns=50 * NS_PER_MS,
            mark_every_ns=100 * NS_PER_MS,
            mark_rule=MarkRule.ORACLE,
            funding_rule=FundingRule.DYDX,
        )
        self.market = DrivenMarket(instruments, Costs(5.0, 1.0, 0.0), path, settings, 7)
        self.board = FaultBoard()
        self.keys = [SigningKey.from_hex(secret) for secret in SECRETS]
        accounts = [SimulatedAccount(key.address, 100_000.0) for key in self.keys]
        self.simulator = DydxSimulator(self.market, self.board, accounts, block_ns=200 * NS_PER_MS)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.addresses: dict[str, str] = self.run(self.simulator.start())
        network = make_insecure(
            local_node,
            rest_indexer=self.addresses["http"],
            websocket_indexer=self.addresses["ws"],
            node_url=self.addresses["grpc"],
        )
        self.network = network
        self.node: NodeClient = asyncio.run(NodeClient.connect(network.node))
        self.indexer = IndexerClient(network.rest_indexer, api_timeout=30.0)
        self.index = 0

    @property
    def address(self) -> str:
        """The address of the account in use."""
        return self.keys[self.index].address

    @property
    def key(self) -> SigningKey:
        """The key of the account in use."""
        return self.keys[self.index]

    def take_account(self) -> None:
        """Go on to the next account, which nobody has used."""
        self.index += 1
        assert self.index < ACCOUNTS, "more tests than accounts: raise ACCOUNTS"

    def run(self, work: Any) -> Any:
        """Run a coroutine on the simulator's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE_S)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on the simulator's loop: it alone may touch the exchange."""

        async def work() -> Any:
            return function(*arguments)

        return self.run(work())

    def ask(self, work: Any) -> Any:
        """Run one call of the SDK; it blocks this thread, not the simulator's."""
        return asyncio.run(work)

    def wallet(self, index: int | None = None) -> Wallet:
        """Return the SDK's wallet of an account, of the one in use if not said."""
        index = self.index if index is None else index
        account = self.ask(self.node.get_account(self.keys[index].address))
        return Wallet(KeyPair.from_hex(SECRETS[index]), account.account_number, account.sequence)

    def switch(self, **row: Any) -> None:
        """Turn one fault on."""
        self.call(self.board.apply, {"on": [{"venue": "dydx", **row}]}, time.time_ns())

    def switch_all_off(self) -> None:
        """Turn every fault off."""
        self.call(self.board.apply, {"off": "all"}, time.time_ns())

    def stop(self) -> None:
        """End everything."""
        try:
            self.network.node.channel.close()
            self.run(self.simulator.stop())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(DEADLINE_S)
            self.loop.close()
        assert not self.thread.is_alive(), "the simulator's thread did not end"
