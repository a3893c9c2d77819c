"""The simulated venues of one test module, all in one thread, over one market that moves; and what they really hold."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from market.records import NS_PER_S
from trireme.venue_host import VenueHost, VenueHostSettings
from venues.port import Endpoints
from venues.simulator.accounts import SimulatedAccount

DEADLINE_S = 60.0
_BAR_NS = 5 * NS_PER_S  # a bar moves as 15 minutes would: the market is 180 times as quick as a real one
_HOUR_NS = 3600 * NS_PER_S
_FIELDS = ("http", "ws", "grpc")


class Clock:
    """The wall's clock, moved to a minute of an hour, and forward whenever a test says so."""

    def __init__(self, minute: int) -> None:
        self._offset_ns = minute * 60 * NS_PER_S - time.time_ns() % _HOUR_NS

    def __call__(self) -> int:
        return time.time_ns() + self._offset_ns

    def skip_to(self, ts_ns: int) -> None:
        """Let it be that late at least."""
        self._offset_ns += max(0, ts_ns - self())


class Stage:
    """The running simulators of a module; everything about them is asked on their own thread."""

    def __init__(self, venues: tuple[str, ...], accounts: int, minute: int = 10) -> None:
        """Prepare; `minute`: of the hour at which it begins (funding settles at whole hours)."""
        self.clock = Clock(minute)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulators")
        settings = VenueHostSettings(venues, seed=11, bar_interval_ns=_BAR_NS, accounts=accounts)
        self.host = VenueHost(settings, self.clock)
        if "dydx" in venues:  # half a second a block: tests wait for many
            self.host.simulators["dydx"].chain.block_ns = NS_PER_S // 2
        self.described: dict[str, dict[str, Any]] = {}
        self._taken: dict[str, int] = {}

    def start(self) -> None:
        """Serve."""
        self._thread.start()
        self.described = asyncio.run_coroutine_threadsafe(self.host.start(), self._loop).result(DEADLINE_S)

    def stop(self) -> None:
        """End everything."""
        try:
            asyncio.run_coroutine_threadsafe(self.host.stop(), self._loop).result(DEADLINE_S)
        finally:
            asyncio.run_coroutine_threadsafe(_cancel_rest(), self._loop).result(DEADLINE_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(DEADLINE_S)
            self._loop.close()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function says on the simulators' thread: between two blocks."""

        async def work() -> Any:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(DEADLINE_S)

    async def skip_to(self, ts_ns: int) -> None:
        """Put the clock forward, and wait until every market has caught up with it."""
        self.clock.skip_to(ts_ns)
        markets = [one.world.market for one in self.host.simulators.values()]
        await until(lambda: self.call(lambda: min(one.ts_now_ns for one in markets)) >= ts_ns, "the markets catch up")

    def simulator(self, venue: str) -> Any:
        """Return a venue's simulator; touch it by `call` only."""
        return self.host.simulators[venue]

    def endpoints(self, venue: str) -> Endpoints:
        """Return where clients find a venue."""
        described = self.described[venue]
        extra = {"chain_id": described["chain_id"]} if "chain_id" in described else {}
        return Endpoints(*(described[name] for name in _FIELDS), extra)

    def take_account(self, venue: str) -> SimulatedAccount:
        """Return an account that no other test has: what one does another does not see."""
        number = self._taken.get(venue, 0)
        self._taken[venue] = number + 1
        accounts = self.host.accounts[venue]
        assert number < len(accounts), f"{len(accounts)} accounts are too few for this module: ask for more"
        return accounts[number]

    def switch(self, venue: str, fault: str, **settings: Any) -> None:
        """Turn a fault on."""
        values = {"on": [{"fault": fault, "venue": venue, **settings}]}
        self.call(lambda: self.simulator(venue).world.board.apply(values, self.clock()))

    def clear(self, venue: str) -> None:
        """Turn all faults of a venue off."""
        self.call(lambda: self.simulator(venue).world.board.apply({"off": "all"}, self.clock()))


async def _cancel_rest() -> None:
    # Requests that a fault left waiting for ever.
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


@contextmanager
def run_stage(venues: tuple[str, ...], accounts: int, minute: int = 10) -> Iterator[Stage]:
    """Run the simulators of a module."""
    stage = Stage(venues, accounts, minute)
    stage.start()
    try:
        yield stage
    finally:
        stage.stop()


async def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true value of a condition, of a coroutine or not; fail when it does not come."""
    end_s = time.monotonic() + deadline_s
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < end_s, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(0.03)
