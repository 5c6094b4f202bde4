"""The platform's actions as they are called: which body each takes, and which permission it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.errors import ApiError, inappropriate_json
from airflow_provider_qianfan.emulator.faults import ACTIONS

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.scenario import Account
    from airflow_provider_qianfan.emulator.world import World

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji, table of config
_STRATEGIES = ("Quantization", "Sparsity")
_WEIGHTS = ("INT8-PTQ", "W8A16C16", "W4A16C16")

_READING = frozenset({"DescribeModelCompTasks", "DescribeModelCompTask"})


def perform(world: World, action: str, body: dict[str, Any], account: Account) -> dict[str, Any]:
    """
    Perform an action and return its answer without ``requestId``.

    :raises ApiError: with the documented codes.
    """
    if action not in ACTIONS:
        raise ApiError(400, "InvalidHTTPRequest", f"The Action {action!r} is unknown or missing.")
    if account.permission == "none" or (account.permission == "read" and action not in _READING):
        raise ApiError(403, "AccessDenied", "Access denied.")
    if action == "CreateModelCompTask":
        return {"result": _create(world, body)}
    if action == "DescribeModelCompTasks":
        return {"result": _list(world, body)}
    # The tables call modelCompTaskId optional, in every version; these actions mean nothing without it.
    task_id = _required(body, "modelCompTaskId", str)
    if action == "DescribeModelCompTask":
        return {"result": world.describe_task(task_id)}
    if action == "CancelModelCompTask":
        world.cancel_task(task_id)
    else:
        world.delete_task(task_id)
    return {}


def _create(world: World, body: dict[str, Any]) -> str:
    config = _required(body, "config", dict)
    strategy = _required(config, "strategy", str)
    if strategy not in _STRATEGIES:
        raise inappropriate_json(f"config.strategy {strategy!r} is not one of {', '.join(_STRATEGIES)}.")
    if strategy == "Quantization":
        weight = _required(config, "weight", str)
        if (weight.upper() if world.behaviour.any_weight_case else weight) not in _WEIGHTS:
            raise inappropriate_json(f"config.weight {weight!r} is not one of {', '.join(_WEIGHTS)}.")
    _required(body, "modelSetId", str)
    return world.create_task(
        name=_required(body, "name", str),
        source_model_id=_required(body, "sourceModelId", str),
        config=config,
        description=_optional(body, "description", str) or "",
    )


def _list(world: World, body: dict[str, Any]) -> dict[str, Any]:
    max_keys = _optional(body, "maxKeys", int)
    if max_keys is not None and max_keys < 1:
        raise inappropriate_json(f"maxKeys {max_keys} is below 1.")
    return world.list_tasks(
        marker=_optional(body, "marker", str),
        max_keys=10 if max_keys is None else max_keys,
        page_reverse=bool(_optional(body, "pageReverse", bool)),
        source_model_id=_optional(body, "sourceModelId", str),
    )


def _required(body: dict[str, Any], key: str, kind: type) -> Any:
    value = _optional(body, key, kind)
    if value in (None, ""):
        raise inappropriate_json(f"{key} is missing or empty.")
    return value


def _optional(body: dict[str, Any], key: str, kind: type) -> Any:
    if key not in body:
        return None
    value = body[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise inappropriate_json(f"{key} has a wrong type.")
    return value
