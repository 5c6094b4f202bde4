"""
Values that JSON can hold.

They are checked before a request is made, and when a DAG file is parsed. Each parse pays for every import
here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from airflow_provider_qianfan.api.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEEPEST = 50
"""Levels of lists and objects. A deeper value is a mistake, or contains itself."""

_MOST_VALUES = 100_000
_LONGEST_NUMBER = 1024
"""Bits. Python refuses to write numbers that are much longer."""

_Item = tuple[str, object, int]


def plain_text(text: str) -> str:
    """Return the text itself. For a member of a text enum, that is its value."""
    return str.__str__(text)


def plain_values(value: Any) -> Any:
    """
    Return a checked value with lists for all sequences, and dicts for all mappings.

    The result of a mapped upstream task is such a sequence: Airflow reads it item by item.
    """
    if isinstance(value, str):
        return plain_text(value)
    if not _is_abstract(value):
        return value
    if isinstance(value, Mapping):
        return {key: plain_values(part) for key, part in value.items()}
    return [plain_values(part) for part in value]


def read_if_text(name: str, value: object, shape: str) -> object:
    """
    If a value is text, read it as JSON, because a template renders to text. Return any other value unchanged.

    :param shape: the wanted shape, such as ``a dict``.
    :raises ValueError: if the text is not JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError(
            f"{name}={clean(repr(value))} is not {shape}, but text that is not JSON. A template renders to"
            " text, with Python's quotes: write {{ … | tojson }}, with the tojson filter, or set"
            " render_template_as_native_obj=True of the DAG."
        ) from None


def check_json(
    name: str,
    value: object,
    *,
    skip: Callable[[object], bool] = lambda _: False,
    abstract: bool = False,
) -> None:
    """
    Check that JSON can hold a value. A tuple counts as a list.

    :param name: the name of the value, such as ``config``. Messages name the part that is wrong.
    :param skip: tells which parts are not known yet, such as templates at parse.
    :param abstract: whether any sequence counts as a list, and any mapping as a dict: :func:`plain_values`
        follows.
    :raises ValueError: if JSON cannot hold a part. The message names it.
    """
    left: list[_Item] = [(name, value, 0)]
    seen = 0
    while left:
        item = left.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise ValueError(f"{name} holds more than {_MOST_VALUES} values. Pass less.")
        if not skip(item[1]):
            left.extend(_parts(*item, abstract))


def _parts(name: str, value: object, depth: int, abstract: bool) -> Iterator[_Item]:
    """Check one value, and return its parts."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        _check_text(name, value)
    elif isinstance(value, int):
        if value.bit_length() > _LONGEST_NUMBER:
            raise ValueError(f"{name} is a number of {value.bit_length()} bits: too long. Pass text.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, which JSON cannot hold. Pass a number or text.")
    elif isinstance(value, dict | list | tuple) or (abstract and _is_abstract(value)):
        if depth >= DEEPEST:
            whole = clean(name.partition("[")[0])
            raise ValueError(f"{whole} is nested deeper than {DEEPEST} levels, or contains itself.")
        yield from _items(name, value, depth + 1)
    else:
        kind = type(value).__name__
        raise ValueError(f"{clean(name)} is a {kind}, which JSON cannot hold. Pass {_instead(kind)}.")


def _is_abstract(value: object) -> TypeGuard[Sequence[object] | Mapping[object, object]]:
    return isinstance(value, Sequence | Mapping) and not isinstance(value, bytes | bytearray | memoryview)


def _items(name: str, value: Sequence[object] | Mapping[object, object], depth: int) -> Iterator[_Item]:
    if not isinstance(value, Mapping):
        for number, part in enumerate(value):
            yield f"{name}[{number}]", part, depth
        return
    for key, part in value.items():
        if not isinstance(key, str):
            raise ValueError(
                f"{clean(name)} has the key {clean(repr(key), 80)}, a {type(key).__name__}. The keys of JSON"
                " are text."
            )
        _check_text(f"a key of {name}", key)
        yield f"{name}[{clean(key, 80)!r}]", part, depth


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{clean(name)} has half of a character (a lone surrogate) at position {error.start}:"
            f" {clean(repr(text), 80)}. Pass whole text."
        ) from None


def _instead(kind: str) -> str:
    return {
        "Decimal": "a number or text",
        "date": "text, such as value.isoformat()",
        "datetime": "text, such as value.isoformat()",
        "set": "a list",
        "frozenset": "a list",
        "bytes": "text",
    }.get(kind, "text, numbers, true or false, None, lists and dicts")
