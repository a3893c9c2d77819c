"""A feed's bars as a venue tells them: which stand for what trades, when a close is complete, which come too late."""

from collections.abc import Iterable
from dataclasses import dataclass

from actors.connections import VenueConnection
from market.events import BarsClosed
from market.records import NS_PER_S, Bar, Quality

LATE_NS_MIN, LATE_NS_MAX = 2 * NS_PER_S, 60 * NS_PER_S


@dataclass(frozen=True, slots=True)
class VenueSource:
    """Where a live feed's bars come from.

    `data_ids`: for each instrument of the plan, in its order, the one whose bars decide for it. `history`: how many
    closed bars are observed before the first that is decided on. `bars`: after so many the feed ends; 0: never.
    """

    connection: VenueConnection
    data_ids: tuple[str, ...]
    interval_ns: int
    history: int = 300
    bars: int = 0


class CloseJoiner:
    """Joins the bars of several instruments into closes, oldest first; a close waits for every instrument's bar.

    Invariants: closes strictly increase. A close that is complete later than a part of the interval (2 to 60 s) is
    history: whoever decided on it now would be late.
    """

    def __init__(self, source: VenueSource) -> None:
        self._data_ids = source.data_ids
        self._wanted = frozenset(source.data_ids)
        self._interval_ns = source.interval_ns
        self._late_ns = min(max(source.interval_ns // 2, LATE_NS_MIN), LATE_NS_MAX)
        self._waiting: dict[int, dict[str, Bar]] = {}  # by close
        self._ts_joined_ns = 0

    def skip_to(self, ts_close_ns: int) -> None:
        """Take no close up to this one: they are published already."""
        self._ts_joined_ns = max(self._ts_joined_ns, ts_close_ns)

    def count_missing(self, ts_now_ns: int) -> int:
        """Return how many closes lie between the last that was joined and now; 0 when none was."""
        return 0 if not self._ts_joined_ns else max(0, ts_now_ns - self._ts_joined_ns) // self._interval_ns

    def offer(self, instrument_id: str, bar: Bar) -> None:
        """Keep a bar until its close is complete."""
        ts_close_ns = bar.ts_open_ns + self._interval_ns
        if instrument_id in self._wanted and ts_close_ns > self._ts_joined_ns:
            self._waiting.setdefault(ts_close_ns, {})[instrument_id] = bar

    def take(self, ts_now_ns: int, is_unwell: bool) -> Iterable[BarsClosed]:
        """Yield the closes that are complete, up to the first that is not; bars of an unwell feed are stale."""
        for ts_close_ns in sorted(self._waiting):
            bars = self._waiting[ts_close_ns]
            if len(bars) < len(self._wanted):
                if not any(len(later) == len(self._wanted) for at, later in self._waiting.items() if at > ts_close_ns):
                    return
                del self._waiting[ts_close_ns]  # a later one is complete: this one never will be, the gap is told
                continue
            del self._waiting[ts_close_ns]
            self._ts_joined_ns = ts_close_ns
            flag = Quality.STALE.value if is_unwell else 0
            ordered = tuple(bars[name]._replace(quality=bars[name].quality | flag) for name in self._data_ids)
            yield BarsClosed(ts_close_ns, ordered, is_history=ts_now_ns - ts_close_ns > self._late_ns)
