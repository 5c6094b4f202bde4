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
    Response keys that differ from what the emulator would say.

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
    What the steps of tasks, versions and services have in common; a :class:`Patch` until the next step.

    :param after: world seconds since the creation.
    """

    after: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStep(AnyStep):
    """
    A model version's status from some moment on; see also :class:`AnyStep`.

    :param status: one of the documented ones; ``set: {status: …}`` for any other.
    """

    status: ModelStatus = field(kw_only=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStep(AnyStep):
    """
    A task's status from some moment on; see also :class:`AnyStep`.

    :param status: one of the documented ones; ``set: {status: …}`` for any other.
    :param model_id: the produced model; only for ``succeeded``.
    :param model_timeline: what the produced version goes through, ``after`` being world seconds since this
        step; default: it is ``Ready`` at once. Without meaning if there is a version with that id already.
    :param failed_reason: only for ``failed``; the detail action shows it.
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
    What changes about a service at some moment; see also :class:`AnyStep`. What is not given stays.

    :param run_status: one of the documented ones; ``set: {runStatus: …}`` for any other.
    :param update_status: ``"None"`` is the only value that is documented.
    :param model_set_id: the model set it serves.
    :param model_id: the model version it serves.
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
