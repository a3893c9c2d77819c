"""The memory of short-term orders: the placements, replacements, cancels and fills a node knows until they expire.

Pure over the height: no clock. The book itself and its matching lie elsewhere: the caller reports fills and removals.
An order lives until its good-til-block is committed; a cancel of an unknown order is remembered until its own, and
forbids placing that id up to it; a fill is remembered a window longer, so that a replacement keeps it.
Source: PROTOCOLS.md 2.4; v4-chain x/clob/memclob/memclob.go (validateNewOrder, validateReplacement, CancelOrder).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from venues.dydx.chain_errors import ChainError, TxRefusal
from venues.dydx.order_terms import BatchCancel, Order, OrderId, hash_order, show_order
from venues.dydx.rules import SHORT_BLOCK_WINDOW, check_book_terms, check_good_til_block
from venues.dydx.units import ClobUnits


@dataclass(frozen=True, slots=True)
class Placement:
    """An order that was taken: how much of it may still fill, and the order it replaces, whose rest is gone."""

    order: Order
    remaining_quantums: int
    replaced: Order | None


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A cancel that was taken; `removed` is None if there was nothing (or too long-lived an order) to remove."""

    order_id: OrderId
    removed: Order | None


@dataclass(frozen=True, slots=True)
class BatchCancellation:
    """A batch cancel that was taken, at least in part."""

    done: tuple[Cancellation, ...]
    failed_client_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Filled:
    quantums: int
    forget_at_height: int


def check_replacement(existing: Order, new: Order) -> TxRefusal | None:
    """Check that an order may take another's place: only size, price and a later good-til may differ.

    At the same good-til the chain lets the larger order hash win: a lottery that no client should play.
    """
    old_til = (existing.good_til_block, existing.good_til_block_time_s)
    new_til = (new.good_til_block, new.good_til_block_time_s)
    is_comparable = not existing.extra_fields and not new.extra_fields
    is_later = new_til > old_til or (new_til == old_til and is_comparable and hash_order(new) > hash_order(existing))
    if not is_later:
        return ChainError.INVALID_REPLACEMENT.refuse(
            "New order cannot reduce the GoodTilBlock or GoodTilBlockTime of existing order"
        )
    if existing.side != new.side:
        return ChainError.INVALID_REPLACEMENT.refuse("New order cannot change the Side of the existing order")
    if existing.time_in_force != new.time_in_force:
        return ChainError.INVALID_REPLACEMENT.refuse("New order cannot change the TimeInForce of the existing order")
    if existing.is_reduce_only != new.is_reduce_only:
        return ChainError.INVALID_REPLACEMENT.refuse(
            "New order cannot change the ReduceOnly field of the existing order"
        )
    return None


