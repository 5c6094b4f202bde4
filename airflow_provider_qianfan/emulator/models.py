"""A model version, and how the platform shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.specs import ModelSpec
from airflow_provider_qianfan.emulator.steps import ModelStep
from airflow_provider_qianfan.emulator.timeline import Timed, given, time_text

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_qianfan.emulator.behaviour import Behaviour
    from airflow_provider_qianfan.emulator.timeline import Where


class Model(Timed[ModelSpec, ModelStep]):
    """A model version. Its status follows from its steps and the clock."""

    def row(self, where: Where, now: datetime, behaviour: Behaviour) -> dict[str, Any]:
        """
        Return the version as DescribeModel shows it. An empty ``description`` is left out.

        :param where: always ``detail``: no action of the emulator lists versions.
        """
        spec, step, kind = self.spec, self.step(now), behaviour.time_format
        source: dict[str, str] = {behaviour.source_type_key: spec.source_type}
        if spec.source_task_id is not None:
            source[behaviour.source_task_key] = spec.source_task_id
        row: dict[str, Any] = {
            "modelSetId": spec.model_set_id,
            "modelId": self.id,
            "status": step.status,
            "modelName": self.name,
            "model": spec.model,
            "sourceInfo": source,
            **({"description": spec.description} if spec.description else {}),
            **given(
                {
                    "createTime": time_text(self.created, kind),
                    "modifyTime": time_text(self.at(step), kind),
                }
            ),
            "modelApplicationType": "chat",
            "isSupportModelComp": spec.supports_compression,
        }
        return self.patched(row, step, where)
