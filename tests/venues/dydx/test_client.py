"""The dYdX client trades on the simulator through the real SDK; what it tells is what the exchange holds."""

import asyncio
import logging
import time
from dataclasses import replace

import pytest

from market.events import (
    CancelRejected,
    Fill,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderTriggered,
    TimeInForce,
)
from tests.venues.dydx.running_venue import SECRETS, Venue
from tests.venues.dydx.trading import (
    BTC,
    BTC_ID,
    PATIENT,
    Trader,
    endpoints_of,
    limit,
    market,
    run,
    stop,
    target,
    until,
)
from venues.dydx.client import PARENT_REJECTED, DydxClient
from venues.dydx.client_preflight import match_markets
from venues.dydx.indexer import MarketsReply
from venues.lifecycle import DUPLICATE, OrderStatus
from venues.orders import Message
from venues.port import Endpoints, PreflightError, VenueUnavailableError


def test_an_entry_its_stop_and_target_live_and_end_together(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        client = trader.client
        answer = await trader.submit(
            market("entry", 1, cause_id="i"),
            stop("stop", -1, 50_000.0, cause_id="i"),
            target("target", -1, 70_000.0, cause_id="i"),
        )
        assert answer.unknown_ids == ()
        assert [len(trader.of(name, OrderAccepted)) for name in ("entry", "stop", "target")] == [1, 1, 1]
        assert sum(fill.fill_qty_lots for fill in trader.of("entry", Fill)) == 100
        assert {event.cause_id for event in trader.heard} == {"i"}
        assert {report.client_order_id for report in await client.fetch_open_orders()} == {"stop", "target"}
        report = await client.fetch_order("stop")
        assert report is not None
        assert (report.trigger_px, report.qty_lots, report.is_reduce_only) == (50_000.0, 100, True)
        assert await client.fetch_positions() == {BTC_ID: 100}
        assert client.check_health(time.time_ns()) == ()
        modified = await trader.act(client.modify("stop", trigger_px=51_000.4))
        assert [event.trigger_px for event in modified.events if isinstance(event, OrderModified)] == [51_000.0]
        await trader.submit(market("exit", -1, is_reduce_only=True))
        await until(lambda: trader.of("stop", OrderCanceled) and trader.of("target", OrderCanceled))
        assert trader.of("stop", OrderCanceled)[0].message == Message.POSITION_CLOSED
        assert not {"UNTRIGGERED", "OPEN"} & set(trader.own_statuses())
        await trader.check_same()
        assert trader.own_lots() == 0

    run(venue, work)


def test_resting_orders_are_changed_and_canceled(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        client = trader.client
        assert not (await trader.submit(limit("rest", 1, 55_000.4))).unknown_ids
        (report,) = await client.fetch_open_orders()
        assert (report.client_order_id, report.limit_px, report.status) == ("rest", 55_000.0, OrderStatus.ACCEPTED)
        await trader.act(client.modify("rest", limit_px=54_000.0, qty_lots=50))
        assert [(one.limit_px, one.qty_lots) for one in trader.of("rest", OrderModified)] == [(54_000.0, 50)]
        (report,) = await client.fetch_open_orders()
        assert (report.client_order_id, report.limit_px, report.qty_lots) == ("rest", 54_000.0, 50)
        answer = await trader.act(client.cancel("rest"))
        assert [event.message for event in answer.events if isinstance(event, OrderCanceled)] == [Message.REQUESTED]
        again = await client.cancel("rest")
        assert isinstance(again.events[0], CancelRejected)
        assert isinstance((await client.cancel("nobody")).events[0], CancelRejected)
        assert isinstance((await client.modify("rest", limit_px=1.0)).events[0], CancelRejected)
        crossing = await trader.submit(limit("maker", 1, 66_000.0, time_in_force=TimeInForce.POST_ONLY))
        await until(lambda: trader.of("maker", OrderRejected) or trader.of("maker", OrderCanceled))
        assert not crossing.unknown_ids
        assert not trader.of("maker", Fill)
        assert await client.fetch_open_orders() == ()
        assert trader.client._desk.protocol_errors == 0

    run(venue, work)


def test_short_resting_orders_are_replaced_in_place_and_expire(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        client = trader.client
        assert not (await trader.submit(limit("quote", 1, 55_000.0))).unknown_ids
        await trader.act(client.modify("quote", limit_px=54_000.0, qty_lots=60))
        (event,) = trader.of("quote", OrderModified)
        assert (event.limit_px, event.qty_lots) == (54_000.0, 60)
        assert event.venue_order_id == trader.of("quote", OrderAccepted)[0].venue_order_id
        await until(lambda: trader.of("quote", OrderCanceled))
        assert trader.of("quote", OrderCanceled)[0].message == "expired"
        await trader.submit(limit("other", 1, 55_000.0))
        await trader.act(client.cancel("other"))
        await until(lambda: trader.of("other", OrderCanceled))

    run(venue, work, has_short_resting=True)


def test_refusals_are_events_and_nothing_else_happens(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        client = trader.client
        for request, message in (
            (market("a", 1, 0), Message.INVALID),
            (limit("b", 1, 60_000.0, is_reduce_only=True), "reduce-only"),
            (market("c", -1, is_reduce_only=True), Message.REDUCE_ONLY),
            (limit("d", 1, 60_000.0, 10**7), Message.INSUFFICIENT_MARGIN),
        ):
            await trader.submit(request)
            (event,) = trader.of(request.client_order_id, OrderRejected)
            assert message in event.message
        await trader.submit(market("e", -1, is_reduce_only=True), stop("f", 1, 70_000.0))
        assert [event.message for event in trader.of("e", OrderRejected)] == [Message.GROUP_INVALID]
        group = limit("g", 1, 60_000.0, 10**7), stop("h", -1, 50_000.0, 10**7)
        await trader.submit(*group)
        assert [event.message for event in trader.of("h", OrderRejected)] == [PARENT_REJECTED]
        await client.set_leverage(BTC_ID, 2)
        await trader.submit(market("i", 1, 40_000))
        assert "2 times equity" in trader.of("i", OrderRejected)[0].message
        with pytest.raises(ValueError, match="must be in"):
            await client.set_leverage(BTC_ID, 51)
        await trader.submit(market("j", 1))
        again = await client.submit([market("j", 1)])
        assert isinstance(again.events[0], OrderRejected)
        assert again.events[0].message == DUPLICATE
        assert await client.fetch_order("nobody") is None
        await trader.check_same()

    run(venue, work)


def test_a_triggered_stop_closes_the_position_and_its_sibling_goes(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        await trader.submit(market("entry", 1), stop("stop", -1, 59_000.0), target("target", -1, 70_000.0))
        await trader.act(trader.client.modify("stop", trigger_px=62_000.0))  # above the market: at once
        await until(lambda: trader.of("stop", Fill) and trader.of("target", OrderCanceled))
        assert trader.of("stop", OrderTriggered)
        assert {fill.kind for fill in trader.of("stop", Fill)} == {1}
        assert trader.of("target", OrderCanceled)[0].message == Message.SIBLING_FILLED
        await trader.check_same()
        assert trader.own_lots() == 0

    run(venue, work)


def test_children_of_an_entry_that_is_canceled_unfilled_are_canceled(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        await trader.submit(limit("entry", 1, 55_000.0), stop("stop", -1, 50_000.0), target("target", -1, 70_000.0))
        await trader.act(trader.client.cancel("entry"))
        await until(lambda: trader.of("stop", OrderCanceled) and trader.of("target", OrderCanceled))
        assert {event.message for event in trader.of("stop", OrderCanceled)} == {Message.PARENT_CANCELED}
        assert not await trader.client.fetch_open_orders()

    run(venue, work)


def test_a_second_life_knows_the_orders_of_the_first(venue: Venue) -> None:
    requests = market("entry", 1, cause_id="i"), stop("stop", -1, 50_000.0, cause_id="i")

    async def main() -> None:
        first = Trader(venue)
        await first.open()
        await first.submit(*requests)
        await first.act(first.client.modify("stop", trigger_px=51_000.0))
        await first.client.close()
        await first.client.close()
        second = Trader(venue)
        await second.open(requests)
        try:
            (report,) = await second.client.fetch_open_orders()
            assert (report.client_order_id, report.trigger_px) == ("stop", 51_000.0)
            assert second.heard == []
            await second.act(second.client.resolve("entry"))
            await second.act(second.client.resolve("stop"))
            assert sum(fill.fill_qty_lots for fill in second.of("entry", Fill)) == 100
            assert second.of("stop", OrderAccepted)
            assert (await second.client.resolve("stranger")).unknown_ids == ("stranger",)
            await second.submit(market("exit", -1, is_reduce_only=True))
            await until(lambda: second.of("stop", OrderCanceled))
            await second.check_same()
        finally:
            await second.client.close()

    asyncio.run(main())


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


def test_preflight_refuses_what_is_not_fit_and_secrets_stay_secret(
    venue: Venue, logs: pytest.LogCaptureFixture
) -> None:
    endpoints = endpoints_of(venue)
    said, secret = [], SECRETS[venue.index]

    def refuse(client_key: str, match: str, at: Endpoints = endpoints, **options: str) -> None:
        async def main() -> None:
            client = DydxClient(at, [BTC], private_key=client_key, settings=PATIENT, **options)  # type: ignore[arg-type]
            said.append(repr(client))
            await client.open(lambda events: None)

        with pytest.raises((PreflightError, VenueUnavailableError), match=match) as caught:
            asyncio.run(main())
        said.append(str(caught.value))

    refuse("zz" * 32, "not hexadecimal")
    refuse(secret, "not of dydx1other", address="dydx1other")
    refuse("03" * 32, "deposit first")
    refuse(secret, "is of chain", Endpoints(endpoints.http, endpoints.ws, endpoints.grpc, {"chain_id": "other"}))
    with pytest.raises(PreflightError, match="mnemonic is not valid") as caught:
        DydxClient(endpoints, [BTC], mnemonic="abandon ability secretword")
    said.append(str(caught.value))
    rows = MarketsReply(venue.call(venue.simulator.store.show_markets))
    with pytest.raises(PreflightError, match="tick"):
        match_markets([replace(BTC, tick_px=0.5)], rows, None)

    async def work(trader: Trader) -> None:
        await trader.submit(market("a", 1))
        said.extend([repr(trader.client), repr(trader.client._node), repr(vars(trader.client))])

    run(venue, work)
    text = " ".join([*said, logs.text])
    for secret in (*SECRETS, "zz" * 32, "03" * 32, "secretword"):
        assert secret not in text


def test_funding_is_told_and_sums_to_the_last_unit(venue: Venue) -> None:
    async def work(trader: Trader) -> None:
        await trader.submit(market("a", 1))
        await until(lambda: trader.of("a", Fill))
        chain, exchange = venue.simulator.chain, venue.market.exchange

        def settle() -> None:
            paid = exchange.settle_funding(BTC_ID, 0.0001, 60_000.0, venue.market.ts_now_ns)
            for account_id, event in paid:
                if account_id in chain.accounts:
                    chain._tell(account_id, fundings=(chain._show_funding(account_id, event),))

        venue.call(settle)
        await until(lambda: any(isinstance(event, FundingPaid) for event in trader.told))
        (paid,) = [event for event in trader.told if isinstance(event, FundingPaid)]
        assert (paid.qty_lots, paid.funding_rate) == (100, 0.0001)
        await trader.check_same()
        assert paid.amount_quote == (await trader.client.fetch_account()).funding_quote < 0

    run(venue, work)
