"""Who may call the emulated platform, and how it behaves where the documentation says nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

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
        for item in fields(self):
            if item.type == "float" and getattr(self, item.name) < 0:
                raise ValueError(f"{item.name!r} cannot be negative")
