"""What a scenario file may say, as dataclasses, and how it is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from airflow_provider_qianfan.emulator import yaml_file
from airflow_provider_qianfan.emulator.faults import Fault  # noqa: TC001 - the schema reads the hints
from airflow_provider_qianfan.emulator.schema import ScenarioError, read

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq, table modelCompTaskItem
Status = Literal["creating", "running", "succeeded", "failed", "stopping", "stopped"]
TERMINAL = frozenset({"succeeded", "failed", "stopped"})

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Plw02jx3a
ModelStatus = Literal["Ready", "Creating", "Fail"]
SourceType = Literal["Train", "Acceleration", "Import", "PlatformPreset"]

# https://cloud.baidu.com/doc/qianfan/s/Kmh4sv4c7
RunStatus = Literal["New", "Deploying", "Serving", "Failed", "Stopped"]
NO_UPDATE = "None"
ChargeType = Literal["ComputingUnit", "Tokens"]
PayType = Literal["Prepay", "Postpay"]

MODEL_SET_ID = "am-emulated0001"
BASE_MODEL = "emulated-base-model"

_MOST_REPEATED = 10_000

Permission = Literal["full", "read", "tuning", "tuning_read", "service", "service_read", "none"]
Refusal = Literal["accepted", "inappropriate_json", "precondition_failed"]

ACCESS_KEY_ID = "emulator-access-key-id"
SECRET_ACCESS_KEY = "emulator-secret-access-key"  # noqa: S105 - obviously no secret


@dataclass(slots=True, kw_only=True)
class Account:
    """
    Who may call. Mutable, so that a test can rotate the key of a running emulator.

    :param session_token: temporary (STS) credentials: the value ``x-bce-security-token`` must have.
    :param permission: the policy it has: ``full`` (QianfanFullControlAccessPolicy), ``read``
        (QianfanReadAccessPolicy), ``tuning`` (QianfanModelTuningFullControlAccessPolicy), ``tuning_read``
        (QianfanModelTuningReadAccessPolicy), ``service`` (QianfanServiceOperateAccessPolicy),
        ``service_read`` (QianfanServiceReadAccessPolicy) or ``none``. Each allows the actions whose page
        names it in its section 权限说明, e.g. https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd; no
        page of an action on services names that of ``read``.
    """

    access_key_id: str = ACCESS_KEY_ID
    secret_access_key: str = SECRET_ACCESS_KEY
    session_token: str | None = None
    permission: Permission = "full"


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """
    What the documentation leaves open. Mutable: changes count from the next request on.

    :param marker: which row a marker names. ``inclusive``: the first row of the next page. ``exclusive``: the
        last row of the page before. ``overlapping``: the last row of a page, which the next page repeats;
        with ``maxKeys`` 1 that reading never gets on.
    :param order: of a list, by creation. ``shuffled`` is stable: it depends on the ids alone.
    :param ignore_source_filter: the list action does not look at ``sourceModelId``, which newer pages no
        longer document.
    :param list_lag: world seconds before a created task or service shows in its list. The detail action sees
        it at once.
    :param not_found: answer to an unknown id: 404 NoSuchKey, 400 InappropriateJSON, 200 with a null
        result, 500 InternalError.
    :param cancel_finished: answer to cancelling a finished task: 200, 400 InappropriateJSON, 412
        PreconditionFailed.
    :param delete_unfinished: answer to deleting a task that is not finished; as above.
    :param delete_takes_model: deleting a task deletes the version that it produced.
    :param failed_model_id: ``modelId`` of a task that has none: the list page says "empty", the detail page
        "only returned when succeeded".
    :param time_format: of ``createTime`` and ``finishTime``: ``offset`` (+08:00), ``z``, ``absent`` (no key),
        ``zero`` (0000-00-00T00:00:00Z), ``empty`` ("").
    :param unfinished_time: ``finishTime`` of a task that is not finished.
    :param stopping_seconds: world seconds from a Cancel until ``stopping`` becomes ``stopped``.
    :param source_type_key: the key of the source's type in a version's ``sourceInfo``.
    :param source_task_key: the key of the source's task id there.
    :param produced_supports_compression: ``isSupportModelComp`` of a version that a compression produced.
    :param deploy_unready: answer to creating a service of, or updating one to, a version that is known and is
        not ``Ready``: 200, 400 InappropriateJSON, 412 PreconditionFailed. One that is not known is taken.
    :param same_url_suffix: answer to creating a service with the ``urlSuffix`` of another one; as above.
    :param modify_unready: answer to updating a service that is not ``Serving``, or is being updated; as
        above. An update that is accepted replaces the one in progress.
    :param deactivate_stopped: answer to deactivating a service that is ``Stopped``; as above.
    :param updating_word: ``updateStatus`` while a service is updated. Of its values only ``None`` is
        documented.
    :param updating_model: the version that a service shows while it is updated to another.
    :param update_seconds: world seconds that an update takes.
    :param update_outcome: how an update ends: ``updated``; or with the old version, and then ``rolled_back``
        (as if nothing had been), ``update_failed`` (``updateStatus`` is ``update_failed_word``) or
        ``run_failed`` (``runStatus`` is ``Failed``).
    :param update_failed_word: ``updateStatus`` after an update that failed so.
    :param deactivating_seconds: world seconds from a Deactivate until ``runStatus`` is ``Stopped``.
    :param service_version_key: the key of a service's version: ``modelId``, beside ``modelSetId``; or
        ``modelVersionId``, and then ``modelId`` is the set, as in the mock server of Baidu's SDK.
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
    cancel_finished: Refusal = "precondition_failed"
    delete_unfinished: Refusal = "accepted"
    delete_takes_model: bool = False
    failed_model_id: Literal["absent", "empty"] = "absent"
    time_format: Literal["offset", "z", "absent", "zero", "empty"] = "offset"
    unfinished_time: Literal["absent", "zero", "empty"] = "absent"
    stopping_seconds: float = 2.0
    source_type_key: str = "sourceType"
    source_task_key: str = "taskId"
    produced_supports_compression: bool = False
    deploy_unready: Refusal = "precondition_failed"
    same_url_suffix: Refusal = "accepted"
    modify_unready: Refusal = "precondition_failed"
    deactivate_stopped: Refusal = "accepted"
    updating_word: str = "Updating"
    updating_model: Literal["old", "new"] = "old"
    update_seconds: float = 5.0
    update_outcome: Literal["updated", "rolled_back", "update_failed", "run_failed"] = "updated"
    update_failed_word: str = "Failed"
    deactivating_seconds: float = 2.0
    service_version_key: Literal["modelId", "modelVersionId"] = "modelId"
    any_weight_case: bool = True
    clock_tolerance: float = 300.0
    signature_clock: Literal["wall", "world"] = "wall"

    def __post_init__(self) -> None:
        """Refuse negative durations."""
        for name in (
            "list_lag",
            "stopping_seconds",
            "update_seconds",
            "deactivating_seconds",
            "clock_tolerance",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name!r} cannot be negative")


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
class AnyStep:
    """
    What the steps of tasks, versions and services have in common.

    :param after: world seconds since the creation.
    :param set: see :class:`Patch`; until the next step.
    :param omit: likewise.
    """

    after: float = 0.0
    set: dict[str, object] = field(default_factory=dict)
    omit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStep(AnyStep):
    """
    A model version's status from some moment on; see also :class:`AnyStep`.

    :param status: one of the documented ones; ``set: {status: …}`` for any other.
    """

    status: ModelStatus


