"""A thousand waits in a real triggerer with a PostgreSQL; and as many that wait for a file."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import psutil

from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from benchmarks.flag import FlagTrigger
from benchmarks.stage import Database, airflow, our_trigger, started, until
from benchmarks.table import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from airflow.triggers.base import BaseTrigger

    from tests.integration.services import Services

TASKS, RUNS = 20, 50
WAITS = TASKS * RUNS
INTERVAL = 5.0
"""Seconds between two readings of the platform, and between two looks for the file."""

WATCHED = 15.0
"""Seconds for which the waiting crowd is watched."""

ROUNDS = 2

MOST = 1.1
"""Ours may take at most this many times the floor."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one crowd."""

    load: float
    cpu: float
    rss: float
    fired: float
    stall: float


def run() -> list[Result]:
    """Measure the floor and us in turn, each time in a fresh triggerer."""
    with EmulatorServer() as server:
        environment = {
            "AIRFLOW_CONN_QIANFAN_DEFAULT": server.connection_uri,
            "BENCH_TASKS": str(TASKS),
            # Any stall that exceeds the watchdog's own rounding.
            "AIRFLOW__TRIGGERER__BLOCKED_MAIN_THREAD_WARNING_THRESHOLD": "0.11",
        }
        with airflow("crowd_dag.py", ("api-server", "dag-processor"), environment) as services:
            rounds = [(_floor(services, number), _ours(services, server)) for number in range(ROUNDS)]
    print(*rounds, sep="\n")
    floor, ours = (_together(kind) for kind in zip(*rounds, strict=True))
    case = f"{WAITS:,} waits, an interval of {INTERVAL:.0f} s"
    peer = "triggers that share a look for a file (floor)"
    target = f"≤ {MOST} × the floor"
    results = []
    for row, name, unit in (
        ("from inserted to all triggers running", "load", "s"),
        ("from the answer to all events in the database", "fired", "s"),
        ("memory of the trigger runner (RSS)", "rss", "MiB"),
    ):
        mine, least = getattr(ours, name), getattr(floor, name)
        note = f"the better of {ROUNDS} rounds"
        if name == "fired":
            note += "; just after a look, so that a whole interval passes"
        results.append(Result(row, case, mine, peer, least, unit, target, mine <= MOST * least, note))
    results.append(
        Result(
            "longest stall that the triggerer logs",
            case,
            ours.stall,
            peer,
            floor.stall,
            "s",
            note="0: none above 0.11 s",
        )
    )
    results.append(
        Result(
            "CPU of the trigger runner while all wait",
            case,
            ours.cpu,
            peer,
            floor.cpu,
            "% of a core",
            note=f"ours reads {WAITS // 100} pages an interval",
        )
    )
    return results


def _together(measured: Sequence[Measured]) -> Measured:
    """Take the better times, because other processes can only lengthen them, but the longest stall."""
    values = [asdict(each) for each in measured]
    best = {name: min(each[name] for each in values) for name in values[0]}
    return Measured(**best | {"stall": max(each.stall for each in measured)})


def _floor(services: Services, number: int) -> Measured:
    flag = services.home / f"flag{number}"
    looks = flag.with_suffix(".looks")
    triggers = [FlagTrigger(path=str(flag), every=INTERVAL) for _ in range(WAITS)]
    return _measure(services, triggers, lambda: looks.stat().st_size, flag.touch)


def _ours(services: Services, server: EmulatorServer) -> Measured:
    world = server.world
    world.reset()
    tasks = [world.tasks.add(TaskSpec(f"amv-source{number}", status="running")) for number in range(WAITS)]
    triggers = [our_trigger("qianfan_default", f"amv-source{number}", INTERVAL) for number in range(WAITS)]

    def release() -> None:
        for number, task in enumerate(tasks):
            world.tasks.change(task, TaskStep(status="succeeded", model_id=f"amv-made{number}"))

    # A look is over when the list's pages have been read.
    return _measure(services, triggers, lambda: len(world.calls) // (WAITS // 100), release)


def _measure(
    services: Services, triggers: list[BaseTrigger], looks: Callable[[], int], release: Callable[[], None]
) -> Measured:
    database, log = Database(services), services.home / "triggerer.log"
    # In runs of a small DAG: Airflow reads the whole DAG again for each trigger that it loads.
    runs = [services.trigger("crowd") for _ in range(RUNS)]
    tasks = [(run, f"wait_{number}") for run in runs for number in range(TASKS)]
    logged = log.stat().st_size if log.exists() else 0
    with _runner(services) as runner:
        began = database.defer(dict(zip(tasks, triggers, strict=True)))
        until(lambda: database.assigned() == WAITS, 120, "all assigned")
        until(lambda: len(started(services.home, runs)) == WAITS, 60, "all started", every=1)
        load = max(started(services.home, runs)) - began
        time.sleep(2 * INTERVAL)
        before, since = sum(runner.cpu_times()[:2]), time.monotonic()
        time.sleep(WATCHED)
        cpu = 100 * (sum(runner.cpu_times()[:2]) - before) / (time.monotonic() - since)
        rss = runner.memory_info().rss / 2**20
        seen = looks()
        until(lambda: looks() > seen, 3 * INTERVAL, "a look", every=0.005)
        release()
        released = time.monotonic()
        until(lambda: database.deferred() == 0, 180, "all events")
        fired = time.monotonic() - released
    return Measured(load, cpu, rss, fired, _longest_stall(log, logged))


@contextmanager
def _runner(services: Services) -> Iterator[psutil.Process]:
    """Start a triggerer. Yield the process that runs the triggers."""
    log = services.home / "triggerer.log"
    before = log.stat().st_size if log.exists() else 0
    process = services.start("triggerer")
    try:
        until(lambda: log.exists() and "Starting the triggerer" in _since(log, before), 60, "a triggerer")
        time.sleep(3)
        children = psutil.Process(process.pid).children()
        yield max(children, key=lambda child: child.create_time())
    finally:
        process.terminate()
        process.wait(30)


def _since(log: Path, position: int) -> str:
    return log.read_bytes()[position:].decode(errors="replace")


def _longest_stall(log: Path, position: int) -> float:
    return max(map(float, re.findall(r"blocked for ([\d.]+) seconds", _since(log, position))), default=0.0)
