"""A real Airflow for the whole session. All DAGs of the suite run in it at once."""

from __future__ import annotations

import contextlib
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from tests.integration.cells import MADE, MODES, SOURCE
from tests.integration.eyes import EYES, MOVED
from tests.integration.eyes_stage import environments, platforms
from tests.integration.services import Services
from tests.integration.stage import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_qianfan.emulator.world import World
    from tests.integration.cells import Cell
    from tests.integration.eyes_stage import Platform

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def cells(request: pytest.FixtureRequest) -> list[Cell]:
    """The cells whose tests are to run: ``-k`` chooses among them."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    chosen: dict[Cell, None] = {spec.params["cell"]: None for spec in specs if spec and "cell" in spec.params}
    return list(chosen)


@pytest.fixture(scope="session")
def statsd() -> Iterator[socket.socket]:
    """What Airflow sends its metrics to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(120)
        yield listener


@pytest.fixture(scope="session")
def two_ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Platform]]:
    """The platforms that a worker and a triggerer reach by ways of their own, by the gate's task id."""
    gates = [*(eyes.task_id for eyes in EYES), *MOVED]
    with platforms(gates, tmp_path_factory.mktemp("bundles")) as found:
        for eyes in EYES:
            found[eyes.task_id].prepare(eyes)
        yield found


@pytest.fixture(scope="session")
def refusing() -> Iterator[EmulatorServer]:
    """The platform of the watcher ``refused``, which is to answer 503."""
    with EmulatorServer() as server:
        yield server


@pytest.fixture(scope="session")
def services(
    tmp_path_factory: pytest.TempPathFactory,
    cells: list[Cell],
    statsd: socket.socket,
    two_ways: dict[str, Platform],
    refusing: EmulatorServer,
) -> Iterator[Services]:
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    for dag in HERE.glob("*_dag.py"):
        shutil.copy(dag, home / "dags")
    environment = {
        "PARITY_ENDS": str(home / "ends.jsonl"),
        "PARITY_CELLS": " ".join(cell.task_id for cell in cells),
        "PYTHONPATH": str(HERE.parents[1]),
        "WATCHERS": "refused",
        "AIRFLOW_CONN_REFUSED": refusing.connection_uri,
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(statsd.getsockname()[1]),
    }
    with Services(home, environment, environments=environments(two_ways)) as running:
        yield running


class Slots:
    """The run of the DAG ``slots``, and the platforms that its sensors meet."""

    def __init__(self, services: Services, worlds: dict[str, World]) -> None:
        self._services, self.worlds = services, worlds
        self._run = services.trigger("slots")

    def finished(self) -> dict[str, dict[str, Any]]:
        """Wait for the end of the run, and return its tasks."""
        self._services.wait(self._run, 600)
        return {task["task_id"]: task for task in self._services.task_instances(self._run)}


@pytest.fixture(scope="session")
def slots(services: Services) -> Iterator[Slots]:
    """Begins early in the session, and takes five minutes, while other tests go on."""
    with contextlib.ExitStack() as stack:
        worlds = {}
        for mode in MODES:
            server = stack.enter_context(EmulatorServer())
            worlds[mode] = server.world
            server.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))
            server.world.faults.append(Fault(rate_limit=True, retry_after=300, calls=(1,)))
            services.call(
                "POST", "/connections", connection(f"slots_{mode}", server.url, server.world.account)
            )
            services.call(
                "POST",
                "/pools",
                {"name": f"slots_{mode}", "slots": 1, "include_deferred": False},
            )
        yield Slots(services, worlds)
