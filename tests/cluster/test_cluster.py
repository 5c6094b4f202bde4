"""Whatever dies in a cluster, no wait is lost, no gate opens wrongly, and nothing is created twice."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from airflow_provider_qianfan.emulator.behaviour import Account
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.server import EmulatorServer
from tests.cluster.cluster import COMPONENTS, QUEUES, Redis, cluster, is_complete
from tests.cluster.fleet import CHANGE_SECONDS, Platform, Result, Run
from tests.cluster.outcomes import POKE_INTERVAL
from tests.faults.tls import certified
from tests.integration.services import FINISHED, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_qianfan.emulator.world import Call
    from tests.integration.services import Services

pytestmark = pytest.mark.cluster

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROWS = ROOT / "build" / "cluster.json"

ENDING = 45.0
"""Seconds within which the compressions end. The fault strikes when the first of them may end."""

PATIENCE = 600.0
"""Seconds in which all tasks have to end, counted from when the fault and the compressions have ended."""

WORKERS = [name for name in COMPONENTS if name.startswith("worker")]
TRIGGERERS = [name for name in COMPONENTS if name.startswith("triggerer")]
CONNECTION = "qianfan_default"

OLD = "4f64b9e"
"""The commit of this provider that the rolling upgrades begin with."""


class Stage:
    """
    The cluster, with a service manager: it starts again what has ended.

    :ivar held: the components that the manager must not start now.
    :ivar environments: more environment variables of a component, by its name.
    """

    def __init__(self, services: Services, redis: Redis, emulator: EmulatorServer) -> None:
        self.services, self.redis, self.emulator = services, redis, emulator
        self.platform = Platform(emulator.world)
        self.held: set[str] = set()
        self.environments: dict[str, dict[str, str]] = {}
        self._stop = threading.Event()
        self._manager = threading.Thread(target=self._manage, daemon=True)
        self._manager.start()
        self.standing = Run(services, self.platform, "standing", "standing")
        self.standing.until_deferred()
        self._tries = self.standing.tries()

    def until_complete(self) -> None:
        """Wait until all components are alive."""
        wait_until(lambda: is_complete(self.services, self.redis))

    def until_all_stand(self) -> None:
        """Wait until all gates are deferred that wait through all faults."""
        wait_until(lambda: set(self.standing.states()) == {"deferred"}, PATIENCE)

    def check_standing(self, result: Result) -> None:
        """Add to a result what came of the gates that wait through all faults."""
        with contextlib.suppress(TimeoutError):
            self.until_all_stand()
        for state, number in self.standing.states().items():
            if state in FINISHED:
                for each in range(number):
                    result.wrong[f"standing {state} {each}"] = "its compression runs"
                    if state == "success":
                        result.opened_wrongly.append(f"standing {each}")
            elif state != "deferred":
                result.lost.append(f"{number} standing gates are {state}")
        tries = self.standing.tries()
        result.tries += tries - self._tries
        self._tries = tries

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

    def kill_a_busy_worker(self, run: Run) -> None:
        """Kill a worker while it runs a task of the run."""
        wait_until(lambda: run.states(QUEUES[0])["running"], 60)
        self.kill(WORKERS[0])

    def kill_triggerers(self, number: int) -> None:
        self.expect_all_to_watch()
        self.kill(*TRIGGERERS[:number])

    def expect_all_to_watch(self, number: int = len(TRIGGERERS)) -> None:
        """Check that so many triggerers have waits."""
        url = self.services.database_url.replace("+psycopg2", "", 1)
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("select distinct triggerer_id from trigger where triggerer_id is not null")
            assert len(cursor.fetchall()) == number

    def calls_per_interval(self) -> float:
        """Count the requests of the triggerers while all waits wait."""
        began = self.platform.world.now
        time.sleep(6 * POKE_INTERVAL)
        return sum(call.time > began for call in list(self.platform.world.calls)) / 6

    def restart(self, name: str) -> None:
        """Stop a component as a service manager does, and start it again."""
        with self.holding(name):
            self.services.stop(name)
            self.services.start(name, self.environments.get(name))
        self.until_complete()

    @contextlib.contextmanager
    def components_with(self, *names: str, **environment: str) -> Iterator[None]:
        """Run components with more environment variables."""
        for name in names:
            self.environments[name] = environment
            self.restart(name)
        try:
            yield
        finally:
            for name in names:
                if self.environments.pop(name, None) is not None:
                    self.restart(name)

    def close(self) -> None:
        self._stop.set()
        self._manager.join()

    def _manage(self) -> None:
        while not self._stop.wait(1):
            for name in COMPONENTS:
                if name not in self.held and not self.services.running(name):
                    print(f"\n{name} has ended, and is started again.", flush=True)
                    self.services.start(name, self.environments.get(name))


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("cluster")
    (home / "dags").mkdir()
    shutil.copy(HERE / "fleet_dag.py", home / "dags")
    authority, *tls = certified(home)
    timeline = [
        {"status": "creating"},
        {"status": "running", "after": 2},
        {"status": "succeeded", "after": CHANGE_SECONDS, "model_id": "amv-produced{n}"},
    ]
    with EmulatorServer({"created_tasks": {"timeline": timeline}}, tls=(tls[0], tls[1])) as emulator:
        emulator.world.behaviour.update_seconds = CHANGE_SECONDS
        environment = {"PYTHONPATH": str(ROOT), "AIRFLOW__QIANFAN__REQUESTS_PER_SECOND": "50"}
        with cluster(home, environment) as (services, redis):
            account = emulator.world.accounts[0]
            connection = {
                "connection_id": CONNECTION,
                "conn_type": "qianfan",
                "host": emulator.url,
                "login": account.access_key_id,
                "password": account.secret_access_key,
                "extra": json.dumps({"verify": str(authority)}),
            }
            services.call("POST", "/connections", connection)
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
    :param seconds: how long a gate may take at most, from the end on the platform.
    :param tries: the least and the most tries that it may use up.
    :param early: whether it strikes while the tasks take their first looks, create, and update.
    :param during: what is so before the fleet starts, and ends after it.
    :param ahead: seconds by which the workers' clocks are ahead.
    :param logs: whether the logs of the tasks can be read.
    """

    name: str
    strike: Callable[[Stage, Run], Any]
    bound: str = "-"
    seconds: float = 120.0
    tries: tuple[int, int] = (0, 0)
    early: bool = False
    during: Callable[[Stage], contextlib.AbstractContextManager[None]] = field(
        default=lambda _: contextlib.nullcontext()
    )
    ahead: float = 0.0
    logs: bool = True


