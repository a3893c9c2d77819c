"""The catalog: import, extension, hashes, and the aligned bars a run reads."""

import json
from pathlib import Path

import numpy as np
import pytest

from market.catalog import load_market, make_market
from market.importing import check_catalog, import_files
from market.instruments import make_instrument
from market.records import Quality
from market.series import Kind
from market.signals import SIGNAL_DTYPE
from market.storage import list_datasets, read_instrument
from tests.shared_data import SHARED, needs_shared
from tests.unit.market.market_files import QUARTER_MS, QUARTER_NS, TS_MS, make_bars, to_klines_csv, write_parquet

BTC, ETH = "BTC-PERP.BINANCE", "ETH-PERP.BINANCE"


def store(tmp_path: Path, instrument_id: str, columns: dict[str, np.ndarray], name: str = "b") -> Path:
    path = write_parquet(tmp_path / "in" / f"{instrument_id}-{name}.parquet", columns)
    import_files([path], tmp_path / "catalog", instrument_id)
    return tmp_path / "catalog"


def drop(columns: dict[str, np.ndarray], rows: list[int]) -> dict[str, np.ndarray]:
    return {name: np.delete(values, rows) for name, values in columns.items()}


def test_bars_come_back_as_they_went_in(tmp_path: Path) -> None:
    bars = make_bars(50)
    market = load_market(store(tmp_path, BTC, bars), [BTC])
    assert market.bars.shape == (1, 50)
    assert (market.interval_ns, market.instrument_ids) == (QUARTER_NS, (BTC,))
    assert (market.ts_first_ms, market.ts_last_ms) == (TS_MS, TS_MS + 49 * QUARTER_MS)
    for ours, theirs in [("open_px", "open"), ("high_px", "high"), ("close_px", "close"), ("volume_base", "volume")]:
        np.testing.assert_array_equal(market.bars[0][ours], bars[theirs])
    assert not market.bars["quality"].any()
    assert np.isnan(market.bars["funding_rate"]).all()
    assert np.isnan(market.bars["signal"]).all()
    assert not market.bars["funding_open_rate"].any()


def test_missing_rows_are_filled_and_marked(tmp_path: Path) -> None:
    bars = make_bars(20)
    market = load_market(store(tmp_path, BTC, drop(bars, [5, 6, 12])), [BTC])
    row = market.bars[0]
    missing, after = Quality.MISSING.value, Quality.AFTER_GAP.value
    expected = [{5: missing, 6: missing, 7: after, 12: missing, 13: after}.get(index, 0) for index in range(20)]
    assert row["quality"].tolist() == expected
    for index in (5, 6):
        for name in ("open_px", "high_px", "low_px", "close_px"):
            assert row[name][index] == bars["close"][4]
    assert row["volume_base"][[5, 6, 12]].tolist() == [0.0, 0.0, 0.0]
    assert row["ts_open_ns"].tolist() == (bars["ts"] * 1_000_000).tolist()


def test_bars_of_one_price_without_volume_are_stale(tmp_path: Path) -> None:
    bars = make_bars(10)
    for name in ("open", "high", "low", "close"):
        bars[name][4] = bars["close"][3]
    bars["volume"][4] = 0.0
    quality = load_market(store(tmp_path, BTC, bars), [BTC]).bars["quality"][0]
    assert np.flatnonzero(quality == Quality.STALE.value).tolist() == [4]
    bars["volume"][:] = 0.0  # a source without volume says nothing about trading
    assert not load_market(store(tmp_path, BTC, bars), [BTC]).bars["quality"].any()


def test_instruments_are_aligned_on_their_common_time(tmp_path: Path) -> None:
    store(tmp_path, BTC, make_bars(50))
    catalog = store(tmp_path, ETH, make_bars(50, TS_MS + 10 * QUARTER_MS, seed=2))
    market = load_market(catalog, [ETH, BTC])
    assert market.bars.shape == (2, 40)
    np.testing.assert_array_equal(market.bars["ts_open_ns"][0], market.bars["ts_open_ns"][1])
    assert market.ts_first_ms == TS_MS + 10 * QUARTER_MS
    assert market.bars[1]["close_px"][0] == make_bars(50)["close"][10]


