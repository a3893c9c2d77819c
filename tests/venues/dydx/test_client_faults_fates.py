"""What the dYdX client does when orders fare strangely: vanished, filled in between, capped. One test per switch."""

import pytest

from market.events import CancelRejected, Fill, OrderCanceled, OrderModified, OrderRejected, TimeInForce
from tests.venues.dydx.running_venue import Venue
from tests.venues.dydx.trading import BTC_ID, Trader, limit, market, run, see_never_placed, stop, target, until
from venues.dydx.client_orders import NEVER_PLACED
from venues.orders import Message

HASTY_S = 2.0
ENTRY = (market("entry", 1), stop("stop", -1, 50_000.0), target("target", -1, 70_000.0))


def test_tx_vanish_is_unknown_then_never_placed(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        trader.hurry(HASTY_S)
        venue.switch(fault="tx_vanish", on="order", next_n=1)
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        await see_never_placed(trader, "a")

    run(venue, work)


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
        trader.hurry(HASTY_S)
        venue.switch(fault="post_only_removed", on="order", is_silent=is_silent, next_n=1)
        await trader.submit(limit("a", 1, 66_000.0, time_in_force=TimeInForce.POST_ONLY))
        (event,) = await until(lambda: trader.of("a", OrderRejected))
        assert event.message == (NEVER_PLACED if is_silent else Message.POST_ONLY)
        assert trader.own_fills() == []

    run(venue, work, has_short_resting=True)


def test_child_rejected_is_told_at_once_and_the_entry_lives(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="child_rejected", on="order")
        answer = await trader.submit(market("entry", 1), stop("stop", -1, 50_000.0))
        assert answer.unknown_ids == ()
        assert "6001" in trader.of("stop", OrderRejected)[0].message
        assert trader.of("entry", Fill)
        await trader.check_same()

    run(venue, work)


def test_order_cap_refuses_the_stop_in_the_answer(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="order_cap", orders=0)
        await trader.submit(market("entry", 1), stop("stop", -1, 50_000.0))
        assert "10001" in trader.of("stop", OrderRejected)[0].message
        assert await trader.client.fetch_positions() == {BTC_ID: 100}

    run(venue, work)
