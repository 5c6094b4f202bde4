"""The gate in its three modes: real Airflow, real HTTP, real signatures."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import TriggerEvent

from airflow_provider_qianfan.emulator.behaviour import Account
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import Patch, TaskStep
from airflow_provider_qianfan.exceptions import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanModelIdMissingError,
    QianfanProtocolError,
    QianfanTaskAmbiguousError,
    QianfanTaskFailedError,
    QianfanTaskNotFoundError,
)
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskTrigger
from tests.dag_runs import AIRFLOW_3

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import Call
    from tests.dag_runs import DagRunner, Outcome

SOURCE = "amv-source000001"
MADE = "amv-made00000001"
LIST, DETAIL = "DescribeModelCompTasks", "DescribeModelCompTask"
EMPTY_LIST = {"modelCompTaskList": [], "pageInfo": {"isTruncated": False}}
MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    return MODES[request.param]


def sensor(**arguments: Any) -> QianfanModelCompTaskSensor:
    usual = {"task_id": "gate", "source_model_id": SOURCE, "poke_interval": 0.2, "timeout": 20}
    return QianfanModelCompTaskSensor(**{**usual, **arguments})


@pytest.fixture
def gate(dag_runner: DagRunner, mode: dict[str, Any]) -> Any:
    """Run one sensor, in each mode."""
    return lambda **arguments: dag_runner.run(lambda: sensor(**{**mode, **arguments}))["gate"]


@pytest.fixture
def look(dag_runner: DagRunner) -> Any:
    """Run one sensor in poke mode, for what does not depend on the mode: they all take the same look."""
    return lambda **arguments: dag_runner.run(lambda: sensor(deferrable=False, **arguments))["gate"]


def opened(outcome: Outcome, model_id: str = MADE) -> bool:
    """Tell whether the gate opened, for that model, and says so in all its XComs."""
    assert outcome.state == "success", outcome
    assert outcome.xcoms["return_value"] == outcome.xcoms["modelId"] == model_id
    assert outcome.xcoms["model_comp_task"]["modelId"] == model_id
    return True


def shut(outcome: Outcome, error: type[BaseException], state: str = "failed") -> str:
    """Check that the gate stayed shut for that reason, and return it."""
    assert outcome.state == state, outcome
    assert not {"return_value", "modelId"} & outcome.xcoms.keys()
    assert type(outcome.error) is error, outcome.error
    return str(outcome.error)


def finishing(*, after: float = 1.0, **step: Any) -> tuple[TaskStep, ...]:
    """A timeline that waits first."""
    return TaskStep(status="running"), TaskStep(after=after, **step)


def finish_after_the_first_look(emulator: EmulatorServer, **step: Any) -> None:
    task_id = emulator.world.tasks.add(TaskSpec(SOURCE))
    emulator.world.on_call = lambda call: emulator.world.tasks.change(task_id, TaskStep(**step))


# -- in every mode -----------------------------------------------------------------------------------------


def test_a_success_opens(emulator: EmulatorServer, gate: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))

    assert opened(gate())
    (call,) = emulator.world.calls
    assert call.body == {"maxKeys": 100, "sourceModelId": SOURCE}


def test_waits_for_a_success(emulator: EmulatorServer, gate: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, timeline=finishing(status="succeeded", model_id=MADE)))

    assert opened(gate())
    assert emulator.world.count(LIST) > 1


def test_waits_for_a_task_that_is_not_there_yet(
    emulator: EmulatorServer, gate: Any, dag_runner: DagRunner
) -> None:
    emulator.world.behaviour.list_lag = 1
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))

    assert opened(gate())
    assert "no task fits yet (source model amv-source000001)" in dag_runner.log


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_verdict_does_not_depend_on_its_xcom(
    emulator: EmulatorServer,
    gate: Any,
    soft_fail: bool,
    dag_runner: DagRunner,
    refuse_xcom: Callable[[str], None],
) -> None:
    refuse_xcom("model_comp_task")
    emulator.world.tasks.add(TaskSpec(SOURCE, status="failed", failed_reason="no calibration data"))

    outcome = gate(soft_fail=soft_fail)

    assert outcome.state == ("skipped" if soft_fail else "failed")
    assert "model_comp_task" not in outcome.xcoms
    if not soft_fail:
        assert type(outcome.error) is QianfanTaskFailedError
        assert "no calibration data" in str(outcome.error)
    assert "The XCom model_comp_task could not be pushed (OSError). Going on without it." in dag_runner.log
    assert "bucket" not in dag_runner.log


@pytest.mark.parametrize("key", ["model_comp_task", "modelId"])
def test_a_gate_whose_xcom_cannot_be_pushed_does_not_open(
    emulator: EmulatorServer, gate: Any, key: str, refuse_xcom: Callable[[str], None], dag_runner: DagRunner
) -> None:
    refuse_xcom(key)
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))

    shut(gate(soft_fail=True), OSError)
    assert "The gate opens" not in dag_runner.log


@pytest.mark.parametrize("soft_fail", [False, True])
@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_waits_for_a_failure(emulator: EmulatorServer, gate: Any, status: Any, soft_fail: bool) -> None:
    reason = {"failed_reason": "no calibration data"} if status == "failed" else {}
    emulator.world.tasks.add(TaskSpec(SOURCE, timeline=finishing(status=status, **reason)))

    outcome = gate(soft_fail=soft_fail, retries=2)

    assert outcome.state == ("skipped" if soft_fail else "failed")
    assert "return_value" not in outcome.xcoms
    assert outcome.xcoms["model_comp_task"]["status"] == status
    if status == "failed":
        assert outcome.xcoms["model_comp_task"]["failedReason"] == "no calibration data"
    if not soft_fail:
        shut(outcome, QianfanTaskFailedError)
        assert len(outcome.errors) == 1  # a verdict is not retried


def test_times_out(emulator: EmulatorServer, gate: Any) -> None:
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout

    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1", name="demo"))

    told = shut(gate(timeout=1), AirflowSensorTimeout)

    assert "Last seen: amva-1 ('demo') is running." in told


def test_outlasts_an_outage(emulator: EmulatorServer, gate: Any, dag_runner: DagRunner) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, timeline=finishing(status="succeeded", model_id=MADE)))
    emulator.world.faults.append(Fault(rate_limit=True, retry_after=1, calls=(2,)))
    emulator.world.faults.append(Fault(not_json=True, calls=(3,)))

    assert opened(gate())


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_wrong_key_fails_at_once(
    emulator: EmulatorServer, gate: Any, soft_fail: bool, dag_runner: DagRunner
) -> None:
    secret = emulator.world.account.secret_access_key
    emulator.world.account.secret_access_key = "rotated"

    told = shut(gate(soft_fail=soft_fail), QianfanAuthError)

    assert "Secret Access Key" in told
    assert emulator.world.count(LIST) == 1
    assert secret not in dag_runner.log
    assert "bce-auth-v1" not in dag_runner.log


def test_a_rotated_key_is_read_again(
    emulator: EmulatorServer, gate: Any, monkeypatch: pytest.MonkeyPatch, dag_runner: DagRunner
) -> None:
    task_id = emulator.world.tasks.add(TaskSpec(SOURCE))

    def rotate(call: Any) -> None:
        if emulator.world.count(LIST) == 1:  # the old key worked once; from now on it is refused
            emulator.world.tasks.change(task_id, TaskStep(status="succeeded", model_id=MADE))
            emulator.world.accounts = [Account(access_key_id="new-id", secret_access_key="new-secret")]
        elif call.code == "InvalidAccessKeyId":  # and now the connection is brought up to date
            monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", emulator.connection_uri)

    emulator.world.on_call = rotate

    assert opened(gate())
    assert "The key is refused; reading the connection again" in dag_runner.log


@pytest.mark.parametrize("corrected", [True, False])
def test_settings_that_cannot_be_used_any_more(
    emulator: EmulatorServer,
    gate: Any,
    monkeypatch: pytest.MonkeyPatch,
    dag_runner: DagRunner,
    tmp_path: Path,
    corrected: bool,
) -> None:
    """The CA bundle that the connection names is gone for a while, or for good, after the first look."""
    from airflow_provider_qianfan.exceptions import QianfanConfigurationError

    task_id = emulator.world.tasks.add(TaskSpec(SOURCE))
    bundle = tmp_path / "bundle.pem"
    bundle.touch()
    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", f"{emulator.connection_uri}?verify={bundle}")

    def take_away(call: Any) -> None:
        if emulator.world.count(LIST) == 1:
            emulator.world.tasks.change(task_id, TaskStep(status="succeeded", model_id=MADE))
            bundle.unlink()
            if corrected:
                threading.Timer(4.0, bundle.touch).start()

    emulator.world.on_call = take_away

    outcome = gate(auth_grace=60 if corrected else 1)

    if corrected:
        assert opened(outcome)
        assert "The settings cannot be used; reading the connection again" in dag_runner.log
    else:
        assert f"{bundle}', which is not there" in shut(outcome, QianfanConfigurationError)


def test_a_connection_that_is_not_whole(gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_qianfan.exceptions import QianfanConfigurationError

    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", "qianfan://@http%3A%2F%2Fexample.com/?timeout=soon")

    told = shut(gate(), QianfanConfigurationError)

    for what in ("login", "password", "Use https", "timeout='soon'"):
        assert what in told


def test_a_second_try_starts_afresh(emulator: EmulatorServer, gate: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))
    emulator.world.faults.append(Fault(legacy_error=6, calls=(1,)))

    outcome = gate(retries=1, retry_delay=timedelta(seconds=0.1))

    assert opened(outcome)


def test_values_are_kept_over_a_deferral(emulator: EmulatorServer, dag_runner: DagRunner) -> None:
    emulator.world.tasks.add(
        TaskSpec(SOURCE, name="first", timeline=finishing(after=2, status="succeeded", model_id=MADE))
    )

    class RenderedAnew(QianfanModelCompTaskSensor):
        """Templates are rendered again when a task is resumed; here, to another value."""

        renderings = 0

        def render_template_fields(self, *arguments: Any, **more: Any) -> None:
            super().render_template_fields(*arguments, **more)
            RenderedAnew.renderings += 1
            self.name = "first" if RenderedAnew.renderings == 1 else "other"

    outcome = dag_runner.run(
        lambda: RenderedAnew(
            task_id="gate", source_model_id=SOURCE, name="-", deferrable=True, poke_interval=1, timeout=20
        )
    )["gate"]

    assert opened(outcome)
    assert RenderedAnew.renderings == 2


# -- after a deferral --------------------------------------------------------------------------------------

EVENTS: dict[str, Any] = {
    "none": None,
    "text": "success",
    "empty": {},
    "without a selector": lambda trigger: {"version": 1, "memory": trigger.memory},
    "of a newer version": lambda trigger: {
        "version": 99,
        "verdict": "open",
        "model_id": "amv-claimed00001",
        "target": {**trigger.target, "colour": "red"},
        "memory": {**trigger.memory, "colour": "red"},
    },
    "with parts that are not what they were": {
        "target": ["a"],
        "memory": {"started": "now", "deadline": {}, "noted": 1},
    },
}


@pytest.fixture
def resume(monkeypatch: pytest.MonkeyPatch, dag_runner: DagRunner) -> Any:
    """Run a deferrable sensor whose trigger yields ``event`` at once; return the outcome and all triggers."""

    def run(event: Any, **arguments: Any) -> tuple[Outcome, list[QianfanModelCompTaskTrigger]]:
        triggers: list[QianfanModelCompTaskTrigger] = []

        async def yield_event(trigger: QianfanModelCompTaskTrigger) -> AsyncIterator[TriggerEvent]:
            triggers.append(trigger)
            await asyncio.sleep(0.1)
            yield TriggerEvent(event(trigger) if callable(event) else event)

        monkeypatch.setattr(QianfanModelCompTaskTrigger, "run", yield_event)
        return dag_runner.run(lambda: sensor(deferrable=True, **arguments))["gate"], triggers

    return run


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_whatever_an_event_says_the_sensor_looks_for_itself(
    emulator: EmulatorServer, resume: Any, event: Any
) -> None:
    finish_after_the_first_look(emulator, status="succeeded", model_id=MADE)

    outcome, triggers = resume(event)

    assert opened(outcome)
    assert len(triggers) == 1


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_no_event_opens_the_gate(emulator: EmulatorServer, resume: Any, event: Any) -> None:
    finish_after_the_first_look(emulator, status="failed")

    outcome, triggers = resume(event)

    shut(outcome, QianfanTaskFailedError)
    assert len(triggers) == 1


def test_a_look_that_changes_nothing_defers_again_with_the_time_that_is_left(
    emulator: EmulatorServer, resume: Any
) -> None:
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout

    emulator.world.tasks.add(TaskSpec(SOURCE))

    outcome, triggers = resume(
        lambda trigger: {"target": trigger.target, "memory": trigger.memory}, timeout=3
    )

    shut(outcome, AirflowSensorTimeout)
    assert len(triggers) > 1
    assert len({trigger.memory["deadline"] for trigger in triggers}) == 1


def test_an_event_without_memory_does_not_begin_the_wait_anew(
    emulator: EmulatorServer, airflow_db: None
) -> None:
    from airflow.providers.common.compat.sdk import TaskDeferred

    emulator.world.tasks.add(TaskSpec(SOURCE))
    began = datetime.now(UTC) - timedelta(seconds=100)
    context: Any = {"ti": SimpleNamespace(start_date=began), "dag_run": None}

    with pytest.raises(TaskDeferred) as deferred:
        sensor(deferrable=True, timeout=300).execute_complete(context, {})

    assert deferred.value.trigger.serialize()[1]["memory"]["deadline"] == began.timestamp() + 300


# -- which task is meant -----------------------------------------------------------------------------------


def test_a_stale_success_next_to_a_newer_running_task(emulator: EmulatorServer, gate: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, created=-86400, status="succeeded", model_id="amv-stale"))
    emulator.world.tasks.add(
        TaskSpec(SOURCE, id="amva-new", timeline=finishing(status="succeeded", model_id=MADE))
    )

    assert opened(gate())


def test_a_later_instant_in_another_time_zone(emulator: EmulatorServer, look: Any) -> None:
    # 20:30 in Beijing is before 13:00 in London, although it reads later.
    emulator.world.behaviour.order = "oldest_first"
    now = datetime.now(UTC).replace(microsecond=0)
    earlier = (now - timedelta(minutes=30)).astimezone(timezone(timedelta(hours=8)))
    for model_id, created in (("amv-earlier", earlier), (MADE, now)):
        emulator.world.tasks.add(
            TaskSpec(SOURCE, status="succeeded", model_id=model_id, set={"createTime": created.isoformat()})
        )

    assert opened(look())


@pytest.mark.parametrize("order", ["newest_first", "oldest_first", "shuffled"])
def test_two_running_tasks(emulator: EmulatorServer, look: Any, order: Any) -> None:
    emulator.world.behaviour.order = order
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-one", name="one"))
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-two", name="two", created=-60))

    told = shut(look(), QianfanTaskAmbiguousError)

    assert "amva-one ('one')" in told
    assert "amva-two ('two')" in told
    assert "model_comp_task_id" in told


def test_two_running_tasks_of_which_the_newest_counts(emulator: EmulatorServer, look: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, created=-60))
    emulator.world.tasks.add(TaskSpec(SOURCE, timeline=finishing(status="succeeded", model_id=MADE)))

    assert opened(look(if_several="newest"))


@pytest.mark.parametrize("unknown", ["absent", "zero", "empty"])
def test_undated_rows(emulator: EmulatorServer, look: Any, dag_runner: DagRunner, unknown: Any) -> None:
    emulator.world.behaviour.time_format = unknown
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1", status="succeeded", model_id=MADE))
    assert opened(look())

    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-2", status="succeeded", model_id="amv-else"))
    told = shut(look(), QianfanTaskAmbiguousError)
    assert "amva-1" in told
    assert "amva-2" in told

    outcome = look(created_after="2024-01-01", timeout=0)
    assert outcome.state == "failed"
    assert "Left out, as they do not say when they were created: amva-" in dag_runner.log


def test_a_server_that_ignores_the_filter(emulator: EmulatorServer, look: Any) -> None:
    emulator.world.behaviour.ignore_source_filter = True
    emulator.world.tasks.add(TaskSpec(SOURCE, created=-60, status="succeeded", model_id=MADE))
    emulator.world.tasks.add(TaskSpec("amv-other0000001", status="succeeded", model_id="amv-wrong"))

    assert opened(look())


@pytest.mark.parametrize("order", ["newest_first", "oldest_first", "shuffled"])
@pytest.mark.parametrize("marker", ["inclusive", "exclusive", "overlapping"])
def test_257_tasks(emulator: EmulatorServer, look: Any, marker: Any, order: Any) -> None:
    emulator.world.behaviour.marker = marker
    emulator.world.behaviour.order = order
    for number in range(1, 257):
        emulator.world.tasks.add(TaskSpec(SOURCE, created=-60.0 * number, status="failed"))
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))

    assert opened(look())
    assert emulator.world.count(LIST) == 6  # three pages, and again before it opens


@pytest.mark.parametrize("kind", ["same_marker", "looping_marker", "missing_marker"])
def test_a_list_that_never_ends(emulator: EmulatorServer, look: Any, kind: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))
    emulator.world.faults.append(Fault(action=LIST, endless_paging=kind))

    shut(look(), QianfanProtocolError)


def test_a_near_miss_of_created_after_is_told(
    emulator: EmulatorServer, look: Any, dag_runner: DagRunner
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1", name="demo", status="succeeded", model_id=MADE))
    created = emulator.world.tasks["amva-1"].created.replace(microsecond=0)

    assert opened(look(created_after=created))
    assert look(created_after=created + timedelta(seconds=3), timeout=0).state == "failed"
    assert "nearest: amva-1 ('demo') was created 3 seconds before created_after" in dag_runner.log


def test_names(emulator: EmulatorServer, look: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, name="mine", created=-60, status="succeeded", model_id=MADE))
    emulator.world.tasks.add(TaskSpec(SOURCE, name="other", status="succeeded", model_id="amv-wrong"))

    assert opened(look(name="mine"))


def test_a_given_id(emulator: EmulatorServer, look: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1", status="succeeded", model_id=MADE))
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-2"))

    assert opened(look(source_model_id=None, model_comp_task_id="amva-1"))
    assert emulator.world.count(LIST) == 0


def test_a_given_id_of_another_source(emulator: EmulatorServer, look: Any) -> None:
    emulator.world.tasks.add(TaskSpec("amv-other0000001", id="amva-1", status="succeeded", model_id=MADE))

    assert "amv-other0000001" in shut(look(model_comp_task_id="amva-1"), QianfanTaskNotFoundError)


@pytest.mark.parametrize("answer", ["no_such_key", "inappropriate_json", "null_result"])
def test_a_given_id_that_does_not_exist(emulator: EmulatorServer, gate: Any, answer: Any) -> None:
    emulator.world.behaviour.not_found = answer

    told = shut(gate(model_comp_task_id="amva-1", settle=0.5), QianfanTaskNotFoundError)

    assert "amva-1" in told
    assert emulator.world.count(DETAIL) > 1


def test_a_given_id_that_only_the_list_knows(emulator: EmulatorServer, look: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1", status="succeeded", model_id=MADE))
    emulator.world.faults.append(
        Fault(action=DETAIL, status=404, body={"requestId": "r", "code": "NoSuchKey"})
    )

    assert opened(look(model_comp_task_id="amva-1"))


def test_a_newer_task_that_moves_between_pages_is_not_missed(emulator: EmulatorServer, look: Any) -> None:
    for number in range(150):
        emulator.world.tasks.add(TaskSpec(SOURCE, created=-3600.0 - number, status="failed"))
    emulator.world.tasks.add(TaskSpec(SOURCE, created=-60, status="succeeded", model_id="amv-stale"))

    def appear(call: Any) -> None:
        if emulator.world.count(LIST) == 1:  # once the first page has been read, it is on it
            emulator.world.tasks.add(TaskSpec(SOURCE, timeline=finishing(status="succeeded", model_id=MADE)))

    emulator.world.on_call = appear

    assert opened(look())


# -- what a success must look like -------------------------------------------------------------------------


def test_a_model_that_only_the_detail_names(emulator: EmulatorServer, look: Any) -> None:
    emulator.world.tasks.add(
        TaskSpec(SOURCE, status="succeeded", model_id=MADE, in_list=Patch(omit=("modelId",)))
    )

    assert opened(look())
    assert emulator.world.count(DETAIL) == 1


@pytest.mark.parametrize("model_id", [None, SOURCE])
def test_a_success_without_a_usable_model(emulator: EmulatorServer, look: Any, model_id: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", set={"modelId": model_id}))

    outcome = look()

    shut(outcome, QianfanModelIdMissingError)
    assert outcome.xcoms["model_comp_task"]["status"] == "succeeded"


def test_an_unknown_status_is_waited_out(emulator: EmulatorServer, gate: Any, dag_runner: DagRunner) -> None:
    task_id = emulator.world.tasks.add(
        TaskSpec(SOURCE, timeline=(TaskStep(status="running", set={"status": "paused"}),))
    )

    def go_on(call: Any) -> None:
        emulator.world.on_call = None
        emulator.world.tasks.change(task_id, TaskStep(after=0.5, status="succeeded", model_id=MADE))

    emulator.world.on_call = go_on

    assert opened(gate())
    assert "undocumented status 'paused'" in dag_runner.log


def test_a_refused_request_fails(emulator: EmulatorServer, gate: Any) -> None:
    emulator.world.faults.append(Fault(status=400, body={"requestId": "r-9", "code": "InappropriateJSON"}))

    assert "r-9" in shut(gate(soft_fail=True), QianfanAPIError)


# -- Airflow's own switches ---------------------------------------------------------------------------------


@pytest.mark.parametrize("soft_fail", [False, True])
@pytest.mark.parametrize(
    ("deferrable", "latency"), [(True, 0), (False, 0), (False, 3)], ids=["deferred", "asleep", "looking"]
)
def test_execution_timeout_is_retried(
    emulator: EmulatorServer, dag_runner: DagRunner, deferrable: bool, latency: int, soft_fail: bool
) -> None:
    from airflow.providers.common.compat.sdk import AirflowTaskTimeout

    emulator.world.tasks.add(TaskSpec(SOURCE))
    if latency:
        emulator.world.faults.append(Fault(latency=latency, calls=(2,)))

    outcome = dag_runner.run(
        lambda: sensor(
            deferrable=deferrable,
            execution_timeout=timedelta(seconds=1),
            soft_fail=soft_fail,
            retries=1,
            retry_delay=timedelta(seconds=0.1),
        )
    )["gate"]

    told = shut(outcome, AirflowTaskTimeout)
    assert "(execution_timeout); the gate stays shut. Last seen: amva-" in told


@pytest.mark.parametrize(
    ("trigger_rule", "key", "state"),
    [
        ("all_success", "return_value", "skipped"),
        ("none_failed", "return_value", "success"),  # with None for a model
        ("none_failed", "modelId", "failed"),
    ],
)
def test_downstream_of_a_skipped_gate(
    emulator: EmulatorServer, dag_runner: DagRunner, trigger_rule: str, key: str, state: str
) -> None:
    from airflow.providers.common.compat.sdk import task

    emulator.world.tasks.add(TaskSpec(SOURCE, status="failed"))

    def build() -> None:
        @task(trigger_rule=trigger_rule)
        def deploy(model_id: Any) -> None:
            assert model_id is None

        deploy(sensor(soft_fail=True).output[key])

    outcomes = dag_runner.run(build)

    assert outcomes["gate"].state == "skipped"
    assert outcomes["deploy"].state == state


@pytest.mark.parametrize("switch", ["never_fail", "silent_fail"])
def test_a_long_retry_after_is_no_failure(emulator: EmulatorServer, gate: Any, switch: str) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))
    emulator.world.faults.append(Fault(rate_limit=True, retry_after=31, calls=(1,)))

    # Being asked to wait is no failure of the sensor, and its last look, at the deadline, may still open.
    assert opened(gate(timeout=2, **{switch: True}))


def test_silent_fail_goes_on_until_the_timeout(
    emulator: EmulatorServer, gate: Any, dag_runner: DagRunner
) -> None:
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout

    emulator.world.faults.append(Fault(legacy_error=6))

    shut(gate(silent_fail=True, timeout=2), AirflowSensorTimeout)
    assert "Going on, as silent_fail is set" in dag_runner.log


def test_silent_fail_opens_after_all(emulator: EmulatorServer, gate: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))
    emulator.world.faults.append(Fault(legacy_error=6, calls=(1, 2)))

    assert opened(gate(silent_fail=True))


# -- what the modes cannot have in common
# -----------------------------------------------------------------------


def test_reschedule_hands_the_slot_back_for_a_long_retry_after(
    emulator: EmulatorServer, dag_runner: DagRunner
) -> None:
    from airflow_provider_qianfan._compat import AirflowRescheduleException

    emulator.world.faults.append(Fault(rate_limit=True, retry_after=300))
    waiting = sensor(mode="reschedule")
    now = datetime.now(UTC)

    class Context(dict[str, Any]):
        pass

    class Ti:
        def get_first_reschedule_date(self, context: Any) -> None:
            return None

    with pytest.raises(AirflowRescheduleException) as handed_back:
        waiting.poke(Context(ti=Ti()))  # type: ignore[arg-type]

    assert 299 < (handed_back.value.reschedule_date - now).total_seconds() < 310
    assert emulator.world.count(LIST) == 1


@pytest.mark.parametrize(
    ("elapsed", "lines"),
    [(61, 0), (590, 0), (610, 1), (661, 1), (690, 0), (1201, 1)],
)
def test_reschedule_writes_a_line_every_ten_minutes(
    emulator: EmulatorServer,
    airflow_db: None,
    monkeypatch: pytest.MonkeyPatch,
    elapsed: int,
    lines: int,
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE))
    first = datetime.now(UTC) - timedelta(seconds=elapsed)
    ti = SimpleNamespace(get_first_reschedule_date=lambda context: first)
    waiting = sensor(mode="reschedule", poke_interval=60, timeout=3600)
    said: list[str] = []
    monkeypatch.setattr(waiting.log, "log", lambda level, text, *arguments: said.append(text % arguments))

    assert waiting.poke({"ti": ti, "dag_run": None}) is False  # type: ignore[typeddict-item]

    assert len(said) == lines
    assert all(line.startswith("Still waiting after ") for line in said)


def test_reschedule_counts_its_timeout_from(emulator: EmulatorServer, dag_runner: DagRunner) -> None:
    """... the first look of the try, and on Airflow 2.11 from that of the first try."""
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout

    emulator.world.tasks.add(TaskSpec(SOURCE))
    emulator.world.faults.append(Fault(legacy_error=6, calls=(2,)))

    outcome = dag_runner.run(
        lambda: sensor(mode="reschedule", timeout=3, retries=1, retry_delay=timedelta(seconds=4))
    )["gate"]

    shut(outcome, AirflowSensorTimeout)
    looks_of_second_try = emulator.world.count(LIST) - 2
    assert looks_of_second_try > 1 if AIRFLOW_3 else looks_of_second_try == 1


def test_a_deferral_passes_a_long_retry_after_on(emulator: EmulatorServer, airflow_db: None) -> None:
    from airflow.providers.common.compat.sdk import TaskDeferred

    emulator.world.faults.append(Fault(rate_limit=True, retry_after=300))
    now = datetime.now(UTC).timestamp()

    with pytest.raises(TaskDeferred) as deferred:
        sensor(deferrable=True, timeout=3600).poke({"ti": None, "dag_run": None})  # type: ignore[typeddict-item]

    _, kwargs = deferred.value.trigger.serialize()
    assert 299 < kwargs["next_look_at"] - now < 310
    assert emulator.world.count(LIST) == 1


@pytest.mark.parametrize(
    ("backoff", "started_ago", "next_look"),
    [
        ({}, 1000, 60),
        ({"exponential_backoff": True, "max_wait": timedelta(minutes=10)}, 0, 60),
        ({"exponential_backoff": True, "max_wait": timedelta(minutes=10)}, 200, 200),
        ({"exponential_backoff": True, "max_wait": 600}, 1000, 600),
    ],
)
def test_a_deferral_slows_down_if_asked_to(
    emulator: EmulatorServer, airflow_db: None, backoff: dict[str, Any], started_ago: float, next_look: float
) -> None:
    from airflow.providers.common.compat.sdk import TaskDeferred

    emulator.world.tasks.add(TaskSpec(SOURCE))
    now = datetime.now(UTC).timestamp()
    waiting = sensor(deferrable=True, poke_interval=60, timeout=3600, **backoff)
    memory = Memory(now - started_ago, deadline=now + 3600).to_json()
    context: Any = {"ti": SimpleNamespace(start_date=None), "dag_run": None}

    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute_complete(context, {"target": Selector(SOURCE).to_json(), "memory": memory})

    _, kwargs = deferred.value.trigger.serialize()
    assert kwargs["next_look_at"] - now == pytest.approx(next_look, abs=5)
    assert kwargs["longest_interval"] == (600 if backoff else None)


def test_poke_leaves_the_platform_alone(emulator: EmulatorServer, dag_runner: DagRunner) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))
    emulator.world.faults.append(Fault(rate_limit=True, retry_after=1, calls=(1, 2, 3, 4)))

    assert opened(dag_runner.run(lambda: sensor(deferrable=False))["gate"])
    times = [call.time for call in emulator.world.calls]
    assert min((b - a).total_seconds() for a, b in pairwise(times)) >= 0.95


def test_poke_does_not_sleep_past_its_timeout(emulator: EmulatorServer, dag_runner: DagRunner) -> None:
    emulator.world.faults.append(Fault(rate_limit=True, retry_after=120))
    start = datetime.now(UTC)

    assert dag_runner.run(lambda: sensor(deferrable=False, timeout=2))["gate"].state == "failed"
    assert (datetime.now(UTC) - start).total_seconds() < 10


def test_poke_begins_no_request_past_its_timeout(emulator: EmulatorServer, dag_runner: DagRunner) -> None:
    """A list of twenty pages would take it ten seconds more."""
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout

    for number in range(2000):
        emulator.world.tasks.add(TaskSpec(SOURCE, id=f"amva-{number}"))
    emulator.world.faults.append(Fault(latency=0.5))

    shut(dag_runner.run(lambda: sensor(deferrable=False, timeout=2))["gate"], AirflowSensorTimeout)

    assert 2 <= emulator.world.count(LIST) <= 6


def test_reschedule_misses_a_given_task_once_and_goes_on(
    emulator: EmulatorServer, dag_runner: DagRunner
) -> None:
    def succeed(call: Call) -> None:
        if call.action == LIST:
            emulator.world.tasks.change("amva-1", TaskStep("succeeded", model_id=MADE))

    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))
    emulator.world.on_call = succeed
    missing = {"status": 404, "body": {"requestId": "r", "code": "NoSuchKey"}}
    emulator.world.faults.append(Fault(action=DETAIL, calls=(3,), **missing))
    emulator.world.faults.append(Fault(action=LIST, calls=(1,), body={"result": EMPTY_LIST}, status=200))

    gate = dag_runner.run(lambda: sensor(mode="reschedule", model_comp_task_id="amva-1", settle=0.1))["gate"]

    assert opened(gate)
    assert emulator.world.count(LIST) == 1


def test_no_secret_travels(emulator: EmulatorServer) -> None:
    from airflow.providers.common.compat.sdk import TaskDeferred

    emulator.world.tasks.add(TaskSpec(SOURCE))
    waiting = sensor(deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.poke({"ti": None, "dag_run": None})  # type: ignore[typeddict-item]

    _, kwargs = deferred.value.trigger.serialize()
    assert emulator.world.account.secret_access_key not in str(kwargs)
    assert emulator.world.account.access_key_id not in str(kwargs)
    assert deferred.value.timeout > timedelta(seconds=waiting.timeout)


# -- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"source_model_id": None}, "Give source_model_id or model_comp_task_id"),
        ({"source_model_id": ""}, "source_model_id='' tells nothing"),
        ({"source_model_id": " "}, "tells nothing"),
        ({"source_model_id": "None"}, "tells nothing"),
        ({"source_model_id": 7}, "is not text"),
        ({"model_comp_task_id": "null"}, "model_comp_task_id='null' tells nothing"),
        ({"name": ""}, "name='' tells nothing"),
        ({"created_after": "yesterday"}, "created_after='yesterday' is not a time. Write ISO 8601"),
        ({"created_after": 1700000000}, "is not a time"),
        ({"if_several": "oldest"}, "if_several='oldest' is neither 'fail' nor 'newest'"),
        ({"settle": -1}, "settle=-1 is not a number of seconds"),
        ({"max_unhealthy": "1h"}, "max_unhealthy='1h' is not a number of seconds"),
        ({"auth_grace": timedelta(seconds=-1)}, "auth_grace="),
        ({"qianfan_conn_id": ""}, "qianfan_conn_id"),
        ({"deferrable": True, "mode": "reschedule"}, "deferrable=True and mode='reschedule' contradict"),
        ({"deferrable": True, "exponential_backoff": True}, "needs max_wait"),
    ],
)
def test_bad_literals_are_refused_at_parse(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        sensor(**arguments)


@pytest.mark.parametrize("argument", ["poke_interval", "timeout"])
def test_bad_times_are_refused_by_airflow(argument: str) -> None:
    with pytest.raises((ValueError, AirflowException), match=argument):  # by 3 and by 2.11
        sensor(**{argument: -1})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"source_model_id": "{{ dag_run.conf.get('source', '') }}"}, "source_model_id='' tells nothing"),
        ({"source_model_id": "{{ none }}"}, "source_model_id='None' tells nothing"),
        ({"model_comp_task_id": "{{ ti.xcom_pull('nobody') }}"}, "model_comp_task_id='None' tells nothing"),
        ({"name": "{{ '' }}"}, "name='' tells nothing"),
        ({"created_after": "{{ 'soon' }}"}, "created_after='soon' is not a time"),
    ],
)
def test_bad_rendered_values_are_refused_at_start(
    emulator: EmulatorServer, look: Any, arguments: dict[str, Any], told: str
) -> None:
    assert told in shut(look(**arguments, soft_fail=True), ValueError)
    assert emulator.world.calls == []


@pytest.mark.parametrize("argument", ["source_model_id", "model_comp_task_id", "name", "created_after"])
@pytest.mark.parametrize("value", [None, "", "None"])
def test_bad_upstream_results_are_refused(
    emulator: EmulatorServer, dag_runner: DagRunner, argument: str, value: Any
) -> None:
    from airflow.providers.common.compat.sdk import task

    # What would be opened for, if the argument counted as left out.
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))

    def build() -> None:
        @task
        def upstream() -> Any:
            return value

        sensor(deferrable=False, **{argument: upstream()})

    assert argument in shut(dag_runner.run(build)["gate"], ValueError)
    assert emulator.world.calls == []


@pytest.mark.parametrize("argument", ["source_model_id", "model_comp_task_id", "name", "created_after"])
def test_bad_mapped_values_are_refused(
    emulator: EmulatorServer, dag_runner: DagRunner, argument: str
) -> None:
    from airflow.providers.common.compat.sdk import task

    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))
    usual = {"source_model_id": SOURCE, "timeout": 5, "poke_interval": 0.2}
    usual.pop(argument, None)

    def build() -> None:
        @task
        def upstream() -> list[Any]:
            return [None, "", "None"]

        QianfanModelCompTaskSensor.partial(task_id="gate", deferrable=False, **usual).expand(
            **{argument: upstream()}
        )

    outcomes = dag_runner.run(build)["gate"]

    assert {outcome.state for outcome in outcomes.values()} == {"failed"}
    assert emulator.world.calls == []


def test_mapped(emulator: EmulatorServer, dag_runner: DagRunner, mode: dict[str, Any]) -> None:
    for number in range(3):
        emulator.world.tasks.add(
            TaskSpec(f"amv-source{number}", status="succeeded", model_id=f"amv-made{number}")
        )

    def build() -> None:
        QianfanModelCompTaskSensor.partial(task_id="gate", timeout=20, poke_interval=0.2, **mode).expand(
            source_model_id=[f"amv-source{number}" for number in range(3)]
        )

    outcomes = dag_runner.run(build)["gate"]

    assert {index: outcome.xcoms["return_value"] for index, outcome in outcomes.items()} == {
        number: f"amv-made{number}" for number in range(3)
    }


def test_the_clusters_default_decides_unless_the_dag_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sensor().deferrable is False
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert sensor().deferrable is True
    assert sensor(deferrable=False).deferrable is False
    assert sensor(mode="reschedule").deferrable is False
