"""Rounds: any order, any cut, any death in between ends with the same bytes; a narrower space, honest counts."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sweeps.case import describe_identity
from sweeps.chunks import find_failures
from sweeps.search.space import Axis
from sweeps.spec import Constraints, RoundSpec, SweepSpec
from sweeps.store import SweepStore
from tests.unit.sweeps.small_sweep import (
    EASY,
    make_small_case,
    make_small_market,
    make_space,
    make_spec,
    read_files,
    run_in_process,
)

RANGES = (
    Axis("trend_bars", True, True, values=(48.0, 96.0)),
    Axis("stop_atr", False, True, low=2.0, high=4.0, points=3),
    Axis("trend_atr_min", False, False, low=0.0, high=1.5, points=4),
)
ADAPTIVE = make_spec(
    space=make_space(*RANGES),
    rounds=(RoundSpec("tpe", "tpe", configs=300), RoundSpec("sobol", "sobol", configs=40)),
    chunk_configs=7,
)


@pytest.mark.parametrize("spec", [make_spec(chunk_configs=5), ADAPTIVE], ids=["grid", "adaptive"])
def test_any_order_and_any_death_end_with_the_same_bytes(spec: SweepSpec, tmp_path: Path) -> None:
    case = make_small_case(spec)
    run_in_process(case, tmp_path / "whole", seed=1)
    expected = read_files(tmp_path / "whole")
    assert {"summary.json", "returns.npy", "rounds/1-" + spec.rounds[0].name + "/results.parquet"} <= set(expected)

    killed = tmp_path / "killed"
    deaths = 0
    while run_in_process(case, killed, seed=2 + deaths, pieces_max=3) is None:
        deaths += 1
    assert deaths >= 3
    assert read_files(killed) == expected


def test_the_cut_into_chunks_changes_nothing(tmp_path: Path) -> None:
    results = []
    for chunk_configs in (1, 5, 24):
        directory = tmp_path / str(chunk_configs)
        case = make_small_case(make_spec(chunk_configs=chunk_configs))
        run_in_process(case, directory)
        results.append(
            {name: data for name, data in read_files(directory).items() if name.endswith((".parquet", ".npy"))}
        )
    assert results[0] == results[1] == results[2]


def test_a_half_written_chunk_and_a_death_before_the_summary_are_no_harm(tmp_path: Path) -> None:
    case = make_small_case(make_spec(chunk_configs=5))
    run_in_process(case, tmp_path / "whole")
    directory = tmp_path / "killed"
    run_in_process(case, directory, pieces_max=2)
    chunks = directory / "rounds" / "1-coarse" / "chunks"
    (chunks / ".0000003.parquet.77.part").write_bytes(b"half")
    (chunks / "0000004.npy").write_bytes(b"half")
    run_in_process(case, directory)
    assert read_files(directory) == read_files(tmp_path / "whole")
    (directory / "summary.json").unlink()
    (directory / "rounds" / "2-refined" / "chunks").mkdir()
    run_in_process(case, directory)
    assert read_files(directory) == read_files(tmp_path / "whole")


def test_a_round_narrows_to_a_region_and_counts_what_is_there(tmp_path: Path) -> None:
    case = make_small_case(make_spec(constraints=Constraints(1, 0.9, 0.5, 0.0)))
    summary = run_in_process(case, tmp_path / "sweep")
    assert summary is not None
    coarse, refined = summary.rounds
    assert (coarse.configs, coarse.name, refined.name, refined.region) == (24, "coarse", "refined", None)
    assert coarse.region is not None
    for key, values in refined.axes.items():
        low, high = coarse.region[key]
        assert all(low <= value <= high for value in values)  # type: ignore[operator]
        assert set(coarse.axes[key]) >= set(values) or len(values) > 1
    assert refined.configs == np.prod([len(values) for values in refined.axes.values()])
    for number, part in enumerate(summary.rounds, 1):
        table = pq.read_table(tmp_path / "sweep" / "rounds" / f"{number}-{part.name}" / "results.parquet")
        columns = {name: table[name].to_numpy() for name in table.column_names}
        assert len(table) == part.configs
        assert columns["is_passed"].sum() == part.passed
        failures = find_failures(columns, case.work.constraints, case.work.walk_forward)
        assert part.failures == {name: int(failed.sum()) for name, failed in failures.items()}
        assert part.walk_forward_tested == int(np.isfinite(columns["walk_forward_sharpe"]).sum())
        assert part.quantiles["sharpe"][3] == np.median(columns["sharpe"])
    assert summary.overfitting.trials == coarse.configs + refined.configs == summary.configs


def test_the_best_passes_with_the_best_neighbourhood_and_only_it_meets_the_holdout(tmp_path: Path) -> None:
    case = make_small_case(make_spec(constraints=Constraints(1, 0.9, 0.5, 0.0)))
    summary = run_in_process(case, tmp_path / "sweep")
    assert summary is not None
    best = summary.best
    tables = [pq.read_table(part.results_path).to_pandas() for part in _list_rounds(tmp_path / "sweep", summary)]
    passing = [row for table in tables for row in table[table["is_passed"]].to_dict("records")]
    assert passing
    assert best.is_passed
    assert best.score_stable == max(row["score_stable"] for row in passing)
    assert summary.median is not None
    assert summary.median.score_stable in {row["score_stable"] for row in passing}
    assert best.metrics_out_of_sample is not None
    assert len(best.folds) == len(summary.selection) == 2
    # A position open at the end of a test counts as a trade of its metrics, but is no evidence yet.
    trades = sum(fold.test_metrics["trades"] or 0 for fold in best.folds) + (best.metrics_out_of_sample["trades"] or 0)
    assert trades - 3 <= (best.evidence["trades"] or 0) <= trades


def _list_rounds(directory: Path, summary) -> list:  # type: ignore[no-untyped-def, type-arg]
    return [SweepStore(directory).get_round(number, part.name) for number, part in enumerate(summary.rounds, 1)]


def test_a_resume_of_another_sweep_names_what_differs(tmp_path: Path) -> None:
    case = make_small_case(make_spec(chunk_configs=5))
    run_in_process(case, tmp_path / "sweep", pieces_max=1)
    store = SweepStore(tmp_path / "sweep")
    other = make_small_case(make_spec(constraints=dataclasses.replace(EASY, sharpe_min=2.0)))
    with pytest.raises(
        ValueError, match=r"holds a sweep with another spec\.constraints\.sharpe_min: -20\.0 there, 2\.0 here"
    ):
        store.resume(describe_identity(other))
    data = make_small_case(make_spec(chunk_configs=5), make_small_market(seed=2))
    with pytest.raises(ValueError, match=r"holds a sweep with another data\.sha256"):
        store.resume(describe_identity(data))
    with pytest.raises(ValueError, match=r"is not an empty directory: choose another"):
        store.begin(describe_identity(case), "")
    with pytest.raises(ValueError, match=r"holds no sweep: there is no sweep.json in it"):
        SweepStore(tmp_path).resume(describe_identity(case))
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match=r"sweep.json is damaged: .*; start a new sweep"):
        store.resume(describe_identity(case))


def test_without_holdout_or_folds_a_sweep_ends_and_says_so(tmp_path: Path) -> None:
    spec = make_spec(rounds=(RoundSpec("only"),), holdout_frac=0.0)
    spec = dataclasses.replace(spec, walk_forward=dataclasses.replace(spec.walk_forward, folds=0))
    summary = run_in_process(make_small_case(spec), tmp_path / "sweep")
    assert summary is not None
    assert summary.best.metrics_out_of_sample is None
    assert any("there is no holdout" in fault for fault in summary.faults)
    assert (summary.selection, summary.best.folds) == ([], [])
