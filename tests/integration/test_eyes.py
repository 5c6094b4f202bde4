"""Two observers that see different things, and a triggerer that dies, on real services."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.triggers.waiting import EXECUTOR_LAG
from tests.dag_runs import AIRFLOW_3
from tests.integration.eyes import EYES, LIMITS, MOVED, MOVED_LIMIT, TIMEOUT, Eyes
from tests.integration.services import wait_until

if TYPE_CHECKING:
    from tests.integration.eyes_stage import Platform
    from tests.integration.services import Services

pytestmark = pytest.mark.integration

CALLS_OF_A_LOOK = 4
"""Tries, if the platform is away."""

BEGINS = r"^trigger .* starting$" if AIRFLOW_3 else r"^Retrieving connection"
"""The first line that a trigger leaves in the log of its task."""

COMPLAINTS = r"gave no healthy answer|key is refused|settings cannot be used|may try once more"


@dataclass
class Ended:
    """
    What came of a gate.

    :param lines: its log: what was said, and when, in seconds since the epoch.
    """

    state: str
    tries: int
    ended: float
    lines: list[tuple[float, dict[str, Any]]]

    @property
    def error(self) -> str:
        """What ended it, if it failed."""
        errors = [line["error_detail"] for _, line in self.lines if line.get("error_detail")]
        return str(errors[-1][0]["exc_value"]) if errors else ""

    @property
    def starts(self) -> int:
        """How often a worker has started: once for the first look, and after each deferral."""
        return 1 + len(self.times(r"Pausing task as DEFERRED"))

    def times(self, pattern: str) -> list[float]:
        """Return when lines were written in which a regular expression is found."""
        return [at for at, line in self.lines if re.search(pattern, line["event"])]

    @property
    def complaints(self) -> list[str]:
        """Our errors and warnings about the platform, and what ended it."""
        said = [line["event"] for _, line in self.lines if re.search(COMPLAINTS, line["event"])]
        return [*said, *filter(None, [self.error])]


def ended(services: Services, run: str, task: dict[str, Any]) -> Ended:
    log = services.log(run, task["task_id"], task["try_number"])
    lines = [
        (datetime.fromisoformat(line["timestamp"]).timestamp(), line) for line in log if line.get("timestamp")
    ]
    end = datetime.fromisoformat(task["end_date"]).timestamp()
    return Ended(task["state"], task["try_number"], end, lines)


def results(services: Services, run: str) -> dict[str, Ended]:
    return {task["task_id"]: ended(services, run, task) for task in services.task_instances(run)}


def begin(services: Services, run: str, two_ways: dict[str, Platform]) -> dict[str, float]:
    """Let each gate's trouble begin when it is deferred, and tell when, in seconds since the epoch."""
    begun: dict[str, float] = {}

    def all_have() -> bool:
        states = {task["task_id"]: task["state"] for task in services.task_instances(run)}
        for eyes in EYES:
            if states[eyes.task_id] == "deferred" and eyes.task_id not in begun:
                two_ways[eyes.task_id].begin(eyes)
                begun[eyes.task_id] = time.time()
        return len(begun) == len(EYES)

    wait_until(all_have, 300)
    return begun


@pytest.fixture(scope="module")
def gates(services: Services, two_ways: dict[str, Platform]) -> dict[str, Ended]:
    """Run the gates of both DAGs; the triggerer dies when those of two observers have ended."""
    began = time.monotonic()
    moving, run = services.trigger("failover"), services.trigger("eyes")
    begun = begin(services, run, two_ways)
    services.wait(run, TIMEOUT + 120)
    wait_until(lambda: {task["state"] for task in services.task_instances(moving)} == {"deferred"}, 300)
    time.sleep(max(0.0, max(begun.values()) + MOVED_LIMIT - time.time()))
    fail_over(services, moving, two_ways)
    found = results(services, run) | results(services, moving)
    print(f"\n{table(found, begun)}\n{len(found)} gates in {time.monotonic() - began:.0f} s")
    return found


def fail_over(services: Services, run: str, two_ways: dict[str, Platform]) -> None:
    """Kill the triggerer while the platform is away, start another, and let the platform come back."""
    away, news = (two_ways[task_id] for task_id in MOVED)
    away.world.faults.append(Fault(server_error=502))
    services.kill("triggerer")
    before = len(away.calls("triggerer"))
    news.succeed()
    away.succeed()
    # The dead one is not waited for: it counts as dead when it has not been heard of for a second.
    services.start("triggerer", {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "1"})

    def first_look_is_over() -> bool:
        if len(away.calls("triggerer")) > before + CALLS_OF_A_LOOK:
            return True
        (gate,) = (task for task in services.task_instances(run) if task["task_id"] == "moved_while_away")
        return gate["try_number"] > 1 or gate["state"] in ("failed", "up_for_retry")

    wait_until(first_look_is_over)
    away.world.faults.clear()
    services.wait(run, 300)


def table(found: dict[str, Ended], begun: dict[str, float]) -> str:
    """
    Write how each gate ended, after how many limits, how many workers that took, and what the log says.

    :param begun: when each trouble began, in seconds since the epoch.
    """
    lines = []
    for eyes in EYES:
        end = found[eyes.task_id]
        after = f"after {(end.ended - begun[eyes.task_id]) / LIMITS[eyes.limit]:.1f} {eyes.limit}"
        lines.append(f"{eyes.name:66} {end.state:8} {after:24} {end.starts} worker starts")
        lines += [f"    {text[:300]}" for text in end.complaints]
    for task_id, happened in MOVED.items():
        end = found[task_id]
        after = f"{held(end):.1f} s in the next one"
        name = f"the triggerer dies, {happened}"
        lines.append(f"{name:66} {end.state:8} {after:24} {end.starts} worker starts, {end.tries} tries")
        lines += [f"    {text[:300]}" for text in end.complaints]
    return "\n".join(lines)


def held(end: Ended) -> float:
    """Tell for how many seconds the last triggerer kept a gate; not a number if its log does not say."""
    fired = end.times(r"^Trigger (fired event|.* fired: )")
    begun = [at for at in end.times(BEGINS) if fired and at < fired[-1]]
    return fired[-1] - begun[-1] if begun else math.nan


@pytest.mark.parametrize("eyes", EYES, ids=lambda eyes: eyes.name)
def test_each_observer_has_a_clock_of_its_own(gates: dict[str, Ended], eyes: Eyes) -> None:
    end = gates[eyes.task_id]

    assert end.state == ("success" if eyes.opens else "failed")
    assert end.starts == eyes.starts
    if not eyes.opens:
        message = re.search(eyes.says, end.error)
        assert message, end.error
        assert seconds(message[1]) >= LIMITS[eyes.limit]


def seconds(text: str) -> int:
    """Read a duration."""
    found = re.fullmatch(r"(?:(\d+) minutes? ?)?(?:(\d+) seconds?)?", text)
    assert found
    return 60 * int(found[1] or 0) + int(found[2] or 0)


@pytest.mark.parametrize("task_id", MOVED)
def test_another_triggerer_goes_on_where_the_dead_one_was(gates: dict[str, Ended], task_id: str) -> None:
    end = gates[task_id]

    assert (end.state, end.tries, end.starts) == ("success", 1, 2)


def test_another_triggerer_keeps_no_gate_for_the_sake_of_a_worker_long_gone(gates: dict[str, Ended]) -> None:
    assert held(gates["moved_with_news"]) < EXECUTOR_LAG
