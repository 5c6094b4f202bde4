"""From "compress" to "deployed", and back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.specs import CreatedTasks, ModelSpec, ServiceSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from tests.emulator.client import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner

SOURCE, SET, OLD, MADE, SERVICE = "amv-source", "am-set", "amv-old", "amv-made", "svco-chat"
CONF = {"source_model_id": SOURCE, "model_set_id": SET, "service_id": SERVICE}


@pytest.fixture
def emulator(emulator: EmulatorServer) -> EmulatorServer:
    """A platform on which a compression takes two seconds, and an update one."""
    world = emulator.world
    world.models.add(ModelSpec(id=SOURCE, model_set_id=SET))
    world.models.add(ModelSpec(id=OLD, model_set_id=SET))
    world.services.add(ServiceSpec(OLD, id=SERVICE, model_set_id=SET))
    world.behaviour.update_seconds = 0.5
    become(emulator, TaskStep(status="running"), TaskStep(after=2, status="succeeded", model_id=MADE))
    return emulator


def become(emulator: EmulatorServer, *steps: TaskStep) -> None:
    """Say what becomes of compressions that are created."""
    world = emulator.world
    world.scenario = replace(world.scenario, created_tasks=CreatedTasks(timeline=steps))


@pytest.fixture
def run(load_dag: Callable[[str], Any], dag_runner: DagRunner) -> Callable[..., dict[str, Any]]:
    def run(*, check: Callable[[str], str] | None = None) -> dict[str, Any]:
        dag = load_dag("compress_and_deploy")
        for task in dag.tasks:
            task.retries = 0
        if check is not None:
            dag.get_task("smoke_check").python_callable = check
        return dag_runner.run_dag(dag, conf=CONF)

    return run


def served(emulator: EmulatorServer) -> str:
    answer: dict[str, Any] = ask(emulator.world, "DescribeService", serviceId=SERVICE)
    return str(answer["modelId"])


def states(outcome: dict[str, Any]) -> dict[str, str]:
    return {task: outcome[task].state for task in outcome}


def test_it_compresses_and_deploys(
    emulator: EmulatorServer, dag_runner: DagRunner, run: Callable[..., dict[str, Any]]
) -> None:
    outcome = run()

    assert states(outcome) == {
        **dict.fromkeys(("compress", "wait_for_compression", "deploy", "smoke_check", "announce"), "success"),
        **dict.fromkeys(("find_previous", "roll_back"), "skipped"),
    }
    assert served(emulator) == MADE
    assert emulator.world.count("CreateModelCompTask") == emulator.world.count("ModifyService") == 1
    assert dag_runner.state == "success"


def test_it_rolls_back_what_misbehaves(
    emulator: EmulatorServer, dag_runner: DagRunner, run: Callable[..., dict[str, Any]]
) -> None:
    def misbehave(model_id: str) -> str:
        raise RuntimeError(f"{model_id} talks nonsense")

    outcome = run(check=misbehave)

    assert states(outcome) == {
        **dict.fromkeys(("compress", "wait_for_compression", "deploy"), "success"),
        "smoke_check": "failed",
        "announce": "upstream_failed",
        **dict.fromkeys(("find_previous", "roll_back"), "success"),
    }
    assert outcome["roll_back"].xcoms["previous_model_id"] == MADE
    assert served(emulator) == OLD
    assert dag_runner.state == "failed"


def test_it_touches_no_service_if_the_compression_fails(
    emulator: EmulatorServer, dag_runner: DagRunner, run: Callable[..., dict[str, Any]]
) -> None:
    become(emulator, TaskStep(status="running"), TaskStep(after=2, status="failed"))

    outcome = run()

    assert states(outcome) == {
        "compress": "success",
        "wait_for_compression": "failed",
        **dict.fromkeys(("deploy", "smoke_check", "announce"), "upstream_failed"),
        **dict.fromkeys(("find_previous", "roll_back"), "skipped"),
    }
    assert served(emulator) == OLD
    assert emulator.world.count("ModifyService") == 0
    assert dag_runner.state == "failed"
