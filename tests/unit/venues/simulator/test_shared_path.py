"""One path for several venues: the same walk at each, as much history as promised, and no end."""

import numpy as np
import pytest

from market.fills import Costs
from market.generator import generate_market
from market.instruments import LISTED, compute_px_step
from market.records import NS_PER_MS, NS_PER_S
from venues.simulator.driven_market import DrivenMarket, MarketSettings
from venues.simulator.price_path import check_path_bars
from venues.simulator.shared_path import BARS_INITIAL, BASIS_BPS_MAX, HISTORY_BARS, SharedPath

FIVE_NS, QUARTER_NS = 5 * NS_PER_S, 900 * NS_PER_S
TS_NS = 1_704_067_200 * NS_PER_S + 7 * NS_PER_S
BASES = ("BTC", "ETH", "SOL")
IDS = [f"BTC-PERP.{venue}" for venue in ("BINANCE", "HYPERLIQUID", "DYDX")]


def test_bars_are_those_of_the_seed_at_whatever_pace() -> None:
    made = generate_market(7, [f"{base}-PERP.BINANCE" for base in BASES], 50)
    for interval_ns in (FIVE_NS, QUARTER_NS):
        path = SharedPath(7, BASES, interval_ns, TS_NS)
        for row, base in enumerate(BASES):
            bars = path.make_bars(LISTED[f"{base}-PERP.BINANCE"], 50)
            assert check_path_bars(bars, base) == interval_ns
            assert bars["close_px"][:50].tolist() == made.bars[row]["close_px"].tolist()
            scale = interval_ns / QUARTER_NS
            np.testing.assert_allclose(bars["volume_base"][:50], made.bars[row]["volume_base"] * scale)
        assert bars["ts_open_ns"][HISTORY_BARS] == TS_NS // interval_ns * interval_ns


def test_more_bars_begin_with_the_fewer() -> None:
    path = SharedPath(7, BASES, FIVE_NS, TS_NS)
    instrument = LISTED["SOL-PERP.DYDX"]
    few, more = path.make_bars(instrument, 10), path.make_bars(instrument, BARS_INITIAL + 1)
    assert (len(few), len(more)) == (BARS_INITIAL, 2 * BARS_INITIAL)
    assert few.tobytes() == more[: len(few)].tobytes()


def test_venues_see_one_price_on_their_own_ticks() -> None:
    path = SharedPath(3, BASES, QUARTER_NS, TS_NS)
    binance, *others = (path.make_bars(LISTED[name], 1) for name in IDS)
    for name, bars in zip(IDS[1:], others, strict=True):
        ratios = bars["close_px"] / binance["close_px"]
        tick_frac = LISTED[name].tick_px / binance["close_px"].min()
        assert np.abs(ratios - 1.0).max() <= BASIS_BPS_MAX * 1e-4 + tick_frac
        assert 0.0 < bars["volume_base"][0] < binance["volume_base"][0]
        np.testing.assert_allclose(bars["funding_rate"], binance["funding_rate"] / 8.0, atol=1e-9)
        assert np.flatnonzero(bars["funding_open_rate"]).tolist() == [*range(*_first_hour(bars), 4)]


def _first_hour(bars: np.ndarray) -> tuple[int, int]:
    return int(np.argmax(bars["ts_open_ns"] % (4 * QUARTER_NS) == 0)), len(bars)


def test_markets_over_it_walk_together() -> None:
    path = SharedPath(3, BASES, FIVE_NS, TS_NS)
    markets = []
    for name in IDS:
        bars, extend = path.view([LISTED[name]])
        settings = MarketSettings(100 * NS_PER_MS, TS_NS, is_walk_by_base=True, candle_base_ns=FIVE_NS)
        markets.append(DrivenMarket([LISTED[name]], Costs(5.0, 1.0, 0.0), bars, settings, 3, extend))
    for second in range(1, 21):
        pxs = []
        for name, market in zip(IDS, markets, strict=True):
            market.advance(TS_NS + second * NS_PER_S)
            pxs.append(market.get_mid_px(name))
            step_frac = float(compute_px_step(LISTED[name], pxs[-1])) / pxs[-1]
            assert abs(pxs[-1] / pxs[0] - 1.0) < (BASIS_BPS_MAX + 1.0) * 1e-4 + 2.0 * step_frac


def test_recorded_bars_are_moved_to_the_present_and_come_again() -> None:
    made = generate_market(1, ["BTC-PERP.BINANCE"], 40)
    path = SharedPath(0, ("BTC",), FIVE_NS, TS_NS, {"BTC": (made.bars[0], QUARTER_NS)})
    bars, extend = path.view([LISTED["BTC-PERP.BINANCE"]])
    assert extend == {}
    assert path.history_bars == 20
    (shown,) = bars.values()
    assert shown["close_px"].tolist() == made.bars[0]["close_px"].tolist()
    assert shown["ts_open_ns"][20] == TS_NS // FIVE_NS * FIVE_NS
    market = DrivenMarket(
        [LISTED["BTC-PERP.BINANCE"]], Costs(5.0, 1.0, 0.0), bars, MarketSettings(100 * NS_PER_MS, TS_NS), 3
    )
    market.advance(TS_NS + 30 * FIVE_NS, is_watched=False)
    assert market.get_path_px("BTC-PERP.BINANCE") > 0.0
    with pytest.raises(ValueError, match=r"none of \['ETH'\]"):
        SharedPath(0, ("BTC", "ETH"), FIVE_NS, TS_NS, {"BTC": (made.bars[0], QUARTER_NS)})
