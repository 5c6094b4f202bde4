"""The intervals from a task's success on the server to the event of the trigger that waits for it."""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.server import Server, World
from benchmarks.table import Result
from benchmarks.waits import apart, begin, clean_up, connect, http_sensor, ours, report

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.waits import Make

INTERVAL = 5.0
WAITS = 1000
BEGIN, END = 2, 8
"""Intervals after the first wait, between which the tasks succeed."""
KINDS: dict[str, Callable[[int, float], Make]] = {"ours": ours, "http": http_sensor}
MOST = 1.1


def run() -> list[Result]:
    """Measure ours and the peer's."""
    found: dict[str, list[float]] = {kind: apart("latency", kind) for kind in KINDS}
    results = []
    for name, which in (("median", 49), ("99th percentile", 98)):
        mine, theirs = (statistics.quantiles(found[kind], n=100)[which] for kind in ("ours", "http"))
        target, met = (f"≤ {MOST} intervals", mine <= MOST) if which == 98 else ("", None)
        results.append(
            Result(
                row=f"success to event, {name}",
                case=f"{WAITS:,} waits for as many source models, every {INTERVAL:g} s",
                ours=mine,
                peer="HttpSensorTrigger",
                theirs=theirs,
                unit="intervals",
                target=target,
                met=met,
            )
        )
    return results


async def _measure(makers: list[Make]) -> list[float]:
    tasks = await begin(makers)
    ended = [0.0] * len(tasks)

    async def note(number: int) -> None:
        await tasks[number]
        ended[number] = time.time()

    async with asyncio.timeout((END + 5) * INTERVAL):
        await asyncio.gather(*(note(number) for number in range(len(tasks))))
    return ended


def _one(kind: str) -> list[float]:
    try:
        now, chance = time.time(), random.Random(1)  # noqa: S311  the same moments for each
        finish_at = [now + INTERVAL * chance.uniform(BEGIN, END) for _ in range(WAITS)]
        with Server(World(sources=WAITS, own=WAITS, finish_at=finish_at)) as server:
            connect("qianfan_default", server.connection("qianfan"))
            connect("http_default", server.connection("http"))
            ended = asyncio.run(_measure([KINDS[kind](number, INTERVAL) for number in range(WAITS)]))
        return [(end - finish) / INTERVAL for end, finish in zip(ended, finish_at, strict=True)]
    finally:
        clean_up()


if __name__ == "__main__":
    report(_one(sys.argv[1]))
