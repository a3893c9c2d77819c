"""The trading client on the simulator, through the official SDK: every method of the port, against the exchange."""

import io
import logging
import time
import traceback
from typing import Any

import pytest
from eth_account import Account

from market.events import Fill, FundingPaid, OrderCanceled, OrderModified, OrderType
from market.instruments import LISTED, Instrument, instrument_to_dict
from market.records import NS_PER_S
from tests.venues.hyperliquid.conftest import KEYS, STRANGER, Venue, run_venue, wait_for
from tests.venues.hyperliquid.trading import (
    CALM,
    ETH,
    ID,
    Trader,
    limit,
    make,
    make_client,
    market,
    running_loop,
    stop,
    target,
    trading,
)
from venues.lifecycle import OrderStatus
from venues.orders import Message
from venues.port import ClientSettings, Endpoints, PreflightError, VenueUnavailableError


def compare_with_exchange(trader: Trader) -> None:
    """Fills, fees, positions and money are the exchange's to the last unit of the wire."""
    own = trader.exchange(lambda exchange: exchange.fills_since(trader.address, 0))
    wait_for(lambda: sum(isinstance(event, Fill) for event in trader.heard) == len(own), "every fill, once")
    wait_for(lambda: len(trader.run(trader.client.fetch_fills(0))) == len(own), "the list of fills")
    fetched = trader.run(trader.client.fetch_fills(0))

    def fee(fill: Fill) -> float:
        return round(fill.fee_quote, 6)

    def numbers(fills: Any) -> list[tuple[Any, ...]]:
        return sorted(
            (int(f.trade_id), f.instrument_id, f.side, f.fill_px, f.fill_qty_lots, fee(f), f.is_maker, f.kind)
            for f in fills
        )

    assert numbers(event for event in trader.heard if isinstance(event, Fill)) == numbers(own) == numbers(fetched)
    held = trader.exchange(
        lambda exchange: {
            i.instrument_id: lots
            for i in exchange.instruments
            if (lots := exchange.position(trader.address, i.instrument_id).qty_lots)
        }
    )
    assert dict(trader.run(trader.client.fetch_positions())) == held
    trader.wait_health("")


def test_a_group_from_entry_to_stop(venue: Venue) -> None:
    with trading(venue) as trader:
        entry, guard, goal = market(1, 1000), stop(-1, 1000, 55_000.0), target(-1, 1000, 66_000.0)
        answer = trader.submit(entry, guard, goal)
        assert answer.unknown_ids == ()
        trader.wait_told(entry.client_order_id, "Fill")
        assert trader.open_at_venue() == [("stop_market", 1000, 55_000.0), ("limit_if_touched", 1000, 66_000.0)]
        reports = trader.run(trader.client.fetch_open_orders())
        seen = [(r.client_order_id, r.order_type, r.qty_lots, r.trigger_px, r.limit_px, r.is_armed) for r in reports]
        assert seen == [
            (guard.client_order_id, OrderType.STOP_MARKET, 1000, 55_000.0, 0.0, True),
            (goal.client_order_id, OrderType.TAKE_PROFIT_LIMIT, 1000, 0.0, 66_000.0, True),
        ]
        trader.modify(guard.client_order_id, trigger_px=54_000.0)
        told = trader.wait_told(guard.client_order_id, "OrderModified")[0]
        assert isinstance(told, OrderModified)
        assert (told.qty_lots, told.limit_px, told.trigger_px) == (1000, 0.0, 54_000.0)
        report = trader.run(trader.client.fetch_order(guard.client_order_id))
        assert (report.trigger_px, report.venue_order_id) == (54_000.0, told.venue_order_id)
        # A modify may put the trigger where the mark is already: the stop goes off, its sibling goes.
        trader.modify(guard.client_order_id, trigger_px=61_000.0)
        trader.wait_told(guard.client_order_id, "OrderTriggered")
        closing = trader.wait_told(guard.client_order_id, "Fill")[0]
        assert isinstance(closing, Fill)
        ended = trader.wait_told(goal.client_order_id, "OrderCanceled")[0]
        assert isinstance(ended, OrderCanceled)
        assert ended.message in (Message.SIBLING_FILLED, Message.POSITION_CLOSED)
        assert trader.lots_held() == 0
        for request in (entry, guard, goal):
            assert trader.kinds(request.client_order_id).count("OrderAccepted") == 1
        compare_with_exchange(trader)


