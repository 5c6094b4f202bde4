"""Why a task failed: one line of its log, for every class, in every mode. No line if nothing failed."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan._compat import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from airflow_provider_qianfan._reasons import ReasoningOperator, reason
from airflow_provider_qianfan.api.text import sentence
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import CreatedTasks, ModelSpec, ServiceSpec, TaskSpec
from airflow_provider_qianfan.emulator.steps import ModelStep, ServiceStep, TaskStep
from airflow_provider_qianfan.exceptions import (
    QianfanConfigurationError,
    QianfanTaskFailedError,
    QianfanTransientError,
)
from airflow_provider_qianfan.gate.arguments import check_seconds
from airflow_provider_qianfan.operators._waiting import WaitingOperator
from airflow_provider_qianfan.operators.model_compression import (
    QianfanCancelModelCompTaskOperator,
    QianfanCreateModelCompTaskOperator,
    QianfanListModelCompTasksOperator,
)
from airflow_provider_qianfan.operators.service import (
    QianfanCreateServiceOperator,
    QianfanModifyServiceOperator,
)
from airflow_provider_qianfan.sensors.model import QianfanModelSensor
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.sensors.service import QianfanServiceSensor
from tests.dag_runs import AIRFLOW_3

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import World
    from tests.dag_runs import DagRunner

SOURCE, TASK, MODEL, SERVICE = "amv-source000001", "amva-1", "amv-model", "svco-1"
FINAL, FOR_NOW = "This task fails, and is not tried again", "This try fails"
MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False, "poke_interval": 0.1},
    "reschedule": {"mode": "reschedule", "poke_interval": 0.1},
    "deferrable": {"deferrable": True, "poke_interval": 0.1},
}
SENSORS: dict[str, tuple[type, dict[str, Any]]] = {
    "gate": (QianfanModelCompTaskSensor, {"source_model_id": SOURCE}),
    "model": (QianfanModelSensor, {"model_id": MODEL}),
    "service": (QianfanServiceSensor, {"service_id": SERVICE, "model_id": MODEL}),
}
COMPRESSION: dict[str, Any] = {
    "name": "n",
    "source_model_id": SOURCE,
    "model_set_id": "am-1",
    "config": {"strategy": "Sparsity"},
}
UNITS = {
    "replicasCount": 1,
    "deploymentComputeUnitList": [{"instanceId": "unit-1", "deploymentReplicasCount": 1}],
}
OPERATORS: dict[str, tuple[type, dict[str, Any]]] = {
    "list": (QianfanListModelCompTasksOperator, {}),
    "create": (QianfanCreateModelCompTaskOperator, COMPRESSION),
    "cancel": (QianfanCancelModelCompTaskOperator, {"model_comp_task_id": TASK}),
    "modify a service": (QianfanModifyServiceOperator, {"service_id": SERVICE, "model_id": MODEL}),
    "create a service": (
        QianfanCreateServiceOperator,
        {"name": "chat", "url_suffix": "chat", "model_id": MODEL, "deployment_config": UNITS},
    ),
}


@pytest.fixture
def world(emulator: EmulatorServer) -> World:
    """A platform on which all that is waited for begins well, and fails."""
    world = emulator.world
    world.tasks.add(
        TaskSpec(SOURCE, id=TASK, timeline=(TaskStep(status="running"), TaskStep(after=0.4, status="failed")))
    )
    world.models.add(
        ModelSpec(id=MODEL, timeline=(ModelStep(status="Creating"), ModelStep(after=0.4, status="Fail")))
    )
    world.services.add(
        ServiceSpec(
            MODEL,
            id=SERVICE,
            timeline=(ServiceStep(run_status="Deploying"), ServiceStep(after=0.4, run_status="Failed")),
        )
    )
    return world


def line(fails: str, error: str, told: str) -> str:
    return f"{told} {fails} ({error})."


def check(dag_runner: DagRunner, error: BaseException | None, fails: str, *, times: int = 1) -> None:
    """Check that the reason is there once, as an error, before the traceback."""
    said = [line for line in dag_runner.log.splitlines() if FINAL in line or FOR_NOW in line]
    assert len(said) == times, dag_runner.log
    expected = line(fails, type(error).__name__, sentence(str(error)))
    for found in said:
        assert expected in found
        assert re.search(r"\berror\b", found.partition(expected)[0], re.IGNORECASE)
    if AIRFLOW_3:
        assert dag_runner.log.index(expected) < dag_runner.log.index("Traceback")


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("kind", SENSORS.values(), ids=SENSORS)
def test_a_verdict(
    world: World, dag_runner: DagRunner, kind: tuple[type, dict[str, Any]], mode: dict[str, Any]
) -> None:
    made, arguments = kind

    outcome = dag_runner.run(lambda: made(task_id="wait", timeout=20, retries=1, **arguments, **mode))["wait"]

    assert outcome.state == "failed"
    check(dag_runner, outcome.error, FINAL)


@pytest.mark.parametrize("kind", [*SENSORS.values(), *OPERATORS.values()], ids=[*SENSORS, *OPERATORS])
def test_a_key_that_is_refused(
    world: World, dag_runner: DagRunner, kind: tuple[type, dict[str, Any]]
) -> None:
    made, arguments = kind
    world.account.secret_access_key = "another-secret-access-key"

    outcome = dag_runner.run(lambda: made(task_id="t", **arguments))["t"]

    assert outcome.state == "failed"
    check(dag_runner, outcome.error, FOR_NOW)


@pytest.mark.parametrize("kind", [*SENSORS.values(), *OPERATORS.values()], ids=[*SENSORS, *OPERATORS])
def test_a_setting_that_cannot_be_used(
    world: World, dag_runner: DagRunner, kind: tuple[type, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, arguments = kind
    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", "qianfan://ak:sk@")
    monkeypatch.setenv("HTTPS_PROXY", "ftp://up")

    outcome = dag_runner.run(lambda: made(task_id="t", **arguments))["t"]

    assert isinstance(outcome.error, QianfanConfigurationError)
    check(dag_runner, outcome.error, FOR_NOW)


@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
@pytest.mark.parametrize("kind", ["create", "modify a service", "create a service"])
def test_an_operator_that_waits(world: World, dag_runner: DagRunner, kind: str, deferrable: bool) -> None:
    """Says it once, although the sensor that it makes fails, too; and with the operator's own words."""
    made, arguments = OPERATORS[kind]
    world.scenario = world.scenario.__class__(
        created_tasks=CreatedTasks(
            timeline=(TaskStep(status="running"), TaskStep(after=0.4, status="failed"))
        )
    )
    world.models.add(ModelSpec(id=SOURCE))
    if kind != "create":
        world.models.change(MODEL, ModelStep("Ready"))
        world.services.add(ServiceSpec("amv-old", id="svco-2"))
        arguments = {**arguments, **({"service_id": "svco-2"} if kind == "modify a service" else {})}
        waiting = {"timeout": 2}
    else:
        waiting = {"timeout": 20}

    outcome = dag_runner.run(
        lambda: made(
            task_id="t",
            wait_for_completion=True,
            deferrable=deferrable,
            poke_interval=1,
            **waiting,
            **arguments,
        )
    )["t"]

    assert outcome.state == "failed"
    check(dag_runner, outcome.error, FINAL)
    assert kind != "create" or "A cleared task adopts the same compression again." in str(outcome.error)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_a_timeout(emulator: EmulatorServer, dag_runner: DagRunner, mode: dict[str, Any]) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE))

    outcome = dag_runner.run(
        lambda: QianfanModelCompTaskSensor(task_id="wait", source_model_id=SOURCE, **{**mode, "timeout": 1})
    )["wait"]

    assert isinstance(outcome.error, AirflowSensorTimeout)
    check(dag_runner, outcome.error, FINAL)


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_an_execution_timeout(emulator: EmulatorServer, dag_runner: DagRunner, mode: str) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE))

    outcome = dag_runner.run(
        lambda: QianfanModelCompTaskSensor(
            task_id="wait", source_model_id=SOURCE, execution_timeout=timedelta(seconds=2), **MODES[mode]
        )
    )["wait"]

    assert outcome.state == "failed"
    [said] = [text for text in dag_runner.log.splitlines() if f"{FOR_NOW} (AirflowTaskTimeout)." in text]
    assert "Timed out after" in said


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_a_platform_that_is_given_up(emulator: EmulatorServer, dag_runner: DagRunner, mode: str) -> None:
    emulator.world.faults.append(Fault(server_error=503))

    outcome = dag_runner.run(
        lambda: QianfanModelCompTaskSensor(
            task_id="wait", source_model_id=SOURCE, max_unhealthy=0, **MODES[mode]
        )
    )["wait"]

    assert isinstance(outcome.error, QianfanTransientError)
    check(dag_runner, outcome.error, FOR_NOW)


