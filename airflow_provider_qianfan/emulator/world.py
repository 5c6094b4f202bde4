"""The emulated platform: its tasks, accounts and clock. No HTTP here."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_qianfan.emulator.clock import Clock, RealClock
from airflow_provider_qianfan.emulator.errors import ApiError, inappropriate_json
from airflow_provider_qianfan.emulator.scenario import (
    NO_PATCH,
    TERMINAL,
    Account,
    Behaviour,
    Patch,
    Scenario,
    Status,
    Step,
    TaskSpec,
    load,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from airflow_provider_qianfan.emulator.faults import Fault

_BEIJING = timezone(timedelta(hours=8))
_PLATFORM_ZERO = "0000-00-00T00:00:00Z"

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq, table of body parameters
_DEFAULT_MAX_KEYS = 10
_LIMIT_MAX_KEYS = 100

Where = Literal["list", "detail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One request to the platform API, as the emulator saw it.

    :param time: world time.
    :param action: the ``Action`` of the query, "" without one.
    :param body: the parsed JSON body, or the raw text if it is not JSON.
    :param status: HTTP status of the answer.
    :param code: the error code of the answer, if it was the platform's own error.
    :param access_key_id: of the ``Authorization`` header, not necessarily a valid one; None without one.
    """

    time: datetime
    action: str
    body: Any
    status: int
    code: str | None
    access_key_id: str | None


@dataclass(slots=True, kw_only=True)
class Task:
    """A model compression task; its status follows from its steps and the clock."""

    id: str
    name: str
    description: str
    source_model_id: str
    config: dict[str, object]
    created: datetime
    steps: tuple[Step, ...]
    patches: tuple[Patch, ...] = ()
    in_list: Patch = NO_PATCH
    in_detail: Patch = NO_PATCH

    def step(self, now: datetime) -> Step:
        """Return the step that the task is at."""
        age = (now - self.created).total_seconds()
        return [self.steps[0], *(step for step in self.steps[1:] if step.after <= age)][-1]

    def finished(self, now: datetime) -> datetime | None:
        """Return when the task reached the end it is at, or None."""
        age = (now - self.created).total_seconds()
        end = None
        for step in self.steps:
            if step.after > age:
                break
            if step.status not in TERMINAL:
                end = None
            elif end is None:
                end = step.after
        return None if end is None else self.created + timedelta(seconds=end)

    def divert(self, now: datetime, *steps: Step) -> None:
        """
        Replace what has not happened yet.

        :param steps: the new future; their ``after`` is relative to ``now``.
        """
        age = (now - self.created).total_seconds()
        past = tuple(step for step in self.steps if step.after <= age) or self.steps[:1]
        self.steps = past + tuple(replace(step, after=age + step.after) for step in steps)


