"""The executor: turns approvals into venue orders, follows them to their end, and says what the account is.

An order is sent once, under an id that derives from its intent. What the venue did not answer is unknown, and is asked
for by that id; it is never sent again. A position whose stop does not rest at the venue in time is flattened.
"""

from dataclasses import dataclass

from actors.governor.machine import make_digest
from actors.inlet import Inlet
from actors.messages import (
    AccountUpdate,
    Alert,
    Approvals,
    Booked,
    Instruction,
    Message,
    OrderApproved,
    OrderPart,
    Protection,
    Record,
    Send,
    Severity,
    StopMoveApproved,
    Tick,
    VenueHealth,
    VenueReported,
)
from actors.plan import Plan, make_client_order_id
from market.events import (
    BarsClosed,
    Event,
    Fill,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderRequest,
    OrderType,
    VenueEvent,
)
from market.reasons import Reason
from venues.lifecycle import DUPLICATE

STOP_CONFIRM_MAX_NS = 2_000_000_000  # a position may live this long without a resting stop


class SubmitOrders(Event, frozen=True):
    """Instruction: send these orders; as a group, the first is the parent of the rest."""

    requests: tuple[OrderRequest, ...]


class ModifyStop(Event, frozen=True):
    """Instruction: move a resting stop."""

    client_order_id: str
    trigger_px: float


class QueryOrder(Event, frozen=True):
    """Instruction: ask the venue what became of an order."""

    client_order_id: str


class AdvanceVenue(Event, frozen=True):
    """Instruction: these bars have closed; the venue over bars lets them happen, any other says what it holds now."""

    bars: BarsClosed


VenueInstruction = SubmitOrders | ModifyStop | QueryOrder | AdvanceVenue


@dataclass(slots=True)
class _Order:
    request: OrderRequest  # as it was sent
    slot: int
    part: OrderPart
    qty_leaves_lots: int
    trigger_px: float
    limit_px: float
    qty_filled_lots: int = 0
    is_unknown: bool = False

    @property
    def side(self) -> int:
        return self.request.side


