"""
If the provider or Airflow is upgraded, deferred waits and serialised DAGs go on.

``tests/upgrades`` has what each version leaves in Airflow's database. For a deferred wait this is its
trigger, and the events that the trigger gives: at the deadline, and if the key is refused. For a DAG it is
the serialised form. Each Airflow writes another one. For a release, run ``python -m tests.test_upgrades`` on
each Airflow: it adds the files. The files of a released version never change.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan import __version__
from airflow_provider_qianfan._compat import AirflowException, AirflowSkipException, _get, running
from airflow_provider_qianfan.changes.journal import fingerprint
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import MODEL_SET_ID, ModelSpec, ServiceSpec, TaskSpec
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.operators.model_compression import QianfanCreateModelCompTaskOperator
from airflow_provider_qianfan.operators.service import (
    QianfanCreateServiceOperator,
    QianfanModifyServiceOperator,
)
from airflow_provider_qianfan.sensors.model import QianfanModelSensor
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.sensors.service import QianfanServiceSensor
from tests.dag_runs import AIRFLOW, AIRFLOW_3
from tests.test_reasons import COMPRESSION, OPERATORS, UNITS
from tests.test_reasons import SENSORS as ALL_SENSORS

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent / "upgrades"
FILES = sorted(FOLDER.glob("*.json"))
DAGS = sorted(FOLDER.glob("dags/*.json"))
AIRFLOW_MINOR = ".".join(map(str, AIRFLOW))
LOOKS = {
    "DescribeModelCompTasks",
    "DescribeModelCompTask",
    "DescribeModel",
    "DescribeService",
    "DescribeServices",
}
"""The actions that change nothing."""

SOURCE, MADE, SERVICE = "amv-source000001", "amv-made00000001", "svco-service0001"
USUAL: dict[str, Any] = {"task_id": "gate", "deferrable": True, "poke_interval": 60, "timeout": 86400}
BEGUN: dict[str, Any] = {**USUAL, "wait_for_completion": True}
MARK = fingerprint("dag", "run", "gate", -1)
WAITS: dict[str, Callable[[], Any]] = {
    "a compression": lambda: QianfanModelCompTaskSensor(source_model_id=SOURCE, name="demo", **USUAL),
    "a compression by its id": lambda: QianfanModelCompTaskSensor(model_comp_task_id="amva-1", **USUAL),
    "a model version": lambda: QianfanModelSensor(model_id=MADE, **USUAL),
    "a service": lambda: QianfanServiceSensor(service_id=SERVICE, model_id=MADE, **USUAL),
    "a compression that was created": lambda: QianfanCreateModelCompTaskOperator(
        **{**COMPRESSION, "name": "demo", "source_model_id": SOURCE}, **BEGUN
    ),
    "a service that was modified": lambda: QianfanModifyServiceOperator(
        service_id=SERVICE, model_id=MADE, model_set_id=MODEL_SET_ID, **BEGUN
    ),
    "a service that was created": lambda: QianfanCreateServiceOperator(
        name="demo",
        url_suffix="demo",
        model_id=MADE,
        model_set_id=MODEL_SET_ID,
        deployment_config=UNITS,
        **BEGUN,
    ),
}


def context(pushed: dict[str, Any] | None = None, try_number: int = 1) -> Any:
    """Make as much of a context as the waits need, in which XComs can be pushed."""
    kept = {} if pushed is None else pushed
    ti = SimpleNamespace(
        start_date=None,
        dag_id="dag",
        run_id="run",
        task_id="gate",
        map_index=-1,
        try_number=try_number,
        xcom_push=lambda key, value, **_: kept.update({key: value}),
    )
    return {"ti": ti, "dag_run": None}


def prepare(server: EmulatorServer, ended: bool) -> None:
    """Have everything that is waited for be under way, or have ended well. An operator finds its mark."""
    mark, world = f"[airflow:{MARK}]", server.world
    world.models.add(ModelSpec(id=SOURCE))
    if ended:
        world.tasks.add(
            TaskSpec(SOURCE, id="amva-1", name="demo", description=mark, status="succeeded", model_id=MADE)
        )
    else:
        world.tasks.add(TaskSpec(SOURCE, id="amva-1", name="demo", description=mark))
        world.models.add(ModelSpec(id=MADE, status="Creating"))
    status: Any = "Serving" if ended else "Deploying"
    world.services.add(ServiceSpec(MADE, id=SERVICE, name="demo", description=mark, run_status=status))


def defer(task: Any) -> tuple[str, dict[str, Any]]:
    """Let a task take its first look, and return the trigger that it leaves."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    with running(task), pytest.raises(TaskDeferred) as deferred:
        task.execute(context())
    trigger: tuple[str, dict[str, Any]] = deferred.value.trigger.serialize()
    return trigger


