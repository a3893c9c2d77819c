"""A simulator on loopback in a thread of its own, its accounts, and a record of every book it ever had."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from eth_account import Account

from market.fills import Costs
from market.instruments import LISTED
from market.records import NS_PER_MS, NS_PER_S
from venues.binance.simulator import BinanceSimulator
from venues.dydx.signing import SigningKey
from venues.dydx.simulator import DydxSimulator
from venues.hyperliquid.simulator import HyperliquidSimulator
from venues.hyperliquid.simulator_streams import Cadence
from venues.simulator.accounts import SimulatedAccount
from venues.simulator.driven_market import Block, DrivenMarket, MarketSettings
from venues.simulator.faults import FaultBoard
from venues.simulator.funding import FundingRule, MarkRule
from venues.simulator.price_path import make_bars

DEADLINE_S = 60.0
SECRETS = ("11" * 32, "22" * 32, "33" * 32)
DEPOSIT_QUOTE = 100_000.0
_BAR_NS = 60 * NS_PER_S
_QUICK = Cadence(200 * NS_PER_MS, 100 * NS_PER_MS, 200 * NS_PER_MS, 100 * NS_PER_MS, 100 * NS_PER_MS)
_PXS = {"BTC": 60_000.0, "ETH": 3_000.0}
Sides = tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]


def make_market(venue_id: str, wave_frac: float = 5e-4, seed: int = 7, **settings: Any) -> DrivenMarket:
    """Return a market of BTC and ETH that waves around 60000 and 3000, begun a minute ago."""
    start_ns = time.time_ns() // _BAR_NS * _BAR_NS - _BAR_NS
    instruments = [LISTED[f"{base}-PERP.{venue_id}"] for base in _PXS]
    path = {
        one.instrument_id: make_bars(
            [_PXS[one.base] * (1.0 + wave_frac * (-1) ** i) for i in range(60)], start_ns, _BAR_NS, 50.0
        )
        for one in instruments
    }
    return DrivenMarket(instruments, Costs(4.5, 1.5, 0.0), path, MarketSettings(**settings), seed)


def make_hyperliquid(clock_ns: Callable[[], int] = time.time_ns) -> HyperliquidSimulator:
    """Return a Hyperliquid."""
    market = make_market("HYPERLIQUID", is_child_armed_by_part=False)
    accounts = [
        SimulatedAccount(Account.from_key("0x" + secret).address, DEPOSIT_QUOTE, "0x" + secret) for secret in SECRETS
    ]
    return HyperliquidSimulator(market, FaultBoard(), accounts, clock_ns, cadence=_QUICK)


def make_dydx(clock_ns: Callable[[], int] = time.time_ns) -> DydxSimulator:
    """Return a dYdX with quick blocks."""
    market = make_market(
        "DYDX",
        block_ns=50 * NS_PER_MS,
        mark_every_ns=100 * NS_PER_MS,
        mark_rule=MarkRule.ORACLE,
        funding_rule=FundingRule.DYDX,
    )
    accounts = [SimulatedAccount(SigningKey.from_hex(one).address, DEPOSIT_QUOTE, private_key=one) for one in SECRETS]
    return DydxSimulator(market, FaultBoard(), accounts, clock_ns, block_ns=600 * NS_PER_MS)


def make_binance(clock_ns: Callable[[], int] = time.time_ns) -> BinanceSimulator:
    """Return a Binance."""
    return BinanceSimulator(make_market("BINANCE", mark_every_ns=NS_PER_S), FaultBoard(), (), clock_ns)


class Served:
    """A running simulator and what a test needs of it."""

    def __init__(self, simulator: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.simulator, self._loop = simulator, loop
        self.market: DrivenMarket = simulator.world.market
        self.addresses: dict[str, str] = {}
        self._books: dict[str, set[Sides]] = {}
        simulator.world.listen(self._keep_books)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function where the simulator lives: only there may anyone touch the exchange."""

        async def work() -> Any:
            return function(*arguments)

        return self.run(work())

    def run(self, work: Any) -> Any:
        """Run a coroutine on the simulator's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def _keep_books(self, block: Block) -> None:
        for change in block.books:
            self._books.setdefault(change.instrument_id, set()).add(self._read_book(change.instrument_id))

    def _read_book(self, instrument_id: str) -> Sides:
        book, lot_base = self.market.get_book(instrument_id), Decimal(repr(LISTED[instrument_id].lot_base))
        bids, asks = (
            tuple((level.px, float(level.qty_lots * lot_base)) for level in side) for side in (book.bids, book.asks)
        )
        return bids, asks

    def has_had_book(self, instrument_id: str, told: Mapping[str, Any], levels_max: int | None = None) -> bool:
        """Whether a book as a client shows it is, level by level, one that the exchange has had."""
        sides = tuple(tuple((px, qty) for px, qty in told[side]) for side in ("bids", "asks"))

        def find() -> bool:
            return any(
                (book[0][:levels_max], book[1][:levels_max]) == sides
                for book in (*self._books[instrument_id], self._read_book(instrument_id))
            )

        return bool(self.call(find))


@contextmanager
def serve(simulator: Any) -> Iterator[Served]:
    """Run a simulator."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    served = Served(simulator, loop)
    try:
        served.addresses = served.run(simulator.start())
        try:
            yield served
        finally:
            served.run(simulator.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_S)
        loop.close()


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of a condition, or fail."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")
