"""What every trading client promises, on every venue, through the real SDK over real sockets (`venues.port`)."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from market.events import (
    CancelRejected,
    Fill,
    FillKind,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderRequest,
    OrderTriggered,
    TimeInForce,
)
from market.records import NS_PER_S
from tests.venues.contract.stage import Stage, run_stage, until
from tests.venues.contract.trader import CALM, Trader, trade
from tests.venues.contract.venues_under_test import TRADING, TradingVenue
from venues.lifecycle import OrderStatus
from venues.orders import Message

LOTS = 400  # of BTC: every venue takes them, and each tenth


def has_moved(trader: Trader, guard: OrderRequest, px: float) -> bool:
    """Whether a stop below the mark has gone off, or the mark has left it behind."""
    return bool(trader.told.of(guard, OrderTriggered)) or trader.get_mark_px() > px * 1.0003


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with run_stage(tuple(venue.name for venue in TRADING), accounts=24) as running:
        yield running


@pytest.fixture(params=TRADING, ids=str)
def venue(request: pytest.FixtureRequest) -> TradingVenue:
    return request.param


def test_a_limit_order_rests_changes_in_place_and_goes(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        client = trader.client
        order = trader.limit(1, LOTS, trader.get_px() * 0.9)
        assert (await trader.submit(order)).unknown_ids == ()
        (accepted,) = await trader.wait_told(order, OrderAccepted)
        assert accepted.venue_order_id
        (report,) = await client.fetch_open_orders()
        assert (report.client_order_id, report.qty_lots, report.side) == (order.client_order_id, LOTS, 1)
        assert (report.status, report.is_reduce_only, report.is_armed) == (OrderStatus.ACCEPTED, False, True)
        assert report.limit_px == pytest.approx(order.limit_px, rel=1e-4)  # rounded to the venue's tick
        await trader.compare()
        px = round(trader.get_px() * 0.92, -2)
        assert (await trader.modify(order, qty_lots=LOTS // 2, limit_px=px)).unknown_ids == ()
        (modified,) = await trader.wait_told(order, OrderModified)
        assert (modified.qty_lots, modified.limit_px, modified.trigger_px) == (LOTS // 2, px, 0.0)
        await trader.compare()
        assert not trader.told.of(order, OrderCanceled)
        assert (await trader.cancel(order)).unknown_ids == ()
        (canceled,) = await trader.wait_told(order, OrderCanceled)
        assert canceled.message == Message.REQUESTED
        assert await client.fetch_open_orders() == ()
        await trader.compare()
        again = await trader.cancel(order)
        assert [type(event) for event in again.events] == [CancelRejected]
        again = await trader.modify(order, limit_px=px)
        assert [type(event) for event in again.events] == [CancelRejected]
        await trader.compare()

    trade(stage, venue, work)


def test_market_orders_fill_and_reduce_only_closes_no_further(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        eth = venue.eth.instrument_id
        bought = await trader.buy(LOTS)
        closing = trader.market(-1, 3 * LOTS, is_reduce_only=True)
        assert (await trader.submit(closing)).unknown_ids == ()
        await trader.wait_told(closing, Fill)
        sold = await trader.buy(LOTS, -1, instrument_id=eth)
        for request in (bought, sold):
            assert sum(fill.fill_qty_lots for fill in trader.told.of(request, Fill)) == LOTS
            assert len(trader.told.of(request, OrderAccepted)) == 1
        (first, *_) = trader.told.of(sold, Fill)
        assert first.ts_event_ns in {fill.ts_event_ns for fill in await trader.client.fetch_fills(first.ts_event_ns)}
        later = await trader.client.fetch_fills(first.ts_event_ns + 1_000_000)
        assert bought.client_order_id not in {fill.client_order_id for fill in later}
        await until(lambda: not trader.told.statuses([closing])[0].is_open, "the end of what could not be closed")
        assert sum(fill.fill_qty_lots for fill in trader.told.of(closing, Fill)) == LOTS
        assert trader.get_held() == {eth: -LOTS}
        await trader.compare()

    trade(stage, venue, work)


def test_what_the_venue_refuses_is_refused_never_unknown(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        px = trader.get_px()
        refused = {
            "too small": trader.limit(1, venue.too_small_lots, px * 0.9),
            "reduce-only without a position": trader.market(-1, LOTS, is_reduce_only=True),
            "too much margin": trader.limit(1, 10**9, px * 0.99),
            "no such instrument": trader.market(1, LOTS, instrument_id=f"DOGE-PERP.{venue.name.upper()}"),
        }
        for name, request in refused.items():
            answer = await trader.submit(request)
            assert answer.unknown_ids == (), name
            (event,) = await trader.wait_told(request, OrderRejected)
            assert event.message, name
            assert [type(one) for one in trader.told.of(request)] == [OrderRejected], name
        crossing = trader.limit(1, LOTS, px * 1.03, time_in_force=TimeInForce.POST_ONLY)
        assert (await trader.submit(crossing)).unknown_ids == ()
        await until(lambda: not trader.told.statuses([crossing])[0].is_open, "post-only refused")
        # Refused, or taken and removed at once: one message, and never a fill.
        assert {one.message for one in trader.told.of(crossing, (OrderRejected, OrderCanceled))} == {Message.POST_ONLY}
        assert not trader.told.fills
        assert trader.list_resting() == []
        assert await trader.client.fetch_order("0x" + "0" * 32) is None
        await trader.compare()

    trade(stage, venue, work)


def test_a_group_protects_from_entry_to_stop(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        entry, guard, goal = trader.make_group(LOTS)
        assert (await trader.submit(entry, guard, goal)).unknown_ids == ()
        await trader.wait_status(OrderStatus.FILLED, entry)
        await trader.wait_status(OrderStatus.ACCEPTED, guard, goal)
        await trader.compare()
        assert [one.leaves_lots for one in trader.list_resting()] == [LOTS, LOTS]
        assert {event.cause_id for event in trader.told.events} == {entry.cause_id}
        # The trigger follows the mark from below until the market comes there: also across a modify on its way.
        while not trader.told.of(guard, OrderTriggered):
            px = trader.get_mark_px()
            answer = await trader.modify(guard, trigger_px=px * 0.9999)
            assert answer.unknown_ids == ()
            await until(partial(has_moved, trader, guard, px), "the mark moves, or the stop goes off")
        await trader.wait_status(OrderStatus.FILLED, guard)
        assert {fill.kind for fill in trader.told.of(guard, Fill)} == {FillKind.STOP.value}
        (ended,) = await trader.wait_told(goal, OrderCanceled)
        assert ended.message in (Message.SIBLING_FILLED, Message.POSITION_CLOSED)
        assert trader.get_held() == {}
        await trader.compare()

    trade(stage, venue, work)


def test_a_target_that_is_reached_ends_its_stop(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        entry, guard, goal = trader.make_group(LOTS)
        await trader.submit(entry, guard, goal)
        await trader.wait_status(OrderStatus.FILLED, entry)
        await trader.modify(goal, limit_px=trader.get_px() * 0.995)  # through the market
        await trader.wait_status(OrderStatus.FILLED, goal)
        assert {fill.kind for fill in trader.told.of(goal, Fill)} == {FillKind.TAKE_PROFIT.value}
        await trader.wait_status(OrderStatus.CANCELED, guard)
        assert trader.get_held() == {}
        await trader.compare()

    trade(stage, venue, work)


def test_children_of_an_entry_that_ends_unfilled_go_with_it(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        px = trader.get_px()
        group = trader.limit(1, LOTS, px * 0.9), trader.stop(-1, LOTS, px * 0.8), trader.target(-1, LOTS, px * 1.2)
        assert (await trader.submit(*group)).unknown_ids == ()
        await trader.wait_status(OrderStatus.ACCEPTED, *group)
        await trader.cancel(group[0])
        await trader.wait_status(OrderStatus.CANCELED, *group)
        assert [trader.told.of(one, OrderCanceled)[0].message for one in group[1:]] == [Message.PARENT_CANCELED] * 2
        assert trader.list_resting() == []
        await trader.compare()

    trade(stage, venue, work)


def test_children_take_the_size_of_what_their_entry_filled(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        group = trader.make_group(LOTS)
        stage.switch(venue.name, "fill_capped", on="order", next_n=1, lots=LOTS // 4)
        await trader.submit(*group)
        await until(lambda: not trader.told.statuses(group)[0].is_open, "the end of the entry")
        assert trader.held_lots() == LOTS // 4
        assert trader.told.statuses(group)[0] is OrderStatus.CANCELED
        await until(lambda: {one.leaves_lots for one in trader.list_resting()} == {LOTS // 4}, "both follow")
        for child in group[1:]:
            assert (await trader.wait_told(child, OrderModified))[-1].qty_lots == LOTS // 4
            assert not trader.told.of(child, OrderCanceled)
        await trader.compare()
        assert trader.get_px() > 0.0  # the book has both sides again
        await trader.buy(LOTS // 4, -1, is_reduce_only=True)
        await trader.wait_status(OrderStatus.CANCELED, *group[1:])  # nothing is left to protect
        await trader.compare()

    trade(stage, venue, work)


def test_children_that_the_venue_shrinks_to_what_they_filled_have_ended(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        group = trader.make_group(LOTS)
        await trader.submit(*group)
        await trader.wait_status(OrderStatus.FILLED, group[0])
        await trader.compare()
        stage.switch(venue.name, "message_delay", delay_ms=20, on=venue.order_channel)  # the shrinking is heard late
        await trader.submit(trader.market(-1, LOTS * 3 // 5))
        await trader.modify(group[2], limit_px=trader.get_px() * 0.998)  # the rest goes at once
        await until(lambda: trader.held_lots() == 0, "the target to take the rest")
        await until(lambda: not any(one.is_open for one in trader.told.statuses(group)), "the end of both children")
        stage.clear(venue.name)
        await trader.compare()

    trade(stage, venue, work)


def test_a_stop_is_never_absent_while_it_is_modified(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        group = trader.make_group(LOTS)
        await trader.submit(*group)
        await trader.wait_status(OrderStatus.FILLED, group[0])
        await trader.compare()
        simulator, counts = stage.simulator(venue.name), []
        target_px = next(one.px for one in trader.list_resting() if one.px > trader.get_px())

        def count(_: object) -> None:
            held = venue.list_resting(simulator, trader.account_id)
            counts.append(sum(one.leaves_lots for one in held if one.px != target_px))

        stage.call(simulator.world.listen, count)
        for part in (0.91, 0.92):
            px = trader.get_px() * part
            await trader.modify(group[1], trigger_px=px)
            assert trader.told.of(group[1], OrderModified)[-1].trigger_px == pytest.approx(px, rel=1e-4)
        await trader.compare()
        assert counts
        assert min(stage.call(lambda: [*counts])) >= LOTS
        counts.clear()

    trade(stage, venue, work)


def test_leverage_is_capped(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        btc = venue.btc
        await trader.client.set_leverage(btc.instrument_id, 2)
        if venue.is_leverage_at_venue:
            account = trader.ask(lambda exchange: exchange._account(trader.account_id))
            assert account.leverages[btc.instrument_id] == 2
        for leverage in (0, int(btc.leverage_max) + 1):
            with pytest.raises(ValueError, match="leverage"):
                await trader.client.set_leverage(btc.instrument_id, leverage)
        three_times = int(3 * trader.account.deposit_quote / (trader.get_px() * btc.lot_base))
        request = trader.market(1, three_times)
        assert (await trader.submit(request)).unknown_ids == ()
        (event,) = await trader.wait_told(request, OrderRejected)
        assert Message.INSUFFICIENT_MARGIN in event.message
        await trader.buy(LOTS)
        await trader.compare()

    trade(stage, venue, work)


def test_an_id_is_sent_once(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        order = trader.limit(1, LOTS, trader.get_px() * 0.9)
        await trader.submit(order)
        again = await trader.submit(order)
        assert [(type(one), one.message) for one in again.events] == [(OrderRejected, Message.DUPLICATE)]
        bought = await trader.buy(LOTS)
        again = await trader.submit(bought)
        assert [(type(one), one.message) for one in again.events] == [(OrderRejected, Message.DUPLICATE)]
        assert trader.held_lots() == LOTS
        assert len(trader.list_resting()) == 1
        await trader.compare()

    trade(stage, venue, work)


def test_an_order_whose_reply_is_lost_is_told_whole_and_never_sent_twice(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        bought, resting = trader.market(1, LOTS), trader.limit(1, LOTS, trader.get_px() * 0.9)
        for request, status in ((bought, OrderStatus.FILLED), (resting, OrderStatus.ACCEPTED)):
            stage.switch(venue.name, "reply_lost", on="order", next_n=1)
            answer = await trader.submit(request)
            # Nobody answered: unknown, unless the venue's other channels have told of it meanwhile.
            assert answer.unknown_ids == (request.client_order_id,) or trader.told.of(request, (OrderAccepted, Fill))
            await trader.resolve(request)
            await trader.wait_status(status, request)
            assert not trader.told.of(request, (OrderRejected, OrderCanceled))
        assert trader.held_lots() == LOTS
        assert len(trader.list_resting()) == 1
        await trader.compare()
        stage.switch(venue.name, "reply_lost", on="cancel", next_n=1)
        await trader.cancel(resting)
        await trader.wait_status(OrderStatus.CANCELED, resting)
        await trader.compare()

    trade(stage, venue, work)


def test_an_order_that_nobody_got_is_unknown_until_it_cannot_arrive(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        # A market order: what rests may be on its way for longer where its life is long.
        lost = trader.market(1, LOTS)
        stage.switch(venue.name, "request_blackhole", on="order", next_n=1)
        answer = await trader.submit(lost)
        assert answer.unknown_ids == (lost.client_order_id,)
        assert trader.told.of(lost) == []
        stage.clear(venue.name)
        await stage.skip_to(stage.clock() + 60 * NS_PER_S)  # long past every expiry

        async def is_told() -> bool:
            again = await trader.resolve(lost)
            assert again.unknown_ids in ((), (lost.client_order_id,))
            return bool(trader.told.of(lost))

        await until(is_told, "it can no longer arrive")
        assert [type(event) for event in trader.told.of(lost)] == [OrderRejected]
        assert trader.get_held() == {}
        await trader.buy(LOTS)
        await trader.compare()

    trade(stage, venue, work, replace(CALM, call_s=3.0, unknown_s=10.0))


def test_a_later_life_tells_what_happened_meanwhile(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        px = trader.get_px()
        resting, gone = trader.limit(1, LOTS, px * 0.9), trader.limit(1, LOTS, px * 0.89)
        group = trader.make_group(LOTS)
        requests = (resting, gone, *group)
        for sent in ((resting,), (gone,), group):
            await trader.submit(*sent)
        await trader.cancel(gone)
        await trader.modify(group[1], trigger_px=px * 0.91)
        await trader.compare()
        before = await trader.reopen()
        await trader.client.close()  # safe to repeat, also before it was opened
        assert trader.client.check_health(stage.clock())
        assert [type(event) for event in (await trader.submit(trader.limit(1, LOTS, px * 0.9))).events] == [
            OrderRejected
        ]
        trader.told.events.clear()
        trader.told.requests.clear()
        fall(trader, resting)
        await trader.open(requests)
        for request in requests:
            await trader.resolve(request)
        statuses = [OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.FILLED]
        await until(lambda: trader.told.statuses(requests[:3]) == statuses, f"what happened: {trader.told.events}")
        await trader.wait_status(OrderStatus.ACCEPTED, *group[1:])
        assert {fill.trade_id for fill in before.fills} < {fill.trade_id for fill in trader.told.fills}
        assert trader.held_lots() == 2 * LOTS
        reports = {one.client_order_id: one for one in await trader.client.fetch_open_orders()}
        assert set(reports) == {one.client_order_id for one in group[1:]}
        assert reports[group[1].client_order_id].trigger_px == pytest.approx(px * 0.91, rel=1e-4)
        await trader.buy(2 * LOTS, -1, is_reduce_only=True)
        await trader.wait_status(OrderStatus.CANCELED, *group[1:])
        await trader.compare()

    trade(stage, venue, work)


def fall(trader: Trader, resting: OrderRequest) -> None:
    """Let the house take a resting order, while nobody listens."""
    world = trader.stage.simulator(trader.venue.name).world

    def fill() -> None:
        (order,) = [
            one
            for one in world.market.exchange.open_orders(trader.account_id)
            if one.side == resting.side and not one.is_reduce_only
        ]
        world.act(lambda ts_ns: world.market.fill_resting(trader.account_id, order.client_order_id, LOTS, ts_ns))

    trader.stage.call(fill)


def test_health_says_when_nothing_is_heard_and_when_it_is_again(stage: Stage, venue: TradingVenue) -> None:
    async def work(trader: Trader) -> None:
        resting = trader.limit(1, LOTS, trader.get_px() * 0.9)
        await trader.submit(resting)
        await until(lambda: not trader.client.check_health(stage.clock()), "all is well")
        stage.switch(venue.name, "half_open")
        await until(lambda: trader.client.check_health(stage.clock()), "silence is noticed")
        fall(trader, resting)
        stage.clear(venue.name)
        await until(lambda: not trader.client.check_health(stage.clock()), "all is well again")
        await trader.wait_status(OrderStatus.FILLED, resting)
        await trader.compare()

    trade(stage, venue, work, replace(CALM, silence_s=2.5))
