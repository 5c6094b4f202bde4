"""The wait that all sensors share, in its three modes: time, trouble, and the return from a deferral."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import TriggerEvent

from airflow_provider_qianfan._xcoms import push
from airflow_provider_qianfan.emulator.behaviour import Account
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from airflow_provider_qianfan.exceptions import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanTaskFailedError,
)
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.sensors import _waiting
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskTrigger
from tests.dag_runs import AIRFLOW_3
from tests.sensors.gates import (
    DETAIL,
    EMPTY_LIST,
    LIST,
    MADE,
    SOURCE,
    finish_after_the_first_look,
    finishing,
    opened,
    sensor,
    shut,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import Call
    from tests.dag_runs import DagRunner, Outcome


# -- in every mode ---------------------------------------------------------------------------------------


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
                threading.Timer(2.0, bundle.touch).start()

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


# -- what an event may say -------------------------------------------------------------------------------


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


def test_a_refused_request_fails(emulator: EmulatorServer, gate: Any) -> None:
    emulator.world.faults.append(Fault(status=400, body={"requestId": "r-9", "code": "InappropriateJSON"}))

    assert "r-9" in shut(gate(soft_fail=True), QianfanAPIError)


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


def test_silent_fail_looks_again_if_an_xcom_could_not_be_pushed(
    emulator: EmulatorServer, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed, traced = list[str](), []
    monkeypatch.setattr(QianfanModelCompTaskSensor, "_trace", lambda *_: traced.append(1))

    def refuse_once(context: Any, key: str, value: Any) -> None:
        pushed.append(key)
        if pushed.count("modelId") == 1 and key == "modelId":
            raise OSError("the bucket is full")
        push(context, key, value)

    monkeypatch.setattr(_waiting, "push", refuse_once)
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))

    assert opened(gate(silent_fail=True, soft_fail=True))
    assert pushed == ["model_comp_task", "modelId"] * 2
    assert len(traced) == 1


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


@pytest.mark.parametrize("argument", ["poke_interval", "timeout"])
def test_bad_times_are_refused_by_airflow(argument: str) -> None:
    with pytest.raises((ValueError, AirflowException), match=argument):  # by 3 and by 2.11
        sensor(**{argument: -1})


def test_the_clusters_default_decides_unless_the_dag_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sensor().deferrable is False
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert sensor().deferrable is True
    assert sensor(deferrable=False).deferrable is False
    assert sensor(mode="reschedule").deferrable is False
