"""The memory of stateful orders (long-term, conditional): what waits in the mempool, what is in the chain's state.

CheckTx adds to the uncommitted sets; `deliver_*` applies what a block includes; `begin_block` empties the uncommitted
sets, after which what is still in the mempool must be checked again. A long-term order is matched in the block after
the one that includes it; that, and triggering by the oracle price, is the caller's.
Replacing a stateful order is refused (3005): v4-chain's keeper says "stateful order replacement is not supported".
Source: PROTOCOLS.md 2.4; v4-chain x/clob/keeper/orders.go, msg_server_place_order.go, msg_server_cancel_orders.go.
"""

from collections.abc import Mapping
from decimal import Decimal

from venues.dydx.chain_errors import ChainError, TxRefusal
from venues.dydx.order_terms import CancelOrder, Order, OrderId, SubaccountId, show_order, show_order_id
from venues.dydx.rules import (
    ChainRules,
    check_book_terms,
    check_equity_tier,
    check_good_til_block_time,
    check_trigger_terms,
)
from venues.dydx.units import ClobUnits

UNLIMITED_QUOTE = Decimal(10) ** 18


class StatefulMemory:
    """The stateful orders of one chain."""

    def __init__(self, books: Mapping[int, ClobUnits], rules: ChainRules | None = None) -> None:
        """Begin empty."""
        self._books = books
        self._rules = rules or ChainRules()
        self._committed: dict[OrderId, Order] = {}
        self._placing: dict[OrderId, Order] = {}
        self._canceling: dict[OrderId, CancelOrder] = {}
        self._canceled_in_block: set[OrderId] = set()
        self._removed_in_block: set[OrderId] = set()

    def find_order(self, order_id: OrderId) -> Order | None:
        """Return the order in the chain's state."""
        return self._committed.get(order_id)

    def list_orders(self) -> list[Order]:
        """Return the orders in the chain's state, in the order of their placement."""
        return list(self._committed.values())

    def count_open(self, subaccount: SubaccountId) -> int:
        """Return how many orders count against a subaccount's equity tier: committed and waiting ones."""
        ids = self._committed.keys() | self._placing.keys()
        return sum(order_id.subaccount == subaccount for order_id in ids)

    def place(
        self,
        order: Order,
        block_time_s: int,
        *,
        net_collateral_quote: Decimal = UNLIMITED_QUOTE,
        has_collateral: bool = True,
    ) -> TxRefusal | None:
        """Take a placement into the mempool."""
        refusal = (
            check_book_terms(order, self._books)
            or check_good_til_block_time(order.good_til_block_time_s, block_time_s, self._rules.stateful_window_s)
            or self._check_is_new(order)
            or check_trigger_terms(order, self._books[order.order_id.clob_pair_id])
            or check_equity_tier(
                order, self.count_open(order.order_id.subaccount), net_collateral_quote, self._rules.equity_tiers
            )
        )
        if refusal:
            return refusal
        if not has_collateral:
            return ChainError.STATEFUL_COLLATERAL.refuse(
                f"PlaceStatefulOrder: order ({show_order(order)}), result (NewlyUndercollateralized)"
            )
        self._placing[order.order_id] = order
        return None

    def _check_is_new(self, order: Order) -> TxRefusal | None:
        order_id = order.order_id
        cancel = self._canceling.get(order_id)
        if cancel is not None:
            return ChainError.STATEFUL_CANCELED.refuse(
                "An uncommitted stateful order cancellation with this OrderId already exists. "
                f"Existing order cancellation: ({_show_cancel(cancel)}). New order: ({show_order(order)})."
            )
        for known, article in ((self._placing, "An uncommitted"), (self._committed, "A")):
            existing = known.get(order_id)
            if existing is not None:
                return ChainError.STATEFUL_EXISTS.refuse(
                    f"{article} stateful order with this OrderId already exists and stateful order replacement is not"
                    f" supported. Existing order GoodTilBlockTime ({existing.good_til_block_time_s}),"
                    f" New order GoodTilBlockTime ({order.good_til_block_time_s})."
                    f" Existing order: ({show_order(existing)}). New order: ({show_order(order)})."
                )
        return None

    def cancel(self, cancel: CancelOrder, block_time_s: int) -> TxRefusal | None:
        """Take a cancel into the mempool."""
        order_id, good_til_s = cancel.order_id, cancel.good_til_block_time_s
        if good_til_s <= block_time_s:
            return ChainError.TIME_EXCEEDS_GOOD_TIL.refuse()
        end_s = block_time_s + self._rules.stateful_window_s
        if good_til_s > end_s:
            return ChainError.EXCEEDS_STATEFUL_WINDOW.refuse(
                f"GoodTilBlockTime {good_til_s} exceeds the previous blockTime plus StatefulOrderTimeWindow {end_s}."
                f" MsgCancelOrder: {_show_cancel(cancel)}"
            )
        waiting = self._canceling.get(order_id)
        if waiting is not None:
            return ChainError.STATEFUL_CANCEL_EXISTS.refuse(
                "An uncommitted stateful order cancellation with this OrderId already exists and stateful order"
                " cancellation replacement is not supported. Existing order cancellation GoodTilBlockTime"
                f" ({waiting.good_til_block_time_s}), New order cancellation GoodTilBlockTime ({good_til_s})."
                f" Existing order cancellation: ({_show_cancel(waiting)}). New order cancellation:"
                f" ({_show_cancel(cancel)})."
            )
        order = self._committed.get(order_id) or self._placing.get(order_id)
        if order is None:
            return ChainError.STATEFUL_UNKNOWN.refuse(
                f"Order Id to cancel does not exist. OrderId : {show_order_id(order_id)}"
            )
        if good_til_s < order.good_til_block_time_s:
            return ChainError.INVALID_STATEFUL_CANCEL.refuse(
                "cancellation goodTilBlockTime less than stateful order goodTilBlockTime."
                f" cancellation {_show_cancel(cancel)}, order {show_order(order)}"
            )
        self._canceling[order_id] = cancel
        return None

    def deliver_place(self, order: Order) -> TxRefusal | None:
        """Put an order of a block into the state."""
        order_id = order.order_id
        if order_id in self._canceled_in_block:
            return ChainError.STATEFUL_CANCELED.refuse(f"PlaceOrder: order ({show_order(order)})")
        if order_id in self._removed_in_block:
            return ChainError.STATEFUL_REMOVED.refuse(f"PlaceOrder: order ({show_order(order)})")
        if order_id in self._committed:
            return ChainError.STATEFUL_EXISTS.refuse(f"PlaceOrder: order ({show_order(order)})")
        self._committed[order_id] = order
        return None

    def deliver_cancel(self, cancel: CancelOrder) -> Order | TxRefusal:
        """Take an order out of the state by a block's cancel; return it."""
        order_id = cancel.order_id
        order = self._committed.get(order_id)
        if order is None:
            is_removed = order_id in self._removed_in_block
            error = ChainError.STATEFUL_CANCEL_OF_REMOVED if is_removed else ChainError.STATEFUL_UNKNOWN
            return error.refuse(f"Order Id to cancel does not exist. OrderId : {show_order_id(order_id)}")
        del self._committed[order_id]
        self._canceled_in_block.add(order_id)
        return order

    def remove(self, order_id: OrderId) -> Order | None:
        """Take an order out of the state for the chain's own reasons: filled, undercollateralized, self-trade."""
        order = self._committed.pop(order_id, None)
        if order is not None:
            self._removed_in_block.add(order_id)
        return order

    def begin_block(self) -> None:
        """Empty what waited and what the last block did; the mempool's rest must be checked again."""
        self._placing.clear()
        self._canceling.clear()
        self._canceled_in_block.clear()
        self._removed_in_block.clear()

    def expire(self, block_time_s: int) -> list[Order]:
        """Return, and take out, the orders whose good-til-block-time this block's time has reached."""
        expired = [order for order in self._committed.values() if order.good_til_block_time_s <= block_time_s]
        for order in expired:
            self.remove(order.order_id)
        return expired


def _show_cancel(cancel: CancelOrder) -> str:
    return f"{{OrderId:{show_order_id(cancel.order_id)} GoodTilOneof:{cancel.good_til_block_time_s}}}"
