"""The unmodified SDK trades on the simulated dYdX, and what the Indexer says is what the exchange holds."""

import json
import random
import threading
import time
from decimal import Decimal
from typing import Any

import httpx
import pytest
from dydx_v4_client import OrderFlags
from dydx_v4_client.indexer.rest.constants import OrderExecution, OrderType
from dydx_v4_client.indexer.socket.websocket import IndexerSocket
from dydx_v4_client.node.builder import TxOptions
from dydx_v4_client.node.market import Market
from v4_proto.cosmos.tx.v1beta1 import service_pb2
from v4_proto.cosmos.tx.v1beta1.service_pb2_grpc import ServiceStub
from v4_proto.dydxprotocol.clob.order_pb2 import Order as ProtoOrder
from v4_proto.dydxprotocol.clob.tx_pb2 import OrderBatch
from v4_proto.dydxprotocol.subaccounts.subaccount_pb2 import SubaccountId as ProtoSubaccountId

from tests.venues.dydx.running_venue import ACCOUNTS, Venue, wait_for
from venues.dydx.order_terms import Order as ChainOrder
from venues.dydx.order_terms import OrderId, PlaceOrder, SubaccountId, order_uuid
from venues.dydx.transactions import LOCALNET, Account, sign_tx

BTC = "BTC-USD"
BTC_ID = "BTC-PERP.DYDX"
GTT = ProtoOrder.TimeInForce.TIME_IN_FORCE_UNSPECIFIED
IOC = ProtoOrder.TimeInForce.TIME_IN_FORCE_IOC


@pytest.fixture
def venue(own_venue: Venue) -> Venue:
    """Each test its own: they meet in the book, and look at everything."""
    return own_venue


def get_market(venue: Venue) -> Market:
    reply = venue.ask(venue.indexer.markets.get_perpetual_markets(BTC))
    return Market(reply["markets"][BTC])


def place(
    venue: Venue,
    client_id: int,
    *,
    price: float,
    is_buy: bool = True,
    ahead: int = 18,
    size: float = 0.01,
    tif: Any = GTT,
    good_til_block: int = 0,
) -> Any:
    market = get_market(venue)
    height = venue.ask(venue.node.latest_block_height())
    order = market.order(
        order_id=market.order_id(venue.address, 0, client_id, OrderFlags.SHORT_TERM),
        order_type=OrderType.LIMIT,
        side=ProtoOrder.Side.SIDE_BUY if is_buy else ProtoOrder.Side.SIDE_SELL,
        size=size,
        price=price,
        time_in_force=tif,
        reduce_only=False,
        good_til_block=good_til_block or height + ahead,
    )
    return venue.ask(venue.node.place_order(venue.wallet(), order)).tx_response


def place_stop(venue: Venue, client_id: int, trigger_px: float, seconds: int = 600) -> Any:
    market = get_market(venue)
    now_s = int(venue.ask(venue.node.latest_block()).block.header.time.seconds)
    order_id = market.order_id(venue.address, 0, client_id, OrderFlags.CONDITIONAL)
    order = market.order(
        order_id=order_id,
        order_type=OrderType.STOP_MARKET,
        side=ProtoOrder.Side.SIDE_SELL,
        size=0.01,
        price=trigger_px * 0.9,
        time_in_force=IOC,
        reduce_only=True,
        good_til_block_time=now_s + seconds,
        execution=OrderExecution.IOC,
        condition_type=ProtoOrder.ConditionType.CONDITION_TYPE_STOP_LOSS,
        conditional_order_trigger_subticks=market.calculate_subticks(trigger_px),
    )
    return order_id, now_s + seconds, venue.ask(venue.node.place_order(venue.wallet(), order)).tx_response


def find_orders(venue: Venue, client_id: int, status: str | None = None) -> list[Any]:
    rows = venue.ask(venue.indexer.account.get_subaccount_orders(venue.address, 0))
    return [row for row in rows if row["clientId"] == str(client_id) and status in (None, row["status"])]


def buy(venue: Venue, client_id: int = 1) -> None:
    """Buy 0.01 BTC at once."""
    response = place(venue, client_id, price=66_000, tif=IOC)
    assert response.code == 0, response.raw_log
    wait_for(lambda: find_orders(venue, client_id, "FILLED"))


