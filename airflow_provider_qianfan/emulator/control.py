"""
The emulator's own API under ``/_emulator``, for people and for tests in other processes.

Not signed, and only as reachable as the server: it listens on loopback alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from airflow_provider_qianfan.emulator.faults import Fault, json_reply
from airflow_provider_qianfan.emulator.scenario import (
    Account,
    Behaviour,
    ModelSpec,
    ModelStep,
    Scenario,
    ServiceSpec,
    ServiceStep,
    Step,
    TaskSpec,
)
from airflow_provider_qianfan.emulator.schema import ScenarioError, read, read_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from airflow_provider_qianfan.emulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """``POST /_emulator/clock``: move world time forward."""

    advance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultChange:
    """``POST /_emulator/faults``: first clear all, then add some."""

    clear: bool = False
    add: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """``POST /_emulator/credentials``: the accounts from now on."""

    accounts: tuple[Account, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """``POST /_emulator/reset``: back to the beginning of the scenario."""


def control_routes(world: World) -> list[Route]:
    """Return the routes of the control API."""

    async def get_state(_: Request) -> Response:
        return _json(state(world))

    def post(path: str, change: Callable[[World, Any], None]) -> Route:
        async def endpoint(request: Request) -> Response:
            return await _changed(world, request, lambda data: change(world, data))

        return Route(f"/_emulator/{path}", endpoint, methods=["POST"])

    def one(
        path: str, change: Callable[[str, Any], None], remove: Callable[[str], None] | None = None
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            (thing_id,) = request.path_params.values()
            try:
                if request.method == "DELETE" and remove is not None:
                    remove(thing_id)
                    return _json(state(world))
                return await _changed(world, request, lambda data: change(thing_id, data))
            except KeyError:
                return _json({"error": f"there is no {thing_id!r}"}, 404)

        methods = ["POST"] if remove is None else ["POST", "DELETE"]
        return Route(f"/_emulator/{path}", endpoint, methods=methods)

    return [
        Route("/_emulator/state", get_state, methods=["GET"]),
        post("clock", _advance),
        post("tasks", _put_task),
        one("tasks/{task_id}", lambda i, data: world.divert(i, read(Step, data, "task")), world.remove_task),
        post("models", _put_model),
        one("models/{model_id}", lambda i, data: world.divert_model(i, read(ModelStep, data, "model"))),
        post("services", _put_service),
        one(
            "services/{service_id}",
            lambda i, data: world.divert_service(i, read(ServiceStep, data, "service")),
            world.remove_service,
        ),
        post("faults", _change_faults),
        post("behaviour", _change_behaviour),
        post("credentials", _change_credentials),
        post("reset", _reset),
    ]


async def _changed(world: World, request: Request, change: Callable[[Any], None]) -> Response:
    try:
        raw = await request.body()
        change(read_json(raw) if raw else {})
    except ValueError as error:
        return _json({"error": str(error)}, 400)
    return _json(state(world))


def _json(payload: object, status: int = 200) -> Response:
    reply = json_reply(status, payload)
    return Response(reply.body, reply.status, dict(reply.headers))


def _advance(world: World, data: object) -> None:
    world.advance(read(Advance, data, "clock").advance)


def _put_task(world: World, data: object) -> None:
    world.put(read(TaskSpec, data, "task"))


def _put_model(world: World, data: object) -> None:
    world.put_model(read(ModelSpec, data, "model"))


def _put_service(world: World, data: object) -> None:
    world.put_service(read(ServiceSpec, data, "service"))


def _change_faults(world: World, data: object) -> None:
    change = read(FaultChange, data, "faults")
    kept = [] if change.clear else list(world.faults)
    world.faults = [*kept, *change.add]


def _change_behaviour(world: World, data: object) -> None:
    if not isinstance(data, dict):
        raise ScenarioError("behaviour: expected a mapping")
    world.change_behaviour(read(Behaviour, {**asdict(world.behaviour), **data}, "behaviour"))


def _change_credentials(world: World, data: object) -> None:
    accounts = read(Credentials, data, "credentials").accounts
    # The rules for several accounts are the scenario's.
    world.accounts = list(Scenario(accounts=accounts).accounts)


def _reset(world: World, data: object) -> None:
    read(Nothing, data, "reset")
    world.reset()


def state(world: World) -> dict[str, Any]:
    """Return what there is to know about a world, without secrets."""
    now, calls = world.now, list(world.calls)
    actions: dict[str, Counter[int]] = {}
    for call in calls:
        actions.setdefault(call.action, Counter())[call.status] += 1
    return {
        "scenario": world.scenario.name,
        "now": now.isoformat(),
        "elapsed": world.elapsed,
        "tasks": [task.row("detail", now, world.behaviour) for task in world.existing()],
        "models": [model.row(now, world.behaviour) for model in world.existing_models()],
        "services": [service.row("detail", now, world.behaviour) for service in world.existing_services()],
        "calls": {
            action: {"count": sum(statuses.values()), "by_status": {str(k): v for k, v in statuses.items()}}
            for action, statuses in actions.items()
        },
        "behaviour": asdict(world.behaviour),
        "faults": [describe_fault(fault) for fault in world.faults],
        "accounts": [
            {"access_key_id": account.access_key_id, "permission": account.permission}
            for account in world.accounts
        ],
    }


def describe_fault(fault: Fault) -> str:
    """Return a fault as one line: its action and what is not as usual."""
    parts = [f"{name.rstrip('_')}={value}" for name, value in unusual(fault).items() if name != "action"]
    return " ".join([fault.action, *parts])


def unusual(value: Fault | Behaviour) -> dict[str, object]:
    """Return the fields that differ from their default."""
    return {
        item.name: getattr(value, item.name)
        for item in fields(value)
        if item.init and getattr(value, item.name) not in (item.default, {})
    }
