"""Relations: what they say, what they refuse to be, and that only their text travels."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.search.relations import TEXT_MAX, parse_relation

KEYS = ("fast_bars", "trend_bars", "stop_atr")
NUMBERS = st.floats(-1e3, 1e3)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_relation_says_what_python_says(a: float, b: float, c: float) -> None:
    columns = {"fast_bars": np.array([a]), "trend_bars": b, "stop_atr": np.array([c])}
    for text in (
        "fast_bars < trend_bars <= stop_atr",
        "-fast_bars * 2 + 1 != trend_bars - stop_atr and fast_bars >= -3.5",
        "(fast_bars < trend_bars) and (trend_bars > stop_atr)",
        "2 * (fast_bars - trend_bars) == stop_atr",
        "fast_bars / 4 > trend_bars",
    ):
        expected = eval(text, {"fast_bars": a, "trend_bars": b, "stop_atr": c})
        assert parse_relation(text, KEYS).find_kept(columns).tolist() == [expected], text


@pytest.mark.parametrize(
    "text", ["fast_bars / trend_bars != 1", "fast_bars / trend_bars > 1", "stop_atr / trend_bars < 1", "stop_atr < 2"]
)
def test_what_is_not_finite_is_not_met(text: str) -> None:
    columns = {"fast_bars": np.array([0.0, 5.0]), "trend_bars": 0, "stop_atr": np.array([np.nan, -np.inf])}
    assert parse_relation(text, KEYS).find_kept(columns).tolist() == [False, False]


def test_a_relation_of_fixed_parameters_still_answers_for_every_row() -> None:
    kept = parse_relation("trend_bars > 3", KEYS).find_kept({"trend_bars": 4, "fast_bars": np.zeros(3)})
    assert kept.tolist() == [True] * 3


def test_only_the_text_travels() -> None:
    relation = parse_relation(" fast_bars < trend_bars ", KEYS)
    relation.find_kept({"fast_bars": np.zeros(2), "trend_bars": 1})
    assert pickle.loads(pickle.dumps(relation)) == relation
    assert len(pickle.dumps(relation)) < 150
    assert hash(relation) == hash(parse_relation("fast_bars < trend_bars", KEYS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast_bar < trend_bars", "relation 'fast_bar < trend_bars': no parameter 'fast_bar'; did you mean fast_bars?"),
        ("zzz < 1", "no parameter 'zzz'; known: fast_bars, trend_bars, stop_atr"),
        ("fast_bars", "'fast_bars' is no comparison"),
        ("fast_bars <", "relation 'fast_bars <' is no comparison: write one such as"),
        ("", "relation '' is no comparison"),
        ("1 < 2", "names no parameter"),
        ("fast_bars ** 2 < 4", r"'fast_bars \*\* 2' is not allowed"),
        ("fast_bars % 2 == 0", "'fast_bars % 2' is not allowed"),
        ("abs(fast_bars) < 4", r"'abs\(fast_bars\)' is not allowed"),
        ("__import__('os').system('x') < fast_bars", "is not allowed"),
        ("fast_bars < 'a'", "''a'' is not allowed"),
        ("fast_bars < True", "'True' is not allowed"),
        ("fast_bars < 2j", "'2j' is not allowed"),
        ("fast_bars < 1e999", r"a number must be at most 1e\+300"),
        ("fast_bars < 1" + "0" * 290 + "0" * 20, "split it into several relations"),
        ("fast_bar <\n trend_bars", "relation 'fast_bar < trend_bars': no parameter"),
        ("fast_bars < 4 or fast_bars > 8", "is no comparison"),
        ("not fast_bars < 4", "is no comparison"),
        ("fast_bars in (1, 2)", "compare with <, <=, >, >=, == or != only"),
        ("(fast_bars < 4) + 1 < 3", "'fast_bars < 4' is not allowed"),
        ("fast_bars < 4\x00", "no comparison|null bytes"),
        ("-" * (TEXT_MAX - 15) + "fast_bars", "is no comparison"),
        ("(" * 290 + "fast_bars", "is no comparison"),
    ],
)
def test_faults_are_named_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_relation(text, KEYS)
    assert "\n" not in str(caught.value)
