"""`trireme sweep`, up to where Ray would start: whatever is wrong by then ends in clear lines and exit code 2."""

import json
import re
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from market.importing import import_files
from tests.unit.market.market_files import make_bars, write_parquet
from tests.unit.sweeps.small_sweep import read_files, run_in_process
from trireme import main
from trireme.settings import Settings, read_settings
from trireme.sweep import open_sweep

SPEC = """\
name: small
strategy: momentum_sar
data: {instruments: [BTC-PERP.BINANCE], generated: {seed: 3, bars: 3000}}
space:
  trend_bars: [48, 96]
  stop_atr: {from: 2.0, to: 5.0, points: 4}
constraints: {trades_min: 1, drawdown_frac_max: 0.9, sharpe_min: -9.0, win_rate_frac_min: 0.0}
walk_forward: {folds: 2, sharpe_min: -9.0, folds_positive_frac_min: 0.0, purge_bars: 10, embargo_bars: 10}
significance: {bootstraps: 100, cscv_blocks: 6}
rounds:
  - {name: coarse, sampler: grid}
"""
AXES = "  trend_bars: [48, 96]\n  stop_atr: {from: 2.0, to: 5.0, points: 4}\n"
THOUSANDS = "  {}: {{from: 2.0, to: 5.0, points: 10000}}\n"
HUGE = "".join(THOUSANDS.format(key) for key in ("stop_atr", "trend_atr_min", "take_profit_atr"))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: object
    out: str
    lines: list[str]  # of stderr


