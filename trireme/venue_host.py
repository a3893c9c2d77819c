"""Three simulated venues over one market: built here for `trireme venues serve`, or started as a process for others.

    with HostedVenues(("binance", "hyperliquid"), seed=7, bar_interval="5s") as venues:
        venues["hyperliquid"].endpoints, venues["hyperliquid"].accounts

`VenueHost` runs the simulators on the loop that starts it; `HostedVenues` runs `trireme venues serve` and ends it.
Prices of all venues follow one `SharedPath`; markets begin at the present and go on without end.
"""

import asyncio
import importlib
import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from market.catalog import INTERVAL_NS_DEFAULT, load_market
from market.fills import Costs
from market.instruments import LISTED, Instrument
from market.records import NS_PER_MS, NS_PER_S
from market.series import format_interval, parse_interval
from market.storage import list_instruments
from venues.port import Endpoints
from venues.simulator.accounts import SimulatedAccount
from venues.simulator.driven_market import NOT_MODELLED, DrivenMarket, MarketSettings
from venues.simulator.faults import FaultBoard
from venues.simulator.funding import FundingRule, MarkRule
from venues.simulator.shared_path import Bars, SharedPath

VENUES = ("binance", "hyperliquid", "dydx")
BASES = ("BTC", "ETH", "SOL")
BLOCK_NS = 100 * NS_PER_MS  # of every venue, so that all walk alike
LEAD_NS = 10 * NS_PER_S  # how long the markets have been open when they are first asked
STOP_S = 1.5
_PORTS = {"binance": (0, 1), "hyperliquid": (2,), "dydx": (3, 4)}  # after the port base
_MARKETS: dict[str, tuple[Costs, dict[str, Any]]] = {
    "binance": (Costs(5.0, 2.0, 0.0), {"mark_every_ns": NS_PER_S}),
    "hyperliquid": (Costs(4.5, 1.5, 0.0), {"is_child_armed_by_part": False}),
    "dydx": (
        Costs(5.0, 1.0, 0.0),
        {"mark_every_ns": NS_PER_S, "mark_rule": MarkRule.ORACLE, "funding_rule": FundingRule.DYDX},
    ),
}
_CLASSES = {"binance": "BinanceSimulator", "hyperliquid": "HyperliquidSimulator", "dydx": "DydxSimulator"}


@dataclass(frozen=True, slots=True)
class VenueHostSettings:
    """What is served. `bar_interval_ns`: so long a bar takes that moves as 15 minutes of the market would."""

    venues: tuple[str, ...] = VENUES
    seed: int = 7
    bar_interval_ns: int = INTERVAL_NS_DEFAULT
    accounts: int = 3
    deposit_quote: float = 100_000.0
    port_base: int = 0  # 0: free ports
    catalog: Path | None = None  # recorded bars instead of the generated market
    faults: Path | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.venues if name not in VENUES]
        if unknown or not self.venues or len(set(self.venues)) != len(self.venues):
            raise ValueError(f"venues are {list(self.venues)}: name some of {', '.join(VENUES)}, each once")
        if self.accounts < 1 or not 0.0 < self.deposit_quote < 1e12 or self.seed < 0:
            raise ValueError("accounts must be >= 1, the deposit > 0 and the seed >= 0")
        if self.bar_interval_ns < 5 * NS_PER_S or 3600 * NS_PER_S % self.bar_interval_ns:
            raise ValueError(
                f"bar interval is {self.bar_interval_ns / NS_PER_S:g} s: must be at least 5 s and divide an hour"
            )


def list_venue_instruments(venue: str) -> list[Instrument]:
    """Return what a served venue lists."""
    return [LISTED[f"{base}-PERP.{venue.upper()}"] for base in BASES]


def make_path(settings: VenueHostSettings, ts_present_ns: int) -> SharedPath:
    """Return the path of the settings. Raises ValueError for a catalog that does not have it."""
    recorded = None if settings.catalog is None else load_recorded(settings.catalog)
    return SharedPath(settings.seed, BASES, settings.bar_interval_ns, ts_present_ns, recorded)


def load_recorded(catalog: Path) -> dict[str, tuple[Bars, int]]:
    """Return bars and their spacing by base currency: Binance's where stored, else those of any venue.

    Raises ValueError naming the base currency that is not there.
    """
    stored = list_instruments(catalog)
    chosen: list[str] = []
    for base in BASES:
        names = sorted((name for name in stored if name.startswith(f"{base}-")), key=lambda name: "BINANCE" not in name)
        if not names:
            raise ValueError(f"--catalog {catalog} has no {base}, only {stored}: `trireme data import` it")
        chosen.append(names[0])
    market = load_market(catalog, chosen, interval_ns=INTERVAL_NS_DEFAULT)
    recorded: dict[str, tuple[Bars, int]] = {}
    for base, instrument, bars in zip(BASES, market.instruments, market.bars, strict=True):
        bars["funding_rate"] *= 8.0 / instrument.funding_interval_h
        recorded[base] = bars, market.interval_ns
    return recorded


