"""`trireme data`: data on stdout, progress on stderr, one line and exit 2 for bad input."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.unit.market.archive_server import ArchiveServer
from tests.unit.market.market_files import QUARTER_MS, TS_MS, make_bars, write_parquet
from tests.unit.market.test_archive import NAME, put

ROOT = Path(__file__).resolve().parents[3]
BTC = "BTC-PERP.BINANCE"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from trireme.main import main; main()", "data", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_import_then_check(tmp_path: Path) -> None:
    bars = {name: values[[0, 1, 2, 5, 6]] for name, values in make_bars(7).items()}
    path, catalog = write_parquet(tmp_path / "b.parquet", bars), tmp_path / "catalog"
    done = run("import", path, "--catalog", catalog, "--instrument", BTC, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"read {path}: 5 rows\n"
    imported = json.loads(done.stdout)["datasets"]
    assert [(row["kind"], row["interval"], row["rows"], row["rows_added"]) for row in imported] == [
        ("bars", "15m", 5, 5)
    ]
    checked = run("check", "--catalog", catalog, "--json")
    report = json.loads(checked.stdout)
    assert (checked.returncode, report["ok"]) == (0, True)
    gap = report["datasets"][0]["gaps"][0]
    assert (gap["ts_from_ms"], gap["ts_to_ms"], gap["rows_missing"]) == (
        TS_MS + 3 * QUARTER_MS,
        TS_MS + 5 * QUARTER_MS,
        2,
    )
    text = run("check", "--catalog", catalog).stdout
    assert "BTC-PERP.BINANCE bars-15m: 5 rows, 2024-01-01T00:00Z to 2024-01-01T01:30Z, 1 gaps, 2 rows missing" in text
    assert "gap: 2 rows missing from 2024-01-01T00:45Z to 2024-01-01T01:15Z" in text


def test_damage_ends_in_exit_1(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    run("import", write_parquet(tmp_path / "b.parquet", make_bars(9)), "--catalog", catalog, "--instrument", BTC)
    stored = catalog / BTC / "bars-15m.parquet"
    table = pq.read_table(stored)
    pq.write_table(table.set_column(5, "volume_base", table.column("close_px")), stored)
    checked = run("check", "--catalog", catalog)
    assert checked.returncode == 1
    assert "DAMAGED" in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["import", "nowhere.csv", "--catalog", "c", "--instrument", BTC], "nowhere.csv: no such file"),
        (["import", "pyproject.toml", "--catalog", "c", "--instrument", "btc"], "not of the form CONTRACT.VENUE"),
        (["import", "pyproject.toml", "--catalog", "c", "--instrument", BTC], "pyproject.toml: not a .zip, .csv"),
        (["import", "x.csv", "--catalog", "c", "--instrument", BTC, "--interval", "soon"], "interval 'soon'"),
        (["check", "--catalog", "nowhere"], "catalog nowhere has nothing; fill it"),
        (["fetch", "--symbol", "BTCUSDT", "--type", "klines", "--from", "2024-01", "--out", "o"], "no archive address"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIREME_ARCHIVE_URL", raising=False)
    done = run(*arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_fetch_verifies_and_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "archive", NAME, b"content")
    with ArchiveServer(tmp_path / "archive") as server:
        monkeypatch.setenv("TRIREME_ARCHIVE_URL", server.url)
        wish = ["fetch", "--symbol", "BTCUSDT", "--type", "klines", "--out", tmp_path / "out", "--from", "2024-01"]
        assert run(*wish).returncode == 0
        partly = run(*wish, "--to", "2024-02", "--json")
        assert partly.returncode == 4
        outcomes = [file["outcome"] for file in json.loads(partly.stdout)["files"]]
        assert outcomes == ["present", "missing"]
        assert "missing data/futures/um" in partly.stderr
    assert (tmp_path / "out" / NAME).read_bytes() == b"content"
