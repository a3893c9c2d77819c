"""A sweep's file: what it says comes out, and whatever is wrong with it is named with its line, all at once."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from market.fills import Costs
from strategies.catalog import STRATEGIES
from sweeps.search.space import Axis
from sweeps.spec import Constraints, DataSource, RoundSpec, Significance, SweepSpec, WalkForward
from sweeps.spec_file import SpecError, read_spec, spec_json
from sweeps.spec_keys import KEYS

TOP = Path(__file__).resolve().parents[3]

FILE = """\
name: three rounds
strategy: momentum_sar
data: {instruments: [BTC-PERP.BINANCE, ETH-PERP.BINANCE], catalog: catalog, from: 2021-10-21, to: 2025-09-01}
equity_start_quote: 100000
costs: {fee_taker_bps: 4.5, fee_maker_bps: 1.5, slippage_bps: 1e-1}
seed: 7
holdout_frac: 0.25
space:
  stop_atr: {from: 1.5, to: 6, points: 3}
  trend_bars: [192, 48.0, 96]
  take_profit_atr: 2
relations: ["sar_step * 4 <= sar_max"]
constraints: {trades_min: 30, drawdown_frac_max: 0.1, sharpe_min: 2, win_rate_frac_min: 0.25}
walk_forward: {scheme: rolling, folds: 5, test_frac: 0.5, purge_bars: 10, embargo_bars: 20, sharpe_min: 1}
significance: {alpha: 0.01, cscv_blocks: 8}
rounds:
  - name: coarse
  - {name: refined, points: {stop_atr: 12, trend_bars: 5}, support_frac: 0.2}
  - {name: sobol-2, sampler: sobol, configs: 500}
  - {name: seek, sampler: nsga2, configs: 200, objectives: [sharpe, drawdown_frac_max]}
chunk_configs: 64
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path: Path, text: str) -> SweepSpec:
    return read_spec(write(tmp_path, text))


def change(line: int, text: str) -> str:
    """Return FILE with one of its lines replaced."""
    lines = FILE.splitlines()
    lines[line - 1] = text
    return "\n".join(lines) + "\n"


def find_faults(tmp_path: Path, text: str) -> list[str]:
    path = write(tmp_path, text)
    with pytest.raises(SpecError) as raised:
        read_spec(path)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


def test_everything_a_file_says_comes_out(tmp_path: Path) -> None:
    spec = read(tmp_path, FILE)
    assert spec.name == "three rounds"
    assert spec.source == DataSource(
        ("BTC-PERP.BINANCE", "ETH-PERP.BINANCE"), Path("catalog"), 1_634_774_400_000, 1_756_684_800_000
    )
    assert spec.costs == Costs(4.5, 1.5, 0.1)
    assert (spec.equity_start_quote, spec.seed, spec.holdout_frac, spec.chunk_configs) == (100_000.0, 7, 0.25, 64)
    assert spec.constraints == Constraints(30, 0.1, 2.0, 0.25)
    assert spec.walk_forward == WalkForward("rolling", 5, 0.5, 10, 20, 1.0, 0.5)
    assert spec.significance == Significance(alpha=0.01, cscv_blocks=8)
    assert spec.rounds == (
        RoundSpec("coarse"),
        RoundSpec("refined", points={"stop_atr": 12, "trend_bars": 5}, support_frac=0.2),
        RoundSpec("sobol-2", "sobol", 500),
        RoundSpec("seek", "nsga2", 200, objectives=("sharpe", "drawdown_frac_max")),
    )
    # What is observed comes first, values increase, one number is held, the rest are the strategy's defaults.
    slow, fast = spec.space.axes
    assert slow == Axis("trend_bars", True, True, (48.0, 96.0, 192.0))
    assert (fast.key, fast.is_int, fast.is_log, fast.values, fast.points) == ("stop_atr", False, True, (), 3)
    assert fast.list_values() == (1.5, 3.0, 6.0)
    assert spec.space.base == STRATEGIES["momentum_sar"].defaults._replace(take_profit_atr=2.0)
    assert isinstance(spec.space.base.take_profit_atr, float)
    assert [relation.text for relation in spec.space.relations] == ["sar_step * 4 <= sar_max"]


