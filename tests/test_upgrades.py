"""
If the provider or Airflow is upgraded, deferred waits and serialised DAGs go on.

``tests/upgrades`` has what each version leaves in Airflow's database. For a deferred wait this is its
trigger, and the event that the trigger gives. For a DAG it is the serialised form. Each Airflow writes
another one. For a release, run ``python -m tests.test_upgrades`` on each Airflow: it adds the files. The
files of a released version never change.
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
from airflow_provider_qianfan._compat import _get, running
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.sensors.model import QianfanModelSensor
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.sensors.service import QianfanServiceSensor
from tests.dag_runs import AIRFLOW
from tests.test_reasons import OPERATORS
from tests.test_reasons import SENSORS as ALL_SENSORS

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent / "upgrades"
FILES = sorted(FOLDER.glob("*.json"))
DAGS = sorted(FOLDER.glob("dags/*.json"))
AIRFLOW_MINOR = ".".join(map(str, AIRFLOW))
SOURCE, MADE, SERVICE = "amv-source000001", "amv-made00000001", "svco-service0001"
CONTEXT: Any = {"ti": SimpleNamespace(start_date=None), "dag_run": None}
USUAL: dict[str, Any] = {"task_id": "gate", "deferrable": True, "poke_interval": 60, "timeout": 86400}
SENSORS: dict[str, Callable[[], Any]] = {
    "a compression": lambda: QianfanModelCompTaskSensor(source_model_id=SOURCE, name="demo", **USUAL),
    "a compression by its id": lambda: QianfanModelCompTaskSensor(model_comp_task_id="amva-1", **USUAL),
    "a model version": lambda: QianfanModelSensor(model_id=MADE, **USUAL),
    "a service": lambda: QianfanServiceSensor(service_id=SERVICE, model_id=MADE, **USUAL),
}


def prepare(server: EmulatorServer, ended: bool) -> None:
    """Have everything that is waited for be under way, or have ended well."""
    if ended:
        server.world.add_task(SOURCE, task_id="amva-1", name="demo", status="succeeded", model_id=MADE)
    else:
        server.world.add_task(SOURCE, task_id="amva-1", name="demo")
        server.world.add_model(MADE, status="Creating")
    server.world.add_service(MADE, service_id=SERVICE, run_status="Serving" if ended else "Deploying")


def defer(sensor: Any) -> tuple[str, dict[str, Any]]:
    """Let a sensor take its first look, and return the trigger that it leaves."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    with running(sensor), pytest.raises(TaskDeferred) as deferred:
        sensor.execute(CONTEXT)
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
        for name, make in SENSORS.items():
            path, arguments = defer(make())
            due = {**arguments, "next_look": time.time() - 1, "poke_interval": 1.0}
            due["memory"] = {**arguments["memory"], "deadline": time.time() + 1}
            event = {**event_of(path, due), "memory": arguments["memory"]}
            waits[name] = {"trigger": [path, arguments], "event": event}
    return {"version": __version__, "at": time.time(), "waits": waits}


@pytest.fixture(autouse=True)
def database(airflow_db: None) -> None:
    """The sensor and the trigger read their connection through Airflow."""


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def left(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", SENSORS)
def test_a_trigger_of_that_version_watches(left: dict[str, Any], name: str, emulator: EmulatorServer) -> None:
    prepare(emulator, ended=True)
    path, arguments = left["waits"][name]["trigger"]
    arguments = {**moved(arguments, time.time() - left["at"]), "poke_interval": 1.0, "next_look": time.time()}

    event = event_of(path, arguments)

    assert event["why"] == "it may have come to an end"
    assert emulator.world.calls


@pytest.mark.parametrize("name", SENSORS)
def test_an_event_of_that_version_resumes(left: dict[str, Any], name: str, emulator: EmulatorServer) -> None:
    event = moved(left["waits"][name]["event"], time.time() - left["at"])
    prepare(emulator, ended=False)

    _, arguments = defer_again(SENSORS[name](), event)
    assert arguments["memory"]["started"] == pytest.approx(event["memory"]["started"])
    assert arguments["memory"]["deadline"] == pytest.approx(event["memory"]["deadline"])


@pytest.mark.parametrize("name", SENSORS)
def test_an_event_of_that_version_opens(
    left: dict[str, Any], name: str, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: dict[str, Any] = {}
    prepare(emulator, ended=True)
    event = moved(left["waits"][name]["event"], time.time() - left["at"])
    ti = SimpleNamespace(start_date=None, xcom_push=lambda key, value, **_: pushed.update({key: value}))

    returned = SENSORS[name]().execute_complete({**CONTEXT, "ti": ti}, event)

    assert MADE in (returned, pushed.get("return_value"), pushed.get("modelId"))


def defer_again(sensor: Any, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Resume a sensor that finds that it has to wait for longer."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute_complete(CONTEXT, event)
    trigger: tuple[str, dict[str, Any]] = deferred.value.trigger.serialize()
    return trigger


@pytest.mark.parametrize("name", SENSORS)
def test_this_version_has_a_file_that_is_true(name: str, emulator: EmulatorServer) -> None:
    file = FOLDER / f"{__version__}.json"
    assert file.exists(), "run python -m tests.test_upgrades"
    kept = json.loads(file.read_text(encoding="utf-8"))["waits"][name]
    prepare(emulator, ended=False)

    path, arguments = defer(SENSORS[name]())

    assert [path, keys(arguments)] == [kept["trigger"][0], keys(kept["trigger"][1])]


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
def test_a_dag_that_was_serialised_before(file: Path) -> None:
    """The scheduler and the API server go on with it until a DAG processor has parsed the DAG again."""
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
