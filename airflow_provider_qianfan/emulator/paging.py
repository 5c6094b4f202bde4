"""The lists of the emulated platform: their order and their pages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_qianfan.emulator.body import Body, optional
from airflow_provider_qianfan.emulator.errors import ApiError, inappropriate_json
from airflow_provider_qianfan.emulator.things import Timed

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.behaviour import Behaviour

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq, table of body parameters; the list of services has
# the same: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/0lub6chm4
DEFAULT_MAX_KEYS = 10
_LIMIT_MAX_KEYS = 100

Thing = TypeVar("Thing", bound=Timed[Any, Any])


def in_order(things: Iterable[Thing], order: str) -> list[Thing]:
    """
    Return things in the order of a list action.

    :param order: the ``order`` of :class:`.behaviour.Behaviour`.
    """
    if order == "shuffled":
        return sorted(
            things, key=lambda thing: hashlib.sha256(thing.id.encode("utf-8", "surrogatepass")).digest()
        )
    # The sort is stable, so that among equal times the order of insertion counts.
    ordered = sorted(things, key=lambda thing: thing.created)
    return ordered if order == "oldest_first" else ordered[::-1]


def cut_page(body: Body, things: list[Thing], behaviour: Behaviour) -> tuple[list[Thing], dict[str, Any]]:
    """
    Return the things of the page that the body of a call asks for, and its ``pageInfo``.

    :param things: the whole list, in order.
    :raises ApiError: if there can be no such page, or no thing has the marker's id.
    """
    asked = optional(body, "maxKeys", int)
    if asked is not None and asked < 1:
        raise inappropriate_json(f"maxKeys {asked} is below 1.")
    max_keys = min(DEFAULT_MAX_KEYS if asked is None else asked, _LIMIT_MAX_KEYS)
    # An empty marker is undocumented. A first page repeats it as "", so it means the first row.
    marker: str = optional(body, "marker", str) or ""
    things = things[::-1] if optional(body, "pageReverse", bool) else things
    start = _start(things, marker, behaviour) if marker else 0
    shown, rest = things[start : start + max_keys], things[start + max_keys :]
    info = {"marker": marker, "maxKeys": max_keys, "isTruncated": bool(rest)}
    if rest:
        info["nextMarker"] = (rest[0] if behaviour.marker == "inclusive" else shown[-1]).id
    return shown, info


def _start(things: list[Thing], marker: str, behaviour: Behaviour) -> int:
    for index, thing in enumerate(things):
        if thing.id == marker:
            return index + 1 if behaviour.marker == "exclusive" else index
    raise ApiError(400, "InvalidMarker", f"The marker {marker} is invalid.")
