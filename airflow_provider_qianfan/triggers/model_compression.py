"""The triggers for model compression tasks: one for a deferred wait, one for the watcher of an asset."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from airflow.triggers.base import TriggerEvent

from airflow_provider_qianfan._compat import (
    RECEIPTS,
    WATCHERS,
    BaseEventTrigger,
    asset_store,
    task_state_of,
)
from airflow_provider_qianfan.api.exchange import Exchange, RetryPolicy
from airflow_provider_qianfan.api.model_compression import FINISHED, SUCCEEDED
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.changes.cancellation import KILL_PATIENCE, cancel_unfinished
from airflow_provider_qianfan.gate.arguments import check_seconds, check_text, check_time, is_rendered_later
from airflow_provider_qianfan.gate.finished import Interest
from airflow_provider_qianfan.gate.memory import DEFAULT_POKE_INTERVAL
from airflow_provider_qianfan.gate.wording import name_of
from airflow_provider_qianfan.triggers.waiting import SHORTEST_INTERVAL, QianfanTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_qianfan.triggers._watch import Batch, Watch

ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States that Airflow does not leave by itself."""


class QianfanModelCompTaskTrigger(QianfanTrigger):
    """
    Watch a model compression task, and say when a look is worthwhile.

    If ``cancel_on_kill`` is set, and a user ends the deferred task, the trigger cancels the compression
    (Airflow 3.3 and newer): https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd.

    :param cancel_on_kill: cancel the compression if this Airflow task is killed while it waits. Default:
        False.
    :param arguments: the parameters of :class:`.QianfanTrigger`.
    """

    def __init__(self, *, cancel_on_kill: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path, and the arguments that make the trigger again."""
        path, arguments = super().serialize()
        return path, {**arguments, "cancel_on_kill": self.cancel_on_kill}

    async def on_kill(self) -> None:
        """
        Cancel the compression if ``cancel_on_kill`` is set and a user has ended the task.

        Airflow 3.3 also calls this in two other cases. If the task was cleared, its next try takes the
        compression over. If another triggerer has taken this trigger over, it may have resumed the task.
        """
        given = self.target if isinstance(self.target, Mapping) else {}
        task_id = given.get("model_comp_task_id")
        if not self.cancel_on_kill or not isinstance(task_id, str) or not task_id:
            return
        state = await task_state_of(self.task_instance)
        if state not in ENDED:
            self.log.info("%s goes on: this Airflow task has not ended.", clean(task_id, 80))
            return
        from airflow_provider_qianfan.triggers._shared import read_settings  # loads urllib3
        from airflow_provider_qianfan.triggers._thread import DriverThread

        settings = await read_settings(self.qianfan_conn_id)
        exchange = Exchange(
            settings.endpoint, settings.credentials, retry=RetryPolicy(patience=KILL_PATIENCE)
        )
        thread = DriverThread(settings)
        try:
            task = await thread.run(cancel_unfinished(exchange, task_id))
        finally:
            thread.stop()
        self.log.info("Cancelled, as this Airflow task is %s: %s.", state, name_of(task))


DEFAULT_LOOK_BACK = 3600.0
"""Seconds."""

_LONGEST = 365 * 86400.0
"""Seconds."""


class QianfanModelCompTaskEventTrigger(BaseEventTrigger):
    """
    Watch for finished model compression tasks, and update an asset for them (Airflow 3.0 and newer).

    Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq.

    Give the trigger to an ``AssetWatcher``, and schedule your DAG on the asset. When a task has finished, the
    DAG starts, whoever created the task. If a task succeeds, the watcher reports it as soon as the platform
    names the produced model.

    Each look yields at most one event. The event has all tasks that have finished since the last event, the
    oldest first. One event has at most 100 tasks, or fewer if they take more than 100,000 bytes. The next
    event has the rest, one ``poke_interval`` later. :func:`.finished_tasks` reads the events.

    Each task in an event has an ``event_id``, made from its ID and its status. If a task is reported again
    with the same status, it has the same ``event_id``. Airflow 3.3 and newer keep what was reported, and the
    watcher misses no task. On older Airflows, the trigger forgets everything when it ends. So whenever it
    starts, it reports what finished within ``look_back``, or since ``catch_up_from``. The same holds if one
    trigger watches for several assets.

    If watchers and deferred waits of a triggerer have the same endpoint and key, they share one reading of
    the platform per interval. A watcher without ``source_model_id`` reads the whole list.

    If the platform answers with an error, the trigger goes on. It logs the error at once, and then every ten
    minutes.

    :param statuses: which statuses to report: ``"succeeded"``, ``"failed"``, ``"stopped"``. Default: only
        ``"succeeded"``.
    :param source_model_id: match only tasks that compress this model version, ``amv-…``.
    :param name: match only tasks with exactly this name.
    :param name_pattern: match only tasks whose name matches this pattern. ``*`` stands for any text, ``?``
        for one character, ``[ab]`` for one of these. Upper and lower case differ.
    :param qianfan_conn_id: ID of the Airflow connection, of type ``qianfan``. Default: ``qianfan_default``.
    :param poke_interval: seconds between two looks. Default: 60. At least 1.
    :param catch_up_from: a time: a datetime, a date, or ISO 8601 text, which is UTC if it has no offset. If
        Airflow keeps nothing of earlier events, the trigger also reports what finished since this time.
        Default: only what finishes from the first start on.
    :param look_back: seconds. If Airflow keeps nothing (before 3.3, or for several assets), a trigger that
        starts also reports what finished within this time. Default: 3600.
    :param watcher: a text that differs from that of other triggers with the same arguments: Airflow would
        take two equal triggers for one. Default: the name of the DAG file and of its folder, and a number.
    :raises RuntimeError: on Airflow 2.11, which has no asset watchers.
    :raises ValueError: if an argument is invalid, for example empty, the text ``"None"``, or a template.
    """

    _current: Watch | None = None

    def __init__(
        self,
        *,
        statuses: Collection[str] = (SUCCEEDED,),
        source_model_id: str | None = None,
        name: str | None = None,
        name_pattern: str | None = None,
        qianfan_conn_id: str = "qianfan_default",
        poke_interval: float | timedelta = DEFAULT_POKE_INTERVAL,
        catch_up_from: datetime | str | None = None,
        look_back: float | timedelta = DEFAULT_LOOK_BACK,
        watcher: str | None = None,
        **others: Any,
    ) -> None:
        if not WATCHERS.is_there():
            raise RuntimeError(
                "QianfanModelCompTaskEventTrigger needs Airflow 3.0 or newer: Airflow 2.11 has no asset"
                " watchers. Upgrade Airflow, or wait with a QianfanModelCompTaskSensor."
            )
        if others and watcher is None:  # from a DAG file; a newer version may have stored more
            raise TypeError(f"QianfanModelCompTaskEventTrigger does not know {', '.join(sorted(others))}.")
        super().__init__()  # type: ignore[no-untyped-call]
        self.statuses = _check_statuses(statuses)
        self.source_model_id = _check_filter("source_model_id", source_model_id)
        self.name = _check_filter("name", name)
        self.name_pattern = _check_filter("name_pattern", name_pattern)
        self.qianfan_conn_id = _check_filter("qianfan_conn_id", qianfan_conn_id) or "qianfan_default"
        self.poke_interval = max(SHORTEST_INTERVAL, _check_span("poke_interval", poke_interval))
        self.catch_up_from = _check_start(catch_up_from)
        self.look_back = _check_span("look_back", look_back)
        self.watcher = _name_watcher(self._arguments()) if watcher is None else watcher

    def _arguments(self) -> dict[str, Any]:
        return {
            "statuses": list(self.statuses),
            "source_model_id": self.source_model_id,
            "name": self.name,
            "name_pattern": self.name_pattern,
            "qianfan_conn_id": self.qianfan_conn_id,
            "poke_interval": self.poke_interval,
            "catch_up_from": self.catch_up_from,
            "look_back": self.look_back,
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path, and the arguments that make the trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {**self._arguments(), "watcher": self.watcher},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each look that finds news. This never ends."""
        watch = self._watch()
        async for batch in watch.batches():
            yield TriggerEvent(batch.payload)
            await watch.keep(batch)

    def shared_stream_key(self) -> str | None:
        """
        Have Airflow say when it has stored an event (Airflow 3.3 and newer).

        Airflow does that only for the stream of a producer. Each trigger has a stream of its own. But
        triggers of one account share their requests.
        """
        if not RECEIPTS.is_there():
            return None
        key = _key_of(self.serialize()[1])
        _by_key[key] = self
        return key

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Any:
        """Return the producer. It yields the batches, and Airflow tells it which events are stored."""
        from airflow_provider_qianfan.triggers._receipts import Producer

        made = _by_key[_key_of(kwargs)]
        made._current = made._watch()
        return Producer(made._current)

    async def on_kill(self) -> None:
        """
        Take back what was reported last (Airflow 3.3 and newer).

        Airflow calls this if the asset no longer has this watcher, for example because its DAGs are paused.
        """
        if self._current is not None:
            await self._current.take_back()

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Batch]) -> AsyncIterator[TriggerEvent]:
        """Yield the event of each batch."""
        async for batch in shared_stream:
            yield TriggerEvent(batch.payload)

    def _watch(self) -> Watch:
        from airflow_provider_qianfan.triggers._watch import Watch  # loads urllib3

        store, since = asset_store(self), time.time()
        if store is None and RECEIPTS.is_there():
            self.log.warning(
                "The watcher %s watches for several assets, so Airflow keeps nothing for it: after a restart,"
                " it reports again what finished within look_back, or since catch_up_from. Give each asset a"
                " trigger of its own.",
                self.watcher,
            )
        if store is None:
            since -= self.look_back
        if self.catch_up_from is not None:
            since = min(since, datetime.fromisoformat(self.catch_up_from).timestamp())
        interest = Interest(self.statuses, self.source_model_id, self.name, self.name_pattern)
        return Watch(self.watcher, self.qianfan_conn_id, interest, self.poke_interval, since, store)


