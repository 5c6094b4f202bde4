"""Calls of the platform for watchers beside waits that share a connection, as the emulator counts them."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import AsyncExitStack, ExitStack

from airflow_provider_qianfan.api.text import count_of
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import Repeat, TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from benchmarks.server import source_of
from benchmarks.table import Result
from benchmarks.waits import clean_up, connect, option, ours, waiting, watcher

INTERVAL = 3.0
SNAPSHOTS = 5
"""Readings of the steady state that are counted."""

COUNTING = 2
"""Readings before them, during which pages are still being counted."""

SOURCES = 100
PAGES = 10
AGAINST = {(1, 100): (0, 100), (10, 100): (0, 100), (100, 100): (0, 100), (100, 1000): (1, 0)}
"""Watchers and waits, and those whose calls theirs are compared with."""

CROWDS = list(dict.fromkeys([*AGAINST, *AGAINST.values()]))


def run() -> list[Result]:
    """Count the calls."""
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
    return [
        Result(
            row="list calls per interval",
            case=f"{_words(*crowd)}, {count_of(PAGES, 'page')}",
            ours=found[crowd],
            peer=f"{_words(*other)} alone",
            theirs=found[other],
            unit="calls",
            target="no more",
            met=found[crowd] <= found[other],
        )
        for crowd, other in AGAINST.items()
    ]


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


async def _count(servers: list[EmulatorServer]) -> list[float]:
    async with AsyncExitStack() as stack:
        for number, (watchers, waits) in enumerate(CROWDS):
            name = f"crowd_{number}"
            makers = [ours(wait % SOURCES, INTERVAL, name) for wait in range(waits)]
            makers += [watcher(each, SOURCES, INTERVAL, name) for each in range(watchers)]
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