SHORT = """\
strategy: momentum_sar
data: {instruments: [BTC-PERP.BINANCE], generated: {}}
space: {stop_atr: [2, 3]}
rounds: [{name: one}]
"""


def test_what_a_file_leaves_out_has_defaults(tmp_path: Path) -> None:
    spec = read(tmp_path, SHORT)
    source = DataSource(("BTC-PERP.BINANCE",), seed=7, bars=35_040)
    assert spec == SweepSpec(spec.space, source, (RoundSpec("one"),))
    hourly = read(tmp_path, SHORT.replace("generated: {}", "generated: {seed: 1, bars: 99}, interval: 1h"))
    assert hourly.source == DataSource(("BTC-PERP.BINANCE",), interval_ns=3_600_000_000_000, seed=1, bars=99)


@pytest.mark.parametrize(
    ("text", "ts_ms"),
    [
        ("2024-01-31", 1_706_659_200_000),
        ("2024-01-31T12:00", 1_706_702_400_000),
        ("2024-01-31 12:00:00", 1_706_702_400_000),
        ("2024-01-31T12:00:00+02:00", 1_706_695_200_000),
        ("1706659200000", 1_706_659_200_000),
    ],
)
def test_times_are_utc(tmp_path: Path, text: str, ts_ms: int) -> None:
    data = f"data: {{instruments: [A-PERP.ACME], catalog: c, from: {text!s}}}"
    assert read(tmp_path, change(3, data)).source.ts_from_ms == ts_ms


def test_a_log_scale_is_the_catalog_s_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    spec = read(tmp_path, SHORT.replace("[2, 3]", "{from: 2, to: 4, points: 3, log: false}"))
    assert spec.space.axes[0].list_values() == (2.0, 3.0, 4.0)


