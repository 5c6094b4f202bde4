"""Asset events: who gets one, what it says, and that there is one only if the task succeeded."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.assets import Asset, AssetAlias
from airflow.providers.common.compat.sdk import DAG, TaskGroup
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from airflow_provider_qianfan.assets.qianfan import qianfan_model, qianfan_model_set, qianfan_service
from airflow_provider_qianfan.emulator.specs import (
    CreatedServices,
    CreatedTasks,
    ModelSpec,
    ServiceSpec,
    TaskSpec,
)
from airflow_provider_qianfan.emulator.steps import ServiceStep
from airflow_provider_qianfan.operators.model_compression import QianfanCreateModelCompTaskOperator
from airflow_provider_qianfan.operators.service import (
    QianfanCreateServiceOperator,
    QianfanModifyServiceOperator,
)
from airflow_provider_qianfan.sensors.model import QianfanModelSensor
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.sensors.service import QianfanServiceSensor
from tests.dag_runs import AIRFLOW, AIRFLOW_3
from tests.sensors.gates import MODES, finishing

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import World
    from tests.dag_runs import DagRunner

SOURCE, MADE, SET, SERVICE = "amv-source000001", "amv-made00000001", "am-set000000001", "svco-chat00000001"
WAIT: dict[str, Any] = {"poke_interval": 0.1, "timeout": 20}
ALIAS = AssetAlias("compressed")
OURS = qianfan_model_set(SET)
OTHER = Asset(uri="x-other://one")
UNITS = {
    "replicasCount": 1,
    "deploymentComputeUnitList": [{"instanceId": "unit-1", "deploymentReplicasCount": 1}],
}


@dataclass
class Event:
    """An asset event, as Airflow stored it."""

    uri: str
    extra: dict[str, Any]
    task_id: str
    map_index: int
    aliases: list[str]


class Events:
    """Airflow's asset events since the start of a test."""

    def __init__(self) -> None:
        if AIRFLOW_3:
            from airflow.models.asset import AssetEvent as Model
        else:
            from airflow.models.dataset import DatasetEvent as Model
        self._model: Any = Model
        self._before = max((row.id for row in self._rows()), default=0)

    @staticmethod
    def _session() -> Any:
        from airflow.utils.session import create_session

        return create_session()

    def _rows(self) -> list[Any]:
        with self._session() as session:
            return list(session.scalars(select(self._model)))

    def all(self) -> list[Event]:
        with self._session() as session:
            return [
                Event(
                    row.uri,
                    dict(row.extra),
                    row.source_task_id,
                    row.source_map_index,
                    [alias.name for alias in row.source_aliases],
                )
                for row in session.scalars(select(self._model).order_by(self._model.id))
                if row.id > self._before
            ]

    def one(self) -> Event:
        (event,) = self.all()
        return event


@pytest.fixture
def events(airflow_db: None) -> Events:
    know(OURS, OTHER, qianfan_service(SERVICE), ALIAS)
    return Events()


def know(*assets: Any) -> None:
    """Let Airflow know assets that a task may update: ``dag.test()`` tells it only since 3.1."""
    from airflow.utils.session import create_session

    if AIRFLOW >= (3, 1):
        return
    rows: list[Any] = []
    if AIRFLOW_3:
        from airflow.models.asset import AssetActive, AssetAliasModel, AssetModel

        for asset in assets:
            if isinstance(asset, AssetAlias):
                rows.append(AssetAliasModel(name=asset.name))
            else:
                rows.append(AssetModel(name=asset.name, uri=asset.uri, group="asset"))
                rows.append(AssetActive(name=asset.name, uri=asset.uri))
    else:
        from airflow.models.dataset import DatasetAliasModel, DatasetModel

        for asset in assets:
            alias = isinstance(asset, AssetAlias)
            rows.append(DatasetAliasModel(name=asset.name) if alias else DatasetModel(uri=asset.uri))
    for row in rows:
        with suppress(IntegrityError), create_session() as session:  # an earlier test has stored it
            session.add(row)


