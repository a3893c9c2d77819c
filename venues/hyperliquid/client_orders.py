"""Our orders at the venue, as all that is heard of them adds up: replies, pushes, answers to questions. Sans-IO.

`OwnOrders` is fed by `client.py` and gathers what follows: events to tell (each once), orders to ask about, children to
place again, siblings to cancel, orders to shrink. What it knows of this venue:
- An order keeps its cloid; a modify gives it a new oid. What comes late of an old oid is ignored, but for its fills.
- Sizes on the wire are those of one oid; an order's own count goes on over its oids.
- A fill may come before the reply: it tells the acceptance too. One whose order is not known yet waits for that.
- An entry that ends in part takes its children with it (rule 1.9b): they are placed again, under their own cloids, for
  what was filled, and told as modified. One that ends with nothing cancels them: "parent canceled".
- An end is told once all fills are in that the venue counts; what stays missing is fetched (`is_short`).
Does not model: a resting entry that has filled in part: at this venue its children wait for the whole of it.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import UNSET

from market.events import (
    Fill,
    FillKind,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderRequest,
    OrderTriggered,
    OrderType,
    TimeInForce,
    VenueEvent,
)
from market.records import NS_PER_MS
from venues.hyperliquid import exchange_replies as replies
from venues.hyperliquid import frames, info_replies, rules
from venues.hyperliquid.client_rows import OwnOrder, Row, Terms, find_trade_id, read_row, write_fill
from venues.hyperliquid.lifecycle import parse_status
from venues.hyperliquid.wire import MalformedMessageError
from venues.lifecycle import OrderStatus
from venues.orders import Message

NEVER_PLACED = "never placed"
_KINDS = {OrderType.STOP_MARKET: FillKind.STOP, OrderType.TAKE_PROFIT_LIMIT: FillKind.TAKE_PROFIT}
_PROTECTS_MAX = 3


class OwnOrders:
    """All orders of one account that this client sent or was told of."""

    def __init__(self, assets: rules.AssetTable, address: str) -> None:
        self._assets, self._address = assets, address.lower()
        self._orders: dict[str, OwnOrder] = {}
        self._by_oid: dict[int, OwnOrder] = {}
        self._told: set[str] = set()  # trade ids
        self._baseline: set[str] = set()  # trade ids from before this client
        self._baseline_ms = -1
        self._fundings: set[tuple[int, str]] = set()
        self._fills_waiting: dict[str, info_replies.Fill] = {}
        self._events: list[VenueEvent] = []
        self._asks: dict[str, None] = {}
        self._cancels: dict[str, None] = {}
        self._shrinks: dict[str, None] = {}
        self.positions: dict[str, int] = {}
        self.unreadable = 0  # rows and values we could not read
        self.fills_count = 0
        self.fees_quote = 0.0
        self.funding_quote = 0.0
        self.naked: set[str] = set()  # children that could not be placed again

    # What follows.

    def take_events(self) -> tuple[VenueEvent, ...]:
        """Return what is to be told, in order, and forget it."""
        events, self._events = tuple(self._events), []
        return events

    def take_asks(self) -> list[str]:
        """Return the orders to ask the venue about."""
        found, self._asks = [*self._asks], {}
        return found

    def take_cancels(self) -> list[str]:
        """Return siblings of a filled child, to be canceled."""
        found, self._cancels = [*self._cancels], {}
        return found

    def take_shrinks(self) -> list[str]:
        """Return orders that a fill during their modify left too large."""
        found, self._shrinks = [*self._shrinks], {}
        return found

    def take_protects(self) -> list[OwnOrder]:
        """Return children to be placed again for what their parent filled."""
        found = [order for order in self._orders.values() if order.is_protect_due]
        for order in found:
            order.is_protect_due = False
        return found

    def get(self, order_id: str) -> OwnOrder | None:
        """Return an order of ours."""
        return self._orders.get(order_id)

    def list_open(self) -> list[OwnOrder]:
        """Return the orders that may rest at the venue."""
        return [order for order in self._orders.values() if order.is_open]

    def list_unknown(self) -> list[OwnOrder]:
        """Return the orders whose outcome, or whose modify's, nobody answered."""
        unknown = OrderStatus.UNKNOWN
        return [o for o in self._orders.values() if o.is_open and (o.status is unknown or o.wanted is not None)]

    @property
    def is_short(self) -> bool:
        """Whether the venue counts fills that nobody told us."""
        return any(order.filled_lots < order.expected_lots for order in self._orders.values())

    @property
    def is_waiting(self) -> bool:
        """Whether something is to be done at once."""
        is_protect_due = any(order.is_protect_due for order in self._orders.values())
        return bool(self._asks or self._cancels or self._shrinks or is_protect_due)

    # What we do.

    def begin(self, positions: Mapping[str, int], fills: Iterable[info_replies.Fill]) -> None:
        """Take the state of the venue as the one from which on things are told."""
        self.positions = dict(positions)
        for row in fills:
            self._baseline.add(find_trade_id(row))
            self._baseline_ms = max(self._baseline_ms, row.time)
            self.fees_quote += float(row.fee)

    def add(self, requests: Sequence[OrderRequest], terms: Sequence[Terms], expires_ms: int, *, group: bool) -> None:
        """Remember orders before they are sent; as a group, the first is the entry."""
        made = [
            OwnOrder(request, self._assets.get(request.instrument_id), term, expires_ms)
            for request, term in zip(requests, terms, strict=True)
        ]
        for order in made:
            self._orders[order.order_id] = order
            if group and order is not made[0]:
                order.parent = made[0]
                made[0].children.append(order)

    def adopt(self, request: OrderRequest, expires_ms: int) -> None:
        """Remember an order of an earlier life: what became of it must be asked."""
        if request.client_order_id not in self._orders and request.instrument_id in self._assets.by_instrument:
            terms = Terms(request.qty_lots, request.limit_px, request.trigger_px)
            self.add([request], [terms], expires_ms, group=False)
            self._orders[request.client_order_id].status = OrderStatus.UNKNOWN

    def mark_unknown(self, order_ids: Iterable[str]) -> None:
        """Nobody answered in time."""
        for order_id in order_ids:
            order = self._orders[order_id]
            if order.status is OrderStatus.SENT and order.end is None:
                order.status = OrderStatus.UNKNOWN

    def refuse(self, order_id: str, message: str, ts_ms: int) -> None:
        """The order was refused, or never left."""
        self._end(self._orders[order_id], OrderStatus.REJECTED, message, ts_ms)

    # What replies say.

    def hear_placed(self, order_id: str, outcome: replies.Outcome, ts_ms: int) -> None:
        """Take the outcome of placing an order."""
        order = self._orders[order_id]
        match outcome:
            case replies.Resting():
                self._learn_oid(order, outcome.oid)
                self._tell_accepted(order, ts_ms)
            case replies.Filled():
                self._learn_oid(order, outcome.oid)
                self._tell_accepted(order, ts_ms)
                lots = rules.read_lots(order.asset, outcome.total_sz)
                order.expected_lots = max(order.expected_lots, lots)
                if lots < order.terms.qty_lots:
                    order.is_counted = True
                    self._end(order, OrderStatus.CANCELED, Message.IOC, ts_ms)
            case replies.Waiting():
                if order.is_unheard:
                    order.status = OrderStatus.ACCEPTED
                self._asks[order_id] = None  # the venue does not say its oid
            case replies.Refused():
                parent = order.parent
                if parent is not None and 0 < parent.expected_lots < parent.terms.qty_lots and parent.end is not None:
                    self._lose(order)
                else:
                    words = outcome.error
                    self._end(order, OrderStatus.REJECTED, replies.read_message(words) or words, ts_ms)
            case _:
                self.mark_unknown([order_id])
                self._asks[order_id] = None
        self._tend_children(order)
        self._release_fills()

    def hear_canceled(self, order_id: str, outcome: replies.Outcome, ts_ms: int) -> bool:
        """Take the outcome of a cancel; return whether there was one. The caller tells a refusal."""
        order = self._orders.get(order_id)
        match outcome:
            case replies.Success():
                if order is not None:
                    self._end(order, OrderStatus.CANCELED, Message.REQUESTED, ts_ms)
                    if order.children and not order.is_counted:
                        self._asks[order_id] = None
                    self._tend_children(order)
            case replies.Refused():
                self._asks[order_id] = None
            case _:
                return False
        return True

    def hear_modified(self, order_id: str, outcome: replies.Outcome, ts_ms: int) -> bool:
        """Take the outcome of a modify; return whether there was one. The caller tells a refusal."""
        order = self._orders[order_id]
        match outcome:
            case replies.Resting() | replies.Filled():
                self._replace_oid(order, outcome.oid, ts_ms)
                if isinstance(outcome, replies.Filled):
                    lots = rules.read_lots(order.asset, outcome.total_sz)
                    order.expected_lots = max(order.expected_lots, order.base_lots + lots)
            case replies.Waiting():
                self._asks[order_id] = None
            case replies.Refused():
                self.drop_modify(order_id)
                self._asks[order_id] = None
            case _:
                return False
        self._release_fills()
        return True

    def hear_protected(self, order_id: str, outcome: replies.Outcome, ts_ms: int) -> None:
        """Take the outcome of placing a child again."""
        if not isinstance(outcome, replies.Refused):
            self.hear_modified(order_id, outcome, ts_ms)
            return
        order = self._orders[order_id]
        order.wanted, order.is_lost = None, False
        self.naked.add(order_id)
        self._end(order, OrderStatus.CANCELED, Message.PARENT_CANCELED, ts_ms)

    def accept_waiting(self, order_id: str, ts_ms: int) -> None:
        """The venue holds a child and nobody could say its oid: tell what is known."""
        self._tell_accepted(self._orders[order_id], ts_ms)

    def keep_child(self, order_id: str, row: Row) -> None:
        """A child thought lost with its parent is open all the same."""
        order = self._orders[order_id]
        order.is_lost = False
        order.old_oids.discard(row.oid)
        self._apply_row(order, row)

    def note_lost_oid(self, order_id: str, oid: int) -> None:
        """What a child that went with its parent was called."""
        self._orders[order_id].old_oids.add(oid)
        self._by_oid[oid] = self._orders[order_id]

    def retry_protects(self) -> None:
        """Try again to place children whose last attempt did not get through."""
        for order in self._orders.values():
            if order.is_lost and order.wanted is None and order.parent is not None:
                self._tend_children(order.parent)

    def give_back(self, events: Iterable[VenueEvent]) -> None:
        """Tell events that were taken for an answer nobody waits for."""
        self._events += events

    def drop_modify(self, order_id: str) -> None:
        """A modify did not happen: what was held back for it counts."""
        order = self._orders[order_id]
        order.wanted, held, order.held = None, order.held, None
        if held is not None:
            self._apply_row(order, held)

    # What pushes and answers say.

    def hear_update(self, update: frames.OrderUpdate) -> None:
        """Take one row of orderUpdates."""
        row, order = update.order, self._find(update.order.cloid, update.order.oid)
        if order is None:
            return
        try:
            left_lots = rules.read_lots(order.asset, row.sz)
            lots = left_lots if row.orig_sz is UNSET else rules.read_lots(order.asset, row.orig_sz)
        except MalformedMessageError:
            self.unreadable += 1
            return
        status = parse_status(update.status, is_partly_filled=left_lots < lots)
        ts_ms = update.status_timestamp
        self._apply_row(order, Row(row.oid, lots, left_lots, float(row.limit_px), None, status, ts_ms))
        self._release_fills()

    def hear_row(self, found: info_replies.OrderRow) -> None:
        """Take the answer to a question about one order."""
        order = self._find(found.order.cloid, found.order.oid)
        if order is not None:
            self._apply_row(order, read_row(order.asset, found))
            self._release_fills()

    def hear_unheard_of(self, order_id: str, ts_now_ms: int) -> None:
        """The venue, asked, does not know an order. Only once it can no longer arrive, it was never placed."""
        order = self._orders.get(order_id)
        if order is not None and order.is_unheard and order.end is None and ts_now_ms > order.expires_ms:
            self._end(order, OrderStatus.REJECTED, NEVER_PLACED, ts_now_ms)

    def hear_fill(self, row: info_replies.Fill) -> None:
        """Take a fill, told or not."""
        trade_id = find_trade_id(row)
        if trade_id in self._told:
            return
        asset = self._assets.by_coin.get(row.coin)
        order, side = self._find(row.cloid, row.oid), info_replies.read_side(row.side)
        is_old = trade_id in self._baseline or row.time < self._baseline_ms
        if asset is None or side is None or (is_old and order is None):
            self.unreadable += side is None
            return
        kind = self._find_kind(row, order)
        is_nobodys = order is None and not isinstance(row.cloid, str) and kind is not FillKind.LIQUIDATION
        if is_nobodys and any(other.is_unheard and not other.oid for other in self.list_open()):
            self._fills_waiting[trade_id] = row
            return
        try:
            lots = rules.read_lots(asset, row.sz)
        except MalformedMessageError:
            self.unreadable += 1
            return
        self._told.add(trade_id)
        self.fills_count += 1
        if not is_old:
            self.fees_quote += float(row.fee)
            instrument_id = asset.instrument.instrument_id
            self.positions[instrument_id] = self.positions.get(instrument_id, 0) + side.value * lots
        if order is not None:
            self._learn_oid(order, row.oid)
            self._tell_accepted(order, row.time)
            order.fills_lots[row.oid] = order.fills_lots.get(row.oid, 0) + lots
            order.expected_lots = max(order.expected_lots, order.filled_lots)
        self._events.append(write_fill(asset, row, kind, _cause(order)))
        if order is not None:
            self._follow_fill(order)

    def describe_fill(self, row: info_replies.Fill) -> Fill | None:
        """Return a fill of ours as an event, told or not; None for a contract that is not ours."""
        asset = self._assets.by_coin.get(row.coin)
        if asset is None or info_replies.read_side(row.side) is None:
            return None
        order = self._find(row.cloid, row.oid)
        return write_fill(asset, row, self._find_kind(row, order), _cause(order))

    def _find_kind(self, row: info_replies.Fill, order: OwnOrder | None) -> FillKind:
        if row.dir.startswith("Liquidated") or row.liquidation is not UNSET:
            return FillKind.LIQUIDATION
        return FillKind.ORDER if order is None else _KINDS.get(order.request.order_type, FillKind.ORDER)

    def note_old_funding(self, row: info_replies.UserFunding) -> None:
        """Remember funding from before this client."""
        self._fundings.add((row.time, row.delta.coin))
        self.funding_quote += float(row.delta.usdc)

    def hear_funding(self, row: frames.FundingRow) -> None:
        """Take a funding row."""
        key, asset = (row.time, row.coin), self._assets.by_coin.get(row.coin)
        if key in self._fundings or asset is None:
            return
        self._fundings.add(key)
        self.funding_quote += float(row.usdc)
        size, rate, amount_quote = float(row.szi), float(row.funding_rate), float(row.usdc)
        index_px = abs(amount_quote / (size * rate)) if size * rate else 0.0  # not on the wire
        lots, ts_ns = rules.read_lots(asset, row.szi), row.time * NS_PER_MS
        self._events.append(FundingPaid(asset.instrument.instrument_id, lots, rate, index_px, amount_quote, ts_ns))

    # How it adds up.

    def _find(self, cloid: object, oid: int) -> OwnOrder | None:
        found = self._orders.get(cloid.lower()) if isinstance(cloid, str) else None
        return found or self._by_oid.get(oid)

    def _learn_oid(self, order: OwnOrder, oid: int) -> None:
        self._by_oid[oid] = order
        if not order.oid and oid not in order.old_oids:
            order.oid, order.venue_lots = oid, order.terms.qty_lots

    def _apply_row(self, order: OwnOrder, row: Row) -> None:
        is_ended = not row.status.status.is_open and row.status.status is not OrderStatus.UNKNOWN
        if row.oid in order.old_oids or (order.oid and row.oid < order.oid):
            order.old_oids.add(row.oid)  # late news of an oid that a modify replaced
            self._by_oid[row.oid] = order
            return
        if is_ended and order.wanted is not None and row.oid == order.oid:
            order.held = row  # perhaps only the old half of the modify
            return
        is_placed_again = order.is_lost and order.wanted is not None
        if row.oid != order.oid and (order.oid or is_placed_again):
            self._replace_oid(order, row.oid, row.ts_ms, row)
        self._learn_oid(order, row.oid)
        order.expected_lots = max(order.expected_lots, order.base_lots + row.lots - row.left_lots)
        if row.status.status is OrderStatus.UNKNOWN:
            self.unreadable += 1
            self._asks[order.order_id] = None
        elif is_ended:
            self._apply_end(order, row)
        else:
            self._apply_open(order, row)
        self._tend_children(order)

    def _apply_open(self, order: OwnOrder, row: Row) -> None:
        if order.end is not None:
            return  # news from before its end
        self._tell_accepted(order, row.ts_ms)
        order.is_lost = False
        if row.status.status is OrderStatus.TRIGGERED and not order.is_triggered_told:
            order.is_triggered_told, order.status = True, OrderStatus.TRIGGERED
            self._events.append(
                OrderTriggered(order.order_id, str(row.oid), row.ts_ms * NS_PER_MS, order.request.cause_id)
            )
        qty_lots = order.base_lots + row.lots
        if order.wanted is None and qty_lots < order.terms.qty_lots:  # shrunk by the venue: reduce-only
            order.venue_lots = row.lots
            if qty_lots <= order.filled_lots:  # to what it has filled: nothing of it is left
                self._end(order, OrderStatus.CANCELED, Message.POSITION_CLOSED, row.ts_ms)
            else:
                self._tell_modified(order, order.terms._replace(qty_lots=qty_lots), row.ts_ms)
        for child in order.children:
            if child.is_lost:  # canceled by itself: its parent lives
                child.is_lost = False
                self._end(child, OrderStatus.CANCELED, Message.REQUESTED, row.ts_ms)

    def _apply_end(self, order: OwnOrder, row: Row) -> None:
        status, message = row.status.status, row.status.message
        order.is_counted = True
        is_immediate = OrderType.MARKET is order.request.order_type or order.request.time_in_force is TimeInForce.IOC
        if is_immediate and message is Message.REQUESTED and not order.is_cancel_sent:
            message = Message.IOC
        if status is OrderStatus.FILLED:
            order.expected_lots = max(order.expected_lots, order.base_lots + row.lots)
            self._tell_accepted(order, row.ts_ms)
            if order.request.is_reduce_only and order.wanted is None and order.expected_lots < order.terms.qty_lots:
                # The venue had shrunk it to what it filled, and nobody told us.
                self._end(order, OrderStatus.CANCELED, Message.POSITION_CLOSED, row.ts_ms)
            return
        parent = order.parent
        is_with_parent = parent is not None and parent.expected_lots < parent.terms.qty_lots and not order.is_alone
        is_unasked = message is Message.REQUESTED and not order.is_cancel_sent and not order.is_end_told
        if status is OrderStatus.CANCELED and is_with_parent and is_unasked:
            self._tell_accepted(order, row.ts_ms)
            self._lose(order)
            return
        if status is OrderStatus.CANCELED:
            self._tell_accepted(order, row.ts_ms)
        self._end(order, status, message or str(status), row.ts_ms)

    def _end(self, order: OwnOrder, status: OrderStatus, message: str, ts_ms: int) -> None:
        if order.end is None:
            order.end = (status, message, ts_ms)
        self._settle(order)

    def _settle(self, order: OwnOrder) -> None:
        if order.end is None or order.is_end_told or order.is_lost:
            return
        status, message, ts_ms = order.end
        if order.filled_lots < order.expected_lots:
            return  # told once its fills are in
        order.is_end_told = True
        if order.filled_lots >= order.terms.qty_lots:
            return  # filled after all
        order.status, cause_id, ts_ns = status, order.request.cause_id, ts_ms * NS_PER_MS
        if status is OrderStatus.REJECTED and not order.filled_lots:
            self._events.append(OrderRejected(order.order_id, message, ts_ns, cause_id))
        else:
            order.status = OrderStatus.CANCELED
            self._events.append(OrderCanceled(order.order_id, str(order.oid or ""), message, ts_ns, cause_id))

    def _follow_fill(self, order: OwnOrder) -> None:
        is_whole = order.filled_lots >= order.terms.qty_lots
        if order.status.is_open:
            order.status = OrderStatus.FILLED if is_whole else OrderStatus.PARTLY_FILLED
        elif is_whole:
            order.status = OrderStatus.FILLED
        if is_whole and order.parent is not None and order.is_alone:
            siblings = [child for child in order.parent.children if child is not order and child.is_open]
            self._cancels |= dict.fromkeys(child.order_id for child in siblings)
        is_too_large = order.base_lots + order.venue_lots > order.terms.qty_lots
        if not is_whole and order.is_open and is_too_large and order.wanted is None:
            self._shrinks[order.order_id] = None
        self._settle(order)
        self._tend_children(order)

    def _replace_oid(self, order: OwnOrder, oid: int, ts_ms: int, row: Row | None = None) -> None:
        # The order goes on under a new oid: a modify, ours or not, or a child that was placed again.
        if oid == order.oid or oid in order.old_oids:
            return
        if order.oid:
            order.old_oids.add(order.oid)
        self._by_oid[oid] = order
        wanted, order.wanted, order.held = order.wanted, None, None
        order.oid, order.is_triggered_told = oid, False
        if order.is_lost:
            order.is_lost, order.is_alone, order.end = False, True, None
            self.naked.discard(order.order_id)
        terms = wanted or order.terms
        if row is not None:
            order.venue_lots = row.lots
            terms = Terms(order.base_lots + row.lots, terms.limit_px, terms.trigger_px)
            if wanted is None:
                is_limit = order.terms.limit_px > 0.0
                terms = terms._replace(
                    limit_px=row.limit_px if is_limit else 0.0, trigger_px=row.trigger_px or terms.trigger_px
                )
        else:
            order.venue_lots = terms.qty_lots - order.base_lots
        if not order.is_accepted_told:
            self._tell_accepted(order, ts_ms)
        order.status = OrderStatus.PARTLY_FILLED if order.filled_lots else OrderStatus.ACCEPTED
        self._tell_modified(order, terms, ts_ms)

    def _tell_modified(self, order: OwnOrder, terms: Terms, ts_ms: int) -> None:
        order.terms = terms
        self._events.append(
            OrderModified(order.order_id, str(order.oid), *terms, ts_ms * NS_PER_MS, order.request.cause_id)
        )

    def _tell_accepted(self, order: OwnOrder, ts_ms: int) -> None:
        if order.is_unheard:
            order.status = OrderStatus.ACCEPTED
        if not order.is_accepted_told and not order.is_end_told:
            order.is_accepted_told = True
            accepted = OrderAccepted(order.order_id, str(order.oid or ""), ts_ms * NS_PER_MS, order.request.cause_id)
            self._events.append(accepted)

    def _lose(self, child: OwnOrder) -> None:
        # Its parent ended, or is about to be heard to have: `_tend_children` decides.
        if child.is_lost or child.is_end_told or child.is_alone:
            return
        child.is_lost = True
        if child.oid:
            child.old_oids.add(child.oid)
        if child.parent is not None:
            self._tend_children(child.parent)

    def _tend_children(self, parent: OwnOrder) -> None:
        if not parent.children:
            return
        is_part = parent.end is not None and parent.is_counted and 0 < parent.expected_lots < parent.terms.qty_lots
        for child in parent.children:
            if is_part and child.is_open and not child.is_lost:
                self._lose(child)
            if not child.is_lost or child.wanted is not None or child.is_end_told:
                continue
            is_refused = parent.end is not None and parent.end[0] is OrderStatus.REJECTED
            if not (parent.is_counted or is_refused or parent.expected_lots >= parent.terms.qty_lots):
                self._asks[parent.order_id] = None
                continue
            if is_part and child.protects < _PROTECTS_MAX:
                child.is_protect_due = True
            elif parent.end is not None or parent.expected_lots >= parent.terms.qty_lots:
                child.is_lost = False
                is_whole = parent.expected_lots >= parent.terms.qty_lots
                message = Message.REQUESTED if is_whole else Message.PARENT_CANCELED
                ts_ms = 0 if parent.end is None else parent.end[2]
                if is_part:
                    self.naked.add(child.order_id)
                self._end(child, OrderStatus.CANCELED, message, ts_ms)

    def _release_fills(self) -> None:
        waiting, self._fills_waiting = self._fills_waiting, {}
        for row in waiting.values():
            self.hear_fill(row)


def _cause(order: OwnOrder | None) -> str:
    return "" if order is None else order.request.cause_id
