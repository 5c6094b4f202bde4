"""A look: one complete reading of the platform, and the verdict drawn from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider_qianfan.api.errors import QianfanAPIError, QianfanAuthError, QianfanError, is_transient
from airflow_provider_qianfan.api.exchange import Exchange, Sleep, Steps
from airflow_provider_qianfan.api.model_compression import SUCCEEDED, ModelCompTask, read_task, read_tasks
from airflow_provider_qianfan.api.resource import Absence
from airflow_provider_qianfan.gate.outcome import decide, usable_model_id
from airflow_provider_qianfan.gate.verdict import NeedDetail, Open, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.api.resource import Row
    from airflow_provider_qianfan.gate.memory import Memory
    from airflow_provider_qianfan.gate.selection import Selector

DETAIL_TRIES = 3
DETAIL_PAUSE = 2.0
"""Seconds between two requests for a produced model that is not there yet."""


def look(
    exchange: Exchange, selector: Selector, memory: Memory, *, settle: float, clock: Callable[[], float]
) -> Steps[Verdict]:
    """
    Take one look.

    :raises QianfanError: if the platform gave no complete answer.
    """
    found = yield from read_candidates(exchange, selector)
    confirmed = False
    if memory.forgetful and found.absence is not None:
        # Nothing is remembered of earlier looks: one miss does not prove that the task is gone.
        for _ in range(DETAIL_TRIES - 1):
            yield Sleep(DETAIL_PAUSE)
            found = yield from read_candidates(exchange, selector)
            if found.absence is None:
                break
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
        elif isinstance(verdict, Open) and found.pages > 1 and not confirmed:
            # Pages are no snapshot: a newer task may have moved to a page that was already read.
            confirmed = True
            again = yield from read_candidates(exchange, selector)
            tasks = {task.id: task for task in (*found.tasks, *again.tasks)}
            found, details = replace(found, tasks=tuple(tasks.values())), {}
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
    """

    tasks: tuple[ModelCompTask, ...] = ()
    pages: int = 1
    absence: Absence | None = None
    row: Row | None = None


def read_candidates(exchange: Exchange, selector: Selector) -> Steps[Found]:
    """Read the tasks that may match. If an id is given, read only that task."""
    pinned = selector.model_comp_task_id
    if pinned is None:
        reading = yield from read_tasks(exchange, selector.source_model_id)
        return Found(reading.tasks, reading.pages)

    def find_in_list() -> Steps[ModelCompTask | None]:
        reading = yield from read_tasks(exchange)
        return next((task for task in reading.tasks if task.id == pinned), None)

    return (yield from read_given(exchange, pinned, find_in_list))


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
        if isinstance(error, QianfanAuthError) or is_transient(error):
            raise
        task, absence = None, Absence.of(error)
    if task is None:
        task = yield from find_in_list()
    return Found(absence=absence) if task is None else Found((task,))


def _detail(exchange: Exchange, need: NeedDetail) -> Steps[ModelCompTask | None]:
    """Ask for one task. If the produced model is missing, ask a few more times: it may only be late."""
    task: ModelCompTask | None = None
    for attempt in range(DETAIL_TRIES if need.required else 1):
        if attempt:
            yield Sleep(DETAIL_PAUSE)
        try:
            task = yield from read_task(exchange, need.task_id)
        except QianfanError:
            if need.required:
                raise
            return None
        if task is not None and (task.status != SUCCEEDED or usable_model_id(task)):
            break
    return task
