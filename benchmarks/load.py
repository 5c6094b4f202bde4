"""
The cost of waits to a triggerer while nothing happens: memory and processor time.

Each measurement runs in a new process that has had a wait before, so that no import counts. Memory is
everything allocated since the waits began, by ``tracemalloc``. Processor time is measured in another process:
cleaning up after ``tracemalloc`` takes milliseconds, and the C library delays some of that.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import tracemalloc
from typing import TYPE_CHECKING

from benchmarks.server import Server, World
from benchmarks.table import Result
from benchmarks.waits import (
    apart,
    clean_up,
    connect,
    http_sensor,
    idle,
    ours,
    report,
    waiting,
    warm_up,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.waits import Make

INTERVAL = 5.0
WINDOW = 6 * INTERVAL
"""Seconds. In a shorter window, one reading more or less would matter too much."""
SOURCES = 100
KINDS: dict[str, Callable[[int, float], Make]] = {
    "ours": lambda number, interval: ours(number % SOURCES, interval),
    "idle": lambda number, interval: idle(number % SOURCES, interval),
    "unshared": lambda number, interval: ours(number % SOURCES, interval, f"apart_{number}"),
    "http": http_sensor,
}
NAMES = {
    "idle": "as many that await an event (floor)",
    "unshared": "ours without sharing",
    "http": "HttpSensorTrigger",
}
MOST_LOAD = 5.0
WAITS = (1000, 3000)
MOST_MEMORY = 1.3


def run() -> list[Result]:
    """Measure one after the other."""
    return [*_loads(), *_memories()]


def _loads() -> list[Result]:
    results = []
    for waits in WAITS:
        found: dict[str, tuple[float, int]] = {}
        for kind in KINDS:
            if kind == "unshared" and waits == max(WAITS):
                continue  # beginning and ending so many takes minutes
            load, calls = found[kind] = apart("load", "load", kind, waits)
            print(f"  {waits} {kind}: {load:.2f} % of a core, {calls} calls", flush=True)
        load, _ = found.pop("ours")
        for kind, (their_load, calls) in found.items():
            wanted = waits * WINDOW / INTERVAL
            late = 0 < calls < 0.9 * wanted
            results.append(
                Result(
                    row="processor, merely waiting",
                    case=_case(waits),
                    ours=load,
                    peer=NAMES[kind],
                    theirs=their_load,
                    unit="% of a core",
                    target=f"≤ {MOST_LOAD:g} % of a core at {max(WAITS):,} waits",
                    met=load <= MOST_LOAD,
                    note=f"{NAMES[kind]} made {calls:,} of {wanted:,.0f} calls" if late else "",
                )
            )
    return results


def _memories() -> list[Result]:
    waits = min(WAITS)  # tracing is slow: thousands of waits that each poll could not keep up
    found: dict[str, float] = {}
    for kind in KINDS:
        found[kind], calls = apart("load", "memory", kind, waits)
        print(f"  {waits} {kind}: {found[kind]:.2f} KiB a wait, {calls} calls", flush=True)
    memory = found.pop("ours")
    return [
        Result(
            row="memory of a wait",
            case=_case(waits),
            ours=memory,
            peer=NAMES[kind],
            theirs=their_memory,
            unit="KiB",
            target=f"≤ {MOST_MEMORY} × the floor" if kind == "idle" else "",
            met=memory <= MOST_MEMORY * their_memory if kind == "idle" else None,
        )
        for kind, their_memory in found.items()
    ]


def _case(waits: int) -> str:
    return f"{waits:,} waits, every {INTERVAL:g} s"


async def _measure(measure: str, make: Callable[[int, float], Make], waits: int) -> tuple[float, float]:
    await warm_up(make(0, 1.0), 2)
    makers = [make(number, INTERVAL) for number in range(waits)]
    if measure == "memory":
        tracemalloc.start()
    async with waiting(makers) as tasks:
        await asyncio.sleep(1.5 * INTERVAL)
        gc.collect()
        began, used = time.time(), time.process_time()
        found = tracemalloc.get_traced_memory()[0] / waits / 1024
        await asyncio.sleep(WINDOW)
        if measure == "load":
            found = 100 * (time.process_time() - used) / (time.time() - began)
        if any(task.done() for task in tasks):
            raise RuntimeError("a wait ended")
    return found, began


def _one(measure: str, kind: str, waits: int) -> tuple[float, int]:
    try:
        with Server(World(sources=SOURCES, own=SOURCES, others=SOURCES)) as server:
            connect("qianfan_default", server.connection("qianfan"))
            connect("http_default", server.connection("http"))
            for number in range(waits):
                connect(f"apart_{number}", server.connection("qianfan", login=f"id{number}"))
            found, began = asyncio.run(_measure(measure, KINDS[kind], waits))
            return found, sum(began <= call.time < began + WINDOW for call in server.calls())
    finally:
        clean_up()


if __name__ == "__main__":
    report(_one(sys.argv[1], sys.argv[2], int(sys.argv[3])))
