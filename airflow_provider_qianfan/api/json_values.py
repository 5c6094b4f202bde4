"""
What JSON can hold.

Checked before a request is made, and at a DAG file's parse, which pays for every import here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from airflow_provider_qianfan.api.errors import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEEPEST = 50
"""Levels of lists and objects: more are a mistake, or a value that contains itself."""

_MOST_VALUES = 100_000
_LONGEST_NUMBER = 1024
"""Bits: Python refuses to write numbers that are much longer."""

_Item = tuple[str, object, int]


def check_json(name: str, value: object, *, skip: Callable[[object], bool] = lambda _: False) -> None:
    """
    Check that JSON can hold a value; a tuple is a list to it.

    :param name: what the value is called, such as ``config``; messages name the part that is wrong.
    :param skip: tells which parts are not known yet, such as templates at parse.
    :raises ValueError: naming what it cannot hold.
    """
    left: list[_Item] = [(name, value, 0)]
    seen = 0
    while left:
        item = left.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise ValueError(f"{name} holds more than {_MOST_VALUES} values. Pass less.")
        if not skip(item[1]):
            left.extend(_parts(*item))


def _parts(name: str, value: object, depth: int) -> Iterator[_Item]:
    """Check a value as such, and return what is in it."""
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
    elif isinstance(value, dict | list | tuple):
        if depth >= DEEPEST:
            whole = clean(name.partition("[")[0])
            raise ValueError(f"{whole} is nested deeper than {DEEPEST} levels, or contains itself.")
        yield from _items(name, value, depth + 1)
    else:
        kind = type(value).__name__
        raise ValueError(f"{clean(name)} is a {kind}, which JSON cannot hold. Pass {_instead(kind)}.")


def _items(
    name: str, value: dict[object, object] | list[object] | tuple[object, ...], depth: int
) -> Iterator[_Item]:
    if not isinstance(value, dict):
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
