"""
Which task is meant.

The documentation does not give the order of the list, and the platform may ignore the filter. So the gate
checks every row, and finds the newest by its ``createTime``, not by its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.text import clean, count_of, duration
from airflow_provider_qianfan.api.times import parse_time
from airflow_provider_qianfan.gate.arguments import IfSeveral, check_if_several, check_text, read_since
from airflow_provider_qianfan.gate.wording import name_of

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.model_compression import ModelCompTask

CRITERIA = ("source_model_id", "model_comp_task_id", "name", "created_after")
_MISSES_SHOWN = 3
_STATUSES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Selector:
    """
    The criteria for the task that is meant. A task has to meet all that are given.

    :param source_model_id: the model version being compressed.
    :param model_comp_task_id: the task itself.
    :param name: the task's name.
    :param created_after: the task was created at this time or later, compared in whole seconds.
    :param if_several: whether two unfinished tasks are an error, or the newest task counts.
    :param run_started: when the DAG run started, to warn of an older task.
    :param model_ready: whether the produced model version has to be ready, too.
    """

    source_model_id: str | None = None
    model_comp_task_id: str | None = None
    name: str | None = None
    created_after: datetime | None = None
    if_several: IfSeveral = "fail"
    run_started: datetime | None = None
    model_ready: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            key: value.isoformat() if isinstance(value, datetime) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, value: object) -> Selector | None:
        """Read what :meth:`to_json` wrote; None if anything is missing: no criterion may get lost."""
        if not isinstance(value, Mapping) or not {*CRITERIA, "if_several", "model_ready"} <= value.keys():
            return None
        if value["source_model_id"] is None and value["model_comp_task_id"] is None:
            return None
        if not isinstance(value["model_ready"], bool):
            return None
        try:
            selector = cls.check(**{key: value[key] for key in (*CRITERIA, "if_several")})
            started = parse_time(value.get("run_started"))
        except (TypeError, ValueError):
            return None
        return replace(selector, run_started=started, model_ready=value["model_ready"])

    @classmethod
    def check(
        cls,
        *,
        source_model_id: object = None,
        model_comp_task_id: object = None,
        name: object = None,
        created_after: object = None,
        if_several: object = "fail",
        run_started: datetime | None = None,
    ) -> Selector:
        """
        Make a selector from the arguments of a DAG author. None means that an argument was left out.

        :param run_started: when the DAG run started; None if that is not known.
        :raises ValueError: if a value is invalid.
        """

        def text(argument: str, value: object) -> str | None:
            return None if value is None else check_text(argument, value)

        return cls(
            source_model_id=text("source_model_id", source_model_id),
            model_comp_task_id=text("model_comp_task_id", model_comp_task_id),
            name=text("name", name),
            created_after=(
                None if created_after is None else read_since("created_after", created_after, run_started)
            ),
            if_several=check_if_several(if_several),
            run_started=run_started,
        )

    def __str__(self) -> str:
        parts = []
        if self.model_comp_task_id:
            parts.append(f"model compression task {clean(self.model_comp_task_id, 80)}")
        if self.source_model_id:
            parts.append(f"source model {clean(self.source_model_id, 80)}")
        if self.name:
            parts.append(f"name {clean(self.name, 80)!r}")
        if self.created_after:
            parts.append(f"created at or after {self.created_after.isoformat()}")
        return ", ".join(parts)


def matches(task: ModelCompTask, selector: Selector) -> bool:
    """Tell whether ``task`` meets every criterion. A missing value meets none."""
    return (
        selector.model_comp_task_id in (None, task.id)
        and selector.source_model_id in (None, task.source_model_id)
        and selector.name in (None, task.name)
        and (selector.created_after is None or not _too_old(task, selector.created_after))
    )


def _too_old(task: ModelCompTask, limit: datetime) -> bool:
    """Compare in whole seconds: Qianfan shows no fractions."""
    return task.create_time is None or task.create_time.replace(microsecond=0) < limit.replace(microsecond=0)


def newest(tasks: Sequence[ModelCompTask]) -> list[ModelCompTask]:
    """
    Return the tasks that may be the newest.

    There is only one, unless several were created at the same instant or some have no creation time.
    """
    undated = [task for task in tasks if task.create_time is None]
    latest = max((task.create_time for task in tasks if task.create_time), default=None)
    return [task for task in tasks if latest and task.create_time == latest] + undated


def undated(tasks: Iterable[ModelCompTask], selector: Selector) -> list[ModelCompTask]:
    """Return the tasks that fail ``created_after`` only because they have no creation time."""
    if selector.created_after is None:
        return []
    return [task for task in tasks if task.create_time is None and _matches_but_for_time(task, selector)]


def _matches_but_for_time(task: ModelCompTask, selector: Selector) -> bool:
    return selector.source_model_id in (None, task.source_model_id) and selector.name in (None, task.name)


def describe_seen(tasks: Sequence[ModelCompTask], selector: Selector) -> str:
    """
    Say what the list has instead of the task that is meant: how many of each status, and the nearest misses.

    :param selector: a selector with a source model.
    """
    same_source = [task for task in tasks if task.source_model_id == selector.source_model_id]
    if not same_source:
        others = f", though {count_of(len(tasks), 'task')} of others" if tasks else ""
        return f"the platform lists no task of source model {clean(selector.source_model_id, 80)}{others}"
    counts = Counter(clean(task.status, 40) or "no status" for task in same_source)
    seen = ", ".join(f"{count} {status}" for status, count in sorted(counts.most_common(_STATUSES_SHOWN)))
    seen += ", …" if len(counts) > _STATUSES_SHOWN else ""
    misses = "; ".join(_near_misses(same_source, selector))
    whose = f"of source model {clean(selector.source_model_id, 80)}"
    return f"{count_of(len(same_source), 'task')} {whose} ({seen}){f'; nearest: {misses}' if misses else ''}"


def _near_misses(tasks: Sequence[ModelCompTask], selector: Selector) -> list[str]:
    limit = selector.created_after
    epoch = datetime.min.replace(tzinfo=UTC)
    ordered = sorted(
        tasks, key=lambda task: (task.name == selector.name, task.create_time or epoch), reverse=True
    )
    misses = []
    for task in ordered[:_MISSES_SHOWN]:
        why = []
        if selector.name is not None and task.name != selector.name:
            why.append("has another name")
        if limit is not None and task.create_time is None:
            why.append("does not say when it was created")
        elif limit is not None and task.create_time is not None and _too_old(task, limit):
            why.append(
                f"was created {duration((limit - task.create_time).total_seconds())} before created_after"
            )
        if why:
            misses.append(f"{name_of(task)} {' and '.join(why)}")
    return misses
