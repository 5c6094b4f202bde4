"""How to cancel a model compression task, and wait for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_qianfan.api.errors import QianfanError, QianfanTransientError, is_transient
from airflow_provider_qianfan.api.exchange import Exchange, Sleep, Steps
from airflow_provider_qianfan.api.model_compression import FINISHED, STOPPING, ModelCompTask, cancel_task
from airflow_provider_qianfan.api.resource import Absence
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.gate.errors import QianfanTaskNotFoundError
from airflow_provider_qianfan.gate.look import read_candidates
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.wording import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

KILL_PATIENCE = 4.0
"""The longest pause, in seconds, in a kill. Airflow gives a trigger 30 seconds to end."""


def cancel_unfinished(exchange: Exchange, model_comp_task_id: str) -> Steps[ModelCompTask]:
    """
    Cancel a task unless it has finished or is being cancelled. Return its last known description.

    The documentation does not say how the platform answers if the task has finished. So this function asks
    for the status first, and again after an error.

    :raises QianfanTaskNotFoundError: if there is no such task.
    :raises QianfanError: if the task could not be cancelled.
    """
    task = yield from look_at(exchange, model_comp_task_id)
    if task.status in (*FINISHED, STOPPING):
        return task
    try:
        yield from cancel_task(exchange, model_comp_task_id)
    except QianfanError:
        task = yield from look_at(exchange, model_comp_task_id)
        if task.status not in (*FINISHED, STOPPING):
            raise
    return task


def look_at(exchange: Exchange, model_comp_task_id: str) -> Steps[ModelCompTask]:
    """
    Ask for one task.

    :raises QianfanTaskNotFoundError: if there is no such task.
    """
    found = yield from read_candidates(exchange, Selector(model_comp_task_id=model_comp_task_id))
    if found.tasks:
        return found.tasks[0]
    absence = found.absence or Absence()
    raise QianfanTaskNotFoundError(
        f"There is no model compression task {clean(model_comp_task_id, 80)}. Check the id, and that the"
        f" connection's key belongs to the account that owns it.{absence.sentence}",
        model_comp_task_id=model_comp_task_id,
        request_id=absence.request_id,
    )


def wait_for_end(
    exchange: Exchange, task: ModelCompTask, *, poke_interval: float, until: float, clock: Callable[[], float]
) -> Steps[ModelCompTask]:
    """
    Wait until a task has succeeded, failed or stopped. Return its last description.

    :param until: when to give up, in seconds since the epoch.
    :raises QianfanTransientError: if the task has not ended by then.
    """
    trouble = ""
    while task.status not in FINISHED:
        left = until - clock()
        if left <= 0:
            raise QianfanTransientError(
                f"Waiting for the end of {name_of(task)}",
                f"it was cancelled, but is {clean(task.status, 40)} when the time is up (timeout).{trouble}",
            )
        yield Sleep(min(poke_interval, left))
        try:
            task, trouble = (yield from look_at(exchange, task.id)), ""
        except QianfanError as error:
            if not is_transient(error):
                raise
            trouble = f" The last look: {error}"
    return task
