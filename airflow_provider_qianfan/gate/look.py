"""
A look: one complete reading of the platform for a wait, and the verdict drawn from it.

A wait has a target: a model compression task, or a resource of another kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanError,
    QianfanTransientError,
    refuses_request,
)
from airflow_provider_qianfan.api.exchange import Exchange, Sleep, Steps
from airflow_provider_qianfan.api.model_compression import (
    DETAIL,
    SUCCEEDED,
    ModelCompTask,
    read_task,
    read_tasks,
)
from airflow_provider_qianfan.api.resource import MODEL, Absence, Row, find_resource
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.gate.outcome import decide, usable_model_id
from airflow_provider_qianfan.gate.resource import Resource, decide_resource
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import Fail, NeedDetail, Open, Verdict, Wait

if TYPE_CHECKING:
    from airflow_provider_qianfan.gate.memory import Memory

DETAIL_TRIES = 3
DETAIL_PAUSE = 2.0
"""Seconds between two requests for a produced model that is not there yet."""

Target = Selector | Resource


def target_of(event: Mapping[str, Any]) -> object:
    """Return the target in a trigger's event, as JSON; None without one. Its older name was ``selector``."""
    return event.get("target") or event.get("selector")


def target_from_json(value: object) -> Target | None:
    """Read what ``to_json`` of a target wrote, maybe in another version; None if anything is missing."""
    if isinstance(value, Mapping) and "resource" in value:
        return Resource.from_json(value)
    return Selector.from_json(value)


def take_look(
    exchange: Exchange, target: Target, memory: Memory, *, settle: float, clock: Callable[[], float]
) -> Steps[Verdict]:
    """
    Look at a target. If a compression task has succeeded, look at its model, too, if that has to be ready.

    :raises QianfanError: if the platform gave no complete answer.
    """
    if isinstance(target, Selector):
        verdict = yield from look(exchange, target, memory, settle=settle, clock=clock)
        model = next_target(target, verdict)
        if model is None or not isinstance(verdict, Open):
            return verdict
        if memory.forgetful:
            # The model may be missing since the task finished, and not since the wait began.
            task = verdict.described
            finished = task.finish_time if isinstance(task, ModelCompTask) else None
            memory = replace(memory, started=finished.timestamp() if finished else clock())
        ready = yield from take_look(exchange, model, memory, settle=settle, clock=clock)
        return _with_model(verdict, ready)
    found = yield from find_resource(exchange, target.kind, target.id)
    for _ in range(DETAIL_TRIES - 1 if memory.forgetful else 0):
        if isinstance(found, Row):
            break
        # Nothing is remembered of earlier looks: one miss does not prove that the resource is gone.
        yield Sleep(DETAIL_PAUSE)
        found = yield from find_resource(exchange, target.kind, target.id)
    row, absence = (found, None) if isinstance(found, Row) else (None, found)
    return decide_resource(row, target, memory, clock(), settle=settle, absence=absence)


def _with_model(opened: Open, ready: Verdict) -> Verdict:
    """Combine the verdicts about a task that succeeded and about its model, which may not be ready."""
    if isinstance(ready, Open):
        return opened
    notes, task = (*opened.notes, *ready.notes), opened.described
    if isinstance(ready, Wait):
        return replace(ready, notes=notes, selected=task.id)
    return replace(ready, notes=notes, described=task)


def judge(target: Target, found: Found, memory: Memory, now: float, *, settle: float) -> Verdict | NeedDetail:
    """Draw the verdict from a reading for many waits, without another request."""
    if isinstance(target, Selector):
        return decide(found.tasks, target, memory, now, settle=settle, absence=found.absence)
    return decide_resource(found.row, target, memory, now, settle=settle, absence=found.absence)


def next_target(target: Target, verdict: Verdict | NeedDetail) -> Resource | None:
    """Return what else has to be ready before the gate may open; None if nothing has."""
    if isinstance(target, Selector) and target.model_ready and isinstance(verdict, Open):
        return Resource(MODEL, verdict.model_id)
    return None


def look(
    exchange: Exchange, selector: Selector, memory: Memory, *, settle: float, clock: Callable[[], float]
) -> Steps[Verdict]:
    """
    Take one look.

    :raises QianfanError: if the platform gave no complete answer.
    """
    found = yield from _read_meant(exchange, selector)
    confirmed = False
    if memory.forgetful and found.absence is not None:
        # Nothing is remembered of earlier looks: one miss does not prove that the task is gone.
        for _ in range(DETAIL_TRIES - 1):
            yield Sleep(DETAIL_PAUSE)
            found = yield from _read_meant(exchange, selector)
            if found.absence is None:
                break
        confirmed = True
    details: dict[str, ModelCompTask | None] = {}
    while True:
        verdict = decide(
            found.tasks,
            selector,
            memory,
            clock(),
            details=details,
            settle=settle,
            absence=found.absence,
        )
        if isinstance(verdict, NeedDetail):
            details[verdict.task_id] = yield from _detail(exchange, verdict)
        elif isinstance(verdict, Open | Fail) and not (confirmed or found.is_sure):
            # Pages are no snapshot: a task may have moved to a page that was already read.
            confirmed = True
            again = yield from _read_meant(exchange, selector)
            tasks = {task.id: task for task in (*found.tasks, *again.tasks)}
            found, details = replace(again, tasks=tuple(tasks.values())), {}
        else:
            return verdict


