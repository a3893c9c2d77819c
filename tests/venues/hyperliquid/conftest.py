"""The Hyperliquid simulator on a free port of loopback, in a thread of its own, as the SDK is synchronous."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info

from market.fills import Costs
from market.instruments import LISTED
from market.records import NS_PER_MS, NS_PER_S
from venues.hyperliquid.simulator import HyperliquidSimulator
from venues.hyperliquid.simulator_streams import Cadence
from venues.simulator.accounts import SimulatedAccount
from venues.simulator.driven_market import DrivenMarket, MarketSettings
from venues.simulator.faults import FaultBoard
from venues.simulator.price_path import make_bars

KEYS = tuple("0x" + digit * 64 for digit in "123")
STRANGER = Account.from_key("0x" + "9" * 64)
_BAR_NS = 60 * NS_PER_S
_QUICK = Cadence(200 * NS_PER_MS, 100 * NS_PER_MS, 200 * NS_PER_MS, 100 * NS_PER_MS, 100 * NS_PER_MS)


class Venue:
    """A running simulator and what a test needs of it."""

    def __init__(self, simulator: HyperliquidSimulator, loop: asyncio.AbstractEventLoop) -> None:
        self.simulator, self._loop = simulator, loop
        self.wallets = [Account.from_key(key) for key in KEYS]
        self.addresses: dict[str, str] = {}
        self._infos: list[Info] = []

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function where the simulator lives, and return what it returns."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def fault(self, name: str, **settings: Any) -> None:
        """Turn a switch on."""
        values = {"on": [{"fault": name, "venue": "hyperliquid", **settings}]}
        self.call(lambda: self.simulator.world.board.apply(values, time.time_ns()))

    def clear_faults(self) -> None:
        """Turn every switch off."""
        self.call(lambda: self.simulator.world.board.apply({"off": "all"}, time.time_ns()))

    def wait_subscribed(self, kind: str, count: int = 1) -> None:
        """Wait until a subscription is in force: the SDK only queues it until its socket is open."""

        def is_in_force() -> bool:
            found = self.call(self.simulator.streams.list_subscriptions)
            return sum(type(one).__struct_config__.tag == kind for one in found) >= count

        wait_for(is_in_force, f"the subscription of {kind}")

    def info(self) -> Info:
        """Return the SDK's Info with its WebSocket, closed at the end of the test."""
        info = Info(self.addresses["http"], timeout=30)
        self._infos.append(info)
        return info

    def exchange(self, index: int = 0, **fields: Any) -> Exchange:
        """Return the SDK's Exchange of one account."""
        return Exchange(self.wallets[index], self.addresses["http"], timeout=30, **fields)

    def close(self) -> None:
        """Close what was opened."""
        for info in self._infos:
            if info.ws_manager is not None:
                info.disconnect_websocket()


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Return the first true value of a condition, or fail."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s for {what}")


@contextmanager
def run_venue(clock_ns: Callable[[], int] = time.time_ns) -> Iterator[Venue]:
    """Run the simulator on a calm market around 60000."""
    start_ns = clock_ns() // _BAR_NS * _BAR_NS - _BAR_NS
    instruments = [LISTED["BTC-PERP.HYPERLIQUID"], LISTED["ETH-PERP.HYPERLIQUID"]]
    path = {
        instrument.instrument_id: make_bars([px * (1 + 1e-5 * (i % 2)) for i in range(60)], start_ns, _BAR_NS, 50.0)
        for instrument, px in zip(instruments, (60_000.0, 3_000.0), strict=True)
    }
    market = DrivenMarket(instruments, Costs(4.5, 1.5, 0.0), path, MarketSettings(is_child_armed_by_part=False), 7)
    accounts = [SimulatedAccount(Account.from_key(key).address, 100_000.0, key) for key in KEYS]
    simulator = HyperliquidSimulator(market, FaultBoard(), accounts, clock_ns, cadence=_QUICK)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = Venue(simulator, loop)
    try:
        running.addresses = asyncio.run_coroutine_threadsafe(simulator.start(), loop).result(60)
        yield running
    finally:
        running.close()
        asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


@pytest.fixture
def venue() -> Iterator[Venue]:
    """Run the simulator for one test."""
    with run_venue() as running:
        yield running