def hang(stage: Stage, run: Run) -> None:
    stage.expect_all_to_watch()
    with stage.holding(TRIGGERERS[0]):
        stage.services.pause(TRIGGERERS[0], 60)


def stop_gracefully(stage: Stage, run: Run) -> None:
    stage.expect_all_to_watch()
    stage.restart(TRIGGERERS[0])


def restart_database(stage: Stage, away: float = 0.0) -> None:
    stage.services.stop_database()
    time.sleep(away)
    stage.services.start_database()


def restart_redis(stage: Stage, run: Run) -> None:
    stage.redis.stop()
    stage.redis.start()


def killing_workers_in(action: str) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    """Kill all workers after the platform has done an action, and before a worker hears of it."""

    @contextlib.contextmanager
    def trap(stage: Stage) -> Iterator[None]:
        def spring(call: Call) -> None:
            if call.action == action:
                stage.platform.trap = lambda _: None
                for name in WORKERS:
                    stage.services.kill(name)

        stage.platform.trap = spring
        try:
            yield
            assert stage.platform.trap is not spring, f"nobody called {action}"
        finally:
            stage.platform.trap = lambda _: None

    return trap


def answering(seconds: float, fault: Fault) -> Callable[[Stage, Run], None]:
    """Let a fault of the platform last for so long."""

    def strike(stage: Stage, run: Run) -> None:
        stage.platform.world.faults.append(fault)
        time.sleep(seconds)
        stage.platform.world.faults.remove(fault)

    return strike


