"""The platform's actions as they are called: which body each takes, and which permission it needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.errors import ApiError, inappropriate_json
from airflow_provider_qianfan.emulator.faults import ACTIONS_OF
from airflow_provider_qianfan.emulator.scenario import ServiceSpec
from airflow_provider_qianfan.emulator.timeline import DEFAULT_MAX_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.scenario import Account, Permission
    from airflow_provider_qianfan.emulator.world import World

Body = dict[str, Any]

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji, table of config
_STRATEGIES = ("Quantization", "Sparsity")
_WEIGHTS = ("INT8-PTQ", "W8A16C16", "W4A16C16")

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/olub6bfdy, table of body parameters
_SUFFIX = re.compile(r"[a-z0-9][a-z0-9_-]{0,18}[a-z0-9]")
_RESOURCES = {"CPU": "1-1", "GPU": "1-1 1-2 1-4 1-8 5-1 5-2 6-1 6-2 7-1 7-2"}
_RESOURCE_TYPES = tuple(f"{kind}-{size}" for kind, sizes in _RESOURCES.items() for size in sizes.split())
_PAY_TYPES = {"Prepaid": "Prepay", "Postpaid": "Postpay"}


def perform(world: World, path: str, action: str, body: Body, account: Account) -> Body:
    """
    Perform an action and return its answer without ``requestId``.

    :raises ApiError: with the documented codes.
    """
    if action not in ACTIONS_OF[path]:
        raise ApiError(400, "InvalidHTTPRequest", f"The Action {action!r} is unknown or missing.")
    called = _CALLED[action]
    if account.permission not in called.allowed:
        raise ApiError(403, "AccessDenied", "Access denied.")
    result = called.by(world, body)
    return {} if called.without_result else {"result": result}


# -- tasks -----------------------------------------------------------------------------------------


def _create_task(world: World, body: Body) -> str:
    config = _required(body, "config", dict)
    strategy = _one_of(config, "strategy", _STRATEGIES)
    if strategy == "Quantization":
        weight = _required(config, "weight", str)
        if (weight.upper() if world.behaviour.any_weight_case else weight) not in _WEIGHTS:
            raise inappropriate_json(f"config.weight {weight!r} is not one of {', '.join(_WEIGHTS)}.")
    return world.create_task(
        name=_required(body, "name", str),
        source_model_id=_required(body, "sourceModelId", str),
        config=config,
        description=_optional(body, "description", str) or "",
        model_set_id=_required(body, "modelSetId", str),
    )


def _list_tasks(world: World, body: Body) -> Body:
    return world.list_tasks(**_page(body), source_model_id=_optional(body, "sourceModelId", str))


# The tables call modelCompTaskId optional, in every version; these actions mean nothing without it.
def _describe_task(world: World, body: Body) -> Body | None:
    return world.describe_task(_required(body, "modelCompTaskId", str))


def _cancel_task(world: World, body: Body) -> None:
    world.cancel_task(_required(body, "modelCompTaskId", str))


def _delete_task(world: World, body: Body) -> None:
    world.delete_task(_required(body, "modelCompTaskId", str))


# -- model versions --------------------------------------------------------------------------------


def _describe_model(world: World, body: Body) -> Body | None:
    return world.describe_model(_required(body, "modelId", str))


# -- services --------------------------------------------------------------------------------------


def _create_service(world: World, body: Body) -> Body:
    name, suffix = _required(body, "name", str), _required(body, "urlSuffix", str)
    description = _optional(body, "description", str) or ""
    if not 2 <= len(name) <= 20:
        raise inappropriate_json("name has 2 to 20 characters.")
    if not _SUFFIX.fullmatch(suffix):
        raise inappropriate_json(
            "urlSuffix has 2 to 20 of a-z, 0-9, _ and -, and none of the last two at its ends."
        )
    if len(description) > 500:
        raise inappropriate_json("description has at most 500 characters.")
    if _optional(body, "protocolVersion", int) not in (None, 1, 2):
        raise inappropriate_json("protocolVersion is 1 or 2.")
    paid: dict[str, Any] = {}
    if "deploymentConfig" in body:
        resources = _deployment(_required(body, "deploymentConfig", dict))
    else:
        resources = _resources(_required(body, "resourceConfig", dict))
        paid = _billing(_required(body, "billing", dict))
    return world.create_service(
        ServiceSpec(
            model_set_id=_required(body, "modelSetId", str),
            model_id=_required(body, "modelId", str),
            name=name,
            description=description,
            url_suffix=suffix,
            resource_config=resources,
            **paid,
        )
    )


def _deployment(config: Body) -> Body:
    units = _required(config, "deploymentComputeUnitList", list)
    for unit in units:
        if not isinstance(unit, dict):
            raise inappropriate_json("deploymentComputeUnitList has something else than objects.")
        _required(unit, "instanceId", str)
        _required(unit, "deploymentReplicasCount", int)
    resources = {"replicasCount": _required(config, "replicasCount", int)}
    qps = _optional(config, "qps", int, float)
    return resources if qps is None else {**resources, "qps": qps}


def _resources(config: Body) -> Body:
    kind, qps = _one_of(config, "type", _RESOURCE_TYPES), _required(config, "qps", int, float)
    if not 0 < qps <= 50:
        raise inappropriate_json("resourceConfig.qps is above 0 and at most 50.")
    region = {"region": _one_of(config, "region", ("bj", "bd"))} if "region" in config else {}
    return {"type": kind, "qps": qps, "replicasCount": _required(config, "replicasCount", int), **region}


def _billing(billing: Body) -> Body:
    paid = {"pay_type": _PAY_TYPES[_one_of(billing, "paymentTiming", tuple(_PAY_TYPES))]}
    if "chargeType" in billing:
        paid["charge_type"] = _one_of(billing, "chargeType", ("ComputingUnit", "Tokens"))
    return paid


def _modify_service(world: World, body: Body) -> bool | None:
    return world.modify_service(
        _required(body, "serviceId", str),
        model_set_id=_required(body, "modelSetId", str),
        model_id=_required(body, "modelId", str),
    )


def _describe_service(world: World, body: Body) -> Body | None:
    return world.describe_service(_required(body, "serviceId", str))


def _list_services(world: World, body: Body) -> Body:
    # creator and protocolVersion filter nothing: the emulator's services have neither.
    _optional(body, "creator", list)
    _optional(body, "protocolVersion", int)
    return world.list_services(
        **_page(body),
        name=_optional(body, "name", str),
        service_type=_optional(body, "serviceType", list),
        run_status=_optional(body, "runStatus", list),
        charge_type=_optional(body, "chargeType", str),
        pay_type=_optional(body, "payType", str),
    )


def _deactivate_service(world: World, body: Body) -> Body | None:
    return world.deactivate_service(_required(body, "serviceId", str))


# -- permissions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Called:
    """
    How an action is called.

    :param allowed: the permissions of which any one will do: section 权限说明 of the action's page.
    """

    by: Callable[[World, Body], Any]
    allowed: frozenset[Permission]
    without_result: bool = False


_TUNING: frozenset[Permission] = frozenset({"full", "tuning"})
_TUNING_READ: frozenset[Permission] = _TUNING | {"read", "tuning_read"}
_SERVICE: frozenset[Permission] = frozenset({"full", "service"})
_SERVICE_READ: frozenset[Permission] = _SERVICE | {"service_read"}
_FULL: frozenset[Permission] = frozenset({"full"})

_CALLED = {
    "CreateModelCompTask": _Called(_create_task, _TUNING),
    "DescribeModelCompTasks": _Called(_list_tasks, _TUNING_READ),
    "DescribeModelCompTask": _Called(_describe_task, _TUNING_READ),
    "CancelModelCompTask": _Called(_cancel_task, _TUNING, without_result=True),
    "DeleteModelCompTask": _Called(_delete_task, _TUNING, without_result=True),
    "DescribeModel": _Called(_describe_model, _TUNING_READ),
    "CreateService": _Called(_create_service, _SERVICE),
    "ModifyService": _Called(_modify_service, _SERVICE),
    "DescribeService": _Called(_describe_service, _SERVICE_READ),
    # Its page names the full-control policy and two of data management, and none of services:
    # https://cloud.baidu.com/doc/qianfan/s/Jmh4sv4he
    "DescribeServices": _Called(_list_services, _FULL),
    # The policies of its page were not seen; the full-control one is on every page.
    "DeactivateService": _Called(_deactivate_service, _FULL),
}


# -- bodies ----------------------------------------------------------------------------------------


def _page(body: Body) -> Body:
    max_keys = _optional(body, "maxKeys", int)
    if max_keys is not None and max_keys < 1:
        raise inappropriate_json(f"maxKeys {max_keys} is below 1.")
    return {
        "marker": _optional(body, "marker", str),
        "max_keys": DEFAULT_MAX_KEYS if max_keys is None else max_keys,
        "page_reverse": bool(_optional(body, "pageReverse", bool)),
    }


def _one_of(body: Body, key: str, values: tuple[str, ...]) -> str:
    value: str = _required(body, key, str)
    if value not in values:
        raise inappropriate_json(f"{key} {value!r} is not one of {', '.join(values)}.")
    return value


def _required(body: Body, key: str, *kinds: type) -> Any:
    value = _optional(body, key, *kinds)
    if value in (None, "", []):
        raise inappropriate_json(f"{key} is missing or empty.")
    return value


def _optional(body: Body, key: str, *kinds: type) -> Any:
    if key not in body:
        return None
    value = body[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise inappropriate_json(f"{key} has a wrong type.")
    return value
