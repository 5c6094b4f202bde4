"""The platform's actions: the function for each, and the permission that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator import model_actions, service_actions
from airflow_provider_qianfan.emulator.errors import ApiError
from airflow_provider_qianfan.emulator.faults import ACTIONS_OF

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.behaviour import Account, Permission
    from airflow_provider_qianfan.emulator.body import Body
    from airflow_provider_qianfan.emulator.world import World

_STUB = "For another, give the emulator a stub."


def perform(world: World, path: str, action: str, body: Body, account: Account) -> Body:
    """
    Perform an action, and return its answer without ``requestId``.

    :raises ApiError: if the platform would answer with an error. The codes are the documented ones.
    """
    for stub in world.stubs:
        if (stub.path, stub.action) == (path, action):
            return {"result": stub.result}
    if path not in ACTIONS_OF:
        known = ", ".join(ACTIONS_OF)
        raise ApiError(400, "InvalidURI", f"The emulator knows {known}, but not {path}. {_STUB}")
    if action not in ACTIONS_OF[path]:
        known = ", ".join(ACTIONS_OF[path])
        told = f"The Action {action!r} is unknown or missing. For {path} the emulator knows {known}. {_STUB}"
        raise ApiError(400, "InvalidHTTPRequest", told)
    called = _CALLED[action]
    if account.permission not in called.allowed:
        raise ApiError(403, "AccessDenied", "Access denied.")
    with world.lock:
        result = called.by(world, body)
    return {} if called.without_result else {"result": result}


@dataclass(frozen=True, slots=True)
class _Called:
    """
    How to call an action.

    :param by: the function that performs the action.
    :param allowed: the permissions that allow the action; one is enough. See section 权限说明 of the action's
        page.
    :param without_result: whether the answer has no ``result``.
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
    "CreateModelCompTask": _Called(model_actions.create_task, _TUNING),
    "DescribeModelCompTasks": _Called(model_actions.list_tasks, _TUNING_READ),
    "DescribeModelCompTask": _Called(model_actions.describe_task, _TUNING_READ),
    "CancelModelCompTask": _Called(model_actions.cancel_task, _TUNING, without_result=True),
    "DeleteModelCompTask": _Called(model_actions.delete_task, _TUNING, without_result=True),
    "DescribeModel": _Called(model_actions.describe_model, _TUNING_READ),
    "CreateService": _Called(service_actions.create_service, _SERVICE),
    "ModifyService": _Called(service_actions.modify_service, _SERVICE),
    "DescribeService": _Called(service_actions.describe_service, _SERVICE_READ),
    # Its page names the full-control policy and two for data management, but none for services:
    # https://cloud.baidu.com/doc/qianfan/s/Jmh4sv4he
    "DescribeServices": _Called(service_actions.list_services, _FULL),
    # We have not seen the policies of its page. Every page names the full-control policy.
    "DeactivateService": _Called(service_actions.deactivate_service, _FULL),
}
