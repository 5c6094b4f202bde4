"""Read values from the body of a call. If a value is wrong, the answer is the platform's error."""

from __future__ import annotations

from typing import Any

from airflow_provider_qianfan.emulator.errors import inappropriate_json

Body = dict[str, Any]


def optional(body: Body, key: str, *kinds: type) -> Any:
    """
    Return a value; None if the key is missing.

    :raises ApiError: if the value has another type.
    """
    if key not in body:
        return None
    value = body[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise inappropriate_json(f"{key} has a wrong type.")
    return value


def required(body: Body, key: str, *kinds: type) -> Any:
    """
    Return a value that must be there, and must not be empty.

    :raises ApiError: if the value is missing or empty, or has another type.
    """
    value = optional(body, key, *kinds)
    if value in (None, "", []):
        raise inappropriate_json(f"{key} is missing or empty.")
    return value


def one_of(body: Body, key: str, values: tuple[str, ...]) -> str:
    """
    Return a text that must be one of ``values``.

    :raises ApiError: if it is another text.
    """
    value: str = required(body, key, str)
    if value not in values:
        raise inappropriate_json(f"{key} {value!r} is not one of {', '.join(values)}.")
    return value
