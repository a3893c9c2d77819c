"""What the dYdX client does when the venue's own state goes wrong: clocks, heights, prices. One test per switch."""

from dataclasses import replace

import pytest

from market.events import Fill, OrderAccepted, OrderCanceled, OrderModified, OrderTriggered
from tests.venues.dydx.running_venue import Venue
from tests.venues.dydx.trading import (
    BTC_ID,
    PATIENT,
    Trader,
    check_once,
    limit,
    market,
    run,
    see_all_well,
    see_health,
    stop,
    until,
)
from venues.port import PreflightError

ACCOUNT = "v4_subaccounts"
WATCHFUL = replace(PATIENT, silence_s=3.0)


def test_expiry_hidden_is_known_by_the_height(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="expiry_hidden", on="expiry")
        await trader.submit(limit("a", 1, 55_000.0))
        (event,) = await until(lambda: trader.of("a", OrderCanceled))
        assert event.message == "expired"

    run(venue, work, has_short_resting=True)


def test_stop_hidden_is_unknown_until_it_is_seen_waiting(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        trader.hurry(2.0)
        venue.switch(fault="stop_hidden", hidden_ms=3_600_000)
        answer = await trader.submit(market("a", 1), stop("stop", -1, 50_000.0))
        assert "stop" in answer.unknown_ids
        venue.switch_all_off()
        await until(lambda: trader.of("stop", OrderAccepted))
        assert trader.own_statuses().count("UNTRIGGERED") == 1

    run(venue, work, settings=WATCHFUL)


def test_clock_skew_is_refused_at_first_and_unhealthy_later(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="clock_skew", skew_ms=600_000)
        await see_health(trader, "the venue's clock is +6")
        await see_all_well(trader)

    run(venue, work)
    venue.switch(fault="clock_skew", skew_ms=-600_000)
    with pytest.raises(PreflightError, match="set the clock"):
        run(venue, work)


def test_height_frozen_is_unhealthy_and_orders_stay_unknown(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        trader.hurry(2.0)
        venue.switch(fault="height_frozen")
        await see_health(trader, "height stands at")
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        assert (await trader.client.resolve("a")).unknown_ids == ("a",)
        await see_all_well(trader)
        await until(lambda: trader.of("a", Fill))
        await trader.check_same()

    run(venue, work, settings=WATCHFUL)


def test_oracle_frozen_is_unhealthy_though_blocks_move(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        venue.switch(fault="oracle_frozen")
        await see_health(trader, "the oracle price of BTC-USD has not moved")
        await see_all_well(trader)

    run(venue, work, settings=WATCHFUL)


def test_indexer_lag_is_measured_against_the_node(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        trader.hurry(2.0)
        venue.switch(fault="indexer_lag", blocks=100)
        await see_health(trader, "the indexer lags")
        assert (await trader.submit(market("a", 1))).unknown_ids == ("a",)
        assert trader.own_lots() == 100  # it is there, only not told
        await see_all_well(trader)
        await until(lambda: trader.of("a", Fill))
        check_once(trader, "a")

    run(venue, work, settings=replace(WATCHFUL, silence_s=30.0, stale_s=3.0))


def test_price_gap_beyond_the_stop_is_armed_again_until_it_fills(own_venue: Venue) -> None:
    venue = own_venue  # its price leaps

    async def work(trader: Trader) -> None:
        await trader.submit(market("a", 1), stop("stop", -1, 50_000.0))
        venue.switch(fault="price_gap", gap_bps=3000)

        def has_moved_away() -> bool:
            bids = venue.call(venue.market.get_book, BTC_ID).bids
            return not bids or bids[0].px < 50_000.0

        await until(has_moved_away)
        await trader.act(trader.client.modify("stop", trigger_px=65_000.0))
        order = trader.client._desk.orders["stop"]
        await until(lambda: order.rearmed >= 2)
        assert trader.of("stop", OrderTriggered)
        assert len(trader.of("stop", OrderModified)) >= 2
        assert not trader.of("stop", OrderCanceled)
        assert trader.own_lots() == 100
        venue.switch_all_off()
        await until(lambda: sum(fill.fill_qty_lots for fill in trader.of("stop", Fill)) == 100)
        assert trader.own_lots() == 0
        await trader.check_same()

    run(venue, work)
