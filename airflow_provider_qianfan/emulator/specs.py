"""What there is on the emulated platform, as a scenario file says it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from airflow_provider_qianfan.emulator.steps import (
    NO_PATCH,
    ModelStatus,
    ModelStep,
    Patch,
    RunStatus,
    ServiceStep,
    Status,
    TaskStep,
    check_timeline,
)

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Plw02jx3a
SourceType = Literal["Train", "Acceleration", "Import", "PlatformPreset"]

# https://cloud.baidu.com/doc/qianfan/s/Kmh4sv4c7
ChargeType = Literal["ComputingUnit", "Tokens"]
PayType = Literal["Prepay", "Postpay"]

MODEL_SET_ID = "am-emulated0001"
BASE_MODEL = "emulated-base-model"

_MOST_REPEATED = 10_000


def _fill(text: str | None, number: str) -> str | None:
    return None if text is None else text.replace("{n}", number)


def seconds_until(moment: float | datetime, now: datetime) -> float:
    """Return the world seconds from ``now`` to a time that is given as such, or is a time."""
    return (moment - now).total_seconds() if isinstance(moment, datetime) else moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """
    Make several tasks from one entry. ``{n}`` in its texts becomes 0001, 0002, ….

    :param count: how many tasks, at most 10,000.
    :param every: world seconds from one creation to the next. Default: 60.
    """

    count: int
    every: float = 60.0

    def __post_init__(self) -> None:
        """Refuse an empty repetition, and one that fills the memory."""
        if not 1 <= self.count <= _MOST_REPEATED:
            raise ValueError(f"'count' is from 1 to {_MOST_REPEATED}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnySpec(Patch):
    """
    What tasks, versions and services have in common. It is a :class:`Patch` that always applies.

    :param id: Default: the emulator invents one.
    :param name: Default: the ID.
    :param description: Default: empty.
    :param model_set_id: the model set of the version. For a task: of the version that the task produces.
    :param created: world seconds from the moment of adding it, or an ISO 8601 time (UTC unless it has an
        offset). A negative number means that it is older. With a positive number, it appears later.
        Default: 0.
    """

    id: str | None = None
    name: str | None = None
    description: str = ""
    model_set_id: str = MODEL_SET_ID
    created: float | datetime = 0.0

    @property
    def steps(self) -> tuple[Any, ...]:
        """Return what happens to it, also if it was given as a plain status, or none."""
        raise NotImplementedError

    def expand(self, now: datetime) -> Iterator[tuple[Any, float]]:
        """
        Yield each single specification, with the world seconds from ``now`` to its creation.

        :param now: the moment it is put into the world.
        """
        yield self, seconds_until(self.created, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec(AnySpec):
    """
    A task of the scenario; see also :class:`AnySpec`.

    :param source_model_id: the model version that the task compresses.
    :param config: the ``config`` of the request that created the task. Default:
        ``Quantization`` with ``INT8-PTQ``.
    :param timeline: what happens to the task. For a task that does not change, give ``status`` instead.
    :param status: the status of a task that does not change. Default: ``running``.
    :param model_id: the produced model version of a task that does not change.
    :param failed_reason: why a task that does not change has failed.
    :param in_list: a patch for the list action only.
    :param in_detail: a patch for the detail action only.
    :param repeat: make several tasks from this entry.
    """

    source_model_id: str = field(kw_only=False)
    config: dict[str, object] = field(
        default_factory=lambda: {"strategy": "Quantization", "weight": "INT8-PTQ"}
    )
    timeline: tuple[TaskStep, ...] = ()
    status: Status | None = None
    model_id: str | None = None
    failed_reason: str | None = None
    in_list: Patch = NO_PATCH
    in_detail: Patch = NO_PATCH
    repeat: Repeat | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be meant."""
        if self.timeline:
            if self.status is not None:
                raise ValueError("'timeline' and 'status' exclude each other")
            if self.model_id is not None or self.failed_reason is not None:
                raise ValueError("with 'timeline', 'model_id' and 'failed_reason' belong in its steps")
        if self.repeat and self.repeat.count > 1 and self.id is not None and "{n}" not in self.id:
            raise ValueError("with 'repeat', 'id' needs a {n}")
        check_timeline(self.steps)

    @property
    def steps(self) -> tuple[TaskStep, ...]:
        """Return the timeline, also for a task that was given as a plain status or none."""
        plain = TaskStep(self.status or "running", model_id=self.model_id, failed_reason=self.failed_reason)
        return self.timeline or (plain,)

    def expand(self, now: datetime) -> Iterator[tuple[TaskSpec, float]]:
        """Yield each single task, with the world seconds from ``now`` to its creation."""
        first = seconds_until(self.created, now)
        if self.repeat is None:
            yield self, first
            return
        for n in range(self.repeat.count):
            yield self._numbered(f"{n + 1:04d}"), first + n * self.repeat.every

    def _numbered(self, number: str) -> TaskSpec:
        return replace(
            self,
            repeat=None,
            id=_fill(self.id, number),
            name=_fill(self.name, number),
            description=self.description.replace("{n}", number),
            source_model_id=self.source_model_id.replace("{n}", number),
            model_id=_fill(self.model_id, number),
            timeline=tuple(step.numbered(number) for step in self.timeline),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedTasks:
    """
    What happens to tasks that CreateModelCompTask creates.

    :param timeline: their steps. ``{n}`` in a ``model_id`` becomes 0001, 0002, …. Default: ``creating``,
        ``running`` after 2 s, ``succeeded`` after 8 s.
    """

    timeline: tuple[TaskStep, ...] = (
        TaskStep("creating"),
        TaskStep("running", after=2.0),
        TaskStep("succeeded", after=8.0, model_id="amv-produced{n}"),
    )

    def __post_init__(self) -> None:
        """Refuse a timeline without a beginning."""
        check_timeline(self.timeline)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec(AnySpec):
    """
    A model version of the scenario; see also :class:`AnySpec`.

    Versions that tasks of the scenario produce appear by themselves.

    :param model: the base model.
    :param source_type: where the version comes from. Default: ``Train``.
    :param source_task_id: the task that the version comes from. Default: the answer names none.
    :param supports_compression: ``isSupportModelComp``. Default: true.
    :param timeline: what happens to the version. For a version that does not change, give ``status`` instead.
    :param status: the status of a version that does not change. Default: ``Ready``.
    """

    model: str = BASE_MODEL
    source_type: SourceType = "Train"
    source_task_id: str | None = None
    supports_compression: bool = True
    timeline: tuple[ModelStep, ...] = ()
    status: ModelStatus | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be meant."""
        if self.timeline and self.status is not None:
            raise ValueError("'timeline' and 'status' exclude each other")
        check_timeline(self.steps)

    @property
    def steps(self) -> tuple[ModelStep, ...]:
        """Return the timeline, also for a version that was given as a plain status or none."""
        return self.timeline or (ModelStep(self.status or "Ready"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec(AnySpec):
    """
    An online service of the scenario; see also :class:`AnySpec`.

    :param model_id: the model version that the service serves at first.
    :param url_suffix: the end of the service's URL. Default: the ID.
    :param base_model: ``baseModel``.
    :param charge_type: ``chargeType``.
    :param pay_type: ``payType``.
    :param resource_config: ``resourceConfig``.
    :param timeline: what happens to the service. For a service that does not change, give ``run_status``
        instead.
    :param run_status: the ``runStatus`` of a service that does not change. Default: ``Serving``.
    :param in_list: a patch for the list action only.
    :param in_detail: a patch for the detail action only.
    """

    model_id: str = field(kw_only=False)
    url_suffix: str | None = None
    base_model: str = BASE_MODEL
    charge_type: ChargeType = "ComputingUnit"
    pay_type: PayType = "Postpay"
    resource_config: dict[str, object] = field(
        default_factory=lambda: {"type": "GPU-1-1", "qps": 1, "replicasCount": 1, "region": "bj"}
    )
    timeline: tuple[ServiceStep, ...] = ()
    run_status: RunStatus | None = None
    in_list: Patch = NO_PATCH
    in_detail: Patch = NO_PATCH

    def __post_init__(self) -> None:
        """Refuse what could not be meant."""
        if self.timeline and self.run_status is not None:
            raise ValueError("'timeline' and 'run_status' exclude each other")
        check_timeline(self.steps)

    @property
    def steps(self) -> tuple[ServiceStep, ...]:
        """Return the timeline, also for a service that was given as a plain status or none."""
        return self.timeline or (ServiceStep(run_status=self.run_status or "Serving"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedServices:
    """
    What happens to services that CreateService creates.

    :param timeline: their steps. Default: ``New``, ``Deploying`` after 2 s, ``Serving`` after 8 s.
    """

    timeline: tuple[ServiceStep, ...] = (
        ServiceStep(run_status="New"),
        ServiceStep(run_status="Deploying", after=2.0),
        ServiceStep(run_status="Serving", after=8.0),
    )

    def __post_init__(self) -> None:
        """Refuse a timeline without a beginning."""
        check_timeline(self.timeline)
