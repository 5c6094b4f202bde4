"""
A day of a fleet of triggerers, in virtual time.

Triggers, polls, readings, budgets, retries and signatures are the provider's own, and so are the looks of
workers. Simulated are the time, the platform, and Airflow: a task starts within seconds, and a triggerer has
room for all its waits. The triggerers share a process, but each polls by itself, with its own budget. A row
of an answer is parsed once for each status, and never decoded from JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from airflow_provider_qianfan.api.errors import QianfanError
from airflow_provider_qianfan.api.exchange import LONGEST_PAUSE, Endpoint, Exchange, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.gate.look import take_look
from airflow_provider_qianfan.gate.memory import Limits, Memory, Observer, Run, after_failure, after_look
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import Open, Wait
from airflow_provider_qianfan.hooks._settings import Settings
from benchmarks import virtual_time
from benchmarks.fleet_platform import PAGE, Outage, Platform, Task, parsed_once
from benchmarks.table import Result
from benchmarks.table import fleets_as_markdown as as_markdown
from benchmarks.waits import QianfanModelCompTaskTrigger, option, shared

if TYPE_CHECKING:
    from collections.abc import Iterable

FOUND = Path(__file__).with_name("fleet.json")
DAY, HOUR = 86400.0, 3600.0
OFFICE = (*[1.0] * 8, 4.0, 9.0, 10.0, 9.0, 5.0, 8.0, 10.0, 10.0, 8.0, 6.0, 4.0, *[2.0] * 5)
"""How many tasks are created in each hour, compared with other hours."""

MEDIAN, SIGMA = 40 * 60.0, 0.8
"""How long a task takes, in seconds: log-normal."""

WORKERS = 128
"""Looks that the workers take at a time."""

ENDS = {"succeeded": 0.88, "failed": 0.1, "stopped": 0.02}
SAMPLE = 300.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """
    What is simulated.

    :param name: what it shows.
    :param waits: how many waits there are in a day.
    :param triggerers: how many triggerers share the waits.
    :param rate: ``[qianfan] requests_per_second`` of each triggerer.
    :param burst: ``[qianfan] request_burst`` of each triggerer.
    :param sources: how many source models there are. Some are far more popular than others.
    :param given: the share of waits that name the task by its id. The others have its name and source model.
    :param interval: ``poke_interval``, in seconds.
    :param history: how many older tasks the platform lists.
    :param at_once: whether all waits begin in the same minute. Otherwise, most begin in working hours.
    """

    name: str
    waits: int
    triggerers: int = 1
    rate: float = 10.0
    burst: int = 20
    sources: int = 200
    given: float = 0.5
    interval: float = 60.0
    history: int = 0
    at_once: bool = False
    filtered: bool = True
    limit: int | None = None
    retry_after: int = 1
    outages: tuple[Outage, ...] = ()
    seed: int = 1


@dataclass(slots=True)
class Figures:
    """
    What was found.

    :ivar delays: seconds from the end of each task to the event of the trigger that waits for it.
    :ivar ends: how many waits ended how.
    :ivar in_vain: how many events there were while the task went on.
    :ivar most_waits: how many waits there were at a time in triggerers.
    :ivar stale: the longest time, in seconds, that a wait was without an answer of the platform.
    :ivar remembered: the most source models and ids that a poll remembered.
    """

    delays: list[float] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    in_vain: Counter[str] = field(default_factory=Counter)
    most_waits: int = 0
    stale: float = 0.0
    remembered: int = 0
    resident: list[int] = field(default_factory=list)
    busy: float = 0.0
    longest: float = 0.0
    hours: float = 0.0


def tasks_of(fleet: Fleet) -> list[Task]:
    """Make the tasks that are waited for, after those of the history."""
    chance = random.Random(fleet.seed)  # noqa: S311
    past = [
        Task(number, f"amv-past{number % 997}", -DAY + number / 1e6, -HOUR) for number in range(fleet.history)
    ]
    popular = [1 / (1 + number) ** 0.7 for number in range(fleet.sources)]
    sources = chance.choices(range(fleet.sources), popular, k=fleet.waits)
    hours = chance.choices(range(24), OFFICE, k=fleet.waits)
    outcomes = chance.choices(list(ENDS), list(ENDS.values()), k=fleet.waits)
    begins = sorted(
        chance.uniform(0, 60) if fleet.at_once else (hour + chance.random()) * HOUR for hour in hours
    )
    return past + [
        Task(
            fleet.history + number,
            f"amv-{source:06}",
            created,
            created + min(max(chance.lognormvariate(math.log(MEDIAN), SIGMA), 180.0), 8 * HOUR),
            outcome,
        )
        for number, (created, source, outcome) in enumerate(zip(begins, sources, outcomes, strict=True))
    ]


class _Day:
    """One simulation."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.figures = Figures()
        self.tasks = tasks_of(fleet)
        self.platform = Platform(
            self.tasks,
            filtered=fleet.filtered,
            limit=fleet.limit,
            retry_after=fleet.retry_after,
            outages=fleet.outages,
            seed=fleet.seed,
        )
        self._chance = random.Random(fleet.seed + 1)  # noqa: S311
        self._in_triggerers = 0

    def run(self) -> None:
        option("requests_per_second", self.fleet.rate)
        option("request_burst", self.fleet.burst)
        gc.collect()
        gc.disable()  # one process holds what 20 triggerers hold: collecting would be 20 times as long
        try:
            with parsed_once():
                virtual_time.run(self._main(), self.platform.answer, settings_of, self.fleet.seed)
        finally:
            gc.enable()

    async def _main(self) -> None:
        loop: Any = asyncio.get_running_loop()
        self._workers = asyncio.Semaphore(WORKERS)
        self._wire = virtual_time.Wire(self.platform.answer, "worker")
        sampling = asyncio.create_task(self._sample())
        async with asyncio.TaskGroup() as group:
            for task in self.tasks[self.fleet.history :]:
                await asyncio.sleep(max(0.0, task.created + 2 - loop.time()))
                group.create_task(self._gate(task))
        sampling.cancel()
        self.figures.busy, self.figures.longest = loop.busy, loop.longest
        self.figures.hours = loop.time() / HOUR

    async def _gate(self, task: Task) -> None:
        """Wait as a deferrable sensor does, and check that the wait ends as the task did, and not before."""
        selector = self._selector(task)
        triggerer = f"triggerer{self._chance.randrange(self.fleet.triggerers)}"
        now = time.time()
        memory, called, deferred = Memory(started=now, deadline=now + DAY), False, False
        while True:
            end, memory = await self._look(selector, memory)
            if end is not None:
                break
            deferred = True
            self._in_triggerers += 1
            self.figures.most_waits = max(self.figures.most_waits, self._in_triggerers)
            event = await self._watch(selector, memory, triggerer, called=called)
            self._in_triggerers -= 1
            memory, called = Memory.from_json(event["memory"], now=time.time()), True
            told = asyncio.get_running_loop().time()
            if told < task.ended:
                self.figures.in_vain[str(event["why"])[:60]] += 1
        now = asyncio.get_running_loop().time()
        if now < task.ended and end in ENDS:
            raise AssertionError(f"{task.id} was told to have ended {task.ended - now} s before it did")
        if end in ENDS and end != task.outcome:
            raise AssertionError(f"{task.id} ended as {task.outcome}, and the wait as {end}")
        if deferred and end in ENDS:
            self.figures.delays.append(told - task.ended)
        self.figures.ends[end] += 1

    def _selector(self, task: Task) -> Selector:
        if self._chance.random() < self.fleet.given:
            return Selector(model_comp_task_id=task.id)
        return Selector(task.source, name=task.name)

    async def _look(self, selector: Selector, memory: Memory) -> tuple[str | None, Memory]:
        """Take a look in a worker. Return how the wait has ended, if it has."""
        async with self._workers:
            await asyncio.sleep(self._chance.uniform(1, 4))  # the scheduler, and the start of the task
            run = Run(Observer.WORKER, time.time())
            worker = settings_of("worker")
            exchange = Exchange(
                worker.endpoint, worker.credentials, retry=RetryPolicy(patience=LONGEST_PAUSE)
            )
            steps = take_look(exchange, selector, memory, settle=120.0, clock=time.time)
            try:
                verdict = await self._wire.run(steps)
            except QianfanError as error:
                try:
                    memory, _ = after_failure(memory, error, time.time(), Limits(), run)
                except QianfanError as final:
                    return str(final)[:100], memory
                return None, memory
        memory, _ = after_look(memory, verdict, time.time(), self.fleet.interval, Observer.WORKER)
        if isinstance(verdict, Wait):
            return None, memory
        if isinstance(verdict, Open):
            return "succeeded", memory
        status = getattr(verdict.described, "status", "")
        return status if status in ENDS else str(verdict.error)[:100], memory

    async def _watch(
        self, selector: Selector, memory: Memory, triggerer: str, *, called: bool
    ) -> dict[str, Any]:
        now = time.time()
        trigger = QianfanModelCompTaskTrigger(
            qianfan_conn_id=triggerer,
            target=selector.to_json(),
            memory=memory.to_json(),
            poke_interval=self.fleet.interval,
            next_look_at=now + self.fleet.interval,
            deferred_at=now,
            called_in_vain=called,
        )
        trigger.trigger_id = 1
        events = trigger.run()
        event: dict[str, Any] = (await anext(aiter(events))).payload
        await events.aclose()
        return event

    async def _sample(self) -> None:
        """Look at the polls from time to time, as nobody does in a triggerer."""
        process = psutil.Process()
        loop: Any = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SAMPLE)
            with loop.in_a_thread():
                self.figures.resident.append(process.memory_info().rss)
                for account in _accounts():
                    self._notice(account, loop.time())

    def _notice(self, account: Any, now: float) -> None:
        costs = account._costs
        self.figures.remembered = max(
            self.figures.remembered, len(costs.of_source) + len(costs.covered) + len(account._last)
        )
        ages = (
            now - wait.due if wait.healthy_at is None else time.time() - wait.healthy_at
            for wait in account._waits
        )
        self.figures.stale = max(self.figures.stale, max(ages, default=0.0))