_by_key: WeakValueDictionary[str, QianfanModelCompTaskEventTrigger] = WeakValueDictionary()
"""The triggers of this process, by the key of their stream. A producer gets only the arguments."""


def _key_of(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, sort_keys=True)


def _check_statuses(statuses: Collection[str]) -> tuple[str, ...]:
    given = (statuses,) if isinstance(statuses, str) else tuple(statuses)
    unknown = [status for status in given if status not in FINISHED]
    if unknown or not given:
        wrong = clean(repr(unknown[0] if unknown else statuses), 80)
        raise ValueError(
            f"statuses has {wrong}. Pass one or more of 'succeeded', 'failed' and 'stopped': a task that has"
            " another status has not finished."
        )
    return tuple(sorted(set(given)))


def _check_filter(argument: str, value: str | None) -> str | None:
    if value is None:
        return None
    if is_rendered_later(value):
        raise ValueError(f"{argument}={clean(repr(value))} is a template. Nothing renders it: pass a value.")
    return check_text(argument, value)


def _check_span(argument: str, value: float | timedelta) -> float:
    seconds = check_seconds(argument, value)
    if seconds > _LONGEST:
        raise ValueError(f"{argument}={clean(repr(value))} is more than a year. Pass a shorter time.")
    return seconds


def _check_start(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, timedelta):
        raise ValueError(
            f"catch_up_from={clean(repr(value))} is a span of time. Pass a time, such as"
            " datetime(2026, 1, 31, tzinfo=UTC)."
        )
    return check_time("catch_up_from", value).isoformat()


_WATCHERS = "__qianfan_watchers__"


def _name_watcher(arguments: Mapping[str, Any]) -> str:
    """
    Make a text that differs between triggers with the same arguments, and is the same at each parse.

    If two triggers are equal, Airflow keeps one row for them, and mixes up their watchers. The text is the
    name of the file that makes the trigger. This is the DAG file, or a module that the DAG file imports. If
    the file makes several equal triggers, a number follows. That module keeps the counts, because each parse
    of a file makes a new module.
    """
    frame = outermost = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen"):
        outermost, frame = frame, frame.f_back  # type: ignore[assignment]
    counts = outermost.f_globals.setdefault(_WATCHERS, {})
    key = _key_of(arguments)
    counts[key] = counts.get(key, 0) + 1
    path = Path(outermost.f_code.co_filename)
    # Not the folder of a Git bundle, which is named after the commit: each commit would make a new trigger.
    folder = "" if re.fullmatch(r"[0-9a-f]{7,64}", path.parent.name) else f"{path.parent.name}/"
    return f"{folder}{path.name}" if counts[key] == 1 else f"{folder}{path.name} {counts[key]}"
