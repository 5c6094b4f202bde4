"""The lists of the emulated platform: in which order, and page by page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Page:
    """
    Which page of a list is asked for.

    :param max_keys: above 100 means 100.
    """

    marker: str
    max_keys: int
    page_reverse: bool

    @classmethod
    def of(cls, body: Body) -> Page:
        """
        Return the page that the body of a call asks for.

        :raises ApiError: if it cannot be.
        """
        max_keys = optional(body, "maxKeys", int)
        if max_keys is not None and max_keys < 1:
            raise inappropriate_json(f"maxKeys {max_keys} is below 1.")
        return cls(
            # An empty marker is undocumented; the echo of a first page is "", so it is taken for "from the
            # first row".
            marker=optional(body, "marker", str) or "",
            max_keys=min(DEFAULT_MAX_KEYS if max_keys is None else max_keys, _LIMIT_MAX_KEYS),
            page_reverse=bool(optional(body, "pageReverse", bool)),
        )

    def cut(self, things: list[Thing], behaviour: Behaviour) -> tuple[list[Thing], dict[str, Any]]:
        """
        Return the things of this page, and its ``pageInfo``.

        :param things: the whole list, in order.
        :raises ApiError: if nothing has the marker's id.
        """
        things = things[::-1] if self.page_reverse else things
        start = self._start(things, behaviour)
        shown, rest = things[start : start + self.max_keys], things[start + self.max_keys :]
        info = {"marker": self.marker, "maxKeys": self.max_keys, "isTruncated": bool(rest)}
        if rest:
            info["nextMarker"] = (rest[0] if behaviour.marker == "inclusive" else shown[-1]).id
        return shown, info

    def _start(self, things: list[Thing], behaviour: Behaviour) -> int:
        if not self.marker:
            return 0
        for index, thing in enumerate(things):
            if thing.id == self.marker:
                return index + 1 if behaviour.marker == "exclusive" else index
        raise ApiError(400, "InvalidMarker", f"The marker {self.marker} is invalid.")