def test_an_order_fills_and_the_indexer_says_what_the_exchange_holds(venue: Venue) -> None:
    buy(venue)
    exchange, account_id = venue.market.exchange, f"{venue.address}/0"
    fills = venue.ask(venue.indexer.account.get_subaccount_fills(venue.address, 0))["fills"]
    own = venue.call(exchange.fills_since, account_id, 0)
    assert len(fills) == len(own) > 0
    for row, fill in zip(reversed(fills), own, strict=True):
        assert Decimal(row["price"]) == Decimal(repr(fill.fill_px))
        assert Decimal(row["size"]) == fill.fill_qty_lots * Decimal("0.0001")
        assert Decimal(row["fee"]) == Decimal(repr(fill.fee_quote))
        assert (row["side"], row["liquidity"], row["market"]) == ("BUY", "TAKER", BTC)
    (row,) = find_orders(venue, 1)
    uuid = order_uuid(OrderId(SubaccountId(venue.address), 1))
    assert row["id"] == uuid == venue.ask(venue.indexer.account.get_order(uuid))["id"]
    assert row["totalFilled"] == "0.01"
    (position,) = venue.ask(venue.indexer.account.get_subaccount_perpetual_positions(venue.address, 0))["positions"]
    held = venue.call(exchange.position, account_id, BTC_ID)
    assert Decimal(position["size"]) == held.qty_lots * Decimal("0.0001") == Decimal("0.01")
    subaccount = venue.ask(venue.indexer.account.get_subaccount(venue.address, 0))["subaccount"]
    (usdc,) = subaccount["assetPositions"].values()
    cash = Decimal(repr(venue.call(exchange.account_state, account_id).cash_quote))
    assert Decimal(usdc["size"]) == cash - Decimal(position["size"]) * Decimal(position["entryPrice"])
    chain = venue.ask(venue.node.get_subaccount(venue.address, 0))
    assert int.from_bytes(chain.perpetual_positions[0].quantums[1:], "big") == 100_000_000


def test_a_stop_rests_untriggered_and_is_canceled(venue: Venue) -> None:
    buy(venue)
    order_id, good_til, response = place_stop(venue, 5, 50_000.0)
    assert response.code == 0, response.raw_log
    (row,) = wait_for(lambda: find_orders(venue, 5, "UNTRIGGERED"))
    assert (row["type"], row["triggerPrice"], row["reduceOnly"]) == ("STOP_LIMIT", "50000", True)
    included = ServiceStub(venue.network.node.channel).GetTx(
        service_pb2.GetTxRequest(hash=response.txhash), timeout=30.0
    )
    assert included.tx_response.height > 0
    assert included.tx_response.code == 0
    canceled = venue.ask(venue.node.cancel_order(venue.wallet(), order_id, good_til_block_time=good_til + 10))
    assert canceled.tx_response.code == 0, canceled.tx_response.raw_log
    (row,) = wait_for(lambda: find_orders(venue, 5, "CANCELED"))
    assert row["removalReason"] == "ORDER_REMOVAL_REASON_USER_CANCELED"
    again = venue.ask(venue.node.cancel_order(venue.wallet(), order_id, good_til_block_time=good_til + 20))
    assert again.tx_response.code == 3006
    assert venue.ask(venue.node.get_account(venue.address)).sequence == 2


def test_a_stop_fires_when_the_oracle_touches_it(venue: Venue) -> None:
    buy(venue)
    _, _, response = place_stop(venue, 6, 61_000.0)  # above the oracle: due at once
    assert response.code == 0, response.raw_log
    wait_for(lambda: find_orders(venue, 6, "FILLED"))
    assert venue.call(venue.market.exchange.position, f"{venue.address}/0", BTC_ID).qty_lots == 0
    assert venue.ask(venue.indexer.account.get_subaccount_perpetual_positions(venue.address, 0))["positions"] == []


