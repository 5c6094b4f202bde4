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

from airflow_provider_qianfan.emulator.behaviour import Account, Behaviour
from airflow_provider_qianfan.emulator.faults import Fault, json_reply
from airflow_provider_qianfan.emulator.scenario import Scenario, Stub
from airflow_provider_qianfan.emulator.schema import ScenarioError, read, read_json
from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec, TaskSpec
from airflow_provider_qianfan.emulator.steps import ModelStep, ServiceStep, TaskStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from airflow_provider_qianfan.emulator.shelf import Shelf
    from airflow_provider_qianfan.emulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """
    ``POST /_emulator/clock``: move world time forward.

    :param advance: world seconds.
    """

    advance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultChange:
    """
    ``POST /_emulator/faults``: change the faults.

    :param clear: first remove all faults. Default: false.
    :param add: the faults to add.
    """

    clear: bool = False
    add: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StubChange:
    """
    ``POST /_emulator/stubs``: change the stubs.

    :param clear: first remove all stubs. Default: false.
    :param add: the stubs to add. If two stubs are for the same action, the newer one counts.
    """

    clear: bool = False
    add: tuple[Stub, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """
    ``POST /_emulator/credentials``: replace the accounts.

    :param accounts: the accounts from now on.
    """

    accounts: tuple[Account, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """``POST /_emulator/reset``: start the scenario again."""


def control_routes(world: World) -> list[Route]:
    """Return the routes of the control API."""

    async def get_state(_: Request) -> Response:
        return _json(state(world))

    async def no_such_path(request: Request) -> Response:
        return _json({"error": f"there is no {request.method} of {request.scope['path']!r}"}, 404)

    def post(path: str, change: Callable[[Any], object]) -> Route:
        async def endpoint(request: Request) -> Response:
            return await _changed(world, request, change)

        return Route(f"/_emulator/{path}", endpoint, methods=["POST"])

    def things(path: str, kind: str, spec: type[Any], step: type[Any]) -> list[Route]:
        # Read anew each time: a reset puts up new shelves.
        def shelf() -> Shelf[Any, Any, Any]:
            return world.shelves[path]

        async def one(request: Request) -> Response:
            (thing_id,) = request.path_params.values()
            try:
                if request.method == "DELETE":
                    shelf().remove(thing_id)
                    return _json(state(world))
                return await _changed(
                    world, request, lambda data: shelf().change(thing_id, read(step, data, kind))
                )
            except KeyError:
                return _json({"error": f"there is no {thing_id!r}"}, 404)

        return [
            post(path, lambda data: shelf().add(read(spec, data, kind))),
            Route(f"/_emulator/{path}/{{{kind}_id}}", one, methods=["POST", "DELETE"]),
        ]

    return [
        Route("/_emulator/state", get_state, methods=["GET"]),
        post("clock", lambda data: world.advance(read(Advance, data, "clock").advance)),
        *things("tasks", "task", TaskSpec, TaskStep),
        *things("models", "model", ModelSpec, ModelStep),
        *things("services", "service", ServiceSpec, ServiceStep),
        post("faults", lambda data: _change_faults(world, data)),
        post("stubs", lambda data: _change_stubs(world, data)),
        post("behaviour", lambda data: _change_behaviour(world, data)),
        post("credentials", lambda data: _change_credentials(world, data)),
        post("reset", lambda data: _reset(world, data)),
        Route("/_emulator/{path:path}", no_such_path, methods=["GET", "POST", "DELETE", "PUT", "PATCH"]),
    ]


async def _changed(world: World, request: Request, change: Callable[[Any], object]) -> Response:
    try:
        raw = await request.body()
        change(read_json(raw) if raw else {})
    except ValueError as error:
        return _json({"error": str(error)}, 400)
    return _json(state(world))


def _json(payload: object, status: int = 200) -> Response:
    reply = json_reply(status, payload)
    return Response(reply.body, reply.status, dict(reply.headers))


def _change_faults(world: World, data: object) -> None:
    change = read(FaultChange, data, "faults")
    kept = [] if change.clear else list(world.faults)
    world.faults = [*kept, *change.add]


def _change_stubs(world: World, data: object) -> None:
    change = read(StubChange, data, "stubs")
    kept = [] if change.clear else list(world.stubs)
    world.stubs = [*change.add, *kept]


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
        **{
            name: [thing.row("detail", now, world.behaviour) for thing in shelf.existing()]
            for name, shelf in world.shelves.items()
        },
        "calls": {
            action: {"count": sum(statuses.values()), "by_status": {str(k): v for k, v in statuses.items()}}
            for action, statuses in actions.items()
        },
        "behaviour": asdict(world.behaviour),
        "faults": [describe_fault(fault) for fault in world.faults],
        "stubs": [asdict(stub) for stub in world.stubs],
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
