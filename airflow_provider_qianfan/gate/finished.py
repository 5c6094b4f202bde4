"""
Which finished model compression tasks are news: tasks that a watcher still has to report.

A watcher reads the list again and again. It has to report each task that finishes, and only once. It does not
go by time alone, but remembers what it reported: times and orders may be wrong, and a task may have no time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeGuard

from airflow_provider_qianfan.api.model_compression import (
    CREATING,
    FINISHED,
    RUNNING,
    STOPPING,
    SUCCEEDED,
    ModelCompTask,
)
from airflow_provider_qianfan.gate.memory import is_number
from airflow_provider_qianfan.gate.outcome import described_by, usable_model_id

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

_MOST_REPORTED = 36_000
_MOST_UNFINISHED = 24_000
"""Bytes of ids that a ledger holds. Airflow warns of values in its state store from 65,535 bytes up."""

_CLOCKS_DIFFER = 1800.0
"""Seconds. If our clock and the platform's differ more, the platform refuses our requests."""

_BEFORE_THE_END = (CREATING, RUNNING, STOPPING)

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
    What a watcher knows, and keeps between its starts. :func:`find_news` bounds its size.

    Ledgers that differ only in ``horizon`` and ``looked_at`` are equal: it is enough to store such a
    change now and then.

    :param horizon: seconds since the epoch. If a task is not in this ledger, and ended earlier, it is not
        news.
    :param unfinished: ids of tasks that the watcher saw before they finished.
    :param reported: event ids that need no report: they were reported, or were there when the watch began.
    :param undated: whether a task without any time is news if it is not in this ledger. False if there were
        too many such tasks to keep them all.
    :param account: which account was read, if that is known.
    :param looked_at: when the list was last read, in seconds since the epoch. It may lag by some minutes.
    :param begun: whether the list has had a task yet. If not, tasks that finished after the horizon are news.
    :param beginning_since: from which time on the watch reports, in seconds since the epoch, while no reading
        has been complete; else None. While it is set, a finished task that the watcher has not seen before
        may be an old one, whose row was left out. It is news only if it ended at this time or later.
    """

    horizon: float = field(compare=False)
    unfinished: frozenset[str] = frozenset()
    reported: frozenset[str] = frozenset()
    undated: bool = True
    account: str = ""
    looked_at: float = field(default=0.0, compare=False)
    begun: bool = True
    beginning_since: float | None = None

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
            "begun": self.begun,
            "beginning_since": self.beginning_since,
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
        beginning_since = value.get("beginning_since")
        return cls(
            float(value["horizon"]),
            frozenset(unfinished),
            frozenset(reported),
            undated is not False,
            account if isinstance(account, str) else "",
            float(looked_at) if is_number(looked_at) else 0.0,
            value.get("begun") is not False,
            float(beginning_since) if is_number(beginning_since) else None,
        )

    def with_reported(self, event_ids: Sequence[str]) -> Ledger:
        """Remember what Airflow has stored."""
        done = {event_id.rpartition(":")[0] for event_id in event_ids}
        return replace(
            self, reported=self.reported.union(event_ids), unfinished=self.unfinished.difference(done)
        )

    def without_reported(self, event_ids: Sequence[str]) -> Ledger:
        """Forget that events were stored, so that they are news again."""
        again = {event_id.rpartition(":")[0] for event_id in event_ids}
        return replace(
            self, reported=self.reported.difference(event_ids), unfinished=self.unfinished.union(again)
        )

    def merged(self, other: Ledger) -> Ledger:
        """Add what another triggerer has stored meanwhile for the same watcher."""
        if not other.begun:
            return self
        if not self.begun:
            return other
        return replace(
            self,
            horizon=max(self.horizon, other.horizon),
            reported=self.reported | other.reported,
            undated=self.undated and other.undated,
            beginning_since=None if other.beginning_since is None else self.beginning_since,
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
    for task, ended in zip(tasks, _ends(tasks, now), strict=True):
        # Nothing needs to remember an older task: it is beyond the horizon.
        recent = ended == _UNKNOWN or horizon <= ended < since
        if recent and task.status in interest.statuses and interest.covers(task):
            known.add(event_id_of(task))
    return Ledger(horizon, reported=frozenset(known), beginning_since=since)


def go_on_beginning(
    tasks: Sequence[ModelCompTask], interest: Interest, ledger: Ledger, now: float, *, complete: bool
) -> Ledger:
    """
    Until a reading is complete, treat a finished task that was not seen before as if the watch began with it.

    :param now: seconds since the epoch.
    :param complete: whether this reading leaves nothing out.
    """
    if ledger.beginning_since is None:
        return ledger
    strange = [task for task in tasks if task.id not in ledger.unfinished]
    begun = begin(strange, interest, ledger.beginning_since, now)
    since = None if complete else ledger.beginning_since
    return replace(ledger, reported=ledger.reported | begun.reported, beginning_since=since)


def begin_again(tasks: Sequence[ModelCompTask], interest: Interest, before: Ledger, now: float) -> Ledger:
    """
    Go on with a watch whose connection has another key, and maybe another account.

    What has finished since the last look is news. What finished before the last look is not.
    """
    strange = [task for task in tasks if task.id not in before.unfinished]
    since = before.looked_at - _CLOCKS_DIFFER
    if before.beginning_since is not None:
        since = max(since, before.beginning_since)
    begun = begin(strange, interest, since, now)
    return replace(
        begun,
        horizon=max(begun.horizon, before.horizon),  # it may be the same account
        unfinished=before.unfinished,
        reported=begun.reported | before.reported,
    )


def find_news(tasks: Sequence[ModelCompTask], interest: Interest, ledger: Ledger, now: float) -> News:
    """
    Find what to report in a reading of the list.

    :param now: seconds since the epoch.
    """
    news: list[ModelCompTask] = []
    unnamed: list[ModelCompTask] = []
    unfinished = set(ledger.unfinished)
    oldest_news = _UNKNOWN
    for task, ended in zip(tasks, _ends(tasks, now), strict=True):
        if not interest.covers(task):
            continue
        if task.status in _BEFORE_THE_END:
            unfinished.add(task.id)
            continue
        dated = ended != _UNKNOWN
        if task.id not in ledger.unfinished and not (ended >= ledger.horizon if dated else ledger.undated):
            continue
        if task.status not in FINISHED:
            # A status that is not documented may come before the end. But a row without a time may be old.
            if dated:
                unfinished.add(task.id)
        elif task.status not in interest.statuses or event_id_of(task) in ledger.reported:
            unfinished.discard(task.id)
        else:
            # Until Airflow has stored the event, nothing may forget that this is news.
            unfinished.add(task.id)
            oldest_news = min(oldest_news, ended)
            usable = task.status != SUCCEEDED or usable_model_id(task)
            (news if usable else unnamed).append(task)
    known = replace(ledger, unfinished=frozenset(unfinished), looked_at=now)
    known = _with_fewer_reported(known, tasks, now)
    known = _with_later_horizon(known, tasks, oldest_news, now)
    return News(known, in_order(news, now), tuple(unnamed))


def named_by(detail: ModelCompTask, task: ModelCompTask) -> ModelCompTask | None:
    """Return a task that names no model as its detail describes it; None if that names none either."""
    whole = described_by(detail, task)
    return whole if whole and whole.status == task.status and usable_model_id(whole) else None


def in_order(tasks: Iterable[ModelCompTask], now: float) -> tuple[ModelCompTask, ...]:
    """Sort tasks: the oldest end first, those without a time last."""
    return tuple(sorted(tasks, key=lambda task: (_end(_times(task), now), task.id)))


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

_Times = tuple[float | None, float | None]


def _times(task: ModelCompTask) -> _Times:
    """Return when a task finished and when it was created, in seconds since the epoch."""
    finish, create = task.finish_time, task.create_time
    return (None if finish is None else finish.timestamp(), None if create is None else create.timestamp())


_last_read: tuple[Sequence[ModelCompTask], list[_Times]] = ((), [])
"""The times of the list that was read last: many watchers look at the same one."""


def _times_of(tasks: Sequence[ModelCompTask]) -> list[_Times]:
    global _last_read  # noqa: PLW0603
    if _last_read[0] is not tasks:
        _last_read = (tasks, [_times(task) for task in tasks])
    return _last_read[1]


def _end(times: _Times, now: float) -> float:
    """Return when a task ended. If it does not say, return when it was created; or infinity."""
    for time in times:
        if _is_past(time, now):
            return time
    return _UNKNOWN


def _ends(tasks: Sequence[ModelCompTask], now: float) -> list[float]:
    return [_end(times, now) for times in _times_of(tasks)]


def _with_later_horizon(
    ledger: Ledger, tasks: Sequence[ModelCompTask], oldest_news: float, now: float
) -> Ledger:
    """
    Move the horizon up, behind the newest time that the platform told, but not beyond unreported news.

    If there are too many unfinished tasks, forget those first that are news by their times as well.
    """
    ends = dict(zip((task.id for task in tasks), _ends(tasks, now), strict=True))
    kept = ledger.unfinished
    if _size(kept) > _MOST_UNFINISHED:

        def importance(task_id: str) -> tuple[bool, float, str]:
            if task_id not in ends:  # deleted, or lost by a page
                return True, 0.0, task_id
            unknown = ends[task_id] == _UNKNOWN
            counts = ledger.undated and ledger.beginning_since is None
            return False, -_UNKNOWN if unknown and not counts else ends[task_id], task_id

        kept = frozenset(_as_many(sorted(kept, key=importance), _MOST_UNFINISHED))
    told = (time for times in _times_of(tasks) for time in times if _is_past(time, now))
    newest = max(told, default=-_UNKNOWN)
    forgotten = (ends.get(task_id, _UNKNOWN) for task_id in ledger.unfinished - kept)
    horizon = min(newest - SKEW, oldest_news, *forgotten)
    return replace(ledger, unfinished=kept, horizon=max(ledger.horizon, horizon))


def _is_past(time: float | None, now: float) -> TypeGuard[float]:
    return time is not None and time <= now + _TIMES_AHEAD


def _with_fewer_reported(ledger: Ledger, tasks: Sequence[ModelCompTask], now: float) -> Ledger:
    """
    If the ledger has too many reported tasks, forget some of them.

    First forget the tasks that the platform no longer lists, then the oldest. The horizon moves up to them,
    so that they do not become news again. If too many tasks have no time, forget all of those.
    """
    if _size(ledger.reported) <= _MOST_REPORTED or not tasks:  # an empty list may be a mistake
        return ledger
    ends = dict(zip(map(event_id_of, tasks), _ends(tasks, now), strict=True))
    by_age = sorted(ledger.reported, key=lambda event_id: (ends.get(event_id, 0.0), event_id), reverse=True)
    kept = frozenset(_as_many(by_age, _MOST_REPORTED))
    lost = [ends[event_id] for event_id in ledger.reported - kept if event_id in ends]
    if _UNKNOWN in lost:
        dated = frozenset(each for each in ledger.reported if ends.get(each) != _UNKNOWN)
        return _with_fewer_reported(replace(ledger, reported=dated, undated=False), tasks, now)
    horizon = max([ledger.horizon, *(time + 0.001 for time in lost)])
    return replace(ledger, reported=kept, horizon=horizon)


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
