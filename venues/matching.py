"""The book of one instrument: resting limit orders by price, then by time of arrival."""

import math
from bisect import bisect_left, insort

from market.records import Side
from venues.orders import Order


class Book:
    """Resting orders of both sides. Knows order and price, nothing of accounts or money.

    A level is a dict in order of arrival: the first is served first, any can leave at once. Prices are kept as
    side x px, ascending, so that the best of either side is the last.
    """

    def __init__(self) -> None:
        self._levels: dict[int, dict[float, dict[int, Order]]] = {side.value: {} for side in Side}
        self._keys: dict[int, list[float]] = {side.value: [] for side in Side}

    def add(self, order: Order) -> None:
        """Let an order rest behind all others of its price."""
        side, px = order.request.side, order.limit_px
        level = self._levels[side].get(px)
        if level is None:
            level = self._levels[side][px] = {}
            insort(self._keys[side], side * px)
        level[order.sequence] = order

    def remove(self, order: Order) -> None:
        """Take an order out, if it rests here; call it before its limit px changes."""
        side, px = order.request.side, order.limit_px
        level = self._levels[side].get(px)
        if level is None or level.pop(order.sequence, None) is None or level:
            return
        del self._levels[side][px]
        keys = self._keys[side]
        keys.pop(bisect_left(keys, side * px))

    def get_best(self, side: int) -> Order | None:
        """Return the order of a side that is served first, None if the side is empty."""
        keys = self._keys[side]
        return next(iter(self._levels[side][side * keys[-1]].values())) if keys else None

    def get_best_px(self, side: int) -> float:
        """Return the best px of a side, NaN if it is empty."""
        keys = self._keys[side]
        return side * keys[-1] if keys else math.nan

    def can_match(self, side: int, limit_px: float) -> bool:
        """Return whether an order of `side` at `limit_px` would find a counterpart."""
        return side * (limit_px - self.get_best_px(-side)) >= 0.0

    def list_levels(self, side: int, levels_max: int) -> list[tuple[float, int]]:
        """Return (px, lots resting) of a side, best first, at most `levels_max`."""
        levels = self._levels[side]
        pxs = [side * key for key in reversed(self._keys[side][-levels_max:])] if levels_max > 0 else []
        return [(px, sum(order.qty_leaves_lots for order in levels[px].values())) for px in pxs]

    def list_orders(self, side: int) -> list[Order]:
        """Return the resting orders of a side in the order in which they would be served."""
        levels = self._levels[side]
        return [order for key in reversed(self._keys[side]) for order in levels[side * key].values()]

    def check_uncrossed(self, name: str) -> None:
        """Assert that the best bid is below the best ask."""
        bid_px, ask_px = self.get_best_px(Side.BUY.value), self.get_best_px(Side.SELL.value)
        assert not bid_px >= ask_px, f"{name}: book is crossed, bid {bid_px}, ask {ask_px}"