_READY = (ModelStep(status="Ready"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(AnyStep):
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

    status: Status
    model_id: str | None = None
    model_timeline: tuple[ModelStep, ...] = _READY
    failed_reason: str | None = None
    in_list: Patch = NO_PATCH
    in_detail: Patch = NO_PATCH

    def __post_init__(self) -> None:
        """Refuse what the documentation rules out; ``set`` can still say it."""
        if self.model_id is not None and self.status != "succeeded":
            raise ValueError("'model_id' needs status succeeded; for another: set: {modelId: …}")
        if self.failed_reason is not None and self.status != "failed":
            raise ValueError("'failed_reason' needs status failed; for another: set: {failedReason: …}")
        if self.model_timeline is not _READY and self.model_id is None:
            raise ValueError("'model_timeline' needs a 'model_id'")
        _check_timeline(self.model_timeline, "model_timeline")


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


def _check_timeline(timeline: Sequence[AnyStep], name: str = "timeline") -> None:
    if not timeline:
        raise ValueError(f"{name!r} is empty")
    if timeline[0].after != 0:
        raise ValueError(f"the first step of {name!r} is at 'after: 0'")
    times = [step.after for step in timeline]
    if times != sorted(times):
        raise ValueError(f"the steps of {name!r} are not in order: {times}")


def _check_service_timeline(timeline: tuple[ServiceStep, ...]) -> None:
    _check_timeline(timeline)
    if timeline[0].run_status is None:
        raise ValueError("the first step of 'timeline' needs a 'run_status'")


def seconds_until(moment: float | datetime, now: datetime) -> float:
    """Return the world seconds from ``now`` to a time that is given as such, or is a time."""
    return (moment - now).total_seconds() if isinstance(moment, datetime) else moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """
    Make several tasks out of one entry; ``{n}`` in its texts becomes 0001, 0002, ….

    :param count: how many; at most 10,000.
    :param every: world seconds from one creation to the next; default 60.
    """

    count: int
    every: float = 60.0

    def __post_init__(self) -> None:
        """Refuse an empty repetition, and one that fills the memory."""
        if not 1 <= self.count <= _MOST_REPEATED:
            raise ValueError(f"'count' is from 1 to {_MOST_REPEATED}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """
    A task of the scenario.

    :param id: default: an invented ``amva-…``.
    :param name: default: the id.
    :param config: as given to Create.
    :param model_set_id: likewise; of the version it produces.
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
    model_set_id: str = MODEL_SET_ID
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
        first = seconds_until(self.created, now)
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
        _check_timeline(self.timeline)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """
    A model version of the scenario. Those that its tasks produce need no mention.

    :param id: default: an invented ``amv-…``.
    :param name: default: the id.
    :param model_set_id: the set it belongs to.
    :param model: the base model.
    :param source_type: where it comes from.
    :param source_task_id: the task it comes from; default: none is shown.
    :param supports_compression: ``isSupportModelComp``.
    :param created: see :class:`TaskSpec`.
    :param timeline: what happens to it; or instead ``status``; default: ``Ready``.
    """

    id: str | None = None
    name: str | None = None
    description: str = ""
    model_set_id: str = MODEL_SET_ID
    model: str = BASE_MODEL
    source_type: SourceType = "Train"
    source_task_id: str | None = None
    supports_compression: bool = True
    created: float | datetime = 0.0
    timeline: tuple[ModelStep, ...] = ()
    status: ModelStatus | None = None
    set: dict[str, object] = field(default_factory=dict)
    omit: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be meant."""
        if self.timeline and self.status is not None:
            raise ValueError("'timeline' and 'status' exclude each other")
        _check_timeline(self.steps)

    @property
    def steps(self) -> tuple[ModelStep, ...]:
        """Return the timeline, also for a version that was given as a plain status or none."""
        return self.timeline or (ModelStep(status=self.status or "Ready"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """
    An online service of the scenario.

    :param model_id: the model version it serves at first.
    :param model_set_id: the set of that version.
    :param id: default: an invented ``svco-…``.
    :param name: default: the id.
    :param url_suffix: default: the id.
    :param base_model: ``baseModel``.
    :param charge_type: ``chargeType``.
    :param pay_type: ``payType``.
    :param resource_config: ``resourceConfig``.
    :param created: see :class:`TaskSpec`.
    :param timeline: what happens to it; or instead ``run_status``; default: ``Serving``.
    """

    model_id: str
    model_set_id: str = MODEL_SET_ID
    id: str | None = None
    name: str | None = None
    description: str = ""
    url_suffix: str | None = None
    base_model: str = BASE_MODEL
    charge_type: ChargeType = "ComputingUnit"
    pay_type: PayType = "Postpay"
    resource_config: dict[str, object] = field(
        default_factory=lambda: {"type": "GPU-1-1", "qps": 1, "replicasCount": 1, "region": "bj"}
    )
    created: float | datetime = 0.0
    timeline: tuple[ServiceStep, ...] = ()
    run_status: RunStatus | None = None
    set: dict[str, object] = field(default_factory=dict)
    omit: tuple[str, ...] = ()
    in_list: Patch = NO_PATCH
    in_detail: Patch = NO_PATCH

    def __post_init__(self) -> None:
        """Refuse what could not be meant."""
        if self.timeline and self.run_status is not None:
            raise ValueError("'timeline' and 'run_status' exclude each other")
        _check_service_timeline(self.steps)

    @property
    def steps(self) -> tuple[ServiceStep, ...]:
        """Return the timeline, also for a service that was given as a plain status or none."""
        return self.timeline or (ServiceStep(run_status=self.run_status or "Serving"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedServices:
    """
    What becomes of services made by CreateService.

    :param timeline: their steps.
    """

    timeline: tuple[ServiceStep, ...] = (
        ServiceStep(run_status="New"),
        ServiceStep(run_status="Deploying", after=2.0),
        ServiceStep(run_status="Serving", after=8.0),
    )

    def __post_init__(self) -> None:
        """Refuse a timeline without a beginning."""
        _check_service_timeline(self.timeline)


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
    created_services: CreatedServices = field(default_factory=CreatedServices)
    tasks: tuple[TaskSpec, ...] = ()
    models: tuple[ModelSpec, ...] = ()
    services: tuple[ServiceSpec, ...] = ()
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a world nobody can call, and two accounts with one key id."""
        keys = [account.access_key_id for account in self.accounts]
        if not keys:
            raise ValueError("'accounts' needs at least one")
        if len(set(keys)) != len(keys):
            raise ValueError("two accounts have the same 'access_key_id'")
        for kind in ("tasks", "models", "services"):
            ids = Counter(spec.id for spec in getattr(self, kind) if spec.id is not None)
            for taken, count in ids.items():
                if count > 1:
                    raise ValueError(f"two {kind} have the id {taken!r}")


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
            text = yaml_file.read_text(source)
        except (OSError, ValueError) as error:
            raise ScenarioError(
                f"{source}: neither a readable file ({error}) nor a built-in scenario ({', '.join(builtin)})"
            ) from error
    try:
        data = yaml_file.parse(text)
    except ScenarioError as error:
        raise ScenarioError(f"{source}: {error}") from error
    scenario = read(Scenario, {} if data is None else data, str(source))
    return (
        scenario if isinstance(data, dict) and "name" in data else replace(scenario, name=Path(source).stem)
    )
