"""Model versions and services: the same wait, in each mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec, TaskSpec
from airflow_provider_qianfan.emulator.steps import ModelStep, ServiceStep, TaskStep
from airflow_provider_qianfan.exceptions import QianfanAPIError, QianfanResourceFailedError
from airflow_provider_qianfan.sensors.model import QianfanModelSensor
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.sensors.service import QianfanServiceSensor

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner, Outcome

MODEL_ID, OLD, NEW, SOURCE = "amv-model", "amv-old", "amv-new", "amv-source000001"
CREATING = (ModelStep(status="Creating"), ModelStep(status="Ready", after=0.5))
MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False, "poke_interval": 0.1},
    "reschedule": {"mode": "reschedule", "poke_interval": 0.1},
    "deferrable": {"deferrable": True, "poke_interval": 0.1},
}


def pushed(outcome: Outcome) -> set[str]:
    """Return the keys of the XComs, without the link, which Airflow 3 pushes as one."""
    return {key for key in outcome.xcoms if not key.startswith("_link_")}


@pytest.fixture(params=MODES)
def run(request: pytest.FixtureRequest, dag_runner: DagRunner, emulator: EmulatorServer) -> Any:
    """Run one sensor, in each mode."""

    def run(kind: type, **arguments: Any) -> Outcome:
        usual = {"task_id": "wait", "timeout": 20, **MODES[request.param]}
        return dag_runner.run(lambda: kind(**{**usual, **arguments}))["wait"]  # type: ignore[no-any-return]

    return run


def test_a_model_version_becomes_ready(emulator: EmulatorServer, run: Any) -> None:
    emulator.world.models.add(ModelSpec(id=MODEL_ID, timeline=CREATING))

    outcome = run(QianfanModelSensor, model_id=MODEL_ID)

    assert outcome.state == "success"
    assert outcome.xcoms["return_value"] == outcome.xcoms["modelId"] == MODEL_ID
    assert outcome.xcoms["model"]["status"] == "Ready"


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_model_version_that_fails(emulator: EmulatorServer, run: Any, soft_fail: bool) -> None:
    emulator.world.models.add(
        ModelSpec(id=MODEL_ID, timeline=(ModelStep(status="Creating"), ModelStep(status="Fail", after=0.5)))
    )

    outcome = run(QianfanModelSensor, model_id=MODEL_ID, soft_fail=soft_fail)

    assert outcome.state == ("skipped" if soft_fail else "failed")
    assert pushed(outcome) == {"model"}
    assert soft_fail or isinstance(outcome.error, QianfanResourceFailedError)


def test_a_model_version_that_is_not_there(run: Any) -> None:
    outcome = run(QianfanModelSensor, model_id="amv-none", settle=1)

    assert outcome.state == "failed"
    assert "There is no model version amv-none" in str(outcome.error)


def test_another_error_is_no_verdict(emulator: EmulatorServer, run: Any) -> None:
    emulator.world.models.add(ModelSpec(id=MODEL_ID))
    emulator.world.faults.append(Fault(legacy_error=6))

    outcome = run(QianfanModelSensor, model_id=MODEL_ID, soft_fail=True, settle=0)

    assert outcome.state == "failed"
    assert isinstance(outcome.error, QianfanAPIError)


def test_a_service_that_is_being_updated(emulator: EmulatorServer, run: Any) -> None:
    service = emulator.world.services.add(
        ServiceSpec(
            OLD,
            timeline=(
                ServiceStep(run_status="Serving", update_status="Updating"),
                ServiceStep(model_id=NEW, after=1),
                ServiceStep(update_status="None", after=2),
            ),
        )
    )

    outcome = run(QianfanServiceSensor, service_id=service, model_id=NEW)

    assert outcome.state == "success"
    assert outcome.xcoms["return_value"] == outcome.xcoms["modelId"] == NEW
    assert outcome.xcoms["service"]["updateStatus"] == "None"


def test_a_service_of_the_other_spelling(emulator: EmulatorServer, run: Any) -> None:
    emulator.world.behaviour.service_version_key = "modelVersionId"
    service = emulator.world.services.add(ServiceSpec(NEW, run_status="Serving"))

    assert run(QianfanServiceSensor, service_id=service, model_id=NEW).state == "success"


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_service_that_ends(emulator: EmulatorServer, run: Any, status: Any) -> None:
    service = emulator.world.services.add(
        ServiceSpec(
            NEW, timeline=(ServiceStep(run_status="Deploying"), ServiceStep(run_status=status, after=0.5))
        )
    )

    outcome = run(QianfanServiceSensor, service_id=service, model_id=NEW, settle=1)

    assert outcome.state == "failed"
    assert pushed(outcome) == {"service"}


def test_a_service_that_failed_is_updated(emulator: EmulatorServer, run: Any) -> None:
    service = emulator.world.services.add(
        ServiceSpec(
            OLD,
            timeline=(
                ServiceStep(run_status="Failed"),
                ServiceStep(update_status="Updating", after=1),
                ServiceStep(model_id=NEW, after=1.5),
                ServiceStep(run_status="Serving", update_status="None", after=2),
            ),
        )
    )

    outcome = run(QianfanServiceSensor, service_id=service, model_id=NEW)

    assert outcome.state == "success", outcome
    assert outcome.xcoms["service"]["runStatus"] == "Serving"


def test_a_service_that_failed_is_not_updated(emulator: EmulatorServer, run: Any) -> None:
    service = emulator.world.services.add(ServiceSpec(OLD, run_status="Failed"))

    outcome = run(QianfanServiceSensor, service_id=service, model_id=NEW, settle=1)

    assert outcome.state == "failed"
    assert isinstance(outcome.error, QianfanResourceFailedError)
    assert outcome.xcoms["service"]["modelId"] == OLD


def test_a_service_that_serves_another_version_keeps_it_shut(emulator: EmulatorServer, run: Any) -> None:
    service = emulator.world.services.add(ServiceSpec(OLD, run_status="Serving"))

    outcome = run(QianfanServiceSensor, service_id=service, model_id=NEW, timeout=3)

    assert outcome.state == "failed"
    assert pushed(outcome) == set()
    assert f"serves {OLD}, not {NEW}" in str(outcome.error)


def test_the_gate_opens_when_the_produced_version_is_ready(emulator: EmulatorServer, run: Any) -> None:
    finishing = (
        TaskStep(status="running"),
        TaskStep(after=0.4, status="succeeded", model_id=NEW, model_timeline=CREATING),
    )
    emulator.world.tasks.add(TaskSpec(SOURCE, timeline=finishing))
    began = emulator.world.now

    outcome = run(QianfanModelCompTaskSensor, source_model_id=SOURCE, wait_for_model_ready=True)

    assert outcome.state == "success"
    assert outcome.xcoms["modelId"] == NEW
    assert outcome.xcoms["model_comp_task"]["status"] == "succeeded"
    assert (emulator.world.now - began).total_seconds() > 0.9


def test_the_trigger_watches_the_produced_version(emulator: EmulatorServer, dag_runner: DagRunner) -> None:
    """It does not call a worker each interval to find that the version is not ready yet."""
    late = (ModelStep(status="Creating"), ModelStep(status="Ready", after=3))
    emulator.world.tasks.add(
        TaskSpec(
            SOURCE,
            timeline=(
                TaskStep(status="running"),
                TaskStep(after=0.6, status="succeeded", model_id=NEW, model_timeline=late),
            ),
        )
    )

    outcome = dag_runner.run(
        lambda: QianfanModelCompTaskSensor(
            task_id="wait",
            source_model_id=SOURCE,
            wait_for_model_ready=True,
            deferrable=True,
            poke_interval=0.5,
            timeout=30,
        )
    )["wait"]

    assert outcome.state == "success"
    # Each question for the model comes after one for the task. Before them, there is the worker's first look,
    # and one or two of the trigger until the task has succeeded.
    asked = emulator.world.count("DescribeModel")
    assert asked >= 4
    assert emulator.world.count("DescribeModelCompTasks") <= asked + 3


@pytest.mark.parametrize("value", ["", "None", " amv-1", 7])
def test_bad_literals_are_refused_at_parse(value: Any) -> None:
    for kind, good in ((QianfanModelSensor, {}), (QianfanServiceSensor, {"service_id": "svco-1"})):
        with pytest.raises(ValueError, match="model_id"):
            kind(task_id="wait", model_id=value, **good)
    with pytest.raises(ValueError, match="service_id"):
        QianfanServiceSensor(task_id="wait", model_id="amv-1", service_id=value)


@pytest.mark.parametrize("rendered", ["None", "", "null"])
def test_rendered_values_that_cannot_be_meant(
    emulator: EmulatorServer, dag_runner: DagRunner, rendered: str
) -> None:
    outcome = dag_runner.run(
        lambda: QianfanServiceSensor(
            task_id="wait", service_id="svco-1", model_id=f"{{{{ '{rendered}' }}}}", deferrable=False
        )
    )["wait"]

    assert outcome.state == "failed"
    assert isinstance(outcome.error, ValueError)
    assert emulator.world.calls == []