def test_resting_orders_are_replaced_canceled_and_expire(venue: Venue) -> None:
    assert place(venue, 9, price=50_000, ahead=29).code == 0
    wait_for(lambda: find_orders(venue, 9, "BEST_EFFORT_OPENED"))
    assert place(venue, 9, price=50_000, ahead=35, size=0.02).code == 0
    (row,) = wait_for(lambda: find_orders(venue, 9, "BEST_EFFORT_OPENED"))
    assert row["size"] == "0.02"
    assert len(venue.call(venue.market.exchange.open_orders, f"{venue.address}/0")) == 1
    market = get_market(venue)
    height = venue.ask(venue.node.latest_block_height())
    order_id = market.order_id(venue.address, 0, 9, OrderFlags.SHORT_TERM)
    canceled = venue.ask(venue.node.cancel_order(venue.wallet(), order_id, good_til_block=height + 39))
    assert canceled.tx_response.code == 0, canceled.tx_response.raw_log
    wait_for(lambda: find_orders(venue, 9, "BEST_EFFORT_CANCELED"))
    assert place(venue, 9, price=50_000, good_til_block=height + 39).code == 7
    assert place(venue, 10, price=50_000, ahead=12).code == 0
    (row,) = wait_for(lambda: find_orders(venue, 10, "CANCELED"))
    assert row["removalReason"] == "ORDER_REMOVAL_REASON_INDEXER_EXPIRED"
    assert venue.call(venue.market.exchange.open_orders, f"{venue.address}/0") == []


def test_what_the_chain_refuses(venue: Venue) -> None:
    assert place(venue, 1, price=50_000, ahead=0).code == 10
    assert place(venue, 1, price=50_000, ahead=60).code == 11
    height = venue.ask(venue.node.latest_block_height())
    order = ChainOrder(
        OrderId(SubaccountId(venue.address), 3), 1, 100_000_000, 5_000_000_000, good_til_block=height + 9
    )
    tx_bytes = sign_tx(PlaceOrder(order), venue.key, Account(LOCALNET, venue.index, 0))
    broadcast = ServiceStub(venue.network.node.channel).BroadcastTx
    altered = tx_bytes[:-1] + bytes([tx_bytes[-1] ^ 1])
    response = broadcast(service_pb2.BroadcastTxRequest(tx_bytes=altered, mode=2), timeout=30.0).tx_response
    assert (response.codespace, response.code) == ("sdk", 4)
    assert f"signature verification failed; please verify account number ({venue.index})" in response.raw_log
    codes = [
        broadcast(service_pb2.BroadcastTxRequest(tx_bytes=tx_bytes, mode=2), timeout=30.0).tx_response.code
        for _ in range(2)
    ]
    assert codes == [0, 19]
    with pytest.raises(Exception, match="not found"):
        venue.ask(venue.node.get_account("dydx1wldnytkerzs39rs28djn0p9vvqer2x2k5x8hjy"))


class Listener:
    """The SDK's socket on a thread, and what it heard."""

    def __init__(self, venue: Venue, subscribe: Any) -> None:
        self.heard: list[dict[str, Any]] = []
        self.socket = IndexerSocket(
            venue.network.websocket_indexer, on_open=lambda _: subscribe(self.socket), on_message=self._note
        )
        self.thread = threading.Thread(target=self.socket.run_forever)
        self.thread.start()

    def _note(self, _: Any, message: dict[str, Any]) -> None:
        self.heard.append(message)

    def of(self, channel: str, kind: str = "") -> list[dict[str, Any]]:
        """Return the messages of a channel."""
        return [one for one in [*self.heard] if one.get("channel") == channel and kind in one["type"]]

    def stop(self) -> None:
        """Close and wait."""
        self.socket.close()
        self.thread.join(30.0)
        assert not self.thread.is_alive()


def build_book(messages: list[dict[str, Any]]) -> dict[str, dict[Decimal, Decimal]]:
    book: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}
    for message in messages:
        contents = message["contents"]
        for part in contents if isinstance(contents, list) else [contents]:
            for side, levels in part.items():
                for level in levels:
                    px, size = (level["price"], level["size"]) if isinstance(level, dict) else level
                    book[side][Decimal(px)] = Decimal(size)
    return {side: {px: size for px, size in levels.items() if size} for side, levels in book.items()}