class ExecutorMachine:
    """One account at one venue, the `account`-th of the plan.

    Invariants: a client order id is sent at most once; a trade id is booked at most once; the sum of booked fills is
    the position, and is compared with the venue's own after each close: while they differ, and while the venue is
    not well, nothing new is opened.
    """

    def __init__(self, plan: Plan, epoch: int, account: int = 0) -> None:
        self._plan = plan
        self._epoch = epoch
        self._account = account
        self._name = plan.executors[account]
        self._slots_by_instrument = {
            plan.instruments[index].instrument_id: tuple(
                plan.find_slot(strategy, index) for strategy in range(len(plan.strategies))
            )
            for index in plan.list_instruments(account)
        }
        self._slots = frozenset(slot for slots in self._slots_by_instrument.values() for slot in slots)
        self._orders: dict[str, _Order] = {}  # those that have not ended
        self._sent_ids: set[str] = set()  # every id ever used
        # The orders that protect a slot: (slot, part, side) -> id. While a reversal is on its way both sides have some.
        self._resting: dict[tuple[int, OrderPart, int], str] = {}
        self._trade_ids: set[str] = set()
        self._fundings: set[tuple[str, int]] = set()  # (instrument, time) of those booked
        self._differing: set[str] = set()  # instruments whose position is not what our fills make
        self._health: tuple[str, ...] = ()  # what is wrong with the venue
        self._qty_lots = [0] * (len(plan.instruments) * len(plan.strategies))
        self._ts_naked_ns: dict[int, int] = {}  # slot -> since when its position has no resting stop
        self._bars: Inlet[BarsClosed] = Inlet()
        self._approvals: Inlet[Approvals] = Inlet()
        self._booked: list[Booked] = []
        # The venue goes from close to close: advanced, reported, approved, and only then advanced again.
        self._advanced: BarsClosed | None = None
        self._ts_reported_ns = 0
        self._ts_approved_ns = 0

    def handle(self, event: Message, ts_now_ns: int) -> list[Instruction | VenueInstruction]:
        """Take bars, approvals, or what the venue answered."""
        instructions: list[Instruction | VenueInstruction] = []
        match event:
            case BarsClosed():
                self._bars.offer(event)
            case Approvals():
                self._approvals.offer(event)
            case VenueReported():
                instructions += self._take_report(event, ts_now_ns)
            case VenueHealth():
                instructions += self._take_health(event, ts_now_ns)
            case Tick():
                instructions += self._take_tick(ts_now_ns)
            case _:
                raise TypeError(f"no handler for {type(event).__name__}")
        return instructions + self._go_on(ts_now_ns)

    def _go_on(self, ts_now_ns: int) -> list[Instruction | VenueInstruction]:
        # After a restart approvals may be heard again before the bars that they belong to: they wait for them.
        instructions: list[Instruction | VenueInstruction] = []
        if self._approvals and self._approvals.ts_oldest_ns == self._ts_reported_ns:
            approvals = self._approvals.take()
            self._ts_approved_ns = approvals.ts_close_ns
            instructions += self._take_approvals(approvals, ts_now_ns)
        while self._bars and self._ts_approved_ns == self._ts_advanced_ns:
            self._advanced = self._bars.take()
            if not self._advanced.is_history:
                instructions.append(AdvanceVenue(self._advanced))
                break
            # The venue cannot say what it held then: what we know of it stands, and nothing is decided on it.
            self._ts_reported_ns = self._advanced.ts_close_ns
            instructions.append(self._make_update(self._advanced.ts_close_ns))
        return instructions

    @property
    def _ts_advanced_ns(self) -> int:
        return 0 if self._advanced is None else self._advanced.ts_close_ns

    @property
    def is_waiting(self) -> bool:
        """Whether a tick would be of use: something is unanswered, unknown, or naked."""
        return (
            self._ts_reported_ns < self._ts_advanced_ns
            or bool(self._list_naked())
            or any(order.is_unknown for order in self._orders.values())
        )

    @property
    def is_untouched(self) -> bool:
        """Whether it has never sent or booked anything."""
        return not self._sent_ids and not self._trade_ids

    def list_positions(self) -> tuple[tuple[str, int], ...]:
        """Return (instrument_id, qty_lots) of every open position, as our fills make it."""
        sums = [
            (name, sum(self._qty_lots[slot] for slot in slots)) for name, slots in self._slots_by_instrument.items()
        ]
        return tuple((name, qty_lots) for name, qty_lots in sums if qty_lots != 0)

    def describe_orders(self) -> list[dict[str, object]]:
        """Return the orders that have not ended, for the live table."""
        return [
            {
                "client_order_id": client_order_id,
                "slot": order.slot,
                "part": order.part.value,
                "qty_leaves_lots": order.qty_leaves_lots,
                "px": order.trigger_px or order.limit_px,
                "is_unknown": order.is_unknown,
            }
            for client_order_id, order in self._orders.items()
        ]

    def list_open_requests(self) -> list[OrderRequest]:
        """Return what was sent and has not ended, as it was sent: for a client that has forgotten it."""
        return [order.request for order in self._orders.values()]

    def _take_health(self, event: VenueHealth, ts_now_ns: int) -> list[Instruction | VenueInstruction]:
        before, self._health = self._health, event.reasons
        if event.reasons == before:
            return []
        key = f"{self._name}.health"
        if event.reasons:
            text = f"{self._name}: nothing new is opened: {'; '.join(event.reasons)}"
            alert = Alert(Severity.WARNING, key, text, ts_now_ns)
        else:
            alert = Alert(Severity.INFO, f"{key}.restored", f"{self._name}: the venue is well again", ts_now_ns)
        return [Record(alert), Send(("herald",), alert)]

    def _take_tick(self, ts_now_ns: int) -> list[Instruction | VenueInstruction]:
        instructions: list[Instruction | VenueInstruction] = [
            QueryOrder(client_order_id) for client_order_id, order in self._orders.items() if order.is_unknown
        ]
        if self._advanced is not None and self._ts_reported_ns < self._ts_advanced_ns:
            instructions.append(AdvanceVenue(self._advanced))
        self._note_naked(ts_now_ns)
        return instructions + self._flatten_naked(ts_now_ns)

    def _take_approvals(self, event: Approvals, ts_now_ns: int) -> list[Instruction | VenueInstruction]:
        instructions: list[Instruction | VenueInstruction] = []
        for move in event.stop_moves:
            instructions += self._move_stop(move)
        for approved in event.orders:
            if approved.slot not in self._slots:
                continue  # of another account
            refusal = self._check_approval(approved, ts_now_ns)
            if refusal is not None:
                text = f"order of intent {approved.intent_id} leg {approved.leg} refused: {refusal.name}"
                alert = Alert(
                    Severity.CRITICAL, f"executor.refused.{refusal.name}", text, ts_now_ns, approved.intent_id
                )
                rejected = OrderRejected("", refusal.name, ts_now_ns, approved.intent_id)
                part = OrderPart.REDUCE if approved.leg == 0 else OrderPart.ENTRY
                if refusal is Reason.DUPLICATE_INTENT:
                    part = OrderPart.NONE  # the leg's own order lives on
                self._booked.append(Booked(approved.slot, part, rejected))
                instructions += [Record(alert), Send(("herald",), alert)]
                continue
            requests = self._make_requests(approved)
            instructions += [Record(request, is_awaited=True) for request in requests]
            instructions.append(SubmitOrders(requests))
        return instructions

    def _check_approval(self, approved: OrderApproved, ts_now_ns: int) -> Reason | None:
        digest = make_digest(
            approved.intent_id,
            approved.leg,
            approved.instrument_id,
            approved.side,
            approved.qty_lots,
            approved.stop_px,
            approved.take_profit_px,
            approved.epoch,
            approved.ts_expiry_ns,
        )
        if digest != approved.digest:
            return Reason.APPROVAL_ALTERED
        if approved.epoch != self._epoch:
            return Reason.LEASE_EXPIRED
        if ts_now_ns > approved.ts_expiry_ns:
            return Reason.APPROVAL_EXPIRED
        part = OrderPart.REDUCE if approved.leg == 0 else OrderPart.ENTRY
        if make_client_order_id(approved.intent_id, part) in self._sent_ids:
            return Reason.DUPLICATE_INTENT
        if part is OrderPart.ENTRY and self._health:
            return Reason.VENUE_UNHEALTHY
        if part is OrderPart.ENTRY and approved.instrument_id in self._differing:
            return Reason.UNMANAGED_POSITION
        return None

    def _make_requests(self, approved: OrderApproved) -> tuple[OrderRequest, ...]:
        part = OrderPart.REDUCE if approved.leg == 0 else OrderPart.ENTRY
        requests = [self._make_request(approved, part, approved.side, OrderType.MARKET)]
        if approved.stop_px > 0.0:
            requests.append(self._make_request(approved, OrderPart.STOP, -approved.side, OrderType.STOP_MARKET))
        if approved.take_profit_px > 0.0:
            requests.append(
                self._make_request(approved, OrderPart.TAKE_PROFIT, -approved.side, OrderType.TAKE_PROFIT_LIMIT)
            )
        return tuple(requests)

    def _make_request(self, approved: OrderApproved, part: OrderPart, side: int, kind: OrderType) -> OrderRequest:
        request = OrderRequest(
            client_order_id=make_client_order_id(approved.intent_id, part),
            instrument_id=approved.instrument_id,
            side=side,
            qty_lots=approved.qty_lots,
            order_type=kind,
            limit_px=approved.take_profit_px if part is OrderPart.TAKE_PROFIT else 0.0,
            trigger_px=approved.stop_px if part is OrderPart.STOP else 0.0,
            is_reduce_only=part is not OrderPart.ENTRY,
            cause_id=approved.intent_id,
        )
        self._note_sent(request, approved.slot, part)
        return request

    def _note_sent(self, request: OrderRequest, slot: int, part: OrderPart) -> None:
        order = _Order(request, slot, part, request.qty_lots, request.trigger_px, request.limit_px)
        self._orders[request.client_order_id] = order
        self._sent_ids.add(request.client_order_id)

    def _find_resting_id(self, slot: int, part: OrderPart) -> str | None:
        # What protects a position closes it: it is on the other side.
        side = -1 if self._qty_lots[slot] > 0 else 1
        return self._resting.get((slot, part, side)) if self._qty_lots[slot] != 0 else None

    def _find_resting(self, slot: int, part: OrderPart) -> _Order | None:
        client_order_id = self._find_resting_id(slot, part)
        return None if client_order_id is None else self._orders[client_order_id]

    def _end(self, client_order_id: str, order: _Order) -> None:
        del self._orders[client_order_id]
        if self._resting.get((order.slot, order.part, order.side)) == client_order_id:
            del self._resting[order.slot, order.part, order.side]

    def _move_stop(self, move: StopMoveApproved) -> list[Instruction | VenueInstruction]:
        client_order_id = self._find_resting_id(move.slot, OrderPart.STOP)
        if client_order_id is None or move.epoch != self._epoch:
            return []
        return [ModifyStop(client_order_id, move.stop_px)]

    def _take_report(self, report: VenueReported, ts_now_ns: int) -> list[Instruction | VenueInstruction]:
        instructions: list[Instruction | VenueInstruction] = []
        for event in report.events:
            booked = self._book(event)
            if booked is not None:
                self._booked.append(booked)
                instructions.append(Record(event))
        for client_order_id in report.unknown_ids:
            order = self._orders.get(client_order_id)
            if order is not None and not order.is_unknown:  # if it was before, the next tick asks again
                order.is_unknown = True
                instructions.append(QueryOrder(client_order_id))
        if report.ts_close_ns <= self._ts_reported_ns:
            return instructions
        self._ts_reported_ns = report.ts_close_ns
        instructions += self._reconcile(report, ts_now_ns)
        return [*instructions, self._make_update(report.ts_close_ns)]

    def _make_update(self, ts_close_ns: int) -> Send:
        protections = tuple(
            self._make_protection(slot) for slot, qty_lots in enumerate(self._qty_lots) if qty_lots != 0
        )
        update = AccountUpdate(ts_close_ns, tuple(self._booked), protections, account=self._account)
        self._booked = []
        return Send(("governor", "strategist"), update)

    def _make_protection(self, slot: int) -> Protection:
        stop = self._find_resting(slot, OrderPart.STOP)
        take_profit = self._find_resting(slot, OrderPart.TAKE_PROFIT)
        return Protection(slot, stop.trigger_px if stop else 0.0, take_profit.limit_px if take_profit else 0.0)

    def _book(self, event: VenueEvent) -> Booked | None:
        if isinstance(event, FundingPaid):
            return self._book_funding(event)
        order = self._orders.get(event.client_order_id)
        if isinstance(event, Fill):
            return self._book_fill(event, order)
        if order is None:
            return Booked(-1, OrderPart.NONE, event)
        order.is_unknown = False
        match event:
            case OrderAccepted():
                if order.part in (OrderPart.STOP, OrderPart.TAKE_PROFIT):
                    self._resting[order.slot, order.part, order.side] = event.client_order_id
            case OrderModified():
                # The venue shrinks what only reduces together with the position; `qty_lots` is the whole order.
                order.trigger_px, order.limit_px = event.trigger_px, event.limit_px
                order.qty_leaves_lots = event.qty_lots - order.qty_filled_lots
                if order.qty_leaves_lots <= 0:
                    self._end(event.client_order_id, order)
            case OrderRejected(message=message) if message == DUPLICATE:
                return Booked(order.slot, OrderPart.NONE, event)  # a second one under this id: the first lives on
            case OrderCanceled() | OrderRejected():
                self._end(event.client_order_id, order)
            case _:
                pass
        return Booked(order.slot, order.part, event)

    def _book_funding(self, funding: FundingPaid) -> Booked | None:
        key = (funding.instrument_id, funding.ts_event_ns)
        if key in self._fundings:
            return None
        self._fundings.add(key)
        return Booked(self._find_owner(funding.instrument_id), OrderPart.NONE, funding)

    def _book_fill(self, fill: Fill, order: _Order | None) -> Booked | None:
        if fill.trade_id in self._trade_ids:
            return None
        self._trade_ids.add(fill.trade_id)
        slot = order.slot if order is not None else self._find_owner(fill.instrument_id)
        if slot >= 0:
            self._qty_lots[slot] += fill.side * fill.fill_qty_lots
        if order is None:
            return Booked(slot, OrderPart.NONE, fill)
        order.qty_filled_lots += fill.fill_qty_lots
        order.qty_leaves_lots -= fill.fill_qty_lots
        order.is_unknown = False
        if order.qty_leaves_lots <= 0:
            self._end(fill.client_order_id, order)
        return Booked(slot, order.part, fill)

    def _find_owner(self, instrument_id: str) -> int:
        # An instrument has at most one owner: the risk gate sees to it.
        slots = self._slots_by_instrument.get(instrument_id, ())
        held = [slot for slot in slots if self._qty_lots[slot] != 0]
        return held[0] if held else -1

    def _reconcile(self, report: VenueReported, ts_now_ns: int) -> list[Instruction | VenueInstruction]:
        theirs = dict(report.positions)
        differing: set[str] = set()
        instructions: list[Instruction | VenueInstruction] = []
        for instrument_id, slots in self._slots_by_instrument.items():
            ours_lots = sum(self._qty_lots[slot] for slot in slots)
            theirs_lots = theirs.get(instrument_id, 0)
            if ours_lots != theirs_lots:
                differing.add(instrument_id)
                text = f"{instrument_id}: our fills make {ours_lots} lots, the venue holds {theirs_lots}"
                alert = Alert(Severity.CRITICAL, f"executor.position.{instrument_id}", text, ts_now_ns)
                instructions += [Record(alert), Send(("herald",), alert)]
        self._differing = differing
        self._note_naked(ts_now_ns)
        return instructions + self._flatten_naked(ts_now_ns)

    def _list_naked(self) -> list[int]:
        # Slots whose position has no resting stop, where the limits want one.
        if not self._plan.limits.enabled:
            return []
        held = (slot for slot, qty_lots in enumerate(self._qty_lots) if qty_lots != 0)
        return [slot for slot in held if self._find_resting(slot, OrderPart.STOP) is None]

    def _note_naked(self, ts_now_ns: int) -> None:
        since_ns = self._ts_naked_ns
        self._ts_naked_ns = {slot: since_ns.get(slot, ts_now_ns) for slot in self._list_naked()}

    def _flatten_naked(self, ts_now_ns: int) -> list[Instruction | VenueInstruction]:
        instructions: list[Instruction | VenueInstruction] = []
        for slot, since_ns in list(self._ts_naked_ns.items()):
            if ts_now_ns - since_ns < STOP_CONFIRM_MAX_NS:
                continue
            del self._ts_naked_ns[slot]
            instrument_id = self._plan.get_instrument(slot).instrument_id
            side = -1 if self._qty_lots[slot] > 0 else 1
            cause_id = make_client_order_id(f"{instrument_id}|{since_ns}", "naked")[2:]
            request = OrderRequest(
                make_client_order_id(cause_id, OrderPart.REDUCE),
                instrument_id,
                side,
                abs(self._qty_lots[slot]),
                OrderType.MARKET,
                is_reduce_only=True,
                cause_id=cause_id,
            )
            self._note_sent(request, slot, OrderPart.REDUCE)
            text = f"{instrument_id}: position of {self._qty_lots[slot]} lots has no resting stop and is flattened"
            alert = Alert(Severity.CRITICAL, f"executor.naked.{instrument_id}", text, ts_now_ns, cause_id)
            instructions += [Record(alert), Send(("herald",), alert), Record(request, True), SubmitOrders((request,))]
        return instructions
