"""Our waits and the peers' in one event loop. They begin as in Airflow's triggerer."""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

# Before anything imports Airflow, which reads these once. Peers log each poll: that is not what is measured.
HOME = tempfile.mkdtemp(prefix="qianfan-benchmarks-")
for _name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": HOME,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL",
}

from airflow.triggers.base import BaseTrigger, TriggerEvent  # noqa: E402

from airflow_provider_qianfan.gate.memory import Memory  # noqa: E402
from airflow_provider_qianfan.gate.selection import Selector  # noqa: E402
from airflow_provider_qianfan.triggers import _shared as shared  # noqa: E402, F401
from airflow_provider_qianfan.triggers.model_compression import (  # noqa: E402
    QianfanModelCompTaskEventTrigger,
    QianfanModelCompTaskTrigger,
)
from benchmarks.server import source_of  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    Make = Callable[[], BaseTrigger]

_REPORT = "REPORT "

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def apart(module: str, *arguments: object) -> Any:
    """Run a module of this package in its own process, and return its report."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.rpartition(_REPORT)[2])


def report(found: object) -> None:
    """Report to the process that started this one."""
    print(_REPORT + json.dumps(found), flush=True)


def clean_up() -> None:
    """Remove the Airflow of this process."""
    shutil.rmtree(HOME, ignore_errors=True)


atexit.register(clean_up)


def connect(name: str, uri: str) -> None:
    """Define an Airflow connection."""
    os.environ[f"AIRFLOW_CONN_{name.upper()}"] = uri


def option(name: str, value: float) -> None:
    """Set an option of ours."""
    os.environ[f"AIRFLOW__QIANFAN__{name.upper()}"] = str(value)


class IdleTrigger(BaseTrigger):
    """The floor: it takes the same arguments as our trigger, and only waits."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.__dict__ |= arguments

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.Event().wait()
        yield TriggerEvent(None)


def ours(source: int, interval: float, conn_id: str = "qianfan_default") -> Make:
    """Make one of our triggers as a triggerer does: from what the worker wrote."""
    return lambda: QianfanModelCompTaskTrigger(**_arguments(source, interval, conn_id))


def watcher(number: int, sources: int, interval: float, conn_id: str) -> Make:
    """Make a watcher as a triggerer does: from what its DAG says. Every other one names a source model."""
    which: dict[str, Any] = (
        {"source_model_id": source_of(number % sources)}
        if number % 2
        else {"name_pattern": f"team-{number}-*"}
    )
    made = QianfanModelCompTaskEventTrigger(qianfan_conn_id=conn_id, poke_interval=interval, **which)
    arguments: dict[str, Any] = json.loads(json.dumps(made.serialize()[1]))
    return lambda: QianfanModelCompTaskEventTrigger(**arguments)


def idle(source: int, interval: float) -> Make:
    """Make a trigger that only waits."""
    return lambda: IdleTrigger(**_arguments(source, interval, "qianfan_default"))


def http_sensor(number: int, interval: float) -> Make:
    """Make a trigger of the HTTP provider. It waits as long as the answer is 404."""
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    return lambda: HttpSensorTrigger(
        endpoint=f"wait/{number}", http_conn_id="http_default", method="GET", poke_interval=interval
    )


def airbyte(number: int, interval: float) -> Make:
    """Make a trigger of the Airbyte provider."""
    from airflow.providers.airbyte.triggers.airbyte import AirbyteSyncTrigger

    end_time = time.time() + 86400
    return lambda: AirbyteSyncTrigger(
        job_id=number, conn_id="airbyte_default", end_time=end_time, poll_interval=interval
    )


def openai(number: int, interval: float) -> Make:
    """Make a trigger of the OpenAI provider."""
    from airflow.providers.openai.triggers.openai import OpenAIBatchTrigger

    return lambda: OpenAIBatchTrigger(
        conn_id="openai_default", batch_id=f"batch-{number}", poll_interval=interval, timeout=86400
    )


def _arguments(source: int, interval: float, conn_id: str) -> dict[str, Any]:
    now = time.time()
    selector = Selector(source_of(source)).to_json()
    memory = Memory(started=now, deadline=now + 86400, last_healthy=now, spoke=now).to_json()
    made = QianfanModelCompTaskTrigger(
        qianfan_conn_id=conn_id,
        target=selector,
        memory=memory,
        poke_interval=interval,
        next_look_at=now + interval,
    )
    arguments: dict[str, Any] = json.loads(json.dumps(made.serialize()[1]))
    return arguments


async def begin(makers: Iterable[Make]) -> list[asyncio.Task[TriggerEvent]]:
    """Begin waits. After each one, all others get their turn, as in ``TriggerRunner.create_triggers``."""
    tasks = []
    for make in makers:
        await asyncio.sleep(0)
        made = make()
        tasks.append(asyncio.create_task(_first_event(made)))
        await asyncio.sleep(0)
    return tasks


async def warm_up(make: Make, seconds: float) -> None:
    """Begin and end one wait, so that everything is imported."""
    async with waiting([make]):
        await asyncio.sleep(seconds)
    gc.collect()


async def _first_event(trigger: BaseTrigger) -> TriggerEvent:
    return await anext(aiter(trigger.run()))


@asynccontextmanager
async def waiting(makers: Iterable[Make]) -> AsyncIterator[list[asyncio.Task[TriggerEvent]]]:
    """Run waits in the background. They are cancelled at the end."""
    tasks = await begin(makers)
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
