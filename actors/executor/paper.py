"""The paper venue as the executor reaches it: the exchange machine over bars, in the executor's own process."""

from actors.executor.machine import AdvanceVenue, ModifyStop, QueryOrder, SubmitOrders, VenueInstruction
from actors.messages import VenueReported
from actors.plan import Plan
from market.events import OrderAccepted, OrderCanceled, OrderModified, OrderRejected, VenueEvent
from venues.bar_exchange import BarExchange
from venues.exchange import Events
from venues.lifecycle import OrderStatus
from venues.orders import OrderReport

_ACCOUNT = "trireme"


class PaperVenue:
    """One account at a `BarExchange`. The same instructions make the same reports, so that a restart rebuilds it."""

    def __init__(self, plan: Plan) -> None:
        self._exchange = BarExchange(plan.instruments, plan.costs)
        self._exchange.add_account(_ACCOUNT, plan.equity_start_quote)
        self._instrument_ids = tuple(instrument.instrument_id for instrument in plan.instruments)

    def perform(self, instruction: VenueInstruction, ts_now_ns: int) -> VenueReported:
        """Do what the executor asks and return everything that it caused."""
        exchange = self._exchange
        match instruction:
            case SubmitOrders(requests=requests):
                events = exchange.submit(_ACCOUNT, requests, ts_now_ns, group=len(requests) > 1)
            case ModifyStop(client_order_id=client_order_id, trigger_px=trigger_px):
                events = exchange.modify(_ACCOUNT, client_order_id, ts_now_ns, trigger_px=trigger_px)
            case QueryOrder(client_order_id=client_order_id):
                return self._query(client_order_id, ts_now_ns)
            case AdvanceVenue(bars=bars):
                events = exchange.apply_bars(bars, bars.ts_close_ns)
                return VenueReported(self._ours(events), bars.ts_close_ns, self.list_positions())
        return VenueReported(self._ours(events))

    def _query(self, client_order_id: str, ts_now_ns: int) -> VenueReported:
        # What the venue does not know was never taken; what it knows is told again, from its acceptance to its end.
        order = self._exchange.order_status(_ACCOUNT, client_order_id)
        if order is None:
            return VenueReported((OrderRejected(client_order_id, "never placed", ts_now_ns),))
        if order.status is OrderStatus.REJECTED:
            return VenueReported((OrderRejected(client_order_id, "rejected", ts_now_ns, order.cause_id),))
        venue_order_id, cause_id = order.venue_order_id, order.cause_id
        events: list[VenueEvent] = [OrderAccepted(client_order_id, venue_order_id, order.ts_accepted_ns, cause_id)]
        fills = self._exchange.fills_since(_ACCOUNT, 0)
        events += [fill for fill in fills if fill.client_order_id == client_order_id]
        if order.status is OrderStatus.CANCELED:
            events.append(OrderCanceled(client_order_id, venue_order_id, "canceled", ts_now_ns, cause_id))
        elif order.status.is_open:
            terms = (order.qty_lots, order.limit_px, order.trigger_px)
            events.append(OrderModified(client_order_id, venue_order_id, *terms, ts_now_ns, cause_id))
        return VenueReported(tuple(events))

    def list_positions(self) -> tuple[tuple[str, int], ...]:
        """Return (instrument_id, qty_lots) of every open position."""
        return tuple(
            (instrument_id, qty_lots)
            for instrument_id in self._instrument_ids
            if (qty_lots := self._exchange.position(_ACCOUNT, instrument_id).qty_lots) != 0
        )

    def list_orders(self, instrument_id: str) -> list[OrderReport]:
        """Return what is open at an instrument, children that wait for their entry included."""
        return self._exchange.open_orders(_ACCOUNT, instrument_id)

    @property
    def equity_quote(self) -> float:
        """What the venue says the account is worth [quote]."""
        return self._exchange.account_state(_ACCOUNT).equity_quote

    @property
    def cash_quote(self) -> float:
        """What the venue says the account's cash is [quote]."""
        return self._exchange.account_state(_ACCOUNT).cash_quote

    @staticmethod
    def _ours(events: Events) -> tuple[VenueEvent, ...]:
        return tuple(event for account_id, event in events if account_id == _ACCOUNT)
