"""
Reading the body of an answer, and refusing what cannot go further.

The values read here reach a log, an XCom and a database. PostgreSQL stores no U+0000 and no lone surrogate,
JSON has no infinity, and no id has a control character. If an object has a key twice, nothing says which
value is meant. An answer that would take long to read is refused before it is parsed: a thread that parses
holds Python's lock, and the triggerer's event loop waits for it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

from airflow_provider_qianfan.api.text import UNSTORABLE, clean

MAX_NESTING = 50
"""Levels of objects and lists."""

MAX_CONTAINERS = 10_000
"""Objects and lists in one answer. A page of 100 tasks has about 200."""

MAX_VALUES = 30_000
"""Values in one answer, counted by their commas. A page of 100 tasks has about 1,500."""

MAX_QUOTES = 4 * MAX_VALUES
"""Two for each string, and each value may have a key."""

_QUICKLY_READ = 64 * 1024
"""Bytes. A shorter answer takes milliseconds to read, whatever it holds."""

_LONGEST_INTEGER = len(str(-(2**63)))
_LONGEST_FLOAT = 400
_LONGEST_KEY = 40

# An unfinished string ends with the text, so that no start is tried twice.
_STRINGS = re.compile(rb'"(?:[^"\\]+|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPED = re.compile(rb"\\(?:[bfnrt]|u(?:00[0189]|007[fF]|[dD][89a-fA-F]))")


class UnreadableError(ValueError):
    """
    The body cannot be read. The text says why, and ``path`` where.

    :ivar path: keys and indexes, from the whole to the part.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.path: list[str | int] = []

    def __str__(self) -> str:
        where = "".join(
            f"[{step}]" if isinstance(step, int) else f".{clean(step, _LONGEST_KEY)}" for step in self.path
        )
        return f"{where.removeprefix('.') or 'it'} {self.args[0]}"


class _Unfit:
    """Stands for a refused number or object until its place is known."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


_TO_LOOK_AT = frozenset({dict, list, _Unfit})


def _integer(digits: str) -> int | _Unfit:
    if len(digits) > _LONGEST_INTEGER:
        return _Unfit(f"is a number of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float | _Unfit:
    if len(digits) > _LONGEST_FLOAT:
        return _Unfit(f"is a number of {len(digits)} characters")
    number = float(digits)
    return number if math.isfinite(number) else _Unfit(f"is a number that is not finite ({digits[:20]})")


def _constant(name: str) -> _Unfit:
    return _Unfit(f"is {name}, which is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Unfit:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    again = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return _Unfit(f"has the key {clean(again, _LONGEST_KEY)} twice")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def weight(body: bytes) -> int:
    """Estimate the bytes that an answer takes in memory: its text, and 64 for each object and list."""
    return len(body) + 64 * (body.count(b"{") + body.count(b"["))


def read_object(body: bytes) -> dict[str, Any]:
    """
    Read the JSON object of an answer.

    :raises UnreadableError: if there is no object, or it holds a value that cannot go further.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not UTF-8 (at byte {error.start})") from None
    if len(body) > _QUICKLY_READ:
        _check_size(body)
    try:
        document = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is not JSON ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise UnreadableError(f"is nested more than {MAX_NESTING} deep") from None
    if isinstance(document, _Unfit):
        raise UnreadableError(document.why)
    if not isinstance(document, dict):
        raise UnreadableError("is not a JSON object")
    if _may_be_unfit(body, document):
        _check(document, 1)
    return document


def _check_size(body: bytes) -> None:
    """Refuse an answer that would take long to parse. Strings count only if there are too many."""
    if body.count(b'"') > MAX_QUOTES:
        raise UnreadableError(f"holds more than {MAX_QUOTES} quotation marks")
    for most, signs, what in (
        (MAX_CONTAINERS, (b"{", b"["), "objects and lists"),
        (MAX_VALUES, (b",",), "values"),
    ):
        if sum(map(body.count, signs)) > most and sum(map(_STRINGS.sub(b"", body).count, signs)) > most:
            raise UnreadableError(f"holds more than {most} {what}")


def _may_be_unfit(body: bytes, document: dict[str, Any]) -> bool:
    """
    Tell quickly whether the answer needs a closer look. A page of 100 tasks usually needs none.

    JSON wants U+0000 to U+001F escaped, UTF-8 has no lone surrogate, and U+0080 to U+009F begin with the byte
    C2.
    """
    if b"\x7f" in body or b"\xc2" in body or (b"\\" in body and _ESCAPED.search(body)):
        return True
    level: list[Any] = [document]
    for _ in range(MAX_NESTING):
        level = [
            value
            for container in level
            for value in (container.values() if container.__class__ is dict else container)
            if value.__class__ in _TO_LOOK_AT
        ]
        if not level:
            return False
        if _Unfit in set(map(type, level)):
            return True
    return True


def _check(container: dict[str, Any] | list[Any], depth: int) -> None:
    """Find an unfit value, and say where it is."""
    if depth > MAX_NESTING:
        raise UnreadableError(f"is nested more than {MAX_NESTING} deep")
    step: str | int | None = None
    try:
        for step, value in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(step, str) and not step.isprintable():
                _check_text(step)
            if not isinstance(value, str):
                _check_other(value, depth)
            elif not value.isprintable():
                _check_text(value, is_id=isinstance(step, str) and (step == "id" or step.endswith("Id")))
    except UnreadableError as error:
        if step is not None:
            error.path.insert(0, step)
        raise


def _check_other(value: object, depth: int) -> None:
    if isinstance(value, dict | list):
        _check(value, depth + 1)
    elif isinstance(value, _Unfit):
        raise UnreadableError(value.why)


def _check_text(text: str, *, is_id: bool = False) -> None:
    if found := UNSTORABLE.search(text):
        what = "a lone surrogate" if found[0] > "\0" else "a NUL character"
        raise UnreadableError(f"holds {what} (U+{ord(found[0]):04X}), which cannot be stored")
    if is_id and (found := _CONTROL.search(text)):
        raise UnreadableError(f"holds a control character (U+{ord(found[0]):04X})")