class World:
    """
    The state of the emulated platform.

    The five actions of section "model compression" are ``create_task`` … ``delete_task``; they return
    the ``result`` of the answer or raise :class:`.errors.ApiError`. Everything else is for whoever
    runs the world: ``behaviour``, ``accounts`` and ``faults`` may be changed at any time.

    :param scenario: see :func:`.scenario.load`; default: no tasks, one account.
    :param clock: world time; default: the real one.
    """

    def __init__(
        self,
        scenario: Scenario | Mapping[str, object] | str | Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.scenario = Scenario() if scenario is None else load(scenario)
        self.clock: Clock = clock or RealClock()
        self.on_call: Callable[[Call], None] | None = None
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Go back to the beginning of the scenario; the clock goes on, the scenario starts now."""
        with self._lock:
            self.started = self.clock.now()
            self.behaviour: Behaviour = replace(self.scenario.behaviour)
            self.accounts: list[Account] = [replace(account) for account in self.scenario.accounts]
            self.faults: list[Fault] = [replace(fault) for fault in self.scenario.faults]
            self.calls: list[Call] = []
            self.tasks: dict[str, Task] = {}
            self._invented = 0
            self._created = 0
            for spec in self.scenario.tasks:
                self.put(spec)

    # -- for whoever runs the world ----------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """World time (aware, UTC)."""
        return self.clock.now()

    @property
    def elapsed(self) -> float:
        """World seconds since the start of the scenario."""
        return (self.now - self.started).total_seconds()

    @property
    def account(self) -> Account:
        """The first account."""
        return self.accounts[0]

    def server_time(self, skew: float = 0.0) -> datetime:
        """
        Return what the server thinks the time is, for signatures and the ``Date`` header.

        :param skew: seconds by which its clock is ahead.
        """
        world = self.behaviour.signature_clock == "world"
        return (self.now if world else datetime.now(UTC)) + timedelta(seconds=skew)

    def advance(self, seconds: float) -> None:
        """Move world time forward by ``seconds``."""
        self.clock.advance(seconds)

    def add_task(
        self,
        source_model_id: str,
        *,
        status: Status | None = None,
        timeline: tuple[Step, ...] = (),
        task_id: str | None = None,
        name: str | None = None,
        description: str = "",
        config: dict[str, object] | None = None,
        created: float | datetime = 0.0,
        model_id: str | None = None,
        failed_reason: str | None = None,
        set_keys: dict[str, object] | None = None,
        omit: tuple[str, ...] = (),
        in_list: Patch = NO_PATCH,
        in_detail: Patch = NO_PATCH,
    ) -> str:
        """
        Put a task into the world and return its id; the parameters are those of :class:`.scenario.TaskSpec`.

        :param status: default ``running``, unless there is a ``timeline``.
        """
        if status is None and not timeline:
            status = "running"
        spec = TaskSpec(
            source_model_id=source_model_id,
            status=status,
            timeline=timeline,
            id=task_id,
            name=name,
            description=description,
            created=created,
            model_id=model_id,
            failed_reason=failed_reason,
            set=set_keys or {},
            omit=omit,
            in_list=in_list,
            in_detail=in_detail,
        )
        return self.put(spec if config is None else replace(spec, config=config))[0]

    def put(self, spec: TaskSpec) -> list[str]:
        """
        Put the task or, with ``repeat``, the tasks of a specification into the world and return their ids.

        :raises ValueError: if an id is taken.
        """
        with self._lock:
            now = self.now
            added: dict[str, Task] = {}
            for single, offset in spec.expand(now):
                task_id = single.id or self._invent_id()
                if task_id in self.tasks or task_id in added:
                    raise ValueError(f"there is already a task {task_id!r}")
                added[task_id] = Task(
                    id=task_id,
                    name=single.name or task_id,
                    description=single.description,
                    source_model_id=single.source_model_id,
                    config=dict(single.config),
                    created=now + timedelta(seconds=offset),
                    steps=single.steps,
                    patches=(Patch(set=single.set, omit=single.omit),),
                    in_list=single.in_list,
                    in_detail=single.in_detail,
                )
            self.tasks.update(added)
            return list(added)

    def set_status(
        self,
        task_id: str,
        status: Status,
        *,
        model_id: str | None = None,
        failed_reason: str | None = None,
        set_keys: dict[str, object] | None = None,
        omit: tuple[str, ...] = (),
        in_list: Patch = NO_PATCH,
        in_detail: Patch = NO_PATCH,
    ) -> None:
        """
        Give a task a status from now on; what its timeline had in store is dropped.

        The parameters are those of :class:`.scenario.Step`.

        :raises KeyError: if there is no such task.
        """
        step = Step(
            status=status,
            model_id=model_id,
            failed_reason=failed_reason,
            set=set_keys or {},
            omit=omit,
            in_list=in_list,
            in_detail=in_detail,
        )
        self.divert(task_id, step)

    def divert(self, task_id: str, *steps: Step) -> None:
        """
        Replace a task's future.

        :param steps: what is to happen; ``after`` counts from now.
        :raises KeyError: if there is no such task.
        """
        with self._lock:
            self.tasks[task_id].divert(self.now, *steps)

    def remove_task(self, task_id: str) -> None:
        """
        Take a task out of the world.

        :raises KeyError: if there is no such task.
        """
        with self._lock:
            del self.tasks[task_id]

    def change_behaviour(self, behaviour: Behaviour) -> None:
        """Take over all switches of another behaviour."""
        for item in fields(Behaviour):
            setattr(self.behaviour, item.name, getattr(behaviour, item.name))

    def count(self, action: str) -> int:
        """Return how many calls of an action there were, whatever the answer."""
        return sum(call.action == action for call in list(self.calls))

    def record(self, call: Call) -> None:
        """Add to the call log."""
        self.calls.append(call)
        if self.on_call is not None:
            self.on_call(call)

    def due_faults(self, action: str) -> list[Fault]:
        """Count a call and return the faults that strike it."""
        with self._lock:
            elapsed = self.elapsed
            return [fault for fault in self.faults if fault.action in ("*", action) and fault.due(elapsed)]

    def existing(self) -> list[Task]:
        """Return the tasks that have been created by now, in the order of the list action."""
        with self._lock:
            now = self.now
            tasks = [task for task in self.tasks.values() if task.created <= now]
        if self.behaviour.order == "shuffled":
            return sorted(tasks, key=lambda task: hashlib.sha256(task.id.encode()).digest())
        # The sort is stable, so that among equal times the order of insertion counts.
        tasks.sort(key=lambda task: task.created)
        return tasks if self.behaviour.order == "oldest_first" else tasks[::-1]

    # -- the five actions --------------------------------------------------------------------------

    def create_task(
        self, *, name: str, source_model_id: str, config: dict[str, object], description: str = ""
    ) -> str:
        """
        Do CreateModelCompTask and return the new task's id.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji
        """
        with self._lock:
            self._created += 1
            number = f"{self._created:04d}"
            return self.add_task(
                source_model_id,
                task_id=f"amva-created{number}",
                name=name,
                description=description,
                config=config,
                timeline=tuple(
                    replace(step, model_id=step.model_id.replace("{n}", number)) if step.model_id else step
                    for step in self.scenario.created_tasks.timeline
                ),
            )

    def list_tasks(
        self,
        *,
        marker: str | None = None,
        max_keys: int = _DEFAULT_MAX_KEYS,
        page_reverse: bool = False,
        source_model_id: str | None = None,
    ) -> dict[str, Any]:
        """
        Do DescribeModelCompTasks.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq

        :param max_keys: default 10; above 100 means 100.
        """
        max_keys = min(max_keys, _LIMIT_MAX_KEYS)
        with self._lock:
            now, behaviour = self.now, self.behaviour
            tasks = [
                task
                for task in self.existing()
                if (now - task.created).total_seconds() >= behaviour.list_lag
                and (source_model_id in (None, task.source_model_id) or behaviour.ignore_source_filter)
            ]
        if page_reverse:
            tasks.reverse()
        start = self._start(tasks, marker)
        page, rest = tasks[start : start + max_keys], tasks[start + max_keys :]
        info: dict[str, Any] = {"marker": marker or "", "maxKeys": max_keys, "isTruncated": bool(rest)}
        if rest:
            info["nextMarker"] = (rest[0] if behaviour.marker == "inclusive" else page[-1]).id
        return {"modelCompTaskList": [self.row(task, "list", now) for task in page], "pageInfo": info}

    def describe_task(self, task_id: str) -> dict[str, Any] | None:
        """
        Do DescribeModelCompTask.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/ylxcncgpi
        """
        with self._lock:
            task = self._find(task_id)
            return None if task is None else self.row(task, "detail", self.now)

    def cancel_task(self, task_id: str) -> None:
        """
        Do CancelModelCompTask.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd
        """
        with self._lock:
            task, now = self._find(task_id), self.now
            if task is None:
                return
            status = task.step(now).status
            if status in TERMINAL:
                _refuse(self.behaviour.cancel_finished, f"The task {task_id} is {status}.")
            elif status != "stopping":
                end = Step(status="stopped", after=self.behaviour.stopping_seconds)
                task.divert(now, Step(status="stopping"), end)

    def delete_task(self, task_id: str) -> None:
        """
        Do DeleteModelCompTask.

        https://ai.baidu.com/ai-doc/WENXINWORKSHOP/Slxcndblq
        """
        with self._lock:
            task = self._find(task_id)
            if task is None:
                return
            status = task.step(self.now).status
            if status not in TERMINAL:
                _refuse(self.behaviour.delete_unfinished, f"The task {task_id} is {status}.")
            del self.tasks[task_id]

    # -- details -----------------------------------------------------------------------------------

    def row(self, task: Task, where: Where, now: datetime) -> dict[str, Any]:
        """
        Return a task as the list or the detail action shows it.

        The list has no ``failedReason``; ``modelId`` is there once the task succeeded.
        """
        step = task.step(now)
        row: dict[str, Any] = {
            "id": task.id,
            "name": task.name,
            "description": task.description,
            "status": step.status,
            "sourceModelId": task.source_model_id,
        }
        if where == "detail" and step.failed_reason is not None:
            row["failedReason"] = step.failed_reason
        if step.model_id is not None:
            row["modelId"] = step.model_id
        elif self.behaviour.failed_model_id == "empty":
            row["modelId"] = ""
        row["config"] = task.config
        row.update(self._times(task, now))
        only = (task.in_list, step.in_list) if where == "list" else (task.in_detail, step.in_detail)
        for patch in (*task.patches, Patch(set=step.set, omit=step.omit), *only):
            row = patch.apply(row)
        return row

    def _times(self, task: Task, now: datetime) -> dict[str, str]:
        kind = self.behaviour.time_format
        finished = task.finished(now)
        texts = {"createTime": _time_text(task.created, kind)}
        if finished is not None:
            texts["finishTime"] = _time_text(finished, kind)
        else:
            texts["finishTime"] = _time_text(now, self.behaviour.unfinished_time)
        return {key: text for key, text in texts.items() if text is not None}

    def _start(self, tasks: list[Task], marker: str | None) -> int:
        # An empty marker is undocumented; the echo of a first page is "", so it is taken for "from the first
        # row".
        if not marker:
            return 0
        for index, task in enumerate(tasks):
            if task.id == marker:
                return index + 1 if self.behaviour.marker == "exclusive" else index
        raise ApiError(400, "InvalidMarker", f"The marker {marker} is invalid.")

    def _find(self, task_id: str) -> Task | None:
        task = self.tasks.get(task_id)
        if task is not None and task.created <= self.now:
            return task
        kind = self.behaviour.not_found
        if kind == "no_such_key":
            raise ApiError(404, "NoSuchKey", f"The task {task_id} does not exist.")
        if kind == "inappropriate_json":
            raise inappropriate_json(f"The task {task_id} does not exist.")
        if kind == "internal_error":
            raise ApiError(500, "InternalError", "We encountered an internal error. Please try again.")
        return None

    def _invent_id(self) -> str:
        while True:
            self._invented += 1
            task_id = f"amva-emulated{self._invented:04d}"
            if task_id not in self.tasks:
                return task_id


def _refuse(kind: str, message: str) -> None:
    if kind == "inappropriate_json":
        raise inappropriate_json(message)
    if kind == "precondition_failed":
        raise ApiError(412, "PreconditionFailed", message)


def _time_text(moment: datetime, kind: str) -> str | None:
    if kind == "offset":
        return moment.astimezone(_BEIJING).isoformat(timespec="seconds")
    if kind == "z":
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"zero": _PLATFORM_ZERO, "empty": "", "absent": None}[kind]
