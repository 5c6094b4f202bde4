"""Each finished compression starts a run of its own, with the model version as its partition key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from airflow import settings

from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec
from tests.emulator.client import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner
    from tests.dags.conftest import Report


@pytest.fixture
def dag(load_dag: Callable[[str], Any]) -> Any:
    return load_dag("deploy_each_finished_model")


@pytest.fixture
def router(dag: Any) -> Any:
    return sys.modules["deploy_each_finished_model"].ROUTER


def events(asset: str) -> list[Any]:
    """Return the events of an asset."""
    from airflow.models.asset import AssetEvent, AssetModel
    from sqlalchemy import select

    with settings.Session() as session:
        query = select(AssetEvent).join(AssetEvent.asset).where(AssetModel.name == asset)
        return list(session.scalars(query))


def test_each_model_is_a_partition_once(dag_runner: DagRunner, dag: Any, router: Any, report: Report) -> None:
    dag_runner.run_dag(dag)  # so that the asset that starts it is known
    dag_runner.run_dag(router)  # begins here
    report("each_finished_model", "amv-1", "amv-2")
    dag_runner.run_dag(router)
    report("each_finished_model", "amv-2", "amv-3")

    outcome = dag_runner.run_dag(router)

    assert [route.shown_as for route in outcome["route"].values()] == ["amv-3"]
    emitted = sorted((event.partition_key, event.extra["model_id"]) for event in events("finished_model"))
    assert emitted == [(model, model) for model in ("amv-1", "amv-2", "amv-3")]


@pytest.fixture
def started_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the next run started by the event of a model, as the scheduler does."""
    from airflow.models import dagrun

    create = dagrun.get_or_create_dagrun

    def start(model_id: str) -> None:
        (event,) = (event for event in events("finished_model") if event.partition_key == model_id)

        def create_partitioned(**arguments: Any) -> Any:
            run = create(**arguments)
            run.partition_key = event.partition_key
            run.consumed_asset_events.append(arguments["session"].merge(event))
            arguments["session"].commit()
            return run

        monkeypatch.setattr(dagrun, "get_or_create_dagrun", create_partitioned)

    return start


def test_the_service_ends_with_the_newest_model(
    emulator: EmulatorServer,
    dag_runner: DagRunner,
    dag: Any,
    router: Any,
    report: Report,
    started_by: Callable[[str], None],
) -> None:
    """In whatever order the runs come: here, the run of the older model is the last one."""
    emulator.world.behaviour.update_seconds = 0.5
    for model_id in ("amv-old", "amv-4", "amv-5"):
        emulator.world.models.add(ModelSpec(id=model_id, model_set_id="am-1"))
    emulator.world.services.add(ServiceSpec("amv-old", id="svco-1", model_set_id="am-1"))
    dag_runner.run_dag(dag)
    dag_runner.run_dag(router)
    report("each_finished_model", "amv-4", "amv-5")
    dag_runner.run_dag(router)

    for model_id, state in (("amv-5", "success"), ("amv-4", "skipped")):
        started_by(model_id)
        outcome = dag_runner.run_dag(dag, conf={"service_id": "svco-1"})
        assert outcome["compression"].state == state
        assert outcome["deploy"].state == state
        assert ask(emulator.world, "DescribeService", serviceId="svco-1")["modelId"] == "amv-5"
