"""Spot's candles of one second, made of the aggregate trades that the simulator has. Sans-IO.

Does not model: those of before the trades that can be told (some 45 minutes before the start).
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import groupby

from market.records import NS_PER_MS, NS_PER_S
from venues.binance.rest_replies import AggTradeRow
from venues.simulator.candles import Candle, fill_candles

SECOND_MS = 1000


def make_second_candles(
    rows: Sequence[AggTradeRow], lot: Decimal, find_market_id: Callable[[int], int], ts_to_ns: int
) -> list[Candle]:
    """Return the candles of these trades, oldest first; seconds without a trade are flat ones, up to a time.

    `find_market_id` gives the market's number of a trade of ours, 0 for one that it does not know.
    """
    candles: list[Candle] = []
    for second, group in groupby(rows, lambda row: row.ts_trade_ms // SECOND_MS):
        trades = [*group]
        pxs, lots = [float(row.px) for row in trades], [round(Decimal(row.qty) / lot) for row in trades]
        bought = [0 if row.is_buyer_maker else count for row, count in zip(trades, lots, strict=True)]
        candles.append(
            Candle(
                second * SECOND_MS * NS_PER_MS,
                NS_PER_S,
                pxs[0],
                max(pxs),
                min(pxs),
                pxs[-1],
                sum(lots),
                sum(px * count for px, count in zip(pxs, lots, strict=True)),
                sum(row.last_id - row.first_id + 1 for row in trades),
                sum(bought),
                sum(px * count for px, count in zip(pxs, bought, strict=True)),
                find_market_id(trades[0].first_id),
                find_market_id(trades[-1].last_id),
            )
        )
    return fill_candles(candles, ts_to_ns)
