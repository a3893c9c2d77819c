"""`summary.json`: the same summary gives the same bytes, and what is not to the letter is not read."""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.summary_file import NAME, read_summary, write_summary
from tests.unit.trireme.sweep_directories import change_odds, make_bare_summary, make_summary


@pytest.mark.parametrize(
    "summary",
    [
        make_summary(),
        make_bare_summary(),
        change_odds(make_summary(), pbo_frac=None, sharpe=0.1 + 0.2),
    ],
)
def test_what_is_written_reads_back_and_gives_the_same_bytes(tmp_path: Path, summary: Any) -> None:
    write_summary(tmp_path, summary)
    first = (tmp_path / NAME).read_bytes()
    assert read_summary(tmp_path) == summary
    write_summary(tmp_path, read_summary(tmp_path))
    assert (tmp_path / NAME).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert list(json.loads(first)) == [field.name for field in dataclasses.fields(summary)]


def test_a_number_that_is_not_finite_is_named_and_the_old_file_stays(tmp_path: Path) -> None:
    write_summary(tmp_path, make_summary())
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(ValueError, match=r"\$\.overfitting\.pbo_logits\[1\] = nan is not finite"):
        write_summary(tmp_path, change_odds(make_summary(), pbo_logits=[0.0, math.nan]))
    assert (tmp_path / NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def change(values: dict[str, Any], place: str, value: Any) -> None:
    *path, last = place.split(".")
    for key in path:
        values = values[int(key)] if isinstance(values, list) else values[key]
    if value is None:
        del values[last]
    else:
        values[last] = value


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("faults", None, "$.faults is an unknown or a missing key"),
        ("rounds.0.passed_too", 3, "$.rounds[0].passed_too is an unknown or a missing key"),
        ("rounds.1.configs", "many", "Expected `int`, got `str`"),
        ("best.metrics.sharpe", True, "got `bool`"),
        ("overfitting", None, "missing required field `overfitting`"),
        ("data.sha256", None, "missing required field `sha256`"),
        ("account.costs", 3, "at `$.account.costs`"),
    ],
)
def test_a_file_that_is_not_to_the_letter_is_refused(tmp_path: Path, place: str, value: Any, fault: str) -> None:
    write_summary(tmp_path, make_summary())
    values = json.loads((tmp_path / NAME).read_bytes())
    change(values, place, value)
    (tmp_path / NAME).write_text(json.dumps(values))
    assert_refused(tmp_path, fault, "remove it and run `trireme sweep --resume")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content.replace(b'"trials_effective": 214.0', b'"trials_effective": NaN'),
        lambda content: content.replace(b'"trials_effective": 214.0', b'"trials_effective": 1e999'),
        lambda content: content.replace(b"momentum_sar", b"momentum\xff"),
        lambda content: b"[]",
    ],
)
def test_damaged_bytes_are_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    write_summary(tmp_path, make_summary())
    (tmp_path / NAME).write_bytes(spoil((tmp_path / NAME).read_bytes()))
    assert_refused(tmp_path, "summary.json: damaged", "remove it and run `trireme sweep --resume")


def test_where_there_is_no_summary_the_line_says_what_to_do(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere", "no such directory")
    assert_refused(tmp_path, "holds no sweep")
    (tmp_path / "sweep.json").write_text("{}")
    assert_refused(tmp_path, f"not finished: go on with `trireme sweep --resume {tmp_path}`")
    assert_refused(tmp_path / "sweep.json", "not a directory")


def assert_refused(directory: Path, *texts: str) -> None:
    with pytest.raises(ValueError, match=re.escape(texts[0])) as caught:
        read_summary(directory)
    assert "\n" not in str(caught.value)
    for text in texts[1:]:
        assert text in str(caught.value)
