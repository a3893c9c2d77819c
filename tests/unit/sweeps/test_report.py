"""The tear sheet: what is drawn is what happened, with none, one or many trades."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import market.fills
from market.reasons import Reason
from sweeps.charts import (
    BUCKETS_MAX,
    TRADES_DRAWN_MAX,
    compute_buckets,
    compute_exposures_frac,
    compute_extremes,
    compute_stop_line,
    draw_distribution,
    draw_equity,
    draw_price,
    pick_trades,
)
from sweeps.metrics import compute_metrics
from sweeps.records import TRADE_DTYPE, RecordArray
from sweeps.report import compute_exits, compute_years, parse_fill_assumptions, write_report
from tests.unit.sweeps.results import make_bars, make_result, make_trades

BARS = make_bars(3000)
DETAILS = {"Data": {"sha256": "ab12"}, "Costs": {"slippage": "1 bps <b>"}}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500), st.integers(2, 60))
def test_thinning_keeps_both_extremes_and_both_ends(values: list[float], points_max: int) -> None:
    array = np.array(values)
    kept = compute_extremes(array, points_max)
    assert len(kept) <= points_max + 2
    assert np.all(np.diff(kept) > 0)
    assert (kept[0], kept[-1]) == (0, len(array) - 1)
    assert array[kept].min() == array.min()
    assert array[kept].max() == array.max()


@pytest.mark.parametrize(("length", "buckets"), [(1, 1), (5, 5), (6, 3), (7, 4), (135_456, 5890)])
def test_buckets_cover_every_bar(length: int, buckets: int) -> None:
    starts = compute_buckets(length, 5 if length < 10 else BUCKETS_MAX)
    assert (starts[0], len(starts)) == (0, buckets)


def test_a_stop_is_drawn_as_steps_with_gaps() -> None:
    times, px = compute_stop_line(np.arange(7), np.array([0.0, 5.0, 5.0, 6.0, 0.0, 0.0, 7.0]))
    assert times.tolist() == [1, 1, 3, 3, 4, 4, 6, 6, 6]
    np.testing.assert_array_equal(px, [np.nan, 5, 5, 6, 6, np.nan, np.nan, 7, 7])


def test_a_chart_of_four_years_keeps_the_range_and_stays_small() -> None:
    bars = make_bars(135_456)
    result = make_result(bars, make_trades(bars))
    high, low = draw_price(result, 0).data[:2]
    assert len(high.x) <= BUCKETS_MAX
    assert (max(high.y), min(low.y)) == (bars["high_px"].max(), bars["low_px"].min())
    equity, drawdown = draw_equity(result).data
    assert max(equity.y) == result.equity_quote.max()
    assert -min(drawdown.y) == compute_metrics(result).drawdown_frac_max
    drawn = pick_trades(result.trades, 0)
    assert len(drawn) == TRADES_DRAWN_MAX < len(result.trades)
    assert np.abs(result.trades["pnl_quote"]).max() in np.abs(drawn["pnl_quote"])


def test_no_bar_of_the_distribution_mixes_wins_and_losses() -> None:
    trades = make_trades(BARS)
    (histogram,) = draw_distribution(trades).data
    counts, middles = np.array(histogram.y), np.array(histogram.x)
    assert counts[middles > 0].sum() == (trades["pnl_quote"] > 0).sum()
    assert counts.sum() == len(trades)


def test_exposure_is_notional_over_equity() -> None:
    result = make_result(BARS, make_trades(BARS))
    net, gross = compute_exposures_frac(result)
    bar = int(result.trades["i_entry"][1])
    assert net[bar] == -10.0 * BARS["close_px"][bar] / result.equity_quote[bar]
    np.testing.assert_array_equal(gross, np.abs(net))
    assert net[result.trades["i_exit"][1]] == 0.0


def test_monthly_returns_compound_to_the_whole() -> None:
    bars = make_bars(35_040)
    result = make_result(bars, make_trades(bars))
    years = compute_years(result)
    assert [year.year for year in years] == [2022, 2023]
    assert years[0].months_frac[0] is not None
    assert years[1].months_frac[1:] == (None,) * 11
    total = np.prod([1.0 + year.return_frac for year in years]) - 1.0
    assert total == pytest.approx(compute_metrics(result).return_frac)


def test_exits_add_up() -> None:
    trades = make_trades(BARS)
    rows = compute_exits(trades)
    assert sum(row[1] for row in rows) == len(trades)
    assert {row[0] for row in rows} == {"stop", "take profit"}
    assert compute_exits(np.zeros(0, TRADE_DTYPE)) == []


def test_fill_assumptions_come_from_the_kernels_that_make_them() -> None:
    sections = dict(parse_fill_assumptions(market.fills.__doc__ or ""))
    assert len(sections["Fills when"]) == 6
    assert "queue position" in sections["Does not model"][0]


@pytest.mark.parametrize("trades", [make_trades(BARS)[:0], make_trades(BARS)[:1], make_trades(BARS)])
def test_a_page_shows_its_trades_and_is_the_same_twice(trades: RecordArray, tmp_path: Path) -> None:
    result = make_result(BARS, trades, has_stops=len(trades) != 1)
    metrics = compute_metrics(result)
    for name in ("a", "b"):
        write_report(tmp_path / name / "report.html", result, metrics, "A & <b>", DETAILS, inline=False)
    page = (tmp_path / "a" / "report.html").read_text()
    assert page == (tmp_path / "b" / "report.html").read_text()
    assert "A &amp; &lt;b&gt;" in page
    assert "1 bps &lt;b&gt;" in page
    assert ("No trade was made." in page) == (len(trades) == 0)
    assert ("Worst 8 trades" in page) == (len(trades) > 16)
    assert page.count(">reward to risk<") <= 1
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["plotly.min.js", "report.html"]


def test_one_file_to_send_carries_its_script(tmp_path: Path) -> None:
    result = make_result(BARS, make_trades(BARS))
    write_report(tmp_path / "report.html", result, compute_metrics(result), "one", DETAILS)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert 3e6 < (tmp_path / "report.html").stat().st_size < 8e6
    assert Reason.STOP.name.lower() in (tmp_path / "report.html").read_text()
