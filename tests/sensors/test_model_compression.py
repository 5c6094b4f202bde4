from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.scenario import Step
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner

MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    return MODES[request.param]


def sensor(**arguments: Any) -> QianfanModelCompTaskSensor:
    return QianfanModelCompTaskSensor(
        **{
            "task_id": "gate",
            "source_model_id": "amv-source000001",
            "poke_interval": 0.2,
            "timeout": 20,
            **arguments,
        }
    )


def test_opens(emulator: EmulatorServer, dag_runner: DagRunner, mode: dict[str, Any], caplog) -> None:
    emulator.world.add_task(
        "amv-source000001",
        timeline=(
            Step(after=0, status="running"),
            Step(after=1, status="succeeded", model_id="amv-made00000001"),
        ),
    )
    gate = dag_runner.run(lambda: sensor(**mode))["gate"]
    print(gate, [c.action for c in emulator.world.calls])
    print([(r.name, r.getMessage()) for r in caplog.records])
    assert gate.state == "success"
    assert gate.xcoms["return_value"] == gate.xcoms["modelId"] == "amv-made00000001"
