"""The paper venue over bars: the exchange machine driven by `apply_bars`, filling by the rules of `market.fills`.

Per interval, for each instrument in order and each account in the order they were opened:
1. funding settled at the bar's opening instant, on the position held, at the open px;
2. market orders submitted since the last bar fill whole at the open px with slippage, taker fee, in order of submission
   (a reduce-only one no further than flat); the children of those entries are armed;
3. funding settled inside the bar, on the position held now, at the open px, stamped one ns after the opening;
4. resting stops, then take-profits, each nearest to the market first, against the bar's range.
After all instruments the mark is the close, and accounts below their maintenance margin are liquidated at the close.

Fills when: as `market.fills` says. Fills and what they cause carry the bar's opening time, liquidations its close.
An entry whose initial margin at its fill exceeds equity (this instrument at the open, others at their last close) is
refused then: OrderAccepted at submission, OrderRejected "insufficient margin" at the bar.
A bar with Quality.MISSING fills nothing and triggers nothing: queued orders stay queued; funding is still paid, and the
account is still checked at the close, which is the last one known.

Does not model: limit orders (refused; a take-profit is one with reduce-only), stops that open a position (refused), and
what `market.fills` and `venues.exchange` name. The other side of every fill is the house.
"""

import math
from collections.abc import Sequence

from market.events import BarsClosed, FillKind, OrderRequest, OrderTriggered, OrderType
from market.fills import Costs, Hit, compute_hit, compute_taker_px
from market.instruments import Instrument
from market.records import Bar, Quality
from venues.accounts import Account
from venues.exchange import Events, Exchange
from venues.lifecycle import OrderStep, apply_step
from venues.orders import Message, Order

HOUSE_ID = "house"


