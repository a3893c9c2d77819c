"""Our orders on the chain: what each row, fill, block and refusal means, and what must be done about it. Sans-IO.

One order of ours is one or more legs: the chain's orders that carried it out, one after the other (a stop that was
moved, resized or armed again has several; its client order id stays). `OrderDesk` takes what was heard in any order and
however often, keeps the events to tell, and `plan` says what to send or ask next: calling it again changes nothing.

What it holds to:
- Short-term orders are dead only once the Indexer's height is above their good-til-block; until then a
  BEST_EFFORT_CANCELED one may fill. Stateful ones that nobody saw cannot arrive once the chain's clock is past the
  window of their timestamp nonce.
- An order's end is told after its last fill: rows that speak of more fills than were heard make the desk ask.
- A group's promises (`venues.port`) are in `client_groups`.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from market.events import (
    CancelRejected,
    Fill,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderRequest,
    OrderTriggered,
    OrderType,
    VenueEvent,
)
from venues.dydx.client_legs import (
    PRICED_TYPES,
    AskOrder,
    CancelLeg,
    Contract,
    Effect,
    Leg,
    LegState,
    OurOrder,
    is_older,
    name_generation,
    read_fill,
    read_pxs,
    read_report,
    read_ts,
    replace_client_id,
    with_terms,
)
from venues.dydx.indexer_records import FillRow, OrderRow, merge_order
from venues.dydx.lifecycle import (
    BEST_EFFORT_CANCELED,
    CANCELED,
    FILLED,
    OPEN,
    UnknownStatus,
    read_removal,
    read_status,
)
from venues.dydx.order_requests import Lifetime, make_order
from venues.dydx.order_terms import Order, SubaccountId, derive_client_id, order_uuid
from venues.dydx.sequences import NONCE_WINDOW_MS
from venues.dydx.units import size_to_lots, subticks_to_px
from venues.lifecycle import OrderStatus, ProtocolError, apply_step, get_step
from venues.orders import Message, OrderReport

STATEFUL_LIFE_S = 90 * 86_400  # the chain allows 95 days
NONCE_SLACK_MS = 2_000  # beyond the nonce's window before an unseen stateful order is dead
CANCEL_AGAIN_NS = 3 * 10**9  # a cancel that had no effect by then is sent again
ASK_AGAIN_NS = 10**9
GENERATIONS_MAX = 256  # replacements of one order that a restart can still recognise
NEVER_PLACED = "never placed"
EXPIRED = "expired"

# The venue's word for why an order ended -> ours.
END_MESSAGES: dict[str, str] = {
    "USER_CANCELED": Message.REQUESTED,
    "EXPIRED": EXPIRED,
    "INDEXER_EXPIRED": EXPIRED,
    "UNDERCOLLATERALIZED": Message.INSUFFICIENT_MARGIN,
    "SELF_TRADE_ERROR": Message.SELF_TRADE,
    "POST_ONLY_WOULD_CROSS_MAKER_ORDER": Message.POST_ONLY,
    "IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK": Message.IOC,
    "REDUCE_ONLY_RESIZE": Message.POSITION_CLOSED,
}
_REFUSALS = (Message.POST_ONLY, Message.INSUFFICIENT_MARGIN)


class OrderDesk:
    """All orders of one subaccount that this client answers for."""

    def __init__(self, contracts: Mapping[str, Contract], subaccount: SubaccountId, stop_slippage_frac: float) -> None:
        """Begin empty; `contracts` by instrument id."""
        self.contracts = contracts
        self.subaccount = subaccount
        self.stop_slippage_frac = stop_slippage_frac
        self.by_ticker = {contract.units.ticker: one for one, contract in contracts.items()}
        self.orders: dict[str, OurOrder] = {}
        self.positions_lots: dict[str, int] = {}
        self.fees_quote = 0.0
        self.height = 0  # the Indexer's
        self.block_time_ms = 0
        self.unknown_values = 0
        self.protocol_errors = 0
        self.is_opening = True  # what is heard now happened before this life: kept untold
        self.fills_seen = 0
        self._by_uuid: dict[str, tuple[OurOrder, Leg]] = {}
        self._candidates: dict[int, tuple[OurOrder, int]] = {}  # client ids of known orders -> order, generation
        self._fill_ids: dict[str, None] = {}
        self._orphans: dict[str, list[FillRow]] = {}  # fills of orders whose row has not been heard
        self._said: list[tuple[str, VenueEvent]] = []
        self._asks: dict[str, None] = {}

    # Orders of ours.

    def begin(self) -> None:
        """End the opening: what is heard from now on is news. Fills of strangers until now stay untold."""
        self.is_opening = False
        self._orphans.clear()
        self._asks.clear()

    def rank(self, venue_order_id: str) -> int:
        """Return how new a leg is among those of its order."""
        found = self._by_uuid.get(venue_order_id)
        return found[1].generation if found else 0

    def find(self, uuid: str) -> OurOrder | None:
        """Return the order a uuid is of."""
        found = self._by_uuid.get(uuid)
        return found[0] if found else None

    def add(self, request: OrderRequest, lifetime: Lifetime, worst_px: float) -> OurOrder:
        """Take an order that will be sent.

        Raises: ValueError if the chain could not take it, or its client id meets one of ours.
        """
        contract = self.contracts[request.instrument_id]
        chain = make_order(request, contract.units, contract.instrument, self.subaccount, lifetime, worst_px)
        limit_px, trigger_px = read_pxs(chain, request.order_type, contract.units)
        leg = Leg(chain, order_uuid(chain.order_id), request.qty_lots, limit_px, trigger_px)
        if leg.uuid in self._by_uuid:
            raise ValueError(f"order {request.client_order_id}: its client id meets another order's, use another id")
        order = OurOrder(request, [leg], request.qty_lots, limit_px, trigger_px)
        self.orders[request.client_order_id] = order
        self._by_uuid[leg.uuid] = (order, leg)
        return order

    def add_known(self, request: OrderRequest, lifetime: Lifetime, ts_now_ns: int) -> OurOrder:
        """Take an order of an earlier life, that may or may not live, or be on its way: unknown until it is heard."""
        order = self.add(request, lifetime, request.limit_px or request.trigger_px or 1e6)
        order.leg.nonce_ms, order.leg.is_sending = ts_now_ns // 10**6, False
        order.status = OrderStatus.UNKNOWN
        for generation in range(GENERATIONS_MAX):
            name = name_generation(request.client_order_id, generation)
            self._candidates[derive_client_id(name)] = (order, generation)
        return order

    def forget(self, order: OurOrder) -> None:
        """Drop an order that was never sent."""
        self.orders.pop(order.client_order_id, None)
        for leg in order.legs:
            self._by_uuid.pop(leg.uuid, None)

    def compute_stop_worst_px(self, request: OrderRequest, trigger_px: float) -> float:
        """Return the price beyond which a triggered stop does not trade."""
        return trigger_px * (1.0 + request.side * self.stop_slippage_frac)

    def add_leg(self, order: OurOrder, qty_lots: int, limit_px: float, trigger_px: float, good_til_s: int) -> Leg:
        """Add the next generation of a stateful order; the caller sends it."""
        order.generation += 1
        contract = self.contracts[order.request.instrument_id]
        request = with_terms(order, qty_lots, limit_px, trigger_px)
        worst_px = self.compute_stop_worst_px(order.request, trigger_px) if trigger_px else 0.0
        lifetime = Lifetime(0, good_til_s, is_resting_stateful=True)
        chain = make_order(request, contract.units, contract.instrument, self.subaccount, lifetime, worst_px)
        limit_px, trigger_px = read_pxs(chain, request.order_type, contract.units)
        leg = Leg(chain, order_uuid(chain.order_id), qty_lots, limit_px, trigger_px, order.generation)
        order.legs.append(leg)
        order.is_ready_to_end, order.is_terms_due = False, True
        self._by_uuid[leg.uuid] = (order, leg)
        return leg

    def replace_terms(self, order: OurOrder, chain: Order, qty_lots: int) -> Leg:
        """Give a short-term order's leg the terms of its replacement; the caller sends it."""
        leg = order.leg
        leg.replaced, leg.replaced_lots, leg.is_sending = leg.chain, leg.qty_lots, True
        units = self.contracts[order.request.instrument_id].units
        leg.chain, leg.qty_lots = chain, qty_lots
        leg.limit_px, _ = read_pxs(chain, order.request.order_type, units)
        order.is_terms_due = order.is_modifying = True
        return leg

    def compute_good_til_s(self) -> int:
        """Return the good-til-block-time of a stateful order sent now."""
        return self.block_time_ms // 1000 + STATEFUL_LIFE_S

    # What is heard.

    def note_height(self, height: int, block_time_ms: int) -> None:
        """The Indexer has a block."""
        if height > self.height:
            self.height, self.block_time_ms = height, max(block_time_ms, self.block_time_ms)

    def note_refused(self, order: OurOrder, leg: Leg, message: str, ts_now_ns: int) -> None:
        """The chain refused a leg: it was never there."""
        if leg.replaced is not None:  # a replacement: the order it should replace lives on
            leg.chain, leg.qty_lots, leg.limit_px = leg.replaced, leg.replaced_lots, order.limit_px
            leg.replaced = None
            self._refuse_modify(order, message, ts_now_ns)
            return
        if leg.state is not LegState.SENT:
            return  # it was seen all the same
        leg.state, leg.reason = LegState.REFUSED, message
        if any(not one.is_over for one in order.legs):
            order.legs.remove(leg)
            self._refuse_modify(order, message, ts_now_ns)
        elif len(order.legs) == 1:
            self._tell(order, OrderRejected(order.client_order_id, message, ts_now_ns, order.request.cause_id))
        else:
            self._note_end(order)

    def _refuse_modify(self, order: OurOrder, message: str, ts_now_ns: int) -> None:
        order.is_terms_due = False
        if order.is_modifying:
            order.is_modifying = False
            self._tell(order, CancelRejected(order.client_order_id, message, ts_now_ns, order.request.cause_id))

    def note_fills(self, rows: Iterable[FillRow]) -> list[Fill]:
        """Take fills in any order, told or not; return those not heard before, oldest first."""
        fresh = [row for row in rows if row.id not in self._fill_ids]
        made = []
        for row in sorted(fresh, key=lambda one: (one.created_at, one.id)):
            if row.id in self._fill_ids:
                continue
            instrument_id = self.by_ticker.get(row.instrument_ticker)
            if instrument_id is None or row.side not in ("BUY", "SELL"):
                self.unknown_values += 1
                continue
            self._fill_ids[row.id] = None
            self.fills_seen += 1
            fill = self.make_fill(row)
            made.append(fill)
            self.fees_quote += fill.fee_quote
            held_lots = self.positions_lots.get(instrument_id, 0)
            self.positions_lots[instrument_id] = held_lots + fill.side * fill.fill_qty_lots
            self._book(row, fill)
        return made

    def _book(self, row: FillRow, fill: Fill) -> None:
        found = self._by_uuid.get(row.order_id) if isinstance(row.order_id, str) else None
        if found is None:
            if isinstance(row.order_id, str):
                self._orphans.setdefault(row.order_id, []).append(row)
                self._asks[row.order_id] = None
            elif not self.is_opening:
                self._said.append(("", fill))
            return
        order, leg = found
        leg.filled_lots += fill.fill_qty_lots
        if leg.state is LegState.SENT:
            leg.state = LegState.LIVE
            self._tell_accepted(order, fill.ts_event_ns)
        if leg.filled_lots >= leg.qty_lots:
            leg.state, leg.reason = LegState.ENDED, "FULLY_FILLED"
        self._tell(order, fill)
        self._note_end(order)

    def make_fill(self, row: FillRow) -> Fill:
        """Return our event of a fill row; the client order id is "" where the order is none of ours."""
        order = self.find(row.order_id) if isinstance(row.order_id, str) else None
        instrument_id = self.by_ticker[row.instrument_ticker]
        return read_fill(row, order, self.contracts[instrument_id].instrument)

    def note_row(self, update: OrderRow, ts_now_ns: int) -> None:
        """Take an order row of socket or REST; old news, repeats and strangers change nothing."""
        found = self._by_uuid.get(update.id) or self._recognise(update)
        if found is None:
            self._release_orphans(update.id)
            return
        order, leg = found
        row = merge_order(leg.row, update)
        if leg.is_over and leg.state is not LegState.REFUSED:
            if update.status in (FILLED, CANCELED):
                leg.row = row
            return
        if leg.row is not None and is_older(update, leg.row):
            return
        status = read_status(row)
        if isinstance(status, UnknownStatus):
            self.unknown_values += 1
            self._asks[leg.uuid] = None
            return
        leg.row = row
        self._apply_row(order, leg, row, read_ts(row, ts_now_ns))

    def _apply_row(self, order: OurOrder, leg: Leg, row: OrderRow, ts_event_ns: int) -> None:
        removal = read_removal(row) or ""
        if row.status == BEST_EFFORT_CANCELED and removal == "REPLACED":
            return
        if row.status == BEST_EFFORT_CANCELED:
            leg.state, leg.reason = LegState.ENDING, removal
            if removal != "POST_ONLY_WOULD_CROSS_MAKER_ORDER" and removal != "UNDERCOLLATERALIZED":
                self._tell_accepted(order, ts_event_ns)
        elif row.status in (CANCELED, FILLED):
            if END_MESSAGES.get(removal) not in _REFUSALS or leg.filled_lots:
                self._tell_accepted(order, ts_event_ns)
            self._end_leg(order, leg, removal or row.status, ts_event_ns)
        else:
            if leg.state in (LegState.SENT, LegState.REFUSED, LegState.ENDING):
                leg.state = LegState.LIVE
            self._tell_accepted(order, ts_event_ns)
            self._note_trigger(order, leg, row, ts_event_ns)
        self._note_new_terms(order, leg, row, ts_event_ns)
        self._note_end(order)

    def _note_trigger(self, order: OurOrder, leg: Leg, row: OrderRow, ts_event_ns: int) -> None:
        if leg.chain.trigger_subticks and row.status == OPEN and not leg.is_triggered:
            leg.is_triggered = True
            event = OrderTriggered(order.client_order_id, leg.uuid, ts_event_ns, order.request.cause_id)
            self._tell(order, event)

    def _end_leg(self, order: OurOrder, leg: Leg, reason: str, ts_event_ns: int) -> None:
        # A conditional order that ended by trading has been triggered, whether that was heard or not.
        is_by_match = reason not in ("USER_CANCELED", "EXPIRED", NEVER_PLACED)
        if leg.chain.trigger_subticks and is_by_match and not leg.is_triggered:
            leg.is_triggered = True
            self._tell(order, OrderTriggered(order.client_order_id, leg.uuid, ts_event_ns, order.request.cause_id))
        leg.state, leg.reason = LegState.ENDED, reason

    def _note_new_terms(self, order: OurOrder, leg: Leg, row: OrderRow, ts_event_ns: int) -> None:
        if leg is not order.leg or leg.state is LegState.SENT or not order.is_terms_due:
            return
        if leg.replaced is not None:
            units = self.contracts[order.request.instrument_id].units
            is_there = row.price == subticks_to_px(units, leg.chain.subticks) and leg.state is LegState.LIVE
            if not (is_there and isinstance(row.size, Decimal) and self._to_lots(order, row.size) == leg.qty_lots):
                return
            leg.replaced = None
        order.is_terms_due = order.is_modifying = False
        order.qty_lots = leg.qty_lots + self._filled_before(order, leg)
        order.limit_px, order.trigger_px = leg.limit_px, leg.trigger_px
        self._tell_modified(order, ts_event_ns)

    def _tell_modified(self, order: OurOrder, ts_event_ns: int) -> None:
        self._tell(
            order,
            OrderModified(
                order.client_order_id,
                order.venue_order_id,
                order.qty_lots,
                order.limit_px,
                order.trigger_px,
                ts_event_ns,
                order.request.cause_id,
            ),
        )

    def _filled_before(self, order: OurOrder, leg: Leg) -> int:
        return sum(one.filled_lots for one in order.legs if one is not leg)

    def _to_lots(self, order: OurOrder, size: Decimal) -> int:
        return size_to_lots(self.contracts[order.request.instrument_id].instrument, size)

    def _recognise(self, row: OrderRow) -> tuple[OurOrder, Leg] | None:
        # An order of an earlier life under a later generation's id.
        if not isinstance(row.client_id, str) or not row.client_id.isdecimal():
            return None
        candidate = self._candidates.get(int(row.client_id))
        if candidate is None or not isinstance(row.size, Decimal):
            return None
        order, generation = candidate
        order_id = replace_client_id(order.legs[0].chain, int(row.client_id))
        if order_uuid(order_id.order_id) != row.id:
            return None
        trigger, trigger_px = row.trigger_price, order.trigger_px
        qty_lots = self._to_lots(order, row.size)
        if order.request.order_type is OrderType.STOP_MARKET and isinstance(trigger, Decimal):
            trigger_px = float(trigger)
        limit_px = order.limit_px
        if order.request.order_type in PRICED_TYPES and isinstance(row.price, Decimal):
            limit_px = float(row.price)
        leg = Leg(order_id, row.id, qty_lots, limit_px, trigger_px, generation, is_sending=False)
        order.generation = max(order.generation, generation)
        order.legs = sorted([*order.legs, leg], key=lambda one: one.generation)
        self._by_uuid[row.id] = (order, leg)
        self._release_orphans(row.id)
        if leg is order.leg:
            order.limit_px, order.trigger_px = limit_px, trigger_px
            order.qty_lots = qty_lots + self._filled_before(order, leg)
        return order, leg

    def _release_orphans(self, uuid: str) -> None:
        for row in self._orphans.pop(uuid, []):
            fill = self.make_fill(row)
            if fill.client_order_id:
                self._book(row, fill)
            elif not self.is_opening:
                self._said.append(("", fill))

    def note_answer(self, uuid: str, row: OrderRow | None, height: int, block_time_ms: int, ts_now_ns: int) -> None:
        """Take the Indexer's answer to `AskOrder`; `height` and time: its own, read before it was asked."""
        if row is not None:
            self.note_row(row, ts_now_ns)
        else:
            self._release_orphans(uuid)
        found = self._by_uuid.get(uuid)
        if found is None or found[1].is_over:
            return
        order, leg = found
        if not self._is_past(leg, height, block_time_ms, is_row=row is not None):
            return
        if leg.state is LegState.SENT:
            self.note_refused(order, leg, NEVER_PLACED, ts_now_ns)
            return
        self._end_leg(order, leg, leg.reason or "EXPIRED", ts_now_ns)
        self._note_end(order)

    def _is_past(self, leg: Leg, height: int, block_time_ms: int, *, is_row: bool) -> bool:
        if leg.is_sending:
            return False
        if leg.chain.order_id.is_short_term:
            good_til_block = leg.chain.good_til_block
            if leg.row is not None and isinstance(leg.row.good_til_block, str) and leg.row.good_til_block.isdecimal():
                good_til_block = max(good_til_block, int(leg.row.good_til_block))
            return height > good_til_block
        is_unseen = leg.state is LegState.SENT and not is_row
        return is_unseen and block_time_ms > leg.nonce_ms + NONCE_WINDOW_MS + NONCE_SLACK_MS

    # Ends.

    def _note_end(self, order: OurOrder) -> None:
        """Mark an order whose legs are all over; ask where fills are missing."""
        if not order.status.is_open:
            return
        for leg in order.legs:
            if leg.is_over and self._to_lots(order, leg.row_filled_lots) > leg.filled_lots:
                self._asks[leg.uuid] = None
                return
        order.is_ready_to_end = all(leg.is_over for leg in order.legs)

    def tell_end(self, order: OurOrder, ts_now_ns: int, message: str = "") -> None:
        """Tell that an order whose legs are over has ended."""
        order.is_ready_to_end = False
        if not order.status.is_open:
            return
        leg = order.leg
        if not message:
            message = order.end_message or END_MESSAGES.get(leg.reason, leg.reason.lower().replace("_", " "))
        is_unfilled = order.qty_filled_lots == 0
        if message == Message.IOC and order.request.order_type is OrderType.MARKET and is_unfilled:
            message = Message.NO_LIQUIDITY
        can_refuse = order.status in (OrderStatus.SENT, OrderStatus.UNKNOWN, OrderStatus.ACCEPTED)
        cause_id, client_order_id = order.request.cause_id, order.client_order_id
        if message in _REFUSALS and is_unfilled and can_refuse:
            self._tell(order, OrderRejected(client_order_id, message, ts_now_ns, cause_id))
        else:
            self._tell(order, OrderCanceled(client_order_id, leg.uuid, message, ts_now_ns, cause_id))

    def note_silence(self, order: OurOrder) -> None:
        """The deadline of a call passed without a word of the order."""
        if order.status is OrderStatus.SENT:
            order.status = OrderStatus.UNKNOWN

    def refuse(self, order: OurOrder, message: str, ts_now_ns: int) -> None:
        """End an order that was never sent (a child of a refused entry)."""
        for leg in order.legs:
            leg.state, leg.reason = LegState.REFUSED, message
        self._tell(order, OrderRejected(order.client_order_id, message, ts_now_ns, order.request.cause_id))

    def refuse_cancel(self, order: OurOrder, message: str, ts_now_ns: int) -> None:
        """Tell that a cancel or modify came to nothing."""
        order.is_cancel_wanted = False
        self._tell(order, CancelRejected(order.client_order_id, message, ts_now_ns, order.request.cause_id))

    # What to tell and to do.

    def _tell_accepted(self, order: OurOrder, ts_event_ns: int) -> None:
        if order.ts_accepted_ns or not order.status.is_open:
            return
        order.ts_accepted_ns = ts_event_ns
        event = OrderAccepted(order.client_order_id, order.venue_order_id, ts_event_ns, order.request.cause_id)
        self._tell(order, event)

    def _tell(self, order: OurOrder, event: VenueEvent) -> None:
        step = get_step(event, order.qty_leaves_lots)
        assert step is not None, "every event of the desk is about an order"
        try:
            order.status = apply_step(order.status, step)
        except ProtocolError:
            self.protocol_errors += 1
        if self.is_opening:
            order.untold.append(event)
            return
        self.flush(order)
        self._said.append((order.client_order_id, event))

    def flush(self, order: OurOrder) -> None:
        """Tell what happened to an order before this life."""
        self._said += [(order.client_order_id, event) for event in order.untold]
        order.untold.clear()

    def take_said(self) -> list[tuple[str, VenueEvent]]:
        """Return the events to tell, each with the client order id it is about, and forget them."""
        said, self._said = self._said, []
        return said

    def plan(self, ts_now_ns: int) -> list[Effect]:
        """Return what to send or ask now for single orders; groups have their own plan."""
        effects: list[Effect] = []
        for order in self.orders.values():
            if not order.status.is_open and all(leg.is_over for leg in order.legs):
                continue
            for leg in order.legs:
                effects += self._plan_leg(order, leg, ts_now_ns)
        effects += [AskOrder(uuid) for uuid in self._asks]
        self._asks.clear()
        return effects

    def _plan_leg(self, order: OurOrder, leg: Leg, ts_now_ns: int) -> list[Effect]:
        if leg.is_over:
            return []
        is_late = self._is_past(leg, self.height, self.block_time_ms, is_row=False)
        if is_late and ts_now_ns >= leg.ts_ask_ns + ASK_AGAIN_NS:
            leg.ts_ask_ns = ts_now_ns
            return [AskOrder(leg.uuid)]
        is_outdated = leg is not order.leg and order.leg.state is LegState.LIVE
        if not (order.is_cancel_wanted or is_outdated) or leg.state is LegState.ENDING:
            return []
        if ts_now_ns < leg.ts_cancel_ns + CANCEL_AGAIN_NS:
            return []
        leg.ts_cancel_ns = ts_now_ns
        return [CancelLeg(order, leg)]

    def list_unsettled(self) -> Sequence[tuple[OurOrder, Leg]]:
        """Return the legs that may still change, with their orders."""
        return [(order, leg) for order in self.orders.values() for leg in order.legs if not leg.is_over]

    def report(self, row: OrderRow) -> OrderReport | None:
        """Return the report of an order row, ours or not; None: of a market or status not known here."""
        instrument_id = self.by_ticker.get(row.ticker if isinstance(row.ticker, str) else "")
        if instrument_id is None:
            return None
        found = self._by_uuid.get(row.id) or self._recognise(row)
        return read_report(row, found[0] if found else None, self.contracts[instrument_id].instrument, self.height)