def read_faults(path: Path) -> dict[str, Any]:
    """Return the switches of a JSON or YAML file, as the control endpoint takes them.

    Raises ValueError in one line naming the file and what is wrong.
    """
    from cluster.config import read_yaml

    values: dict[str, Any] = {str(key): value for key, value in read_yaml(path).items()}
    try:
        FaultBoard().apply(values, 0)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return values


class VenueHost:
    """The simulators. Make, `start`, and `stop` on one event loop."""

    def __init__(self, settings: VenueHostSettings, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """Prepare; raises ValueError for a catalog or a faults file that cannot be used."""
        self.settings = settings
        faults = None if settings.faults is None else read_faults(settings.faults)
        now_ns = clock_ns()
        self.ts_start_ns = (now_ns - LEAD_NS) // BLOCK_NS * BLOCK_NS
        self.path = make_path(settings, self.ts_start_ns)
        self.accounts: dict[str, tuple[SimulatedAccount, ...]] = {}
        self.simulators: dict[str, Any] = {}
        self.not_modelled: dict[str, tuple[str, ...]] = {}
        for venue in settings.venues:
            self._build(venue, clock_ns)
            if faults is not None:
                self.simulators[venue].world.board.apply(faults, now_ns)

    def _build(self, venue: str, clock_ns: Callable[[], int]) -> None:
        settings, instruments = self.settings, list_venue_instruments(venue)
        costs, special = _MARKETS[venue]
        market_settings = MarketSettings(
            block_ns=BLOCK_NS,
            ts_start_ns=self.ts_start_ns,
            is_walk_by_base=True,
            trades_kept=20_000,
            candle_base_ns=math.gcd(60 * NS_PER_S, settings.bar_interval_ns),
            **special,
        )
        path, extend = self.path.view(instruments)
        market = DrivenMarket(instruments, costs, path, market_settings, settings.seed, extend)
        module = importlib.import_module(f"venues.{venue}.simulator")
        accounts: tuple[SimulatedAccount, ...] = ()
        if venue != "binance":  # nobody trades there
            wallets = importlib.import_module(f"venues.{venue}.simulator_wallets")
            accounts = wallets.make_accounts(settings.seed, settings.accounts, settings.deposit_quote)
        self.accounts[venue] = accounts
        self.simulators[venue] = getattr(module, _CLASSES[venue])(market, FaultBoard(settings.seed), accounts, clock_ns)
        self.not_modelled[venue] = (*module.NOT_MODELLED, *NOT_MODELLED)

    async def start(self) -> dict[str, dict[str, Any]]:
        """Serve all; return what `--json` prints. Raises OSError for a port in use, and leaves nothing open then."""
        described: dict[str, dict[str, Any]] = {}
        try:
            for venue, simulator in self.simulators.items():
                first = self.settings.port_base
                ports = (first + number if first else 0 for number in _PORTS[venue])
                described[venue] = self._describe(venue, await simulator.start("127.0.0.1", *ports))
        except BaseException:
            await self.stop()
            raise
        return described

    async def stop(self) -> None:
        """End them. Raises what ended a part of one before its time."""
        stops = (simulator.stop() for simulator in self.simulators.values())
        for outcome in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def _describe(self, venue: str, addresses: Mapping[str, str]) -> dict[str, Any]:
        accounts = [
            {"address": one.address, "private_key": one.private_key, "mnemonic": one.mnemonic}
            for one in self.accounts[venue]
        ]
        described = {"http": "", "ws": "", "grpc": "", **addresses, "accounts": accounts}
        if venue == "dydx":
            described["chain_id"] = self.simulators[venue].chain.admitter.chain_id
        return described | {
            "instruments": [one.instrument_id for one in list_venue_instruments(venue)],
            "deposit_quote": self.settings.deposit_quote if accounts else 0.0,
            "seed": self.settings.seed,
            "bar_interval_s": self.settings.bar_interval_ns / NS_PER_S,
            "ts_start_ms": self.ts_start_ns // NS_PER_MS,
            "not_modelled": list(self.not_modelled[venue]),
        }


@dataclass(frozen=True, slots=True)
class HostedVenue:
    """Where one served venue is, and who may trade there."""

    name: str
    http: str
    ws: str
    grpc: str  # "" but on dydx
    chain_id: str  # "" but on dydx
    control: str  # GET lists faults, POST turns them on and off
    accounts: tuple[SimulatedAccount, ...]  # none on binance
    instruments: tuple[str, ...]
    extra: Mapping[str, str] = field(default_factory=dict)  # spot_http and spot_ws on binance
    not_modelled: tuple[str, ...] = field(default=(), repr=False)

    @property
    def endpoints(self) -> Endpoints:
        """The same, as clients take it."""
        extra = {**self.extra, "chain_id": self.chain_id} if self.chain_id else dict(self.extra)
        return Endpoints(self.http, self.ws, self.grpc, extra)


class HostedVenuesError(RuntimeError):
    """The process with the venues did not come up, or is gone; says what it last said."""


class HostedVenues:
    """`python -m trireme venues serve` as a process of ours: started on entry, ended on exit, gone if we die."""

    def __init__(
        self,
        venues: Sequence[str] = VENUES,
        *,
        seed: int = 7,
        bar_interval: str = "15m",
        accounts: int = 3,
        deposit_quote: float = 100_000.0,
        port_base: int = 0,
        catalog: Path | None = None,
        faults: Path | None = None,
        start_s: float = 120.0,
    ) -> None:
        """Prepare, as the options of the command say; `start_s`: how long the start may take.

        Raises ValueError for settings that the command would refuse.
        """
        self.settings = VenueHostSettings(
            tuple(venues), seed, parse_interval(bar_interval), accounts, deposit_quote, port_base, catalog, faults
        )
        self._start_s = start_s
        self._process: subprocess.Popen[str] | None = None
        self._venues: dict[str, HostedVenue] = {}
        self.ts_start_ns = 0

    def __enter__(self) -> "HostedVenues":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __getitem__(self, venue: str) -> HostedVenue:
        """Return one of the venues. Raises KeyError for one that is not served."""
        return self._venues[venue]

    @property
    def venues(self) -> Mapping[str, HostedVenue]:
        """All of them, by name."""
        return self._venues

    @property
    def pid(self) -> int:
        """The process's id, 0 before it is started."""
        return 0 if self._process is None else self._process.pid

    def is_running(self) -> bool:
        """Whether the process is up."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait until it serves. Raises HostedVenuesError."""
        settings = self.settings
        command = [sys.executable, "-m", "trireme", "venues", "serve", "--json", "--parent-pid", str(os.getpid())]
        command += [part for name in settings.venues for part in ("--venue", name)]
        command += ["--seed", str(settings.seed), "--bar-interval", format_interval(settings.bar_interval_ns)]
        command += ["--accounts", str(settings.accounts), "--deposit", repr(settings.deposit_quote)]
        command += ["--port-base", str(settings.port_base)] if settings.port_base else []
        command += ["--catalog", str(settings.catalog)] if settings.catalog is not None else []
        command += ["--faults", str(settings.faults)] if settings.faults is not None else []
        # Its stderr is ours: what goes wrong with it is read where the session's own errors are.
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        try:
            self._read(json.loads(self._await_line(self._process)))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process: asked first, killed after 5 s. Safe to repeat."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _await_line(self, process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None, "opened as a pipe"
        until_s = time.monotonic() + self._start_s
        while time.monotonic() < until_s:
            if select.select([process.stdout], [], [], 0.1)[0]:
                line = process.stdout.readline()
                if line:
                    return line
                raise HostedVenuesError(f"the venues ended with code {process.wait()} before they served; see stderr")
        raise HostedVenuesError(f"the venues did not serve within {self._start_s:.0f} s")

    def _read(self, described: Mapping[str, Mapping[str, Any]]) -> None:
        for name, values in described.items():
            self._venues[name] = HostedVenue(
                name,
                values["http"],
                values["ws"],
                values["grpc"],
                values.get("chain_id", ""),
                values["control"],
                tuple(_read_account(one, values["deposit_quote"]) for one in values["accounts"]),
                tuple(values["instruments"]),
                {key: values[key] for key in ("spot_http", "spot_ws") if key in values},
                tuple(values["not_modelled"]),
            )
            self.ts_start_ns = values["ts_start_ms"] * NS_PER_MS


def _read_account(values: Mapping[str, str], deposit_quote: float) -> SimulatedAccount:
    return SimulatedAccount(values["address"], deposit_quote, values["private_key"], values["mnemonic"])
