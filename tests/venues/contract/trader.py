"""One account at one venue: its client, all that it told, and the comparison with what the exchange itself holds."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from market.events import OrderRequest, OrderType
from market.fills import apply_fill
from market.instruments import LISTED
from market.records import POSITION_FLAT
from tests.venues.contract.stage import DEADLINE_S, Stage, until
from tests.venues.contract.told import Told
from tests.venues.contract.venues_under_test import TradingVenue, same_fill
from venues.lifecycle import OrderStatus
from venues.port import Answer, ClientSettings, TradingClient

# Patient: the machine may be slow, and time-outs are the subject of few tests.
CALM = ClientSettings(
    call_s=40.0, connect_s=40.0, silence_s=600.0, stale_s=600.0, reconcile_s=1.0, skew_s_max=60.0, unknown_s=60.0,
    backoff_s=0.05,
)  # fmt: skip
ROUNDING_QUOTE = 1e-9  # of sums in another order; beyond it only the wire's own step of money is allowed


class Trader:
    """A client on an account of its own."""

    def __init__(self, stage: Stage, venue: TradingVenue, settings: ClientSettings = CALM) -> None:
        self.stage, self.venue = stage, venue
        self.account = stage.take_account(venue.name)
        self.account_id = venue.name_account(self.account)
        self.told = Told()
        self.answers: list[Answer] = []
        self.client: TradingClient = venue.make_client(stage, self.account, settings)
        self._count = 0

    async def open(self, known: Sequence[OrderRequest] = ()) -> None:
        """Open the client."""
        self.told.expect(known)
        await self.client.open(self.told.events.extend, known)

    async def reopen(self, settings: ClientSettings = CALM) -> "Told":
        """Close the client, and begin another life that knows the orders of this one; return what the old one told."""
        await self.client.close()
        before, self.told = self.told, Told()
        self.client = self.venue.make_client(self.stage, self.account, settings)
        return before

    # Orders.

    def make(self, kind: OrderType, side: int, lots: int, **fields: Any) -> OrderRequest:
        """Return a request under an id of its own."""
        self._count += 1
        order_id = "0x" + hashlib.sha256(f"{self.account_id} {self._count}".encode()).hexdigest()[:32]
        instrument_id = fields.pop("instrument_id", self.venue.btc.instrument_id)
        return OrderRequest(order_id, instrument_id, side, lots, kind, **fields)

    def market(self, side: int, lots: int, **fields: Any) -> OrderRequest:
        """Return a market order."""
        return self.make(OrderType.MARKET, side, lots, **fields)

    def limit(self, side: int, lots: int, px: float, **fields: Any) -> OrderRequest:
        """Return a limit order."""
        return self.make(OrderType.LIMIT, side, lots, limit_px=px, **fields)

    def stop(self, side: int, lots: int, px: float, **fields: Any) -> OrderRequest:
        """Return a protective stop."""
        return self.make(OrderType.STOP_MARKET, side, lots, trigger_px=px, is_reduce_only=True, **fields)

    def target(self, side: int, lots: int, px: float, **fields: Any) -> OrderRequest:
        """Return a take-profit."""
        return self.make(OrderType.TAKE_PROFIT_LIMIT, side, lots, limit_px=px, is_reduce_only=True, **fields)

    def make_group(self, lots: int) -> tuple[OrderRequest, ...]:
        """Return an entry that buys, and a stop and target a tenth away: of one intent, by which a later life knows."""
        px, cause_id = self.get_px(), f"intent-{self._count}"
        bought = self.market(1, lots, cause_id=cause_id)
        stop, target = (
            make(-1, lots, px * part, cause_id=cause_id) for make, part in ((self.stop, 0.9), (self.target, 1.1))
        )
        return bought, stop, target

    async def submit(self, *requests: OrderRequest) -> Answer:
        """Submit, and take what the answer tells."""
        self.told.expect(requests)
        return self.take(await self.client.submit(requests))

    async def cancel(self, request: OrderRequest) -> Answer:
        """Cancel, and take what the answer tells."""
        return self.take(await self.client.cancel(request.client_order_id))

    async def modify(self, request: OrderRequest, **terms: Any) -> Answer:
        """Modify, and take what the answer tells."""
        return self.take(await self.client.modify(request.client_order_id, **terms))

    async def resolve(self, request: OrderRequest) -> Answer:
        """Resolve, and take what the answer tells."""
        return self.take(await self.client.resolve(request.client_order_id))

    def take(self, answer: Answer) -> Answer:
        """Take what an answer tells."""
        self.told.events.extend(answer.events)
        self.answers.append(answer)
        return answer

    async def wait_told(self, request: OrderRequest, kind: type, count: int = 1) -> list[Any]:
        """Wait until events of a kind were told of an order, and return them."""
        await until(
            lambda: len(self.told.of(request, kind)) >= count,
            f"{count} {kind.__name__} of {request}; told of it: {self.told.of(request)}",
        )
        return self.told.of(request, kind)

    async def wait_status(self, status: OrderStatus, *requests: OrderRequest) -> None:
        """Wait until orders have come to a status."""
        await until(
            lambda: set(self.told.statuses(requests)) == {status},
            f"{status} of {requests}; told: {[self.told.of(one) for one in requests]}",
        )

    async def buy(self, lots: int, side: int = 1, **fields: Any) -> OrderRequest:
        """Trade at the market, and wait until it is told whole."""
        request = self.market(side, lots, **fields)
        answer = await self.submit(request)
        assert answer.unknown_ids == ()
        await self.wait_status(OrderStatus.FILLED, request)
        return request

    # The exchange itself.

    def ask(self, query: Callable[[Any], Any]) -> Any:
        """Return what the exchange machine says."""
        exchange = self.stage.simulator(self.venue.name).world.market.exchange
        return self.stage.call(query, exchange)

    def get_px(self, side: int = 1) -> float:
        """Return the best px of a side of BTC, once both have one: a fault may have emptied the book for a moment."""
        instrument_id, end_s = self.venue.btc.instrument_id, time.monotonic() + DEADLINE_S
        while True:
            bid_px, ask_px = self.ask(lambda exchange: [exchange.get_best_px(instrument_id, one) for one in (1, -1)])
            if bid_px < ask_px:
                return float(bid_px if side > 0 else ask_px)
            assert time.monotonic() < end_s, f"the book of {instrument_id} stays empty"
            time.sleep(0.02)

    def get_mark_px(self) -> float:
        """Return the mark px of BTC."""
        return float(self.ask(lambda exchange: exchange.get_mark_px(self.venue.btc.instrument_id)))

    def list_own_fills(self) -> list[Any]:
        """Return the exchange's fills of the account."""
        return list(self.ask(lambda exchange: exchange.fills_since(self.account_id, 0)))

    def list_resting(self) -> list[Any]:
        """Return the orders that the exchange holds for the account."""
        simulator = self.stage.simulator(self.venue.name)
        return sorted(self.stage.call(self.venue.list_resting, simulator, self.account_id))

    def get_held(self) -> dict[str, int]:
        """Return the positions that the exchange holds for the account."""
        ids = [one.instrument_id for one in self.venue.instruments]
        held: dict[str, int] = self.ask(lambda e: {one: e.position(self.account_id, one).qty_lots for one in ids})
        return {one: lots for one, lots in held.items() if lots}

    def held_lots(self) -> int:
        """Return the position in BTC that the exchange holds for the account."""
        return self.get_held().get(self.venue.btc.instrument_id, 0)

    async def compare(self) -> None:
        """Wait until all is told, and hold it against the exchange: to the last lot, and the last unit of the wire."""
        await until(
            lambda: len(self.told.fills) >= len(self.list_own_fills()),
            f"every fill of {self.list_own_fills()}, told {self.told.fills}",
        )
        await self._compare_fills()
        await until(self.do_orders_agree, "open orders as the exchange has them")
        await until(self._compare_statuses, "each order by its id as it was told")
        await until(self._compare_positions, f"positions {self.get_held()}")
        await self._compare_money()

    async def _compare_fills(self) -> None:
        own, step = self.list_own_fills(), self.venue.money_step_quote
        fetched = list(await self.client.fetch_fills(0))
        assert fetched == sorted(fetched, key=lambda fill: fill.ts_event_ns)
        for fills in (self.told.fills, fetched):
            found = sorted(fills, key=lambda fill: self.venue.read_trade_number(fill.trade_id))
            theirs = sorted(own, key=lambda fill: int(fill.trade_id))
            assert [same_fill(self.venue, one) for one in found] == [
                (int(one.trade_id), *same_fill_of_exchange(one)) for one in theirs
            ]
            for mine, other in zip(found, theirs, strict=True):
                assert abs(mine.fee_quote - other.fee_quote) <= step / 2 + ROUNDING_QUOTE
        by_id = {fill.trade_id: fill for fill in fetched}
        for fill in self.told.fills:
            assert by_id[fill.trade_id].client_order_id == fill.client_order_id
            assert by_id[fill.trade_id].kind == fill.kind

    async def do_orders_agree(self) -> bool:
        """Whether what is told, what the client shows and what the exchange holds are the same open orders."""
        reports = await self.client.fetch_open_orders()
        shown = sorted(
            (one.instrument_id, one.side, one.qty_leaves_lots, one.trigger_px or one.limit_px, one.is_reduce_only)
            for one in reports
        )
        is_same = shown == [tuple(one) for one in self.list_resting()]
        told = {name: one.qty_lots - one.filled_lots for name, one in self.told.run().items() if one.status.is_open}
        return is_same and {one.client_order_id: one.qty_leaves_lots for one in reports} == told

    async def _compare_statuses(self) -> bool:
        for name, order in self.told.run().items():
            report = await self.client.fetch_order(name)
            if report is None:
                if order.status is not OrderStatus.REJECTED:
                    return False
                continue
            is_same = report.qty_filled_lots == order.filled_lots or not order.status.is_open
            is_same &= report.status.is_open == order.status.is_open
            if order.status.is_open:
                is_same &= (report.qty_lots, report.client_order_id) == (order.qty_lots, name)
            if not is_same:
                return False
        return True

    async def _compare_positions(self) -> bool:
        told: dict[str, int] = {}
        for fill in self.told.fills:
            told[fill.instrument_id] = told.get(fill.instrument_id, 0) + fill.side * fill.fill_qty_lots
        held = self.get_held()
        assert {one: lots for one, lots in told.items() if lots} == held
        return dict(await self.client.fetch_positions()) == held

    async def _compare_money(self) -> None:
        own = self.ask(lambda exchange: exchange.account_state(self.account_id))
        shown = await self.client.fetch_account()
        step, fills, fundings = self.venue.money_step_quote, self.told.fills, self.told.fundings
        # Each amount is rounded once by the wire: half a step of it each.
        assert abs(shown.fees_quote - own.fees_quote) <= step * len(fills) / 2 + ROUNDING_QUOTE
        assert abs(shown.funding_quote - own.funding_quote) <= step * len(fundings) / 2 + ROUNDING_QUOTE
        assert abs(shown.cash_quote - own.cash_quote) <= step * (1 + len(self.get_held())) / 2 + ROUNDING_QUOTE
        # And what was told adds up to it, by itself.
        pnl_quote, positions = 0.0, dict.fromkeys(self.get_held(), POSITION_FLAT)
        for fill in sorted(fills, key=lambda fill: self.venue.read_trade_number(fill.trade_id)):
            before = positions.get(fill.instrument_id, POSITION_FLAT)
            lot_base = LISTED[fill.instrument_id].lot_base
            signed = fill.side * fill.fill_qty_lots
            positions[fill.instrument_id], pnl = apply_fill(before, signed, fill.fill_px, lot_base, fill.ts_event_ns)
            pnl_quote += pnl - fill.fee_quote
        cash_quote = self.account.deposit_quote + pnl_quote + sum(one.amount_quote for one in fundings)
        assert abs(cash_quote - own.cash_quote) <= step * (len(fills) + len(fundings)) / 2 + 1e-6 * len(fills)


def same_fill_of_exchange(fill: Any) -> tuple[Any, ...]:
    """Return of the exchange's own fill what `same_fill` returns of a told one, but for its number."""
    ts_ms = fill.ts_event_ns // 1_000_000
    return fill.instrument_id, fill.side, fill.fill_px, fill.fill_qty_lots, fill.is_maker, ts_ms


Work = Callable[[Trader], Awaitable[None]]


def trade(
    stage: Stage,
    venue: TradingVenue,
    work: Callable[[Trader], Coroutine[Any, Any, None]],
    settings: ClientSettings = CALM,
) -> None:
    """Open a client on a fresh account, do some work with it, close it, and leave no fault on."""

    async def main() -> None:
        trader = Trader(stage, venue, settings)
        try:
            await trader.open()
            await work(trader)
            trader.told.run()
        finally:
            stage.clear(venue.name)
            await trader.client.close()

    asyncio.run(main())
