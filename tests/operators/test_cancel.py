from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from airflow_provider_qianfan.exceptions import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanTaskNotFoundError,
    QianfanTransientError,
)
from airflow_provider_qianfan.operators.model_compression import QianfanCancelModelCompTaskOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import World
    from tests.dag_runs import DagRunner

SOURCE = "amv-source000001"
CANCEL = "CancelModelCompTask"


@pytest.fixture
def world(emulator: EmulatorServer) -> World:
    """A platform on which one compression is running."""
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1", name="demo"))
    emulator.world.behaviour.stopping_seconds = 1
    return emulator.world


@pytest.fixture
def cancel(dag_runner: DagRunner) -> Any:
    """Run the operator; give its outcome."""
    usual = {"task_id": "cancel", "model_comp_task_id": "amva-1", "poke_interval": 0.2}
    return lambda **arguments: dag_runner.run(
        lambda: QianfanCancelModelCompTaskOperator(**{**usual, **arguments})
    )["cancel"]


def test_cancels(world: World, cancel: Any) -> None:
    outcome = cancel(model_comp_task_id="{{ 'amva' }}-1")

    assert outcome.state == "success"
    assert world.count(CANCEL) == 1
    assert outcome.xcoms["model_comp_task"]["id"] == "amva-1"


def test_waits_for_the_end(world: World, cancel: Any) -> None:
    outcome = cancel(wait_for_completion=True)

    assert outcome.state == "success"
    assert outcome.xcoms["model_comp_task"]["status"] == "stopped"


def test_what_was_cancelled_stays_so_without_its_xcom(
    world: World, cancel: Any, dag_runner: DagRunner, refuse_xcom: Callable[[str], None]
) -> None:
    refuse_xcom("model_comp_task")
    outcome = cancel()

    assert outcome.state == "success"
    assert world.count(CANCEL) == 1
    assert "The XCom model_comp_task could not be pushed (OSError)" in dag_runner.log


def test_another_end(world: World, cancel: Any) -> None:
    world.on_call = lambda call: (
        call.action == CANCEL
        and world.tasks.change(
            "amva-1", TaskStep(status="stopping"), TaskStep(status="succeeded", model_id="amv-made", after=1)
        )
    )

    outcome = cancel(wait_for_completion=True)

    assert outcome.state == "success"
    assert outcome.xcoms["model_comp_task"]["status"] == "succeeded"


def test_no_end_in_time(world: World, cancel: Any) -> None:
    world.behaviour.stopping_seconds = 60

    outcome = cancel(wait_for_completion=True, timeout=1)

    assert outcome.state == "failed"
    assert type(outcome.error) is QianfanTransientError
    assert "is stopping when the time is up" in str(outcome.error)


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_nothing_to_cancel(world: World, cancel: Any, dag_runner: DagRunner, status: Any) -> None:
    world.tasks.change("amva-1", TaskStep(status))

    assert cancel(wait_for_completion=True).state == "success"
    assert world.count(CANCEL) == 0
    assert f"There is nothing to cancel: amva-1 ('demo') is {status}." in dag_runner.log


@pytest.mark.parametrize("status", ["stopping", "stopped"])
def test_it_was_cancelled_before(world: World, cancel: Any, dag_runner: DagRunner, status: Any) -> None:
    world.tasks.change("amva-1", TaskStep(status))

    assert cancel().state == "success"
    assert world.count(CANCEL) == 0
    assert f"amva-1 ('demo') was cancelled: it is {status}." in dag_runner.log


@pytest.mark.parametrize("answer", ["inappropriate_json", "precondition_failed"])
def test_it_finishes_meanwhile(world: World, cancel: Any, dag_runner: DagRunner, answer: Any) -> None:
    world.behaviour.cancel_finished = answer
    world.faults.append(Fault(action=CANCEL, latency=0.1))
    world.on_call = lambda call: world.tasks.change("amva-1", TaskStep("succeeded", model_id="amv-made"))

    assert cancel().state == "success"
    assert world.count(CANCEL) == 1
    assert "There is nothing to cancel" in dag_runner.log


def test_a_lost_answer(world: World, cancel: Any) -> None:
    world.faults.append(Fault(action=CANCEL, server_error=502, performs=True))

    assert cancel().state == "success"
    assert world.count(CANCEL) == 1


@pytest.mark.parametrize("answer", ["no_such_key", "inappropriate_json", "null_result"])
def test_no_such_task(world: World, cancel: Any, answer: Any) -> None:
    world.behaviour.not_found = answer

    outcome = cancel(model_comp_task_id="amva-2", retries=1)

    assert type(outcome.error) is QianfanTaskNotFoundError
    assert len(outcome.errors) == 1
    assert world.count(CANCEL) == 0


def test_a_refusal(world: World, cancel: Any) -> None:
    world.faults.append(Fault(action=CANCEL, status=400, body={"requestId": "r-9", "code": "Odd"}))

    outcome = cancel()

    assert type(outcome.error) is QianfanAPIError
    assert "r-9" in str(outcome.error)


def test_a_key_that_may_only_read(world: World, cancel: Any) -> None:
    world.account.permission = "read"

    assert type(cancel().error) is QianfanAuthError


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"model_comp_task_id": ""}, "model_comp_task_id='' holds no value"),
        ({"model_comp_task_id": "None"}, "holds no value"),
        ({"poke_interval": -1}, "poke_interval=-1"),
        ({"timeout": "1h"}, "timeout='1h'"),
        ({"qianfan_conn_id": ""}, "qianfan_conn_id"),
    ],
)
def test_bad_literals_are_refused_at_parse(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        QianfanCancelModelCompTaskOperator(
            **{"task_id": "cancel", "model_comp_task_id": "amva-1", **arguments}
        )


def test_a_bad_rendered_value_is_refused_at_start(world: World, cancel: Any) -> None:
    outcome = cancel(model_comp_task_id="{{ ti.xcom_pull('nobody') }}")

    assert "model_comp_task_id='None' holds no value" in str(outcome.error)
    assert world.calls == []