def platform(world: World) -> World:
    """Make a platform with a compression and a service. What happens to them takes a moment."""
    timeline = finishing(status="succeeded", model_id=MADE, after=0.6)
    world.tasks.add(TaskSpec(SOURCE, id="amva-1", timeline=timeline))
    world.models.add(ModelSpec(id=SOURCE))
    world.models.add(ModelSpec(id=MADE))
    world.services.add(ServiceSpec(SOURCE, id=SERVICE))
    world.behaviour.update_seconds = 0.6
    soon = (ServiceStep(run_status="Deploying"), ServiceStep(run_status="Serving", after=0.6))
    world.scenario = world.scenario.__class__(
        created_tasks=CreatedTasks(timeline=timeline), created_services=CreatedServices(timeline=soon)
    )
    return world


@pytest.fixture
def world(emulator: EmulatorServer) -> World:
    return platform(emulator.world)


def gate(cls: Any = QianfanModelCompTaskSensor, **arguments: Any) -> Any:
    return cls(**{"task_id": "gate", "source_model_id": SOURCE, **WAIT, **arguments})


def compress(**arguments: Any) -> Any:
    usual = {
        "task_id": "compress",
        "name": "demo",
        "source_model_id": SOURCE,
        "model_set_id": SET,
        "config": {"strategy": "Quantization", "weight": "INT8-PTQ"},
        "wait_for_completion": True,
        "settle": 3,
    }
    return QianfanCreateModelCompTaskOperator(**{**usual, **WAIT, **arguments})


def modify(**arguments: Any) -> Any:
    usual = {"task_id": "deploy", "service_id": SERVICE, "model_id": MADE, "wait_for_completion": True}
    return QianfanModifyServiceOperator(**{**usual, **WAIT, "settle": 3, **arguments})


def create(**arguments: Any) -> Any:
    usual = {
        "task_id": "create",
        "name": "chat",
        "url_suffix": "chat",
        "model_id": MADE,
        "deployment_config": UNITS,
        "wait_for_completion": True,
        "settle": 3,
    }
    return QianfanCreateServiceOperator(**{**usual, **WAIT, **arguments})


GATED = {"model_id": MADE, "source_model_id": SOURCE, "model_comp_task_id": "amva-1"}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize(
    ("asset", "uri", "aliases"),
    [(ALIAS, qianfan_model(MADE).uri, ["compressed"]), (OURS, OURS.uri, [])],
    ids=["alias", "asset"],
)
def test_the_gate_updates_an_asset(
    world: World, dag_runner: DagRunner, events: Events, mode: Any, asset: Any, uri: str, aliases: list[str]
) -> None:
    outcome = dag_runner.run(lambda: gate(asset=asset, **mode))["gate"]

    assert outcome.state == "success"
    assert events.one() == Event(uri, GATED, "gate", -1, aliases)


@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
def test_the_operators_update_an_asset_once(
    world: World, dag_runner: DagRunner, events: Events, deferrable: bool
) -> None:
    def build() -> None:
        made = compress(asset=ALIAS, deferrable=deferrable)
        made >> modify(asset=ALIAS, deferrable=deferrable) >> create(asset=ALIAS, deferrable=deferrable)

    outcomes = dag_runner.run(build)

    assert {outcome.state for outcome in outcomes.values()} == {"success"}
    compressed, deployed, created = events.all()
    task_id = outcomes["compress"].xcoms["model_comp_task_id"]
    assert compressed == Event(
        qianfan_model(MADE).uri,
        {"model_id": MADE, "source_model_id": SOURCE, "model_comp_task_id": task_id},
        *("compress", -1, ["compressed"]),
    )
    served = {"model_id": MADE, "service_id": SERVICE}
    assert deployed == Event(qianfan_service(SERVICE).uri, served, "deploy", -1, ["compressed"])
    new = outcomes["create"].xcoms["service_id"]
    served = {"model_id": MADE, "service_id": new}
    assert created == Event(qianfan_service(new).uri, served, "create", -1, ["compressed"])


