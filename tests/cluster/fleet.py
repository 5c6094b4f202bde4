"""A run of a DAG of the failure suite, its part of the platform, and the check of how each task ended."""

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
from tests.cluster.outcomes import FLEETS, TIMEOUT, Outcome
from tests.integration.services import FINISHED, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.world import Call, World
    from tests.integration.services import Services

CHANGE_SECONDS = 45.0
"""Seconds from the creation of a compression, or the request for an update, to its end."""

LATE = 300.0
"""Seconds in which a timeout has to come. A task that was killed waits anew for the whole timeout."""

_CHANGES = {"create": "CreateModelCompTask", "update": "ModifyService"}

_REASONS = {
    Outcome.FAILED: "failed: the platform gives no reason",
    Outcome.STOPPED: "was stopped",
    Outcome.NEVER: "AirflowSensorTimeout",
}
"""What the log of a gate has to say, for each end that is not a success."""


class Platform:
    """
    The emulated platform, and what was changed on it.

    :ivar changes: each request that created, updated or cancelled something, with its time in seconds since
        the epoch.
    :ivar trap: called with such a request after the platform has done it, and before the client hears of it.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.changes: list[tuple[float, Call]] = []
        self.trap: Callable[[Call], None] = lambda _: None
        world.on_call = self._hear

    def _hear(self, call: Call) -> None:
        if call.status == 200 and call.action in (*_CHANGES.values(), "CancelModelCompTask"):
            self.changes.append((time.time(), call))
            self.trap(call)


@dataclass
class Result:
    """
    What came of one run.

    :param in_flight: how many waits were deferred when the fault began.
    :param lost: tasks that did not end.
    :param wrong: tasks that ended otherwise than the platform says, each with what happened.
    :param opened_wrongly: those of them that succeeded.
    :param not_once: what was created or updated more or less than once, or cancelled.
    :param tries: how many tries were used up.
    :param delays: seconds from each end on the platform to the end of the task that waited for it.
    """

    in_flight: int
    lost: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    opened_wrongly: list[str] = field(default_factory=list)
    not_once: list[str] = field(default_factory=list)
    tries: int = 0
    delays: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return what the table shows."""
        return {
            "in_flight": self.in_flight,
            "lost": len(self.lost),
            "opened_wrongly": len(self.opened_wrongly),
            "failed_wrongly": len(self.wrong) - len(self.opened_wrongly),
            "not_once": len(self.not_once),
            "tries": self.tries,
            "p50": round(statistics.median(self.delays or [0.0]), 1),
            "max": round(max(self.delays, default=0.0), 1),
        }

    def problems(self) -> list[Any]:
        """Return all that should not have happened."""
        return [each for each in (self.lost, self.wrong, self.not_once) if each]


