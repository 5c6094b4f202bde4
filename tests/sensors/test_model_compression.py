"""The gate in its three modes: real Airflow, real HTTP, real signatures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import Patch, TaskStep
from airflow_provider_qianfan.exceptions import (
    QianfanModelIdMissingError,
    QianfanProtocolError,
    QianfanTaskAmbiguousError,
    QianfanTaskFailedError,
    QianfanTaskNotFoundError,
    QianfanTransientError,
)
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.sensors.gates import (
    DETAIL,
    LIST,
    MADE,
    SOURCE,
    finishing,
    opened,
    sensor,
    shut,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner


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
    assert "no task matches yet (source model amv-source000001)" in dag_runner.log


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


# -- which task is meant -----------------------------------------------------------------------------------


def test_a_stale_success_next_to_a_newer_running_task(emulator: EmulatorServer, gate: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, created=-86400, status="succeeded", model_id="amv-stale"))
    emulator.world.tasks.add(
        TaskSpec(SOURCE, id="amva-new", timeline=finishing(status="succeeded", model_id=MADE))
    )

    assert opened(gate())


@pytest.mark.parametrize(("hours", "opens"), [(1, False), (3, True)])
def test_a_span_before_the_run(emulator: EmulatorServer, gate: Any, hours: int, opens: bool) -> None:
    created = emulator.world.now - timedelta(hours=2)
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE, created=created))

    outcome = gate(created_after=timedelta(hours=hours), timeout=1 if not opens else 20)

    assert (outcome.state == "success") is opens


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
    assert "Left out, because their creation time is missing: amva-" in dag_runner.log


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


def test_a_list_that_never_ends(emulator: EmulatorServer, look: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))
    emulator.world.faults.append(Fault(action=LIST, endless_paging="missing_marker"))

    shut(look(), QianfanProtocolError)


@pytest.mark.parametrize("kind", ["same_marker", "looping_marker"])
def test_a_list_that_leads_back_to_its_own_pages_is_no_answer(
    emulator: EmulatorServer, look: Any, kind: Any
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))
    emulator.world.faults.append(Fault(action=LIST, endless_paging=kind))

    shut(look(max_unhealthy=0.1, timeout=60), QianfanTransientError)


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


# -- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"source_model_id": None}, "Pass source_model_id or model_comp_task_id"),
        ({"source_model_id": ""}, "source_model_id='' holds no value"),
        ({"source_model_id": " "}, "holds no value"),
        ({"source_model_id": "None"}, "holds no value"),
        ({"source_model_id": 7}, "is not text"),
        ({"model_comp_task_id": "null"}, "model_comp_task_id='null' holds no value"),
        ({"name": ""}, "name='' holds no value"),
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


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"source_model_id": "{{ dag_run.conf.get('source', '') }}"}, "source_model_id='' holds no value"),
        ({"source_model_id": "{{ none }}"}, "source_model_id='None' holds no value"),
        ({"model_comp_task_id": "{{ ti.xcom_pull('nobody') }}"}, "model_comp_task_id='None' holds no value"),
        ({"name": "{{ '' }}"}, "name='' holds no value"),
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