def test_the_socket_tells_what_the_exchange_holds(venue: Venue) -> None:
    def subscribe(socket: Any) -> None:
        socket.order_book.subscribe(BTC, False)
        socket.trades.subscribe(BTC)
        socket.markets.subscribe()
        socket.subaccounts.subscribe(venue.address, 0)
        socket.send('{"type":"subscribe","channel":"v4_block_height"}')
        socket.send('{"type":"subscribe","channel":"v4_candles","id":"BTC-USD/1MIN"}')

    listener = Listener(venue, subscribe)
    try:
        wait_for(lambda: listener.of("v4_candles", "subscribed"))
        buy(venue)
        assert place(venue, 2, price=50_000).code == 0
        updates = wait_for(
            lambda: [
                one
                for one in listener.of("v4_subaccounts", "channel")
                if any(order["clientId"] == "2" for order in one["contents"].get("orders", []))
            ]
        )
        assert updates[0]["contents"]["orders"][0]["status"] == "BEST_EFFORT_OPENED"
        fills = [fill for one in listener.of("v4_subaccounts", "channel") for fill in one["contents"].get("fills", [])]
        assert sum(Decimal(fill["size"]) for fill in fills) == Decimal("0.01")
        for channel in ("v4_trades", "v4_markets", "v4_block_height"):
            wait_for(lambda channel=channel: listener.of(channel, "channel"))
        venue.switch(fault="height_frozen")  # the world stands still: compare
        view = venue.call(venue.market.get_book, BTC_ID, 1000)
        expected = {
            name: {Decimal(repr(float(level.px))): level.qty_lots * Decimal("0.0001") for level in side}
            for name, side in (("bids", view.bids), ("asks", view.asks))
        }
        wait_for(lambda: build_book(listener.of("v4_orderbook")) == expected)
        ids = [one["message_id"] for one in listener.heard]
        assert ids == list(range(len(ids)))
    finally:
        listener.stop()


def test_faults_of_the_chain(venue: Venue) -> None:
    venue.switch(fault="tx_vanish", on="order", next_n=1)
    assert place(venue, 1, price=50_000).code == 0
    assert place(venue, 2, price=50_000).code == 0
    wait_for(lambda: find_orders(venue, 2))
    assert find_orders(venue, 1) == []
    venue.switch(fault="indexer_lag", blocks=100)
    assert place(venue, 3, price=50_000).code == 0
    assert find_orders(venue, 3) == []

    def lag_blocks() -> int:
        height = int(venue.ask(venue.indexer.utility.get_height())["height"])
        return int(venue.ask(venue.node.latest_block_height())) - height

    wait_for(lambda: lag_blocks() >= 2)
    venue.call(venue.board.apply, {"off": "indexer_lag"}, 0)
    wait_for(lambda: find_orders(venue, 3))
    venue.switch(fault="height_frozen")
    height = venue.ask(venue.node.latest_block_height())
    assert place(venue, 4, price=66_000, tif=IOC).code == 0
    assert venue.ask(venue.node.latest_block_height()) == height
    assert venue.call(venue.market.exchange.fills_since, f"{venue.address}/0", 0) == []
    venue.call(venue.board.apply, {"off": "all"}, 0)
    wait_for(lambda: find_orders(venue, 4, "FILLED"))


