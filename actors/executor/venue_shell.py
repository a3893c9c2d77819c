"""The executor as an actor at a venue in real time: its client sends, the venue's own word comes back as events."""

import asyncio
import math
import time
from typing import Any

from actors.connections import VenueConnection, make_trading_client
from actors.executor.machine import (
    AdvanceVenue,
    ExecutorMachine,
    ModifyStop,
    QueryOrder,
    SubmitOrders,
    VenueInstruction,
)
from actors.messages import Message, Tick, VenueHealth, VenueReported
from actors.plan import Plan
from actors.shell import Heard, Shell, ShellSettings
from market.events import CancelRejected, OrderRejected, VenueEvent
from market.records import NS_PER_S
from venues.port import Answer, PreflightError, TradingClient, VenueUnavailableError

VENUE_LANE = "venue"  # what the venue tells unasked, as if it were a lane
TICK_S = 0.5
FILLS_OVERLAP_NS = 60 * NS_PER_S  # asked for again at each close: a fill may be listed late
SNAPSHOT_TRIES = 3
EQUITY_SHARE_MIN = 0.99  # of an account's equal share of the equity that risk counts on
NOT_CONNECTED = "not sent: the venue is not connected yet"


class VenueExecutorShell(Shell):
    """One account at one venue; the only owner of its key.

    After a restart nothing is sent again: what the journal shows as sent without an answer is asked for by its client
    order id. `ts_started_ns` is when the session began: fills before it are not ours.
    """

    machine: ExecutorMachine

    def __init__(
        self, settings: ShellSettings, plan: Plan, account: int, connection: VenueConnection, ts_started_ns: int
    ) -> None:
        super().__init__(settings, ExecutorMachine(plan, settings.run, account))
        self._connection = connection
        self._instruments = [plan.instruments[index] for index in plan.list_instruments(account)]
        self._leverage_max = plan.limits.leverage.leverage_max
        self._equity_needed_quote = EQUITY_SHARE_MIN * plan.equity_start_quote / len(plan.accounts)
        self._client: TradingClient | None = None
        self._told: asyncio.Queue[tuple[VenueEvent, ...]] = asyncio.Queue()
        self._heard_count = 0
        self._health: tuple[str, ...] = ()
        self._ts_fills_from_ns = ts_started_ns
        self._equity_quote = math.nan
        self._tasks: list[asyncio.Task[None]] = []
        self._running = asyncio.Lock()

    async def run(self) -> None:
        """Connect to the venue and begin to listen to it. Safe to repeat.

        Raises PreflightError, ValueError, VenueUnavailableError; nothing has been sent then.
        """
        async with self._running:
            if self._client is not None:
                return
            client = make_trading_client(self._connection, self._instruments)
            known = self.machine.list_open_requests()
            try:
                await client.open(self._told.put_nowait, known)
                await self._prepare(client)
            except BaseException:
                await client.close()
                raise
            self._client = client
            await self._hear_venue(await client.fetch_fills(self._ts_fills_from_ns))
            for request in known:  # of an earlier life: what became of it meanwhile
                await self._hear(self._report(await client.resolve(request.client_order_id)))
            self._tasks = [self._begin(self._listen_to_venue()), self._begin(self._watch())]

    async def _prepare(self, client: TradingClient) -> None:
        if self.machine.is_untouched:
            positions, orders = await client.fetch_positions(), await client.fetch_open_orders()
            if positions or orders:
                held = ", ".join([*positions, *(order.instrument_id for order in orders)])
                raise PreflightError(
                    f"{self._connection.venue}: the account holds positions or orders that are not of this session "
                    f"({held}): close them, or use another account"
                )
        self._equity_quote = (await client.fetch_account()).equity_quote
        if self.machine.is_untouched and self._equity_quote < self._equity_needed_quote:
            raise PreflightError(
                f"{self._connection.venue}: the account is worth {self._equity_quote:,.2f}, "
                f"{self._equity_needed_quote:,.2f} are counted on: deposit more, or lower equity_start_quote"
            )
        for instrument in self._instruments:
            leverage = min(instrument.leverage_max, math.ceil(self._leverage_max))
            await client.set_leverage(instrument.instrument_id, int(leverage))

    async def close(self) -> None:
        """Let go of the venue, where everything stays as it is; then as every shell."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        await super().close()

    async def _listen_to_venue(self) -> None:
        while True:
            events = [*(await self._told.get())]
            while not self._told.empty():
                events.extend(self._told.get_nowait())
            await self._hear_venue(events)

    async def _watch(self) -> None:
        assert self._client is not None
        while True:
            await asyncio.sleep(TICK_S)
            ts_now_ns = time.time_ns()
            health = self._client.check_health(ts_now_ns)
            is_news = len(health) != len(self._health)  # the words may hold an age that changes with every look
            self._health = health
            if is_news:
                await self._hear(VenueHealth(health, ts_now_ns))
            if self.machine.is_waiting:
                await self._hear(Tick(ts_heard_ns=ts_now_ns))

    async def _hear_venue(self, events: Any) -> None:
        if events:
            await self._hear(VenueReported(tuple(events), ts_heard_ns=time.time_ns()))

    async def _hear(self, message: Message) -> None:
        assert self._journal is not None
        self._heard_count += 1
        await self.hear(Heard(VENUE_LANE, self._journal.epoch, self._heard_count, message))

    async def _perform(self, instruction: Any) -> Message | None:
        if isinstance(instruction, VenueInstruction):
            return await self._perform_at_venue(instruction)
        return await super()._perform(instruction)

    async def _perform_at_venue(self, instruction: VenueInstruction) -> VenueReported:
        client = self._client
        if client is None:
            return self._refuse(instruction)
        match instruction:
            case SubmitOrders(requests=requests):
                answer = await client.submit(requests)
            case ModifyStop(client_order_id=client_order_id, trigger_px=trigger_px):
                answer = await client.modify(client_order_id, trigger_px=trigger_px)
            case QueryOrder(client_order_id=client_order_id):
                answer = await client.resolve(client_order_id)
            case AdvanceVenue(bars=bars):
                return await self._report_close(client, bars.ts_close_ns)
        return self._report(answer)

    async def _report_close(self, client: TradingClient, ts_close_ns: int) -> VenueReported:
        # Positions that are the same before and after the fills were listed belong to these fills.
        try:
            for _ in range(SNAPSHOT_TRIES):
                before = dict(await client.fetch_positions())
                fills = await client.fetch_fills(self._ts_fills_from_ns)
                positions = dict(await client.fetch_positions())
                if positions == before:
                    break
            self._equity_quote = (await client.fetch_account()).equity_quote
        except VenueUnavailableError:
            return VenueReported((), ts_heard_ns=time.time_ns())  # the next tick asks again
        self._ts_fills_from_ns = max(self._ts_fills_from_ns, ts_close_ns - FILLS_OVERLAP_NS)
        return VenueReported(fills, ts_close_ns, tuple(sorted(positions.items())), ts_heard_ns=time.time_ns())

    @staticmethod
    def _report(answer: Answer) -> VenueReported:
        return VenueReported(answer.events, unknown_ids=answer.unknown_ids, ts_heard_ns=time.time_ns())

    @staticmethod
    def _refuse(instruction: VenueInstruction) -> VenueReported:
        # Not connected: nothing leaves. What was asked about stays as unknown as it was.
        ts_now_ns = time.time_ns()
        match instruction:
            case SubmitOrders(requests=requests):
                refused = [OrderRejected(r.client_order_id, NOT_CONNECTED, ts_now_ns, r.cause_id) for r in requests]
                return VenueReported(tuple(refused), ts_heard_ns=ts_now_ns)
            case ModifyStop(client_order_id=client_order_id):
                refusal = CancelRejected(client_order_id, NOT_CONNECTED, ts_now_ns)
                return VenueReported((refusal,), ts_heard_ns=ts_now_ns)
            case QueryOrder(client_order_id=client_order_id):
                return VenueReported((), unknown_ids=(client_order_id,), ts_heard_ns=ts_now_ns)
            case AdvanceVenue():
                return VenueReported((), ts_heard_ns=ts_now_ns)

    def _recall_instruction(self, instruction: Any) -> Message | None:
        # If the journal holds no outcome, this is it: it may or may not have been sent.
        match instruction:
            case SubmitOrders(requests=requests):
                return VenueReported((), unknown_ids=tuple(request.client_order_id for request in requests))
            case ModifyStop(client_order_id=client_order_id) | QueryOrder(client_order_id=client_order_id):
                return VenueReported((), unknown_ids=(client_order_id,))
            case AdvanceVenue():
                return VenueReported(())
        return super()._recall_instruction(instruction)

    def _recall(self, heard: Heard) -> None:
        super()._recall(heard)
        if isinstance(heard.message, VenueHealth):
            self._health = heard.message.reasons

    def get_status(self) -> dict[str, Any]:
        """Add open orders, what is wrong with the venue, and what it says the account is worth."""
        status = super().get_status()
        return status | {
            "is_open": status["is_open"] and self._client is not None,
            "venue_equity_quote": self._equity_quote,
            "health": self._health,
            "orders": self.machine.describe_orders(),
        }