def _accounts() -> Iterable[Any]:
    return [account for each in shared._of_loop.values() for account in each.accounts.values()]


@cache
def settings_of(conn_id: str) -> Settings:
    """Make a connection. Each triggerer has its own key, so that nothing is shared in this process."""
    return Settings(Endpoint.parse("https://qianfan.example.com"), Credentials(conn_id, "secret"))


def simulate(fleet: Fleet) -> dict[str, Any]:
    """
    Simulate a fleet.

    :raises AssertionError: if a wait was lost, or ended in another way than its task, or earlier.
    """
    before, began = psutil.Process().memory_info().rss, time.process_time()
    day = _Day(fleet)
    built = psutil.Process().memory_info().rss
    day.run()
    took = time.process_time() - began
    figures, platform = day.figures, day.platform
    if figures.ends.total() != fleet.waits:
        raise AssertionError(f"{fleet.waits - figures.ends.total()} waits were lost")
    delays = sorted(figures.delays) or [math.nan]
    polls, looks = Counter[int](), Counter[int]()
    for (key, hour), calls in platform.calls.items():
        (looks if key == "worker" else polls)[hour] += calls
    busiest = max(platform.seconds.values())
    return {
        "fleet": asdict(fleet),
        "ends": dict(figures.ends),  # any other end than a task's is an error that the wait failed with
        "in_vain": dict(figures.in_vain),
        "most_waits": figures.most_waits,
        "polls": polls.total(),
        "polls_busiest_hour": max(polls.values(), default=0),
        "looks": looks.total(),
        "looks_busiest_hour": max(looks.values(), default=0),
        "busiest_second": busiest,
        "throttled": platform.throttled,
        "delay_p50": delays[len(delays) // 2],
        "delay_p99": delays[min(len(delays) - 1, len(delays) * 99 // 100)],
        "delay_max": delays[-1],
        "stale": figures.stale,
        "remembered": figures.remembered,
        "stall": figures.longest,
        "busy_per_hour": figures.busy / figures.hours / fleet.triggerers,
        "hours": figures.hours,
        "resident_tasks": built - before,
        "resident_most": max(figures.resident, default=built) - built,
        "processor": took,
    }


_FAULTS = (Outage(10 * HOUR, 20 * 60.0), Outage(15 * HOUR, 20 * 60.0, silent=True))
_MANY = Fleet("100,000 waits, 20 triggerers", 100_000, 20, rate=0.5, given=1.0)
_ONE = Fleet("1 triggerer", 2_000)
_TWENTY = Fleet("20 triggerers, a share each", 2_000, 20, rate=0.5)
_FEW = Fleet(
    "1 triggerer, the platform ignores the filter, 200 older pages",
    500,
    given=0.0,
    history=200 * PAGE,
    filtered=False,
)

SCENARIOS = (
    _ONE,
    replace(_ONE, name="2 triggerers, a share each", triggerers=2, rate=5),
    replace(_ONE, name="4 triggerers, a share each", triggerers=4, rate=2.5),
    _TWENTY,
    replace(
        _TWENTY,
        name="20 triggerers, a share each, less a tenth; the platform allows 10/s",
        rate=0.45,
        limit=10,
    ),
    replace(_TWENTY, name="20 triggerers, no shares; the platform allows 10/s", rate=10, limit=10),
    replace(
        _TWENTY,
        name="20 triggerers, no shares; the platform allows 10/s and sends `Retry-After: 30`",
        rate=10,
        limit=10,
        retry_after=30,
    ),
    replace(
        _TWENTY,
        name="20 triggerers, a share each; the platform allows 10/s; two outages",
        limit=10,
        outages=_FAULTS,
    ),
    replace(_ONE, name="1 triggerer, 1,500 older pages", history=1500 * PAGE),
    replace(_ONE, name="1 triggerer with 0.5 requests/s, 1,500 older pages", history=1500 * PAGE, rate=0.5),
    _FEW,
    _MANY,
    replace(
        _MANY,
        name="100,000 waits, 20 triggerers, the platform allows 10/s; two outages",
        limit=10,
        outages=_FAULTS,
    ),
    replace(_MANY, name="100,000 waits, 1 triggerer", triggerers=1, rate=10),
)
"""What the documentation shows."""


def run() -> list[Result]:
    """Compare a fleet whose triggerers share a budget with a single triggerer, for part of a day's waits."""
    many = simulate(Fleet("20", 600, 20, rate=0.5))
    one = simulate(Fleet("1", 600, 1, rate=10))
    case = "600 waits in a simulated day; 20 triggerers with 0.5 requests/s each"
    peer = "1 triggerer with 10 requests/s"
    return [
        Result(row, case, many[key], peer, one[key], unit)
        for row, key, unit in (
            ("success to event, 99th percentile", "delay_p99", "s"),
            ("requests for polling in the busiest hour", "polls_busiest_hour", "calls"),
        )
    ]


def main() -> None:
    """Simulate scenarios, and keep what was found of the others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=main.__doc__)
    parser.add_argument("numbers", nargs="*", type=int, help=f"of 1 to {len(SCENARIOS)} (default: all)")
    numbers = parser.parse_args().numbers or range(1, len(SCENARIOS) + 1)
    if len(numbers) > 1:  # each in a process of its own, so that its memory is its own
        for number in numbers:
            subprocess.run([sys.executable, "-m", "benchmarks.fleet", str(number)], check=True)
        return
    for number in numbers:
        found = simulate(SCENARIOS[number - 1])
        print(as_markdown([found]).splitlines()[-1], flush=True)
        known = json.loads(FOUND.read_text(encoding="utf-8")) if FOUND.exists() else []
        of = {json.dumps(each["fleet"]): each for each in [*known, found]}
        names = [json.dumps(asdict(fleet)) for fleet in SCENARIOS]
        kept = [of[name] for name in names if name in of]
        FOUND.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
