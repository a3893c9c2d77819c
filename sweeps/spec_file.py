"""A sweep's specification as YAML: read with every fault found in one pass, and back as plain values.

A fault does not end the reading: it is noted, something harmless takes its place, and all faults come out together, in
the order of their lines. The keys are in `spec_keys.py`, and in words in `examples/README.md`.
"""

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

from cluster.config import Section, read_yaml
from market.fills import Costs
from market.generator import TS_START_MS_DEFAULT
from market.instruments import INSTRUMENT_ID
from market.records import NS_PER_DAY, NS_PER_MS
from market.series import format_interval
from strategies.catalog import STRATEGIES, Idea, Params
from strategies.search_spaces import Range
from sweeps.search.candidates import CONFIGS_MAX, make_candidates
from sweeps.search.regions import Region, narrow
from sweeps.search.relations import parse_relation
from sweeps.search.space import Axis, SearchSpace
from sweeps.spec import (
    ADAPTIVE,
    OBJECTIVES,
    Constraints,
    DataSource,
    RoundSpec,
    Significance,
    SweepSpec,
    WalkForward,
)
from sweeps.spec_keys import ANYTHING, KEYS, SECTION, Key, Table, parse_number, show, suggest_known

GENERATED_SEED, GENERATED_BARS = 7, 35_040  # a year of 15-minute bars
COUNTED_MAX = 100_000  # candidates: whether relations leave anything is found out at once up to here, else by the sweep
ADAPTIVE_CONFIGS_MAX = 20_000  # asking a sampler that looks back for so many takes minutes, one after another

_NAME_MAX = 80  # characters
_ROUND_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_PARTS = (("constraints", Constraints), ("walk_forward", WalkForward), ("significance", Significance))
_SHAPES = "a list of values or a range {from: .., to: ..}"


class SpecError(ValueError):
    """All that is wrong with a file, one line each: `path:LINE: key.path: what is wrong, and how to mend it`."""


def read_spec(path: Path) -> SweepSpec:
    """Return the sweep that a YAML file describes.

    Raises SpecError, a ValueError whose message names every fault of the file, one a line, in the order of the lines.
    """
    faults: list[tuple[int, str]] = []
    spec = _read_file(Table(_read_lines(path), "", KEYS[""], faults))
    if spec is None:
        raise SpecError("\n".join(line for _, line in sorted(faults, key=lambda fault: fault[0])))
    return spec


