"""
Limits before both APIs: who may send a request, and how long it may be.

The control API is not signed, and a browser lets any web page send requests to loopback. Such a page cannot
hide its site. If DNS led it here, ``Host`` has its name. Otherwise ``Origin`` or ``Sec-Fetch-Site`` has its
site.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Bytes of a request's body. The provider's longest has some hundred.
LONGEST_BODY = 1024 * 1024
# A client that is still sending would not see the answer if the connection were closed at once.
_DISCARDED = 8 * LONGEST_BODY
_DISCARDING = 1.0

#: Characters of a method, a path or a header that an answer or the log repeats.
_SHOWN = 200

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::\d{0,5})?")


class Guard:
    """
    Middleware that refuses long requests, and those that a web page of another site may have sent.

    :param names: see :func:`host_names`.
    :param refused: called for each refused request, with method, path, status, and the reason in a few words.
        The texts of the client are not escaped.
    """

    def __init__(
        self, app: ASGIApp, names: frozenset[str], refused: Callable[[str, str, int, str], object]
    ) -> None:
        self._app = app
        self._names = names
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""
        request = Request(scope, receive)
        headers = request.headers
        host = headers.get("host", "")[:_SHOWN]
        if not _is_own(headers.get("host", ""), self._names):
            self._note(scope, 421, f"Host: {host}")
            await _refuse(scope, receive, send, 421, _wrong_name(host))
        elif (page := _other_site(headers)) is not None:
            self._note(scope, 403, page)
            await _refuse(scope, receive, send, 403, _wrong_site(page))
        elif _announced(headers) > LONGEST_BODY or (body := await _read(request)) is None:
            self._note(scope, 413, f"a body of more than {LONGEST_BODY} bytes")
            await _refuse(scope, receive, send, 413, _TOO_LONG)
        else:
            await self._app(scope, _replayed(body, receive), send)

    def _note(self, scope: Scope, status: int, why: str) -> None:
        self._refused(scope["method"][:_SHOWN], scope["path"][:_SHOWN], status, why)


def host_names(hosts: Iterable[str]) -> frozenset[str]:
    """
    Return the names that ``Host`` may have besides those of loopback.

    :raises ValueError: if an entry is not a host name.
    """
    return frozenset(_checked_name(host) for host in hosts)


def _name(host: str) -> str | None:
    """Return the name in a ``Host`` header without its port; None if there is none."""
    form = _HOST.fullmatch(host)
    return None if form is None else form[1].strip("[]").rstrip(".").lower()


def _checked_name(host: str) -> str:
    name = _name(host)
    if not name:
        raise ValueError(f"{host!r} is not a host name; write it like qianfan.test, without http://")
    if "*" in name:
        raise ValueError(
            f"{host!r} is not a host name: there are no wildcards, as any web page could then use the"
            " emulator; give each name by itself"
        )
    return name


def _is_own(host: str, names: frozenset[str]) -> bool:
    # The port does not matter: a forwarded one differs, and a web page cannot choose the name.
    name = _name(host) or ""
    if name == "localhost" or name in names:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _other_site(headers: Headers) -> str | None:
    """Return the header that shows a web page of another site; None if none does."""
    host = headers.get("host", "").lower()
    for origin in headers.getlist("origin"):
        if origin.lower() not in (f"http://{host}", f"https://{host}"):
            return f"Origin: {origin}"[:_SHOWN]
    # Browsers leave out Origin where a page may send without asking first, but not this.
    for site in headers.getlist("sec-fetch-site"):
        if site not in ("same-origin", "none"):
            return f"Sec-Fetch-Site: {site}"[:_SHOWN]
    return None


def _wrong_name(host: str) -> str:
    return (
        f"The emulator does not accept the host name {host!r}. Use 127.0.0.1, [::1] or localhost. For"
        " another name, start it with --allow-host NAME, or with EmulatorServer(allowed_hosts=[NAME])."
    )


def _wrong_site(header: str) -> str:
    return (
        f"The emulator takes no requests from a web page of another site ({header!r})."
        " Use a client that is not a web page, such as curl."
    )


_TOO_LONG = f"The emulator reads at most {LONGEST_BODY} bytes of a request's body. Send a shorter one."


def _announced(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


async def _read(request: Request) -> bytes | None:
    """Return the body; None as soon as it is too long."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST_BODY:
            return None
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, message: str) -> None:
    # Clients of the control API look at "error", those of the platform at "code" and "message".
    said = {"error": message, "code": "EmulatorRefused", "message": message}
    answer = JSONResponse(said, status, {"connection": "close"})
    await send({"type": "http.response.start", "status": status, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    await _discard(Request(scope, receive))
    await send({"type": "http.response.body", "body": b""})


async def _discard(request: Request) -> None:
    left = _DISCARDED
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_DISCARDING):
            async for piece in request.stream():
                left -= len(piece)
                if left < 0:
                    return
