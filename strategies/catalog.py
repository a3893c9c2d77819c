"""Every strategy by name: its kernels, its parameters, its search space. Actors and sweeps look up here only.

`new_state`, `observe`, `decide` and `observe_all` take any strategy: they go by the type of `params`, from Python at
each call, inside compiled code when it is compiled. So one compiled caller, specialised per parameter record, serves
all strategies and is cached on disk (a kernel passed as an argument would not be).
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from market.arrays import read_record, write_record
from market.records import Bar, Intent, Position, make_dtype
from strategies.kernels import mean_reversion_funding, momentum_sar, scalper, signals, whale_mirror
from strategies.search_spaces import (
    MEAN_REVERSION_FUNDING_RANGES,
    MOMENTUM_SAR_RANGES,
    SCALPER_RANGES,
    SIGNALS_RANGES,
    WHALE_MIRROR_RANGES,
    Range,
)

Array = np.ndarray[Any, Any]
Params = Any  # one of the ideas' parameter records
State = Any
Features = Any

_BAR_TEMPLATE = Bar(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class Idea:
    """One strategy. `slow` parameters change what is observed, all others only what is decided."""

    name: str
    belief: str
    doc_page: str
    defaults: Params
    slow: tuple[str, ...]
    ranges: Mapping[str, Range]
    features: type
    make: Callable[[Params], State]
    observe: Callable[[State, Params, Bar], tuple[State, Features]]
    decide: Callable[[Features, Params, Position, int], Intent]
    compute_bars_to_ready: Callable[[Params], int]
    warm_up: Callable[[], None]

    @property
    def params(self) -> type:
        """The parameter record's class."""
        return type(self.defaults)

    @property
    def features_dtype(self) -> np.dtype[np.void]:
        """One row of `observe_all`."""
        return make_dtype(self.features)


def _make_idea(module: Any, belief: str, ranges: Mapping[str, Range]) -> Idea:
    # A file named <idea> holds <Idea>Features, <IDEA>_DEFAULT, SLOW and the kernels make_, observe_, decide_<idea>.
    name = module.__name__.rpartition(".")[2]
    camel = "".join(word.capitalize() for word in name.split("_"))
    return Idea(
        name=name,
        belief=belief,
        doc_page=f"docs/strategies/{name}.md",
        defaults=getattr(module, f"{name.upper()}_DEFAULT"),
        slow=module.SLOW,
        ranges=ranges,
        features=getattr(module, f"{camel}Features"),
        make=getattr(module, f"make_{name}"),
        observe=getattr(module, f"observe_{name}"),
        decide=getattr(module, f"decide_{name}"),
        compute_bars_to_ready=module.compute_bars_to_ready,
        warm_up=module.warm_up,
    )


STRATEGIES: dict[str, Idea] = {
    idea.name: idea
    for idea in (
        _make_idea(
            mean_reversion_funding,
            "A price stretched from its mean comes back when the crowd that stretched it pays funding to stay.",
            MEAN_REVERSION_FUNDING_RANGES,
        ),
        _make_idea(
            momentum_sar,
            "A trend that has carried price clear of its average goes on until the parabolic stop is touched.",
            MOMENTUM_SAR_RANGES,
        ),
        _make_idea(
            whale_mirror,
            "A watched address knows something: hold what it holds, in proportion, while its move is fresh.",
            WHALE_MIRROR_RANGES,
        ),
        _make_idea(
            scalper,
            "A pullback against the trend snaps back a little: take little, often, behind a wide stop.",
            SCALPER_RANGES,
        ),
        _make_idea(
            signals,
            "Your own series of target positions, followed as given.",
            SIGNALS_RANGES,
        ),
    )
}
_BY_PARAMS: dict[type, Idea] = {idea.params: idea for idea in STRATEGIES.values()}


