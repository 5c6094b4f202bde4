"""Watchers on real sockets, in one event loop, as a triggerer runs them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan._compat import RECEIPTS, WATCHERS
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.triggers import _shared
from airflow_provider_qianfan.triggers.model_compression import (
    QianfanModelCompTaskEventTrigger,
    QianfanModelCompTaskTrigger,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from airflow_provider_qianfan.emulator.server import EmulatorServer

pytestmark = pytest.mark.skipif(not WATCHERS.is_there(), reason="Airflow 2.11 has no asset watchers")

LIST, DETAIL = "DescribeModelCompTasks", "DescribeModelCompTask"
SOURCE = "amv-source000001"


@pytest.fixture(autouse=True)
def database(airflow_db: None) -> None:
    """The triggers read their connection through Airflow."""


class Store:
    """Airflow's store of an asset, which outlives the triggers."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.broken = False

    async def aget(self, key: str, default: Any = None) -> Any:
        if self.broken:
            raise RuntimeError("the store is broken")
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key: str, value: Any) -> None:
        if self.broken:
            raise RuntimeError("the store is broken")
        self.values[key] = json.dumps(value)


Made = QianfanModelCompTaskEventTrigger


def trigger(store: Store | None = None, **arguments: Any) -> Made:
    made = Made(**{"poke_interval": 1.0, **arguments})
    made.asset_state_store = store  # type: ignore[assignment]
    return made


class Events:
    """The events of a trigger that runs in the background."""

    def __init__(self) -> None:
        self.payloads: list[dict[str, Any]] = []

    @property
    def ids(self) -> list[str]:
        return [task["id"] for payload in self.payloads for task in payload["tasks"]]

    async def have(self, number: int, seconds: float = 10) -> list[str]:
        """Wait until so many tasks were reported."""
        async with asyncio.timeout(seconds):
            while len(self.ids) < number:
                await asyncio.sleep(0.05)
        return self.ids


@asynccontextmanager
async def watching(*triggers: Made) -> AsyncIterator[list[Events]]:
    """Have triggers run in the background, as a triggerer does without a shared stream."""

    async def collect(made: Made, events: Events) -> None:
        async for event in made.run():
            events.payloads.append(event.payload)

    heard = [Events() for _ in triggers]
    tasks = [asyncio.create_task(collect(*pair)) for pair in zip(triggers, heard, strict=True)]
    try:
        yield heard
        assert not any(task.done() for task in tasks), [task.exception() for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def in_a_loop(steps: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run in an event loop in which nothing may be left behind."""

    async def checked() -> Any:
        result = await asyncio.wait_for(steps(), 60)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not _shared._of_loop
        return result

    return asyncio.run(checked())


def succeed(emulator: EmulatorServer, task_id: str, model: str | None = None) -> None:
    step = TaskStep("succeeded", model_id=model or f"amv-of-{task_id}")
    emulator.world.tasks.change(task_id, step)


async def looked(emulator: EmulatorServer, times: int = 1) -> None:
    """Wait for so many more looks."""
    until = emulator.world.count(LIST) + times
    async with asyncio.timeout(20):
        while emulator.world.count(LIST) < until:
            await asyncio.sleep(0.02)


def test_a_task_that_finishes_is_reported_once(emulator: EmulatorServer) -> None:
    tasks = emulator.world.tasks
    tasks.add(TaskSpec(SOURCE, id="amva-old", status="succeeded", model_id="amv-old"))
    tasks.add(TaskSpec(SOURCE, id="amva-1", name="demo", config={"strategy": "Quantization"}))

    async def steps() -> list[dict[str, Any]]:
        async with watching(trigger(Store())) as (events,):
            await looked(emulator)
            succeed(emulator, "amva-1", "amv-made")
            await events.have(1)
            await looked(emulator, 2)
            return events.payloads

    (payload,) = in_a_loop(steps)
    assert payload["version"] == 1
    (told,) = payload["tasks"]
    assert told["event_id"] == "amva-1:succeeded"
    assert told["model_id"] == "amv-made"
    assert told["source_model_id"] == SOURCE
