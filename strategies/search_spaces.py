"""What a sweep may try for each parameter of each strategy, and what is allowed at all."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """One parameter: a sweep searches `low`..`high`, a user may set `least`..`most` (both ends included)."""

    low: float
    high: float
    least: float
    most: float
    is_int: bool = False
    is_log: bool = False  # search it on a log scale
    below: str = ""  # the parameter that this one must not exceed

    @property
    def kind(self) -> str:
        """`"int"` or `"float"`."""
        return "int" if self.is_int else "float"


_SIZE_FRAC = Range(1.0, 1.0, 0.0, 10.0)
_ATR_BARS = Range(14, 112, 1, 10_000, is_int=True, is_log=True)

MOMENTUM_SAR_RANGES = {
    "sar_step": Range(0.002, 0.03, 1e-5, 1.0, is_log=True, below="sar_max"),
    "sar_max": Range(0.03, 0.3, 1e-5, 1.0, is_log=True),
    "trend_bars": Range(24, 672, 1, 100_000, is_int=True, is_log=True),
    "atr_bars": _ATR_BARS,
    "trend_atr_min": Range(-1.0, 4.0, -100.0, 100.0),
    "entry_bars_max": Range(0, 96, 0, 1_000_000, is_int=True),
    "stop_atr": Range(1.5, 8.0, 0.01, 1000.0, is_log=True),
    "take_profit_atr": Range(0.0, 12.0, 0.0, 1000.0),
    "size_frac": _SIZE_FRAC,
}

MEAN_REVERSION_FUNDING_RANGES = {
    "price_bars": Range(48, 960, 2, 100_000, is_int=True, is_log=True),
    "funding_bars": Range(96, 2880, 2, 100_000, is_int=True, is_log=True),
    "atr_bars": _ATR_BARS,
    "entry_z": Range(1.0, 4.0, 0.0, 100.0),
    "funding_z_min": Range(-1.0, 2.0, -100.0, 100.0),
    "exit_z": Range(-0.5, 1.0, -100.0, 100.0, below="entry_z"),
    "hold_h_max": Range(4.0, 168.0, 0.0, 87_600.0, is_log=True),
    "stop_atr": Range(1.5, 10.0, 0.01, 1000.0, is_log=True),
    "take_profit_atr": Range(0.0, 8.0, 0.0, 1000.0),
    "size_frac": _SIZE_FRAC,
}

WHALE_MIRROR_RANGES = {
    "scale_bars": Range(672, 8640, 1, 1_000_000, is_int=True, is_log=True),
    "watch_bars_max": Range(4, 672, 0, 1_000_000, is_int=True, is_log=True),
    "dead_band_frac": Range(0.05, 0.5, 0.0, 1.0),
    "atr_bars": _ATR_BARS,
    "lag_bars_max": Range(0, 32, 0, 1_000_000, is_int=True),
    "stop_atr": Range(1.5, 10.0, 0.01, 1000.0, is_log=True),
    "take_profit_atr": Range(0.0, 12.0, 0.0, 1000.0),
    "size_frac": _SIZE_FRAC,
}

SCALPER_RANGES = {
    "fast_bars": Range(4, 48, 1, 100_000, is_int=True, is_log=True, below="trend_bars"),
    "trend_bars": Range(48, 960, 1, 100_000, is_int=True, is_log=True),
    "atr_bars": _ATR_BARS,
    "pullback_atr_min": Range(0.25, 3.0, -100.0, 100.0),
    "hold_h_max": Range(1.0, 48.0, 0.0, 87_600.0, is_log=True),
    "stop_atr": Range(2.0, 8.0, 0.01, 1000.0, is_log=True),
    "take_profit_atr": Range(0.3, 2.0, 0.0, 1000.0, is_log=True),
    "size_frac": _SIZE_FRAC,
}

SIGNALS_RANGES = {
    "atr_bars": _ATR_BARS,
    "stop_atr": Range(1.5, 8.0, 0.01, 1000.0, is_log=True),
    "take_profit_atr": Range(0.0, 12.0, 0.0, 1000.0),
    "size_frac": _SIZE_FRAC,
}
