"""One gate, one deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner


@pytest.fixture
def dag(load_dag: Callable[[str], Any]) -> Any:
    return load_dag("gate_deployment")


def test_it_deploys_what_was_produced(emulator: EmulatorServer, dag_runner: DagRunner, dag: Any) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1", created=-86400 * 2, status="succeeded", model_id="amv-stale"))
    emulator.world.tasks.add(
        TaskSpec(
            "amv-1",
            timeline=(TaskStep(status="running"), TaskStep(after=1, status="succeeded", model_id="amv-made")),
        )
    )

    outcome = dag_runner.run_dag(dag, conf={"source_model_id": "amv-1"})

    assert outcome["deploy"].xcoms["return_value"] == "amv-made"


def test_it_does_not_deploy_after_a_failure(
    emulator: EmulatorServer, dag_runner: DagRunner, dag: Any
) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1", status="failed"))

    outcome = dag_runner.run_dag(dag, conf={"source_model_id": "amv-1"})

    assert outcome["wait_for_compression"].state == "failed"
    assert outcome["deploy"].state == "upstream_failed"
