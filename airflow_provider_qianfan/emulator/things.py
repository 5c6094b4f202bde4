"""
The things on the emulated platform: tasks, model versions and services, and how the platform shows them.

The state of a thing follows from its specification, and from what has happened since its creation.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import reduce
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from airflow_provider_qianfan.emulator.clock import shifted
from airflow_provider_qianfan.emulator.specs import AnySpec, ModelSpec, ServiceSpec, TaskSpec
from airflow_provider_qianfan.emulator.steps import (
    NO_PATCH,
    NO_UPDATE,
    TERMINAL,
    AnyStep,
    ModelStep,
    ServiceStep,
    TaskStep,
)

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.behaviour import Behaviour

SERVICE_TYPE = "chat"

_BEIJING = timezone(timedelta(hours=8))
_PLATFORM_ZERO = "0000-00-00T00:00:00Z"
_STATE = ("run_status", "update_status", "model_set_id", "model_id")

Where = Literal["list", "detail"]
Spec = TypeVar("Spec", bound=AnySpec)
Step = TypeVar("Step", bound=AnyStep)


class Timed(Generic[Spec, Step]):
    """
    A thing whose state follows from its steps and the clock.

    :param spec: its specification, without ``repeat``.
    :param created: the time of its creation (world time, aware).
    """

    def __init__(self, thing_id: str, spec: Spec, created: datetime) -> None:
        self.id = thing_id
        self.spec = spec
        self.created = created
        self.steps: tuple[Step, ...] = spec.steps

    @property
    def name(self) -> str:
        """The name; without one, the id."""
        return self.spec.name or self.id

    def age(self, now: datetime) -> float:
        """Return the world seconds since the creation."""
        return (now - self.created).total_seconds()

    def past(self, now: datetime) -> tuple[Step, ...]:
        """Return the steps up to now. The first step is always among them."""
        age = self.age(now)
        return (self.steps[0], *(step for step in self.steps[1:] if step.after <= age))

    def step(self, now: datetime) -> Step:
        """Return the current step."""
        return self.past(now)[-1]

    def at(self, step: Step) -> datetime:
        """Return the time of a step."""
        return shifted(self.created, step.after)

    def divert(self, now: datetime, *steps: Step) -> None:
        """
        Replace the future.

        :param steps: the new future. Their ``after`` counts from ``now``.
        """
        age = self.age(now)
        self.steps = self.past(now) + tuple(replace(step, after=age + step.after) for step in steps)

    def patched(self, row: dict[str, Any], step: Step, where: Where) -> dict[str, Any]:
        """
        Return a row with the patches of this thing and of its step.

        :param where: the action that the row is for.
        """
        only = [getattr(patched, f"in_{where}", NO_PATCH) for patched in (self.spec, step)]
        for patch in (self.spec, step, *only):
            row = patch.apply(row)
        return row


class Task(Timed[TaskSpec, TaskStep]):
    """A model compression task. Its status follows from its steps and the clock."""

    def finished(self, now: datetime) -> datetime | None:
        """Return when the task ended; None if it has not ended."""
        end = None
        for step in self.past(now):
            if step.status not in TERMINAL:
                end = None
            elif end is None:
                end = self.at(step)
        return end

    def row(self, where: Where, now: datetime, behaviour: Behaviour) -> dict[str, Any]:
        """
        Return the task as the list or the detail action shows it.

        The list has no ``failedReason``. ``modelId`` is there once the task has succeeded.
        """
        step = self.step(now)
        row: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "description": self.spec.description,
            "status": step.status,
            "sourceModelId": self.spec.source_model_id,
        }
        if where == "detail" and step.failed_reason is not None:
            row["failedReason"] = step.failed_reason
        if step.model_id is not None:
            row["modelId"] = step.model_id
        elif behaviour.failed_model_id == "empty":
            row["modelId"] = ""
        row["config"] = dict(self.spec.config)
        finished, kind = self.finished(now), behaviour.time_format
        ended = time_text(finished, kind) if finished else time_text(now, behaviour.unfinished_time)
        row.update(given(createTime=time_text(self.created, kind), finishTime=ended))
        return self.patched(row, step, where)


class Model(Timed[ModelSpec, ModelStep]):
    """A model version. Its status follows from its steps and the clock."""

    def row(self, where: Where, now: datetime, behaviour: Behaviour) -> dict[str, Any]:
        """
        Return the version as DescribeModel shows it. An empty ``description`` is left out.

        :param where: always ``detail``: no action of the emulator lists versions.
        """
        spec, step, kind = self.spec, self.step(now), behaviour.time_format
        source: dict[str, str] = {behaviour.source_type_key: spec.source_type}
        if spec.source_task_id is not None:
            source[behaviour.source_task_key] = spec.source_task_id
        row: dict[str, Any] = {
            "modelSetId": spec.model_set_id,
            "modelId": self.id,
            "status": step.status,
            "modelName": self.name,
            "model": spec.model,
            "sourceInfo": source,
            **({"description": spec.description} if spec.description else {}),
            **given(createTime=time_text(self.created, kind), modifyTime=time_text(self.at(step), kind)),
            "modelApplicationType": "chat",
            "isSupportModelComp": spec.supports_compression,
        }
        return self.patched(row, step, where)


class Service(Timed[ServiceSpec, ServiceStep]):
    """An online service. Its state is the sum of its steps until now."""

    def __init__(self, service_id: str, spec: ServiceSpec, created: datetime) -> None:
        super().__init__(service_id, spec, created)
        first = ServiceStep(update_status=NO_UPDATE, model_set_id=spec.model_set_id, model_id=spec.model_id)
        self.steps = (_on_top(first, self.steps[0]), *self.steps[1:])

    @property
    def url_suffix(self) -> str:
        """The last part of the service's URL; the id if none is given."""
        return self.spec.url_suffix or self.id

    def state(self, now: datetime) -> ServiceStep:
        """Return the latest step, filled with everything from earlier steps that still holds."""
        return reduce(_on_top, self.past(now))

    def update(self, now: datetime, model_set_id: str, model_id: str, behaviour: Behaviour) -> None:
        """
        Begin an update to another version. All other future steps of this service stay.

        An update in progress is forgotten.
        """
        age, state = self.age(now), self.state(now)
        old = ServiceStep(model_set_id=state.model_set_id, model_id=state.model_id)
        new = ServiceStep(model_set_id=model_set_id, model_id=model_id)
        during = old if behaviour.updating_model == "old" else new
        after = new if behaviour.update_outcome == "updated" else old
        failed = behaviour.update_outcome == "update_failed"
        begin = replace(during, after=age, update_status=behaviour.updating_word)
        end = replace(
            after,
            after=age + behaviour.update_seconds,
            update_status=behaviour.update_failed_word if failed else NO_UPDATE,
            run_status="Failed" if behaviour.update_outcome == "run_failed" else None,
        )
        past = self.past(now)
        future = self.steps[len(past) :]
        others = [replace(step, update_status=None) for step in future if step.model_id is None]
        self.steps = (*past, begin, *sorted([*others, end], key=lambda step: step.after))

    def row(self, where: Where, now: datetime, behaviour: Behaviour) -> dict[str, Any]:
        """Return the service as the list or the detail action shows it."""
        state = self.state(now)
        swapped = behaviour.service_version_key == "modelVersionId"
        set_key, version_key = ("modelId", "modelVersionId") if swapped else ("modelSetId", "modelId")
        row: dict[str, Any] = {
            "serviceId": self.id,
            "baseModel": self.spec.base_model,
            set_key: state.model_set_id,
            version_key: state.model_id,
            "name": self.name,
            "description": self.spec.description,
            # A name that never resolves, so that nobody sends it a prompt.
            "url": f"https://emulated.invalid/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/{self.url_suffix}",
            "endpoint": self.url_suffix,
            "serviceType": SERVICE_TYPE,
            "runStatus": state.run_status,
            "updateStatus": state.update_status,
            "chargeType": self.spec.charge_type,
            "payType": self.spec.pay_type,
            "chargeStatus": "Opened",
            "resourceConfig": dict(self.spec.resource_config),
            **given(createTime=time_text(self.created, behaviour.time_format)),
        }
        return self.patched(row, state, where)


def _on_top(state: ServiceStep, step: ServiceStep) -> ServiceStep:
    """Fill the gaps of a step from the state before it."""
    return replace(step, **{name: getattr(state, name) for name in _STATE if getattr(step, name) is None})


def time_text(moment: datetime, kind: str) -> str | None:
    """
    Return a time as an answer writes it; None if the answer leaves it out.

    :param kind: the ``time_format`` or ``unfinished_time`` of :class:`.behaviour.Behaviour`.
    """
    if kind == "offset":
        return moment.astimezone(_BEIJING).isoformat(timespec="seconds")
    if kind == "z":
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"zero": _PLATFORM_ZERO, "empty": "", "absent": None}[kind]


def given(**texts: str | None) -> dict[str, Any]:
    """Return the keys that have a text."""
    return {key: text for key, text in texts.items() if text is not None}
