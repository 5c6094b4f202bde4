"""
What waits cost a triggerer while nothing happens: memory, and processor time.

Each measurement is taken in a new process that has had a wait before, so that no import is counted. Memory is
what was allocated since the waits began, by ``tracemalloc``, which is then switched off; it is measured for
the lesser number.
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
WINDOW = 3 * INTERVAL
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
LEAST_WAITS, MOST_WAITS = 1000, 3000
MOST_MEMORY = 1.3


def run() -> list[Result]:
    """Measure one after the other."""
    results = []
    for waits in (LEAST_WAITS, MOST_WAITS):
        found: dict[str, tuple[float, float, float]] = {}
        for kind in KINDS:
            if kind == "unshared" and waits == MOST_WAITS:
                continue  # to begin and end so many takes minutes
            found[kind] = load, memory, calls = apart("load", kind, waits)
            print(
                f"  {waits} {kind}: {load:.2f} % of a core, {memory:.2f} KiB a wait, {calls} calls",
                flush=True,
            )
        load, memory, _ = found.pop("ours")
        case = f"{waits:,} waits, every {INTERVAL:g} s"
        for kind, (their_load, _, calls) in found.items():
            wanted = waits * WINDOW / INTERVAL
            late = (
                f"{NAMES[kind]} made {calls:,.0f} of {wanted:,.0f} calls" if 0 < calls < 0.9 * wanted else ""
            )
            results.append(
                Result(
                    row="processor, merely waiting",
                    case=case,
                    ours=load,
                    peer=NAMES[kind],
                    theirs=their_load,
                    unit="% of a core",
                    target=f"≤ {MOST_LOAD:g} % of a core at {MOST_WAITS:,} waits",
                    met=load <= MOST_LOAD,
                    note=f"{NAMES[kind]} made {calls:,} of {wanted:,.0f} calls" if late else "",
                )
            )
        for kind, (_, their_memory, _) in found.items() if waits == LEAST_WAITS else ():
            floor = kind == "idle"
            results.append(
                Result(
                    row="memory of a wait",
                    case=case,
                    ours=memory,
                    peer=NAMES[kind],
                    theirs=their_memory,
                    unit="KiB",
                    target=f"≤ {MOST_MEMORY} × the floor" if floor else "",
                    met=memory <= MOST_MEMORY * their_memory if floor else None,
                )
            )
    return results


async def _measure(make: Callable[[int, float], Make], waits: int) -> tuple[float, float, float]:
    await warm_up(make(0, 1.0), 2)
    makers = [make(number, INTERVAL) for number in range(waits)]
    if waits == LEAST_WAITS:  # it slows down, which thousands that poll for themselves cannot afford
        tracemalloc.start()
    async with waiting(makers) as tasks:
        await asyncio.sleep(1.5 * INTERVAL)
        gc.collect()
        memory = tracemalloc.get_traced_memory()[0] / waits / 1024
        tracemalloc.stop()
        began, used = time.time(), time.process_time()
        await asyncio.sleep(WINDOW)
        load = 100 * (time.process_time() - used) / (time.time() - began)
        if any(task.done() for task in tasks):
            raise RuntimeError("a wait ended")
    return load, memory, began


def _one(kind: str, waits: int) -> tuple[float, float, int]:
    try:
        with Server(World(sources=SOURCES, own=SOURCES, others=SOURCES)) as server:
            connect("qianfan_default", server.connection("qianfan"))
            connect("http_default", server.connection("http"))
            for number in range(waits):
                connect(f"apart_{number}", server.connection("qianfan", login=f"id{number}"))
            load, memory, began = asyncio.run(_measure(KINDS[kind], waits))
            calls = sum(began <= call.time < began + WINDOW for call in server.calls())
            return load, memory, calls
    finally:
        clean_up()


if __name__ == "__main__":
    report(_one(sys.argv[1], int(sys.argv[2])))
