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
    An account that may call. It is mutable: a test can rotate the key while the emulator runs.

    :param access_key_id: the Access Key ID.
    :param secret_access_key: the Secret Access Key.
    :param session_token: the required value of ``x-bce-security-token``, for temporary (STS) keys. Default:
        none.
    :param permission: the policy of the account: ``full`` (QianfanFullControlAccessPolicy), ``read``
        (QianfanReadAccessPolicy), ``tuning`` (QianfanModelTuningFullControlAccessPolicy), ``tuning_read``
        (QianfanModelTuningReadAccessPolicy), ``service`` (QianfanServiceOperateAccessPolicy),
        ``service_read`` (QianfanServiceReadAccessPolicy) or ``none``. A policy
        allows an action if the action's page names the policy in its section 权限说明, such as
        https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd. No page of an action on services names the
        policy of ``read``. Default: ``full``.
    """

    access_key_id: str = ACCESS_KEY_ID
    secret_access_key: str = SECRET_ACCESS_KEY
    session_token: str | None = None
    permission: Permission = "full"


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """
    How the platform behaves where the documentation says nothing.

    It is mutable: a change counts from the next request on.

    :param marker: which row a marker names. ``inclusive``: the first row of the next page. ``exclusive``: the
        last row of the page before. ``overlapping``: the last row of a page, which the next page repeats;
        with ``maxKeys`` 1 such a list never ends.
    :param order: the order of a list, by creation. ``shuffled`` is stable: it depends on the IDs alone.
    :param ignore_source_filter: whether the list action ignores ``sourceModelId``. Newer pages do not
        document this filter.
    :param list_lag: world seconds until the list shows a created task or service. The detail action shows it
        at once.
    :param not_found: the answer to an unknown ID: 404 NoSuchKey, 400 InappropriateJSON, 200 with a null
        result, 500 InternalError.
    :param cancel_finished: the answer if a client cancels a finished task: 200, 400 InappropriateJSON, 412
        PreconditionFailed.
    :param delete_unfinished: the answer if a client deletes a task that is not finished; as above.
    :param delete_takes_model: whether deleting a task also deletes the version that the task produced.
    :param failed_model_id: ``modelId`` of a task that produced no version. The list page says "empty", the
        detail page "only returned when succeeded".
    :param time_format: the form of ``createTime`` and ``finishTime``: ``offset`` (+08:00), ``z``, ``absent``
        (no key), ``zero`` (0000-00-00T00:00:00Z), ``empty`` ("").
    :param unfinished_time: ``finishTime`` of a task that is not finished.
    :param stopping_seconds: world seconds from a Cancel until ``stopping`` becomes ``stopped``.
    :param source_type_key: the key in a version's ``sourceInfo`` that holds the type of the source.
    :param source_task_key: the key in a version's ``sourceInfo`` that holds the ID of the source task.
    :param produced_supports_compression: ``isSupportModelComp`` of a version that a compression produced.
    :param deploy_unready: the answer if a client creates a service with, or updates a service to, a known
        version that is not ``Ready``: 200, 400 InappropriateJSON, 412 PreconditionFailed. The emulator
        accepts an unknown version.
    :param same_url_suffix: the answer if a client creates a service with the ``urlSuffix`` of another one; as
        above.
    :param modify_unready: the answer if a client updates a service that is not ``Serving``, or is being
        updated; as above. An accepted update replaces the one in progress.
    :param deactivate_stopped: the answer if a client deactivates a service that is ``Stopped``; as above.
    :param updating_word: ``updateStatus`` while a service is updated. The documentation names ``None`` alone.
    :param updating_model: the version that a service shows during an update.
    :param update_seconds: world seconds that an update takes.
    :param update_outcome: how an update ends. ``updated``: the service serves the new version. In all other
        cases, it serves the old version. ``rolled_back``: nothing else shows. ``update_failed``:
        ``updateStatus`` is ``update_failed_word``. ``run_failed``: ``runStatus`` is ``Failed``.
    :param update_failed_word: ``updateStatus`` after an update with the outcome ``update_failed``.
    :param deactivating_seconds: world seconds from a Deactivate until ``runStatus`` is ``Stopped``.
    :param service_version_key: the key of a service's version. ``modelId``: the set is under ``modelSetId``.
        ``modelVersionId``: the set is under ``modelId``, as in the mock server of Baidu's SDK.
    :param any_weight_case: whether Create also accepts ``config.weight`` in lower case, as in the example of
        the documentation.
    :param clock_tolerance: seconds by which the time of a signature may lie in the future.
    :param signature_clock: the clock for signatures and ``Date``. ``wall``: real time, so that signatures of
        real clients do not expire in a fast or manual world. ``world``: world time.
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
