"""One market behind several simulated venues: a price path per base currency, and each venue's view of it.

    path = SharedPath(7, ("BTC", "ETH"), interval_ns, ts_present_ns)
    market = DrivenMarket(instruments, costs, *path.view(instruments), ...)   # with is_walk_by_base, one block_ns

The path is generated, without end: bars of 15 minutes from the seed, `HISTORY_BARS` of them before the bar of the
present, more whenever they run out. With another interval each bar moves as 15 minutes of that market would, with the
volume of its own length: 5 s is the same market 180 times as fast. Or it is recorded bars, moved to the present; after
their last they come again, scaled to go on from the last px.
A venue sees the path's prices times (1 + a basis of at most `BASIS_BPS_MAX`), on its own ticks, with its own share of
volume and open interest and funding by its own interval, settled at whole hours of the clock.
Does not model: a basis that moves, one venue leading another, funding that differs between venues.
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.catalog import INTERVAL_NS_DEFAULT
from market.generator import generate_market
from market.instruments import Instrument
from market.records import NS_PER_S
from venues.simulator.driven_market import Extend
from venues.simulator.price_path import round_to_tick

Bars = NDArray[Any]  # of BAR_DTYPE

HISTORY_BARS = 1000
BARS_INITIAL = 4096  # generated at first; doubled when they run out
BASIS_BPS_MAX = 2.0
SHARES = {"BINANCE": 1.0, "HYPERLIQUID": 0.25, "DYDX": 0.05}  # of the world's volume
SHARE_OTHER = 0.05
_HOUR_NS = 3600 * NS_PER_S


class SharedPath:
    """The path; the same arguments give the same bars, but for their times."""

    def __init__(
        self,
        seed: int,
        bases: Sequence[str],
        interval_ns: int,
        ts_present_ns: int,
        recorded: Mapping[str, tuple[Bars, int]] | None = None,
    ) -> None:
        """Begin so that the bar `HISTORY_BARS` holds `ts_present_ns`; `recorded`: bars and their spacing, by base.

        Raises ValueError if recorded bars lack a base, or are too few.
        """
        self.interval_ns, self._seed, self._bases = interval_ns, seed, tuple(bases)
        self._bars: dict[str, Bars] = {}
        self._recorded = recorded or {}
        self.history_bars = HISTORY_BARS
        if recorded is not None:
            missing = [base for base in bases if base not in recorded]
            length = min((len(bars) for bars, _ in recorded.values()), default=0)
            if missing or length < 2:
                raise ValueError(
                    f"recorded bars: {length} of each, none of {missing}: two bars of each base are needed"
                )
            self.history_bars = min(HISTORY_BARS, length // 2)
        self.ts_present_ns = ts_present_ns // interval_ns * interval_ns
        self.ts_first_ns = self.ts_present_ns - self.history_bars * interval_ns

    def view(self, instruments: Sequence[Instrument]) -> tuple[dict[str, Bars], dict[str, Extend]]:
        """Return the bars of a venue's instruments, and what makes more of them."""
        path = {one.instrument_id: self.make_bars(one, BARS_INITIAL) for one in instruments}
        if self._recorded:
            return path, {}
        return path, {one.instrument_id: partial(self.make_bars, one) for one in instruments}

    def make_bars(self, instrument: Instrument, count: int) -> Bars:
        """Return `count` bars or more of an instrument, recorded ones all and once."""
        base = self._take(instrument.base, count)
        share = SHARES.get(instrument.venue_id, SHARE_OTHER)
        bars = base.copy()
        bars["ts_open_ns"] = self.ts_first_ns + np.arange(len(bars), dtype=np.int64) * self.interval_ns
        ratio = 1.0 + self.get_basis_bps(instrument) * 1e-4
        for name in ("open_px", "high_px", "low_px", "close_px"):
            bars[name] = np.maximum(instrument.tick_px, round_to_tick(base[name] * ratio, instrument.tick_px))
        bars["volume_base"] = base["volume_base"] * share
        bars["open_interest_base"] = base["open_interest_base"] * share
        every_ns = instrument.funding_interval_h * _HOUR_NS
        bars["funding_rate"] = np.round(base["funding_rate"] * instrument.funding_interval_h / 8.0, 10)
        is_settled = (bars["ts_open_ns"] % every_ns == 0) & np.isfinite(bars["funding_rate"])
        bars["funding_open_rate"] = np.where(is_settled, bars["funding_rate"], 0.0)
        bars["funding_inside_rate"] = 0.0
        bars["signal"] = np.nan
        return bars

    def get_basis_bps(self, instrument: Instrument) -> float:
        """Return how far a venue's prices lie from the path's; Binance's are the path's."""
        if instrument.venue_id == "BINANCE":
            return 0.0
        draw = zlib.crc32(f"{self._seed} {instrument.instrument_id}".encode()) / 2**32
        return BASIS_BPS_MAX * (2.0 * draw - 1.0)

    def _take(self, base: str, count: int) -> Bars:
        # Volume by the interval, funding per eight hours.
        if self._recorded:
            bars, spacing_ns = self._recorded[base]
            return _scale_volume(bars, self.interval_ns / spacing_ns)
        if base not in self._bars or len(self._bars[base]) < count:
            length = BARS_INITIAL
            while length < count:
                length *= 2
            made = generate_market(self._seed, [f"{one}-PERP.BINANCE" for one in self._bases], length)
            scale = self.interval_ns / INTERVAL_NS_DEFAULT
            self._bars = {one: _scale_volume(made.bars[row], scale) for row, one in enumerate(self._bases)}
        return self._bars[base]


def _scale_volume(bars: Bars, scale: float) -> Bars:
    scaled = bars.copy()
    scaled["volume_base"] = bars["volume_base"] * scale
    return scaled
