"""Deploying: real Airflow, real HTTP, and one deployment on the platform whatever happens."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.changes import service, update
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import CreatedServices, ModelSpec, ServiceSpec
from airflow_provider_qianfan.emulator.steps import ModelStep, Patch, ServiceStep
from airflow_provider_qianfan.exceptions import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanError,
    QianfanModelUnusableError,
    QianfanProtocolError,
    QianfanResourceAmbiguousError,
    QianfanResourceExistsError,
    QianfanResourceFailedError,
    QianfanResourceNotFoundError,
    QianfanTransientError,
)
from airflow_provider_qianfan.operators.service import (
    QianfanCreateServiceOperator,
    QianfanModifyServiceOperator,
)
from airflow_provider_qianfan.triggers.waiting import QianfanTrigger
from tests.emulator.client import ask

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import World
    from tests.dag_runs import DagRunner, Outcome

SERVICE, OLD, NEW, OTHER = "svco-chat00000001", "amv-old000000001", "amv-new000000001", "amv-other0000001"
OLD_SET, NEW_SET = "am-old0000000001", "am-new0000000001"
CREATE, MODIFY, LIST = "CreateService", "ModifyService", "DescribeServices"
DETAIL, MODEL = "DescribeService", "DescribeModel"
UNITS = {
    "replicasCount": 1,
    "deploymentComputeUnitList": [{"instanceId": "unit-1", "deploymentReplicasCount": 1}],
}
SOON = timedelta(seconds=0.1)
DENIED: dict[str, Any] = {"status": 403, "body": {"requestId": "r", "code": "AccessDenied", "message": "m"}}
MODES: dict[str, dict[str, Any]] = {"in the worker": {"deferrable": False}, "deferred": {"deferrable": True}}


def modify(**arguments: Any) -> QianfanModifyServiceOperator:
    usual = {
        "task_id": "deploy",
        "service_id": SERVICE,
        "model_id": NEW,
        "settle": 2,
        "poke_interval": 0.1,
        "timeout": 20,
        "retry_delay": SOON,
    }
    return QianfanModifyServiceOperator(**{**usual, **arguments})


def create(**arguments: Any) -> QianfanCreateServiceOperator:
    usual = {
        "task_id": "deploy",
        "name": "chat",
        "url_suffix": "chat",
        "model_id": NEW,
        "deployment_config": UNITS,
        "settle": 2,
        "poke_interval": 0.1,
        "timeout": 20,
        "retry_delay": SOON,
    }
    return QianfanCreateServiceOperator(**{**usual, **arguments})


@pytest.fixture
def world(emulator: EmulatorServer) -> World:
    """A platform with one service and a version to update it to, which takes a moment."""
    world = emulator.world
    world.behaviour.update_seconds = 0.5
    world.models.add(ModelSpec(id=OLD, model_set_id=OLD_SET))
    world.models.add(ModelSpec(id=NEW, model_set_id=NEW_SET))
    world.services.add(ServiceSpec(OLD, id=SERVICE, model_set_id=OLD_SET, name="chat"))
    return world


@pytest.fixture
def empty(world: World) -> World:
    """The same without the service; one that is created serves after a moment."""
    world.services.remove(SERVICE)
    world.scenario = world.scenario.__class__(
        created_services=CreatedServices(
            timeline=(ServiceStep(run_status="Deploying"), ServiceStep(run_status="Serving", after=0.5))
        )
    )
    return world


@pytest.fixture
def modified(dag_runner: DagRunner) -> Any:
    """Run the operator that updates; give its outcome."""
    return lambda **arguments: dag_runner.run(lambda: modify(**arguments))["deploy"]


@pytest.fixture
def created(dag_runner: DagRunner) -> Any:
    """Run the operator that creates; give its outcome."""
    return lambda **arguments: dag_runner.run(lambda: create(**arguments))["deploy"]


@pytest.fixture(params=MODES)
def waiting(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"wait_for_completion": True, **MODES[request.param]}


def swapped(outcome: Outcome, world: World, *, times: int = 1, previous: str | None = OLD) -> bool:
    """Tell whether the task succeeded, the update was asked for so often, and the previous one is known."""
    assert outcome.state == "success", outcome
    assert outcome.xcoms["return_value"] == NEW
    assert outcome.xcoms.get("previous_model_id") == previous
    sets = {None: None, OLD: OLD_SET, NEW: NEW_SET}
    assert outcome.xcoms.get("previous_model_set_id") == sets.get(previous, previous)
    assert world.count(MODIFY) == times
    return True


def failed(outcome: Outcome, error: type[BaseException]) -> str:
    assert outcome.state == "failed", outcome
    assert type(outcome.error) is error, outcome.error
    assert "return_value" not in outcome.xcoms
    return str(outcome.error)


# -- an update ---------------------------------------------------------------------------------------------


def test_modify(world: World, modified: Any) -> None:
    assert swapped(modified(), world)

    assert [call.action for call in world.calls] == [DETAIL, MODEL, MODIFY]
    assert world.calls[-1].body == {"serviceId": SERVICE, "modelSetId": NEW_SET, "modelId": NEW}


def test_a_given_model_set_is_not_asked_for(world: World, modified: Any) -> None:
    assert swapped(modified(model_set_id="am-given"), world)

    assert [call.action for call in world.calls] == [DETAIL, MODIFY]
    assert world.calls[-1].body["modelSetId"] == "am-given"


def test_the_other_spelling_of_the_keys(world: World, modified: Any, waiting: dict[str, Any]) -> None:
    world.behaviour.service_version_key = "modelVersionId"

    assert swapped(modified(**waiting), world)


def test_it_waits_as_the_sensor_does(world: World, modified: Any, waiting: dict[str, Any]) -> None:
    outcome = modified(**waiting)

    assert swapped(outcome, world)
    assert outcome.xcoms["modelId"] == outcome.xcoms["service"]["modelId"] == NEW
    assert outcome.xcoms["service"]["updateStatus"] == "None"


def test_templates_and_the_rollback(world: World, dag_runner: DagRunner) -> None:
    """The whole use: deploy what the gate pushed, fail, roll back."""
    from airflow.providers.common.compat.sdk import task

    def build() -> None:
        @task
        def gate() -> str:
            return NEW

        deploy = modify(
            service_id="{{ dag_run.conf['service'] }}",
            model_id=gate(),
            model_set_id="{{ dag_run.conf['set'] }}",
            wait_for_completion=True,
            deferrable=False,
        )

        @task
        def check() -> None:
            raise RuntimeError("the new version answers nonsense")

        (
            deploy
            >> check()
            >> modify(
                task_id="roll_back",
                model_id=deploy.output["previous_model_id"],
                model_set_id=deploy.output["previous_model_set_id"],
                trigger_rule="one_failed",
                wait_for_completion=True,
                deferrable=False,
            )
        )

    outcomes = dag_runner.run(build, conf={"service": SERVICE, "set": NEW_SET})

    assert outcomes["roll_back"].xcoms["return_value"] == OLD
    assert outcomes["roll_back"].xcoms["previous_model_id"] == NEW
    (row,) = [service.row("detail", world.now, world.behaviour) for service in world.services.existing()]
    assert (row["modelId"], row["modelSetId"]) == (OLD, OLD_SET)


@pytest.mark.parametrize("run_status", ["Serving", "Deploying", "New"])
def test_a_service_that_serves_it_already(
    world: World, modified: Any, dag_runner: DagRunner, run_status: Any
) -> None:
    world.services.change(SERVICE, ServiceStep(model_id=NEW, model_set_id=NEW_SET, run_status=run_status))

    assert swapped(modified(), world, times=0, previous=NEW)
    assert f"Nothing is sent: service {SERVICE} ('chat') serves {NEW} already." in dag_runner.log


@pytest.mark.parametrize("run_status", ["Failed", "Stopped"])
def test_a_service_that_has_it_and_does_not_serve(
    world: World, modified: Any, run_status: Any, waiting: dict[str, Any]
) -> None:
    world.services.change(SERVICE, ServiceStep(model_id=NEW, run_status=run_status))

    outcome = modified(retries=1, **waiting)

    assert f"and is {run_status}" in failed(outcome, QianfanResourceFailedError)
    assert len(outcome.errors) == 1
    assert world.count(MODIFY) == 0


@pytest.mark.parametrize("run_status", ["Failed", "Stopped", "Deploying"])
def test_a_service_that_does_not_serve_another(world: World, modified: Any, run_status: Any) -> None:
    """Whether it can be updated is for the platform to say."""
    world.services.change(SERVICE, ServiceStep(run_status=run_status))

    outcome = modified(retries=1)

    assert "PreconditionFailed" in failed(outcome, QianfanAPIError)
    assert len(outcome.errors) == 2
    assert outcome.xcoms["previous_model_id"] == OLD

    world.behaviour.modify_unready = "accepted"
    assert swapped(modified(), world, times=3)


@pytest.mark.parametrize("fault", [{"status": 200, "body": {"requestId": "r-1", "result": False}}])
def test_an_update_that_the_platform_did_not_do(world: World, modified: Any, fault: dict[str, Any]) -> None:
    world.faults.append(Fault(action=MODIFY, calls=(1,), **fault))

    outcome = modified(retries=1, settle=600)

    assert swapped(outcome, world, times=2)
    (error,) = outcome.errors
    assert type(error) is QianfanError
    assert "result: false" in str(error)
    assert "r-1" in str(error)


LOST: dict[str, dict[str, Any]] = {
    "server error": {"server_error": 502},
    "not JSON": {"not_json": True},
    "empty": {"empty_body": True},
    "no result": {"body": {"requestId": "r"}},
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
@pytest.mark.parametrize("shown", ["old", "new"])
def test_a_lost_answer_to_an_update_that_began(
    world: World, modified: Any, fault: dict[str, Any], shown: Any, dag_runner: DagRunner
) -> None:
    """It shows by its updateStatus or by its modelId."""
    world.behaviour.updating_model = shown
    world.behaviour.update_seconds = 30
    world.faults.append(Fault(action=MODIFY, performs=True, **fault))

    assert swapped(modified(retries=1), world)
    assert "Looking for 2 seconds whether" in dag_runner.log
    assert f"is being updated to {NEW}" in dag_runner.log


def test_a_lost_request_fails_and_the_next_try_asks_again(world: World, modified: Any) -> None:
    world.faults.append(Fault(action=MODIFY, server_error=502, calls=(1,)))

    outcome = modified(retries=1)

    assert swapped(outcome, world, times=2)
    (error,) = outcome.errors
    assert type(error) is QianfanTransientError
    assert "it is not known whether" in str(error)
    assert f"For 2 seconds the service has shown {OLD} and no update." in str(error)


def test_a_lost_answer_and_no_look(world: World, modified: Any) -> None:
    world.faults.append(Fault(action=MODIFY, server_error=502))
    world.faults.append(Fault(action=DETAIL, server_error=503, from_=2))

    told = failed(modified(settle=0), QianfanTransientError)
    assert "The search for it failed, too." in told
    assert "DescribeService: HTTP 503" in told
    assert world.count(MODIFY) == 1


def test_a_request_that_never_left_is_sent_again(
    world: World, modified: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.faults.append(Fault(action=MODIFY, rate_limit=True, retry_after=0, calls=(1, 2)))

    assert swapped(modified(), world, times=3)


# -- an update in progress ---------------------------------------------------------------------------------


def start_update(world: World, model_id: str = OTHER, *, shows: Any = "old") -> None:
    """Have somebody else update the service."""
    world.behaviour.updating_model = shows
    ask(
        world,
        "ModifyService",
        serviceId=SERVICE,
        modelSetId=OLD_SET if model_id == OLD else NEW_SET,
        modelId=model_id,
    )


def test_somebody_elses_update_to_another(world: World, modified: Any, dag_runner: DagRunner) -> None:
    world.behaviour.update_seconds = 60
    start_update(world)

    outcome = modified(retries=1)

    assert "PreconditionFailed" in failed(outcome, QianfanAPIError)
    assert "of an update that this task has not asked for. Asking for" in dag_runner.log

    world.behaviour.modify_unready = "accepted"
    assert swapped(modified(), world, times=3)


@pytest.mark.parametrize("shows", ["old", "new"])
def test_an_update_of_which_only_one_version_shows(world: World, modified: Any, shows: Any) -> None:
    """What shows may be what it is updated to, or what it is updated from."""
    world.behaviour.update_seconds = 3.0
    if shows == "old":
        world.services.change(SERVICE, ServiceStep(model_id=NEW, model_set_id=NEW_SET))
        start_update(world, OLD, shows="old")
    else:
        start_update(world, NEW, shows="new")
    world.behaviour.update_seconds = 0.5

    outcome = modified(retries=1, retry_delay=timedelta(seconds=3.5), wait_for_completion=True)

    (error,) = outcome.errors
    assert type(error) is QianfanTransientError
    assert "and updateStatus Updating, and the platform does not say" in str(error)
    assert swapped(outcome, world, times=1 if shows == "old" else 0, previous=OLD if shows == "old" else NEW)


def test_a_lost_answer_during_somebody_elses_update(world: World, modified: Any) -> None:
    world.behaviour.update_seconds = 60
    world.behaviour.modify_unready = "accepted"
    start_update(world)
    world.faults.append(Fault(action=MODIFY, server_error=502))

    told = failed(modified(retries=1), QianfanTransientError)

    assert "The update that was in progress before hides it." in told
    assert world.count(MODIFY) == 2


# -- retries -----------------------------------------------------------------------------------------------


def die_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Have the first try die when this has returned, before anybody knows."""
    run, tries = getattr(module, name), list[int]()

    def die(*arguments: Any) -> Any:
        tries.append(1)
        result = yield from run(*arguments)
        if len(tries) == 1:
            raise RuntimeError("dead")
        return result

    monkeypatch.setattr(module, name, die)


