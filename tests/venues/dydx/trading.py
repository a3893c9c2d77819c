"""The dYdX client on a running simulator, as tests use it: opened, what it told, and the exchange's own state."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from market.events import Fill, OrderAccepted, OrderRejected, OrderRequest, OrderType, TimeInForce, VenueEvent
from market.instruments import LISTED
from tests.venues.dydx.running_venue import SECRETS, Venue
from venues.dydx.client import DydxClient
from venues.dydx.client_orders import NEVER_PLACED
from venues.port import Answer, ClientSettings, Endpoints

BTC = LISTED["BTC-PERP.DYDX"]
BTC_ID = BTC.instrument_id
DEADLINE_S = 60.0
PATIENT = ClientSettings(call_s=20.0, connect_s=20.0, silence_s=30.0, stale_s=30.0, reconcile_s=1.0, skew_s_max=20.0)


async def until(condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Return the first truthy result of a condition; fail when the deadline passes."""
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        if result := condition():
            return result
        await asyncio.sleep(0.02)
    raise AssertionError(f"condition {condition} did not come true within {deadline_s} s")


def endpoints_of(venue: Venue) -> Endpoints:
    """Return where a running simulator is."""
    extra = {"chain_id": "localdydxprotocol"}
    return Endpoints(venue.addresses["http"], venue.addresses["ws"], venue.addresses["grpc"], extra)


