"""The intervals of Binance's candles: when one opens and ends, months by the calendar included.

`1s` is spot's alone, and made of trades (`second_candles`). Does not model: time zones of spot's klines.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby

from market.records import NS_PER_DAY, NS_PER_S
from venues.simulator.candles import Candle, align_open_ns, merge_candles

MINUTE_NS = 60 * NS_PER_S
MONTH, SECOND = "1M", "1s"
INTERVALS_NS = {
    SECOND: NS_PER_S,
    "1m": MINUTE_NS,
    "3m": 3 * MINUTE_NS,
    "5m": 5 * MINUTE_NS,
    "15m": 15 * MINUTE_NS,
    "30m": 30 * MINUTE_NS,
    "1h": 60 * MINUTE_NS,
    "2h": 120 * MINUTE_NS,
    "4h": 240 * MINUTE_NS,
    "6h": 360 * MINUTE_NS,
    "8h": 480 * MINUTE_NS,
    "12h": 720 * MINUTE_NS,
    "1d": NS_PER_DAY,
    "3d": 3 * NS_PER_DAY,
    "1w": 7 * NS_PER_DAY,
    MONTH: 31 * NS_PER_DAY,  # the longest
}


def find_open_ns(interval: str, ts_ns: int) -> int:
    """Return when the candle that holds a time opened.

    >>> find_open_ns("1M", 1_709_300_000_000_000_000) == 1_709_251_200_000_000_000  # 2024-03-01
    True
    """
    if interval != MONTH:
        return align_open_ns(ts_ns, INTERVALS_NS[interval])
    day = datetime.fromtimestamp(ts_ns // NS_PER_S, UTC)
    return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * NS_PER_S


def find_next_open_ns(interval: str, ts_open_ns: int) -> int:
    """Return when the candle after the one that opened at a time opens."""
    return find_open_ns(interval, ts_open_ns + INTERVALS_NS[interval])  # 31 days on is the next month, of any


def list_opens_ns(interval: str, ts_from_ns: int, ts_to_ns: int) -> list[int]:
    """Return the opens in [from, to), oldest first."""
    opens: list[int] = []
    open_ns = find_open_ns(interval, ts_from_ns)
    while open_ns < ts_to_ns:
        opens += [open_ns] if open_ns >= ts_from_ns else []
        open_ns = find_next_open_ns(interval, open_ns)
    return opens


def list_candles(
    fetch: Callable[[int, int, int], list[Candle]], interval: str, ts_from_ns: int, ts_to_ns: int
) -> list[Candle]:
    """Return the candles that open in [from, to); `fetch(interval_ns, from, to)` gives those of a fixed length."""
    if interval != MONTH:
        return fetch(INTERVALS_NS[interval], ts_from_ns, ts_to_ns)
    opens = list_opens_ns(MONTH, ts_from_ns, ts_to_ns)
    if not opens:
        return []
    days = fetch(NS_PER_DAY, opens[0], find_next_open_ns(MONTH, opens[-1]))
    months: list[Candle] = []
    for open_ns, parts in groupby(days, lambda day: find_open_ns(MONTH, day.ts_open_ns)):
        [whole] = merge_candles((replace(day, ts_open_ns=0) for day in parts), NS_PER_DAY)
        length_ns = find_next_open_ns(MONTH, open_ns) - open_ns
        months.append(replace(whole, ts_open_ns=open_ns, interval_ns=length_ns))
    return months
