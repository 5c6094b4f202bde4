"""A model version, and how the platform shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.clock import shifted
from airflow_provider_qianfan.emulator.scenario import NO_PATCH, ModelSpec, ModelStep, Patch, SourceType
from airflow_provider_qianfan.emulator.timeline import Timed, given, time_text

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.scenario import Behaviour


@dataclass(slots=True, kw_only=True)
class Model(Timed[ModelStep]):
    """A model version; its status follows from its steps and the clock."""

    name: str
    description: str
    model_set_id: str
    model: str
    source_type: SourceType
    source_task_id: str | None
    supports_compression: bool

    @classmethod
    def of(cls, spec: ModelSpec, model_id: str, created: datetime) -> Model:
        """Return the model version of a specification."""
        return cls(
            id=model_id,
            name=spec.name or model_id,
            description=spec.description,
            model_set_id=spec.model_set_id,
            model=spec.model,
            source_type=spec.source_type,
            source_task_id=spec.source_task_id,
            supports_compression=spec.supports_compression,
            created=created,
            steps=spec.steps,
            patch=Patch(set=spec.set, omit=spec.omit),
        )

    def row(self, now: datetime, behaviour: Behaviour) -> dict[str, Any]:
        """Return the version as DescribeModel shows it; there is a ``description`` only if it has one."""
        step, kind = self.step(now), behaviour.time_format
        source: dict[str, str] = {behaviour.source_type_key: self.source_type}
        if self.source_task_id is not None:
            source[behaviour.source_task_key] = self.source_task_id
        row: dict[str, Any] = {
            "modelSetId": self.model_set_id,
            "modelId": self.id,
            "status": step.status,
            "modelName": self.name,
            "model": self.model,
            "sourceInfo": source,
            **({"description": self.description} if self.description else {}),
            **given(
                {
                    "createTime": time_text(self.created, kind),
                    "modifyTime": time_text(shifted(self.created, step.after), kind),
                }
            ),
            "modelApplicationType": "chat",
            "isSupportModelComp": self.supports_compression,
        }
        return self.patched(row, step, NO_PATCH, NO_PATCH)
