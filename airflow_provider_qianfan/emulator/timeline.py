"""What the things of a world have in common: steps in time, rows with patches, times as text, lists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from airflow_provider_qianfan.emulator.errors import ApiError
from airflow_provider_qianfan.emulator.scenario import NO_PATCH, AnyStep, Patch

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.scenario import Behaviour

_BEIJING = timezone(timedelta(hours=8))
_PLATFORM_ZERO = "0000-00-00T00:00:00Z"

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq, table of body parameters; the list of services has
# the same: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/0lub6chm4
DEFAULT_MAX_KEYS = 10
_LIMIT_MAX_KEYS = 100

Where = Literal["list", "detail"]
S = TypeVar("S", bound=AnyStep)


@dataclass(slots=True, kw_only=True)
class Timed(Generic[S]):
    """Something whose state follows from its steps and the clock."""

    id: str
    created: datetime
    steps: tuple[S, ...]
    patch: Patch = NO_PATCH
    in_list: Patch = NO_PATCH
    in_detail: Patch = NO_PATCH

    def age(self, now: datetime) -> float:
        """Return the world seconds since the creation."""
        return (now - self.created).total_seconds()

    def past(self, now: datetime) -> tuple[S, ...]:
        """Return the steps that have been taken; the first one always has."""
        age = self.age(now)
        return (self.steps[0], *(step for step in self.steps[1:] if step.after <= age))

    def step(self, now: datetime) -> S:
        """Return the step that it is at."""
        return self.past(now)[-1]

    def divert(self, now: datetime, *steps: S) -> None:
        """
        Replace what has not happened yet.

        :param steps: the new future; their ``after`` is relative to ``now``.
        """
        age = self.age(now)
        self.steps = self.past(now) + tuple(replace(step, after=age + step.after) for step in steps)

    def patched(self, row: dict[str, Any], step: AnyStep, only: Patch, step_only: Patch) -> dict[str, Any]:
        """
        Return a row as this thing and its step want it.

        :param only: this thing's patch for the action that the row is for.
        :param step_only: the step's.
        """
        for patch in (self.patch, Patch(set=step.set, omit=step.omit), only, step_only):
            row = patch.apply(row)
        return row


T = TypeVar("T", bound=Timed[Any])


def existing(things: Iterable[T], now: datetime, order: str) -> list[T]:
    """
    Return what has been created by now, in the order of a list action.

    :param order: the ``order`` of :class:`.scenario.Behaviour`.
    """
    found = [thing for thing in things if thing.created <= now]
    if order == "shuffled":
        return sorted(
            found, key=lambda thing: hashlib.sha256(thing.id.encode("utf-8", "surrogatepass")).digest()
        )
    # The sort is stable, so that among equal times the order of insertion counts.
    found.sort(key=lambda thing: thing.created)
    return found if order == "oldest_first" else found[::-1]


def page(
    things: list[T], behaviour: Behaviour, marker: str | None, max_keys: int, page_reverse: bool
) -> tuple[list[T], dict[str, Any]]:
    """
    Return the things of one page of a list, and its ``pageInfo``.

    :param max_keys: above 100 means 100.
    :raises ApiError: if nothing has the marker's id.
    """
    max_keys = min(max_keys, _LIMIT_MAX_KEYS)
    things = things[::-1] if page_reverse else things
    start = _start(things, marker, behaviour)
    shown, rest = things[start : start + max_keys], things[start + max_keys :]
    info: dict[str, Any] = {"marker": marker or "", "maxKeys": max_keys, "isTruncated": bool(rest)}
    if rest:
        info["nextMarker"] = (rest[0] if behaviour.marker == "inclusive" else shown[-1]).id
    return shown, info


def _start(things: list[T], marker: str | None, behaviour: Behaviour) -> int:
    # An empty marker is undocumented; the echo of a first page is "", so it is taken for "from the first
    # row".
    if not marker:
        return 0
    for index, thing in enumerate(things):
        if thing.id == marker:
            return index + 1 if behaviour.marker == "exclusive" else index
    raise ApiError(400, "InvalidMarker", f"The marker {marker} is invalid.")


def time_text(moment: datetime, kind: str) -> str | None:
    """
    Return a time as an answer has it, or None if it does not.

    :param kind: the ``time_format`` or ``unfinished_time`` of :class:`.scenario.Behaviour`.
    """
    if kind == "offset":
        return moment.astimezone(_BEIJING).isoformat(timespec="seconds")
    if kind == "z":
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"zero": _PLATFORM_ZERO, "empty": "", "absent": None}[kind]


def given(texts: dict[str, str | None]) -> dict[str, Any]:
    """Return the keys that have a text."""
    return {key: text for key, text in texts.items() if text is not None}
