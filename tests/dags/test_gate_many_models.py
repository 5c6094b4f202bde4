"""Several gates, each with its own deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner

SOURCES = ["amv-1", "amv-2", "amv-3"]
GATE, DEPLOY = "model.wait_for_compression", "model.deploy"


@pytest.fixture
def dag(load_dag: Callable[[str], Any]) -> Any:
    return load_dag("gate_many_models")


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failure_holds_back_its_own_deployment_only(
    emulator: EmulatorServer, dag_runner: DagRunner, dag: Any, failing: int
) -> None:
    for n, source in enumerate(SOURCES):
        emulator.world.tasks.add(
            TaskSpec(source, created=-86400 * 2, status="succeeded", model_id="amv-stale")
        )
        if n == failing:
            emulator.world.tasks.add(TaskSpec(source, status="failed"))
        else:
            emulator.world.tasks.add(TaskSpec(source, status="succeeded", model_id=f"{source}-made"))

    outcome = dag_runner.run_dag(dag, conf={"source_model_ids": SOURCES})

    good = [n for n in range(3) if n != failing]
    assert {n: deploy.state for n, deploy in outcome[DEPLOY].items()} == {
        **dict.fromkeys(good, "success"),
        failing: "upstream_failed",
    }
    assert {n: outcome[DEPLOY][n].xcoms["return_value"] for n in good} == {
        n: f"{SOURCES[n]}-made" for n in good
    }
    assert outcome[GATE][failing].state == "failed"
    assert dag_runner.state == "failed"


def test_each_is_deployed_as_soon_as_it_has_succeeded(
    emulator: EmulatorServer, dag_runner: DagRunner, dag: Any
) -> None:
    # dag.test() runs triggers in line, one after another; rescheduled gates take turns.
    gate = dag.get_task(GATE)
    gate.deferrable, gate.mode, gate.timeout = False, "reschedule", 30
    tasks = [emulator.world.tasks.add(TaskSpec(source)) for source in SOURCES]
    order, deployed = [2, 0, 1], []

    def succeed(n: int) -> None:
        emulator.world.tasks.change(tasks[n], TaskStep("succeeded", model_id=f"{SOURCES[n]}-made"))

    def the_next_one_succeeds(context: Any) -> None:
        deployed.append(context["ti"].map_index)
        if len(deployed) < len(order):
            succeed(order[len(deployed)])

    dag.get_task(DEPLOY).on_success_callback = [the_next_one_succeeds]
    succeed(order[0])

    outcome = dag_runner.run_dag(dag, conf={"source_model_ids": SOURCES})

    assert deployed == order
    assert [outcome[DEPLOY][n].xcoms["return_value"] for n in range(3)] == [f"{s}-made" for s in SOURCES]
    assert dag_runner.state == "success"


def test_the_ui_shows_the_models_instead_of_numbers(
    emulator: EmulatorServer, dag_runner: DagRunner, dag: Any
) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1", status="succeeded", model_id="amv-made"))
    emulator.world.tasks.add(TaskSpec("amv-2", status="failed"))

    outcome = dag_runner.run_dag(dag, conf={"source_model_ids": ["amv-1", "amv-2"]})

    assert [outcome[GATE][n].shown_as for n in range(2)] == ["amv-1", "amv-2"]
    assert outcome[DEPLOY][0].shown_as == "amv-1"


def test_deployments_are_bounded_and_waits_are_not(dag: Any) -> None:
    assert dag.get_task(DEPLOY).max_active_tis_per_dag
    assert dag.get_task(GATE).max_active_tis_per_dag is None
