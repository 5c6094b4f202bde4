"""What the gate concludes from a reading: wait, open, fail, or ask for details first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_qianfan.api.model_compression import (
    CREATING,
    FAILED,
    RUNNING,
    STATUSES,
    STOPPED,
    STOPPING,
    SUCCEEDED,
    ModelCompTask,
)
from airflow_provider_qianfan.api.resource import Absence
from airflow_provider_qianfan.api.text import clean, duration
from airflow_provider_qianfan.gate.arguments import check_text
from airflow_provider_qianfan.gate.errors import (
    QianfanModelIdMissingError,
    QianfanTaskAmbiguousError,
    QianfanTaskFailedError,
    QianfanTaskNotFoundError,
    of_task,
)
from airflow_provider_qianfan.gate.memory import DEFAULT_SETTLE
from airflow_provider_qianfan.gate.selection import Selector, describe_seen, matches, newest, undated
from airflow_provider_qianfan.gate.verdict import HOUR, Fail, NeedDetail, Note, Open, Verdict, Wait
from airflow_provider_qianfan.gate.wording import describe, name_of

if TYPE_CHECKING:
    from airflow_provider_qianfan.gate.memory import Memory

_SHOWN = 10
"""How many tasks one line names."""

Details = Mapping[str, ModelCompTask | None]


def decide(
    tasks: Sequence[ModelCompTask],
    selector: Selector,
    memory: Memory,
    now: float,
    *,
    details: Details | None = None,
    settle: float = DEFAULT_SETTLE,
    absence: Absence | None = None,
) -> Verdict | NeedDetail:
    """
    Draw the verdict from one complete reading.

    :param tasks: all tasks that were read, each once.
    :param selector: which task is meant.
    :param memory: what this wait remembers.
    :param now: seconds since the epoch.
    :param details: answers of the detail action; None for an answer without a task.
    :param settle: seconds for which a given task id may be missing.
    :param absence: what the platform said about the given task id.
    """
    details = details or {}
    if selector.model_comp_task_id is not None:
        pinned = next((task for task in tasks if task.id == selector.model_comp_task_id), None)
        if pinned is None:
            return _pinned_absent(selector, memory, now, settle, absence)
        if not matches(pinned, selector):
            return Fail(_not_as_described(pinned, selector), pinned)
        return _outcome(pinned, details, ())

    found = [task for task in tasks if matches(task, selector)]
    notes = _undated_notes(tasks, selector)
    if not found:
        seen = Note("absent", f"No task matches yet: {describe_seen(tasks, selector)}.", HOUR)
        return Wait(f"no task matches yet ({selector})", (*notes, seen))
    under_way = [task for task in found if task.status in (CREATING, RUNNING)]
    if len(under_way) > 1:
        if selector.if_several == "fail":
            return Fail(_ambiguous("are under way at once", under_way), notes=notes)
        listed = _list_of(under_way, describe, "; ")
        notes += (
            Note("several", f"{len(under_way)} tasks are under way at once; the newest counts: {listed}."),
        )
    candidates = newest(found)
    if len(candidates) > 1:
        return _outcome_of_all(candidates, details, notes)
    return _outcome(candidates[0], details, notes + _selection_notes(candidates[0], selector, memory))


def _outcome(task: ModelCompTask, details: Details, notes: tuple[Note, ...]) -> Verdict | NeedDetail:
    """Draw the verdict for the one selected task."""
    if task.status == SUCCEEDED:
        return _succeeded(task, details, notes)
    if task.status == FAILED:
        if task.failed_reason is None and task.id not in details:
            return NeedDetail(task.id, required=False)
        detail = details.get(task.id)
        reason = task.failed_reason or (detail.failed_reason if detail else None)
        if reason:
            task = replace(task, json={**task.json, "failedReason": reason})
        return Fail(_failed(task, reason), task, notes)
    if task.status == STOPPED:
        message = (
            f"Model compression task {name_of(task)} was stopped. The gate stays shut. Create the task again,"
            " and clear this Airflow task."
        )
        return Fail(QianfanTaskFailedError(message, **of_task(task)), task, notes)
    if task.status not in (CREATING, RUNNING, STOPPING):
        status = clean(task.status, 40)
        unknown = Note(
            f"status:{status}",
            f"{name_of(task)} has the undocumented status {status!r} (documented:"
            f" {', '.join(STATUSES)}); the gate stays shut and goes on waiting.",
        )
        return Wait(f"{name_of(task)} has the unknown status {status!r}", (*notes, unknown), task.id)
    return Wait(f"{name_of(task)} is {task.status}", notes, task.id)


def _succeeded(task: ModelCompTask, details: Details, notes: tuple[Note, ...]) -> Verdict | NeedDetail:
    if usable_model_id(task):
        return Open(task, notes)
    if task.id not in details:
        return NeedDetail(task.id, required=True)
    detail = details[task.id]
    whole = detail and described_by(detail, task)
    if whole is not None:
        if whole.status != SUCCEEDED:
            return _outcome(whole, details, notes)
        if usable_model_id(whole):
            return Open(whole, notes)
    latest, other = whole or detail or task, ""
    if detail is not None and whole is None:
        other = (
            f"The list says something else (name {clean(task.name, 80)!r}, source model"
            f" {clean(task.source_model_id, 80)!r}). "
        )
    return Fail(
        QianfanModelIdMissingError(
            f"Model compression task {name_of(task)} succeeded, but names no usable produced model (modelId"
            f" {clean(latest.json.get('modelId'), 80)!r}, source model"
            f" {clean(latest.source_model_id, 80)!r}). {other}Look at it"
            " in the Qianfan console; deploy by hand or create the task again.",
            **of_task(latest),
        ),
        latest,
        notes,
    )


def _outcome_of_all(
    candidates: Sequence[ModelCompTask], details: Details, notes: tuple[Note, ...]
) -> Verdict | NeedDetail:
    """Any of several tasks may be the newest: open only if they all lead to the same model."""
    outcomes = []
    for task in candidates:
        outcome = _outcome(task, details, ())
        if isinstance(outcome, NeedDetail) and not outcome.required:
            outcome = Fail(_failed(task, None), task)
        if isinstance(outcome, Wait):
            listed = _list_of(candidates, name_of, ", ")
            why = Note(
                "tied", f"It is not known which of these is the newest, so all of them must finish: {listed}."
            )
            return Wait(f"waiting for all of {listed}", (*notes, why, *outcome.notes))
        outcomes.append(outcome)
    unclear = next((outcome for outcome in outcomes if isinstance(outcome, NeedDetail)), None)
    if unclear and not any(isinstance(outcome, Fail) for outcome in outcomes):
        return unclear
    opened = [outcome for outcome in outcomes if isinstance(outcome, Open)]
    if len(opened) == len(candidates) and len({outcome.model_id for outcome in opened}) == 1:
        return Open(opened[0].described, notes)
    return Fail(_ambiguous("might each be the newest, and they do not agree", candidates), notes=notes)


def described_by(detail: ModelCompTask, listed: ModelCompTask) -> ModelCompTask | None:
    """Return a listed task as its detail describes it; None if the two have different models or names."""
    source = detail.source_model_id or listed.source_model_id
    same_source = listed.source_model_id in (None, source)
    same_name = None in (detail.name, listed.name) or detail.name == listed.name
    return replace(detail, source_model_id=source) if same_source and same_name else None


def usable_model_id(task: ModelCompTask) -> bool:
    """Tell whether the task names its source model, and a produced model that is another one."""
    source = task.source_model_id
    try:
        return source is not None and check_text("model_id", task.model_id) != source.strip()
    except ValueError:
        return False


def _pinned_absent(
    selector: Selector, memory: Memory, now: float, settle: float, absence: Absence | None
) -> Wait | Fail:
    pinned_id = str(selector.model_comp_task_id)
    since, pinned = memory.missing_since(pinned_id), clean(pinned_id, 80)
    missing_for = 0.0 if since is None else now - since
    absence = absence or Absence()
    if missing_for >= settle:
        for_how_long = "" if memory.forgetful else f", and there has been none for {duration(missing_for)}"
        return Fail(
            QianfanTaskNotFoundError(
                f"There is no model compression task {pinned}{for_how_long}."
                " Check the id, and that the connection's key belongs to the account that owns it."
                f"{absence.sentence}",
                model_comp_task_id=selector.model_comp_task_id,
                source_model_id=selector.source_model_id,
                request_id=absence.request_id,
            )
        )
    text = f"Model compression task {pinned} is not there; failing unless it appears within"
    note = Note("absent", f"{text} {duration(settle - missing_for)}.{absence.sentence}", HOUR)
    return Wait(f"{pinned} is not there yet", (note,), absent=pinned_id)


def _not_as_described(task: ModelCompTask, selector: Selector) -> QianfanTaskNotFoundError:
    return QianfanTaskNotFoundError(
        f"Model compression task {clean(task.id, 80)} is there, but does not match ({selector}):"
        f" it is {describe(task)}, source model {clean(task.source_model_id, 80)}. Correct the arguments.",
        **of_task(task),
    )


def _failed(task: ModelCompTask, reason: str | None) -> QianfanTaskFailedError:
    why = clean(reason).rstrip(".。") if reason else "the platform gives no reason"
    return QianfanTaskFailedError(
        f"The compression failed: {why}. The gate stays shut. Look at model compression task {name_of(task)}"
        " in the Qianfan console, create it again, and clear this Airflow task.",
        **of_task(task),
        reason=reason,
    )


def _ambiguous(why: str, tasks: Sequence[ModelCompTask]) -> QianfanTaskAmbiguousError:
    listed = _list_of(tasks, describe, "; ")
    return QianfanTaskAmbiguousError(
        f"{len(tasks)} model compression tasks {why}: {listed}. The gate stays shut. Pass"
        " model_comp_task_id, or narrow the choice down by name or created_after.",
        source_model_id=tasks[0].source_model_id,
    )


def _list_of(tasks: Sequence[ModelCompTask], write: Callable[[ModelCompTask], str], between: str) -> str:
    return between.join([*map(write, tasks[:_SHOWN]), *(["…"] if len(tasks) > _SHOWN else [])])


def _undated_notes(tasks: Sequence[ModelCompTask], selector: Selector) -> tuple[Note, ...]:
    left_out = undated(tasks, selector)
    if not left_out:
        return ()
    listed = ", ".join(map(name_of, left_out[:5]))
    return (Note("undated", f"Left out, because their creation time is missing: {listed}."),)


def _selection_notes(task: ModelCompTask, selector: Selector, memory: Memory) -> tuple[Note, ...]:
    notes: tuple[Note, ...] = ()
    if memory.selected and memory.selected != task.id:
        notes = (
            Note(
                f"selected:{task.id}",
                f"The newest task that matches is now {name_of(task)}; it was {clean(memory.selected, 80)}.",
            ),
        )
    started = selector.run_started and selector.run_started.replace(microsecond=0)
    if selector.created_after is None and started and task.create_time and task.create_time < started:
        age = duration((started - task.create_time).total_seconds())
        notes += (
            Note(
                f"older:{task.id}",
                f"{name_of(task)} was created {age} before this DAG run started. If it may be left over"
                " from an earlier run, set created_after.",
            ),
        )
    return notes