def test_orders_rest_change_and_go(venue: Venue) -> None:
    with trading(venue) as trader:
        order = limit(1, 1000, 50_000.44)
        trader.submit(order)
        assert trader.kinds(order.client_order_id) == ["OrderAccepted"]
        answer = trader.modify(order.client_order_id, qty_lots=2000, limit_px=51_000.0)
        assert answer.unknown_ids == ()
        trader.wait_told(order.client_order_id, "OrderModified")
        assert trader.open_at_venue() == [("limit", 2000, 51_000.0)]
        report = trader.run(trader.client.fetch_order(order.client_order_id))
        assert (report.status, report.qty_lots, report.limit_px) == (OrderStatus.ACCEPTED, 2000, 51_000.0)
        trader.cancel(order.client_order_id)
        trader.wait_told(order.client_order_id, "OrderCanceled")
        again = trader.cancel(order.client_order_id)
        assert [type(event).__name__ for event in again.events] == ["CancelRejected"]
        nobody = "0x" + "0" * 32
        assert trader.run(trader.client.fetch_order(nobody)) is None
        assert [type(event).__name__ for event in trader.cancel(nobody).events] == ["CancelRejected"]
        assert trader.kinds(order.client_order_id).count("OrderCanceled") == 1
        assert trader.run(trader.client.fetch_open_orders()) == ()
        refused = {
            "post only": (limit(1, 1000, 61_000.0, time_in_force="post_only"), Message.POST_ONLY),
            "ioc": (limit(1, 1000, 50_000.0, time_in_force="ioc"), Message.IOC),
            "minimum": (limit(1, 10, 50_000.0), Message.BELOW_MINIMUM),
            "margin": (limit(1, 10_000_000, 59_000.0), Message.INSUFFICIENT_MARGIN),
            "reduce only": (limit(-1, 1000, 65_000.0, is_reduce_only=True), Message.REDUCE_ONLY),
            "twice": (order, Message.DUPLICATE),
            "instrument": (limit(1, 10, 50_000.0, instrument_id="DOGE-PERP.HYPERLIQUID"), Message.UNKNOWN_INSTRUMENT),
        }
        for name, (request, message) in refused.items():
            trader.submit(request)
            found: list[Any] = trader.wait_told(request.client_order_id, "OrderRejected")
            assert [event.message for event in found] == [message], name
        compare_with_exchange(trader)


def test_two_instruments_leverage_and_the_account(venue: Venue) -> None:
    with trading(venue) as trader:
        trader.run(trader.client.set_leverage(ID, 5))
        with pytest.raises(ValueError, match="refused"):
            trader.run(trader.client.set_leverage(ID, 500))
        buys = market(1, 2000), market(-1, 500, instrument_id=ETH.instrument_id)
        for request in buys:
            trader.submit(request)
            trader.wait_told(request.client_order_id, "Fill")
        closing = market(-1, 500, is_reduce_only=True)
        trader.submit(closing)
        trader.wait_told(closing.client_order_id, "Fill")
        compare_with_exchange(trader)
        book = trader.exchange(lambda exchange: exchange.account_state(trader.address))
        account = trader.run(trader.client.fetch_account())
        assert account.fees_quote == pytest.approx(book.fees_quote, abs=1e-5)
        assert account.cash_quote == pytest.approx(book.cash_quote, abs=1e-5)
        assert account.margin_initial_quote == pytest.approx(
            1500 * 1e-5 * 60_000.0 / 5 + 500 * 1e-4 * 3_000.0 / 25, rel=0.02
        )
        alone = target(-1, 1500, 66_000.0)
        trader.submit(alone)
        assert ("take_profit_limit", 1500, 66_000.0) not in trader.open_at_venue()  # a plain reduce-only limit
        assert ("limit", 1500, 66_000.0) in trader.open_at_venue()


