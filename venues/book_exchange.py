"""The exchange machine with a price-time book per instrument: accounts trade with each other, marks come from outside.

Fills when
- A limit or market order meets resting orders of the other side at its limit or better: at the resting order's px, best
  price first, then first come; the newcomer pays the taker fee, the resting order the maker fee. Partial fills are
  normal. What is left rests (GTC), or is canceled (IOC "ioc", market "no liquidity").
- A post-only order that would meet one is refused; so is a change of terms that would make it.
- A stop triggers when the mark px touches its trigger (a buy: mark >= trigger, a sell: mark <= trigger), an order "if
  touched" from the other side (a buy: mark <= trigger); at once if it already does. Then it is a market order, or a
  limit order with its time in force: what it does not meet rests, though the market gapped past its limit.
- A take-profit limit is a reduce-only limit order that rests from its arming on, whatever the mark.
- An order never meets one of its own account: the resting one is canceled ("self trade").
- `modify` keeps the place in the queue if only the size shrinks, else the order goes to the end, and may match.
- `settle_funding` pays every position at the px it is given. Liquidation, looked at after each mark and each funding,
  sells into the book; what the book cannot take is tried again at the next one.
- Margin is cross unless `set_isolated`: then each fill sets its notional over the leverage aside for the position (what
  it closes frees its share), funding is paid from there, and the position is liquidated alone, when what is set aside
  and its open profit fall below its own maintenance margin. A loss beyond it is the account's.
An account needs a mark px before its orders are taken; a house account does not.

Does not model: slippage bounds of market and triggered orders, price bands, tick and significant figure rules
(simulators check them in their venue's words), a trigger that may open a position and sets no margin aside before it is
touched (here it does, as a resting order), and what `venues.exchange` names.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from market.events import FillKind, OrderRequest, OrderTriggered, OrderType, TimeInForce
from market.fills import Costs, compute_unrealized_quote
from market.instruments import Instrument
from market.records import Side
from venues.accounts import Account, AccountState
from venues.exchange import Events, Exchange
from venues.isolated_margin import IsolatedMargin
from venues.lifecycle import OrderStep, apply_step
from venues.matching import Book
from venues.orders import LIMIT_TYPES, STOP_TYPES, TOUCH_TYPES, TRIGGER_TYPES, Message, Order, is_px

_KINDS = {
    **dict.fromkeys(STOP_TYPES, FillKind.STOP),
    **dict.fromkeys((*TOUCH_TYPES, OrderType.TAKE_PROFIT_LIMIT), FillKind.TAKE_PROFIT),
}


class BookExchange(Exchange):
    """The exchange machine whose prices are its own books'."""

    ORDER_TYPES = frozenset(OrderType)

    def __init__(
        self,
        instruments: Sequence[Instrument],
        costs: Costs,
        *,
        is_child_armed_by_part: bool = True,
        history_max: int | None = None,
    ) -> None:
        super().__init__(instruments, costs, is_child_armed_by_part=is_child_armed_by_part, history_max=history_max)
        self._books = {instrument_id: Book() for instrument_id in self._instruments}
        self._stops: dict[str, dict[int, Order]] = {instrument_id: {} for instrument_id in self._instruments}
        self._isolated = IsolatedMargin()

    def apply_marks(self, marks_px: Mapping[str, float], ts_now_ns: int) -> Events:
        """Take new mark prices by instrument: stops trigger, then accounts below maintenance are liquidated.

        Raises ValueError for an unknown instrument or a mark that is not finite and > 0; nothing has changed then.
        """
        for instrument_id, mark_px in marks_px.items():
            self._instrument(instrument_id)
            if not is_px(mark_px):
                raise ValueError(f"mark px of {instrument_id} is {mark_px}: must be finite and > 0")
        self._marks_px.update(marks_px)
        for instrument_id in self._instruments:
            if instrument_id in marks_px:
                self._trigger_stops(instrument_id, ts_now_ns)
        self._liquidate_all(ts_now_ns)
        return self._finish()

    def settle_funding(self, instrument_id: str, funding_rate: float, index_px: float, ts_now_ns: int) -> Events:
        """Pay funding on every position of an instrument; positive rate: longs pay. Accounts in opening order."""
        instrument = self._instrument(instrument_id)
        if not (is_px(index_px) and math.isfinite(funding_rate)):
            raise ValueError(f"funding of {instrument_id}: rate {funding_rate} at {index_px} px is not usable")
        for account in self._accounts.values():
            self._pay_funding(account, instrument, funding_rate, index_px, ts_now_ns)
        self._liquidate_all(ts_now_ns)
        return self._finish()

    def set_isolated(self, account_id: str, instrument_id: str, is_isolated: bool, ts_now_ns: int) -> Events:
        """Isolate the margin of an account's positions in an instrument, or margin them as cross again.

        Raises ValueError while it holds one that is margined otherwise.
        """
        account, key = self._account(account_id), (account_id, instrument_id)
        self._instrument(instrument_id)
        if is_isolated != (key in self._isolated):
            if account.position(instrument_id).qty_lots != 0:
                raise ValueError(f"margin of {instrument_id} cannot change with an open position: close it first")
            self._isolated.set_mode(key, is_isolated)
        return self._finish()

    def move_isolated_margin(self, account_id: str, instrument_id: str, amount_quote: float, ts_now_ns: int) -> Events:
        """Set more aside for an isolated position, or less (below 0).

        Raises ValueError if there is none, if the account does not have so much free, or if less than the initial
        margin, or than a tenth of the notional, would be left.
        """
        account, held = self._account(account_id), self._account(account_id).position(instrument_id)
        if (account_id, instrument_id) not in self._isolated or held.qty_lots == 0 or not math.isfinite(amount_quote):
            raise ValueError(f"account {account_id!r} has no isolated position in {instrument_id} to move margin of")
        if amount_quote > 0.0:
            state = self.cross_state(account_id)
            if amount_quote > state.equity_quote - state.margin_initial_quote:
                raise ValueError(f"{amount_quote} quote are not free in account {account_id!r}")
        else:
            instrument = self._instruments[instrument_id]
            notional_quote = abs(held.qty_lots) * instrument.lot_base * self._marks_px[instrument_id]
            needed_quote = notional_quote * max(0.1, 1.0 / account.leverage(instrument))
            if self.compute_isolated_equity_quote(account_id, instrument_id) + amount_quote < needed_quote:
                raise ValueError(f"position in {instrument_id} needs {needed_quote} quote: cannot take {-amount_quote}")
        self._isolated.add((account_id, instrument_id), amount_quote)
        return self._finish()

    def is_isolated(self, account_id: str, instrument_id: str) -> bool:
        """Return whether the margin of an account in an instrument is isolated."""
        return (account_id, instrument_id) in self._isolated

    def get_isolated_margin_quote(self, account_id: str, instrument_id: str) -> float:
        """Return what is set aside for an isolated position, 0.0 for a cross one."""
        return self._isolated.get(account_id, instrument_id)

    def compute_isolated_equity_quote(self, account_id: str, instrument_id: str) -> float:
        """Return what an isolated position is worth: what is set aside for it, and its open profit."""
        held, instrument = self._account(account_id).position(instrument_id), self._instrument(instrument_id)
        money_quote = self._isolated.get(account_id, instrument_id)
        if held.qty_lots == 0:
            return money_quote
        mark_px = self._marks_px[instrument_id]
        return money_quote + float(compute_unrealized_quote(held.qty_lots, held.avg_px, instrument.lot_base, mark_px))

    def cross_state(self, account_id: str) -> AccountState:
        """Return what an account is worth without its isolated positions and what is set aside for them."""
        account = self._account(account_id)
        state = account.state(self._marks_px)
        for instrument_id, money_quote in self._isolated.list_of(account_id).items():
            held_lots = abs(account.position(instrument_id).qty_lots)
            notional_quote = (
                held_lots * self._instruments[instrument_id].lot_base * self._marks_px.get(instrument_id, 0.0)
            )
            instrument = self._instruments[instrument_id]
            state = replace(
                state,
                cash_quote=state.cash_quote - money_quote,
                equity_quote=state.equity_quote - self.compute_isolated_equity_quote(account_id, instrument_id),
                margin_initial_quote=state.margin_initial_quote - notional_quote / account.leverage(instrument),
                margin_maintenance_quote=state.margin_maintenance_quote
                - notional_quote * instrument.maintenance_margin_frac,
            )
        return state

    def list_levels(self, instrument_id: str, side: int, levels_max: int) -> list[tuple[float, int]]:
        """Return (px, lots resting) of one side of a book, best first."""
        self._instrument(instrument_id)
        return self._books[instrument_id].list_levels(side, levels_max)

    def check_invariants(self, is_full: bool = True) -> None:
        """Assert what `Exchange` does, and that books are uncrossed and hold just the orders that rest."""
        for instrument_id in self._instruments if is_full else self._touched:
            self._books[instrument_id].check_uncrossed(instrument_id)
        super().check_invariants(is_full)
        if is_full:
            self._check_resting()
            for account_id in self._accounts:
                for instrument_id, money_quote in self._isolated.list_of(account_id).items():
                    is_flat = self.position(account_id, instrument_id).qty_lots == 0
                    assert not is_flat or money_quote == 0.0, f"{money_quote} quote are set aside for no position"

    def _check_resting(self) -> None:
        for instrument_id, book in self._books.items():
            resting = {order.sequence for side in Side for order in book.list_orders(side.value)}
            held = resting | set(self._stops[instrument_id])
            expected = {
                order.sequence
                for account in self._accounts.values()
                for order in account.open_orders.values()
                if order.is_armed and order.request.instrument_id == instrument_id
            }
            assert held == expected, f"{instrument_id}: orders {held ^ expected} are on one of book and accounts only"

    # Matching.

    def _work(self, order: Order, ts_now_ns: int) -> None:
        request = order.request
        self._touched[request.instrument_id] = None
        if order.is_stop:
            self._stops[request.instrument_id][order.sequence] = order
            self._trigger_stops(request.instrument_id, ts_now_ns)
        else:
            self._execute(order, ts_now_ns)

    def _execute(self, order: Order, ts_now_ns: int) -> None:
        # A market or limit order, or what a trigger made one.
        request = order.request
        book = self._books[request.instrument_id]
        if not order.is_limit:
            self._match_market(order, _get_kind(order), ts_now_ns)
        elif request.time_in_force is TimeInForce.POST_ONLY and book.can_match(request.side, order.limit_px):
            self._cancel(order, Message.POST_ONLY, ts_now_ns)
        else:
            self._match(order, order.limit_px, _get_kind(order), ts_now_ns)
            if order.status.is_open and request.time_in_force is TimeInForce.IOC:
                self._cancel(order, Message.IOC, ts_now_ns)
            elif order.status.is_open:
                book.add(order)

    def _match_market(self, order: Order, kind: FillKind, ts_now_ns: int) -> None:
        self._match(order, order.request.side * math.inf, kind, ts_now_ns)
        if order.status.is_open and order.request.client_order_id:
            self._cancel(order, Message.NO_LIQUIDITY, ts_now_ns)

    def _match(self, taker: Order, limit_px: float, kind: FillKind, ts_now_ns: int) -> None:
        request = taker.request
        book = self._books[request.instrument_id]
        while taker.status.is_open and book.can_match(request.side, limit_px):
            maker = book.get_best(-request.side)
            assert maker is not None, "a book that can match has a best order"
            if maker.account_id == taker.account_id:
                self._cancel(maker, Message.SELF_TRADE, ts_now_ns)
                self._tend_reduce_only(self._accounts[maker.account_id], request.instrument_id, ts_now_ns)
                continue
            qty_lots = min(self._compute_fillable_lots(taker), self._compute_fillable_lots(maker))
            fill_px = maker.limit_px
            self._marks_px.setdefault(request.instrument_id, fill_px)
            self._trades += 1
            trade_id = str(self._trades)
            self._book_fill(taker, qty_lots, fill_px, False, kind, trade_id, ts_now_ns)
            self._book_fill(maker, qty_lots, fill_px, True, _get_kind(maker), trade_id, ts_now_ns)
            self._follow_fill(taker, ts_now_ns)
            self._follow_fill(maker, ts_now_ns)

    def _trigger_stops(self, instrument_id: str, ts_now_ns: int) -> None:
        mark_px = self._marks_px.get(instrument_id, math.nan)
        touched = [order for order in self._stops[instrument_id].values() if order.is_touched(mark_px)]
        for order in sorted(touched, key=lambda order: order.sequence):
            if not order.status.is_open:
                continue  # the fill of one before it closed the position
            request = order.request
            order.status, order.is_triggered = apply_step(order.status, OrderStep.TRIGGER), True
            self._stops[instrument_id].pop(order.sequence)
            self._touched[instrument_id] = None
            triggered = OrderTriggered(request.client_order_id, order.venue_order_id, ts_now_ns, request.cause_id)
            self._emit(order.account_id, triggered)
            self._execute(order, ts_now_ns)
        self._drain(ts_now_ns)

    def _withdraw(self, order: Order) -> None:
        instrument_id = order.request.instrument_id
        self._stops[instrument_id].pop(order.sequence, None)
        if order.is_limit:
            self._books[instrument_id].remove(order)

    # Margin.

    def _find_refusal(self, account: Account, request: OrderRequest, is_child: bool = False) -> Message | None:
        refusal = super()._find_refusal(account, request, is_child)
        if refusal is not None:
            return refusal
        is_post_only = _is_post_only(request) and request.order_type not in TRIGGER_TYPES
        book = self._books[request.instrument_id]
        if is_post_only and not is_child and book.can_match(request.side, request.limit_px):
            return Message.POST_ONLY
        if request.is_reduce_only or account.is_house:
            return None
        if request.instrument_id not in self._marks_px:
            return Message.NO_MARK
        return self._find_margin_refusal(account, request, request.qty_lots)

    def _find_modify_refusal(
        self, account: Account, order: Order, qty_lots: int, limit_px: float, trigger_px: float
    ) -> Message | None:
        request = order.request
        refusal = super()._find_modify_refusal(account, order, qty_lots, limit_px, trigger_px)
        if refusal is not None:
            return refusal
        is_post_only = _is_post_only(request) and order.is_armed and not order.is_stop
        if is_post_only and self._books[request.instrument_id].can_match(request.side, limit_px):
            return Message.POST_ONLY
        if request.is_reduce_only or account.is_house:
            return None
        return self._find_margin_refusal(account, request, max(0, qty_lots - order.qty_lots))

    def _find_margin_refusal(self, account: Account, request: OrderRequest, qty_lots: int) -> Message | None:
        # Per instrument the larger of what would be held if all resting buys, or all resting sells, filled.
        if qty_lots == 0:
            return None
        exposures_lots = {
            instrument_id: self._compute_exposure_lots(account, instrument_id) for instrument_id in self._marks_px
        }
        before_lots = exposures_lots[request.instrument_id]
        after_lots = self._compute_exposure_lots(account, request.instrument_id, request.side * qty_lots)
        if after_lots <= before_lots:
            return None
        exposures_lots[request.instrument_id] = after_lots
        equity_quote = account.compute_equity_quote(self._marks_px)
        if self._isolated:
            # What is held has its margin set aside; what would add to it takes its own from the rest.
            for instrument_id in self._isolated.list_of(account.account_id):
                held_lots = abs(account.position(instrument_id).qty_lots)
                exposures_lots[instrument_id] = max(0, exposures_lots.get(instrument_id, 0) - held_lots)
            equity_quote = self.cross_state(account.account_id).equity_quote
        is_enough = account.compute_initial_quote(self._marks_px, exposures_lots) <= equity_quote
        return None if is_enough else Message.INSUFFICIENT_MARGIN

    def _compute_exposure_lots(self, account: Account, instrument_id: str, more_lots: int = 0) -> int:
        held_lots = account.position(instrument_id).qty_lots
        open_lots = {Side.BUY.value: max(0, more_lots), Side.SELL.value: max(0, -more_lots)}
        for order in account.open_orders.values():
            if order.request.instrument_id == instrument_id and not order.request.is_reduce_only:
                open_lots[order.request.side] += order.qty_leaves_lots
        return max(abs(held_lots + open_lots[Side.BUY.value]), abs(held_lots - open_lots[Side.SELL.value]))

    def _change_terms(self, order: Order, qty_lots: int, limit_px: float, trigger_px: float, ts_now_ns: int) -> None:
        keeps_place = limit_px == order.limit_px and trigger_px == order.trigger_px and qty_lots <= order.qty_lots
        if order.is_armed and not keeps_place:
            self._withdraw(order)
            self._to_work.append(order)
        super()._change_terms(order, qty_lots, limit_px, trigger_px, ts_now_ns)

    def _liquidate_all(self, ts_now_ns: int) -> None:
        for account in self._accounts.values():
            isolated = self._isolated.list_of(account.account_id) if self._isolated else {}
            for instrument_id in isolated:
                if self._is_sunk(account, instrument_id):
                    self._cancel_all(account, instrument_id, Message.LIQUIDATED, ts_now_ns)
                    self._liquidate(account, instrument_id, ts_now_ns)
            if not self._is_below_maintenance(account):
                continue
            if isolated:
                for instrument_id in self._instruments:
                    if instrument_id not in isolated:
                        self._cancel_all(account, instrument_id, Message.LIQUIDATED, ts_now_ns)
            else:
                self._cancel_all(account, None, Message.LIQUIDATED, ts_now_ns)
            for instrument_id in self._instruments:
                if instrument_id not in isolated:
                    self._liquidate(account, instrument_id, ts_now_ns)

    def _liquidate(self, account: Account, instrument_id: str, ts_now_ns: int) -> None:
        if account.position(instrument_id).qty_lots != 0:
            order = self._make_liquidation(account, instrument_id, ts_now_ns)
            self._match_market(order, FillKind.LIQUIDATION, ts_now_ns)
            self._drain(ts_now_ns)

    def _is_sunk(self, account: Account, instrument_id: str) -> bool:
        # An isolated position that is worth less than its maintenance margin.
        held_lots = abs(account.position(instrument_id).qty_lots)
        if held_lots == 0 or account.is_house:
            return False
        instrument = self._instruments[instrument_id]
        notional_quote = held_lots * instrument.lot_base * self._marks_px[instrument_id]
        equity_quote = self.compute_isolated_equity_quote(account.account_id, instrument_id)
        return equity_quote < notional_quote * instrument.maintenance_margin_frac

    def _is_below_maintenance(self, account: Account) -> bool:
        isolated = self._isolated.list_of(account.account_id) if self._isolated else {}
        if not isolated or account.is_house:
            return super()._is_below_maintenance(account)
        if not any(p.qty_lots for instrument_id, p in account.positions.items() if instrument_id not in isolated):
            return False
        state = self.cross_state(account.account_id)
        return state.equity_quote < state.margin_maintenance_quote

    # What is set aside follows fills and funding.

    def _book_fill(
        self, order: Order, qty_lots: int, fill_px: float, is_maker: bool, kind: FillKind, trade_id: str, ts_ns: int
    ) -> None:
        if not self._isolated:
            super()._book_fill(order, qty_lots, fill_px, is_maker, kind, trade_id, ts_ns)
            return
        account, instrument_id = self._accounts[order.account_id], order.request.instrument_id
        before_lots = account.position(instrument_id).qty_lots
        super()._book_fill(order, qty_lots, fill_px, is_maker, kind, trade_id, ts_ns)
        instrument = self._instruments[instrument_id]
        lot_quote = instrument.lot_base * fill_px / account.leverage(instrument)
        after_lots = account.position(instrument_id).qty_lots
        self._isolated.follow_fill((order.account_id, instrument_id), before_lots, after_lots, lot_quote)

    def _pay_funding(
        self, account: Account, instrument: Instrument, funding_rate: float, index_px: float, ts_ns: int
    ) -> float:
        amount_quote = super()._pay_funding(account, instrument, funding_rate, index_px, ts_ns)
        self._isolated.add((account.account_id, instrument.instrument_id), amount_quote)
        return amount_quote


def _is_post_only(request: OrderRequest) -> bool:
    return request.order_type in LIMIT_TYPES and request.time_in_force is TimeInForce.POST_ONLY


def _get_kind(order: Order) -> FillKind:
    return _KINDS.get(order.request.order_type, FillKind.ORDER)
