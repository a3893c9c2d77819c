"""Bars for the strategy tests: seeded random walks with funding, a watched series, and flaws where asked for."""

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from market.records import BAR_DTYPE, NS_PER_S, Bar, Quality

BAR_NS = 900 * NS_PER_S
FLAWS = (
    Quality.MISSING,
    Quality.AFTER_GAP,
    Quality.STALE,
    Quality.CROSSED,
    Quality.NOT_FINITE,
    Quality.IMPOSSIBLE,
    Quality.NOT_FINITE | Quality.AFTER_GAP,
)


def make_bars(length: int, seed: int) -> np.ndarray[Any, Any]:
    """Return BAR_DTYPE[length] of good 15-minute bars; funding settles every 32, a signal comes every few bars."""
    random = np.random.default_rng(seed)
    bars = np.zeros(length, BAR_DTYPE)
    close_px = 100.0 * np.exp(np.cumsum(random.standard_t(4, length) * 0.003))
    open_px = np.concatenate([[100.0], close_px[:-1]]) if length else close_px
    bars["ts_open_ns"] = np.arange(length) * BAR_NS
    bars["open_px"], bars["close_px"] = open_px, close_px
    bars["high_px"] = np.maximum(open_px, close_px) * (1.0 + random.exponential(0.001, length))
    bars["low_px"] = np.minimum(open_px, close_px) * (1.0 - random.exponential(0.001, length))
    bars["volume_base"] = random.exponential(10.0, length)
    bars["funding_rate"] = np.repeat(random.normal(1e-4, 1e-4, length // 32 + 1), 32)[:length]
    bars["open_interest_base"] = math.nan
    news = random.random(length) < 0.2
    bars["signal"] = np.where(news, np.round(random.uniform(-1.0, 1.0, length), 1), math.nan)
    return bars


def spoil(bars: np.ndarray[Any, Any], index: int, flaw: Quality) -> None:
    """Make one bar what its quality flags say."""
    bar = bars[index]
    bar["quality"] |= int(flaw)
    if flaw & Quality.MISSING:
        past_px = bars[index - 1]["close_px"] if index else math.nan
        for name in ("open_px", "high_px", "low_px", "close_px"):
            bar[name] = past_px
        bar["volume_base"] = 0.0
    if flaw & Quality.NOT_FINITE:
        bar["close_px" if index % 2 else "high_px"] = math.nan
    if flaw & Quality.IMPOSSIBLE:
        bar["high_px"] = bar["low_px"] * 0.5


@st.composite
def bar_arrays(draw: st.DrawFn, length_max: int = 120) -> np.ndarray[Any, Any]:
    """Bars of any length, some of them flawed, some with unknown funding, some with a signal that is no number."""
    bars = make_bars(draw(st.integers(0, length_max)), draw(st.integers(0, 2**32 - 1)))
    if len(bars):
        index = st.integers(0, len(bars) - 1)
        for at, flaw in sorted(draw(st.dictionaries(index, st.sampled_from(FLAWS), max_size=12)).items()):
            spoil(bars, at, flaw)
        for at in draw(st.lists(index, max_size=8)):
            bars[at]["funding_rate"] = math.nan
        for at in draw(st.lists(index, max_size=4)):
            bars[at]["signal"] = draw(st.sampled_from([math.inf, -math.inf, 1.5, -7.0, 0.0]))
    return bars


def get_bar(bars: np.ndarray[Any, Any], index: int) -> Bar:
    """Return one bar as the record that live machines pass."""
    return Bar(*bars[index].item())
