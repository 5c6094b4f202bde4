"""
Watchers beside waits: what they cost the platform, and how long until a DAG run has begun.

Both are watched by one account. The calls are counted in one event loop, the delay on real services.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from contextlib import AsyncExitStack, ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.text import count_of
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import Repeat, TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger
from benchmarks.server import source_of
from benchmarks.stage import airflow, until
from benchmarks.table import Result
from benchmarks.waits import clean_up, connect, option, ours, waiting
from tests.integration.deliveries import all_pages, events_of_runs, tasks_of

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.waits import Make
    from tests.integration.services import Services

INTERVAL = 3.0
SNAPSHOTS = 5
"""Readings of the steady state that are counted."""

COUNTING = 2
"""Readings before them, during which pages are still being counted."""

SOURCES = 100
PAGES = 10
CROWDS = ((0, 100), (1, 100), (10, 100), (100, 100), (1, 0), (100, 1000))
"""Watchers and waits."""

INTERVALS = (5, 15)
"""Seconds between two polls of the watchers whose delay is measured."""

FLOOR = "floor"
TASKS = 100
APART = (3.0, 5.0)
"""Seconds from one task's success to the next. So two events of the floor seldom meet."""

FASTEST = "a watcher that is told at that moment (floor)"


def run() -> list[Result]:
    """Count the calls, then measure the delay."""
    return _calls() + _delays()


# -- calls -------------------------------------------------------------------------------------------------


def _calls() -> list[Result]:
    option("requests_per_second", 10_000)
    option("request_burst", 1000)
    try:
        with ExitStack() as stack:
            servers = [stack.enter_context(_platform()) for _ in CROWDS]
            for number, server in enumerate(servers):
                connect(f"crowd_{number}", server.connection_uri)
            found = dict(zip(CROWDS, asyncio.run(_count(servers)), strict=True))
    finally:
        clean_up()
    results = []
    for crowd in CROWDS[1:]:
        base = (1, 0) if crowd[1] == 1000 else (0, crowd[1])
        if crowd == (1, 0):
            continue
        results.append(
            Result(
                row="list calls per interval",
                case=f"{_words(*crowd)}, {PAGES} pages",
                ours=found[crowd],
                peer=f"{_words(*base)} alone",
                theirs=found[base],
                unit="calls",
                target="no more",
                met=found[crowd] <= found[base],
            )
        )
    return results


def _words(watchers: int, waits: int) -> str:
    parts = [count_of(watchers, "watcher")] * (watchers > 0) + [f"{waits:,} waits"] * (waits > 0)
    return " beside ".join(parts)


def _platform() -> EmulatorServer:
    """Make a platform: each source model has a running task, and all have a history."""
    server = EmulatorServer()
    for number in range(SOURCES):
        server.world.tasks.add(TaskSpec(source_of(number), status="running"))
    past = TaskSpec(
        "amv-others",
        created=-86400.0,
        timeline=(TaskStep("succeeded", model_id="amv-past"),),
        repeat=Repeat(count=PAGES * 100 - SOURCES, every=1),
    )
    server.world.tasks.add(past)
    return server


def watcher(number: int, conn_id: str) -> Make:
    """Make a watcher as a triggerer does: from what the DAG's author wrote, each with another filter."""
    which: dict[str, Any] = (
        {"source_model_id": source_of(number)} if number % 2 else {"name_pattern": f"team-{number}-*"}
    )
    made = QianfanModelCompTaskEventTrigger(qianfan_conn_id=conn_id, poke_interval=INTERVAL, **which)
    arguments = made.serialize()[1]
    return lambda: QianfanModelCompTaskEventTrigger(**arguments)


async def _count(servers: list[EmulatorServer]) -> list[float]:
    async with AsyncExitStack() as stack:
        for number, ((watchers, waits), server) in enumerate(zip(CROWDS, servers, strict=True)):
            name = f"crowd_{number}"
            makers = [ours(wait % SOURCES, INTERVAL, name) for wait in range(waits)]
            makers += [watcher(each, name) for each in range(watchers)]
            await stack.enter_async_context(waiting(makers))
            print(f"{watchers} watchers, {waits} waits begun", flush=True)
        for _ in range(20):
            await asyncio.sleep(INTERVAL)
            if all(len(_snapshots(server)) > COUNTING + SNAPSHOTS for server in servers):
                break
    return [_steady(server) for server in servers]


def _snapshots(server: EmulatorServer) -> list[int]:
    """Count the calls of each reading: between two of them, there is a pause."""
    snapshots, last = list[int](), 0.0
    for call in list(server.world.calls):
        now = call.time.timestamp()
        if now - last > INTERVAL / 3:
            snapshots.append(0)
        snapshots[-1] += 1
        last = now
    return snapshots


def _steady(server: EmulatorServer) -> float:
    snapshots = _snapshots(server)
    print("  calls of each reading:", snapshots, flush=True)
    steady = snapshots[COUNTING:-1]  # the last may have been cut short
    if len(steady) < SNAPSHOTS - 1:
        raise RuntimeError(f"not enough readings: {snapshots}")
    return statistics.fmean(steady)


# -- delay -------------------------------------------------------------------------------------------------


def _delays() -> list[Result]:
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
                    peer=FASTEST,
                    theirs=least,
                    unit="s",
                    target="≤ 1 interval more",
                    met=mine - least <= interval,
                )
            )
    return results


def _succeed(floor: Path, servers: dict[str, EmulatorServer]) -> dict[str, float]:
    """Let tasks succeed one after the other, everywhere. Return when that was, in seconds since the epoch."""
    chance = random.Random(15)
    names = [f"amva-task{number:04}" for number in range(TASKS)]
    for server in servers.values():
        for name in names:
            server.world.tasks.add(TaskSpec(source_of(0), id=name, status="running"))
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
    delays = [begun[task] - moment for task, moment in succeeded.items() if task in begun]
    logged = sum(
        each["name"] == name
        for each in all_pages(services, "/assets/events?order_by=timestamp", "asset_events")
    )
    print(
        f"{name}: {len(delays)} of {len(succeeded)} tasks in runs, {logged} events, {late} of them late",
        flush=True,
    )
    return delays
