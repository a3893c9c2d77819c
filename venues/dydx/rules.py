"""The chain's rules for orders and cancels: each check returns the chain's refusal, or None if it passes.

`check_message` needs nothing but the message (ValidateBasic: before replay protection and signature); the others need
the book, the height or the block time. The order of the checks is the chain's, for it decides which code is seen.
Source: PROTOCOLS.md 2.4, 2.6, 2.9; v4-chain x/clob/types/message_*.go, x/clob/keeper/orders.go.
Does not cover: the terms of TWAP orders (only that there are some), order router addresses, isolated markets (2005).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from venues.dydx.chain_errors import ChainError, TxRefusal
from venues.dydx.order_terms import (
    CONDITIONAL,
    LONG_TERM,
    TWAP,
    BatchCancel,
    CancelOrder,
    ChainMessage,
    ConditionType,
    Order,
    PlaceOrder,
    Side,
    SubaccountId,
    TimeInForce,
    UnsupportedMessage,
    show_order_id,
)
from venues.dydx.signing import explain_bad_address
from venues.dydx.units import ACTIVE, ClobUnits

SUBACCOUNT_NUMBER_MAX = 128_000
BATCH_CANCEL_MAX = 100
BUILDER_FEE_PPM_MAX = 10_000
STATEFUL_WINDOW_S = 95 * 24 * 3600
SHORT_BLOCK_WINDOW = 40  # 20 in the docs and the SDK, 30 in older chains
SHORT_BLOCK_WINDOW_SAFE = 20  # what a client may count on, whatever the chain's version


@dataclass(frozen=True, slots=True)
class ChainRules:
    """What governance and versions change."""

    short_block_window: int = SHORT_BLOCK_WINDOW
    stateful_window_s: int = STATEFUL_WINDOW_S
    # (blocks, attempts) per owner, all its subaccounts together; empty: no limit.
    short_term_limits: tuple[tuple[int, int], ...] = ((5, 4000),)
    stateful_limits: tuple[tuple[int, int], ...] = ((1, 2), (100, 20))
    # (net collateral of at least [quote], open stateful orders at most), ascending; empty: no limit.
    equity_tiers: tuple[tuple[Decimal, int], ...] = (
        (Decimal(0), 0),
        (Decimal(20), 10),
        (Decimal(100), 20),
        (Decimal(1_000), 40),
        (Decimal(10_000), 100),
        (Decimal(100_000), 200),
    )


def _check_subaccount(subaccount: SubaccountId) -> TxRefusal | None:
    problem = explain_bad_address(subaccount.owner)
    if problem:
        return ChainError.SUBACCOUNT_OWNER.refuse(
            f"invalid SubaccountId Owner address ({subaccount.owner}). Error: ({problem})"
        )
    if subaccount.number > SUBACCOUNT_NUMBER_MAX:
        return ChainError.SUBACCOUNT_NUMBER.refuse()
    return None


def _check_enums(order: Order) -> TxRefusal | None:
    if order.side not in tuple(Side):
        return ChainError.ORDER_SIDE.refuse(f"invalid order side ({order.side})")
    if order.time_in_force not in tuple(TimeInForce):
        return ChainError.TIME_IN_FORCE.refuse(f"invalid time in force ({order.time_in_force})")
    if order.condition_type not in tuple(ConditionType):
        return ChainError.CONDITION_TYPE.refuse(f"invalid condition type ({order.condition_type})")
    if order.side == Side.UNSPECIFIED:
        return ChainError.ORDER_SIDE.refuse("UNSPECIFIED is not a valid order side")
    return None


def _check_good_til_fields(order: Order) -> TxRefusal | None:
    order_id = order.order_id
    if order_id.is_short_term:
        if order.good_til_block == 0:
            return ChainError.GOOD_TIL_BLOCK.refuse("order goodTilBlock cannot be 0")
    elif order_id.is_stateful:
        if order.good_til_block_time_s == 0:
            return ChainError.GOOD_TIL_BLOCK_TIME.refuse("stateful order goodTilBlockTime cannot be 0")
    else:
        return ChainError.ORDER_FLAGS.refuse(f"invalid order flag {order_id.order_flags}")
    if order_id.order_flags == LONG_TERM and order.is_immediate:
        return ChainError.STATEFUL_IMMEDIATE.refuse()
    if order.is_reduce_only and not order.is_immediate:
        return ChainError.REDUCE_ONLY_DISABLED.refuse("reduce only orders must be short term IOC orders")
    return None


def _check_condition(order: Order) -> TxRefusal | None:
    if order.order_id.order_flags == CONDITIONAL:
        if order.condition_type == ConditionType.UNSPECIFIED:
            return ChainError.CONDITION_TYPE.refuse("condition type cannot be unspecified")
        if order.trigger_subticks == 0:
            return ChainError.TRIGGER_SUBTICKS.refuse("conditional order trigger subticks cannot be 0")
        return None
    if order.condition_type != ConditionType.UNSPECIFIED:
        return ChainError.CONDITION_TYPE.refuse("condition type specified for non-conditional order")
    if order.trigger_subticks != 0:
        return ChainError.TRIGGER_SUBTICKS.refuse(
            "conditional order trigger subticks greater than 0 for non-conditional order"
        )
    return None


def _check_builder(order: Order) -> TxRefusal | None:
    if not order.has_builder_code:
        return None
    problem = explain_bad_address(order.builder_address)
    if problem:
        return ChainError.INVALID_BUILDER_CODE.refuse(
            f"builder code address '{order.builder_address}' must be a valid bech32 address, but got error '{problem}'"
        )
    if not 0 < order.builder_fee_ppm <= BUILDER_FEE_PPM_MAX:
        return ChainError.INVALID_BUILDER_CODE.refuse(
            f"builder code fee ppm '{order.builder_fee_ppm}' must be in the range (0, {BUILDER_FEE_PPM_MAX}]"
        )
    return None


def check_order(order: Order) -> TxRefusal | None:
    """Check what an order says, by itself."""
    if order.time_in_force == TimeInForce.FILL_OR_KILL:
        return ChainError.DEPRECATED_FIELD.refuse("Fill-or-kill has been deprecated")
    refusal = _check_subaccount(order.order_id.subaccount) or _check_enums(order)
    if refusal:
        return refusal
    if order.quantums == 0:
        return ChainError.ORDER_QUANTUMS.refuse("order size quantums cannot be 0")
    refusal = _check_good_til_fields(order)
    if refusal:
        return refusal
    is_twap = order.order_id.order_flags == TWAP
    if order.subticks == 0 and not is_twap:
        return ChainError.ORDER_SUBTICKS.refuse("order subticks cannot be 0 for this order type")
    refusal = _check_condition(order) or _check_builder(order)
    if refusal is None and is_twap and not order.extra_fields:
        return ChainError.INVALID_PLACE_ORDER.refuse("TWAP order must have a TWAP config")
    return refusal


def check_cancel(cancel: CancelOrder) -> TxRefusal | None:
    """Check what a cancel says, by itself."""
    order_id = cancel.order_id
    refusal = _check_subaccount(order_id.subaccount)
    if refusal:
        return refusal
    shown = show_order_id(order_id)
    if not order_id.is_short_term and not order_id.is_stateful:
        return ChainError.ORDER_FLAGS.refuse(f"orderId: {shown}")
    if order_id.is_stateful:
        if cancel.good_til_block_time_s == 0:
            return ChainError.GOOD_TIL_BLOCK_TIME.refuse(f"stateful cancellation goodTilBlockTime cannot be 0, {shown}")
    elif cancel.good_til_block == 0:
        return ChainError.GOOD_TIL_BLOCK.refuse(f"cancellation goodTilBlock cannot be 0, orderId {shown}")
    return None


def check_batch_cancel(batch: BatchCancel) -> TxRefusal | None:
    """Check what a batch cancel says, by itself."""
    refusal = _check_subaccount(batch.subaccount)
    if refusal:
        return refusal
    count = 0
    for one in batch.batches:
        count += len(one.client_ids)
        seen: set[int] = set()
        for client_id in one.client_ids:
            if client_id in seen:
                return ChainError.INVALID_BATCH_CANCEL.refuse(
                    "Batch cancel cannot have duplicate cancels. Duplicate clob pair id: "
                    f"{one.clob_pair_id}, client id: {client_id}"
                )
            seen.add(client_id)
    if count > BATCH_CANCEL_MAX:
        return ChainError.INVALID_BATCH_CANCEL.refuse(
            f"Batch cancel cannot have over {BATCH_CANCEL_MAX} orders. Order count: {count}"
        )
    return None


def check_message(message: ChainMessage) -> TxRefusal | None:
    """Check a message by itself, as the chain does before anything else."""
    match message:
        case PlaceOrder():
            return check_order(message.order)
        case CancelOrder():
            return check_cancel(message)
        case BatchCancel():
            return check_batch_cancel(message)
        case UnsupportedMessage():
            return None


def check_book_terms(order: Order, books: Mapping[int, ClobUnits]) -> TxRefusal | None:
    """Check an order against its book: that it exists, ticks, steps, and that it takes orders."""
    units = books.get(order.order_id.clob_pair_id)
    if units is None:
        return ChainError.INVALID_CLOB.refuse(f"Clob {order.order_id.clob_pair_id} is not a valid clob")
    if order.subticks % units.subticks_per_tick:
        return ChainError.INVALID_PLACE_ORDER.refuse(
            f"Order subticks {order.subticks} must be a multiple of the ClobPair's"
            f" SubticksPerTick {units.subticks_per_tick}"
        )
    if order.quantums % units.step_base_quantums:
        return ChainError.INVALID_PLACE_ORDER.refuse(
            f"Order Quantums {order.quantums} must be a multiple of the ClobPair's"
            f" StepBaseQuantums {units.step_base_quantums}"
        )
    if units.status != ACTIVE:
        return ChainError.CONFLICTS_WITH_STATUS.refuse(
            f"Order {show_order_id(order.order_id)} conflicts with ClobPair status {units.status}"
        )
    return None


def check_trigger_terms(order: Order, units: ClobUnits) -> TxRefusal | None:
    """Check a conditional order's trigger against the tick. (The chain's text names the step by mistake; so do we.)"""
    if order.order_id.order_flags == CONDITIONAL and order.trigger_subticks % units.subticks_per_tick:
        return ChainError.INVALID_PLACE_ORDER.refuse(
            f"Conditional order trigger subticks {order.trigger_subticks} must be a multiple of the ClobPair's"
            f" SubticksPerTick {units.step_base_quantums}"
        )
    return None


def check_good_til_block(good_til_block: int, height: int, window: int = SHORT_BLOCK_WINDOW) -> TxRefusal | None:
    """Check height + 1 <= good-til-block <= height + 1 + window, `height` being the last block's."""
    next_height = height + 1
    if good_til_block < next_height:
        return ChainError.HEIGHT_EXCEEDS_GOOD_TIL_BLOCK.refuse(
            f"GoodTilBlock {good_til_block} is less than the current blockHeight {next_height}"
        )
    if good_til_block > next_height + window:
        return ChainError.EXCEEDS_SHORT_BLOCK_WINDOW.refuse(
            f"The GoodTilBlock {good_til_block} exceeds the current blockHeight {next_height}"
            f" plus ShortBlockWindow {window}"
        )
    return None


