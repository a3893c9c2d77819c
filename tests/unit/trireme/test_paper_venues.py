"""What trades where at venues, how they are reached, and what is refused before anything starts."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from actors.plan import VenueAccount
from market.records import NS_PER_S
from trireme.paper import paper
from trireme.paper_venues import choose_session
from trireme.settings import Settings, read_settings
from trireme.venue_settings import Network, VenueSettings, make_connection

BOTH = ("hyperliquid", "dydx")
KEY = "0x" + "7" * 64


def write_settings(directory: Path, text: str = "") -> Settings:
    path = directory / "settings.yaml"
    path.write_text(text or "{}")
    return read_settings(path)


def test_the_contracts_of_the_settings_trade_at_every_venue(tmp_path: Path) -> None:
    session = choose_session(write_settings(tmp_path), BOTH, (), "15m")
    assert [part.instrument_id for part in session.instruments] == [
        "BTC-PERP.HYPERLIQUID",
        "ETH-PERP.HYPERLIQUID",
        "BTC-PERP.DYDX",
        "ETH-PERP.DYDX",
    ]
    assert session.data_ids == ("BTC-PERP.BINANCE", "ETH-PERP.BINANCE") * 2
    assert session.accounts == (VenueAccount("hyperliquid", (0, 1)), VenueAccount("dydx", (2, 3)))
    assert (session.interval_ns, session.names) == (900 * NS_PER_S, ("binance", *BOTH))


def test_instruments_named_go_to_their_venues(tmp_path: Path) -> None:
    names = ("SOL-PERP.DYDX", "BTC-PERP.HYPERLIQUID", "ETH-PERP.DYDX")
    session = choose_session(write_settings(tmp_path), ("dydx", "hyperliquid", "dydx"), names, "5s")
    assert [part.instrument_id for part in session.instruments] == [
        "SOL-PERP.DYDX",
        "ETH-PERP.DYDX",
        "BTC-PERP.HYPERLIQUID",
    ]
    assert session.data_ids == ("SOL-PERP.BINANCE", "ETH-PERP.BINANCE", "BTC-PERP.BINANCE")


REFUSED: dict[str, tuple[tuple[str, ...], tuple[str, ...], str, str, str]] = {
    "other venue": (("dydx",), ("BTC-PERP.HYPERLIQUID",), "15m", "", "no instrument of dydx is to be traded"),
    "one too many": (("dydx",), ("BTC-PERP.DYDX", "BTC-PERP.HYPERLIQUID"), "15m", "", "not of dydx"),
    "unlisted": (("dydx",), ("DOGE-PERP.DYDX",), "15m", "", "unknown instrument DOGE-PERP.DYDX"),
    "no interval": (("dydx",), (), "often", "", "interval 'often' is not"),
    "too fast": (("dydx",), (), "3s", "", "bar interval is 3 s: must be at least 5 s"),
    "money": (BOTH, (), "15m", "venues: {dydx: {network: mainnet}}", "venues.dydx.network is mainnet"),
    "no address": (BOTH, (), "15m", "venues: {dydx: {network: testnet}}", "venues.dydx.address is missing"),
    "a secret": (
        ("dydx",),
        (),
        "15m",
        f"venues: {{dydx: {{network: testnet, address: a, key: '{KEY}'}}}}",
        "not the secret itself",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_left(case: str, tmp_path: Path) -> None:
    venues, instruments, interval, settings, words = REFUSED[case]
    with pytest.raises(ValueError, match=words) as refused:
        choose_session(write_settings(tmp_path, settings), venues, instruments, interval)
    assert "7" * 64 not in str(refused.value)
    options = [part for name in venues for part in ("--venue", name)]
    options += [part for name in instruments for part in ("--instrument", name)]
    options += ["--interval", interval, "--config", str(tmp_path / "settings.yaml"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(paper, [*options, "--unpromoted"])
    assert isinstance(result.exception, ValueError)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--venue", "dydx", "--catalog", "c", "--speed", "2"], "--catalog, --speed with --venue has no meaning"),
        (["--interval", "5s", "--history", "3"], "--interval, --history without --venue has no meaning"),
    ],
)
def test_options_of_the_other_kind_are_refused(options: list[str], words: str) -> None:
    result = CliRunner().invoke(paper, options)
    assert words in str(result.exception)


def connect(venue: str, is_trading: bool = True, **values: Any) -> Any:
    return make_connection(venue, VenueSettings(**values), is_trading)


def test_networks_lead_to_the_venues_own_addresses_and_settings_to_others() -> None:
    testnet = connect("hyperliquid", network=Network.TESTNET, address="0x1", key="env:HL_KEY")
    assert testnet.endpoints.http.startswith("https://")
    assert "testnet" in testnet.endpoints.ws
    assert not testnet.is_mainnet
    mainnet = connect("hyperliquid", network=Network.MAINNET, address="0x1", key="env:HL_KEY")
    assert mainnet.is_mainnet
    assert "testnet" not in mainnet.endpoints.http
    own = connect("dydx", network=Network.MAINNET, address="dydx1", key="env:DX_KEY", grpc="node:443", subaccount=2)
    assert (own.endpoints.grpc, own.endpoints.extra["chain_id"], own.subaccount) == ("node:443", "dydx-mainnet-1", 2)
    data = connect("binance", is_trading=False, network=Network.TESTNET)
    assert data.endpoints.ws.startswith("wss://")
    assert data.key == ""
    running = connect("dydx", address="a", key="env:K", http="http://h", ws="ws://w", grpc="g", chain_id="local")
    assert (running.endpoints.http, running.endpoints.extra) == ("http://h", {"chain_id": "local"})


@pytest.mark.parametrize(
    ("venue", "values", "words"),
    [
        ("dydx", {"network": Network.MAINNET, "address": "a", "key": "env:K"}, "venues.dydx.grpc is missing"),
        ("hyperliquid", {"http": "http://h", "address": "a", "key": "env:K"}, "venues.hyperliquid.ws is missing"),
        ("hyperliquid", {"network": Network.TESTNET, "key": "env:K"}, "venues.hyperliquid.address is missing"),
    ],
)
def test_a_connection_names_what_is_missing(venue: str, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        connect(venue, **values)
