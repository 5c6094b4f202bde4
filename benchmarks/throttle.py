"""Requests to a platform that asks to be left alone for 30 seconds (429, ``Retry-After: 30``)."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from benchmarks.server import Server, World
from benchmarks.table import Result
from benchmarks.waits import begin, clean_up, connect, http_sensor, ours, waiting

PAUSE = 30
OURS_FOR = 65.0
"""Seconds."""
WAITS = (1, 1000)


def run() -> list[Result]:
    """Count our requests, then the peer's."""
    try:
        asked = _ours()
        results = []
        for waits in WAITS:
            print(f"HttpSensorTrigger: {waits}", flush=True)
            theirs = asyncio.run(_http(waits))
            results.append(
                Result(
                    row=f"requests within {PAUSE} s to a server that answers 429, Retry-After: {PAUSE}",
                    case=f"{waits:,} source models, each with a wait; one account",
                    ours=asked[waits],
                    peer="HttpSensorTrigger",
                    theirs=theirs,
                    unit="requests",
                    target="≤ 1",
                    met=asked[waits] <= 1,
                )
            )
        return results
    finally:
        clean_up()


def _ours() -> dict[int, int]:
    """Count, for each number of waits, the most requests within any 30 seconds."""

    async def steps() -> None:
        makers = [ours(number, 1.0, f"waits_{waits}") for waits in WAITS for number in range(waits)]
        async with waiting(makers):
            await asyncio.sleep(OURS_FOR)

    world = World(throttle=PAUSE)
    with Server(world) as one, Server(world) as many:
        servers = dict(zip(WAITS, (one, many), strict=True))
        for waits, server in servers.items():
            connect(f"waits_{waits}", server.connection("qianfan"))
        began = time.time()
        asyncio.run(steps())
        most = {}
        for waits, server in servers.items():
            times = [call.time for call in server.calls()]
            print(f"{waits} of ours: asked after {[round(each - began, 1) for each in times]} s", flush=True)
            if len(times) < OURS_FOR // PAUSE:
                raise RuntimeError("it does not ask again")
            most[waits] = max(sum(begin <= each < begin + PAUSE for each in times) for begin in times)
        return most


async def _http(waits: int) -> int:
    """Count the requests of the peer in the 30 seconds after its first request."""
    with Server(World(throttle=PAUSE)) as server:
        connect("http_default", server.connection("http"))
        with suppress(TimeoutError):
            async with asyncio.timeout(PAUSE + 5):
                await begin(http_sensor(number, 1.0) for number in range(waits))
                await asyncio.Event().wait()
        times = [call.time for call in server.calls()]
        return sum(each < times[0] + PAUSE for each in times)
