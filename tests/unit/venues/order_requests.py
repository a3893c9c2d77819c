"""Orders, instruments and bars in the fewest words, for the tests of the exchange machines."""

import math
from typing import Any

from market.events import OrderRequest, OrderType
from market.instruments import Instrument
from market.records import Bar

BTC = Instrument("BTC-PERP.TEST", "BTC", "USDC", 0.01, 0.1, 0, 1, 2.0, 20.0, 0.025, 1)
ETH = Instrument("ETH-PERP.TEST", "ETH", "USDC", 0.1, 0.01, 0, 1, 2.0, 20.0, 0.025, 1)
BUY, SELL = 1, -1


def make_bar(open_px: float, high_px: float, low_px: float, close_px: float, **fields: Any) -> Bar:
    values: dict[str, Any] = {
        "volume_base": 1.0,
        "funding_rate": math.nan,
        "open_interest_base": math.nan,
        "funding_open_rate": 0.0,
        "funding_inside_rate": 0.0,
        "signal": math.nan,
        "quality": 0,
    }
    return Bar(0, open_px, high_px, low_px, close_px, **(values | fields))


def make_order(kind: OrderType, client_order_id: str, side: int, qty_lots: int, **fields: Any) -> OrderRequest:
    fields.setdefault("instrument_id", BTC.instrument_id)
    return OrderRequest(client_order_id, side=side, qty_lots=qty_lots, order_type=kind, **fields)


def market(client_order_id: str, side: int, qty_lots: int, **fields: Any) -> OrderRequest:
    return make_order(OrderType.MARKET, client_order_id, side, qty_lots, **fields)


def limit(client_order_id: str, side: int, qty_lots: int, limit_px: float, **fields: Any) -> OrderRequest:
    return make_order(OrderType.LIMIT, client_order_id, side, qty_lots, limit_px=limit_px, **fields)


def stop(client_order_id: str, side: int, qty_lots: int, trigger_px: float, **fields: Any) -> OrderRequest:
    fields.setdefault("is_reduce_only", True)
    return make_order(OrderType.STOP_MARKET, client_order_id, side, qty_lots, trigger_px=trigger_px, **fields)


def take_profit(client_order_id: str, side: int, qty_lots: int, limit_px: float, **fields: Any) -> OrderRequest:
    fields.setdefault("is_reduce_only", True)
    return make_order(OrderType.TAKE_PROFIT_LIMIT, client_order_id, side, qty_lots, limit_px=limit_px, **fields)


def trigger(
    kind: OrderType, client_order_id: str, side: int, qty_lots: int, trigger_px: float, limit_px: float, **fields: Any
) -> OrderRequest:
    fields.setdefault("is_reduce_only", True)
    return make_order(kind, client_order_id, side, qty_lots, trigger_px=trigger_px, limit_px=limit_px, **fields)
