"""
What a gate may conclude: the tables of docs/concepts.md, written once more, from the page alone.

This file imports nothing of the package. Where it and the package differ, one of them is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

UNDER_WAY = ("creating", "running")
FINISHED = ("succeeded", "failed", "stopped")

SETTLE = 120
"""Seconds for which a task with a given id may be missing."""


@dataclass(frozen=True, slots=True)
class Row:
    """A task, as the platform shows it. Times are whole seconds; None is a time that is missing."""

    id: str
    source: str
    status: str
    name: str = ""
    created: int | None = None
    model: str | None = None
    finished: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """Which task is meant."""

    source: str | None = None
    id: str | None = None
    name: str | None = None
    created_after: int | None = None
    if_several: str = "fail"
    model_ready: bool = False


class Answer(NamedTuple):
    """What the gate does: ``waits``, ``opens`` for a model, or ``fails`` with a kind of error."""

    does: str
    what: str = ""


WAITS = Answer("waits")
FAILED, AMBIGUOUS = Answer("fails", "TaskFailed"), Answer("fails", "TaskAmbiguous")
MODEL_FAILED, NO_SUCH_MODEL = Answer("fails", "ResourceFailed"), Answer("fails", "ResourceNotFound")
NOT_FOUND, NO_MODEL = Answer("fails", "TaskNotFound"), Answer("fails", "ModelIdMissing")


def matches(row: Row, question: Question) -> bool:
    """A task matches if it meets every argument that is passed."""
    if question.created_after is not None and (row.created is None or row.created < question.created_after):
        return False
    return (
        question.source in (None, row.source)
        and question.id in (None, row.id)
        and question.name in (None, row.name)
    )


def with_model(told: Answer, models: dict[str, str], *, missing_for: int) -> Answer:
    """
    Say what a gate does that waits for the produced model version, too.

    :param models: the status of each model version that is there.
    """
    if told.does != "opens" or told.what not in models:
        return told if told.does != "opens" else NO_SUCH_MODEL if missing_for >= SETTLE else WAITS
    return {"Ready": told, "Fail": MODEL_FAILED}.get(models[told.what], WAITS)


def answer(
    listed: list[Row],
    detailed: dict[str, Row],
    question: Question,
    *,
    missing_for: int = 0,
    by_list: bool = False,
) -> Answer:
    """
    Say what the gate does.

    :param listed: what the list shows.
    :param detailed: what the question for one task shows, by id.
    :param missing_for: seconds for which the task with the given id has been missing.
    :param by_list: whether the list counts, or the answer for one task. This matters in two cases. Several
        tasks have finished and do not agree in the list, and the answer for one of them says that it has not
        finished: the tables allow both. Or the platform did not find the task with the given id at first, and
        the gate took it from the list.
    """
    if question.id is not None:
        shown = [row for row in listed if row.id == question.id]
        row = None if by_list and shown else detailed.get(question.id)
        row = row or (shown[-1] if shown else None)
        if row is None:
            return NOT_FOUND if missing_for >= SETTLE else WAITS
        if not row.source:
            if not shown or not shown[-1].source:
                return WAITS
            row = replace(row, source=shown[-1].source)
        return outcome(row, detailed) if matches(row, question) else NOT_FOUND
    found = list({row.id: row for row in listed if matches(row, question)}.values())
    if not found:
        return WAITS
    if question.if_several == "fail" and sum(row.status in UNDER_WAY for row in found) > 1:
        return AMBIGUOUS
    newest = max((row.created for row in found if row.created is not None), default=None)
    candidates = [row for row in found if row.created in (newest, None)]
    if len(candidates) == 1:
        return outcome(candidates[0], detailed)
    if any(row.status not in FINISHED for row in candidates):
        return WAITS
    outcomes = [outcome(row, detailed) for row in candidates]
    fails = any(each.does == "fails" for each in outcomes)
    if WAITS in outcomes and not (fails and by_list):
        return WAITS
    return outcomes[0] if not fails and len({*outcomes}) == 1 else AMBIGUOUS


def outcome(row: Row, detailed: dict[str, Row]) -> Answer:
    """Say what the gate does about the task that counts."""
    if row.status == "succeeded" and not is_usable(row):
        detail = detailed.get(row.id, row)
        row = replace(detail, source=detail.source or row.source)
    if row.status == "succeeded":
        return Answer("opens", str(row.model)) if is_usable(row) else NO_MODEL
    return FAILED if row.status in ("failed", "stopped") else WAITS


def is_usable(row: Row) -> bool:
    """Tell whether a task names a produced model that is not its source model, nothing, or something else."""
    model = str(row.model)
    if model.lower() in ("none", "null") or model.startswith(("am-", "amva-", "svco-")):
        return False
    return bool(model and row.source) and model == model.strip() and model != row.source
