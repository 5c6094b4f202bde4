"""Tasks that finish while the triggerer is restarted again and again, and who hears of them."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import Repeat, TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from tests.dag_runs import AIRFLOW
from tests.integration.cells import SOURCE
from tests.integration.services import Services, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_qianfan.emulator.world import World

ROOT = str(Path(__file__).parents[2])

INTERVAL = 5.0
"""Seconds, as in the DAG."""

SECONDS_OF_A_TASK = (1, 60)
"""A short one is created and finishes between two looks."""

PARTITIONS = AIRFLOW >= (3, 3)

OLD, HISTORY = "amva-before", 150
"""Tasks that had finished the day before. They take two pages, and are no news."""

DAY = 86400.0

CLOSE = 4.0
"""Seconds. Airflow tells a trigger only some time after it has stored an event that it has."""

A_NEW_TRIGGERER = {
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "4",
}
"""A triggerer takes over the triggers of a dead one within seconds."""


How = Literal["kill", "stop"]


@dataclass(frozen=True)
class Load:
    """
    What is to happen.

    :param tasks: how many tasks finish.
    :param seconds: within how many seconds they finish, at random.
    :param restarts: how often the triggerer is restarted meanwhile. Each time its trigger has looked at least
        once since the time before.
    :param how: ``kill`` is a ``kill -9`` of all its processes, ``stop`` a SIGTERM.
    """

    tasks: int
    seconds: float
    restarts: int
    how: How


@dataclass
class Delivered:
    """
    Who heard of the tasks that finished.

    :param finished: their ids.
    :param runs: the asset events of each DAG run that were made meanwhile.
    :param log: all asset events that were made meanwhile.
    :param deployments: how many runs each model has had so far, of the DAG with a run for each model; none
        before Airflow 3.3.
    :param restarted: when each restart began, in seconds since the epoch.
    :param took: seconds from each restart to the first look of the new triggerer.
    :param meanwhile: how many restarts began before the last but one task finished.
    """

    finished: set[str]
    runs: list[list[dict[str, Any]]]
    log: list[dict[str, Any]]
    deployments: Counter[str] = field(default_factory=Counter)
    restarted: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    meanwhile: int = 0

    @property
    def missing(self) -> set[str]:
        """The tasks that are in no run's payload."""
        return self.finished - {task["id"] for events in self.runs for task in tasks_of(events)}

    @property
    def is_complete(self) -> bool:
        """Whether there is a run for each task, and one for each model."""
        return not self.missing and (not PARTITIONS or self.deployments.keys() >= self.models)

    @property
    def unlogged(self) -> set[str]:
        """The tasks that are in no event at all."""
        return self.finished - {task["id"] for task in tasks_of(self.log)}

    @property
    def history(self) -> set[str]:
        """The tasks that were reported though they had finished before the watcher was there."""
        return {task["id"] for task in tasks_of(self.log) if task["id"].startswith(OLD)}

    @property
    def repeats(self) -> int:
        """How many reports tell of a task that was reported before."""
        return sum(1 for _ in tasks_of(self.log)) - len(self.finished - self.unlogged) - len(self.history)

    @property
    def unexplained(self) -> set[str]:
        """The tasks that were reported again, although no restart followed closely on the report before."""
        reported: dict[str, float] = {}
        found = set[str]()
        for event in self.log:
            now = datetime.fromisoformat(event["timestamp"]).timestamp()
            for task in tasks_of([event]):
                before = reported.get(task["id"])
                if before and not any(before - CLOSE < at < before + CLOSE for at in self.restarted):
                    found.add(task["id"])
                reported[task["id"]] = now
        return found

    @property
    def event_ids(self) -> dict[str, set[str]]:
        """The ids for deduplication that each task's reports carry."""
        found: dict[str, set[str]] = {}
        for task in tasks_of(self.log):
            found.setdefault(task["id"], set()).add(task["event_id"])
        return found

    @property
    def models(self) -> set[str]:
        """The models that the tasks produced."""
        return {task.replace("amva-", "amv-", 1) for task in self.finished}

    @property
    def left_behind(self) -> int:
        """How many events are in the log, but in no run."""
        handed_out = {event["id"] for events in self.runs for event in events}
        return sum(event["id"] not in handed_out for event in self.log)

    @property
    def late(self) -> int:
        """How many events reached a run only together with the next event."""
        return sum(len(events) - 1 for events in self.runs if events)

    @property
    def twice(self) -> int:
        """How many events reached a second run."""
        return sum(map(len, self.runs)) - len({event["id"] for events in self.runs for event in events})

    def __str__(self) -> str:
        took = ", ".join(f"{seconds:.0f}" for seconds in self.took)
        return (
            f"{len(self.finished)} tasks finished, {len(self.missing)} missing in the runs' payloads,"
            f" {len(self.unlogged)} in the event log; {len(self.log)} events; {self.repeats} tasks repeated,"
            f" {len(self.unexplained)} without a restart within {CLOSE:.0f} s of the report before;"
            f" {len(self.runs)} runs; events: {self.left_behind} left behind, {self.late} late,"
            f" {self.twice} handed out twice; {self.deployments.total()} deployments in all, of"
            f" {len(self.deployments)} models; {self.meanwhile} of {len(self.took)} restarts while tasks"
            f" finished, seconds from each to the next look: {took}"
        )


