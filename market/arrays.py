"""Move NamedTuple records in and out of structured arrays, in Python and inside compiled kernels alike."""

from typing import Any, TypeVar

import numpy as np
from numba import types
from numba.extending import overload

Record = TypeVar("Record", bound=tuple[Any, ...])


def read_row(row: Any, template: Record) -> Record:
    """Return one row of a structured array, or a record nested in it, as a NamedTuple of the template's type.

    The template's values are not used. In a kernel only what is used of the result is read.
    """
    return _nest(row.item(), template)


def write_row(row: Any, value: tuple[Any, ...]) -> None:
    """Store a NamedTuple in a row, or in a record nested in it, whose fields are the same."""
    for name, field in zip(row.dtype.names, value, strict=True):
        row[name] = field


def read_record(array: np.ndarray[Any, Any], index: int, template: Record) -> Record:
    """Return `array[index]` as a NamedTuple of the template's type; the template's values are not used.

    >>> from market.records import POSITION_FLAT, Position, make_dtype
    >>> read_record(np.array([(3, 100.0, 7)], make_dtype(Position)), 0, POSITION_FLAT)
    Position(qty_lots=3, avg_px=100.0, ts_entry_ns=7)
    """
    return read_row(array[index], template)


def write_record(array: np.ndarray[Any, Any], index: int, value: tuple[Any, ...]) -> None:
    """Store a NamedTuple whose fields are those of the array's dtype."""
    array[index] = tuple(value)


def _nest(values: Any, template: Any) -> Any:
    # numpy gives nested records as plain tuples; the template knows their types.
    return type(template)(
        *(
            _nest(value, like) if isinstance(like, tuple) else value
            for value, like in zip(values, template, strict=True)
        )
    )


def _compile(name: str, source: str, scope: dict[str, Any]) -> Any:
    # The fields are known only when numba asks for the type, so the body is written out then.
    exec(source, scope)
    return scope[name]


def _write_reading(template: Any, place: str, scope: dict[str, Any]) -> str:
    # The expression that reads a record, nested ones included; the classes it names go into `scope`.
    name = f"Class{len(scope)}"
    scope[name] = template.instance_class
    values = (
        _write_reading(kind, f"{place}.{field}", scope)
        if isinstance(kind, types.BaseNamedTuple)
        else f"{place}.{field}"
        for field, kind in zip(template.fields, template.types, strict=True)
    )
    return f"{name}({', '.join(values)})"


def _write_storing(value: Any, place: str, source: str) -> str:
    # The statements that store a record, nested ones included.
    return "".join(
        _write_storing(kind, f"{place}.{field}", f"{source}.{field}")
        if isinstance(kind, types.BaseNamedTuple)
        else f"    {place}.{field} = {source}.{field}\n"
        for field, kind in zip(value.fields, value.types, strict=True)
    )


@overload(read_row)
def _read_row(row: Any, template: Any) -> Any:
    if not isinstance(template, types.BaseNamedTuple):
        return None
    scope: dict[str, Any] = {"Any": Any}
    reading = _write_reading(template, "row", scope)
    return _compile("read", f"def read(row: Any, template: Any) -> Any:\n    return {reading}\n", scope)


@overload(write_row)
def _write_row(row: Any, value: Any) -> Any:
    if not isinstance(value, types.BaseNamedTuple):
        return None
    source = f"def write(row: Any, value: Any) -> None:\n{_write_storing(value, 'row', 'value')}"
    return _compile("write", source, {"Any": Any})


@overload(read_record)
def _read_record(array: Any, index: Any, template: Any) -> Any:
    if not isinstance(template, types.BaseNamedTuple):
        return None

    def read_at(array: Any, index: Any, template: Any) -> Any:
        return read_row(array[index], template)

    return read_at


@overload(write_record)
def _write_record(array: Any, index: Any, value: Any) -> Any:
    if not isinstance(value, types.BaseNamedTuple):
        return None

    def write_at(array: Any, index: Any, value: Any) -> None:
        write_row(array[index], value)

    return write_at
