"""What the dYdX client does when requests go wrong: refused, unanswered, vanished, late. One test per switch."""

import asyncio
import time
from dataclasses import replace

import pytest

from market.events import CancelRejected, Fill, OrderAccepted, OrderCanceled, OrderModified, OrderRejected, TimeInForce
from tests.venues.dydx.running_venue import Venue
from tests.venues.dydx.trading import BTC_ID, PATIENT, Trader, limit, market, run, stop, target, until
from venues.dydx.client_orders import NEVER_PLACED
from venues.orders import Message

HASTY = replace(PATIENT, call_s=2.0)
ENTRY = (market("entry", 1), stop("stop", -1, 50_000.0), target("target", -1, 70_000.0))


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


def test_grpc_status_resource_exhausted_is_tried_again(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="grpc_status", on="order", code=8, next_n=2)
        assert (await trader.submit(market("a", 1))).unknown_ids == ()
        assert trader.client._sender is not None
        assert trader.client._sender.repeats >= 2
        await trader.check_same()

    run(venue, work)


def test_grpc_status_unavailable_leaves_the_order_unknown_until_it_cannot_arrive(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="grpc_status", on="order", code=14, next_n=1)
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        await see_never_placed(trader, "a")

    run(venue, work, settings=HASTY)


def test_reply_lost_is_not_sent_again_and_heard_by_the_socket(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="reply_lost", on="order")
        answer = await trader.submit(*ENTRY)
        assert answer.unknown_ids == ()
        assert trader.own_lots() == 100
        await trader.check_same()

    run(venue, work)


def test_reply_delay_beyond_the_deadline_ends_the_call_all_the_same(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="reply_delay", on="order", delay_ms=60_000)
        begin_s = time.monotonic()
        await trader.submit(market("a", 1))
        assert time.monotonic() - begin_s < 40.0
        await until(lambda: trader.of("a", Fill))
        await trader.check_same()

    run(venue, work, settings=HASTY)


def test_request_blackhole_blocks_neither_the_loop_nor_the_next_order(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="request_blackhole", on="order", next_n=1)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        ticking.cancel()
        assert ticks > 5
        await see_never_placed(trader, "a")
        venue.switch(fault="request_blackhole", on="indexer", next_n=1)
        assert await trader.client.fetch_positions() == {}
        await trader.submit(market("b", 1))
        await until(lambda: trader.of("b", Fill))

    run(venue, work, settings=HASTY)


@pytest.mark.parametrize("fault", ["http_status_before", "http_status_after"])
def test_http_status_before_and_http_status_after_are_asked_again(venue: Venue, fault: str) -> None:
    async def work(trader: Trader) -> None:
        await trader.submit(market("a", 1))
        retries = trader.client._rest.retries
        venue.switch(fault=fault, on="indexer", status=429, next_n=3)
        await trader.check_same()
        assert trader.client._rest.retries >= retries + 3

    run(venue, work)


def test_nonce_refused_is_repeated_with_a_new_nonce(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="nonce_refused", on="order", next_n=2)
        assert (await trader.submit(*ENTRY)).unknown_ids == ()
        assert trader.client._sender is not None
        assert trader.client._sender.repeats >= 2
        assert trader.own_lots() == 100
        await trader.check_same()

    run(venue, work)


def test_sequence_bumped_does_not_matter_to_timestamp_nonces(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="sequence_bumped", on="order", by=3)
        assert (await trader.submit(*ENTRY)).unknown_ids == ()
        assert {len(trader.of(name, OrderAccepted)) for name in ("entry", "stop", "target")} == {1}
        assert trader.client._sender is not None
        assert trader.client._sender.repeats == 0

    run(venue, work)


def test_account_view_lag_does_not_matter_to_timestamp_nonces(venue: Venue) -> None:
    venue.switch(fault="account_view_lag", blocks=50)

    async def work(trader: Trader) -> None:
        for name in ("a", "b", "c"):
            assert (await trader.submit(limit(name, 1, 55_000.0))).unknown_ids == ()
        assert len(await trader.client.fetch_open_orders()) == 3

    run(venue, work)


def test_tx_vanish_is_unknown_then_never_placed(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="tx_vanish", on="order", next_n=1)
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        await see_never_placed(trader, "a")

    run(venue, work, settings=HASTY)


