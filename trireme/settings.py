"""`trireme.yaml`: what trades, where, under which limits; read once, checked strictly, passed down."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.herald.channels import Channel, parse_channels
from actors.herald.machine import HeraldPolicy, Route
from actors.messages import Severity
from actors.supervisor.machine import SupervisorPolicy
from cluster.config import ClusterConfig, Section, load_section, read_yaml, setting
from market.fills import Costs
from market.records import NS_PER_S
from risk.limits import LIMITS_DEFAULT, Limits, parse_limits
from trireme.venue_settings import VenuesSettings

DEFAULT_PATH = Path("trireme.yaml")


@dataclass(frozen=True)
class CostSettings:
    """Fees and slippage in basis points; a negative fee is a rebate. Source of defaults: Hyperliquid's base tier."""

    fee_taker_bps: float = setting(4.5, low=-10.0, high=100.0)
    fee_maker_bps: float = setting(1.5, low=-10.0, high=100.0)
    slippage_bps: float = setting(1.0, low=0.0, high=500.0)


@dataclass(frozen=True)
class StrategySettings:
    """One strategy, with the parameters of its promotion record; or with these, and the catalog's for the others."""

    name: str
    params: dict[str, float] = setting({})  # noqa: RUF009
    promotion: Path | None = None


@dataclass(frozen=True)
class MarketSettings:
    """The generated market of the demo and of paper trading without a catalog."""

    seed: int = setting(7, low=0, high=2**31)
    bars: int = setting(2880, low=10, high=10_000_000)


@dataclass(frozen=True)
class RouteSettings:
    """Alerts of at least this severity, with a key that begins so, go to these channels."""

    channels: tuple[str, ...]
    severity_min: Severity = setting(Severity.WARNING)  # noqa: RUF009
    key_prefix: str = setting("")


@dataclass(frozen=True)
class _HeraldKeys:
    # The keys of `herald`, but for `channels`, which the herald itself reads.
    routes: tuple[RouteSettings, ...] = setting(())
    escalation_channels: tuple[str, ...] = setting(())
    window_s: float = setting(60.0, low=1.0, high=86_400.0)
    repeat_s: float = setting(900.0, low=1.0, high=86_400.0)
    repeats_before_escalation: int = setting(2, low=0, high=1000)


@dataclass(frozen=True)
class HeraldSettings:
    """Who is told what. Without channels nobody is, but alerts still stand in the ledger and on the live table."""

    policy: HeraldPolicy = dataclasses.field(default_factory=lambda: HeraldPolicy(routes=()))
    channels: dict[str, Channel] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class SupervisorSettings:
    """How patient the supervisor is; see actors.supervisor.machine."""

    period_s: float = setting(0.5, low=0.05, high=60.0)
    silence_s: float = setting(5.0, low=0.5, high=600.0)  # without an answer: silent
    suspect_s: float = setting(30.0, low=1.0, high=3600.0)  # silent, or being restarted by Ray: then ended and spawned
    start_s: float = setting(60.0, low=1.0, high=3600.0)
    failures_max: int = setting(5, low=1, high=1000)  # within the window: quarantine
    window_s: float = setting(600.0, low=1.0, high=86_400.0)
    backoff_s: float = setting(1.0, low=0.001, high=3600.0)
    backoff_s_max: float = setting(60.0, low=0.001, high=86_400.0)

    def make_policy(self) -> SupervisorPolicy:
        """Return the policy in the machine's units."""
        return SupervisorPolicy(
            start_max_ns=int(self.start_s * NS_PER_S),
            suspect_max_ns=int(self.suspect_s * NS_PER_S),
            failures_max=self.failures_max,
            window_ns=int(self.window_s * NS_PER_S),
            backoff_ns=int(self.backoff_s * NS_PER_S),
            backoff_max_ns=int(self.backoff_s_max * NS_PER_S),
        )


