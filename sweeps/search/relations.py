"""Constraints between parameters: `fast_bars * 4 <= trend_bars`, parsed once, evaluated on columns."""

import ast
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from market.instruments import suggest

NUMBER_MAX = 1e300
TEXT_MAX = 300  # characters: also keeps the depth of what is walked far below Python's limit

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


@dataclass(frozen=True, slots=True)
class Relation:
    """A comparison between arithmetic expressions of parameters; only its text is kept, and pickled."""

    text: str

    def find_kept(self, columns: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
        """Return which rows meet it; `columns`: parameter -> a number, or float64[n].

        A comparison with a side that is not finite is not met: `a / b != 1` refuses a row where b is 0.
        Raises KeyError for a parameter that has no column.
        """
        shape = np.broadcast_shapes((1,), *(np.shape(column) for column in columns.values()))
        with np.errstate(all="ignore"):
            kept = _compare(_parse(self.text), columns)
        return np.array(np.broadcast_to(kept, shape))


def parse_relation(text: str, keys: Collection[str]) -> Relation:
    """Return the relation that `text` says: comparisons, chained or joined by `and`, of + - * / over `keys`.

    Raises ValueError naming what it does not allow: an unknown parameter, a call, a power, a text without a comparison.

    >>> space = {"fast_bars": np.array([8.0, 24.0]), "trend_bars": 48}
    >>> parse_relation("2 < fast_bars * 4 <= trend_bars", space).find_kept(space)
    array([ True, False])
    """
    text = " ".join(text.split())
    names: set[str] = set()
    try:
        _check_condition(_parse(text), keys, names)
    except SyntaxError:
        raise ValueError(
            f"relation '{text}' is no comparison: write one such as 'fast_bars * 4 <= trend_bars'"
        ) from None
    except ValueError as error:
        raise ValueError(f"relation '{text}': {error}") from None
    if not names:
        raise ValueError(f"relation '{text}' names no parameter: compare at least one")
    return Relation(text)


@lru_cache(maxsize=256)
def _parse(text: str) -> ast.expr:
    if len(text) > TEXT_MAX:
        raise ValueError(f"{len(text)} characters, at most {TEXT_MAX}: split it into several relations")
    return ast.parse(text, mode="eval").body


def _check_condition(node: ast.expr, keys: Collection[str], names: set[str]) -> None:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            for part in parts:
                _check_condition(part, keys, names)
        case ast.Compare(left=left, ops=operators, comparators=others):
            for operator in operators:
                if type(operator) not in _COMPARISONS:
                    raise ValueError("compare with <, <=, >, >=, == or != only")
            for side in (left, *others):
                _check_expression(side, keys, names)
        case _:
            raise ValueError(f"'{ast.unparse(node)}' is no comparison: write <, <=, >, >=, == or != between two sides")


def _check_expression(node: ast.expr, keys: Collection[str], names: set[str]) -> None:
    match node:
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
            _check_expression(left, keys, names)
            _check_expression(right, keys, names)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            _check_expression(operand, keys, names)
        case ast.Constant(value=bool()):
            raise ValueError(f"'{ast.unparse(node)}' is not allowed: use +, -, *, /, numbers and parameters only")
        case ast.Constant(value=int() | float() as number):
            # A literal such as 1e999 reads as infinity, a long whole number has no float.
            if abs(number) > NUMBER_MAX:
                raise ValueError(f"a number must be at most {NUMBER_MAX:g}")
        case ast.Name(id=name):
            if name not in keys:
                raise ValueError(f"no parameter '{name}'{suggest(name, keys) or '; known: ' + ', '.join(keys)}")
            names.add(name)
        case _:
            raise ValueError(f"'{ast.unparse(node)}' is not allowed: use +, -, *, /, numbers and parameters only")


def _compare(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.BoolOp):
        return reduce(np.logical_and, [_compare(part, columns) for part in node.values])
    assert isinstance(node, ast.Compare)
    sides = [_compute(side, columns) for side in (node.left, *node.comparators)]
    compared = [
        _COMPARISONS[type(operator)](left, right)
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False)
    ]
    return reduce(np.logical_and, [*compared, *map(np.isfinite, sides)])


def _compute(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    match node:
        case ast.BinOp(left=left, op=operator, right=right):
            return _ARITHMETIC[type(operator)](_compute(left, columns), _compute(right, columns))
        case ast.UnaryOp(operand=operand):
            return -_compute(operand, columns)
        case ast.Name(id=name):
            return np.asarray(columns[name], np.float64)
        case ast.Constant(value=value):
            return np.float64(value)  # type: ignore[arg-type]
        case _:
            raise AssertionError(f"parse_relation let '{ast.unparse(node)}' pass")
