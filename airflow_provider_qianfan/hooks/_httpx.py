"""The driver for triggers: carries out effects with ``httpx``. Imported only where it is needed."""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from contextvars import ContextVar
from typing import TYPE_CHECKING

import httpx

from airflow_provider_qianfan.api.exchange import (
    MAX_ANSWER_BYTES,
    Effect,
    NoResponse,
    Reply,
    Request,
    Response,
    Sleep,
    Steps,
    T,
)

if TYPE_CHECKING:
    from airflow_provider_qianfan.hooks.qianfan import Settings

_ours: ContextVar[bool] = ContextVar("airflow_provider_qianfan_request", default=False)


def _not_ours(_record: logging.LogRecord) -> bool:
    return not _ours.get()


# httpx logs each request at INFO, which would put a line per poll into the task's log.
logging.getLogger("httpx").addFilter(_not_ours)


@functools.cache
def _tls(verify: bool | str) -> ssl.SSLContext | bool:
    """Make a TLS context once: it takes some 20 ms, in which an event loop does nothing else."""
    if isinstance(verify, str):
        return ssl.create_default_context(cafile=verify)
    return httpx.create_ssl_context() if verify else False


def make_client(settings: Settings) -> httpx.AsyncClient:
    """Make a client for the running event loop."""
    return httpx.AsyncClient(
        verify=_tls(settings.verify) if settings.endpoint.scheme == "https" else False,
        proxy=settings.proxy,
        timeout=httpx.Timeout(settings.timeout, connect=settings.connect_timeout),
        follow_redirects=False,
    )


async def run(steps: Steps[T], client: httpx.AsyncClient, settings: Settings) -> T:
    """Carry out ``steps``."""
    reply: Reply = None
    while True:
        try:
            effect: Effect = steps.send(reply)
        except StopIteration as finished:
            result: T = finished.value
            return result
        if isinstance(effect, Sleep):
            await asyncio.sleep(effect.seconds)
            reply = None
        else:
            reply = await _send(effect, client, settings)


async def _send(request: Request, client: httpx.AsyncClient, settings: Settings) -> Reply:
    token = _ours.set(True)
    try:
        # httpx's own limits are between two reads; this one is for the whole.
        async with asyncio.timeout(settings.connect_timeout + 2 * settings.timeout):
            async with client.stream(
                request.method, request.url, headers=dict(request.headers), content=request.body
            ) as answer:
                body = bytearray()
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        return NoResponse(f"the answer is longer than {MAX_ANSWER_BYTES} bytes", sent=True)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status_code, headers, bytes(body))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout) as error:
        return NoResponse(_reason(error), sent=False)
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:  # the total limit is an OSError too
        return NoResponse(_reason(error), sent=True)
    finally:
        _ours.reset(token)


def _reason(error: BaseException) -> str:
    if isinstance(error, httpx.LocalProtocolError):
        return type(error).__name__  # its text is the header
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