CATALOG = "data: {instruments: [BTC-PERP.BINANCE], catalog: c"
GENERATED = "data: {instruments: [BTC-PERP.BINANCE], generated: {seed: 1}"
GRID_1E12 = "{stop_atr: 1000000000000, trend_bars: 1}"
FAULTS = {
    # the file as a whole
    "unknown key": (1, "nam: x", ["1: nam: unknown key; did you mean name?"]),
    "unknown key like none": (
        6,
        "xyzzy: 1",
        [
            "6: xyzzy: unknown key; known are name, strategy, data, equity_start_quote, costs, seed, holdout_frac, "
            "space, relations, constraints, walk_forward, significance, rounds, chunk_configs"
        ],
    ),
    "odd key": (6, '"a b\\nc": 1', ["6: 'a b\\nc': unknown key; known are " + ", ".join(KEYS[""])]),
    "missing data": (3, "", ["1: data: missing: say which instruments, and from which catalog"]),
    "missing strategy": (
        2,
        "",
        ["1: strategy: missing: name one of mean_reversion_funding, momentum_sar, whale_mirror, scalper"],
    ),
    "key twice": (6, "name: again", ["6: key 'name' is given twice, first at {path}:1"]),
    "no YAML": (6, "seed: [", ["8: not valid YAML: expected ',' or ']', but got ':'"]),
    "name of two lines": (1, 'name: "a\\nb"', ["1: name: 'a\\nb' must be one line of 1 to 80 characters"]),
    "empty name": (1, "name: ''", ["1: name: '' must be one line of 1 to 80 characters"]),
    "name a number": (1, "name: 7", ["1: name: 7 must be text"]),
    "unknown strategy": (
        2,
        "strategy: momentum",
        ["2: strategy: unknown strategy 'momentum'; did you mean momentum_sar?"],
    ),
    "strategy of signals": (
        2,
        "strategy: signals",
        [
            "2: strategy: unknown strategy 'signals': a series of your own has nothing to sweep, test it with "
            "`trireme backtest`"
        ],
    ),
    # data
    "data no mapping": (3, "data: catalog", ["3: data: 'catalog' must be 'key: value' lines"]),
    "no instruments": (
        3,
        "data: {instruments: [], catalog: c}",
        ["3: data.instruments: the list is empty: name at least one, such as BTC-PERP.BINANCE"],
    ),
    "instrument twice": (
        3,
        "data: {instruments: [A-PERP.ACME, A-PERP.ACME], catalog: c}",
        ["3: data.instruments: 'A-PERP.ACME' is listed twice, keep one"],
    ),
    "instrument odd": (
        3,
        "data: {instruments: [btc], catalog: c}",
        ["3: data.instruments: 'btc' is no instrument, write them like BTC-PERP.BINANCE"],
    ),
    "one instrument, no list": (
        3,
        "data: {instruments: BTC-PERP.BINANCE, catalog: c}",
        ["3: data.instruments: 'BTC-PERP.BINANCE' must be a list"],
    ),
    "no data": (
        3,
        "data: {instruments: [A-PERP.ACME]}",
        ["3: data.catalog: missing: name a directory, or make data up with generated: {seed: 7, bars: 35040}"],
    ),
    "both data": (
        3,
        CATALOG + ", generated: {}}",
        ["3: data.generated: data come from the catalog or are generated: keep one of the two"],
    ),
    "catalog empty": (3, CATALOG[:-1] + "''}", ["3: data.catalog: the path is empty"]),
    "period reversed": (
        3,
        CATALOG + ", from: 2025-01-01, to: 2024-01-01}",
        ["3: data.to: 2024-01-01 is not after from (2025-01-01): swap them"],
    ),
    "no time": (
        3,
        CATALOG + ", from: yesterday}",
        ["3: data.from: 'yesterday' must be a time: 2024-01-31, 2024-01-31T12:00 or UTC ms"],
    ),
    "date without dashes": (
        3,
        CATALOG + ", to: 20240131}",
        ["3: data.to: 20240131 must be a time: 2024-01-31, 2024-01-31T12:00 or UTC ms"],
    ),
    "interval odd": (
        3,
        CATALOG + ", interval: 15}",
        ["3: data.interval: 15 must be an interval such as 15m"],
    ),
    "generated period": (
        3,
        GENERATED + ", from: 2024-01-01}",
        ["3: data.from: a generated market has no calendar: give its length as generated.bars"],
    ),
    "generated interval": (
        3,
        GENERATED + ", interval: 1w}",
        ["3: data.interval: 1w must divide a day where data are generated"],
    ),
    # numbers
    "costs in part": (
        5,
        "costs: {fee_taker_bps: 1, fee_maker_bps: 1}",
        ["5: costs.slippage_bps: missing: give all costs, or none to take those of the settings"],
    ),
    "NaN": (4, "equity_start_quote: .nan", ["4: equity_start_quote: nan must be a number in 1..1e+12"]),
    "infinite": (4, "equity_start_quote: .inf", ["4: equity_start_quote: inf must be a number in 1..1e+12"]),
    "no value": (4, "equity_start_quote:", ["4: equity_start_quote: an empty value must be a number in 1..1e+12"]),
    "a switch for a number": (6, "seed: yes", ["6: seed: True must be a whole number in 0..2,147,483,648"]),
    "a fraction": (6, "seed: 7.5", ["6: seed: 7.5 must be a whole number in 0..2,147,483,648"]),
    "holdout": (7, "holdout_frac: 1", ["7: holdout_frac: 1 must be a number in 0..0.9"]),
    "drawdown of nothing": (
        13,
        "constraints: {drawdown_frac_max: 0}",
        ["13: constraints.drawdown_frac_max: 0 must be a number in 0.001..1"],
    ),
    "constraint unknown": (
        13,
        "constraints: {sharp_min: 1}",
        ["13: constraints.sharp_min: unknown key; did you mean sharpe_min?"],
    ),
    "scheme": (
        14,
        "walk_forward: {scheme: roling}",
        ["14: walk_forward.scheme: 'roling' must be one of anchored, rolling; did you mean rolling?"],
    ),
    "folds": (14, "walk_forward: {folds: 101}", ["14: walk_forward.folds: 101 must be a whole number in 0..100"]),
    "test_frac": (14, "walk_forward: {test_frac: 1}", ["14: walk_forward.test_frac: 1 must be a number in 0.05..0.95"]),
    "odd blocks": (
        15,
        "significance: {cscv_blocks: 7}",
        ["15: significance.cscv_blocks: 7 must be even: one half is the train"],
    ),
    # space, in place of `take_profit_atr: 2`
    "parameter unknown": (
        11,
        "  trend_atr_mn: 1",
        ["11: space.trend_atr_mn: unknown parameter of momentum_sar; did you mean trend_atr_min?"],
    ),
    "held and swept": (11, "  stop_atr: 2", ["11: key 'stop_atr' is given twice, first at {path}:9"]),
    "held outside": (
        11,
        "  take_profit_atr: -1",
        ["11: space.take_profit_atr: -1 must be a number in 0..1,000, a list of values or a range {from: .., to: ..}"],
    ),
    "list empty": (
        11,
        "  take_profit_atr: []",
        ["11: space.take_profit_atr: the list is empty: give at least one value, or leave the parameter out"],
    ),
    "value twice": (11, "  take_profit_atr: [1, 1.0]", ["11: space.take_profit_atr: 1.0 is listed twice, keep one"]),
    "value outside": (
        11,
        "  take_profit_atr: [1, 1001, two]",
        [
            "11: space.take_profit_atr: 1001 must be a number in 0..1,000",
            "11: space.take_profit_atr: 'two' must be a number in 0..1,000",
        ],
    ),
    "bars with a fraction": (
        11,
        "  atr_bars: [14.5]",
        ["11: space.atr_bars: 14.5 must be a whole number in 1..10,000"],
    ),
    "range reversed": (
        11,
        "  take_profit_atr: {from: 3, to: 2, points: 2}",
        ["11: space.take_profit_atr.from: 3 must be below to, which is 2: swap them"],
    ),
    "range of one": (
        11,
        "  take_profit_atr: {from: 3, to: 3, points: 2}",
        ["11: space.take_profit_atr.from: 3 must be below to, which is 3: write `take_profit_atr: 3` to hold it there"],
    ),
    "range without end": (
        11,
        "  take_profit_atr: {from: 3, points: 2}",
        ["11: space.take_profit_atr.to: missing: a range has from and to"],
    ),
    "range of bars with a fraction": (
        11,
        "  atr_bars: {from: 14.5, to: 20, points: 2}",
        ["11: space.atr_bars.from: 14.5 must be a whole number in 1..10,000"],
    ),
    "log from 0": (
        11,
        "  take_profit_atr: {from: 0, to: 2, points: 2, log: true}",
        ["11: space.take_profit_atr.from: 0 must be above 0 on a log scale: start higher, or say log: false"],
    ),
    "log no switch": (
        11,
        "  take_profit_atr: {from: 1, to: 2, points: 2, log: 1}",
        ["11: space.take_profit_atr.log: 1 must be true or false"],
    ),
    "grid without points": (
        11,
        "  take_profit_atr: {from: 1, to: 2}",
        [
            "17: rounds[0].sampler: a grid needs points for the range of take_profit_atr: give them there or here",
            "18: rounds[1].points: a grid needs points for the range of take_profit_atr: give them there or here",
        ],
    ),
    "nothing is allowed": (
        11,
        "  sar_step: [0.2, 0.3]",
        ["11: space.sar_step: sar_step is at least 0.2 and must not exceed sar_max, at most 0.1"],
    ),
    # relations
    "relation of no parameter": (
        12,
        'relations: ["sar_stp < sar_max"]',
        ["12: relations: relation 'sar_stp < sar_max': no parameter 'sar_stp'; did you mean sar_step?"],
    ),
    "relation twice": (
        12,
        "relations: [stop_atr > 1, stop_atr > 1]",
        ["12: relations: 'stop_atr > 1' is listed twice, keep one"],
    ),
    "relation no list": (12, "relations: stop_atr > 1", ["12: relations: 'stop_atr > 1' must be a list"]),
    "relation no text": (12, "relations: [1]", ["12: relations: 1 must be text"]),
    "relation excludes all": (
        12,
        "relations: [stop_atr > 6, trend_bars > 0]",
        [
            "12: relations: relations of momentum_sar exclude all 9 combinations of the grid: loosen them or give "
            "other values"
        ],
    ),
    # rounds, in place of the second
    "round no mapping": (
        18,
        "  - 7",
        ["16: rounds: 7 must be 'key: value' lines, such as {name: coarse, sampler: grid}"],
    ),
    "round without a name": (18, "  - {sampler: grid}", ["18: rounds[1].name: missing: each round has one"]),
    "round's name no directory": (
        18,
        "  - {name: ../x}",
        ["18: rounds[1].name: '../x' must be letters, digits, - and _, at most 40: it names a directory"],
    ),
    "round's name twice": (
        18,
        "  - {name: coarse}",
        ["18: rounds[1].name: 'coarse' is the name of an earlier round, give another"],
    ),
    "sampler unknown": (
        18,
        "  - {name: a, sampler: sobel}",
        ["18: rounds[1].sampler: 'sobel' must be one of grid, random, sobol, tpe, nsga2; did you mean sobol?"],
    ),
    "sampler without configs": (
        18,
        "  - {name: a, sampler: random}",
        ["18: rounds[1].configs: missing: say how many configurations random tries"],
    ),
    "grid with configs": (
        18,
        "  - {name: a, configs: 7}",
        ["18: rounds[1].configs: a grid has as many as its points: leave it out, or choose another sampler"],
    ),
    "sampler with points": (
        18,
        "  - {name: a, sampler: sobol, configs: 9, points: {stop_atr: 3}}",
        ["18: rounds[1].points: sobol takes none: leave it out, or choose the sampler grid"],
    ),
    "points of no axis": (
        18,
        "  - {name: a, points: {stop_at: 3}}",
        ["18: rounds[1].points.stop_at: unknown axis; did you mean stop_atr?"],
    ),
    "points of what is held": (
        18,
        "  - {name: a, points: {take_profit_atr: 3}}",
        ["18: rounds[1].points.take_profit_atr: unknown axis; known are trend_bars, stop_atr"],
    ),
    "points of 10^12": (
        18,
        f"  - {{name: a, points: {GRID_1E12}}}",
        [
            "18: rounds[1].points: a grid of 1,000,000,000,000 configurations, at most 10,000,000: fewer values, or "
            "sampler: sobol"
        ],
    ),
    "no configs": (
        18,
        "  - {name: a, sampler: sobol, configs: 0}",
        ["18: rounds[1].configs: 0 must be a whole number in 1..10,000,000"],
    ),
    "too many to seek": (
        18,
        "  - {name: a, sampler: tpe, configs: 20001}",
        ["18: rounds[1].configs: 20,001 are too many for tpe, at most 20,000: use several rounds, or sobol"],
    ),
    "support of the first": (
        17,
        "  - {name: coarse, support_frac: 0.5}",
        ["17: rounds[0].support_frac: the first round searches the whole space: leave it out"],
    ),
    "support": (18, "  - {name: a, support_frac: 0}", ["18: rounds[1].support_frac: 0 must be a number in 0.001..1"]),
    "grid with objectives": (
        18,
        "  - {name: a, sampler: grid, objectives: [sharpe]}",
        ["18: rounds[1].objectives: grid seeks none: leave it out, or choose tpe or nsga2"],
    ),
    "objective unknown": (
        18,
        "  - {name: a, sampler: tpe, configs: 9, objectives: [sharp]}",
        ["18: rounds[1].objectives: unknown objective 'sharp'; did you mean sharpe?"],
    ),
    "one objective": (
        18,
        "  - {name: a, sampler: nsga2, configs: 9}",
        [
            "18: rounds[1].objectives: nsga2 weighs two or more objectives, of score, sharpe, return_frac, "
            "win_rate_frac, trades, drawdown_frac_max, fees_quote"
        ],
    ),
    "two objectives": (
        18,
        "  - {name: a, sampler: tpe, configs: 9, objectives: [score, sharpe]}",
        [
            "18: rounds[1].objectives: tpe seeks one objective, of score, sharpe, return_frac, win_rate_frac, "
            "trades, drawdown_frac_max, fees_quote"
        ],
    ),
}


