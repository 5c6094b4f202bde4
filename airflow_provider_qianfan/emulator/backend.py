"""What there is on the emulated platform, and what its actions do to it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_qianfan.emulator import errors, timeline
from airflow_provider_qianfan.emulator.clock import Clock, shifted
from airflow_provider_qianfan.emulator.models import Model
from airflow_provider_qianfan.emulator.scenario import (
    BASE_MODEL,
    MODEL_SET_ID,
    NO_UPDATE,
    TERMINAL,
    Behaviour,
    ModelSpec,
    Scenario,
    ServiceSpec,
    ServiceStep,
    Step,
    TaskSpec,
    seconds_until,
)
from airflow_provider_qianfan.emulator.services import SERVICE_TYPE, Service
from airflow_provider_qianfan.emulator.tasks import Task
from airflow_provider_qianfan.emulator.timeline import DEFAULT_MAX_KEYS

if TYPE_CHECKING:
    from collections.abc import Collection

T = TypeVar("T", Task, Model, Service)


class Backend:
    """
    The tasks, model versions and services, and the actions of the platform on them.

    The actions are ``create_task`` … ``deactivate_service``; they return the ``result`` of the answer or
    raise :class:`.errors.ApiError`. Who may call them, and how, is decided in :mod:`.actions`.
    """

    def __init__(self, scenario: Scenario, clock: Clock) -> None:
        self.scenario = scenario
        self.clock = clock
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Go back to the beginning of the scenario; the clock goes on, the scenario starts now."""
        with self._lock:
            self.started = self.clock.now()
            self.behaviour: Behaviour = replace(self.scenario.behaviour)
            self.tasks: dict[str, Task] = {}
            self.models: dict[str, Model] = {}
            self.services: dict[str, Service] = {}
            self._invented: Counter[str] = Counter()
            self._created: Counter[str] = Counter()
            # Before the tasks: a version that is in the scenario is not one that a task produces.
            for model in self.scenario.models:
                self.put_model(model)
            for task in self.scenario.tasks:
                self.put(task)
            for service in self.scenario.services:
                self.put_service(service)

    @property
    def now(self) -> datetime:
        """World time (aware, UTC)."""
        return self.clock.now()

    def put(self, spec: TaskSpec) -> list[str]:
        """
        Put the task or, with ``repeat``, the tasks of a specification into the world and return their ids.

        :raises ValueError: if an id is taken.
        """
        with self._lock:
            now = self.now
            added: dict[str, Task] = {}
            for single, offset in spec.expand(now):
                task_id = single.id or self._invent_id("amva", self.tasks)
                if task_id in self.tasks or task_id in added:
                    raise ValueError(f"there is already a task {task_id!r}")
                added[task_id] = Task.of(single, task_id, shifted(now, offset))
            self.tasks.update(added)
            return list(added)

    def put_model(self, spec: ModelSpec) -> str:
        """
        Put the model version of a specification into the world and return its id.

        :raises ValueError: if the id is taken.
        """
        with self._lock:
            self._produce_models()
            model_id = spec.id or self._invent_id("amv", self.models)
            if model_id in self.models:
                raise ValueError(f"there is already a model version {model_id!r}")
            self.models[model_id] = Model.of(spec, model_id, self._moment(spec.created))
            return model_id

    def put_service(self, spec: ServiceSpec) -> str:
        """
        Put the service of a specification into the world and return its id.

        :raises ValueError: if the id is taken.
        """
        with self._lock:
            service_id = spec.id or self._invent_id("svco", self.services)
            if service_id in self.services:
                raise ValueError(f"there is already a service {service_id!r}")
            self.services[service_id] = Service.of(spec, service_id, self._moment(spec.created))
            return service_id

    def existing(self) -> list[Task]:
        """Return the tasks that have been created by now, in the order of the list action."""
        with self._lock:
            return timeline.existing(self.tasks.values(), self.now, self.behaviour.order)

    def existing_models(self) -> list[Model]:
        """Return the model versions that there are by now, those included that tasks have produced."""
        with self._lock:
            self._produce_models()
            return timeline.existing(self.models.values(), self.now, self.behaviour.order)

    def existing_services(self) -> list[Service]:
        """Return the services that have been created by now, in the order of the list action."""
        with self._lock:
            return timeline.existing(self.services.values(), self.now, self.behaviour.order)

    # -- the actions on tasks ----------------------------------------------------------------------

    def create_task(
        self,
        *,
        name: str,
        source_model_id: str,
        config: dict[str, object],
        description: str = "",
        model_set_id: str = MODEL_SET_ID,
    ) -> str:
        """
        Do CreateModelCompTask and return the new task's id.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji
        """
        with self._lock:
            number = self._next_created("task")
            spec = TaskSpec(
                id=f"amva-created{number}",
                name=name,
                description=description,
                source_model_id=source_model_id,
                model_set_id=model_set_id,
                config=config,
                timeline=tuple(
                    replace(step, model_id=step.model_id.replace("{n}", number)) if step.model_id else step
                    for step in self.scenario.created_tasks.timeline
                ),
            )
            return self.put(spec)[0]

    def list_tasks(
        self,
        *,
        marker: str | None = None,
        max_keys: int = DEFAULT_MAX_KEYS,
        page_reverse: bool = False,
        source_model_id: str | None = None,
    ) -> dict[str, Any]:
        """
        Do DescribeModelCompTasks.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq

        :param max_keys: default 10; above 100 means 100.
        """
        with self._lock:
            now, behaviour = self.now, self.behaviour
            tasks = [
                task
                for task in self.existing()
                if task.age(now) >= behaviour.list_lag
                and (source_model_id in (None, task.source_model_id) or behaviour.ignore_source_filter)
            ]
        page, info = timeline.page(tasks, behaviour, marker, max_keys, page_reverse)
        return {"modelCompTaskList": [task.row("list", now, behaviour) for task in page], "pageInfo": info}

    def describe_task(self, task_id: str) -> dict[str, Any] | None:
        """
        Do DescribeModelCompTask.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/ylxcncgpi
        """
        with self._lock:
            task = self._find(self.tasks, task_id)
            return None if task is None else task.row("detail", self.now, self.behaviour)

    def cancel_task(self, task_id: str) -> None:
        """
        Do CancelModelCompTask.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd
        """
        with self._lock:
            task, now = self._find(self.tasks, task_id), self.now
            if task is None:
                return
            status = task.step(now).status
            if status in TERMINAL:
                errors.refuse(self.behaviour.cancel_finished, f"The task {task_id} is {status}.")
            elif status != "stopping":
                end = Step(status="stopped", after=self.behaviour.stopping_seconds)
                task.divert(now, Step(status="stopping"), end)

    def delete_task(self, task_id: str) -> None:
        """
        Do DeleteModelCompTask.

        https://ai.baidu.com/ai-doc/WENXINWORKSHOP/Slxcndblq
        """
        with self._lock:
            task = self._find(self.tasks, task_id)
            if task is None:
                return
            status = task.step(self.now).status
            if status not in TERMINAL:
                errors.refuse(self.behaviour.delete_unfinished, f"The task {task_id} is {status}.")
            self._produce_models()
            del self.tasks[task_id]
            if self.behaviour.delete_takes_model:
                produced = [model.id for model in self.models.values() if model.source_task_id == task_id]
                for model_id in produced:
                    del self.models[model_id]

    # -- the action on model versions --------------------------------------------------------------

    def describe_model(self, model_id: str) -> dict[str, Any] | None:
        """
        Do DescribeModel.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Plw02jx3a
        """
        with self._lock:
            self._produce_models()
            model = self._find(self.models, model_id)
            return None if model is None else model.row(self.now, self.behaviour)

    # -- the actions on services -------------------------------------------------------------------

    def create_service(self, spec: ServiceSpec) -> dict[str, Any]:
        """
        Do CreateService: each call makes another one.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/olub6bfdy

        :param spec: the service; ``id`` and what becomes of it are the world's to say.
        """
        with self._lock:
            behaviour = self.behaviour
            self._check_ready(spec.model_id)
            if any(service.url_suffix == spec.url_suffix for service in self.existing_services()):
                errors.refuse(behaviour.same_url_suffix, f"The urlSuffix {spec.url_suffix} is taken.")
            number = self._next_created("service")
            steps = self.scenario.created_services.timeline
            model = self.models.get(spec.model_id)
            service_id = self.put_service(
                replace(
                    spec,
                    id=f"svco-created{number}",
                    timeline=steps,
                    base_model=BASE_MODEL if model is None else model.model,
                )
            )
            return {"serviceId": service_id, "instanceId": f"emulatedinstance{number}"}

    def modify_service(self, service_id: str, *, model_set_id: str, model_id: str) -> bool | None:
        """
        Do ModifyService: begin the update to another version.

        https://cloud.baidu.com/doc/qianfan-api/s/Emwbl485l
        """
        with self._lock:
            service, now = self._find(self.services, service_id), self.now
            if service is None:
                return None
            self._check_ready(model_id)
            state = service.state(now)
            if state.run_status != "Serving":
                errors.refuse(
                    self.behaviour.modify_unready, f"The service {service_id} is {state.run_status}."
                )
            elif state.update_status == self.behaviour.updating_word:
                errors.refuse(self.behaviour.modify_unready, f"The service {service_id} is being updated.")
            service.update(now, model_set_id, model_id, self.behaviour)
            return True

    def list_services(
        self,
        *,
        marker: str | None = None,
        max_keys: int = DEFAULT_MAX_KEYS,
        page_reverse: bool = False,
        name: str | None = None,
        service_type: list[str] | None = None,
        run_status: list[str] | None = None,
        charge_type: str | None = None,
        pay_type: str | None = None,
    ) -> dict[str, Any]:
        """
        Do DescribeServices.

        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/0lub6chm4

        :param max_keys: default 10; above 100 means 100.
        :param name: part of the name.
        """
        with self._lock:
            now, behaviour = self.now, self.behaviour
            services = [
                service
                for service in self.existing_services()
                if service.age(now) >= behaviour.list_lag
                and (name or "") in service.name
                and (not service_type or SERVICE_TYPE in service_type)
                and (not run_status or service.state(now).run_status in run_status)
                and charge_type in (None, service.charge_type)
                and pay_type in (None, service.pay_type)
            ]
        page, info = timeline.page(services, behaviour, marker, max_keys, page_reverse)
        return {"serviceList": [service.row("list", now, behaviour) for service in page], "pageInfo": info}

    def describe_service(self, service_id: str) -> dict[str, Any] | None:
        """
        Do DescribeService.

        https://cloud.baidu.com/doc/qianfan/s/Kmh4sv4c7
        """
        with self._lock:
            service = self._find(self.services, service_id)
            return None if service is None else service.row("detail", self.now, self.behaviour)

    def deactivate_service(self, service_id: str) -> dict[str, Any] | None:
        """
        Do DeactivateService.

        https://cloud.baidu.com/doc/qianfan/s/xmh4sv49o
        """
        with self._lock:
            service, now = self._find(self.services, service_id), self.now
            if service is None:
                return None
            if service.state(now).run_status == "Stopped":
                errors.refuse(self.behaviour.deactivate_stopped, f"The service {service_id} is Stopped.")
            else:
                after = self.behaviour.deactivating_seconds
                service.divert(now, ServiceStep(run_status="Stopped", update_status=NO_UPDATE, after=after))
            return {"operation": True, "message": ""}

    # -- details -----------------------------------------------------------------------------------

    def _produce_models(self) -> None:
        """Bring the versions into the world that tasks have produced since the last time."""
        now = self.now
        for task in self.tasks.values():
            source = self.models.get(task.source_model_id)
            for step in task.past(now):
                if step.model_id is None or step.model_id in self.models or task.created > now:
                    continue
                spec = ModelSpec(
                    name=task.name,
                    model_set_id=task.model_set_id,
                    model=BASE_MODEL if source is None else source.model,
                    source_type="Acceleration",
                    source_task_id=task.id,
                    supports_compression=self.behaviour.produced_supports_compression,
                    timeline=step.model_timeline,
                )
                produced = shifted(task.created, step.after)
                self.models[step.model_id] = Model.of(spec, step.model_id, produced)

    def _check_ready(self, model_id: str) -> None:
        self._produce_models()
        model = self.models.get(model_id)
        if model is not None and model.step(self.now).status != "Ready":
            errors.refuse(self.behaviour.deploy_unready, f"The model version {model_id} is not Ready.")

    def _find(self, things: dict[str, T], thing_id: str) -> T | None:
        thing = things.get(thing_id)
        if thing is not None and thing.created <= self.now:
            return thing
        errors.not_found(self.behaviour.not_found, f"There is no {thing_id}.")
        return None

    def _moment(self, created: float | datetime) -> datetime:
        now = self.now
        return shifted(now, seconds_until(created, now))

    def _next_created(self, kind: str) -> str:
        self._created[kind] += 1
        return f"{self._created[kind]:04d}"

    def _invent_id(self, prefix: str, taken: Collection[str]) -> str:
        while True:
            self._invented[prefix] += 1
            invented = f"{prefix}-emulated{self._invented[prefix]:04d}"
            if invented not in taken:
                return invented
