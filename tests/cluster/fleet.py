"""The fleet's part of the platform, and the check of how each of its tasks ended."""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg2

from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec, TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from tests.cluster.outcomes import CREATIONS, GATES, UPDATES, Outcome
from tests.integration.services import FINISHED, wait_until

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.world import World
    from tests.integration.services import Services

UPDATE_SECONDS = 60.0
"""Seconds from the request for an update to its end, and from the creation of a compression to its end."""


@dataclass
class Result:
    """
    What came of one run of the fleet.

    :param in_flight: how many waits were deferred when the fault began.
    :param lost: tasks that did not end.
    :param wrong: tasks that ended otherwise than the platform says, each with what happened.
    :param opened_wrongly: those of them that succeeded.
    :param twice: what was created or updated more than once.
    :param tries: how many tries were used up.
    :param delays: seconds from the end on the platform to the end of each gate.
    """

    in_flight: int
    lost: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    opened_wrongly: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    tries: int = 0
    delays: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return what the table shows."""
        return {
            "in_flight": self.in_flight,
            "lost": len(self.lost),
            "opened_wrongly": len(self.opened_wrongly),
            "failed_wrongly": len(self.wrong) - len(self.opened_wrongly),
            "twice": len(self.twice),
            "tries": self.tries,
            "p50": round(statistics.median(self.delays or [0.0]), 1),
            "max": round(max(self.delays, default=0.0), 1),
        }


class Fleet:
    """
    One run of the DAG of the fleet.

    :param name: the name of its part of the platform: letters and digits.
    """

    def __init__(self, services: Services, world: World, name: str) -> None:
        self._services, self._world, self.name = services, world, name
        self.ended: dict[str, float] = {}
        self._tasks = [
            world.tasks.add(TaskSpec(f"amv-{name}-{number:04}", status="running"))
            for number in range(len(GATES))
        ]
        for number in range(CREATIONS):
            world.models.add(ModelSpec(id=f"amv-{name}-c{number:02}"))
        for number in range(UPDATES):
            world.models.add(ModelSpec(id=f"amv-{name}-new{number:02}"))
            world.services.add(ServiceSpec(f"amv-{name}-old", id=f"svco-{name}-{number:02}"))
        self._task_ids = [
            *(f"gate_{number:04}" for number in range(len(GATES))),
            *(f"create_{number:02}" for number in range(CREATIONS)),
            *(f"update_{number:02}" for number in range(UPDATES)),
        ]
        path = "/dags/fleet/dagRuns"
        wait_until(lambda: any(dag["dag_id"] == "fleet" for dag in services.get("/dags")["dags"]))
        run = services.call("POST", path, {"logical_date": None, "conf": {"world": name}})
        self.run = f"{path}/{run['dag_run_id']}"
        self._run_id = run["dag_run_id"]

    def states(self) -> Counter[str]:
        """Count the states of its tasks."""
        with self._database() as connection, connection.cursor() as cursor:
            cursor.execute("select state from task_instance where run_id = %s", (self._run_id,))
            return Counter(str(state) for (state,) in cursor.fetchall())

    def until_deferred(self) -> int:
        """Wait until as many tasks are deferred as there are gates. Return how many are."""
        wait_until(lambda: self.states()["deferred"] >= len(GATES), 600)
        return self.states()["deferred"]

    def end_compressions(self, seconds: float) -> threading.Thread:
        """Let the compressions end within so many seconds, at random, in a thread."""
        chance = random.Random(16)  # the same moments each time
        moments = sorted(
            (chance.uniform(0, seconds), number)
            for number, outcome in enumerate(GATES)
            if outcome is not Outcome.NEVER
        )

        def end() -> None:
            began = time.monotonic()
            for moment, number in moments:
                time.sleep(max(0.0, began + moment - time.monotonic()))
                made = f"amv-{self.name}-made{number:04}"
                outcome = GATES[number]
                step = TaskStep(
                    outcome.value,  # type: ignore[arg-type]
                    model_id=made if outcome is Outcome.SUCCEEDED else None,
                )
                self._world.tasks.change(self._tasks[number], step)
                self.ended[f"gate_{number:04}"] = time.time()

        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        return thread

    def finish(self, in_flight: int, seconds: float) -> Result:
        """Wait until all tasks have ended, and judge them."""
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not set(self.states()) - set(FINISHED), seconds)
        return self._judge(in_flight)

    def _judge(self, in_flight: int) -> Result:
        result = Result(in_flight)
        instances, values = self._read()
        for task_id in self._task_ids:
            state, try_number, end = instances.get(task_id, ("absent", 0, None))
            result.tries += max(0, try_number - 1)
            if state not in FINISHED:
                result.lost.append(f"{task_id}: {state}")
                continue
            ended = self.ended.get(task_id)
            if ended is not None and end.timestamp() < ended:
                result.wrong[task_id] = f"{state} before its compression had ended"
            expected, model = self._expected(task_id)
            if state != expected:
                result.wrong[task_id] = f"{state}, not {expected}"
            elif state == "success" and values.get(task_id) != model:
                result.wrong[task_id] = f"{values.get(task_id)}, not {model}"
            if task_id in result.wrong and state == "success":
                result.opened_wrongly.append(task_id)
            if ended is not None:
                result.delays.append(end.timestamp() - ended)
        result.twice += self._twice()
        return result

    def _expected(self, task_id: str) -> tuple[str, str | None]:
        """Return the state in which a task has to end, and the value that it has to return."""
        kind, _, number = task_id.partition("_")
        if kind == "gate":
            succeeds = GATES[int(number)] is Outcome.SUCCEEDED
            return ("success", f"amv-{self.name}-made{number}") if succeeds else ("failed", None)
        if kind == "update":
            return "success", f"amv-{self.name}-new{number}"
        source = f"amv-{self.name}-c{number}"
        tasks = [task for task in self._world.tasks.values() if task.spec.source_model_id == source]
        return "success", tasks[0].steps[-1].model_id if tasks else "no compression"

    def _twice(self) -> list[str]:
        created = Counter(task.spec.source_model_id for task in self._world.tasks.values())
        found = [
            f"{source}: {created[source]} compressions"
            for number in range(CREATIONS)
            if created[source := f"amv-{self.name}-c{number:02}"] != 1
        ]
        updates = Counter(
            call.body["serviceId"]
            for call in list(self._world.calls)
            if call.action == "ModifyService" and call.status == 200 and isinstance(call.body, dict)
        )
        for number in range(UPDATES):
            service = f"svco-{self.name}-{number:02}"
            if updates[service] != 1:
                found.append(f"{service}: {updates[service]} updates")
        return found

    def _read(self) -> tuple[dict[str, tuple[str, int, Any]], dict[str, Any]]:
        with self._database() as connection, connection.cursor() as cursor:
            cursor.execute(
                "select task_id, state, try_number, end_date from task_instance where run_id = %s",
                (self._run_id,),
            )
            instances = {task: (str(state), tries, end) for task, state, tries, end in cursor.fetchall()}
            cursor.execute(
                "select task_id, value from xcom where run_id = %s and key = 'return_value'", (self._run_id,)
            )
            values = {task: _plain(value) for task, value in cursor.fetchall()}
        return instances, values

    def _database(self) -> Any:
        return psycopg2.connect(self._services.database_url.replace("+psycopg2", "", 1))


def _plain(value: Any) -> Any:
    """Read an XCom as the database has it: JSON text within JSON."""
    while isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            break
    return value
