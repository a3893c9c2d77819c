"""The real captures, decoded once for all tests of this folder, and a book kept the slow way to compare with."""

from functools import cache

from market.captures import read_capture
from tests.shared_data import SHARED
from venues.binance.messages import BookSnapshotText, BookTicker, DepthUpdate, StreamMessage, decode_message

FIXTURES = "fixtures/binance/hftbacktest/"
BTC, ETH, SPOT = (
    FIXTURES + name
    for name in (
        "usdm_btcusdt_20240808_first30000.gz",
        "usdm_ethusdt_20240808_first15000.gz",
        "spot_btcusdt_20240808_first15000.gz",
    )
)
LONG = "data/orderbook/binance_um_BTCUSDT_20240718-19.jsonl.zst"


@cache
def read_lines(name: str) -> list[tuple[int, bytes]]:
    assert SHARED is not None
    series = read_capture(SHARED / name)
    return list(zip(series.ts_ns.tolist(), series.columns["message"].tolist(), strict=True))


@cache
def read_messages(name: str) -> list[tuple[int, StreamMessage]]:
    return [(ts_ns, decode_message(line)) for ts_ns, line in read_lines(name)]


class SlowBook:
    """Two dictionaries of text to text, and nothing clever: what the fast book must equal."""

    def __init__(self, snapshot: BookSnapshotText) -> None:
        self.last_id = snapshot.last_id
        self.sides = (dict(snapshot.bids), dict(snapshot.asks))

    def apply(self, update: DepthUpdate) -> None:
        for side, levels in zip(self.sides, (update.bids, update.asks), strict=True):
            for px, qty in levels:
                side[px] = qty
        self.last_id = update.last_id

    def levels(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """Return bids and asks as floats, best first."""
        return tuple(
            tuple(sorted(((float(px), float(qty)) for px, qty in side.items() if float(qty) > 0.0), reverse=not index))
            for index, side in enumerate(self.sides)
        )

    def texts(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        return tuple(tuple((px, qty) for px, qty in side.items() if float(qty) > 0.0) for side in self.sides)


def ticker_levels(ticker: BookTicker) -> tuple[tuple[float, float], tuple[float, float]]:
    bid, ask = (ticker.bid_px, ticker.bid_qty), (ticker.ask_px, ticker.ask_qty)
    return (float(bid[0]), float(bid[1])), (float(ask[0]), float(ask[1]))
