"""
How long an event loop with many waits makes others wait, if the server takes one second to answer.

A heartbeat asks for its turn every 5 ms. The benchmark measures how late the turn comes: while waits begin
and get their first answer, and while they only wait. The process has had a wait before, so that no import
counts. The floor is the same number of triggers that await an event. The peers ask synchronously, one second
each, so there are only five of them.
"""

from __future__ import annotations

import asyncio
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
LOADING_FOR = 1.5 * INTERVAL
"""Seconds after the last wait has begun. The first answers arrive within that time."""
WAITING_FOR = 6.5
"""Seconds. They are long enough for two snapshots."""
ROUNDS = 3
"""The least stall of all rounds counts: other work on the machine can only lengthen it."""
PEER_WAITS = 5
KINDS: dict[str, Callable[[int, float], Make]] = {
    "ours": lambda number, interval: ours(number % SOURCES, interval),
    "idle": lambda number, interval: idle(number % SOURCES, interval),
    "airbyte": airbyte,
    "openai": openai,
}
LOADING = "longest stall of the event loop, while waits begin"
MERELY = "longest stall of the event loop, merely waiting"
LEAST = 0.05
MOST = 1.2
COLLECTING = (
    "it is Python's garbage collection, which looks at all objects at once; a wait has some more of them"
)


def run() -> list[Result]:
    """Measure ours and the floor in turn, each time in a new process."""
    results = []
    merely: dict[int, float] = {}
    for waits in (1000, 10_000):
        rounds: dict[str, list[tuple[float, float]]] = {"ours": [], "idle": []}
        for _ in range(ROUNDS):
            for kind, found in rounds.items():
                found.append(_apart(kind, waits))
        load, merely[waits] = map(min, zip(*rounds["ours"], strict=True))
        floor, least = map(min, zip(*rounds["idle"], strict=True))
        case, peer = f"{waits:,} waits", "as many that await an event (floor)"
        met = load <= MOST * floor
        why = "" if met else COLLECTING
        results += [
            Result(LOADING, case, load, peer, floor, "s", f"≤ {MOST} × the floor", met, why),
            Result(MERELY, case, merely[waits], peer, least, "s", f"< {LEAST} s", merely[waits] < LEAST),
        ]
    for kind, peer in (("airbyte", "AirbyteSyncTrigger"), ("openai", "OpenAIBatchTrigger")):
        _, waiting = _apart(kind, PEER_WAITS)
        case = f"1,000 waits of ours, {PEER_WAITS} of the peer"
        met = merely[1000] < LEAST
        results.append(Result(MERELY, case, merely[1000], peer, waiting, "s", f"< {LEAST} s", met))
    return results


def _apart(kind: str, waits: int) -> tuple[float, float]:
    load, waiting = apart("stall", kind, waits)
    print(f"  {waits} {kind}: {load:.4f} s while they begin, {waiting:.4f} s after that", flush=True)
    return load, waiting


async def _measure(make: Callable[[int, float], Make], waits: int) -> tuple[float, float]:
    await warm_up(make(0, 1.0), 2.5)
    makers = [make(number, INTERVAL) for number in range(waits)]
    late: list[float] = []
    heart = asyncio.create_task(_beat(late))
    tasks = await begin(makers)
    await asyncio.sleep(LOADING_FOR)
    load = max(late)
    late.clear()
    await asyncio.sleep(WAITING_FOR)
    await asyncio.sleep(2 * BEAT)  # the heart's turn, if all this was one stall
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


def _one(kind: str, waits: int) -> tuple[float, float]:
    try:
        with Server(World(sources=SOURCES, own=SOURCES, latency=1.0)) as server:
            connect("qianfan_default", server.connection("qianfan"))
            connect("airbyte_default", server.connection("airbyte", login=""))
            connect("openai_default", server.connection("openai"))
            return asyncio.run(_measure(KINDS[kind], waits))
    finally:
        clean_up()


if __name__ == "__main__":
    report(_one(sys.argv[1], int(sys.argv[2])))