@pytest.mark.parametrize("update_seconds", [0, 60])
def test_a_later_try_knows_what_the_first_has_done(
    world: World, modified: Any, monkeypatch: pytest.MonkeyPatch, update_seconds: float
) -> None:
    world.behaviour.update_seconds = update_seconds
    die_after(monkeypatch, update, "swap_once")

    outcome = modified(retries=1)

    assert swapped(outcome, world)
    assert len(outcome.errors) == 1


def test_an_older_airflow_does_not_know_the_previous_one(
    world: World, modified: Any, monkeypatch: pytest.MonkeyPatch, no_store: None, dag_runner: DagRunner
) -> None:
    world.behaviour.update_seconds = 0
    die_after(monkeypatch, update, "swap_once")

    assert swapped(modified(retries=1), world, previous=None)
    assert "No previous_model_id is pushed." in dag_runner.log


def test_an_older_airflow_does_not_know_whose_update_it_is(
    world: World, modified: Any, monkeypatch: pytest.MonkeyPatch, no_store: None
) -> None:
    world.behaviour.update_seconds = 60
    die_after(monkeypatch, update, "swap_once")

    outcome = modified(retries=1)

    assert "does not say to which version it is updated" in failed(outcome, QianfanTransientError)
    assert world.count(MODIFY) == 1


