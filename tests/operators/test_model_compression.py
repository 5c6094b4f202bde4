from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.scenario import Stub
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.hooks._driver import Driver
from airflow_provider_qianfan.operators.model_compression import QianfanListModelCompTasksOperator

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner

SOURCE = "amv-source000001"
REASON = "the calibration data set is empty"


@pytest.fixture
def listed(dag_runner: DagRunner) -> Any:
    """Run the operator; give its outcome."""
    return lambda **arguments: dag_runner.run(
        lambda: QianfanListModelCompTasksOperator(task_id="list", **arguments)
    )["list"]


@pytest.fixture
def tasks(emulator: EmulatorServer) -> EmulatorServer:
    """Four tasks of two sources."""
    emulator.world.behaviour.order = "shuffled"
    for task in (
        TaskSpec(SOURCE, id="amva-1", name="one", created=-300, status="succeeded", model_id="amv-made"),
        TaskSpec(SOURCE, id="amva-2", name="two", created=-200, status="failed", failed_reason=REASON),
        TaskSpec("amv-other", id="amva-3", name="one", created=-100),
        TaskSpec(SOURCE, id="amva-4", name="one", set={"createTime": ""}),
    ):
        emulator.world.tasks.add(task)
    return emulator


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ({}, ["amva-3", "amva-2", "amva-1", "amva-4"]),
        ({"created_after": timedelta(seconds=250)}, ["amva-3", "amva-2"]),
        ({"finished_after": timedelta(seconds=250)}, ["amva-2"]),
        ({"finished_after": "2024-01-01"}, ["amva-2", "amva-1"]),
        ({"finished_after": "{{ dag_run.start_date }}"}, []),
        ({"source_model_id": SOURCE}, ["amva-2", "amva-1", "amva-4"]),
        ({"name": "one"}, ["amva-3", "amva-1", "amva-4"]),
        ({"statuses": ["succeeded", "failed"]}, ["amva-2", "amva-1"]),
        (
            {"created_after": "{{ (dag_run.start_date - macros.timedelta(seconds=250)) }}"},
            ["amva-3", "amva-2"],
        ),
        ({"source_model_id": "{{ 'amv-other' }}", "statuses": ["{{ 'running' }}"]}, ["amva-3"]),
        ({"limit": 2}, ["amva-3", "amva-2"]),
        ({"limit": None}, ["amva-3", "amva-2", "amva-1", "amva-4"]),
        ({"name": "nobody"}, []),
    ],
)
@pytest.mark.parametrize("ignored", [False, True])
def test_filters(
    tasks: EmulatorServer, listed: Any, arguments: dict[str, Any], ids: list[str], ignored: bool
) -> None:
    tasks.world.behaviour.ignore_source_filter = ignored

    outcome = listed(**arguments)

    assert outcome.state == "success", outcome
    assert [row["id"] for row in outcome.xcoms["return_value"]] == ids


def test_rows_are_as_the_platform_describes_them(tasks: EmulatorServer, listed: Any) -> None:
    (row,) = listed(statuses=["succeeded"]).xcoms["return_value"]

    assert row["modelId"] == "amv-made"
    assert row["config"] == {"strategy": "Quantization", "weight": "INT8-PTQ"}


def test_reasons_are_read_for_failed_tasks_only(
    tasks: EmulatorServer, listed: Any, dag_runner: DagRunner
) -> None:
    rows = {row["id"]: row for row in listed(failure_reasons=True).xcoms["return_value"]}

    assert rows["amva-2"]["failedReason"] == REASON
    assert REASON in next(line for line in dag_runner.log.splitlines() if line.startswith("amva-2 "))
    assert tasks.world.count("DescribeModelCompTask") == 1
    assert [task_id for task_id, row in rows.items() if "failedReason" in row] == ["amva-2"]


@pytest.mark.parametrize("not_found", ["no_such_key", "inappropriate_json"])
def test_a_failed_task_that_is_deleted_meanwhile(
    tasks: EmulatorServer, listed: Any, dag_runner: DagRunner, not_found: Any
) -> None:
    tasks.world.behaviour.not_found = not_found
    (row,) = listed(statuses=["failed"]).xcoms["return_value"]
    listing = {"modelCompTaskList": [row], "pageInfo": {"isTruncated": False}}
    tasks.world.stubs.append(Stub(path="/v2/model", action="DescribeModelCompTasks", result=listing))
    tasks.world.tasks.remove("amva-2")

    outcome = listed(statuses=["failed"], failure_reasons=True)

    assert (outcome.state, outcome.xcoms["return_value"]) == ("success", [row])
    assert "The platform does not say why amva-2 failed. " in dag_runner.log