def test_each_try_says_it(world: World, dag_runner: DagRunner) -> None:
    world.account.secret_access_key = "another-secret-access-key"

    outcome = dag_runner.run(
        lambda: QianfanListModelCompTasksOperator(task_id="t", retries=1, retry_delay=timedelta(seconds=0.1))
    )["t"]

    assert len(outcome.errors) == 2
    assert dag_runner.log.count(FOR_NOW) == 2


def test_each_of_the_mapped_says_it(world: World, dag_runner: DagRunner) -> None:
    world.advance(2)
    other = world.tasks.add(TaskSpec("amv-other", status="stopped"))

    outcomes = dag_runner.run(
        lambda: QianfanModelCompTaskSensor.partial(task_id="wait", deferrable=False).expand(
            source_model_id=[SOURCE, "amv-other"]
        )
    )["wait"]

    assert dag_runner.log.count(FINAL) == 2
    for index, task_id in ((0, TASK), (1, other)):
        told = line(FINAL, "QianfanTaskFailedError", f"{outcomes[index].error}")
        assert dag_runner.log.count(told) == 1
        assert task_id in told


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("kind", SENSORS.values(), ids=SENSORS)
def test_a_skip_has_only_its_own_line(
    world: World, dag_runner: DagRunner, kind: tuple[type, dict[str, Any]], mode: dict[str, Any]
) -> None:
    made, arguments = kind

    given = {"timeout": 20, "settle": 0, "soft_fail": True, **arguments, **mode}
    outcome = dag_runner.run(lambda: made(task_id="t", **given))["t"]

    assert outcome.state == "skipped"
    assert dag_runner.log.count("This task is skipped (Qianfan") == 1
    assert FINAL not in dag_runner.log
    assert FOR_NOW not in dag_runner.log


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_a_success_has_none(emulator: EmulatorServer, dag_runner: DagRunner, mode: dict[str, Any]) -> None:
    """Although it is deferred, or rescheduled, by an exception."""
    emulator.world.tasks.add(
        TaskSpec(
            SOURCE,
            timeline=(
                TaskStep(status="running"),
                TaskStep(after=0.4, status="succeeded", model_id="amv-made00000001"),
            ),
        )
    )

    outcome = dag_runner.run(
        lambda: QianfanModelCompTaskSensor(task_id="t", source_model_id=SOURCE, timeout=20, **mode)
    )["t"]

    assert outcome.state == "success"
    assert FINAL not in dag_runner.log
    assert FOR_NOW not in dag_runner.log


