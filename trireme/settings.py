"""`trireme.yaml`: what trades, where, under which limits; read once, checked strictly, passed down."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.config import ClusterConfig, Section, load_section, read_yaml, setting
from market.fills import Costs
from risk.limits import LIMITS_DEFAULT, Limits, parse_limits

DEFAULT_PATH = Path("trireme.yaml")


@dataclass(frozen=True)
class CostSettings:
    """Fees and slippage in basis points; a negative fee is a rebate. Source of defaults: Hyperliquid's base tier."""

    fee_taker_bps: float = setting(4.5, low=-10.0, high=100.0)
    fee_maker_bps: float = setting(1.5, low=-10.0, high=100.0)
    slippage_bps: float = setting(1.0, low=0.0, high=500.0)


@dataclass(frozen=True)
class StrategySettings:
    """One strategy; parameters that are not named keep the catalog's defaults."""

    name: str
    params: dict[str, float] = setting({})  # noqa: RUF009


@dataclass(frozen=True)
class MarketSettings:
    """The generated market of the demo and of paper trading without a catalog."""

    seed: int = setting(7, low=0, high=2**31)
    bars: int = setting(2880, low=10, high=10_000_000)


@dataclass(frozen=True)
class _File:
    """The keys of the file, but for `limits`, which risk itself reads."""

    equity_start_quote: float = setting(100_000.0, low=1.0, high=1e12)
    instruments: tuple[str, ...] = setting(("BTC-PERP.HYPERLIQUID", "ETH-PERP.HYPERLIQUID"))
    strategies: tuple[StrategySettings, ...] = setting(
        (StrategySettings("momentum_sar"), StrategySettings("mean_reversion_funding"))
    )
    costs: CostSettings = dataclasses.field(default_factory=CostSettings)
    market: MarketSettings = dataclasses.field(default_factory=MarketSettings)
    cluster: ClusterConfig = dataclasses.field(default_factory=ClusterConfig)


@dataclass(frozen=True)
class Settings:
    """Everything a command needs to know about what trades."""

    equity_start_quote: float
    instruments: tuple[str, ...]
    strategies: tuple[StrategySettings, ...]
    costs: Costs
    market: MarketSettings
    cluster: ClusterConfig
    limits: Limits


def read_settings(path: Path | None = None) -> Settings:
    """Return the settings of a file; without one, those of ./trireme.yaml, or the defaults where there is none.

    Raises ValueError of one line with file, line and key.
    """
    if path is None and not DEFAULT_PATH.exists():
        mapping: dict[str, Any] = {}
    else:
        mapping = read_yaml(path or DEFAULT_PATH)
    limits = LIMITS_DEFAULT
    if "limits" in mapping:
        limits = _read_limits(mapping)
    rest = Section(mapping.where) if isinstance(mapping, Section) else {}
    rest.update({key: value for key, value in mapping.items() if key != "limits"})
    if isinstance(mapping, Section) and isinstance(rest, Section):
        rest.lines = mapping.lines
    loaded = load_section(rest, _File)
    costs = Costs(loaded.costs.fee_taker_bps, loaded.costs.fee_maker_bps, loaded.costs.slippage_bps)
    return Settings(
        loaded.equity_start_quote,
        loaded.instruments,
        loaded.strategies,
        costs,
        loaded.market,
        loaded.cluster,
        limits,
    )


def _read_limits(mapping: dict[str, Any]) -> Limits:
    # Rule by rule, so that an error can name the line of its rule.
    limits, rules = LIMITS_DEFAULT, mapping["limits"]
    if not isinstance(rules, Section):
        return parse_limits(rules)
    for rule, values in rules.items():
        where = values.where if isinstance(values, Section) else rules.where_of(rule)
        try:
            if not isinstance(values, Section):
                limits = parse_limits({rule: values}, limits)
                continue
            for key, value in values.items():
                where = values.where_of(key)
                limits = parse_limits({rule: {key: value}}, limits)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return limits


def override_costs(costs: Costs, taker: float | None, maker: float | None, slippage: float | None) -> Costs:
    """Return the costs with those of the command line in place; raises ValueError outside the file's ranges."""
    given = {"fee_taker_bps": taker, "fee_maker_bps": maker, "slippage_bps": slippage}
    values = costs._asdict() | {key: value for key, value in given.items() if value is not None}
    return Costs(**dataclasses.asdict(load_section(values, CostSettings)))
