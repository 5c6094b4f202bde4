"""A model compression task, and how the platform shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.clock import shifted
from airflow_provider_qianfan.emulator.scenario import TERMINAL, Patch, Step, TaskSpec
from airflow_provider_qianfan.emulator.timeline import Timed, given, time_text

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.scenario import Behaviour
    from airflow_provider_qianfan.emulator.timeline import Where


@dataclass(slots=True, kw_only=True)
class Task(Timed[Step]):
    """A model compression task; its status follows from its steps and the clock."""

    name: str
    description: str
    source_model_id: str
    model_set_id: str
    config: dict[str, object]

    @classmethod
    def of(cls, spec: TaskSpec, task_id: str, created: datetime) -> Task:
        """Return the task of a specification without ``repeat``."""
        return cls(
            id=task_id,
            name=spec.name or task_id,
            description=spec.description,
            source_model_id=spec.source_model_id,
            model_set_id=spec.model_set_id,
            config=dict(spec.config),
            created=created,
            steps=spec.steps,
            patch=Patch(set=spec.set, omit=spec.omit),
            in_list=spec.in_list,
            in_detail=spec.in_detail,
        )

    def finished(self, now: datetime) -> datetime | None:
        """Return when the task reached the end it is at, or None."""
        end = None
        for step in self.past(now):
            if step.status not in TERMINAL:
                end = None
            elif end is None:
                end = step.after
        return None if end is None else shifted(self.created, end)

    def row(self, where: Where, now: datetime, behaviour: Behaviour) -> dict[str, Any]:
        """
        Return the task as the list or the detail action shows it.

        The list has no ``failedReason``; ``modelId`` is there once the task succeeded.
        """
        step = self.step(now)
        row: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "status": step.status,
            "sourceModelId": self.source_model_id,
        }
        if where == "detail" and step.failed_reason is not None:
            row["failedReason"] = step.failed_reason
        if step.model_id is not None:
            row["modelId"] = step.model_id
        elif behaviour.failed_model_id == "empty":
            row["modelId"] = ""
        row["config"] = self.config
        row.update(self._times(now, behaviour))
        if where == "list":
            return self.patched(row, step, self.in_list, step.in_list)
        return self.patched(row, step, self.in_detail, step.in_detail)

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
