"""The example DAG, as it is in dags/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.scenario import Step

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner

DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture
def dag(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The DAG, looking more often than it does in production."""
    monkeypatch.syspath_prepend(str(DAGS))
    monkeypatch.delitem(sys.modules, "gate_deployment", raising=False)
    from gate_deployment import DAG  # type: ignore[import-not-found]

    DAG.get_task("wait_for_compression").poke_interval = 1
    return DAG


def test_it_deploys_what_was_produced(emulator: EmulatorServer, dag_runner: DagRunner, dag: Any) -> None:
    emulator.world.add_task("amv-1", created=-86400 * 2, status="succeeded", model_id="amv-stale")
    emulator.world.add_task(
        "amv-1",
        timeline=(Step(status="running"), Step(after=1, status="succeeded", model_id="amv-made")),
    )

    outcome = dag_runner.run_dag(dag, conf={"source_model_id": "amv-1"})

    assert outcome["deploy"].xcoms["return_value"] == "amv-made"


def test_it_does_not_deploy_after_a_failure(
    emulator: EmulatorServer, dag_runner: DagRunner, dag: Any
) -> None:
    emulator.world.add_task("amv-1", status="failed")

    outcome = dag_runner.run_dag(dag, conf={"source_model_id": "amv-1"})

    assert outcome["wait_for_compression"].state == "failed"
    assert outcome["deploy"].state == "upstream_failed"


def test_it_is_documented_and_retried(dag: Any) -> None:
    assert dag.doc_md
    assert all(task.retries for task in dag.tasks)


@pytest.mark.parametrize("file", sorted(DAGS.glob("*.py")), ids=lambda file: file.name)
def test_it_parses_without_a_connection(file: Path) -> None:
    subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:airflow_provider_qianfan", file], check=True
    )