def test_an_older_airflow_waits_before_it_asks_again(
    world: World, modified: Any, monkeypatch: pytest.MonkeyPatch, no_store: None, dag_runner: DagRunner
) -> None:
    world.faults.append(Fault(action=MODIFY, status=400, body={"code": "X", "message": "m"}, calls=(1,)))

    assert swapped(modified(retries=1), world, times=2)
    assert "An earlier try may have asked for the update. Looking for it for 2 seconds" in dag_runner.log


def test_a_refusal_is_not_waited_for(world: World, modified: Any) -> None:
    refusal = {"code": "X", "message": "m", "requestId": "r-9"}
    world.faults.append(Fault(action=MODIFY, status=400, body=refusal, calls=(1,)))
    start = time.monotonic()

    outcome = modified(retries=1, settle=600)

    assert swapped(outcome, world, times=2)
    assert "r-9" in str(outcome.errors[0])
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("lasts", [-5, 3600])
def test_an_update_in_progress_is_ours_for_an_hour(
    world: World, modified: Any, monkeypatch: pytest.MonkeyPatch, lasts: float
) -> None:
    """
    Which values say that it has failed is not documented, so that any may.

    The hour counts from when the request may have left at the latest: up to five seconds after it did.
    """
    monkeypatch.setattr(update, "UPDATE_LASTS", lasts)
    world.behaviour.update_outcome = "update_failed"
    world.behaviour.update_seconds = 0
    die_after(monkeypatch, update, "swap_once")

    assert swapped(modified(retries=1), world, times=1 if lasts > 0 else 2)