def test_a_lost_reason_does_not_lose_the_list(
    tasks: EmulatorServer, listed: Any, dag_runner: DagRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Driver.__init__, "__defaults__", (lambda _: None,))  # its pauses
    for number in range(3):
        tasks.world.tasks.add(TaskSpec(SOURCE, id=f"amva-lost{number}", status="failed"))
    tasks.world.faults.append(Fault(action="DescribeModelCompTask", server_error=503))

    outcome = listed(statuses=["failed"], failure_reasons=True)

    assert (outcome.state, len(outcome.xcoms["return_value"])) == ("success", 4)
    assert tasks.world.count("DescribeModelCompTask") == 2 * 4
    assert dag_runner.log.count("The platform does not say why") == 2
    assert "Asking for no more reasons." in dag_runner.log


def test_a_refused_key_does_not_pass_for_a_missing_reason(tasks: EmulatorServer, listed: Any) -> None:
    tasks.world.faults.append(
        Fault(action="DescribeModelCompTask", status=403, body={"code": "AccessDenied", "message": "no"})
    )

    assert listed(failure_reasons=True).state == "failed"


@pytest.mark.parametrize("marker", ["inclusive", "exclusive"])
def test_pages_are_followed(
    emulator: EmulatorServer, listed: Any, dag_runner: DagRunner, marker: Any
) -> None:
    emulator.world.behaviour.marker = marker
    for number in range(257):
        emulator.world.tasks.add(TaskSpec(SOURCE, created=-float(number)))

    assert len(listed(limit=None).xcoms["return_value"]) == 257
    assert len(listed().xcoms["return_value"]) == 100
    assert "257 of 257 model compression tasks match." in dag_runner.log
    assert "… and 80 more" in dag_runner.log
    assert "Returning the newest 100 of them" in dag_runner.log


def test_the_log_shows_a_table(tasks: EmulatorServer, listed: Any, dag_runner: DagRunner) -> None:
    listed(statuses=["succeeded"])

    line = next(line for line in dag_runner.log.splitlines() if line.startswith("amva-1 "))
    assert [line.split()[column] for column in (1, 4, 5, 6)] == ["succeeded", SOURCE, "amv-made", "one"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"source_model_id": "None"}, "source_model_id='None' holds no value"),
        ({"name": ""}, "name='' holds no value"),
        ({"created_after": "soon"}, "created_after='soon' is not a time"),
        ({"finished_after": timedelta(days=-1)}, "finished_after=datetime.* from 0 up"),
        ({"statuses": ["done"]}, "choose from creating, running, succeeded"),
        ({"statuses": []}, "choose from"),
        ({"statuses": "failed"}, "is not a list of statuses"),
        ({"limit": 0}, "limit=0 is not a number from 1 up"),
        ({"limit": "5"}, "limit='5' is not"),
        ({"qianfan_conn_id": ""}, "qianfan_conn_id"),
    ],
)
def test_bad_literals_are_refused_at_parse(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        QianfanListModelCompTasksOperator(task_id="list", **arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "{{ none }}"}, "name='None' holds no value"),
        ({"statuses": ["{{ 'done' }}"]}, "choose from"),
        ({"statuses": "{{ 'failed' }}"}, "is not a list"),
    ],
)
def test_bad_rendered_values_are_refused_at_start(
    tasks: EmulatorServer, listed: Any, arguments: dict[str, Any], told: str
) -> None:
    outcome = listed(**arguments)

    assert outcome.state == "failed"
    assert told in str(outcome.error)
    assert tasks.world.calls == []


@pytest.mark.parametrize("argument", ["source_model_id", "statuses", "name", "created_after"])
def test_bad_upstream_results_are_refused(
    tasks: EmulatorServer, dag_runner: DagRunner, argument: str
) -> None:
    from airflow.providers.common.compat.sdk import task

    def build() -> None:
        @task
        def upstream() -> None:
            return None

        QianfanListModelCompTasksOperator(task_id="list", **{argument: upstream()})

    assert f"{argument} came out as None" in str(dag_runner.run(build)["list"].error)
