"""One service first, then the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec
from airflow_provider_qianfan.emulator.steps import ModelStep
from tests.emulator.client import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner

SET, OLD, NEW = "am-set", "amv-old", "amv-new"
CANARY, OTHERS = "svco-canary", ["svco-1", "svco-2"]
CONF = {"model_id": NEW, "canary": CANARY, "services": [*OTHERS, CANARY]}


@pytest.fixture
def emulator(emulator: EmulatorServer) -> EmulatorServer:
    """A platform with three services on the old version, on which an update takes a second."""
    emulator.world.behaviour.update_seconds = 0.5
    for model_id in (OLD, NEW):
        emulator.world.models.add(ModelSpec(id=model_id, model_set_id=SET))
    for service_id in (CANARY, *OTHERS):
        emulator.world.services.add(ServiceSpec(OLD, id=service_id, model_set_id=SET))
    return emulator


@pytest.fixture
def run(load_dag: Callable[[str], Any], dag_runner: DagRunner) -> Callable[..., dict[str, Any]]:
    def run(*, check: Callable[[str], str] | None = None) -> dict[str, Any]:
        dag = load_dag("canary_services")
        for task in dag.tasks:
            task.retries = 0
        if check is not None:
            dag.get_task("check_canary").python_callable = check
        return dag_runner.run_dag(dag, conf=CONF)

    return run


def served(emulator: EmulatorServer) -> dict[str, str]:
    return {
        service_id: str(ask(emulator.world, "DescribeService", serviceId=service_id)["modelId"])  # type: ignore[index]
        for service_id in (CANARY, *OTHERS)
    }


def test_all_follow_a_good_canary(
    emulator: EmulatorServer, dag_runner: DagRunner, run: Callable[..., dict[str, Any]]
) -> None:
    outcome = run()

    assert {index: each.state for index, each in outcome["swap_service"].items()} == {
        0: "success",
        1: "success",
    }
    assert {each.shown_as for each in outcome["swap_service"].values()} == set(OTHERS)
    assert outcome["swap_canary_back"].state == "skipped"
    assert served(emulator) == dict.fromkeys((CANARY, *OTHERS), NEW)
    assert emulator.world.count("ModifyService") == 3
    assert dag_runner.state == "success"


def test_a_bad_canary_is_swapped_back_alone(
    emulator: EmulatorServer, dag_runner: DagRunner, run: Callable[..., dict[str, Any]]
) -> None:
    def misbehave(model_id: str) -> str:
        raise RuntimeError(f"{model_id} talks nonsense")

    outcome = run(check=misbehave)

    assert outcome["swap_canary_back"].state == "success"
    assert outcome["swap_service"].state == "upstream_failed"
    assert served(emulator) == dict.fromkeys((CANARY, *OTHERS), OLD)
    assert emulator.world.count("ModifyService") == 2
    assert dag_runner.state == "failed"


def test_a_model_that_is_not_made_touches_nothing(
    emulator: EmulatorServer, dag_runner: DagRunner, run: Callable[..., dict[str, Any]]
) -> None:
    emulator.world.models.change(NEW, ModelStep("Fail"))

    outcome = run()

    assert outcome["wait_for_model"].state == "failed"
    assert outcome["swap_canary_back"].state == "skipped"
    assert emulator.world.count("ModifyService") == 0
    assert dag_runner.state == "failed"
