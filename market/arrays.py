"""Move NamedTuple records in and out of structured arrays, in Python and inside compiled kernels alike."""

from typing import Any, TypeVar

import numpy as np
from numba import types
from numba.extending import overload

Record = TypeVar("Record", bound=tuple[Any, ...])


def read_record(array: np.ndarray[Any, Any], index: int, template: Record) -> Record:
    """Return `array[index]` as a NamedTuple of the template's type; the template's values are not used.

    >>> from market.records import POSITION_FLAT, Position, make_dtype
    >>> read_record(np.array([(3, 100.0, 7)], make_dtype(Position)), 0, POSITION_FLAT)
    Position(qty_lots=3, avg_px=100.0, ts_entry_ns=7)
    """
    return type(template)(*array[index].item())


def write_record(array: np.ndarray[Any, Any], index: int, value: tuple[Any, ...]) -> None:
    """Store a NamedTuple whose fields are those of the array's dtype."""
    array[index] = tuple(value)


def _compile(name: str, source: str, scope: dict[str, Any]) -> Any:
    # The fields are known only when numba asks for the type, so the body is written out then.
    exec(source, scope)
    return scope[name]


@overload(read_record)
def _read_record(array: Any, index: Any, template: Any) -> Any:
    if not isinstance(template, types.BaseNamedTuple):
        return None
    fields = ", ".join(f"row.{name}" for name in template.fields)
    source = (
        f"def read(array: Any, index: Any, template: Any) -> Any:\n    row = array[index]\n    return Cls({fields})\n"
    )
    return _compile("read", source, {"Cls": template.instance_class, "Any": Any})


@overload(write_record)
def _write_record(array: Any, index: Any, value: Any) -> Any:
    if not isinstance(value, types.BaseNamedTuple):
        return None
    body = "".join(f"    row.{name} = value.{name}\n" for name in value.fields)
    source = f"def write(array: Any, index: Any, value: Any) -> None:\n    row = array[index]\n{body}"
    return _compile("write", source, {"Any": Any})
