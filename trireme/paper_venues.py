"""A paper session at venues in real time: what trades where, on whose data, and the simulators that it needs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from actors.connections import TRADING_VENUES, VenueConnection
from actors.market_feed.venue_source import VenueSource
from actors.plan import Plan, VenueAccount
from market.catalog import MarketData, make_market
from market.instruments import LISTED, Instrument, find_instrument
from market.records import BAR_DTYPE
from market.series import format_interval, parse_interval
from market.storage import replacing
from trireme.house import PaperHouse
from trireme.settings import Settings
from trireme.venue_host import HostedVenue, HostedVenues, VenueHostSettings
from trireme.venue_settings import Network, make_connection
from venues.simulator.accounts import SimulatedAccount

DATA_VENUE = "binance"
INTERVAL_DEFAULT = "15m"
HISTORY_BARS = 300  # observed before the first bar that is decided on


@dataclass(frozen=True, slots=True)
class VenueSession:
    """What is traded: `instruments` venue by venue, each decided on by the bars of the one in `data_ids`."""

    accounts: tuple[VenueAccount, ...]
    instruments: tuple[Instrument, ...]
    data_ids: tuple[str, ...]
    interval_ns: int

    @property
    def names(self) -> tuple[str, ...]:
        """The venues: first that of the data, then those of the accounts."""
        return DATA_VENUE, *(account.name for account in self.accounts)

    def place(self, plan: Plan) -> Plan:
        """Return the plan with its instruments in their accounts."""
        return replace(plan, accounts=self.accounts)


def choose_session(
    settings: Settings, venues: tuple[str, ...], instrument_ids: tuple[str, ...], interval: str
) -> VenueSession:
    """Return what `venues` trade: the instruments given, else the contracts of the settings' instruments at each.

    Raises: ValueError naming an instrument that a venue or the data do not have, an interval that cannot be, or a key
    of the settings that leads to money or nowhere.
    """
    wanted = instrument_ids or tuple(
        f"{contract}.{venue.upper()}"
        for venue in venues
        for contract in dict.fromkeys(name.rpartition(".")[0] for name in settings.instruments)
    )
    listed = [find_instrument(name) for name in wanted]
    accounts: list[VenueAccount] = []
    instruments: list[Instrument] = []
    for venue in dict.fromkeys(venues):
        here = [instrument for instrument in listed if instrument.venue_id == venue.upper()]
        if not here:
            raise ValueError(f"no instrument of {venue} is to be traded: name one with --instrument, or drop the venue")
        accounts.append(VenueAccount(venue, tuple(range(len(instruments), len(instruments) + len(here)))))
        instruments += here
    if len(instruments) != len(listed):
        names = ", ".join(i.instrument_id for i in listed if i not in instruments)
        raise ValueError(f"{names}: not of {', '.join(venues)}: give its venue with --venue, one of {TRADING_VENUES}")
    data_ids = tuple(
        f"{instrument.instrument_id.rpartition('.')[0]}.{DATA_VENUE.upper()}" for instrument in instruments
    )
    for name in data_ids:
        if name not in LISTED:
            raise ValueError(f"{name} is not listed, and its bars would have to decide: trade another instrument")
    session = VenueSession(tuple(accounts), tuple(instruments), data_ids, parse_interval(interval))
    _check_networks(session, settings)
    return session


def _check_networks(session: VenueSession, settings: Settings) -> None:
    # Before anything is started or written: paper trades without money, and every venue can be reached as it is set.
    for account in session.accounts:
        venue = settings.venues.get(account.name)
        if venue.network is Network.MAINNET:
            raise ValueError(f"venues.{account.name}.network is mainnet: paper trades on simulators and testnets only")
        if not venue.is_hosted:
            make_connection(account.name, venue, is_trading=True)
    if any(settings.venues.get(name).is_hosted for name in session.names):
        VenueHostSettings(session.names, bar_interval_ns=session.interval_ns)


@dataclass(frozen=True, slots=True)
class VenueLinks:
    """The ways to the venues of a session."""

    data: VenueConnection
    accounts: tuple[VenueConnection, ...]


@contextmanager
def reach_venues(session: VenueSession, settings: Settings, directory: Path, seed: int) -> Iterator[VenueLinks]:
    """Give the connections for data and for each account; simulators are started for it, and ended after it.

    The simulators' keys are written to `directory`/keys.yaml, for its owner alone.
    """
    names = session.names
    simulated = tuple(name for name in names if settings.venues.get(name).is_hosted)
    deposit_quote = settings.equity_start_quote / len(session.accounts)
    if not simulated:
        data, *accounts = (make_connection(name, settings.venues.get(name), name != DATA_VENUE) for name in names)
        yield VenueLinks(data, tuple(accounts))
        return
    interval = format_interval(session.interval_ns)
    with HostedVenues(simulated, seed=seed, bar_interval=interval, accounts=1, deposit_quote=deposit_quote) as hosted:
        keys = directory / "keys.yaml"
        _write_keys(keys, {name: hosted[name].accounts[0] for name in simulated if name != DATA_VENUE})
        data, *accounts = (
            _connect_to_simulator(hosted[name], keys)
            if name in simulated
            else make_connection(name, settings.venues.get(name), name != DATA_VENUE)
            for name in names
        )
        yield VenueLinks(data, tuple(accounts))


def _write_keys(path: Path, accounts: Mapping[str, SimulatedAccount]) -> None:
    with replacing(path) as new:
        new.touch(mode=0o600)
        new.write_text(yaml.safe_dump({name: account.private_key for name, account in accounts.items()}))


def _connect_to_simulator(venue: HostedVenue, keys: Path) -> VenueConnection:
    if venue.name == DATA_VENUE:
        return VenueConnection(venue.name, venue.endpoints)
    reference = f"file:{keys.resolve()}#{venue.name}"
    return VenueConnection(venue.name, venue.endpoints, key=reference, address=venue.accounts[0].address)


def make_venue_source(session: VenueSession, links: VenueLinks, bars: int | None, history: int | None) -> VenueSource:
    """Return where the feed's bars come from."""
    history = HISTORY_BARS if history is None else history
    return VenueSource(links.data, session.data_ids, session.interval_ns, history, bars or 0)


def read_bars(house: PaperHouse) -> MarketData:
    """Return the bars that a session was decided on. Raises ValueError when there was none."""
    closes = house.list_bars()
    if not closes:
        raise ValueError("the session ended before its first bar closed: there is nothing to report")
    bars = np.array([[tuple(bar) for bar in closed.bars] for closed in closes], BAR_DTYPE).T.copy()
    return make_market(house.plan.instruments, bars, house.plan.interval_ns)