# -- without Airflow's task runner ---------------------------------------------------------------------------


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.levelname, record.getMessage()))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    handler, logger = Heard(), logging.getLogger("reasons")
    logger.handlers = [handler]
    monkeypatch.setattr(ReasoningOperator, "log", logger)
    return handler


class Raising(ReasoningOperator):
    error: BaseException = ValueError("m")

    def execute(self, context: Any) -> None:
        raise self.error


class Handling(Raising):
    """Made by a user from one of ours."""

    def execute(self, context: Any) -> str:
        try:
            super().execute(context)
        except ValueError:
            return "handled"
        return ""


def test_what_is_handled_is_no_failure(heard: Heard) -> None:
    made = Handling(task_id="t", allow_nested_operators=True)

    assert made.execute({}) == "handled"
    assert "ERROR" not in [level for level, _ in heard.said]


def abandoned() -> dict[str, Any]:
    """Return what Airflow's scheduler says when it ends a deferral that no trigger has ended."""
    if not AIRFLOW_3:
        return {"error": "Trigger/execution timeout"}
    from airflow.models.trigger import TriggerFailureReason

    return {"error": TriggerFailureReason.TRIGGER_TIMEOUT.value}


WAITING = SENSORS | {
    name: (made, arguments | {"wait_for_completion": True})
    for name, (made, arguments) in OPERATORS.items()
    if issubclass(made, WaitingOperator)
}
HOUR, TWO_HOURS = timedelta(hours=1), timedelta(hours=2)


