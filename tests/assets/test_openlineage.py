"""What the real OpenLineage provider writes of our tasks, through its file transport."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.assets import AssetAlias
from airflow.providers.openlineage import conf
from airflow.providers.openlineage.plugins.listener import OpenLineageListener
from airflow.sdk.execution_time import task_runner

from airflow_provider_qianfan.assets.qianfan import qianfan_model, qianfan_service
from airflow_provider_qianfan.emulator.specs import CreatedTasks, ModelSpec
from tests.assets.test_lineage import MADE, SERVICE, SOURCE, compress, create, gate, know, modify, platform
from tests.sensors.gates import finishing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import World
    from tests.dag_runs import DagRunner


class Written:
    """The events that were written to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, task_id: str, kind: str = "COMPLETE") -> dict[str, Any]:
        """Return the one event of this kind about a task."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        (event,) = (
            event
            for event in map(json.loads, lines)
            if event["job"]["name"].endswith(f".{task_id}") and event["eventType"] == kind
        )
        return dict(event)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """
    Have Airflow tell the provider of tasks, as it does where OpenLineage is configured.

    The provider gets no news of DAG runs: it would start a process for them. It does not fork either, so that
    it writes before the test reads.
    """
    path = tmp_path / "events.json"
    transport = {"type": "file", "log_file_path": str(path), "append": True}
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__DISABLED", "False")
    _forget()
    listener = OpenLineageListener()
    monkeypatch.setattr(listener, "_execute", lambda emit, *_, **__: emit())
    names = [name for name in dir(listener) if name.startswith("on_task_instance_")]
    of_tasks: Any = type("OfTasks", (), {name: getattr(listener, name) for name in names})
    manager = task_runner.get_listener_manager()
    manager.pm.register(of_tasks)
    yield Written(path)
    manager.pm.unregister(of_tasks)
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    """Have the provider read its configuration again."""
    for function in vars(conf).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture
def world(emulator: EmulatorServer) -> World:
    return platform(emulator.world)


def names(datasets: list[dict[str, Any]]) -> list[str]:
    return [f"{dataset['namespace']}://{dataset['name']}" for dataset in datasets]


def lineage(event: dict[str, Any]) -> tuple[list[str], list[str], str | None]:
    """Return the inputs, the outputs and the compression of an event."""
    facet = event["run"]["facets"].get("externalQuery", {})
    assert facet.get("source") == ("qianfan" if facet else None)
    return names(event["inputs"]), names(event["outputs"]), facet.get("externalQueryId")


SOURCE_URI, MADE_URI, SERVICE_URI = (
    f"qianfan://model/{SOURCE}",
    f"qianfan://model/{MADE}",
    f"qianfan://service/{SERVICE}",
)


@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
def test_the_way_of_a_model(world: World, dag_runner: DagRunner, written: Written, deferrable: bool) -> None:
    """Without an ``asset``: OpenLineage needs none."""

    def build() -> None:
        made = compress(deferrable=deferrable)
        made >> modify(deferrable=deferrable) >> create(deferrable=deferrable)
        gate(model_comp_task_id="amva-1", deferrable=deferrable)

    outcomes = dag_runner.run(build)

    task_id, new = outcomes["compress"].xcoms["model_comp_task_id"], outcomes["create"].xcoms["service_id"]
    assert lineage(written("compress")) == ([SOURCE_URI], [MADE_URI], task_id)
    assert lineage(written("gate")) == ([SOURCE_URI], [MADE_URI], "amva-1")
    assert lineage(written("deploy")) == ([MADE_URI], [SERVICE_URI], None)
    assert lineage(written("create")) == ([MADE_URI], [f"qianfan://service/{new}"], None)


def test_what_is_not_known_yet_is_not_told(world: World, dag_runner: DagRunner, written: Written) -> None:
    def build() -> None:
        compress(wait_for_completion=False)
        modify(wait_for_completion=False)

    outcomes = dag_runner.run(build)

    task_id = outcomes["compress"].xcoms["model_comp_task_id"]
    assert lineage(written("compress")) == ([SOURCE_URI], [], task_id)
    assert lineage(written("deploy")) == ([MADE_URI], [SERVICE_URI], None)
    assert lineage(written("compress", "START")) == ([], [], None)


def test_a_compression_that_failed_made_nothing(
    emulator: EmulatorServer, dag_runner: DagRunner, written: Written
) -> None:
    timeline = finishing(status="failed", after=0.3)
    emulator.world.models.add(ModelSpec(id=SOURCE))
    emulator.world.scenario = emulator.world.scenario.__class__(created_tasks=CreatedTasks(timeline=timeline))

    outcome = dag_runner.run(lambda: compress(retries=0))["compress"]

    assert outcome.state == "failed"
    assert lineage(written("compress", "FAIL")) == ([SOURCE_URI], [], outcome.xcoms["model_comp_task_id"])


def test_an_asset_is_told_of_once(world: World, dag_runner: DagRunner, written: Written) -> None:
    know(qianfan_model(MADE), AssetAlias("compressed"))

    dag_runner.run(
        lambda: gate(asset=AssetAlias("compressed"), outlets=[qianfan_model(MADE)], deferrable=False)
    )

    assert lineage(written("gate")) == ([SOURCE_URI], [MADE_URI], "amva-1")


def test_outlets_of_other_tasks_are_converted(dag_runner: DagRunner, written: Written) -> None:
    """As with any operator that tells nothing itself."""
    from airflow.providers.common.compat.sdk import BaseOperator

    know(qianfan_model(MADE), qianfan_service(SERVICE))

    class Other(BaseOperator):
        def execute(self, context: Any) -> None:
            pass

    dag_runner.run(
        lambda: Other(task_id="other", inlets=[qianfan_model(MADE)], outlets=[qianfan_service(SERVICE)])
    )

    assert lineage(written("other")) == ([MADE_URI], [SERVICE_URI], None)
