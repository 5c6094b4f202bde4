"""
Which finished model compression tasks are news: tasks that a watcher still has to report.

A watcher reads the list again and again. It has to report each task that finishes, and only once. It does not
go by time alone, but remembers what it reported: times and orders may be wrong, and a task may have no time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeGuard

from airflow_provider_qianfan.api.model_compression import FINISHED, SUCCEEDED, ModelCompTask
from airflow_provider_qianfan.gate.memory import is_number
from airflow_provider_qianfan.gate.outcome import usable_model_id

SKEW = 3600.0
"""
Seconds. If a watcher has never seen a task, the task is news only if it ended at most this long before the
watch began, and at most this long before the newest time in the last reading. An older task is not news. Such
a task may appear, for example, because an earlier reading had lost its row.
"""

MOST_TASKS = 100
"""The most tasks in one event."""

MOST_BYTES = 100_000
"""The most that the tasks of one event may take, as JSON. If the first task takes more, it goes alone."""

_LONGEST_CONFIG = 4_000
"""Characters of JSON. The event does not have a ``config`` that is longer."""

_LARGEST = 48_000
"""
The most bytes of ids in a ledger. Airflow warns if a value in its state store has 65,535 bytes or more.
"""

_TIMES_AHEAD = SKEW
"""Seconds. If a time is further ahead of our clock, it is a mistake, and counts as unknown."""


@dataclass(frozen=True, slots=True)
class Interest:
    """
    Which tasks a watcher reports. A task has to meet all that are given.

    :param statuses: the statuses that are reported: ``succeeded``, ``failed``, ``stopped``.
    :param source_model_id: the model version being compressed.
    :param name: the name of the task.
    :param name_pattern: a pattern for the name, with ``*``, ``?`` and ``[…]``.
    """

    statuses: tuple[str, ...]
    source_model_id: str | None = None
    name: str | None = None
    name_pattern: str | None = None

    def covers(self, task: ModelCompTask) -> bool:
        """Tell whether the task has to be reported when it gets one of the statuses."""
        return (
            self.source_model_id in (None, task.source_model_id)
            and self.name in (None, task.name)
            and (self.name_pattern is None or fnmatchcase(task.name or "", self.name_pattern))
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """
    What a watcher knows, and keeps between its starts. Its size is bounded.

    :param horizon: seconds since the epoch. If a task is not in this ledger, and ended earlier, it is not
        news.
    :param unfinished: ids of tasks that the watcher saw before they finished.
    :param reported: event ids that need no report: they were reported, or were there when the watch began.
    :param undated: whether a task without any time is news if it is not in this ledger. False if there were
        too many such tasks to keep them all.
    :param account: which account was read, if that is known.
    :param looked_at: when the list was last read, in seconds since the epoch. It may lag by some minutes.
    """

    horizon: float
    unfinished: frozenset[str] = frozenset()
    reported: frozenset[str] = frozenset()
    undated: bool = True
    account: str = ""
    looked_at: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "version": 1,
            "horizon": self.horizon,
            "unfinished": sorted(self.unfinished),
            "reported": sorted(self.reported),
            "undated": self.undated,
            "account": self.account,
            "looked_at": self.looked_at,
        }

    @classmethod
    def from_json(cls, value: object) -> Ledger | None:
        """Read what :meth:`to_json` wrote, maybe in another version; None if anything is missing."""
        if not isinstance(value, Mapping) or not is_number(value.get("horizon")):
            return None
        unfinished, reported = value.get("unfinished"), value.get("reported")
        if not _are_texts(unfinished) or not _are_texts(reported):
            return None
        undated, account, looked_at = value.get("undated"), value.get("account"), value.get("looked_at")
        return cls(
            float(value["horizon"]),
            frozenset(unfinished),
            frozenset(reported),
            undated is not False,
            account if isinstance(account, str) else "",
            float(looked_at) if is_number(looked_at) else 0.0,
        )

    def with_reported(self, event_ids: Sequence[str]) -> Ledger:
        """Remember what Airflow has stored."""
        done = {event_id.rpartition(":")[0] for event_id in event_ids}
        return replace(
            self, reported=self.reported.union(event_ids), unfinished=self.unfinished.difference(done)
        )

    def merged(self, other: Ledger) -> Ledger:
        """Add what another triggerer has stored meanwhile for the same watcher."""
        return replace(
            self,
            horizon=max(self.horizon, other.horizon),
            reported=self.reported | other.reported,
            undated=self.undated and other.undated,
        )


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


class News(NamedTuple):
    """
    What a look found.

    :param ledger: what is known now. The tasks of this look do not count as reported yet.
    :param tasks: what to report, the oldest first.
    :param unnamed: tasks that succeeded, but name no model to deploy.
    """

    ledger: Ledger
    tasks: tuple[ModelCompTask, ...]
    unnamed: tuple[ModelCompTask, ...]


def event_id_of(task: ModelCompTask) -> str:
    """Return an id for this task with this status. It is the same in all events."""
    return f"{task.id}:{task.status}"


def begin(tasks: Sequence[ModelCompTask], interest: Interest, since: float, now: float) -> Ledger:
    """
    Begin a watch. What has finished by now is not news, unless its time is after ``since``.

    :param since: seconds since the epoch.
    :param now: seconds since the epoch.
    """
    horizon, known = since - SKEW, set()
    for task in tasks:
        ended = _ended(task, now)
        # Nothing needs to remember an older task: it is beyond the horizon.
        recent = ended == _UNKNOWN or horizon <= ended < since
        if recent and task.status in interest.statuses and interest.covers(task):
            known.add(event_id_of(task))
    return _bounded(Ledger(horizon, reported=frozenset(known)), tasks, now)


def begin_again(tasks: Sequence[ModelCompTask], interest: Interest, before: Ledger, now: float) -> Ledger:
    """
    Go on with a watch whose connection has another key, and maybe another account.

    What has finished since the last look is news. What finished before the last look is not.
    """
    strange = [task for task in tasks if task.id not in before.unfinished]
    begun = begin(strange, interest, before.looked_at, now)
    return replace(begun, unfinished=before.unfinished, reported=begun.reported | before.reported)


def find_news(tasks: Sequence[ModelCompTask], interest: Interest, ledger: Ledger, now: float) -> News:
    """
    Find what to report in a complete reading of the list.

    :param now: seconds since the epoch.
    """
    news: list[ModelCompTask] = []
    unnamed: list[ModelCompTask] = []
    unfinished = set(ledger.unfinished)
    for task in filter(interest.covers, tasks):
        if task.status not in FINISHED:
            unfinished.add(task.id)
        elif not _is_news(task, interest, ledger, now):
            unfinished.discard(task.id)
        else:
            # Until Airflow has stored the event, nothing may forget that this is news.
            unfinished.add(task.id)
            usable = task.status != SUCCEEDED or usable_model_id(task)
            (news if usable else unnamed).append(task)
    news.sort(key=lambda task: (_ended(task, now), task.id))
    newest = _newest_time(tasks, now)
    horizon = ledger.horizon if newest is None else max(ledger.horizon, newest - SKEW)
    known = replace(ledger, unfinished=frozenset(unfinished), horizon=horizon, looked_at=now)
    return News(_bounded(known, tasks, now), tuple(news), tuple(unnamed))


def _is_news(task: ModelCompTask, interest: Interest, ledger: Ledger, now: float) -> bool:
    if task.status not in interest.statuses or event_id_of(task) in ledger.reported:
        return False
    if task.id in ledger.unfinished:
        return True
    ended = _ended(task, now)
    return ledger.undated if ended == _UNKNOWN else ended >= ledger.horizon


def first_batch(tasks: Sequence[ModelCompTask]) -> list[dict[str, Any]]:
    """Return the content of one event: as many of the first tasks as it may have."""
    batch: list[dict[str, Any]] = []
    size = 0
    for task in tasks[:MOST_TASKS]:
        told = tell(task)
        size += len(json.dumps(told, ensure_ascii=False).encode())
        if batch and size > MOST_BYTES:
            break
        batch.append(told)
    return batch


def tell(task: ModelCompTask) -> dict[str, Any]:
    """Return what an event says of a task, in plain JSON values."""
    config = task.json.get("config")
    if len(json.dumps(config, ensure_ascii=False)) > _LONGEST_CONFIG:
        config = None
    return {
        "event_id": event_id_of(task),
        "id": task.id,
        "status": task.status,
        "model_id": task.model_id if usable_model_id(task) else None,
        "source_model_id": task.source_model_id,
        "name": task.name,
        "create_time": _iso(task.create_time),
        "finish_time": _iso(task.finish_time),
        "config": config,
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


_UNKNOWN = float("inf")


def _ended(task: ModelCompTask, now: float) -> float:
    """Return when the task ended. If it does not say, return when it was created; or infinity."""
    for time in (task.finish_time, task.create_time):
        if time is not None and time.timestamp() <= now + _TIMES_AHEAD:
            return time.timestamp()
    return _UNKNOWN


def _newest_time(tasks: Sequence[ModelCompTask], now: float) -> float | None:
    """Return the newest time that the platform told; None if it told none."""
    times = (
        time.timestamp()
        for task in tasks
        for time in (task.create_time, task.finish_time)
        if time is not None
    )
    return max((time for time in times if time <= now + _TIMES_AHEAD), default=None)


def _bounded(ledger: Ledger, tasks: Sequence[ModelCompTask], now: float) -> Ledger:
    """
    If the ledger is too large, forget some of it.

    First forget the tasks that the platform no longer lists, then the oldest. The horizon moves up to them,
    so that they do not become news again. If too many tasks have no time, forget all of those.
    """
    if _size(ledger.unfinished) > _LARGEST / 4:
        by_age = sorted(tasks, key=lambda task: (_ended(task, now), task.id), reverse=True)
        open_ids = [task.id for task in by_age if task.id in ledger.unfinished]
        ledger = replace(ledger, unfinished=frozenset(_as_many(open_ids, _LARGEST / 4)))
    if _size(ledger.reported) <= _LARGEST:
        return ledger
    ended = {event_id_of(task): _ended(task, now) for task in tasks}
    kept = sorted(ledger.reported & ended.keys(), key=lambda event_id: (ended[event_id], event_id))
    kept = _as_many(kept[::-1], _LARGEST)
    lost = [ended[event_id] for event_id in ledger.reported & ended.keys() - set(kept)]
    if _UNKNOWN in lost:
        kept = [event_id for event_id in ledger.reported & ended.keys() if ended[event_id] != _UNKNOWN]
        return _bounded(replace(ledger, reported=frozenset(kept), undated=False), tasks, now)
    horizon = max([ledger.horizon, *(time + 0.001 for time in lost)])
    return replace(ledger, reported=frozenset(kept), horizon=horizon)


def _size(ids: frozenset[str]) -> int:
    return sum(len(text.encode()) + 4 for text in ids)


def _as_many(ids: Sequence[str], size: float) -> list[str]:
    """Return the first ids that fit."""
    kept: list[str] = []
    for text in ids:
        size -= len(text.encode()) + 4
        if size < 0:
            break
        kept.append(text)
    return kept