def test_an_update_that_failed_can_be_asked_for_again(world: World, modified: Any) -> None:
    """By another task, such as a rollback: updateStatus is not None for ever."""
    world.behaviour.update_seconds = 0
    world.behaviour.update_outcome = "update_failed"
    start_update(world)
    world.behaviour.update_outcome = "updated"

    assert swapped(modified(wait_for_completion=True), world)


def test_an_update_that_was_taken_back_is_asked_for_again(
    world: World, modified: Any, waiting: dict[str, Any]
) -> None:
    """The wait of the first try fails; by the second the service is as it was."""

    def take_back(call: Any) -> None:
        if call.action == MODIFY:
            world.on_call = None
            world.behaviour.update_outcome = "rolled_back"
        elif world.count(MODIFY) == 1 and call.action == DETAIL:
            world.behaviour.update_outcome = "updated"

    world.on_call = take_back
    world.faults.append(Fault(action=DETAIL, **DENIED, calls=(3,)))
    world.behaviour.update_seconds = 0.2

    outcome = modified(retries=1, settle=0, auth_grace=0, retry_delay=timedelta(seconds=1), **waiting)

    assert outcome.state == "success"
    assert outcome.xcoms["previous_model_id"] == OLD


@pytest.mark.parametrize("word", ["Updating", "None"])
@pytest.mark.parametrize("updating", ["old", "new"])
def test_a_service_that_failed_is_updated(
    world: World, modified: Any, waiting: dict[str, Any], updating: Any, word: str
) -> None:
    """The platform shows the failure for a while, whatever else it shows of the update."""
    world.behaviour.modify_unready, world.behaviour.updating_model = "accepted", updating
    world.behaviour.update_seconds, world.behaviour.updating_word = 1.2, word
    world.services.change(
        SERVICE, ServiceStep(run_status="Failed"), ServiceStep(run_status="Serving", after=2)
    )

    outcome = modified(retries=1, **{**waiting, "settle": 6})

    assert outcome.state == "success", outcome
    assert outcome.xcoms["service"]["runStatus"] == "Serving"
    assert world.count(MODIFY) == 1


def test_the_timeout_is_the_sensors(world: World, modified: Any, waiting: dict[str, Any]) -> None:
    from airflow_provider_qianfan._compat import AirflowSensorTimeout

    world.behaviour.update_outcome = "rolled_back"

    outcome = modified(retries=1, **{**waiting, "timeout": 2})

    assert f"serves {OLD}, not {NEW}" in failed(outcome, AirflowSensorTimeout)
    assert outcome.xcoms["previous_model_id"] == OLD
    assert world.count(MODIFY) == 1