def rotate_key(stage: Stage, run: Run) -> None:
    """Let the platform refuse the old key. Correct the connection half a minute later."""
    account = Account(access_key_id="new-access-key-id", secret_access_key="new-secret-access-key")
    stage.platform.world.accounts = [account]
    time.sleep(30)
    path = f"/connections/{CONNECTION}?update_mask=login&update_mask=password"
    document = {"connection_id": CONNECTION, "conn_type": "qianfan", "login": account.access_key_id}
    stage.services.call("PATCH", path, {**document, "password": account.secret_access_key})


def clocks(ahead: float) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    """Set the clocks of the workers."""
    path = f"{HERE / 'clock'}:{ROOT}"
    return lambda stage: stage.components_with(*WORKERS, PYTHONPATH=path, CLOCK_AHEAD=str(ahead))


def fill_disk(stage: Stage, run: Run) -> None:
    """Let each write to the log of a task fail, as on a full disk."""
    logs = list(run.logs.glob("*/attempt=*"))
    assert len(logs) > run.states()["deferred"]
    for log in logs:
        log.unlink()
        log.symlink_to("/dev/full")


@contextlib.contextmanager
def old_version(stage: Stage) -> Iterator[None]:
    """Run workers and triggerers with an older version of this provider."""
    folder = stage.services.home / "old"
    if not folder.exists():
        folder.mkdir()
        archive = subprocess.check_output(["git", "archive", OLD, "airflow_provider_qianfan"], cwd=ROOT)
        subprocess.run(["tar", "--extract", "--directory", folder], input=archive, check=True)
    with stage.components_with(*WORKERS, *TRIGGERERS, PYTHONPATH=f"{folder}:{ROOT}"):
        yield


def upgrade(stage: Stage, run: Run, *names: str) -> None:
    """Restart one component after the other with this version."""
    for name in names:
        del stage.environments[name]
        stage.restart(name)


HEALTH = "`[triggerer] triggerer_health_check_threshold`"
HEARTBEAT = "`[scheduler] task_instance_heartbeat_timeout`"

KILLED = (1, 20)
"""Tries that the death of a worker may use up: it runs four tasks at a time."""

CASES = (
    Case("none", lambda stage, run: None),
    Case("`kill -9` of a triggerer", lambda stage, run: stage.kill_triggerers(1), HEALTH),
    Case("`kill -9` of both triggerers", lambda stage, run: stage.kill_triggerers(2), HEALTH),
    Case("SIGTERM of a triggerer", stop_gracefully),
    Case("a triggerer hangs for a minute", hang, HEALTH),
    Case(
        "`kill -9` of a worker in first looks",
        Stage.kill_a_busy_worker,
        HEARTBEAT,
        seconds=240,
        tries=KILLED,
        early=True,
    ),
    Case(
        "`kill -9` of a worker in last looks", Stage.kill_a_busy_worker, HEARTBEAT, seconds=240, tries=KILLED
    ),
    Case(
        "`kill -9` of both workers in a creation, done and not answered",
        lambda stage, run: None,
        HEARTBEAT,
        seconds=240,
        tries=KILLED,
        early=True,
        during=killing_workers_in("CreateModelCompTask"),
    ),
    Case(
        "`kill -9` of both workers in an update, done and not answered",
        lambda stage, run: None,
        HEARTBEAT,
        seconds=240,
        tries=KILLED,
        early=True,
        during=killing_workers_in("ModifyService"),
    ),
    Case("`kill -9` of a scheduler", lambda stage, run: stage.kill("scheduler-1")),
    Case("`kill -9` of both schedulers", lambda stage, run: stage.kill("scheduler-1", "scheduler-2")),
    Case("`kill -9` of the API server", lambda stage, run: stage.kill("api-server")),
    Case("PostgreSQL is restarted", lambda stage, run: restart_database(stage)),
    Case("PostgreSQL is away for 60 s", lambda stage, run: restart_database(stage, 60), seconds=240),
    Case("Redis is restarted", restart_redis),
    Case("the platform answers 503 for two minutes", answering(120, Fault(server_error=503)), seconds=240),
    Case("the platform takes 10 s to answer, for a minute", answering(60, Fault(latency=10)), seconds=180),
    Case("the key is rotated, the connection 30 s later", rotate_key),
    Case(
        "the workers' clocks are 20 minutes ahead", lambda stage, run: None, during=clocks(1200), ahead=1200
    ),
    Case(
        "the workers' clocks are 20 minutes behind",
        lambda stage, run: None,
        during=clocks(-1200),
        ahead=-1200,
    ),
    Case("the disk for the logs is full in one try of each task", fill_disk, tries=(40, 80), logs=False),
    Case(
        "a rolling upgrade, workers first",
        lambda stage, run: upgrade(stage, run, *WORKERS, *TRIGGERERS),
        during=old_version,
    ),
    Case(
        "a rolling upgrade, triggerers first",
        lambda stage, run: upgrade(stage, run, *TRIGGERERS, *WORKERS),
        during=old_version,
    ),
)


