"""
How long an event loop with many waits keeps others waiting, on a server that answers in one second.

A heartbeat asks for its turn every 5 ms; how late it gets it is measured while waits are begun and get their
first answer, and while they merely wait, in a process that has had a wait before: no import is counted. The
floor is as many triggers that await an event. The peers ask synchronously, one second each: ten must do.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from typing import TYPE_CHECKING

from benchmarks.server import Server, World
from benchmarks.table import Result
from benchmarks.waits import airbyte, apart, begin, clean_up, connect, idle, openai, ours, report, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.waits import Make

BEAT = 0.005
INTERVAL = 3.0
SOURCES = 100
WAITING = 10.0
"""Seconds: three snapshots."""
ROUNDS = 3
PEER_WAITS = 10
KINDS: dict[str, Callable[[int, float], Make]] = {
    "ours": lambda number, interval: ours(number % SOURCES, interval),
    "idle": lambda number, interval: idle(number % SOURCES, interval),
    "airbyte": airbyte,
    "openai": openai,
}
LOADING = "longest stall of the event loop, while waits begin"
MERELY = "longest stall of the event loop, merely waiting"
LEAST = 0.05


def run() -> list[Result]:
    """Measure ours and the floor in turns, each time in a new process."""
    results = []
    merely: dict[int, float] = {}
    for waits in (1000, 10_000):
        rounds: dict[str, list[tuple[float, float]]] = {"ours": [], "idle": []}
        for number in range(ROUNDS):
            for kind, found in rounds.items():
                load, waiting = apart("stall", kind, waits, 0 if number else WAITING)
                print(f"  {waits} {kind}: {load:.3f} s, {waiting:.3f} s", flush=True)
                found.append((load, waiting))
        load, floor = (statistics.median(load for load, _ in found) for found in rounds.values())
        merely[waits], least = (found[0][1] for found in rounds.values())
        case, peer = f"{waits:,} waits", "as many that await an event (floor)"
        results += [
            Result(LOADING, case, load, peer, floor, "s", "≤ 1.2 × the floor", load <= 1.2 * floor),
            Result(MERELY, case, merely[waits], peer, least, "s", f"< {LEAST} s", merely[waits] < LEAST),
        ]
    for kind, peer in (("airbyte", "AirbyteSyncTrigger"), ("openai", "OpenAIBatchTrigger")):
        load, waiting = apart("stall", kind, PEER_WAITS, 2 * PEER_WAITS)
        print(f"  {PEER_WAITS} {kind}: {load:.3f} s, {waiting:.3f} s", flush=True)
        case = f"1,000 waits of ours, {PEER_WAITS} of the peer"
        results += [
            Result(MERELY, case, merely[1000], peer, waiting, "s", f"< {LEAST} s", merely[1000] < LEAST)
        ]
    return results


async def _measure(makers: list[Make], waiting: float) -> tuple[float, float]:
    await warm_up(makers[0], 1.5 * INTERVAL)
    late: list[float] = []
    heart = asyncio.create_task(_beat(late))
    tasks = await begin(makers)
    await asyncio.sleep(1.5 * INTERVAL)
    load = max(late)
    late[:] = [0.0]
    await asyncio.sleep(waiting)
    merely = max(late)
    if any(task.done() for task in tasks):
        raise RuntimeError(f"a wait ended: {next(task for task in tasks if task.done())}")
    for task in (heart, *tasks):
        task.cancel()
    await asyncio.wait([heart, *tasks])
    return load, merely


async def _beat(late: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + BEAT
        await asyncio.sleep(BEAT)
        late.append(loop.time() - due)


def _one(kind: str, waits: int, waiting: float) -> tuple[float, float]:
    try:
        with Server(World(sources=SOURCES, own=SOURCES, others=SOURCES, latency=1.0)) as server:
            connect("qianfan_default", server.connection("qianfan"))
            connect("airbyte_default", server.connection("airbyte", login=""))
            connect("openai_default", server.connection("openai"))
            return asyncio.run(_measure([KINDS[kind](number, INTERVAL) for number in range(waits)], waiting))
    finally:
        clean_up()


if __name__ == "__main__":
    report(_one(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
