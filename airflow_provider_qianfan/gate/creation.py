"""
How a model compression task is created once, although the platform has no idempotency key.

Rows of the list do not say for which model set a task is, and names need not be unique. So what tells our
task from all others is a mark in its description, made from what Airflow keeps over all tries of a task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanError,
    QianfanTransientError,
    clean,
    is_transient,
)
from airflow_provider_qianfan.api.exchange import Exchange, Sleep, Steps
from airflow_provider_qianfan.api.model_compression import (
    FAILED,
    STOPPED,
    STRATEGIES,
    ModelCompTask,
    create_task,
    describe_model,
    read_tasks,
)
from airflow_provider_qianfan.exceptions import (
    QianfanModelNotReadyError,
    QianfanTaskAmbiguousError,
    QianfanTaskExistsError,
)
from airflow_provider_qianfan.gate.look import read_candidates
from airflow_provider_qianfan.gate.once import IfExists, Say, may_have_arrived, next_look
from airflow_provider_qianfan.gate.resource import MODEL
from airflow_provider_qianfan.gate.selection import Selector, check_text, is_rendered_later
from airflow_provider_qianfan.gate.wording import describe, duration, name_of

AGAIN = (
    "To create another one, trigger another run, or change nonce and clear this task, or delete that"
    " compression task and clear this task."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    The model compression task to create: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji.

    :param mark: what :func:`.fingerprint` made.
    """

    name: str
    source_model_id: str
    model_set_id: str
    config: Mapping[str, Any]
    mark: str
    description: str | None = None

    def body(self) -> dict[str, Any]:
        """Return the body of the request."""
        return {
            "name": self.name,
            "description": f"{self.description} {self.mark}" if self.description else self.mark,
            "sourceModelId": self.source_model_id,
            "modelSetId": self.model_set_id,
            "config": dict(self.config),
        }

    def is_it(self, task: ModelCompTask) -> bool:
        """Tell whether this is the task; one that does not say its source model may be, so it is."""
        marked = task.description is not None and self.mark in task.description
        return marked and task.source_model_id in (None, self.source_model_id)


@dataclass(frozen=True, slots=True)
class Earlier:
    """
    What is known of creations by earlier tries.

    :param sent_at: when the last may have been sent, in seconds since the epoch; None if none was.
    :param task_id: what it created; None if that is not known.
    """

    sent_at: float | None = None
    task_id: str | None = None


class Journal(Protocol):
    """What has to be written down while a task is created, for a later try."""

    def sending(self) -> None:
        """Write that the request is about to be sent."""

    def refused(self) -> None:
        """Write that it certainly created nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How to create.

    :param settle: seconds within which a task that was created becomes visible.
    :param if_exists: what to do if an earlier try has created the task.
    :param clock: tells the time, in seconds since the epoch.
    :param say: writes a line to the log.
    """

    settle: float
    if_exists: IfExists
    clock: Callable[[], float]
    say: Say


def create_once(
    exchange: Exchange, wanted: Wanted, earlier: Earlier, journal: Journal, plan: Plan
) -> Steps[str]:
    """
    Create the task, unless it is there; return its id.

    :raises QianfanGateError: for good: the model cannot be compressed, or it is not clear which task is ours.
    :raises QianfanError: for now. Whether a task was created is in the journal.
    """
    found = yield from _from_earlier(exchange, wanted, earlier, plan)
    if found is not None:
        return _adopt(found, wanted, plan)
    yield from check_source_model(exchange, wanted.source_model_id, plan.say)
    journal.sending()
    sent_at = plan.clock()
    try:
        return (yield from create_task(exchange, wanted.body()))
    except QianfanError as error:
        if not may_have_arrived(error):
            journal.refused()
            raise
        lost = clean(error.__cause__ or error)
    wait = duration(plan.settle)
    plan.say(
        logging.WARNING,
        f"The answer was lost: {lost} Looking for {wait} for the task that was maybe created.",
    )
    try:
        found = yield from find(exchange, wanted, sent_at + plan.settle, plan.clock)
    except QianfanError as error:
        raise _not_known(wanted, "the task could not be looked for", f"{lost} {error}") from None
    if found is None:
        raise _not_known(wanted, f"no task with the mark {wanted.mark} has appeared in {wait}", lost)
    plan.say(logging.INFO, f"The answer was lost, but {name_of(found)} was created.")
    return found.id


def _not_known(wanted: Wanted, told: str, lost: str) -> QianfanTransientError:
    return QianfanTransientError(
        "Creating a model compression task",
        f"it is not known whether {wanted.name!r} was created, as the answer was lost, and {told}. The next"
        " try looks again, and creates only if there is none. If no retries are left, look in the Qianfan"
        f" console before you clear this task. {lost}",
    )


def _from_earlier(
    exchange: Exchange, wanted: Wanted, earlier: Earlier, plan: Plan
) -> Steps[ModelCompTask | None]:
    if earlier.task_id is not None:
        found = yield from read_candidates(exchange, Selector(model_comp_task_id=earlier.task_id))
        for task in found.tasks:
            if task.id == earlier.task_id:
                return task
        plan.say(logging.WARNING, f"An earlier try created {earlier.task_id}, which is no longer there.")
    until = plan.clock()
    if earlier.sent_at is not None:
        until = min(earlier.sent_at, until) + plan.settle
        left = until - plan.clock()
        if left > 0:
            plan.say(
                logging.INFO,
                f"An earlier try may have created the task. Looking for it for {duration(left)} before"
                " another is created.",
            )
    return (yield from find(exchange, wanted, until, plan.clock))