def test_the_service_fails(world: World, modified: Any, waiting: dict[str, Any]) -> None:
    world.behaviour.update_outcome = "run_failed"

    outcome = modified(retries=1, **waiting)

    assert "is Failed" in failed(outcome, QianfanResourceFailedError)
    assert outcome.xcoms["service"]["runStatus"] == "Failed"
    assert outcome.xcoms["previous_model_id"] == OLD
    assert world.count(MODIFY) == 1


def test_a_rollback_of_nothing_does_nothing(world: World, dag_runner: DagRunner) -> None:
    """Nothing was deployed, as the gate was skipped: the rollback is shut, too, and says so."""

    def build() -> None:
        deploy = modify(model_id="{{ none }}")
        deploy >> modify(
            task_id="roll_back",
            model_id="{{ ti.xcom_pull(task_ids='deploy', key='previous_model_id') }}",
            trigger_rule="one_failed",
        )

    outcomes = dag_runner.run(build)

    assert "there is no model version to deploy" in failed(outcomes["roll_back"], ValueError)
    assert world.calls == []


# -- what is not there -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error"),
    [("no_such_key", QianfanAPIError), ("null_result", QianfanResourceNotFoundError)],
)
@pytest.mark.parametrize("wrong", [{"service_id": "svco-nobody"}, {"model_id": "amv-nobody"}])
def test_unknown_ids(
    world: World, modified: Any, answer: Any, error: type[BaseException], wrong: dict[str, Any]
) -> None:
    world.behaviour.not_found = answer

    failed(modified(**wrong), error)

    assert world.count(MODIFY) == 0


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"status": "Fail"}, QianfanModelUnusableError, "it was not made"),
        ({"status": "Creating"}, QianfanTransientError, "QianfanModelSensor"),
        ({"status": "Ready", "omit": ("modelSetId",)}, QianfanProtocolError, "Pass model_set_id"),
    ],
)
@pytest.mark.parametrize("make", [modify, create])
def test_a_version_that_cannot_be_deployed(
    world: World,
    dag_runner: DagRunner,
    make: Any,
    change: dict[str, Any],
    error: type[BaseException],
    told: str,
) -> None:
    world.models.change(NEW, ModelStep(**change))

    assert told in failed(dag_runner.run(make)["deploy"], error)
    assert world.count(MODIFY) == world.count(CREATE) == 0


def test_a_service_that_does_not_say_what_it_serves(world: World, modified: Any) -> None:
    world.services.change(SERVICE, ServiceStep(omit=("modelId",)))

    assert "does not say which model version" in failed(modified(), QianfanProtocolError)
    assert world.count(MODIFY) == 0


def test_a_service_that_does_not_name_its_model_set(world: World, modified: Any) -> None:
    world.services.change(SERVICE, ServiceStep(omit=("modelSetId",)))

    outcome = modified()

    assert outcome.xcoms["previous_model_id"] == OLD
    assert "previous_model_set_id" not in outcome.xcoms


@pytest.mark.parametrize("make", [modify, create])
def test_a_key_that_may_not(world: World, dag_runner: DagRunner, make: Any) -> None:
    world.account.permission = "tuning"

    told = failed(dag_runner.run(make)["deploy"], QianfanAuthError)

    assert "QianfanServiceOperateAccessPolicy (to create and update, too)" in told


# -- creating ----------------------------------------------------------------------------------------------


def one(outcome: Outcome, world: World, *, times: int = 1) -> str:
    """Check that there is one service, and that the operator gives its id; return it."""
    assert outcome.state == "success", outcome
    (service_id,) = world.services
    assert outcome.xcoms["return_value"] == outcome.xcoms["service_id"] == service_id
    assert world.count(CREATE) == times
    return str(service_id)


def test_create(empty: World, created: Any) -> None:
    service_id = one(created(description="nightly", protocol_version=2), empty)

    assert [call.action for call in empty.calls] == [LIST, MODEL, CREATE]
    body = dict(empty.calls[-1].body)
    text, _, mark = body.pop("description").rpartition(" ")
    assert body == {
        "modelSetId": NEW_SET,
        "modelId": NEW,
        "name": "chat",
        "urlSuffix": "chat",
        "deploymentConfig": UNITS,
        "protocolVersion": 2,
    }
    assert text == "nightly"
    assert empty.services[service_id].spec.description == f"nightly {mark}"


def test_services_of_others_are_not_adopted(world: World, created: Any) -> None:
    world.services.add(ServiceSpec(OLD, name="chat-2", description="[airflow:0123456789abcdef]"))

    outcome = created(model_set_id="am-given")

    assert outcome.xcoms["service_id"] == "svco-created0001"
    assert [call.action for call in world.calls] == [LIST, DETAIL, CREATE]  # "chat" has no description


