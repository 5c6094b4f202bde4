"""The emulated platform: its tasks, model versions and services, its accounts and its clock. No HTTP here."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.behaviour import Account, Behaviour
from airflow_provider_qianfan.emulator.clock import Clock, LeapingClock, RealClock, shifted
from airflow_provider_qianfan.emulator.scenario import Scenario, Stub, load
from airflow_provider_qianfan.emulator.schema import ScenarioError, read_json
from airflow_provider_qianfan.emulator.shelf import Shelf
from airflow_provider_qianfan.emulator.specs import BASE_MODEL, ModelSpec, ServiceSpec, TaskSpec
from airflow_provider_qianfan.emulator.things import Model, Service, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from airflow_provider_qianfan.emulator.faults import Fault
    from airflow_provider_qianfan.emulator.steps import ModelStep, ServiceStep, TaskStep


# Enough for any test, and some 200 MiB at the very worst.
CALLS_KEPT = 20_000
KEPT_OF_A_CALL = 8192
_KEPT_OF_A_NAME = 100

_A_LITTLE = 0.001
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One request to the platform API, as the emulator saw it.

    :param time: the world time of the request.
    :param path: the path of the URL.
    :param action: the ``Action`` of the query; empty without one.
    :param raw: the body; only the first 8 KiB of a longer one.
    :param status: the HTTP status of the answer.
    :param code: the error code of the answer; None unless the platform itself answered with an error.
    :param access_key_id: the Access Key ID in the ``Authorization`` header, valid or not; None without one.
    """

    time: datetime
    path: str
    action: str
    raw: bytes
    status: int
    code: str | None
    access_key_id: str | None

    def __post_init__(self) -> None:
        """Keep only a part of long values: the client decides how long they are."""
        object.__setattr__(self, "raw", self.raw[:KEPT_OF_A_CALL])
        object.__setattr__(self, "path", self.path[:_KEPT_OF_A_NAME])
        object.__setattr__(self, "action", self.action[:_KEPT_OF_A_NAME])
        if self.access_key_id is not None:
            object.__setattr__(self, "access_key_id", self.access_key_id[:_KEPT_OF_A_NAME])

    @property
    def body(self) -> Any:
        """The parsed JSON body; or its text, if the body is not JSON or was cut."""
        try:
            return read_json(self.raw)
        except ScenarioError:
            return self.raw.decode(errors="replace")