def find(
    exchange: Exchange, wanted: Wanted, until: float, clock: Callable[[], float]
) -> Steps[ModelCompTask | None]:
    """
    Look for the task until then, in seconds since the epoch; at least once.

    :raises QianfanTaskAmbiguousError: if there are several.
    :raises QianfanError: if the platform gave no complete answer in the end.
    """
    seen_twice = False
    while True:
        began, reading = clock(), None
        try:
            reading = yield from read_tasks(exchange, wanted.source_model_id)
        except QianfanError as error:
            if began >= until or not is_transient(error):
                raise
        else:
            ours = [task for task in reading.tasks if wanted.is_it(task)]
            if len(ours) > 1:
                raise _several(ours, wanted)
            if ours:
                return ours[0]
        if reading is not None and began >= until:
            # Pages are no snapshot: the task may have moved to one that had been read.
            if reading.pages == 1 or seen_twice:
                return None
            seen_twice = True
        else:
            yield Sleep(next_look(until, clock()))


def _several(tasks: list[ModelCompTask], wanted: Wanted) -> QianfanTaskAmbiguousError:
    listed = "; ".join(map(describe, tasks[:10]))
    return QianfanTaskAmbiguousError(
        f"{len(tasks)} model compression tasks carry this task's mark {wanted.mark}: {listed}. Nothing was"
        " created, and the gate stays shut. Cancel and delete those that are not wanted, then clear this"
        " task."
    )


def _adopt(task: ModelCompTask, wanted: Wanted, plan: Plan) -> str:
    if plan.if_exists == "fail":
        raise QianfanTaskExistsError(
            f"{name_of(task)} was created by an earlier try of this task, and if_exists='fail'. {AGAIN}"
        )
    plan.say(logging.INFO, f"Nothing is created: an earlier try has created {describe(task)}.")
    differing = [
        f"{key} {clean(was, 80)!r} rather than {clean(asked, 80)!r}"
        for key, was, asked in (
            ("name", task.name, wanted.name),
            *((key, _config(task).get(key), wanted.config.get(key)) for key in ("strategy", "weight")),
        )
        if was is not None and asked is not None and str(was).lower() != str(asked).lower()
    ]
    if differing:
        plan.say(logging.WARNING, f"{task.id} has {', '.join(differing)}. {AGAIN}")
    if task.status in (FAILED, STOPPED):
        plan.say(logging.WARNING, f"{task.id} is {task.status}. {AGAIN}")
    return task.id


def _config(task: ModelCompTask) -> Mapping[str, Any]:
    config = task.json.get("config")
    return config if isinstance(config, Mapping) else {}


def check_source_model(exchange: Exchange, source_model_id: str, say: Say) -> Steps[None]:
    """
    Check that a model version can be compressed, as far as the platform says.

    :raises QianfanModelNotReadyError: if it never will be.
    :raises QianfanTransientError: if it may be later.
    """
    try:
        model = yield from describe_model(exchange, source_model_id)
    except QianfanAPIError as error:
        # Which policy this action needs is not documented; create has its own.
        if error.code != "AccessDenied":
            raise
        say(
            logging.WARNING,
            f"Creating without a check of the source model, which the key may not see. {error}",
        )
        return
    status, supported = model.get("status"), model.get("isSupportModelComp")
    if status in MODEL.failed:
        raise QianfanModelNotReadyError(
            f"Model version {source_model_id} has the status {status}: it was not made, and cannot be"
            " compressed. Nothing was created. Pass another source_model_id."
        )
    if isinstance(status, str) and status and status != MODEL.ready:
        raise QianfanTransientError(
            "Creating a model compression task",
            f"model version {source_model_id} has the status {clean(status, 40)!r}, and can be compressed"
            f" when it is {MODEL.ready}. Nothing was created. Set retries and retry_delay to wait for that.",
            sent=False,
        )
    if supported is False:
        raise QianfanModelNotReadyError(
            f"Model version {source_model_id} cannot be compressed: the platform says isSupportModelComp:"
            " false. Nothing was created. Pass a model version of a model that supports compression."
        )
    missing = [key for key, usable in (("status", status), ("isSupportModelComp", supported)) if not usable]
    if missing:
        say(
            logging.WARNING,
            f"The platform does not say {' and '.join(missing)} of model version {source_model_id};"
            " creating all the same, which it refuses if it has to.",
        )


def check_config(config: object) -> None:
    """
    Check the config of a compression, as far as it is known before templates are rendered.

    :raises ValueError: if it cannot be meant.
    """
    if is_rendered_later(config):
        return
    if not isinstance(config, Mapping):
        raise ValueError(f"config={clean(repr(config))} is not a dict, such as {_EXAMPLE}.")
    strategy = config.get("strategy")
    if is_rendered_later(strategy):
        return
    if strategy not in STRATEGIES:
        raise ValueError(
            f"config={clean(repr(config))}: strategy is one of {', '.join(STRATEGIES)}, such as {_EXAMPLE}."
        )
    if strategy == "Quantization" and not is_rendered_later(config.get("weight")):
        check_text("config['weight']", config.get("weight"))


_EXAMPLE = "{'strategy': 'Quantization', 'weight': 'INT8-PTQ'}"
