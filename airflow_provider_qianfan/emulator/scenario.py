"""What a scenario file may say, as dataclasses, and how it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from airflow_provider_qianfan.emulator.faults import Fault  # noqa: TC001 - the schema reads the hints
from airflow_provider_qianfan.emulator.schema import ScenarioError, read

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq, table modelCompTaskItem
Status = Literal["creating", "running", "succeeded", "failed", "stopping", "stopped"]
TERMINAL = frozenset({"succeeded", "failed", "stopped"})

ACCESS_KEY_ID = "emulator-access-key-id"
SECRET_ACCESS_KEY = "emulator-secret-access-key"  # noqa: S105 - obviously no secret


@dataclass(slots=True, kw_only=True)
class Account:
    """
    Who may call. Mutable, so that a test can rotate the key of a running emulator.

    :param session_token: temporary (STS) credentials: the value ``x-bce-security-token`` must have.
    :param permission: ``full``, ``read`` (the two Describe actions only) or ``none``; see 权限说明 on
        each action's page, e.g. https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd.
    """

    access_key_id: str = ACCESS_KEY_ID
    secret_access_key: str = SECRET_ACCESS_KEY
    session_token: str | None = None
    permission: Literal["full", "read", "none"] = "full"


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """
    What the documentation leaves open. Mutable: changes count from the next request on.

    :param marker: which row a marker names. ``inclusive``: the first row of the next page. ``exclusive``: the
        last row of the page before. ``overlapping``: the last row of a page, which the next page repeats;
        with ``maxKeys`` 1 that reading never gets on.
    :param order: of the list, by creation. ``shuffled`` is stable: it depends on the ids alone.
    :param ignore_source_filter: the list action does not look at ``sourceModelId``, which newer pages no
        longer document.
    :param list_lag: world seconds before a created task shows in the list. The detail action sees it at once.
    :param not_found: answer to an unknown task id: 404 NoSuchKey, 400 InappropriateJSON, 200 with a null
        result, 500 InternalError.
    :param cancel_finished: answer to cancelling a finished task: 200, 400 InappropriateJSON, 412
        PreconditionFailed.
    :param delete_unfinished: answer to deleting a task that is not finished; as above.
    :param failed_model_id: ``modelId`` of a task that has none: the list page says "empty", the detail page
        "only returned when succeeded".
    :param time_format: of ``createTime`` and ``finishTime``: ``offset`` (+08:00), ``z``, ``absent`` (no key),
        ``zero`` (0000-00-00T00:00:00Z), ``empty`` ("").
    :param unfinished_time: ``finishTime`` of a task that is not finished.
    :param stopping_seconds: world seconds from a Cancel until ``stopping`` becomes ``stopped``.
    :param any_weight_case: Create takes ``config.weight`` in lower case, too, as the documentation's example
        has it.
    :param clock_tolerance: seconds by which a signature may be from the future.
    :param signature_clock: what signatures and ``Date`` go by: ``wall``, so that a fast or manual world does
        not expire the signatures of real clients, or ``world``.
    """

    marker: Literal["inclusive", "exclusive", "overlapping"] = "inclusive"
    order: Literal["newest_first", "oldest_first", "shuffled"] = "newest_first"
    ignore_source_filter: bool = False
    list_lag: float = 0.0
    not_found: Literal["no_such_key", "inappropriate_json", "null_result", "internal_error"] = "no_such_key"
    cancel_finished: Literal["accepted", "inappropriate_json", "precondition_failed"] = "precondition_failed"
    delete_unfinished: Literal["accepted", "inappropriate_json", "precondition_failed"] = "accepted"
    failed_model_id: Literal["absent", "empty"] = "absent"
    time_format: Literal["offset", "z", "absent", "zero", "empty"] = "offset"
    unfinished_time: Literal["absent", "zero", "empty"] = "absent"
    stopping_seconds: float = 2.0
    any_weight_case: bool = True
    clock_tolerance: float = 300.0
    signature_clock: Literal["wall", "world"] = "wall"

    def __post_init__(self) -> None:
        """Refuse negative durations."""
        for name in ("list_lag", "stopping_seconds", "clock_tolerance"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name!r} cannot be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """
    Response keys of a task that differ from what the emulator would say.

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
class Step:
    """
    A task's status from some moment on.

    :param after: world seconds since the task's creation.
    :param status: one of the documented ones; ``set: {status: …}`` for any other.
    :param model_id: the produced model; only for ``succeeded``.
    :param failed_reason: only for ``failed``; the detail action shows it.
    :param set: see :class:`Patch`; in the list and in the detail.
    :param omit: likewise.
    :param in_list: a patch for the list action only.
    :param in_detail: a patch for the detail action only.
    """

    status: Status
    after: float = 0.0
    model_id: str | None = None
    failed_reason: str | None = None
    set: dict[str, object] = field(default_factory=dict)
    omit: tuple[str, ...] = ()
    in_list: Patch = NO_PATCH
    in_detail: Patch = NO_PATCH

    def __post_init__(self) -> None:
        """Refuse what the documentation rules out; ``set`` can still say it."""
        if self.model_id is not None and self.status != "succeeded":
            raise ValueError("'model_id' needs status succeeded; for another: set: {modelId: …}")
        if self.failed_reason is not None and self.status != "failed":
            raise ValueError("'failed_reason' needs status failed; for another: set: {failedReason: …}")


