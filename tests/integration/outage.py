"""What a triggerer's log holds after some time in which the platform answered 503."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import airflow_provider_qianfan
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from tests.integration.cells import SOURCE
from tests.integration.deliveries import all_pages, tasks_of
from tests.integration.services import wait_until

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.world import World
    from tests.integration.services import Services

OUR_FILES = "|".join(
    sorted(file.name for file in Path(airflow_provider_qianfan.__file__).parent.rglob("*.py"))
)
# With structlog 26, Airflow 3.1 loses the names of loggers.
OURS = re.compile(rf"\[airflow_provider_qianfan[.\w]*\]|\bloc=({OUR_FILES}):")
STARTS = re.compile(r"\btrigger (ID \d+|.*) starting\b")


@dataclass
class Outage:
    """
    What the triggerer's log holds.

    :param calls: how often the platform was asked meanwhile.
    :param ours: the lines that this provider wrote.
    :param others: the lines that Airflow wrote.
    :param starts: those of them that say that a trigger starts.
    :param heard: whether an event told of a task that finished after it.
    """

    calls: int
    ours: list[str]
    others: list[str]
    starts: list[str]
    heard: bool


def go_through(services: Services, world: World, name: str, seconds: float) -> Outage:
    """Let the platform answer 503 for so long, and then let a task finish."""
    log = services.home / "triggerer.log"
    wait_until(lambda: world.calls)
    time.sleep(5)
    begun, calls = log.stat().st_size, len(world.calls)
    world.faults.append(Fault(server_error=503))
    time.sleep(seconds)
    calls = len(world.calls) - calls
    lines = [line for line in _read(log, begun).splitlines() if line.strip()]
    ours = [line for line in lines if OURS.search(line)]
    others = [line for line in lines if not OURS.search(line)]
    starts = [line for line in others if STARTS.search(line)]
    world.faults.clear()
    after = f"amva-{name}-after"
    world.tasks.add(TaskSpec(SOURCE, id=after, status="succeeded", model_id="amv-after"))

    def heard() -> bool:
        events = all_pages(services, "/assets/events?order_by=timestamp", "asset_events")
        return after in {task["id"] for task in tasks_of(each for each in events if each["name"] == name)}

    try:
        wait_until(heard, 180)
    except TimeoutError:
        return Outage(calls, ours, others, starts, heard=False)
    return Outage(calls, ours, others, starts, heard=True)


def _read(log: Path, position: int) -> str:
    return log.read_bytes()[position:].decode(errors="replace")
