"""What happens to the tasks, model versions and services of a scenario, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq, table modelCompTaskItem
Status = Literal["creating", "running", "succeeded", "failed", "stopping", "stopped"]
TERMINAL = frozenset({"succeeded", "failed", "stopped"})

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Plw02jx3a
ModelStatus = Literal["Ready", "Creating", "Fail"]

# https://cloud.baidu.com/doc/qianfan/s/Kmh4sv4c7
RunStatus = Literal["New", "Deploying", "Serving", "Failed", "Stopped"]
NO_UPDATE = "None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """
    Changes to the keys of an answer.

    :param set: keys and values to add or replace.
    :param omit: keys to leave out.
    """

    set: dict[str, object] = field(default_factory=dict)
    omit: tuple[str, ...] = ()

    def apply(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the row with this patch applied."""
        return {key: value for key, value in {**row, **self.set}.items() if key not in self.omit}


NO_PATCH = Patch()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyStep(Patch):
    """
    What the steps of tasks, versions and services have in common. It is a :class:`Patch` until the next step.

    :param after: world seconds since the creation. Default: 0.
    """

    after: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStep(AnyStep):
    """
    The status of a model version from some moment on; see also :class:`AnyStep`.

    :param status: a documented status. For any other, use ``set: {status: …}``.
    """

    status: ModelStatus = field(kw_only=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStep(AnyStep):
    """
    The status of a task from some moment on; see also :class:`AnyStep`.

    :param status: a documented status. For any other, use ``set: {status: …}``.
    :param model_id: the produced model version; only for ``succeeded``.
    :param model_timeline: what happens to the produced version; ``after`` counts from this step. Default: the
        version is ``Ready`` at once. Ignored if a version with that ID exists already.
    :param failed_reason: why the task failed; only for ``failed``. The detail action shows it.
    :param in_list: a patch for the list action only.
    :param in_detail: a patch for the detail action only.
    """

    status: Status = field(kw_only=False)
    model_id: str | None = None
    model_timeline: tuple[ModelStep, ...] | None = None
    failed_reason: str | None = None
    in_list: Patch = NO_PATCH
    in_detail: Patch = NO_PATCH

    def __post_init__(self) -> None:
        """Refuse what the documentation rules out; ``set`` can still say it."""
        if self.model_id is not None and self.status != "succeeded":
            raise ValueError("'model_id' needs status succeeded; for another: set: {modelId: …}")
        if self.failed_reason is not None and self.status != "failed":
            raise ValueError("'failed_reason' needs status failed; for another: set: {failedReason: …}")
        if self.model_timeline is not None:
            if self.model_id is None:
                raise ValueError("'model_timeline' needs a 'model_id'")
            check_timeline(self.model_timeline, "model_timeline")

    def numbered(self, number: str) -> TaskStep:
        """Return this step with a number for each ``{n}``."""
        return self if self.model_id is None else replace(self, model_id=self.model_id.replace("{n}", number))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStep(AnyStep):
    """
    The changes to a service at some moment; see also :class:`AnyStep`. Keys that you leave out stay the same.

    :param run_status: a documented status. For any other, use ``set: {runStatus: …}``.
    :param update_status: ``updateStatus``. The documentation names ``"None"`` alone.
    :param model_set_id: the model set that the service serves.
    :param model_id: the model version that the service serves.
    :param in_list: a patch for the list action only.
    :param in_detail: a patch for the detail action only.
    """

    run_status: RunStatus | None = None
    update_status: str | None = None
    model_set_id: str | None = None
    model_id: str | None = None
    in_list: Patch = NO_PATCH
    in_detail: Patch = NO_PATCH


def check_timeline(timeline: Sequence[AnyStep], name: str = "timeline") -> None:
    """
    Check that steps have a beginning and an order.

    :param name: what they are called where they were given.
    :raises ValueError: if they have none.
    """
    if not timeline:
        raise ValueError(f"{name!r} is empty")
    if timeline[0].after != 0:
        raise ValueError(f"the first step of {name!r} is at 'after: 0'")
    times = [step.after for step in timeline]
    if times != sorted(times):
        raise ValueError(f"the steps of {name!r} are not in order: {times}")
    if isinstance(timeline[0], ServiceStep) and timeline[0].run_status is None:
        raise ValueError(f"the first step of {name!r} needs a 'run_status'")