@dataclass(frozen=True, slots=True)
class Found:
    """
    What was read.

    :param tasks: model compression tasks.
    :param pages: how many pages the list had.
    :param absence: what the platform said, if the given id is not there; else None.
    :param row: a resource of another kind.
    :param left_out: whether rows of the list were left out, because they could not be read, or a page
        described a task in two ways.
    """

    tasks: tuple[ModelCompTask, ...] = ()
    pages: int = 1
    absence: Absence | None = None
    row: Row | None = None
    left_out: bool = False

    @property
    def is_sure(self) -> bool:
        """Whether the reading cannot have missed a task."""
        return self.pages == 1 and self.absence is None


def read_candidates(exchange: Exchange, selector: Selector) -> Steps[Found]:
    """Read the tasks that may match. If an id is given, read only that task."""
    pinned = selector.model_comp_task_id
    if pinned is None:
        reading = yield from read_tasks(exchange, selector.source_model_id)
        return Found(reading.tasks, reading.pages)

    return (yield from read_given(exchange, pinned, lambda: _find_in_list(exchange, pinned)))


def _read_meant(exchange: Exchange, selector: Selector) -> Steps[Found]:
    """Read the tasks that may match, with their source models."""
    found, pinned = (yield from read_candidates(exchange, selector)), selector.model_comp_task_id
    if pinned is None:
        return found
    return (yield from add_source(found, lambda: _find_in_list(exchange, pinned)))


def _find_in_list(exchange: Exchange, task_id: str) -> Steps[ModelCompTask | None]:
    reading = yield from read_tasks(exchange)
    return next((task for task in reading.tasks if task.id == task_id), None)


def read_given(
    exchange: Exchange, task_id: str, find_in_list: Callable[[], Steps[ModelCompTask | None]]
) -> Steps[Found]:
    """
    Read the task with an id.

    The documentation does not say how the platform refuses an unknown id. So a refusal proves nothing, and
    the list decides.

    :param find_in_list: finds the task in the whole list.
    """
    absence = Absence()
    try:
        task = yield from read_task(exchange, task_id)
    except QianfanAPIError as error:
        if not refuses_request(error):
            raise
        task, absence = None, Absence.of(error)
    if task is None:
        task = yield from find_in_list()
    return Found(absence=absence) if task is None else Found((task,))


def add_source(found: Found, find_in_list: Callable[[], Steps[ModelCompTask | None]]) -> Steps[Found]:
    """
    Take the source model of a given task from the list if the answer for the task does not name it.

    :param find_in_list: finds the task in the whole list.
    :raises QianfanTransientError: if the list does not name it, either. The task's model may be that one.
    """
    if not found.tasks or found.tasks[0].source_model_id is not None:
        return found
    (task,) = found.tasks
    listed = yield from find_in_list()
    if listed is None or listed.source_model_id is None:
        told = f"neither the answer nor the list names the source model of {clean(task.id, 80)}"
        raise QianfanTransientError(DETAIL, told)
    return replace(found, tasks=(replace(task, source_model_id=listed.source_model_id),))


def _detail(exchange: Exchange, need: NeedDetail) -> Steps[ModelCompTask | None]:
    """
    Ask for one task. If the produced model is missing, ask a few more times: it may only be late.

    The list has just shown the task. So a refusal proves nothing: one of the two is behind the other, or the
    task was deleted in between. If the answer is needed, this look has none, and the next one reads anew.
    """
    task: ModelCompTask | None = None
    why = "the answer has no task"
    for attempt in range(DETAIL_TRIES if need.required else 1):
        if attempt:
            yield Sleep(DETAIL_PAUSE)
        try:
            task = yield from read_task(exchange, need.task_id)
        except QianfanError as error:
            if not need.required:
                return None
            if not refuses_request(error):
                raise
            task, why = None, f"{error}"
        # If the answer names no source model, the list does.
        named = task and replace(task, source_model_id=task.source_model_id or "")
        if named is not None and (named.status != SUCCEEDED or usable_model_id(named)):
            break
    if task is None and need.required:
        shown = f"the list shows {clean(need.task_id, 80)} as {SUCCEEDED}, without a model"
        raise QianfanTransientError(DETAIL, f"{shown}, but {why}")
    return task