LAST = "none, after all of these: all others end at once"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fleet_survives(stage: Stage, case: Case) -> None:
    stage.until_complete()
    stage.platform.changes.clear()
    with case.during(stage):
        run = Run(stage.services, stage.platform, "fleet", f"w{CASES.index(case):02}")
        if case.early:
            wait_until(lambda: run.states()["running"], 120)
        else:
            run.until_deferred()
            stage.until_all_stand()
        in_flight = run.states()["deferred"] + stage.standing.states()["deferred"]
        ending = run.end_compressions(ENDING)
        case.strike(stage, run)
        ending.join()
        result = run.finish(in_flight, PATIENCE, ahead=case.ahead, logs=case.logs)
    stage.check_standing(result)

    report(case.name, result, case.bound)
    assert not result.problems()
    assert max(result.delays) < case.seconds
    assert case.tries[0] <= result.tries <= case.tries[1]


def test_each_triggerer_reads_the_platform_for_itself(stage: Stage) -> None:
    """
    For each count, all of them start anew, and none has room for the waits of another.

    Airflow moves no wait to a triggerer that starts later.
    """
    waits = stage.standing.states()["deferred"]
    calls: dict[int, float] = {}
    running = TRIGGERERS
    with stage.holding(*TRIGGERERS):
        for number in (1, 2, 4):
            for name in running:
                stage.services.stop(name)
            running = [f"triggerer-{each}" for each in range(1, number + 1)]
            for name in running:
                capacity = ("--capacity", str(math.ceil(waits / number)))
                stage.services.start(name, arguments=(*COMPONENTS[TRIGGERERS[0]], *capacity))
            time.sleep(60)
            stage.until_all_stand()
            stage.expect_all_to_watch(number)
            calls[number] = stage.calls_per_interval()
        for name in running:
            stage.services.stop(name)
    write("calls", {str(number): round(found, 1) for number, found in calls.items()})
    assert calls[2] == pytest.approx(2 * calls[1], rel=0.1)
    assert calls[4] == pytest.approx(4 * calls[1], rel=0.1)


def test_all_gates_that_waited_through_all_faults_end_as_the_platform_says(stage: Stage) -> None:
    in_flight = stage.standing.states()["deferred"]
    stage.standing.end_compressions(0).join()
    result = stage.standing.finish(in_flight, PATIENCE)

    report(LAST, result, "the executor")
    assert not result.problems()


def report(name: str, result: Result, bound: str) -> None:
    """Write a row of the table."""
    row = {"fault": name, **result.row(), "bound": bound}
    print(f"\n{json.dumps(row)}\n{result.problems()}", flush=True)
    write(name, row)


def write(key: str, value: Any) -> None:
    """Add to what was measured. Rows of an earlier run stay until they are measured again."""
    ROWS.parent.mkdir(exist_ok=True)
    rows = {**(json.loads(ROWS.read_text()) if ROWS.exists() else {}), key: value}
    keys = [*(case.name for case in CASES), LAST, "calls"]
    ROWS.write_text(json.dumps({each: rows[each] for each in keys if each in rows}, indent=1))