def _check_timeline(timeline: tuple[Step, ...]) -> None:
    if timeline[0].after != 0:
        raise ValueError("the first step of 'timeline' is at 'after: 0'")
    times = [step.after for step in timeline]
    if times != sorted(times):
        raise ValueError(f"the steps of 'timeline' are not in order: {times}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """
    Make several tasks out of one entry; ``{n}`` in its texts becomes 0001, 0002, ….

    :param count: how many.
    :param every: world seconds from one creation to the next; default 60.
    """

    count: int
    every: float = 60.0

    def __post_init__(self) -> None:
        """Refuse an empty repetition."""
        if self.count < 1:
            raise ValueError("'count' is at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """
    A task of the scenario.

    :param id: default: an invented ``amva-…``.
    :param name: default: the id.
    :param config: as given to Create.
    :param created: seconds relative to the moment the task is put into the world (mostly negative; a task
        with a positive number appears later), or an ISO 8601 time (naive means UTC).
    :param timeline: what happens to it; or instead, for a task that does not change, ``status`` with
        ``model_id`` and ``failed_reason``.
    :param repeat: make several.
    """

    source_model_id: str
    id: str | None = None
    name: str | None = None
    description: str = ""
    config: dict[str, object] = field(
        default_factory=lambda: {"strategy": "Quantization", "weight": "INT8-PTQ"}
    )
    created: float | datetime = 0.0
    timeline: tuple[Step, ...] = ()
    status: Status | None = None
    model_id: str | None = None
    failed_reason: str | None = None
    set: dict[str, object] = field(default_factory=dict)
    omit: tuple[str, ...] = ()
    in_list: Patch = NO_PATCH
    in_detail: Patch = NO_PATCH
    repeat: Repeat | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be meant."""
        if bool(self.timeline) == (self.status is not None):
            raise ValueError("a task needs either 'timeline' or 'status'")
        if self.timeline:
            _check_timeline(self.timeline)
            if self.model_id is not None or self.failed_reason is not None:
                raise ValueError("with 'timeline', 'model_id' and 'failed_reason' belong in its steps")
        if self.repeat and self.repeat.count > 1 and self.id is not None and "{n}" not in self.id:
            raise ValueError("with 'repeat', 'id' needs a {n}")
        _ = self.steps

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the timeline, also for a task that was given as a plain status."""
        if self.status is None:
            return self.timeline
        return (Step(status=self.status, model_id=self.model_id, failed_reason=self.failed_reason),)

    def expand(self, now: datetime) -> Iterator[tuple[TaskSpec, float]]:
        """
        Yield each single task, with the world seconds from ``now`` to its creation.

        :param now: the moment the task is put into the world.
        """
        first = (
            self.created if not isinstance(self.created, datetime) else (self.created - now).total_seconds()
        )
        repeat = self.repeat or Repeat(count=1)
        for n in range(1, repeat.count + 1):
            spec = self if self.repeat is None else self._numbered(f"{n:04d}")
            yield spec, first + (n - 1) * repeat.every

    def _numbered(self, number: str) -> TaskSpec:
        def fill(text: str | None) -> str | None:
            return None if text is None else text.replace("{n}", number)

        return replace(
            self,
            repeat=None,
            id=fill(self.id),
            name=fill(self.name),
            description=self.description.replace("{n}", number),
            source_model_id=self.source_model_id.replace("{n}", number),
            model_id=fill(self.model_id),
            timeline=tuple(replace(step, model_id=fill(step.model_id)) for step in self.timeline),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedTasks:
    """
    What becomes of tasks made by CreateModelCompTask.

    :param timeline: their steps; ``{n}`` in a ``model_id`` becomes 0001, 0002, ….
    """

    timeline: tuple[Step, ...] = (
        Step(status="creating"),
        Step(status="running", after=2.0),
        Step(status="succeeded", after=8.0, model_id="amv-produced{n}"),
    )

    def __post_init__(self) -> None:
        """Refuse a timeline without a beginning."""
        if not self.timeline:
            raise ValueError("'timeline' is empty")
        _check_timeline(self.timeline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """
    A world to start with. ``Scenario()`` is an empty one with one account.

    :param name: of the built-in scenario or the file.
    """

    name: str = "empty"
    description: str = ""
    accounts: tuple[Account, ...] = field(default_factory=lambda: (Account(),))
    behaviour: Behaviour = field(default_factory=Behaviour)
    created_tasks: CreatedTasks = field(default_factory=CreatedTasks)
    tasks: tuple[TaskSpec, ...] = ()
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a world nobody can call, and two accounts with one key id."""
        keys = [account.access_key_id for account in self.accounts]
        if not keys:
            raise ValueError("'accounts' needs at least one")
        if len(set(keys)) != len(keys):
            raise ValueError("two accounts have the same 'access_key_id'")
        ids = [spec.id for spec in self.tasks if spec.id is not None]
        for task_id in ids:
            if ids.count(task_id) > 1:
                raise ValueError(f"two tasks have the id {task_id!r}")


def builtin_scenarios() -> dict[str, str]:
    """Return name and YAML text of every packaged scenario."""
    folder = resources.files("airflow_provider_qianfan.emulator").joinpath("scenarios")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name
    )
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in files}


def load(source: Scenario | Mapping[str, object] | str | Path) -> Scenario:
    """
    Return a scenario.

    :param source: a scenario, a mapping like a scenario file, the name of a built-in one, or a YAML file.
    :raises ScenarioError: if there is none, or it does not fit; the message names file, key and what is
        allowed.
    """
    if isinstance(source, Scenario):
        return source
    if isinstance(source, Mapping):
        return read(Scenario, source, "scenario")
    builtin = builtin_scenarios()
    text = builtin.get(str(source))
    if text is None:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ScenarioError(
                f"{source}: neither a readable file ({error}) nor a built-in scenario ({', '.join(builtin)})"
            ) from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{source}: not YAML: {error}") from error
    scenario = read(Scenario, {} if data is None else data, str(source))
    return (
        scenario if isinstance(data, dict) and "name" in data else replace(scenario, name=Path(source).stem)
    )
