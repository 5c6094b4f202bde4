"""
List calls per interval, in the steady state: after the pages have been counted.

A peer polls once per wait and interval, whatever the list holds. The last row is ours without sharing: each
wait has its own key.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING

from airflow_provider_qianfan.api.text import count_of
from benchmarks.server import PAGE, Server, World
from benchmarks.table import Result
from benchmarks.waits import clean_up, connect, http_sensor, option, ours, waiting

if TYPE_CHECKING:
    from benchmarks.server import Call

SOURCES = (1, 100, 1000)
PAGES = (1, 10, 100)
INTERVAL = 3.0
COUNTING = 2
"""Snapshots during which pages are still being counted."""

PATIENCE = 40
"""The most intervals to wait for enough snapshots: thousands of waits take long to begin."""

HTTP_INTERVALS = {1000: 5.0, 10_000: 25.0}
"""Seconds between two polls of an HTTP sensor. One process could not send them faster."""

UNSHARED = 200


def run() -> list[Result]:
    """Count the calls."""
    option("requests_per_second", 10_000)
    option("request_burst", 1000)
    try:
        results = []
        worlds = [(sources, pages) for sources in SOURCES for pages in PAGES]
        for waits, together in (
            (1000, worlds),
            (10_000, worlds[:3]),
            (10_000, worlds[3:6]),
            (10_000, worlds[6:]),
        ):
            print(f"{waits} waits: sources, pages: {together}", flush=True)
            results += _shared(waits, together)
        polls = {waits: _http(waits) for waits in HTTP_INTERVALS}
        return [
            Result(
                row="list calls per interval",
                case=case,
                ours=calls,
                peer="HttpSensorTrigger",
                theirs=polls[waits],
                unit="calls",
                target=f"exactly {least}",
                met=calls == least,
            )
            for waits, case, calls, least in results
        ] + [_unshared()]
    finally:
        clean_up()


def _world(sources: int, pages: int) -> World:
    """Make a list. A tenth of it belongs to the waits' source models."""
    return World(sources=sources, own=pages * PAGE // 10, others=pages * PAGE * 9 // 10)


def _least(world: World) -> int:
    per_source = [-(-len(range(number, world.own, world.sources)) // PAGE) for number in range(world.sources)]
    return min(sum(max(1, pages) for pages in per_source), -(-(world.own + world.others) // PAGE))


def _shared(waits: int, together: list[tuple[int, int]]) -> list[tuple[int, str, float, int]]:
    worlds = [_world(*each) for each in together]
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(world)) for world in worlds]
        for number, server in enumerate(servers):
            connect(f"world_{number}", server.connection("qianfan"))
        asyncio.run(_wait(waits, worlds, servers))
        per_interval = [_steady(server.calls()) for server in servers]
    cases = [
        f"{waits:,} waits for {count_of(sources, 'source model')}, {count_of(pages, 'page')}"
        for sources, pages in together
    ]
    least = map(_least, worlds)
    return list(zip([waits] * len(together), cases, per_interval, least, strict=True))


async def _wait(waits: int, worlds: list[World], servers: list[Server]) -> None:
    async with AsyncExitStack() as stack:
        for number, world in enumerate(worlds):
            makers = [ours(wait % world.sources, INTERVAL, f"world_{number}") for wait in range(waits)]
            await stack.enter_async_context(waiting(makers))
        for _ in range(PATIENCE):
            await asyncio.sleep(INTERVAL)
            calls = [await asyncio.to_thread(server.calls) for server in servers]
            if all(len(_snapshots(each)) > COUNTING + 2 for each in calls):
                break


def _steady(calls: list[Call]) -> float:
    """Return how many calls a snapshot takes: the number if all take the same, otherwise the mean."""
    snapshots = _snapshots(calls)
    print("  calls of each snapshot:", snapshots, flush=True)
    steady = snapshots[COUNTING:-1]  # the last may have been cut short
    if len(steady) < 2:
        raise RuntimeError(f"not enough snapshots: {snapshots}")
    return sum(steady) / len(steady)


def _snapshots(calls: list[Call]) -> list[int]:
    """Count the calls of each snapshot."""
    snapshots, begun = list[int](), set[str]()
    for call in calls:
        first = not call.marker
        if not snapshots or (first and call.source in begun):  # the same list again: the next snapshot
            snapshots.append(0)
            begun.clear()
        if first:
            begun.add(call.source)
        snapshots[-1] += 1
    return snapshots


def _http(waits: int) -> float:
    interval = HTTP_INTERVALS[waits]
    print(f"HttpSensorTrigger: {waits} waits, each {interval} s", flush=True)

    async def steps() -> float:
        async with waiting(http_sensor(number, interval) for number in range(waits)):
            began = time.time()
            await asyncio.sleep(2 * interval)
            return began

    with Server(World()) as server:
        connect("http_default", server.connection("http"))
        began = asyncio.run(steps())
        return sum(interval <= call.time - began < 2 * interval for call in server.calls())


def _unshared() -> Result:
    print(f"{UNSHARED} waits, with sharing and without", flush=True)
    world = World(sources=UNSHARED, own=UNSHARED)
    with Server(world) as together, Server(world) as apart:
        connect("world_0", together.connection("qianfan"))
        for number in range(UNSHARED):
            connect(f"apart_{number}", apart.connection("qianfan", login=f"id{number}"))

        async def steps() -> float:
            async with waiting(ours(number, INTERVAL, f"apart_{number}") for number in range(UNSHARED)):
                began = time.time()
                await asyncio.sleep(4 * INTERVAL)
                return began

        asyncio.run(_wait(UNSHARED, [world], [together]))
        began = asyncio.run(steps())
        alone = sum(2 * INTERVAL <= call.time - began < 3 * INTERVAL for call in apart.calls())
        calls = _steady(together.calls())
    return Result(
        row="list calls per interval",
        case=f"{UNSHARED} waits for {UNSHARED} source models, 2 pages",
        ours=calls,
        peer="ours without sharing",
        theirs=alone,
        unit="calls",
        target=f"exactly {_least(world)}",
        met=calls == _least(world),
    )
