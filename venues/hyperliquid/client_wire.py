"""Our order requests as this venue's orders: exact strings, a worst price where the venue wants one. Sans-IO.

- MARKET is an immediate limit order at a worst px from the mark, `market_slippage_frac` away.
- STOP_MARKET is a reduce-only trigger ("sl", at market) whose px is `stop_slippage_frac` past its trigger.
- TAKE_PROFIT_LIMIT alone is a reduce-only limit resting at its px. In a group the venue wants triggers, so that it is a
  "tp" trigger limit there with trigger and limit at that px: the group then cancels it with its sibling.
A client order id is the venue's cloid: "0x" and 32 hex digits.
"""

import re
from collections.abc import Iterable
from decimal import Decimal

from market import instruments
from market.events import OrderRequest, OrderType, TimeInForce
from market.instruments import Instrument
from venues.hyperliquid import exchange_actions as act
from venues.hyperliquid import rules
from venues.hyperliquid.info_replies import Meta
from venues.orders import is_px, is_well_formed
from venues.port import ClientSettings, PreflightError

CLOID = re.compile(r"0x[0-9a-f]{32}")
_TIFS = {TimeInForce.GTC: "Gtc", TimeInForce.IOC: "Ioc", TimeInForce.POST_ONLY: "Alo"}


def find_assets(listed: Iterable[Instrument], meta: Meta) -> rules.AssetTable:
    """Return our instruments as the live metadata has them.

    Raises PreflightError where the venue does not list one, or its lot or leverage is another.
    """
    places = {info.name: (index, info) for index, info in enumerate(meta.universe) if info.is_delisted is not True}
    found = []
    for instrument in listed:
        if instrument.base not in places:
            hint = instruments.suggest(instrument.base, places)
            raise PreflightError(f"{instrument.instrument_id}: the venue does not list {instrument.base}{hint}")
        index, info = places[instrument.base]
        if Decimal(repr(instrument.lot_base)) != Decimal(1).scaleb(-info.sz_decimals):
            raise PreflightError(
                f"{instrument.instrument_id}: its lot is {instrument.lot_base} here, szDecimals is {info.sz_decimals} "
                "at the venue: correct the instrument"
            )
        if instrument.leverage_max != info.max_leverage:
            raise PreflightError(
                f"{instrument.instrument_id}: its leverage is up to {instrument.leverage_max:g} here, "
                f"{info.max_leverage} at the venue: correct the instrument"
            )
        found.append(rules.Asset(index, info.name, info.sz_decimals, False, instrument))
    return rules.AssetTable(found)


def round_request_px(asset: rules.Asset, px: float, side: int) -> float:
    """Return a limit px on the grid that keeps its promise, 0.0 for none."""
    return instruments.round_px(asset.instrument, px, -side) if px else 0.0


def round_trigger_px(asset: rules.Asset, px: float) -> float:
    """Return a trigger px on the grid, 0.0 for none."""
    return instruments.round_px(asset.instrument, px) if px else 0.0


# What our own strategies send; the venue has more (`simulator_desk`).
ORDER_TYPES = (OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_LIMIT)


def find_worst_px(asset: rules.Asset, side: int, mark_px: float, slippage_frac: float) -> float:
    """Return the worst px an order of `side` may get; ValueError while there is no mark."""
    if not is_px(mark_px):
        raise ValueError(f"no mark px of {asset.coin} is known: a market order needs one for its worst price")
    return instruments.round_px(asset.instrument, mark_px * (1.0 + side * slippage_frac), -side)


def check_request(asset: rules.Asset, request: OrderRequest) -> None:
    """Raise ValueError if the venue could not take a request, whatever the market does."""
    if not CLOID.fullmatch(request.client_order_id):
        raise ValueError(f"client order id {request.client_order_id!r} is not 0x and 32 hex digits in lower case")
    if not is_well_formed(request):
        raise ValueError(f"order {request.client_order_id} is not well formed: side, size, prices or reduce-only")
    if request.order_type not in ORDER_TYPES:
        kinds = ", ".join(ORDER_TYPES)
        raise ValueError(f"order {request.client_order_id} is a {request.order_type}: this client sends {kinds} only")
    if request.order_type is OrderType.STOP_MARKET and not request.is_reduce_only:
        raise ValueError(f"stop {request.client_order_id} must be reduce-only")
    if request.qty_lots > 10**rules.SIZE_DIGITS_MAX:
        raise ValueError(f"qty_lots of {request.client_order_id} is {request.qty_lots}: more than {asset.coin} can be")


def write_order(
    asset: rules.Asset,
    request: OrderRequest,
    qty_lots: int,
    limit_px: float,
    trigger_px: float,
    *,
    is_child: bool,
    mark_px: float,
    settings: ClientSettings,
) -> act.WireOrder:
    """Return the order of the wire; prices must be on the grid, `qty_lots` is what is to be open.

    Raises ValueError if a px is not on the grid, or a market order finds no mark.
    """
    is_buy, size, cloid = request.side > 0, rules.write_lots(asset, qty_lots), request.client_order_id
    match request.order_type:
        case OrderType.STOP_MARKET:
            worst_px = trigger_px * (1.0 + request.side * settings.stop_slippage_frac)
            worst = rules.write_px(asset, rules.round_px(asset, worst_px, request.side, is_passive=False))
            trigger = rules.write_px(asset, trigger_px)
            return act.trigger_order(asset.asset_id, is_buy, worst, size, trigger, "sl", cloid=cloid)
        case OrderType.TAKE_PROFIT_LIMIT if is_child:
            px = rules.write_px(asset, limit_px)
            return act.trigger_order(asset.asset_id, is_buy, px, size, px, "tp", is_market=False, cloid=cloid)
        case _:
            is_market = request.order_type is OrderType.MARKET
            if is_market:
                limit_px = find_worst_px(asset, request.side, mark_px, settings.market_slippage_frac)
            tif = "Ioc" if is_market else _TIFS[request.time_in_force]
            px, is_reducing = rules.write_px(asset, limit_px), request.is_reduce_only
            return act.limit_order(asset.asset_id, is_buy, px, size, tif, is_reduce_only=is_reducing, cloid=cloid)
