"""Typed, range-checked settings: the machinery under the schema in `config.py`.

A setting is a dataclass field that knows its range, unit and source. `build` turns a plain mapping (a composed YAML
file) into a dataclass and refuses, in one line that names the key, the value and what is allowed, whatever is unknown,
missing, of a wrong type or out of range.
"""

import copy
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")
OMEGACONF_MISSING = "???"


class ConfigError(ValueError):
    """A setting that cannot be used. The message is one line: key, value, what is allowed, what to type."""


@dataclass(frozen=True)
class Range:
    """Numbers allowed: `low <= x <= high`, with a strict lower bound when `above` is set. NaN is never allowed."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def admits(self, value: float) -> bool:
        over = value > self.low if self.above else value >= self.low
        return over and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        lower = f"{'>' if self.above else '>='} {self.low:g}" if math.isfinite(self.low) else ""
        upper = f"<= {self.high:g}" if math.isfinite(self.high) else ""
        return " and ".join(part for part in (lower, upper) if part) or "finite"


FINITE = Range()
POSITIVE = Range(0, above=True)
NON_NEGATIVE = Range(0)
UNIT_INTERVAL = Range(0, 1)


def setting(
    default: Any = MISSING,
    *,
    within: Range | None = None,
    example: str = "",
    unit: str = "",
    source: str = "",
    later: bool = False,
) -> Any:
    """A dataclass field with its range, unit and source; `example` is what an error suggests typing.

    later  the setting came when runs without it were there: while it has its default it is not written down (`as_plain`)
    """
    metadata = {"within": within, "example": example, "unit": unit, "source": source, "later": later}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def build(schema: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """Dataclass `schema` filled from `values`; `path` is the key's prefix in messages (`sleep`, say).

    Raises ConfigError for an unknown or missing key, a wrong type or a value out of range.
    """
    fields = {item.name: item for item in dataclasses.fields(schema)}  # type: ignore[arg-type]  # T is a dataclass
    for key in values:
        if key not in fields:
            raise ConfigError(unknown_key(join(path, str(key)), [join(path, name) for name in fields]))
    hints = typing.get_type_hints(schema)
    filled: dict[str, Any] = {}
    for name, item in fields.items():
        key = join(path, name)
        if name in values and values[name] != OMEGACONF_MISSING:
            filled[name] = _fill(key, item, hints[name], values[name])
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{key} is missing: give {_describe(hints[name], item)}, {_suggest(key, item)}")
    return schema(**filled)


def check(instance: Any, path: str) -> None:
    """Check the fields of a frozen dataclass made by hand, converting NumPy scalars. For use in `__post_init__`."""
    hints = typing.get_type_hints(type(instance))
    for item in dataclasses.fields(instance):
        value = getattr(instance, item.name)
        if not dataclasses.is_dataclass(value):
            object.__setattr__(instance, item.name, _fill(join(path, item.name), item, hints[item.name], value))


def as_plain(instance: Any) -> dict[str, Any]:
    """The settings as nested dictionaries, without those added later that have their default.

    Runs of before and after such a setting came have the same identity and the same columns this way.
    """
    values = {item: getattr(instance, item.name) for item in dataclasses.fields(instance)}
    return {
        item.name: as_plain(value) if dataclasses.is_dataclass(value) else copy.deepcopy(value)
        for item, value in values.items()
        if not (item.metadata.get("later") and value == _default(item))
    }


def unknown_key(key: str, known: list[str]) -> str:
    """The message for a key that no setting has: the nearest known key first, else all keys beside it."""
    names = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key.rpartition(".")[2], names, n=1)
    hint = f"did you mean {names[near[0]]}? " if near else ""
    return f"{key} is not a setting: {hint}allowed here: {', '.join(known)}"


def typed(value: Any) -> str:
    """A value as one types it: null, true, [1,2]."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value).replace(" ", "") if isinstance(value, list) else str(value)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _default(item: "dataclasses.Field[Any]") -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _fill(key: str, item: "dataclasses.Field[Any]", hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key}={value} is not a group of settings: set its keys, {key}.NAME=VALUE")
        return build(typing.cast(type[Any], hint), value, key)
    try:
        converted = _convert(hint, value)
    except TypeError:
        raise ConfigError(_refusal(key, item, hint, value)) from None
    within: Range | None = item.metadata.get("within")
    numbers = converted if isinstance(converted, list) else [converted]
    if within is not None and not all(within.admits(x) for x in numbers if isinstance(x, (int, float))):
        raise ConfigError(_refusal(key, item, hint, value))
    return converted


def _convert(hint: Any, value: Any) -> Any:
    """`value` as the type `hint` says, or TypeError. Text is never taken for a number, nor a bool for an int."""
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        for option in typing.get_args(hint):
            try:
                return _convert(option, value)
            except TypeError:
                continue
        raise TypeError
    if origin is Literal:
        if any(value == option and type(value) is type(option) for option in typing.get_args(hint)):
            return value
        raise TypeError
    if origin is list:
        if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
            raise TypeError
        return [_convert(typing.get_args(hint)[0], entry) for entry in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # NumPy and torch scalars
    return _SCALARS[hint](value)


def _exactly(kind: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError
        return value

    return convert


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return float(value)


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    int: _exactly(int),
    bool: _exactly(bool),
    str: _exactly(str),
    float: _number,
    types.NoneType: _exactly(types.NoneType),
}


def _refusal(key: str, item: "dataclasses.Field[Any]", hint: Any, value: Any) -> str:
    return f"{key}={typed(value)} is not allowed: must be {_describe(hint, item)}; {_suggest(key, item)}"


def _suggest(key: str, item: "dataclasses.Field[Any]") -> str:
    example = item.metadata.get("example")
    if not example and not (item.default is MISSING and item.default_factory is MISSING):
        example = typed(_default(item))
    return f"e.g. {key}={example}" if example else f"type {key}=VALUE"


def _describe(hint: Any, item: "dataclasses.Field[Any]") -> str:
    within: Range | None = item.metadata.get("within")
    return " or ".join(_describe_type(hint, f" {within}" if within is not None else ""))


def _describe_type(hint: Any, bound: str) -> list[str]:
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return [text for option in typing.get_args(hint) for text in _describe_type(option, bound)]
    if origin is Literal:
        return [f"one of {', '.join(str(option) for option in typing.get_args(hint))}"]
    if origin is list:
        element = _describe_type(typing.get_args(hint)[0], bound)[0]
        return [f"a list [..] whose entries are each {element}"]
    names = {int: f"a whole number{bound}", float: f"a number{bound}", bool: "true or false", str: "a text"}
    return [names.get(hint, "null")]
