"""The exchange machine: what every simulated venue does behind its own protocol. Sans-IO: no clock, socket or chance.

`Exchange` holds what does not depend on where prices come from: accounts, order intake, groups, reduce-only, cancel,
modify, funding, queries, invariants. Two machines stand on it:
- `venues.bar_exchange.BarExchange`: prices are bars; orders fill by `market.fills`. The paper venue.
- `venues.book_exchange.BookExchange`: a price-time book per instrument; accounts trade with each other.

Every call takes `ts_now_ns` and returns the events it caused, `[(account_id, event), ...]`, in the order they happened.
The same calls give the same events. A venue's refusal is an event; ValueError means that the caller is wrong (no such
account or instrument, time or price not usable), and then nothing has changed.

    submit(account_id, requests, ts_now_ns, group=False)   group: the first is the entry, the rest protect it
    cancel(account_id, client_order_id, ts_now_ns)
    cancel_all(account_id, ts_now_ns, instrument_id=None)
    modify(account_id, client_order_id, ts_now_ns, qty_lots=None, limit_px=None, trigger_px=None)
    set_leverage(account_id, instrument_id, leverage, ts_now_ns)
    open_orders, order_status, fills_since, position, account_state, get_mark_px    queries

Rules that hold in both
- A client order id is good for one order, ever: a second is refused as duplicate and the first is untouched.
- Reduce-only never adds to a position and never flips it: refused while there is nothing to reduce, shrunk
  (OrderModified) when the position becomes smaller than what is left of it, canceled when the position closes.
- A group is taken or refused whole. Its children wait for the entry's fill, then rest; one that fills whole cancels
  its siblings; all go when the position closes, or when the entry ends unfilled. The first part of the entry arms them
  (`is_child_armed_by_part`; False: only the whole does, and canceling a partly filled entry leaves the part naked, as
  on Hyperliquid); when the position closes under an entry still partly open, the rest of the entry goes too.
- Initial margin: the notional of positions (and of resting orders that could add to them) over the leverage set per
  instrument, else the instrument's cap, must not exceed equity. What only reduces is never refused.
- An account whose equity falls below its maintenance margin is liquidated: its orders are canceled, its positions
  closed, in instrument order, by fills with no client order id and FillKind.LIQUIDATION.

Does not model: isolated margin (`venues.book_exchange` does), margin tiers, partial liquidation, insurance fund,
auto-deleveraging, transfers.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import ClassVar

from market.events import (
    CancelRejected,
    Fill,
    FillKind,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderRequest,
    OrderType,
    VenueEvent,
)
from market.fills import Costs, compute_funding_quote
from market.instruments import Instrument
from market.records import Position, Side
from venues.accounts import Account, AccountState
from venues.lifecycle import OrderStatus, OrderStep, apply_step
from venues.orders import LIMIT_TYPES, Message, Order, OrderReport, is_group, is_px, is_well_formed

Events = list[tuple[str, VenueEvent]]


class Exchange:
    """Accounts, orders and money; where and at what price orders match is the subclass's."""

    ORDER_TYPES: ClassVar[frozenset[OrderType]] = frozenset(
        {OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_LIMIT}
    )

    def __init__(
        self,
        instruments: Sequence[Instrument],
        costs: Costs,
        *,
        is_child_armed_by_part: bool = True,
        history_max: int | None = None,
    ) -> None:
        """Open for `instruments`, in this order wherever order matters; `costs` where an account has no own.

        `history_max`: ended orders, and fills, remembered of each account; an id is refused as a duplicate as long as
        its order is remembered. None: all of them, ever.
        """
        if history_max is not None and history_max < 1:
            raise ValueError(f"history_max is {history_max}: must be at least 1, or None for no end")
        self._instruments = {instrument.instrument_id: instrument for instrument in instruments}
        if not instruments or len(self._instruments) != len(instruments):
            raise ValueError(f"instruments must be distinct and at least one, got {[*self._instruments]}")
        self._costs = costs
        self._is_child_armed_by_part, self._history_max = is_child_armed_by_part, history_max
        self._accounts: dict[str, Account] = {}
        self._marks_px: dict[str, float] = {}
        self._sequence = 0  # orders
        self._trades = 0
        self._turnover_quote = 0.0  # the scale against which money must balance
        self._to_work: deque[Order] = deque()  # armed, not yet at work
        self._touched: dict[str, None] = {}  # instruments since the last check, in order
        self._outbox: Events = []

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What is traded here, in the order given."""
        return tuple(self._instruments.values())

    @property
    def costs(self) -> Costs:
        """What an account pays that has no costs of its own."""
        return self._costs

    def add_account(
        self, account_id: str, cash_quote: float, costs: Costs | None = None, *, is_house: bool = False
    ) -> None:
        """Open an account with a deposit [quote]. A house account knows no margin: it feeds a market."""
        if account_id in self._accounts:
            raise ValueError(f"account {account_id!r} exists already: choose another id")
        if not (math.isfinite(cash_quote) and cash_quote >= 0.0):
            raise ValueError(f"cash of account {account_id!r} is {cash_quote}: must be finite and >= 0")
        # Floats, whatever came: an int would compile every kernel once more.
        costs = Costs(*map(float, costs or self._costs))
        self._accounts[account_id] = Account(
            account_id, costs, float(cash_quote), self._instruments, is_house, self._history_max
        )

    # Orders.

    def submit(self, account_id: str, requests: Sequence[OrderRequest], ts_now_ns: int, group: bool = False) -> Events:
        """Take or refuse orders, one after the other; as a group, the first is the entry, the rest its children."""
        account = self._account(account_id)
        if not requests:
            raise ValueError("submit needs at least one order request")
        if group:
            self._submit_group(account, requests, ts_now_ns)
        else:
            for request in requests:
                refusal = self._find_refusal(account, request)
                if refusal is None:
                    self._start(self._accept(account, request, ts_now_ns), ts_now_ns)
                else:
                    self._refuse(account, request, refusal, ts_now_ns)
        return self._finish()

    def cancel(self, account_id: str, client_order_id: str, ts_now_ns: int, message: str = Message.REQUESTED) -> Events:
        """Cancel what is left of an order; CancelRejected if nothing is."""
        account = self._account(account_id)
        order = account.orders.get(client_order_id)
        if order is None or not order.status.is_open:
            self._emit(account_id, CancelRejected(client_order_id, Message.NOT_OPEN, ts_now_ns))
        else:
            self._cancel(order, message, ts_now_ns)
            self._tend_reduce_only(account, order.request.instrument_id, ts_now_ns)
        return self._finish()

    def cancel_all(
        self, account_id: str, ts_now_ns: int, instrument_id: str | None = None, message: str = Message.REQUESTED
    ) -> Events:
        """Cancel every open order of an account, oldest first, in one instrument or in all."""
        self._cancel_all(self._account(account_id), instrument_id, message, ts_now_ns)
        return self._finish()

    def modify(
        self,
        account_id: str,
        client_order_id: str,
        ts_now_ns: int,
        qty_lots: int | None = None,
        limit_px: float | None = None,
        trigger_px: float | None = None,
    ) -> Events:
        """Change the terms of an open order; None keeps a term. `qty_lots` is the whole, filled part included."""
        account = self._account(account_id)
        order = account.orders.get(client_order_id)
        if order is None or not order.status.is_open:
            self._emit(account_id, CancelRejected(client_order_id, Message.NOT_OPEN, ts_now_ns))
            return self._finish()
        terms = (
            order.qty_lots if qty_lots is None else qty_lots,
            order.limit_px if limit_px is None else limit_px,
            order.trigger_px if trigger_px is None else trigger_px,
        )
        refusal = self._find_modify_refusal(account, order, *terms)
        if refusal is None:
            self._change_terms(order, *terms, ts_now_ns)
            self._tend_reduce_only(account, order.request.instrument_id, ts_now_ns)
            self._drain(ts_now_ns)
        else:
            cause_id = order.request.cause_id
            self._emit(account_id, CancelRejected(client_order_id, refusal, ts_now_ns, cause_id))
        return self._finish()

    def set_leverage(self, account_id: str, instrument_id: str, leverage: float, ts_now_ns: int) -> Events:
        """Set the leverage that initial margin is computed with, in [1, instrument's cap]."""
        account, instrument = self._account(account_id), self._instrument(instrument_id)
        if not 1.0 <= leverage <= instrument.leverage_max:
            raise ValueError(f"leverage of {instrument_id} is {leverage}: must be in [1, {instrument.leverage_max}]")
        account.leverages[instrument_id] = leverage
        return self._finish()

    # Queries.

    def open_orders(self, account_id: str, instrument_id: str | None = None) -> list[OrderReport]:
        """Return the open orders of an account, oldest first, children that still wait included."""
        orders = self._account(account_id).open_orders.values()
        return [order.report() for order in orders if instrument_id in (None, order.request.instrument_id)]

    def order_status(self, account_id: str, client_order_id: str) -> OrderReport | None:
        """Return an order, open or ended; None if this id never came."""
        order = self._account(account_id).orders.get(client_order_id)
        return None if order is None else order.report()

    def fills_since(self, account_id: str, ts_ns: int) -> list[Fill]:
        """Return an account's fills at or after `ts_ns`, oldest first."""
        return self._account(account_id).fills_since(ts_ns)

    def position(self, account_id: str, instrument_id: str) -> Position:
        """Return a position, flat if there is none."""
        self._instrument(instrument_id)
        return self._account(account_id).position(instrument_id)

    def account_state(self, account_id: str) -> AccountState:
        """Return what an account is worth at the marks of the moment."""
        return self._account(account_id).state(self._marks_px)

    def get_mark_px(self, instrument_id: str) -> float:
        """Return the mark px of the moment, NaN before the first."""
        self._instrument(instrument_id)
        return self._marks_px.get(instrument_id, math.nan)

    def check_invariants(self, is_full: bool = True) -> None:
        """Assert that lots balance; in full also money, margins of error included, and every order.

        Not in full it looks at the instruments touched since the last check: that runs at the end of every call.
        """
        instrument_ids = [*self._instruments] if is_full else [*self._touched]
        self._touched.clear()
        for instrument_id in instrument_ids:
            lots = sum(account.position(instrument_id).qty_lots for account in self._accounts.values())
            assert lots == 0, f"{instrument_id}: positions of all accounts sum to {lots} lots, not 0"
        if is_full:
            self._check_money()
            for account in self._accounts.values():
                for order in account.orders.values():
                    assert 0 <= order.qty_filled_lots <= order.qty_lots, f"{order} is overfilled"
                    assert (order.sequence in account.open_orders) == order.status.is_open, f"{order} is misfiled"
                    is_whole = order.qty_leaves_lots == 0 and order.status is not OrderStatus.REJECTED
                    assert (order.status is OrderStatus.FILLED) == is_whole, f"{order} is misnamed"

    def _check_money(self) -> None:
        # Cash moved by fills alone is minus the cost of what is held; funding only changes hands.
        error_quote = 0.0
        for account in self._accounts.values():
            error_quote += account.cash_quote - account.deposits_quote + account.fees_quote
            for instrument_id, position in account.positions.items():
                error_quote -= position.qty_lots * position.avg_px * self._instruments[instrument_id].lot_base
        allowed_quote = 1e-9 * (1.0 + self._turnover_quote + sum(a.deposits_quote for a in self._accounts.values()))
        assert abs(error_quote) <= allowed_quote, f"money does not balance: {error_quote} quote appeared"

    # What a subclass decides.

    def _find_refusal(self, account: Account, request: OrderRequest, is_child: bool = False) -> Message | None:
        """Return why a new order is refused, None if it is not."""
        if request.client_order_id in account.orders:
            return Message.DUPLICATE
        instrument = self._instruments.get(request.instrument_id)
        if instrument is None:
            return Message.UNKNOWN_INSTRUMENT
        if not is_well_formed(request):
            return Message.INVALID
        if request.order_type not in self.ORDER_TYPES:
            return Message.UNSUPPORTED
        if request.is_reduce_only:
            held_lots = account.position(request.instrument_id).qty_lots
            return Message.REDUCE_ONLY if not is_child and held_lots * request.side >= 0 else None
        px = request.limit_px or self._marks_px.get(request.instrument_id, math.inf)
        notional_quote = request.qty_lots * instrument.lot_base * px
        # The tolerance keeps an order that was sized exactly to the minimum with other roundings.
        is_too_small = notional_quote < instrument.notional_min_quote * (1.0 - 1e-9)
        return Message.BELOW_MINIMUM if is_too_small or request.qty_lots < instrument.qty_lots_min else None

    def _find_modify_refusal(
        self, account: Account, order: Order, qty_lots: int, limit_px: float, trigger_px: float
    ) -> Message | None:
        """Return why new terms are refused, None if they are not."""
        is_usable = qty_lots > order.qty_filled_lots
        is_usable &= order.request.order_type not in LIMIT_TYPES or is_px(limit_px)
        is_usable &= not order.is_stop or is_px(trigger_px)
        return None if is_usable else Message.INVALID

    def _change_terms(self, order: Order, qty_lots: int, limit_px: float, trigger_px: float, ts_now_ns: int) -> None:
        order.qty_lots, order.limit_px, order.trigger_px = qty_lots, float(limit_px), float(trigger_px)
        self._emit_modified(order, ts_now_ns)

    def _work(self, order: Order, ts_now_ns: int) -> None:
        """Put an armed order to work: queue it, match it, or let it rest."""
        raise NotImplementedError

    def _withdraw(self, order: Order) -> None:
        """Take an ended order out of wherever `_work` put it."""

    # How orders come, fill and go.

    def _submit_group(self, account: Account, requests: Sequence[OrderRequest], ts_now_ns: int) -> None:
        entry, *children = requests
        refusals = [self._find_refusal(account, entry)]
        refusals += [self._find_refusal(account, child, is_child=True) for child in children]
        if not any(refusals) and not is_group(entry, children):
            refusals[0] = Message.GROUP_INVALID
        if any(refusals):
            for request, refusal in zip(requests, refusals, strict=True):
                self._refuse(account, request, refusal or Message.GROUP_INVALID, ts_now_ns)
            return
        parent = self._accept(account, entry, ts_now_ns)
        for request in children:
            child = self._accept(account, request, ts_now_ns)
            child.parent, child.is_armed = parent, False
            parent.children.append(child)
        self._start(parent, ts_now_ns)

    def _make_order(self, account_id: str, request: OrderRequest, ts_now_ns: int) -> Order:
        # Floats, whatever came: kernels and books take no other prices.
        limit_px, trigger_px = float(request.limit_px), float(request.trigger_px)
        self._sequence += 1
        return Order(account_id, request, self._sequence, ts_now_ns, request.qty_lots, limit_px, trigger_px)

    def _accept(self, account: Account, request: OrderRequest, ts_now_ns: int) -> Order:
        order = self._make_order(account.account_id, request, ts_now_ns)
        order.status = apply_step(order.status, OrderStep.ACCEPT)
        account.orders[request.client_order_id] = order
        account.open_orders[order.sequence] = order
        if request.is_reduce_only:
            account.reduce_only_orders[order.sequence] = order
        accepted = OrderAccepted(request.client_order_id, order.venue_order_id, ts_now_ns, request.cause_id)
        self._emit(account.account_id, accepted)
        return order

    def _refuse(self, account: Account, request: OrderRequest, refusal: Message, ts_now_ns: int) -> None:
        if request.client_order_id not in account.orders:
            order = self._make_order(account.account_id, request, ts_now_ns)
            order.status = apply_step(order.status, OrderStep.REJECT)
            account.orders[request.client_order_id] = order
            account.forget_old()
        rejected = OrderRejected(request.client_order_id, refusal, ts_now_ns, request.cause_id)
        self._emit(account.account_id, rejected)

    def _start(self, order: Order, ts_now_ns: int) -> None:
        self._to_work.append(order)
        self._drain(ts_now_ns)

    def _drain(self, ts_now_ns: int) -> None:
        while self._to_work:
            order = self._to_work.popleft()
            if order.status.is_open:
                self._work(order, ts_now_ns)
                self._tend_reduce_only(self._accounts[order.account_id], order.request.instrument_id, ts_now_ns)

    def _book_fill(
        self, order: Order, qty_lots: int, fill_px: float, is_maker: bool, kind: FillKind, trade_id: str, ts_ns: int
    ) -> None:
        # One side of a trade. The caller books the other side too, then lets `_follow_fill` draw the consequences.
        account, request = self._accounts[order.account_id], order.request
        instrument = self._instruments[request.instrument_id]
        fee_quote = account.book_fill(instrument, request.side * qty_lots, fill_px, is_maker, ts_ns)
        self._touched[request.instrument_id] = None
        self._turnover_quote += qty_lots * instrument.lot_base * fill_px
        order.qty_filled_lots += qty_lots
        assert 0 < qty_lots <= order.qty_filled_lots <= order.qty_lots, f"{order} overfilled by {qty_lots} lots"
        order.status = apply_step(order.status, OrderStep.FILL_PART if order.qty_leaves_lots else OrderStep.FILL_REST)
        if order.qty_leaves_lots == 0:
            self._leave(order)
        fill = Fill(
            request.client_order_id,
            order.venue_order_id,
            trade_id,
            request.instrument_id,
            request.side,
            fill_px,
            qty_lots,
            fee_quote,
            is_maker,
            kind.value,
            ts_ns,
            request.cause_id,
        )
        account.fills.append(fill)
        self._emit(order.account_id, fill)

    def _follow_fill(self, order: Order, ts_ns: int) -> None:
        is_whole = order.qty_leaves_lots == 0
        if order.parent is not None and is_whole:
            for sibling in order.parent.children:
                if sibling.status.is_open:
                    self._cancel(sibling, Message.SIBLING_FILLED, ts_ns)
        account, instrument_id = self._accounts[order.account_id], order.request.instrument_id
        is_entered = account.position(instrument_id).qty_lots * order.request.side > 0
        for child in order.children:
            if child.is_armed or not child.status.is_open:
                continue
            if is_entered and (is_whole or self._is_child_armed_by_part):
                child.is_armed = True
                self._to_work.append(child)
            elif is_whole:  # the entry only reduced what was held before: there is nothing to protect
                self._cancel(child, Message.POSITION_CLOSED, ts_ns)
        self._tend_reduce_only(account, instrument_id, ts_ns)

    def _tend_reduce_only(self, account: Account, instrument_id: str, ts_ns: int) -> None:
        # After every change of a position: what cannot reduce goes, what is larger than the position shrinks to it. A
        # child whose entry may still fill keeps its size for what comes; `compute_fillable_lots` caps it until then.
        held_lots = account.position(instrument_id).qty_lots
        for order in [*account.reduce_only_orders.values()]:
            request = order.request
            if not order.is_armed or request.instrument_id != instrument_id:
                continue
            room_lots = max(0, -request.side * held_lots)
            is_entry_open = order.parent is not None and order.parent.status.is_open
            if not order.status.is_open:
                continue
            if room_lots == 0:
                if order.parent is not None and is_entry_open:
                    self._cancel(order.parent, Message.POSITION_CLOSED, ts_ns)
                self._cancel(order, Message.POSITION_CLOSED, ts_ns)
            elif order.qty_leaves_lots > room_lots and not is_entry_open:
                order.qty_lots = order.qty_filled_lots + room_lots
                self._emit_modified(order, ts_ns)

    def _compute_fillable_lots(self, order: Order) -> int:
        if not order.request.is_reduce_only:
            return order.qty_leaves_lots
        held_lots = self._accounts[order.account_id].position(order.request.instrument_id).qty_lots
        return min(order.qty_leaves_lots, max(0, -order.request.side * held_lots))

    def _cancel(self, order: Order, message: str, ts_ns: int) -> None:
        order.status = apply_step(order.status, OrderStep.CANCEL)
        self._leave(order)
        request = order.request
        canceled = OrderCanceled(request.client_order_id, order.venue_order_id, message, ts_ns, request.cause_id)
        self._emit(order.account_id, canceled)
        self._cancel_waiting(order, ts_ns)

    def _reject_at_match(self, order: Order, message: Message, ts_ns: int) -> None:
        order.status = apply_step(order.status, OrderStep.REJECT)
        self._leave(order)
        request = order.request
        self._emit(order.account_id, OrderRejected(request.client_order_id, message, ts_ns, request.cause_id))
        self._cancel_waiting(order, ts_ns)

    def _cancel_waiting(self, parent: Order, ts_ns: int) -> None:
        for child in parent.children:
            if child.status.is_open and not child.is_armed:
                self._cancel(child, Message.PARENT_CANCELED, ts_ns)

    def _cancel_all(self, account: Account, instrument_id: str | None, message: str, ts_ns: int) -> None:
        for order in [*account.open_orders.values()]:
            if order.status.is_open and instrument_id in (None, order.request.instrument_id):
                self._cancel(order, message, ts_ns)

    def _leave(self, order: Order) -> None:
        account = self._accounts[order.account_id]
        account.open_orders.pop(order.sequence, None)
        account.reduce_only_orders.pop(order.sequence, None)
        account.forget_old()
        self._withdraw(order)

    def _make_liquidation(self, account: Account, instrument_id: str, ts_ns: int) -> Order:
        # The exchange's own order: it has no client order id and is not among the account's orders.
        held_lots = account.position(instrument_id).qty_lots
        side = Side.SELL.value if held_lots > 0 else Side.BUY.value
        request = OrderRequest("", instrument_id, side, abs(held_lots), OrderType.MARKET, is_reduce_only=True)
        order = self._make_order(account.account_id, request, ts_ns)
        order.status = apply_step(order.status, OrderStep.ACCEPT)
        return order

    def _is_below_maintenance(self, account: Account) -> bool:
        if account.is_house or not any(position.qty_lots for position in account.positions.values()):
            return False
        return account.compute_equity_quote(self._marks_px) < account.compute_maintenance_quote(self._marks_px)

    def _pay_funding(
        self, account: Account, instrument: Instrument, funding_rate: float, index_px: float, ts_ns: int
    ) -> float:
        # Returns what the account received [quote].
        instrument_id = instrument.instrument_id
        qty_lots = account.position(instrument_id).qty_lots
        if qty_lots == 0:
            return 0.0
        amount_quote: float = compute_funding_quote(qty_lots, instrument.lot_base, index_px, funding_rate)
        account.book_funding(amount_quote)
        self._turnover_quote += abs(amount_quote)
        paid = FundingPaid(instrument_id, qty_lots, funding_rate, index_px, amount_quote, ts_ns)
        self._emit(account.account_id, paid)
        return amount_quote

    def _emit(self, account_id: str, event: VenueEvent) -> None:
        self._outbox.append((account_id, event))

    def _emit_modified(self, order: Order, ts_ns: int) -> None:
        request = order.request
        modified = OrderModified(
            request.client_order_id,
            order.venue_order_id,
            order.qty_lots,
            order.limit_px,
            order.trigger_px,
            ts_ns,
            request.cause_id,
        )
        self._emit(order.account_id, modified)

    def _finish(self) -> Events:
        # Every public call ends here.
        assert not self._to_work, "an armed order was left idle"
        self.check_invariants(is_full=False)
        events, self._outbox = self._outbox, []
        return events

    def _account(self, account_id: str) -> Account:
        account = self._accounts.get(account_id)
        if account is None:
            raise ValueError(f"no account {account_id!r} at this exchange: open it with add_account")
        return account

    def _instrument(self, instrument_id: str) -> Instrument:
        instrument = self._instruments.get(instrument_id)
        if instrument is None:
            raise ValueError(f"no instrument {instrument_id!r} at this exchange, it has {[*self._instruments]}")
        return instrument