@pytest.mark.parametrize(("line", "text", "messages"), FAULTS.values(), ids=FAULTS)
def test_every_fault_is_named_with_its_line_and_key(tmp_path: Path, line: int, text: str, messages: list[str]) -> None:
    found = find_faults(tmp_path, change(line, text))
    assert found == [message.replace("{path}", str(tmp_path / "sweep.yaml")) for message in messages]


def test_an_empty_space_and_a_missing_one(tmp_path: Path) -> None:
    shapes = "give at least one parameter a list of values or a range {from: .., to: ..}"
    for held in ("{}", "{stop_atr: 2}"):
        found = find_faults(tmp_path, SHORT.replace("{stop_atr: [2, 3]}", held))
        assert found == [f"3: space: the search space is empty: {shapes}"]
    found = find_faults(tmp_path, SHORT.replace("space: {stop_atr: [2, 3]}", ""))
    assert found == ["1: space: missing: give at least one parameter values or a range"]


def test_no_rounds(tmp_path: Path) -> None:
    mend = "at least one, such as {name: coarse, sampler: grid}"
    for text, fault in (("rounds: []", "4: rounds: the list is empty: give "), ("", "1: rounds: missing: list ")):
        assert find_faults(tmp_path, SHORT.replace("rounds: [{name: one}]", text)) == [fault + mend]


