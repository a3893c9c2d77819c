"""The examples say what their comments and `examples/README.md` promise, and no damage to them goes unnamed."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeps.score import SCORE_TERMS
from sweeps.search.candidates import make_candidates
from sweeps.search.regions import find_region, narrow
from sweeps.spec import OBJECTIVES, SAMPLERS, Constraints, RoundSpec, Significance, SweepSpec, WalkForward
from sweeps.spec_file import ADAPTIVE_CONFIGS_MAX, GENERATED_BARS, GENERATED_SEED, SpecError, read_spec
from sweeps.spec_keys import KEYS

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
THREE_ROUNDS = ("sweep_three_rounds.yaml", "sweep_three_rounds_reversion.yaml")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_right_and_listed(path: Path) -> None:
    spec = read_spec(path)
    assert spec.name != "sweep"
    assert f"[{path.name}]({path.name})" in README
    assert f"trireme sweep --spec examples/{path.name}" in path.read_text(encoding="utf-8")
    (row,) = (line for line in README.splitlines() if line.startswith(f"| [{path.name}]"))
    for part in spec.rounds:
        assert not part.configs or f" {part.configs}" in row


def test_the_first_example_is_small_and_needs_no_data() -> None:
    spec = read_spec(EXAMPLES / "sweep_first.yaml")
    assert spec.source.catalog is None
    assert len(spec.source.instrument_ids) == 2
    assert make_candidates(spec.space, "grid", 0, 0).configs == 360
    assert [part.configs for part in spec.rounds] == [0, 500]
    assert [round(value, 2) for value in spec.space.axes[-1].list_values()] == [2.0, 3.17, 5.04, 8.0]  # as it says


def count_rounds(spec: SweepSpec, rng: np.random.Generator) -> list[int]:
    """Return the configurations of each round where the best ones lie around some random corner or point."""
    space, counts = spec.space, []
    for number, part in enumerate(spec.rounds):
        candidates = make_candidates(space, part.sampler, part.configs, 0)
        counts.append(candidates.configs)
        if number + 1 == len(spec.rounds):
            break
        _, values = candidates.draw_allowed(0, len(candidates))
        places = np.column_stack([axis.to_unit(values[:, column]) for column, axis in enumerate(space.axes)])
        best = rng.choice([0.0, 0.5, 1.0, rng.random()], len(space.axes))
        merit = -np.abs(places - best) @ rng.choice([0.0, 1.0, 10.0], len(space.axes))
        following = spec.rounds[number + 1]
        space = narrow(space, find_region(space, values, merit, following.support_frac), following.points)
    return counts


@pytest.mark.parametrize("name", THREE_ROUNDS)
def test_three_rounds_have_their_counts_wherever_the_best_configurations_lie(name: str) -> None:
    spec = read_spec(EXAMPLES / name)
    narrowest = dataclasses.replace(
        spec, rounds=tuple(dataclasses.replace(part, support_frac=0.0001) for part in spec.rounds)
    )
    rng = np.random.default_rng(1)
    for _ in range(10):
        assert count_rounds(spec, rng) == [1_680, 20_736, 3_750]
        assert count_rounds(narrowest, rng) == [1_680, 20_736, 3_750]


@pytest.mark.parametrize("name", THREE_ROUNDS)
def test_three_rounds_observe_few_combinations(name: str) -> None:
    spec = read_spec(EXAMPLES / name)
    slow = {"sweep_three_rounds.yaml": ("trend_bars", "sar_step")}.get(name, ("price_bars", "funding_bars"))
    assert spec.space.keys[:2] == slow
    assert [part.points[slow[0]] * part.points[slow[1]] for part in spec.rounds[1:]] == [12, 6]


def test_the_three_rounds_example_writes_out_every_section() -> None:
    text = (EXAMPLES / THREE_ROUNDS[0]).read_text(encoding="utf-8")
    for section in ("", "costs", "constraints", "walk_forward", "significance"):
        for key in KEYS[section]:
            assert key == "chunk_configs" or re.search(rf"^ *{key}:", text, re.MULTILINE), key


def test_the_manual_names_every_key_with_its_default() -> None:
    rows = {match[1]: line for line in README.splitlines() if (match := re.match(r"\| `([^`]+)` \|", line))}
    for section, keys in KEYS.items():
        for key in keys:
            assert f"{section}.{key}".lstrip(".") in rows
    for section, part in (
        ("constraints", Constraints()),
        ("walk_forward", WalkForward()),
        ("significance", Significance()),
    ):
        for key, value in dataclasses.asdict(part).items():
            assert rows[f"{section}.{key}"].split("|")[2].strip() == str(value), key
    first = RoundSpec("one")
    assert f"| {first.sampler} |" in rows["rounds[].sampler"]
    assert f"| {first.support_frac} |" in rows["rounds[].support_frac"]
    assert f"| [{first.objectives[0]}] |" in rows["rounds[].objectives"]
    assert f"| {GENERATED_SEED} |" in rows["data.generated.seed"]
    assert f"| {GENERATED_BARS} |" in rows["data.generated.bars"]
    # Names that are values, not keys.
    assert set(SAMPLERS) <= set(rows)
    assert f"{ADAPTIVE_CONFIGS_MAX:,}" in rows["tpe"]
    assert all(f"`{name}`" in README for name in OBJECTIVES)


def test_the_manual_s_table_of_the_score_is_that_of_the_terms() -> None:
    for term in SCORE_TERMS:
        assert f"| {term.label} | {term.weight:g} | {term.zero} | {term.full} | {term.reason} |" in README


def test_the_manual_s_faults_are_what_the_reader_says(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    lines = (EXAMPLES / "sweep_first.yaml").read_text(encoding="utf-8").splitlines()
    start = lines.index("space:")
    path.write_text(
        "\n".join([*lines[:start], "space:", "  trend_bars: [96.5]", "constraints: {sharp_min: 1}", *lines[-4:]])
    )
    with pytest.raises(SpecError) as raised:
        read_spec(path)
    quoted = [line.strip().partition(": ")[2] for line in README.splitlines() if line.startswith("    sweep.yaml:")]
    assert quoted == [line.removeprefix(f"{path}:").partition(": ")[2] for line in str(raised.value).splitlines()]


SNIPPETS = """
null ~ -1 0 1 2 0.5 1e9 1e400 .nan .inf true no x '' [] {} [1] {a:1} [[1]] 2024-01-01 2024-02-30 12:30:45 0x1F '
10000000000000000000000 !!int !!binary &a *a * & ! % @ ` | > - : ? # , [ ] { } << grid tpe nsga2 sobol random " \\
signals scalper space rounds points from to log name
"""


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Return an example with one to four places of it replaced, doubled, moved or lost."""
    text = draw(st.sampled_from([path.read_text(encoding="utf-8") for path in FILES]))
    for _ in range(draw(st.integers(1, 4))):
        words = re.split(r"(\s+|[\[\]{},:])", text)
        at = draw(st.integers(0, len(words) - 1))
        match draw(st.sampled_from(["replace", "insert", "delete", "double", "swap", "cut line"])):
            case "replace":
                words[at] = draw(st.sampled_from(SNIPPETS.split()))
            case "insert":
                words.insert(at, draw(st.sampled_from(SNIPPETS.split()) | st.text(max_size=3)))
            case "delete":
                del words[at]
            case "double":
                words.insert(at, words[at] + " ")
            case "swap":
                other = draw(st.integers(0, len(words) - 1))
                words[at], words[other] = words[other], words[at]
            case "cut line":
                lines = text.splitlines()
                del lines[draw(st.integers(0, len(lines) - 1))]
                words = ["\n".join(lines)]
        text = "".join(words) or "\n"
    return text


@given(text=damaged())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_to_an_example_is_named_by_file_and_line_or_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        spec = read_spec(path)
    except SpecError as error:
        for line in str(error).splitlines():  # what PyYAML itself throws out may lack the number of the line
            assert re.match(rf"{re.escape(str(path))}(:\d+|: not valid YAML): \S", line), line
    else:
        assert spec.space.axes
        assert spec.rounds