@pytest.mark.parametrize(
    ("limits", "error", "limit", "fails"),
    [
        ({}, AirflowSensorTimeout, "timeout", FINAL),
        ({"timeout": HOUR}, AirflowSensorTimeout, "timeout", FINAL),
        ({"execution_timeout": HOUR}, AirflowTaskTimeout, "execution_timeout", FOR_NOW),
        ({"execution_timeout": TWO_HOURS, "timeout": HOUR}, AirflowSensorTimeout, "timeout", FINAL),
        ({"execution_timeout": HOUR, "timeout": HOUR}, AirflowSensorTimeout, "timeout", FINAL),
        # The default timeout is shorter.
        ({"execution_timeout": timedelta(days=8)}, AirflowSensorTimeout, "timeout", FINAL),
    ],
    ids=["neither", "timeout", "execution_timeout", "both", "equal", "beyond the default"],
)
@pytest.mark.parametrize("kind", WAITING.values(), ids=WAITING)
def test_a_deferral_that_only_airflow_has_ended(
    heard: Heard,
    kind: tuple[type, dict[str, Any]],
    limits: dict[str, Any],
    error: type[BaseException],
    limit: str,
    fails: str,
) -> None:
    made, arguments = kind
    waiting = made(task_id="t", deferrable=True, **arguments, **limits)

    with pytest.raises(error, match="Check that a triggerer runs"):
        waiting.resume_execution("__fail__", abandoned(), {})

    [said] = [text for level, text in heard.said if level == "ERROR"]
    assert said.startswith(f"The time is up ({limit}). ")
    assert said.endswith(f" {fails} ({error.__name__}).")


