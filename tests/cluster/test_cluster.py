"""Whatever dies in a cluster, no wait is lost, no gate opens wrongly, and nothing is created twice."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.server import EmulatorServer
from tests.cluster.cluster import COMPONENTS, Redis, cluster, is_complete
from tests.cluster.fleet import UPDATE_SECONDS, Fleet
from tests.faults.tls import certified
from tests.integration.services import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_qianfan.emulator.world import World
    from tests.integration.services import Services

pytestmark = pytest.mark.cluster

HERE = Path(__file__).parent
ROWS = HERE.parents[1] / "build" / "cluster.json"

ENDING = 60.0
"""Seconds within which the compressions end. The fault strikes when they begin."""

PATIENCE = 900.0
"""Seconds in which all tasks have to end, counted from when the fault and the compressions have ended."""


class Stage:
    """
    The cluster, with a service manager: it starts again what has ended.

    :ivar held: the components that the manager must not start now.
    """

    def __init__(self, services: Services, redis: Redis, emulator: EmulatorServer) -> None:
        self.services, self.redis, self.emulator = services, redis, emulator
        self.held: set[str] = set()
        self._stop = threading.Event()
        self._manager = threading.Thread(target=self._manage, daemon=True)
        self._manager.start()

    @property
    def world(self) -> World:
        return self.emulator.world

    @contextlib.contextmanager
    def holding(self, *names: str) -> Iterator[None]:
        """Keep the service manager from components."""
        self.held.update(names)
        try:
            yield
        finally:
            self.held.difference_update(names)

    def kill(self, *names: str, down_for: float = 5.0) -> None:
        """Kill processes, each with all that it has started. They come back after so many seconds."""
        with self.holding(*names):
            for name in names:
                self.services.kill(name)
            time.sleep(down_for)

    def close(self) -> None:
        self._stop.set()
        self._manager.join()

    def _manage(self) -> None:
        while not self._stop.wait(1):
            for name in COMPONENTS:
                if name not in self.held and not self.services.running(name):
                    self.services.start(name)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("cluster")
    (home / "dags").mkdir()
    shutil.copy(HERE / "fleet_dag.py", home / "dags")
    authority, *tls = certified(home)
    slow = {"timeline": [{"status": "creating"}, {"status": "running", "after": 2}]}
    slow["timeline"].append(
        {"status": "succeeded", "after": UPDATE_SECONDS, "model_id": "amv-produced{n}"}  # type: ignore[dict-item]
    )
    scenario = {"created_tasks": slow}
    with EmulatorServer(scenario, tls=(tls[0], tls[1])) as emulator:
        emulator.world.behaviour.update_seconds = UPDATE_SECONDS
        uri = f"{emulator.connection_uri}/?verify={quote(str(authority), safe='')}"
        environment = {
            "AIRFLOW_CONN_QIANFAN_DEFAULT": uri,
            "PYTHONPATH": str(HERE.parents[1]),
            "AIRFLOW__QIANFAN__REQUESTS_PER_SECOND": "50",
        }
        with cluster(home, environment) as (services, redis):
            stage = Stage(services, redis, emulator)
            try:
                yield stage
            finally:
                stage.close()


@dataclass(frozen=True, eq=False)
class Case:
    """
    One fault.

    :param name: its row in the table.
    :param strike: causes it.
    :param bound: the setting of Airflow that bounds the recovery.
    """

    name: str
    strike: Callable[[Stage], None]
    bound: str = "-"


def hang(stage: Stage) -> None:
    with stage.holding("triggerer-1"):
        stage.services.pause("triggerer-1", 60)


def stop_gracefully(stage: Stage) -> None:
    with stage.holding("triggerer-1"):
        stage.services.stop("triggerer-1")


def restart_database(stage: Stage, away: float = 0.0) -> None:
    stage.services.stop_database()
    time.sleep(away)
    stage.services.start_database()


def restart_redis(stage: Stage) -> None:
    stage.redis.stop()
    stage.redis.start()


@contextlib.contextmanager
def fault(stage: Stage, fault: Fault) -> Iterator[None]:
    stage.world.faults.append(fault)
    try:
        yield
    finally:
        stage.world.faults.remove(fault)


def away(stage: Stage) -> None:
    with fault(stage, Fault(server_error=503)):
        time.sleep(120)


def slow(stage: Stage) -> None:
    with fault(stage, Fault(latency=10)):
        time.sleep(60)


HEALTH = "`[triggerer] triggerer_health_check_threshold`"
HEARTBEAT = "`[scheduler] task_instance_heartbeat_timeout`"

CASES = (
    Case("none", lambda _: None),
    Case("`kill -9` of a triggerer", lambda stage: stage.kill("triggerer-1"), HEALTH),
    Case("`kill -9` of both triggerers", lambda stage: stage.kill("triggerer-1", "triggerer-2"), HEALTH),
    Case("SIGTERM of a triggerer", stop_gracefully),
    Case("a triggerer hangs for a minute", hang, HEALTH),
    Case("`kill -9` of a worker", lambda stage: stage.kill("worker-1"), HEARTBEAT),
    Case("`kill -9` of a scheduler", lambda stage: stage.kill("scheduler-1")),
    Case("`kill -9` of both schedulers", lambda stage: stage.kill("scheduler-1", "scheduler-2")),
    Case("`kill -9` of the API server", lambda stage: stage.kill("api-server")),
    Case("PostgreSQL is restarted", restart_database),
    Case("PostgreSQL is away for 60 s", lambda stage: restart_database(stage, 60)),
    Case("Redis is restarted", restart_redis),
    Case("the platform answers 503 for two minutes", away),
    Case("the platform takes 10 s to answer", slow),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fleet_survives(stage: Stage, case: Case) -> None:
    wait_until(lambda: is_complete(stage.services))
    fleet = Fleet(stage.services, stage.world, f"w{CASES.index(case):02}")
    in_flight = fleet.until_deferred()

    ending = fleet.end_compressions(ENDING)
    case.strike(stage)
    ending.join()
    result = fleet.finish(in_flight, PATIENCE)

    row = {"fault": case.name, **result.row(), "bound": case.bound}
    print(f"\n{json.dumps(row)}\n{result.lost} {result.wrong} {result.twice}", flush=True)
    ROWS.parent.mkdir(exist_ok=True)
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    ROWS.write_text(json.dumps({**rows, case.name: row}, indent=1))
    assert not result.lost
    assert not result.wrong
    assert not result.twice