def test_a_grid_of_ten_to_the_twelve_in_the_first_round_is_refused_at_once(tmp_path: Path) -> None:
    axes = "{stop_atr: {from: 1, to: 9, points: 1000000}, trend_atr_min: {from: 0, to: 1, points: 1000000}}"
    found = find_faults(tmp_path, SHORT.replace("{stop_atr: [2, 3]}", axes))
    assert found == [
        "4: rounds[0].sampler: a grid of 1,000,000,000,000 configurations, at most 10,000,000: fewer values, or "
        "sampler: sobol"
    ]


def test_all_faults_come_out_together_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = FILE
    for line in (1, 4, 7, 11, 13, 15, 18, 19):
        text = text.replace(FILE.splitlines()[line - 1], FAULTS_TOGETHER[line][0])
    assert find_faults(tmp_path, text) == [f"{line}: {fault}" for line, (_, fault) in FAULTS_TOGETHER.items()]


FAULTS_TOGETHER = {
    1: ("nam: x", "nam: unknown key; did you mean name?"),
    4: ("equity_start_quote: 0", "equity_start_quote: 0 must be a number in 1..1e+12"),
    7: ("holdout_frac: x", "holdout_frac: 'x' must be a number in 0..0.9"),
    11: (
        "  take_profit_atr: {from: 1, to: x, points: 2}",
        "space.take_profit_atr.to: 'x' must be a number in 0..1,000",
    ),
    13: ("constraints: [1]", "constraints: a list must be 'key: value' lines"),
    15: ("significance: {alpha: 9}", "significance.alpha: 9 must be a number in 0.001..0.5"),
    18: (
        "  - {name: refined, sampler: sobol}",
        "rounds[1].configs: missing: say how many configurations sobol tries",
    ),
    19: (
        "  - {name: refined, sampler: random, configs: 1}",
        "rounds[2].name: 'refined' is the name of an earlier round, give another",
    ),
}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("from: 2024-02-30", "1: '2024-02-30' cannot be read: day is out of range for month"),
        ("x: &a [*a]", "not valid YAML: maximum recursion depth exceeded"),
        ("x: !!timestamp x", "1: 'x' cannot be read: 'NoneType' object has no attribute 'groupdict'"),
        ("x: !!bool perhaps", "1: 'perhaps' cannot be read: 'perhaps'"),
        ("x: \x00", "1: not valid YAML: special characters are not allowed"),
        ("\t", "not valid YAML: found character '\\t' that cannot start any token"),
        ("- a", "expected 'key: value' lines at the top"),
    ],
)
def test_what_yaml_itself_cannot_read_is_one_line_too(tmp_path: Path, text: str, fault: str) -> None:
    (found,) = find_faults(tmp_path, text + "\n")
    assert fault in found


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no\.yaml: cannot be read: No such file or directory"):
        read_spec(tmp_path / "no.yaml")


