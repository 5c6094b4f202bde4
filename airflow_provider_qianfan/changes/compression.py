"""
The model compression task that is created once.

A row of the list does not name the model set, and names need not be unique. Only the mark in its description
shows that a task is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.model_compression import (
    FAILED,
    STOPPED,
    ModelCompTask,
    create_task,
    read_tasks,
)
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.changes.readiness import check_source_model
from airflow_provider_qianfan.gate.errors import QianfanTaskAmbiguousError, QianfanTaskExistsError, of_task
from airflow_provider_qianfan.gate.look import read_candidates
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.wording import describe

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.exchange import Exchange, Sending, Steps
    from airflow_provider_qianfan.changes.journal import Say

AGAIN = (
    "To create another one, trigger another run, or change nonce and clear this task, or delete that"
    " compression task and clear this task."
)


@dataclass(frozen=True, slots=True)
class NewTask:
    """
    The model compression task to create: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji.

    :param mark: the mark, from :func:`.fingerprint`.
    """

    name: str
    source_model_id: str
    model_set_id: str
    config: Mapping[str, Any]
    mark: str
    description: str | None = None

    noun = "model compression task"
    again = AGAIN
    exists_error = QianfanTaskExistsError
    ambiguous_error = QianfanTaskAmbiguousError

    @property
    def identity(self) -> Mapping[str, str]:
        """What a note has to be about."""
        return {"mark": self.mark, "source_model_id": self.source_model_id}

    def read(self, exchange: Exchange, known_id: str) -> Steps[ModelCompTask | None]:
        """Ask for the task that an earlier try created; None if it is gone."""
        found = yield from read_candidates(exchange, Selector(model_comp_task_id=known_id))
        return found.tasks[0] if found.tasks else None

    def read_ours(self, exchange: Exchange) -> Steps[tuple[list[ModelCompTask], int]]:
        """Read the tasks with our mark. Return them and the number of pages of the list."""
        reading = yield from read_tasks(exchange, self.source_model_id)
        return [task for task in reading.tasks if self._is_it(task)], reading.pages

    def _is_it(self, task: ModelCompTask) -> bool:
        """Tell whether a task is ours. One that does not name its source model may be ours, and counts."""
        marked = task.description is not None and self.mark in task.description
        return marked and task.source_model_id in (None, self.source_model_id)

    def prepare(self, exchange: Exchange, say: Say) -> Steps[Mapping[str, Any]]:
        """Check that the source model can be compressed, and return the body of the request."""
        yield from check_source_model(exchange, self.source_model_id, say)
        return {
            "name": self.name,
            "description": f"{self.description} {self.mark}" if self.description else self.mark,
            "sourceModelId": self.source_model_id,
            "modelSetId": self.model_set_id,
            "config": dict(self.config),
        }

    def create(self, exchange: Exchange, body: Mapping[str, Any], sending: Sending) -> Steps[str]:
        """Create the task, and return its id."""
        return (yield from create_task(exchange, body, sending))

    def known(self, made: ModelCompTask) -> Mapping[str, str | None]:
        """Return the attributes of an error about the task."""
        return of_task(made)

    def describe(self, made: ModelCompTask) -> str:
        """Write what distinguishes the task from similar ones."""
        return describe(made)

    def surprises(self, made: ModelCompTask) -> Iterator[str]:
        """Write how the task differs from what was asked for."""
        config = _config(made)
        differing = [
            f"{key} {clean(was, 80)!r} rather than {clean(asked, 80)!r}"
            for key, was, asked in (
                ("name", made.name, self.name),
                *((key, config.get(key), self.config.get(key)) for key in ("strategy", "weight")),
            )
            if was is not None and asked is not None and str(was).lower() != str(asked).lower()
        ]
        if differing:
            yield f"{clean(made.id, 80)} has {', '.join(differing)}."
        if made.status in (FAILED, STOPPED):
            yield f"{clean(made.id, 80)} is {made.status}."


def _config(task: ModelCompTask) -> Mapping[str, Any]:
    config = task.json.get("config")
    return config if isinstance(config, Mapping) else {}
