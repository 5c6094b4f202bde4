"""
Which finished model compression tasks are news.

A watcher reads the list again and again. It has to report each task that finishes, and to report it once.
What was reported decides, not the time alone: clocks and orders may be wrong, and a task may have no time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeGuard

from airflow_provider_qianfan.api.model_compression import FINISHED, SUCCEEDED, ModelCompTask
from airflow_provider_qianfan.gate.memory import is_number
from airflow_provider_qianfan.gate.outcome import usable_model_id

SKEW = 3600.0
"""
Seconds by which the platform's clock may be behind ours. If a watcher has never seen a task, the task is news
only if it ended, as it says, at most so long before the watch began.
"""

MOST_TASKS = 100
"""The most tasks in one event."""

MOST_BYTES = 100_000
"""The most that the tasks of one event may take, as JSON. One task may take more than that by itself."""

_LONGEST_CONFIG = 4_000
"""Characters of JSON. A longer ``config`` is left out of the event."""

_LARGEST = 48_000
"""
Bytes of ids that a ledger holds. Airflow warns of values in its state store from 65,535 bytes up.
"""

_TIMES_AHEAD = 3600.0
"""Seconds. A time that is further ahead of our clock is a mistake, and counts as unknown."""


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
        """Tell whether the task is one to report as soon as it has one of the statuses."""
        return (
            self.source_model_id in (None, task.source_model_id)
            and self.name in (None, task.name)
            and (self.name_pattern is None or fnmatchcase(task.name or "", self.name_pattern))
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """
    What a watcher knows, and keeps between its runs. Its size is bounded.

    :param horizon: seconds since the epoch. A task that is not known, and ended before this, is history.
    :param unfinished: ids of tasks that were seen before they finished.
    :param reported: event ids that need no report: they were reported, or were there when the watch began.
    :param undated: whether a task without any time is news if it is not known. No longer, once there are too
        many of them to know them all.
    """

    horizon: float
    unfinished: frozenset[str] = frozenset()
    reported: frozenset[str] = frozenset()
    undated: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "version": 1,
            "horizon": self.horizon,
            "unfinished": sorted(self.unfinished),
            "reported": sorted(self.reported),
            "undated": self.undated,
        }

    @classmethod
    def from_json(cls, value: object) -> Ledger | None:
        """Read what :meth:`to_json` wrote, maybe in another version; None if anything is missing."""
        if not isinstance(value, Mapping) or not is_number(value.get("horizon")):
            return None
        unfinished, reported = value.get("unfinished"), value.get("reported")
        if not _are_texts(unfinished) or not _are_texts(reported):
            return None
        undated = value.get("undated") is not False
        return cls(float(value["horizon"]), frozenset(unfinished), frozenset(reported), undated)

    def with_reported(self, event_ids: Sequence[str]) -> Ledger:
        """Remember what Airflow has stored."""
        done = {event_id.rpartition(":")[0] for event_id in event_ids}
        return replace(
            self, reported=self.reported.union(event_ids), unfinished=self.unfinished.difference(done)
        )

    def merged(self, other: Ledger) -> Ledger:
        """Add what another run of the same watcher has stored meanwhile."""
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

    :param ledger: what is known now. Nothing counts as reported because of this look.
    :param tasks: what to report, the oldest first.
    :param unnamed: tasks that succeeded, but name no model to deploy.
    """

    ledger: Ledger
    tasks: tuple[ModelCompTask, ...]
    unnamed: tuple[ModelCompTask, ...]


def event_id_of(task: ModelCompTask) -> str:
    """Return the id that all events about the task's having this status share."""
    return f"{task.id}:{task.status}"


def begin(tasks: Sequence[ModelCompTask], interest: Interest, since: float, now: float) -> Ledger:
    """
    Begin a watch: what has finished by now is history, unless it says that it finished after ``since``.

    :param since: seconds since the epoch.
    :param now: seconds since the epoch.
    """
    known = set()
    for task in tasks:
        ended = _ended(task, now)
        # Nothing needs to remember an older task: it is beyond the horizon.
        recent = ended == _UNKNOWN or since - SKEW <= ended < since
        if recent and task.status in interest.statuses and interest.covers(task):
            known.add(event_id_of(task))
    return _bounded(Ledger(since - SKEW, reported=frozenset(known)), tasks, now)


def find_news(tasks: Sequence[ModelCompTask], interest: Interest, ledger: Ledger, now: float) -> News:
    """
    Find what to report, in a complete reading of the list.

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
    known = _bounded(replace(ledger, unfinished=frozenset(unfinished)), tasks, now)
    return News(known, tuple(news), tuple(unnamed))


def _is_news(task: ModelCompTask, interest: Interest, ledger: Ledger, now: float) -> bool:
    if task.status not in interest.statuses or event_id_of(task) in ledger.reported:
        return False
    if task.id in ledger.unfinished:
        return True
    ended = _ended(task, now)
    return ledger.undated if ended == _UNKNOWN else ended >= ledger.horizon


def first_batch(tasks: Sequence[ModelCompTask]) -> list[dict[str, Any]]:
    """Return what one event says of the first of these tasks: of as many as it may hold."""
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
    """Return when the task ended, as far as it says: at the earliest when it was created."""
    for time in (task.finish_time, task.create_time):
        if time is not None and time.timestamp() <= now + _TIMES_AHEAD:
            return time.timestamp()
    return _UNKNOWN


def _bounded(ledger: Ledger, tasks: Sequence[ModelCompTask], now: float) -> Ledger:
    """
    Forget what is too much.

    First the tasks go that the platform no longer lists. Then the oldest go, and the horizon moves up to
    them, so that they do not become news again. If there are too many without a time, all of those go.
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
