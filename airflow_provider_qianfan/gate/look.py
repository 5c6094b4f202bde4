"""A look: one complete reading of the platform, and the verdict drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_qianfan.api.errors import QianfanAPIError, QianfanAuthError, QianfanError
from airflow_provider_qianfan.api.exchange import Exchange, Sleep, Steps, is_transient
from airflow_provider_qianfan.api.model_compression import ModelCompTask, read_task, read_tasks
from airflow_provider_qianfan.gate.outcome import decide, usable_model_id
from airflow_provider_qianfan.gate.verdict import NeedDetail, Verdict

if TYPE_CHECKING:
    from airflow_provider_qianfan.gate.memory import Memory
    from airflow_provider_qianfan.gate.selection import Selector

DETAIL_TRIES = 3
DETAIL_PAUSE = 2.0
"""Seconds between two questions for a produced model that is not there yet."""


def look(
    exchange: Exchange, selector: Selector, memory: Memory, *, settle: float, clock: Callable[[], float]
) -> Steps[Verdict]:
    """
    Take one look.

    :raises QianfanError: if the platform gave no complete answer.
    """
    tasks, absence = yield from _read(exchange, selector)
    details: dict[str, ModelCompTask | None] = {}
    while True:
        verdict = decide(tasks, selector, memory, clock(), details=details, settle=settle, absence=absence)
        if not isinstance(verdict, NeedDetail):
            return verdict
        details[verdict.task_id] = yield from _detail(exchange, selector, verdict)


def watch(
    exchange: Exchange, selector: Selector, memory: Memory, *, settle: float, clock: Callable[[], float]
) -> Steps[Verdict | NeedDetail]:
    """Take a look without asking for detail: enough to tell whether a real one is worth a worker."""
    tasks, absence = yield from _read(exchange, selector)
    return decide(tasks, selector, memory, clock(), settle=settle, absence=absence)


def _read(exchange: Exchange, selector: Selector) -> Steps[tuple[list[ModelCompTask], str]]:
    """Read the candidates; for a given task id that is refused, also what the platform said."""
    if selector.model_comp_task_id is None:
        return (yield from read_tasks(exchange, selector.source_model_id)), ""
    absence = ""
    try:
        task = yield from read_task(exchange, selector.model_comp_task_id)
    except QianfanAPIError as error:
        if isinstance(error, QianfanAuthError) or is_transient(error):
            raise
        task, absence = None, str(error)
    if task is not None:
        return [task], ""
    # How an unknown id is refused is not documented, so a refusal alone does not prove that the task is not
    # there.
    return (yield from read_tasks(exchange)), absence


def _detail(exchange: Exchange, selector: Selector, need: NeedDetail) -> Steps[ModelCompTask | None]:
    """Ask for one task; where its produced model is what is missing, a few times, as it may only be late."""
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
        if task is not None and (task.status != "succeeded" or usable_model_id(task, selector)):
            break
    return task
