"""What docs/howto/your_dags.md says of the models of a mapped gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner


def test_the_models_of_a_mapped_gate(emulator: EmulatorServer, dag_runner: DagRunner) -> None:
    for number in (1, 2):
        emulator.world.tasks.add(TaskSpec(f"amv-{number}", status="succeeded", model_id=f"amv-made{number}"))
    emulator.world.tasks.add(TaskSpec("amv-3", status="failed"))

    def build() -> None:
        from airflow.sdk import task

        def gates(task_id: str, sources: list[str]) -> Any:
            return QianfanModelCompTaskSensor.partial(task_id=task_id).expand(source_model_id=sources)

        @task
        def deploy(model_id: str) -> str:
            return model_id

        @task
        def deploy_all(model_ids: Any) -> list[str]:
            return list(model_ids)

        all_open, one_shut = gates("all_open", ["amv-1", "amv-2"]), gates("one_shut", ["amv-1", "amv-3"])
        deploy.override(task_id="each").expand(model_id=all_open.output)
        deploy_all.override(task_id="at_once")(all_open.output)
        deploy_all.override(task_id="by_key")(all_open.output["modelId"])
        deploy.override(task_id="none").expand(model_id=one_shut.output)
        with pytest.raises(ValueError, match="cannot map over XCom with custom key 'modelId'"):
            deploy.override(task_id="error").expand(model_id=all_open.output["modelId"])

    outcome = dag_runner.run(build)

    made = ["amv-made1", "amv-made2"]
    assert [each.xcoms["return_value"] for each in outcome["each"].values()] == made
    assert outcome["at_once"].xcoms["return_value"] == outcome["by_key"].xcoms["return_value"] == made
    assert outcome["none"].state == "upstream_failed"
