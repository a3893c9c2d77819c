"""Where a feed's bars come from when no venue is connected: the catalog, or a generated market."""

from collections.abc import Iterator
from dataclasses import dataclass

from market.catalog import MarketData, load_market, make_market
from market.events import BarsClosed
from market.generator import generate_market
from market.records import Bar


@dataclass(frozen=True, slots=True)
class MarketSource:
    """What to replay. With a `catalog` directory its bars in [ts_from_ms, ts_to_ms), else a market made from `seed`."""

    instrument_ids: tuple[str, ...]
    catalog: str | None = None
    ts_from_ms: int | None = None
    ts_to_ms: int | None = None
    seed: int = 0
    bars: int = 0  # how many to generate, or the last so many of the catalog's; 0: all of the catalog's

    def load(self) -> MarketData:
        """Return the market. Raises ValueError on an unknown instrument or an empty period."""
        if self.catalog is None:
            return generate_market(self.seed, self.instrument_ids, self.bars)
        market = load_market(self.catalog, self.instrument_ids, self.ts_from_ms, self.ts_to_ms)
        if not self.bars:
            return market
        return make_market(market.instruments, market.bars[:, -self.bars :].copy(), market.interval_ns)


def iterate_closes(market: MarketData) -> Iterator[BarsClosed]:
    """Yield the closed bars of each interval, oldest first."""
    instruments, length = market.bars.shape
    for index in range(length):
        bars = tuple(Bar(*market.bars[row, index].item()) for row in range(instruments))
        yield BarsClosed(bars[0].ts_open_ns + market.interval_ns, bars)