def tasks_of(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the tasks in the payloads of asset events."""
    for event in events:
        yield from event["extra"]["payload"]["tasks"]


@contextmanager
def watching(home: Path, name: str, dags: Iterable[Path]) -> Iterator[tuple[Services, World]]:
    """
    Start a platform with a history, and services with a watcher that has looked at it.

    :param name: the name of the watcher, which is also the id of its connection, asset and DAG.
    """
    (home / "dags").mkdir()
    for dag in dags:
        (home / "dags" / dag.name).write_text(dag.read_text(encoding="utf-8"), encoding="utf-8")
    with EmulatorServer() as server:
        past = TaskStep("succeeded", model_id="amv-before{n}")
        old = TaskSpec(SOURCE, id=OLD + "{n}", created=-DAY, timeline=(past,), repeat=Repeat(count=HISTORY))
        server.world.tasks.add(old)
        environment = {
            f"AIRFLOW_CONN_{name.upper()}": server.connection_uri,
            "PYTHONPATH": ROOT,
            "WATCHERS": name,
            **A_NEW_TRIGGERER,
        }
        with Services(home, environment) as services:
            wait_until(lambda: server.world.calls)
            time.sleep(INTERVAL)
            yield services, server.world


def deliver(services: Services, world: World, name: str, load: Load) -> Delivered:
    """Let tasks finish, restart the triggerer meanwhile, and read what came of it."""
    chance = random.Random(15)  # the same moments each time
    before = {event["id"] for event in events_of(services, name)}
    finished, began = set[str](), time.monotonic()
    moments = sorted(chance.uniform(0, load.seconds) for _ in range(load.tasks - 1))
    # Airflow hands out an event that it left behind only with the next. So the last task finishes apart.
    for number, moment in enumerate([*moments, load.seconds + 3 * INTERVAL]):
        finished.add(_add(world, f"{load.how}{number:04}", moment, chance))

    restarts, took, meanwhile = list[float](), list[float](), 0
    for _ in range(load.restarts):
        time.sleep(chance.uniform(0, INTERVAL))
        restarts.append(time.time())
        meanwhile += time.monotonic() < began + load.seconds
        getattr(services, load.how)("triggerer")
        services.start("triggerer")
        looks, restarted = len(world.calls), time.monotonic()
        wait_until(lambda: len(world.calls) > looks)  # noqa: B023  called at once
        took.append(time.monotonic() - restarted)

    time.sleep(max(0.0, began + load.seconds + 4 * INTERVAL - time.monotonic()))
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: _read(services, name, finished, before).is_complete, 180)
    time.sleep(2 * INTERVAL)  # for a repeat
    found = _read(services, name, finished, before)
    found.restarted, found.took, found.meanwhile = restarts, took, meanwhile
    print(f"\n{load}: {found}", flush=True)
    return found


def _add(world: World, number: str, moment: float, chance: random.Random) -> str:
    created = max(0.0, moment - chance.uniform(*SECONDS_OF_A_TASK))
    success = TaskStep("succeeded", after=moment - created, model_id=f"amv-{number}")
    timeline = (TaskStep("running"), success) if success.after else (success,)
    return world.tasks.add(TaskSpec(SOURCE, id=f"amva-{number}", created=created, timeline=timeline))


def events_of(services: Services, name: str) -> list[dict[str, Any]]:
    """Read the event log of an asset."""
    log = all_pages(services, "/assets/events?order_by=timestamp", "asset_events")
    return [event for event in log if event["name"] == name]


def _read(services: Services, name: str, finished: set[str], before: set[int]) -> Delivered:
    runs = [
        [event for event in events if event["id"] not in before]
        for _, events in events_of_runs(services, name)
    ]
    log = [event for event in events_of(services, name) if event["id"] not in before]
    keys = Counter[str]()
    if PARTITIONS:
        deployments = all_pages(services, f"/dags/{name}_deploy/dagRuns?order_by=id", "dag_runs")
        keys.update(run["partition_key"] for run in deployments)
    return Delivered(finished, [events for events in runs if events], log, keys)


def events_of_runs(services: Services, dag_id: str) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yield each run of a DAG, and the asset events that it was handed."""
    for run in all_pages(services, f"/dags/{dag_id}/dagRuns?order_by=id", "dag_runs"):
        path = f"/dags/{dag_id}/dagRuns/{quote(run['dag_run_id'], safe='')}/upstreamAssetEvents"
        yield run, services.get(path)["asset_events"]


def all_pages(services: Services, path: str, key: str) -> list[dict[str, Any]]:
    """Read a whole list from Airflow's API."""
    found: list[dict[str, Any]] = []
    while True:
        page = services.get(f"{path}&limit=100&offset={len(found)}")
        found += page[key]
        if len(found) >= page["total_entries"]:
            return found
