"""dYdX v4 behind the venue port: the official SDK trades, the Indexer tells. One subaccount, one key, one nonce owner.

Market orders and IOC limits are short-term, with a worst price and a good-til-block a few blocks away; stops and
targets are conditional IOCs; what rests is long-term (stateful), or short-term with `has_short_resting`: it then ends
by itself after about 18 blocks and its changes are replacements in place. `client_orders` and `client_groups` decide,
`client_sender` sends, `client_view` reads, `client_stream` and `client_node` keep sockets and threads.

The chain has no leverage per account: `set_leverage` is a cap that this client keeps, on what an order would make of
the position, at the last equity it heard of. A resting stateful limit order cannot be changed in place: the old one is
canceled and seen gone before the new one is sent; a stop is the other way round, never absent.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from market.events import (
    CancelRejected,
    Fill,
    OrderRejected,
    OrderRequest,
    OrderType,
    TimeInForce,
    VenueEvent,
)
from market.instruments import Instrument
from venues.accounts import AccountState
from venues.dydx.client_groups import Groups
from venues.dydx.client_health import ChainHealth
from venues.dydx.client_legs import AskOrder, CancelLeg, Effect, Leg, OurOrder, PlaceLeg, with_terms
from venues.dydx.client_node import Node, NodeError, is_loopback
from venues.dydx.client_orders import NEVER_PLACED, OrderDesk
from venues.dydx.client_preflight import check_chain_id, derive_address, match_markets
from venues.dydx.client_rest import IndexerRest, NotFoundError
from venues.dydx.client_sender import Sender
from venues.dydx.client_stream import IndexerStream, end_tasks
from venues.dydx.client_view import AccountReader
from venues.dydx.indexer_stream import BLOCK_HEIGHT, MARKETS, SUBACCOUNTS, ServerMessage, Subscribe
from venues.dydx.lifecycle import BroadcastOutcome
from venues.dydx.order_requests import Lifetime, make_order
from venues.dydx.order_terms import STATEFUL_FLAGS, OrderId, SubaccountId, derive_client_id, order_uuid
from venues.dydx.rules import SHORT_BLOCK_WINDOW
from venues.dydx.sdk import KeyPair
from venues.dydx.transactions import LOCALNET
from venues.lifecycle import OrderStatus
from venues.orders import Message, OrderReport, is_group, is_well_formed
from venues.port import Answer, ClientSettings, Endpoints, OnEvents, PreflightError, VenueUnavailableError

IMMEDIATE_BLOCKS = 10  # how long an order that never rests may be on its way
RESTING_BLOCKS = 18  # 20 is safe on every version of the chain
NODE_POLL_S = 1.0
POLL_S = 1.0  # while a call waits for word of an order, it also asks
OPEN_STATUSES = "OPEN,UNTRIGGERED,BEST_EFFORT_OPENED,BEST_EFFORT_CANCELED"
PARENT_REJECTED = "parent rejected"


class DydxClient:
    """One subaccount of dYdX v4. See `venues.port.TradingClient` for what each method promises."""

    venue_id = "DYDX"

    def __init__(
        self,
        endpoints: Endpoints,
        instruments: Sequence[Instrument],
        *,
        private_key: str = "",
        mnemonic: str = "",
        address: str = "",
        subaccount_number: int = 0,
        settings: ClientSettings = ClientSettings(),  # noqa: B008 - frozen
        clock_ns: Callable[[], int] = time.time_ns,
        has_short_resting: bool = False,
    ) -> None:
        """Prepare; nothing is sent. `endpoints.extra`: "chain_id", and "tls" ("on" unless the node is on loopback).

        Raises: PreflightError if the key is none, or not that of `address`.
        """
        self.address = derive_address(private_key, mnemonic, address)
        key = KeyPair.from_hex(private_key.strip().removeprefix("0x")) if private_key else None
        self._key = key or KeyPair.from_mnemonic(mnemonic)
        self._endpoints, self._instruments = endpoints, [*instruments]
        self._settings, self._clock_ns = settings, clock_ns
        self._chain_id = endpoints.extra.get("chain_id", LOCALNET)
        self._subaccount = SubaccountId(self.address, subaccount_number)
        self._has_short_resting = has_short_resting
        self._leverages: dict[str, int] = {}
        self._collectors: dict[str, list[VenueEvent]] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._asking: set[str] = set()
        self._cancels: dict[str, BroadcastOutcome] = {}
        self._reconcile_soon = asyncio.Event()
        self._on_events: OnEvents = lambda events: None
        self._health = ChainHealth(settings)
        self._desk = OrderDesk({}, self._subaccount, settings.stop_slippage_frac)
        self._groups = Groups(self._desk)
        self._is_open, self._ts_open_ns = False, 0
        self._node: Node | None = None
        self._stream: IndexerStream | None = None
        self._rest = IndexerRest(endpoints.http, settings.call_s, self.address, subaccount_number)
        self._reader = AccountReader(self._rest, self._desk, self._health, clock_ns)
        self._sender: Sender | None = None

    def __repr__(self) -> str:
        """Show no secrets."""
        return f"DydxClient({self.address}/{self._subaccount.number} at {self._endpoints.http})"

    # Opening and closing.

    async def open(self, on_events: OnEvents, known: Sequence[OrderRequest] = ()) -> None:
        """Check everything, connect, take in what is there, and begin to tell."""
        if self._is_open:
            raise ValueError(f"{self!r} is open already: close it first")
        self._on_events = on_events
        try:
            await self._connect(known)
        except BaseException:
            await self.close()
            raise
        self._is_open, self._ts_open_ns = True, self._clock_ns()
        self._loops = [asyncio.create_task(one) for one in (self._watch_node(), self._run_reconcile())]

    async def _connect(self, known: Sequence[OrderRequest]) -> None:
        endpoints, settings = self._endpoints, self._settings
        tls = endpoints.extra.get("tls", "off" if is_loopback(endpoints.grpc) else "on")
        self._rest = IndexerRest(endpoints.http, settings.call_s, self.address, self._subaccount.number)
        node = self._node = Node(endpoints.grpc, self._chain_id, self._key, settings.call_s, is_secure=tls == "on")
        self._sender = Sender(node, self._clock_ns)
        await self._check(node)
        self._reader = AccountReader(self._rest, self._desk, self._health, self._clock_ns)
        lifetime = Lifetime(
            self._health.node_height + SHORT_BLOCK_WINDOW, 2**31, is_resting_stateful=not self._has_short_resting
        )
        for request in known:
            if request.instrument_id in self._desk.contracts:
                self._desk.add_known(request, lifetime, self._clock_ns())
        wanted = [
            Subscribe(BLOCK_HEIGHT),
            Subscribe(SUBACCOUNTS, f"{self.address}/{self._subaccount.number}"),
            Subscribe(MARKETS),
        ]
        self._stream = IndexerStream(
            endpoints.ws, wanted, self._hear, settings, self._clock_ns, lambda: self._reconcile_soon.set()
        )
        await self._stream.open()
        await self._reader.reconcile()
        self._reconcile_soon.clear()
        self._desk.begin()
        self._groups.rebuild([*self._desk.orders.values()])

    async def _check(self, node: Node) -> None:
        try:
            block = await node.fetch_block()
            check_chain_id(block.chain_id, self._chain_id)
            clob_pairs = await node.fetch_clob_pairs()
        except NodeError as error:
            raise VenueUnavailableError(f"dydx: {error}; ask again later") from None
        try:
            await node.fetch_account_number()
            await self._rest.fetch_subaccount()
        except NodeError as error:
            if "NOT_FOUND" in str(error):
                raise PreflightError(f"dydx: account {self.address} was never funded: deposit first") from None
            raise VenueUnavailableError(f"dydx: {error}; ask again later") from None
        except NotFoundError as error:
            raise PreflightError(f"dydx: {error}: deposit first") from None
        ts_sent_ns = self._clock_ns()
        venue_ms = await self._rest.fetch_time_ms()
        self._health.note_clock(venue_ms, ts_sent_ns, self._clock_ns())
        if skew := self._health.find_skew():
            raise PreflightError(f"dydx: {skew}")
        contracts = match_markets(self._instruments, await self._rest.fetch_markets(), clob_pairs)
        self._note_node(block.height, block.block_time_ms)
        self._desk = OrderDesk(contracts, self._subaccount, self._settings.stop_slippage_frac)
        self._groups = Groups(self._desk)

    async def close(self) -> None:
        """Let go of sockets, tasks and threads; orders stay."""
        self._is_open = False
        tasks, self._loops = [*self._loops, *self._tasks], []
        await end_tasks(tasks)
        self._tasks.clear()
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
        await self._rest.close()
        node, self._node, self._sender = self._node, None, None
        if node is not None:
            await asyncio.to_thread(node.close)

    # What is heard.

    def _hear(self, message: ServerMessage, ts_now_ns: int) -> None:
        if self._reader.take_message(message, ts_now_ns):
            self._reconcile_soon.set()
        self._settle()

    def _note_node(self, height: int, block_time_ms: int) -> None:
        self._health.note_node(height, block_time_ms, self._clock_ns())
        if self._sender is not None:
            self._sender.height = max(self._sender.height, height)

    async def _watch_node(self) -> None:
        while True:
            await asyncio.sleep(NODE_POLL_S)
            if self._node is None:
                return
            try:
                block = await self._node.fetch_block()
            except NodeError:
                continue  # the age of its last answer tells
            self._note_node(block.height, block.block_time_ms)
            self._settle()

    async def _run_reconcile(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.reconcile_s):
                    await self._reconcile_soon.wait()
            self._reconcile_soon.clear()
            try:
                paid = await self._reader.reconcile()
            except (VenueUnavailableError, NotFoundError):
                continue  # the age of the account's view tells
            if paid:
                self._on_events(tuple(paid))
            self._settle()

    def _settle(self) -> None:
        """Do what follows from what was heard, and tell."""
        if self._desk.is_opening:
            return
        ts_now_ns = self._clock_ns()
        for _ in range(3):
            effects = self._groups.plan(ts_now_ns) + self._desk.plan(ts_now_ns)
            for effect in effects:
                self._perform(effect)
            if not effects:
                break
        told: list[VenueEvent] = []
        for client_order_id, event in self._desk.take_said():
            collector = self._collectors.get(client_order_id)
            (told if collector is None else collector).append(event)
        if told:
            self._on_events(tuple(told))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case PlaceLeg(order=order, leg=leg):
                self._spawn(self._send_leg(order, leg, self._until()))
            case CancelLeg(order=order, leg=leg):
                self._spawn(self._send_cancel(order, leg, self._until()))
            case AskOrder(uuid=uuid) if uuid not in self._asking:
                self._asking.add(uuid)
                self._spawn(self._ask(uuid))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, uuid: str) -> None:
        try:
            await self._reader.ask_order(uuid)
        except VenueUnavailableError:
            return  # asked again when due
        finally:
            self._asking.discard(uuid)
        self._settle()

    async def _send_leg(self, order: OurOrder, leg: Leg, until_s: float) -> None:
        if self._sender is None:
            leg.is_sending = False
            return
        life_blocks = IMMEDIATE_BLOCKS if leg.chain.is_immediate else RESTING_BLOCKS
        try:
            sent = await self._sender.place(leg, life_blocks, until_s)
        finally:
            leg.is_sending = False
        if sent.outcome is BroadcastOutcome.REFUSED:
            self._desk.note_refused(order, leg, sent.message, self._clock_ns())
        self._settle()

    async def _send_cancel(self, order: OurOrder, leg: Leg, until_s: float) -> None:
        if self._sender is None:
            return
        block_time_ms = max(self._desk.block_time_ms, self._health.node_block_ms)
        sent = await self._sender.cancel(leg, block_time_ms, until_s)
        self._cancels[order.client_order_id] = sent.outcome
        if sent.outcome is BroadcastOutcome.ALREADY_DONE and not leg.is_over:
            self._perform(AskOrder(leg.uuid))
        if sent.outcome is BroadcastOutcome.REFUSED and order.end_message == Message.REQUESTED:
            self._desk.refuse_cancel(order, sent.message, self._clock_ns())
        self._settle()

    # Waiting.

    def _until(self) -> float:
        return asyncio.get_running_loop().time() + self._settings.call_s

    @contextmanager
    def _collect(self, client_order_ids: Sequence[str]) -> Iterator[list[VenueEvent]]:
        # What is told of these orders meanwhile belongs to the answer. A second call of one order hears nothing.
        heard: list[VenueEvent] = []
        mine = [one for one in client_order_ids if one not in self._collectors]
        self._collectors |= dict.fromkeys(mine, heard)
        try:
            yield heard
        finally:
            for one in mine:
                del self._collectors[one]

    async def _wait(self, is_done: Callable[[], bool], until_s: float, orders: Sequence[OurOrder]) -> bool:
        loop = asyncio.get_running_loop()
        ask_s = loop.time() + POLL_S
        while not is_done():
            now_s = loop.time()
            if now_s >= until_s or self._node is None:
                return False
            if now_s >= ask_s:
                ask_s = now_s + POLL_S
                for leg in [leg for order in orders for leg in order.legs if not leg.is_over]:
                    self._perform(AskOrder(leg.uuid))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(until_s, ask_s)):
                    await self._changed.wait()
        return True

    # Orders.

    def _reject(self, requests: Sequence[OrderRequest], message: str) -> Answer:
        ts_now_ns = self._clock_ns()
        return Answer(tuple(OrderRejected(one.client_order_id, message, ts_now_ns, one.cause_id) for one in requests))

    async def submit(self, requests: Sequence[OrderRequest]) -> Answer:
        """Send one order, or an entry with its stop and target as conditional orders at once."""
        until_s = self._until()
        refusal = self._find_refusal(requests)
        if refusal:
            return self._reject(requests, refusal)
        orders: list[OurOrder] = []
        try:
            for request in requests:
                orders.append(self._desk.add(request, self._make_lifetime(request), self._find_worst_px(request)))
        except ValueError as error:
            for order in orders:
                self._desk.forget(order)
            return self._reject(requests, str(error))
        entry, children = orders[0], orders[1:]
        if children:
            self._groups.add(entry, children)
        with self._collect([order.client_order_id for order in orders]) as heard:
            sending = asyncio.create_task(self._send_leg(entry, entry.leg, until_s))
            await asyncio.wait({sending}, timeout=self._settings.call_s / 4.0)
            if children and entry.status is OrderStatus.REJECTED:
                for child in children:
                    self._desk.refuse(child, PARENT_REJECTED, self._clock_ns())
                self._settle()
                children = []
            sends = (self._send_leg(child, child.leg, until_s) for child in children)
            await asyncio.gather(sending, *sends)
            await self._wait(lambda: all(order.is_heard for order in orders), until_s, orders)
            return self._answer(heard, orders)

    def _answer(self, heard: list[VenueEvent], orders: Sequence[OurOrder]) -> Answer:
        for order in orders:
            self._desk.note_silence(order)
        unknown_ids = tuple(order.client_order_id for order in orders if not order.is_heard)
        return Answer(tuple(heard), unknown_ids)

    def _find_refusal(self, requests: Sequence[OrderRequest]) -> str:
        if not self._is_open:
            return "not sent: the client is not open"
        if not requests or not all(is_well_formed(request) for request in requests):
            return Message.INVALID
        if any(request.client_order_id in self._desk.orders for request in requests):
            return Message.DUPLICATE
        if any(request.instrument_id not in self._desk.contracts for request in requests):
            return Message.UNKNOWN_INSTRUMENT
        if len(requests) > 1 and not is_group(requests[0], requests[1:]):
            return Message.GROUP_INVALID
        for request in requests:
            instrument = self._desk.contracts[request.instrument_id].instrument
            if request.qty_lots < instrument.qty_lots_min:
                return Message.BELOW_MINIMUM
        return self._reader.find_leverage_refusal(requests[0], self._leverages.get(requests[0].instrument_id))

    def _make_lifetime(self, request: OrderRequest) -> Lifetime:
        is_resting = request.order_type is OrderType.LIMIT and request.time_in_force is not TimeInForce.IOC
        height = max(self._desk.height, self._health.node_height)
        life_blocks = RESTING_BLOCKS if is_resting else IMMEDIATE_BLOCKS
        good_til_s = self._desk.compute_good_til_s()
        return Lifetime(height + life_blocks, good_til_s, is_resting_stateful=not self._has_short_resting)

    def _find_worst_px(self, request: OrderRequest) -> float:
        if request.order_type is OrderType.STOP_MARKET:
            return self._desk.compute_stop_worst_px(request, request.trigger_px)
        ticker = self._desk.contracts[request.instrument_id].units.ticker
        return self._health.oracle_px.get(ticker, 0.0) * (1.0 + request.side * self._settings.market_slippage_frac)

    async def cancel(self, client_order_id: str) -> Answer:
        """Cancel an order, and go on trying until it is seen gone. Answered at once where the chain only promises."""
        until_s, order = self._until(), self._desk.orders.get(client_order_id)
        if order is None or not order.status.is_open or not self._is_open:
            return self._reject_change(client_order_id, order)
        order.is_cancel_wanted, order.end_message = True, order.end_message or Message.REQUESTED
        self._cancels.pop(client_order_id, None)
        for leg in order.legs:
            leg.ts_cancel_ns = 0
        is_short = order.leg.chain.order_id.is_short_term
        done = (BroadcastOutcome.ACKNOWLEDGED, BroadcastOutcome.ALREADY_DONE)

        def is_done() -> bool:
            is_promised = is_short and self._cancels.get(client_order_id) in done
            return is_promised or not order.is_cancel_wanted or not order.status.is_open

        with self._collect([client_order_id]) as heard:
            self._settle()
            await self._wait(is_done, until_s, [order])
            if not order.status.is_open and order.qty_leaves_lots == 0:
                self._desk.refuse_cancel(order, Message.NOT_OPEN, self._clock_ns())
                self._settle()
            is_answered = not order.status.is_open or self._cancels.get(client_order_id) in done
            is_known = is_answered or any(isinstance(event, CancelRejected) for event in heard)
            return Answer(tuple(heard), () if is_known else (client_order_id,))

    def _reject_change(self, client_order_id: str, order: OurOrder | None, message: str = Message.NOT_OPEN) -> Answer:
        cause_id = order.request.cause_id if order else ""
        return Answer((CancelRejected(client_order_id, message, self._clock_ns(), cause_id),))

    async def modify(
        self,
        client_order_id: str,
        *,
        qty_lots: int | None = None,
        limit_px: float | None = None,
        trigger_px: float | None = None,
    ) -> Answer:
        """Change an order: short-term ones in place, stops by a new one first, resting limits by a new one after."""
        until_s, order = self._until(), self._desk.orders.get(client_order_id)
        if order is None or not self._is_open or not order.status.is_open or not order.is_heard:
            return self._reject_change(client_order_id, order)
        if order.is_modifying or order.is_cancel_wanted or order.leg.is_triggered or order.is_fleeting:
            return self._reject_change(client_order_id, order, "it is being changed, or cannot be")
        qty = order.qty_lots if qty_lots is None else qty_lots
        limit = order.limit_px if limit_px is None else limit_px
        trigger = order.trigger_px if trigger_px is None else trigger_px
        left_lots = qty - order.qty_filled_lots
        if left_lots <= 0:
            return self._reject_change(client_order_id, order, Message.INVALID)
        with self._collect([client_order_id]) as heard:
            try:
                self._begin_modify(order, qty, left_lots, limit, trigger, until_s)
            except ValueError as error:
                return self._reject_change(client_order_id, order, str(error))
            await self._wait(lambda: not order.is_modifying or not order.status.is_open, until_s, [order])
            if not order.status.is_open and not any(isinstance(one, CancelRejected) for one in heard):
                heard += self._reject_change(client_order_id, order).events
            return Answer(tuple(heard), (client_order_id,) if order.is_modifying and order.status.is_open else ())

    def _begin_modify(
        self, order: OurOrder, qty_lots: int, left_lots: int, limit_px: float, trigger_px: float, until_s: float
    ) -> None:
        desk, request = self._desk, order.request
        contract = desk.contracts[request.instrument_id]
        if order.leg.chain.order_id.is_short_term:
            height = max(desk.height, self._health.node_height)
            good_til_block = max(height + RESTING_BLOCKS, order.leg.chain.good_til_block + 1)
            new = with_terms(order, qty_lots, limit_px, 0.0)
            chain = make_order(
                new, contract.units, contract.instrument, self._subaccount, Lifetime(good_til_block, 0, False)
            )
            leg = desk.replace_terms(order, chain, qty_lots)
            self._spawn(self._send_leg(order, leg, until_s))
        elif order.is_protective:
            leg = desk.add_leg(order, left_lots, limit_px, trigger_px, desk.compute_good_til_s())
            order.is_modifying = True
            self._spawn(self._send_leg(order, leg, until_s))
        else:
            order.is_modifying = order.is_replacing = True
            self._spawn(self._replace_resting(order, qty_lots, limit_px))

    async def _replace_resting(self, order: OurOrder, qty_lots: int, limit_px: float) -> None:
        # A resting stateful limit: seen gone, then placed anew with what is left. Goes on after the call's deadline.
        old = order.leg
        try:
            while not old.is_over and order.status.is_open:
                await self._send_cancel(order, old, self._until())
                await self._wait(lambda: old.is_over, self._until(), [order])
            left_lots = qty_lots - order.qty_filled_lots
            if order.status.is_open and old.reason == "USER_CANCELED" and left_lots > 0 and not order.is_cancel_wanted:
                leg = self._desk.add_leg(order, left_lots, limit_px, 0.0, self._desk.compute_good_til_s())
                await self._send_leg(order, leg, self._until())
            else:
                order.is_modifying = False
        finally:
            order.is_replacing = False
            self._settle()

    async def resolve(self, client_order_id: str) -> Answer:
        """Ask what became of an order, and tell all of it that was not told."""
        order = self._desk.orders.get(client_order_id)
        if order is None:
            return await self._resolve_stranger(client_order_id)
        with self._collect([client_order_id]) as heard:
            self._desk.flush(order)
            for leg in [leg for leg in order.legs if not leg.is_over] or [order.leg]:
                try:
                    await self._reader.ask_order(leg.uuid)
                except VenueUnavailableError:
                    break
            self._settle()
            return self._answer(heard, [order])

    async def _resolve_stranger(self, client_order_id: str) -> Answer:
        # Never sent by this life, and not among the known: it may still be on its way from an earlier one.
        try:
            report = await self.fetch_order(client_order_id)
        except VenueUnavailableError:
            return Answer((), (client_order_id,))
        is_young = self._clock_ns() < self._ts_open_ns + int(self._settings.unknown_s * 1e9)
        if report is not None or is_young:
            return Answer((), (client_order_id,))
        return Answer((OrderRejected(client_order_id, NEVER_PLACED, self._clock_ns()),))

    # Questions.

    async def set_leverage(self, instrument_id: str, leverage: int) -> None:
        """Cap what new orders may make of the position, as a multiple of equity. Kept here: the chain has none."""
        contract = self._desk.contracts.get(instrument_id)
        if contract is None:
            raise ValueError(f"{self!r} does not trade {instrument_id}: name one of {', '.join(self._desk.contracts)}")
        leverage_max = contract.instrument.leverage_max
        if not 1 <= leverage <= leverage_max:
            raise ValueError(f"leverage of {instrument_id} is {leverage}: must be in [1, {leverage_max:g}]")
        self._leverages[instrument_id] = leverage

    async def fetch_open_orders(self) -> tuple[OrderReport, ...]:
        """Return what is open; of an order that is being replaced, the newest that is there."""
        rows = await self._rest.fetch_orders(OPEN_STATUSES)
        found: dict[str, OrderReport] = {}
        for row in rows:
            report = self._desk.report(row)
            if report is not None and report.status.is_open:
                key = report.client_order_id or report.venue_order_id
                known = found.get(key)
                if known is None or self._desk.rank(row.id) >= self._desk.rank(known.venue_order_id):
                    found[key] = report
        return tuple(sorted(found.values(), key=lambda report: report.ts_accepted_ns))

    async def fetch_order(self, client_order_id: str) -> OrderReport | None:
        """Return an order of ours, its newest leg that the Indexer knows."""
        order = self._desk.orders.get(client_order_id)
        uuids = [leg.uuid for leg in reversed(order.legs)] if order else [*self._guess_uuids(client_order_id)]
        for uuid in uuids:
            row = await self._rest.fetch_order(uuid)
            if row is not None and (report := self._desk.report(row)) is not None:
                return report
        return None

    def _guess_uuids(self, client_order_id: str) -> Iterator[str]:
        client_id = derive_client_id(client_order_id)
        for contract in self._desk.contracts.values():
            for flags in (0, *STATEFUL_FLAGS[:2]):
                yield order_uuid(OrderId(self._subaccount, client_id, flags, contract.units.clob_pair_id))

    async def fetch_fills(self, ts_from_ns: int) -> tuple[Fill, ...]:
        """Return the fills since a time (of the ms it is in), oldest first."""
        rows = await self._rest.fetch_fills(ts_from_ns)
        known = [row for row in rows if row.instrument_ticker in self._desk.by_ticker]
        return tuple(self._desk.make_fill(row) for row in sorted(known, key=lambda one: (one.created_at, one.id)))

    async def fetch_positions(self) -> Mapping[str, int]:
        """Return signed lots by instrument id."""
        return self._reader.read_positions((await self._rest.fetch_positions()).positions)

    async def fetch_account(self) -> AccountState:
        """Return what the account is worth."""
        return await self._reader.fetch_account()

    def check_health(self, ts_now_ns: int) -> tuple[str, ...]:
        """Return why nothing new should be opened."""
        if not self._is_open or self._stream is None:
            return (f"{self!r} is not open",)
        self._health.is_socket_live, self._health.why_lost = self._stream.is_live, self._stream.why_lost
        return self._health.check(ts_now_ns)
