"""Creating a compression: real Airflow, real HTTP, and one task on the platform whatever happens."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.changes import journal
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import ModelSpec, TaskSpec
from airflow_provider_qianfan.emulator.steps import ModelStep, TaskStep
from airflow_provider_qianfan.exceptions import (
    QianfanAPIError,
    QianfanModelUnusableError,
    QianfanTaskAmbiguousError,
    QianfanTaskExistsError,
    QianfanTaskFailedError,
    QianfanTaskNotFoundError,
    QianfanTransientError,
)
from airflow_provider_qianfan.operators.model_compression import QianfanCreateModelCompTaskOperator
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskTrigger
from tests.dag_runs import AIRFLOW_3

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import World
    from tests.dag_runs import DagRunner, Outcome

SOURCE, SET = "amv-source000001", "am-set000000001"
MADE = "amv-made00000001"
CONFIG = {"strategy": "Quantization", "weight": "INT8-PTQ"}
CREATE, LIST, MODEL = "CreateModelCompTask", "DescribeModelCompTasks", "DescribeModel"
MODES: dict[str, dict[str, Any]] = {"in the worker": {"deferrable": False}, "deferred": {"deferrable": True}}
SOON = timedelta(seconds=0.1)


def operator(cls: Any = QianfanCreateModelCompTaskOperator, **arguments: Any) -> Any:
    usual = {
        "task_id": "compress",
        "name": "demo",
        "source_model_id": SOURCE,
        "model_set_id": SET,
        "config": CONFIG,
        "settle": 3,
        "poke_interval": 0.1,
        "retry_delay": SOON,
    }
    return cls(**{**usual, **arguments})


@pytest.fixture
def world(emulator: EmulatorServer) -> World:
    """A platform with one model version that can be compressed; a compression takes a moment."""
    emulator.world.models.add(ModelSpec(id=SOURCE))
    emulator.world.scenario = emulator.world.scenario.__class__(
        created_tasks=emulator.world.scenario.created_tasks.__class__(
            timeline=(TaskStep(status="running"), TaskStep(status="succeeded", model_id=MADE, after=0.7))
        )
    )
    return emulator.world


@pytest.fixture
def create(dag_runner: DagRunner) -> Any:
    """Run the operator; give its outcome."""
    return lambda **arguments: dag_runner.run(lambda: operator(**arguments))["compress"]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"wait_for_completion": True, **MODES[request.param]}


def created(outcome: Outcome, world: World) -> str:
    """Check that there is one task, and that the operator gives its id; return it."""
    assert outcome.state == "success", outcome
    (task_id,) = world.tasks
    assert outcome.xcoms["return_value"] == outcome.xcoms["model_comp_task_id"] == task_id
    return str(task_id)


def failed(outcome: Outcome, error: type[BaseException]) -> str:
    assert outcome.state == "failed", outcome
    assert type(outcome.error) is error, outcome.error
    return str(outcome.error)


# -- creating ----------------------------------------------------------------------------------------------


def test_creates(world: World, create: Any) -> None:
    task_id = created(create(description="nightly"), world)

    assert [call.action for call in world.calls] == [LIST, MODEL, CREATE]
    body = dict(world.calls[-1].body)
    text, _, mark = body.pop("description").rpartition(" ")
    assert body == {"name": "demo", "sourceModelId": SOURCE, "modelSetId": SET, "config": CONFIG}
    assert text == "nightly"
    assert mark.startswith("[airflow:")
    assert world.tasks[task_id].spec.description == f"nightly {mark}"


@pytest.mark.parametrize(
    "config", [{"strategy": "Quantization", "weight": "int8-ptq", "more": 1}, {"strategy": "Sparsity"}]
)
def test_the_config_is_passed_on_as_it_is(world: World, create: Any, config: dict[str, Any]) -> None:
    created(create(config=config), world)

    assert world.calls[-1].body["config"] == config


def test_a_first_try_does_not_wait(world: World, create: Any) -> None:
    start = time.monotonic()

    created(create(settle=600), world)

    assert time.monotonic() - start < 60


def test_templates(world: World, dag_runner: DagRunner) -> None:
    from airflow.providers.common.compat.sdk import task

    def build() -> None:
        @task
        def upstream() -> dict[str, str]:
            return {"strategy": "Sparsity"}

        operator(
            name="demo-{{ run_id }}",
            source_model_id="{{ 'amv-source' }}000001",
            model_set_id="{{ dag_run.conf['set'] }}",
            config=upstream(),
            description="of {{ dag.dag_id }}",
            nonce="{{ dag_run.conf['set'] }}",
        )

    outcome = dag_runner.run(build, conf={"set": SET})["compress"]

    created(outcome, world)
    body = world.calls[-1].body
    assert body["name"].startswith("demo-manual__")
    assert (body["sourceModelId"], body["modelSetId"]) == (SOURCE, SET)
    assert body["config"] == {"strategy": "Sparsity"}
    assert body["description"].startswith("of dag_")


def test_mapped_tasks_create_one_each(world: World, dag_runner: DagRunner) -> None:
    weights = ["INT8-PTQ", "W8A16C16", "W4A16C16"]

    def build() -> None:
        QianfanCreateModelCompTaskOperator.partial(
            task_id="compress", name="demo", source_model_id=SOURCE, model_set_id=SET
        ).expand(config=[{"strategy": "Quantization", "weight": weight} for weight in weights])

    outcomes = dag_runner.run(build)["compress"]

    given = {outcome.xcoms["return_value"] for outcome in outcomes.values()}
    assert given == set(world.tasks)
    assert sorted(task.spec.config["weight"] for task in world.tasks.values()) == sorted(weights)
    assert len({task.spec.description for task in world.tasks.values()}) == 3


if AIRFLOW_3:  # which keeps links as XComs

    def test_the_link_knows_the_task(world: World, create: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__QIANFAN__CONSOLE_URL_TEMPLATE", "https://c/{model_comp_task_id}")

        outcome = create()

        assert f"https://c/{created(outcome, world)}" in outcome.xcoms.values()


# -- the source model --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "error", "told"),
    [
        ({"status": "Fail"}, QianfanModelUnusableError, "status Fail"),
        ({"supports_compression": False}, QianfanModelUnusableError, "isSupportModelComp: false"),
        ({"status": "Creating"}, QianfanTransientError, "status 'Creating'"),
    ],
)
def test_a_model_that_cannot_be_compressed(
    world: World, create: Any, model: dict[str, Any], error: type[BaseException], told: str
) -> None:
    world.models.add(ModelSpec(id="amv-other0000001", **model))

    outcome = create(source_model_id="amv-other0000001", retries=1)

    assert told in failed(outcome, error)
    assert len(outcome.errors) == (2 if error is QianfanTransientError else 1)
    assert world.count(CREATE) == 0


def test_a_model_that_becomes_ready(world: World, create: Any) -> None:
    world.models.change(SOURCE, ModelStep("Creating"))
    world.on_call = lambda call: call.action == MODEL and world.models.change(SOURCE, ModelStep("Ready"))

    created(create(retries=1), world)


def test_what_the_platform_does_not_say_is_warned_about(
    world: World, create: Any, dag_runner: DagRunner
) -> None:
    world.models.change(SOURCE, ModelStep("Ready", omit=("isSupportModelComp",)))

    created(create(), world)

    assert f"The platform does not say isSupportModelComp of model version {SOURCE}" in dag_runner.log


def test_an_unknown_model(world: World, create: Any) -> None:
    failed(create(source_model_id="amv-unknown00001"), QianfanAPIError)
    assert world.count(CREATE) == 0


@pytest.mark.parametrize(
    ("ratio", "told"),
    [
        (Decimal("0.5"), "config['ratio'] is a Decimal, which JSON cannot hold. Pass a number or text."),
        (datetime(2026, 1, 1, tzinfo=UTC), "config['ratio'] is a "),
    ],
    ids=["a Decimal", "a datetime"],
)
def test_what_an_upstream_task_returns_is_checked_before_anything_is_noted(
    world: World, dag_runner: DagRunner, ratio: Any, told: str
) -> None:
    from airflow.providers.common.compat.sdk import task

    def build() -> None:
        @task
        def upstream() -> dict[str, Any]:
            return {"strategy": "Sparsity", "ratio": ratio}

        operator(config=upstream())

    assert told in failed(dag_runner.run(build)["compress"], ValueError)
    assert world.calls == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"config": {"strategy": "Sparsity", "ratio": Decimal(1)}}, "config['ratio'] is a Decimal"),
        ({"name": "a\ud800"}, "a lone surrogate"),
        ({"description": "\ud800"}, "a lone surrogate"),
        ({"nonce": "\ud800"}, "a lone surrogate"),
        ({"source_model_id": "\ud800"}, "a lone surrogate"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_parse(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        operator(**arguments)


# -- not twice ---------------------------------------------------------------------------------------------

LOST: dict[str, dict[str, Any]] = {
    "server error": {"server_error": 502},
    "not JSON": {"not_json": True},
    "empty": {"empty_body": True},
    "no id": {"body": {"requestId": "r"}},
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_of_a_creation_that_took_place(
    world: World, create: Any, dag_runner: DagRunner, fault: dict[str, Any]
) -> None:
    world.behaviour.list_lag = 1
    world.faults.append(Fault(action=CREATE, performs=True, **fault))

    created(create(), world)

    assert world.count(CREATE) == 1
    assert "The answer was lost, but amva-created0001" in dag_runner.log


def test_an_answer_that_never_comes(
    world: World, create: Any, monkeypatch: pytest.MonkeyPatch, emulator: Any
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", emulator.connection_uri + "?timeout=1")
    world.faults.append(Fault(action=CREATE, latency=3))

    created(create(settle=10), world)

    assert world.count(CREATE) == 1


def test_a_lost_request_fails_and_the_next_try_creates(world: World, create: Any) -> None:
    world.faults.append(Fault(action=CREATE, server_error=502, calls=(1,)))

    outcome = create(retries=1)

    created(outcome, world)
    assert world.count(CREATE) == 2
    (error,) = outcome.errors
    assert type(error) is QianfanTransientError
    assert "it is not known whether 'demo' was created" in str(error)
    assert "none with the mark [airflow:" in str(error)


def test_a_task_that_becomes_visible_too_late_is_what_settle_is_for(world: World, create: Any) -> None:
    world.behaviour.list_lag = 4
    world.faults.append(Fault(action=CREATE, server_error=502, performs=True))

    assert "look in the Qianfan console" in failed(create(settle=1), QianfanTransientError)
    assert world.count(CREATE) == 1

    world.tasks.clear()
    created(create(settle=8), world)


def test_beyond_settle_there_may_be_two(world: World, create: Any, dag_runner: DagRunner) -> None:
    world.behaviour.list_lag = 60
    world.faults.append(Fault(action=CREATE, server_error=502, performs=True, calls=(1,)))

    outcome = create(settle=1, retries=1)

    assert outcome.xcoms["return_value"] == "amva-created0002"
    assert list(world.tasks) == ["amva-created0001", "amva-created0002"]
    assert type(outcome.error) is QianfanTransientError


def test_a_refusal_is_not_waited_for(world: World, create: Any) -> None:
    refusal = {"requestId": "r-9", "code": "InappropriateJSON", "message": "m"}
    world.faults.append(Fault(action=CREATE, status=400, body=refusal, calls=(1,)))
    start = time.monotonic()

    outcome = create(retries=1, settle=600)

    created(outcome, world)
    assert "r-9" in str(outcome.error)
    assert time.monotonic() - start < 60


class Dying(QianfanCreateModelCompTaskOperator):
    """Dies in its first try, before or after it has created a task."""

    when = ""

    def execute(self, context: Any) -> Any:
        dies = context["ti"].try_number == 1
        if dies and self.when == "before":
            raise RuntimeError("dead")
        result = super().execute(context)
        if dies:
            raise RuntimeError("dead")
        return result


def dying(when: str, **arguments: Any) -> None:
    operator(cls=Dying, retries=1, **arguments).when = when


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash(world: World, dag_runner: DagRunner, when: str) -> None:
    outcome = dag_runner.run(lambda: dying(when, settle=600))["compress"]

    created(outcome, world)
    assert len(outcome.errors) == 1
    assert world.count(CREATE) == world.count(LIST) == 1


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
def test_a_crash_before_the_id_is_known(
    world: World,
    create: Any,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    kept: bool,
    dag_runner: DagRunner,
) -> None:
    """The list shows the task only after the second try has begun."""
    from airflow_provider_qianfan.changes import compression

    if not kept:
        request.getfixturevalue("no_store")
    world.behaviour.list_lag = 2
    run = compression.create_task
    tries: list[int] = []

    def die_after_the_request(*arguments: Any) -> Any:
        tries.append(1)
        result = yield from run(*arguments)
        if len(tries) == 1:
            raise RuntimeError("dead")
        return result

    monkeypatch.setattr(compression, "create_task", die_after_the_request)

    outcome = create(retries=1, settle=10)

    created(outcome, world)
    assert len(outcome.errors) == 1
    assert world.count(CREATE) == 1
    assert "An earlier try may have created the model compression task. Looking for it for" in dag_runner.log


def test_an_older_airflow_waits_in_every_later_try(
    world: World, dag_runner: DagRunner, no_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LOOK_AGAIN", 5.0)
    start = time.monotonic()
    created(dag_runner.run(lambda: dying("before", settle=2))["compress"], world)

    assert time.monotonic() - start >= 2
    assert world.count(LIST) == 2


def test_a_task_that_is_there_is_adopted(world: World, create: Any, dag_runner: DagRunner) -> None:
    """Here of an earlier try that wrote nothing down; a cleared task finds its own in the same way."""

    def leave_one(call: Any) -> None:
        world.on_call = None
        world.tasks.add(TaskSpec(SOURCE, id="amva-left", description=marks[-1]))

    marks: list[str] = []
    real = journal.fingerprint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "fingerprint", lambda *identity: marks.append(real(*identity)) or marks[-1])
        world.faults.append(Fault(action=LIST, server_error=503, calls=(1,)))  # it is there at the second
        world.on_call = leave_one
        outcome = create()

    assert created(outcome, world) == "amva-left"
    assert world.count(CREATE) == 0


@pytest.mark.parametrize("retries", [0, 1])
def test_if_exists_fail(world: World, create: Any, retries: int) -> None:
    world.faults.append(Fault(action=CREATE, server_error=502, performs=True, calls=(1,)))
    world.behaviour.list_lag = 1

    outcome = create(if_exists="fail", settle=0, retries=retries, retry_delay=timedelta(seconds=1.5))

    failed(outcome, QianfanTaskExistsError if retries else QianfanTransientError)
    assert world.count(CREATE) == 1


def test_two_with_the_same_mark(world: World, create: Any) -> None:
    def race(call: Any) -> None:
        if call.action == CREATE:
            (mine,) = world.tasks.values()
            world.on_call = None
            world.tasks.add(TaskSpec(SOURCE, id="amva-rival", description=mine.spec.description))

    world.on_call = race
    world.faults.append(Fault(action=CREATE, server_error=502, performs=True))

    told = failed(create(retries=1), QianfanTaskAmbiguousError)

    assert "amva-rival" in told
    assert "amva-created0001" in told
    assert world.count(CREATE) == 1


# -- waiting -----------------------------------------------------------------------------------------------


def test_waits_as_the_sensor_does(world: World, create: Any, mode: dict[str, Any]) -> None:
    outcome = create(**mode)

    assert outcome.state == "success", outcome
    (task_id,) = world.tasks
    assert outcome.xcoms["model_comp_task_id"] == outcome.xcoms["model_comp_task"]["id"] == task_id
    assert outcome.xcoms["return_value"] == outcome.xcoms["modelId"] == MADE


def test_waits_for_the_produced_model_too(world: World, create: Any, mode: dict[str, Any]) -> None:
    late = (ModelStep(status="Creating"), ModelStep(status="Ready", after=0.8))
    world.on_call = lambda call: (
        call.action == CREATE
        and world.tasks.change(
            "amva-created0001", TaskStep(status="succeeded", after=1, model_id=MADE, model_timeline=late)
        )
    )
    began = world.now

    outcome = create(wait_for_model_ready=True, **mode)

    assert outcome.xcoms["return_value"] == MADE
    assert (world.now - began).total_seconds() > 1.7


def test_the_compression_fails(
    world: World, create: Any, mode: dict[str, Any], dag_runner: DagRunner
) -> None:
    world.on_call = lambda call: (
        call.action == CREATE
        and world.tasks.change("amva-created0001", TaskStep(status="failed", failed_reason="no data"))
    )

    outcome = create(retries=2, **mode)

    told = failed(outcome, QianfanTaskFailedError)
    assert "no data" in told
    assert "A cleared task adopts the same compression again." in told
    assert len(outcome.errors) == 1
    assert outcome.xcoms["model_comp_task"]["status"] == "failed"
    assert {"return_value", "modelId"}.isdisjoint(outcome.xcoms)


def test_a_lagging_list_does_not_matter_when_the_id_is_known(
    world: World, create: Any, mode: dict[str, Any]
) -> None:
    world.behaviour.list_lag = 60

    assert create(**mode).xcoms["return_value"] == MADE


def test_a_failed_look_is_retried_without_a_second_creation(
    world: World, create: Any, mode: dict[str, Any]
) -> None:
    world.faults.append(Fault(action="DescribeModelCompTask", legacy_error=6, calls=(1,)))

    outcome = create(retries=1, **mode)

    assert outcome.xcoms["return_value"] == MADE
    assert world.count(CREATE) == 1


def test_the_timeout_is_the_sensors(world: World, create: Any, mode: dict[str, Any]) -> None:
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout

    world.on_call = lambda call: call.action == CREATE and world.tasks.change("amva-created0001")

    told = failed(create(timeout=1, **mode), AirflowSensorTimeout)

    assert "amva-created0001 ('demo') is running" in told


@pytest.fixture
def resume(monkeypatch: pytest.MonkeyPatch, create: Any) -> Any:
    """Run a deferrable operator whose trigger yields ``event`` after a moment."""
    from airflow.triggers.base import TriggerEvent

    def run(event: Any, **arguments: Any) -> Outcome:
        async def yield_event(trigger: QianfanModelCompTaskTrigger) -> Any:
            await asyncio.sleep(0.1)
            yield TriggerEvent(event(trigger) if callable(event) else event)

        monkeypatch.setattr(QianfanModelCompTaskTrigger, "run", yield_event)
        return create(wait_for_completion=True, deferrable=True, **arguments)

    return run


EVENTS: dict[str, Any] = {
    "none": None,
    "text": "success",
    "empty": {},
    "without a task": lambda trigger: {
        "target": trigger.target | {"model_comp_task_id": None},
        "memory": trigger.memory,
    },
    "with an empty task": lambda trigger: {"target": trigger.target | {"model_comp_task_id": ""}},
    "as it is": lambda trigger: {"target": trigger.target, "memory": trigger.memory},
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_a_resume_finds_its_task_whatever_the_event_says(world: World, resume: Any, event: Any) -> None:
    world.tasks.add(TaskSpec(SOURCE, created=5, id="amva-foreign", description="[airflow:0123456789abcdef]"))

    outcome = resume(event)

    assert outcome.xcoms["return_value"] == MADE
    assert world.count(CREATE) == 1


def test_a_resume_creates_nothing(world: World, resume: Any) -> None:
    def event(trigger: Any) -> None:
        world.tasks.clear()

    told = failed(resume(event, settle=1, retries=1), QianfanTaskNotFoundError)

    assert "Nothing is created in its place" in told
    assert world.count(CREATE) == 1


def test_values_are_kept_over_a_deferral(world: World, resume: Any) -> None:
    """Templates are rendered again when a task is resumed; here, to another source model."""
    world.models.add(ModelSpec(id="amv-other0000001"))

    outcome = resume(
        EVENTS["as it is"],
        source_model_id="{{ 'amv-other0000001' if ti.xcom_pull(task_ids=ti.task_id, key='model_comp_task_id')"
        f" else '{SOURCE}' }}}}",
    )

    assert outcome.xcoms["return_value"] == MADE


# -- killing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancel_on_kill", [False, True])
def test_execution_timeout_kills(world: World, create: Any, cancel_on_kill: bool) -> None:
    goes_on = world.scenario.created_tasks.__class__(timeline=(TaskStep(status="running"),))
    world.scenario = world.scenario.__class__(created_tasks=goes_on)

    outcome = create(
        wait_for_completion=True,
        deferrable=False,
        cancel_on_kill=cancel_on_kill,
        execution_timeout=timedelta(seconds=1.5),
    )

    assert outcome.state == "failed"
    assert world.count("CancelModelCompTask") == cancel_on_kill


def test_a_kill_before_the_id_is_known_cancels_nothing(world: World) -> None:
    operator(cancel_on_kill=True, wait_for_completion=True).on_kill()

    assert world.calls == []


@pytest.mark.parametrize("cancel_on_kill", [False, True])
def test_the_trigger_is_told(world: World, resume: Any, cancel_on_kill: bool) -> None:
    told: list[bool] = []

    def event(trigger: QianfanModelCompTaskTrigger) -> None:
        told.append(trigger.serialize()[1]["cancel_on_kill"])

    resume(event, cancel_on_kill=cancel_on_kill)

    assert set(told) == {cancel_on_kill}


@pytest.mark.parametrize("cancel_on_kill", [False, True])
def test_the_wait_logs_as_the_gate_does(cancel_on_kill: bool) -> None:
    made = operator(wait_for_completion=True, cancel_on_kill=cancel_on_kill)
    sensor = made._sensor("amva-1", SOURCE)

    assert sensor.log.name == QianfanModelCompTaskSensor(task_id="gate", source_model_id=SOURCE).log.name


# -- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": ""}, "name='' holds no value"),
        ({"source_model_id": "None"}, "source_model_id='None' holds no value"),
        ({"model_set_id": " "}, "holds no value"),
        ({"config": {"strategy": "Quantization"}}, "weight"),
        ({"config": {"strategy": "Pruning"}}, "strategy is one of Quantization, Sparsity"),
        ({"description": 1}, "description=1 is not text"),
        ({"nonce": ""}, "nonce='' holds no value"),
        ({"if_exists": "create"}, "neither 'adopt' nor 'fail'"),
        ({"settle": -1}, "settle=-1"),
        ({"poke_interval": "1m"}, "poke_interval='1m'"),
        ({"timeout": -1}, "timeout=-1"),
        ({"max_unhealthy": True}, "max_unhealthy"),
        ({"auth_grace": -1}, "auth_grace"),
        ({"qianfan_conn_id": ""}, "qianfan_conn_id"),
        ({"deferrable": True}, "deferrable=True needs wait_for_completion=True"),
        ({"cancel_on_kill": True}, "cancel_on_kill=True needs wait_for_completion=True"),
        ({"wait_for_model_ready": True}, "wait_for_model_ready=True needs wait_for_completion=True"),
    ],
)
def test_bad_literals_are_refused_at_parse(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        operator(**arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "{{ none }}"}, "name='None' holds no value"),
        ({"source_model_id": "{{ '' }}"}, "source_model_id='' holds no value"),
        ({"config": {"strategy": "{{ 'Pruning' }}"}}, "strategy is one of"),
        ({"config": {"strategy": "Quantization", "weight": "{{ none }}"}}, "weight"),
        ({"nonce": "{{ none }}"}, "nonce='None' holds no value"),
    ],
)
def test_bad_rendered_values_are_refused_at_start(
    world: World, create: Any, arguments: dict[str, Any], told: str
) -> None:
    assert told in failed(create(**arguments), ValueError)
    assert world.calls == []


@pytest.mark.parametrize(
    "argument", ["name", "source_model_id", "model_set_id", "config", "description", "nonce"]
)
def test_bad_upstream_results_are_refused(world: World, dag_runner: DagRunner, argument: str) -> None:
    from airflow.providers.common.compat.sdk import task

    def build() -> None:
        @task
        def upstream() -> None:
            return None

        operator(**{argument: upstream()})

    assert argument in failed(dag_runner.run(build)["compress"], ValueError)
    assert world.calls == []


def test_the_clusters_default_decides_unless_the_dag_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert operator(wait_for_completion=True).deferrable is False
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert operator(wait_for_completion=True).deferrable is True
    assert operator(wait_for_completion=True, deferrable=False).deferrable is False
