"""Each finished model is deployed once, however Airflow repeats, merges or leaves behind its events."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from airflow_provider_qianfan._compat import RECEIPTS
from tests.dag_runs import AIRFLOW
from tests.integration.finished_dag import SLOW
from tests.integration.services import wait_until

if TYPE_CHECKING:
    from tests.integration.services import Services

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(AIRFLOW < (3, 0), reason="no asset has a watcher on Airflow 2.11"),
]


def finished(*models: str) -> dict[str, Any]:
    """Return the extra of an event that reports these models."""
    tasks = [
        {"event_id": f"{model}:succeeded", "id": f"task-of-{model}", "status": "succeeded", "model_id": model}
        for model in models
    ]
    return {"from_trigger": True, "payload": {"version": 1, "tasks": tasks}}


class Consumer:
    """A DAG, and the asset that starts it: one of the same name, unless it is told another."""

    def __init__(self, services: Services, asset: str, dag_id: str | None = None) -> None:
        self._services, self._dag = services, f"/dags/{dag_id or asset}"
        self._asset = wait_until(lambda: self._find(asset))

    def _find(self, name: str) -> Any:
        assets = self._services.get(f"/assets?name_pattern={name}")["assets"]
        return next((asset["id"] for asset in assets if asset["name"] == name), None)

    def report(self, *models: str) -> None:
        self._services.call("POST", "/assets/events", {"asset_id": self._asset, "extra": finished(*models)})

    def unpause(self) -> None:
        self._services.call("PATCH", self._dag, {"is_paused": False})

    def runs(self) -> list[dict[str, Any]]:
        return list(self._services.get(f"{self._dag}/dagRuns?limit=100")["dag_runs"])

    def tasks(self, name: str) -> list[dict[str, Any]]:
        """Return the instances of a task over all runs."""
        paths = [f"{self._dag}/dagRuns/{quote(run['dag_run_id'], safe='')}" for run in self.runs()]
        found = [task for path in paths for task in self._services.task_instances(path)]
        return [task for task in found if task["task_id"] == name]

    def deployed(self, *models: str) -> Counter[str]:
        """Wait until these are deployed and no run goes on, and count the deployments of each model."""

        def so_far() -> Counter[str] | None:
            idle = all(run["state"] in ("success", "failed") for run in self.runs())
            tasks = self.tasks("deploy")
            done = Counter(task["rendered_map_index"] for task in tasks if task["state"] == "success")
            return done if idle and done.keys() >= set(models) else None

        counted: Counter[str] = wait_until(so_far)
        return counted

    def wait_for_running(self) -> None:
        """Wait until a deployment is under way."""
        wait_until(lambda: any(task["state"] == "running" for task in self.tasks("deploy")))


@pytest.fixture(scope="module", autouse=True)
def _history(services: Services) -> None:
    """A model that was reported while the DAG of that asset was paused, some time ago."""
    Consumer(services, "finished_before").report("amv-31")


def test_what_is_reported_again_is_deployed_once(services: Services) -> None:
    consumer = Consumer(services, "finished_many")
    consumer.report("amv-1", "amv-2")
    consumer.deployed("amv-1", "amv-2")

    consumer.report("amv-2")
    consumer.report("amv-2", "amv-3")

    assert consumer.deployed("amv-3") == dict.fromkeys(("amv-1", "amv-2", "amv-3"), 1)


def test_events_within_milliseconds_are_all_deployed(services: Services) -> None:
    consumer = Consumer(services, "finished_one_run")
    models = [f"amv-1{n}" for n in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(consumer.report, models))

    assert consumer.deployed(*models) == dict.fromkeys(models, 1)


def test_what_finishes_while_no_more_run_may_start_is_deployed(services: Services) -> None:
    consumer = Consumer(services, "finished_one_run")
    consumer.report(SLOW)
    consumer.wait_for_running()
    consumer.report("amv-21")
    consumer.report("amv-22")
    consumer.report("amv-22", "amv-21")

    counted = consumer.deployed(SLOW, "amv-21", "amv-22")

    assert [counted[model] for model in (SLOW, "amv-21", "amv-22")] == [1, 1, 1]


def test_what_was_reported_while_a_dag_was_paused(services: Services) -> None:
    """Before Airflow 3.3, its first run gets all that the asset ever had, so it begins with the newest."""
    consumer = Consumer(services, "finished_before")
    consumer.unpause()
    consumer.report("amv-32")
    consumer.report("amv-33")

    models = [*(["amv-31"] if RECEIPTS.is_there() else []), "amv-32", "amv-33"]
    assert consumer.deployed(*models) == dict.fromkeys(models, 1)


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="no task names partitions before Airflow 3.3")
def test_each_model_has_one_run_of_its_own(services: Services) -> None:
    router = Consumer(services, "finished_each")
    deployment = Consumer(services, "finished_model", "finished_deploy")
    for models in (["amv-41", "amv-42"], ["amv-43"], ["amv-44", "amv-45"]):
        router.report(*models)
        router.report(*models)

    models = [f"amv-4{n}" for n in range(1, 6)]
    wait_until(lambda: {run["partition_key"] for run in deployment.runs()} >= set(models))
    router.report(*models)
    wait_until(lambda: all(run["state"] == "success" for run in [*router.runs(), *deployment.runs()]))

    assert Counter(run["partition_key"] for run in deployment.runs()) == dict.fromkeys(models, 1)