class Trader:
    """A client, everything it told or answered, and the venue's own books."""

    def __init__(self, venue: Venue, settings: ClientSettings = PATIENT, **options: Any) -> None:
        self.venue = venue
        secret = SECRETS[venue.index]
        self.client = DydxClient(endpoints_of(venue), [BTC], private_key=secret, settings=settings, **options)
        self.account_id = f"{venue.address}/0"
        self.told: list[VenueEvent] = []
        self.answers: list[Answer] = []

    async def open(self, known: tuple[OrderRequest, ...] = ()) -> None:
        """Open the client."""
        await self.client.open(self.told.extend, known)

    def hurry(self, call_s: float) -> None:
        """Have calls give up soon from now on: opening took the time it needed."""
        self.client._settings = replace(self.client._settings, call_s=call_s)

    @property
    def heard(self) -> list[VenueEvent]:
        """All events, told or answered."""
        return [*self.told, *(event for answer in self.answers for event in answer.events)]

    def of(self, client_order_id: str, kind: type | None = None) -> list[Any]:
        """Return the events of an order, of one kind only if said."""
        return [
            event
            for event in self.heard
            if getattr(event, "client_order_id", None) == client_order_id and (kind is None or isinstance(event, kind))
        ]

    async def submit(self, *requests: OrderRequest) -> Answer:
        """Submit and keep the answer."""
        answer = await self.client.submit(requests)
        self.answers.append(answer)
        return answer

    async def act(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Keep the answer of a call."""
        answer = await work
        self.answers.append(answer)
        return answer

    def own_fills(self) -> list[Fill]:
        """Return the exchange's own fills of the account."""
        fills: list[Fill] = self.venue.call(self.venue.market.exchange.fills_since, self.account_id, 0)
        return fills

    def own_lots(self) -> int:
        """Return the exchange's own position."""
        return int(self.venue.call(self.venue.market.exchange.position, self.account_id, BTC_ID).qty_lots)

    def own_statuses(self) -> list[str]:
        """Return the statuses of the account's orders on the chain, whatever the Indexer shows."""
        orders = self.venue.simulator.chain._orders
        return self.venue.call(lambda: [live.status for live in orders.values() if live.account_id == self.account_id])

    async def check_same(self) -> None:
        """Wait until what was told is what the exchange holds, then compare to the last unit."""
        await until(lambda: len({one.trade_id for one in self.heard if isinstance(one, Fill)}) == len(self.own_fills()))
        told = [event for event in self.heard if isinstance(event, Fill)]
        assert len({fill.trade_id for fill in told}) == len(told), "a fill was told twice"
        told.sort(key=lambda fill: fill.trade_id)
        fetched = await self.client.fetch_fills(0)
        for mine, again, theirs in zip(told, fetched, self.own_fills(), strict=True):
            assert (mine.fill_px, mine.fill_qty_lots) == (theirs.fill_px, theirs.fill_qty_lots)
            assert (mine.side, mine.fee_quote, mine.is_maker) == (theirs.side, theirs.fee_quote, theirs.is_maker)
            assert again.trade_id == mine.trade_id
        positions = await self.client.fetch_positions()
        assert positions.get(BTC_ID, 0) == self.own_lots()
        state = self.venue.call(self.venue.market.exchange.account_state, self.account_id)
        account = await self.client.fetch_account()
        assert (account.cash_quote, account.fees_quote) == (state.cash_quote, state.fees_quote)
        assert account.funding_quote == state.funding_quote


def market(order_id: str, side: int, lots: int = 100, **terms: Any) -> OrderRequest:
    """Return a market order."""
    return OrderRequest(order_id, BTC_ID, side, lots, OrderType.MARKET, **terms)


def limit(order_id: str, side: int, px: float, lots: int = 100, **terms: Any) -> OrderRequest:
    """Return a limit order."""
    terms = {"time_in_force": TimeInForce.GTC} | terms
    return OrderRequest(order_id, BTC_ID, side, lots, OrderType.LIMIT, limit_px=px, **terms)


def stop(order_id: str, side: int, trigger_px: float, lots: int = 100, **terms: Any) -> OrderRequest:
    """Return a protective stop."""
    return OrderRequest(
        order_id, BTC_ID, side, lots, OrderType.STOP_MARKET, trigger_px=trigger_px, is_reduce_only=True, **terms
    )


def target(order_id: str, side: int, px: float, lots: int = 100, **terms: Any) -> OrderRequest:
    """Return a take-profit."""
    return OrderRequest(
        order_id, BTC_ID, side, lots, OrderType.TAKE_PROFIT_LIMIT, limit_px=px, is_reduce_only=True, **terms
    )


def run(venue: Venue, work: Callable[[Trader], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Open a client on a venue, do some work with it, close it."""

    async def main() -> None:
        trader = Trader(venue, **options)
        await trader.open()
        try:
            await work(trader)
        finally:
            await trader.client.close()

    asyncio.run(main())


async def see_health(trader: Trader, text: str) -> None:
    """Wait until the client says that something is wrong."""
    await until(lambda: any(text in line for line in trader.client.check_health(time.time_ns())))


async def see_all_well(trader: Trader) -> None:
    """Turn every fault off, and wait until the client is content."""
    trader.venue.switch_all_off()
    await until(lambda: not trader.client.check_health(time.time_ns()))


def check_once(trader: Trader, client_order_id: str) -> None:
    """Check that an order's acceptance and fills were told once."""
    assert len(trader.of(client_order_id, OrderAccepted)) == 1
    fills = trader.of(client_order_id, Fill)
    assert sum(fill.fill_qty_lots for fill in fills) == 100


async def see_never_placed(trader: Trader, client_order_id: str) -> None:
    """Wait until an unknown order is told to be dead, which must not be before its good-til-block has passed."""
    chain = trader.venue.simulator.chain
    order = trader.client._desk.orders[client_order_id]
    assert (await trader.act(trader.client.resolve(client_order_id))).events or trader.client._desk.height <= max(
        order.leg.chain.good_til_block, chain.height
    )
    await until(lambda: trader.of(client_order_id, OrderRejected))
    assert [event.message for event in trader.of(client_order_id, OrderRejected)] == [NEVER_PLACED]
    assert chain.height > order.leg.chain.good_til_block
    assert trader.own_fills() == []
    assert (await trader.client.resolve(client_order_id)).unknown_ids == ()
