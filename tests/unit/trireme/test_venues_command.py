"""`trireme venues serve`: what is refused before anything listens, and what a person is shown."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from market.generator import generate_market
from market.records import NS_PER_S
from market.series import Kind, Series
from market.storage import write_instrument, write_series
from trireme.venue_host import VenueHost, VenueHostSettings, load_recorded, read_faults
from trireme.venues import format_venues, venues


def run(*options: str) -> Any:
    return CliRunner().invoke(venues, ["serve", *options])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--venue", "nasdaq"], "'nasdaq' is not one of"),
        (["--bar-interval", "fast"], "interval 'fast' is not"),
        (["--bar-interval", "1s"], "must be at least 5 s"),
        (["--bar-interval", "7m"], "divide an hour"),
        (["--accounts", "0"], "not in the range"),
        (["--deposit", "nan"], "deposit"),
        (["--faults", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--catalog", "nowhere"], "has no BTC"),
    ],
)
def test_bad_input_is_refused_in_words(options: list[str], reason: str) -> None:
    result = run(*options)
    assert result.exit_code != 0
    assert reason in (result.output or str(result.exception)) + str(result.exception)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"on": [{"fault": "nothing"}]}', "no fault 'nothing'"),
        ("on: 3\n", "must be a list of switches"),
        ("- 1\n", "expected 'key: value' lines"),
        ("on: [\n", "not valid YAML"),
    ],
)
def test_a_bad_faults_file_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason) as caught:
        read_faults(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["faults.yaml", "faults.json"])
def test_faults_are_on_from_the_start(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    row = '{"fault": "reply_lost", "venue": "hyperliquid", "on": "order"}'
    path.write_text(f"on:\n  - {row}\n" if name.endswith("yaml") else f'{{"on": [{row}]}}')
    host = VenueHost(VenueHostSettings(("hyperliquid",), faults=path))
    world = host.simulators["hyperliquid"].world
    assert [switch["fault"] for switch in world.board.list_on(world.now_ns())] == ["reply_lost"]


def test_a_catalog_gives_the_path(tmp_path: Path) -> None:
    made = generate_market(2, ["BTC-PERP.HYPERLIQUID", "ETH-PERP.BINANCE", "SOL-PERP.DYDX"], 30)
    for instrument, bars in zip(made.instruments, made.bars, strict=True):
        write_instrument(tmp_path, instrument)
        columns = {name: bars[name] for name in ("open_px", "high_px", "low_px", "close_px", "volume_base")}
        series = Series(Kind.BARS, {"ts_ns": bars["ts_open_ns"], **columns}, 900 * NS_PER_S)
        write_series(tmp_path, instrument.instrument_id, series)
    recorded = load_recorded(tmp_path)
    assert [*recorded] == ["BTC", "ETH", "SOL"]
    for row, (bars, spacing_ns) in enumerate(recorded.values()):
        assert spacing_ns == 900 * NS_PER_S
        assert bars["close_px"].tolist() == made.bars[row]["close_px"].tolist()
    host = VenueHost(VenueHostSettings(("binance",), catalog=tmp_path, bar_interval_ns=45 * NS_PER_S))
    market = host.simulators["binance"].market
    market.advance(host.ts_start_ns + NS_PER_S, is_watched=False)
    px = market.get_mid_px("BTC-PERP.BINANCE")
    lows, highs = made.bars[0]["low_px"], made.bars[0]["high_px"]
    assert lows[15] * 0.9999 < px < highs[15] * 1.0001  # the later half is still to come


def test_a_person_is_shown_addresses_keys_and_gaps() -> None:
    described = {
        "dydx": {
            "http": "http://127.0.0.1:1", "ws": "ws://127.0.0.1:1", "grpc": "127.0.0.1:2", "chain_id": "local",
            "control": "http://127.0.0.1:1/control/faults", "instruments": ["BTC-PERP.DYDX"], "deposit_quote": 5e4,
            "accounts": [{"address": "dydx1abc", "private_key": "k", "mnemonic": "some words"}],
            "not_modelled": ["weather"], "seed": 3, "bar_interval_s": 5.0,
        }
    }  # fmt: skip
    shown = format_venues(described)
    for part in ("127.0.0.1:2", "control/faults", "never fund them", "dydx1abc", "some words", "weather", "seed 3"):
        assert part in shown


def test_the_same_settings_give_the_same_accounts() -> None:
    first, second = (VenueHost(VenueHostSettings(("hyperliquid", "dydx"), seed=4, accounts=n)) for n in (1, 2))
    for venue in ("hyperliquid", "dydx"):
        assert second.accounts[venue][:1] == first.accounts[venue]
        assert second.accounts[venue][1] != second.accounts[venue][0]
        assert first.accounts[venue][0].private_key not in repr(first.accounts)
