"""`trireme sweep show` and `compare`: what they print, how wide, and one line with exit code 2 for bad input."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from sweeps.summary import SweepSummary
from tests.unit.sweeps.sweep_results import make_bare_sweep, make_sweep
from tests.unit.trireme.sweep_directories import change_odds, make_bare_summary, make_summary, write_sweep
from trireme import main, sweep_show
from trireme.sweep_show import compare, find_differences, read_top, show


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sweep")
    return write_sweep(directory, make_sweep(directory).summary)


def run(command: Any, *arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert (result.exception, result.stderr) == (None, "")
    if "--json" not in arguments:  # lines that name a path are as long as the path
        assert max(len(line) for line in result.stdout.splitlines() if "/" not in line) <= 100
    return result


def test_show_tells_rounds_finalists_chance_verdict_and_files(finished: Path) -> None:
    summary, text = make_summary(), run(show, finished).stdout
    for part in summary.rounds:
        assert f"{part.passed:,}" in text
        assert f"{100 * part.passed / part.configs:.1f} %" in text
        assert f"{part.failures['walk_forward']:,}" in text
    for one in (summary.best, summary.median):
        assert one is not None
        assert one.metrics_out_of_sample is not None
        assert f"{one.role} configuration {one.config:,} of near, passes" in text
        for metrics in (one.metrics, one.metrics_out_of_sample):
            assert f"{metrics['sharpe']:.2f}" in text
    assert "96.8 % Deflated Sharpe ratio" in text
    assert "Verdict: nothing speaks against promoting the best" in text
    assert f"report: {finished}/report.html (not there)" in text
    assert f"results: {finished}/rounds/3-near/results.parquet\n" in text


def test_show_tells_of_a_sweep_that_found_nothing(tmp_path: Path) -> None:
    summary = make_bare_sweep(tmp_path).summary
    write_sweep(tmp_path, replace(summary, best=replace(summary.best, round_name="only")))
    text = run(show, tmp_path).stdout
    assert "none held out" in text
    assert "fails trades_min" in text
    assert "median: nothing passes" in text
    assert "Verdict: the best may not be promoted\n- it fails trades_min" in text


def test_show_json_has_the_words_of_a_finished_sweep_and_is_strict(finished: Path) -> None:
    summary = make_summary()
    document = json.loads(run(show, finished, "--json", "--top", 3).stdout, parse_constant=pytest.fail)
    assert (document["configs"], document["passed"]) == (summary.configs, summary.passed)
    assert document["pass_rate_frac"] == summary.passed / summary.configs
    assert [part["name"] for part in document["rounds"]] == ["coarse", "fine", "near"]
    assert document["best"] == {
        "params": summary.best.params,
        "metrics": summary.best.metrics,
        "metrics_out_of_sample": summary.best.metrics_out_of_sample,
        "is_passed": summary.best.is_passed,
    }
    assert document["summary"] == asdict(summary)
    assert document["top"]["round"] == "near"
    assert len(document["top"]["configs"]) == 3
    assert document["files"]["results"] == str(finished / "rounds/3-near/results.parquet")


def test_show_lists_the_round_that_is_asked_for(finished: Path) -> None:
    document = json.loads(run(show, finished, "--json", "--round", "coarse", "--top", 2).stdout)
    table = pq.read_table(finished / "rounds/1-coarse/results.parquet")
    order = np.argsort(-table["score_stable"].to_numpy(), kind="stable")[:2]
    assert [row["config"] for row in document["top"]["configs"]] == table["config"].to_numpy()[order].tolist()
    assert "Configurations of coarse, greatest" in run(show, finished, "--round", "coarse").stdout
    assert "Configurations of" not in run(show, finished, "--top", 0).stdout


def test_many_parameters_share_a_column(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trireme.sweep_console.KEYS_MAX", 4)
    text = run(show, finished, "--top", 1).stdout
    assert "parameters" in text
    assert text.count("trend_bars") == 3  # the best, the median, the one listed


def make_results(scores: list[float]) -> pa.Table:
    columns = {name: np.zeros(len(scores)) for name in sweep_show.COLUMNS} | {
        "config": np.arange(len(scores)) + 100,
        "is_passed": np.ones(len(scores), np.bool_),
        "walk_forward_sharpe": np.full(len(scores), np.nan),
        "score_stable": np.array(scores),
        "stop_atr": np.arange(len(scores)) / 2.0,
        "sar_step": np.full(len(scores), 0.02),
    }
    return pa.table(columns)


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
def test_the_top_is_the_same_however_it_is_read_and_nan_comes_last(
    tmp_path: Path, batch_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_show, "BATCH_ROWS", batch_rows)
    path = tmp_path / "results.parquet"
    pq.write_table(make_results([np.nan, 0.5, 0.9, 0.5, 0.9, 0.1]), path, row_group_size=4)
    assert [row["config"] for row in read_top(path, 3, ())] == [102, 104, 101]
    rows = read_top(path, 10, ("stop_atr",))
    assert [row["config"] for row in rows] == [102, 104, 101, 103, 105, 100]
    assert rows[0]["params"] == {"stop_atr": 1.0}
    assert rows[0]["walk_forward_sharpe"] is None
    assert rows[-1]["score_stable"] is None


@pytest.mark.parametrize("fault", ["not there", "not readable", "has no column 'stop_atr'"])
def test_results_that_cannot_be_read_end_in_one_line(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "results.parquet"
    if fault == "not readable":
        path.write_bytes(b"PAR1 and then nothing")
    elif fault != "not there":
        pq.write_table(make_results([0.5]).drop_columns(["stop_atr"]), path)
    with pytest.raises(ValueError, match=f"results.parquet: {fault}") as caught:
        read_top(path, 3, ("stop_atr",))
    assert "\n" not in str(caught.value)
    assert "`--top 0` shows the rest" in str(caught.value)


def test_compare_says_that_equal_terms_are_comparable(tmp_path: Path) -> None:
    one = make_summary()
    other = replace(change_odds(one, deflated_sharpe_prob=0.4), spec=one.spec | {"seed": 8}, faults=["luck"])
    directories = write_sweep(tmp_path / "a", one), write_sweep(tmp_path / "b", other)
    text = run(compare, *directories).stdout
    assert f"sweep 2: {tmp_path}/b (three rounds)" in text
    [line] = [line for line in text.splitlines() if "deflated Sharpe" in line]
    assert line.split() == ["deflated", "Sharpe", "96.8", "%", "40.0", "%"]
    assert "Comparable: same data" in text
    assert "Not comparable" not in text
    document = json.loads(run(compare, *directories, "--json").stdout, parse_constant=pytest.fail)
    assert document["is_comparable"] is True
    assert document["differences"] == {"seed": [7, 8]}
    assert [one["deflated_sharpe_prob"] for one in document["sweeps"]] == [0.968, 0.4]


def vary(summary: SweepSummary, part: str, key: str, value: Any) -> SweepSummary:
    return replace(summary, **{part: getattr(summary, part) | {key: value}})


@pytest.mark.parametrize(
    ("other", "obstacle"),
    [
        (
            vary(make_summary(), "data", "sha256", "77" * 32),
            "other data: 9c1f9c1f9c1f (sweep 1), 777777777777 (sweep 2)",
        ),
        (vary(make_summary(), "data", "bars_holdout", 7), "other bars held out: 14,016 (sweep 1), 7 (sweep 2)"),
        (replace(make_summary(), code_version="new"), "other code: 0.3.0+g1f2e3d4 (sweep 1), new (sweep 2)"),
        (vary(make_summary(), "account", "costs", {"fee_taker_bps": 4.50000001}), "other costs: fee taker 4.5 bps"),
        (
            vary(make_summary(), "account", "equity_start_quote", 5e4),
            "other equity at the start: 10,000 (sweep 1), 50,",
        ),
        (vary(make_summary(), "account", "limits", {"enabled": True}), "other risk limits: daily_loss.loss_frac_max"),
    ],
)
def test_compare_says_why_sweeps_are_not_comparable(tmp_path: Path, other: SweepSummary, obstacle: str) -> None:
    directories = write_sweep(tmp_path / "a", make_summary()), write_sweep(tmp_path / "b", other)
    text = run(compare, *directories).stdout
    assert f"Not comparable\n- {obstacle}" in text
    document = json.loads(run(compare, *directories, "--json").stdout)
    assert document["is_comparable"] is False
    [line] = document["obstacles"]
    assert line.startswith(obstacle)


def test_compare_shows_many_and_unlike_sweeps(tmp_path: Path) -> None:
    summaries = [make_summary(), make_bare_summary()] * 3
    text = run(compare, *(write_sweep(tmp_path / str(i), one) for i, one in enumerate(summaries))).stdout
    assert text.count("What passes") == 2
    assert "sweep 6" in text


def test_differences_are_named_to_the_leaf() -> None:
    one = {"space": {"a": [1, 2], "b": {"low": 1.0}}, "rounds": [{"name": "x"}], "same": {"k": None}, "gone": {}}
    other = {"space": {"a": [1, 3], "b": [4]}, "rounds": [{"name": "x"}, {"name": "y"}], "same": {"k": None}}
    assert find_differences([one, other]) == {
        "space.a": [[1, 2], [1, 3]],
        "space.b.low": [1.0, None],
        "space.b": [None, [4]],
        "gone": [{}, None],
        "rounds.1.name": [None, "y"],
    }


@pytest.mark.parametrize(
    ("prepare", "arguments", "text"),
    [
        ("nothing", ["show", "DIR"], "no such directory"),
        ("unfinished", ["show", "DIR"], "go on with `trireme sweep --resume"),
        ("damaged", ["show", "DIR"], "summary.json: damaged"),
        (
            "finished",
            ["show", "DIR", "--round", "last"],
            "no round is named 'last': give --round one of coarse, fine, near",
        ),
        ("finished", ["show", "DIR"], "results.parquet: not there: `--top 0` shows the rest"),
        ("finished", ["show", "DIR", "--top", "-1"], "--top"),
        ("finished", ["compare", "DIR"], "give two directories or more"),
        ("unfinished", ["compare", "DIR", "DIR"], "not finished"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    tmp_path: Path,
    prepare: str,
    arguments: list[str],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = tmp_path / "sweep"
    if prepare != "nothing":
        write_sweep(directory, make_summary())
    if prepare == "unfinished":
        (directory / "summary.json").unlink()
    elif prepare == "damaged":
        (directory / "summary.json").write_text("{")
    monkeypatch.setattr(main, "cli", click.Group("sweep", commands=[show, compare]))
    monkeypatch.setattr("sys.argv", ["sweep", *(str(directory) if word == "DIR" else word for word in arguments)])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert text in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