def test_every_query_of_the_sdk_is_answered(venue: Venue) -> None:
    buy(venue)
    node, markets, account = venue.node, venue.indexer.markets, venue.indexer.account
    assert venue.ask(node.get_clob_pair(0)).step_base_quantums == 1_000_000
    assert [pair.id for pair in venue.ask(node.get_clob_pairs()).clob_pair] == [0, 1]
    assert venue.ask(node.get_price(0)).price > 0
    assert len(venue.ask(node.get_prices()).market_prices) == 2
    assert venue.ask(node.get_perpetual(1)).perpetual.params.ticker == "ETH-USD"
    assert len(venue.ask(node.get_perpetuals()).perpetual) == 2
    assert venue.ask(node.get_equity_tier_limit_config()).stateful_order_equity_tiers[-1].limit == 200
    assert venue.ask(node.get_user_fee_tier(venue.address)).tier.taker_fee_ppm == 500
    assert len(venue.ask(node.get_subaccounts()).subaccount) == ACCOUNTS
    assert venue.ask(node.get_node_info()).default_node_info.network == LOCALNET
    assert venue.ask(markets.get_perpetual_market_orderbook(BTC))["bids"]
    assert venue.ask(markets.get_perpetual_market_trades(BTC))["trades"]
    assert venue.ask(markets.get_perpetual_market_candles(BTC, "1MIN"))["candles"][0]["ticker"] == BTC
    assert "historicalFunding" in venue.ask(markets.get_perpetual_market_historical_funding(BTC))
    assert venue.ask(markets.get_perpetual_market_sparklines()).keys() == {BTC, "ETH-USD"}
    assert venue.ask(venue.indexer.utility.get_time())["epoch"] > 0
    assert len(venue.ask(account.get_subaccounts(venue.address))["subaccounts"]) == 1
    parent = venue.ask(account.get_parent_subaccount(venue.address, 0))["subaccount"]
    assert len(parent["childSubaccounts"]) == 1
    assert venue.ask(account.get_subaccount_asset_positions(venue.address, 0))["positions"][0]["symbol"] == "USDC"
    assert venue.ask(account.get_subaccount_transfers(venue.address, 0))["transfers"] == []
    with pytest.raises(Exception, match="404"):
        venue.ask(account.get_subaccount(venue.address, 7))
    with pytest.raises(Exception, match="404"):
        venue.ask(account.get_order("00000000-0000-0000-0000-000000000000"))


def test_faults_of_the_node(venue: Venue) -> None:
    venue.switch(fault="grpc_status", on="order", code=14, next_n=1)
    with pytest.raises(Exception, match="UNAVAILABLE"):
        place(venue, 1, price=50_000)
    venue.switch(fault="reply_lost", on="order", next_n=1)
    with pytest.raises(Exception, match="UNAVAILABLE"):
        place(venue, 2, price=50_000)
    wait_for(lambda: find_orders(venue, 2, "BEST_EFFORT_OPENED"))
    assert find_orders(venue, 1) == []
    assert place(venue, 3, price=66_000, tif=ProtoOrder.TimeInForce.TIME_IN_FORCE_POST_ONLY).code == 2003
    venue.switch(fault="post_only_removed", on="order", next_n=1)
    assert place(venue, 4, price=66_000, tif=ProtoOrder.TimeInForce.TIME_IN_FORCE_POST_ONLY).code == 0
    (row,) = wait_for(lambda: find_orders(venue, 4, "BEST_EFFORT_CANCELED"))
    assert row["removalReason"] == "ORDER_REMOVAL_REASON_POST_ONLY_WOULD_CROSS_MAKER_ORDER"
    buy(venue, 20)
    venue.switch(fault="sequence_bumped", on="order", by=3, next_n=1)
    assert place_stop(venue, 5, 50_000.0)[2].code == 32
    assert place_stop(venue, 6, 50_000.0)[2].code == 0
    venue.switch(fault="order_cap", orders=1)
    wait_for(lambda: find_orders(venue, 6))
    assert place_stop(venue, 7, 50_000.0)[2].code == 10001


def test_two_accounts_trade_with_each_other_and_money_balances(venue: Venue) -> None:
    bid_px = float(venue.ask(venue.indexer.markets.get_perpetual_market_orderbook(BTC))["bids"][0]["price"])
    assert place(venue, 1, price=bid_px + 200, size=0.02).code == 0  # takes, or rests above all others
    market = get_market(venue)
    height = venue.ask(venue.node.latest_block_height())
    other = venue.wallet(1)
    order = market.order(
        order_id=market.order_id(other.address, 0, 1, OrderFlags.SHORT_TERM),
        order_type=OrderType.LIMIT,
        side=ProtoOrder.Side.SIDE_SELL,
        size=0.02,
        price=bid_px * 0.9,
        time_in_force=IOC,
        reduce_only=False,
        good_til_block=height + 18,
    )
    assert venue.ask(venue.node.place_order(other, order)).tx_response.code == 0
    wait_for(lambda: find_orders(venue, 1, "FILLED"))
    venue.call(venue.market.exchange.check_invariants)