def test_a_spec_error_survives_a_process_boundary(tmp_path: Path) -> None:
    error = pickle.loads(pickle.dumps(SpecError("a:1: x\na:2: y")))
    assert isinstance(error, SpecError)
    assert str(error) == "a:1: x\na:2: y"


def test_the_same_meaning_gives_the_same_values(tmp_path: Path) -> None:
    lines = FILE.splitlines()
    reordered = [*lines[15:21], *lines[7:15], *lines[:7]]
    other = "\n".join(reordered)
    for before, after in (
        ("[192, 48.0, 96]", "[48, 96, 192]"),
        ("{from: 1.5, to: 6, points: 3}", "{log: true, to: 6.0, from: 15e-1, points: 3.0}"),
        ("from: 2021-10-21", "from: 1634774400000"),
        ("catalog: catalog", "catalog: /elsewhere/catalog"),
        ("- name: coarse", "- {sampler: grid, name: coarse}"),
        ("points: {stop_atr: 12, trend_bars: 5}", "points: {trend_bars: 5, stop_atr: 12}"),
        ("equity_start_quote: 100000", "equity_start_quote: 1e5"),
        ("chunk_configs: 64", "chunk_configs: 0"),
        ("take_profit_atr: 2", "take_profit_atr: 2.0"),
    ):
        assert before in other
        other = other.replace(before, after)
    assert dump(read(tmp_path, FILE)) == dump(read(tmp_path, other))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("192", "193"),
        ("seed: 7", "seed: 8"),
        ("to: 6", "to: 7"),
        ("points: 3", "points: 4"),
        ("take_profit_atr: 2", "take_profit_atr: 3"),
        ("sar_step * 4", "sar_step * 3"),
        ("slippage_bps: 1e-1", "slippage_bps: 0"),
        ("to: 2025-09-01", "to: 2025-09-02"),
        ("ETH", "SOL"),
        ("trades_min: 30", "trades_min: 31"),
        ("support_frac: 0.2", "support_frac: 0.3"),
        ("configs: 500", "configs: 501"),
    ],
)
def test_another_meaning_gives_other_values(tmp_path: Path, before: str, after: str) -> None:
    assert before in FILE
    assert dump(read(tmp_path, FILE)) != dump(read(tmp_path, FILE.replace(before, after, 1)))


def dump(spec: SweepSpec) -> str:
    return json.dumps(spec_json(spec), allow_nan=False)


def test_a_fresh_process_reads_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path, FILE)
    code = "import json, sys; from pathlib import Path; from sweeps.spec_file import read_spec, spec_json\n"
    code += "sys.stdout.write(json.dumps(spec_json(read_spec(Path(sys.argv[1]))), allow_nan=False))"
    fresh = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=TOP, capture_output=True, text=True, check=True, timeout=120
    )
    assert fresh.stdout == dump(read_spec(path))
