"""From a success on the platform to the start of the DAG run that a watcher starts, on real services."""

from __future__ import annotations

import random
import statistics
import time
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from benchmarks.stage import airflow, until
from benchmarks.table import Result
from tests.integration.deliveries import events_of, events_of_runs, tasks_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.services import Services

INTERVALS = (5, 15)
"""Seconds between two looks of each watcher."""

FLOOR = "floor"
TASKS = 100
APART = (3.0, 5.0)
"""Seconds from one success to the next. So two events of the floor seldom meet."""

PEER = "a watcher that is told at that moment (floor)"


def run() -> list[Result]:
    """Let tasks succeed on platforms, and in a file that the floor watches."""
    with ExitStack() as stack:
        servers = {f"every_{each}": stack.enter_context(EmulatorServer()) for each in INTERVALS}
        environment = {f"AIRFLOW_CONN_{name.upper()}": each.connection_uri for name, each in servers.items()}
        environment["BENCH_WATCHERS"] = " ".join(map(str, INTERVALS))
        parts = ("api-server", "dag-processor", "triggerer", "scheduler")
        services = stack.enter_context(airflow("watchers_dag.py", parts, environment))
        until(lambda: all(server.world.calls for server in servers.values()), 120, "a look")
        looks = (services.home / FLOOR).with_suffix(".looks")
        until(looks.exists, 60, "a look at the file")
        time.sleep(max(INTERVALS))
        succeeded = _succeed(services.home / FLOOR, servers)
        time.sleep(max(INTERVALS) + 15)
        delays = {name: _delays_of(services, name, succeeded) for name in (*servers, FLOOR)}
    results = []
    for name, which in (("median", 49), ("99th percentile", 98)):
        least = statistics.quantiles(delays[FLOOR], n=100)[which]
        for interval in INTERVALS:
            mine = statistics.quantiles(delays[f"every_{interval}"], n=100)[which]
            results.append(
                Result(
                    row=f"from success to the DAG run's start, {name}",
                    case=f"{len(succeeded)} tasks, a watcher with an interval of {interval} s",
                    ours=mine,
                    peer=PEER,
                    theirs=least,
                    unit="s",
                    target="≤ 1 interval more",
                    met=mine - least <= interval,
                )
            )
    return results


def _succeed(floor: Path, servers: dict[str, EmulatorServer]) -> dict[str, float]:
    """Let tasks succeed one after the other. Return when that was, in seconds since the epoch."""
    chance = random.Random(15)  # noqa: S311  the same moments each time
    names = [f"amva-task{number:04}" for number in range(TASKS)]
    for server in servers.values():
        for name in names:
            server.world.tasks.add(TaskSpec("amv-source0", id=name, status="running"))
    succeeded = {}
    for name in names:
        time.sleep(chance.uniform(*APART))
        for server in servers.values():
            server.world.tasks.change(name, TaskStep("succeeded", model_id=name.replace("amva", "amv")))
        with floor.open("a") as file:
            file.write(f"{name}\n")
        succeeded[name] = time.time()
    return succeeded


def _delays_of(services: Services, name: str, succeeded: dict[str, float]) -> list[float]:
    """Return the seconds from each success to the start of the first run whose payload has it."""
    begun: dict[str, float] = {}
    late = 0
    for run, events in events_of_runs(services, name):
        late += len(events) - 1
        for task in tasks_of(events):
            begun.setdefault(task["id"], datetime.fromisoformat(run["start_date"]).timestamp())
    print(f"{name}: {len(events_of(services, name))} events, {late} of them only with the next", flush=True)
    if missing := succeeded.keys() - begun.keys():
        raise RuntimeError(f"{name}: no run heard of {sorted(missing)}")
    return [begun[task] - moment for task, moment in succeeded.items()]
