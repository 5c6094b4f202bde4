"""What a triggerer's log holds after some time in which the platform answered 503."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import airflow_provider_qianfan
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from tests.integration.cells import MADE, SOURCE
from tests.integration.deliveries import INTERVAL, events_of, tasks_of
from tests.integration.services import wait_until

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.world import World
    from tests.integration.services import Services

OUR_FILES = "|".join(
    sorted(file.name for file in Path(airflow_provider_qianfan.__file__).parent.rglob("*.py"))
)
# With structlog 26, Airflow 3.1 loses the names of loggers.
OURS = re.compile(rf"\[airflow_provider_qianfan[.\w]*\]|\bloc=(?:{OUR_FILES}):")
STARTS = re.compile(r"\btrigger ID \d+ starting\b")


@dataclass
class Outage:
    """
    What the triggerer's log holds.

    :param calls: how often the platform was asked meanwhile.
    :param ours: the lines that this provider wrote.
    :param others: the lines that Airflow wrote.
    :param heard: whether the watcher reported a task that finished after it.
    """

    calls: int
    ours: list[str]
    others: list[str]
    heard: bool

    @property
    def starts(self) -> list[str]:
        """The lines that say that a watcher starts."""
        return [line for line in self.others if STARTS.search(line)]


def go_through(services: Services, world: World, name: str, seconds: float) -> Outage:
    """Let the platform of a watcher answer 503 for so long, and then let a task finish."""
    log = services.home / "triggerer.log"
    wait_until(lambda: world.calls)
    time.sleep(INTERVAL)
    position, calls = log.stat().st_size, len(world.calls)
    world.faults.append(Fault(server_error=503))
    time.sleep(seconds)
    calls = len(world.calls) - calls
    text = log.read_bytes()[position:].decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    world.faults.clear()
    after = world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id=MADE))

    def heard() -> bool:
        return after in {task["id"] for task in tasks_of(events_of(services, name))}

    with contextlib.suppress(TimeoutError):
        wait_until(heard)
    ours = [line for line in lines if OURS.search(line)]
    return Outage(calls, ours, [line for line in lines if line not in ours], heard())