def test_an_entry_canceled_in_part_keeps_a_stop_for_its_part(venue: Venue) -> None:
    with trading(venue) as trader:
        best_px = trader.exchange(lambda exchange: exchange.get_best_px(ID, 1))
        entry, guard = limit(1, 100_000, best_px - 300.0), stop(-1, 100_000, 55_000.0)
        trader.submit(entry, guard)
        assert trader.kinds(guard.client_order_id) == ["OrderAccepted"]
        ledger = venue.simulator.ledger
        key = venue.call(lambda: ledger.books[trader.address].by_cloid[entry.client_order_id].key)
        world = venue.simulator.world
        venue.call(lambda: world.act(lambda ts_ns: world.market.fill_resting(trader.address, key, 40_000, ts_ns)))
        trader.wait_told(entry.client_order_id, "Fill")
        trader.cancel(entry.client_order_id)
        trader.wait_told(entry.client_order_id, "OrderCanceled")
        told = trader.wait_told(guard.client_order_id, "OrderModified")[0]
        assert isinstance(told, OrderModified)
        assert told.qty_lots == trader.lots_held() == 40_000
        assert trader.open_at_venue() == [("stop_market", 40_000, 55_000.0)]
        assert "OrderCanceled" not in trader.kinds(guard.client_order_id)
        compare_with_exchange(trader)


def test_an_entry_canceled_unfilled_takes_its_children(venue: Venue) -> None:
    with trading(venue) as trader:
        entry, guard, goal = limit(1, 1000, 50_000.0), stop(-1, 1000, 45_000.0), target(-1, 1000, 70_000.0)
        trader.submit(entry, guard, goal)
        trader.cancel(entry.client_order_id)
        for request in (guard, goal):
            ended = trader.wait_told(request.client_order_id, "OrderCanceled")[0]
            assert isinstance(ended, OrderCanceled)
            assert ended.message == Message.PARENT_CANCELED
        assert trader.open_at_venue() == []


def test_a_later_life_hears_what_became_of_known_orders(venue: Venue) -> None:
    with trading(venue) as trader:
        resting, filled, gone = limit(1, 1000, 50_000.0), market(1, 1000), limit(1, 1000, 49_000.0)
        for request in (resting, filled, gone):
            trader.submit(request)
        trader.cancel(gone.client_order_id)
        trader.wait_told(filled.client_order_id, "Fill")
    never = limit(1, 1000, 48_000.0)
    with trading(venue, known=(resting, filled, gone, never)) as trader:
        assert trader.kinds(resting.client_order_id) == ["OrderAccepted"]
        assert [*dict.fromkeys(trader.kinds(filled.client_order_id))] == ["OrderAccepted", "Fill"]
        assert trader.kinds(gone.client_order_id) == ["OrderAccepted", "OrderCanceled"]
        assert trader.resolve(never.client_order_id).unknown_ids == (never.client_order_id,)
        trader.cancel(resting.client_order_id)
        trader.wait_told(resting.client_order_id, "OrderCanceled")
        assert trader.run(trader.client.fetch_positions()) == {ID: 1000}
    with trading(venue) as trader:  # one that remembers nothing
        assert trader.heard == []
        trader.resolve(filled.client_order_id)
        trader.wait_told(filled.client_order_id, "Fill")
        assert trader.run(trader.client.fetch_order(gone.client_order_id)).status is OrderStatus.CANCELED


def test_funding_is_the_exchanges() -> None:
    hour_ns = 3600 * NS_PER_S
    shift_ns = [hour_ns - 120 * NS_PER_S - time.time_ns() % hour_ns]  # two minutes before the hour

    def clock_ns() -> int:
        return time.time_ns() + shift_ns[0]

    with run_venue(clock_ns) as venue, trading(venue, clock_ns=clock_ns) as trader:
        order = market(1, 10_000)
        trader.submit(order)
        trader.wait_told(order.client_order_id, "Fill")
        wait_for(lambda: trader.lots_held() == 10_000, "the position")
        shift_ns[0] += max(0, -clock_ns() % hour_ns - 2 * NS_PER_S)  # on to the hour
        paid = wait_for(lambda: [event for event in [*trader.heard] if isinstance(event, FundingPaid)], "funding")
        own = trader.exchange(lambda exchange: exchange.account_state(trader.address))
        assert [(event.instrument_id, event.qty_lots) for event in paid] == [(ID, 10_000)]
        assert paid[0].amount_quote == round(own.funding_quote, 6) != 0.0
        rate = venue.call(lambda: venue.simulator.world.market.list_fundings(ID)[-1])
        assert paid[0].funding_rate == rate.funding_rate
        assert paid[0].index_px == pytest.approx(rate.index_px, rel=1e-3)
        assert trader.run(trader.client.fetch_account()).funding_quote == paid[0].amount_quote