def test_the_stream_survives_nonsense_and_faults(venue: Venue) -> None:
    def subscribe(socket: Any) -> None:
        socket.send("nonsense")
        socket.send('{"type":"subscribe","channel":"v4_orderbook","id":"NONE-USD"}')
        socket.order_book.subscribe(BTC)

    venue.switch(fault="book_crossed", on="v4_orderbook")
    listener = Listener(venue, subscribe)
    try:
        wait_for(lambda: any("999999999" in str(one) for one in listener.of("v4_orderbook", "channel")))
        errors = [one["message"] for one in listener.heard if one["type"] == "error"]
        assert errors[0] == "Invalid message: could not parse"
        assert errors[1] == "Invalid subscription id for channel: (v4_orderbook-NONE-USD)"
        venue.switch(fault="connection_close", on="v4_orderbook", code=1012)
        listener.thread.join(30.0)
        assert not listener.thread.is_alive()
    finally:
        listener.stop()


def test_a_reduce_only_order_shrinks_to_the_position(venue: Venue) -> None:
    buy(venue)
    market = get_market(venue)
    height = venue.ask(venue.node.latest_block_height())
    order = market.order(
        order_id=market.order_id(venue.address, 0, 8, OrderFlags.SHORT_TERM),
        order_type=OrderType.MARKET,
        side=ProtoOrder.Side.SIDE_SELL,
        size=3.0,
        price=50_000,
        time_in_force=IOC,
        reduce_only=True,
        good_til_block=height + 18,
    )
    response = venue.ask(venue.node.place_order(venue.wallet(), order)).tx_response
    assert response.code == 0, response.raw_log
    (row,) = wait_for(lambda: find_orders(venue, 8, "BEST_EFFORT_CANCELED") or find_orders(venue, 8, "CANCELED"))
    assert (row["totalFilled"], row["removalReason"]) == ("0.01", "ORDER_REMOVAL_REASON_REDUCE_ONLY_RESIZE")
    assert venue.call(venue.market.exchange.open_orders, f"{venue.address}/0") == []
    wait_for(lambda: find_orders(venue, 8, "CANCELED"))


def test_long_term_orders_wait_for_their_block_and_batches_cancel(venue: Venue) -> None:
    market = get_market(venue)
    now_s = int(venue.ask(venue.node.latest_block()).block.header.time.seconds)
    order_id = market.order_id(venue.address, 0, 30, OrderFlags.LONG_TERM)
    order = market.order(
        order_id=order_id,
        order_type=OrderType.LIMIT,
        side=ProtoOrder.Side.SIDE_BUY,
        size=0.01,
        price=66_000,
        time_in_force=GTT,
        reduce_only=False,
        good_til_block_time=now_s + 60,
    )
    options = TxOptions(authenticators=[], sequence=int(time.time() * 1000), account_number=0)
    response = venue.ask(venue.node.place_order(venue.wallet(), order, tx_options=options)).tx_response
    assert response.code == 0, response.raw_log
    (row,) = wait_for(lambda: find_orders(venue, 30, "FILLED"))
    assert int(row["createdAtHeight"]) < int(row["updatedAtHeight"])
    assert place(venue, 31, price=50_000).code == 0
    assert place(venue, 32, price=50_000).code == 0
    wait_for(lambda: find_orders(venue, 32, "BEST_EFFORT_OPENED"))
    height = venue.ask(venue.node.latest_block_height())
    batch = [OrderBatch(clob_pair_id=0, client_ids=[31, 32, 33])]
    subaccount = ProtoSubaccountId(owner=venue.address, number=0)
    canceled = venue.ask(venue.node.batch_cancel_orders(venue.wallet(), subaccount, batch, height + 15))
    assert canceled.tx_response.code == 0, canceled.tx_response.raw_log
    wait_for(lambda: not venue.call(venue.market.exchange.open_orders, f"{venue.address}/0"))


