"""The model compression tasks that a watcher reported to a DAG."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_qianfan.api.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import Asset

log = logging.getLogger(__name__)

LATE = timedelta(hours=1)
"""How late an event may reach the log, after the time that it bears: clocks differ, a commit takes time."""
AT_ONCE = timedelta(seconds=10)
"""Events so close together count as one, where a DAG begins: they may reach the log in any order."""
REMEMBERED = 1000
"""How many of the newest takings are read, to find out what was taken."""


class FinishedModelCompTask(TypedDict):
    """
    A finished model compression task, as an event of ``QianfanModelCompTaskEventTrigger`` has it.

    It is a plain dict of JSON values, so it goes through XComs and ``expand()`` as it is. Times are ISO 8601,
    in UTC.

    :param event_id: the same whenever this task is reported with this status.
    :param id: the model compression task's id, ``amva-…``.
    :param status: ``succeeded``, ``failed`` or ``stopped``.
    :param model_id: the produced model version, ``amv-…``. A succeeded task always has one.
    :param source_model_id: the model version that was compressed, ``amv-…``.
    :param name: the task's name.
    :param create_time: when the task was created.
    :param finish_time: when the task finished.
    :param config: how the model was compressed, as the platform tells it.
    """

    event_id: str
    id: str
    status: str
    model_id: str | None
    source_model_id: str | None
    name: str | None
    create_time: str | None
    finish_time: str | None
    config: dict[str, Any] | None


def finished_tasks(context: Mapping[str, Any], *, taken: Asset | None = None) -> list[FinishedModelCompTask]:
    """
    Return the model compression tasks that started this DAG run, oldest finish first, each event id once.

    With ``taken``, each event id is handed out to one DAG run, although Airflow may repeat, merge or leave
    behind events, or start two runs for one. The whole event log of the watched assets counts then, not only
    the events that started this run. What is returned is noted in an event of ``taken``, which Airflow stores
    together with the success of the task. So a task that fails has taken nothing, and a task that you clear
    gets its own ones again.

    The first run begins with the newest event that started it. What is more than ten seconds older is
    history, and left alone. A first run that you trigger yourself begins with what is reported from then on.

    :param context: the context of the running Airflow task.
    :param taken: an asset for the notes, of this task alone. It has to be among the task's inlets and its
        outlets. The watched asset has to be among the inlets, too, and the task needs
        ``max_active_tis_per_dag=1``. Default: only the events that started this run count; nothing is noted.
    :raises ValueError: if the task lacks what ``taken`` needs.
    """
    started = [event for events in context["triggering_asset_events"].values() for event in events]
    if taken is None:
        return _tasks(started)
    watched = _watched(context["task"], taken)
    run, now = context["dag_run"], datetime.now(UTC)
    notes = [_Note.of(event) for event in _log_of(context, taken, newest=REMEMBERED)]
    own = [note for note in notes if note and note.run == (run.dag_id, run.run_id)]
    others = [note for note in notes if note and note.run != (run.dag_id, run.run_id)]
    newest = max((event.timestamp - AT_ONCE for event in started), default=now)
    begun = max((note.begun for note in others), default=newest)
    since = max([begun, *(note.read - LATE for note in others)])
    since = min([since, *(note.since for note in own)])  # own ones: the task was cleared
    new = [event for event in started if event.timestamp >= min(begun, newest)]
    if len(new) < len(started):
        log.warning(
            "%d events that started this run are from before %s, where this DAG began. They are left alone",
            len(started) - len(new),
            min(begun, newest),
        )
    logged = [event for asset in watched for event in _log_of(context, asset, since=since)]
    gone = {event_id for note in others for event_id in note.event_ids}
    tasks = [task for task in _tasks([*new, *logged]) if task["event_id"] not in gone]
    context["outlet_events"][taken].extra = {
        "event_ids": [task["event_id"] for task in tasks],
        "begun": begun.isoformat(),
        "since": since.isoformat(),
        "read": now.isoformat(),
    }
    return tasks


@dataclass(frozen=True, slots=True)
class _Note:
    """
    What a run has taken.

    :param run: the run, by the ids of its DAG and of its own.
    :param event_ids: what it took.
    :param begun: what was reported before the first taking is left alone.
    :param since: it read what was reported since then.
    :param read: when it read this.
    """

    run: tuple[str | None, str | None]
    event_ids: list[str]
    begun: datetime
    since: datetime
    read: datetime

    @classmethod
    def of(cls, event: Any) -> _Note | None:
        """Read a note; None if the event is none: somebody else updates this asset, too."""
        extra = event.extra or {}
        times = [parse_time(extra.get(name)) for name in ("begun", "since", "read")]
        ids = extra.get("event_ids")
        if None in times or not isinstance(ids, list):
            log.warning("Ignored the event of %s of %r: it does not say what was taken", *_named(event))
            return None
        return cls((event.source_dag_id, event.source_run_id), ids, *times)  # type: ignore[arg-type]


def _watched(task: Any, taken: Asset) -> list[Asset]:
    """Return the assets that are watched, if the task can take."""
    from airflow.sdk import Asset  # not on Airflow 2.11

    inlets = {(asset.name, asset.uri): asset for asset in task.inlets if isinstance(asset, Asset)}
    outlets = [(asset.name, asset.uri) for asset in task.outlets if isinstance(asset, Asset)]
    notes = inlets.pop((taken.name, taken.uri), None)
    lacking = {
        "max_active_tis_per_dag=1, so that no two runs take at once": task.max_active_tis_per_dag != 1,
        f"the asset {taken.name!r} among its inlets": notes is None,
        f"the asset {taken.name!r} among its outlets": (taken.name, taken.uri) not in outlets,
        "the watched asset among its inlets": not inlets,
    }
    if any(lacking.values()):
        needed = "; ".join(what for what, lacks in lacking.items() if lacks)
        raise ValueError(f"To take finished tasks, the Airflow task {task.task_id!r} needs {needed}.")
    return list(inlets.values())


def _log_of(
    context: Mapping[str, Any], asset: Asset, *, since: datetime | None = None, newest: int | None = None
) -> list[Any]:
    """Read the events of an inlet: since a time, or so many of the newest."""
    events: Any = context["inlet_events"][asset]
    if not hasattr(events, "after"):  # Airflow 3.0 and 3.1 always read the whole log
        return [event for event in events if since is None or event.timestamp >= since][-(newest or 0) :]
    if since is not None:
        events = events.after(since)
    if newest is not None:
        events = events.ascending(False).limit(newest)
    return list(events)


def _tasks(events: Iterable[Any]) -> list[FinishedModelCompTask]:
    """Read the tasks in events: the oldest finish first, undated ones last, each event id once."""
    found: dict[str, FinishedModelCompTask] = {}
    for event in sorted(events, key=lambda event: event.timestamp):
        rows = _rows((event.extra or {}).get("payload"))
        if rows is None:
            log.info("Ignored the event of %s of %r: it reports no finished tasks", *_named(event))
            continue
        for row in rows:
            if (task := _task(row)) is not None:
                found.setdefault(task["event_id"], task)
            else:
                log.warning("Ignored a task in the event of %s of %r: it lacks an id", *_named(event))
    last = datetime.max.replace(tzinfo=UTC)
    return sorted(found.values(), key=lambda task: parse_time(task["finish_time"]) or last)


def _rows(payload: Any) -> list[Any] | None:
    """Return the tasks in a payload of our trigger, also of a later version that has the same keys."""
    if not isinstance(payload, Mapping) or not isinstance(payload.get("version"), int):
        return None
    rows = payload.get("tasks")
    return rows if isinstance(rows, list) else None


def _task(row: Any) -> FinishedModelCompTask | None:
    """Read a task; None if it lacks what every task has."""
    if not isinstance(row, Mapping):
        return None
    event_id, task_id, status = (row.get(key) for key in ("event_id", "id", "status"))
    if not (isinstance(event_id, str) and isinstance(task_id, str) and isinstance(status, str)):
        return None
    return {
        "event_id": event_id,
        "id": task_id,
        "status": status,
        "model_id": row.get("model_id"),
        "source_model_id": row.get("source_model_id"),
        "name": row.get("name"),
        "create_time": row.get("create_time"),
        "finish_time": row.get("finish_time"),
        "config": row.get("config"),
    }


def _named(event: Any) -> tuple[datetime, str]:
    return event.timestamp, event.asset.name
