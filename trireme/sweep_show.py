"""`trireme sweep show` and `trireme sweep compare`: what finished sweeps came to."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from sweeps.summary import SweepSummary
from sweeps.summary_file import read_summary

BATCH_ROWS = 65_536
COLUMNS = (
    "config",
    "score_stable",
    "score",
    "neighbours_passed_frac",
    "is_passed",
    "trades",
    "win_rate_frac",
    "sharpe",
    "return_frac",
    "drawdown_frac_max",
    "walk_forward_sharpe",
)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(min=0), default=5, show_default=True, help="Configurations to list.")
@click.option("--round", "round_name", help="Of which round. Default: that of the best.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(directory: Path, top: int, round_name: str | None, as_json: bool) -> None:
    """Show what a finished sweep came to: rounds, finalists, how much of it chance explains, the verdict.

    Then the configurations of one round with the greatest stable score: that of a neighbourhood, not of a point.
    """
    from sweeps.store import SweepStore

    summary = read_summary(directory)
    number = _find_round(summary, round_name)
    part = summary.rounds[number - 1]
    store = SweepStore(directory)
    results = store.get_round(number, part.name).results_path
    rows = read_top(results, top, tuple(part.axes)) if top else []
    files = {"report": store.directory / "report.html", "results": results, "ledger": store.directory / "ledger"}
    if as_json:
        document = describe(directory, summary) | {
            "summary": dataclasses.asdict(summary),
            "top": {"round": part.name, "configs": rows},
            "files": {name: str(path) for name, path in files.items()},
        }
        click.echo(json.dumps(document, allow_nan=False))
        return
    from sweeps.spec import Significance
    from trireme.sweep_console import make_console, print_sweep, print_top, print_verdict

    try:
        significance = msgspec.convert(summary.spec.get("significance", {}), Significance)
    except msgspec.ValidationError as error:
        raise ValueError(f"{directory}: significance in the summary's spec is damaged ({error})") from None
    console = make_console()
    print_sweep(console, summary, significance)
    if rows:
        print_top(console, part.name, rows)
    print_verdict(console, directory, summary.faults)
    for name, path in files.items():
        console.print(f"{name}: {path}{'' if path.exists() else ' (not there)'}", soft_wrap=True)


@click.command()
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(directories: tuple[Path, ...], as_json: bool) -> None:
    """Show finished sweeps side by side: what they were asked, what passes, their best, how much chance explains.

    Sweeps over other data, with other code, costs or limits are not comparable: it says so.
    """
    if len(directories) < 2:
        raise click.UsageError("one sweep cannot be compared: give two directories or more")
    sweeps = [(directory, read_summary(directory)) for directory in directories]
    summaries = [summary for _, summary in sweeps]
    obstacles, differences = find_obstacles(summaries), find_differences([one.spec for one in summaries])
    if as_json:
        document = {
            "sweeps": [
                describe(directory, one) | {"data": one.data, "code_version": one.code_version, "account": one.account}
                for directory, one in sweeps
            ],
            "differences": differences,
            "is_comparable": not obstacles,
            "obstacles": obstacles,
        }
        click.echo(json.dumps(document, allow_nan=False))
        return
    from trireme.sweep_console import make_console, print_comparison

    print_comparison(make_console(), sweeps, obstacles, differences)


def describe(directory: Path, summary: SweepSummary) -> dict[str, Any]:
    """Return a sweep in the words of `trireme sweep --json`, without how long it took."""
    best, odds = summary.best, summary.overfitting
    return {
        "name": summary.name,
        "strategy": summary.strategy,
        **_count(summary.configs, summary.passed),
        "rounds": [{"name": part.name} | _count(part.configs, part.passed) for part in summary.rounds],
        "best": {
            "params": best.params,
            "metrics": best.metrics,
            "metrics_out_of_sample": best.metrics_out_of_sample,
            "is_passed": best.is_passed,
        },
        "pbo_frac": odds.pbo_frac,
        "deflated_sharpe_prob": odds.deflated_sharpe_prob,
        "spa_p": odds.spa_p,
        "faults": summary.faults,
        "out_dir": str(directory),
    }


def _count(configs: int, passed: int) -> dict[str, int | float]:
    return {"configs": configs, "passed": passed, "pass_rate_frac": passed / configs if configs else 0.0}


def _find_round(summary: SweepSummary, name: str | None) -> int:
    # Counted from 1.
    names = [part.name for part in summary.rounds]
    wanted = summary.best.round_name if name is None else name
    if wanted not in names:
        raise ValueError(f"no round is named {wanted!r}: give --round one of {', '.join(names)}")
    return names.index(wanted) + 1


def read_top(path: Path, count: int, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the configurations of a round with the greatest stable score, best first, equal ones as they were tried.

    Parameters
    ----------
    path : results.parquet of the round; the columns needed are read piece by piece
    count : how many, >= 1
    keys : the parameters to give with each, under "params"

    Raises: ValueError when the file is not there or cannot be read.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    mend = "`--top 0` shows the rest"
    columns = [*COLUMNS, *keys]
    try:
        with pq.ParquetFile(path) as file:
            if missing := set(columns) - set(file.schema_arrow.names):
                raise ValueError(f"{path}: has no column {min(missing)!r}: {mend}")
            top = file.schema_arrow.empty_table().select(columns)
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                top = pa.concat_tables([top, pa.Table.from_batches([batch]).select(columns)])
                scores = top.column("score_stable").to_numpy()
                top = top.take(np.argsort(-scores, kind="stable")[:count])  # NaN comes last
    except FileNotFoundError:
        raise ValueError(f"{path}: not there: {mend}") from None
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not readable ({' '.join(str(error).split())}): {mend}") from None
    return [
        {name: _finite(row[name]) for name in COLUMNS} | {"params": {key: row[key] for key in keys}}
        for row in top.to_pylist()
    ]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def find_obstacles(summaries: list[SweepSummary]) -> list[str]:
    """Return why the results of sweeps must not be compared, each in a line; [] where nothing speaks against it."""
    from trireme.sweep_console import SHA_SHOWN, format_costs

    told: tuple[tuple[str, list[Any], Callable[[Any], str]], ...] = (
        ("other data", [one.data["sha256"] for one in summaries], lambda sha256: str(sha256[:SHA_SHOWN])),
        ("other bars held out", [one.data["bars_holdout"] for one in summaries], "{:,}".format),
        ("other code", [one.code_version for one in summaries], str),
        ("other costs", [one.account["costs"] for one in summaries], format_costs),
        ("other equity at the start", [one.account["equity_start_quote"] for one in summaries], "{:,.12g}".format),
    )
    obstacles = []
    for what, values, write in told:
        if any(value != values[0] for value in values):
            texts = (f"{write(value)} (sweep {number})" for number, value in enumerate(values, 1))
            obstacles.append(f"{what}: {', '.join(texts)}")
    if limits := find_differences([one.account["limits"] for one in summaries]):
        obstacles.append(f"other risk limits: {', '.join(limits)}")
    return obstacles


def find_differences(documents: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return dotted key -> its value in each document, None where it is not there, for keys that are not all equal.

    >>> find_differences([{"seed": 0, "rounds": [{"points": 3}]}, {"seed": 0, "rounds": [{"points": 5}]}])
    {'rounds.0.points': [3, 5]}
    """
    flat = [_flatten(document, "") for document in documents]
    rows = {key: [one.get(key) for one in flat] for one in flat for key in one}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def _flatten(value: Any, key: str) -> dict[str, Any]:
    # Lists of plain values stay whole.
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict) or (key and not value):
        return {key: value}
    parts = (_flatten(item, f"{key}.{name}" if key else name) for name, item in value.items())
    return {name: item for part in parts for name, item in part.items()}
