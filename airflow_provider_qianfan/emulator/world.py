"""The emulated platform: its tasks, model versions, services, accounts and clock. No HTTP here."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.backend import Backend
from airflow_provider_qianfan.emulator.clock import Clock, RealClock, shifted
from airflow_provider_qianfan.emulator.scenario import (
    BASE_MODEL,
    MODEL_SET_ID,
    NO_PATCH,
    Account,
    Behaviour,
    ModelSpec,
    ModelStatus,
    ModelStep,
    Patch,
    RunStatus,
    Scenario,
    ServiceSpec,
    ServiceStep,
    SourceType,
    Status,
    Step,
    TaskSpec,
    load,
)
from airflow_provider_qianfan.emulator.schema import ScenarioError, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from airflow_provider_qianfan.emulator.faults import Fault


# Enough for any test, and some 200 MiB at the very worst.
CALLS_KEPT = 20_000
KEPT_OF_A_CALL = 8192
_KEPT_OF_A_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One request to the platform API, as the emulator saw it.

    :param time: world time.
    :param action: the ``Action`` of the query, "" without one.
    :param raw: the body; of a long one, the first 8 KiB.
    :param status: HTTP status of the answer.
    :param code: the error code of the answer, if it was the platform's own error.
    :param access_key_id: of the ``Authorization`` header, not necessarily a valid one; None without one.
    """

    time: datetime
    action: str
    raw: bytes
    status: int
    code: str | None
    access_key_id: str | None

    def __post_init__(self) -> None:
        """Keep no more than a part of what is long; a client decides how long it is."""
        object.__setattr__(self, "raw", self.raw[:KEPT_OF_A_CALL])
        object.__setattr__(self, "action", self.action[:_KEPT_OF_A_NAME])
        if self.access_key_id is not None:
            object.__setattr__(self, "access_key_id", self.access_key_id[:_KEPT_OF_A_NAME])

    @property
    def body(self) -> Any:
        """The parsed JSON body, or its text if it is not JSON or is cut."""
        try:
            return read_json(self.raw)
        except ScenarioError:
            return self.raw.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    A request that was refused before either API saw it. Text that the client sent is not escaped here.

    :param time: world time.
    :param status: HTTP status of the answer.
    :param why: in a few words.
    """

    time: datetime
    method: str
    path: str
    status: int
    why: str


class World(Backend):
    """
    The emulated platform, and all that whoever runs it can do to it.

    ``behaviour``, ``accounts`` and ``faults`` may be changed at any time.

    :param scenario: see :func:`.scenario.load`; default: no tasks, one account.
    :param clock: world time; default: the real one.
    """

    def __init__(
        self,
        scenario: Scenario | Mapping[str, object] | str | Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.on_call: Callable[[Call], None] | None = None
        self.on_refusal: Callable[[Refusal], None] | None = None
        super().__init__(Scenario() if scenario is None else load(scenario), clock or RealClock())

    def reset(self) -> None:
        """Go back to the beginning of the scenario; the clock goes on, the scenario starts now."""
        with self._lock:
            super().reset()
            self.accounts: list[Account] = [replace(account) for account in self.scenario.accounts]
            self.faults: list[Fault] = [replace(fault) for fault in self.scenario.faults]
            self.calls: list[Call] = []

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
        Return what the server thinks the time is, for signatures and the ``Date`` header.

        :param skew: seconds by which its clock is ahead.
        """
        world = self.behaviour.signature_clock == "world"
        return shifted(self.now if world else datetime.now(UTC), skew)

    def advance(self, seconds: float) -> None:
        """Move world time forward by ``seconds``."""
        self.clock.advance(seconds)

    def add_task(
        self,
        source_model_id: str,
        *,
        status: Status | None = None,
        timeline: tuple[Step, ...] = (),
        task_id: str | None = None,
        name: str | None = None,
        description: str = "",
        config: dict[str, object] | None = None,
        model_set_id: str = MODEL_SET_ID,
        created: float | datetime = 0.0,
        model_id: str | None = None,
        failed_reason: str | None = None,
        set_keys: dict[str, object] | None = None,
        omit: tuple[str, ...] = (),
        in_list: Patch = NO_PATCH,
        in_detail: Patch = NO_PATCH,
    ) -> str:
        """
        Put a task into the world and return its id; the parameters are those of :class:`.scenario.TaskSpec`.

        :param status: default ``running``, unless there is a ``timeline``.
        """
        if status is None and not timeline:
            status = "running"
        spec = TaskSpec(
            source_model_id=source_model_id,
            status=status,
            timeline=timeline,
            id=task_id,
            name=name,
            description=description,
            model_set_id=model_set_id,
            created=created,
            model_id=model_id,
            failed_reason=failed_reason,
            set=set_keys or {},
            omit=omit,
            in_list=in_list,
            in_detail=in_detail,
        )
        return self.put(spec if config is None else replace(spec, config=config))[0]

    def set_status(
        self,
        task_id: str,
        status: Status,
        *,
        model_id: str | None = None,
        model_timeline: tuple[ModelStep, ...] | None = None,
        failed_reason: str | None = None,
        set_keys: dict[str, object] | None = None,
        omit: tuple[str, ...] = (),
        in_list: Patch = NO_PATCH,
        in_detail: Patch = NO_PATCH,
    ) -> None:
        """
        Give a task a status from now on; what its timeline had in store is dropped.

        The parameters are those of :class:`.scenario.Step`.

        :raises KeyError: if there is no such task.
        """
        step = Step(
            status=status,
            model_id=model_id,
            failed_reason=failed_reason,
            set=set_keys or {},
            omit=omit,
            in_list=in_list,
            in_detail=in_detail,
        )
        self.divert(task_id, step if model_timeline is None else replace(step, model_timeline=model_timeline))

    def divert(self, task_id: str, *steps: Step) -> None:
        """
        Replace a task's future.

        :param steps: what is to happen; ``after`` counts from now.
        :raises KeyError: if there is no such task.
        """
        with self._lock:
            self.tasks[task_id].divert(self.now, *steps)

    def remove_task(self, task_id: str) -> None:
        """
        Take a task out of the world; a version that it produced stays.

        :raises KeyError: if there is no such task.
        """
        with self._lock:
            self._produce_models()
            del self.tasks[task_id]

    def add_model(
        self,
        model_id: str | None = None,
        *,
        status: ModelStatus | None = None,
        timeline: tuple[ModelStep, ...] = (),
        name: str | None = None,
        description: str = "",
        model_set_id: str = MODEL_SET_ID,
        model: str = BASE_MODEL,
        source_type: SourceType = "Train",
        source_task_id: str | None = None,
        supports_compression: bool = True,
        created: float | datetime = 0.0,
        set_keys: dict[str, object] | None = None,
        omit: tuple[str, ...] = (),
    ) -> str:
        """
        Put a model version into the world and return its id.

        The parameters are those of :class:`.scenario.ModelSpec`.
        """
        return self.put_model(
            ModelSpec(
                id=model_id,
                status=status,
                timeline=timeline,
                name=name,
                description=description,
                model_set_id=model_set_id,
                model=model,
                source_type=source_type,
                source_task_id=source_task_id,
                supports_compression=supports_compression,
                created=created,
                set=set_keys or {},
                omit=omit,
            )
        )

    def set_model_status(
        self,
        model_id: str,
        status: ModelStatus,
        *,
        set_keys: dict[str, object] | None = None,
        omit: tuple[str, ...] = (),
    ) -> None:
        """
        Give a model version a status from now on; what its timeline had in store is dropped.

        :raises KeyError: if there is no such version, or its task has not produced it yet.
        """
        self.divert_model(model_id, ModelStep(status=status, set=set_keys or {}, omit=omit))

    def divert_model(self, model_id: str, *steps: ModelStep) -> None:
        """
        Replace a model version's future.

        :param steps: what is to happen; ``after`` counts from now.
        :raises KeyError: if there is no such version, or its task has not produced it yet.
        """
        with self._lock:
            self._produce_models()
            self.models[model_id].divert(self.now, *steps)

    def add_service(
        self,
        model_id: str,
        *,
        run_status: RunStatus | None = None,
        timeline: tuple[ServiceStep, ...] = (),
        service_id: str | None = None,
        name: str | None = None,
        description: str = "",
        model_set_id: str = MODEL_SET_ID,
        url_suffix: str | None = None,
        created: float | datetime = 0.0,
        set_keys: dict[str, object] | None = None,
        omit: tuple[str, ...] = (),
        in_list: Patch = NO_PATCH,
        in_detail: Patch = NO_PATCH,
    ) -> str:
        """
        Put a service into the world and return its id.

        The parameters are those of :class:`.scenario.ServiceSpec`.
        """
        return self.put_service(
            ServiceSpec(
                model_id=model_id,
                run_status=run_status,
                timeline=timeline,
                id=service_id,
                name=name,
                description=description,
                model_set_id=model_set_id,
                url_suffix=url_suffix,
                created=created,
                set=set_keys or {},
                omit=omit,
                in_list=in_list,
                in_detail=in_detail,
            )
        )

    def set_service(
        self,
        service_id: str,
        *,
        run_status: RunStatus | None = None,
        update_status: str | None = None,
        model_set_id: str | None = None,
        model_id: str | None = None,
        set_keys: dict[str, object] | None = None,
        omit: tuple[str, ...] = (),
        in_list: Patch = NO_PATCH,
        in_detail: Patch = NO_PATCH,
    ) -> None:
        """
        Change a service from now on; what its timeline had in store is dropped.

        The parameters are those of :class:`.scenario.ServiceStep`; what is not given stays.

        :raises KeyError: if there is no such service.
        """
        step = ServiceStep(
            run_status=run_status,
            update_status=update_status,
            model_set_id=model_set_id,
            model_id=model_id,
            set=set_keys or {},
            omit=omit,
            in_list=in_list,
            in_detail=in_detail,
        )
        self.divert_service(service_id, step)

    def divert_service(self, service_id: str, *steps: ServiceStep) -> None:
        """
        Replace a service's future.

        :param steps: what is to happen; ``after`` counts from now.
        :raises KeyError: if there is no such service.
        """
        with self._lock:
            self.services[service_id].divert(self.now, *steps)

    def remove_service(self, service_id: str) -> None:
        """
        Take a service out of the world.

        :raises KeyError: if there is no such service.
        """
        with self._lock:
            del self.services[service_id]

    def change_behaviour(self, behaviour: Behaviour) -> None:
        """Take over all switches of another behaviour."""
        for item in fields(Behaviour):
            setattr(self.behaviour, item.name, getattr(behaviour, item.name))

    def count(self, action: str) -> int:
        """Return how many of the last 20,000 calls were of an action, whatever the answer."""
        return sum(call.action == action for call in list(self.calls))

    def record(self, call: Call) -> None:
        """Add to the call log, and forget the oldest call of a full one."""
        self.calls.append(call)
        del self.calls[:-CALLS_KEPT]
        if self.on_call is not None:
            self.on_call(call)

    def refused(self, method: str, path: str, status: int, why: str) -> None:
        """Take note of a request that has reached neither API; the call log does not keep it."""
        if self.on_refusal is not None:
            self.on_refusal(Refusal(self.now, method, path, status, why))

    def due_faults(self, action: str) -> list[Fault]:
        """Count a call and return the faults that strike it."""
        with self._lock:
            elapsed = self.elapsed
            return [fault for fault in self.faults if fault.action in ("*", action) and fault.due(elapsed)]
