"""`trireme venues check` against venues that run, and against such as are not fit."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from market.storage import replacing
from trireme.venue_host import HostedVenues

DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def hosted() -> Iterator[HostedVenues]:
    with HostedVenues(bar_interval="1m", accounts=2) as venues:
        yield venues


class Desk:
    """A directory with settings and keys of the first account of each venue."""

    def __init__(self, directory: Path, hosted: HostedVenues) -> None:
        self.directory = directory
        self.keys = directory / "keys.yaml"
        secrets = {
            "hyperliquid": hosted["hyperliquid"].accounts[0].private_key,
            "dydx": hosted["dydx"].accounts[0].mnemonic,
        }
        with replacing(self.keys) as path:
            path.touch(mode=0o600)
            path.write_text(yaml.safe_dump(secrets))
        self.secrets = tuple(secrets.values())
        self.venues: dict[str, dict[str, Any]] = {}
        for name in ("binance", "hyperliquid", "dydx"):
            endpoints = hosted[name].endpoints
            self.venues[name] = {"http": endpoints.http, "ws": endpoints.ws, "grpc": endpoints.grpc}
            if name in secrets:
                self.venues[name] |= {"address": hosted[name].accounts[0].address, "key": f"file:{self.keys}#{name}"}

    def check(self, *options: str) -> tuple[int, dict[str, Any], str]:
        """Run the command; return its exit code, what it told, and its complaints."""
        settings = self.directory / "settings.yaml"
        settings.write_text(yaml.safe_dump({"venues": self.venues}))
        command = [sys.executable, "-m", "trireme", "venues", "check", "--config", str(settings), "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert not any(secret in done.stdout + done.stderr for secret in self.secrets)
        return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.fixture
def desk(tmp_path: Path, hosted: HostedVenues) -> Desk:
    return Desk(tmp_path, hosted)


def test_accounts_and_data_that_are_fit_are_told(desk: Desk) -> None:
    code, told, complaints = desk.check()
    assert (code, complaints) == (0, "")
    assert {name: facts["is_fit"] for name, facts in told.items()} == dict.fromkeys(desk.venues, True)
    for name in ("hyperliquid", "dydx"):
        assert (told[name]["equity_quote"], told[name]["positions"], told[name]["open_orders"]) == (100_000.0, {}, [])
    assert set(told["binance"]["last_closes"]) == {"BTC-PERP.BINANCE", "ETH-PERP.BINANCE"}


def test_another_accounts_key_and_one_that_others_can_read_are_refused(desk: Desk, hosted: HostedVenues) -> None:
    for name in ("hyperliquid", "dydx"):
        desk.venues[name]["address"] = hosted[name].accounts[1].address
    code, told, _ = desk.check("--venue", "hyperliquid", "--venue", "dydx")
    assert code == 1
    assert "neither account" in told["hyperliquid"]["reason"]
    assert "the key is that of" in told["dydx"]["reason"]
    desk.keys.chmod(0o644)
    code, told, _ = desk.check("--venue", "dydx")
    assert (code, "chmod 600" in told["dydx"]["reason"]) == (1, True)


def test_what_is_missing_or_not_there_is_named(desk: Desk) -> None:
    desk.venues["hyperliquid"]["key"] = desk.secrets[0]
    desk.venues["dydx"]["address"] = ""
    desk.venues["binance"]["http"] = "http://127.0.0.1:9"
    code, told, _ = desk.check()
    assert code == 1
    assert "not the secret itself" in told["hyperliquid"]["reason"]
    assert "venues.dydx.address is missing" in told["dydx"]["reason"]
    assert "127.0.0.1:9" in told["binance"]["reason"]
    desk.venues = {}
    code, told, complaints = desk.check()
    assert (code, told) == (2, {})
    assert "there is nothing to check" in complaints
