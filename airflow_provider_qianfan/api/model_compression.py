"""
The model compression actions of ``/v2/model`` and what they return.

https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq (list), https://cloud.baidu.com/doc/WENXINWORKSHOP/s/ylxcncgpi
(detail), https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji (create),
https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd (cancel).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.errors import MODEL_PATH, QianfanProtocolError, QianfanTransientError
from airflow_provider_qianfan.api.paging import Scan
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.api.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from airflow_provider_qianfan.api.exchange import Exchange, Sending, Steps

CREATE = "CreateModelCompTask"
LIST = "DescribeModelCompTasks"
DETAIL = "DescribeModelCompTask"
CANCEL = "CancelModelCompTask"
DELETE = "DeleteModelCompTask"
ROWS = "modelCompTaskList"

CREATING, RUNNING, STOPPING = "creating", "running", "stopping"
SUCCEEDED, FAILED, STOPPED = "succeeded", "failed", "stopped"
STATUSES = (CREATING, RUNNING, SUCCEEDED, FAILED, STOPPING, STOPPED)
"""All documented statuses."""

FINISHED = frozenset({SUCCEEDED, FAILED, STOPPED})
STRATEGIES = ("Quantization", "Sparsity")


@dataclass(frozen=True, slots=True)
class ModelCompTask:
    """
    A model compression task as the platform described it. Only ``id`` is always there.

    Platform pages: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq (list),
    https://cloud.baidu.com/doc/WENXINWORKSHOP/s/ylxcncgpi (one task).

    :param id: the model compression task, ``amva-…``.
    :param name: name of the task.
    :param status: one of :data:`STATUSES`, or an undocumented one; empty if the platform does not say.
    :param source_model_id: the model version being compressed, ``amv-…``.
    :param model_id: the produced model version, ``amv-…``; None if the platform names none.
    :param create_time: when the task was created; None if that is not known.
    :param finish_time: when the task ended; None if that is not known, or if the task has not ended.
    :param failed_reason: why the task failed, in the platform's words. Only the answer for one task has it,
        not the list.
    :param description: what the task's creator wrote about it.
    :param json: the task as the platform sent it, with all keys.
    """

    id: str
    name: str | None = None
    status: str = ""
    source_model_id: str | None = None
    model_id: str | None = None
    create_time: datetime | None = None
    finish_time: datetime | None = None
    failed_reason: str | None = None
    description: str | None = None
    json: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> ModelCompTask:
        """
        Read a row of the list, or the result of the detail action.

        :raises QianfanProtocolError: if the row has no id.
        """
        task_id = _text(row, "id")
        if task_id is None:
            raise QianfanProtocolError(f"a model compression task without an id: {clean(row)}")
        return cls(
            id=task_id,
            name=_text(row, "name"),
            status=_text(row, "status") or "",
            source_model_id=_text(row, "sourceModelId"),
            model_id=_text(row, "modelId"),
            create_time=parse_time(row.get("createTime")),
            finish_time=parse_time(row.get("finishTime")),
            failed_reason=_text(row, "failedReason"),
            description=_text(row, "description"),
            json=row,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """
    One reading of the list.

    :param tasks: each task once.
    :param pages: how many pages the list took. Several pages are no snapshot: a row may have moved from a
        page that was still to come to a page that had been read.
    :param unreadable: why a row could not be read; None if all could.
    """

    tasks: tuple[ModelCompTask, ...]
    pages: int
    unreadable: QianfanProtocolError | None = None


def _text(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    return value if isinstance(value, str) and value else None


def scan_tasks(exchange: Exchange, source_model_id: str | None = None) -> Scan:
    """Begin to read the list. The platform may ignore ``source_model_id``: newer pages do not document it."""
    body = {"sourceModelId": source_model_id} if source_model_id else None
    return Scan(exchange, MODEL_PATH, LIST, ROWS, body)


def read_tasks(exchange: Exchange, source_model_id: str | None = None) -> Steps[Reading]:
    """
    Read the whole list. A task that comes on two pages counts once, in its later form.

    :raises QianfanTransientError: if a page describes a task of the source model in two ways. Nothing tells
        which description is right. Also if the list changes so that no reading is complete.
    """
    scan, tasks = scan_tasks(exchange, source_model_id), dict[str, ModelCompTask]()
    while not scan.finished:
        page = [ModelCompTask.parse(row) for row in (yield from scan.next_page(tasks))]
        for one, other in _in_two_ways(page):
            if source_model_id in (None, one.source_model_id, other.source_model_id):
                raise QianfanTransientError(LIST, _told_twice(one))
        tasks.update((task.id, task) for task in page)
    return Reading(tuple(tasks.values()), scan.pages)


def read_tasks_within(exchange: Exchange, most_pages: float) -> Steps[Reading | None]:
    """
    Read the whole list; None if it has more pages than allowed.

    Rows that cannot be read are left out, and so are tasks that a page describes in two ways.
    """
    scan, tasks, unreadable = scan_tasks(exchange), dict[str, ModelCompTask](), None
    while not scan.finished:
        if scan.pages >= most_pages:
            return None
        page = []
        for row in (yield from scan.next_page(tasks)):
            try:
                page.append(ModelCompTask.parse(row))
            except QianfanProtocolError as error:
                unreadable = error
        tasks.update((task.id, task) for task in page)
        for one, _ in _in_two_ways(page):
            unreadable = QianfanProtocolError(f"{LIST}: {_told_twice(one)}")
            tasks.pop(one.id, None)
    return Reading(tuple(tasks.values()), scan.pages, unreadable)


def _in_two_ways(page: list[ModelCompTask]) -> Iterator[tuple[ModelCompTask, ModelCompTask]]:
    """Yield both descriptions of each task that a page has twice, if they differ in what decides."""
    seen: dict[str, ModelCompTask] = {}
    for task in page:
        other = seen.setdefault(task.id, task)
        if _what_decides(task) != _what_decides(other):
            yield other, task


def _what_decides(task: ModelCompTask) -> tuple[object, ...]:
    return task.status, task.model_id, task.source_model_id, task.name, task.create_time


def _told_twice(task: ModelCompTask) -> str:
    return f"a page describes {clean(task.id, 80)} in two ways"


def read_task(exchange: Exchange, model_comp_task_id: str) -> Steps[ModelCompTask | None]:
    """
    Ask for one task.

    :returns: the task; None if the answer is a success without a task in it.
    :raises QianfanProtocolError: if the answer is about another task.
    """
    answer = yield from exchange.call(MODEL_PATH, DETAIL, {"modelCompTaskId": model_comp_task_id})
    result = answer.get("result")
    if not isinstance(result, dict) or not result:
        return None
    task = ModelCompTask.parse(result)
    if task.id != model_comp_task_id:
        asked = clean(model_comp_task_id, 80)
        raise QianfanProtocolError(f"{DETAIL}: asked for {asked}, answered {clean(task.id)}")
    return task


def create_task(exchange: Exchange, body: Mapping[str, Any], sending: Sending | None = None) -> Steps[str]:
    """
    Create a task.

    :param sending: see :meth:`.Exchange.call`.
    :returns: the id of the task.
    :raises QianfanProtocolError: if the answer has no id. The task may have been created.
    """
    answer = yield from exchange.call(MODEL_PATH, CREATE, body, sending=sending)
    task_id = answer.get("result")
    if not isinstance(task_id, str) or not task_id or not task_id.isprintable():
        raise QianfanProtocolError(
            f"{CREATE}: the answer names no task id, but the task may have been created: {clean(answer)}"
        )
    return task_id


def cancel_task(exchange: Exchange, model_comp_task_id: str) -> Steps[None]:
    """Stop a task: it becomes ``stopping``, then ``stopped``."""
    yield from exchange.call(MODEL_PATH, CANCEL, {"modelCompTaskId": model_comp_task_id})
