"""Our order requests as the chain's orders: which flags, time in force and condition each of our types becomes.

A market order is a short-term IOC at a worst price; a stop is a conditional IOC that the oracle price triggers; a
take-profit is the same with the other condition, since a reduce-only order cannot rest here (code 9003).
"""

from dataclasses import dataclass

from market.events import OrderRequest, OrderType
from market.events import TimeInForce as RequestTimeInForce
from market.instruments import Instrument
from venues.dydx.order_terms import (
    CONDITIONAL,
    LONG_TERM,
    SHORT_TERM,
    ConditionType,
    Order,
    OrderId,
    Side,
    SubaccountId,
    TimeInForce,
    derive_client_id,
)
from venues.dydx.units import ClobUnits, lots_to_quantums, px_to_subticks, round_limit_px, round_px

MARKET_METADATA = 1  # the venue's own clients mark market orders so

ORDER_TYPES = (OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_LIMIT)
_TIMES_IN_FORCE = {
    RequestTimeInForce.GTC: TimeInForce.UNSPECIFIED,
    RequestTimeInForce.IOC: TimeInForce.IOC,
    RequestTimeInForce.POST_ONLY: TimeInForce.POST_ONLY,
}


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long orders are good. Short-term ones need a height, conditional ones a time; a resting limit order is
    short-term unless `is_resting_stateful`."""

    good_til_block: int
    good_til_block_time_s: int
    is_resting_stateful: bool = False


def make_order(
    request: OrderRequest,
    units: ClobUnits,
    instrument: Instrument,
    subaccount: SubaccountId,
    lifetime: Lifetime,
    worst_px: float = 0.0,
) -> Order:
    """Return the chain's order; its client id is a function of ours. Limits are rounded passively, worst prices not.

    `worst_px` is the price beyond which a market order or triggered stop does not trade: 5-10 % away for stops.

    Raises: ValueError if a number does not fit, a worst price is missing, a reduce-only order would rest, or the type
    is none of `ORDER_TYPES`.
    """
    if request.order_type not in ORDER_TYPES:
        raise ValueError(f"order {request.client_order_id} is a {request.order_type}: not sent to dYdX by this client")
    if request.is_reduce_only and request.order_type is OrderType.LIMIT and not _is_ioc(request):
        raise ValueError(
            f"order {request.client_order_id} is reduce-only and would rest: dYdX takes only IOC or a stop"
        )
    if request.order_type in (OrderType.MARKET, OrderType.STOP_MARKET) and not worst_px > 0.0:
        raise ValueError(f"order {request.client_order_id} needs a worst_px above 0: dYdX has no price-free orders")
    flags = _choose_flags(request, lifetime)
    is_market = request.order_type in (OrderType.MARKET, OrderType.STOP_MARKET)
    limit_px = worst_px if is_market else request.limit_px
    px = round_limit_px(units, limit_px, request.side, is_passive=not is_market)
    is_conditional = flags == CONDITIONAL
    condition = ConditionType.UNSPECIFIED
    trigger_subticks = 0
    if is_conditional:
        is_stop = request.order_type is OrderType.STOP_MARKET
        condition = ConditionType.STOP_LOSS if is_stop else ConditionType.TAKE_PROFIT
        trigger_subticks = px_to_subticks(units, round_px(units, request.trigger_px if is_stop else request.limit_px))
    return Order(
        order_id=OrderId(subaccount, derive_client_id(request.client_order_id), flags, units.clob_pair_id),
        side=Side.BUY if request.side > 0 else Side.SELL,
        quantums=lots_to_quantums(units, instrument, request.qty_lots),
        subticks=px_to_subticks(units, px),
        good_til_block=lifetime.good_til_block if flags == SHORT_TERM else 0,
        good_til_block_time_s=0 if flags == SHORT_TERM else lifetime.good_til_block_time_s,
        time_in_force=TimeInForce.IOC if is_market or is_conditional else _TIMES_IN_FORCE[request.time_in_force],
        is_reduce_only=request.is_reduce_only,
        client_metadata=MARKET_METADATA if is_market else 0,
        condition_type=condition,
        trigger_subticks=trigger_subticks,
    )


def _is_ioc(request: OrderRequest) -> bool:
    return request.time_in_force is RequestTimeInForce.IOC


def _choose_flags(request: OrderRequest, lifetime: Lifetime) -> int:
    if request.order_type in (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_LIMIT):
        return CONDITIONAL
    if request.order_type is OrderType.LIMIT and lifetime.is_resting_stateful and not _is_ioc(request):
        return LONG_TERM
    return SHORT_TERM