def test_a_period_is_half_open_and_by_bar_open(tmp_path: Path) -> None:
    catalog = store(tmp_path, BTC, make_bars(50))
    market = load_market(catalog, [BTC], TS_MS + 1, TS_MS + 5 * QUARTER_MS)
    assert (market.ts_first_ms, market.ts_last_ms) == (TS_MS + QUARTER_MS, TS_MS + 4 * QUARTER_MS)
    one = load_market(catalog, [BTC], TS_MS, TS_MS + 1)
    assert one.bars.shape == (1, 1)
    with pytest.raises(ValueError, match=r"no bars in the period 2030-.*; the catalog has BTC-PERP\.BINANCE 2024-"):
        load_market(catalog, [BTC], 1_893_456_000_000)
    with pytest.raises(ValueError, match="no bars in the period"):
        load_market(catalog, [BTC], TS_MS + QUARTER_MS, TS_MS + QUARTER_MS)


def test_funding_open_interest_and_signal_are_joined(tmp_path: Path) -> None:
    store(tmp_path, BTC, make_bars(8))
    ts = TS_MS + QUARTER_MS * np.array([2, 4])
    funding = {"ts": ts + np.array([3, QUARTER_MS // 2]), "funding_rate": [0.0001, -0.0002]}  # jitter; and inside a bar
    store(tmp_path, BTC, funding, "f")
    catalog = store(tmp_path, BTC, {"ts": ts, "open_interest": [5.0, 6.0]}, "o")
    signal = np.array([(TS_MS + 3 * QUARTER_MS + 1, 0.5), (TS_MS + 6 * QUARTER_MS, 0.0)], SIGNAL_DTYPE)
    row = load_market(catalog, [BTC], signals=signal).bars[0]
    assert row["funding_open_rate"].tolist() == [0, 0, 0.0001, 0, 0, 0, 0, 0]
    assert row["funding_inside_rate"].tolist() == [0, 0, 0, 0, -0.0002, 0, 0, 0]
    assert row["funding_rate"][1:].tolist() == [0.0001] * 3 + [-0.0002] * 4
    assert np.isnan(row["funding_rate"][0])
    assert row["open_interest_base"][1:].tolist() == [5.0, 5.0, 6.0, 6.0, 6.0, 6.0, 6.0]
    assert row["signal"][3:].tolist() == [0.5, 0.5, 0.5, 0.0, 0.0]
    by_id = load_market(catalog, [BTC], signals={BTC: signal}).bars[0]
    np.testing.assert_array_equal(by_id["signal"], row["signal"])
    late = np.array([(TS_MS + 100 * QUARTER_MS, 1.0)], SIGNAL_DTYPE)
    with pytest.raises(ValueError, match="no signal is in force"):
        load_market(catalog, [BTC], signals=late)


def test_hashes_follow_values_and_nothing_else(tmp_path: Path) -> None:
    bars = make_bars(30)
    first = load_market(store(tmp_path / "a", BTC, bars), [BTC])
    text = tmp_path / "BTCUSDT-15m-2024-01.csv"
    text.write_text(to_klines_csv(bars, header=True))
    reports = import_files([text], tmp_path / "b", BTC)
    second = load_market(tmp_path / "b", [BTC])
    assert first.sha256 == second.sha256
    assert reports[0].sha256 == check_catalog(tmp_path / "a" / "catalog")[0].sha256
    bars["close"][3] += 0.01
    bars["high"][3] += 0.01
    assert load_market(store(tmp_path / "c", BTC, bars), [BTC]).sha256 != first.sha256


def test_overlaps_merge_extend_and_replace(tmp_path: Path) -> None:
    bars, catalog = make_bars(40), tmp_path / "catalog"
    early = write_parquet(tmp_path / "early.parquet", {name: values[:25] for name, values in bars.items()})
    late = write_parquet(tmp_path / "late.parquet", {name: values[20:] for name, values in bars.items()})
    both = import_files([late, early], catalog, BTC)
    assert [(report.rows, report.rows_added, report.gaps) for report in both] == [(40, 40, ())]
    again = import_files([early], catalog, BTC)
    assert (again[0].rows, again[0].rows_added, again[0].rows_replaced) == (40, 0, 0)
    bars["volume"][30] += 1.0
    changed = write_parquet(tmp_path / "changed.parquet", {name: values[20:] for name, values in bars.items()})
    mended = import_files([changed], catalog, BTC)
    assert (mended[0].rows, mended[0].rows_replaced) == (40, 1)
    assert load_market(catalog, [BTC]).bars["volume_base"][0, 30] == bars["volume"][30]
    with pytest.raises(
        ValueError, match=r"late\.parquet row 11 .* and .*changed\.parquet row 11 .*disagree on one time"
    ):
        import_files([late, changed], tmp_path / "other", BTC)
    assert not (tmp_path / "other").exists()


def test_a_refused_file_leaves_nothing_behind(tmp_path: Path) -> None:
    bars = make_bars(10)
    bars["low"][4] = np.nan
    good = write_parquet(tmp_path / "a.parquet", make_bars(10))
    bad = write_parquet(tmp_path / "b.parquet", bars)
    with pytest.raises(ValueError, match=r"b\.parquet row 5 .*low_px is nan"):
        import_files([good, bad], tmp_path / "catalog", BTC)
    assert not (tmp_path / "catalog").exists()


def test_a_directory_is_imported_whole(tmp_path: Path) -> None:
    bars = make_bars(10)
    write_parquet(tmp_path / "in" / "bars" / "b.parquet", bars)
    write_parquet(tmp_path / "in" / "f.parquet", {"ts": bars["ts"][::4], "funding_rate": [1e-4] * 3})
    (tmp_path / "in" / "README.md").write_text("not data")
    reports = import_files([tmp_path / "in"], tmp_path / "catalog", BTC)
    assert [report.kind for report in reports] == [Kind.BARS, Kind.FUNDING]
    (tmp_path / "empty").mkdir()
    for path, text in [(tmp_path / "empty", "no data files"), (tmp_path / "nowhere", "no such file or directory")]:
        with pytest.raises(ValueError, match=text):
            import_files([path], tmp_path / "catalog", BTC)


def test_rules_of_an_unlisted_instrument_are_kept(tmp_path: Path) -> None:
    store(tmp_path, "XYZ-PERP.NOWHERE", {"ts": [TS_MS, TS_MS + 28_800_000], "funding_rate": [1e-4, 1e-4]}, "f")
    dear = {name: values if name == "ts" else values * 512.0 for name, values in make_bars(10).items()}
    catalog = store(tmp_path, "XYZ-PERP.NOWHERE", dear)
    first = read_instrument(catalog, "XYZ-PERP.NOWHERE")
    assert (first.lot_base, make_instrument("XYZ-PERP.NOWHERE").lot_base) == (1e-8, 1e-6)
    finer = {name: values if name == "ts" else values / 1000.0 for name, values in make_bars(10).items()}
    store(tmp_path, "XYZ-PERP.NOWHERE", finer, "later")
    assert read_instrument(catalog, "XYZ-PERP.NOWHERE") == first


def test_unknown_instruments_are_told_what_there_is(tmp_path: Path) -> None:
    catalog = store(tmp_path, BTC, make_bars(10))
    with pytest.raises(ValueError, match=r"unknown instrument BTC-PERP\.BINANC; did you mean BTC-PERP\.BINANCE\?: cat"):
        load_market(catalog, ["BTC-PERP.BINANC"])
    with pytest.raises(ValueError, match="has nothing; fill it with"):
        load_market(tmp_path / "nowhere", [BTC])
    for ids in ([], [BTC, BTC]):
        with pytest.raises(ValueError, match="name at least one, none twice"):
            load_market(catalog, ids)
    with pytest.raises(ValueError, match="has nothing"):
        check_catalog(tmp_path / "nowhere")


def test_coarser_bars_and_bars_from_trades(tmp_path: Path) -> None:
    catalog = store(tmp_path, BTC, make_bars(41))
    hourly = load_market(catalog, [BTC], interval_ns=4 * QUARTER_NS)
    bars = make_bars(41)
    assert hourly.bars.shape == (1, 10)
    assert hourly.bars["open_px"][0].tolist() == bars["open"][:40:4].tolist()
    assert hourly.bars["high_px"][0].tolist() == bars["high"][:40].reshape(10, 4).max(axis=1).tolist()
    assert hourly.bars["close_px"][0].tolist() == bars["close"][3:40:4].tolist()
    ts = TS_MS + np.array([0, 1000, QUARTER_MS, 3 * QUARTER_MS + 5])
    trades = {"ts": ts, "price": [10.0, 12.0, 11.0, 9.0], "qty": [1.0, 2.0, 3.0, 4.0], "agg_id": [1, 2, 3, 4]}
    built = load_market(store(tmp_path, ETH, trades), [ETH]).bars[0]
    assert built["close_px"].tolist() == [12.0, 11.0, 11.0, 9.0]
    assert built["volume_base"].tolist() == [3.0, 3.0, 0.0, 4.0]
    assert built["quality"].tolist() == [0, 0, Quality.STALE.value, 0]
    with pytest.raises(ValueError, match=r"no bars of 1m nor any to build them from; the catalog has bars-15m"):
        load_market(catalog, [BTC], interval_ns=60_000_000_000)


def test_damage_is_found(tmp_path: Path) -> None:
    catalog = store(tmp_path, BTC, make_bars(30))
    good = (catalog / BTC / "bars-15m.parquet").read_bytes()
    write_parquet(tmp_path / "in" / "other.parquet", make_bars(30, seed=9))
    (catalog / BTC / "bars-15m.parquet").write_bytes((tmp_path / "in" / "other.parquet").read_bytes())
    with pytest.raises(ValueError, match=r"bars-15m\.parquet: not a file of a catalog"):
        load_market(catalog, [BTC])
    (catalog / BTC / "bars-15m.parquet").write_bytes(good)
    dataset = list_datasets(catalog, BTC)[0]
    assert (dataset.name, dataset.rows) == ("bars-15m", 30)
    (catalog / BTC / "instrument.json").write_text(json.dumps({"instrument_id": BTC}))
    with pytest.raises(ValueError, match=r"instrument\.json: not an instrument"):
        load_market(catalog, [BTC])


def test_values_changed_behind_our_back_are_found(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    catalog = store(tmp_path, BTC, make_bars(30))
    path = catalog / BTC / "bars-15m.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(5, "volume_base", table.column("close_px")), path)
    with pytest.raises(
        ValueError, match=r"values are not those written \(sha256 differs\); remove it and import again"
    ):
        load_market(catalog, [BTC])
    assert "sha256 differs" in check_catalog(catalog)[0].problem


def test_a_bar_without_a_price_is_named(tmp_path: Path) -> None:
    market = load_market(store(tmp_path, BTC, make_bars(10)), [BTC])
    bars = market.bars.copy()
    bars["close_px"][0, 3] = np.nan
    with pytest.raises(ValueError, match=r"BTC-PERP\.BINANCE bar 2024-01-01T00:45Z: close_px is nan; import sound"):
        make_market(market.instruments, bars, market.interval_ns)


@needs_shared
def test_the_real_data_is_whole(tmp_path: Path) -> None:
    assert SHARED is not None
    data, catalog = SHARED / "data", tmp_path / "catalog"
    for base in ("BTC", "ETH", "SOL"):
        files = [
            data / "bars" / f"binance_um_{base}USDT_15m.parquet",
            data / "funding" / f"binance_um_{base}USDT.parquet",
            data / "open_interest" / f"binance_um_{base}USDT_1h.parquet",
        ]
        reports = import_files(files, catalog, f"{base}-PERP.BINANCE")
        assert [len(report.gaps) for report in reports] == [0, 0, 0]
    market = load_market(catalog, [f"{base}-PERP.BINANCE" for base in ("BTC", "ETH", "SOL")])
    assert market.bars.shape == (3, 135_456)
    assert (market.ts_first_ms, market.ts_last_ms) == (1_634_774_400_000, 1_756_683_900_000)
    assert np.isfinite(market.bars["funding_rate"]).all()
    assert np.isfinite(market.bars["open_interest_base"]).all()
    assert set(np.unique(market.bars["quality"]).tolist()) == {0, Quality.STALE.value}  # real outages
    paid = market.bars["funding_open_rate"][0]
    assert np.count_nonzero(paid) == 4233  # every 8 h, all on a bar's open
    assert not market.bars["funding_inside_rate"].any()


@needs_shared
def test_real_trades_and_captures_import(tmp_path: Path) -> None:
    assert SHARED is not None
    trades = SHARED / "data" / "trades" / "binance_um_APEUSDT_aggtrades_2024-10-18.parquet"
    report = import_files([trades], tmp_path, "APE-PERP.BINANCE")[0]
    assert (report.kind, report.rows, report.gaps) == (Kind.TRADES, 45_342, ())
    market = load_market(tmp_path, ["APE-PERP.BINANCE"])
    assert market.bars.shape == (1, 96)
    assert market.instruments[0].tick_px == 0.0001
    again = import_files([trades], tmp_path, "APE-PERP.BINANCE")[0]
    assert (again.rows, again.rows_added, again.sha256) == (45_342, 0, report.sha256)
