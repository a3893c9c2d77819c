"""A client of ours on the running simulator, driven from a test that is no coroutine."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from market.events import OrderRequest, OrderType, VenueEvent
from market.instruments import LISTED
from tests.venues.hyperliquid.conftest import KEYS, Venue, wait_for
from venues.hyperliquid.client import HyperliquidClient
from venues.port import Answer, ClientSettings, Endpoints

BTC = LISTED["BTC-PERP.HYPERLIQUID"]
ETH = LISTED["ETH-PERP.HYPERLIQUID"]
ID = BTC.instrument_id
# Patient where patience is not what a test is about: the machine may be slow.
CALM = ClientSettings(
    call_s=30.0, connect_s=30.0, silence_s=60.0, stale_s=60.0, reconcile_s=0.5, skew_s_max=20.0, unknown_s=60.0
)
_COUNT = itertools.count(1)


def make_id() -> str:
    """Return a client order id nobody has used."""
    return f"0x{time.time_ns():024x}{next(_COUNT):08x}"


def make(kind: OrderType, side: int, lots: int, **fields: Any) -> OrderRequest:
    """Return a request under a new id."""
    return OrderRequest(make_id(), fields.pop("instrument_id", ID), side, lots, kind, **fields)


def limit(side: int, lots: int, px: float, **fields: Any) -> OrderRequest:
    """Return a limit order."""
    return make(OrderType.LIMIT, side, lots, limit_px=px, **fields)


def market(side: int, lots: int, **fields: Any) -> OrderRequest:
    """Return a market order."""
    return make(OrderType.MARKET, side, lots, **fields)


def stop(side: int, lots: int, px: float) -> OrderRequest:
    """Return a protective stop."""
    return make(OrderType.STOP_MARKET, side, lots, trigger_px=px, is_reduce_only=True)


def target(side: int, lots: int, px: float) -> OrderRequest:
    """Return a take-profit."""
    return make(OrderType.TAKE_PROFIT_LIMIT, side, lots, limit_px=px, is_reduce_only=True)


class Trader:
    """A client on an event loop of its own, and everything it told."""

    def __init__(self, venue: Venue, client: HyperliquidClient, loop: asyncio.AbstractEventLoop) -> None:
        self.venue, self.client, self._loop = venue, client, loop
        self.heard: list[VenueEvent] = []
        self.address = venue.wallets[0].address.lower()

    def run(self, work: Coroutine[Any, Any, Any], seconds: float = 100.0) -> Any:
        """Return what a coroutine of the client returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    @contextmanager
    def hurried(self, call_s: float = 2.0, unknown_s: float = 4.0) -> Iterator[None]:
        """Let calls give up soon, and what they sent soon arrive no more: where time-outs are the subject."""
        client: Any = self.client
        before = client._settings

        def change(settings: ClientSettings) -> None:
            client._settings, client._questions._call_s = settings, settings.call_s

        change(replace(before, call_s=call_s, unknown_s=unknown_s))
        try:
            yield
        finally:
            change(before)

    def submit(self, *requests: OrderRequest) -> Answer:
        """Submit, and note what is told."""
        return self.note(self.run(self.client.submit(requests)))

    def cancel(self, order_id: str) -> Answer:
        """Cancel, and note what is told."""
        return self.note(self.run(self.client.cancel(order_id)))

    def modify(self, order_id: str, **terms: Any) -> Answer:
        """Modify, and note what is told."""
        return self.note(self.run(self.client.modify(order_id, **terms)))

    def resolve(self, order_id: str) -> Answer:
        """Resolve, and note what is told."""
        return self.note(self.run(self.client.resolve(order_id)))

    def note(self, answer: Answer) -> Answer:
        """Remember an answer's events."""
        self.heard += answer.events
        return answer

    def told(self, order_id: str) -> list[VenueEvent]:
        """Return what was told of an order."""
        return [event for event in [*self.heard] if getattr(event, "client_order_id", None) == order_id]

    def kinds(self, order_id: str) -> list[str]:
        """Return the kinds of what was told of an order."""
        return [type(event).__name__ for event in self.told(order_id)]

    def wait_told(self, order_id: str, kind: str, count: int = 1) -> list[VenueEvent]:
        """Wait until events of a kind were told of an order."""
        wait_for(lambda: self.kinds(order_id).count(kind) >= count, f"{count} {kind} of {order_id}, got {self.heard}")
        return [event for event in self.told(order_id) if type(event).__name__ == kind]

    def health(self) -> tuple[str, ...]:
        """Return what the client says of itself."""
        return self.run(self._ask_health())

    async def _ask_health(self) -> tuple[str, ...]:
        return self.client.check_health(time.time_ns())

    def wait_health(self, words: str) -> None:
        """Wait until a line holds some words; "": until there is none."""

        def is_so() -> bool:
            lines = self.health()
            return any(words in line for line in lines) if words else not lines

        wait_for(is_so, f"health {words!r}", 60.0)

    def exchange(self, query: Callable[[Any], Any]) -> Any:
        """Ask the exchange machine itself."""
        return self.venue.call(lambda: query(self.venue.simulator.world.market.exchange))

    def lots_held(self) -> int:
        """Return the position as the exchange machine holds it."""
        return int(self.exchange(lambda exchange: exchange.position(self.address, ID).qty_lots))

    def open_at_venue(self) -> list[tuple[str, int, float]]:
        """Return type, size and trigger of what the exchange machine holds open."""
        reports = self.exchange(lambda exchange: exchange.open_orders(self.address))
        return [(str(r.order_type), r.qty_leaves_lots, r.trigger_px or r.limit_px) for r in reports]


def endpoints(venue: Venue) -> Endpoints:
    """Return where the simulator is."""
    return Endpoints(venue.addresses["http"], venue.addresses["ws"])


def make_client(venue: Venue, settings: ClientSettings = CALM, **fields: Any) -> HyperliquidClient:
    """Return a client of the first account, not opened."""
    fields = {"private_key": KEYS[0], "account_address": venue.wallets[0].address, "is_mainnet": False} | fields
    return HyperliquidClient(endpoints(venue), fields.pop("instruments", [BTC, ETH]), settings=settings, **fields)


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


@contextmanager
def trading(venue: Venue, settings: ClientSettings = CALM, known: Any = (), **fields: Any) -> Iterator[Trader]:
    """Open a client, and close it whatever happens."""
    with running_loop() as loop:
        client = make_client(venue, settings, **fields)
        trader = Trader(venue, client, loop)
        try:
            trader.run(client.open(trader.heard.extend, known))
            yield trader
        finally:
            trader.run(client.close())
