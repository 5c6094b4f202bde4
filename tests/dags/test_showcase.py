"""Every DAG to copy runs with its defaults in the scenario that ``make airflow`` shows it in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.clock import ManualClock
from airflow_provider_qianfan.emulator.scenario import load
from airflow_provider_qianfan.emulator.server import EmulatorServer
from tests.dags.conftest import FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.dag_runs import DagRunner

STATES = {
    "alert_on_failure": {"wait_for_compression": "failed", "deploy": "upstream_failed", "alert": "success"},
    "canary_services": {
        **dict.fromkeys(("wait_for_model", "swap_canary", "check_canary", "others"), "success"),
        "swap_service": ["success", "success"],
        **dict.fromkeys(("canary_failed", "swap_canary_back"), "skipped"),
    },
    "compress_and_deploy": {
        **dict.fromkeys(("compress", "wait_for_compression", "deploy", "smoke_check", "announce"), "success"),
        **dict.fromkeys(("find_previous", "roll_back"), "skipped"),
    },
    # Nothing has finished yet when they are started by hand.
    "deploy_each_finished_model": dict.fromkeys(("compression", "wait_for_model", "deploy"), "skipped"),
    "deploy_finished_models": {
        "take": "success",
        **dict.fromkeys(("model.deploy", "model.check"), "skipped"),
    },
    "gate_deployment": {"wait_for_compression": "success", "deploy": "success"},
    "gate_many_models": {
        "source_models": "success",
        "model.wait_for_compression": ["success", "failed"],
        "model.deploy": ["success", "upstream_failed"],
    },
    "report_model_comp_tasks": {"list_tasks": "success", "report": "success"},
}
WAITS = {"gate_deployment": 50, "gate_many_models": 50, "compress_and_deploy": 65, "alert_on_failure": 40}
"""World seconds that a run takes at least, however long after the emulator's start it begins."""


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatorServer]:
    """
    An emulator of the scenario that started an hour ago. Each request takes ten seconds of its world.

    ``dag.test()`` runs one trigger after the other, so a gate looks more seldom than beside a triggerer. No
    other compression may begin before that.
    """
    scenario = load("showcase")
    tasks = [
        task if task.again_after is None else replace(task, again_after=3600.0) for task in scenario.tasks
    ]
    with EmulatorServer(replace(scenario, tasks=tuple(tasks)), ManualClock()) as server:
        monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", server.connection_uri)
        server.world.advance(3600)
        server.world.on_call = lambda _: server.world.advance(10)
        yield server


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_it_runs_with_its_defaults(
    emulator: EmulatorServer, load_dag: Callable[[str], Any], dag_runner: DagRunner, name: str
) -> None:
    dag = load_dag(name)
    dag.dag_id = f"showcase_{name}"  # beside the versions of it that other tests have run
    for task in dag.tasks:
        task.retries = 0
    began = emulator.world.now

    outcome = dag_runner.run_dag(dag)

    assert {
        task: [each.state for each in seen.values()] if isinstance(seen, dict) else seen.state
        for task, seen in outcome.items()
    } == STATES[name]
    assert (emulator.world.now - began).total_seconds() >= WAITS.get(name, 0)