def test_it_waits_until_the_service_serves(empty: World, created: Any, waiting: dict[str, Any]) -> None:
    outcome = created(**waiting)

    assert outcome.state == "success", outcome
    (service_id,) = empty.services
    assert outcome.xcoms["service_id"] == outcome.xcoms["service"]["serviceId"] == service_id
    assert outcome.xcoms["return_value"] == outcome.xcoms["modelId"] == NEW


def test_the_new_service_fails(empty: World, created: Any, waiting: dict[str, Any]) -> None:
    empty.scenario = empty.scenario.__class__(
        created_services=CreatedServices(
            timeline=(ServiceStep(run_status="Deploying"), ServiceStep(run_status="Failed", after=1))
        )
    )

    outcome = created(retries=1, **waiting)

    assert "is Failed" in failed(outcome, QianfanResourceFailedError)
    assert outcome.xcoms["service"]["runStatus"] == "Failed"
    assert outcome.xcoms["service_id"] in empty.services
    assert empty.count(CREATE) == 1


CREATE_LOST = {**LOST, "no id": {"body": {"requestId": "r", "result": {"instanceId": "i"}}}}


@pytest.mark.parametrize("fault", CREATE_LOST.values(), ids=CREATE_LOST.keys())
@pytest.mark.parametrize("told", ["in the list", "in the detail", "not named"])
def test_a_lost_answer_to_a_creation(
    empty: World, created: Any, fault: dict[str, Any], told: str, dag_runner: DagRunner
) -> None:
    """Rows of the list may not have the description, or not even the name."""
    empty.behaviour.list_lag = 0.5
    missing = {"in the list": (), "in the detail": ("description",), "not named": ("description", "name")}
    empty.scenario = empty.scenario.__class__(
        created_services=CreatedServices(
            timeline=(ServiceStep(run_status="New", in_list=Patch(omit=missing[told])),)
        )
    )
    empty.faults.append(Fault(action=CREATE, performs=True, **fault))

    one(created(settle=8), empty)

    assert "The answer was lost, but svco-created0001 ('chat') was created." in dag_runner.log or told == (
        "not named"
    )


def test_a_lost_creation_fails_and_the_next_try_creates(empty: World, created: Any) -> None:
    empty.faults.append(Fault(action=CREATE, server_error=502, calls=(1,)))

    outcome = created(retries=1)

    one(outcome, empty, times=2)
    (error,) = outcome.errors
    assert type(error) is QianfanTransientError
    assert "it is not known whether 'chat' was created" in str(error)
    assert "none with the mark [airflow:" in str(error)


def test_a_lost_answer_to_a_creation_and_no_list(empty: World, created: Any) -> None:
    empty.faults.append(Fault(action=CREATE, server_error=502))
    empty.faults.append(Fault(action=LIST, server_error=503, from_=2))

    told = failed(created(settle=0), QianfanTransientError)
    assert "it could not be looked for." in told
    assert "DescribeServices: HTTP 503" in told
    assert empty.count(CREATE) == 1


def test_a_refused_creation_is_not_waited_for(empty: World, created: Any) -> None:
    refusal = {"code": "InappropriateJSON", "message": "m", "requestId": "r-9"}
    empty.faults.append(Fault(action=CREATE, status=400, body=refusal, calls=(1,)))
    start = time.monotonic()

    outcome = created(retries=1, settle=600)

    one(outcome, empty, times=2)
    assert "r-9" in str(outcome.errors[0])
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
def test_a_crash_before_the_id_is_known(
    empty: World,
    created: Any,
    monkeypatch: pytest.MonkeyPatch,
    kept: bool,
    dag_runner: DagRunner,
    request: pytest.FixtureRequest,
) -> None:
    """The list shows the service only after the second try has begun."""
    if not kept:
        request.getfixturevalue("no_store")
    empty.behaviour.list_lag = 2
    die_after(monkeypatch, service, "create_service")

    outcome = created(retries=1, settle=10)

    one(outcome, empty)
    assert len(outcome.errors) == 1
    assert "An earlier try may have created the service. Looking for it for" in dag_runner.log


