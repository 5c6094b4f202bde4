"""
No secret is in anything that an Airflow leaves behind, whatever the provider does, at DEBUG.

Airflow's masker hides what it knows, and a handler of a user's may not have one. So this Airflow has none.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet

from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec, TaskSpec
from airflow_provider_qianfan.emulator.steps import ModelStep, ServiceStep, TaskStep
from tests.integration.canary_cases import (
    BAD,
    BROKEN,
    CASES,
    FAILS,
    GOOD,
    LATER,
    MADE,
    NEVER,
    OTHER,
    PLACES,
    SOCKS,
    SOURCE,
)
from tests.integration.canary_places import OWN, Crawler, files, statements, tables
from tests.integration.services import COMPONENTS, Services, wait_until
from tests.proof.canaries import Canaries, Guarded, guarded, make
from tests.proof.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_qianfan.emulator.world import World
    from tests.integration.canary_places import Left

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
RENDERED = {"canary": "create", "plants": "render"}
"""For ``airflow tasks render``: a task of each DAG."""

LOCAL_SETTINGS = '''
"""Takes Airflow's masker away, and says what is planted in the log of each service."""

import json
import os
from importlib import import_module

for name in ("airflow._shared.secrets_masker", "airflow.sdk._shared.secrets_masker"):
    import_module(name).SecretsMasker.add_mask = lambda *_, **__: None

component = os.environ.get("CANARY_COMPONENT")
if component:
    print(json.loads(os.environ["CANARY_PLANTS"])[component], flush=True)