def get_idea(params: Params) -> Idea:
    """Return the strategy that a parameter record belongs to; raises ValueError for any other object."""
    idea = _BY_PARAMS.get(type(params))
    if idea is None:
        raise ValueError(f"{type(params).__name__} is no strategy's parameters; make them with parse_params")
    return idea


def new_state(params: Params) -> State:
    """Return the state before the first bar."""
    return get_idea(params).make(params)


def observe(state: State, params: Params, bar: Bar) -> tuple[State, Features]:
    """Return the next state and the features at the bar's close. `state` is void afterwards: it may share arrays."""
    return get_idea(params).observe(state, params, bar)


def decide(features: Features, params: Params, position: Position, ts_now_ns: int) -> Intent:
    """Return the wish at a close. `features` is the record, or a row of `observe_all`."""
    return get_idea(params).decide(features, params, position, ts_now_ns)


def _find_compiled(params: Any) -> Idea | None:
    return _BY_PARAMS.get(params.instance_class) if isinstance(params, types.BaseNamedTuple) else None


@overload(new_state)
def _new_state(params: Any) -> Any:
    idea = _find_compiled(params)
    if idea is None:
        return None
    kernel = idea.make

    def make(params: Any) -> Any:
        return kernel(params)

    return make


@overload(observe)
def _observe(state: Any, params: Any, bar: Any) -> Any:
    idea = _find_compiled(params)
    if idea is None:
        return None
    kernel = idea.observe

    def step(state: Any, params: Any, bar: Any) -> Any:
        return kernel(state, params, bar)

    return step


@overload(decide)
def _decide(features: Any, params: Any, position: Any, ts_now_ns: Any) -> Any:
    idea = _find_compiled(params)
    if idea is None:
        return None
    kernel = idea.decide

    def wish(features: Any, params: Any, position: Any, ts_now_ns: Any) -> Any:
        return kernel(features, params, position, ts_now_ns)

    return wish


@njit(cache=True)
def observe_into(state: State, params: Params, bars: Array, features: Array) -> State:
    """Observe `bars` (BAR_DTYPE[T]) one by one, write `features` (features_dtype[T]), return the state after them."""
    for index in range(len(bars)):
        state, row = observe(state, params, read_record(bars, index, _BAR_TEMPLATE))
        write_record(features, index, row)
    return state


def observe_all(params: Params, bars: Array) -> Array:
    """Return the features of every bar, compiled: the same bits as `observe` called bar by bar from a new state.

    Parameters
    ----------
    bars : BAR_DTYPE[T], T >= 0, of one instrument, oldest first.

    Returns
    -------
    features : features_dtype[T] of the strategy. They depend on `slow_key(params)` only.
    """
    features = np.empty(len(bars), get_idea(params).features_dtype)
    observe_into(new_state(params), params, bars, features)
    return features


def slow_key(params: Params) -> tuple[Any, ...]:
    """Return (strategy, slow values): configurations with the same key share one `observe_all`."""
    idea = get_idea(params)
    return (idea.name, *(getattr(params, name) for name in idea.slow))


def state_to_dict(state: State) -> dict[str, Any]:
    """Return a state as plain values for a checkpoint: floats as `float.hex`, arrays as the hex of their bytes.

    >>> state_to_dict(new_state(parse_params("signals", {})))["close_px"]
    'nan'
    """
    return {name: _dump_value(value) for name, value in state._asdict().items()}


def _dump_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return state_to_dict(value)
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, np.ndarray):
        return value.astype("<f8").tobytes().hex()
    return int(value)


def state_from_dict(params: Params, fields: Mapping[str, Any]) -> State:
    """Return the state that `state_to_dict` wrote, with the same bits; `params` must have the same `slow_key`.

    Raises ValueError naming the field where the record is not that of a state of `params`.
    """
    return _load_record(new_state(params), fields, get_idea(params).name)


