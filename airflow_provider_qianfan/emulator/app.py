"""The emulated platform over HTTP."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route

from airflow_provider_qianfan.emulator import faults
from airflow_provider_qianfan.emulator.actions import perform
from airflow_provider_qianfan.emulator.control import control_routes
from airflow_provider_qianfan.emulator.errors import ApiError, inappropriate_json
from airflow_provider_qianfan.emulator.faults import Fault, Reply, json_reply
from airflow_provider_qianfan.emulator.guard import Guard, host_names
from airflow_provider_qianfan.emulator.schema import ScenarioError, read_json
from airflow_provider_qianfan.emulator.signature import Signed, access_key_id, verify
from airflow_provider_qianfan.emulator.world import Call, World

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from airflow_provider_qianfan.emulator.behaviour import Account


def create_app(world: World, allowed_hosts: Collection[str] = ()) -> Starlette:
    """
    Return the ASGI application of a world: the platform API and the emulator's own control API.

    :param allowed_hosts: more names that clients may use in ``Host``, besides those of loopback.
    :raises ValueError: if an entry is not a host name.
    """

    async def platform(request: Request) -> Response:
        return await _answer(world, request)

    app = Starlette(
        routes=[
            *control_routes(world),
            # Any path: a call that the emulator does not know is answered, and logged.
            Route("/{path:path}", platform, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, names=host_names(allowed_hosts), refused=world.refused)],
    )
    app.router.redirect_slashes = False  # the documentation does not mention redirects
    return app


async def _answer(world: World, request: Request) -> Response:
    path, action = request.scope["path"], request.query_params.get("Action", "")
    raw = await request.body()
    world.asked(path, action, raw)
    struck = world.due_faults(action)
    latency = sum(fault.latency for fault in struck)
    if latency:
        await asyncio.sleep(latency)
    request_id = str(uuid.uuid4())
    server_time = world.server_time(sum(fault.skew for fault in struck))
    code = None
    replacing = next((fault for fault in struck if fault.replaces), None)
    if replacing is None or replacing.performs:
        try:
            account = _authenticate(world, request, server_time)
            payload = _perform(world, path, action, raw, account, struck)
            reply = json_reply(200, {"requestId": request_id, **payload})
            for fault in struck:
                reply = faults.spoil(fault, reply)
        except ApiError as error:
            code, reply = error.code, _error_reply(error, request_id)
    if replacing is not None:
        code, reply = None, faults.replacement(replacing, request_id, server_time)
    world.record(
        Call(
            time=world.now,
            path=path,
            action=action,
            raw=raw,
            status=reply.status,
            code=code,
            access_key_id=access_key_id(request.headers.get("authorization")),
        )
    )
    date = format_datetime(server_time.replace(microsecond=0), usegmt=True)
    return _Sent(replace(reply, headers={"x-bce-request-id": request_id, "Date": date, **reply.headers}))


def _authenticate(world: World, request: Request, server_time: datetime) -> Account:
    signed = Signed(
        method=request.method,
        path=request.scope.get("raw_path", b"").decode("latin-1") or request.scope["path"],
        query=request.scope["query_string"].decode("latin-1"),
        headers=tuple(request.headers.items()),
    )
    return verify(signed, world.accounts, server_time, world.behaviour.clock_tolerance)


def _perform(
    world: World, path: str, action: str, raw: bytes, account: Account, struck: list[Fault]
) -> dict[str, Any]:
    try:
        body = read_json(raw)
    except ScenarioError as error:
        raise ApiError(400, "MalformedJSON", "The JSON you provided was not well-formed.") from error
    if not isinstance(body, dict):
        raise inappropriate_json("The body is not a JSON object.")
    twisting = [fault for fault in struck if fault.endless_paging or fault.null_list]
    if action not in faults.LISTINGS or not twisting:
        return perform(world, path, action, body, account)
    result = perform(world, path, action, faults.without_invented_marker(body), account)["result"]
    for fault in twisting:
        result = faults.twist_listing(fault, action, result, body.get("marker"))
    return {"result": result}


def _error_reply(error: ApiError, request_id: str) -> Reply:
    reply = json_reply(
        error.http_status, {"requestId": request_id, "code": error.code, "message": error.message}
    )
    if not error.in_headers:
        return reply
    extra = {"X-Bce-Error-Code": error.code, "X-Bce-Error-Message": error.message}
    return replace(reply, headers={**reply.headers, **extra})


class _Sent(Response):
    """A reply on its way. If it promises more than it has, the server closes the connection after it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body, reply.status, dict(reply.headers))
        self._missing = reply.missing
        if reply.missing:
            self.headers["Content-Length"] = str(len(reply.body) + reply.missing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._missing:
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
