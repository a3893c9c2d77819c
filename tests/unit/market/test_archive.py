"""Fetching: names as the archive writes them, checksums believed, broken downloads resumed."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from market.archive import Fetched, fetch_file, plan_files
from tests.unit.market.archive_server import ArchiveServer

NAME = "data/futures/um/monthly/klines/BTCUSDT/15m/BTCUSDT-15m-2024-01.zip"
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ArchiveServer]:
    put(tmp_path / "archive", NAME, CONTENT)
    with ArchiveServer(tmp_path / "archive") as server:
        yield server


def put(folder: Path, name: str, content: bytes, checksum: str = "") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest = checksum or hashlib.sha256(content).hexdigest()
    path.with_name(path.name + ".CHECKSUM").write_text(f"{digest}  {path.name}\n")


@pytest.mark.parametrize(
    ("arguments", "name", "stamps"),
    [
        (
            ("um", "klines", "BTCUSDT", "1h", "2023-12", "2024-02"),
            "futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-{}.zip",
            ["2023-12", "2024-01", "2024-02"],
        ),
        (
            ("um", "metrics", "ETHUSDT", "", "2024-02-28", "2024-03-01"),
            "futures/um/daily/metrics/ETHUSDT/ETHUSDT-metrics-{}.zip",
            ["2024-02-28", "2024-02-29", "2024-03-01"],
        ),
        (
            ("spot", "aggTrades", "BTCUSDT", "", "2024-01", "2024-01"),
            "spot/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-{}.zip",
            ["2024-01"],
        ),
    ],
)
def test_names(arguments: tuple[str, ...], name: str, stamps: list[str]) -> None:
    assert plan_files(*arguments) == [f"data/{name.format(stamp)}" for stamp in stamps]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("fx", "klines", "BTCUSDT", "15m", "2024-01", "2024-01"), "market is 'fx', must be one of um, cm, spot"),
        (("um", "candles", "BTCUSDT", "15m", "2024-01", "2024-01"), "type is 'candles', must be one of"),
        (("um", "klines", "btc/usdt", "15m", "2024-01", "2024-01"), "symbol is 'btc/usdt'"),
        (("um", "klines", "BTCUSDT", "soon", "2024-01", "2024-01"), "interval 'soon'"),
        (("um", "klines", "BTCUSDT", "15m", "2024-01", "2024-01-05"), "must be two months like"),
        (("um", "klines", "BTCUSDT", "15m", "2024-13", "2024-13"), "month must be in 1..12"),
        (("um", "klines", "BTCUSDT", "15m", "2024-03", "2024-01"), "ends before it begins"),
        (("um", "metrics", "BTCUSDT", "", "2024-01", "2024-01"), "no monthly files of metrics"),
        (("um", "fundingRate", "BTCUSDT", "", "2024-01-01", "2024-01-01"), "no daily files of fundingRate"),
    ],
)
def test_bad_wishes_are_named(arguments: tuple[str, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        plan_files(*arguments)


def test_a_file_is_fetched_once(server: ArchiveServer, tmp_path: Path) -> None:
    heard: list[int] = []
    report = fetch_file(server.url, NAME, tmp_path / "out", heard.append)
    assert (report.outcome, report.size_bytes, sum(heard)) == (Fetched.DONE, len(CONTENT), len(CONTENT))
    assert (tmp_path / "out" / NAME).read_bytes() == CONTENT
    assert (tmp_path / "out" / f"{NAME}.CHECKSUM").read_text().split()[1] == "BTCUSDT-15m-2024-01.zip"
    server.requests.clear()
    assert fetch_file(server.url + "/", NAME, tmp_path / "out").outcome is Fetched.PRESENT
    assert [path for path, _ in server.requests] == [f"/{NAME}.CHECKSUM"]


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_broken_download_goes_on(server: ArchiveServer, tmp_path: Path, has_ranges: bool) -> None:
    server.break_after_bytes, server.has_ranges = [1000], has_ranges
    report = fetch_file(server.url, NAME, tmp_path / "out")
    assert report.outcome is Fetched.DONE
    assert (tmp_path / "out" / NAME).read_bytes() == CONTENT
    assert [wanted for path, wanted in server.requests if path == f"/{NAME}"] == ["", "bytes=1000-"]


def test_what_came_before_giving_up_is_resumed_next_time(server: ArchiveServer, tmp_path: Path) -> None:
    server.break_after_bytes = [100, 200, 300]
    report = fetch_file(server.url, NAME, tmp_path / "out")
    assert report.outcome is Fetched.FAILED
    assert "connection ended" in report.text
    assert not (tmp_path / "out" / NAME).exists()
    assert (tmp_path / "out" / f"{NAME}.part").stat().st_size == 600
    assert fetch_file(server.url, NAME, tmp_path / "out").outcome is Fetched.DONE
    assert server.requests[-1][1] == "bytes=600-"
    assert not (tmp_path / "out" / f"{NAME}.part").exists()


def test_a_file_that_changed_at_the_archive_is_fetched_anew(server: ArchiveServer, tmp_path: Path) -> None:
    part = tmp_path / "out" / f"{NAME}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"old beginning")
    assert fetch_file(server.url, NAME, tmp_path / "out").outcome is Fetched.DONE
    assert (tmp_path / "out" / NAME).read_bytes() == CONTENT
    put(server.folder, NAME, b"new content")
    assert fetch_file(server.url, NAME, tmp_path / "out").outcome is Fetched.DONE
    assert (tmp_path / "out" / NAME).read_bytes() == b"new content"


def test_what_the_archive_lacks_or_garbles_is_told(server: ArchiveServer, tmp_path: Path) -> None:
    assert fetch_file(server.url, NAME.replace("01.zip", "02.zip"), tmp_path).outcome is Fetched.MISSING
    put(server.folder, NAME, CONTENT, checksum="0" * 64)
    garbled = fetch_file(server.url, NAME, tmp_path)
    assert (garbled.outcome, garbled.text) == (Fetched.FAILED, "does not match its checksum")
    assert not (tmp_path / NAME).exists()
    put(server.folder, NAME, CONTENT, checksum="what")
    assert fetch_file(server.url, NAME, tmp_path).text == "its checksum file is not a sha256sum line"


def test_an_unreachable_archive_is_told(tmp_path: Path) -> None:
    with ArchiveServer(tmp_path) as server:
        url = server.url
    assert fetch_file(url, NAME, tmp_path / "out").outcome is Fetched.FAILED
    with pytest.raises(ValueError, match="must begin with http"):
        fetch_file("file:///etc", NAME, tmp_path)