@pytest.fixture
def trireme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run the command line in an empty directory that holds `spec.yaml`. Any exception but an exit fails the test."""
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(SPEC)

    def run(*words: object) -> Ended:
        monkeypatch.setattr("sys.argv", ["trireme", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main.main()
        printed = capsys.readouterr()
        return Ended(stopped.value.code, printed.out, printed.err.splitlines())

    return run


def write_spec(*changes: tuple[str, str]) -> None:
    """Write the specification with parts of it replaced."""
    text = SPEC
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("spec.yaml").write_text(text)


def check_refused(ended: Ended, *matches: str) -> None:
    """Bad input: exit code 2, nothing on stdout, one line for each fault and no other."""
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.lines) == len(matches), ended.lines
    assert ended.lines[0].startswith("error: ")
    for line, match in zip(ended.lines, matches, strict=True):
        assert re.search(match, line), line
        assert len(line) < 500


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("", "--spec FILE says what to try, --resume DIR goes on with a sweep: give one"),
        ("--resume x --out y", "--resume and --out exclude each other"),
        ("--spec nowhere.yaml", "nowhere.yaml: cannot be read: No such file"),
        ("--spec .", "cannot be read: Is a directory"),
        ("--spec spec.yaml --out spec.yaml", "--out spec.yaml exists and is not an empty directory"),
        ("--spec spec.yaml --out spec.yaml/below", "Not a directory: 'spec.yaml/below'"),
        ("--spec spec.yaml --catalog nowhere", "nowhere has nothing; fill it with `trireme data import`"),
        ("--spec spec.yaml --config nowhere.yaml", "nowhere.yaml: cannot be read: No such file"),
        ("--spec spec.yaml --bogus", "'--bogus'.*trireme sweep --help"),
        ("--resume nowhere", "nowhere holds no sweep: there is no sweep.json in it"),
        ("--resume .", "holds no sweep: there is no sweep.json in it"),
        ("--resume spec.yaml", "spec.yaml holds no sweep: there is no sweep.json in it"),
    ],
)
def test_options_that_do_not_fit(trireme: Callable[..., Ended], words: str, match: str) -> None:
    check_refused(trireme("sweep", *words.split()), match)
    assert [path.name for path in Path().iterdir()] == ["spec.yaml"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ((AXES, "  trend_bars: 48\n"), "spec.yaml:4: space: the search space is empty"),
        ((f"space:\n{AXES}", "space: {}\n"), "spec.yaml:4: space: the search space is empty"),
        (("[48, 96]", "[]"), r"spec.yaml:5: space.trend_bars: the list is empty"),
        ((AXES, HUGE), r"spec.yaml:\d+: rounds\[0\].sampler: a grid of 1,000,000,000,000 configurations, at most"),
        (("[48, 96]", "[48, 2900]"), "trend_bars 2900.* needs 2,900 bars, the sample has 2,400 of 15m: widen"),
        (("bars: 3000", "bars: 200"), "the holdout .* has 94 bars of 15m, needs 2 days: widen the period"),
        (("rounds:", "relations: [stop_atr > 6]\nrounds:"), "spec.yaml:10: relations: .* exclude all 8 combinations"),
        (("rounds:", "relations: [stop > 6]\nrounds:"), "spec.yaml:10: relations: .*'stop'"),
        (("BTC-PERP.BINANCE", "BTC"), "spec.yaml:3: data.instruments: 'BTC' is no instrument"),
        (("generated: {seed: 3, bars: 3000}", "catalog: nowhere"), "catalog .*nowhere has nothing; fill it with"),
        (("small", "{"), "spec.yaml:.*: not valid YAML"),
    ],
)
def test_a_specification_that_cannot_run(trireme: Callable[..., Ended], change: tuple[str, str], match: str) -> None:
    write_spec(change)
    check_refused(trireme("sweep", "--spec", "spec.yaml", "--out", "out"), match)
    assert not Path("out").exists()


def test_every_fault_of_a_specification_has_its_line(trireme: Callable[..., Ended]) -> None:
    write_spec(
        ("name: small", "name: small\nsharpe: 3"),
        ("[48, 96]", "[48, 96.5]"),
        ("trades_min", "trades_mn"),
        ("grid", "gird"),
    )
    check_refused(
        trireme("sweep", "--spec", "spec.yaml"),
        "spec.yaml:2: sharpe: unknown key",
        "spec.yaml:6: space.trend_bars: 96.5 must be a whole number",
        "spec.yaml:8: constraints.trades_mn: unknown key; did you mean trades_min",
        r"spec.yaml:12: rounds\[0\].sampler: 'gird' must be one of .* did you mean grid",
    )


def test_a_grid_too_large_is_counted_not_built(trireme: Callable[..., Ended]) -> None:
    write_spec((AXES, HUGE))
    tracemalloc.start()
    try:
        assert trireme("sweep", "--spec", "spec.yaml").code == 2
        assert tracemalloc.get_traced_memory()[1] < 20_000_000  # bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("limits: {kelly: {fraction: 7}}\n", "settings.yaml:1: limits.kelly.fraction is 7.0, allowed is 0.01 to 1"),
        ("limitz: {}\n", "settings.yaml:1: unknown key 'limitz'"),
        ("costs: {fee_taker_bps: free}\n", "settings.yaml:1: costs.fee_taker_bps"),
        ("{", "settings.yaml:1: not valid YAML"),
    ],
)
def test_settings_at_fault(trireme: Callable[..., Ended], text: str, match: str) -> None:
    Path("settings.yaml").write_text(text)
    check_refused(trireme("sweep", "--spec", "spec.yaml", "--config", "settings.yaml", "--out", "out"), match)
    assert not Path("out").exists()


def begin(pieces_max: int = 2, catalog: Path | None = None) -> Path:
    """Begin the sweep of `spec.yaml` as the command does, finish some chunks, and return its directory."""
    directory = Path("begun")
    case, _ = open_sweep(settings(), Path("spec.yaml"), None, directory, catalog)
    run_in_process(case, directory, pieces_max=pieces_max)
    return directory


def settings() -> Settings:
    """Return the defaults."""
    return read_settings(None)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("points: 4", "points: 5"), "begun holds a sweep with another spec.space: "),
        (("name: small", "name: large"), 'another name: "small" there, "large" here; resume it as it was, or start'),
        (("seed: 3", "seed: 4"), "another data.sha256: "),
        (("rounds:", "costs: {fee_taker_bps: 1, fee_maker_bps: 1, slippage_bps: 1}\nrounds:"), "another account.costs"),
    ],
)
def test_a_resume_of_another_sweep_names_what_differs_and_touches_nothing(
    trireme: Callable[..., Ended], change: tuple[str, str], match: str
) -> None:
    directory = begin()
    before = read_files(directory)
    write_spec(change)
    check_refused(trireme("sweep", "--resume", directory, "--spec", "spec.yaml"), match)
    assert read_files(directory) == before


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("costs: {fee_taker_bps: 1.0}\n", "another account.costs.fee_taker_bps: 4.5 there, 1.0 here"),
        ("limits: {kelly: {fraction: 0.25}}\n", "another account.limits.kelly.fraction: 0.5 there, 0.25 here"),
        ("equity_start_quote: 5\n", "another account.equity_start_quote: 100000.0 there, 5.0 here"),
    ],
)
def test_a_resume_with_other_settings_names_the_setting(trireme: Callable[..., Ended], text: str, match: str) -> None:
    directory = begin()
    Path("trireme.yaml").write_text(text)
    check_refused(trireme("sweep", "--resume", directory), match)


def fill_catalog(seed: int, bars: int = 3000) -> Path:
    """Make a new catalog of bars of one instrument."""
    shutil.rmtree("catalog", ignore_errors=True)
    import_files([write_parquet(Path("bars.parquet"), make_bars(bars, seed=seed))], Path("catalog"), "BTC-PERP.BINANCE")
    return Path("catalog")


def test_a_resume_on_other_data_is_refused_and_the_data_are_named(trireme: Callable[..., Ended]) -> None:
    write_spec(("generated: {seed: 3, bars: 3000}", "catalog: catalog"))
    directory = begin(catalog=fill_catalog(1))
    Path("catalog").rename("moved")
    check_refused(trireme("sweep", "--resume", directory), "unknown instrument BTC-PERP.BINANCE: catalog .*has nothing")
    fill_catalog(2)
    check_refused(trireme("sweep", "--resume", directory), "begun holds a sweep with another data.sha256: ")
    fill_catalog(1, bars=3100)  # later bars were imported since
    check_refused(trireme("sweep", "--resume", directory), "another data.bars_holdout: 590 there, 690 here")
    check_refused(trireme("sweep", "--resume", directory, "--catalog", "nowhere"), "catalog nowhere has nothing")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("sweep.json", b"", "begun/sweep.json is damaged: "),
        ("sweep.json", b"{", "begun/sweep.json is damaged: "),
        ("sweep.json", b"\xff\xfe\x00", "begun/sweep.json is damaged: "),
        ("sweep.json", b"[]", "begun/sweep.json is damaged: it is no JSON object"),
        ("sweep.json", b'{"version": 0}', "begun holds a sweep with another "),
        ("spec.yaml", b"{", "begun/spec.yaml:1: not valid YAML"),
        ("spec.yaml", None, "begun/spec.yaml: cannot be read: No such file"),
    ],
)
def test_a_damaged_directory_names_the_file(
    trireme: Callable[..., Ended], name: str, content: bytes | None, match: str
) -> None:
    path = begin() / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    check_refused(trireme("sweep", "--resume", "begun"), match)


def test_a_new_sweep_does_not_go_where_one_lies(trireme: Callable[..., Ended]) -> None:
    directory = begin()
    before = read_files(directory)
    check_refused(
        trireme("sweep", "--spec", "spec.yaml", "--out", directory),
        r"--out begun holds a sweep: go on with --resume begun, or choose another directory",
    )
    assert read_files(directory) == before


def test_a_sound_sweep_comes_as_far_as_ray(trireme: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise RuntimeError("no Ray today")

    monkeypatch.setattr("trireme.sweep.start_session", refuse)
    begun = begin()
    for words in (["--spec", "spec.yaml"], ["--resume", begun], ["--resume", begun, "--spec", "spec.yaml"]):
        ended = trireme("sweep", *words, "--json")
        assert (ended.code, ended.out) == (main.EXIT_FAILED, "")
        assert ended.lines[0] == "starting Ray"
        assert re.fullmatch("error: no Ray today; .* go on with `trireme sweep --resume .*`", ended.lines[1])
        assert len(ended.lines) == 2
    # Runs are numbered; each holds what a resume needs.
    assert sorted(path.name for path in Path("runs/sweep-0001").iterdir()) == ["spec.yaml", "sweep.json"]
    assert json.loads(Path("runs/sweep-0001/sweep.json").read_text())["name"] == "small"
