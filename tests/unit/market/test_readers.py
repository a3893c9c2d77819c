"""Readers: every shape of file gives the same rows; every broken file is named with its line and the mend."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from market.readers import read_series
from market.series import Kind
from tests.unit.market.market_files import QUARTER_NS, TS_MS, make_bars, to_klines_csv, write_parquet, write_zip

BARS = make_bars(5)
KLINES = to_klines_csv(BARS, header=False)
AGG_TRADES = "10,100.5,2.0,1,3,1704067200123,true\n11,100.6,1.5,4,4,1704067200456,false\n"
AGG_HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio\n"
    "2024-01-01 00:05:00,BTCUSDT,81000.5,1.0,1.0,1.0,1.0,1.0\n"
)


INDEXED = ",ts,open,high,low,close,volume\n0,2024-01-01T00:00:00Z,1,2,1,2,3\n1,2024-01-01T00:15:00Z,1,2,1,2,3\n"
PLAIN = "ts,open,high,low,close,volume\n1704067200000,1,2,1,2,3\n"
FUNDING = "ts,funding_rate\n1704067200000,0.1\n"


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("per_ms", [1, 1000])
@pytest.mark.parametrize("zipped", [False, True])
def test_klines_in_every_dress(tmp_path: Path, header: bool, per_ms: int, zipped: bool) -> None:
    text = to_klines_csv(BARS, header, per_ms)
    if zipped:
        path = write_zip(tmp_path / "BTCUSDT-15m-2024-01.zip", text)
    else:
        path = tmp_path / "BTCUSDT-15m-2024-01.csv"
        path.write_text(text)
    series = read_series(path)
    assert (series.kind, series.interval_ns, len(series)) == (Kind.BARS, QUARTER_NS, 5)
    assert series.ts_ns.tolist() == [ts * 1_000_000 for ts in BARS["ts"].tolist()]
    assert series.columns["close_px"].tolist() == BARS["close"].tolist()
    assert series.columns["volume_base"].tolist() == BARS["volume"].tolist()
    assert f"line {3 if header else 2} " in series.describe_row(1)


@pytest.mark.parametrize(
    ("name", "text", "kind", "column", "values"),
    [
        ("t.csv", AGG_TRADES, Kind.TRADES, "is_buyer_maker", [True, False]),
        ("t.csv", AGG_HEADER + AGG_TRADES, Kind.TRADES, "trade_id", [10, 11]),
        ("t.csv", "7,100.5,2.0,201.0,1704067200123,True\n", Kind.TRADES, "trade_id", [7]),
        ("t.csv", "7,100.5,2.0,201.0,1704067200123456,True,True\n", Kind.TRADES, "ts_ns", [1704067200123456000]),
        ("t.csv", "7,100.5,2.0,1,3,1704067200123456,True,True\n", Kind.TRADES, "qty_base", [2.0]),
        ("f.csv", "1704067200003,8,0.0001\n", Kind.FUNDING, "ts_ns", [TS_MS * 1_000_000]),
        ("f.csv", "calc_time,funding_interval_hours,last_funding_rate\n1704067200003,8,-0.0001\n", Kind.FUNDING,
         "funding_rate", [-0.0001]),
        ("m.csv", METRICS, Kind.OPEN_INTEREST, "open_interest_base", [81000.5]),
        ("m.csv", METRICS.partition("\n")[2], Kind.OPEN_INTEREST, "ts_ns", [(TS_MS + 300_000) * 1_000_000]),
        ("f.csv", '"ts","funding_rate"\r\n1704067200000,0.0002\r\n', Kind.FUNDING, "funding_rate", [0.0002]),
        ("b.csv", INDEXED, Kind.BARS, "ts_ns", [TS_MS * 1_000_000, TS_MS * 1_000_000 + QUARTER_NS]),
        ("b.csv", "ts,open_interest\n1704067200000.0,5\n", Kind.OPEN_INTEREST, "ts_ns", [TS_MS * 1_000_000]),
    ],
)  # fmt: skip
def test_kinds_are_recognised(
    tmp_path: Path, name: str, text: str, kind: Kind, column: str, values: list[object]
) -> None:
    path = tmp_path / name
    path.write_text(text)
    series = read_series(path)
    assert series.kind is kind
    assert series.columns[column].tolist() == values


def test_parquet_kinds(tmp_path: Path) -> None:
    bars = {**BARS}
    assert read_series(write_parquet(tmp_path / "b.parquet", bars)).kind is Kind.BARS
    del bars["volume"]
    assert read_series(write_parquet(tmp_path / "m.parquet", bars)).kind is Kind.MARK
    stamped = {"ts": pa.array(BARS["ts"], pa.timestamp("ms", "UTC")), "funding_rate": [0.0001] * 5}
    funding = read_series(write_parquet(tmp_path / "f.parquet", stamped))
    assert funding.kind is Kind.FUNDING
    assert funding.ts_ns.tolist() == (BARS["ts"] * 1_000_000).tolist()
    mark = tmp_path / "markPriceKlines" / "BTCUSDT-15m-2024-01.csv"
    mark.parent.mkdir()
    mark.write_text(KLINES)
    assert read_series(mark).kind is Kind.MARK


def test_captures_are_read_whatever_their_compression(tmp_path: Path) -> None:
    lines = b'1704067200000000001 {"e":"trade"}\n1704067200000000002 {"e":"x"}\n'
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.jsonl.zst").write_bytes(pa.compress(lines, "zstd", asbytes=True))
    for name in ("a.jsonl", "b.gz", "c.jsonl.zst"):
        series = read_series(tmp_path / name)
        assert series.kind is Kind.BOOK
        assert series.ts_ns.tolist() == [1704067200000000001, 1704067200000000002]
        assert series.columns["message"].tolist() == [b'{"e":"trade"}', b'{"e":"x"}']


def test_checksum_beside_is_believed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "BTCUSDT-15m-2024-01.zip", KLINES)
    beside = tmp_path / "BTCUSDT-15m-2024-01.zip.CHECKSUM"
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert len(read_series(path)) == 5
    beside.write_text(f"{'0' * 64}  {path.name}\n")
    with pytest.raises(ValueError, match=r"2024-01\.zip: sha256 is .* fetch it again"):
        read_series(path)
    beside.write_text("nonsense")
    with pytest.raises(ValueError, match="not a sha256sum line"):
        read_series(path)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", "", "empty"),
        ("a.csv", "ts,open,high,low,close,volume\n", "a header and no rows"),
        ("a.csv", KLINES.replace("100.0,", "abc,", 1), r"a\.csv line 1: open is 'abc', not a number; mend"),
        ("a.csv", PLAIN + "1704068100000,1,2\n", "line 3: 3 columns, 6"),
        ("a.csv", FUNDING + ",0.1\n", r"line 3: no time; fill it"),
        ("a.csv", "ts,funding_rate\n1704067200,0.1\n", "line 2: time 1704067200 is not ms, us or ns"),
        ("a.csv", FUNDING + "1704067200000000,0.1\n", "line 3: time 1704067200000000 is not whole"),
        ("a.csv", FUNDING + "yesterday,0.1\n", "line 3: ts is 'yesterday', not a whole number"),
        ("a.csv", "1,2,3,4,5\n", "5 columns without a header are not known"),
        ("a.csv", "when,what\n1,2\n", "not those of any kind"),
        ("a.csv", PLAIN, "one bar does not tell its interval"),
        ("a.zip", "no zip", "not a readable zip file"),
        ("a.parquet", "no parquet", "not a readable Parquet file"),
        ("a.txt", "ts", "not a .zip, .csv"),
        ("a.jsonl", '1 {"a":1}\nx {}\n', r"a\.jsonl line 2: not `<receive time ns> <json object>`"),
        ("a.jsonl.zst", "no zstd", "cannot be read"),
        ("BTCUSDT-bookTicker-2023-05-16.zip", "", "bookTicker files are not imported"),
    ],
)  # fmt: skip
def test_broken_files_are_named(tmp_path: Path, name: str, content: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=text) as caught:
        read_series(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wish_for_the_wrong_kind_names_the_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no column 'price', needed for trades; it has ts, open"):
        read_series(write_parquet(tmp_path / "b.parquet", BARS), Kind.TRADES)
    with pytest.raises(ValueError, match="no such file"):
        read_series(tmp_path / "nothing.csv")


def test_one_bar_with_its_interval_said(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "b.parquet", {name: values[:1] for name, values in BARS.items()})
    assert read_series(path, interval_ns=QUARTER_NS).interval_ns == QUARTER_NS
    named = tmp_path / "BTCUSDT-15m-2024-01.csv"
    named.write_text(KLINES.splitlines()[0])
    assert read_series(named).interval_ns == QUARTER_NS
    assert np.isfinite(read_series(named).columns["close_px"]).all()
