"""Finished sweeps as words and tables on a terminal, or in a pipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.spec import Significance
from sweeps.statistics.overfitting import explain
from sweeps.summary import Finalist, RoundSummary, SweepSummary
from trireme.periods import format_ts_ms

WIDTH = 100  # columns: at most, and in a pipe
ABREAST_MAX = 4  # sweeps beside each other
KEYS_MAX = 5  # parameters with a column each; more share one
SHA_SHOWN = 12

_METRICS = (
    ("Sharpe", "sharpe", ".2f"),
    ("return", "return_frac", "+.1%"),
    ("largest drawdown", "drawdown_frac_max", ".1%"),
    ("trades", "trades", ",d"),
    ("won", "win_rate_frac", ".1%"),
    ("profit factor", "profit_factor", ".2f"),
    ("fees paid", "fees_quote", ",.2f"),
    ("funding received", "funding_quote", "+,.2f"),
    ("equity at the end", "equity_last_quote", ",.2f"),
)
_COMPARED = ("sharpe", "return_frac", "drawdown_frac_max", "trades")
_TOP = (
    ("\nconfig", "config", "d"),
    ("stable\nscore", "score_stable", ".3f"),
    ("near\npass", "neighbours_passed_frac", ".0%"),
    ("\nSharpe", "sharpe", ".2f"),
    ("walk\nfwd", "walk_forward_sharpe", ".2f"),
    ("draw\ndown", "drawdown_frac_max", ".1%"),
    ("\ntrades", "trades", ",d"),
)


def make_console() -> Console:
    """Return stdout, at most 100 columns wide; names that people chose are printed as they are."""
    console = Console(markup=False, highlight=False, emoji=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def print_sweep(console: Console, summary: SweepSummary, significance: Significance) -> None:
    """Print what a sweep came to, but for its verdict."""
    data, account = summary.data, summary.account
    console.print(f"{summary.name}: {summary.strategy} on {', '.join(data['instrument_ids'])}", style="bold")
    bars, holdout = data["bars"], data["bars_holdout"]
    held_out = f"the last {holdout:,} held out" if holdout else "none held out"
    console.print(f"{_format_period(data)} UTC, {bars:,} bars of {data['interval_ms'] / 60_000:g} min, {held_out}")
    console.print(f"equity at the start {account['equity_start_quote']:,.0f}, {format_costs(account['costs'])}")
    console.print(f"data {data['sha256'][:SHA_SHOWN]}, code {summary.code_version}\n")
    _print_rounds(console, summary.rounds)
    _print_finalists(console, summary.best, summary.median)
    console.print("What chance explains", style="bold")
    _print_pairs(
        console,
        [
            (value, Text.assemble((label, "bold"), f": {sentence}"))
            for label, value, sentence in explain(summary.overfitting, significance)
        ],
    )


def print_top(console: Console, round_name: str, rows: list[dict[str, Any]]) -> None:
    """Print the configurations that `read_top` found in a round: their neighbourhoods score best."""
    keys = tuple(rows[0]["params"])
    is_wide = len(keys) > KEYS_MAX
    table = _make_table(tuple(heading for heading, _, _ in _TOP))
    table.add_column("\npass")
    for heading in ("parameters",) if is_wide else (key.replace("_", "\n") for key in keys):
        table.add_column(heading, justify="left" if is_wide else "right", overflow="fold", vertical="bottom")
    for row in rows:
        cells = [_format(row[column], pattern) for _, column, pattern in _TOP]
        cells.append("yes" if row["is_passed"] else "no")
        params = row["params"]
        cells += [_format_params(params, ".3g")] if is_wide else [_format_param(params[key], ".3g") for key in keys]
        table.add_row(*cells)
    _print_table(console, f"Configurations of {round_name}, greatest stable score first", table)


def print_verdict(console: Console, directory: Path, faults: list[str]) -> None:
    """Print whether the best may be promoted, and why not."""
    if faults:
        console.print("Verdict: the best may not be promoted", style="bold red")
        _print_pairs(console, [("-", fault) for fault in faults])
        return
    line = f"Verdict: nothing speaks against promoting the best: trireme sweep promote {directory}\n"
    console.print(line, style="bold green", soft_wrap=True)


def print_comparison(
    console: Console,
    sweeps: list[tuple[Path, SweepSummary]],
    obstacles: list[str],
    differences: dict[str, list[Any]],
) -> None:
    """Print sweeps beside each other, what their specifications differ in, and whether they may be compared."""
    for number, (directory, summary) in enumerate(sweeps, 1):
        console.print(f"sweep {number}: {directory} ({summary.name})", soft_wrap=True)
    console.print()
    summaries = [summary for _, summary in sweeps]
    _print_abreast(console, "What they did", [(label, [get(one) for one in summaries]) for label, get in _FACTS])
    rounds = max(len(one.rounds) for one in summaries)
    passing = [(f"round {index + 1}", [_format_round(one, index) for one in summaries]) for index in range(rounds)]
    passing.append(("all", [_format_passed(one.passed, one.configs) for one in summaries]))
    _print_abreast(console, "What passes", passing)
    results = [(label, [get(one) for one in summaries]) for label, get in _RESULTS]
    _print_abreast(console, "The best, in sample -> held out", results)
    if differences:
        rows = [(key, [_format_value(value) for value in values]) for key, values in differences.items()]
        _print_abreast(console, "What they were asked, where it differs", rows)
    if obstacles:
        console.print("Not comparable", style="bold red")
        _print_pairs(console, [("-", obstacle) for obstacle in obstacles])
    else:
        line = "Comparable: same data, held-out part, code, costs, equity at the start and risk limits"
        console.print(line, style="bold green")


# ---- the pieces of one sweep


def _print_rounds(console: Console, rounds: list[RoundSummary]) -> None:
    table = _make_table(("configurations", "pass", "pass rate"), ("round", "sampler"))
    for part in rounds:
        share = _format_share(part.passed, part.configs)
        table.add_row(part.name, part.sampler, f"{part.configs:,}", f"{part.passed:,}", share)
    _print_table(console, "Rounds", table)
    failing = _make_table(tuple(part.name for part in rounds), ("constraint",))
    for name in dict.fromkeys(name for part in rounds for name in part.failures):
        is_last = name == "walk_forward"
        cells = []
        for part in rounds:
            count, tested = part.failures.get(name, 0), part.walk_forward_tested if is_last else part.configs
            cells.append(f"{count:,}  {_format_share(count, tested):>7}")
        failing.add_row(f"{name}, of those that meet the others" if is_last else name, *cells)
    _print_table(console, "How many fail", failing)


def _print_finalists(console: Console, best: Finalist, median: Finalist | None) -> None:
    finalists = [best] if median is None else [best, median]
    table = _make_table(tuple(f"{one.role}\n{when}" for one in finalists for when in ("in sample", "held out")), ("",))
    for label, key, pattern in _METRICS:
        sides = [side or {} for one in finalists for side in (one.metrics, one.metrics_out_of_sample)]
        table.add_row(label, *(_format(side.get(key), pattern) for side in sides))
    _print_table(console, "The best, and the median of those that pass", table)
    for one in finalists:
        state = "passes" if one.is_passed else f"fails {', '.join(one.failed)}"
        stable, neighbours = _format(one.score_stable, ".3f"), _format(one.neighbours_passed_frac, ".0%")
        near = f"{neighbours} of its neighbours pass, stable score {stable}"
        lines = Text.assemble(f"configuration {one.config:,} of {one.round_name}, {state}; {near}\n")
        lines.append(_format_params(one.params, ".12g"), "cyan")
        _print_pairs(console, [(one.role, lines)])
    if median is None:
        console.print("median: nothing passes\n")


# ---- the pieces of a comparison


def _print_abreast(console: Console, title: str, rows: list[tuple[str, list[str]]]) -> None:
    count = len(rows[0][1])
    for start in range(0, count, ABREAST_MAX):
        stop = min(start + ABREAST_MAX, count)
        table = _make_table((), ("", *(f"sweep {number}" for number in range(start + 1, stop + 1))))
        for label, cells in rows:
            table.add_row(label, *cells[start:stop])
        _print_table(console, title, table)


def _format_round(summary: SweepSummary, index: int) -> str:
    if index >= len(summary.rounds):
        return "-"
    part = summary.rounds[index]
    return f"{part.name}: {_format_passed(part.passed, part.configs)}"


def _format_passed(passed: int, configs: int) -> str:
    return f"{_format_share(passed, configs)} of {configs:,}"


def _format_pair(summary: SweepSummary, key: str, pattern: str) -> str:
    held_out = (summary.best.metrics_out_of_sample or {}).get(key)
    return f"{_format(summary.best.metrics.get(key), pattern)} -> {_format(held_out, pattern)}"


def _pair(key: str, pattern: str) -> Callable[[SweepSummary], str]:
    return lambda summary: _format_pair(summary, key, pattern)


_FACTS: tuple[tuple[str, Callable[[SweepSummary], str]], ...] = (
    ("strategy", lambda one: one.strategy),
    ("instruments", lambda one: ", ".join(one.data["instrument_ids"])),
    ("period", lambda one: _format_period(one.data)),
    ("bars, held out", lambda one: f"{one.data['bars']:,}, {one.data['bars_holdout']:,}"),
    ("data", lambda one: one.data["sha256"][:SHA_SHOWN]),
    ("code", lambda one: one.code_version),
    ("costs", lambda one: format_costs(one.account["costs"])),
)
_RESULTS: tuple[tuple[str, Callable[[SweepSummary], str]], ...] = (
    *((label, _pair(key, pattern)) for label, key, pattern in _METRICS if key in _COMPARED),
    ("deflated Sharpe", lambda one: _format(one.overfitting.deflated_sharpe_prob, ".1%")),
    ("overfitting (PBO)", lambda one: _format(one.overfitting.pbo_frac, ".1%")),
    ("SPA p-value", lambda one: _format(one.overfitting.spa_p, ".3f")),
    ("may be promoted", lambda one: f"no, faults: {len(one.faults)}" if one.faults else "yes"),
)


# ---- words


def format_costs(costs: dict[str, float]) -> str:
    """Return what trading costs in one line.

    >>> format_costs({"fee_taker_bps": 4.5, "slippage_bps": 1.0})
    'fee taker 4.5 bps, slippage 1 bps'
    """
    return ", ".join(f"{key.removesuffix('_bps').replace('_', ' ')} {value:g} bps" for key, value in costs.items())


def _format_period(data: dict[str, Any]) -> str:
    return f"{format_ts_ms(data['from_ms'])} to {format_ts_ms(data['to_ms'])}"


def _format_params(params: dict[str, Any], pattern: str) -> str:
    return ", ".join(f"{key} {_format_param(value, pattern)}" for key, value in params.items())


def _format_param(value: Any, pattern: str) -> str:
    # Whole numbers are bars or counts: they keep every digit.
    is_whole = value is not None and float(value).is_integer()
    return _format(value, ".0f" if is_whole else pattern)


def _format_share(part: int, whole: int) -> str:
    return _format(part / whole if whole else None, ".1%")


def _format(value: Any, pattern: str) -> str:
    return "n/a" if value is None else f"{value:{pattern}}".replace("%", " %")


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_format_value(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else "-" if value is None else str(value)


def _make_table(numbers: tuple[str, ...], words: tuple[str, ...] = ()) -> Table:
    # Columns of words, then columns of numbers.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in words:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", overflow="fold", vertical="bottom")
    return table


def _print_table(console: Console, title: str, table: Table) -> None:
    console.print(title, style="bold")
    console.print(table)
    console.print()


def _print_pairs(console: Console, pairs: list[tuple[str, str | Text]]) -> None:
    # A short word, and beside it what may take several lines.
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right")
    grid.add_column(overflow="fold")
    for word, text in pairs:
        grid.add_row(word, text)
    console.print(grid)
    console.print()
