"""The end of compressions starts deployments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.dag_runs import DagRunner
    from tests.dags.conftest import Report

DEPLOY, CHECK = "model.deploy", "model.check"


@pytest.fixture
def dag(load_dag: Callable[[str], Any]) -> Any:
    return load_dag("deploy_finished_models")


def test_each_model_is_deployed_once(dag_runner: DagRunner, dag: Any, report: Report) -> None:
    dag_runner.run_dag(dag)  # begins here
    report("finished_models", "amv-1", "amv-2")
    report("finished_models", "amv-2")

    outcome = dag_runner.run_dag(dag)

    assert {n: check.shown_as for n, check in outcome[CHECK].items()} == {0: "amv-1", 1: "amv-2"}
    assert {n: deploy.shown_as for n, deploy in outcome[DEPLOY].items()} == {0: "amv-1", 1: "amv-2"}
    assert dag_runner.state == "success"

    report("finished_models", "amv-1", "amv-3")

    outcome = dag_runner.run_dag(dag)

    assert [deploy.xcoms["return_value"] for deploy in outcome[DEPLOY].values()] == ["amv-3"]


def test_a_deployment_that_fails_holds_back_no_other(dag_runner: DagRunner, dag: Any, report: Report) -> None:
    def deploy(finished: dict[str, str]) -> str:
        if finished["model_id"] == "amv-8":
            raise RuntimeError("no capacity")
        return finished["model_id"]

    dag.dag_id = "one_deployment_fails"
    for task in dag.tasks:
        task.retries = 0
    dag.get_task(DEPLOY).python_callable = deploy
    dag_runner.run_dag(dag)
    report("finished_models", "amv-8", "amv-9")

    outcome = dag_runner.run_dag(dag)

    assert [deploy.state for deploy in outcome[DEPLOY].values()] == ["failed", "success"]
    assert [check.state for check in outcome[CHECK].values()] == ["upstream_failed", "success"]
    assert dag_runner.state == "failed"


def test_deployments_are_bounded(dag: Any) -> None:
    assert dag.get_task(DEPLOY).max_active_tis_per_dag
