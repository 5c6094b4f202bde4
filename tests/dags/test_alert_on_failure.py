"""A deployment or an alert, never both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.specs import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner


@pytest.fixture
def run(load_dag: Callable[[str], Any], dag_runner: DagRunner) -> Callable[[], dict[str, Any]]:
    def run() -> dict[str, Any]:
        dag = load_dag("alert_on_failure")
        gate = dag.get_task("wait_for_compression")
        gate.timeout, gate.retries = 2, 0
        return dag_runner.run_dag(dag, conf={"source_model_id": "amv-1"})

    return run


def test_no_alert_if_it_is_deployed(
    emulator: EmulatorServer, dag_runner: DagRunner, run: Callable[[], dict[str, Any]]
) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1", status="succeeded", model_id="amv-made"))

    outcome = run()

    assert outcome["deploy"].xcoms["return_value"] == "amv-made"
    assert outcome["alert"].state == "skipped"
    assert dag_runner.state == "success"


def compression_failed(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1", status="failed", id="amva-1", failed_reason="out of memory"))


def compression_was_stopped(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1", status="stopped", id="amva-1"))


def time_is_up(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1", status="running"))


def there_are_two(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1", status="running"))
    emulator.world.tasks.add(TaskSpec("amv-1", status="running"))


def key_is_refused(emulator: EmulatorServer) -> None:
    emulator.world.account.permission = "none"


NO_VERDICT = "The gate failed without a verdict on a compression task."


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (compression_failed, "Compression task amva-1 is failed: out of memory."),
        (compression_was_stopped, "Compression task amva-1 is stopped."),
        (time_is_up, NO_VERDICT),
        (there_are_two, NO_VERDICT),
        (key_is_refused, NO_VERDICT),
    ],
)
def test_an_alert_and_a_failed_run_if_not(
    emulator: EmulatorServer,
    dag_runner: DagRunner,
    run: Callable[[], dict[str, Any]],
    happens: Callable[[EmulatorServer], None],
    why: str,
) -> None:
    happens(emulator)

    outcome = run()

    assert {task: outcome[task].state for task in outcome} == {
        "wait_for_compression": "failed",
        "deploy": "upstream_failed",
        "alert": "success",
    }
    assert dag_runner.state == "failed"
    alert = outcome["alert"].xcoms["return_value"]
    assert alert.startswith(
        f"amv-1 is not deployed. {why} See the log of wait_for_compression in run manual__"
    )
