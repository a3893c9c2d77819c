"""Settings: YAML read once, checked strictly, into frozen dataclasses.

Every fault is a ValueError of one line that names file, line and key: `trireme.yaml:12: unknown key 'nodez', did you
mean 'nodes'?`. `read_yaml` and `load_section` know nothing of what they load; the section of Ray is defined
here, those of trading where trading is composed.
"""

import dataclasses
import difflib
import enum
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

T = TypeVar("T")

ROLES = ("live_trading", "ai_hub", "fast_compute")


class Section(dict[str, Any]):
    """One YAML mapping that remembers where it and each of its keys stood."""

    def __init__(self, where: str = "settings") -> None:
        super().__init__()
        self.where = where
        self.lines: dict[str, str] = {}  # key -> "file:line"

    def where_of(self, key: str) -> str:
        return self.lines.get(key, self.where)


def read_yaml(path: Path) -> Section:
    """Return the file's top mapping. Raises ValueError when it is missing, malformed, or says a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ValueError(f"{path}: cannot be read: {reason}") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return Section(f"{path}:1")
        if not isinstance(node, yaml.MappingNode):
            raise ValueError(f"{path}:1: expected 'key: value' lines at the top")
        return cast(Section, _build(loader, node, path))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"{path}:{line}: not valid YAML: {error.reason}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None


def _build(loader: yaml.SafeLoader, node: yaml.Node, path: Path) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, child, path) for child in node.value]
    if not isinstance(node, yaml.MappingNode):
        try:
            return loader.construct_object(node)
        except (ValueError, ArithmeticError, LookupError, AttributeError) as error:  # such as of the 30th of February
            raise ValueError(f"{path}:{node.start_mark.line + 1}: {node.value!r} cannot be read: {error}") from None
    section = Section(f"{path}:{node.start_mark.line + 1}")
    for key_node, value_node in node.value:
        where = f"{path}:{key_node.start_mark.line + 1}"
        key = str(key_node.value)
        if key in section:
            raise ValueError(f"{where}: key {key!r} is given twice, first at {section.where_of(key)}")
        section.lines[key] = where
        section[key] = _build(loader, value_node, path)
    return section


def setting(
    default: Any = dataclasses.MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
) -> Any:
    """A dataclass field with its range, ends included, or its choices; for sequences and mappings, of each element."""
    metadata = {"low": low, "high": high, "choices": choices}
    if isinstance(default, dict | list):
        return dataclasses.field(default_factory=functools.partial(type(default), default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def load_section(mapping: Mapping[str, Any], section_class: type[T], where: str = "") -> T:
    """Return `section_class` filled from `mapping`; `where` is the path of keys that led here, for messages.

    Fields may be bool, int, float, str, Path, an enum, another dataclass, `X | None`, `tuple[X, ...]` or `dict[str,
    X]`. A field without a default must be given. Raises ValueError on an unknown or missing key, a wrong type, NaN, or
    a value outside its `setting` range.
    """
    hints = typing.get_type_hints(section_class)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, section_class)) if field.init}
    for key in mapping:
        if key not in fields:
            raise ValueError(f"{_where(mapping, key)}unknown key {key!r}{_did_you_mean(key, fields)}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in mapping:
            key_path = f"{where}.{name}" if where else name
            try:
                values[name] = _convert(mapping[name], hints[name], field.metadata, key_path)
            except _Misfit as misfit:
                raise ValueError(f"{_where(mapping, name)}{misfit}") from None
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{_where(mapping, name)}key {name!r} is missing{f' in {where}' if where else ''}")
    return section_class(**values)


class _Misfit(Exception):  # noqa: N818 - becomes a ValueError with its place
    pass


def _where(mapping: Mapping[str, Any], key: str) -> str:
    return f"{mapping.where_of(key)}: " if isinstance(mapping, Section) else ""


def _did_you_mean(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else f", known are: {', '.join(known)}"


def _convert(value: Any, hint: Any, metadata: Mapping[str, Any], name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return _convert(value, inner, metadata, name)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _Misfit(f"{name} is {value!r}, must be a list")
        return tuple(_convert(item, arguments[0], metadata, f"{name}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _Misfit(f"{name} is {value!r}, must be 'key: value' lines")
        return {str(key): _convert(item, arguments[1], metadata, f"{name}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _Misfit(f"{name} is {value!r}, must be 'key: value' lines")
        return load_section(value, cast(type[Any], hint), name)
    return _check_range(_convert_scalar(value, hint, name), metadata, name)


def _convert_scalar(value: Any, hint: type[Any], name: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError:
            known = ", ".join(str(member.value) for member in hint)
            raise _Misfit(f"{name} is {value!r}, must be one of: {known}") from None
    if hint is float and isinstance(value, str):
        try:
            value = float(value)  # YAML 1.1 reads 1e-3 as text
        except ValueError:
            raise _Misfit(f"{name} is {value!r}, must be a number") from None
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isnan(value):
            raise _Misfit(f"{name} is not a number (NaN)")
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not hint:
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}
        raise _Misfit(f"{name} is {value!r}, must be {words.get(hint, str(hint))}")
    return value


def _check_range(value: Any, metadata: Mapping[str, Any], name: str) -> Any:
    low, high, choices = metadata.get("low"), metadata.get("high"), metadata.get("choices")
    if choices and value not in choices:
        close = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise _Misfit(f"{name} is {value!r}, must be one of: {', '.join(map(str, choices))}{hint}")
    if low is not None and value < low:
        raise _Misfit(f"{name} is {value}, must be at least {low}")
    if high is not None and value > high:
        raise _Misfit(f"{name} is {value}, must be at most {high}")
    return value


@dataclass(frozen=True)
class RayConfig:
    """How the embedded Ray runs."""

    namespace: str = setting("trireme")
    roles: tuple[str, ...] = setting(ROLES, choices=ROLES)  # labels that this node wears when embedded
    num_cpus: int = setting(2, low=1, high=1024)
    object_store_mb: int = setting(200, low=80, high=1_000_000)  # Ray refuses less than about 75 MB
    temp_dir: Path = setting(Path("/tmp"))  # sessions lie below; short, for Unix socket paths end at 107 bytes  # noqa: RUF009
    include_dashboard: bool = setting(False)
    dashboard_port: int = setting(0, low=0, high=65535)  # 0: a free one


@dataclass(frozen=True)
class ClusterConfig:
    """The `cluster` section of the settings."""

    ray: RayConfig = dataclasses.field(default_factory=RayConfig)