def test_random_bytes_are_refused_and_do_no_harm(venue: Venue) -> None:
    draws = random.Random(5)
    broadcast = ServiceStub(venue.network.node.channel).BroadcastTx
    order = ChainOrder(OrderId(SubaccountId(venue.address), 3), 1, 100_000_000, 2**63 // 10**5 * 10**5, 1010)
    samples = [sign_tx(PlaceOrder(order), venue.key, Account(LOCALNET, venue.index, 0))]
    for _ in range(60):
        mutated = bytearray(samples[0])
        for _ in range(draws.randrange(1, 4)):
            mutated[draws.randrange(len(mutated))] = draws.randrange(256)
        samples += [bytes(mutated), draws.randbytes(draws.randrange(64))]
    for sample in samples:
        response = broadcast(service_pb2.BroadcastTxRequest(tx_bytes=sample, mode=2), timeout=30.0).tx_response
        assert (response.code == 0) == (sample is samples[0]), response.raw_log
    paths = ["orders?address=a&subaccountNumber=x", "fills", "orders?address=%00&subaccountNumber=0&limit=-1", "x/y"]
    for path in [*paths, f"candles/perpetualMarkets/{BTC}?resolution=1MIN&fromISO=never", "height/1"]:
        assert httpx.get(f"{venue.addresses['http']}/v4/{path}", timeout=30.0).status_code in (400, 404), path
    buy(venue)  # it lives
    venue.call(venue.market.exchange.check_invariants)


def test_a_fill_may_come_before_the_cancel_and_an_expiry_may_stay_untold(venue: Venue) -> None:
    assert place(venue, 1, price=50_000, ahead=20).code == 0
    wait_for(lambda: find_orders(venue, 1, "BEST_EFFORT_OPENED"))
    venue.switch(fault="fill_during_cancel", on="cancel", next_n=1)
    market = get_market(venue)
    height = venue.ask(venue.node.latest_block_height())
    order_id = market.order_id(venue.address, 0, 1, OrderFlags.SHORT_TERM)
    canceled = venue.ask(venue.node.cancel_order(venue.wallet(), order_id, good_til_block=height + 30))
    assert canceled.tx_response.code == 0, canceled.tx_response.raw_log
    wait_for(lambda: find_orders(venue, 1, "FILLED"))
    listener = Listener(venue, lambda socket: socket.subaccounts.subscribe(venue.address, 0))
    try:
        wait_for(lambda: listener.of("v4_subaccounts", "subscribed"))
        venue.switch(fault="expiry_hidden", on="expiry")
        assert place(venue, 2, price=50_000, ahead=10).code == 0
        wait_for(lambda: find_orders(venue, 2, "CANCELED"))
        assert place(venue, 3, price=50_000).code == 0
        wait_for(lambda: '"clientId": "3"' in json.dumps(listener.heard))
        assert "INDEXER_EXPIRED" not in json.dumps(listener.heard)
    finally:
        listener.stop()


def test_the_nodes_http_and_the_control_endpoint(venue: Venue) -> None:
    base = venue.addresses["http"]
    info = httpx.get(f"{base}/cosmos/auth/v1beta1/account_info/{venue.address}", timeout=30.0).json()["info"]
    height = int(httpx.get(f"{base}/abci_info", timeout=30.0).json()["result"]["response"]["last_block_height"])
    order = ChainOrder(
        OrderId(SubaccountId(venue.address), 3), 1, 100_000_000, 5_000_000_000, good_til_block=height + 9
    )
    account = Account(LOCALNET, int(info["account_number"]), int(info["sequence"]))
    tx_bytes = sign_tx(PlaceOrder(order), venue.key, account)
    reply = httpx.get(f"{base}/broadcast_tx_sync", params={"tx": f"0x{tx_bytes.hex()}"}, timeout=30.0).json()
    assert reply["result"]["code"] == 0
    wait_for(lambda: find_orders(venue, 3))
    control = venue.addresses["control"]
    switch = {"on": [{"fault": "http_status_before", "venue": "dydx", "on": "indexer", "status": 429, "next_n": 1}]}
    assert httpx.post(control, json=switch, timeout=30.0).json()["ids"]
    assert httpx.get(f"{base}/v4/height", timeout=30.0).status_code == 429
    assert httpx.get(f"{base}/v4/height", timeout=30.0).status_code == 200
    assert httpx.get(control, timeout=30.0).json()["counts"] == {"http_status_before": 1}