def test_preflight_refuses_what_cannot_trade(venue: Venue) -> None:
    exchange = venue.exchange()
    agent_key = exchange.approve_agent()[1]
    agent, master = Account.from_key(agent_key), venue.wallets[0].address
    btc = instrument_to_dict(LISTED["BTC-PERP.HYPERLIQUID"])
    other = {
        "agent": ({"private_key": agent_key, "account_address": agent.address}, "is an agent"),
        "stranger": ({"private_key": "0x" + "9" * 64}, "neither account"),
        "unfunded": ({"private_key": "0x" + "9" * 64, "account_address": STRANGER.address}, "missing"),
        "unlisted": ({"instruments": [Instrument(**{**btc, "base": "DOGE"})]}, "does not list DOGE"),
        "lot": ({"instruments": [Instrument(**{**btc, "lot_base": 1e-4})]}, "szDecimals is 5"),
        "leverage": ({"instruments": [Instrument(**{**btc, "leverage_max": 50.0})]}, "40 at the venue"),
    }
    with running_loop() as loop:
        for name, (fields, words) in other.items():
            trader = Trader(venue, make_client(venue, **fields), loop)
            with pytest.raises(PreflightError, match=words):
                trader.run(trader.client.open(trader.heard.extend))
            assert trader.health() != (), name
    with trading(venue, private_key=agent_key, account_address=master) as trader:
        order = limit(1, 1000, 50_000.0)
        trader.submit(order)
        assert trader.open_at_venue() == [("limit", 1000, 50_000.0)]


def test_keys_are_never_shown(venue: Venue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown = io.StringIO()
    with pytest.raises(ValueError, match="check the keys file") as caught:
        make_client(venue, private_key=KEYS[0] + "zz")
    shown.write("".join(traceback.format_exception(caught.value)))
    with trading(venue) as trader:
        trader.submit(limit(1, 1000, 50_000.0))
        venue.fault("reply_lost", on="order", next_n=1)
        trader.submit(limit(1, 1000, 50_001.0))
        venue.fault("nonce_refused", on="order", next_n=1)
        answer = trader.submit(limit(1, 1000, 50_002.0))
        shown.write(f"{trader.client!r} {trader.client} {answer} {trader.health()} {vars(trader.client)}")
    with running_loop() as loop:
        trader = Trader(venue, make_client(venue, account_address=STRANGER.address), loop)
        with pytest.raises(PreflightError) as refused:
            trader.run(trader.client.open(trader.heard.extend))
        shown.write("".join(traceback.format_exception(refused.value)))
    shown.write(caplog.text)
    assert KEYS[0][2:] not in shown.getvalue()
    assert KEYS[0][2:40] not in shown.getvalue()


def test_a_venue_that_is_not_there(venue: Venue) -> None:
    nowhere = Endpoints("http://127.0.0.1:9", "ws://127.0.0.1:9/ws")
    quick = ClientSettings(call_s=1.0, connect_s=1.0)
    with running_loop() as loop:
        client = make_client(venue, quick)
        client._endpoints = nowhere
        trader = Trader(venue, client, loop)
        with pytest.raises(VenueUnavailableError):
            trader.run(trader.client.open(trader.heard.extend))
        order = limit(1, 1000, 50_000.0)
        assert trader.kinds(trader.submit(order) and order.client_order_id) == ["OrderRejected"]
        trader.run(trader.client.close())
        assert make(OrderType.LIMIT, 1, 1).client_order_id != order.client_order_id
        assert CALM.call_s > quick.call_s