def _read_lines(path: Path) -> Section:
    try:
        return read_yaml(path)
    except (ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        # The errors of `read_yaml` name their place; PyYAML lets others out of impossible dates and endless aliases.
        text = " ".join(str(error).split()) or type(error).__name__
        raise SpecError(text if text.startswith(str(path)) else f"{path}: not valid YAML: {text}") from None


def _read_file(top: Table) -> SweepSpec | None:
    # None: there are faults.
    name = top.get("name")
    if name is not None and not (0 < len(name) <= _NAME_MAX and name.isprintable()):
        top.fault("name", f"{show(name)} must be one line of 1 to {_NAME_MAX} characters")
    source, costs = _read_data(top), _read_costs(top)
    idea = _read_strategy(top)
    space = _read_space(top, idea) if idea else None
    rounds = _read_rounds(top, space)
    settings: dict[str, Any] = {}
    for key, part_class in _PARTS:
        if (table := top.open(key, KEYS[key])) is not None:
            settings[key] = part_class(**table.get_all())
            if getattr(settings[key], "cscv_blocks", 0) % 2:
                table.fault("cscv_blocks", f"{settings[key].cscv_blocks} must be even: one half is the train")
    for key in ("equity_start_quote", "seed", "holdout_frac", "chunk_configs"):
        if (value := top.get(key)) is not None:
            settings[key] = value
    if top.faults or space is None or source is None:
        return None
    _check_first_round(top, space, rounds[0], settings.get("seed", 0))
    return None if top.faults else SweepSpec(space, source, rounds, name or "sweep", costs, **settings)


def _read_strategy(top: Table) -> Idea | None:
    known = [name for name in STRATEGIES if name != "signals"]
    top.require("strategy", f"name one of {', '.join(known)}")
    name = top.get("strategy")
    if name is not None and name not in known:
        mend = ": a series of your own has nothing to sweep, test it with `trireme backtest`"
        top.fault(
            "strategy", f"unknown strategy {show(name)}{mend if name in STRATEGIES else suggest_known(name, known)}"
        )
        return None
    return STRATEGIES.get(name)


def _read_costs(top: Table) -> Costs | None:
    table = top.open("costs", KEYS["costs"])
    if table is None:
        return None
    for key in Costs._fields:
        table.require(key, "give all costs, or none to take those of the settings")
    found = table.get_all()
    return Costs(**found) if len(found) == len(Costs._fields) else None


def _read_data(top: Table) -> DataSource | None:
    top.require("data", "say which instruments, and from which catalog")
    table = top.open("data", KEYS["data"])
    if table is None:
        return None
    table.require("instruments", "list at least one, such as BTC-PERP.BINANCE")
    if table.section.get("instruments") == []:
        table.fault("instruments", "the list is empty: name at least one, such as BTC-PERP.BINANCE")
    instruments = tuple(table.get_list("instruments", _check_instrument))
    catalog, generated = table.get("catalog"), table.open("generated", KEYS["data.generated"])
    ts_from_ms, ts_to_ms, interval_ns = table.get("from"), table.get("to"), table.get("interval") or 0
    if catalog == "":
        table.fault("catalog", "the path is empty")
    if "catalog" in table and "generated" in table:
        table.fault("generated", "data come from the catalog or are generated: keep one of the two")
    elif "catalog" not in table and "generated" not in table:
        table.fault("catalog", "missing: name a directory, or make data up with generated: {seed: 7, bars: 35040}")
    if ts_from_ms is not None and ts_to_ms is not None and ts_from_ms >= ts_to_ms:
        table.fault("to", f"{show(table.section['to'])} is not after from ({show(table.section['from'])}): swap them")
    if generated is None:
        return DataSource(instruments, Path(catalog or "."), ts_from_ms, ts_to_ms, interval_ns)
    for key in ("from", "to"):
        if key in table:
            table.fault(key, "a generated market has no calendar: give its length as generated.bars")
    if interval_ns > NS_PER_DAY or (interval_ns and TS_START_MS_DEFAULT * NS_PER_MS % interval_ns):
        table.fault("interval", f"{format_interval(interval_ns)} must divide a day where data are generated")
    made = {"seed": GENERATED_SEED, "bars": GENERATED_BARS} | generated.get_all()
    return DataSource(instruments, interval_ns=interval_ns, **made)


def _check_instrument(instrument_id: str) -> None:
    if not INSTRUMENT_ID.fullmatch(instrument_id):
        raise ValueError(f"{show(instrument_id)} is no instrument, write them like BTC-PERP.BINANCE")


def _read_space(top: Table, idea: Idea) -> SearchSpace | None:
    # An axis with faults is still one, so that rounds are checked against all that were meant.
    top.require("space", "give at least one parameter values or a range")
    table = top.open("space", dict.fromkeys(idea.ranges, Key(ANYTHING)), f"parameter of {idea.name}")
    if table is None:
        return None
    fixed: dict[str, int | float] = {}
    axes: list[Axis] = []
    for key, value in table.section.items():
        if (limits := idea.ranges.get(key)) is None:
            continue
        if isinstance(value, Section):
            axes.append(_read_range(Table(value, f"space.{key}", KEYS["space.PARAMETER"], top.faults), key, limits))
        elif isinstance(value, list):
            axes.append(_read_values(table, key, value, limits))
        else:
            try:
                fixed[key] = _parse_within(value, limits)
            except ValueError as error:
                table.fault(key, f"{error}, {_SHAPES}")
    if not axes:
        top.fault("space", f"the search space is empty: give at least one parameter {_SHAPES}")
    axes.sort(key=lambda axis: axis.key not in idea.slow)  # else in the order of the file
    base = idea.defaults._replace(**fixed)
    _check_below(table, idea, base, axes)
    known = tuple(idea.ranges)
    relations = top.get_list("relations", lambda text: parse_relation(text, known))
    return SearchSpace(base, tuple(axes), tuple(parse_relation(text, known) for text in relations))


def _parse_within(value: Any, limits: Range) -> int | float:
    return parse_number(value, limits.is_int, limits.least, limits.most)


def _read_values(table: Table, key: str, listed: list[Any], limits: Range) -> Axis:
    if not listed:
        table.fault(key, "the list is empty: give at least one value, or leave the parameter out")
    values: set[float] = set()
    for item in listed:
        try:
            value = float(_parse_within(item, limits))
            if value in values:
                raise ValueError(f"{show(item)} is listed twice, keep one")
            values.add(value)
        except ValueError as error:
            table.fault(key, str(error))
    return Axis(key, limits.is_int, limits.is_log, tuple(sorted(values)) or (math.nan,))


def _read_range(table: Table, key: str, limits: Range) -> Axis:
    ends = {"from": math.nan, "to": math.nan}
    for end in ends:
        table.require(end, "a range has from and to")
        if end in table:
            try:
                ends[end] = float(_parse_within(table.section[end], limits))
            except ValueError as error:
                table.fault(end, str(error))
    low, high = ends.values()
    points, is_log = table.get("points"), table.get("log")
    if points is None:
        points = 1 if "points" in table else 0
    if is_log is None:
        is_log = limits.is_log
    if low >= high:
        mend = f"write `{key}: {low:g}` to hold it there" if low == high else "swap them"
        table.fault("from", f"{low:g} must be below to, which is {high:g}: {mend}")
    if is_log and low <= 0.0:
        table.fault("from", f"{low:g} must be above 0 on a log scale: start higher, or say log: false")
    return Axis(key, limits.is_int, is_log, low=low, high=high, points=points)


def _check_below(table: Table, idea: Idea, base: Params, axes: list[Axis]) -> None:
    # Some combinations may contradict the catalog: they are no configurations. Here none would be left.
    least, most = base._asdict(), base._asdict()
    for axis in axes:
        least[axis.key], most[axis.key] = _get_ends(axis)
    for key, limits in idea.ranges.items():
        if limits.below and least[key] > most[limits.below]:
            text = (
                f"{key} is at least {least[key]:g} and must not exceed {limits.below}, at most {most[limits.below]:g}"
            )
            table.fault(key if key in table else limits.below, text)


def _read_rounds(top: Table, space: SearchSpace | None) -> tuple[RoundSpec, ...]:
    top.require("rounds", "list at least one, such as {name: coarse, sampler: grid}")
    listed = top.get("rounds")
    if listed == []:
        top.fault("rounds", "the list is empty: give at least one, such as {name: coarse, sampler: grid}")
    rounds: list[RoundSpec] = []
    for number, section in enumerate(listed or []):
        if not isinstance(section, Section):
            top.fault("rounds", f"{show(section)} must be {SECTION}, such as {{name: coarse, sampler: grid}}")
            continue
        table = Table(section, f"rounds[{number}]", KEYS["rounds[]"], top.faults)
        part = _read_round(table, number, space)
        if part.name in [earlier.name for earlier in rounds]:
            table.fault("name", f"{show(part.name)} is the name of an earlier round, give another")
        rounds.append(part)
    return tuple(rounds)


def _read_round(table: Table, number: int, space: SearchSpace | None) -> RoundSpec:
    table.require("name", "each round has one")
    name, sampler = table.get("name"), table.get("sampler")
    if name is not None and not _ROUND_NAME.fullmatch(name):
        table.fault("name", f"{show(name)} must be letters, digits, - and _, at most 40: it names a directory")
    if number == 0 and "support_frac" in table:
        table.fault("support_frac", "the first round searches the whole space: leave it out")
    configs, support_frac = table.get("configs"), table.get("support_frac")
    points = _read_points(table, space)
    objectives, listed = table.get_list("objectives", _check_objective), table.section.get("objectives", ["score"])
    if sampler == "grid" or "sampler" not in table:
        if "configs" in table:
            table.fault("configs", "a grid has as many as its points: leave it out, or choose another sampler")
        if space:
            _check_grid(table, points, space)
    elif sampler is not None:
        table.require("configs", f"say how many configurations {sampler} tries")
        if "points" in table:
            table.fault("points", f"{sampler} takes none: leave it out, or choose the sampler grid")
        if sampler in ADAPTIVE and (configs or 0) > ADAPTIVE_CONFIGS_MAX:
            most = f"at most {ADAPTIVE_CONFIGS_MAX:,}"
            table.fault("configs", f"{configs:,} are too many for {sampler}, {most}: use several rounds, or sobol")
    if "objectives" in table and sampler not in (None, *ADAPTIVE):
        table.fault("objectives", f"{sampler} seeks none: leave it out, or choose tpe or nsga2")
    elif sampler in ADAPTIVE and isinstance(listed, list) and (len(listed) == 1) != (sampler == "tpe"):
        wanted = "seeks one objective" if sampler == "tpe" else "weighs two or more objectives"
        table.fault("objectives", f"{sampler} {wanted}, of {', '.join(OBJECTIVES)}")
    given = {"support_frac": support_frac, "objectives": tuple(objectives)}
    return RoundSpec(
        name or "", sampler or "grid", configs or 0, points, **{key: value for key, value in given.items() if value}
    )


def _read_points(table: Table, space: SearchSpace | None) -> dict[str, int]:
    if space is None:
        return {}
    keys = dict.fromkeys(space.keys, KEYS["space.PARAMETER"]["points"])
    opened = table.open("points", keys, "axis")
    return opened.get_all() if opened else {}


def _check_objective(name: str) -> None:
    if name not in OBJECTIVES:
        raise ValueError(f"unknown objective {show(name)}{suggest_known(name, tuple(OBJECTIVES))}")


def _check_grid(table: Table, points: dict[str, int], space: SearchSpace) -> None:
    # Later rounds search a part of the space: they may have fewer configurations than this.
    counts = {axis.key: _count_values(axis, points.get(axis.key, 0)) for axis in space.axes}
    place = "points" if "points" in table else "sampler"
    if missing := [key for key, count in counts.items() if not count]:
        table.fault(place, f"a grid needs points for the range of {', '.join(missing)}: give them there or here")
    if (count := math.prod(counts.values())) > CONFIGS_MAX:
        table.fault(
            place, f"a grid of {count:,} configurations, at most {CONFIGS_MAX:,}: fewer values, or sampler: sobol"
        )


def _count_values(axis: Axis, points: int) -> int:
    if axis.values and not points:
        return len(axis.values)
    low, high = _get_ends(axis)
    count = points or axis.points
    return min(count, int(high - low) + 1) if axis.is_int and low < high else count


def _get_ends(axis: Axis) -> tuple[float, float]:
    return (axis.values[0], axis.values[-1]) if axis.values else (axis.low, axis.high)


def _check_first_round(top: Table, space: SearchSpace, part: RoundSpec, seed: int) -> None:
    # Relations may leave nothing to try: found out here where that is quick, else when the sweep begins.
    low, high = zip(*map(_get_ends, space.axes), strict=True)
    tried = narrow(space, Region(low, high, 1.0, 0.0), part.points)
    count = part.configs or math.prod(len(axis.values) or axis.points for axis in tried.axes)
    if count > COUNTED_MAX:
        return
    try:
        make_candidates(tried, "random" if part.sampler in ADAPTIVE else part.sampler, count, seed)
    except ValueError as error:
        top.fault("relations" if space.relations else "space", str(error))


def spec_json(spec: SweepSpec) -> dict[str, Any]:
    """Return a spec as plain values: the same meaning gives the same values, whatever the file looked like.

    Left out is what results do not depend on: where the catalog lies (the hash of its data says what was read) and how
    many configurations make a chunk.
    """
    space, source, costs = spec.space, spec.source, spec.costs
    return {
        "name": spec.name,
        "strategy": space.strategy,
        "data": {
            "instruments": list(source.instrument_ids),
            "generated": {"seed": source.seed, "bars": source.bars} if source.catalog is None else None,
            "from_ms": source.ts_from_ms,
            "to_ms": source.ts_to_ms,
            "interval_ms": source.interval_ns // NS_PER_MS or None,
        },
        "equity_start_quote": spec.equity_start_quote,
        "costs": costs._asdict() if costs else None,
        "seed": spec.seed,
        "holdout_frac": spec.holdout_frac,
        "space": [_describe_axis(axis) for axis in space.axes],
        "fixed": {key: value for key, value in space.base._asdict().items() if key not in space.keys},
        "relations": sorted({relation.text for relation in space.relations}),
        **{key: dataclasses.asdict(getattr(spec, key)) for key, _ in _PARTS},
        "rounds": [_describe_round(part, space) for part in spec.rounds],
    }


def _describe_axis(axis: Axis) -> dict[str, Any]:
    if axis.values:
        return {"key": axis.key, "values": list(axis.values)}
    return {"key": axis.key, "from": axis.low, "to": axis.high, "points": axis.points, "log": axis.is_log}


def _describe_round(part: RoundSpec, space: SearchSpace) -> dict[str, Any]:
    points = {key: part.points[key] for key in space.keys if key in part.points}
    return dataclasses.asdict(part) | {"points": points, "objectives": list(part.objectives)}
