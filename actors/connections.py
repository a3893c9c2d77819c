"""How an actor reaches a venue: what may travel through Ray, and the client that is made of it where it is used."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from actors.secrets import read_secret
from market.instruments import Instrument
from venues.port import ClientSettings, Endpoints, MarketDataClient, TradingClient

TRADING_VENUES = ("hyperliquid", "dydx")
DATA_VENUES = ("binance", "hyperliquid", "dydx")
_HEX_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class VenueConnection:
    """One venue, and one account there where orders are sent. It holds no secret: `key` refers to one.

    `key`: "env:NAME" or "file:PATH#key" of the signing key (Hyperliquid: of the account or of its agent; dYdX: the
    key in hex or the mnemonic). `address`: of the account, never that of the agent.
    """

    venue: str
    endpoints: Endpoints
    is_mainnet: bool = False
    key: str = ""
    address: str = ""
    subaccount: int = 0
    settings: ClientSettings = ClientSettings()  # noqa: RUF009 - frozen


def make_trading_client(connection: VenueConnection, instruments: Sequence[Instrument]) -> TradingClient:
    """Return the client of the connection's account; its key is read here and kept by the client alone.

    Raises: ValueError naming what is missing of venue or key, never a value.
    """
    where = f"venues.{connection.venue}.key"
    if connection.venue == "hyperliquid":
        from venues.hyperliquid.client import HyperliquidClient

        secret = _check_hex(read_secret(connection.key, where), where)
        return HyperliquidClient(
            connection.endpoints,
            instruments,
            private_key=secret,
            account_address=connection.address,
            is_mainnet=connection.is_mainnet,
            settings=connection.settings,
        )
    if connection.venue == "dydx":
        from venues.dydx.client import DydxClient

        secret = read_secret(connection.key, where)
        is_mnemonic = len(secret.split()) > 1
        return DydxClient(
            connection.endpoints,
            instruments,
            private_key="" if is_mnemonic else _check_hex(secret, where),
            mnemonic=secret if is_mnemonic else "",
            address=connection.address,
            subaccount_number=connection.subaccount,
            settings=connection.settings,
        )
    raise ValueError(f"venue {connection.venue!r} takes no orders here: choose one of {', '.join(TRADING_VENUES)}")


def make_market_data_client(connection: VenueConnection, instruments: Sequence[Instrument]) -> MarketDataClient:
    """Return a client of the venue's market data. Raises ValueError for a venue that is not there."""
    if connection.venue == "binance":
        from venues.binance.market_data import BinanceMarketData

        return BinanceMarketData(connection.endpoints, instruments, settings=connection.settings)
    if connection.venue == "hyperliquid":
        from venues.hyperliquid.market_data import HyperliquidMarketData

        return HyperliquidMarketData(connection.endpoints, instruments, settings=connection.settings)
    if connection.venue == "dydx":
        from venues.dydx.market_data import DydxMarketData

        return DydxMarketData(connection.endpoints, instruments, settings=connection.settings)
    raise ValueError(f"venue {connection.venue!r} has no market data here: choose one of {', '.join(DATA_VENUES)}")


def _check_hex(secret: str, where: str) -> str:
    if not _HEX_KEY.fullmatch(secret):
        raise ValueError(f"{where}: what the reference points to is not a private key of 64 hex digits")
    return secret