def _load_record(template: Any, fields: Mapping[str, Any], where: str) -> Any:
    if not isinstance(fields, Mapping) or set(fields) != set(template._fields):
        raise ValueError(f"checkpoint of {where} must have the fields {', '.join(template._fields)}")
    return type(template)(
        *(_load_value(getattr(template, name), fields[name], f"{where}.{name}") for name in template._fields)
    )


def _load_value(template: Any, value: Any, where: str) -> Any:
    if isinstance(template, tuple):
        return _load_record(template, value, where)
    try:
        if isinstance(template, float):
            return float.fromhex(value)
        if isinstance(template, np.ndarray):
            array = np.frombuffer(bytes.fromhex(value), "<f8").astype(np.float64)
            if array.size != template.size:
                raise ValueError(f"{array.size} values, these parameters need {template.size}")
            return array.reshape(template.shape)
        if type(value) is not int:
            raise ValueError(f"'{value}' is no whole number")
    except (TypeError, ValueError) as error:
        raise ValueError(f"checkpoint of {where}: {error}") from None
    return value


def describe() -> list[dict[str, Any]]:
    """Return every strategy with its belief and parameters, as plain values for tables and JSON."""
    return [
        {
            "name": idea.name,
            "belief": idea.belief,
            "doc_page": idea.doc_page,
            "parameters": [
                {
                    "name": key,
                    "default": getattr(idea.defaults, key),
                    "kind": allowed.kind,
                    "low": allowed.low,
                    "high": allowed.high,
                    "is_log": allowed.is_log,
                    "least": allowed.least,
                    "most": allowed.most,
                    "is_slow": key in idea.slow,
                }
                for key, allowed in idea.ranges.items()
            ],
        }
        for idea in STRATEGIES.values()
    ]


def compute_bars_to_ready(params: Params) -> int:
    """Return how many usable bars it takes until the features are ready; a shorter period cannot trade."""
    return get_idea(params).compute_bars_to_ready(params)


def parse_params(name: str, settings: Mapping[str, str | float | int]) -> Params:
    """Return the strategy's defaults with `settings` in their place.

    Raises ValueError naming the key, the allowed range and, for a misspelt name, the nearest known one.

    >>> parse_params("momentum_sar", {"sar_step": "0.02", "trend_bars": 48}).trend_bars
    48
    """
    idea = STRATEGIES.get(name)
    if idea is None:
        raise ValueError(f"unknown strategy '{name}'{_suggest(name, STRATEGIES)}")
    values = idea.defaults._asdict()
    for key, setting in settings.items():
        allowed = idea.ranges.get(key)
        if allowed is None:
            raise ValueError(f"strategy {name} has no parameter '{key}'{_suggest(key, idea.ranges)}")
        values[key] = _parse_value(f"{name}.{key}", setting, allowed)
    params = idea.params(**values)
    check_params(params)
    return params


def check_params(params: Params) -> None:
    """Raise ValueError where a parameter is out of its allowed range or contradicts another."""
    idea = get_idea(params)
    for key, allowed in idea.ranges.items():
        _parse_value(f"{idea.name}.{key}", getattr(params, key), allowed)
    for key, allowed in idea.ranges.items():
        if allowed.below and not getattr(params, key) <= getattr(params, allowed.below):
            raise ValueError(
                f"{idea.name}.{key} is {getattr(params, key)}, must not exceed {allowed.below} "
                f"({getattr(params, allowed.below)})"
            )


def _parse_value(where: str, setting: str | float | int, allowed: Range) -> int | float:
    expected = f"{'a whole number' if allowed.is_int else 'a number'} in {allowed.least:g}..{allowed.most:g}"
    try:
        value = float(setting)
    except (TypeError, ValueError):
        raise ValueError(f"{where} is '{setting}', must be {expected}") from None
    is_whole = math.isfinite(value) and value == math.floor(value)
    if not allowed.least <= value <= allowed.most or (allowed.is_int and not is_whole):
        raise ValueError(f"{where} is {setting}, must be {expected}")
    return int(value) if allowed.is_int else value


def _suggest(wrong: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
