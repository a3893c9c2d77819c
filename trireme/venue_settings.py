"""The `venues` section of the settings: which network each venue is on, by which account, and where that is."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from actors.connections import VenueConnection
from actors.secrets import check_reference
from cluster.config import setting
from venues.binance.rest import USDM_REST_URL
from venues.binance.streams import USDM_WS_URL
from venues.hyperliquid.wire import MAINNET_URL, TESTNET_URL
from venues.port import Endpoints


class Network(StrEnum):
    """Which of a venue's worlds."""

    SIMULATOR = "simulator"  # ours, on loopback, started when it is needed; with `http`, one that runs already
    TESTNET = "testnet"  # the venue's own, without money; Binance's data are those of its mainnet
    MAINNET = "mainnet"


@dataclass(frozen=True)
class VenueSettings:
    """One venue. `key`: "env:NAME" or "file:PATH#key", never the secret; `address`: of the account, not of an agent."""

    network: Network = setting(Network.SIMULATOR)  # noqa: RUF009
    key: str = setting("")
    address: str = setting("")
    subaccount: int = setting(0, low=0, high=127_999)
    http: str = setting("")  # where else than the network's own
    ws: str = setting("")
    grpc: str = setting("")
    chain_id: str = setting("")

    @property
    def is_hosted(self) -> bool:
        """Whether the venue is to be started by whoever needs it."""
        return self.network is Network.SIMULATOR and not self.http


@dataclass(frozen=True)
class VenuesSettings:
    """All venues, by name."""

    binance: VenueSettings = field(default_factory=VenueSettings)
    hyperliquid: VenueSettings = field(default_factory=VenueSettings)
    dydx: VenueSettings = field(default_factory=VenueSettings)

    def get(self, venue: str) -> VenueSettings:
        """Return a venue's settings by its name."""
        found: VenueSettings = getattr(self, venue)
        return found


# Source: the venues' manuals and SDKs (PROTOCOLS.md 1.1, 2.1, 3.1). Nobody runs dYdX's mainnet node for everyone: its
# address has to be given.
_ENDPOINTS = {
    ("binance", Network.TESTNET): Endpoints(USDM_REST_URL, USDM_WS_URL),
    ("binance", Network.MAINNET): Endpoints(USDM_REST_URL, USDM_WS_URL),
    ("hyperliquid", Network.TESTNET): Endpoints(TESTNET_URL, f"{TESTNET_URL.replace('http', 'ws', 1)}/ws"),
    ("hyperliquid", Network.MAINNET): Endpoints(MAINNET_URL, f"{MAINNET_URL.replace('http', 'ws', 1)}/ws"),
    ("binance", Network.SIMULATOR): Endpoints("", ""),
    ("hyperliquid", Network.SIMULATOR): Endpoints("", ""),
    ("dydx", Network.SIMULATOR): Endpoints("", "", "", {"chain_id": "localdydxprotocol"}),
    ("dydx", Network.TESTNET): Endpoints(
        "https://indexer.v4testnet.dydx.exchange",
        "wss://indexer.v4testnet.dydx.exchange/v4/ws",
        "test-dydx-grpc.kingnodes.com:443",
        {"chain_id": "dydx-testnet-4"},
    ),
    ("dydx", Network.MAINNET): Endpoints(
        "https://indexer.dydx.trade", "wss://indexer.dydx.trade/v4/ws", "", {"chain_id": "dydx-mainnet-1"}
    ),
}


def make_connection(venue: str, settings: VenueSettings, is_trading: bool) -> VenueConnection:
    """Return how a venue that runs already is reached.

    Raises: ValueError naming the key of the settings that is missing.
    """
    endpoints = _ENDPOINTS[venue, settings.network]
    given = {name: getattr(settings, name) for name in ("http", "ws", "grpc") if getattr(settings, name)}
    extra = {**endpoints.extra} | ({"chain_id": settings.chain_id} if settings.chain_id else {})
    endpoints = replace(endpoints, **given, extra=extra)
    if not endpoints.ws:
        raise ValueError(f"venues.{venue}.ws is missing: a simulator at {endpoints.http} has printed it")
    if is_trading:
        if venue == "dydx" and not endpoints.grpc:
            raise ValueError("venues.dydx.grpc is missing: name a node of the chain")
        if not settings.address:
            raise ValueError(f"venues.{venue}.address is missing: the account's address, not its agent's")
        check_reference(settings.key, f"venues.{venue}.key")
    return VenueConnection(
        venue, endpoints, settings.network is Network.MAINNET, settings.key, settings.address, settings.subaccount
    )