class World:
    """
    The emulated platform, and everything that you can do to it.

    ``tasks``, ``models`` and ``services`` are dictionaries by ID with three more methods: ``add``, ``change``
    and ``remove`` (:class:`.shelf.Shelf`). ``shelves`` holds the three by these names. You may change
    ``behaviour``, ``accounts``, ``faults`` and ``stubs`` at any time. ``models`` shows a version that a task
    has just produced only after you call ``models.existing()``.

    :param scenario: anything that :func:`.scenario.load` accepts. Default: no tasks, one account.
    :param clock: the clock for world time. Default: the real one.
    """

    def __init__(
        self,
        scenario: Scenario | Mapping[str, object] | str | Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.scenario = Scenario() if scenario is None else load(scenario)
        self.clock = clock or RealClock()
        self.lock = threading.RLock()
        self.on_call: Callable[[Call], None] | None = None
        self.on_refusal: Callable[[str], None] | None = None
        self.reset()

    def reset(self) -> None:
        """Start the scenario again. World time goes on: the scenario begins now."""
        with self.lock:
            self.started = self.clock.now()
            self.behaviour: Behaviour = replace(self.scenario.behaviour)
            self.accounts: list[Account] = [replace(account) for account in self.scenario.accounts]
            self.faults: list[Fault] = [replace(fault) for fault in self.scenario.faults]
            self.stubs: list[Stub] = list(self.scenario.stubs)
            self.calls: list[Call] = []
            self._created: Counter[str] = Counter()
            self._begun: dict[int, str] = {}
            self.tasks: Shelf[TaskSpec, TaskStep, Task] = Shelf(
                self, Task, "task", "amva", before_removal=self.produce_models
            )
            self.models: Shelf[ModelSpec, ModelStep, Model] = Shelf(
                self, Model, "model version", "amv", self.produce_models
            )
            self.services: Shelf[ServiceSpec, ServiceStep, Service] = Shelf(self, Service, "service", "svco")
            # Models before tasks: a version that is in the scenario is not one that a task produces.
            self.shelves: dict[str, Shelf[Any, Any, Any]] = {
                "models": self.models,
                "tasks": self.tasks,
                "services": self.services,
            }
            for name, shelf in self.shelves.items():
                for spec in getattr(self.scenario, name):
                    if getattr(spec, "again_after", None) is None:
                        shelf.add(spec)

    @property
    def now(self) -> datetime:
        """World time (aware, UTC)."""
        return self.clock.now()

    @property
    def elapsed(self) -> float:
        """World seconds since the start of the scenario."""
        return (self.now - self.started).total_seconds()

    @property
    def account(self) -> Account:
        """The first account."""
        return self.accounts[0]

    def server_time(self, skew: float = 0.0) -> datetime:
        """
        Return the time of the server, for signatures and the ``Date`` header.

        :param skew: seconds by which the server's clock is ahead.
        """
        world = self.behaviour.signature_clock == "world"
        return shifted(self.now if world else datetime.now(UTC), skew)

    def advance(self, seconds: float) -> None:
        """
        Move world time forward.

        :param seconds: world seconds.
        :raises ValueError: if ``seconds`` is negative, or world time would end.
        """
        self.clock.advance(seconds)

    def next_change(self) -> datetime | None:
        """Return when something changes next; None if everything stays as it is."""
        with self.lock:
            self.produce_models()
            now, lag = self.now, self.behaviour.list_lag
            moments = [
                moment
                for shelf in self.shelves.values()
                for thing in shelf.values()
                for moment in (thing.created, shifted(thing.created, lag), *map(thing.at, thing.steps))
            ]
            moments += [
                shifted(self.started, seconds)
                for fault in self.faults
                for seconds in (fault.after, fault.until)
                if seconds is not None
            ]
            return min((moment for moment in moments if moment > now), default=None)

    def asked(self, path: str, action: str, body: bytes) -> None:
        """Take note of a request that is about to be answered: a :class:`.clock.LeapingClock` may leap."""
        clock = self.clock
        if not isinstance(clock, LeapingClock):
            return
        with self.lock:
            if clock.waits(path, action, body) and (change := self.next_change()) is not None:
                # A little more than the change needs: times are cut to microseconds.
                clock.advance((change - clock.now()).total_seconds() + _A_LITTLE)

    def next_number(self, kind: str) -> str:
        """Return the number of the next task or service that a client creates: 0001, 0002, …."""
        self._created[kind] += 1
        return f"{self._created[kind]:04d}"

    def begin_again(self, source_model_id: str) -> None:
        """Begin the tasks of a source model that begin when asked for; see ``again_after`` of a task."""
        for number, spec in enumerate(self.scenario.tasks):
            if spec.again_after is None or spec.source_model_id != source_model_id:
                continue
            task = self.tasks.get(self._begun.get(number, ""))
            if task is None or task.age(self.now) >= task.steps[-1].after + spec.again_after:
                again = spec.numbered(self.next_number(f"task {number}"))
                while again.id in self.tasks:
                    again = spec.numbered(self.next_number(f"task {number}"))
                self._begun[number] = self.tasks.add(again)

    def produce_models(self) -> None:
        """Add the model versions that tasks have produced by now."""
        now = self.now
        for task in self.tasks.values():
            source = self.models.get(task.spec.source_model_id)
            for step in task.past(now):
                if step.model_id is None or step.model_id in self.models or task.created > now:
                    continue
                if step.model_id in self.models.removed:
                    continue
                spec = ModelSpec(
                    name=task.name,
                    model_set_id=task.spec.model_set_id,
                    model=BASE_MODEL if source is None else source.spec.model,
                    source_type="Acceleration",
                    source_task_id=task.id,
                    supports_compression=self.behaviour.produced_supports_compression,
                    timeline=step.model_timeline or (),
                )
                self.models[step.model_id] = Model(step.model_id, spec, task.at(step))

    def change_behaviour(self, behaviour: Behaviour) -> None:
        """Take over all settings of another behaviour."""
        for item in fields(Behaviour):
            setattr(self.behaviour, item.name, getattr(behaviour, item.name))

    def count(self, action: str) -> int:
        """
        Count the calls of an action among the last 20,000 calls, whatever the answer was.

        :param action: the name of the action, such as ``DescribeModelCompTasks``.
        """
        return sum(call.action == action for call in list(self.calls))

    def record(self, call: Call) -> None:
        """Add a call to the call log. If the log is full, forget the oldest call."""
        self.calls.append(call)
        del self.calls[:-CALLS_KEPT]
        if self.on_call is not None:
            self.on_call(call)

    def refused(self, method: str, path: str, status: int, why: str) -> None:
        """Tell of a request that reached neither API, unescaped. The call log does not keep it."""
        if self.on_refusal is not None:
            self.on_refusal(f"{self.now:%H:%M:%S} {method} {path} {status} refused: {why}")

    def due_faults(self, action: str) -> list[Fault]:
        """Count a call, and return the faults that strike it."""
        with self.lock:
            elapsed = self.elapsed
            return [fault for fault in self.faults if fault.action in ("*", action) and fault.due(elapsed)]