class Run:
    """
    One run of a DAG.

    :param dag_id: the DAG: a key of ``FLEETS``.
    :param name: the name of its part of the platform: letters and digits.
    """

    def __init__(self, services: Services, platform: Platform, dag_id: str, name: str) -> None:
        self._services, self._platform, self.name = services, platform, name
        self._gates = FLEETS[dag_id].gates
        world = platform.world
        self._compressions = [
            world.tasks.add(TaskSpec(f"amv-{name}-{number:04}", status="running"))
            for number in range(len(self._gates))
        ]
        kinds = {
            "gate": len(self._gates),
            "create": FLEETS[dag_id].creations,
            "update": FLEETS[dag_id].updates,
        }
        for number in range(kinds["create"]):
            world.models.add(ModelSpec(id=f"amv-{name}-c{number:04}"))
        for number in range(kinds["update"]):
            world.models.add(ModelSpec(id=f"amv-{name}-new{number:04}"))
            world.services.add(ServiceSpec(f"amv-{name}-old", id=f"svco-{name}-{number:04}"))
        self._task_ids = [f"{kind}_{each:04}" for kind, size in kinds.items() for each in range(size)]
        self._ended: dict[str, float] = {}
        wait_until(lambda: any(dag["dag_id"] == dag_id for dag in services.get("/dags")["dags"]))
        self._began = time.time()
        run = services.call(
            "POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {"world": name}}
        )
        self.run_id = run["dag_run_id"]
        self.logs = services.home / "logs" / f"dag_id={dag_id}" / f"run_id={self.run_id}"

    def states(self, queue: str | None = None) -> Counter[str]:
        """Count the states of its tasks; with a queue, those of the tasks of that worker."""
        rows = self._select("state, queue")
        return Counter(str(state) for state, its in rows if queue in (None, its))

    def tries(self) -> int:
        """Count the tries that are used up."""
        return sum(max(0, number - 1) for (number,) in self._select("try_number"))

    def until_deferred(self) -> None:
        """Wait until each task waits, or has ended."""
        wait_until(lambda: not set(self.states()) - {"deferred", *FINISHED}, 600)

    def end_compressions(self, seconds: float) -> threading.Thread:
        """Let the compressions of its gates end within so many seconds, at random, in a thread."""
        chance = random.Random(16)  # the same moments each time
        moments = sorted(
            (chance.uniform(0, seconds), number)
            for number, outcome in enumerate(self._gates)
            if outcome is not Outcome.NEVER
        )

        def end() -> None:
            began = time.monotonic()
            for moment, number in moments:
                time.sleep(max(0.0, began + moment - time.monotonic()))
                outcome = self._gates[number]
                made = f"amv-{self.name}-made{number:04}" if outcome is Outcome.SUCCEEDED else None
                step = TaskStep(outcome.value, model_id=made)  # type: ignore[arg-type]
                self._platform.world.tasks.change(self._compressions[number], step)
                self._ended[f"gate_{number:04}"] = time.time()

        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        return thread

    def finish(self, in_flight: int, seconds: float, *, ahead: float = 0.0, logs: bool = True) -> Result:
        """
        Wait until all tasks have ended, and judge them.

        :param in_flight: how many waits were deferred when the fault began.
        :param seconds: how long to wait.
        :param ahead: seconds by which the clocks of the workers are ahead.
        :param logs: whether the logs of the tasks can be read.
        """
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not set(self.states()) - set(FINISHED), seconds)
        result = Result(in_flight)
        made_of = self._requests(result)
        values = {task: _plain(value) for task, value in self._select("task_id, value", "xcom")}
        instances = {task: rest for task, *rest in self._select("task_id, state, try_number, end_date")}
        for task_id in self._task_ids:
            state, try_number, end_date = instances.get(task_id, ("absent", 0, None))
            result.tries += max(0, try_number - 1)
            if state not in FINISHED:
                result.lost.append(f"{task_id}: {state}")
                continue
            end = end_date.timestamp() - ahead
            expected, value, not_before = self._expected(task_id, made_of)
            log = self.logs / f"task_id={task_id}" / f"attempt={try_number}.log"
            if state != expected:
                result.wrong[task_id] = f"{state}, not {expected}"
            elif state == "success" and values.get(task_id) != value:
                result.wrong[task_id] = f"{values.get(task_id)}, not {value}"
            elif end < not_before - 1:  # of the clocks of two processes
                result.wrong[task_id] = f"{state} before it had ended"
            elif value == _REASONS[Outcome.NEVER] and end > not_before + LATE:
                result.wrong[task_id] = f"timed out {end - not_before:.0f} s late"
            elif state == "failed" and logs and value not in _errors(log.read_text(encoding="utf-8")):
                result.wrong[task_id] = f"failed, but not as {value}"
            if task_id in result.wrong and state == "success":
                result.opened_wrongly.append(task_id)
            if value != _REASONS[Outcome.NEVER]:
                result.delays.append(end - not_before)
        return result

    def _expected(self, task_id: str, requests: dict[str, float]) -> tuple[str, Any, float]:
        """Return how a task has to end, what it has to return or to say, and when at the earliest."""
        kind, _, number = task_id.partition("_")
        if kind == "gate":
            outcome = self._gates[int(number)]
            ended = self._ended.get(task_id, self._began + TIMEOUT)
            if outcome is Outcome.SUCCEEDED:
                return "success", f"amv-{self.name}-made{number}", ended
            return "failed", _REASONS[outcome], ended
        done = requests.get(task_id, 0.0) + CHANGE_SECONDS
        if kind == "update":
            return "success", f"amv-{self.name}-new{number}", done
        source = f"amv-{self.name}-c{number}"
        tasks = list(self._platform.world.tasks.values())
        made = [task.steps[-1].model_id for task in tasks if task.spec.source_model_id == source]
        return "success", made[0] if made else "no compression", done

    def _requests(self, result: Result) -> dict[str, float]:
        """Return when each of its creations and updates was done. Tell of those that were not done once."""
        found: dict[str, float] = {}
        for task_id in self._task_ids:
            kind, _, number = task_id.partition("_")
            if kind in _CHANGES:
                named = f'-{self.name}-{"c" if kind == "create" else ""}{number}"'.encode()
                times = [
                    when
                    for when, call in self._platform.changes
                    if call.action == _CHANGES[kind] and named in call.raw
                ]
                found[task_id] = min(times, default=0.0)
                if len(times) != 1:
                    result.not_once.append(f"{task_id}: {len(times)} times")
        cancelled = [call for _, call in self._platform.changes if call.action not in _CHANGES.values()]
        result.not_once += [f"cancelled: {call.body}" for call in cancelled]
        return found

    def _select(self, columns: str, table: str = "task_instance") -> list[tuple[Any, ...]]:
        more = " and key = 'return_value'" if table == "xcom" else ""
        url = self._services.database_url.replace("+psycopg2", "", 1)
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(f"select {columns} from {table} where run_id = %s{more}", (self.run_id,))
            return list(cursor.fetchall())


def _errors(log: str) -> str:
    """Return the errors that a task's log tells of, each as its type and its message."""
    found = []
    for line in log.splitlines():
        errors = json.loads(line).get("error_detail", [])
        found += [f"{error['exc_type']}: {error['exc_value']}" for error in errors]
    return "\n".join(found)


def _plain(value: Any) -> Any:
    """Read an XCom as the database has it: JSON text within JSON."""
    while isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            break
    return value