@dataclass(frozen=True)
class _File:
    """The keys of the file, but for `limits` and `herald`, which risk and the herald themselves read."""

    equity_start_quote: float = setting(100_000.0, low=1.0, high=1e12)
    instruments: tuple[str, ...] = setting(("BTC-PERP.HYPERLIQUID", "ETH-PERP.HYPERLIQUID"))
    strategies: tuple[StrategySettings, ...] = setting(
        (StrategySettings("momentum_sar"), StrategySettings("mean_reversion_funding"))
    )
    costs: CostSettings = dataclasses.field(default_factory=CostSettings)
    market: MarketSettings = dataclasses.field(default_factory=MarketSettings)
    supervisor: SupervisorSettings = dataclasses.field(default_factory=SupervisorSettings)
    venues: VenuesSettings = dataclasses.field(default_factory=VenuesSettings)
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
    herald: HeraldSettings = dataclasses.field(default_factory=HeraldSettings)
    supervisor: SupervisorSettings = dataclasses.field(default_factory=SupervisorSettings)
    venues: VenuesSettings = dataclasses.field(default_factory=VenuesSettings)


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
    herald = _read_herald(mapping) if "herald" in mapping else HeraldSettings()
    loaded = load_section(_without(mapping, "limits", "herald"), _File)
    _check_strategies(loaded.strategies, mapping)
    costs = Costs(loaded.costs.fee_taker_bps, loaded.costs.fee_maker_bps, loaded.costs.slippage_bps)
    return Settings(
        loaded.equity_start_quote,
        loaded.instruments,
        loaded.strategies,
        costs,
        loaded.market,
        loaded.cluster,
        limits,
        herald,
        loaded.supervisor,
        loaded.venues,
    )


def _check_strategies(strategies: tuple[StrategySettings, ...], mapping: dict[str, Any]) -> None:
    names = [part.name for part in strategies]
    for index, part in enumerate(strategies):
        where = getattr(mapping["strategies"][index], "where", "settings") if "strategies" in mapping else "settings"
        if part.name in names[:index]:
            raise ValueError(f"{where}: strategy {part.name} is listed twice: an account runs it once")
        if part.params and part.promotion is not None:
            raise ValueError(f"{where}: strategy {part.name} has params and a promotion, which has its own: keep one")


def _without(mapping: dict[str, Any], *keys: str) -> dict[str, Any]:
    # The rest of a mapping, which still knows the line of each key.
    rest = Section(mapping.where) if isinstance(mapping, Section) else {}
    rest.update({key: value for key, value in mapping.items() if key not in keys})
    if isinstance(mapping, Section) and isinstance(rest, Section):
        rest.lines = mapping.lines
    return rest


def _read_herald(mapping: dict[str, Any]) -> HeraldSettings:
    section = mapping["herald"]
    if not isinstance(section, dict):
        where = mapping.where_of("herald") if isinstance(mapping, Section) else "settings"
        raise ValueError(f"{where}: herald is {section!r}, must be 'key: value' lines")
    keys = load_section(_without(section, "channels"), _HeraldKeys, "herald")
    given = section.get("channels", {})
    where = section.where_of("channels") if isinstance(section, Section) else "herald"
    if not isinstance(given, dict) or not all(isinstance(channel, dict) for channel in given.values()):
        raise ValueError(f"{where}: herald.channels must be lines of 'name: {{kind: ..., ...}}'")
    channels: dict[str, Channel] = {}
    for name, channel in given.items():
        where = channel.where if isinstance(channel, Section) else where
        try:
            channels |= parse_channels({name: channel})
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    # Who names a channel and no route wants to hear of whatever is wrong.
    routes = keys.routes or (RouteSettings(tuple(channels)),) if channels else keys.routes
    policy = HeraldPolicy(
        tuple(Route(route.severity_min, route.channels, route.key_prefix) for route in routes),
        keys.escalation_channels,
        window_ns=int(keys.window_s * NS_PER_S),
        repeat_ns=int(keys.repeat_s * NS_PER_S),
        repeats_before_escalation=keys.repeats_before_escalation,
    )
    unknown = policy.list_channels() - set(channels)
    if unknown:
        where = section.where_of("routes") if isinstance(section, Section) else "herald"
        raise ValueError(f"{where}: no channel is named {', '.join(sorted(unknown))}: add it to herald.channels")
    return HeraldSettings(policy, channels)


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
            parse_limits({rule: {}}, limits)
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
