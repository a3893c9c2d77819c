"""Accounts that must add up, whatever was done: funding, and random orders, told and held alike to the last unit."""

import random
from collections.abc import Iterator

import pytest

from market.events import OrderRequest, OrderType, TimeInForce
from market.records import NS_PER_MS, NS_PER_S
from tests.venues.contract.stage import Stage, run_stage, until
from tests.venues.contract.trader import ROUNDING_QUOTE, Trader, trade
from tests.venues.contract.venues_under_test import TRADING, TradingVenue

HOUR_NS = 3600 * NS_PER_S
ACTIONS = 40
LOTS = 400
# Few of what a chain counts: a venue may take only so many resting orders in so many blocks.
_KINDS = (*("market",) * 3, *("reduce",) * 2, *("limit",) * 2, *("cancel",) * 2, "group", "modify", "touch")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with run_stage(tuple(venue.name for venue in TRADING), accounts=1) as running:
        yield running


@pytest.fixture(params=TRADING, ids=str)
def venue(request: pytest.FixtureRequest) -> TradingVenue:
    return request.param


class Player:
    """Does at random what a strategy might, and remembers what it sent."""

    def __init__(self, trader: Trader, seed: int) -> None:
        self.trader, self.draws = trader, random.Random(seed)

    def choose_open(self, *kinds: OrderType) -> OrderRequest | None:
        """Return an order that should still be open."""
        orders = self.trader.told.run().values()
        found = [one.request for one in orders if one.status.is_open and (not kinds or one.request.order_type in kinds)]
        return self.draws.choice(found) if found else None

    async def act(self) -> None:
        """Do one thing."""
        trader, draws = self.trader, self.draws
        lots, side, px = draws.randint(50, LOTS), draws.choice((1, -1)), trader.get_px()
        kind = draws.choice(_KINDS)
        held_lots = trader.held_lots()
        instrument_id = draws.choice((trader.venue.btc, trader.venue.eth)).instrument_id
        match kind:
            case "market":
                await trader.submit(trader.market(side, lots, instrument_id=instrument_id))
            case "reduce" if held_lots:
                part = draws.randint(1, abs(held_lots))
                await trader.submit(trader.market(-1 if held_lots > 0 else 1, part, is_reduce_only=True))
            case "limit":  # far, near, or through the market
                off = draws.choice((0.05, 0.002, 0.0001, -0.002))
                tif = draws.choice((TimeInForce.GTC, TimeInForce.IOC, TimeInForce.POST_ONLY))
                await trader.submit(trader.limit(side, lots, px * (1 - side * off), time_in_force=tif))
            case "group":
                await trader.submit(*trader.make_group(lots))
            case "cancel" if order := self.choose_open():
                await trader.cancel(order)
            case "modify" if order := self.choose_open(OrderType.LIMIT):
                await trader.modify(order, limit_px=px * (1 - order.side * draws.choice((0.04, 0.001))))
            case "modify" if order := self.choose_open(OrderType.STOP_MARKET):
                await trader.modify(order, trigger_px=px * draws.choice((0.85, 0.92)))
            case "touch" if order := self.choose_open(OrderType.TAKE_PROFIT_LIMIT):
                await trader.modify(order, limit_px=px * 0.998)


def test_random_orders_add_up(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        player = Player(trader, 5)
        for _ in range(ACTIONS):
            await player.act()
        await settle(trader)
        await trader.compare()
        for order in [one.request for one in trader.told.run().values() if one.status.is_open]:
            await trader.cancel(order)
        await settle(trader)
        for instrument_id, lots in trader.get_held().items():
            closing = trader.market(-1 if lots > 0 else 1, abs(lots), instrument_id=instrument_id, is_reduce_only=True)
            await trader.submit(closing)
        await settle(trader)
        await until(lambda: not trader.get_held() and not trader.list_resting(), "all is closed and canceled")
        await trader.compare()
        stage.call(stage.simulator(venue.name).world.market.exchange.check_invariants)

    trade(stage, venue, work)


async def settle(trader: Trader) -> None:
    """Wait until nothing is on its way: what is open is what rests, and nobody's outcome is unknown."""

    async def is_quiet() -> bool:
        unknown = {name for answer in trader.answers for name in answer.unknown_ids}
        for name in unknown & {one.request.client_order_id for one in open_orders()}:
            trader.take(await trader.client.resolve(name))
        shown = {one.client_order_id for one in await trader.client.fetch_open_orders()}
        return {one.request.client_order_id for one in open_orders()} == shown

    def open_orders() -> list:  # type: ignore[type-arg]
        return [one for one in trader.told.run().values() if one.status.is_open]

    await until(is_quiet, "nothing is on its way")


def test_funding_is_booked_as_the_exchange_books_it(venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        stage, exchange_market = trader.stage, trader.stage.simulator(venue.name).world.market
        await trader.buy(5 * LOTS)
        await trader.buy(3 * LOTS, -1, instrument_id=venue.eth.instrument_id)
        due_ns = (stage.clock() // HOUR_NS + 1) * HOUR_NS
        await stage.skip_to(due_ns - NS_PER_S)
        settled = {}
        for one in (venue.btc, venue.eth):
            rows = await until(
                lambda one=one: stage.call(exchange_market.list_fundings, one.instrument_id, due_ns),  # type: ignore[misc]
                "the hour strikes",
            )
            settled[one.instrument_id] = one, rows[0]
        await until(lambda: len(trader.told.fundings) >= 2, f"funding of both, told {trader.told.fundings}")
        await trader.compare()
        held = trader.get_held()
        assert sorted(one.instrument_id for one in trader.told.fundings) == sorted(held)
        for paid in trader.told.fundings:
            instrument, row = settled[paid.instrument_id]
            assert paid.qty_lots == held[paid.instrument_id]
            assert paid.funding_rate == row.funding_rate
            assert paid.ts_event_ns // NS_PER_MS == row.ts_event_ns // NS_PER_MS
            amount_quote = -paid.qty_lots * instrument.lot_base * row.index_px * row.funding_rate
            assert abs(paid.amount_quote - amount_quote) <= venue.money_step_quote / 2 + ROUNDING_QUOTE
        assert trader.ask(lambda exchange: exchange.account_state(trader.account_id)).funding_quote != 0.0

    # On a stage of its own: the clock that it puts forward to the hour is everybody's.
    with run_stage((venue.name,), accounts=1, minute=58) as stage:
        trade(stage, venue, work)