@pytest.mark.parametrize("flag", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("kind", SENSORS.values(), ids=SENSORS)
def test_a_deferral_that_only_airflow_has_ended_may_skip(
    heard: Heard, kind: tuple[type, dict[str, Any]], flag: str
) -> None:
    made, arguments = kind

    with pytest.raises(AirflowSkipException):
        made(task_id="t", deferrable=True, **arguments, **{flag: True}).resume_execution(
            "__fail__", abandoned(), {}
        )
    assert [level for level, _ in heard.said] == ["WARNING"]

    with pytest.raises(AirflowTaskTimeout):  # which no flag makes a skip, in any mode
        made(
            task_id="t", deferrable=True, execution_timeout=HOUR, **arguments, **{flag: True}
        ).resume_execution("__fail__", abandoned(), {})


def test_a_deferral_of_a_subclass_is_its_own() -> None:
    """It has a timeout of its own, which is not the wait's: Airflow says what it says."""
    made, arguments = OPERATORS["list"]

    with pytest.raises(Exception, match=r"[Tt]imeout") as failed:
        made(task_id="t", **arguments).resume_execution("__fail__", abandoned(), {})

    assert not isinstance(failed.value, AirflowSensorTimeout)


def test_what_cannot_be_cancelled_still_ends(heard: Heard) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("hu3sh")

    made, arguments = WAITING["create"]
    create = made(task_id="t", deferrable=True, execution_timeout=HOUR, cancel_on_kill=True, **arguments)
    ti = SimpleNamespace(task_id="t", map_index=-1, xcom_pull=fail)

    with pytest.raises(AirflowTaskTimeout):
        create.resume_execution("__fail__", abandoned(), {"ti": ti})

    assert "WARNING" in [level for level, _ in heard.said]
    assert "hu3sh" not in str(heard.said)


@pytest.mark.parametrize("cancel", [False, True])
def test_a_deferral_that_only_airflow_has_ended_may_cancel(
    emulator: EmulatorServer, airflow_db: None, cancel: bool
) -> None:
    """Airflow calls ``on_kill`` after an ``AirflowTaskTimeout``."""
    emulator.world.tasks.add(TaskSpec(SOURCE, id=TASK))
    made, arguments = WAITING["create"]
    create = made(task_id="t", deferrable=True, execution_timeout=HOUR, cancel_on_kill=cancel, **arguments)
    pushed = {"model_comp_task_id": TASK}
    ti = SimpleNamespace(task_id="t", map_index=-1, xcom_pull=lambda key, **_: pushed[key])

    with pytest.raises(AirflowTaskTimeout):
        create.resume_execution("__fail__", abandoned(), {"ti": ti})
    create.on_kill()

    assert emulator.world.count("CancelModelCompTask") == cancel


def test_a_trigger_that_failed(heard: Heard) -> None:
    """Airflow's own error, and no timeout: the task is tried again as ``retries`` say."""
    made, arguments = SENSORS["gate"]

    with pytest.raises(AirflowException, match="Trigger failure") as failed:
        made(task_id="t", deferrable=True, **arguments).resume_execution(
            "__fail__", {"error": "Trigger failure"}, {}
        )

    assert not isinstance(failed.value, AirflowSensorTimeout)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_library_may_quote_a_secret(heard: Heard, resumed: bool) -> None:
    """Our frames are always around it: what counts is who raised it."""
    made = Raising(task_id="t", allow_nested_operators=True)
    made.error = ValueError("PUT http://user:hu3sh@host")

    with pytest.raises(ValueError, match="hu3sh"):
        made.resume_execution("execute", {}, {}) if resumed else made.execute({})

    [said] = [text for level, text in heard.said if level == "ERROR"]
    assert said == line(FOR_NOW, "ValueError", "See the traceback.")


class Changing(Raising):
    def execute(self, context: Any) -> None:
        try:
            super().execute(context)
        except ValueError as error:
            raise AirflowFailException("changed") from error


@pytest.mark.parametrize("resumed", [False, True])
def test_the_last_words_count(heard: Heard, resumed: bool) -> None:
    made = Changing(task_id="t", allow_nested_operators=True)

    run = (lambda: made.resume_execution("execute", {}, {})) if resumed else (lambda: made.execute({}))

    with pytest.raises(AirflowFailException):
        run()

    assert [text for level, text in heard.said if level == "ERROR"] == [
        line(FINAL, "AirflowFailException", "changed.")
    ]


class DownstreamTasksSkipped(AirflowException):
    """By the name that Airflow 3 gives to what a branch raises."""


class SomeTasksSkipped(DownstreamTasksSkipped):
    """A user's."""


@pytest.mark.parametrize(
    "error",
    [
        AirflowSkipException("s"),
        KeyboardInterrupt(),
        SystemExit(1),
        DownstreamTasksSkipped("s"),
        SomeTasksSkipped("s"),
    ],
    ids=repr,
)
def test_what_is_no_failure(heard: Heard, error: BaseException) -> None:
    made = Raising(task_id="t", allow_nested_operators=True)
    made.error = error

    with pytest.raises(type(error)):
        made.execute({})

    assert "ERROR" not in [level for level, _ in heard.said]


def raised_by_us() -> ValueError:
    with pytest.raises(ValueError, match="settle") as raised:
        check_seconds("settle", [5], 1.0)  # type: ignore[arg-type]
    return raised.value


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (QianfanTaskFailedError("m"), line(FINAL, "QianfanTaskFailedError", "m.")),
        (AirflowSensorTimeout("m"), line(FINAL, "AirflowSensorTimeout", "m.")),
        (AirflowTaskTimeout("m"), line(FOR_NOW, "AirflowTaskTimeout", "m.")),
        (
            raised_by_us(),
            line(FOR_NOW, "ValueError", "settle=[5] is not a number of seconds, or a timedelta, from 0 up."),
        ),
        (AirflowException("a\nb\x1b[31m\u202e"), line(FOR_NOW, "AirflowException", "a\\nb\\x1b[31m\\u202e.")),
        (ValueError("PUT http://user:hu3sh@host"), line(FOR_NOW, "ValueError", "See the traceback.")),
        (RuntimeError("PUT http://user:hu3sh@host"), line(FOR_NOW, "RuntimeError", "See the traceback.")),
        (
            UnicodeEncodeError("ascii", "hu3sh", 0, 1, "m"),
            line(FOR_NOW, "UnicodeEncodeError", "See the traceback."),
        ),
        (AirflowException("x" * 9000), line(FOR_NOW, "AirflowException", f"{'x' * 4000}…")),
    ],
    ids=[
        "verdict",
        "timeout",
        "execution_timeout",
        "a check of ours",
        "escaped",
        "a check of others",
        "of others",
        "of a library",
        "long",
    ],
)
def test_reason(error: BaseException, told: str) -> None:
    assert reason(error) == told


def test_every_class_is_made_from_it() -> None:
    for made, _ in (*SENSORS.values(), *OPERATORS.values()):
        assert issubclass(made, ReasoningOperator)
