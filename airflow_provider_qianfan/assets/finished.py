"""The model compression tasks that a watcher reported to a DAG."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_qianfan._compat import RECEIPTS
from airflow_provider_qianfan.api.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import Asset

log = logging.getLogger(__name__)

LATE = timedelta(hours=1)
"""An event may reach the log this long after its own time: clocks differ, and a commit takes time."""
AT_ONCE = timedelta(seconds=10)
"""When a DAG begins, events this close together count as one: they may reach the log in any order."""
REMEMBERED = 1000
"""How many notes are read, the newest ones, to find out what was taken."""
MOST = 1000
"""How many tasks a run takes. Unless configured, Airflow maps 1,024 at most (``[core] max_map_length``)."""


class FinishedModelCompTask(TypedDict):
    """
    A finished model compression task, as an event of ``QianfanModelCompTaskEventTrigger`` has it.

    It is a plain dict of JSON values, so you can pass it to other Airflow tasks and to ``expand()``. Times
    are ISO 8601, in UTC.

    :param event_id: the same whenever this task is reported with this status.
    :param id: the model compression task's id, ``amva-…``.
    :param status: ``succeeded``, ``failed`` or ``stopped``.
    :param model_id: the produced model, ``amv-…``. A succeeded task always has one.
    :param source_model_id: the source model, ``amv-…``.
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

    With ``taken``, each event id goes to one DAG run, even if events are repeated or merged, or start no run
    or two runs. This function then reads the event log of the watched assets, not only the events that
    started this run. It notes what it returns in an event of ``taken``. Airflow stores that event only if the
    Airflow task succeeds. So if the Airflow task fails, it has taken nothing. If you clear it, it gets again
    what it had taken. A run takes at most 1,000 tasks. The next run takes the rest.

    The first run of the DAG begins with the events that started it. Before Airflow 3.3, it begins with the
    newest of them, because Airflow gives it all events that the asset ever had. It ignores events that are
    more than ten seconds older. If you trigger the first run yourself, that run gets nothing, and the DAG
    begins with what is reported from then on.

    :param context: the context of the running Airflow task.
    :param taken: an asset for the notes. Only this Airflow task may update it. The task needs this asset
        among its inlets and its outlets, the watched asset among its inlets, and
        ``max_active_tis_per_dag=1``. Default: only the events that started this run count, and nothing is
        noted.
    :raises ValueError: if the Airflow task lacks what ``taken`` needs.
    """
    started = [event for events in context["triggering_asset_events"].values() for event in events]
    if taken is None:
        return _tasks(started)
    watched = _watched(context["task"], taken)
    run, now = context["dag_run"], datetime.now(UTC)
    notes = [_Note.of(event) for event in _log_of(context, taken, newest=REMEMBERED)]
    own = [note for note in notes if note and note.run == (run.dag_id, run.run_id)]
    others = [note for note in notes if note and note.run != (run.dag_id, run.run_id)]
    times = [event.timestamp - AT_ONCE for event in started] or [now]
    # Before Airflow 3.3, the events of the first run are the asset's whole history.
    begun = max((note.begun for note in others), default=min(times) if RECEIPTS.is_there() else max(times))
    limit = min(begun, max(times))
    last = max(others, key=lambda note: note.noted, default=None)
    since = begun if last is None else max(begun, last.read - LATE)
    since = min([since, *(note.since for note in own)])  # own ones: the task was cleared
    new = [event for event in started if event.timestamp >= limit]
    if len(new) < len(started):
        log.warning(
            "%d events that started this run are older than %s, when this DAG began. This run ignores them",
            len(started) - len(new),
            limit,
        )
    read = now
    try:
        logged = [event for asset in watched for event in _log_of(context, asset, since=since)]
    except Exception as error:
        # While a run that an event started is queued, because max_active_runs is reached or because it was
        # cleared, Airflow cannot tell the event (https://github.com/apache/airflow/issues/71360).
        log.warning(
            "Airflow could not read its event log (%s). This run takes what started it. The next run takes"
            " the rest",
            type(error).__name__,
        )
        logged, read = [], since
    gone = {event_id for note in others for event_id in note.event_ids}
    tasks = [task for task in _tasks([*new, *logged]) if task["event_id"] not in gone]
    left = {task["event_id"] for task in tasks[MOST:]}
    if left:
        log.warning("%d more tasks are left for the next run: one run takes %d", len(left), MOST)
        events = [event for event in (*new, *logged) if left & {each["event_id"] for each in _tasks([event])}]
        read = min([read, *(event.timestamp for event in events)])
    context["outlet_events"][taken].extra = {
        "event_ids": [task["event_id"] for task in tasks[:MOST]],
        "begun": begun.isoformat(),
        "since": since.isoformat(),
        "read": read.isoformat(),
    }
    return tasks[:MOST]


@dataclass(frozen=True, slots=True)
class _Note:
    """
    What a run has taken.

    :param run: the id of the DAG, and the id of the run.
    :param event_ids: what the run took.
    :param begun: when the DAG began. No run takes what was reported before.
    :param since: the run read what was reported since then.
    :param read: the run took everything that was reported until then.
    :param noted: when this was noted.
    """

    run: tuple[str | None, str | None]
    event_ids: list[str]
    begun: datetime
    since: datetime
    read: datetime
    noted: datetime

    @classmethod
    def of(cls, event: Any) -> _Note | None:
        """Read a note; None if the event is no note, because something else updates this asset, too."""
        extra = event.extra or {}
        times = [
            time for name in ("begun", "since", "read") if (time := parse_time(extra.get(name))) is not None
        ]
        ids = extra.get("event_ids")
        if len(times) < 3 or not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            log.warning(
                "Ignored the event at %s of the asset %r: it does not say what a run took", *_named(event)
            )
            return None
        begun, since, read = times
        # The clock of the worker that wrote it may have been wrong.
        read, noted = min(read, event.timestamp), event.timestamp
        return cls((event.source_dag_id, event.source_run_id), ids, begun, since, read, noted)


def _watched(task: Any, taken: Asset) -> list[Asset]:
    """Return the watched assets, after a check that the Airflow task has what taking needs."""
    from airflow.sdk import Asset  # not on Airflow 2.11

    inlets = {(asset.name, asset.uri): asset for asset in task.inlets if isinstance(asset, Asset)}
    outlets = [(asset.name, asset.uri) for asset in task.outlets if isinstance(asset, Asset)]
    notes = inlets.pop((taken.name, taken.uri), None)
    lacking = {
        "max_active_tis_per_dag=1, so that no two runs take at the same time": task.max_active_tis_per_dag
        != 1,
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
    """Read the events of an inlet: those since a time, or a number of the newest."""
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
            log.info("Ignored the event at %s of the asset %r: it reports no finished tasks", *_named(event))
            continue
        for row in rows:
            if (task := _task(row)) is not None:
                found.setdefault(task["event_id"], task)
            else:
                log.warning(
                    "Ignored a task in the event at %s of the asset %r: it lacks an id or a status",
                    *_named(event),
                )
    last = datetime.max.replace(tzinfo=UTC)
    return sorted(found.values(), key=lambda task: parse_time(task["finish_time"]) or last)


def _rows(payload: Any) -> list[Any] | None:
    """Return the tasks in a payload of our trigger. A later version counts if it has the same keys."""
    if not isinstance(payload, Mapping) or not isinstance(payload.get("version"), int):
        return None
    rows = payload.get("tasks")
    return rows if isinstance(rows, list) else None


def _task(row: Any) -> FinishedModelCompTask | None:
    """Read a task; None if it lacks an id or its status."""
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
