"""A model compression task, and how the platform shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TERMINAL, TaskStep
from airflow_provider_qianfan.emulator.timeline import Timed, given, time_text

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_qianfan.emulator.behaviour import Behaviour
    from airflow_provider_qianfan.emulator.timeline import Where


class Task(Timed[TaskSpec, TaskStep]):
    """A model compression task. Its status follows from its steps and the clock."""

    def finished(self, now: datetime) -> datetime | None:
        """Return when the task ended; None if it has not ended."""
        end = None
        for step in self.past(now):
            if step.status not in TERMINAL:
                end = None
            elif end is None:
                end = self.at(step)
        return end

    def row(self, where: Where, now: datetime, behaviour: Behaviour) -> dict[str, Any]:
        """
        Return the task as the list or the detail action shows it.

        The list has no ``failedReason``. ``modelId`` is there once the task has succeeded.
        """
        step = self.step(now)
        row: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "description": self.spec.description,
            "status": step.status,
            "sourceModelId": self.spec.source_model_id,
        }
        if where == "detail" and step.failed_reason is not None:
            row["failedReason"] = step.failed_reason
        if step.model_id is not None:
            row["modelId"] = step.model_id
        elif behaviour.failed_model_id == "empty":
            row["modelId"] = ""
        row["config"] = dict(self.spec.config)
        row.update(self._times(now, behaviour))
        return self.patched(row, step, where)

    def _times(self, now: datetime, behaviour: Behaviour) -> dict[str, Any]:
        finished, kind = self.finished(now), behaviour.time_format
        return given(
            {
                "createTime": time_text(self.created, kind),
                "finishTime": time_text(now, behaviour.unfinished_time)
                if finished is None
                else time_text(finished, kind),
            }
        )