'''


@dataclass
class Found:
    """
    What the search has found.

    :ivar leaks: the canaries, by where they were.
    :ivar plants: where each plant was.
    :ivar places: how many things were searched, by kind.
    :ivar states: how the tasks ended.
    """

    canaries: Canaries
    leaks: dict[str, set[str]] = field(default_factory=dict)
    plants: dict[str, set[str]] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    hidden: set[bytes] = field(default_factory=set)

    def search(self, kind: str, things: Iterator[Left] | list[Left]) -> None:
        """Search things of one kind."""
        for where, whole in things:
            self.places[kind] = self.places.get(kind, 0) + 1
            for each in self.canaries.opened(whole, but=self.hidden):
                for name in self.canaries.found_in(each):
                    if name in PLACES:
                        self.plants.setdefault(name, set()).add(f"{kind}: {where}")
                    else:
                        self.leaks.setdefault(f"{kind}: {where}", set()).add(name)


def populate(world: World) -> None:
    """Put into the world what the cases ask for."""
    for model_id in (SOURCE, MADE, OTHER):
        world.models.add(ModelSpec(id=model_id))
    world.models.add(ModelSpec(id=BROKEN, status="Fail"))
    for fate in (LATER, FAILS, NEVER):
        world.tasks.add(TaskSpec(f"amv-of-{fate}", id=f"amva-{fate}"))
        world.models.add(ModelSpec(id=f"amv-{fate}", status="Creating"))
        world.services.add(ServiceSpec(MADE, id=f"svco-{fate}", run_status="Deploying"))
    world.tasks.add(TaskSpec(SOURCE, id="amva-cancel"))
    for service_id in ("svco-modify", "svco-modify-poke", "svco-modify-deferrable"):
        world.services.add(ServiceSpec(MADE, id=service_id))


def finish(world: World) -> None:
    """Let everything come to the end that it is named for."""
    world.tasks.change("amva-later", TaskStep("succeeded", model_id="amv-made-later"))
    world.tasks.change("amva-fails", TaskStep("failed", failed_reason="no calibration data"))
    world.models.change("amv-later", ModelStep("Ready"))
    world.models.change("amv-fails", ModelStep("Fail"))
    world.services.change("svco-later", ServiceStep(run_status="Serving"))
    world.services.change("svco-fails", ServiceStep(run_status="Failed"))
    for task_id, task in list(world.tasks.items()):
        if task.name.startswith("with-"):
            world.tasks.change(task_id, TaskStep("succeeded", model_id=f"amv-{task.name}"))


def connections(platform: Guarded) -> dict[str, dict[str, Any]]:
    """Return the connections, by their ids. All have all secrets, and some work."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    wrong = platform.connect.replace("//user", "//nobody")
    return {
        GOOD: platform.connection(),
        SOCKS: platform.connection(extra={"proxy": platform.socks}),
        "wrong_key": platform.connection(login="nobody"),
        "wrong_password": platform.connection(extra={"proxy": wrong}),
        "no_proxy": platform.connection(extra={"proxy": f"{platform.connect.rpartition(':')[0]}:{port}"}),
    }


def no_object(platform: Guarded) -> str:
    """Return the connection ``no_object``. Airflow's API would refuse it, but not an environment variable."""
    connection = platform.connection()
    return json.dumps({**connection, "extra": json.dumps([connection["extra"]])})


class Metrics:
    """Keeps what Airflow tells of its metrics."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.told.append(self._socket.recv(65536))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Run everything, and search all that it leaves."""
    home = tmp_path_factory.mktemp("canary")
    canaries = Canaries(fernet=Fernet(key := Fernet.generate_key()))
    canaries.more = {place: make("plant") for place in PLACES}
    for folder in ("dags", "config"):
        (home / folder).mkdir()
    (home / "config" / "airflow_local_settings.py").write_text(LOCAL_SETTINGS)
    shutil.copy(HERE / "canary_dags.py", home / "dags")
    (home / "dags" / "broken.py").write_text(
        "from tests.integration.canary_cases import plants  # airflow, dag\n"
        "raise ValueError(plants()['import error'])\n"
    )
    metrics = Metrics()
    events = home / "openlineage.json"
    environment = {
        "CANARY_PLANTS": json.dumps(canaries.more),
        "PYTHONPATH": str(HERE.parents[1]),
        "PYTHONWARNINGS": "always",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
        "AIRFLOW__CORE__FERNET_KEY": key.decode(),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(metrics.port),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(events), "append": True}
        ),
    }
    environments = {name: {"CANARY_COMPONENT": name} for name in COMPONENTS}
    found = Found(canaries)
    with guarded(home, canaries, {"created_tasks": {"timeline": [{"status": "running"}]}}) as platform:
        populate(platform.server.world)
        environment["AIRFLOW_CONN_NO_OBJECT"] = no_object(platform)
        with Services(
            home, environment, environments=environments, database="log_statement = 'mod'\n"
        ) as running:
            go(running, platform, found)
            found.search("statements", [statements(running)])
        found.search("files", files(running))
        found.search("metrics", [("statsd", b"\n".join(metrics.told))])
        found.search("OpenLineage", [("events", events.read_bytes())])
    return found


def go(services: Services, platform: Guarded, found: Found) -> None:
    """Run the DAGs and the commands, and search what is there for a while only."""
    world, planted = platform.server.world, found.canaries.more
    posted = connections(platform)
    for conn_id, connection in posted.items():
        document = {**connection, "connection_id": conn_id, "extra": json.dumps(connection["extra"])}
        services.call("POST", "/connections", document)
    services.call(
        "POST",
        "/connections",
        {
            "connection_id": "planted",
            "conn_type": "http",
            "description": planted["description of a connection"],
            "password": planted["password that the masker would hide"],
        },
    )
    services.call("POST", "/variables", {"key": "planted", "value": planted["encrypted variable"]})
    runs = [services.trigger("canary"), services.trigger("plants", {"planted": planted["conf of a run"]})]
    services.call("PATCH", f"{runs[1]}/taskInstances/plant", {"note": planted["note of a task"]})

    def states(run: str) -> dict[str, str]:
        return {task["task_id"]: task["state"] for task in services.task_instances(run)}

    waiting = {case.name for case in CASES.values() if case.defers and case.lasts}
    for run, (dag_id, task_id) in zip(runs, RENDERED.items(), strict=True):
        run_id = services.get(run)["dag_run_id"]
        services.start(f"render_{dag_id}", arguments=("tasks", "render", dag_id, task_id, run_id))
    wait_until(
        lambda: {name for name, state in states(runs[0]).items() if state == "deferred"} >= waiting, 180
    )
    wait_until(lambda: set(states(runs[1]).values()) == {"deferred"}, 180)
    found.hidden |= {value for name, value in tables(services) if tuple(name.split(".")) in OWN}
    found.search("tables", tables(services))
    found.search("API", ((run, json.dumps(services.task_instances(run)).encode()) for run in runs))
    services.call("PATCH", f"{runs[0]}/taskInstances/create_killed", {"new_state": "failed"})
    finish(world)
    (services.home / "finish").touch()
    for run in runs:
        services.wait(run, 240)
    for conn_id, connection in posted.items():
        unknown = (
            {**connection["extra"], planted["test of a connection"]: 1}
            if conn_id == GOOD
            else connection["extra"]
        )
        document = {**connection, "connection_id": conn_id, "extra": json.dumps(unknown)}
        answer = services.call("POST", "/connections/test", document)
        found.search("test", [(conn_id, json.dumps(answer).encode())])
    found.states = states(runs[0])
    events = "/dags/canary_events_canary/dagRuns"
    wait_until(lambda: services.get(events)["dag_runs"])
    heard = services.get(events)["dag_runs"][0]["dag_run_id"]
    services.wait(f"{events}/{heard}", 60)
    found.search("tables", tables(services))
    found.search("API", Crawler(services, [*runs, f"{events}/{heard}"]).answers())


def test_every_task_ended_as_it_should(found: Found) -> None:
    expected = {name: case.state for name, case in CASES.items()} | {"look_at_everything": "failed"}

    assert found.states == expected


def test_the_platform_was_asked(found: Found) -> None:
    assert len(found.canaries.signatures) > len(CASES)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_planted_is_found(found: Found, place: str) -> None:
    where = found.plants.get(place, set())

    assert [wanted for wanted in PLACES[place] if not any(re.match(wanted, each) for each in where)] == []


def test_no_secret_is_anywhere(found: Found) -> None:
    assert found.leaks == {}


def test_it_is_recorded(found: Found) -> None:
    kinds = {case.kind for case in CASES.values()}
    figures = {
        "tasks": len(found.states),
        "classes": len(kinds) + 3,  # the triggers: of a wait, of one that may cancel, of a watcher
        "connections": len(BAD) + 2,
        "canaries": len(found.canaries.names) - len(PLACES),
        "signatures": len(found.canaries.signatures),
        "searched": found.places,
        "bytes": found.canaries.searched,
        "planted": len(PLACES),
        "found": len(found.plants.keys() & PLACES.keys()),
        "leaks": len(found.leaks),
    }

    assert all(found.places.values())
    record("secrets", figures)