class BarExchange(Exchange):
    """The exchange machine whose prices are bars."""

    def __init__(self, instruments: Sequence[Instrument], costs: Costs) -> None:
        super().__init__(instruments, costs)
        self._queued: dict[int, Order] = {}  # market orders waiting for a bar, by sequence
        self.add_account(HOUSE_ID, 0.0, Costs(0.0, 0.0, 0.0), is_house=True)

    def apply_bars(self, bars: BarsClosed, ts_now_ns: int, instrument_ids: Sequence[str] | None = None) -> Events:
        """Let one interval happen; `bars.bars[i]` is of `instrument_ids[i]`, None: of the i-th instrument.

        Raises ValueError if the bars do not match the instruments, close after `ts_now_ns`, or hold a px or funding
        rate that is not usable; nothing has changed then.
        """
        ids = [*self._instruments] if instrument_ids is None else instrument_ids
        _check_bars(ids, bars, ts_now_ns)
        pairs = [(self._instrument(instrument_id), bar) for instrument_id, bar in zip(ids, bars.bars, strict=True)]
        for instrument, bar in pairs:
            self._marks_px[instrument.instrument_id] = bar.open_px
            for account in self._accounts.values():
                if not account.is_house:
                    self._apply_bar(account, instrument, bar)
        for instrument, bar in pairs:
            self._marks_px[instrument.instrument_id] = bar.close_px
        for account in self._accounts.values():
            if self._is_below_maintenance(account):
                self._liquidate(account, bars.ts_close_ns)
        return self._finish()

    def _apply_bar(self, account: Account, instrument: Instrument, bar: Bar) -> None:
        is_missing = bar.quality & Quality.MISSING.value
        self._settle_funding(account, instrument, bar.funding_open_rate, bar, bar.ts_open_ns)
        if not is_missing:
            self._fill_queued(account, instrument, bar)
        self._settle_funding(account, instrument, bar.funding_inside_rate, bar, bar.ts_open_ns + 1)
        if not is_missing:
            self._test_resting(account, instrument, bar)

    def _settle_funding(
        self, account: Account, instrument: Instrument, funding_rate: float, bar: Bar, ts_ns: int
    ) -> None:
        if funding_rate != 0.0:
            amount_quote = self._pay_funding(account, instrument, funding_rate, bar.open_px, ts_ns)
            self._accounts[HOUSE_ID].book_funding(-amount_quote)

    def _fill_queued(self, account: Account, instrument: Instrument, bar: Bar) -> None:
        for order in [*self._queued.values()]:
            request = order.request
            if order.account_id != account.account_id or request.instrument_id != instrument.instrument_id:
                continue
            if not order.status.is_open:
                continue  # the fill of one before it closed the position
            fill_px = compute_taker_px(bar.open_px, request.side, account.costs.slippage_bps)
            qty_lots = self._compute_fillable_lots(order)
            if not self._has_margin(account, instrument, request.side * qty_lots, fill_px):
                self._reject_at_match(order, Message.INSUFFICIENT_MARGIN, bar.ts_open_ns)
                continue
            self._queued.pop(order.sequence)
            self._fill(order, qty_lots, fill_px, False, FillKind.ORDER, bar.ts_open_ns)

    def _has_margin(self, account: Account, instrument: Instrument, qty_lots: int, fill_px: float) -> bool:
        instrument_id = instrument.instrument_id
        exposures_lots = {other: abs(position.qty_lots) for other, position in account.positions.items()}
        lots_after = abs(account.position(instrument_id).qty_lots + qty_lots)
        if lots_after <= exposures_lots.get(instrument_id, 0):
            return True
        equity_quote = account.compute_equity_quote(self._marks_px)
        required_quote = account.compute_initial_quote(
            {**self._marks_px, instrument_id: fill_px}, {**exposures_lots, instrument_id: lots_after}
        )
        return required_quote <= equity_quote

    def _test_resting(self, account: Account, instrument: Instrument, bar: Bar) -> None:
        instrument_id, ts_ns = instrument.instrument_id, bar.ts_open_ns
        for order in self._list_protective(account, instrument_id, OrderType.STOP_MARKET):
            held_lots = account.position(instrument_id).qty_lots
            hit, px = compute_hit(held_lots, order.trigger_px, 0.0, bar.open_px, bar.high_px, bar.low_px)
            if not order.status.is_open or hit != Hit.STOP.value:
                continue
            request = order.request
            order.status = apply_step(order.status, OrderStep.TRIGGER)
            triggered = OrderTriggered(request.client_order_id, order.venue_order_id, ts_ns, request.cause_id)
            self._emit(order.account_id, triggered)
            fill_px = compute_taker_px(px, request.side, account.costs.slippage_bps)
            self._fill(order, self._compute_fillable_lots(order), fill_px, False, FillKind.STOP, ts_ns)
        for order in self._list_protective(account, instrument_id, OrderType.TAKE_PROFIT_LIMIT):
            held_lots = account.position(instrument_id).qty_lots
            hit, px = compute_hit(held_lots, 0.0, order.limit_px, bar.open_px, bar.high_px, bar.low_px)
            if order.status.is_open and hit == Hit.TAKE_PROFIT.value:
                self._fill(order, self._compute_fillable_lots(order), px, True, FillKind.TAKE_PROFIT, ts_ns)

    def _list_protective(self, account: Account, instrument_id: str, order_type: OrderType) -> list[Order]:
        # Nearest to the market first; of equal ones the older.
        orders = [
            order
            for order in account.open_orders.values()
            if order.is_armed
            and order.request.order_type is order_type
            and order.request.instrument_id == instrument_id
        ]
        # A stop that sells lies below the market, a take-profit that sells above it.
        return sorted(
            orders,
            key=lambda order: (order.trigger_px if order.is_stop else -order.limit_px) * order.request.side,
        )

    def _liquidate(self, account: Account, ts_ns: int) -> None:
        self._cancel_all(account, None, Message.LIQUIDATED, ts_ns)
        for instrument_id in self._instruments:
            if account.position(instrument_id).qty_lots != 0:
                order = self._make_liquidation(account, instrument_id, ts_ns)
                close_px = self._marks_px[instrument_id]
                fill_px = compute_taker_px(close_px, order.request.side, account.costs.slippage_bps)
                self._fill(order, order.qty_lots, fill_px, False, FillKind.LIQUIDATION, ts_ns)

    def _fill(self, order: Order, qty_lots: int, fill_px: float, is_maker: bool, kind: FillKind, ts_ns: int) -> None:
        self._trades += 1
        self._book_fill(order, qty_lots, fill_px, is_maker, kind, str(self._trades), ts_ns)
        instrument = self._instruments[order.request.instrument_id]
        house_lots = -order.request.side * qty_lots
        self._accounts[HOUSE_ID].book_fill(instrument, house_lots, fill_px, not is_maker, ts_ns)
        self._follow_fill(order, ts_ns)
        self._drain(ts_ns)

    def _find_refusal(self, account: Account, request: OrderRequest, is_child: bool = False) -> Message | None:
        refusal = super()._find_refusal(account, request, is_child)
        if refusal is not None:
            return refusal
        is_stop_entry = request.order_type is OrderType.STOP_MARKET and not request.is_reduce_only
        return Message.UNSUPPORTED if is_stop_entry or request.order_type is OrderType.LIMIT else None

    def _work(self, order: Order, ts_now_ns: int) -> None:
        if order.request.order_type is OrderType.MARKET:
            self._queued[order.sequence] = order

    def _withdraw(self, order: Order) -> None:
        self._queued.pop(order.sequence, None)


def _check_bars(instrument_ids: Sequence[str], bars: BarsClosed, ts_now_ns: int) -> None:
    if len(instrument_ids) != len(bars.bars) or len(set(instrument_ids)) != len(instrument_ids):
        raise ValueError(f"got {len(bars.bars)} bars for instruments {[*instrument_ids]}: one each, in this order")
    if bars.ts_close_ns > ts_now_ns:
        raise ValueError(f"bars close at {bars.ts_close_ns} ns, after now, {ts_now_ns} ns: a bar is known at its close")
    for instrument_id, bar in zip(instrument_ids, bars.bars, strict=True):
        pxs = (bar.open_px, bar.high_px, bar.low_px, bar.close_px)
        is_usable = all(math.isfinite(px) and px > 0.0 for px in pxs)
        if not (is_usable and math.isfinite(bar.funding_open_rate) and math.isfinite(bar.funding_inside_rate)):
            raise ValueError(
                f"bar of {instrument_id} at {bar.ts_open_ns} ns has a px or funding rate that is not usable: {bar}"
            )