def check_good_til_block_time(
    good_til_s: int, block_time_s: int, window_s: int = STATEFUL_WINDOW_S
) -> TxRefusal | None:
    """Check block time < good-til-block-time <= block time + window, of the last block."""
    if good_til_s <= block_time_s:
        return ChainError.TIME_EXCEEDS_GOOD_TIL.refuse(
            f"GoodTilBlockTime {good_til_s} is less than the previous blockTime {block_time_s}"
        )
    if good_til_s > block_time_s + window_s:
        return ChainError.EXCEEDS_STATEFUL_WINDOW.refuse(
            f"GoodTilBlockTime {good_til_s} exceeds the previous blockTime plus StatefulOrderTimeWindow"
            f" {block_time_s + window_s}"
        )
    return None


def check_equity_tier(
    order: Order, open_orders: int, net_collateral_quote: Decimal, tiers: tuple[tuple[Decimal, int], ...]
) -> TxRefusal | None:
    """Check that one more open stateful order is allowed at this net collateral. Not for short-term orders."""
    if not tiers:
        return None
    limit = 0
    for at_least_quote, orders_max in tiers:
        if net_collateral_quote >= at_least_quote:
            limit = orders_max
    if open_orders < limit:
        return None
    shown = show_order_id(order.order_id)
    if limit == 0:
        return ChainError.EQUITY_TIER.refuse(f"Opening order would exceed equity tier limit of 0. Order id: {shown}")
    return ChainError.EQUITY_TIER.refuse(
        f"Opening order would exceed equity tier limit of {limit}. Order count: {open_orders}, Order id: {shown}"
    )