@pytest.mark.parametrize(("code", "is_short"), [(3006, False), (9, True), (19, True)])
def test_benign_cancel_error_is_verified_not_alarmed(venue: Venue, code: int, is_short: bool) -> None:
    async def work(trader: Trader) -> None:
        await trader.submit(limit("a", 1, 55_000.0))
        venue.switch(fault="benign_cancel_error", on="cancel", code=code, next_n=1)
        assert (await trader.act(trader.client.cancel("a"))).unknown_ids == ()
        await until(lambda: trader.of("a", OrderCanceled))
        assert not trader.of("a", CancelRejected)

    run(venue, work, has_short_resting=is_short)


def test_fill_capped_makes_the_children_follow_what_was_filled(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="fill_capped", on="order", lots=30, next_n=1)
        await trader.submit(*ENTRY)
        await until(lambda: trader.of("stop", OrderModified) and trader.of("target", OrderModified))
        filled = sum(fill.fill_qty_lots for fill in trader.of("entry", Fill))
        assert 0 < filled < 100
        assert {event.qty_lots for name in ("stop", "target") for event in trader.of(name, OrderModified)} == {filled}
        assert trader.of("entry", OrderCanceled)
        await until(lambda: trader.own_statuses().count("UNTRIGGERED") == 2)
        assert {(one.client_order_id, one.qty_lots) for one in await trader.client.fetch_open_orders()} == {
            ("stop", filled),
            ("target", filled),
        }
        await trader.check_same()

    run(venue, work)


def test_fill_during_cancel_is_told_and_the_cancel_refused(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        await trader.submit(limit("a", 1, 55_000.0))
        exchange = venue.market.exchange
        await until(lambda: venue.call(exchange.open_orders, trader.account_id))  # its block is after the next
        venue.switch(fault="fill_during_cancel", on="cancel", next_n=1)
        await trader.act(trader.client.cancel("a"))
        await until(lambda: trader.of("a", Fill))
        assert not trader.of("a", OrderCanceled)
        await trader.check_same()

    run(venue, work)


@pytest.mark.parametrize("is_silent", [0, 1])
def test_post_only_removed_is_told_once_it_is_sure(venue: Venue, is_silent: int) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="post_only_removed", on="order", is_silent=is_silent, next_n=1)
        await trader.submit(limit("a", 1, 66_000.0, time_in_force=TimeInForce.POST_ONLY))
        (event,) = await until(lambda: trader.of("a", OrderRejected))
        assert event.message == (NEVER_PLACED if is_silent else Message.POST_ONLY)
        assert trader.own_fills() == []

    run(venue, work, settings=HASTY, has_short_resting=True)


def test_child_rejected_is_told_at_once_and_the_entry_lives(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="child_rejected", on="order")
        answer = await trader.submit(market("entry", 1), stop("stop", -1, 50_000.0))
        assert answer.unknown_ids == ()
        assert "6001" in trader.of("stop", OrderRejected)[0].message
        assert trader.of("entry", Fill)
        await trader.check_same()

    run(venue, work)


def test_request_cap_is_waited_out(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="request_cap", requests=0, for_ms=1000)
        assert (await trader.submit(*ENTRY)).unknown_ids == ()
        assert trader.client._sender is not None
        assert trader.client._sender.repeats >= 1
        assert {one.client_order_id for one in await trader.client.fetch_open_orders()} >= {"stop", "target"}
        await trader.check_same()

    run(venue, work)


def test_order_cap_refuses_the_stop_in_the_answer(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="order_cap", orders=0)
        await trader.submit(market("entry", 1), stop("stop", -1, 50_000.0))
        assert "10001" in trader.of("stop", OrderRejected)[0].message
        assert await trader.client.fetch_positions() == {BTC_ID: 100}

    run(venue, work)


def test_upgrade_mode_is_unhealthy_and_passes(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        client = trader.client
        venue.switch(fault="upgrade_mode")
        await until(lambda: any("the node has not answered" in line for line in client.check_health(time.time_ns())))
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        venue.call(venue.board.apply, {"off": "all"}, 0)
        await see_never_placed(trader, "a")
        await trader.submit(market("b", 1))
        await until(lambda: trader.of("b", Fill))
        await until(lambda: not client.check_health(time.time_ns()))

    run(venue, work, settings=replace(HASTY, silence_s=3.0))