def event_of(path: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a trigger as a triggerer does, and return its event."""

    async def first() -> dict[str, Any]:
        return (await anext(made.run())).payload  # type: ignore[no-any-return]

    module, _, name = path.rpartition(".")
    made = getattr(import_module(module), name)(**arguments)
    return asyncio.run(asyncio.wait_for(first(), 30))


def moved(value: Any, seconds: float) -> Any:
    """Move all times of a value."""
    if isinstance(value, dict):
        return {key: moved(each, seconds) for key, each in value.items()}
    return value + seconds if isinstance(value, float) and value > 1e9 else value


def keys(value: Any) -> Any:
    """Return a value without what is in it."""
    return {key: keys(each) for key, each in value.items()} if isinstance(value, dict) else None


def capture() -> dict[str, Any]:
    """Say what this version leaves."""
    waits = {}
    with EmulatorServer() as server:
        os.environ["AIRFLOW_CONN_QIANFAN_DEFAULT"] = server.connection_uri
        prepare(server, ended=False)
        key = server.world.account.secret_access_key
        for name, make in WAITS.items():
            path, arguments = defer(make())
            due = {**arguments, "next_look_at": time.time() - 1, "poke_interval": 1.0}
            at_once = {**due, "memory": {**arguments["memory"], "deadline": time.time() + 1}}
            event = {**event_of(path, at_once), "memory": arguments["memory"]}
            server.world.account.secret_access_key = "another-secret-access-key"
            refused = event_of(path, {**due, "auth_grace": 0.0})
            server.world.account.secret_access_key = key
            waits[name] = {"trigger": [path, arguments], "event": event, "refused": refused}
    return {"version": __version__, "at": time.time(), "waits": waits}


@pytest.fixture(autouse=True)
def database(airflow_db: None) -> None:
    """The sensor and the trigger read their connection through Airflow."""


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def left(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.fixture(params=WAITS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["event", "refused"])
def event(request: pytest.FixtureRequest, left: dict[str, Any], name: str) -> dict[str, Any]:
    event = moved(left["waits"][name][request.param], time.time() - left["at"])
    assert bool(event["failed"]) is (request.param == "refused")
    return event  # type: ignore[no-any-return]


def test_a_trigger_of_that_version_watches(left: dict[str, Any], name: str, emulator: EmulatorServer) -> None:
    prepare(emulator, ended=True)
    path, arguments = left["waits"][name]["trigger"]
    arguments = {
        **moved(arguments, time.time() - left["at"]),
        "poke_interval": 1.0,
        "next_look_at": time.time(),
    }

    event = event_of(path, arguments)

    assert event["why"] == "it may have come to an end"
    assert emulator.world.calls


def test_an_event_of_that_version_resumes(name: str, event: dict[str, Any], emulator: EmulatorServer) -> None:
    prepare(emulator, ended=False)

    _, arguments = defer_again(WAITS[name](), event)

    assert arguments["memory"]["started"] == pytest.approx(event["memory"]["started"])
    assert arguments["memory"]["deadline"] == pytest.approx(event["memory"]["deadline"])
    assert Memory.from_json(arguments["memory"], now=0).triggerer.excused is bool(event["failed"])


def test_an_event_of_that_version_opens(name: str, event: dict[str, Any], emulator: EmulatorServer) -> None:
    pushed: dict[str, Any] = {}
    prepare(emulator, ended=True)

    returned = WAITS[name]().execute_complete(context(pushed), event)

    assert MADE in (returned, pushed.get("return_value"), pushed.get("modelId"))
    assert {call.action for call in emulator.world.calls} <= LOOKS


@pytest.mark.parametrize("try_number", [1, 2])
def test_a_try_does_not_go_on_with_the_wait_of_another(
    name: str, event: dict[str, Any], emulator: EmulatorServer, try_number: int
) -> None:
    """Airflow 3.0 hands it over: https://github.com/apache/airflow/issues/56704. 2.11 does not."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    prepare(emulator, ended=False)
    event = {**event, "memory": {**event["memory"], "started": time.time() - 3600}}

    with pytest.raises(TaskDeferred) as deferred:
        WAITS[name]().resume_execution("execute_complete", {"event": event}, context({}, try_number))

    memory = Memory.from_json(deferred.value.trigger.serialize()[1]["memory"], now=0)
    assert memory.try_number == (try_number if AIRFLOW_3 else 1)
    anew = try_number == 2 and AIRFLOW_3
    assert memory.started == pytest.approx(time.time() - (0 if anew else 3600), abs=60)
    assert {call.action for call in emulator.world.calls} <= LOOKS


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2.11 hands no try the event of another")
def test_a_try_that_begins_anew_fails_as_every_other(airflow_db: None) -> None:
    """Airflow's own ``resume_execution`` skips a sensor with ``soft_fail``, whatever went wrong."""
    event = {"memory": {"started": time.time(), "try_number": 1}}
    sensor = QianfanModelSensor(model_id=MADE, soft_fail=True, qianfan_conn_id="gone", **USUAL)

    with pytest.raises(AirflowException) as failed:
        sensor.resume_execution("execute_complete", {"event": event}, context({}, try_number=2))

    assert not isinstance(failed.value, AirflowSkipException)


def defer_again(task: Any, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Resume a task that finds that it has to wait for longer."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    with pytest.raises(TaskDeferred) as deferred:
        task.execute_complete(context(), event)
    assert deferred.value.method_name == "execute_complete"
    trigger: tuple[str, dict[str, Any]] = deferred.value.trigger.serialize()
    return trigger


def test_this_version_has_a_file_that_is_true(name: str, emulator: EmulatorServer) -> None:
    file = FOLDER / f"{__version__}.json"
    assert file.exists(), "run python -m tests.test_upgrades"
    kept = json.loads(file.read_text(encoding="utf-8"))["waits"][name]
    prepare(emulator, ended=False)

    path, arguments = defer(WAITS[name]())

    assert [path, keys(arguments)] == [kept["trigger"][0], keys(kept["trigger"][1])]
    assert {call.action for call in emulator.world.calls} <= LOOKS


# -- serialised DAGs --------------------------------------------------------------------------------------

CLASSES = ALL_SENSORS | OPERATORS


def serialiser(method: str) -> Any:
    """Return a method of the class that serialises DAGs on this Airflow, or that reads them."""
    module = "airflow.serialization.serialized_objects"
    newer = "DagSerialization" if AIRFLOW >= (3, 2) else "SerializedDAG"
    return getattr(getattr(import_module(module), newer), method)


def serialised() -> dict[str, Any]:
    """Serialise a DAG that has each class, plain and mapped."""
    with _get("DAG", "airflow.sdk", "airflow.models.dag")("all", schedule=None) as dag:
        for name, (made, arguments) in CLASSES.items():
            task_id = name.replace(" ", "_")
            made(task_id=task_id, **arguments)
            made.partial(task_id=f"{task_id}_mapped", **arguments).expand(qianfan_conn_id=["a", "b"])
    written: dict[str, Any] = serialiser("to_dict")(dag)
    written["dag"] |= {"fileloc": "/dags/all.py", "_processor_dags_folder": "/dags"}  # not this machine's
    return written


def airflow_of(file: Path) -> tuple[int, ...]:
    return tuple(map(int, file.stem.rpartition("-")[2].split(".")))


@pytest.mark.parametrize(
    "file", [file for file in DAGS if airflow_of(file) <= AIRFLOW], ids=lambda file: file.stem
)
def test_a_dag_that_was_serialised_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler and the API server go on with it until a DAG processor has parsed the DAG again."""
    # As an API server. A process that has cleared a task, as dag.test() does, reads no links any more.
    monkeypatch.setattr(serialiser("from_dict").__self__, "_load_operator_extra_links", True)
    dag = serialiser("from_dict")(json.loads(file.read_text(encoding="utf-8")))

    assert dag.tasks
    for task in dag.tasks:
        made = getattr(import_module(task._task_module), task.task_type)
        if airflow_of(file)[0] == AIRFLOW[0]:  # Airflow 3 drops the links of an Airflow 2
            assert set(task.extra_links) == {link.name for link in made.operator_extra_links}


def test_this_version_has_a_dag_of_each_airflow() -> None:
    matrix = runpy.run_path(str(FOLDER.parents[1] / "scripts" / "matrix.py"))

    names = {file.stem for file in DAGS}

    assert {f"{__version__}-airflow-{airflow}" for airflow in matrix["AIRFLOWS"]} <= names, (
        "with the Python of each Airflow, run python -m tests.test_upgrades"
    )


def test_this_version_has_a_dag_that_is_true() -> None:
    file = FOLDER / "dags" / f"{__version__}-airflow-{AIRFLOW_MINOR}.json"
    if not file.exists():
        pytest.skip("no DAG is kept of a pre-release of Airflow")

    assert json.loads(file.read_text(encoding="utf-8"))["dag"]["tasks"] == serialised()["dag"]["tasks"]


if __name__ == "__main__":
    for file, left_by in (
        (FOLDER / f"{__version__}.json", capture),
        (FOLDER / "dags" / f"{__version__}-airflow-{AIRFLOW_MINOR}.json", serialised),
    ):
        if not file.exists():  # a file that is there never changes
            file.write_text(json.dumps(left_by(), indent=1) + "\n", encoding="utf-8")