@dataclass(slots=True)
class BlockRateLimiter:
    """Attempts per owner over the last blocks; an attempt that fails counts as well."""

    context: str  # as the chain names it in its text
    limits: tuple[tuple[int, int], ...]
    _attempts: dict[str, dict[int, int]] = field(default_factory=dict)  # owner -> height -> attempts

    def count(self, owner: str, height: int, attempts: int = 1) -> TxRefusal | None:
        """Count attempts at the next block of `height`; the refusal if a limit is exceeded now."""
        if not self.limits:
            return None
        blocks_max = max(blocks for blocks, _ in self.limits)
        per_height = self._attempts.setdefault(owner, {})
        for old in [known for known in per_height if known <= height - blocks_max]:
            del per_height[old]
        per_height[height] = per_height.get(height, 0) + attempts
        for blocks, limit in self.limits:
            total = sum(made for known, made in per_height.items() if known > height - blocks)
            if total > limit:
                is_single = len(self.limits) == 1 and blocks == 1
                key = f"key {owner}" if is_single else owner
                return ChainError.BLOCK_RATE_LIMIT.refuse(
                    f"Rate of {total} exceeds configured block rate limit of"
                    f" {{NumBlocks:{blocks} Limit:{limit}}} for {self.context} and {key}"
                )
        return None