@pytest.mark.parametrize("if_exists", ["adopt", "fail"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
def test_a_later_try_finds_its_service(
    empty: World, created: Any, if_exists: str, kept: bool, request: pytest.FixtureRequest
) -> None:
    """The first has created it, and failed while it waited."""
    if not kept:
        request.getfixturevalue("no_store")
    empty.faults.append(Fault(action=DETAIL, **DENIED, calls=(1,)))

    outcome = created(retries=1, if_exists=if_exists, wait_for_completion=True, deferrable=False)

    assert empty.count(CREATE) == 1
    if if_exists == "fail":
        failed(outcome, QianfanResourceExistsError)
    else:
        assert outcome.xcoms["return_value"] == NEW
        assert outcome.xcoms["service_id"] in empty.services


def test_an_id_that_is_known_needs_no_list(empty: World, created: Any) -> None:
    empty.behaviour.list_lag = 600
    empty.faults.append(Fault(action=DETAIL, **DENIED, calls=(1,)))

    outcome = created(retries=1, settle=600, wait_for_completion=True, deferrable=False)

    assert outcome.xcoms["return_value"] == NEW
    assert empty.count(CREATE) == empty.count(LIST) == 1


def test_two_with_the_same_mark(empty: World, created: Any) -> None:
    def race(call: Any) -> None:
        if call.action == CREATE:
            empty.on_call = None
            (mine,) = empty.services.values()
            empty.services.add(
                ServiceSpec(NEW, id="svco-rival", name="chat", description=mine.spec.description)
            )

    empty.on_call = race
    empty.faults.append(Fault(action=CREATE, server_error=502, performs=True))

    told = failed(created(retries=1), QianfanResourceAmbiguousError)

    assert "svco-rival" in told
    assert "svco-created0001" in told
    assert empty.count(CREATE) == 1


def test_many_services(empty: World, created: Any) -> None:
    empty.behaviour.list_lag = 0.5
    for _ in range(150):
        empty.services.add(ServiceSpec(OLD, name="chat", description="theirs", created=-100.0))
    empty.faults.append(Fault(action=CREATE, server_error=502, performs=True))

    assert created(settle=8).xcoms["service_id"] == "svco-created0001"


def test_mapped_tasks_create_one_each(empty: World, dag_runner: DagRunner) -> None:
    def build() -> None:
        QianfanCreateServiceOperator.partial(
            task_id="deploy", model_id=NEW, deployment_config=UNITS, name="chat"
        ).expand(url_suffix=["chat-1", "chat-2"])

    outcomes = dag_runner.run(build)["deploy"]

    assert {outcome.xcoms["service_id"] for outcome in outcomes.values()} == set(empty.services)
    assert len({service.spec.description for service in empty.services.values()}) == 2


def test_templates(empty: World, dag_runner: DagRunner) -> None:
    from airflow.providers.common.compat.sdk import task

    def build() -> None:
        @task
        def units() -> dict[str, Any]:
            return UNITS

        create(
            name="chat-{{ dag_run.conf['n'] }}",
            url_suffix="chat-{{ dag_run.conf['n'] }}",
            model_id="{{ 'amv-new' }}000000001",
            model_set_id="{{ 'am-given' }}",
            description="of {{ dag.dag_id }}",
            nonce="{{ dag_run.conf['n'] }}",
            deployment_config=units(),
        )

    one(dag_runner.run(build, conf={"n": "7"})["deploy"], empty)

    body = empty.calls[-1].body
    assert (body["name"], body["urlSuffix"], body["modelSetId"]) == ("chat-7", "chat-7", "am-given")
    assert body["deploymentConfig"] == UNITS
    assert body["description"].startswith("of dag_")


# -- a resume ----------------------------------------------------------------------------------------------

EVENTS: dict[str, Any] = {
    "none": None,
    "text": "success",
    "empty": {},
    "without a service": lambda trigger: {"target": trigger.target | {"id": None}},
    "as it is": lambda trigger: {"target": trigger.target, "memory": trigger.memory},
}


@pytest.fixture
def resume(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the triggers of deferred tasks yield ``event`` after a moment."""
    from airflow.triggers.base import TriggerEvent

    def arrange(event: Any) -> None:
        async def yield_event(trigger: QianfanTrigger) -> Any:
            await asyncio.sleep(0.1)
            yield TriggerEvent(event(trigger) if callable(event) else event)

        monkeypatch.setattr(QianfanTrigger, "run", yield_event)

    return arrange


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_a_resumed_update_asks_for_nothing(world: World, modified: Any, resume: Any, event: Any) -> None:
    resume(event)

    outcome = modified(wait_for_completion=True, deferrable=True)

    assert swapped(outcome, world)
    assert outcome.xcoms["modelId"] == NEW


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_a_resumed_creation_creates_nothing(empty: World, created: Any, resume: Any, event: Any) -> None:
    resume(event)

    outcome = created(wait_for_completion=True, deferrable=True)

    assert outcome.xcoms["return_value"] == NEW
    assert outcome.xcoms["service_id"] in empty.services
    assert empty.count(CREATE) == 1


def test_a_resume_keeps_its_values(world: World, modified: Any, resume: Any) -> None:
    """Templates are rendered again; here, the model version that was waited for is then gone."""
    resume(EVENTS["as it is"])
    pulled = "ti.xcom_pull(task_ids=ti.task_id, key='previous_model_id')"

    outcome = modified(
        model_id=f"{{{{ none if {pulled} else '{NEW}' }}}}", wait_for_completion=True, deferrable=True
    )

    assert swapped(outcome, world)


# -- bad input ---------------------------------------------------------------------------------------------

BOTH = [
    ({"model_id": "None"}, "model_id='None' holds no value"),
    ({"model_id": ""}, "model_id='' holds no value"),
    ({"model_id": None}, "model_id=None holds no value"),
    ({"model_set_id": ""}, "model_set_id='' holds no value"),
    ({"qianfan_conn_id": ""}, "qianfan_conn_id"),
    ({"settle": -1}, "settle=-1"),
    ({"poke_interval": "1m"}, "poke_interval='1m'"),
    ({"timeout": -1}, "timeout=-1"),
    ({"max_unhealthy": True}, "max_unhealthy"),
    ({"auth_grace": -1}, "auth_grace"),
    ({"deferrable": True}, "needs wait_for_completion=True"),
]


@pytest.mark.parametrize(("arguments", "told"), [*BOTH, ({"service_id": " "}, "service_id=' '")])
def test_bad_literals_of_an_update(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        modify(**arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        *BOTH,
        ({"name": "c"}, "name='c' has 1 characters"),
        ({"name": "c" * 21}, "has 21 characters"),
        ({"url_suffix": "c"}, "url_suffix='c': the platform takes 2 to 20"),
        ({"url_suffix": "c" * 21}, "url_suffix"),
        ({"url_suffix": "Chat"}, "url_suffix"),
        ({"url_suffix": "-chat"}, "url_suffix"),
        ({"url_suffix": "chat_"}, "url_suffix"),
        ({"url_suffix": "chat\n"}, "url_suffix"),
        ({"protocol_version": 3}, "protocol_version=3 is neither 1 nor 2"),
        ({"protocol_version": True}, "protocol_version=True is neither 1 nor 2"),
        ({"protocol_version": Decimal(1)}, "is neither 1 nor 2"),
        ({"deployment_config": {**UNITS, "cost": Decimal(1)}}, r"deployment_config\['cost'\] is a Decimal"),
        ({"description": "\ud800"}, "a lone surrogate"),
        ({"if_exists": "create"}, "neither 'adopt' nor 'fail'"),
        ({"nonce": ""}, "nonce='' holds no value"),
        ({"deployment_config": None}, "deployment_config=None is not a dict"),
        ({"deployment_config": {"replicasCount": 1}}, "names no compute unit"),
        ({"deployment_config": {**UNITS, "resourceConfig": {}}}, "resourceConfig buys resources"),
        ({"deployment_config": {**UNITS, "billing": {}}}, "billing buys resources"),
        ({"resource_config": {}}, "resource_config buys resources"),
        ({"billing": {}}, "billing buys resources"),
    ],
)
def test_bad_literals_of_a_creation(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        create(**arguments)


@pytest.mark.parametrize("suffix", ["ch", "c1", "a-b_c", "c" * 20])
def test_good_suffixes(suffix: str) -> None:
    assert create(url_suffix=suffix, name="c" * 20).url_suffix == suffix


@pytest.mark.parametrize("make", [modify, create])
@pytest.mark.parametrize("pulled", ["{{ none }}", "{{ '' }}", "{{ ti.xcom_pull(task_ids='gate') }}", None])
def test_a_skipped_gate_deploys_nothing(
    world: World, dag_runner: DagRunner, make: Any, pulled: str | None
) -> None:
    from airflow.providers.common.compat.sdk import task

    def build() -> None:
        @task
        def gate() -> None:
            return None

        pushed = gate()
        pushed >> make(model_id=pushed if pulled is None else pulled)

    told = failed(dag_runner.run(build)["deploy"], ValueError)

    assert "there is no model version to deploy. Nothing was sent." in told
    assert world.calls == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "{{ 'c' }}"}, "name='c' has 1"),
        ({"url_suffix": "{{ 'C1' }}"}, "url_suffix='C1'"),
        ({"description": "{{ 'd' * 474 }}"}, "description has 501 characters"),
        ({"model_set_id": "{{ none }}"}, "model_set_id='None' holds no value"),
        ({"deployment_config": {"deploymentComputeUnitList": "{{ [] }}"}}, "names no compute unit"),
    ],
)
def test_bad_rendered_values(world: World, created: Any, arguments: dict[str, Any], told: str) -> None:
    assert told in failed(created(**arguments), ValueError)
    assert world.calls == []


def test_the_longest_description(empty: World, created: Any) -> None:
    one(created(description="d" * 473), empty)


def test_the_clusters_default_decides_unless_the_dag_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert modify(wait_for_completion=True).deferrable is False
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert modify(wait_for_completion=True).deferrable is True
    assert create(wait_for_completion=True, deferrable=False).deferrable is False
