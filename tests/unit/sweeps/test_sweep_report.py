"""The report of a sweep: what stands on the page is what the summary and the results say, whatever is missing."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import markupsafe
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.landscape import BATCH_ROWS, BINS, cut_axis, pick_rows, read_batches, sum_cells
from sweeps.score import SCORE_TERMS
from sweeps.sweep_charts import (
    Mark,
    draw_curves,
    draw_heatmap,
    draw_logits,
    draw_sharpe_steps,
)
from sweeps.sweep_report import ROUNDS_DRAWN_MAX, find_swept, make_landscapes, write_sweep_report
from sweeps.sweep_tables import compute_spans, compute_verdict, format_metric
from tests.unit.sweeps.sweep_results import MadeSweep, make_bare_sweep, make_sweep, write_rows

SECTIONS = (
    "Rounds",
    "Pass rate, round by round",
    "Where each round searched",
    "Which constraint fails how often",
    "How the score depends on the parameters",
    "Configurations side by side",
    "Walk-forward on unseen data",
    "How much of this is luck",
    "Metrics, in and out of sample",
    "How the score is made",
    "How orders fill in every replay",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeSweep:
    return make_sweep(tmp_path_factory.mktemp("sweep"))


def render(made: MadeSweep, path: Path, **changes: object) -> str:
    made = replace(made, summary=replace(made.summary, **changes))  # type: ignore[arg-type]
    write_sweep_report(path, made.summary, made.rounds, made.curves, made.explained)
    return path.read_text()


def test_the_numbers_are_those_of_the_summary(made: MadeSweep, tmp_path: Path) -> None:
    page, summary = render(made, tmp_path / "report.html"), made.summary
    for part in summary.rounds:
        assert f">{part.configs:,}<" in page
        assert f">{part.passed:,}<" in page
        assert f">{part.passed / part.configs:.1%}<" in page
        failed, tested = part.failures["walk_forward"], part.walk_forward_tested
        assert f">{failed:,} of {tested:,} ({failed / tested:.1%})<" in page
    assert f">{summary.configs:,}<" in page
    assert f">{summary.overfitting.deflated_sharpe_prob:.3f}<" in page
    assert f">{summary.overfitting.pbo_frac:.1%}<" in page
    assert summary.median is not None
    for finalist in (summary.best, summary.median):
        assert finalist.metrics_out_of_sample is not None
        for metrics in (finalist.metrics, finalist.metrics_out_of_sample):
            for key, value in metrics.items():
                assert f">{format_metric(key, value)}<" in page, key
    for fold in (*summary.best.folds, *summary.selection):
        assert f">{format_metric('sharpe', fold.train_sharpe)}<" in page
        assert f">{format_metric('sharpe', fold.test_metrics['sharpe'])}<" in page
    for statistic, value, sentence in made.explained:
        cells = [str(markupsafe.escape(text)) for text in (statistic, value, sentence)]
        assert '<td>{}</td><td class="value">{}</td><td>{}</td>'.format(*cells) in page
    for term in SCORE_TERMS:
        assert term.label in page
    assert summary.data["sha256"] in page
    for section in (*SECTIONS, "Each instrument alone", "Equity of the best and of the median passing configuration"):
        assert f"<h2>{section}</h2>" in page


def test_the_same_sweep_gives_the_same_bytes_also_in_a_fresh_process(made: MadeSweep, tmp_path: Path) -> None:
    render(made, tmp_path / "a" / "report.html")
    render(made, tmp_path / "b" / "report.html")
    code = (
        "from market.kernel_cache import set_kernel_cache; set_kernel_cache()\n"
        "from pathlib import Path\n"
        "from tests.unit.sweeps.sweep_results import make_sweep\n"
        "from sweeps.sweep_report import write_sweep_report\n"
        f"made, path = make_sweep(Path({str(tmp_path / 'data')!r})), Path({str(tmp_path / 'c' / 'report.html')!r})\n"
        "write_sweep_report(path, made.summary, made.rounds, made.curves, made.explained)\n"
    )
    top = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=top, timeout=120)
    pages = {(tmp_path / name / "report.html").read_bytes() for name in "abc"}
    assert len(pages) == 1
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["plotly.min.js", "report.html"]


def test_one_file_to_send_carries_its_script(made: MadeSweep, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_sweep_report(path, made.summary, made.rounds, made.curves, made.explained, inline=True)
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    assert 3e6 < path.stat().st_size < 8e6


def test_names_are_escaped_in_words_and_in_figures(made: MadeSweep, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><b>"
    rounds = [replace(part, name=evil, sampler=evil) for part in made.summary.rounds]
    best = replace(made.summary.best, round_name=evil, by_instrument={evil: {"metrics": {}}}, role=evil)
    made = replace(made, explained=[(evil, evil, evil)], curves=[replace(made.curves[0], role=evil)])
    spec = made.summary.spec | {evil: evil}
    page = render(
        made, tmp_path / "r.html", name=evil, strategy=evil, rounds=rounds, best=best, faults=[evil], spec=spec
    )
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "</script><b>" not in page
    assert "\\u003cscript" not in page  # plotly would read it as markup


def test_a_sweep_where_nothing_passes_says_so(tmp_path: Path) -> None:
    made = make_sweep(tmp_path, edge=0.0)
    page = render(made, tmp_path / "report.html")
    assert made.summary.passed == 0
    assert "May not be promoted, for 2 reasons:" in page
    assert all(f"<li>{fault}</li>" in page for fault in made.summary.faults)
    assert "median passing" not in page
    assert "0.0%" in page
    assert "no: Sharpe at least 1.5" in page


def test_the_least_that_a_sweep_can_be(tmp_path: Path) -> None:
    page = render(make_bare_sweep(tmp_path), tmp_path / "report.html")
    assert "May not be promoted: it fails trades_min." in page
    assert "No fold was tested." in page
    assert "No statistic could be computed." in page
    assert "Each instrument alone" not in page
    assert "What is left of the Sharpe ratio" not in page
    assert "Chosen on one half" not in page
    assert "unseen by the search" not in page
    assert ">n/a<" in page
    assert "None" not in page
    assert "NaN" not in page
    assert ">nan" not in page
    for section in SECTIONS:
        assert f"<h2>{section}</h2>" in page


def test_the_verdict_is_one_sentence_with_its_reason(made: MadeSweep) -> None:
    assert compute_verdict(made.summary).sentence.startswith("May be promoted: configuration ")
    assert compute_verdict(made.summary).tone == "gain"
    told = compute_verdict(replace(made.summary, faults=["PBO is 31%"]))
    assert (told.sentence, told.reasons, told.tone) == ("May not be promoted: PBO is 31%.", [], "loss")


def test_an_unknown_distribution_and_unswept_rounds_are_left_out(made: MadeSweep, tmp_path: Path) -> None:
    rounds = [replace(part, quantiles={}, axes={"stop_atr": [2.0]}) for part in made.summary.rounds]
    page = render(made, tmp_path / "report.html", rounds=rounds, selection=[])
    assert "The distributions are not known." in page
    assert "How the score depends" not in page
    assert "Configurations side by side" not in page
    assert "The choosing itself" not in page


def test_many_rounds_draw_the_first_and_the_last(made: MadeSweep) -> None:
    summary, count = made.summary, ROUNDS_DRAWN_MAX + 2
    rounds = [replace(summary.rounds[2], name=f"r{number}") for number in range(count)]
    drawn = make_landscapes(replace(summary, rounds=rounds), [made.rounds[2]] * count)
    assert [part.name for part in drawn] == ["r0", "r3", "r4", "r5"]


def test_picked_rows_are_few_and_hold_the_best_the_passing_and_the_wanted(made: MadeSweep) -> None:
    keys = ["config", "stop_atr", "score", "is_passed"]
    table = pq.read_table(made.rounds[1])
    score = table["score"].to_numpy()
    rows = pick_rows(made.rounds[1], keys, 400, made.summary.rounds[1].passed, [4321])
    configs = set(rows[:, 0].astype(int))
    assert len(configs) == len(rows) <= 404
    assert np.all(np.diff(rows[:, 0]) > 0)
    assert set(np.argsort(-score, kind="stable")[:100]) <= configs
    assert 4321 in configs
    assert rows[:, 3].sum() >= 100
    everything = pick_rows(made.rounds[0], keys, 4 * len(pq.read_table(made.rounds[0])), 1)
    np.testing.assert_array_equal(everything[:, 1], pq.read_table(made.rounds[0])["stop_atr"].to_numpy())


def test_cells_are_means_over_all_other_parameters(made: MadeSweep) -> None:
    part, table = made.summary.rounds[0], pq.read_table(made.rounds[0]).to_pandas()
    bins = {key: cut_axis(np.array(part.axes[key], float)) for key in find_swept(part)}
    several = sum_cells(made.rounds[0], bins)
    assert len(several) == 10
    assert [cells.told_frac for cells in several] == sorted((cells.told_frac for cells in several), reverse=True)
    for cells in several[:3]:
        told = table.groupby([cells.y_key, cells.x_key]).agg({"score": ["mean", "size"], "is_passed": "mean"})
        shape = cells.score_avg.shape
        np.testing.assert_allclose(cells.score_avg, told["score", "mean"].to_numpy().reshape(shape))
        np.testing.assert_allclose(cells.passed_frac, told["is_passed", "mean"].to_numpy().reshape(shape))
        np.testing.assert_array_equal(cells.configs, told["score", "size"].to_numpy().reshape(shape))


def test_the_share_that_a_pair_tells_is_all_of_it_or_none(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    a, b, c = (random.integers(0, 4, 4000).astype(float) for _ in range(3))
    rows = {"a": a, "b": b, "c": c, "score": (a == b) / 2.0, "is_passed": a == b}
    path = write_rows(tmp_path / "results.parquet", rows)
    several = sum_cells(path, {key: cut_axis(rows[key]) for key in "abc"})
    assert (several[0].x_key, several[0].y_key) == ("a", "b")
    assert several[0].told_frac == pytest.approx(1.0)
    assert several[1].told_frac < 0.02
    pq.write_table(pa.table(rows | {"score": np.full(4000, 0.3)}), path)
    assert all(cells.told_frac == 0.0 for cells in sum_cells(path, {key: cut_axis(rows[key]) for key in "abc"}))


def test_a_sampled_axis_is_cut_into_parts_of_about_as_many() -> None:
    values = np.exp(np.random.default_rng(0).uniform(0.0, 5.0, 8000))
    bins = cut_axis(values)
    counts = np.bincount(np.searchsorted(bins.edges, values, "right"))
    assert len(counts) == len(bins.centres) == BINS
    assert counts.min() > 990
    assert not bins.is_exact


def test_a_heatmap_marks_the_best_and_the_next_region(made: MadeSweep) -> None:
    part = made.summary.rounds[0]
    cells = sum_cells(made.rounds[0], {key: cut_axis(np.array(part.axes[key])) for key in ("stop_atr", "sar_step")})[0]
    mark = Mark({"stop_atr": 3.0, "sar_step": 0.04}, {"stop_atr": [2.0, 4.0], "sar_step": [0.01, 0.03]}, "best")
    figure = draw_heatmap(cells, mark, (0.0, 1.0))
    assert (figure.data[1].x, figure.data[1].y) == ((2,), (4,))
    (shape,) = figure.layout.shapes
    assert (shape.x0, shape.x1, shape.y0, shape.y1) == (0.5, 3.5, 0.5, 3.5)
    assert len(draw_heatmap(cells, Mark({}, {}, ""), (0.0, 1.0)).data) == 1


def test_the_holdout_starts_again_and_is_shaded(made: MadeSweep) -> None:
    figure = draw_curves(made.curves, 10_000.0)
    inside, outside = figure.data[0], figure.data[2]
    assert inside.y[-1] == made.curves[0].equity_in_sample[-1] / 10_000.0 - 1.0
    assert abs(outside.y[0]) < 0.06
    assert inside.x[-1] <= outside.x[0]
    assert any(shape.type == "rect" for shape in figure.layout.shapes)


def test_no_bar_of_the_logits_mixes_the_halves() -> None:
    logits = np.append(np.random.default_rng(0).normal(0.3, 1.0, 500), [0.0, 0.0])
    (histogram,) = draw_logits(logits).data
    below = np.array(histogram.x) < 0
    assert np.array(histogram.y)[below].sum() == pytest.approx((logits <= 0).mean())


def test_unknown_sharpes_are_left_out_of_the_steps() -> None:
    figure = draw_sharpe_steps([("a", False, 1.5), ("b", True, None), ("c", True, -0.25)], None)
    assert figure.data[0].y == ("a: 1.50", "c: -0.25")


def test_spans_show_what_was_tried_and_kept(made: MadeSweep) -> None:
    spans = dict(compute_spans(made.summary))["stop_atr"]
    assert spans[0].text == "1.5 to 6, 5 values"
    assert spans[0].tried == (0.0, 100.0)
    assert spans[0].kept_text == "2.5 to 4.5"
    assert (spans[2].kept, spans[2].text) == (None, "2.8 to 4.1")


def test_results_are_read_in_batches(tmp_path: Path) -> None:
    rows = {"config": np.arange(2 * BATCH_ROWS + 5), "score": np.zeros(2 * BATCH_ROWS + 5)}
    path = write_rows(tmp_path / "results.parquet", rows)
    lengths = [len(values) for values in read_batches(path, ["score", "config"])]
    assert max(lengths) <= BATCH_ROWS
    assert sum(lengths) == 2 * BATCH_ROWS + 5
