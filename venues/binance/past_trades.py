"""Aggregate trades of before a simulator's memory, made up so that they add up to the candles that it shows. Sans-IO.

A minute's trades are spread evenly over it and walk from its open over both extremes to its close; their number, volume
and the four prices are the candle's (from four trades on), their taker sides about. Ids go down without a hole from the
first trade that is remembered.
Does not model: bursts, several fills of one taker (each aggregate is one trade).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from venues.simulator.candles import Candle


@dataclass(frozen=True, slots=True)
class PastTrade:
    """One made-up trade."""

    ts_ns: int
    px: float
    lots: int
    is_buyer_maker: bool


def make_past_trades(
    candles: Sequence[Candle], ts_end_ns: int, lots_known: int, count_known: int, tick_px: float
) -> list[PastTrade]:
    """Return the trades of minutes, oldest first, all before `ts_end_ns`.

    `lots_known` and `count_known`: what of the last minute is remembered and not to be made up again.
    """
    made: list[PastTrade] = []
    for candle in candles:
        is_cut = candle.ts_close_ns > ts_end_ns
        lots = candle.volume_lots - (lots_known if is_cut else 0)
        count = max(min(4, lots), min(candle.count - (count_known if is_cut else 0), lots))
        length_ns = min(candle.ts_close_ns, ts_end_ns) - candle.ts_open_ns
        if lots <= 0 or length_ns < count:
            continue
        pxs = _walk(candle, count, tick_px)
        share, bought = candle.taker_buy_lots / candle.volume_lots, 0
        for index, px in enumerate(pxs):
            part = lots // count + (index < lots % count)
            is_buy = bought + 0.5 * part <= share * (index + 1) * lots / count
            bought += part if is_buy else 0
            made.append(PastTrade(candle.ts_open_ns + (2 * index + 1) * length_ns // (2 * count), px, part, not is_buy))
    return made


def _walk(candle: Candle, count: int, tick_px: float) -> list[float]:
    # Straight lines from the open over the extremes to the close, on the tick's grid.
    first, second = candle.low_px, candle.high_px
    if candle.close_px < candle.open_px:
        first, second = second, first
    if count < 4:
        return [candle.open_px, *[first] * (count - 2), candle.close_px][:count]
    at_first, at_second, last = count // 3, 2 * count // 3, count - 1
    pxs: list[float] = []
    for index in range(count):
        if index <= at_first:
            px = candle.open_px + (first - candle.open_px) * index / at_first
        elif index <= at_second:
            px = first + (second - first) * (index - at_first) / (at_second - at_first)
        else:
            px = second + (candle.close_px - second) * (index - at_second) / (last - at_second)
        pxs.append(min(max(round(px / tick_px) * tick_px, candle.low_px), candle.high_px))
    return pxs