def test_the_other_sensors_update_an_asset(world: World, dag_runner: DagRunner, events: Events) -> None:
    def build() -> None:
        QianfanModelSensor(task_id="model", model_id=MADE, asset=ALIAS, **WAIT)
        QianfanServiceSensor(task_id="service", service_id=SERVICE, model_id=SOURCE, asset=ALIAS, **WAIT)

    dag_runner.run(build)

    assert {event.task_id: (event.uri, event.extra) for event in events.all()} == {
        "model": (qianfan_model(MADE).uri, {"model_id": MADE}),
        "service": (qianfan_service(SERVICE).uri, {"model_id": SOURCE, "service_id": SERVICE}),
    }


@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_gate_that_stays_shut_updates_nothing(
    emulator: EmulatorServer, dag_runner: DagRunner, events: Events, soft_fail: bool, state: str
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, timeline=finishing(status="failed", after=0.5)))

    def build() -> None:
        gate(asset=ALIAS, outlets=[OURS], soft_fail=soft_fail, deferrable=True)

    assert dag_runner.run(build)["gate"].state == state
    assert events.all() == []


def test_the_outlets_of_the_user_stay(world: World, dag_runner: DagRunner, events: Events) -> None:
    class Adding(QianfanModelCompTaskSensor):
        def execute(self, context: Any) -> Any:
            context["outlet_events"][OURS].extra["team"] = "chat"
            return super().execute(context)

    outcome = dag_runner.run(lambda: gate(Adding, asset=OURS, outlets=[OTHER], deferrable=False))["gate"]

    assert outcome.state == "success"
    assert {event.uri: event.extra for event in events.all()} == {
        OURS.uri: {"team": "chat", **GATED},
        OTHER.uri: {},
    }


def test_nothing_is_updated_unless_asked(world: World, dag_runner: DagRunner, events: Events) -> None:
    assert dag_runner.run(lambda: gate(deferrable=False))["gate"].state == "success"
    assert events.all() == []


def test_mapped_gates_update_an_asset_each(world: World, dag_runner: DagRunner, events: Events) -> None:
    world.tasks.add(
        TaskSpec("amv-other", id="amva-2", timeline=finishing(status="succeeded", model_id="amv-2"))
    )

    def build() -> None:
        begun = QianfanModelCompTaskSensor.partial(task_id="gate", asset=ALIAS, deferrable=True, **WAIT)
        begun.expand(source_model_id=[SOURCE, "amv-other"])

    dag_runner.run(build)

    assert {event.map_index: (event.uri, event.aliases) for event in events.all()} == {
        0: (qianfan_model(MADE).uri, ["compressed"]),
        1: (qianfan_model("amv-2").uri, ["compressed"]),
    }


# -- at parse ----------------------------------------------------------------------------------------------


def test_the_asset_is_added_to_the_outlets() -> None:
    assert gate().outlets == []
    assert gate(asset=ALIAS).outlets == [ALIAS]
    assert gate(asset=ALIAS, outlets=OTHER).outlets == [OTHER, ALIAS]
    assert gate(asset=ALIAS, outlets=[ALIAS, OTHER]).outlets == [ALIAS, OTHER]
    given = [OTHER]
    assert gate(asset=ALIAS, outlets=given).outlets == [OTHER, ALIAS]
    assert given == [OTHER]


def mapped(cls: Any = QianfanModelCompTaskSensor, **arguments: Any) -> list[Any]:
    """Return the outlets of a mapped task, which the scheduler knows."""
    made: list[Any] = cls.partial(task_id="t", **arguments).expand(qianfan_conn_id=["a", "b"]).outlets
    return made