class ShortTermMemory:
    """One node's memory of short-term orders."""

    def __init__(self, books: Mapping[int, ClobUnits], window: int = SHORT_BLOCK_WINDOW) -> None:
        """Begin empty; `books` may change from outside (a status), as the same mapping is looked at each time."""
        self._books = books
        self._window = window
        self._orders: dict[OrderId, Order] = {}
        self._cancels: dict[OrderId, int] = {}
        self._fills: dict[OrderId, _Filled] = {}

    def find_order(self, order_id: OrderId) -> Order | None:
        """Return the open order of that id."""
        return self._orders.get(order_id)

    def list_orders(self) -> list[Order]:
        """Return the open orders, oldest first."""
        return list(self._orders.values())

    def get_filled_quantums(self, order_id: OrderId) -> int:
        """Return how much of an id was filled, over all its replacements."""
        filled = self._fills.get(order_id)
        return filled.quantums if filled else 0

    def get_cancel(self, order_id: OrderId) -> int:
        """Return the good-til-block of a remembered cancel, 0 if there is none."""
        return self._cancels.get(order_id, 0)

    def place(self, order: Order, height: int, position_quantums: int = 0) -> Placement | TxRefusal:
        """Take an order at the last block's height, given the signed position of its subaccount on that book.

        An immediate order is remembered too: the caller matches it and then `remove`s what is left.
        """
        refusal = check_book_terms(order, self._books) or check_good_til_block(
            order.good_til_block, height, self._window
        )
        if refusal:
            return refusal
        order_id = order.order_id
        cancel_til = self._cancels.get(order_id, 0)
        if cancel_til >= order.good_til_block:
            return ChainError.ORDER_IS_CANCELED.refuse(
                f"Order: {show_order(order)}, Cancellation GoodTilBlock: {cancel_til}"
            )
        existing = self._orders.get(order_id)
        refusal = (check_replacement(existing, order) if existing else None) or self._check_rest(
            order, existing, position_quantums
        )
        if refusal:
            return refusal
        self._orders.pop(order_id, None)  # a replacement goes to the end of the queue
        self._orders[order_id] = order
        return Placement(order, order.quantums - self.get_filled_quantums(order_id), existing)

    def _check_rest(self, order: Order, existing: Order | None, position_quantums: int) -> TxRefusal | None:
        filled = self.get_filled_quantums(order.order_id)
        remaining = max(0, order.quantums - filled)
        if remaining < self._books[order.order_id.clob_pair_id].step_base_quantums:
            return ChainError.ORDER_FULLY_FILLED.refuse(
                "Order remaining amount is less than `MinOrderBaseQuantums`. "
                f"Remaining amount: {remaining}. Order: {show_order(order)}"
            )
        sign = 1 if order.side == 1 else -1
        if order.is_reduce_only and sign * position_quantums >= 0:
            return ChainError.REDUCE_ONLY_INCREASES.refuse()
        if order.is_immediate and filled:
            if existing:
                return ChainError.INVALID_REPLACEMENT.refuse(
                    f"Cannot replace partially filled order with IOC order. Size: {order.quantums},"
                    f" Fill Amount: {filled}."
                )
            return ChainError.IOC_ALREADY_FILLED.refuse(f"Order: {show_order(order)}")
        return None

    def cancel(self, order_id: OrderId, good_til_block: int, height: int) -> Cancellation | TxRefusal:
        """Take a cancel; unknown orders are fine. An order that outlives the cancel stays open."""
        refusal = check_good_til_block(good_til_block, height, self._window)
        if refusal:
            return refusal
        if order_id.clob_pair_id not in self._books:
            return ChainError.INVALID_CLOB.refuse(f"Clob {order_id.clob_pair_id} is not a valid clob")
        if self._cancels.get(order_id, 0) >= good_til_block:
            return ChainError.CANCEL_ALREADY_EXISTS.refuse()
        self._cancels[order_id] = good_til_block
        order = self._orders.get(order_id)
        if order is None or order.good_til_block > good_til_block:
            return Cancellation(order_id, None)
        del self._orders[order_id]
        return Cancellation(order_id, order)

    def cancel_batch(self, batch: BatchCancel, height: int) -> BatchCancellation | TxRefusal:
        """Take a batch cancel: each by itself; refused only if every one failed, or for the batch's own terms."""
        refusal = check_good_til_block(batch.good_til_block, height, self._window)
        if refusal:
            return refusal
        for one in batch.batches:
            if one.clob_pair_id not in self._books:
                return ChainError.INVALID_CLOB_PARAMETER.refuse(f"Invalid clob pair id {one.clob_pair_id}")
        done: list[Cancellation] = []
        failed: list[int] = []
        for one in batch.batches:
            for client_id in one.client_ids:
                order_id = OrderId(batch.subaccount, client_id, clob_pair_id=one.clob_pair_id)
                outcome = self.cancel(order_id, batch.good_til_block, height)
                if isinstance(outcome, TxRefusal):
                    failed.append(client_id)
                else:
                    done.append(outcome)
        if not done:
            shown = " ".join(map(str, failed))
            return ChainError.BATCH_CANCEL_FAILED.refuse(f"No successful cancellations. Failures: [{shown}]")
        return BatchCancellation(tuple(done), tuple(failed))

    def note_fill(self, order_id: OrderId, quantums: int) -> int:
        """Count a fill of an open order; return what is left of it. Filled to less than a step, it is gone.

        Raises: ValueError if the order is not open or would be overfilled.
        """
        order = self._orders.get(order_id)
        filled = self.get_filled_quantums(order_id) + quantums
        if order is None or quantums <= 0 or filled > order.quantums:
            raise ValueError(f"fill of {quantums} quantums does not fit order {order_id}: it is {order}")
        self._fills[order_id] = _Filled(filled, order.good_til_block + self._window)
        remaining = order.quantums - filled
        if remaining < self._books[order_id.clob_pair_id].step_base_quantums:
            del self._orders[order_id]
        return remaining

    def remove(self, order_id: OrderId) -> Order | None:
        """Forget an open order: an immediate one's rest, a self-trade, a lack of collateral."""
        return self._orders.pop(order_id, None)

    def end_block(self, height: int) -> list[Order]:
        """Commit a block: return the orders that expired with it, and forget old cancels and fills."""
        expired = [order for order in self._orders.values() if order.good_til_block <= height]
        for order in expired:
            del self._orders[order.order_id]
        self._cancels = {order_id: til for order_id, til in self._cancels.items() if til > height}
        self._fills = {order_id: one for order_id, one in self._fills.items() if one.forget_at_height > height}
        return expired
