"""Read plain data (YAML, JSON) into dataclasses, strictly: the dataclasses are the schema."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")


# Bits of a whole number; Python refuses to write one that is much longer.
_LONGEST_NUMBER = 10_000
#: Lists and mappings inside one another. What is deeper cannot be written into an answer for sure.
DEEPEST = 50


class ScenarioError(ValueError):
    """Data that does not match the schema; the message names the place and what is allowed there."""


def read_json(raw: bytes) -> Any:
    """
    Return what a JSON text says, if an answer can carry it.

    :raises ScenarioError: if it is not JSON (as RFC 8259 has it: no ``NaN``), or nested too deep.
    """
    try:
        data = json.loads(raw, parse_constant=_finite, parse_float=_finite)
    except ValueError as error:
        raise ScenarioError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ScenarioError(_TOO_DEEP) from error
    level = [data]
    for _ in range(DEEPEST + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return data
    raise ScenarioError(_TOO_DEEP)


_TOO_DEEP = f"lists and objects are nested more than {DEEPEST} deep; put less into one another"


def _children(data: object) -> Iterable[object]:
    if isinstance(data, dict):
        return data.values()
    return data if isinstance(data, list) else ()


def _finite(text: str) -> float:
    number = float(text)
    if math.isfinite(number):
        return number
    raise ValueError(f"the number {text[:60]} is not finite")


def read(cls: type[T], data: object, where: str) -> T:
    """
    Build a dataclass from a mapping; unknown keys, missing keys and wrong types are errors.

    A field that would be a Python keyword carries a trailing underscore that its key does not have.

    :param cls: the dataclass.
    :param data: what was read from YAML or JSON.
    :param where: the place of ``data``, for messages.
    :raises ScenarioError: if ``data`` does not match.
    """
    if not isinstance(data, Mapping):
        raise ScenarioError(f"{where}: expected a mapping, not {_show(data)}")
    known = {field.name.rstrip("_"): field for field in fields(cls) if field.init}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise ScenarioError(f"{where}: unknown key {_show(key)}; allowed: {', '.join(sorted(known))}")
    for key, field in known.items():
        if key not in data and field.default is MISSING and field.default_factory is MISSING:
            raise ScenarioError(f"{where}: {key!r} is missing")
    hints = typing.get_type_hints(cls)
    values = {
        known[key].name: read_as(hints[known[key].name], raw, f"{where}.{key}") for key, raw in data.items()
    }
    try:
        return cls(**values)
    except ScenarioError:
        raise
    except ValueError as error:
        raise ScenarioError(f"{where}: {error}") from error


def read_as(hint: Any, data: object, where: str) -> Any:
    """
    Check one value against a type hint and return it, converted where YAML needs it.

    :param hint: ``str``, ``bool``, ``int``, ``float``, ``datetime``, ``object`` (any JSON), a ``Literal``, a
        dataclass, ``X | None``, ``tuple[X, ...]`` or ``dict[str, X]``.
    :raises ScenarioError: if the value does not match.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _read_union(args, data, where)
    if origin is Literal:
        if data in args and isinstance(data, str):
            return data
        raise ScenarioError(f"{where}: {_show(data)} is not one of {', '.join(map(str, args))}")
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise ScenarioError(f"{where}: expected a list, not {_show(data)}")
        return tuple(read_as(args[0], item, f"{where}[{index}]") for index, item in enumerate(data))
    if origin is dict:
        if not isinstance(data, Mapping):
            raise ScenarioError(f"{where}: expected a mapping, not {_show(data)}")
        return {read_as(str, k, where): read_as(args[1], v, f"{where}.{k}") for k, v in data.items()}
    if is_dataclass(hint):
        return read(typing.cast("type[Any]", hint), data, where)
    return _read_scalar(hint, data, where)


def _read_union(args: tuple[Any, ...], data: object, where: str) -> Any:
    if data is None and type(None) in args:
        return None
    options = [arg for arg in args if arg is not type(None)]
    if len(options) == 1:
        return read_as(options[0], data, where)
    for option in options:
        try:
            return read_as(option, data, where)
        except ScenarioError:
            continue
    names = " or ".join(_SCALARS.get(option, str(option)) for option in options)
    raise ScenarioError(f"{where}: expected {names}, not {_show(data)}")


_SCALARS: dict[Any, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    datetime: "an ISO 8601 time",
    object: "JSON",
}


def _read_scalar(hint: Any, data: object, where: str) -> Any:
    if hint is object:
        return _json(data, where)
    if hint is datetime:
        moment = _moment(data)
        if moment is not None:
            return moment
    elif hint is float:
        number = _number(data)
        if number is not None:
            return number
    elif hint is int:
        if isinstance(data, int) and not isinstance(data, bool) and data.bit_length() <= _LONGEST_NUMBER:
            return data
    elif isinstance(data, hint):
        return data
    raise ScenarioError(f"{where}: expected {_SCALARS[hint]}, not {_show(data)}")


def _number(data: object) -> float | None:
    if isinstance(data, bool) or not isinstance(data, int | float):
        return None
    try:
        number = float(data)
    except OverflowError:  # a whole number may have more digits than a float has room for
        return None
    return number if math.isfinite(number) else None


def _moment(data: object) -> datetime | None:
    if isinstance(data, str):
        try:
            data = datetime.fromisoformat(data)
        except ValueError:
            return None
    if isinstance(data, date) and not isinstance(data, datetime):
        data = datetime.combine(data, time.min)
    if not isinstance(data, datetime):
        return None
    try:
        return data.replace(tzinfo=UTC) if data.tzinfo is None else data.astimezone(UTC)
    except OverflowError:  # in UTC, it is in the year 0 or 10000
        return None


def _json(data: object, where: str, depth: int = 0) -> object:
    """Return ``data`` if an answer can carry it; YAML reads an unquoted time as a datetime."""
    if depth > DEEPEST:
        raise ScenarioError(f"{where[:60]}…: {_TOO_DEEP}")
    if isinstance(data, date):
        raise ScenarioError(f"{where}: put quotes around the time {data}")
    if isinstance(data, Mapping):
        return {
            read_as(str, key, where): _json(value, f"{where}.{key}", depth + 1) for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [_json(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(data)]
    if (
        data is None
        or isinstance(data, str | bool)
        or (isinstance(data, int) and data.bit_length() <= _LONGEST_NUMBER)
        or (isinstance(data, float) and math.isfinite(data))
    ):
        return data
    raise ScenarioError(f"{where}: {_show(data)} cannot be written as JSON")


def _show(data: object) -> str:
    try:
        text = repr(data)
    except (ValueError, RecursionError):  # Python writes no number of more than 4300 digits
        return "a value too large to show"
    return text if len(text) <= 60 else text[:57] + "..."