def test_a_mapped_task_has_the_outlet_before_it_is_expanded() -> None:
    assert list(mapped(source_model_id=SOURCE)) == []
    assert mapped(source_model_id=SOURCE, asset=ALIAS) == [ALIAS]
    assert mapped(source_model_id=SOURCE, asset=ALIAS, outlets=OTHER) == [OTHER, ALIAS]
    assert mapped(source_model_id=SOURCE, default_args={"asset": ALIAS}) == [ALIAS]
    with DAG("of_assets", schedule=None, default_args={"asset": OURS, "outlets": [OTHER]}):
        assert mapped(source_model_id=SOURCE) == [OTHER, OURS]
        with TaskGroup("g", default_args={"asset": ALIAS}):
            assert mapped(source_model_id=SOURCE) == [OTHER, ALIAS]
        swap = {"cls": QianfanModifyServiceOperator, "service_id": SERVICE, "model_id": MADE}
        with TaskGroup("h"):
            assert mapped(**swap) == [OTHER]
        with TaskGroup("i"):
            assert mapped(**swap, wait_for_completion=True) == [OTHER, OURS]


def test_an_inherited_asset() -> None:
    with DAG("of_assets", schedule=None, default_args={"asset": ALIAS}):
        assert gate().outlets == [ALIAS]
        assert modify().outlets == [ALIAS]
        # This task ends before the service serves anything new.
        assert modify(task_id="go_on", wait_for_completion=False).outlets == []


@pytest.mark.parametrize("make", [compress, modify, create])
def test_an_operator_that_does_not_wait_has_nothing_to_update(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"^asset needs wait_for_completion=True"):
        make(asset=ALIAS, wait_for_completion=False)


@pytest.mark.parametrize("asset", ["qianfan://model/amv-1", "{{ asset }}", 7])
def test_what_is_no_asset_is_refused(asset: Any) -> None:
    with pytest.raises(ValueError, match="is neither an Asset nor an AssetAlias"):
        gate(asset=asset)


# -- the graph ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(AIRFLOW < (3, 2), reason="its graph has no tasks")
def test_the_way_of_a_model_is_in_the_graph_of_each_asset(
    world: World, dag_runner: DagRunner, events: Events
) -> None:
    from airflow.api_fastapi.core_api.services.ui.dependencies import get_data_dependencies
    from airflow.models.asset import AssetModel
    from airflow.utils.session import create_session

    # Tests before this one have updated others.
    source, models, service = qianfan_model("amv-1"), qianfan_model_set("am-1"), qianfan_service("svco-1")
    world.models.add(ModelSpec(id="amv-1"))
    world.services.add(ServiceSpec(SOURCE, id="svco-1"))

    def build() -> None:
        made = compress(source_model_id="amv-1", asset=models, inlets=[source])
        made >> modify(service_id="svco-1", asset=service, inlets=[models])

    dag_runner.run(build)

    way = {
        (source.uri, "compress"),
        ("compress", models.uri),
        (models.uri, "deploy"),
        ("deploy", service.uri),
    }
    with create_session() as session:
        for asset in (source, models, service):
            asset_id = session.scalar(select(AssetModel.id).where(AssetModel.uri == asset.uri))
            graph = get_data_dependencies(asset_id, session)
            label = {node["id"]: node["label"].rpartition(".")[2] for node in graph["nodes"]}
            edges = {(label[edge["source_id"]], label[edge["target_id"]]) for edge in graph["edges"]}
            assert edges == way
    produced, served = events.all()
    assert produced.extra["source_model_id"] == "amv-1"
    assert produced.extra["model_id"] == served.extra["model_id"] == MADE


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2.11 has no assets")
def test_an_alias_has_the_versions(world: World, dag_runner: DagRunner, events: Events) -> None:
    from airflow.models.asset import AssetAliasModel
    from airflow.utils.session import create_session

    alias = AssetAlias("chat")
    know(alias)
    world.tasks.add(TaskSpec("amv-other", status="succeeded", model_id="amv-2"))

    def build() -> None:
        gate(asset=alias, deferrable=False)
        gate(asset=alias, deferrable=False, source_model_id="amv-other", task_id="other")

    dag_runner.run(build)

    with create_session() as session:
        resolved = session.scalar(select(AssetAliasModel).where(AssetAliasModel.name == alias.name))
        assert {asset.uri for asset in resolved.assets} == {
            qianfan_model(MADE).uri,
            qianfan_model("amv-2").uri,
        }
