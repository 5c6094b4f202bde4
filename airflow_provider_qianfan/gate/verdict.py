"""The verdicts of a look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.model_compression import ModelCompTask
    from airflow_provider_qianfan.api.resource import Row
    from airflow_provider_qianfan.gate.errors import QianfanGateError

HOUR = 3600.0
"""Seconds: the usual time before a warning is repeated."""


class Note(NamedTuple):
    """A warning to give once in a wait, or to repeat after ``again_after`` seconds."""

    key: str
    text: str
    again_after: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """
    Not yet. ``state`` says what the gate waits for.

    :param selected: the id of the task that counts.
    :param absent: the id of the task or resource that is not there.
    """

    state: str
    notes: tuple[Note, ...] = ()
    selected: str = ""
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """The task succeeded, or the resource is ready: ``described.model_id`` may be deployed, or is served."""

    described: ModelCompTask | Row
    notes: tuple[Note, ...] = ()

    @property
    def model_id(self) -> str:
        if not self.described.model_id:
            raise ValueError(f"{self.described.id} names no model")
        return self.described.model_id


@dataclass(frozen=True, slots=True)
class Fail:
    """The gate stays shut for good."""

    error: QianfanGateError
    described: ModelCompTask | Row | None = None
    notes: tuple[Note, ...] = ()


class NeedDetail(NamedTuple):
    """The list does not say enough about this task. Unless ``required``, only the reason is missing."""

    task_id: str
    required: bool


Verdict = Wait | Open | Fail
