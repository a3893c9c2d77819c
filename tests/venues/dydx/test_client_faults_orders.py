"""What the dYdX client does when requests go wrong: refused, unanswered, late. One test per switch."""

import asyncio
import time
from dataclasses import replace

import pytest

from market.events import Fill, OrderAccepted
from tests.venues.dydx.running_venue import Venue
from tests.venues.dydx.trading import (
    PATIENT,
    Trader,
    check_once,
    limit,
    market,
    run,
    see_never_placed,
    stop,
    target,
    until,
)

HASTY_S = 2.0
ENTRY = (market("entry", 1), stop("stop", -1, 50_000.0), target("target", -1, 70_000.0))


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
        trader.hurry(HASTY_S)
        venue.switch(fault="grpc_status", on="order", code=14, next_n=1)
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        await see_never_placed(trader, "a")

    run(venue, work)


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
        venue.switch(fault="reply_delay", on="order", delay_ms=3_600_000)
        trader.hurry(HASTY_S)
        await trader.submit(market("a", 1))  # ends, or the test's own time-out would
        await until(lambda: trader.of("a", Fill))
        await trader.check_same()

    run(venue, work)


def test_fill_before_reply_is_told_once_with_its_acceptance(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        trader.hurry(HASTY_S)
        venue.switch(fault="fill_before_reply", on="order", delay_ms=3_600_000, next_n=1)
        answer = await trader.submit(market("a", 1))  # its own reply never comes in time: the socket has told it
        assert answer.unknown_ids == ()
        kinds = [type(event) for event in trader.of("a")]
        assert kinds[0] is OrderAccepted
        assert {*kinds[1:]} == {Fill}
        check_once(trader, "a")
        await trader.check_same()
        assert trader.client._desk.protocol_errors == 0

    run(venue, work)


def test_request_blackhole_blocks_neither_the_loop_nor_the_next_order(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        trader.hurry(HASTY_S)  # the Indexer is asked for 2 s, three times
        venue.switch(fault="request_blackhole", on="order", next_n=1)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
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

    run(venue, work, settings=replace(PATIENT, call_s=6.0))


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


def test_request_cap_is_waited_out(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="request_cap", requests=0, for_ms=1000)
        assert (await trader.submit(*ENTRY)).unknown_ids == ()
        assert trader.client._sender is not None
        assert trader.client._sender.repeats >= 1
        assert {one.client_order_id for one in await trader.client.fetch_open_orders()} >= {"stop", "target"}
        await trader.check_same()

    run(venue, work)


def test_upgrade_mode_is_unhealthy_and_passes(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        client = trader.client
        trader.hurry(HASTY_S)
        venue.switch(fault="upgrade_mode")
        await until(lambda: any("the node has not answered" in line for line in client.check_health(time.time_ns())))
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        venue.switch_all_off()
        await see_never_placed(trader, "a")
        await trader.submit(market("b", 1))
        await until(lambda: trader.of("b", Fill))
        await until(lambda: not client.check_health(time.time_ns()))

    run(venue, work, settings=replace(PATIENT, silence_s=3.0))
